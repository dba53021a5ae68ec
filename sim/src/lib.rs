//! Odin WS under simulation: what stands in for the world, and what judges the server from outside.
#![forbid(unsafe_code)]

pub mod bell;
pub mod broker;
pub mod client;
pub mod commands;
pub mod dice;
pub mod jetstream;
pub mod marks;
pub mod mutants;
pub mod net;
pub mod oracle;
mod past;
pub mod replay;
pub mod report;
pub mod scenarios;
pub mod stress;
pub mod swarm;
pub mod trace;
pub mod world;
