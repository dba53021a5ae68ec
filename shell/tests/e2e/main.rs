//! The real binary from outside: real sockets, real processes, a real nats-server.

mod admission;
mod bad_input;
mod client;
#[path = "../common/mod.rs"]
mod common;
mod demo;
mod drain;
mod flood;
mod limits;
mod publisher;
mod server;
mod slow;
