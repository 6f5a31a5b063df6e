//! UpdateTaskStatus: a JSON Patch (RFC 6902) on the JSON form of a task: SPEC 3.3.

#[cfg(test)]
mod tests;

use json_patch::{PatchErrorKind, PatchOperation};
use serde_json::Value as Json;

use super::{Context, Decision, Existing, Rejection, decision::Draft, form, tasks, time::compare_times};
use crate::proto::v1::{JobEventType, TaskStatus, UpdateTaskStatusResponse};

/// How many times larger a member of a task can be as JSON.
const JSON_TIMES_LARGER_MAX: usize = 16;

/// Changes a task by a patch.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateTask {
    /// The task.
    pub task_id: String,
    /// The operations, each well formed and about members that may be changed.
    pub operations: Vec<PatchOperation>,
    /// The etag the task must have.
    pub etag: Option<String>,
}

impl UpdateTask {
    /// The state must have the task and, if it does the work of a step, all steps.
    ///
    /// # Errors
    /// No such task; it has moved on, or has ended; the patch does not fit it, or makes something of it that is no task.
    pub fn decide(
        &self,
        existing: Existing,
        context: &Context,
    ) -> Result<Decision<UpdateTaskStatusResponse>, Rejection> {
        // A task is found by its id, and its job by the task.
        let state = existing.into_job().map_err(|_| Rejection::TaskNotFound)?;
        let Some(before) = state.tasks.get(&self.task_id).cloned() else {
            return Err(Rejection::TaskNotFound);
        };
        if self.etag.as_ref().is_some_and(|etag| *etag != before.etag) {
            return Err(Rejection::EtagMismatch { etag: before.etag });
        }
        let mut task = apply(&before, &self.operations, context)?;
        if !task.is_open() && before.is_open() {
            // A launcher whose clock is ahead may well have begun it after now.
            let is_ahead = compare_times(task.launched.as_ref(), Some(&context.now)).is_gt();
            task.completed = task.completed.or(if is_ahead { task.launched } else { Some(context.now) });
        }
        check(&before, &task, context)?;

        let mut draft = Draft::of(state, context);
        if task != before {
            let ends = before.is_open() && !task.is_open();
            let kind = if ends { JobEventType::TaskCompleted } else { JobEventType::TaskUpdated };
            let step_id = task.step_id.clone();
            draft.record(kind, |event| event.task = Some(task.into()));
            if ends {
                tasks::follow_if_linked(&mut draft, &step_id, &self.task_id);
            }
        }
        Ok(draft.answer(|state| UpdateTaskStatusResponse { task: state.tasks.get(&self.task_id).cloned() }))
    }
}

/// The task after all operations.
fn apply(
    before: &TaskStatus,
    operations: &[PatchOperation],
    context: &Context,
) -> Result<TaskStatus, Rejection> {
    let mut form = form::of_task(before);
    for (index, operation) in operations.iter().enumerate() {
        json_patch::patch_unsafe(&mut form, std::slice::from_ref(operation))
            .map_err(|error| refusal(index, &error.kind))?;
        // A member that was taken away is not set. Others cannot be: nothing that takes them away gets here.
        for member in form::WRITABLE {
            if form.get(member).is_none() {
                form[member] = form::unset(member);
            }
        }
        check_size(index, operation, &form, context)?;
    }
    let mut task = before.clone();
    // What reads the same is the same, whichever way it was made.
    if form != form::of_task(before) {
        form::into_task(&form, &mut task).map_err(Rejection::TaskInvalid)?;
    }
    Ok(task)
}

fn refusal(index: usize, kind: &PatchErrorKind) -> Rejection {
    match kind {
        PatchErrorKind::TestFailed => Rejection::PatchTestFailed { index },
        PatchErrorKind::CannotMoveInsideItself => {
            let what = "moves something into itself".to_owned();
            Rejection::TaskInvalid(vec![(format!("operations[{index}]"), what)])
        }
        // What is not there, and an index that is none.
        _ => Rejection::PatchTargetMissing { index },
    }
}

