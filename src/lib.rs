//! Holdpoint keeps the one true record of a job.
//!
//! A request goes one way: [`rpc`] parses it to a command, [`engine`] queues the command for its partition's writer,
//! [`domain`] decides it, [`store`] makes it durable, and only then is it answered and shown to those who watch.
//! `ARCHITECTURE.md` has the map and the invariants.

// What there is to say goes to the log, or to whom the command line was given.
#![cfg_attr(not(test), warn(clippy::dbg_macro, clippy::print_stderr, clippy::print_stdout))]

pub mod auth;
#[cfg(test)]
#[path = "../tests/shared/chance.rs"]
mod chance;
pub mod cli;
pub mod config;
pub mod domain;
pub mod engine;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod proto;
pub mod rpc;
pub mod server;
pub mod store;
pub mod telemetry;
