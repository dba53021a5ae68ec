//! Arbitrary bytes as flags, environment and file.
#![no_main]

#[path = "../properties/settings.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    property::settings(bytes);
});
