//! `StreamSync`: an outbox is emptied in order, bad entries and all, and as often as it takes.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use holdpoint::{
    config::{Config, Limits},
    proto::v1::{
        BasicSyncRequest, BasicSyncResponse, ErrorReason, JobFilter, JobOrder, JobStatus, StreamSyncRequest,
        StreamSyncResponse, SyncOutcome, stream_sync_response::Result as Outcome,
        sync_service_client::SyncServiceClient,
    },
};
use prost::Message as _;
use prost_types::Value;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Endpoint};
use tonic_types::{StatusExt as _, pb};

use super::{
    errors::call_raw,
    harness::{
        Caller, Client, Dice, TestServer, config, delete, device_body_of, fields, line, next, reason,
        refused, within,
    },
};

type Answer = (String, Result<BasicSyncResponse, pb::Status>);

fn answer(message: StreamSyncResponse) -> Answer {
    let result = match message.result.unwrap() {
        Outcome::Response(response) => Ok(response),
        Outcome::Error(status) => Err(status),
    };
    (message.tag, result)
}

/// As a call would have ended with it.
fn as_status(status: &pb::Status) -> Status {
    Status::with_details(Code::from(status.code), status.message.clone(), status.encode_to_vec().into())
}

fn outcome(answer: &Answer) -> SyncOutcome {
    answer.1.as_ref().unwrap().outcome()
}

fn tagged(tag: impl ToString, sync: BasicSyncRequest) -> StreamSyncRequest {
    StreamSyncRequest { tag: tag.to_string(), sync: Some(sync) }
}

/// A sync of an active job, with one report.
fn report(client_job_id: &str, unique_step_id: &str) -> BasicSyncRequest {
    let mut body = device_body_of(client_job_id);
    body.metadata.as_mut().unwrap().set_status(JobStatus::Active);
    let step = body.completed_steps[0].single_step.as_mut().unwrap();
    step.unique_step_id = Some(unique_step_id.to_owned());
    body
}

/// The stream of an outbox that is there as a whole.
async fn stream(client: &Client, outbox: Vec<StreamSyncRequest>) -> Streaming<StreamSyncResponse> {
    client.syncs.clone().stream_sync(tokio_stream::iter(outbox)).await.unwrap().into_inner()
}

/// A stream that is sent to as the test goes on.
async fn open(client: &Client) -> (mpsc::Sender<StreamSyncRequest>, Streaming<StreamSyncResponse>) {
    let (sender, requests) = mpsc::channel(1);
    let answers = client.syncs.clone().stream_sync(ReceiverStream::new(requests)).await.unwrap();
    (sender, answers.into_inner())
}

/// Sends an outbox, and reads to the end of the stream.
async fn empty(client: &Client, outbox: Vec<StreamSyncRequest>) -> Vec<Answer> {
    let mut stream = stream(client, outbox).await;
    let mut answers = Vec::new();
    while let Some(message) = next(&mut stream).await.unwrap() {
        answers.push(answer(message));
    }
    answers
}

/// The reports of a job, in the order of its events.
async fn reported(client: &Client, job_id: &str) -> Vec<String> {
    let reports = client.history(job_id).await.into_iter().filter_map(|event| event.report);
    reports.map(|report| report.unique_step_id().to_owned()).collect()
}

