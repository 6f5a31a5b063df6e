//! What a device sent that does not stand after the sync: its user sees other values than those they wrote.

use prost_types::{Struct, Timestamp, Value, value::Kind};

use super::{Sync, current_step, metadata, unique_step_id};
use crate::{
    domain::JobState,
    proto::{
        Document,
        storage::v1::SyncHeader,
        v1::{Job, JobStatus, LostField, WorkflowReference},
    },
};

/// What of a sync does not stand after it.
pub(super) fn fields(sync: &Sync, after: &JobState) -> Vec<LostField> {
    let header = after.sync.as_ref().and_then(|sync| sync.header.as_ref());
    let sent = Members::of_header(&sync.header);
    let standing = Members::of_job(&after.job, header.and_then(current_step));
    let members = sent.0.into_iter().zip(standing.0);
    let differ = members.filter(|((_, sent), (_, standing))| sent != standing && !sent.is_missing());
    let mut lost: Vec<LostField> = differ
        .map(|((path, _), (_, standing))| LostField { path: path.to_owned(), standing: standing.value() })
        .collect();
    let status = after.job.status();
    let progressed = sync.status == JobStatus::NotStarted && status == JobStatus::Active;
    if status != sync.status && !progressed {
        let standing = Some(Value::from(status.as_str_name()));
        lost.push(LostField { path: "metadata.status".to_owned(), standing });
    }
    for told in &sync.reports {
        let standing = after.reports.get(unique_step_id(&told.entry));
        if standing.is_some_and(|report| told.compare(report).is_lt()) {
            lost.push(LostField { path: told.path.clone(), standing: None });
        }
    }
    lost
}

/// The members of a header that a device shows its user, by their paths in the request. The times that order headers are
/// not among them: that they lost goes without saying.
struct Members<'m>([(&'static str, Member<'m>); 14]);

#[derive(Clone, Copy, PartialEq)]
enum Member<'m> {
    Text(Option<&'m str>),
    Texts(&'m [String]),
    Time(Option<Timestamp>),
    Document(Option<&'m Document>),
    Data(Option<&'m Value>),
    List(&'m [Value]),
    Flag(Option<bool>),
}

impl<'m> Members<'m> {
    fn of_header(header: &'m SyncHeader) -> Self {
        let SyncHeader { team, hierarchy_stack, packet_ids, job_exclusion, excluded, .. } = header;
        let sent = metadata(header);
        Self([
            ("metadata.workflow_version_id", Member::Text(sent.workflow_version_id.as_deref())),
            ("metadata.job_title", Member::Text(sent.job_title.as_deref())),
            ("metadata.metadata", Member::Document(sent.metadata.as_ref())),
            ("metadata.created", Member::Time(sent.created)),
            ("metadata.user_id", Member::Text(sent.user_id.as_deref())),
            ("metadata.current_step", Member::Text(current_step(header))),
            ("metadata.abandon_reason", Member::Text(sent.abandon_reason.as_deref())),
            ("metadata.username", Member::Text(sent.username.as_deref())),
            ("metadata.workflow_name", Member::Text(sent.workflow_name.as_deref())),
            ("team", Member::Text(team.as_deref())),
            ("hierarchy_stack", Member::Data(hierarchy_stack.as_ref())),
            ("packet_ids", Member::Texts(packet_ids)),
            ("job_exclusion", Member::List(job_exclusion)),
            ("excluded", Member::Flag(*excluded)),
        ])
    }

    fn of_job(job: &'m Job, current_step: Option<&'m str>) -> Self {
        let workflow = job.workflow.as_ref();
        let of_workflow =
            |member: fn(&WorkflowReference) -> Option<&str>| Member::Text(workflow.and_then(member));
        Self([
            ("metadata.workflow_version_id", of_workflow(|workflow| workflow.version_id.as_deref())),
            ("metadata.job_title", Member::Text(job.title.as_deref())),
            ("metadata.metadata", Member::Document(job.metadata.as_ref())),
            ("metadata.created", Member::Time(job.created)),
            ("metadata.user_id", Member::Text(job.user_id.as_deref())),
            ("metadata.current_step", Member::Text(current_step)),
            ("metadata.abandon_reason", Member::Text(job.abandon_reason.as_deref())),
            ("metadata.username", Member::Text(job.username.as_deref())),
            ("metadata.workflow_name", of_workflow(|workflow| workflow.name.as_deref())),
            ("team", Member::Text(job.team.as_deref())),
            ("hierarchy_stack", Member::Data(job.hierarchy_stack.as_ref())),
            ("packet_ids", Member::Texts(&job.packet_ids)),
            ("job_exclusion", Member::List(&job.job_exclusion)),
            ("excluded", Member::Flag(job.excluded)),
        ])
    }
}

impl Member<'_> {
    fn is_missing(self) -> bool {
        self.value().is_none()
    }

    /// As it is told.
    fn value(self) -> Option<Value> {
        let list = |values: Vec<Value>| (!values.is_empty()).then(|| Value::from(values));
        match self {
            Self::Text(text) => text.map(Value::from),
            Self::Texts(texts) => list(texts.iter().map(|text| Value::from(text.as_str())).collect()),
            Self::Time(time) => time.map(|time| Value::from(time.to_string())),
            Self::Document(document) => document.map(|document| object(document.members())),
            Self::Data(value) => value.cloned(),
            Self::List(values) => list(values.to_vec()),
            Self::Flag(flag) => flag.map(Value::from),
        }
    }
}

fn object(members: Struct) -> Value {
    Value { kind: Some(Kind::StructValue(members)) }
}