/// Whether what an operation has made of a member is within the limits, so that copies do not double without end.
fn check_size(
    index: usize,
    operation: &PatchOperation,
    form: &Json,
    context: &Context,
) -> Result<(), Rejection> {
    // These make nothing larger.
    if matches!(operation, PatchOperation::Test(_) | PatchOperation::Remove(_)) {
        return Ok(());
    }
    let Some(member) = operation.path().tokens().next() else { return Ok(()) };
    let Some(value) = form.get(member.decoded().as_ref()) else { return Ok(()) };
    let limits = context.limits;
    // The free data of messages are their parameters: two levels down.
    let above = if member.decoded() == "messages" { 2 } else { 0 };
    let fault = match size(value, limits.document_levels + above) {
        None => format!("is more than {} levels deep", limits.document_levels),
        Some(bytes) if is_too_large(&member.decoded(), value, bytes, limits.document_bytes) => {
            format!("is larger than {} bytes", limits.document_bytes)
        }
        Some(_) => return Ok(()),
    };
    let field = format!("operations[{index}]");
    Err(Rejection::TaskInvalid(vec![(field, format!("makes {}, which {fault}", member.decoded()))]))
}

/// Whether a member has become too large. As JSON it takes more than in a task, for names and null members count.
fn is_too_large(member: &str, value: &Json, json_bytes: usize, bytes_max: usize) -> bool {
    json_bytes > bytes_max
        && (json_bytes > JSON_TIMES_LARGER_MAX * bytes_max
            || form::encoded_len(member, value).unwrap_or(json_bytes) > bytes_max)
}

/// About how large a value is as JSON; `None` where it is too deep.
fn size(value: &Json, levels: usize) -> Option<usize> {
    let deeper = || levels.checked_sub(1);
    match value {
        Json::Null | Json::Bool(_) => Some(2),
        Json::Number(_) => Some(9),
        Json::String(text) => Some(2 + text.len()),
        Json::Array(items) => {
            let levels = deeper()?;
            items.iter().try_fold(2, |bytes, item| Some(bytes + 2 + size(item, levels)?))
        }
        Json::Object(fields) => {
            let levels = deeper()?;
            fields
                .iter()
                .try_fold(2, |bytes, (name, item)| Some(bytes + 6 + name.len() + size(item, levels)?))
        }
    }
}

/// Whether a task may become what the patch made of it.
fn check(before: &TaskStatus, task: &TaskStatus, context: &Context) -> Result<(), Rejection> {
    let times = |task: &TaskStatus| (task.launched, task.completed);
    let progress = |task: &TaskStatus| {
        (task.completion_status, times(task), task.progress.clone(), task.percent_complete)
    };
    if !before.is_open() && progress(before) != progress(task) {
        return Err(Rejection::TaskAlreadyClosed { task_id: before.id.clone() });
    }
    let mut faults = form::Faults::new();
    let max = context.limits.text_characters;
    let texts = [
        ("description", &before.description, &task.description),
        ("progress", &before.progress, &task.progress),
    ];
    for (member, _, text) in texts.into_iter().filter(|(_, before, text)| before != text) {
        if text.as_ref().is_some_and(|text| text.len() > max && text.chars().count() > max) {
            faults.push((member.to_owned(), format!("is longer than {max} characters")));
        }
    }
    if task.is_open() && task.completed.is_some() {
        faults.push(("completed".to_owned(), "is set without completionStatus".to_owned()));
    }
    // A task that the server ended can have been launched by a clock that is ahead.
    let (launched, completed) = times(task);
    let are_new = times(before) != times(task) && completed.is_some();
    if are_new && compare_times(launched.as_ref(), completed.as_ref()).is_gt() {
        faults.push(("completed".to_owned(), "is before launched".to_owned()));
    }
    if faults.is_empty() { Ok(()) } else { Err(Rejection::TaskInvalid(faults)) }
}
