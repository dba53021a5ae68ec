//! Arbitrary bytes as what happens to a shard.
#![no_main]

#[path = "../properties/shard.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    property::shard(bytes);
});
