//! `SyncService`: SPEC 3.1, as devices meet it.

use expect_test::{Expect, expect};
use holdpoint::proto::v1::{
    BasicSyncRequest, BasicSyncResponse, GetJobRequest, Job, JobDetails, JobEventType, JobStatus, JobView,
    StepReport, StepStatus, SyncMetadata, SyncOutcome,
};
use prost_types::{Timestamp, Value, value::Kind};
use tonic::Code;

use super::harness::{
    Client, TestServer, abort, close, create, delete, device_body, device_body_of, fields, from_json, get,
    line, titled, to_json, update,
};

const COMPLETED: [JobEventType; 3] =
    [JobEventType::JobCreated, JobEventType::ReportRecorded, JobEventType::JobCompleted];

fn metadata(body: &mut BasicSyncRequest) -> &mut SyncMetadata {
    body.metadata.as_mut().unwrap()
}

/// The body under another id, with this status.
fn body_as(client_job_id: &str, status: JobStatus) -> BasicSyncRequest {
    let mut body = device_body_of(client_job_id);
    metadata(&mut body).set_status(status);
    body
}

/// The body, updated so many seconds later, with a title that says so.
fn later(mut body: BasicSyncRequest, seconds: i64) -> BasicSyncRequest {
    let metadata = metadata(&mut body);
    metadata.updated.as_mut().unwrap().seconds += seconds;
    metadata.job_title = Some(format!("at {seconds}"));
    body
}

fn with_report(mut body: BasicSyncRequest, unique_step_id: &str) -> BasicSyncRequest {
    let mut entry = body.completed_steps[0].clone();
    entry.single_step.as_mut().unwrap().unique_step_id = Some(unique_step_id.to_owned());
    body.completed_steps.push(entry);
    body
}

#[tokio::test]
async fn the_body_that_devices_send_makes_a_completed_job_once() {
    let client = TestServer::memory().await.client().await;

    let first = client.sync(device_body()).await;
    assert_eq!((first.outcome(), first.revision), (SyncOutcome::Created, 3));
    assert_eq!(first.lost_fields, []);
    assert_eq!(client.event_types(&first.job_id).await, COMPLETED);
    let job = client.job(&first.job_id).await;
    assert_eq!((job.status(), job.closed, job.revision), (JobStatus::Completed, false, 3));

    let again = client.sync(device_body()).await;
    let unchanged =
        BasicSyncResponse { outcome: SyncOutcome::Unchanged.into(), lost_fields: Vec::new(), ..first };
    assert_eq!(again, unchanged);
    assert_eq!(client.event_types(&again.job_id).await, COMPLETED);
    assert_eq!(client.job(&again.job_id).await, job);
}

#[tokio::test]
async fn the_same_as_active_and_then_aborted() {
    let client = TestServer::memory().await.client().await;

    let active = client.sync(body_as("another", JobStatus::Active)).await;
    assert_eq!((active.outcome(), active.revision), (SyncOutcome::Created, 2));
    let aborted = client.sync(body_as("another", JobStatus::Aborted)).await;
    assert_eq!((aborted.outcome(), aborted.revision), (SyncOutcome::Aborted, 3));
    assert_eq!(aborted.job_id, active.job_id);

    let expected = [JobEventType::JobCreated, JobEventType::ReportRecorded, JobEventType::JobAborted];
    assert_eq!(client.event_types(&aborted.job_id).await, expected);
    let job = client.job(&aborted.job_id).await;
    assert_eq!((job.status(), job.closed), (JobStatus::Aborted, true));
    assert!(job.close_time.is_some());
}

