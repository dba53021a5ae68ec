//! The real binary from outside: real sockets, real processes, a real nats-server.

mod admission;
mod auth;
mod bad_frames;
mod bad_input;
mod client;
#[path = "../common/mod.rs"]
mod common;
mod core_nats;
mod demo;
mod drain;
mod flood;
mod flow;
mod jetstream;
mod limits;
#[path = "../support/nats.rs"]
#[allow(dead_code, unreachable_pub)]
mod nats;
mod publisher;
mod record;
mod replicas;
mod server;
mod slow;
mod stream;
mod tls;
#[path = "../tls/client.rs"]
#[allow(dead_code)]
mod tls_client;
