//! What is fuzzed: bytes from outside, read as the server reads them. One function for each target in `fuzz/`, which panics
//! where something does not hold. A test runs each over what was found before, in `fuzz/corpus/`.

#[cfg(test)]
mod tests;

pub use crate::{
    auth::fuzzing::bearer,
    domain::fuzzing::expressions,
    rpc::fuzzing::{patches, requests, tokens},
    store::fuzzing::records,
};
