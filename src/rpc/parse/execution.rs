//! The reports of executors.

#[cfg(test)]
mod tests;

use prost_types::Timestamp;
use tonic::Status;

use super::{NAME_CHARACTERS_MAX, SECONDS, Violations};
use crate::{
    config::Limits,
    domain::{Place, Report, ReportTask, ReportWorkflow},
    proto::{
        Document,
        v1::{
            CompletionStatus, ExecutionStatus, Reporter, UpdateExecutionTaskStatusRequest,
            UpdateExecutionWorkflowStatusRequest,
        },
    },
};

/// `derived_id` gives the id that the task has with us where the request has the executor's.
///
/// # Errors
/// INVALID_ARGUMENT with every bad field.
pub(in crate::rpc) fn report_task(
    limits: &Limits,
    request: UpdateExecutionTaskStatusRequest,
    derived_id: impl FnOnce(&str, &Place, &str) -> String,
) -> Result<ReportTask, Status> {
    let mut violations = Violations::new(limits);
    violations.required_id("workflow_instance_id", request.workflow_instance_id.as_deref());
    violations.required_id("task_id", request.task_id.as_deref());
    violations.required_id("job_id", request.job_id.as_deref());
    violations.required_id("dispatch_id", request.dispatch_id.as_deref());
    let attempt_id = violations.number("attempt_id", request.attempt_id, 0);
    let status = violations.execution_status(request.status);
    let sequence_id = violations.number("sequence_id", request.sequence_id, 0);
    match request.state_name.as_deref() {
        None => violations.add("state_name", "is required"),
        Some("") => violations.add("state_name", "is empty"),
        state_name => violations.text("state_name", state_name),
    }
    let told = Told {
        timestamp: request.timestamp,
        data: request.data,
        meta: request.meta,
        updated_by: request.updated_by,
        event_meta: request.event_meta,
    };
    let report = violations.report(status, told);
    let completion_status = match CompletionStatus::try_from(request.completion_status) {
        Ok(CompletionStatus::Unspecified) => CompletionStatus::Success,
        Ok(_) if status == Some(ExecutionStatus::Started) => {
            violations.add("completion_status", "is for CLOSED only");
            CompletionStatus::Unspecified
        }
        Ok(completion_status) => completion_status,
        Err(_) => {
            violations.add("completion_status", "is not a value of CompletionStatus");
            CompletionStatus::Unspecified
        }
    };
    violations.optional_id("request_id", Some(&request.request_id));
    let Some((report, attempt_id, sequence_id)) = all(report, attempt_id, sequence_id) else {
        return Err(violations.into_status());
    };
    violations.check()?;

    let place = Place {
        workflow_instance_id: request.workflow_instance_id.unwrap_or_default(),
        attempt_id,
        dispatch_id: request.dispatch_id.unwrap_or_default(),
    };
    let (job_id, task_id) = (request.job_id.unwrap_or_default(), request.task_id.unwrap_or_default());
    let derived_id = derived_id(&job_id, &place, &task_id);
    let state_name = request.state_name.unwrap_or_default();
    Ok(ReportTask { job_id, place, task_id, derived_id, sequence_id, state_name, report, completion_status })
}

/// # Errors
/// INVALID_ARGUMENT with every bad field.
pub(in crate::rpc) fn report_workflow(
    limits: &Limits,
    request: UpdateExecutionWorkflowStatusRequest,
) -> Result<ReportWorkflow, Status> {
    let mut violations = Violations::new(limits);
    violations.required_id("workflow_instance_id", request.workflow_instance_id.as_deref());
    violations.required_id("job_id", request.job_id.as_deref());
    violations.required_id("dispatch_id", request.dispatch_id.as_deref());
    let attempt_id = violations.number("attempt_id", request.attempt_id, 0);
    let status = violations.execution_status(request.status);
    violations.required("code", request.code.as_ref());
    violations.text("code", request.code.as_deref());
    let told = Told {
        timestamp: request.timestamp,
        data: request.data,
        meta: request.meta,
        updated_by: request.updated_by,
        event_meta: request.event_meta,
    };
    let report = violations.report(status, told);
    violations.optional_id("request_id", Some(&request.request_id));
    let Some((report, attempt_id, ())) = all(report, attempt_id, Some(())) else {
        return Err(violations.into_status());
    };
    violations.check()?;

    let place = Place {
        workflow_instance_id: request.workflow_instance_id.unwrap_or_default(),
        attempt_id,
        dispatch_id: request.dispatch_id.unwrap_or_default(),
    };
    Ok(ReportWorkflow {
        job_id: request.job_id.unwrap_or_default(),
        place,
        report,
        code: request.code.unwrap_or_default(),
        close_job: request.close_job,
    })
}

fn all<A, B, C>(a: Option<A>, b: Option<B>, c: Option<C>) -> Option<(A, B, C)> {
    Some((a?, b?, c?))
}

/// What both reports say, as it was sent.
struct Told {
    timestamp: Option<i64>,
    data: Option<Document>,
    meta: Option<Document>,
    updated_by: Option<Reporter>,
    event_meta: Option<Document>,
}

impl Violations<'_> {
    fn required<T>(&mut self, field: &str, value: Option<&T>) {
        if value.is_none() {
            self.add(field, "is required");
        }
    }

    /// A whole number that must be there.
    fn number(&mut self, field: &str, number: Option<i64>, min: i64) -> Option<i64> {
        self.required(field, number.as_ref());
        let number = number?;
        if number < min {
            self.add(field, format!("is less than {min}"));
            return None;
        }
        Some(number)
    }

    fn execution_status(&mut self, number: i32) -> Option<ExecutionStatus> {
        match ExecutionStatus::try_from(number) {
            Ok(ExecutionStatus::Unspecified) => self.add("status", "is required"),
            Err(_) => self.add("status", "is not a value of ExecutionStatus"),
            Ok(status) => return Some(status),
        }
        None
    }

    fn report(&mut self, status: Option<ExecutionStatus>, told: Told) -> Option<Report> {
        let Told { timestamp, mut data, mut meta, updated_by, mut event_meta } = told;
        let time = self.number("timestamp", timestamp, 1).and_then(|milliseconds| {
            let time = of_milliseconds(milliseconds);
            if time.is_none() {
                self.add("timestamp", "is not a time before the year 10000");
            }
            time
        });
        self.required("data", data.as_ref());
        self.fields("data", data.as_mut());
        self.required("meta", meta.as_ref());
        self.fields("meta", meta.as_mut());
        self.fields("_event_meta", event_meta.as_mut());
        self.required("updated_by", updated_by.as_ref());
        if let Some(by) = &updated_by {
            self.reporter(by);
        }
        Some(Report {
            status: status?,
            time: time?,
            data: data?,
            meta: meta?,
            updated_by: updated_by?,
            event_meta,
        })
    }

    fn reporter(&mut self, by: &Reporter) {
        self.required_id("updated_by.id", by.id.as_deref());
        self.required("updated_by.name", by.name.as_ref());
        self.characters("updated_by.name", by.name(), NAME_CHARACTERS_MAX);
        self.required("updated_by.app_id", by.app_id.as_ref());
        self.optional_id("updated_by.app_id", by.app_id.as_deref());
    }
}

/// A time of so many milliseconds since 1970, which is after that.
fn of_milliseconds(milliseconds: i64) -> Option<Timestamp> {
    let seconds = milliseconds / 1_000;
    let nanos = i32::try_from(milliseconds % 1_000).ok()? * 1_000_000;
    SECONDS.contains(&seconds).then_some(Timestamp { seconds, nanos })
}
