//! Arbitrary bytes as a token, or as what is signed and what is changed in it then.
#![no_main]

#[path = "../properties/token.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    property::token(bytes);
});
