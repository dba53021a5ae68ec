//! What each kind of value accepts, and how it is shown. Every source of settings gives text, so a
//! flag, a variable and a key of the file accept exactly the same.

use std::fmt::{Display, Write as _};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::value::{Choice, Cidr, MASK, NatsUrl, Secret};

/// A kind of value.
pub(super) trait Kind {
    /// What it becomes.
    type Value;

    /// Whether values are lists, so that the file may give an array.
    const LIST: bool = false;

    /// Whether values must not be repeated in messages.
    const SECRET: bool = false;

    /// What is accepted, for messages: "a whole number from 0 to 100".
    fn accepts(&self) -> String;

    /// The value of `text`, or `None` if it is not accepted.
    fn parse(&self, text: &str) -> Option<Self::Value>;

    /// The value where nothing was given and there is no default; `None`: an empty text is parsed.
    fn unset(&self) -> Option<Self::Value> {
        None
    }

    /// The value in TOML; `None`: it is not set.
    fn show(&self, value: &Self::Value) -> Option<String>;
}

/// `text` as a TOML string.
pub(super) fn quoted(text: impl Display) -> Option<String> {
    Some(toml::Value::String(text.to_string()).to_string())
}

/// A whole number between bounds.
pub(super) struct Count(pub(super) u32, pub(super) u32);

impl Kind for Count {
    type Value = u32;

    fn accepts(&self) -> String {
        format!("a whole number from {} to {}", self.0, self.1)
    }

    fn parse(&self, text: &str) -> Option<u32> {
        digits(text)?
            .parse()
            .ok()
            .filter(|value| (self.0..=self.1).contains(value))
    }

    fn show(&self, value: &u32) -> Option<String> {
        Some(value.to_string())
    }
}

/// `text` if it consists of digits: no sign, no space.
fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

/// A number of bytes between bounds.
pub(super) struct Size(pub(super) usize, pub(super) usize);

/// The units of sizes, largest first.
const SIZE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

fn parse_size(text: &str) -> Option<u64> {
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "" => 1,
        unit => {
            SIZE_UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))?
                .1
        }
    };
    digits(number)?.parse::<u64>().ok()?.checked_mul(factor)
}

/// The size in the largest unit that divides it, without quotes.
fn size_text(bytes: u64) -> String {
    let unit = SIZE_UNITS
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) if *factor > 1 => format!("{}{name}", bytes / factor),
        _ => bytes.to_string(),
    }
}

fn show_size(bytes: u64) -> Option<String> {
    let text = size_text(bytes);
    if digits(&text).is_some() {
        Some(text)
    } else {
        quoted(text)
    }
}

impl Kind for Size {
    type Value = usize;

    fn accepts(&self) -> String {
        let from = size_text(self.0 as u64);
        let to = match self.1 {
            usize::MAX => " or more".to_owned(),
            most => format!(" to {}", size_text(most as u64)),
        };
        format!("a size in B, KiB, MiB or GiB, such as 64KiB, or in plain bytes; from {from}{to}")
    }

    fn parse(&self, text: &str) -> Option<usize> {
        let bytes = usize::try_from(parse_size(text)?).ok()?;
        (self.0..=self.1).contains(&bytes).then_some(bytes)
    }

    fn show(&self, value: &usize) -> Option<String> {
        show_size(*value as u64)
    }
}

/// The memory of a machine, at least 1 MiB.
pub(super) struct Memory;

impl Kind for Memory {
    type Value = u64;

    fn accepts(&self) -> String {
        Size(1 << 20, usize::MAX).accepts()
    }

    fn parse(&self, text: &str) -> Option<u64> {
        parse_size(text).filter(|bytes| *bytes >= 1 << 20)
    }

    fn show(&self, value: &u64) -> Option<String> {
        show_size(*value)
    }
}

/// A number of cores, maybe not whole.
pub(super) struct Cores;

impl Kind for Cores {
    type Value = f64;

    fn accepts(&self) -> String {
        "a number of cores such as 2 or 0.5, from 0.01 to 4096".to_owned()
    }

    fn parse(&self, text: &str) -> Option<f64> {
        let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        text.parse()
            .ok()
            .filter(|cores| plain && (0.01..=4_096.0).contains(cores))
    }

    fn show(&self, value: &f64) -> Option<String> {
        Some(value.to_string())
    }
}

/// The word `auto`, or a value.
pub(super) struct Auto<K>(pub(super) K);

impl<K: Kind> Kind for Auto<K> {
    type Value = Option<K::Value>;

    fn accepts(&self) -> String {
        format!("auto, or {}", self.0.accepts())
    }

