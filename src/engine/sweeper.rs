//! Turns what falls due into commands: scheduled releases of holds, and deadlines of tasks. Time is data: what is due is
//! read from an index, so a restart forgets nothing.

use std::time::Duration;

use super::{Engine, Error, reviews};
use crate::store::Partition;

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

/// Has the jobs reviewed in which something is due. Returns how much was.
async fn sweep(engine: &Engine, partition: Partition) -> Result<usize, Error> {
    let due = engine.records(partition).due(&engine.now(), DUE_PER_PASS).await?;
    let count = due.len();
    reviews::until_done(engine, due.into_iter().collect()).await?;
    Ok(count)
}
