//! Settings: from flags, environment variables and a TOML file, in this order of precedence, to one
//! checked value.
//!
//! All that is known of a setting is in one table (`table.rs`); this module reads, checks and shows
//! settings and turns them into the configurations of the core's machines. It reads the file that it
//! is told to read and touches nothing else: arguments and environment are passed in, and what the
//! machine offers (memory, file descriptors, cores) is an argument of the methods that need it.

mod check;
mod gather;
mod kind;
mod quantity;
mod table;
mod text;
mod value;

use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;

use odin_core::config::{Coalesce, Config, FeedConfig, GateConfig};

pub use table::{Settings, Spec, TABLE};
pub use value::{Choice, Cidr, LogFormat, MASK, NatsUrl, Secret, SourceKind};

use gather::Asked;
pub(crate) use quantity::parse_size;

/// Shown by `--version`.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The exit codes of the program. They are documented in `--help` and `docs/OPERATIONS.md`.
pub mod exit {
    /// Ended as told: drained, or printed what was asked for.
    pub const OK: u8 = 0;
    /// Could not start or go on: the port is in use, a thread cannot be started.
    pub const FAILED: u8 = 1;
    /// A setting is wrong.
    pub const SETTINGS: u8 = 2;
    /// A second signal ended the drain.
    pub const INTERRUPTED: u8 = 3;
}

/// What stands below the list of flags in `--help`.
const AFTER_HELP: &str = "\
A setting comes from its flag, else its environment variable, else the TOML file (key: the flag's name \
with underscores), else its default. Durations are written like 25s, 5m or 1m30s, sizes like 64KiB.

`odin-ws healthcheck`, with the same settings, asks /live of the server that listens on `listen`, and exits \
with 0 if it lives, else with 1.

Exit codes: 0 ended as told (a drain is over), 1 failed to start or to go on (port in use), 2 a setting \
is wrong, 3 a second signal ended the drain.

`odin-ws top` shows a running server in the terminal; see `odin-ws top --help`.";

/// Memory that is not counted for connections when their number is `auto`: code, channels, buffers.
const RESERVED_BYTES: u64 = 64 * 1024 * 1024;

/// File descriptors that are kept for other things than connections.
const RESERVED_FDS: u64 = 64;

/// What the command line asks for.
#[derive(Clone, PartialEq, Debug)]
pub enum Loaded {
    /// Run with these settings.
    Run(Box<Settings>),
    /// Print this (help, version or settings) to standard output and exit with 0.
    Print(String),
}

/// Why the settings cannot be used. Shows no secret. The exit code is [`exit::SETTINGS`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SettingsError {
    keys: Vec<&'static str>,
    message: String,
}

