//! What waits for another job is released when that is done, however early the follower wakes.

use super::kit::{Device, ORG, Valve, World, origin, soon, start, sync};
use crate::{
    domain::{Dependency, HoldTerms, PerformJobAction},
    engine::{HoldQuery, Options},
    proto::v1::{HoldState, JobActionType, JobStatus},
};

#[tokio::test]
async fn a_follower_that_is_quicker_than_the_writer_misses_nothing() {
    let engine = start(&Valve::new(), &World::at(1_000), Options::default()).await;
    let waiting = Device { updated: 1, reports: vec![("u".into(), "step".into(), true)], team: None };
    let sync_of = |name, status, device| soon(engine.execute(origin(), sync(name, status, device)));
    let waiting = sync_of("waiting", JobStatus::Active, waiting).await.unwrap().job_id;
    let other = Device { updated: 1, ..Device::default() };
    let other = sync_of("other", JobStatus::Active, other).await.unwrap().job_id;
    let hold = PerformJobAction {
        job_id: waiting,
        action: JobActionType::Hold,
        step_ids: vec!["step".to_owned()],
        terms: HoldTerms {
            dependency: Some(Dependency { job_id: other, step_id: None }),
            ..HoldTerms::default()
        },
        ..PerformJobAction::default()
    };
    assert!(soon(engine.perform(origin(), hold)).await.unwrap().success);

    // By this it has seen the hold. Nothing happens after the other that could wake it once more.
    let newer = |updated| Device { updated, ..Device::default() };
    sync_of("other", JobStatus::Active, newer(2)).await.unwrap();
    sync_of("other", JobStatus::Completed, newer(3)).await.unwrap();
    let released = HoldQuery { state: HoldState::Released, ..HoldQuery::default() };
    soon(async {
        while engine.holds(ORG, &released, None, 10).await.unwrap().holds.is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
