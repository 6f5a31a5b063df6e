//! Rules that random lives seldom come upon, each by a name: what an action is answered, and the job after it. Change them,
//! run with `UPDATE_EXPECT=1`, and review the diff.

use expect_test::{Expect, expect};
use prost_types::Value;

use super::plan;
use crate::{
    domain::{
        Context, CreateJob, Decision, Existing, PerformJobAction, Rejection, ReopenJob,
        fixtures::{JOB_1, check_events, context, event_words, status_word},
    },
    proto::v1::{
        Job, JobActionType, Path, Step, StepDefinition, StepKind, StepStatus, Workflow, WorkflowReference,
    },
};

/// A workflow of MANUAL steps that lead on as the text says: `a>b a>c:answer=='yes'`.
fn drawn(starts: &[&str], paths: &str) -> Workflow {
    let mut steps: Vec<StepDefinition> = Vec::new();
    for path in paths.split_whitespace() {
        let (from, to) = path.split_once('>').unwrap();
        let (to, condition) = to.split_once(':').unwrap_or((to, ""));
        for id in [from, to] {
            if steps.iter().all(|step| step.step_id != id) {
                let mut step = StepDefinition { step_id: id.to_owned(), ..StepDefinition::default() };
                step.set_kind(StepKind::Manual);
                steps.push(step);
            }
        }
        let (next_step_id, condition) = (to.to_owned(), condition.to_owned());
        let path = Path { next_step_id, condition, label: None };
        steps.iter_mut().find(|step| step.step_id == from).unwrap().paths.push(path);
    }
    let start_step_ids = starts.iter().map(|id| (*id).to_owned()).collect();
    Workflow { workflow_id: "workflow".to_owned(), start_step_ids, steps, ..Workflow::default() }
}

struct Story {
    existing: Existing,
    context: Context,
    text: String,
}

impl Story {
    fn of(workflow: &Workflow) -> Self {
        let context = Context { workflow: Some(plan::definition(workflow)), ..context(100) };
        let mut story = Self { existing: Existing::Nothing, context, text: String::new() };
        let workflow_id = "workflow".to_owned();
        let workflow = Some(WorkflowReference { workflow_id, ..WorkflowReference::default() });
        let command = CreateJob { job_id: None, job: Job { workflow, ..Job::default() } };
        let decision = command.decide(Existing::Nothing, &story.context);
        story.follow("created", decision, |_| String::new());
        story
    }

    #[track_caller]
    fn follow<R>(
        &mut self,
        name: &str,
        decision: Result<Decision<R>, Rejection>,
        words: impl Fn(&R) -> String,
    ) {
        let decision = decision.expect("the story goes on");
        check_events(&self.existing, &decision, &self.context);
        let state = decision.state;
        let step = |step: &Step| {
            let waits = if step.awaits_join { "?" } else { "" };
            let status = step.status().as_str_name().trim_start_matches("STEP_STATUS_");
            format!("{}{waits}:{status}*{}", step.step_id, step.visit)
        };
        let reached = |step: &&Step| step.awaits_join || step.status() != StepStatus::Pending;
        let steps: Vec<_> = state.steps.values().filter(reached).map(step).collect();
        self.text.push_str(&format!(
            "{name}: {}{}\n    {} at [{}] {}\n",
            words(&decision.reply),
            event_words(&decision.events),
            status_word(state.job.status()),
            state.job.current_step_ids.join(" "),
            steps.join(" "),
        ));
        self.existing = Existing::Job(Box::new(state));
    }

    #[track_caller]
    fn act(mut self, action: JobActionType, step_id: &str, answer: Option<&str>) -> Self {
        let command = PerformJobAction {
            job_id: JOB_1.to_owned(),
            action,
            step_ids: vec![step_id.to_owned()],
            answer: answer.map(|text| Value::from(text.to_owned())),
            ..PerformJobAction::default()
        };
        let decision = command.decide(self.existing.clone(), &self.context);
        let name = format!("{} {step_id}", action.as_str_name().trim_start_matches("JOB_ACTION_TYPE_"));
        self.follow(&name, decision, |reply| {
            let status = reply.step_responses[0].status();
            format!("{} ", status.as_str_name().trim_start_matches("STEP_ACTION_STATUS_"))
        });
        self
    }

    fn run(self, step_id: &str) -> Self {
        self.act(JobActionType::Run, step_id, None)
    }

    fn finish(self, step_id: &str) -> Self {
        self.act(JobActionType::Finish, step_id, None)
    }

    fn done(self, step_id: &str) -> Self {
        self.run(step_id).finish(step_id)
    }

    fn later(mut self) -> Self {
        self.context = Context { now: context(200).now, workflow: self.context.workflow, ..context(200) };
        self
    }

    #[track_caller]
    fn reopen(mut self) -> Self {
        let command = ReopenJob { job_id: JOB_1.to_owned(), step_ids: Vec::new(), etag: None };
        let decision = command.decide(self.existing.clone(), &self.context);
        self.follow("reopened", decision, |_| String::new());
        self
    }

