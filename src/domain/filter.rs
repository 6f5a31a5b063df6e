//! Which jobs a list, a count or a watch is about.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use cel::Value;
use prost::Message as _;

use super::{
    Expression, compare_times,
    expression::{from_document, map},
    summary,
};
use crate::proto::v1::{Assignee, Job, JobEvent, JobFilter, JobSummary};

/// A `JobFilter`, ready to be asked.
#[derive(Debug, Default)]
pub struct Filter {
    /// The filter as it was sent.
    pub wanted: JobFilter,
    /// What `assigned_to_me` means: the caller and the caller's groups; empty where the filter does not say so.
    pub mine: Vec<Assignee>,
    job_ids: BTreeSet<String>,
    expression: Option<Expression>,
}

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A job, with all it has.
    Job(&'a Job),
    /// A job as a watch sees it: no more than a summary, at an event or in the snapshot.
    Summary(Option<&'a JobEvent>),
}

impl Filter {
    /// A filter of typed fields, of what `assigned_to_me` means where it says so, and perhaps of an expression, which was
    /// compiled from `wanted.expression`.
    #[must_use]
    pub fn new(wanted: JobFilter, mine: Vec<Assignee>, expression: Option<Expression>) -> Self {
        let job_ids = wanted.job_ids.iter().cloned().collect();
        Self { wanted, mine, job_ids, expression }
    }

    /// The only jobs that can match; empty: any can.
    #[must_use]
    pub fn job_ids(&self) -> &BTreeSet<String> {
        &self.job_ids
    }

    /// What the filter means, as bytes: the same for the same filter, also by who asks where it says `assigned_to_me`.
    #[must_use]
    pub fn identity(&self) -> Vec<u8> {
        let mine = JobFilter { assignees: self.mine.clone(), ..JobFilter::default() };
        [self.wanted.encode_length_delimited_to_vec(), mine.encode_to_vec()].concat()
    }

    /// Whether an expression refines the typed fields.
    #[must_use]
    pub fn has_expression(&self) -> bool {
        self.expression.is_some()
    }

    /// Whether every job matches.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.wanted == JobFilter::default() && self.mine.is_empty() && self.expression.is_none()
    }

    /// Whether a job matches.
    #[must_use]
    pub fn matches_job(&self, job: &Job) -> bool {
        self.matches(&job.job_id, &summary(job), Subject::Job(job))
    }

    /// Whether a watch begins with a job. It is asked with what events tell of a job and no more, so that they go on with
    /// what the snapshot holds.
    #[must_use]
    pub fn matches_snapshot(&self, job: &Job) -> bool {
        let summary = summary(job);
        self.matches(&job.job_id, &summary, Subject::Summary(None))
    }

    /// Whether an event's job matched before the event or matches after it.
    #[must_use]
    pub fn matches_event(&self, event: &JobEvent) -> bool {
        let matches = |summary| self.matches(&event.job_id, summary, Subject::Summary(Some(event)));
        event.summary.as_ref().is_some_and(matches) || event.previous_summary.as_ref().is_some_and(matches)
    }

    fn matches(&self, job_id: &str, job: &JobSummary, subject: Subject<'_>) -> bool {
        let wanted = &self.wanted;
        let one_of =
            |values: &[String], value: &str| values.is_empty() || values.iter().any(|one| one == value);
        let one_is = |wanted: &[Assignee]| {
            wanted.is_empty() || job.assignees.iter().any(|assignee| wanted.contains(assignee))
        };
        let made = job.create_time.as_ref();
        let from = wanted.create_time_from.as_ref();
        let before = wanted.create_time_before.as_ref();

        (self.job_ids.is_empty() || self.job_ids.contains(job_id))
            && (wanted.statuses.is_empty() || wanted.statuses.contains(&job.status))
            && wanted.closed.is_none_or(|closed| closed == job.closed)
            && one_of(&wanted.teams, &job.team)
            && one_of(&wanted.user_ids, &job.user_id)
            && one_of(&wanted.workflow_ids, &job.workflow_id)
            && one_is(&wanted.assignees)
            && one_is(&self.mine)
            && (from.is_none() || compare_times(made, from).is_ge())
            && (before.is_none() || compare_times(made, before).is_lt())
            && self
                .expression
                .as_ref()
                .is_none_or(|expression| expression.is_true(variables(expression, job_id, job, subject)))
    }
}

