//! Workflows as text: what is wrong with one, and where its paths lead. Change them, run with `UPDATE_EXPECT=1`, and review
//! the diff.

use expect_test::{Expect, expect};
use prost_types::Value;

use super::{Definition, PublishWorkflow, faults};
use crate::{
    domain::fixtures::context,
    proto::v1::{Job, JobStatus, Path, Step, StepDefinition, StepJoin, StepKind, Workflow},
};

fn path(next_step_id: &str, condition: &str) -> Path {
    Path { next_step_id: next_step_id.to_owned(), condition: condition.to_owned(), label: None }
}

fn step(step_id: &str, paths: Vec<Path>) -> StepDefinition {
    StepDefinition { step_id: step_id.to_owned(), paths, ..StepDefinition::default() }
}

fn workflow(start_step_ids: &[&str], steps: Vec<StepDefinition>) -> Workflow {
    Workflow {
        workflow_id: "weld".to_owned(),
        start_step_ids: start_step_ids.iter().map(|id| (*id).to_owned()).collect(),
        steps,
        ..Workflow::default()
    }
}

/// A workflow of steps that all lead on as the text says: `a>b a>c b>a`.
fn drawn(paths: &str) -> Workflow {
    let mut workflow = workflow(&["a"], Vec::new());
    for (from, to) in paths.split_whitespace().map(|path| path.split_once('>').unwrap()) {
        for id in [from, to] {
            if workflow.steps.iter().all(|step| step.step_id != id) {
                workflow.steps.push(step(id, Vec::new()));
            }
        }
        workflow.steps.iter_mut().find(|step| step.step_id == from).unwrap().paths.push(path(to, ""));
    }
    workflow
}

