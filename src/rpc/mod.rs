//! Where gRPC begins and ends: every method parses, calls the engine, and renders. Nothing is decided here.

pub mod access;
mod admin;
mod call;
mod expiry;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod intake;
mod job;
pub mod layer;
mod outbox;
mod parse;
mod slots;
pub mod status;
mod sync;
mod task;
mod token;
mod watch;
mod workflow;

pub use self::{
    admin::{AdminService, BackupStream},
    intake::Intake,
    job::JobService,
    outbox::StreamSyncStream,
    sync::SyncService,
    task::TaskService,
    watch::{Drain, WatchJobStream, WatchJobsStream},
    workflow::WorkflowService,
};
