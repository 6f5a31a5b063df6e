//! `JobService`: a job's life, SPEC 3.6.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use holdpoint::proto::v1::{
    AbortJobRequest, AssignStepRequest, Assignee, CloseJobRequest, CreateJobRequest, DeleteJobRequest,
    ErrorReason, ExcludeJobRequest, GetJobRequest, Job, JobActionType, JobEvent, JobEventType, JobFilter,
    JobOrder, JobStatus, ListJobsRequest, PerformJobActionRequest, ReopenJobRequest, StepDefinition,
    StepKind, StepStatus, UpdateJobRequest, WatchJobRequest, WorkflowReference, assignee,
};
use prost_types::{FieldMask, Timestamp};
use tonic::{Code, Status};

use super::harness::{
    Call, Caller, Client, TestServer, abort, assign, chain, close, create, delete, device_body_of, events,
    exclude, fields, following, get, holds_of, leads_to, line, perform, refused, reopen, stable, step,
    titled, update, user, workflow,
};

/// Every field of a job that its creator can set.
fn full() -> Job {
    let text = |text: &str| Some(text.to_owned());
    Job {
        title: text("Title"),
        team: text("team"),
        user_id: text("user"),
        username: text("User"),
        metadata: Some(fields([("key", "value".into())])),
        assignee: Some(Assignee { kind: assignee::Kind::Group.into(), id: "group".to_owned() }),
        parent_job_id: text("parent"),
        priority: 1000,
        due_time: Some(Timestamp { seconds: 1, nanos: 999_999_999 }),
        ..Job::default()
    }
}

/// The fields of [`full`] of a job, and nothing else of it.
fn settable(job: &Job) -> Job {
    let Job { title, team, user_id, username, metadata, assignee, parent_job_id, priority, due_time, .. } =
        job.clone();
    Job {
        title,
        team,
        user_id,
        username,
        metadata,
        assignee,
        parent_job_id,
        priority,
        due_time,
        ..Job::default()
    }
}

/// Jobs in every state, by the ids `open`, `closed`, `aborted`, `completed` and `deleted`; and `working`, of which the
/// step `a` is running, which leads to `b`.
async fn with_jobs(client: &Client) {
    let steps = ["a", "b"].map(|id| step(id, StepKind::Manual));
    client.publish(chain("working", steps.into())).await;
    client.create("working", following("working")).await;
    client.done(JobActionType::Run, "working", &["a"]).await;
    for job_id in ["open", "closed", "aborted", "deleted"] {
        client.create(job_id, titled(job_id)).await;
    }
    client.call(close("closed")).await.unwrap();
    client.call(abort("aborted")).await.unwrap();
    client.call(delete("deleted")).await.unwrap();
    client.sync(device_body_of("completed")).await;
}

/// The id of the job that devices know under this one.
async fn id_of(client: &Client, client_job_id: &str) -> String {
    let request = GetJobRequest { client_job_id: client_job_id.to_owned(), ..GetJobRequest::default() };
    let reply = client.jobs.clone().get_job(request).await.unwrap().into_inner();
    reply.decode_details().unwrap().job.unwrap().job_id
}

/// What a call does: the events that it makes, in whichever jobs, or its refusal.
async fn effect(client: &Client, call: Call) -> String {
    let revisions = async || -> BTreeMap<String, i64> {
        let jobs = client.list(JobFilter::default(), JobOrder::OldestFirst, 0).await;
        jobs.into_iter().map(|job| (job.job_id, job.revision)).collect()
    };
    let before = revisions().await;
    let outcome = client.call(call).await;
    let mut effects = Vec::new();
    let after = revisions().await;
    for (job_id, revision) in &after {
        let old = before.get(job_id).copied().unwrap_or_default();
        if *revision > old {
            let history = client.history(job_id).await;
            effects.extend(history.iter().skip(usize::try_from(old).unwrap()).map(described));
        }
    }
    effects.extend(before.keys().filter(|id| !after.contains_key(*id)).map(|id| format!("{id} is gone")));
    match outcome {
        Err(status) => {
            assert_eq!(effects, [""; 0], "a refusal changes nothing");
            format!("! {}", line(&status))
        }
        Ok(()) if effects.is_empty() => "=".to_owned(),
        Ok(()) => effects.join(", "),
    }
}

