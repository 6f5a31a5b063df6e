//! What goes wrong in the field: kills, clients that do not read or do not begin, shutdowns, tokens that are too old. A real server on a
//! real socket, and the generated clients.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may say so with a panic")]

#[path = "../shared/certificates.rs"]
#[allow(dead_code, reason = "the tests here do not need all of it")]
mod certificates;
#[path = "../shared/channels.rs"]
mod channels;
mod connections;
mod drain;
mod expiry;
mod histories;
mod kill;
mod kit;
mod one_job;
mod slow;
