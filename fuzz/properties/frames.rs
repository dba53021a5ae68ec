//! Whatever frames a client sends, in whatever parts, the server answers the same, in whole frames and JSON,
//! and closes exactly where RFC 6455 and the documented limits say.

use std::cell::OnceCell;

use arbitrary::{Result, Unstructured};
use serde_json::Value;

use super::server::{Client, STRANGER, Server};

/// The longest message, in bytes.
const MESSAGE_BYTES_MAX: u64 = 1024;

const FLAGS: [&str; 8] = [
    "--message-max-bytes",
    "1KiB",
    "--message-rate",
    "0",
    "--accept-rate",
    "0",
    "--channels-max",
    "4096",
];

const UPGRADE: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A socket that takes all that is written, and one that is full all the time: it has hardly more room than the
/// response to the upgrade, which a new socket must have.
const ROOMS: [usize; 2] = [1 << 20, 256];

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

thread_local! {
    static SERVER: OnceCell<Server> = const { OnceCell::new() };
}

/// Sends frames, and says with which code the server closed.
///
/// The first byte says how the others are made frames: `r` as they are, `f` by what they say of each frame.
/// The second is the length of the parts in which the frames are sent a second time.
pub(crate) fn frames(bytes: &[u8]) -> Option<String> {
    let (way, bytes) = bytes.split_first()?;
    let (part, bytes) = bytes.split_first()?;
    let frames = match way {
        b'r' => bytes.to_vec(),
        b'f' => made(&mut Unstructured::new(bytes)),
        _ => return None,
    };
    let said = SERVER.with(|server| {
        let server = server.get_or_init(|| Server::start(&FLAGS));
        let whole = said(server, &frames, 0, ROOMS[0]);
        let parts = said(server, &frames, usize::from((*part).max(1)), ROOMS[0]);
        assert_eq!(whole, parts, "it depends on the parts, of {part} bytes");
        let slowly = said(server, &frames, 0, ROOMS[1]);
        assert_eq!(whole, slowly, "it depends on the socket");
        whole
    });
    let (codes, must) = judged(&frames);
    match said.closed {
        Some(code) => assert!(codes.contains(&code), "closed with {code}, not {codes:?}"),
        None => assert!(!must, "it must close with one of {codes:?}"),
    }
    Some(
        said.closed
            .map_or("open".to_owned(), |code| code.to_string()),
    )
}

/// What a server sent, but for what differs each time. Of pings that come together not all are answered.
#[derive(PartialEq, Debug)]
struct Said {
    texts: Vec<Value>,
    last_pong: Option<Vec<u8>>,
    closed: Option<u16>,
}

fn said(server: &Server, frames: &[u8], part: usize, room: usize) -> Said {
    let client = server.connect(STRANGER, room);
    let mut received = open(server, &client);
    received.extend(server.exchange(&client, frames, part));
    assert!(server.connections() <= 1);
    drop(client);
    server.rest();
    assert_eq!(server.connections(), 0, "a place is taken for ever");
    read(&received)
}

/// Upgrades, and gives what the server sends after its response.
fn open(server: &Server, client: &Client) -> Vec<u8> {
    let received = server.exchange(client, UPGRADE, 0);
    let end = received.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no response: {}", received.escape_ascii()));
    assert!(received.starts_with(b"HTTP/1.1 101 "));
    received[end + 4..].to_vec()
}

