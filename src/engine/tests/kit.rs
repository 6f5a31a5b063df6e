//! What the tests of the engine share: a clock that a test sets, commands, chance that repeats, a picture of the jobs put
//! together from what a watch delivers, and a store that a test holds still or breaks.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;
use prost_types::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    chance::Chance,
    domain::{
        AbortJob, CloseJob, CreateJob, CreateTask, DeleteJob, Filter, JobField, JobState, PerformJobAction,
        Place, PublishWorkflow, Report, ReportTask, ReportWorkflow, Sync, Told, UpdateJob, evolve, summary,
    },
    engine::{
        Command, Delivery, Engine, Environment, Error, ListOrder, ListPage, Options, Origin, Position,
        RequestStamp, Start, Target, Views, Watch, WatchError, WatchScope,
    },
    proto::{
        Document,
        storage::v1::SyncHeader,
        v1::{
            Actor, CompletionStatus, ExecutionStatus, Job, JobActionType, JobDetails, JobEvent, JobEventType,
            JobFilter, JobStatus, Reporter, SingleStep, StepDefinition, StepEntry, StepKind, TaskFilter,
            TaskStatus, Workflow, WorkflowReference,
        },
    },
    store::{
        self, Batch, JobKey, LogRecord, MemoryStore, Partition, Scan, Sequence, SledOptions, SledStore,
        Store, StoreId,
    },
};

pub(super) const ORG: &str = "acme";
pub(super) const FIRST: Partition = Partition(0);

/// Far longer than anything here takes: what is not there by then never comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends a wait that would never end.
#[track_caller]
pub(super) fn soon<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        let outcome = tokio::time::timeout(PATIENCE, future).await;
        outcome.unwrap_or_else(|_| panic!("waited in vain at {place}"))
    }
}

/// A clock that a test sets, and ids that repeat and do not sort by when they were made.
#[derive(Default)]
pub(super) struct World {
    now: Mutex<Timestamp>,
    ids: AtomicU64,
}

impl World {
    pub(super) fn at(seconds: i64) -> Arc<Self> {
        let world = Self::default();
        world.set(seconds);
        Arc::new(world)
    }

    pub(super) fn set(&self, seconds: i64) {
        *self.now.lock().unwrap() = Timestamp { seconds, nanos: 0 };
    }
}

impl Environment for World {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap()
    }

    fn new_uuid(&self, now: &Timestamp) -> Uuid {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let mut chance = Chance::new(id ^ now.seconds.cast_unsigned() << 32);
        Uuid::from_u64_pair(chance.next(), id)
    }
}

pub(super) async fn start(store: &Arc<impl Store>, world: &Arc<World>, options: Options) -> Engine {
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    Engine::start(store, Arc::clone(world) as _, options).await.unwrap()
}

/// An engine over an empty store in memory.
pub(super) async fn engine(options: Options) -> Engine {
    start(&Arc::new(MemoryStore::new()), &World::at(1_000), options).await
}

/// An engine over a store on disk.
pub(super) async fn durable_engine(directory: &tempfile::TempDir, options: Options) -> Engine {
    let store = SledStore::open(directory.path(), &SledOptions::default()).unwrap();
    start(&Arc::new(store), &World::at(1_000), options).await
}

pub(super) fn origin() -> Origin {
    let actor = Actor { id: "tester".to_owned(), ..Actor::default() };
    Origin { org: ORG.to_owned(), actor, request: None, validate_only: false }
}

/// An origin with a request id. The same `body` stands for the same request.
pub(super) fn request(id: &str, body: u8) -> Origin {
    let stamp = RequestStamp { id: id.to_owned(), body: [body; 16] };
    Origin { request: Some(stamp), ..origin() }
}

pub(super) fn create(job_id: &str, team: &str) -> CreateJob {
    let job = Job { team: Some(team.to_owned()), ..Job::default() };
    CreateJob { job_id: Some(job_id.to_owned()), job }
}

