//! The changes that clients ask for under load: of every kind that the API has, on jobs that they share.

use holdpoint::proto::{
    Document,
    v1::{
        BasicSyncRequest, BasicSyncResponse, CreateJobRequest, CreateJobResponse, DeleteJobRequest,
        DeleteJobResponse, ExecutionStatus, Job, JobActionType, Path, PerformJobActionRequest,
        PerformJobActionResponse, PublishWorkflowRequest, PublishWorkflowResponse, Reporter, StepDefinition,
        StepKind, UpdateExecutionTaskStatusRequest, UpdateExecutionTaskStatusResponse,
        UpdateExecutionWorkflowStatusRequest, UpdateExecutionWorkflowStatusResponse, UpdateJobRequest,
        UpdateJobResponse, Workflow, WorkflowReference,
    },
};
use prost_types::Timestamp;
use tonic::{Code, Status};

use super::{
    chance::Chance,
    kit::{Client, soon, sync},
};

const SYNCED_JOBS: usize = 24;
const TASKS_PER_JOB: usize = 4;
const STEPS: [&str; 3] = ["a", "b", "c"];

/// A change that a client asks for.
#[derive(Clone, Debug)]
pub enum Change {
    Publish(Box<PublishWorkflowRequest>),
    Sync(Box<BasicSyncRequest>),
    Create(Box<CreateJobRequest>),
    Update(Box<UpdateJobRequest>),
    Act(Box<PerformJobActionRequest>),
    Delete(Box<DeleteJobRequest>),
    ReportTask(Box<UpdateExecutionTaskStatusRequest>),
    ReportWorkflow(Box<UpdateExecutionWorkflowStatusRequest>),
}

/// What a change was answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    Publish(Box<PublishWorkflowResponse>),
    Sync(Box<BasicSyncResponse>),
    Create(Box<CreateJobResponse>),
    Update(Box<UpdateJobResponse>),
    Act(Box<PerformJobActionResponse>),
    Delete(Box<DeleteJobResponse>),
    ReportTask(Box<UpdateExecutionTaskStatusResponse>),
    ReportWorkflow(Box<UpdateExecutionWorkflowStatusResponse>),
}

impl Change {
    pub async fn ask(&self, client: &mut Client) -> Result<Reply, Status> {
        Ok(match self.clone() {
            Self::Publish(request) => {
                Reply::Publish(boxed(soon(client.workflows.publish_workflow(*request)).await)?)
            }
            Self::Sync(request) => Reply::Sync(boxed(soon(client.syncs.basic_sync(*request)).await)?),
            Self::Create(request) => Reply::Create(boxed(soon(client.jobs.create_job(*request)).await)?),
            Self::Update(request) => Reply::Update(boxed(soon(client.jobs.update_job(*request)).await)?),
            Self::Act(request) => Reply::Act(boxed(soon(client.jobs.perform_job_action(*request)).await)?),
            Self::Delete(request) => Reply::Delete(boxed(soon(client.jobs.delete_job(*request)).await)?),
            Self::ReportTask(request) => {
                Reply::ReportTask(boxed(soon(client.tasks.update_execution_task_status(*request)).await)?)
            }
            Self::ReportWorkflow(request) => Reply::ReportWorkflow(boxed(
                soon(client.workflows.update_execution_workflow_status(*request)).await,
            )?),
        })
    }

    pub fn request_id(&self) -> &str {
        match self {
            Self::Publish(request) => &request.request_id,
            Self::Sync(request) => &request.request_id,
            Self::Create(request) => &request.request_id,
            Self::Update(request) => &request.request_id,
            Self::Act(request) => &request.request_id,
            Self::Delete(request) => &request.request_id,
            Self::ReportTask(request) => &request.request_id,
            Self::ReportWorkflow(request) => &request.request_id,
        }
    }

    /// The job, where the request names it by the server's id.
    pub fn job_id(&self) -> Option<&str> {
        match self {
            Self::Publish(_) | Self::Sync(_) | Self::Create(_) => None,
            Self::Update(request) => Some(&request.job_id),
            Self::Act(request) => Some(&request.job_id),
            Self::Delete(request) => Some(&request.job_id),
            Self::ReportTask(request) => request.job_id.as_deref(),
            Self::ReportWorkflow(request) => request.job_id.as_deref(),
        }
    }

