//! Arbitrary bytes as what a stranger or a proxy sends first.
#![no_main]

#[path = "../properties/upgrade.rs"]
mod property;
#[path = "../properties/server.rs"]
mod server;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    property::upgrade(bytes);
});
