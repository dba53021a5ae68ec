//! All that the Feed ever said, and what of it a shard with given limits still keeps.

/// The channels of the test.
pub(crate) const CHANNELS: [&str; 5] = ["a", "b", "x.a", "x.b", "y.a"];

/// Whether a name or pattern covers a channel of the test, by its tokens.
pub(crate) fn covers(name: &str, channel: &str) -> bool {
    let tokens: Vec<&str> = channel.split('.').collect();
    match name {
        ">" => true,
        "*" => tokens.len() == 1,
        "x.*" => tokens.len() == 2 && tokens[0] == "x",
        "*.a" => tokens.len() == 2 && tokens[1] == "a",
        _ => name == channel,
    }
}

/// Whether two names or patterns have a channel in common; those of the test have one of the test.
pub(crate) fn meet(a: &str, b: &str) -> bool {
    CHANNELS.iter().any(|c| covers(a, c) && covers(b, c))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Message,
    Snapshot,
    Lost,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kept {
    /// In the log.
    Log,
    /// Apart from it, as the last value of its channel.
    Apart,
    Gone,
}

/// An entry of a channel.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) epoch: usize,
    pub(crate) order: u64,
    pub(crate) channel: &'static str,
    pub(crate) seq: u64,
    pub(crate) prev: Option<u64>,
    pub(crate) ts: u64,
    pub(crate) what: What,
    pub(crate) text: String,
    pub(crate) bytes: usize,
    pub(crate) kept: Kept,
}

/// What was said, and what is kept.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) entries: Vec<Entry>,
    /// The number line of now: its index, from which its name is made.
    pub(crate) epoch: usize,
    pub(crate) ready: bool,
    pub(crate) durable: bool,
    /// The newest seq, of whatever.
    pub(crate) head: u64,
    /// Nothing before this was observed, and something up to this was lost for all.
    pub(crate) unproven_to: u64,
    pub(crate) lost_to: u64,
    /// The last place that was given.
    pub(crate) order: u64,
    pub(crate) log_messages: usize,
    pub(crate) apart_bytes: usize,
}

pub(crate) fn epoch_name(epoch: usize) -> String {
    format!("e{epoch}")
}

impl History {
    pub(crate) fn new(durable: bool, log_messages: usize, apart_bytes: usize) -> Self {
        Self {
            entries: Vec::new(),
            epoch: 0,
            ready: false,
            durable,
            head: 0,
            unproven_to: 0,
            lost_to: 0,
            order: 0,
            log_messages,
            apart_bytes,
        }
    }

    /// The entries of a number line that a name covers, in order.
    pub(crate) fn of<'a>(&'a self, epoch: usize, name: &'a str) -> impl Iterator<Item = &'a Entry> {
        let mine = move |e: &&Entry| e.epoch == epoch && covers(name, e.channel);
        self.entries.iter().filter(mine)
    }

    pub(crate) fn find(&self, epoch: usize, channel: &str, seq: u64) -> Option<&Entry> {
        let is_it = |e: &&Entry| e.epoch == epoch && e.channel == channel && e.seq == seq;
        self.entries.iter().find(is_it)
    }

    /// The newest entry of a channel on the number line of now.
    pub(crate) fn newest(&self, channel: &str) -> Option<&Entry> {
        let is_mine = |e: &&Entry| e.epoch == self.epoch && e.channel == channel;
        self.entries.iter().rev().find(is_mine)
    }

    /// The last value of a channel, if it is to be had.
    pub(crate) fn value(&self, channel: &str) -> Option<&Entry> {
        self.newest(channel)
            .filter(|e| e.what != What::Lost && e.kept != Kept::Gone)
    }

