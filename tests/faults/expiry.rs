//! Tokens that a watch cannot go on from, and what the client is told.

use holdpoint::{
    engine::Options,
    proto::v1::{
        JobEventType, JobFilter, JobView, WatchJobRequest, WatchJobsRequest, WatchStart, watch_message::Kind,
    },
};
use tonic::{Code, Status};

use super::kit::{Client, InProcess, from_org, key, metadata, reason, soon, sync};

fn resume(token: &str) -> WatchJobsRequest {
    WatchJobsRequest { resume_token: token.to_owned(), ..WatchJobsRequest::default() }
}

async fn refusal(client: &mut Client, request: WatchJobsRequest) -> (Code, String, Status) {
    let status = soon(client.jobs.watch_jobs(request)).await.unwrap_err();
    (status.code(), reason(&status), status)
}

#[tokio::test]
async fn a_token_that_is_too_old_says_what_is_left() {
    let server =
        InProcess::start(Options { log_events_max: 4, tail_bytes: 1, ..Options::default() }, |_| {}).await;
    let mut client = Client::connect(server.address).await;
    let earliest = WatchJobsRequest { start: WatchStart::Earliest.into(), ..WatchJobsRequest::default() };
    let begin = client.watch(earliest.clone()).await.token;
    let (job_id, _) = client.sync(sync("job", 1, &[], 0)).await;
    // A token after each revision.
    let mut watch = client.watch(earliest.clone()).await;
    let mut tokens = vec![begin];
    for n in 1..=9 {
        if n > 1 {
            assert_eq!(client.sync(sync("job", n, &[], 0)).await, (job_id.clone(), n));
        }
        assert_eq!(key(&watch.events(1).await[0]), (job_id.clone(), n));
        tokens.push(watch.token.clone());
    }
    let mut lagging = client.watch(resume(&tokens[9])).await;
    soon(server.engine.forget_old()).await.unwrap();

    // Six to nine are kept.
    for (revision, token) in tokens.iter().enumerate().take(5) {
        let (code, reason, status) = refusal(&mut client, resume(token)).await;
        assert_eq!((code, reason.as_str()), (Code::OutOfRange, "RESUME_TOKEN_EXPIRED"), "at {revision}");
        let oldest = metadata(&status, "oldest").unwrap();
        let read = oldest.parse::<prost_types::Timestamp>().unwrap();
        let made = watch_time(&mut client, &earliest).await;
        assert_eq!(read, made, "the time of the oldest kept");
    }
    let mut exactly = client.watch(resume(&tokens[5])).await;
    let revisions: Vec<_> = exactly.events(4).await.iter().map(|event| event.revision).collect();
    assert_eq!(revisions, [6, 7, 8, 9]);

    // What is not read holds up what else is on its connection.
    drop((watch, exactly));

    // One that runs is passed by.
    for n in 10..=90 {
        let reports: Vec<_> = (0..9).map(|report| format!("{n}-{report}")).collect();
        client.sync(sync("job", n, &reports, 4_000)).await;
    }
    let mut narrow = Client::narrow(server.address).await;
    let mut stalled = narrow.watch(resume(&lagging.token)).await;
    assert_eq!(lagging.batch().await[0].revision, 10);
    soon(server.engine.forget_old()).await.unwrap();
    let status = loop {
        match stalled.next().await.unwrap() {
            Ok((_, Kind::Batch(_) | Kind::Checkpoint(_))) => {}
            Ok((_, other)) => panic!("{other:?}"),
            Err(status) => break status,
        }
    };
    assert_eq!((status.code(), reason(&status).as_str()), (Code::OutOfRange, "RESUME_TOKEN_EXPIRED"));
    assert!(metadata(&status, "oldest").is_some());
    drop((lagging, stalled));
    server.stop().await;
}

async fn watch_time(client: &mut Client, earliest: &WatchJobsRequest) -> prost_types::Timestamp {
    client.watch(earliest.clone()).await.batch().await[0].time.unwrap()
}

#[tokio::test]
async fn a_token_of_elsewhere_is_refused() {
    let server = InProcess::start(Options::default(), |_| {}).await;
    let other = InProcess::start(Options::default(), |_| {}).await;
    let mut client = Client::connect(server.address).await;
    let mut elsewhere = Client::connect(other.address).await;
    let all = WatchJobsRequest::default();
    let red = JobFilter { teams: vec!["red".to_owned()], ..JobFilter::default() };
    let token = client.watch(all.clone()).await.token;
    let foreign = elsewhere.watch(all.clone()).await.token;

    let (code, reason, _) = refusal(&mut client, resume(&foreign)).await;
    assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "RESUME_TOKEN_FOREIGN"));

    let rows: [(&str, WatchJobsRequest); 5] = [
        ("another filter", WatchJobsRequest { filter: Some(red), ..resume(&token) }),
        (
            "other events",
            WatchJobsRequest { event_types: vec![JobEventType::JobCreated.into()], ..resume(&token) },
        ),
        ("other views", WatchJobsRequest { views: vec![JobView::Steps.into()], ..resume(&token) }),
        ("cut", resume(&token[..token.len() - 1])),
        ("not a token", resume("tomorrow")),
    ];
    for (row, request) in rows {
        let (code, reason, _) = refusal(&mut client, request).await;
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "RESUME_TOKEN_INVALID"), "{row}");
    }
    for place in 0..token.len() {
        let letter = if token.as_bytes()[place] == b'A' { "B" } else { "A" };
        let damaged = [&token[..place], letter, &token[place + 1..]].concat();
        let (code, ..) = refusal(&mut client, resume(&damaged)).await;
        assert_eq!(code, Code::InvalidArgument, "damaged at {place}");
    }
    let status = soon(client.jobs.watch_jobs(from_org("other", resume(&token)))).await.unwrap_err();
    assert_eq!(
        (status.code(), super::kit::reason(&status).as_str()),
        (Code::InvalidArgument, "RESUME_TOKEN_INVALID")
    );

    // One of a watch of one job is not for another job.
    let (a, _) = client.sync(sync("a", 1, &[], 0)).await;
    let (b, _) = client.sync(sync("b", 1, &[], 0)).await;
    let of = |job_id: &str, resume_token: &str| WatchJobRequest {
        job_id: job_id.to_owned(),
        resume_token: resume_token.to_owned(),
        ..WatchJobRequest::default()
    };
    let mut watch = soon(client.jobs.watch_job(of(&a, ""))).await.unwrap().into_inner();
    let (token, _) = super::kit::parts(soon(watch.message()).await.unwrap().unwrap().message);
    let status = soon(client.jobs.watch_job(of(&b, &token))).await.unwrap_err();
    assert_eq!(
        (status.code(), super::kit::reason(&status).as_str()),
        (Code::InvalidArgument, "RESUME_TOKEN_INVALID")
    );
    soon(client.jobs.watch_job(of(&a, &token))).await.unwrap();

    // It stands in for the start, and is not to be mixed with one.
    let mixed = WatchJobsRequest { start: WatchStart::Now.into(), ..resume(&client.watch(all).await.token) };
    let (code, reason, _) = refusal(&mut client, mixed).await;
    assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "FIELD_INVALID"));
    drop((watch, client, elsewhere));
    server.stop().await;
    other.stop().await;
}
