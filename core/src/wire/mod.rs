//! The wire format: what clients send, what they are sent, and the frames around it.

pub mod event;
pub mod frame;
pub mod request;
