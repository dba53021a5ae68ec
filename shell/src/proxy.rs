//! Whom a proxy speaks for: version 2 of the PROXY protocol before the first byte of a connection, and
//! the `X-Forwarded-For` header of a request.
//!
//! Both are read from configured proxies only (`trusted_proxies`); who else sends them is believed
//! nothing. This module reads; what a malformed one leads to is its callers'.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// What every header begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The signature, the command, the family and the length of the rest.
const FIXED_BYTES: usize = 16;

/// The most bytes behind the fixed ones. The specification asks for 520 at least; proxies put
/// certificates' names and their own identifiers there, and none sends much more.
const REST_BYTES_MAX: usize = 2048;

/// A header that says nothing about anybody else: for connections of the proxy's own, such as those
/// that ask whether the server lives.
pub(crate) const LOCAL: [u8; FIXED_BYTES] = *b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// For whom a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Party {
    /// For whoever made it, which a proxy says with the command `LOCAL`.
    Own,
    /// For somebody of whom a proxy tells no address, or one of a kind that no limit knows.
    Unnamed,
    /// For the client with this address.
    Client(SocketAddr),
}

impl Party {
    /// The address, where a proxy told one.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Own | Self::Unnamed => None,
            Self::Client(address) => Some(address),
        }
    }
}

/// Reads a header, and not a byte more.
///
/// # Errors
/// `InvalidData` where it is no header; whatever the stream says.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Party> {
    let mut fixed = [0; FIXED_BYTES];
    // What cannot become a header is not waited for.
    stream.read_exact(&mut fixed[..1]).await?;
    if fixed[0] != SIGNATURE[0] {
        return Err(malformed());
    }
    stream.read_exact(&mut fixed[1..]).await?;
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if !fixed.starts_with(&SIGNATURE) || length > REST_BYTES_MAX {
        return Err(malformed());
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    parse(fixed[12], fixed[13], &rest).ok_or_else(malformed)
}

fn malformed() -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        "this is no header of the PROXY protocol, version 2",
    )
}

/// `None`: malformed. The parts are those of the specification, 2.2.
fn parse(version_and_command: u8, family: u8, rest: &[u8]) -> Option<Party> {
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return None,
    };
    let (address, extra) = match family {
        // TCP over IPv4: both addresses, then both ports.
        0x11 => {
            let (addresses, extra) = rest.split_first_chunk::<12>()?;
            let [a, b, c, d, _, _, _, _, high, low, _, _] = *addresses;
            let port = u16::from_be_bytes([high, low]);
            let address = SocketAddr::from((Ipv4Addr::new(a, b, c, d), port));
            (Some(address), extra)
        }
        // TCP over IPv6.
        0x21 => {
            let (addresses, extra) = rest.split_first_chunk::<36>()?;
            let source: [u8; 16] = *addresses.first_chunk()?;
            let port = u16::from_be_bytes([addresses[32], addresses[33]]);
            let address = SocketAddr::from((Ipv6Addr::from(source), port));
            (Some(address), extra)
        }
        // Unix sockets: nothing that a limit per address could count.
        0x31 => (None, rest.get(216..)?),
        // Unspecified: what follows is not to be looked at.
        0x00 => (None, &[][..]),
        // Datagrams have no connections.
        _ => return None,
    };
    let party = match address {
        _ if is_local => Party::Own,
        Some(address) => Party::Client(address),
        None => Party::Unnamed,
    };
    is_well_formed(extra).then_some(party)
}

/// Whether the extensions are whole: a type, a length in two bytes, a value.
fn is_well_formed(mut extra: &[u8]) -> bool {
    while let Some((head, rest)) = extra.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([head[1], head[2]]));
        match rest.get(length..) {
            Some(rest) => extra = rest,
            None => return false,
        }
    }
    extra.is_empty()
}

/// An address that a proxy wrote was none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoAddress;

