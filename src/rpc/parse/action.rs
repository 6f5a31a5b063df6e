//! The requests about steps and holds.

use std::collections::BTreeSet;

use prost_types::{Value, value::Kind};
use tonic::Status;

use super::{Violations, named_job};
use crate::{
    auth::{Caller, Privilege},
    config::Limits,
    domain::{AssignStep, Circle, Dependency, ExcludeJob, HoldTerms, PerformJobAction, ReopenJob, STEPS_MAX},
    engine::HoldQuery,
    proto::v1::{
        AssignStepRequest, ExcludeJobRequest, HoldKind, HoldState, JobActionType, ListHoldsRequest,
        PerformJobActionRequest, ReopenJobRequest,
    },
};

/// # Errors
/// INVALID_ARGUMENT with every bad field.
pub(in crate::rpc) fn perform_job_action(
    limits: &Limits,
    caller: &Caller,
    request: PerformJobActionRequest,
) -> Result<PerformJobAction, Status> {
    let mut violations = Violations::new(limits);
    let action = JobActionType::try_from(request.r#type);
    match action {
        Ok(JobActionType::Unspecified) => violations.add("type", "is required"),
        Ok(_) => {}
        Err(_) => violations.add("type", "is not a value of JobActionType"),
    }
    let action = action.unwrap_or_default();
    check_step_ids(&mut violations, &request.step_ids);
    if action == JobActionType::SetCurrentStep && request.step_ids.len() != 1 {
        violations.add("step_ids", "must be exactly one with JOB_ACTION_TYPE_SET_CURRENT_STEP");
    }
    let terms = hold_terms(&mut violations, action, &request);
    violations.optional_id("item_id", request.item_id.as_deref());
    // Null is no answer.
    let answer = request.answer.filter(|Value { kind }| !matches!(kind, None | Some(Kind::NullValue(_))));
    if answer.is_some() {
        if !matches!(action, JobActionType::Run | JobActionType::Finish) {
            violations.add("answer", "goes only with JOB_ACTION_TYPE_RUN and JOB_ACTION_TYPE_FINISH");
        }
        if request.step_ids.len() != 1 {
            violations.add("answer", "goes with exactly one of step_ids");
        }
    }
    violations.answer("answer", answer.as_ref());
    violations.time("task_deadline", request.task_deadline.as_ref());
    if request.task_deadline.is_some() && action != JobActionType::Run {
        violations.add("task_deadline", "goes only with JOB_ACTION_TYPE_RUN");
    }
    let (job_id, etag) = named_job(violations, request.job_id, request.etag, &request.request_id)?;
    let may_refresh = [Privilege::AdminBasic, Privilege::AdminAdvanced];
    Ok(PerformJobAction {
        job_id,
        action,
        step_ids: request.step_ids,
        is_chosen: false,
        terms,
        circle: Circle::None,
        answer,
        task_deadline: request.task_deadline,
        all_or_nothing: request.all_or_nothing,
        item_id: request.item_id.unwrap_or_default(),
        etag,
        groups: caller.groups.clone(),
        may_force_stop: caller.privileges.has(Privilege::JobForceStop),
        may_refresh: may_refresh.into_iter().any(|privilege| caller.privileges.has(privilege)),
    })
}

/// What the hold members say, to the actions that read them; others take them and look no further.
fn hold_terms(
    violations: &mut Violations<'_>,
    action: JobActionType,
    request: &PerformJobActionRequest,
) -> HoldTerms {
    let is_hold = action == JobActionType::Hold;
    if !is_hold && action != JobActionType::ReleaseHold {
        return HoldTerms::default();
    }
    let scheduled_release = request.hold_scheduled_release.filter(|_| is_hold);
    violations.time("hold_scheduled_release", scheduled_release.as_ref());
    let dependency = match (&request.dependent_job_id, &request.dependent_step_id) {
        (None, None) => None,
        (None, Some(_)) => {
            violations.add("dependent_job_id", "is required with dependent_step_id");
            None
        }
        (Some(job_id), step_id) => {
            violations.required_id("dependent_job_id", Some(job_id));
            if step_id.is_some() {
                violations.required_id("dependent_step_id", step_id.as_deref());
            }
            Some(Dependency { job_id: job_id.clone(), step_id: step_id.clone() })
        }
    };
    HoldTerms { scheduled_release, dependency }
}

fn check_step_ids(violations: &mut Violations<'_>, step_ids: &[String]) {
    violations.count("step_ids", step_ids.len(), STEPS_MAX);
    let mut seen = BTreeSet::new();
    for (index, step_id) in step_ids.iter().enumerate().take(STEPS_MAX) {
        let field = format!("step_ids[{index}]");
        violations.id(&field, step_id);
        if !seen.insert(step_id) {
            violations.add(field, "is there twice");
        }
    }
}

/// # Errors
/// INVALID_ARGUMENT with every bad field.
pub(in crate::rpc) fn assign_step(limits: &Limits, request: AssignStepRequest) -> Result<AssignStep, Status> {
    let mut violations = Violations::new(limits);
    violations.id("step_id", &request.step_id);
    violations.assignee("assignee", request.assignee.as_ref());
    let (job_id, etag) = named_job(violations, request.job_id, request.etag, &request.request_id)?;
    Ok(AssignStep { job_id, step_id: request.step_id, assignee: request.assignee, etag })
}

/// # Errors
/// INVALID_ARGUMENT with every bad field.
pub(in crate::rpc) fn reopen_job(limits: &Limits, request: ReopenJobRequest) -> Result<ReopenJob, Status> {
    let mut violations = Violations::new(limits);
    check_step_ids(&mut violations, &request.step_ids);
    let (job_id, etag) = named_job(violations, request.job_id, request.etag, &request.request_id)?;
    Ok(ReopenJob { job_id, step_ids: request.step_ids, etag })
}

/// # Errors
/// INVALID_ARGUMENT with every bad field.
pub(in crate::rpc) fn exclude_job(limits: &Limits, request: ExcludeJobRequest) -> Result<ExcludeJob, Status> {
    let mut violations = Violations::new(limits);
    if request.excluded.is_none() {
        violations.add("excluded", "is required");
    }
    violations.values("job_exclusion", &request.job_exclusion);
    let (job_id, etag) = named_job(violations, request.job_id, request.etag, &request.request_id)?;
    let excluded = request.excluded.unwrap_or_default();
    Ok(ExcludeJob { job_id, excluded, job_exclusion: request.job_exclusion, etag })
}

/// Which holds a ListHolds asks for.
pub(in crate::rpc) fn hold_query(violations: &mut Violations<'_>, request: &ListHoldsRequest) -> HoldQuery {
    let ids = [
        ("job_id", &request.job_id),
        ("step_id", &request.step_id),
        ("dependent_job_id", &request.dependent_job_id),
        ("dependent_step_id", &request.dependent_step_id),
    ];
    for (field, id) in ids {
        violations.optional_id(field, Some(id));
    }
    if request.job_id.is_empty() && !request.step_id.is_empty() {
        violations.add("job_id", "is required with step_id");
    }
    if request.dependent_job_id.is_empty() && !request.dependent_step_id.is_empty() {
        violations.add("dependent_job_id", "is required with dependent_step_id");
    }
    if !request.job_id.is_empty() && !request.dependent_job_id.is_empty() {
        violations.add("dependent_job_id", "must not be set together with job_id");
    }
    let state = HoldState::try_from(request.state);
    if state.is_err() {
        violations.add("state", "is not a value of HoldState");
    }
    let kinds = violations.words("kinds", &request.kinds, "HoldKind", |number| {
        HoldKind::try_from(number).ok().filter(|kind| *kind != HoldKind::Unspecified)
    });
    let dependency = (!request.dependent_job_id.is_empty()).then(|| Dependency {
        job_id: request.dependent_job_id.clone(),
        step_id: Some(request.dependent_step_id.clone()).filter(|step_id| !step_id.is_empty()),
    });
    HoldQuery {
        job_id: request.job_id.clone(),
        step_id: request.step_id.clone(),
        state: state.unwrap_or_default(),
        kinds: kinds.into_iter().collect(),
        dependency,
    }
}
