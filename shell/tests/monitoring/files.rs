//! Names: every metric that is spoken of exists, every metric of ours is documented, every alert has its
//! runbook and its tests, and the dashboard has what its readers rely on.

use std::collections::BTreeSet;

use odin_shell::metrics::{Exporter, ShardSnapshot, Snapshot};
use serde_json::{Value, json};

use crate::{DASHBOARD, OPERATIONS, RULE_TESTS, RULES, panel_expressions};

/// `/metrics` of a server with one shard.
fn metrics() -> String {
    let snapshot = Snapshot {
        shards: vec![ShardSnapshot::default()],
        ..Snapshot::default()
    };
    let exporter = Exporter::new().expect("an exporter");
    exporter.render(snapshot).expect("text")
}

/// Name, type and help of every metric.
fn families() -> Vec<(String, String, String)> {
    let text = metrics();
    let helps = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
    let family = |line: &str| {
        let (name, help) = line.split_once(' ').expect("a help text");
        let start = format!("# TYPE {name} ");
        let kind = text.lines().find_map(|line| line.strip_prefix(&start));
        let kind = kind.expect("a type");
        (name.to_owned(), kind.to_owned(), help.to_owned())
    };
    helps.map(family).collect()
}

/// The labels of a metric's series.
fn labels(name: &str) -> Vec<String> {
    let text = metrics();
    let series = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    let pairs = series.and_then(|rest| rest.split_once('}'));
    let pairs = pairs.map_or("", |(pairs, _)| pairs).split(',');
    let names = pairs.filter_map(|pair| pair.split_once('='));
    names.map(|(name, _)| name.to_owned()).collect()
}

/// Words that are a metric's name by their look.
fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words
        .filter(|word| word.starts_with("ws_") || word.starts_with("process_"))
        // Volumes of the Go server.
        .filter(|word| !word.starts_with("ws_poc_"))
        // A group of metrics, such as `process_*`.
        .filter(|word| !word.ends_with('_'))
        .collect()
}

#[test]
fn every_metric_that_is_named_exists() {
    let families = families();
    let exists = |word: &str| {
        families.iter().any(|(name, kind, _)| {
            let part = word.strip_prefix(name.as_str());
            part == Some("")
                || kind == "histogram" && matches!(part, Some("_bucket" | "_sum" | "_count"))
        })
    };
    let texts = [
        ("the dashboard", DASHBOARD),
        ("the rules", RULES),
        ("the rules' tests", RULE_TESTS),
        ("OPERATIONS.md", OPERATIONS),
        ("README.md", include_str!("../../../README.md")),
        ("PROTOCOL.md", include_str!("../../../docs/PROTOCOL.md")),
        (
            "CONFIGURATION.md",
            include_str!("../../../docs/CONFIGURATION.md"),
        ),
        (
            "the autoscaler",
            include_str!("../../../deploy/kubernetes/autoscaling.yaml"),
        ),
        (
            "the adapter",
            include_str!("../../../deploy/kubernetes/prometheus-adapter-values.yaml"),
        ),
    ];
    for (place, text) in texts {
        for word in named(text) {
            assert!(exists(word), "{place} names {word}");
        }
    }
    assert!(
        named(RULES).len() > 8 && named(DASHBOARD).len() > 30,
        "names are found"
    );
}

#[test]
fn every_metric_is_documented_as_it_is() {
    for (name, kind, help) in families() {
        let labels: Vec<String> = labels(&name).iter().map(|l| format!("`{l}`")).collect();
        let labels = if kind == "histogram" {
            String::new()
        } else {
            labels.join(", ")
        };
        let row = format!("| `{name}` | {kind} | {labels} | {help} |");
        let row = row.replace("|  |", "| |");
        assert!(OPERATIONS.contains(&row), "docs/OPERATIONS.md lacks\n{row}");
    }
}

/// The names of the alert rules.
fn alerts() -> Vec<&'static str> {
    let names: Vec<&str> = RULES
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("- alert: "))
        .collect();
    assert!(names.len() > 10);
    names
}

#[test]
fn every_alert_has_its_runbook_and_its_tests() {
    for name in alerts() {
        let anchor = name.to_lowercase();
        let link = format!("/docs/OPERATIONS.md#{anchor}\n");
        assert_eq!(RULES.matches(&link).count(), 1, "{name} has no runbook_url");
        let heading = format!("\n### {name}\n");
        assert_eq!(
            OPERATIONS.matches(&heading).count(),
            1,
            "{name} has no runbook"
        );
        for case in [
            format!("name: {name} fires "),
            format!("name: {name} is silent "),
        ] {
            assert!(RULE_TESTS.contains(&case), "no test: {case}");
        }
    }
    let runbooks = OPERATIONS
        .lines()
        .filter_map(|line| line.strip_prefix("### "));
    for runbook in runbooks.filter(|name| name.starts_with("Odin") && !name.contains(' ')) {
        assert!(alerts().contains(&runbook), "{runbook} is no alert");
    }
}

