//! Each field of a filter, alone and together, over jobs and over events.

use prost_types::{Struct, Value};

use super::Filter;
use crate::{
    domain::{Expression, fixtures::at, summary},
    proto::v1::{
        Assignee, Job, JobEvent, JobEventType, JobFilter, JobStatus, Step, WorkflowReference, assignee::Kind,
    },
};

fn user(id: &str) -> Assignee {
    Assignee { kind: Kind::User.into(), id: id.to_owned() }
}

fn group(id: &str) -> Assignee {
    Assignee { kind: Kind::Group.into(), id: id.to_owned() }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The job that the rows are about, at 10 by the server's clock.
fn job() -> Job {
    let mut job = Job {
        job_id: "job_1".to_owned(),
        client_job_id: "client".to_owned(),
        title: Some("Weld".to_owned()),
        team: Some("red".to_owned()),
        user_id: Some("ann".to_owned()),
        workflow: Some(WorkflowReference { workflow_id: "weld".to_owned(), ..WorkflowReference::default() }),
        assignee: Some(user("bob")),
        metadata: Some(
            Struct { fields: [("site".to_owned(), Value::from("north".to_owned()))].into() }.into(),
        ),
        current_step_ids: texts(&["s1", "s2"]),
        priority: 7,
        create_time: Some(at(10)),
        ..Job::default()
    };
    job.set_status(JobStatus::Active);
    job
}

/// An event that took the job from one state to another.
fn event(before: Option<&Job>, after: &Job) -> JobEvent {
    let mut event = JobEvent {
        job_id: after.job_id.clone(),
        revision: 3,
        summary: Some(summary(after)),
        previous_summary: before.map(summary),
        step: Some(Step { step_id: "s1".to_owned(), ..Step::default() }.into()),
        ..JobEvent::default()
    };
    event.set_type(JobEventType::ReportRecorded);
    event
}

fn filter(wanted: JobFilter) -> Filter {
    let compile = |source: &str| Expression::compile(source, &["job", "event"]).unwrap();
    let expression = (!wanted.expression.is_empty()).then(|| compile(&wanted.expression));
    Filter::new(wanted, Vec::new(), expression)
}

/// Whether the filter matches the job, and an event that left the job as it is.
#[track_caller]
fn check(expected: bool, wanted: JobFilter) {
    let filter = filter(wanted);
    assert_eq!(filter.matches_job(&job()), expected, "the job: {filter:?}");
    assert_eq!(filter.matches_event(&event(None, &job())), expected, "an event: {filter:?}");
}

/// A filter of one field.
macro_rules! of {
    ($($field:ident: $value:expr),*) => {
        JobFilter { $($field: $value,)* ..JobFilter::default() }
    };
}

#[test]
fn each_field_narrows() {
    let statuses =
        |statuses: &[JobStatus]| statuses.iter().map(|status| i32::from(*status)).collect::<Vec<_>>();

    check(true, of! {});
    check(true, of! { job_ids: texts(&["job_2", "job_1"]) });
    check(false, of! { job_ids: texts(&["job_2", "client"]) });
    check(true, of! { statuses: statuses(&[JobStatus::Paused, JobStatus::Active]) });
    check(false, of! { statuses: statuses(&[JobStatus::Paused]) });
    check(true, of! { closed: Some(false) });
    check(false, of! { closed: Some(true) });
    check(true, of! { teams: texts(&["blue", "red"]) });
    check(false, of! { teams: texts(&["blue", ""]) });
    check(true, of! { user_ids: texts(&["ann"]) });
    check(false, of! { user_ids: texts(&["bob"]) });
    check(true, of! { workflow_ids: texts(&["weld"]) });
    check(false, of! { workflow_ids: texts(&["paint"]) });
    check(true, of! { assignees: vec![group("welders"), user("bob")] });
    check(false, of! { assignees: vec![group("bob"), user("ann")] });
    check(true, of! { create_time_from: Some(at(10)) });
    check(false, of! { create_time_from: Some(at(11)) });
    check(true, of! { create_time_before: Some(at(11)) });
    check(false, of! { create_time_before: Some(at(10)) });
}

#[test]
fn fields_narrow_together() {
    check(true, of! { teams: texts(&["red"]), user_ids: texts(&["ann"]), closed: Some(false) });
    check(false, of! { teams: texts(&["red"]), user_ids: texts(&["bob"]) });
    check(true, of! { create_time_from: Some(at(10)), create_time_before: Some(at(11)) });
    check(true, of! { teams: texts(&["red"]), expression: "job.user_id == 'ann'".to_owned() });
    check(false, of! { teams: texts(&["blue"]), expression: "true".to_owned() });
    check(false, of! { teams: texts(&["red"]), expression: "false".to_owned() });
}

/// A job without a value is found by the empty text, and by no other.
#[test]
fn what_is_not_set_is_empty() {
    let bare = Job { create_time: Some(at(10)), ..Job::default() };
    let matches = |wanted| filter(wanted).matches_job(&bare);
    assert!(matches(of! { teams: texts(&[""]), user_ids: texts(&[""]), workflow_ids: texts(&[""]) }));
    assert!(!matches(of! { teams: texts(&["red"]) }));
    assert!(!matches(of! { assignees: vec![user("")] }));
}

/// What an expression sees of a job and of an event.
#[test]
fn expressions_read_the_job() {
    let expression = |source: &str| of! { expression: source.to_owned() };
    let both = [
        "job.job_id == 'job_1' && job.client_job_id == 'client'",
        "job.status == 'ACTIVE' && !job.closed",
        "job.team == 'red' && job.user_id == 'ann' && job.workflow_id == 'weld'",
        "job.assignees.exists(a, a.kind == 'USER' && a.id == 'bob')",
        "job.create_time < '1970-01-01T00:00:11Z'",
    ];
    for source in both {
        check(true, expression(source));
    }
    check(false, expression("job.team == 'blue'"));
    check(false, expression("job.no_such_field == 'x'"));
    check(false, expression("job.team"));

    // A list has the whole job; at an event there is its summary.
    let list_only = [
        "job.title == 'Weld' && job.priority > 6",
        "job.metadata.site == 'north'",
        "'s2' in job.current_step_ids",
        "!has(job.due_time)",
    ];
    for source in list_only {
        assert!(filter(expression(source)).matches_job(&job()), "{source}");
    }
    assert!(!filter(expression(list_only[0])).matches_event(&event(None, &job())));

    let event_only = ["event.type == 'REPORT_RECORDED' && event.revision == 3", "event.step_id == 's1'"];
    for source in event_only {
        assert!(filter(expression(source)).matches_event(&event(None, &job())), "{source}");
        assert!(!filter(expression(source)).matches_job(&job()), "{source}");
    }
    let mut stepless = event(None, &job());
    stepless.step = None;
    assert!(!filter(expression("event.step_id == 's1'")).matches_event(&stepless));
    assert!(filter(expression("!has(event.step_id)")).matches_event(&stepless));
}

/// An event matches when its job matched before it or matches after it, each time as a whole.
#[test]
fn an_event_matches_before_or_after() {
    let red = job();
    let mut blue = Job { team: Some("blue".to_owned()), closed: true, ..job() };
    blue.set_status(JobStatus::Aborted);
    let matches = |wanted: JobFilter| filter(wanted).matches_event(&event(Some(&red), &blue));

    assert!(matches(of! { teams: texts(&["red"]) }), "the job leaves");
    assert!(matches(of! { teams: texts(&["blue"]) }), "the job comes");
    assert!(!matches(of! { teams: texts(&["green"]) }));
    assert!(matches(of! { teams: texts(&["red"]), closed: Some(false) }));
    assert!(!matches(of! { teams: texts(&["red"]), closed: Some(true) }), "never both at once");
    assert!(matches(of! { expression: "job.team == 'red' && event.revision == 3".to_owned() }));
    assert!(matches(of! { expression: "job.status == 'ABORTED'".to_owned() }));
    assert!(!matches(of! { teams: texts(&["red"]), expression: "job.status == 'ABORTED'".to_owned() }));
}

#[test]
fn a_filter_says_what_it_needs() {
    let ids = filter(of! { job_ids: texts(&["b", "a", "b"]) });
    assert_eq!(ids.job_ids().iter().map(String::as_str).collect::<Vec<_>>(), ["a", "b"]);
    assert!(!ids.has_expression());
    assert!(filter(of! { expression: "true".to_owned() }).has_expression());
    assert!(Filter::default().matches_job(&job()));
}
