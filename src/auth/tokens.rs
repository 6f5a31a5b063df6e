//! Bearer tokens: JSON Web Tokens (RFC 7519) that were signed by a key which is trusted here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use http::{HeaderMap, header::AUTHORIZATION};
use jsonwebtoken::{Validation, errors::ErrorKind};
use prost_types::Timestamp;
use sha2::{Digest as _, Sha256};

use super::{
    Caller, KeyError, Refusal,
    claims::{Admitted, Claims},
    keys::{Key, KeyFiles},
    privilege::{RoleError, Roles},
};
use crate::config::AuthConfig;

/// The longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 8 << 10;
/// How many tokens are remembered as good. Checking one again costs far more than finding it.
const REMEMBERED_MAX: usize = 10_000;

/// Why callers cannot be found out as configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A key cannot be read or used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A role has a privilege that there is not.
    #[error(transparent)]
    Role(#[from] RoleError),
}

/// Finds out callers by their tokens.
#[derive(Debug)]
pub struct Tokens {
    config: AuthConfig,
    roles: Roles,
    ring: RwLock<Arc<Ring>>,
}

/// The keys that are trusted, and the tokens that were found to be signed by them.
#[derive(Debug)]
struct Ring {
    files: KeyFiles,
    keys: Vec<Key>,
    remembered: Mutex<HashMap<[u8; 32], Arc<Admitted>>>,
}

impl Tokens {
    pub(super) fn new(config: &AuthConfig) -> Result<Self, SetupError> {
        let roles = Roles::new(&config.roles)?;
        let ring = RwLock::new(Arc::new(Ring::of(KeyFiles::read(config)?)?));
        Ok(Self { config: config.clone(), roles, ring })
    }

    /// Reads the keys again. Whether they have changed; where they cannot be used, those before stay.
    ///
    /// # Errors
    /// A key cannot be read or used.
    pub fn refresh(&self) -> Result<bool, KeyError> {
        let files = KeyFiles::read(&self.config)?;
        if files == self.ring().files {
            return Ok(false);
        }
        let ring = Arc::new(Ring::of(files)?);
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = ring;
        Ok(true)
    }

    pub(super) fn caller(&self, headers: &HeaderMap, now: &Timestamp) -> Result<Caller, Refusal> {
        let token = bearer(headers)?;
        let ring = self.ring();
        let digest: [u8; 32] = Sha256::digest(token).into();
        let known = ring.remembered().get(&digest).cloned();
        let admitted = if let Some(admitted) = known {
            admitted
        } else {
            let admitted = Arc::new(self.check(&ring.keys, token)?);
            ring.remember(digest, &admitted);
            admitted
        };
        let key = |time: &Timestamp| (time.seconds, time.nanos);
        if key(&admitted.expires) <= key(now) {
            return Err(Refusal::Expired);
        }
        if admitted.not_before.is_some_and(|time| key(&time) > key(now)) {
            return Err(Refusal::Invalid("is not good yet: its `nbf` lies ahead"));
        }
        Ok(admitted.caller.clone())
    }

    pub(super) fn may_administer(&self, org: &str) -> bool {
        self.config.admin_organizations.iter().any(|admin| admin == org)
    }

    /// How many tokens are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.ring().remembered().len()
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Who holds a token that was signed by one of the keys. When it is good is not looked at.
    fn check(&self, keys: &[Key], token: &str) -> Result<Admitted, Refusal> {
        let header = jsonwebtoken::decode_header(token)
            .map_err(|_| Refusal::Invalid("is not a JSON Web Token with an algorithm that is taken here"))?;
        if header.typ.as_ref().is_some_and(|typ| !is_access_token(typ)) {
            return Err(Refusal::Invalid("is not an access token: its `typ` says so"));
        }
        if header.crit.is_some() {
            return Err(Refusal::Invalid("has a `crit` header, which asks for what is not known here"));
        }
        let is_named = |key: &&Key| match (&key.id, &header.kid) {
            (Some(id), Some(kid)) => id == kid,
            (None, _) | (_, None) => true,
        };
        let mut refusal = Refusal::Invalid("was not signed by a key that is trusted here");
        for key in keys.iter().filter(|key| key.algorithm == header.alg).filter(is_named) {
            match jsonwebtoken::decode::<Claims>(token, &key.decoding, &self.validation(key)) {
                Ok(checked) => return checked.claims.admit(&self.roles, self.config.leeway_seconds),
                Err(error) => refusal = refusal_of(error.kind()).unwrap_or(refusal),
            }
        }
        Err(refusal)
    }

    /// What must hold of a token, beside its times.
    fn validation(&self, key: &Key) -> Validation {
        let mut validation = Validation::new(key.algorithm);
        // The server has one clock, and a token may be remembered: both times are looked at with each call.
        (validation.validate_exp, validation.validate_nbf) = (false, false);
        validation.set_audience(&self.config.audiences);
        validation.set_required_spec_claims(&["exp", "sub", "aud"]);
        if !self.config.issuer.is_empty() {
            validation.set_issuer(&[&self.config.issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        validation
    }
}

impl Ring {
    fn of(files: KeyFiles) -> Result<Self, KeyError> {
        let keys = files.keys()?;
        Ok(Self { files, keys, remembered: Mutex::default() })
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Arc<Admitted>>> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, digest: [u8; 32], admitted: &Arc<Admitted>) {
        let mut remembered = self.remembered();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(digest, Arc::clone(admitted));
    }
}

/// The token of a call.
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() {
        return Err(Refusal::Invalid("must be given once"));
    }
    let (scheme, token) =
        value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or(Refusal::Missing)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::Missing);
    }
    let token = token.trim();
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Refusal::Invalid("is longer than 8 KiB"));
    }
    Ok(token)
}

/// `JWT`, and what RFC 9068 calls access tokens. Others, such as a logout token, are signed by the same keys.
fn is_access_token(typ: &str) -> bool {
    ["jwt", "at+jwt", "application/at+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known))
}

/// What the claims lack; `None`: it is the signature.
fn refusal_of(error: &ErrorKind) -> Option<Refusal> {
    Some(Refusal::Invalid(match error {
        ErrorKind::InvalidAudience => "is meant for somebody else: its `aud` says so",
        ErrorKind::InvalidIssuer => "was issued by somebody else: its `iss` says so",
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "aud" => "has no `aud`",
            "iss" => "has no `iss`",
            "exp" => "has no `exp`",
            _ => "has no `sub`",
        },
        ErrorKind::Json(_) | ErrorKind::InvalidClaimFormat(_) => {
            "has claims that are not what they should be, or lacks `sub` or `exp`"
        }
        _ => return None,
    }))
}
