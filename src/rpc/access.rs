//! What each RPC takes of its caller, and whether it changes anything: the one place that says so.
//!
//! The layer around all services looks here before a request gets to its handler. An RPC that is not here gets to none.

use std::{collections::HashMap, sync::LazyLock};

use crate::auth::Privilege;

/// What an RPC takes of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The privileges: all of them. Of PerformJobAction the action says which; its handler looks.
    pub needs: &'static [Privilege],
    /// It changes something, unless it is asked only to decide.
    pub changes: bool,
}

/// What the RPC of a path takes; `None`: it is none of ours.
#[must_use]
pub fn of(path: &str) -> Option<Access> {
    static BY_PATH: LazyLock<HashMap<&str, Access>> =
        LazyLock::new(|| RPCS.iter().map(|(path, access)| (*path, *access)).collect());
    BY_PATH.get(path).copied()
}

/// Whether a path is open to callers who tell nothing of themselves: health checks, and what tools ask first.
#[must_use]
pub fn is_open(path: &str) -> bool {
    path.starts_with("/grpc.health.v1.Health/") || path.starts_with("/grpc.reflection.")
}

macro_rules! rpcs {
    ($($service:literal { $($kind:ident $rpc:literal: [$($privilege:ident),*];)* })*) => {
        /// Every RPC, by its path.
        pub const RPCS: &[(&str, Access)] = &[$($(
            (concat!("/holdpoint.v1.", $service, "/", $rpc), Access {
                needs: &[$(Privilege::$privilege),*],
                changes: rpcs!(@$kind),
            }),
        )*)*];
    };
    (@reads) => { false };
    (@changes) => { true };
}

rpcs! {
    "SyncService" {
        changes "BasicSync": [WorkflowExecute];
        changes "StreamSync": [WorkflowExecute];
    }
    "JobService" {
        changes "PerformJobAction": [];
        reads "WatchJob": [JobRead];
        reads "WatchJobs": [JobRead];
        changes "CreateJob": [JobCreate];
        reads "GetJob": [JobRead];
        reads "ListJobs": [JobRead];
        reads "CountJobs": [JobRead];
        changes "UpdateJob": [JobUpdate];
        changes "AssignStep": [JobAssign];
        changes "AbortJob": [JobClose];
        changes "CloseJob": [JobClose];
        changes "ReopenJob": [JobReopenClosed];
        changes "ExcludeJob": [JobUpdate];
        changes "DeleteJob": [JobDelete];
        reads "ListJobEvents": [JobRead];
        reads "ListHolds": [JobRead];
    }
    "TaskService" {
        changes "UpdateExecutionTaskStatus": [ExecutionReport];
        changes "CreateTaskStatus": [TaskWrite];
        reads "GetTaskStatus": [TaskRead];
        reads "ListTaskStatuses": [TaskRead];
        changes "UpdateTaskStatus": [TaskWrite];
    }
    "WorkflowService" {
        changes "UpdateExecutionWorkflowStatus": [ExecutionReport];
        reads "GetWorkflowInstance": [TaskRead];
        reads "ListWorkflowInstances": [TaskRead];
        changes "PublishWorkflow": [WorkflowManage];
        reads "GetWorkflow": [JobRead];
        reads "ListWorkflows": [JobRead];
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;
    use crate::proto::API_DESCRIPTORS;

    #[test]
    fn every_rpc_is_here_and_nothing_else() {
        let api = FileDescriptorSet::decode(API_DESCRIPTORS).unwrap();
        let mut rpcs = BTreeSet::new();
        for file in api.file.iter().filter(|file| file.package() == "holdpoint.v1") {
            for service in &file.service {
                let paths = service
                    .method
                    .iter()
                    .map(|method| format!("/holdpoint.v1.{}/{}", service.name(), method.name()));
                rpcs.extend(paths);
            }
        }
        assert_eq!(rpcs, RPCS.iter().map(|(path, _)| (*path).to_owned()).collect());
        assert_eq!(rpcs.len(), RPCS.len(), "each is here once");
    }
}
