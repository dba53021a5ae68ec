//! TLS on the server's own port, as real clients meet it.

mod client;
#[path = "../common/mod.rs"]
mod common;
mod handshake;
mod reload;
mod writes;
