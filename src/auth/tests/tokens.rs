//! How a token comes, how it is forged, and what becomes of those that were good.

use std::sync::Barrier;

use expect_test::expect;

use super::*;

/// Nobody gets in who was not given a token.
#[test]
fn forged_tokens_are_refused() {
    let tokens = all_keys().tokens().unwrap();
    let claims = good_claims();
    let good = ED25519.good();
    let parts: Vec<&str> = good.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("{good}") };
    let join = |parts: &[&str]| parts.join(".");
    let admin = encoded(&over(claims.clone(), json!({ "privileges": ["jobDelete"] })));
    let with = |header: Json| ED25519.token(header, json!({}));
    // Whoever has a public key can sign with its text.
    let confused = |key: &Key| Key::secret(&key.public).good();
    let der_of = |key: &Key| {
        let body: String = key.public.lines().filter(|line| !line.starts_with('-')).collect();
        let signing = EncodingKey::from_base64_secret(&body).unwrap();
        Key { signing, ..Key::secret("") }.good()
    };
    let alg_of = |key: &Key, alg: &str| key.token(json!({ "alg": alg }), json!({}));
    let p384 = {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        let signing = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        Key { algorithm: Algorithm::ES384, signing, ..Key::secret("") }
    };
    let own = Key::of(Algorithm::EdDSA);
    let rows: Vec<(&str, String)> = vec![
        ("a good one", good.clone()),
        ("no signature", join(&[header, payload, ""])),
        ("no signature and no dot", join(&[header, payload])),
        ("another's signature", join(&[header, payload, own.good().rsplit('.').next().unwrap()])),
        ("a signature cut short", good[..good.len() - 2].to_owned()),
        ("a signature and more", format!("{good}AAAA")),
        ("a signature of zeros", join(&[header, payload, &URL_SAFE_NO_PAD.encode([0; 64])])),
        ("padding", format!("{good}==")),
        ("a signature of the P-256 key", join(&[header, payload, P256.good().rsplit('.').next().unwrap()])),
        ("a P-256 signature of zeros", {
            let message = [encoded(&P256.header()), payload.to_owned()];
            join(&[&message[0], &message[1], &URL_SAFE_NO_PAD.encode([0; 64])])
        }),
        ("other claims", join(&[header, &admin, signature])),
        ("no claims", join(&[header, "", signature])),
        ("another header", join(&[&encoded(&json!({ "alg": "EdDSA" })), payload, signature])),
        ("claims that are no object", ED25519.sign(&ED25519.header(), &json!(["sub"]))),
        ("alg none, unsigned", join(&[&encoded(&json!({ "alg": "none" })), payload, ""])),
        ("alg None, unsigned", join(&[&encoded(&json!({ "alg": "None" })), payload, ""])),
        ("alg NONE, signed", alg_of(&ED25519, "NONE")),
        ("alg empty", alg_of(&ED25519, "")),
        ("no alg", alg_of(&ED25519, "-")),
        ("alg null", with(json!({ "alg": null }))),
        ("several algs", with(json!({ "alg": ["none", "EdDSA"] }))),
        ("alg twice", {
            let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","alg":"EdDSA"}"#);
            let message = format!("{header}.{payload}");
            format!("{message}.{}", crypto::sign(message.as_bytes(), &own.signing, own.algorithm).unwrap())
        }),
        ("HS256 by the RSA key's text", confused(&RSA)),
        ("HS256 by the P-256 key's text", confused(&P256)),
        ("HS256 by the Ed25519 key's text", confused(&ED25519)),
        ("HS256 by the RSA key's bytes", der_of(&RSA)),
        ("HS256 by nothing", Key::secret("").good()),
        ("RS256 said, HS256 meant", alg_of(&Key::secret(&RSA.public), "RS256")),
        ("HS256 said, RS256 meant", alg_of(&RSA, "HS256")),
        (
            "RS512",
            Key { algorithm: Algorithm::RS512, signing: RSA.signing.clone(), ..Key::secret("") }.good(),
        ),
        (
            "PS256",
            Key { algorithm: Algorithm::PS256, signing: RSA.signing.clone(), ..Key::secret("") }.good(),
        ),
        ("HS512", Key { algorithm: Algorithm::HS512, ..Key::secret(SECRET) }.good()),
        ("P-384", p384.good()),
        ("P-384 said to be P-256", alg_of(&p384, "ES256")),
        ("another RSA key", Key::of(Algorithm::RS256).good()),
        ("another P-256 key", Key::of(Algorithm::ES256).good()),
        ("another Ed25519 key", own.good()),
        ("another secret", Key::secret(&SECRET.to_uppercase()).good()),
        ("a key that it brings along", own.token(json!({ "jwk": own.jwk(json!({})) }), json!({}))),
        ("a key to fetch", own.token(json!({ "jku": "https://evil.example/keys" }), json!({}))),
        ("a kid that is a path", own.token(json!({ "kid": "../../dev/null" }), json!({}))),
        ("a logout token", with(json!({ "typ": "logout+jwt" }))),
        ("an ID token of a kind", with(json!({ "typ": "id+jwt" }))),
        ("DPoP", with(json!({ "typ": "dpop+jwt" }))),
        ("typ empty", with(json!({ "typ": "" }))),
        ("typ null", with(json!({ "typ": null }))),
        ("no typ", with(json!({ "typ": "-" }))),
        ("an access token", with(json!({ "typ": "at+jwt" }))),
        ("an access token by its long name", with(json!({ "typ": "application/at+JWT" }))),
        ("crit", with(json!({ "crit": ["exp"], "exp": 0 }))),
        ("crit of nothing", with(json!({ "crit": [] }))),
        ("crit that is no list", with(json!({ "crit": "b64" }))),
        ("a payload that is not encoded", with(json!({ "crit": ["b64"], "b64": false }))),
        ("no token", String::new()),
        ("a word", "token".to_owned()),
        ("dots", "..".to_owned()),
        ("more dots", format!("{good}.{signature}")),
        ("what is encrypted has", format!("{good}.{payload}.{signature}")),
        ("base64 of another kind", good.replace('.', "+.")),
    ];
    let mut table = String::new();
    for (name, token) in rows {
        let mut outcome = line(caller(&tokens, &token));
        if let Some(refusal) = outcome.strip_prefix("! the bearer token ") {
            outcome = format!("! {refusal}");
        }
        table.push_str(&format!("{name:<34}{outcome}\n"));
        let again = line(caller(&tokens, &token)).replace("! the bearer token ", "! ");
        assert_eq!(again, outcome, "{name}, again");
    }
    expect![[r#"
        a good one                        "ann" ("ann") of "acme" in [] may {}
        no signature                      ! was not signed by a key that is trusted here
        no signature and no dot           ! is not a JSON Web Token with an algorithm that is taken here
        another's signature               ! was not signed by a key that is trusted here
        a signature cut short             ! was not signed by a key that is trusted here
        a signature and more              ! was not signed by a key that is trusted here
        a signature of zeros              ! was not signed by a key that is trusted here
        padding                           ! was not signed by a key that is trusted here
        a signature of the P-256 key      ! was not signed by a key that is trusted here
        a P-256 signature of zeros        ! was not signed by a key that is trusted here
        other claims                      ! was not signed by a key that is trusted here
        no claims                         ! was not signed by a key that is trusted here
        another header                    ! was not signed by a key that is trusted here
        claims that are no object         ! has claims that are not what they should be, or lacks `sub` or `exp`
        alg none, unsigned                ! is not a JSON Web Token with an algorithm that is taken here
        alg None, unsigned                ! is not a JSON Web Token with an algorithm that is taken here
        alg NONE, signed                  ! is not a JSON Web Token with an algorithm that is taken here
        alg empty                         ! is not a JSON Web Token with an algorithm that is taken here
        no alg                            ! is not a JSON Web Token with an algorithm that is taken here
        alg null                          ! is not a JSON Web Token with an algorithm that is taken here
        several algs                      ! is not a JSON Web Token with an algorithm that is taken here
        alg twice                         ! is not a JSON Web Token with an algorithm that is taken here
        HS256 by the RSA key's text       ! was not signed by a key that is trusted here
        HS256 by the P-256 key's text     ! was not signed by a key that is trusted here
        HS256 by the Ed25519 key's text   ! was not signed by a key that is trusted here
        HS256 by the RSA key's bytes      ! was not signed by a key that is trusted here
        HS256 by nothing                  ! was not signed by a key that is trusted here
        RS256 said, HS256 meant           ! was not signed by a key that is trusted here
        HS256 said, RS256 meant           ! was not signed by a key that is trusted here
        RS512                             ! was not signed by a key that is trusted here
        PS256                             ! was not signed by a key that is trusted here
        HS512                             ! was not signed by a key that is trusted here
        P-384                             ! was not signed by a key that is trusted here
        P-384 said to be P-256            ! was not signed by a key that is trusted here
        another RSA key                   ! was not signed by a key that is trusted here
        another P-256 key                 ! was not signed by a key that is trusted here
        another Ed25519 key               ! was not signed by a key that is trusted here
        another secret                    ! was not signed by a key that is trusted here
        a key that it brings along        ! was not signed by a key that is trusted here
        a key to fetch                    ! was not signed by a key that is trusted here
        a kid that is a path              ! was not signed by a key that is trusted here
        a logout token                    ! is not an access token: its `typ` says so
        an ID token of a kind             ! is not an access token: its `typ` says so
        DPoP                              ! is not an access token: its `typ` says so
        typ empty                         ! is not an access token: its `typ` says so
        typ null                          "ann" ("ann") of "acme" in [] may {}
        no typ                            "ann" ("ann") of "acme" in [] may {}
        an access token                   "ann" ("ann") of "acme" in [] may {}
        an access token by its long name  "ann" ("ann") of "acme" in [] may {}
        crit                              ! has a `crit` header, which asks for what is not known here
        crit of nothing                   ! has a `crit` header, which asks for what is not known here
        crit that is no list              ! is not a JSON Web Token with an algorithm that is taken here
        a payload that is not encoded     ! has a `crit` header, which asks for what is not known here
        no token                          ! is not a JSON Web Token with an algorithm that is taken here
        a word                            ! is not a JSON Web Token with an algorithm that is taken here
        dots                              ! is not a JSON Web Token with an algorithm that is taken here
        more dots                         ! is not a JSON Web Token with an algorithm that is taken here
        what is encrypted has             ! is not a JSON Web Token with an algorithm that is taken here
        base64 of another kind            ! is not a JSON Web Token with an algorithm that is taken here
    "#]].assert_eq(&table);
}

#[test]
fn a_token_comes_in_one_way() {
    let tokens = all_keys().tokens().unwrap();
    let good = ED25519.good();
    let long = |bytes: usize| {
        let length = |padding: usize| HMAC.token(json!({}), json!({ "further": "x".repeat(padding) })).len();
        let padding = (0..bytes).rev().find(|padding| length(*padding) <= bytes).unwrap();
        HMAC.token(json!({}), json!({ "further": "x".repeat(padding) }))
    };
    let longest = long(8 << 10);
    assert!(longest.len() > (8 << 10) - 4);
    let rows: Vec<(&str, Vec<String>)> = vec![
        ("nothing", vec![]),
        ("Bearer", vec![format!("Bearer {good}")]),
        ("bearer", vec![format!("bearer {good}")]),
        ("BEARER", vec![format!("BEARER {good}")]),
        ("spaces", vec![format!("Bearer   {good} ")]),
        ("another scheme", vec!["Basic YW5uOmFubg==".to_owned()]),
        ("another scheme with a token", vec![format!("DPoP {good}")]),
        ("no scheme", vec![good.clone()]),
        ("a scheme alone", vec!["Bearer".to_owned()]),
        ("a scheme and a space", vec!["Bearer ".to_owned()]),
        ("a scheme and a tab", vec![format!("Bearer\t{good}")]),
        ("a colon", vec![format!("Bearer: {good}")]),
        ("empty", vec![String::new()]),
        ("not ASCII", vec![format!("Bearer {good}é")]),
        ("twice", vec![format!("Bearer {good}"), format!("Bearer {good}")]),
        ("another scheme too", vec![format!("Bearer {good}"), "Basic YW5uOmFubg==".to_owned()]),
        ("twice in one", vec![format!("Bearer {good}, Bearer {good}")]),
        ("8 KiB", vec![format!("Bearer {longest}")]),
        ("9 KiB", vec![format!("Bearer {}", long(9 << 10))]),
    ];
    let mut table = String::new();
    for (name, values) in rows {
        let mut headers = HeaderMap::new();
        // What development mode would take is not looked at.
        headers.insert("holdpoint-user", HeaderValue::from_static("bob"));
        headers.insert("holdpoint-org", HeaderValue::from_static("other"));
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let outcome = line(tokens.caller(&headers, &at(NOW)));
        table.push_str(&format!("{name:<28}{outcome}\n"));
    }
    expect![[r#"
        nothing                     ! Missing
        Bearer                      "ann" ("ann") of "acme" in [] may {}
        bearer                      "ann" ("ann") of "acme" in [] may {}
        BEARER                      "ann" ("ann") of "acme" in [] may {}
        spaces                      "ann" ("ann") of "acme" in [] may {}
        another scheme              ! Missing
        another scheme with a token ! Missing
        no scheme                   ! Missing
        a scheme alone              ! Missing
        a scheme and a space        ! the bearer token is not a JSON Web Token with an algorithm that is taken here
        a scheme and a tab          ! Missing
        a colon                     ! Missing
        empty                       ! Missing
        not ASCII                   ! Missing
        twice                       ! the bearer token must be given once
        another scheme too          ! the bearer token must be given once
        twice in one                ! the bearer token is not a JSON Web Token with an algorithm that is taken here
        8 KiB                       "ann" ("ann") of "acme" in [] may {}
        9 KiB                       ! the bearer token is longer than 8 KiB
    "#]].assert_eq(&table);
}

const UNTRUSTED: Refusal = Refusal::Invalid("was not signed by a key that is trusted here");

#[test]
fn replaced_keys_are_trusted_no_more() {
    let other = Key::of(Algorithm::EdDSA);
    let files = Files::new().key(&ED25519.public);
    let tokens = files.tokens().unwrap();
    assert!(caller(&tokens, &ED25519.good()).is_ok());
    assert_eq!(caller(&tokens, &other.good()), Err(UNTRUSTED));
    assert!(!tokens.refresh().unwrap(), "nothing has changed");
    assert!(caller(&tokens, &ED25519.good()).is_ok());

    files.write("key-0", &other.public);
    assert!(caller(&tokens, &ED25519.good()).is_ok(), "the file was not read again");
    assert!(tokens.refresh().unwrap());
    assert_eq!(caller(&tokens, &ED25519.good()), Err(UNTRUSTED), "it was remembered");
    assert!(caller(&tokens, &other.good()).is_ok());
    assert!(!tokens.refresh().unwrap());

    // A set that changes beside it, and a key that leaves the set.
    let members = [ED25519.jwk(json!({})), P256.jwk(json!({}))];
    let files = Files::new().key(&other.public).set(set_of(&members));
    let tokens = files.tokens().unwrap();
    for key in [&other, &*ED25519, &P256] {
        assert!(caller(&tokens, &key.good()).is_ok());
    }
    files.write("set", set_of(&members[1..]));
    assert!(tokens.refresh().unwrap());
    assert_eq!(caller(&tokens, &ED25519.good()), Err(UNTRUSTED));
    for key in [&other, &*P256] {
        assert!(caller(&tokens, &key.good()).is_ok());
    }
}

#[test]
fn an_empty_set_trusts_nobody() {
    let files = Files::new().set(set_of(&[P256.jwk(json!({}))]));
    let tokens = files.tokens().unwrap();
    let is_taken = || caller(&tokens, &P256.good()).is_ok();
    assert!(is_taken());
    files.write("set", set_of(&[]));
    assert!(tokens.refresh().unwrap());
    assert!(!is_taken());
}

#[test]
fn keys_that_cannot_be_read_change_nothing() {
    let files = Files::new().key(&ED25519.public).set(set_of(&[P256.jwk(json!({}))]));
    let tokens = files.tokens().unwrap();
    let rows: [(&str, &[u8]); 5] = [
        ("key-0", b""),
        ("key-0", &ED25519.public.as_bytes()[..40]),
        ("key-0", ED25519.private.as_bytes()),
        ("set", b"{\"keys\": ["),
        ("set", b"{\"keys\": [{\"kty\": \"oct\", \"k\": \"c2hvcnQ\"}]}"),
    ];
    let is_taken = |key: &Key| caller(&tokens, &key.token(json!({}), json!({ "sub": "new" }))).is_ok();
    for (name, content) in rows {
        let path = files.directory.path().join(name);
        let before = fs::read(&path).unwrap();
        files.write(name, content);
        assert!(tokens.refresh().is_err(), "{name}");
        fs::remove_file(&path).unwrap();
        assert!(tokens.refresh().is_err(), "{name}");
        assert!(is_taken(&ED25519) && is_taken(&P256), "{name}");
        // A further key is taken only together with the rest.
        files.write("key-0", &HMAC.public);
        if name == "set" {
            assert!(tokens.refresh().is_err());
            assert!(!is_taken(&HMAC));
        }
        files.write("key-0", &ED25519.public);
        files.write(name, before);
        assert!(!tokens.refresh().unwrap(), "they are those before");
    }
}

/// Whoever comes while keys change is found out by those before or by those after, and is not remembered by the wrong
/// ones.
#[test]
fn keys_change_while_callers_come() {
    const CALLERS: usize = 4;
    let other = Key::of(Algorithm::EdDSA);
    let files = Files::new().key(&ED25519.public);
    let tokens = files.tokens().unwrap();
    let barrier = Barrier::new(CALLERS + 1);
    std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..200 {
                    let outcome = caller(&tokens, &ED25519.good());
                    assert!(outcome.is_ok() || outcome == Err(UNTRUSTED));
                }
            });
        }
        barrier.wait();
        for turn in 0..20 {
            let key = if turn % 2 == 0 { &other } else { &*ED25519 };
            files.write("key-0", &key.public);
            assert!(tokens.refresh().unwrap());
        }
        files.write("key-0", &other.public);
        tokens.refresh().unwrap();
    });
    assert_eq!(caller(&tokens, &ED25519.good()), Err(UNTRUSTED));
    assert!(caller(&tokens, &other.good()).is_ok());
}

/// More tokens than are remembered: those before are checked again, and nobody is taken for another.
#[test]
fn what_is_remembered_is_bounded() {
    let tokens = all_keys().tokens().unwrap();
    let of = |user: usize| HMAC.token(json!({}), json!({ "sub": user.to_string() }));
    for user in 0..10_100 {
        assert_eq!(caller(&tokens, &of(user)).unwrap().user, user.to_string());
    }
    assert!(tokens.remembered() <= 10_000);
    assert_eq!(caller(&tokens, &of(0)).unwrap().user, "0");
}
