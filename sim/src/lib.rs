//! Simulation of Odin WS: the real server and its core in a world that is made from one number.
#![forbid(unsafe_code)]

pub mod bell;
pub mod broker;
pub mod client;
pub mod dice;
pub mod net;
pub mod report;
pub mod scenarios;
pub mod trace;
pub mod world;
