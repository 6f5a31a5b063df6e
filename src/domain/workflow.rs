//! Workflow definitions: what a published one must be, the steps it gives a job, and where its paths lead.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt::Write as _,
    sync::OnceLock,
};

use cel::Value;
use prost::Message as _;
use prost_types::Timestamp;

use super::{Context, Expression, ExpressionError, Rejection, expression::from_value, filter::job_value};
use crate::proto::v1::{
    Job, Path, PublishWorkflowResponse, Step, StepDefinition, StepJoin, StepKind, StepStatus, Workflow,
    WorkflowReference,
};

/// The most steps a workflow may have.
pub const STEPS_MAX: usize = 1000;

/// The most paths that may lead from a step, and the most steps a job may begin with.
pub const PATHS_MAX: usize = 64;

/// The most conditions in a workflow: each takes its time to be checked.
pub const CONDITIONS_MAX: usize = 1000;

/// How large a workflow may be, encoded: a job's first event holds all its steps.
pub const WORKFLOW_BYTES_MAX: usize = 1 << 20;

/// What a condition may read.
const VARIABLES: [&str; 4] = ["job", "answer", "outcome", "visit"];

/// A published version of a workflow, ready to be followed.
#[derive(Debug)]
pub struct Definition {
    workflow: Workflow,
    index: HashMap<String, usize>,
    /// The steps whose paths lead to each step.
    entrances: Vec<BTreeSet<usize>>,
    /// For each step those from which ways lead to it, found when first asked for.
    before: Vec<OnceLock<BTreeSet<usize>>>,
    /// The conditions of each step's paths, compiled when first needed.
    conditions: Vec<Vec<OnceLock<Expression>>>,
}

/// What follows on a step.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Followed {
    /// The step has no paths: nothing is to follow.
    pub(super) is_end: bool,
    /// The steps that the true paths lead to, each once, in the order of the paths.
    pub(super) next: Vec<String>,
    /// What conditions said that could not be evaluated.
    pub(super) failures: Vec<String>,
}

/// Publishes a workflow, which has no faults.
#[derive(Clone, Debug, PartialEq)]
pub struct PublishWorkflow {
    /// The workflow, as it was sent.
    pub workflow: Workflow,
    /// The newest version that there must be.
    pub newest_version_id: Option<String>,
}

impl PublishWorkflow {
    /// The version that is published, and the answer. `newest` is the newest version there is.
    ///
    /// # Errors
    /// The newest version is another than the one asked for.
    pub fn decide(
        &self,
        newest: Option<&Workflow>,
        context: &Context,
    ) -> Result<(Workflow, PublishWorkflowResponse), Rejection> {
        let newest_id = newest.map(|workflow| workflow.version_id.clone()).unwrap_or_default();
        if self.newest_version_id.as_ref().is_some_and(|wanted| *wanted != newest_id) {
            return Err(Rejection::EtagMismatch { etag: newest_id });
        }
        let mut published = self.workflow.clone();
        published.version_id = (newest.map_or(0, version_number) + 1).to_string();
        published.publish_time = Some(context.now);
        published.publisher = Some(context.actor.clone());
        for step in &mut published.steps {
            if step.kind() == StepKind::Unspecified {
                step.set_kind(StepKind::Manual);
            }
            if step.join() == StepJoin::Unspecified {
                step.set_join(StepJoin::All);
            }
        }
        let reply = PublishWorkflowResponse { workflow: Some(without_steps(published.clone())) };
        Ok((published, reply))
    }
}

/// The number of a version, by which versions are ordered. 0: not one of ours.
#[must_use]
pub fn version_number(workflow: &Workflow) -> u64 {
    workflow.version_id.parse().unwrap_or(0)
}

/// A workflow as lists have it.
#[must_use]
pub fn without_steps(workflow: Workflow) -> Workflow {
    Workflow { steps: Vec::new(), ..workflow }
}

