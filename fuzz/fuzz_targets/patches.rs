//! See `holdpoint::fuzzing::patches`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holdpoint::fuzzing::patches(bytes));