/// A body in which every member is set.
fn full_body() -> BasicSyncRequest {
    let step = |unique_step_id: &str, step_id: &str| {
        format!(
            r#"{{
                "values": [1.5, "text", null, true, ["list"], {{"key": {{"deep": [1]}}}}],
                "valueResourceIds": ["one.jpg", ""], "uniqueStepId": "{unique_step_id}",
                "previousUniqueStepId": "before", "userId": "user", "userName": "User", "deviceId": "device",
                "stepId": "{step_id}", "stepNumber": 7, "stepTitle": "Title", "stepDescription": "Description",
                "stepType": "Photo", "connectionType": "wifi", "started": "2021-10-01T12:48:12.265000001Z",
                "completed": "2021-10-01T12:48:13.8Z", "updated": "2021-10-01T12:48:13.9Z",
                "cancelled": "0001-01-01T00:00:00Z", "timeEvents": [{{"at": 1}}], "note": "",
                "noteResourceFilenames": ["note.txt"], "coordinates": {{"x": -0.0, "y": 1e300}},
                "parentStepId": "parent", "parentUniqueStepId": "unique parent", "parentStepTitle": "Parent",
                "parentStepDescription": "of it", "metadata": {{"tags": ["a", "b"], "none": null}}
            }}"#
        )
    };
    from_json(
        "holdpoint.v1.BasicSyncRequest",
        &format!(
            r#"{{
                "metadata": {{
                    "clientJobId": "full", "workflowId": "flow", "workflowVersionId": "version",
                    "jobTitle": "Title \u0000 \u00e9", "metadata": {{"Key1": "V1", "none": null}},
                    "created": "2021-10-01T12:48:12.215Z", "updated": "2021-10-01T12:48:13.824000001Z",
                    "modified": "9999-12-31T23:59:59.999999999Z", "status": "JOB_STATUS_PAUSED",
                    "userId": "user", "currentStep": "undone", "abandonReason": "", "username": "User",
                    "workflowName": "Flow"
                }},
                "completedSteps": [{{"singleStep": {}}}, {{"reportStep": {}}}],
                "cancelledSteps": [{{"singleStep": {}}}, {{"reportStep": {}}}],
                "team": "team", "hierarchyStack": {{"levels": ["a", "b"]}}, "packetIds": ["1", "", "1"],
                "jobExclusion": [null, "why", {{"code": 3}}], "excluded": true
            }}"#,
            step("1", "done"),
            step("2", "told"),
            step("3", "undone"),
            step("4", "untold"),
        ),
    )
}

/// A null that stands for a value is the same as its absence.
fn without_null(mut body: BasicSyncRequest) -> BasicSyncRequest {
    let null = Some(Value { kind: Some(Kind::NullValue(0)) });
    let step = body.completed_steps[0].single_step.as_mut().unwrap();
    for value in [&mut body.hierarchy_stack, &mut step.time_events, &mut step.coordinates] {
        assert_eq!(*value, null);
        *value = None;
    }
    body
}

/// The same, with the members of free data in the order of their names.
fn in_order(mut body: BasicSyncRequest) -> BasicSyncRequest {
    let entries = body.completed_steps.iter_mut().chain(&mut body.cancelled_steps);
    let steps = entries.flat_map(|entry| [&mut entry.single_step, &mut entry.report_step]).flatten();
    let documents =
        steps.map(|step| &mut step.metadata).chain(body.metadata.as_mut().map(|header| &mut header.metadata));
    for document in documents.flatten() {
        *document = document.members().into();
    }
    body
}

/// The sync that a job shows: what GetJob has of it, put back to where it came from.
fn told_again(details: JobDetails) -> BasicSyncRequest {
    let job = details.job.unwrap();
    let workflow = job.workflow.clone().unwrap();
    let (cancelled, completed): (Vec<_>, Vec<_>) =
        details.reports.into_iter().partition(|report| report.undone);
    let entries =
        |reports: Vec<StepReport>| reports.into_iter().map(|report| report.entry.unwrap()).collect();
    BasicSyncRequest {
        metadata: Some(SyncMetadata {
            client_job_id: Some(job.client_job_id.clone()),
            workflow_id: Some(workflow.workflow_id),
            workflow_version_id: workflow.version_id,
            job_title: job.title.clone(),
            metadata: job.metadata.clone(),
            created: job.created,
            updated: job.updated,
            modified: job.modified,
            status: job.status,
            user_id: job.user_id.clone(),
            current_step: job.current_step_ids.first().cloned(),
            abandon_reason: job.abandon_reason.clone(),
            username: job.username.clone(),
            workflow_name: workflow.name,
        }),
        completed_steps: entries(completed),
        cancelled_steps: entries(cancelled),
        team: job.team,
        hierarchy_stack: job.hierarchy_stack,
        packet_ids: job.packet_ids,
        job_exclusion: job.job_exclusion,
        excluded: job.excluded,
        request_id: String::new(),
        validate_only: false,
    }
}

