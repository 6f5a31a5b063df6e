//! `JobFilter`.

use std::collections::BTreeSet;

use super::Violations;
use crate::{
    auth::Caller,
    domain::{Expression, Filter},
    proto::v1::{Assignee, JobFilter, JobStatus, assignee},
};

const JOB_IDS_MAX: usize = 1000;
const VALUES_MAX: usize = 100;

/// A filter whose expression may read `variables`. Where it says `assigned_to_me`, that means the caller and the caller's
/// groups.
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
    let statuses = violations.words("filter.statuses", &wanted.statuses, "JobStatus", |number| {
        JobStatus::try_from(number).ok().filter(|status| *status != JobStatus::Unspecified)
    });
    wanted.statuses = statuses.into_iter().map(i32::from).collect();
    violations.count("filter.assignees", wanted.assignees.len(), VALUES_MAX);
    for (index, assignee) in wanted.assignees.iter().enumerate().take(VALUES_MAX) {
        violations.assignee(format_args!("filter.assignees[{index}]"), Some(assignee));
    }
    violations.time("filter.create_time_from", wanted.create_time_from.as_ref());
    violations.time("filter.create_time_before", wanted.create_time_before.as_ref());

    let source = std::mem::take(&mut wanted.expression);
    let expression = (!source.is_empty()).then(|| Expression::compile(&source, variables));
    if let Some(Err(error)) = &expression {
        violations.add("filter.expression", error.to_string());
    }
    wanted.expression = source;
    let mut mine = Vec::new();
    if wanted.assigned_to_me {
        mine.push(named(assignee::Kind::User, &caller.user));
        // In whatever order the groups came, they are the same groups.
        let groups: BTreeSet<&String> = caller.groups.iter().collect();
        mine.extend(groups.into_iter().map(|group| named(assignee::Kind::Group, group)));
    }
    Filter::new(wanted, mine, expression.and_then(Result::ok))
}

fn check_ids(violations: &mut Violations<'_>, field: &str, ids: &[String], max: usize) {
    violations.count(field, ids.len(), max);
    for (index, id) in ids.iter().enumerate().take(max) {
        violations.id(format_args!("{field}[{index}]"), id);
    }
}

fn named(kind: assignee::Kind, id: &str) -> Assignee {
    Assignee { kind: kind.into(), id: id.to_owned() }
}
