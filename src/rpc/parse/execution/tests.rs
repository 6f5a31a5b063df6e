//! Executors' reports, as text: what is refused, with all that is wrong, and what is understood. Change it, run with
//! `UPDATE_EXPECT=1`, and review the diff.

use expect_test::{Expect, expect};
use prost_types::{ListValue, Struct, Timestamp, Value, value::Kind};
use tonic::Status;
use tonic_types::StatusExt as _;

use super::{report_task, report_workflow};
use crate::{
    config::Limits,
    domain::{Report, ReportTask, ReportWorkflow},
    proto::{
        Document,
        v1::{
            CompletionStatus, ExecutionStatus, Reporter, UpdateExecutionTaskStatusRequest as TaskRequest,
            UpdateExecutionWorkflowStatusRequest as WorkflowRequest,
        },
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

fn reporter() -> Reporter {
    Reporter { id: text("exe"), name: text(""), app_id: text("") }
}

fn task() -> TaskRequest {
    TaskRequest {
        workflow_instance_id: text("instance"),
        task_id: text("task"),
        job_id: text("job"),
        dispatch_id: text("dispatch"),
        attempt_id: Some(0),
        status: ExecutionStatus::Closed.into(),
        sequence_id: Some(0),
        state_name: text("Weld"),
        timestamp: Some(1),
        data: Some(Document::default()),
        meta: Some(Document::default()),
        updated_by: Some(reporter()),
        ..TaskRequest::default()
    }
}

fn workflow() -> WorkflowRequest {
    WorkflowRequest {
        workflow_instance_id: text("instance"),
        status: ExecutionStatus::Started.into(),
        timestamp: Some(1),
        dispatch_id: text("dispatch"),
        job_id: text("job"),
        attempt_id: Some(0),
        data: Some(Document::default()),
        meta: Some(Document::default()),
        code: text(""),
        updated_by: Some(reporter()),
        ..WorkflowRequest::default()
    }
}

fn of_task(request: TaskRequest) -> Result<ReportTask, Status> {
    report_task(&Limits::default(), request, |job_id, place, task_id| {
        format!("{job_id}/{}/{}/{task_id}", place.workflow_instance_id, place.attempt_id)
    })
}

fn of_workflow(request: WorkflowRequest) -> Result<ReportWorkflow, Status> {
    report_workflow(&Limits::default(), request)
}

#[track_caller]
fn check(refusals: impl IntoIterator<Item = Option<Status>>, expected: Expect) {
    let lines =
        refusals.into_iter().map(|refusal| refusal.map_or("taken".to_owned(), |status| line(&status)));
    expected.assert_eq(&lines.map(|line| line + "\n").collect::<String>());
}

#[track_caller]
fn check_task(change: impl FnOnce(&mut TaskRequest), expected: Expect) {
    let mut request = task();
    change(&mut request);
    check([of_task(request).err()], expected);
}

#[track_caller]
fn check_workflow(change: impl FnOnce(&mut WorkflowRequest), expected: Expect) {
    let mut request = workflow();
    change(&mut request);
    check([of_workflow(request).err()], expected);
}

/// Lists within lists in a member.
fn nested(levels: usize) -> Document {
    let list = |values| Value { kind: Some(Kind::ListValue(ListValue { values })) };
    let value = (2..levels).fold(list(Vec::new()), |value, _| list(vec![value]));
    Struct { fields: [("member".to_owned(), value)].into() }.into()
}

#[test]
fn what_is_missing_is_named_at_once() {
    check(
        [of_task(TaskRequest::default()).err()],
        expect![[r#"
        InvalidArgument FIELD_INVALID
            workflow_instance_id is required
            task_id is required
            job_id is required
            dispatch_id is required
            attempt_id is required
            status is required
            sequence_id is required
            state_name is required
            timestamp is required
            data is required
            meta is required
            updated_by is required
    "#]],
    );
    check(
        [of_workflow(WorkflowRequest::default()).err()],
        expect![[r#"
        InvalidArgument FIELD_INVALID
            workflow_instance_id is required
            job_id is required
            dispatch_id is required
            attempt_id is required
            status is required
            code is required
            timestamp is required
            data is required
            meta is required
            updated_by is required
    "#]],
    );
    let nobody = || Some(Reporter::default());
    check_task(
        |request| request.updated_by = nobody(),
        expect![[r#"
        InvalidArgument FIELD_INVALID
            updated_by.id is required
            updated_by.name is required
            updated_by.app_id is required
    "#]],
    );
    check_workflow(
        |request| request.updated_by = nobody(),
        expect![[r#"
        InvalidArgument FIELD_INVALID
            updated_by.id is required
            updated_by.name is required
            updated_by.app_id is required
    "#]],
    );
}

/// What is there and wrong, in every field.
#[test]
fn what_is_wrong_is_named_at_once() {
    let long = || Some("é".repeat(65));
    let reporter = || Some(Reporter { id: text(""), name: Some("é".repeat(257)), app_id: long() });
    let infinite: Document =
        Struct { fields: [("member".to_owned(), Value::from(f64::INFINITY))].into() }.into();
    let large: Document =
        Struct { fields: [("member".to_owned(), Value::from("x".repeat(256 << 10)))].into() }.into();
    let request = TaskRequest {
        workflow_instance_id: text(""),
        task_id: long(),
        job_id: text("a\0b"),
        dispatch_id: text("a\nb"),
        attempt_id: Some(-1),
        status: 3,
        sequence_id: Some(i64::MIN),
        state_name: Some("é".repeat(4097)),
        timestamp: Some(0),
        data: Some(nested(25)),
        meta: Some(infinite.clone()),
        updated_by: reporter(),
        event_meta: Some(large.clone()),
        completion_status: 6,
        request_id: "é".repeat(65),
        validate_only: true,
    };
    check(
        [of_task(request).err()],
        expect![[r#"
        InvalidArgument FIELD_INVALID
            workflow_instance_id is empty
            task_id is longer than 64 characters
            job_id has a control character
            dispatch_id has a control character
            attempt_id is less than 0
            status is not a value of ExecutionStatus
            sequence_id is less than 0
            state_name is longer than 4096 characters
            timestamp is less than 1
            data is more than 24 levels deep
            meta has a number that is not finite
            _event_meta is larger than 262144 bytes
            updated_by.id is empty
            updated_by.name is longer than 256 characters
            updated_by.app_id is longer than 64 characters
            completion_status is not a value of CompletionStatus
            request_id is longer than 64 characters
    "#]],
    );
    let request = WorkflowRequest {
        workflow_instance_id: long(),
        status: -1,
        timestamp: Some(-1),
        dispatch_id: text(""),
        job_id: long(),
        attempt_id: Some(-7),
        close_job: true,
        data: Some(large),
        meta: Some(nested(25)),
        code: Some("é".repeat(4097)),
        updated_by: reporter(),
        event_meta: Some(infinite),
        request_id: "a\u{7f}".to_owned(),
        validate_only: true,
    };
    check(
        [of_workflow(request).err()],
        expect![[r#"
        InvalidArgument FIELD_INVALID
            workflow_instance_id is longer than 64 characters
            job_id is longer than 64 characters
            dispatch_id is empty
            attempt_id is less than 0
            status is not a value of ExecutionStatus
            code is longer than 4096 characters
            timestamp is less than 1
            data is larger than 262144 bytes
            meta is more than 24 levels deep
            _event_meta has a number that is not finite
            updated_by.id is empty
            updated_by.name is longer than 256 characters
            updated_by.app_id is longer than 64 characters
            request_id has a control character
    "#]],
    );
}

/// The longest and the greatest of everything is taken.
#[test]
fn what_is_within_bounds_is_taken() {
    let longest = || Some("é".repeat(64));
    let by = || Some(Reporter { id: longest(), name: Some("é".repeat(256)), app_id: longest() });
    let request = TaskRequest {
        workflow_instance_id: longest(),
        task_id: longest(),
        job_id: longest(),
        dispatch_id: longest(),
        attempt_id: Some(i64::MAX),
        sequence_id: Some(i64::MAX),
        state_name: Some("é".repeat(4096)),
        timestamp: Some(253_402_300_799_999),
        data: Some(nested(24)),
        meta: Some(nested(24)),
        updated_by: by(),
        event_meta: Some(nested(24)),
        completion_status: CompletionStatus::TempError.into(),
        request_id: "é".repeat(64),
        ..task()
    };
    assert!(of_task(request).is_ok());
    let request = WorkflowRequest {
        workflow_instance_id: longest(),
        dispatch_id: longest(),
        job_id: longest(),
        attempt_id: Some(i64::MAX),
        timestamp: Some(253_402_300_799_999),
        data: Some(nested(24)),
        meta: Some(nested(24)),
        code: Some("é".repeat(4096)),
        updated_by: by(),
        event_meta: Some(nested(24)),
        request_id: "é".repeat(64),
        ..workflow()
    };
    assert!(of_workflow(request).is_ok());
}

#[test]
fn a_timestamp_is_milliseconds_after_1970_and_before_the_year_10000() {
    let refusals = |timestamp| {
        let of_task = of_task(TaskRequest { timestamp: Some(timestamp), ..task() });
        let of_workflow = of_workflow(WorkflowRequest { timestamp: Some(timestamp), ..workflow() });
        [of_task.err(), of_workflow.err()]
    };
    for taken in [1, 999, 1_000, 253_402_300_799_999] {
        assert!(refusals(taken).iter().all(Option::is_none), "{taken}");
    }
    let refused = [i64::MIN, -1, 0, 253_402_300_800_000, i64::MAX];
    check(
        refused.into_iter().flat_map(refusals),
        expect![[r#"
        InvalidArgument FIELD_INVALID
            timestamp is less than 1
        InvalidArgument FIELD_INVALID
            timestamp is less than 1
        InvalidArgument FIELD_INVALID
            timestamp is less than 1
        InvalidArgument FIELD_INVALID
            timestamp is less than 1
        InvalidArgument FIELD_INVALID
            timestamp is less than 1
        InvalidArgument FIELD_INVALID
            timestamp is less than 1
        InvalidArgument FIELD_INVALID
            timestamp is not a time before the year 10000
        InvalidArgument FIELD_INVALID
            timestamp is not a time before the year 10000
        InvalidArgument FIELD_INVALID
            timestamp is not a time before the year 10000
        InvalidArgument FIELD_INVALID
            timestamp is not a time before the year 10000
    "#]],
    );
    let time = |timestamp| of_task(TaskRequest { timestamp: Some(timestamp), ..task() }).unwrap().report.time;
    assert_eq!(time(1), Timestamp { seconds: 0, nanos: 1_000_000 });
    assert_eq!(time(1_700_000_000_123), Timestamp { seconds: 1_700_000_000, nanos: 123_000_000 });
    assert_eq!(time(253_402_300_799_999), Timestamp { seconds: 253_402_300_799, nanos: 999_000_000 });
}

/// How a task ended is said with CLOSED only, and is SUCCESS where it is not said.
#[test]
fn a_completion_status_goes_with_closed() {
    let outcome = |status: ExecutionStatus, completion_status: i32| {
        let request = TaskRequest { status: status.into(), completion_status, ..task() };
        match of_task(request) {
            Ok(command) => command.completion_status.as_str_name().to_owned(),
            Err(status) => line(&status),
        }
    };
    let mut table = String::new();
    for status in [ExecutionStatus::Started, ExecutionStatus::Closed] {
        for word in 0..7 {
            let outcome = outcome(status, word);
            table.push_str(&format!("{} {word}: {outcome}\n", status.as_str_name()));
        }
    }
    expect![[r#"
        EXECUTION_STATUS_STARTED 0: COMPLETION_STATUS_SUCCESS
        EXECUTION_STATUS_STARTED 1: InvalidArgument FIELD_INVALID
            completion_status is for CLOSED only
        EXECUTION_STATUS_STARTED 2: InvalidArgument FIELD_INVALID
            completion_status is for CLOSED only
        EXECUTION_STATUS_STARTED 3: InvalidArgument FIELD_INVALID
            completion_status is for CLOSED only
        EXECUTION_STATUS_STARTED 4: InvalidArgument FIELD_INVALID
            completion_status is for CLOSED only
        EXECUTION_STATUS_STARTED 5: InvalidArgument FIELD_INVALID
            completion_status is for CLOSED only
        EXECUTION_STATUS_STARTED 6: InvalidArgument FIELD_INVALID
            completion_status is not a value of CompletionStatus
        EXECUTION_STATUS_CLOSED 0: COMPLETION_STATUS_SUCCESS
        EXECUTION_STATUS_CLOSED 1: COMPLETION_STATUS_SUCCESS
        EXECUTION_STATUS_CLOSED 2: COMPLETION_STATUS_WARNING
        EXECUTION_STATUS_CLOSED 3: COMPLETION_STATUS_ERROR
        EXECUTION_STATUS_CLOSED 4: COMPLETION_STATUS_TERMINATED
        EXECUTION_STATUS_CLOSED 5: COMPLETION_STATUS_TEMP_ERROR
        EXECUTION_STATUS_CLOSED 6: InvalidArgument FIELD_INVALID
            completion_status is not a value of CompletionStatus
    "#]]
    .assert_eq(&table);
}

#[test]
fn what_is_understood() {
    let data: Document = Struct { fields: [("a".to_owned(), Value::from(1.0))].into() }.into();
    let meta: Document = Struct { fields: [("b".to_owned(), Value::from(2.0))].into() }.into();
    let event_meta: Option<Document> =
        Some(Struct { fields: [("c".to_owned(), Value::from(3.0))].into() }.into());
    let report = |status| Report {
        status,
        time: Timestamp { seconds: 7, nanos: 5_000_000 },
        data: data.clone(),
        meta: meta.clone(),
        updated_by: reporter(),
        event_meta: event_meta.clone(),
    };
    let place = crate::domain::Place {
        workflow_instance_id: "instance".to_owned(),
        attempt_id: 4,
        dispatch_id: "dispatch".to_owned(),
    };
    let request = TaskRequest {
        attempt_id: Some(4),
        sequence_id: Some(9),
        timestamp: Some(7_005),
        data: Some(data.clone()),
        meta: Some(meta.clone()),
        event_meta: event_meta.clone(),
        completion_status: CompletionStatus::Warning.into(),
        ..task()
    };
    let expected = ReportTask {
        job_id: "job".to_owned(),
        place: place.clone(),
        task_id: "task".to_owned(),
        derived_id: "job/instance/4/task".to_owned(),
        sequence_id: 9,
        state_name: "Weld".to_owned(),
        report: report(ExecutionStatus::Closed),
        completion_status: CompletionStatus::Warning,
    };
    assert_eq!(of_task(request).unwrap(), expected);

    let request = WorkflowRequest {
        attempt_id: Some(4),
        timestamp: Some(7_005),
        data: Some(data.clone()),
        meta: Some(meta.clone()),
        event_meta: event_meta.clone(),
        code: text("E7"),
        close_job: true,
        ..workflow()
    };
    let expected = ReportWorkflow {
        job_id: "job".to_owned(),
        place,
        report: report(ExecutionStatus::Started),
        code: "E7".to_owned(),
        close_job: true,
    };
    assert_eq!(of_workflow(request).unwrap(), expected);
}