/// The panel of this title.
fn panel(dashboard: &Value, title: &str) -> Value {
    let panels = dashboard["panels"].as_array().expect("panels");
    let found: Vec<_> = panels
        .iter()
        .filter(|panel| panel["title"] == title)
        .collect();
    assert_eq!(found.len(), 1, "{title}");
    found[0].clone()
}

#[test]
fn the_dashboard_has_its_name_its_times_and_its_colours() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    assert_eq!(dashboard["title"], "WebSocket Server");
    assert_eq!(dashboard["refresh"], "15s");
    assert_eq!(dashboard["time"], json!({"from": "now-1h", "to": "now"}));
    let replica = &dashboard["templating"]["list"][1];
    assert_eq!(
        (&replica["name"], &replica["label"]),
        (&json!("instance"), &json!("Replica"))
    );
    let thresholds = [
        ("Active Connections", "percentage", 80, 95),
        ("CPU Usage", "absolute", 70, 90),
        ("Memory Usage", "absolute", 80, 90),
    ];
    for (title, mode, yellow, red) in thresholds {
        let expected = json!({ "mode": mode, "steps": [
            { "color": "green", "value": null },
            { "color": "yellow", "value": yellow },
            { "color": "red", "value": red },
        ]});
        let panel = panel(&dashboard, title);
        assert_eq!(
            panel["fieldConfig"]["defaults"]["thresholds"], expected,
            "{title}"
        );
    }
    let mapped =
        &panel(&dashboard, "NATS Connection Status")["fieldConfig"]["defaults"]["mappings"];
    let options = &mapped[0]["options"];
    assert_eq!(
        (&options["1"]["color"], &options["0"]["color"]),
        (&json!("green"), &json!("red"))
    );
    // Grafana lays out what does not overlap, and finds panels by their numbers.
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels
        .iter()
        .filter_map(|panel| panel["id"].as_u64())
        .collect();
    assert_eq!(ids.len(), panels.len());
}

#[test]
fn the_dashboard_has_every_panel_that_its_readers_know() {
    let expected = [
        ("Active Connections", "ws_connections_active"),
        ("Connections Over Time", "ws_connections_active"),
        ("Message Rate", "ws_messages_sent_total"),
        ("Bandwidth", "ws_bytes_sent_total"),
        ("CPU Usage", "ws_cpu_usage_percent"),
        ("Memory Usage", "ws_memory_limit_bytes"),
        ("Tasks", "ws_tasks_active"),
        ("Slow Clients", "ws_slow_clients_disconnected_total"),
        ("Rate Limited", "ws_rate_limited_messages_total"),
        (
            "Replay Requests per Minute",
            "60 * rate(ws_replay_requests_total",
        ),
        ("NATS Connection Status", "ws_nats_connected"),
        ("Delivery Latency", "histogram_quantile(0.99, "),
        ("Delivery Latency Heatmap", "ws_delivery_seconds_bucket"),
        ("Worst Lag", "ws_lag_seconds"),
        ("Resumes by Outcome", "ws_resumes_total"),
        ("Losses by Reason", "ws_lost_messages_total"),
        ("Refusals by Reason", "ws_connections_rejected_total"),
        ("Disconnects by Reason", "ws_disconnects_total"),
        ("Admission", "ws_admission_open"),
        ("Log Memory", "ws_log_bytes"),
    ];
    let expressions = panel_expressions();
    for (title, part) in expected {
        let mut of = expressions.iter().filter(|(panel, _)| panel == title);
        assert!(
            of.any(|(_, expression)| expression.contains(part)),
            "{title}: {part}"
        );
    }
    let failures = expressions
        .iter()
        .find(|(panel, _)| panel == "Connection Failures");
    let (_, expression) = failures.expect("the panel");
    let plain = expression.replace("{instance=~\"$instance\"}", "");
    assert_eq!(plain, "rate(ws_connections_failed_total[5m])");
    // The replica variable works on every panel but the one that shows targets.
    for (title, expression) in expressions.iter().filter(|(title, _)| title != "Scraped") {
        assert!(expression.contains("instance=~\"$instance\""), "{title}");
    }
}
