//! The published workflows, ready to be followed. They live in the first partition; a version never changes, so what is
//! here is never out of date.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use prost::Message as _;

use super::command::WorkflowWish;
use crate::{
    domain::{Definition, version_number},
    proto::v1::{Workflow, WorkflowReference},
    store::{self, Partition, Records},
};

/// The partition that workflows live in.
pub(super) const HOME: Partition = Partition(0);

/// About how much is kept ready, as the workflows are encoded.
const BYTES_MAX: usize = 32 << 20;

#[derive(Default)]
pub(super) struct Catalogue {
    ready: Mutex<Ready>,
}

/// Organization, workflow, version.
type Key = (String, String, u64);

#[derive(Default)]
struct Ready {
    definitions: HashMap<Key, Arc<Definition>>,
    /// The oldest first.
    order: VecDeque<(Key, usize)>,
    bytes: usize,
}

impl Catalogue {
    /// The version that a job follows.
    pub(super) async fn followed(
        &self,
        records: &Records,
        org: &str,
        reference: &WorkflowReference,
    ) -> store::Result<Option<Arc<Definition>>> {
        match number(reference.version_id.as_deref()) {
            Some(version) => self.version(records, org, &reference.workflow_id, version).await,
            None => Ok(None),
        }
    }

    /// The version that a new job is to follow.
    pub(super) async fn wished(
        &self,
        records: &Records,
        org: &str,
        wish: WorkflowWish<'_>,
    ) -> store::Result<Option<Arc<Definition>>> {
        if let Some(version) = number(wish.version_id) {
            let found = self.version(records, org, wish.workflow_id, version).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        if wish.version_id.is_some() && !wish.or_newest {
            return Ok(None);
        }
        let newest = records.newest_workflow(org, wish.workflow_id).await?;
        Ok(newest.map(|workflow| self.found(records, org, workflow)))
    }

    async fn version(
        &self,
        records: &Records,
        org: &str,
        workflow_id: &str,
        version: u64,
    ) -> store::Result<Option<Arc<Definition>>> {
        let key = (org.to_owned(), workflow_id.to_owned(), version);
        let ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner).definitions.get(&key).cloned();
        if ready.is_some() {
            return Ok(ready);
        }
        let workflow = records.workflow(org, workflow_id, version).await?;
        Ok(workflow.map(|workflow| self.found(records, org, workflow)))
    }

    /// Kept for others once nothing that is under way can take it back.
    fn found(&self, records: &Records, org: &str, workflow: Workflow) -> Arc<Definition> {
        if records.is_settled(org, &workflow) {
            self.keep(org, workflow)
        } else {
            Arc::new(Definition::new(workflow))
        }
    }

    fn keep(&self, org: &str, workflow: Workflow) -> Arc<Definition> {
        let version = version_number(&workflow);
        let key = (org.to_owned(), workflow.workflow_id.clone(), version);
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(definition) = ready.definitions.get(&key) {
            return Arc::clone(definition);
        }
        let bytes = workflow.encoded_len();
        let definition = Arc::new(Definition::new(workflow));
        ready.definitions.insert(key.clone(), Arc::clone(&definition));
        ready.order.push_back((key, bytes));
        ready.bytes += bytes;
        while ready.bytes > BYTES_MAX
            && let Some((oldest, bytes)) = ready.order.pop_front()
        {
            ready.definitions.remove(&oldest);
            ready.bytes -= bytes;
        }
        definition
    }
}

/// The number of a version, written as we write it.
fn number(version_id: Option<&str>) -> Option<u64> {
    let number: u64 = version_id?.parse().ok()?;
    (Some(number.to_string().as_str()) == version_id).then_some(number)
}