/// What is wrong with a workflow as a whole, by field: steps that lead nowhere, ids that are there twice, conditions that
/// are none. That its members are well formed is checked where the request is parsed. Compiling many conditions takes its
/// time.
#[must_use]
pub fn faults(workflow: &Workflow) -> Vec<(String, String)> {
    let mut faults = Vec::new();
    let mut fault = |field: String, what: String| faults.push((field, what));
    if workflow.steps.is_empty() {
        fault("workflow.steps".to_owned(), "is required".to_owned());
    }
    if workflow.start_step_ids.is_empty() {
        fault("workflow.start_step_ids".to_owned(), "is required".to_owned());
    }
    let bytes = workflow.encoded_len();
    if bytes > WORKFLOW_BYTES_MAX {
        fault("workflow".to_owned(), format!("takes {bytes} bytes, more than {WORKFLOW_BYTES_MAX}"));
    }
    let mut ids = BTreeMap::new();
    for (index, step) in workflow.steps.iter().enumerate() {
        if let Some(first) = ids.insert(step.step_id.as_str(), index) {
            fault(format!("workflow.steps[{index}].step_id"), format!("is that of steps[{first}] already"));
        }
    }
    let mut starts = BTreeSet::new();
    for (index, id) in workflow.start_step_ids.iter().enumerate() {
        let field = format!("workflow.start_step_ids[{index}]");
        if !ids.contains_key(id.as_str()) {
            fault(field, format!("is {id:?}, and there is no such step"));
        } else if !starts.insert(id) {
            fault(field, "is there twice".to_owned());
        }
    }
    let conditions = workflow.steps.iter().flat_map(|step| &step.paths);
    let conditions = conditions.filter(|path| !path.condition.is_empty()).count();
    if conditions > CONDITIONS_MAX {
        fault(
            "workflow.steps".to_owned(),
            format!("have {conditions} conditions, more than {CONDITIONS_MAX}"),
        );
    }
    for (index, step) in workflow.steps.iter().enumerate() {
        for (path_index, path) in step.paths.iter().enumerate() {
            let field = format!("workflow.steps[{index}].paths[{path_index}]");
            if !ids.contains_key(path.next_step_id.as_str()) {
                let what = format!("is {:?}, and there is no such step", path.next_step_id);
                fault(format!("{field}.next_step_id"), what);
            }
            let is_checked = !path.condition.is_empty() && conditions <= CONDITIONS_MAX;
            if let Some(Err(error)) = is_checked.then(|| compile(path)) {
                fault(format!("{field}.condition"), error.to_string());
            }
        }
    }
    faults
}

fn compile(path: &Path) -> Result<Expression, ExpressionError> {
    Expression::compile(&path.condition, &VARIABLES)
}

impl Definition {
    /// A definition to follow. The workflow has no faults.
    #[must_use]
    pub fn new(workflow: Workflow) -> Self {
        let ids = workflow.steps.iter().enumerate().map(|(index, step)| (step.step_id.clone(), index));
        let index: HashMap<String, usize> = ids.collect();
        let mut entrances = vec![BTreeSet::new(); workflow.steps.len()];
        for (from, step) in workflow.steps.iter().enumerate() {
            for to in step.paths.iter().filter_map(|path| index.get(&path.next_step_id)) {
                entrances[*to].insert(from);
            }
        }
        let conditions =
            workflow.steps.iter().map(|step| step.paths.iter().map(|_| OnceLock::new()).collect());
        let conditions = conditions.collect();
        let before = workflow.steps.iter().map(|_| OnceLock::new()).collect();
        Self { workflow, index, entrances, before, conditions }
    }

    /// The workflow as it was published.
    #[must_use]
    pub fn workflow(&self) -> &Workflow {
        &self.workflow
    }

    /// What a job says of the workflow it follows.
    pub(super) fn reference(&self) -> WorkflowReference {
        WorkflowReference {
            workflow_id: self.workflow.workflow_id.clone(),
            version_id: Some(self.workflow.version_id.clone()),
            name: self.workflow.name.clone(),
            published: true,
        }
    }

    pub(super) fn start_step_ids(&self) -> &[String] {
        &self.workflow.start_step_ids
    }

    /// The steps of a new job, none of them reached.
    pub(super) fn steps(&self, job_id: &str, now: Timestamp) -> Vec<Step> {
        self.workflow.steps.iter().map(|step| new_step(step, job_id, now)).collect()
    }

