//! Bearer tokens from headers of any kind.

use std::{env, fs, process, sync::LazyLock};

use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use prost_types::Timestamp;

use super::{
    Caller, Tokens,
    mint::{self, Wish},
};
use crate::config::AuthConfig;

const SECRET: &str = "a-secret-that-is-for-fuzzing-only-and-nothing-else";
const ISSUED: u64 = 1_750_000_000;
const NOW: Timestamp = Timestamp { seconds: 1_750_000_100, nanos: 0 };

/// The keys, a token that they signed, and who holds it.
struct Known {
    tokens: Tokens,
    good: String,
    holder: Caller,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let key = env::temp_dir().join(format!("holdpoint-fuzzing-{}.txt", process::id()));
    fs::write(&key, SECRET).expect("a temporary file can be written");
    let config = AuthConfig { key_files: vec![key.clone()], ..AuthConfig::default() };
    let tokens = Tokens::new(&config).expect("the key is good");
    let wish = Wish {
        sub: "ann".to_owned(),
        name: Some("Ann".to_owned()),
        org: "acme".to_owned(),
        groups: vec!["crew".to_owned()],
        privileges: vec!["jobRead".to_owned()],
        roles: Vec::new(),
        issuer: String::new(),
        audience: "holdpoint".to_owned(),
        key_id: None,
        issued: ISSUED,
        seconds: 3600,
    };
    let good = mint::mint(&key, wish).expect("the wish is good");
    let _ = fs::remove_file(&key);
    let holder = tokens.caller(&headers(format!("Bearer {good}").as_bytes()).expect("a token is text"), &NOW);
    Known { tokens, good, holder: holder.expect("the token is good") }
});

/// Who shows the one token there is, is its holder; everybody else is nobody.
///
/// # Panics
/// Where that does not hold.
pub fn bearer(bytes: &[u8]) {
    let known = &*KNOWN;
    let Some(headers) = headers(bytes) else { return };
    if let Ok(caller) = known.tokens.caller(&headers, &NOW) {
        let text = String::from_utf8_lossy(bytes);
        let token = text.split(' ').next_back().unwrap_or_default();
        assert_eq!(token, known.good, "nobody else has a token");
        assert_eq!(caller, known.holder);
    }
}

fn headers(authorization: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(authorization).ok()?;
    Some([(AUTHORIZATION, value)].into_iter().collect())
}
