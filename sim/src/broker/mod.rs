//! A broker that behaves like JetStream towards the servers, and what it ever stored.
//!
//! The stream outlives the broker's host: what a restart loses is decided by whoever restarts it.
//! Messages are published on the broker's own host, so that nothing is published while it is down.

mod history;
mod serve;
mod upstream;
pub mod wire;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::bell::Bell;
use crate::dice::Dice;
use crate::jetstream::{Limits, Purge, Stored, Stream};
use crate::oracle::{LineId, Oracle};
use crate::trace::{FNV_OFFSET, Trace, fnv1a, now};
pub use history::SimHistory;
pub use serve::run;
pub use upstream::SimUpstream;

/// The name of the broker's host, and its port.
pub const HOST: &str = "broker";
/// See [`HOST`].
pub const PORT: u16 = 4222;

/// What the followed subjects have in common; the channel's name follows.
pub const PREFIX: &str = "odin.token.";
/// A subject of the stream that no server follows, where the stream carries such.
pub const FOREIGN: &str = "orders.eu";

/// When the simulation begins: seconds since the Unix epoch (2027-01-15 08:00:00 UTC).
pub const EPOCH_SECS: u64 = 1_800_000_000;

/// What is published.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Channels. A third of the messages goes to the first tenth of them.
    pub channels: u64,
    /// Messages a second.
    pub rate: u64,
    /// Bytes of a payload, about.
    pub payload: (u64, u64),
}

/// A message that was stored once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    /// Its seq.
    pub seq: u64,
    /// Its channel's number.
    pub channel: u64,
    /// When it was stored by the broker's clock: milliseconds since the Unix epoch.
    pub ts: u64,
    /// The FNV-1a hash of its payload.
    pub hash: u64,
    /// The seq before it on its channel; 0: there is none.
    pub prev: u64,
}

/// One number line, as it was told.
#[derive(Clone, Debug, Default)]
pub struct Era {
    /// When the stream was created.
    pub created: u64,
    /// Every message of the followed channels, by seq.
    pub told: Vec<Told>,
    /// The last seq of each channel.
    pub heads: Vec<u64>,
}

impl Era {
    fn new(created: u64, channels: u64) -> Self {
        let channels = usize::try_from(channels).unwrap_or(0);
        Self {
            created,
            told: Vec::new(),
            heads: vec![0; channels],
        }
    }

    /// The message with this seq.
    #[must_use]
    pub fn find(&self, seq: u64) -> Option<&Told> {
        let at = self.told.binary_search_by_key(&seq, |told| told.seq).ok()?;
        self.told.get(at)
    }
}

/// The state of the broker.
pub struct Broker {
    /// The stream.
    pub stream: Stream,
    /// What is published now.
    pub load: Load,
    /// Every number line, the one at hand last.
    pub eras: Vec<Era>,
    /// How far the broker's wall clock is ahead of the simulation's.
    pub clock_ahead: i64,
    /// How many deliveries of a thousand get lost on their way.
    pub drop_permille: u64,
    /// Messages published so far.
    pub published: u64,
    news: Bell,
    dice: Dice,
    names: Vec<Arc<str>>,
    trace: Trace,
    /// Is told of all that is stored, and of all that is gone.
    oracle: SharedOracle,
    /// The number line at hand, as the oracle calls it.
    line: LineId,
}

/// The oracle as everybody on the simulation's thread sees it.
pub type SharedOracle = Rc<RefCell<Oracle>>;

/// The broker as everybody on the simulation's thread sees it.
pub type SharedBroker = Rc<RefCell<Broker>>;

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("load", &self.load)
            .field("published", &self.published)
            .finish_non_exhaustive()
    }
}

/// The name of a channel: `g<group>.c<number>`, ten channels in a group.
#[must_use]
pub fn channel_name(number: u64) -> String {
    format!("g{}.c{number}", number / 10)
}

/// The number of a channel.
#[must_use]
pub fn channel_number(name: &str) -> Option<u64> {
    let (group, number) = name.strip_prefix('g')?.split_once(".c")?;
    let number: u64 = number.parse().ok()?;
    (group.parse() == Ok(number / 10)).then_some(number)
}

impl Broker {
    /// A broker with an empty stream.
    #[must_use]
    pub fn new(load: Load, limits: Limits, dice: Dice, trace: Trace, oracle: SharedOracle) -> Self {
        let line = oracle.borrow_mut().line();
        let created = EPOCH_SECS * 1_000_000_000;
        Self {
            stream: Stream::new(PREFIX, created, limits),
            load,
            eras: vec![Era::new(created, load.channels)],
            clock_ahead: 0,
            drop_permille: 0,
            published: 0,
            news: Bell::default(),
            dice,
            names: (0..load.channels)
                .map(|number| format!("{PREFIX}{}", channel_name(number)).into())
                .collect(),
            trace,
            oracle,
            line,
        }
    }

