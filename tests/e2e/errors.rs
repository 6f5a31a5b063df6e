//! What is refused, with which code, for which reason, and what of the request is named. A refusal changes nothing.

use std::collections::BTreeSet;

use bytes::Bytes;
use expect_test::{Expect, expect};
use holdpoint::{
    cli::bench::wire::Raw,
    config::{Config, Limits},
    proto::{
        Document, WatchBatch,
        v1::{
            AbortJobRequest, AssignStepRequest, Assignee, BasicSyncRequest, CountJobsRequest,
            CreateJobRequest, DeleteJobRequest, ExcludeJobRequest,
            ExecutionStatus::{self, Closed, Started},
            GetJobRequest, GetTaskStatusRequest, GetWorkflowRequest, Job, JobActionType, JobEvent, JobFilter,
            ListHoldsRequest, ListJobEventsRequest, ListJobsRequest, ListWorkflowsRequest,
            PerformJobActionRequest, PublishWorkflowRequest, ReopenJobRequest, SingleStep, StepDefinition,
            StepEntry, StepKind, StepReport, SyncMetadata, UpdateExecutionTaskStatusRequest,
            UpdateExecutionWorkflowStatusRequest, UpdateJobRequest, WatchJobRequest, WatchJobsRequest,
            WatchJobsResponse, WatchMessage, WatchStart, Workflow, WorkflowReference, watch_message,
        },
    },
};
use prost::Message as _;
use prost_types::{Duration, FieldMask, Struct, Timestamp, Value, value};
use tokio::net::TcpStream;
use tonic::{Code, Request, Status, client::Grpc, codegen::http::uri::PathAndQuery};
use tonic_types::StatusExt as _;

use super::harness::{
    Call, Caller, Client, TestServer, abort, assign, chain, close, config, create, delete, device_body,
    device_body_of, events, exclude, fields, following, get, get_instance, holds_of, line, next, perform,
    publish, reason, reopen, report_task, report_workflow, reporter, step, titled, update, within, words,
    workflow,
};
use super::tokens::{self, Token};

/// Reasons that no test here can bring about, which are tested in `src/rpc/status.rs`; those of patches, in `tasks.rs`; and a disk
/// that is full, in `admin.rs`.
const TESTED_ELSEWHERE: [&str; 6] =
    ["INTERNAL", "OVERLOADED", "STORE_FAILED", "STORE_FULL", "PATCH_TARGET_MISSING", "TEST_FAILED"];

/// Jobs to refuse changes of. Of `working` a step runs, and `held` has as many holds as can be.
async fn with_jobs(client: &Client) {
    let steps = ["a", "b"].map(|id| step(id, StepKind::Manual));
    client.publish(chain("flow", steps.into())).await;
    for job_id in ["working", "held"] {
        client.create(job_id, following("flow")).await;
    }
    client.done(JobActionType::Run, "working", &["a"]).await;
    for _ in 0..100 {
        client.done(JobActionType::Hold, "held", &["a"]).await;
    }
    client.perform(waiting("held", "b", "working")).await;
    for job_id in ["open", "closed", "deleted"] {
        client.create(job_id, titled(job_id)).await;
    }
    client.call(close("closed")).await.unwrap();
    client.call(delete("deleted")).await.unwrap();
    client.sync(device_body()).await;
    // The instance `run` is at its second attempt, and `over` is closed.
    client.report_task(task_report("begun", 0, Started, 10)).await;
    client.report_task(task_report("ended", 1, Closed, 10)).await;
    let over = Some("over".to_owned());
    let closed = report_workflow("working", Closed, 10);
    client
        .report_workflow(UpdateExecutionWorkflowStatusRequest { workflow_instance_id: over, ..closed })
        .await;
}

/// A report of a task of the second attempt at the instance `run`.
fn task_report(
    task_id: &str,
    sequence_id: i64,
    status: ExecutionStatus,
    timestamp: i64,
) -> UpdateExecutionTaskStatusRequest {
    let attempt_id = Some(1);
    let report = report_task("working", task_id, sequence_id, status, timestamp);
    UpdateExecutionTaskStatusRequest { attempt_id, ..report }
}

/// A hold on a step that waits for a job.
fn waiting(job_id: &str, step_id: &str, dependent_job_id: &str) -> PerformJobActionRequest {
    let dependent_job_id = Some(dependent_job_id.to_owned());
    PerformJobActionRequest { dependent_job_id, ..perform(JobActionType::Hold, job_id, &[step_id]) }
}

fn get_workflow(workflow_id: &str, version_id: &str) -> GetWorkflowRequest {
    GetWorkflowRequest { workflow_id: workflow_id.to_owned(), version_id: version_id.to_owned() }
}

/// Each call is refused, as the text says, and changes nothing.
async fn check(client: &Client, rows: Vec<(&str, Call)>, expected: Expect) -> Vec<Status> {
    let everything = client.everything().await;
    let mut table = String::new();
    let mut statuses = Vec::new();
    for (name, call) in rows {
        let Err(status) = client.call(call).await else { panic!("{name} is not refused") };
        table.push_str(&format!("{name}: {}\n", line(&status)));
        assert!(client.everything().await == everything, "{name} changes something");
        let bytes = status.details().len();
        assert!(bytes < 3 << 10, "{name}: {bytes} bytes of details are more than clients take");
        statuses.push(status);
    }
    expected.assert_eq(&table);
    statuses
}

