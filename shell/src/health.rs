//! The bodies of `GET /health`, `/live`, `/ready` and `/admission`.
//!
//! Pure functions from what is known to the answer. Collecting what is known is the server's, and
//! writing the answer to a socket is HTTP's.

use std::time::Duration;

use odin_core::gate::Refused;
use odin_core::load::Sample;
use odin_core::reason::Refusal;
use serde::Serialize;

/// The share of its limit from which connections or memory degrade, in percent.
const DEGRADED_PERCENT: f64 = 80.0;

/// The share of the quota from which CPU degrades, in percent.
const DEGRADED_CPU_PERCENT: f64 = 70.0;

/// The share of its limit from which memory is unhealthy, in percent.
const UNHEALTHY_MEMORY_PERCENT: f64 = 95.0;

const MIB: f64 = 1024.0 * 1024.0;

/// The source of messages, as `checks.nats.status` shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// NATS, and it is connected.
    Connected,
    /// NATS, and it is away.
    Disconnected,
    /// This process.
    Embedded,
}

/// What `/health` is made from.
#[derive(Clone, Copy, Debug)]
pub struct Inputs {
    /// The source.
    pub source: Source,
    /// Connections that are open.
    pub connections: u64,
    /// Connections that are taken; 0: no limit.
    pub connections_max: u64,
    /// The latest sample.
    pub sample: Sample,
    /// Why nobody is let in ([`Gate::closed_by`](odin_core::gate::Gate::closed_by)).
    pub closed_by: Option<Refusal>,
    /// Time since the server started.
    pub uptime: Duration,
}

/// An HTTP answer with a JSON body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The value of `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// The JSON body.
    pub body: String,
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    healthy: bool,
    checks: Checks,
    warnings: Vec<String>,
    errors: Vec<String>,
    uptime: u64,
}

#[derive(Serialize)]
struct Checks {
    nats: NatsCheck,
    capacity: CapacityCheck,
    memory: MemoryCheck,
    cpu: CpuCheck,
}

#[derive(Serialize)]
struct NatsCheck {
    status: Source,
    healthy: bool,
}

#[derive(Serialize)]
struct CapacityCheck {
    current: u64,
    max: u64,
    percentage: f64,
    healthy: bool,
}

#[derive(Serialize)]
struct MemoryCheck {
    used_mb: Option<f64>,
    limit_mb: Option<f64>,
    percentage: Option<f64>,
    healthy: bool,
}

#[derive(Serialize)]
struct CpuCheck {
    percentage: Option<f64>,
    healthy: bool,
}

/// The answer to `GET /health`: 200 while healthy or degraded, 503 when unhealthy.
#[must_use]
pub fn health(inputs: &Inputs) -> Answer {
    let mut warnings = Vec::new();
    let mut errors = Vec::new();
    let checks = Checks {
        nats: nats(inputs.source, &mut errors),
        capacity: capacity(inputs, &mut warnings),
        memory: memory(&inputs.sample, &mut warnings, &mut errors),
        cpu: cpu(&inputs.sample, &mut warnings),
    };
    if let Some(reason) = inputs.closed_by {
        warnings.push(format!("Admission closed: {}", reason.label()));
    }
    let status = match (errors.is_empty(), warnings.is_empty()) {
        (false, _) => "unhealthy",
        (true, false) => "degraded",
        (true, true) => "healthy",
    };
    let health = Health {
        status,
        // As the HTTP status: whether the server does its work, if with a warning.
        healthy: errors.is_empty(),
        checks,
        uptime: inputs.uptime.as_secs(),
        warnings,
        errors,
    };
    answer(if health.healthy { 200 } else { 503 }, None, &health)
}

fn nats(source: Source, errors: &mut Vec<String>) -> NatsCheck {
    let healthy = source != Source::Disconnected;
    if !healthy {
        errors.push("NATS connection lost".to_owned());
    }
    NatsCheck {
        status: source,
        healthy,
    }
}

fn capacity(inputs: &Inputs, warnings: &mut Vec<String>) -> CapacityCheck {
    let percentage = match inputs.connections_max {
        // Without a limit there is no share of it.
        0 => 0.0,
        max => percent(inputs.connections as f64, max as f64),
    };
    let healthy = percentage < DEGRADED_PERCENT;
    if !healthy {
        warnings.push(format!(
            "Connections at {} % of capacity",
            tenth(percentage)
        ));
    }
    CapacityCheck {
        current: inputs.connections,
        max: inputs.connections_max,
        percentage: tenth(percentage),
        healthy,
    }
}

