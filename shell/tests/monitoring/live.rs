//! A real Prometheus scrapes real servers: every expression of the dashboard and of the alert rules gives
//! a result, and each alert's cause is produced here.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::common::{masked, message, subscribe, upgraded};
use crate::nats::NatsServer;
use crate::prometheus::{Prometheus, TIME_MAX, nobody};
use crate::server::Server;
use crate::{RULES, panel_expressions};

/// As many as the busy server takes.
const CLIENTS: u32 = 20;

/// 95 % of its memory is used, and admission therefore closed.
fn full_memory() -> tempfile::TempDir {
    let mountinfo = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
        30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    let files = [
        ("proc/self/cgroup", "0::/odin\n"),
        ("proc/self/mountinfo", mountinfo),
        ("sys/fs/cgroup/odin/cgroup.controllers", "cpu memory\n"),
        ("sys/fs/cgroup/odin/memory.max", "100000000\n"),
        ("sys/fs/cgroup/odin/memory.current", "95000000\n"),
        ("sys/fs/cgroup/odin/memory.stat", "inactive_file 0\n"),
    ];
    let root = tempfile::tempdir().expect("a temporary directory");
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }
    root
}

/// A server at its limit of connections and over that of its CPU, on core NATS.
async fn busy(url: &str, work: &mut JoinSet<()>) -> Server {
    let clients = CLIENTS.to_string();
    let flags = ["--source", "nats", "--nats-url", url];
    let limits = ["--max-connections", &clients, "--payload-bytes-max", "1KiB"];
    let cpu = ["--cpu-limit", "0.01", "--cpu-refuse-percent", "0"];
    // A client that only reads answers no ping.
    let silence = ["--ping-interval", "0", "--idle-timeout", "0"];
    let server = Server::start(&[&flags[..], &limits, &cpu, &silence].concat());
    server.until_metric("ws_nats_connected", 1.0);
    for _ in 0..CLIENTS {
        let mut client = upgraded(server.addr).await;
        subscribe(&mut client, "load.>").await;
        work.spawn(async move {
            loop {
                message(&mut client).await;
            }
        });
    }
    let nats = async_nats::connect(url).await.expect("a connection");
    work.spawn(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        // Every hundredth is larger than payload_bytes_max: it is lost, and announced.
        for n in 0_u64.. {
            let size = if n % 100 == 99 { 2048 } else { 200 };
            let payload = format!("\"{}\"", "x".repeat(size)).into();
            let subject = format!("odin.token.load.{}", n % 10);
            let _ = nats.publish(subject, payload).await;
            pace.tick().await;
        }
    });
    server
}

/// A server with one client that will ask for replays, and one that reads nothing.
struct Troubled {
    server: Server,
    asking: TcpStream,
    _reads_nothing: TcpStream,
}

impl Troubled {
    async fn start() -> Self {
        let flags = [
            "--no-demo",
            "--write-stall",
            "300ms",
            "--ping-interval",
            "0",
        ];
        let server = Server::start(&flags);
        let mut asking = upgraded(server.addr).await;
        subscribe(&mut asking, "quiet").await;
        assert_eq!(server.publish("quiet", "1").status, 200);
        assert_eq!(message(&mut asking).await["type"], "message");
        let mut slow = upgraded(server.addr).await;
        subscribe(&mut slow, "bulk").await;
        Self {
            server,
            asking,
            _reads_nothing: slow,
        }
    }

    /// More replays than one per connection and minute, and a client too slow for what is sent.
    async fn begin(&mut self) {
        let replay = r#"{"type":"replay","data":{"channel":"quiet","from":1,"to":1}}"#;
        for _ in 0..30 {
            let frame = masked(0x81, replay.as_bytes());
            self.asking.write_all(&frame).await.expect("sent");
            assert_eq!(message(&mut self.asking).await["seq"], 1);
            let end = message(&mut self.asking).await;
            assert_eq!(end["type"], "replay_complete", "{end}");
        }
        let payload = format!("\"{}\"", "x".repeat(500_000));
        for _ in 0..40 {
            assert_eq!(self.server.publish("bulk", &payload).status, 200);
        }
        let slow = "ws_slow_clients_disconnected_total";
        self.server.until_metric(slow, 1.0);
    }
}

