//! The metrics, one by one: name, type, help and where the value comes from.

use odin_core::reason::{
    CloseReason, ErrorCode, LostReason, Refusal, TokenFault, UnrecoveredReason,
};
use odin_core::stats::{Histogram, Stats};
use prometheus::proto::{MetricFamily, MetricType};

use super::Snapshot;
use super::family::{Families, flag, gauge, labelled, pair, seconds, sum_each};
use crate::source::RequestKind;

/// One family per metric.
pub(super) fn families(snapshot: &Snapshot) -> Vec<MetricFamily> {
    let mut out = Families::default();
    connections(&mut out, snapshot);
    traffic(&mut out, snapshot);
    access(&mut out, snapshot);
    recovery(&mut out, snapshot);
    source(&mut out, snapshot);
    state(&mut out, snapshot);
    shards(&mut out, snapshot);
    out.into_inner()
}

fn connections(out: &mut Families, s: &Snapshot) {
    let sum = |of: fn(&Stats) -> u64| s.shards.iter().map(|shard| of(&shard.stats)).sum::<u64>();
    let rejected: u64 = s.gate.refused.iter().sum();
    out.counter(
        "ws_connections_total",
        "WebSocket connections opened.",
        sum(|stats| stats.connections_opened),
    );
    out.gauge(
        "ws_connections_active",
        "WebSocket connections open now.",
        sum(|stats| stats.connections) as f64,
    );
    out.gauge(
        "ws_connections_max",
        "WebSocket connections that the server takes; 0: no limit.",
        s.connections_max as f64,
    );
    out.counter(
        "ws_connections_failed_total",
        "Upgrades refused and handshakes broken, together.",
        rejected + s.handshakes.total(),
    );
    out.counters(
        "ws_connections_rejected_total",
        "Upgrades refused, by reason.",
        "reason",
        labelled(Refusal::ALL, &s.gate.refused, |r| r.label()),
    );
    out.counters(
        "ws_handshakes_failed_total",
        "Handshakes broken before an upgrade was decided, by reason.",
        "reason",
        s.handshakes.by_reason(),
    );
    let disconnects = sum_each(s, |stats| &stats.disconnects);
    out.counters(
        "ws_disconnects_total",
        "WebSocket connections ended, by reason.",
        "reason",
        labelled(CloseReason::ALL, &disconnects, |r| r.label()),
    );
    out.counter(
        "ws_slow_clients_disconnected_total",
        "WebSocket connections closed because the client was too slow.",
        disconnects[CloseReason::SlowConsumer as usize],
    );
    out.gauge(
        "ws_admission_open",
        "1 while new connections are let in, as far as their rate allows.",
        flag(s.gate_open),
    );
}

fn traffic(out: &mut Families, s: &Snapshot) {
    let sum = |of: fn(&Stats) -> u64| s.shards.iter().map(|shard| of(&shard.stats)).sum::<u64>();
    out.counter(
        "ws_messages_sent_total",
        "WebSocket messages written to clients.",
        sum(|stats| stats.messages_sent),
    );
    out.counter(
        "ws_messages_received_total",
        "WebSocket messages received from clients, dropped ones included.",
        sum(|stats| stats.messages_received),
    );
    out.counter(
        "ws_bytes_sent_total",
        "Bytes written to clients.",
        sum(|stats| stats.bytes_sent),
    );
    out.counter(
        "ws_writes_blocked_total",
        "Writes that a socket did not take whole, because it was full.",
        sum(|stats| stats.writes_blocked),
    );
    out.counter(
        "ws_write_pauses_total",
        "Pauses of a shard that was behind, so that its writes would carry more.",
        s.shards.iter().map(|shard| shard.pauses).sum(),
    );
    out.counter(
        "ws_bytes_received_total",
        "Payload bytes received from clients.",
        sum(|stats| stats.bytes_received),
    );
    out.counter(
        "ws_rate_limited_messages_total",
        "Client messages dropped because they came too fast.",
        sum(|stats| stats.rate_limited),
    );
    let errors = sum_each(s, |stats| &stats.errors);
    out.counters(
        "ws_errors_total",
        "Client requests answered with an error, by code.",
        "code",
        labelled(ErrorCode::ALL, &errors, |code| code.label()),
    );
    let mut delivery = Histogram::default();
    s.shards
        .iter()
        .for_each(|shard| delivery.add(&shard.stats.delivery));
    out.histogram(
        "ws_delivery_seconds",
        "Time from the receipt of a message from upstream to its write to a client's socket.",
        &delivery,
    );
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    out.counters(
        "ws_http_responses_total",
        "HTTP answers by class of status; 1xx are upgrades.",
        "class",
        classes.into_iter().zip(s.http.responses),
    );
    out.counter(
        "ws_http_published_total",
        "Messages accepted over HTTP.",
        s.http.published,
    );
}

