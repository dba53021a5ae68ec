//! `odin-ws healthcheck`: asks a server on this machine whether it lives, for images that have no shell
//! and no curl.
//!
//! It asks `/live` and not `/health`: an upstream that is away must not restart the servers.

use std::fmt::Display;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long connecting and the answer may take together.
const TIME_MAX: Duration = Duration::from_secs(5);

/// The most that is read of an answer; its first line is what counts.
const ANSWER_BYTES_MAX: usize = 1024;

/// Asks `GET /live` of the server that listens on `listen`; a wildcard address is asked on loopback.
///
/// # Errors
/// In words: nobody listens, no whole answer within 5 s, or another status than 200.
pub fn check(listen: SocketAddr) -> Result<(), String> {
    let addr = SocketAddr::new(destination(listen.ip()), listen.port());
    let fail = |what: &dyn Display| format!("http://{addr}/live: {what}");
    let line = ask(addr).map_err(|error| fail(&error))?;
    // RFC 9112 4: the version, one space, the status in three digits.
    match line.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(fail(&line)),
    }
}

/// The wildcard addresses are no destination.
fn destination(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// The status line of the answer.
fn ask(addr: SocketAddr) -> io::Result<String> {
    let deadline = Instant::now() + TIME_MAX;
    let mut stream = TcpStream::connect_timeout(&addr, TIME_MAX)?;
    stream.set_write_timeout(Some(TIME_MAX))?;
    let request = format!("GET /live HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut part = [0; ANSWER_BYTES_MAX];
    while !answer.contains(&b'\n') && answer.len() < ANSWER_BYTES_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => answer.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What a read that timed out says, on Linux.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) => return Err(error),
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}
