//! Arbitrary bytes as what comes from NATS.
#![no_main]

#[path = "../properties/feed.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    property::feed(bytes);
});
