//! What clients ask for: every command that there is, at random, about few jobs, so that they meet.

use std::collections::BTreeMap;

use prost::Message;
use serde_json::json;

use crate::{
    chance::Chance,
    domain::{
        AbortJob, AssignStep, CloseJob, CreateJob, CreateTask, DeleteJob, Dependency, ExcludeJob, HoldTerms,
        JobField, PerformJobAction, PublishWorkflow, ReopenJob, ReportTask, ReportWorkflow, Sync, UpdateJob,
        UpdateTask,
    },
    engine::{Command, Engine, Error, Origin},
    proto::v1::{
        Assignee, BasicSyncResponse, CompletionStatus, ExecutionStatus, Job, JobActionType, JobStatus, Path,
        StepDefinition, StepKind, TaskStatus, Workflow, WorkflowReference, assignee,
    },
};

use super::{
    super::kit::{Device, ORG, TEAMS, create, delete, move_to, report, report_workflow, sync},
    clock::time_of,
};

/// Jobs that clients know by these names.
const NAMES: usize = 6;

/// The steps of every job that follows the workflow.
const STEPS: [&str; 4] = ["first", "answer", "auto", "last"];

/// The workflow that all jobs follow. Also that of `kit::sync`.
const WORKFLOW: &str = "workflow";

#[derive(Clone, Debug)]
pub(super) enum Ask {
    Abort(AbortJob),
    Act(PerformJobAction),
    Assign(AssignStep),
    Close(CloseJob),
    Create(CreateJob),
    CreateTask(CreateTask),
    Delete(DeleteJob),
    Exclude(ExcludeJob),
    Patch(UpdateTask),
    Publish(PublishWorkflow),
    Reopen(ReopenJob),
    ReportTask(ReportTask),
    ReportWorkflow(ReportWorkflow),
    Sync(Sync),
    Update(UpdateJob),
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    /// The reply, encoded.
    pub(super) reply: Vec<u8>,
    /// The job it was about, and its revision, where the reply tells them.
    pub(super) job: Option<(String, i64)>,
    pub(super) task_id: Option<String>,
}

/// What clients have heard of: jobs by name, and tasks.
#[derive(Default)]
pub(super) struct Known {
    jobs: BTreeMap<String, String>,
    tasks: Vec<String>,
}

impl Known {
    pub(super) fn learn(&mut self, ask: &Ask, answer: &Answer) {
        let name = match ask {
            Ask::Create(command) => command.job_id.as_deref().or(Some(&command.job.client_job_id)),
            Ask::Sync(command) => Some(command.client_job_id()),
            _ => None,
        };
        if let (Some(name), Some((job_id, _))) = (name, &answer.job) {
            self.jobs.insert(name.to_owned(), job_id.clone());
        }
        self.tasks.extend(answer.task_id.clone());
    }

    pub(super) fn job_ids(&self) -> impl Iterator<Item = &String> {
        self.jobs.values()
    }
}

fn name(number: usize) -> String {
    format!("name-{number}")
}

/// A procedure: two branches that meet again. All of it can be skipped, so that jobs get to their ends.
pub(super) fn procedure() -> PublishWorkflow {
    let step = |number: usize, kind: StepKind, next: &[usize]| StepDefinition {
        step_id: STEPS[number].to_owned(),
        kind: kind.into(),
        can_skip: true,
        proceed_to_next: number.is_multiple_of(2),
        paths: next
            .iter()
            .map(|next| Path { next_step_id: STEPS[*next].to_owned(), ..Path::default() })
            .collect(),
        ..StepDefinition::default()
    };
    let workflow = Workflow {
        workflow_id: WORKFLOW.to_owned(),
        start_step_ids: vec![STEPS[0].to_owned()],
        steps: vec![
            step(0, StepKind::Manual, &[1, 2]),
            step(1, StepKind::Question, &[3]),
            step(2, StepKind::Automatic, &[3]),
            step(3, StepKind::Manual, &[]),
        ],
        ..Workflow::default()
    };
    PublishWorkflow { workflow, newest_version_id: None }
}

