//! Executors that do the work of AUTOMATIC steps: they find a step's task, report of it by its id, and the step follows.

use std::slice;

use expect_test::{Expect, expect};
use holdpoint::proto::v1::{
    CompletionStatus, CreateTaskStatusRequest, ErrorReason,
    ExecutionStatus::{Closed, Started},
    JobActionType::{Finish, RefreshStatus, Run, Stop},
    JobEvent, JobEventType, JobStatus, PerformJobActionRequest, ReportOutcome, StepActionStatus,
    StepDefinition,
    StepKind::{Automatic, Manual},
    StepStatus, TaskFilter, TaskStatus, TaskType, UpdateExecutionTaskStatusRequest,
    UpdateExecutionWorkflowStatusRequest, WatchJobsRequest, WatchStart,
};
use prost_types::Timestamp;
use tonic::Code;

use super::harness::{
    Caller, Client, TestServer, Watch, chain, fields, following, line, perform, refused, reopen, replace,
    report_task, report_workflow, reporter, statuses, step, titled, workflow,
};

/// A server with the job `job`, whose steps `one` and `two` are done by executors one after the other.
async fn server() -> (TestServer, Client) {
    let server = TestServer::memory().await;
    let client = server.client().await;
    let one = StepDefinition { title: Some("Weld the seam".to_owned()), ..step("one", Automatic) };
    client.publish(chain("flow", vec![one, step("two", Automatic)])).await;
    client.create("job", following("flow")).await;
    (server, client)
}

/// Runs the step, and returns the task that does its work.
async fn run(client: &Client, step_id: &str) -> TaskStatus {
    client.done(Run, "job", &[step_id]).await;
    client.task(&client.step("job", step_id).await.task_id).await
}

async fn status(client: &Client, step_id: &str) -> StepStatus {
    client.step("job", step_id).await.status()
}

/// The tasks that wait to be done.
async fn to_do(client: &Client) -> Vec<TaskStatus> {
    client.list_tasks(TaskFilter { completed: Some(false), ..TaskFilter::default() }).await
}

fn started(task: &TaskStatus) -> UpdateExecutionTaskStatusRequest {
    report_task("job", &task.id, 0, Started, 10)
}

fn closed(task: &TaskStatus, ended: CompletionStatus) -> UpdateExecutionTaskStatusRequest {
    let completion_status = ended.into();
    UpdateExecutionTaskStatusRequest { completion_status, ..report_task("job", &task.id, 0, Closed, 20) }
}

fn of_attempt(
    attempt_id: i64,
    request: UpdateExecutionTaskStatusRequest,
) -> UpdateExecutionTaskStatusRequest {
    UpdateExecutionTaskStatusRequest { attempt_id: Some(attempt_id), ..request }
}

fn closes_the_job(request: UpdateExecutionWorkflowStatusRequest) -> UpdateExecutionWorkflowStatusRequest {
    UpdateExecutionWorkflowStatusRequest { close_job: true, ..request }
}

/// What happened to the job after a revision, an event a line.
async fn check_history(client: &Client, after: usize, expected: Expect) {
    let kinds = client.event_types("job").await;
    let kinds = kinds[after..].iter().map(|kind| kind.as_str_name().trim_start_matches("JOB_EVENT_TYPE_"));
    expected.assert_eq(&format!("{}\n", kinds.collect::<Vec<_>>().join("\n")));
}