impl SettingsError {
    fn new(keys: &[&'static str], message: String) -> Self {
        Self {
            keys: keys.to_vec(),
            message,
        }
    }

    /// The settings concerned; none where the name given is no setting's.
    #[must_use]
    pub fn keys(&self) -> &[&'static str] {
        &self.keys
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SettingsError {}

impl Settings {
    /// Reads the settings from the arguments (the program's name first), the environment and the
    /// file that either of them names.
    ///
    /// # Errors
    /// An unknown flag, variable or key; a value that is not accepted; a file that cannot be read;
    /// settings that contradict each other.
    pub fn load(
        args: impl Iterator<Item = OsString>,
        env: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Loaded, SettingsError> {
        let (print, gathered) = match gather::gather(args, env)? {
            Asked::Text(text) => return Ok(Loaded::Print(text)),
            Asked::Settings { print, gathered } => (print, gathered),
        };
        let mut settings = Self::parse(&gathered)?;
        check::check(&settings, &gathered)?;
        if settings.source == SourceKind::Embedded {
            settings.demo.get_or_insert(true);
        }
        Ok(if print {
            Loaded::Print(settings.to_toml())
        } else {
            Loaded::Run(Box::new(settings))
        })
    }

    /// The effective settings as a TOML file. Secrets are masked; what the source does not use, and
    /// what is not set, is in a comment.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut group = "";
        for ((name, value), spec) in self.show().into_iter().zip(TABLE) {
            if spec.group != group {
                let line = if group.is_empty() { "" } else { "\n" };
                text.push_str(&format!("{line}# {}\n", spec.group));
                group = spec.group;
            }
            let line = match value {
                None => format!("# {name} is not set\n"),
                Some(value) if check::is_idle(name, self) => {
                    format!("# {name} = {value} (not used without a key)\n")
                }
                Some(value) if check::is_used(name, self.source) => format!("{name} = {value}\n"),
                Some(value) => format!("# {name} = {value} (not used by this source)\n"),
            };
            text.push_str(&line);
        }
        text
    }

    /// Whether demo prices are fed to the embedded source.
    #[must_use]
    pub fn demo_on(&self) -> bool {
        self.source == SourceKind::Embedded && self.demo.unwrap_or(true)
    }

    /// Whether clients must authenticate: there is something to verify their tokens with.
    #[must_use]
    pub fn auth_on(&self) -> bool {
        !self.auth_keys.is_empty() || self.auth_secret_file.is_some()
    }

    /// Whether the limits per address leave `peer` out: loopback and trusted proxies.
    #[must_use]
    pub fn is_exempt(&self, peer: IpAddr) -> bool {
        peer.to_canonical().is_loopback() || self.is_proxy(peer)
    }

    /// Whether `peer` is a proxy that is believed whom it speaks for.
    #[must_use]
    pub fn is_proxy(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.iter().any(|net| net.contains(peer))
    }

    /// How many shards there are on a machine with so many cores: at least 1.
    #[must_use]
    pub fn shard_count(&self, cores: usize) -> usize {
        self.shards.map_or(cores, |shards| shards as usize).max(1)
    }

    /// The most WebSocket connections, at least 1. `memory_bytes` is the memory that this server may
    /// use (`None`: unknown), `fd_limit` the number of file descriptors that it may open.
    #[must_use]
    pub fn max_connections(&self, memory_bytes: Option<u64>, fd_limit: u64) -> u32 {
        let by_fds = fd_limit.saturating_sub(RESERVED_FDS);
        let wanted = match (self.max_connections, memory_bytes) {
            (Some(0), _) | (None, None) => u64::MAX,
            (Some(count), _) => u64::from(count),
            (None, Some(memory)) => {
                self.memory_for_connections(memory) / self.connection_bytes as u64
            }
        };
        u32::try_from(wanted.min(by_fds)).unwrap_or(u32::MAX).max(1)
    }

    /// What is left of the memory for connections: 3/4 of it, less the log and what is reserved.
    fn memory_for_connections(&self, memory: u64) -> u64 {
        (memory - memory / 4)
            .saturating_sub(self.log_bytes as u64)
            .saturating_sub(RESERVED_BYTES)
    }

    /// The configuration of each of so many shards.
    #[must_use]
    pub fn core_config(&self, shards: usize) -> Config {
        Config {
            message_rate: self.message_rate,
            message_burst: self.message_burst,
            message_drops_max: self.message_drops_max,
            channels_per_connection: self.channels_per_connection,
            patterns_per_connection: self.patterns_per_connection,
            patterns_per_server: self.patterns_per_server,
            channels_max: self.channels_max,
            log_messages: self.log_messages,
            last_value_bytes: self.last_value_bytes,
            history_bytes: self.history_bytes / shards.max(1),
            history_fetches: self.history_fetches,
            ping_interval: self.ping_interval,
            idle_timeout: self.idle_timeout,
            write_stall: self.write_stall,
            auth: self.auth_on(),
            auth_timeout: self.auth_timeout,
            ..Config::default()
        }
    }

    /// For how long each shard holds flushes back.
    #[must_use]
    pub fn coalesce_config(&self) -> Coalesce {
        Coalesce {
            all: self.coalesce,
            channels: self.coalesce_channels.clone(),
            bytes_max: self.log_bytes / 8,
        }
    }

    /// The configuration of the Feed.
    #[must_use]
    pub fn feed_config(&self) -> FeedConfig {
        FeedConfig {
            log_bytes: self.log_bytes,
            log_age: self.log_age,
            payload_bytes_max: self.payload_bytes_max,
            channels_max: self.channels_max,
            ..FeedConfig::default()
        }
    }

    /// The configuration of the Gate, with the number that [`Self::max_connections`] gave.
    #[must_use]
    pub fn gate_config(&self, connections_max: u32) -> GateConfig {
        GateConfig {
            connections_max,
            accept_rate: self.accept_rate,
            accept_burst: self.accept_burst,
            ip_max_connections: self.ip_max_connections,
            ip_accept_rate: self.ip_accept_rate,
            ip_accept_burst: self.ip_accept_burst,
            cpu_refuse_percent: self.cpu_refuse_percent,
            cpu_admit_percent: self.cpu_admit_percent,
            memory_refuse_percent: self.memory_refuse_percent,
            memory_admit_percent: self.memory_admit_percent,
            memory_shed_percent: self.memory_shed_percent,
        }
    }
}
