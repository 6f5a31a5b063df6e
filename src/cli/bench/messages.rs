//! The messages that callers send: one of each kind, as templates, and what their replies begin with.

use prost_types::{Struct, Timestamp, Value};

use super::template::{JOB, MILLIS, SECONDS, Template};
use crate::proto::{
    Document,
    v1::{
        BasicSyncRequest, CreateJobRequest, ExecutionStatus, GetJobRequest, Job, JobActionType, JobFilter,
        JobStatus, ListJobsRequest, Path, PerformJobActionRequest, PublishWorkflowRequest, Reporter,
        SingleStep, StepDefinition, StepEntry, SyncMetadata, UpdateExecutionTaskStatusRequest, Workflow,
        WorkflowReference,
    },
};

/// Jobs on a page of a list.
pub const PAGE_JOBS: i32 = 50;
/// Steps of a job that a device sends.
pub const SYNC_STEPS: i32 = 8;

const WORKFLOW: &str = "inspection";
const STEP: &str = "look-at-the-gauge";
const TEAM: &str = "north";
/// Of what an executor's report brings, in bytes.
const DATA_BYTES: usize = 500;

#[expect(clippy::unnecessary_wraps, reason = "it makes the optional members of messages")]
fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Properties that take about so many bytes.
fn properties(bytes: usize) -> Document {
    const ENTRY_BYTES: usize = 50;
    let entry = |n| (format!("measurement-{n:02}"), Value::from(format!("{n:02} bar at the relief valve")));
    Struct { fields: (0..bytes / ENTRY_BYTES).map(entry).collect() }.into()
}

/// The workflow that the jobs follow: a step to act on, and another.
#[must_use]
pub fn workflow() -> PublishWorkflowRequest {
    let path = Path { next_step_id: "end".to_owned(), ..Path::default() };
    let first = StepDefinition { step_id: STEP.to_owned(), paths: vec![path], ..StepDefinition::default() };
    let end = StepDefinition { step_id: "end".to_owned(), ..StepDefinition::default() };
    let workflow = Workflow {
        workflow_id: WORKFLOW.to_owned(),
        start_step_ids: vec![STEP.to_owned()],
        steps: vec![first, end],
        ..Workflow::default()
    };
    PublishWorkflowRequest { workflow: Some(workflow), ..PublishWorkflowRequest::default() }
}

/// A new job.
#[must_use]
pub fn create() -> Template {
    Template::new(&new_job(JOB))
}

/// A new job of that id.
#[must_use]
pub fn new_job(job_id: &str) -> CreateJobRequest {
    let workflow = WorkflowReference { workflow_id: WORKFLOW.to_owned(), ..WorkflowReference::default() };
    let job = Job {
        title: text("Inspect the relief valve of boiler 3"),
        team: text(TEAM),
        user_id: text("5d8cac54860b8103316b1987"),
        username: text("Ann Example"),
        workflow: Some(workflow),
        metadata: Some(properties(200)),
        ..Job::default()
    };
    CreateJobRequest { job_id: job_id.to_owned(), job: Some(job), ..CreateJobRequest::default() }
}

/// An executor's report of the one task of a job, with 500 bytes of data: newer than those before, so that it stands.
#[must_use]
pub fn report(validate_only: bool) -> Template {
    let report = report_of(JOB, "task", 0);
    Template::new(&UpdateExecutionTaskStatusRequest { validate_only, ..report })
}

/// The same, of one of many tasks of one job.
#[must_use]
pub fn report_of_one_job(job_id: &str, task: u32) -> Template {
    Template::new(&report_of(job_id, &format!("task-{task}"), task.into()))
}

