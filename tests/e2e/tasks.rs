//! `TaskService`: tasks of jobs, listed, and changed by JSON Patch: SPEC 3.3.

use std::slice;

use expect_test::expect;
use holdpoint::proto::v1::{
    CompletionStatus, CreateTaskStatusRequest, ErrorReason, ExecutionStatus, GetTaskStatusRequest, Job,
    JobActionType, JobEvent, JobEventType, JobStatus, ListTaskStatusesRequest, ListTaskStatusesResponse,
    LocalizedText, PatchOp, PatchOperation, Path, PerformJobActionRequest, PublishWorkflowRequest,
    StepDefinition, StepKind, StepStatus, TaskFilter, TaskMessage, TaskMessageType, TaskOrder, TaskReturn,
    TaskStatus, TaskType, UpdateExecutionTaskStatusRequest, UpdateTaskStatusRequest, WatchJobsRequest,
    WatchJobsResponse, WatchStart, Workflow, WorkflowReference, task_service_client::TaskServiceClient,
    watch_message, workflow_service_client::WorkflowServiceClient,
};
use prost::Message as _;
use prost_types::{Timestamp, Value, value::Kind};
use tonic::{Code, Status, Streaming};

use super::harness::{
    Caller, Client, Dice, TestServer, Transport, close, delete, fields, from_json, line, next, refused,
    report_task, titled,
};

#[expect(clippy::unnecessary_wraps, reason = "it makes the optional members of messages")]
fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// The tasks of a client's organization.
#[derive(Clone)]
struct Tasks(TaskServiceClient<Transport>);

impl Tasks {
    fn of(client: &Client) -> Self {
        Self(TaskServiceClient::new(client.transport.clone()))
    }

    async fn create(&self, request: CreateTaskStatusRequest) -> Result<TaskStatus, Status> {
        Ok(self.0.clone().create_task_status(request).await?.into_inner().task.unwrap())
    }

    async fn get(&self, id: &str) -> Result<TaskStatus, Status> {
        let request = GetTaskStatusRequest { id: id.to_owned() };
        Ok(self.0.clone().get_task_status(request).await?.into_inner().task.unwrap())
    }

    async fn update(&self, request: UpdateTaskStatusRequest) -> Result<TaskStatus, Status> {
        Ok(self.0.clone().update_task_status(request).await?.into_inner().task.unwrap())
    }

    async fn page(&self, request: ListTaskStatusesRequest) -> Result<ListTaskStatusesResponse, Status> {
        Ok(self.0.clone().list_task_statuses(request).await?.into_inner())
    }

    /// All tasks that match, from as many pages as it takes; the first of them tells how many there are.
    async fn list(&self, filter: &TaskFilter, order: TaskOrder, page_size: i32) -> Vec<TaskStatus> {
        let (mut tasks, mut count, mut page_token) = (Vec::new(), None, String::new());
        loop {
            let request = ListTaskStatusesRequest {
                filter: Some(filter.clone()),
                order: order.into(),
                page_size,
                count: page_token.is_empty(),
                page_token,
            };
            let page = self.page(request).await.unwrap();
            assert!(
                page.tasks.len() <= if page_size == 0 { 50 } else { usize::try_from(page_size).unwrap() }
            );
            assert!(count.is_none() || page.count.is_none(), "it is told where it is asked for");
            count = count.or(page.count);
            tasks.extend(page.tasks);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                assert_eq!(count, i64::try_from(tasks.len()).ok(), "{filter:?}");
                return tasks;
            }
        }
    }

    async fn all(&self) -> Vec<TaskStatus> {
        self.list(&TaskFilter::default(), TaskOrder::OldestFirst, 0).await
    }
}

/// A task of the job with a name, and nothing else.
fn named(job_id: &str, name: &str) -> TaskStatus {
    TaskStatus { job_id: job_id.to_owned(), unique_name: text(name), ..TaskStatus::default() }
}

fn new(task: TaskStatus) -> CreateTaskStatusRequest {
    CreateTaskStatusRequest { task: Some(task), ..CreateTaskStatusRequest::default() }
}

fn patch(id: &str, operations: Vec<PatchOperation>) -> UpdateTaskStatusRequest {
    UpdateTaskStatusRequest { id: id.to_owned(), operations, ..UpdateTaskStatusRequest::default() }
}

fn replace(path: &str, value: impl Into<Value>) -> PatchOperation {
    PatchOperation {
        op: PatchOp::Replace.into(),
        path: text(path),
        value: Some(value.into()),
        ..PatchOperation::default()
    }
}

fn complete(id: &str, word: &str) -> UpdateTaskStatusRequest {
    patch(id, vec![replace("/completionStatus", word.to_owned())])
}

