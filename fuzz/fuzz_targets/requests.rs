//! See `holdpoint::fuzzing::requests`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holdpoint::fuzzing::requests(bytes));
