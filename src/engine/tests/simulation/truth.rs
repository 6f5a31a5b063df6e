//! What is true by the log alone: the jobs that its events make. Everything that the engine keeps beside the log, and
//! everything that it answers, is held against this.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use bytes::Bytes;
use prost_types::Timestamp;

use crate::{
    domain::{
        Counts, Dependency, DependencyState, Existing, Filter, JobState, compare_times, evolve, summary,
    },
    engine::Logged,
    proto::v1::{Hold, HoldReleaseCause, Job, JobEvent, JobEventType, JobFilter, JobStatus, actor},
    store::{Index, IndexPage, IndexPlace, JobKey, Partition, Sequence, TaskRun},
};

use super::{
    super::{
        kit::ORG,
        replay::{check_over, instances},
    },
    disk::{Archived, Disk},
};

pub(super) struct Truth {
    disk: Arc<Disk>,
    /// How many commands of each partition's archive have been looked at, and the place and time of the last.
    seen: Vec<Seen>,
    pub(super) jobs: BTreeMap<String, Known>,
    /// The commands that were answered under a request's key, in order.
    pub(super) by_request: BTreeMap<Bytes, Vec<Answered>>,
    /// The one command of each attempt that did something.
    pub(super) by_attempt: BTreeMap<String, (Partition, Sequence)>,
    /// Attempts that were refused.
    refused: BTreeSet<String>,
    /// How long, and how many, requests are remembered.
    request_window_seconds: i64,
    requests_max: usize,
}

#[derive(Clone, Copy, Default)]
struct Seen {
    commands: usize,
    sequence: Sequence,
    time: (i64, i32),
    /// How many of the commands were requests with an id.
    requests: usize,
}

/// A job, gone or not.
pub(super) struct Known {
    partition: Partition,
    pub(super) state: JobState,
    pub(super) is_deleted: bool,
    /// What it was at each revision.
    pub(super) heads: Vec<Job>,
}

/// A request that was answered.
#[derive(Clone)]
pub(super) struct Answered {
    sequence: Sequence,
    pub(super) reply: Bytes,
    seconds: i64,
    /// How many requests were answered before it.
    number: usize,
}

impl Truth {
    pub(super) fn new(disk: &Arc<Disk>, request_window_seconds: i64, requests_max: usize) -> Self {
        Self {
            disk: Arc::clone(disk),
            seen: disk.partitions().map(|_| Seen::default()).collect(),
            jobs: BTreeMap::new(),
            by_request: BTreeMap::new(),
            by_attempt: BTreeMap::new(),
            refused: BTreeSet::new(),
            request_window_seconds,
            requests_max,
        }
    }

    /// Takes in what has become durable since.
    pub(super) fn catch_up(&mut self) {
        let disk = Arc::clone(&self.disk);
        for partition in disk.partitions() {
            for command in disk.archive(partition, self.seen[usize::from(partition.0)].commands) {
                self.take(partition, &command);
            }
        }
    }

    /// An attempt was refused: nothing of it is there, and nothing of it may come.
    pub(super) fn refuse(&mut self, attempt: &str, why: &dyn fmt::Display) {
        self.catch_up();
        let done = self.by_attempt.get(attempt);
        assert_eq!(done, None, "{attempt} was refused, and did something: {why}");
        self.refused.insert(attempt.to_owned());
    }

    fn take(&mut self, partition: Partition, command: &Archived) {
        let Archived { logged, entry, oldest } = command;
        let time = entry.time.map(|time| (time.seconds, time.nanos)).unwrap();
        let seen = &mut self.seen[usize::from(partition.0)];
        assert_eq!(logged.before, seen.sequence, "the log has a gap");
        assert!(time >= seen.time, "time fell");
        *seen = Seen { commands: seen.commands + 1, sequence: logged.sequence, time, ..*seen };
        if let Some(request) = &entry.request {
            let number = seen.requests;
            seen.requests += 1;
            let answered =
                Answered { sequence: logged.sequence, reply: request.reply.clone(), seconds: time.0, number };
            self.answer(&request.key, answered, *oldest);
        }
        let attempts: BTreeSet<_> = logged.events.iter().filter_map(|event| attempt(&event.event)).collect();
        assert!(attempts.len() <= 1, "one command, one attempt: {attempts:?}");
        for attempt in attempts {
            assert!(!self.refused.contains(attempt), "{attempt} was refused, and did something");
            let before = self.by_attempt.insert(attempt.to_owned(), (partition, logged.sequence));
            assert_eq!(before, None, "{attempt} did something twice");
        }
        for event in &logged.events {
            self.evolve(partition, &event.event);
        }
        self.check_placed(logged);
        if logged.events.is_empty() && entry.sync.is_none() {
            return;
        }
        let known = self.jobs.get_mut(&logged.job.job_id).expect("an event made it");
        check_over(&known.state, logged);
        if let Some(sync) = &entry.sync {
            known.state.sync = Some(sync.clone());
        }
    }

