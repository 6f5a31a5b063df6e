//! The merge of what devices tell into a job: SPEC 3.1.
//!
//! What a job holds from syncs is a join, so that any order and any repeats of the same syncs end in the same state:
//!
//! * the *header* is a register: the greatest (`updated`, `modified`, bytes, status) stands;
//! * a *report* is a register for each `unique_step_id`: the greatest (`updated`, undone, bytes) stands;
//! * the *terminal status*, with its reason, is a register: the smallest (`updated`, ABORTED before COMPLETED) stands;
//! * everything else (status, steps, current steps) is a function of these, and of the definition where there is one.

#[cfg(test)]
mod law;
mod lost;
#[cfg(test)]
mod tests;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use prost_types::Timestamp;

use super::{
    Context, Decision, Definition, Existing, JOB_ID_PREFIX, JobState, Rejection, advance, canonical,
    decision::Draft, holds, job, steps, tasks, time::compare_times,
};
use crate::proto::{
    storage::v1::{SyncHeader, SyncRecord, SyncTerminal},
    v1::{
        BasicSyncResponse, CompletionStatus, Job, JobEventType, JobStatus, Step, StepEntry, StepJoin,
        StepKind, StepReport, StepStatus, SyncMetadata, SyncOutcome, WorkflowReference,
    },
};

/// What a device knows of a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Sync {
    /// Everything but the status and the reports. Its `metadata` is set, and in it the two required ids.
    pub header: SyncHeader,
    /// The job's status, as the device has it.
    pub status: JobStatus,
    /// What it tells of executions of steps.
    pub reports: Vec<Told>,
}

/// What a device tells of one execution of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// Exactly one of the two is set, and in it the two required ids.
    pub entry: StepEntry,
    /// It was taken back.
    pub undone: bool,
    /// Where it stands in the request.
    pub path: String,
}

impl Sync {
    /// A sync whose parts are in canonical form.
    #[must_use]
    pub fn new(mut header: SyncHeader, status: JobStatus, mut reports: Vec<Told>) -> Self {
        canonical::normalize_header(&mut header);
        for told in &mut reports {
            canonical::normalize_entry(&mut told.entry);
        }
        Self { header, status, reports }
    }

    /// The id the device knows the job under.
    #[must_use]
    pub fn client_job_id(&self) -> &str {
        metadata(&self.header).client_job_id()
    }

    /// The workflow that the device works by, and its version.
    #[must_use]
    pub fn workflow(&self) -> (&str, Option<&str>) {
        let metadata = metadata(&self.header);
        (metadata.workflow_id(), metadata.workflow_version_id.as_deref())
    }

    /// Merges the sync into what is known of the job. The state must have all steps and all reports.
    ///
    /// # Errors
    /// The job was deleted, follows another workflow, or would have too many reports.
    pub fn decide(
        &self,
        existing: Existing,
        context: &Context,
    ) -> Result<Decision<BasicSyncResponse>, Rejection> {
        match existing {
            Existing::Deleted { job_id } => Err(Rejection::JobDeleted { job_id }),
            // One of our own ids, of a job that is not there.
            Existing::Nothing if self.client_job_id().starts_with(JOB_ID_PREFIX) => {
                Err(Rejection::JobNotFound)
            }
            Existing::Nothing => {
                let mut job = Job {
                    job_id: context.new_ids.job_id(),
                    client_job_id: self.client_job_id().to_owned(),
                    create_time: Some(context.now),
                    ..Job::default()
                };
                job.set_status(JobStatus::NotStarted);
                self.merge(Draft::new_job(job, context), context)
            }
            Existing::Job(state) => {
                let workflow_id = state.job.workflow.as_ref().map(|workflow| workflow.workflow_id.as_str());
                match workflow_id {
                    Some(workflow_id) if workflow_id != metadata(&self.header).workflow_id() => {
                        Err(Rejection::WorkflowMismatch {
                            job_id: state.job.job_id.clone(),
                            workflow_id: workflow_id.to_owned(),
                        })
                    }
                    _ => self.merge(Draft::of(*state, context), context),
                }
            }
        }
    }

