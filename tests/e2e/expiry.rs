//! Streams whose caller's credentials end: told so, with a token to go on from.

use futures_util::{StreamExt as _, stream};
use holdpoint::proto::v1::{
    ErrorReason, GetJobRequest, JobEvent, JobEventType, JobFilter, StreamSyncRequest, UpdateJobRequest,
    WatchJobRequest, WatchJobsRequest, WatchMessage, WatchStart, job_service_client::JobServiceClient,
    stream_sync_response::Result as Outcome, sync_service_client::SyncServiceClient, watch_message::Kind,
};
use tonic::{Code, Request, Status, Streaming};

use super::{
    bearer::{Key, Transport, connect, now, token, token_of},
    harness::{PATIENCE, TestServer, create, device_body_of, get, next, refused, titled, update, within},
};

/// How long the short tokens are good, in seconds.
const SHORT: f64 = 1.2;

async fn jobs(server: &TestServer, token: &str) -> JobServiceClient<Transport> {
    JobServiceClient::new(connect(server.address, Some(token)).await)
}

/// What a watch told up to its end, which must be that of its caller's credentials.
#[derive(Debug, Default)]
struct Told {
    token: String,
    ends_with_checkpoint: bool,
    /// Job and revision of each event and of each job of the snapshot.
    revisions: Vec<(String, i64)>,
}

impl Told {
    fn add(&mut self, message: WatchMessage) {
        self.token = message.resume_token;
        self.ends_with_checkpoint = matches!(message.kind, Some(Kind::Checkpoint(_)));
        if let Some(Kind::Batch(batch)) = message.kind {
            for details in batch.decode_snapshots().unwrap() {
                let job = details.job.unwrap();
                self.revisions.push((job.job_id, job.revision));
            }
            for event in batch.decode_events().unwrap() {
                self.revisions.push((event.job_id, event.revision));
            }
        }
    }

    /// Reads on until the credentials end, which they do at a time.
    async fn to_expiry<T>(
        mut stream: Streaming<T>,
        message: fn(T) -> Option<WatchMessage>,
        ends: f64,
    ) -> Self {
        let mut told = Self::default();
        loop {
            match next(&mut stream).await {
                Ok(Some(reply)) => told.add(message(reply).unwrap()),
                Ok(None) => panic!("it ends with a status"),
                Err(status) => {
                    refused::<()>(Err(status), Code::Unauthenticated, ErrorReason::CredentialsExpired);
                    assert!(now() >= ends, "not before");
                    assert!(told.ends_with_checkpoint && !told.token.is_empty(), "{told:?}");
                    return told;
                }
            }
        }
    }
}

const HEARTBEAT: Option<prost_types::Duration> = Some(prost_types::Duration { seconds: 60, nanos: 0 });

/// A watch that events keep coming to, an idle one, one of a job: each ends, and a new one with a fresh token goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_end_with_their_callers_credentials_and_go_on_with_fresh_ones() {
    let key = Key::new();
    for leeway in [0_u32, 1] {
        let server = TestServer::start(key.config(leeway.into())).await;
        let lasting = token_of("alice", now() + 3_600.0);
        let mut owner = jobs(&server, &lasting).await;
        for job_id in ["busy", "idle"] {
            owner.create_job(create(job_id, titled("a"))).await.unwrap();
        }

        let ends = now() + SHORT;
        let short = token_of("alice", ends - f64::from(leeway));
        let filter =
            |job_id: &str| Some(JobFilter { job_ids: vec![job_id.to_owned()], ..JobFilter::default() });
        let watch = |job_id: &str, start: WatchStart| WatchJobsRequest {
            filter: filter(job_id),
            start: start.into(),
            heartbeat: HEARTBEAT,
            ..WatchJobsRequest::default()
        };
        let mut watcher = jobs(&server, &short).await;
        let busy = watcher.watch_jobs(watch("busy", WatchStart::Snapshot)).await.unwrap().into_inner();
        let idle = watcher.watch_jobs(watch("idle", WatchStart::Snapshot)).await.unwrap().into_inner();
        let of_job =
            WatchJobRequest { job_id: "busy".to_owned(), heartbeat: HEARTBEAT, ..WatchJobRequest::default() };
        let of_job = watcher.watch_job(of_job).await.unwrap().into_inner();

        // Changes come all the time, until all watches have ended.
        let (done, mut ended) = tokio::sync::oneshot::channel::<()>();
        let writing = tokio::spawn(async move {
            let mut revision = 1;
            while ended.try_recv().is_err() {
                let request = update("busy", titled(&format!("{revision}")));
                let job = owner.update_job(request).await.unwrap().into_inner().job.unwrap();
                revision = job.revision;
            }
            revision
        });
        let (busy, idle, of_job) = tokio::join!(
            Told::to_expiry(busy, |reply| reply.message, ends),
            Told::to_expiry(idle, |reply| reply.message, ends),
            Told::to_expiry(of_job, |reply| reply.message, ends),
        );
        done.send(()).unwrap();
        let last = within(writing).await.unwrap();

        refused(watcher.get_job(get("busy")).await, Code::Unauthenticated, ErrorReason::CredentialsExpired);
        let fresh = token_of("alice", now() + 3_600.0);
        let mut watcher = jobs(&server, &fresh).await;
        let request =
            WatchJobsRequest { resume_token: busy.token.clone(), ..watch("busy", WatchStart::Unspecified) };
        let resumed = watcher.watch_jobs(request).await.unwrap().into_inner();
        let all = go_on(busy, resumed, |reply| reply.message, last).await;
        check_dense(&all, last);
        let request = WatchJobRequest {
            job_id: "busy".to_owned(),
            resume_token: of_job.token.clone(),
            heartbeat: HEARTBEAT,
            ..WatchJobRequest::default()
        };
        let resumed = watcher.watch_job(request).await.unwrap().into_inner();
        let all = go_on(of_job, resumed, |reply| reply.message, last).await;
        check_dense(&all, last);
        assert_eq!(idle.revisions, [("idle".to_owned(), 1)]);
    }
}