fn described(event: &JobEvent) -> String {
    if let Some(step) = &event.step {
        let kind = event.r#type().as_str_name().trim_start_matches("JOB_EVENT_TYPE_");
        return format!("{kind} ({})", step.step_id);
    }
    let job = event.job.as_ref().expect("it is about a step or the head");
    let closed = if job.closed { " closed" } else { "" };
    let kind = event.r#type().as_str_name().trim_start_matches("JOB_EVENT_TYPE_");
    let status = job.status().as_str_name().trim_start_matches("JOB_STATUS_");
    format!("{kind} ({status}{closed})")
}

/// Each call against a fresh set of jobs.
async fn check(rows: Vec<(&str, Call)>, expected: Expect) {
    let mut table = String::new();
    for (name, call) in rows {
        let client = TestServer::memory().await.client().await;
        with_jobs(&client).await;
        let job_id = id_of(&client, "completed").await;
        let is_completed = |job_id: &str| job_id == "completed";
        let call = match call {
            Call::Update(it) if is_completed(&it.job_id) => UpdateJobRequest { job_id, ..it }.into(),
            Call::Abort(it) if is_completed(&it.job_id) => AbortJobRequest { job_id, ..it }.into(),
            Call::Close(it) if is_completed(&it.job_id) => CloseJobRequest { job_id, ..it }.into(),
            Call::Delete(it) if is_completed(&it.job_id) => DeleteJobRequest { job_id, ..it }.into(),
            Call::Reopen(it) if is_completed(&it.job_id) => ReopenJobRequest { job_id, ..it }.into(),
            Call::Exclude(it) if is_completed(&it.job_id) => ExcludeJobRequest { job_id, ..it }.into(),
            other => other,
        };
        let effect = stable(&effect(&client, call).await);
        table.push_str(&format!("{name}: {effect}\n"));
    }
    expected.assert_eq(&table);
}

#[tokio::test]
async fn a_new_job_is_as_it_was_asked_for() {
    let client = TestServer::memory().await.client().await;
    let job = client.create("a", full()).await;
    assert_eq!(settable(&job), full());
    assert_eq!((job.job_id.as_str(), job.client_job_id.as_str()), ("a", "a"));
    assert_eq!((job.status(), job.closed, job.revision), (JobStatus::NotStarted, false, 1));
    assert!(job.create_time.is_some() && job.create_time == job.update_time && job.close_time.is_none());
    assert!(!job.etag.is_empty());
    let details = client.details("a").await;
    assert_eq!(details.job.as_ref(), Some(&job));
    assert_eq!((details.steps, details.reports, details.holds), (vec![], vec![], vec![]));
    let event = &client.history("a").await[0];
    assert_eq!(event.job.as_deref(), Some(&job));
    let actor = event.actor.as_ref().unwrap();
    assert_eq!((actor.id.as_str(), actor.name.as_str()), ("alice", "alice"));

    // What the server sets is not taken from whoever asks.
    let mut forged = full();
    forged.set_status(JobStatus::Completed);
    forged.closed = true;
    forged.revision = 7;
    forged.etag = "r7".to_owned();
    forged.current_step_ids = vec!["step".to_owned()];
    let forged_time = Some(Timestamp { seconds: 1, nanos: 0 });
    forged.create_time = forged_time;
    let honest = client.create("b", forged).await;
    assert_eq!((honest.status(), honest.closed, honest.revision), (JobStatus::NotStarted, false, 1));
    assert_eq!(honest.etag, job.etag, "both are at their first revision");
    assert_eq!(honest.current_step_ids, Vec::<String>::new());
    assert_ne!(honest.create_time, forged_time);
}

#[tokio::test]
async fn a_job_is_known_by_both_its_ids() {
    let client = TestServer::memory().await.client().await;
    let of_client = Job { client_job_id: "device/7 é".to_owned(), ..Job::default() };
    let job = client.create("", of_client).await;
    assert!(job.job_id.starts_with("job_"));
    assert_eq!(job.client_job_id, "device/7 é");
    assert_eq!(id_of(&client, "device/7 é").await, job.job_id);
    refused(client.call(get("device/7 é")).await, Code::NotFound, ErrorReason::JobNotFound);

    let own = client.create("own", Job::default()).await;
    assert_eq!(id_of(&client, "own").await, own.job_id);
    let neither = client.create("", Job::default()).await;
    assert!(neither.job_id.starts_with("job_"));
    assert_eq!(neither.client_job_id, neither.job_id);
    assert_eq!(id_of(&client, &neither.job_id).await, neither.job_id);
}