fn memory(sample: &Sample, warnings: &mut Vec<String>, errors: &mut Vec<String>) -> MemoryCheck {
    let limit = sample.memory_limit.filter(|limit| *limit > 0);
    let share = sample.memory_bytes.zip(limit);
    let percentage = share.map(|(used, limit)| percent(used as f64, limit as f64));
    match percentage {
        Some(p) if p >= UNHEALTHY_MEMORY_PERCENT => {
            errors.push(format!("Memory at {} % of its limit", tenth(p)));
        }
        Some(p) if p >= DEGRADED_PERCENT => {
            warnings.push(format!("Memory at {} % of its limit", tenth(p)));
        }
        Some(_) => {}
        None => warnings.push("Memory use is unknown".to_owned()),
    }
    MemoryCheck {
        used_mb: sample.memory_bytes.map(|bytes| tenth(bytes as f64 / MIB)),
        limit_mb: limit.map(|bytes| tenth(bytes as f64 / MIB)),
        percentage: percentage.map(tenth),
        healthy: percentage.is_some_and(|p| p < DEGRADED_PERCENT),
    }
}

fn cpu(sample: &Sample, warnings: &mut Vec<String>) -> CpuCheck {
    let percentage = sample
        .cpu_permille
        .map(|permille| f64::from(permille) / 10.0);
    let healthy = percentage.is_some_and(|p| p < DEGRADED_CPU_PERCENT);
    match percentage {
        Some(p) if !healthy => warnings.push(format!("CPU at {} % of its quota", tenth(p))),
        Some(_) => {}
        None => warnings.push("CPU use is unknown".to_owned()),
    }
    CpuCheck {
        percentage: percentage.map(tenth),
        healthy,
    }
}

/// The answer to `GET /live`: 200 while every shard's loop answers. The numbers of those that do not
/// are named.
#[must_use]
pub fn live(stuck: &[usize]) -> Answer {
    #[derive(Serialize)]
    struct Live<'a> {
        live: bool,
        stuck_shards: &'a [usize],
    }
    let live = stuck.is_empty();
    let body = Live {
        live,
        stuck_shards: stuck,
    };
    answer(if live { 200 } else { 503 }, None, &body)
}

/// The answer to `GET /ready`: 503 only before the first snapshot of the source and while draining.
#[must_use]
pub fn ready(source_ready: bool, draining: bool) -> Answer {
    #[derive(Serialize)]
    struct Ready {
        ready: bool,
        reason: Option<&'static str>,
    }
    let reason = match (draining, source_ready) {
        (true, _) => Some("draining"),
        (false, false) => Some("source_not_ready"),
        (false, true) => None,
    };
    let body = Ready {
        ready: reason.is_none(),
        reason,
    };
    answer(if body.ready { 200 } else { 503 }, None, &body)
}

/// The answer to `GET /admission`: 200, or 503 with `Retry-After`. It tells browsers, which cannot read a
/// failed upgrade, whether to come. The status is 503 for every reason.
#[must_use]
pub fn admission(outcome: Result<(), Refused>) -> Answer {
    #[derive(Serialize)]
    struct Admission {
        open: bool,
        reason: Option<&'static str>,
        retry_after_ms: Option<u64>,
    }
    let refused = outcome.err();
    let body = Admission {
        open: refused.is_none(),
        reason: refused.map(|refused| refused.reason.label()),
        retry_after_ms: refused.map(|refused| millis(refused.retry_after)),
    };
    let retry_after = refused.map(|refused| retry_after_seconds(refused.retry_after));
    answer(if body.open { 200 } else { 503 }, retry_after, &body)
}

/// `Retry-After` in whole seconds (RFC 9110 10.2.3), rounded up: not before the time that was meant.
fn retry_after_seconds(after: Duration) -> u64 {
    after.as_secs() + u64::from(after.subsec_nanos() > 0)
}

/// Whole milliseconds, rounded up.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

fn percent(part: f64, whole: f64) -> f64 {
    part * 100.0 / whole
}

/// Rounded to one decimal, as shown; decisions are made on the exact value.
fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn answer(status: u16, retry_after: Option<u64>, body: &impl Serialize) -> Answer {
    Answer {
        status,
        retry_after,
        // Structs of numbers and strings always have a JSON form.
        body: serde_json::to_string(body).unwrap_or_else(|_| "{}".to_owned()),
    }
}
