//! The oracle: an independent model of what clients were promised.
//!
//! It is told what was published, what each client sent, and every frame that each client received, and it
//! says whether that keeps the promises of `docs/PROTOCOL.md`: the chain whole unless a notice names what
//! is missing, payloads as published, nothing foreign, nothing before its ack or after its end, no
//! duplicate, `recovered` without a seam. It shares no code with the server: it reads the wire, matches
//! patterns by itself, and never looks inside. It judges no time and no load; that is for whoever plays
//! the world.

mod answers;
mod client;
mod frames;
mod messages;
mod names;
mod notices;
mod truth;
mod wire;

use std::collections::BTreeMap;
use std::fmt;

pub use self::client::Positions;
use self::client::{Client, Fault};
pub use self::frames::{Decoder, Frame};
pub(crate) use self::names::{covers, is_pattern, meet};
pub use self::truth::LineId;
use self::truth::{Entry, Truth};

/// A client, across its connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ClientId(pub u32);

/// What this world allows to servers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Laws {
    /// Last values may be given up because there is no room for them, or channels refused.
    pub values_bounded: bool,
    /// Nothing ever leaves a log and nothing is deleted upstream, so that `too_old` is never true.
    pub roomy: bool,
    /// The stream goes back to earlier states.
    pub rolls_back: bool,
    /// The upstream is away at times.
    pub outages: bool,
}

/// A promise was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// To whom.
    pub client: ClientId,
    /// How.
    pub what: String,
    /// What this client last sent and received, oldest first.
    pub history: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "client {}: {}", self.client.0, self.what)?;
        for line in &self.history {
            writeln!(f, "    {line}")?;
        }
        Ok(())
    }
}

/// What a frame meant, for those who count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// The first message of a connection.
    Welcome,
    /// A message of a channel.
    Message,
    /// A message of a channel that was replayed.
    Replayed,
    /// An answer.
    Answer,
    /// The ack of a subscribe: positions recovered and not.
    Resumed {
        /// How many were recovered.
        recovered: usize,
        /// How many were not.
        unrecovered: usize,
    },
    /// A request was refused.
    Refused,
    /// A `lost`.
    Lost,
    /// A `reset`.
    Reset,
    /// The connection is about to be closed.
    Goaway,
    /// A ping or pong.
    Sign,
    /// The connection is being closed.
    Closed,
}

/// The model: see the module.
#[derive(Debug, Default)]
pub struct Oracle {
    laws: Laws,
    truth: Truth,
    clients: BTreeMap<ClientId, Client>,
    /// One more for everything that happens.
    tick: u64,
    deliveries: u64,
}

impl Oracle {
    /// An oracle that knows of nothing.
    #[must_use]
    pub fn new(laws: Laws) -> Self {
        Self {
            laws,
            ..Self::default()
        }
    }

    /// A number line begins, empty.
    pub fn line(&mut self) -> LineId {
        self.truth.begin()
    }

    /// A line went back to `seq`, and goes on from there as another one.
    pub fn rolled_back(&mut self, line: LineId, seq: u64) -> LineId {
        self.truth.branch(line, seq)
    }

    /// A message was published. `deliverable` is false where servers must refuse it (too large).
    pub fn published(
        &mut self,
        line: LineId,
        channel: &str,
        seq: u64,
        payload: &[u8],
        deliverable: bool,
    ) {
        let entry = Entry {
            hash: expected(payload),
            refused: !deliverable,
            gone: None,
            alone: false,
        };
        self.truth.published(line, channel, seq, entry);
    }

    /// The upstream has the messages `from..=to` no more.
    pub fn gone(&mut self, line: LineId, from: u64, to: u64) {
        self.tick += 1;
        self.truth.gone(line, from, to, self.tick);
    }

    /// Messages of any channel were missed where the server's number line is at `seq`.
    pub fn missed(&mut self, line: LineId, seq: u64) {
        self.tick += 1;
        self.truth.missed(line, seq, self.tick);
    }

    /// A client connected: what it knew of an earlier connection counts no more.
    pub fn opened(&mut self, client: ClientId) {
        let known = self.clients.entry(client).or_default();
        *known = Client::default();
    }

    /// Which server, or part of one, a client is connected to.
    pub fn served_by(&mut self, client: ClientId, server: u64) {
        if let Some(known) = self.clients.get_mut(&client) {
            known.server = server;
        }
    }

    /// A server, or part of one, heard that messages of any channel are lost.
    pub fn told(&mut self, server: u64, from: u64, to: u64) {
        self.truth.told(server, from, to);
    }

    /// A close with this code is legal for this client from now on.
    pub fn may_close(&mut self, client: ClientId, code: u16) {
        if let Some(known) = self.clients.get_mut(&client) {
            known.may_close.insert(code);
        }
    }

