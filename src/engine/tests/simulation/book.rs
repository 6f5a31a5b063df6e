//! What clients asked and were answered, held against the truth at the moment of the answer: what is acknowledged is
//! durable then, once, and what is refused is not there.

use std::{
    collections::BTreeMap,
    error::Error as StdError,
    sync::{Arc, Mutex},
};

use crate::{
    domain::Filter,
    engine::{
        Engine, Error, HoldQuery, JobParts, ListOrder, Logged, Origin, RequestStamp, requests::request_key,
    },
    proto::v1::{Actor, Hold, Job, JobFilter, TaskFilter, TaskStatus},
    store::{self, Sequence},
};

use super::{
    super::kit::{ORG, decoded},
    asks::{Answer, Ask, Known},
    disk::Disk,
    faulty::Simulated,
    truth::Truth,
};

pub(super) struct Book {
    pub(super) disk: Arc<Disk>,
    pub(super) truth: Truth,
    pub(super) known: Known,
    /// The greatest revision of each job that anybody was told of.
    told: BTreeMap<String, i64>,
    /// Requests may be forgotten while clients still remember them.
    pub(super) may_forget: bool,
}

/// Something that is asked, perhaps several times.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) caller: String,
    pub(super) number: usize,
    pub(super) ask: Ask,
    pub(super) has_id: bool,
    pub(super) validate_only: bool,
    /// How often it was asked.
    pub(super) attempts: usize,
    /// What was answered first.
    pub(super) answer: Option<Answer>,
}

/// One time of asking.
pub(super) struct Attempt {
    pub(super) origin: Origin,
    name: String,
    /// What was durable before.
    heads: Vec<Sequence>,
}

/// What the one who asked does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is answered.
    Done,
    /// It was not decided: there was no room, or something could not be read.
    AskAgain,
    /// The engine is going away, or is gone. Whether it was done may be open.
    Over,
}

impl Request {
    fn stamp(&self) -> Option<RequestStamp> {
        let number = u8::try_from(self.number).expect("clients ask little");
        self.has_id.then(|| RequestStamp { id: format!("request-{number}"), body: [number; 16] })
    }

    /// Another request under the same id.
    pub(super) fn misuse(&self, origin: Origin) -> Origin {
        let request = self.stamp().map(|stamp| RequestStamp { body: [u8::MAX; 16], ..stamp });
        Origin { request, ..origin }
    }

    /// Begins to ask.
    pub(super) fn attempt(&mut self, disk: &Disk) -> Attempt {
        self.attempts += 1;
        let name = format!("{}/{}/{}", self.caller, self.number, self.attempts);
        let actor = Actor { id: self.caller.clone(), name: name.clone(), ..Actor::default() };
        let validate_only = self.validate_only;
        let origin = Origin { org: ORG.to_owned(), actor, request: self.stamp(), validate_only };
        Attempt { origin, name, heads: disk.heads() }
    }
}

impl Book {
    pub(super) fn new(disk: &Arc<Disk>, truth: Truth, may_forget: bool) -> Self {
        let (disk, known, told) = (Arc::clone(disk), Known::default(), BTreeMap::new());
        Self { disk, truth, known, told, may_forget }
    }

    /// Takes down what was answered.
    pub(super) fn answer(
        &mut self,
        request: &mut Request,
        attempt: &Attempt,
        outcome: Result<Answer, Error>,
    ) -> Next {
        self.note(attempt, &outcome);
        match outcome {
            Ok(answer) => {
                self.acknowledged(request, attempt, &answer);
                request.answer.get_or_insert(answer);
                Next::Done
            }
            Err(error @ Error::Rejected(_)) => {
                self.truth.refuse(&attempt.name, &error);
                Next::Done
            }
            Err(Error::RequestIdReused) => panic!("{} is the same request as before", attempt.name),
            Err(error) => self.failed(attempt, &error),
        }
    }

    fn note(&self, attempt: &Attempt, outcome: &Result<Answer, Error>) {
        match outcome {
            Ok(answer) => self.disk.note((&attempt.name, &answer.reply)),
            Err(error) => self.disk.note((&attempt.name, error.to_string())),
        }
    }

