//! JSON Patch as text: RFC 6902 and RFC 6901, then the rules of SPEC 3.3. Change it, run with `UPDATE_EXPECT=1`, and review
//! the diff.

use std::{collections::BTreeMap, sync::Arc};

use expect_test::{Expect, expect};
use json_patch::PatchOperation;
use proptest::prelude::*;
use prost_types::{Struct, Value};
use serde_json::{Value as Json, json};

use super::{UpdateTask, form};
use crate::{
    domain::{
        Context, Decision, Definition, Existing, JobState, Limits, Rejection,
        fixtures::{at, check_events, context, event_words},
    },
    proto::{
        Document,
        v1::{
            CompletionStatus, Job, JobEventType, JobStatus, LocalizedText, Path, Step, StepDefinition,
            StepKind, StepStatus, TaskMessage, TaskMessageType, TaskReturn, TaskStatus, TaskType,
            UpdateTaskStatusResponse, Workflow,
        },
    },
};

/// The time of every patch here.
const NOW: i64 = 100;

/// A value as a request brings it: numbers are doubles there.
fn sent(json: &Json) -> Json {
    form::of_value(&form::to_value(json))
}

/// The operations of a patch as JSON has them; every value as a request brings it.
fn operations(json: &str) -> Vec<PatchOperation> {
    let mut operations: Vec<PatchOperation> = serde_json::from_str(json).expect(json);
    for operation in &mut operations {
        match operation {
            PatchOperation::Add(it) => it.value = sent(&it.value),
            PatchOperation::Replace(it) => it.value = sent(&it.value),
            PatchOperation::Test(it) => it.value = sent(&it.value),
            PatchOperation::Remove(_) | PatchOperation::Move(_) | PatchOperation::Copy(_) => {}
        }
    }
    operations
}

#[expect(clippy::unnecessary_wraps, reason = "it makes the optional members of messages")]
fn attributes(json: &Json) -> Option<Document> {
    let Json::Object(fields) = json else { panic!("{json} is no object") };
    let fields = fields.iter().map(|(name, value)| (name.clone(), form::to_value(value))).collect();
    Some(Struct { fields }.into())
}