    fn merge(
        &self,
        mut draft: Draft<'_>,
        context: &Context,
    ) -> Result<Decision<BasicSyncResponse>, Rejection> {
        let before = Before::of(&draft.state);
        let definition = context.workflow.as_deref();
        let given = definition
            .filter(|_| draft.state.job.workflow.is_none() && !before.closed_by_command)
            .map(|definition| give_definition(&mut draft.state, definition, context.now));
        let definition = definition.filter(|_| steps::follows_definition(&draft.state.job));

        let news = self.news(&draft.state, context)?;
        let brings_news = !news.is_empty();
        if before.closed_by_command {
            // The status and the steps of such a job stay. What the device did is kept all the same.
            for report in news {
                draft.record(JobEventType::ReportRecorded, |event| event.report = Some(report.into()));
            }
        } else {
            let plan = self.plan(&draft.state, definition, news, given.is_some(), context);
            let merged = plan.carry_out(&mut draft, &before, given, context);
            if draft.state.sync.as_ref() != Some(&merged) {
                draft.record_sync(merged);
            }
        }

        let outcome = before.outcome(&draft, brings_news);
        let lost_fields = lost::fields(self, &draft.state);
        Ok(draft.answer(|state| BasicSyncResponse {
            outcome: outcome.into(),
            job_id: state.job.job_id.clone(),
            revision: state.job.revision,
            lost_fields,
        }))
    }

    /// What the sync does to a job that no command has closed. The state has the steps of a definition that the job follows from
    /// this sync on, which are `given` then.
    fn plan(
        &self,
        state: &JobState,
        definition: Option<&Definition>,
        news: Vec<StepReport>,
        is_given: bool,
        context: &Context,
    ) -> Plan {
        let nothing = SyncRecord::default();
        let registers = state.sync.as_ref().unwrap_or(&nothing);
        let mut merged = self.join(registers);
        // What was completed by actions is not given up afterwards.
        let synced = registers.terminal.as_ref().map(SyncTerminal::status);
        if state.job.status() == JobStatus::Completed && synced != Some(JobStatus::Completed) {
            merged.terminal.clone_from(&registers.terminal);
        }
        let merge = Merge { before: state, registers, merged: &merged, definition, now: context.now };
        let mut steps = merge.touched_steps(&news);
        let at_work = |id: &String| state.steps.get(id).filter(|step| !step.task_id.is_empty());
        let ended = steps.keys().filter_map(at_work).cloned().collect();
        let placed = merge.placed_steps(&steps, is_given);
        let job = merge.head(&news, &steps, &placed);
        let without_news = merge.take_without_news(&mut steps, &news);
        Plan { job, placed, ended, without_news, news, steps, merged }
    }

    /// The reports that stand after the sync and did not before, each once, in the order of the request.
    fn news(&self, before: &JobState, context: &Context) -> Result<Vec<StepReport>, Rejection> {
        let mut newest: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, told) in self.reports.iter().enumerate() {
            let standing = newest.entry(unique_step_id(&told.entry)).or_insert(index);
            let other = &self.reports[*standing];
            let is_newer =
                || compare_entries((&told.entry, told.undone), (&other.entry, other.undone)).is_gt();
            if *standing != index && is_newer() {
                *standing = index;
            }
        }
        let news: Vec<StepReport> = self
            .reports
            .iter()
            .enumerate()
            .filter(|(index, told)| {
                let id = unique_step_id(&told.entry);
                let standing = before.reports.get(id);
                newest[id] == *index && standing.is_none_or(|report| told.compare(report).is_gt())
            })
            .map(|(_, told)| self.report(told, before, context))
            .collect();
        let added =
            news.iter().filter(|report| !before.reports.contains_key(report.unique_step_id())).count();
        let maximum = context.limits.reports_per_job;
        if added > 0 && (before.reports.len() + added) as u64 > maximum {
            return Err(Rejection::LimitExceeded { limit: "reports_per_job", maximum });
        }
        Ok(news)
    }

    fn report(&self, told: &Told, before: &JobState, context: &Context) -> StepReport {
        let version = &metadata(&self.header).workflow_version_id;
        let is_the_jobs = match &before.job.workflow {
            Some(workflow) => workflow.version_id == *version,
            // The job takes the workflow from this sync, unless it is closed.
            None => !before.job.closed,
        };
        // A hold that was due is gone, whether or not that is told already.
        let stands =
            |id: &String| before.holds.get(id).is_none_or(|hold| !holds::is_over(hold, before, context));
        let held = told.entry.step().and_then(|step| before.steps.get(step.step_id()));
        StepReport {
            job_id: before.job.job_id.clone(),
            entry: Some(told.entry.clone()),
            undone: told.undone,
            late: before.job.closed,
            overrode_hold: held.is_some_and(|step| step.hold_ids.iter().any(stands)),
            workflow_version_id: version.clone().filter(|_| !is_the_jobs),
            record_time: Some(context.now),
        }
    }

    /// The registers after the sync.
    fn join(&self, registers: &SyncRecord) -> SyncRecord {
        let mut merged = registers.clone();
        let standing = registers.header.as_ref().map(|header| (header, registers.header_status));
        let header_wins = standing
            .is_none_or(|standing| compare_headers((&self.header, self.status as i32), standing).is_gt());
        if header_wins {
            merged.header = Some(self.header.clone());
            merged.header_status = self.status.into();
        }
        if is_terminal(self.status) {
            let updated = metadata(&self.header).updated;
            let reason = metadata(&self.header).abandon_reason.clone();
            let abandon_reason = reason.filter(|_| self.status == JobStatus::Aborted);
            let told = SyncTerminal { status: self.status.into(), updated, abandon_reason };
            let smaller =
                registers.terminal.as_ref().is_none_or(|standing| compare_terminals(&told, standing).is_lt());
            if smaller {
                merged.terminal = Some(told);
            }
        }
        merged
    }
}