/// The client's address by the values of `X-Forwarded-For`, in order: each proxy added whom it was
/// asked by at the end. From there on those that are proxies are passed over; what stands before
/// the first that is none was written by nobody that is believed, and is not looked at. `None`:
/// there is no value.
///
/// # Errors
/// A value that counts is no address.
pub fn forwarded<'a>(
    values: impl DoubleEndedIterator<Item = &'a [u8]>,
    is_proxy: impl Fn(IpAddr) -> bool,
) -> Result<Option<IpAddr>, NoAddress> {
    let mut found = None;
    for value in values.rev() {
        for item in value.rsplit(|byte| *byte == b',') {
            let text = str::from_utf8(item.trim_ascii()).map_err(|_| NoAddress)?;
            let address = address(text).ok_or(NoAddress)?;
            found = Some(address);
            if !is_proxy(address) {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// An address as proxies write it: some with the port, IPv6 then in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let address = text.parse().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    let address = address.or_else(|| bare?.parse::<Ipv6Addr>().ok().map(IpAddr::V6));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::{LOCAL, NoAddress, Party, REST_BYTES_MAX, SIGNATURE, forwarded, read};
    use std::io::ErrorKind;
    use std::net::IpAddr;

    /// A header of these parts, followed by what is not of it.
    fn header(command: u8, family: u8, length: usize, rest: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(length).expect("a length").to_be_bytes());
        bytes.extend(rest);
        bytes
    }

    fn of(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        header(command, family, rest.len(), rest)
    }

    async fn whole(bytes: &[u8]) -> Result<Party, ErrorKind> {
        let with_more = [bytes, b"GET"].concat();
        let mut stream = &with_more[..];
        let read = read(&mut stream).await.map_err(|error| error.kind());
        if read.is_ok() {
            assert_eq!(stream, b"GET", "exactly the header is read");
        }
        read
    }

    const V4: [u8; 12] = [203, 0, 113, 7, 10, 0, 0, 1, 0xC3, 0x50, 0x01, 0xBB];

    fn v6() -> Vec<u8> {
        let mut rest = vec![0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        rest.extend([0; 16]);
        rest.extend([0xC3, 0x50, 0x01, 0xBB]);
        rest
    }

    #[tokio::test]
    async fn every_header_says_for_whom_it_is() {
        let client = |text: &str| Party::Client(text.parse().expect("an address"));
        let with_extra = [&V4[..], &[0x05, 0, 2, 1, 2, 0x04, 0, 0]].concat();
        for (bytes, party) in [
            (of(0x21, 0x11, &V4), client("203.0.113.7:50000")),
            (of(0x21, 0x11, &with_extra), client("203.0.113.7:50000")),
            (of(0x21, 0x21, &v6()), client("[2001:db8::9]:50000")),
            (of(0x20, 0x11, &V4), Party::Own),
            (of(0x20, 0x31, &[7; 216]), Party::Own),
            (of(0x20, 0x00, b"whatever"), Party::Own),
            (LOCAL.to_vec(), Party::Own),
            (of(0x21, 0x00, &[]), Party::Unnamed),
            (of(0x21, 0x00, b"whatever"), Party::Unnamed),
            (of(0x21, 0x31, &[7; 216]), Party::Unnamed),
        ] {
            assert_eq!(whole(&bytes).await, Ok(party), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn what_is_malformed_is_refused() {
        let overlong = [&V4[..], &[0x05, 0, 3, 1, 2]].concat();
        let cut = [&V4[..], &[0x05, 0]].concat();
        for (name, bytes) in [
            ("a request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
            (
                "version 1",
                b"PROXY TCP4 203.0.113.7 10.0.0.1 1 2\r\n".to_vec(),
            ),
            (
                "a wrong signature",
                b"\r\n\r\n\0\r\nQUIT!\x21\x11\x00\x00".to_vec(),
            ),
            ("version 3", of(0x31, 0x11, &V4)),
            ("a command that is none", of(0x22, 0x11, &V4)),
            ("datagrams", of(0x21, 0x12, &V4)),
            ("a family that is none", of(0x21, 0x41, &V4)),
            ("a short address", of(0x21, 0x11, &V4[..11])),
            ("a short IPv6 address", of(0x21, 0x21, &v6()[..35])),
            ("a short path", of(0x21, 0x31, &[7; 215])),
            ("an extension beyond the end", of(0x21, 0x11, &overlong)),
            ("half an extension", of(0x21, 0x11, &cut)),
            (
                "too long",
                header(0x21, 0x00, REST_BYTES_MAX + 1, &[0; 4096]),
            ),
        ] {
            assert_eq!(whole(&bytes).await, Err(ErrorKind::InvalidData), "{name}");
        }
        for cut in 1..28 {
            let bytes = &of(0x21, 0x11, &V4)[..cut];
            let mut stream = bytes;
            let error = read(&mut stream).await.expect_err("it is not whole");
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{cut}");
        }
    }

    fn client(values: &[&str]) -> Result<Option<String>, NoAddress> {
        let values = values.iter().map(|value| value.as_bytes());
        let is_proxy = |address: IpAddr| address.to_string().starts_with("10.");
        forwarded(values, is_proxy).map(|found| found.map(|address| address.to_string()))
    }

    #[test]
    fn the_client_is_the_last_who_is_no_proxy() {
        for (values, expected) in [
            (&["203.0.113.7"][..], "203.0.113.7"),
            (&["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
            (
                &["198.51.100.1, 203.0.113.7 ,10.0.0.2,10.0.0.1"],
                "203.0.113.7",
            ),
            (&["198.51.100.1, 203.0.113.7", "10.0.0.2"], "203.0.113.7"),
            (&["10.0.0.3", "10.0.0.2"], "10.0.0.3"),
            (&["203.0.113.7:4711"], "203.0.113.7"),
            (&["[2001:db8::9]:443"], "2001:db8::9"),
            (&["[2001:db8::9]"], "2001:db8::9"),
            (&["2001:db8::9"], "2001:db8::9"),
            (&["::ffff:203.0.113.7"], "203.0.113.7"),
            // What strangers wrote is not looked at.
            (&["<script>, 203.0.113.7"], "203.0.113.7"),
            (&["\u{FC}, 203.0.113.7"], "203.0.113.7"),
        ] {
            assert_eq!(client(values), Ok(Some(expected.to_owned())), "{values:?}");
        }
        assert_eq!(client(&[]), Ok(None));
        for values in [
            &[""][..],
            &["unknown"],
            &["203.0.113.7,"],
            &["203.0.113.7, unknown, 10.0.0.1"],
            &["203.0.113"],
            &["203.0.113.7:"],
            &["[203.0.113.7]"],
            &["203.0.113.7", "\u{FC}"],
        ] {
            assert_eq!(client(values), Err(NoAddress), "{values:?}");
        }
    }
}