/// Reads what a server sent (RFC 6455 5.2).
fn read(mut bytes: &[u8]) -> Said {
    let mut said = Said {
        texts: Vec::new(),
        last_pong: None,
        closed: None,
    };
    while let [first, second, rest @ ..] = bytes {
        assert_eq!(said.closed, None, "nothing follows a close frame");
        let (len, rest) = match second {
            126 => (usize::from(rest[0]) << 8 | usize::from(rest[1]), &rest[2..]),
            127 => panic!("no frame of this test is that long"),
            len => (usize::from(*len), rest),
        };
        let payload = &rest[..len];
        match first {
            0x81 => {
                let mut value: Value = serde_json::from_slice(payload).expect("a message is JSON");
                let object = value.as_object_mut().expect("it is an object");
                object.remove("session");
                object.remove("ts");
                said.texts.push(value);
            }
            0x88 => said.closed = Some(u16::from(payload[0]) << 8 | u16::from(payload[1])),
            0x89 => {}
            0x8A => said.last_pong = Some(payload.to_vec()),
            other => panic!("the server sends no frame that begins with {other:#x}"),
        }
        bytes = &rest[len..];
    }
    assert!(bytes.is_empty(), "half a frame");
    said
}

/// The codes with which the server may close, and whether it must.
fn judged(mut bytes: &[u8]) -> (Vec<u16>, bool) {
    // The message under way: whether it is text, and what came of it.
    let mut open: Option<(bool, Vec<u8>)> = None;
    loop {
        let (frame, rest) = match next(bytes) {
            Next::Frame(frame, rest) => (frame, rest),
            Next::Cut { codes } => return (codes, false),
            Next::TooBig { codes } => return (codes, true),
        };
        bytes = rest;
        let is_control = frame.opcode & 8 != 0;
        let is_reserved = !matches!(frame.opcode, 0..=2 | 8..=10);
        let is_long = is_control && frame.payload.len() > 125;
        if frame.reserved || is_reserved || !frame.masked || is_long || (is_control && !frame.last)
        {
            return (vec![1002], true);
        }
        match frame.opcode {
            8 => return (closing(&frame.payload), true),
            9 | 10 => continue,
            0 if open.is_none() => return (vec![1002], true),
            1 | 2 if open.is_some() => return (vec![1002], true),
            1 | 2 => open = Some((frame.opcode == 1, Vec::new())),
            _ => {}
        }
        let Some((is_text, message)) = &mut open else {
            continue;
        };
        message.extend(frame.payload);
        let utf8 = std::str::from_utf8(message);
        let is_broken = *is_text && utf8.is_err_and(|e| frame.last || e.error_len().is_some());
        let is_big = message.len() as u64 > MESSAGE_BYTES_MAX;
        match (is_big, is_broken) {
            (true, true) => return (vec![1007, 1009], true),
            (true, false) => return (vec![1009], true),
            (false, true) => return (vec![1007], true),
            (false, false) => {}
        }
        if frame.last {
            if !*is_text {
                return (vec![1003], true);
            }
            open = None;
        }
    }
}

/// How the server answers a close frame with this payload (RFC 6455 5.5.1, 7.4).
fn closing(payload: &[u8]) -> Vec<u16> {
    match payload {
        [] => vec![1000],
        [_] => vec![1002],
        [high, low, reason @ ..] => {
            let code = u16::from(*high) << 8 | u16::from(*low);
            let may_be_sent = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
            match (may_be_sent, std::str::from_utf8(reason).is_ok()) {
                (true, true) => vec![1000],
                (true, false) => vec![1007],
                (false, true) => vec![1002],
                (false, false) => vec![1002, 1007],
            }
        }
    }
}

struct Frame {
    last: bool,
    reserved: bool,
    opcode: u8,
    masked: bool,
    payload: Vec<u8>,
}

enum Next<'a> {
    Frame(Frame, &'a [u8]),
    /// The frame is not whole; what is there may be enough to close.
    Cut {
        codes: Vec<u16>,
    },
    /// It need not be whole: its length is too much.
    TooBig {
        codes: Vec<u16>,
    },
}