/// Every field of a task that its creator can set.
fn full(job_id: &str) -> TaskStatus {
    TaskStatus {
        r#type: TaskType::Qpoc.into(),
        description: text("Tightens all bolts"),
        parent_name: text("Assembly"),
        launcher: text("robot-7"),
        launched: Some(Timestamp { seconds: 1_700_000_000, nanos: 1 }),
        messages: vec![TaskMessage {
            r#type: TaskMessageType::Info.into(),
            localized_text: Some(LocalizedText { locale: text("en"), message: text("begun") }),
            key: text("begun"),
            parameters: vec![Value::from(3.0)],
        }],
        returns: vec![TaskReturn { name: text("Torque"), attribute_name: text("torque") }],
        attributes: Some(fields([("torque", 12.5.into())])),
        progress: text("bolt 1 of 3"),
        percent_complete: Some(33),
        deadline: Some(Timestamp { seconds: 4_000_000_000, nanos: 0 }),
        ..named(job_id, "TightenBolts")
    }
}

#[tokio::test]
async fn a_new_task_is_as_it_was_asked_for() {
    let server = TestServer::memory().await;
    let client = server.client().await;
    let tasks = Tasks::of(&client);
    client.create("a", titled("a")).await;

    let task = tasks.create(new(full("a"))).await.unwrap();
    let expected = TaskStatus {
        id: task.id.clone(),
        created: task.created,
        modified: task.created,
        etag: task.etag.clone(),
        ..full("a")
    };
    assert_eq!(task, expected);
    assert!(task.id.starts_with("task_") && task.created.is_some() && !task.etag.is_empty(), "{task:?}");
    assert_eq!(tasks.get(&task.id).await.unwrap(), task);
    assert_eq!(tasks.all().await, slice::from_ref(&task));
    let event = client.history("a").await.pop().unwrap();
    assert_eq!((event.r#type(), event.task.as_deref()), (JobEventType::TaskCreated, Some(&task)));

    let plain = tasks.create(new(named("a", "x"))).await.unwrap();
    assert_eq!(
        (plain.r#type(), plain.completion_status()),
        (TaskType::QueuedTask, CompletionStatus::Unspecified)
    );

    let elsewhere = Tasks::of(&server.client_as(Caller::new("alice").of("umbra")).await);
    refused(elsewhere.get(&task.id).await, Code::NotFound, ErrorReason::TaskNotFound);
    let outcome = elsewhere.update(complete(&task.id, "Success")).await;
    refused(outcome, Code::NotFound, ErrorReason::TaskNotFound);
    refused(elsewhere.create(new(named("a", "x"))).await, Code::NotFound, ErrorReason::JobNotFound);
    assert_eq!(elsewhere.all().await, []);
    assert_eq!(tasks.all().await, [task, plain]);
}

/// The body of an integrator, as the API that it knows takes it; the words of `op` are the enum's.
#[tokio::test]
async fn a_patch_as_integrators_write_it() {
    let client = TestServer::memory().await.client().await;
    let tasks = Tasks::of(&client);
    client.create("a", titled("a")).await;
    let task = tasks.create(new(full("a"))).await.unwrap();
    let body = r#"{
        "id": "ID",
        "operations": [
            { "op": "PATCH_OP_TEST", "path": "/completionStatus", "value": null },
            { "op": "PATCH_OP_TEST", "path": "/percentComplete", "value": 33 },
            { "op": "PATCH_OP_TEST", "path": "/launched", "value": "2023-11-14T22:13:20.000000001Z" },
            { "op": "PATCH_OP_ADD", "path": "/messages/-", "value": {
                "type": "WARN",
                "localizedText": { "locale": "en", "message": "a bolt is loose" },
                "key": "loose",
                "parameters": [2, { "of": 3 }]
            } },
            { "op": "PATCH_OP_COPY", "from": "/attributes/torque", "path": "/attributes/first~1last" },
            { "op": "PATCH_OP_MOVE", "from": "/description", "path": "/progress" },
            { "op": "PATCH_OP_REMOVE", "path": "/returns/0" },
            { "op": "PATCH_OP_REPLACE", "path": "/percentComplete", "value": 100 },
            { "op": "PATCH_OP_REPLACE", "path": "/completed", "value": "2023-11-14T23:14:20+01:00" },
            { "op": "PATCH_OP_REPLACE", "path": "/completionStatus", "value": "warning" }
        ]
    }"#;
    let request: UpdateTaskStatusRequest =
        from_json("holdpoint.v1.UpdateTaskStatusRequest", &body.replace("ID", &task.id));
    let patched = tasks.update(request).await.unwrap();
    let loose = TaskMessage {
        r#type: TaskMessageType::Warn.into(),
        localized_text: Some(LocalizedText { locale: text("en"), message: text("a bolt is loose") }),
        key: text("loose"),
        parameters: vec![Value::from(2.0), from_json("google.protobuf.Value", r#"{ "of": 3 }"#)],
    };
    let expected = TaskStatus {
        messages: [task.messages.clone(), vec![loose]].concat(),
        returns: Vec::new(),
        attributes: Some(fields([("torque", 12.5.into()), ("first/last", 12.5.into())])),
        description: None,
        progress: task.description.clone(),
        percent_complete: Some(100),
        completed: Some(Timestamp { seconds: 1_700_000_060, nanos: 0 }),
        completion_status: CompletionStatus::Warning.into(),
        modified: patched.modified,
        etag: patched.etag.clone(),
        ..task.clone()
    };
    assert_eq!(patched, expected);
    assert_ne!(patched.etag, task.etag);
    assert_eq!(tasks.get(&task.id).await.unwrap(), patched);
    let event = client.history("a").await.pop().unwrap();
    assert_eq!((event.r#type(), event.task.as_deref()), (JobEventType::TaskCompleted, Some(&patched)));
}

/// The reply of the seed, member by member: a `test` of the whole document holds for it, and for nothing else.
#[tokio::test]
async fn the_json_form_has_the_members_of_the_seed_and_no_others() {
    let client = TestServer::memory().await.client().await;
    let tasks = Tasks::of(&client);
    client.create("a", titled("a")).await;
    let reported = report_task("a", "weld", 0, ExecutionStatus::Closed, 1_700_000_000_120);
    let reported = UpdateExecutionTaskStatusRequest { data: full("a").attributes, ..reported };
    let rows = [
        (
            tasks.create(new(full("a"))).await.unwrap(),
            r#"{
                "id": "ID",
                "type": "QPOC",
                "uniqueName": "TightenBolts",
                "description": "Tightens all bolts",
                "parentName": "Assembly",
                "launcher": "robot-7",
                "created": "CREATED",
                "modified": "MODIFIED",
                "launched": "2023-11-14T22:13:20.000000001Z",
                "completed": null,
                "completionStatus": null,
                "messages": [
                    {
                        "type": "INFO",
                        "localizedText": { "locale": "en", "message": "begun" },
                        "key": "begun",
                        "parameters": [3]
                    }
                ],
                "returns": [{ "name": "Torque", "attributeName": "torque" }],
                "attributes": { "torque": 12.5 },
                "progress": "bolt 1 of 3",
                "percentComplete": 33
            }"#,
        ),
        (
            tasks.create(new(named("a", "x"))).await.unwrap(),
            r#"{
                "id": "ID",
                "type": "QUEUED_TASK",
                "uniqueName": "x",
                "description": null,
                "parentName": null,
                "launcher": null,
                "created": "CREATED",
                "modified": "MODIFIED",
                "launched": null,
                "completed": null,
                "completionStatus": null,
                "messages": [],
                "returns": [],
                "attributes": {},
                "progress": null,
                "percentComplete": null
            }"#,
        ),
        // What only reports have is no member.
        (
            client.report_task(reported).await.task.unwrap(),
            r#"{
                "id": "ID",
                "type": "QUEUED_TASK",
                "uniqueName": "Weld",
                "description": "Weld",
                "parentName": "run",
                "launcher": "robot-app",
                "created": "CREATED",
                "modified": "MODIFIED",
                "launched": null,
                "completed": "2023-11-14T22:13:20.120Z",
                "completionStatus": "Success",
                "messages": [],
                "returns": [],
                "attributes": {},
                "progress": null,
                "percentComplete": null
            }"#,
        ),
    ];
    for (task, form) in rows {
        let time = |time: &Option<Timestamp>| time.as_ref().unwrap().to_string();
        let form = form
            .replace("ID", &task.id)
            .replace("CREATED", &time(&task.created))
            .replace("MODIFIED", &time(&task.modified));
        let is = async |path: &str, value: Value| {
            let test = PatchOperation {
                op: PatchOp::Test.into(),
                path: text(path),
                value: Some(value),
                from_path: None,
            };
            tasks.update(patch(&task.id, vec![test])).await
        };
        let whole: Value = from_json("google.protobuf.Value", &form);
        let Some(Kind::StructValue(members)) = whole.kind.clone() else { panic!("{whole:?} is no object") };
        assert_eq!(is("", whole).await.unwrap(), task);
        for (member, value) in &members.fields {
            assert_eq!(is(&format!("/{member}"), value.clone()).await.unwrap(), task, "{member}");
            let mut fewer = members.clone();
            fewer.fields.remove(member);
            let outcome = is("", Value { kind: Some(Kind::StructValue(fewer)) }).await;
            refused(outcome, Code::FailedPrecondition, ErrorReason::TestFailed);
        }
        let mut more = members.clone();
        more.fields.insert("jobId".to_owned(), "a".to_owned().into());
        let outcome = is("", Value { kind: Some(Kind::StructValue(more)) }).await;
        refused(outcome, Code::FailedPrecondition, ErrorReason::TestFailed);
    }
}

#[tokio::test]
async fn etags_request_ids_and_trials() {
    let client = TestServer::memory().await.client().await;
    let tasks = Tasks::of(&client);
    client.create("a", titled("a")).await;

    // A trial answers, and writes nothing.
    let trial = CreateTaskStatusRequest { validate_only: true, ..new(full("a")) };
    assert_eq!(tasks.create(trial).await.unwrap().unique_name(), "TightenBolts");
    assert_eq!(tasks.all().await, []);

    let request = CreateTaskStatusRequest { request_id: "one".to_owned(), ..new(named("a", "x")) };
    let task = tasks.create(request.clone()).await.unwrap();
    assert_eq!(tasks.create(request.clone()).await.unwrap(), task);
    let other = CreateTaskStatusRequest { task: Some(named("a", "y")), ..request };
    refused(tasks.create(other).await, Code::FailedPrecondition, ErrorReason::RequestIdReused);
    assert_eq!(tasks.all().await, slice::from_ref(&task));

    let halfway = || patch(&task.id, vec![replace("/percentComplete", 50.0)]);
    let trial = UpdateTaskStatusRequest { validate_only: true, ..halfway() };
    assert_eq!(tasks.update(trial).await.unwrap().percent_complete(), 50);
    assert_eq!(tasks.get(&task.id).await.unwrap(), task);
    let stale = UpdateTaskStatusRequest { etag: "x".to_owned(), ..halfway() };
    refused(tasks.update(stale).await, Code::Aborted, ErrorReason::EtagMismatch);
    let request =
        UpdateTaskStatusRequest { etag: task.etag.clone(), request_id: "two".to_owned(), ..halfway() };
    let half_done = tasks.update(request.clone()).await.unwrap();
    assert_eq!(tasks.update(request.clone()).await.unwrap(), half_done);
    let other = UpdateTaskStatusRequest { operations: vec![replace("/percentComplete", 51.0)], ..request };
    refused(tasks.update(other).await, Code::FailedPrecondition, ErrorReason::RequestIdReused);
    let late = UpdateTaskStatusRequest { etag: task.etag.clone(), ..halfway() };
    let status = refused(tasks.update(late).await, Code::Aborted, ErrorReason::EtagMismatch);
    assert!(line(&status).contains(&half_done.etag), "{status:?}");

    // Nothing new is no event.
    assert_eq!(tasks.update(halfway()).await.unwrap(), half_done);
    assert_eq!(
        client.event_types("a").await,
        [JobEventType::JobCreated, JobEventType::TaskCreated, JobEventType::TaskUpdated]
    );
}

#[tokio::test]
async fn refusals() {
    let client = TestServer::memory().await.client().await;
    let tasks = Tasks::of(&client);
    for job_id in ["open", "closed", "deleted"] {
        client.create(job_id, titled(job_id)).await;
    }
    let of_closed = tasks.create(new(named("closed", "x"))).await.unwrap();
    client.call(close("closed")).await.unwrap();
    client.call(delete("deleted")).await.unwrap();
    let open = tasks.create(new(full("open"))).await.unwrap();
    let ended = tasks.create(new(named("open", "ended"))).await.unwrap();
    let ended = tasks.update(complete(&ended.id, "TempError")).await.unwrap();

    let operation = |op: PatchOp, path: &str| PatchOperation {
        op: op.into(),
        path: text(path),
        ..PatchOperation::default()
    };
    let test = PatchOperation { value: Some("x".to_owned().into()), ..operation(PatchOp::Test, "/id") };
    let into_itself =
        PatchOperation { from_path: text("/attributes"), ..operation(PatchOp::Move, "/attributes/a") };
    let filter = |filter: TaskFilter| ListTaskStatusesRequest { filter: Some(filter), ..Default::default() };
    let (progress, replaced) =
        (operation(PatchOp::Remove, "/progress"), replace("/progress", "x".to_owned()));
    let updates = [
        ("no such task", complete("task_0000_x", "Success")),
        ("an id of another form", complete("x", "Success")),
        ("nothing", UpdateTaskStatusRequest::default()),
        ("a malformed operation", patch(&open.id, vec![progress, operation(PatchOp::Add, "x")])),
        ("a member that stays", patch(&open.id, vec![replaced.clone(), operation(PatchOp::Remove, "/id")])),
        ("a test", patch(&open.id, vec![replaced.clone(), test])),
        ("nothing there", patch(&open.id, vec![operation(PatchOp::Remove, "/messages/1")])),
        ("into itself", patch(&open.id, vec![into_itself])),
        ("no task", patch(&open.id, vec![replace("/completionStatus", 1.0), replace("/launched", true)])),
        (
            "an end without how",
            patch(&open.id, vec![replace("/completed", "2030-01-01T00:00:00Z".to_owned())]),
        ),
        ("a task that has ended", patch(&ended.id, vec![replaced])),
        ("another end", complete(&ended.id, "Success")),
    ];
    let creations = [
        ("no job", new(named("none", "x"))),
        ("a deleted job", new(named("deleted", "x"))),
        ("a closed job", new(named("closed", "x"))),
        ("no name", new(TaskStatus { job_id: "open".to_owned(), ..TaskStatus::default() })),
    ];
    let lists = [
        ("tasks of no job", filter(TaskFilter { job_id: "none".to_owned(), ..Default::default() })),
        ("tasks of a deleted job", filter(TaskFilter { job_id: "deleted".to_owned(), ..Default::default() })),
        ("a page token", ListTaskStatusesRequest { page_token: "x".to_owned(), ..Default::default() }),
        (
            "words",
            ListTaskStatusesRequest {
                order: 9,
                page_size: 1001,
                ..filter(TaskFilter {
                    types: vec![0, 1, 9],
                    completion_statuses: vec![0, 9],
                    launchers: vec![String::new(); 101],
                    create_time_from: Some(Timestamp { seconds: i64::MAX, nanos: 0 }),
                    ..TaskFilter::default()
                })
            },
        ),
    ];
    let before = (tasks.all().await, client.everything().await);
    let mut table = String::new();
    let mut told = |name: &str, status: Status| {
        let line = line(&status);
        table.push_str(&format!("{name}: {line}\n"));
    };
    for (name, request) in updates {
        told(name, tasks.update(request).await.unwrap_err());
    }
    for (name, request) in creations {
        told(name, tasks.create(request).await.unwrap_err());
    }
    for (name, request) in lists {
        told(name, tasks.page(request).await.unwrap_err());
    }
    told("get nothing", tasks.get("").await.unwrap_err());
    told("get no such task", tasks.get("task_0000_x").await.unwrap_err());
    expect![[r#"
        no such task: NotFound TASK_NOT_FOUND {"taskId": "task_0000_x"}
        an id of another form: NotFound TASK_NOT_FOUND {"taskId": "x"}
        nothing: InvalidArgument FIELD_INVALID
            id is required
            operations is required
        a malformed operation: InvalidArgument FIELD_INVALID
            operations[1].path is not a JSON Pointer: each part begins with /, and ~ stands only in ~0 and ~1
            operations[1].value is required
        a member that stays: InvalidArgument IMMUTABLE_FIELD
            operations[1] would change "/id", which cannot be changed
        a test: FailedPrecondition TEST_FAILED {"index": "1"}
        nothing there: FailedPrecondition PATCH_TARGET_MISSING {"index": "0"}
        into itself: InvalidArgument FIELD_INVALID
            operations[0] moves something into itself
        no task: InvalidArgument FIELD_INVALID
            completionStatus is not a text or null
            launched is not a text or null
        an end without how: InvalidArgument FIELD_INVALID
            completed is set without completionStatus
        a task that has ended: FailedPrecondition TASK_ALREADY_CLOSED {"taskId": "task_*"}
        another end: FailedPrecondition TASK_ALREADY_CLOSED {"taskId": "task_*"}
        no job: NotFound JOB_NOT_FOUND {"jobId": "none"}
        a deleted job: NotFound JOB_NOT_FOUND {"jobId": "deleted"}
        a closed job: FailedPrecondition JOB_CLOSED {"jobId": "closed"}
        no name: InvalidArgument FIELD_INVALID
            task.unique_name is required
        tasks of no job: NotFound JOB_NOT_FOUND {"jobId": "none"}
        tasks of a deleted job: NotFound JOB_NOT_FOUND {"jobId": "deleted"}
        a page token: InvalidArgument PAGE_TOKEN_INVALID
        words: InvalidArgument FIELD_INVALID
            filter.types[0] is not a value of TaskType
            filter.types[2] is not a value of TaskType
            filter.launchers has more than 100 entries
            filter.completion_statuses[0] is not a value of CompletionStatus
            filter.completion_statuses[1] is not a value of CompletionStatus
            filter.create_time_from is not a time between the years 1 and 9999
            page_size is not between 0 and 1000
            order is not a value of TaskOrder
        get nothing: InvalidArgument FIELD_INVALID
            id is required
        get no such task: NotFound TASK_NOT_FOUND {"taskId": "task_0000_x"}
    "#]]
    .assert_eq(&table);
    assert!((tasks.all().await, client.everything().await) == before, "a refusal changes nothing");

    // A closed job's tasks can still end: what was done is not lost.
    let late = tasks.update(complete(&of_closed.id, "Success")).await.unwrap();
    assert_eq!(late.completion_status(), CompletionStatus::Success);
    assert!(client.job("closed").await.closed);
}

type Matches = Box<dyn Fn(&TaskStatus) -> bool>;

/// Lists against a model that looks at every task.
#[tokio::test]
async fn lists() {
    const JOBS: [&str; 3] = ["a", "b", "c"];
    const LAUNCHERS: [&str; 3] = ["robot-1", "robot-2", ""];
    const TASKS: usize = 300;
    let words = ["Success", "Warning", "Error", "Terminated", "TempError"];
    let server = TestServer::memory().await;
    let client = server.client().await;
    let tasks = Tasks::of(&client);
    for job_id in JOBS {
        client.create(job_id, titled(job_id)).await;
    }
    let mut dice = Dice::new(7);
    let mut all = Vec::new();
    for n in 0..TASKS {
        let mut task = named(dice.pick(&JOBS), &n.to_string());
        task.r#type = 1 + i32::try_from(dice.roll(3)).unwrap();
        task.launcher = Some(dice.pick(&LAUNCHERS).to_owned()).filter(|launcher| !launcher.is_empty());
        let task = tasks.create(new(task)).await.unwrap();
        all.push(match dice.roll(2) {
            0 => task,
            _ => tasks.update(complete(&task.id, dice.pick(&words))).await.unwrap(),
        });
    }
    let place = |task: &TaskStatus| {
        let created = task.created.unwrap();
        (created.seconds, created.nanos, task.id.clone())
    };
    all.sort_by_key(place);
    let (early, late) = (all[TASKS / 3].created, all[2 * TASKS / 3].created);
    let moment = |time: Option<Timestamp>| time.map(|time| (time.seconds, time.nanos));

    let none = TaskFilter::default;
    let robot = || vec!["robot-1".to_owned(), "none".to_owned()];
    let filters: Vec<(TaskFilter, Matches)> = vec![
        (none(), Box::new(|_| true)),
        (TaskFilter { job_id: "b".to_owned(), ..none() }, Box::new(|task| task.job_id == "b")),
        (
            TaskFilter { types: vec![1, 3, 1], ..none() },
            Box::new(|task| matches!(task.r#type(), TaskType::Quartz | TaskType::QueuedTask)),
        ),
        (TaskFilter { launchers: robot(), ..none() }, Box::new(|task| task.launcher() == "robot-1")),
        (
            TaskFilter { completion_statuses: vec![1, 5], ..none() },
            Box::new(|task| {
                matches!(task.completion_status(), CompletionStatus::Success | CompletionStatus::TempError)
            }),
        ),
        (TaskFilter { completed: Some(true), ..none() }, Box::new(|task| task.completed.is_some())),
        (TaskFilter { completed: Some(false), ..none() }, Box::new(|task| task.completed.is_none())),
        (TaskFilter { completed: Some(false), completion_statuses: vec![1], ..none() }, Box::new(|_| false)),
        (
            TaskFilter { create_time_from: early, ..none() },
            Box::new(move |task| moment(task.created) >= moment(early)),
        ),
        (
            TaskFilter { create_time_from: early, create_time_before: late, ..none() },
            Box::new(move |task| (moment(early)..moment(late)).contains(&moment(task.created))),
        ),
        (
            TaskFilter { job_id: "c".to_owned(), create_time_before: late, completed: Some(false), ..none() },
            Box::new(move |task| {
                task.job_id == "c" && task.completed.is_none() && moment(task.created) < moment(late)
            }),
        ),
        (
            TaskFilter { types: vec![2], launchers: robot(), completed: Some(true), ..none() },
            Box::new(|task| {
                task.r#type() == TaskType::Qpoc && task.launcher() == "robot-1" && task.completed.is_some()
            }),
        ),
    ];
    let elsewhere = Tasks::of(&server.client_as(Caller::new("alice").of("umbra")).await);
    for (filter, matches) in filters {
        let mut expected: Vec<TaskStatus> = all.iter().filter(|task| matches(task)).cloned().collect();
        for page_size in [0, 7, 256, 1000] {
            let listed = tasks.list(&filter, TaskOrder::OldestFirst, page_size).await;
            assert_eq!(listed, expected, "{filter:?} by {page_size}");
        }
        expected.reverse();
        for (order, page_size) in [(TaskOrder::NewestFirst, 7), (TaskOrder::Unspecified, 1000)] {
            assert_eq!(tasks.list(&filter, order, page_size).await, expected, "{filter:?}");
        }
        if filter.job_id.is_empty() {
            // Nothing is shared, whatever is asked for.
            assert_eq!(elsewhere.list(&filter, TaskOrder::NewestFirst, 0).await, []);
        }
    }

    // A token is of one list, and of one organization.
    let request = ListTaskStatusesRequest { page_size: 1, ..ListTaskStatusesRequest::default() };
    let page_token = tasks.page(request.clone()).await.unwrap().next_page_token;
    let others = [
        ListTaskStatusesRequest { order: TaskOrder::OldestFirst.into(), ..request.clone() },
        ListTaskStatusesRequest { filter: Some(TaskFilter { types: vec![1], ..none() }), ..request.clone() },
    ];
    for other in others {
        let outcome = tasks.page(ListTaskStatusesRequest { page_token: page_token.clone(), ..other }).await;
        refused(outcome, Code::InvalidArgument, ErrorReason::PageTokenInvalid);
    }
    let outcome = elsewhere.page(ListTaskStatusesRequest { page_token, ..request }).await;
    refused(outcome, Code::InvalidArgument, ErrorReason::PageTokenInvalid);
}

/// A job whose two steps are done by executors, one after the other. The second waits for someone to finish it.
async fn with_automatic_steps(client: &Client, job_id: &str) {
    let step = |step_id: &str, next: Option<&str>| StepDefinition {
        step_id: step_id.to_owned(),
        title: text(&format!("step {step_id}")),
        kind: StepKind::Automatic.into(),
        proceed_to_next: true,
        paths: next
            .map(|next| Path { next_step_id: next.to_owned(), ..Path::default() })
            .into_iter()
            .collect(),
        ..StepDefinition::default()
    };
    let workflow = Workflow {
        workflow_id: "flow".to_owned(),
        start_step_ids: vec!["one".to_owned()],
        steps: vec![step("one", Some("two")), step("two", None)],
        ..Workflow::default()
    };
    let request = PublishWorkflowRequest { workflow: Some(workflow), ..PublishWorkflowRequest::default() };
    let mut workflows = WorkflowServiceClient::new(client.transport.clone());
    workflows.publish_workflow(request).await.unwrap();
    let reference = WorkflowReference { workflow_id: "flow".to_owned(), ..WorkflowReference::default() };
    client.create(job_id, Job { workflow: Some(reference), ..Job::default() }).await;
}

async fn run(client: &Client, job_id: &str, step_id: &str, task_deadline: Option<Timestamp>) {
    let request = PerformJobActionRequest {
        job_id: job_id.to_owned(),
        r#type: JobActionType::Run.into(),
        step_ids: vec![step_id.to_owned()],
        task_deadline,
        ..PerformJobActionRequest::default()
    };
    let reply = client.jobs.clone().perform_job_action(request).await.unwrap().into_inner();
    assert!(reply.success, "{reply:?}");
}

async fn step_status(client: &Client, job_id: &str, step_id: &str) -> StepStatus {
    let details = client.details(job_id).await;
    details.steps.iter().find(|step| step.step_id == step_id).unwrap().status()
}

/// A watch of what happens to tasks from now on.
async fn watch_tasks(client: &Client) -> Streaming<WatchJobsResponse> {
    let kinds = [JobEventType::TaskCreated, JobEventType::TaskUpdated, JobEventType::TaskCompleted];
    let request = WatchJobsRequest {
        event_types: kinds.map(i32::from).to_vec(),
        start: WatchStart::Now.into(),
        ..WatchJobsRequest::default()
    };
    let mut watch = client.jobs.clone().watch_jobs(request).await.unwrap().into_inner();
    next(&mut watch).await.unwrap().unwrap();
    watch
}

/// The next so many events of a watch; there are no more in the last message.
async fn watched(watch: &mut Streaming<WatchJobsResponse>, count: usize) -> Vec<JobEvent> {
    let mut events = Vec::new();
    while events.len() < count {
        let message = next(watch).await.unwrap().unwrap().message.unwrap();
        if let Some(watch_message::Kind::Batch(batch)) = message.kind {
            events.extend(batch.events.into_iter().map(|event| JobEvent::decode(event).unwrap()));
        }
    }
    assert_eq!(events.len(), count, "{events:?}");
    events
}

/// The one open task.
async fn open_task(tasks: &Tasks) -> TaskStatus {
    let filter = TaskFilter { completed: Some(false), ..TaskFilter::default() };
    let [task] = tasks.list(&filter, TaskOrder::NewestFirst, 0).await.try_into().unwrap();
    task
}

/// An executor that takes what there is to do from the list, or from a watch, and says by patches how far it is: the step,
/// the path and the job follow.
#[tokio::test]
async fn a_job_follows_its_tasks() {
    let client = TestServer::memory().await.client().await;
    let tasks = Tasks::of(&client);
    with_automatic_steps(&client, "a").await;
    let mut watch = watch_tasks(&client).await;

    run(&client, "a", "one", None).await;
    let task = open_task(&tasks).await;
    assert_eq!((task.unique_name(), task.job_id.as_str(), task.step_id.as_str()), ("step one", "a", "one"));
    assert_eq!((task.r#type(), task.parent_name()), (TaskType::QueuedTask, "flow"));
    let events = watched(&mut watch, 1).await;
    assert_eq!((events[0].r#type(), events[0].task.as_deref()), (JobEventType::TaskCreated, Some(&task)));

    let under_way =
        vec![replace("/launched", "2030-01-01T00:00:00Z".to_owned()), replace("/percentComplete", 10.0)];
    let under_way = tasks.update(patch(&task.id, under_way)).await.unwrap();
    assert_eq!(step_status(&client, "a", "one").await, StepStatus::Running);
    let ends = vec![
        replace("/completed", "2030-01-01T00:01:00Z".to_owned()),
        replace("/completionStatus", "Success".to_owned()),
    ];
    let ended = tasks.update(patch(&task.id, ends)).await.unwrap();
    let told: Vec<_> =
        watched(&mut watch, 2).await.into_iter().map(|event| (event.r#type(), event.task.unwrap())).collect();
    assert_eq!(
        told,
        [(JobEventType::TaskUpdated, under_way.into()), (JobEventType::TaskCompleted, ended.into())]
    );
    assert_eq!(step_status(&client, "a", "one").await, StepStatus::Finished);
    assert_eq!(client.job("a").await.current_step_ids, ["two"]);

    // It fails, is run again, and succeeds; the first task is no longer the step's.
    run(&client, "a", "two", None).await;
    let first = open_task(&tasks).await;
    tasks.update(complete(&first.id, "Error")).await.unwrap();
    assert_eq!(step_status(&client, "a", "two").await, StepStatus::Error);
    assert_eq!(client.job("a").await.status(), JobStatus::Active);
    run(&client, "a", "two", None).await;
    let second = open_task(&tasks).await;
    assert_ne!(second.id, first.id);
    tasks.update(patch(&first.id, vec![replace("/description", "it was stuck".to_owned())])).await.unwrap();
    assert_eq!(step_status(&client, "a", "two").await, StepStatus::Running);
    tasks.update(complete(&second.id, "WARNING")).await.unwrap();
    assert_eq!(step_status(&client, "a", "two").await, StepStatus::Finished);
    let job = client.job("a").await;
    assert_eq!((job.status(), job.closed, job.current_step_ids), (JobStatus::Completed, false, vec![]));
    let kinds: Vec<_> = client.event_types("a").await;
    let kinds: Vec<_> =
        kinds.iter().map(|kind| kind.as_str_name().trim_start_matches("JOB_EVENT_TYPE_")).collect();
    expect![[r#"
        JOB_CREATED
        STEP_ACTIVATED
        JOB_UPDATED
        STEP_STARTED
        TASK_CREATED
        TASK_UPDATED
        TASK_COMPLETED
        STEP_EXECUTED
        STEP_FINISHED
        STEP_ACTIVATED
        STEP_STARTED
        TASK_CREATED
        TASK_COMPLETED
        STEP_ERROR
        STEP_STARTED
        TASK_CREATED
        TASK_UPDATED
        TASK_COMPLETED
        STEP_EXECUTED
        STEP_FINISHED
        JOB_COMPLETED
    "#]]
    .assert_eq(&format!("{}\n", kinds.join("\n")));
}

/// What has not ended in time is ended, whether it does the work of a step or not.
#[tokio::test]
async fn deadlines() {
    let client = TestServer::memory().await.client().await;
    let tasks = Tasks::of(&client);
    with_automatic_steps(&client, "a").await;
    let mut watch = watch_tasks(&client).await;
    let (long_ago, far_off) =
        (Some(Timestamp { seconds: 1, nanos: 0 }), Some(Timestamp { seconds: 4_000_000_000, nanos: 0 }));

    run(&client, "a", "one", long_ago).await;
    let events = watched(&mut watch, 2).await;
    let [made, ended] = [0, 1].map(|index| events[index].task.clone().unwrap());
    assert_eq!((made.deadline, made.completion_status()), (long_ago, CompletionStatus::Unspecified));
    assert_eq!((&ended.id, ended.completion_status()), (&made.id, CompletionStatus::TempError));
    assert!(ended.completed.is_some());
    assert_eq!(step_status(&client, "a", "one").await, StepStatus::Error);

    let of_no_step = TaskStatus { deadline: long_ago, ..named("a", "x") };
    let made = tasks.create(new(of_no_step)).await.unwrap();
    let events = watched(&mut watch, 2).await;
    let ended = events[1].task.clone().unwrap();
    assert_eq!((&ended.id, ended.completion_status()), (&made.id, CompletionStatus::TempError));

    // What ended in time, or has time, is left alone: what is due after it was looked at shows that they were passed over.
    run(&client, "a", "one", far_off).await;
    let waits = open_task(&tasks).await;
    let of_no_step = TaskStatus { deadline: long_ago, ..named("a", "y") };
    tasks.create(new(of_no_step)).await.unwrap();
    let ended = watched(&mut watch, 3).await.pop().unwrap().task.unwrap();
    assert_eq!((ended.unique_name(), ended.completion_status()), ("y", CompletionStatus::TempError));
    assert_eq!(open_task(&tasks).await, waits);
}

#[tokio::test]
async fn the_tasks_of_a_deleted_job_are_gone() {
    let client = TestServer::memory().await.client().await;
    let tasks = Tasks::of(&client);
    with_automatic_steps(&client, "a").await;
    client.create("b", titled("b")).await;
    run(&client, "a", "one", Some(Timestamp { seconds: 4_000_000_000, nanos: 0 })).await;
    let of_step = open_task(&tasks).await;
    let of_job = tasks.create(new(full("a"))).await.unwrap();
    let ended = tasks.create(new(named("a", "x"))).await.unwrap();
    tasks.update(complete(&ended.id, "Success")).await.unwrap();
    let kept = tasks.create(new(named("b", "x"))).await.unwrap();

    client.call(delete("a")).await.unwrap();
    for id in [of_step.id, of_job.id, ended.id] {
        refused(tasks.get(&id).await, Code::NotFound, ErrorReason::TaskNotFound);
        let outcome = tasks.update(complete(&id, "Success")).await;
        refused(outcome, Code::NotFound, ErrorReason::TaskNotFound);
    }
    assert_eq!(tasks.all().await, slice::from_ref(&kept));
    assert_eq!(open_task(&tasks).await, kept);
}

#[tokio::test]
async fn tasks_survive_a_restart() {
    let server = TestServer::sled().await;
    let client = server.client().await;
    let tasks = Tasks::of(&client);
    with_automatic_steps(&client, "a").await;
    run(&client, "a", "one", None).await;
    let task = open_task(&tasks).await;
    tasks.create(new(full("a"))).await.unwrap();
    let ended = tasks.create(new(named("a", "x"))).await.unwrap();
    let request = UpdateTaskStatusRequest { request_id: "one".to_owned(), ..complete(&ended.id, "Success") };
    let ended = tasks.update(request.clone()).await.unwrap();
    let before = tasks.all().await;

    let server = server.restart().await;
    let client = server.client().await;
    let tasks = Tasks::of(&client);
    assert_eq!(tasks.all().await, before);
    assert_eq!(tasks.get(&task.id).await.unwrap(), task);
    assert_eq!(tasks.update(request).await.unwrap(), ended);
    tasks.update(complete(&task.id, "Success")).await.unwrap();
    assert_eq!(step_status(&client, "a", "one").await, StepStatus::Finished);
    let of_step = TaskFilter { completed: Some(true), job_id: "a".to_owned(), ..TaskFilter::default() };
    assert_eq!(tasks.list(&of_step, TaskOrder::OldestFirst, 0).await.len(), 2);
    server.stop().await;
}