impl Told {
    fn compare(&self, report: &StepReport) -> Ordering {
        let empty = StepEntry::default();
        let entry = report.entry.as_ref().unwrap_or(&empty);
        compare_entries((&self.entry, self.undone), (entry, report.undone))
    }
}

/// What was, where a sync came.
struct Before {
    revision: i64,
    status: JobStatus,
    closed: bool,
    closed_by_command: bool,
}

impl Before {
    fn of(state: &JobState) -> Self {
        let job = &state.job;
        let closed_by_sync = state.sync.as_ref().is_some_and(|sync| sync.closed_by_sync);
        Self {
            revision: job.revision,
            status: job.status(),
            closed: job.closed,
            closed_by_command: job.closed && !closed_by_sync,
        }
    }

    fn is_new(&self) -> bool {
        self.revision == 0
    }

    fn outcome(&self, draft: &Draft<'_>, brings_news: bool) -> SyncOutcome {
        let job = &draft.state.job;
        if self.is_new() {
            SyncOutcome::Created
        } else if job.status() == JobStatus::Aborted && self.status != JobStatus::Aborted {
            SyncOutcome::Aborted
        } else if draft.is_empty() {
            SyncOutcome::Unchanged
        } else if self.closed && job.closed && brings_news {
            SyncOutcome::RecordedLate
        } else {
            SyncOutcome::Updated
        }
    }
}

/// Has a job follow a definition from now on. Gives the steps that it has of it.
fn give_definition(state: &mut JobState, definition: &Definition, now: Timestamp) -> Vec<Step> {
    state.job.workflow = Some(definition.reference());
    let given = definition.steps(&state.job.job_id, now);
    state.steps = given.iter().map(|step| (step.step_id.clone(), step.clone())).collect();
    given
}

/// What a sync does.
struct Plan {
    /// The head, less what a terminal status does.
    job: Job,
    placed: PlacedSteps,
    /// Steps that are reported of, and that a task is at. A report says what became of the step: nothing works at it any more.
    ended: Vec<Step>,
    /// Steps that change although no news is of them, each with its report.
    without_news: Vec<(StepReport, Step)>,
    news: Vec<StepReport>,
    steps: TouchedSteps,
    /// The registers.
    merged: SyncRecord,
}

