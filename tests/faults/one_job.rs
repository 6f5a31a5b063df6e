//! `WatchJob`, and what both watches have: heartbeats, batches, views, limits.

use std::time::{Duration, Instant};

use holdpoint::{
    engine::Options,
    proto::v1::{
        AbortJobRequest, DeleteJobRequest, GetJobRequest, JobEventType, JobView, WatchJobRequest,
        WatchJobResponse, WatchJobsRequest, WatchStart, watch_message::Kind,
    },
};
use prost::Message as _;
use tonic::{Code, Streaming};

use super::kit::{Client, InProcess, events_of, heartbeat_1s, metadata, parts, reason, soon, sync};

const MEBIBYTE: usize = 1 << 20;

fn of(job_id: &str, start: WatchStart) -> WatchJobRequest {
    WatchJobRequest { job_id: job_id.to_owned(), start: start.into(), ..WatchJobRequest::default() }
}

async fn open(client: &mut Client, request: WatchJobRequest) -> Streaming<WatchJobResponse> {
    soon(client.jobs.watch_job(request)).await.unwrap().into_inner()
}

/// A word for each message until the stream ends.
async fn to_the_end(mut stream: Streaming<WatchJobResponse>) -> Vec<String> {
    let mut said = Vec::new();
    while let Some(message) = soon(stream.message()).await.unwrap() {
        said.extend(words(parts(message.message).1));
    }
    said
}

fn words(kind: Kind) -> Vec<String> {
    match kind {
        Kind::Created(_) => vec!["created".to_owned()],
        Kind::Checkpoint(checkpoint) => vec![format!("checkpoint {}", checkpoint.snapshot_complete)],
        Kind::Draining(_) => vec!["draining".to_owned()],
        Kind::Batch(batch) => {
            let jobs = batch.decode_snapshots().unwrap().into_iter().map(|details| {
                let steps: Vec<_> = details.steps.iter().map(|step| step.step_id.as_str()).collect();
                format!("job at {} {steps:?}", details.job.unwrap().revision)
            });
            let events = batch.decode_events().unwrap().into_iter().map(|event| {
                let kind = event.r#type().as_str_name().trim_start_matches("JOB_EVENT_TYPE_").to_owned();
                format!("{} {kind}", event.revision)
            });
            jobs.chain(events).collect()
        }
    }
}

async fn next(stream: &mut Streaming<WatchJobResponse>) -> Vec<String> {
    words(parts(soon(stream.message()).await.unwrap().unwrap().message).1)
}

#[tokio::test]
async fn a_watch_of_one_job_ends_with_the_job() {
    let server = InProcess::start(Options::default(), |_| {}).await;
    let mut client = Client::connect(server.address).await;
    let report = ["report".to_owned()];
    let (job_id, _) = client.sync(sync("job", 1, &report, 0)).await;
    let ending = |start| WatchJobRequest { end_on_terminal: true, ..of(&job_id, start) };
    let mut until_end = open(&mut client, ending(WatchStart::Snapshot)).await;
    let mut until_deletion = open(&mut client, of(&job_id, WatchStart::Snapshot)).await;
    for stream in [&mut until_end, &mut until_deletion] {
        let said = [next(stream).await, next(stream).await, next(stream).await].concat();
        assert_eq!(said, ["created", "job at 2 []", "checkpoint true"]);
    }
    let types = vec![JobEventType::JobCreated.into(), JobEventType::JobDeleted.into()];
    let some = WatchJobRequest { event_types: types, ..of(&job_id, WatchStart::Earliest) };
    let some = open(&mut client, some).await;

    let abort = AbortJobRequest { job_id: job_id.clone(), ..AbortJobRequest::default() };
    soon(client.jobs.abort_job(abort)).await.unwrap();
    assert_eq!(to_the_end(until_end).await, ["3 JOB_ABORTED"]);
    let at_its_end = open(&mut client, ending(WatchStart::Snapshot)).await;
    assert_eq!(to_the_end(at_its_end).await, ["created", "job at 3 []", "checkpoint true"]);
    let at_its_end = open(&mut client, ending(WatchStart::Now)).await;
    assert_eq!(to_the_end(at_its_end).await, ["created"]);
    let from_the_beginning = open(&mut client, ending(WatchStart::Earliest)).await;
    let whole_life = ["created", "1 JOB_CREATED", "2 REPORT_RECORDED", "3 JOB_ABORTED"];
    assert_eq!(to_the_end(from_the_beginning).await, whole_life);

    let delete = DeleteJobRequest { job_id: job_id.clone(), ..DeleteJobRequest::default() };
    soon(client.jobs.delete_job(delete)).await.unwrap();
    assert_eq!(to_the_end(until_deletion).await, ["3 JOB_ABORTED", "4 JOB_DELETED"]);
    assert_eq!(to_the_end(some).await, ["created", "1 JOB_CREATED", "4 JOB_DELETED"]);
    let afterwards = open(&mut client, of(&job_id, WatchStart::Earliest)).await;
    assert_eq!(to_the_end(afterwards).await.last().unwrap(), "4 JOB_DELETED");
    for (job_id, start) in [(job_id.as_str(), WatchStart::Snapshot), ("none", WatchStart::Earliest)] {
        let status = soon(client.jobs.watch_job(of(job_id, start))).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "JOB_NOT_FOUND"));
    }
    drop(client);
    server.stop().await;
}

