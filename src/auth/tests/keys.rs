//! Which files have keys, and which key a token is checked by.

use base64::engine::general_purpose::STANDARD;
use expect_test::expect;

use super::{super::keys, *};

/// A key that is too short, in PEM.
const RSA_1024: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDshtr1oSe9YOUUjmnSyEEca0ph
cFIu+pelNLAKF1hDBTn8n3SIlbvE/ZIISZWofcEwxVIek2dzFpL6XAl90ScAaFvN
4sAswmW6xxzvgfcLyOOWcdho/FaSKx5/xPOFnwj29us1IvS6ruY5VNIE7DP5X3sS
LBqOd8waUjtEkNhBVQIDAQAB
-----END PUBLIC KEY-----
";

fn p384() -> KeyPair {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap()
}

/// The bytes in PEM.
fn der(pem: &str) -> Vec<u8> {
    STANDARD.decode(body(pem)).unwrap()
}

fn body(pem: &str) -> String {
    pem.lines().filter(|line| !line.starts_with('-')).collect()
}

fn utf16(text: &str) -> Vec<u8> {
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

#[test]
fn a_token_is_checked_by_the_key_of_its_algorithm() {
    let all = all_keys().tokens().unwrap();
    for key in [&*RSA, &P256, &ED25519, &HMAC] {
        let file = Files::new().key(&key.public).tokens().unwrap();
        let set = Files::new().set(set_of(&[key.jwk(json!({}))])).tokens().unwrap();
        for tokens in [&all, &file, &set] {
            let caller = caller(tokens, &key.good()).unwrap();
            assert_eq!((caller.user.as_str(), caller.org.as_str()), ("ann", "acme"), "{:?}", key.algorithm);
            assert_eq!(caller.expires, Some(at(NOW + 60 + 30)));
            let other = Key::of(key.algorithm);
            let is_other = key.algorithm != Algorithm::HS256;
            assert_eq!(super::caller(tokens, &other.good()).is_err(), is_other, "{:?}", key.algorithm);
        }
    }
}

#[test]
fn files_have_keys_in_several_ways() {
    let windows = P256.public.replace('\n', "\r\n");
    let remark = format!("The key of our issuer, which is public.\n\n{}", P256.public);
    let marked = format!("\u{feff}{}", P256.public);
    let rows: [(&str, &Key, String); 6] = [
        ("PEM with line ends of another kind", &P256, windows),
        ("PEM after a remark", &P256, remark),
        ("PEM after a byte order mark", &P256, marked),
        ("a secret in a line", &HMAC, format!("{SECRET}\n")),
        ("a secret in a line of another kind", &HMAC, format!("{SECRET}\r\n")),
        ("a secret in Base64", &Key::secret(&STANDARD.encode([0xa5; 32])), STANDARD.encode([0xa5; 32])),
    ];
    for (name, key, content) in rows {
        let tokens = Files::new().key(content).tokens().expect(name);
        assert!(caller(&tokens, &key.good()).is_ok(), "{name}");
    }
}

/// Whoever sees a refusal learns what to do. What is public must never be taken for a secret: everybody has it.
#[test]
fn files_that_have_no_key_are_refused() {
    let p384 = p384();
    let jwk = P256.jwk(json!({}));
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", "".into()),
        ("a secret of 31 bytes", SECRET[1..].into()),
        ("31 bytes and a line's end", format!("{}\n", &SECRET[1..]).into()),
        ("a private RSA key", RSA.private.clone().into()),
        ("a private P-256 key", P256.private.clone().into()),
        ("a private Ed25519 key", ED25519.private.clone().into()),
        ("a private key after a public one", format!("{}{}", P256.public, P256.private).into()),
        ("a private key of another form", P256.private.replace("PRIVATE", "EC PRIVATE").into()),
        ("a P-384 key", p384.public_key_pem().into()),
        ("an RSA key of 1024 bits", RSA_1024.into()),
        ("PEM of no key", "-----BEGIN SONG-----\nAAAA\n-----END SONG-----\n".into()),
        ("PEM cut short", P256.public[..60].into()),
        ("PEM in UTF-16", utf16(&P256.public)),
        ("DER", der(&P256.public)),
        ("DER of an RSA key", der(&RSA.public)),
        ("DER of an Ed25519 key", der(&ED25519.public)),
        ("Base64 of DER", body(&RSA.public).into()),
        ("Base64 of DER in a line", format!("{}\n", body(&ED25519.public)).into()),
        (
            "Base64 of DER in lines",
            P256.public
                .lines()
                .filter(|line| !line.starts_with('-'))
                .fold(Vec::new(), |lines, line| [lines, line.into(), b"\r\n".to_vec()].concat()),
        ),
        ("a JSON Web Key", jwk.to_string().into()),
        ("a JSON Web Key Set", set_of(std::slice::from_ref(&jwk)).into()),
        ("a JSON Web Key Set in UTF-16", utf16(&set_of(&[jwk]))),
        ("a key of OpenSSH", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPVYr0Wa8gVM ann@example.com\n".into()),
    ];
    let mut table = String::new();
    for (name, content) in rows {
        table.push_str(&format!("{name}\n    {}\n", Files::new().key(content).refusal()));
    }
    expect![[r#"
        nothing
            key-0: is neither PEM nor a secret: one line of printable ASCII, of 32 bytes or more
        a secret of 31 bytes
            key-0: is neither PEM nor a secret: one line of printable ASCII, of 32 bytes or more
        31 bytes and a line's end
            key-0: is neither PEM nor a secret: one line of printable ASCII, of 32 bytes or more
        a private RSA key
            key-0: has a private key: whoever checks tokens needs the public one, and should have no other
        a private P-256 key
            key-0: has a private key: whoever checks tokens needs the public one, and should have no other
        a private Ed25519 key
            key-0: has a private key: whoever checks tokens needs the public one, and should have no other
        a private key after a public one
            key-0: has a private key: whoever checks tokens needs the public one, and should have no other
        a private key of another form
            key-0: has a private key: whoever checks tokens needs the public one, and should have no other
        a P-384 key
            key-0: is a key on another curve than P-256
        an RSA key of 1024 bits
            key-0: is an RSA key of fewer than 2048 bits
        PEM of no key
            key-0: is not a public key in PEM: RSA, P-256 or Ed25519
        PEM cut short
            key-0: is not a public key in PEM: RSA, P-256 or Ed25519
        PEM in UTF-16
            key-0: is not a public key in PEM: RSA, P-256 or Ed25519
        DER
            key-0: has a key in another form than PEM: taken for a secret, everybody who has the public key could sign tokens. Convert it, or set auth.jwks_file where it is a JSON Web Key Set
        DER of an RSA key
            key-0: has a key in another form than PEM: taken for a secret, everybody who has the public key could sign tokens. Convert it, or set auth.jwks_file where it is a JSON Web Key Set
        DER of an Ed25519 key
            key-0: has a key in another form than PEM: taken for a secret, everybody who has the public key could sign tokens. Convert it, or set auth.jwks_file where it is a JSON Web Key Set
        Base64 of DER
            key-0: has a key in another form than PEM: taken for a secret, everybody who has the public key could sign tokens. Convert it, or set auth.jwks_file where it is a JSON Web Key Set
        Base64 of DER in a line
            key-0: has a key in another form than PEM: taken for a secret, everybody who has the public key could sign tokens. Convert it, or set auth.jwks_file where it is a JSON Web Key Set
        Base64 of DER in lines
            key-0: has a key in another form than PEM: taken for a secret, everybody who has the public key could sign tokens. Convert it, or set auth.jwks_file where it is a JSON Web Key Set
        a JSON Web Key
            key-0: has a key in another form than PEM: taken for a secret, everybody who has the public key could sign tokens. Convert it, or set auth.jwks_file where it is a JSON Web Key Set
        a JSON Web Key Set
            key-0: has a key in another form than PEM: taken for a secret, everybody who has the public key could sign tokens. Convert it, or set auth.jwks_file where it is a JSON Web Key Set
        a JSON Web Key Set in UTF-16
            key-0: has a key in another form than PEM: taken for a secret, everybody who has the public key could sign tokens. Convert it, or set auth.jwks_file where it is a JSON Web Key Set
        a key of OpenSSH
            key-0: has a key in another form than PEM: taken for a secret, everybody who has the public key could sign tokens. Convert it, or set auth.jwks_file where it is a JSON Web Key Set
    "#]].assert_eq(&table);

    let nowhere = Files::new().with(|config| config.key_files.push("no-such-file".into()));
    assert_eq!(nowhere.refusal(), "cannot read no-such-file");
    let nowhere = Files::new().with(|config| config.jwks_file = "no-such-file".into());
    assert_eq!(nowhere.refusal(), "cannot read no-such-file");
}

#[test]
fn key_sets_have_the_keys_that_are_for_us() {
    let p384 = {
        let key = EncodingKey::from_ec_pem(p384().serialize_pem().as_bytes()).unwrap();
        serde_json::to_value(Jwk::from_encoding_key(&key, Algorithm::ES384).unwrap()).unwrap()
    };
    let unnamed = json!({ "alg": "-" });
    let short = URL_SAFE_NO_PAD.encode(&SECRET[1..]);
    let rsa = RSA.jwk(unnamed.clone());
    let with = |further: Json| over(rsa.clone(), further);
    let rows: Vec<(&str, String)> = vec![
        ("one of each", {
            let keys = [&*RSA, &P256, &ED25519, &HMAC];
            set_of(&keys.map(|key| key.jwk(json!({ "kid": format!("the {:?} one", key.algorithm) }))))
        }),
        ("without `alg`", set_of(&[&*RSA, &P256, &ED25519, &HMAC].map(|key| key.jwk(unnamed.clone())))),
        ("for signatures", set_of(&[with(json!({ "use": "sig" }))])),
        ("for verifying", set_of(&[with(json!({ "key_ops": ["verify"] }))])),
        ("further members", set_of(&[with(json!({ "issuer": "somebody", "x5t": "abc" }))])),
        ("one of us among others", {
            let others = [
                json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "abc" }),
                json!({ "kty": "OKP", "crv": "X25519", "x": "abc" }),
                json!({ "kty": "RSA" }),
                json!("RSA"),
                p384.clone(),
            ];
            set_of(&[&others[..], std::slice::from_ref(&rsa)].concat())
        }),
        ("for encryption", set_of(&[with(json!({ "use": "enc" }))])),
        ("for wrapping keys", set_of(&[with(json!({ "key_ops": ["wrapKey"] }))])),
        ("another algorithm", set_of(&[with(json!({ "alg": "RS512" }))])),
        ("an algorithm of another kind", set_of(&[with(json!({ "alg": "HS256" }))])),
        ("an algorithm that nobody knows", set_of(&[with(json!({ "alg": "RS257" }))])),
        ("another curve", set_of(&[p384])),
        ("a short secret", set_of(&[json!({ "kty": "oct", "k": short })])),
        ("a short RSA key", set_of(&[with(json!({ "n": URL_SAFE_NO_PAD.encode([0xa5; 128]) }))])),
        ("a private key", set_of(&[with(json!({ "d": "abc" }))])),
        ("a private key of another kind", set_of(&[json!({ "kty": "AKP", "d": "abc" }), rsa.clone()])),
        ("no keys", set_of(&[])),
        ("one key and no set", rsa.to_string()),
        ("no list", json!({ "keys": rsa }).to_string()),
        ("no JSON", "keys".to_owned()),
        ("nothing", String::new()),
        ("PEM", P256.public.clone()),
        ("more than anybody has", set_of(&vec![P256.jwk(json!({})); 101])),
    ];
    let mut table = String::new();
    for (name, set) in rows {
        let files = Files::new().set(set);
        let found = match files.tokens() {
            Ok(_) => {
                let keys = keys::KeyFiles::read(&files.config).unwrap().keys().unwrap();
                let keys = keys.iter().map(|key| match &key.id {
                    Some(id) => format!("{:?} ({id})", key.algorithm),
                    None => format!("{:?}", key.algorithm),
                });
                keys.collect::<Vec<_>>().join(", ")
            }
            Err(_) => format!("! {}", files.refusal()),
        };
        table.push_str(&format!("{name:<32}{found}\n"));
    }
    expect![[r#"
        one of each                     RS256 (the RS256 one), ES256 (the ES256 one), EdDSA (the EdDSA one), HS256 (the HS256 one)
        without `alg`                   RS256, ES256, EdDSA, HS256
        for signatures                  RS256
        for verifying                   RS256
        further members                 RS256
        one of us among others          RS256
        for encryption                  ! set: has no key for RS256, ES256, EdDSA or HS256
        for wrapping keys               ! set: has no key for RS256, ES256, EdDSA or HS256
        another algorithm               ! set: has no key for RS256, ES256, EdDSA or HS256
        an algorithm of another kind    ! set: has no key for RS256, ES256, EdDSA or HS256
        an algorithm that nobody knows  ! set: has no key for RS256, ES256, EdDSA or HS256
        another curve                   ! set: has no key for RS256, ES256, EdDSA or HS256
        a short secret                  ! set: has no key for RS256, ES256, EdDSA or HS256
        a short RSA key                 ! set: has no key for RS256, ES256, EdDSA or HS256
        a private key                   ! set: has private keys: whoever checks tokens needs the public ones, and should have no others
        a private key of another kind   ! set: has private keys: whoever checks tokens needs the public ones, and should have no others
        no keys                         
        one key and no set              ! set: is not a JSON Web Key Set: it has no `keys`
        no list                         ! set: is not a JSON Web Key Set: it has no `keys`
        no JSON                         ! set: is not JSON: expected value at line 1 column 1
        nothing                         ! set: is not JSON: EOF while parsing a value at line 1 column 0
        PEM                             ! set: is not JSON: invalid number at line 1 column 2
        more than anybody has           ! set: has more than 100 keys
    "#]].assert_eq(&table);
}

/// By the key that the token names, where it names one and the key has a name; else by each of its algorithm.
#[test]
fn of_several_keys_the_named_one_is_asked() {
    let other = Key::of(Algorithm::EdDSA);
    let (one, two) = (&*ED25519, &other);
    let named =
        Files::new().set(set_of(&[one.jwk(json!({ "kid": "one" })), two.jwk(json!({ "kid": "two" }))]));
    let same =
        Files::new().set(set_of(&[one.jwk(json!({ "kid": "one" })), two.jwk(json!({ "kid": "one" }))]));
    let nameless = Files::new().key(&one.public).key(&two.public);
    let both = Files::new().key(&one.public).set(set_of(&[two.jwk(json!({ "kid": "two" }))]));
    let all = [("named", named), ("same name", same), ("nameless", nameless), ("both", both)];
    let all = all.map(|(name, files)| (name, files.tokens().unwrap()));
    let mut table = String::new();
    for kid in [json!("-"), json!("one"), json!("two"), json!("three"), json!(""), json!(1)] {
        for (signed_by, key) in [("one", one), ("two", two)] {
            let token = key.token(json!({ "kid": kid }), json!({}));
            let takers: Vec<_> = all
                .iter()
                .filter(|(_, tokens)| caller(tokens, &token).is_ok())
                .map(|(name, _)| *name)
                .collect();
            table.push_str(&format!("kid {kid}, signed by {signed_by}: {}\n", takers.join(", ")));
        }
    }
    expect![[r#"
        kid "-", signed by one: named, same name, nameless, both
        kid "-", signed by two: named, same name, nameless, both
        kid "one", signed by one: named, same name, nameless, both
        kid "one", signed by two: same name, nameless
        kid "two", signed by one: nameless, both
        kid "two", signed by two: named, nameless, both
        kid "three", signed by one: nameless, both
        kid "three", signed by two: nameless
        kid "", signed by one: nameless, both
        kid "", signed by two: nameless
        kid 1, signed by one: 
        kid 1, signed by two: 
    "#]]
    .assert_eq(&table);
}

#[test]
fn a_key_signs_only_if_it_is_private() {
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("RSA", RSA.private.clone().into()),
        ("P-256", P256.private.clone().into()),
        ("Ed25519", ED25519.private.clone().into()),
        ("a secret", SECRET.into()),
        ("a public RSA key", RSA.public.clone().into()),
        ("a public P-256 key", P256.public.clone().into()),
        ("a public Ed25519 key", ED25519.public.clone().into()),
        ("a P-256 key of another form", P256.private.replace("PRIVATE", "EC PRIVATE").into()),
        ("a short secret", SECRET[1..].into()),
        ("DER", der(&P256.private)),
    ];
    let files = Files::new();
    let mut table = String::new();
    for (name, content) in rows {
        let outcome = match keys::signing_key(&files.write("key", content)) {
            Ok((algorithm, _)) => format!("{algorithm:?}"),
            Err(error) => {
                format!("! {}", error.to_string().replace(files.directory.path().to_str().unwrap(), ""))
            }
        };
        table.push_str(&format!("{name:<28}{outcome}\n"));
    }
    expect![[r#"
        RSA                         RS256
        P-256                       ES256
        Ed25519                     EdDSA
        a secret                    HS256
        a public RSA key            ! /key: is not a private key in PEM (PKCS #8): RSA, P-256 or Ed25519
        a public P-256 key          ! /key: is not a private key in PEM (PKCS #8): RSA, P-256 or Ed25519
        a public Ed25519 key        ! /key: is not a private key in PEM (PKCS #8): RSA, P-256 or Ed25519
        a P-256 key of another form ! /key: is not a private key in PEM (PKCS #8): RSA, P-256 or Ed25519
        a short secret              ! /key: is neither PEM nor a secret: one line of printable ASCII, of 32 bytes or more
        DER                         ! /key: has a key in another form than PEM: taken for a secret, everybody who has the public key could sign tokens. Convert it, or set auth.jwks_file where it is a JSON Web Key Set
    "#]].assert_eq(&table);
}

#[test]
fn secrets_are_not_shown() {
    let tokens = Files::new().key(SECRET).tokens().unwrap();
    caller(&tokens, &HMAC.good()).unwrap();
    let shown = format!("{tokens:?}");
    let bytes = format!("{:?}", SECRET.as_bytes());
    assert!(!shown.contains(SECRET) && !shown.contains(bytes.trim_matches(['[', ']'])), "{shown}");
}
