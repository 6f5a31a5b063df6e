//! Clients that change jobs as fast as they are answered, what they were told, and whether all of it is there.
//!
//! A fault comes between [`Clients::work`] and the next [`Clients::meet`]: the server is killed, its power cut, its disk
//! full. Whatever it was, what was acknowledged before is there once, and the watchers go on.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use holdpoint::proto::v1::{
    Actor, GetJobRequest, GetTaskStatusRequest, Job, JobDetails, JobEvent, JobFilter, JobView,
    ListJobEventsRequest, ListJobsRequest, StepReport, StreamSyncRequest, WatchStart, actor,
    stream_sync_response,
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{
    chance::Chance,
    changes::{self, Change, Reply},
    followers::{self, Follower},
    kit::{Client, PATIENCE, soon},
};

const WORKERS: usize = 8;
const REPLAYS_PER_MEETING: usize = 30;
/// Answers that are remembered to be asked for again: fewer than the log keeps, which is trimmed in every meeting.
const ANSWERS_REMEMBERED: usize = 100;
/// The log is trimmed after some rounds, to more than the watchers are behind; the tail is short.
pub const SETTINGS: [&str; 8] = [
    "--set",
    "limits.log_events=1500",
    "--set",
    "limits.tail_bytes=1048576",
    "--set",
    "store.checkpoint_bytes=200000",
    "--set",
    "store.compaction_bytes_min=2097152",
];
/// How often a change is asked for again before it is given up, where clients do that.
const ATTEMPTS_MAX: usize = 100;
/// How often a job is read before it is believed to change all the time.
const READS_MAX: usize = 20;

/// What the clients were told, over all meetings.
#[derive(Default)]
pub struct Ledger {
    /// By job: the greatest revision acknowledged, and every report.
    acknowledged: BTreeMap<String, (i64, BTreeSet<String>)>,
    /// Changes with a request id, and what they were answered, the newest last.
    answered: Vec<(Change, Reply)>,
    /// Changes with a request id that the fault left in doubt.
    in_doubt: Vec<Change>,
    created: Vec<String>,
    deleted: BTreeSet<String>,
    /// The tasks that were reported, and their jobs.
    tasks: BTreeMap<String, String>,
    count: usize,
}

impl Ledger {
    fn note(&mut self, change: &Change, reply: &Reply) {
        if let Some((job_id, revision)) = reply.job(change) {
            let (standing, reports) = self.acknowledged.entry(job_id.clone()).or_default();
            *standing = (*standing).max(revision);
            reports.extend(change.report_ids());
            match reply {
                Reply::Create(_) if !self.created.contains(&job_id) && !self.deleted.contains(&job_id) => {
                    self.created.push(job_id);
                }
                Reply::Delete(_) => {
                    self.created.retain(|created| *created != job_id);
                    self.deleted.insert(job_id);
                }
                Reply::ReportTask(reply) => {
                    self.tasks.insert(reply.task.as_ref().unwrap().id.clone(), job_id);
                }
                _ => {}
            }
        }
        if !change.request_id().is_empty() {
            self.answered.push((change.clone(), reply.clone()));
            let surplus = self.answered.len().saturating_sub(ANSWERS_REMEMBERED);
            self.answered.drain(..surplus);
        }
        self.count += 1;
    }
}

/// What the server has at some time.
pub struct Truth {
    /// The events of each job that is there, each of which is checked to be whole.
    pub events: BTreeMap<String, Vec<JobEvent>>,
    /// The jobs whose deletion was acknowledged.
    pub deleted: BTreeSet<String>,
}

impl Truth {
    pub fn events_count(&self) -> usize {
        self.events.values().map(Vec::len).sum()
    }
}

/// All clients of a server, over faults and restarts.
pub struct Clients {
    ledger: Arc<Mutex<Ledger>>,
    followers: Vec<Arc<Mutex<Follower>>>,
    watching: JoinSet<()>,
    working: JoinSet<()>,
    /// Tells those that work to stop, where the server is not gone.
    stop: CancellationToken,
}

impl Clients {
    pub fn new() -> Self {
        let red = JobFilter { teams: vec!["red".to_owned()], ..JobFilter::default() };
        let followers = vec![
            Follower::new(None, WatchStart::Now, false),
            Follower::new(Some(red), WatchStart::Now, false),
            Follower::new(None, WatchStart::Snapshot, false),
            Follower::new(None, WatchStart::Now, true),
        ];
        let ledger = Arc::new(Mutex::new(Ledger::default()));
        let (watching, working) = (JoinSet::new(), JoinSet::new());
        Self { ledger, followers, watching, working, stop: CancellationToken::new() }
    }