    fn acknowledged(&mut self, request: &Request, attempt: &Attempt, answer: &Answer) {
        if request.validate_only {
            return self.truth.refuse(&attempt.name, &"only validated");
        }
        self.truth.catch_up();
        let name = &attempt.name;
        if let Some((partition, sequence)) = self.truth.by_attempt.get(name) {
            let head = attempt.heads[usize::from(partition.0)];
            assert!(*sequence > head, "{name} was done at {sequence}, and asked for after {head}");
        } else {
            let is_new = request.attempts == 1 && request.ask.always_changes();
            assert!(!is_new, "{name} is acknowledged, and not durable");
        }
        if let Some(stamp) = request.stamp() {
            let key = request_key(ORG, &request.caller, &stamp.id);
            let answered = self.truth.by_request.get(&key[..]).map_or(&[][..], Vec::as_slice);
            let is_recorded = answered.iter().any(|answered| answered.reply == answer.reply);
            assert!(is_recorded, "{name} is acknowledged, and its answer is not durable");
            let is_same = request.answer.as_ref().is_none_or(|first| first.reply == answer.reply);
            assert!(is_same || answered.len() > 1, "{name}: a repeated request has another answer");
        }
        if let Some((job_id, revision)) = &answer.job {
            let newest = self.truth.jobs.get(job_id).map_or(0, |known| known.heads.len());
            let newest = i64::try_from(newest).expect("few");
            assert!(newest >= *revision, "{name}: {revision} is acknowledged, and {newest} durable");
            let told = self.told.entry(job_id.clone()).or_default();
            *told = (*revision).max(*told);
        }
        self.known.learn(&request.ask, answer);
    }

    /// Takes down that something else was asked under the request's id.
    pub(super) fn misused(&mut self, attempt: &Attempt, outcome: Result<Answer, Error>) -> Next {
        self.note(attempt, &outcome);
        match outcome {
            Err(error @ Error::RequestIdReused) => {
                self.truth.refuse(&attempt.name, &error);
                Next::Done
            }
            Err(error @ Error::Rejected(_)) => panic!("{} is another request: {error}", attempt.name),
            Err(error) => self.failed(attempt, &error),
            Ok(answer) => panic!("{} is another request: {answer:?}", attempt.name),
        }
    }

    fn failed(&mut self, attempt: &Attempt, error: &Error) -> Next {
        match error {
            Error::Failed(error) => {
                check_simulated(error);
                Next::Over
            }
            Error::Stopping => {
                self.truth.refuse(&attempt.name, error);
                Next::Over
            }
            Error::Overloaded { .. } => {
                self.truth.refuse(&attempt.name, error);
                Next::AskAgain
            }
            Error::Store(error) => {
                check_simulated(error);
                self.truth.refuse(&attempt.name, error);
                Next::AskAgain
            }
            Error::Rejected(_) | Error::RequestIdReused | Error::Full { .. } | Error::BrokeDown(_) => {
                panic!("{}: {error}", attempt.name)
            }
        }
    }

    /// The greatest revision of a job that anybody was told of.
    pub(super) fn told(&self, job_id: &str) -> i64 {
        self.told.get(job_id).copied().unwrap_or_default()
    }

    /// What was read is durable, and no older than what was told before it was asked for.
    pub(super) fn check_job(&mut self, job_id: &str, told_before: i64, parts: Option<&JobParts>) {
        self.truth.catch_up();
        self.disk.note((job_id, parts.map(|parts| parts.job.revision)));
        let known = self.truth.jobs.get(job_id);
        let Some(parts) = parts else {
            let is_gone = known.is_none_or(|known| known.is_deleted);
            assert!(is_gone || told_before == 0, "{job_id} is at {told_before}, and not found");
            return;
        };
        assert!(parts.job.revision >= told_before, "{job_id} went back from {told_before}: {:?}", parts.job);
        self.check_head(&parts.job);
        let state = &self.truth.jobs[job_id].state;
        if state.job.revision == parts.job.revision {
            let steps: BTreeMap<_, _> =
                parts.steps.iter().map(|step| (step.step_id.clone(), step.clone())).collect();
            assert_eq!(steps, state.steps, "the steps of {job_id}");
            let standing = state.holds.values().filter(|hold| hold.is_standing());
            assert_eq!(parts.holds, standing.cloned().collect::<Vec<_>>(), "the holds of {job_id}");
        }
        let told = self.told.entry(job_id.to_owned()).or_default();
        *told = parts.job.revision.max(*told);
    }

