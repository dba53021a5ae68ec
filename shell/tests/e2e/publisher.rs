//! A publisher that keeps one HTTP connection and sends many requests before it reads the answers.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Requests that are under way at once.
const PIPELINED: usize = 64;

/// One keep-alive connection to a server. It blocks the thread.
pub(crate) struct Publisher {
    addr: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Publisher {
    /// Connects.
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("the server accepts");
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a timeout");
        Self {
            addr,
            stream: BufReader::new(stream),
        }
    }

    /// Publishes one message and gives its seq.
    pub(crate) fn publish(&mut self, channel: &str, body: &str) -> u64 {
        self.publish_all(&[(channel, body)])
    }

    /// The same with a server that may have ended: then `None`.
    pub(crate) fn try_publish(&mut self, channel: &str, body: &str) -> Option<u64> {
        self.send(&[(channel, body)]).ok()?;
        self.answer().ok()
    }

    /// Publishes all of these, in this order, and gives the seq of the last.
    pub(crate) fn publish_all(&mut self, messages: &[(&str, &str)]) -> u64 {
        let mut seq = 0;
        for some in messages.chunks(PIPELINED) {
            self.send(some).expect("the requests go out");
            for _ in some {
                seq = self.answer().expect("an answer");
            }
        }
        seq
    }

    fn send(&mut self, messages: &[(&str, &str)]) -> io::Result<()> {
        let mut requests = String::new();
        for (channel, body) in messages {
            requests += &format!(
                "POST /publish/{channel} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                self.addr,
                body.len()
            );
        }
        self.stream.get_mut().write_all(requests.as_bytes())
    }

    /// Reads one answer, which must be 200, and gives its seq.
    fn answer(&mut self) -> io::Result<u64> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if self.stream.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.parse().ok())?
        });
        let mut body = vec![0; length.expect("a length")];
        self.stream.read_exact(&mut body)?;
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        Ok(body["seq"].as_u64().expect("a seq"))
    }
}
