//! `odin-ws healthcheck`: asks a server on this machine whether it lives, for images that have no shell
//! and no curl.
//!
//! It asks `/live` and not `/health`: an upstream that is away must not restart the servers.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::proxy;
use crate::settings::Settings;
use crate::tls::client::{Connection, Trust};

/// How long connecting and the answer may take together.
const TIME_MAX: Duration = Duration::from_secs(5);

/// The most that is read of an answer; its first line is what counts.
const ANSWER_BYTES_MAX: usize = 1024;

/// Asks `GET /live` of the server that runs with these settings; a wildcard address is asked on loopback.
/// Where the server speaks TLS any certificate will do: it is asked here, and nothing secret.
///
/// # Errors
/// In words: nobody listens, no whole answer within 5 s, or another status than 200.
pub fn check(settings: &Settings) -> Result<(), String> {
    let listen = settings.listen;
    let addr = SocketAddr::new(destination(listen.ip()), listen.port());
    let (scheme, trust) = match settings.tls_cert {
        None => ("http", None),
        Some(_) => ("https", Some(Trust::any()?)),
    };
    let fail = |what: &dyn Display| format!("{scheme}://{addr}/live: {what}");
    let header = settings.proxy_protocol && settings.is_proxy(addr.ip());
    let line = ask(addr, header, trust.as_ref()).map_err(|error| fail(&error))?;
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

/// The status line of the answer. `header`: this address is one of a proxy, which says that it asks for
/// nobody else.
fn ask(addr: SocketAddr, header: bool, trust: Option<&Trust>) -> io::Result<String> {
    let deadline = Instant::now() + TIME_MAX;
    let mut tcp = TcpStream::connect_timeout(&addr, TIME_MAX)?;
    tcp.set_write_timeout(Some(TIME_MAX))?;
    tcp.set_read_timeout(Some(TIME_MAX))?;
    if header {
        tcp.write_all(&proxy::LOCAL)?;
    }
    let mut stream: Box<dyn Connection> = match trust {
        None => Box::new(tcp),
        Some(trust) => Box::new(trust.connect(tcp, &addr.ip().to_string())?),
    };
    let request = format!("GET /live HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut part = [0; ANSWER_BYTES_MAX];
    while !answer.contains(&b'\n') && answer.len() < ANSWER_BYTES_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.socket().set_read_timeout(Some(left))?;
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
