//! The `odin-ws` binary.
#![forbid(unsafe_code)]

fn main() {}