#[tokio::test]
async fn every_member_of_the_body_is_shown_again() {
    let server = TestServer::sled().await;
    let client = server.client().await;
    let device = without_null(device_body());
    let mut jobs = Vec::new();
    for body in [device, full_body()] {
        let reply = client.sync(body.clone()).await;
        let body = in_order(body);
        let details = client.details(&reply.job_id).await;
        assert_eq!(told_again(details.clone()), body);
        let steps: Vec<_> = details.steps.iter().map(|step| (step.step_id.as_str(), step.status())).collect();
        if steps.len() > 1 {
            let (done, open) = (StepStatus::Finished, StepStatus::Ready);
            assert_eq!(steps, [("done", done), ("told", done), ("undone", open), ("untold", open)]);
        }
        jobs.push((body, details));
    }

    let server = server.restart().await;
    let client = server.client().await;
    // As it was sent, nulls and all, it is nothing new either.
    assert_eq!(client.sync(device_body()).await.outcome(), SyncOutcome::Unchanged);
    for (body, details) in jobs {
        let job = details.job.as_ref().unwrap();
        assert_eq!(client.details(&job.job_id).await, details);
        assert_eq!(client.sync(body).await.outcome(), SyncOutcome::Unchanged);
    }
    server.stop().await;
}

/// What was there before a sync.
enum Before {
    Nothing,
    Sync(BasicSyncRequest),
    Closed(BasicSyncRequest),
    Aborted(BasicSyncRequest),
    Deleted(BasicSyncRequest),
    /// A job that an operator made under the client's id.
    Created,
    /// A sync, and a new title by an operator.
    Renamed(BasicSyncRequest),
}

async fn prepare(client: &Client, before: Before, id: &str) {
    match before {
        Before::Nothing => {}
        Before::Sync(body) => drop(client.sync(body).await),
        Before::Closed(body) => client.call(close(&client.sync(body).await.job_id)).await.unwrap(),
        Before::Aborted(body) => client.call(abort(&client.sync(body).await.job_id)).await.unwrap(),
        Before::Deleted(body) => client.call(delete(&client.sync(body).await.job_id)).await.unwrap(),
        Before::Created => {
            client.call(create("", Job { client_job_id: id.to_owned(), ..Job::default() })).await.unwrap();
        }
        Before::Renamed(body) => {
            let job_id = client.sync(body).await.job_id;
            client.call(update(&job_id, titled("by hand"))).await.unwrap();
        }
    }
}

/// What a sync did: its outcome, the job after it, the events it made, and what the device is told it lost.
async fn outcome(client: &Client, sync: BasicSyncRequest) -> String {
    let reply = match client.syncs.clone().basic_sync(sync).await {
        Ok(reply) => reply.into_inner(),
        Err(status) => {
            let line = line(&status);
            return line.split(" {").next().unwrap().to_owned();
        }
    };
    let outcome = reply.outcome().as_str_name().trim_start_matches("SYNC_OUTCOME_").to_owned();
    let job = client.job(&reply.job_id).await;
    assert_eq!(job.revision, reply.revision);
    let closed = if job.closed { " closed" } else { "" };
    let status = job.status().as_str_name().trim_start_matches("JOB_STATUS_").to_owned();
    let newest = client.history(&reply.job_id).await.last().unwrap().request_id.clone();
    let events: Vec<_> = client
        .history(&reply.job_id)
        .await
        .into_iter()
        .filter(|event| event.request_id == "the sync" && newest == "the sync")
        .map(|event| {
            let late = if event.report.as_ref().is_some_and(|report| report.late) { " late" } else { "" };
            event.r#type().as_str_name().trim_start_matches("JOB_EVENT_TYPE_").to_owned() + late
        })
        .collect();
    let lost: Vec<_> = reply.lost_fields.into_iter().map(|lost| lost.path).collect();
    format!("{outcome}: {status}{closed}, events {events:?}, lost {lost:?}")
}