    /// How many changes were acknowledged.
    pub fn count(&self) -> usize {
        self.ledger.lock().unwrap().count
    }

    /// How many events came again to the watcher that resumes with older tokens.
    pub fn heard_again(&self) -> usize {
        self.followers[3].lock().unwrap().again
    }

    /// Resumes all watches, and checks all that was ever acknowledged.
    pub async fn meet(&mut self, address: SocketAddr, chance: &mut Chance) -> Truth {
        self.watching.shutdown().await;
        if chance.one_in(3) {
            // A watcher that knows nothing takes a snapshot in the middle of all.
            self.followers[2] = Follower::new(None, WatchStart::Snapshot, false);
        }
        let mut progress = Vec::new();
        for follower in &self.followers {
            let mut client = Client::connect(address).await;
            let request = follower.lock().unwrap().request(chance);
            let watch = client.watch(request).await;
            // What comes after the first message is resumed from there, also when nothing else comes.
            follower.lock().unwrap().note_token(watch.token.clone());
            let (told, heard) = watch::channel(0);
            progress.push(heard);
            self.watching.spawn(followers::follow(watch, Arc::clone(follower), told));
        }
        let mut client = Client::connect(address).await;
        let truth = check(&mut client, &self.ledger, chance).await;
        for (follower, progress) in self.followers.iter().zip(&mut progress) {
            followers::check_follower(follower, progress, &truth).await;
        }
        truth
    }

    /// Has all clients work, until the server is gone or they are told to stop. What comes back is told how many changes
    /// were acknowledged.
    pub fn work(&mut self, address: SocketAddr, seed: u64) -> watch::Receiver<usize> {
        self.work_with(seed, Manner::UntilGone, || Client::hurried(address, PATIENCE))
    }

    /// The same with clients that wait so long for an answer, and then ask again.
    pub fn insist(&mut self, address: SocketAddr, seed: u64, timeout: Duration) -> watch::Receiver<usize> {
        self.work_with(seed, Manner::Insist, || Client::hurried(address, timeout))
    }

    fn work_with(
        &mut self,
        seed: u64,
        manner: Manner,
        client: impl Fn() -> Client,
    ) -> watch::Receiver<usize> {
        let (told, acknowledged) = watch::channel(self.count());
        for worker in 0..WORKERS {
            let worker = Worker {
                client: client(),
                ledger: Arc::clone(&self.ledger),
                told: told.clone(),
                stop: self.stop.clone(),
                manner,
                chance: Chance::new(seed.wrapping_mul(100) + worker as u64),
                name: format!("{seed:x}-{worker}"),
            };
            self.working.spawn(worker.run());
        }
        acknowledged
    }

    /// Has those that work stop. Those that watch go on.
    pub async fn stop_working(&mut self) {
        std::mem::take(&mut self.stop).cancel();
        ended(&mut self.working).await;
    }

    /// Returns once all have noticed that the server is gone.
    pub async fn leave(&mut self) {
        ended(&mut self.working).await;
        ended(&mut self.watching).await;
    }

    /// Asks for nothing again that was answered so far.
    pub fn forget_answers(&mut self) {
        self.ledger.lock().unwrap().answered.clear();
    }

    /// The greatest revision acknowledged, by job.
    pub fn acknowledged(&self) -> BTreeMap<String, i64> {
        let ledger = self.ledger.lock().unwrap();
        let there = ledger.acknowledged.iter().filter(|(job_id, _)| !ledger.deleted.contains(*job_id));
        there.map(|(job_id, (revision, _))| (job_id.clone(), *revision)).collect()
    }

    /// What of all that was acknowledged is not there.
    pub async fn missing(&self, address: SocketAddr) -> Vec<String> {
        let mut client = Client::connect(address).await;
        let jobs = read_all(&mut client).await;
        missing(&mut client, &self.ledger, &jobs).await
    }
}

async fn ended(tasks: &mut JoinSet<()>) {
    while let Some(ended) = soon(tasks.join_next()).await {
        ended.unwrap();
    }
}

/// What a client does about a call that was not answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// It takes the server to be gone.
    UntilGone,
    /// It asks again.
    Insist,
}

struct Worker {
    client: Client,
    ledger: Arc<Mutex<Ledger>>,
    told: watch::Sender<usize>,
    stop: CancellationToken,
    manner: Manner,
    chance: Chance,
    name: String,
}

