//! The real binary from outside: real sockets, real processes, a real nats-server.

mod client;
mod core_nats;
mod demo;
mod flow;
mod jetstream;
#[path = "../support/nats.rs"]
#[allow(dead_code, unreachable_pub)]
mod nats;
mod replicas;
mod server;
mod stream;
