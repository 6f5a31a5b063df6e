//! See `holdpoint::fuzzing::tokens`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holdpoint::fuzzing::tokens(bytes));
