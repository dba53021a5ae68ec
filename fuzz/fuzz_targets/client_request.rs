//! Arbitrary bytes as the message of a client.
#![no_main]

#[path = "../properties/client_request.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    property::client_request(bytes);
});
