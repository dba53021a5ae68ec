//! What is accepted, and what follows from it.

use std::time::Duration;

use super::*;

#[test]
fn every_algorithm_with_every_way_to_name_the_key() {
    let dir = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::new(SECRET);
    let auth = auth_of(&issuer, dir.path());
    for kind in Kind::ALL {
        let (alg, kid) = kind.names();
        for header in [
            json!({"alg": alg, "kid": kid}),
            json!({"alg": alg}),
            json!({"alg": alg, "typ": "jwt"}),
            json!({"alg": alg, "typ": "at+JWT", "kid": kid, "x5t": "abc", "unknown": {"a": [1]}}),
        ] {
            let token = issuer.sign(kind, header.to_string(), claims().to_string());
            let accepted =
                verify(&auth, &token).unwrap_or_else(|fault| panic!("{header}: {fault:?}"));
            assert_eq!(accepted.id.as_deref(), Some("1"));
            let channels: Vec<&str> = accepted.grant.channels.iter().map(|c| &**c).collect();
            assert_eq!(channels, ["BTC.>", "ETH.trade"]);
        }
    }
    assert_eq!((auth.stats().accepted, auth.stats().keys), (16, 4));
    assert_eq!(auth.stats().failures.iter().sum::<u64>(), 0);
}

#[test]
fn claims_at_the_edge_of_what_is_accepted() {
    let dir = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::new(SECRET);
    let auth = auth_of(&issuer, dir.path());
    let many: Vec<String> = (0..256).map(|n| format!("c{n}")).collect();
    for (name, value) in [
        ("aud", json!(["else", AUDIENCE])),
        ("nbf", Value::Null),
        ("iat", Value::Null),
        // A clock that is a little behind, and one that is a little ahead.
        ("nbf", json!(now() + LEEWAY)),
        ("exp", json!(now() - LEEWAY + 2)),
        ("exp", json!(253_402_300_799_u64)),
        ("channels", json!([])),
        ("channels", json!([">"])),
        ("channels", json!(many)),
        ("more", json!({"sub": {"sub": 1.5}})),
        ("sub", json!("é\u{0}\"")),
    ] {
        let token = issuer.token(Kind::EdDsa, &with(name, value.clone()));
        assert!(verify(&auth, &token).is_ok(), "{name} {value}");
    }
}

#[test]
fn a_grant_ends_when_the_token_does_on_the_servers_own_clock() {
    let dir = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::new(SECRET);
    let auth = auth_of(&issuer, dir.path());
    let exp = now() + 100;
    let token = issuer.token(Kind::Es256, &with("exp", json!(exp)));
    let unix = Duration::from_millis(exp * 1000 - 60_250);
    let accepted = auth.verify_at(&token, Instant::from_millis(7_000), unix);
    let grant = accepted.expect("it is valid").grant;
    assert_eq!(grant.expires_unix, exp);
    assert_eq!(
        grant.expires_at,
        Instant::from_millis(7_000 + 60_250 + LEEWAY * 1000)
    );
    let edge = Duration::from_secs(exp + LEEWAY);
    let at = |unix| auth.verify_at(&token, Instant::ZERO, unix).map(|_| ());
    assert_eq!(at(edge - Duration::from_nanos(1)), Ok(()));
    assert_eq!(at(edge), Err(TokenFault::Expired));
}

#[test]
fn a_subject_is_who_it_is_for_its_issuer() {
    let dir = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::new(SECRET);
    let keys = write(dir.path(), "keys.json", issuer.key_set().to_string());
    let auth = || {
        auth(&["--auth-keys", &keys])
            .expect("keys")
            .expect("it is on")
    };
    let one = auth();
    let subject = |auth: &Auth, iss: Value, sub: &str| {
        let mut claims = with("aud", Value::Null);
        claims["sub"] = json!(sub);
        claims["iss"] = iss;
        let token = issuer.token(Kind::Hs256, &claims);
        verify(auth, &token).expect("it is valid").grant.subject
    };
    let alice = subject(&one, json!("a"), "alice");
    assert_eq!(subject(&one, json!("a"), "alice"), alice);
    assert_ne!(subject(&one, json!("b"), "alice"), alice);
    assert_ne!(subject(&one, json!("a"), "bob"), alice);
    // No text that moves from one to the other makes them the same.
    assert_ne!(subject(&one, json!("aa"), "lice"), alice);
    assert_ne!(subject(&one, json!("a\u{0}"), "alice"), alice);
    // What is recorded of a subject means nothing elsewhere.
    assert_ne!(subject(&auth(), json!("a"), "alice"), alice);
}

#[test]
fn without_rules_about_them_issuer_and_audience_are_free_but_for_a_named_audience() {
    let dir = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::new(SECRET);
    let keys = write(dir.path(), "keys.json", issuer.key_set().to_string());
    let auth = auth(&[
        "--auth-keys",
        &keys,
        "--auth-claim",
        "https://x.example/odin",
    ]);
    let auth = auth.expect("keys").expect("it is on");
    let mut claims = json!({"sub": "a", "exp": now() + 60, "https://x.example/odin": ["A"]});
    let outcome = |claims: &Value| verify(&auth, &issuer.token(Kind::Rs256, claims)).map(|_| ());
    assert_eq!(outcome(&claims), Ok(()));
    claims["aud"] = json!("somebody");
    assert_eq!(outcome(&claims), Err(TokenFault::Audience));
    claims["aud"] = Value::Null;
    assert_eq!(outcome(&claims), Err(TokenFault::Claims));
}
