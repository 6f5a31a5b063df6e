//! One span for each call, and one event at its end. No payload and no credential goes into either.

use std::sync::Arc;

use http::{HeaderMap, Request};
use tokio::time::Instant;
use tonic::{Code, Status};
use tracing::{Level, Span, field::Empty};

use super::audit::{self, Audit, Notes};
use crate::{auth::Caller, rpc::access};

/// The longest path that is told.
const PATH_CHARACTERS_MAX: usize = 128;

/// The record of one call. Dropped before its end is known, it says that the caller went away.
#[derive(Debug)]
pub(super) struct Trace {
    span: Span,
    path: String,
    received: Instant,
    ended: bool,
    /// What is said of the call in the audit, where it is one that changes something.
    audit: Option<Audit>,
}

impl Trace {
    pub(super) fn begin<B>(request: &Request<B>, received: Instant) -> Self {
        // Whoever calls what there is not may call it anything.
        let told: String = request.uri().path().chars().take(PATH_CHARACTERS_MAX).collect();
        let span = tracing::info_span!(
            "request",
            rpc.method = told,
            org = Empty,
            user = Empty,
            request_id = Empty,
            code = Empty,
            duration_ms = Empty,
        );
        let path = request.uri().path().to_owned();
        let audit = access::of(&path).filter(|access| access.changes).map(|_| Audit::default());
        Self { span, path, received, ended: false, audit }
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Where the handler's notes go.
    pub(super) fn notes(&self) -> Arc<Notes> {
        self.audit.as_ref().map(|audit| Arc::clone(&audit.notes)).unwrap_or_default()
    }

    pub(super) fn record_caller(&mut self, caller: &Caller) {
        if let Some(audit) = &mut self.audit {
            audit.record_caller(caller);
        }
        self.span.record("org", caller.org.as_str());
        self.span.record("user", caller.user.as_str());
    }

    /// The end, where these headers or trailers tell it.
    pub(super) fn end_if_told(&mut self, headers: &HeaderMap) {
        if let Some(code) = headers.get(Status::GRPC_STATUS) {
            let code = Code::from_bytes(code.as_bytes());
            let is_told = self.audit.is_some() && code != Code::Ok;
            let reason = if is_told { audit::reason(headers) } else { String::new() };
            self.end_with(code, &reason);
        }
    }

    /// The end. What comes after the first is not looked at.
    pub(super) fn end(&mut self, code: Code) {
        self.end_with(code, "");
    }

    fn end_with(&mut self, code: Code, reason: &str) {
        if self.ended {
            return;
        }
        self.ended = true;
        let (name, level) = verdict(code);
        let microseconds = u32::try_from(self.received.elapsed().as_micros()).unwrap_or(u32::MAX);
        self.span.record("code", name);
        self.span.record("duration_ms", f64::from(microseconds) / 1_000.0);

        if let Some(audit) = &self.audit {
            audit.end(&self.path, name, reason);
        }
        let _entered = self.span.enter();
        if level == Level::WARN {
            tracing::warn!("call failed");
        } else if level == Level::INFO {
            tracing::info!("call refused");
        } else {
            tracing::debug!("call ended");
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let code = if std::thread::panicking() { Code::Internal } else { Code::Cancelled };
        self.end(code);
    }
}

/// What a code is called.
pub(super) fn name(code: Code) -> &'static str {
    verdict(code).0
}

/// What a code is called, and how loudly its call ends. A refusal is ordinary; a fault was logged with its cause where it
/// became a status, and here is only told apart.
fn verdict(code: Code) -> (&'static str, Level) {
    match code {
        Code::Ok => ("OK", Level::DEBUG),
        Code::Cancelled => ("CANCELLED", Level::DEBUG),
        Code::Unknown => ("UNKNOWN", Level::WARN),
        Code::InvalidArgument => ("INVALID_ARGUMENT", Level::INFO),
        Code::DeadlineExceeded => ("DEADLINE_EXCEEDED", Level::INFO),
        Code::NotFound => ("NOT_FOUND", Level::INFO),
        Code::AlreadyExists => ("ALREADY_EXISTS", Level::INFO),
        Code::PermissionDenied => ("PERMISSION_DENIED", Level::INFO),
        Code::ResourceExhausted => ("RESOURCE_EXHAUSTED", Level::INFO),
        Code::FailedPrecondition => ("FAILED_PRECONDITION", Level::INFO),
        Code::Aborted => ("ABORTED", Level::INFO),
        Code::OutOfRange => ("OUT_OF_RANGE", Level::INFO),
        Code::Unimplemented => ("UNIMPLEMENTED", Level::INFO),
        Code::Internal => ("INTERNAL", Level::WARN),
        Code::Unavailable => ("UNAVAILABLE", Level::INFO),
        Code::DataLoss => ("DATA_LOSS", Level::WARN),
        Code::Unauthenticated => ("UNAUTHENTICATED", Level::INFO),
    }
}
