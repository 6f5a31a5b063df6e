//! JSON Patches, from their form in RFC 6902 to the task they make.

use prost::Message as _;
use prost_types::{ListValue, Struct, Timestamp, Value, value::Kind};
use serde::Deserialize;
use serde_json::Value as Json;

use crate::{
    config,
    domain::{Context, Dependencies, Existing, JobState, Limits, NewIds},
    proto::v1::{self, Actor, Job, JobStatus, PatchOp, TaskStatus, UpdateTaskStatusRequest},
    rpc::parse,
};

const TASK_ID: &str = "task";
const NOW: Timestamp = Timestamp { seconds: 1_750_000_000, nanos: 0 };

#[derive(Deserialize)]
struct Operation {
    op: String,
    path: Option<String>,
    from: Option<String>,
    value: Option<Json>,
}

/// Whether a patch is taken depends on the patch and the task alone. What it makes is within the limits, differs only where
/// a patch may change something, and is not changed by being tested against itself.
///
/// # Panics
/// Where that does not hold.
pub fn patches(bytes: &[u8]) {
    let Ok(operations) = serde_json::from_slice::<Vec<Operation>>(bytes) else { return };
    let request = UpdateTaskStatusRequest {
        id: TASK_ID.to_owned(),
        operations: operations.into_iter().map(operation).collect(),
        ..UpdateTaskStatusRequest::default()
    };
    let limits = config::Limits::default();
    let Ok(command) = parse::update_task(&limits, request.clone()) else { return };
    assert_eq!(parse::update_task(&limits, request).ok().as_ref(), Some(&command));
    let before = state();
    let decide = || command.decide(Existing::Job(Box::new(before.clone())), &context());
    let (Ok(decision), Ok(again)) = (decide(), decide()) else { return };
    assert_eq!(decision.events, again.events);
    let old = &before.tasks[TASK_ID];
    let new = &decision.state.tasks[TASK_ID];
    assert_eq!(decision.events.is_empty(), old == new, "an event where something changed, and else none");
    assert!(new.encoded_len() < 8 << 20);
    // Less what a patch may change, and what the server notes of a change.
    let fixed = |task: &TaskStatus| TaskStatus {
        modified: None,
        completion_status: 0,
        completed: None,
        launched: None,
        description: None,
        progress: None,
        percent_complete: None,
        messages: Vec::new(),
        returns: Vec::new(),
        attributes: None,
        etag: String::new(),
        ..task.clone()
    };
    assert_eq!(fixed(old), fixed(new));
    let written = new.encode_to_vec();
    assert_eq!(TaskStatus::decode(&*written).expect("it was just written").encode_to_vec(), written);
}

fn operation(sent: Operation) -> v1::PatchOperation {
    let op = match sent.op.as_str() {
        "add" => PatchOp::Add,
        "remove" => PatchOp::Remove,
        "replace" => PatchOp::Replace,
        "move" => PatchOp::Move,
        "copy" => PatchOp::Copy,
        "test" => PatchOp::Test,
        _ => PatchOp::Unspecified,
    };
    v1::PatchOperation { op: op.into(), path: sent.path, from_path: sent.from, value: sent.value.map(value) }
}

fn value(json: Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(value),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or_default()),
        Json::String(text) => Kind::StringValue(text),
        Json::Array(items) => Kind::ListValue(ListValue { values: items.into_iter().map(value).collect() }),
        Json::Object(fields) => Kind::StructValue(Struct {
            fields: fields.into_iter().map(|(name, json)| (name, value(json))).collect(),
        }),
    };
    Value { kind: Some(kind) }
}

fn context() -> Context {
    Context {
        now: NOW,
        actor: Actor { id: "ann".to_owned(), ..Actor::default() },
        request_id: String::new(),
        new_ids: NewIds { partition: 0, unique: 1 },
        limits: Limits::default(),
        workflow: None,
        dependencies: Dependencies::new(),
    }
}

/// A job with one task, which is open.
fn state() -> JobState {
    let task = TaskStatus {
        id: TASK_ID.to_owned(),
        job_id: "job".to_owned(),
        description: Some("drain the pump".to_owned()),
        launched: Some(Timestamp { seconds: NOW.seconds - 60, nanos: 0 }),
        ..TaskStatus::default()
    };
    let job = Job {
        job_id: "job".to_owned(),
        client_job_id: "job".to_owned(),
        status: JobStatus::Active.into(),
        revision: 3,
        ..Job::default()
    };
    JobState { job, tasks: [(TASK_ID.to_owned(), task)].into(), ..JobState::default() }
}
