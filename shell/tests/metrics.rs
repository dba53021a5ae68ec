//! The text of `/metrics`: every name, every series from the start, and what Prometheus's own tool says.

use std::io::Write;
use std::process::{Command, Stdio};

use odin_core::reason::{
    CloseReason, ErrorCode, LostReason, Refusal, TokenFault, UnrecoveredReason,
};
use odin_shell::metrics::{AuthStats, Exporter, Handshakes, HttpStats, ShardSnapshot, Snapshot};
use odin_shell::source::RequestKind;

/// Names and types that dashboards and alert rules rely on.
const NAMES: &[(&str, &str)] = &[
    ("ws_connections_total", "counter"),
    ("ws_connections_active", "gauge"),
    ("ws_connections_max", "gauge"),
    ("ws_connections_failed_total", "counter"),
    ("ws_messages_sent_total", "counter"),
    ("ws_messages_received_total", "counter"),
    ("ws_bytes_sent_total", "counter"),
    ("ws_bytes_received_total", "counter"),
    ("ws_writes_blocked_total", "counter"),
    ("ws_write_pauses_total", "counter"),
    ("ws_slow_clients_disconnected_total", "counter"),
    ("ws_rate_limited_messages_total", "counter"),
    ("ws_replay_requests_total", "counter"),
    ("ws_history_fetches_total", "counter"),
    ("ws_history_failed_total", "counter"),
    ("ws_history_pages", "gauge"),
    ("ws_history_bytes", "gauge"),
    ("ws_refills_total", "counter"),
    ("ws_nats_requests_total", "counter"),
    ("ws_cpu_usage_percent", "gauge"),
    ("ws_memory_bytes", "gauge"),
    ("ws_memory_limit_bytes", "gauge"),
    ("ws_goroutines_active", "gauge"),
    ("ws_nats_connected", "gauge"),
    ("ws_nats_messages_received_total", "counter"),
    ("ws_connections_rejected_total", "counter"),
    ("ws_disconnects_total", "counter"),
    ("ws_delivery_seconds", "histogram"),
    ("ws_lag_messages", "gauge"),
    ("ws_lag_seconds", "gauge"),
    ("ws_subscription_lag_seconds", "histogram"),
    ("ws_resumes_total", "counter"),
    ("ws_lost_messages_total", "counter"),
    ("ws_conflated_messages_total", "counter"),
    ("ws_resets_total", "counter"),
    ("ws_log_bytes", "gauge"),
    ("ws_channels", "gauge"),
    ("ws_subscriptions", "gauge"),
    ("ws_admission_open", "gauge"),
    ("ws_tasks_active", "gauge"),
    ("ws_shard_stale", "gauge"),
    ("ws_handshakes_failed_total", "counter"),
    ("ws_errors_total", "counter"),
    ("ws_http_responses_total", "counter"),
    ("ws_http_published_total", "counter"),
    ("ws_http_publish_forbidden_total", "counter"),
    ("ws_http_duplicates_total", "counter"),
    ("ws_http_idempotency_keys", "gauge"),
    ("ws_http_idempotency_keys_dropped_total", "counter"),
    ("ws_auth_accepted_total", "counter"),
    ("ws_auth_failures_total", "counter"),
    ("ws_auth_keys", "gauge"),
    ("ws_reloads_total", "counter"),
    ("ws_last_values_dropped_total", "counter"),
    ("ws_nats_messages_lost_total", "counter"),
    ("ws_nats_consumers_opened_total", "counter"),
    ("ws_channels_unpublished", "gauge"),
    ("ws_patterns", "gauge"),
    ("ws_build_info", "gauge"),
    ("ws_shard_connections", "gauge"),
    ("ws_shard_log_bytes", "gauge"),
    ("process_cpu_seconds_total", "counter"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_virtual_memory_bytes", "gauge"),
    ("process_start_time_seconds", "gauge"),
    ("process_open_fds", "gauge"),
    ("process_threads", "gauge"),
];

fn shards() -> Vec<ShardSnapshot> {
    vec![ShardSnapshot::default(); 2]
}

fn render(snapshot: Snapshot) -> String {
    Exporter::new().unwrap().render(snapshot).unwrap()
}

/// The value of one series, as written.
fn value(text: &str, series: &str) -> String {
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found
        .unwrap_or_else(|| panic!("no {series} in\n{text}"))
        .to_owned()
}

fn assert_values(text: &str, expected: &[(&str, &str)]) {
    for (series, expected) in expected {
        assert_eq!(value(text, series), *expected, "{series}");
    }
}

#[test]
fn every_name_is_there_with_its_type_and_a_help_text() {
    let text = render(Snapshot {
        shards: shards(),
        ..Snapshot::default()
    });
    for (name, kind) in NAMES {
        assert!(
            text.contains(&format!("\n# TYPE {name} {kind}\n")),
            "{name} {kind}\n{text}"
        );
        assert!(text.contains(&format!("# HELP {name} ")), "{name}");
    }
    // And none of ours that is not listed above.
    let ours = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ws_"));
    for name in ours.map(|rest| format!("ws_{}", rest.split(' ').next().unwrap())) {
        assert!(
            NAMES.iter().any(|(listed, _)| *listed == name),
            "{name} is not listed"
        );
    }
}

#[test]
fn every_labelled_series_exists_from_the_start() {
    let text = render(Snapshot {
        shards: shards(),
        ..Snapshot::default()
    });
    let mut series: Vec<String> = Vec::new();
    let mut each = |name: &str, label: &str, values: &[&str]| {
        series.extend(
            values
                .iter()
                .map(|value| format!("{name}{{{label}=\"{value}\"}}")),
        );
    };
    let refusals: Vec<_> = Refusal::ALL.iter().map(|r| r.label()).collect();
    let closes: Vec<_> = CloseReason::ALL.iter().map(|r| r.label()).collect();
    let lost: Vec<_> = LostReason::ALL.iter().map(|r| r.label()).collect();
    let unrecovered: Vec<_> = UnrecoveredReason::ALL.iter().map(|r| r.label()).collect();
    let codes: Vec<_> = ErrorCode::ALL.iter().map(|r| r.label()).collect();
    let broken: Vec<_> = Handshakes::default()
        .by_reason()
        .map(|(label, _)| label)
        .to_vec();
    each("ws_connections_rejected_total", "reason", &refusals);
    each("ws_disconnects_total", "reason", &closes);
    each("ws_lost_messages_total", "reason", &lost);
    each("ws_nats_messages_lost_total", "reason", &lost);
    each("ws_resumes_total", "outcome", &unrecovered);
    each("ws_resumes_total", "outcome", &["recovered"]);
    each("ws_errors_total", "code", &codes);
    let faults: Vec<_> = TokenFault::ALL.iter().map(|fault| fault.label()).collect();
    each("ws_auth_failures_total", "reason", &faults);
    each("ws_reloads_total", "outcome", &["ok", "failed"]);
    each("ws_handshakes_failed_total", "reason", &broken);
    each(
        "ws_http_responses_total",
        "class",
        &["1xx", "2xx", "3xx", "4xx", "5xx"],
    );
    each("ws_shard_stale", "shard", &["0", "1"]);
    let kinds = RequestKind::ALL.map(RequestKind::label);
    each("ws_nats_requests_total", "kind", &kinds);
    for series in series {
        assert_eq!(value(&text, &series), "0", "{series}");
    }
}

#[test]
fn values_are_summed_over_the_shards() {
    let mut shards = shards();
    for (n, shard) in (1..).zip(&mut shards) {
        shard.stats.connections_opened = 10 * n;
        shard.stats.connections = n;
        shard.stats.messages_sent = 1_000 * n;
        shard.stats.rate_limited = 5;
        shard.stats.disconnects[CloseReason::SlowConsumer as usize] = 3;
        shard.stats.errors[ErrorCode::InvalidJson as usize] = 2;
        shard.stats.resumes.recovered = 7;
        shard.stats.resumes.unrecovered[UnrecoveredReason::TooOld as usize] = 1;
        shard.stats.lost[LostReason::SlowConsumer as usize] = 4;
        shard.stats.log_bytes = 100 * n;
        shard.stats.history_fetches = 20 * n;
        shard.stats.history_failed = n;
        shard.stats.history_pages = 2 * n;
        shard.stats.history_bytes = 500 * n;
        shard.stats.refills = 9;
        shard.lag.messages_max = 50 * n;
        shard.lag.nanos_max = 1_500_000_000 * n;
    }
    shards[1].stale = true;
    let mut snapshot = Snapshot {
        shards,
        gate_open: true,
        connections_max: 100,
        source_connected: true,
        cpu_percent: Some(12.5),
        memory_bytes: Some(1 << 20),
        memory_limit: Some(1 << 29),
        tasks: 42,
        handshakes: Handshakes {
            invalid: 1,
            timeout: 2,
            ..Handshakes::default()
        },
        ..Snapshot::default()
    };
    snapshot.gate.refused[Refusal::Capacity as usize] = 6;
    snapshot.feed.received = 999;
    snapshot.requests[RequestKind::Batch as usize] = 12;
    snapshot.feed.log_bytes = 150;
    snapshot.feed.lost[LostReason::TooLarge as usize] = 8;
    snapshot.http = HttpStats {
        responses: [1, 2, 0, 1, 3],
        publish_forbidden: 21,
        duplicates: 22,
        idempotency_keys: 23,
        idempotency_keys_dropped: 24,
        ..HttpStats::default()
    };
    snapshot.auth = AuthStats {
        accepted: 31,
        keys: 32,
        ..AuthStats::default()
    };
    snapshot.auth.failures[TokenFault::Expired as usize] = 33;
    snapshot.reloads = [41, 42];
    let text = render(snapshot);
    assert_values(
        &text,
        &[
            ("ws_connections_total", "30"),
            ("ws_connections_active", "3"),
            ("ws_connections_max", "100"),
            ("ws_connections_failed_total", "9"),
            ("ws_connections_rejected_total{reason=\"capacity\"}", "6"),
            ("ws_handshakes_failed_total{reason=\"timeout\"}", "2"),
            ("ws_messages_sent_total", "3000"),
            ("ws_rate_limited_messages_total", "10"),
            ("ws_slow_clients_disconnected_total", "6"),
            ("ws_disconnects_total{reason=\"slow_consumer\"}", "6"),
            ("ws_errors_total{code=\"INVALID_JSON\"}", "4"),
            ("ws_resumes_total{outcome=\"recovered\"}", "14"),
            ("ws_resumes_total{outcome=\"too_old\"}", "2"),
            ("ws_lost_messages_total{reason=\"slow_consumer\"}", "8"),
            ("ws_nats_messages_lost_total{reason=\"too_large\"}", "8"),
            ("ws_lost_messages_total{reason=\"too_large\"}", "8"),
            ("ws_log_bytes", "150"),
            ("ws_shard_log_bytes{shard=\"1\"}", "200"),
            ("ws_history_fetches_total", "60"),
            ("ws_history_failed_total", "3"),
            ("ws_history_pages", "6"),
            ("ws_history_bytes", "1500"),
            ("ws_refills_total", "18"),
            ("ws_nats_requests_total{kind=\"batch\"}", "12"),
            ("ws_nats_requests_total{kind=\"info\"}", "0"),
            ("ws_lag_messages", "100"),
            ("ws_lag_seconds", "3"),
            ("ws_shard_stale{shard=\"0\"}", "0"),
            ("ws_shard_stale{shard=\"1\"}", "1"),
            ("ws_nats_connected", "1"),
            ("ws_nats_messages_received_total", "999"),
            ("ws_admission_open", "1"),
            ("ws_cpu_usage_percent", "12.5"),
            ("ws_memory_bytes", "1048576"),
            ("ws_memory_limit_bytes", "536870912"),
            ("ws_tasks_active", "42"),
            ("ws_goroutines_active", "42"),
            ("ws_http_publish_forbidden_total", "21"),
            ("ws_http_duplicates_total", "22"),
            ("ws_http_idempotency_keys", "23"),
            ("ws_http_idempotency_keys_dropped_total", "24"),
            ("ws_auth_accepted_total", "31"),
            ("ws_auth_keys", "32"),
            ("ws_auth_failures_total{reason=\"expired\"}", "33"),
            ("ws_reloads_total{outcome=\"ok\"}", "41"),
            ("ws_reloads_total{outcome=\"failed\"}", "42"),
            ("ws_http_responses_total{class=\"1xx\"}", "1"),
            ("ws_http_responses_total{class=\"2xx\"}", "2"),
            ("ws_http_responses_total{class=\"4xx\"}", "1"),
            ("ws_http_responses_total{class=\"5xx\"}", "3"),
        ],
    );
}

#[test]
fn histograms_are_cumulative_and_in_seconds() {
    let mut shards = shards();
    shards[0].stats.delivery.observe(50_000);
    shards[0].stats.delivery.observe(2_000_000);
    shards[1].stats.delivery.observe(60_000_000_000);
    shards[1].lag.histogram.observe(1_000_000_000);
    let text = render(Snapshot {
        shards,
        ..Snapshot::default()
    });
    assert_values(
        &text,
        &[
            ("ws_delivery_seconds_bucket{le=\"0.00005\"}", "1"),
            ("ws_delivery_seconds_bucket{le=\"0.001\"}", "1"),
            ("ws_delivery_seconds_bucket{le=\"0.0025\"}", "2"),
            ("ws_delivery_seconds_bucket{le=\"30\"}", "2"),
            ("ws_delivery_seconds_bucket{le=\"+Inf\"}", "3"),
            ("ws_delivery_seconds_count", "3"),
            ("ws_delivery_seconds_sum", "60.00205"),
            ("ws_subscription_lag_seconds_bucket{le=\"0.5\"}", "0"),
            ("ws_subscription_lag_seconds_bucket{le=\"1\"}", "1"),
            ("ws_subscription_lag_seconds_sum", "1"),
        ],
    );
}

#[test]
fn unknown_is_not_a_number_and_no_shards_is_no_error() {
    let text = render(Snapshot::default());
    for name in [
        "ws_cpu_usage_percent",
        "ws_memory_bytes",
        "ws_memory_limit_bytes",
    ] {
        assert_eq!(value(&text, name), "NaN");
    }
    assert_eq!(value(&text, "ws_connections_active"), "0");
    assert_eq!(value(&text, "ws_lag_messages"), "0");
    assert!(!text.contains("ws_shard_stale"));
}

#[test]
fn each_scrape_shows_its_own_snapshot() {
    let exporter = Exporter::new().unwrap();
    for tasks in [1, 2] {
        let snapshot = Snapshot {
            tasks,
            ..Snapshot::default()
        };
        let text = exporter.render(snapshot).unwrap();
        assert_eq!(value(&text, "ws_tasks_active"), tasks.to_string());
    }
}

#[test]
fn promtool_has_nothing_to_say() {
    let text = render(Snapshot {
        shards: shards(),
        ..Snapshot::default()
    });
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect(
            "promtool is needed: apt-get install prometheus, or https://prometheus.io/download",
        );
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert_eq!(String::from_utf8_lossy(&said), "");
    assert!(output.status.success());
}
