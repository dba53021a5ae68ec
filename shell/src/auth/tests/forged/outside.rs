//! Tokens whose form is wrong, or that do not say rightly how they are signed and with which key.

use TokenFault::{Algorithm, Header, Malformed, Signature, TooLong, UnknownKey};

use super::*;

pub(super) fn form(f: &mut Forge) {
    let [h, c, s] = f.good(Kind::Rs256);
    let whole = format!("{h}.{c}.{s}");
    f.add("nothing", "", Malformed);
    f.add("two dots", "..", Malformed);
    f.add("one part", h.as_str(), Malformed);
    f.add("no signature part", format!("{h}.{c}"), Malformed);
    f.add("an empty signature", format!("{h}.{c}."), Malformed);
    f.add("an empty header", format!(".{c}.{s}"), Malformed);
    f.add("four parts", format!("{whole}.{s}"), Malformed);
    f.add(
        "five parts, as an encrypted token has",
        format!("{h}.{s}.{s}.{c}.{s}"),
        Malformed,
    );
    f.add("white space before", format!(" {whole}"), Malformed);
    f.add("a line feed after", format!("{whole}\n"), Malformed);
    f.add("white space within", format!("{h}. {c}.{s}"), Signature);
    f.add("a padded header", format!("{h}=.{c}.{s}"), Malformed);
    f.add("a padded signature", format!("{h}.{c}.{s}=="), Malformed);
    f.add(
        "letters of plain base64",
        format!("{h}.{c}.{}", s.replace('-', "+").replace('_', "/")),
        Malformed,
    );
    // 256 bytes leave four bits of the last character unused, which must be 0: A, Q, g or w.
    let (front, last) = s.split_at(s.len() - 1);
    let other = char::from(last.as_bytes()[0] + 1);
    f.add(
        "another spelling of the signature",
        format!("{h}.{c}.{front}{other}"),
        Malformed,
    );
    f.add(
        "a letter outside ASCII in the signature",
        format!("{h}.{c}.{}\u{e9}", &s[..s.len() - 1]),
        Malformed,
    );
    f.add(
        "a Cyrillic look-alike in the header",
        h.replacen('e', "\u{435}", 1) + &format!(".{c}.{s}"),
        Malformed,
    );
    f.add("a zero byte after", format!("{whole}\0"), Malformed);
    f.add("cut by one character", &whole[..whole.len() - 1], Malformed);
    f.add(
        "cut by a byte of the signature",
        format!("{h}.{c}.{}", &s[..s.len() - 2]),
        Signature,
    );
    f.add(
        "one byte more than tokens may have",
        format!("{whole}{}", "A".repeat(8 * 1024 + 1 - whole.len())),
        TooLong,
    );
    f.claim(
        "a megabyte of claims, rightly signed",
        "more",
        json!("x".repeat(1 << 20)),
        TooLong,
    );

    f.header("a header that is no JSON", "alg: RS256", Malformed);
    f.header("a header that is a list", r#"["RS256"]"#, Malformed);
    f.header("a header that is a text", r#""RS256""#, Malformed);
    f.header(
        "a header with alg twice",
        header_and(r#""alg":"none""#),
        Malformed,
    );
    f.header(
        "a header with alg twice, once escaped",
        header_and(r#""\u0061lg":"HS256""#),
        Malformed,
    );
    f.header(
        "a header with something behind it",
        header(Kind::Rs256).to_string() + "{}",
        Malformed,
    );
    f.header(
        "a header with a byte order mark",
        format!("\u{feff}{}", header(Kind::Rs256)),
        Malformed,
    );
    f.header(
        "a header that is not UTF-8",
        b"{\"alg\":\"RS256\",\"kid\":\"\xff\"}",
        Malformed,
    );

    f.claims("claims that are no JSON", "sub: alice", Malformed);
    f.claims("claims that are a list", "[]", Malformed);
    f.claims("claims that are a token, nested", whole, Malformed);
    f.claims(
        "claims that are not UTF-8",
        b"{\"sub\":\"\xff\"}",
        Malformed,
    );
    f.claims(
        "exp twice, the later one last",
        claims_and(r#""exp":1"#),
        Malformed,
    );
    f.claims(
        "sub twice, once escaped",
        claims_and(r#""s\u0075b":"bob""#),
        Malformed,
    );
    f.claims(
        "channels twice",
        claims_and(r#""channels":[">"]"#),
        Malformed,
    );
    let deep = format!(r#""x":{}{}"#, "[".repeat(500), "]".repeat(500));
    f.claims("claims nested 500 deep", claims_and(&deep), Malformed);
    f.claims(
        "exp beyond what a number can be",
        claims_and(r#""exp":1e999"#),
        Malformed,
    );
}

pub(super) fn algorithms(f: &mut Forge) {
    let [_, c, s] = f.good(Kind::Rs256);
    for none in ["none", "None", "NONE", "nOnE"] {
        let head = base64url(json!({"alg": none, "typ": "JWT"}).to_string());
        f.add(
            format!("alg {none}, without a signature"),
            format!("{head}.{c}."),
            Algorithm,
        );
        f.add(
            format!("alg {none}, with a signature"),
            format!("{head}.{c}.{s}"),
            Algorithm,
        );
    }
    for (name, alg) in [
        ("alg null", Value::Null),
        ("alg a number", json!(256)),
        ("alg a list", json!(["RS256"])),
        ("alg empty", json!("")),
        ("alg in small letters", json!("rs256")),
        ("alg with white space", json!("RS256 ")),
        ("alg RS512 of a key for RS256", json!("RS512")),
        ("alg PS256 of a key for RS256", json!("PS256")),
        ("alg HS512", json!("HS512")),
        ("alg ES384", json!("ES384")),
        ("alg RSA-OAEP, which encrypts", json!("RSA-OAEP")),
    ] {
        f.header(
            name,
            json!({"alg": alg, "kid": "rsa"}).to_string(),
            Algorithm,
        );
    }
    f.header("no alg", r#"{"kid":"rsa","typ":"JWT"}"#, Algorithm);

    // Public keys taken for shared secrets: with the kid of the key, and without one.
    let rsa = f.issuer.modulus();
    let point = f.issuer.ec.public_key().as_ref().to_vec();
    let set = f.issuer.key_set().to_string();
    for (what, secret) in [
        (
            "the RSA public key's PEM",
            RSA_PUBLIC_PEM.as_bytes().to_vec(),
        ),
        ("the RSA modulus", rsa.n),
        ("the P-256 point", point),
        ("the key set's file", set.into_bytes()),
        ("nothing", Vec::new()),
    ] {
        for (how, kid, fault) in [
            ("for its kid", json!("rsa"), Algorithm),
            ("without kid", Value::Null, Signature),
        ] {
            let mut header = json!({"alg": "HS256", "typ": "JWT"});
            if !kid.is_null() {
                header["kid"] = kid;
            }
            let message = format!(
                "{}.{}",
                base64url(header.to_string()),
                base64url(claims().to_string())
            );
            let signature = base64url(mac(&secret, message.as_bytes()));
            f.add(
                format!("HS256 with {what}, {how}"),
                format!("{message}.{signature}"),
                fault,
            );
        }
    }
    for (signed, kid) in [
        (Kind::Es256, "rsa"),
        (Kind::EdDsa, "ec"),
        (Kind::Hs256, "ed"),
        (Kind::Rs256, "hs"),
    ] {
        let header = json!({"alg": signed.names().0, "kid": kid}).to_string();
        let token = f.issuer.sign(signed, header, claims().to_string());
        f.add(
            format!(
                "a right {} signature under the kid of another kind",
                signed.names().0
            ),
            token,
            Algorithm,
        );
    }
}

pub(super) fn keys(f: &mut Forge) {
    for (name, kid) in [
        ("a kid that is not here", "rsa2"),
        ("a kid of another case", "RSA"),
        ("an empty kid", ""),
        ("a kid that is a path", "../../../dev/null"),
        ("a kid that is a query", "x' UNION SELECT 'key"),
        ("a kid that is a URL", "https://evil.example/keys.json"),
        ("the kid of a key for encryption", "for-encryption"),
        ("the kid of a key for another algorithm", "for-rs512"),
    ] {
        f.header(
            name,
            json!({"alg": "RS256", "kid": kid}).to_string(),
            UnknownKey,
        );
    }
    f.header(
        "a kid that is a number",
        r#"{"alg":"RS256","kid":1}"#,
        Header,
    );
    f.header(
        "a kid that is null",
        r#"{"alg":"RS256","kid":null}"#,
        Header,
    );

    // The stranger brings keys along, or says where they are; the issuer does so as well.
    let keys = f.stranger.key_set();
    for (name, member) in [
        ("a key in the token (jwk)", json!({"jwk": keys["keys"][1]})),
        (
            "a key's URL (jku)",
            json!({"jku": "https://evil.example/keys.json"}),
        ),
        (
            "a certificate's URL (x5u)",
            json!({"x5u": "https://evil.example/cert.pem"}),
        ),
        ("a certificate (x5c)", json!({"x5c": ["MIIB"]})),
    ] {
        let mut header = json!({"alg": "ES256"});
        let members = header.as_object_mut().expect("an object");
        members.extend(member.as_object().expect("an object").clone());
        let header = header.to_string();
        let by_stranger = f.stranger.sign(Kind::Es256, &header, claims().to_string());
        f.add(format!("{name}, signed with it"), by_stranger, Header);
        let by_issuer = f.issuer.sign(Kind::Es256, &header, claims().to_string());
        f.add(format!("{name}, rightly signed"), by_issuer, Header);
    }
    for (name, member) in [
        ("crit", r#""crit":["exp"]"#),
        ("an empty crit", r#""crit":[]"#),
        ("claims that are not encoded (b64)", r#""b64":false"#),
        ("compressed claims (zip)", r#""zip":"DEF""#),
        ("an encryption (enc)", r#""enc":"A256GCM""#),
        ("a nested token (cty)", r#""cty":"JWT""#),
    ] {
        f.header(name, header_and(member), Header);
    }
    f.header(
        "typ of another kind of token",
        r#"{"alg":"RS256","typ":"secevent+jwt"}"#,
        Header,
    );
    f.header("typ a number", r#"{"alg":"RS256","typ":1}"#, Header);
}

pub(super) fn signatures(f: &mut Forge) {
    for kind in [Kind::Es256, Kind::EdDsa, Kind::Hs256] {
        let token = f.stranger.token(kind, &claims());
        f.add(
            format!("{} by a stranger", kind.names().0),
            token,
            Signature,
        );
    }
    for kind in Kind::ALL {
        let alg = kind.names().0;
        let [h, c, s] = f.good(kind);
        let length = f.issuer.signature(kind, b"").len();
        f.add(
            format!("{alg}: zeros for a signature"),
            format!("{h}.{c}.{}", base64url(vec![0; length])),
            Signature,
        );
        f.add(
            format!("{alg}: a signature too short"),
            format!("{h}.{c}.{}", base64url(vec![1; length - 1])),
            Signature,
        );
        let more = base64url(with("channels", json!([">"])).to_string());
        f.add(
            format!("{alg}: claims altered afterwards"),
            format!("{h}.{more}.{s}"),
            Signature,
        );
        let other = base64url(
            header_and(r#""a":1"#)
                .replace("RS256", alg)
                .replace("rsa", kind.names().1),
        );
        f.add(
            format!("{alg}: a header altered afterwards"),
            format!("{other}.{c}.{s}"),
            Signature,
        );
    }
    let [h, c, _] = f.good(Kind::Es256);
    // The same numbers as X.509 writes them (RFC 3279 2.2.3), with r = s = 1.
    let der = base64url([0x30, 6, 2, 1, 1, 2, 1, 1]);
    f.add(
        "ES256: a signature in DER",
        format!("{h}.{c}.{der}"),
        Signature,
    );
}
