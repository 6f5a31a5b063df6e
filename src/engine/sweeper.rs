//! Turns what falls due into commands: scheduled releases of holds, and deadlines of tasks. Time is data: what is due is
//! read from an index, so a restart forgets nothing.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use super::{Engine, Error, reviews};
use crate::{
    domain::TASK_ID_PREFIX,
    store::{Due, JobKey, Partition},
};

/// How often it is looked whether something is due.
const INTERVAL: Duration = Duration::from_millis(250);

/// How much of what is due is read at once.
const DUE_PER_READ: usize = 512;

/// How many looks something that a review has left as it was is passed over at most.
const LOOKS_PASSED_MAX: u32 = 240;

/// Works until the engine stops.
pub(super) async fn run(engine: Engine, partition: Partition) {
    let stop = engine.shared.stop.clone();
    let mut left = Left::default();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            outcome = sweep(&engine, partition, &mut left) => {
                if let Err(error) = outcome {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, partition = partition.0, "what is due is done later");
                }
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// What a review has left due, which nothing should: it is tried again, and ever less often, so that it keeps nothing
/// else waiting.
#[derive(Default)]
struct Left(HashMap<(JobKey, String), Tries>);

#[derive(Default)]
struct Tries {
    made: u32,
    looks_passed: u32,
    is_seen: bool,
}

impl Left {
    /// Whether something that is due is to be tried at this look.
    fn is_to_be_tried(&mut self, due: &Due) -> bool {
        let tries = self.0.entry((due.job.clone(), due.id.clone())).or_default();
        tries.is_seen = true;
        let to_pass = 2_u32.saturating_pow(tries.made).min(LOOKS_PASSED_MAX);
        if tries.made > 0 && tries.looks_passed < to_pass {
            tries.looks_passed += 1;
            return false;
        }
        tries.made += 1;
        tries.looks_passed = 0;
        true
    }

    /// Forgets what is due no more.
    fn forget_done(&mut self) {
        self.0.retain(|_, tries| std::mem::take(&mut tries.is_seen));
    }
}

/// Has the jobs and tasks reviewed in which something is due.
async fn sweep(engine: &Engine, partition: Partition, left: &mut Left) -> Result<(), Error> {
    let now = engine.now();
    let records = engine.records(partition);
    let mut after: Option<Due> = None;
    loop {
        let found = records.due(&now, after.as_ref(), DUE_PER_READ).await?;
        let is_last = found.len() < DUE_PER_READ;
        after = found.last().cloned();
        let due = found.into_iter().filter(|due| left.is_to_be_tried(due));
        let due: BTreeSet<reviews::Due> = due
            .map(|Due { job, id, .. }| {
                if id.starts_with(TASK_ID_PREFIX) {
                    reviews::Due::Task(job, id)
                } else {
                    reviews::Due::Job(job)
                }
            })
            .collect();
        reviews::until_done(engine, due).await?;
        if is_last {
            left.forget_done();
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stays_due_is_tried_ever_less_often() {
        let job = JobKey { org: "acme".to_owned(), job_id: "job".to_owned() };
        let due =
            |id: &str| Due { time: prost_types::Timestamp::default(), job: job.clone(), id: id.to_owned() };
        let mut left = Left::default();
        let mut tried = Vec::new();
        for look in 0..800 {
            if left.is_to_be_tried(&due("stuck")) {
                tried.push(look);
            }
            left.forget_done();
        }
        assert_eq!(tried, [0, 3, 8, 17, 34, 67, 132, 261, 502, 743]);
        // What falls due beside it is tried at once, and so is what is due anew.
        assert!(left.is_to_be_tried(&due("other")));
        left.forget_done();
        assert!(left.is_to_be_tried(&due("stuck")), "it was not due at the last look");
    }
}
