//! `POST /publish/{channel}`: one message into the source.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use odin_core::name;
use serde_json::json;

use super::guard::{self, Peer};
use super::reply::{self, Reply};
use crate::server::shared::Shared;
use crate::source::{PublishError, Published};

/// When to try again after the source was away.
const RETRY: Duration = Duration::from_secs(1);

/// What a publisher that tries again says to be known (draft-ietf-httpapi-idempotency-key-header).
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The longest key, in bytes.
const KEY_BYTES_MAX: usize = 128;

/// Answers a request whose path is `/publish/` and then `rest`.
pub(super) async fn answer(
    shared: &Shared,
    peer: Peer,
    request: &Parts,
    rest: &str,
    body: Incoming,
) -> Result<Reply, Box<Reply>> {
    // Also a preflight ends here, without the headers that would let a page go on.
    if request.method != Method::POST {
        return Err(Box::new(reply::method_not_allowed("POST")));
    }
    let publisher = guard::check_publisher(shared, &request.headers, peer);
    let publisher = publisher.inspect_err(|_| shared.counters.publish_forbidden())?;
    let channel = channel(rest)?;
    if publisher
        .as_ref()
        .is_some_and(|publisher| !publisher.may(&channel))
    {
        shared.counters.publish_forbidden();
        return refuse(
            StatusCode::FORBIDDEN,
            "channel_not_allowed",
            "This token does not allow this channel.",
        );
    }
    let kind = request
        .headers
        .get(CONTENT_TYPE)
        .map(|kind| kind.as_bytes());
    let kind = kind.and_then(|kind| kind.split(|byte| *byte == b';').next());
    let taken = [&b"application/json"[..], b"application/octet-stream"];
    if !kind.is_some_and(|kind| {
        taken
            .iter()
            .any(|t| kind.trim_ascii().eq_ignore_ascii_case(t))
    }) {
        return refuse(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_media_type",
            "Content-Type must be application/json or application/octet-stream.",
        );
    }
    let key = idempotency_key(&request.headers)?;
    let own = publisher
        .as_ref()
        .and_then(|publisher| publisher.payload_bytes_max);
    let bytes_max = shared.settings.payload_bytes_max;
    let payload = payload(body, own.map_or(bytes_max, |own| own.min(bytes_max))).await?;
    let outcome = shared.publisher.publish_once(&channel, payload, key).await;
    if let Some(publisher) = &publisher {
        tracing::debug!(
            publisher = publisher.name,
            channel,
            ok = outcome.is_ok(),
            "published"
        );
    }
    outcome
        .map(|published| accepted(shared, &channel, published))
        .map_err(refusal)
}

/// The answer to a message that was taken, now or before.
fn accepted(shared: &Shared, channel: &str, published: Published) -> Reply {
    let Some(seq) = published.seq else {
        shared.counters.published();
        return reply::json(StatusCode::ACCEPTED, &json!({ "channel": channel }));
    };
    let mut body = json!({ "channel": channel, "seq": seq });
    if published.duplicate {
        shared.counters.duplicate();
        body["duplicate"] = true.into();
    } else {
        shared.counters.published();
    }
    reply::json(StatusCode::OK, &body)
}

fn refusal(error: PublishError) -> Box<Reply> {
    match error {
        PublishError::InvalidChannel => invalid_channel("The source does not take it."),
        PublishError::TooLarge => too_large(),
        PublishError::Unavailable => {
            let message = "The source is not connected, or did not answer in time.";
            let reply = unavailable("source_unavailable", message);
            Box::new(reply::retry_after(reply, RETRY))
        }
        PublishError::ChannelLimit => {
            let reply = unavailable("channel_limit", "There are channels_max channels already.");
            Box::new(reply::retry_after(reply, RETRY))
        }
        PublishError::NoKeys => Box::new(reply::error(
            StatusCode::BAD_REQUEST,
            "idempotency_unsupported",
            "This server's source, core NATS, does not know a message again.",
        )),
    }
}

/// The key by which a message is known again: 1 to 128 visible ASCII characters, maybe in quotes.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Box<Reply>> {
    let mut all = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = all.next() else {
        return Ok(None);
    };
    let key = key.to_str().ok().map(|key| {
        let inner = key.strip_prefix('"').and_then(|key| key.strip_suffix('"'));
        inner.unwrap_or(key)
    });
    let is_legal = |key: &&str| {
        (1..=KEY_BYTES_MAX).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match key.filter(is_legal) {
        Some(key) if all.next().is_none() => Ok(Some(key)),
        _ => refuse(
            StatusCode::BAD_REQUEST,
            "invalid_idempotency_key",
            "There is one Idempotency-Key, of 1 to 128 visible ASCII characters.",
        ),
    }
}

fn refuse<T>(status: StatusCode, code: &'static str, message: &str) -> Result<T, Box<Reply>> {
    Err(Box::new(reply::error(status, code, message)))
}

fn unavailable(code: &'static str, message: &str) -> Reply {
    reply::error(StatusCode::SERVICE_UNAVAILABLE, code, message)
}

fn too_large() -> Box<Reply> {
    let message = "The body is over payload_bytes_max, the server's or the publisher's.";
    Box::new(reply::error(
        StatusCode::PAYLOAD_TOO_LARGE,
        "payload_too_large",
        message,
    ))
}

fn invalid_channel(why: &str) -> Box<Reply> {
    let message = format!("This is no channel name: {why}");
    Box::new(reply::error(
        StatusCode::BAD_REQUEST,
        "invalid_channel",
        &message,
    ))
}

/// The channel that a path names.
fn channel(path: &str) -> Result<String, Box<Reply>> {
    let bytes = percent_decoded(path)
        .ok_or_else(|| invalid_channel("a percent sign is not followed by two hex digits."))?;
    let name = String::from_utf8(bytes).map_err(|_| invalid_channel("it is not UTF-8."))?;
    name::check_channel(&name).map_err(|error| invalid_channel(&error.to_string()))?;
    Ok(name)
}

async fn payload(body: Incoming, bytes_max: usize) -> Result<Bytes, Box<Reply>> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > bytes_max {
        return Err(too_large());
    }
    let payload = match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(too_large()),
        Err(_) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                "bad_body",
                "The body did not arrive whole.",
            );
        }
    };
    if payload.is_empty() {
        return refuse(
            StatusCode::BAD_REQUEST,
            "empty_body",
            "A message has at least one byte.",
        );
    }
    Ok(payload)
}

/// The bytes of a percent-encoded text (RFC 3986 2.1); `None`: an escape is broken.
fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            _ => byte,
        });
    }
    Some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn escapes_are_decoded_and_broken_ones_refused() {
        assert_eq!(
            percent_decoded("BTC%2fUSDT%20"),
            Some(b"BTC/USDT ".to_vec())
        );
        assert_eq!(percent_decoded("%C3%A9"), Some("é".as_bytes().to_vec()));
        for broken in ["%", "a%2", "%zz", "%+1"] {
            assert_eq!(percent_decoded(broken), None, "{broken}");
        }
    }
}
