//! Hostile clients, hundreds at once, against the real server in a process of its own, beside a client that
//! must not notice. Each test says what the server held for each of them, when it got rid of them, what they cost,
//! and what the neighbour saw; each holds all of this to a bound, and wants everything back afterwards.
//!
//! Times are bounded from below exactly and from above generously: the machine may be busy.

mod catalogue;
mod crowd;
mod figures;
mod floods;
mod frames;
mod handshake;
mod heads;
mod neighbour;
mod readers;
mod replays;
mod resets;
mod stalled;
mod wire;

#[path = "../common/mod.rs"]
mod common;
#[path = "../e2e/server.rs"]
#[allow(dead_code)]
mod server;
#[path = "../tls/client.rs"]
#[allow(dead_code)]
mod tls_client;
