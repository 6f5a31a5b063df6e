//! Releases what waits for other jobs: follows the log of a partition, and has every job reviewed that waits for what
//! has just ended there.
//!
//! A hold that is placed is looked at as well, so that none is missed which is placed while what it waits for ends. What
//! ended while the server was down is found once, at the start, among all holds that wait.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{Engine, Error, logged::Logged, reviews, round::load_dependency, tail::TailRead};
use crate::{
    domain::{Dependency, DependencyState},
    proto::v1::{Hold, HoldKind, JobEvent, JobEventType, Step, StepStatus},
    store::{self, Dependent, JobKey, Partition, Records, Sequence},
};

/// How long to wait after what could not be done.
const PAUSE: Duration = Duration::from_secs(1);

/// How much of the log is read at once.
const READ_BYTES: usize = 1 << 20;

/// How many dependents are read at once.
const DEPENDENTS_PER_READ: usize = 512;

/// What an entry of the log concerns.
#[derive(Default)]
struct Concerned {
    /// Everything that waits for these: a job, with all of its steps, or one step.
    ended: BTreeSet<(JobKey, Option<String>)>,
    /// Jobs that have begun to wait.
    waiting: BTreeSet<reviews::Due>,
}

/// Works until the engine stops, from a place that was taken before anything was looked at.
pub(super) async fn run(engine: Engine, partition: Partition, mut place: Sequence) {
    let stop = engine.shared.stop.clone();
    loop {
        let outcome = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            outcome = follow(&engine, partition, &mut place) => outcome,
        };
        match outcome {
            Ok(()) | Err(Error::Stopping | Error::Failed(_)) => return,
            Err(Error::Store(error @ store::Error::Failed(_))) => {
                engine.shared.failed.send_replace(Some(Arc::new(error)));
                return;
            }
            // The place has not moved past what was not done.
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    partition = partition.0,
                    "what waits for other jobs is released later"
                );
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

async fn follow(engine: &Engine, partition: Partition, place: &mut Sequence) -> Result<(), Error> {
    let mut head = engine.tail(partition).heads();
    catch_up(engine, partition).await?;
    loop {
        head.borrow_and_update();
        let mut concerned = Concerned::default();
        let next = match engine.tail(partition).after(*place) {
            TailRead::Entries(entries) => entries.iter().map(|entry| concerned.note(entry)).last(),
            TailRead::CaughtUp => {
                if head.changed().await.is_err() {
                    return Ok(());
                }
                continue;
            }
            TailRead::Behind => {
                match engine.shared.store.log(partition, *place, READ_BYTES).await {
                    Ok(records) => {
                        let mut next = None;
                        for record in &records {
                            next = Some(concerned.note(&Logged::decode(record)?));
                        }
                        next
                    }
                    // What is no longer kept is made up for as after a start.
                    Err(store::Error::Trimmed { oldest }) => {
                        for partition in engine.partitions() {
                            catch_up(engine, partition).await?;
                        }
                        Some(Sequence(oldest.0 - 1))
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        };
        release(engine, concerned).await?;
        *place = next.unwrap_or(*place);
    }
}

impl Concerned {
    /// Notes what an entry concerns; returns its place.
    fn note(&mut self, entry: &Logged) -> Sequence {
        for event in entry.events.iter().map(|logged| &logged.event) {
            if is_end(event.r#type()) {
                self.ended.insert((entry.job.clone(), None));
            }
            for step_id in steps_done(event) {
                self.ended.insert((entry.job.clone(), Some(step_id.to_owned())));
            }
            if event.hold.as_deref().is_some_and(waits) {
                self.waiting.insert(reviews::Due::Job(entry.job.clone()));
            }
        }
        entry.sequence
    }
}

/// Whether a job is over after such an event, or is there again.
fn is_end(kind: JobEventType) -> bool {
    matches!(
        kind,
        JobEventType::JobCompleted
            | JobEventType::JobAborted
            | JobEventType::JobReopened
            | JobEventType::JobDeleted
    )
}

/// The steps that are done after an event, those that went, and those that are there anew.
fn steps_done(event: &JobEvent) -> impl Iterator<Item = &str> {
    let done = |status| matches!(status, StepStatus::Finished | StepStatus::Skipped);
    let concerns = move |step: &&Step| done(step.status()) || step.create_time == event.time;
    let steps = event.step.as_deref().into_iter().chain(&event.further_steps).filter(concerns);
    steps.map(|step| step.step_id.as_str()).chain(event.removed_step_ids.iter().map(String::as_str))
}

fn waits(hold: &Hold) -> bool {
    hold.kind() == HoldKind::Dependency && hold.is_standing()
}

/// Has everything reviewed that waits for what has ended, and what has begun to wait.
async fn release(engine: &Engine, concerned: Concerned) -> Result<(), Error> {
    let mut due = concerned.waiting;
    for (job, step_id) in concerned.ended {
        for partition in engine.partitions() {
            let records = engine.records(partition);
            let mut after: Option<Dependent> = None;
            loop {
                let found = records
                    .dependents(
                        &job.org,
                        &job.job_id,
                        step_id.as_deref(),
                        after.as_ref(),
                        DEPENDENTS_PER_READ,
                    )
                    .await?;
                let is_last = found.len() < DEPENDENTS_PER_READ;
                after = found.last().cloned();
                let org = &job.org;
                let of = |found: Dependent| JobKey { org: org.clone(), job_id: found.job_id };
                due.extend(found.into_iter().map(of).map(reviews::Due::Job));
                if is_last {
                    break;
                }
            }
        }
    }
    reviews::until_done(engine, due).await
}

/// Has every job of a partition reviewed that waits for something that is not open.
async fn catch_up(engine: &Engine, partition: Partition) -> Result<(), Error> {
    let records = engine.records(partition);
    let mut after: Option<(String, Dependent)> = None;
    let mut known: Option<(String, Dependency, DependencyState)> = None;
    loop {
        let found = records.all_dependents(after.as_ref(), DEPENDENTS_PER_READ).await?;
        let is_last = found.len() < DEPENDENTS_PER_READ;
        after = found.last().cloned();
        let mut due = BTreeSet::new();
        for (org, dependent) in found {
            let state = match &known {
                // They come in the order of what they wait for.
                Some((of, on, state)) if *of == org && *on == dependent.dependency => *state,
                _ => engine.dependency_state(&org, &dependent.dependency).await?,
            };
            known = Some((org.clone(), dependent.dependency.clone(), state));
            if state != DependencyState::Open || is_orphaned(&records, &org, &dependent).await? {
                due.insert(reviews::Due::Job(JobKey { org, job_id: dependent.job_id }));
            }
        }
        reviews::until_done(engine, due).await?;
        if is_last {
            return Ok(());
        }
    }
}

/// Whether a hold is still said to wait for what is gone.
async fn is_orphaned(records: &Records, org: &str, dependent: &Dependent) -> Result<bool, Error> {
    let job = JobKey { org: org.to_owned(), job_id: dependent.job_id.clone() };
    Ok(records.hold(&job, &dependent.hold_id).await?.is_some_and(|hold| hold.orphaned))
}

impl Engine {
    /// How far it is with something that a hold waits for.
    async fn dependency_state(&self, org: &str, dependency: &Dependency) -> Result<DependencyState, Error> {
        let partition = self.partition_of(org, super::Target::Job(&dependency.job_id));
        let existing = load_dependency(&self.records(partition), org, dependency).await?;
        Ok(dependency.state(&existing))
    }
}