pub(super) fn move_to(job_id: &str, team: &str) -> UpdateJob {
    let job = Job { team: Some(team.to_owned()), ..Job::default() };
    UpdateJob { job_id: job_id.to_owned(), fields: vec![JobField::Team], job, etag: None }
}

pub(super) fn retitle(job_id: &str, title: &str) -> UpdateJob {
    let job = Job { title: Some(title.to_owned()), ..Job::default() };
    UpdateJob { job_id: job_id.to_owned(), fields: vec![JobField::Title], job, etag: None }
}

pub(super) fn delete(job_id: &str) -> DeleteJob {
    DeleteJob { job_id: job_id.to_owned(), etag: None }
}

/// What a device tells, beside the job's id and status.
#[derive(Clone, Debug, Default)]
pub(super) struct Device {
    /// The device's clock.
    pub(super) updated: i64,
    pub(super) team: Option<String>,
    /// (`unique_step_id`, `step_id`, undone).
    pub(super) reports: Vec<(String, String, bool)>,
}

pub(super) fn sync(client_job_id: &str, status: JobStatus, device: Device) -> Sync {
    let updated = Some(Timestamp { seconds: device.updated, nanos: 0 });
    let header = SyncHeader {
        metadata: Some(crate::proto::v1::SyncMetadata {
            client_job_id: Some(client_job_id.to_owned()),
            workflow_id: Some("workflow".to_owned()),
            updated,
            ..Default::default()
        }),
        team: device.team,
        ..SyncHeader::default()
    };
    let told = |(unique_step_id, step_id, undone): (String, String, bool)| Told {
        entry: StepEntry {
            single_step: Some(SingleStep {
                unique_step_id: Some(unique_step_id),
                step_id: Some(step_id),
                updated,
                ..SingleStep::default()
            }),
            report_step: None,
        },
        undone,
        path: String::new(),
    };
    Sync::new(header, status, device.reports.into_iter().map(told).collect())
}

/// A workflow whose one step is a task's to do, and can be begun again and again.
pub(super) fn automatic() -> PublishWorkflow {
    let step = StepDefinition {
        step_id: "auto".to_owned(),
        kind: StepKind::Automatic.into(),
        ..StepDefinition::default()
    };
    let workflow = Workflow {
        workflow_id: "automatic".to_owned(),
        start_step_ids: vec!["auto".to_owned()],
        steps: vec![step],
        ..Workflow::default()
    };
    PublishWorkflow { workflow, newest_version_id: None }
}

/// Makes a job of the workflow [`automatic`]. Refused where that is not published.
pub(super) fn create_automatic(job_id: &str) -> CreateJob {
    let workflow_id = "automatic".to_owned();
    let workflow = Some(WorkflowReference { workflow_id, ..WorkflowReference::default() });
    CreateJob { job_id: Some(job_id.to_owned()), job: Job { workflow, ..Job::default() } }
}

/// Runs what is current.
fn run(job_id: &str) -> PerformJobAction {
    let action = JobActionType::Run;
    PerformJobAction { job_id: job_id.to_owned(), action, ..PerformJobAction::default() }
}

/// A random report of a workflow execution: few distinct places and times, so that reports meet.
pub(super) fn report(chance: &mut Chance) -> (Place, Report) {
    // Mostly the first: what is of an older attempt than the newest is refused.
    let attempt_id = i64::from(chance.one_in(6)) + i64::from(chance.one_in(12));
    let place = Place {
        workflow_instance_id: format!("instance-{}", chance.below(2)),
        attempt_id,
        dispatch_id: format!("dispatch-{attempt_id}"),
    };
    let closes = chance.one_in(2);
    let from = i64::from(closes) * 10;
    let text = |text: &str| Some(text.to_owned());
    let report = Report {
        status: if closes { ExecutionStatus::Closed } else { ExecutionStatus::Started },
        time: Timestamp { seconds: from + chance.below(10), nanos: 0 },
        data: Document::default(),
        meta: Document::default(),
        updated_by: Reporter { id: text("executor"), name: text(""), app_id: text("app") },
        event_meta: None,
    };
    (place, report)
}

