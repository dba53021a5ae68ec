//! The files of keys: which are taken, what is said of the others, and reading them again.

use std::sync::Arc;

use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::reload::Reload;

/// Public keys as X.509 has them: what stands before the bytes of a P-256 point and an Ed25519 key.
const EC_PREFIX: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
const ED_PREFIX: &str = "302a300506032b6570032100";

fn pem(prefix: &str, key: &[u8]) -> String {
    let digits = prefix
        .as_bytes()
        .chunks(2)
        .map(|two| std::str::from_utf8(two).expect("ASCII"));
    let mut der: Vec<u8> = digits
        .map(|two| u8::from_str_radix(two, 16).expect("hex"))
        .collect();
    der.extend(key);
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(der)
    )
}

#[test]
fn keys_that_stand_alone_verify_whatever_the_token_calls_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::new(SECRET);
    let both = pem(EC_PREFIX, issuer.ec.public_key().as_ref()) + RSA_PUBLIC_PEM;
    let both = write(dir.path(), "both.pem", both);
    let ed = write(
        dir.path(),
        "ed.pem",
        pem(ED_PREFIX, issuer.ed.public_key().as_ref()),
    );
    let secret = write(dir.path(), "secret", [SECRET, b"\r\n"].concat());
    let keys = format!("{both},{ed}");
    let auth = auth(&["--auth-keys", &keys, "--auth-secret-file", &secret]);
    let auth = auth.expect("keys").expect("it is on");
    assert_eq!(auth.stats().keys, 4);
    let claims = with("aud", Value::Null);
    for kind in Kind::ALL {
        assert!(
            verify(&auth, &issuer.token(kind, &claims)).is_ok(),
            "{kind:?}"
        );
    }
    // The public key as a shared secret, as PEM and as what is in it.
    for secret in [RSA_PUBLIC_PEM.as_bytes(), RSA_PUBLIC_PEM.trim().as_bytes()] {
        let forger = Issuer::new(secret);
        let token = forger.token(Kind::Hs256, &claims);
        assert_eq!(
            verify(&auth, &token).map(|_| ()),
            Err(TokenFault::Signature)
        );
    }
}

