//! `kill -9` under load: what was acknowledged is there, revisions are dense, and a watcher that resumes misses nothing.
//!
//! `HOLDPOINT_KILL_ROUNDS=200 cargo test --test faults kill` does it for longer, `HOLDPOINT_KILL_SEED` otherwise.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
};

use holdpoint::proto::v1::{
    BasicSyncRequest, BasicSyncResponse, CreateJobRequest, CreateJobResponse, GetJobRequest, Job, JobEvent,
    JobFilter, JobView, ListJobEventsRequest, ListJobsRequest, UpdateJobRequest, UpdateJobResponse,
    WatchJobsRequest, WatchStart, watch_message::Kind,
};
use tokio::{sync::watch, task::JoinSet};
use tonic::{Code, Status};

use super::kit::{Chance, Client, Server, Watch, key, soon, sync};

const ROUNDS: u64 = 10;
const CLIENTS: usize = 8;
const SYNCED_JOBS: usize = 24;
const REPLAYS_PER_ROUND: usize = 30;
const TOKENS_REMEMBERED: usize = 20;

/// A change that a client asks for.
#[derive(Clone, Debug)]
enum Change {
    Sync(Box<BasicSyncRequest>),
    Create(Box<CreateJobRequest>),
    Update(Box<UpdateJobRequest>),
}

#[derive(Clone, Debug, PartialEq)]
enum Reply {
    Sync(BasicSyncResponse),
    Create(Box<CreateJobResponse>),
    Update(Box<UpdateJobResponse>),
}

impl Change {
    async fn ask(&self, client: &mut Client) -> Result<Reply, Status> {
        match self.clone() {
            Self::Sync(request) => {
                soon(client.syncs.basic_sync(*request)).await.map(|reply| Reply::Sync(reply.into_inner()))
            }
            Self::Create(request) => {
                let reply = soon(client.jobs.create_job(*request)).await?;
                Ok(Reply::Create(Box::new(reply.into_inner())))
            }
            Self::Update(request) => {
                let reply = soon(client.jobs.update_job(*request)).await?;
                Ok(Reply::Update(Box::new(reply.into_inner())))
            }
        }
    }

    fn has_request_id(&self) -> bool {
        let id = match self {
            Self::Sync(request) => &request.request_id,
            Self::Create(request) => &request.request_id,
            Self::Update(request) => &request.request_id,
        };
        !id.is_empty()
    }

    fn report_ids(&self) -> impl Iterator<Item = String> {
        let steps = match self {
            Self::Sync(request) => request.completed_steps.clone(),
            Self::Create(_) | Self::Update(_) => Vec::new(),
        };
        steps.into_iter().map(|entry| entry.single_step.unwrap().unique_step_id.unwrap())
    }
}

impl Reply {
    fn job(&self) -> (&str, i64) {
        fn of(job: Option<&Job>) -> (&str, i64) {
            let job = job.unwrap();
            (&job.job_id, job.revision)
        }
        match self {
            Self::Sync(reply) => (&reply.job_id, reply.revision),
            Self::Create(reply) => of(reply.job.as_ref()),
            Self::Update(reply) => of(reply.job.as_ref()),
        }
    }
}

/// What the clients were told, over all rounds.
#[derive(Default)]
struct Ledger {
    /// By job: the greatest revision acknowledged, and every report.
    acknowledged: BTreeMap<String, (i64, BTreeSet<String>)>,
    /// Changes with a request id, and what they were answered.
    answered: Vec<(Change, Reply)>,
    /// Changes with a request id that the kill left in doubt.
    in_doubt: Vec<Change>,
    created: Vec<String>,
    count: usize,
}

impl Ledger {
    fn note(&mut self, change: &Change, reply: &Reply) {
        let (job_id, revision) = reply.job();
        let (standing, reports) = self.acknowledged.entry(job_id.to_owned()).or_default();
        *standing = (*standing).max(revision);
        reports.extend(change.report_ids());
        if matches!(change, Change::Create(_)) && !self.created.iter().any(|created| created == job_id) {
            self.created.push(job_id.to_owned());
        }
        if change.has_request_id() {
            self.answered.push((change.clone(), reply.clone()));
        }
        self.count += 1;
    }
}

