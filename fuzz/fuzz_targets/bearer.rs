//! See `holdpoint::fuzzing::bearer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| holdpoint::fuzzing::bearer(bytes));