    #[track_caller]
    fn check(self, expected: Expect) {
        expected.assert_eq(&self.text);
    }
}

#[test]
fn paths_that_part_meet_again_when_all_are_through() {
    Story::of(&drawn(&["a"], "a>b a>c b>d c>d")).done("a").done("b").done("c").done("d").check(expect![[
        r#"
        created: JOB_CREATED STEP_ACTIVATED
            NOT_STARTED at [a] a:READY*1
        RUN a: SUCCESS JOB_UPDATED STEP_STARTED
            ACTIVE at [a] a:RUNNING*1
        FINISH a: SUCCESS STEP_FINISHED STEP_ACTIVATED STEP_ACTIVATED
            ACTIVE at [b c] a:FINISHED*1 b:READY*1 c:READY*1
        RUN b: SUCCESS STEP_STARTED
            ACTIVE at [b c] a:FINISHED*1 b:RUNNING*1 c:READY*1
        FINISH b: SUCCESS STEP_FINISHED
            ACTIVE at [c] a:FINISHED*1 b:FINISHED*1 c:READY*1 d?:PENDING*0
        RUN c: SUCCESS STEP_STARTED
            ACTIVE at [c] a:FINISHED*1 b:FINISHED*1 c:RUNNING*1 d?:PENDING*0
        FINISH c: SUCCESS STEP_FINISHED STEP_ACTIVATED
            ACTIVE at [d] a:FINISHED*1 b:FINISHED*1 c:FINISHED*1 d:READY*1
        RUN d: SUCCESS STEP_STARTED
            ACTIVE at [d] a:FINISHED*1 b:FINISHED*1 c:FINISHED*1 d:RUNNING*1
        FINISH d: SUCCESS STEP_FINISHED JOB_COMPLETED
            COMPLETED at [] a:FINISHED*1 b:FINISHED*1 c:FINISHED*1 d:FINISHED*1
    "#
    ]]);
}

