//! `PerformJobAction` beside the seed that describes it: each of its sentences, in its order, by a test whose name says it.
//!
//! What the seed says of the `token` is what any call says of its caller, and tested with those.

use expect_test::expect;
use holdpoint::proto::v1::{
    Assignee, ErrorReason, HoldKind, HoldReleaseCause, Job,
    JobActionType::{self, Finish, Hold, RefreshStatus, ReleaseHold, Run, SetCurrentStep, Stop},
    JobEventType, JobStatus, Path, PerformJobActionRequest, PerformJobActionResponse,
    StepActionStatus::{
        self, AlreadyExecuting, AssignedToDifferentUser, Held, JobClosed, NoActiveStep, NoStartedStep,
        NotHeld, NotRunning, StepNotAuto, StepNotCurrent, StepNotInDiagram, Success, WaitingForInfo,
    },
    StepDefinition,
    StepKind::{Automatic, Manual, OpenApp, Question},
    StepResponse, StepStatus, Workflow,
};
use prost_types::{Timestamp, Value};
use tonic::Code;

use super::harness::{
    Call, Caller, Client, TestServer, assign, chain, close, device_body_of, following, from_json, group,
    holds_of, in_millis, line, moment, perform, refused, step, titled, to_json, update, user, words,
    workflow,
};

/// Steps that are all current from the beginning, and lead nowhere.
fn at_once(steps: Vec<StepDefinition>) -> Workflow {
    let ids: Vec<_> = steps.iter().map(|step| step.step_id.clone()).collect();
    workflow("flow", &ids.iter().map(String::as_str).collect::<Vec<_>>(), steps)
}

/// Steps of the four kinds, all current: `manual`, `question`, `app` and `auto`.
fn of_each_kind() -> Workflow {
    let kinds = [("manual", Manual), ("question", Question), ("app", OpenApp), ("auto", Automatic)];
    at_once(kinds.into_iter().map(|(id, kind)| step(id, kind)).collect())
}

/// `a` leads to `b`, and that to `c`.
fn line_of_steps() -> Workflow {
    chain("flow", ["a", "b", "c"].map(|id| step(id, Manual)).into())
}

/// A server with the job `job`, which follows the workflow.
async fn server_with(workflow: Workflow) -> (TestServer, Client) {
    let server = TestServer::memory().await;
    let client = server.client().await;
    client.publish(workflow).await;
    client.create("job", following("flow")).await;
    (server, client)
}

async fn client_with(workflow: Workflow) -> Client {
    server_with(workflow).await.1
}

async fn status(client: &Client, step_id: &str) -> StepStatus {
    client.step("job", step_id).await.status()
}

async fn current(client: &Client) -> Vec<String> {
    client.job("job").await.current_step_ids
}

/// What an action on the step would be answered now.
async fn would(client: &Client, action: JobActionType, step_id: &str) -> StepActionStatus {
    let request = PerformJobActionRequest { validate_only: true, ..perform(action, "job", &[step_id]) };
    client.perform(request).await.step_responses[0].status()
}

async fn answer(client: &Client, action: JobActionType, step_id: &str, answer: Value) {
    let request = PerformJobActionRequest { answer: Some(answer), ..perform(action, "job", &[step_id]) };
    assert!(client.perform(request).await.success);
}

/// A hold on `a` that waits for another job, or a step of it.
fn dependency(job_id: &str, step_id: Option<&str>) -> PerformJobActionRequest {
    PerformJobActionRequest {
        dependent_job_id: Some(job_id.to_owned()),
        dependent_step_id: step_id.map(str::to_owned),
        ..perform(Hold, "job", &["a"])
    }
}

/// A hold on `a` until then.
fn scheduled(time: Timestamp) -> PerformJobActionRequest {
    PerformJobActionRequest { hold_scheduled_release: Some(time), ..perform(Hold, "job", &["a"]) }
}

// The introduction.

#[tokio::test]
async fn an_action_is_performed_on_one_or_more_steps() {
    let client = client_with(at_once(["a", "b", "c"].map(|id| step(id, Manual)).into())).await;
    let reply = client.perform(perform(Run, "job", &["c"])).await;
    assert_eq!(reply.step_responses.len(), 1);
    let reply = client.perform(perform(Run, "job", &["b", "c", "a"])).await;
    let answers: Vec<_> =
        reply.step_responses.iter().map(|answer| (answer.step_id.as_str(), answer.status())).collect();
    // Those that can, do, and each is answered in its place.
    assert_eq!(answers, [("b", Success), ("c", AlreadyExecuting), ("a", Success)]);
    assert!(!reply.success && reply.applied);
    let started = client.event_types("job").await;
    assert_eq!(started.iter().filter(|kind| **kind == JobEventType::StepStarted).count(), 3);
}

#[tokio::test]
async fn without_a_step_id_the_current_steps_are_acted_on() {
    let client = client_with(workflow(
        "flow",
        &["a", "c"],
        ["a", "b", "c"].map(|id| step(id, Manual)).into_iter().collect(),
    ))
    .await;
    assert_eq!(client.act(Run, "job", &[]).await, [Success, Success]);
    let now = [status(&client, "a").await, status(&client, "b").await, status(&client, "c").await];
    assert_eq!(now, [StepStatus::Running, StepStatus::Pending, StepStatus::Running]);
    assert_eq!(client.act(Finish, "job", &[]).await, [Success, Success]);
    assert_eq!(client.job("job").await.status(), JobStatus::Completed);
}

#[test]
fn the_actions_are_these_seven() {
    let names = words("holdpoint.v1.JobActionType");
    let names: Vec<_> = names.iter().map(|name| name.trim_start_matches("JOB_ACTION_TYPE_")).collect();
    assert_eq!(
        names,
        [
            "UNSPECIFIED",
            "RUN",
            "FINISH",
            "STOP",
            "SET_CURRENT_STEP",
            "HOLD",
            "RELEASE_HOLD",
            "REFRESH_STATUS"
        ]
    );
}

// Run.

