//! The types that settings have beyond numbers and text.

use std::fmt;
use std::net::IpAddr;

/// What stands in for a secret wherever settings are shown.
pub const MASK: &str = "***";

/// A token or password: shown as `***`, and compared in a time that does not depend on its text.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes `text` as a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for handing to whom it is for.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `candidate` is the secret. Takes a time that depends on the length of `candidate` only.
    #[must_use]
    pub fn matches(&self, candidate: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let mut difference = u8::from(own.len() != candidate.len());
        for (place, byte) in candidate.iter().enumerate() {
            // Past the end it is compared with anything at all: the lengths differ already.
            let expected = own.get(place).copied().unwrap_or(0);
            difference = std::hint::black_box(difference | (byte ^ expected));
        }
        difference == 0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// An enum of which the user names one.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every choice with its name.
    const ALL: &'static [(&'static str, Self)];
}

/// Where messages come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourceKind {
    /// This process: `POST /publish/{channel}` and the demo.
    Embedded,
    /// A core NATS subscription.
    Nats,
    /// A JetStream stream.
    Jetstream,
}

impl Choice for SourceKind {
    const ALL: &'static [(&'static str, Self)] = &[
        ("embedded", Self::Embedded),
        ("nats", Self::Nats),
        ("jetstream", Self::Jetstream),
    ];
}

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Choice for LogFormat {
    const ALL: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// One or more URLs of NATS servers. Passwords in them are not shown.
#[derive(Clone, PartialEq)]
pub struct NatsUrl(Vec<String>);

impl NatsUrl {
    /// Parses URLs separated by commas. `None`: a scheme other than `nats` or `tls`, no host, a
    /// bad port, or a character that no URL has.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let urls: Vec<String> = text.split(',').map(|url| url.trim().to_owned()).collect();
        urls.iter()
            .all(|url| is_nats_url(url))
            .then_some(Self(urls))
    }

    /// The URLs, passwords included: for the NATS client only.
    pub fn expose(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether a URL carries a user, password or token.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        self.0.iter().any(|url| split(url).1.is_some())
    }
}

impl fmt::Display for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, url) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match split(url) {
                (scheme, None, host) => write!(f, "{comma}{scheme}{host}")?,
                (scheme, Some(_), host) => write!(f, "{comma}{scheme}{MASK}@{host}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for NatsUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Splits a URL into its scheme with `://` (maybe empty), its credentials and the rest.
fn split(url: &str) -> (&str, Option<&str>, &str) {
    let (scheme, rest) = match url.find("://") {
        Some(at) => url.split_at(at + 3),
        None => ("", url),
    };
    match rest.rfind('@') {
        Some(at) => (scheme, Some(&rest[..at]), &rest[at + 1..]),
        None => (scheme, None, rest),
    }
}

fn is_nats_url(url: &str) -> bool {
    let (scheme, credentials, rest) = split(url);
    let address = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match address.rsplit_once(':') {
        // The colons of a bare IPv6 address in brackets are not those of a port.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    };
    let bracketed = host.starts_with('[') && host.ends_with(']');
    matches!(scheme, "" | "nats://" | "tls://")
        && credentials != Some("")
        && !host.is_empty()
        && (bracketed || !host.contains([':', '[', ']']))
        && !url.contains(|c: char| c.is_whitespace() || c.is_control())
        && !host.contains(['/', '?', '#'])
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// An IP address, or a network of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl Cidr {
    /// Parses `192.0.2.1`, `10.0.0.0/8`, `2001:db8::/32`. `None`: it is none of these, or bits
    /// behind the prefix are set.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
        let cidr = Self { address, bits };
        (bits <= most && number(address) & !cidr.mask() == 0).then_some(cidr)
    }

    /// Whether `peer` is in this network. An IPv4 address mapped into IPv6 counts as IPv4.
    #[must_use]
    pub fn contains(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        peer.is_ipv4() == self.address.is_ipv4()
            && number(peer) & self.mask() == number(self.address)
    }

    /// The bits of the prefix, at the top of the 128 of [`number`].
    fn mask(&self) -> u128 {
        match self.bits {
            0 => 0,
            bits => u128::MAX << (128 - u32::from(bits)),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// The address as a number whose first bit is the top one, for both families.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}