#[test]
fn a_loop_begins_its_next_round_at_once() {
    let workflow = drawn(&["a"], "a>b b>c c>a:visit<2 c>d");
    Story::of(&workflow).done("a").done("b").done("c").check(expect![[r#"
        created: JOB_CREATED STEP_ACTIVATED
            NOT_STARTED at [a] a:READY*1
        RUN a: SUCCESS JOB_UPDATED STEP_STARTED
            ACTIVE at [a] a:RUNNING*1
        FINISH a: SUCCESS STEP_FINISHED STEP_ACTIVATED
            ACTIVE at [b] a:FINISHED*1 b:READY*1
        RUN b: SUCCESS STEP_STARTED
            ACTIVE at [b] a:FINISHED*1 b:RUNNING*1
        FINISH b: SUCCESS STEP_FINISHED STEP_ACTIVATED
            ACTIVE at [c] a:FINISHED*1 b:FINISHED*1 c:READY*1
        RUN c: SUCCESS STEP_STARTED
            ACTIVE at [c] a:FINISHED*1 b:FINISHED*1 c:RUNNING*1
        FINISH c: SUCCESS STEP_FINISHED STEP_ACTIVATED STEP_ACTIVATED
            ACTIVE at [a d] a:READY*2 b:FINISHED*1 c:FINISHED*1 d:READY*1
    "#]]);
}

#[test]
fn a_step_can_lead_to_itself_and_wait_there_for_others() {
    Story::of(&drawn(&["a", "b"], "a>a:visit<2 b>a")).done("a").done("b").done("a").check(expect![[r#"
        created: JOB_CREATED STEP_ACTIVATED STEP_ACTIVATED
            NOT_STARTED at [a b] a:READY*1 b:READY*1
        RUN a: SUCCESS JOB_UPDATED STEP_STARTED
            ACTIVE at [a b] a:RUNNING*1 b:READY*1
        FINISH a: SUCCESS STEP_FINISHED
            ACTIVE at [b] a?:FINISHED*1 b:READY*1
        RUN b: SUCCESS STEP_STARTED
            ACTIVE at [b] a?:FINISHED*1 b:RUNNING*1
        FINISH b: SUCCESS STEP_FINISHED STEP_ACTIVATED
            ACTIVE at [a] a:READY*2 b:FINISHED*1
        RUN a: SUCCESS STEP_STARTED
            ACTIVE at [a] a:RUNNING*2 b:FINISHED*1
        FINISH a: NO_MATCHING_PATHS STEP_EXECUTED
            ACTIVE at [a] a:EXECUTED*2 b:FINISHED*1
    "#]]);
}

/// Of `d`, which is reached now, and `c`, which is released now, the one that leads to the other comes first.
#[test]
fn a_step_that_is_reached_waits_for_one_that_is_released_with_it() {
    Story::of(&drawn(&["a", "b"], "a>c b>c b>d c>d")).done("a").done("b").done("c").check(expect![[r#"
        created: JOB_CREATED STEP_ACTIVATED STEP_ACTIVATED
            NOT_STARTED at [a b] a:READY*1 b:READY*1
        RUN a: SUCCESS JOB_UPDATED STEP_STARTED
            ACTIVE at [a b] a:RUNNING*1 b:READY*1
        FINISH a: SUCCESS STEP_FINISHED
            ACTIVE at [b] a:FINISHED*1 b:READY*1 c?:PENDING*0
        RUN b: SUCCESS STEP_STARTED
            ACTIVE at [b] a:FINISHED*1 b:RUNNING*1 c?:PENDING*0
        FINISH b: SUCCESS STEP_FINISHED STEP_ACTIVATED
            ACTIVE at [c] a:FINISHED*1 b:FINISHED*1 c:READY*1 d?:PENDING*0
        RUN c: SUCCESS STEP_STARTED
            ACTIVE at [c] a:FINISHED*1 b:FINISHED*1 c:RUNNING*1 d?:PENDING*0
        FINISH c: SUCCESS STEP_FINISHED STEP_ACTIVATED
            ACTIVE at [d] a:FINISHED*1 b:FINISHED*1 c:FINISHED*1 d:READY*1
    "#]]);
}

#[test]
fn what_leads_nowhere_does_not_begin_the_job() {
    let mut workflow = drawn(&["a"], "a>b:outcome=='FINISHED'");
    workflow.steps[0].can_skip = true;
    Story::of(&workflow).finish("a").done("a").check(expect![[r#"
        created: JOB_CREATED STEP_ACTIVATED
            NOT_STARTED at [a] a:READY*1
        FINISH a: NO_MATCHING_PATHS -
            NOT_STARTED at [a] a:READY*1
        RUN a: SUCCESS JOB_UPDATED STEP_STARTED
            ACTIVE at [a] a:RUNNING*1
        FINISH a: SUCCESS STEP_FINISHED STEP_ACTIVATED
            ACTIVE at [b] a:FINISHED*1 b:READY*1
    "#]]);
}

#[test]
fn an_answer_that_leads_nowhere_is_kept() {
    let mut workflow = drawn(&["a"], "a>b:answer=='yes'");
    workflow.steps[0].set_kind(StepKind::Question);
    let story = Story::of(&workflow).act(JobActionType::Run, "a", Some("no")).finish("a").act(
        JobActionType::Finish,
        "a",
        Some("perhaps"),
    );
    let Existing::Job(state) = &story.existing else { unreachable!() };
    assert_eq!(state.steps["a"].answer, Some(Value::from("perhaps".to_owned())));
    story.finish("a").act(JobActionType::Finish, "a", Some("yes")).check(expect![[r#"
        created: JOB_CREATED STEP_ACTIVATED
            NOT_STARTED at [a] a:READY*1
        RUN a: SUCCESS JOB_UPDATED STEP_EXECUTED
            ACTIVE at [a] a:EXECUTED*1
        FINISH a: NO_MATCHING_PATHS -
            ACTIVE at [a] a:EXECUTED*1
        FINISH a: NO_MATCHING_PATHS STEP_EXECUTED
            ACTIVE at [a] a:EXECUTED*1
        FINISH a: NO_MATCHING_PATHS -
            ACTIVE at [a] a:EXECUTED*1
        FINISH a: SUCCESS STEP_FINISHED STEP_ACTIVATED
            ACTIVE at [b] a:FINISHED*1 b:READY*1
    "#]]);
}

/// `a` was done at the same moment as `c`, but is not any more.
#[test]
fn a_job_is_reopened_at_what_is_done_and_was_done_last() {
    let story = Story::of(&drawn(&["a"], "a>b b>c"))
        .done("a")
        .act(JobActionType::SetCurrentStep, "a", None)
        .act(JobActionType::SetCurrentStep, "c", None)
        .done("c");
    story.reopen().later().done("c").reopen().check(expect![[r#"
        created: JOB_CREATED STEP_ACTIVATED
            NOT_STARTED at [a] a:READY*1
        RUN a: SUCCESS JOB_UPDATED STEP_STARTED
            ACTIVE at [a] a:RUNNING*1
        FINISH a: SUCCESS STEP_FINISHED STEP_ACTIVATED
            ACTIVE at [b] a:FINISHED*1 b:READY*1
        SET_CURRENT_STEP a: SUCCESS STEP_ACTIVATED
            ACTIVE at [a] a:READY*2
        SET_CURRENT_STEP c: SUCCESS STEP_ACTIVATED
            ACTIVE at [c] c:READY*1
        RUN c: SUCCESS STEP_STARTED
            ACTIVE at [c] c:RUNNING*1
        FINISH c: SUCCESS STEP_FINISHED JOB_COMPLETED
            COMPLETED at [] c:FINISHED*1
        reopened: JOB_REOPENED STEP_ACTIVATED
            ACTIVE at [c] c:READY*2
        RUN c: SUCCESS STEP_STARTED
            ACTIVE at [c] c:RUNNING*2
        FINISH c: SUCCESS STEP_FINISHED JOB_COMPLETED
            COMPLETED at [] c:FINISHED*2
        reopened: JOB_REOPENED STEP_ACTIVATED
            ACTIVE at [c] c:READY*3
    "#]]);
}
