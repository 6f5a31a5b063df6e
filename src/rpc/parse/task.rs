//! The requests about single tasks.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use json_patch::{
    AddOperation, CopyOperation, MoveOperation, PatchOperation, RemoveOperation, ReplaceOperation,
    TestOperation, jsonptr::PointerBuf,
};
use tonic::Status;
use tonic_types::FieldViolation;

use super::Violations;
use crate::{
    config::Limits,
    domain::{CreateTask, UpdateTask, form},
    proto::v1::{
        self, CompletionStatus, CreateTaskStatusRequest, PatchOp, TaskFilter, TaskMessageType, TaskStatus,
        TaskType, UpdateTaskStatusRequest,
    },
    rpc::status,
};

const OPERATIONS_MAX: usize = 100;
const VALUES_MAX: usize = 100;

/// # Errors
/// INVALID_ARGUMENT with every bad field.
pub(in crate::rpc) fn create_task(
    limits: &Limits,
    request: CreateTaskStatusRequest,
) -> Result<CreateTask, Status> {
    let mut violations = Violations::new(limits);
    violations.optional_id("request_id", Some(&request.request_id));
    let Some(mut sent) = request.task else {
        violations.add("task", "is required");
        return Err(violations.into_status());
    };
    violations.id("task.job_id", &sent.job_id);
    if sent.unique_name.as_ref().is_none_or(String::is_empty) {
        violations.add("task.unique_name", "is required");
    }
    if TaskType::try_from(sent.r#type).is_err() {
        violations.add("task.type", "is not a value of TaskType");
    }
    let texts = [
        ("task.unique_name", &sent.unique_name),
        ("task.description", &sent.description),
        ("task.parent_name", &sent.parent_name),
        ("task.launcher", &sent.launcher),
        ("task.progress", &sent.progress),
    ];
    for (field, text) in texts {
        violations.text(field, text.as_deref());
    }
    if sent.percent_complete.is_some_and(|percent| !(0..=100).contains(&percent)) {
        violations.add("task.percent_complete", "is not between 0 and 100");
    }
    violations.time("task.launched", sent.launched.as_ref());
    violations.time("task.deadline", sent.deadline.as_ref());
    violations.fields("task.attributes", sent.attributes.as_mut());
    violations.messages("task.messages", &sent.messages);
    violations.messages("task.returns", &sent.returns);
    for (index, message) in sent.messages.iter().enumerate() {
        violations.within(format_args!("task.messages[{index}]"), |within| {
            if TaskMessageType::try_from(message.r#type).is_err() {
                within.add("type", "is not a value of TaskMessageType");
            }
            within.values("parameters", &message.parameters);
        });
    }
    violations.check()?;

    let kind = match sent.r#type() {
        TaskType::Unspecified => TaskType::QueuedTask,
        kind @ (TaskType::Quartz | TaskType::Qpoc | TaskType::QueuedTask) => kind,
    };
    // Only what a creator says; the rest is the server's.
    let task = TaskStatus {
        r#type: kind.into(),
        unique_name: sent.unique_name,
        description: sent.description,
        parent_name: sent.parent_name,
        launcher: sent.launcher,
        launched: sent.launched,
        messages: sent.messages,
        returns: sent.returns,
        attributes: sent.attributes,
        progress: sent.progress,
        percent_complete: sent.percent_complete,
        deadline: sent.deadline,
        ..TaskStatus::default()
    };
    Ok(CreateTask { job_id: sent.job_id, task })
}

/// # Errors
/// INVALID_ARGUMENT with every bad operation; of those that would change what cannot be changed once all are well formed.
pub(in crate::rpc) fn update_task(
    limits: &Limits,
    request: UpdateTaskStatusRequest,
) -> Result<UpdateTask, Status> {
    let mut violations = Violations::new(limits);
    violations.id("id", &request.id);
    violations.optional_id("request_id", Some(&request.request_id));
    if request.operations.is_empty() {
        violations.add("operations", "is required");
    }
    violations.count("operations", request.operations.len(), OPERATIONS_MAX);
    let sent = request.operations.into_iter().enumerate().take(OPERATIONS_MAX);
    let read = sent.map(|(index, sent)| {
        violations.within(format_args!("operations[{index}]"), |within| operation(within, sent))
    });
    let operations: Vec<Option<PatchOperation>> = read.collect();
    violations.check()?;

    let operations: Vec<PatchOperation> = operations.into_iter().flatten().collect();
    let immutable: Vec<FieldViolation> = operations
        .iter()
        .enumerate()
        .filter_map(|(index, operation)| {
            let path = changed(operation).into_iter().find(|path| !is_writable(path))?;
            let what = format!("would change {:?}, which cannot be changed", path.as_str());
            Some(FieldViolation::new(format!("operations[{index}]"), what))
        })
        .collect();
    if !immutable.is_empty() {
        return Err(status::immutable_fields(immutable, 0));
    }
    let etag = Some(request.etag).filter(|etag| !etag.is_empty());
    Ok(UpdateTask { task_id: request.id, operations, etag })
}

