//! The server as its clients meet it: real sockets on free ports, generated clients, and for some the real binary.
//!
//! One subject a file. `harness` starts servers and makes clients, and tests nothing itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may say so with a panic")]

mod admin;
mod audit;
mod bearer;
mod bench;
mod caller_limits;
#[path = "../shared/certificates.rs"]
mod certificates;
#[path = "../shared/channels.rs"]
mod channels;
mod errors;
mod executions;
mod executors;
mod expiry;
mod harness;
mod history;
mod holds;
mod identity;
mod instances;
mod job_action;
mod jobs;
mod layout;
mod lifecycle;
mod lists;
mod my_work;
mod organizations;
mod privileges;
mod races;
mod requests;
mod stream_sync;
mod sync;
mod tasks;
mod tls;
mod tokens;
mod wire;
mod workflows;
