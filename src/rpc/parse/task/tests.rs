//! Requests about tasks, as text: what is refused, with all that is wrong. Change it, run with `UPDATE_EXPECT=1`, and review
//! the diff.

use expect_test::{Expect, expect};
use json_patch::PatchOperation;
use prost_types::{ListValue, Timestamp, Value, value::Kind};
use tonic::Status;
use tonic_types::StatusExt as _;

use super::{create_task, update_task};
use crate::{
    config::Limits,
    proto::{
        Document,
        v1::{self, CreateTaskStatusRequest, PatchOp, TaskMessage, TaskStatus, UpdateTaskStatusRequest},
    },
};

#[expect(clippy::unnecessary_wraps, reason = "it makes the optional members of messages")]
fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn line(status: &Status) -> String {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone()).unwrap_or_default();
    let mut line = format!("{:?} {reason}", status.code());
    for violation in details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default() {
        line.push_str(&format!("\n    {} {}", violation.field, violation.description));
    }
    line
}

fn null() -> Value {
    Value { kind: Some(Kind::NullValue(0)) }
}

/// Lists within lists.
fn nested(levels: usize) -> Value {
    let list = |values| Value { kind: Some(Kind::ListValue(ListValue { values })) };
    (1..levels).fold(list(Vec::new()), |value, _| list(vec![value]))
}

fn operation(op: PatchOp, path: &str) -> v1::PatchOperation {
    v1::PatchOperation { op: op.into(), path: text(path), ..v1::PatchOperation::default() }
}

fn with_value(op: PatchOp, path: &str, value: Value) -> v1::PatchOperation {
    v1::PatchOperation { value: Some(value), ..operation(op, path) }
}

fn with_from(op: PatchOp, from: &str, path: &str) -> v1::PatchOperation {
    v1::PatchOperation { from_path: text(from), ..operation(op, path) }
}

fn patch(operations: Vec<v1::PatchOperation>) -> UpdateTaskStatusRequest {
    UpdateTaskStatusRequest { id: "task_1".to_owned(), operations, ..UpdateTaskStatusRequest::default() }
}

fn check(operations: Vec<v1::PatchOperation>, expected: Expect) {
    let outcome = match update_task(&Limits::default(), patch(operations)) {
        Err(status) => line(&status),
        Ok(command) => serde_json::to_string(&command.operations).unwrap(),
    };
    expected.assert_eq(&format!("{outcome}\n"));
}

