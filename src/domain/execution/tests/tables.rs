//! What becomes of each report in each situation, whole, as text. `!` is a refusal with its data; what is printed behind the
//! events is what the report is about, where that changed. Change it, run with `UPDATE_EXPECT=1`, and review the diff.

use expect_test::{Expect, expect};

use super::kit::{
    Happens::{self, Abort, Close, CreateTask, OfTask, Overdue, Patch, Run, RunUntil, Stop},
    Says, Story, closed, of_task, started, task_name, workflow_closed, workflow_started,
};
use crate::proto::v1::CompletionStatus;

/// Each report in each situation. `of` is what the lines begin with that are told of.
#[track_caller]
fn check(
    situations: Vec<(&str, Story, Vec<Happens>)>,
    reports: &[(&str, Says)],
    of: &[&str],
    task: Option<&str>,
    expected: Expect,
) {
    let mut table = String::new();
    for (situation, mut story, before) in situations {
        for happens in before {
            story.happens(happens);
        }
        let name = |line: &String| of.iter().any(|of| line.starts_with(of));
        let known: Vec<String> = story.lines().into_iter().filter(name).collect();
        let head = format!("{situation}: {}", known.join(", "));
        table.push_str(&format!("{}\n", head.trim_end()));
        let id = task.map(|task| {
            story.job().tasks.values().find(|known| task_name(known) == task).unwrap().id.clone()
        });
        for (word, says) in reports {
            let says = id.as_ref().map_or_else(|| says.clone(), |id| of_task(says, id));
            let mut story = story.clone();
            let (line, _) = story.says(&says);
            let changed: Vec<String> =
                story.lines().into_iter().filter(name).filter(|line| !known.contains(line)).collect();
            table.push_str(&format!("  {word:<22}{line}"));
            if !changed.is_empty() {
                table.push_str(&format!(" -> {}", changed.join(", ")));
            }
            table.push('\n');
        }
    }
    expected.assert_eq(&table);
}

fn all(says: impl IntoIterator<Item = Says>) -> Vec<Happens> {
    says.into_iter().map(Happens::Says).collect()
}

