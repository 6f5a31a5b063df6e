//! The audit: a line for each change that was asked for, with who asked and what came of it. Its lines are events of one
//! target, so that they can go to a file of their own; no payload and no credential goes into them.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use http::HeaderMap;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tracing::Span;

use crate::{auth::Caller, telemetry::AUDIT};

tokio::task_local! {
    static NOTES: Arc<Notes>;
}

/// What a handler says of its call.
#[derive(Debug, Default)]
pub(super) struct Notes {
    resource: OnceLock<String>,
    request_id: OnceLock<String>,
    validate_only: AtomicBool,
}

/// Has the trace and the audit of the current call tell what it is about, the id by which it is safe to repeat, and
/// whether it is asked only to decide. Handlers say so once all of that is known to be well formed.
pub fn note(resource: &str, request_id: &str, validate_only: bool) {
    if !request_id.is_empty() {
        Span::current().record("request_id", request_id);
    }
    // Nobody listens where a handler is called by itself.
    let _ = NOTES.try_with(|notes| notes.set(resource, request_id, validate_only));
}

impl Notes {
    fn set(&self, resource: &str, request_id: &str, validate_only: bool) {
        let _ = self.resource.set(resource.to_owned());
        let _ = self.request_id.set(request_id.to_owned());
        self.validate_only.store(validate_only, Ordering::Relaxed);
    }
}

/// Runs a handler whose notes go there.
pub(super) async fn noting<F: Future>(notes: Arc<Notes>, handler: F) -> F::Output {
    NOTES.scope(notes, handler).await
}

/// The line of one call.
#[derive(Debug, Default)]
pub(super) struct Audit {
    pub(super) notes: Arc<Notes>,
    org: String,
    user: String,
}

impl Audit {
    pub(super) fn record_caller(&mut self, caller: &Caller) {
        self.org.clone_from(&caller.org);
        self.user.clone_from(&caller.user);
    }

    pub(super) fn end(&self, rpc: &str, code: &'static str, reason: &str) {
        let text = |text: &'_ OnceLock<String>| text.get().cloned().unwrap_or_default();
        let (resource, request_id) = (text(&self.notes.resource), text(&self.notes.request_id));
        let validate_only = self.notes.validate_only.load(Ordering::Relaxed);
        let Self { org, user, .. } = self;
        tracing::info!(target: AUDIT, org, user, rpc, resource, request_id, validate_only, code, reason);
    }
}

/// The reason in headers or trailers that tell a refusal.
pub(super) fn reason(headers: &HeaderMap) -> String {
    let status = Status::from_header_map(headers);
    status.and_then(|status| status.get_details_error_info()).map(|info| info.reason).unwrap_or_default()
}

/// The line of one change of several in a call. Dropped before its end is known, it says that the caller went away: what
/// was asked for may have been done.
#[derive(Debug)]
pub struct ChangeAudit {
    audit: Audit,
    rpc: &'static str,
    ended: bool,
}

impl ChangeAudit {
    /// A change that a caller asks for.
    #[must_use]
    pub fn begin(caller: &Caller, rpc: &'static str) -> Self {
        let mut audit = Audit::default();
        audit.record_caller(caller);
        Self { audit, rpc, ended: false }
    }

    /// Has the line tell what the change is about. All of it is well formed.
    pub fn note(&mut self, resource: &str, request_id: &str, validate_only: bool) {
        self.audit.notes.set(resource, request_id, validate_only);
    }

    /// What came of it: `None`, it was accepted.
    pub fn end(mut self, refusal: Option<&Status>) {
        let info = refusal.and_then(Status::get_details_error_info);
        let reason = info.map(|info| info.reason).unwrap_or_default();
        self.end_with(refusal.map_or(Code::Ok, Status::code), &reason);
    }

    fn end_with(&mut self, code: Code, reason: &str) {
        if !self.ended {
            self.ended = true;
            self.audit.end(self.rpc, super::trace::name(code), reason);
        }
    }
}

impl Drop for ChangeAudit {
    fn drop(&mut self) {
        self.end_with(Code::Cancelled, "");
    }
}
