//! The only place in the program that makes a `tonic::Status`.
//!
//! Codes follow google.rpc.Code. Every refusal carries an `ErrorInfo` whose reason is a value of
//! `holdpoint.v1.ErrorReason`: clients branch on the reason and show the message. A fault says nothing about our insides;
//! the log has them, under the same incident id.

use std::{
    collections::{HashMap, hash_map::RandomState},
    error::Error,
    hash::BuildHasher as _,
    ops::RangeInclusive,
    time::Duration,
};

use prost::Message as _;
use prost_types::Timestamp;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _, pb};
use uuid::Uuid;

use crate::{
    auth,
    domain::{Dependency, Rejection},
    engine,
    proto::v1::ErrorReason,
};

const DOMAIN: &str = "holdpoint";
/// Clients allow 8 KiB for all metadata of a reply, by default, and see RESOURCE_EXHAUSTED instead of our error where
/// it is more. Base64 adds a third.
const DETAILS_BYTES_MAX: usize = 3 << 10;
/// What `BadRequest` may take of that; the rest is for `ErrorInfo` and the message, which stands in the details again.
const VIOLATIONS_BYTES_MAX: usize = DETAILS_BYTES_MAX - 768;
/// The longest piece of text that came from outside and goes into an error.
const QUOTE_BYTES_MAX: usize = 256;
/// How many ids of steps an error names.
const STEP_IDS_MAX: usize = 20;
/// What a list of ids may take in an error. An error has one at most.
const LIST_BYTES_MAX: usize = 1 << 10;
/// Stands where something was left out.
const ELLIPSIS: &str = "…";
const RECONNECT_MILLISECONDS: RangeInclusive<u64> = 1_000..=5_000;
const OVERLOAD_MILLISECONDS: RangeInclusive<u64> = 100..=1_000;

/// INVALID_ARGUMENT: these fields of the request are wrong, and so many more. As many are named as fit, in the order given.
#[must_use]
pub fn invalid(violations: Vec<FieldViolation>, more: usize) -> Status {
    bad_request("invalid request", ErrorReason::FieldInvalid, violations, more)
}

/// INVALID_ARGUMENT: the request would change what cannot be changed. As much of it is named as fits.
#[must_use]
pub fn immutable_fields(violations: Vec<FieldViolation>, more: usize) -> Status {
    bad_request(
        "the request would change what cannot be changed",
        ErrorReason::ImmutableField,
        violations,
        more,
    )
}

fn bad_request(what: &str, reason: ErrorReason, violations: Vec<FieldViolation>, more: usize) -> Status {
    let count = violations.len() + more;
    let mut bytes = 0;
    let named: Vec<_> = violations
        .into_iter()
        .map(|violation| FieldViolation::new(clip(&violation.field), clip(&violation.description)))
        .take_while(|violation| {
            bytes += violation_bytes(violation);
            bytes <= VIOLATIONS_BYTES_MAX
        })
        .collect();

    let message = match named.as_slice() {
        [only] if count == 1 => format!("{what}: {} {}", only.field, only.description),
        _ => format!("{what}: {count} fields"),
    };
    let omitted = count - named.len();
    let omitted = (omitted > 0).then(|| ("omitted", omitted.to_string()));
    refuse(Code::InvalidArgument, message, reason, omitted, ErrorDetails::with_bad_request(named))
}

/// DEADLINE_EXCEEDED: the deadline of the call passed.
#[must_use]
pub fn deadline_exceeded() -> Status {
    let message = "the deadline of the call has passed; a change may have been made".to_owned();
    refuse(Code::DeadlineExceeded, message, ErrorReason::DeadlineExceeded, [], ErrorDetails::new())
}

/// INVALID_ARGUMENT: the message cannot be decoded; `detail` is what the decoder said.
#[must_use]
pub fn malformed(detail: &str) -> Status {
    let message = format!("the message cannot be decoded: {}", clip(detail));
    refuse(Code::InvalidArgument, message, ErrorReason::MessageMalformed, [], ErrorDetails::new())
}

/// RESOURCE_EXHAUSTED: the message is longer than the server takes.
#[must_use]
pub fn message_too_large(maximum: usize) -> Status {
    limit_exceeded("message_bytes", maximum as u64)
}

