//! The kinds of values that are text with a grammar of its own: addresses, subjects, names, secrets.

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use odin_core::name;
use tracing_subscriber::EnvFilter;

use super::kind::{Kind, quoted};
use super::quantity::duration_text;
use super::table::WINDOW;
use super::value::{Cidr, MASK, NatsUrl, Secret};

/// A secret: not empty, and not the mask that stands for one.
pub(super) struct Token;

impl Kind for Token {
    type Value = Secret;
    const SECRET: bool = true;

    fn accepts(&self) -> String {
        "a secret of visible ASCII characters".to_owned()
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
        "nats://host:port or tls://host:port, or several of them separated by commas".to_owned()
    }

    fn parse(&self, text: &str) -> Option<NatsUrl> {
        NatsUrl::parse(text).filter(|_| !text.contains(MASK))
    }

    fn show(&self, value: &NatsUrl) -> Option<String> {
        quoted(value)
    }
}

/// A channel's name or a pattern, and for how long messages of its channels are held back.
pub(super) struct Coalesced;

impl Kind for Coalesced {
    type Value = (String, Duration);

    fn accepts(&self) -> String {
        let longest = duration_text(WINDOW.1);
        format!(
            "a channel's name or a pattern with a duration, such as ETH.*=20ms; from 0 to {longest}"
        )
    }

    fn parse(&self, text: &str) -> Option<(String, Duration)> {
        let (covers, span) = text.rsplit_once('=')?;
        let is_name = name::check_channel(covers).is_ok() || name::check_pattern(covers).is_ok();
        let span = WINDOW.parse(span)?;
        is_name.then(|| (covers.to_owned(), span))
    }

    fn show(&self, (covers, span): &(String, Duration)) -> Option<String> {
        quoted(format_args!("{covers}={}", duration_text(*span)))
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
    /// The name of a stream, as NATS allows it.
    Name -> String, "a name without white space, `.`, `*`, `>`, `/` and `\\`", |text| {
        let bad = |c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c);
        (!text.is_empty() && !text.contains(bad)).then(|| text.to_owned())
    };
    /// The name of a user.
    User -> String, "a name of visible characters", |text| {
        let bad = |c: char| c.is_whitespace() || c.is_control();
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