/// Something at random.
pub(super) fn random(engine: &Engine, chance: &mut Chance, known: &Known) -> Ask {
    let client_job_id = name(chance.below(NAMES));
    let Some(job_id) = known.jobs.get(&client_job_id).cloned() else {
        return if chance.one_in(3) {
            synced(chance, &client_job_id)
        } else {
            created(chance, client_job_id)
        };
    };
    match chance.below(40) {
        0 => Ask::Abort(AbortJob { job_id, reason: None, etag: None }),
        1 => Ask::Close(CloseJob { job_id, etag: None }),
        2 => Ask::Delete(delete(&job_id)),
        3 => Ask::Reopen(ReopenJob { job_id, step_ids: vec![], etag: None }),
        4 => Ask::Publish(procedure()),
        5 => {
            Ask::Exclude(ExcludeJob { job_id, excluded: chance.one_in(2), job_exclusion: vec![], etag: None })
        }
        6 => Ask::Assign(AssignStep {
            job_id,
            step_id: step(chance),
            assignee: chance.one_in(2).then(|| assigned(chance)),
            etag: None,
        }),
        7 | 8 => created(chance, client_job_id),
        9..=12 => Ask::Update(updated(chance, job_id)),
        13..=17 => synced(chance, &client_job_id),
        18..=23 => Ask::Act(act(chance, job_id)),
        24..=28 => Ask::Act(hold(engine, chance, job_id, known)),
        29 => Ask::Act(PerformJobAction {
            action: JobActionType::ReleaseHold,
            job_id,
            ..PerformJobAction::default()
        }),
        30 | 31 => Ask::CreateTask(CreateTask { job_id, task: made(engine, chance) }),
        32..=36 => Ask::ReportTask(reported(engine, chance, job_id, known)),
        37 => Ask::ReportWorkflow(report_workflow(chance, &job_id)),
        _ => match known.tasks.last() {
            Some(_) => Ask::Patch(patched(chance, known)),
            None => Ask::Update(updated(chance, job_id)),
        },
    }
}

/// Something that a device sends of one job, again and again.
pub(super) fn synced(chance: &mut Chance, client_job_id: &str) -> Ask {
    let reports = (0..chance.below(3)).map(|_| {
        let unique = format!("report-{}", chance.below(12));
        (unique, step(chance), chance.one_in(5))
    });
    let reports = reports.collect();
    let status = match chance.below(14) {
        0 => JobStatus::Completed,
        1 => JobStatus::Aborted,
        _ => JobStatus::Active,
    };
    let updated = chance.below(1_000);
    let team = Some(team(chance).to_owned());
    Ask::Sync(sync(client_job_id, status, Device { updated, team, reports }))
}

/// Two holds that wait for each other's jobs, or for steps of them: no more than one can be placed. None where there are no
/// two jobs.
pub(super) fn entangled(chance: &mut Chance, known: &Known) -> Option<[Ask; 2]> {
    let job_ids: Vec<&String> = known.job_ids().collect();
    if job_ids.is_empty() {
        return None;
    }
    let (one, other) = ((*chance.pick(&job_ids)).clone(), (*chance.pick(&job_ids)).clone());
    let (on_one, on_other) = (step(chance), step(chance));
    let mut hold = |job_id: &String, step_id: &String, of: &String, waited_for: &String| {
        let waited_for = chance.one_in(2).then(|| waited_for.clone());
        let dependency = Some(Dependency { job_id: of.clone(), step_id: waited_for });
        Ask::Act(PerformJobAction {
            job_id: job_id.clone(),
            action: JobActionType::Hold,
            step_ids: vec![step_id.clone()],
            terms: HoldTerms { scheduled_release: None, dependency },
            ..PerformJobAction::default()
        })
    };
    (one != other).then(|| [hold(&one, &on_one, &other, &on_other), hold(&other, &on_other, &one, &on_one)])
}

/// The name of a job that a device is busy with.
pub(super) fn random_name(chance: &mut Chance) -> String {
    name(chance.below(NAMES))
}

fn team(chance: &mut Chance) -> &'static str {
    TEAMS[chance.below(TEAMS.len())]
}

fn step(chance: &mut Chance) -> String {
    (*chance.pick(&STEPS)).to_owned()
}

