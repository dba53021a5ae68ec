//! A request to the JetStream API, as JSON.

use async_nats::jetstream;
use async_nats::jetstream::response::Response;
use serde_json::Value;

/// Asks the JetStream API.
pub(super) async fn request(
    context: &jetstream::Context,
    subject: String,
    body: &Value,
) -> Result<Value, String> {
    match context.request(subject, body).await {
        Ok(Response::Ok(answer)) => Ok(answer),
        Ok(Response::Err { error }) => Err(error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