    /// A request is answered once, unless it was forgotten: for its age, for its number, or with the log's old end.
    fn answer(&mut self, key: &Bytes, answered: Answered, oldest: Sequence) {
        let before = self.by_request.entry(key.clone()).or_default();
        if let Some(last) = before.last() {
            let is_forgotten = last.sequence < oldest
                || last.seconds < answered.seconds - self.request_window_seconds
                || answered.number - last.number > self.requests_max;
            let (first, second) = (last.sequence, answered.sequence);
            assert!(is_forgotten, "one request was done at {first} and again at {second}");
        }
        before.push(answered);
    }

    fn evolve(&mut self, partition: Partition, event: &JobEvent) {
        let before = self.jobs.get(&event.job_id).map(|known| summary(&known.state.job)).unwrap_or_default();
        if event.r#type() == JobEventType::HoldReleased {
            self.check_release(event);
        }
        let new = || Known { partition, state: JobState::default(), is_deleted: false, heads: Vec::new() };
        let known = self.jobs.entry(event.job_id.clone()).or_insert_with(new);
        assert!(!known.is_deleted, "{}: something came after the end", event.job_id);
        evolve(&mut known.state, event);
        known.is_deleted = event.r#type() == JobEventType::JobDeleted;
        let after = summary(&known.state.job);
        assert_eq!(event.summary.as_ref(), Some(&after), "what filters read after {event:?}");
        let is_changed = event.revision > 1 && before != after;
        assert_eq!(event.previous_summary.as_ref(), is_changed.then_some(&before), "and before {event:?}");
        known.heads.push(known.state.job.clone());
    }

    /// A hold is released once, and only when what it waits for is there.
    fn check_release(&self, event: &JobEvent) {
        let hold = event.hold.as_ref().unwrap();
        let placed = &self.jobs[&event.job_id].state.holds[&hold.hold_id];
        assert!(placed.is_standing(), "{} was released twice", hold.hold_id);
        let is_due = hold
            .scheduled_release_time
            .is_some_and(|time| compare_times(Some(&time), event.time.as_ref()).is_le());
        let is_right = match hold.release_cause() {
            HoldReleaseCause::Schedule => is_due,
            // Between two partitions no order is known.
            HoldReleaseCause::Dependency => {
                self.seen.len() > 1 || self.dependency_state(hold) == Some(DependencyState::Met)
            }
            HoldReleaseCause::Manual => event.actor.as_ref().unwrap().kind() != actor::Kind::Server,
            HoldReleaseCause::Unspecified => false,
        };
        assert!(is_right, "released without a cause: {hold:?}");
    }

    fn dependency_state(&self, hold: &Hold) -> Option<DependencyState> {
        let dependency = Dependency::of(hold)?;
        let existing = match self.jobs.get(&dependency.job_id) {
            None => Existing::Nothing,
            Some(known) if known.is_deleted => Existing::Deleted { job_id: dependency.job_id.clone() },
            Some(known) => Existing::Job(Box::new(known.state.clone())),
        };
        Some(dependency.state(&existing))
    }

    /// The jobs that are there.
    fn living(&self) -> impl Iterator<Item = (&String, &Known)> {
        self.jobs.iter().filter(|(_, known)| !known.is_deleted)
    }

    /// The jobs that match.
    pub(super) fn matching(&self, wanted: &JobFilter) -> BTreeMap<String, Job> {
        let filter = Filter::new(wanted.clone(), Vec::new(), None);
        let matching = self.living().filter(|(_, known)| filter.matches_job(&known.state.job));
        matching.map(|(job_id, known)| (job_id.clone(), known.state.job.clone())).collect()
    }

    /// Nothing is left undone that is due by now: scheduled holds, met dependencies, deadlines.
    pub(super) fn check_nothing_is_due(&self, now_seconds: i64) {
        for (_, known) in self.living() {
            for hold in known.state.holds.values().filter(|hold| hold.is_standing()) {
                let time = hold.scheduled_release_time.map(|time| time.seconds);
                assert!(time.is_none_or(|time| time >= now_seconds), "due, and not released: {hold:?}");
                let Some(state) = self.dependency_state(hold) else { continue };
                assert_ne!(state, DependencyState::Met, "met, and not released: {hold:?}");
                assert_eq!(hold.orphaned, state != DependencyState::Open, "it is {state:?}: {hold:?}");
            }
            for task in known.state.tasks.values().filter(|task| task.is_open()) {
                let deadline = task.deadline.map(|time| time.seconds);
                assert!(deadline.is_none_or(|time| time >= now_seconds), "due, and not ended: {task:?}");
            }
        }
    }

    /// No hold waits, in the end, for itself.
    pub(super) fn check_no_circle(&self) {
        for (_, known) in self.living() {
            known.state.holds.values().for_each(|hold| self.check_not_in_circle(hold));
        }
    }

    /// No hold that a command placed, and did not release at once, closes a circle. Between two partitions no order is known.
    fn check_placed(&self, logged: &Logged) {
        if self.seen.len() > 1 {
            return;
        }
        let is_placed = |event: &&JobEvent| event.r#type() == JobEventType::HoldPlaced;
        for event in logged.events.iter().map(|event| &*event.event).filter(is_placed) {
            let hold_id = &event.hold.as_ref().unwrap().hold_id;
            self.check_not_in_circle(&self.jobs[&event.job_id].state.holds[hold_id]);
        }
    }

    /// A hold that stands does not wait for the step that it is on, by way of any others that stand.
    fn check_not_in_circle(&self, hold: &Hold) {
        if !hold.is_standing() {
            return;
        }
        let mut open: Vec<Dependency> = Dependency::of(hold).into_iter().collect();
        let mut looked_at = BTreeSet::new();
        while let Some(dependency) = open.pop() {
            if !looked_at.insert(dependency.clone()) {
                continue;
            }
            let is_waited_for =
                |hold: &&Hold| dependency.step_id.as_ref().is_none_or(|step_id| *step_id == hold.step_id);
            let is_itself = dependency.job_id == hold.job_id && is_waited_for(&hold);
            assert!(!is_itself, "it waits for itself: {hold:?}");
            let known = self.jobs.get(&dependency.job_id).filter(|known| !known.is_deleted);
            let holds = known.into_iter().flat_map(|known| known.state.holds.values());
            let standing = holds.filter(|hold| hold.is_standing()).filter(is_waited_for);
            open.extend(standing.filter_map(Dependency::of));
        }
    }

    /// The records and the indexes are what the log makes of them, and there is nothing beside them.
    pub(super) async fn check_records(&self) {
        let mut sizes: BTreeMap<char, usize> = BTreeMap::new();
        let mut count = |table: char, keys: usize| {
            if keys > 0 {
                *sizes.entry(table).or_default() += keys;
            }
        };
        let shared = Shared::read(&self.disk).await;
        for (job_id, known) in &self.jobs {
            let state = &known.state;
            count('J', 1);
            count('C', 1);
            if known.is_deleted {
                self.check_tombstone(job_id, known).await;
                continue;
            }
            let sequences = self.check_job(job_id, known).await;
            count('Y', usize::from(state.sync.is_some()));
            count('S', state.steps.len());
            count('R', state.reports.len());
            count('H', state.holds.len());
            count('T', state.tasks.len());
            count('F', state.instances.len());
            count('A', state.instances.values().map(|instance| instance.attempts.len()).sum());
            count('Q', sequences);
            count('I', indexes(&state.job).len());
            let standing = state.holds.values().filter(|hold| hold.is_standing());
            count('P', standing.clone().filter(|hold| Dependency::of(hold).is_some()).count());
            let open = state.tasks.values().filter(|task| task.is_open());
            let due = standing.filter(|hold| hold.scheduled_release_time.is_some()).count();
            count('D', due + open.clone().filter(|task| task.deadline.is_some()).count());
            count('N', state.tasks.len());
            count('O', 2 * state.tasks.len() + open.count());
            self.check_indexes(known, &shared).await;
        }
        let mut stored = self.disk.table_sizes();
        stored.remove(&'W');
        assert_eq!(stored, sizes, "how many keys each table has");
    }

    async fn check_job(&self, job_id: &str, known: &Known) -> usize {
        let records = self.disk.records(known.partition);
        let key = JobKey { org: ORG.to_owned(), job_id: job_id.to_owned() };
        let head = records.job(&key).await.unwrap().expect("the log has the job");
        assert!(!head.deleted);
        let stored = JobState {
            job: head.job.unwrap(),
            sync: records.sync(&key).await.unwrap(),
            steps: records.steps(&key).await.unwrap(),
            reports: records.reports(&key).await.unwrap(),
            holds: records.holds(&key).await.unwrap(),
            tasks: records.tasks(&key).await.unwrap(),
            instances: instances(&records, &key).await,
            counts: Counts { tasks: head.tasks, attempts: head.attempts },
        };
        assert_eq!(stored, known.state, "the records of {job_id}");
        let client_job_id = &known.state.job.client_job_id;
        assert_eq!(records.job_id(ORG, client_job_id).await.unwrap().as_deref(), Some(job_id));
        let mut sequences = 0;
        for instance in stored.instances.values() {
            for attempt_id in instance.attempts.keys() {
                let instance_id = &instance.instance.workflow_instance_id;
                sequences += records.attempt_tasks(&key, instance_id, *attempt_id).await.unwrap().len();
            }
        }
        sequences
    }

    async fn check_tombstone(&self, job_id: &str, known: &Known) {
        let key = JobKey { org: ORG.to_owned(), job_id: job_id.to_owned() };
        let head = self.disk.records(known.partition).job(&key).await.unwrap().expect("it leaves its ids");
        let job = head.job.unwrap();
        assert!(head.deleted, "{job_id} was deleted");
        assert_eq!(job.revision, known.state.job.revision);
    }

    /// The job is in every index that it belongs in, and what falls due and what it waits for are. That it is in no other
    /// shows in the number of keys.
    async fn check_indexes(&self, known: &Known, shared: &Shared) {
        let (records, state) = (self.disk.records(known.partition), &known.state);
        let place = IndexPlace::of(&state.job);
        for index in indexes(&state.job) {
            let found = records.index(ORG, &index, &whole()).await.unwrap();
            assert!(found.contains(&place), "{} is not in {index:?}", state.job.job_id);
        }
        for hold in state.holds.values().filter(|hold| hold.is_standing()) {
            assert_eq!(shared.due.contains(&hold.hold_id), hold.scheduled_release_time.is_some(), "{hold:?}");
            let waits_for = shared.waiting.get(&hold.hold_id);
            assert_eq!(waits_for, Dependency::of(hold).as_ref(), "{hold:?}");
        }
        let of_job = TaskRun::Job(&state.job.job_id);
        let of_job = records.task_index(ORG, of_job, &whole()).await.unwrap();
        for task in state.tasks.values() {
            let place = (IndexPlace::of_task(task), state.job.job_id.clone());
            assert!(shared.tasks.contains(&place) && of_job.contains(&place), "{task:?}");
            assert_eq!(shared.open.contains(&place), task.is_open(), "{task:?}");
            let is_due = task.is_open() && task.deadline.is_some();
            assert_eq!(shared.due.contains(&task.id), is_due, "{task:?}");
        }
    }
}