fn report_of(job_id: &str, task_id: &str, sequence_id: i64) -> UpdateExecutionTaskStatusRequest {
    let executor = Reporter { id: text("executor-7"), name: text("Executor 7"), app_id: text("executors") };
    UpdateExecutionTaskStatusRequest {
        workflow_instance_id: text("instance"),
        task_id: text(task_id),
        job_id: text(job_id),
        dispatch_id: text("dispatch"),
        attempt_id: Some(1),
        status: ExecutionStatus::Started.into(),
        sequence_id: Some(sequence_id),
        state_name: text("Measure"),
        timestamp: Some(MILLIS),
        data: Some(properties(DATA_BYTES)),
        meta: Some(Document::default()),
        updated_by: Some(executor),
        ..UpdateExecutionTaskStatusRequest::default()
    }
}

/// Acts on the first step of a job.
#[must_use]
pub fn action(action: JobActionType, validate_only: bool) -> Template {
    Template::new(&PerformJobActionRequest {
        job_id: JOB.to_owned(),
        r#type: action.into(),
        step_ids: vec![STEP.to_owned()],
        validate_only,
        ..PerformJobActionRequest::default()
    })
}

/// What a device sends of a job: a header and eight steps, about 6 KB. The header and the first `newer` of the steps are newer
/// than those before.
#[must_use]
pub fn sync(newer: i32, validate_only: bool) -> Template {
    let time = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let metadata = SyncMetadata {
        // Others than those that CreateJob made.
        client_job_id: Some(format!("device-{JOB}")),
        workflow_id: text("b62f2507-b4e7-4248-83d3-29c03a158fbe"),
        workflow_version_id: text("2831f333-af02-4d89-875d-0bceadeb16ed"),
        job_title: text("Inspect the relief valve of boiler 3"),
        metadata: Some(properties(200)),
        created: time(1_690_000_000),
        updated: time(SECONDS),
        modified: time(SECONDS),
        status: JobStatus::Active.into(),
        user_id: text("5d8cac54860b8103316b1987"),
        username: text("ann@example.com"),
        workflow_name: text("Relief valves"),
        ..SyncMetadata::default()
    };
    let entry = |number| {
        let updated = time(if number < newer { SECONDS } else { 1_690_000_000 });
        StepEntry { single_step: Some(step(number, updated)), report_step: None }
    };
    Template::new(&BasicSyncRequest {
        metadata: Some(metadata),
        completed_steps: (0..SYNC_STEPS).map(entry).collect(),
        team: text(TEAM),
        validate_only,
        ..BasicSyncRequest::default()
    })
}

fn step(number: i32, updated: Option<Timestamp>) -> SingleStep {
    let begun = Some(Timestamp { seconds: 1_690_000_000, nanos: 0 });
    SingleStep {
        values: vec![Value::from("as it should be".to_owned()); 4],
        unique_step_id: Some(format!("c025f569-8148-4a75-a2e8-{number:012}")),
        user_id: text("5d8cac54860b8103316b1987"),
        user_name: text("ann@example.com"),
        step_id: Some(format!("ec7eee0d-5115-4141-847a-{number:012}")),
        step_number: Some(number),
        step_title: text("Instruction"),
        step_description: text(
            "Look at the gauge and write down what it shows. Close the valve before you go on.",
        ),
        step_type: text("ConfirmStep"),
        started: begun,
        completed: begun,
        updated,
        note: text(&"The gauge sticks a little, and comes free when it is tapped. ".repeat(4)),
        metadata: Some(properties(100)),
        ..SingleStep::default()
    }
}

/// Reads a job.
#[must_use]
pub fn get() -> Template {
    Template::new(&GetJobRequest { job_id: JOB.to_owned(), ..GetJobRequest::default() })
}

/// The newest page of a team's jobs.
#[must_use]
pub fn list() -> Template {
    let filter = JobFilter { teams: vec![TEAM.to_owned()], ..JobFilter::default() };
    Template::new(&ListJobsRequest {
        filter: Some(filter),
        page_size: PAGE_JOBS,
        ..ListJobsRequest::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_large_as_is_said() {
        let data = prost::Message::encoded_len(&properties(DATA_BYTES));
        assert!((450..=600).contains(&data), "{data}");
        let sync = sync(1, false).fill(1, 1).len();
        assert!((5_500..=6_800).contains(&sync), "{sync}");
    }
}
