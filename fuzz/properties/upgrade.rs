//! Whatever a stranger sends before it is a WebSocket client, the server goes on; nobody is let in whose
//! request is not an upgrade from an allowed place; and it makes no difference in which parts bytes come.

use std::cell::OnceCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use odin_shell::proxy::{self, Party};

use super::server::{PROXY, STRANGER, Server};

const FLAGS: [&str; 11] = [
    "--allowed-hosts",
    "allowed.example",
    "--allowed-origins",
    "https://page.example",
    "--trusted-proxies",
    "10.0.0.0/8",
    "--proxy-protocol",
    "--accept-rate",
    "0",
    "--channels-max",
    "16",
];

/// What lets a client in, to see that the server still does.
const UPGRADE: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

thread_local! {
    static SERVER: OnceCell<Server> = const { OnceCell::new() };
}

/// Sends the bytes to a server, and says how it answered first: the status, or `closed`, or `silent`.
///
/// The first byte says by which way they come: `u` from a stranger, `p` from a proxy that has to say whom
/// it speaks for, `x` as the values of `X-Forwarded-For`, one a line. The second is the length of the parts
/// in which they are sent a second time.
pub(crate) fn upgrade(bytes: &[u8]) -> Option<String> {
    let (way, bytes) = bytes.split_first()?;
    let (part, bytes) = bytes.split_first()?;
    match way {
        b'u' => Some(request(STRANGER, bytes, *part)),
        b'p' => {
            header(bytes);
            Some(request(PROXY, bytes, *part))
        }
        b'x' => Some(forwarded(bytes)),
        _ => None,
    }
}

fn request(peer: SocketAddr, bytes: &[u8], part: u8) -> String {
    SERVER.with(|server| {
        let server = server.get_or_init(|| Server::start(&FLAGS));
        let head = if peer == PROXY {
            after_header(bytes).unwrap_or_default()
        } else {
            bytes
        };
        let whole = answer(server, peer, bytes, 0);
        let parts = answer(server, peer, bytes, usize::from(part.max(1)));
        assert!(
            whole == parts || differs_by_right(head, &whole, &parts),
            "{whole}, but in parts of {part} bytes {parts}"
        );
        if whole == "101" {
            may_enter(head).unwrap_or_else(|reason| panic!("let in: {reason}"));
        }
        assert_eq!(answer(server, STRANGER, UPGRADE, 0), "101");
        whole
    })
}

/// Where the parts may make a difference to the answer.
fn differs_by_right(head: &[u8], whole: &str, parts: &str) -> bool {
    // A head that came in parts is judged when it is whole; what is wrong with half of one may be told before.
    let is_early = parts == "silent" && whole.starts_with('4');
    // The preface of HTTP/2 is known when it came whole, and then there is nothing to be said in HTTP/1.1.
    let is_preface = head.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    is_early || (is_preface && whole == "silent" && parts == "400")
}

