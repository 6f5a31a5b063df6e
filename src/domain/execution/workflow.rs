//! UpdateExecutionWorkflowStatus.

use std::{cmp::Reverse, collections::BTreeSet};

use prost::Message as _;
use prost_types::{Struct, Value, value::Kind};

use super::{
    Place, Report,
    place::{Known, check_attempts, in_sequence},
    standing::{Misfit, Standing},
};
use crate::{
    domain::{Context, Decision, Existing, JobState, Rejection, decision::Draft, job, steps, tasks},
    proto::{
        Document,
        v1::{
            CompletionStatus, ExecutionStatus, Job, JobEventType, JobStatus, ReportOutcome, TaskExecution,
            TaskStatus, UpdateExecutionWorkflowStatusResponse, WorkflowAttempt, WorkflowInstance,
        },
    },
};

/// Keeps what an executor says of an attempt at a workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportWorkflow {
    /// The job.
    pub job_id: String,
    /// The attempt.
    pub place: Place,
    /// What is said of it.
    pub report: Report,
    /// The objective code.
    pub code: String,
    /// Complete the job and close it, when the attempt is closed.
    pub close_job: bool,
}

/// What a close says beside the rest.
#[derive(Clone, Debug, PartialEq)]
struct Closing {
    code: String,
    close_job: bool,
}

impl ReportWorkflow {
    /// Whether the report ends the attempt.
    #[must_use]
    pub fn closes(&self) -> bool {
        self.report.status == ExecutionStatus::Closed
    }

    /// Whether the report ends the job as well.
    #[must_use]
    pub fn closes_job(&self) -> bool {
        self.closes() && self.close_job
    }

    /// The state must have the instance with its newest attempt, and the one reported of. Where the report closes the
    /// attempt: all steps, and the tasks of the attempt; where it closes the job, the open tasks of that. Where it opens
    /// the attempt: the open tasks of the instance.
    ///
    /// # Errors
    /// No such job; the report does not fit what is known; the job has too many attempts.
    pub fn decide(
        &self,
        existing: Existing,
        context: &Context,
    ) -> Result<Decision<UpdateExecutionWorkflowStatusResponse>, Rejection> {
        let state = existing.into_job()?;
        let unchanged = |state| self.answer(Draft::of(state, context), ReportOutcome::Unchanged, Vec::new());
        let (before, opens) = match self.place.find(&state) {
            Known::New => (self.place.opened(), true),
            Known::Newest(attempt) => (attempt.clone(), false),
            Known::Stale { newest } => {
                let instance = &state.instances[&self.place.workflow_instance_id];
                let attempt = instance.attempts.get(&self.place.attempt_id);
                return match attempt.filter(|attempt| self.says_what_is_known(attempt)) {
                    Some(_) => Ok(unchanged(state)),
                    None => Err(Rejection::StaleAttempt { newest }),
                };
            }
        };
        self.place.check_dispatch(&before)?;
        let standing = standing(&before);
        let merged = self.merge(standing.clone())?;
        if merged == standing && !opens {
            return Ok(unchanged(state));
        }
        if opens {
            check_attempts(&state, context)?;
        }

        let is_late = state.job.closed;
        let attempt = with(before, merged, is_late);
        let mut draft = Draft::of(state, context);
        if !is_late {
            draft.begin_job();
        }
        let mut terminated = if opens { self.place.end_older(&mut draft, None) } else { Vec::new() };
        if self.closes() {
            terminated.append(&mut self.close(&mut draft, attempt));
        } else {
            self.record(&mut draft, JobEventType::WorkflowStarted, attempt);
        }
        let outcome = if is_late { ReportOutcome::RecordedLate } else { ReportOutcome::Recorded };
        Ok(self.answer(draft, outcome, terminated))
    }

    /// Whether a report of an attempt that is over only repeats what is known.
    fn says_what_is_known(&self, attempt: &WorkflowAttempt) -> bool {
        let standing = standing(attempt);
        self.place.check_dispatch(attempt).is_ok()
            && self.merge(standing.clone()).is_ok_and(|merged| merged == standing)
    }

    fn merge(&self, standing: Standing<Closing>) -> Result<Standing<Closing>, Rejection> {
        let closing = || Closing { code: self.code.clone(), close_job: self.close_job };
        let merged = match self.report.status {
            ExecutionStatus::Closed => standing.closed(&self.report, closing()),
            ExecutionStatus::Unspecified | ExecutionStatus::Started => standing.started(&self.report, false),
        };
        merged.map_err(|misfit| match misfit {
            Misfit::Regression { launched, completed } => {
                Rejection::TimestampRegression { launched, completed }
            }
            Misfit::Claimed { .. } => unreachable!("the start of a workflow is nobody's claim"),
            Misfit::AlreadyClosed => Rejection::WorkflowAlreadyClosed {
                workflow_instance_id: self.place.workflow_instance_id.clone(),
                attempt_id: self.place.attempt_id,
            },
        })
    }

