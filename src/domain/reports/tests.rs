//! The table of SPEC 3.1, as text. Change the merge, run with `UPDATE_EXPECT=1`, and review the diff.

use std::sync::Arc;

use expect_test::{Expect, expect};
use prost_types::{NullValue, Struct, Value, value::Kind};

use super::{Sync, Told, canonical};
use crate::{
    domain::{
        AbortJob, CloseJob, Context, CreateJob, Decision, Definition, DeleteJob, Existing, JobField,
        JobState, Limits, PerformJobAction, Rejection, ReopenJob, UpdateJob,
        fixtures::{JOB_1, STATUSES, at, check_events, context, event_words, status_word},
    },
    proto::{
        Document,
        storage::v1::SyncHeader,
        v1::{
            BasicSyncResponse, Job, JobActionType, JobStatus, Path, SingleStep, Step, StepDefinition,
            StepEntry, StepKind, StepStatus, SyncMetadata, Workflow, WorkflowReference,
        },
    },
};

/// A sync in the making.
#[derive(Clone)]
struct Device {
    header: SyncHeader,
    status: JobStatus,
    reports: Vec<Told>,
}

impl Device {
    /// Says that the job is at this status, and was last updated at that second.
    fn says(status: JobStatus, updated: i64) -> Self {
        let metadata = SyncMetadata {
            client_job_id: Some("client".to_owned()),
            workflow_id: Some("workflow".to_owned()),
            workflow_version_id: Some("v1".to_owned()),
            updated: Some(at(updated)),
            ..SyncMetadata::default()
        };
        let header = SyncHeader { metadata: Some(metadata), ..SyncHeader::default() };
        Self { header, status, reports: Vec::new() }
    }

    fn with(mut self, change: impl FnOnce(&mut SyncMetadata)) -> Self {
        change(self.header.metadata.as_mut().unwrap());
        self
    }

    fn title(self, title: &str) -> Self {
        self.with(|metadata| metadata.job_title = Some(title.to_owned()))
    }

    fn version(self, version_id: &str) -> Self {
        self.with(|metadata| metadata.workflow_version_id = Some(version_id.to_owned()))
    }

    fn current_step(self, step_id: &str) -> Self {
        self.with(|metadata| metadata.current_step = Some(step_id.to_owned()))
    }

    fn header(mut self, change: impl FnOnce(&mut SyncHeader)) -> Self {
        change(&mut self.header);
        self
    }

    /// Tells of an execution as it was at that second.
    fn done(self, unique_step_id: &str, step_id: &str, updated: i64) -> Self {
        self.tell(unique_step_id, step_id, updated, false)
    }

    /// Takes an execution back.
    fn undone(self, unique_step_id: &str, step_id: &str, updated: i64) -> Self {
        self.tell(unique_step_id, step_id, updated, true)
    }

    fn tell(mut self, unique_step_id: &str, step_id: &str, updated: i64, undone: bool) -> Self {
        let list = if undone { "cancelled_steps" } else { "completed_steps" };
        let index = self.reports.iter().filter(|told| told.undone == undone).count();
        let step = SingleStep {
            unique_step_id: Some(unique_step_id.to_owned()),
            step_id: Some(step_id.to_owned()),
            updated: Some(at(updated)),
            ..SingleStep::default()
        };
        let entry = StepEntry { single_step: Some(step), ..StepEntry::default() };
        self.reports.push(Told { entry, undone, path: format!("{list}[{index}]") });
        self
    }

    /// Changes what was told last.
    fn step(mut self, change: impl FnOnce(&mut SingleStep)) -> Self {
        change(self.reports.last_mut().unwrap().entry.single_step.as_mut().unwrap());
        self
    }

    fn sync(self) -> Sync {
        Sync::new(self.header, self.status, self.reports)
    }
}

/// What happens to the job of a story.
enum Happens {
    Told(Device),
    Create(Job),
    Update(JobField, Job),
    Abort,
    Close,
    Reopen,
    Delete,
    /// An action on the current steps, or on one.
    Act(JobActionType, Option<&'static str>),
    /// What no command of this module does: a hold on a step, a step begun.
    Meanwhile(fn(&mut JobState)),
}

use Happens::{Abort, Act, Close, Create, Delete, Meanwhile, Reopen, Update};

fn told(device: Device) -> Happens {
    Happens::Told(device)
}

/// A job's life, told line by line.
struct Story {
    existing: Existing,
    now: i64,
    limits: Limits,
    published: Option<Arc<Definition>>,
    text: String,
}

impl Story {
    fn new() -> Self {
        let (existing, limits) = (Existing::Nothing, context(0).limits);
        Self { existing, now: 100, limits, published: None, text: String::new() }
    }

    fn context(&mut self) -> Context {
        self.now += 1;
        Context { limits: self.limits, workflow: self.published.clone(), ..context(self.now) }
    }

    /// What comes of a sync: outcome, status, events, and what lost to what.
    #[track_caller]
    fn sync(&mut self, sync: &Sync) -> String {
        let context = self.context();
        let decision = match sync.decide(self.existing.clone(), &context) {
            Err(rejection) => return format!("! {rejection}"),
            Ok(decision) => decision,
        };
        check_events(&self.existing, &decision, &context);
        let line = sync_words(&decision);
        self.existing = Existing::Job(Box::new(decision.state));
        line
    }

    #[track_caller]
    fn follow<R>(&mut self, context: &Context, decision: Result<Decision<R>, Rejection>) -> String {
        let decision = decision.expect("the story goes on");
        check_events(&self.existing, &decision, context);
        let line = format!("{:<14}{}", head_words(&decision.state), event_words(&decision.events));
        self.existing = Existing::Job(Box::new(decision.state));
        line
    }

    #[track_caller]
    fn happens(&mut self, happens: Happens) -> String {
        let (job_id, etag) = (JOB_1.to_owned(), None);
        let existing = self.existing.clone();
        let context = self.context();
        match happens {
            Happens::Told(device) => self.sync(&device.sync()),
            Create(job) => self.follow(&context, CreateJob { job_id: None, job }.decide(existing, &context)),
            Update(field, job) => {
                let fields = vec![field];
                self.follow(&context, UpdateJob { job_id, fields, job, etag }.decide(existing, &context))
            }
            Abort => {
                let reason = Some("server's".to_owned());
                self.follow(&context, AbortJob { job_id, reason, etag }.decide(existing, &context))
            }
            Close => self.follow(&context, CloseJob { job_id, etag }.decide(existing, &context)),
            Reopen => {
                let step_ids = Vec::new();
                self.follow(&context, ReopenJob { job_id, step_ids, etag }.decide(existing, &context))
            }
            Delete => {
                let line = self.follow(&context, DeleteJob { job_id, etag }.decide(existing, &context));
                self.existing = Existing::Deleted { job_id: JOB_1.to_owned() };
                line
            }
            Act(action, step_id) => {
                let step_ids = step_id.map(str::to_owned).into_iter().collect();
                let command = PerformJobAction { job_id, action, step_ids, ..PerformJobAction::default() };
                self.follow(&context, command.decide(existing, &context))
            }
            Meanwhile(change) => {
                let Existing::Job(state) = &mut self.existing else { panic!("there is no job") };
                change(state);
                head_words(state)
            }
        }
    }

