//! See `holdpoint::fuzzing::expressions`.
#![no_main]

use std::panic;

libfuzzer_sys::fuzz_target!(
    // The parser and the interpreter have corners that panic, which the server catches. What is not caught still ends the run.
    init: panic::set_hook(Box::new(|_| {})),
    |bytes: &[u8]| holdpoint::fuzzing::expressions(bytes)
);
