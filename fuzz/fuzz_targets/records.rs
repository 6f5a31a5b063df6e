//! See `holdpoint::fuzzing::records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holdpoint::fuzzing::records(bytes));
