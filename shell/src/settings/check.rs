//! Settings that are each fine and cannot all be meant.

use std::time::Duration;

use odin_core::config::Coalesce;

use super::gather::Gathered;
use super::table::Settings;
use super::value::SourceKind;
use super::{RESERVED_BYTES, SettingsError};

/// Whether a source uses a setting.
pub(super) fn is_used(name: &str, source: SourceKind) -> bool {
    match name {
        "demo" | "idempotency_window" | "idempotency_keys" => source == SourceKind::Embedded,
        "stream" | "history_bytes" | "history_fetches" => source == SourceKind::Jetstream,
        "subject" | "strip" => source != SourceKind::Embedded,
        _ if name.starts_with("nats_") => source != SourceKind::Embedded,
        _ => true,
    }
}

/// Whether a setting is a rule about tokens that nobody is asked for.
pub(super) fn is_idle(name: &str, settings: &Settings) -> bool {
    name.starts_with("auth_") && !settings.auth_on()
}

/// Which sources use a setting that not all use, for messages.
fn used_by(name: &str) -> &'static str {
    match name {
        "demo" | "idempotency_window" | "idempotency_keys" => "embedded",
        "stream" | "history_bytes" | "history_fetches" => "jetstream",
        _ => "nats or jetstream",
    }
}

