//! The dashboard, the alert rules and the documentation against the real server and a real Prometheus.

#[path = "../common/mod.rs"]
mod common;
mod files;
mod live;
#[path = "../support/nats.rs"]
#[allow(dead_code, unreachable_pub)]
mod nats;
mod prometheus;
#[path = "../e2e/server.rs"]
#[allow(dead_code)]
mod server;

/// What stands in the repository and is used as it is.
const DASHBOARD: &str =
    include_str!("../../../dashboards/grafana/dashboards/websocket-server.json");
const RULES: &str = include_str!("../../../dashboards/alerts/odin-ws.yml");
const RULE_TESTS: &str = include_str!("../../../dashboards/alerts-test.yml");
const OPERATIONS: &str = include_str!("../../../docs/OPERATIONS.md");

/// Every panel's expressions, with the panel's title.
fn panel_expressions() -> Vec<(String, String)> {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut found = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        let targets = panel["targets"].as_array();
        assert_eq!(targets.is_none(), panel["type"] == "row", "{title}");
        for target in targets.into_iter().flatten() {
            let expr = target["expr"].as_str().expect("an expression");
            found.push((title.to_owned(), expr.to_owned()));
        }
    }
    found
}
