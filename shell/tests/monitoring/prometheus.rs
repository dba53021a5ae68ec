//! A real Prometheus with the repository's own configuration.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take.
pub(crate) const TIME_MAX: Duration = Duration::from_secs(60);

const CONFIG: &str = include_str!("../../../deploy/prometheus.yml");

/// A running Prometheus; killed when dropped.
pub(crate) struct Prometheus {
    child: Child,
    addr: SocketAddr,
    _folder: tempfile::TempDir,
}

/// An address on loopback where nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
}

/// The configuration with the addresses of this machine, and scraping each second so that the test is
/// quick. All else is as it stands in the repository.
fn configuration(own: SocketAddr, nats: SocketAddr, alertmanager: SocketAddr) -> String {
    let replacements = [
        ("scrape_interval: 15s", "scrape_interval: 1s".to_owned(), 1),
        (
            "evaluation_interval: 15s",
            "evaluation_interval: 1s".to_owned(),
            1,
        ),
        ("nats-exporter:7777", nats.to_string(), 1),
        ("alertmanager:9093", alertmanager.to_string(), 2),
        ("localhost:9090", own.to_string(), 1),
    ];
    let mut text = CONFIG.to_owned();
    for (from, to, count) in replacements {
        assert_eq!(text.matches(from).count(), count, "{from}");
        text = text.replace(from, &to);
    }
    text
}

impl Prometheus {
    /// Starts it on these servers and waits until it answers.
    pub(crate) fn start(servers: &[SocketAddr], nats: SocketAddr, rules: &str) -> Self {
        let addr = nobody();
        let folder = tempfile::tempdir().expect("a temporary directory");
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        };
        // The layout in which compose mounts the files.
        write("prometheus.yml", &configuration(addr, nats, nobody()));
        write("rules/odin-ws.yml", rules);
        let targets: Vec<String> = servers.iter().map(|addr| format!("'{addr}'")).collect();
        let targets = format!("- targets: [{}]\n", targets.join(", "));
        write("targets/odin-ws.yml", &targets);
        let mut prometheus = Self {
            child: spawn(folder.path(), addr),
            addr,
            _folder: folder,
        };
        let begun = Instant::now();
        while prometheus
            .get("/-/ready")
            .is_none_or(|(status, _)| status != 200)
        {
            let ended = prometheus.child.try_wait().expect("its status");
            assert!(ended.is_none(), "prometheus ended: {ended:?}");
            assert!(begun.elapsed() < TIME_MAX, "prometheus is not ready");
            std::thread::sleep(Duration::from_millis(20));
        }
        prometheus
    }

    /// `GET`s a path; `None` if it does not answer.
    fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(self.addr).ok()?;
        stream.set_read_timeout(Some(TIME_MAX)).ok()?;
        // HTTP/1.0: the body is not sent in chunks.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.addr).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    fn api(&self, path: &str) -> Value {
        let (status, body) = self
            .get(path)
            .unwrap_or_else(|| panic!("no answer: {path}"));
        assert_eq!(status, 200, "{path}: {body}");
        let mut answer: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(answer["status"], "success", "{path}: {body}");
        answer["data"].take()
    }

    /// The values of an expression now, or at a time in seconds since 1970. NaN is no value.
    pub(crate) fn query(&self, expression: &str, time: Option<u64>) -> Vec<f64> {
        let mut path = format!("/api/v1/query?query={}", encode(expression));
        if let Some(time) = time {
            path += &format!("&time={time}");
        }
        let data = self.api(&path);
        let result = data["result"].as_array().expect("a vector");
        let value = |sample: &Value| sample["value"][1].as_str()?.parse::<f64>().ok();
        let values = result.iter().map(|sample| value(sample).expect("a number"));
        values.filter(|value| !value.is_nan()).collect()
    }

    /// The alert rules as Prometheus read them.
    pub(crate) fn rules(&self) -> Vec<Value> {
        let mut data = self.api("/api/v1/rules");
        let Value::Array(groups) = data["groups"].take() else {
            panic!("no groups")
        };
        let rules = groups.into_iter().map(|mut group| group["rules"].take());
        rules
            .flat_map(|rules| rules.as_array().expect("rules").clone())
            .collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, addr: SocketAddr) -> Child {
    Command::new("prometheus")
        .arg(format!(
            "--config.file={}",
            folder.join("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            folder.join("data").display()
        ))
        .arg(format!("--web.listen-address={addr}"))
        .arg("--log.level=error")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("cannot start prometheus: {error}; `make setup` installs it")
        })
}

/// Percent-encodes all but letters and digits.
fn encode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
        b => format!("%{b:02X}"),
    };
    text.bytes().map(byte).collect()
}
