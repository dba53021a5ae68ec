//! `POST /debug/record`: writes what the flight recorder holds.

use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde_json::json;

use super::reply::{self, Reply};
use crate::recorder::RecordError;
use crate::server::shared::Shared;

/// Answers a request of somebody who may administer: with the path of the file.
pub(super) async fn record(shared: &Shared, request: &Parts) -> Result<Reply, Box<Reply>> {
    if request.method != Method::POST {
        return Err(Box::new(reply::method_not_allowed("POST")));
    }
    match shared.record_in_turn("POST /debug/record").await {
        Ok(written) => {
            tracing::info!(path = %written.path.display(), "recording written");
            Ok(reply::json(
                StatusCode::OK,
                &json!({
                    "path": written.path.display().to_string(),
                    "bytes": written.bytes,
                    "machines": written.machines,
                }),
            ))
        }
        Err(error) => Err(Box::new(refused(&error))),
    }
}

fn refused(error: &RecordError) -> Reply {
    let message = error.to_string();
    match error {
        RecordError::TooSoon { retry_after } => {
            let status = StatusCode::TOO_MANY_REQUESTS;
            let reply = reply::error(status, "too_soon", &message);
            reply::retry_after(reply, *retry_after)
        }
        RecordError::Nothing => reply::error(StatusCode::CONFLICT, "not_recording", &message),
        RecordError::Io(_) => {
            tracing::error!(%error, "no recording");
            reply::error(StatusCode::INTERNAL_SERVER_ERROR, "not_written", &message)
        }
    }
}