#[test]
fn a_token_is_tried_with_four_keys_and_must_name_one_of_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::new(SECRET);
    let mut key = issuer.key_set()["keys"][2].clone();
    let claims = with("aud", Value::Null).to_string();
    let nameless = issuer.sign(Kind::EdDsa, r#"{"alg":"EdDSA"}"#, &claims);
    let named = issuer.sign(Kind::EdDsa, r#"{"alg":"EdDSA","kid":"last"}"#, &claims);
    for (count, expected) in [(4, None), (5, Some(TokenFault::UnknownKey))] {
        let mut keys = Vec::new();
        for at in 1..count {
            let other = Issuer::new(SECRET).key_set();
            keys.push(other["keys"][2].clone());
            keys[at - 1]["kid"] = json!(format!("k{at}"));
        }
        key["kid"] = json!("last");
        keys.push(key.clone());
        let path = write(dir.path(), "keys", json!({ "keys": keys }).to_string());
        let auth = auth(&["--auth-keys", &path])
            .expect("keys")
            .expect("it is on");
        assert_eq!(verify(&auth, &nameless).err(), expected, "{count}");
        assert_eq!(verify(&auth, &named).err(), None, "{count}");
    }
}

#[test]
fn every_bad_file_is_refused_without_a_word_of_what_is_in_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::new(SECRET);
    let set = |key: Value| json!({"keys": [key]}).to_string();
    let mut cases = vec![
        (
            "nothing".to_owned(),
            "it has no key that tokens can be verified with",
        ),
        (
            String::new(),
            "it has no key that tokens can be verified with",
        ),
        (
            RSA_PEM.to_owned(),
            "it has a private key, which belongs to the issuer alone",
        ),
        (pem(ED_PREFIX, &[7; 31]), "a public key in it is damaged"),
        (pem(EC_PREFIX, &[4; 64]), "a public key in it is damaged"),
        (
            // X25519 is for agreement and not for signatures.
            pem("302a300506032b656e032100", &[7; 32]),
            "a public key in it is neither RSA nor P-256 nor Ed25519",
        ),
        (
            pem("305c300d06092a864886f70d0101010500034b00", &[0; 74]),
            "an RSA key in it has less than 2048 bits",
        ),
        (
            "{\"keys\": [\nhunter2]}".to_owned(),
            "line 2: it is not JSON",
        ),
        (
            r#"{"key": []}"#.to_owned(),
            "it is no key set: it has no list of keys",
        ),
        (
            r#"{"keys": []}"#.to_owned(),
            "it has no key that tokens can be verified with",
        ),
        (
            set(json!({"kty": "OKP", "crv": "Ed25519", "x": "hunter2!"})),
            "key 0: x is not in base64url",
        ),
        (
            set(json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"})),
            "key 0: it has less than 2048 bits",
        ),
        (
            set(json!({"kty": "RSA", "e": "AQAB"})),
            "key 0: n is missing",
        ),
        (
            set(json!({"kty": "oct", "k": base64url("hunter2")})),
            "key 0: a secret has at least 32 bytes",
        ),
        (
            set(
                json!({"kty": "EC", "crv": "P-256", "x": base64url([1; 32]), "y": "AA", "d": "AA"}),
            ),
            "key 0: it is a private key, which belongs to the issuer alone",
        ),
        (
            set(json!({"kty": "EC", "crv": "P-256", "x": base64url([1; 32]), "y": "AA"})),
            "key 0: its coordinates do not have 32 bytes each",
        ),
        (
            set(json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"})),
            "key 0: it does not have 32 bytes",
        ),
    ];
    let many = vec![issuer.key_set()["keys"][2].clone(); 65];
    cases.push((
        json!({ "keys": many }).to_string(),
        "there are 65 keys, and at most 64 may be",
    ));
    let large = " ".repeat(1024 * 1024 + 1);
    cases.push((large, "it is larger than 1048576 bytes"));
    for (text, expected) in cases {
        let path = write(dir.path(), "keys", &text);
        let error = auth(&["--auth-keys", &path]).expect_err(expected);
        let named = error.strip_prefix(&format!("{path}: ")).unwrap_or(&error);
        assert_eq!(named, expected, "{text}");
    }
    let short = write(dir.path(), "secret", "hunter2");
    let error = auth(&["--auth-secret-file", &short]).expect_err("too short");
    assert_eq!(error, format!("{short}: a secret has at least 32 bytes"));
    let nothing = dir.path().join("nothing").display().to_string();
    let error = auth(&["--auth-keys", &nothing]).expect_err("no file");
    assert!(
        error.starts_with(&format!("{nothing}: it cannot be read: ")),
        "{error}"
    );
}

#[test]
fn rules_without_keys_are_refused() {
    for flag in [
        "--auth-issuer",
        "--auth-audience",
        "--auth-claim",
        "--auth-revoked",
    ] {
        let error = auth(&[flag, "x"]).expect_err("no key");
        let expected = "without a key nobody is asked for a token; give one of the last two";
        assert!(error.ends_with(expected), "{error}");
    }
    assert!(auth(&[]).expect("nothing is wrong").is_none());
}

/// Whatever id a token may have where tokens can be revoked, its line revokes it, wherever that stands.
#[test]
fn every_id_that_is_accepted_can_be_revoked() {
    let dir = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::new(SECRET);
    let auth = auth_of(&issuer, dir.path());
    let list = Arc::clone(auth.revoked().expect("there is a list"));
    for id in [
        "1",
        "a b",
        "a#",
        "jti=\"a\", or so",
        "7c9e6679-7425-40de-944b-e07fc1f90ae7",
        "naïve \u{2028} \u{FEFF}",
    ] {
        let token = issuer.token(Kind::Hs256, &with("jti", json!(id)));
        for (text, expected) in [
            (String::new(), None),
            (id.to_owned(), Some(TokenFault::Revoked)),
            (format!("{id}\nother\n"), Some(TokenFault::Revoked)),
            (
                format!("# gone\r\n\r\n\t{id} \r\n"),
                Some(TokenFault::Revoked),
            ),
            // As some editors mark a file that is UTF-8.
            (format!("\u{FEFF}{id}\n"), Some(TokenFault::Revoked)),
            (format!("\u{FEFF}# gone\n{id}"), Some(TokenFault::Revoked)),
            (format!("# {id}\n{id}{id}"), None),
        ] {
            write(dir.path(), "revoked", &text);
            list.reload().expect("it is a list");
            assert_eq!(verify(&auth, &token).err(), expected, "{id:?} in {text:?}");
        }
    }
}

/// Where there is no list, an id means nothing.
#[test]
fn without_a_list_any_id_is_accepted() {
    let dir = tempfile::tempdir().expect("a directory");
    let issuer = Issuer::new(SECRET);
    let keys = write(dir.path(), "keys.json", issuer.key_set().to_string());
    let auth = auth(&["--auth-keys", &keys, "--auth-audience", AUDIENCE]);
    let auth = auth.expect("keys").expect("it is on");
    for id in [Value::Null, json!(" 1"), json!("#"), json!("1\n2")] {
        let token = issuer.token(Kind::Hs256, &with("jti", id.clone()));
        assert_eq!(verify(&auth, &token).err(), None, "{id}");
    }
}

#[test]
fn keys_and_revoked_tokens_are_read_again_each_by_themselves_all_or_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let (old, new) = (
        Issuer::new(SECRET),
        Issuer::new(b"another shared secret of over 32 bytes"),
    );
    let auth = auth_of(&old, dir.path());
    let outcomes =
        || [&old, &new].map(|issuer| verify(&auth, &issuer.token(Kind::Hs256, &claims())).err());
    assert_eq!(outcomes(), [None, Some(TokenFault::Signature)]);
    let list = Arc::clone(auth.revoked().expect("there is a list"));
    write(dir.path(), "keys.json", new.key_set().to_string());
    assert_eq!(auth.reload(), Ok("4 keys, 3 passed over".to_owned()));
    assert_eq!(list.reload(), Ok("2 tokens revoked".to_owned()));
    assert_eq!(outcomes(), [Some(TokenFault::Signature), None]);

    // Keys that are broken stay as they were, and the list that came with them holds.
    assert!(!auth.is_revoked("1"));
    write(dir.path(), "keys.json", "{");
    write(dir.path(), "revoked", "1\n");
    assert!(
        auth.reload()
            .expect_err("no JSON")
            .ends_with("keys.json: line 1: it is not JSON")
    );
    assert_eq!(list.reload(), Ok("1 tokens revoked".to_owned()));
    assert!(auth.is_revoked("1") && !auth.is_revoked(REVOKED));
    assert_eq!(
        outcomes(),
        [Some(TokenFault::Signature), Some(TokenFault::Revoked)]
    );

    // And the other way round.
    write(dir.path(), "keys.json", old.key_set().to_string());
    write(dir.path(), "revoked", b"\xFF");
    assert_eq!(auth.reload(), Ok("4 keys, 3 passed over".to_owned()));
    assert!(
        list.reload()
            .expect_err("no text")
            .ends_with("revoked: it is not UTF-8")
    );
    assert_eq!(
        outcomes(),
        [Some(TokenFault::Revoked), Some(TokenFault::Signature)]
    );
}
