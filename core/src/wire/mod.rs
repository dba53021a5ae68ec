//! The wire format: what clients send, what they are sent, and the frames around it.
//!
//! [`request`] turns a client's text into a checked request or the error that answers it; [`event`]
//! makes each message of the server as one complete frame; [`frame`] is the WebSocket framing below
//! both. What the messages mean to a client is written in `docs/PROTOCOL.md`; what they do is decided
//! by the shard.

pub mod event;
mod fields;
pub mod frame;
mod json;
pub mod request;
