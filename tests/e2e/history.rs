//! `ListJobEvents`: a job's history, by pages.

use holdpoint::proto::v1::{
    ErrorReason, Job, JobEvent, JobEventType, ListJobEventsRequest, ListJobEventsResponse,
};
use prost::Message as _;
use tonic::Code;

use super::harness::{
    Client, TestServer, close, delete, device_body, events, fields, refused, titled, update,
};

async fn page(client: &Client, request: ListJobEventsRequest) -> ListJobEventsResponse {
    client.jobs.clone().list_job_events(request).await.unwrap().into_inner()
}

/// All pages of a query: the revisions on each.
async fn pages(client: &Client, mut request: ListJobEventsRequest) -> Vec<Vec<i64>> {
    let mut pages = Vec::new();
    loop {
        let page = page(client, request.clone()).await;
        assert!(page.encoded_len() < 3 << 19, "a page is about 1 MiB at most");
        pages.push(page.events.iter().map(|event| event.revision).collect());
        if page.next_page_token.is_empty() {
            return pages;
        }
        request.page_token = page.next_page_token;
    }
}

/// A job with this many events, of about this size each.
async fn with_events(client: &Client, job_id: &str, count: i64, bytes: usize) {
    client.create(job_id, Job::default()).await;
    for n in 2..=count {
        let text = format!("{n} {}", "x".repeat(bytes));
        let metadata = Some(fields([("text", text.into())]));
        client.call(update(job_id, Job { metadata, ..Job::default() })).await.unwrap();
    }
}

#[tokio::test]
async fn a_history_comes_by_pages_of_so_many_events() {
    let client = TestServer::memory().await.client().await;
    with_events(&client, "a", 120, 0).await;
    with_events(&client, "another", 3, 0).await;
    let all: Vec<i64> = (1..=120).collect();
    for (page_size, after_revision, lengths) in [
        (0, 0, vec![50, 50, 20]),
        (7, 0, [vec![7; 17], vec![1]].concat()),
        (60, 0, vec![60, 60]),
        (1000, 0, vec![120]),
        (50, 100, vec![20]),
        (10, 110, vec![10]),
        (3, 119, vec![1]),
        (0, 120, vec![0]),
        (0, i64::MAX, vec![0]),
    ] {
        let request = ListJobEventsRequest { page_size, after_revision, ..events("a") };
        let pages = pages(&client, request).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), lengths, "{page_size} {after_revision}");
        let first = usize::try_from(after_revision.min(120)).unwrap();
        assert_eq!(pages.concat(), all[first..]);
    }
}

#[tokio::test]
async fn a_history_of_large_events_comes_by_pages_of_so_many_bytes() {
    let server = TestServer::sled().await;
    let client = server.client().await;
    with_events(&client, "a", 12, 200 << 10).await;
    // The first has no text; five of the others are less than 1 MiB.
    let expected = vec![vec![1, 2, 3, 4, 5, 6], vec![7, 8, 9, 10, 11], vec![12]];
    assert_eq!(pages(&client, ListJobEventsRequest { page_size: 1000, ..events("a") }).await, expected);

    let server = server.restart().await;
    let client = server.client().await;
    assert_eq!(pages(&client, ListJobEventsRequest { page_size: 1000, ..events("a") }).await, expected);
    server.stop().await;
}

/// One command can make more events than a page has room for.
#[tokio::test]
async fn a_page_can_end_within_the_events_of_a_command() {
    let client = TestServer::memory().await.client().await;
    let mut body = device_body();
    let entry = body.completed_steps[0].clone();
    for n in 0..20 {
        let mut entry = entry.clone();
        entry.single_step.as_mut().unwrap().unique_step_id = Some(format!("{n}"));
        body.completed_steps.push(entry);
    }
    let reply = client.sync(body).await;
    assert_eq!(reply.revision, 23);
    let pages = pages(&client, ListJobEventsRequest { page_size: 4, ..events(&reply.job_id) }).await;
    assert_eq!(pages.concat(), (1..=23).collect::<Vec<_>>());
    assert_eq!(pages.len(), 6);
}

/// A page goes on where it ended, whatever happened meanwhile.
#[tokio::test]
async fn a_history_grows_under_its_reader() {
    let client = TestServer::memory().await.client().await;
    with_events(&client, "a", 4, 0).await;
    let request = ListJobEventsRequest { page_size: 3, ..events("a") };
    let first = page(&client, request.clone()).await;
    client.call(update("a", titled("new"))).await.unwrap();
    client.call(close("a")).await.unwrap();
    let rest = pages(&client, ListJobEventsRequest { page_token: first.next_page_token, ..request }).await;
    assert_eq!(rest, [vec![4, 5, 6], vec![7]]);

    let all = client.history("a").await;
    assert!(all.is_sorted_by_key(|event| event.time.map(|time| (time.seconds, time.nanos))));
    let types: Vec<_> = all[4..].iter().map(JobEvent::r#type).collect();
    assert_eq!(types, [JobEventType::JobUpdated, JobEventType::JobAborted, JobEventType::JobClosed]);
    for (before, after) in all.iter().zip(&all[1..]) {
        let changed = before.summary != after.summary;
        assert_eq!(after.previous_summary, before.summary.clone().filter(|_| changed));
    }
}

#[tokio::test]
async fn a_deleted_job_has_no_history() {
    let client = TestServer::memory().await.client().await;
    with_events(&client, "a", 5, 0).await;
    let request = ListJobEventsRequest { page_size: 2, ..events("a") };
    let page_token = page(&client, request.clone()).await.next_page_token;
    client.call(delete("a")).await.unwrap();
    for page_token in [String::new(), page_token] {
        let request = ListJobEventsRequest { page_token, ..request.clone() };
        refused(client.call(request).await, Code::NotFound, ErrorReason::JobNotFound);
    }
}