/// A random report of a task that an executor names, or of one that is there.
async fn report_task(engine: &Engine, chance: &mut Chance, job_id: &str) -> ReportTask {
    let (place, report) = report(chance);
    let known = if chance.one_in(4) {
        let filter = TaskFilter { job_id: job_id.to_owned(), ..TaskFilter::default() };
        let page = soon(engine.tasks(ORG, &filter, ListOrder::OldestFirst, None, 50)).await.unwrap();
        page.tasks
    } else {
        Vec::new()
    };
    let name = chance.below(6);
    let task_id = if known.is_empty() { format!("task-{name}") } else { chance.pick(&known).id.clone() };
    let completion_status = match report.status {
        ExecutionStatus::Closed => CompletionStatus::Success,
        ExecutionStatus::Started | ExecutionStatus::Unspecified => CompletionStatus::Unspecified,
    };
    ReportTask {
        job_id: job_id.to_owned(),
        derived_id: engine.derived_task_id(ORG, job_id, &place, &task_id),
        place,
        sequence_id: name * 2,
        state_name: format!("STATE-{name}"),
        task_id,
        report,
        completion_status,
    }
}

pub(super) fn report_workflow(chance: &mut Chance, job_id: &str) -> ReportWorkflow {
    let (place, report) = report(chance);
    let close_job = chance.one_in(2);
    ReportWorkflow { job_id: job_id.to_owned(), place, report, code: "done".to_owned(), close_job }
}

/// Teams that jobs move between, so that they enter and leave what is watched.
pub(super) const TEAMS: [&str; 3] = ["red", "green", "blue"];

