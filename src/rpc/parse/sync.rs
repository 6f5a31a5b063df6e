//! `BasicSyncRequest`, member by member.

use tonic::Status;

use super::{TAG_CHARACTERS_MAX, Violations};
use crate::{
    config::Limits,
    domain::{Sync, Told},
    proto::{
        storage::v1::SyncHeader,
        v1::{BasicSyncRequest, JobStatus, SingleStep, StepEntry, SyncMetadata},
    },
    rpc::status,
};

/// # Errors
/// INVALID_ARGUMENT with every bad field; RESOURCE_EXHAUSTED where there are too many reports.
pub(in crate::rpc) fn sync(limits: &Limits, request: BasicSyncRequest) -> Result<Sync, Status> {
    check(Violations::new(limits), request)
}

/// A sync of a stream, and what the device calls it.
///
/// # Errors
/// Those of [`sync`].
pub(in crate::rpc) fn tagged_sync(
    limits: &Limits,
    tag: &str,
    request: BasicSyncRequest,
) -> Result<Sync, Status> {
    let mut violations = Violations::new(limits);
    violations.characters("tag", tag, TAG_CHARACTERS_MAX);
    check(violations, request)
}

fn check(mut violations: Violations<'_>, request: BasicSyncRequest) -> Result<Sync, Status> {
    let limits = violations.limits;
    let reports = request.completed_steps.len() + request.cancelled_steps.len();
    if reports > limits.reports_per_sync {
        return Err(status::limit_exceeded("reports_per_sync", limits.reports_per_sync as u64));
    }
    let mut metadata = request.metadata.unwrap_or_default();
    let job_status = violations.within("metadata", |within| check_metadata(within, &mut metadata));
    violations.optional_id("team", request.team.as_deref());
    violations.value("hierarchy_stack", request.hierarchy_stack.as_ref());
    violations.texts("packet_ids", &request.packet_ids);
    violations.values("job_exclusion", &request.job_exclusion);
    violations.optional_id("request_id", Some(&request.request_id));

    let lists = [
        ("completed_steps", request.completed_steps, false),
        ("cancelled_steps", request.cancelled_steps, true),
    ];
    let mut told = Vec::with_capacity(reports);
    for (list, entries, undone) in lists {
        for (index, mut entry) in entries.into_iter().enumerate() {
            let path = format!("{list}[{index}]");
            check_entry(&mut violations, &path, &mut entry);
            told.push(Told { entry, undone, path });
        }
    }
    violations.check()?;

    let header = SyncHeader {
        metadata: Some(SyncMetadata { status: 0, ..metadata }),
        team: request.team,
        hierarchy_stack: request.hierarchy_stack,
        packet_ids: request.packet_ids,
        job_exclusion: request.job_exclusion,
        excluded: request.excluded,
    };
    Ok(Sync::new(header, job_status, told))
}

fn check_metadata(violations: &mut Violations<'_>, metadata: &mut SyncMetadata) -> JobStatus {
    violations.required_id("client_job_id", metadata.client_job_id.as_deref());
    match metadata.workflow_id.as_deref() {
        None => violations.add("workflow_id", "is required"),
        workflow_id => violations.optional_id("workflow_id", workflow_id),
    }
    violations.optional_id("workflow_version_id", metadata.workflow_version_id.as_deref());
    violations.text("job_title", metadata.job_title.as_deref());
    violations.fields("metadata", metadata.metadata.as_mut());
    violations.time("created", metadata.created.as_ref());
    violations.time("updated", metadata.updated.as_ref());
    violations.time("modified", metadata.modified.as_ref());
    violations.optional_id("user_id", metadata.user_id.as_deref());
    violations.optional_id("current_step", metadata.current_step.as_deref());
    violations.text("abandon_reason", metadata.abandon_reason.as_deref());
    violations.name("username", metadata.username.as_deref());
    violations.text("workflow_name", metadata.workflow_name.as_deref());
    match JobStatus::try_from(metadata.status) {
        Ok(JobStatus::Unspecified) => violations.add("status", "is required"),
        Ok(status) => return status,
        Err(_) => violations.add("status", "is not a value of JobStatus"),
    }
    JobStatus::Unspecified
}

fn check_entry(violations: &mut Violations<'_>, path: &str, entry: &mut StepEntry) {
    match (&mut entry.single_step, &mut entry.report_step) {
        (Some(step), None) => {
            violations.within(format_args!("{path}.single_step"), |within| check_step(within, step));
        }
        (None, Some(step)) => {
            violations.within(format_args!("{path}.report_step"), |within| check_step(within, step));
        }
        (None, None) => violations.add(path, "must have single_step or report_step"),
        (Some(_), Some(_)) => violations.add(path, "must not have both single_step and report_step"),
    }
}

fn check_step(violations: &mut Violations<'_>, step: &mut SingleStep) {
    violations.required_id("unique_step_id", step.unique_step_id.as_deref());
    violations.required_id("step_id", step.step_id.as_deref());
    violations.optional_id("previous_unique_step_id", step.previous_unique_step_id.as_deref());
    violations.optional_id("user_id", step.user_id.as_deref());
    violations.optional_id("parent_step_id", step.parent_step_id.as_deref());
    violations.optional_id("parent_unique_step_id", step.parent_unique_step_id.as_deref());
    violations.name("user_name", step.user_name.as_deref());
    violations.text("device_id", step.device_id.as_deref());
    violations.text("step_title", step.step_title.as_deref());
    violations.text("step_description", step.step_description.as_deref());
    violations.text("step_type", step.step_type.as_deref());
    violations.text("connection_type", step.connection_type.as_deref());
    violations.text("note", step.note.as_deref());
    violations.text("parent_step_title", step.parent_step_title.as_deref());
    violations.text("parent_step_description", step.parent_step_description.as_deref());
    violations.time("started", step.started.as_ref());
    violations.time("completed", step.completed.as_ref());
    violations.time("updated", step.updated.as_ref());
    violations.time("cancelled", step.cancelled.as_ref());
    violations.texts("value_resource_ids", &step.value_resource_ids);
    violations.texts("note_resource_filenames", &step.note_resource_filenames);
    violations.values("values", &step.values);
    violations.value("time_events", step.time_events.as_ref());
    violations.value("coordinates", step.coordinates.as_ref());
    violations.fields("metadata", step.metadata.as_mut());
}