/// An operation, if it is one.
fn operation(violations: &mut Violations<'_>, sent: v1::PatchOperation) -> Option<PatchOperation> {
    let op = match PatchOp::try_from(sent.op) {
        Ok(PatchOp::Unspecified) => {
            violations.add("op", "is required");
            return None;
        }
        Err(_) => {
            violations.add("op", "is not a value of PatchOp");
            return None;
        }
        Ok(op) => op,
    };
    let path = pointer(violations, "path", sent.path);
    let needs_from = matches!(op, PatchOp::Move | PatchOp::Copy);
    let from = if needs_from { pointer(violations, "from", sent.from_path) } else { None };
    let needs_value = matches!(op, PatchOp::Add | PatchOp::Replace | PatchOp::Test);
    if needs_value && sent.value.is_none() {
        violations.add("value", "is required");
    }
    // Members that an operation does not have are ignored.
    let value = sent.value.filter(|_| needs_value);
    violations.value("value", value.as_ref());
    let value = form::of_value(&value.unwrap_or_default());
    let path = path?;
    Some(match op {
        PatchOp::Unspecified => return None,
        PatchOp::Add => PatchOperation::Add(AddOperation { path, value }),
        PatchOp::Remove => PatchOperation::Remove(RemoveOperation { path }),
        PatchOp::Replace => PatchOperation::Replace(ReplaceOperation { path, value }),
        PatchOp::Move => PatchOperation::Move(MoveOperation { from: from?, path }),
        PatchOp::Copy => PatchOperation::Copy(CopyOperation { from: from?, path }),
        PatchOp::Test => PatchOperation::Test(TestOperation { path, value }),
    })
}

fn pointer(violations: &mut Violations<'_>, field: &str, sent: Option<String>) -> Option<PointerBuf> {
    let Some(text) = sent else {
        violations.add(field, "is required");
        return None;
    };
    violations.text(field, Some(&text));
    let pointer = PointerBuf::parse(text).ok();
    if pointer.is_none() {
        violations
            .add(field, "is not a JSON Pointer: each part begins with /, and ~ stands only in ~0 and ~1");
    }
    pointer
}

/// What an operation changes.
fn changed(operation: &PatchOperation) -> Vec<&PointerBuf> {
    match operation {
        PatchOperation::Test(_) => Vec::new(),
        PatchOperation::Add(AddOperation { path, .. })
        | PatchOperation::Remove(RemoveOperation { path })
        | PatchOperation::Replace(ReplaceOperation { path, .. })
        | PatchOperation::Copy(CopyOperation { path, .. }) => vec![path],
        PatchOperation::Move(MoveOperation { from, path }) => vec![from, path],
    }
}

fn is_writable(path: &PointerBuf) -> bool {
    path.tokens().next().is_some_and(|member| form::WRITABLE.contains(&member.decoded().as_ref()))
}

/// A filter of tasks.
pub(in crate::rpc) fn task_filter(violations: &mut Violations<'_>, filter: Option<TaskFilter>) -> TaskFilter {
    let mut filter = filter.unwrap_or_default();
    violations.optional_id("filter.job_id", Some(&filter.job_id));
    let types = violations.words("filter.types", &filter.types, "TaskType", |number| {
        TaskType::try_from(number).ok().filter(|kind| *kind != TaskType::Unspecified)
    });
    filter.types = types.into_iter().map(i32::from).collect();
    violations.count("filter.launchers", filter.launchers.len(), VALUES_MAX);
    let statuses = &filter.completion_statuses;
    let statuses: BTreeSet<CompletionStatus> =
        violations.words("filter.completion_statuses", statuses, "CompletionStatus", |number| {
            let status = CompletionStatus::try_from(number).ok();
            status.filter(|status| *status != CompletionStatus::Unspecified)
        });
    filter.completion_statuses = statuses.into_iter().map(i32::from).collect();
    violations.time("filter.create_time_from", filter.create_time_from.as_ref());
    violations.time("filter.create_time_before", filter.create_time_before.as_ref());
    filter
}
