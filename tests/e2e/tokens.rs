//! Tokens, the keys that sign them, and servers that believe nobody without one.
//!
//! [`config`] trusts what [`Token`] is signed by: an Ed25519 key. It trusts an RSA key too, as servers do whose issuer
//! changes over. Both are made once, and nobody has them but this process.

use std::{
    path::PathBuf,
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use holdpoint::config::Config;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ED25519, PKCS_RSA_SHA256, RsaKeySize};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::harness::{self, Caller};

/// A key, and the file that servers have of it.
pub struct Key {
    signing: EncodingKey,
    algorithm: Algorithm,
    pub public_pem: String,
    pub private_pem: String,
}

impl Key {
    pub fn ed25519() -> Self {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let signing = EncodingKey::from_ed_pem(pair.serialize_pem().as_bytes()).unwrap();
        Self::new(&pair, signing, Algorithm::EdDSA)
    }

    fn rsa() -> Self {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let signing = EncodingKey::from_rsa_pem(pair.serialize_pem().as_bytes()).unwrap();
        Self::new(&pair, signing, Algorithm::RS256)
    }

    fn new(pair: &KeyPair, signing: EncodingKey, algorithm: Algorithm) -> Self {
        let (public_pem, private_pem) = (pair.public_key_pem(), pair.serialize_pem());
        Self { signing, algorithm, public_pem, private_pem }
    }

    pub fn sign(&self, token: &Token) -> String {
        jsonwebtoken::encode(&Header::new(self.algorithm), &token.claims(), &self.signing).unwrap()
    }
}

/// What is signed by it is believed.
pub static TRUSTED: LazyLock<Key> = LazyLock::new(Key::ed25519);
/// Likewise.
pub static TRUSTED_RSA: LazyLock<Key> = LazyLock::new(Key::rsa);

/// The files of the trusted keys.
static FILES: LazyLock<(TempDir, Vec<PathBuf>)> = LazyLock::new(|| {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, key: &Key| {
        let path = directory.path().join(name);
        std::fs::write(&path, &key.public_pem).unwrap();
        path
    };
    let files = vec![write("ed25519.pem", &TRUSTED), write("rsa.pem", &TRUSTED_RSA)];
    (directory, files)
});

/// As [`harness::config`], with keys: nobody gets in without a token. Clocks are one, so there is no leeway.
pub fn config() -> Config {
    let mut config = harness::config();
    config.auth.key_files.clone_from(&FILES.1);
    config.auth.leeway_seconds = 0;
    config.auth.admin_organizations = vec![Token::default().org];
    config
}

/// What a token says.
#[derive(Clone, Debug)]
pub struct Token {
    pub user: String,
    pub org: String,
    pub privileges: Vec<String>,
    pub audience: String,
    /// In seconds from now.
    pub expires_in: f64,
}

/// `alice` of `acme`, who may do nothing, for an hour.
impl Default for Token {
    fn default() -> Self {
        Self {
            user: "alice".to_owned(),
            org: "acme".to_owned(),
            privileges: Vec::new(),
            audience: "holdpoint".to_owned(),
            expires_in: 3_600.0,
        }
    }
}

impl Token {
    /// For somebody who may do that.
    pub fn who_may<'a>(privileges: impl IntoIterator<Item = &'a str>) -> Self {
        Self { privileges: privileges.into_iter().map(str::to_owned).collect(), ..Self::default() }
    }

    fn claims(&self) -> Json {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        json!({
            "sub": self.user,
            "org": self.org,
            "privileges": self.privileges,
            "aud": self.audience,
            "exp": now.as_secs_f64() + self.expires_in,
        })
    }

    /// Signed by a key that is trusted.
    pub fn signed(&self) -> String {
        TRUSTED.sign(self)
    }

    /// Its holder.
    pub fn caller(&self) -> Caller {
        Caller::bearing(&self.signed())
    }

    /// Signed by nobody, and saying so.
    pub fn unsigned(&self) -> String {
        let part = |json: Json| URL_SAFE_NO_PAD.encode(json.to_string());
        format!("{}.{}.", part(json!({ "typ": "JWT", "alg": "none" })), part(self.claims()))
    }

    /// Signed with the text of a public key, as if that were a secret.
    pub fn confused(&self) -> String {
        let secret = EncodingKey::from_secret(TRUSTED_RSA.public_pem.as_bytes());
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &self.claims(), &secret).unwrap()
    }
}
