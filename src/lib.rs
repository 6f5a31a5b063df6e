//! Holdpoint keeps the one true record of a job.

pub mod domain;
pub mod engine;
pub mod proto;
pub mod store;
