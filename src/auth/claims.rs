//! What a token says of its holder.

use std::collections::BTreeSet;

use prost_types::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Caller, Privilege, Privileges, Refusal, privilege::Roles};

const USER_CHARACTERS_MAX: usize = 256;
const NAME_CHARACTERS_MAX: usize = 256;
const ID_CHARACTERS_MAX: usize = 64;
const GROUPS_MAX: usize = 1_000;
/// The end of the year 9999, in seconds.
const SECONDS_MAX: f64 = 253_402_300_799.0;

/// The claims that are read. Others are passed over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) sub: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) org: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) groups: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) privileges: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) roles: Vec<String>,
    /// Privileges separated by spaces, as OAuth has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) scope: Option<String>,
    /// Seconds since 1970, which need not be whole.
    pub(super) exp: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) nbf: Option<f64>,
    /// It is not read.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(super) iat: Option<u64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) iss: String,
    #[serde(default, skip_serializing_if = "Audience::is_empty")]
    pub(super) aud: Audience,
}

/// Whom a token is meant for: one, or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Audience {
    One(String),
    Several(Vec<String>),
}

impl Default for Audience {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Audience {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Several(several) if several.is_empty())
    }
}

/// Who a token lets in, and from when to when.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Admitted {
    pub(super) caller: Caller,
    pub(super) not_before: Option<Timestamp>,
    pub(super) expires: Timestamp,
}

impl Claims {
    /// Who holds the token. Clocks may be so many seconds apart.
    ///
    /// # Errors
    /// A claim is not what one can be.
    pub(super) fn admit(self, roles: &Roles, leeway_seconds: u64) -> Result<Admitted, Refusal> {
        let is_id = |text: &str, characters_max: usize| {
            !text.is_empty() && text.chars().count() <= characters_max && !text.chars().any(char::is_control)
        };
        if !is_id(&self.sub, USER_CHARACTERS_MAX) {
            return Err(Refusal::Invalid("has no `sub` of 1 to 256 characters"));
        }
        if !is_id(&self.org, ID_CHARACTERS_MAX) {
            return Err(Refusal::Invalid("has no `org` of 1 to 64 characters"));
        }
        if self.groups.len() > GROUPS_MAX || !self.groups.iter().all(|group| is_id(group, ID_CHARACTERS_MAX))
        {
            return Err(Refusal::Invalid("has `groups` that are not up to 1,000 of 1 to 64 characters"));
        }
        let leeway = f64::from(u32::try_from(leeway_seconds).unwrap_or(u32::MAX));
        let expires = at(self.exp + leeway).ok_or(Refusal::Invalid("has an `exp` that is no time"))?;
        let not_before = match self.nbf {
            Some(nbf) => {
                Some(at((nbf - leeway).max(0.0)).ok_or(Refusal::Invalid("has an `nbf` that is no time"))?)
            }
            None => None,
        };
        let scope = self.scope.as_deref().unwrap_or_default().split(' ');
        let named = self.privileges.iter().map(String::as_str).chain(scope).filter_map(Privilege::named);
        let of_roles = self.roles.iter().flat_map(|role| roles.privileges(role));
        let privileges: BTreeSet<Privilege> = named.chain(of_roles).collect();
        let name: String = self.name.unwrap_or_else(|| self.sub.clone());
        let caller = Caller {
            name: name.chars().filter(|c| !c.is_control()).take(NAME_CHARACTERS_MAX).collect(),
            user: self.sub,
            org: self.org,
            groups: self.groups,
            privileges: Privileges::Only(privileges),
            expires: Some(expires),
        };
        Ok(Admitted { caller, not_before, expires })
    }
}

/// A time of so many seconds since 1970.
#[expect(clippy::cast_possible_truncation, reason = "it is within range")]
fn at(seconds: f64) -> Option<Timestamp> {
    let whole = seconds.floor();
    (0.0..=SECONDS_MAX)
        .contains(&whole)
        .then_some(Timestamp { seconds: whole as i64, nanos: ((seconds - whole) * 1e9) as i32 })
}