    /// Ends the attempt with what it left open, and the job with it if that is asked for. Returns the tasks that were ended.
    fn close(&self, draft: &mut Draft<'_>, mut attempt: WorkflowAttempt) -> Vec<String> {
        let closes_job = self.close_job && !draft.state.job.closed;
        // What does the work of a step can still be of an older attempt: no newer one will report it now.
        let is_ended_with_it =
            |task: &&TaskStatus| task.is_open() && (closes_job || self.place.is_of_instance(task));
        let mut open: Vec<TaskStatus> =
            draft.state.tasks.values().filter(is_ended_with_it).cloned().collect();
        open.sort_by_key(in_sequence);
        if closes_job {
            // Their steps are cancelled with them, and do not follow.
            steps::cancel_running(draft);
        }
        for TaskStatus { id, step_id, .. } in &open {
            if let Some(task) = draft.state.tasks.get(id).filter(|task| task.is_open()).cloned() {
                tasks::complete(draft, task, CompletionStatus::Terminated);
                if !closes_job {
                    tasks::follow_if_linked(draft, step_id, id);
                }
            }
        }
        if attempt.collated {
            attempt.data = Some(self.collate(&draft.state, draft.context));
        }
        self.record(draft, JobEventType::WorkflowClosed, attempt);
        if closes_job {
            self.complete_job(draft);
        }
        open.into_iter().map(|task| task.id).collect()
    }

    /// What the closed tasks of the attempt gave, by the names of their states: of several of one name that with the
    /// highest sequence id. The highest go first, and of the others those that fit.
    fn collate(&self, state: &JobState, context: &Context) -> Document {
        let is_closed = |task: &&TaskStatus| {
            let status = task.execution.as_ref().map(TaskExecution::status);
            status == Some(ExecutionStatus::Closed) && self.place.has(task)
        };
        let mut closed: Vec<&TaskStatus> = state.tasks.values().filter(is_closed).collect();
        closed.sort_by_key(|task| Reverse(in_sequence(task)));
        let (mut data, mut names, mut bytes) = (Struct::default(), BTreeSet::new(), 0);
        for task in closed {
            let name = &task.execution.as_ref().expect("it is one of an execution").state_name;
            if !names.insert(name) {
                continue;
            }
            let given = Kind::StructValue(task.data.as_ref().map(Document::members).unwrap_or_default());
            let member = Struct { fields: [(name.clone(), Value { kind: Some(given) })].into() };
            if bytes + member.encoded_len() <= context.limits.document_bytes {
                bytes += member.encoded_len();
                data.fields.extend(member.fields);
            }
        }
        data.into()
    }

    fn complete_job(&self, draft: &mut Draft<'_>) {
        let mut job = Job { objective_code: Some(self.code.clone()), ..draft.state.job.clone() };
        if !matches!(job.status(), JobStatus::Completed | JobStatus::Aborted) {
            job.set_status(JobStatus::Completed);
            draft.record_job(JobEventType::JobCompleted, job.clone());
        }
        job::close(&mut job, draft.context);
        draft.record_job(JobEventType::JobClosed, job);
    }

    fn record(&self, draft: &mut Draft<'_>, kind: JobEventType, attempt: WorkflowAttempt) {
        let instance = self.place.told(draft, attempt);
        draft.record(kind, |event| {
            event.workflow_instance = Some(instance.into());
            event.event_meta.clone_from(&self.report.event_meta);
        });
    }

    fn answer(
        &self,
        draft: Draft<'_>,
        outcome: ReportOutcome,
        terminated_task_ids: Vec<String>,
    ) -> Decision<UpdateExecutionWorkflowStatusResponse> {
        draft.answer(|state| {
            let known = state.instances.get(&self.place.workflow_instance_id);
            let workflow_instance = known.map(|known| {
                let mut attempts: Vec<_> =
                    known.attempts.get(&self.place.attempt_id).cloned().into_iter().collect();
                let is_newest = |attempt: &&mut WorkflowAttempt| known.is_newest(attempt.attempt_id);
                if let Some(newest) = attempts.first_mut().filter(is_newest) {
                    known.seen.missing().tell(newest);
                }
                WorkflowInstance { attempts, ..known.instance.clone() }
            });
            UpdateExecutionWorkflowStatusResponse {
                outcome: outcome.into(),
                workflow_instance,
                terminated_task_ids,
                revision: state.job.revision,
            }
        })
    }
}

/// What was reported of an attempt so far.
fn standing(attempt: &WorkflowAttempt) -> Standing<Closing> {
    let status = attempt.status();
    let is_closed = status == ExecutionStatus::Closed;
    Standing {
        status,
        launched: attempt.launched,
        report_time: attempt.report_time,
        claimed_by: None,
        // What was put together from tasks was not reported.
        data: attempt.data.clone().filter(|_| !attempt.collated).unwrap_or_default(),
        meta: attempt.meta.clone().unwrap_or_default(),
        updated_by: attempt.updated_by.clone(),
        closing: is_closed.then(|| Closing { code: attempt.code().to_owned(), close_job: attempt.close_job }),
    }
}

/// The attempt with what stands of it now.
fn with(before: WorkflowAttempt, merged: Standing<Closing>, is_late: bool) -> WorkflowAttempt {
    let is_newly_closed = merged.closing.is_some() && before.status() != ExecutionStatus::Closed;
    let collated = before.collated || is_newly_closed && merged.data.is_empty();
    let data = if before.collated { before.data } else { Some(merged.data) };
    let closing = merged.closing;
    WorkflowAttempt {
        status: merged.status.into(),
        code: closing.as_ref().map(|closing| closing.code.clone()),
        close_job: closing.as_ref().is_some_and(|closing| closing.close_job),
        data,
        meta: Some(merged.meta),
        updated_by: merged.updated_by,
        launched: merged.launched,
        completed: merged.report_time.filter(|_| closing.is_some()),
        report_time: merged.report_time,
        late: before.late || is_late,
        collated,
        ..before
    }
}