impl Plan {
    /// Tells all of it, and gives the registers as they are then.
    fn carry_out(
        self,
        draft: &mut Draft<'_>,
        before: &Before,
        given: Option<Vec<Step>>,
        context: &Context,
    ) -> SyncRecord {
        let Self { job, placed, ended, without_news, news, steps, merged } = self;
        let kind = if before.is_new() { JobEventType::JobCreated } else { JobEventType::JobUpdated };
        let head_changes = before.is_new() || given.is_some() || job != draft.state.job;
        if head_changes || !placed.set_aside.is_empty() {
            draft.record(kind, |event| {
                event.job = Some(job.into());
                event.further_steps = given.into_iter().flatten().chain(placed.set_aside).collect();
            });
        }
        for step in &ended {
            tasks::end(draft, step, CompletionStatus::Terminated);
        }
        for step in placed.activated {
            draft.record(JobEventType::StepActivated, |event| event.step = Some(step.into()));
        }
        for (report, step) in without_news {
            draft.record(JobEventType::ReportRecorded, |event| {
                event.report = Some(report.into());
                event.step = Some(step.into());
            });
        }
        record_reports(draft, news, steps);
        advance::settle(draft);
        record_terminal(draft, merged, context)
    }
}

/// A sync on its way into a job that it may change.
struct Merge<'m> {
    before: &'m JobState,
    registers: &'m SyncRecord,
    merged: &'m SyncRecord,
    definition: Option<&'m Definition>,
    now: Timestamp,
}

/// Steps that no report is of, and that change by where the device says it is.
#[derive(Default)]
struct PlacedSteps {
    activated: Vec<Step>,
    set_aside: Vec<Step>,
}

impl Merge<'_> {
    fn header(&self) -> &SyncHeader {
        self.merged.header.as_ref().expect("a merged sync has a header")
    }

    fn header_changed(&self) -> bool {
        self.registers.header != self.merged.header
    }

    /// The job's head after the sync, less what a terminal status does.
    fn head(&self, news: &[StepReport], touched: &TouchedSteps, placed: &PlacedSteps) -> Job {
        let mut job = self.before.job.clone();
        if self.header_changed() {
            apply_header(&mut job, self.header(), self.definition);
        }
        if is_terminal(job.status()) {
            job.abandon_reason = abandon_reason(self.merged, &job);
        }
        let has_reports = !self.before.reports.is_empty() || !news.is_empty();
        if !is_terminal(job.status()) {
            // What an action made of the status stands until a newer header comes.
            let status_changed = self.registers.header_status != self.merged.header_status;
            let says_anew = self.header_changed() || status_changed;
            let said = if says_anew { self.merged.header_status() } else { job.status() };
            job.set_status(open_status(job.status(), said, has_reports));
        }
        if self.header_changed() || !touched.is_empty() {
            let changed: BTreeMap<&str, &Step> =
                touched.values().flatten().chain(placed.all()).map(named).collect();
            let stays = |step: &&Step| {
                !touched.contains_key(&step.step_id) && !changed.contains_key(step.step_id.as_str())
            };
            let steps: BTreeMap<&str, &Step> =
                self.before.steps.values().filter(stays).map(named).chain(changed.clone()).collect();
            let device_step_id = current_step(self.header());
            job.current_step_ids = steps::current_step_ids(device_step_id, steps.values().copied());
            job.current_assignees = steps::assignees(
                job.current_step_ids.iter().filter_map(|id| steps.get(id.as_str()).copied()),
            );
        }
        job
    }

    /// The steps that no report is of, after the header took another place or the definition came: those that a job begins
    /// with, and the one where the device is, are READY; one where it was is not reached.
    fn placed_steps(&self, touched: &TouchedSteps, is_given: bool) -> PlacedSteps {
        let mut placed = PlacedSteps::default();
        let Some(definition) = self.definition else { return placed };
        let was_at = self.registers.header.as_ref().and_then(current_step);
        let mut step_ids: BTreeSet<&str> =
            [was_at, current_step(self.header())].into_iter().flatten().collect();
        if is_given {
            step_ids.extend(definition.start_step_ids().iter().map(String::as_str));
        }
        let untouched = step_ids.into_iter().filter(|id| !touched.contains_key(*id));
        for step in
            untouched.filter_map(|id| self.before.steps.get(id)).filter(|step| !self.has_reports(step))
        {
            let is_here = is_given || current_step(self.header()) == Some(step.step_id.as_str());
            match (self.is_placed(&step.step_id), step.status()) {
                (true, StepStatus::Pending) if is_here => {
                    placed.activated.push(self.stamped(advance::visited(step)));
                }
                (false, StepStatus::Ready) => placed.set_aside.push(self.stamped(advance::set_aside(step))),
                _ => {}
            }
        }
        placed
    }

    /// Whether a step is reached without any report of it.
    fn is_placed(&self, step_id: &str) -> bool {
        let is_start = |definition: &Definition| definition.start_step_ids().iter().any(|id| id == step_id);
        current_step(self.header()) == Some(step_id) || self.definition.is_some_and(is_start)
    }

    fn has_reports(&self, step: &Step) -> bool {
        self.before.reports.values().any(|report| step_id(report) == step.step_id)
    }

    fn stamped(&self, step: Step) -> Step {
        Step { update_time: Some(self.now), ..step }
    }
}