/// The next change of a client.
fn change(chance: &mut Chance, ledger: &Ledger, name: &str) -> Change {
    let request_id = if chance.one_in(2) { format!("request-{name}") } else { String::new() };
    match (chance.below(10), ledger.created.is_empty()) {
        (0, _) => Change::Create(Box::new(CreateJobRequest {
            job: Some(Job { title: Some(name.to_owned()), ..Job::default() }),
            request_id: format!("request-{name}"),
            ..CreateJobRequest::default()
        })),
        (1, false) => Change::Update(Box::new(UpdateJobRequest {
            job_id: ledger.created[chance.below(ledger.created.len())].clone(),
            job: Some(Job { title: Some(name.to_owned()), ..Job::default() }),
            request_id,
            ..UpdateJobRequest::default()
        })),
        _ => {
            let reports: Vec<_> = (0..chance.below(4)).map(|n| format!("{name}-{n}")).collect();
            let job = format!("synced-{}", chance.below(SYNCED_JOBS));
            // Not in order, so that some of the headers lose.
            let updated = i64::try_from(1 + chance.below(1_000_000)).unwrap();
            // One in some hundred is a commit that the store takes in several steps.
            let note_bytes = if chance.one_in(200) { 4_000 } else { 20 };
            let reports = if note_bytes > 20 { many(name) } else { reports };
            let team = Some(["red", "green"][chance.below(2)].to_owned());
            let request = sync(&job, updated, &reports, note_bytes);
            Change::Sync(Box::new(BasicSyncRequest { team, request_id, ..request }))
        }
    }
}

fn many(name: &str) -> Vec<String> {
    (0..60).map(|n| format!("{name}-{n}")).collect()
}

/// What a watcher that resumes knows.
struct Follower {
    request: WatchJobsRequest,
    /// Those of the last messages, the newest last.
    tokens: Vec<String>,
    /// It does not always remember the last.
    is_forgetful: bool,
    /// Each event heard, once.
    heard: BTreeMap<(String, i64), JobEvent>,
    /// How far it knows each job, by a snapshot or by events without a gap.
    known: HashMap<String, i64>,
    /// How many came again after a resume.
    again: usize,
    messages: u64,
}

impl Follower {
    fn new(filter: Option<JobFilter>, start: WatchStart, is_forgetful: bool) -> Arc<Mutex<Self>> {
        let request = WatchJobsRequest { filter, start: start.into(), ..WatchJobsRequest::default() };
        let (tokens, heard, known) = (Vec::new(), BTreeMap::new(), HashMap::new());
        Arc::new(Mutex::new(Self { request, tokens, is_forgetful, heard, known, again: 0, messages: 0 }))
    }

    fn request(&self, chance: &mut Chance) -> WatchJobsRequest {
        let forgotten = if self.is_forgetful { chance.below(self.tokens.len().max(1)) } else { 0 };
        match self.tokens.iter().rev().nth(forgotten) {
            None => self.request.clone(),
            Some(token) => WatchJobsRequest {
                start: WatchStart::Unspecified.into(),
                resume_token: token.clone(),
                ..self.request.clone()
            },
        }
    }

    fn note_token(&mut self, token: String) {
        if self.tokens.len() == TOKENS_REMEMBERED {
            self.tokens.remove(0);
        }
        self.tokens.push(token);
    }

    /// `stream` holds what this stream has said of each job.
    fn take(&mut self, token: String, kind: &Kind, stream: &mut HashMap<String, i64>) {
        if let Kind::Batch(batch) = kind {
            for details in batch.decode_snapshots().unwrap() {
                let job = details.job.unwrap();
                let before = stream.insert(job.job_id.clone(), job.revision);
                assert!(before.is_none_or(|before| before < job.revision), "{} came twice", job.job_id);
                self.known.insert(job.job_id, job.revision);
            }
            for event in batch.decode_events().unwrap() {
                let before = stream.insert(event.job_id.clone(), event.revision).unwrap_or_default();
                assert!(before < event.revision, "{:?} after {before}", key(&event));
                let known = self.known.entry(event.job_id.clone()).or_default();
                if event.revision > *known {
                    assert!(
                        self.request.filter.is_some() || event.revision == *known + 1,
                        "a gap: {:?} after {known}",
                        key(&event)
                    );
                    *known = event.revision;
                }
                let again = self.heard.insert(key(&event), event.clone());
                self.again += usize::from(again.is_some());
                assert!(again.is_none_or(|again| again == event), "{:?} came otherwise", key(&event));
            }
        }
        self.note_token(token);
        self.messages += 1;
    }
}

