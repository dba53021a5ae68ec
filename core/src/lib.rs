//! The decisions of Odin WS, as pure state machines.
//!
//! Three machines make every decision of the server and perform none of its effects:
//!
//! - [`feed::Feed`] (one per server) turns what the upstream says into numbered publications, each
//!   encoded once, and into the notices of what was lost;
//! - [`gate::Gate`] (one per server) decides who may connect;
//! - [`shard::Shard`] (one per core) holds the logs, the connections' subscriptions and their
//!   cursors, and decides what is written to which socket next.
//!
//! They are driven from outside: `handle` takes an input, `poll_*` gives what is to be done, and
//! time is an argument ([`time::Instant`]). There is no I/O, no clock, no randomness but a seed, no
//! async and no container whose iteration order is not defined; `#![no_std]` and the clippy
//! configuration beside this crate keep it so. The same machines therefore run in production, in
//! the simulator and under the fuzzer.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod config;
pub mod event;
pub mod feed;
pub mod gate;
pub mod history;
pub mod id;
pub mod limiter;
pub mod load;
#[cfg(feature = "mutants")]
pub mod mutant;
#[cfg(not(feature = "mutants"))]
#[allow(unreachable_pub, reason = "public with the feature only")]
mod mutant;
pub mod name;
pub mod reason;
pub mod record;
pub mod shard;
pub mod stats;
pub mod time;
pub mod wire;

/// The version of this server as told to clients in `welcome`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
