//! Responses: JSON bodies for people and programs, and for everything that is refused.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use odin_core::gate::Refused;
use serde_json::json;

/// A response of this server.
pub(super) type Reply = Response<Full<Bytes>>;

/// A JSON body.
pub(super) fn json(status: StatusCode, body: &serde_json::Value) -> Reply {
    text(status, "application/json", body.to_string())
}

/// A body of some other type.
pub(super) fn text(status: StatusCode, kind: &'static str, body: String) -> Reply {
    let mut reply = Response::new(Full::new(Bytes::from(body)));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// A refusal: `{"error":"code","message":"..."}`.
pub(super) fn error(status: StatusCode, code: &'static str, message: &str) -> Reply {
    json(status, &json!({ "error": code, "message": message }))
}

/// The refusal of what the Gate does not let in: when to come again, in seconds for HTTP and in
/// milliseconds for scripts.
pub(super) fn refused(refused: &Refused) -> Reply {
    let status =
        StatusCode::from_u16(refused.reason.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let millis = u64::try_from(refused.retry_after.as_millis()).unwrap_or(u64::MAX);
    let reply = json(
        status,
        &json!({
            "error": "capacity",
            "message": "This server lets no connection in now; come again later.",
            "reason": refused.reason.label(),
            "retry_after_ms": millis,
        }),
    );
    retry_after(reply, refused.retry_after)
}

/// Adds `Retry-After`: whole seconds, rounded up.
pub(super) fn retry_after(reply: Reply, after: Duration) -> Reply {
    let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    with(reply, RETRY_AFTER, HeaderValue::from(seconds.max(1)))
}

/// Adds a header.
pub(super) fn with(mut reply: Reply, name: HeaderName, value: HeaderValue) -> Reply {
    reply.headers_mut().insert(name, value);
    reply
}

/// The answer to a method that the path does not have.
pub(super) fn method_not_allowed(allow: &'static str) -> Reply {
    let message = format!("This path answers {allow} only.");
    let reply = error(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        &message,
    );
    with(reply, ALLOW, HeaderValue::from_static(allow))
}