/// What the indexes have that all jobs share.
#[derive(Default)]
struct Shared {
    due: BTreeSet<String>,
    waiting: BTreeMap<String, Dependency>,
    tasks: BTreeSet<(IndexPlace, String)>,
    open: BTreeSet<(IndexPlace, String)>,
}

impl Shared {
    async fn read(disk: &Disk) -> Self {
        let mut shared = Self::default();
        let never = Timestamp { seconds: i64::MAX, nanos: 0 };
        for partition in disk.partitions() {
            let records = disk.records(partition);
            let due = records.due(&never, None, usize::MAX).await.unwrap();
            shared.due.extend(due.into_iter().map(|due| due.id));
            let waiting = records.all_dependents(None, usize::MAX).await.unwrap();
            let waiting = waiting.into_iter().map(|(_, waiting)| (waiting.hold_id, waiting.dependency));
            shared.waiting.extend(waiting);
            shared.tasks.extend(records.task_index(ORG, TaskRun::All, &whole()).await.unwrap());
            shared.open.extend(records.task_index(ORG, TaskRun::Open, &whole()).await.unwrap());
        }
        shared
    }
}

fn whole() -> IndexPage {
    IndexPage { limit: usize::MAX, ..IndexPage::default() }
}

/// The runs that a job is in.
fn indexes(job: &Job) -> Vec<Index> {
    let read = summary(job);
    let status = JobStatus::try_from(read.status).unwrap();
    let mut indexes = vec![Index::All, Index::Status(status, read.closed)];
    indexes.extend(job.team.clone().filter(|team| !team.is_empty()).map(Index::Team));
    indexes.extend(job.user_id.clone().filter(|id| !id.is_empty()).map(Index::User));
    indexes.extend(job.workflow.as_ref().map(|workflow| Index::Workflow(workflow.workflow_id.clone())));
    indexes.extend(read.assignees.into_iter().map(Index::Assignee));
    indexes
}

/// The attempt that an event tells of; `None`: the server's own doing.
fn attempt(event: &JobEvent) -> Option<&str> {
    let actor = event.actor.as_ref()?;
    (actor.kind() != actor::Kind::Server).then_some(actor.name.as_str())
}