fn next(bytes: &[u8]) -> Next<'_> {
    let [first, second, rest @ ..] = bytes else {
        return Next::Cut { codes: vec![1002] };
    };
    let (length, rest) = match (second & 0x7F, rest) {
        (126, [a, b, rest @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), rest),
        (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
            (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest)
        }
        (126 | 127, _) => return Next::Cut { codes: vec![1002] },
        (length, rest) => (u64::from(length), rest),
    };
    let masked = second & 0x80 != 0;
    if length > MESSAGE_BYTES_MAX {
        let codes = vec![1002, 1009];
        // The mask is of the header.
        let is_whole = !masked || rest.len() >= MASK.len();
        return match is_whole {
            true => Next::TooBig { codes },
            false => Next::Cut { codes },
        };
    }
    let (mask, rest) = match (masked, rest) {
        (true, [a, b, c, d, rest @ ..]) => ([*a, *b, *c, *d], rest),
        (true, _) => return Next::Cut { codes: vec![1002] },
        (false, rest) => ([0; 4], rest),
    };
    let Some((payload, rest)) = rest.split_at_checked(length as usize) else {
        return Next::Cut {
            codes: vec![1002, 1007],
        };
    };
    let payload = payload
        .iter()
        .zip(mask.iter().cycle())
        .map(|(byte, mask)| byte ^ mask);
    let frame = Frame {
        last: first & 0x80 != 0,
        reserved: first & 0x70 != 0,
        opcode: first & 0x0F,
        masked,
        payload: payload.collect(),
    };
    Next::Frame(frame, rest)
}

/// Frames, mostly good ones.
fn made(u: &mut Unstructured<'_>) -> Vec<u8> {
    let mut frames = Vec::new();
    while frames.len() < 4096 && one(u, &mut frames).is_ok() {}
    frames
}

fn one(u: &mut Unstructured<'_>, frames: &mut Vec<u8>) -> Result<()> {
    if u.is_empty() {
        return Err(arbitrary::Error::NotEnoughData);
    }
    let first = match u.arbitrary::<u8>()? {
        0..100 => 0x81,
        100..130 => 0x01,
        130..160 => 0x00,
        160..190 => 0x80,
        190..215 => 0x89,
        215..225 => 0x8A,
        225..235 => 0x88,
        235..240 => 0x82,
        240..=255 => u.arbitrary()?,
    };
    let length = match u.arbitrary::<u8>()? {
        length @ 0..230 => usize::from(length),
        length => usize::from(length) * 5,
    };
    let payload = match (first & 0x0F, u.arbitrary::<u8>()?) {
        (0..=1, text @ 0..200) => TEXTS[usize::from(text) % TEXTS.len()].to_vec(),
        _ => u.bytes(length.min(u.len()))?.to_vec(),
    };
    let spelling = u.arbitrary::<u8>()?;
    frames.push(first);
    let is_masked = if spelling == 255 { 0 } else { 0x80 };
    match (payload.len(), spelling) {
        (len, 0..250) if len < 126 => frames.push(is_masked | len as u8),
        (len, 0..252) => {
            frames.push(is_masked | 126);
            frames.extend((len as u16).to_be_bytes());
        }
        (len, _) => {
            frames.push(is_masked | 127);
            frames.extend((len as u64).to_be_bytes());
        }
    }
    if is_masked == 0 {
        frames.extend(payload);
    } else {
        frames.extend(MASK);
        let masked = payload.iter().zip(MASK.iter().cycle());
        frames.extend(masked.map(|(byte, mask)| byte ^ mask));
    }
    Ok(())
}

/// What clients say, whole and in parts.
const TEXTS: [&[u8]; 12] = [
    br#"{"type":"heartbeat"}"#,
    br#"{"type":"subscribe","id":1,"data":{"channels":["a","b.*"],"snapshot":true}}"#,
    br#"{"type":"unsubscribe","data":{"channels":["a"]}}"#,
    br#"{"type":"replay","data":{"channel":"a","from":1}}"#,
    br#"{"type":"auth","data":{"token":"a.b.c"}}"#,
    br#"{"type":"subscribe","data":{"channels":["#,
    br#"">"]}}"#,
    b"\xF0\x9F\x92",
    b"\x96",
    b"",
    b"{",
    b"\xFF",
];
