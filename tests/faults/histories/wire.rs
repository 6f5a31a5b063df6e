//! What is asked, as requests; and what was answered, of what the model knows.

use holdpoint::proto::{
    Document,
    v1::{
        CreateJobRequest, CreateTaskStatusRequest, ExecutionStatus, GetJobRequest, GetTaskStatusRequest, Job,
        JobActionType, JobEvent, JobEventType, JobView, ListJobEventsRequest, PatchOp, PatchOperation,
        PerformJobActionRequest, ReportOutcome, Reporter, TaskStatus, UpdateExecutionTaskStatusRequest,
        UpdateJobRequest, UpdateTaskStatusRequest, WorkflowReference,
    },
};
use prost_types::{Struct, Value, value::Kind};
use tonic::Status;

use super::{
    super::{
        changes,
        kit::{Client, reason, soon},
    },
    checker::{Answered, Asked, Mark},
};

/// The step that holds are placed on.
const STEP: &str = "a";
const CODE: &str = "code";

/// A job as clients know it.
#[derive(Clone, Debug)]
pub struct Known {
    pub job_id: String,
    /// The task that integrators patch.
    patched: String,
}

/// Makes a job, with what it was before anybody else asked for anything.
pub async fn create(client: &mut Client) -> (Known, Vec<Mark>) {
    let workflow = WorkflowReference { workflow_id: "flow".to_owned(), ..WorkflowReference::default() };
    let job = Some(Job { title: Some("0".to_owned()), workflow: Some(workflow), ..Job::default() });
    let reply = soon(client.jobs.create_job(CreateJobRequest { job, ..CreateJobRequest::default() })).await;
    let job_id = reply.unwrap().into_inner().job.unwrap().job_id;
    let task = Some(TaskStatus {
        job_id: job_id.clone(),
        unique_name: Some("patched".to_owned()),
        progress: Some("0".to_owned()),
        ..TaskStatus::default()
    });
    let request = CreateTaskStatusRequest { task, ..CreateTaskStatusRequest::default() };
    let patched = soon(client.tasks.create_task_status(request)).await.unwrap().into_inner().task.unwrap().id;
    // The first task begins the instance as well.
    let first = report(&job_id, 0, ExecutionStatus::Started, None);
    soon(client.tasks.update_execution_task_status(first)).await.unwrap();
    let marks = events(client, job_id.clone()).await.unwrap();
    (Known { job_id, patched }, marks)
}

pub async fn publish(client: &mut Client) {
    changes::publish().ask(client).await.unwrap();
}

pub async fn ask(client: &mut Client, known: &Known, asked: &Asked) -> Result<Answered, Status> {
    let job_id = known.job_id.clone();
    let answered = match asked {
        Asked::Get => {
            let views = vec![JobView::Holds.into()];
            let request = GetJobRequest { job_id, views, ..GetJobRequest::default() };
            let details = soon(client.jobs.get_job(request)).await?.into_inner().decode_details().unwrap();
            let job = details.job.unwrap();
            return Ok(Answered::Job {
                revision: revision(&job),
                title: title(&job),
                holds: details.holds.len(),
            });
        }
        Asked::Progress => {
            let request = GetTaskStatusRequest { id: known.patched.clone() };
            let task = soon(client.tasks.get_task_status(request)).await?.into_inner().task.unwrap();
            return Ok(Answered::Progress(progress(&task)));
        }
        Asked::Events => return Ok(Answered::Events(events(client, job_id).await?)),
        Asked::Update { title, at_revision, request } => {
            update(client, job_id, *title, *at_revision, *request).await
        }
        Asked::Patch { progress, at, request } => {
            let id = known.patched.clone();
            let request = UpdateTaskStatusRequest {
                id,
                operations: at
                    .map(|at| patch(PatchOp::Test, at))
                    .into_iter()
                    .chain([patch(PatchOp::Replace, *progress)])
                    .collect(),
                request_id: request_id(*request),
                ..UpdateTaskStatusRequest::default()
            };
            soon(client.tasks.update_task_status(request)).await.map(|_| Answered::Patched)
        }
        Asked::Hold { request } => act(client, job_id, JobActionType::Hold, *request).await,
        Asked::Release { request } => act(client, job_id, JobActionType::ReleaseHold, *request).await,
        Asked::Begin { task } => {
            reported(client, report(&job_id, *task, ExecutionStatus::Started, None)).await
        }
        Asked::Close { task, code } => {
            reported(client, report(&job_id, *task, ExecutionStatus::Closed, Some(*code))).await
        }
    };
    let refusals = ["ETAG_MISMATCH", "TEST_FAILED", "TASK_ALREADY_CLOSED"];
    match answered {
        Err(status) if refusals.contains(&reason(&status).as_str()) => Ok(Answered::Refused),
        answered => answered,
    }
}

