//! Tokens that let somebody in, and all that do not. Keys are made here; time is given, never read.

mod claims;
mod keys;
mod tokens;

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, EncodingKey, crypto, jwk::Jwk};
use prost_types::Timestamp;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::{Caller, Privileges, Refusal, SetupError, Tokens};
use crate::config::AuthConfig;

/// What time it is.
const NOW: i64 = 1_800_000_000;
const SECRET: &str = "a secret of 32 bytes and no more";

/// A key, as issuers and as servers have it.
#[derive(Debug)]
struct Key {
    algorithm: Algorithm,
    signing: EncodingKey,
    /// What a server has a file of.
    public: String,
    /// What an issuer has.
    private: String,
    /// As a member of a key set.
    jwk: Json,
}

impl Key {
    fn of(algorithm: Algorithm) -> Self {
        let pair = match algorithm {
            Algorithm::RS256 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
            Algorithm::ES256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Algorithm::EdDSA => KeyPair::generate_for(&PKCS_ED25519),
            _ => return Self::secret(SECRET),
        };
        let pair = pair.unwrap();
        let private = pair.serialize_pem();
        let signing = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_pem(private.as_bytes()),
            Algorithm::ES256 => EncodingKey::from_ec_pem(private.as_bytes()),
            _ => EncodingKey::from_ed_pem(private.as_bytes()),
        };
        let signing = signing.unwrap();
        let jwk = if algorithm == Algorithm::EdDSA {
            let x = URL_SAFE_NO_PAD.encode(pair.public_key_raw());
            json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": x })
        } else {
            serde_json::to_value(Jwk::from_encoding_key(&signing, algorithm).unwrap()).unwrap()
        };
        Self { algorithm, signing, public: pair.public_key_pem(), private, jwk }
    }

    fn secret(secret: &str) -> Self {
        let signing = EncodingKey::from_secret(secret.as_bytes());
        let (public, private) = (secret.to_owned(), secret.to_owned());
        let jwk = json!({ "kty": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(secret) });
        Self { algorithm: Algorithm::HS256, signing, public, private, jwk }
    }

    /// A member of a key set, with further properties over those that it has.
    fn jwk(&self, further: Json) -> Json {
        over(self.jwk.clone(), further)
    }

    fn header(&self) -> Json {
        json!({ "typ": "JWT", "alg": format!("{:?}", self.algorithm) })
    }

    /// A token of whatever is to be in it.
    fn sign(&self, header: &Json, claims: &Json) -> String {
        let message = format!("{}.{}", encoded(header), encoded(claims));
        let signature = crypto::sign(message.as_bytes(), &self.signing, self.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    /// A token that is good, but for what is told.
    fn token(&self, header: Json, claims: Json) -> String {
        self.sign(&over(self.header(), header), &over(good_claims(), claims))
    }

    fn good(&self) -> String {
        self.token(json!({}), json!({}))
    }
}

/// They are made once: one takes a moment.
static RSA: LazyLock<Key> = LazyLock::new(|| Key::of(Algorithm::RS256));
static P256: LazyLock<Key> = LazyLock::new(|| Key::of(Algorithm::ES256));
static ED25519: LazyLock<Key> = LazyLock::new(|| Key::of(Algorithm::EdDSA));
static HMAC: LazyLock<Key> = LazyLock::new(|| Key::of(Algorithm::HS256));

fn good_claims() -> Json {
    json!({ "sub": "ann", "org": "acme", "aud": "holdpoint", "exp": NOW + 60 })
}

/// Members over those that are there. `"-"` takes one away.
fn over(mut json: Json, members: Json) -> Json {
    let object = json.as_object_mut().unwrap();
    for (name, value) in members.as_object().unwrap() {
        if value == "-" {
            object.remove(name);
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
    json
}

fn encoded(json: &Json) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

/// A directory of keys, and a configuration that names them.
struct Files {
    directory: TempDir,
    config: AuthConfig,
}

impl Files {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), config: AuthConfig::default() }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// With a key in a file of its own.
    fn key(mut self, content: impl AsRef<[u8]>) -> Self {
        let path = self.write(&format!("key-{}", self.config.key_files.len()), content);
        self.config.key_files.push(path);
        self
    }

    /// With a key set.
    fn set(mut self, set: impl AsRef<[u8]>) -> Self {
        self.config.jwks_file = self.write("set", set);
        self
    }

    fn with(mut self, change: impl FnOnce(&mut AuthConfig)) -> Self {
        change(&mut self.config);
        self
    }

    fn tokens(&self) -> Result<Tokens, SetupError> {
        Tokens::new(&self.config)
    }

    /// Why there are no keys, less where the files are.
    fn refusal(&self) -> String {
        let refusal = self.tokens().unwrap_err().to_string();
        refusal.replace(&format!("{}/", self.directory.path().display()), "")
    }
}

/// A file of each key.
fn all_keys() -> Files {
    Files::new().key(&RSA.public).key(&P256.public).key(&ED25519.public).key(&HMAC.public)
}

fn set_of(members: &[Json]) -> String {
    json!({ "keys": members }).to_string()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp { seconds, nanos: 0 }
}

fn bearer(token: &str) -> HeaderMap {
    [(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap())].into_iter().collect()
}

fn caller(tokens: &Tokens, token: &str) -> Result<Caller, Refusal> {
    tokens.caller(&bearer(token), &at(NOW))
}

/// Who was let in, or why nobody, as a line.
fn line(outcome: Result<Caller, Refusal>) -> String {
    match outcome {
        Ok(Caller { user, name, org, groups, privileges: Privileges::Only(privileges), .. }) => {
            format!("{user:?} ({name:?}) of {org:?} in {groups:?} may {privileges:?}")
        }
        Ok(other) => panic!("{other:?} may do everything"),
        Err(refusal @ Refusal::Invalid(_)) => format!("! {refusal}"),
        Err(other) => format!("! {other:?}"),
    }
}

/// A long claim is told by its length.
fn short(line: &str) -> String {
    let mut short = String::new();
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let mut count = 1;
        while letters.next_if_eq(&letter).is_some() {
            count += 1;
        }
        if count > 9 {
            short.push_str(&format!("{letter}*{count}"));
        } else {
            short.extend(std::iter::repeat_n(letter, count));
        }
    }
    short
}

/// Tokens of several threads are checked by one [`Tokens`].
const _: fn() = || {
    fn is_shared<T: Send + Sync>() {}
    is_shared::<Arc<Tokens>>();
};