/// Follows until the server is gone.
async fn follow(mut watch: Watch, follower: Arc<Mutex<Follower>>, progress: watch::Sender<u64>) {
    let mut stream = HashMap::new();
    while let Some(Ok((token, kind))) = watch.next().await {
        let mut follower = follower.lock().unwrap();
        follower.take(token, &kind, &mut stream);
        progress.send_replace(follower.messages);
    }
}

/// Every job, and all its events, as the server has them now.
async fn truth(client: &mut Client) -> BTreeMap<String, (Job, Vec<JobEvent>)> {
    let mut jobs = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let request = ListJobsRequest { page_size: 1000, page_token, ..ListJobsRequest::default() };
        let page = soon(client.jobs.list_jobs(request)).await.unwrap().into_inner();
        for job in page.jobs {
            let events = history(client, &job.job_id).await;
            jobs.insert(job.job_id.clone(), (job, events));
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return jobs;
        }
    }
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

async fn reports(client: &mut Client, job_id: &str) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    let mut reports_page_token = String::new();
    loop {
        let request = GetJobRequest {
            job_id: job_id.to_owned(),
            views: vec![JobView::Reports.into()],
            reports_page_token,
            ..GetJobRequest::default()
        };
        let page = soon(client.jobs.get_job(request)).await.unwrap().into_inner();
        let reports = page.details.unwrap().reports;
        ids.extend(reports.iter().map(|report| report.unique_step_id().to_owned()));
        reports_page_token = page.next_reports_page_token;
        if reports_page_token.is_empty() {
            return ids;
        }
    }
}

/// Checks all that was ever acknowledged. Returns how many events there are.
async fn check(
    client: &mut Client,
    ledger: &Mutex<Ledger>,
    chance: &mut Chance,
) -> BTreeMap<String, Vec<JobEvent>> {
    // What the kill left in doubt is asked for again, and is then acknowledged.
    let in_doubt = std::mem::take(&mut ledger.lock().unwrap().in_doubt);
    for change in in_doubt {
        let reply = change.ask(client).await.unwrap();
        assert_eq!(change.ask(client).await.unwrap(), reply, "asked again: {change:?}");
        ledger.lock().unwrap().note(&change, &reply);
    }
    let replays: Vec<_> = {
        let ledger = ledger.lock().unwrap();
        let count = ledger.answered.len();
        // The newest, which the kill was closest to, and some of the others.
        let newest = ledger.answered[count.saturating_sub(REPLAYS_PER_ROUND)..].iter();
        let others = (0..REPLAYS_PER_ROUND.min(count)).map(|_| &ledger.answered[chance.below(count)]);
        newest.chain(others).cloned().collect()
    };
    for (change, reply) in replays {
        assert_eq!(change.ask(client).await.unwrap(), reply, "asked again: {change:?}");
    }

    let truth = truth(client).await;
    for (job_id, (job, events)) in &truth {
        let revisions: Vec<_> = events.iter().map(|event| event.revision).collect();
        let dense: Vec<_> = (1..=job.revision).collect();
        assert_eq!(revisions, dense, "{job_id}");
    }
    let acknowledged = ledger.lock().unwrap().acknowledged.clone();
    for (job_id, (revision, report_ids)) in acknowledged {
        let (job, _) = truth.get(&job_id).unwrap_or_else(|| panic!("{job_id} is gone"));
        assert!(job.revision >= revision, "{job_id} is at {} and was at {revision}", job.revision);
        if !report_ids.is_empty() {
            let there = reports(client, &job_id).await;
            let missing: Vec<_> = report_ids.difference(&there).collect();
            assert!(missing.is_empty(), "{job_id} lacks {missing:?}");
        }
    }
    truth.into_iter().map(|(job_id, (_, events))| (job_id, events)).collect()
}

/// Returns when the follower knows all there is, and checks that it knows nothing else.
async fn check_follower(
    follower: &Mutex<Follower>,
    progress: &mut watch::Receiver<u64>,
    truth: &BTreeMap<String, Vec<JobEvent>>,
) {
    let wanted = follower.lock().unwrap().request.filter.clone().unwrap_or_default();
    let is_wanted = |event: &&JobEvent| {
        let before = event.previous_summary.iter();
        wanted.teams.is_empty()
            || event.summary.iter().chain(before).any(|summary| wanted.teams.contains(&summary.team))
    };
    let has_all = |_: &u64| {
        let follower = follower.lock().unwrap();
        truth.iter().all(|(job_id, events)| {
            let last = events.iter().rev().find(is_wanted).map_or(0, |event| event.revision);
            last <= follower.known.get(job_id).copied().unwrap_or_default()
        })
    };
    soon(progress.wait_for(has_all)).await.unwrap();

    let follower = follower.lock().unwrap();
    let from_snapshot = follower.request.start() == WatchStart::Snapshot;
    let expected: BTreeMap<_, _> =
        truth.values().flatten().filter(is_wanted).map(|event| (key(event), event)).collect();
    for (key, event) in &follower.heard {
        assert_eq!(expected.get(key), Some(&event), "heard what did not happen");
    }
    if !from_snapshot {
        for key in expected.keys() {
            assert!(follower.heard.contains_key(key), "{key:?} was left out");
        }
        assert!(
            follower.again == 0 || follower.is_forgetful,
            "who resumes with the last token hears nothing again"
        );
    }
}

