//! A model of a shard's surroundings, seen from outside: what was published, what each client asked
//! for and was sent, and whether that is what `docs/PROTOCOL.md` promises. It shares no logic with
//! the shard: frames are made and read here, and every rule is stated over the full history.

pub mod client;
pub mod frames;
pub mod history;
pub mod judge;
pub mod ops;
pub mod world;