    /// The reports of steps in it.
    pub fn report_ids(&self) -> Vec<String> {
        let Self::Sync(request) = self else { return Vec::new() };
        let steps = request.completed_steps.iter();
        steps.map(|entry| entry.single_step.as_ref().unwrap().unique_step_id().to_owned()).collect()
    }

    /// Whether it may be refused so: others change the same jobs, and delete them.
    pub fn may_be_refused(&self, status: &Status) -> bool {
        let refusals = [Code::NotFound, Code::FailedPrecondition, Code::AlreadyExists, Code::InvalidArgument];
        self.job_id().is_some() && refusals.contains(&status.code())
    }
}

fn boxed<T>(reply: Result<tonic::Response<T>, Status>) -> Result<Box<T>, Status> {
    reply.map(|reply| Box::new(reply.into_inner()))
}

impl Reply {
    /// The job that it is about, and its revision.
    pub fn job(&self, change: &Change) -> Option<(String, i64)> {
        let of = |job: &Option<Job>| job.as_ref().map(|job| (job.job_id.clone(), job.revision));
        let at = |revision: i64| change.job_id().map(|job_id| (job_id.to_owned(), revision));
        match self {
            Self::Publish(_) => None,
            Self::Sync(reply) => Some((reply.job_id.clone(), reply.revision)),
            Self::Create(reply) => of(&reply.job),
            Self::Update(reply) => of(&reply.job),
            Self::Act(reply) => at(reply.revision),
            Self::Delete(reply) => at(reply.revision),
            Self::ReportTask(reply) => at(reply.revision),
            Self::ReportWorkflow(reply) => at(reply.revision),
        }
    }
}

/// The workflow that the jobs made here follow: an AUTOMATIC step between two that people do.
pub fn publish() -> Change {
    let path = |to: &str| Path { next_step_id: to.to_owned(), ..Path::default() };
    let step = |id: &str, kind: StepKind, next: Option<&str>| StepDefinition {
        step_id: id.to_owned(),
        kind: kind.into(),
        can_skip: true,
        paths: next.map(path).into_iter().collect(),
        ..StepDefinition::default()
    };
    let workflow = Workflow {
        workflow_id: "flow".to_owned(),
        start_step_ids: vec!["a".to_owned()],
        steps: vec![
            step("a", StepKind::Manual, Some("b")),
            step("b", StepKind::Automatic, Some("c")),
            step("c", StepKind::Manual, None),
        ],
        ..Workflow::default()
    };
    Change::Publish(Box::new(PublishWorkflowRequest {
        workflow: Some(workflow),
        request_id: "publish".to_owned(),
        ..PublishWorkflowRequest::default()
    }))
}

/// The next change of a client, under a name that no other has. `created` are jobs that can be changed.
pub fn any(chance: &mut Chance, created: &[String], name: &str) -> Change {
    // Where a repeat would not find out by itself what became of it, it has a request id.
    let always = format!("request-{name}");
    let request_id = if chance.one_in(2) { always.clone() } else { String::new() };
    let kind = chance.below(20);
    if kind > 9 {
        return sync_of(chance, name, request_id);
    }
    if kind == 0 || created.is_empty() {
        return create(name, always);
    }
    let job_id = created[chance.below(created.len())].clone();
    match kind {
        1 => update(job_id, name, request_id),
        2 if chance.one_in(3) => delete(job_id, always),
        3..6 => report_task(chance, job_id, request_id),
        6 => report_workflow(chance, job_id, request_id),
        _ => act(chance, job_id, created, request_id),
    }
}

/// A job that follows the workflow.
pub fn create(title: &str, request_id: String) -> Change {
    let workflow = WorkflowReference { workflow_id: "flow".to_owned(), ..WorkflowReference::default() };
    let job = Job { title: Some(title.to_owned()), workflow: Some(workflow), ..Job::default() };
    Change::Create(Box::new(CreateJobRequest { job: Some(job), request_id, ..CreateJobRequest::default() }))
}

fn update(job_id: String, title: &str, request_id: String) -> Change {
    let job = Some(Job { title: Some(title.to_owned()), ..Job::default() });
    Change::Update(Box::new(UpdateJobRequest { job_id, job, request_id, ..UpdateJobRequest::default() }))
}