    pub(crate) fn add(
        &mut self,
        channel: &'static str,
        gap: u64,
        what: What,
        padding: usize,
    ) -> &Entry {
        let seq = self.head + 1 + gap;
        let prev = match (self.newest(channel), what) {
            (None, What::Snapshot) => None,
            (newest, _) => Some(newest.map_or(0, |e| e.seq)),
        };
        self.head = seq;
        self.order += 1;
        let ts = 1_000 + self.order;
        let text = if what == What::Lost {
            format!(
                r#"{{"type":"lost","channel":"{channel}","from":{seq},"to":{seq},"reason":"too_large"}}"#
            )
        } else {
            let shown = prev.map_or("null".into(), |prev| prev.to_string());
            let data = format!("\"{}:{}:{}\"", self.epoch, seq, "p".repeat(padding));
            format!(
                r#"{{"type":"message","channel":"{channel}","seq":{seq},"prev":{shown},"ts":{ts},"data":{data}}}"#
            )
        };
        let apart = what == What::Snapshot;
        self.entries.push(Entry {
            epoch: self.epoch,
            order: self.order,
            channel,
            seq,
            prev,
            ts,
            what,
            bytes: super::frames::text(&text).len(),
            text,
            kept: if apart { Kept::Apart } else { Kept::Log },
        });
        let in_log = |e: &Entry| e.channel == channel && e.kept == Kept::Log;
        if self.entries.iter().filter(|e| in_log(e)).count() > self.log_messages {
            self.drop_apart(channel);
            let oldest = self.entries.iter_mut().find(|e| in_log(e)).unwrap();
            oldest.kept = Kept::Gone;
        }
        self.bound_apart();
        self.entries.last().unwrap()
    }

    fn drop_apart(&mut self, channel: &str) {
        for e in &mut self.entries {
            if e.channel == channel && e.kept == Kept::Apart {
                e.kept = Kept::Gone;
            }
        }
    }

    fn bound_apart(&mut self) {
        let sum = |entries: &[Entry]| -> usize {
            let apart = entries.iter().filter(|e| e.kept == Kept::Apart);
            apart.map(|e| e.bytes).sum()
        };
        while sum(&self.entries) > self.apart_bytes {
            let oldest = self.entries.iter_mut().find(|e| e.kept == Kept::Apart);
            oldest.unwrap().kept = Kept::Gone;
        }
    }

    pub(crate) fn evict(&mut self, floor: u64) {
        for at in 0..self.entries.len() {
            let e = &self.entries[at];
            if e.order >= floor || e.kept != Kept::Log {
                continue;
            }
            let (channel, what, order) = (e.channel, e.what, e.order);
            let newest = self.newest(channel).map(|e| e.order) == Some(order);
            self.drop_apart(channel);
            let stays = newest && what != What::Lost;
            self.entries[at].kept = if stays { Kept::Apart } else { Kept::Gone };
            self.bound_apart();
        }
    }

    pub(crate) fn reset(&mut self) {
        self.entries.iter_mut().for_each(|e| e.kept = Kept::Gone);
        self.epoch += 1;
        self.order += 1;
        self.ready = false;
        (self.head, self.unproven_to, self.lost_to) = (0, 0, 0);
    }

    pub(crate) fn bytes(&self) -> usize {
        let kept = self.entries.iter().filter(|e| e.kept != Kept::Gone);
        kept.map(|e| e.bytes).sum()
    }

    /// Whether something that a name covers, after a position, cannot be had or is not known.
    pub(crate) fn has_hole_after(&self, name: &str, seq: u64) -> bool {
        let unknown =
            |e: &Entry| e.kept == Kept::Gone || e.what == What::Snapshot && e.seq > seq + 1;
        let after = |e: &&Entry| e.seq > seq || e.what == What::Snapshot;
        self.of(self.epoch, name)
            .filter(after)
            .any(|e| e.seq > seq && unknown(e))
    }

    /// Whether a position is proven to be followed by nothing that is missing.
    pub(crate) fn is_proven(&self, name: &str, seq: u64) -> bool {
        let anchor = |e: &Entry| e.what == What::Snapshot && e.seq == seq && e.channel == name;
        !self.has_hole_after(name, seq)
            && seq >= self.lost_to
            && (seq >= self.unproven_to || self.of(self.epoch, name).any(anchor))
    }
}