/// Several hundred entries of some jobs, and between them each kind that is refused. With each entry the id of the job
/// and of the report where it is good.
fn outbox(count: usize) -> Vec<(StreamSyncRequest, Option<(String, String)>)> {
    let mut dice = Dice::new(7);
    let outbox = (0..count).map(|n| {
        let (job, unique) = (format!("job-{}", dice.roll(5)), format!("report-{n}"));
        let mut sync = report(&job, &unique);
        let is_good = dice.roll(8) > 0;
        if !is_good {
            let metadata = sync.metadata.as_mut().unwrap();
            match dice.roll(4) {
                0 => metadata.client_job_id = Some("deleted".to_owned()),
                1 => {
                    metadata.client_job_id = Some("job-first".to_owned());
                    metadata.workflow_id = Some("another".to_owned());
                }
                2 => metadata.client_job_id = Some("x".repeat(65)),
                _ => sync = BasicSyncRequest::default(),
            }
        }
        (tagged(n, sync), is_good.then_some((job, unique)))
    });
    let first =
        (tagged("first", report("job-first", "first")), Some(("job-first".to_owned(), "first".to_owned())));
    std::iter::once(first).chain(outbox).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbox_is_emptied_in_order_and_bad_entries_do_not_end_it() {
    let server = TestServer::sled().await;
    let client = server.client().await;
    client.call(delete(&client.sync(report("deleted", "one")).await.job_id)).await.unwrap();

    let outbox = outbox(400);
    let sent: Vec<_> = outbox.iter().map(|(request, _)| request.clone()).collect();
    let answers = empty(&client, sent.clone()).await;
    assert_eq!(answers.len(), outbox.len());
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut job_ids: BTreeMap<String, (String, i64)> = BTreeMap::new();
    let mut refusals: BTreeMap<String, usize> = BTreeMap::new();
    for ((request, good), (tag, result)) in outbox.iter().zip(&answers) {
        assert_eq!(*tag, request.tag);
        match (good, result) {
            (Some((job, report)), Ok(response)) => {
                let is_first = !expected.contains_key(job);
                let outcome = if is_first { SyncOutcome::Created } else { SyncOutcome::Updated };
                assert_eq!(response.outcome(), outcome, "{tag}");
                expected.entry(job.clone()).or_default().push(report.clone());
                let before = job_ids.insert(job.clone(), (response.job_id.clone(), response.revision));
                // One event for the report, and another for the job that was made.
                let before = before.map_or(1, |(_, revision)| revision);
                assert_eq!(response.revision, before + 1, "{tag}");
            }
            (None, Err(status)) => {
                // What the same sync by itself is told.
                let sync = request.sync.clone().unwrap();
                let alone = client.syncs.clone().basic_sync(sync).await.unwrap_err();
                let status = as_status(status);
                assert_eq!(status.message(), alone.message(), "{tag}");
                assert_eq!(line(&status), line(&alone), "{tag}");
                *refusals.entry(reason(&status)).or_default() += 1;
            }
            other => panic!("{tag}: {other:?}"),
        }
    }
    let reasons: Vec<_> = refusals.keys().map(String::as_str).collect();
    assert_eq!(reasons, ["FIELD_INVALID", "JOB_DELETED", "WORKFLOW_MISMATCH"]);
    for (job, reports) in &expected {
        assert_eq!(reported(&client, &job_ids[job].0).await, *reports, "{job}");
    }

    // A device that kept none of the answers sends it all again.
    let again = empty(&client, sent).await;
    for ((first, second), (_, good)) in answers.iter().zip(&again).zip(&outbox) {
        assert_eq!(first.0, second.0);
        match good {
            Some(_) => assert_eq!(outcome(second), SyncOutcome::Unchanged),
            None => assert_eq!(second.1.as_ref().unwrap_err().code, first.1.as_ref().unwrap_err().code),
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbox_that_was_broken_off_is_sent_again() {
    const COUNT: usize = 120;
    let server = TestServer::sled().await;
    let outbox: Vec<_> =
        (0..COUNT).map(|n| tagged(n, report(&format!("job-{}", n % 3), &format!("report-{n:03}")))).collect();
    let mut answered = 0;
    // Each time it comes a little further, and then the connection is gone.
    for read in [1, 5, 30, 60] {
        let client = server.client().await;
        let mut stream = stream(&client, outbox.clone()).await;
        for n in 0..read {
            let answer = answer(next(&mut stream).await.unwrap().unwrap());
            assert_eq!(answer.0, n.to_string());
            if n < answered {
                assert_eq!(outcome(&answer), SyncOutcome::Unchanged, "{n} was answered");
            }
        }
        answered = read;
    }
    let client = server.client().await;
    let answers = empty(&client, outbox).await;
    assert_eq!(answers.len(), COUNT);
    assert!(answers[..answered].iter().all(|answer| outcome(answer) == SyncOutcome::Unchanged));
    let jobs = client.list(JobFilter::default(), JobOrder::OldestFirst, 0).await;
    assert_eq!(jobs.len(), 3);
    for job in jobs {
        let reports = reported(&client, &job.job_id).await;
        assert_eq!(reports.len(), COUNT / 3);
        assert!(reports.is_sorted(), "{reports:?}");
    }
    server.stop().await;
}

/// The answers are large and the client's windows small, so that little is on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_held_up_and_loses_nothing() {
    const COUNT: usize = 80;
    /// Eight in hand, and what HTTP/2 and its buffers hold.
    const DECIDED_MAX: i64 = 20;
    const WINDOW: u32 = (1 << 16) - 1;
    let server = TestServer::memory().await;
    let observer = server.client_as(Caller::new("dev").of("dev")).await;
    let mut newest = report("job", "first");
    let large = fields([("large", Value::from("x".repeat(200_000)))]);
    newest.metadata.as_mut().unwrap().metadata = Some(large);
    let job_id = observer.sync(newest).await.job_id;

    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let narrow = endpoint.initial_stream_window_size(WINDOW).initial_connection_window_size(WINDOW);
    let mut client = SyncServiceClient::new(within(narrow.connect()).await.unwrap());
    let (sender, requests) = mpsc::channel(1);
    let sent = Arc::new(AtomicUsize::new(0));
    let sending = tokio::spawn({
        let sent = Arc::clone(&sent);
        async move {
            for n in 0..COUNT {
                let mut sync = report("job", &format!("report-{n:03}"));
                // Its header is older, so that it is told what stands.
                sync.metadata.as_mut().unwrap().updated.as_mut().unwrap().seconds -= 1;
                sync.hierarchy_stack = Some("y".repeat(100_000).into());
                sender.send(tagged(n, sync)).await.unwrap();
                sent.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let mut answers = client.stream_sync(ReceiverStream::new(requests)).await.unwrap().into_inner();

    // Others get on meanwhile; once nothing moved while they were answered many times, nothing will.
    let (mut before, mut still) = ((0, 0), 0);
    while still < 50 {
        let now = (sent.load(Ordering::SeqCst), observer.job(&job_id).await.revision);
        still = if now == before { still + 1 } else { 0 };
        before = now;
        observer.sync(report("another", "report")).await;
    }
    let (sent_unread, revision) = before;
    let decided = revision - 2;
    assert!((1..=DECIDED_MAX).contains(&decided), "{decided} were decided");
    assert!(sent_unread < COUNT, "{sent_unread} were sent");

    for n in 0..COUNT {
        let answer = answer(next(&mut answers).await.unwrap().unwrap());
        assert_eq!((answer.0.as_str(), outcome(&answer)), (n.to_string().as_str(), SyncOutcome::Updated));
    }
    assert_eq!(next(&mut answers).await.unwrap(), None);
    within(sending).await.unwrap();
    assert_eq!(reported(&observer, &job_id).await.len(), COUNT + 1);
}

#[tokio::test]
async fn a_request_id_holds_whichever_way_it_is_sent() {
    let client = TestServer::memory().await.client().await;
    let request = |request_id: &str, sync: BasicSyncRequest| {
        let request_id = request_id.to_owned();
        BasicSyncRequest { request_id, ..sync }
    };
    let one = request("one", report("a", "1"));
    let two = request("two", report("a", "2"));

    let by_itself = client.sync(one.clone()).await;
    let reused = request("one", report("a", "3"));
    let answers = empty(
        &client,
        vec![
            tagged("repeated", one.clone()),
            tagged("first", two.clone()),
            tagged("other", reused),
            // The tag is no part of the sync.
            tagged("repeated again", two.clone()),
            tagged("without", report("a", "2")),
        ],
    )
    .await;
    assert_eq!(answers[0].1.as_ref().unwrap(), &by_itself, "not UNCHANGED: the answer that was given");
    assert_eq!(outcome(&answers[1]), SyncOutcome::Updated);
    assert_eq!(reason(&as_status(answers[2].1.as_ref().unwrap_err())), "REQUEST_ID_REUSED");
    assert_eq!(answers[3].1, answers[1].1);
    assert_eq!(outcome(&answers[4]), SyncOutcome::Unchanged);
    assert_eq!(client.sync(two).await, answers[1].1.clone().unwrap());

    let history = client.history(&by_itself.job_id).await;
    let requests: Vec<_> = history.iter().map(|event| event.request_id.as_str()).collect();
    assert_eq!(requests, ["one", "one", "two"]);
}

#[tokio::test]
async fn validate_only_writes_nothing_and_the_next_is_decided_without_it() {
    use SyncOutcome::{Created, Unchanged, Updated};

    let client = TestServer::memory().await.client().await;
    let tried = |sync| BasicSyncRequest { validate_only: true, ..sync };
    let outbox = [
        tried(report("a", "1")),
        tried(report("a", "1")),
        report("a", "1"),
        tried(report("a", "2")),
        report("a", "1"),
    ];
    let outbox = outbox.into_iter().map(|sync| tagged("", sync)).collect();
    let answers = empty(&client, outbox).await;
    let outcomes: Vec<_> = answers.iter().map(outcome).collect();
    assert_eq!(outcomes, [Created, Created, Created, Updated, Unchanged]);
    assert_eq!(reported(&client, &answers[2].1.as_ref().unwrap().job_id).await, ["1"]);
}

#[tokio::test]
async fn a_server_that_goes_away_answers_what_it_has_taken() {
    let server = TestServer::memory().await;
    let client = server.client().await;
    let (sender, mut answers) = open(&client).await;
    for n in 0..3 {
        sender.send(tagged(n, report("a", &n.to_string()))).await.unwrap();
        assert_eq!(answer(next(&mut answers).await.unwrap().unwrap()).0, n.to_string());
    }
    // One that says nothing, and one whose outbox has no end.
    let (_quiet, mut idle) = open(&client).await;
    let (busy, mut busy_answers) = open(&client).await;
    let sending = tokio::spawn(async move {
        let mut sent = 0;
        while busy.send(tagged(sent, report("b", &sent.to_string()))).await.is_ok() {
            sent += 1;
        }
        sent
    });
    assert_eq!(answer(next(&mut busy_answers).await.unwrap().unwrap()).0, "0");

    server.shutdown.cancel();
    let shut_down = |outcome: Result<Option<StreamSyncResponse>, Status>| {
        let status = refused(outcome, Code::Unavailable, ErrorReason::ShuttingDown);
        assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    };
    shut_down(next(&mut answers).await);
    shut_down(next(&mut idle).await);
    let mut answered = 1;
    let end = loop {
        match next(&mut busy_answers).await {
            Ok(message) => {
                let answer = answer(message.expect("it ends with a status"));
                assert_eq!((answer.0, answer.1.is_ok()), (answered.to_string(), true));
                answered += 1;
            }
            Err(status) => break status,
        }
    };
    shut_down(Err(end));
    drop((sender, client));
    assert!(within(sending).await.unwrap() >= answered);
    server.stop().await;
}

/// What came before it is answered.
#[tokio::test]
async fn a_message_that_is_none_ends_the_stream() {
    let server = TestServer::memory().await;
    let client = server.client().await;
    let mut large = report("a", "2");
    large.team = Some("x".repeat(5 << 20));
    let mut stream = stream(&client, vec![tagged("1", report("a", "1")), tagged("2", large)]).await;
    assert_eq!(answer(next(&mut stream).await.unwrap().unwrap()).0, "1");
    let status = next(&mut stream).await.unwrap_err();
    let limit = r#"ResourceExhausted LIMIT_EXCEEDED {"limit": "message_bytes", "maximum": "4194304"}"#;
    assert_eq!(line(&status), limit);

    let garbage = Bytes::from_static(b"\xff\xff\xff");
    let status = call_raw(&client, "/holdpoint.v1.SyncService/StreamSync", garbage).await.unwrap_err();
    assert_eq!(line(&status), "InvalidArgument MESSAGE_MALFORMED");
}

#[tokio::test]
async fn streams_are_counted_while_they_are_open() {
    let limits = Limits { sync_streams: 3, sync_streams_per_caller: 2, ..Limits::default() };
    let server = TestServer::start(Config { limits, ..config() }).await;
    let (alice, bob) = (server.client().await, server.client_as(Caller::new("bob")).await);
    let refusal = async |client: &Client| {
        let refused = client.syncs.clone().stream_sync(tokio_stream::empty()).await;
        refused.map(drop).map_err(|status| line(&status))
    };
    let named = |limit: &str, maximum: u32| {
        Err(format!(
            "ResourceExhausted LIMIT_EXCEEDED {{\"limit\": \"{limit}\", \"maximum\": \"{maximum}\"}}"
        ))
    };
    let first = open(&alice).await;
    let _second = open(&alice).await;
    assert_eq!(refusal(&alice).await, named("sync_streams_per_caller", 2));
    let _third = open(&bob).await;
    assert_eq!(refusal(&bob).await, named("sync_streams", 3));

    // A client that goes gives its place back, as soon as the server has heard of it.
    drop(first);
    within(async { while refusal(&alice).await.is_err() {} }).await;
}
