//! What is done to a stream and asked of it, and sequences of that.

use std::fmt;

use odin_core::feed::DeliverPolicy;
use odin_sim::dice::Dice;
use odin_sim::jetstream::Limits;

/// The subjects of messages. The last two are of no channel: one has too many tokens, the other is not followed.
pub(crate) const SUBJECTS: [&str; 5] = [
    "odin.token.a.x",
    "odin.token.a.y",
    "odin.token.b.x",
    "odin.token.1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17",
    "orders.eu",
];

/// The topics of pages: channels, one of them never published on, and patterns.
pub(crate) const TOPICS: [&str; 7] = ["a.x", "a.y", "b.x", "never", "a.*", "*.x", ">"];

/// One step of a sequence. Seqs are absolute: what a seq is at that moment is part of the sequence.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Op {
    /// Publishes `times` messages with payloads of about so many bytes on a subject.
    Publish {
        subject: usize,
        times: usize,
        bytes: usize,
    },
    /// Purges all, or a subject, below a seq, or all but the last so many.
    Purge {
        subject: Option<usize>,
        below: Option<u64>,
        keep: u64,
    },
    /// Deletes one message.
    Delete(u64),
    /// Changes the limits of messages, of bytes, and of messages per subject.
    Limit(usize, u64, usize),
    /// Deletes the stream and creates it anew.
    Recreate,
    /// Ends the server and starts it again.
    Restart,
    /// Ends the server, makes a copy of its store, and starts it again.
    BackUp,
    /// Ends the server, puts the copy in the place of its store, and starts it again.
    Restore,
    /// Deletes every consumer of the stream.
    DropConsumers,
    /// `Command::ReadInfo`.
    Info,
    /// `Command::OpenConsumer`.
    Open(DeliverPolicy),
    /// `Command::Fetch`, and everything that comes.
    Read,
    /// Waits until the consumer says that it has nothing.
    Heartbeat,
    /// `Command::ReadTail`.
    Tail,
    /// `Command::ReadDeleted`.
    Deleted(u64, u64),
    /// `Command::WriteNonce`.
    Nonce(u64),
    /// `History::fetch`: a topic, and the seq after which.
    Page(usize, u64),
}

/// A stream and what happens to it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Sequence {
    pub(crate) limits: Limits,
    /// Whether the stream is kept in memory only.
    pub(crate) memory: bool,
    pub(crate) ops: Vec<Op>,
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}, in memory: {}", self.limits, self.memory)?;
        for (at, op) in self.ops.iter().enumerate() {
            writeln!(f, "  {at}: {op:?}")?;
        }
        Ok(())
    }
}

/// Draws a sequence. It restarts a server seldom: that takes a while.
pub(crate) fn draw(seed: u64) -> Sequence {
    let dice = &mut Dice::new(seed);
    let memory = dice.permille(150);
    let limits = Limits {
        messages: small(dice, 400, 3, 12),
        // The memory store counts otherwise.
        bytes: match memory {
            true => 0,
            false => small(dice, 250, 300, 1_500) as u64,
        },
        per_subject: small(dice, 400, 1, 3),
        foreign: dice.permille(400),
    };
    let mut draft = Draft {
        dice,
        limits,
        last: 0,
        open: false,
        fresh: false,
        ops: Vec::new(),
    };
    let count = draft.dice.range(8, 40);
    for _ in 0..count {
        draft.step(memory);
    }
    let topic = draft.topic();
    draft.ops.extend([Op::Info, Op::Page(topic, 0)]);
    draft
        .ops
        .extend([Op::Open(DeliverPolicy::ByStartSequence(1)), Op::Read]);
    Sequence {
        limits,
        memory,
        ops: draft.ops,
    }
}

fn small(dice: &mut Dice, permille: u64, low: u64, high: u64) -> usize {
    let drawn = usize::try_from(dice.range(low, high)).expect("small");
    if dice.permille(permille) { drawn } else { 0 }
}

struct Draft<'a> {
    dice: &'a mut Dice,
    limits: Limits,
    /// The last seq, about.
    last: u64,
    open: bool,
    /// A consumer that begins with the last message of each subject, and has not been read: what is removed from under it
    /// makes some releases rest, which takes a while.
    fresh: bool,
    ops: Vec<Op>,
}

impl Draft<'_> {
    fn topic(&mut self) -> usize {
        usize::try_from(self.dice.range(0, TOPICS.len() as u64 - 1)).expect("small")
    }

    fn subject(&mut self) -> usize {
        let last = SUBJECTS.len() - usize::from(!self.limits.foreign) - 1;
        usize::try_from(self.dice.range(0, last as u64)).expect("small")
    }

    /// A seq that is there, or nearly.
    fn seq(&mut self) -> u64 {
        self.dice.range(0, self.last + 2)
    }

    fn step(&mut self, memory: bool) {
        let kinds = [
            (0, 300),
            (1, 80),
            (2, 100),
            (3, 25),
            (4, 25),
            (5, 4),
            (6, 20),
            (7, 60),
            (8, 120),
            (9, 120),
            (10, 80),
            (11, 70),
            (12, 15),
            (13, 200),
        ];
        let kind = self.dice.weighted(&kinds).expect("there are some");
        let op = match kind {
            0 => {
                let times = usize::try_from(self.dice.range(1, 5)).expect("small");
                self.last += times as u64;
                Op::Publish {
                    subject: self.subject(),
                    times,
                    bytes: usize::try_from(self.dice.range(0, 60)).expect("small"),
                }
            }
            1..=3 if self.fresh => Op::Tail,
            1 => self.purge(),
            2 => Op::Delete(self.seq()),
            3 => Op::Limit(
                small(self.dice, 700, 2, 10),
                if memory { 0 } else { self.limits.bytes },
                small(self.dice, 700, 1, 3),
            ),
            4 => {
                self.last = 0;
                self.open = false;
                Op::Recreate
            }
            // What a memory store does then is a case of its own.
            5 if !memory => {
                self.open = false;
                Op::Restart
            }
            6 => {
                self.open = false;
                Op::DropConsumers
            }
            7 => {
                self.open = false;
                Op::Info
            }
            8 => {
                self.open = true;
                let seq = self.seq();
                self.fresh = seq == 0 || self.dice.permille(500);
                Op::Open(match self.fresh {
                    true => DeliverPolicy::LastPerSubject,
                    false => DeliverPolicy::ByStartSequence(seq),
                })
            }
            9 => {
                self.fresh = false;
                Op::Read
            }
            10 if self.open => Op::Tail,
            11 => {
                let (a, b) = (self.seq().max(1), self.seq().max(1));
                Op::Deleted(a.min(b), a.max(b))
            }
            12 => {
                self.open = false;
                Op::Nonce(self.dice.range(1, 1_000))
            }
            _ => Op::Page(self.topic(), self.seq()),
        };
        self.fresh &= self.open;
        self.ops.push(op);
    }

    fn purge(&mut self) -> Op {
        let subject = self.dice.permille(500).then(|| self.subject());
        let (mut below, mut keep) = (None, 0);
        match self.dice.range(0, 2) {
            0 => below = Some(self.seq().max(2)),
            1 => keep = self.dice.range(1, 4),
            _ => {}
        }
        Op::Purge {
            subject,
            below,
            keep,
        }
    }
}
