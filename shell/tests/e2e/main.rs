//! The real binary from outside: real sockets, real processes, a real nats-server.

mod client;
mod demo;
mod server;
