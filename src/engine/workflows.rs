//! Publishing workflows, and reading them.

use prost::Message as _;

use super::{Engine, Error, Origin, catalogue::HOME};
use crate::{
    domain::{PublishWorkflow, version_number, without_steps},
    proto::v1::{PublishWorkflowResponse, Workflow},
};

/// A page ends before it would be larger.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// A page ends before what is read for it would be more.
const READ_BYTES_MAX: usize = 16 << 20;

/// Which workflows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkflowList<'a> {
    /// The newest version of each, after this id.
    All {
        /// Empty: from the first.
        after: &'a str,
    },
    /// All versions of one, the newest first.
    Versions {
        /// Which one.
        workflow_id: &'a str,
        /// Those older than this.
        before: Option<u64>,
    },
}

impl Engine {
    /// Publishes a workflow.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn publish(
        &self,
        origin: Origin,
        command: PublishWorkflow,
    ) -> Result<PublishWorkflowResponse, Error> {
        self.decide(HOME, origin, command)?.await
    }

    /// Reads a version of a workflow, or the newest.
    ///
    /// # Errors
    /// The store's.
    pub async fn workflow(
        &self,
        org: &str,
        workflow_id: &str,
        version_id: Option<&str>,
    ) -> Result<Option<Workflow>, Error> {
        let records = self.records(HOME);
        let found = match version_id {
            None => records.newest_workflow(org, workflow_id).await?,
            Some(version_id) => match version_id.parse() {
                Ok(version) => records.workflow(org, workflow_id, version).await?,
                Err(_) => None,
            },
        };
        self.shared.store.settle(HOME).await?;
        Ok(found.filter(|workflow| version_id.is_none_or(|wanted| wanted == workflow.version_id)))
    }

    /// Lists workflows, without their steps: at most so many, and fewer where they are large. Tells whether there are more.
    ///
    /// # Errors
    /// The store's.
    pub async fn workflows(
        &self,
        org: &str,
        which: WorkflowList<'_>,
        limit: usize,
    ) -> Result<(Vec<Workflow>, bool), Error> {
        let records = self.records(HOME);
        let mut workflows: Vec<Workflow> = Vec::new();
        let (mut bytes, mut bytes_read) = (0, 0);
        let has_more = loop {
            let last = workflows.last();
            let next = match which {
                WorkflowList::All { after } => {
                    records.next_workflow(org, last.map_or(after, |last| &last.workflow_id)).await?
                }
                WorkflowList::Versions { workflow_id, before } => {
                    let before = last.map(version_number).or(before);
                    records.workflow_versions(org, workflow_id, before, 1).await?.into_iter().next()
                }
            };
            let Some(next) = next else { break false };
            bytes_read += next.encoded_len();
            let next = without_steps(next);
            bytes += next.encoded_len();
            let is_full = bytes > PAGE_BYTES_MAX || bytes_read > READ_BYTES_MAX;
            if workflows.len() == limit || is_full && !workflows.is_empty() {
                break true;
            }
            workflows.push(next);
        };
        self.shared.store.settle(HOME).await?;
        Ok((workflows, has_more))
    }
}
