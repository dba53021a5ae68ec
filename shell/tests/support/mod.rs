//! What the tests with real servers share.
// Each test binary uses its own part of it.
#![allow(dead_code, unreachable_pub)]

pub mod cluster;
pub mod collect;
pub mod nats;
pub mod proxy;
pub mod wire;
