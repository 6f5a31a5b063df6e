//! UpdateExecutionTaskStatus.

use super::{
    Place, Report,
    place::{Known, check_attempts, same},
    standing::{Misfit, Standing},
};
use crate::{
    domain::{Context, Decision, Existing, JobState, Rejection, decision::Draft, sequences::Missing, tasks},
    proto::v1::{
        CompletionStatus, ExecutionStatus, JobEventType, ReportOutcome, Reporter, TaskExecution, TaskStatus,
        TaskType, UpdateExecutionTaskStatusResponse,
    },
};

/// Keeps what an executor says of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportTask {
    /// The job.
    pub job_id: String,
    /// The attempt that the task is of.
    pub place: Place,
    /// The executor's id of the task, or the id of a task of the job.
    pub task_id: String,
    /// The id that the task has with us where `task_id` is the executor's. It follows from what names the task.
    pub derived_id: String,
    /// Its place in the attempt.
    pub sequence_id: i64,
    /// The name of its state.
    pub state_name: String,
    /// What is said of it.
    pub report: Report,
    /// How it ended, if it did.
    pub completion_status: CompletionStatus,
}

impl ReportTask {
    /// The state must have the instance with its newest attempt, the task, all steps if it does the work of one, and, where
    /// the report opens an attempt, the open tasks of the instance.
    ///
    /// # Errors
    /// No such job, or no such task in it; the report does not fit what is known; the job has too many tasks or attempts.
    pub fn decide(
        &self,
        existing: Existing,
        context: &Context,
    ) -> Result<Decision<UpdateExecutionTaskStatusResponse>, Rejection> {
        let state = existing.into_job()?;
        let before = state.tasks.get(&self.task_id).or_else(|| state.tasks.get(&self.derived_id)).cloned();
        if before.is_none() && tasks::is_id_of_ours(&self.task_id) {
            return Err(Rejection::TaskNotFound);
        }
        let known = self.place.find(&state);
        if let Known::Stale { newest } = known {
            return match before.filter(|task| self.says_what_is_known(task)) {
                Some(task) => {
                    Ok(self.answer(Draft::of(state, context), &task.id, ReportOutcome::Unchanged, Vec::new()))
                }
                None => Err(Rejection::StaleAttempt { newest }),
            };
        }
        self.check_claim(before.as_ref())?;
        self.check_place(&state, &known, before.as_ref())?;
        let standing = self.standing(before.as_ref());
        let merged = self.merge(standing.clone(), before.as_ref())?;
        if let Some(task) = before.as_ref().filter(|task| self.place.has(task) && merged == standing) {
            return Ok(self.answer(
                Draft::of(state, context),
                &task.id,
                ReportOutcome::Unchanged,
                Vec::new(),
            ));
        }
        if before.is_none() {
            tasks::check_limit(&state, context)?;
        }
        if matches!(known, Known::New) {
            check_attempts(&state, context)?;
        }

        let is_over = self.is_over(&known, before.as_ref());
        let is_late = state.job.closed || is_over;
        // Nothing begins in what is over. What was open before its job was closed can still be done.
        let begins = before.as_ref().map_or(is_late, |task| task.is_open() && is_over);
        let comes_to_nothing = begins && self.report.status == ExecutionStatus::Started;

        let task = self.with(before.as_ref(), &state, merged, is_late);
        let task_id = task.id.clone();
        let mut draft = Draft::of(state, context);
        if !is_late {
            draft.begin_job();
        }
        let mut terminated = self.record(&mut draft, before.is_none(), task);
        if comes_to_nothing {
            let task = draft.state.tasks[&task_id].clone();
            tasks::complete(&mut draft, task, CompletionStatus::Terminated);
            terminated.push(task_id.clone());
        }
        let outcome = if is_late { ReportOutcome::RecordedLate } else { ReportOutcome::Recorded };
        Ok(self.answer(draft, &task_id, outcome, terminated))
    }