/// Does one random thing to one of `jobs` jobs. What the state forbids is refused, which is as good.
pub(super) async fn act(engine: &Engine, chance: &mut Chance, jobs: usize) {
    async fn done<C: Command + std::marker::Sync>(engine: &Engine, command: C) {
        match soon(engine.execute(origin(), command)).await {
            Ok(_) | Err(Error::Rejected(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }

    let number = chance.below(jobs);
    let team = *chance.pick(&TEAMS);
    // The ids of half of the jobs are their creator's, those of the others ours.
    let (client_id, job_id) = if number.is_multiple_of(2) {
        (format!("chosen-{number}"), Some(format!("chosen-{number}")))
    } else {
        let client_id = format!("client-{number}");
        let found = soon(engine.job(ORG, Target::Client(&client_id), &Views::default())).await.unwrap();
        (client_id, found.map(|parts| parts.job.job_id))
    };
    let reports = (0..chance.below(3)).map(|_| {
        let unique = format!("report-{}", chance.below(12));
        (unique, format!("step-{}", chance.below(4)), chance.one_in(4))
    });
    let reports = reports.collect();
    match (chance.below(20), job_id) {
        (0, Some(job_id)) if chance.one_in(3) => done(engine, delete(&job_id)).await,
        (1..=4, Some(job_id)) => done(engine, move_to(&job_id, team)).await,
        (5, Some(job_id)) => done(engine, retitle(&job_id, &chance.next().to_string())).await,
        (6, Some(job_id)) => done(engine, AbortJob { job_id, reason: None, etag: None }).await,
        (7, Some(job_id)) => done(engine, CloseJob { job_id, etag: None }).await,
        (8, Some(job_id)) if number == 0 => done(engine, create_automatic(&job_id)).await,
        (8, Some(job_id)) if number.is_multiple_of(2) => done(engine, create(&job_id, team)).await,
        (12..=16, Some(job_id)) => done(engine, report_task(engine, chance, &job_id).await).await,
        (17 | 18, Some(job_id)) => done(engine, report_workflow(chance, &job_id)).await,
        (19, Some(job_id)) if chance.one_in(2) => done(engine, run(&job_id)).await,
        (19, Some(job_id)) => {
            let deadline = chance.one_in(2).then_some(Timestamp { seconds: 2_000, nanos: 0 });
            let task = TaskStatus { unique_name: Some("made".to_owned()), deadline, ..TaskStatus::default() };
            done(engine, CreateTask { job_id, task }).await;
        }
        (kind, _) => {
            let status = if kind == 9 { JobStatus::Completed } else { JobStatus::Active };
            let updated = chance.below(1_000);
            let device = Device { updated, team: Some(team.to_owned()), reports };
            done(engine, sync(&client_id, status, device)).await;
        }
    }
}

/// A filter that some jobs enter and leave.
pub(super) fn random_filter(chance: &mut Chance) -> JobFilter {
    match chance.below(4) {
        0 => JobFilter::default(),
        1 => JobFilter { closed: Some(false), ..JobFilter::default() },
        2 => JobFilter { teams: vec![(*chance.pick(&TEAMS)).to_owned()], ..JobFilter::default() },
        _ => JobFilter {
            teams: TEAMS[..2].iter().map(|team| (*team).to_owned()).collect(),
            statuses: vec![JobStatus::Active.into(), JobStatus::NotStarted.into()],
            ..JobFilter::default()
        },
    }
}

pub(super) fn scope(wanted: &JobFilter) -> WatchScope {
    WatchScope {
        org: ORG.to_owned(),
        filter: Filter::new(wanted.clone(), Vec::new(), None),
        ..WatchScope::default()
    }
}

pub(super) fn watch_jobs(engine: &Engine, wanted: &JobFilter, start: Start) -> Watch {
    watch_jobs_from(engine, wanted, start).unwrap()
}

pub(super) fn watch_jobs_from(
    engine: &Engine,
    wanted: &JobFilter,
    start: Start,
) -> Result<Watch, WatchError> {
    engine.watch(scope(wanted), start)
}

pub(super) fn of_job(job_id: &str) -> JobFilter {
    JobFilter { job_ids: vec![job_id.to_owned()], ..JobFilter::default() }
}

/// The events that a watch has now.
pub(super) async fn events_now(watch: &mut Watch) -> Vec<(JobEvent, Position)> {
    let mut events = Vec::new();
    while let Some(delivery) = soon(watch.next()).await.unwrap() {
        let Delivery::Events(delivered) = delivery else { continue };
        for command in delivered {
            let position = command.position;
            events.extend(
                command.events.into_iter().map(|event| (Arc::unwrap_or_clone(event.event), position.clone())),
            );
        }
    }
    events
}

/// Every event of the log that is kept, each with the place after its command.
pub(super) async fn whole_log(store: &impl Store) -> Vec<(JobEvent, Sequence)> {
    let mut after = Sequence(store.oldest(FIRST).0 - 1);
    let mut events = Vec::new();
    loop {
        let records = store.log(FIRST, after, 1 << 20).await.unwrap();
        let Some(last) = records.last() else { return events };
        after = last.sequence;
        for record in records {
            let logged = crate::engine::Logged::decode(&record).unwrap();
            events.extend(
                logged.events.into_iter().map(|event| (Arc::unwrap_or_clone(event.event), record.sequence)),
            );
        }
    }
}

/// The jobs that match, as lists have them.
pub(super) async fn listed(engine: &Engine, wanted: &JobFilter) -> BTreeMap<String, Job> {
    let filter = Filter::new(wanted.clone(), Vec::new(), None);
    let page = engine.list(ORG, &filter, ListOrder::OldestFirst, None, usize::MAX).await.unwrap();
    assert_eq!(page.next, None);
    decoded(&page).into_iter().map(|job| (job.job_id.clone(), job)).collect()
}

/// The jobs on a page.
pub(super) fn decoded(page: &ListPage) -> Vec<Job> {
    page.jobs.iter().map(|job| Job::decode(job.clone()).unwrap()).collect()
}

/// The jobs that match, as a watcher knows them from what it was sent. Checks what a watch promises on the way.
#[derive(Clone)]
pub(super) struct Picture {
    filter: Arc<Filter>,
    pub(super) jobs: BTreeMap<String, Job>,
    /// The greatest revision heard of each job, gone or not.
    revisions: HashMap<String, i64>,
    /// This stream began with a token: what came after the token may have been heard before.
    is_resumed: bool,
    /// What this stream said.
    heard_here: HashMap<String, i64>,
    is_complete: bool,
}

impl Picture {
    pub(super) fn new(wanted: &JobFilter) -> Self {
        Self {
            filter: Arc::new(Filter::new(wanted.clone(), Vec::new(), None)),
            jobs: BTreeMap::new(),
            revisions: HashMap::new(),
            is_resumed: false,
            heard_here: HashMap::new(),
            is_complete: false,
        }
    }

    /// The same knowledge, and another stream.
    pub(super) fn resumed(&self) -> Self {
        Self { is_resumed: true, heard_here: HashMap::new(), ..self.clone() }
    }

    pub(super) fn snapshot(&mut self, bytes: &Bytes) {
        let job = JobDetails::decode(bytes.clone()).unwrap().job.unwrap();
        let job_id = job.job_id.clone();
        assert!(self.filter.matches_job(&job), "{job_id} is not wanted");
        let again = self.heard_here.insert(job_id.clone(), job.revision);
        assert!(again.is_none_or(|before| before < job.revision), "{job_id} came twice");
        self.revisions.insert(job_id.clone(), job.revision);
        self.jobs.insert(job_id, job);
    }

    pub(super) fn complete(&mut self) {
        assert!(!self.is_complete, "a snapshot is complete once");
        self.is_complete = true;
    }

    pub(super) fn event(&mut self, event: &JobEvent) {
        assert!(self.filter.matches_event(event), "{} {} is not wanted", event.job_id, event.revision);
        let heard = self.heard_here.insert(event.job_id.clone(), event.revision).unwrap_or_default();
        assert!(heard < event.revision, "{}: {} after {heard}", event.job_id, event.revision);
        let known = self.revisions.get(&event.job_id).copied().unwrap_or_default();
        if event.revision <= known {
            assert!(self.is_resumed, "{} {} came twice", event.job_id, event.revision);
            return;
        }
        // While a job is wanted all its events are.
        if self.jobs.contains_key(&event.job_id) {
            assert_eq!(event.revision, known + 1, "{} has a gap", event.job_id);
        }
        self.revisions.insert(event.job_id.clone(), event.revision);
        // A job that left, or was deleted, while the snapshot came to it: the rest of its way is told, and no more.
        if event.job.is_none() && !self.jobs.contains_key(&event.job_id) {
            return;
        }
        let job = self.jobs.remove(&event.job_id).unwrap_or_default();
        let mut state = JobState { job, ..JobState::default() };
        state.job.revision = event.revision - 1;
        evolve(&mut state, event);
        assert_eq!(Some(summary(&state.job)), event.summary, "{} at {}", event.job_id, event.revision);
        if event.r#type() != JobEventType::JobDeleted && self.filter.matches_job(&state.job) {
            self.jobs.insert(event.job_id.clone(), state.job);
        }
    }

    /// Takes all that a watch has now. `told` sees the picture at every place that a stream can go on from.
    pub(super) async fn take(&mut self, watch: &mut Watch, mut told: impl FnMut(&Self, &Position)) {
        while let Some(delivery) = soon(watch.next()).await.unwrap() {
            match delivery {
                Delivery::Snapshot(jobs) => {
                    for job in &jobs {
                        self.snapshot(job);
                    }
                    told(self, watch.position());
                }
                Delivery::SnapshotComplete => {
                    self.complete();
                    told(self, watch.position());
                }
                Delivery::Events(delivered) => {
                    for command in delivered {
                        command.events.iter().for_each(|event| self.event(&event.event));
                        told(self, &command.position);
                    }
                }
            }
        }
    }
}

/// A store that shows a batch to reads before it is durable, as sled does, and on which a test decides when and whether
/// it becomes durable.
pub(super) struct Valve {
    inner: MemoryStore,
    position: watch::Sender<ValvePosition>,
    under_way: watch::Sender<UnderWay>,
    /// How many commands each batch had.
    pub(super) batches: Mutex<Vec<usize>>,
    /// How often a record was asked for.
    reads: watch::Sender<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ValvePosition {
    Open,
    Shut,
    Broken,
}

#[derive(Default)]
struct UnderWay {
    is_any: bool,
    writes: BTreeMap<Bytes, Option<Bytes>>,
    failure: Option<store::Error>,
}

impl Valve {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: MemoryStore::new(),
            position: watch::Sender::new(ValvePosition::Open),
            under_way: watch::Sender::default(),
            batches: Mutex::default(),
            reads: watch::Sender::default(),
        })
    }

    pub(super) fn turn(&self, position: ValvePosition) {
        self.position.send_replace(position);
    }

    /// Returns when a batch waits for the valve.
    pub(super) async fn reached(&self) {
        soon(self.under_way.subscribe().wait_for(|under_way| under_way.is_any)).await.unwrap();
    }

    /// Returns when somebody has begun to decide.
    pub(super) async fn read(&self) {
        soon(self.reads.subscribe().changed()).await.unwrap();
    }
}