/// A task that an executor names `a`: it started at 20, and closed at 40.
#[test]
fn every_situation_meets_every_report_of_a_task() {
    let job_closed = |says: Vec<Says>| {
        let mut before = all(says);
        before.push(Close);
        before
    };
    let situations = vec![
        ("unknown", vec![]),
        ("another task is known", all([started("b", 10)])),
        ("the workflow started", all([workflow_started(10)])),
        ("STARTED", all([started("a", 20)])),
        ("CLOSED", all([closed("a", 40)])),
        ("STARTED, CLOSED", all([started("a", 20), closed("a", 40)])),
        ("the workflow is closed", all([workflow_closed(60)])),
        ("STARTED, the workflow closed", all([started("a", 20), workflow_closed(60)])),
        ("CLOSED, the workflow closed", all([closed("a", 40), workflow_closed(60)])),
        ("STARTED, a newer attempt", all([started("a", 20), workflow_started(60).attempt(2)])),
        (
            "STARTED, CLOSED, a newer attempt",
            all([started("a", 20), closed("a", 40), started("b", 60).attempt(2)]),
        ),
        ("the job is closed", job_closed(vec![])),
        ("STARTED, the job closed", job_closed(vec![started("a", 20)])),
        ("STARTED, CLOSED, the job closed", job_closed(vec![started("a", 20), closed("a", 40)])),
    ];
    let situations = situations.into_iter().map(|(name, before)| (name, Story::bare(), before)).collect();
    let reports = [
        ("STARTED", started("a", 20)),
        ("STARTED later", started("a", 25)),
        ("STARTED earlier", started("a", 15)),
        ("STARTED by eve", started("a", 20).by("eve")),
        ("STARTED too late", started("a", 50)),
        ("CLOSED", closed("a", 40)),
        ("CLOSED by eve", closed("a", 40).by("eve")),
        ("CLOSED later", closed("a", 45)),
        ("CLOSED as ERROR", closed("a", 40).ended(CompletionStatus::Error)),
        ("CLOSED too early", closed("a", 10)),
        ("other sequence_id", started("a", 20).sequence(7)),
        ("other state_name", started("a", 20).state("Z")),
        ("other dispatch", started("a", 20).dispatch("other")),
        ("its sequence_id", started("z", 20).sequence(0)),
        ("attempt 0", started("a", 20).attempt(0)),
        ("attempt 2", started("a", 20).attempt(2)),
    ];
    check(
        situations,
        &reports,
        &["1/a", "2/a"],
        None,
        expect![[r#"
            unknown:
              STARTED               RECORDED      JOB_UPDATED TASK_CREATED -> 1/a #0 STARTED 20.. S20 by exe
              STARTED later         RECORDED      JOB_UPDATED TASK_CREATED -> 1/a #0 STARTED 25.. S25 by exe
              STARTED earlier       RECORDED      JOB_UPDATED TASK_CREATED -> 1/a #0 STARTED 15.. S15 by exe
              STARTED by eve        RECORDED      JOB_UPDATED TASK_CREATED -> 1/a #0 STARTED 20.. S20 by eve
              STARTED too late      RECORDED      JOB_UPDATED TASK_CREATED -> 1/a #0 STARTED 50.. S50 by exe
              CLOSED                RECORDED      JOB_UPDATED TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..40 SUCCESS C40 by -,exe
              CLOSED by eve         RECORDED      JOB_UPDATED TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..40 SUCCESS C40 by -,eve
              CLOSED later          RECORDED      JOB_UPDATED TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..45 SUCCESS C45 by -,exe
              CLOSED as ERROR       RECORDED      JOB_UPDATED TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..40 ERROR C40 by -,exe
              CLOSED too early      RECORDED      JOB_UPDATED TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..10 SUCCESS C10 by -,exe
              other sequence_id     RECORDED      JOB_UPDATED TASK_CREATED -> 1/a #7 STARTED 20.. S20 by exe
              other state_name      RECORDED      JOB_UPDATED TASK_CREATED -> 1/a #0 STARTED 20.. S20 by exe
              other dispatch        RECORDED      JOB_UPDATED TASK_CREATED -> 1/a #0 STARTED 20.. S20 by exe
              its sequence_id       RECORDED      JOB_UPDATED TASK_CREATED
              attempt 0             RECORDED      JOB_UPDATED TASK_CREATED
              attempt 2             RECORDED      JOB_UPDATED TASK_CREATED -> 2/a #0 STARTED 20.. S20 by exe
            another task is known:
              STARTED               RECORDED      TASK_CREATED -> 1/a #0 STARTED 20.. S20 by exe
              STARTED later         RECORDED      TASK_CREATED -> 1/a #0 STARTED 25.. S25 by exe
              STARTED earlier       RECORDED      TASK_CREATED -> 1/a #0 STARTED 15.. S15 by exe
              STARTED by eve        RECORDED      TASK_CREATED -> 1/a #0 STARTED 20.. S20 by eve
              STARTED too late      RECORDED      TASK_CREATED -> 1/a #0 STARTED 50.. S50 by exe
              CLOSED                RECORDED      TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..40 SUCCESS C40 by -,exe
              CLOSED by eve         RECORDED      TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..40 SUCCESS C40 by -,eve
              CLOSED later          RECORDED      TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..45 SUCCESS C45 by -,exe
              CLOSED as ERROR       RECORDED      TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..40 ERROR C40 by -,exe
              CLOSED too early      RECORDED      TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..10 SUCCESS C10 by -,exe
              other sequence_id     RECORDED      TASK_CREATED; 5 missing: 2..6 -> 1/a #7 STARTED 20.. S20 by exe
              other state_name      RECORDED      TASK_CREATED -> 1/a #0 STARTED 20.. S20 by exe
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              its sequence_id       RECORDED      TASK_CREATED
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED      TASK_COMPLETED TASK_CREATED -> 2/a #0 STARTED 20.. S20 by exe
            the workflow started:
              STARTED               RECORDED      TASK_CREATED -> 1/a #0 STARTED 20.. S20 by exe
              STARTED later         RECORDED      TASK_CREATED -> 1/a #0 STARTED 25.. S25 by exe
              STARTED earlier       RECORDED      TASK_CREATED -> 1/a #0 STARTED 15.. S15 by exe
              STARTED by eve        RECORDED      TASK_CREATED -> 1/a #0 STARTED 20.. S20 by eve
              STARTED too late      RECORDED      TASK_CREATED -> 1/a #0 STARTED 50.. S50 by exe
              CLOSED                RECORDED      TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..40 SUCCESS C40 by -,exe
              CLOSED by eve         RECORDED      TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..40 SUCCESS C40 by -,eve
              CLOSED later          RECORDED      TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..45 SUCCESS C45 by -,exe
              CLOSED as ERROR       RECORDED      TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..40 ERROR C40 by -,exe
              CLOSED too early      RECORDED      TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..10 SUCCESS C10 by -,exe
              other sequence_id     RECORDED      TASK_CREATED -> 1/a #7 STARTED 20.. S20 by exe
              other state_name      RECORDED      TASK_CREATED -> 1/a #0 STARTED 20.. S20 by exe
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              its sequence_id       RECORDED      TASK_CREATED
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED      TASK_CREATED -> 2/a #0 STARTED 20.. S20 by exe
            STARTED: 1/a #0 STARTED 20.. S20 by exe
              STARTED               UNCHANGED     -
              STARTED later         RECORDED      TASK_UPDATED -> 1/a #0 STARTED 20.. S25 by exe
              STARTED earlier       RECORDED      TASK_UPDATED -> 1/a #0 STARTED 15.. S20 by exe
              STARTED by eve        ! TASK_ALREADY_STARTED 1/a by exe
              STARTED too late      RECORDED      TASK_UPDATED -> 1/a #0 STARTED 20.. S50 by exe
              CLOSED                RECORDED      TASK_COMPLETED -> 1/a #0 CLOSED 20..40 SUCCESS C40 by exe
              CLOSED by eve         RECORDED      TASK_COMPLETED -> 1/a #0 CLOSED 20..40 SUCCESS C40 by exe,eve
              CLOSED later          RECORDED      TASK_COMPLETED -> 1/a #0 CLOSED 20..45 SUCCESS C45 by exe
              CLOSED as ERROR       RECORDED      TASK_COMPLETED -> 1/a #0 CLOSED 20..40 ERROR C40 by exe
              CLOSED too early      ! TIMESTAMP_REGRESSION 20>10
              other sequence_id     ! EXECUTION_MISMATCH sequence_id is 0
              other state_name      ! EXECUTION_MISMATCH state_name is A
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              its sequence_id       ! SEQUENCE_CONFLICT #0
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED      TASK_COMPLETED TASK_CREATED -> 1/a #0 STARTED 20..103 TERMINATED S20 by exe, 2/a #0 STARTED 20.. S20 by exe
            CLOSED: 1/a #0 CLOSED ..40 SUCCESS C40 by -,exe
              STARTED               RECORDED      TASK_UPDATED -> 1/a #0 CLOSED 20..40 SUCCESS C40 by exe
              STARTED later         RECORDED      TASK_UPDATED -> 1/a #0 CLOSED 25..40 SUCCESS C40 by exe
              STARTED earlier       RECORDED      TASK_UPDATED -> 1/a #0 CLOSED 15..40 SUCCESS C40 by exe
              STARTED by eve        RECORDED      TASK_UPDATED -> 1/a #0 CLOSED 20..40 SUCCESS C40 by eve,exe
              STARTED too late      ! TIMESTAMP_REGRESSION 50>40
              CLOSED                UNCHANGED     -
              CLOSED by eve         ! TASK_ALREADY_CLOSED 1/a
              CLOSED later          ! TASK_ALREADY_CLOSED 1/a
              CLOSED as ERROR       ! TASK_ALREADY_CLOSED 1/a
              CLOSED too early      ! TASK_ALREADY_CLOSED 1/a
              other sequence_id     ! EXECUTION_MISMATCH sequence_id is 0
              other state_name      ! EXECUTION_MISMATCH state_name is A
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              its sequence_id       ! SEQUENCE_CONFLICT #0
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED      TASK_CREATED -> 2/a #0 STARTED 20.. S20 by exe
            STARTED, CLOSED: 1/a #0 CLOSED 20..40 SUCCESS C40 by exe
              STARTED               UNCHANGED     -
              STARTED later         UNCHANGED     -
              STARTED earlier       RECORDED      TASK_UPDATED -> 1/a #0 CLOSED 15..40 SUCCESS C40 by exe
              STARTED by eve        ! TASK_ALREADY_STARTED 1/a by exe
              STARTED too late      ! TIMESTAMP_REGRESSION 50>40
              CLOSED                UNCHANGED     -
              CLOSED by eve         ! TASK_ALREADY_CLOSED 1/a
              CLOSED later          ! TASK_ALREADY_CLOSED 1/a
              CLOSED as ERROR       ! TASK_ALREADY_CLOSED 1/a
              CLOSED too early      ! TASK_ALREADY_CLOSED 1/a
              other sequence_id     ! EXECUTION_MISMATCH sequence_id is 0
              other state_name      ! EXECUTION_MISMATCH state_name is A
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              its sequence_id       ! SEQUENCE_CONFLICT #0
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED      TASK_CREATED -> 2/a #0 STARTED 20.. S20 by exe
            the workflow is closed:
              STARTED               RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 STARTED 20..103 TERMINATED S20 by exe late
              STARTED later         RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 STARTED 25..103 TERMINATED S25 by exe late
              STARTED earlier       RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 STARTED 15..103 TERMINATED S15 by exe late
              STARTED by eve        RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 STARTED 20..103 TERMINATED S20 by eve late
              STARTED too late      RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 STARTED 50..103 TERMINATED S50 by exe late
              CLOSED                RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..40 SUCCESS C40 by -,exe late
              CLOSED by eve         RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..40 SUCCESS C40 by -,eve late
              CLOSED later          RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..45 SUCCESS C45 by -,exe late
              CLOSED as ERROR       RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..40 ERROR C40 by -,exe late
              CLOSED too early      RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..10 SUCCESS C10 by -,exe late
              other sequence_id     RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #7 STARTED 20..103 TERMINATED S20 by exe late
              other state_name      RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 STARTED 20..103 TERMINATED S20 by exe late
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              its sequence_id       RECORDED_LATE TASK_CREATED TASK_COMPLETED
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED      TASK_CREATED -> 2/a #0 STARTED 20.. S20 by exe
            STARTED, the workflow closed: 1/a #0 STARTED 20..103 TERMINATED S20 by exe
              STARTED               UNCHANGED     -
              STARTED later         RECORDED_LATE TASK_UPDATED -> 1/a #0 STARTED 20..103 TERMINATED S25 by exe late
              STARTED earlier       RECORDED_LATE TASK_UPDATED -> 1/a #0 STARTED 15..103 TERMINATED S20 by exe late
              STARTED by eve        ! TASK_ALREADY_STARTED 1/a by exe
              STARTED too late      RECORDED_LATE TASK_UPDATED -> 1/a #0 STARTED 20..103 TERMINATED S50 by exe late
              CLOSED                RECORDED_LATE TASK_UPDATED -> 1/a #0 CLOSED 20..103 TERMINATED (SUCCESS) C40 by exe late
              CLOSED by eve         RECORDED_LATE TASK_UPDATED -> 1/a #0 CLOSED 20..103 TERMINATED (SUCCESS) C40 by exe,eve late
              CLOSED later          RECORDED_LATE TASK_UPDATED -> 1/a #0 CLOSED 20..103 TERMINATED (SUCCESS) C45 by exe late
              CLOSED as ERROR       RECORDED_LATE TASK_UPDATED -> 1/a #0 CLOSED 20..103 TERMINATED (ERROR) C40 by exe late
              CLOSED too early      ! TIMESTAMP_REGRESSION 20>10
              other sequence_id     ! EXECUTION_MISMATCH sequence_id is 0
              other state_name      ! EXECUTION_MISMATCH state_name is A
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              its sequence_id       ! SEQUENCE_CONFLICT #0
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED      TASK_CREATED -> 2/a #0 STARTED 20.. S20 by exe
            CLOSED, the workflow closed: 1/a #0 CLOSED ..40 SUCCESS C40 by -,exe
              STARTED               RECORDED      TASK_UPDATED -> 1/a #0 CLOSED 20..40 SUCCESS C40 by exe
              STARTED later         RECORDED      TASK_UPDATED -> 1/a #0 CLOSED 25..40 SUCCESS C40 by exe
              STARTED earlier       RECORDED      TASK_UPDATED -> 1/a #0 CLOSED 15..40 SUCCESS C40 by exe
              STARTED by eve        RECORDED      TASK_UPDATED -> 1/a #0 CLOSED 20..40 SUCCESS C40 by eve,exe
              STARTED too late      ! TIMESTAMP_REGRESSION 50>40
              CLOSED                UNCHANGED     -
              CLOSED by eve         ! TASK_ALREADY_CLOSED 1/a
              CLOSED later          ! TASK_ALREADY_CLOSED 1/a
              CLOSED as ERROR       ! TASK_ALREADY_CLOSED 1/a
              CLOSED too early      ! TASK_ALREADY_CLOSED 1/a
              other sequence_id     ! EXECUTION_MISMATCH sequence_id is 0
              other state_name      ! EXECUTION_MISMATCH state_name is A
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              its sequence_id       ! SEQUENCE_CONFLICT #0
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED      TASK_CREATED -> 2/a #0 STARTED 20.. S20 by exe
            STARTED, a newer attempt: 1/a #0 STARTED 20..103 TERMINATED S20 by exe
              STARTED               UNCHANGED     -
              STARTED later         ! STALE_ATTEMPT newest 2
              STARTED earlier       ! STALE_ATTEMPT newest 2
              STARTED by eve        ! STALE_ATTEMPT newest 2
              STARTED too late      ! STALE_ATTEMPT newest 2
              CLOSED                ! STALE_ATTEMPT newest 2
              CLOSED by eve         ! STALE_ATTEMPT newest 2
              CLOSED later          ! STALE_ATTEMPT newest 2
              CLOSED as ERROR       ! STALE_ATTEMPT newest 2
              CLOSED too early      ! STALE_ATTEMPT newest 2
              other sequence_id     ! STALE_ATTEMPT newest 2
              other state_name      ! STALE_ATTEMPT newest 2
              other dispatch        ! STALE_ATTEMPT newest 2
              its sequence_id       ! STALE_ATTEMPT newest 2
              attempt 0             ! STALE_ATTEMPT newest 2
              attempt 2             RECORDED      TASK_CREATED -> 2/a #0 STARTED 20.. S20 by exe
            STARTED, CLOSED, a newer attempt: 1/a #0 CLOSED 20..40 SUCCESS C40 by exe
              STARTED               UNCHANGED     -
              STARTED later         UNCHANGED     -
              STARTED earlier       ! STALE_ATTEMPT newest 2
              STARTED by eve        ! STALE_ATTEMPT newest 2
              STARTED too late      ! STALE_ATTEMPT newest 2
              CLOSED                UNCHANGED     -
              CLOSED by eve         ! STALE_ATTEMPT newest 2
              CLOSED later          ! STALE_ATTEMPT newest 2
              CLOSED as ERROR       ! STALE_ATTEMPT newest 2
              CLOSED too early      ! STALE_ATTEMPT newest 2
              other sequence_id     ! STALE_ATTEMPT newest 2
              other state_name      ! STALE_ATTEMPT newest 2
              other dispatch        ! STALE_ATTEMPT newest 2
              its sequence_id       ! STALE_ATTEMPT newest 2
              attempt 0             ! STALE_ATTEMPT newest 2
              attempt 2             RECORDED      TASK_CREATED -> 2/a #0 STARTED 20.. S20 by exe
            the job is closed:
              STARTED               RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 STARTED 20..103 TERMINATED S20 by exe late
              STARTED later         RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 STARTED 25..103 TERMINATED S25 by exe late
              STARTED earlier       RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 STARTED 15..103 TERMINATED S15 by exe late
              STARTED by eve        RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 STARTED 20..103 TERMINATED S20 by eve late
              STARTED too late      RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 STARTED 50..103 TERMINATED S50 by exe late
              CLOSED                RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..40 SUCCESS C40 by -,exe late
              CLOSED by eve         RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..40 SUCCESS C40 by -,eve late
              CLOSED later          RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..45 SUCCESS C45 by -,exe late
              CLOSED as ERROR       RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..40 ERROR C40 by -,exe late
              CLOSED too early      RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 CLOSED ..10 SUCCESS C10 by -,exe late
              other sequence_id     RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #7 STARTED 20..103 TERMINATED S20 by exe late
              other state_name      RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 STARTED 20..103 TERMINATED S20 by exe late
              other dispatch        RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 1/a #0 STARTED 20..103 TERMINATED S20 by exe late
              its sequence_id       RECORDED_LATE TASK_CREATED TASK_COMPLETED
              attempt 0             RECORDED_LATE TASK_CREATED TASK_COMPLETED
              attempt 2             RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 2/a #0 STARTED 20..103 TERMINATED S20 by exe late
            STARTED, the job closed: 1/a #0 STARTED 20.. S20 by exe
              STARTED               UNCHANGED     -
              STARTED later         RECORDED_LATE TASK_UPDATED -> 1/a #0 STARTED 20.. S25 by exe late
              STARTED earlier       RECORDED_LATE TASK_UPDATED -> 1/a #0 STARTED 15.. S20 by exe late
              STARTED by eve        ! TASK_ALREADY_STARTED 1/a by exe
              STARTED too late      RECORDED_LATE TASK_UPDATED -> 1/a #0 STARTED 20.. S50 by exe late
              CLOSED                RECORDED_LATE TASK_COMPLETED -> 1/a #0 CLOSED 20..40 SUCCESS C40 by exe late
              CLOSED by eve         RECORDED_LATE TASK_COMPLETED -> 1/a #0 CLOSED 20..40 SUCCESS C40 by exe,eve late
              CLOSED later          RECORDED_LATE TASK_COMPLETED -> 1/a #0 CLOSED 20..45 SUCCESS C45 by exe late
              CLOSED as ERROR       RECORDED_LATE TASK_COMPLETED -> 1/a #0 CLOSED 20..40 ERROR C40 by exe late
              CLOSED too early      ! TIMESTAMP_REGRESSION 20>10
              other sequence_id     ! EXECUTION_MISMATCH sequence_id is 0
              other state_name      ! EXECUTION_MISMATCH state_name is A
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              its sequence_id       ! SEQUENCE_CONFLICT #0
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED_LATE TASK_COMPLETED TASK_CREATED TASK_COMPLETED -> 1/a #0 STARTED 20..104 TERMINATED S20 by exe, 2/a #0 STARTED 20..104 TERMINATED S20 by exe late
            STARTED, CLOSED, the job closed: 1/a #0 CLOSED 20..40 SUCCESS C40 by exe
              STARTED               UNCHANGED     -
              STARTED later         UNCHANGED     -
              STARTED earlier       RECORDED_LATE TASK_UPDATED -> 1/a #0 CLOSED 15..40 SUCCESS C40 by exe late
              STARTED by eve        ! TASK_ALREADY_STARTED 1/a by exe
              STARTED too late      ! TIMESTAMP_REGRESSION 50>40
              CLOSED                UNCHANGED     -
              CLOSED by eve         ! TASK_ALREADY_CLOSED 1/a
              CLOSED later          ! TASK_ALREADY_CLOSED 1/a
              CLOSED as ERROR       ! TASK_ALREADY_CLOSED 1/a
              CLOSED too early      ! TASK_ALREADY_CLOSED 1/a
              other sequence_id     ! EXECUTION_MISMATCH sequence_id is 0
              other state_name      ! EXECUTION_MISMATCH state_name is A
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              its sequence_id       ! SEQUENCE_CONFLICT #0
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED_LATE TASK_CREATED TASK_COMPLETED -> 2/a #0 STARTED 20..105 TERMINATED S20 by exe late
        "#]],
    );
}

/// An attempt that started at 20, and closed at 40.
#[test]
fn every_situation_meets_every_report_of_a_workflow() {
    let job_closed = |says: Vec<Says>| {
        let mut before = all(says);
        before.push(Close);
        before
    };
    let tasks = || [started("a", 20), closed("b", 30), started("c", 20), closed("c", 30)];
    let situations = vec![
        ("unknown", vec![]),
        ("tasks are known", all(tasks())),
        ("STARTED", all([workflow_started(20)])),
        ("CLOSED", all([workflow_closed(40)])),
        ("STARTED, CLOSED", all([workflow_started(20), workflow_closed(40)])),
        ("tasks, CLOSED without data", all(tasks().into_iter().chain([workflow_closed(40).nothing()]))),
        ("STARTED, a newer attempt", all([workflow_started(20), workflow_started(60).attempt(2)])),
        ("CLOSED, a newer attempt", all([workflow_closed(40), started("a", 60).attempt(2)])),
        ("the job is closed", job_closed(vec![])),
        ("STARTED, the job closed", job_closed(vec![workflow_started(20)])),
        ("tasks, the job closed", job_closed(tasks().to_vec())),
        ("CLOSED, the job closed", job_closed(vec![workflow_closed(40)])),
    ];
    let situations = situations.into_iter().map(|(name, before)| (name, Story::bare(), before)).collect();
    let reports = [
        ("STARTED", workflow_started(20)),
        ("STARTED later", workflow_started(25)),
        ("STARTED earlier", workflow_started(15)),
        ("STARTED by eve", workflow_started(25).by("eve")),
        ("STARTED too late", workflow_started(50)),
        ("STARTED, close_job", workflow_started(20).close_job()),
        ("CLOSED", workflow_closed(40)),
        ("CLOSED without data", workflow_closed(40).nothing()),
        ("CLOSED by eve", workflow_closed(40).by("eve")),
        ("CLOSED later", workflow_closed(45)),
        ("CLOSED, other code", workflow_closed(40).code("other")),
        ("CLOSED too early", workflow_closed(10)),
        ("CLOSED, close_job", workflow_closed(40).close_job()),
        ("other dispatch", workflow_closed(40).dispatch("other")),
        ("attempt 0", workflow_closed(40).attempt(0)),
        ("attempt 2", workflow_closed(40).attempt(2)),
    ];
    check(
        situations,
        &reports,
        &["attempt", "job"],
        None,
        expect![[r#"
            unknown: job NOT_STARTED
              STARTED               RECORDED      JOB_UPDATED WORKFLOW_STARTED -> job ACTIVE, attempt i/1 STARTED 20.. S20 by exe
              STARTED later         RECORDED      JOB_UPDATED WORKFLOW_STARTED -> job ACTIVE, attempt i/1 STARTED 25.. S25 by exe
              STARTED earlier       RECORDED      JOB_UPDATED WORKFLOW_STARTED -> job ACTIVE, attempt i/1 STARTED 15.. S15 by exe
              STARTED by eve        RECORDED      JOB_UPDATED WORKFLOW_STARTED -> job ACTIVE, attempt i/1 STARTED 25.. S25 by eve
              STARTED too late      RECORDED      JOB_UPDATED WORKFLOW_STARTED -> job ACTIVE, attempt i/1 STARTED 50.. S50 by exe
              STARTED, close_job    RECORDED      JOB_UPDATED WORKFLOW_STARTED -> job ACTIVE, attempt i/1 STARTED 20.. S20 by exe
              CLOSED                RECORDED      JOB_UPDATED WORKFLOW_CLOSED -> job ACTIVE, attempt i/1 CLOSED ..40 C40 by exe code="done"
              CLOSED without data   RECORDED      JOB_UPDATED WORKFLOW_CLOSED -> job ACTIVE, attempt i/1 CLOSED ..40 {} by exe code="done" collated
              CLOSED by eve         RECORDED      JOB_UPDATED WORKFLOW_CLOSED -> job ACTIVE, attempt i/1 CLOSED ..40 C40 by eve code="done"
              CLOSED later          RECORDED      JOB_UPDATED WORKFLOW_CLOSED -> job ACTIVE, attempt i/1 CLOSED ..45 C45 by exe code="done"
              CLOSED, other code    RECORDED      JOB_UPDATED WORKFLOW_CLOSED -> job ACTIVE, attempt i/1 CLOSED ..40 C40 by exe code="other"
              CLOSED too early      RECORDED      JOB_UPDATED WORKFLOW_CLOSED -> job ACTIVE, attempt i/1 CLOSED ..10 C10 by exe code="done"
              CLOSED, close_job     RECORDED      JOB_UPDATED WORKFLOW_CLOSED JOB_COMPLETED JOB_CLOSED -> job COMPLETED! code="done", attempt i/1 CLOSED ..40 C40 by exe code="done" close_job
              other dispatch        RECORDED      JOB_UPDATED WORKFLOW_CLOSED -> job ACTIVE, attempt i/1 CLOSED ..40 C40 by exe code="done"
              attempt 0             RECORDED      JOB_UPDATED WORKFLOW_CLOSED -> job ACTIVE, attempt i/0 CLOSED ..40 C40 by exe code="done"
              attempt 2             RECORDED      JOB_UPDATED WORKFLOW_CLOSED -> job ACTIVE, attempt i/2 CLOSED ..40 C40 by exe code="done"
            tasks are known: job ACTIVE, attempt i/1 - .. {}
              STARTED               RECORDED      WORKFLOW_STARTED -> attempt i/1 STARTED 20.. S20 by exe
              STARTED later         RECORDED      WORKFLOW_STARTED -> attempt i/1 STARTED 25.. S25 by exe
              STARTED earlier       RECORDED      WORKFLOW_STARTED -> attempt i/1 STARTED 15.. S15 by exe
              STARTED by eve        RECORDED      WORKFLOW_STARTED -> attempt i/1 STARTED 25.. S25 by eve
              STARTED too late      RECORDED      WORKFLOW_STARTED -> attempt i/1 STARTED 50.. S50 by exe
              STARTED, close_job    RECORDED      WORKFLOW_STARTED -> attempt i/1 STARTED 20.. S20 by exe
              CLOSED                RECORDED      TASK_COMPLETED WORKFLOW_CLOSED; terminated 1/a -> attempt i/1 CLOSED ..40 C40 by exe code="done"
              CLOSED without data   RECORDED      TASK_COMPLETED WORKFLOW_CLOSED; terminated 1/a -> attempt i/1 CLOSED ..40 {B:C30 C:C30} by exe code="done" collated
              CLOSED by eve         RECORDED      TASK_COMPLETED WORKFLOW_CLOSED; terminated 1/a -> attempt i/1 CLOSED ..40 C40 by eve code="done"
              CLOSED later          RECORDED      TASK_COMPLETED WORKFLOW_CLOSED; terminated 1/a -> attempt i/1 CLOSED ..45 C45 by exe code="done"
              CLOSED, other code    RECORDED      TASK_COMPLETED WORKFLOW_CLOSED; terminated 1/a -> attempt i/1 CLOSED ..40 C40 by exe code="other"
              CLOSED too early      RECORDED      TASK_COMPLETED WORKFLOW_CLOSED; terminated 1/a -> attempt i/1 CLOSED ..10 C10 by exe code="done"
              CLOSED, close_job     RECORDED      TASK_COMPLETED WORKFLOW_CLOSED JOB_COMPLETED JOB_CLOSED; terminated 1/a -> job COMPLETED! code="done", attempt i/1 CLOSED ..40 C40 by exe code="done" close_job
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED      TASK_COMPLETED WORKFLOW_CLOSED; terminated 1/a -> attempt i/2 CLOSED ..40 C40 by exe code="done"
            STARTED: job ACTIVE, attempt i/1 STARTED 20.. S20 by exe
              STARTED               UNCHANGED     -
              STARTED later         RECORDED      WORKFLOW_STARTED -> attempt i/1 STARTED 20.. S25 by exe
              STARTED earlier       RECORDED      WORKFLOW_STARTED -> attempt i/1 STARTED 15.. S20 by exe
              STARTED by eve        RECORDED      WORKFLOW_STARTED -> attempt i/1 STARTED 20.. S25 by eve
              STARTED too late      RECORDED      WORKFLOW_STARTED -> attempt i/1 STARTED 20.. S50 by exe
              STARTED, close_job    UNCHANGED     -
              CLOSED                RECORDED      WORKFLOW_CLOSED -> attempt i/1 CLOSED 20..40 C40 by exe code="done"
              CLOSED without data   RECORDED      WORKFLOW_CLOSED -> attempt i/1 CLOSED 20..40 {} by exe code="done" collated
              CLOSED by eve         RECORDED      WORKFLOW_CLOSED -> attempt i/1 CLOSED 20..40 C40 by eve code="done"
              CLOSED later          RECORDED      WORKFLOW_CLOSED -> attempt i/1 CLOSED 20..45 C45 by exe code="done"
              CLOSED, other code    RECORDED      WORKFLOW_CLOSED -> attempt i/1 CLOSED 20..40 C40 by exe code="other"
              CLOSED too early      ! TIMESTAMP_REGRESSION 20>10
              CLOSED, close_job     RECORDED      WORKFLOW_CLOSED JOB_COMPLETED JOB_CLOSED -> job COMPLETED! code="done", attempt i/1 CLOSED 20..40 C40 by exe code="done" close_job
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED      WORKFLOW_CLOSED -> attempt i/2 CLOSED ..40 C40 by exe code="done"
            CLOSED: job ACTIVE, attempt i/1 CLOSED ..40 C40 by exe code="done"
              STARTED               RECORDED      WORKFLOW_STARTED -> attempt i/1 CLOSED 20..40 C40 by exe code="done"
              STARTED later         RECORDED      WORKFLOW_STARTED -> attempt i/1 CLOSED 25..40 C40 by exe code="done"
              STARTED earlier       RECORDED      WORKFLOW_STARTED -> attempt i/1 CLOSED 15..40 C40 by exe code="done"
              STARTED by eve        RECORDED      WORKFLOW_STARTED -> attempt i/1 CLOSED 25..40 C40 by exe code="done"
              STARTED too late      ! TIMESTAMP_REGRESSION 50>40
              STARTED, close_job    RECORDED      WORKFLOW_STARTED -> attempt i/1 CLOSED 20..40 C40 by exe code="done"
              CLOSED                UNCHANGED     -
              CLOSED without data   ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED by eve         ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED later          ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED, other code    ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED too early      ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED, close_job     ! WORKFLOW_ALREADY_CLOSED i/1
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED      WORKFLOW_CLOSED -> attempt i/2 CLOSED ..40 C40 by exe code="done"
            STARTED, CLOSED: job ACTIVE, attempt i/1 CLOSED 20..40 C40 by exe code="done"
              STARTED               UNCHANGED     -
              STARTED later         UNCHANGED     -
              STARTED earlier       RECORDED      WORKFLOW_STARTED -> attempt i/1 CLOSED 15..40 C40 by exe code="done"
              STARTED by eve        UNCHANGED     -
              STARTED too late      ! TIMESTAMP_REGRESSION 50>40
              STARTED, close_job    UNCHANGED     -
              CLOSED                UNCHANGED     -
              CLOSED without data   ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED by eve         ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED later          ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED, other code    ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED too early      ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED, close_job     ! WORKFLOW_ALREADY_CLOSED i/1
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED      WORKFLOW_CLOSED -> attempt i/2 CLOSED ..40 C40 by exe code="done"
            tasks, CLOSED without data: job ACTIVE, attempt i/1 CLOSED ..40 {B:C30 C:C30} by exe code="done" collated
              STARTED               RECORDED      WORKFLOW_STARTED -> attempt i/1 CLOSED 20..40 {B:C30 C:C30} by exe code="done" collated
              STARTED later         RECORDED      WORKFLOW_STARTED -> attempt i/1 CLOSED 25..40 {B:C30 C:C30} by exe code="done" collated
              STARTED earlier       RECORDED      WORKFLOW_STARTED -> attempt i/1 CLOSED 15..40 {B:C30 C:C30} by exe code="done" collated
              STARTED by eve        RECORDED      WORKFLOW_STARTED -> attempt i/1 CLOSED 25..40 {B:C30 C:C30} by exe code="done" collated
              STARTED too late      ! TIMESTAMP_REGRESSION 50>40
              STARTED, close_job    RECORDED      WORKFLOW_STARTED -> attempt i/1 CLOSED 20..40 {B:C30 C:C30} by exe code="done" collated
              CLOSED                ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED without data   UNCHANGED     -
              CLOSED by eve         ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED later          ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED, other code    ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED too early      ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED, close_job     ! WORKFLOW_ALREADY_CLOSED i/1
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED      WORKFLOW_CLOSED -> attempt i/2 CLOSED ..40 C40 by exe code="done"
            STARTED, a newer attempt: job ACTIVE, attempt i/1 STARTED 20.. S20 by exe, attempt i/2 STARTED 60.. S60 by exe
              STARTED               UNCHANGED     -
              STARTED later         ! STALE_ATTEMPT newest 2
              STARTED earlier       ! STALE_ATTEMPT newest 2
              STARTED by eve        ! STALE_ATTEMPT newest 2
              STARTED too late      ! STALE_ATTEMPT newest 2
              STARTED, close_job    UNCHANGED     -
              CLOSED                ! STALE_ATTEMPT newest 2
              CLOSED without data   ! STALE_ATTEMPT newest 2
              CLOSED by eve         ! STALE_ATTEMPT newest 2
              CLOSED later          ! STALE_ATTEMPT newest 2
              CLOSED, other code    ! STALE_ATTEMPT newest 2
              CLOSED too early      ! STALE_ATTEMPT newest 2
              CLOSED, close_job     ! STALE_ATTEMPT newest 2
              other dispatch        ! STALE_ATTEMPT newest 2
              attempt 0             ! STALE_ATTEMPT newest 2
              attempt 2             ! TIMESTAMP_REGRESSION 60>40
            CLOSED, a newer attempt: job ACTIVE, attempt i/1 CLOSED ..40 C40 by exe code="done", attempt i/2 - .. {}
              STARTED               ! STALE_ATTEMPT newest 2
              STARTED later         ! STALE_ATTEMPT newest 2
              STARTED earlier       ! STALE_ATTEMPT newest 2
              STARTED by eve        ! STALE_ATTEMPT newest 2
              STARTED too late      ! STALE_ATTEMPT newest 2
              STARTED, close_job    ! STALE_ATTEMPT newest 2
              CLOSED                UNCHANGED     -
              CLOSED without data   ! STALE_ATTEMPT newest 2
              CLOSED by eve         ! STALE_ATTEMPT newest 2
              CLOSED later          ! STALE_ATTEMPT newest 2
              CLOSED, other code    ! STALE_ATTEMPT newest 2
              CLOSED too early      ! STALE_ATTEMPT newest 2
              CLOSED, close_job     ! STALE_ATTEMPT newest 2
              other dispatch        ! STALE_ATTEMPT newest 2
              attempt 0             ! STALE_ATTEMPT newest 2
              attempt 2             RECORDED      TASK_COMPLETED WORKFLOW_CLOSED; terminated 2/a -> attempt i/2 CLOSED ..40 C40 by exe code="done"
            the job is closed: job ABORTED!
              STARTED               RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 STARTED 20.. S20 by exe late
              STARTED later         RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 STARTED 25.. S25 by exe late
              STARTED earlier       RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 STARTED 15.. S15 by exe late
              STARTED by eve        RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 STARTED 25.. S25 by eve late
              STARTED too late      RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 STARTED 50.. S50 by exe late
              STARTED, close_job    RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 STARTED 20.. S20 by exe late
              CLOSED                RECORDED_LATE WORKFLOW_CLOSED -> attempt i/1 CLOSED ..40 C40 by exe code="done" late
              CLOSED without data   RECORDED_LATE WORKFLOW_CLOSED -> attempt i/1 CLOSED ..40 {} by exe code="done" collated late
              CLOSED by eve         RECORDED_LATE WORKFLOW_CLOSED -> attempt i/1 CLOSED ..40 C40 by eve code="done" late
              CLOSED later          RECORDED_LATE WORKFLOW_CLOSED -> attempt i/1 CLOSED ..45 C45 by exe code="done" late
              CLOSED, other code    RECORDED_LATE WORKFLOW_CLOSED -> attempt i/1 CLOSED ..40 C40 by exe code="other" late
              CLOSED too early      RECORDED_LATE WORKFLOW_CLOSED -> attempt i/1 CLOSED ..10 C10 by exe code="done" late
              CLOSED, close_job     RECORDED_LATE WORKFLOW_CLOSED -> attempt i/1 CLOSED ..40 C40 by exe code="done" close_job late
              other dispatch        RECORDED_LATE WORKFLOW_CLOSED -> attempt i/1 CLOSED ..40 C40 by exe code="done" late
              attempt 0             RECORDED_LATE WORKFLOW_CLOSED -> attempt i/0 CLOSED ..40 C40 by exe code="done" late
              attempt 2             RECORDED_LATE WORKFLOW_CLOSED -> attempt i/2 CLOSED ..40 C40 by exe code="done" late
            STARTED, the job closed: job ABORTED!, attempt i/1 STARTED 20.. S20 by exe
              STARTED               UNCHANGED     -
              STARTED later         RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 STARTED 20.. S25 by exe late
              STARTED earlier       RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 STARTED 15.. S20 by exe late
              STARTED by eve        RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 STARTED 20.. S25 by eve late
              STARTED too late      RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 STARTED 20.. S50 by exe late
              STARTED, close_job    UNCHANGED     -
              CLOSED                RECORDED_LATE WORKFLOW_CLOSED -> attempt i/1 CLOSED 20..40 C40 by exe code="done" late
              CLOSED without data   RECORDED_LATE WORKFLOW_CLOSED -> attempt i/1 CLOSED 20..40 {} by exe code="done" collated late
              CLOSED by eve         RECORDED_LATE WORKFLOW_CLOSED -> attempt i/1 CLOSED 20..40 C40 by eve code="done" late
              CLOSED later          RECORDED_LATE WORKFLOW_CLOSED -> attempt i/1 CLOSED 20..45 C45 by exe code="done" late
              CLOSED, other code    RECORDED_LATE WORKFLOW_CLOSED -> attempt i/1 CLOSED 20..40 C40 by exe code="other" late
              CLOSED too early      ! TIMESTAMP_REGRESSION 20>10
              CLOSED, close_job     RECORDED_LATE WORKFLOW_CLOSED -> attempt i/1 CLOSED 20..40 C40 by exe code="done" close_job late
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED_LATE WORKFLOW_CLOSED -> attempt i/2 CLOSED ..40 C40 by exe code="done" late
            tasks, the job closed: job ABORTED!, attempt i/1 - .. {}
              STARTED               RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 STARTED 20.. S20 by exe late
              STARTED later         RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 STARTED 25.. S25 by exe late
              STARTED earlier       RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 STARTED 15.. S15 by exe late
              STARTED by eve        RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 STARTED 25.. S25 by eve late
              STARTED too late      RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 STARTED 50.. S50 by exe late
              STARTED, close_job    RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 STARTED 20.. S20 by exe late
              CLOSED                RECORDED_LATE TASK_COMPLETED WORKFLOW_CLOSED; terminated 1/a -> attempt i/1 CLOSED ..40 C40 by exe code="done" late
              CLOSED without data   RECORDED_LATE TASK_COMPLETED WORKFLOW_CLOSED; terminated 1/a -> attempt i/1 CLOSED ..40 {B:C30 C:C30} by exe code="done" collated late
              CLOSED by eve         RECORDED_LATE TASK_COMPLETED WORKFLOW_CLOSED; terminated 1/a -> attempt i/1 CLOSED ..40 C40 by eve code="done" late
              CLOSED later          RECORDED_LATE TASK_COMPLETED WORKFLOW_CLOSED; terminated 1/a -> attempt i/1 CLOSED ..45 C45 by exe code="done" late
              CLOSED, other code    RECORDED_LATE TASK_COMPLETED WORKFLOW_CLOSED; terminated 1/a -> attempt i/1 CLOSED ..40 C40 by exe code="other" late
              CLOSED too early      RECORDED_LATE TASK_COMPLETED WORKFLOW_CLOSED; terminated 1/a -> attempt i/1 CLOSED ..10 C10 by exe code="done" late
              CLOSED, close_job     RECORDED_LATE TASK_COMPLETED WORKFLOW_CLOSED; terminated 1/a -> attempt i/1 CLOSED ..40 C40 by exe code="done" close_job late
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED_LATE TASK_COMPLETED WORKFLOW_CLOSED; terminated 1/a -> attempt i/2 CLOSED ..40 C40 by exe code="done" late
            CLOSED, the job closed: job ABORTED!, attempt i/1 CLOSED ..40 C40 by exe code="done"
              STARTED               RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 CLOSED 20..40 C40 by exe code="done" late
              STARTED later         RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 CLOSED 25..40 C40 by exe code="done" late
              STARTED earlier       RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 CLOSED 15..40 C40 by exe code="done" late
              STARTED by eve        RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 CLOSED 25..40 C40 by exe code="done" late
              STARTED too late      ! TIMESTAMP_REGRESSION 50>40
              STARTED, close_job    RECORDED_LATE WORKFLOW_STARTED -> attempt i/1 CLOSED 20..40 C40 by exe code="done" late
              CLOSED                UNCHANGED     -
              CLOSED without data   ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED by eve         ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED later          ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED, other code    ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED too early      ! WORKFLOW_ALREADY_CLOSED i/1
              CLOSED, close_job     ! WORKFLOW_ALREADY_CLOSED i/1
              other dispatch        ! EXECUTION_MISMATCH dispatch_id is dispatch-1
              attempt 0             ! STALE_ATTEMPT newest 1
              attempt 2             RECORDED_LATE WORKFLOW_CLOSED -> attempt i/2 CLOSED ..40 C40 by exe code="done" late
        "#]],
    );
}

/// A task that does the work of the AUTOMATIC step `auto`, and one that CreateTaskStatus made, reported by their own ids.
#[test]
fn every_situation_meets_every_report_of_a_task_by_its_own_id() {
    let auto = |says: Says| OfTask("<auto>", says);
    let made = |says: Says| OfTask("<made>", says);
    let reports = [
        ("STARTED", started("a", 20)),
        ("STARTED by eve", started("a", 20).by("eve")),
        ("CLOSED", closed("a", 40)),
        ("CLOSED as WARNING", closed("a", 40).ended(CompletionStatus::Warning)),
        ("CLOSED as ERROR", closed("a", 40).ended(CompletionStatus::Error)),
        ("CLOSED as TERMINATED", closed("a", 40).ended(CompletionStatus::Terminated)),
        ("CLOSED as TEMP_ERROR", closed("a", 40).ended(CompletionStatus::TempError)),
        ("CLOSED too early", closed("a", 10)),
        ("CLOSED elsewhere", closed("a", 40).instance("k")),
        ("attempt 2 STARTED", started("a", 60).attempt(2)),
        ("attempt 2 CLOSED", closed("a", 60).attempt(2)),
    ];
    let situations = vec![
        ("running", vec![Run]),
        ("STARTED", vec![Run, auto(started("a", 20))]),
        ("CLOSED", vec![Run, auto(closed("a", 40))]),
        ("CLOSED as ERROR", vec![Run, auto(closed("a", 40).ended(CompletionStatus::Error))]),
        ("stopped", vec![Run, Stop]),
        ("STARTED, stopped", vec![Run, auto(started("a", 20)), Stop]),
        ("patched", vec![Run, Patch("<auto>", "Success")]),
        ("STARTED, patched", vec![Run, auto(started("a", 20)), Patch("<auto>", "Error")]),
        ("overdue", vec![RunUntil(150), Overdue("<auto>", 100)]),
        ("STARTED, overdue", vec![RunUntil(150), auto(started("a", 20)), Overdue("<auto>", 100)]),
        ("the attempt is closed", vec![Run, workflow_closed(60).into()]),
        ("STARTED, the attempt closed", vec![Run, auto(started("a", 20)), workflow_closed(60).into()]),
        (
            "STARTED, a newer attempt",
            vec![Run, auto(started("a", 20)), workflow_started(50).attempt(2).into()],
        ),
        ("aborted", vec![Run, Abort]),
        ("STARTED, aborted", vec![Run, auto(started("a", 20)), Abort]),
    ];
    let situations =
        situations.into_iter().map(|(name, before)| (name, Story::automatic(), before)).collect();
    check(
        situations,
        &reports,
        &["job", "<auto>"],
        Some("<auto>"),
        expect![[r#"
            running: job ACTIVE auto:RUNNING next:PENDING, <auto> .. open
              STARTED               RECORDED      TASK_UPDATED -> <auto> i/1 #0 STARTED 20.. S20 by exe
              STARTED by eve        RECORDED      TASK_UPDATED -> <auto> i/1 #0 STARTED 20.. S20 by eve
              CLOSED                RECORDED      TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED -> job ACTIVE auto:FINISHED next:READY, <auto> i/1 #0 CLOSED ..40 SUCCESS C40 by -,exe
              CLOSED as WARNING     RECORDED      TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED -> job ACTIVE auto:FINISHED next:READY, <auto> i/1 #0 CLOSED ..40 WARNING C40 by -,exe
              CLOSED as ERROR       RECORDED      TASK_COMPLETED STEP_ERROR -> job ACTIVE auto:ERROR next:PENDING, <auto> i/1 #0 CLOSED ..40 ERROR C40 by -,exe
              CLOSED as TERMINATED  RECORDED      TASK_COMPLETED STEP_ERROR -> job ACTIVE auto:ERROR next:PENDING, <auto> i/1 #0 CLOSED ..40 TERMINATED C40 by -,exe
              CLOSED as TEMP_ERROR  RECORDED      TASK_COMPLETED STEP_ERROR -> job ACTIVE auto:ERROR next:PENDING, <auto> i/1 #0 CLOSED ..40 TEMP_ERROR C40 by -,exe
              CLOSED too early      RECORDED      TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED -> job ACTIVE auto:FINISHED next:READY, <auto> i/1 #0 CLOSED ..10 SUCCESS C10 by -,exe
              CLOSED elsewhere      RECORDED      TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED -> job ACTIVE auto:FINISHED next:READY, <auto> k/1 #0 CLOSED ..40 SUCCESS C40 by -,exe
              attempt 2 STARTED     RECORDED      TASK_UPDATED -> <auto> i/2 #0 STARTED 60.. S60 by exe
              attempt 2 CLOSED      RECORDED      TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED -> job ACTIVE auto:FINISHED next:READY, <auto> i/2 #0 CLOSED ..60 SUCCESS C60 by -,exe
            STARTED: job ACTIVE auto:RUNNING next:PENDING, <auto> i/1 #0 STARTED 20.. S20 by exe
              STARTED               UNCHANGED     -
              STARTED by eve        ! TASK_ALREADY_STARTED <auto> by exe
              CLOSED                RECORDED      TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED -> job ACTIVE auto:FINISHED next:READY, <auto> i/1 #0 CLOSED 20..40 SUCCESS C40 by exe
              CLOSED as WARNING     RECORDED      TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED -> job ACTIVE auto:FINISHED next:READY, <auto> i/1 #0 CLOSED 20..40 WARNING C40 by exe
              CLOSED as ERROR       RECORDED      TASK_COMPLETED STEP_ERROR -> job ACTIVE auto:ERROR next:PENDING, <auto> i/1 #0 CLOSED 20..40 ERROR C40 by exe
              CLOSED as TERMINATED  RECORDED      TASK_COMPLETED STEP_ERROR -> job ACTIVE auto:ERROR next:PENDING, <auto> i/1 #0 CLOSED 20..40 TERMINATED C40 by exe
              CLOSED as TEMP_ERROR  RECORDED      TASK_COMPLETED STEP_ERROR -> job ACTIVE auto:ERROR next:PENDING, <auto> i/1 #0 CLOSED 20..40 TEMP_ERROR C40 by exe
              CLOSED too early      ! TIMESTAMP_REGRESSION 20>10
              CLOSED elsewhere      ! EXECUTION_MISMATCH workflow_instance_id is i
              attempt 2 STARTED     RECORDED      TASK_UPDATED -> <auto> i/2 #0 STARTED 60.. S60 by exe
              attempt 2 CLOSED      RECORDED      TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED -> job ACTIVE auto:FINISHED next:READY, <auto> i/2 #0 CLOSED ..60 SUCCESS C60 by -,exe
            CLOSED: job ACTIVE auto:FINISHED next:READY, <auto> i/1 #0 CLOSED ..40 SUCCESS C40 by -,exe
              STARTED               RECORDED      TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..40 SUCCESS C40 by exe
              STARTED by eve        RECORDED      TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..40 SUCCESS C40 by eve,exe
              CLOSED                UNCHANGED     -
              CLOSED as WARNING     ! TASK_ALREADY_CLOSED <auto>
              CLOSED as ERROR       ! TASK_ALREADY_CLOSED <auto>
              CLOSED as TERMINATED  ! TASK_ALREADY_CLOSED <auto>
              CLOSED as TEMP_ERROR  ! TASK_ALREADY_CLOSED <auto>
              CLOSED too early      ! TASK_ALREADY_CLOSED <auto>
              CLOSED elsewhere      ! EXECUTION_MISMATCH workflow_instance_id is i
              attempt 2 STARTED     ! TASK_ALREADY_CLOSED <auto>
              attempt 2 CLOSED      ! TASK_ALREADY_CLOSED <auto>
            CLOSED as ERROR: job ACTIVE auto:ERROR next:PENDING, <auto> i/1 #0 CLOSED ..40 ERROR C40 by -,exe
              STARTED               RECORDED      TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..40 ERROR C40 by exe
              STARTED by eve        RECORDED      TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..40 ERROR C40 by eve,exe
              CLOSED                ! TASK_ALREADY_CLOSED <auto>
              CLOSED as WARNING     ! TASK_ALREADY_CLOSED <auto>
              CLOSED as ERROR       UNCHANGED     -
              CLOSED as TERMINATED  ! TASK_ALREADY_CLOSED <auto>
              CLOSED as TEMP_ERROR  ! TASK_ALREADY_CLOSED <auto>
              CLOSED too early      ! TASK_ALREADY_CLOSED <auto>
              CLOSED elsewhere      ! EXECUTION_MISMATCH workflow_instance_id is i
              attempt 2 STARTED     ! TASK_ALREADY_CLOSED <auto>
              attempt 2 CLOSED      ! TASK_ALREADY_CLOSED <auto>
            stopped: job ACTIVE auto:CANCELLED next:PENDING, <auto> ..103 TERMINATED
              STARTED               RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 STARTED 20..103 TERMINATED S20 by exe late
              STARTED by eve        RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 STARTED 20..103 TERMINATED S20 by eve late
              CLOSED                RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 TERMINATED (SUCCESS) C40 by -,exe late
              CLOSED as WARNING     RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 TERMINATED (WARNING) C40 by -,exe late
              CLOSED as ERROR       RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 TERMINATED (ERROR) C40 by -,exe late
              CLOSED as TERMINATED  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 TERMINATED C40 by -,exe late
              CLOSED as TEMP_ERROR  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 TERMINATED (TEMP_ERROR) C40 by -,exe late
              CLOSED too early      RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 TERMINATED (SUCCESS) C10 by -,exe late
              CLOSED elsewhere      RECORDED_LATE TASK_UPDATED -> <auto> k/1 #0 CLOSED ..103 TERMINATED (SUCCESS) C40 by -,exe late
              attempt 2 STARTED     RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 STARTED 60..103 TERMINATED S60 by exe late
              attempt 2 CLOSED      RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 CLOSED ..103 TERMINATED (SUCCESS) C60 by -,exe late
            STARTED, stopped: job ACTIVE auto:CANCELLED next:PENDING, <auto> i/1 #0 STARTED 20..104 TERMINATED S20 by exe
              STARTED               UNCHANGED     -
              STARTED by eve        ! TASK_ALREADY_STARTED <auto> by exe
              CLOSED                RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 TERMINATED (SUCCESS) C40 by exe late
              CLOSED as WARNING     RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 TERMINATED (WARNING) C40 by exe late
              CLOSED as ERROR       RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 TERMINATED (ERROR) C40 by exe late
              CLOSED as TERMINATED  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 TERMINATED C40 by exe late
              CLOSED as TEMP_ERROR  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 TERMINATED (TEMP_ERROR) C40 by exe late
              CLOSED too early      ! TIMESTAMP_REGRESSION 20>10
              CLOSED elsewhere      ! EXECUTION_MISMATCH workflow_instance_id is i
              attempt 2 STARTED     RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 STARTED 60..104 TERMINATED S60 by exe late
              attempt 2 CLOSED      RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 CLOSED ..104 TERMINATED (SUCCESS) C60 by -,exe late
            patched: job ACTIVE auto:FINISHED next:READY, <auto> ..103 SUCCESS
              STARTED               RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 STARTED 20..103 SUCCESS S20 by exe late
              STARTED by eve        RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 STARTED 20..103 SUCCESS S20 by eve late
              CLOSED                RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 SUCCESS C40 by -,exe late
              CLOSED as WARNING     RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 SUCCESS (WARNING) C40 by -,exe late
              CLOSED as ERROR       RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 SUCCESS (ERROR) C40 by -,exe late
              CLOSED as TERMINATED  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 SUCCESS (TERMINATED) C40 by -,exe late
              CLOSED as TEMP_ERROR  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 SUCCESS (TEMP_ERROR) C40 by -,exe late
              CLOSED too early      RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 SUCCESS C10 by -,exe late
              CLOSED elsewhere      RECORDED_LATE TASK_UPDATED -> <auto> k/1 #0 CLOSED ..103 SUCCESS C40 by -,exe late
              attempt 2 STARTED     RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 STARTED 60..103 SUCCESS S60 by exe late
              attempt 2 CLOSED      RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 CLOSED ..103 SUCCESS C60 by -,exe late
            STARTED, patched: job ACTIVE auto:ERROR next:PENDING, <auto> i/1 #0 STARTED 20..104 ERROR S20 by exe
              STARTED               UNCHANGED     -
              STARTED by eve        ! TASK_ALREADY_STARTED <auto> by exe
              CLOSED                RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 ERROR (SUCCESS) C40 by exe late
              CLOSED as WARNING     RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 ERROR (WARNING) C40 by exe late
              CLOSED as ERROR       RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 ERROR C40 by exe late
              CLOSED as TERMINATED  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 ERROR (TERMINATED) C40 by exe late
              CLOSED as TEMP_ERROR  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 ERROR (TEMP_ERROR) C40 by exe late
              CLOSED too early      ! TIMESTAMP_REGRESSION 20>10
              CLOSED elsewhere      ! EXECUTION_MISMATCH workflow_instance_id is i
              attempt 2 STARTED     RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 STARTED 60..104 ERROR S60 by exe late
              attempt 2 CLOSED      RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 CLOSED ..104 ERROR (SUCCESS) C60 by -,exe late
            overdue: job ACTIVE auto:ERROR next:PENDING, <auto> ..203 TEMP_ERROR
              STARTED               RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 STARTED 20..203 TEMP_ERROR S20 by exe late
              STARTED by eve        RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 STARTED 20..203 TEMP_ERROR S20 by eve late
              CLOSED                RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..203 TEMP_ERROR (SUCCESS) C40 by -,exe late
              CLOSED as WARNING     RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..203 TEMP_ERROR (WARNING) C40 by -,exe late
              CLOSED as ERROR       RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..203 TEMP_ERROR (ERROR) C40 by -,exe late
              CLOSED as TERMINATED  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..203 TEMP_ERROR (TERMINATED) C40 by -,exe late
              CLOSED as TEMP_ERROR  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..203 TEMP_ERROR C40 by -,exe late
              CLOSED too early      RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..203 TEMP_ERROR (SUCCESS) C10 by -,exe late
              CLOSED elsewhere      RECORDED_LATE TASK_UPDATED -> <auto> k/1 #0 CLOSED ..203 TEMP_ERROR (SUCCESS) C40 by -,exe late
              attempt 2 STARTED     RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 STARTED 60..203 TEMP_ERROR S60 by exe late
              attempt 2 CLOSED      RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 CLOSED ..203 TEMP_ERROR (SUCCESS) C60 by -,exe late
            STARTED, overdue: job ACTIVE auto:ERROR next:PENDING, <auto> i/1 #0 STARTED 20..204 TEMP_ERROR S20 by exe
              STARTED               UNCHANGED     -
              STARTED by eve        ! TASK_ALREADY_STARTED <auto> by exe
              CLOSED                RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..204 TEMP_ERROR (SUCCESS) C40 by exe late
              CLOSED as WARNING     RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..204 TEMP_ERROR (WARNING) C40 by exe late
              CLOSED as ERROR       RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..204 TEMP_ERROR (ERROR) C40 by exe late
              CLOSED as TERMINATED  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..204 TEMP_ERROR (TERMINATED) C40 by exe late
              CLOSED as TEMP_ERROR  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..204 TEMP_ERROR C40 by exe late
              CLOSED too early      ! TIMESTAMP_REGRESSION 20>10
              CLOSED elsewhere      ! EXECUTION_MISMATCH workflow_instance_id is i
              attempt 2 STARTED     RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 STARTED 60..204 TEMP_ERROR S60 by exe late
              attempt 2 CLOSED      RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 CLOSED ..204 TEMP_ERROR (SUCCESS) C60 by -,exe late
            the attempt is closed: job ACTIVE auto:RUNNING next:PENDING, <auto> .. open
              STARTED               RECORDED      TASK_UPDATED -> <auto> i/1 #0 STARTED 20.. S20 by exe
              STARTED by eve        RECORDED      TASK_UPDATED -> <auto> i/1 #0 STARTED 20.. S20 by eve
              CLOSED                RECORDED      TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED -> job ACTIVE auto:FINISHED next:READY, <auto> i/1 #0 CLOSED ..40 SUCCESS C40 by -,exe
              CLOSED as WARNING     RECORDED      TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED -> job ACTIVE auto:FINISHED next:READY, <auto> i/1 #0 CLOSED ..40 WARNING C40 by -,exe
              CLOSED as ERROR       RECORDED      TASK_COMPLETED STEP_ERROR -> job ACTIVE auto:ERROR next:PENDING, <auto> i/1 #0 CLOSED ..40 ERROR C40 by -,exe
              CLOSED as TERMINATED  RECORDED      TASK_COMPLETED STEP_ERROR -> job ACTIVE auto:ERROR next:PENDING, <auto> i/1 #0 CLOSED ..40 TERMINATED C40 by -,exe
              CLOSED as TEMP_ERROR  RECORDED      TASK_COMPLETED STEP_ERROR -> job ACTIVE auto:ERROR next:PENDING, <auto> i/1 #0 CLOSED ..40 TEMP_ERROR C40 by -,exe
              CLOSED too early      RECORDED      TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED -> job ACTIVE auto:FINISHED next:READY, <auto> i/1 #0 CLOSED ..10 SUCCESS C10 by -,exe
              CLOSED elsewhere      RECORDED      TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED -> job ACTIVE auto:FINISHED next:READY, <auto> k/1 #0 CLOSED ..40 SUCCESS C40 by -,exe
              attempt 2 STARTED     RECORDED      TASK_UPDATED -> <auto> i/2 #0 STARTED 60.. S60 by exe
              attempt 2 CLOSED      RECORDED      TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED -> job ACTIVE auto:FINISHED next:READY, <auto> i/2 #0 CLOSED ..60 SUCCESS C60 by -,exe
            STARTED, the attempt closed: job ACTIVE auto:ERROR next:PENDING, <auto> i/1 #0 STARTED 20..104 TERMINATED S20 by exe
              STARTED               UNCHANGED     -
              STARTED by eve        ! TASK_ALREADY_STARTED <auto> by exe
              CLOSED                RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 TERMINATED (SUCCESS) C40 by exe late
              CLOSED as WARNING     RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 TERMINATED (WARNING) C40 by exe late
              CLOSED as ERROR       RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 TERMINATED (ERROR) C40 by exe late
              CLOSED as TERMINATED  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 TERMINATED C40 by exe late
              CLOSED as TEMP_ERROR  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 TERMINATED (TEMP_ERROR) C40 by exe late
              CLOSED too early      ! TIMESTAMP_REGRESSION 20>10
              CLOSED elsewhere      ! EXECUTION_MISMATCH workflow_instance_id is i
              attempt 2 STARTED     RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 STARTED 60..104 TERMINATED S60 by exe late
              attempt 2 CLOSED      RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 CLOSED ..104 TERMINATED (SUCCESS) C60 by -,exe late
            STARTED, a newer attempt: job ACTIVE auto:RUNNING next:PENDING, <auto> i/1 #0 STARTED 20.. S20 by exe
              STARTED               UNCHANGED     -
              STARTED by eve        ! STALE_ATTEMPT newest 2
              CLOSED                ! STALE_ATTEMPT newest 2
              CLOSED as WARNING     ! STALE_ATTEMPT newest 2
              CLOSED as ERROR       ! STALE_ATTEMPT newest 2
              CLOSED as TERMINATED  ! STALE_ATTEMPT newest 2
              CLOSED as TEMP_ERROR  ! STALE_ATTEMPT newest 2
              CLOSED too early      ! STALE_ATTEMPT newest 2
              CLOSED elsewhere      ! EXECUTION_MISMATCH workflow_instance_id is i
              attempt 2 STARTED     RECORDED      TASK_UPDATED -> <auto> i/2 #0 STARTED 60.. S60 by exe
              attempt 2 CLOSED      RECORDED      TASK_COMPLETED STEP_EXECUTED STEP_FINISHED STEP_ACTIVATED -> job ACTIVE auto:FINISHED next:READY, <auto> i/2 #0 CLOSED ..60 SUCCESS C60 by -,exe
            aborted: job ABORTED! auto:CANCELLED next:PENDING, <auto> ..103 TERMINATED
              STARTED               RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 STARTED 20..103 TERMINATED S20 by exe late
              STARTED by eve        RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 STARTED 20..103 TERMINATED S20 by eve late
              CLOSED                RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 TERMINATED (SUCCESS) C40 by -,exe late
              CLOSED as WARNING     RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 TERMINATED (WARNING) C40 by -,exe late
              CLOSED as ERROR       RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 TERMINATED (ERROR) C40 by -,exe late
              CLOSED as TERMINATED  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 TERMINATED C40 by -,exe late
              CLOSED as TEMP_ERROR  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 TERMINATED (TEMP_ERROR) C40 by -,exe late
              CLOSED too early      RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED ..103 TERMINATED (SUCCESS) C10 by -,exe late
              CLOSED elsewhere      RECORDED_LATE TASK_UPDATED -> <auto> k/1 #0 CLOSED ..103 TERMINATED (SUCCESS) C40 by -,exe late
              attempt 2 STARTED     RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 STARTED 60..103 TERMINATED S60 by exe late
              attempt 2 CLOSED      RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 CLOSED ..103 TERMINATED (SUCCESS) C60 by -,exe late
            STARTED, aborted: job ABORTED! auto:CANCELLED next:PENDING, <auto> i/1 #0 STARTED 20..104 TERMINATED S20 by exe
              STARTED               UNCHANGED     -
              STARTED by eve        ! TASK_ALREADY_STARTED <auto> by exe
              CLOSED                RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 TERMINATED (SUCCESS) C40 by exe late
              CLOSED as WARNING     RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 TERMINATED (WARNING) C40 by exe late
              CLOSED as ERROR       RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 TERMINATED (ERROR) C40 by exe late
              CLOSED as TERMINATED  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 TERMINATED C40 by exe late
              CLOSED as TEMP_ERROR  RECORDED_LATE TASK_UPDATED -> <auto> i/1 #0 CLOSED 20..104 TERMINATED (TEMP_ERROR) C40 by exe late
              CLOSED too early      ! TIMESTAMP_REGRESSION 20>10
              CLOSED elsewhere      ! EXECUTION_MISMATCH workflow_instance_id is i
              attempt 2 STARTED     RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 STARTED 60..104 TERMINATED S60 by exe late
              attempt 2 CLOSED      RECORDED_LATE TASK_UPDATED -> <auto> i/2 #0 CLOSED ..104 TERMINATED (SUCCESS) C60 by -,exe late
        "#]],
    );

    let situations = vec![
        ("made", vec![CreateTask("made", None)]),
        ("made, launched", vec![CreateTask("made", Some(30))]),
        ("made, STARTED", vec![CreateTask("made", None), made(started("a", 20))]),
        ("made, CLOSED", vec![CreateTask("made", None), made(closed("a", 40))]),
        ("made, ended", vec![CreateTask("made", None), Patch("<made>", "Warning")]),
        ("made, the job closed", vec![CreateTask("made", None), Close]),
    ];
    let situations = situations.into_iter().map(|(name, before)| (name, Story::bare(), before)).collect();
    check(
        situations,
        &reports,
        &["job", "<made>"],
        Some("<made>"),
        expect![[r#"
            made: job NOT_STARTED, <made> .. open
              STARTED               RECORDED      JOB_UPDATED TASK_UPDATED -> job ACTIVE, <made> i/1 #0 STARTED 20.. S20 by exe
              STARTED by eve        RECORDED      JOB_UPDATED TASK_UPDATED -> job ACTIVE, <made> i/1 #0 STARTED 20.. S20 by eve
              CLOSED                RECORDED      JOB_UPDATED TASK_COMPLETED -> job ACTIVE, <made> i/1 #0 CLOSED ..40 SUCCESS C40 by -,exe
              CLOSED as WARNING     RECORDED      JOB_UPDATED TASK_COMPLETED -> job ACTIVE, <made> i/1 #0 CLOSED ..40 WARNING C40 by -,exe
              CLOSED as ERROR       RECORDED      JOB_UPDATED TASK_COMPLETED -> job ACTIVE, <made> i/1 #0 CLOSED ..40 ERROR C40 by -,exe
              CLOSED as TERMINATED  RECORDED      JOB_UPDATED TASK_COMPLETED -> job ACTIVE, <made> i/1 #0 CLOSED ..40 TERMINATED C40 by -,exe
              CLOSED as TEMP_ERROR  RECORDED      JOB_UPDATED TASK_COMPLETED -> job ACTIVE, <made> i/1 #0 CLOSED ..40 TEMP_ERROR C40 by -,exe
              CLOSED too early      RECORDED      JOB_UPDATED TASK_COMPLETED -> job ACTIVE, <made> i/1 #0 CLOSED ..10 SUCCESS C10 by -,exe
              CLOSED elsewhere      RECORDED      JOB_UPDATED TASK_COMPLETED -> job ACTIVE, <made> k/1 #0 CLOSED ..40 SUCCESS C40 by -,exe
              attempt 2 STARTED     RECORDED      JOB_UPDATED TASK_UPDATED -> job ACTIVE, <made> i/2 #0 STARTED 60.. S60 by exe
              attempt 2 CLOSED      RECORDED      JOB_UPDATED TASK_COMPLETED -> job ACTIVE, <made> i/2 #0 CLOSED ..60 SUCCESS C60 by -,exe
            made, launched: job NOT_STARTED, <made> 30.. open
              STARTED               RECORDED      JOB_UPDATED TASK_UPDATED -> job ACTIVE, <made> i/1 #0 STARTED 20.. S20 by exe
              STARTED by eve        RECORDED      JOB_UPDATED TASK_UPDATED -> job ACTIVE, <made> i/1 #0 STARTED 20.. S20 by eve
              CLOSED                RECORDED      JOB_UPDATED TASK_COMPLETED -> job ACTIVE, <made> i/1 #0 CLOSED 30..40 SUCCESS C40 by -,exe
              CLOSED as WARNING     RECORDED      JOB_UPDATED TASK_COMPLETED -> job ACTIVE, <made> i/1 #0 CLOSED 30..40 WARNING C40 by -,exe
              CLOSED as ERROR       RECORDED      JOB_UPDATED TASK_COMPLETED -> job ACTIVE, <made> i/1 #0 CLOSED 30..40 ERROR C40 by -,exe
              CLOSED as TERMINATED  RECORDED      JOB_UPDATED TASK_COMPLETED -> job ACTIVE, <made> i/1 #0 CLOSED 30..40 TERMINATED C40 by -,exe
              CLOSED as TEMP_ERROR  RECORDED      JOB_UPDATED TASK_COMPLETED -> job ACTIVE, <made> i/1 #0 CLOSED 30..40 TEMP_ERROR C40 by -,exe
              CLOSED too early      ! TIMESTAMP_REGRESSION 30>10
              CLOSED elsewhere      RECORDED      JOB_UPDATED TASK_COMPLETED -> job ACTIVE, <made> k/1 #0 CLOSED 30..40 SUCCESS C40 by -,exe
              attempt 2 STARTED     RECORDED      JOB_UPDATED TASK_UPDATED -> job ACTIVE, <made> i/2 #0 STARTED 30.. S60 by exe
              attempt 2 CLOSED      RECORDED      JOB_UPDATED TASK_COMPLETED -> job ACTIVE, <made> i/2 #0 CLOSED 30..60 SUCCESS C60 by -,exe
            made, STARTED: job ACTIVE, <made> i/1 #0 STARTED 20.. S20 by exe
              STARTED               UNCHANGED     -
              STARTED by eve        ! TASK_ALREADY_STARTED <made> by exe
              CLOSED                RECORDED      TASK_COMPLETED -> <made> i/1 #0 CLOSED 20..40 SUCCESS C40 by exe
              CLOSED as WARNING     RECORDED      TASK_COMPLETED -> <made> i/1 #0 CLOSED 20..40 WARNING C40 by exe
              CLOSED as ERROR       RECORDED      TASK_COMPLETED -> <made> i/1 #0 CLOSED 20..40 ERROR C40 by exe
              CLOSED as TERMINATED  RECORDED      TASK_COMPLETED -> <made> i/1 #0 CLOSED 20..40 TERMINATED C40 by exe
              CLOSED as TEMP_ERROR  RECORDED      TASK_COMPLETED -> <made> i/1 #0 CLOSED 20..40 TEMP_ERROR C40 by exe
              CLOSED too early      ! TIMESTAMP_REGRESSION 20>10
              CLOSED elsewhere      ! EXECUTION_MISMATCH workflow_instance_id is i
              attempt 2 STARTED     RECORDED      TASK_UPDATED -> <made> i/2 #0 STARTED 60.. S60 by exe
              attempt 2 CLOSED      RECORDED      TASK_COMPLETED -> <made> i/2 #0 CLOSED ..60 SUCCESS C60 by -,exe
            made, CLOSED: job ACTIVE, <made> i/1 #0 CLOSED ..40 SUCCESS C40 by -,exe
              STARTED               RECORDED      TASK_UPDATED -> <made> i/1 #0 CLOSED 20..40 SUCCESS C40 by exe
              STARTED by eve        RECORDED      TASK_UPDATED -> <made> i/1 #0 CLOSED 20..40 SUCCESS C40 by eve,exe
              CLOSED                UNCHANGED     -
              CLOSED as WARNING     ! TASK_ALREADY_CLOSED <made>
              CLOSED as ERROR       ! TASK_ALREADY_CLOSED <made>
              CLOSED as TERMINATED  ! TASK_ALREADY_CLOSED <made>
              CLOSED as TEMP_ERROR  ! TASK_ALREADY_CLOSED <made>
              CLOSED too early      ! TASK_ALREADY_CLOSED <made>
              CLOSED elsewhere      ! EXECUTION_MISMATCH workflow_instance_id is i
              attempt 2 STARTED     ! TASK_ALREADY_CLOSED <made>
              attempt 2 CLOSED      ! TASK_ALREADY_CLOSED <made>
            made, ended: job NOT_STARTED, <made> ..103 WARNING
              STARTED               RECORDED_LATE TASK_UPDATED -> <made> i/1 #0 STARTED 20..103 WARNING S20 by exe late
              STARTED by eve        RECORDED_LATE TASK_UPDATED -> <made> i/1 #0 STARTED 20..103 WARNING S20 by eve late
              CLOSED                RECORDED_LATE TASK_UPDATED -> <made> i/1 #0 CLOSED ..103 WARNING (SUCCESS) C40 by -,exe late
              CLOSED as WARNING     RECORDED_LATE TASK_UPDATED -> <made> i/1 #0 CLOSED ..103 WARNING C40 by -,exe late
              CLOSED as ERROR       RECORDED_LATE TASK_UPDATED -> <made> i/1 #0 CLOSED ..103 WARNING (ERROR) C40 by -,exe late
              CLOSED as TERMINATED  RECORDED_LATE TASK_UPDATED -> <made> i/1 #0 CLOSED ..103 WARNING (TERMINATED) C40 by -,exe late
              CLOSED as TEMP_ERROR  RECORDED_LATE TASK_UPDATED -> <made> i/1 #0 CLOSED ..103 WARNING (TEMP_ERROR) C40 by -,exe late
              CLOSED too early      RECORDED_LATE TASK_UPDATED -> <made> i/1 #0 CLOSED ..103 WARNING (SUCCESS) C10 by -,exe late
              CLOSED elsewhere      RECORDED_LATE TASK_UPDATED -> <made> k/1 #0 CLOSED ..103 WARNING (SUCCESS) C40 by -,exe late
              attempt 2 STARTED     RECORDED_LATE TASK_UPDATED -> <made> i/2 #0 STARTED 60..103 WARNING S60 by exe late
              attempt 2 CLOSED      RECORDED_LATE TASK_UPDATED -> <made> i/2 #0 CLOSED ..103 WARNING (SUCCESS) C60 by -,exe late
            made, the job closed: job ABORTED!, <made> .. open
              STARTED               RECORDED_LATE TASK_UPDATED -> <made> i/1 #0 STARTED 20.. S20 by exe late
              STARTED by eve        RECORDED_LATE TASK_UPDATED -> <made> i/1 #0 STARTED 20.. S20 by eve late
              CLOSED                RECORDED_LATE TASK_COMPLETED -> <made> i/1 #0 CLOSED ..40 SUCCESS C40 by -,exe late
              CLOSED as WARNING     RECORDED_LATE TASK_COMPLETED -> <made> i/1 #0 CLOSED ..40 WARNING C40 by -,exe late
              CLOSED as ERROR       RECORDED_LATE TASK_COMPLETED -> <made> i/1 #0 CLOSED ..40 ERROR C40 by -,exe late
              CLOSED as TERMINATED  RECORDED_LATE TASK_COMPLETED -> <made> i/1 #0 CLOSED ..40 TERMINATED C40 by -,exe late
              CLOSED as TEMP_ERROR  RECORDED_LATE TASK_COMPLETED -> <made> i/1 #0 CLOSED ..40 TEMP_ERROR C40 by -,exe late
              CLOSED too early      RECORDED_LATE TASK_COMPLETED -> <made> i/1 #0 CLOSED ..10 SUCCESS C10 by -,exe late
              CLOSED elsewhere      RECORDED_LATE TASK_COMPLETED -> <made> k/1 #0 CLOSED ..40 SUCCESS C40 by -,exe late
              attempt 2 STARTED     RECORDED_LATE TASK_UPDATED -> <made> i/2 #0 STARTED 60.. S60 by exe late
              attempt 2 CLOSED      RECORDED_LATE TASK_COMPLETED -> <made> i/2 #0 CLOSED ..60 SUCCESS C60 by -,exe late
        "#]],
    );
}
