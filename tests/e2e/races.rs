//! Several ask for different things at the same moment: each gets one answer, and the history tells one story.

use std::{collections::BTreeSet, sync::Arc};

use holdpoint::proto::v1::{
    AbortJobRequest, ErrorReason, HoldReleaseCause,
    JobActionType::{self, Finish, Hold, ReleaseHold, Run, SetCurrentStep, Stop},
    JobEvent, JobEventType, JobStatus, PerformJobActionRequest, PerformJobActionResponse,
    PublishWorkflowRequest,
    StepActionStatus::{
        self, AlreadyExecuting, Held, NoActiveStep, NotHeld, NotRunning, StepNotCurrent, Success,
    },
    StepKind, StepStatus,
};
use tokio::sync::Barrier;
use tonic::{Code, Status};

use super::harness::{
    Caller, Client, TestServer, Watch, abort, chain, device_body_of, following, in_millis, perform, publish,
    refused, step, within,
};

/// How often each race is run: enough for either to come first.
const ROUNDS: usize = 24;

/// Two clients on connections of their own, one that looks on, and a watch that sees everything.
struct Race {
    server: TestServer,
    alice: Client,
    bob: Client,
    watch: Watch,
    jobs: BTreeSet<String>,
}

impl Race {
    async fn start() -> Self {
        let server = TestServer::memory().await;
        let alice = server.client().await;
        let bob = server.client_as(Caller::new("bob")).await;
        let watch = alice.watch_on().await;
        let steps = ["a", "b", "c"].map(|id| step(id, StepKind::Manual));
        alice.publish(chain("flow", steps.into())).await;
        Self { server, alice, bob, watch, jobs: BTreeSet::new() }
    }

    async fn job(&mut self, job_id: &str) {
        self.alice.create(job_id, following("flow")).await;
        self.jobs.insert(job_id.to_owned());
    }

    /// Every job's history is dense, and the watch was told all of it, once.
    async fn check(mut self) -> Vec<JobEvent> {
        let mut history = Vec::new();
        for job_id in &self.jobs {
            self.alice.event_types(job_id).await;
            history.extend(self.alice.history(job_id).await);
        }
        let mut told = Vec::new();
        for _ in 0..history.len() {
            told.push(self.watch.event().await);
        }
        let place = |event: &JobEvent| (event.job_id.clone(), event.revision);
        told.sort_by_key(place);
        history.sort_by_key(place);
        assert!(told == history, "{} events are not those of the histories", told.len());
        self.server.stop().await;
        history
    }
}

/// Both at the same moment.
async fn at_once<A, B>(
    one: impl Future<Output = A> + Send + 'static,
    other: impl Future<Output = B> + Send + 'static,
) -> (A, B)
where
    A: Send + 'static,
    B: Send + 'static,
{
    let gate = Arc::new(Barrier::new(2));
    let also = Arc::clone(&gate);
    let one = tokio::spawn(async move {
        gate.wait().await;
        one.await
    });
    let other = tokio::spawn(async move {
        also.wait().await;
        other.await
    });
    let (one, other) = within(async { tokio::join!(one, other) }).await;
    (one.unwrap(), other.unwrap())
}

async fn ask(client: Client, request: PerformJobActionRequest) -> Result<PerformJobActionResponse, Status> {
    let Client { mut jobs, .. } = client;
    jobs.perform_job_action(request).await.map(tonic::Response::into_inner)
}

/// What two are answered.
type Answers = (StepActionStatus, StepActionStatus);

/// What both are answered who act on a step at once.
async fn act(race: &Race, one: PerformJobActionRequest, other: PerformJobActionRequest) -> Answers {
    let (one, other) = at_once(ask(race.alice.clone(), one), ask(race.bob.clone(), other)).await;
    let status = |reply: Result<PerformJobActionResponse, Status>| reply.unwrap().step_responses[0].status();
    (status(one), status(other))
}

