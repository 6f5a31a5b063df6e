//! `JobFilter`.

use super::Violations;
use crate::{
    auth::Caller,
    domain::{Expression, Filter},
    proto::v1::{Assignee, JobFilter, JobStatus, assignee},
};

const JOB_IDS_MAX: usize = 1000;
const VALUES_MAX: usize = 100;

/// A filter whose expression may read `variables`. Where it says `assigned_to_me`, the caller and the caller's groups are
/// among the assignees afterwards.
pub(in crate::rpc) fn filter(
    violations: &mut Violations<'_>,
    caller: &Caller,
    wanted: Option<JobFilter>,
    variables: &[&str],
) -> Filter {
    let mut wanted = wanted.unwrap_or_default();
    check_ids(violations, "filter.job_ids", &wanted.job_ids, JOB_IDS_MAX);
    check_ids(violations, "filter.teams", &wanted.teams, VALUES_MAX);
    check_ids(violations, "filter.user_ids", &wanted.user_ids, VALUES_MAX);
    check_ids(violations, "filter.workflow_ids", &wanted.workflow_ids, VALUES_MAX);
    for (index, status) in wanted.statuses.iter().enumerate() {
        if matches!(JobStatus::try_from(*status), Ok(JobStatus::Unspecified) | Err(_)) {
            violations.add(format!("filter.statuses[{index}]"), "is not a value of JobStatus");
        }
    }
    violations.count("filter.assignees", wanted.assignees.len(), VALUES_MAX);
    for (index, assignee) in wanted.assignees.iter().enumerate() {
        violations.assignee(&format!("filter.assignees[{index}]"), Some(assignee));
    }
    violations.time("filter.create_time_from", wanted.create_time_from.as_ref());
    violations.time("filter.create_time_before", wanted.create_time_before.as_ref());

    let source = std::mem::take(&mut wanted.expression);
    let expression = (!source.is_empty()).then(|| Expression::compile(&source, variables));
    if let Some(Err(error)) = &expression {
        violations.add("filter.expression", error.to_string());
    }
    wanted.expression = source;
    if std::mem::take(&mut wanted.assigned_to_me) {
        let groups = caller.groups.iter().map(|group| named(assignee::Kind::Group, group));
        wanted.assignees.push(named(assignee::Kind::User, &caller.user));
        wanted.assignees.extend(groups);
    }
    Filter::new(wanted, expression.and_then(Result::ok))
}

fn check_ids(violations: &mut Violations<'_>, field: &str, ids: &[String], max: usize) {
    violations.count(field, ids.len(), max);
    for (index, id) in ids.iter().enumerate().take(max) {
        violations.id(&format!("{field}[{index}]"), id);
    }
}

fn named(kind: assignee::Kind, id: &str) -> Assignee {
    Assignee { kind: kind.into(), id: id.to_owned() }
}
