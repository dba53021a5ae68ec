//! The form of a token (JWS compact serialization, RFC 7515 7.1) and its signature.
//!
//! What is inside is looked at only when the signature is right. Nothing in the header is believed but
//! the names of the algorithm and of the key, and both must be those of a key that is here.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use odin_core::reason::TokenFault;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::keys::{Algorithm, Keys};

/// The longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Members of a header that bring a key along, change what is signed, or mean that there is no plain
/// set of claims inside.
const REFUSED: [&str; 9] = [
    "b64", "crit", "cty", "enc", "jku", "jwk", "x5c", "x5u", "zip",
];

/// What `typ` may be: a token, or an access token of OAuth (RFC 9068). Case does not matter.
const TYPES: [&str; 4] = ["jwt", "at+jwt", "application/jwt", "application/at+jwt"];

/// The members of a JSON object, no two of which have the same name.
pub(super) struct Members(pub(super) BTreeMap<String, Value>);

/// The claims of a token whose signature is right.
pub(super) fn verified(token: &str, keys: &Keys) -> Result<Members, TokenFault> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenFault::TooLong);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
    let (header, claims) = message.split_once('.').ok_or(TokenFault::Malformed)?;
    if claims.contains('.') {
        // Five parts are those of an encrypted token (RFC 7516 7.1).
        return Err(TokenFault::Malformed);
    }
    let header = members(header)?;
    let (algorithm, key) = named(&header)?;
    let signature = decoded(signature)?;
    let candidates = keys.candidates(key, algorithm)?;
    if !candidates
        .iter()
        .any(|key| key.verifies(message.as_bytes(), &signature))
    {
        return Err(TokenFault::Signature);
    }
    members(claims)
}

/// The algorithm and the key that a header names.
fn named(header: &Members) -> Result<(Algorithm, Option<&str>), TokenFault> {
    let Members(header) = header;
    let algorithm = header.get("alg").and_then(Value::as_str);
    let algorithm = algorithm.and_then(Algorithm::named);
    let algorithm = algorithm.ok_or(TokenFault::Algorithm)?;
    if REFUSED.iter().any(|name| header.contains_key(*name)) {
        return Err(TokenFault::Header);
    }
    if let Some(kind) = header.get("typ") {
        let kind = kind.as_str().unwrap_or_default();
        if !TYPES.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
            return Err(TokenFault::Header);
        }
    }
    let key = match header.get("kid") {
        None => None,
        Some(Value::String(key)) => Some(key.as_str()),
        Some(_) => return Err(TokenFault::Header),
    };
    Ok((algorithm, key))
}

fn decoded(part: &str) -> Result<Vec<u8>, TokenFault> {
    // Of a text without padding only one spelling is taken (RFC 4648 3.5).
    let bytes = URL_SAFE_NO_PAD.decode(part);
    let bytes = bytes.map_err(|_| TokenFault::Malformed)?;
    if bytes.is_empty() {
        return Err(TokenFault::Malformed);
    }
    Ok(bytes)
}

fn members(part: &str) -> Result<Members, TokenFault> {
    serde_json::from_slice(&decoded(part)?).map_err(|_| TokenFault::Malformed)
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Distinct;

        impl<'de> Visitor<'de> for Distinct {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom("two members have one name"));
                    }
                }
                Ok(Members(members))
            }
        }

        from.deserialize_map(Distinct)
    }
}
