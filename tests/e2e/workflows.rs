//! `WorkflowService`, and the jobs that follow what it publishes: SPEC 1, 3.1 and 3.4.

use expect_test::{Expect, expect};
use holdpoint::proto::v1::{
    Assignee, BasicSyncRequest, CreateJobRequest, ErrorReason, GetWorkflowRequest, Job, JobActionType,
    JobEventType, JobStatus, ListWorkflowsRequest, Path, PublishWorkflowRequest, PublishWorkflowResponse,
    StepDefinition, StepJoin, StepKind, StepStatus, SyncOutcome, Workflow, WorkflowReference,
};
use prost::Message as _;
use prost_types::Timestamp;
use tonic::Code;

use super::harness::{
    Call, Caller, Client, TestServer, chain, create, device_body_of, following, group, leads_to, line,
    moment, publish, refused, statuses, step, user, workflow,
};

#[expect(clippy::unnecessary_wraps, reason = "it makes the optional members of messages")]
fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// A workflow in which every member is set.
fn full(workflow_id: &str) -> Workflow {
    let path = |to: &str, condition: &str, label: Option<&str>| Path {
        next_step_id: to.to_owned(),
        condition: condition.to_owned(),
        label: label.map(str::to_owned),
    };
    let ask = StepDefinition {
        step_id: "ask".to_owned(),
        number: Some(2),
        title: text("Ask"),
        description: text("Is it safe?"),
        kind: StepKind::Question.into(),
        step_type: text("Choice"),
        can_skip: true,
        proceed_to_next: true,
        default_assignee: Some(user("ann")),
        join: StepJoin::Any.into(),
        paths: vec![
            path("look", "answer == 'no' && visit < 3", text("again").as_deref()),
            path("end", "answer == 'yes' || job.priority > 5", None),
        ],
    };
    let look = StepDefinition {
        number: Some(1),
        default_assignee: Some(group("crew")),
        paths: leads_to(&["ask"]),
        ..step("look", StepKind::Manual)
    };
    let end = StepDefinition { number: Some(3), ..step("end", StepKind::OpenApp) };
    let mut full = workflow(workflow_id, &["look"], vec![ask, look, end]);
    (full.name, full.description) = (text("Inspection"), text("Of a pump"));
    full
}

/// A workflow of one step, whose title tells it from others.
fn small(workflow_id: &str, title: &str) -> Workflow {
    let only = StepDefinition { title: text(title), ..step("only", StepKind::Manual) };
    Workflow { name: text(title), ..chain(workflow_id, vec![only]) }
}

fn get_workflow(workflow_id: &str, version_id: &str) -> GetWorkflowRequest {
    GetWorkflowRequest { workflow_id: workflow_id.to_owned(), version_id: version_id.to_owned() }
}

async fn version(client: &Client, workflow_id: &str, version_id: &str) -> Workflow {
    let request = get_workflow(workflow_id, version_id);
    client.workflows.clone().get_workflow(request).await.unwrap().into_inner().workflow.unwrap()
}

/// The workflow and version ids of every page of a list.
async fn list(client: &Client, workflow_id: &str, page_size: i32) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = ListWorkflowsRequest { workflow_id: workflow_id.to_owned(), page_size, page_token };
        let page = client.workflows.clone().list_workflows(request).await.unwrap().into_inner();
        assert!(page.workflows.iter().all(|workflow| workflow.steps.is_empty()));
        let ids = page.workflows.iter();
        pages.push(ids.map(|workflow| format!("{} {}", workflow.workflow_id, workflow.version_id)).collect());
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return pages;
        }
    }
}

/// Each is refused, as the text says.
async fn check(client: &Client, rows: Vec<(&str, Call)>, expected: Expect) {
    let mut table = String::new();
    for (name, call) in rows {
        let Err(status) = client.call(call).await else { panic!("{name} is not refused") };
        table.push_str(&format!("{name}: {}\n", line(&status)));
    }
    expected.assert_eq(&table);
}

