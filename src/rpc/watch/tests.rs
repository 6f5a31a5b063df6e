//! The stream as its client pulls it, message by message: what happens between two pulls is the test's to choose.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use prost_types::{Struct, Timestamp, Value, value};
use tonic_types::StatusExt as _;

use super::*;
use crate::{
    auth::Caller,
    config::Limits,
    domain::{CreateJob, DeleteJob, JobField, UpdateJob},
    engine::{Command, Options, Origin, System},
    proto::v1::{Actor, Job, JobFilter, WatchJobRequest, WatchJobsRequest},
    rpc::{parse, slots::Slots},
    store::{self, Batch, JobKey, LogRecord, MemoryStore, Partition, Scan, Store, StoreId},
};

const ORG: &str = "acme";

/// Opens watches over an engine.
struct Subject {
    engine: Engine,
    slots: Slots,
    drain: Drain,
}

impl Subject {
    async fn over(store: impl Store) -> Self {
        let engine = Engine::start(Arc::new(store), Arc::new(System), Options::default()).await.unwrap();
        Self { engine, slots: Slots::watches(&Limits::default()), drain: Drain::new() }
    }

    async fn new() -> Self {
        Self::over(MemoryStore::new()).await
    }

    fn caller() -> Caller {
        Caller {
            user: "tester".to_owned(),
            name: "tester".to_owned(),
            org: ORG.to_owned(),
            groups: Vec::new(),
            privileges: crate::auth::Privileges::All,
            expires: None,
        }
    }

    async fn watch_job(&self, request: WatchJobRequest) -> Messages {
        let caller = Self::caller();
        let wish = parse::watch_job(&Limits::default(), &caller, request).unwrap();
        let slot = self.slots.take(&caller).unwrap();
        let expiry = Expiry::of(&caller, &self.engine.now());
        Messages::open(&self.engine, wish, slot, self.drain.clone(), expiry).await.unwrap()
    }

    async fn watch_jobs(&self, request: WatchJobsRequest) -> Messages {
        let never = Expiry::of(&Self::caller(), &self.engine.now());
        self.watch_jobs_until(never, request).await
    }

    /// A watch by credentials that are good for so many seconds.
    async fn watch_jobs_for(&self, seconds: i64, request: WatchJobsRequest) -> Messages {
        let now = self.engine.now();
        let expires = Timestamp { seconds: now.seconds + seconds, ..now };
        let expiry = Expiry::of(&Caller { expires: Some(expires), ..Self::caller() }, &now);
        self.watch_jobs_until(expiry, request).await
    }

    async fn watch_jobs_until(&self, expiry: Expiry, request: WatchJobsRequest) -> Messages {
        let caller = Self::caller();
        let wish = parse::watch_jobs(&Limits::default(), &caller, request).unwrap();
        let slot = self.slots.take(&caller).unwrap();
        Messages::open(&self.engine, wish, slot, self.drain.clone(), expiry).await.unwrap()
    }

    async fn done<C: Command + Sync>(&self, command: C) -> C::Reply {
        let actor = Actor { id: "tester".to_owned(), ..Actor::default() };
        let origin = Origin { org: ORG.to_owned(), actor, request: None, validate_only: false };
        self.engine.execute(origin, command).await.unwrap()
    }

    async fn create(&self, job_id: &str) {
        self.done(CreateJob { job_id: Some(job_id.to_owned()), job: Job::default() }).await;
    }

    async fn retitle(&self, job_id: &str, title: &str) {
        let job = Job { title: Some(title.to_owned()), ..Job::default() };
        let fields = vec![JobField::Title];
        self.done(UpdateJob { job_id: job_id.to_owned(), fields, job, etag: None }).await;
    }

    async fn abort(&self, job_id: &str) {
        self.done(crate::domain::AbortJob { job_id: job_id.to_owned(), reason: None, etag: None }).await;
    }
}

