//! Arbitrary bytes as what a WebSocket client sends.
#![no_main]

#[path = "../properties/frames.rs"]
mod property;
#[path = "../properties/server.rs"]
mod server;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    property::frames(bytes);
});
