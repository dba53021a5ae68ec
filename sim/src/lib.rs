//! Odin WS under simulation: what stands in for the world, and what judges the server from outside.
#![forbid(unsafe_code)]

pub mod marks;
pub mod mutants;
pub mod oracle;
pub mod swarm;