fn created(chance: &mut Chance, client_job_id: String) -> Ask {
    let workflow_id = WORKFLOW.to_owned();
    let workflow = Some(WorkflowReference { workflow_id, ..WorkflowReference::default() });
    let chosen = create(&client_job_id, team(chance));
    let job = Job { workflow, ..chosen.job };
    Ask::Create(if chance.one_in(2) {
        CreateJob { job, ..chosen }
    } else {
        CreateJob { job_id: None, job: Job { client_job_id, ..job } }
    })
}

fn assigned(chance: &mut Chance) -> Assignee {
    let kind = assignee::Kind::User.into();
    Assignee { kind, id: format!("user-{}", chance.below(2)) }
}

fn updated(chance: &mut Chance, job_id: String) -> UpdateJob {
    match chance.below(3) {
        0 => move_to(&job_id, team(chance)),
        1 => {
            let (user_id, assignee) = (Some(format!("user-{}", chance.below(2))), Some(assigned(chance)));
            let job = Job { user_id, assignee, ..Job::default() };
            UpdateJob { job_id, fields: vec![JobField::UserId, JobField::Assignee], job, etag: None }
        }
        _ => {
            let job = Job { title: Some(chance.next().to_string()), ..Job::default() };
            UpdateJob { job_id, fields: vec![JobField::Title], job, etag: None }
        }
    }
}

fn act(chance: &mut Chance, job_id: String) -> PerformJobAction {
    let actions = [
        JobActionType::Run,
        JobActionType::Run,
        JobActionType::Finish,
        JobActionType::Finish,
        JobActionType::Finish,
        JobActionType::Stop,
        JobActionType::SetCurrentStep,
    ];
    let action = *chance.pick(&actions);
    let names_one = action == JobActionType::SetCurrentStep || chance.one_in(4);
    let step_ids = if names_one { vec![step(chance)] } else { vec![] };
    let all_or_nothing = chance.one_in(8);
    PerformJobAction { job_id, action, step_ids, all_or_nothing, ..PerformJobAction::default() }
}

fn hold(engine: &Engine, chance: &mut Chance, job_id: String, known: &Known) -> PerformJobAction {
    let now = engine.now();
    let in_a_while = || time_of(now.seconds * 1_000);
    let mut scheduled_release = in_a_while();
    scheduled_release.seconds += chance.below(20) - 4;
    let others: Vec<&String> = known.job_ids().collect();
    let dependency = Dependency {
        job_id: (*chance.pick(&others)).clone(),
        step_id: chance.one_in(2).then(|| step(chance)),
    };
    let terms = match chance.below(6) {
        0 => HoldTerms::default(),
        1 | 2 => HoldTerms { scheduled_release: Some(scheduled_release), dependency: None },
        3 => HoldTerms { scheduled_release: Some(scheduled_release), dependency: Some(dependency) },
        _ => HoldTerms { scheduled_release: None, dependency: Some(dependency) },
    };
    let step_ids = if chance.one_in(3) { vec![] } else { vec![step(chance)] };
    PerformJobAction { job_id, action: JobActionType::Hold, step_ids, terms, ..PerformJobAction::default() }
}

fn made(engine: &Engine, chance: &mut Chance) -> TaskStatus {
    let mut deadline = engine.now();
    deadline.seconds += 1 + chance.below(10);
    let deadline = chance.one_in(2).then_some(deadline);
    TaskStatus { unique_name: Some(format!("made-{}", chance.next())), deadline, ..TaskStatus::default() }
}

fn reported(engine: &Engine, chance: &mut Chance, job_id: String, known: &Known) -> ReportTask {
    let (place, report) = report(chance);
    let name = chance.below(4);
    let task_id = match known.tasks.last() {
        Some(_) if chance.one_in(4) => chance.pick(&known.tasks).clone(),
        _ => format!("task-{name}"),
    };
    let completion_status = match report.status {
        ExecutionStatus::Closed => CompletionStatus::Success,
        ExecutionStatus::Started | ExecutionStatus::Unspecified => CompletionStatus::Unspecified,
    };
    ReportTask {
        derived_id: engine.derived_task_id(ORG, &job_id, &place, &task_id),
        job_id,
        place,
        sequence_id: name * 2,
        state_name: format!("STATE-{name}"),
        task_id,
        report,
        completion_status,
    }
}