    /// Whether what is reported comes too late: because something else than a report in time has ended the task, or because
    /// it is new to an attempt that is closed. A task that a step waits for is not new: the step must hear of its end.
    fn is_over(&self, known: &Known<'_>, before: Option<&TaskStatus>) -> bool {
        let is_late = |task: &TaskStatus| task.execution.as_ref().is_some_and(|execution| execution.late);
        if let Some(task) = before.filter(|task| !task.is_open()) {
            return is_late(task) || !is_reported_closed(task);
        }
        let is_new = before.is_none_or(|task| !self.place.has(task) && task.step_id.is_empty());
        is_new && matches!(known, Known::Newest(attempt) if attempt.status() == ExecutionStatus::Closed)
    }

    /// Whether another executor has claimed the task, in an attempt that is not over. It need not know what that one calls
    /// the rest.
    fn check_claim(&self, before: Option<&TaskStatus>) -> Result<(), Rejection> {
        let Some((task, execution)) = before.and_then(|task| Some((task, task.execution.as_ref()?))) else {
            return Ok(());
        };
        let is_newer = execution.workflow_instance_id == self.place.workflow_instance_id
            && execution.attempt_id < self.place.attempt_id;
        let rival = execution.started_by.as_ref().filter(|by| !by.is_same(&self.report.updated_by));
        match rival.filter(|_| self.report.status == ExecutionStatus::Started && !is_newer) {
            None => Ok(()),
            Some(by) => Err(Rejection::TaskAlreadyStarted {
                task_id: task.id.clone(),
                started_by: by.id().to_owned(),
            }),
        }
    }

    /// Whether the task is known as what the report calls it, and where the report places it.
    fn check_place(
        &self,
        state: &JobState,
        known: &Known<'_>,
        before: Option<&TaskStatus>,
    ) -> Result<(), Rejection> {
        if let Known::Newest(attempt) = known {
            self.place.check_dispatch(attempt)?;
        }
        let execution = before.and_then(|task| task.execution.as_ref());
        if let Some(execution) = execution {
            same("workflow_instance_id", &execution.workflow_instance_id, &self.place.workflow_instance_id)?;
        }
        let here = execution.filter(|execution| execution.attempt_id == self.place.attempt_id);
        let instance = state.instances.get(&self.place.workflow_instance_id);
        let is_own = here.is_some_and(|here| here.sequence_id == self.sequence_id);
        let is_seen = instance.is_some_and(|instance| instance.seen.contains(self.sequence_id));
        if matches!(known, Known::Newest(_)) && is_seen && !is_own {
            return Err(Rejection::SequenceConflict { sequence_id: self.sequence_id });
        }
        if let Some(here) = here {
            same("sequence_id", &here.sequence_id.to_string(), &self.sequence_id.to_string())?;
            same("state_name", &here.state_name, &self.state_name)?;
        } else if let Some(task) = before.filter(|task| is_reported_closed(task)) {
            return Err(Rejection::TaskAlreadyClosed { task_id: task.id.clone() });
        }
        Ok(())
    }

    /// Whether a report of an attempt that is over only repeats what is known.
    fn says_what_is_known(&self, task: &TaskStatus) -> bool {
        let execution = task.execution.as_ref().filter(|_| self.place.has(task));
        let is_same = execution.is_some_and(|execution| {
            execution.dispatch_id == self.place.dispatch_id
                && execution.sequence_id == self.sequence_id
                && execution.state_name == self.state_name
        });
        let standing = self.standing(Some(task));
        is_same && self.merge(standing.clone(), Some(task)).is_ok_and(|merged| merged == standing)
    }