    /// The server may tell this client that it could not ask the stream.
    pub fn may_be_unavailable(&mut self, client: ClientId) {
        if let Some(known) = self.clients.get_mut(&client) {
            known.may_be_unavailable = true;
        }
    }

    /// One more message of this client is over its rate, and may be dropped.
    pub fn may_drop(&mut self, client: ClientId) {
        if let Some(known) = self.clients.get_mut(&client) {
            known.may_drop += 1;
        }
    }

    /// A client's message reached the server.
    pub fn client_sent(&mut self, client: ClientId, json: &str) {
        self.tick += 1;
        if let Some(known) = self.clients.get_mut(&client) {
            known.sent(self.tick, &self.truth, json);
        }
    }

    /// A frame reached a client.
    ///
    /// # Errors
    /// The promise that it breaks.
    pub fn client_received(
        &mut self,
        client: ClientId,
        frame: Frame<'_>,
    ) -> Result<Seen, Violation> {
        self.tick += 1;
        let (tick, laws) = (self.tick, self.laws);
        let known = self.clients.entry(client).or_default();
        let seen = known.received(tick, laws, &mut self.truth, frame);
        if seen == Ok(Seen::Message) {
            self.deliveries += 1;
        }
        seen.map_err(|fault| known.violation(client, fault))
    }

    /// The connection of a client ended without a close frame.
    pub fn disconnected(&mut self, client: ClientId) {
        if let Some(known) = self.clients.get_mut(&client) {
            known.note(self.tick, "disconnected");
            known.over = true;
        }
    }

    /// From where a client would resume now.
    #[must_use]
    pub fn positions(&self, client: ClientId) -> Positions {
        self.clients
            .get(&client)
            .map(Client::positions)
            .unwrap_or_default()
    }

    /// Whether a client was given all that its subscriptions promise of a line, as of now.
    ///
    /// # Errors
    /// What it was not given.
    pub fn at_head(&self, client: ClientId, line: LineId) -> Result<(), Violation> {
        let Some(known) = self.clients.get(&client) else {
            return Ok(());
        };
        known
            .at_head(self.laws, &self.truth, line)
            .map_err(|fault| known.violation(client, fault))
    }

    /// Whether a client was given all that its subscriptions promise of a line up to `head`.
    ///
    /// # Errors
    /// What it was not given.
    pub fn has_until(&self, client: ClientId, line: LineId, head: u64) -> Result<(), Violation> {
        let Some(known) = self.clients.get(&client) else {
            return Ok(());
        };
        known
            .has_until(&self.truth, line, head)
            .map_err(|fault| known.violation(client, fault))
    }

    /// Whether a client was answered all that it asked.
    ///
    /// # Errors
    /// What it was not answered.
    pub fn answered(&self, client: ClientId) -> Result<(), Violation> {
        let Some(known) = self.clients.get(&client) else {
            return Ok(());
        };
        known
            .answered()
            .map_err(|fault| known.violation(client, fault))
    }

    /// Messages of channels that were checked.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// The highest seq of a line.
    #[must_use]
    pub fn head(&self, line: LineId) -> u64 {
        self.truth.line(line).head()
    }

    /// What a client last sent and received.
    #[must_use]
    pub fn history(&self, client: ClientId) -> Vec<String> {
        self.clients
            .get(&client)
            .map(|known| known.history.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// A violation of a law that the oracle does not know, with this client's history.
    #[must_use]
    pub fn accuse(&self, client: ClientId, what: String) -> Violation {
        Violation {
            client,
            what,
            history: self.history(client),
        }
    }
}

impl Client {
    fn violation(&self, client: ClientId, Fault(what): Fault) -> Violation {
        Violation {
            client,
            what,
            history: self.history.iter().cloned().collect(),
        }
    }
}

/// The hash of a payload in the form in which clients see it: JSON as it is, other text as a string, other
/// bytes in base64.
fn expected(payload: &[u8]) -> u64 {
    let Ok(text) = std::str::from_utf8(payload) else {
        return digest(&format!("\"{}\"", base64(payload)), true);
    };
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        return digest(text, false);
    }
    digest(&serde_json::Value::from(text).to_string(), false)
}

/// FNV-1a of what stands in `data`.
fn digest(data: &str, encoded: bool) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ u64::from(encoded);
    data.bytes().fold(start, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn base64(bytes: &[u8]) -> String {
    const SIGNS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let value = group
            .iter()
            .fold(0_u32, |value, byte| value << 8 | u32::from(*byte))
            << (8 * (3 - group.len()));
        for place in 0..4 {
            let sign = SIGNS[(value >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= group.len() {
                sign as char
            } else {
                '='
            });
        }
    }
    text
}
