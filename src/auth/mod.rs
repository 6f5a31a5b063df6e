//! Who is calling, and what they may do. It knows headers and nothing of gRPC; what becomes of a refusal is decided where it
//! is answered.

mod claims;
mod development;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod keys;
pub mod mint;
mod privilege;
#[cfg(test)]
mod tests;
mod tokens;

use http::HeaderMap;
use prost_types::Timestamp;

pub use self::{
    keys::KeyError,
    privilege::{Privilege, Privileges},
    tokens::{SetupError, Tokens},
};
use crate::config::AuthConfig;

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
    /// When the credentials are no longer good; `None`: they have no end.
    pub expires: Option<Timestamp>,
}

/// Why a caller is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// In development mode: metadata that tells the caller is wrong.
    #[error("{key} {problem}")]
    Metadata {
        /// Which metadata.
        key: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// There are no credentials.
    #[error("the call has no bearer token in its authorization metadata")]
    Missing,
    /// The credentials are not good.
    #[error("the bearer token {0}")]
    Invalid(&'static str),
    /// They are no longer good.
    #[error("the bearer token has expired")]
    Expired,
}

/// Finds out who is calling.
#[derive(Debug)]
pub enum Authenticator {
    /// Whoever the caller says.
    Development,
    /// Whom a token names that was signed by a key that is trusted here.
    Tokens(Tokens),
}

impl Authenticator {
    /// As configured.
    ///
    /// # Errors
    /// A key cannot be read or used, or a role has a privilege that there is not.
    pub fn new(config: &AuthConfig) -> Result<Self, SetupError> {
        if config.is_development() { Ok(Self::Development) } else { Tokens::new(config).map(Self::Tokens) }
    }

    /// Whether callers of this one's organization may act on the server as a whole, as far as their privileges go.
    #[must_use]
    pub fn may_administer(&self, caller: &Caller) -> bool {
        match self {
            Self::Development => true,
            Self::Tokens(tokens) => tokens.may_administer(&caller.org),
        }
    }

    /// Who is calling, at a time.
    ///
    /// # Errors
    /// The caller is not let in.
    pub fn caller(&self, headers: &HeaderMap, now: &Timestamp) -> Result<Caller, Refusal> {
        match self {
            Self::Development => development::caller(headers),
            Self::Tokens(tokens) => tokens.caller(headers, now),
        }
    }
}