/// Somebody who may no more than an executor needs finds what there is to do, and does it.
#[tokio::test]
async fn an_executor_finds_a_task_and_does_the_work_of_its_step() {
    let (server, client) = server().await;
    let executor = server.client_as(Caller::new("arm").who_may("executionReport,taskRead,jobRead")).await;
    let watch = WatchJobsRequest {
        event_types: vec![JobEventType::TaskCreated.into()],
        start: WatchStart::Now.into(),
        ..WatchJobsRequest::default()
    };
    let mut new_tasks: Watch = executor.watch(watch).await;
    assert_eq!(to_do(&executor).await, []);

    let task = run(&client, "one").await;
    assert_eq!(to_do(&executor).await, slice::from_ref(&task));
    assert_eq!(new_tasks.event().await.task.as_deref(), Some(&task));
    assert_eq!((task.execution.as_ref(), task.launcher.as_ref()), (None, None));
    let before = client.event_types("job").await.len();

    let data = Some(fields([("seam", "half".to_owned().into())]));
    let under_way =
        executor.report_task(UpdateExecutionTaskStatusRequest { data: data.clone(), ..started(&task) }).await;
    assert_eq!(under_way.outcome(), ReportOutcome::Recorded);
    let under_way = under_way.task.unwrap();
    let expected = TaskStatus {
        launcher: Some("robot-app".to_owned()),
        launched: Some(Timestamp { seconds: 0, nanos: 10_000_000 }),
        data,
        meta: Some(fields([])),
        updated_by: Some(reporter("robot")),
        execution: under_way.execution.clone(),
        modified: under_way.modified,
        etag: under_way.etag.clone(),
        ..task.clone()
    };
    assert_eq!(under_way, expected, "what it was made as stays");
    assert_eq!((under_way.unique_name(), under_way.parent_name()), ("Weld the seam", "flow"));
    let execution = under_way.execution.as_ref().unwrap();
    assert_eq!((execution.task_id.as_str(), execution.state_name.as_str()), (task.id.as_str(), "Weld"));
    assert_eq!(
        (status(&client, "one").await, to_do(&executor).await),
        (StepStatus::Running, vec![under_way])
    );
    let instance = client.instance("job", "run").await;
    assert_eq!(instance.attempts[0].task_ids, slice::from_ref(&task.id));

    let ended = executor.report_task(closed(&task, CompletionStatus::Success)).await;
    let ended = ended.task.unwrap();
    assert_eq!(ended.completed, Some(Timestamp { seconds: 0, nanos: 20_000_000 }));
    assert_eq!(status(&client, "one").await, StepStatus::Executed);
    assert_eq!(to_do(&executor).await, []);
    assert_eq!(client.details("job").await.tasks, [ended]);
    check_history(
        &client,
        before,
        expect![[r#"
            TASK_UPDATED
            TASK_COMPLETED
            STEP_EXECUTED
        "#]],
    )
    .await;

    // It waits for somebody to finish it, and then goes on.
    client.done(Finish, "job", &["one"]).await;
    let task = run(&client, "two").await;
    assert_eq!(new_tasks.event().await.task.as_deref(), Some(&task));
    let second =
        UpdateExecutionTaskStatusRequest { sequence_id: Some(1), ..closed(&task, CompletionStatus::Warning) };
    executor.report_task(second).await;
    assert_eq!(status(&client, "two").await, StepStatus::Executed);
}

/// Every end, of a step that waits to be finished and of one that does not.
#[tokio::test]
async fn a_step_follows_how_its_task_ended() {
    let mut table = String::new();
    for proceed_to_next in [false, true] {
        for ended in [
            CompletionStatus::Unspecified,
            CompletionStatus::Success,
            CompletionStatus::Warning,
            CompletionStatus::Error,
            CompletionStatus::Terminated,
            CompletionStatus::TempError,
        ] {
            for starts in [false, true] {
                let client = TestServer::memory().await.client().await;
                let one = StepDefinition { proceed_to_next, ..step("one", Automatic) };
                client.publish(chain("flow", vec![one, step("two", Manual)])).await;
                client.create("job", following("flow")).await;
                let task = run(&client, "one").await;
                if starts {
                    client.report_task(started(&task)).await;
                }
                let reply = client.report_task(closed(&task, ended)).await;
                assert_eq!(reply.outcome(), ReportOutcome::Recorded);
                let details = client.details("job").await;
                let now = statuses(&details);
                let how = reply.task.unwrap().completion_status();
                let row = format!(
                    "{ended:<11} {:<7} {:<10} {:?} then {:?}, {:?}\n",
                    if proceed_to_next { "goes on" } else { "waits" },
                    format!("{how:?}"),
                    now["one"],
                    now["two"],
                    details.job.as_ref().unwrap().current_step_ids,
                    ended = format!("{ended:?}"),
                );
                if !table.ends_with(&row) {
                    table.push_str(&row);
                }
            }
        }
    }
    expect![[r#"
        Unspecified waits   Success    Executed then Pending, ["one"]
        Success     waits   Success    Executed then Pending, ["one"]
        Warning     waits   Warning    Executed then Pending, ["one"]
        Error       waits   Error      Error then Pending, ["one"]
        Terminated  waits   Terminated Error then Pending, ["one"]
        TempError   waits   TempError  Error then Pending, ["one"]
        Unspecified goes on Success    Finished then Ready, ["two"]
        Success     goes on Success    Finished then Ready, ["two"]
        Warning     goes on Warning    Finished then Ready, ["two"]
        Error       goes on Error      Error then Pending, ["one"]
        Terminated  goes on Terminated Error then Pending, ["one"]
        TempError   goes on TempError  Error then Pending, ["one"]
    "#]]
    .assert_eq(&table);
}

#[tokio::test]
async fn what_is_reported_after_a_stop_is_kept_and_the_step_stays_cancelled() {
    let (_server, client) = server().await;
    let task = run(&client, "one").await;
    client.report_task(started(&task)).await;
    client.done(Stop, "job", &["one"]).await;
    assert_eq!(client.task(&task.id).await.completion_status(), CompletionStatus::Terminated);
    let before = client.event_types("job").await.len();

    let reply = client.report_task(closed(&task, CompletionStatus::Success)).await;
    assert_eq!(reply.outcome(), ReportOutcome::RecordedLate);
    let late = reply.task.unwrap();
    let execution = late.execution.clone().unwrap();
    assert_eq!(late.completion_status(), CompletionStatus::Terminated);
    assert_eq!((execution.status(), execution.completion_status()), (Closed, CompletionStatus::Success));
    assert!(execution.late);
    assert_eq!(status(&client, "one").await, StepStatus::Cancelled);
    check_history(
        &client,
        before,
        expect![[r#"
            TASK_UPDATED
        "#]],
    )
    .await;

    // It is run again, by a task of its own: the first one no longer counts.
    let again = run(&client, "one").await;
    assert_ne!(again.id, task.id);
    client.report_task(UpdateExecutionTaskStatusRequest { timestamp: Some(9), ..started(&task) }).await;
    assert_eq!(status(&client, "one").await, StepStatus::Running);
    let second = |request| UpdateExecutionTaskStatusRequest { sequence_id: Some(1), ..request };
    client.report_task(second(closed(&again, CompletionStatus::Success))).await;
    assert_eq!(status(&client, "one").await, StepStatus::Executed);

    // Nothing was reported of a task before it was stopped.
    client.done(Finish, "job", &["one"]).await;
    let task = run(&client, "two").await;
    client.done(Stop, "job", &["two"]).await;
    let third = |request| UpdateExecutionTaskStatusRequest { sequence_id: Some(2), ..request };
    let reply = client.report_task(third(started(&task))).await;
    assert_eq!(reply.outcome(), ReportOutcome::RecordedLate);
    assert_eq!(reply.task.unwrap().completion_status(), CompletionStatus::Terminated);
    assert_eq!(status(&client, "two").await, StepStatus::Cancelled);
}

#[tokio::test]
async fn what_is_reported_after_the_deadline_is_kept_and_the_step_stays_in_error() {
    let (_server, client) = server().await;
    let mut watch = client.watch_on().await;
    let long_ago = Some(Timestamp { seconds: 1, nanos: 0 });
    client
        .perform(PerformJobActionRequest { task_deadline: long_ago, ..perform(Run, "job", &["one"]) })
        .await;
    let overdue = watch.find(JobEventType::TaskCompleted).await.task.unwrap();
    assert_eq!(overdue.completion_status(), CompletionStatus::TempError);
    watch.find(JobEventType::StepError).await;

    for request in [started(&overdue), closed(&overdue, CompletionStatus::Success)] {
        let reply = client.report_task(request).await;
        assert_eq!(reply.outcome(), ReportOutcome::RecordedLate);
        let task = reply.task.unwrap();
        assert_eq!(
            (task.completion_status(), task.completed),
            (CompletionStatus::TempError, overdue.completed)
        );
        assert_eq!(status(&client, "one").await, StepStatus::Error);
    }
    client.done(RefreshStatus, "job", &["one"]).await;
    assert_eq!(status(&client, "one").await, StepStatus::Error);

    // There is time enough for the next.
    let far_off = Some(Timestamp { seconds: 4_000_000_000, nanos: 0 });
    client.perform(PerformJobActionRequest { task_deadline: far_off, ..perform(Run, "job", &["one"]) }).await;
    let [in_time] = to_do(&client).await.try_into().unwrap();
    assert_eq!(in_time.deadline, far_off);
    let second = UpdateExecutionTaskStatusRequest {
        sequence_id: Some(1),
        ..closed(&in_time, CompletionStatus::Success)
    };
    assert_eq!(client.report_task(second).await.outcome(), ReportOutcome::Recorded);
    assert_eq!(status(&client, "one").await, StepStatus::Executed);
}

/// A dispatcher gives up on an executor, and sends out another: the task waits for that one.
#[tokio::test]
async fn a_higher_attempt_takes_the_task_of_a_step_over() {
    let (_server, client) = server().await;
    let task = run(&client, "one").await;
    client.report_task(started(&task)).await;
    let other = client.report_task(report_task("job", "other", 1, Started, 11)).await.task.unwrap();

    let newer = report_workflow("job", Started, 100);
    let reply =
        client.report_workflow(UpdateExecutionWorkflowStatusRequest { attempt_id: Some(1), ..newer }).await;
    assert_eq!(reply.outcome(), ReportOutcome::Recorded);
    assert_eq!(client.task(&other.id).await.completion_status(), CompletionStatus::Terminated);
    assert_eq!(to_do(&client).await.len(), 1);
    assert_eq!(status(&client, "one").await, StepStatus::Running);

    // The first executor is told that it is not wanted any more.
    let outcome =
        client.tasks.clone().update_execution_task_status(closed(&task, CompletionStatus::Success)).await;
    let refusal = refused(outcome, Code::FailedPrecondition, ErrorReason::StaleAttempt);
    assert_eq!(line(&refusal), "FailedPrecondition STALE_ATTEMPT {\"newest\": \"1\"}");

    let mut watch = client.watch_on().await;
    let taken = UpdateExecutionTaskStatusRequest {
        updated_by: Some(reporter("bob")),
        timestamp: Some(110),
        sequence_id: Some(7),
        ..of_attempt(1, started(&task))
    };
    let reply = client.report_task(taken.clone()).await;
    let taken_over = reply.task.unwrap();
    let execution = taken_over.execution.clone().unwrap();
    assert_eq!((execution.attempt_id, execution.sequence_id), (1, 7));
    assert_eq!(execution.started_by, Some(reporter("bob")));
    assert_eq!(taken_over.launched, Some(Timestamp { seconds: 0, nanos: 110_000_000 }));
    assert_eq!(taken_over.launcher(), "bob-app");
    let event = watch.event().await;
    assert_eq!((event.r#type(), event.task), (JobEventType::TaskUpdated, Some(taken_over.into())));
    assert_eq!(event.workflow_instance.unwrap().attempts[0].attempt_id, 1, "it became part of that");
    let instance = client.instance("job", "run").await;
    let task_ids: Vec<_> = instance.attempts.iter().map(|attempt| attempt.task_ids.len()).collect();
    assert_eq!((task_ids, &instance.attempts[1].task_ids), (vec![0, 1], &vec![task.id.clone()]));

    let ended = UpdateExecutionTaskStatusRequest { timestamp: Some(120), status: Closed.into(), ..taken };
    client.report_task(ended).await;
    assert_eq!(status(&client, "one").await, StepStatus::Executed);

    // It has ended: no attempt more takes it.
    let later = of_attempt(2, started(&task));
    let outcome = client.tasks.clone().update_execution_task_status(later).await;
    refused(outcome, Code::FailedPrecondition, ErrorReason::TaskAlreadyClosed);
    assert_eq!(client.instance("job", "run").await.attempt_count, 2);
}

/// The report that opens the attempt is the one that takes the task over.
#[tokio::test]
async fn an_attempt_may_begin_with_the_task_of_a_step() {
    let (_server, client) = server().await;
    let task = run(&client, "one").await;
    let idle = report_task("job", "idle", 3, Started, 11);
    client.report_task(started(&task)).await;
    client.report_task(idle).await;
    let before = client.event_types("job").await.len();
    let reply = client.report_task(of_attempt(4, closed(&task, CompletionStatus::Error))).await;
    assert_eq!(reply.outcome(), ReportOutcome::Recorded);
    let task = reply.task.unwrap();
    assert_eq!((task.launched, task.execution.unwrap().started_by), (None, None), "the start was another's");
    assert_eq!(status(&client, "one").await, StepStatus::Error);
    check_history(
        &client,
        before,
        expect![[r#"
        TASK_COMPLETED
        TASK_COMPLETED
        STEP_ERROR
    "#]],
    )
    .await;
}

#[tokio::test]
async fn a_workflow_that_is_closed_ends_the_task_of_a_step() {
    let (_server, client) = server().await;
    let task = run(&client, "one").await;
    client.report_task(started(&task)).await;
    let before = client.event_types("job").await.len();
    let reply = client.report_workflow(report_workflow("job", Closed, 30)).await;
    assert_eq!(reply.terminated_task_ids, slice::from_ref(&task.id));
    assert_eq!(status(&client, "one").await, StepStatus::Error);
    check_history(
        &client,
        before,
        expect![[r#"
        TASK_COMPLETED
        STEP_ERROR
        WORKFLOW_CLOSED
    "#]],
    )
    .await;
    let reply = client.report_task(closed(&task, CompletionStatus::Success)).await;
    assert_eq!(reply.outcome(), ReportOutcome::RecordedLate);
    assert_eq!(status(&client, "one").await, StepStatus::Error);
}

/// Steps at work, tasks of steps, of attempts and of nobody: all of them end with the job, and the steps go nowhere.
#[tokio::test]
async fn close_job_ends_all_that_is_open() {
    let server = TestServer::memory().await;
    let client = server.client().await;
    let kinds = [("auto", Automatic), ("other", Automatic), ("manual", Manual), ("idle", Manual)];
    let ids = kinds.map(|(id, _)| id);
    client.publish(workflow("flow", &ids, kinds.map(|(id, kind)| step(id, kind)).into())).await;
    client.create("job", following("flow")).await;
    client.done(Run, "job", &["auto", "other", "manual"]).await;
    let linked = client.task(&client.step("job", "auto").await.task_id).await;
    client.report_task(started(&linked)).await;
    client.report_task(report_task("job", "b", 1, Started, 11)).await;
    let elsewhere = UpdateExecutionTaskStatusRequest {
        workflow_instance_id: Some("elsewhere".to_owned()),
        ..report_task("job", "c", 1, Started, 11)
    };
    client.report_task(elsewhere).await;
    let task = TaskStatus {
        job_id: "job".to_owned(),
        unique_name: Some("of nobody".to_owned()),
        ..TaskStatus::default()
    };
    client.call(CreateTaskStatusRequest { task: Some(task), ..Default::default() }).await.unwrap();
    assert_eq!(to_do(&client).await.len(), 5);
    let before = client.event_types("job").await.len();

    // No more than an executor may is enough.
    let executor = server.client_as(Caller::new("arm").who_may("executionReport")).await;
    let reply = executor.report_workflow(closes_the_job(report_workflow("job", Closed, 30))).await;
    assert_eq!((reply.outcome(), reply.terminated_task_ids.len()), (ReportOutcome::Recorded, 5));
    assert_eq!(to_do(&client).await, []);
    for id in &reply.terminated_task_ids {
        assert_eq!(client.task(id).await.completion_status(), CompletionStatus::Terminated);
    }
    let details = client.details("job").await;
    let expected = [StepStatus::Cancelled, StepStatus::Cancelled, StepStatus::Cancelled, StepStatus::Ready];
    assert_eq!(ids.map(|id| statuses(&details)[id]), expected);
    let job = details.job.unwrap();
    assert_eq!((job.status(), job.closed, job.objective_code()), (JobStatus::Completed, true, "done"));
    assert!(job.close_time.is_some());
    assert_eq!(job.revision, reply.revision);
    check_history(
        &client,
        before,
        expect![[r#"
        TASK_COMPLETED
        STEP_CANCELLED
        STEP_CANCELLED
        TASK_COMPLETED
        STEP_CANCELLED
        TASK_COMPLETED
        TASK_COMPLETED
        TASK_COMPLETED
        WORKFLOW_CLOSED
        JOB_COMPLETED
        JOB_CLOSED
    "#]],
    )
    .await;
    assert_eq!(client.act(Run, "job", &["idle"]).await, [StepActionStatus::JobClosed]);
    let actors: Vec<_> = client.history("job").await.split_off(before).iter().map(actor).collect();
    assert!(actors.iter().all(|actor| actor == "arm"), "{actors:?}");
}

fn actor(event: &JobEvent) -> String {
    event.actor.clone().unwrap().id
}

#[tokio::test]
async fn close_job_leaves_the_status_of_a_job_that_was_completed() {
    let client = TestServer::memory().await.client().await;
    client.publish(chain("flow", vec![step("one", Manual)])).await;
    client.create("job", following("flow")).await;
    client.done(Run, "job", &["one"]).await;
    client.done(Finish, "job", &["one"]).await;
    assert_eq!(client.job("job").await.status(), JobStatus::Completed);
    let before = client.event_types("job").await.len();
    client.report_workflow(closes_the_job(report_workflow("job", Closed, 30))).await;
    let job = client.job("job").await;
    assert_eq!((job.status(), job.closed, job.objective_code()), (JobStatus::Completed, true, "done"));
    check_history(
        &client,
        before,
        expect![[r#"
        WORKFLOW_CLOSED
        JOB_CLOSED
    "#]],
    )
    .await;

    // Opened again, it is closed by another instance.
    client.call(reopen("job", &["one"])).await.unwrap();
    let other = UpdateExecutionWorkflowStatusRequest {
        workflow_instance_id: Some("again".to_owned()),
        code: Some("better".to_owned()),
        ..report_workflow("job", Closed, 30)
    };
    let reply = client.report_workflow(closes_the_job(other)).await;
    assert_eq!(reply.outcome(), ReportOutcome::Recorded);
    let job = client.job("job").await;
    assert_eq!((job.status(), job.closed, job.objective_code()), (JobStatus::Completed, true, "better"));
}

/// Somebody patches what an executor reports.
#[tokio::test]
async fn a_patch_may_end_the_task_first() {
    let (_server, client) = server().await;
    let task = run(&client, "one").await;
    client.report_task(started(&task)).await;
    client.call(replace(&task.id, "progress", "half".to_owned())).await.unwrap();
    client.call(replace(&task.id, "completionStatus", "Success".to_owned())).await.unwrap();
    assert_eq!(status(&client, "one").await, StepStatus::Executed);
    let reply = client.report_task(closed(&task, CompletionStatus::Error)).await;
    assert_eq!(reply.outcome(), ReportOutcome::RecordedLate);
    let task = reply.task.unwrap();
    assert_eq!((task.completion_status(), task.progress()), (CompletionStatus::Success, "half"));
    assert_eq!(task.execution.unwrap().completion_status(), CompletionStatus::Error);
    assert_eq!(status(&client, "one").await, StepStatus::Executed);
}

/// A task that an integrator made is as good as any other, and remains what it was made as.
#[tokio::test]
async fn a_task_of_no_step_is_reported_by_its_id() {
    let client = TestServer::memory().await.client().await;
    client.create("job", titled("a job")).await;
    let launched = Some(Timestamp { seconds: 0, nanos: 5_000_000 });
    let task = TaskStatus {
        job_id: "job".to_owned(),
        r#type: TaskType::Quartz.into(),
        unique_name: Some("nightly".to_owned()),
        launcher: Some("scheduler".to_owned()),
        launched,
        attributes: Some(fields([("kept", true.into())])),
        ..TaskStatus::default()
    };
    let request = CreateTaskStatusRequest { task: Some(task), ..Default::default() };
    let task = client.tasks.clone().create_task_status(request).await.unwrap().into_inner().task.unwrap();
    let reply = client.report_task(started(&task)).await.task.unwrap();
    let expected = TaskStatus {
        launched,
        data: Some(fields([])),
        meta: Some(fields([])),
        updated_by: Some(reporter("robot")),
        execution: reply.execution.clone(),
        modified: reply.modified,
        etag: reply.etag.clone(),
        ..task.clone()
    };
    assert_eq!(reply, expected, "an earlier start stands");
    let reply = client.report_task(closed(&task, CompletionStatus::Warning)).await.task.unwrap();
    assert_eq!(reply.completion_status(), CompletionStatus::Warning);
    assert_eq!(client.instance("job", "run").await.attempts[0].task_ids, [task.id]);
}

#[tokio::test]
async fn an_id_of_ours_is_of_the_job_or_of_nothing() {
    let (server, client) = server().await;
    let task = run(&client, "one").await;
    client.create("other", titled("another job")).await;
    let elsewhere = server.client_as(Caller::default().of("umbra")).await;
    elsewhere.create("job", titled("a job of the same id")).await;
    let everything = client.everything().await;

    let mut forged = task.id.clone();
    forged.replace_range(forged.len() - 4.., "0000");
    let rows = [
        (&client, report_task("other", &task.id, 0, Started, 10)),
        (&elsewhere, started(&task)),
        (&client, report_task("job", &forged, 0, Started, 10)),
    ];
    for (client, request) in rows {
        let task_id = request.task_id.clone().unwrap();
        let outcome = client.tasks.clone().update_execution_task_status(request).await;
        let refusal = refused(outcome, Code::NotFound, ErrorReason::TaskNotFound);
        assert_eq!(
            tonic_types::StatusExt::get_details_error_info(&refusal).unwrap().metadata["taskId"],
            task_id
        );
    }
    assert_eq!(client.everything().await, everything);

    // What only looks a little like one is an executor's.
    let reply = client.report_task(report_task("job", "task_7", 0, Started, 10)).await;
    assert_eq!(reply.task.unwrap().execution.unwrap().task_id, "task_7");
}
