//! Has jobs reviewed by the server itself, beside what clients ask for: a few at a time, so that no command waits on many.

use std::{collections::BTreeSet, time::Duration};

use futures_util::stream::{self, StreamExt as _};

use super::{Engine, Error, Origin};
use crate::{
    domain::{Rejection, ReviewJob, ReviewTask},
    proto::v1::{Actor, actor},
    store::{self, JobKey},
};

/// How many reviews wait for the writer at once, and so share a commit that commands wait for. With more of them all are
/// done somewhat sooner, and commands take far longer.
const REVIEWS_AT_ONCE: usize = 8;

/// How long to wait when there is no room for more commands.
const PAUSE: Duration = Duration::from_millis(50);

/// What needs a review.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// The holds of a job.
    Job(JobKey),
    /// A task of a job.
    Task(JobKey, String),
}

/// Reviews jobs and tasks, each as often as it takes. What is gone needs no review.
///
/// # Errors
/// The engine is going away, or can no longer be relied on.
pub(super) async fn until_done(engine: &Engine, due: BTreeSet<Due>) -> Result<(), Error> {
    let mut reviews = stream::iter(due).map(|due| review(engine, due)).buffer_unordered(REVIEWS_AT_ONCE);
    while let Some(outcome) = reviews.next().await {
        outcome?;
    }
    Ok(())
}

async fn review(engine: &Engine, due: Due) -> Result<(), Error> {
    let (Due::Job(job) | Due::Task(job, _)) = &due;
    loop {
        let actor = Actor { kind: actor::Kind::Server.into(), ..Actor::default() };
        let origin = Origin { org: job.org.clone(), actor, request: None, validate_only: false };
        let outcome = match &due {
            Due::Job(job) => engine.execute(origin, ReviewJob { job_id: job.job_id.clone() }).await,
            Due::Task(_, task_id) => engine.execute(origin, ReviewTask { task_id: task_id.clone() }).await,
        };
        match outcome {
            Ok(()) | Err(Error::Rejected(Rejection::JobNotFound | Rejection::TaskNotFound)) => return Ok(()),
            Err(Error::Overloaded { .. }) => tokio::time::sleep(PAUSE).await,
            // A job that cannot be reviewed is no reason to leave the others.
            Err(
                error @ (Error::BrokeDown(_)
                | Error::Rejected(_)
                | Error::Full { .. }
                | Error::RequestIdReused
                | Error::Store(store::Error::Corrupt(_) | store::Error::Trimmed { .. })),
            ) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, org = job.org, job_id = job.job_id, "what is due was not reviewed");
                return Ok(());
            }
            Err(error @ (Error::Stopping | Error::Failed(_) | Error::Store(store::Error::Failed(_)))) => {
                return Err(error);
            }
        }
    }
}
