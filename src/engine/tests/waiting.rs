//! What waits for another job is released when that is done, however early the follower wakes; what waits for a time, at
//! that time.

use prost_types::Timestamp;

use super::kit::{Device, ORG, Valve, World, origin, soon, start, sync};
use crate::{
    domain::{Dependency, HoldTerms, PerformJobAction},
    engine::{Engine, HoldQuery, Options},
    proto::v1::{HoldState, JobActionType, JobStatus},
};

/// Makes a job with a step, and holds it.
async fn held(engine: &Engine, name: &str, terms: HoldTerms) {
    let device = Device { updated: 1, reports: vec![("u".into(), "step".into(), true)], team: None };
    let made = soon(engine.execute(origin(), sync(name, JobStatus::Active, device))).await.unwrap();
    let hold = PerformJobAction {
        job_id: made.job_id,
        action: JobActionType::Hold,
        step_ids: vec!["step".to_owned()],
        terms,
        ..PerformJobAction::default()
    };
    assert!(soon(engine.perform(origin(), hold)).await.unwrap().success);
}

/// Returns when so many holds are released.
async fn released(engine: &Engine, count: usize) {
    let released = HoldQuery { state: HoldState::Released, ..HoldQuery::default() };
    soon(async {
        while engine.holds(ORG, &released, None, 10).await.unwrap().holds.len() < count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_follower_that_is_quicker_than_the_writer_misses_nothing() {
    let engine = start(&Valve::new(), &World::at(1_000), Options::default()).await;
    let other = |status, updated| {
        let device = Device { updated, ..Device::default() };
        soon(engine.execute(origin(), sync("other", status, device)))
    };
    let job_id = other(JobStatus::Active, 1).await.unwrap().job_id;
    let dependency = Some(Dependency { job_id, step_id: None });
    held(&engine, "waiting", HoldTerms { dependency, ..HoldTerms::default() }).await;

    // By this it has seen the hold. Nothing happens after the next that could wake it once more.
    other(JobStatus::Active, 2).await.unwrap();
    other(JobStatus::Completed, 3).await.unwrap();
    released(&engine, 1).await;
}

#[tokio::test]
async fn a_hold_is_released_at_its_time() {
    let world = World::at(1_000);
    let engine = start(&Valve::new(), &world, Options::default()).await;
    for (name, seconds) in [("now", 1_010), ("later", 1_011)] {
        let scheduled_release = Some(Timestamp { seconds, nanos: 0 });
        held(&engine, name, HoldTerms { scheduled_release, ..HoldTerms::default() }).await;
    }
    world.set(1_010);
    released(&engine, 1).await;
    let standing = HoldQuery { state: HoldState::Standing, ..HoldQuery::default() };
    let standing = soon(engine.holds(ORG, &standing, None, 10)).await.unwrap().holds;
    assert_eq!(standing.len(), 1, "the other's time has not come");
    world.set(1_011);
    released(&engine, 2).await;
}
