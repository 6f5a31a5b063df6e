//! Makes tokens from a local key, for trying things out.

use std::path::Path;

use jsonwebtoken::Header;

use super::{
    KeyError, Privilege,
    claims::{Audience, Claims},
    keys,
};

/// What a token is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The user.
    pub sub: String,
    /// What people call the user.
    pub name: Option<String>,
    /// The organization.
    pub org: String,
    /// The user's groups.
    pub groups: Vec<String>,
    /// What the user may do.
    pub privileges: Vec<String>,
    /// What the user is.
    pub roles: Vec<String>,
    /// Who issues it; empty: nobody.
    pub issuer: String,
    /// Whom it is meant for.
    pub audience: String,
    /// What the key is called.
    pub key_id: Option<String>,
    /// When it is made, in seconds since 1970.
    pub issued: u64,
    /// For how long it is good.
    pub seconds: u64,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The key cannot be read or used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is no such privilege.
    #[error("no privilege is called {name:?}; there are: {}", names())]
    Privilege {
        /// What was asked for.
        name: String,
    },
    /// The key does not sign.
    #[error("the key does not sign: an RSA key must have 2048 bits or more, and an EC key be on P-256")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// Makes a token.
///
/// # Errors
/// See [`MintError`].
pub fn mint(key: &Path, wish: Wish) -> Result<String, MintError> {
    let (algorithm, signing) = keys::signing_key(key)?;
    let mut privileges = Vec::new();
    for name in wish.privileges {
        match name.as_str() {
            "all" => privileges.extend(Privilege::ALL.iter().map(|privilege| privilege.name().to_owned())),
            known if Privilege::named(known).is_some() => privileges.push(name),
            _ => return Err(MintError::Privilege { name }),
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "times are small")]
    let exp = (wish.issued + wish.seconds) as f64;
    let claims = Claims {
        sub: wish.sub,
        name: wish.name,
        org: wish.org,
        groups: wish.groups,
        privileges,
        roles: wish.roles,
        scope: None,
        exp,
        nbf: None,
        iat: Some(wish.issued),
        iss: wish.issuer,
        aud: Audience::One(wish.audience),
    };
    let header = Header { kid: wish.key_id, ..Header::new(algorithm) };
    Ok(jsonwebtoken::encode(&header, &claims, &signing)?)
}

fn names() -> String {
    let names: Vec<_> = Privilege::ALL.iter().map(|privilege| privilege.name()).collect();
    format!("all, {}", names.join(", "))
}
