//! SIGTERM with open watches: who reads is told where to go on, and nobody holds the server up.

use std::time::{Duration, Instant};

use holdpoint::proto::v1::{WatchJobsRequest, WatchStart, watch_message::Kind};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::kit::{Client, Server, keys, reason, soon, sync};

/// So long that a busy machine does the rest within it.
const DRAIN: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_says_goodbye_and_goes_on_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(directory.path(), &["--drain-seconds", "6"]).await;
    let mut client = Client::connect(server.address).await;
    let now = WatchJobsRequest { start: WatchStart::Now.into(), ..WatchJobsRequest::default() };
    let mut reading = client.watch(now.clone()).await;
    let mut stalled_client = Client::narrow(server.address).await;
    let mut stalled = stalled_client.watch(now.clone()).await;
    let mut made = Vec::new();
    for n in 0..40_u32 {
        let reports: Vec<_> = (0..5).map(|report| format!("report-{n}-{report}")).collect();
        made.push(client.sync(sync("job", i64::from(n) + 1, &reports, 3_000)).await);
    }
    let (job_id, last) = made.last().unwrap().clone();
    let events = reading.events(usize::try_from(last).unwrap()).await;
    assert_eq!(keys(&events), (1..=last).map(|revision| (job_id.clone(), revision)).collect::<Vec<_>>());

    let told = Instant::now();
    server.tell_to_stop();
    let token = loop {
        match reading.next().await.unwrap().unwrap() {
            (token, Kind::Draining(_)) => break token,
            (_, Kind::Checkpoint(_)) => {}
            (_, other) => panic!("{other:?}"),
        }
    };
    let status = reading.next().await.unwrap().unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "SHUTTING_DOWN"));
    let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!((Duration::from_secs(1)..=Duration::from_secs(5)).contains(&delay), "{delay:?}");
    assert!(reading.next().await.is_none());
    assert!(told.elapsed() < DRAIN, "who reads is not kept waiting for who does not");

    let exit = server.exit().await;
    let took = told.elapsed();
    assert!(exit.success(), "{exit}");
    assert!(took < DRAIN + Duration::from_secs(30), "{took:?}");

    let server = Server::start(directory.path(), &[]).await;
    let mut client = Client::connect(server.address).await;
    let resume = |token: String| WatchJobsRequest { resume_token: token, ..WatchJobsRequest::default() };
    let mut resumed = client.watch(resume(token)).await;
    let (_, revision) = client.sync(sync("job", 99, &["report-after".to_owned()], 10)).await;
    let following = resumed.events(usize::try_from(revision - last).unwrap()).await;
    let expected: Vec<_> = (last + 1..=revision).map(|revision| (job_id.clone(), revision)).collect();
    assert_eq!(keys(&following), expected, "exactly what follows");

    // The one that did not read has what was sent to it, and goes on after that.
    let mut late = Vec::new();
    while let Some(Ok((_, kind))) = stalled.next().await {
        match kind {
            Kind::Batch(batch) => late.extend(super::kit::events_of(&batch)),
            Kind::Checkpoint(_) | Kind::Draining(_) => {}
            Kind::Created(_) => panic!("a second beginning"),
        }
    }
    assert!(late.len() < events.len(), "it was stalled");
    let mut resumed = client.watch(resume(stalled.token.clone())).await;
    let rest = usize::try_from(revision).unwrap() - late.len();
    late.extend(resumed.events(rest).await);
    assert_eq!(keys(&late), (1..=revision).map(|revision| (job_id.clone(), revision)).collect::<Vec<_>>());

    server.tell_to_stop();
    drop((resumed, client));
    assert!(soon(server.exit()).await.success());
}
