//! Arbitrary bytes as a recording of the flight recorder, or as a part of one.
#![no_main]

#[path = "../properties/recording.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    property::recording(bytes);
});
