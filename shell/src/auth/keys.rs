//! The keys that signatures are verified with. Each has one algorithm, which follows from its kind.

use odin_core::reason::TokenFault;
use ring::hmac;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};

/// An algorithm that signatures may have (RFC 7518 3.1, RFC 8037 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Algorithm {
    Hs256,
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    /// The algorithm of this name. Case matters.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

/// A key's bytes, in the form that ring takes.
#[derive(Clone, Debug)]
pub(super) enum Material {
    /// A shared secret.
    Hmac(hmac::Key),
    /// A public key of PKCS #1 (RFC 8017 A.1.1) in DER.
    Rsa(Vec<u8>),
    /// Modulus and exponent, big-endian.
    RsaParts { n: Vec<u8>, e: Vec<u8> },
    /// A point of P-256, uncompressed.
    P256(Vec<u8>),
    /// 32 bytes.
    Ed25519(Vec<u8>),
}

/// A key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// Its name in a key set; keys that stand alone have none.
    pub(super) id: Option<String>,
    pub(super) material: Material,
}

impl Key {
    pub(super) fn algorithm(&self) -> Algorithm {
        match &self.material {
            Material::Hmac(_) => Algorithm::Hs256,
            Material::Rsa(_) | Material::RsaParts { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// Whether the signature of the message is right.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let outcome = match &self.material {
            Material::Hmac(key) => hmac::verify(key, message, signature),
            Material::Rsa(key) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(message, signature)
            }
            Material::RsaParts { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                message,
                signature,
            ),
            Material::P256(key) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature)
            }
            Material::Ed25519(key) => {
                UnparsedPublicKey::new(&ED25519, key).verify(message, signature)
            }
        };
        outcome.is_ok()
    }
}

/// All keys.
#[derive(Debug)]
pub(super) struct Keys(Vec<Key>);

impl Keys {
    /// The most keys.
    pub(super) const MAX: usize = 64;

    /// The most keys that one token is tried with, as each costs as much as a token is worth. Where more
    /// could be meant, it must name one.
    const TRIED_MAX: usize = 4;

    pub(super) fn new(keys: Vec<Key>) -> Self {
        Self(keys)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys that a token may be signed with which names this key and this algorithm: where it names
    /// a key, the one of that name, or, where there is none, those without a name.
    pub(super) fn candidates(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Vec<&Key>, TokenFault> {
        let mut keys: Vec<&Key> = self.0.iter().collect();
        if let Some(id) = id {
            let is_named = |key: &&Key| key.id.as_deref() == Some(id);
            let known = keys.iter().any(is_named);
            keys.retain(|key| {
                if known {
                    is_named(key)
                } else {
                    key.id.is_none()
                }
            });
            if keys.is_empty() {
                return Err(TokenFault::UnknownKey);
            }
        }
        keys.retain(|key| key.algorithm() == algorithm);
        match keys.len() {
            0 => Err(TokenFault::Algorithm),
            1..=Self::TRIED_MAX => Ok(keys),
            _ => Err(TokenFault::UnknownKey),
        }
    }
}