/// As JSON has them. Members that an operation does not have are ignored, whatever they are.
#[test]
fn well_formed_operations() {
    let busy = |op| v1::PatchOperation {
        from_path: text("no pointer"),
        value: Some(nested(30)),
        ..operation(op, "/attributes/a")
    };
    let operations = vec![
        with_value(PatchOp::Add, "/messages/-", Value::from(1.0)),
        with_value(PatchOp::Add, "/attributes/a~1b~0c", Value { kind: None }),
        operation(PatchOp::Remove, "/attributes/"),
        busy(PatchOp::Remove),
        with_value(PatchOp::Replace, "/description", null()),
        with_value(PatchOp::Replace, "/percentComplete", Value::from(50.5)),
        with_from(PatchOp::Move, "/attributes/a", "/attributes/b"),
        v1::PatchOperation { value: Some(nested(30)), ..with_from(PatchOp::Copy, "", "/attributes/b") },
        with_value(PatchOp::Test, "", nested(24)),
        with_value(PatchOp::Test, "/none", Value::from("x".to_owned())),
        v1::PatchOperation { from_path: text("no pointer"), ..with_value(PatchOp::Test, "/id", null()) },
    ];
    check(
        operations,
        expect![[r#"
        [{"op":"add","path":"/messages/-","value":1},{"op":"add","path":"/attributes/a~1b~0c","value":null},{"op":"remove","path":"/attributes/"},{"op":"remove","path":"/attributes/a"},{"op":"replace","path":"/description","value":null},{"op":"replace","path":"/percentComplete","value":50.5},{"op":"move","from":"/attributes/a","path":"/attributes/b"},{"op":"copy","from":"","path":"/attributes/b"},{"op":"test","path":"","value":[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]},{"op":"test","path":"/none","value":"x"},{"op":"test","path":"/id","value":null}]
    "#]],
    );
}

#[test]
fn everything_that_is_malformed_is_named_at_once() {
    let no_path = |op: PatchOp| v1::PatchOperation { op: op.into(), ..v1::PatchOperation::default() };
    let operations = vec![
        v1::PatchOperation::default(),
        v1::PatchOperation { op: 7, ..operation(PatchOp::Add, "no pointer") },
        no_path(PatchOp::Add),
        no_path(PatchOp::Remove),
        no_path(PatchOp::Replace),
        no_path(PatchOp::Move),
        no_path(PatchOp::Copy),
        no_path(PatchOp::Test),
    ];
    check(
        operations,
        expect![[r#"
        InvalidArgument FIELD_INVALID
            operations[0].op is required
            operations[1].op is not a value of PatchOp
            operations[2].path is required
            operations[2].value is required
            operations[3].path is required
            operations[4].path is required
            operations[4].value is required
            operations[5].path is required
            operations[5].from is required
            operations[6].path is required
            operations[6].from is required
            operations[7].path is required
            operations[7].value is required
    "#]],
    );
    let pointers =
        ["description", "/description/~", "/description/~2", "/description/a~", " /description", "#/a"];
    let operations = pointers.map(|pointer| operation(PatchOp::Remove, pointer)).to_vec();
    check(
        operations,
        expect![[r#"
        InvalidArgument FIELD_INVALID
            operations[0].path is not a JSON Pointer: each part begins with /, and ~ stands only in ~0 and ~1
            operations[1].path is not a JSON Pointer: each part begins with /, and ~ stands only in ~0 and ~1
            operations[2].path is not a JSON Pointer: each part begins with /, and ~ stands only in ~0 and ~1
            operations[3].path is not a JSON Pointer: each part begins with /, and ~ stands only in ~0 and ~1
            operations[4].path is not a JSON Pointer: each part begins with /, and ~ stands only in ~0 and ~1
            operations[5].path is not a JSON Pointer: each part begins with /, and ~ stands only in ~0 and ~1
    "#]],
    );
    let operations = vec![
        with_from(PatchOp::Move, "attributes", "/attributes/~"),
        with_from(PatchOp::Copy, "~", "/description"),
        operation(PatchOp::Remove, &format!("/attributes/{}", "x".repeat(4096))),
        with_value(PatchOp::Add, "/attributes/a", nested(25)),
        with_value(PatchOp::Test, "/attributes/a", Value::from(f64::NAN)),
        with_value(PatchOp::Replace, "/attributes/a", Value::from("x".repeat(256 << 10))),
    ];
    check(
        operations,
        expect![[r#"
        InvalidArgument FIELD_INVALID
            operations[0].path is not a JSON Pointer: each part begins with /, and ~ stands only in ~0 and ~1
            operations[0].from is not a JSON Pointer: each part begins with /, and ~ stands only in ~0 and ~1
            operations[1].from is not a JSON Pointer: each part begins with /, and ~ stands only in ~0 and ~1
            operations[2].path is longer than 4096 characters
            operations[3].value is more than 24 levels deep
            operations[4].value has a number that is not finite
            operations[5].value is larger than 262144 bytes
    "#]],
    );
}

#[test]
fn requests() {
    let limits = Limits::default();
    let fine = || operation(PatchOp::Remove, "/description");
    let long = "x".repeat(65);
    let rows = [
        ("nothing", UpdateTaskStatusRequest::default()),
        ("no operations", patch(Vec::new())),
        (
            "ids",
            UpdateTaskStatusRequest { id: long.clone(), request_id: long.clone(), ..patch(vec![fine()]) },
        ),
        ("100 operations", patch(vec![fine(); 100])),
        ("101 operations", patch(vec![fine(); 101])),
        // Those beyond are not looked at.
        ("101 operations, two malformed", {
            let mut operations = vec![fine(); 101];
            operations[99] = operation(PatchOp::Add, "/description");
            operations[100] = operation(PatchOp::Add, "/description");
            patch(operations)
        }),
    ];
    let mut table = String::new();
    for (name, request) in rows {
        let told = match update_task(&limits, request) {
            Err(status) => line(&status),
            Ok(command) => format!("{} operations", command.operations.len()),
        };
        table.push_str(&format!("{name}: {told}\n"));
    }
    for etag in ["", "r7"] {
        let request = UpdateTaskStatusRequest { etag: etag.to_owned(), ..patch(vec![fine()]) };
        table.push_str(&format!("etag {etag:?}: {:?}\n", update_task(&limits, request).unwrap().etag));
    }
    expect![[r#"
        nothing: InvalidArgument FIELD_INVALID
            id is required
            operations is required
        no operations: InvalidArgument FIELD_INVALID
            operations is required
        ids: InvalidArgument FIELD_INVALID
            id is longer than 64 characters
            request_id is longer than 64 characters
        100 operations: 100 operations
        101 operations: InvalidArgument FIELD_INVALID
            operations has more than 100 entries
        101 operations, two malformed: InvalidArgument FIELD_INVALID
            operations has more than 100 entries
            operations[99].value is required
        etag "": None
        etag "r7": Some("r7")
    "#]]
    .assert_eq(&table);
}

/// Every operation that would change what cannot be changed is named; those that only read it are not.
#[test]
fn members_that_cannot_be_changed() {
    let writable = "/description";
    let operations = vec![
        with_value(PatchOp::Add, "/id", null()),
        operation(PatchOp::Remove, "/type"),
        with_value(PatchOp::Replace, "/uniqueName", null()),
        with_value(PatchOp::Add, "/parentName/x", null()),
        with_from(PatchOp::Copy, writable, "/launcher"),
        with_from(PatchOp::Move, writable, "/created"),
        with_from(PatchOp::Move, "/modified", writable),
        with_from(PatchOp::Move, "/id", "/type"),
        with_from(PatchOp::Move, "", "/attributes/a"),
        with_value(PatchOp::Add, "", null()),
        operation(PatchOp::Remove, ""),
        operation(PatchOp::Remove, "/"),
        with_value(PatchOp::Add, "/jobId", null()),
        with_value(PatchOp::Add, "/Description", null()),
        with_value(PatchOp::Add, "/description~1", null()),
        with_value(PatchOp::Add, "//description", null()),
        with_value(PatchOp::Add, writable, null()),
        with_from(PatchOp::Copy, "/id", writable),
        with_value(PatchOp::Test, "/id", null()),
        with_value(PatchOp::Test, "", null()),
    ];
    check(
        operations,
        expect![[r#"
        InvalidArgument IMMUTABLE_FIELD
            operations[0] would change "/id", which cannot be changed
            operations[1] would change "/type", which cannot be changed
            operations[2] would change "/uniqueName", which cannot be changed
            operations[3] would change "/parentName/x", which cannot be changed
            operations[4] would change "/launcher", which cannot be changed
            operations[5] would change "/created", which cannot be changed
            operations[6] would change "/modified", which cannot be changed
            operations[7] would change "/id", which cannot be changed
            operations[8] would change "", which cannot be changed
            operations[9] would change "", which cannot be changed
            operations[10] would change "", which cannot be changed
            operations[11] would change "/", which cannot be changed
            operations[12] would change "/jobId", which cannot be changed
            operations[13] would change "/Description", which cannot be changed
            operations[14] would change "/description~1", which cannot be changed
            operations[15] would change "//description", which cannot be changed
    "#]],
    );
    // What is malformed is told first.
    let operations = vec![operation(PatchOp::Remove, "/id"), operation(PatchOp::Add, writable)];
    check(
        operations,
        expect![[r#"
        InvalidArgument FIELD_INVALID
            operations[1].value is required
    "#]],
    );
    let all = vec![operation(PatchOp::Remove, "/id"); 100];
    let status = update_task(&Limits::default(), patch(all)).unwrap_err();
    assert!(status.details().len() < 3 << 10, "{} bytes are more than clients take", status.details().len());
    let writable =
        crate::domain::form::WRITABLE.map(|member| operation(PatchOp::Remove, &format!("/{member}")));
    let command = update_task(&Limits::default(), patch(writable.to_vec())).unwrap();
    assert!(command.operations.iter().all(|operation| matches!(operation, PatchOperation::Remove(_))));
}

#[test]
fn new_tasks() {
    let limits = Limits::default();
    let long = text(&"x".repeat(4097));
    let named =
        || TaskStatus { job_id: "job".to_owned(), unique_name: text("name"), ..TaskStatus::default() };
    let no_time = Some(Timestamp { seconds: i64::MAX, nanos: -1 });
    let message = TaskMessage { r#type: 7, parameters: vec![nested(24)], ..TaskMessage::default() };
    let large = TaskMessage { key: text(&"x".repeat(256 << 10)), ..TaskMessage::default() };
    let rows = [
        ("no task", None),
        ("an empty task", Some(TaskStatus::default())),
        (
            "everything is wrong",
            Some(TaskStatus {
                r#type: 7,
                unique_name: long.clone(),
                description: long.clone(),
                parent_name: long.clone(),
                launcher: long.clone(),
                progress: long,
                percent_complete: Some(101),
                launched: no_time,
                deadline: no_time,
                attributes: Some(
                    prost_types::Struct { fields: [("a".to_owned(), nested(24))].into() }.into(),
                ),
                messages: vec![TaskMessage::default(), message, large],
                job_id: "x".repeat(65),
                ..TaskStatus::default()
            }),
        ),
        ("a negative percentage", Some(TaskStatus { percent_complete: Some(-1), ..named() })),
        // What the server sets is not taken from whoever asks.
        (
            "what the server sets",
            Some(TaskStatus {
                id: "task_x".to_owned(),
                created: Some(Timestamp::default()),
                modified: Some(Timestamp::default()),
                completed: Some(Timestamp::default()),
                completion_status: 9,
                step_id: "step".to_owned(),
                etag: "r7".to_owned(),
                execution: Some(v1::TaskExecution::default()),
                data: Some(Document::default()),
                meta: Some(Document::default()),
                updated_by: Some(v1::Reporter::default()),
                ..named()
            }),
        ),
    ];
    let mut table = String::new();
    for (name, task) in rows {
        let request = CreateTaskStatusRequest { task, ..CreateTaskStatusRequest::default() };
        let told = match create_task(&limits, request) {
            Err(status) => line(&status),
            Ok(command) => {
                assert_eq!(command.task, TaskStatus { r#type: 3, job_id: String::new(), ..named() });
                format!("a task of {}", command.job_id)
            }
        };
        table.push_str(&format!("{name}: {told}\n"));
    }
    expect![[r#"
        no task: InvalidArgument FIELD_INVALID
            task is required
        an empty task: InvalidArgument FIELD_INVALID
            task.job_id is required
            task.unique_name is required
        everything is wrong: InvalidArgument FIELD_INVALID
            task.job_id is longer than 64 characters
            task.type is not a value of TaskType
            task.unique_name is longer than 4096 characters
            task.description is longer than 4096 characters
            task.parent_name is longer than 4096 characters
            task.launcher is longer than 4096 characters
            task.progress is longer than 4096 characters
            task.percent_complete is not between 0 and 100
            task.launched is not a time between the years 1 and 9999
            task.deadline is not a time between the years 1 and 9999
            task.attributes is more than 24 levels deep
            task.messages is larger than 262144 bytes
            task.messages[1].type is not a value of TaskMessageType
            task.messages[1].parameters is more than 24 levels deep
        a negative percentage: InvalidArgument FIELD_INVALID
            task.percent_complete is not between 0 and 100
        what the server sets: a task of job
    "#]]
    .assert_eq(&table);
}