#[expect(clippy::unnecessary_wraps, reason = "it makes the optional members of messages")]
fn text(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// A task that is under way.
fn open_task() -> TaskStatus {
    TaskStatus {
        id: "task_1".to_owned(),
        job_id: "job".to_owned(),
        r#type: TaskType::Quartz.into(),
        unique_name: text("name"),
        description: text("what it does"),
        launcher: text("robot"),
        created: Some(at(1)),
        modified: Some(at(20)),
        launched: Some(at(10)),
        messages: vec![TaskMessage {
            r#type: TaskMessageType::Info.into(),
            localized_text: Some(LocalizedText { locale: text("en"), message: text("hello") }),
            key: text("greeting"),
            parameters: vec![Value::from(1.0)],
        }],
        returns: vec![TaskReturn { name: text("Torque"), attribute_name: text("torque") }],
        attributes: attributes(&json!({ "torque": 12.5, "bolts": [1, 2, 3] })),
        progress: text("half"),
        percent_complete: Some(50),
        etag: "r7".to_owned(),
        ..TaskStatus::default()
    }
}

/// A task that has ended.
fn completed_task() -> TaskStatus {
    let completion_status = CompletionStatus::Success.into();
    TaskStatus { completion_status, completed: Some(at(30)), percent_complete: Some(100), ..open_task() }
}

/// A job at revision 7 with this task alone.
fn with_task(task: TaskStatus) -> JobState {
    let mut job = Job { job_id: "job".to_owned(), revision: 7, ..Job::default() };
    job.set_status(JobStatus::Active);
    JobState { job, tasks: BTreeMap::from([(task.id.clone(), task)]), ..JobState::default() }
}

type Outcome = Result<Decision<UpdateTaskStatusResponse>, Rejection>;

fn decide_in(state: JobState, operations: Vec<PatchOperation>, context: &Context) -> Outcome {
    let existing = Existing::Job(Box::new(state));
    let command = UpdateTask { task_id: "task_1".to_owned(), operations, etag: None };
    let decision = command.decide(existing.clone(), context)?;
    check_events(&existing, &decision, context);
    assert_eq!(decision.reply.task.as_ref(), decision.state.tasks.get("task_1"));
    Ok(decision)
}

/// The only place where the tables patch a task.
fn decide(task: TaskStatus, operations: Vec<PatchOperation>) -> Outcome {
    decide_in(with_task(task), operations, &context(NOW))
}

fn refusal_words(rejection: Rejection) -> String {
    match rejection {
        Rejection::TaskInvalid(faults) => {
            let faults: Vec<_> = faults.iter().map(|(field, what)| format!("{field} {what}")).collect();
            format!("! invalid: {}", faults.join("; "))
        }
        Rejection::TaskAlreadyClosed { .. } => "! TASK_ALREADY_CLOSED".to_owned(),
        Rejection::PatchTestFailed { index } => format!("! TEST_FAILED at {index}"),
        Rejection::PatchTargetMissing { index } => format!("! PATCH_TARGET_MISSING at {index}"),
        other => format!("! {other}"),
    }
}

/// Patches of a document, by the pointers of the RFC: the document is the task's attributes.
fn check_rfc(rows: &[(&str, &str)], expected: Expect) {
    let mut table = String::new();
    for (document, patch) in rows {
        let mut patch_json: Json = serde_json::from_str(patch).expect(patch);
        for operation in patch_json.as_array_mut().unwrap() {
            for member in ["path", "from"] {
                if let Some(pointer) = operation.get_mut(member) {
                    *pointer = json!(format!("/attributes{}", pointer.as_str().unwrap()));
                }
            }
        }
        let before: Json = serde_json::from_str(document).expect(document);
        let task = TaskStatus { attributes: attributes(&before), ..open_task() };
        let outcome = match decide(task.clone(), operations(&patch_json.to_string())) {
            Err(rejection) => refusal_words(rejection),
            Ok(decision) => {
                let after = form::of_task(&decision.state.tasks["task_1"]);
                let is_changed = after["attributes"] != form::of_task(&task)["attributes"];
                assert_eq!(decision.events.len(), usize::from(is_changed), "{patch}");
                let unchanged = if is_changed { "" } else { "= " };
                format!("{unchanged}{}", after["attributes"])
            }
        };
        table.push_str(&format!("{document} {patch}\n    {outcome}\n"));
    }
    expected.assert_eq(&table);
}

/// The examples of RFC 6902, appendix A, that are well formed.
#[test]
fn the_examples_of_the_standard() {
    check_rfc(
        &[
            // A.1, A.2
            (r#"{"foo":"bar"}"#, r#"[{"op":"add","path":"/baz","value":"qux"}]"#),
            (r#"{"foo":["bar","baz"]}"#, r#"[{"op":"add","path":"/foo/1","value":"qux"}]"#),
            // A.3, A.4
            (r#"{"baz":"qux","foo":"bar"}"#, r#"[{"op":"remove","path":"/baz"}]"#),
            (r#"{"foo":["bar","qux","baz"]}"#, r#"[{"op":"remove","path":"/foo/1"}]"#),
            // A.5
            (r#"{"baz":"qux","foo":"bar"}"#, r#"[{"op":"replace","path":"/baz","value":"boo"}]"#),
            // A.6, A.7
            (
                r#"{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}"#,
                r#"[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]"#,
            ),
            (r#"{"foo":["all","grass","cows","eat"]}"#, r#"[{"op":"move","from":"/foo/1","path":"/foo/3"}]"#),
            // A.8, A.9
            (
                r#"{"baz":"qux","foo":["a",2,"c"]}"#,
                r#"[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]"#,
            ),
            (r#"{"baz":"qux"}"#, r#"[{"op":"test","path":"/baz","value":"bar"}]"#),
            // A.10, A.11
            (r#"{"foo":"bar"}"#, r#"[{"op":"add","path":"/child","value":{"grandchild":{}}}]"#),
            (r#"{"foo":"bar"}"#, r#"[{"op":"add","path":"/baz","value":"qux","xyz":123}]"#),
            // A.12
            (r#"{"foo":"bar"}"#, r#"[{"op":"add","path":"/baz/bat","value":"qux"}]"#),
            // A.14, A.15
            (r#"{"/":9,"~1":10}"#, r#"[{"op":"test","path":"/~01","value":10}]"#),
            (r#"{"/":9,"~1":10}"#, r#"[{"op":"test","path":"/~01","value":"10"}]"#),
            // A.16
            (r#"{"foo":["bar"]}"#, r#"[{"op":"add","path":"/foo/-","value":["abc","def"]}]"#),
        ],
        expect![[r#"
            {"foo":"bar"} [{"op":"add","path":"/baz","value":"qux"}]
                {"baz":"qux","foo":"bar"}
            {"foo":["bar","baz"]} [{"op":"add","path":"/foo/1","value":"qux"}]
                {"foo":["bar","qux","baz"]}
            {"baz":"qux","foo":"bar"} [{"op":"remove","path":"/baz"}]
                {"foo":"bar"}
            {"foo":["bar","qux","baz"]} [{"op":"remove","path":"/foo/1"}]
                {"foo":["bar","baz"]}
            {"baz":"qux","foo":"bar"} [{"op":"replace","path":"/baz","value":"boo"}]
                {"baz":"boo","foo":"bar"}
            {"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}} [{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]
                {"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}
            {"foo":["all","grass","cows","eat"]} [{"op":"move","from":"/foo/1","path":"/foo/3"}]
                {"foo":["all","cows","eat","grass"]}
            {"baz":"qux","foo":["a",2,"c"]} [{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]
                = {"baz":"qux","foo":["a",2,"c"]}
            {"baz":"qux"} [{"op":"test","path":"/baz","value":"bar"}]
                ! TEST_FAILED at 0
            {"foo":"bar"} [{"op":"add","path":"/child","value":{"grandchild":{}}}]
                {"child":{"grandchild":{}},"foo":"bar"}
            {"foo":"bar"} [{"op":"add","path":"/baz","value":"qux","xyz":123}]
                {"baz":"qux","foo":"bar"}
            {"foo":"bar"} [{"op":"add","path":"/baz/bat","value":"qux"}]
                ! PATCH_TARGET_MISSING at 0
            {"/":9,"~1":10} [{"op":"test","path":"/~01","value":10}]
                = {"/":9,"~1":10}
            {"/":9,"~1":10} [{"op":"test","path":"/~01","value":"10"}]
                ! TEST_FAILED at 0
            {"foo":["bar"]} [{"op":"add","path":"/foo/-","value":["abc","def"]}]
                {"foo":["bar",["abc","def"]]}
        "#]],
    );
}

/// RFC 6902, section 4.1.
#[test]
fn add() {
    check_rfc(
        &[
            ("{}", r#"[{"op":"add","path":"","value":{"a":1}}]"#),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"","value":{"b":2}}]"#),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"","value":[1]}]"#),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"/a","value":2}]"#),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"/a","value":1}]"#),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"/a","value":null}]"#),
            ("{}", r#"[{"op":"add","path":"/a","value":null}]"#),
            (r#"{"a":{"b":1}}"#, r#"[{"op":"add","path":"/a/c","value":[true,{}]}]"#),
            (r#"{"a":[]}"#, r#"[{"op":"add","path":"/a/0","value":1}]"#),
            (r#"{"a":[]}"#, r#"[{"op":"add","path":"/a/-","value":1}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"add","path":"/a/0","value":0}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"add","path":"/a/2","value":3}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"add","path":"/a/-","value":3}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"add","path":"/a/3","value":4}]"#),
            (r#"{"a":[[1],2]}"#, r#"[{"op":"add","path":"/a/0/-","value":3}]"#),
            (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/-/0","value":3}]"#),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"/a/b","value":2}]"#),
            (r#"{"a":"x"}"#, r#"[{"op":"add","path":"/a/0","value":2}]"#),
            (r#"{"a":null}"#, r#"[{"op":"add","path":"/a/b","value":2}]"#),
            ("{}", r#"[{"op":"add","path":"/a/b","value":2}]"#),
            (r#"{"a":[{}]}"#, r#"[{"op":"add","path":"/a/1/b","value":2}]"#),
        ],
        expect![[r#"
            {} [{"op":"add","path":"","value":{"a":1}}]
                {"a":1}
            {"a":1} [{"op":"add","path":"","value":{"b":2}}]
                {"b":2}
            {"a":1} [{"op":"add","path":"","value":[1]}]
                ! invalid: attributes is not an object
            {"a":1} [{"op":"add","path":"/a","value":2}]
                {"a":2}
            {"a":1} [{"op":"add","path":"/a","value":1}]
                = {"a":1}
            {"a":1} [{"op":"add","path":"/a","value":null}]
                {"a":null}
            {} [{"op":"add","path":"/a","value":null}]
                {"a":null}
            {"a":{"b":1}} [{"op":"add","path":"/a/c","value":[true,{}]}]
                {"a":{"b":1,"c":[true,{}]}}
            {"a":[]} [{"op":"add","path":"/a/0","value":1}]
                {"a":[1]}
            {"a":[]} [{"op":"add","path":"/a/-","value":1}]
                {"a":[1]}
            {"a":[1,2]} [{"op":"add","path":"/a/0","value":0}]
                {"a":[0,1,2]}
            {"a":[1,2]} [{"op":"add","path":"/a/2","value":3}]
                {"a":[1,2,3]}
            {"a":[1,2]} [{"op":"add","path":"/a/-","value":3}]
                {"a":[1,2,3]}
            {"a":[1,2]} [{"op":"add","path":"/a/3","value":4}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[[1],2]} [{"op":"add","path":"/a/0/-","value":3}]
                {"a":[[1,3],2]}
            {"a":[1]} [{"op":"add","path":"/a/-/0","value":3}]
                ! PATCH_TARGET_MISSING at 0
            {"a":1} [{"op":"add","path":"/a/b","value":2}]
                ! PATCH_TARGET_MISSING at 0
            {"a":"x"} [{"op":"add","path":"/a/0","value":2}]
                ! PATCH_TARGET_MISSING at 0
            {"a":null} [{"op":"add","path":"/a/b","value":2}]
                ! PATCH_TARGET_MISSING at 0
            {} [{"op":"add","path":"/a/b","value":2}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[{}]} [{"op":"add","path":"/a/1/b","value":2}]
                ! PATCH_TARGET_MISSING at 0
        "#]],
    );
}

/// RFC 6902, sections 4.2 and 4.3.
#[test]
fn remove_and_replace() {
    check_rfc(
        &[
            (r#"{"a":1}"#, r#"[{"op":"remove","path":""}]"#),
            (r#"{"a":null}"#, r#"[{"op":"remove","path":"/a"}]"#),
            (r#"{"a":{"b":{}}}"#, r#"[{"op":"remove","path":"/a/b"}]"#),
            (r#"{"a":[1,2,3]}"#, r#"[{"op":"remove","path":"/a/0"},{"op":"remove","path":"/a/0"}]"#),
            (r#"{"a":[1]}"#, r#"[{"op":"remove","path":"/a/1"}]"#),
            (r#"{"a":[1]}"#, r#"[{"op":"remove","path":"/a/-"}]"#),
            (r#"{"a":[]}"#, r#"[{"op":"remove","path":"/a/-"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"remove","path":"/b"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"remove","path":"/a"},{"op":"remove","path":"/a"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"remove","path":"/a/b"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"remove","path":"/a","value":2,"from":"/b"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"replace","path":"","value":{"b":2}}]"#),
            (r#"{"a":1}"#, r#"[{"op":"replace","path":"","value":null}]"#),
            (r#"{"a":1}"#, r#"[{"op":"replace","path":"/a","value":null}]"#),
            (r#"{"a":null}"#, r#"[{"op":"replace","path":"/a","value":false}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"replace","path":"/a/1","value":[]}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"replace","path":"/a/2","value":3}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"replace","path":"/a/-","value":3}]"#),
            (r#"{"a":1}"#, r#"[{"op":"replace","path":"/b","value":2}]"#),
            (r#"{"a":1}"#, r#"[{"op":"replace","path":"/b/c","value":2}]"#),
            (r#"{"a":1}"#, r#"[{"op":"replace","path":"/a","value":2,"from":"/none"}]"#),
        ],
        expect![[r#"
            {"a":1} [{"op":"remove","path":""}]
                {}
            {"a":null} [{"op":"remove","path":"/a"}]
                {}
            {"a":{"b":{}}} [{"op":"remove","path":"/a/b"}]
                {"a":{}}
            {"a":[1,2,3]} [{"op":"remove","path":"/a/0"},{"op":"remove","path":"/a/0"}]
                {"a":[3]}
            {"a":[1]} [{"op":"remove","path":"/a/1"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1]} [{"op":"remove","path":"/a/-"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[]} [{"op":"remove","path":"/a/-"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":1} [{"op":"remove","path":"/b"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":1} [{"op":"remove","path":"/a"},{"op":"remove","path":"/a"}]
                ! PATCH_TARGET_MISSING at 1
            {"a":1} [{"op":"remove","path":"/a/b"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":1} [{"op":"remove","path":"/a","value":2,"from":"/b"}]
                {}
            {"a":1} [{"op":"replace","path":"","value":{"b":2}}]
                {"b":2}
            {"a":1} [{"op":"replace","path":"","value":null}]
                ! invalid: attributes is not an object
            {"a":1} [{"op":"replace","path":"/a","value":null}]
                {"a":null}
            {"a":null} [{"op":"replace","path":"/a","value":false}]
                {"a":false}
            {"a":[1,2]} [{"op":"replace","path":"/a/1","value":[]}]
                {"a":[1,[]]}
            {"a":[1,2]} [{"op":"replace","path":"/a/2","value":3}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1,2]} [{"op":"replace","path":"/a/-","value":3}]
                ! PATCH_TARGET_MISSING at 0
            {"a":1} [{"op":"replace","path":"/b","value":2}]
                ! PATCH_TARGET_MISSING at 0
            {"a":1} [{"op":"replace","path":"/b/c","value":2}]
                ! PATCH_TARGET_MISSING at 0
            {"a":1} [{"op":"replace","path":"/a","value":2,"from":"/none"}]
                {"a":2}
        "#]],
    );
}

/// RFC 6902, sections 4.4 and 4.5.
#[test]
fn move_and_copy() {
    check_rfc(
        &[
            (r#"{"a":1}"#, r#"[{"op":"move","from":"/a","path":"/b"}]"#),
            (r#"{"a":1,"b":2}"#, r#"[{"op":"move","from":"/a","path":"/b"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"move","from":"/a","path":"/a"}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"move","from":"/a/0","path":"/a/0"}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"move","from":"/a/0","path":"/a/-"}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"move","from":"/a/0","path":"/a/2"}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"move","from":"/a/-","path":"/b"}]"#),
            (r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"/a/b","path":"/a"}]"#),
            (r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"/a","path":"/a/b"}]"#),
            (r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"/a","path":"/a/b/c"}]"#),
            (r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"","path":"/a"}]"#),
            (r#"{"a":1,"ab":{}}"#, r#"[{"op":"move","from":"/a","path":"/ab/c"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"move","from":"/b","path":"/c"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"move","from":"/b","path":"/b"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"move","from":"/a","path":"/b/c"}]"#),
            (r#"{"a":[1]}"#, r#"[{"op":"move","from":"/a/0","path":"/a/1"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"move","from":"/a","path":"/b","value":7}]"#),
            (r#"{"a":{"x":[1]}}"#, r#"[{"op":"copy","from":"/a","path":"/b"}]"#),
            (r#"{"a":{"x":1}}"#, r#"[{"op":"copy","from":"/a","path":"/a/y"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"copy","from":"","path":"/b"}]"#),
            (r#"{"a":{"x":1}}"#, r#"[{"op":"copy","from":"/a","path":""}]"#),
            (r#"{"a":1}"#, r#"[{"op":"copy","from":"/a","path":"/a"}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"copy","from":"/a/0","path":"/a/0"}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"copy","from":"/a/0","path":"/a/-"}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"copy","from":"/a/-","path":"/a/0"}]"#),
            (r#"{"a":null}"#, r#"[{"op":"copy","from":"/a","path":"/b"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"copy","from":"/b","path":"/a"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"copy","from":"/a","path":"/b/c"}]"#),
            // What is copied is not shared.
            (
                r#"{"a":{"x":1}}"#,
                r#"[{"op":"copy","from":"/a","path":"/b"},{"op":"replace","path":"/b/x","value":2}]"#,
            ),
        ],
        expect![[r#"
            {"a":1} [{"op":"move","from":"/a","path":"/b"}]
                {"b":1}
            {"a":1,"b":2} [{"op":"move","from":"/a","path":"/b"}]
                {"b":1}
            {"a":1} [{"op":"move","from":"/a","path":"/a"}]
                = {"a":1}
            {"a":[1,2]} [{"op":"move","from":"/a/0","path":"/a/0"}]
                = {"a":[1,2]}
            {"a":[1,2]} [{"op":"move","from":"/a/0","path":"/a/-"}]
                {"a":[2,1]}
            {"a":[1,2]} [{"op":"move","from":"/a/0","path":"/a/2"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1,2]} [{"op":"move","from":"/a/-","path":"/b"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":{"b":1}} [{"op":"move","from":"/a/b","path":"/a"}]
                {"a":1}
            {"a":{"b":1}} [{"op":"move","from":"/a","path":"/a/b"}]
                ! invalid: operations[0] moves something into itself
            {"a":{"b":1}} [{"op":"move","from":"/a","path":"/a/b/c"}]
                ! invalid: operations[0] moves something into itself
            {"a":{"b":1}} [{"op":"move","from":"","path":"/a"}]
                ! invalid: operations[0] moves something into itself
            {"a":1,"ab":{}} [{"op":"move","from":"/a","path":"/ab/c"}]
                {"ab":{"c":1}}
            {"a":1} [{"op":"move","from":"/b","path":"/c"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":1} [{"op":"move","from":"/b","path":"/b"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":1} [{"op":"move","from":"/a","path":"/b/c"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1]} [{"op":"move","from":"/a/0","path":"/a/1"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":1} [{"op":"move","from":"/a","path":"/b","value":7}]
                {"b":1}
            {"a":{"x":[1]}} [{"op":"copy","from":"/a","path":"/b"}]
                {"a":{"x":[1]},"b":{"x":[1]}}
            {"a":{"x":1}} [{"op":"copy","from":"/a","path":"/a/y"}]
                {"a":{"x":1,"y":{"x":1}}}
            {"a":1} [{"op":"copy","from":"","path":"/b"}]
                {"a":1,"b":{"a":1}}
            {"a":{"x":1}} [{"op":"copy","from":"/a","path":""}]
                {"x":1}
            {"a":1} [{"op":"copy","from":"/a","path":"/a"}]
                = {"a":1}
            {"a":[1,2]} [{"op":"copy","from":"/a/0","path":"/a/0"}]
                {"a":[1,1,2]}
            {"a":[1,2]} [{"op":"copy","from":"/a/0","path":"/a/-"}]
                {"a":[1,2,1]}
            {"a":[1,2]} [{"op":"copy","from":"/a/-","path":"/a/0"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":null} [{"op":"copy","from":"/a","path":"/b"}]
                {"a":null,"b":null}
            {"a":1} [{"op":"copy","from":"/b","path":"/a"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":1} [{"op":"copy","from":"/a","path":"/b/c"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":{"x":1}} [{"op":"copy","from":"/a","path":"/b"},{"op":"replace","path":"/b/x","value":2}]
                {"a":{"x":1},"b":{"x":2}}
        "#]],
    );
}

/// RFC 6902, section 4.6: numbers by value, texts by their characters, arrays in their order, objects in any.
#[test]
fn test() {
    check_rfc(
        &[
            (r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":1.0}]"#),
            (r#"{"a":100}"#, r#"[{"op":"test","path":"/a","value":1e2}]"#),
            (r#"{"a":0}"#, r#"[{"op":"test","path":"/a","value":-0.0}]"#),
            (r#"{"a":-0.0}"#, r#"[{"op":"test","path":"/a","value":0}]"#),
            (r#"{"a":0.5}"#, r#"[{"op":"test","path":"/a","value":0.50}]"#),
            (r#"{"a":1e300}"#, r#"[{"op":"test","path":"/a","value":1.0e300}]"#),
            (r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":1.1}]"#),
            (r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":"1"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":true}]"#),
            (r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":null}]"#),
            (r#"{"a":"\u00e9"}"#, r#"[{"op":"test","path":"/a","value":"é"}]"#),
            (r#"{"a":"\u00e9"}"#, r#"[{"op":"test","path":"/a","value":"e\u0301"}]"#),
            (r#"{"a":"x"}"#, r#"[{"op":"test","path":"/a","value":"X"}]"#),
            (r#"{"a":""}"#, r#"[{"op":"test","path":"/a","value":null}]"#),
            (r#"{"a":true}"#, r#"[{"op":"test","path":"/a","value":true}]"#),
            (r#"{"a":true}"#, r#"[{"op":"test","path":"/a","value":false}]"#),
            (r#"{"a":null}"#, r#"[{"op":"test","path":"/a","value":null}]"#),
            (r#"{"a":null}"#, r#"[{"op":"test","path":"/a","value":false}]"#),
            ("{}", r#"[{"op":"test","path":"/a","value":null}]"#),
            (r#"{"a":[1,"x"]}"#, r#"[{"op":"test","path":"/a","value":[1,"x"]}]"#),
            (r#"{"a":[1,"x"]}"#, r#"[{"op":"test","path":"/a","value":["x",1]}]"#),
            (r#"{"a":[1,"x"]}"#, r#"[{"op":"test","path":"/a","value":[1]}]"#),
            (r#"{"a":[]}"#, r#"[{"op":"test","path":"/a","value":[]}]"#),
            (r#"{"a":[]}"#, r#"[{"op":"test","path":"/a","value":{}}]"#),
            (r#"{"a":[1]}"#, r#"[{"op":"test","path":"/a/-","value":1}]"#),
            (r#"{"a":{"x":1,"y":[2]}}"#, r#"[{"op":"test","path":"/a","value":{"y":[2.0],"x":1}}]"#),
            (r#"{"a":{"x":1}}"#, r#"[{"op":"test","path":"/a","value":{"x":1,"y":null}}]"#),
            (r#"{"a":{"x":1,"y":null}}"#, r#"[{"op":"test","path":"/a","value":{"x":1}}]"#),
            (r#"{"a":{}}"#, r#"[{"op":"test","path":"/a","value":{}}]"#),
            (r#"{"a":1}"#, r#"[{"op":"test","path":"","value":{"a":1}}]"#),
            (r#"{"a":1}"#, r#"[{"op":"test","path":"","value":{}}]"#),
            (r#"{"a":1}"#, r#"[{"op":"test","path":"/a/b","value":1}]"#),
        ],
        expect![[r#"
            {"a":1} [{"op":"test","path":"/a","value":1.0}]
                = {"a":1}
            {"a":100} [{"op":"test","path":"/a","value":1e2}]
                = {"a":100}
            {"a":0} [{"op":"test","path":"/a","value":-0.0}]
                = {"a":0}
            {"a":-0.0} [{"op":"test","path":"/a","value":0}]
                = {"a":0}
            {"a":0.5} [{"op":"test","path":"/a","value":0.50}]
                = {"a":0.5}
            {"a":1e300} [{"op":"test","path":"/a","value":1.0e300}]
                = {"a":1e+300}
            {"a":1} [{"op":"test","path":"/a","value":1.1}]
                ! TEST_FAILED at 0
            {"a":1} [{"op":"test","path":"/a","value":"1"}]
                ! TEST_FAILED at 0
            {"a":1} [{"op":"test","path":"/a","value":true}]
                ! TEST_FAILED at 0
            {"a":1} [{"op":"test","path":"/a","value":null}]
                ! TEST_FAILED at 0
            {"a":"\u00e9"} [{"op":"test","path":"/a","value":"é"}]
                = {"a":"é"}
            {"a":"\u00e9"} [{"op":"test","path":"/a","value":"e\u0301"}]
                ! TEST_FAILED at 0
            {"a":"x"} [{"op":"test","path":"/a","value":"X"}]
                ! TEST_FAILED at 0
            {"a":""} [{"op":"test","path":"/a","value":null}]
                ! TEST_FAILED at 0
            {"a":true} [{"op":"test","path":"/a","value":true}]
                = {"a":true}
            {"a":true} [{"op":"test","path":"/a","value":false}]
                ! TEST_FAILED at 0
            {"a":null} [{"op":"test","path":"/a","value":null}]
                = {"a":null}
            {"a":null} [{"op":"test","path":"/a","value":false}]
                ! TEST_FAILED at 0
            {} [{"op":"test","path":"/a","value":null}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1,"x"]} [{"op":"test","path":"/a","value":[1,"x"]}]
                = {"a":[1,"x"]}
            {"a":[1,"x"]} [{"op":"test","path":"/a","value":["x",1]}]
                ! TEST_FAILED at 0
            {"a":[1,"x"]} [{"op":"test","path":"/a","value":[1]}]
                ! TEST_FAILED at 0
            {"a":[]} [{"op":"test","path":"/a","value":[]}]
                = {"a":[]}
            {"a":[]} [{"op":"test","path":"/a","value":{}}]
                ! TEST_FAILED at 0
            {"a":[1]} [{"op":"test","path":"/a/-","value":1}]
                ! PATCH_TARGET_MISSING at 0
            {"a":{"x":1,"y":[2]}} [{"op":"test","path":"/a","value":{"y":[2.0],"x":1}}]
                = {"a":{"x":1,"y":[2]}}
            {"a":{"x":1}} [{"op":"test","path":"/a","value":{"x":1,"y":null}}]
                ! TEST_FAILED at 0
            {"a":{"x":1,"y":null}} [{"op":"test","path":"/a","value":{"x":1}}]
                ! TEST_FAILED at 0
            {"a":{}} [{"op":"test","path":"/a","value":{}}]
                = {"a":{}}
            {"a":1} [{"op":"test","path":"","value":{"a":1}}]
                = {"a":1}
            {"a":1} [{"op":"test","path":"","value":{}}]
                ! TEST_FAILED at 0
            {"a":1} [{"op":"test","path":"/a/b","value":1}]
                ! PATCH_TARGET_MISSING at 0
        "#]],
    );
}

/// RFC 6901: `~1` is a slash and `~0` a tilde, decoded in that order; an array's index has no sign and no leading zero.
#[test]
fn pointers() {
    check_rfc(
        &[
            (r#"{"a/b":1}"#, r#"[{"op":"replace","path":"/a~1b","value":2}]"#),
            (r#"{"m~n":1}"#, r#"[{"op":"replace","path":"/m~0n","value":2}]"#),
            (r#"{"~1":1,"/":2}"#, r#"[{"op":"remove","path":"/~01"}]"#),
            (r#"{"~0":1,"~":2}"#, r#"[{"op":"remove","path":"/~00"}]"#),
            (r#"{"a~1b":1}"#, r#"[{"op":"copy","from":"/a~01b","path":"/~0~1"}]"#),
            ("{}", r#"[{"op":"add","path":"/","value":1}]"#),
            (r#"{"":{"":1}}"#, r#"[{"op":"test","path":"//","value":1}]"#),
            (r#"{"":{"":1}}"#, r#"[{"op":"remove","path":"//"}]"#),
            (r#"{"a":{}}"#, r#"[{"op":"test","path":"/a/","value":{}}]"#),
            (
                r#"{" ":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6}"#,
                r#"[{"op":"remove","path":"/ "},{"op":"remove","path":"/c%d"},{"op":"remove","path":"/e^f"},{"op":"remove","path":"/g|h"},{"op":"remove","path":"/i\\j"},{"op":"remove","path":"/k\"l"}]"#,
            ),
            (r#"{"c d":1}"#, r#"[{"op":"remove","path":"/c%20d"}]"#),
            (r#"{"é":1}"#, r#"[{"op":"remove","path":"/\u00e9"}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"test","path":"/a/00","value":1}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"test","path":"/a/01","value":2}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"add","path":"/a/01","value":3}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"remove","path":"/a/01"}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"replace","path":"/a/+1","value":3}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"add","path":"/a/+1","value":3}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"remove","path":"/a/-1"}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"remove","path":"/a/1e0"}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"remove","path":"/a/1.0"}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"remove","path":"/a/ 1"}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"remove","path":"/a/\u0661"}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"remove","path":"/a/"}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"add","path":"/a/x","value":3}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"remove","path":"/a/18446744073709551616"}]"#),
            (r#"{"a":[1,2]}"#, r#"[{"op":"add","path":"/a/18446744073709551616","value":3}]"#),
            // In an object they are names like any others.
            (
                r#"{"a":{"-":1,"01":2}}"#,
                r#"[{"op":"remove","path":"/a/-"},{"op":"remove","path":"/a/01"},{"op":"add","path":"/a/0","value":0}]"#,
            ),
        ],
        expect![[r#"
            {"a/b":1} [{"op":"replace","path":"/a~1b","value":2}]
                {"a/b":2}
            {"m~n":1} [{"op":"replace","path":"/m~0n","value":2}]
                {"m~n":2}
            {"~1":1,"/":2} [{"op":"remove","path":"/~01"}]
                {"/":2}
            {"~0":1,"~":2} [{"op":"remove","path":"/~00"}]
                {"~":2}
            {"a~1b":1} [{"op":"copy","from":"/a~01b","path":"/~0~1"}]
                {"a~1b":1,"~/":1}
            {} [{"op":"add","path":"/","value":1}]
                {"":1}
            {"":{"":1}} [{"op":"test","path":"//","value":1}]
                = {"":{"":1}}
            {"":{"":1}} [{"op":"remove","path":"//"}]
                {"":{}}
            {"a":{}} [{"op":"test","path":"/a/","value":{}}]
                ! PATCH_TARGET_MISSING at 0
            {" ":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6} [{"op":"remove","path":"/ "},{"op":"remove","path":"/c%d"},{"op":"remove","path":"/e^f"},{"op":"remove","path":"/g|h"},{"op":"remove","path":"/i\\j"},{"op":"remove","path":"/k\"l"}]
                {}
            {"c d":1} [{"op":"remove","path":"/c%20d"}]
                ! PATCH_TARGET_MISSING at 0
            {"é":1} [{"op":"remove","path":"/\u00e9"}]
                {}
            {"a":[1,2]} [{"op":"test","path":"/a/00","value":1}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1,2]} [{"op":"test","path":"/a/01","value":2}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1,2]} [{"op":"add","path":"/a/01","value":3}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1,2]} [{"op":"remove","path":"/a/01"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1,2]} [{"op":"replace","path":"/a/+1","value":3}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1,2]} [{"op":"add","path":"/a/+1","value":3}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1,2]} [{"op":"remove","path":"/a/-1"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1,2]} [{"op":"remove","path":"/a/1e0"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1,2]} [{"op":"remove","path":"/a/1.0"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1,2]} [{"op":"remove","path":"/a/ 1"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1,2]} [{"op":"remove","path":"/a/\u0661"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1,2]} [{"op":"remove","path":"/a/"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1,2]} [{"op":"add","path":"/a/x","value":3}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1,2]} [{"op":"remove","path":"/a/18446744073709551616"}]
                ! PATCH_TARGET_MISSING at 0
            {"a":[1,2]} [{"op":"add","path":"/a/18446744073709551616","value":3}]
                ! PATCH_TARGET_MISSING at 0
            {"a":{"-":1,"01":2}} [{"op":"remove","path":"/a/-"},{"op":"remove","path":"/a/01"},{"op":"add","path":"/a/0","value":0}]
                {"a":{"0":0}}
        "#]],
    );
}

/// RFC 6902, sections 3 and 5: operations follow on one another, and all are done or none.
#[test]
fn operations_in_order_and_all_or_none() {
    check_rfc(
        &[
            (
                "{}",
                r#"[{"op":"add","path":"/a","value":[]},{"op":"add","path":"/a/-","value":1},{"op":"test","path":"/a/0","value":1}]"#,
            ),
            (
                r#"{"a":1}"#,
                r#"[{"op":"move","from":"/a","path":"/b"},{"op":"move","from":"/b","path":"/c"},{"op":"test","path":"/c","value":1}]"#,
            ),
            (r#"{"a":1}"#, r#"[{"op":"replace","path":"/a","value":2},{"op":"test","path":"/a","value":1}]"#),
            (r#"{"a":1}"#, r#"[{"op":"replace","path":"/a","value":2},{"op":"remove","path":"/b"}]"#),
            (r#"{"a":1}"#, r#"[{"op":"add","path":"/b","value":2},{"op":"move","from":"/b","path":"/b/c"}]"#),
            (
                r#"{"a":1}"#,
                r#"[{"op":"replace","path":"/a","value":2},{"op":"replace","path":"/a","value":1}]"#,
            ),
            (r#"{"a":1}"#, r#"[{"op":"remove","path":"/a"},{"op":"add","path":"/a","value":1}]"#),
        ],
        expect![[r#"
            {} [{"op":"add","path":"/a","value":[]},{"op":"add","path":"/a/-","value":1},{"op":"test","path":"/a/0","value":1}]
                {"a":[1]}
            {"a":1} [{"op":"move","from":"/a","path":"/b"},{"op":"move","from":"/b","path":"/c"},{"op":"test","path":"/c","value":1}]
                {"c":1}
            {"a":1} [{"op":"replace","path":"/a","value":2},{"op":"test","path":"/a","value":1}]
                ! TEST_FAILED at 1
            {"a":1} [{"op":"replace","path":"/a","value":2},{"op":"remove","path":"/b"}]
                ! PATCH_TARGET_MISSING at 1
            {"a":1} [{"op":"add","path":"/b","value":2},{"op":"move","from":"/b","path":"/b/c"}]
                ! invalid: operations[1] moves something into itself
            {"a":1} [{"op":"replace","path":"/a","value":2},{"op":"replace","path":"/a","value":1}]
                = {"a":1}
            {"a":1} [{"op":"remove","path":"/a"},{"op":"add","path":"/a","value":1}]
                = {"a":1}
        "#]],
    );
}

/// Patches of a task: what its form becomes, and what is told.
fn check(task: &TaskStatus, patches: &[&str], expected: Expect) {
    let before = form::of_task(task);
    let mut table = String::new();
    for patch in patches {
        let outcome = match decide(task.clone(), operations(patch)) {
            Err(rejection) => refusal_words(rejection),
            Ok(decision) => {
                let after = form::of_task(&decision.state.tasks["task_1"]);
                let changed = after.as_object().unwrap().iter();
                let changed = changed.filter(|(member, value)| before[*member] != **value);
                let changed: Vec<_> = changed
                    .filter(|(member, _)| *member != "modified")
                    .map(|(member, value)| format!("{member} {value}"))
                    .collect();
                assert_eq!(changed.is_empty(), decision.events.is_empty(), "{patch}");
                let event = event_words(&decision.events);
                if changed.is_empty() { "=".to_owned() } else { format!("{event}: {}", changed.join(", ")) }
            }
        };
        table.push_str(&format!("{patch}\n    {outcome}\n"));
    }
    expected.assert_eq(&table);
}

#[test]
fn an_open_task() {
    check(
        &open_task(),
        &[
            // Every member that can be written.
            r#"[{"op":"replace","path":"/description","value":"x"}]"#,
            r#"[{"op":"replace","path":"/progress","value":"x"}]"#,
            r#"[{"op":"replace","path":"/percentComplete","value":0}]"#,
            r#"[{"op":"replace","path":"/percentComplete","value":100.0}]"#,
            r#"[{"op":"replace","path":"/launched","value":"1970-01-01T01:00:11.5+01:00"}]"#,
            r#"[{"op":"add","path":"/messages/-","value":{"type":"ERROR","key":"x"}}]"#,
            r#"[{"op":"replace","path":"/messages/0/localizedText/message","value":"bye"}]"#,
            r#"[{"op":"add","path":"/messages/0/parameters/0","value":{"a":[null]}}]"#,
            r#"[{"op":"add","path":"/returns/0","value":{"name":"x"}}]"#,
            r#"[{"op":"add","path":"/attributes/x","value":{"y":[]}}]"#,
            r#"[{"op":"remove","path":"/attributes/bolts/1"}]"#,
            // What is taken away is not set from then on.
            r#"[{"op":"remove","path":"/description"}]"#,
            r#"[{"op":"remove","path":"/launched"}]"#,
            r#"[{"op":"remove","path":"/percentComplete"}]"#,
            r#"[{"op":"remove","path":"/messages"}]"#,
            r#"[{"op":"remove","path":"/returns"}]"#,
            r#"[{"op":"remove","path":"/attributes"}]"#,
            r#"[{"op":"remove","path":"/messages/0/localizedText"}]"#,
            r#"[{"op":"remove","path":"/completed"}]"#,
            r#"[{"op":"remove","path":"/description"},{"op":"remove","path":"/description"}]"#,
            r#"[{"op":"remove","path":"/description"},{"op":"test","path":"/description","value":null}]"#,
            r#"[{"op":"remove","path":"/messages"},{"op":"add","path":"/messages/-","value":{}}]"#,
            r#"[{"op":"remove","path":"/attributes"},{"op":"add","path":"/attributes/a","value":1}]"#,
            r#"[{"op":"move","from":"/description","path":"/progress"}]"#,
            r#"[{"op":"replace","path":"/description","value":null}]"#,
            r#"[{"op":"replace","path":"/messages","value":null}]"#,
            r#"[{"op":"replace","path":"/attributes","value":null}]"#,
            // Every member can be read.
            r#"[{"op":"test","path":"/id","value":"task_1"}]"#,
            r#"[{"op":"test","path":"/type","value":"QUARTZ"}]"#,
            r#"[{"op":"test","path":"/created","value":"1970-01-01T00:00:01Z"}]"#,
            r#"[{"op":"test","path":"/parentName","value":null}]"#,
            r#"[{"op":"test","path":"/percentComplete","value":50.0}]"#,
            r#"[{"op":"test","path":"/completionStatus","value":null}]"#,
            r#"[{"op":"test","path":"/id","value":"task_2"}]"#,
            r#"[{"op":"test","path":"/jobId","value":"job"}]"#,
            r#"[{"op":"test","path":"","value":{}}]"#,
            r#"[{"op":"copy","from":"/uniqueName","path":"/description"}]"#,
            r#"[{"op":"copy","from":"/created","path":"/launched"}]"#,
            r#"[{"op":"copy","from":"/percentComplete","path":"/attributes/percent"}]"#,
            r#"[{"op":"copy","from":"/etag","path":"/description"}]"#,
            // What results must be a task.
            r#"[{"op":"copy","from":"/percentComplete","path":"/description"}]"#,
            r#"[{"op":"replace","path":"/percentComplete","value":101}]"#,
            r#"[{"op":"replace","path":"/percentComplete","value":-1}]"#,
            r#"[{"op":"replace","path":"/percentComplete","value":0.5}]"#,
            r#"[{"op":"replace","path":"/percentComplete","value":"50"}]"#,
            r#"[{"op":"replace","path":"/completionStatus","value":"Done"}]"#,
            r#"[{"op":"add","path":"/messages/0/text","value":"x"}]"#,
            r#"[{"op":"add","path":"/messages/-","value":{"type":"FATAL"}},{"op":"replace","path":"/launched","value":"now"}]"#,
            // In between it need not be.
            r#"[{"op":"replace","path":"/percentComplete","value":101},{"op":"replace","path":"/percentComplete","value":99}]"#,
            r#"[{"op":"add","path":"/percentComplete/x","value":1}]"#,
            r#"[{"op":"replace","path":"/description/0","value":1}]"#,
            // The ends.
            r#"[{"op":"replace","path":"/completionStatus","value":"Success"}]"#,
            r#"[{"op":"add","path":"/completionStatus","value":"TEMPERROR"}]"#,
            r#"[{"op":"replace","path":"/completionStatus","value":"Warning"},{"op":"replace","path":"/completed","value":"1970-01-01T00:00:10Z"},{"op":"replace","path":"/percentComplete","value":100}]"#,
            r#"[{"op":"replace","path":"/completionStatus","value":"Error"},{"op":"remove","path":"/completionStatus"}]"#,
            r#"[{"op":"replace","path":"/completed","value":"1970-01-01T00:00:30Z"}]"#,
            r#"[{"op":"replace","path":"/completionStatus","value":"Error"},{"op":"replace","path":"/completed","value":"1970-01-01T00:00:09.999999999Z"}]"#,
            r#"[{"op":"replace","path":"/completionStatus","value":"Error"},{"op":"replace","path":"/launched","value":"1970-01-01T00:01:40.000000001Z"}]"#,
            r#"[{"op":"replace","path":"/completionStatus","value":"Error"},{"op":"remove","path":"/launched"}]"#,
            // Nothing.
            r#"[{"op":"replace","path":"/percentComplete","value":50}]"#,
            r#"[{"op":"replace","path":"/launched","value":"1970-01-01T01:00:10.000+01:00"}]"#,
            r#"[{"op":"replace","path":"/description","value":"x"},{"op":"replace","path":"/description","value":"what it does"}]"#,
        ],
        expect![[r#"
            [{"op":"replace","path":"/description","value":"x"}]
                TASK_UPDATED: description "x"
            [{"op":"replace","path":"/progress","value":"x"}]
                TASK_UPDATED: progress "x"
            [{"op":"replace","path":"/percentComplete","value":0}]
                TASK_UPDATED: percentComplete 0
            [{"op":"replace","path":"/percentComplete","value":100.0}]
                TASK_UPDATED: percentComplete 100
            [{"op":"replace","path":"/launched","value":"1970-01-01T01:00:11.5+01:00"}]
                TASK_UPDATED: launched "1970-01-01T00:00:11.500Z"
            [{"op":"add","path":"/messages/-","value":{"type":"ERROR","key":"x"}}]
                TASK_UPDATED: messages [{"key":"greeting","localizedText":{"locale":"en","message":"hello"},"parameters":[1],"type":"INFO"},{"key":"x","localizedText":null,"parameters":[],"type":"ERROR"}]
            [{"op":"replace","path":"/messages/0/localizedText/message","value":"bye"}]
                TASK_UPDATED: messages [{"key":"greeting","localizedText":{"locale":"en","message":"bye"},"parameters":[1],"type":"INFO"}]
            [{"op":"add","path":"/messages/0/parameters/0","value":{"a":[null]}}]
                TASK_UPDATED: messages [{"key":"greeting","localizedText":{"locale":"en","message":"hello"},"parameters":[{"a":[null]},1],"type":"INFO"}]
            [{"op":"add","path":"/returns/0","value":{"name":"x"}}]
                TASK_UPDATED: returns [{"attributeName":null,"name":"x"},{"attributeName":"torque","name":"Torque"}]
            [{"op":"add","path":"/attributes/x","value":{"y":[]}}]
                TASK_UPDATED: attributes {"bolts":[1,2,3],"torque":12.5,"x":{"y":[]}}
            [{"op":"remove","path":"/attributes/bolts/1"}]
                TASK_UPDATED: attributes {"bolts":[1,3],"torque":12.5}
            [{"op":"remove","path":"/description"}]
                TASK_UPDATED: description null
            [{"op":"remove","path":"/launched"}]
                TASK_UPDATED: launched null
            [{"op":"remove","path":"/percentComplete"}]
                TASK_UPDATED: percentComplete null
            [{"op":"remove","path":"/messages"}]
                TASK_UPDATED: messages []
            [{"op":"remove","path":"/returns"}]
                TASK_UPDATED: returns []
            [{"op":"remove","path":"/attributes"}]
                TASK_UPDATED: attributes {}
            [{"op":"remove","path":"/messages/0/localizedText"}]
                TASK_UPDATED: messages [{"key":"greeting","localizedText":null,"parameters":[1],"type":"INFO"}]
            [{"op":"remove","path":"/completed"}]
                =
            [{"op":"remove","path":"/description"},{"op":"remove","path":"/description"}]
                TASK_UPDATED: description null
            [{"op":"remove","path":"/description"},{"op":"test","path":"/description","value":null}]
                TASK_UPDATED: description null
            [{"op":"remove","path":"/messages"},{"op":"add","path":"/messages/-","value":{}}]
                TASK_UPDATED: messages [{"key":null,"localizedText":null,"parameters":[],"type":null}]
            [{"op":"remove","path":"/attributes"},{"op":"add","path":"/attributes/a","value":1}]
                TASK_UPDATED: attributes {"a":1}
            [{"op":"move","from":"/description","path":"/progress"}]
                TASK_UPDATED: description null, progress "what it does"
            [{"op":"replace","path":"/description","value":null}]
                TASK_UPDATED: description null
            [{"op":"replace","path":"/messages","value":null}]
                ! invalid: messages is not an array
            [{"op":"replace","path":"/attributes","value":null}]
                ! invalid: attributes is not an object
            [{"op":"test","path":"/id","value":"task_1"}]
                =
            [{"op":"test","path":"/type","value":"QUARTZ"}]
                =
            [{"op":"test","path":"/created","value":"1970-01-01T00:00:01Z"}]
                =
            [{"op":"test","path":"/parentName","value":null}]
                =
            [{"op":"test","path":"/percentComplete","value":50.0}]
                =
            [{"op":"test","path":"/completionStatus","value":null}]
                =
            [{"op":"test","path":"/id","value":"task_2"}]
                ! TEST_FAILED at 0
            [{"op":"test","path":"/jobId","value":"job"}]
                ! PATCH_TARGET_MISSING at 0
            [{"op":"test","path":"","value":{}}]
                ! TEST_FAILED at 0
            [{"op":"copy","from":"/uniqueName","path":"/description"}]
                TASK_UPDATED: description "name"
            [{"op":"copy","from":"/created","path":"/launched"}]
                TASK_UPDATED: launched "1970-01-01T00:00:01Z"
            [{"op":"copy","from":"/percentComplete","path":"/attributes/percent"}]
                TASK_UPDATED: attributes {"bolts":[1,2,3],"percent":50,"torque":12.5}
            [{"op":"copy","from":"/etag","path":"/description"}]
                ! PATCH_TARGET_MISSING at 0
            [{"op":"copy","from":"/percentComplete","path":"/description"}]
                ! invalid: description is not a text or null
            [{"op":"replace","path":"/percentComplete","value":101}]
                ! invalid: percentComplete is not an integer from 0 to 100, or null
            [{"op":"replace","path":"/percentComplete","value":-1}]
                ! invalid: percentComplete is not an integer from 0 to 100, or null
            [{"op":"replace","path":"/percentComplete","value":0.5}]
                ! invalid: percentComplete is not an integer from 0 to 100, or null
            [{"op":"replace","path":"/percentComplete","value":"50"}]
                ! invalid: percentComplete is not an integer from 0 to 100, or null
            [{"op":"replace","path":"/completionStatus","value":"Done"}]
                ! invalid: completionStatus is not Success, Warning, Error, Terminated or TempError
            [{"op":"add","path":"/messages/0/text","value":"x"}]
                ! invalid: messages[0].text is no member of it
            [{"op":"add","path":"/messages/-","value":{"type":"FATAL"}},{"op":"replace","path":"/launched","value":"now"}]
                ! invalid: launched is not a time as RFC 3339 has it; messages[1].type is not INFO, WARN or ERROR
            [{"op":"replace","path":"/percentComplete","value":101},{"op":"replace","path":"/percentComplete","value":99}]
                TASK_UPDATED: percentComplete 99
            [{"op":"add","path":"/percentComplete/x","value":1}]
                ! PATCH_TARGET_MISSING at 0
            [{"op":"replace","path":"/description/0","value":1}]
                ! PATCH_TARGET_MISSING at 0
            [{"op":"replace","path":"/completionStatus","value":"Success"}]
                TASK_COMPLETED: completed "1970-01-01T00:01:40Z", completionStatus "Success"
            [{"op":"add","path":"/completionStatus","value":"TEMPERROR"}]
                TASK_COMPLETED: completed "1970-01-01T00:01:40Z", completionStatus "TempError"
            [{"op":"replace","path":"/completionStatus","value":"Warning"},{"op":"replace","path":"/completed","value":"1970-01-01T00:00:10Z"},{"op":"replace","path":"/percentComplete","value":100}]
                TASK_COMPLETED: completed "1970-01-01T00:00:10Z", completionStatus "Warning", percentComplete 100
            [{"op":"replace","path":"/completionStatus","value":"Error"},{"op":"remove","path":"/completionStatus"}]
                =
            [{"op":"replace","path":"/completed","value":"1970-01-01T00:00:30Z"}]
                ! invalid: completed is set without completionStatus
            [{"op":"replace","path":"/completionStatus","value":"Error"},{"op":"replace","path":"/completed","value":"1970-01-01T00:00:09.999999999Z"}]
                ! invalid: completed is before launched
            [{"op":"replace","path":"/completionStatus","value":"Error"},{"op":"replace","path":"/launched","value":"1970-01-01T00:01:40.000000001Z"}]
                TASK_COMPLETED: completed "1970-01-01T00:01:40.000000001Z", completionStatus "Error", launched "1970-01-01T00:01:40.000000001Z"
            [{"op":"replace","path":"/completionStatus","value":"Error"},{"op":"remove","path":"/launched"}]
                TASK_COMPLETED: completed "1970-01-01T00:01:40Z", completionStatus "Error", launched null
            [{"op":"replace","path":"/percentComplete","value":50}]
                =
            [{"op":"replace","path":"/launched","value":"1970-01-01T01:00:10.000+01:00"}]
                =
            [{"op":"replace","path":"/description","value":"x"},{"op":"replace","path":"/description","value":"what it does"}]
                =
        "#]],
    );
}

#[test]
fn a_completed_task() {
    check(
        &completed_task(),
        &[
            // It can be annotated,
            r#"[{"op":"replace","path":"/description","value":"x"}]"#,
            r#"[{"op":"add","path":"/messages/-","value":{"key":"x"}}]"#,
            r#"[{"op":"remove","path":"/returns/0"}]"#,
            r#"[{"op":"add","path":"/attributes/x","value":1}]"#,
            r#"[{"op":"remove","path":"/attributes"}]"#,
            // and completed once more as it is,
            r#"[{"op":"replace","path":"/completionStatus","value":"success"}]"#,
            r#"[{"op":"replace","path":"/completionStatus","value":"Success"},{"op":"add","path":"/attributes/x","value":1}]"#,
            r#"[{"op":"replace","path":"/completed","value":"1970-01-01T00:00:30.000Z"}]"#,
            // but not otherwise.
            r#"[{"op":"replace","path":"/completionStatus","value":"Error"}]"#,
            r#"[{"op":"remove","path":"/completionStatus"}]"#,
            r#"[{"op":"remove","path":"/completionStatus"},{"op":"remove","path":"/completed"}]"#,
            r#"[{"op":"remove","path":"/completed"}]"#,
            r#"[{"op":"replace","path":"/completed","value":"1970-01-01T00:00:31Z"}]"#,
            r#"[{"op":"replace","path":"/completed","value":"1970-01-01T00:00:01Z"}]"#,
            r#"[{"op":"replace","path":"/launched","value":"1970-01-01T00:00:11Z"}]"#,
            r#"[{"op":"replace","path":"/launched","value":"1970-01-01T00:00:31Z"}]"#,
            r#"[{"op":"replace","path":"/progress","value":"done"}]"#,
            r#"[{"op":"replace","path":"/percentComplete","value":99}]"#,
            r#"[{"op":"add","path":"/attributes/x","value":1},{"op":"replace","path":"/progress","value":"done"}]"#,
            r#"[{"op":"replace","path":"/progress","value":"done"},{"op":"replace","path":"/progress","value":"half"}]"#,
        ],
        expect![[r#"
            [{"op":"replace","path":"/description","value":"x"}]
                TASK_UPDATED: description "x"
            [{"op":"add","path":"/messages/-","value":{"key":"x"}}]
                TASK_UPDATED: messages [{"key":"greeting","localizedText":{"locale":"en","message":"hello"},"parameters":[1],"type":"INFO"},{"key":"x","localizedText":null,"parameters":[],"type":null}]
            [{"op":"remove","path":"/returns/0"}]
                TASK_UPDATED: returns []
            [{"op":"add","path":"/attributes/x","value":1}]
                TASK_UPDATED: attributes {"bolts":[1,2,3],"torque":12.5,"x":1}
            [{"op":"remove","path":"/attributes"}]
                TASK_UPDATED: attributes {}
            [{"op":"replace","path":"/completionStatus","value":"success"}]
                =
            [{"op":"replace","path":"/completionStatus","value":"Success"},{"op":"add","path":"/attributes/x","value":1}]
                TASK_UPDATED: attributes {"bolts":[1,2,3],"torque":12.5,"x":1}
            [{"op":"replace","path":"/completed","value":"1970-01-01T00:00:30.000Z"}]
                =
            [{"op":"replace","path":"/completionStatus","value":"Error"}]
                ! TASK_ALREADY_CLOSED
            [{"op":"remove","path":"/completionStatus"}]
                ! TASK_ALREADY_CLOSED
            [{"op":"remove","path":"/completionStatus"},{"op":"remove","path":"/completed"}]
                ! TASK_ALREADY_CLOSED
            [{"op":"remove","path":"/completed"}]
                ! TASK_ALREADY_CLOSED
            [{"op":"replace","path":"/completed","value":"1970-01-01T00:00:31Z"}]
                ! TASK_ALREADY_CLOSED
            [{"op":"replace","path":"/completed","value":"1970-01-01T00:00:01Z"}]
                ! TASK_ALREADY_CLOSED
            [{"op":"replace","path":"/launched","value":"1970-01-01T00:00:11Z"}]
                ! TASK_ALREADY_CLOSED
            [{"op":"replace","path":"/launched","value":"1970-01-01T00:00:31Z"}]
                ! TASK_ALREADY_CLOSED
            [{"op":"replace","path":"/progress","value":"done"}]
                ! TASK_ALREADY_CLOSED
            [{"op":"replace","path":"/percentComplete","value":99}]
                ! TASK_ALREADY_CLOSED
            [{"op":"add","path":"/attributes/x","value":1},{"op":"replace","path":"/progress","value":"done"}]
                ! TASK_ALREADY_CLOSED
            [{"op":"replace","path":"/progress","value":"done"},{"op":"replace","path":"/progress","value":"half"}]
                =
        "#]],
    );
}

/// A clock behind that of whoever launched it ended it: that is no reason not to annotate it.
#[test]
fn a_task_that_the_server_ended_before_it_was_launched() {
    let task = TaskStatus { launched: Some(at(31)), ..completed_task() };
    check(
        &task,
        &[
            r#"[{"op":"replace","path":"/description","value":"x"}]"#,
            r#"[{"op":"replace","path":"/launched","value":"1970-01-01T00:00:32Z"}]"#,
        ],
        expect![[r#"
            [{"op":"replace","path":"/description","value":"x"}]
                TASK_UPDATED: description "x"
            [{"op":"replace","path":"/launched","value":"1970-01-01T00:00:32Z"}]
                ! TASK_ALREADY_CLOSED
        "#]],
    );
}

/// A patch that leaves the form as it is changes nothing, also where a value came without a kind, which stands for null.
#[test]
fn a_value_of_no_kind_is_not_touched() {
    let nothing = Value { kind: None };
    let fields = BTreeMap::from([("a".to_owned(), nothing.clone())]);
    let mut task = TaskStatus { attributes: Some(Struct { fields }.into()), ..open_task() };
    task.messages[0].parameters = vec![nothing];
    let same = r#"[{"op":"test","path":"/attributes/a","value":null},{"op":"add","path":"/attributes/a","value":null}]"#;
    let decision = decide(task.clone(), operations(same)).unwrap();
    assert_eq!((decision.events, &decision.state.tasks["task_1"]), (vec![], &task));
}

#[test]
fn etags() {
    let mut table = String::new();
    for (etag, task_id) in [(None, "task_1"), (Some("r7"), "task_1"), (Some("r6"), "task_1"), (None, "none")]
    {
        let existing = Existing::Job(Box::new(with_task(open_task())));
        let operations = operations(r#"[{"op":"replace","path":"/description","value":"x"}]"#);
        let command = UpdateTask { task_id: task_id.to_owned(), operations, etag: etag.map(str::to_owned) };
        let outcome = match command.decide(existing, &context(NOW)) {
            Err(rejection) => format!("{rejection:?}"),
            Ok(decision) => {
                let task = decision.reply.task.unwrap();
                format!("{} at {}", task.etag, task.modified.unwrap().seconds)
            }
        };
        table.push_str(&format!("{etag:?} {task_id}: {outcome}\n"));
    }
    let command = UpdateTask { task_id: "task_1".to_owned(), operations: Vec::new(), etag: None };
    for existing in [Existing::Nothing, Existing::Deleted { job_id: "job".to_owned() }] {
        let outcome = command.decide(existing, &context(NOW)).unwrap_err();
        table.push_str(&format!("no job: {outcome:?}\n"));
    }
    expect![[r#"
        None task_1: r8 at 100
        Some("r7") task_1: r8 at 100
        Some("r6") task_1: EtagMismatch { etag: "r7" }
        None none: TaskNotFound
        no job: TaskNotFound
        no job: TaskNotFound
    "#]]
    .assert_eq(&table);
}

/// Limits that a test can reach.
fn small() -> Context {
    let limits = Limits { text_characters: 5, document_bytes: 200, document_levels: 3, ..Limits::default() };
    Context { limits, ..context(NOW) }
}

#[test]
fn limits_are_checked_after_every_operation() {
    let large = "x".repeat(250);
    let put = |path: &str, value: &str| format!(r#"{{"op":"add","path":"{path}","value":{value}}}"#);
    let rows: Vec<(&str, Vec<String>)> = vec![
        ("a text", vec![put("/description", r#""éèêëē""#)]),
        ("a text too long", vec![put("/description", r#""123456""#)]),
        ("both texts too long", vec![put("/description", r#""123456""#), put("/progress", r#""123456""#)]),
        (
            "a text too long only in between",
            vec![put("/description", r#""123456""#), put("/description", r#""12345""#)],
        ),
        ("three levels", vec![put("/attributes/a", r#"{"b":{}}"#)]),
        ("four levels", vec![put("/attributes/a", r#"{"b":{"c":[]}}"#)]),
        (
            "four levels only in between",
            vec![
                put("/attributes/a", r#"{"b":{"c":[]}}"#),
                r#"{"op":"remove","path":"/attributes/a"}"#.into(),
            ],
        ),
        (
            "four levels by a copy",
            vec![
                put("/attributes", r#"{"a":{}}"#),
                r#"{"op":"copy","from":"/attributes","path":"/attributes/a/b"}"#.into(),
            ],
        ),
        (
            "four levels by a move",
            vec![
                put("/attributes", r#"{"a":{"b":{}},"c":{"d":{}}}"#),
                r#"{"op":"move","from":"/attributes/a","path":"/attributes/c/d/e"}"#.into(),
            ],
        ),
        ("parameters of two levels", vec![put("/messages/0/parameters", r#"[{"a":[]}]"#)]),
        ("parameters of three levels", vec![put("/messages/0/parameters", r#"[{"a":[[]]}]"#)]),
        ("too large a value", vec![put("/attributes/a", &format!("\"{large}\""))]),
        ("too large a text for free data", vec![put("/description", &format!("\"{large}\""))]),
        (
            "too large only in between",
            vec![
                put("/attributes/a", &format!("\"{large}\"")),
                r#"{"op":"remove","path":"/attributes/a"}"#.into(),
            ],
        ),
        (
            "too many messages",
            vec![
                put("/messages/-", "{}"),
                put("/messages/-", r#"{"key":"x"}"#),
                put("/messages/-", &format!(r#"{{"key":"{large}"}}"#)),
            ],
        ),
    ];
    let mut table = String::new();
    for (name, operations_of_row) in rows {
        let patch = format!("[{}]", operations_of_row.join(","));
        let state = with_task(TaskStatus { attributes: None, description: text("it"), ..open_task() });
        let outcome = match decide_in(state, operations(&patch), &small()) {
            Err(rejection) => refusal_words(rejection),
            Ok(decision) => event_words(&decision.events),
        };
        table.push_str(&format!("{name}: {outcome}\n"));
    }
    expect![[r#"
        a text: TASK_UPDATED
        a text too long: ! invalid: description is longer than 5 characters
        both texts too long: ! invalid: description is longer than 5 characters; progress is longer than 5 characters
        a text too long only in between: TASK_UPDATED
        three levels: TASK_UPDATED
        four levels: ! invalid: operations[0] makes attributes, which is more than 3 levels deep
        four levels only in between: ! invalid: operations[0] makes attributes, which is more than 3 levels deep
        four levels by a copy: ! invalid: operations[1] makes attributes, which is more than 3 levels deep
        four levels by a move: ! invalid: operations[1] makes attributes, which is more than 3 levels deep
        parameters of two levels: TASK_UPDATED
        parameters of three levels: ! invalid: operations[0] makes messages, which is more than 3 levels deep
        too large a value: ! invalid: operations[0] makes attributes, which is larger than 200 bytes
        too large a text for free data: ! invalid: operations[0] makes description, which is larger than 200 bytes
        too large only in between: ! invalid: operations[0] makes attributes, which is larger than 200 bytes
        too many messages: ! invalid: operations[2] makes messages, which is larger than 200 bytes
    "#]].assert_eq(&table);
}

/// What is larger than it may be, since the limit was another when it was made, can be looked at and made smaller.
#[test]
fn a_task_over_the_limits_can_be_read_and_made_smaller() {
    let long = json!({ "a": "x".repeat(250), "b": { "c": { "d": [1] } }, "e": 1 });
    let rows = [
        r#"[{"op":"test","path":"/attributes/e","value":1}]"#,
        r#"[{"op":"remove","path":"/attributes/e"}]"#,
        r#"[{"op":"remove","path":"/attributes/a"},{"op":"remove","path":"/attributes/b"}]"#,
        r#"[{"op":"replace","path":"/progress","value":"x"}]"#,
        r#"[{"op":"replace","path":"/description","value":"x"}]"#,
        r#"[{"op":"replace","path":"/description","value":"123456"}]"#,
        r#"[{"op":"replace","path":"/attributes/e","value":2}]"#,
    ];
    let mut table = String::new();
    for patch in rows {
        let task = TaskStatus { attributes: attributes(&long), ..open_task() };
        let outcome = match decide_in(with_task(task), operations(patch), &small()) {
            Err(rejection) => refusal_words(rejection),
            Ok(decision) => event_words(&decision.events),
        };
        table.push_str(&format!("{patch}\n    {outcome}\n"));
    }
    expect![[r#"
        [{"op":"test","path":"/attributes/e","value":1}]
            -
        [{"op":"remove","path":"/attributes/e"}]
            TASK_UPDATED
        [{"op":"remove","path":"/attributes/a"},{"op":"remove","path":"/attributes/b"}]
            TASK_UPDATED
        [{"op":"replace","path":"/progress","value":"x"}]
            TASK_UPDATED
        [{"op":"replace","path":"/description","value":"x"}]
            TASK_UPDATED
        [{"op":"replace","path":"/description","value":"123456"}]
            ! invalid: description is longer than 5 characters
        [{"op":"replace","path":"/attributes/e","value":2}]
            ! invalid: operations[0] makes attributes, which is more than 3 levels deep
    "#]]
    .assert_eq(&table);
}

/// A patch of 100 operations each of which doubles what is there ends at the first that passes the limit, long before it
/// would fill the memory.
#[test]
fn doubling_is_stopped_early() {
    let double = |n: usize| {
        [
            json!({ "op": "copy", "from": "/attributes", "path": format!("/attributes/a{n}") }),
            json!({ "op": "copy", "from": "/attributes/list", "path": "/attributes/list/-" }),
        ]
    };
    let deep: Vec<_> = (0..50).flat_map(double).collect();
    let wide: Vec<_> = (0..100)
        .map(|n| match n % 2 {
            0 => json!({ "op": "copy", "from": "/attributes/list", "path": format!("/attributes/x{n}") }),
            _ => json!({ "op": "move", "from": format!("/attributes/x{}", n - 1), "path": "/attributes/list/-" }),
        })
        .collect();
    let start = json!({ "list": ["x".repeat(1000)] });
    let mut table = String::new();
    for (name, patch) in [("deep", deep), ("wide", wide)] {
        let task = TaskStatus { attributes: attributes(&start), ..open_task() };
        let outcome = decide(task, operations(&json!(patch).to_string()));
        table.push_str(&format!("{name}: {}\n", refusal_words(outcome.unwrap_err())));
    }
    expect![[r#"
        deep: ! invalid: operations[12] makes attributes, which is larger than 262144 bytes
        wide: ! invalid: operations[16] makes attributes, which is larger than 262144 bytes
    "#]]
    .assert_eq(&table);
}

/// A job of two steps, the first of them AUTOMATIC and current, its work done by `task_1`.
fn with_step(status: StepStatus, proceed_to_next: bool) -> (JobState, Context) {
    let first = StepDefinition {
        step_id: "a".to_owned(),
        kind: StepKind::Automatic.into(),
        proceed_to_next,
        paths: vec![Path { next_step_id: "b".to_owned(), ..Path::default() }],
        ..StepDefinition::default()
    };
    let second = StepDefinition { step_id: "b".to_owned(), ..StepDefinition::default() };
    let definition = Arc::new(Definition::new(Workflow {
        workflow_id: "flow".to_owned(),
        version_id: "1".to_owned(),
        start_step_ids: vec!["a".to_owned()],
        steps: vec![first, second],
        ..Workflow::default()
    }));
    let mut state = with_task(TaskStatus { step_id: "a".to_owned(), ..open_task() });
    let steps = definition.steps("job", at(0)).into_iter();
    state.steps = steps.map(|step| (step.step_id.clone(), step)).collect();
    let step = state.steps.get_mut("a").unwrap();
    step.set_status(status);
    step.task_id = "task_1".to_owned();
    let current = if step.is_open() { "a" } else { "b" };
    state.job.workflow = Some(definition.reference());
    state.job.current_step_ids = vec![current.to_owned()];
    (state, Context { workflow: Some(definition), ..context(NOW) })
}

fn step_word(step: &Step) -> &'static str {
    step.status().as_str_name().trim_start_matches("STEP_STATUS_")
}

/// What a completion does to the step, the current steps and the job.
fn completed(state: JobState, word: &str, context: &Context) -> String {
    let patch = json!([{ "op": "replace", "path": "/completionStatus", "value": word }]);
    let decision = decide_in(state, operations(&patch.to_string()), context).unwrap();
    let state = &decision.state;
    let status = state.job.status().as_str_name().trim_start_matches("JOB_STATUS_");
    let current = state.job.current_step_ids.join(",");
    let step = state.steps.get("a").map_or("-", step_word);
    format!("{step}, current {current}, {status} [{}]", event_words(&decision.events))
}

#[test]
fn a_step_follows_its_task() {
    let mut table = String::new();
    for (_, word) in form::COMPLETIONS {
        for proceed_to_next in [false, true] {
            let (state, context) = with_step(StepStatus::Running, proceed_to_next);
            let going_on = if proceed_to_next { "proceed" } else { "" };
            table.push_str(&format!("{word:<11}{going_on:<9}{}\n", completed(state, word, &context)));
        }
    }
    expect![[r#"
        Success             EXECUTED, current a, ACTIVE [TASK_COMPLETED STEP_EXECUTED]
        Success    proceed  FINISHED, current b, ACTIVE [TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED]
        Warning             EXECUTED, current a, ACTIVE [TASK_COMPLETED STEP_EXECUTED]
        Warning    proceed  FINISHED, current b, ACTIVE [TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED]
        Error               ERROR, current a, ACTIVE [TASK_COMPLETED STEP_ERROR]
        Error      proceed  ERROR, current a, ACTIVE [TASK_COMPLETED STEP_ERROR]
        Terminated          ERROR, current a, ACTIVE [TASK_COMPLETED STEP_ERROR]
        Terminated proceed  ERROR, current a, ACTIVE [TASK_COMPLETED STEP_ERROR]
        TempError           ERROR, current a, ACTIVE [TASK_COMPLETED STEP_ERROR]
        TempError  proceed  ERROR, current a, ACTIVE [TASK_COMPLETED STEP_ERROR]
    "#]].assert_eq(&table);
}

#[test]
fn a_step_that_is_not_running_for_the_task_does_not_follow_it() {
    type Change = fn(&mut JobState);

    let mut table = String::new();
    for status in [
        StepStatus::Pending,
        StepStatus::Ready,
        StepStatus::WaitingForInfo,
        StepStatus::Executed,
        StepStatus::Paused,
        StepStatus::Cancelled,
        StepStatus::Finished,
        StepStatus::Skipped,
        StepStatus::Error,
    ] {
        for word in ["Success", "Error"] {
            let (state, context) = with_step(status, true);
            let was = step_word(&state.steps["a"]);
            table.push_str(&format!("{was:<17}{word:<8}{}\n", completed(state, word, &context)));
        }
    }
    let situations: [(&str, Change); 4] = [
        ("a newer task", |state| {
            let newer =
                TaskStatus { id: "task_2".to_owned(), step_id: "a".to_owned(), ..TaskStatus::default() };
            state.tasks.insert(newer.id.clone(), newer);
            state.steps.get_mut("a").unwrap().task_id = "task_2".to_owned();
        }),
        ("no task any more", |state| state.steps.get_mut("a").unwrap().task_id.clear()),
        ("the step is gone", |state| {
            state.steps.remove("a");
        }),
        ("the job is closed", |state| state.job.closed = true),
    ];
    for (name, change) in situations {
        let (mut state, context) = with_step(StepStatus::Running, true);
        change(&mut state);
        table.push_str(&format!("{name:<25}{}\n", completed(state, "Success", &context)));
    }
    expect![[r#"
        PENDING          Success PENDING, current b, ACTIVE [TASK_COMPLETED]
        PENDING          Error   PENDING, current b, ACTIVE [TASK_COMPLETED]
        READY            Success READY, current a, ACTIVE [TASK_COMPLETED]
        READY            Error   READY, current a, ACTIVE [TASK_COMPLETED]
        WAITING_FOR_INFO Success WAITING_FOR_INFO, current a, ACTIVE [TASK_COMPLETED]
        WAITING_FOR_INFO Error   WAITING_FOR_INFO, current a, ACTIVE [TASK_COMPLETED]
        EXECUTED         Success EXECUTED, current a, ACTIVE [TASK_COMPLETED]
        EXECUTED         Error   EXECUTED, current a, ACTIVE [TASK_COMPLETED]
        PAUSED           Success PAUSED, current a, ACTIVE [TASK_COMPLETED]
        PAUSED           Error   PAUSED, current a, ACTIVE [TASK_COMPLETED]
        CANCELLED        Success CANCELLED, current a, ACTIVE [TASK_COMPLETED]
        CANCELLED        Error   CANCELLED, current a, ACTIVE [TASK_COMPLETED]
        FINISHED         Success FINISHED, current b, ACTIVE [TASK_COMPLETED]
        FINISHED         Error   FINISHED, current b, ACTIVE [TASK_COMPLETED]
        SKIPPED          Success SKIPPED, current b, ACTIVE [TASK_COMPLETED]
        SKIPPED          Error   SKIPPED, current b, ACTIVE [TASK_COMPLETED]
        ERROR            Success ERROR, current a, ACTIVE [TASK_COMPLETED]
        ERROR            Error   ERROR, current a, ACTIVE [TASK_COMPLETED]
        a newer task             RUNNING, current a, ACTIVE [TASK_COMPLETED]
        no task any more         RUNNING, current a, ACTIVE [TASK_COMPLETED]
        the step is gone         -, current a, ACTIVE [TASK_COMPLETED]
        the job is closed        RUNNING, current a, ACTIVE [TASK_COMPLETED]
    "#]]
    .assert_eq(&table);
}

/// An annotation, and a word that is there already, do not move the step.
#[test]
fn only_the_end_moves_the_step() {
    let (state, context) = with_step(StepStatus::Running, true);
    let under_way = operations(r#"[{"op":"replace","path":"/percentComplete","value":99}]"#);
    let decision = decide_in(state, under_way, &context).unwrap();
    assert_eq!(event_words(&decision.events), "TASK_UPDATED");
    let (mut state, context) = with_step(StepStatus::Running, true);
    let task = TaskStatus { step_id: "a".to_owned(), ..completed_task() };
    state.tasks.insert(task.id.clone(), task);
    let annotated = operations(
        r#"[{"op":"replace","path":"/completionStatus","value":"Success"},{"op":"remove","path":"/returns"}]"#,
    );
    let decision = decide_in(state, annotated, &context).unwrap();
    assert_eq!(event_words(&decision.events), "TASK_UPDATED");
}

fn any_operation() -> impl Strategy<Value = Json> {
    let writable = vec![
        "/attributes",
        "/attributes/a",
        "/attributes/bolts",
        "/attributes/bolts/0",
        "/attributes/bolts/3",
        "/attributes/bolts/-",
        "/attributes/a/b",
        "/description",
        "/progress",
        "/percentComplete",
        "/messages",
        "/messages/0",
        "/messages/-",
        "/messages/0/key",
        "/messages/0/parameters/-",
        "/returns/0",
        "/returns/0/name",
        "/launched",
        "/completed",
        "/completionStatus",
    ];
    let readable =
        [vec!["", "/id", "/uniqueName", "/parentName", "/created", "/none"], writable.clone()].concat();
    let values = vec![
        Json::Null,
        json!(1),
        json!(50.0),
        json!("text"),
        json!("success"),
        json!("1970-01-01T00:00:12.5Z"),
        json!([]),
        json!([1, 2, 3]),
        json!({}),
        json!({ "b": { "c": 1 } }),
        json!({ "key": "x" }),
        json!({ "name": "x" }),
    ];
    let (path, from) = (prop::sample::select(writable), prop::sample::select(readable));
    let ops = prop::sample::select(vec!["add", "remove", "replace", "move", "copy", "test"]);
    (ops, path, from, prop::sample::select(values)).prop_map(|(op, path, from, value)| match op {
        "test" => json!({ "op": op, "path": from, "value": value }),
        "move" if !from.starts_with("/attributes") => json!({ "op": "copy", "from": from, "path": path }),
        _ => json!({ "op": op, "path": path, "from": from, "value": value }),
    })
}

/// The form after the operations, by the library alone; or which of them it refuses. Members that are taken away are put
/// back, not set.
fn by_the_library(task: &TaskStatus, operations: &[PatchOperation]) -> Result<Json, usize> {
    let mut document = form::of_task(task);
    for (index, operation) in operations.iter().enumerate() {
        json_patch::patch(&mut document, std::slice::from_ref(operation)).map_err(|_| index)?;
        let members = document.as_object_mut().unwrap();
        for member in form::WRITABLE {
            members.entry(member).or_insert_with(|| form::unset(member));
        }
    }
    Ok(document)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// What is accepted is what the library makes of the form, and told if it is another; what is refused is what the
    /// library refuses, or no task.
    #[test]
    fn patches_are_the_librarys(
        is_open in any::<bool>(),
        patch in prop::collection::vec(any_operation(), 0..5),
    ) {
        let task = if is_open { open_task() } else { completed_task() };
        let operations = operations(&json!(patch).to_string());
        let expected = by_the_library(&task, &operations);
        match decide(task.clone(), operations) {
            Err(Rejection::PatchTestFailed { index } | Rejection::PatchTargetMissing { index }) => {
                prop_assert_eq!(expected, Err(index));
            }
            Err(Rejection::TaskInvalid(faults)) => match expected {
                // Moved into itself.
                Err(index) => prop_assert_eq!(&faults[0].0, &format!("operations[{index}]")),
                // Made into what is no task.
                Ok(form) => {
                    let mut wanted = task.clone();
                    let is_read = form::into_task(&form, &mut wanted).is_ok();
                    let is_open = wanted.completion_status() == CompletionStatus::Unspecified;
                    let has_wrong_times = match wanted.completed {
                        Some(_) if is_open => true,
                        Some(completed) => wanted.launched.is_some_and(|it| it.seconds > completed.seconds),
                        None => !is_open && wanted.launched.is_some_and(|it| it.seconds > NOW),
                    };
                    prop_assert!(!is_read || has_wrong_times, "{faults:?}");
                }
            },
            Err(Rejection::TaskAlreadyClosed { .. }) => prop_assert!(!is_open && expected.is_ok()),
            Err(other) => prop_assert!(false, "{other}"),
            Ok(decision) => {
                let mut wanted = task.clone();
                form::into_task(&expected.unwrap(), &mut wanted).unwrap();
                if wanted.completion_status() != CompletionStatus::Unspecified && wanted.completed.is_none() {
                    wanted.completed = Some(at(NOW));
                }
                let is_changed = form::of_task(&wanted) != form::of_task(&task);
                prop_assert_eq!(decision.events.len(), usize::from(is_changed));
                if let [event] = decision.events.as_slice() {
                    let ends = is_open && wanted.completion_status() != CompletionStatus::Unspecified;
                    let kind = if ends { JobEventType::TaskCompleted } else { JobEventType::TaskUpdated };
                    prop_assert_eq!(event.r#type(), kind);
                    wanted.modified = Some(at(NOW));
                    wanted.etag = "r8".to_owned();
                }
                prop_assert_eq!(&decision.state.tasks["task_1"], &wanted);
            }
        }
    }
}
