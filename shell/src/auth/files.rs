//! The files that trust comes from: public keys (PEM), key sets (JWKS, RFC 7517) and a shared secret. What
//! is wrong with a file is told without a word of what is in it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use rustls_pki_types::pem::{PemObject, SectionKind};
use serde_json::Value;
use spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use super::keys::{Key, Keys, Material};
use crate::settings::Settings;

/// The largest file of keys, in bytes.
const KEYS_BYTES_MAX: u64 = 1024 * 1024;

/// A shared secret has at least as many bytes as its hash (RFC 7518 3.2).
const SECRET_BYTES_MIN: usize = 32;

/// The least bytes of an RSA modulus: 2048 bits (RFC 7518 3.3).
const RSA_BYTES_MIN: usize = 256;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// Where to read.
#[derive(Debug)]
pub(super) struct Sources {
    keys: Vec<PathBuf>,
    secret: Option<PathBuf>,
}

impl Sources {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            keys: settings.auth_keys.clone(),
            secret: settings.auth_secret_file.clone(),
        }
    }

    /// Reads everything, and says in numbers what there was.
    pub(super) fn read(&self) -> Result<(Keys, String), String> {
        let mut keys = Vec::new();
        let mut skipped = 0;
        for path in &self.keys {
            let found = named(
                path,
                read(path, KEYS_BYTES_MAX).and_then(|bytes| public(&bytes)),
            )?;
            keys.extend(found.keys);
            skipped += found.skipped;
        }
        if let Some(path) = &self.secret {
            let secret = read(path, KEYS_BYTES_MAX).and_then(|bytes| secret(&bytes));
            keys.push(named(path, secret)?);
        }
        if keys.is_empty() {
            return Err("there is no key that tokens can be verified with".to_owned());
        }
        if keys.len() > Keys::MAX {
            return Err(format!(
                "there are {} keys, and at most {} may be",
                keys.len(),
                Keys::MAX
            ));
        }
        let read = format!("{} keys, {skipped} passed over", keys.len());
        Ok((Keys::new(keys), read))
    }
}

/// The keys of a file.
#[derive(Debug, Default)]
struct Found {
    keys: Vec<Key>,
    /// Keys for other purposes or of other kinds.
    skipped: usize,
}

/// An error with the file that it is of.
pub(super) fn named<T>(path: &Path, outcome: Result<T, String>) -> Result<T, String> {
    outcome.map_err(|error| format!("{}: {error}", path.display()))
}

/// The bytes of a file, which must not be larger than so many.
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| format!("it cannot be read: {error}"))?;
    let read = file.take(bytes_max + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("it cannot be read: {error}"))?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("it is larger than {bytes_max} bytes"));
    }
    Ok(bytes)
}

fn public(bytes: &[u8]) -> Result<Found, String> {
    let is_set = bytes.trim_ascii_start().starts_with(b"{");
    let found = if is_set { key_set(bytes) } else { pem(bytes) }?;
    if found.keys.is_empty() {
        return Err("it has no key that tokens can be verified with".to_owned());
    }
    Ok(found)
}

fn secret(bytes: &[u8]) -> Result<Key, String> {
    // Editors end the last line.
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    hmac_key(None, bytes)
}

fn hmac_key(id: Option<String>, bytes: &[u8]) -> Result<Key, String> {
    if bytes.len() < SECRET_BYTES_MIN {
        return Err(format!("a secret has at least {SECRET_BYTES_MIN} bytes"));
    }
    let material = Material::Hmac(hmac::Key::new(hmac::HMAC_SHA256, bytes));
    Ok(Key { id, material })
}

fn pem(bytes: &[u8]) -> Result<Found, String> {
    let mut found = Found::default();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(bytes) {
        let (kind, der) = section.map_err(|_| "it is neither PEM nor a key set".to_owned())?;
        match kind {
            SectionKind::PublicKey => found.keys.push(Key {
                id: None,
                material: public_key(&der)?,
            }),
            SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey => {
                return Err("it has a private key, which belongs to the issuer alone".to_owned());
            }
            _ => found.skipped += 1,
        }
    }
    Ok(found)
}