/// Waits until each expression has a value.
fn all_have_values(prometheus: &Prometheus, expressions: &[(String, String)]) {
    let begun = Instant::now();
    let mut missing: Vec<_> = expressions.iter().collect();
    loop {
        missing.retain(|(_, expression)| prometheus.query(expression, None).is_empty());
        if missing.is_empty() {
            return;
        }
        assert!(begun.elapsed() < TIME_MAX, "without a value: {missing:#?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// The dashboard's expressions as Grafana sends them, for all replicas.
fn dashboard_queries() -> Vec<(String, String)> {
    let replaced = |(title, expression): (String, String)| {
        let expression = expression
            .replace("$__rate_interval", "1m")
            .replace("$instance", ".*");
        assert!(!expression.contains('$'), "{title}: {expression}");
        (title, expression)
    };
    panel_expressions().into_iter().map(replaced).collect()
}

fn unix_seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a time after 1970").as_secs()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_and_every_rule_has_a_value_when_its_cause_is_there() {
    let mut work = JoinSet::new();
    let nats = NatsServer::start();
    let busy = busy(&nats.url(), &mut work).await;
    let mut troubled = Troubled::start().await;
    let root = full_memory();
    let root = root.path().to_str().expect("UTF-8");
    let starved = Server::start(&["--no-demo", "--cgroup-root", root]);
    let away = format!("nats://{}", nobody());
    let lonely = Server::start(&["--source", "nats", "--nats-url", &away]);
    let up: Vec<SocketAddr> = [&busy, &troubled.server, &starved, &lonely]
        .map(|server| server.addr)
        .to_vec();
    let targets = [&up[..], &[nobody()]].concat();
    let prometheus = Prometheus::start(&targets, nobody(), RULES);
    // The counters start at 0 in Prometheus' eyes as well.
    let seen = (
        "seen".to_owned(),
        "count(ws_connections_active) == 4".to_owned(),
    );
    all_have_values(&prometheus, &[seen]);
    troubled.begin().await;

    all_have_values(&prometheus, &dashboard_queries());

    let rules = prometheus.rules();
    assert_eq!(rules.len(), RULES.matches("- alert: ").count());
    let mut alerts = Vec::new();
    for rule in &rules {
        assert_eq!(rule["type"], "alerting");
        assert_eq!(rule["lastError"], serde_json::Value::Null, "{rule}");
        let name = rule["name"].as_str().expect("a name").to_owned();
        let expression = rule["query"].as_str().expect("a query").to_owned();
        alerts.push((name, expression));
    }
    // Its cause is that there is no target, which was so before Prometheus was started.
    let missing = |(name, _): &(String, String)| name == "OdinTargetMissing";
    let at = alerts.iter().position(missing).expect("the rule");
    let (_, absent) = alerts.swap_remove(at);
    assert_eq!(
        prometheus.query(&absent, Some(unix_seconds() - 3600)),
        [1.0]
    );
    assert!(prometheus.query(&absent, None).is_empty());
    all_have_values(&prometheus, &alerts);

    values_are_right(&prometheus, busy.addr, up.len());
}

/// What was caused is what is seen.
fn values_are_right(prometheus: &Prometheus, busy: SocketAddr, up: usize) {
    let busy_only = format!("ws_connections_active{{instance=\"{busy}\"}}");
    assert_eq!(prometheus.query(&busy_only, None), [f64::from(CLIENTS)]);
    let reached = prometheus.query("sum(up{job=\"odin-ws\"})", None);
    assert_eq!(reached, [up as f64]);
    assert_eq!(prometheus.query("up{job=\"prometheus\"}", None), [1.0]);
    let lost = format!(
        "increase(ws_nats_messages_lost_total{{instance=\"{busy}\",reason=\"too_large\"}}[5m]) > 0"
    );
    assert_eq!(prometheus.query(&lost, None).len(), 1);
}