#[tokio::test]
async fn what_is_published_is_read_back_and_each_version_is_the_next() {
    let client = TestServer::memory().await.client().await;
    let sent = full("flow");
    let reply = client.publish(sent.clone()).await;
    assert_eq!((reply.workflow_id.as_str(), reply.version_id.as_str()), ("flow", "1"));
    assert_eq!(reply.publisher.as_ref().unwrap().id, "alice");
    assert!(reply.publish_time.is_some() && reply.steps.is_empty());
    assert_eq!((&reply.name, &reply.description), (&sent.name, &sent.description));

    // What was left out is told as it is meant.
    let mut steps = sent.steps;
    steps[1].set_join(StepJoin::All);
    steps[2].set_join(StepJoin::All);
    let first = Workflow { steps, ..reply };
    assert_eq!(version(&client, "flow", "1").await, first);
    assert_eq!(version(&client, "flow", "").await, first);

    // The same again is a version too, and what a publisher cannot say is not taken from them.
    let forged = Workflow {
        version_id: "7".to_owned(),
        publish_time: Some(Timestamp { seconds: 1, nanos: 0 }),
        publisher: None,
        ..first.clone()
    };
    let second = client.publish(forged).await;
    assert_eq!(second.version_id, "2");
    assert!(moment(second.publish_time) >= moment(first.publish_time));
    assert_eq!(version(&client, "flow", "1").await, first, "a version never changes");
    assert_eq!(version(&client, "flow", "").await, Workflow { steps: first.steps.clone(), ..second });
    assert_eq!(client.publish(small("flow", "other")).await.version_id, "3");
    assert_eq!(client.publish(small("other", "other")).await.version_id, "1");
}