fn access(out: &mut Families, s: &Snapshot) {
    out.counter(
        "ws_auth_accepted_total",
        "Tokens of clients that were accepted, those of a refresh included.",
        s.auth.accepted,
    );
    out.counters(
        "ws_auth_failures_total",
        "Tokens of clients that were not accepted, by reason.",
        "reason",
        labelled(TokenFault::ALL, &s.auth.failures, |fault| fault.label()),
    );
    out.gauge(
        "ws_auth_keys",
        "Keys that tokens of clients are verified with; 0: clients need no token.",
        s.auth.keys as f64,
    );
    out.counters(
        "ws_reloads_total",
        "Parts of the configuration read again (SIGHUP), by outcome; what failed stays as it was.",
        "outcome",
        ["ok", "failed"].into_iter().zip(s.reloads),
    );
    out.counter(
        "ws_http_publish_forbidden_total",
        "Publications refused because of a missing or wrong token, or one that does not allow the channel.",
        s.http.publish_forbidden,
    );
    out.counter(
        "ws_http_duplicates_total",
        "Messages over HTTP that were not taken again, by their idempotency key.",
        s.http.duplicates,
    );
    out.gauge(
        "ws_http_idempotency_keys",
        "Idempotency keys that the embedded source keeps.",
        s.http.idempotency_keys as f64,
    );
    out.counter(
        "ws_http_idempotency_keys_dropped_total",
        "Idempotency keys forgotten before idempotency_window had passed, because there were too many.",
        s.http.idempotency_keys_dropped,
    );
}

fn recovery(out: &mut Families, s: &Snapshot) {
    let sum = |of: fn(&Stats) -> u64| s.shards.iter().map(|shard| of(&shard.stats)).sum::<u64>();
    out.counter(
        "ws_replay_requests_total",
        "Replay requests accepted.",
        sum(|stats| stats.replay_requests),
    );
    let unrecovered = sum_each(s, |stats| &stats.resumes.unrecovered);
    let recovered = ("recovered", sum(|stats| stats.resumes.recovered));
    let outcomes = labelled(UnrecoveredReason::ALL, &unrecovered, |r| r.label());
    out.counters(
        "ws_resumes_total",
        "Positions that clients resumed from: recovered, or why not.",
        "outcome",
        std::iter::once(recovered).chain(outcomes),
    );
    let mut lost = sum_each(s, |stats| &stats.lost);
    for (sum, upstream) in lost.iter_mut().zip(s.feed.lost) {
        *sum += upstream;
    }
    out.counters(
        "ws_lost_messages_total",
        "Messages lost, by reason: those of the source once, those of a slow client for each \
         subscription that was told; 1 each where the count is unknown.",
        "reason",
        labelled(LostReason::ALL, &lost, |r| r.label()),
    );
    out.counter(
        "ws_conflated_messages_total",
        "Messages of the log passed over because a later one replaced them (latest mode).",
        sum(|stats| stats.conflated),
    );
    out.counter(
        "ws_last_values_dropped_total",
        "Last values of quiet channels given up because of their bound.",
        sum(|stats| stats.last_values_dropped),
    );
    out.counter(
        "ws_history_fetches_total",
        "Pages of history asked for, for clients whose position has left the log.",
        sum(|stats| stats.history_fetches),
    );
    out.counter(
        "ws_history_failed_total",
        "Pages of history that JetStream could not be asked for.",
        sum(|stats| stats.history_failed),
    );
    out.counter(
        "ws_refills_total",
        "Subscriptions that fell off the log and went on in history.",
        sum(|stats| stats.refills),
    );
    let messages = s.shards.iter().map(|shard| shard.lag.messages_max).max();
    out.gauge(
        "ws_lag_messages",
        "How far the worst subscription is behind, in messages.",
        messages.unwrap_or(0) as f64,
    );
    let nanos = s.shards.iter().map(|shard| shard.lag.nanos_max).max();
    out.gauge(
        "ws_lag_seconds",
        "How far the worst subscription is behind: the age of its next message.",
        seconds(nanos.unwrap_or(0)),
    );
    let mut lag = Histogram::default();
    s.shards
        .iter()
        .for_each(|shard| lag.add(&shard.lag.histogram));
    out.histogram(
        "ws_subscription_lag_seconds",
        "Subscriptions that are behind as of this scrape, by the age of their next message. \
         Not cumulative over time: use it without rate().",
        &lag,
    );
}

