//! `request_id`: a mutation that is repeated happens once.

use std::collections::BTreeSet;

use holdpoint::proto::v1::{
    AbortJobRequest, AssignStepRequest, BasicSyncRequest, CloseJobRequest, CreateJobRequest,
    CreateJobResponse, DeleteJobRequest, ErrorReason, ExcludeJobRequest,
    ExecutionStatus::{Closed, Started},
    Job, JobActionType, JobEventType, PerformJobActionRequest, PublishWorkflowRequest, ReopenJobRequest,
    StepKind, SyncOutcome, UpdateExecutionTaskStatusRequest, UpdateExecutionWorkflowStatusRequest,
    UpdateJobRequest, UpdateJobResponse,
};
use prost::Message as _;
use tokio::task::JoinSet;
use tonic::Code;

use super::harness::{
    Call, Caller, Client, TestServer, abort, assign, chain, close, create, delete, device_body, exclude,
    following, perform, publish, refused, reopen, report_task, report_workflow, step, titled, update, user,
};

/// Every mutation, under one request id each, of the job `a` and others.
fn mutations() -> Vec<Call> {
    let request_id = |name: &str| format!("request {name}");
    let workflow = chain("flow", vec![step("first", StepKind::Manual)]);
    let act = |name: &str, action| {
        let request = perform(action, "a", &["first"]);
        Call::from(PerformJobActionRequest { request_id: request_id(name), ..request })
    };
    vec![
        PublishWorkflowRequest { request_id: request_id("publish"), ..publish(workflow) }.into(),
        CreateJobRequest { request_id: request_id("create"), ..create("a", following("flow")) }.into(),
        UpdateJobRequest { request_id: request_id("update"), ..update("a", titled("b")) }.into(),
        act("hold", JobActionType::Hold),
        act("held", JobActionType::Run),
        act("release", JobActionType::ReleaseHold),
        act("run", JobActionType::Run),
        AssignStepRequest { request_id: request_id("assign"), ..assign("a", "first", Some(user("bob"))) }
            .into(),
        UpdateExecutionTaskStatusRequest {
            request_id: request_id("task"),
            ..report_task("a", "weld", 0, Started, 10)
        }
        .into(),
        UpdateExecutionWorkflowStatusRequest {
            request_id: request_id("workflow"),
            close_job: true,
            ..report_workflow("a", Closed, 20)
        }
        .into(),
        ReopenJobRequest { request_id: request_id("again"), ..reopen("a", &[]) }.into(),
        AbortJobRequest { request_id: request_id("abort"), ..abort("a") }.into(),
        ReopenJobRequest { request_id: request_id("reopen"), ..reopen("a", &[]) }.into(),
        ExcludeJobRequest { request_id: request_id("exclude"), ..exclude("a", true) }.into(),
        CloseJobRequest { request_id: request_id("close"), ..close("a") }.into(),
        DeleteJobRequest { request_id: request_id("delete"), ..delete("a") }.into(),
        BasicSyncRequest { request_id: request_id("sync"), ..device_body() }.into(),
    ]
}

/// The reply of a mutation, encoded.
async fn reply(client: &Client, call: Call) -> Vec<u8> {
    let Client { mut jobs, mut syncs, mut workflows, .. } = client.clone();
    match call {
        Call::Sync(request) => syncs.basic_sync(request).await.unwrap().into_inner().encode_to_vec(),
        Call::Create(request) => jobs.create_job(request).await.unwrap().into_inner().encode_to_vec(),
        Call::Update(request) => jobs.update_job(request).await.unwrap().into_inner().encode_to_vec(),
        Call::Abort(request) => jobs.abort_job(request).await.unwrap().into_inner().encode_to_vec(),
        Call::Close(request) => jobs.close_job(request).await.unwrap().into_inner().encode_to_vec(),
        Call::Delete(request) => jobs.delete_job(request).await.unwrap().into_inner().encode_to_vec(),
        Call::Perform(request) => {
            jobs.perform_job_action(request).await.unwrap().into_inner().encode_to_vec()
        }
        Call::Assign(request) => jobs.assign_step(request).await.unwrap().into_inner().encode_to_vec(),
        Call::Reopen(request) => jobs.reopen_job(request).await.unwrap().into_inner().encode_to_vec(),
        Call::Exclude(request) => jobs.exclude_job(request).await.unwrap().into_inner().encode_to_vec(),
        Call::Publish(request) => {
            workflows.publish_workflow(request).await.unwrap().into_inner().encode_to_vec()
        }
        Call::ReportTask(request) => client.report_task(request).await.encode_to_vec(),
        Call::ReportWorkflow(request) => client.report_workflow(request).await.encode_to_vec(),
        read => panic!("{read:?} changes nothing"),
    }
}

