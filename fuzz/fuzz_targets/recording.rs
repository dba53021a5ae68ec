//! Arbitrary bytes as a recording of the flight recorder, or as a part of one.
#![no_main]

#[path = "../properties/recording.rs"]
mod property;
#[allow(dead_code, reason = "the clients are judged by another target")]
#[path = "../properties/shard.rs"]
mod shard;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    property::recording(bytes);
});
