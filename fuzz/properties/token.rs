//! A token is accepted only if one who has a key signed exactly what it says, and then it gives exactly that.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use odin_core::reason::TokenFault;
use odin_core::time::Instant;
use odin_shell::auth::{Accepted, Auth};
use odin_shell::settings::{Loaded, Settings};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

const SECRET: &[u8] = b"a shared secret of more than 32 bytes";
const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "odin";
const REVOKED: &str = "revoked";

/// The seconds that the clocks may be apart.
const LEEWAY: u64 = 5;

/// What the other token says, of which parts are put into one.
const OTHER: &str = r#"{"iss":"https://issuer.example","aud":"odin","sub":"bob","jti":"2","exp":253402300799,"channels":[">"]}"#;

/// Who has the private keys, and the server's side.
struct World {
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    auth: Auth,
}

static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// Signs what the bytes say, changes the token as they say, and verifies it. Says what came of it.
///
/// The first byte is the algorithm (`h`, `p`, `e`), then come the claims, a NUL, the header (none: the usual
/// one), a NUL, and the changes. With `r` all that follows is a token.
pub(crate) fn token(bytes: &[u8]) -> Option<&'static str> {
    let (kind, bytes) = bytes.split_first()?;
    let world = &*WORLD;
    if *kind == b'r' {
        let token = std::str::from_utf8(bytes).ok()?;
        let outcome = world.verify(token);
        if let Ok(accepted) = &outcome {
            judge(accepted, token, &world.signed_by_secret(token));
        }
        return Some(label(&outcome));
    }
    let mut parts = bytes.splitn(3, |byte| *byte == 0);
    let claims = parts.next()?;
    let header = parts.next().filter(|header| !header.is_empty());
    let changes = parts.next().unwrap_or_default();
    let name = match kind {
        b'h' => "HS256",
        b'p' => "ES256",
        b'e' => "EdDSA",
        _ => return None,
    };
    let usual = json!({"alg": name, "typ": "JWT"}).to_string();
    let header = header.unwrap_or(usual.as_bytes());
    let signed = message(header, claims);
    let mut token = world.token(*kind, &signed);
    let other = world.token(*kind, &message(usual.as_bytes(), OTHER.as_bytes()));
    for change in changes.chunks_exact(3) {
        token = changed(&token, &other, change);
    }
    let outcome = world.verify(&token);
    if let Ok(accepted) = &outcome {
        let whole = [signed, message(usual.as_bytes(), OTHER.as_bytes())];
        judge(accepted, &token, &whole);
    }
    Some(label(&outcome))
}

fn label(outcome: &Result<Accepted, TokenFault>) -> &'static str {
    match outcome {
        Ok(_) => "accepted",
        Err(fault) => fault.label(),
    }
}