impl Worker {
    async fn run(mut self) {
        for n in 0.. {
            let name = format!("{}-{n}", self.name);
            let goes_on = if self.chance.one_in(25) {
                let outbox = changes::outbox(&mut self.chance, &name);
                self.empty(outbox).await
            } else {
                let created = self.ledger.lock().unwrap().created.clone();
                let change = changes::any(&mut self.chance, &created, &name);
                self.ask(change).await
            };
            if !goes_on || self.stop.is_cancelled() {
                return;
            }
        }
    }

    fn note(&self, change: &Change, reply: &Reply) {
        let mut ledger = self.ledger.lock().unwrap();
        ledger.note(change, reply);
        self.told.send_replace(ledger.count);
    }

    /// Asks for a change, and says whether the server is still there.
    async fn ask(&mut self, change: Change) -> bool {
        let attempts = if self.manner == Manner::Insist { ATTEMPTS_MAX } else { 1 };
        for _ in 0..attempts {
            match change.ask(&mut self.client).await {
                Ok(reply) => {
                    self.note(&change, &reply);
                    return true;
                }
                Err(status) if change.may_be_refused(&status) => return true,
                Err(status) => assert_gone(&status),
            }
            if change.request_id().is_empty() {
                // Nobody will know what became of it.
                return self.manner == Manner::Insist;
            }
        }
        assert!(self.manner == Manner::UntilGone, "not answered in {attempts} attempts: {change:?}");
        self.ledger.lock().unwrap().in_doubt.push(change);
        false
    }

    /// Empties an outbox through a stream, and says whether the server is still there. What is not answered is not asked for
    /// again: it has no request id.
    async fn empty(&mut self, outbox: Vec<Change>) -> bool {
        let requests: Vec<_> = outbox.iter().enumerate().map(|(tag, change)| tagged(tag, change)).collect();
        let stream = soon(self.client.syncs.stream_sync(tokio_stream::iter(requests))).await;
        let mut stream = match stream {
            Ok(stream) => stream.into_inner(),
            Err(status) => {
                assert_gone(&status);
                return self.manner == Manner::Insist;
            }
        };
        for (tag, change) in outbox.iter().enumerate() {
            let message = match soon(stream.message()).await {
                Ok(message) => message.expect("each entry is answered before the stream ends"),
                Err(status) => {
                    assert_gone(&status);
                    return self.manner == Manner::Insist;
                }
            };
            assert_eq!(message.tag, tag.to_string(), "answers come in the order of the requests");
            match message.result.unwrap() {
                stream_sync_response::Result::Response(reply) => {
                    self.note(change, &Reply::Sync(Box::new(reply)));
                }
                stream_sync_response::Result::Error(status) => {
                    assert_gone(&Status::new(Code::from(status.code), status.message));
                    return self.manner == Manner::Insist;
                }
            }
        }
        true
    }
}

fn tagged(tag: usize, change: &Change) -> StreamSyncRequest {
    let Change::Sync(sync) = change else { panic!("an outbox is of syncs: {change:?}") };
    StreamSyncRequest { tag: tag.to_string(), sync: Some(sync.as_ref().clone()) }
}

/// What a client is told when the server goes, or does not answer in time.
fn assert_gone(status: &Status) {
    let gone = [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled, Code::DeadlineExceeded];
    assert!(gone.contains(&status.code()), "{status:?}");
}

/// Checks all that was ever acknowledged.
async fn check(client: &mut Client, ledger: &Mutex<Ledger>, chance: &mut Chance) -> Truth {
    settle_doubts(client, ledger).await;
    let replays = replays(&ledger.lock().unwrap(), chance);
    for (change, reply) in replays {
        assert_eq!(change.ask(client).await.unwrap(), reply, "asked again: {change:?}");
    }
    let jobs = read_all(client).await;
    for (details, events) in jobs.values() {
        check_records(details, events);
    }
    let missing = missing(client, ledger, &jobs).await;
    assert!(missing.is_empty(), "acknowledged, and gone: {missing:#?}");
    let deleted = check_lives(&ledger.lock().unwrap(), &jobs);
    Truth { events: jobs.into_iter().map(|(job_id, (_, events))| (job_id, events)).collect(), deleted }
}

