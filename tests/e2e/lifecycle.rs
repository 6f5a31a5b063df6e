//! The process: how it starts, refuses to start, drains and ends. The real binary throughout.

use std::{fs, net::TcpListener};

use holdpoint::proto::v1::{
    ErrorReason, JobFilter, JobOrder, WatchJobsRequest, WatchStart, watch_message::Kind,
};
use tonic::{Code, Status, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
    health_client::HealthClient,
};
use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_client::ServerReflectionClient};
use tonic_types::StatusExt as _;

use super::harness::{Client, Ended, Process, device_body, next, refused, run, titled, update};

/// It ended with this code, said this in one line on stderr, and nothing on stdout.
#[track_caller]
fn refused_to_start(ended: &Ended, code: i32, expected: &str) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.stdout, "");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(expected), "{ended:?}");
}

#[tokio::test]
async fn a_command_line_that_is_wrong_ends_with_2() {
    let file = ["serve", "--config", "no-such-file.toml"];
    let rows: [(&[&str], &str); 4] = [
        (&["serve", "--set", "limits.watches=0"], "limits.watches: 0 is not from 1"),
        (&["serve", "--listen", "0.0.0.0:7070"], "is not a loopback address"),
        (&["serve", "--set", "no.such=1"], "no: no such key"),
        (&file, "no-such-file.toml cannot be read"),
    ];
    for (arguments, expected) in rows {
        refused_to_start(&run(arguments).await, 2, expected);
    }
    // These are told with the usage.
    let rows: [(&[&str], &str); 4] = [
        (&["serve", "--drain-seconds", "soon"], "invalid value 'soon' for '--drain-seconds"),
        (&["serve", "--store", "paper"], "invalid value 'paper' for '--store"),
        (&["serve", "--no-such-flag"], "unexpected argument '--no-such-flag'"),
        (&["sing"], "unrecognized subcommand 'sing'"),
    ];
    for (arguments, expected) in rows {
        let ended = run(arguments).await;
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
        assert!(ended.stderr.starts_with("error: ") && ended.stderr.contains(expected), "{ended:?}");
    }
}

#[tokio::test]
async fn what_is_not_to_be_had_ends_with_1() {
    let directory = tempfile::tempdir().unwrap();
    let free = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let serve = async |listen: &str, data_dir: &str| {
        run(&["serve", "--log-filter", "off", "--listen", listen, "--data-dir", data_dir]).await
    };

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = serve(&address, &free("unused")).await;
    refused_to_start(&ended, 1, &format!("cannot listen on {address}"));
    assert!(!directory.path().join("unused").exists(), "the port is tried before the store is touched");

    let process = Process::serve(&directory.path().join("held"), &[]).await;
    refused_to_start(&serve("127.0.0.1:0", &free("held")).await, 1, "is in use by another process");
    process.client().await.create("a", titled("it is served all the same")).await;
    process.terminate().await;
    assert_eq!(process.ended().await.code, Some(0));

    fs::write(directory.path().join("held/FORMAT"), "format 6\nof a later version\n").unwrap();
    let ended = serve("127.0.0.1:0", &free("held")).await;
    refused_to_start(&ended, 1, "the data directory has format 6, and this version knows format 5");

    fs::write(directory.path().join("file"), "").unwrap();
    refused_to_start(&serve("127.0.0.1:0", &free("file")).await, 1, "cannot create");
}

#[tokio::test]
async fn a_configuration_that_was_printed_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("holdpoint.toml");
    let file = file.to_str().unwrap();
    let flags =
        ["--listen", "[::1]:1", "--store", "memory", "--log-format", "json", "--set", "limits.watches=7"];
    let printed = run(&[&["serve", "--print-config"], &flags[..]].concat()).await;
    assert_eq!((printed.code, printed.stderr.as_str()), (Some(0), ""));
    for line in ["listen = \"[::1]:1\"", "kind = \"memory\"", "format = \"json\"", "watches = 7"] {
        assert!(printed.stdout.lines().any(|printed| printed == line), "{}", printed.stdout);
    }
    fs::write(file, &printed.stdout).unwrap();
    let again = run(&["serve", "--print-config", "--config", file]).await;
    assert_eq!((again.code, again.stdout), (Some(0), printed.stdout));
}

async fn health(client: &Client) -> Streaming<HealthCheckResponse> {
    let mut health = HealthClient::new(client.transport.clone());
    let service = "holdpoint.v1.JobService".to_owned();
    health.watch(HealthCheckRequest { service }).await.unwrap().into_inner()
}

