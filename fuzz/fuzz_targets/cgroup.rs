//! Arbitrary bytes as the kernel's files of control groups.
#![no_main]

#[path = "../properties/cgroup.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    property::cgroup(bytes);
});