/// Nobody made a job twice, and what was deleted is gone. Returns that.
fn check_lives(ledger: &Ledger, jobs: &Jobs) -> BTreeSet<String> {
    for (job_id, (details, _)) in jobs {
        assert!(!ledger.deleted.contains(job_id), "{job_id} was deleted, and is there");
        // Devices that were not answered do not know their jobs. All others know theirs, since nothing is in doubt now.
        let is_known = ledger.acknowledged.contains_key(job_id);
        assert!(is_known || !details.job.as_ref().unwrap().client_job_id.is_empty(), "nobody made {job_id}");
    }
    ledger.deleted.clone()
}

/// What the fault left in doubt is asked for again, and is then acknowledged. The workflow is published at the beginning.
async fn settle_doubts(client: &mut Client, ledger: &Mutex<Ledger>) {
    let in_doubt = {
        let mut ledger = ledger.lock().unwrap();
        let first = (ledger.count == 0).then(changes::publish);
        first.into_iter().chain(std::mem::take(&mut ledger.in_doubt)).collect::<Vec<_>>()
    };
    for change in in_doubt {
        match change.ask(client).await {
            Ok(reply) => {
                assert_eq!(change.ask(client).await.unwrap(), reply, "asked again: {change:?}");
                ledger.lock().unwrap().note(&change, &reply);
            }
            Err(status) => assert!(change.may_be_refused(&status), "{change:?}: {status:?}"),
        }
    }
}

/// The newest changes that were answered, which the fault was closest to, and some of the others.
fn replays(ledger: &Ledger, chance: &mut Chance) -> Vec<(Change, Reply)> {
    let count = ledger.answered.len();
    let newest = ledger.answered[count.saturating_sub(REPLAYS_PER_MEETING)..].iter();
    let others = (0..REPLAYS_PER_MEETING.min(count)).map(|_| &ledger.answered[chance.below(count)]);
    newest.chain(others).cloned().collect()
}

type Jobs = BTreeMap<String, (JobDetails, Vec<JobEvent>)>;

/// Every job, and all its events, as the server has them now.
async fn read_all(client: &mut Client) -> Jobs {
    let mut jobs = Jobs::new();
    let mut page_token = String::new();
    loop {
        let request = ListJobsRequest { page_size: 1000, page_token, ..ListJobsRequest::default() };
        let page = soon(client.jobs.list_jobs(request)).await.unwrap().into_inner();
        for job in page.decode_jobs().unwrap() {
            let found = read_job(client, &job).await;
            jobs.insert(job.job_id, found);
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return jobs;
        }
    }
}

/// A job and its events at one moment. The server may change it by itself meanwhile.
async fn read_job(client: &mut Client, job: &Job) -> (JobDetails, Vec<JobEvent>) {
    for _ in 0..READS_MAX {
        let details = details(client, &job.job_id).await;
        let events = history(client, &job.job_id).await;
        let revision = details.job.as_ref().unwrap().revision;
        let count = i64::try_from(events.len()).unwrap();
        assert!(count >= revision, "{}: {count} events at {revision}", job.job_id);
        if count == revision {
            return (details, events);
        }
    }
    panic!("{} changes all the time", job.job_id);
}

async fn details(client: &mut Client, job_id: &str) -> JobDetails {
    let views = [JobView::Steps, JobView::Holds, JobView::Tasks, JobView::Reports];
    let mut request = GetJobRequest {
        job_id: job_id.to_owned(),
        views: views.map(Into::into).into(),
        ..GetJobRequest::default()
    };
    let page = soon(client.jobs.get_job(request.clone())).await.unwrap().into_inner();
    let mut details = page.decode_details().unwrap();
    request.reports_page_token = page.next_reports_page_token;
    request.views = vec![JobView::Reports.into()];
    while !request.reports_page_token.is_empty() {
        let page = soon(client.jobs.get_job(request.clone())).await.unwrap().into_inner();
        details.reports.extend(page.decode_details().unwrap().reports);
        request.reports_page_token = page.next_reports_page_token;
    }
    details
}

async fn history(client: &mut Client, job_id: &str) -> Vec<JobEvent> {
    let mut events = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListJobEventsRequest {
            job_id: job_id.to_owned(),
            page_size: 1000,
            page_token,
            ..ListJobEventsRequest::default()
        };
        let page = soon(client.jobs.list_job_events(request)).await.unwrap().into_inner();
        events.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return events;
        }
    }
}

