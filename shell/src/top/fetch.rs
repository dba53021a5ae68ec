//! `GET` of a JSON document over HTTP/1.0 (RFC 1945), which ends with the connection: one request per
//! look needs no more of HTTP than this.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::tls::client::{Connection, Trust};

/// The longest wait for a connection, and for each part of an answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

/// Where the server is, and what is shown to it.
pub struct Target {
    /// Name or address, and port.
    host: String,
    /// How the server is known, if it speaks TLS.
    trust: Option<Trust>,
    token: Option<String>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is not shown.
        write!(f, "Target({})", self.host)
    }
}

impl Target {
    /// From `http://host:port`, `https://host:port` or `host:port`; the port is 80 or 443 where there
    /// is none. `token` is the server's admin token, `authorities` the file with the certificates that
    /// a server with TLS is known by; without it those of the system.
    ///
    /// # Errors
    /// Another scheme, a path, characters that no host or token has, or certificates that cannot be used.
    pub fn new(
        url: &str,
        token: Option<String>,
        authorities: Option<&Path>,
    ) -> Result<Self, String> {
        let secure = url.strip_prefix("https://");
        let host = secure
            .or_else(|| url.strip_prefix("http://"))
            .unwrap_or(url);
        if host.contains("://") {
            return Err(format!("{url}: this speaks http and https only"));
        }
        let host = host.strip_suffix('/').unwrap_or(host);
        let strange = |c: char| c == '/' || c.is_whitespace() || c.is_control();
        if host.is_empty() || host.contains(strange) {
            return Err(format!(
                "{url:?}: a URL is http://host:port or https://host:port"
            ));
        }
        let trust = match (secure, authorities) {
            (Some(_), authorities) => Some(Trust::of(authorities)?),
            (None, Some(_)) => return Err(format!("{url}: --ca is for https://")),
            (None, None) => None,
        };
        if token
            .as_deref()
            .is_some_and(|token| token.contains(char::is_control))
        {
            return Err("ODIN_WS_ADMIN_TOKEN is no token".to_owned());
        }
        let after_address = host.rsplit(']').next().unwrap_or(host);
        let port = match &trust {
            _ if after_address.contains(':') => "",
            None => ":80",
            Some(_) => ":443",
        };
        Ok(Self {
            host: format!("{host}{port}"),
            trust,
            token,
        })
    }

    /// The document at a path; `None`: the server does not have it, or not for this asker.
    ///
    /// # Errors
    /// The server cannot be reached, or its answer is not what it should be.
    pub fn json(&self, path: &str) -> Result<Option<Value>, String> {
        let answer = self.get(path).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text
            .split_once("\r\n\r\n")
            .ok_or("it does not speak HTTP")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        match status {
            "200" => {}
            "401" | "403" | "404" => return Ok(None),
            _ => return Err(format!("{path} was answered with {status:?}")),
        }
        let document = serde_json::from_str(body);
        document
            .map(Some)
            .map_err(|error| format!("{path} is no JSON: {error}"))
    }

    fn get(&self, path: &str) -> io::Result<Vec<u8>> {
        let tcp = self.connect()?;
        tcp.set_read_timeout(Some(TIMEOUT))?;
        tcp.set_write_timeout(Some(TIMEOUT))?;
        let name = self.host.rsplit_once(':').map_or("", |(name, _)| name);
        let mut stream: Box<dyn Connection> = match &self.trust {
            None => Box::new(tcp),
            Some(trust) => Box::new(trust.connect(tcp, name)?),
        };
        let token = self.token.as_ref();
        let authorization =
            token.map_or_else(String::new, |t| format!("Authorization: Bearer {t}\r\n"));
        let host = &self.host;
        write!(
            stream,
            "GET {path} HTTP/1.0\r\nHost: {host}\r\n{authorization}\r\n"
        )?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        Ok(answer)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for addr in self.host.to_socket_addrs()? {
            match TcpStream::connect_timeout(&addr, TIMEOUT) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn hosts() {
        for (url, host) in [
            ("http://127.0.0.1:3004", "127.0.0.1:3004"),
            ("http://odin/", "odin:80"),
            ("odin:1", "odin:1"),
            ("[::1]:3004", "[::1]:3004"),
            ("http://[::1]", "[::1]:80"),
        ] {
            assert_eq!(Target::new(url, None, None).unwrap().to_string(), host);
        }
        for url in [
            "",
            "http://",
            "odin/stats",
            "a b:1",
            "a\r\nX: y",
            "ftp://x",
            "https://",
        ] {
            assert!(Target::new(url, None, None).is_err(), "{url:?}");
        }
        assert!(Target::new("odin", Some("a\r\nb".to_owned()), None).is_err());
    }
}
