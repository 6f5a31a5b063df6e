//! Who is calling. It knows headers and nothing of gRPC; what becomes of a refusal is decided where it is answered.

mod development;
mod privilege;

pub use self::{
    development::caller,
    privilege::{Privilege, Privileges},
};

/// Who is calling. It is put into the extensions of every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The id of the user, unique in the organization.
    pub user: String,
    /// What people call the user.
    pub name: String,
    /// The organization, whose resources are all that the caller can see.
    pub org: String,
    /// The groups that the user belongs to.
    pub groups: Vec<String>,
    /// What the user may do.
    pub privileges: Privileges,
}

/// Metadata that tells the caller is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key} {problem}")]
pub struct Refusal {
    /// Which metadata.
    pub key: &'static str,
    problem: &'static str,
}
