//! The shell of Odin WS: sockets, threads, NATS, files and time, adapted to the machines of `odin-core`.
#![forbid(unsafe_code)]

pub mod cgroup;
pub mod connection;
pub mod driver;
pub mod health;
pub mod http;
pub mod listener;
pub mod logging;
pub mod metrics;
pub mod server;
pub mod settings;
pub mod source;