async fn update(
    client: &mut Client,
    job_id: String,
    title: u64,
    at_revision: Option<usize>,
    request: Option<u64>,
) -> Result<Answered, Status> {
    let request = UpdateJobRequest {
        job_id,
        job: Some(Job { title: Some(title.to_string()), ..Job::default() }),
        etag: at_revision.map(etag).unwrap_or_default(),
        request_id: request_id(request),
        ..UpdateJobRequest::default()
    };
    let reply = soon(client.jobs.update_job(request)).await?.into_inner();
    Ok(Answered::Made(revision(&reply.job.unwrap())))
}

async fn act(
    client: &mut Client,
    job_id: String,
    action: JobActionType,
    request: Option<u64>,
) -> Result<Answered, Status> {
    let request = PerformJobActionRequest {
        job_id,
        r#type: action.into(),
        step_ids: vec![STEP.to_owned()],
        request_id: request_id(request),
        ..PerformJobActionRequest::default()
    };
    let reply = soon(client.jobs.perform_job_action(request)).await?.into_inner();
    Ok(if reply.success { Answered::Made(number_of(reply.revision)) } else { Answered::Refused })
}

async fn reported(client: &mut Client, report: UpdateExecutionTaskStatusRequest) -> Result<Answered, Status> {
    let reply = soon(client.tasks.update_execution_task_status(report)).await?.into_inner();
    Ok(match reply.outcome() {
        ReportOutcome::Unchanged => Answered::Unchanged,
        _ => Answered::Made(number_of(reply.revision)),
    })
}

/// A report of a task, which is its own state and has its own place.
fn report(
    job_id: &str,
    task: u64,
    status: ExecutionStatus,
    code: Option<u64>,
) -> UpdateExecutionTaskStatusRequest {
    let text = |text: &str| Some(text.to_owned());
    #[expect(clippy::cast_precision_loss, reason = "it is small")]
    let value = |code: u64| Value { kind: Some(Kind::NumberValue(code as f64)) };
    UpdateExecutionTaskStatusRequest {
        workflow_instance_id: text("run"),
        task_id: Some(format!("task-{task}")),
        job_id: text(job_id),
        dispatch_id: text("dispatch"),
        attempt_id: Some(0),
        status: status.into(),
        sequence_id: i64::try_from(task).ok(),
        state_name: Some(task.to_string()),
        timestamp: Some(if code.is_some() { 20 } else { 10 }),
        data: Some(
            Struct { fields: code.map(|code| (CODE.to_owned(), value(code))).into_iter().collect() }.into(),
        ),
        meta: Some(Document::default()),
        updated_by: Some(Reporter { id: text("robot"), name: text("the robot"), app_id: text("robot-app") }),
        ..UpdateExecutionTaskStatusRequest::default()
    }
}

fn patch(op: PatchOp, progress: u64) -> PatchOperation {
    PatchOperation {
        op: op.into(),
        path: Some("/progress".to_owned()),
        value: Some(Value { kind: Some(Kind::StringValue(progress.to_string())) }),
        ..PatchOperation::default()
    }
}

async fn events(client: &mut Client, job_id: String) -> Result<Vec<Mark>, Status> {
    let request = ListJobEventsRequest { job_id, page_size: 1000, ..ListJobEventsRequest::default() };
    let page = soon(client.jobs.list_job_events(request)).await?.into_inner();
    assert_eq!(page.next_page_token, "", "it fits on one page");
    Ok(page.events.iter().map(mark).collect())
}

fn mark(event: &JobEvent) -> Mark {
    let task = || event.task.as_ref().unwrap();
    let name = || task().description().parse().unwrap();
    match event.r#type() {
        JobEventType::JobCreated | JobEventType::JobUpdated => {
            Mark::Title(title(event.job.as_ref().unwrap()))
        }
        JobEventType::HoldPlaced => Mark::Held,
        JobEventType::HoldReleased => Mark::Released,
        JobEventType::TaskUpdated if task().execution.is_none() => Mark::Patched(progress(task())),
        JobEventType::TaskCreated if task().execution.is_some() => Mark::Begun(name()),
        JobEventType::TaskCompleted => Mark::Closed(name(), code(task())),
        other => Mark::Other(other.into()),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was small and whole")]
fn code(task: &TaskStatus) -> u64 {
    match task.data.as_ref().unwrap().members().fields[CODE].kind {
        Some(Kind::NumberValue(code)) => code as u64,
        ref other => panic!("{other:?}"),
    }
}

fn progress(task: &TaskStatus) -> u64 {
    task.progress().parse().unwrap()
}

fn revision(job: &Job) -> usize {
    let revision = number_of(job.revision);
    assert_eq!(job.etag, etag(revision));
    revision
}

fn number_of(revision: i64) -> usize {
    usize::try_from(revision).unwrap()
}

/// As every job has it. What the server makes of a revision is no promise, so each is checked before it is relied on.
fn etag(revision: usize) -> String {
    format!("r{revision}")
}

fn title(job: &Job) -> u64 {
    job.title().parse().unwrap()
}

fn request_id(request: Option<u64>) -> String {
    request.map(|request| format!("request-{request}")).unwrap_or_default()
}