/// A key in the form of X.509 (RFC 5280 4.1.2.7).
fn public_key(der: &[u8]) -> Result<Material, String> {
    let broken = || "a public key in it is damaged".to_owned();
    let info = SubjectPublicKeyInfoRef::try_from(der).map_err(|_| broken())?;
    let bytes = info
        .subject_public_key
        .as_bytes()
        .ok_or_else(broken)?
        .to_vec();
    match info.algorithm.oid {
        // The modulus and a few bytes around it.
        RSA if bytes.len() > RSA_BYTES_MIN => Ok(Material::Rsa(bytes)),
        RSA => Err("an RSA key in it has less than 2048 bits".to_owned()),
        EC if info.algorithm.parameters_oid() == Ok(P256) && bytes.len() == 65 => {
            Ok(Material::P256(bytes))
        }
        ED25519 if bytes.len() == 32 => Ok(Material::Ed25519(bytes)),
        _ => Err("a public key in it is neither RSA nor P-256 nor Ed25519".to_owned()),
    }
}

fn key_set(bytes: &[u8]) -> Result<Found, String> {
    // What the parser has to say may quote a secret.
    let set: Value = serde_json::from_slice(bytes)
        .map_err(|error| format!("line {}: it is not JSON", error.line()))?;
    let keys = set.get("keys").and_then(Value::as_array);
    let keys = keys.ok_or("it is no key set: it has no list of keys")?;
    let mut found = Found::default();
    for (at, key) in keys.iter().enumerate() {
        match set_key(key).map_err(|error| format!("key {at}: {error}"))? {
            Some(key) => found.keys.push(key),
            None => found.skipped += 1,
        }
    }
    Ok(found)
}

/// A key of a set (RFC 7518 6, RFC 8037 2); `None`: it is for something else.
fn set_key(key: &Value) -> Result<Option<Key>, String> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let bytes = |name: &str| {
        let text = text(name).ok_or_else(|| format!("{name} is missing"))?;
        let bytes = URL_SAFE_NO_PAD.decode(text);
        bytes.map_err(|_| format!("{name} is not in base64url"))
    };
    if key.get("d").is_some() {
        return Err("it is a private key, which belongs to the issuer alone".to_owned());
    }
    let verifies = match key.get("key_ops").and_then(Value::as_array) {
        Some(uses) => uses.iter().any(|one| one == "verify"),
        None => true,
    };
    if !verifies || text("use").is_some_and(|purpose| purpose != "sig") {
        return Ok(None);
    }
    let id = text("kid").map(str::to_owned);
    let (material, algorithm) = match (text("kty"), text("crv")) {
        (Some("oct"), _) => (hmac_key(None, &bytes("k")?)?.material, "HS256"),
        (Some("RSA"), _) => {
            let (n, e) = (bytes("n")?, bytes("e")?);
            if n.len() < RSA_BYTES_MIN {
                return Err("it has less than 2048 bits".to_owned());
            }
            (Material::RsaParts { n, e }, "RS256")
        }
        (Some("EC"), Some("P-256")) => {
            let (x, y) = (bytes("x")?, bytes("y")?);
            if (x.len(), y.len()) != (32, 32) {
                return Err("its coordinates do not have 32 bytes each".to_owned());
            }
            (Material::P256([&[4][..], &x, &y].concat()), "ES256")
        }
        (Some("OKP"), Some("Ed25519")) => {
            let x = bytes("x")?;
            if x.len() != 32 {
                return Err("it does not have 32 bytes".to_owned());
            }
            (Material::Ed25519(x), "EdDSA")
        }
        _ => return Ok(None),
    };
    // A key for another algorithm must not be used with this one. RFC 9864 names EdDSA anew.
    let fits = |name| name == algorithm || (name, algorithm) == ("Ed25519", "EdDSA");
    let is_ours = text("alg").is_none_or(fits);
    Ok(is_ours.then_some(Key { id, material }))
}
