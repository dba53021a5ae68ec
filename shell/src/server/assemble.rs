//! A server as production runs it: from settings to TCP, threads, the machine's load and the
//! configured source.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use odin_core::feed::{Feed, Source};
use odin_core::load::Sample;
use odin_core::time::Instant;

use super::{Extras, Parts, RunningServer, Talk, start_with};
use crate::cgroup::{self, Meter};
use crate::door::Door;
use crate::listener::{self, Acceptor, Threads};
use crate::settings::{Settings, SourceKind};
use crate::source::history::{History, NoHistory};
use crate::source::{
    self, Clock, NatsOptions, Publisher, Upstream, Window, embedded::Embedded, jetstream,
    nats::Nats,
};
use crate::tls::Certificates;

/// How long CPU is measured before the first request is answered. The kernel counts CPU time in ticks
/// of 10 ms: over a shorter time an idle server may look busy.
const FIRST_SAMPLE: Duration = Duration::from_millis(100);

/// Starts a server on TCP. `fd_limit` is the number of file descriptors that it may open.
///
/// # Errors
/// The address cannot be listened on, the options of the source cannot work, or a thread cannot be
/// started. A NATS that is away is no error.
pub async fn from_settings(settings: Settings, fd_limit: u64) -> io::Result<RunningServer> {
    assemble(Talk::Protocol, settings, fd_limit).await
}

/// As [`from_settings`], of a server that answers every upgrade, whatever its path, and sends each data
/// message back as it came. Everything else is what connections of the real server have, so that
/// tests of WebSocket conformance test that.
///
/// # Errors
/// As [`from_settings`].
pub async fn echo(mut settings: Settings, fd_limit: u64) -> io::Result<RunningServer> {
    // The recorder knows nothing of what is sent back.
    settings.record_bytes = 0;
    assemble(Talk::Echo, settings, fd_limit).await
}

async fn assemble(talk: Talk, settings: Settings, fd_limit: u64) -> io::Result<RunningServer> {
    let (clock, started_unix_ms) = (Clock::start(), unix_ms());
    let load = cgroup::Options {
        root: settings.cgroup_root.clone(),
        memory_limit: settings.memory_limit,
        cpu_limit: settings.cpu_limit,
    };
    let sampler = cgroup::Sampler::new(load, clock.now());
    let listener = Door(listener::bind(settings.listen)?);
    let extras = extras(talk, &settings)?;
    tokio::time::sleep(FIRST_SAMPLE).await;
    let machine = Machine {
        extras,
        listener,
        fd_limit,
        clock,
        started_unix_ms,
        sampler,
    };
    let seed = random();
    let config = settings.feed_config();
    let epoch = format!("{:016x}", random());
    let options = nats_options(&settings);
    let (subject, strip) = (settings.subject.clone(), settings.strip.clone());
    match settings.source {
        SourceKind::Embedded => {
            let window = Window {
                span: settings.idempotency_window,
                keys_max: usize::try_from(settings.idempotency_keys).unwrap_or(usize::MAX),
            };
            let (upstream, publisher) = Embedded::with_window(&config, window);
            if settings.demo_on() {
                tokio::spawn(source::demo::run(publisher.clone(), seed));
            }
            let origin = Source::Embedded { epoch };
            let origin = (origin, String::new());
            machine.start(settings, seed, origin, (upstream, publisher, no_history()))
        }
        SourceKind::Nats => {
            let made = Nats::new(&options, &subject, &strip, &config).await;
            let (upstream, publisher) = made.map_err(io::Error::other)?;
            let origin = (Source::Nats { epoch }, strip);
            machine.start(settings, seed, origin, (upstream, publisher, no_history()))
        }
        SourceKind::Jetstream => {
            let stream = jetstream::JetStreamOptions {
                stream: settings.stream.clone(),
                subject,
            };
            let origin = Source::JetStream {
                stream: settings.stream.clone(),
            };
            let made = jetstream::JetStream::new(&options, stream, &strip, &config).await;
            let (upstream, publisher) = made.map_err(io::Error::other)?;
            let history = Arc::new(upstream.history(&strip, &config));
            machine.start(
                settings,
                seed,
                (origin, strip),
                (upstream, publisher, history),
            )
        }
    }
}

fn extras(talk: Talk, settings: &Settings) -> io::Result<Extras<Door>> {
    let certificates = match (&settings.tls_cert, &settings.tls_key) {
        (Some(certificate), Some(key)) => Some(Arc::new(Certificates::load(certificate, key)?)),
        _ => None,
    };
    let admin = match settings.admin_listen {
        Some(addr) => Some(Door(bind_admin(addr)?)),
        None => None,
    };
    Ok(Extras {
        talk,
        certificates,
        admin,
    })
}

fn bind_admin(addr: SocketAddr) -> io::Result<Acceptor> {
    let bound = listener::bind(addr);
    bound.map_err(|error| io::Error::new(error.kind(), format!("admin_listen {addr}: {error}")))
}

/// What the source has no part in.
struct Machine {
    extras: Extras<Door>,
    listener: Door,
    fd_limit: u64,
    clock: Clock,
    started_unix_ms: u64,
    sampler: cgroup::Sampler,
}

impl Machine {
    fn start<U: Upstream + 'static>(
        self,
        settings: Settings,
        seed: u64,
        (origin, strip): (Source, String),
        (upstream, publisher, history): (U, Publisher, Arc<dyn History>),
    ) -> io::Result<RunningServer> {
        let Self {
            extras,
            listener,
            fd_limit,
            clock,
            started_unix_ms,
            mut sampler,
        } = self;
        let memory = sampler.limits().memory_bytes;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let parts = Parts {
            listener,
            spawn: Threads,
            sample: move |now: Instant| -> Sample { sampler.sample(now) },
            clock,
            feed: Feed::new(settings.feed_config(), origin, &strip, random()),
            upstream,
            publisher,
            history,
            connections_max: settings.max_connections(memory, fd_limit),
            shards: settings.shard_count(cores),
            seed,
            started_unix_ms,
        };
        start_with(extras, settings, parts)
    }
}

fn no_history() -> Arc<dyn History> {
    Arc::new(NoHistory)
}

fn nats_options(settings: &Settings) -> NatsOptions {
    NatsOptions {
        url: settings.nats_url.expose().collect::<Vec<_>>().join(","),
        user: settings.nats_user.clone(),
        password: settings
            .nats_password
            .as_ref()
            .map(|secret| secret.expose().to_owned()),
        token: settings
            .nats_token
            .as_ref()
            .map(|secret| secret.expose().to_owned()),
        credentials: settings.nats_creds.clone(),
    }
}

/// Milliseconds since the Unix epoch; 0 where the machine's clock is before it.
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A number that nobody can foresee: std seeds its hash maps from the operating system.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
