//! Servers that take bearer tokens, and callers who have some.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use holdpoint::config::Config;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;
use tempfile::TempDir;
use tonic::{
    Request, Status,
    metadata::AsciiMetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use super::harness::{PATIENCE, config, within};

const SECRET: &str = "a secret of the tests, longer than 32 bytes";

/// The time by this machine's clock, which is the server's too, in seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// A key by which tokens are signed, in a file.
pub struct Key {
    pub file: PathBuf,
    _directory: TempDir,
}

impl Key {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        fs::write(&file, SECRET).unwrap();
        Self { file, _directory: directory }
    }

    /// A configuration of a server that trusts the key.
    pub fn config(&self, leeway_seconds: u64) -> Config {
        let mut config = config();
        config.auth.key_files = vec![self.file.clone()];
        config.auth.leeway_seconds = leeway_seconds;
        config
    }
}

/// A token of a user of `acme` who may do this, until then.
pub fn token(user: &str, privileges: &[&str], expires: f64) -> String {
    let claims =
        json!({"sub": user, "org": "acme", "aud": "holdpoint", "privileges": privileges, "exp": expires});
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// A token of a user of `acme` who may sync, make, change and read jobs, until then.
pub fn token_of(user: &str, expires: f64) -> String {
    token(user, &["jobRead", "jobCreate", "jobUpdate", "jobExecute", "workflowExecute"], expires)
}

/// Sends a token with every call; where there is none, nothing.
#[derive(Clone, Debug)]
pub struct Bearer(Option<AsciiMetadataValue>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

pub type Transport = InterceptedService<Channel, Bearer>;

/// A connection of its own, for who has a token, or none.
pub async fn connect(address: SocketAddr, token: Option<&str>) -> Transport {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap().timeout(PATIENCE);
    let channel = within(endpoint.connect()).await.unwrap();
    let bearer = token.map(|token| format!("Bearer {token}").parse().unwrap());
    InterceptedService::new(channel, Bearer(bearer))
}