/// A word for each message, its token left out.
fn word(message: Option<Result<WatchMessage, Status>>) -> String {
    match message {
        None => "end".to_owned(),
        Some(Err(status)) => format!("{:?}", status.code()),
        Some(Ok(message)) => match message.kind.unwrap() {
            Kind::Created(_) => "created".to_owned(),
            Kind::Checkpoint(checkpoint) if checkpoint.snapshot_complete => "complete".to_owned(),
            Kind::Checkpoint(_) => "checkpoint".to_owned(),
            Kind::Draining(_) => "draining".to_owned(),
            Kind::Batch(batch) => {
                let jobs = batch.decode_snapshots().unwrap().into_iter().map(|details| {
                    let job = details.job.unwrap();
                    format!("{}@{}", job.job_id, job.revision)
                });
                let events = batch.decode_events().unwrap().into_iter().map(|event| {
                    let kind =
                        event.r#type().as_str_name().trim_start_matches("JOB_EVENT_TYPE_").to_lowercase();
                    format!("{kind}:{}", event.revision)
                });
                jobs.chain(events).collect::<Vec<_>>().join(" ")
            }
        },
    }
}

async fn next(messages: &mut Messages) -> String {
    let next = tokio::time::timeout(Duration::from_secs(600), messages.next()).await;
    word(next.expect("a heartbeat comes at least"))
}

