//! Arbitrary bytes as what a WebSocket client sends.
#![no_main]

#[path = "../properties/frames.rs"]
mod property;
#[allow(dead_code, reason = "proxies are of another target")]
#[path = "../properties/server.rs"]
mod server;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    property::frames(bytes);
});
