//! The Feed, driven directly: one file per behaviour.

mod chain;
mod driver;
mod following;
mod limits;
mod model;
mod nonce;
mod numbering;
mod replaced;
mod retention;
mod snapshot;
mod unstored;
