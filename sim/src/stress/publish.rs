//! The publisher: one message after the other by `POST /publish/{channel}`, on one connection.

use std::io::{self, ErrorKind};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// How long the server may take to accept a message.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// A connection to the server's HTTP.
#[derive(Debug)]
pub(super) struct Publisher {
    /// `host:port`.
    authority: String,
    token: Option<String>,
    stream: BufReader<TcpStream>,
}

#[derive(Deserialize)]
struct Published {
    seq: Option<u64>,
}

impl Publisher {
    pub(super) async fn connect(authority: &str, token: Option<&str>) -> io::Result<Self> {
        let stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            authority: authority.into(),
            token: token.map(str::to_owned),
            stream: BufReader::new(stream),
        })
    }

    /// Publishes a message and gives its seq.
    pub(super) async fn publish(&mut self, channel: &str, payload: &str) -> io::Result<u64> {
        let answered = tokio::time::timeout(ANSWER_TIME_MAX, self.exchange(channel, payload)).await;
        answered.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
    }

    async fn exchange(&mut self, channel: &str, payload: &str) -> io::Result<u64> {
        let token = self.token.as_ref().map_or(String::new(), |token| {
            format!("Authorization: Bearer {token}\r\n")
        });
        let request = format!(
            "POST /publish/{channel} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             {token}Content-Length: {}\r\n\r\n{payload}",
            self.authority,
            payload.len()
        );
        self.stream.get_mut().write_all(request.as_bytes()).await?;
        let (status, body) = self.answer().await?;
        let text = String::from_utf8_lossy(&body);
        if !(200..300).contains(&status) {
            return Err(io::Error::other(format!("POST /publish: {status} {text}")));
        }
        let published: Published = serde_json::from_str(&text)?;
        published.seq.ok_or_else(|| {
            io::Error::other("the source gives messages no seq, so that they cannot be checked")
        })
    }

    async fn answer(&mut self) -> io::Result<(u16, Vec<u8>)> {
        let (mut status, mut length) = (0, 0);
        let mut line = String::new();
        loop {
            line.clear();
            if self.stream.read_line(&mut line).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            if status == 0 {
                let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
                status = code.ok_or(ErrorKind::InvalidData)?;
            } else if let Some((name, value)) = text.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().map_err(|_| ErrorKind::InvalidData)?;
            }
        }
        if length > ANSWER_BYTES_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok((status, body))
    }
}