#[tokio::test]
async fn a_silent_watch_lives() {
    let server = InProcess::start(Options::default(), |_| {}).await;
    let mut client = Client::connect(server.address).await;
    let (job_id, _) = client.sync(sync("job", 1, &[], 0)).await;
    let request = WatchJobRequest { heartbeat: heartbeat_1s(), ..of(&job_id, WatchStart::Now) };
    // Before the server knows of it, so that no delay here makes its two seconds shorter.
    let started = Instant::now();
    let mut stream = open(&mut client, request).await;
    // At once: not with the first heartbeat, which is a message of its own.
    assert_eq!(next(&mut stream).await, ["created"]);
    let first = parts(soon(stream.message()).await.unwrap().unwrap().message);
    // What is not for it moves its place all the same.
    client.sync(sync("other", 1, &[], 0)).await;
    let second = parts(soon(stream.message()).await.unwrap().unwrap().message);
    assert!(started.elapsed() >= Duration::from_millis(1_900), "{:?}", started.elapsed());
    assert!(matches!((&first.1, &second.1), (Kind::Checkpoint(_), Kind::Checkpoint(_))));
    assert_ne!(first.0, second.0);
    let resumed = WatchJobRequest { resume_token: second.0, ..of(&job_id, WatchStart::Unspecified) };
    let mut resumed = open(&mut client, resumed).await;
    client.sync(sync("job", 2, &[], 0)).await;
    for stream in [&mut stream, &mut resumed] {
        let mut said = next(stream).await;
        while said != ["2 JOB_UPDATED"] {
            assert!(said == ["created"] || said == ["checkpoint true"], "{said:?}");
            said = next(stream).await;
        }
    }
    drop((stream, resumed, client));
    server.stop().await;
}