    /// A job is as it was, durably, at its revision.
    fn check_head(&self, job: &Job) {
        let head = self.truth.jobs.get(&job.job_id).and_then(|known| {
            let index = usize::try_from(job.revision - 1).expect("revisions begin with 1");
            known.heads.get(index)
        });
        assert_eq!(head, Some(job), "it is not durable, or is another");
    }

    /// A history is what is durable of a job, from its beginning.
    pub(super) fn check_history(&mut self, job_id: &str, told_before: i64, history: &[Logged]) {
        self.truth.catch_up();
        let revisions: Vec<_> =
            history.iter().flat_map(|command| &command.events).map(|event| event.event.revision).collect();
        let newest = i64::try_from(revisions.len()).expect("few");
        assert_eq!(revisions, (1..=newest).collect::<Vec<_>>(), "the history of {job_id}");
        let Some(known) = self.truth.jobs.get(job_id) else {
            assert_eq!(newest, 0, "the history of {job_id} is not durable");
            return;
        };
        assert!(newest <= known.state.job.revision, "the history of {job_id} is not durable");
        assert!(newest >= told_before || known.is_deleted, "the history of {job_id} lacks what was told");
    }

    /// A list has jobs as they are or were a moment ago. Where nothing changed meanwhile it has exactly those that match.
    pub(super) fn check_list(&mut self, wanted: &JobFilter, heads_before: &[Sequence], jobs: &[Job]) {
        self.truth.catch_up();
        let listed: BTreeMap<_, _> = jobs.iter().map(|job| (job.job_id.clone(), job.clone())).collect();
        assert_eq!(listed.len(), jobs.len(), "a job is listed twice");
        let filter = Filter::new(wanted.clone(), Vec::new(), None);
        for job in jobs {
            assert!(filter.matches_job(job), "{} is not wanted", job.job_id);
            self.check_head(job);
        }
        if heads_before == self.disk.heads() {
            assert_eq!(listed, self.truth.matching(wanted), "listed by {wanted:?}");
        }
    }

    fn check_all(&mut self, tasks: Vec<TaskStatus>, holds: Vec<Hold>) {
        self.truth.catch_up();
        let living = || self.truth.jobs.values().filter(|known| !known.is_deleted).map(|known| &known.state);
        let tasks: BTreeMap<_, _> = tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
        assert_eq!(tasks, living().flat_map(|state| state.tasks.clone()).collect(), "the tasks");
        let holds: BTreeMap<_, _> = holds.into_iter().map(|hold| (hold.hold_id.clone(), hold)).collect();
        assert_eq!(holds, living().flat_map(|state| state.holds.clone()).collect(), "the holds");
    }
}

/// At rest, lists of all kinds are the truth.
pub(super) async fn check_lists(engine: &Engine, book: &Mutex<Book>, filters: &[JobFilter]) {
    for wanted in filters {
        let filter = Filter::new(wanted.clone(), Vec::new(), None);
        let page = engine.list(ORG, &filter, ListOrder::NewestFirst, None, usize::MAX).await.unwrap();
        let count = engine.count(ORG, &filter).await.unwrap();
        assert_eq!(count, page.jobs.len() as u64, "counted by {wanted:?}");
        let mut book = book.lock().unwrap();
        let heads = book.disk.heads();
        book.check_list(wanted, &heads, &decoded(&page));
    }
    let tasks =
        engine.tasks(ORG, &TaskFilter::default(), ListOrder::OldestFirst, None, 10_000).await.unwrap();
    let holds = engine.holds(ORG, &HoldQuery::default(), None, 10_000).await.unwrap();
    book.lock().unwrap().check_all(tasks.tasks, holds.holds);
}

/// Only what is wrong on purpose may fail.
#[track_caller]
pub(super) fn check_simulated(error: &store::Error) {
    let is_simulated = match error {
        store::Error::Failed(cause) => (&**cause as &(dyn StdError + 'static)).is::<Simulated>(),
        store::Error::Trimmed { .. } | store::Error::Corrupt(_) => false,
    };
    assert!(is_simulated, "{error}");
}

/// The same of what the engine ends with.
#[track_caller]
pub(super) fn check_failure(error: &Error) {
    match error {
        Error::Failed(error) => check_simulated(error),
        Error::Store(error) => check_simulated(error),
        Error::Overloaded { .. } | Error::Stopping => {}
        Error::Rejected(_) | Error::RequestIdReused | Error::Full { .. } | Error::BrokeDown(_) => {
            panic!("{error}")
        }
    }
}
