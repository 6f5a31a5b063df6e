//! What one caller may take of the server, so that others find room.

use futures_util::stream;
use holdpoint::config::Limits;
use tonic::{Code, Status, Streaming};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt as _;

use super::{
    harness::{Caller, Client, TestServer, config, get, next, within},
    wire,
};

const GET: &str = "/holdpoint.v1.JobService/GetJob";
const WATCH: &str = "/holdpoint.v1.JobService/WatchJobs";
const SYNC: &str = "/holdpoint.v1.SyncService/StreamSync";

async fn server(change: impl FnOnce(&mut Limits)) -> TestServer {
    let mut config = config();
    change(&mut config.limits);
    TestServer::start(config).await
}

/// Whether a call is let in: then it asks for a job that is not there. If not, which limit keeps it out.
async fn limit(client: &Client) -> Option<String> {
    limit_in(&client.call(get("none")).await.unwrap_err())
}

/// The limit that a refusal names, which then tells when to come again.
fn limit_in(status: &Status) -> Option<String> {
    if status.code() == Code::NotFound {
        return None;
    }
    let info = status.get_details_error_info().unwrap();
    assert_eq!(
        (status.code(), info.reason.as_str()),
        (Code::ResourceExhausted, "LIMIT_EXCEEDED"),
        "{status:?}"
    );
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some_and(|delay| !delay.is_zero()));
    Some(info.metadata["limit"].clone())
}

/// Returns when a call is refused for a limit, or when none is any more.
async fn until(client: &Client, expected: Option<&str>) {
    within(async { while limit(client).await.as_deref() != expected {} }).await;
}

async fn check_health(client: &Client) {
    let mut health = HealthClient::new(client.transport.clone());
    for _ in 0..20 {
        health.check(HealthCheckRequest::default()).await.unwrap();
    }
}

async fn others(server: &TestServer) -> [Client; 2] {
    [server.client_as(Caller::new("bob")).await, server.client_as(Caller::new("alice").of("umbra")).await]
}

/// Calls that begin and never say what they want.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_in_flight_are_limited_and_streams_are_none_of_them() {
    let server = server(|limits| limits.calls_per_caller = 2).await;
    let client = server.client().await;
    let mut streams: Vec<Streaming<_>> = Vec::new();
    for _ in 0..5 {
        let request = vec![wire::encode(WATCH, &serde_json::json!({"start": "WATCH_START_NOW"}))];
        let mut watch = wire::call(client.transport.clone(), WATCH, request).await.unwrap();
        next(&mut watch).await.unwrap();
        streams.push(watch);
        let silent = stream::pending();
        streams.push(wire::call_with(client.transport.clone(), SYNC, silent).await.unwrap());
    }
    assert_eq!(limit(&client).await, None);

    // On connections of their own: it is the caller that counts.
    let mut stalled = Vec::new();
    for _ in 0..2 {
        let transport = server.client().await.transport;
        // The question below, whether the limit is reached, is a call too and may take the last place before this one.
        stalled.push(tokio::spawn(async move {
            while wire::call_with(transport.clone(), GET, stream::pending()).await.is_err() {}
        }));
    }
    until(&client, Some("calls_per_caller")).await;
    for other in others(&server).await {
        assert_eq!(limit(&other).await, None);
    }
    check_health(&client).await;

    let first = stalled.pop().unwrap();
    first.abort();
    assert!(first.await.is_err_and(|error| error.is_cancelled()));
    until(&client, None).await;
    assert!(!stalled[0].is_finished(), "the other is still open");
    stalled[0].abort();
    drop(streams);
    assert_eq!(limit(&client).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_who_calls_too_often_is_told_when_to_come_again() {
    const PER_SECOND: u32 = 2;
    let server = server(|limits| limits.calls_per_second_per_caller = PER_SECOND).await;
    let client = server.client().await;
    let elsewhere = server.client().await;
    let refused = within(async {
        loop {
            let status = elsewhere.call(get("none")).await.unwrap_err();
            if limit_in(&status).is_some() {
                return status;
            }
        }
    })
    .await;
    let info = refused.get_details_error_info().unwrap();
    assert_eq!(
        (info.metadata["limit"].as_str(), info.metadata["maximum"].as_str()),
        ("calls_per_second_per_caller", "2")
    );
    for other in others(&server).await {
        assert_eq!(limit(&other).await, None);
    }
    check_health(&client).await;
    // That long is what the server says.
    tokio::time::sleep(refused.get_details_retry_info().unwrap().retry_delay.unwrap()).await;
    assert_eq!(limit(&client).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_are_limited_for_each_caller() {
    let server = server(|limits| limits.watches_per_caller = 2).await;
    let client = server.client().await;
    let watch = async |client: &Client| {
        let request = vec![wire::encode(WATCH, &serde_json::json!({"start": "WATCH_START_NOW"}))];
        wire::call(client.transport.clone(), WATCH, request).await
    };
    let first = watch(&client).await.unwrap();
    let _second = watch(&server.client().await).await.unwrap();
    let refused = watch(&client).await.unwrap_err();
    assert_eq!(limit_in(&refused).as_deref(), Some("watches_per_caller"));
    let mut kept = Vec::new();
    for other in others(&server).await {
        kept.push(watch(&other).await.unwrap());
    }
    drop(first);
    within(async { while watch(&client).await.is_err() {} }).await;
}
