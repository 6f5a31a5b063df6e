//! The rows of SPEC 3.2, and its law.

pub(in crate::domain) mod kit;
mod law;
mod stories;
mod tables;