impl PlacedSteps {
    fn all(&self) -> impl Iterator<Item = &Step> {
        self.activated.iter().chain(&self.set_aside)
    }
}

fn named(step: &Step) -> (&str, &Step) {
    (&step.step_id, step)
}

/// The steps that news change: as they are afterwards, or `None` where no report names them any more.
type TouchedSteps = BTreeMap<String, Option<Step>>;

impl Merge<'_> {
    fn touched_steps(&self, news: &[StepReport]) -> TouchedSteps {
        let before = self.before;
        let replaced = news.iter().filter_map(|report| before.reports.get(report.unique_step_id()));
        // A report of a step that the definition lacks is kept without one.
        let is_known = |id: &&str| self.definition.is_none_or(|definition| definition.has_step(id));
        // What came while the job was closed by a command counts once the job was taken up again.
        let is_taken_up = self.registers.header.is_none();
        let is_untouched_since = |report: &&StepReport| {
            let step = before.steps.get(step_id(report)).map(|step| step.update_time.as_ref());
            step.is_none_or(|updated| compare_times(updated, report.record_time.as_ref()).is_le())
        };
        let late =
            before.reports.values().filter(|report| is_taken_up && report.late).filter(is_untouched_since);
        let step_ids: BTreeSet<&str> =
            replaced.chain(news).chain(late).map(step_id).filter(is_known).collect();
        let newest: BTreeMap<&str, &StepReport> =
            news.iter().map(|report| (report.unique_step_id(), report)).collect();
        let standing = before.reports.iter().map(|(id, report)| *newest.get(id.as_str()).unwrap_or(&report));
        let unseen = news.iter().filter(|report| !before.reports.contains_key(report.unique_step_id()));

        let mut by_step: BTreeMap<&str, Vec<&StepReport>> = BTreeMap::new();
        for report in standing.chain(unseen).filter(|report| step_ids.contains(step_id(report))) {
            by_step.entry(step_id(report)).or_default().push(report);
        }
        step_ids
            .iter()
            .map(|&id| {
                let step = match (by_step.get(id), before.steps.get(id)) {
                    (Some(reports), step) => Some(self.step_of_reports(step, id, reports)),
                    // A step goes with the last report of it, but not from under a hold.
                    (None, Some(step)) if self.definition.is_some() || !step.hold_ids.is_empty() => {
                        Some(self.step_without_reports(step))
                    }
                    (None, _) => None,
                };
                (id.to_owned(), step)
            })
            .collect()
    }

    /// Takes out the steps that change although no news is of them, each with a report of it that came late and counts now.
    fn take_without_news(&self, steps: &mut TouchedSteps, news: &[StepReport]) -> Vec<(StepReport, Step)> {
        let replaced = news.iter().filter_map(|report| self.before.reports.get(report.unique_step_id()));
        let of_news: BTreeSet<&str> = replaced.chain(news).map(step_id).collect();
        let others: Vec<String> = steps.keys().filter(|id| !of_news.contains(id.as_str())).cloned().collect();
        let others: Vec<Step> = others.into_iter().filter_map(|id| steps.remove(&id).flatten()).collect();
        let is_same = |step: &Step| {
            let before = self.before.steps.get(&step.step_id);
            before.is_some_and(|before| Step { update_time: before.update_time, ..step.clone() } == *before)
        };
        let late = |step: &Step| {
            let mut reports = self.before.reports.values();
            reports.find(|report| report.late && step_id(report) == step.step_id).cloned()
        };
        let changed = others.into_iter().filter(|step| !is_same(step));
        changed.filter_map(|step| Some((late(&step)?, step))).collect()
    }

    /// A step whose only report turned out to be of another step.
    fn step_without_reports(&self, step: &Step) -> Step {
        let mut step = Step { visit: 0, finish_time: None, ..step.clone() };
        step.set_status(StepStatus::Pending);
        let is_placed = self.is_placed(&step.step_id);
        self.stamped(if is_placed { advance::visited(&step) } else { step })
    }

    /// A step as its reports have it: FINISHED if one of them stands and is not undone. Where no definition describes it,
    /// the greatest of them does.
    fn step_of_reports(&self, before: Option<&Step>, step_id: &str, reports: &[&StepReport]) -> Step {
        let visits = reports.iter().filter(|report| !report.undone).count();
        let status = if visits > 0 { StepStatus::Finished } else { StepStatus::Ready };
        let mut step = before.cloned().unwrap_or_else(|| Step {
            job_id: self.before.job.job_id.clone(),
            step_id: step_id.to_owned(),
            kind: StepKind::Manual.into(),
            join: StepJoin::All.into(),
            create_time: Some(self.now),
            ..Step::default()
        });
        if self.definition.is_none() {
            describe(&mut step, reports);
        }
        step.visit = i32::try_from(visits).unwrap_or(i32::MAX);
        if step.status() != status {
            step.finish_time = (status == StepStatus::Finished).then_some(self.now);
        }
        step.awaits_join = false;
        step.set_status(status);
        self.stamped(step)
    }
}

