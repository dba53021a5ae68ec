//! The endpoints about the server itself. They are answered at full capacity and while draining.
//!
//! What the answers say is decided in [`health`](crate::health), [`metrics`](crate::metrics) and
//! [`overview`](crate::overview); here it is collected.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue, RETRY_AFTER,
};
use odin_core::time::Instant;

use super::reply::{self, Reply};
use crate::health::{self, Answer, Inputs, Source};
use crate::metrics::{self, HttpStats, Snapshot};
use crate::overview;
use crate::server::shared::Shared;
use crate::settings::SourceKind;

fn answered(answer: Answer) -> Reply {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let reply = reply::text(status, "application/json", answer.body);
    match answer.retry_after {
        Some(seconds) => reply::with(reply, RETRY_AFTER, HeaderValue::from(seconds)),
        None => reply,
    }
}

pub(super) fn health(shared: &Shared) -> Reply {
    answered(health_of(shared))
}

fn health_of(shared: &Shared) -> Answer {
    let source = match (shared.settings.source, shared.source.get().connected) {
        (SourceKind::Embedded, _) => Source::Embedded,
        (_, true) => Source::Connected,
        (_, false) => Source::Disconnected,
    };
    let inputs = {
        let gate = shared.gate();
        Inputs {
            source,
            connections: gate.connections(),
            connections_max: gate.config().connections_max.into(),
            sample: gate.last_sample(),
            closed_by: gate.closed_by(),
            uptime: uptime(shared),
        }
    };
    health::health(&inputs)
}

fn uptime(shared: &Shared) -> Duration {
    shared.clock.now().saturating_since(Instant::ZERO)
}

pub(super) async fn live(shared: &Shared) -> Reply {
    answered(health::live(&shared.stuck().await))
}

pub(super) fn ready(shared: &Shared) -> Reply {
    answered(health::ready(
        shared.source.get().ready,
        shared.is_draining(),
    ))
}

/// Pages of every origin may read this: it tells nothing but when to come.
pub(super) fn admission(shared: &Shared) -> Reply {
    let outcome = shared.gate().would_admit(shared.clock.now());
    let reply = answered(health::admission(outcome));
    let any = HeaderValue::from_static("*");
    let reply = reply::with(reply, ACCESS_CONTROL_ALLOW_ORIGIN, any);
    let exposed = HeaderValue::from_static("Retry-After");
    reply::with(reply, ACCESS_CONTROL_EXPOSE_HEADERS, exposed)
}

fn http(shared: &Shared) -> HttpStats {
    let keys = shared.publisher.keys();
    HttpStats {
        idempotency_keys: keys.kept,
        idempotency_keys_dropped: keys.dropped,
        ..shared.counters.http()
    }
}

/// Everything that is known of the server, as of now.
async fn snapshot(shared: &Shared) -> Snapshot {
    let shards = shared.reports().await;
    let source = shared.source.get();
    let mut snapshot = Snapshot {
        shards,
        feed: source.stats,
        source_connected: source.connected,
        requests: shared.history.requests(),
        handshakes: shared.counters.handshakes(),
        http: http(shared),
        auth: shared
            .auth
            .as_ref()
            .map(|auth| auth.stats())
            .unwrap_or_default(),
        reloads: shared.reloads.counts(),
        tasks: shared.tasks(),
        ..Snapshot::default()
    };
    {
        let gate = shared.gate();
        let sample = gate.last_sample();
        snapshot.gate = *gate.stats();
        snapshot.gate_open = gate.is_open();
        snapshot.connections_max = gate.config().connections_max.into();
        snapshot.cpu_percent = sample
            .cpu_permille
            .map(|permille| f64::from(permille) / 10.0);
        snapshot.memory_bytes = sample.memory_bytes;
        snapshot.memory_limit = sample.memory_limit;
    }
    snapshot
}

/// For the live page and `odin-ws top`.
pub(super) async fn stats(shared: &Shared) -> Reply {
    let snapshot = snapshot(shared).await;
    let health = health_of(shared).body;
    let body = overview::overview(&snapshot, health, uptime(shared));
    reply::text(StatusCode::OK, "application/json", body)
}

/// Who is furthest behind. Whether the asker may know was decided before.
pub(super) async fn clients(shared: &Shared) -> Reply {
    let body = overview::clients(&shared.reports().await);
    reply::text(StatusCode::OK, "application/json", body)
}

pub(super) async fn metrics(shared: &Shared) -> Reply {
    match shared.exporter.render(snapshot(shared).await) {
        Ok(text) => reply::text(StatusCode::OK, metrics::CONTENT_TYPE, text),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            let message = "The metrics cannot be written; the log says why.";
            reply::error(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
        }
    }
}