    /// What this attempt has reported of the task so far.
    fn standing(&self, before: Option<&TaskStatus>) -> Standing<CompletionStatus> {
        let here = before.filter(|task| self.place.has(task));
        let execution = here.and_then(|task| task.execution.as_ref());
        let status = execution.map(TaskExecution::status).unwrap_or_default();
        // Somebody else may have said when a task began that no attempt has reported.
        let launched = before.filter(|task| task.execution.is_none() || here.is_some());
        Standing {
            status,
            launched: launched.and_then(|task| task.launched),
            report_time: execution.and_then(|execution| execution.report_time),
            claimed_by: execution.and_then(|execution| execution.started_by.clone()),
            data: here.and_then(|task| task.data.clone()).unwrap_or_default(),
            meta: here.and_then(|task| task.meta.clone()).unwrap_or_default(),
            updated_by: here.and_then(|task| task.updated_by.clone()),
            closing: execution
                .filter(|_| status == ExecutionStatus::Closed)
                .map(TaskExecution::completion_status),
        }
    }

    fn merge(
        &self,
        standing: Standing<CompletionStatus>,
        before: Option<&TaskStatus>,
    ) -> Result<Standing<CompletionStatus>, Rejection> {
        let merged = match self.report.status {
            ExecutionStatus::Closed => standing.closed(&self.report, self.completion_status),
            ExecutionStatus::Unspecified | ExecutionStatus::Started => standing.started(&self.report, true),
        };
        let task_id = || before.map_or_else(|| self.derived_id.clone(), |task| task.id.clone());
        merged.map_err(|misfit| match misfit {
            Misfit::Claimed { by } => {
                Rejection::TaskAlreadyStarted { task_id: task_id(), started_by: by.id.unwrap_or_default() }
            }
            Misfit::AlreadyClosed => Rejection::TaskAlreadyClosed { task_id: task_id() },
            Misfit::Regression { launched, completed } => {
                Rejection::TimestampRegression { launched, completed }
            }
        })
    }

    /// The task with what stands of it now.
    fn with(
        &self,
        before: Option<&TaskStatus>,
        state: &JobState,
        merged: Standing<CompletionStatus>,
        is_late: bool,
    ) -> TaskStatus {
        let mut task = before.cloned().unwrap_or_else(|| self.new_task(state));
        let here = before.filter(|task| self.place.has(task)).and_then(|task| task.execution.as_ref());
        // Where its maker named no launcher, that is the application that executes it: of a task that another attempt takes
        // over, the new one.
        let started_by = task.execution.as_ref().and_then(|execution| execution.started_by.as_ref());
        if task.launcher.is_none() || task.launcher == launcher(started_by, task.updated_by.as_ref()) {
            task.launcher = launcher(merged.claimed_by.as_ref(), merged.updated_by.as_ref());
        }
        task.execution = Some(TaskExecution {
            workflow_instance_id: self.place.workflow_instance_id.clone(),
            attempt_id: self.place.attempt_id,
            sequence_id: self.sequence_id,
            task_id: here.map_or_else(|| self.task_id.clone(), |here| here.task_id.clone()),
            state_name: self.state_name.clone(),
            dispatch_id: self.place.dispatch_id.clone(),
            status: merged.status.into(),
            late: is_late || here.is_some_and(|here| here.late),
            started_by: merged.claimed_by,
            report_time: merged.report_time,
            completion_status: merged.closing.unwrap_or_default().into(),
        });
        task.launched = merged.launched;
        task.data = Some(merged.data);
        task.meta = Some(merged.meta);
        task.updated_by = merged.updated_by;
        if let (true, Some(completion_status)) = (task.is_open(), merged.closing) {
            task.set_completion_status(completion_status);
            task.completed = merged.report_time;
        }
        task
    }

    /// The task of an execution, as one that nothing was reported of yet.
    fn new_task(&self, state: &JobState) -> TaskStatus {
        TaskStatus {
            id: self.derived_id.clone(),
            r#type: TaskType::QueuedTask.into(),
            unique_name: Some(self.state_name.clone()),
            description: Some(self.state_name.clone()),
            parent_name: Some(self.place.workflow_instance_id.clone()),
            job_id: state.job.job_id.clone(),
            ..TaskStatus::default()
        }
    }