/// The status of the first response, and what there must be in any.
fn answer(server: &Server, peer: SocketAddr, bytes: &[u8], part: usize) -> String {
    let client = server.connect(peer, 1 << 20);
    let received = server.exchange(&client, bytes, part);
    let status = if received.is_empty() {
        "silent".to_owned()
    } else {
        let line = received
            .strip_prefix(b"HTTP/1.1 ")
            .or_else(|| received.strip_prefix(b"HTTP/1.0 "));
        let line =
            line.unwrap_or_else(|| panic!("no HTTP: {:?}", received.escape_ascii().to_string()));
        String::from_utf8_lossy(&line[..3]).into_owned()
    };
    assert_ne!(status, "500");
    let is_client = status == "101";
    if is_client {
        assert_eq!(server.connections(), 1);
        let text = String::from_utf8_lossy(&received);
        let welcome = text.split("\r\n\r\n").nth(1).unwrap_or_default();
        assert!(welcome.contains(r#"{"type":"welcome","#), "{text}");
    }
    drop(client);
    server.rest();
    assert_eq!(server.connections(), 0, "a place is taken for ever");
    status
}

/// Judges the first request of the bytes, line by line, by RFC 6455 4.2.1 and the settings of the server.
fn may_enter(bytes: &[u8]) -> Result<(), &'static str> {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.lines().skip_while(|line| line.is_empty());
    let line = lines.next().ok_or("no request")?;
    let (method, rest) = line.split_once(' ').ok_or("no method")?;
    let (target, version) = rest.rsplit_once(' ').ok_or("no version")?;
    let mut headers = Vec::new();
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or("a line that is no header")?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let all = |name: &str| -> Vec<&str> {
        let found = headers.iter().filter(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str()).collect()
    };
    let lists = |name: &str, item: &str| {
        let values = all(name);
        let mut items = values.iter().flat_map(|value| value.split(','));
        items.any(|i| i.trim().eq_ignore_ascii_case(item))
    };
    let (authority, path) = match target.split_once("://") {
        Some((_, rest)) => match rest.find(['/', '?', '#']) {
            Some(at) => (Some(&rest[..at]), &rest[at..]),
            None => (Some(rest), "/"),
        },
        None => (None, target),
    };
    require(
        method == "GET" && version == "HTTP/1.1",
        "another method or version",
    )?;
    require(path.split(['?', '#']).next() == Some("/ws"), "another path")?;
    require(
        lists("upgrade", "websocket") && lists("connection", "upgrade"),
        "no upgrade",
    )?;
    require(
        all("sec-websocket-version") == ["13"],
        "another version of the protocol",
    )?;
    let keys = all("sec-websocket-key");
    require(
        keys.len() == 1 && keys[0].len() == 24 && keys[0].ends_with("=="),
        "no key",
    )?;
    let offers = all("sec-websocket-protocol").join(",");
    let mut offered = offers
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .peekable();
    require(
        offered.peek().is_none() || offered.any(|name| name == "odin.v1.json"),
        "another subprotocol",
    )?;
    require(all("transfer-encoding").is_empty(), "a body")?;
    require(
        all("content-length").iter().all(|length| *length == "0"),
        "a body",
    )?;
    let hosts = all("host");
    require(hosts.len() == 1, "not one host")?;
    let host = authority.unwrap_or(hosts[0]).to_ascii_lowercase();
    require(is_ours(&host), "a strange host")?;
    for origin in all("origin") {
        let own = origin.split_once("://").is_some_and(|(scheme, site)| {
            matches!(scheme, "http" | "https") && site.eq_ignore_ascii_case(&host)
        });
        require(
            own || origin.eq_ignore_ascii_case("https://page.example"),
            "a strange origin",
        )?;
    }
    Ok(())
}

fn require(holds: bool, or: &'static str) -> Result<(), &'static str> {
    if holds { Ok(()) } else { Err(or) }
}

/// Whether a host, with or without a port, is loopback or allowed.
fn is_ours(host: &str) -> bool {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let is_loopback = match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => v4.octets()[0] == 127,
        Ok(IpAddr::V6(v6)) => {
            v6 == Ipv6Addr::LOCALHOST || v6.to_ipv4_mapped().is_some_and(|v4| v4.octets()[0] == 127)
        }
        Err(_) => bare == "localhost",
    };
    is_loopback || bare == "allowed.example" || host == "allowed.example"
}

/// What follows a header of the PROXY protocol; `None`: there is none.
fn after_header(bytes: &[u8]) -> Option<&[u8]> {
    let length = u16::from_be_bytes([*bytes.get(14)?, *bytes.get(15)?]);
    bytes.get(16 + usize::from(length)..)
}

/// Reads the bytes as a header of the PROXY protocol, as the server does and as the specification tells it
/// (section 2.2).
fn header(bytes: &[u8]) {
    let mut rest = bytes;
    let read = futures_util::FutureExt::now_or_never(proxy::read(&mut rest));
    let read = read.expect("bytes that are there are not waited for");
    let expected = specified(bytes);
    match (read, expected) {
        (Ok(party), Some((expected, length))) => {
            assert_eq!((party, bytes.len() - rest.len()), (expected, length));
        }
        (Err(_), None) => {}
        (read, expected) => panic!("{read:?} is not {expected:?}"),
    }
}

/// For whom a header is, and how long it is; `None`: it is not whole, or malformed.
fn specified(bytes: &[u8]) -> Option<(Party, usize)> {
    let fixed = bytes.get(..16)?;
    let length = usize::from(fixed[14]) * 256 + usize::from(fixed[15]);
    if &fixed[..12] != b"\r\n\r\n\0\r\nQUIT\n" || length > 2048 {
        return None;
    }
    let rest = bytes.get(16..16 + length)?;
    if fixed[12] != 0x20 && fixed[12] != 0x21 {
        return None;
    }
    let party = |address: Option<SocketAddr>| match (fixed[12], address) {
        (0x20, _) => Party::Own,
        (_, None) => Party::Unnamed,
        (_, Some(address)) => Party::Client(address),
    };
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    let (address, addresses): (Option<SocketAddr>, usize) = match fixed[13] {
        0x00 => return Some((party(None), 16 + length)),
        0x11 if length >= 12 => {
            let ip = Ipv4Addr::new(rest[0], rest[1], rest[2], rest[3]);
            (Some((ip, port(8)).into()), 12)
        }
        0x21 if length >= 36 => {
            let ip: [u8; 16] = rest[..16].try_into().ok()?;
            (Some((Ipv6Addr::from(ip), port(32)).into()), 36)
        }
        0x31 if length >= 216 => (None, 216),
        _ => return None,
    };
    let mut at = addresses;
    while at < length {
        let value = rest.get(at + 1..at + 3)?;
        at += 3 + usize::from(value[0]) * 256 + usize::from(value[1]);
    }
    (at == length).then(|| (party(address), 16 + length))
}

/// Reads the lines as values of `X-Forwarded-For`: what is found is the last that is no proxy, and what stands
/// before it makes no difference.
fn forwarded(bytes: &[u8]) -> String {
    let is_proxy = |ip: IpAddr| matches!(ip, IpAddr::V4(v4) if v4.octets()[0] == 10);
    let values: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let found = proxy::forwarded(values.iter().copied(), is_proxy);
    if let Ok(Some(ip)) = found
        && !is_proxy(ip)
    {
        let spoofed = [&b"unknown, 192.0.2.99, <script>"[..]];
        let longer = spoofed.iter().chain(&values).copied();
        assert_eq!(proxy::forwarded(longer, is_proxy), found);
        let alone = ip.to_string();
        assert_eq!(
            proxy::forwarded([alone.as_bytes()].into_iter(), is_proxy),
            found
        );
    }
    match found {
        Ok(Some(ip)) if is_proxy(ip) => "proxy".to_owned(),
        Ok(Some(_)) => "client".to_owned(),
        Ok(None) => "nobody".to_owned(),
        Err(proxy::NoAddress) => "no_address".to_owned(),
    }
}