/// INVALID_ARGUMENT: the metadata that tells the caller is wrong. UNAUTHENTICATED: the credentials are not there, or not good.
#[must_use]
pub fn not_let_in(refusal: auth::Refusal) -> Status {
    let unauthenticated = |reason| {
        let (message, details) = (refusal.to_string(), ErrorDetails::new());
        refuse(Code::Unauthenticated, message, reason, [], details)
    };
    match refusal {
        auth::Refusal::Metadata { key, .. } => {
            let (message, key) = (refusal.to_string(), ("key", key.to_owned()));
            refuse(Code::InvalidArgument, message, ErrorReason::CallerInvalid, [key], ErrorDetails::new())
        }
        auth::Refusal::Missing => unauthenticated(ErrorReason::CredentialsMissing),
        auth::Refusal::Invalid(_) => unauthenticated(ErrorReason::CredentialsInvalid),
        auth::Refusal::Expired => unauthenticated(ErrorReason::CredentialsExpired),
    }
}

/// PERMISSION_DENIED: the RPC is about every organization, and the caller's is not one that may call it.
#[must_use]
pub fn not_an_admin_organization() -> Status {
    let message = "the privilege adminAdvanced is not enough: the caller's organization is not one of \
                   auth.admin_organizations"
        .to_owned();
    let metadata = [("privilege", "adminAdvanced".to_owned())];
    refuse(Code::PermissionDenied, message, ErrorReason::PrivilegeMissing, metadata, ErrorDetails::new())
}

/// UNAVAILABLE: the server is going away. Clients are asked to come back at different times.
#[must_use]
pub fn shutting_down() -> Status {
    let message = "the server is shutting down".to_owned();
    let details = ErrorDetails::with_retry_info(Some(random(RECONNECT_MILLISECONDS)));
    refuse(Code::Unavailable, message, ErrorReason::ShuttingDown, [], details)
}

/// RESOURCE_EXHAUSTED: `limit`, the name of a member of `config::Limits`, would be passed.
#[must_use]
pub fn limit_exceeded(limit: &'static str, maximum: u64) -> Status {
    let message = format!("the limit {limit} of {maximum} would be passed");
    let metadata = [("limit", limit.to_owned()), ("maximum", maximum.to_string())];
    refuse(Code::ResourceExhausted, message, ErrorReason::LimitExceeded, metadata, ErrorDetails::new())
}

/// RESOURCE_EXHAUSTED: `limit` would be passed now; there is room for more later, and after `retry` where that is known.
#[must_use]
pub fn limit_exceeded_for_now(limit: &'static str, maximum: u64, retry: Option<Duration>) -> Status {
    let message = format!("the limit {limit} of {maximum} would be passed");
    let metadata = [("limit", limit.to_owned()), ("maximum", maximum.to_string())];
    let retry = retry.unwrap_or_else(|| random(RECONNECT_MILLISECONDS));
    let details = ErrorDetails::with_retry_info(Some(retry));
    refuse(Code::ResourceExhausted, message, ErrorReason::LimitExceeded, metadata, details)
}

/// RESOURCE_EXHAUSTED: more comes in than the server can do, and `limit`, the name of a member of `config::Limits`, would be
/// passed.
#[must_use]
pub fn overloaded(limit: &'static str, maximum: u64) -> Status {
    let message = format!("the server is overloaded: the limit {limit} of {maximum} would be passed");
    let metadata = [("limit", limit.to_owned()), ("maximum", maximum.to_string())];
    let details = ErrorDetails::with_retry_info(Some(random(OVERLOAD_MILLISECONDS)));
    refuse(Code::ResourceExhausted, message, ErrorReason::Overloaded, metadata, details)
}