    /// Tells of the task; with it of the attempt, where that is opened or the task becomes part of it.
    /// Returns the tasks of older attempts that ended.
    fn record(&self, draft: &mut Draft<'_>, is_new: bool, mut task: TaskStatus) -> Vec<String> {
        let Draft { state, context, .. } = draft;
        let opens = matches!(self.place.find(state), Known::New);
        let joins = state.tasks.get(&task.id).is_some_and(|before| !self.place.has(before));
        let was_open = state.tasks.get(&task.id).is_none_or(TaskStatus::is_open);
        let ends = was_open && !task.is_open();
        if is_new {
            task.created = Some(context.now);
        }
        let terminated = if opens { self.place.end_older(draft, Some(&task.id)) } else { Vec::new() };
        let attempts = draft.state.instances.get(&self.place.workflow_instance_id);
        let attempt = attempts.and_then(|instance| instance.attempts.get(&self.place.attempt_id)).cloned();
        let attempt = attempt.unwrap_or_else(|| self.place.opened());
        let mut instance = (opens || joins).then(|| self.place.told(draft, attempt));
        if is_new && ends {
            let made = as_made(&task);
            let instance = instance.take();
            draft.record(JobEventType::TaskCreated, |event| {
                event.task = Some(made.into());
                event.workflow_instance = instance.map(Into::into);
            });
        }
        let kind = match (ends, is_new) {
            (true, _) => JobEventType::TaskCompleted,
            (false, true) => JobEventType::TaskCreated,
            (false, false) => JobEventType::TaskUpdated,
        };
        let (task_id, step_id) = (task.id.clone(), task.step_id.clone());
        draft.record(kind, |event| {
            event.task = Some(task.into());
            event.workflow_instance = instance.map(Into::into);
            event.event_meta.clone_from(&self.report.event_meta);
        });
        if ends {
            tasks::follow_if_linked(draft, &step_id, &task_id);
        }
        terminated
    }

    fn answer(
        &self,
        draft: Draft<'_>,
        task_id: &str,
        outcome: ReportOutcome,
        terminated_task_ids: Vec<String>,
    ) -> Decision<UpdateExecutionTaskStatusResponse> {
        draft.answer(|state| {
            let instance = state.instances.get(&self.place.workflow_instance_id);
            let newest = instance.filter(|instance| instance.is_newest(self.place.attempt_id));
            let missing = newest.map(|instance| instance.seen.missing());
            let Missing { ranges, count } = missing.unwrap_or_default();
            UpdateExecutionTaskStatusResponse {
                outcome: outcome.into(),
                task: state.tasks.get(task_id).cloned(),
                missing_sequences: ranges,
                missing_sequence_count: count,
                terminated_task_ids,
                revision: state.job.revision,
            }
        })
    }
}

/// The application that executes a task, or, where it has none, who does: the one that claimed it, else the one that closed it.
fn launcher(claimed_by: Option<&Reporter>, updated_by: Option<&Reporter>) -> Option<String> {
    let by = claimed_by.or(updated_by)?;
    let app_id = by.app_id.as_ref().filter(|app_id| !app_id.is_empty());
    app_id.or(by.id.as_ref()).cloned()
}

/// A task that had ended when it was first reported, as it is told to be made.
fn as_made(task: &TaskStatus) -> TaskStatus {
    let mut execution = task.execution.clone().unwrap_or_default();
    execution.set_status(ExecutionStatus::Unspecified);
    execution.set_completion_status(CompletionStatus::Unspecified);
    execution.report_time = None;
    TaskStatus {
        completion_status: CompletionStatus::Unspecified.into(),
        completed: None,
        data: None,
        meta: None,
        updated_by: None,
        execution: Some(execution),
        ..task.clone()
    }
}

/// Whether an executor has reported that the task is closed.
fn is_reported_closed(task: &TaskStatus) -> bool {
    task.execution.as_ref().is_some_and(|execution| execution.status() == ExecutionStatus::Closed)
}