    fn parse(&self, text: &str) -> Option<Self::Value> {
        match text {
            "auto" => Some(None),
            text => self.0.parse(text).map(Some),
        }
    }

    fn show(&self, value: &Self::Value) -> Option<String> {
        match value {
            None => quoted("auto"),
            Some(value) => self.0.show(value),
        }
    }
}

/// A value that may be left unset, which is what the empty default means.
pub(super) struct Maybe<K>(pub(super) K);

impl<K: Kind> Kind for Maybe<K> {
    type Value = Option<K::Value>;
    const SECRET: bool = K::SECRET;

    fn accepts(&self) -> String {
        self.0.accepts()
    }

    fn parse(&self, text: &str) -> Option<Self::Value> {
        self.0.parse(text).map(Some)
    }

    fn unset(&self) -> Option<Self::Value> {
        Some(None)
    }

    fn show(&self, value: &Self::Value) -> Option<String> {
        value.as_ref().and_then(|value| self.0.show(value))
    }
}

/// Values separated by commas, or an array in the file.
pub(super) struct List<K>(pub(super) K);

impl<K: Kind> Kind for List<K> {
    type Value = Vec<K::Value>;
    const LIST: bool = true;

    fn accepts(&self) -> String {
        format!("values separated by commas, each {}", self.0.accepts())
    }

    fn parse(&self, text: &str) -> Option<Self::Value> {
        if text.trim().is_empty() {
            return Some(Vec::new());
        }
        text.split(',')
            .map(|item| self.0.parse(item.trim()))
            .collect()
    }

    fn show(&self, value: &Self::Value) -> Option<String> {
        let items: Vec<String> = value.iter().filter_map(|item| self.0.show(item)).collect();
        Some(format!("[{}]", items.join(", ")))
    }
}

/// A duration between bounds.
pub(super) struct Time(pub(super) Duration, pub(super) Duration);

/// The units of durations in milliseconds, largest first.
const TIME_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

fn duration_text(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, factor) in TIME_UNITS {
        if rest >= factor {
            // Writing to a String cannot fail.
            let _ = write!(text, "{}{name}", rest / factor);
            rest %= factor;
        }
    }
    if text.is_empty() {
        "0".to_owned()
    } else {
        text
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut millis) = (text, 0_u64);
    let mut factor_before = u64::MAX;
    while !rest.is_empty() {
        let at = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(at);
        let end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let factor = TIME_UNITS.iter().find(|(name, _)| *name == &tail[..end])?.1;
        // `1m30s` is a duration; `30s1m` and `1m1m` are slips of the pen.
        if factor >= factor_before {
            return None;
        }
        factor_before = factor;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = &tail[end..];
    }
    (!text.is_empty()).then_some(Duration::from_millis(millis))
}

impl Kind for Time {
    type Value = Duration;

    fn accepts(&self) -> String {
        let (from, to) = (duration_text(self.0), duration_text(self.1));
        format!(
            "a duration with its unit (ms, s, m, h, d), such as 500ms, 25s or 1m30s; from {from} to {to}"
        )
    }

    fn parse(&self, text: &str) -> Option<Duration> {
        parse_duration(text).filter(|value| (self.0..=self.1).contains(value))
    }

    fn show(&self, value: &Duration) -> Option<String> {
        quoted(duration_text(*value))
    }
}

/// True or false.
pub(super) struct Switch;

impl Kind for Switch {
    type Value = bool;

    fn accepts(&self) -> String {
        "true or false".to_owned()
    }

    fn parse(&self, text: &str) -> Option<bool> {
        text.parse().ok()
    }

    fn show(&self, value: &bool) -> Option<String> {
        Some(value.to_string())
    }
}

/// One of the names of an enum.
pub(super) struct OneOf<T>(PhantomData<T>);

impl<T> OneOf<T> {
    pub(super) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: Choice> Kind for OneOf<T> {
    type Value = T;

    fn accepts(&self) -> String {
        let names: Vec<&str> = T::ALL.iter().map(|(name, _)| *name).collect();
        format!("one of {}", names.join(", "))
    }

    fn parse(&self, text: &str) -> Option<T> {
        T::ALL
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, value)| *value)
    }

    fn show(&self, value: &T) -> Option<String> {
        T::ALL
            .iter()
            .find(|(_, other)| other == value)
            .and_then(|(name, _)| quoted(name))
    }
}

/// A secret: not empty, and not the mask that stands for one.
pub(super) struct Token;

impl Kind for Token {
    type Value = Secret;
    const SECRET: bool = true;

    fn accepts(&self) -> String {
        format!(
            "a secret of visible ASCII characters ({MASK} is what --print-config shows instead of one)"
        )
    }