    pub(super) fn has_step(&self, step_id: &str) -> bool {
        self.index.contains_key(step_id)
    }

    /// Asks the paths of a step where the job goes on.
    pub(super) fn follow(&self, job: &Job, step: &Step, outcome: &str) -> Followed {
        let Some(&at) = self.index.get(&step.step_id) else {
            return Followed { is_end: true, ..Followed::default() };
        };
        let paths = &self.workflow.steps[at].paths;
        let mut followed = Followed { is_end: paths.is_empty(), ..Followed::default() };
        for (path, condition) in paths.iter().zip(&self.conditions[at]) {
            let is_true = if path.condition.is_empty() {
                Ok(true)
            } else {
                compiled(condition, path)
                    .and_then(|condition| condition.evaluate(variables(condition, job, step, outcome)))
            };
            match is_true {
                Ok(true) if !followed.next.contains(&path.next_step_id) => {
                    followed.next.push(path.next_step_id.clone());
                }
                Ok(_) => {}
                Err(why) => followed.failures.push(failure(path, &why)),
            }
        }
        followed
    }

    /// Whether paths from several steps lead to a step that waits for all of them.
    pub(super) fn joins(&self, step_id: &str) -> bool {
        self.index.get(step_id).is_some_and(|&at| {
            self.workflow.steps[at].join() != StepJoin::Any && self.entrances[at].len() > 1
        })
    }

    /// Whether a way leads from a step to another, near or far.
    pub(super) fn leads_to(&self, from: &str, to: &str) -> bool {
        match (self.index.get(from), self.index.get(to)) {
            (Some(from), Some(&to)) => self.before[to].get_or_init(|| self.ways_to(to, None)).contains(from),
            _ => false,
        }
    }

    /// The steps from which ways lead to a step that do not pass through another one.
    pub(super) fn before(&self, step_id: &str, avoiding: Option<&str>) -> HashSet<&str> {
        let avoided = avoiding.and_then(|step_id| self.index.get(step_id)).copied();
        let found = self.index.get(step_id).map(|&at| self.ways_to(at, avoided)).unwrap_or_default();
        found.into_iter().map(|at| self.workflow.steps[at].step_id.as_str()).collect()
    }

    fn ways_to(&self, at: usize, avoided: Option<usize>) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open = vec![at];
        while let Some(at) = open.pop() {
            for &from in &self.entrances[at] {
                if Some(from) != avoided && found.insert(from) {
                    open.push(from);
                }
            }
        }
        found
    }
}

/// A condition, ready to be asked. It was found good when it was published: what goes wrong here may go right next time.
fn compiled<'c>(condition: &'c OnceLock<Expression>, path: &Path) -> Result<&'c Expression, String> {
    if let Some(condition) = condition.get() {
        return Ok(condition);
    }
    let expression = compile(path).map_err(|error| error.to_string())?;
    Ok(condition.get_or_init(|| expression))
}

fn variables(expression: &Expression, job: &Job, step: &Step, outcome: &str) -> Vec<(&'static str, Value)> {
    vec![
        ("job", job_value(job, expression.reads_metadata())),
        ("answer", step.answer.as_ref().map_or(Value::Null, from_value)),
        ("outcome", Value::from(outcome)),
        ("visit", Value::Int(step.visit.into())),
    ]
}

fn failure(path: &Path, why: &str) -> String {
    let mut text = format!("the condition of the path to {:?}", path.next_step_id);
    if let Some(label) = &path.label {
        let _ = write!(text, " ({label})");
    }
    let _ = write!(text, " failed: {why}");
    text
}

fn new_step(definition: &StepDefinition, job_id: &str, now: Timestamp) -> Step {
    let definition = definition.clone();
    Step {
        job_id: job_id.to_owned(),
        step_id: definition.step_id,
        number: definition.number,
        title: definition.title,
        description: definition.description,
        kind: definition.kind,
        step_type: definition.step_type,
        can_skip: definition.can_skip,
        proceed_to_next: definition.proceed_to_next,
        join: definition.join,
        status: StepStatus::Pending.into(),
        assignee: definition.default_assignee,
        create_time: Some(now),
        update_time: Some(now),
        ..Step::default()
    }
}