fn of_job(job_id: &str, start: WatchStart) -> WatchJobRequest {
    let heartbeat = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    WatchJobRequest {
        job_id: job_id.to_owned(),
        start: start.into(),
        heartbeat,
        ..WatchJobRequest::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_ends_before_its_snapshot_is_taken_ends_the_watch() {
    for start in [WatchStart::Snapshot, WatchStart::Now, WatchStart::Earliest] {
        let subject = Subject::new().await;
        subject.create("a").await;
        let request = WatchJobRequest { end_on_terminal: true, ..of_job("a", start) };
        let mut messages = subject.watch_job(request).await;
        assert_eq!(next(&mut messages).await, "created");
        subject.abort("a").await;
        let mut said = Vec::new();
        while said.last().is_none_or(|last| last != "end") && said.len() < 9 {
            said.push(next(&mut messages).await);
        }
        let expected: &[&str] = match start {
            WatchStart::Snapshot => &["a@2", "complete", "end"],
            WatchStart::Earliest => &["job_created:1 job_aborted:2", "end"],
            WatchStart::Now | WatchStart::Unspecified => &["job_aborted:2", "end"],
        };
        assert_eq!(said, expected, "{start:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_deleted_before_its_snapshot_is_taken_ends_the_watch() {
    let subject = Subject::new().await;
    subject.create("a").await;
    let mut messages = subject.watch_job(of_job("a", WatchStart::Snapshot)).await;
    assert_eq!(next(&mut messages).await, "created");
    subject.done(DeleteJob { job_id: "a".to_owned(), etag: None }).await;
    assert_eq!(next(&mut messages).await, "NotFound");
    assert_eq!(next(&mut messages).await, "end");

    // One that the snapshot has told of is told of to the end, also where the watch is resumed in between.
    subject.create("b").await;
    let mut messages = subject.watch_job(of_job("b", WatchStart::Snapshot)).await;
    assert_eq!(next(&mut messages).await, "created");
    assert_eq!(next(&mut messages).await, "b@1");
    let resume_token = messages.last_token.clone();
    subject.done(DeleteJob { job_id: "b".to_owned(), etag: None }).await;
    let resumed = WatchJobRequest { resume_token, ..of_job("b", WatchStart::Unspecified) };
    for mut messages in [messages, subject.watch_job(resumed).await] {
        let said = [next(&mut messages).await, next(&mut messages).await];
        let said = if said[0] == "created" { [said[1].clone(), next(&mut messages).await] } else { said };
        assert_eq!(said, ["job_deleted:2", "end"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_watch_tells_that_it_lives_and_moves_on() {
    let subject = Subject::new().await;
    subject.create("a").await;
    subject.create("b").await;
    let mut messages = subject.watch_job(of_job("a", WatchStart::Now)).await;
    assert_eq!(next(&mut messages).await, "created");
    let before = tokio::time::Instant::now();
    subject.retitle("b", "not its business").await;
    assert_eq!(next(&mut messages).await, "complete");
    assert_eq!(before.elapsed(), Duration::from_secs(1));
    assert_eq!(messages.watch.position().sequences, [Sequence(3)]);
    subject.retitle("a", "its business").await;
    assert_eq!(next(&mut messages).await, "job_updated:2");
    assert_eq!(before.elapsed(), Duration::from_secs(1));
}

/// A store on which everything that was written takes a while to settle.
struct Slow {
    inner: MemoryStore,
    settles_in: Duration,
}

impl Slow {
    fn settling_in(milliseconds: u64) -> Self {
        Self { inner: MemoryStore::new(), settles_in: Duration::from_millis(milliseconds) }
    }
}

#[async_trait]
impl Store for Slow {
    fn id(&self) -> StoreId {
        self.inner.id()
    }

    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    async fn get(&self, partition: Partition, key: &[u8]) -> store::Result<Option<Bytes>> {
        self.inner.get(partition, key).await
    }

    async fn scan(&self, partition: Partition, scan: Scan) -> store::Result<Vec<(Bytes, Bytes)>> {
        self.inner.scan(partition, scan).await
    }

    async fn commit(&self, partition: Partition, batch: Batch) -> store::Result<()> {
        self.inner.commit(partition, batch).await
    }

    async fn settle(&self, partition: Partition) -> store::Result<()> {
        tokio::time::sleep(self.settles_in).await;
        self.inner.settle(partition).await
    }

    fn head(&self, partition: Partition) -> tokio::sync::watch::Receiver<Sequence> {
        self.inner.head(partition)
    }

    fn oldest(&self, partition: Partition) -> Sequence {
        self.inner.oldest(partition)
    }

    async fn log(&self, partition: Partition, after: Sequence, max: usize) -> store::Result<Vec<LogRecord>> {
        self.inner.log(partition, after, max).await
    }

    async fn history(
        &self,
        partition: Partition,
        job: &JobKey,
        after: Sequence,
        max: usize,
    ) -> store::Result<Vec<LogRecord>> {
        self.inner.history(partition, job, after, max).await
    }

    async fn trim(&self, partition: Partition, before: Sequence) -> store::Result<()> {
        self.inner.trim(partition, before).await
    }

    async fn export(&self, partition: Partition) -> Result<Box<dyn store::Export>, store::ExportError> {
        self.inner.export(partition).await
    }

    async fn close(&self) -> store::Result<()> {
        self.inner.close().await
    }
}

/// Reading a chunk is broken off by each heartbeat; it must be done in less, whatever the store takes for each job.
#[tokio::test(start_paused = true)]
async fn a_snapshot_of_a_slow_store_comes_to_its_end() {
    for settles_in in [50, 150, 600] {
        let subject = Subject::over(Slow::settling_in(settles_in)).await;
        for n in 0..150 {
            subject.create(&format!("job-{n:03}")).await;
        }
        let heartbeat = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        let request = WatchJobsRequest { heartbeat, ..WatchJobsRequest::default() };
        let mut messages = subject.watch_jobs(request).await;
        let mut jobs = 0;
        for _ in 0..300 {
            match next(&mut messages).await.as_str() {
                "complete" => break,
                "created" | "checkpoint" => {}
                batch => jobs += batch.split(' ').count(),
            }
        }
        assert_eq!(jobs, 150, "{settles_in}");
        assert!(messages.is_snapshot_complete, "{settles_in}");
    }
}

/// What a snapshot begins with, events go on with: an expression sees the same of a job in both.
#[tokio::test(start_paused = true)]
async fn an_expression_sees_no_more_in_a_snapshot_than_in_events() {
    let subject = Subject::new().await;
    subject.create("a").await;
    subject.retitle("a", "red").await;
    for (expression, expected) in [
        ("job.title == 'red'", ["created", "complete", "complete"]),
        ("job.job_id == 'a'", ["created", "a@2", "complete"]),
    ] {
        let filter = Some(JobFilter { expression: expression.to_owned(), ..JobFilter::default() });
        let mut messages =
            subject.watch_jobs(WatchJobsRequest { filter, ..WatchJobsRequest::default() }).await;
        let said = [next(&mut messages).await, next(&mut messages).await, next(&mut messages).await];
        assert_eq!(said, expected, "{expression}");
    }
}

fn large(bytes: usize) -> Job {
    let text = Value { kind: Some(value::Kind::StringValue("x".repeat(bytes))) };
    let metadata = Struct { fields: [("text".to_owned(), text)].into() }.into();
    Job { metadata: Some(metadata), ..Job::default() }
}

/// The tokens and the sizes of what comes until the watch has nothing more.
async fn batches(messages: &mut Messages) -> Vec<(String, WatchBatch)> {
    let mut batches = Vec::new();
    loop {
        let message = messages.next().await.unwrap().unwrap();
        match message.kind.unwrap() {
            Kind::Batch(batch) => batches.push((message.resume_token, batch)),
            Kind::Checkpoint(_) => return batches,
            Kind::Created(_) => {}
            Kind::Draining(_) => panic!("nobody is going away"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_batch_is_larger_than_it_may_be() {
    let subject = Subject::new().await;
    let mut now = subject.watch_jobs(WatchJobsRequest { start: 2, ..WatchJobsRequest::default() }).await;
    // Sizes at which the members' own lengths and tags are what is too much.
    for n in 0..700_u32 {
        let job = large(if n.is_multiple_of(7) { 30_000 } else { 100 });
        subject.done(CreateJob { job_id: Some(format!("job-{n:03}")), job }).await;
    }
    for messages in [&mut now, &mut subject.watch_jobs(WatchJobsRequest::default()).await] {
        let batches = batches(messages).await;
        let members: usize =
            batches.iter().map(|(_, batch)| batch.snapshots.len() + batch.events.len()).sum();
        assert_eq!(members, 700);
        for (_, batch) in &batches {
            assert!(batch.encoded_len() <= BATCH_BYTES_MAX, "{}", batch.encoded_len());
        }
        let tokens: BTreeSet<_> = batches.iter().map(|(token, _)| token).collect();
        assert!(tokens.len() > 2 && batches.len() > 2);
    }
}

/// What came of a watch up to its end, which must be that of the caller's credentials.
#[derive(Default)]
struct Watched {
    /// A word for each message.
    said: Vec<String>,
    /// The token of the last message.
    token: String,
}

impl Watched {
    /// Reads on to the end. `between` runs before each message is asked for.
    async fn to_expiry(messages: &mut Messages, mut between: impl AsyncFnMut(usize)) -> Self {
        let mut watched = Self::default();
        loop {
            between(watched.said.len()).await;
            let message = tokio::time::timeout(Duration::from_secs(600), messages.next()).await;
            match message.expect("a heartbeat comes at least").expect("it ends with a status") {
                Ok(message) => {
                    watched.token.clone_from(&message.resume_token);
                    watched.said.push(word(Some(Ok(message))));
                }
                Err(status) => {
                    let reason = status.get_details_error_info().unwrap().reason;
                    assert_eq!(
                        (status.code(), reason.as_str()),
                        (tonic::Code::Unauthenticated, "CREDENTIALS_EXPIRED")
                    );
                    assert!(messages.next().await.is_none(), "nothing comes after it");
                    return watched;
                }
            }
        }
    }

    fn from(&self) -> WatchJobsRequest {
        WatchJobsRequest { resume_token: self.token.clone(), ..WatchJobsRequest::default() }
    }
}

fn watch_from(start: WatchStart) -> WatchJobsRequest {
    let heartbeat = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    WatchJobsRequest { start: start.into(), heartbeat, ..WatchJobsRequest::default() }
}

#[tokio::test(start_paused = true)]
async fn an_idle_watch_ends_when_its_credentials_do() {
    let subject = Subject::new().await;
    let mut messages = subject.watch_jobs_for(5, watch_from(WatchStart::Now)).await;
    let started = Instant::now();
    let watched = Watched::to_expiry(&mut messages, async |_| {}).await;
    assert_eq!(watched.said, ["created", "complete"], "the last message has the token to go on from");
    assert_eq!(started.elapsed().as_secs(), 5);

    subject.create("a").await;
    let mut messages = subject.watch_jobs(watched.from()).await;
    assert_eq!([next(&mut messages).await, next(&mut messages).await], ["created", "job_created:1"]);

    let mut messages = subject.watch_jobs_for(-5, watch_from(WatchStart::Now)).await;
    let watched = Watched::to_expiry(&mut messages, async |_| {}).await;
    assert_eq!(watched.said, ["created", "complete"], "they may have expired since they were looked at");
}

/// A watch that always has more to tell ends all the same, and a new one goes on where it ended.
#[tokio::test(start_paused = true)]
async fn a_busy_watch_ends_when_its_credentials_do_and_goes_on_without_a_gap() {
    let subject = Subject::new().await;
    subject.create("a").await;
    let mut expected = vec!["job_created:1".to_owned()];
    let mut request = watch_from(WatchStart::Earliest);
    let mut told = Vec::new();
    for _ in 0..3 {
        let mut messages = subject.watch_jobs_for(1, request).await;
        let started = Instant::now();
        let watched = Watched::to_expiry(&mut messages, async |_| {
            subject.retitle("a", &format!("{}", expected.len())).await;
            expected.push(format!("job_updated:{}", expected.len() + 1));
            tokio::time::advance(Duration::from_millis(90)).await;
        })
        .await;
        assert!(started.elapsed() < Duration::from_secs(2));
        assert_eq!(watched.said[0], "created");
        assert_eq!(watched.said.last().unwrap(), "complete");
        let events = watched.said.iter().filter(|said| said.starts_with("job_"));
        told.extend(events.flat_map(|said| said.split(' ').map(str::to_owned)));
        request = watched.from();
    }
    let mut messages = subject.watch_jobs(request).await;
    assert_eq!(next(&mut messages).await, "created");
    while told.len() < expected.len() {
        told.extend(next(&mut messages).await.split(' ').map(str::to_owned));
    }
    assert_eq!(told, expected, "each once, in order");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_cut_off_by_expiry_is_taken_to_its_end_by_the_next_watch() {
    const JOBS: usize = 300;
    let subject = Subject::over(Slow::settling_in(50)).await;
    for n in 0..JOBS {
        subject.create(&format!("job-{n:03}")).await;
    }
    let mut request = watch_from(WatchStart::Snapshot);
    let mut told = Vec::new();
    let mut times = 0;
    loop {
        times += 1;
        let mut messages = subject.watch_jobs_for(1, request).await;
        let watched = Watched::to_expiry(&mut messages, async |_| {}).await;
        let jobs = watched.said.iter().filter(|said| said.contains('@'));
        told.extend(jobs.flat_map(|said| said.split(' ').map(str::to_owned)));
        request = watched.from();
        // The checkpoint of the end says whether the snapshot is whole.
        if watched.said.last().unwrap() == "complete" {
            break;
        }
        assert_eq!(watched.said.last().unwrap(), "checkpoint");
    }
    assert!(times > 1, "it was cut off");
    told.sort();
    let expected: Vec<_> = (0..JOBS).map(|n| format!("job-{n:03}@1")).collect();
    assert_eq!(told, expected, "each job once");
}

/// What was ready when the credentials ended is still told: a chunk of a snapshot can fill several messages.
#[tokio::test(start_paused = true)]
async fn a_delivery_of_several_messages_is_told_whole_and_then_the_watch_ends() {
    const JOBS: usize = 12;
    let subject = Subject::new().await;
    for n in 0..JOBS {
        subject.done(CreateJob { job_id: Some(format!("job-{n:02}")), job: large(250_000) }).await;
    }
    let mut messages = subject.watch_jobs_for(5, watch_from(WatchStart::Snapshot)).await;
    let watched = Watched::to_expiry(&mut messages, async |count| {
        // With the first batch, the others of its delivery are ready.
        if count == 2 {
            tokio::time::advance(Duration::from_secs(6)).await;
        }
    })
    .await;
    let jobs = |said: &[String]| {
        let told = said.iter().filter(|said| said.contains('@'));
        told.flat_map(|said| said.split(' ')).map(str::to_owned).collect::<Vec<_>>()
    };
    let [created, .., last] = watched.said.as_slice() else { panic!("{:?}", watched.said) };
    // A chunk has five of them, each a message of its own.
    assert_eq!((created.as_str(), last.as_str(), watched.said.len()), ("created", "checkpoint", 7));
    let mut told = jobs(&watched.said);
    assert!((1..JOBS).contains(&told.len()), "{told:?}");

    let mut messages = subject.watch_jobs(watched.from()).await;
    let mut said = Vec::new();
    while said.last().is_none_or(|last| last != "complete") {
        said.push(next(&mut messages).await);
    }
    told.extend(jobs(&said));
    assert_eq!(told, (0..JOBS).map(|n| format!("job-{n:02}@1")).collect::<Vec<_>>(), "each once");
}

/// Who is told to go by the server is told so, also where the credentials ended meanwhile.
#[tokio::test(start_paused = true)]
async fn a_watch_that_drains_says_goodbye_before_it_looks_at_credentials() {
    let subject = Subject::new().await;
    let mut messages = subject.watch_jobs_for(5, watch_from(WatchStart::Now)).await;
    assert_eq!(next(&mut messages).await, "created");
    tokio::time::advance(Duration::from_secs(6)).await;
    subject.drain.cancel();
    let said = [next(&mut messages).await, next(&mut messages).await, next(&mut messages).await];
    assert_eq!(said, ["draining", "Unavailable", "end"]);
}