/// Checks that a server has what another, which has the truth, had at some time after this much was acknowledged. What was
/// done by itself since is its own.
pub async fn check_past(address: SocketAddr, truth: &Truth, acknowledged: &BTreeMap<String, i64>) {
    let jobs = read_all(&mut Client::connect(address).await).await;
    let mut behind = Vec::new();
    for (job_id, (details, events)) in &jobs {
        check_records(details, events);
        let Some(since) = truth.events.get(job_id) else {
            assert!(truth.deleted.contains(job_id), "{job_id} never was");
            continue;
        };
        let same = events.iter().zip(since).take_while(|(one, other)| one == other).count();
        let own = &events[same..];
        let is_by_itself = own.iter().all(|event| event.actor.as_ref().is_some_and(is_server));
        assert!(is_by_itself, "{job_id} is not a past of what it became: {own:?}");
        behind.push((job_id, same, since));
    }
    for (job_id, revision) in acknowledged {
        let there = behind.iter().find(|(there, ..)| *there == job_id).map_or(0, |(_, same, _)| *same);
        let is_there = i64::try_from(there).unwrap() >= *revision || truth.deleted.contains(job_id);
        assert!(is_there, "{job_id} is at {there}, and was at {revision} before");
    }
    check_one_moment(&behind);
}

fn is_server(actor: &Actor) -> bool {
    actor.kind() == actor::Kind::Server
}

/// What is there of each job was there at one time: nothing that is missing is older than what is there.
fn check_one_moment(jobs: &[(&String, usize, &Vec<JobEvent>)]) {
    let time = |event: &JobEvent| event.time.map(|time| (time.seconds, time.nanos));
    let newest_there = jobs.iter().filter_map(|(_, same, since)| since[..*same].last().and_then(time)).max();
    let oldest_missing = jobs.iter().filter_map(|(_, same, since)| since.get(*same).and_then(time)).min();
    if let (Some(there), Some(missing)) = (newest_there, oldest_missing) {
        assert!(there <= missing, "something of {missing:?} is missing, and something of {there:?} is there");
    }
}

/// The revisions are dense, and the records are what the events made of them.
fn check_records(details: &JobDetails, events: &[JobEvent]) {
    let job_id = &details.job.as_ref().unwrap().job_id;
    let revisions: Vec<_> = events.iter().map(|event| event.revision).collect();
    let dense: Vec<_> = (1..=details.job.as_ref().unwrap().revision).collect();
    assert_eq!(revisions, dense, "{job_id}");
    let last_report = |id: &str| {
        let mut reports = events.iter().rev().filter_map(|event| event.report.as_deref());
        reports.find(|report| report.unique_step_id() == id)
    };
    for report in &details.reports {
        assert_eq!(Some(report), last_report(report.unique_step_id()), "{job_id}");
    }
    for task in &details.tasks {
        let mut told = events.iter().rev().filter_map(|event| event.task.as_deref());
        assert_eq!(Some(task), told.find(|told| told.id == task.id), "{job_id}");
    }
    for hold in &details.holds {
        let mut told = events.iter().rev().filter_map(|event| event.hold.as_deref());
        assert_eq!(Some(hold), told.find(|told| told.hold_id == hold.hold_id), "{job_id}");
    }
}

/// What of all that was acknowledged is not there.
async fn missing(client: &mut Client, ledger: &Mutex<Ledger>, jobs: &Jobs) -> Vec<String> {
    let (acknowledged, tasks, deleted) = {
        let ledger = ledger.lock().unwrap();
        (ledger.acknowledged.clone(), ledger.tasks.clone(), ledger.deleted.clone())
    };
    let mut missing = Vec::new();
    for (job_id, (revision, report_ids)) in acknowledged {
        if deleted.contains(&job_id) {
            continue;
        }
        let Some((details, _)) = jobs.get(&job_id) else {
            missing.push(format!("{job_id} at {revision}"));
            continue;
        };
        let there = details.job.as_ref().unwrap().revision;
        if there < revision {
            missing.push(format!("{job_id} at {revision}: it is at {there}"));
        }
        let there: BTreeSet<_> = details.reports.iter().map(StepReport::unique_step_id).collect();
        let gone = report_ids.iter().filter(|id| !there.contains(id.as_str()));
        missing.extend(gone.map(|id| format!("{job_id}: the report {id}")));
    }
    for (id, job_id) in tasks {
        let request = GetTaskStatusRequest { id: id.clone() };
        if !deleted.contains(&job_id) && soon(client.tasks.get_task_status(request)).await.is_err() {
            missing.push(format!("{job_id}: the task {id}"));
        }
    }
    missing
}
