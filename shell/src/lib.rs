//! The shell of Odin WS: sockets, threads, NATS, files and time, adapted to the machines of `odin-core`.
#![forbid(unsafe_code)]

pub mod auth;
pub mod cgroup;
mod connection;
mod door;
pub mod drain;
mod driver;
pub mod health;
pub mod healthcheck;
mod http;
pub mod listener;
pub mod logging;
pub mod metrics;
pub mod overview;
pub mod proxy;
pub mod recorder;
mod reload;
pub mod server;
pub mod settings;
pub mod source;
pub mod tls;
pub mod top;