/// All that two watches told, the second of which goes on where the first ended, up to a revision.
async fn go_on<T>(
    mut told: Told,
    mut stream: Streaming<T>,
    message: fn(T) -> Option<WatchMessage>,
    last: i64,
) -> Vec<(String, i64)> {
    while told.revisions.last().is_none_or(|(_, revision)| *revision < last) {
        told.add(message(next(&mut stream).await.unwrap().unwrap()).unwrap());
    }
    told.revisions
}

/// After the snapshot, each revision once.
#[track_caller]
fn check_dense(revisions: &[(String, i64)], last: i64) {
    let first = revisions[0].1;
    let numbers: Vec<_> = revisions.iter().map(|(_, revision)| *revision).collect();
    assert_eq!(numbers, (first..=last).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_outbox_ends_with_its_callers_credentials() {
    let key = Key::new();
    let server = TestServer::start(key.config(0)).await;
    let ends = now() + SHORT;
    let short = token("device", &["workflowExecute"], ends);
    let mut syncs = SyncServiceClient::new(connect(server.address, Some(&short)).await);
    let entry =
        |n: usize| StreamSyncRequest { tag: n.to_string(), sync: Some(device_body_of(&format!("d-{n}"))) };
    let requests = stream::iter((0..3).map(entry)).chain(stream::pending());
    let mut request = Request::new(requests);
    request.set_timeout(PATIENCE);
    let mut answers = syncs.stream_sync(request).await.unwrap().into_inner();
    for n in 0..3 {
        let answer = next(&mut answers).await.unwrap().unwrap();
        assert_eq!(answer.tag, n.to_string());
        assert!(matches!(answer.result, Some(Outcome::Response(_))), "{answer:?}");
    }
    let end: Result<(), Status> = next(&mut answers).await.map(drop);
    refused(end, Code::Unauthenticated, ErrorReason::CredentialsExpired);
    assert!(now() >= ends);

    let again = syncs.basic_sync(device_body_of("d-4")).await;
    refused(again, Code::Unauthenticated, ErrorReason::CredentialsExpired);
    let reader = token_of("reader", now() + 3_600.0);
    let mut reader = jobs(&server, &reader).await;
    let request = GetJobRequest { client_job_id: "d-2".to_owned(), ..GetJobRequest::default() };
    reader.get_job(request).await.unwrap();
}

/// A resume token is bound to the organization and to what is watched, and not to whom it was given.
#[tokio::test]
async fn a_watch_that_was_cut_off_can_be_taken_up_by_a_colleague() {
    let key = Key::new();
    let server = TestServer::start(key.config(0)).await;
    let lasting = token_of("bob", now() + 3_600.0);
    let mut bob = jobs(&server, &lasting).await;
    let ends = now() + SHORT;
    let mut alice = jobs(&server, &token_of("alice", ends)).await;
    let request = WatchJobsRequest { start: WatchStart::Now.into(), ..WatchJobsRequest::default() };
    let stream = alice.watch_jobs(request).await.unwrap().into_inner();
    let told = Told::to_expiry(stream, |reply| reply.message, ends).await;
    bob.create_job(create("a", titled("a"))).await.unwrap();
    let rename = UpdateJobRequest { ..update("a", titled("b")) };
    bob.update_job(rename).await.unwrap();

    let request =
        WatchJobsRequest { resume_token: told.token, event_types: vec![], ..WatchJobsRequest::default() };
    let mut stream = bob.watch_jobs(request).await.unwrap().into_inner();
    let mut types = Vec::new();
    while types.len() < 2 {
        let message = next(&mut stream).await.unwrap().unwrap().message.unwrap();
        if let Some(Kind::Batch(batch)) = message.kind {
            types.extend(batch.decode_events().unwrap().iter().map(JobEvent::r#type));
        }
    }
    assert_eq!(types, [JobEventType::JobCreated, JobEventType::JobUpdated]);
}