/// One row for each reason there is; a new one that no row brings about fails the test.
#[tokio::test]
async fn every_reason_is_given_by_some_call() {
    let small = Limits { reports_per_job: 2, reports_per_sync: 3, tasks_per_job: 2, ..Limits::default() };
    let server = TestServer::start(Config { limits: small, ..config() }).await;
    let client = server.client().await;
    with_jobs(&client).await;
    let synced = {
        let request =
            GetJobRequest { client_job_id: metadata_of(&device_body()).0, ..GetJobRequest::default() };
        let details = client.jobs.clone().get_job(request).await.unwrap().into_inner().decode_details();
        details.unwrap().job.unwrap().job_id
    };
    let reused = UpdateJobRequest { request_id: "one".to_owned(), ..update("open", titled("b")) };
    client.call(reused.clone()).await.unwrap();

    let mut other_workflow = device_body();
    other_workflow.metadata.as_mut().unwrap().workflow_id = Some("other".to_owned());
    let mask = Some(FieldMask { paths: vec!["status".to_owned()] });
    let page_token = "x".to_owned();
    let resume = |resume_token: &str| WatchJobsRequest {
        resume_token: resume_token.to_owned(),
        ..WatchJobsRequest::default()
    };
    let foreign = resume_token(&TestServer::memory().await.client().await).await;
    let rows: Vec<(&str, Call)> = vec![
        ("a field", get("").into()),
        ("a mask", UpdateJobRequest { update_mask: mask, ..update("open", titled("b")) }.into()),
        ("a page token", ListJobsRequest { page_token, ..ListJobsRequest::default() }.into()),
        ("a resume token", resume("x").into()),
        ("a resume token of another store", resume(&foreign).into()),
        ("no such job", get("none").into()),
        ("an id in use", create("open", Job::default()).into()),
        ("an id that was in use", create("deleted", Job::default()).into()),
        ("a sync of a deleted job", device_body_of("deleted").into()),
        ("a closed job", update("closed", titled("b")).into()),
        ("a completed job", abort(&synced).into()),
        ("another workflow", other_workflow.into()),
        ("a workflow that is not published", create("a", following("none")).into()),
        ("a workflow that is not there", get_workflow("flow", "2").into()),
        ("a version that is not the newest", {
            let newest_version_id = "2".to_owned();
            let again = chain("flow", vec![step("a", StepKind::Manual)]);
            PublishWorkflowRequest { newest_version_id, ..publish(again) }.into()
        }),
        ("steps that run", close("working").into()),
        ("a job at work", reopen("working", &[]).into()),
        ("a step that is not there", assign("working", "z", None).into()),
        ("steps that are not there", reopen("closed", &["z"]).into()),
        ("a job to wait for", waiting("working", "b", "none").into()),
        ("a step to wait for", {
            let dependent_step_id = Some("z".to_owned());
            PerformJobActionRequest { dependent_step_id, ..waiting("working", "b", "held") }.into()
        }),
        ("a circle", waiting("working", "b", "held").into()),
        ("more holds than can be", perform(JobActionType::Hold, "held", &["a"]).into()),
        ("an etag", AbortJobRequest { etag: "x".to_owned(), ..abort("open") }.into()),
        ("a request id", UpdateJobRequest { job: Some(titled("c")), ..reused }.into()),
        ("no such task", GetTaskStatusRequest { id: "none".to_owned() }.into()),
        ("no such instance", get_instance("working", "none").into()),
        ("another's task", {
            let updated_by = Some(reporter("bob"));
            let report = task_report("begun", 0, Started, 11);
            UpdateExecutionTaskStatusRequest { updated_by, ..report }.into()
        }),
        ("a task that is closed", task_report("ended", 1, Closed, 11).into()),
        ("a workflow that is closed", {
            let workflow_instance_id = Some("over".to_owned());
            let report = report_workflow("working", Closed, 11);
            UpdateExecutionWorkflowStatusRequest { workflow_instance_id, ..report }.into()
        }),
        ("an end before the start", task_report("begun", 0, Closed, 9).into()),
        ("an attempt that is over", report_workflow("working", Started, 10).into()),
        ("a sequence id of another task", task_report("new", 0, Started, 10).into()),
        ("another state", {
            let state_name = Some("Paint".to_owned());
            let report = task_report("begun", 0, Closed, 11);
            UpdateExecutionTaskStatusRequest { state_name, ..report }.into()
        }),
        ("tasks of a job", task_report("third", 2, Started, 10).into()),
        ("reports of a sync", with_reports(4).into()),
        ("reports of a job", with_reports(3).into()),
        ("a large message", create("a", titled(&"x".repeat(5 << 20))).into()),
    ];
    let mut statuses = check(&client, rows, expect![[r#"
        a field: InvalidArgument FIELD_INVALID
            job_id or client_job_id is required
        a mask: InvalidArgument IMMUTABLE_FIELD
            update_mask "status" cannot be updated
        a page token: InvalidArgument PAGE_TOKEN_INVALID
        a resume token: InvalidArgument RESUME_TOKEN_INVALID
        a resume token of another store: FailedPrecondition RESUME_TOKEN_FOREIGN
        no such job: NotFound JOB_NOT_FOUND {"jobId": "none"}
        an id in use: AlreadyExists JOB_ALREADY_EXISTS {"jobId": "open"}
        an id that was in use: AlreadyExists JOB_DELETED {"jobId": "deleted"}
        a sync of a deleted job: FailedPrecondition JOB_DELETED {"jobId": "deleted"}
        a closed job: FailedPrecondition JOB_CLOSED {"jobId": "closed"}
        a completed job: FailedPrecondition JOB_COMPLETED {"jobId": "job_*"}
        another workflow: FailedPrecondition WORKFLOW_MISMATCH {"jobId": "job_*", "workflowId": "b62f2507-b4e7-4248-83d3-29c03a158fbe"}
        a workflow that is not published: FailedPrecondition WORKFLOW_NOT_FOUND {"workflowId": "none"}
        a workflow that is not there: NotFound WORKFLOW_NOT_FOUND {"versionId": "2", "workflowId": "flow"}
        a version that is not the newest: Aborted ETAG_MISMATCH {"etag": "1"}
        steps that run: FailedPrecondition STEPS_RUNNING {"jobId": "working", "stepIds": "a"}
        a job at work: FailedPrecondition JOB_OPEN {"jobId": "working"}
        a step that is not there: NotFound STEP_NOT_FOUND {"jobId": "working", "stepIds": "z"}
        steps that are not there: NotFound STEP_NOT_FOUND {"jobId": "closed", "stepIds": "z"}
        a job to wait for: FailedPrecondition DEPENDENCY_NOT_FOUND {"dependentJobId": "none"}
        a step to wait for: FailedPrecondition DEPENDENCY_NOT_FOUND {"dependentJobId": "held", "dependentStepId": "z"}
        a circle: FailedPrecondition DEPENDENCY_CIRCLE {"circle": "working/b held held/b working working/b"}
        more holds than can be: ResourceExhausted LIMIT_EXCEEDED {"limit": "holds_per_step", "maximum": "100"}
        an etag: Aborted ETAG_MISMATCH {"etag": "r2"}
        a request id: FailedPrecondition REQUEST_ID_REUSED
        no such task: NotFound TASK_NOT_FOUND {"taskId": "none"}
        no such instance: NotFound WORKFLOW_INSTANCE_NOT_FOUND {"workflowInstanceId": "none"}
        another's task: FailedPrecondition TASK_ALREADY_STARTED {"startedBy": "robot", "taskId": "task_*"}
        a task that is closed: FailedPrecondition TASK_ALREADY_CLOSED {"taskId": "task_*"}
        a workflow that is closed: FailedPrecondition WORKFLOW_ALREADY_CLOSED {"attemptId": "0", "workflowInstanceId": "over"}
        an end before the start: FailedPrecondition TIMESTAMP_REGRESSION {"completed": "1970-01-01T00:00:00.009Z", "launched": "1970-01-01T00:00:00.010Z"}
        an attempt that is over: FailedPrecondition STALE_ATTEMPT {"newest": "1"}
        a sequence id of another task: FailedPrecondition SEQUENCE_CONFLICT {"sequenceId": "0"}
        another state: FailedPrecondition EXECUTION_MISMATCH {"field": "state_name", "known": "Weld"}
        tasks of a job: ResourceExhausted LIMIT_EXCEEDED {"limit": "tasks_per_job", "maximum": "2"}
        reports of a sync: ResourceExhausted LIMIT_EXCEEDED {"limit": "reports_per_sync", "maximum": "3"}
        reports of a job: ResourceExhausted LIMIT_EXCEEDED {"limit": "reports_per_job", "maximum": "2"}
        a large message: ResourceExhausted LIMIT_EXCEEDED {"limit": "message_bytes", "maximum": "4194304"}
    "#]]).await;

    let everything = client.everything().await;
    let others = [
        ("garbage", garbage(&client).await),
        ("who calls", client_of_nobody(&server).await),
        ("a privilege", client_without_privileges(&server).await),
        ("one of two privileges", client_without_privileges_to_refresh(&server).await),
        ("no credentials", client_of_keys(Caller::default()).await),
        ("credentials of elsewhere", {
            let elsewhere = Token { audience: "elsewhere".to_owned(), ..Token::default() };
            client_of_keys(elsewhere.caller()).await
        }),
        ("credentials of long ago", {
            let stale = Token { expires_in: -3_600.0, ..Token::default() };
            client_of_keys(stale.caller()).await
        }),
        ("a deadline", past_its_deadline(&server).await),
        ("a resume token of long ago", expired().await),
        ("a server that stops", draining().await),
    ];
    let mut table = String::new();
    for (name, status) in &others {
        // The time that is told is another in every run.
        let line = line(status);
        let line = line.split(" {\"oldest\"").next().unwrap();
        table.push_str(&format!("{name}: {line}\n"));
    }
    expect![[r#"
        garbage: InvalidArgument MESSAGE_MALFORMED
        who calls: InvalidArgument CALLER_INVALID {"key": "holdpoint-user"}
        a privilege: PermissionDenied PRIVILEGE_MISSING {"privilege": "jobExecute"}
        one of two privileges: PermissionDenied PRIVILEGE_MISSING {"privilege": "adminBasic, adminAdvanced"}
        no credentials: Unauthenticated CREDENTIALS_MISSING
        credentials of elsewhere: Unauthenticated CREDENTIALS_INVALID
        credentials of long ago: Unauthenticated CREDENTIALS_EXPIRED
        a deadline: DeadlineExceeded DEADLINE_EXCEEDED
        a resume token of long ago: OutOfRange RESUME_TOKEN_EXPIRED
        a server that stops: Unavailable SHUTTING_DOWN
    "#]]
    .assert_eq(&table);
    assert_eq!(client.everything().await, everything);
    statuses.extend(others.map(|(_, status)| status));

    let mut given: BTreeSet<String> = statuses.iter().map(reason).collect();
    given.extend(TESTED_ELSEWHERE.map(str::to_owned));
    let all = words("holdpoint.v1.ErrorReason");
    let all = all.iter().map(|name| name.trim_start_matches("ERROR_REASON_").to_owned());
    assert_eq!(given, all.filter(|reason| reason != "UNSPECIFIED").collect());
    for status in statuses {
        let info = status.get_details_error_info().unwrap();
        assert_eq!(info.domain, "holdpoint", "{status:?}");
        let is_passing = status.code() == Code::Unavailable;
        assert_eq!(status.get_details_retry_info().is_some(), is_passing, "{status:?}");
    }
}

fn metadata_of(body: &BasicSyncRequest) -> (String, String) {
    let metadata = body.metadata.clone().unwrap();
    (metadata.client_job_id.unwrap(), metadata.workflow_id.unwrap())
}

/// A sync with so many reports.
fn with_reports(count: usize) -> BasicSyncRequest {
    let mut body = device_body_of("many");
    let entry = body.completed_steps.pop().unwrap();
    for n in 0..count {
        let mut entry = entry.clone();
        entry.single_step.as_mut().unwrap().unique_step_id = Some(n.to_string());
        body.completed_steps.push(entry);
    }
    body
}

/// The token of a watch's first message.
async fn resume_token(client: &Client) -> String {
    let request = WatchJobsRequest { start: WatchStart::Now.into(), ..WatchJobsRequest::default() };
    let mut watch = client.jobs.clone().watch_jobs(request).await.unwrap().into_inner();
    next(&mut watch).await.unwrap().unwrap().message.unwrap().resume_token
}

/// Calls a method with these bytes as its message.
pub(super) async fn call_raw(client: &Client, method: &'static str, body: Bytes) -> Result<Bytes, Status> {
    let mut grpc = Grpc::new(client.transport.clone());
    grpc.ready().await.unwrap();
    let reply = grpc.unary(Request::new(body), PathAndQuery::from_static(method), Raw).await?;
    Ok(reply.into_inner())
}

const SYNC: &str = "/holdpoint.v1.SyncService/BasicSync";

async fn garbage(client: &Client) -> Status {
    call_raw(client, SYNC, Bytes::from_static(b"\xff\xff\xff")).await.unwrap_err()
}

async fn client_of_nobody(server: &TestServer) -> Status {
    let nobody = server.client_as(Caller::new("a b")).await;
    nobody.call(get("open")).await.unwrap_err()
}

/// Of a server that believes tokens alone.
async fn client_of_keys(caller: Caller) -> Status {
    let server = TestServer::start(tokens::config()).await;
    server.client_as(caller).await.call(get("open")).await.unwrap_err()
}

async fn client_without_privileges(server: &TestServer) -> Status {
    let bob = server.client_as(Caller::new("bob").who_may("jobRead,jobUpdateHolds")).await;
    bob.call(perform(JobActionType::Run, "working", &[])).await.unwrap_err()
}

async fn client_without_privileges_to_refresh(server: &TestServer) -> Status {
    let bob = server.client_as(Caller::new("bob").who_may("jobExecute")).await;
    bob.call(perform(JobActionType::RefreshStatus, "working", &[])).await.unwrap_err()
}

/// Sent by hand: the generated client would give up at the deadline by itself.
async fn past_its_deadline(server: &TestServer) -> Status {
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (client, connection) = within(h2::client::handshake(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://holdpoint{SYNC}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "0n")
        .body(())
        .unwrap();
    let (response, _) = within(client.ready()).await.unwrap().send_request(request, true).unwrap();
    Status::from_header_map(within(response).await.unwrap().headers()).unwrap()
}

/// The log is trimmed past where a watch was.
async fn expired() -> Status {
    let limits = Limits { log_events: 1, ..Limits::default() };
    let server = TestServer::start(Config { limits, ..config() }).await;
    let client = server.client().await;
    let resume_token = resume_token(&client).await;
    for n in 0..3 {
        client.create(&n.to_string(), Job::default()).await;
    }
    server.engine.forget_old().await.unwrap();
    client.call(WatchJobsRequest { resume_token, ..WatchJobsRequest::default() }).await.unwrap_err()
}

async fn draining() -> Status {
    let server = TestServer::memory().await;
    let client = server.client().await;
    let mut watch = client.jobs.clone().watch_jobs(WatchJobsRequest::default()).await.unwrap().into_inner();
    server.shutdown.cancel();
    loop {
        match next(&mut watch).await {
            Ok(message) => assert!(message.is_some(), "a watch ends with a status"),
            Err(status) => return status,
        }
    }
}

/// Everything that is required, left out at once.
#[tokio::test]
async fn everything_that_is_missing_is_named_at_once() {
    let client = TestServer::memory().await.client().await;
    with_jobs(&client).await;
    let empty_step = StepEntry { single_step: Some(SingleStep::default()), report_step: None };
    let both = StepEntry { report_step: Some(SingleStep::default()), ..empty_step.clone() };
    let report = StepEntry { single_step: None, ..both.clone() };
    let sync = BasicSyncRequest {
        completed_steps: vec![empty_step.clone(), StepEntry::default()],
        cancelled_steps: vec![report, both],
        ..BasicSyncRequest::default()
    };
    let empty = SyncMetadata {
        client_job_id: Some(String::new()),
        workflow_id: Some(String::new()),
        ..SyncMetadata::default()
    };
    let assignee = Some(Assignee::default());
    let of_none = Some(WorkflowReference::default());
    let rows: Vec<(&str, Call)> = vec![
        ("sync", sync.into()),
        ("sync of empty members", BasicSyncRequest { metadata: Some(empty), ..Default::default() }.into()),
        ("create", CreateJobRequest::default().into()),
        ("create a job", create("", Job { assignee, workflow: of_none, ..Job::default() }).into()),
        ("get", GetJobRequest::default().into()),
        ("update", UpdateJobRequest::default().into()),
        ("abort", abort("").into()),
        ("close", close("").into()),
        ("delete", delete("").into()),
        ("action", PerformJobActionRequest::default().into()),
        ("assign", AssignStepRequest::default().into()),
        ("reopen", ReopenJobRequest::default().into()),
        ("exclude", ExcludeJobRequest::default().into()),
        ("publish", PublishWorkflowRequest::default().into()),
        ("publish nothing", publish(Workflow::default()).into()),
        ("publish steps of nothing", publish(workflow("", &[""], vec![StepDefinition::default()])).into()),
        ("workflow", GetWorkflowRequest::default().into()),
        ("events", events("").into()),
        ("watch", WatchJobRequest::default().into()),
    ];
    check(
        &client,
        rows,
        expect![[r#"
            sync: InvalidArgument FIELD_INVALID
                metadata.client_job_id is required
                metadata.workflow_id is required
                metadata.status is required
                completed_steps[0].single_step.unique_step_id is required
                completed_steps[0].single_step.step_id is required
                completed_steps[1] must have single_step or report_step
                cancelled_steps[0].report_step.unique_step_id is required
                cancelled_steps[0].report_step.step_id is required
                cancelled_steps[1] must not have both single_step and report_step
            sync of empty members: InvalidArgument FIELD_INVALID
                metadata.client_job_id is empty
                metadata.status is required
            create: InvalidArgument FIELD_INVALID
                job is required
            create a job: InvalidArgument FIELD_INVALID
                job.workflow.workflow_id is required
                job.assignee.kind is required: KIND_USER or KIND_GROUP
                job.assignee.id is required
            get: InvalidArgument FIELD_INVALID
                job_id or client_job_id is required
            update: InvalidArgument FIELD_INVALID
                job_id is required
                job is required
            abort: InvalidArgument FIELD_INVALID
                job_id is required
            close: InvalidArgument FIELD_INVALID
                job_id is required
            delete: InvalidArgument FIELD_INVALID
                job_id is required
            action: InvalidArgument FIELD_INVALID
                type is required
                job_id is required
            assign: InvalidArgument FIELD_INVALID
                step_id is required
                job_id is required
            reopen: InvalidArgument FIELD_INVALID
                job_id is required
            exclude: InvalidArgument FIELD_INVALID
                excluded is required
                job_id is required
            publish: InvalidArgument FIELD_INVALID
                workflow is required
            publish nothing: InvalidArgument FIELD_INVALID
                workflow.workflow_id is required
                workflow.steps is required
                workflow.start_step_ids is required
            publish steps of nothing: InvalidArgument FIELD_INVALID
                workflow.workflow_id is required
                workflow.steps[0].step_id is required
            workflow: InvalidArgument FIELD_INVALID
                workflow_id is required
            events: InvalidArgument FIELD_INVALID
                job_id is required
            watch: InvalidArgument FIELD_INVALID
                job_id is required
        "#]],
    )
    .await;
}

/// A struct so many levels deep.
fn deep(levels: usize) -> Document {
    let around = |name: &str, value| Struct { fields: [(name.to_owned(), value)].into() };
    let inside = |inner| Value { kind: Some(value::Kind::StructValue(inner)) };
    (1..levels).fold(around("leaf", true.into()), |inner, _| around("in", inside(inner))).into()
}

/// A value of lists within lists.
fn deep_list(levels: usize) -> Value {
    (0..levels).fold(true.into(), |inner: Value, _| vec![inner].into())
}

/// A sync with this in the metadata of its one step.
fn with_metadata(client_job_id: &str, metadata: Document) -> BasicSyncRequest {
    let mut body = device_body_of(client_job_id);
    body.completed_steps[0].single_step.as_mut().unwrap().metadata = Some(metadata);
    body
}

#[tokio::test]
async fn values_that_are_not_allowed_are_named() {
    let client = TestServer::memory().await.client().await;
    with_jobs(&client).await;
    let long = |characters: usize| Some("é".repeat(characters));
    let time = |seconds: i64, nanos: i32| Some(Timestamp { seconds, nanos });
    let number = |number: f64| fields([("number", number.into())]);
    let sync = |change: &dyn Fn(&mut BasicSyncRequest)| -> Call {
        let mut body = device_body_of("bad");
        change(&mut body);
        body.into()
    };
    let metadata = |change: &dyn Fn(&mut SyncMetadata)| sync(&|body| change(body.metadata.as_mut().unwrap()));
    let step = |change: &dyn Fn(&mut SingleStep)| {
        sync(&|body| change(body.completed_steps[0].single_step.as_mut().unwrap()))
    };
    let job = |job: Job| -> Call { create("bad", job).into() };
    let list = |filter: JobFilter| -> Call {
        ListJobsRequest { filter: Some(filter), ..ListJobsRequest::default() }.into()
    };
    let expression = |text: &str| list(JobFilter { expression: text.to_owned(), ..JobFilter::default() });
    let watch = |request: WatchJobsRequest| -> Call { request.into() };
    let rows: Vec<(&str, Call)> = vec![
        (
            "ids that are too long",
            metadata(&|metadata| {
                metadata.client_job_id = long(65);
                metadata.workflow_id = long(65);
                metadata.workflow_version_id = long(65);
                metadata.user_id = long(65);
                metadata.current_step = long(65);
                metadata.username = long(257);
                metadata.job_title = long(4097);
                metadata.abandon_reason = long(4097);
                metadata.workflow_name = long(4097);
            }),
        ),
        (
            "texts of a step that are too long",
            step(&|step| {
                step.unique_step_id = long(65);
                step.step_id = long(65);
                step.previous_unique_step_id = long(65);
                step.user_id = long(65);
                step.user_name = long(257);
                step.parent_step_id = long(65);
                step.parent_unique_step_id = long(65);
                step.device_id = long(4097);
                step.step_title = long(4097);
                step.step_description = long(4097);
                step.step_type = long(4097);
                step.connection_type = long(4097);
                step.note = long(4097);
                step.parent_step_title = long(4097);
                step.parent_step_description = long(4097);
                step.value_resource_ids = vec![String::new(), "x".repeat(4097)];
                step.note_resource_filenames = vec!["x".repeat(4097)];
            }),
        ),
        (
            "more faults than fit",
            sync(&|body| {
                let step = SingleStep { user_id: Some("x".repeat(65)), ..SingleStep::default() };
                let entry = StepEntry { single_step: Some(step), report_step: None };
                body.completed_steps = vec![entry; 500];
            }),
        ),
        (
            "lists that are too long",
            sync(&|body| {
                body.packet_ids = vec![String::new(); 1001];
                let step = body.completed_steps[0].single_step.as_mut().unwrap();
                step.value_resource_ids = vec![String::new(); 1001];
            }),
        ),
        (
            "an id with a control character",
            metadata(&|metadata| metadata.client_job_id = Some("a\n".to_owned())),
        ),
        (
            "documents that are too deep",
            sync(&|body| {
                body.metadata.as_mut().unwrap().metadata = Some(deep(25));
                body.hierarchy_stack = Some(deep_list(25));
                body.job_exclusion = vec![deep_list(24)];
                let step = body.completed_steps[0].single_step.as_mut().unwrap();
                step.metadata = Some(deep(25));
                step.values = vec![deep_list(24)];
                step.time_events = Some(deep_list(25));
                step.coordinates = Some(deep_list(25));
            }),
        ),
        (
            "documents that are too large",
            sync(&|body| {
                let large = fields([("text", "x".repeat(256 << 10).into())]);
                body.metadata.as_mut().unwrap().metadata = Some(large.clone());
                // Together.
                body.job_exclusion = vec!["x".repeat(128 << 10).into(); 2];
                body.completed_steps[0].single_step.as_mut().unwrap().metadata = Some(large);
            }),
        ),
        (
            "numbers that are none",
            sync(&|body| {
                body.metadata.as_mut().unwrap().metadata = Some(number(f64::NAN));
                body.hierarchy_stack = Some(f64::INFINITY.into());
                body.completed_steps[0].single_step.as_mut().unwrap().values =
                    vec![vec![Value::from(f64::NEG_INFINITY)].into()];
            }),
        ),
        ("a status of no meaning", metadata(&|metadata| metadata.status = 6)),
        ("a negative status", metadata(&|metadata| metadata.status = -1)),
        (
            "times that are none",
            metadata(&|metadata| {
                metadata.created = time(0, -1);
                metadata.updated = time(0, 1_000_000_000);
                metadata.modified = time(253_402_300_800, 0);
            }),
        ),
        (
            "times of a step that are none",
            step(&|step| {
                step.started = time(i64::MIN, 0);
                step.completed = time(i64::MAX, i32::MAX);
                step.updated = time(-62_135_596_801, 0);
                step.cancelled = time(0, i32::MIN);
            }),
        ),
        ("a team that is too long", sync(&|body| body.team = long(65))),
        ("a request id that is too long, and more", {
            let mut body = BasicSyncRequest { request_id: "x".repeat(65), ..BasicSyncRequest::default() };
            body.team = long(65);
            body.into()
        }),
        (
            "every field of a job",
            job(Job {
                client_job_id: "job_1".to_owned(),
                title: long(4097),
                team: long(65),
                workflow: Some(WorkflowReference {
                    workflow_id: "x".repeat(65),
                    version_id: long(65),
                    name: long(4097),
                    published: false,
                }),
                user_id: long(65),
                username: long(257),
                metadata: Some(deep(25)),
                assignee: Some(Assignee { kind: 3, id: "x".repeat(65) }),
                parent_job_id: long(65),
                priority: 1001,
                due_time: time(253_402_300_800, 0),
                ..Job::default()
            }),
        ),
        ("a priority", job(Job { priority: -1, ..Job::default() })),
        ("a job's id", create(&"x".repeat(65), Job::default()).into()),
        (
            "an update of nothing good",
            UpdateJobRequest {
                request_id: "x".repeat(65),
                ..update(&"x".repeat(65), Job { title: long(4097), priority: -1, ..Job::default() })
            }
            .into(),
        ),
        (
            "an abort of nothing good",
            AbortJobRequest { reason: long(4097), request_id: "\u{7f}".to_owned(), ..abort("") }.into(),
        ),
        (
            "an action of nothing good",
            PerformJobActionRequest {
                step_ids: vec!["x".repeat(65)],
                item_id: long(65),
                answer: Some(deep_list(25)),
                request_id: "x".repeat(65),
                ..perform(JobActionType::SetCurrentStep, "", &[])
            }
            .into(),
        ),
        ("an answer that is too large", {
            let answer = Some("x".repeat(256 << 10).into());
            PerformJobActionRequest { answer, ..perform(JobActionType::Run, "working", &["a"]) }.into()
        }),
        ("an assignment of nothing good", {
            let request_id = "x".repeat(65);
            let assignee = Some(Assignee { kind: 3, id: "x".repeat(65) });
            AssignStepRequest { request_id, ..assign("", &"x".repeat(65), assignee) }.into()
        }),
        ("steps to take up again", reopen("closed", &["a", "a", ""]).into()),
        (
            "a reason to leave a job out",
            ExcludeJobRequest { job_exclusion: vec![deep_list(24)], ..exclude("open", true) }.into(),
        ),
        (
            "holds of nothing good",
            ListHoldsRequest {
                step_id: "x".repeat(65),
                state: 4,
                kinds: vec![0, 4, 1],
                dependent_step_id: "a\n".to_owned(),
                page_size: 1001,
                ..ListHoldsRequest::default()
            }
            .into(),
        ),
        ("holds by both ids", {
            ListHoldsRequest { dependent_job_id: "held".to_owned(), ..holds_of("open") }.into()
        }),
        ("a workflow", get_workflow(&"x".repeat(65), "\u{7f}").into()),
        ("workflows", {
            let workflow_id = "x".repeat(65);
            ListWorkflowsRequest { workflow_id, page_size: -1, ..ListWorkflowsRequest::default() }.into()
        }),
        ("a delete", DeleteJobRequest { request_id: "x".repeat(65), ..delete("open") }.into()),
        ("both ids", GetJobRequest { client_job_id: "b".to_owned(), ..get("a") }.into()),
        ("views", GetJobRequest { views: vec![0, 1, 9], ..get("open") }.into()),
        (
            "a page of reports",
            GetJobRequest { views: vec![2], reports_page_size: 1001, ..get("open") }.into(),
        ),
        ("a list", ListJobsRequest { order: 3, page_size: -1, ..ListJobsRequest::default() }.into()),
        ("a page of a list", ListJobsRequest { page_size: 1001, ..ListJobsRequest::default() }.into()),
        (
            "every field of a filter",
            list(JobFilter {
                job_ids: vec!["x".to_owned(); 1001],
                statuses: vec![0, 6],
                teams: vec!["x".to_owned(); 101],
                user_ids: vec!["x".repeat(65)],
                workflow_ids: vec!["a\tb".to_owned()],
                assignees: vec![Assignee::default()],
                create_time_from: time(0, -1),
                create_time_before: time(253_402_300_800, 0),
                expression: "job.".to_owned(),
                ..JobFilter::default()
            }),
        ),
        (
            "a count",
            CountJobsRequest { filter: Some(JobFilter { statuses: vec![7], ..Default::default() }) }.into(),
        ),
        ("an expression of another thing", expression("hold.kind == 1")),
        ("an expression of events, in a list", expression("event.revision > 1")),
        ("a long expression", expression(&format!("job.team == '{}'", "x".repeat(1024)))),
        ("a deep expression", expression(&format!("{}true{}", "(".repeat(33), ")".repeat(33)))),
        ("a costly expression", expression("[1].all(a, [2].all(b, a < b))")),
        ("events", ListJobEventsRequest { after_revision: -1, page_size: 1001, ..events("open") }.into()),
        (
            "a watch",
            watch(WatchJobsRequest {
                event_types: vec![0, 26, 27],
                start: 4,
                heartbeat: Some(Duration { seconds: 61, nanos: 0 }),
                views: vec![2, 4, 5],
                ..WatchJobsRequest::default()
            }),
        ),
        (
            "a watch from two places",
            watch(WatchJobsRequest {
                start: WatchStart::Now.into(),
                resume_token: "x".to_owned(),
                heartbeat: Some(Duration { seconds: 0, nanos: 999_999_999 }),
                ..WatchJobsRequest::default()
            }),
        ),
        (
            "a watch of one job",
            WatchJobRequest {
                job_id: "x".repeat(65),
                heartbeat: Some(Duration { seconds: i64::MIN, nanos: i32::MIN }),
                ..WatchJobRequest::default()
            }
            .into(),
        ),
    ];
    check(
        &client,
        rows,
        expect![[r#"
            ids that are too long: InvalidArgument FIELD_INVALID
                metadata.client_job_id is longer than 64 characters
                metadata.workflow_id is longer than 64 characters
                metadata.workflow_version_id is longer than 64 characters
                metadata.job_title is longer than 4096 characters
                metadata.user_id is longer than 64 characters
                metadata.current_step is longer than 64 characters
                metadata.abandon_reason is longer than 4096 characters
                metadata.username is longer than 256 characters
                metadata.workflow_name is longer than 4096 characters
            texts of a step that are too long: InvalidArgument FIELD_INVALID
                completed_steps[0].single_step.unique_step_id is longer than 64 characters
                completed_steps[0].single_step.step_id is longer than 64 characters
                completed_steps[0].single_step.previous_unique_step_id is longer than 64 characters
                completed_steps[0].single_step.user_id is longer than 64 characters
                completed_steps[0].single_step.parent_step_id is longer than 64 characters
                completed_steps[0].single_step.parent_unique_step_id is longer than 64 characters
                completed_steps[0].single_step.user_name is longer than 256 characters
                completed_steps[0].single_step.device_id is longer than 4096 characters
                completed_steps[0].single_step.step_title is longer than 4096 characters
                completed_steps[0].single_step.step_description is longer than 4096 characters
                completed_steps[0].single_step.step_type is longer than 4096 characters
                completed_steps[0].single_step.connection_type is longer than 4096 characters
                completed_steps[0].single_step.note is longer than 4096 characters
                completed_steps[0].single_step.parent_step_title is longer than 4096 characters
                completed_steps[0].single_step.parent_step_description is longer than 4096 characters
                completed_steps[0].single_step.value_resource_ids[1] is longer than 4096 characters
                completed_steps[0].single_step.note_resource_filenames[0] is longer than 4096 characters
            more faults than fit: InvalidArgument FIELD_INVALID {"omitted": "1464"}
                completed_steps[0].single_step.unique_step_id is required
                completed_steps[0].single_step.step_id is required
                completed_steps[0].single_step.user_id is longer than 64 characters
                completed_steps[1].single_step.unique_step_id is required
                completed_steps[1].single_step.step_id is required
                completed_steps[1].single_step.user_id is longer than 64 characters
                completed_steps[2].single_step.unique_step_id is required
                completed_steps[2].single_step.step_id is required
                completed_steps[2].single_step.user_id is longer than 64 characters
                completed_steps[3].single_step.unique_step_id is required
                completed_steps[3].single_step.step_id is required
                completed_steps[3].single_step.user_id is longer than 64 characters
                completed_steps[4].single_step.unique_step_id is required
                completed_steps[4].single_step.step_id is required
                completed_steps[4].single_step.user_id is longer than 64 characters
                completed_steps[5].single_step.unique_step_id is required
                completed_steps[5].single_step.step_id is required
                completed_steps[5].single_step.user_id is longer than 64 characters
                completed_steps[6].single_step.unique_step_id is required
                completed_steps[6].single_step.step_id is required
                completed_steps[6].single_step.user_id is longer than 64 characters
                completed_steps[7].single_step.unique_step_id is required
                completed_steps[7].single_step.step_id is required
                completed_steps[7].single_step.user_id is longer than 64 characters
                completed_steps[8].single_step.unique_step_id is required
                completed_steps[8].single_step.step_id is required
                completed_steps[8].single_step.user_id is longer than 64 characters
                completed_steps[9].single_step.unique_step_id is required
                completed_steps[9].single_step.step_id is required
                completed_steps[9].single_step.user_id is longer than 64 characters
                completed_steps[10].single_step.unique_step_id is required
                completed_steps[10].single_step.step_id is required
                completed_steps[10].single_step.user_id is longer than 64 characters
                completed_steps[11].single_step.unique_step_id is required
                completed_steps[11].single_step.step_id is required
                completed_steps[11].single_step.user_id is longer than 64 characters
            lists that are too long: InvalidArgument FIELD_INVALID
                packet_ids has more than 1000 entries
                completed_steps[0].single_step.value_resource_ids has more than 1000 entries
            an id with a control character: InvalidArgument FIELD_INVALID
                metadata.client_job_id has a control character
            documents that are too deep: InvalidArgument FIELD_INVALID
                metadata.metadata is more than 24 levels deep
                hierarchy_stack is more than 24 levels deep
                job_exclusion is more than 24 levels deep
                completed_steps[0].single_step.values is more than 24 levels deep
                completed_steps[0].single_step.time_events is more than 24 levels deep
                completed_steps[0].single_step.coordinates is more than 24 levels deep
                completed_steps[0].single_step.metadata is more than 24 levels deep
            documents that are too large: InvalidArgument FIELD_INVALID
                metadata.metadata is larger than 262144 bytes
                job_exclusion is larger than 262144 bytes
                completed_steps[0].single_step.metadata is larger than 262144 bytes
            numbers that are none: InvalidArgument FIELD_INVALID
                metadata.metadata has a number that is not finite
                hierarchy_stack has a number that is not finite
                completed_steps[0].single_step.values has a number that is not finite
            a status of no meaning: InvalidArgument FIELD_INVALID
                metadata.status is not a value of JobStatus
            a negative status: InvalidArgument FIELD_INVALID
                metadata.status is not a value of JobStatus
            times that are none: InvalidArgument FIELD_INVALID
                metadata.created is not a time between the years 1 and 9999
                metadata.updated is not a time between the years 1 and 9999
                metadata.modified is not a time between the years 1 and 9999
            times of a step that are none: InvalidArgument FIELD_INVALID
                completed_steps[0].single_step.started is not a time between the years 1 and 9999
                completed_steps[0].single_step.completed is not a time between the years 1 and 9999
                completed_steps[0].single_step.updated is not a time between the years 1 and 9999
                completed_steps[0].single_step.cancelled is not a time between the years 1 and 9999
            a team that is too long: InvalidArgument FIELD_INVALID
                team is longer than 64 characters
            a request id that is too long, and more: InvalidArgument FIELD_INVALID
                metadata.client_job_id is required
                metadata.workflow_id is required
                metadata.status is required
                team is longer than 64 characters
                request_id is longer than 64 characters
            every field of a job: InvalidArgument FIELD_INVALID
                job.client_job_id must not begin with job_
                job_id must not be set together with job.client_job_id
                job.workflow.workflow_id is longer than 64 characters
                job.workflow.version_id is longer than 64 characters
                job.workflow.name is longer than 4096 characters
                job.title is longer than 4096 characters
                job.team is longer than 64 characters
                job.user_id is longer than 64 characters
                job.username is longer than 256 characters
                job.metadata is more than 24 levels deep
                job.assignee.kind is required: KIND_USER or KIND_GROUP
                job.assignee.id is longer than 64 characters
                job.parent_job_id is longer than 64 characters
                job.priority is not between 0 and 1000
                job.due_time is not a time between the years 1 and 9999
            a priority: InvalidArgument FIELD_INVALID
                job.priority is not between 0 and 1000
            a job's id: InvalidArgument FIELD_INVALID
                job_id is longer than 64 characters
            an update of nothing good: InvalidArgument FIELD_INVALID
                job_id is longer than 64 characters
                request_id is longer than 64 characters
                job.title is longer than 4096 characters
                job.priority is not between 0 and 1000
            an abort of nothing good: InvalidArgument FIELD_INVALID
                reason is longer than 4096 characters
                job_id is required
                request_id has a control character
            an action of nothing good: InvalidArgument FIELD_INVALID
                step_ids[0] is longer than 64 characters
                item_id is longer than 64 characters
                answer goes only with JOB_ACTION_TYPE_RUN and JOB_ACTION_TYPE_FINISH
                answer is more than 24 levels deep
                job_id is required
                request_id is longer than 64 characters
            an answer that is too large: InvalidArgument FIELD_INVALID
                answer is larger than 262144 bytes
                answer is larger than 4096 bytes
            an assignment of nothing good: InvalidArgument FIELD_INVALID
                step_id is longer than 64 characters
                assignee.kind is required: KIND_USER or KIND_GROUP
                assignee.id is longer than 64 characters
                job_id is required
                request_id is longer than 64 characters
            steps to take up again: InvalidArgument FIELD_INVALID
                step_ids[1] is there twice
                step_ids[2] is required
            a reason to leave a job out: InvalidArgument FIELD_INVALID
                job_exclusion is more than 24 levels deep
            holds of nothing good: InvalidArgument FIELD_INVALID
                step_id is longer than 64 characters
                dependent_step_id has a control character
                job_id is required with step_id
                dependent_job_id is required with dependent_step_id
                state is not a value of HoldState
                kinds[0] is not a value of HoldKind
                kinds[1] is not a value of HoldKind
                page_size is not between 0 and 1000
            holds by both ids: InvalidArgument FIELD_INVALID
                dependent_job_id must not be set together with job_id
            a workflow: InvalidArgument FIELD_INVALID
                workflow_id is longer than 64 characters
                version_id has a control character
            workflows: InvalidArgument FIELD_INVALID
                workflow_id is longer than 64 characters
                page_size is not between 0 and 1000
            a delete: InvalidArgument FIELD_INVALID
                request_id is longer than 64 characters
            both ids: InvalidArgument FIELD_INVALID
                client_job_id must not be set together with job_id
            views: InvalidArgument FIELD_INVALID
                views[0] is not a value of JobView
                views[2] is not a value of JobView
            a page of reports: InvalidArgument FIELD_INVALID
                reports_page_size is not between 0 and 1000
            a list: InvalidArgument FIELD_INVALID
                page_size is not between 0 and 1000
                order is not a value of JobOrder
            a page of a list: InvalidArgument FIELD_INVALID
                page_size is not between 0 and 1000
            every field of a filter: InvalidArgument FIELD_INVALID
                filter.job_ids has more than 1000 entries
                filter.teams has more than 100 entries
                filter.user_ids[0] is longer than 64 characters
                filter.workflow_ids[0] has a control character
                filter.statuses[0] is not a value of JobStatus
                filter.statuses[1] is not a value of JobStatus
                filter.assignees[0].kind is required: KIND_USER or KIND_GROUP
                filter.assignees[0].id is required
                filter.create_time_from is not a time between the years 1 and 9999
                filter.create_time_before is not a time between the years 1 and 9999
                filter.expression is not a CEL expression: Syntax error: no viable alternative at input '.'
            a count: InvalidArgument FIELD_INVALID
                filter.statuses[0] is not a value of JobStatus
            an expression of another thing: InvalidArgument FIELD_INVALID
                filter.expression reads "hold", which is not one of job
            an expression of events, in a list: InvalidArgument FIELD_INVALID
                filter.expression reads "event", which is not one of job
            a long expression: InvalidArgument FIELD_INVALID
                filter.expression is longer than 1024 bytes
            a deep expression: InvalidArgument FIELD_INVALID
                filter.expression is nested more than 20 deep
            a costly expression: InvalidArgument FIELD_INVALID
                filter.expression has more than one macro (all, exists, exists_one)
            events: InvalidArgument FIELD_INVALID
                after_revision is negative
                page_size is not between 0 and 1000
            a watch: InvalidArgument FIELD_INVALID
                event_types[0] is not a value of JobEventType
                event_types[2] is not a value of JobEventType
                views[0] is not a value of JobView that watches have: STEPS, HOLDS, TASKS
                views[2] is not a value of JobView that watches have: STEPS, HOLDS, TASKS
                start is not a value of WatchStart
                heartbeat is not between 1 and 60 seconds
            a watch from two places: InvalidArgument FIELD_INVALID
                start must not be set together with resume_token
                heartbeat is not between 1 and 60 seconds
            a watch of one job: InvalidArgument FIELD_INVALID
                job_id is longer than 64 characters
                heartbeat is not between 1 and 60 seconds
        "#]],
    )
    .await;
}

/// The greatest of everything that is taken.
#[tokio::test]
async fn values_at_their_bounds_are_taken() {
    let client = TestServer::memory().await.client().await;
    let time = |seconds: i64, nanos: i32| Some(Timestamp { seconds, nanos });
    let mut body = with_metadata(&"é".repeat(64), deep(24));
    let metadata = body.metadata.as_mut().unwrap();
    metadata.created = time(-62_135_596_800, 0);
    metadata.updated = time(253_402_300_799, 999_999_999);
    metadata.job_title = Some("é".repeat(4096));
    metadata.username = Some("é".repeat(256));
    // A document of 256 KiB, less what its field's name and lengths take.
    metadata.metadata = Some(fields([("text", "x".repeat((256 << 10) - 18).into())]));
    assert_eq!(metadata.metadata.as_ref().unwrap().encoded_len(), 256 << 10);
    body.packet_ids = vec![String::new(); 1000];
    body.hierarchy_stack = Some(deep_list(24));
    body.job_exclusion = vec![deep_list(23)];
    body.completed_steps.extend(with_reports(999).completed_steps);
    let reply = client.sync(body).await;
    assert_eq!(reply.revision, 1002);

    let longest = "a".repeat(64);
    client.create(&longest, Job { priority: 1000, ..Job::default() }).await;
    let filter =
        JobFilter { job_ids: vec![longest; 1000], teams: vec!["t".to_owned(); 100], ..Default::default() };
    client
        .call(ListJobsRequest { filter: Some(filter), page_size: 1000, ..Default::default() })
        .await
        .unwrap();
    let heartbeat = Some(Duration { seconds: 60, nanos: 0 });
    let request =
        WatchJobRequest { job_id: reply.job_id, heartbeat, end_on_terminal: true, ..Default::default() };
    client.call(request).await.unwrap();
}

/// A message in which only one member counts.
macro_rules! around {
    ($($name:ident, $tag:literal, $inner:ty, $label:ident $container:ident;)*) => { $(
        #[derive(Clone, PartialEq, prost::Message)]
        struct $name {
            #[prost(message, $label, tag = $tag)]
            inner: $container<$inner>,
        }
    )* };
}

around! {
    WholeStep, "26", Struct, optional Option;
    WholeEntry, "1", WholeStep, optional Option;
    WholeReport, "2", WholeEntry, optional Option;
    WholeEvent, "12", WholeReport, optional Option;
    WholeBatch, "2", WholeEvent, repeated Vec;
    WholeMessage, "3", WholeBatch, optional Option;
    WholeResponse, "1", WholeMessage, optional Option;
}

/// Whether other clients can read the metadata of steps in a `WatchJobsResponse`, who decode a batch and free data with all that
/// is in them. Ours leaves those encoded.
fn is_read_whole(response: &WatchJobsResponse) -> bool {
    WholeResponse::decode(&*response.encode_to_vec()).is_ok()
}

/// The range of `limits.document_levels` ends at 28, which leaves three levels of documents, or ten of Protobuf's, for
/// what the messages around them may grow by.
#[test]
fn a_watch_can_carry_31_levels() {
    let is_read = |levels: usize| {
        let step = SingleStep { metadata: Some(deep(levels)), ..SingleStep::default() };
        let entry = Some(StepEntry { single_step: Some(step), report_step: None });
        let report = Some(StepReport { entry, ..StepReport::default() });
        let event = JobEvent { report: report.map(Into::into), ..JobEvent::default() };
        let batch = WatchBatch { events: vec![event.encode_to_vec().into()], ..WatchBatch::default() };
        let kind = Some(watch_message::Kind::Batch(batch));
        is_read_whole(&WatchJobsResponse { message: Some(WatchMessage { kind, ..WatchMessage::default() }) })
    };
    let read: Vec<_> = (24..40).filter(|levels| is_read(*levels)).collect();
    assert_eq!(read, (24..=31).collect::<Vec<_>>());
}

/// What a device may nest goes in and comes out again by every way, also for clients that decode all of a message: they
/// give up at a hundred levels of Protobuf.
#[tokio::test]
async fn the_deepest_document_is_shown_by_every_way() {
    let deepest = Limits { document_levels: 28, ..Limits::default() };
    for (limits, levels) in [(Limits::default(), 24), (deepest, 28)] {
        let server = TestServer::start(Config { limits, ..config() }).await;
        let client = server.client().await;
        let body = with_metadata("deep", deep(levels));
        let expected = body.completed_steps[0].single_step.as_ref().unwrap().metadata.clone();
        let mut older = body.clone();
        let job_id = client.sync(body).await.job_id;

        let shown = |entry: &Option<StepEntry>| {
            entry.as_ref().unwrap().single_step.as_ref().unwrap().metadata.clone()
        };
        assert_eq!(shown(&client.details(&job_id).await.reports[0].entry), expected);
        let event = &client.history(&job_id).await[1];
        assert_eq!(shown(&event.report.as_ref().unwrap().entry), expected);

        let request = WatchJobsRequest { start: WatchStart::Earliest.into(), ..WatchJobsRequest::default() };
        let mut watch = client.jobs.clone().watch_jobs(request).await.unwrap().into_inner();
        next(&mut watch).await.unwrap();
        let message = next(&mut watch).await.unwrap().unwrap();
        assert!(is_read_whole(&message));
        let Some(watch_message::Kind::Batch(batch)) = message.message.unwrap().kind else {
            panic!("a batch")
        };
        let events = batch.decode_events().unwrap();
        assert_eq!(shown(&events[1].report.as_ref().unwrap().entry), expected);

        // Also what a sync sends and loses.
        let metadata = older.metadata.as_mut().unwrap();
        metadata.metadata = Some(deep(levels));
        metadata.updated = None;
        assert_eq!(client.sync(older).await.revision, 3);

        let rows = vec![
            ("a level more", with_metadata("too deep", deep(levels + 1)).into()),
            ("more than can be decoded", with_metadata("too deep", deep(40)).into()),
        ];
        let refusal = format!(
            "a level more: InvalidArgument FIELD_INVALID\n    \
             completed_steps[0].single_step.metadata is more than {levels} levels deep\n\
             more than can be decoded: InvalidArgument FIELD_INVALID\n    \
             completed_steps[0].single_step.metadata is no google.protobuf.Struct, or nested too deep to be read as one\n"
        );
        let everything = client.everything().await;
        let mut table = String::new();
        for (name, call) in rows {
            let call: Call = call;
            table.push_str(&format!("{name}: {}\n", line(&client.call(call).await.unwrap_err())));
        }
        assert_eq!(table, refusal);
        assert_eq!(client.everything().await, everything);
    }
}

/// `hierarchy_stack`, of lists within lists.
fn lists_in_bytes(levels: usize) -> Bytes {
    let field = |tag: u8, content: Vec<u8>| {
        let mut field = vec![tag];
        prost::encode_length_delimiter(content.len(), &mut field).unwrap();
        field.extend(content);
        field
    };
    let value = (0..levels).fold(Vec::new(), |value, _| field(0x32, field(0x0a, value)));
    field(0x2a, value).into()
}

#[tokio::test]
async fn bytes_that_are_no_message_are_refused() {
    let client = TestServer::memory().await.client().await;
    with_jobs(&client).await;
    let everything = client.everything().await;
    let whole = device_body_of("cut").encode_to_vec();
    let rows: Vec<(&str, Bytes)> = vec![
        ("a varint without end", Bytes::from_static(b"\xff\xff\xff")),
        ("a field without its value", Bytes::from_static(b"\x0a\x7f\x01")),
        ("a group that does not end", Bytes::from_static(b"\x0b")),
        ("a wire type of no meaning", Bytes::from_static(b"\x0f")),
        ("a number where a message belongs", Bytes::from_static(b"\x08\x01")),
        ("a text that is not UTF-8", Bytes::from_static(b"\x22\x02\xc3\x28")),
        ("lists without end", lists_in_bytes(2000)),
        ("a message cut short", Bytes::from(whole[..whole.len() / 2].to_vec())),
        ("entries of two bytes that would take a hundred megabytes", b"\x12\0".repeat(100_000).into()),
        ("the same, each of them with a step", b"\x12\x02\x0a\0".repeat(100_000).into()),
    ];
    for (name, body) in rows {
        let status = call_raw(&client, SYNC, body).await.unwrap_err();
        assert_eq!(line(&status), "InvalidArgument MESSAGE_MALFORMED", "{name}");
        assert!(client.everything().await == everything, "{name}");
    }
    // Fields that are not known are passed over.
    let mut known = whole.clone();
    known.extend(b"\xfa\x3e\x03abc");
    call_raw(&client, SYNC, known.into()).await.unwrap();
}

/// Limits on what is open at once are told by their names too.
#[tokio::test]
async fn watches_are_counted() {
    let limits = Limits { watches: 3, watches_per_caller: 2, ..Limits::default() };
    let server = TestServer::start(Config { limits, ..config() }).await;
    let (alice, bob) = (server.client().await, server.client_as(Caller::new("bob")).await);
    let mut open = Vec::new();
    for client in [&alice, &alice, &bob] {
        let mut watch =
            client.jobs.clone().watch_jobs(WatchJobsRequest::default()).await.unwrap().into_inner();
        next(&mut watch).await.unwrap();
        open.push(watch);
    }
    let refused = async |client: &Client| line(&client.call(WatchJobsRequest::default()).await.unwrap_err());
    // The caller's own limit is named only where there is room for others.
    let full = "ResourceExhausted LIMIT_EXCEEDED {\"limit\": \"watches\", \"maximum\": \"3\"}";
    assert_eq!(refused(&alice).await, full);
    assert_eq!(refused(&bob).await, full);
}
