//! What executors report of tasks and of workflow executions: SPEC 3.2.
//!
//! A report is kept in three steps, for a task as for an attempt at a workflow: its *place* is found, or refused
//! ([`place`]); it is merged with what was reported before, in whichever order that came ([`standing`]); and what follows
//! from it is told.

mod place;
mod standing;
mod task;
#[cfg(test)]
pub(in crate::domain) mod tests;
mod workflow;

use std::collections::BTreeMap;

use prost_types::Timestamp;

pub use self::{place::Place, task::ReportTask, workflow::ReportWorkflow};
use super::sequences::Sequences;
use crate::proto::{
    Document,
    v1::{ExecutionStatus, Reporter, WorkflowAttempt, WorkflowInstance},
};

/// What a report says, of a task as of a workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// STARTED or CLOSED.
    pub status: ExecutionStatus,
    /// When that was, by the executor's clock.
    pub time: Timestamp,
    /// What it gave.
    pub data: Document,
    /// What is said beside it.
    pub meta: Document,
    /// Who reports.
    pub updated_by: Reporter,
    /// Kept on the event.
    pub event_meta: Option<Document>,
}

/// A workflow instance, and those of its attempts that a decision reads: the newest, and the one that is reported of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstanceState {
    /// Less its attempts.
    pub instance: WorkflowInstance,
    /// By id.
    pub attempts: BTreeMap<i64, WorkflowAttempt>,
    /// The sequence ids that tasks of the newest attempt have.
    pub seen: Sequences,
}

impl InstanceState {
    /// The newest attempt.
    #[must_use]
    pub fn newest(&self) -> Option<&WorkflowAttempt> {
        self.attempts.last_key_value().map(|(_, attempt)| attempt)
    }

    /// Whether that is the newest attempt.
    pub(super) fn is_newest(&self, attempt_id: i64) -> bool {
        self.newest().is_some_and(|newest| newest.attempt_id == attempt_id)
    }

    /// Takes over what an event tells. Whether that opens an attempt.
    pub(super) fn evolve(&mut self, told: &WorkflowInstance) -> bool {
        let newest = self.newest().map(|attempt| attempt.attempt_id);
        let mut opens = false;
        for attempt in &told.attempts {
            if newest.is_none_or(|newest| newest < attempt.attempt_id) {
                self.seen = Sequences::default();
                opens = true;
            }
            self.attempts.insert(attempt.attempt_id, attempt.clone());
        }
        self.instance = WorkflowInstance { attempts: Vec::new(), ..told.clone() };
        opens
    }
}
