//! Tokens of the right form whose claims are wrong.

use TokenFault::{Audience, Claims, Expired, Issuer as WrongIssuer, NotYetValid, Revoked};

use super::*;

pub(super) fn statements(f: &mut Forge) {
    for (name, claim, value) in [
        ("no exp", "exp", Value::Null),
        ("exp a text", "exp", json!("9999999999")),
        ("exp negative", "exp", json!(-1)),
        ("exp with a fraction", "exp", json!(now() as f64 + 60.5)),
        ("exp true", "exp", json!(true)),
        ("exp in milliseconds", "exp", json!(now() * 1000)),
        ("exp the largest number", "exp", json!(u64::MAX)),
        ("nbf a text", "nbf", json!("now")),
        ("iat negative", "iat", json!(-5)),
        ("no sub", "sub", Value::Null),
        ("sub a number", "sub", json!(7)),
        ("sub a list", "sub", json!(["alice"])),
        ("sub empty", "sub", json!("")),
        ("sub too long", "sub", json!("a".repeat(1025))),
        ("no jti, where tokens can be revoked", "jti", Value::Null),
        ("jti a number", "jti", json!(1)),
        ("jti empty", "jti", json!("")),
        ("jti of white space", "jti", json!(" ")),
        ("jti after a space", "jti", json!(" 1")),
        ("jti before a space", "jti", json!("1 ")),
        ("jti before a wide space", "jti", json!("1\u{3000}")),
        ("jti of two lines", "jti", json!("1\n2")),
        ("jti with a carriage return", "jti", json!("1\r2")),
        ("jti with a tab", "jti", json!("1\t2")),
        ("jti with a NUL", "jti", json!("1\0")),
        (
            "jti with the next line of ISO 6429",
            "jti",
            json!("1\u{85}2"),
        ),
        ("jti like a comment", "jti", json!("#1")),
        ("jti after a byte order mark", "jti", json!("\u{FEFF}1")),
        ("iss a list", "iss", json!([ISSUER])),
        ("aud an object", "aud", json!({"odin": true})),
        ("aud an empty list", "aud", json!([])),
        ("aud with a number", "aud", json!([AUDIENCE, 1])),
        ("no channels", "channels", Value::Null),
        ("channels a text", "channels", json!(">")),
        ("channels with a number", "channels", json!(["BTC", 1])),
        (
            "channels with an illegal pattern",
            "channels",
            json!(["BTC*"]),
        ),
        ("channels with an illegal name", "channels", json!(["a..b"])),
        ("257 channels", "channels", json!(vec!["a"; 257])),
    ] {
        f.claim(name, claim, value, Claims);
    }
    f.claims(
        "exp null",
        claims()
            .to_string()
            .replace(&format!(r#""exp":{}"#, claims()["exp"]), r#""exp":null"#),
        Claims,
    );
    f.claims(
        "exp one more than 64 bits hold",
        with("exp", Value::Null)
            .to_string()
            .replacen('{', r#"{"exp":18446744073709551616,"#, 1),
        Claims,
    );
    f.claim(
        "expired a year ago",
        "exp",
        json!(now() - 365 * 86_400),
        Expired,
    );
    f.claim(
        "expired, the clocks' difference included",
        "exp",
        json!(now() - LEEWAY),
        Expired,
    );
    f.claim("exp 0", "exp", json!(0), Expired);
    f.claim("valid in an hour", "nbf", json!(now() + 3600), NotYetValid);
    f.claim(
        "valid in a minute",
        "nbf",
        json!(now() + LEEWAY + 60),
        NotYetValid,
    );
    for (name, value) in [
        ("another issuer", json!("https://evil.example")),
        ("no issuer", Value::Null),
        ("an issuer with a slash more", json!(format!("{ISSUER}/"))),
        ("an issuer of another case", json!(ISSUER.to_uppercase())),
    ] {
        f.claim(name, "iss", value, WrongIssuer);
    }
    for (name, value) in [
        ("for another audience", json!("somebody")),
        ("for no audience", Value::Null),
        ("for a list of others", json!(["somebody", "odin2"])),
        ("for an audience of another case", json!("Odin")),
    ] {
        f.claim(name, "aud", value, Audience);
    }
    f.claim("revoked", "jti", json!(REVOKED), Revoked);
    f.claim(
        "revoked, from a line with white space",
        "jti",
        json!("other"),
        Revoked,
    );
}
