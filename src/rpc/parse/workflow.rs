//! `PublishWorkflowRequest`.

use tonic::Status;

use super::Violations;
use crate::{
    config::Limits,
    domain::{PATHS_MAX, PublishWorkflow, STEPS_MAX, workflow_faults},
    proto::v1::{PublishWorkflowRequest, StepDefinition, StepJoin, StepKind, Workflow},
};

/// Checks the whole of it, conditions too, which can take its time.
///
/// # Errors
/// INVALID_ARGUMENT with every bad field.
pub(in crate::rpc) fn publish_workflow(
    limits: &Limits,
    request: PublishWorkflowRequest,
) -> Result<PublishWorkflow, Status> {
    let mut violations = Violations::new(limits);
    let PublishWorkflowRequest { workflow, newest_version_id, request_id, validate_only: _ } = request;
    violations.optional_id("request_id", Some(&request_id));
    violations.optional_id("newest_version_id", Some(&newest_version_id));
    let Some(sent) = workflow else {
        violations.add("workflow", "is required");
        return Err(violations.into_status());
    };
    // Only what a publisher says; the rest is the server's.
    let workflow = Workflow { version_id: String::new(), publish_time: None, publisher: None, ..sent };
    violations.id("workflow.workflow_id", &workflow.workflow_id);
    violations.text("workflow.name", workflow.name.as_deref());
    violations.text("workflow.description", workflow.description.as_deref());
    violations.count("workflow.start_step_ids", workflow.start_step_ids.len(), PATHS_MAX);
    violations.count("workflow.steps", workflow.steps.len(), STEPS_MAX);
    if workflow.steps.len() <= STEPS_MAX {
        for (index, step) in workflow.steps.iter().enumerate() {
            violations.within(format_args!("workflow.steps[{index}]"), |within| check_step(within, step));
        }
        for (field, what) in workflow_faults(&workflow) {
            violations.add(field, what);
        }
    }
    violations.check()?;
    let newest_version_id = Some(newest_version_id).filter(|id| !id.is_empty());
    Ok(PublishWorkflow { workflow, newest_version_id })
}

fn check_step(violations: &mut Violations<'_>, step: &StepDefinition) {
    violations.id("step_id", &step.step_id);
    violations.text("title", step.title.as_deref());
    violations.text("description", step.description.as_deref());
    violations.text("step_type", step.step_type.as_deref());
    violations.assignee("default_assignee", step.default_assignee.as_ref());
    if StepKind::try_from(step.kind).is_err() {
        violations.add("kind", "is not a value of StepKind");
    }
    if StepJoin::try_from(step.join).is_err() {
        violations.add("join", "is not a value of StepJoin");
    }
    violations.count("paths", step.paths.len(), PATHS_MAX);
    for (index, path) in step.paths.iter().enumerate().take(PATHS_MAX) {
        violations.within(format_args!("paths[{index}]"), |within| {
            within.id("next_step_id", &path.next_step_id);
            within.text("label", path.label.as_deref());
        });
    }
}
