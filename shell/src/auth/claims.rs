//! What a token says (RFC 7519 4.1): which claims there must be, of which type and range.
//!
//! A claim of a wrong type is never taken for one that is missing.

use odin_core::name;
use odin_core::reason::TokenFault;
use odin_core::shard::Grant;
use serde_json::Value;

use super::revoked;
use super::token::Members;
use crate::settings::Settings;

/// The last second of the year 9999: what is later is a mistake, such as milliseconds.
const TIME_MAX: u64 = 253_402_300_799;

/// The longest subject, issuer or id, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// What a token must say to be accepted here.
#[derive(Debug)]
pub(super) struct Rules {
    /// One of them must have issued it; none: anyone who has a key.
    issuers: Vec<String>,
    /// It must be for one of them; none: it must name no audience.
    audiences: Vec<String>,
    /// The claim that lists the names and patterns that may be subscribed.
    channels: String,
    /// It must have an id, by which it can be revoked: one that the list of revoked tokens can hold.
    needs_id: bool,
}

impl Rules {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            issuers: settings.auth_issuer.clone(),
            audiences: settings.auth_audience.clone(),
            channels: settings.auth_claim.clone(),
            needs_id: settings.auth_revoked.is_some(),
        }
    }
}

/// The claims that matter here.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) subject: String,
    pub(super) issuer: Option<String>,
    audience: Vec<String>,
    /// In seconds since the Unix epoch, as is `not_before`.
    pub(super) expires: u64,
    pub(super) not_before: Option<u64>,
    pub(super) id: Option<Box<str>>,
    pub(super) channels: Vec<Box<str>>,
}

impl Claims {
    /// Reads the claims, each of which must be of its type.
    pub(super) fn read(claims: Members, rules: &Rules) -> Result<Self, TokenFault> {
        let get = |name: &str| claims.0.get(name);
        time(get("iat"))?;
        let id = text(get("jti"))?;
        if rules.needs_id && !id.as_deref().is_some_and(revoked::can_hold) {
            return Err(TokenFault::Claims);
        }
        Ok(Self {
            subject: text(get("sub"))?.ok_or(TokenFault::Claims)?,
            issuer: text(get("iss"))?,
            audience: audience(get("aud"))?,
            expires: time(get("exp"))?.ok_or(TokenFault::Claims)?,
            not_before: time(get("nbf"))?,
            id: id.map(Into::into),
            channels: channels(get(&rules.channels))?,
        })
    }

    /// Whether it is of a right issuer, and for this server.
    pub(super) fn check_place(&self, rules: &Rules) -> Result<(), TokenFault> {
        let is_ours = |issuer| rules.issuers.contains(issuer);
        if !rules.issuers.is_empty() && !self.issuer.as_ref().is_some_and(is_ours) {
            return Err(TokenFault::Issuer);
        }
        // A token that names an audience is not for who is not in it (RFC 7519 4.1.3).
        let is_for_us = self
            .audience
            .iter()
            .any(|one| rules.audiences.contains(one));
        let names_none = self.audience.is_empty() && rules.audiences.is_empty();
        if is_for_us || names_none {
            Ok(())
        } else {
            Err(TokenFault::Audience)
        }
    }
}

fn text(value: Option<&Value>) -> Result<Option<String>, TokenFault> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) if (1..=TEXT_BYTES_MAX).contains(&text.len()) => {
            Ok(Some(text.clone()))
        }
        Some(_) => Err(TokenFault::Claims),
    }
}

fn time(value: Option<&Value>) -> Result<Option<u64>, TokenFault> {
    match value {
        None => Ok(None),
        Some(value) => {
            let seconds = value.as_u64().filter(|seconds| *seconds <= TIME_MAX);
            seconds.map(Some).ok_or(TokenFault::Claims)
        }
    }
}

fn audience(value: Option<&Value>) -> Result<Vec<String>, TokenFault> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(many)) if !many.is_empty() => many
            .iter()
            .map(|one| text(Some(one))?.ok_or(TokenFault::Claims))
            .collect(),
        Some(one) => Ok(text(Some(one))?.into_iter().collect()),
    }
}

/// A list of legal names and patterns; it may be empty, but not missing.
fn channels(value: Option<&Value>) -> Result<Vec<Box<str>>, TokenFault> {
    let list = value.and_then(Value::as_array).ok_or(TokenFault::Claims)?;
    if list.len() > Grant::CHANNELS_MAX {
        return Err(TokenFault::Claims);
    }
    let channels = list.iter().map(|one| {
        let text = one.as_str().filter(|text| is_legal(text));
        text.map(Into::into).ok_or(TokenFault::Claims)
    });
    channels.collect()
}

/// Whether a text is a channel's name or a pattern.
pub(super) fn is_legal(text: &str) -> bool {
    if name::is_pattern(text) {
        name::check_pattern(text).is_ok()
    } else {
        name::check_channel(text).is_ok()
    }
}