fn encoded(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What is signed.
fn message(header: &[u8], claims: &[u8]) -> String {
    format!("{}.{}", encoded(header), encoded(claims))
}

/// One change of a token: a byte, or a whole part, which may be that of another token.
fn changed(token: &str, other: &str, change: &[u8]) -> String {
    let at = usize::from(change[1]) * token.len() / 256;
    let mut bytes = token.as_bytes().to_vec();
    let sign = b"ABYZabyz0189-_.=+/ {\n"[usize::from(change[2]) % 21];
    match change[0] % 6 {
        0 if at < bytes.len() => bytes[at] = sign,
        1 => bytes.insert(at, sign),
        2 if at < bytes.len() => drop(bytes.remove(at)),
        3 => bytes.truncate(at),
        kind => {
            let mut mine: Vec<&str> = token.split('.').collect();
            let theirs: Vec<&str> = other.split('.').collect();
            let (to, from) = (usize::from(change[1]) % 4, usize::from(change[2]) % 3);
            match (kind, mine.get_mut(to)) {
                (4, Some(part)) => *part = theirs[from],
                (4, None) => mine.push(theirs[from]),
                (_, Some(_)) => drop(mine.remove(to)),
                (_, None) => mine.reverse(),
            }
            bytes = mine.join(".").into_bytes();
        }
    }
    String::from_utf8(bytes).expect("all of it is ASCII")
}

/// Judges a token that was accepted: its message is one that was signed, and gives what it says.
fn judge(accepted: &Accepted, token: &str, signed: &[String]) {
    let (message, _) = token.rsplit_once('.').expect("it has parts");
    assert!(signed.iter().any(|s| s == message), "nobody signed {token}");
    let (_, claims) = message.split_once('.').expect("it has parts");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("it was encoded");
    let claims: Value = serde_json::from_slice(&claims).expect("claims are JSON");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock")
        .as_secs();
    let exp = claims["exp"].as_u64().expect("it expires");
    assert_eq!(accepted.grant.expires_unix, exp);
    assert!(exp + LEEWAY >= now, "it has expired");
    if !claims["nbf"].is_null() {
        assert!(
            claims["nbf"].as_u64().expect("a time") <= now + LEEWAY,
            "it is not valid yet"
        );
    }
    assert_eq!(claims["iss"], ISSUER);
    let audience = &claims["aud"];
    let is_for_us = audience == AUDIENCE
        || audience
            .as_array()
            .is_some_and(|all| all.iter().any(|one| one == AUDIENCE));
    assert!(is_for_us, "it is for {audience}");
    assert!(claims["sub"].as_str().is_some_and(|sub| !sub.is_empty()));
    let channels: Vec<&str> = accepted.grant.channels.iter().map(AsRef::as_ref).collect();
    assert_eq!(claims["channels"], json!(channels));
    assert_eq!(claims["jti"].as_str(), accepted.id.as_deref());
    assert!(accepted.id.is_some() && accepted.id.as_deref() != Some(REVOKED));
}

impl World {
    fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let ec = EcdsaKeyPair::from_pkcs8(algorithm, ec.as_ref(), &random).expect("a key");
        let ed = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
        let dir = tempfile::tempdir().expect("a directory");
        let auth = auth(&ec, &ed, dir.path());
        Self { ec, ed, auth }
    }

    fn verify(&self, token: &str) -> Result<Accepted, TokenFault> {
        self.auth.verify(token, Instant::ZERO)
    }

    /// The signature is made with the key of the algorithm, whatever the header says.
    fn token(&self, kind: u8, message: &str) -> String {
        let signature = match kind {
            b'h' => hmac::sign(&secret(), message.as_bytes()).as_ref().to_vec(),
            b'p' => {
                let signature = self.ec.sign(&SystemRandom::new(), message.as_bytes());
                signature.expect("a signature").as_ref().to_vec()
            }
            _ => self.ed.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", encoded(signature))
    }

    /// The message of a token that may have been signed elsewhere, if it was, by who knows the secret.
    fn signed_by_secret(&self, token: &str) -> Vec<String> {
        let (message, signature) = token.rsplit_once('.').expect("it has parts");
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("it is encoded");
        let right = hmac::verify(&secret(), message.as_bytes(), &signature).is_ok();
        right.then(|| message.to_owned()).into_iter().collect()
    }
}

fn secret() -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, SECRET)
}

fn auth(ec: &EcdsaKeyPair, ed: &Ed25519KeyPair, dir: &Path) -> Auth {
    let point = ec.public_key().as_ref();
    let keys = json!({"keys": [
        {"kty": "EC", "crv": "P-256", "x": encoded(&point[1..33]), "y": encoded(&point[33..])},
        {"kty": "OKP", "crv": "Ed25519", "x": encoded(ed.public_key())},
        {"kty": "oct", "k": encoded(SECRET)},
    ]});
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let keys = write("keys.json", &keys.to_string());
    let revoked = write("revoked", REVOKED);
    let leeway = format!("{LEEWAY}s");
    let flags = [
        "odin-ws",
        "--auth-keys",
        &keys,
        "--auth-revoked",
        &revoked,
        "--auth-issuer",
        ISSUER,
        "--auth-audience",
        AUDIENCE,
        "--auth-leeway",
        &leeway,
    ];
    match Settings::load(flags.iter().map(Into::into), std::iter::empty()) {
        Ok(Loaded::Run(settings)) => Auth::new(&settings).expect("keys").expect("it is on"),
        other => panic!("{other:?}"),
    }
}
