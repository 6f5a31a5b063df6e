//! `GetWorkflowInstance` and `ListWorkflowInstances`.

use std::{collections::BTreeSet, slice};

use expect_test::expect;
use holdpoint::{
    config::{Config, Limits},
    proto::{
        Document,
        v1::{
            ErrorReason,
            ExecutionStatus::{self, Closed, Started},
            GetWorkflowInstanceRequest, ListTaskStatusesRequest, ListWorkflowInstancesRequest,
            ListWorkflowInstancesResponse, SequenceRange, UpdateExecutionTaskStatusRequest,
            UpdateExecutionWorkflowStatusRequest, WorkflowAttempt, WorkflowInstance,
        },
    },
};
use prost::Message as _;
use prost_types::Timestamp;
use tonic::{Code, Status};

use super::harness::{
    Call, Caller, Client, Dice, TestServer, config, delete, fields, get_instance, instances_of, line, moment,
    refused, report_task, report_workflow, titled,
};

/// A report of an attempt at an instance.
fn attempt(
    job_id: &str,
    id: &str,
    attempt_id: i64,
    status: ExecutionStatus,
) -> UpdateExecutionWorkflowStatusRequest {
    UpdateExecutionWorkflowStatusRequest {
        workflow_instance_id: Some(id.to_owned()),
        attempt_id: Some(attempt_id),
        data: said(attempt_id),
        meta: said(attempt_id),
        ..report_workflow(job_id, status, 1_700_000_000_000 + attempt_id)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it makes the optional members of messages")]
fn said(attempt_id: i64) -> Option<Document> {
    Some(fields([("attempt", attempt_id.to_string().into())]))
}

/// A report that a task of an attempt at the instance `run` of the job `job` has started.
fn task(attempt_id: i64, sequence_id: i64) -> UpdateExecutionTaskStatusRequest {
    UpdateExecutionTaskStatusRequest {
        attempt_id: Some(attempt_id),
        ..report_task("job", &format!("task {sequence_id}"), sequence_id, Started, 10)
    }
}

async fn get(client: &Client, attempt_id: Option<i64>) -> Result<WorkflowInstance, Status> {
    let request = GetWorkflowInstanceRequest { attempt_id, ..get_instance("job", "run") };
    let reply = client.workflows.clone().get_workflow_instance(request).await?;
    Ok(reply.into_inner().workflow_instance.unwrap())
}

async fn page(
    client: &Client,
    request: ListWorkflowInstancesRequest,
) -> Result<ListWorkflowInstancesResponse, Status> {
    Ok(client.workflows.clone().list_workflow_instances(request).await?.into_inner())
}

/// Executors count milliseconds, and no more of them than there are is lost.
#[tokio::test]
async fn an_instance_as_it_was_reported() {
    let client = TestServer::memory().await.client().await;
    let job = client.create("job", titled("a job")).await;
    let mut ids = Vec::new();
    for sequence_id in [7, 2, 4, 3] {
        ids.push((sequence_id, client.report_task(task(0, sequence_id)).await.task.unwrap()));
    }
    ids.sort_by_key(|(sequence_id, _)| *sequence_id);
    let opened = client.instance("job", "run").await;
    let expected = WorkflowAttempt {
        dispatch_id: "dispatch".to_owned(),
        task_ids: ids.iter().map(|(_, task)| task.id.clone()).collect(),
        missing_sequences: vec![SequenceRange { first: 5, last: 6 }],
        missing_sequence_count: 2,
        ..WorkflowAttempt::default()
    };
    assert_eq!(opened.attempts, slice::from_ref(&expected), "while only tasks of it were reported");
    assert_eq!((opened.job_id.as_str(), opened.workflow_instance_id.as_str()), ("job", "run"));
    assert!(moment(opened.create_time) >= moment(job.create_time));
    assert_eq!((opened.create_time, opened.attempt_count), (opened.update_time, 1));

    let started = UpdateExecutionWorkflowStatusRequest {
        timestamp: Some(1_700_000_000_123),
        ..attempt("job", "run", 0, Started)
    };
    client.report_workflow(started).await;
    let closed = UpdateExecutionWorkflowStatusRequest {
        timestamp: Some(253_402_300_799_999),
        ..attempt("job", "run", 0, Closed)
    };
    let reply = client.report_workflow(closed.clone()).await;
    let instance = client.instance("job", "run").await;
    let end = Some(Timestamp { seconds: 253_402_300_799, nanos: 999_000_000 });
    let expected = WorkflowAttempt {
        status: Closed.into(),
        code: Some("done".to_owned()),
        data: said(0),
        meta: said(0),
        updated_by: closed.updated_by,
        launched: Some(Timestamp { seconds: 1_700_000_000, nanos: 123_000_000 }),
        completed: end,
        report_time: end,
        ..expected
    };
    assert_eq!(instance.attempts, [expected]);
    assert_eq!(instance.create_time, opened.create_time);
    assert!(moment(instance.update_time) >= moment(opened.update_time));
    let told = reply.workflow_instance.unwrap();
    assert_eq!(told.attempts[0], WorkflowAttempt { task_ids: Vec::new(), ..instance.attempts[0].clone() });
}

#[tokio::test]
async fn one_attempt_is_told_whole() {
    let client = TestServer::memory().await.client().await;
    client.create("job", titled("a job")).await;
    for attempt_id in [3, 5, 8] {
        client.report_workflow(attempt("job", "run", attempt_id, Started)).await;
        for sequence_id in [attempt_id, attempt_id + 2] {
            client.report_task(task(attempt_id, sequence_id)).await;
        }
    }
    let newest = client.instance("job", "run").await;
    assert_eq!((newest.attempts.len(), newest.attempt_count), (3, 3));
    for asked in [3, 5, 8] {
        let instance = get(&client, Some(asked)).await.unwrap();
        let ids: Vec<_> = instance.attempts.iter().map(|attempt| attempt.attempt_id).collect();
        assert_eq!(ids, [3, 5, 8], "the oldest first");
        for attempt in &instance.attempts {
            let is_whole = attempt.attempt_id == asked;
            let gap = SequenceRange { first: asked + 1, last: asked + 1 };
            assert_eq!(attempt.data, said(asked).filter(|_| is_whole));
            assert_eq!(attempt.meta, said(asked).filter(|_| is_whole));
            assert_eq!(attempt.task_ids.len(), if is_whole { 2 } else { 0 });
            assert_eq!(attempt.missing_sequences, if is_whole { vec![gap] } else { vec![] });
            assert_eq!(attempt.missing_sequence_count, i64::from(is_whole));
            assert_eq!((attempt.status(), attempt.dispatch_id.as_str()), (Started, "dispatch"));
            assert!(attempt.launched.is_some() && attempt.updated_by.is_some());
        }
        assert_eq!(instance == newest, asked == 8, "the newest is told whole where none is asked for");
    }
}

#[tokio::test]
async fn the_hundred_newest_attempts_are_told() {
    const ATTEMPTS: i64 = 120;
    let client = TestServer::memory().await.client().await;
    client.create("job", titled("a job")).await;
    for attempt_id in 0..ATTEMPTS {
        client.report_workflow(attempt("job", "run", attempt_id, Started)).await;
    }
    let ids = |instance: &WorkflowInstance| {
        let ids = instance.attempts.iter().map(|attempt| attempt.attempt_id);
        ids.collect::<Vec<_>>()
    };
    let newest = client.instance("job", "run").await;
    assert_eq!(newest.attempt_count, ATTEMPTS);
    assert_eq!(ids(&newest), (20..ATTEMPTS).collect::<Vec<_>>());
    assert_eq!(client.instances(instances_of("job")).await, [newest]);
    // One that is asked for is among them in any case.
    let old = get(&client, Some(4)).await.unwrap();
    assert_eq!(ids(&old), [4].into_iter().chain(21..ATTEMPTS).collect::<Vec<_>>());
    assert_eq!(old.attempts[0].data, said(4));
    assert!(old.attempts[1..].iter().all(|attempt| attempt.data.is_none()));
    assert_eq!(ids(&get(&client, Some(20)).await.unwrap()), (20..ATTEMPTS).collect::<Vec<_>>());
}

#[tokio::test]
async fn refusals() {
    let server = TestServer::memory().await;
    let client = server.client().await;
    for job_id in ["job", "other", "deleted"] {
        client.create(job_id, titled(job_id)).await;
        client.report_workflow(attempt(job_id, "run", 3, Started)).await;
    }
    client.report_workflow(attempt("other", "only here", 0, Started)).await;
    client.call(delete("deleted")).await.unwrap();
    let of = |attempt_id| GetWorkflowInstanceRequest { attempt_id, ..get_instance("job", "run") };
    let list = |request: ListWorkflowInstancesRequest| Call::from(request);
    let token = {
        let request = ListWorkflowInstancesRequest { page_size: 1, ..Default::default() };
        page(&client, request).await.unwrap().next_page_token
    };
    assert!(!token.is_empty());
    let with_token = |request| list(ListWorkflowInstancesRequest { page_token: token.clone(), ..request });
    let elsewhere = server.client_as(Caller::default().of("umbra")).await;
    elsewhere.create("own", titled("of another organization")).await;
    let rows: Vec<(&str, &Client, Call)> = vec![
        ("no such job", &client, get_instance("none", "run").into()),
        ("a deleted job", &client, get_instance("deleted", "run").into()),
        ("no such instance", &client, get_instance("job", "none").into()),
        ("another job's", &client, get_instance("job", "only here").into()),
        ("an older attempt", &client, of(Some(2)).into()),
        ("a newer attempt", &client, of(Some(4)).into()),
        ("another organization's", &elsewhere, get_instance("job", "run").into()),
        (
            "nothing",
            &client,
            GetWorkflowInstanceRequest { attempt_id: Some(-1), ..Default::default() }.into(),
        ),
        ("long ids", &client, get_instance(&"x".repeat(65), "a\n").into()),
        ("a list of no job", &client, list(instances_of("none"))),
        ("a list of a deleted job", &client, list(instances_of("deleted"))),
        ("a list of another organization's", &elsewhere, list(instances_of("job"))),
        ("a page", &client, list(ListWorkflowInstancesRequest { page_size: 1001, ..instances_of("x\n") })),
        (
            "a page less than none",
            &client,
            list(ListWorkflowInstancesRequest { page_size: -1, ..Default::default() }),
        ),
        (
            "a token",
            &client,
            list(ListWorkflowInstancesRequest { page_token: "x".to_owned(), ..Default::default() }),
        ),
        ("a token of all jobs", &client, with_token(instances_of("other"))),
        (
            "a token without a filter",
            &client,
            with_token(ListWorkflowInstancesRequest { closed: Some(false), ..Default::default() }),
        ),
        ("a token of another organization", &elsewhere, with_token(ListWorkflowInstancesRequest::default())),
    ];
    let mut table = String::new();
    for (name, client, call) in rows {
        let status = client.call(call).await.unwrap_err();
        table.push_str(&format!("{name}: {}\n", line(&status)));
    }
    expect![[r#"
        no such job: NotFound WORKFLOW_INSTANCE_NOT_FOUND {"workflowInstanceId": "run"}
        a deleted job: NotFound WORKFLOW_INSTANCE_NOT_FOUND {"workflowInstanceId": "run"}
        no such instance: NotFound WORKFLOW_INSTANCE_NOT_FOUND {"workflowInstanceId": "none"}
        another job's: NotFound WORKFLOW_INSTANCE_NOT_FOUND {"workflowInstanceId": "only here"}
        an older attempt: NotFound WORKFLOW_INSTANCE_NOT_FOUND {"attemptId": "2", "workflowInstanceId": "run"}
        a newer attempt: NotFound WORKFLOW_INSTANCE_NOT_FOUND {"attemptId": "4", "workflowInstanceId": "run"}
        another organization's: NotFound WORKFLOW_INSTANCE_NOT_FOUND {"workflowInstanceId": "run"}
        nothing: InvalidArgument FIELD_INVALID
            job_id is required
            workflow_instance_id is required
            attempt_id is less than 0
        long ids: InvalidArgument FIELD_INVALID
            job_id is longer than 64 characters
            workflow_instance_id has a control character
        a list of no job: NotFound JOB_NOT_FOUND {"jobId": "none"}
        a list of a deleted job: NotFound JOB_NOT_FOUND {"jobId": "deleted"}
        a list of another organization's: NotFound JOB_NOT_FOUND {"jobId": "job"}
        a page: InvalidArgument FIELD_INVALID
            job_id has a control character
            page_size is not between 0 and 1000
        a page less than none: InvalidArgument FIELD_INVALID
            page_size is not between 0 and 1000
        a token: InvalidArgument PAGE_TOKEN_INVALID
        a token of all jobs: InvalidArgument PAGE_TOKEN_INVALID
        a token without a filter: InvalidArgument PAGE_TOKEN_INVALID
        a token of another organization: InvalidArgument PAGE_TOKEN_INVALID
    "#]]
    .assert_eq(&table);
    assert_eq!(elsewhere.instances(ListWorkflowInstancesRequest::default()).await, []);

    // A token of one kind of list is none of another, also where the filter says the same.
    let tasks = ListTaskStatusesRequest { page_token: token, ..Default::default() };
    refused(client.call(tasks).await, Code::InvalidArgument, ErrorReason::PageTokenInvalid);
}

/// Lists against a model that knows every instance.
#[tokio::test]
async fn lists() {
    const INSTANCES: usize = 150;
    let jobs = ["a", "b", "c", "d", "e", "empty"];
    let server = TestServer::memory().await;
    let client = server.client().await;
    for job_id in jobs {
        client.create(job_id, titled(job_id)).await;
    }
    let mut dice = Dice::new(11);
    let mut all = Vec::new();
    for n in 0..INSTANCES {
        let (job_id, id) = (dice.pick(&jobs[..5]), format!("run {n}"));
        for attempt_id in 0..=dice.roll(3) {
            let status = dice.pick(&[Started, Closed]);
            client.report_workflow(attempt(job_id, &id, i64::try_from(attempt_id).unwrap(), status)).await;
        }
        all.push(client.instance(job_id, &id).await);
    }
    let key = |instance: &WorkflowInstance| (instance.job_id.clone(), instance.workflow_instance_id.clone());
    all.sort_by_key(key);
    let elsewhere = server.client_as(Caller::default().of("umbra")).await;
    for job_id in [""].into_iter().chain(jobs) {
        for closed in [None, Some(false), Some(true)] {
            let is_listed = |instance: &&WorkflowInstance| {
                let newest = instance.attempts.last().unwrap().status();
                (job_id.is_empty() || instance.job_id == job_id)
                    && closed.is_none_or(|closed| closed == (newest == Closed))
            };
            let expected: Vec<_> = all.iter().filter(is_listed).cloned().collect();
            for page_size in [0, 1, 7, 64, 1000] {
                if page_size == 1 && (job_id != "a" || closed == Some(true)) {
                    continue;
                }
                let request = ListWorkflowInstancesRequest { closed, page_size, ..instances_of(job_id) };
                let listed = client.instances(request).await;
                if !job_id.is_empty() {
                    assert!(listed.is_sorted_by_key(key), "of a job they are by id");
                }
                let mut sorted = listed;
                sorted.sort_by_key(key);
                assert_eq!(sorted.len(), expected.len(), "{job_id:?} {closed:?} by {page_size}");
                assert!(sorted == expected, "{job_id:?} {closed:?} by {page_size}");
            }
            if job_id.is_empty() {
                let request = ListWorkflowInstancesRequest { closed, ..Default::default() };
                assert_eq!(elsewhere.instances(request).await, []);
            }
        }
    }
}

/// What is there during the whole listing is listed once, wherever others are added, and whatever is reported.
#[tokio::test]
async fn a_list_goes_on_while_instances_are_added() {
    let client = TestServer::memory().await.client().await;
    let jobs = ["a", "b", "c", "d"];
    let mut there = BTreeSet::new();
    for job_id in jobs {
        client.create(job_id, titled(job_id)).await;
        for n in 0..20 {
            let id = format!("run {}", 2 * n);
            client.report_workflow(attempt(job_id, &id, 0, Started)).await;
            there.insert((job_id.to_owned(), id));
        }
    }
    for of_job in ["", "b"] {
        let mut dice = Dice::new(5);
        let mut request = ListWorkflowInstancesRequest { page_size: 3, ..instances_of(of_job) };
        let mut listed = BTreeSet::new();
        loop {
            let reply = page(&client, request.clone()).await.unwrap();
            for instance in reply.workflow_instances {
                let key = (instance.job_id, instance.workflow_instance_id);
                assert!(listed.insert(key.clone()), "{key:?} is listed twice");
            }
            request.page_token = reply.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
            let (job_id, n) = (dice.pick(&jobs), dice.roll(40));
            client.report_workflow(attempt(job_id, &format!("run {n}"), 1, Started)).await;
        }
        let missed: Vec<_> = there
            .iter()
            .filter(|(job_id, _)| of_job.is_empty() || job_id == of_job)
            .filter(|key| !listed.contains(*key))
            .collect();
        assert_eq!(missed, Vec::<&(String, String)>::new());
    }
}

/// A job that goes takes its instances along, also from under a list.
#[tokio::test]
async fn the_instances_of_a_deleted_job_are_gone() {
    let client = TestServer::memory().await.client().await;
    for job_id in ["a", "b", "c"] {
        client.create(job_id, titled(job_id)).await;
        for id in ["one", "two", "three"] {
            client.report_workflow(attempt(job_id, id, 0, Started)).await;
        }
    }
    let all = ListWorkflowInstancesRequest { page_size: 1, ..Default::default() };
    let first = page(&client, all.clone()).await.unwrap();
    let listed_job = &first.workflow_instances[0].job_id;
    client.call(delete(listed_job)).await.unwrap();
    let rest = client
        .instances(ListWorkflowInstancesRequest { page_token: first.next_page_token.clone(), ..all.clone() })
        .await;
    assert_eq!(rest.len(), 6);
    assert!(rest.iter().all(|instance| instance.job_id != *listed_job));
    assert_eq!(client.instances(all).await, rest);
}

#[tokio::test]
async fn a_page_ends_before_it_grows_too_large() {
    let client = TestServer::memory().await.client().await;
    client.create("job", titled("a job")).await;
    for n in 0..8 {
        let data = Some(fields([("large", "x".repeat(250 << 10).into())]));
        let id = format!("run {n}");
        let closed = attempt("job", &id, 0, Closed);
        client.report_workflow(UpdateExecutionWorkflowStatusRequest { data, ..closed }).await;
    }
    let first = page(&client, instances_of("job")).await.unwrap();
    assert!(first.encoded_len() <= 1 << 20, "{} bytes", first.encoded_len());
    assert_eq!(first.workflow_instances.len(), 4);
    assert!(!first.next_page_token.is_empty());
    assert_eq!(client.instances(instances_of("job")).await.len(), 8);

    // One that is larger by itself makes a page of its own.
    let limits = Limits { document_bytes: 2 << 20, message_bytes: 16 << 20, ..Limits::default() };
    let server = TestServer::start(Config { limits, ..config() }).await;
    let client = server.client().await;
    client.create("job", titled("a job")).await;
    for n in 0..3 {
        let data = Some(fields([("large", "x".repeat((3 << 20) / 2).into())]));
        let closed = attempt("job", &format!("run {n}"), 0, Closed);
        client.report_workflow(UpdateExecutionWorkflowStatusRequest { data, ..closed }).await;
    }
    assert_eq!(page(&client, instances_of("job")).await.unwrap().workflow_instances.len(), 1);
    assert_eq!(client.instances(instances_of("job")).await.len(), 3);
}
