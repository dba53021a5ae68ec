//! An issuer of tokens, good and bad, and the server's side that has its keys.

mod accepted;
mod files;
mod forged;

use std::ffi::OsString;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use odin_core::reason::TokenFault;
use odin_core::time::Instant;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::{self, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};

use super::{Accepted, Auth, unix_now};
use crate::settings::{Loaded, Settings};

const RSA_PEM: &str = include_str!("../../../tests/auth/rsa-for-tests.pem");
const RSA_PUBLIC_PEM: &str = include_str!("../../../tests/auth/rsa-for-tests.pub.pem");

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "odin";
const REVOKED: &str = "revoked-1";
const SECRET: &[u8] = b"a shared secret of more than 32 bytes";

/// The seconds that the clocks may be apart.
const LEEWAY: u64 = 5;

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since the Unix epoch.
fn now() -> u64 {
    unix_now().as_secs()
}

/// Who has the private keys.
struct Issuer {
    rsa: rsa::KeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
    secret: Vec<u8>,
    random: SystemRandom,
}

/// What a token is signed with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Rs256,
    Es256,
    EdDsa,
    Hs256,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Rs256, Self::Es256, Self::EdDsa, Self::Hs256];

    /// `alg`, and the `kid` in [`Issuer::key_set`].
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Rs256 => ("RS256", "rsa"),
            Self::Es256 => ("ES256", "ec"),
            Self::EdDsa => ("EdDSA", "ed"),
            Self::Hs256 => ("HS256", "hs"),
        }
    }
}

impl Issuer {
    /// One with keys of its own; the RSA key is always the same, as ring makes none.
    fn new(secret: &[u8]) -> Self {
        let random = SystemRandom::new();
        let pem = PrivatePkcs8KeyDer::from_pem_slice(RSA_PEM.as_bytes()).expect("a key");
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let ec = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let ed = Ed25519KeyPair::generate_pkcs8(&random).expect("a key");
        Self {
            rsa: rsa::KeyPair::from_pkcs8(pem.secret_pkcs8_der()).expect("a key"),
            ec: EcdsaKeyPair::from_pkcs8(algorithm, ec.as_ref(), &random).expect("a key"),
            ed: Ed25519KeyPair::from_pkcs8(ed.as_ref()).expect("a key"),
            secret: secret.to_vec(),
            random,
        }
    }

    fn modulus(&self) -> PublicKeyComponents<Vec<u8>> {
        PublicKeyComponents::from(self.rsa.public())
    }

    /// The keys as a JWKS file has them, beside some that are for something else.
    fn key_set(&self) -> Value {
        let PublicKeyComponents { n, e } = self.modulus();
        let (n, e) = (base64url(n), base64url(e));
        let point = self.ec.public_key().as_ref();
        let (x, y) = (base64url(&point[1..33]), base64url(&point[33..]));
        let ed = base64url(self.ed.public_key());
        json!({"keys": [
            {"kty": "RSA", "kid": "rsa", "alg": "RS256", "use": "sig", "n": n, "e": e},
            {"kty": "EC", "kid": "ec", "crv": "P-256", "x": x, "y": y, "key_ops": ["verify"]},
            {"kty": "OKP", "kid": "ed", "alg": "EdDSA", "crv": "Ed25519", "x": ed},
            {"kty": "oct", "kid": "hs", "alg": "HS256", "k": base64url(&self.secret)},
            {"kty": "RSA", "kid": "for-encryption", "use": "enc", "n": n, "e": e},
            {"kty": "RSA", "kid": "for-rs512", "alg": "RS512", "n": n, "e": e},
            {"kty": "OKP", "kid": "x", "crv": "X25519", "x": ed},
        ]})
    }

    fn signature(&self, kind: Kind, message: &[u8]) -> Vec<u8> {
        match kind {
            Kind::Rs256 => {
                let mut signature = vec![0; self.rsa.public().modulus_len()];
                let signed =
                    self.rsa
                        .sign(&RSA_PKCS1_SHA256, &self.random, message, &mut signature);
                signed.expect("a signature");
                signature
            }
            Kind::Es256 => {
                let signature = self.ec.sign(&self.random, message).expect("a signature");
                signature.as_ref().to_vec()
            }
            Kind::EdDsa => self.ed.sign(message).as_ref().to_vec(),
            Kind::Hs256 => mac(&self.secret, message),
        }
    }

    /// A token of these bytes, whatever they are, signed.
    fn sign(&self, kind: Kind, header: impl AsRef<[u8]>, claims: impl AsRef<[u8]>) -> String {
        let message = format!("{}.{}", base64url(header), base64url(claims));
        let signature = self.signature(kind, message.as_bytes());
        format!("{message}.{}", base64url(signature))
    }

    /// A token with these claims and the usual header.
    fn token(&self, kind: Kind, claims: &Value) -> String {
        self.sign(kind, header(kind).to_string(), claims.to_string())
    }
}

fn mac(secret: &[u8], message: &[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::sign(&key, message).as_ref().to_vec()
}

fn header(kind: Kind) -> Value {
    let (alg, kid) = kind.names();
    json!({"alg": alg, "kid": kid, "typ": "JWT"})
}

/// Claims that are accepted.
fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice", "jti": "1", "iat": now(), "nbf": now(),
        "exp": now() + 3600, "channels": ["BTC.>", "ETH.trade"],
    })
}

/// The claims with one of them changed; null: without it.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let map = claims.as_object_mut().expect("an object");
    if value.is_null() {
        map.remove(name);
    } else {
        map.insert(name.to_owned(), value);
    }
    claims
}

/// What verifies, with these settings beside its files.
fn auth(flags: &[&str]) -> Result<Option<Auth>, String> {
    let args = ["odin-ws"].iter().chain(flags).map(OsString::from);
    let loaded = Settings::load(args, std::iter::empty()).map_err(|error| error.to_string())?;
    let Loaded::Run(settings) = loaded else {
        panic!("nothing to print")
    };
    Auth::new(&settings)
}

/// What verifies the tokens of this issuer, by its key set.
fn auth_of(issuer: &Issuer, dir: &Path) -> Auth {
    let keys = write(dir, "keys.json", issuer.key_set().to_string());
    let revoked = write(dir, "revoked", format!("# gone\n\n{REVOKED}\n other \n"));
    let leeway = format!("{LEEWAY}s");
    let flags = [
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
    auth(&flags).expect("keys").expect("it is on")
}

fn write(dir: &Path, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("a file");
    path.display().to_string()
}

fn verify(auth: &Auth, token: &str) -> Result<Accepted, TokenFault> {
    auth.verify(token, Instant::ZERO)
}