#[tokio::test]
async fn every_fault_of_a_workflow_is_named_at_once() {
    let client = TestServer::memory().await.client().await;
    let long = "x".repeat(65);
    let texts = "x".repeat(4097);
    let path = |to: &str, condition: &str| Path {
        next_step_id: to.to_owned(),
        condition: condition.to_owned(),
        label: None,
    };
    let faulty = {
        let a = StepDefinition {
            kind: 5,
            join: 3,
            title: Some(texts.clone()),
            default_assignee: Some(Assignee { kind: 0, id: long.clone() }),
            paths: vec![
                path("none", ""),
                path("b", "answer =="),
                path("b", "hold == 1"),
                path("b", "[1].all(n, [2].all(m, m > n))"),
                path("", ""),
                path("b", "job.priority > 1"),
            ],
            ..step("a", StepKind::Manual)
        };
        let b = step("b", StepKind::Manual);
        let mut faulty = workflow(&long, &["a", "z", "a"], vec![a, b.clone(), b, step("", StepKind::Manual)]);
        faulty.name = Some(texts.clone());
        faulty.steps[1].paths = vec![Path { label: Some(texts), ..path("a", "") }];
        PublishWorkflowRequest { request_id: long.clone(), ..publish(faulty) }
    };
    let conditions = {
        let step = |n: usize| StepDefinition {
            paths: vec![path("0", "job.priority =="); 51],
            ..step(&n.to_string(), StepKind::Manual)
        };
        workflow("flow", &["0"], (0..20).map(step).collect())
    };
    let large = {
        let step = |n: usize| StepDefinition {
            description: Some("x".repeat(4096)),
            ..step(&n.to_string(), StepKind::Manual)
        };
        workflow("flow", &["0"], (0..300).map(step).collect())
    };
    let many = |steps: usize, starts: usize, paths: usize| {
        let ids: Vec<_> = (0..steps).map(|n| n.to_string()).collect();
        let starts: Vec<_> = ids.iter().take(starts).map(String::as_str).collect();
        let mut many = workflow("flow", &starts, ids.iter().map(|id| step(id, StepKind::Manual)).collect());
        many.steps[0].paths = vec![path("0", ""); paths];
        many
    };
    check(
        &client,
        vec![
            ("nothing", PublishWorkflowRequest::default().into()),
            ("an empty workflow", publish(Workflow::default()).into()),
            ("every fault", faulty.into()),
            ("too many conditions", publish(conditions).into()),
            ("more than 1 MiB", publish(large).into()),
            ("too many steps", publish(many(1001, 1, 0)).into()),
            ("too many starts and paths", publish(many(100, 65, 65)).into()),
        ],
        expect![[r#"
            nothing: InvalidArgument FIELD_INVALID
                workflow is required
            an empty workflow: InvalidArgument FIELD_INVALID
                workflow.workflow_id is required
                workflow.steps is required
                workflow.start_step_ids is required
            every fault: InvalidArgument FIELD_INVALID
                request_id is longer than 64 characters
                workflow.workflow_id is longer than 64 characters
                workflow.name is longer than 4096 characters
                workflow.steps[0].title is longer than 4096 characters
                workflow.steps[0].default_assignee.kind is required: KIND_USER or KIND_GROUP
                workflow.steps[0].default_assignee.id is longer than 64 characters
                workflow.steps[0].kind is not a value of StepKind
                workflow.steps[0].join is not a value of StepJoin
                workflow.steps[0].paths[4].next_step_id is required
                workflow.steps[1].paths[0].label is longer than 4096 characters
                workflow.steps[3].step_id is required
                workflow.steps[2].step_id is that of steps[1] already
                workflow.start_step_ids[1] is "z", and there is no such step
                workflow.start_step_ids[2] is there twice
                workflow.steps[0].paths[0].next_step_id is "none", and there is no such step
                workflow.steps[0].paths[1].condition is not a CEL expression: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}
                workflow.steps[0].paths[2].condition reads "hold", which is not one of job, answer, outcome, visit
                workflow.steps[0].paths[3].condition has more than one macro (all, exists, exists_one)
            too many conditions: InvalidArgument FIELD_INVALID
                workflow.steps have 1020 conditions, more than 1000
            more than 1 MiB: InvalidArgument FIELD_INVALID
                workflow takes 1232599 bytes, more than 1048576
            too many steps: InvalidArgument FIELD_INVALID
                workflow.steps has more than 1000 entries
            too many starts and paths: InvalidArgument FIELD_INVALID
                workflow.start_step_ids has more than 64 entries
                workflow.steps[0].paths has more than 64 entries
        "#]],
    )
    .await;
    // What is larger than any message is refused as any message is.
    let huge = Workflow { description: Some("x".repeat(4 << 20)), ..small("flow", "huge") };
    let status = client.call(publish(huge)).await.unwrap_err();
    let expected =
        "ResourceExhausted LIMIT_EXCEEDED {\"limit\": \"message_bytes\", \"maximum\": \"4194304\"}";
    assert_eq!(line(&status), expected);
    assert_eq!(list(&client, "", 0).await, [[""; 0]; 1], "none of them is published");

    // The greatest that is taken.
    client.publish(many(1000, 64, 64)).await;
    let mut largest = small("large", "");
    let fill = |workflow: &mut Workflow| {
        while (1 << 20) - workflow.encoded_len() > 4200 {
            let n = workflow.steps.len().to_string();
            let description = Some("x".repeat(4096));
            workflow.steps.push(StepDefinition { description, ..step(&n, StepKind::Manual) });
        }
    };
    fill(&mut largest);
    assert!(largest.encoded_len() > (1 << 20) - 4201);
    client.publish(largest).await;
    client.create("job", following("large")).await;
}

#[tokio::test]
async fn who_names_the_newest_version_does_not_publish_over_another() {
    let client = TestServer::memory().await.client().await;
    let after = |newest: &str| PublishWorkflowRequest {
        newest_version_id: newest.to_owned(),
        ..publish(small("flow", "new"))
    };
    let mismatch = async |newest: &str, expected: &str| {
        let status = client.call(after(newest)).await.unwrap_err();
        assert_eq!(line(&status), format!("Aborted ETAG_MISMATCH {{\"etag\": \"{expected}\"}}"));
    };
    mismatch("1", "").await;
    client.publish(small("flow", "first")).await;
    mismatch("2", "1").await;
    client.call(after("1")).await.unwrap();
    mismatch("1", "2").await;
    client.call(after("2")).await.unwrap();
    client.call(after("")).await.unwrap();
    assert_eq!(list(&client, "flow", 0).await, [["flow 4", "flow 3", "flow 2", "flow 1"]]);
}

#[tokio::test]
async fn a_repeat_publishes_nothing_also_after_a_restart() {
    let server = TestServer::sled().await;
    let client = server.client().await;
    let request = PublishWorkflowRequest { request_id: "one".to_owned(), ..publish(full("flow")) };
    let ask = async |client: &Client, request: &PublishWorkflowRequest| -> PublishWorkflowResponse {
        client.workflows.clone().publish_workflow(request.clone()).await.unwrap().into_inner()
    };
    let first = ask(&client, &request).await;
    client.publish(small("flow", "second")).await;
    assert_eq!(ask(&client, &request).await, first, "the reply that was given");

    let server = server.restart().await;
    let client = server.client().await;
    assert_eq!(ask(&client, &request).await, first);
    let other = PublishWorkflowRequest { request_id: "one".to_owned(), ..publish(small("flow", "x")) };
    refused(client.call(other).await, Code::FailedPrecondition, ErrorReason::RequestIdReused);
    let job = CreateJobRequest { request_id: "one".to_owned(), ..create("", Job::default()) };
    refused(client.call(job).await, Code::FailedPrecondition, ErrorReason::RequestIdReused);
    let bob = server.client_as(Caller::new("bob")).await;
    assert_eq!(ask(&bob, &request).await.workflow.unwrap().version_id, "3", "another caller's is another");
    server.stop().await;
}

#[tokio::test]
async fn validate_only_publishes_nothing() {
    let client = TestServer::memory().await.client().await;
    let request =
        PublishWorkflowRequest { validate_only: true, request_id: "one".to_owned(), ..publish(full("flow")) };
    let reply = client.workflows.clone().publish_workflow(request.clone()).await.unwrap().into_inner();
    assert_eq!(reply.workflow.unwrap().version_id, "1");
    assert_eq!(list(&client, "", 0).await, [[""; 0]; 1]);
    let not_found = client.call(get_workflow("flow", "")).await;
    refused(not_found, Code::NotFound, ErrorReason::WorkflowNotFound);
    client.call(PublishWorkflowRequest { validate_only: false, ..request }).await.unwrap();
    let status = client
        .call(PublishWorkflowRequest { validate_only: true, ..publish(Workflow::default()) })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn workflows_are_listed_by_pages() {
    let client = TestServer::memory().await.client().await;
    assert_eq!(list(&client, "", 0).await, [[""; 0]; 1]);
    assert_eq!(list(&client, "none", 0).await, [[""; 0]; 1]);
    for (workflow_id, versions) in [("a", 12), ("b", 1), ("c c/é", 3), ("d", 2)] {
        for n in 0..versions {
            client.publish(small(workflow_id, &n.to_string())).await;
        }
    }
    let newest = ["a 12", "b 1", "c c/é 3", "d 2"];
    assert_eq!(list(&client, "", 0).await, [newest]);
    assert_eq!(list(&client, "", 3).await, [newest[..3].to_vec(), newest[3..].to_vec()]);
    assert_eq!(list(&client, "", 1).await.concat(), newest);
    let versions: Vec<_> = (1..=12).rev().map(|n| format!("a {n}")).collect();
    let whole = list(&client, "a", 0).await;
    assert_eq!((whole.len(), &whole[0]), (1, &versions), "the newest first, by number");
    let pages = list(&client, "a", 5).await;
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [5, 5, 2]);
    assert_eq!(pages.concat(), versions);

    // A page goes on where it ended, whatever was published meanwhile.
    let request = ListWorkflowsRequest { page_size: 2, ..ListWorkflowsRequest::default() };
    let mut workflows = client.workflows.clone();
    let first = workflows.list_workflows(request.clone()).await.unwrap().into_inner();
    client.publish(small("a", "new")).await;
    client.publish(small("d", "new")).await;
    let of_first = ListWorkflowsRequest { page_token: first.next_page_token.clone(), ..request.clone() };
    let rest = workflows.list_workflows(of_first).await.unwrap().into_inner();
    let versions: Vec<_> = rest.workflows.iter().map(|workflow| workflow.version_id.as_str()).collect();
    assert_eq!(versions, ["3", "3"]);

    let page_token = first.next_page_token;
    for request in [
        ListWorkflowsRequest { workflow_id: "a".to_owned(), page_token, ..request.clone() },
        ListWorkflowsRequest { page_token: "x".to_owned(), ..request },
    ] {
        refused(client.call(request).await, Code::InvalidArgument, ErrorReason::PageTokenInvalid);
    }
}

#[tokio::test]
async fn a_workflow_that_is_not_there_is_told_by_both_codes() {
    let client = TestServer::memory().await.client().await;
    client.publish(small("flow", "first")).await;
    let job = |workflow_id: &str, version_id: Option<&str>| {
        let version_id = version_id.map(str::to_owned);
        let workflow =
            WorkflowReference { workflow_id: workflow_id.to_owned(), version_id, ..Default::default() };
        create("job", Job { workflow: Some(workflow), ..Job::default() })
    };
    check(
        &client,
        vec![
            ("get another", get_workflow("none", "").into()),
            ("get a version of another", get_workflow("none", "1").into()),
            ("get another version", get_workflow("flow", "2").into()),
            ("get version 0", get_workflow("flow", "0").into()),
            ("get version 01", get_workflow("flow", "01").into()),
            ("get version +1", get_workflow("flow", "+1").into()),
            ("get version one", get_workflow("flow", "one").into()),
            ("get nothing", get_workflow("", "").into()),
            ("get what is too long", get_workflow(&"x".repeat(65), &"x".repeat(65)).into()),
            ("list of what is too long", {
                let workflow_id = "x".repeat(65);
                ListWorkflowsRequest { workflow_id, page_size: 1001, ..Default::default() }.into()
            }),
            ("a job of another", job("none", None).into()),
            ("a job of another version", job("flow", Some("2")).into()),
            ("a job of version 01", job("flow", Some("01")).into()),
        ],
        expect![[r#"
            get another: NotFound WORKFLOW_NOT_FOUND {"workflowId": "none"}
            get a version of another: NotFound WORKFLOW_NOT_FOUND {"versionId": "1", "workflowId": "none"}
            get another version: NotFound WORKFLOW_NOT_FOUND {"versionId": "2", "workflowId": "flow"}
            get version 0: NotFound WORKFLOW_NOT_FOUND {"versionId": "0", "workflowId": "flow"}
            get version 01: NotFound WORKFLOW_NOT_FOUND {"versionId": "01", "workflowId": "flow"}
            get version +1: NotFound WORKFLOW_NOT_FOUND {"versionId": "+1", "workflowId": "flow"}
            get version one: NotFound WORKFLOW_NOT_FOUND {"versionId": "one", "workflowId": "flow"}
            get nothing: InvalidArgument FIELD_INVALID
                workflow_id is required
            get what is too long: InvalidArgument FIELD_INVALID
                workflow_id is longer than 64 characters
                version_id is longer than 64 characters
            list of what is too long: InvalidArgument FIELD_INVALID
                workflow_id is longer than 64 characters
                page_size is not between 0 and 1000
            a job of another: FailedPrecondition WORKFLOW_NOT_FOUND {"workflowId": "none"}
            a job of another version: FailedPrecondition WORKFLOW_NOT_FOUND {"versionId": "2", "workflowId": "flow"}
            a job of version 01: FailedPrecondition WORKFLOW_NOT_FOUND {"versionId": "01", "workflowId": "flow"}
        "#]],
    )
    .await;
    client.call(job("flow", Some("1"))).await.unwrap();
}

#[tokio::test]
async fn another_organization_sees_no_workflow() {
    let server = TestServer::memory().await;
    let owner = server.client().await;
    let stranger = server.client_as(Caller::default().of("umbra")).await;
    owner.publish(small("flow", "ours")).await;
    owner.publish(small("flow", "ours")).await;
    assert_eq!(list(&stranger, "", 0).await, [[""; 0]; 1]);
    assert_eq!(list(&stranger, "flow", 0).await, [[""; 0]; 1]);
    let words = async |workflow_id: &str, version_id: &str| {
        let status = stranger.call(get_workflow(workflow_id, version_id)).await.unwrap_err();
        format!("{} {}", line(&status), status.message()).replace("none", "flow")
    };
    assert_eq!(words("flow", "").await, words("none", "").await);
    assert_eq!(words("flow", "1").await, words("none", "1").await);
    let job = stranger.call(create("job", following("flow"))).await;
    refused(job, Code::FailedPrecondition, ErrorReason::WorkflowNotFound);
    assert_eq!(stranger.publish(small("flow", "theirs")).await.version_id, "1");
    assert_eq!(version(&owner, "flow", "").await.name(), "ours");
    assert_eq!(version(&stranger, "flow", "").await.name(), "theirs");
}

#[tokio::test]
async fn a_new_job_has_the_steps_of_its_workflow() {
    let client = TestServer::memory().await.client().await;
    let mut flow = full("flow");
    flow.start_step_ids = vec!["ask".to_owned(), "look".to_owned()];
    client.publish(flow.clone()).await;
    let job = client.create("job", following("flow")).await;
    let reference = WorkflowReference {
        workflow_id: "flow".to_owned(),
        version_id: text("1"),
        name: text("Inspection"),
        published: true,
    };
    assert_eq!(job.workflow, Some(reference));
    assert_eq!(job.status(), JobStatus::NotStarted);
    // In the order of the steps, which is by number.
    assert_eq!(job.current_step_ids, ["look", "ask"]);
    assert_eq!(job.current_assignees, [group("crew"), user("ann")]);

    let details = client.details("job").await;
    assert_eq!(details.job.as_ref(), Some(&job));
    let expected = [("ask", StepStatus::Ready), ("end", StepStatus::Pending), ("look", StepStatus::Ready)];
    assert_eq!(statuses(&details).into_iter().collect::<Vec<_>>(), expected);
    for step in &details.steps {
        let of = flow.steps.iter().find(|definition| definition.step_id == step.step_id).unwrap();
        assert_eq!((step.job_id.as_str(), step.number), ("job", of.number));
        assert_eq!((&step.title, &step.description), (&of.title, &of.description));
        assert_eq!((step.kind(), &step.step_type), (of.kind(), &of.step_type));
        assert_eq!((step.can_skip, step.proceed_to_next), (of.can_skip, of.proceed_to_next));
        let join = if of.join() == StepJoin::Any { StepJoin::Any } else { StepJoin::All };
        assert_eq!((&step.assignee, step.join()), (&of.default_assignee, join));
        assert_eq!(step.visit, i32::from(step.status() == StepStatus::Ready));
    }
    let types = client.event_types("job").await;
    assert_eq!(types, [JobEventType::JobCreated, JobEventType::StepActivated, JobEventType::StepActivated]);
    assert_eq!(client.history("job").await[0].further_steps.len(), 3);
}

#[tokio::test]
async fn a_job_stays_with_its_version() {
    let server = TestServer::sled().await;
    let client = server.client().await;
    let of_steps = |ids: &[&str]| chain("flow", ids.iter().map(|id| step(id, StepKind::Manual)).collect());
    client.publish(of_steps(&["a", "b"])).await;
    client.create("old", following("flow")).await;
    client.publish(of_steps(&["a", "c"])).await;
    client.create("new", following("flow")).await;
    let mut pinned = following("flow");
    pinned.workflow.as_mut().unwrap().version_id = text("1");
    client.create("pinned", pinned).await;

    let server = server.restart().await;
    let client = server.client().await;
    for (job_id, version_id, next) in [("old", "1", "b"), ("new", "2", "c"), ("pinned", "1", "b")] {
        let workflow = client.job(job_id).await.workflow.unwrap();
        assert_eq!((workflow.version_id(), workflow.published), (version_id, true), "{job_id}");
        client.done(JobActionType::Run, job_id, &["a"]).await;
        client.done(JobActionType::Finish, job_id, &["a"]).await;
        assert_eq!(client.job(job_id).await.current_step_ids, [next], "{job_id}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_published_survives_a_restart() {
    let server = TestServer::sled().await;
    let client = server.client().await;
    client.publish(full("flow")).await;
    client.publish(small("flow", "second")).await;
    client.publish(small("other", "other")).await;
    let before = [version(&client, "flow", "1").await, version(&client, "flow", "").await];
    let lists = [list(&client, "", 0).await, list(&client, "flow", 0).await];
    let server = server.restart().await;
    let client = server.client().await;
    assert_eq!([version(&client, "flow", "1").await, version(&client, "flow", "").await], before);
    assert_eq!([list(&client, "", 0).await, list(&client, "flow", 0).await], lists);
    assert_eq!(client.publish(small("flow", "third")).await.version_id, "3");
    server.stop().await;
}

// Jobs that devices make.

/// What a device tells of a job of `flow`.
fn told(client_job_id: &str, step_ids: &[&str]) -> BasicSyncRequest {
    let mut body = device_body_of(client_job_id);
    let metadata = body.metadata.as_mut().unwrap();
    metadata.workflow_id = text("flow");
    metadata.workflow_version_id = None;
    metadata.workflow_name = text("as the device has it");
    metadata.set_status(JobStatus::Active);
    let entry = body.completed_steps.pop().unwrap();
    for step_id in step_ids {
        let mut entry = entry.clone();
        let step = entry.single_step.as_mut().unwrap();
        (step.step_id, step.unique_step_id) = (text(step_id), text(&format!("unique {step_id}")));
        body.completed_steps.push(entry);
    }
    body
}

#[tokio::test]
async fn a_sync_of_a_published_workflow_makes_a_job_with_its_steps() {
    let client = TestServer::memory().await.client().await;
    client.publish(full("flow")).await;
    let reply = client.sync(told("device", &["look", "elsewhere"])).await;
    assert_eq!(reply.outcome(), SyncOutcome::Created);
    let details = client.details(&reply.job_id).await;
    let workflow = details.job.as_ref().unwrap().workflow.clone().unwrap();
    assert_eq!((workflow.version_id(), workflow.published), ("1", true));
    let expected =
        [("ask", StepStatus::Pending), ("end", StepStatus::Pending), ("look", StepStatus::Finished)];
    assert_eq!(statuses(&details).into_iter().collect::<Vec<_>>(), expected);
    assert_eq!(details.reports.len(), 2, "one of a step that the definition lacks is kept, without a step");
    let look = details.steps.iter().find(|step| step.step_id == "look").unwrap();
    assert_eq!((look.kind(), &look.assignee), (StepKind::Manual, &Some(group("crew"))));

    // Without reports the job is where a new one is.
    let reply = client.sync(told("fresh", &[])).await;
    let job = client.job(&reply.job_id).await;
    assert_eq!((job.current_step_ids, job.current_assignees), (vec!["look".to_owned()], vec![group("crew")]));
}

#[tokio::test]
async fn a_sync_of_an_unknown_workflow_or_version_is_taken_all_the_same() {
    let client = TestServer::memory().await.client().await;
    let reply = client.sync(told("early", &["look", "other"])).await;
    let workflow = client.job(&reply.job_id).await.workflow.unwrap();
    assert!(!workflow.published, "an ad-hoc job");
    assert_eq!(client.details(&reply.job_id).await.steps.len(), 2, "of the steps that were reported");

    client.publish(full("flow")).await;
    client.publish(small("flow", "second")).await;
    let mut body = told("device", &[]);
    body.metadata.as_mut().unwrap().workflow_version_id = text("1");
    let job = client.job(&client.sync(body.clone()).await.job_id).await;
    assert_eq!(job.workflow.unwrap().version_id(), "1", "the version the device works by");
    body.metadata.as_mut().unwrap().client_job_id = text("of no version");
    body.metadata.as_mut().unwrap().workflow_version_id = text("a device's own word");
    let job = client.job(&client.sync(body).await.job_id).await;
    let workflow = job.workflow.unwrap();
    assert_eq!((workflow.version_id(), workflow.published), ("2", true), "else the newest");
    // The job that was there before does not become another.
    let early = client.job(&reply.job_id).await.workflow.unwrap();
    assert!(!early.published);
}
