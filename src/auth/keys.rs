//! The keys that tokens are signed by, and the one algorithm of each.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde_json::Value as Json;

use crate::config::AuthConfig;

/// The shortest secret, in bytes: RFC 7518 asks for as many as the hash has.
const SECRET_BYTES_MIN: usize = 32;
/// The shortest RSA modulus, in bytes. Nothing is verified by a shorter one.
const RSA_BYTES_MIN: usize = 256;
/// A P-256 point: a byte that says so, and two coordinates.
const P256_BYTES: usize = 65;
/// More keys than anybody has at once; each may be tried for a token.
const KEYS_MAX: usize = 100;

/// Why a file has no keys for us.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// What is in it is of no use.
    #[error("{}: {what}", .file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// A key, and the one algorithm that it is for.
#[derive(Debug)]
pub(super) struct Key {
    /// What tokens call it; `None`: nothing.
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) decoding: DecodingKey,
}

/// The files that keys are in, as they were last read.
#[derive(PartialEq, Eq)]
pub(super) struct KeyFiles {
    /// Each with its content.
    single: Vec<(PathBuf, Vec<u8>)>,
    set: Option<(PathBuf, Vec<u8>)>,
}

/// Less what is in them.
impl fmt::Debug for KeyFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths = self.single.iter().chain(&self.set).map(|(path, _)| path);
        f.debug_tuple("KeyFiles").field(&paths.collect::<Vec<_>>()).finish()
    }
}

impl KeyFiles {
    pub(super) fn read(config: &AuthConfig) -> Result<Self, KeyError> {
        let read = |path: &PathBuf| match fs::read(path) {
            Ok(content) => Ok((path.clone(), content)),
            Err(error) => Err(KeyError::Read(path.clone(), error)),
        };
        let single = config.key_files.iter().map(read).collect::<Result<_, _>>()?;
        let set = Some(&config.jwks_file).filter(|path| !path.as_os_str().is_empty());
        Ok(Self { single, set: set.map(read).transpose()? })
    }

    /// The keys that are in the files.
    pub(super) fn keys(&self) -> Result<Vec<Key>, KeyError> {
        let mut keys = Vec::new();
        for (path, content) in &self.single {
            keys.push(of_file(content).map_err(|what| unusable(path, what))?);
        }
        if let Some((path, content)) = &self.set {
            keys.extend(of_set(content).map_err(|what| unusable(path, what))?);
            if keys.len() > KEYS_MAX {
                return Err(unusable(path, format!("has more than {KEYS_MAX} keys")));
            }
        }
        Ok(keys)
    }
}

fn unusable(path: &Path, what: String) -> KeyError {
    KeyError::Unusable { file: path.to_owned(), what }
}

/// A key that tokens are checked by.
fn of_file(content: &[u8]) -> Result<Key, String> {
    if !is_pem(content) {
        let decoding = DecodingKey::from_secret(secret(content)?);
        return Ok(Key { id: None, algorithm: Algorithm::HS256, decoding });
    }
    if is_private(content) {
        return Err(
            "has a private key: whoever checks tokens needs the public one, and should have no other".into(),
        );
    }
    let candidates = [DecodingKey::from_ed_pem, DecodingKey::from_ec_pem, DecodingKey::from_rsa_pem];
    let decoding = candidates.iter().find_map(|read| read(content).ok());
    let decoding = decoding.ok_or("is not a public key in PEM: RSA, P-256 or Ed25519")?;
    let algorithm = algorithm_of(decoding.family());
    let is_p256 = || decoding.try_get_as_bytes().is_ok_and(|point| point.len() == P256_BYTES);
    if algorithm == Algorithm::ES256 && !is_p256() {
        return Err("is a key on another curve than P-256".into());
    }
    if is_short_rsa(&decoding) {
        return Err(format!("is an RSA key of fewer than {} bits", RSA_BYTES_MIN * 8));
    }
    Ok(Key { id: None, algorithm, decoding })
}

/// A key that tokens are signed with.
pub(super) fn signing_key(path: &Path) -> Result<(Algorithm, EncodingKey), KeyError> {
    let content = fs::read(path).map_err(|error| KeyError::Read(path.to_owned(), error))?;
    if !is_pem(&content) {
        let secret = secret(&content).map_err(|what| unusable(path, what))?;
        return Ok((Algorithm::HS256, EncodingKey::from_secret(secret)));
    }
    let candidates = [
        (Algorithm::EdDSA, EncodingKey::from_ed_pem(&content)),
        (Algorithm::ES256, EncodingKey::from_ec_pem(&content)),
        (Algorithm::RS256, EncodingKey::from_rsa_pem(&content)),
    ];
    let found = candidates.into_iter().find_map(|(algorithm, key)| Some((algorithm, key.ok()?)));
    let what = "is not a private key in PEM (PKCS #8): RSA, P-256 or Ed25519";
    found.filter(|_| is_private(&content)).ok_or_else(|| unusable(path, what.to_owned()))
}

