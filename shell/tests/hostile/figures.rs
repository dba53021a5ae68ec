//! A server with its neighbour, what an attack costs it, and the line that says so.

use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::crowd::Spent;
use crate::neighbour::Neighbour;
use crate::server::Server;
use crate::tls_client::issue;

/// What all of a server's allocators may keep of an attack that is over, beside what each connection
/// costs: pages that are reused, and not given back.
const SLACK: u64 = 6 * 1024 * 1024;

/// Half of the neighbour's messages are to arrive within this time, whatever else goes on.
const P50_MAX: Duration = Duration::from_millis(500);

/// All of them are. Both are orders of magnitude above what an idle machine shows.
const WORST_MAX: Duration = Duration::from_secs(10);

/// A server that is attacked, and the neighbour who is not to notice.
pub(crate) struct Scene {
    pub(crate) server: Server,
    pub(crate) known: Option<CertificateDer<'static>>,
    neighbour: Option<Neighbour>,
    /// Where certificates are.
    _folder: TempDir,
    what: &'static str,
    /// How many attack.
    pub(crate) count: u64,
    /// Channels that have had a message by the end.
    pub(crate) channels: f64,
    before: u64,
    held: u64,
    cpu: Duration,
    began: Instant,
    tasks: f64,
}

impl Scene {
    /// A server with these flags, which so many are going to attack.
    pub(crate) fn new(what: &'static str, count: usize, flags: &[&str]) -> Self {
        Self::start(what, count, flags, false)
    }

    /// The same with TLS.
    pub(crate) fn secured(what: &'static str, count: usize, flags: &[&str]) -> Self {
        Self::start(what, count, flags, true)
    }

    fn start(what: &'static str, count: usize, flags: &[&str], is_secured: bool) -> Self {
        let _ = odin_shell::listener::raise_fd_limit();
        let folder = TempDir::new().expect("a folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        let (certificate, key) = (path("cert.pem"), path("key.pem"));
        // The flight recorder has a bound of its own.
        let mut all = vec!["--no-demo", "--shards=2", "--record-bytes=0"];
        let known = is_secured.then(|| issue(folder.path()));
        if is_secured {
            all.extend(["--admin-listen=127.0.0.1:0", "--tls-cert", &certificate]);
            all.extend(["--tls-key", &key]);
        }
        all.extend(flags);
        let server = Server::start(&all);
        let neighbour = match &known {
            Some(known) => Neighbour::secured(server.addr, known),
            None => Neighbour::start(&server),
        };
        // What the first connections, scrapes and messages bring with them is no cost of the attack.
        server.until_metric("ws_subscriptions", 1.0);
        std::thread::sleep(Duration::from_millis(200));
        let tasks = server.metric("ws_tasks_active");
        Self {
            known,
            neighbour: Some(neighbour),
            _folder: folder,
            what,
            count: count as u64,
            channels: 1.0,
            before: server.private_bytes(),
            held: 0,
            cpu: server.cpu(),
            began: Instant::now(),
            tasks,
            server,
        }
    }

    /// Begins anew: what was done until now is no part of the attack.
    pub(crate) fn prepared(&mut self) {
        self.neighbour.take().expect("there is one").finish();
        self.server.until_metric("ws_connections_active", 0.0);
        self.neighbour = Some(Neighbour::start(&self.server));
        self.before = self.server.private_bytes();
        self.cpu = self.server.cpu();
        self.began = Instant::now();
    }

    /// Notes what the server holds now, if it is the most so far.
    pub(crate) fn weigh(&mut self) {
        self.held = self.held.max(self.server.private_bytes());
    }

    /// Bytes that each attacker made the server hold.
    pub(crate) fn each(&self) -> u64 {
        self.held.saturating_sub(self.before) / self.count
    }

    /// Everything was given back, the neighbour noticed nothing; says what there is to say. `each_max`: the most
    /// bytes that the server may have held for each; `spent`: when it got rid of them.
    #[track_caller]
    pub(crate) fn finish(self, each_max: u64, spent: Option<Spent>) {
        let server = &self.server;
        let elapsed = self.began.elapsed();
        let cpu = server.cpu() - self.cpu;
        server.until_metric("ws_connections_active", 1.0);
        server.until_metric("ws_subscriptions", 1.0);
        server.until_metric("ws_channels_unpublished", 0.0);
        server.until_metric("ws_channels", self.channels);
        server.until_metric("ws_tasks_active", self.tasks);
        let each = self.each();
        let seen = self.neighbour.expect("there is one").finish();
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let (p50, p99) = (seen.percentile(50), seen.percentile(99));
        let worst = seen.percentile(100);
        let closed = spent.map_or(String::new(), |spent| format!(", {spent}"));
        println!(
            "FIGURES {}: {} at once, {each} bytes each{closed}; neighbour p50 {:.1} ms, p99 {:.1} ms, \
             worst {:.1} ms of {} messages; CPU {:.0} ms in {:.1} s",
            self.what,
            self.count,
            ms(p50),
            ms(p99),
            ms(worst),
            seen.delays.len(),
            ms(cpu),
            elapsed.as_secs_f64()
        );
        let allowed = each_max * self.count + SLACK;
        let held = self.held.saturating_sub(self.before);
        assert!(held <= allowed, "{held} bytes held, {allowed} allowed");
        assert!(p50 <= P50_MAX, "half of the messages took {p50:?}");
        assert!(worst <= WORST_MAX, "a message took {worst:?}");
    }

    /// At least so many were counted, and not twice as many.
    #[track_caller]
    pub(crate) fn counted_about(&self, series: &str, count: u64) {
        let found = self.server.metric(series);
        let (least, most) = (count as f64, 2.0 * count as f64);
        assert!((least..=most).contains(&found), "{series} is {found}");
    }

    /// Exactly so many were counted.
    #[track_caller]
    pub(crate) fn counted(&self, series: &str, count: u64) {
        self.server.until_metric(series, count as f64);
    }
}

impl Server {
    /// The time that its threads ran.
    pub(crate) fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("its threads");
        let nanos = tasks.filter_map(|task| {
            // A thread may end meanwhile.
            let path = task.ok()?.path().join("schedstat");
            let text = std::fs::read_to_string(path).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(nanos.sum())
    }
}