#[async_trait]
impl Store for Valve {
    fn id(&self) -> StoreId {
        self.inner.id()
    }

    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    async fn get(&self, partition: Partition, key: &[u8]) -> store::Result<Option<Bytes>> {
        self.reads.send_modify(|reads| *reads += 1);
        let shown = self.under_way.borrow().writes.get(key).cloned();
        match shown {
            Some(value) => Ok(value),
            None => self.inner.get(partition, key).await,
        }
    }

    async fn scan(&self, partition: Partition, scan: Scan) -> store::Result<Vec<(Bytes, Bytes)>> {
        let all = Scan { limit: usize::MAX, ..scan.clone() };
        let mut found: BTreeMap<_, _> = self.inner.scan(partition, all).await?.into_iter().collect();
        for (key, value) in &self.under_way.borrow().writes {
            if key[..] < scan.start[..] || key[..] >= scan.end[..] {
                continue;
            }
            match value {
                Some(value) => found.insert(key.clone(), value.clone()),
                None => found.remove(key),
            };
        }
        Ok(if scan.reverse {
            found.into_iter().rev().take(scan.limit).collect()
        } else {
            found.into_iter().take(scan.limit).collect()
        })
    }

    async fn commit(&self, partition: Partition, batch: Batch) -> store::Result<()> {
        #[derive(Debug, thiserror::Error)]
        #[error("broken by the test")]
        struct Broken;

        if let Some(failure) = &self.under_way.borrow().failure {
            return Err(failure.clone());
        }
        self.batches.lock().unwrap().push(batch.entries.len());
        let writes = batch.writes.iter().cloned().collect();
        self.under_way.send_replace(UnderWay { is_any: true, writes, failure: None });
        let position =
            *self.position.subscribe().wait_for(|position| *position != ValvePosition::Shut).await.unwrap();
        if position == ValvePosition::Broken {
            let failure = store::Error::Failed(Arc::new(Broken));
            self.under_way.send_modify(|under_way| under_way.failure = Some(failure.clone()));
            return Err(failure);
        }
        self.inner.commit(partition, batch).await?;
        // The head has moved: who waits for that may well be quicker than the writer.
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.under_way.send_replace(UnderWay::default());
        Ok(())
    }

    async fn settle(&self, _partition: Partition) -> store::Result<()> {
        let mut under_way = self.under_way.subscribe();
        let settled = under_way.wait_for(|under_way| !under_way.is_any || under_way.failure.is_some()).await;
        settled.unwrap().failure.clone().map_or(Ok(()), Err)
    }

    fn head(&self, partition: Partition) -> watch::Receiver<Sequence> {
        self.inner.head(partition)
    }

    fn oldest(&self, partition: Partition) -> Sequence {
        self.inner.oldest(partition)
    }

    async fn log(
        &self,
        partition: Partition,
        after: Sequence,
        bytes_max: usize,
    ) -> store::Result<Vec<LogRecord>> {
        self.inner.log(partition, after, bytes_max).await
    }

    async fn history(
        &self,
        partition: Partition,
        job: &JobKey,
        after: Sequence,
        bytes_max: usize,
    ) -> store::Result<Vec<LogRecord>> {
        self.inner.history(partition, job, after, bytes_max).await
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
