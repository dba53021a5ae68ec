//! Who a client is: tokens (JWT) and what they are verified with.
//!
//! Here it is found out whether a token is genuine, whether it is valid now and here, and what it
//! says; the result is a [`Grant`], and what that allows a connection is the core's decision. The keys
//! come from files that the operator names, never from the token, and each has one algorithm, so that
//! the token cannot choose how it is verified. Signatures are ring's, which the TLS of the NATS client
//! brings; what a token says is read here, more strictly than libraries for tokens do, which have to
//! please everyone.
//!
//! Publishers over HTTP have tokens of another kind, plain secrets (`publishers.rs`).

mod claims;
mod files;
mod keys;
pub(crate) mod publishers;
mod revoked;
mod token;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use odin_core::reason::TokenFault;
use odin_core::shard::Grant;
use odin_core::time::Instant;
use ring::hmac;
use ring::rand::SystemRandom;

use crate::metrics::AuthStats;
use crate::reload::Reload;
use crate::settings::Settings;
use claims::{Claims, Rules};
use keys::Keys;
use revoked::Revoked;

/// A token that was accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// What it allows.
    pub grant: Grant,
    /// Its `jti`, by which it may be revoked.
    pub id: Option<Box<str>>,
}

/// Verifies tokens. Shared by all threads of a server.
#[derive(Debug)]
pub struct Auth {
    sources: files::Sources,
    rules: Rules,
    leeway: Duration,
    /// Made at start and kept to ourselves: what is recorded of a subject tells nobody who it is.
    subjects: hmac::Key,
    /// What tokens are verified with, as of the last time that the files were read.
    keys: RwLock<Arc<Keys>>,
    /// `None`: no token can be revoked.
    revoked: Option<Arc<Revoked>>,
    accepted: AtomicU64,
    failures: [AtomicU64; TokenFault::COUNT],
}

impl Auth {
    /// With the keys that the settings name; `None`: they name none, so nobody has to authenticate.
    ///
    /// # Errors
    /// A file cannot be read or is not what it should be, or there is no randomness.
    pub fn new(settings: &Settings) -> Result<Option<Self>, String> {
        if !settings.auth_on() {
            return Ok(None);
        }
        let sources = files::Sources::of(settings);
        let (keys, _) = sources.read()?;
        let revoked = settings.auth_revoked.as_deref().map(Revoked::new);
        let subjects = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Ok(Some(Self {
            sources,
            rules: Rules::of(settings),
            leeway: settings.auth_leeway,
            subjects: subjects.map_err(|_| "the system gives no random numbers".to_owned())?,
            keys: RwLock::new(Arc::new(keys)),
            revoked: revoked.transpose()?.map(Arc::new),
            accepted: AtomicU64::new(0),
            failures: Default::default(),
        }))
    }

    /// Verifies a token and counts the outcome. `now` is the server's clock.
    ///
    /// # Errors
    /// What is wrong with the token, as it is now.
    pub fn verify(&self, token: &str, now: Instant) -> Result<Accepted, TokenFault> {
        let outcome = self.verify_at(token, now, unix_now());
        match &outcome {
            Ok(_) => {
                self.accepted.fetch_add(1, Ordering::Relaxed);
            }
            Err(fault) => self.failed(*fault),
        }
        outcome
    }

    /// Counts a token that did not come so far as to be verified.
    pub(crate) fn failed(&self, fault: TokenFault) {
        self.failures[fault as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn verify_at(&self, token: &str, now: Instant, unix: Duration) -> Result<Accepted, TokenFault> {
        let claims = token::verified(token, &self.keys())?;
        let claims = Claims::read(claims, &self.rules)?;
        let expires = Duration::from_secs(claims.expires) + self.leeway;
        if unix >= expires {
            return Err(TokenFault::Expired);
        }
        if claims
            .not_before
            .is_some_and(|from| unix + self.leeway < Duration::from_secs(from))
        {
            return Err(TokenFault::NotYetValid);
        }
        claims.check_place(&self.rules)?;
        if claims.id.as_deref().is_some_and(|id| self.is_revoked(id)) {
            return Err(TokenFault::Revoked);
        }
        let grant = Grant {
            subject: self.subject(&claims),
            expires_at: now + (expires - unix),
            expires_unix: claims.expires,
            channels: claims.channels,
        };
        let id = claims.id;
        Ok(Accepted { grant, id })
    }

    /// Whether a token that was accepted has been revoked since.
    pub(crate) fn is_revoked(&self, id: &str) -> bool {
        self.revoked.as_ref().is_some_and(|list| list.has(id))
    }

    /// The list of revoked tokens, which is read again by itself.
    pub(crate) fn revoked(&self) -> Option<&Arc<Revoked>> {
        self.revoked.as_ref()
    }

    /// What was counted.
    pub(crate) fn stats(&self) -> AuthStats {
        AuthStats {
            accepted: self.accepted.load(Ordering::Relaxed),
            failures: std::array::from_fn(|at| self.failures[at].load(Ordering::Relaxed)),
            keys: self.keys().len() as u64,
        }
    }

    fn keys(&self) -> Arc<Keys> {
        // They are replaced whole, so that a panic elsewhere cannot have left half of them.
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The hash of whom a token was issued to. The same subject of another issuer is another one.
    fn subject(&self, claims: &Claims) -> [u8; 32] {
        let issuer = claims.issuer.as_deref().unwrap_or_default();
        let mut context = hmac::Context::with_key(&self.subjects);
        context.update(&(issuer.len() as u64).to_le_bytes());
        context.update(issuer.as_bytes());
        context.update(claims.subject.as_bytes());
        let mut hash = [0; 32];
        hash.copy_from_slice(context.sign().as_ref());
        hash
    }
}

/// The keys; the list of revoked tokens is a part of its own.
impl Reload for Auth {
    fn what(&self) -> &'static str {
        "auth_keys and auth_secret_file"
    }

    fn reload(&self) -> Result<String, String> {
        let (keys, read) = self.sources.read()?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(read)
    }
}

/// The time since the Unix epoch; nothing where the machine's clock is before it.
fn unix_now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