#[tokio::test]
async fn a_snapshot_has_the_parts_that_were_asked_for() {
    let server = InProcess::start(Options::default(), |_| {}).await;
    let mut client = Client::connect(server.address).await;
    let reports: Vec<_> = ["a", "bb", "ccc"].map(str::to_owned).to_vec();
    let (job_id, _) = client.sync(sync("job", 1, &reports, 0)).await;
    let request = WatchJobRequest { views: vec![JobView::Steps.into()], ..of(&job_id, WatchStart::Snapshot) };
    let mut stream = open(&mut client, request).await;
    assert_eq!(next(&mut stream).await, ["created"]);
    assert_eq!(next(&mut stream).await, [r#"job at 4 ["step-0", "step-1", "step-2"]"#]);
    let all = WatchJobsRequest { views: vec![JobView::Steps.into()], ..WatchJobsRequest::default() };
    let mut watch = client.watch(all).await;
    let (_, kind) = watch.next().await.unwrap().unwrap();
    let get = GetJobRequest { job_id, views: vec![JobView::Steps.into()], ..GetJobRequest::default() };
    let read = soon(client.jobs.get_job(get)).await.unwrap().into_inner().decode_details().unwrap();
    let Kind::Batch(batch) = kind else { panic!("{kind:?}") };
    assert_eq!(batch.decode_snapshots().unwrap(), [read], "as GetJob has it");
    drop((stream, watch, client));
    server.stop().await;
}

#[tokio::test]
async fn a_large_command_comes_in_parts_and_is_resumed_whole() {
    let server = InProcess::start(Options::default(), |_| {}).await;
    let mut client = Client::connect(server.address).await;
    let now = WatchJobsRequest { start: WatchStart::Now.into(), ..WatchJobsRequest::default() };
    let mut watch = client.watch(now).await;
    client.sync(sync("small", 1, &[], 0)).await;
    watch.events(1).await;
    let before = watch.token.clone();
    let reports: Vec<_> = (0..700).map(|n| format!("report-{n}")).collect();
    let (job_id, revision) = client.sync(sync("large", 1, &reports, 4_000)).await;
    assert_eq!(revision, 701);

    let mut messages = Vec::new();
    let mut heard = 0;
    while heard < revision {
        let (token, kind) = watch.next().await.unwrap().unwrap();
        let Kind::Batch(batch) = kind else { continue };
        assert!(batch.encoded_len() <= MEBIBYTE, "{}", batch.encoded_len());
        for event in events_of(&batch) {
            heard += 1;
            assert_eq!((event.job_id.as_str(), event.revision), (job_id.as_str(), heard));
        }
        messages.push(token);
    }
    assert!(messages.len() > 2, "{}", messages.len());
    let (last, others) = messages.split_last().unwrap();
    assert!(
        others.iter().all(|token| *token == before),
        "a token before the command until all of it is sent"
    );
    assert_ne!(*last, before);

    let resume =
        |token: &str| WatchJobsRequest { resume_token: token.to_owned(), ..WatchJobsRequest::default() };
    let whole = client.watch(resume(&before)).await.events(701).await;
    assert_eq!(whole.first().unwrap().revision, 1);
    let mut after = client.watch(resume(last)).await;
    client.sync(sync("small", 2, &[], 0)).await;
    assert_ne!(after.events(1).await[0].job_id, job_id);

    // Its snapshot is one job, however large.
    let mut stream = open(
        &mut client,
        WatchJobRequest { views: vec![JobView::Steps.into()], ..of(&job_id, WatchStart::Snapshot) },
    )
    .await;
    assert_eq!(next(&mut stream).await, ["created"]);
    assert!(next(&mut stream).await[0].starts_with("job at 701"));
    drop((watch, after, stream, client));
    server.stop().await;
}

#[tokio::test]
async fn a_caller_has_so_many_watches() {
    let server = InProcess::start(Options::default(), |config| config.limits.watches_per_caller = 2).await;
    let mut client = Client::connect(server.address).await;
    let (job_id, _) = client.sync(sync("job", 1, &[], 0)).await;
    let first = client.watch(WatchJobsRequest::default()).await;
    let second = open(&mut client, of(&job_id, WatchStart::Now)).await;
    let status = soon(client.jobs.watch_jobs(WatchJobsRequest::default())).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "LIMIT_EXCEEDED"));
    assert_eq!(metadata(&status, "limit").as_deref(), Some("watches_per_caller"));
    // Another caller has slots of its own.
    let other = super::kit::from_org("other", WatchJobsRequest::default());
    soon(client.jobs.watch_jobs(other)).await.unwrap();
    drop(first);
    // The server learns of it in its own time.
    let again = async {
        while client.jobs.watch_jobs(WatchJobsRequest::default()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    soon(again).await;
    // A refused watch takes no slot.
    let missing = soon(client.jobs.watch_job(of("none", WatchStart::Now))).await.unwrap_err();
    assert!([Code::NotFound, Code::ResourceExhausted].contains(&missing.code()));
    drop((second, client));
    server.stop().await;
}
