//! A model of a shard's surroundings, seen from outside: what was published, what each client asked
//! for and was sent, and whether that is what `docs/PROTOCOL.md` promises. It shares no logic with
//! the shard: frames are made and read here, and every rule is stated over the full history.

pub(crate) mod asks;
pub(crate) mod client;
pub(crate) mod entries;
pub(crate) mod feed;
pub(crate) mod frames;
pub(crate) mod history;
pub(crate) mod judge;
pub(crate) mod ops;
pub(crate) mod world;