fn contradiction(keys: &[&'static str], message: String) -> Result<(), SettingsError> {
    Err(SettingsError::new(
        keys,
        format!("{}: {message}", keys.join(", ")),
    ))
}

/// Finds the first contradiction.
pub(super) fn check(settings: &Settings, gathered: &Gathered) -> Result<(), SettingsError> {
    unused(settings, gathered)?;
    authentication(settings, gathered)?;
    source(settings)?;
    transport(settings)?;
    thresholds(settings)?;
    rates(settings)?;
    times(settings)?;
    history(settings, gathered)?;
    windows(settings)?;
    memory(settings)
}

/// A setting that was given and would do nothing is a misunderstanding: above all NATS settings
/// beside a forgotten `source`, which would serve demo prices.
fn unused(s: &Settings, gathered: &Gathered) -> Result<(), SettingsError> {
    for spec in super::TABLE {
        let Some(origin) = gathered.explicit(spec.name) else {
            continue;
        };
        // `demo = false` asks for what another source does anyway.
        let harmless = spec.name == "demo" && s.demo == Some(false);
        if !(is_used(spec.name, s.source) || harmless) {
            let message = format!(
                "{origin} sets {}, which goes with source {} only",
                spec.name,
                used_by(spec.name)
            );
            return contradiction(&[spec.name, "source"], message);
        }
    }
    Ok(())
}

/// Rules about tokens that nobody is asked for would give a false sense of safety.
fn authentication(s: &Settings, gathered: &Gathered) -> Result<(), SettingsError> {
    let mut given = super::TABLE
        .iter()
        .filter(|spec| is_idle(spec.name, s) && gathered.explicit(spec.name).is_some());
    match given.next() {
        None => Ok(()),
        Some(spec) => contradiction(
            &[spec.name, "auth_keys", "auth_secret_file"],
            "without a key nobody is asked for a token; give one of the last two".into(),
        ),
    }
}

fn source(s: &Settings) -> Result<(), SettingsError> {
    match (&s.nats_user, &s.nats_password) {
        (Some(_), None) => {
            return contradiction(
                &["nats_user", "nats_password"],
                "a user needs a password".into(),
            );
        }
        (None, Some(_)) => {
            return contradiction(
                &["nats_password", "nats_user"],
                "a password needs a user".into(),
            );
        }
        _ => {}
    }
    let ways = [
        ("nats_user", s.nats_user.is_some()),
        ("nats_token", s.nats_token.is_some()),
        ("nats_creds", s.nats_creds.is_some()),
        (
            "nats_url",
            s.nats_url.has_credentials() && s.source != SourceKind::Embedded,
        ),
    ];
    let given: Vec<&'static str> = ways
        .into_iter()
        .filter(|(_, given)| *given)
        .map(|(name, _)| name)
        .collect();
    if given.len() > 1 {
        return contradiction(
            &given,
            "each of these is a way to log in to NATS; choose one".into(),
        );
    }
    // What stands before the first wildcard is the same in every subject that arrives.
    let fixed = s.subject.split(['*', '>']).next().unwrap_or_default();
    if !fixed.starts_with(&s.strip) {
        let message = format!(
            "`{}` is not the front of every subject of `{}`",
            s.strip, s.subject
        );
        return contradiction(&["strip", "subject"], message);
    }
    Ok(())
}

fn windows(s: &Settings) -> Result<(), SettingsError> {
    let spans = s.coalesce_config().spans();
    if spans > Coalesce::SPANS_MAX {
        let message = format!(
            "{spans} different durations are named; {} are allowed",
            Coalesce::SPANS_MAX
        );
        return contradiction(&["coalesce_channels", "coalesce"], message);
    }
    Ok(())
}

fn transport(s: &Settings) -> Result<(), SettingsError> {
    if s.tls_cert.is_some() != s.tls_key.is_some() {
        let message = "a certificate and its key go together".into();
        return contradiction(&["tls_cert", "tls_key"], message);
    }
    if s.proxy_protocol && s.trusted_proxies.is_empty() {
        let message = "without trusted proxies nobody's header would be read".into();
        return contradiction(&["proxy_protocol", "trusted_proxies"], message);
    }
    Ok(())
}

fn thresholds(s: &Settings) -> Result<(), SettingsError> {
    let pairs = [
        (
            ["cpu_admit_percent", "cpu_refuse_percent"],
            s.cpu_admit_percent,
            s.cpu_refuse_percent,
        ),
        (
            ["memory_admit_percent", "memory_refuse_percent"],
            s.memory_admit_percent,
            s.memory_refuse_percent,
        ),
    ];
    for (keys, admit, refuse) in pairs {
        if refuse > 0 && admit >= refuse {
            let message = format!(
                "upgrades would be let in again at {admit} and refused from {refuse} on; the first must be lower"
            );
            return contradiction(&keys, message);
        }
    }
    Ok(())
}

fn rates(s: &Settings) -> Result<(), SettingsError> {
    let pairs = [
        (
            ["accept_burst", "accept_rate"],
            s.accept_burst,
            s.accept_rate,
        ),
        (
            ["ip_accept_burst", "ip_accept_rate"],
            s.ip_accept_burst,
            s.ip_accept_rate,
        ),
        (
            ["message_burst", "message_rate"],
            s.message_burst,
            s.message_rate,
        ),
    ];
    for (keys, burst, rate) in pairs {
        if rate > 0 && burst == 0 {
            let message = format!(
                "with a rate of {rate} a second the burst must be at least 1, or nothing is ever let in"
            );
            return contradiction(&keys, message);
        }
    }
    if s.ip_accept_burst > 0 && s.ip_accept_rate == 0 {
        return contradiction(
            &["ip_accept_burst", "ip_accept_rate"],
            "a burst without a rate limits nothing".into(),
        );
    }
    Ok(())
}

fn times(s: &Settings) -> Result<(), SettingsError> {
    if s.idle_timeout > Duration::ZERO && s.ping_interval >= s.idle_timeout {
        let message = "a silent client would be closed before it is asked by a ping".into();
        return contradiction(&["idle_timeout", "ping_interval"], message);
    }
    Ok(())
}

fn history(s: &Settings, gathered: &Gathered) -> Result<(), SettingsError> {
    if s.source != SourceKind::Jetstream {
        return Ok(());
    }
    if s.history_bytes == 0 && gathered.explicit("history_fetches").is_some() {
        return contradiction(
            &["history_fetches", "history_bytes"],
            "nothing is fetched where no history is kept".into(),
        );
    }
    if s.history_bytes > 0 && s.payload_bytes_max > s.history_bytes / 2 {
        return contradiction(
            &["payload_bytes_max", "history_bytes"],
            "the history must hold two of the largest messages".into(),
        );
    }
    Ok(())
}

fn memory(s: &Settings) -> Result<(), SettingsError> {
    if s.payload_bytes_max > s.log_bytes / 2 {
        return contradiction(
            &["payload_bytes_max", "log_bytes"],
            "the log must hold two of the largest messages".into(),
        );
    }
    match (s.memory_limit, s.max_connections) {
        (Some(memory), None) if s.memory_for_connections(memory) < s.connection_bytes as u64 => {
            let message = format!(
                "three quarters of the memory less the log and {} MiB leave no room for a connection",
                RESERVED_BYTES >> 20
            );
            contradiction(&["memory_limit", "log_bytes"], message)
        }
        _ => Ok(()),
    }
}