#[tokio::test]
async fn run_starts_a_step_of_any_kind() {
    let client = client_with(of_each_kind()).await;
    for (step_id, expected, said) in [
        ("manual", StepStatus::Running, "The step was started running"),
        ("app", StepStatus::Running, "The step was started running"),
        ("auto", StepStatus::Running, "The step was started running"),
        ("question", StepStatus::WaitingForInfo, "The step was started, and waits for its answer"),
    ] {
        let reply = client.perform(perform(Run, "job", &[step_id])).await;
        assert!(reply.success, "{reply:?}");
        assert_eq!(reply.step_responses[0].status_description, said);
        let step = client.step("job", step_id).await;
        assert_eq!(step.status(), expected);
        assert!(step.start_time.is_some());
    }
    assert_eq!(client.job("job").await.status(), JobStatus::Active, "the first begins the job");
    let details = client.details("job").await;
    let auto = client.step("job", "auto").await;
    assert_eq!(details.tasks.len(), 1, "who does an automatic step is told by a task");
    assert_eq!((&details.tasks[0].id, details.tasks[0].step_id.as_str()), (&auto.task_id, "auto"));
}

#[tokio::test]
async fn run_marks_a_step_as_finished_that_is_set_to_proceed_to_next() {
    for (kind, given) in [(Manual, None), (OpenApp, None), (Question, Some("yes"))] {
        let mut steps = vec![step("a", kind), step("b", Manual)];
        steps[0].proceed_to_next = true;
        let client = client_with(chain("flow", steps)).await;
        let request =
            PerformJobActionRequest { answer: given.map(Into::into), ..perform(Run, "job", &["a"]) };
        assert!(client.perform(request).await.success, "{kind:?}");
        assert_eq!(status(&client, "a").await, StepStatus::Finished, "{kind:?}");
        assert_eq!(current(&client).await, ["b"], "{kind:?}");
    }
}

#[tokio::test]
async fn run_leaves_a_step_running_that_is_not() {
    let client = client_with(line_of_steps()).await;
    client.done(Run, "job", &["a"]).await;
    assert_eq!(status(&client, "a").await, StepStatus::Running);
    assert_eq!(current(&client).await, ["a"]);
}

// Finish.

#[tokio::test]
async fn finish_ends_the_running_of_a_step_and_proceeds_to_the_next() {
    let client = client_with(line_of_steps()).await;
    for (step_id, next) in [("a", vec!["b"]), ("b", vec!["c"]), ("c", vec![])] {
        client.done(Run, "job", &[step_id]).await;
        client.done(Finish, "job", &[step_id]).await;
        assert_eq!(status(&client, step_id).await, StepStatus::Finished);
        assert_eq!(current(&client).await, next);
    }
    let job = client.job("job").await;
    assert_eq!((job.status(), job.closed), (JobStatus::Completed, false));
}

// Stop.

#[tokio::test]
async fn stop_ends_the_running_of_a_step_which_can_then_be_run_again_or_finished() {
    for (kind, finished) in
        [(Manual, Success), (OpenApp, Success), (Question, NoStartedStep), (Automatic, NoStartedStep)]
    {
        let client = client_with(at_once(vec![step("a", kind), step("b", kind)])).await;
        client.done(Run, "job", &["a", "b"]).await;
        client.done(Stop, "job", &["a", "b"]).await;
        assert_eq!(client.act(Stop, "job", &["a"]).await, [NotRunning]);
        client.done(Run, "job", &["a"]).await;
        let now = status(&client, "a").await;
        assert!(matches!(now, StepStatus::Running | StepStatus::WaitingForInfo), "{kind:?} {now:?}");
        // What was cancelled is finished only where it can be skipped.
        assert_eq!(client.act(Finish, "job", &["b"]).await, [finished], "{kind:?}");
    }
}

#[tokio::test]
async fn stop_cancels_an_automatic_step_and_a_question() {
    let client = client_with(of_each_kind()).await;
    client.done(Run, "job", &["auto", "question"]).await;
    client.done(Stop, "job", &["auto", "question"]).await;
    assert_eq!(status(&client, "auto").await, StepStatus::Cancelled);
    assert_eq!(status(&client, "question").await, StepStatus::Cancelled);
    let task = &client.details("job").await.tasks[0];
    assert_eq!(task.completion_status().as_str_name(), "COMPLETION_STATUS_TERMINATED");
}

#[tokio::test]
async fn stop_pauses_a_manual_step_and_one_in_another_app() {
    let client = client_with(of_each_kind()).await;
    client.done(Run, "job", &["manual", "app"]).await;
    client.done(Stop, "job", &["manual", "app"]).await;
    assert_eq!(status(&client, "manual").await, StepStatus::Paused);
    assert_eq!(status(&client, "app").await, StepStatus::Paused);
}

#[tokio::test]
async fn stop_is_forced_by_who_may_on_a_step_of_somebody_else() {
    let mut steps = vec![step("a", Manual)];
    steps[0].default_assignee = Some(user("alice"));
    let (server, alice) = server_with(at_once(steps)).await;
    alice.done(Run, "job", &["a"]).await;
    let bob = server.client_as(Caller::new("bob").who_may("jobExecute")).await;
    assert_eq!(bob.act(Stop, "job", &["a"]).await, [AssignedToDifferentUser]);
    assert_eq!(status(&alice, "a").await, StepStatus::Running);
    // The privilege is for stopping, and for nothing else.
    let bob = server.client_as(Caller::new("bob").who_may("jobExecute,jobForceStop")).await;
    assert_eq!(bob.act(Finish, "job", &["a"]).await, [AssignedToDifferentUser]);
    assert_eq!(bob.act(Stop, "job", &["a"]).await, [Success]);
    assert_eq!(bob.act(Run, "job", &["a"]).await, [AssignedToDifferentUser]);
    assert_eq!(status(&alice, "a").await, StepStatus::Paused);
    let last = alice.history("job").await.pop().unwrap();
    assert_eq!(last.actor.unwrap().id, "bob");
}

// SetCurrentStep.

#[tokio::test]
async fn set_current_step_makes_a_single_step_the_active_one() {
    let client = client_with(workflow(
        "flow",
        &["a", "b"],
        ["a", "b", "c"].map(|id| step(id, Manual)).into_iter().collect(),
    ))
    .await;
    client.done(SetCurrentStep, "job", &["c"]).await;
    assert_eq!(current(&client).await, ["c"]);
    let now = [status(&client, "a").await, status(&client, "b").await, status(&client, "c").await];
    assert_eq!(now, [StepStatus::Pending, StepStatus::Pending, StepStatus::Ready]);
    client.done(SetCurrentStep, "job", &["a"]).await;
    assert_eq!(current(&client).await, ["a"]);
}

