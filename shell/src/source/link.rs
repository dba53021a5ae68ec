//! The connection to NATS: how it is made, and how its state is told.
//!
//! The client library's events come through a bounded queue that may drop them, so they only wake;
//! what counts are its connection counter and its state.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, ServerAddr, Statistics};
use tokio::sync::Notify;
use tokio::time::{Interval, MissedTickBehavior};

use super::UpstreamEvent;

/// Messages that a subscription holds before it drops some.
pub(super) const SUBSCRIPTION_CAPACITY: usize = 262_144;

/// The longest pause between two attempts to connect.
const RECONNECT_PAUSE_MAX: Duration = Duration::from_secs(2);
/// The pause before the first attempt, at most; doubled at each further one.
const RECONNECT_PAUSE_FIRST: Duration = Duration::from_millis(50);
/// A peer that answers no ping for about three of these is gone.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// How often the state is read although nothing woke.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How to connect to NATS.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NatsOptions {
    /// One URL, or several with commas between them.
    pub url: String,
    /// User name; needs `password`.
    pub user: Option<String>,
    /// Password of `user`.
    pub password: Option<String>,
    /// Token.
    pub token: Option<String>,
    /// Path of a credentials file (JWT and nkey seed).
    pub credentials: Option<PathBuf>,
}

/// Secrets are not shown, nor is a URL, which may hold some.
impl fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsOptions").finish_non_exhaustive()
    }
}

/// Why a connection to NATS cannot even be tried.
#[derive(Debug)]
pub enum NatsError {
    /// The URL is none.
    Url(io::Error),
    /// The credentials file cannot be read, or holds no credentials.
    Credentials(PathBuf, io::Error),
    /// The client refused its options.
    Options(async_nats::ConnectError),
    /// The subject cannot be subscribed to.
    Subject(String),
}

impl fmt::Display for NatsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(error) => write!(f, "invalid NATS URL: {error}"),
            Self::Credentials(path, error) => {
                write!(f, "NATS credentials file {}: {error}", path.display())
            }
            Self::Options(error) => write!(f, "NATS options: {error}"),
            Self::Subject(subject) => write!(f, "invalid NATS subject {subject:?}"),
        }
    }
}

impl std::error::Error for NatsError {}

/// A connection, and what was last told of it.
pub(super) struct Link {
    client: Client,
    statistics: Arc<Statistics>,
    woken: Arc<Notify>,
    ticks: Interval,
    /// The connections that were told of.
    connects: u64,
    /// Whether `Connected` was told last.
    connected: bool,
}

impl Link {
    /// Begins to connect, and goes on until it succeeds. Needs a tokio runtime.
    pub(super) async fn new(options: &NatsOptions) -> Result<Self, NatsError> {
        let servers = options
            .url
            .split(',')
            .map(|url| url.trim().parse::<ServerAddr>());
        let servers = servers
            .collect::<Result<Vec<_>, _>>()
            .map_err(NatsError::Url)?;
        let woken = Arc::new(Notify::new());
        let wake = Arc::clone(&woken);
        let client = authentication(options)?
            .name("odin-ws")
            .retry_on_initial_connect()
            .reconnect_delay_callback(reconnect_pause)
            .ping_interval(PING_INTERVAL)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .event_callback(move |_| {
                wake.notify_one();
                std::future::ready(())
            })
            .connect(servers)
            .await
            .map_err(NatsError::Options)?;
        let mut ticks = tokio::time::interval(CHECK_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let statistics = client.statistics();
        Ok(Self {
            client,
            statistics,
            woken,
            ticks,
            connects: 0,
            connected: false,
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Messages that the client has ever read from its connections.
    pub(super) fn messages_in(&self) -> u64 {
        self.statistics.in_messages.load(Ordering::Relaxed)
    }

    /// Whether there was a connection that was not told of. Cheap enough for every message: what a
    /// new connection brings is then never told before the connection itself.
    pub(super) fn is_reconnected(&self) -> bool {
        self.statistics.connects.load(Ordering::Relaxed) != self.connects
    }

    /// What changed, if anything did. Call until `None`.
    pub(super) fn check(&mut self) -> Option<UpstreamEvent> {
        if self.is_reconnected() {
            if self.connected {
                self.connected = false;
                return Some(UpstreamEvent::Disconnected);
            }
            self.connects = self.statistics.connects.load(Ordering::Relaxed);
            self.connected = true;
            return Some(UpstreamEvent::Connected);
        }
        if self.connected && self.client.connection_state() == State::Disconnected {
            self.connected = false;
            return Some(UpstreamEvent::Disconnected);
        }
        None
    }

    /// Waits until [`Self::check`] may say something new. Cancel safe.
    pub(super) async fn changed(&mut self) {
        tokio::select! {
            biased;
            () = self.woken.notified() => {}
            _ = self.ticks.tick() => {}
        }
    }
}

fn authentication(options: &NatsOptions) -> Result<ConnectOptions, NatsError> {
    let mut connect = ConnectOptions::new();
    if let (Some(user), Some(password)) = (&options.user, &options.password) {
        connect = connect.user_and_password(user.clone(), password.clone());
    }
    if let Some(token) = &options.token {
        connect = connect.token(token.clone());
    }
    if let Some(path) = &options.credentials {
        let text = std::fs::read_to_string(path);
        let with = text.and_then(|text| connect.credentials(&text));
        connect = with.map_err(|error| NatsError::Credentials(path.clone(), error))?;
    }
    Ok(connect)
}

/// The pause before an attempt, jittered over its whole length, so that the servers that lost the
/// same NATS do not come back as one.
fn reconnect_pause(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(10);
    let longest = (RECONNECT_PAUSE_FIRST * (1 << doublings)).min(RECONNECT_PAUSE_MAX);
    let random = RandomState::new().build_hasher().finish() % 1000;
    longest * u32::try_from(random).unwrap_or(0) / 1000
}
