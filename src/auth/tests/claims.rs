//! What a token must say of its holder, and what becomes of it.

use expect_test::{Expect, expect};

use super::*;

/// What each of these claims, over those of a token that is good, comes to.
#[track_caller]
fn check(files: &Files, rows: &[Json], expected: Expect) {
    let tokens = files.tokens().unwrap();
    let mut table = String::new();
    for claims in rows {
        let outcome = line(caller(&tokens, &HMAC.token(json!({}), claims.clone())));
        table.push_str(&short(&format!("{claims}\n    {outcome}\n")));
    }
    expected.assert_eq(&table);
}

#[test]
fn a_holder_has_an_id_an_organization_and_groups() {
    let many = |count: usize| vec!["g"; count];
    let rows = [
        json!({}),
        json!({ "sub": "-" }),
        json!({ "sub": null }),
        json!({ "sub": 7 }),
        json!({ "sub": "" }),
        json!({ "sub": "x".repeat(256) }),
        json!({ "sub": "é".repeat(256) }),
        json!({ "sub": "x".repeat(257) }),
        json!({ "sub": "an\nn" }),
        json!({ "sub": "an\u{0}n" }),
        json!({ "sub": "an\u{1b}n" }),
        json!({ "org": "-" }),
        json!({ "org": null }),
        json!({ "org": "" }),
        json!({ "org": "é".repeat(64) }),
        json!({ "org": "x".repeat(65) }),
        json!({ "org": "ac\u{0}me" }),
        json!({ "org": "a/b c" }),
        json!({ "org": ["acme", "other"] }),
        json!({ "name": "Ann Lee" }),
        json!({ "name": "Ann\n\u{1b}Lee" }),
        json!({ "name": "x".repeat(300) }),
        json!({ "name": null }),
        json!({ "name": 7 }),
        json!({ "groups": ["day", "night shift"] }),
        json!({ "groups": [] }),
        json!({ "groups": ["x".repeat(64)] }),
        json!({ "groups": ["x".repeat(65)] }),
        json!({ "groups": ["day", ""] }),
        json!({ "groups": ["da\ty"] }),
        json!({ "groups": "day" }),
        json!({ "further": { "claims": [1, 2] }, "iat": 1.5 }),
        json!({ "further": { "claims": [1, 2] }, "jti": "abc" }),
    ];
    check(
        &all_keys(),
        &rows,
        expect![[r#"
            {}
                "ann" ("ann") of "acme" in [] may {}
            {"sub":"-"}
                ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
            {"sub":null}
                ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
            {"sub":7}
                ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
            {"sub":""}
                ! the bearer token has no `sub` of 1 to 256 characters
            {"sub":"x*256"}
                "x*256" ("x*256") of "acme" in [] may {}
            {"sub":"é*256"}
                "é*256" ("é*256") of "acme" in [] may {}
            {"sub":"x*257"}
                ! the bearer token has no `sub` of 1 to 256 characters
            {"sub":"an\nn"}
                ! the bearer token has no `sub` of 1 to 256 characters
            {"sub":"an\u0000n"}
                ! the bearer token has no `sub` of 1 to 256 characters
            {"sub":"an\u001bn"}
                ! the bearer token has no `sub` of 1 to 256 characters
            {"org":"-"}
                ! the bearer token has no `org` of 1 to 64 characters
            {"org":null}
                ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
            {"org":""}
                ! the bearer token has no `org` of 1 to 64 characters
            {"org":"é*64"}
                "ann" ("ann") of "é*64" in [] may {}
            {"org":"x*65"}
                ! the bearer token has no `org` of 1 to 64 characters
            {"org":"ac\u0000me"}
                ! the bearer token has no `org` of 1 to 64 characters
            {"org":"a/b c"}
                "ann" ("ann") of "a/b c" in [] may {}
            {"org":["acme","other"]}
                ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
            {"name":"Ann Lee"}
                "ann" ("Ann Lee") of "acme" in [] may {}
            {"name":"Ann\n\u001bLee"}
                "ann" ("AnnLee") of "acme" in [] may {}
            {"name":"x*300"}
                "ann" ("x*256") of "acme" in [] may {}
            {"name":null}
                "ann" ("ann") of "acme" in [] may {}
            {"name":7}
                ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
            {"groups":["day","night shift"]}
                "ann" ("ann") of "acme" in ["day", "night shift"] may {}
            {"groups":[]}
                "ann" ("ann") of "acme" in [] may {}
            {"groups":["x*64"]}
                "ann" ("ann") of "acme" in ["x*64"] may {}
            {"groups":["x*65"]}
                ! the bearer token has `groups` that are not up to 1,000 of 1 to 64 characters
            {"groups":["day",""]}
                ! the bearer token has `groups` that are not up to 1,000 of 1 to 64 characters
            {"groups":["da\ty"]}
                ! the bearer token has `groups` that are not up to 1,000 of 1 to 64 characters
            {"groups":"day"}
                ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
            {"further":{"claims":[1,2]},"iat":1.5}
                "ann" ("ann") of "acme" in [] may {}
            {"further":{"claims":[1,2]},"jti":"abc"}
                "ann" ("ann") of "acme" in [] may {}
        "#]],
    );

    let tokens = all_keys().tokens().unwrap();
    let of = |count| caller(&tokens, &HMAC.token(json!({}), json!({ "groups": many(count) })));
    assert_eq!(of(1_000).unwrap().groups.len(), 1_000);
    let too_many = Refusal::Invalid("has `groups` that are not up to 1,000 of 1 to 64 characters");
    assert_eq!(of(1_001), Err(too_many));
}

#[test]
fn a_holder_may_do_what_privileges_scope_and_roles_say() {
    let files = all_keys().with(|config| {
        let role = |privileges: &[&str]| privileges.iter().map(|&name| name.to_owned()).collect();
        config.roles.insert("operator".to_owned(), role(&["jobRead", "jobExecute"]));
        config.roles.insert("nobody".to_owned(), role(&[]));
    });
    let rows = [
        json!({ "privileges": ["jobRead", "taskRead"] }),
        json!({ "privileges": ["jobRead", "jobRead"] }),
        json!({ "privileges": ["fly", "jobRead", "JobDelete", " jobDelete", "all", "*"] }),
        json!({ "privileges": "jobRead" }),
        json!({ "privileges": [7] }),
        json!({ "scope": "openid jobRead  taskRead" }),
        json!({ "scope": "" }),
        json!({ "scope": "jobRead,taskRead" }),
        json!({ "scope": "jobRead\ttaskRead" }),
        json!({ "scope": ["jobRead"] }),
        json!({ "roles": ["operator"] }),
        json!({ "roles": ["Operator", "nobody", "admin", "jobDelete"] }),
        json!({ "roles": "operator" }),
        json!({ "privileges": ["taskRead"], "scope": "jobRead", "roles": ["operator"] }),
    ];
    check(
        &files,
        &rows,
        expect![[r#"
        {"privileges":["jobRead","taskRead"]}
            "ann" ("ann") of "acme" in [] may {JobRead, TaskRead}
        {"privileges":["jobRead","jobRead"]}
            "ann" ("ann") of "acme" in [] may {JobRead}
        {"privileges":["fly","jobRead","JobDelete"," jobDelete","all","*"]}
            "ann" ("ann") of "acme" in [] may {JobRead}
        {"privileges":"jobRead"}
            ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
        {"privileges":[7]}
            ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
        {"scope":"openid jobRead  taskRead"}
            "ann" ("ann") of "acme" in [] may {JobRead, TaskRead}
        {"scope":""}
            "ann" ("ann") of "acme" in [] may {}
        {"scope":"jobRead,taskRead"}
            "ann" ("ann") of "acme" in [] may {}
        {"scope":"jobRead\ttaskRead"}
            "ann" ("ann") of "acme" in [] may {}
        {"scope":["jobRead"]}
            ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
        {"roles":["operator"]}
            "ann" ("ann") of "acme" in [] may {JobRead, JobExecute}
        {"roles":["Operator","nobody","admin","jobDelete"]}
            "ann" ("ann") of "acme" in [] may {}
        {"roles":"operator"}
            ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
        {"privileges":["taskRead"],"roles":["operator"],"scope":"jobRead"}
            "ann" ("ann") of "acme" in [] may {JobRead, JobExecute, TaskRead}
    "#]],
    );
}

#[test]
fn a_role_stands_for_privileges_that_there_are() {
    let files = all_keys().with(|config| {
        config.roles.insert("pilot".to_owned(), vec!["jobRead".to_owned(), "fly".to_owned()]);
    });
    assert_eq!(files.refusal(), "auth.roles.pilot: there is no privilege \"fly\"");
}

#[test]
fn a_token_is_for_us_and_from_whom_we_believe() {
    let rows = [
        json!({ "aud": "holdpoint" }),
        json!({ "aud": "holdpoints" }),
        json!({ "aud": "Holdpoint" }),
        json!({ "aud": "" }),
        json!({ "aud": "-" }),
        json!({ "aud": null }),
        json!({ "aud": [] }),
        json!({ "aud": ["other", "holdpoint"] }),
        json!({ "aud": ["other", "second"] }),
        json!({ "aud": ["other"] }),
        json!({ "aud": 7 }),
        json!({ "iss": "https://issuer.example" }),
        json!({ "iss": "https://issuer.example/" }),
        json!({ "iss": ["https://issuer.example"] }),
        json!({ "iss": 7 }),
    ];
    check(
        &all_keys(),
        &rows,
        expect![[r#"
        {"aud":"holdpoint"}
            "ann" ("ann") of "acme" in [] may {}
        {"aud":"holdpoints"}
            ! the bearer token is meant for somebody else: its `aud` says so
        {"aud":"Holdpoint"}
            ! the bearer token is meant for somebody else: its `aud` says so
        {"aud":""}
            ! the bearer token is meant for somebody else: its `aud` says so
        {"aud":"-"}
            ! the bearer token has no `aud`
        {"aud":null}
            ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
        {"aud":[]}
            ! the bearer token is meant for somebody else: its `aud` says so
        {"aud":["other","holdpoint"]}
            "ann" ("ann") of "acme" in [] may {}
        {"aud":["other","second"]}
            ! the bearer token is meant for somebody else: its `aud` says so
        {"aud":["other"]}
            ! the bearer token is meant for somebody else: its `aud` says so
        {"aud":7}
            ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
        {"iss":"https://issuer.example"}
            "ann" ("ann") of "acme" in [] may {}
        {"iss":"https://issuer.example/"}
            "ann" ("ann") of "acme" in [] may {}
        {"iss":["https://issuer.example"]}
            ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
        {"iss":7}
            ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
    "#]],
    );
    let files = all_keys().with(|config| {
        config.audiences = vec!["holdpoint".to_owned(), "second".to_owned()];
        config.issuer = "https://issuer.example".to_owned();
    });
    let rows: Vec<_> =
        rows.iter().map(|row| over(json!({ "iss": "https://issuer.example" }), row.clone())).collect();
    let none = [json!({}), json!({ "iss": "" }), json!({ "iss": null })];
    check(
        &files,
        &[&rows[..], &none].concat(),
        expect![[r#"
        {"aud":"holdpoint","iss":"https://issuer.example"}
            "ann" ("ann") of "acme" in [] may {}
        {"aud":"holdpoints","iss":"https://issuer.example"}
            ! the bearer token is meant for somebody else: its `aud` says so
        {"aud":"Holdpoint","iss":"https://issuer.example"}
            ! the bearer token is meant for somebody else: its `aud` says so
        {"aud":"","iss":"https://issuer.example"}
            ! the bearer token is meant for somebody else: its `aud` says so
        {"iss":"https://issuer.example"}
            "ann" ("ann") of "acme" in [] may {}
        {"aud":null,"iss":"https://issuer.example"}
            ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
        {"aud":[],"iss":"https://issuer.example"}
            ! the bearer token is meant for somebody else: its `aud` says so
        {"aud":["other","holdpoint"],"iss":"https://issuer.example"}
            "ann" ("ann") of "acme" in [] may {}
        {"aud":["other","second"],"iss":"https://issuer.example"}
            "ann" ("ann") of "acme" in [] may {}
        {"aud":["other"],"iss":"https://issuer.example"}
            ! the bearer token is meant for somebody else: its `aud` says so
        {"aud":7,"iss":"https://issuer.example"}
            ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
        {"iss":"https://issuer.example"}
            "ann" ("ann") of "acme" in [] may {}
        {"iss":"https://issuer.example/"}
            ! the bearer token was issued by somebody else: its `iss` says so
        {"iss":["https://issuer.example"]}
            ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
        {"iss":7}
            ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
        {}
            ! the bearer token has no `iss`
        {"iss":""}
            ! the bearer token was issued by somebody else: its `iss` says so
        {"iss":null}
            ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
    "#]],
    );
}

#[test]
fn a_token_is_good_for_a_time() {
    let rows = [
        json!({ "exp": "-" }),
        json!({ "exp": null }),
        json!({ "exp": (NOW + 60).to_string() }),
        json!({ "exp": -1 }),
        json!({ "exp": 0 }),
        json!({ "exp": 1e300 }),
        json!({ "exp": 253_402_300_800_u64 }),
        json!({ "exp": 253_402_300_000_u64 }),
        json!({ "exp": NOW * 1000 }),
        json!({ "nbf": 0 }),
        json!({ "nbf": null }),
        json!({ "nbf": "soon" }),
        json!({ "nbf": 1e300 }),
        json!({ "nbf": NOW + 1, "exp": NOW - 1 }),
    ];
    check(
        &all_keys(),
        &rows,
        expect![[r#"
        {"exp":"-"}
            ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
        {"exp":null}
            ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
        {"exp":"1800000060"}
            ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
        {"exp":-1}
            ! the bearer token has no `exp`
        {"exp":0}
            ! Expired
        {"exp":1e+300}
            ! the bearer token has no `exp`
        {"exp":253402300800}
            ! the bearer token has an `exp` that is no time
        {"exp":253402300000}
            "ann" ("ann") of "acme" in [] may {}
        {"exp":180*11}
            ! the bearer token has an `exp` that is no time
        {"nbf":0}
            "ann" ("ann") of "acme" in [] may {}
        {"nbf":null}
            "ann" ("ann") of "acme" in [] may {}
        {"nbf":"soon"}
            ! the bearer token has claims that are not what they should be, or lacks `sub` or `exp`
        {"nbf":1e+300}
            ! the bearer token has an `nbf` that is no time
        {"exp":1799999999,"nbf":1800000001}
            "ann" ("ann") of "acme" in [] may {}
    "#]],
    );
}

/// From `nbf` on, and until before `exp`, each further away by the leeway.
#[test]
fn the_ends_of_its_time_are_exact() {
    let half = |seconds: i64| Timestamp { seconds, nanos: 500_000_000 };
    let before_half = |seconds: i64| Timestamp { seconds, nanos: 499_999_999 };
    for leeway in [0, 30] {
        let tokens = all_keys().with(|config| config.leeway_seconds = leeway).tokens().unwrap();
        let leeway = i64::try_from(leeway).unwrap();
        let whole = HMAC.token(json!({}), json!({ "nbf": NOW, "exp": NOW + 100 }));
        let broken = HMAC.token(json!({}), json!({ "nbf": 1_800_000_000.5, "exp": 1_800_000_100.5 }));
        let (begin, end) = (NOW - leeway, NOW + 100 + leeway);
        let last = Timestamp { seconds: end - 1, nanos: 999_999_999 };
        let rows = [
            (&whole, Timestamp { seconds: begin - 1, nanos: 999_999_999 }, "early"),
            (&whole, at(begin), "good"),
            (&whole, last, "good"),
            (&whole, at(end), "expired"),
            (&whole, at(end + 1), "expired"),
            (&broken, at(begin), "early"),
            (&broken, before_half(begin), "early"),
            (&broken, half(begin), "good"),
            (&broken, before_half(end), "good"),
            (&broken, half(end), "expired"),
        ];
        // The second time each token is remembered.
        for _ in 0..2 {
            for (token, now, expected) in &rows {
                let outcome = match tokens.caller(&bearer(token), now) {
                    Ok(_) => "good",
                    Err(Refusal::Expired) => "expired",
                    Err(Refusal::Invalid("is not good yet: its `nbf` lies ahead")) => "early",
                    Err(other) => panic!("{other}"),
                };
                assert_eq!(outcome, *expected, "{now:?} with a leeway of {leeway}");
            }
        }
    }
}