    /// The broker's wall clock: nanoseconds since the Unix epoch.
    #[must_use]
    pub fn wall(&self) -> u64 {
        let since = Duration::from_secs(EPOCH_SECS) + now();
        let ahead = self.clock_ahead.saturating_mul(1_000_000);
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        nanos.saturating_add_signed(ahead)
    }

    /// The number line at hand.
    ///
    /// # Panics
    /// Never: there is always one.
    #[must_use]
    pub fn era(&self) -> &Era {
        self.eras.last().expect("a number line")
    }

    /// Publishes one message on a channel that is drawn.
    pub fn publish(&mut self) {
        if self.stream.limits().foreign && self.dice.permille(100) {
            let time = self.wall();
            self.stream.store(Stored {
                subject: FOREIGN.into(),
                time,
                payload: Bytes::from_static(b"{}"),
            });
            self.tell_discarded();
            return;
        }
        let all = self.load.channels;
        let few = (all / 10).max(1);
        let channel = match self.dice.permille(333) {
            true => self.dice.range(0, few - 1),
            false => self.dice.range(0, all - 1),
        };
        self.publish_on(channel);
    }

    /// Publishes one message on this channel.
    pub fn publish_on(&mut self, channel: u64) {
        let Some(index) = usize::try_from(channel)
            .ok()
            .filter(|i| *i < self.names.len())
        else {
            return;
        };
        self.published += 1;
        let (low, high) = self.load.payload;
        let padding = usize::try_from(self.dice.range(low, high)).unwrap_or(0);
        let payload = format!(
            "{{\"n\":{},\"at\":{},\"pad\":\"{}\"}}",
            self.published,
            now().as_nanos(),
            "x".repeat(padding)
        );
        let hash = fnv1a(FNV_OFFSET, payload.as_bytes());
        let time = self.wall();
        let payload = Bytes::from(payload);
        let seq = self.stream.store(Stored {
            subject: Arc::clone(&self.names[index]),
            time,
            payload: payload.clone(),
        });
        let name = &self.names[index][PREFIX.len()..];
        self.oracle
            .borrow_mut()
            .published(self.line, name, seq, &payload, true);
        self.tell_discarded();
        self.trace
            .line(format_args!("broker stored {seq} {channel} {hash:016x}"));
        if let Some(era) = self.eras.last_mut() {
            let prev = std::mem::replace(&mut era.heads[index], seq);
            era.told.push(Told {
                seq,
                channel,
                ts: time / 1_000_000,
                hash,
                prev,
            });
        }
    }

    /// Publishes one message on every channel, so that every channel has a last message that is new.
    pub fn publish_everywhere(&mut self) {
        for channel in 0..self.load.channels {
            self.publish_on(channel);
        }
        self.announce();
    }

    /// Tells the consumers that there is something new.
    pub fn announce(&self) {
        self.news.ring();
    }

    /// Keeps only so many messages from now on.
    pub fn limit(&mut self, messages: usize) {
        self.stream.set_limits(Limits {
            messages: messages.max(1),
            ..self.stream.limits()
        });
        self.tell_discarded();
    }

    fn tell_discarded(&mut self) {
        for range in self.stream.take_gone() {
            self.oracle
                .borrow_mut()
                .gone(self.line, range.from, range.to);
        }
    }

    /// The number line at hand, as the oracle calls it.
    #[must_use]
    pub fn line(&self) -> LineId {
        self.line
    }

    /// Deletes the stream and creates it anew, empty.
    pub fn recreate(&mut self) {
        // Two streams are never created at the same nanosecond.
        let created = self.wall().max(self.stream.created() + 1);
        self.stream.recreate(created);
        self.eras.push(Era::new(created, self.load.channels));
        self.line = self.oracle.borrow_mut().line();
        self.trace.line(format_args!("broker recreated {created}"));
        self.announce();
    }

    /// The stream goes back by so many messages; its creation time shows nothing of it.
    pub fn roll_back(&mut self, messages: u64) {
        let seq = self.stream.last_seq().saturating_sub(messages);
        self.stream.roll_back(seq);
        self.line = self.oracle.borrow_mut().rolled_back(self.line, seq);
        let mut era = self.era().clone();
        era.told.retain(|told| told.seq <= seq);
        era.heads.fill(0);
        for told in &era.told {
            if let Some(head) = usize::try_from(told.channel)
                .ok()
                .and_then(|c| era.heads.get_mut(c))
            {
                *head = told.seq;
            }
        }
        self.eras.push(era);
        self.trace.line(format_args!("broker rolled back to {seq}"));
        self.announce();
    }

    /// Removes everything that is stored, or all but the last `keep` messages.
    pub fn purge(&mut self, keep: u64) {
        self.stream.purge(Purge {
            keep,
            ..Purge::default()
        });
        self.tell_discarded();
        self.trace
            .line(format_args!("broker purged all but {keep}"));
        self.announce();
    }
}