fn count(history: &[JobEvent], kind: JobEventType) -> usize {
    history.iter().filter(|event| event.r#type() == kind).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_do_the_same_to_a_step_one_does_it() {
    let rows: [(&[JobActionType], JobActionType, StepActionStatus, JobEventType); 4] = [
        (&[], Run, AlreadyExecuting, JobEventType::StepStarted),
        (&[Run], Finish, StepNotCurrent, JobEventType::StepFinished),
        (&[Run], Stop, NotRunning, JobEventType::StepPaused),
        (&[Hold], ReleaseHold, NotHeld, JobEventType::HoldReleased),
    ];
    for (before, action, refusal, kind) in rows {
        let mut race = Race::start().await;
        for n in 0..ROUNDS {
            let job_id = format!("job-{n}");
            race.job(&job_id).await;
            for action in before {
                race.alice.done(*action, &job_id, &["a"]).await;
            }
            let request = perform(action, &job_id, &["a"]);
            let answers = act(&race, request.clone(), request).await;
            let expected = [(Success, refusal), (refusal, Success)];
            assert!(expected.contains(&answers), "{action:?} {answers:?}");
        }
        assert_eq!(count(&race.check().await, kind), ROUNDS, "{action:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_do_different_things_to_a_step_do_them_one_after_the_other() {
    let rows: [(&[JobActionType], JobActionType, JobActionType, [Answers; 2]); 4] = [
        // A hold keeps the step from running, or comes too late.
        (&[], Run, Hold, [(Success, AlreadyExecuting), (Held, Success)]),
        (&[Run], Finish, Stop, [(Success, StepNotCurrent), (Success, Success)]),
        (&[Hold], ReleaseHold, Run, [(Success, Success), (Success, Held)]),
        (&[], SetCurrentStep, Run, [(AlreadyExecuting, Success), (Success, Success)]),
    ];
    for (before, one, other, expected) in rows {
        let mut race = Race::start().await;
        for n in 0..ROUNDS {
            let job_id = format!("job-{n}");
            race.job(&job_id).await;
            for action in before {
                race.alice.done(*action, &job_id, &["a"]).await;
            }
            let request = |action| perform(action, &job_id, &["a"]);
            let answers = act(&race, request(one), request(other)).await;
            assert!(expected.contains(&answers), "{one:?} and {other:?}: {answers:?}");
        }
        race.check().await;
    }
}

/// The same request of the same caller, on two connections, is one request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_asked_twice_at_once_is_done_once() {
    let mut race = Race::start().await;
    let also_alice = race.server.client().await;
    for n in 0..ROUNDS {
        let job_id = format!("job-{n}");
        race.job(&job_id).await;
        let request =
            PerformJobActionRequest { request_id: format!("request-{n}"), ..perform(Run, &job_id, &["a"]) };
        let (one, other) =
            at_once(ask(race.alice.clone(), request.clone()), ask(also_alice.clone(), request.clone())).await;
        let (one, other) = (one.unwrap(), other.unwrap());
        assert!(one.success);
        assert_eq!(one, other);
        // Another caller's is another request.
        let reply = ask(race.bob.clone(), request).await.unwrap();
        assert_eq!(reply.step_responses[0].status(), AlreadyExecuting);
    }
    let history = race.check().await;
    assert_eq!(count(&history, JobEventType::StepStarted), ROUNDS);
    let of_requests = history.iter().filter(|event| !event.request_id.is_empty()).count();
    assert_eq!(of_requests, 2 * ROUNDS, "that the job begins, and the step");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_with_the_same_etag_one_is_refused() {
    let mut race = Race::start().await;
    for n in 0..ROUNDS {
        let job_id = format!("job-{n}");
        race.job(&job_id).await;
        let etag = race.alice.job(&job_id).await.etag;
        let run = PerformJobActionRequest { etag: etag.clone(), ..perform(Run, &job_id, &["a"]) };
        let abort = AbortJobRequest { etag, ..abort(&job_id) };
        let bob = race.bob.clone();
        let (run, abort) = at_once(ask(race.alice.clone(), run), async move { bob.call(abort).await }).await;
        let status = race.alice.job(&job_id).await.status();
        match run {
            Ok(reply) => {
                assert!(reply.success);
                assert_eq!(status, JobStatus::Active);
                refused(abort, Code::Aborted, ErrorReason::EtagMismatch);
            }
            refusal => {
                refused(refusal, Code::Aborted, ErrorReason::EtagMismatch);
                assert_eq!((abort.is_ok(), status), (true, JobStatus::Aborted));
            }
        }
    }
    race.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_and_a_devices_report_of_the_step_are_both_told() {
    let mut race = Race::start().await;
    for n in 0..ROUNDS {
        let job_id = format!("job-{n}");
        race.job(&job_id).await;
        let mut body = device_body_of(&job_id);
        let metadata = body.metadata.as_mut().unwrap();
        (metadata.workflow_id, metadata.workflow_version_id) = (Some("flow".to_owned()), None);
        metadata.set_status(JobStatus::Active);
        body.completed_steps[0].single_step.as_mut().unwrap().step_id = Some("a".to_owned());
        let action = if n % 2 == 0 { Run } else { Hold };
        let device = race.bob.clone();
        let (acted, synced) =
            at_once(ask(race.alice.clone(), perform(action, &job_id, &["a"])), async move {
                device.sync(body).await
            })
            .await;
        let answer = acted.unwrap().step_responses[0].status();
        // The device tells of no other step, so none is current afterwards.
        let late = if action == Run { NoActiveStep } else { StepNotCurrent };
        assert!(answer == Success || answer == late, "{answer:?}");
        assert_eq!(synced.job_id, job_id);

        let details = race.alice.details(&job_id).await;
        let done = details.steps.iter().find(|step| step.step_id == "a").unwrap();
        assert_eq!(done.status(), StepStatus::Finished, "what a device did has happened");
        let types = race.alice.event_types(&job_id).await;
        let place = |kind| types.iter().position(|one| *one == kind);
        let reported = place(JobEventType::ReportRecorded).unwrap();
        let kind = if action == Run { JobEventType::StepStarted } else { JobEventType::HoldPlaced };
        assert_eq!(place(kind).is_some(), answer == Success, "{types:?}");
        assert!(place(kind).is_none_or(|acted| acted < reported), "{types:?}");
        assert_eq!(details.reports[0].overrode_hold, action == Hold && answer == Success);
    }
    let history = race.check().await;
    assert_eq!(count(&history, JobEventType::ReportRecorded), ROUNDS);
}

fn waits(job_id: &str, wanted: &str, wanted_step: Option<&str>) -> PerformJobActionRequest {
    PerformJobActionRequest {
        dependent_job_id: Some(wanted.to_owned()),
        dependent_step_id: wanted_step.map(str::to_owned),
        ..perform(Hold, job_id, &["a"])
    }
}

/// Of placements that together would close a circle, whichever comes last is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_is_not_closed_by_those_who_place_its_parts_at_once() {
    let mut race = Race::start().await;
    for n in 0..ROUNDS {
        let jobs = [format!("one-{n}"), format!("two-{n}"), format!("three-{n}")];
        for job_id in &jobs {
            race.job(job_id).await;
        }
        let [one, two, three] = &jobs;
        let step = Some("a").filter(|_| n % 2 == 0);
        let parts = if n % 3 == 0 {
            vec![waits(one, two, step), waits(two, three, None), waits(three, one, step)]
        } else {
            vec![waits(one, two, None), waits(two, one, step)]
        };
        let gate = Arc::new(Barrier::new(parts.len()));
        let mut placing = Vec::new();
        for part in parts {
            let (gate, client) = (Arc::clone(&gate), race.server.client().await);
            placing.push(tokio::spawn(async move {
                gate.wait().await;
                ask(client, part).await
            }));
        }
        let mut placed = Vec::new();
        let mut refusals = Vec::new();
        for place in placing {
            match within(place).await.unwrap() {
                Ok(reply) => placed.push(reply.success),
                refusal => refusals.push(refusal),
            }
        }
        assert_eq!(refusals.len(), 1, "one of them, and no other");
        for refusal in refusals {
            refused(refusal, Code::FailedPrecondition, ErrorReason::DependencyCircle);
        }
        assert!(placed.iter().all(|placed| *placed));
        let mut standing = 0;
        for job_id in &jobs {
            standing += race.alice.step(job_id, "a").await.hold_ids.len();
        }
        assert_eq!(standing, placed.len());
    }
    race.check().await;
}

/// A hold that is placed while what it waits for ends is not missed, whichever comes first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dependency_placed_while_it_is_met_is_released_once() {
    let mut race = Race::start().await;
    let mut onlooker = race.bob.watch_on().await;
    for n in 0..ROUNDS {
        let (job_id, other) = (format!("job-{n}"), format!("other-{n}"));
        race.job(&job_id).await;
        race.job(&other).await;
        race.alice.done(Run, &other, &["a"]).await;
        let answers = act(&race, waits(&job_id, &other, Some("a")), perform(Finish, &other, &["a"])).await;
        assert_eq!(answers, (Success, Success));
        let hold = onlooker.find(JobEventType::HoldReleased).await.hold.unwrap();
        assert_eq!((hold.job_id, hold.release_cause), (job_id, HoldReleaseCause::Dependency.into()));
    }
    assert_eq!(count(&race.check().await, JobEventType::HoldReleased), ROUNDS);
}

/// Whoever releases it, a hold is released once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hold_that_falls_due_while_it_is_released_is_released_once() {
    const ROUNDS: usize = 8;
    let mut race = Race::start().await;
    let mut onlooker = race.bob.watch_on().await;
    for n in 0..ROUNDS {
        let job_id = format!("job-{n}");
        race.job(&job_id).await;
        let hold_scheduled_release = Some(in_millis(20));
        let hold = PerformJobActionRequest { hold_scheduled_release, ..perform(Hold, &job_id, &["a"]) };
        ask(race.alice.clone(), hold).await.unwrap();
        // The server comes to it by itself meanwhile.
        let action = if n % 2 == 0 { ReleaseHold } else { Run };
        let answers = loop {
            let answers = act(&race, perform(action, &job_id, &["a"]), perform(Run, &job_id, &["a"])).await;
            if answers.0 != Held || answers.1 != Held {
                break answers;
            }
        };
        let cause = onlooker.find(JobEventType::HoldReleased).await.hold.unwrap().release_cause();
        let by_hand = action == ReleaseHold && answers.0 == Success;
        let expected = if by_hand { HoldReleaseCause::Manual } else { HoldReleaseCause::Schedule };
        assert_eq!(cause, expected, "{answers:?}");
    }
    assert_eq!(count(&race.check().await, JobEventType::HoldReleased), ROUNDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_published_at_once_are_all_different() {
    let race = Race::start().await;
    let small = || chain("raced", vec![step("a", StepKind::Manual)]);
    race.alice.publish(small()).await;
    let ask = |client: &Client, newest: &str| {
        let newest_version_id = newest.to_owned();
        let request = PublishWorkflowRequest { newest_version_id, ..publish(small()) };
        let mut workflows = client.workflows.clone();
        async move {
            let reply = workflows.publish_workflow(request).await?.into_inner();
            Ok::<_, Status>(reply.workflow.unwrap().version_id)
        }
    };
    for n in 1..=ROUNDS {
        let newest = (2 * n - 1).to_string();
        let one = ask(&race.alice, &newest);
        let other = ask(&race.bob, &newest);
        // Who names the newest version is refused if the other came first.
        let (one, other) = at_once(one, other).await;
        let (accepted, refusal) = if one.is_ok() { (one, other) } else { (other, one) };
        refused(refusal, Code::Aborted, ErrorReason::EtagMismatch);
        assert_eq!(accepted.unwrap(), (2 * n).to_string());
        race.alice.publish(small()).await;
    }
    let one = ask(&race.alice, "");
    let other = ask(&race.bob, "");
    let (one, other) = at_once(one, other).await;
    let both = BTreeSet::from([one.unwrap(), other.unwrap()]);
    let next = 2 * ROUNDS + 2;
    assert_eq!(both, BTreeSet::from([next.to_string(), (next + 1).to_string()]));
}