fn describe(step: &mut Step, reports: &[&StepReport]) {
    let described_by = reports
        .iter()
        .max_by(|left, right| {
            compare_reports(left, right).then_with(|| left.unique_step_id().cmp(right.unique_step_id()))
        })
        .and_then(|report| report.entry.as_ref()?.step())
        .cloned()
        .unwrap_or_default();
    step.number = described_by.step_number;
    step.title = described_by.step_title;
    step.description = described_by.step_description;
    step.step_type = described_by.step_type;
}

/// Tells the news, each with the step as it is after all of them, and the steps that went with the first. A step that a
/// report left, and that no news are of, is told with that report too, in an event before the report's own.
fn record_reports(draft: &mut Draft<'_>, news: Vec<StepReport>, mut touched: TouchedSteps) {
    let mut removed: Vec<String> = Vec::new();
    touched.retain(|id, step| {
        if step.is_none() {
            removed.push(id.clone());
        }
        step.is_some()
    });
    let mut left: BTreeSet<String> = touched.keys().cloned().collect();
    for report in &news {
        left.remove(step_id(report));
    }
    for report in news {
        let before =
            draft.state.reports.get(report.unique_step_id()).map(|before| step_id(before).to_owned());
        let left_step_id = before.and_then(|step_id| left.take(&step_id));
        let mut record = |step: Option<Step>, report: StepReport| {
            let removed_step_ids = std::mem::take(&mut removed);
            draft.record(JobEventType::ReportRecorded, |event| {
                event.report = Some(report.into());
                event.step = step.map(Into::into);
                event.removed_step_ids = removed_step_ids;
            });
        };
        let step = |step_id: &str| touched.get(step_id).cloned().flatten();
        if let Some(left_step_id) = left_step_id {
            record(step(&left_step_id), report.clone());
        }
        record(step(step_id(&report)), report);
    }
}

/// Brings the job to the terminal status that stands, if it is not there.
fn record_terminal(draft: &mut Draft<'_>, mut merged: SyncRecord, context: &Context) -> SyncRecord {
    let Some(terminal) = merged.terminal.as_ref().map(SyncTerminal::status) else { return merged };
    if draft.state.job.status() == terminal {
        return merged;
    }
    let aborted = terminal == JobStatus::Aborted;
    if aborted {
        steps::cancel_running(draft);
    }
    let mut job = draft.state.job.clone();
    job.set_status(terminal);
    job.abandon_reason = abandon_reason(&merged, &job);
    if aborted {
        job::close(&mut job, context);
    } else {
        // An abort came first, and now a completion that was earlier: the job was done before it was given up.
        job.closed = false;
        job.close_time = None;
    }
    merged.closed_by_sync = aborted;
    let kind = if aborted { JobEventType::JobAborted } else { JobEventType::JobCompleted };
    draft.record_job(kind, job);
    merged
}

