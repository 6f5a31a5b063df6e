//! Turns what falls due into commands: scheduled releases of holds, and deadlines of tasks. Time is data: what is due is
//! read from an index, so a restart forgets nothing.

use std::{collections::BTreeSet, time::Duration};

use super::{Engine, Error, reviews};
use crate::{
    domain::{TASK_ID_PREFIX, compare_times},
    store::{Due, Partition},
};

/// How often it is looked whether something is due.
const INTERVAL: Duration = Duration::from_millis(250);

/// How much of what is due is taken at once.
const DUE_PER_PASS: usize = 512;

/// The least time between two passes, while much is due.
const PAUSE: Duration = Duration::from_millis(5);

/// Works until the engine stops.
pub(super) async fn run(engine: Engine, partition: Partition) {
    let stop = engine.shared.stop.clone();
    loop {
        let pause = tokio::select! {
            () = stop.cancelled() => return,
            outcome = sweep(&engine, partition) => match outcome {
                Ok(DUE_PER_PASS) => PAUSE,
                Ok(_) => INTERVAL,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, partition = partition.0, "what is due was not done");
                    INTERVAL
                }
            },
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Has the jobs and tasks reviewed in which something is due. Returns how much was.
async fn sweep(engine: &Engine, partition: Partition) -> Result<usize, Error> {
    let now = engine.now();
    let due = engine.records(partition).due(DUE_PER_PASS).await?;
    let due: Vec<_> =
        due.into_iter().take_while(|due| compare_times(Some(&due.time), Some(&now)).is_le()).collect();
    let count = due.len();
    let due: BTreeSet<reviews::Due> = due
        .into_iter()
        .map(|Due { job, id, .. }| {
            if id.starts_with(TASK_ID_PREFIX) { reviews::Due::Task(job, id) } else { reviews::Due::Job(job) }
        })
        .collect();
    reviews::until_done(engine, due).await?;
    Ok(count)
}
