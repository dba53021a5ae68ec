//! Arbitrary bytes as what happens to a shard.
#![no_main]

#[allow(dead_code, reason = "recordings of it are another target's")]
#[path = "../properties/shard.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    property::shard(bytes);
});
