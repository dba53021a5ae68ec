//! The Feed, driven directly: one file per behaviour.

mod chain;
mod driver;
mod following;
mod holes;
mod judge;
mod limits;
mod model;
mod nonce;
mod numbering;
mod proof;
mod recording;
mod replaced;
mod retention;
mod snapshot;
mod unstored;
mod world;