#[tokio::test]
async fn setting_a_step_current_takes_its_own_privilege() {
    let (server, _) = server_with(line_of_steps()).await;
    let request = perform(SetCurrentStep, "job", &["b"]);
    for (privileges, missing) in [
        ("jobExecute", "workflowSetStepCurrent"),
        ("workflowSetStepCurrent", "jobExecute"),
        ("jobUpdateHolds,adminBasic", "jobExecute"),
    ] {
        let bob = server.client_as(Caller::new("bob").who_may(privileges)).await;
        let status = bob.call(request.clone()).await.unwrap_err();
        let expected = format!("PermissionDenied PRIVILEGE_MISSING {{\"privilege\": \"{missing}\"}}");
        assert_eq!(line(&status), expected, "{privileges}");
    }
    let bob = server.client_as(Caller::new("bob").who_may("jobExecute,workflowSetStepCurrent")).await;
    assert_eq!(bob.act(SetCurrentStep, "job", &["b"]).await, [Success]);
}

// Hold.

#[tokio::test]
async fn hold_applies_a_hold_or_a_dependency_to_a_step() {
    let client = client_with(line_of_steps()).await;
    client.create("other", titled("other")).await;
    for (request, kind) in [
        (perform(Hold, "job", &["a"]), HoldKind::Manual),
        (scheduled(in_millis(3_600_000)), HoldKind::Scheduled),
        (dependency("other", None), HoldKind::Dependency),
    ] {
        assert!(client.perform(request).await.success, "{kind:?}");
        let event = client.history("job").await.pop().unwrap();
        assert_eq!(event.r#type(), JobEventType::HoldPlaced);
        let hold = event.hold.unwrap();
        assert_eq!((hold.kind(), hold.placed_by.as_str()), (kind, "alice"));
        assert_eq!((hold.job_id.as_str(), hold.step_id.as_str()), ("job", "a"));
        assert!(client.step("job", "a").await.hold_ids.contains(&hold.hold_id));
    }
}

/// What lifts a hold, each by itself.
#[tokio::test]
async fn run_and_finish_cannot_be_performed_until_the_dependency_is_resolved_or_released_or_expired() {
    #[derive(Debug)]
    enum LiftedBy {
        TheOtherStep,
        TheOtherJob,
        AnAction,
        ItsTime,
    }
    for way in [LiftedBy::TheOtherStep, LiftedBy::TheOtherJob, LiftedBy::AnAction, LiftedBy::ItsTime] {
        let client = client_with(at_once(vec![step("a", Manual)])).await;
        client.create("other", following("flow")).await;
        // A step that was begun and rests can be put on hold too: so that Finish has something to do.
        client.done(Run, "job", &["a"]).await;
        client.done(Stop, "job", &["a"]).await;
        let mut watch = client.watch_on().await;
        let hold = match way {
            LiftedBy::TheOtherStep => dependency("other", Some("a")),
            LiftedBy::TheOtherJob => dependency("other", None),
            LiftedBy::AnAction => perform(Hold, "job", &["a"]),
            LiftedBy::ItsTime => scheduled(in_millis(500)),
        };
        assert!(client.perform(hold.clone()).await.success, "{way:?}");
        for action in [Run, Finish] {
            let is_held = would(&client, action, "a").await == Held;
            let is_over = hold
                .hold_scheduled_release
                .is_some_and(|due| moment(Some(in_millis(0))) >= moment(Some(due)));
            assert!(is_held || is_over, "{way:?} {action:?}");
        }
        match way {
            LiftedBy::TheOtherStep | LiftedBy::TheOtherJob => {
                client.done(Run, "other", &["a"]).await;
                assert_eq!(would(&client, Run, "a").await, Held, "{way:?}: not before it is done");
                client.done(Finish, "other", &["a"]).await;
            }
            LiftedBy::AnAction => client.done(ReleaseHold, "job", &["a"]).await,
            LiftedBy::ItsTime => {}
        }
        let cause = match way {
            LiftedBy::TheOtherStep | LiftedBy::TheOtherJob => HoldReleaseCause::Dependency,
            LiftedBy::AnAction => HoldReleaseCause::Manual,
            LiftedBy::ItsTime => HoldReleaseCause::Schedule,
        };
        let released = watch.find(JobEventType::HoldReleased).await;
        assert_eq!(released.hold.unwrap().release_cause(), cause, "{way:?}");
        client.done(Run, "job", &["a"]).await;
        client.done(Finish, "job", &["a"]).await;
    }
}

#[tokio::test]
async fn without_a_scheduled_release_only_release_hold_removes_a_hold() {
    let client = client_with(line_of_steps()).await;
    client.done(Hold, "job", &["a"]).await;
    for action in [Run, Finish] {
        assert_eq!(client.act(action, "job", &["a"]).await, [Held]);
    }
    // Nor does anything else that happens to the job.
    client.done(SetCurrentStep, "job", &["b"]).await;
    client.done(SetCurrentStep, "job", &["a"]).await;
    assert_eq!(client.act(Run, "job", &["a"]).await, [Held]);
    client.done(ReleaseHold, "job", &["a"]).await;
    client.done(Run, "job", &["a"]).await;
}

#[tokio::test]
async fn of_several_holds_all_must_be_released_or_expired() {
    let client = client_with(line_of_steps()).await;
    client.create("other", following("flow")).await;
    let mut watch = client.watch_on().await;
    let holds = [
        dependency("other", None),
        dependency("other", Some("b")),
        scheduled(in_millis(300)),
        perform(Hold, "job", &["a"]),
    ];
    for hold in holds {
        assert!(client.perform(hold).await.success);
    }
    let hold = watch.find(JobEventType::HoldReleased).await.hold.unwrap();
    assert_eq!(hold.release_cause(), HoldReleaseCause::Schedule);
    for (released, standing) in [
        (PerformJobActionRequest { r#type: ReleaseHold.into(), ..dependency("other", Some("b")) }, 2),
        (PerformJobActionRequest { r#type: ReleaseHold.into(), ..dependency("other", None) }, 1),
        (perform(ReleaseHold, "job", &["a"]), 0),
    ] {
        let reply = client.perform(perform(Run, "job", &["a"])).await;
        assert_eq!(reply.step_responses[0].status(), Held);
        let said = &reply.step_responses[0].status_description;
        assert_eq!(said.matches("hold_").count(), standing + 1, "each is named: {said}");
        assert!(client.perform(released).await.success);
        assert_eq!(client.step("job", "a").await.hold_ids.len(), standing);
    }
    client.done(Run, "job", &["a"]).await;
}

#[tokio::test]
async fn a_hold_cannot_be_applied_to_a_step_that_is_running() {
    let client = client_with(of_each_kind()).await;
    let all = ["manual", "question", "app", "auto"];
    client.done(Run, "job", &all).await;
    assert_eq!(client.act(Hold, "job", &all).await, [AlreadyExecuting; 4]);
    assert_eq!(client.holds(holds_of("job")).await, []);
}

#[tokio::test]
async fn a_hold_cannot_be_applied_when_the_job_is_closed() {
    let client = client_with(line_of_steps()).await;
    client.call(close("job")).await.unwrap();
    assert_eq!(client.act(Hold, "job", &["a"]).await, [JobClosed]);
    assert_eq!(client.act(Hold, "job", &[]).await, [JobClosed]);
    assert_eq!(client.holds(holds_of("job")).await, []);
}

// ReleaseHold.

#[tokio::test]
async fn release_hold_allows_run_and_finish_once_again() {
    let client = client_with(at_once(vec![step("a", Manual), step("b", Manual)])).await;
    client.done(Run, "job", &["b"]).await;
    client.done(Stop, "job", &["b"]).await;
    client.done(Hold, "job", &["a", "b"]).await;
    assert_eq!(client.act(Run, "job", &["a"]).await, [Held]);
    assert_eq!(client.act(Finish, "job", &["b"]).await, [Held]);
    client.done(ReleaseHold, "job", &["a", "b"]).await;
    client.done(Run, "job", &["a"]).await;
    client.done(Finish, "job", &["b"]).await;
    assert_eq!(client.act(ReleaseHold, "job", &["a"]).await, [NotHeld]);
}

// RefreshStatus.

#[tokio::test]
async fn refresh_status_has_the_step_follow_its_task_once_more() {
    let client = client_with(of_each_kind()).await;
    assert_eq!(client.act(RefreshStatus, "job", &["manual", "auto"]).await, [StepNotAuto; 2]);
    client.done(Run, "job", &["auto"]).await;
    let before = client.history("job").await;
    client.done(RefreshStatus, "job", &["auto"]).await;
    assert_eq!(client.history("job").await, before, "it is in line already");

    // A device takes an execution back that it told of, and so the step is READY, and nothing works at it any more.
    let mut body = device_body_of("job");
    let metadata = body.metadata.as_mut().unwrap();
    metadata.workflow_id = Some("flow".to_owned());
    metadata.set_status(JobStatus::Active);
    body.completed_steps[0].single_step.as_mut().unwrap().step_id = Some("auto".to_owned());
    body.cancelled_steps = std::mem::take(&mut body.completed_steps);
    client.sync(body).await;
    assert_eq!(status(&client, "auto").await, StepStatus::Ready);
    client.done(RefreshStatus, "job", &["auto"]).await;
    assert_eq!(status(&client, "auto").await, StepStatus::Ready);
}

#[tokio::test]
async fn only_administrators_and_those_the_job_is_assigned_to_refresh_the_status() {
    let mut steps = vec![step("auto", Automatic), step("other", Manual), step("crew", Manual)];
    steps[1].default_assignee = Some(user("bob"));
    steps[2].default_assignee = Some(group("crew"));
    let (server, client) = server_with(at_once(steps)).await;
    client.done(Run, "job", &["auto"]).await;
    let may = async |caller: Caller| {
        let client = server.client_as(caller).await;
        match client.call(perform(RefreshStatus, "job", &["auto"])).await {
            Ok(()) => true,
            refusal => {
                let status = refused(refusal, Code::PermissionDenied, ErrorReason::PrivilegeMissing);
                let expected =
                    "PermissionDenied PRIVILEGE_MISSING {\"privilege\": \"adminBasic, adminAdvanced\"}";
                assert_eq!(line(&status), expected);
                false
            }
        }
    };
    assert!(may(Caller::new("eve").who_may("adminBasic")).await);
    assert!(may(Caller::new("eve").who_may("adminAdvanced")).await);
    assert!(may(Caller::new("bob").who_may("")).await, "a step of the job is his");
    assert!(may(Caller::new("eve").in_groups("crew").who_may("")).await, "a step is her group's");
    assert!(!may(Caller::new("eve").in_groups("bob").who_may("jobExecute,jobUpdateHolds")).await);
    client.call(update("job", Job { assignee: Some(user("eve")), ..Job::default() })).await.unwrap();
    assert!(may(Caller::new("eve").who_may("")).await, "the job is hers");
}

// When a step is not started, stopped, finished or set as current.

#[tokio::test]
async fn nothing_is_done_to_a_step_that_is_not_assigned_to_the_current_user() {
    let assignees: [(Option<Assignee>, &str, bool); 5] = [
        (None, "", true),
        (Some(user("bob")), "", true),
        (Some(user("alice")), "", false),
        (Some(group("crew")), "crew,others", true),
        (Some(group("crew")), "others", false),
    ];
    for (assignee, groups, is_his) in assignees {
        let steps = vec![step("ready", Manual), step("running", Manual), step("set", Manual)];
        let (server, alice) = server_with(at_once(steps.clone())).await;
        alice.done(Run, "job", &["running"]).await;
        for step in &steps {
            alice.call(assign("job", &step.step_id, assignee.clone())).await.unwrap();
        }
        let caller = Caller::new("bob").in_groups(groups).who_may("jobExecute,workflowSetStepCurrent");
        let bob = server.client_as(caller).await;
        let expected = if is_his { Success } else { AssignedToDifferentUser };
        for (action, step_id) in [
            (Stop, "running"),
            (Run, "ready"),
            (Finish, "ready"),
            (Finish, "running"),
            (SetCurrentStep, "set"),
        ] {
            let answer = bob.act(action, "job", &[step_id]).await;
            assert_eq!(answer, [expected], "{action:?} by one in {groups:?}, of {assignee:?}");
        }
    }
}

#[tokio::test]
async fn nothing_is_done_to_a_step_when_no_active_step_is_defined() {
    let client = client_with(at_once(vec![step("a", Manual)])).await;
    client.done(Run, "job", &["a"]).await;
    client.done(Finish, "job", &["a"]).await;
    for action in [Run, Stop, Finish, SetCurrentStep] {
        assert_eq!(client.act(action, "job", &["a"]).await, [NoActiveStep], "{action:?}");
    }
    client.create("bare", titled("no steps")).await;
    for job_id in ["job", "bare"] {
        for (action, expected) in [
            (Run, NoActiveStep),
            (Stop, NoActiveStep),
            (Finish, NoActiveStep),
            (Hold, NoActiveStep),
            (RefreshStatus, NoActiveStep),
            (ReleaseHold, NotHeld),
        ] {
            let reply = client.perform(perform(action, job_id, &[])).await;
            let answer = &reply.step_responses[0];
            assert_eq!((reply.step_responses.len(), reply.success), (1, false));
            assert_eq!((answer.step_id.as_str(), answer.status()), ("", expected), "{action:?} {job_id}");
        }
    }
}

#[tokio::test]
async fn nothing_is_done_to_a_step_when_the_job_is_closed() {
    let client = client_with(line_of_steps()).await;
    client.call(close("job")).await.unwrap();
    let before = client.everything().await;
    for action in [Run, Stop, Finish, SetCurrentStep, Hold, ReleaseHold, RefreshStatus] {
        assert_eq!(client.act(action, "job", &["a"]).await, [JobClosed], "{action:?}");
        assert_eq!(client.act(action, "job", &["no such step"]).await, [JobClosed], "{action:?}");
        if action != SetCurrentStep {
            assert_eq!(client.act(action, "job", &[]).await, [JobClosed], "{action:?}");
        }
    }
    assert_eq!(client.everything().await, before);
}

#[tokio::test]
async fn a_step_that_cannot_be_skipped_is_not_finished_before_it_is_started_nor_when_cancelled() {
    for can_skip in [false, true] {
        let steps = [("manual", Manual), ("question", Question)];
        let steps = steps.map(|(id, kind)| StepDefinition { can_skip, ..step(id, kind) });
        let client = client_with(at_once(steps.into())).await;
        client.done(Run, "job", &["question"]).await;
        client.done(Stop, "job", &["question"]).await;
        assert_eq!(status(&client, "question").await, StepStatus::Cancelled);
        let expected = if can_skip { Success } else { NoStartedStep };
        assert_eq!(client.act(Finish, "job", &["manual", "question"]).await, [expected; 2]);
        let left_as =
            if can_skip { [StepStatus::Skipped; 2] } else { [StepStatus::Ready, StepStatus::Cancelled] };
        assert_eq!([status(&client, "manual").await, status(&client, "question").await], left_as);
    }
}

#[tokio::test]
async fn a_step_is_not_set_current_while_the_job_is_running() {
    for (step_id, kind) in [("manual", Manual), ("question", Question), ("auto", Automatic)] {
        let client = client_with(at_once(vec![step(step_id, kind), step("b", Manual)])).await;
        client.done(Run, "job", &[step_id]).await;
        assert_eq!(client.act(SetCurrentStep, "job", &["b"]).await, [AlreadyExecuting], "{kind:?}");
        assert_eq!(client.act(SetCurrentStep, "job", &[step_id]).await, [AlreadyExecuting], "{kind:?}");
        client.done(Stop, "job", &[step_id]).await;
        client.done(SetCurrentStep, "job", &["b"]).await;
    }
}

#[tokio::test]
async fn a_step_that_has_holds_does_not_run_nor_finish() {
    let client = client_with(of_each_kind()).await;
    let all = ["manual", "question", "app", "auto"];
    client.done(Hold, "job", &all).await;
    client.done(Hold, "job", &["manual"]).await;
    let before = client.everything().await;
    for action in [Run, Finish] {
        assert_eq!(client.act(action, "job", &all).await, [Held; 4]);
        assert_eq!(client.act(action, "job", &[]).await, [Held; 4]);
    }
    assert_eq!(client.everything().await, before);
    // It stands in the way of nothing else.
    client.done(SetCurrentStep, "job", &["manual"]).await;
}

// The parameters of Hold.

#[tokio::test]
async fn the_type_is_required() {
    let client = client_with(line_of_steps()).await;
    for kind in [0, 8, -1] {
        let request = PerformJobActionRequest { r#type: kind, ..perform(Hold, "job", &["a"]) };
        let status = refused(client.call(request).await, Code::InvalidArgument, ErrorReason::FieldInvalid);
        let what = if kind == 0 { "is required" } else { "is not a value of JobActionType" };
        assert_eq!(line(&status), format!("InvalidArgument FIELD_INVALID\n    type {what}"));
    }
}

#[tokio::test]
async fn the_steps_of_a_hold_are_those_given_or_else_all_active_ones() {
    let client = client_with(workflow(
        "flow",
        &["a", "b"],
        ["a", "b", "c"].map(|id| step(id, Manual)).into_iter().collect(),
    ))
    .await;
    client.create("other", titled("other")).await;
    let held = async |request: PerformJobActionRequest| {
        let reply = client.perform(request).await;
        assert!(reply.success);
        let steps = client.details("job").await.steps;
        let held = steps.iter().filter(|step| !step.hold_ids.is_empty()).map(|step| step.step_id.as_str());
        let held: Vec<_> = held.map(str::to_owned).collect();
        let waits = PerformJobActionRequest { r#type: ReleaseHold.into(), ..dependency("other", None) };
        client.perform(PerformJobActionRequest { step_ids: vec![], ..waits }).await;
        client.perform(perform(ReleaseHold, "job", &[])).await;
        held
    };
    assert_eq!(held(perform(Hold, "job", &["c", "a"])).await, ["a", "c"]);
    assert_eq!(held(perform(Hold, "job", &[])).await, ["a", "b"]);
    let of_all = PerformJobActionRequest { step_ids: Vec::new(), ..dependency("other", None) };
    assert_eq!(held(of_all).await, ["a", "b"]);
    assert_eq!(held(dependency("other", None)).await, ["a"]);
}

#[tokio::test]
async fn after_the_scheduled_release_the_hold_releases_without_an_action() {
    let client = client_with(line_of_steps()).await;
    let mut watch = client.watch_on().await;
    let due = in_millis(200);
    assert!(client.perform(scheduled(due)).await.success);
    let placed = watch.find(JobEventType::HoldPlaced).await;
    assert_eq!(placed.hold.as_ref().unwrap().scheduled_release_time, Some(due));
    let released = watch.find(JobEventType::HoldReleased).await;
    let hold = released.hold.unwrap();
    assert_eq!((hold.release_cause(), hold.released_by.as_str()), (HoldReleaseCause::Schedule, ""));
    assert!(moment(hold.release_time) >= moment(Some(due)), "not before its time");
    client.done(Run, "job", &["a"]).await;
}

#[tokio::test]
async fn a_dependent_job_keeps_the_job_from_run_and_finish() {
    let client = client_with(line_of_steps()).await;
    client.create("other", following("flow")).await;
    assert!(client.perform(dependency("other", None)).await.success);
    assert_eq!(client.act(Run, "job", &["a"]).await, [Held]);
    assert_eq!(client.act(Finish, "job", &["a"]).await, [Held]);
    for step_id in ["a", "b", "c"] {
        assert_eq!(client.act(Run, "job", &["a"]).await, [Held], "before {step_id}");
        client.done(Run, "other", &[step_id]).await;
        client.done(Finish, "other", &[step_id]).await;
    }
    client.done(Run, "job", &["a"]).await;
}

#[tokio::test]
async fn a_dependent_step_keeps_the_job_from_run_and_finish() {
    let client = client_with(line_of_steps()).await;
    client.create("other", following("flow")).await;
    assert!(client.perform(dependency("other", Some("a"))).await.success);
    assert_eq!(client.act(Run, "job", &["a"]).await, [Held]);
    assert_eq!(client.act(Finish, "job", &["a"]).await, [Held]);
    client.done(Run, "other", &["a"]).await;
    assert_eq!(client.act(Run, "job", &["a"]).await, [Held]);
    client.done(Finish, "other", &["a"]).await;
    client.done(Run, "job", &["a"]).await;
}

// The parameters of ReleaseHold.

#[tokio::test]
async fn the_steps_of_a_release_are_those_given_or_else_all_steps_on_hold() {
    let client = client_with(workflow(
        "flow",
        &["a", "b"],
        ["a", "b", "c", "d"].map(|id| step(id, Manual)).into_iter().collect(),
    ))
    .await;
    client.done(Hold, "job", &["a", "b", "c"]).await;
    client.done(ReleaseHold, "job", &["b"]).await;
    assert_eq!(client.act(ReleaseHold, "job", &["b", "d"]).await, [NotHeld, NotHeld]);
    let reply = client.perform(perform(ReleaseHold, "job", &[])).await;
    let released: Vec<_> = reply.step_responses.iter().map(|answer| answer.step_id.as_str()).collect();
    // Also one that is not current.
    assert_eq!((reply.success, released), (true, vec!["a", "c"]));
}

#[tokio::test]
async fn a_manual_hold_is_released_without_the_dependent_ids_and_a_dependency_by_both() {
    let client = client_with(line_of_steps()).await;
    client.create("other", following("flow")).await;
    client.create("third", following("flow")).await;
    let release = |job_id, step_id| PerformJobActionRequest {
        r#type: ReleaseHold.into(),
        ..dependency(job_id, step_id)
    };
    assert!(client.perform(perform(Hold, "job", &["a"])).await.success);
    assert!(client.perform(dependency("other", None)).await.success);
    assert!(client.perform(dependency("other", Some("b"))).await.success);
    let standing = async || client.step("job", "a").await.hold_ids.len();

    client.done(ReleaseHold, "job", &["a"]).await;
    assert_eq!(standing().await, 2);
    assert_eq!(client.act(ReleaseHold, "job", &["a"]).await, [NotHeld], "a dependency is named");
    for (job_id, step_id) in [("third", None), ("other", Some("a")), ("third", Some("b")), ("none", None)] {
        let reply = client.perform(release(job_id, step_id)).await;
        assert_eq!(reply.step_responses[0].status(), NotHeld, "{job_id} {step_id:?}");
    }
    assert!(client.perform(release("other", Some("b"))).await.success);
    assert_eq!(standing().await, 1);
    assert!(!client.perform(release("other", Some("b"))).await.success);
    assert!(client.perform(release("other", None)).await.success);
    assert_eq!(standing().await, 0);
    let causes = client.holds(holds_of("job")).await;
    assert!(causes.iter().all(|hold| hold.release_cause() == HoldReleaseCause::Manual));
    assert!(causes.iter().all(|hold| hold.released_by == "alice"));
}

// The body, the path, and what is answered.

/// The seed's body, with the enum's own word; and the members of its path.
const BODY: &str = r#"{
    "jobId": "job",
    "orgId": "acme",
    "itemId": "item 7",
    "type": "JOB_ACTION_TYPE_FINISH",
    "stepIds": [
        "string"
    ],
    "holdScheduledRelease": "2019-08-24T14:15:22Z",
    "dependentJobId": "string",
    "dependentStepId": "string"
}"#;

const REQUEST: &str = "holdpoint.v1.PerformJobActionRequest";
const RESPONSE: &str = "holdpoint.v1.PerformJobActionResponse";

#[tokio::test]
async fn the_example_of_a_body_is_accepted_and_what_finish_does_not_read_is_ignored() {
    let client = client_with(at_once(vec![step("string", Manual)])).await;
    client.done(Run, "job", &["string"]).await;
    let request: PerformJobActionRequest = from_json(REQUEST, BODY);
    let again: serde_json::Value = serde_json::from_str(&to_json(REQUEST, &request)).unwrap();
    assert_eq!(again, serde_json::from_str::<serde_json::Value>(BODY).unwrap(), "no member is lost");
    let reply = client.perform(request).await;
    assert!(reply.success);
    assert_eq!(status(&client, "string").await, StepStatus::Finished);
    assert_eq!(client.holds(holds_of("job")).await, []);
}

#[tokio::test]
async fn the_members_of_a_hold_are_ignored_by_every_other_action() {
    for action in [Run, Finish, Stop, SetCurrentStep, RefreshStatus] {
        let client = client_with(of_each_kind()).await;
        client.done(Run, "job", &["auto"]).await;
        let step_id = if action == SetCurrentStep { "manual" } else { "auto" };
        let plain = perform(action, "job", &[step_id]);
        let full = PerformJobActionRequest {
            hold_scheduled_release: Some(Timestamp { seconds: 0, nanos: -1 }),
            dependent_step_id: Some("x".repeat(65)),
            validate_only: true,
            ..plain.clone()
        };
        let expected = client.perform(PerformJobActionRequest { validate_only: true, ..plain }).await;
        assert_eq!(client.perform(full).await, expected, "{action:?}");
    }
    let client = client_with(line_of_steps()).await;
    client.done(Hold, "job", &["a"]).await;
    let hold_scheduled_release = Some(Timestamp { seconds: i64::MAX, nanos: -1 });
    let request = PerformJobActionRequest { hold_scheduled_release, ..perform(ReleaseHold, "job", &["a"]) };
    assert!(client.perform(request).await.success);
}

#[tokio::test]
async fn the_path_names_job_organization_and_item() {
    let client = client_with(line_of_steps()).await;
    let in_org = |org: &str| PerformJobActionRequest {
        org_id: Some(org.to_owned()),
        item_id: Some("item 7".to_owned()),
        ..perform(Run, "job", &["a"])
    };
    let before = client.everything().await;
    for org in ["umbra", "", "ACME"] {
        refused(client.call(in_org(org)).await, Code::NotFound, ErrorReason::JobNotFound);
    }
    let status = client.call(in_org("umbra")).await.unwrap_err();
    let no_job = client.call(perform(Run, "none", &["a"])).await.unwrap_err();
    assert_eq!(line(&status), "NotFound JOB_NOT_FOUND {\"jobId\": \"job\"}");
    assert_eq!(line(&no_job), "NotFound JOB_NOT_FOUND {\"jobId\": \"none\"}");
    assert_eq!(status.message(), no_job.message(), "as of a job that is not there");
    assert_eq!(client.everything().await, before);

    client.perform(in_org("acme")).await;
    client.done(Stop, "job", &["a"]).await;
    let items: Vec<_> = client.history("job").await.into_iter().map(|event| event.item_id).collect();
    assert_eq!(items, ["", "", "item 7", "item 7", ""], "it is kept on the events of its action");
}

#[tokio::test]
async fn the_example_of_a_response_is_what_run_of_a_ready_step_answers() {
    let client = client_with(at_once(vec![step("string", Manual)])).await;
    let reply = client.perform(perform(Run, "job", &["string"])).await;
    let expected = r#"{
        "success": true,
        "stepResponses": [
            {
                "stepId": "string",
                "status": "STEP_ACTION_STATUS_SUCCESS",
                "statusDescription": "The step was started running"
            }
        ],
        "applied": true,
        "revision": "4",
        "etag": "r4"
    }"#;
    let said: serde_json::Value = serde_json::from_str(&to_json(RESPONSE, &reply)).unwrap();
    assert_eq!(said, serde_json::from_str::<serde_json::Value>(expected).unwrap());
    assert_eq!(from_json::<PerformJobActionResponse>(RESPONSE, expected), reply);
}

/// The seed's 400: all that is wrong with a request is told at once.
#[tokio::test]
async fn a_bad_request_names_every_bad_field() {
    let client = client_with(line_of_steps()).await;
    let everything = client.everything().await;
    let text = |text: &str| Some(text.to_owned());
    let act = |action: JobActionType, step_ids: &[&str]| perform(action, "job", step_ids);
    let long = "x".repeat(65);
    let rows: Vec<(&str, Call)> = vec![
        ("nothing", PerformJobActionRequest::default().into()),
        ("no step to set current", act(SetCurrentStep, &[]).into()),
        ("two steps to set current", act(SetCurrentStep, &["a", "b"]).into()),
        ("a step twice", act(Run, &["a", "b", "a"]).into()),
        ("a dependent step without its job", {
            let dependent_step_id = text("a");
            PerformJobActionRequest { dependent_step_id, ..act(Hold, &["a"]) }.into()
        }),
        ("a dependent step without its job, to release", {
            let dependent_step_id = text("a");
            PerformJobActionRequest { dependent_step_id, ..act(ReleaseHold, &["a"]) }.into()
        }),
        ("empty dependent ids", {
            let (dependent_job_id, dependent_step_id) = (text(""), text(""));
            PerformJobActionRequest { dependent_job_id, dependent_step_id, ..act(Hold, &["a"]) }.into()
        }),
        ("an answer to nothing", {
            let answer = Some("yes".into());
            PerformJobActionRequest { answer, ..act(Stop, &["a", "b"]) }.into()
        }),
        ("an answer of two steps", {
            let answer = Some("yes".into());
            PerformJobActionRequest { answer, ..act(Run, &[]) }.into()
        }),
        ("a deadline of no task", {
            let task_deadline = Some(in_millis(0));
            PerformJobActionRequest { task_deadline, ..act(Finish, &["a"]) }.into()
        }),
        (
            "all at once",
            PerformJobActionRequest {
                job_id: String::new(),
                r#type: Hold.into(),
                step_ids: vec![String::new(), long.clone(), "a\n".to_owned(), "a\n".to_owned()],
                hold_scheduled_release: Some(Timestamp { seconds: 253_402_300_800, nanos: 0 }),
                dependent_job_id: text(&long),
                dependent_step_id: text(&long),
                item_id: text(&long),
                answer: Some(f64::NAN.into()),
                task_deadline: Some(Timestamp { seconds: 0, nanos: -1 }),
                request_id: long.clone(),
                ..PerformJobActionRequest::default()
            }
            .into(),
        ),
        ("too many steps", {
            let step_ids = (0..1001).map(|n| n.to_string()).collect();
            PerformJobActionRequest { step_ids, ..act(Run, &[]) }.into()
        }),
    ];
    let mut table = String::new();
    for (name, call) in rows {
        let status = client.call(call).await.unwrap_err();
        table.push_str(&format!("{name}: {}\n", line(&status)));
    }
    expect![[r#"
        nothing: InvalidArgument FIELD_INVALID
            type is required
            job_id is required
        no step to set current: InvalidArgument FIELD_INVALID
            step_ids must be exactly one with JOB_ACTION_TYPE_SET_CURRENT_STEP
        two steps to set current: InvalidArgument FIELD_INVALID
            step_ids must be exactly one with JOB_ACTION_TYPE_SET_CURRENT_STEP
        a step twice: InvalidArgument FIELD_INVALID
            step_ids[2] is there twice
        a dependent step without its job: InvalidArgument FIELD_INVALID
            dependent_job_id is required with dependent_step_id
        a dependent step without its job, to release: InvalidArgument FIELD_INVALID
            dependent_job_id is required with dependent_step_id
        empty dependent ids: InvalidArgument FIELD_INVALID
            dependent_job_id is empty
            dependent_step_id is empty
        an answer to nothing: InvalidArgument FIELD_INVALID
            answer goes only with JOB_ACTION_TYPE_RUN and JOB_ACTION_TYPE_FINISH
            answer goes with exactly one of step_ids
        an answer of two steps: InvalidArgument FIELD_INVALID
            answer goes with exactly one of step_ids
        a deadline of no task: InvalidArgument FIELD_INVALID
            task_deadline goes only with JOB_ACTION_TYPE_RUN
        all at once: InvalidArgument FIELD_INVALID
            step_ids[0] is required
            step_ids[1] is longer than 64 characters
            step_ids[2] has a control character
            step_ids[3] has a control character
            step_ids[3] is there twice
            hold_scheduled_release is not a time between the years 1 and 9999
            dependent_job_id is longer than 64 characters
            dependent_step_id is longer than 64 characters
            item_id is longer than 64 characters
            answer goes only with JOB_ACTION_TYPE_RUN and JOB_ACTION_TYPE_FINISH
            answer goes with exactly one of step_ids
            answer has a number that is not finite
            task_deadline is not a time between the years 1 and 9999
            task_deadline goes only with JOB_ACTION_TYPE_RUN
            job_id is required
            request_id is longer than 64 characters
        too many steps: InvalidArgument FIELD_INVALID
            step_ids has more than 1000 entries
    "#]]
    .assert_eq(&table);
    assert_eq!(client.everything().await, everything);
}

// What the seed does not say.

#[tokio::test]
async fn all_or_nothing_writes_all_or_nothing() {
    let client = client_with(at_once(vec![step("a", Manual), step("b", Manual)])).await;
    client.done(Run, "job", &["b"]).await;
    let before = client.everything().await;
    let request = PerformJobActionRequest { all_or_nothing: true, ..perform(Run, "job", &["a", "b"]) };
    let reply = client.perform(request.clone()).await;
    let answers: Vec<_> = reply.step_responses.iter().map(StepResponse::status).collect();
    assert_eq!((reply.success, reply.applied), (false, false));
    assert_eq!(answers, [Success, AlreadyExecuting]);
    assert_eq!(client.everything().await, before);
    client.done(Stop, "job", &["b"]).await;
    let reply = client.perform(request).await;
    assert_eq!((reply.success, reply.applied), (true, true));
    assert_eq!(reply.etag, client.job("job").await.etag);
}

#[tokio::test]
async fn an_answer_goes_with_its_question() {
    let mut steps = vec![step("a", Question), step("b", Manual), step("c", Manual)];
    let path = |to: &str, condition: &str| Path {
        next_step_id: to.to_owned(),
        condition: condition.to_owned(),
        label: None,
    };
    steps[0].paths = vec![path("b", "answer == 'left'"), path("c", "answer == 'right'")];
    let client = client_with(workflow("flow", &["a"], steps)).await;
    client.done(Run, "job", &["a"]).await;
    assert_eq!(client.act(Run, "job", &["a"]).await, [WaitingForInfo]);
    assert_eq!(client.act(Finish, "job", &["a"]).await, [WaitingForInfo]);
    answer(&client, Run, "a", "nowhere".into()).await;
    assert_eq!(status(&client, "a").await, StepStatus::Executed);
    let reply = client.perform(perform(Finish, "job", &["a"])).await;
    assert_eq!(reply.step_responses[0].status().as_str_name(), "STEP_ACTION_STATUS_NO_MATCHING_PATHS");
    answer(&client, Finish, "a", "right".into()).await;
    assert_eq!(current(&client).await, ["c"]);
    assert_eq!(client.step("job", "a").await.answer, Some("right".into()));
}

#[tokio::test]
async fn steps_that_are_not_there_or_not_current_are_answered_so() {
    let client = client_with(line_of_steps()).await;
    for action in [Run, Finish, Stop] {
        assert_eq!(client.act(action, "job", &["b"]).await, [StepNotCurrent], "{action:?}");
    }
    for action in [Run, Finish, Stop, SetCurrentStep, Hold, ReleaseHold, RefreshStatus] {
        assert_eq!(client.act(action, "job", &["z"]).await, [StepNotInDiagram], "{action:?}");
    }
}

/// Devices and operators act on one record: an action finds a synced job as any other.
#[tokio::test]
async fn a_job_that_a_device_made_is_acted_on() {
    let client = TestServer::memory().await.client().await;
    let mut body = device_body_of("device");
    let metadata = body.metadata.as_mut().unwrap();
    metadata.set_status(JobStatus::Active);
    body.cancelled_steps = std::mem::take(&mut body.completed_steps);
    let job_id = client.sync(body).await.job_id;
    let current = client.job(&job_id).await.current_step_ids;
    assert_eq!(client.act(Run, &job_id, &[]).await, [Success]);
    assert_eq!(client.act(Finish, &job_id, &[]).await, [Success]);
    assert_eq!(client.step(&job_id, &current[0]).await.status(), StepStatus::Finished);
    assert_eq!(client.job(&job_id).await.status(), JobStatus::Active, "the device says when it is done");
}

/// Each action takes its privilege; what it is missing is told before whether the job is there.
#[tokio::test]
async fn each_action_takes_its_privilege() {
    let (server, _) = server_with(line_of_steps()).await;
    let kinds: [(JobActionType, &str); 6] = [
        (Run, "jobExecute"),
        (Finish, "jobExecute"),
        (Stop, "jobExecute"),
        (SetCurrentStep, "jobExecute"),
        (Hold, "jobUpdateHolds"),
        (ReleaseHold, "jobUpdateHolds"),
    ];
    for (action, privilege) in kinds {
        let none = server.client_as(Caller::new("bob").who_may("jobForceStop,adminBasic")).await;
        for job_id in ["job", "none"] {
            let status = none.call(perform(action, job_id, &["a"])).await.unwrap_err();
            let expected = format!("PermissionDenied PRIVILEGE_MISSING {{\"privilege\": \"{privilege}\"}}");
            assert_eq!(line(&status), expected, "{action:?}");
        }
        let privileges = format!("{privilege},workflowSetStepCurrent");
        let one = server.client_as(Caller::new("bob").who_may(&privileges)).await;
        one.call(perform(action, "job", &["a"])).await.unwrap();
    }
}

#[tokio::test]
async fn validate_only_answers_and_changes_nothing() {
    let client = client_with(line_of_steps()).await;
    let before = client.everything().await;
    let request = PerformJobActionRequest { validate_only: true, ..perform(Run, "job", &["a"]) };
    let told = client.perform(request.clone()).await;
    assert_eq!(client.everything().await, before);
    let done = client.perform(PerformJobActionRequest { validate_only: false, ..request }).await;
    assert_eq!(told, done, "the answer is the one that was foretold");
    let stale = PerformJobActionRequest { etag: told.etag, ..perform(Stop, "job", &["a"]) };
    assert!(client.perform(stale.clone()).await.success);
    refused(client.call(stale).await, Code::Aborted, ErrorReason::EtagMismatch);
}