fn source(out: &mut Families, s: &Snapshot) {
    out.gauge(
        "ws_nats_connected",
        "1 while the source of messages is connected; the embedded source always is.",
        flag(s.source_connected),
    );
    out.counter(
        "ws_nats_messages_received_total",
        "Messages received from the source.",
        s.feed.received,
    );
    out.counters(
        "ws_nats_messages_lost_total",
        "Messages lost before or at their receipt, by reason; 1 each where the count is unknown.",
        "reason",
        labelled(LostReason::ALL, &s.feed.lost, |r| r.label()),
    );
    out.counter(
        "ws_nats_consumers_opened_total",
        "JetStream consumers opened.",
        s.feed.consumers_opened,
    );
    out.counters(
        "ws_nats_requests_total",
        "Requests to JetStream, for history and to follow the stream, by kind.",
        "kind",
        labelled(&RequestKind::ALL, &s.requests, |kind| kind.label()),
    );
    out.counter(
        "ws_resets_total",
        "Times the number line of the source began anew.",
        s.feed.resets,
    );
}

fn state(out: &mut Families, s: &Snapshot) {
    let sum = |of: fn(&Stats) -> u64| s.shards.iter().map(|shard| of(&shard.stats)).sum::<u64>();
    out.gauge(
        "ws_log_bytes",
        "Bytes of messages in the log, counted once for all shards.",
        s.feed.log_bytes as f64,
    );
    out.gauge(
        "ws_history_bytes",
        "Bytes of pages of history kept, over all shards.",
        sum(|stats| stats.history_bytes) as f64,
    );
    out.gauge(
        "ws_history_pages",
        "Pages of history kept, over all shards.",
        sum(|stats| stats.history_pages) as f64,
    );
    out.gauge("ws_channels", "Channels known.", s.feed.channels as f64);
    out.gauge(
        "ws_channels_unpublished",
        "Names that are subscribed and have had no message, over all shards.",
        sum(|stats| stats.unpublished) as f64,
    );
    out.gauge(
        "ws_patterns",
        "Patterns kept, over all shards.",
        sum(|stats| stats.patterns) as f64,
    );
    out.gauge(
        "ws_subscriptions",
        "Subscriptions.",
        sum(|stats| stats.subscriptions) as f64,
    );
    out.gauge(
        "ws_cpu_usage_percent",
        "CPU in percent of the quota; NaN: unknown.",
        s.cpu_percent.unwrap_or(f64::NAN),
    );
    out.gauge(
        "ws_memory_bytes",
        "Working set in bytes; NaN: unknown.",
        s.memory_bytes.map_or(f64::NAN, |bytes| bytes as f64),
    );
    out.gauge(
        "ws_memory_limit_bytes",
        "What the working set may grow to, in bytes; NaN: unknown.",
        s.memory_limit.map_or(f64::NAN, |bytes| bytes as f64),
    );
    out.gauge("ws_tasks_active", "Tasks alive.", s.tasks as f64);
    out.gauge(
        "ws_goroutines_active",
        "Tasks alive; the name that older panels use for ws_tasks_active.",
        s.tasks as f64,
    );
    out.family(
        "ws_build_info",
        "1, with the version of this server.",
        MetricType::GAUGE,
        vec![gauge(vec![pair("version", odin_core::VERSION)], 1.0)],
    );
}

fn shards(out: &mut Families, s: &Snapshot) {
    let mut each = |name, help, of: fn(&super::ShardSnapshot) -> f64| {
        let metric = |(n, shard): (usize, _)| gauge(vec![pair("shard", &n.to_string())], of(shard));
        let metrics = s.shards.iter().enumerate().map(metric).collect();
        out.family(name, help, MetricType::GAUGE, metrics);
    };
    each(
        "ws_shard_stale",
        "1 if the shard did not answer this scrape in time; its values are then its last.",
        |shard| flag(shard.stale),
    );
    each(
        "ws_shard_connections",
        "WebSocket connections of the shard.",
        |shard| shard.stats.connections as f64,
    );
    each(
        "ws_shard_log_bytes",
        "Bytes of messages and last values that the shard refers to; shards share them.",
        |shard| shard.stats.log_bytes as f64,
    );
}