async fn told(health: &mut Streaming<HealthCheckResponse>) -> Result<Option<ServingStatus>, Status> {
    next(health).await.map(|told| told.map(|told| told.status()))
}

#[tokio::test]
async fn told_to_stop_it_says_goodbye_to_watches_and_ends_with_0() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::serve(directory.path(), &["--drain-seconds", "3600"]).await;
    let client = process.client().await;
    let mut health = health(&client).await;
    assert_eq!(told(&mut health).await.unwrap(), Some(ServingStatus::Serving));

    let request = WatchJobsRequest { start: WatchStart::Now.into(), ..WatchJobsRequest::default() };
    let mut watch = client.jobs.clone().watch_jobs(request.clone()).await.unwrap().into_inner();
    let mut kind = async || next(&mut watch).await.map(|message| message.unwrap().message.unwrap());
    assert!(matches!(kind().await.unwrap().kind, Some(Kind::Created(_))));
    let job_id = client.sync(device_body()).await.job_id;
    let Some(Kind::Batch(batch)) = kind().await.unwrap().kind else { panic!("an event comes first") };
    assert_eq!(batch.decode_events().unwrap().len(), 3);

    process.terminate().await;
    let draining = kind().await.unwrap();
    assert!(matches!(draining.kind, Some(Kind::Draining(_))));
    let goodbye = refused(kind().await, Code::Unavailable, ErrorReason::ShuttingDown);
    assert!(goodbye.get_details_retry_info().unwrap().retry_delay.is_some());
    assert_eq!(told(&mut health).await.unwrap(), Some(ServingStatus::NotServing));
    assert_eq!(told(&mut health).await.unwrap(), None);

    // The drain may take an hour and takes no longer than the calls.
    let ended = process.ended().await;
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let status = client.call(update(&job_id, titled("too late"))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);

    // Everything is there after the next start, and the watch goes on where it was told goodbye.
    let process = Process::serve(directory.path(), &[]).await;
    let client = process.client().await;
    let job = client.job(&job_id).await;
    assert_eq!(job.revision, 3);
    assert_eq!(client.list(JobFilter::default(), JobOrder::NewestFirst, 0).await, [job]);
    client.call(update(&job_id, titled("new"))).await.unwrap();
    let resume_token = draining.resume_token;
    let resumed = WatchJobsRequest { start: 0, resume_token, ..request };
    let mut watch = client.jobs.clone().watch_jobs(resumed).await.unwrap().into_inner();
    assert!(matches!(next(&mut watch).await.unwrap().unwrap().message.unwrap().kind, Some(Kind::Created(_))));
    let message = next(&mut watch).await.unwrap().unwrap().message.unwrap();
    let Some(Kind::Batch(batch)) = message.kind else { panic!("{message:?} is no event") };
    let revisions: Vec<_> = batch.decode_events().unwrap().iter().map(|event| event.revision).collect();
    assert_eq!(revisions, [4]);
    drop(watch);
    process.terminate().await;
    assert_eq!(process.ended().await.code, Some(0));
}

#[tokio::test]
async fn told_twice_it_does_not_wait_for_open_calls() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::serve(directory.path(), &["--drain-seconds", "3600"]).await;
    let client = process.client().await;
    // A call that stays open for as long as the client likes.
    let questions = tokio_stream::pending::<ServerReflectionRequest>();
    let answers = ServerReflectionClient::new(client.transport.clone())
        .server_reflection_info(questions)
        .await
        .unwrap();
    let mut health = health(&client).await;
    assert_eq!(told(&mut health).await.unwrap(), Some(ServingStatus::Serving));
    let job = client.create("a", titled("a")).await;

    process.terminate().await;
    assert_eq!(told(&mut health).await.unwrap(), Some(ServingStatus::NotServing), "the first was heard");
    process.terminate().await;
    assert_eq!(process.ended().await.code, Some(130));
    drop(answers);

    let process = Process::serve(directory.path(), &[]).await;
    assert_eq!(process.client().await.job("a").await, job, "what was acknowledged is there");
    process.kill().await;
    let process = Process::serve(directory.path(), &[]).await;
    assert_eq!(process.client().await.job("a").await, job);
}

#[tokio::test]
async fn a_drain_ends_when_its_time_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let process = Process::serve(directory.path(), &["--drain-seconds", "0", "--store", "memory"]).await;
    let client = process.client().await;
    let questions = tokio_stream::pending::<ServerReflectionRequest>();
    let _answers = ServerReflectionClient::new(client.transport.clone())
        .server_reflection_info(questions)
        .await
        .unwrap();
    process.terminate().await;
    assert_eq!(process.ended().await.code, Some(0));
}
