//! The one list of all settings: name, type, accepted values, default and help. The flags, the
//! environment variables, the keys of the file, `--help`, `--print-config` and the test of
//! `docs/CONFIGURATION.md` are all made from it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::SettingsError;
use super::gather::Gathered;
use super::kind::{Auto, Kind, List, Maybe, OneOf, Switch};
use super::quantity::{Cores, Count, Memory, Size, Time};
use super::text::{
    Coalesced, Filter, Host, Name, Network, Origin, Path, Servers, Socket, Strip, Subject, Token,
    User,
};
use super::value::{Cidr, LogFormat, NatsUrl, Secret, SourceKind};

/// What is known of one setting without its value.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    /// The key in the TOML file; the flag and the environment variable are made from it.
    pub name: &'static str,
    /// The heading it stands under.
    pub group: &'static str,
    /// The default as the user would write it; empty: not set.
    pub default: &'static str,
    /// The placeholder of its value in `--help`; empty: it is a switch.
    pub value_name: &'static str,
    /// What it does.
    pub help: &'static str,
}

impl Spec {
    /// The flag, such as `--max-connections`.
    #[must_use]
    pub fn flag(&self) -> String {
        format!("--{}", self.name.replace('_', "-"))
    }

    /// The environment variable, such as `ODIN_WS_MAX_CONNECTIONS`.
    #[must_use]
    pub fn env(&self) -> String {
        format!("ODIN_WS_{}", self.name.to_uppercase())
    }
}