/// The secret in a file, less the end of its line.
fn secret(content: &[u8]) -> Result<&[u8], String> {
    if is_key_of_another_form(content) {
        return Err(
            "has a key in another form than PEM: taken for a secret, everybody who has the public key could \
                    sign tokens. Convert it, or set auth.jwks_file where it is a JSON Web Key Set"
                .into(),
        );
    }
    let secret = content.strip_suffix(b"\n").unwrap_or(content);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    let is_line = secret.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if secret.len() < SECRET_BYTES_MIN || !is_line {
        let what = "is neither PEM nor a secret: one line of printable ASCII, of";
        return Err(format!("{what} {SECRET_BYTES_MIN} bytes or more"));
    }
    Ok(secret)
}

/// Whether there is PEM anywhere: what stands before it may be a remark, or the mark of an encoding.
fn is_pem(content: &[u8]) -> bool {
    has(content, "-----BEGIN ")
}

fn is_private(content: &[u8]) -> bool {
    has(content, "PRIVATE KEY")
}

/// Whether it looks like a key that is no secret, but DER, bare or in Base64, a JSON Web Key, or OpenSSH's. Public keys
/// are known to everybody, and must never be taken for secrets.
fn is_key_of_another_form(content: &[u8]) -> bool {
    let in_base64: Vec<u8> = content.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let marks = ["\"kty\"", "ssh-rsa ", "ssh-ed25519 ", "ecdsa-sha2-", "---- BEGIN SSH2 "];
    is_der(content)
        || STANDARD.decode(in_base64).is_ok_and(|content| is_der(&content))
        || marks.iter().any(|mark| has(content, mark))
}

/// Whether it is one DER sequence that begins as those of keys and of certificates do: with another, or with a number.
fn is_der(content: &[u8]) -> bool {
    let (bytes, inner) = match content {
        [0x30, 0x82, high, low, inner @ ..] => (u16::from_be_bytes([*high, *low]), inner),
        [0x30, 0x81, bytes, inner @ ..] | [0x30, bytes @ ..=0x7f, inner @ ..] => (u16::from(*bytes), inner),
        _ => return false,
    };
    inner.len() == usize::from(bytes) && matches!(inner, [0x30 | 0x02, ..])
}

/// Whether a text is there, in UTF-16 too.
fn has(content: &[u8], text: &str) -> bool {
    let content: Vec<u8> = content.iter().copied().filter(|byte| *byte != 0).collect();
    content.windows(text.len()).any(|window| window == text.as_bytes())
}

/// The keys of a JSON Web Key Set. Those for other uses and of other kinds are passed over.
fn of_set(content: &[u8]) -> Result<Vec<Key>, String> {
    let set: Json = serde_json::from_slice(content).map_err(|error| format!("is not JSON: {error}"))?;
    let Some(members) = set.get("keys").and_then(Json::as_array) else {
        return Err("is not a JSON Web Key Set: it has no `keys`".into());
    };
    if members.iter().any(|member| member.get("d").is_some()) {
        return Err(
            "has private keys: whoever checks tokens needs the public ones, and should have no others".into(),
        );
    }
    let keys: Vec<Key> = members.iter().filter_map(of_member).collect();
    // An empty set is one: it trusts nobody.
    if keys.is_empty() && !members.is_empty() {
        return Err("has no key for RS256, ES256, EdDSA or HS256".into());
    }
    Ok(keys)
}

fn of_member(member: &Json) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(member.clone()).ok()?;
    if jwk.common.public_key_use.as_ref().is_some_and(|of| *of != PublicKeyUse::Signature) {
        return None;
    }
    if jwk.common.key_operations.as_ref().is_some_and(|of| !of.contains(&KeyOperations::Verify)) {
        return None;
    }
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(_) => (Algorithm::EdDSA, KeyAlgorithm::EdDSA),
        AlgorithmParameters::OctetKey(_) => (Algorithm::HS256, KeyAlgorithm::HS256),
        _ => return None,
    };
    if jwk.common.key_algorithm.is_some_and(|of| of != named) {
        return None;
    }
    let decoding = DecodingKey::from_jwk(&jwk).ok()?;
    let is_long_enough = decoding.try_get_as_bytes().is_ok_and(|secret| secret.len() >= SECRET_BYTES_MIN);
    if (algorithm == Algorithm::HS256 && !is_long_enough) || is_short_rsa(&decoding) {
        return None;
    }
    Some(Key { id: jwk.common.key_id, algorithm, decoding })
}

fn is_short_rsa(key: &DecodingKey) -> bool {
    let bytes = match key.kind() {
        // The modulus, and little else.
        DecodingKeyKind::SecretOrDer(der) => der.len(),
        DecodingKeyKind::RsaModulusExponent { n, .. } => n.len(),
    };
    key.family() == AlgorithmFamily::Rsa && bytes < RSA_BYTES_MIN
}

fn algorithm_of(family: AlgorithmFamily) -> Algorithm {
    match family {
        AlgorithmFamily::Hmac => Algorithm::HS256,
        AlgorithmFamily::Rsa => Algorithm::RS256,
        AlgorithmFamily::Ec => Algorithm::ES256,
        AlgorithmFamily::Ed => Algorithm::EdDSA,
    }
}
