//! Holds: what they wait for, how they go, and what goes by itself also when the server was down: SPEC 3.4.
//!
//! What an operator is answered is in `job_action`.

use std::collections::BTreeSet;

use expect_test::expect;
use holdpoint::proto::v1::{
    BasicSyncRequest, CompletionStatus, ErrorReason, Hold as HoldRecord, HoldKind, HoldReleaseCause,
    HoldState,
    JobActionType::{self, Finish, Hold, ReleaseHold, Run},
    JobEvent, JobEventType, JobStatus, ListHoldsRequest, PerformJobActionRequest,
    StepActionStatus::{self, Held, Success},
    StepDefinition,
    StepKind::{Automatic, Manual},
    StepStatus, Workflow, actor,
};
use prost_types::Timestamp;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::harness::{
    Call, Caller, Client, Process, TestServer, Watch, abort, chain, close, delete, device_body_of, following,
    holds_of, in_millis, line, moment, perform, refused, reopen, step,
};

/// A server whose jobs go from `a` by `b` to `c`, each of which can be skipped.
async fn server() -> TestServer {
    let server = TestServer::memory().await;
    server.client().await.publish(flow()).await;
    server
}

fn flow() -> Workflow {
    let steps = ["a", "b", "c"].map(|id| StepDefinition { can_skip: true, ..step(id, Manual) });
    chain("flow", steps.into())
}

async fn client_with(job_ids: &[&str]) -> Client {
    let client = server().await.client().await;
    for job_id in job_ids {
        client.create(job_id, following("flow")).await;
    }
    client
}

/// A hold on a step, named as `job/step`, that waits for `job` or `job/step`.
fn waits(held: &str, wanted: &str) -> PerformJobActionRequest {
    let (job_id, step_id) = held.split_once('/').unwrap();
    let (dependent_job_id, dependent_step_id) = match wanted.split_once('/') {
        Some((job_id, step_id)) => (job_id, Some(step_id.to_owned())),
        None => (wanted, None),
    };
    PerformJobActionRequest {
        dependent_job_id: Some(dependent_job_id.to_owned()),
        dependent_step_id,
        ..perform(Hold, job_id, &[step_id])
    }
}

/// A hold on a step, named as `job/step`, until then.
fn until(held: &str, time: Timestamp) -> PerformJobActionRequest {
    let (job_id, step_id) = held.split_once('/').unwrap();
    PerformJobActionRequest { hold_scheduled_release: Some(time), ..perform(Hold, job_id, &[step_id]) }
}

async fn place(client: &Client, hold: PerformJobActionRequest) {
    let reply = client.perform(hold).await;
    assert!(reply.success, "{reply:?}");
}

async fn do_step(client: &Client, job_id: &str, step_id: &str) {
    client.done(Run, job_id, &[step_id]).await;
    client.done(Finish, job_id, &[step_id]).await;
}

async fn complete(client: &Client, job_id: &str) {
    for step_id in ["a", "b", "c"] {
        do_step(client, job_id, step_id).await;
    }
}

/// The next release, which the server made by itself.
async fn released(watch: &mut Watch) -> HoldRecord {
    let event = watch.find(JobEventType::HoldReleased).await;
    let hold = event.hold.clone().unwrap();
    let actor = event.actor.unwrap();
    assert_eq!((actor.kind(), actor.id.as_str()), (actor::Kind::Server, ""));
    assert_eq!((hold.released_by.as_str(), hold.release_time), ("", event.time));
    assert!(!event.step.unwrap().hold_ids.contains(&hold.hold_id));
    *hold
}

#[tokio::test]
async fn holds_of_every_kind_stand_together_and_stay_listed_when_released() {
    let client = client_with(&["job", "other"]).await;
    let due = in_millis(3_600_000);
    place(&client, perform(Hold, "job", &["a"])).await;
    place(&client, perform(Hold, "job", &["a"])).await;
    place(&client, until("job/a", due)).await;
    place(&client, waits("job/a", "other")).await;
    place(&client, waits("job/a", "other/b")).await;
    place(&client, PerformJobActionRequest { hold_scheduled_release: Some(due), ..waits("job/a", "other") })
        .await;

    let details = client.details("job").await;
    let kinds: Vec<_> = details.holds.iter().map(HoldRecord::kind).collect();
    let [manual, scheduled, dependency] = [HoldKind::Manual, HoldKind::Scheduled, HoldKind::Dependency];
    // By id, which is by time.
    assert_eq!(kinds, [manual, manual, scheduled, dependency, dependency, dependency]);
    let ids: Vec<_> = details.holds.iter().map(|hold| hold.hold_id.clone()).collect();
    assert_eq!(details.steps[0].hold_ids, ids);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 6);
    for hold in &details.holds {
        assert!(hold.place_time.is_some() && hold.release_time.is_none() && !hold.orphaned);
        assert_eq!(hold.placed_by, "alice");
    }
    assert_eq!(client.holds(holds_of("job")).await, details.holds);

    client.done(ReleaseHold, "job", &["a"]).await;
    let after = client.details("job").await;
    assert_eq!(after.steps[0].hold_ids, ids[3..]);
    assert_eq!(after.holds, details.holds[3..], "GetJob has those that stand");
    let listed = client.holds(holds_of("job")).await;
    assert_eq!(listed.len(), 6);
    for (before, after) in details.holds.iter().zip(&listed) {
        if before.kind() == dependency {
            assert_eq!(after, before);
            continue;
        }
        let expected = HoldRecord {
            released_by: "alice".to_owned(),
            release_time: after.release_time,
            release_cause: HoldReleaseCause::Manual.into(),
            ..before.clone()
        };
        assert!(moment(after.release_time) >= moment(after.place_time));
        assert_eq!(*after, expected);
    }
}