/// A job as an expression sees it.
pub(super) fn job_value(job: &Job, with_metadata: bool) -> Value {
    let fields = summary_fields(&job.job_id, &summary(job));
    map(fields.into_iter().chain(job_fields(job, with_metadata)))
}

fn variables(
    expression: &Expression,
    job_id: &str,
    summary: &JobSummary,
    subject: Subject<'_>,
) -> Vec<(&'static str, Value)> {
    match subject {
        Subject::Job(job) => vec![("job", job_value(job, expression.reads_metadata()))],
        Subject::Summary(None) => vec![("job", map(summary_fields(job_id, summary)))],
        Subject::Summary(Some(event)) => {
            let of_task = event.task.as_ref().map(|task| &task.step_id).filter(|step_id| !step_id.is_empty());
            let step_id = event.step.as_ref().map(|step| &step.step_id).or(of_task);
            let kind = event.r#type().as_str_name();
            let event = map([
                ("type", Some(Value::from(word(kind, "JOB_EVENT_TYPE_")))),
                ("revision", Some(Value::Int(event.revision))),
                ("step_id", step_id.map(|step_id| Value::from(step_id.as_str()))),
            ]);
            vec![("job", map(summary_fields(job_id, summary))), ("event", event)]
        }
    }
}

fn summary_fields(job_id: &str, summary: &JobSummary) -> Vec<(&'static str, Option<Value>)> {
    vec![
        ("job_id", Some(Value::from(job_id))),
        ("client_job_id", Some(Value::from(summary.client_job_id.as_str()))),
        ("status", Some(Value::from(word(summary.status().as_str_name(), "JOB_STATUS_")))),
        ("closed", Some(Value::Bool(summary.closed))),
        ("team", Some(Value::from(summary.team.as_str()))),
        ("user_id", Some(Value::from(summary.user_id.as_str()))),
        ("workflow_id", Some(Value::from(summary.workflow_id.as_str()))),
        ("assignees", Some(Value::from(summary.assignees.iter().map(assignee).collect::<Vec<_>>()))),
        ("create_time", summary.create_time.map(|time| Value::from(time.to_string()))),
    ]
}

/// What an expression sees of a job beyond its summary.
fn job_fields(job: &Job, with_metadata: bool) -> Vec<(&'static str, Option<Value>)> {
    let text = |text: &Option<String>| text.as_deref().map(Value::from);
    let texts = |texts: &[String]| Some(Value::from(texts.iter().map(String::as_str).collect::<Vec<_>>()));
    let time = |time: &Option<prost_types::Timestamp>| time.map(|time| Value::from(time.to_string()));
    let workflow = job.workflow.as_ref();
    vec![
        ("title", text(&job.title)),
        ("abandon_reason", text(&job.abandon_reason)),
        ("username", text(&job.username)),
        ("excluded", job.excluded.map(Value::Bool)),
        ("metadata", job.metadata.as_ref().filter(|_| with_metadata).map(from_document)),
        ("current_step_ids", texts(&job.current_step_ids)),
        ("packet_ids", texts(&job.packet_ids)),
        ("objective_code", text(&job.objective_code)),
        ("parent_job_id", text(&job.parent_job_id)),
        ("priority", Some(Value::Int(job.priority.into()))),
        ("due_time", time(&job.due_time)),
        ("created", time(&job.created)),
        ("updated", time(&job.updated)),
        ("modified", time(&job.modified)),
        ("update_time", time(&job.update_time)),
        ("close_time", time(&job.close_time)),
        ("revision", Some(Value::Int(job.revision))),
        ("workflow_version_id", workflow.and_then(|workflow| text(&workflow.version_id))),
        ("workflow_name", workflow.and_then(|workflow| text(&workflow.name))),
    ]
}

fn assignee(assignee: &Assignee) -> Value {
    map([
        ("kind", Some(Value::from(word(assignee.kind().as_str_name(), "KIND_")))),
        ("id", Some(Value::from(assignee.id.as_str()))),
    ])
}

fn word<'a>(name: &'a str, prefix: &str) -> &'a str {
    name.strip_prefix(prefix).unwrap_or(name)
}
