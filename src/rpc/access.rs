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
    /// It is about the data of every organization, so that a privilege within one is not enough.
    pub server_wide: bool,
}

/// What the RPC of a path takes; `None`: it is none of ours.
#[must_use]
pub fn of(path: &str) -> Option<Access> {
    static BY_PATH: LazyLock<HashMap<&str, Access>> =
        LazyLock::new(|| RPCS.iter().map(|(path, access)| (*path, *access)).collect());
    BY_PATH.get(path).copied()
}

/// The longest message of callers who tell nothing of themselves: it names services or files.
pub const OPEN_MESSAGE_BYTES_MAX: usize = 16 << 10;

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
                changes: rpcs!(@changes $kind),
                server_wide: rpcs!(@server_wide $kind),
            }),
        )*)*];
    };
    (@changes changes) => { true };
    (@changes $other:ident) => { false };
    (@server_wide administers) => { true };
    (@server_wide $other:ident) => { false };
}

rpcs! {
    "AdminService" {
        administers "GetServerStatus": [AdminAdvanced];
        administers "Backup": [AdminAdvanced];
    }
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

    /// Those that take nothing here say so, and no other.
    #[test]
    fn every_rpc_takes_a_privilege_or_looks_itself() {
        let takes_none = RPCS.iter().filter(|(_, access)| access.needs.is_empty());
        let takes_none: Vec<_> = takes_none.map(|(path, _)| *path).collect();
        assert_eq!(takes_none, ["/holdpoint.v1.JobService/PerformJobAction"]);
        for (path, access) in RPCS {
            let rpc = path.rsplit('/').next().unwrap();
            let reads = ["Get", "List", "Count", "Watch", "Backup"].iter().any(|verb| rpc.starts_with(verb));
            assert_eq!(access.changes, !reads, "{path}");
            assert_eq!(access.server_wide, path.contains("/holdpoint.v1.AdminService/"), "{path}");
            assert_eq!(of(path), Some(*access), "{path}");
        }
    }

    #[test]
    fn a_path_is_open_or_ours_as_it_is_written() {
        let rows = [
            ("/grpc.health.v1.Health/Check", true, false),
            ("/grpc.health.v1.Health/Watch", true, false),
            ("/grpc.health.v1.Health", false, false),
            ("/grpc.health.v1.Healthy/Check", false, false),
            ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", true, false),
            ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", true, false),
            ("/grpc.reflections.v1.ServerReflection/ServerReflectionInfo", false, false),
            ("/holdpoint.v1.JobService/GetJob", false, true),
            ("/holdpoint.v1.JobService/getjob", false, false),
            ("/holdpoint.v1.JobService/GetJob/", false, false),
            ("//holdpoint.v1.JobService/GetJob", false, false),
            ("holdpoint.v1.JobService/GetJob", false, false),
            ("/holdpoint.v1.JobService/%47etJob", false, false),
            ("/holdpoint.v1.JobService/", false, false),
            ("/", false, false),
            ("", false, false),
        ];
        for (path, open, ours) in rows {
            assert_eq!((is_open(path), of(path).is_some()), (open, ours), "{path}");
        }
    }
}