fn patched(chance: &mut Chance, known: &Known) -> UpdateTask {
    let operations = match chance.below(3) {
        0 => json!([{"op": "add", "path": "/completion_status", "value": "Success"}]),
        1 => json!([
            {"op": "test", "path": "/progress", "value": null},
            {"op": "replace", "path": "/progress", "value": chance.next().to_string()},
        ]),
        _ => json!([{"op": "replace", "path": "/description", "value": chance.next().to_string()}]),
    };
    let operations = serde_json::from_value(operations).expect("these are operations");
    UpdateTask { task_id: chance.pick(&known.tasks).clone(), operations, etag: None }
}

impl Ask {
    /// Has it decided.
    pub(super) async fn put(&self, engine: &Engine, origin: Origin) -> Result<Answer, Error> {
        match self.clone() {
            Self::Abort(command) => put(engine, origin, command, |reply| of_job(reply.job.as_ref())).await,
            Self::Act(command) => {
                let job_id = command.job_id.clone();
                let reply = engine.perform(origin, command).await?;
                Ok(answer(&reply, Some((job_id, reply.revision))))
            }
            Self::Assign(command) => put(engine, origin, command, |_| None).await,
            Self::Close(command) => put(engine, origin, command, |reply| of_job(reply.job.as_ref())).await,
            Self::Create(command) => put(engine, origin, command, |reply| of_job(reply.job.as_ref())).await,
            Self::CreateTask(command) => {
                let reply = engine.execute(origin, command).await?;
                Ok(with_task(answer(&reply, None), reply.task.as_ref()))
            }
            Self::Delete(command) => {
                let job_id = command.job_id.clone();
                put(engine, origin, command, |reply| Some((job_id, reply.revision))).await
            }
            Self::Exclude(command) => put(engine, origin, command, |reply| of_job(reply.job.as_ref())).await,
            Self::Patch(command) => put(engine, origin, command, |_| None).await,
            Self::Publish(command) => {
                let reply = engine.publish(origin, command).await?;
                Ok(answer(&reply, None))
            }
            Self::Reopen(command) => put(engine, origin, command, |reply| of_job(reply.job.as_ref())).await,
            Self::ReportTask(command) => {
                let job_id = command.job_id.clone();
                let reply = engine.execute(origin, command).await?;
                Ok(with_task(answer(&reply, Some((job_id, reply.revision))), reply.task.as_ref()))
            }
            Self::ReportWorkflow(command) => {
                let job_id = command.job_id.clone();
                put(engine, origin, command, |reply| Some((job_id, reply.revision))).await
            }
            Self::Sync(command) => put(engine, origin, command, |reply| Some(of_sync(reply))).await,
            Self::Update(command) => put(engine, origin, command, |reply| of_job(reply.job.as_ref())).await,
        }
    }

    /// Whether it changes something whenever it is not refused.
    pub(super) fn always_changes(&self) -> bool {
        match self {
            Self::CreateTask(_) | Self::Delete(_) => true,
            // Titles are never given twice.
            Self::Update(command) => command.fields == [JobField::Title],
            _ => false,
        }
    }
}

/// Of a reply to a sync.
pub(super) fn of_sync(reply: &BasicSyncResponse) -> (String, i64) {
    (reply.job_id.clone(), reply.revision)
}

async fn put<C: Command + std::marker::Sync>(
    engine: &Engine,
    origin: Origin,
    command: C,
    job: impl FnOnce(&C::Reply) -> Option<(String, i64)>,
) -> Result<Answer, Error> {
    let reply = engine.execute(origin, command).await?;
    Ok(answer(&reply, job(&reply)))
}

pub(super) fn answer(reply: &impl Message, job: Option<(String, i64)>) -> Answer {
    Answer { reply: reply.encode_to_vec(), job, task_id: None }
}

fn with_task(answer: Answer, task: Option<&TaskStatus>) -> Answer {
    Answer { task_id: task.map(|task| task.id.clone()), ..answer }
}

fn of_job(job: Option<&Job>) -> Option<(String, i64)> {
    job.map(|job| (job.job_id.clone(), job.revision))
}
