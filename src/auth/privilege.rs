//! What a caller may do.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

macro_rules! privileges {
    ($($privilege:ident $name:literal: $meaning:literal;)*) => {
        /// Something that a caller may be allowed to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Privilege {
            $(#[doc = $meaning] $privilege,)*
        }

        impl Privilege {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$privilege),*];

            /// Its name, as credentials have it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$privilege => $name,)*
                }
            }
        }
    };
}

privileges! {
    JobRead "jobRead": "Read, list and watch jobs.";
    JobCreate "jobCreate": "Make jobs.";
    JobUpdate "jobUpdate": "Change fields of jobs.";
    JobAssign "jobAssign": "Assign steps.";
    JobExecute "jobExecute": "Run, finish and stop steps.";
    JobClose "jobClose": "Close and abort jobs.";
    JobReopenClosed "jobReopenClosed": "Take jobs up again.";
    JobDelete "jobDelete": "Delete jobs.";
    JobForceStop "jobForceStop": "Stop steps that are assigned to others.";
    JobUpdateHolds "jobUpdateHolds": "Place and release holds.";
    WorkflowSetStepCurrent "workflowSetStepCurrent": "Make a step the current one.";
    WorkflowExecute "workflowExecute": "Sync jobs from a device.";
    WorkflowManage "workflowManage": "Publish workflows.";
    ExecutionReport "executionReport": "Report on tasks and workflow executions.";
    TaskRead "taskRead": "Read and list tasks.";
    TaskWrite "taskWrite": "Make and change tasks.";
    AdminBasic "adminBasic": "Refresh steps.";
    AdminAdvanced "adminAdvanced": "Refresh steps, and run the server.";
}

impl Privilege {
    /// The privilege of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|privilege| privilege.name() == name)
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What one caller may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Privileges {
    /// Everything.
    All,
    /// These.
    Only(BTreeSet<Privilege>),
}

impl Privileges {
    /// Whether the caller has a privilege.
    #[must_use]
    pub fn has(&self, privilege: Privilege) -> bool {
        match self {
            Self::All => true,
            Self::Only(privileges) => privileges.contains(&privilege),
        }
    }
}

/// The privileges that roles stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Roles(BTreeMap<String, BTreeSet<Privilege>>);

/// A role is configured with a privilege that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("auth.roles.{role}: there is no privilege {privilege:?}")]
pub struct RoleError {
    /// The role.
    pub role: String,
    /// What it names.
    pub privilege: String,
}

impl Roles {
    pub(super) fn new(configured: &BTreeMap<String, Vec<String>>) -> Result<Self, RoleError> {
        let privileges = |(role, names): (&String, &Vec<String>)| {
            let named = names.iter().map(|name| match Privilege::named(name) {
                Some(privilege) => Ok(privilege),
                None => Err(RoleError { role: role.clone(), privilege: name.clone() }),
            });
            Ok((role.clone(), named.collect::<Result<_, _>>()?))
        };
        Ok(Self(configured.iter().map(privileges).collect::<Result<_, _>>()?))
    }

    /// What a role stands for; nothing, where it is not configured.
    pub(super) fn privileges(&self, role: &str) -> impl Iterator<Item = Privilege> + use<'_> {
        self.0.get(role).into_iter().flatten().copied()
    }
}