/// Works until the server is gone, and then says what is in doubt.
async fn work(mut client: Client, ledger: Arc<Mutex<Ledger>>, acknowledged: watch::Sender<usize>, seed: u64) {
    let mut dice = Chance::new(seed);
    for n in 0.. {
        let change = change(&mut dice, &ledger.lock().unwrap(), &format!("{seed:x}-{n}"));
        match change.ask(&mut client).await {
            Ok(reply) => {
                let mut ledger = ledger.lock().unwrap();
                ledger.note(&change, &reply);
                acknowledged.send_replace(ledger.count);
            }
            Err(status) => {
                let gone = [Code::Unavailable, Code::Unknown, Code::Internal, Code::Cancelled];
                assert!(gone.contains(&status.code()), "{status:?}");
                if change.has_request_id() {
                    ledger.lock().unwrap().in_doubt.push(change);
                }
                return;
            }
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills() {
    let rounds = setting("HOLDPOINT_KILL_ROUNDS", ROUNDS);
    let first_seed = setting("HOLDPOINT_KILL_SEED", 1);
    let directory = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let red = JobFilter { teams: vec!["red".to_owned()], ..JobFilter::default() };
    let mut followers = vec![
        Follower::new(None, WatchStart::Now, false),
        Follower::new(Some(red), WatchStart::Now, false),
        Follower::new(None, WatchStart::Snapshot, false),
        Follower::new(None, WatchStart::Now, true),
    ];
    let mut events = 0;
    for round in 0..=rounds {
        let seed = first_seed * 1_000_003 + round;
        // Shown where a check fails.
        println!("round {round}, HOLDPOINT_KILL_SEED={first_seed}");
        let mut chance = Chance::new(seed);
        if chance.one_in(3) {
            // A watcher that knows nothing takes a snapshot in the middle of all.
            followers[2] = Follower::new(None, WatchStart::Snapshot, false);
        }
        let mut server = Server::start(directory.path(), &["--set", "limits.tail_bytes=1048576"]).await;
        let mut tasks = JoinSet::new();
        let mut progress = Vec::new();
        for follower in &followers {
            let mut client = Client::connect(server.address).await;
            let request = follower.lock().unwrap().request(&mut chance);
            let watch = client.watch(request).await;
            // What comes after the first message is resumed from there, also when nothing else comes.
            follower.lock().unwrap().note_token(watch.token.clone());
            let (told, heard) = watch::channel(0);
            progress.push(heard);
            tasks.spawn(follow(watch, Arc::clone(follower), told));
        }
        let mut client = Client::connect(server.address).await;
        let truth = check(&mut client, &ledger, &mut chance).await;
        events = truth.values().map(Vec::len).sum();
        for (follower, progress) in followers.iter().zip(&mut progress) {
            check_follower(follower, progress, &truth).await;
        }
        if round == rounds {
            break;
        }

        let count = ledger.lock().unwrap().count;
        let (told, mut acknowledged) = watch::channel(count);
        for worker in 0..CLIENTS {
            let client = Client::connect(server.address).await;
            let seed = seed.wrapping_mul(100) + worker as u64;
            tasks.spawn(work(client, Arc::clone(&ledger), told.clone(), seed));
        }
        let until = count + 1 + chance.below(400);
        soon(acknowledged.wait_for(|count| *count >= until)).await.unwrap();
        server.kill();
        while let Some(ended) = soon(tasks.join_next()).await {
            ended.unwrap();
        }
    }
    let ledger = ledger.lock().unwrap();
    let again = followers[3].lock().unwrap().again;
    assert!(again > 0, "who resumes with an older token hears some again");
    println!(
        "{rounds} kills, {} acknowledged, {events} events, all checked after each kill; {again} came again to the one \
         that resumed with older tokens",
        ledger.count
    );
}