#[tokio::test]
async fn a_repeat_gets_the_same_reply_and_makes_no_event_also_after_a_restart() {
    let server = TestServer::sled().await;
    let client = server.client().await;
    let mut replies = Vec::new();
    for call in mutations() {
        replies.push(reply(&client, call).await);
    }
    let everything = client.everything().await;

    let server = server.restart().await;
    let client = server.client().await;
    for _ in 0..2 {
        for (call, expected) in mutations().into_iter().zip(&replies) {
            assert_eq!(reply(&client, call.clone()).await, *expected, "{call:?}");
        }
    }
    assert_eq!(client.everything().await, everything);
    server.stop().await;
}

/// The id stands for a method and a body, of one caller in one organization.
#[tokio::test]
async fn another_request_under_the_same_id_is_refused_and_another_callers_is_another() {
    let server = TestServer::memory().await;
    let alice = server.client().await;
    let bob = server.client_as(Caller::new("bob")).await;
    let elsewhere = server.client_as(Caller::new("alice").of("umbra")).await;
    let request =
        |job_id: &str| CreateJobRequest { request_id: "one".to_owned(), ..create(job_id, titled("a title")) };
    alice.call(request("a")).await.unwrap();

    let reused = |outcome| refused(outcome, Code::FailedPrecondition, ErrorReason::RequestIdReused);
    reused(alice.call(request("b")).await);
    reused(alice.call(UpdateJobRequest { request_id: "one".to_owned(), ..update("a", titled("b")) }).await);
    reused(alice.call(BasicSyncRequest { request_id: "one".to_owned(), ..device_body() }).await);

    refused(bob.call(request("a")).await, Code::AlreadyExists, ErrorReason::JobAlreadyExists);
    bob.call(request("b")).await.unwrap();
    elsewhere.call(request("a")).await.unwrap();
    for (client, job_id) in [(&alice, "a"), (&bob, "b"), (&elsewhere, "a")] {
        let history = client.history(job_id).await;
        assert_eq!(history.len(), 1);
        assert_eq!(history[0].request_id, "one", "events tell the request");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn duplicates_at_the_same_time_make_one_event() {
    const CALLS: usize = 32;
    let server = TestServer::memory().await;
    let client = server.client().await;
    let job = client.create("a", titled("a")).await;
    let request = UpdateJobRequest { request_id: "one".to_owned(), ..update("a", titled("b")) };
    let mut calls = JoinSet::new();
    for n in 0..CALLS {
        // Half of them on connections of their own.
        let mut client = if n % 2 == 0 { client.clone() } else { server.client().await };
        let request = request.clone();
        calls.spawn(async move { client.jobs.update_job(request).await.unwrap().into_inner() });
    }
    let replies = calls.join_all().await;
    assert!(replies.iter().all(|reply| *reply == replies[0]));
    assert_eq!(replies[0].job.as_ref().unwrap().revision, job.revision + 1);
    assert_eq!(client.event_types("a").await, [JobEventType::JobCreated, JobEventType::JobUpdated]);
}

#[tokio::test]
async fn a_refusal_is_not_kept() {
    let client = TestServer::memory().await.client().await;
    let request = UpdateJobRequest { request_id: "one".to_owned(), ..update("a", titled("b")) };
    refused(client.call(request.clone()).await, Code::NotFound, ErrorReason::JobNotFound);
    client.create("a", titled("a")).await;
    client.call(request).await.unwrap();
    assert_eq!(client.job("a").await.title(), "b");

    let refused_first = CreateJobRequest { request_id: "two".to_owned(), ..create("a", Job::default()) };
    refused(client.call(refused_first).await, Code::AlreadyExists, ErrorReason::JobAlreadyExists);
    client
        .call(CreateJobRequest { request_id: "two".to_owned(), ..create("other", Job::default()) })
        .await
        .unwrap();
}

/// An accepted request that changed nothing is answered again all the same.
#[tokio::test]
async fn a_reply_is_kept_also_where_nothing_changed() {
    let client = TestServer::memory().await.client().await;
    client.create("a", titled("a")).await;
    let request = UpdateJobRequest { request_id: "one".to_owned(), ..update("a", titled("a")) };
    let mut jobs = client.jobs.clone();
    let first = jobs.update_job(request.clone()).await.unwrap().into_inner();
    client.call(update("a", titled("b"))).await.unwrap();
    let again: UpdateJobResponse = jobs.update_job(request).await.unwrap().into_inner();
    assert_eq!(again, first, "the reply that was given, not what is true now");
    assert_eq!(client.job("a").await.title(), "b");

    let sync = BasicSyncRequest { request_id: "two".to_owned(), ..device_body() };
    assert_eq!(client.sync(sync.clone()).await.outcome(), SyncOutcome::Created);
    assert_eq!(client.sync(sync).await.outcome(), SyncOutcome::Created);
    assert_eq!(client.sync(device_body()).await.outcome(), SyncOutcome::Unchanged);
}

#[tokio::test]
async fn validate_only_keeps_no_reply() {
    let client = TestServer::memory().await.client().await;
    let request = CreateJobRequest { request_id: "one".to_owned(), ..create("a", titled("a")) };
    client.call(CreateJobRequest { validate_only: true, ..request.clone() }).await.unwrap();
    client.call(request).await.unwrap();
    assert_eq!(client.history("a").await.len(), 1);
}

/// Without any id the job's follows from who asks and how.
#[tokio::test]
async fn the_id_of_a_job_follows_from_the_request() {
    let server = TestServer::memory().await;
    let alice = server.client().await;
    let bob = server.client_as(Caller::new("bob")).await;
    let elsewhere = server.client_as(Caller::default().of("umbra")).await;
    let id = async |client: &Client, request_id: &str, validate_only: bool| {
        let request =
            CreateJobRequest { request_id: request_id.to_owned(), validate_only, ..create("", titled("a")) };
        let reply: CreateJobResponse = client.jobs.clone().create_job(request).await.unwrap().into_inner();
        reply.job.unwrap().job_id
    };
    let foretold = id(&alice, "one", true).await;
    assert!(foretold.starts_with("job_"));
    assert_eq!(id(&alice, "one", false).await, foretold);
    assert_eq!(id(&alice, "one", false).await, foretold);
    assert_eq!(alice.history(&foretold).await.len(), 1);
    let others = [
        id(&alice, "two", false).await,
        id(&bob, "one", false).await,
        id(&elsewhere, "one", false).await,
        id(&alice, "", false).await,
        id(&alice, "", false).await,
    ];
    let distinct: BTreeSet<_> = others.iter().chain([&foretold]).collect();
    assert_eq!(distinct.len(), 6);

    // A repeat whose reply is no longer kept finds the job, and makes no second one.
    alice.call(delete(&foretold)).await.unwrap();
    assert_eq!(id(&alice, "one", false).await, foretold);
    let forgotten =
        CreateJobRequest { request_id: "one".to_owned(), validate_only: true, ..create("", titled("a")) };
    refused(alice.call(forgotten).await, Code::AlreadyExists, ErrorReason::JobDeleted);
}
