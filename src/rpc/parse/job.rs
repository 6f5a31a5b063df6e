//! The requests of a job's life.

use std::collections::BTreeSet;

use tonic::Status;
use tonic_types::FieldViolation;

use super::Violations;
use crate::{
    auth::Caller,
    config::Limits,
    domain::{CreateJob, JOB_ID_PREFIX, JobField, UpdateJob},
    engine::{Engine, ReportPage, Views},
    proto::v1::{CreateJobRequest, GetJobRequest, Job, JobView, UpdateJobRequest},
    rpc::status,
};

const PRIORITY_MAX: i32 = 1000;
const REPORTS_PER_PAGE: usize = 1000;
/// How many paths of a mask an error names at most.
const PATHS_NAMED_MAX: usize = 100;

/// # Errors
/// INVALID_ARGUMENT with every bad field.
pub(in crate::rpc) fn create_job(
    limits: &Limits,
    engine: &Engine,
    caller: &Caller,
    request: CreateJobRequest,
) -> Result<CreateJob, Status> {
    let mut violations = Violations::new(limits);
    let CreateJobRequest { job_id, job, request_id, validate_only: _ } = request;
    if job.is_none() {
        violations.add("job", "is required");
    }
    let mut job = job.unwrap_or_default();
    violations.optional_id("request_id", Some(&request_id));
    check_own_id(&mut violations, "job_id", &job_id);
    violations.optional_id("job.client_job_id", Some(&job.client_job_id));
    if job.client_job_id.starts_with(JOB_ID_PREFIX) {
        violations.add("job.client_job_id", "must not begin with job_");
    }
    if !job_id.is_empty() && !job.client_job_id.is_empty() {
        violations.add("job_id", "must not be set together with job.client_job_id");
    }
    if let Some(workflow) = &job.workflow {
        violations.id("job.workflow.workflow_id", &workflow.workflow_id);
        violations.optional_id("job.workflow.version_id", workflow.version_id.as_deref());
        violations.text("job.workflow.name", workflow.name.as_deref());
    }
    check_fields(&mut violations, &mut job, &JobField::ALL.map(|(_, field)| field));
    violations.check()?;

    let job_id = match (job_id.as_str(), job.client_job_id.as_str(), request_id.as_str()) {
        ("", "", "") => Some(engine.new_job_id(&caller.org)),
        ("", "", request_id) => Some(engine.derived_job_id(&caller.org, &caller.user, request_id)),
        ("", _, _) => None,
        (job_id, _, _) => Some(job_id.to_owned()),
    };
    Ok(CreateJob { job_id, job })
}

/// # Errors
/// INVALID_ARGUMENT with every bad field, or with every field of the mask that cannot be updated.
pub(in crate::rpc) fn update_job(limits: &Limits, request: UpdateJobRequest) -> Result<UpdateJob, Status> {
    let mut violations = Violations::new(limits);
    let UpdateJobRequest { job_id, job, update_mask, etag, request_id, validate_only: _ } = request;
    violations.id("job_id", &job_id);
    violations.optional_id("request_id", Some(&request_id));
    if job.is_none() {
        violations.add("job", "is required");
    }
    let mut job = job.unwrap_or_default();
    let mut immutable = Vec::new();
    let fields: Vec<JobField> = match &update_mask {
        Some(mask) if !mask.paths.is_empty() => masked_fields(&mask.paths, &mut immutable),
        _ => JobField::ALL.map(|(_, field)| field).into_iter().filter(|field| field.is_set(&job)).collect(),
    };
    check_fields(&mut violations, &mut job, &fields);
    violations.check()?;
    if !immutable.is_empty() {
        let named = immutable.iter().take(PATHS_NAMED_MAX);
        let named =
            named.map(|path| FieldViolation::new("update_mask", format!("{path:?} cannot be updated")));
        return Err(status::immutable_fields(
            named.collect(),
            immutable.len().saturating_sub(PATHS_NAMED_MAX),
        ));
    }
    Ok(UpdateJob { job_id, fields, job, etag: Some(etag).filter(|etag| !etag.is_empty()) })
}

/// The fields that a mask names, each once; and the paths that name none.
fn masked_fields<'m>(paths: &'m [String], immutable: &mut Vec<&'m str>) -> Vec<JobField> {
    let mut fields = BTreeSet::new();
    for path in paths {
        match JobField::ALL.iter().find(|(name, _)| name == path) {
            Some((_, field)) => {
                fields.insert(*field);
            }
            None if path == "*" => fields.extend(JobField::ALL.map(|(_, field)| field)),
            None => immutable.push(path),
        }
    }
    fields.into_iter().collect()
}

fn check_fields(violations: &mut Violations<'_>, job: &mut Job, fields: &[JobField]) {
    for field in fields {
        match field {
            JobField::Title => violations.text("job.title", job.title.as_deref()),
            JobField::Team => violations.optional_id("job.team", job.team.as_deref()),
            JobField::UserId => violations.optional_id("job.user_id", job.user_id.as_deref()),
            JobField::Username => {
                violations.name("job.username", job.username.as_deref());
            }
            JobField::Metadata => violations.fields("job.metadata", job.metadata.as_mut()),
            JobField::Assignee => violations.assignee("job.assignee", job.assignee.as_ref()),
            JobField::ParentJobId => {
                violations.optional_id("job.parent_job_id", job.parent_job_id.as_deref());
            }
            JobField::Priority => {
                if !(0..=PRIORITY_MAX).contains(&job.priority) {
                    violations.add("job.priority", format!("is not between 0 and {PRIORITY_MAX}"));
                }
            }
            JobField::DueTime => violations.time("job.due_time", job.due_time.as_ref()),
        }
    }
}

/// An id that a caller chose for a job.
fn check_own_id(violations: &mut Violations<'_>, field: &str, id: &str) {
    violations.optional_id(field, Some(id));
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.:".contains(character);
    if !id.chars().all(allowed) {
        violations.add(field, "has characters other than letters, digits and -_.:");
    }
    if id.starts_with(JOB_ID_PREFIX) {
        violations.add(field, "must not begin with job_");
    }
}

/// What a request that names a job and perhaps its etag says: the id, and the etag.
///
/// # Errors
/// INVALID_ARGUMENT with every bad field, those that were found before among them.
pub(in crate::rpc) fn named_job(
    mut violations: Violations<'_>,
    job_id: String,
    etag: String,
    request_id: &str,
) -> Result<(String, Option<String>), Status> {
    violations.id("job_id", &job_id);
    violations.optional_id("request_id", Some(request_id));
    violations.check()?;
    Ok((job_id, Some(etag).filter(|etag| !etag.is_empty())))
}

/// The parts that a GetJob asks for. `after` is where its reports go on.
pub(in crate::rpc) fn details_views(
    violations: &mut Violations<'_>,
    request: &GetJobRequest,
    after: &str,
) -> Views {
    let asked = violations.words("views", &request.views, "JobView", |number| {
        JobView::try_from(number).ok().filter(|view| *view != JobView::Unspecified)
    });
    let reports = asked.contains(&JobView::Reports).then(|| ReportPage {
        after: after.to_owned(),
        limit: violations.page_size("reports_page_size", request.reports_page_size, REPORTS_PER_PAGE),
    });
    Views {
        steps: asked.contains(&JobView::Steps),
        holds: asked.contains(&JobView::Holds),
        tasks: asked.contains(&JobView::Tasks),
        reports,
    }
}