/// Makes the struct, the table and the conversions from the list below. An entry reads: help, name,
/// type, the [`Kind`] that parses and shows it, default, placeholder.
macro_rules! settings {
    ($($group:literal {
        $($(#[doc = $help:literal])+ $name:ident: $type:ty = $kind:expr, $default:literal, $value_name:literal;)+
    })+) => {
        /// The effective settings, each of its own type and within its bounds.
        ///
        /// An `Option<number>` is `None` where the setting is `auto`.
        #[derive(Clone, PartialEq, Debug)]
        pub struct Settings {
            $($($(#[doc = $help])+ pub $name: $type,)+)+
        }

        /// Every setting, in the order in which `--help` and the documentation show them.
        pub const TABLE: &[Spec] = &[
            $($(Spec {
                name: stringify!($name),
                group: $group,
                default: $default,
                value_name: $value_name,
                help: concat!($($help),+),
            },)+)+
        ];

        impl Settings {
            /// Parses what was gathered, and the default of whatever was not.
            pub(super) fn parse(gathered: &Gathered) -> Result<Self, SettingsError> {
                Ok(Self {
                    $($($name: gathered.parse(stringify!($name), $default, &$kind)?,)+)+
                })
            }

            /// Every setting with its value in TOML; `None`: not set.
            pub(super) fn show(&self) -> Vec<(&'static str, Option<String>)> {
                vec![$($((stringify!($name), $kind.show(&self.$name)),)+)+]
            }
        }
    };
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
const GIB: usize = 1024 * MIB;
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A number of things, 0 meaning "off".
const COUNT: Count = Count(0, 1_000_000_000);
/// A percentage, 0 meaning "off" where it is a threshold of refusal.
const PERCENT: Count = Count(0, 100);

/// For how long flushes are held back.
pub(super) const WINDOW: Time = Time(Duration::ZERO, Duration::from_secs(1));

settings! {
    "Server" {
        /// Where to listen, for WebSocket and HTTP alike.
        listen: SocketAddr = Socket, "127.0.0.1:3004", "ADDRESS:PORT";
        /// The certificate chain for TLS, in PEM; with `tls_key` the server speaks TLS only.
        tls_cert: Option<PathBuf> = Maybe(Path), "", "FILE";
        /// The private key of `tls_cert`, in PEM.
        tls_key: Option<PathBuf> = Maybe(Path), "", "FILE";
        /// Where to serve /metrics and /debug instead, with /health and its like, in plain HTTP.
        admin_listen: Option<SocketAddr> = Maybe(Socket), "", "ADDRESS:PORT";
        /// How many shards, each a thread of its own, share the connections; auto: one per core.
        shards: Option<u32> = Auto(Count(1, 1_024)), "auto", "N|auto";
        /// How long a drain (SIGTERM, SIGINT) spreads the closes of connections over; 0: close at once.
        drain_timeout: Duration = Time(Duration::ZERO, HOUR), "30s", "DURATION";
    }
    "Source" {
        /// Where messages come from: embedded (POST /publish), nats, or jetstream.
        source: SourceKind = OneOf::new(), "embedded", "SOURCE";
        /// Feed demo prices to the embedded source; on unless the source is another one.
        demo: Option<bool> = Maybe(Switch), "", "";
        /// The NATS servers, separated by commas; plain NATS_URL is read where this is not given.
        nats_url: NatsUrl = Servers, "nats://127.0.0.1:4222", "URL[,URL]";
        /// The user name for NATS.
        nats_user: Option<String> = Maybe(User), "", "NAME";
        /// The password for NATS.
        nats_password: Option<Secret> = Maybe(Token), "", "SECRET";
        /// The token for NATS.
        nats_token: Option<Secret> = Maybe(Token), "", "SECRET";
        /// The credentials file for NATS (a JWT and an nkey seed).
        nats_creds: Option<PathBuf> = Maybe(Path), "", "FILE";
        /// The subjects to subscribe; for jetstream also those of a stream that has to be made.
        subject: String = Subject, "odin.token.>", "SUBJECT";
        /// What is cut off the front of a subject to make the channel's name; may be empty.
        strip: String = Strip, "odin.token.", "PREFIX";
        /// The JetStream stream; it is made where there is none.
        stream: String = Name, "ODIN_TOKENS", "NAME";
    }
    "Access" {
        /// The bearer token that POST /publish asks for; without one only loopback may publish.
        publish_token: Option<Secret> = Maybe(Token), "", "SECRET";
        /// The file of publishers: tokens, each with the names and patterns that it may publish to.
        publish_tokens: Option<PathBuf> = Maybe(Path), "", "FILE";
        /// How long the embedded source knows a message again by its idempotency key.
        idempotency_window: Duration = Time(Duration::from_secs(1), DAY), "2m", "DURATION";
        /// The most idempotency keys that the embedded source keeps.
        idempotency_keys: u32 = Count(1, 10_000_000), "10000", "N";
        /// The bearer token for administration; without one only loopback may administer.
        admin_token: Option<Secret> = Maybe(Token), "", "SECRET";
        /// Names that a Host header may have, beside loopback ones; not set: any, unless on a loopback listener.
        allowed_hosts: Vec<String> = List(Host), "", "HOST[,HOST]";
        /// Origins of web pages that may connect, beside the page's own host.
        allowed_origins: Vec<String> = List(Origin), "", "ORIGIN[,ORIGIN]";
        /// Addresses and networks of proxies, which are believed whom they speak for.
        trusted_proxies: Vec<Cidr> = List(Network), "", "NET[,NET]";
        /// Whether connections of trusted proxies begin with a header of the PROXY protocol, version 2.
        proxy_protocol: bool = Switch, "false", "";
    }
    "Authentication" {
        /// Files with the keys that clients' tokens (JWT) are verified with: PEM or JWKS; with one, clients must authenticate.
        auth_keys: Vec<PathBuf> = List(Path), "", "FILE[,FILE]";
        /// The file with the shared secret that clients' tokens are verified with (HS256).
        auth_secret_file: Option<PathBuf> = Maybe(Path), "", "FILE";
        /// Who may have issued a token (`iss`); not set: whoever has a key.
        auth_issuer: Vec<String> = List(User), "", "NAME[,NAME]";
        /// Whom a token must be for (`aud`); not set: a token that names somebody is refused.
        auth_audience: Vec<String> = List(User), "", "NAME[,NAME]";
        /// The claim that lists the names and patterns which may be subscribed.
        auth_claim: String = User, "channels", "NAME";
        /// How far the clocks of this server and of the issuer may be apart.
        auth_leeway: Duration = Time(Duration::ZERO, Duration::from_secs(300)), "5s", "DURATION";
        /// How long a client may take to authenticate after its upgrade; 0: no limit.
        auth_timeout: Duration = Time(Duration::ZERO, HOUR), "5s", "DURATION";
        /// The file with the ids (`jti`) of revoked tokens, one a line.
        auth_revoked: Option<PathBuf> = Maybe(Path), "", "FILE";
    }
    "Admission" {
        /// The most WebSocket connections; auto: as many as memory and file descriptors allow.
        max_connections: Option<u32> = Auto(COUNT), "auto", "N|auto";
        /// The memory that one connection is taken to need, for `max_connections = "auto"`.
        connection_bytes: usize = Size(KIB, GIB), "16KiB", "SIZE";
        /// The memory that this server may use; auto: of the cgroup, else of the machine.
        memory_limit: Option<u64> = Auto(Memory), "auto", "SIZE|auto";
        /// The cores that this server may use; auto: of the cgroup, else of the machine.
        cpu_limit: Option<f64> = Auto(Cores), "auto", "CORES|auto";
        /// Where /proc and /sys are looked for.
        cgroup_root: PathBuf = Path, "/", "DIR";
        /// CPU in percent of the limit above which, for 5 s, upgrades are refused; 0: never.
        cpu_refuse_percent: u32 = PERCENT, "90", "PERCENT";
        /// CPU in percent of the limit below which, for 5 s, upgrades are let in again; 0: as the upper one.
        cpu_admit_percent: u32 = PERCENT, "80", "PERCENT";
        /// Memory in percent of the limit above which upgrades are refused at once; 0: never.
        memory_refuse_percent: u32 = PERCENT, "90", "PERCENT";
        /// Memory in percent of the limit below which, for 5 s, upgrades are let in again; 0: as the upper one.
        memory_admit_percent: u32 = PERCENT, "85", "PERCENT";
        /// Memory in percent of the limit above which clients that take nothing of what is sent to them are let go; 0: never.
        memory_shed_percent: u32 = PERCENT, "80", "PERCENT";
        /// New connections a second that are let in for long; 0: no limit.
        accept_rate: u32 = COUNT, "2000", "N";
        /// New connections that are let in at once.
        accept_burst: u32 = COUNT, "2000", "N";
        /// Connections of one address; 0: no limit.
        ip_max_connections: u32 = COUNT, "0", "N";
        /// New connections a second of one address that are let in for long; 0: no limit.
        ip_accept_rate: u32 = COUNT, "0", "N";
        /// New connections of one address that are let in at once; goes with `ip_accept_rate`.
        ip_accept_burst: u32 = COUNT, "0", "N";
        /// How long a client may take to send the head of its HTTP request; 0: no limit.
        handshake_timeout: Duration = Time(Duration::ZERO, HOUR), "5s", "DURATION";
        /// How long an HTTP request may take from its head to the end of its response; 0: no limit.
        request_timeout: Duration = Time(Duration::ZERO, HOUR), "30s", "DURATION";
        /// The most bytes of the head of an HTTP request.
        handshake_max_bytes: usize = Size(8 * KIB, MIB), "8KiB", "SIZE";
        /// The most sockets that the server waits for the request of; 0: no limit.
        handshakes_in_flight: u32 = COUNT, "1024", "N";
    }
    "Clients" {
        /// Messages a second that one client may send for long; 0: no limit.
        message_rate: u32 = COUNT, "10", "N";
        /// Messages that one client may send at once.
        message_burst: u32 = COUNT, "100", "N";
        /// Messages over the rate, in a row, after which a client is closed; 0: never.
        message_drops_max: u32 = COUNT, "500", "N";
        /// The largest message of a client.
        message_max_bytes: usize = Size(KIB, 16 * MIB), "16KiB", "SIZE";
        /// Names and patterns that one connection may subscribe; 0: no limit.
        channels_per_connection: u32 = COUNT, "256", "N";
        /// Patterns that one connection may subscribe; 0: no limit.
        patterns_per_connection: u32 = COUNT, "16", "N";
        /// Distinct patterns that one shard keeps; 0: no limit.
        patterns_per_server: u32 = COUNT, "10000", "N";
        /// How often a client is sent a ping; 0: never.
        ping_interval: Duration = Time(Duration::ZERO, DAY), "25s", "DURATION";
        /// Silence of a client after which it is closed; 0: never.
        idle_timeout: Duration = Time(Duration::ZERO, DAY), "1m", "DURATION";
        /// How long a socket may accept no byte while data waits for it; 0: for ever.
        write_stall: Duration = Time(Duration::ZERO, HOUR), "10s", "DURATION";
        /// The send buffer of a socket (SO_SNDBUF); 0: as the kernel likes.
        send_buffer: usize = Size(0, GIB), "64KiB", "SIZE";
        /// Bytes in a socket's send buffer, not sent yet, from which on it counts as full; 0: all of it.
        send_unsent: usize = Size(0, GIB), "16KiB", "SIZE";
        /// How long a message may wait for others, so that one write carries them all; 0: not at all.
        coalesce: Duration = WINDOW, "0", "DURATION";
        /// The same for the channels of a name or pattern; the first that covers a channel holds.
        coalesce_channels: Vec<(String, Duration)> = List(Coalesced), "", "NAME=DURATION[,..]";
        /// The longest pause of a shard that is behind, so that its writes carry more; 0: none.
        write_pause_max: Duration = WINDOW, "10ms", "DURATION";
    }
    "Messages" {
        /// The most channels; 0: no limit.
        channels_max: u32 = COUNT, "100000", "N";
        /// Messages kept per channel.
        log_messages: u32 = Count(1, 1_000_000_000), "16384", "N";
        /// How long messages are kept; 0: until their place is needed.
        log_age: Duration = Time(Duration::ZERO, Duration::from_secs(365 * 86_400)), "5m", "DURATION";
        /// Bytes of messages kept, of all channels together.
        log_bytes: usize = Size(MIB, usize::MAX), "64MiB", "SIZE";
        /// Bytes of last values kept of channels whose messages have left the log.
        last_value_bytes: usize = Size(KIB, usize::MAX), "64MiB", "SIZE";
        /// Bytes of history kept, of what was fetched from JetStream; 0: nothing is fetched.
        history_bytes: usize = Size(0, usize::MAX), "32MiB", "SIZE";
        /// Pages of history that one shard fetches at once.
        history_fetches: u32 = Count(1, 1_000), "4", "N";
        /// The largest message that is passed on.
        payload_bytes_max: usize = Size(KIB, 64 * MIB), "1MiB", "SIZE";
    }
    "Logging" {
        /// What is logged: a level, or tracing's filter directives.
        log: String = Filter, "info", "FILTER";
        /// How log lines look: text or json.
        log_format: LogFormat = OneOf::new(), "text", "FORMAT";
        /// Bytes of memory for the flight recorder; 0: it is off.
        record_bytes: usize = Size(0, GIB), "32MiB", "SIZE";
        /// Where the flight recorder's files go; the system's directory for temporary files where not set.
        record_dir: Option<PathBuf> = Maybe(Path), "", "DIR";
    }
}