    fn parse(&self, text: &str) -> Option<Secret> {
        let visible = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        (visible && text != MASK).then(|| Secret::new(text))
    }

    fn show(&self, value: &Secret) -> Option<String> {
        quoted(value)
    }
}

/// The URLs of NATS servers.
pub(super) struct Servers;

impl Kind for Servers {
    type Value = NatsUrl;
    const LIST: bool = true;
    /// A URL may carry a password.
    const SECRET: bool = true;

    fn accepts(&self) -> String {
        format!("nats://host:port or tls://host:port, several separated by commas, without {MASK}")
    }

    fn parse(&self, text: &str) -> Option<NatsUrl> {
        NatsUrl::parse(text).filter(|_| !text.contains(MASK))
    }

    fn show(&self, value: &NatsUrl) -> Option<String> {
        quoted(value)
    }
}

/// Makes kinds of text from what they accept and a rule.
macro_rules! texts {
    ($($(#[$meta:meta])* $name:ident -> $value:ty, $accepts:literal, $parse:expr;)+) => {$(
        $(#[$meta])*
        pub(super) struct $name;

        impl Kind for $name {
            type Value = $value;

            fn accepts(&self) -> String {
                $accepts.to_owned()
            }

            fn parse(&self, text: &str) -> Option<$value> {
                let parse: fn(&str) -> Option<$value> = $parse;
                parse(text)
            }

            fn show(&self, value: &$value) -> Option<String> {
                quoted(Shown(value))
            }
        }
    )+};
}

/// How the values of `texts!` are shown: as they are written.
struct Shown<'a, T>(&'a T);

macro_rules! shown {
    ($($type:ty => |$value:ident| $text:expr;)+) => {$(
        impl Display for Shown<'_, $type> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let $value = self.0;
                Display::fmt(&$text, f)
            }
        }
    )+};
}

shown! {
    String => |text| text;
    SocketAddr => |address| address;
    Cidr => |network| network;
    PathBuf => |path| path.display();
}

texts! {
    /// An address with a port.
    Socket -> SocketAddr, "an IP address with a port, such as 127.0.0.1:3004 or [::]:3004",
        |text| text.parse().ok();
    /// A file or directory.
    Path -> PathBuf, "a path", |text| (!text.is_empty()).then(|| PathBuf::from(text));
    /// A network.
    Network -> Cidr, "an IP address or a network such as 10.0.0.0/8, with no bit set behind its prefix",
        Cidr::parse;
    /// The name of a stream or user, as NATS allows them.
    Name -> String, "a name without white space, `.`, `*`, `>`, `/` and `\\`", |text| {
        let bad = |c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c);
        (!text.is_empty() && !text.contains(bad)).then(|| text.to_owned())
    };
    /// A subject with wildcards.
    Subject -> String, "a NATS subject: tokens separated by dots, `*` for any one, `>` at the end for all that follow",
        |text| is_subject(text).then(|| text.to_owned());
    /// The front of a subject.
    Strip -> String, "the first tokens of a NATS subject with the dot behind them, such as odin.token., or nothing",
        |text| {
            let whole = text.strip_suffix('.').is_some_and(|front| is_subject(front) && !front.contains(['*', '>']));
            (whole || text.is_empty()).then(|| text.to_owned())
        };
    /// The host of a Host header.
    Host -> String, "a host name or address, with or without a port", |text| {
        let bad = |c: char| c.is_whitespace() || c.is_control() || "/@?#*".contains(c);
        (!text.is_empty() && !text.contains(bad)).then(|| text.to_ascii_lowercase())
    };
    /// The origin of a web page (RFC 6454 6.2).
    Origin -> String, "an origin such as https://app.example.com, without a path", |text| {
        let text = text.to_ascii_lowercase();
        let (scheme, host) = text.split_once("://")?;
        (matches!(scheme, "http" | "https") && Host.parse(host).is_some()).then_some(text)
    };
    /// What to log.
    Filter -> String, "a level (error, warn, info, debug, trace, off), or filter directives such as info,odin_shell=debug",
        |text| {
            let fits = !text.is_empty() && EnvFilter::builder().parse(text).is_ok();
            fits.then(|| text.to_owned())
        };
}

/// Whether NATS takes `text` as a subject to subscribe.
fn is_subject(text: &str) -> bool {
    let mut tokens = text.split('.').peekable();
    while let Some(token) = tokens.next() {
        let wild = token == "*" || (token == ">" && tokens.peek().is_none());
        let bad = |c: char| c.is_whitespace() || c.is_control() || c == '*' || c == '>';
        if token.is_empty() || (!wild && token.contains(bad)) {
            return false;
        }
    }
    true
}