#[tokio::test]
async fn create_and_its_refusals() {
    let client_id = |id: &str| Job { client_job_id: id.to_owned(), ..Job::default() };
    let workflow = |id: &str| Job {
        workflow: Some(WorkflowReference { workflow_id: id.to_owned(), ..Default::default() }),
        ..Job::default()
    };
    let row = |job_id: &str, job: Job| create(job_id, job).into();
    check(
        vec![
            ("own id", row("a.B-1_:", full())),
            ("a client's id", row("", client_id("a"))),
            ("neither", row("", Job::default())),
            ("own id of a job", row("open", Job::default())),
            ("own id of a client", row("completed", Job::default())),
            ("a client's id of a job", row("", client_id("open"))),
            ("a client's id of a client", row("", client_id("completed"))),
            ("own id of a deleted job", row("deleted", Job::default())),
            ("a client's id of a deleted job", row("", client_id("deleted"))),
            ("an id in our form", row("job_0000_x", Job::default())),
            ("a client's id in our form", row("", client_id("job_0000_x"))),
            ("both ids", row("a", client_id("b"))),
            ("an id of wrong letters", row("a/b é", Job::default())),
            ("a workflow that is not published", row("a", workflow("flow"))),
            ("no job", CreateJobRequest { job: None, ..create("a", Job::default()) }.into()),
            ("validate_only", CreateJobRequest { validate_only: true, ..create("a", Job::default()) }.into()),
            (
                "validate_only of an id in use",
                CreateJobRequest { validate_only: true, ..create("open", Job::default()) }.into(),
            ),
        ],
        expect![[r#"
            own id: JOB_CREATED (NOT_STARTED)
            a client's id: JOB_CREATED (NOT_STARTED)
            neither: JOB_CREATED (NOT_STARTED)
            own id of a job: ! AlreadyExists JOB_ALREADY_EXISTS {"jobId": "open"}
            own id of a client: ! AlreadyExists JOB_ALREADY_EXISTS {"jobId": "job_*"}
            a client's id of a job: ! AlreadyExists JOB_ALREADY_EXISTS {"jobId": "open"}
            a client's id of a client: ! AlreadyExists JOB_ALREADY_EXISTS {"jobId": "job_*"}
            own id of a deleted job: ! AlreadyExists JOB_DELETED {"jobId": "deleted"}
            a client's id of a deleted job: ! AlreadyExists JOB_DELETED {"jobId": "deleted"}
            an id in our form: ! InvalidArgument FIELD_INVALID
                job_id must not begin with job_
            a client's id in our form: ! InvalidArgument FIELD_INVALID
                job.client_job_id must not begin with job_
            both ids: ! InvalidArgument FIELD_INVALID
                job_id must not be set together with job.client_job_id
            an id of wrong letters: ! InvalidArgument FIELD_INVALID
                job_id has characters other than letters, digits and -_.:
            a workflow that is not published: ! FailedPrecondition WORKFLOW_NOT_FOUND {"workflowId": "flow"}
            no job: ! InvalidArgument FIELD_INVALID
                job is required
            validate_only: =
            validate_only of an id in use: ! AlreadyExists JOB_ALREADY_EXISTS {"jobId": "open"}
        "#]],
    )
    .await;
}

#[tokio::test]
async fn update_and_its_refusals() {
    let with = |job_id: &str, paths: &[&str], job: Job| -> Call {
        let paths = paths.iter().map(|&path| path.to_owned()).collect();
        UpdateJobRequest { update_mask: Some(FieldMask { paths }), ..update(job_id, job) }.into()
    };
    let etag = |etag: &str| -> Call {
        UpdateJobRequest { etag: etag.to_owned(), ..update("open", titled("b")) }.into()
    };
    check(
        vec![
            ("a field", update("open", titled("b")).into()),
            ("every field", update("open", full()).into()),
            ("the same again", update("open", titled("open")).into()),
            ("nothing", update("open", Job::default()).into()),
            ("an empty mask", with("open", &[], titled("b"))),
            ("a mask", with("open", &["title", "priority"], titled("b"))),
            ("a mask that clears", with("open", &["title"], Job::default())),
            ("a mask of all", with("open", &["*"], full())),
            ("a field that is not in the mask", with("open", &["team"], titled("b"))),
            ("immutable fields", with("open", &["status", "title", "no.such"], titled("b"))),
            (
                "an unset field of the mask is not checked",
                with("open", &["title"], Job { priority: -1, ..titled("b") }),
            ),
            ("its etag", etag("r1")),
            ("another etag", etag("r2")),
            ("an etag that never was one", etag("x")),
            ("of a closed job", update("closed", titled("b")).into()),
            ("of an aborted job", update("aborted", titled("b")).into()),
            ("of a completed job", update("completed", titled("b")).into()),
            ("of a deleted job", update("deleted", titled("b")).into()),
            ("of no job", update("none", titled("b")).into()),
            ("without a job", UpdateJobRequest { job: None, ..update("open", Job::default()) }.into()),
            ("validate_only", UpdateJobRequest { validate_only: true, ..update("open", titled("b")) }.into()),
        ],
        expect![[r#"
            a field: JOB_UPDATED (NOT_STARTED)
            every field: JOB_UPDATED (NOT_STARTED)
            the same again: =
            nothing: =
            an empty mask: JOB_UPDATED (NOT_STARTED)
            a mask: JOB_UPDATED (NOT_STARTED)
            a mask that clears: JOB_UPDATED (NOT_STARTED)
            a mask of all: JOB_UPDATED (NOT_STARTED)
            a field that is not in the mask: =
            immutable fields: ! InvalidArgument IMMUTABLE_FIELD
                update_mask "status" cannot be updated
                update_mask "no.such" cannot be updated
            an unset field of the mask is not checked: JOB_UPDATED (NOT_STARTED)
            its etag: JOB_UPDATED (NOT_STARTED)
            another etag: ! Aborted ETAG_MISMATCH {"etag": "r1"}
            an etag that never was one: ! Aborted ETAG_MISMATCH {"etag": "r1"}
            of a closed job: ! FailedPrecondition JOB_CLOSED {"jobId": "closed"}
            of an aborted job: ! FailedPrecondition JOB_CLOSED {"jobId": "aborted"}
            of a completed job: JOB_UPDATED (COMPLETED)
            of a deleted job: ! NotFound JOB_NOT_FOUND {"jobId": "deleted"}
            of no job: ! NotFound JOB_NOT_FOUND {"jobId": "none"}
            without a job: ! InvalidArgument FIELD_INVALID
                job is required
            validate_only: =
        "#]],
    )
    .await;
}

#[tokio::test]
async fn a_mask_changes_what_it_names() {
    let client = TestServer::memory().await.client().await;
    let everything = |job: Job| UpdateJobRequest {
        update_mask: Some(FieldMask { paths: vec!["*".to_owned()] }),
        ..update("a", job)
    };
    client.create("a", full()).await;
    client.call(everything(Job::default())).await.unwrap();
    assert_eq!(settable(&client.job("a").await), Job::default());
    client.call(everything(full())).await.unwrap();
    assert_eq!(settable(&client.job("a").await), full());

    let names = [
        "title",
        "team",
        "user_id",
        "username",
        "metadata",
        "assignee",
        "parent_job_id",
        "priority",
        "due_time",
    ];
    for name in names {
        let mask = Some(FieldMask { paths: vec![name.to_owned()] });
        let before = client.job("a").await;
        let request =
            UpdateJobRequest { update_mask: mask, etag: before.etag, ..update("a", Job::default()) };
        client.call(request).await.unwrap();
    }
    assert_eq!(settable(&client.job("a").await), Job::default());
    assert_eq!(client.history("a").await.len(), 3 + names.len());
    // Without a mask what is set is changed.
    client.call(update("a", titled("b"))).await.unwrap();
    client.call(update("a", Job { team: Some(String::new()), ..Job::default() })).await.unwrap();
    let expected = Job { team: Some(String::new()), ..titled("b") };
    assert_eq!(settable(&client.job("a").await), expected);
}

#[tokio::test]
async fn abort_and_its_refusals() {
    let reason = AbortJobRequest { reason: Some("no time".to_owned()), ..abort("open") };
    check(
        vec![
            ("open", abort("open").into()),
            ("with a reason", reason.clone().into()),
            ("closed", abort("closed").into()),
            ("aborted", abort("aborted").into()),
            ("completed", abort("completed").into()),
            ("working", abort("working").into()),
            ("deleted", abort("deleted").into()),
            ("none", abort("none").into()),
            ("no id", abort("").into()),
            ("its etag", AbortJobRequest { etag: "r1".to_owned(), ..abort("open") }.into()),
            ("another etag", AbortJobRequest { etag: "r0".to_owned(), ..abort("open") }.into()),
            ("validate_only", AbortJobRequest { validate_only: true, ..abort("open") }.into()),
        ],
        expect![[r#"
            open: JOB_ABORTED (ABORTED closed)
            with a reason: JOB_ABORTED (ABORTED closed)
            closed: =
            aborted: =
            completed: ! FailedPrecondition JOB_COMPLETED {"jobId": "job_*"}
            working: STEP_CANCELLED (a), JOB_ABORTED (ABORTED closed)
            deleted: ! NotFound JOB_NOT_FOUND {"jobId": "deleted"}
            none: ! NotFound JOB_NOT_FOUND {"jobId": "none"}
            no id: ! InvalidArgument FIELD_INVALID
                job_id is required
            its etag: JOB_ABORTED (ABORTED closed)
            another etag: ! Aborted ETAG_MISMATCH {"etag": "r1"}
            validate_only: =
        "#]],
    )
    .await;

    let client = TestServer::memory().await.client().await;
    client.create("open", titled("a")).await;
    let aborted = client.jobs.clone().abort_job(reason).await.unwrap().into_inner().job.unwrap();
    assert_eq!(aborted, client.job("open").await);
    assert_eq!(aborted.abandon_reason(), "no time");
    assert_eq!((aborted.status(), aborted.closed), (JobStatus::Aborted, true));
    assert_eq!(aborted.close_time, aborted.update_time);
}

#[tokio::test]
async fn close_and_its_refusals() {
    check(
        vec![
            ("open", close("open").into()),
            ("closed", close("closed").into()),
            ("aborted", close("aborted").into()),
            ("completed", close("completed").into()),
            ("working", close("working").into()),
            ("deleted", close("deleted").into()),
            ("none", close("none").into()),
            ("no id", close("").into()),
            ("its etag", CloseJobRequest { etag: "r1".to_owned(), ..close("open") }.into()),
            ("another etag", CloseJobRequest { etag: "r0".to_owned(), ..close("open") }.into()),
            ("validate_only", CloseJobRequest { validate_only: true, ..close("open") }.into()),
        ],
        expect![[r#"
            open: JOB_ABORTED (ABORTED), JOB_CLOSED (ABORTED closed)
            closed: =
            aborted: =
            completed: JOB_CLOSED (COMPLETED closed)
            working: ! FailedPrecondition STEPS_RUNNING {"jobId": "working", "stepIds": "a"}
            deleted: ! NotFound JOB_NOT_FOUND {"jobId": "deleted"}
            none: ! NotFound JOB_NOT_FOUND {"jobId": "none"}
            no id: ! InvalidArgument FIELD_INVALID
                job_id is required
            its etag: JOB_ABORTED (ABORTED), JOB_CLOSED (ABORTED closed)
            another etag: ! Aborted ETAG_MISMATCH {"etag": "r1"}
            validate_only: =
        "#]],
    )
    .await;
}

#[tokio::test]
async fn delete_and_its_refusals() {
    check(
        vec![
            ("open", delete("open").into()),
            ("closed", delete("closed").into()),
            ("completed", delete("completed").into()),
            ("deleted", delete("deleted").into()),
            ("none", delete("none").into()),
            ("no id", delete("").into()),
            ("its etag", DeleteJobRequest { etag: "r1".to_owned(), ..delete("open") }.into()),
            ("another etag", DeleteJobRequest { etag: "r0".to_owned(), ..delete("open") }.into()),
            ("validate_only", DeleteJobRequest { validate_only: true, ..delete("open") }.into()),
        ],
        expect![[r#"
            open: open is gone
            closed: closed is gone
            completed: job_* is gone
            deleted: ! NotFound JOB_NOT_FOUND {"jobId": "deleted"}
            none: ! NotFound JOB_NOT_FOUND {"jobId": "none"}
            no id: ! InvalidArgument FIELD_INVALID
                job_id is required
            its etag: open is gone
            another etag: ! Aborted ETAG_MISMATCH {"etag": "r1"}
            validate_only: =
        "#]],
    )
    .await;
}

#[tokio::test]
async fn reopen_and_its_refusals() {
    let etag = |etag: &str| ReopenJobRequest { etag: etag.to_owned(), ..reopen("closed", &[]) };
    check(
        vec![
            ("without a current step", reopen("open", &[]).into()),
            ("closed", reopen("closed", &[]).into()),
            ("aborted", reopen("aborted", &[]).into()),
            ("completed", reopen("completed", &[]).into()),
            ("working", reopen("working", &[]).into()),
            ("working, at another step", reopen("working", &["b"]).into()),
            ("at steps it has not", reopen("closed", &["y", "z"]).into()),
            ("deleted", reopen("deleted", &[]).into()),
            ("none", reopen("none", &[]).into()),
            ("nothing good", {
                ReopenJobRequest { request_id: "x".repeat(65), ..reopen("", &["a", "", "a"]) }.into()
            }),
            ("its etag", etag("r3").into()),
            ("another etag", etag("r2").into()),
            ("validate_only", ReopenJobRequest { validate_only: true, ..reopen("closed", &[]) }.into()),
        ],
        expect![[r#"
            without a current step: JOB_REOPENED (ACTIVE)
            closed: JOB_REOPENED (ACTIVE)
            aborted: JOB_REOPENED (ACTIVE)
            completed: JOB_REOPENED (ACTIVE), STEP_ACTIVATED (ec7eee0d-5115-4141-847a-64c28694dde2)
            working: ! FailedPrecondition JOB_OPEN {"jobId": "working"}
            working, at another step: ! FailedPrecondition JOB_OPEN {"jobId": "working"}
            at steps it has not: ! NotFound STEP_NOT_FOUND {"jobId": "closed", "stepIds": "y,z"}
            deleted: ! NotFound JOB_NOT_FOUND {"jobId": "deleted"}
            none: ! NotFound JOB_NOT_FOUND {"jobId": "none"}
            nothing good: ! InvalidArgument FIELD_INVALID
                step_ids[1] is required
                step_ids[2] is there twice
                job_id is required
                request_id is longer than 64 characters
            its etag: JOB_REOPENED (ACTIVE)
            another etag: ! Aborted ETAG_MISMATCH {"etag": "r3"}
            validate_only: =
        "#]],
    )
    .await;
}

/// At the steps that are given, or else where it was, or else what was done last.
#[tokio::test]
async fn a_job_is_taken_up_again_where_it_is_told_or_where_it_was() {
    use JobActionType::{Finish, Run};

    let client = TestServer::memory().await.client().await;
    let mut steps: Vec<_> = ["a", "b", "c"].map(|id| step(id, StepKind::Manual)).into();
    steps[0].paths = leads_to(&["b", "c"]);
    client.publish(workflow("flow", &["a"], steps)).await;
    for job_id in ["done", "given", "closed"] {
        client.create(job_id, following("flow")).await;
        client.done(Run, job_id, &["a"]).await;
        client.done(Finish, job_id, &["a"]).await;
    }
    for job_id in ["done", "given"] {
        client.done(Run, job_id, &["b", "c"]).await;
        client.done(Finish, job_id, &["b", "c"]).await;
        assert_eq!(client.job(job_id).await.status(), JobStatus::Completed);
    }
    client.done(Run, "closed", &["b"]).await;
    client.call(abort("closed")).await.unwrap();

    for (job_id, step_ids, expected) in
        [("done", &[][..], ["b", "c"].as_slice()), ("given", &["a"], &["a"]), ("closed", &[], &["b", "c"])]
    {
        let reply = client.jobs.clone().reopen_job(reopen(job_id, step_ids)).await.unwrap().into_inner();
        let job = reply.job.unwrap();
        assert_eq!(job, client.job(job_id).await);
        assert_eq!((job.status(), job.closed, job.close_time), (JobStatus::Active, false, None), "{job_id}");
        assert_eq!(job.abandon_reason, None);
        assert_eq!(job.current_step_ids, expected, "{job_id}");
        let types = client.event_types(job_id).await;
        assert!(types.contains(&JobEventType::JobReopened));
    }
    let step = client.step("done", "b").await;
    assert_eq!((step.status(), step.visit), (StepStatus::Ready, 2), "what was done is to be done again");
    let step = client.step("closed", "b").await;
    assert_eq!((step.status(), step.visit), (StepStatus::Cancelled, 1), "what was not is where it was");
    client.done(Run, "closed", &["b", "c"]).await;
    refused(client.call(reopen("closed", &["a"])).await, Code::FailedPrecondition, ErrorReason::JobOpen);
}

#[tokio::test]
async fn exclude_and_its_refusals() {
    let because =
        |reason: &str| ExcludeJobRequest { job_exclusion: vec![reason.into()], ..exclude("open", true) };
    check(
        vec![
            ("open", exclude("open", true).into()),
            ("with a reason", because("a trial").into()),
            ("taken in, and never left out", exclude("open", false).into()),
            ("closed", exclude("closed", true).into()),
            ("aborted", exclude("aborted", true).into()),
            ("completed", exclude("completed", true).into()),
            ("completed, and so already", exclude("completed", false).into()),
            ("deleted", exclude("deleted", true).into()),
            ("none", exclude("none", true).into()),
            ("nothing said", ExcludeJobRequest { job_id: "open".to_owned(), ..Default::default() }.into()),
            ("nothing good", {
                let job_exclusion = vec![f64::NAN.into()];
                ExcludeJobRequest { job_exclusion, request_id: "x".repeat(65), ..Default::default() }.into()
            }),
            ("its etag", ExcludeJobRequest { etag: "r1".to_owned(), ..because("a trial") }.into()),
            ("another etag", ExcludeJobRequest { etag: "r0".to_owned(), ..because("a trial") }.into()),
            ("validate_only", ExcludeJobRequest { validate_only: true, ..because("a trial") }.into()),
        ],
        expect![[r#"
            open: JOB_UPDATED (NOT_STARTED)
            with a reason: JOB_UPDATED (NOT_STARTED)
            taken in, and never left out: JOB_UPDATED (NOT_STARTED)
            closed: JOB_UPDATED (ABORTED closed)
            aborted: JOB_UPDATED (ABORTED closed)
            completed: JOB_UPDATED (COMPLETED)
            completed, and so already: =
            deleted: ! NotFound JOB_NOT_FOUND {"jobId": "deleted"}
            none: ! NotFound JOB_NOT_FOUND {"jobId": "none"}
            nothing said: ! InvalidArgument FIELD_INVALID
                excluded is required
            nothing good: ! InvalidArgument FIELD_INVALID
                excluded is required
                job_exclusion has a number that is not finite
                job_id is required
                request_id is longer than 64 characters
            its etag: JOB_UPDATED (NOT_STARTED)
            another etag: ! Aborted ETAG_MISMATCH {"etag": "r1"}
            validate_only: =
        "#]],
    )
    .await;
    let client = TestServer::memory().await.client().await;
    client.create("open", titled("a")).await;
    client.call(because("a trial")).await.unwrap();
    let job = client.job("open").await;
    assert_eq!((job.excluded, job.job_exclusion), (Some(true), vec!["a trial".into()]));
    client.call(exclude("open", false)).await.unwrap();
    let job = client.job("open").await;
    assert_eq!((job.excluded, job.job_exclusion), (Some(false), vec![]));
}

#[tokio::test]
async fn assign_and_its_refusals() {
    let to = |step_id: &str, to: &str| assign("working", step_id, Some(user(to)));
    check(
        vec![
            ("a running step", to("a", "bob").into()),
            ("one not reached", to("b", "bob").into()),
            ("to anyone, as it is", assign("working", "a", None).into()),
            ("a step it has not", to("z", "bob").into()),
            ("of a closed job without it", assign("closed", "a", None).into()),
            ("deleted", assign("deleted", "a", None).into()),
            ("none", assign("none", "a", None).into()),
            ("nothing good", {
                let assignee = Some(Assignee { kind: 3, id: String::new() });
                AssignStepRequest { assignee, request_id: "x".repeat(65), ..Default::default() }.into()
            }),
            ("its etag", AssignStepRequest { etag: "r4".to_owned(), ..to("a", "bob") }.into()),
            ("another etag", AssignStepRequest { etag: "r3".to_owned(), ..to("a", "bob") }.into()),
            ("validate_only", AssignStepRequest { validate_only: true, ..to("a", "bob") }.into()),
        ],
        expect![[r#"
            a running step: STEP_REASSIGNED (a)
            one not reached: STEP_REASSIGNED (b)
            to anyone, as it is: =
            a step it has not: ! NotFound STEP_NOT_FOUND {"jobId": "working", "stepIds": "z"}
            of a closed job without it: ! NotFound STEP_NOT_FOUND {"jobId": "closed", "stepIds": "a"}
            deleted: ! NotFound JOB_NOT_FOUND {"jobId": "deleted"}
            none: ! NotFound JOB_NOT_FOUND {"jobId": "none"}
            nothing good: ! InvalidArgument FIELD_INVALID
                step_id is required
                assignee.kind is required: KIND_USER or KIND_GROUP
                assignee.id is required
                job_id is required
                request_id is longer than 64 characters
            its etag: STEP_REASSIGNED (a)
            another etag: ! Aborted ETAG_MISMATCH {"etag": "r4"}
            validate_only: =
        "#]],
    )
    .await;
    let client = TestServer::memory().await.client().await;
    let first = StepDefinition { default_assignee: Some(user("ann")), ..step("a", StepKind::Manual) };
    client.publish(chain("flow", vec![first])).await;
    client.create("job", following("flow")).await;
    let reply = client.jobs.clone().assign_step(assign("job", "a", None)).await.unwrap().into_inner();
    assert_eq!(reply.step.as_ref(), Some(&client.step("job", "a").await));
    assert_eq!(reply.step.unwrap().assignee, None);
    client.call(close("job")).await.unwrap();
    refused(client.call(assign("job", "a", None)).await, Code::FailedPrecondition, ErrorReason::JobClosed);
}

#[tokio::test]
async fn a_deleted_job_leaves_its_ids_used_and_nothing_else() {
    let server = TestServer::sled().await;
    let client = server.client().await;
    let synced = client.sync(device_body_of("device")).await.job_id;
    client.create("own", Job::default()).await;
    for (job_id, revision) in [(synced.as_str(), 4), ("own", 2)] {
        let reply = client.jobs.clone().delete_job(delete(job_id)).await.unwrap().into_inner();
        assert_eq!(reply.revision, revision);
    }

    let server = server.restart().await;
    let client = server.client().await;
    assert_eq!(client.everything().await, []);
    for job_id in [synced.as_str(), "own"] {
        refused(client.call(get(job_id)).await, Code::NotFound, ErrorReason::JobNotFound);
        refused(client.call(events(job_id)).await, Code::NotFound, ErrorReason::JobNotFound);
    }
    for client_job_id in ["device", "own"] {
        let get = GetJobRequest { client_job_id: client_job_id.to_owned(), ..GetJobRequest::default() };
        refused(client.call(get).await, Code::NotFound, ErrorReason::JobNotFound);
        let of_client = Job { client_job_id: client_job_id.to_owned(), ..Job::default() };
        for request in [create(client_job_id, Job::default()), create("", of_client)] {
            refused(client.call(request).await, Code::AlreadyExists, ErrorReason::JobDeleted);
        }
        let sync = device_body_of(client_job_id);
        refused(client.call(sync).await, Code::FailedPrecondition, ErrorReason::JobDeleted);
    }
    server.stop().await;
}

/// Another organization's job is answered in the words of one that does not exist, and its ids are free.
#[tokio::test]
async fn another_organization_sees_nothing() {
    let server = TestServer::memory().await;
    let owner = server.client().await;
    let stranger = server.client_as(Caller::default().of("umbra")).await;
    owner.create("open", titled("a")).await;
    let everything = owner.everything().await;
    stranger.publish(chain("flow", vec![step("a", StepKind::Manual)])).await;
    stranger.create("theirs", following("flow")).await;
    let theirs = stranger.everything().await;

    let calls = |job_id: &str| -> Vec<Call> {
        let job_ids = vec![job_id.to_owned()];
        let filter = Some(JobFilter { job_ids, ..JobFilter::default() });
        let job_id = job_id.to_owned();
        vec![
            get(&job_id).into(),
            GetJobRequest { client_job_id: job_id.clone(), ..GetJobRequest::default() }.into(),
            update(&job_id, titled("b")).into(),
            abort(&job_id).into(),
            close(&job_id).into(),
            delete(&job_id).into(),
            events(&job_id).into(),
            perform(JobActionType::Run, &job_id, &[]).into(),
            assign(&job_id, "a", None).into(),
            reopen(&job_id, &[]).into(),
            exclude(&job_id, true).into(),
            holds_of(&job_id).into(),
            PerformJobActionRequest {
                dependent_job_id: Some(job_id.clone()),
                ..perform(JobActionType::Hold, "theirs", &[])
            }
            .into(),
            WatchJobRequest { job_id, ..Default::default() }.into(),
            ListJobsRequest { filter, ..Default::default() }.into(),
        ]
    };
    for (there, nowhere) in calls("open").into_iter().zip(calls("none")) {
        let name = format!("{there:?}");
        let words = |outcome: Result<(), Status>| match outcome {
            Ok(()) => "fine".to_owned(),
            Err(status) => format!("{} {}", line(&status), status.message()).replace("none", "open"),
        };
        assert_eq!(words(stranger.call(there).await), words(stranger.call(nowhere).await), "{name}");
    }
    assert_eq!(stranger.everything().await, theirs);
    assert_eq!(owner.everything().await, everything);
    assert_eq!(stranger.create("open", titled("mine")).await.title(), "mine");
    assert_eq!(owner.everything().await, everything);
}
