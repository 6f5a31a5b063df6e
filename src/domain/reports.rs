//! The merge of what devices tell into a job: SPEC 3.1.
//!
//! What a job holds from syncs is a join, so that any order and any repeats of the same syncs end in the same state:
//!
//! * the *header* is a register: the greatest (`updated`, `modified`, bytes, status) stands;
//! * a *report* is a register for each `unique_step_id`: the greatest (`updated`, undone, bytes) stands;
//! * the *terminal status*, with its reason, is a register: the smallest (`updated`, ABORTED before COMPLETED) stands;
//! * everything else (status, steps, current steps) is a function of these.

#[cfg(test)]
mod law;
#[cfg(test)]
mod tests;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use prost_types::{Struct, Timestamp, Value, value::Kind};

use super::{
    Context, Decision, Existing, JOB_ID_PREFIX, JobState, Rejection, canonical, decision::Draft, job, steps,
    time::compare_times,
};
use crate::proto::{
    storage::v1::{SyncHeader, SyncRecord, SyncTerminal},
    v1::{
        BasicSyncResponse, Job, JobEventType, JobStatus, LostField, Step, StepEntry, StepJoin, StepKind,
        StepReport, StepStatus, SyncMetadata, SyncOutcome, WorkflowReference,
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
                    job_id: context.new_job_id.clone(),
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
        let before = draft.state.clone();
        let is_new = before.job.revision == 0;
        let registers = before.sync.clone().unwrap_or_default();
        let closed_by_command = before.job.closed && !registers.closed_by_sync;

        let news = self.news(&before, context)?;
        if closed_by_command {
            // The status and the steps of such a job stay. What the device did is kept all the same.
            for report in news {
                draft.record(JobEventType::ReportRecorded, |event| event.report = Some(report));
            }
        } else {
            let merged = self.join(&registers);
            let steps = touched_steps(&before, &news, context.now);
            let job = head(&before, &merged, &news, &steps);
            let kind = if is_new { JobEventType::JobCreated } else { JobEventType::JobUpdated };
            if is_new || job != before.job {
                draft.record_job(kind, job);
            }
            record_reports(&mut draft, news, steps);
            let merged = record_terminal(&mut draft, merged, context);
            if merged != registers {
                draft.record_sync(merged);
            }
        }

        let outcome = outcome(&before, &draft);
        let lost_fields = self.lost_fields(&draft.state);
        Ok(draft.answer(|state| BasicSyncResponse {
            outcome: outcome.into(),
            job_id: state.job.job_id.clone(),
            revision: state.job.revision,
            lost_fields,
        }))
    }

    /// The reports that stand after the sync and did not before, each once, in the order of the request.
    fn news(&self, before: &JobState, context: &Context) -> Result<Vec<StepReport>, Rejection> {
        let mut newest: BTreeMap<&str, usize> = BTreeMap::new();
        for (index, told) in self.reports.iter().enumerate() {
            let standing = newest.entry(unique_step_id(&told.entry)).or_insert(index);
            let other = &self.reports[*standing];
            if compare_entries((&told.entry, told.undone), (&other.entry, other.undone)).is_gt() {
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
        let held = told.entry.step().and_then(|step| before.steps.get(step.step_id()));
        StepReport {
            job_id: before.job.job_id.clone(),
            entry: Some(told.entry.clone()),
            undone: told.undone,
            late: before.job.closed,
            overrode_hold: held.is_some_and(|step| !step.hold_ids.is_empty()),
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

    /// What the device sent and does not stand after the sync.
    fn lost_fields(&self, after: &JobState) -> Vec<LostField> {
        let mut lost = Vec::new();
        let sent = Fields::of(&self.header);
        let standing = Fields::standing(after);
        for ((path, sent), (_, standing)) in sent.0.into_iter().zip(standing.0) {
            if sent.is_some() && sent != standing {
                lost.push(LostField { path: path.to_owned(), standing });
            }
        }
        let status = after.job.status();
        let progressed = self.status == JobStatus::NotStarted && status == JobStatus::Active;
        if status != self.status && !progressed {
            let standing = Some(text_value(status.as_str_name()));
            lost.push(LostField { path: "metadata.status".to_owned(), standing });
        }
        for told in &self.reports {
            let standing = after.reports.get(unique_step_id(&told.entry));
            if standing.is_some_and(|report| told.compare(report).is_lt()) {
                lost.push(LostField { path: told.path.clone(), standing: None });
            }
        }
        lost
    }
}

impl Told {
    fn compare(&self, report: &StepReport) -> Ordering {
        let empty = StepEntry::default();
        let entry = report.entry.as_ref().unwrap_or(&empty);
        compare_entries((&self.entry, self.undone), (entry, report.undone))
    }
}

/// The job's head after the sync, less what a terminal status does.
fn head(before: &JobState, merged: &SyncRecord, news: &[StepReport], touched: &TouchedSteps) -> Job {
    let mut job = before.job.clone();
    let header = merged.header.as_ref().expect("a merged sync has a header");
    let header_changed = before.sync.as_ref().is_none_or(|sync| sync.header != merged.header);
    if header_changed {
        apply_header(&mut job, header);
    }
    if is_terminal(job.status()) {
        job.abandon_reason = abandon_reason(merged, &job);
    }
    let has_reports = !before.reports.is_empty() || !news.is_empty();
    if !is_terminal(job.status()) {
        // What an action made of the status stands until a newer header comes.
        let status_changed =
            before.sync.as_ref().is_none_or(|sync| sync.header_status != merged.header_status);
        let said = if header_changed || status_changed { merged.header_status() } else { job.status() };
        job.set_status(open_status(job.status(), said, has_reports));
    }
    if header_changed || !touched.is_empty() {
        let untouched = before.steps.values().filter(|step| !touched.contains_key(&step.step_id));
        let steps = untouched.chain(touched.values().flatten());
        job.current_step_ids = steps::current_step_ids(metadata(header).current_step.as_deref(), steps);
    }
    job
}

fn outcome(before: &JobState, draft: &Draft<'_>) -> SyncOutcome {
    let job = &draft.state.job;
    let aborted = job.status() == JobStatus::Aborted && before.job.status() != JobStatus::Aborted;
    if before.job.revision == 0 {
        SyncOutcome::Created
    } else if aborted {
        SyncOutcome::Aborted
    } else if draft.is_empty() {
        SyncOutcome::Unchanged
    } else if before.job.closed && job.closed && draft.state.reports != before.reports {
        SyncOutcome::RecordedLate
    } else {
        SyncOutcome::Updated
    }
}

/// The steps that news change: as they are afterwards, or `None` where no report names them any more.
type TouchedSteps = BTreeMap<String, Option<Step>>;

fn touched_steps(before: &JobState, news: &[StepReport], now: Timestamp) -> TouchedSteps {
    let replaced = news.iter().filter_map(|report| before.reports.get(report.unique_step_id()));
    let step_ids: BTreeSet<&str> = replaced.chain(news).map(step_id).collect();
    let newest: BTreeMap<&str, &StepReport> =
        news.iter().map(|report| (report.unique_step_id(), report)).collect();
    let standing = before.reports.iter().map(|(id, report)| *newest.get(id.as_str()).unwrap_or(&report));
    let unseen = news.iter().filter(|report| !before.reports.contains_key(report.unique_step_id()));

    let mut by_step: BTreeMap<&str, Vec<&StepReport>> = BTreeMap::new();
    for report in standing.chain(unseen).filter(|report| step_ids.contains(step_id(report))) {
        by_step.entry(step_id(report)).or_default().push(report);
    }
    let touched = |id: &str| {
        let reports = by_step.get(id)?;
        Some(step_of_reports(before.steps.get(id), &before.job.job_id, id, reports, now))
    };
    step_ids.iter().map(|&id| (id.to_owned(), touched(id))).collect()
}

/// A step as its reports have it: described by the greatest of them, FINISHED if one of them stands and is not undone.
fn step_of_reports(
    before: Option<&Step>,
    job_id: &str,
    step_id: &str,
    reports: &[&StepReport],
    now: Timestamp,
) -> Step {
    let described_by = reports
        .iter()
        .max_by(|left, right| {
            compare_reports(left, right).then_with(|| left.unique_step_id().cmp(right.unique_step_id()))
        })
        .and_then(|report| report.entry.as_ref()?.step())
        .cloned()
        .unwrap_or_default();
    let visits = reports.iter().filter(|report| !report.undone).count();
    let status = if visits > 0 { StepStatus::Finished } else { StepStatus::Ready };

    let mut step = before.cloned().unwrap_or_else(|| Step {
        job_id: job_id.to_owned(),
        step_id: step_id.to_owned(),
        kind: StepKind::Manual.into(),
        join: StepJoin::All.into(),
        create_time: Some(now),
        ..Step::default()
    });
    step.number = described_by.step_number;
    step.title = described_by.step_title;
    step.description = described_by.step_description;
    step.step_type = described_by.step_type;
    step.visit = i32::try_from(visits).unwrap_or(i32::MAX);
    if step.status() != status {
        step.finish_time = (status == StepStatus::Finished).then_some(now);
    }
    step.set_status(status);
    step.update_time = Some(now);
    step
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
        for step_id in left_step_id.as_deref().into_iter().chain([step_id(&report)]) {
            let step = touched.get(step_id).cloned().flatten();
            let removed_step_ids = std::mem::take(&mut removed);
            draft.record(JobEventType::ReportRecorded, |event| {
                event.report = Some(report.clone());
                event.step = step;
                event.removed_step_ids = removed_step_ids;
            });
        }
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

fn apply_header(job: &mut Job, header: &SyncHeader) {
    let SyncHeader { metadata, team, hierarchy_stack, packet_ids, job_exclusion, excluded } = header.clone();
    let metadata = metadata.unwrap_or_default();
    job.title = metadata.job_title;
    job.team = team;
    // The version is the job's own from its first sync on: reports without one of theirs are of that.
    let version_id = match job.workflow.take() {
        Some(workflow) => workflow.version_id,
        None => metadata.workflow_version_id,
    };
    job.workflow = Some(WorkflowReference {
        workflow_id: metadata.workflow_id.unwrap_or_default(),
        version_id,
        name: metadata.workflow_name,
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

/// The members of a header that a device shows its user, by their paths in the request. The times that order headers are
/// not among them: that they lost goes without saying.
struct Fields([(&'static str, Option<Value>); 14]);

impl Fields {
    fn of(header: &SyncHeader) -> Self {
        let mut job = Job::default();
        apply_header(&mut job, header);
        Self::new(&job, metadata(header).current_step.as_deref())
    }

    fn standing(after: &JobState) -> Self {
        let header = after.sync.as_ref().and_then(|sync| sync.header.as_ref());
        Self::new(&after.job, header.and_then(|header| metadata(header).current_step.as_deref()))
    }

    fn new(job: &Job, current_step: Option<&str>) -> Self {
        let text = |text: &Option<String>| text.as_deref().map(text_value);
        let texts = |texts: &[String]| list_value(texts.iter().map(|text| text_value(text)).collect());
        let workflow = job.workflow.clone().unwrap_or_default();
        Self([
            ("metadata.workflow_version_id", text(&workflow.version_id)),
            ("metadata.job_title", text(&job.title)),
            ("metadata.metadata", job.metadata.clone().map(struct_value)),
            ("metadata.created", job.created.map(|time| text_value(&time.to_string()))),
            ("metadata.user_id", text(&job.user_id)),
            ("metadata.current_step", current_step.map(text_value)),
            ("metadata.abandon_reason", text(&job.abandon_reason)),
            ("metadata.username", text(&job.username)),
            ("metadata.workflow_name", text(&workflow.name)),
            ("team", text(&job.team)),
            ("hierarchy_stack", job.hierarchy_stack.clone()),
            ("packet_ids", texts(&job.packet_ids)),
            ("job_exclusion", list_value(job.job_exclusion.clone())),
            ("excluded", job.excluded.map(Value::from)),
        ])
    }
}

fn text_value(text: &str) -> Value {
    Value::from(text.to_owned())
}

fn struct_value(fields: Struct) -> Value {
    Value { kind: Some(Kind::StructValue(fields)) }
}

fn list_value(values: Vec<Value>) -> Option<Value> {
    (!values.is_empty()).then(|| Value::from(values))
}

fn is_terminal(status: JobStatus) -> bool {
    matches!(status, JobStatus::Completed | JobStatus::Aborted)
}

fn metadata(header: &SyncHeader) -> &SyncMetadata {
    header.metadata.as_ref().expect("parsing refuses a sync without metadata")
}

fn unique_step_id(entry: &StepEntry) -> &str {
    entry.step().map_or("", |step| step.unique_step_id())
}

fn step_id(report: &StepReport) -> &str {
    report.entry.as_ref().and_then(StepEntry::step).map_or("", |step| step.step_id())
}

fn compare_reports(left: &StepReport, right: &StepReport) -> Ordering {
    let empty = StepEntry::default();
    let entry = |report: &StepReport| report.entry.clone().unwrap_or_else(|| empty.clone());
    compare_entries((&entry(left), left.undone), (&entry(right), right.undone))
}

fn compare_entries(left: (&StepEntry, bool), right: (&StepEntry, bool)) -> Ordering {
    let updated = |entry: &StepEntry| entry.step().and_then(|step| step.updated);
    compare_times(updated(left.0).as_ref(), updated(right.0).as_ref())
        .then(left.1.cmp(&right.1))
        .then_with(|| canonical::bytes(left.0).cmp(&canonical::bytes(right.0)))
}

fn compare_headers(left: (&SyncHeader, i32), right: (&SyncHeader, i32)) -> Ordering {
    let (one, two) = (metadata(left.0), metadata(right.0));
    compare_times(one.updated.as_ref(), two.updated.as_ref())
        .then(compare_times(one.modified.as_ref(), two.modified.as_ref()))
        .then_with(|| canonical::bytes(left.0).cmp(&canonical::bytes(right.0)))
        .then(left.1.cmp(&right.1))
}

fn compare_terminals(left: &SyncTerminal, right: &SyncTerminal) -> Ordering {
    let aborted_first = |terminal: &SyncTerminal| terminal.status() != JobStatus::Aborted;
    compare_times(left.updated.as_ref(), right.updated.as_ref())
        .then(aborted_first(left).cmp(&aborted_first(right)))
        // Of two aborts at one time, one that says why.
        .then_with(|| right.abandon_reason.cmp(&left.abandon_reason))
}