/// Why the job was given up: what the abort that stands says, else what the header says.
fn abandon_reason(merged: &SyncRecord, job: &Job) -> Option<String> {
    let of_abort = merged.terminal.as_ref().and_then(|terminal| terminal.abandon_reason.clone());
    let of_header = || merged.header.as_ref().and_then(|header| metadata(header).abandon_reason.clone());
    // The merge has no say in an abort that was commanded.
    if merged.terminal.is_some() { of_abort.or_else(of_header) } else { job.abandon_reason.clone() }
}

/// The status of a job that is not terminal, or not yet: a terminal status comes with an event of its own.
fn open_status(before: JobStatus, header_status: JobStatus, has_reports: bool) -> JobStatus {
    let said = if is_terminal(header_status) { before } else { header_status };
    if said == JobStatus::NotStarted && has_reports { JobStatus::Active } else { said }
}

fn apply_header(job: &mut Job, header: &SyncHeader, definition: Option<&Definition>) {
    let SyncHeader { metadata, team, hierarchy_stack, packet_ids, job_exclusion, excluded } = header.clone();
    let metadata = metadata.unwrap_or_default();
    job.title = metadata.job_title;
    job.team = team;
    job.workflow = Some(match (job.workflow.take(), definition) {
        (_, Some(definition)) => {
            let reference = definition.reference();
            WorkflowReference { name: reference.name.clone().or(metadata.workflow_name), ..reference }
        }
        // The version is the job's own from its first sync on: reports without one of theirs are of that.
        (Some(workflow), None) => WorkflowReference { name: metadata.workflow_name, ..workflow },
        (None, None) => WorkflowReference {
            workflow_id: metadata.workflow_id.unwrap_or_default(),
            version_id: metadata.workflow_version_id,
            name: metadata.workflow_name,
            published: false,
        },
    });
    job.abandon_reason = metadata.abandon_reason;
    job.user_id = metadata.user_id;
    job.username = metadata.username;
    job.metadata = metadata.metadata;
    job.created = metadata.created;
    job.updated = metadata.updated;
    job.modified = metadata.modified;
    job.hierarchy_stack = hierarchy_stack;
    job.packet_ids = packet_ids;
    job.job_exclusion = job_exclusion;
    job.excluded = excluded;
}

fn is_terminal(status: JobStatus) -> bool {
    matches!(status, JobStatus::Completed | JobStatus::Aborted)
}

fn metadata(header: &SyncHeader) -> &SyncMetadata {
    header.metadata.as_ref().expect("parsing refuses a sync without metadata")
}

/// The step that the device is at.
fn current_step(header: &SyncHeader) -> Option<&str> {
    metadata(header).current_step.as_deref()
}

fn unique_step_id(entry: &StepEntry) -> &str {
    entry.step().map_or("", |step| step.unique_step_id())
}

fn step_id(report: &StepReport) -> &str {
    report.entry.as_ref().and_then(StepEntry::step).map_or("", |step| step.step_id())
}

fn compare_reports(left: &StepReport, right: &StepReport) -> Ordering {
    let none = StepEntry::default();
    let [one, two] = [left, right].map(|report| report.entry.as_ref().unwrap_or(&none));
    compare_entries((one, left.undone), (two, right.undone))
}

fn compare_entries(left: (&StepEntry, bool), right: (&StepEntry, bool)) -> Ordering {
    let updated = |entry: &StepEntry| entry.step().and_then(|step| step.updated);
    compare_times(updated(left.0).as_ref(), updated(right.0).as_ref())
        .then(left.1.cmp(&right.1))
        .then_with(|| canonical::compare(left.0, right.0))
}

fn compare_headers(left: (&SyncHeader, i32), right: (&SyncHeader, i32)) -> Ordering {
    let (one, two) = (metadata(left.0), metadata(right.0));
    compare_times(one.updated.as_ref(), two.updated.as_ref())
        .then(compare_times(one.modified.as_ref(), two.modified.as_ref()))
        .then_with(|| canonical::compare(left.0, right.0))
        .then(left.1.cmp(&right.1))
}

fn compare_terminals(left: &SyncTerminal, right: &SyncTerminal) -> Ordering {
    let aborted_first = |terminal: &SyncTerminal| terminal.status() != JobStatus::Aborted;
    compare_times(left.updated.as_ref(), right.updated.as_ref())
        .then(aborted_first(left).cmp(&aborted_first(right)))
        // Of two aborts at one time, one that says why.
        .then_with(|| right.abandon_reason.cmp(&left.abandon_reason))
}
