//! The rows of SPEC 3.2 that take more than one report to tell, each by a name. Change them, run with `UPDATE_EXPECT=1`, and
//! review the diff.

use expect_test::expect;

use super::kit::{
    Happens::{Abort, Close, CreateTask, OfTask, Overdue, Patch, Reopen, Run, RunUntil, Stop, Synced},
    Says, Story, check, closed, data, of_task, started, workflow_closed, workflow_started,
};
use crate::{
    domain::Limits,
    proto::{
        Document,
        v1::{CompletionStatus, JobStatus},
    },
};

#[test]
fn starts_and_ends_in_any_order() {
    check(
        Story::bare(),
        [
            ("start", started("a", 20).into()),
            ("again", started("a", 20).into()),
            ("end", closed("a", 40).into()),
            ("start again", started("a", 20).into()),
            ("end again", closed("a", 40).into()),
            ("end first", closed("b", 40).by("bob").into()),
            ("start by another", started("b", 40).into()),
            ("end again", closed("b", 40).by("bob").into()),
            ("an instant", started("c", 50).into()),
            ("is enough", closed("c", 50).into()),
        ],
        expect![[r#"
            start: RECORDED      JOB_UPDATED TASK_CREATED
                job ACTIVE
                attempt i/1 - .. {}
                1/a #0 STARTED 20.. S20 by exe
            again: UNCHANGED     -
            end: RECORDED      TASK_COMPLETED
                1/a #0 CLOSED 20..40 SUCCESS C40 by exe
            start again: UNCHANGED     -
            end again: UNCHANGED     -
            end first: RECORDED      TASK_CREATED TASK_COMPLETED
                1/b #1 CLOSED ..40 SUCCESS C40 by -,bob
            start by another: RECORDED      TASK_UPDATED
                1/b #1 CLOSED 40..40 SUCCESS C40 by exe,bob
            end again: UNCHANGED     -
            an instant: RECORDED      TASK_CREATED
                1/c #2 STARTED 50.. S50 by exe
            is enough: RECORDED      TASK_COMPLETED
                1/c #2 CLOSED 50..50 SUCCESS C50 by exe
        "#]],
    );
}

/// The first to say that a task started has claimed it: whoever has another id or another application is another.
#[test]
fn a_start_claims_the_task() {
    check(
        Story::bare(),
        [
            ("start", started("a", 20).into()),
            ("by eve", started("a", 20).by("eve").into()),
            ("by eve, earlier", started("a", 10).by("eve").into()),
            ("by another app", started("a", 20).reporter(|by| by.app_id = Some("other".to_owned())).into()),
            ("under another name", started("a", 30).reporter(|by| by.name = Some("Other".to_owned())).into()),
            ("eve ends it", closed("a", 40).by("eve").into()),
            ("eve started it", started("a", 20).by("eve").into()),
            ("an end claims nothing", closed("b", 40).by("eve").into()),
            ("the start does", started("b", 30).into()),
            ("against eve", started("b", 30).by("eve").into()),
        ],
        expect![[r#"
            start: RECORDED      JOB_UPDATED TASK_CREATED
                job ACTIVE
                attempt i/1 - .. {}
                1/a #0 STARTED 20.. S20 by exe
            by eve: ! TASK_ALREADY_STARTED 1/a by exe
            by eve, earlier: ! TASK_ALREADY_STARTED 1/a by exe
            by another app: ! TASK_ALREADY_STARTED 1/a by exe
            under another name: RECORDED      TASK_UPDATED
                1/a #0 STARTED 20.. S30 by exe
            eve ends it: RECORDED      TASK_COMPLETED
                1/a #0 CLOSED 20..40 SUCCESS C40 by exe,eve
            eve started it: ! TASK_ALREADY_STARTED 1/a by exe
            an end claims nothing: RECORDED      TASK_CREATED TASK_COMPLETED
                1/b #1 CLOSED ..40 SUCCESS C40 by -,eve
            the start does: RECORDED      TASK_UPDATED
                1/b #1 CLOSED 30..40 SUCCESS C40 by exe,eve
            against eve: ! TASK_ALREADY_STARTED 1/b by exe
        "#]],
    );
}

#[test]
fn of_several_starts_the_earliest_is_the_start_and_the_latest_stands() {
    check(
        Story::bare(),
        [
            ("20", started("a", 20).into()),
            ("10", started("a", 10).into()),
            ("30", started("a", 30).into()),
            ("25", started("a", 25).into()),
            ("35 with less", started("a", 35).nothing().into()),
            ("before the start", closed("a", 9).into()),
            ("between the starts", closed("a", 33).into()),
            ("after the end", started("a", 34).into()),
            ("before all", started("a", 5).into()),
        ],
        expect![[r#"
            20: RECORDED      JOB_UPDATED TASK_CREATED
                job ACTIVE
                attempt i/1 - .. {}
                1/a #0 STARTED 20.. S20 by exe
            10: RECORDED      TASK_UPDATED
                1/a #0 STARTED 10.. S20 by exe
            30: RECORDED      TASK_UPDATED
                1/a #0 STARTED 10.. S30 by exe
            25: UNCHANGED     -
            35 with less: RECORDED      TASK_UPDATED
                1/a #0 STARTED 10.. {} by exe
            before the start: ! TIMESTAMP_REGRESSION 10>9
            between the starts: ! TIMESTAMP_REGRESSION 35>33
            after the end: UNCHANGED     -
            before all: RECORDED      TASK_UPDATED
                1/a #0 STARTED 5.. {} by exe
        "#]],
    );
}

/// What is said of a task is its own in every part.
#[test]
fn another_body_is_no_repeat() {
    let outcome = |says: Says| {
        let mut story = Story::bare();
        story.happens(closed("a", 40).ended(CompletionStatus::Warning).into());
        story.says(&says).0
    };
    let end = || closed("a", 40).ended(CompletionStatus::Warning);
    let other_event_meta = end().report(|report| report.event_meta = Some(data("event")));
    let rows = [
        ("the same", end()),
        ("other event_meta", other_event_meta),
        ("no data", end().nothing()),
        ("other meta", end().report(|report| report.meta = data("meta"))),
        ("a nanosecond later", end().report(|report| report.time.nanos = 1)),
        ("under another name", end().reporter(|by| by.name = Some("Other".to_owned()))),
        ("other outcome", closed("a", 40)),
    ];
    let mut table = String::new();
    for (name, says) in rows {
        table.push_str(&format!("{name:<20}{}\n", outcome(says)));
    }
    expect![[r#"
        the same            UNCHANGED     -
        other event_meta    UNCHANGED     -
        no data             ! TASK_ALREADY_CLOSED 1/a
        other meta          ! TASK_ALREADY_CLOSED 1/a
        a nanosecond later  ! TASK_ALREADY_CLOSED 1/a
        under another name  ! TASK_ALREADY_CLOSED 1/a
        other outcome       ! TASK_ALREADY_CLOSED 1/a
    "#]]
    .assert_eq(&table);
}

#[test]
fn every_task_of_an_attempt_has_a_sequence_id_of_its_own() {
    check(
        Story::bare(),
        [
            ("#3", started("a", 20).sequence(3).into()),
            ("#3 again", started("b", 20).sequence(3).into()),
            ("#7", started("b", 20).sequence(7).into()),
            ("moved to what another has", started("b", 20).sequence(3).into()),
            ("moved to what nobody has", started("b", 20).sequence(4).into()),
            ("the greatest", started("c", 20).sequence(i64::MAX).into()),
            ("#0", closed("d", 20).sequence(0).into()),
            ("a gap is filled", closed("e", 20).sequence(5).into()),
            ("of another instance", started("a", 20).sequence(3).instance("k").into()),
            ("of another attempt", started("f", 20).sequence(3).attempt(2).into()),
            ("the instance closes", workflow_closed(60).attempt(2).into()),
        ],
        expect![[r##"
            #3: RECORDED      JOB_UPDATED TASK_CREATED
                job ACTIVE
                attempt i/1 - .. {}
                1/a #3 STARTED 20.. S20 by exe
            #3 again: ! SEQUENCE_CONFLICT #3
            #7: RECORDED      TASK_CREATED; 3 missing: 4..6
                1/b #7 STARTED 20.. S20 by exe
            moved to what another has: ! SEQUENCE_CONFLICT #3
            moved to what nobody has: ! EXECUTION_MISMATCH sequence_id is 7
            the greatest: RECORDED      TASK_CREATED; 9223372036854775802 missing: 4..6 8..9223372036854775806
                1/c #9223372036854775807 STARTED 20.. S20 by exe
            #0: RECORDED      TASK_CREATED TASK_COMPLETED; 9223372036854775804 missing: 1..2 4..6 8..9223372036854775806
                1/d #0 CLOSED ..20 SUCCESS C20 by -,exe
            a gap is filled: RECORDED      TASK_CREATED TASK_COMPLETED; 9223372036854775803 missing: 1..2 4..4 6..6 8..9223372036854775806
                1/e #5 CLOSED ..20 SUCCESS C20 by -,exe
            of another instance: RECORDED      TASK_CREATED
                attempt k/1 - .. {}
                k/1/a #3 STARTED 20.. S20 by exe
            of another attempt: RECORDED      TASK_COMPLETED TASK_COMPLETED TASK_COMPLETED TASK_CREATED
                attempt i/2 - .. {}
                1/a #3 STARTED 20..111 TERMINATED S20 by exe
                1/b #7 STARTED 20..111 TERMINATED S20 by exe
                1/c #9223372036854775807 STARTED 20..111 TERMINATED S20 by exe
                2/f #3 STARTED 20.. S20 by exe
            the instance closes: RECORDED      TASK_COMPLETED WORKFLOW_CLOSED; terminated 2/f
                attempt i/2 CLOSED ..60 C60 by exe code="done"
                2/f #3 STARTED 20..112 TERMINATED S20 by exe
        "##]],
    );
}

/// The older attempts are kept, and what they left open is over; what does a step's work is not.
#[test]
fn a_higher_attempt_ends_the_one_before() {
    check(
        Story::automatic(),
        [
            ("run", Run),
            ("of the step", OfTask("<auto>", started("x", 20).sequence(9))),
            ("open", started("a", 20).into()),
            ("closed", closed("b", 20).into()),
            ("of another instance", started("a", 20).instance("k").into()),
            ("made", CreateTask("made", None)),
            ("made, and reported", OfTask("<made>", started("y", 20).sequence(8))),
            ("attempt 5", started("a", 50).attempt(5).into()),
            ("the step's start again", OfTask("<auto>", started("x", 20).sequence(9))),
            ("the step's end", OfTask("<auto>", closed("x", 60).sequence(9))),
            ("attempt 5 takes it", OfTask("<auto>", started("x", 60).attempt(5))),
            ("by another than before", OfTask("<auto>", closed("x", 70).attempt(5).by("eve"))),
            ("the start again", OfTask("<auto>", started("x", 20).sequence(9))),
            ("attempt 6 of its workflow", workflow_started(60).attempt(6).into()),
            ("attempt 5 closes", workflow_closed(70).attempt(5).into()),
            ("attempt 4", started("a", 50).attempt(4).into()),
        ],
        expect![[r#"
            run: JOB_UPDATED STEP_STARTED TASK_CREATED
                job ACTIVE auto:RUNNING next:PENDING
                <auto> .. open
            of the step: RECORDED      TASK_UPDATED
                attempt i/1 - .. {}
                <auto> i/1 #9 STARTED 20.. S20 by exe
            open: RECORDED      TASK_CREATED; 8 missing: 1..8
                1/a #0 STARTED 20.. S20 by exe
            closed: RECORDED      TASK_CREATED TASK_COMPLETED; 7 missing: 2..8
                1/b #1 CLOSED ..20 SUCCESS C20 by -,exe
            of another instance: RECORDED      TASK_CREATED
                attempt k/1 - .. {}
                k/1/a #0 STARTED 20.. S20 by exe
            made: TASK_CREATED
                <made> .. open
            made, and reported: RECORDED      TASK_UPDATED; 6 missing: 2..7
                <made> i/1 #8 STARTED 20.. S20 by exe
            attempt 5: RECORDED      TASK_COMPLETED TASK_COMPLETED TASK_CREATED
                attempt i/5 - .. {}
                1/a #0 STARTED 20..109 TERMINATED S20 by exe
                5/a #0 STARTED 50.. S50 by exe
                <made> i/1 #8 STARTED 20..109 TERMINATED S20 by exe
            the step's start again: UNCHANGED     -
            the step's end: ! STALE_ATTEMPT newest 5
            attempt 5 takes it: RECORDED      TASK_UPDATED; 22 missing: 1..22
                <auto> i/5 #23 STARTED 60.. S60 by exe
            by another than before: RECORDED      TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED; 22 missing: 1..22
                job ACTIVE auto:FINISHED next:READY
                <auto> i/5 #23 CLOSED 60..70 SUCCESS C70 by exe,eve
            the start again: ! STALE_ATTEMPT newest 5
            attempt 6 of its workflow: RECORDED      TASK_COMPLETED WORKFLOW_STARTED; terminated 5/a
                attempt i/6 STARTED 60.. S60 by exe
                5/a #0 STARTED 50..115 TERMINATED S50 by exe
            attempt 5 closes: ! STALE_ATTEMPT newest 6
            attempt 4: ! STALE_ATTEMPT newest 6
        "#]],
    );
}

/// A step's task that only an older attempt has reported waits for the newer one to report it, and ends with that.
#[test]
fn a_step_waits_for_the_newest_attempt_and_no_longer() {
    check(
        Story::automatic(),
        [
            ("run", Run),
            ("attempt 1", OfTask("<auto>", started("x", 20))),
            ("attempt 2", workflow_started(30).attempt(2).into()),
            ("it closes", workflow_closed(40).attempt(2).into()),
            ("and then tells of it", OfTask("<auto>", closed("x", 35).attempt(2))),
        ],
        expect![[r#"
            run: JOB_UPDATED STEP_STARTED TASK_CREATED
                job ACTIVE auto:RUNNING next:PENDING
                <auto> .. open
            attempt 1: RECORDED      TASK_UPDATED
                attempt i/1 - .. {}
                <auto> i/1 #23 STARTED 20.. S20 by exe
            attempt 2: RECORDED      WORKFLOW_STARTED
                attempt i/2 STARTED 30.. S30 by exe
            it closes: RECORDED      TASK_COMPLETED STEP_ERROR WORKFLOW_CLOSED; terminated <auto>
                job ACTIVE auto:ERROR next:PENDING
                attempt i/2 CLOSED 30..40 C40 by exe code="done"
                <auto> i/1 #23 STARTED 20..105 TERMINATED S20 by exe
            and then tells of it: RECORDED_LATE TASK_UPDATED
                <auto> i/2 #23 CLOSED ..105 TERMINATED (SUCCESS) C35 by -,exe late
        "#]],
    );
}

#[test]
fn a_workflow_that_closes_ends_what_is_open() {
    check(
        Story::automatic(),
        [
            ("run", Run),
            ("of the step", OfTask("<auto>", started("x", 20).sequence(9))),
            ("open", started("c", 20).into()),
            ("open before it", started("a", 20).into()),
            ("closed", closed("b", 20).into()),
            ("of another instance", started("a", 20).instance("k").into()),
            ("made", CreateTask("made", None)),
            ("start of the workflow", workflow_started(10).by("eve").into()),
            ("start earlier", workflow_started(5).into()),
            ("end", workflow_closed(50).nothing().code("ok").into()),
            ("end again", workflow_closed(50).nothing().code("ok").into()),
            ("end of what was ended", closed("a", 30).ended(CompletionStatus::Error).into()),
            ("start of it", started("a", 25).into()),
            ("end of the step's", OfTask("<auto>", closed("x", 30).sequence(9))),
            ("a new one starts", started("d", 30).into()),
            ("and ends", closed("d", 40).into()),
            ("a new one ends", closed("e", 40).into()),
            ("and had started", started("e", 30).into()),
            ("start of the workflow", workflow_started(4).into()),
        ],
        expect![[r#"
            run: JOB_UPDATED STEP_STARTED TASK_CREATED
                job ACTIVE auto:RUNNING next:PENDING
                <auto> .. open
            of the step: RECORDED      TASK_UPDATED
                attempt i/1 - .. {}
                <auto> i/1 #9 STARTED 20.. S20 by exe
            open: RECORDED      TASK_CREATED; 6 missing: 3..8
                1/c #2 STARTED 20.. S20 by exe
            open before it: RECORDED      TASK_CREATED; 7 missing: 1..1 3..8
                1/a #0 STARTED 20.. S20 by exe
            closed: RECORDED      TASK_CREATED TASK_COMPLETED; 6 missing: 3..8
                1/b #1 CLOSED ..20 SUCCESS C20 by -,exe
            of another instance: RECORDED      TASK_CREATED
                attempt k/1 - .. {}
                k/1/a #0 STARTED 20.. S20 by exe
            made: TASK_CREATED
                <made> .. open
            start of the workflow: RECORDED      WORKFLOW_STARTED; 6 missing: 3..8
                attempt i/1 STARTED 10.. S10 by eve
            start earlier: RECORDED      WORKFLOW_STARTED; 6 missing: 3..8
                attempt i/1 STARTED 5.. S10 by eve
            end: RECORDED      TASK_COMPLETED TASK_COMPLETED TASK_COMPLETED STEP_ERROR WORKFLOW_CLOSED; terminated 1/a 1/c <auto>; 6 missing: 3..8
                job ACTIVE auto:ERROR next:PENDING
                attempt i/1 CLOSED 5..50 {B:C20} by exe code="ok" collated
                1/a #0 STARTED 20..111 TERMINATED S20 by exe
                1/c #2 STARTED 20..111 TERMINATED S20 by exe
                <auto> i/1 #9 STARTED 20..111 TERMINATED S20 by exe
            end again: UNCHANGED     -; 6 missing: 3..8
            end of what was ended: RECORDED_LATE TASK_UPDATED; 6 missing: 3..8
                1/a #0 CLOSED 20..111 TERMINATED (ERROR) C30 by exe late
            start of it: UNCHANGED     -; 6 missing: 3..8
            end of the step's: RECORDED_LATE TASK_UPDATED; 6 missing: 3..8
                <auto> i/1 #9 CLOSED 20..111 TERMINATED (SUCCESS) C30 by exe late
            a new one starts: RECORDED_LATE TASK_CREATED TASK_COMPLETED; 5 missing: 4..8
                1/d #3 STARTED 30..116 TERMINATED S30 by exe late
            and ends: RECORDED_LATE TASK_UPDATED; 5 missing: 4..8
                1/d #3 CLOSED 30..116 TERMINATED (SUCCESS) C40 by exe late
            a new one ends: RECORDED_LATE TASK_CREATED TASK_COMPLETED; 4 missing: 5..8
                1/e #4 CLOSED ..40 SUCCESS C40 by -,exe late
            and had started: RECORDED_LATE TASK_UPDATED; 4 missing: 5..8
                1/e #4 CLOSED 30..40 SUCCESS C40 by exe late
            start of the workflow: RECORDED      WORKFLOW_STARTED; 4 missing: 5..8
                attempt i/1 CLOSED 4..50 {B:C20} by exe code="ok" collated
        "#]],
    );
}

#[test]
fn the_data_of_closed_tasks_is_put_together() {
    let weld = |name: &str, seconds| closed(name, seconds).state("weld");
    check(
        Story::bare(),
        [
            ("third", weld("c", 10).into()),
            ("first, later", weld("a", 30).into()),
            ("open", started("f", 20).state("weld").into()),
            ("without data", closed("b", 20).nothing().into()),
            ("another", closed("d", 20).into()),
            ("all", workflow_closed(50).nothing().into()),
            ("given", workflow_closed(50).attempt(2).into()),
            ("nothing to put together", workflow_closed(50).nothing().attempt(3).into()),
        ],
        expect![[r#"
            third: RECORDED      JOB_UPDATED TASK_CREATED TASK_COMPLETED
                job ACTIVE
                attempt i/1 - .. {}
                1/c #2 CLOSED ..10 SUCCESS C10 by -,exe
            first, later: RECORDED      TASK_CREATED TASK_COMPLETED; 1 missing: 1..1
                1/a #0 CLOSED ..30 SUCCESS C30 by -,exe
            open: RECORDED      TASK_CREATED; 3 missing: 1..1 3..4
                1/f #5 STARTED 20.. S20 by exe
            without data: RECORDED      TASK_CREATED TASK_COMPLETED; 2 missing: 3..4
                1/b #1 CLOSED ..20 SUCCESS {} by -,exe
            another: RECORDED      TASK_CREATED TASK_COMPLETED; 1 missing: 4..4
                1/d #3 CLOSED ..20 SUCCESS C20 by -,exe
            all: RECORDED      TASK_COMPLETED WORKFLOW_CLOSED; terminated 1/f; 1 missing: 4..4
                attempt i/1 CLOSED ..50 {B:{} D:C20 weld:C10} by exe code="done" collated
                1/f #5 STARTED 20..107 TERMINATED S20 by exe
            given: RECORDED      WORKFLOW_CLOSED
                attempt i/2 CLOSED ..50 C50 by exe code="done"
            nothing to put together: RECORDED      WORKFLOW_CLOSED
                attempt i/3 CLOSED ..50 {} by exe code="done" collated
        "#]],
    );
    // As much as fits: what is too large makes room for what is not.
    let small = Limits { document_bytes: 40, ..Limits::DEFAULT };
    check(
        Story::bare().within(small),
        [
            ("a", closed("a", 10).gives(data("a")).into()),
            ("b is large", closed("b", 10).gives(data(&"b".repeat(40))).into()),
            ("c", closed("c", 10).gives(data("c")).into()),
            ("a second, large C", closed("d", 10).state("C").gives(data(&"d".repeat(40))).into()),
            ("all", workflow_closed(50).gives(Document::default()).into()),
        ],
        expect![[r#"
            a: RECORDED      JOB_UPDATED TASK_CREATED TASK_COMPLETED
                job ACTIVE
                attempt i/1 - .. {}
                1/a #0 CLOSED ..10 SUCCESS a by -,exe
            b is large: RECORDED      TASK_CREATED TASK_COMPLETED
                1/b #1 CLOSED ..10 SUCCESS bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb by -,exe
            c: RECORDED      TASK_CREATED TASK_COMPLETED
                1/c #2 CLOSED ..10 SUCCESS c by -,exe
            a second, large C: RECORDED      TASK_CREATED TASK_COMPLETED
                1/d #3 CLOSED ..10 SUCCESS dddddddddddddddddddddddddddddddddddddddd by -,exe
            all: RECORDED      WORKFLOW_CLOSED
                attempt i/1 CLOSED ..50 {A:a} by exe code="done" collated
        "#]],
    );
}

#[test]
fn a_workflow_that_closes_the_job() {
    check(
        Story::automatic(),
        [
            ("run", Run),
            ("open", started("a", 20).into()),
            ("of another instance", started("a", 20).instance("k").into()),
            ("made", CreateTask("made", None)),
            ("start", workflow_started(10).close_job().code("no").into()),
            ("end", workflow_closed(50).close_job().code("E7").into()),
            ("again", workflow_closed(50).close_job().code("E7").into()),
            ("late end", closed("a", 40).into()),
            ("late end of the step's", OfTask("<auto>", closed("x", 40).sequence(5))),
            ("late end of the other", workflow_closed(60).instance("k").close_job().code("E8").into()),
            ("reopened", Reopen),
            ("after that", closed("b", 40).into()),
            ("in another attempt", started("b", 40).attempt(2).into()),
        ],
        expect![[r#"
            run: JOB_UPDATED STEP_STARTED TASK_CREATED
                job ACTIVE auto:RUNNING next:PENDING
                <auto> .. open
            open: RECORDED      TASK_CREATED
                attempt i/1 - .. {}
                1/a #0 STARTED 20.. S20 by exe
            of another instance: RECORDED      TASK_CREATED
                attempt k/1 - .. {}
                k/1/a #0 STARTED 20.. S20 by exe
            made: TASK_CREATED
                <made> .. open
            start: RECORDED      WORKFLOW_STARTED
                attempt i/1 STARTED 10.. S10 by exe
            end: RECORDED      TASK_COMPLETED STEP_CANCELLED TASK_COMPLETED TASK_COMPLETED TASK_COMPLETED WORKFLOW_CLOSED JOB_COMPLETED JOB_CLOSED; terminated 1/a k/1/a <auto> <made>
                job COMPLETED! code="E7" auto:CANCELLED next:PENDING
                attempt i/1 CLOSED 10..50 C50 by exe code="E7" close_job
                1/a #0 STARTED 20..107 TERMINATED S20 by exe
                <auto> ..107 TERMINATED
                <made> ..107 TERMINATED
                k/1/a #0 STARTED 20..107 TERMINATED S20 by exe
            again: UNCHANGED     -
            late end: RECORDED_LATE TASK_UPDATED
                1/a #0 CLOSED 20..107 TERMINATED (SUCCESS) C40 by exe late
            late end of the step's: RECORDED_LATE TASK_UPDATED; 4 missing: 1..4
                <auto> i/1 #5 CLOSED ..107 TERMINATED (SUCCESS) C40 by -,exe late
            late end of the other: RECORDED_LATE WORKFLOW_CLOSED
                attempt k/1 CLOSED ..60 C60 by exe code="E8" close_job late
            reopened: JOB_REOPENED
                job ACTIVE auto:CANCELLED next:PENDING
            after that: RECORDED_LATE TASK_CREATED TASK_COMPLETED; 3 missing: 2..4
                1/b #1 CLOSED ..40 SUCCESS C40 by -,exe late
            in another attempt: RECORDED      TASK_CREATED
                attempt i/2 - .. {}
                2/b #1 STARTED 40.. S40 by exe
        "#]],
    );
    check(
        Story::bare(),
        [
            ("completed by a device", Synced(JobStatus::Completed)),
            ("open", started("a", 20).into()),
            ("end", workflow_closed(50).close_job().into()),
        ],
        expect![[r#"
            completed by a device: JOB_UPDATED JOB_COMPLETED
                job COMPLETED
            open: RECORDED      TASK_CREATED
                attempt i/1 - .. {}
                1/a #0 STARTED 20.. S20 by exe
            end: RECORDED      TASK_COMPLETED WORKFLOW_CLOSED JOB_CLOSED; terminated 1/a
                job COMPLETED! code="done"
                attempt i/1 CLOSED ..50 C50 by exe code="done" close_job
                1/a #0 STARTED 20..104 TERMINATED S20 by exe
        "#]],
    );
    check(
        Story::bare(),
        [
            ("open", started("a", 20).into()),
            ("closed before", Close),
            ("end", workflow_closed(50).close_job().into()),
            ("a first report", workflow_closed(50).instance("k").close_job().into()),
        ],
        expect![[r#"
            open: RECORDED      JOB_UPDATED TASK_CREATED
                job ACTIVE
                attempt i/1 - .. {}
                1/a #0 STARTED 20.. S20 by exe
            closed before: JOB_ABORTED JOB_CLOSED
                job ABORTED!
            end: RECORDED_LATE TASK_COMPLETED WORKFLOW_CLOSED; terminated 1/a
                attempt i/1 CLOSED ..50 C50 by exe code="done" close_job late
                1/a #0 STARTED 20..104 TERMINATED S20 by exe
            a first report: RECORDED_LATE WORKFLOW_CLOSED
                attempt k/1 CLOSED ..50 C50 by exe code="done" close_job late
        "#]],
    );
    check(
        Story::bare(),
        [
            ("aborted by a device", Synced(JobStatus::Aborted)),
            ("end", workflow_closed(50).close_job().into()),
        ],
        expect![[r#"
            aborted by a device: JOB_UPDATED JOB_ABORTED
                job ABORTED!
            end: RECORDED_LATE WORKFLOW_CLOSED
                attempt i/1 CLOSED ..50 C50 by exe code="done" close_job late
        "#]],
    );
}

#[test]
fn a_report_begins_the_job_or_goes_on_with_it() {
    check(
        Story::bare(),
        [
            ("not started", started("a", 20).into()),
            ("paused", Synced(JobStatus::Paused)),
            ("a repeat", started("a", 20).into()),
            ("a workflow's", workflow_started(20).into()),
            ("paused", Synced(JobStatus::Paused)),
            ("an end", closed("a", 30).into()),
            ("paused", Synced(JobStatus::Paused)),
            ("a late one", OfTask("1/a", closed("a", 30))),
            ("refused", closed("a", 35).into()),
            ("a workflow's end", workflow_closed(40).into()),
            ("paused", Synced(JobStatus::Paused)),
            ("after the end", started("b", 30).into()),
        ],
        expect![[r#"
            not started: RECORDED      JOB_UPDATED TASK_CREATED
                job ACTIVE
                attempt i/1 - .. {}
                1/a #0 STARTED 20.. S20 by exe
            paused: JOB_UPDATED
                job PAUSED
            a repeat: UNCHANGED     -
            a workflow's: RECORDED      JOB_UPDATED WORKFLOW_STARTED
                job ACTIVE
                attempt i/1 STARTED 20.. S20 by exe
            paused: JOB_UPDATED
                job PAUSED
            an end: RECORDED      JOB_UPDATED TASK_COMPLETED
                job ACTIVE
                1/a #0 CLOSED 20..30 SUCCESS C30 by exe
            paused: JOB_UPDATED
                job PAUSED
            a late one: UNCHANGED     -
            refused: ! TASK_ALREADY_CLOSED 1/a
            a workflow's end: RECORDED      JOB_UPDATED WORKFLOW_CLOSED
                job ACTIVE
                attempt i/1 CLOSED 20..40 C40 by exe code="done"
            paused: JOB_UPDATED
                job PAUSED
            after the end: RECORDED_LATE TASK_CREATED TASK_COMPLETED
                1/b #1 STARTED 30..113 TERMINATED S30 by exe late
        "#]],
    );
}

/// Whoever ended a task first has ended it; a step that has gone on stays gone.
#[test]
fn a_task_has_one_end() {
    check(
        Story::automatic(),
        [
            ("run", RunUntil(200)),
            ("start", OfTask("<auto>", started("x", 20))),
            ("overdue", Overdue("<auto>", 100)),
            ("end", OfTask("<auto>", closed("x", 40))),
            ("run once more", Run),
            ("the new task", OfTask("<auto>", closed("y", 40).sequence(1).ended(CompletionStatus::Warning))),
            ("patched before any report", CreateTask("made", None)),
            ("patch", Patch("<made>", "Error")),
            ("start", OfTask("<made>", started("z", 30).sequence(2))),
            ("end", OfTask("<made>", closed("z", 40).sequence(2))),
            ("a patch of what was reported", started("d", 20).into()),
            ("patch", Patch("1/d", "TempError")),
            ("end", closed("d", 40).into()),
            ("start, earlier", started("d", 10).into()),
        ],
        expect![[r#"
            run: JOB_UPDATED STEP_STARTED TASK_CREATED
                job ACTIVE auto:RUNNING next:PENDING
                <auto> .. open
            start: RECORDED      TASK_UPDATED
                attempt i/1 - .. {}
                <auto> i/1 #23 STARTED 20.. S20 by exe
            overdue: TASK_COMPLETED STEP_ERROR
                job ACTIVE auto:ERROR next:PENDING
                <auto> i/1 #23 STARTED 20..204 TEMP_ERROR S20 by exe
            end: RECORDED_LATE TASK_UPDATED
                <auto> i/1 #23 CLOSED 20..204 TEMP_ERROR (SUCCESS) C40 by exe late
            run once more: STEP_STARTED TASK_CREATED
                job ACTIVE auto:RUNNING next:PENDING
                <auto> .. open
            the new task: RECORDED      TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED; 21 missing: 2..22
                job ACTIVE auto:FINISHED next:READY
                <auto> i/1 #1 CLOSED ..40 WARNING C40 by -,exe
            patched before any report: TASK_CREATED
                <made> .. open
            patch: TASK_COMPLETED
                <made> ..209 ERROR
            start: RECORDED_LATE TASK_UPDATED; 20 missing: 3..22
                <made> i/1 #2 STARTED 30..209 ERROR S30 by exe late
            end: RECORDED_LATE TASK_UPDATED; 20 missing: 3..22
                <made> i/1 #2 CLOSED 30..209 ERROR (SUCCESS) C40 by exe late
            a patch of what was reported: RECORDED      TASK_CREATED; 19 missing: 4..22
                1/d #3 STARTED 20.. S20 by exe
            patch: TASK_COMPLETED
                1/d #3 STARTED 20..213 TEMP_ERROR S20 by exe
            end: RECORDED_LATE TASK_UPDATED; 19 missing: 4..22
                1/d #3 CLOSED 20..213 TEMP_ERROR (SUCCESS) C40 by exe late
            start, earlier: RECORDED_LATE TASK_UPDATED; 19 missing: 4..22
                1/d #3 CLOSED 10..213 TEMP_ERROR (SUCCESS) C40 by exe late
        "#]],
    );
    check(
        Story::automatic(),
        [
            ("run", Run),
            ("start", OfTask("<auto>", started("x", 20))),
            ("stop", Stop),
            ("end", OfTask("<auto>", closed("x", 40))),
            ("abort", Abort),
            ("start, earlier", OfTask("<auto>", started("x", 10))),
        ],
        expect![[r#"
            run: JOB_UPDATED STEP_STARTED TASK_CREATED
                job ACTIVE auto:RUNNING next:PENDING
                <auto> .. open
            start: RECORDED      TASK_UPDATED
                attempt i/1 - .. {}
                <auto> i/1 #23 STARTED 20.. S20 by exe
            stop: TASK_COMPLETED STEP_CANCELLED
                job ACTIVE auto:CANCELLED next:PENDING
                <auto> i/1 #23 STARTED 20..104 TERMINATED S20 by exe
            end: RECORDED_LATE TASK_UPDATED
                <auto> i/1 #23 CLOSED 20..104 TERMINATED (SUCCESS) C40 by exe late
            abort: JOB_ABORTED
                job ABORTED! auto:CANCELLED next:PENDING
            start, earlier: RECORDED_LATE TASK_UPDATED
                <auto> i/1 #23 CLOSED 10..104 TERMINATED (SUCCESS) C40 by exe late
        "#]],
    );
}

#[test]
fn an_id_of_our_form_is_of_a_task_that_is_there() {
    let unknown = "task_0000_000000000000000000000000deadbeef";
    let mut story = Story::bare();
    assert_eq!(story.says(&of_task(&started("a", 20), unknown)).0, "! TASK_NOT_FOUND");
    // What is but like it is a name as any other.
    for name in ["task_0000_deadbeef", "task_00_0_000000000000000000000000deadbeef", "task_", "Task_1"] {
        let (line, _) = story.clone().says(&of_task(&started("a", 20), name));
        assert_eq!(line, "RECORDED      JOB_UPDATED TASK_CREATED", "{name}");
    }
    // The id that a task of an executor's name has here is its id as well.
    story.happens(started("a", 20).into());
    let id = story.job().tasks.keys().next().unwrap().clone();
    assert_eq!(story.says(&of_task(&closed("a", 40), &id)).0, "RECORDED      TASK_COMPLETED");
    let names: Vec<_> = story.job().tasks.values().filter_map(|task| task.execution.clone()).collect();
    assert_eq!(names.iter().map(|execution| execution.task_id.as_str()).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn limits() {
    let limits = Limits { tasks_per_job: 2, attempts_per_job: 3, ..Limits::DEFAULT };
    check(
        Story::bare().within(limits),
        [
            ("first", started("a", 20).into()),
            ("made", CreateTask("made", None)),
            ("third", started("b", 20).into()),
            ("one that is there", closed("a", 30).into()),
            ("another that is there", OfTask("<made>", closed("x", 20).sequence(1))),
            ("attempt 2", workflow_started(20).attempt(2).into()),
            ("another instance", workflow_started(20).instance("k").into()),
            ("attempt 3", workflow_started(20).attempt(3).into()),
            ("a fourth instance", workflow_closed(20).instance("l").into()),
            ("one that is there", workflow_closed(20).attempt(2).into()),
            ("closed", Close),
            ("also late", workflow_started(20).instance("l").into()),
            ("also late", closed("c", 20).attempt(2).into()),
        ],
        expect![[r#"
            first: RECORDED      JOB_UPDATED TASK_CREATED
                job ACTIVE
                attempt i/1 - .. {}
                1/a #0 STARTED 20.. S20 by exe
            made: TASK_CREATED
                <made> .. open
            third: ! LIMIT_EXCEEDED tasks_per_job 2
            one that is there: RECORDED      TASK_COMPLETED
                1/a #0 CLOSED 20..30 SUCCESS C30 by exe
            another that is there: RECORDED      TASK_COMPLETED
                <made> i/1 #1 CLOSED ..20 SUCCESS C20 by -,exe
            attempt 2: RECORDED      WORKFLOW_STARTED
                attempt i/2 STARTED 20.. S20 by exe
            another instance: RECORDED      WORKFLOW_STARTED
                attempt k/1 STARTED 20.. S20 by exe
            attempt 3: ! LIMIT_EXCEEDED attempts_per_job 3
            a fourth instance: ! LIMIT_EXCEEDED attempts_per_job 3
            one that is there: RECORDED      WORKFLOW_CLOSED
                attempt i/2 CLOSED 20..20 C20 by exe code="done"
            closed: JOB_ABORTED JOB_CLOSED
                job ABORTED!
            also late: ! LIMIT_EXCEEDED attempts_per_job 3
            also late: ! LIMIT_EXCEEDED tasks_per_job 2
        "#]],
    );
}

#[test]
fn the_launcher_is_the_application_or_who_reports() {
    let launcher = |says: Vec<Says>| {
        let mut story = Story::bare();
        for says in says {
            story.happens(says.into());
        }
        story.job().tasks.values().next().unwrap().launcher.clone().unwrap_or_default()
    };
    let eve = || closed("a", 40).by("eve").reporter(|by| by.app_id = Some("press".to_owned()));
    let nameless = || started("a", 20).reporter(|by| by.app_id = Some(String::new()));
    assert_eq!(launcher(vec![started("a", 20)]), "app");
    assert_eq!(launcher(vec![nameless()]), "exe");
    assert_eq!(launcher(vec![eve()]), "press");
    assert_eq!(launcher(vec![eve(), nameless()]), "exe", "who claims it launched it");
    assert_eq!(launcher(vec![nameless(), eve()]), "exe");
}

/// An event tells what was reported, and carries what was sent beside it on the one that tells of the report.
#[test]
fn event_meta_is_on_the_event_that_tells_the_report() {
    let with_meta = |says: Says| says.report(|report| report.event_meta = Some(data("meta")));
    let mut story = Story::automatic();
    story.happens(Run);
    let told = |story: &mut Story, says: Says| {
        let (_, events) = story.says(&with_meta(says));
        let told = events.iter().filter(|event| event.event_meta.is_some());
        told.map(|event| event.r#type().as_str_name().trim_start_matches("JOB_EVENT_TYPE_"))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&mut story, started("a", 20)), ["TASK_CREATED"]);
    assert_eq!(told(&mut story, started("a", 25)), ["TASK_UPDATED"]);
    assert_eq!(told(&mut story, closed("b", 20)), ["TASK_COMPLETED"]);
    assert_eq!(told(&mut story, workflow_started(20)), ["WORKFLOW_STARTED"]);
    assert_eq!(told(&mut story, workflow_closed(20)), ["WORKFLOW_CLOSED"]);
    assert_eq!(told(&mut story, started("c", 20)), ["TASK_CREATED"]);
    let mut late = Story::bare();
    late.happens(Close);
    let (_, events) = late.says(&with_meta(started("a", 20)));
    let told: Vec<_> = events.iter().map(|event| event.event_meta.is_some()).collect();
    assert_eq!(told, [true, false], "the server ended it");
}