    /// Everything the merge decides on, in one line.
    fn state(&self) -> String {
        let Existing::Job(state) = &self.existing else { return "none".to_owned() };
        let step = |step: &Step| {
            let status = step.status().as_str_name().trim_start_matches("STEP_STATUS_");
            format!("{}:{status}*{}", step.step_id, step.visit)
        };
        let reports = state.reports.iter().map(|(id, report)| {
            let flags = [(report.undone, "undone"), (report.late, "late"), (report.overrode_hold, "held")];
            let flags = flags.into_iter().filter(|flag| flag.0).map(|flag| flag.1);
            let words = flags.chain(report.workflow_version_id.as_deref()).map(|word| format!("+{word}"));
            format!("{id}@{}{}", super::step_id(report), words.collect::<String>())
        });
        let steps: Vec<_> = state.steps.values().map(step).collect();
        let version = state.job.workflow.as_ref().and_then(|workflow| workflow.version_id.as_deref());
        format!(
            "title={} version={} current={:?} steps=[{}] reports=[{}]",
            state.job.title.as_deref().unwrap_or("-"),
            version.unwrap_or("-"),
            state.job.current_step_ids,
            steps.join(" "),
            reports.collect::<Vec<_>>().join(" "),
        )
    }
}

fn head_words(state: &JobState) -> String {
    format!("{}{}", status_word(state.job.status()), if state.job.closed { "!" } else { "" })
}

fn sync_words(decision: &Decision<BasicSyncResponse>) -> String {
    let BasicSyncResponse { lost_fields, revision, job_id, .. } = &decision.reply;
    assert_eq!((*revision, job_id), (decision.state.job.revision, &decision.state.job.job_id));
    let outcome = decision.reply.outcome().as_str_name().trim_start_matches("SYNC_OUTCOME_");
    let lost = lost_fields.iter().map(|lost| match &lost.standing {
        Some(standing) => format!("{}<{}", lost.path, value_words(standing)),
        None => lost.path.clone(),
    });
    let lost = lost.collect::<Vec<_>>().join(" ");
    let lost = if lost.is_empty() { String::new() } else { format!("; lost {lost}") };
    format!("{outcome:<14}{:<14}{}{lost}", head_words(&decision.state), event_words(&decision.events))
}

fn value_words(value: &Value) -> String {
    match value.kind.as_ref().expect("a standing value is one") {
        Kind::NullValue(_) => "null".to_owned(),
        Kind::NumberValue(number) => number.to_string(),
        Kind::StringValue(text) => text.trim_start_matches("JOB_STATUS_").to_owned(),
        Kind::BoolValue(is) => is.to_string(),
        Kind::StructValue(fields) => format!("{{{}}}", fields.fields.len()),
        Kind::ListValue(list) => {
            format!("[{}]", list.values.iter().map(value_words).collect::<Vec<_>>().join(","))
        }
    }
}

/// Tells a story: for each thing that happens what came of it, and the job after it where that changed.
#[track_caller]
fn check(story: impl IntoIterator<Item = (&'static str, Happens)>, expected: Expect) {
    check_story(Story::new(), story, expected);
}

#[track_caller]
fn check_story(
    mut story: Story,
    happenings: impl IntoIterator<Item = (&'static str, Happens)>,
    expected: Expect,
) {
    let mut state = String::new();
    for (name, happens) in happenings {
        let line = story.happens(happens);
        story.text.push_str(&format!("{name}: {}\n", line.trim_end()));
        let after = story.state();
        if after != state {
            story.text.push_str(&format!("    {after}\n"));
        }
        state = after;
    }
    expected.assert_eq(&story.text);
}

use JobStatus::{Aborted, Active, Completed, NotStarted, Paused};

/// The job that most situations begin with: updated at 10, with one report.
fn base(status: JobStatus) -> Device {
    Device::says(status, 10).title("A").done("u1", "s1", 10)
}

/// The table: in each situation, what each sync does. `!` after a status is a closed job, `! ` a refusal; what lost is
/// followed by what stands instead.
#[test]
fn every_situation_meets_every_sync() {
    let titled = |title: &str| Job { title: Some(title.to_owned()), ..Job::default() };
    let situations: [(&str, Vec<Happens>); 13] = [
        ("unknown", vec![]),
        ("created", vec![Create(titled("C"))]),
        ("not started", vec![told(Device::says(NotStarted, 10).title("A"))]),
        ("active", vec![told(base(Active))]),
        ("edited", vec![told(base(Active)), Update(JobField::Title, titled("E"))]),
        ("paused", vec![told(base(Paused))]),
        ("completed", vec![told(base(Completed))]),
        ("aborted", vec![told(base(Aborted))]),
        ("stopped", vec![told(base(Active)), Abort]),
        ("closed", vec![told(base(Active)), Close]),
        ("completed, closed", vec![told(base(Completed)), Close]),
        ("aborted, closed", vec![told(base(Aborted)), Close]),
        ("deleted", vec![told(base(Active)), Delete]),
    ];
    let syncs = [
        ("the same", base(Active)),
        ("other workflow", base(Active).with(|metadata| metadata.workflow_id = Some("other".to_owned()))),
        ("newer NOT_STARTED", Device::says(NotStarted, 20).title("B")),
        ("newer ACTIVE", Device::says(Active, 20).title("B")),
        ("newer PAUSED", Device::says(Paused, 20).title("B")),
        ("newer COMPLETED", Device::says(Completed, 20).title("B")),
        ("newer ABORTED", Device::says(Aborted, 20).title("B")),
        ("older NOT_STARTED", Device::says(NotStarted, 5).title("B")),
        ("older ACTIVE", Device::says(Active, 5).title("B")),
        ("older PAUSED", Device::says(Paused, 5).title("B")),
        ("older COMPLETED", Device::says(Completed, 5).title("B")),
        ("older ABORTED", Device::says(Aborted, 5).title("B")),
        ("same, COMPLETED", base(Completed)),
        ("same, ABORTED", base(Aborted)),
        ("another report", base(Active).done("u2", "s2", 20)),
        ("undone report", Device::says(Active, 10).title("A").undone("u1", "s1", 20)),
        ("older report", Device::says(Active, 10).title("A").done("u1", "s1", 5)),
    ];
    let mut table = String::new();
    for (situation, before) in situations {
        let mut story = Story::new();
        for happens in before {
            story.happens(happens);
        }
        table.push_str(&format!("{situation}\n"));
        for (name, device) in &syncs {
            let before = story.existing.clone();
            let line = story.sync(&device.clone().sync());
            table.push_str(&format!("  {name:<19}{}\n", line.trim_end()));
            story.existing = before;
        }
    }
    expect![[r#"
        unknown
          the same           CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED
          other workflow     CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED
          newer NOT_STARTED  CREATED       NOT_STARTED   JOB_CREATED
          newer ACTIVE       CREATED       ACTIVE        JOB_CREATED
          newer PAUSED       CREATED       PAUSED        JOB_CREATED
          newer COMPLETED    CREATED       COMPLETED     JOB_CREATED JOB_COMPLETED
          newer ABORTED      CREATED       ABORTED!      JOB_CREATED JOB_ABORTED
          older NOT_STARTED  CREATED       NOT_STARTED   JOB_CREATED
          older ACTIVE       CREATED       ACTIVE        JOB_CREATED
          older PAUSED       CREATED       PAUSED        JOB_CREATED
          older COMPLETED    CREATED       COMPLETED     JOB_CREATED JOB_COMPLETED
          older ABORTED      CREATED       ABORTED!      JOB_CREATED JOB_ABORTED
          same, COMPLETED    CREATED       COMPLETED     JOB_CREATED REPORT_RECORDED JOB_COMPLETED
          same, ABORTED      CREATED       ABORTED!      JOB_CREATED REPORT_RECORDED JOB_ABORTED
          another report     CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED REPORT_RECORDED
          undone report      CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED
          older report       CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED
        created
          the same           UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED
          other workflow     UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED
          newer NOT_STARTED  UPDATED       NOT_STARTED   JOB_UPDATED
          newer ACTIVE       UPDATED       ACTIVE        JOB_UPDATED
          newer PAUSED       UPDATED       PAUSED        JOB_UPDATED
          newer COMPLETED    UPDATED       COMPLETED     JOB_UPDATED JOB_COMPLETED
          newer ABORTED      ABORTED       ABORTED!      JOB_UPDATED JOB_ABORTED
          older NOT_STARTED  UPDATED       NOT_STARTED   JOB_UPDATED
          older ACTIVE       UPDATED       ACTIVE        JOB_UPDATED
          older PAUSED       UPDATED       PAUSED        JOB_UPDATED
          older COMPLETED    UPDATED       COMPLETED     JOB_UPDATED JOB_COMPLETED
          older ABORTED      ABORTED       ABORTED!      JOB_UPDATED JOB_ABORTED
          same, COMPLETED    UPDATED       COMPLETED     JOB_UPDATED REPORT_RECORDED JOB_COMPLETED
          same, ABORTED      ABORTED       ABORTED!      JOB_UPDATED REPORT_RECORDED JOB_ABORTED
          another report     UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED REPORT_RECORDED
          undone report      UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED
          older report       UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED
        not started
          the same           UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED
          other workflow     ! the job follows workflow "workflow"
          newer NOT_STARTED  UPDATED       NOT_STARTED   JOB_UPDATED
          newer ACTIVE       UPDATED       ACTIVE        JOB_UPDATED
          newer PAUSED       UPDATED       PAUSED        JOB_UPDATED
          newer COMPLETED    UPDATED       COMPLETED     JOB_UPDATED JOB_COMPLETED
          newer ABORTED      ABORTED       ABORTED!      JOB_UPDATED JOB_ABORTED
          older NOT_STARTED  UNCHANGED     NOT_STARTED   -; lost metadata.job_title<A
          older ACTIVE       UNCHANGED     NOT_STARTED   -; lost metadata.job_title<A metadata.status<NOT_STARTED
          older PAUSED       UNCHANGED     NOT_STARTED   -; lost metadata.job_title<A metadata.status<NOT_STARTED
          older COMPLETED    UPDATED       COMPLETED     JOB_COMPLETED; lost metadata.job_title<A
          older ABORTED      ABORTED       ABORTED!      JOB_ABORTED; lost metadata.job_title<A
          same, COMPLETED    UPDATED       COMPLETED     JOB_UPDATED REPORT_RECORDED JOB_COMPLETED
          same, ABORTED      ABORTED       ABORTED!      JOB_UPDATED REPORT_RECORDED JOB_ABORTED
          another report     UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED REPORT_RECORDED
          undone report      UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED
          older report       UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED
        active
          the same           UNCHANGED     ACTIVE        -
          other workflow     ! the job follows workflow "workflow"
          newer NOT_STARTED  UPDATED       ACTIVE        JOB_UPDATED
          newer ACTIVE       UPDATED       ACTIVE        JOB_UPDATED
          newer PAUSED       UPDATED       PAUSED        JOB_UPDATED
          newer COMPLETED    UPDATED       COMPLETED     JOB_UPDATED JOB_COMPLETED
          newer ABORTED      ABORTED       ABORTED!      JOB_UPDATED JOB_ABORTED
          older NOT_STARTED  UNCHANGED     ACTIVE        -; lost metadata.job_title<A
          older ACTIVE       UNCHANGED     ACTIVE        -; lost metadata.job_title<A
          older PAUSED       UNCHANGED     ACTIVE        -; lost metadata.job_title<A metadata.status<ACTIVE
          older COMPLETED    UPDATED       COMPLETED     JOB_COMPLETED; lost metadata.job_title<A
          older ABORTED      ABORTED       ABORTED!      JOB_ABORTED; lost metadata.job_title<A
          same, COMPLETED    UPDATED       COMPLETED     JOB_COMPLETED
          same, ABORTED      ABORTED       ABORTED!      JOB_ABORTED
          another report     UPDATED       ACTIVE        REPORT_RECORDED
          undone report      UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED
          older report       UNCHANGED     ACTIVE        -; lost completed_steps[0]
        edited
          the same           UNCHANGED     ACTIVE        -; lost metadata.job_title<E
          other workflow     ! the job follows workflow "workflow"
          newer NOT_STARTED  UPDATED       ACTIVE        JOB_UPDATED
          newer ACTIVE       UPDATED       ACTIVE        JOB_UPDATED
          newer PAUSED       UPDATED       PAUSED        JOB_UPDATED
          newer COMPLETED    UPDATED       COMPLETED     JOB_UPDATED JOB_COMPLETED
          newer ABORTED      ABORTED       ABORTED!      JOB_UPDATED JOB_ABORTED
          older NOT_STARTED  UNCHANGED     ACTIVE        -; lost metadata.job_title<E
          older ACTIVE       UNCHANGED     ACTIVE        -; lost metadata.job_title<E
          older PAUSED       UNCHANGED     ACTIVE        -; lost metadata.job_title<E metadata.status<ACTIVE
          older COMPLETED    UPDATED       COMPLETED     JOB_COMPLETED; lost metadata.job_title<E
          older ABORTED      ABORTED       ABORTED!      JOB_ABORTED; lost metadata.job_title<E
          same, COMPLETED    UPDATED       COMPLETED     JOB_COMPLETED; lost metadata.job_title<E
          same, ABORTED      ABORTED       ABORTED!      JOB_ABORTED; lost metadata.job_title<E
          another report     UPDATED       ACTIVE        REPORT_RECORDED; lost metadata.job_title<E
          undone report      UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED; lost metadata.job_title<E
          older report       UNCHANGED     ACTIVE        -; lost metadata.job_title<E completed_steps[0]
        paused
          the same           UNCHANGED     PAUSED        -; lost metadata.status<PAUSED
          other workflow     ! the job follows workflow "workflow"
          newer NOT_STARTED  UPDATED       ACTIVE        JOB_UPDATED
          newer ACTIVE       UPDATED       ACTIVE        JOB_UPDATED
          newer PAUSED       UPDATED       PAUSED        JOB_UPDATED
          newer COMPLETED    UPDATED       COMPLETED     JOB_UPDATED JOB_COMPLETED
          newer ABORTED      ABORTED       ABORTED!      JOB_UPDATED JOB_ABORTED
          older NOT_STARTED  UNCHANGED     PAUSED        -; lost metadata.job_title<A metadata.status<PAUSED
          older ACTIVE       UNCHANGED     PAUSED        -; lost metadata.job_title<A metadata.status<PAUSED
          older PAUSED       UNCHANGED     PAUSED        -; lost metadata.job_title<A
          older COMPLETED    UPDATED       COMPLETED     JOB_COMPLETED; lost metadata.job_title<A
          older ABORTED      ABORTED       ABORTED!      JOB_ABORTED; lost metadata.job_title<A
          same, COMPLETED    UPDATED       COMPLETED     JOB_COMPLETED
          same, ABORTED      ABORTED       ABORTED!      JOB_ABORTED
          another report     UPDATED       PAUSED        REPORT_RECORDED; lost metadata.status<PAUSED
          undone report      UPDATED       PAUSED        JOB_UPDATED REPORT_RECORDED; lost metadata.status<PAUSED
          older report       UNCHANGED     PAUSED        -; lost metadata.status<PAUSED completed_steps[0]
        completed
          the same           UNCHANGED     COMPLETED     -; lost metadata.status<COMPLETED
          other workflow     ! the job follows workflow "workflow"
          newer NOT_STARTED  UPDATED       COMPLETED     JOB_UPDATED; lost metadata.status<COMPLETED
          newer ACTIVE       UPDATED       COMPLETED     JOB_UPDATED; lost metadata.status<COMPLETED
          newer PAUSED       UPDATED       COMPLETED     JOB_UPDATED; lost metadata.status<COMPLETED
          newer COMPLETED    UPDATED       COMPLETED     JOB_UPDATED
          newer ABORTED      UPDATED       COMPLETED     JOB_UPDATED; lost metadata.status<COMPLETED
          older NOT_STARTED  UNCHANGED     COMPLETED     -; lost metadata.job_title<A metadata.status<COMPLETED
          older ACTIVE       UNCHANGED     COMPLETED     -; lost metadata.job_title<A metadata.status<COMPLETED
          older PAUSED       UNCHANGED     COMPLETED     -; lost metadata.job_title<A metadata.status<COMPLETED
          older COMPLETED    UNCHANGED     COMPLETED     -; lost metadata.job_title<A
          older ABORTED      ABORTED       ABORTED!      JOB_ABORTED; lost metadata.job_title<A
          same, COMPLETED    UNCHANGED     COMPLETED     -
          same, ABORTED      ABORTED       ABORTED!      JOB_ABORTED
          another report     UPDATED       COMPLETED     REPORT_RECORDED; lost metadata.status<COMPLETED
          undone report      UPDATED       COMPLETED     JOB_UPDATED REPORT_RECORDED; lost metadata.status<COMPLETED
          older report       UNCHANGED     COMPLETED     -; lost metadata.status<COMPLETED completed_steps[0]
        aborted
          the same           UNCHANGED     ABORTED!      -; lost metadata.status<ABORTED
          other workflow     ! the job follows workflow "workflow"
          newer NOT_STARTED  UPDATED       ABORTED!      JOB_UPDATED; lost metadata.status<ABORTED
          newer ACTIVE       UPDATED       ABORTED!      JOB_UPDATED; lost metadata.status<ABORTED
          newer PAUSED       UPDATED       ABORTED!      JOB_UPDATED; lost metadata.status<ABORTED
          newer COMPLETED    UPDATED       ABORTED!      JOB_UPDATED; lost metadata.status<ABORTED
          newer ABORTED      UPDATED       ABORTED!      JOB_UPDATED
          older NOT_STARTED  UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          older ACTIVE       UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          older PAUSED       UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          older COMPLETED    UPDATED       COMPLETED     JOB_COMPLETED; lost metadata.job_title<A
          older ABORTED      UNCHANGED     ABORTED!      -; lost metadata.job_title<A
          same, COMPLETED    UNCHANGED     ABORTED!      -; lost metadata.status<ABORTED
          same, ABORTED      UNCHANGED     ABORTED!      -
          another report     RECORDED_LATE ABORTED!      REPORT_RECORDED; lost metadata.status<ABORTED
          undone report      RECORDED_LATE ABORTED!      JOB_UPDATED REPORT_RECORDED; lost metadata.status<ABORTED
          older report       UNCHANGED     ABORTED!      -; lost metadata.status<ABORTED completed_steps[0]
        stopped
          the same           UNCHANGED     ABORTED!      -; lost metadata.status<ABORTED
          other workflow     ! the job follows workflow "workflow"
          newer NOT_STARTED  UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          newer ACTIVE       UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          newer PAUSED       UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          newer COMPLETED    UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          newer ABORTED      UNCHANGED     ABORTED!      -; lost metadata.job_title<A
          older NOT_STARTED  UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          older ACTIVE       UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          older PAUSED       UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          older COMPLETED    UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          older ABORTED      UNCHANGED     ABORTED!      -; lost metadata.job_title<A
          same, COMPLETED    UNCHANGED     ABORTED!      -; lost metadata.status<ABORTED
          same, ABORTED      UNCHANGED     ABORTED!      -
          another report     RECORDED_LATE ABORTED!      REPORT_RECORDED; lost metadata.status<ABORTED
          undone report      RECORDED_LATE ABORTED!      REPORT_RECORDED; lost metadata.status<ABORTED
          older report       UNCHANGED     ABORTED!      -; lost metadata.status<ABORTED completed_steps[0]
        closed
          the same           UNCHANGED     ABORTED!      -; lost metadata.status<ABORTED
          other workflow     ! the job follows workflow "workflow"
          newer NOT_STARTED  UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          newer ACTIVE       UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          newer PAUSED       UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          newer COMPLETED    UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          newer ABORTED      UNCHANGED     ABORTED!      -; lost metadata.job_title<A
          older NOT_STARTED  UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          older ACTIVE       UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          older PAUSED       UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          older COMPLETED    UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          older ABORTED      UNCHANGED     ABORTED!      -; lost metadata.job_title<A
          same, COMPLETED    UNCHANGED     ABORTED!      -; lost metadata.status<ABORTED
          same, ABORTED      UNCHANGED     ABORTED!      -
          another report     RECORDED_LATE ABORTED!      REPORT_RECORDED; lost metadata.status<ABORTED
          undone report      RECORDED_LATE ABORTED!      REPORT_RECORDED; lost metadata.status<ABORTED
          older report       UNCHANGED     ABORTED!      -; lost metadata.status<ABORTED completed_steps[0]
        completed, closed
          the same           UNCHANGED     COMPLETED!    -; lost metadata.status<COMPLETED
          other workflow     ! the job follows workflow "workflow"
          newer NOT_STARTED  UNCHANGED     COMPLETED!    -; lost metadata.job_title<A metadata.status<COMPLETED
          newer ACTIVE       UNCHANGED     COMPLETED!    -; lost metadata.job_title<A metadata.status<COMPLETED
          newer PAUSED       UNCHANGED     COMPLETED!    -; lost metadata.job_title<A metadata.status<COMPLETED
          newer COMPLETED    UNCHANGED     COMPLETED!    -; lost metadata.job_title<A
          newer ABORTED      UNCHANGED     COMPLETED!    -; lost metadata.job_title<A metadata.status<COMPLETED
          older NOT_STARTED  UNCHANGED     COMPLETED!    -; lost metadata.job_title<A metadata.status<COMPLETED
          older ACTIVE       UNCHANGED     COMPLETED!    -; lost metadata.job_title<A metadata.status<COMPLETED
          older PAUSED       UNCHANGED     COMPLETED!    -; lost metadata.job_title<A metadata.status<COMPLETED
          older COMPLETED    UNCHANGED     COMPLETED!    -; lost metadata.job_title<A
          older ABORTED      UNCHANGED     COMPLETED!    -; lost metadata.job_title<A metadata.status<COMPLETED
          same, COMPLETED    UNCHANGED     COMPLETED!    -
          same, ABORTED      UNCHANGED     COMPLETED!    -; lost metadata.status<COMPLETED
          another report     RECORDED_LATE COMPLETED!    REPORT_RECORDED; lost metadata.status<COMPLETED
          undone report      RECORDED_LATE COMPLETED!    REPORT_RECORDED; lost metadata.status<COMPLETED
          older report       UNCHANGED     COMPLETED!    -; lost metadata.status<COMPLETED completed_steps[0]
        aborted, closed
          the same           UNCHANGED     ABORTED!      -; lost metadata.status<ABORTED
          other workflow     ! the job follows workflow "workflow"
          newer NOT_STARTED  UPDATED       ABORTED!      JOB_UPDATED; lost metadata.status<ABORTED
          newer ACTIVE       UPDATED       ABORTED!      JOB_UPDATED; lost metadata.status<ABORTED
          newer PAUSED       UPDATED       ABORTED!      JOB_UPDATED; lost metadata.status<ABORTED
          newer COMPLETED    UPDATED       ABORTED!      JOB_UPDATED; lost metadata.status<ABORTED
          newer ABORTED      UPDATED       ABORTED!      JOB_UPDATED
          older NOT_STARTED  UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          older ACTIVE       UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          older PAUSED       UNCHANGED     ABORTED!      -; lost metadata.job_title<A metadata.status<ABORTED
          older COMPLETED    UPDATED       COMPLETED     JOB_COMPLETED; lost metadata.job_title<A
          older ABORTED      UNCHANGED     ABORTED!      -; lost metadata.job_title<A
          same, COMPLETED    UNCHANGED     ABORTED!      -; lost metadata.status<ABORTED
          same, ABORTED      UNCHANGED     ABORTED!      -
          another report     RECORDED_LATE ABORTED!      REPORT_RECORDED; lost metadata.status<ABORTED
          undone report      RECORDED_LATE ABORTED!      JOB_UPDATED REPORT_RECORDED; lost metadata.status<ABORTED
          older report       UNCHANGED     ABORTED!      -; lost metadata.status<ABORTED completed_steps[0]
        deleted
          the same           ! the job was deleted
          other workflow     ! the job was deleted
          newer NOT_STARTED  ! the job was deleted
          newer ACTIVE       ! the job was deleted
          newer PAUSED       ! the job was deleted
          newer COMPLETED    ! the job was deleted
          newer ABORTED      ! the job was deleted
          older NOT_STARTED  ! the job was deleted
          older ACTIVE       ! the job was deleted
          older PAUSED       ! the job was deleted
          older COMPLETED    ! the job was deleted
          older ABORTED      ! the job was deleted
          same, COMPLETED    ! the job was deleted
          same, ABORTED      ! the job was deleted
          another report     ! the job was deleted
          undone report      ! the job was deleted
          older report       ! the job was deleted
    "#]].assert_eq(&table);
}

#[test]
fn an_unknown_job_takes_any_status() {
    for status in STATUSES {
        let mut story = Story::new();
        story.happens(told(Device::says(status, 10)));
        let Existing::Job(state) = story.existing else { panic!("{status:?} makes a job") };
        assert_eq!((state.job.status(), state.job.closed), (status, status == Aborted));
    }
}

/// The seed's own example, sent again, and under another id as an abort.
#[test]
fn the_seed() {
    let example = |status| {
        let step = |step: &mut SingleStep| {
            step.step_number = Some(1);
            step.step_title = Some("Instruction".to_owned());
            step.step_description = Some(String::new());
            step.step_type = Some("ConfirmStep".to_owned());
            step.previous_unique_step_id = Some(String::new());
            let tags = ("tags".to_owned(), Value::from(String::new()));
            step.metadata = Some(Struct { fields: [tags].into() }.into());
        };
        let device = Device::says(status, 10).title("Api Test 2").done("c025f569", "ec7eee0d", 10).step(step);
        told(device.header(|header| header.team = Some("apiteam".to_owned())))
    };
    check(
        [("completed", example(Completed)), ("again", example(Completed))],
        expect![[r#"
            completed: CREATED       COMPLETED     JOB_CREATED REPORT_RECORDED JOB_COMPLETED
                title=Api Test 2 version=v1 current=[] steps=[ec7eee0d:FINISHED*1] reports=[c025f569@ec7eee0d]
            again: UNCHANGED     COMPLETED     -
        "#]],
    );
    check(
        [("active", example(Active)), ("aborted", example(Aborted)), ("again", example(Aborted))],
        expect![[r#"
            active: CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED
                title=Api Test 2 version=v1 current=[] steps=[ec7eee0d:FINISHED*1] reports=[c025f569@ec7eee0d]
            aborted: ABORTED       ABORTED!      JOB_ABORTED
            again: UNCHANGED     ABORTED!      -
        "#]],
    );
    let moved_on = Device::says(Aborted, 11).title("Api Test 2");
    check(
        [("active", example(Active)), ("aborted later", told(moved_on))],
        expect![[r#"
        active: CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED
            title=Api Test 2 version=v1 current=[] steps=[ec7eee0d:FINISHED*1] reports=[c025f569@ec7eee0d]
        aborted later: ABORTED       ABORTED!      JOB_UPDATED JOB_ABORTED
    "#]],
    );

    let mut story = Story::new();
    let Happens::Told(device) = example(Completed) else { unreachable!() };
    let decision = device.sync().decide(Existing::Nothing, &story.context()).unwrap();
    assert_eq!(decision.events.iter().map(|event| event.revision).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn of_two_terminal_statuses_the_earlier_stands() {
    check(
        [
            ("aborted at 20", told(Device::says(Aborted, 20))),
            ("completed at 15, with a report", told(Device::says(Completed, 15).done("u1", "s1", 15))),
            ("aborted at 20 again", told(Device::says(Aborted, 20))),
            ("aborted at 15", told(Device::says(Aborted, 15))),
            ("completed at 15 again", told(Device::says(Completed, 15))),
            ("completed at 14", told(Device::says(Completed, 14))),
            ("completed at 12", told(Device::says(Completed, 12))),
            ("aborted at 13", told(Device::says(Aborted, 13))),
            ("active at 30", told(Device::says(Active, 30))),
        ],
        expect![[r#"
            aborted at 20: CREATED       ABORTED!      JOB_CREATED JOB_ABORTED
                title=- version=v1 current=[] steps=[] reports=[]
            completed at 15, with a report: UPDATED       COMPLETED     REPORT_RECORDED JOB_COMPLETED
                title=- version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1+late]
            aborted at 20 again: UNCHANGED     COMPLETED     -; lost metadata.status<COMPLETED
            aborted at 15: ABORTED       ABORTED!      JOB_ABORTED
            completed at 15 again: UNCHANGED     ABORTED!      -; lost metadata.status<ABORTED
            completed at 14: UPDATED       COMPLETED     JOB_COMPLETED
            completed at 12: UNCHANGED     COMPLETED     -
            aborted at 13: UNCHANGED     COMPLETED     -; lost metadata.status<COMPLETED
            active at 30: UPDATED       COMPLETED     JOB_UPDATED; lost metadata.status<COMPLETED
        "#]],
    );
}

#[test]
fn what_comes_after_an_abort() {
    let abort = || told(base(Aborted));
    check(
        [
            ("aborted by a sync", abort()),
            ("reports it lacks", told(base(Active).done("u2", "s2", 12).undone("u3", "s3", 12))),
            ("a newer telling", told(base(Active).undone("u2", "s2", 13))),
            ("a newer header", told(Device::says(Active, 30).title("B"))),
            ("both", told(Device::says(Active, 31).title("C").done("u4", "s3", 12))),
            ("nothing new", abort()),
        ],
        expect![[r#"
            aborted by a sync: CREATED       ABORTED!      JOB_CREATED REPORT_RECORDED JOB_ABORTED
                title=A version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1]
            reports it lacks: RECORDED_LATE ABORTED!      JOB_UPDATED REPORT_RECORDED REPORT_RECORDED; lost metadata.status<ABORTED
                title=A version=v1 current=["s3"] steps=[s1:FINISHED*1 s2:FINISHED*1 s3:READY*0] reports=[u1@s1 u2@s2+late u3@s3+undone+late]
            a newer telling: RECORDED_LATE ABORTED!      JOB_UPDATED REPORT_RECORDED; lost metadata.status<ABORTED
                title=A version=v1 current=["s2", "s3"] steps=[s1:FINISHED*1 s2:READY*0 s3:READY*0] reports=[u1@s1 u2@s2+undone+late u3@s3+undone+late]
            a newer header: UPDATED       ABORTED!      JOB_UPDATED; lost metadata.status<ABORTED
                title=B version=v1 current=["s2", "s3"] steps=[s1:FINISHED*1 s2:READY*0 s3:READY*0] reports=[u1@s1 u2@s2+undone+late u3@s3+undone+late]
            both: RECORDED_LATE ABORTED!      JOB_UPDATED REPORT_RECORDED; lost metadata.status<ABORTED
                title=C version=v1 current=["s2"] steps=[s1:FINISHED*1 s2:READY*0 s3:FINISHED*1] reports=[u1@s1 u2@s2+undone+late u3@s3+undone+late u4@s3+late]
            nothing new: UNCHANGED     ABORTED!      -; lost metadata.job_title<C
        "#]],
    );
}

#[test]
fn what_comes_after_a_command_closed_the_job() {
    let news = || told(base(Active).done("u2", "s2", 12).undone("u1", "s1", 13));
    check(
        [
            ("active", told(base(Active))),
            ("closed by AbortJob", Abort),
            ("reports it lacks", news()),
            ("the same again", news()),
            ("a newer header", told(Device::says(Completed, 30).title("B").done("u3", "s1", 1))),
            ("of another version", told(Device::says(Aborted, 30).version("v2").done("u4", "s1", 1))),
        ],
        expect![[r#"
            active: CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED
                title=A version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1]
            closed by AbortJob: ABORTED!      JOB_ABORTED
            reports it lacks: RECORDED_LATE ABORTED!      REPORT_RECORDED REPORT_RECORDED; lost metadata.status<ABORTED completed_steps[0]
                title=A version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1+undone+late u2@s2+late]
            the same again: UNCHANGED     ABORTED!      -; lost metadata.status<ABORTED completed_steps[0]
            a newer header: RECORDED_LATE ABORTED!      REPORT_RECORDED; lost metadata.job_title<A metadata.status<ABORTED
                title=A version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1+undone+late u2@s2+late u3@s1+late]
            of another version: RECORDED_LATE ABORTED!      REPORT_RECORDED; lost metadata.workflow_version_id<v1
                title=A version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1+undone+late u2@s2+late u3@s1+late u4@s1+late+v2]
        "#]],
    );
    check(
        [
            ("completed", told(base(Completed))),
            ("closed by CloseJob", Close),
            ("reports it lacks", news()),
            ("an earlier abort", told(Device::says(Aborted, 5))),
        ],
        expect![[r#"
            completed: CREATED       COMPLETED     JOB_CREATED REPORT_RECORDED JOB_COMPLETED
                title=A version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1]
            closed by CloseJob: COMPLETED!    JOB_CLOSED
            reports it lacks: RECORDED_LATE COMPLETED!    REPORT_RECORDED REPORT_RECORDED; lost metadata.status<COMPLETED completed_steps[0]
                title=A version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1+undone+late u2@s2+late]
            an earlier abort: UNCHANGED     COMPLETED!    -; lost metadata.status<COMPLETED
        "#]],
    );
    check(
        [
            ("created", Create(Job::default())),
            ("closed by CloseJob", Close),
            ("the first sync", told(base(Active))),
        ],
        expect![[r#"
            created: NOT_STARTED   JOB_CREATED
                title=- version=- current=[] steps=[] reports=[]
            closed by CloseJob: ABORTED!      JOB_ABORTED JOB_CLOSED
            the first sync: RECORDED_LATE ABORTED!      REPORT_RECORDED; lost metadata.workflow_version_id metadata.job_title metadata.status<ABORTED
                title=- version=- current=[] steps=[] reports=[u1@s1+late+v1]
        "#]],
    );
}

#[test]
fn running_steps_are_cancelled_by_an_abort() {
    let begin = |state: &mut JobState| {
        let step = Step { job_id: state.job.job_id.clone(), step_id: "s2".to_owned(), ..Step::default() };
        for (id, status) in
            [("s2", StepStatus::Running), ("s3", StepStatus::WaitingForInfo), ("s4", StepStatus::Pending)]
        {
            let mut step = Step { step_id: id.to_owned(), ..step.clone() };
            step.set_status(status);
            state.steps.insert(id.to_owned(), step);
        }
    };
    check(
        [
            ("active", told(base(Active))),
            ("steps are begun", Meanwhile(begin)),
            (
                "aborted",
                told(base(Aborted).with(|metadata| metadata.abandon_reason = Some("rain".to_owned()))),
            ),
        ],
        expect![[r#"
            active: CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED
                title=A version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1]
            steps are begun: ACTIVE
                title=A version=v1 current=[] steps=[s1:FINISHED*1 s2:RUNNING*0 s3:WAITING_FOR_INFO*0 s4:PENDING*0] reports=[u1@s1]
            aborted: ABORTED       ABORTED!      JOB_UPDATED STEP_CANCELLED STEP_CANCELLED JOB_ABORTED
                title=A version=v1 current=["s2", "s3"] steps=[s1:FINISHED*1 s2:CANCELLED*0 s3:CANCELLED*0 s4:PENDING*0] reports=[u1@s1]
        "#]],
    );
}

#[test]
fn a_report_of_a_held_step_has_happened() {
    let hold = |state: &mut JobState| state.steps.get_mut("s1").unwrap().hold_ids = vec!["hold_1".to_owned()];
    check(
        [
            ("undone", told(Device::says(Active, 10).undone("u1", "s1", 10))),
            ("a hold is placed", Meanwhile(hold)),
            ("done all the same", told(Device::says(Active, 10).done("u2", "s1", 11).done("u3", "s2", 11))),
        ],
        expect![[r#"
            undone: CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED
                title=- version=v1 current=["s1"] steps=[s1:READY*0] reports=[u1@s1+undone]
            a hold is placed: ACTIVE
            done all the same: UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED REPORT_RECORDED
                title=- version=v1 current=[] steps=[s1:FINISHED*1 s2:FINISHED*1] reports=[u1@s1+undone u2@s1+held u3@s2]
        "#]],
    );
}

#[test]
fn a_server_edit_yields_to_a_newer_header_only() {
    let edit = || {
        let job = Job { title: Some("E".to_owned()), ..Job::default() };
        Update(JobField::Title, job)
    };
    check(
        [
            ("synced", told(Device::says(Active, 10).title("A"))),
            ("edited", edit()),
            ("an older header", told(Device::says(Active, 9).title("B"))),
            ("the same header", told(Device::says(Active, 10).title("A"))),
            ("the same header, paused", told(Device::says(Paused, 10).title("A"))),
            ("the same header and a report", told(Device::says(Active, 10).title("A").done("u1", "s1", 1))),
            ("a newer header", told(Device::says(Active, 11).title("A"))),
            ("edited", edit()),
            ("a newer header, modified", {
                let modified = |metadata: &mut SyncMetadata| metadata.modified = Some(at(1));
                told(Device::says(Active, 11).title("A").with(modified))
            }),
        ],
        expect![[r#"
            synced: CREATED       ACTIVE        JOB_CREATED
                title=A version=v1 current=[] steps=[] reports=[]
            edited: ACTIVE        JOB_UPDATED
                title=E version=v1 current=[] steps=[] reports=[]
            an older header: UNCHANGED     ACTIVE        -; lost metadata.job_title<E
            the same header: UNCHANGED     ACTIVE        -; lost metadata.job_title<E
            the same header, paused: UPDATED       PAUSED        JOB_UPDATED; lost metadata.job_title<E
            the same header and a report: UPDATED       PAUSED        REPORT_RECORDED; lost metadata.job_title<E metadata.status<PAUSED
                title=E version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1]
            a newer header: UPDATED       ACTIVE        JOB_UPDATED
                title=A version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1]
            edited: ACTIVE        JOB_UPDATED
                title=E version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1]
            a newer header, modified: UPDATED       ACTIVE        JOB_UPDATED
                title=A version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1]
        "#]],
    );
}

#[test]
fn what_an_action_did_yields_to_news_only() {
    let act = |state: &mut JobState| {
        state.job.set_status(Active);
        state.job.current_step_ids = vec!["s2".to_owned()];
    };
    let device = |updated| Device::says(Paused, updated).undone("u1", "s1", 1).undone("u2", "s2", 1);
    check(
        [
            ("paused", told(device(10))),
            ("run, and another step made current", Meanwhile(act)),
            ("the same", told(device(10))),
            ("older", told(device(9))),
            ("a report", told(device(10).done("u3", "s3", 1))),
            ("newer", told(device(11))),
        ],
        expect![[r#"
            paused: CREATED       PAUSED        JOB_CREATED REPORT_RECORDED REPORT_RECORDED
                title=- version=v1 current=["s1", "s2"] steps=[s1:READY*0 s2:READY*0] reports=[u1@s1+undone u2@s2+undone]
            run, and another step made current: ACTIVE
                title=- version=v1 current=["s2"] steps=[s1:READY*0 s2:READY*0] reports=[u1@s1+undone u2@s2+undone]
            the same: UNCHANGED     ACTIVE        -; lost metadata.status<ACTIVE
            older: UNCHANGED     ACTIVE        -; lost metadata.status<ACTIVE
            a report: UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED; lost metadata.status<ACTIVE
                title=- version=v1 current=["s1", "s2"] steps=[s1:READY*0 s2:READY*0 s3:FINISHED*1] reports=[u1@s1+undone u2@s2+undone u3@s3]
            newer: UPDATED       PAUSED        JOB_UPDATED
        "#]],
    );
}

#[test]
fn a_job_that_was_created_takes_the_first_sync() {
    let job = Job {
        title: Some("C".to_owned()),
        team: Some("red".to_owned()),
        priority: 7,
        client_job_id: "client".to_owned(),
        ..Job::default()
    };
    check(
        [
            ("created", Create(job)),
            ("synced", told(Device::says(NotStarted, 10).current_step("s1"))),
            ("with a report", told(Device::says(NotStarted, 10).current_step("s1").done("u1", "s1", 1))),
        ],
        expect![[r#"
            created: NOT_STARTED   JOB_CREATED
                title=C version=- current=[] steps=[] reports=[]
            synced: UPDATED       NOT_STARTED   JOB_UPDATED
                title=- version=v1 current=[] steps=[] reports=[]
            with a report: UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED
                title=- version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1]
        "#]],
    );
}

#[test]
fn the_version_is_the_jobs_own() {
    check(
        [
            ("first", told(base(Active))),
            (
                "a newer header of v2",
                told(Device::says(Active, 20).version("v2").title("B").done("u2", "s1", 20)),
            ),
            ("the same again", told(Device::says(Active, 20).version("v2").title("B").done("u2", "s1", 20))),
            ("an older header of v1", told(base(Active).done("u3", "s1", 20))),
            ("a newer telling by v1", told(base(Active).done("u2", "s1", 21))),
        ],
        expect![[r#"
            first: CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED
                title=A version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1]
            a newer header of v2: UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED; lost metadata.workflow_version_id<v1
                title=B version=v1 current=[] steps=[s1:FINISHED*2] reports=[u1@s1 u2@s1+v2]
            the same again: UNCHANGED     ACTIVE        -; lost metadata.workflow_version_id<v1
            an older header of v1: UPDATED       ACTIVE        REPORT_RECORDED; lost metadata.job_title<B
                title=B version=v1 current=[] steps=[s1:FINISHED*3] reports=[u1@s1 u2@s1+v2 u3@s1]
            a newer telling by v1: UPDATED       ACTIVE        REPORT_RECORDED; lost metadata.job_title<B
                title=B version=v1 current=[] steps=[s1:FINISHED*3] reports=[u1@s1 u2@s1 u3@s1]
        "#]],
    );
}

#[test]
fn steps_follow_their_reports() {
    check(
        [
            ("not started", told(Device::says(NotStarted, 10))),
            ("begun", told(Device::says(NotStarted, 10).done("u1", "s1", 1))),
            (
                "gone through again",
                told(Device::says(NotStarted, 10).done("u2", "s1", 2).done("u3", "s2", 2)),
            ),
            ("taken back once", told(Device::says(NotStarted, 10).undone("u1", "s1", 3))),
            ("taken back twice", told(Device::says(NotStarted, 10).undone("u2", "s1", 3))),
            ("told again, older", told(Device::says(NotStarted, 10).done("u2", "s1", 2))),
            ("told at the same time", told(Device::says(NotStarted, 10).done("u2", "s1", 3))),
            ("done after all", told(Device::says(NotStarted, 10).done("u2", "s1", 4))),
            ("of another step", told(Device::says(NotStarted, 10).done("u1", "s2", 4))),
            ("of a new step", told(Device::says(NotStarted, 10).done("u2", "s3", 5))),
            (
                "all of one",
                told(
                    Device::says(NotStarted, 10).done("u1", "s4", 6).done("u2", "s4", 6).done("u3", "s4", 6),
                ),
            ),
        ],
        expect![[r#"
            not started: CREATED       NOT_STARTED   JOB_CREATED
                title=- version=v1 current=[] steps=[] reports=[]
            begun: UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED
                title=- version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1]
            gone through again: UPDATED       ACTIVE        REPORT_RECORDED REPORT_RECORDED
                title=- version=v1 current=[] steps=[s1:FINISHED*2 s2:FINISHED*1] reports=[u1@s1 u2@s1 u3@s2]
            taken back once: UPDATED       ACTIVE        REPORT_RECORDED
                title=- version=v1 current=[] steps=[s1:FINISHED*1 s2:FINISHED*1] reports=[u1@s1+undone u2@s1 u3@s2]
            taken back twice: UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED
                title=- version=v1 current=["s1"] steps=[s1:READY*0 s2:FINISHED*1] reports=[u1@s1+undone u2@s1+undone u3@s2]
            told again, older: UNCHANGED     ACTIVE        -; lost completed_steps[0]
            told at the same time: UNCHANGED     ACTIVE        -; lost completed_steps[0]
            done after all: UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED
                title=- version=v1 current=[] steps=[s1:FINISHED*1 s2:FINISHED*1] reports=[u1@s1+undone u2@s1 u3@s2]
            of another step: UPDATED       ACTIVE        REPORT_RECORDED REPORT_RECORDED
                title=- version=v1 current=[] steps=[s1:FINISHED*1 s2:FINISHED*2] reports=[u1@s2 u2@s1 u3@s2]
            of a new step: UPDATED       ACTIVE        REPORT_RECORDED
                title=- version=v1 current=[] steps=[s2:FINISHED*2 s3:FINISHED*1] reports=[u1@s2 u2@s3 u3@s2]
            all of one: UPDATED       ACTIVE        REPORT_RECORDED REPORT_RECORDED REPORT_RECORDED
                title=- version=v1 current=[] steps=[s4:FINISHED*3] reports=[u1@s4 u2@s4 u3@s4]
        "#]],
    );
}

#[test]
fn a_sync_may_tell_one_execution_twice() {
    let twice = |first: i64, second: i64| {
        Device::says(Active, 10).done("u1", "s1", first).undone("u1", "s2", second).done("u1", "s3", second)
    };
    check(
        [("the later stands", told(twice(2, 1))), ("or of level ones the undone", told(twice(3, 4)))],
        expect![[r#"
            the later stands: CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED; lost cancelled_steps[0] completed_steps[1]
                title=- version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1]
            or of level ones the undone: UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED; lost completed_steps[0] completed_steps[1]
                title=- version=v1 current=["s2"] steps=[s2:READY*0] reports=[u1@s2+undone]
        "#]],
    );
    let equal = Device::says(Active, 10).done("u1", "s1", 1).done("u1", "s1", 1);
    check(
        [("equal ones are one", told(equal))],
        expect![[r#"
        equal ones are one: CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED
            title=- version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1]
    "#]],
    );
}

#[test]
fn the_device_says_where_it_is() {
    let number = |number| move |step: &mut SingleStep| step.step_number = Some(number);
    let device = |updated| {
        let device =
            Device::says(Active, updated).undone("u1", "s1", 1).undone("u2", "s2", 1).step(number(2));
        device.undone("u3", "s3", 1).step(number(1)).done("u4", "s4", 1)
    };
    check(
        [
            ("says nothing", told(device(10))),
            ("at an open step", told(device(11).current_step("s2"))),
            ("at a finished one", told(device(12).current_step("s4"))),
            ("at an unknown one", told(device(13).current_step("s9"))),
            ("at an open step again", told(device(14).current_step("s2"))),
            ("which is then finished", told(device(14).current_step("s2").done("u2", "s2", 2))),
            ("older, at another", told(device(9).current_step("s1"))),
            ("which becomes known", told(device(15).current_step("s9").undone("u9", "s9", 1))),
        ],
        expect![[r#"
            says nothing: CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED REPORT_RECORDED REPORT_RECORDED REPORT_RECORDED
                title=- version=v1 current=["s3", "s2", "s1"] steps=[s1:READY*0 s2:READY*0 s3:READY*0 s4:FINISHED*1] reports=[u1@s1+undone u2@s2+undone u3@s3+undone u4@s4]
            at an open step: UPDATED       ACTIVE        JOB_UPDATED
                title=- version=v1 current=["s2"] steps=[s1:READY*0 s2:READY*0 s3:READY*0 s4:FINISHED*1] reports=[u1@s1+undone u2@s2+undone u3@s3+undone u4@s4]
            at a finished one: UPDATED       ACTIVE        JOB_UPDATED
                title=- version=v1 current=["s3", "s2", "s1"] steps=[s1:READY*0 s2:READY*0 s3:READY*0 s4:FINISHED*1] reports=[u1@s1+undone u2@s2+undone u3@s3+undone u4@s4]
            at an unknown one: UPDATED       ACTIVE        JOB_UPDATED
            at an open step again: UPDATED       ACTIVE        JOB_UPDATED
                title=- version=v1 current=["s2"] steps=[s1:READY*0 s2:READY*0 s3:READY*0 s4:FINISHED*1] reports=[u1@s1+undone u2@s2+undone u3@s3+undone u4@s4]
            which is then finished: UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED; lost cancelled_steps[1]
                title=- version=v1 current=["s3", "s1"] steps=[s1:READY*0 s2:FINISHED*1 s3:READY*0 s4:FINISHED*1] reports=[u1@s1+undone u2@s2 u3@s3+undone u4@s4]
            older, at another: UNCHANGED     ACTIVE        -; lost metadata.current_step<s2 cancelled_steps[1]
            which becomes known: UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED; lost cancelled_steps[1]
                title=- version=v1 current=["s9"] steps=[s1:READY*0 s2:FINISHED*1 s3:READY*0 s4:FINISHED*1 s9:READY*0] reports=[u1@s1+undone u2@s2 u3@s3+undone u4@s4 u9@s9+undone]
        "#]],
    );
}

#[test]
fn a_job_holds_so_many_reports() {
    let story = || Story { limits: Limits { reports_per_job: 2, ..Limits::default() }, ..Story::new() };
    let three = || Device::says(Active, 10).done("u1", "s1", 1).done("u2", "s1", 1).done("u3", "s1", 1);
    let two = || Device::says(Active, 10).done("u1", "s1", 1).done("u2", "s1", 1);
    check_story(
        story(),
        [
            ("too many at once", told(three())),
            ("as many as may be", told(two())),
            ("one more", told(Device::says(Active, 10).done("u3", "s1", 1))),
            ("the same, told anew", told(Device::says(Active, 10).undone("u1", "s1", 2).done("u2", "s1", 1))),
            ("the same twice", told(two().done("u2", "s1", 3))),
            ("closed", Close),
            ("one more, late", told(Device::says(Active, 10).done("u3", "s1", 1))),
        ],
        expect![[r#"
            too many at once: ! the limit reports_per_job of 2 would be passed
                none
            as many as may be: CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED REPORT_RECORDED
                title=- version=v1 current=[] steps=[s1:FINISHED*2] reports=[u1@s1 u2@s1]
            one more: ! the limit reports_per_job of 2 would be passed
            the same, told anew: UPDATED       ACTIVE        REPORT_RECORDED
                title=- version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1+undone u2@s1]
            the same twice: UPDATED       ACTIVE        REPORT_RECORDED; lost completed_steps[0] completed_steps[1]
            closed: ABORTED!      JOB_ABORTED JOB_CLOSED
            one more, late: ! the limit reports_per_job of 2 would be passed
        "#]],
    );

    let mut lowered = Story::new();
    lowered.happens(told(three()));
    lowered.limits.reports_per_job = 2;
    check_story(
        lowered,
        [
            ("the limit was lowered", told(three())),
            ("a newer telling", told(three().undone("u3", "s1", 2))),
            ("one more", told(three().done("u4", "s1", 2))),
        ],
        expect![[r#"
            the limit was lowered: UNCHANGED     ACTIVE        -
                title=- version=v1 current=[] steps=[s1:FINISHED*3] reports=[u1@s1 u2@s1 u3@s1]
            a newer telling: UPDATED       ACTIVE        REPORT_RECORDED; lost completed_steps[2]
                title=- version=v1 current=[] steps=[s1:FINISHED*2] reports=[u1@s1 u2@s1 u3@s1+undone]
            one more: ! the limit reports_per_job of 2 would be passed
        "#]],
    );
}

#[test]
fn an_empty_member_is_a_value_and_null_is_none() {
    let header =
        |updated: i64, change: fn(&mut SyncHeader)| told(Device::says(Active, updated).header(change));
    check(
        [
            ("all set", {
                let device = Device::says(Active, 10).title("A").with(|metadata| {
                    metadata.metadata =
                        Some(Struct { fields: [("k".to_owned(), Value::from(1.0))].into() }.into());
                    metadata.created = Some(at(1));
                    metadata.user_id = Some("u".to_owned());
                    metadata.username = Some("User".to_owned());
                    metadata.abandon_reason = Some("rain".to_owned());
                    metadata.workflow_name = Some("Weld".to_owned());
                    metadata.current_step = Some("s1".to_owned());
                });
                told(device.header(|header| {
                    header.team = Some("red".to_owned());
                    header.hierarchy_stack = Some(Value::from("top".to_owned()));
                    header.packet_ids = vec!["p1".to_owned(), "p2".to_owned()];
                    header.job_exclusion = vec![Value::from(true)];
                    header.excluded = Some(true);
                }))
            }),
            ("older, all empty", {
                let device = Device::says(Active, 9).title("").version("").with(|metadata| {
                    metadata.metadata = Some(Document::default());
                    metadata.created = Some(at(2));
                    metadata.user_id = Some(String::new());
                    metadata.username = Some(String::new());
                    metadata.abandon_reason = Some(String::new());
                    metadata.workflow_name = Some(String::new());
                    metadata.current_step = Some(String::new());
                });
                told(device.header(|header| {
                    header.team = Some(String::new());
                    header.hierarchy_stack = Some(Value::from(Vec::new()));
                    header.excluded = Some(false);
                }))
            }),
            (
                "newer, all empty",
                told(Device::says(Active, 11).title("").header(|header| header.team = Some(String::new()))),
            ),
            ("newer, absent", told(Device::says(Active, 12))),
            ("null", header(12, |header| header.hierarchy_stack = Some(null()))),
            ("neither", header(12, |header| header.hierarchy_stack = Some(Value { kind: None }))),
            ("empty", header(12, |header| header.hierarchy_stack = Some(Value::from(String::new())))),
            ("null again", header(12, |header| header.hierarchy_stack = Some(null()))),
        ],
        expect![[r#"
            all set: CREATED       ACTIVE        JOB_CREATED
                title=A version=v1 current=[] steps=[] reports=[]
            older, all empty: UNCHANGED     ACTIVE        -; lost metadata.workflow_version_id<v1 metadata.job_title<A metadata.metadata<{1} metadata.created<1970-01-01T00:00:01Z metadata.user_id<u metadata.current_step<s1 metadata.abandon_reason<rain metadata.username<User metadata.workflow_name<Weld team<red hierarchy_stack<top excluded<true
            newer, all empty: UPDATED       ACTIVE        JOB_UPDATED
                title= version=v1 current=[] steps=[] reports=[]
            newer, absent: UPDATED       ACTIVE        JOB_UPDATED
                title=- version=v1 current=[] steps=[] reports=[]
            null: UNCHANGED     ACTIVE        -
            neither: UNCHANGED     ACTIVE        -
            empty: UPDATED       ACTIVE        JOB_UPDATED
            null again: UNCHANGED     ACTIVE        -
        "#]],
    );

    let report = |coordinates| {
        told(Device::says(Active, 10).done("u1", "s1", 1).step(|step| step.coordinates = coordinates))
    };
    check(
        [
            ("absent", report(None)),
            ("null", report(Some(null()))),
            ("empty", report(Some(Value::from(String::new())))),
            ("null again", report(Some(null()))),
        ],
        expect![[r#"
            absent: CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED
                title=- version=v1 current=[] steps=[s1:FINISHED*1] reports=[u1@s1]
            null: UNCHANGED     ACTIVE        -
            empty: UPDATED       ACTIVE        REPORT_RECORDED
            null again: UNCHANGED     ACTIVE        -; lost completed_steps[0]
        "#]],
    );
}

fn null() -> Value {
    Value { kind: Some(Kind::NullValue(NullValue::NullValue.into())) }
}

#[test]
fn equal_contents_are_equal_bytes() {
    let fields = |names: [&str; 3]| {
        let fields = names.into_iter().map(|name| (name.to_owned(), Value::from(name.to_owned())));
        Document::from(Struct { fields: fields.collect() })
    };
    let header = |names| {
        Device::says(Active, 10).with(|metadata| metadata.metadata = Some(fields(names))).sync().header
    };
    assert!(canonical::compare(&header(["a", "b", "c"]), &header(["c", "a", "b"])).is_eq());
}

/// A story of a published workflow: three steps one after another, and a fourth that no path leads to.
#[track_caller]
fn check_published(story: impl IntoIterator<Item = (&'static str, Happens)>, expected: Expect) {
    let step = |id: &str, next: Option<&str>| StepDefinition {
        step_id: id.to_owned(),
        kind: if id == "s2" { StepKind::Automatic } else { StepKind::Manual }.into(),
        paths: next.map(|id| Path { next_step_id: id.to_owned(), ..Path::default() }).into_iter().collect(),
        ..StepDefinition::default()
    };
    let workflow = Workflow {
        workflow_id: "workflow".to_owned(),
        version_id: "v1".to_owned(),
        start_step_ids: vec!["s1".to_owned()],
        steps: vec![step("s1", Some("s2")), step("s2", Some("s3")), step("s3", None), step("s4", None)],
        ..Workflow::default()
    };
    let published = Some(Arc::new(Definition::new(workflow)));
    check_story(Story { published, ..Story::new() }, story, expected);
}

fn guided() -> Job {
    let workflow_id = "workflow".to_owned();
    let workflow = Some(WorkflowReference { workflow_id, ..WorkflowReference::default() });
    Job { workflow, client_job_id: "client".to_owned(), ..Job::default() }
}

#[test]
fn a_published_workflow_gives_an_unknown_job_its_steps() {
    check_published(
        [
            ("nothing done", told(Device::says(NotStarted, 10))),
            ("at its second step", told(Device::says(Active, 11).current_step("s2"))),
            ("at another", told(Device::says(Active, 12).current_step("s4"))),
            ("at an unknown one", told(Device::says(Active, 13).current_step("s9"))),
            (
                "done, by a step it lacks",
                told(Device::says(Active, 13).current_step("s9").done("u1", "s9", 1)),
            ),
            ("done, of another version", told(Device::says(Active, 9).version("v2").done("u2", "s1", 1))),
            ("of another step after all", told(Device::says(Active, 9).done("u2", "s3", 2))),
            ("of one it lacks after all", told(Device::says(Active, 9).done("u2", "s9", 3))),
            ("undone", told(Device::says(Active, 9).undone("u3", "s3", 1))),
            ("completed", told(Device::says(Completed, 20).done("u1", "s9", 1))),
        ],
        expect![[r#"
            nothing done: CREATED       NOT_STARTED   JOB_CREATED STEP_ACTIVATED
                title=- version=v1 current=["s1"] steps=[s1:READY*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[]
            at its second step: UPDATED       ACTIVE        JOB_UPDATED STEP_ACTIVATED
                title=- version=v1 current=["s2"] steps=[s1:READY*1 s2:READY*1 s3:PENDING*0 s4:PENDING*0] reports=[]
            at another: UPDATED       ACTIVE        JOB_UPDATED STEP_ACTIVATED
                title=- version=v1 current=["s4"] steps=[s1:READY*1 s2:PENDING*0 s3:PENDING*0 s4:READY*1] reports=[]
            at an unknown one: UPDATED       ACTIVE        JOB_UPDATED
                title=- version=v1 current=["s1"] steps=[s1:READY*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[]
            done, by a step it lacks: UPDATED       ACTIVE        REPORT_RECORDED
                title=- version=v1 current=["s1"] steps=[s1:READY*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[u1@s9]
            done, of another version: UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED; lost metadata.workflow_version_id<v1
                title=- version=v1 current=[] steps=[s1:FINISHED*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[u1@s9 u2@s1+v2]
            of another step after all: UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED REPORT_RECORDED
                title=- version=v1 current=["s1"] steps=[s1:READY*1 s2:PENDING*0 s3:FINISHED*1 s4:PENDING*0] reports=[u1@s9 u2@s3]
            of one it lacks after all: UPDATED       ACTIVE        REPORT_RECORDED REPORT_RECORDED
                title=- version=v1 current=["s1"] steps=[s1:READY*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[u1@s9 u2@s9]
            undone: UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED
                title=- version=v1 current=["s1", "s3"] steps=[s1:READY*1 s2:PENDING*0 s3:READY*0 s4:PENDING*0] reports=[u1@s9 u2@s9 u3@s3+undone]
            completed: UPDATED       COMPLETED     JOB_UPDATED JOB_COMPLETED
        "#]],
    );
    check_published(
        [
            ("aborted at once", told(Device::says(Aborted, 10).done("u1", "s1", 1))),
            ("a late report", told(Device::says(Active, 9).done("u2", "s2", 1))),
            ("a report of a step it lacks", told(Device::says(Active, 9).done("u3", "s9", 1))),
        ],
        expect![[r#"
            aborted at once: CREATED       ABORTED!      JOB_CREATED REPORT_RECORDED JOB_ABORTED
                title=- version=v1 current=[] steps=[s1:FINISHED*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[u1@s1]
            a late report: RECORDED_LATE ABORTED!      REPORT_RECORDED; lost metadata.status<ABORTED
                title=- version=v1 current=[] steps=[s1:FINISHED*1 s2:FINISHED*1 s3:PENDING*0 s4:PENDING*0] reports=[u1@s1 u2@s2+late]
            a report of a step it lacks: RECORDED_LATE ABORTED!      REPORT_RECORDED; lost metadata.status<ABORTED
                title=- version=v1 current=[] steps=[s1:FINISHED*1 s2:FINISHED*1 s3:PENDING*0 s4:PENDING*0] reports=[u1@s1 u2@s2+late u3@s9+late]
        "#]],
    );
    check_published(
        [
            (
                "another version is known here",
                told(Device::says(Active, 10).version("v7").done("u1", "s1", 1)),
            ),
            ("the same", told(Device::says(Active, 10).version("v7").done("u1", "s1", 1))),
        ],
        expect![[r#"
            another version is known here: CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED; lost metadata.workflow_version_id<v1
                title=- version=v1 current=[] steps=[s1:FINISHED*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[u1@s1+v7]
            the same: UNCHANGED     ACTIVE        -; lost metadata.workflow_version_id<v1
        "#]],
    );
}

#[test]
fn actions_and_syncs_take_turns() {
    use JobActionType::{Finish, Run, SetCurrentStep};

    let device = || Device::says(Active, 10).done("u1", "s1", 10);
    check_published(
        [
            ("created", Create(guided())),
            ("run", Act(Run, None)),
            ("reported done", told(device())),
            ("where the device is", told(device().current_step("s2"))),
            ("run", Act(Run, None)),
            ("the device goes elsewhere", told(Device::says(Active, 11).current_step("s4"))),
            (
                "and reports what runs",
                told(Device::says(Active, 11).current_step("s4").undone("u2", "s2", 1)),
            ),
            ("set", Act(SetCurrentStep, Some("s4"))),
            ("run", Act(Run, None)),
            ("finished: none is left", Act(Finish, None)),
            ("the same", told(device())),
        ],
        expect![[r#"
            created: NOT_STARTED   JOB_CREATED STEP_ACTIVATED
                title=- version=v1 current=["s1"] steps=[s1:READY*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[]
            run: ACTIVE        JOB_UPDATED STEP_STARTED
                title=- version=v1 current=["s1"] steps=[s1:RUNNING*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[]
            reported done: UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED
                title=- version=v1 current=[] steps=[s1:FINISHED*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[u1@s1]
            where the device is: UPDATED       ACTIVE        JOB_UPDATED STEP_ACTIVATED
                title=- version=v1 current=["s2"] steps=[s1:FINISHED*1 s2:READY*1 s3:PENDING*0 s4:PENDING*0] reports=[u1@s1]
            run: ACTIVE        STEP_STARTED TASK_CREATED
                title=- version=v1 current=["s2"] steps=[s1:FINISHED*1 s2:RUNNING*1 s3:PENDING*0 s4:PENDING*0] reports=[u1@s1]
            the device goes elsewhere: UPDATED       ACTIVE        JOB_UPDATED STEP_ACTIVATED
                title=- version=v1 current=["s2", "s4"] steps=[s1:FINISHED*1 s2:RUNNING*1 s3:PENDING*0 s4:READY*1] reports=[u1@s1]
            and reports what runs: UPDATED       ACTIVE        JOB_UPDATED TASK_COMPLETED REPORT_RECORDED
                title=- version=v1 current=["s4"] steps=[s1:FINISHED*1 s2:READY*0 s3:PENDING*0 s4:READY*1] reports=[u1@s1 u2@s2+undone]
            set: ACTIVE        -
            run: ACTIVE        STEP_STARTED
                title=- version=v1 current=["s4"] steps=[s1:FINISHED*1 s2:READY*0 s3:PENDING*0 s4:RUNNING*1] reports=[u1@s1 u2@s2+undone]
            finished: none is left: COMPLETED     STEP_FINISHED JOB_COMPLETED
                title=- version=v1 current=[] steps=[s1:FINISHED*1 s2:READY*0 s3:PENDING*0 s4:FINISHED*1] reports=[u1@s1 u2@s2+undone]
            the same: UNCHANGED     COMPLETED     -; lost metadata.status<COMPLETED
        "#]],
    );
}

/// `RECORDED_LATE, late; status and steps stay`; and what was recorded so is not lost on a job that is taken up again.
#[test]
fn reports_that_came_late_count_once_the_job_is_taken_up_again() {
    let device = || Device::says(Active, 10).done("u1", "s1", 10);
    check_published(
        [
            ("created", Create(guided())),
            ("closed", Close),
            ("late", told(device())),
            ("taken up", Reopen),
            ("the same", told(device())),
            ("and again", told(device())),
        ],
        expect![[r#"
            created: NOT_STARTED   JOB_CREATED STEP_ACTIVATED
                title=- version=v1 current=["s1"] steps=[s1:READY*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[]
            closed: ABORTED!      JOB_ABORTED JOB_CLOSED
            late: RECORDED_LATE ABORTED!      REPORT_RECORDED; lost metadata.status<ABORTED
                title=- version=v1 current=["s1"] steps=[s1:READY*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[u1@s1+late]
            taken up: ACTIVE        JOB_REOPENED
            the same: UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED
                title=- version=v1 current=[] steps=[s1:FINISHED*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[u1@s1+late]
            and again: UNCHANGED     ACTIVE        -
        "#]],
    );
}

/// What was merged when it came, and a step that was taken up again since, are left as they are.
#[test]
fn reports_that_came_late_undo_nothing_that_came_after_them() {
    use JobActionType::{Run, SetCurrentStep};

    let device = |updated| Device::says(Active, updated).done("u1", "s1", 10);
    check_published(
        [
            ("active", told(Device::says(Active, 10))),
            ("given up", told(Device::says(Aborted, 11))),
            ("late, and merged", told(device(10))),
            ("taken up", Reopen),
            ("at the step again", Act(SetCurrentStep, Some("s1"))),
            ("run", Act(Run, None)),
            ("a header alone", told(Device::says(Active, 20).current_step("s1"))),
        ],
        expect![[r#"
            active: CREATED       ACTIVE        JOB_CREATED STEP_ACTIVATED
                title=- version=v1 current=["s1"] steps=[s1:READY*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[]
            given up: ABORTED       ABORTED!      JOB_UPDATED JOB_ABORTED
            late, and merged: RECORDED_LATE ABORTED!      JOB_UPDATED REPORT_RECORDED; lost metadata.status<ABORTED
                title=- version=v1 current=[] steps=[s1:FINISHED*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[u1@s1+late]
            taken up: ACTIVE        JOB_REOPENED STEP_ACTIVATED
                title=- version=v1 current=["s1"] steps=[s1:READY*2 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[u1@s1+late]
            at the step again: ACTIVE        -
            run: ACTIVE        STEP_STARTED
                title=- version=v1 current=["s1"] steps=[s1:RUNNING*2 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[u1@s1+late]
            a header alone: UPDATED       ACTIVE        JOB_UPDATED
        "#]],
    );
}

/// `known, completed earlier | Aborted | UNCHANGED`, also where actions completed it, and whatever else devices say.
#[test]
fn what_was_completed_by_actions_is_not_given_up() {
    use JobActionType::{Finish, Run, SetCurrentStep};

    let rain = |updated| {
        told(
            Device::says(Aborted, updated).with(|metadata| metadata.abandon_reason = Some("rain".to_owned())),
        )
    };
    check_published(
        [
            ("active", told(Device::says(Active, 10))),
            ("at the last step", Act(SetCurrentStep, Some("s4"))),
            ("run", Act(Run, None)),
            ("finished", Act(Finish, None)),
            ("aborted, older", rain(5)),
            ("aborted, of the same time", told(Device::says(Aborted, 10))),
            ("completed", told(Device::says(Completed, 20))),
            ("aborted, older, again", rain(5)),
            ("aborted, newer", rain(30)),
        ],
        expect![[r#"
            active: CREATED       ACTIVE        JOB_CREATED STEP_ACTIVATED
                title=- version=v1 current=["s1"] steps=[s1:READY*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[]
            at the last step: ACTIVE        STEP_ACTIVATED
                title=- version=v1 current=["s4"] steps=[s1:PENDING*0 s2:PENDING*0 s3:PENDING*0 s4:READY*1] reports=[]
            run: ACTIVE        STEP_STARTED
                title=- version=v1 current=["s4"] steps=[s1:PENDING*0 s2:PENDING*0 s3:PENDING*0 s4:RUNNING*1] reports=[]
            finished: COMPLETED     STEP_FINISHED JOB_COMPLETED
                title=- version=v1 current=[] steps=[s1:PENDING*0 s2:PENDING*0 s3:PENDING*0 s4:FINISHED*1] reports=[]
            aborted, older: UNCHANGED     COMPLETED     -; lost metadata.abandon_reason metadata.status<COMPLETED
            aborted, of the same time: UNCHANGED     COMPLETED     -; lost metadata.status<COMPLETED
            completed: UPDATED       COMPLETED     JOB_UPDATED
            aborted, older, again: UNCHANGED     COMPLETED     -; lost metadata.abandon_reason metadata.status<COMPLETED
            aborted, newer: UPDATED       COMPLETED     JOB_UPDATED; lost metadata.status<COMPLETED
        "#]],
    );
}

#[test]
fn what_runs_is_broken_off_by_a_report() {
    use JobActionType::{Run, SetCurrentStep};

    let begun = || {
        [
            ("created", Create(guided())),
            ("at the automatic step", Act(SetCurrentStep, Some("s2"))),
            ("run", Act(Run, None)),
        ]
    };
    let then = [
        ("reported undone", told(Device::says(Active, 10).undone("u1", "s2", 1))),
        ("aborted", told(Device::says(Aborted, 10).undone("u1", "s2", 1))),
    ];
    check_published(
        begun().into_iter().chain(then),
        expect![[r#"
        created: NOT_STARTED   JOB_CREATED STEP_ACTIVATED
            title=- version=v1 current=["s1"] steps=[s1:READY*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[]
        at the automatic step: NOT_STARTED   STEP_ACTIVATED
            title=- version=v1 current=["s2"] steps=[s1:PENDING*0 s2:READY*1 s3:PENDING*0 s4:PENDING*0] reports=[]
        run: ACTIVE        JOB_UPDATED STEP_STARTED TASK_CREATED
            title=- version=v1 current=["s2"] steps=[s1:PENDING*0 s2:RUNNING*1 s3:PENDING*0 s4:PENDING*0] reports=[]
        reported undone: UPDATED       ACTIVE        JOB_UPDATED TASK_COMPLETED REPORT_RECORDED
            title=- version=v1 current=["s2"] steps=[s1:PENDING*0 s2:READY*0 s3:PENDING*0 s4:PENDING*0] reports=[u1@s2+undone]
        aborted: ABORTED       ABORTED!      JOB_ABORTED
    "#]],
    );
    let then = [
        ("reported done", told(Device::says(Active, 10).done("u1", "s2", 1))),
        ("its task is over", Meanwhile(|state| assert!(state.tasks.values().all(|task| !task.is_open())))),
    ];
    check_published(
        begun().into_iter().chain(then),
        expect![[r#"
        created: NOT_STARTED   JOB_CREATED STEP_ACTIVATED
            title=- version=v1 current=["s1"] steps=[s1:READY*1 s2:PENDING*0 s3:PENDING*0 s4:PENDING*0] reports=[]
        at the automatic step: NOT_STARTED   STEP_ACTIVATED
            title=- version=v1 current=["s2"] steps=[s1:PENDING*0 s2:READY*1 s3:PENDING*0 s4:PENDING*0] reports=[]
        run: ACTIVE        JOB_UPDATED STEP_STARTED TASK_CREATED
            title=- version=v1 current=["s2"] steps=[s1:PENDING*0 s2:RUNNING*1 s3:PENDING*0 s4:PENDING*0] reports=[]
        reported done: UPDATED       ACTIVE        JOB_UPDATED TASK_COMPLETED REPORT_RECORDED
            title=- version=v1 current=[] steps=[s1:PENDING*0 s2:FINISHED*1 s3:PENDING*0 s4:PENDING*0] reports=[u1@s2]
        its task is over: ACTIVE
    "#]],
    );
}

#[test]
fn a_step_on_hold_does_not_go_with_its_report() {
    let hold = |state: &mut JobState| state.steps.get_mut("s1").unwrap().hold_ids = vec!["hold_1".to_owned()];
    check(
        [
            ("undone", told(Device::says(Active, 10).undone("u1", "s1", 10).done("u2", "s2", 10))),
            ("a hold is placed", Meanwhile(hold)),
            ("of another step after all", told(Device::says(Active, 10).done("u1", "s3", 11))),
            ("and another, without a hold", told(Device::says(Active, 10).done("u2", "s3", 11))),
        ],
        expect![[r#"
            undone: CREATED       ACTIVE        JOB_CREATED REPORT_RECORDED REPORT_RECORDED
                title=- version=v1 current=["s1"] steps=[s1:READY*0 s2:FINISHED*1] reports=[u1@s1+undone u2@s2]
            a hold is placed: ACTIVE
            of another step after all: UPDATED       ACTIVE        JOB_UPDATED REPORT_RECORDED REPORT_RECORDED
                title=- version=v1 current=[] steps=[s1:PENDING*0 s2:FINISHED*1 s3:FINISHED*1] reports=[u1@s3 u2@s2]
            and another, without a hold: UPDATED       ACTIVE        REPORT_RECORDED
                title=- version=v1 current=[] steps=[s1:PENDING*0 s3:FINISHED*2] reports=[u1@s3 u2@s3]
        "#]],
    );
}