fn delete(job_id: String, request_id: String) -> Change {
    Change::Delete(Box::new(DeleteJobRequest { job_id, request_id, ..DeleteJobRequest::default() }))
}

/// What an operator does to a step. Some holds wait for another job, and some for a time that comes soon.
fn act(chance: &mut Chance, job_id: String, created: &[String], request_id: String) -> Change {
    use JobActionType::{Finish, Hold, ReleaseHold, Run, Stop};
    let action = [Run, Run, Finish, Finish, Stop, Hold, Hold, ReleaseHold][chance.below(8)];
    let mut request = PerformJobActionRequest {
        job_id,
        r#type: action.into(),
        step_ids: vec![STEPS[chance.below(STEPS.len())].to_owned()],
        request_id,
        ..PerformJobActionRequest::default()
    };
    if action == Hold {
        match chance.below(3) {
            0 => request.dependent_job_id = Some(created[chance.below(created.len())].clone()),
            1 => request.hold_scheduled_release = Some(soon_after_now()),
            _ => {}
        }
    }
    Change::Act(Box::new(request))
}

/// A second from now: about when the server is asked what came of it, or before.
fn soon_after_now() -> Timestamp {
    (std::time::SystemTime::now() + std::time::Duration::from_secs(1)).into()
}

fn reporter() -> Reporter {
    let text = |text: &str| Some(text.to_owned());
    Reporter { id: text("robot"), name: text("the robot"), app_id: text("robot-app") }
}

fn report_status(chance: &mut Chance) -> (i32, Option<i64>) {
    let status = [ExecutionStatus::Started, ExecutionStatus::Closed][chance.below(2)];
    (status.into(), Some(1 + chance.below(1_000)))
}

fn report_task(chance: &mut Chance, job_id: String, request_id: String) -> Change {
    let task = chance.below(TASKS_PER_JOB);
    let (status, timestamp) = report_status(chance);
    Change::ReportTask(Box::new(UpdateExecutionTaskStatusRequest {
        workflow_instance_id: Some("run".to_owned()),
        task_id: Some(format!("task-{task}")),
        job_id: Some(job_id),
        dispatch_id: Some("dispatch".to_owned()),
        attempt_id: Some(0),
        status,
        sequence_id: i64::try_from(task).ok(),
        state_name: Some("Weld".to_owned()),
        timestamp,
        data: Some(Document::default()),
        meta: Some(Document::default()),
        updated_by: Some(reporter()),
        request_id,
        ..UpdateExecutionTaskStatusRequest::default()
    }))
}

fn report_workflow(chance: &mut Chance, job_id: String, request_id: String) -> Change {
    let (status, timestamp) = report_status(chance);
    Change::ReportWorkflow(Box::new(UpdateExecutionWorkflowStatusRequest {
        workflow_instance_id: Some("run".to_owned()),
        status,
        timestamp,
        dispatch_id: Some("dispatch".to_owned()),
        job_id: Some(job_id),
        attempt_id: Some(0),
        close_job: chance.one_in(4),
        data: Some(Document::default()),
        meta: Some(Document::default()),
        code: Some("done".to_owned()),
        updated_by: Some(reporter()),
        request_id,
        ..UpdateExecutionWorkflowStatusRequest::default()
    }))
}

fn sync_of(chance: &mut Chance, name: &str, request_id: String) -> Change {
    let job = format!("synced-{}", chance.below(SYNCED_JOBS));
    // Not in order, so that some of the headers lose.
    let updated = 1 + chance.below(1_000_000);
    // One in some hundred is a commit that the store takes in several steps.
    let (reports, note_bytes) = if chance.one_in(150) { (60, 4_000) } else { (chance.below(4), 20) };
    let reports: Vec<_> = (0..reports).map(|n| format!("{name}-{n}")).collect();
    let team = Some(["red", "green"][chance.below(2)].to_owned());
    let request = sync(&job, updated, &reports, note_bytes);
    Change::Sync(Box::new(BasicSyncRequest { team, request_id, ..request }))
}

/// What a device brings when it comes back.
pub fn outbox(chance: &mut Chance, name: &str) -> Vec<Change> {
    let count = 2 + chance.below(6);
    (0..count).map(|entry| sync_of(chance, &format!("{name}-o{entry}"), String::new())).collect()
}