async fn check(rows: Vec<(&str, Before, BasicSyncRequest)>, expected: Expect) {
    let mut table = String::new();
    for (name, before, mut sync) in rows {
        let client = TestServer::memory().await.client().await;
        prepare(&client, before, metadata(&mut sync).client_job_id()).await;
        "the sync".clone_into(&mut sync.request_id);
        table.push_str(&format!("{name}: {}\n", outcome(&client, sync).await));
    }
    expected.assert_eq(&table);
}

/// The table of SPEC 3.1, row by row.
#[tokio::test]
async fn a_sync_meets_every_kind_of_job() {
    use JobStatus::{Aborted, Active, Completed, NotStarted, Paused};

    let sync = |status| body_as("a", status);
    let with_new_report = |status| with_report(body_as("a", status), "new");
    let mut other_workflow = sync(Active);
    metadata(&mut other_workflow).workflow_id = Some("other".to_owned());
    let mut without_reports = sync(NotStarted);
    without_reports.completed_steps.clear();
    check(
        vec![
            ("unknown, not started", Before::Nothing, without_reports.clone()),
            ("unknown, not started with a report", Before::Nothing, sync(NotStarted)),
            ("unknown, active", Before::Nothing, sync(Active)),
            ("unknown, paused", Before::Nothing, sync(Paused)),
            ("unknown, completed", Before::Nothing, sync(Completed)),
            ("unknown, aborted", Before::Nothing, sync(Aborted)),
            ("created by an operator", Before::Created, sync(Active)),
            ("known, newer header", Before::Sync(sync(Active)), later(sync(Paused), 1)),
            ("known, older header", Before::Sync(sync(Active)), later(sync(Paused), -1)),
            ("known, new report", Before::Sync(sync(Active)), with_new_report(Active)),
            ("known, report left out", Before::Sync(sync(Active)), {
                let mut body = sync(Active);
                body.completed_steps.clear();
                body
            }),
            ("known, aborted", Before::Sync(sync(Active)), sync(Aborted)),
            ("known, aborted long ago", Before::Sync(sync(Active)), later(sync(Aborted), -9)),
            ("known, nothing new", Before::Sync(sync(Active)), sync(Active)),
            ("completed, aborted by the same header", Before::Sync(sync(Completed)), sync(Aborted)),
            ("completed, aborted before", Before::Sync(sync(Completed)), later(sync(Aborted), -1)),
            ("completed, aborted after", Before::Sync(sync(Completed)), later(sync(Aborted), 1)),
            ("aborted, completed before", Before::Sync(sync(Aborted)), later(sync(Completed), -1)),
            ("aborted, completed after", Before::Sync(sync(Aborted)), later(sync(Completed), 1)),
            ("aborted by a sync, new report", Before::Sync(sync(Aborted)), with_new_report(Aborted)),
            ("closed, new report", Before::Closed(sync(Active)), with_new_report(Active)),
            ("closed, newer header", Before::Closed(sync(Active)), later(sync(Active), 1)),
            ("closed when completed, new report", Before::Closed(sync(Completed)), with_new_report(Active)),
            ("aborted by AbortJob, new report", Before::Aborted(sync(Active)), with_new_report(Active)),
            ("aborted by AbortJob, aborted", Before::Aborted(sync(Active)), sync(Aborted)),
            ("deleted", Before::Deleted(sync(Active)), sync(Active)),
            ("another workflow", Before::Sync(sync(Active)), other_workflow),
            ("renamed by an operator, the same again", Before::Renamed(sync(Active)), sync(Active)),
            ("renamed by an operator, a newer header", Before::Renamed(sync(Active)), later(sync(Active), 1)),
        ],
        expect![[r#"
            unknown, not started: CREATED: NOT_STARTED, events ["JOB_CREATED"], lost []
            unknown, not started with a report: CREATED: ACTIVE, events ["JOB_CREATED", "REPORT_RECORDED"], lost []
            unknown, active: CREATED: ACTIVE, events ["JOB_CREATED", "REPORT_RECORDED"], lost []
            unknown, paused: CREATED: PAUSED, events ["JOB_CREATED", "REPORT_RECORDED"], lost []
            unknown, completed: CREATED: COMPLETED, events ["JOB_CREATED", "REPORT_RECORDED", "JOB_COMPLETED"], lost []
            unknown, aborted: CREATED: ABORTED closed, events ["JOB_CREATED", "REPORT_RECORDED", "JOB_ABORTED"], lost []
            created by an operator: UPDATED: ACTIVE, events ["JOB_UPDATED", "REPORT_RECORDED"], lost []
            known, newer header: UPDATED: PAUSED, events ["JOB_UPDATED"], lost []
            known, older header: UNCHANGED: ACTIVE, events [], lost ["metadata.job_title", "metadata.status"]
            known, new report: UPDATED: ACTIVE, events ["REPORT_RECORDED"], lost []
            known, report left out: UNCHANGED: ACTIVE, events [], lost []
            known, aborted: ABORTED: ABORTED closed, events ["JOB_ABORTED"], lost []
            known, aborted long ago: ABORTED: ABORTED closed, events ["JOB_ABORTED"], lost ["metadata.job_title"]
            known, nothing new: UNCHANGED: ACTIVE, events [], lost []
            completed, aborted by the same header: ABORTED: ABORTED closed, events ["JOB_ABORTED"], lost []
            completed, aborted before: ABORTED: ABORTED closed, events ["JOB_ABORTED"], lost ["metadata.job_title"]
            completed, aborted after: UPDATED: COMPLETED, events ["JOB_UPDATED"], lost ["metadata.status"]
            aborted, completed before: UPDATED: COMPLETED, events ["JOB_COMPLETED"], lost ["metadata.job_title"]
            aborted, completed after: UPDATED: ABORTED closed, events ["JOB_UPDATED"], lost ["metadata.status"]
            aborted by a sync, new report: RECORDED_LATE: ABORTED closed, events ["REPORT_RECORDED late"], lost []
            closed, new report: RECORDED_LATE: ABORTED closed, events ["REPORT_RECORDED late"], lost ["metadata.status"]
            closed, newer header: UNCHANGED: ABORTED closed, events [], lost ["metadata.job_title", "metadata.status"]
            closed when completed, new report: RECORDED_LATE: COMPLETED closed, events ["REPORT_RECORDED late"], lost ["metadata.status"]
            aborted by AbortJob, new report: RECORDED_LATE: ABORTED closed, events ["REPORT_RECORDED late"], lost ["metadata.status"]
            aborted by AbortJob, aborted: UNCHANGED: ABORTED closed, events [], lost []
            deleted: FailedPrecondition JOB_DELETED
            another workflow: FailedPrecondition WORKFLOW_MISMATCH
            renamed by an operator, the same again: UNCHANGED: ACTIVE, events [], lost ["metadata.job_title"]
            renamed by an operator, a newer header: UPDATED: ACTIVE, events ["JOB_UPDATED"], lost []
        "#]],
    )
    .await;
}

/// Each member of a header that lost is told with what stands instead.
#[tokio::test]
async fn fields_that_lost_are_told_with_what_stands() {
    let client = TestServer::memory().await.client().await;
    let mut newer = full_body();
    metadata(&mut newer).updated.as_mut().unwrap().seconds += 1;
    let mut older = full_body();
    {
        let metadata = metadata(&mut older);
        let other = || Some("other".to_owned());
        metadata.workflow_version_id = other();
        metadata.job_title = other();
        metadata.metadata = Some(fields([("Key1", 2.0.into())]));
        metadata.created = Some(Timestamp { seconds: 1, nanos: 0 });
        metadata.user_id = other();
        metadata.current_step = Some("untold".to_owned());
        metadata.abandon_reason = other();
        metadata.username = other();
        metadata.workflow_name = other();
        metadata.set_status(JobStatus::Active);
        older.team = other();
        older.hierarchy_stack = Some("other".into());
        older.packet_ids = vec!["2".to_owned()];
        older.job_exclusion = vec![2.0.into()];
        older.excluded = Some(false);
    }
    older.completed_steps[0].single_step.as_mut().unwrap().updated = Some(Timestamp { seconds: 1, nanos: 0 });
    older.cancelled_steps[1].report_step.as_mut().unwrap().updated = None;

    assert_eq!(client.sync(newer.clone()).await.lost_fields, []);
    let reply = client.sync(older).await;
    assert_eq!(reply.outcome(), SyncOutcome::Unchanged);
    let mut table = String::new();
    for lost in reply.lost_fields {
        let standing = lost.standing.map_or("-".to_owned(), |value| to_json("google.protobuf.Value", &value));
        table.push_str(&format!("{}: {standing}\n", lost.path));
    }
    expect![[r#"
        metadata.workflow_version_id: "version"
        metadata.job_title: "Title \u0000 é"
        metadata.metadata: {"Key1":"V1","none":null}
        metadata.created: "2021-10-01T12:48:12.215Z"
        metadata.user_id: "user"
        metadata.current_step: "undone"
        metadata.abandon_reason: ""
        metadata.username: "User"
        metadata.workflow_name: "Flow"
        team: "team"
        hierarchy_stack: {"levels":["a","b"]}
        packet_ids: ["1","","1"]
        job_exclusion: [null,"why",{"code":3.0}]
        excluded: true
        metadata.status: "JOB_STATUS_PAUSED"
        completed_steps[0]: -
        cancelled_steps[1]: -
    "#]]
    .assert_eq(&table);
}

#[tokio::test]
async fn one_report_twice_in_a_sync_is_the_newer_of_the_two() {
    let client = TestServer::memory().await.client().await;
    let mut body = without_null(device_body());
    let mut newer = body.completed_steps[0].clone();
    let step = newer.single_step.as_mut().unwrap();
    step.updated.as_mut().unwrap().seconds += 1;
    step.note = Some("newer".to_owned());
    body.completed_steps.insert(0, newer.clone());
    let reply = client.sync(body).await;
    assert_eq!(reply.revision, 3);
    let lost: Vec<_> = reply.lost_fields.iter().map(|lost| lost.path.as_str()).collect();
    assert_eq!(lost, ["completed_steps[1]"]);
    let reports = client.details(&reply.job_id).await.reports;
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].entry, Some(newer));
}

#[tokio::test]
async fn the_reports_of_a_job_come_by_pages() {
    let client = TestServer::memory().await.client().await;
    let mut body = device_body();
    let entry = body.completed_steps.pop().unwrap();
    for n in 0..25 {
        let mut entry = entry.clone();
        let step = entry.single_step.as_mut().unwrap();
        step.unique_step_id = Some(format!("{n:02}"));
        // Six of them make a page larger than 1 MiB.
        step.note_resource_filenames = vec!["x".repeat(4000); if n < 12 { 50 } else { 0 }];
        body.completed_steps.push(entry);
    }
    let reply = client.sync(body).await;

    let mut pages = Vec::new();
    let mut request =
        GetJobRequest { views: vec![JobView::Reports.into()], reports_page_size: 8, ..get(&reply.job_id) };
    let mut ids = Vec::new();
    loop {
        let page = client.jobs.clone().get_job(request.clone()).await.unwrap().into_inner();
        let details = page.decode_details().unwrap();
        assert_eq!(details.job.unwrap().revision, 27);
        pages.push(details.reports.len());
        ids.extend(details.reports.iter().map(|report| report.unique_step_id().to_owned()));
        if page.next_reports_page_token.is_empty() {
            break;
        }
        request.reports_page_token = page.next_reports_page_token;
    }
    assert_eq!(pages, [5, 5, 8, 7]);
    assert_eq!(ids, (0..25).map(|n| format!("{n:02}")).collect::<Vec<_>>());

    let status = client
        .call(GetJobRequest { job_id: String::new(), client_job_id: "another".to_owned(), ..request })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "the token is of another job's reports");
}