#[tokio::test]
async fn list_holds_has_those_that_match_by_pages() {
    let server = server().await;
    let client = server.client().await;
    let stranger = server.client_as(Caller::default().of("umbra")).await;
    stranger.publish(flow()).await;
    for client in [&client, &stranger] {
        for job_id in ["one", "two", "other"] {
            client.create(job_id, following("flow")).await;
        }
        place(client, perform(Hold, "one", &["a"])).await;
    }
    let far = in_millis(3_600_000);
    for hold in [
        perform(Hold, "one", &["b"]),
        until("one/a", far),
        waits("one/c", "other"),
        waits("one/c", "other/a"),
        waits("two/a", "other"),
        waits("two/b", "other/a"),
        waits("two/b", "one/a"),
        until("two/c", far),
    ] {
        place(&client, hold).await;
    }
    client.done(ReleaseHold, "one", &["a"]).await;
    client.create("gone", following("flow")).await;
    place(&client, waits("two/c", "gone")).await;
    let mut watch = client.watch_on().await;
    client.call(abort("gone")).await.unwrap();
    watch.find(JobEventType::HoldUpdated).await;

    let all = ListHoldsRequest::default;
    let of = |job_id: &str| holds_of(job_id);
    let state = |state: HoldState| state.into();
    let kinds = |kinds: &[HoldKind]| kinds.iter().map(|&kind| kind.into()).collect();
    let on = |job_id: &str, step_id: &str| ListHoldsRequest {
        dependent_job_id: job_id.to_owned(),
        dependent_step_id: step_id.to_owned(),
        ..all()
    };
    let rows: Vec<(&str, ListHoldsRequest)> = vec![
        ("all", all()),
        ("of a job", of("one")),
        ("of a job without any", of("other")),
        ("of a step", ListHoldsRequest { step_id: "c".to_owned(), ..of("one") }),
        ("of no step", ListHoldsRequest { step_id: "z".to_owned(), ..of("one") }),
        ("standing", ListHoldsRequest { state: state(HoldState::Standing), ..all() }),
        ("released", ListHoldsRequest { state: state(HoldState::Released), ..all() }),
        ("orphaned", ListHoldsRequest { state: state(HoldState::Orphaned), ..all() }),
        ("manual", ListHoldsRequest { kinds: kinds(&[HoldKind::Manual]), ..all() }),
        ("scheduled or manual of a job", {
            ListHoldsRequest { kinds: kinds(&[HoldKind::Scheduled, HoldKind::Manual]), ..of("one") }
        }),
        ("standing manual", {
            let kinds = kinds(&[HoldKind::Manual]);
            ListHoldsRequest { kinds, state: state(HoldState::Standing), ..all() }
        }),
        ("waiting for a job", on("other", "")),
        ("waiting for a step", on("other", "a")),
        ("waiting for another step", on("other", "b")),
        ("waiting for no job", on("none", "")),
        ("waiting for a job, orphaned", {
            ListHoldsRequest { state: state(HoldState::Orphaned), ..on("gone", "") }
        }),
    ];
    let mut table = String::new();
    for (name, request) in rows {
        let holds = client.holds(request.clone()).await;
        let words: Vec<_> = holds.iter().map(described).collect();
        let words = if words.is_empty() { "none".to_owned() } else { words.join(", ") };
        table.push_str(&format!("{name}: {words}\n"));
        for page_size in [1, 2, 3, 1000] {
            let by_pages = client.holds(ListHoldsRequest { page_size, ..request.clone() }).await;
            assert_eq!(by_pages, holds, "{name} by {page_size}");
        }
    }
    expect![[r#"
        all: one/a (released), one/b, one/a until (released), one/c on other, one/c on other/a, two/a on other, two/b on other/a, two/b on one/a, two/c until, two/c on gone
        of a job: one/a (released), one/b, one/a until (released), one/c on other, one/c on other/a
        of a job without any: none
        of a step: one/c on other, one/c on other/a
        of no step: none
        standing: one/b, one/c on other, one/c on other/a, two/a on other, two/b on other/a, two/b on one/a, two/c until, two/c on gone
        released: one/a (released), one/a until (released)
        orphaned: two/c on gone
        manual: one/a (released), one/b
        scheduled or manual of a job: one/a (released), one/b, one/a until (released)
        standing manual: one/b
        waiting for a job: one/c on other, two/a on other, one/c on other/a, two/b on other/a
        waiting for a step: one/c on other/a, two/b on other/a
        waiting for another step: none
        waiting for no job: none
        waiting for a job, orphaned: two/c on gone
    "#]].assert_eq(&table);
    assert_eq!(stranger.holds(all()).await.len(), 1);
}

fn described(hold: &HoldRecord) -> String {
    let mut text = format!("{}/{}", hold.job_id, hold.step_id);
    match (&hold.dependent_job_id, &hold.dependent_step_id) {
        (Some(job_id), Some(step_id)) => text.push_str(&format!(" on {job_id}/{step_id}")),
        (Some(job_id), None) => text.push_str(&format!(" on {job_id}")),
        _ => text.push_str(hold.scheduled_release_time.map_or("", |_| " until")),
    }
    text + if hold.release_time.is_some() { " (released)" } else { "" }
}

#[tokio::test]
async fn a_page_token_is_of_its_list() {
    let client = client_with(&["one", "two"]).await;
    client.done(Hold, "one", &["a", "b", "c"]).await;
    client.done(Hold, "two", &["a", "b", "c"]).await;
    let request = ListHoldsRequest { page_size: 2, ..holds_of("one") };
    let first = client.jobs.clone().list_holds(request.clone()).await.unwrap().into_inner();
    assert_eq!(first.holds.len(), 2);
    let page_token = first.next_page_token;
    client.call(ListHoldsRequest { page_token: page_token.clone(), page_size: 1, ..request }).await.unwrap();
    let invalid = [
        ListHoldsRequest { page_token: "x".to_owned(), ..holds_of("one") },
        ListHoldsRequest { page_token: page_token.clone(), ..holds_of("two") },
        ListHoldsRequest { page_token: page_token.clone(), ..ListHoldsRequest::default() },
        ListHoldsRequest { page_token, state: HoldState::Standing.into(), ..holds_of("one") },
    ];
    for request in invalid {
        let outcome = client.call(request).await;
        refused(outcome, Code::InvalidArgument, ErrorReason::PageTokenInvalid);
    }
}

/// Everything that resolves a dependency, each on a server of its own.
#[tokio::test]
async fn a_dependency_is_released_when_what_it_waits_for_is_done() {
    #[derive(Clone, Copy, Debug)]
    enum Done {
        TheJob,
        TheJobByDevice,
        TheStep,
        TheStepSkipped,
        TheStepByDevice,
        ALastStep,
    }
    for way in [
        Done::TheJob,
        Done::TheJobByDevice,
        Done::TheStep,
        Done::TheStepSkipped,
        Done::TheStepByDevice,
        Done::ALastStep,
    ] {
        let client = client_with(&["job", "other", "third"]).await;
        let wanted = match way {
            Done::TheJob | Done::TheJobByDevice => "other",
            Done::TheStep | Done::TheStepSkipped | Done::TheStepByDevice => "other/a",
            Done::ALastStep => "other/c",
        };
        place(&client, waits("job/a", wanted)).await;
        place(&client, waits("job/b", wanted)).await;
        place(&client, waits("job/b", "third")).await;
        place(&client, perform(Hold, "job", &["a"])).await;
        let mut watch = client.watch_on().await;
        match way {
            Done::TheJob | Done::ALastStep => complete(&client, "other").await,
            Done::TheJobByDevice => drop(client.sync(of_device("other", JobStatus::Completed, "b")).await),
            Done::TheStep => do_step(&client, "other", "a").await,
            Done::TheStepSkipped => client.done(Finish, "other", &["a"]).await,
            Done::TheStepByDevice => drop(client.sync(of_device("other", JobStatus::Active, "a")).await),
        }
        let mut steps = BTreeSet::new();
        for _ in 0..2 {
            let hold = released(&mut watch).await;
            assert_eq!(hold.release_cause(), HoldReleaseCause::Dependency, "{way:?}");
            steps.insert(hold.step_id);
        }
        assert_eq!(steps, BTreeSet::from(["a".to_owned(), "b".to_owned()]), "{way:?}");
        // What waits for something else stays, as does what waits for a person.
        let standing = ListHoldsRequest { state: HoldState::Standing.into(), ..holds_of("job") };
        let standing: Vec<_> = client.holds(standing).await.iter().map(described).collect();
        assert_eq!(standing, ["job/b on third", "job/a"], "{way:?}");
    }
}

/// The store's newest place moves before the log's followers can read it, and nothing comes after that would wake them.
#[tokio::test]
async fn a_dependency_is_released_on_a_quiet_server() {
    let server = TestServer::sled().await;
    let client = server.client().await;
    client.publish(flow()).await;
    for round in 0..30 {
        let [job, other] = ["job", "other"].map(|name| format!("{name}-{round}"));
        for id in [&job, &other] {
            client.create(id, following("flow")).await;
        }
        place(&client, waits(&format!("{job}/a"), &format!("{other}/a"))).await;
        let mut watch = client.watch_on().await;
        do_step(&client, &other, "a").await;
        assert_eq!(released(&mut watch).await.release_cause(), HoldReleaseCause::Dependency);
    }
}

/// What a device tells of a job: its status, and one execution of this step.
fn of_device(client_job_id: &str, status: JobStatus, step_id: &str) -> BasicSyncRequest {
    let mut body = device_body_of(client_job_id);
    let metadata = body.metadata.as_mut().unwrap();
    metadata.workflow_id = Some("flow".to_owned());
    metadata.workflow_version_id = None;
    metadata.set_status(status);
    body.completed_steps[0].single_step.as_mut().unwrap().step_id = Some(step_id.to_owned());
    body
}

/// One thing leads to another, over jobs.
#[tokio::test]
async fn what_is_released_can_be_done_and_releases_the_next() {
    let client = client_with(&["one", "two", "three"]).await;
    place(&client, waits("one/a", "two/a")).await;
    place(&client, waits("two/a", "three/a")).await;
    let mut watch = client.watch_on().await;
    do_step(&client, "three", "a").await;
    assert_eq!(released(&mut watch).await.job_id, "two");
    assert_eq!(client.act(Run, "one", &["a"]).await, [Held]);
    do_step(&client, "two", "a").await;
    assert_eq!(released(&mut watch).await.job_id, "one");
    do_step(&client, "one", "a").await;
}

#[tokio::test]
async fn another_organizations_job_of_the_same_name_releases_nothing() {
    let server = server().await;
    let client = server.client().await;
    let stranger = server.client_as(Caller::default().of("umbra")).await;
    stranger.publish(flow()).await;
    for client in [&client, &stranger] {
        client.create("job", following("flow")).await;
        client.create("other", following("flow")).await;
        place(client, waits("job/a", "other/a")).await;
    }
    let mut theirs = stranger.watch_on().await;
    do_step(&stranger, "other", "a").await;
    released(&mut theirs).await;
    assert_eq!(client.act(Run, "job", &["a"]).await, [Held]);
}

#[tokio::test]
async fn what_is_resolved_or_due_when_it_is_placed_is_released_at_once() {
    let client = client_with(&["job", "done", "other"]).await;
    complete(&client, "done").await;
    let due = in_millis(0);
    let both = |wanted: &str| PerformJobActionRequest {
        hold_scheduled_release: Some(due),
        ..waits("job/a", wanted)
    };
    for (hold, kind, cause) in [
        (until("job/a", due), HoldKind::Scheduled, HoldReleaseCause::Schedule),
        (until("job/a", Timestamp::default()), HoldKind::Scheduled, HoldReleaseCause::Schedule),
        (waits("job/a", "done"), HoldKind::Dependency, HoldReleaseCause::Dependency),
        (waits("job/a", "done/b"), HoldKind::Dependency, HoldReleaseCause::Dependency),
        (both("other"), HoldKind::Dependency, HoldReleaseCause::Schedule),
    ] {
        let before = client.history("job").await.len();
        place(&client, hold).await;
        let events = client.history("job").await.split_off(before);
        let types: Vec<_> = events.iter().map(JobEvent::r#type).collect();
        assert_eq!(types, [JobEventType::HoldPlaced, JobEventType::HoldReleased]);
        assert_eq!(events[0].time, events[1].time);
        let hold = events[1].hold.as_ref().unwrap();
        assert_eq!((hold.kind(), hold.release_cause()), (kind, cause));
        assert_eq!(client.step("job", "a").await.hold_ids, [""; 0]);
    }
    client.done(Run, "job", &["a"]).await;
}

#[tokio::test]
async fn with_a_time_and_a_dependency_the_first_to_come_releases() {
    let client = client_with(&["job", "other"]).await;
    let mut watch = client.watch_on().await;
    let with = |time: Timestamp| PerformJobActionRequest {
        hold_scheduled_release: Some(time),
        ..waits("job/a", "other/a")
    };
    place(&client, with(in_millis(800))).await;
    place(&client, with(in_millis(3_600_000))).await;
    assert_eq!(released(&mut watch).await.release_cause(), HoldReleaseCause::Schedule);
    assert_eq!(client.act(Run, "job", &["a"]).await, [Held]);
    do_step(&client, "other", "a").await;
    assert_eq!(released(&mut watch).await.release_cause(), HoldReleaseCause::Dependency);
    client.done(Run, "job", &["a"]).await;
}

#[tokio::test]
async fn a_hold_is_orphaned_when_the_other_job_is_aborted_or_deleted() {
    let client = client_with(&["job", "other", "third"]).await;
    place(&client, waits("job/a", "other")).await;
    place(&client, waits("job/a", "third/b")).await;
    let orphaned = ListHoldsRequest { state: HoldState::Orphaned.into(), ..holds_of("job") };
    let mut watch = client.watch_on().await;
    for (call, expected) in [
        (Call::from(abort("other")), ["job/a on other"].as_slice()),
        (abort("third").into(), &["job/a on other", "job/a on third/b"]),
    ] {
        client.call(call).await.unwrap();
        let event = watch.find(JobEventType::HoldUpdated).await;
        assert_eq!(event.actor.as_ref().unwrap().kind(), actor::Kind::Server);
        assert!(event.hold.as_ref().unwrap().orphaned);
        assert_eq!(event.step.unwrap().hold_ids.len(), 2, "it stands all the same");
        let listed: Vec<_> = client.holds(orphaned.clone()).await.iter().map(described).collect();
        assert_eq!(listed, expected);
    }
    let reply = client.perform(perform(Run, "job", &["a"])).await;
    assert_eq!(reply.step_responses[0].status(), Held);
    assert_eq!(reply.step_responses[0].status_description.matches("(orphaned)").count(), 2);

    // What is taken up again can be done.
    client.call(reopen("other", &["a"])).await.unwrap();
    let event = watch.find(JobEventType::HoldUpdated).await;
    assert!(!event.hold.unwrap().orphaned);
    complete(&client, "other").await;
    assert_eq!(described(&released(&mut watch).await), "job/a on other (released)");

    // What is deleted does not come back: a person releases it.
    client.call(delete("third")).await.unwrap();
    assert_eq!(client.holds(orphaned.clone()).await.len(), 1);
    let release = PerformJobActionRequest { r#type: ReleaseHold.into(), ..waits("job/a", "third/b") };
    place(&client, release).await;
    assert_eq!(client.holds(orphaned).await, []);
    client.done(Run, "job", &["a"]).await;
}

#[tokio::test]
async fn a_job_deleted_while_it_is_waited_for_orphans_the_hold() {
    let client = client_with(&["job", "other"]).await;
    place(&client, waits("job/a", "other/b")).await;
    let mut watch = client.watch_on().await;
    client.call(delete("other")).await.unwrap();
    let hold = watch.find(JobEventType::HoldUpdated).await.hold.unwrap();
    assert!(hold.orphaned && hold.release_time.is_none());
    refused(
        client.call(waits("job/b", "other")).await,
        Code::FailedPrecondition,
        ErrorReason::DependencyNotFound,
    );
}

/// A device tells that what it did was another step after all: in a job without a definition the first is gone.
#[tokio::test]
async fn a_step_that_goes_while_it_is_waited_for_orphans_the_hold() {
    let client = client_with(&["job"]).await;
    let mut body = of_device("ad hoc", JobStatus::Active, "x");
    body.metadata.as_mut().unwrap().workflow_id = Some("none".to_owned());
    body.cancelled_steps = std::mem::take(&mut body.completed_steps);
    let other = client.sync(body.clone()).await.job_id;
    place(&client, waits("job/a", &format!("{other}/x"))).await;
    let mut watch = client.watch_on().await;
    let step = body.cancelled_steps[0].single_step.as_mut().unwrap();
    step.step_id = Some("y".to_owned());
    step.updated.as_mut().unwrap().seconds += 1;
    client.sync(body).await;
    assert!(watch.find(JobEventType::HoldUpdated).await.hold.unwrap().orphaned);
}

#[tokio::test]
async fn a_hold_on_an_aborted_job_is_an_orphan_from_the_beginning() {
    let client = client_with(&["job", "other"]).await;
    client.call(abort("other")).await.unwrap();
    place(&client, waits("job/a", "other")).await;
    let events = client.history("job").await;
    let last = events.last().unwrap();
    assert_eq!(last.r#type(), JobEventType::HoldPlaced);
    assert!(last.hold.as_ref().unwrap().orphaned);
}

#[tokio::test]
async fn what_a_hold_should_wait_for_must_be_there() {
    let server = server().await;
    let client = server.client().await;
    let stranger = server.client_as(Caller::default().of("umbra")).await;
    for job_id in ["job", "other", "deleted"] {
        client.create(job_id, following("flow")).await;
    }
    client.call(delete("deleted")).await.unwrap();
    stranger.publish(flow()).await;
    stranger.create("theirs", following("flow")).await;
    let everything = client.everything().await;
    let mut table = String::new();
    for wanted in ["none", "none/a", "other/z", "deleted", "deleted/a", "theirs", "theirs/a"] {
        let status = client.call(waits("job/a", wanted)).await.unwrap_err();
        table.push_str(&format!("{wanted}: {}\n", line(&status)));
    }
    expect![[r#"
        none: FailedPrecondition DEPENDENCY_NOT_FOUND {"dependentJobId": "none"}
        none/a: FailedPrecondition DEPENDENCY_NOT_FOUND {"dependentJobId": "none", "dependentStepId": "a"}
        other/z: FailedPrecondition DEPENDENCY_NOT_FOUND {"dependentJobId": "other", "dependentStepId": "z"}
        deleted: FailedPrecondition DEPENDENCY_NOT_FOUND {"dependentJobId": "deleted"}
        deleted/a: FailedPrecondition DEPENDENCY_NOT_FOUND {"dependentJobId": "deleted", "dependentStepId": "a"}
        theirs: FailedPrecondition DEPENDENCY_NOT_FOUND {"dependentJobId": "theirs"}
        theirs/a: FailedPrecondition DEPENDENCY_NOT_FOUND {"dependentJobId": "theirs", "dependentStepId": "a"}
    "#]].assert_eq(&table);
    assert_eq!(client.everything().await, everything);
}

/// The circle that a refusal names.
#[track_caller]
fn circle(outcome: Result<(), Status>) -> String {
    let status = refused(outcome, Code::FailedPrecondition, ErrorReason::DependencyCircle);
    status.get_details_error_info().unwrap().metadata["circle"].clone()
}

/// Some holds that are placed, and one more that would close a circle.
#[tokio::test]
async fn a_circle_of_dependencies_is_refused_and_named() {
    /// The step that is held, and what it waits for.
    type Wait = (&'static str, &'static str);
    let rows: [(&[Wait], Wait, &str); 12] = [
        // Within a job.
        (&[], ("one/a", "one/a"), "one/a one/a"),
        (&[], ("one/b", "one"), "one/b one one/b"),
        (&[("one/a", "one/b")], ("one/b", "one/a"), "one/b one/a one/b"),
        (&[("one/a", "one/b"), ("one/b", "one/c")], ("one/c", "one/a"), "one/c one/a one/b one/c"),
        // Over two.
        (&[("one/a", "two/a")], ("two/a", "one/a"), "two/a one/a two/a"),
        (&[("one/a", "two/a")], ("two/a", "one"), "two/a one one/a two/a"),
        (&[("one/a", "two")], ("two/a", "one/a"), "two/a one/a two two/a"),
        (&[("one/a", "two")], ("two/a", "one"), "two/a one one/a two two/a"),
        (&[("one/a", "two/b"), ("two/b", "one/c")], ("one/c", "one/a"), "one/c one/a two/b one/c"),
        // Over three.
        (&[("one/a", "two/a"), ("two/a", "three/a")], ("three/a", "one/a"), "three/a one/a two/a three/a"),
        (
            &[("one/a", "two"), ("two/b", "three")],
            ("three/c", "one"),
            "three/c one one/a two two/b three three/c",
        ),
        (
            &[("one/a", "two"), ("two/b", "three/b")],
            ("three/b", "one"),
            "three/b one one/a two two/b three/b",
        ),
    ];
    for (standing, (held, wanted), expected) in rows {
        let client = client_with(&["one", "two", "three"]).await;
        for (held, wanted) in standing {
            place(&client, waits(held, wanted)).await;
        }
        let everything = client.everything().await;
        assert_eq!(circle(client.call(waits(held, wanted)).await), expected, "{standing:?}");
        let foretold = PerformJobActionRequest { validate_only: true, ..waits(held, wanted) };
        assert_eq!(circle(client.call(foretold).await), expected);
        assert_eq!(client.everything().await, everything);
    }
}

#[tokio::test]
async fn a_circle_by_one_of_several_steps_places_none() {
    let client = client_with(&["one", "two"]).await;
    place(&client, waits("two/a", "one/b")).await;
    let everything = client.everything().await;
    let hold = |step_ids: &[&str]| PerformJobActionRequest {
        step_ids: step_ids.iter().map(|&id| id.to_owned()).collect(),
        ..waits("one/a", "two")
    };
    assert_eq!(circle(client.call(hold(&["a", "b", "c"])).await), "one/b two two/a one/b");
    assert_eq!(client.everything().await, everything);
    // Without steps those are meant that are current.
    client.done(JobActionType::SetCurrentStep, "one", &["b"]).await;
    assert_eq!(circle(client.call(hold(&[])).await), "one/b two two/a one/b");
    place(&client, hold(&["a", "c"])).await;
}

/// Clients take only so much in an error: the way around is told as far as it fits.
#[tokio::test]
async fn a_circle_over_many_jobs_is_refused_and_its_beginning_named() {
    const JOBS: usize = 60;
    let server = server().await;
    let client = server.client().await;
    let ids: Vec<_> = (0..JOBS).map(|n| format!("{n:0>64}")).collect();
    for job_id in &ids {
        client.create(job_id, following("flow")).await;
    }
    for pair in ids.windows(2) {
        place(&client, waits(&format!("{}/a", pair[0]), &pair[1])).await;
    }
    let status = client.call(waits(&format!("{}/a", ids[JOBS - 1]), &ids[0])).await.unwrap_err();
    assert!(status.details().len() < 3 << 10, "{} bytes", status.details().len());
    assert!(status.message().len() < 1 << 10);
    let circle = circle(Err(status));
    let named: Vec<_> = circle.split(' ').collect();
    let (last, rest) = named.split_last().unwrap();
    assert_eq!(*last, "…");
    let whole = ids.iter().flat_map(|job_id| [job_id.clone(), format!("{job_id}/a")]);
    let whole: Vec<_> = [format!("{}/a", ids[JOBS - 1])].into_iter().chain(whole).collect();
    assert!(rest.len() > 10, "{circle}");
    assert_eq!(rest, &whole[..rest.len()]);
}

/// What goes the same way, and not around, is placed.
#[tokio::test]
async fn what_is_no_circle_is_placed() {
    let client = client_with(&["one", "two", "three"]).await;
    for (held, wanted) in [
        ("one/a", "two"),
        ("one/a", "two"),
        ("one/b", "two/a"),
        ("one/c", "three"),
        ("two/a", "three"),
        ("two/b", "three/a"),
        // `two/b` waits for `three/a`, and `two/c` for nothing.
        ("three/a", "two/c"),
        ("one/c", "one/a"),
    ] {
        place(&client, waits(held, wanted)).await;
    }
    // What was released waits no more.
    let client = client_with(&["one", "two"]).await;
    place(&client, waits("one/a", "two/a")).await;
    circle(client.call(waits("two/a", "one/a")).await);
    let release = PerformJobActionRequest { r#type: ReleaseHold.into(), ..waits("one/a", "two/a") };
    place(&client, release).await;
    place(&client, waits("two/a", "one/a")).await;
}

// What goes by itself.

#[tokio::test]
async fn a_scheduled_hold_is_released_within_about_a_second_of_its_time() {
    for server in [TestServer::memory().await, TestServer::sled().await] {
        let client = server.client().await;
        client.publish(flow()).await;
        let mut watch = client.watch_on().await;
        let mut due = Vec::new();
        for n in 0..5_u64 {
            let job_id = format!("job-{n}");
            client.create(&job_id, following("flow")).await;
            let time = in_millis(2_000 + 100 * n);
            place(&client, until(&format!("{job_id}/a"), time)).await;
            due.push((job_id, time));
        }
        for (job_id, time) in due {
            let hold = released(&mut watch).await;
            assert_eq!((&hold.job_id, hold.release_cause()), (&job_id, HoldReleaseCause::Schedule));
            let late = moment(hold.release_time).0 - time.seconds;
            assert!(moment(hold.release_time) >= moment(Some(time)) && late <= 2, "{late} seconds");
        }
        server.stop().await;
    }
}

/// More than is taken at once, over several jobs.
#[tokio::test]
async fn however_much_falls_due_or_is_waited_for_all_of_it_is_released_once() {
    const JOBS: usize = 3;
    const PER_STEP: usize = 60;
    let client = client_with(&["one", "two", "three", "other"]).await;
    for is_scheduled in [false, true] {
        let mut watch = client.watch_on().await;
        // While they are placed some fall due already.
        let due = in_millis(300);
        for job_id in ["one", "two", "three"] {
            let hold = if is_scheduled { until("x/a", due) } else { waits("x/a", "other/a") };
            let step_ids = ["a", "b", "c"].map(str::to_owned).into();
            let hold = PerformJobActionRequest { job_id: job_id.to_owned(), step_ids, ..hold };
            for _ in 0..PER_STEP {
                place(&client, hold.clone()).await;
            }
        }
        if !is_scheduled {
            do_step(&client, "other", "a").await;
        }
        let mut released = BTreeSet::new();
        for _ in 0..JOBS * 3 * PER_STEP {
            released.insert(watch.find(JobEventType::HoldReleased).await.hold.unwrap().hold_id);
        }
        assert_eq!(released.len(), JOBS * 3 * PER_STEP);
        let standing = ListHoldsRequest { state: HoldState::Standing.into(), ..Default::default() };
        assert_eq!(client.holds(standing).await, []);
    }
}

#[tokio::test]
async fn the_holds_of_a_closed_job_go_and_those_of_a_deleted_one_are_gone() {
    let client = client_with(&["closed", "deleted", "open"]).await;
    let mut watch = client.watch_on().await;
    let due = in_millis(1500);
    for job_id in ["closed", "deleted", "open"] {
        place(&client, until(&format!("{job_id}/a"), due)).await;
    }
    client.call(close("closed")).await.unwrap();
    client.call(delete("deleted")).await.unwrap();
    let mut jobs = BTreeSet::new();
    for _ in 0..2 {
        jobs.insert(released(&mut watch).await.job_id);
    }
    assert_eq!(jobs, BTreeSet::from(["closed".to_owned(), "open".to_owned()]));
    let listed: BTreeSet<_> =
        client.holds(ListHoldsRequest::default()).await.into_iter().map(|hold| hold.job_id).collect();
    assert_eq!(listed, jobs);
}

/// Returns when the time has come: another server tells, by a hold until then.
async fn the_time_has_come(time: Timestamp) {
    let client = client_with(&["clock"]).await;
    let mut watch = client.watch_on().await;
    place(&client, until("clock/a", time)).await;
    watch.find(JobEventType::HoldReleased).await;
}

#[tokio::test]
async fn a_hold_that_fell_due_while_the_server_was_down_is_released_after_the_start() {
    for kill in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let process = Process::serve(directory.path(), &[]).await;
        let client = process.client().await;
        client.publish(flow()).await;
        client.create("job", following("flow")).await;
        let mut watch = client.watch_on().await;
        let due = in_millis(1500);
        place(&client, until("job/a", due)).await;
        assert_eq!(watch.event().await.r#type(), JobEventType::HoldPlaced);
        let token = watch.token.clone();
        if kill {
            process.kill().await;
        } else {
            process.terminate().await;
            drop(watch);
            assert_eq!(process.ended().await.code, Some(0));
        }
        the_time_has_come(due).await;

        let started = in_millis(0);
        let process = Process::serve(directory.path(), &[]).await;
        let client = process.client().await;
        let mut watch = client.watch_from(&token).await;
        let event = watch.event().await;
        assert_eq!((event.job_id.as_str(), event.r#type()), ("job", JobEventType::HoldReleased));
        assert_eq!(event.actor.unwrap().kind(), actor::Kind::Server);
        let hold = event.hold.unwrap();
        assert_eq!(hold.release_cause(), HoldReleaseCause::Schedule);
        assert!(moment(hold.release_time) >= moment(Some(started)), "not before: {hold:?}");
        client.done(Run, "job", &["a"]).await;
        let released = client.event_types("job").await;
        assert_eq!(released.iter().filter(|kind| **kind == JobEventType::HoldReleased).count(), 1);
        process.terminate().await;
        drop(watch);
        assert_eq!(process.ended().await.code, Some(0));
    }
}

/// The server is killed at the moment at which it has answered, so that the follower has often not come to it.
#[tokio::test]
async fn a_dependency_that_was_met_just_before_a_kill_is_released_after_the_start() {
    const ROUNDS: usize = 6;
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::serve(directory.path(), &[]).await;
    process.client().await.publish(flow()).await;
    for round in 0..ROUNDS {
        let client = process.client().await;
        let (job, other) = (format!("job-{round}"), format!("other-{round}"));
        client.create(&job, following("flow")).await;
        client.create(&other, following("flow")).await;
        place(&client, waits(&format!("{job}/a"), &format!("{other}/a"))).await;
        place(&client, waits(&format!("{job}/a"), &other)).await;
        client.done(Run, &other, &["a"]).await;
        let mut watch = client.watch_on().await;
        // The position before what follows, which no event has shown.
        let token = watch.token.clone();
        client.done(Finish, &other, &["a"]).await;
        process.kill().await;
        drop(watch);

        process = Process::serve(directory.path(), &[]).await;
        let client = process.client().await;
        watch = client.watch_from(&token).await;
        let hold = released(&mut watch).await;
        assert_eq!(described(&hold), format!("{job}/a on {other}/a (released)"));
        assert_eq!(client.act(Run, &job, &["a"]).await, [Held], "the other stands");
        let released = client.event_types(&job).await;
        assert_eq!(released.iter().filter(|kind| **kind == JobEventType::HoldReleased).count(), 1);
    }
    process.kill().await;
}

/// Who asks need not wait for the server to come to it by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn run_and_finish_see_what_is_resolved_at_once() {
    for server in [TestServer::memory().await, TestServer::sled().await] {
        let client = server.client().await;
        client.publish(flow()).await;
        for n in 0..20 {
            let (job, other) = (format!("job-{n}"), format!("other-{n}"));
            client.create(&job, following("flow")).await;
            client.create(&other, following("flow")).await;
            client.done(Run, &other, &["a"]).await;
            place(&client, waits(&format!("{job}/a"), &format!("{other}/a"))).await;
            let action = if n % 2 == 0 { Run } else { Finish };
            assert_eq!(client.act(action, &job, &["a"]).await, [Held]);
            client.done(Finish, &other, &["a"]).await;
            assert_eq!(client.act(action, &job, &["a"]).await, [Success], "{n}");
            let events = client.history(&job).await;
            let released = events.iter().filter(|event| event.r#type() == JobEventType::HoldReleased);
            let holds: Vec<_> = released.map(|event| event.hold.clone().unwrap()).collect();
            assert_eq!(holds.len(), 1, "whoever comes first, it is released once");
            assert_eq!(holds[0].release_cause(), HoldReleaseCause::Dependency);
            assert_eq!(holds[0].released_by, "");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn run_sees_what_is_due_at_once() {
    let client = client_with(&[]).await;
    for n in 0..4 {
        let job = format!("job-{n}");
        client.create(&job, following("flow")).await;
        let due = in_millis(60);
        place(&client, until(&format!("{job}/a"), due)).await;
        let asked: Vec<(bool, StepActionStatus)> = {
            let mut asked = Vec::new();
            while asked.last().is_none_or(|(_, status)| *status == Held) {
                let is_due = moment(Some(in_millis(0))) >= moment(Some(due));
                asked.push((is_due, client.act(Run, &job, &["a"]).await[0]));
            }
            asked
        };
        assert_eq!(asked.last().unwrap().1, Success);
        assert!(asked.iter().all(|(is_due, status)| !is_due || *status == Success), "{asked:?}");
        let types = client.event_types(&job).await;
        let expected = [JobEventType::HoldReleased, JobEventType::JobUpdated, JobEventType::StepStarted];
        assert_eq!(types[3..], expected);
    }
}

#[tokio::test]
async fn a_task_that_has_not_ended_by_its_deadline_ends_as_a_failure_that_may_pass() {
    let client = TestServer::memory().await.client().await;
    client.publish(chain("flow", vec![step("auto", Automatic)])).await;
    client.create("job", following("flow")).await;
    let mut watch = client.watch_on().await;
    let deadline = in_millis(100);
    let run = PerformJobActionRequest { task_deadline: Some(deadline), ..perform(Run, "job", &["auto"]) };
    place(&client, run).await;
    let event = watch.find(JobEventType::TaskCompleted).await;
    assert_eq!(event.actor.unwrap().kind(), actor::Kind::Server);
    let task = event.task.unwrap();
    assert_eq!(task.completion_status(), CompletionStatus::TempError);
    assert!(moment(task.completed) >= moment(Some(deadline)));
    let event = watch.event().await;
    assert_eq!(event.r#type(), JobEventType::StepError);
    assert_eq!(client.step("job", "auto").await.status(), StepStatus::Error);
    // It can be begun again, with another task.
    client.done(Run, "job", &["auto"]).await;
    assert_ne!(client.step("job", "auto").await.task_id, task.id);
}