#[track_caller]
fn check_faults(workflow: &Workflow, expected: Expect) {
    let lines = faults(workflow).into_iter().map(|(field, what)| format!("{field} {what}\n"));
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn every_fault_is_named_at_once() {
    let faulty = workflow(
        &["a", "gone", "a"],
        vec![
            step("a", vec![path("b", "answer =="), path("nowhere", "outcome == 'SKIPPED'")]),
            step("b", vec![path("a", "hold == 1"), path("b", "[1].map(n, n) == [1]")]),
            step("a", vec![path("gone", "visit < 2 && job.team == 'red' && answer == null")]),
        ],
    );
    check_faults(
        &faulty,
        expect![[r#"
        workflow.steps[2].step_id is that of steps[0] already
        workflow.start_step_ids[1] is "gone", and there is no such step
        workflow.start_step_ids[2] is there twice
        workflow.steps[0].paths[0].condition is not a CEL expression: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}
        workflow.steps[0].paths[1].next_step_id is "nowhere", and there is no such step
        workflow.steps[1].paths[0].condition reads "hold", which is not one of job, answer, outcome, visit
        workflow.steps[1].paths[1].condition has a macro that makes a list (map, filter); all, exists and exists_one do not
        workflow.steps[2].paths[0].next_step_id is "gone", and there is no such step
    "#]],
    );
    check_faults(
        &workflow(&[], Vec::new()),
        expect![[r#"
        workflow.steps is required
        workflow.start_step_ids is required
    "#]],
    );

    // So many conditions are not even compiled.
    let many = (0..1001).map(|index| path("a", &format!("visit == {index} &&"))).collect();
    check_faults(
        &workflow(&["a"], vec![step("a", many)]),
        expect![[r#"
        workflow.steps have 1001 conditions, more than 1000
    "#]],
    );

    let large = StepDefinition { title: Some("x".repeat(2 << 20)), ..step("a", Vec::new()) };
    check_faults(
        &workflow(&["a"], vec![large]),
        expect![[r#"
        workflow takes 2097174 bytes, more than 1048576
    "#]],
    );
    check_faults(&drawn("a>b b>a b>b"), expect![[""]]);
}

/// Where a step with a path for each condition leads, and what failed.
#[test]
fn conditions_say_where_a_step_leads() {
    let conditions = [
        ("always", ""),
        ("answered", "answer == 'yes'"),
        ("unanswered", "answer == null"),
        ("skipped", "outcome == 'SKIPPED'"),
        ("warned", "outcome == 'WARNING'"),
        ("once", "visit < 2"),
        ("red", "job.team == 'red'"),
        ("begun", "job.status == 'ACTIVE'"),
        ("tagged", "job.metadata.tag == 'x'"),
        ("no truth", "answer"),
    ];
    let paths = conditions.map(|(name, condition)| Path {
        label: (name == "tagged").then(|| "the tagged".to_owned()),
        ..path(name, condition)
    });
    let mut steps = vec![step("a", paths.to_vec())];
    steps.extend(conditions.map(|(name, _)| step(name, Vec::new())));
    let definition = Definition::new(workflow(&["a"], steps));

    let mut table = String::new();
    let mut follow = |name: &str, job: &Job, step: &Step, outcome: &str| {
        let followed = definition.follow(job, step, outcome);
        assert!(!followed.is_end);
        table.push_str(&format!("{name}: {}\n", followed.next.join(", ")));
        for failure in followed.failures {
            table.push_str(&format!("    {failure}\n"));
        }
    };
    let first = Step { step_id: "a".to_owned(), visit: 1, ..Step::default() };
    let mut job = Job { team: Some("red".to_owned()), ..Job::default() };
    follow("first", &job, &first, "FINISHED");
    job.set_status(JobStatus::Active);
    let tag = [("tag".to_owned(), Value::from("x".to_owned()))];
    job.metadata = Some(prost_types::Struct { fields: tag.into() }.into());
    follow("skipped", &job, &first, "SKIPPED");
    let answered = Step { visit: 2, answer: Some(Value::from("yes".to_owned())), ..first.clone() };
    follow("answered, again", &job, &answered, "FINISHED");
    let truth = Step { answer: Some(Value::from(true)), ..first };
    follow("a truth", &job, &truth, "WARNING");
    expect![[r#"
        first: always, unanswered, once, red
            the condition of the path to "tagged" (the tagged) failed: No such key: metadata
            the condition of the path to "no truth" failed: it gives neither true nor false
        skipped: always, unanswered, skipped, once, red, begun, tagged
            the condition of the path to "no truth" failed: it gives neither true nor false
        answered, again: always, answered, red, begun, tagged
            the condition of the path to "no truth" failed: it gives neither true nor false
        a truth: always, warned, once, red, begun, tagged, no truth
    "#]]
    .assert_eq(&table);
}

#[test]
fn a_step_is_led_to_once_and_the_last_leads_nowhere() {
    let twice = vec![path("b", ""), path("b", "visit == 1"), path("b", "visit == 2")];
    let definition = Definition::new(workflow(&["a"], vec![step("a", twice), step("b", Vec::new())]));
    let at = |step_id: &str| Step { step_id: step_id.to_owned(), visit: 1, ..Step::default() };
    assert_eq!(definition.follow(&Job::default(), &at("a"), "FINISHED").next, ["b"]);
    for ends in ["b", "unknown"] {
        let followed = definition.follow(&Job::default(), &at(ends), "FINISHED");
        assert!(followed.is_end && followed.next.is_empty(), "{ends}");
    }
}

#[test]
fn a_published_version_follows_on_the_newest() {
    let publish = |newest: Option<&Workflow>, wanted: Option<&str>| {
        let newest_version_id = wanted.map(str::to_owned);
        PublishWorkflow { workflow: drawn("a>b"), newest_version_id }.decide(newest, &context(7))
    };
    let (first, reply) = publish(None, None).unwrap();
    assert_eq!((first.version_id.as_str(), first.publish_time), ("1", Some(context(7).now)));
    assert_eq!(first.publisher, Some(context(7).actor));
    assert!(first.steps.iter().all(|step| step.kind() == StepKind::Manual && step.join() == StepJoin::All));
    assert_eq!(reply.workflow.unwrap(), Workflow { steps: Vec::new(), ..first.clone() });

    let ninth = Workflow { version_id: "9".to_owned(), ..first };
    assert_eq!(publish(Some(&ninth), Some("9")).unwrap().0.version_id, "10");
    assert!(publish(Some(&ninth), Some("8")).is_err(), "it has moved on");
    assert!(publish(None, Some("1")).is_err(), "it was never there");
    assert_eq!(publish(None, Some("")).unwrap().0.version_id, "1", "there must be none yet");
}

#[test]
fn paths_that_meet_are_joined() {
    let definition = Definition::new(drawn("a>b a>c b>d c>d d>e e>a"));
    let before = |step_id: &str, avoiding: Option<&str>| {
        let mut before: Vec<_> = definition.before(step_id, avoiding).into_iter().collect();
        before.sort_unstable();
        before.join(" ")
    };
    assert_eq!(before("d", None), "a b c d e", "all of a loop are before each of it");
    assert_eq!(before("d", Some("e")), "a b c", "not by way of where the loop closes");
    assert_eq!(before("d", Some("d")), "a b c e", "not by way of itself");
    assert_eq!(before("b", Some("a")), "");
    assert_eq!(before("unknown", None), "");
    for (step_id, joins) in [("a", false), ("b", false), ("d", true), ("e", false), ("unknown", false)] {
        assert_eq!(definition.joins(step_id), joins, "{step_id}");
    }

    let mut any = drawn("a>c b>c c>c");
    any.steps.iter_mut().find(|step| step.step_id == "c").unwrap().set_join(StepJoin::Any);
    assert!(!Definition::new(any).joins("c"), "any of them will do");
    assert!(!Definition::new(drawn("a>b a>b")).joins("b"), "two paths of one step do not meet");
}
