//! The server's side of the WebSocket handshake (RFC 6455 4.2).

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::reply::{self, Reply};

/// The one subprotocol of this server.
const PROTOCOL: &str = "odin.v1.json";

/// A valid upgrade request.
#[derive(Debug)]
pub(super) struct Upgrade {
    accept: String,
    /// Whether the client named the subprotocol, and is to hear that it was chosen.
    named: bool,
}

impl Upgrade {
    /// Checks an upgrade request (RFC 6455 4.2.1).
    pub(super) fn check(request: &Parts) -> Result<Self, Box<Reply>> {
        if request.method != Method::GET {
            return Err(Box::new(reply::method_not_allowed("GET")));
        }
        let headers = &request.headers;
        if request.version != Version::HTTP_11 {
            return Err(bad("An upgrade needs HTTP/1.1."));
        }
        if !lists(headers, &UPGRADE, "websocket") {
            return Err(bad("The header `Upgrade: websocket` is missing."));
        }
        if !lists(headers, &CONNECTION, "upgrade") {
            return Err(bad("The header `Connection: Upgrade` is missing."));
        }
        let length = headers
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length != "0");
        if length || headers.contains_key(TRANSFER_ENCODING) {
            return Err(bad("An upgrade request has no body."));
        }
        if one(headers, &SEC_WEBSOCKET_VERSION) != Some(b"13") {
            let message = "This server speaks version 13 of the protocol.";
            let reply = reply::error(StatusCode::UPGRADE_REQUIRED, "unsupported_version", message);
            let reply = reply::with(reply, UPGRADE, HeaderValue::from_static("websocket"));
            let version = HeaderValue::from_static("13");
            return Err(Box::new(reply::with(reply, SEC_WEBSOCKET_VERSION, version)));
        }
        let key = one(headers, &SEC_WEBSOCKET_KEY).filter(|key| is_key(key));
        let key = key.ok_or_else(|| bad("Sec-WebSocket-Key is not 16 bytes in base64."))?;
        let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let mut offered = offered.flat_map(items).peekable();
        let named = offered.peek().is_some();
        if named && !offered.any(|name| name == PROTOCOL.as_bytes()) {
            return Err(Box::new(reply::error(
                StatusCode::BAD_REQUEST,
                "unsupported_subprotocol",
                "This server speaks the subprotocol odin.v1.json.",
            )));
        }
        Ok(Self {
            accept: derive_accept_key(key),
            named,
        })
    }

    /// The answer that makes the socket a WebSocket connection (RFC 6455 4.2.2).
    pub(super) fn accept(&self) -> Reply {
        let mut reply = Reply::default();
        *reply.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = reply.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        // Base64 is always a valid header value.
        if let Ok(accept) = HeaderValue::from_str(&self.accept) {
            headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        }
        if self.named {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        }
        reply
    }
}

fn bad(message: &str) -> Box<Reply> {
    Box::new(reply::error(
        StatusCode::BAD_REQUEST,
        "bad_upgrade",
        message,
    ))
}

/// The items of a comma-separated header value.
pub(super) fn items(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let items = value
        .as_bytes()
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii);
    items.filter(|item| !item.is_empty())
}

/// Whether the header has this item, in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, item: &str) -> bool {
    let mut all = headers.get_all(name).iter().flat_map(items);
    all.any(|found| found.eq_ignore_ascii_case(item.as_bytes()))
}

/// The value of a header that must be there once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values
        .next()
        .is_none()
        .then(|| value.as_bytes().trim_ascii())
}

/// Whether the text is base64 of 16 bytes: 22 characters and two of padding.
fn is_key(text: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    text.len() == 24 && text[..22].iter().all(digit) && text.ends_with(b"==")
}