/// INTERNAL: a fault of ours. It is logged here, and nowhere else; the client gets the id to find it by.
#[must_use]
pub fn internal(fault: &(dyn Error + 'static)) -> Status {
    let incident = Uuid::now_v7().to_string();
    tracing::error!(incident, error = fault, "internal fault");
    let message = "internal fault; the server's log has more under the incident".to_owned();
    let incident = ("incident", incident);
    refuse(Code::Internal, message, ErrorReason::Internal, [incident], ErrorDetails::new())
}

/// INVALID_ARGUMENT: the page token was not made for this request, or is damaged.
#[must_use]
pub fn page_token_invalid() -> Status {
    let message = "the page token was not made for this request; begin without one".to_owned();
    refuse(Code::InvalidArgument, message, ErrorReason::PageTokenInvalid, [], ErrorDetails::new())
}

/// INVALID_ARGUMENT: the resume token was not made for this watch, or is damaged.
#[must_use]
pub fn resume_token_invalid() -> Status {
    let message = "the resume token was not made for this watch; take a new snapshot".to_owned();
    refuse(Code::InvalidArgument, message, ErrorReason::ResumeTokenInvalid, [], ErrorDetails::new())
}

/// FAILED_PRECONDITION: the resume token was made by another store, or lies ahead of this one.
#[must_use]
pub fn resume_token_foreign() -> Status {
    let message = "the resume token was made by another store; take a new snapshot".to_owned();
    refuse(Code::FailedPrecondition, message, ErrorReason::ResumeTokenForeign, [], ErrorDetails::new())
}

/// OUT_OF_RANGE: what comes after the resume token is no longer kept.
#[must_use]
pub fn resume_token_expired(oldest: Option<Timestamp>) -> Status {
    let message = "events after the resume token are no longer kept; take a new snapshot".to_owned();
    let oldest = oldest.map(|time| ("oldest", time.to_string()));
    refuse(Code::OutOfRange, message, ErrorReason::ResumeTokenExpired, oldest, ErrorDetails::new())
}

/// NOT_FOUND: the caller's organization has no such job. `key` is `jobId` or `clientJobId`.
#[must_use]
pub fn job_not_found(key: &'static str, id: &str) -> Status {
    let details = ErrorDetails::with_resource_info("holdpoint.v1.Job", clip(id), "", "");
    refuse(
        Code::NotFound,
        "no such job".to_owned(),
        ErrorReason::JobNotFound,
        [(key, id.to_owned())],
        details,
    )
}

/// A status as a message, with all its details: for a stream that tells it and goes on.
#[must_use]
pub fn as_message(status: &Status) -> pb::Status {
    // The bytes of the details are the whole status, encoded; where there are none, it has only code and text.
    let details = pb::Status::decode(status.details()).map(|whole| whole.details).unwrap_or_default();
    pb::Status { code: status.code().into(), message: status.message().to_owned(), details }
}

/// What the engine refused or failed to do. `id` is what the request called the job, or the task.
#[must_use]
pub fn from_engine(id: &str, error: engine::Error) -> Status {
    let message = error.to_string();
    match error {
        engine::Error::Rejected(rejection) => from_rejection(id, rejection),
        engine::Error::RequestIdReused => precondition(message, ErrorReason::RequestIdReused, Vec::new()),
        engine::Error::Overloaded { limit, maximum } => overloaded(limit, maximum),
        engine::Error::Full { free_bytes_min } => {
            let message =
                format!("{message}: nothing is added until there is room again; reads and DeleteJob go on");
            let metadata = [("freeBytesMin", free_bytes_min.to_string())];
            let details = ErrorDetails::with_retry_info(Some(random(RECONNECT_MILLISECONDS)));
            refuse(Code::ResourceExhausted, message, ErrorReason::StoreFull, metadata, details)
        }
        engine::Error::Stopping => shutting_down(),
        // Logged once, where the server learns that it must stop.
        engine::Error::Failed(_) => {
            let message =
                "the store failed, and the server is stopping; a change may have been made".to_owned();
            refuse(Code::Unavailable, message, ErrorReason::StoreFailed, [], ErrorDetails::new())
        }
        engine::Error::Store(error) => internal(&error),
        engine::Error::BrokeDown(_) => internal(&error),
    }
}

fn from_rejection(id: &str, rejection: Rejection) -> Status {
    use ErrorReason as Reason;

    let message = rejection.to_string();
    let none = ErrorDetails::new();
    match rejection {
        Rejection::JobNotFound => job_not_found("jobId", id),
        Rejection::JobAlreadyExists { job_id } => {
            refuse(Code::AlreadyExists, message, Reason::JobAlreadyExists, [("jobId", job_id)], none)
        }
        Rejection::JobIdRetired { job_id } => {
            refuse(Code::AlreadyExists, message, Reason::JobDeleted, [("jobId", job_id)], none)
        }
        Rejection::JobDeleted { job_id } => precondition(message, Reason::JobDeleted, [("jobId", job_id)]),
        Rejection::JobClosed { job_id } => precondition(message, Reason::JobClosed, [("jobId", job_id)]),
        Rejection::JobCompleted { job_id } => {
            precondition(message, Reason::JobCompleted, [("jobId", job_id)])
        }
        Rejection::StepsRunning { job_id, mut step_ids } => {
            step_ids.truncate(STEP_IDS_MAX);
            let step_ids = ("stepIds", list(&step_ids, ","));
            precondition(message, Reason::StepsRunning, [("jobId", job_id), step_ids])
        }
        Rejection::WorkflowMismatch { job_id, workflow_id } => {
            let metadata = [("jobId", job_id), ("workflowId", workflow_id)];
            precondition(message, Reason::WorkflowMismatch, metadata)
        }
        Rejection::WorkflowNotFound { workflow_id, version_id } => {
            let version_id = version_id.map(|version_id| ("versionId", version_id));
            let metadata = std::iter::once(("workflowId", workflow_id)).chain(version_id);
            precondition(message, Reason::WorkflowNotFound, metadata.collect::<Vec<_>>())
        }
        Rejection::JobOpen { job_id } => precondition(message, Reason::JobOpen, [("jobId", job_id)]),
        Rejection::StepNotFound { job_id, step_ids } => {
            let resource = format!("{job_id}/{}", step_ids.first().map_or("", String::as_str));
            let details = ErrorDetails::with_resource_info("holdpoint.v1.Step", clip(&resource), "", "");
            let metadata = [("jobId", job_id), ("stepIds", list(&step_ids, ","))];
            refuse(Code::NotFound, message, Reason::StepNotFound, metadata, details)
        }
        Rejection::DependencyNotFound(Dependency { job_id, step_id }) => {
            let step_id = step_id.map(|step_id| ("dependentStepId", step_id));
            let metadata = std::iter::once(("dependentJobId", job_id)).chain(step_id);
            precondition(message, Reason::DependencyNotFound, metadata.collect::<Vec<_>>())
        }
        Rejection::DependencyCircle { circle } => {
            precondition(clip(&message), Reason::DependencyCircle, [("circle", list(&circle, " "))])
        }
        Rejection::PrivilegeMissing { privilege } => privilege_missing(privilege),
        Rejection::TaskNotFound => task_not_found(id),
        Rejection::TaskAlreadyClosed { task_id } => {
            precondition(message, Reason::TaskAlreadyClosed, vec![("taskId", task_id)])
        }
        Rejection::TaskAlreadyStarted { task_id, started_by } => {
            let metadata = [("taskId", task_id), ("startedBy", started_by)];
            precondition(clip(&message), Reason::TaskAlreadyStarted, metadata)
        }
        Rejection::WorkflowAlreadyClosed { workflow_instance_id, attempt_id } => {
            let metadata =
                [("workflowInstanceId", workflow_instance_id), ("attemptId", attempt_id.to_string())];
            precondition(message, Reason::WorkflowAlreadyClosed, metadata)
        }
        Rejection::TimestampRegression { launched, completed } => {
            let metadata = [("launched", launched.to_string()), ("completed", completed.to_string())];
            precondition(message, Reason::TimestampRegression, metadata)
        }
        Rejection::StaleAttempt { newest } => {
            precondition(message, Reason::StaleAttempt, [("newest", newest.to_string())])
        }
        Rejection::SequenceConflict { sequence_id } => {
            precondition(message, Reason::SequenceConflict, [("sequenceId", sequence_id.to_string())])
        }
        Rejection::ExecutionMismatch { field, known } => {
            let metadata = [("field", field.to_owned()), ("known", clip(&known))];
            precondition(clip(&message), Reason::ExecutionMismatch, metadata)
        }
        Rejection::PatchTestFailed { index } => {
            precondition(message, Reason::TestFailed, vec![("index", index.to_string())])
        }
        Rejection::PatchTargetMissing { index } => {
            precondition(message, Reason::PatchTargetMissing, vec![("index", index.to_string())])
        }
        Rejection::TaskInvalid(faults) => {
            let violations = faults.into_iter().map(|(field, what)| FieldViolation::new(field, what));
            invalid(violations.collect(), 0)
        }
        Rejection::EtagMismatch { etag } => {
            refuse(Code::Aborted, message, Reason::EtagMismatch, [("etag", etag)], none)
        }
        Rejection::LimitExceeded { limit, maximum } => limit_exceeded(limit, maximum),
    }
}

/// PERMISSION_DENIED: the caller lacks a privilege, or all of those of which one would do.
#[must_use]
pub fn privilege_missing(privilege: &str) -> Status {
    let message = format!("the privilege {privilege} is missing");
    let metadata = [("privilege", privilege.to_owned())];
    refuse(Code::PermissionDenied, message, ErrorReason::PrivilegeMissing, metadata, ErrorDetails::new())
}

/// NOT_FOUND: the caller's organization has no such task.
#[must_use]
pub fn task_not_found(task_id: &str) -> Status {
    let details = ErrorDetails::with_resource_info("holdpoint.v1.TaskStatus", clip(task_id), "", "");
    let metadata = [("taskId", task_id.to_owned())];
    refuse(Code::NotFound, "no such task".to_owned(), ErrorReason::TaskNotFound, metadata, details)
}

/// NOT_FOUND: the caller's organization has no such workflow instance, or no such attempt at it.
#[must_use]
pub fn workflow_instance_not_found(workflow_instance_id: &str, attempt_id: Option<i64>) -> Status {
    let name = clip(workflow_instance_id);
    let details = ErrorDetails::with_resource_info("holdpoint.v1.WorkflowInstance", name, "", "");
    let attempt_id = attempt_id.map(|attempt_id| ("attemptId", attempt_id.to_string()));
    let metadata = std::iter::once(("workflowInstanceId", workflow_instance_id.to_owned())).chain(attempt_id);
    let message = "no such workflow instance, or attempt at it".to_owned();
    refuse(Code::NotFound, message, ErrorReason::WorkflowInstanceNotFound, metadata, details)
}

/// NOT_FOUND: the caller's organization has no such workflow, or no such version of it.
#[must_use]
pub fn workflow_not_found(workflow_id: &str, version_id: &str) -> Status {
    let details = ErrorDetails::with_resource_info("holdpoint.v1.Workflow", clip(workflow_id), "", "");
    let version_id = Some(("versionId", version_id.to_owned())).filter(|(_, id)| !id.is_empty());
    let metadata = std::iter::once(("workflowId", workflow_id.to_owned())).chain(version_id);
    let message = "no such version of the workflow is published".to_owned();
    refuse(Code::NotFound, message, ErrorReason::WorkflowNotFound, metadata, details)
}

/// FAILED_PRECONDITION, with the reason also as the precondition that is not met.
fn precondition(
    message: String,
    reason: ErrorReason,
    metadata: impl AsRef<[(&'static str, String)]> + IntoIterator<Item = (&'static str, String)>,
) -> Status {
    let subject = metadata.as_ref().first().map(|(_, value)| clip(value)).unwrap_or_default();
    let details = ErrorDetails::with_precondition_failure_violation(word(reason), subject, message.as_str());
    refuse(Code::FailedPrecondition, message, reason, metadata, details)
}

fn word(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}

fn refuse(
    code: Code,
    message: String,
    reason: ErrorReason,
    metadata: impl IntoIterator<Item = (&'static str, String)>,
    mut details: ErrorDetails,
) -> Status {
    let metadata: HashMap<_, _> =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), clip_to(&value, LIST_BYTES_MAX))).collect();
    details.set_error_info(word(reason), DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}

/// What a violation takes in the details, with its tag and length.
fn violation_bytes(violation: &FieldViolation) -> usize {
    let bytes = pb::bad_request::FieldViolation {
        field: violation.field.clone(),
        description: violation.description.clone(),
        ..Default::default()
    }
    .encoded_len();
    1 + prost::length_delimiter_len(bytes) + bytes
}

/// The beginning of a text, where it is too long for an error.
fn clip(text: &str) -> String {
    clip_to(text, QUOTE_BYTES_MAX)
}

fn clip_to(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = (0..=bytes_max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{ELLIPSIS}", &text[..end])
}

/// The beginning of a list, where it is too long for an error: only whole ids, and a sign that there are more.
fn list(ids: &[String], separator: &str) -> String {
    let mut text = String::new();
    for (index, id) in ids.iter().enumerate() {
        let before = if index == 0 { "" } else { separator };
        let after = if index + 1 == ids.len() { 0 } else { separator.len() + ELLIPSIS.len() };
        if text.len() + before.len() + id.len() + after > LIST_BYTES_MAX {
            return text + before + ELLIPSIS;
        }
        text.push_str(before);
        text.push_str(id);
    }
    text
}

/// Any time in the range. It spreads clients; nobody needs to be unable to guess it.
fn random(milliseconds: RangeInclusive<u64>) -> Duration {
    let span = milliseconds.end() - milliseconds.start() + 1;
    let offset = RandomState::new().hash_one(()) % span;
    Duration::from_millis(milliseconds.start() + offset)
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, HashSet},
        io,
    };

    use expect_test::{Expect, expect};
    use tonic_types::RpcStatusExt as _;

    use super::*;

    fn violation(field: &str, description: &str) -> FieldViolation {
        FieldViolation::new(field, description)
    }

    /// A status as one line, with what changes from call to call left out.
    fn line(status: &Status) -> String {
        let details = status.get_error_details();
        let info = details.error_info().expect("every status has a reason");
        assert_eq!(info.domain, "holdpoint");
        let metadata: BTreeMap<_, _> = info.metadata.iter().filter(|(key, _)| *key != "incident").collect();
        let retry = if details.retry_info().is_some() { " retry" } else { "" };
        let violations = details.bad_request().map_or(0, |bad| bad.field_violations.len());
        format!(
            "{:?} {} {metadata:?}{retry} violations={violations}: {}\n",
            status.code(),
            info.reason,
            status.message(),
        )
    }

    #[track_caller]
    fn check(statuses: &[Status], expected: Expect) {
        expected.assert_eq(&statuses.iter().map(line).collect::<String>());
    }

    #[test]
    fn every_refusal_has_its_code_its_reason_and_its_metadata() {
        let metadata = auth::Refusal::Metadata { key: "holdpoint-org", problem: "must be given once" };
        check(
            &[
                invalid(vec![violation("job_id", "is required")], 0),
                invalid(vec![violation("job_id", "is required"), violation("etag", "is unknown")], 0),
                deadline_exceeded(),
                malformed("invalid varint"),
                message_too_large(4096),
                not_let_in(metadata),
                not_let_in(auth::Refusal::Missing),
                not_let_in(auth::Refusal::Invalid("is longer than 8 KiB")),
                not_let_in(auth::Refusal::Expired),
                shutting_down(),
                limit_exceeded("watches", 10),
                overloaded("commands_waiting", 4_096),
                internal(&io::Error::other("the disk said something private")),
            ],
            expect![[r#"
                InvalidArgument FIELD_INVALID {} violations=1: invalid request: job_id is required
                InvalidArgument FIELD_INVALID {} violations=2: invalid request: 2 fields
                DeadlineExceeded DEADLINE_EXCEEDED {} violations=0: the deadline of the call has passed; a change may have been made
                InvalidArgument MESSAGE_MALFORMED {} violations=0: the message cannot be decoded: invalid varint
                ResourceExhausted LIMIT_EXCEEDED {"limit": "message_bytes", "maximum": "4096"} violations=0: the limit message_bytes of 4096 would be passed
                InvalidArgument CALLER_INVALID {"key": "holdpoint-org"} violations=0: holdpoint-org must be given once
                Unauthenticated CREDENTIALS_MISSING {} violations=0: the call has no bearer token in its authorization metadata
                Unauthenticated CREDENTIALS_INVALID {} violations=0: the bearer token is longer than 8 KiB
                Unauthenticated CREDENTIALS_EXPIRED {} violations=0: the bearer token has expired
                Unavailable SHUTTING_DOWN {} retry violations=0: the server is shutting down
                ResourceExhausted LIMIT_EXCEEDED {"limit": "watches", "maximum": "10"} violations=0: the limit watches of 10 would be passed
                ResourceExhausted OVERLOADED {"limit": "commands_waiting", "maximum": "4096"} retry violations=0: the server is overloaded: the limit commands_waiting of 4096 would be passed
                Internal INTERNAL {} violations=0: internal fault; the server's log has more under the incident
            "#]],
        );
    }

    #[test]
    fn what_the_engine_does_not_do_has_its_status() {
        use crate::{engine::Error as Engine, store::Error as Store};

        let job_id = || "job".to_owned();
        let step_ids = (0..25).map(|n| format!("s{n}")).collect();
        let workflow_id = || "flow".to_owned();
        let fault = Store::Corrupt("private".to_owned());
        let errors = [
            Engine::Rejected(Rejection::JobNotFound),
            Engine::Rejected(Rejection::JobAlreadyExists { job_id: job_id() }),
            Engine::Rejected(Rejection::JobIdRetired { job_id: job_id() }),
            Engine::Rejected(Rejection::JobDeleted { job_id: job_id() }),
            Engine::Rejected(Rejection::JobClosed { job_id: job_id() }),
            Engine::Rejected(Rejection::JobCompleted { job_id: job_id() }),
            Engine::Rejected(Rejection::StepsRunning { job_id: job_id(), step_ids }),
            Engine::Rejected(Rejection::WorkflowMismatch { job_id: job_id(), workflow_id: workflow_id() }),
            Engine::Rejected(Rejection::WorkflowNotFound {
                workflow_id: workflow_id(),
                version_id: Some("2".to_owned()),
            }),
            Engine::Rejected(Rejection::JobOpen { job_id: job_id() }),
            Engine::Rejected(Rejection::StepNotFound { job_id: job_id(), step_ids: vec!["s1".to_owned()] }),
            Engine::Rejected(Rejection::DependencyNotFound(Dependency {
                job_id: job_id(),
                step_id: Some("s1".to_owned()),
            })),
            Engine::Rejected(Rejection::DependencyCircle {
                circle: ["a/1", "b", "b/2", "a/1"].map(str::to_owned).to_vec(),
            }),
            Engine::Rejected(Rejection::PrivilegeMissing { privilege: "adminBasic, adminAdvanced" }),
            Engine::Rejected(Rejection::EtagMismatch { etag: "r7".to_owned() }),
            Engine::Rejected(Rejection::LimitExceeded { limit: "reports_per_job", maximum: 3 }),
            Engine::RequestIdReused,
            Engine::Overloaded { limit: "waiting_milliseconds", maximum: 1_000 },
            Engine::Stopping,
            Engine::Failed(std::sync::Arc::new(fault.clone())),
            Engine::Store(fault),
        ];
        check(
            &errors.map(|error| from_engine("asked for", error)),
            expect![[r#"
                NotFound JOB_NOT_FOUND {"jobId": "asked for"} violations=0: no such job
                AlreadyExists JOB_ALREADY_EXISTS {"jobId": "job"} violations=0: a job with this id exists already
                AlreadyExists JOB_DELETED {"jobId": "job"} violations=0: the job with this id was deleted, and its id is never used again
                FailedPrecondition JOB_DELETED {"jobId": "job"} violations=0: the job was deleted
                FailedPrecondition JOB_CLOSED {"jobId": "job"} violations=0: the job is closed
                FailedPrecondition JOB_COMPLETED {"jobId": "job"} violations=0: the job is completed, and a completed job is not aborted
                FailedPrecondition STEPS_RUNNING {"jobId": "job", "stepIds": "s0,s1,s2,s3,s4,s5,s6,s7,s8,s9,s10,s11,s12,s13,s14,s15,s16,s17,s18,s19"} violations=0: 25 of the job's steps are running; stop or finish them first
                FailedPrecondition WORKFLOW_MISMATCH {"jobId": "job", "workflowId": "flow"} violations=0: the job follows workflow "flow"
                FailedPrecondition WORKFLOW_NOT_FOUND {"versionId": "2", "workflowId": "flow"} violations=0: no such version of the workflow is published
                FailedPrecondition JOB_OPEN {"jobId": "job"} violations=0: the job is open and has current steps
                NotFound STEP_NOT_FOUND {"jobId": "job", "stepIds": "s1"} violations=0: the job has no such step
                FailedPrecondition DEPENDENCY_NOT_FOUND {"dependentJobId": "job", "dependentStepId": "s1"} violations=0: what the hold should wait for is not there
                FailedPrecondition DEPENDENCY_CIRCLE {"circle": "a/1 b b/2 a/1"} violations=0: what the hold should wait for waits, in turn, for the step to be held
                PermissionDenied PRIVILEGE_MISSING {"privilege": "adminBasic, adminAdvanced"} violations=0: the privilege adminBasic, adminAdvanced is missing
                Aborted ETAG_MISMATCH {"etag": "r7"} violations=0: it has changed since it was read; read it again
                ResourceExhausted LIMIT_EXCEEDED {"limit": "reports_per_job", "maximum": "3"} violations=0: the limit reports_per_job of 3 would be passed
                FailedPrecondition REQUEST_ID_REUSED {} violations=0: this request id was used for another request
                ResourceExhausted OVERLOADED {"limit": "waiting_milliseconds", "maximum": "1000"} retry violations=0: the server is overloaded: the limit waiting_milliseconds of 1000 would be passed
                Unavailable SHUTTING_DOWN {} retry violations=0: the server is shutting down
                Unavailable STORE_FAILED {} violations=0: the store failed, and the server is stopping; a change may have been made
                Internal INTERNAL {} violations=0: internal fault; the server's log has more under the incident
            "#]],
        );
    }

    #[test]
    fn details_stay_small_and_count_what_they_leave_out() {
        let rows = [
            (1, "x".repeat(100_000)),
            (10, "x".repeat(20)),
            (100, "x".repeat(20)),
            (10_000, "é".repeat(500)),
        ];
        for (count, text) in rows {
            let violations = (0..count).map(|n| violation(&format!("steps[{n}].{text}"), &text)).collect();
            let status = invalid(violations, 0);
            assert!(status.details().len() <= DETAILS_BYTES_MAX, "{} bytes", status.details().len());
            let details = status.get_error_details();
            let named = details.bad_request().unwrap().field_violations.len();
            let omitted = details.error_info().unwrap().metadata.get("omitted");
            let omitted = omitted.map_or(0, |omitted| omitted.parse().unwrap());
            assert!(named > 0);
            assert_eq!(named + omitted, count);
        }
        let status = malformed(&"é".repeat(10_000));
        assert!(status.message().len() < 400 && status.details().len() < DETAILS_BYTES_MAX);
    }

    #[test]
    fn a_message_says_what_the_status_does() {
        let message = as_message(&overloaded("calls", 7));
        let text = "the server is overloaded: the limit calls of 7 would be passed";
        assert_eq!((message.code, message.message.as_str()), (8, text));
        assert_eq!(message.get_details_error_info().unwrap().reason, "OVERLOADED");
        assert!(message.get_details_retry_info().is_some());
        // One of tonic's has no details.
        let message = as_message(&Status::from_error(Box::new(io::Error::other("broken"))));
        assert_eq!((message.code, message.message.as_str(), message.details.len()), (2, "broken", 0));
    }

    #[test]
    fn an_incident_tells_nothing_but_its_id() {
        let status = internal(&io::Error::other("the disk said something private"));
        let incident = status.get_error_details().error_info().unwrap().metadata["incident"].clone();
        assert_eq!(Uuid::parse_str(&incident).unwrap().get_version_num(), 7);
        assert!(!status.message().contains("private"));
        assert!(!String::from_utf8_lossy(status.details()).contains("private"));
    }

    #[test]
    fn clients_are_asked_to_come_back_at_different_times() {
        let delays: Vec<_> =
            (0..64).map(|_| shutting_down().get_details_retry_info().unwrap().retry_delay.unwrap()).collect();
        let allowed = Duration::from_secs(1)..=Duration::from_secs(5);
        assert!(delays.iter().all(|delay| allowed.contains(delay)));
        let distinct: HashSet<_> = delays.iter().collect();
        assert!(distinct.len() > 32, "{delays:?}");
    }
}
