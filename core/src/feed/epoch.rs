//! What names a number line of JetStream: the stream's name and creation time and, once the stream was
//! seen to go back to an earlier state, a nonce that is kept in the stream's metadata.

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;

use crate::record::codec::coded;

/// What tells the number lines of one stream apart, which its creation time does not.
///
/// It is kept in the stream's metadata, as [`fmt::Display`] writes it, and goes back with the stream.
/// The count shows that: a count lower than one that was read before is of an earlier state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpochNonce {
    /// How often the stream went back, as far as those who wrote this knew.
    pub rollbacks: u64,
    /// Random: tells apart what two servers write for the same rollback.
    pub random: u64,
}

impl EpochNonce {
    /// The key in the stream's metadata.
    pub const METADATA_KEY: &str = "odin-ws-epoch";

    /// Reads what [`fmt::Display`] writes; `None`: it is something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (rollbacks, random) = text.split_once('-')?;
        let nonce = Self {
            rollbacks: rollbacks.parse().ok()?,
            random: u64::from_str_radix(random, 16).ok()?,
        };
        (nonce.rollbacks > 0).then_some(nonce)
    }

    /// The one that a server writes that saw the stream go back from `before`.
    pub(super) fn after(before: Option<Self>, seed: u64, created: u64) -> Self {
        let rollbacks = rollbacks(before).saturating_add(1);
        let mut hash = fnv1a(FNV_OFFSET, &seed.to_le_bytes());
        hash = fnv1a(hash, &created.to_le_bytes());
        Self {
            rollbacks,
            random: fnv1a(hash, &rollbacks.to_le_bytes()),
        }
    }
}

impl fmt::Display for EpochNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.rollbacks, self.random)
    }
}

/// How often a nonce is sent out until an answer comes, be it a refusal.
const WRITES_MAX: u8 = 3;

/// What the number line of a stream is called, and what is known of its nonce.
#[derive(Debug)]
pub(super) struct Naming {
    stream: String,
    seed: u64,
    /// What the stream's metadata said last.
    stored: Option<EpochNonce>,
    /// The nonce of the number line: `stored`, or this server's own where that could not be stored.
    nonce: Option<EpochNonce>,
    /// How often the nonce may still be sent out.
    writes_left: u8,
    /// Whether the answer came on this connection. What is not stored by then never will be.
    answered: bool,
}

impl Naming {
    pub(super) fn new(stream: String, seed: u64) -> Self {
        Self {
            stream,
            seed,
            stored: None,
            nonce: None,
            writes_left: 0,
            answered: false,
        }
    }

    /// Takes note of what the metadata says.
    pub(super) fn read(&mut self, nonce: Option<EpochNonce>) {
        self.stored = nonce;
    }

    /// The number line is the one that the stream names.
    pub(super) fn adopt(&mut self, nonce: Option<EpochNonce>) {
        self.nonce = nonce;
        self.writes_left = 0;
    }

    /// The number line is this server's own, which others share once its nonce is stored.
    pub(super) fn diverge(&mut self, created: u64) {
        self.nonce = Some(EpochNonce::after(self.nonce, self.seed, created));
        self.writes_left = WRITES_MAX;
        self.answered = false;
    }

    /// The nonce, if it is to be sent out now; counted as sent.
    pub(super) fn next_write(&mut self) -> Option<EpochNonce> {
        if self.answered || self.stored == self.nonce {
            self.writes_left = 0;
        }
        self.writes_left = self.writes_left.checked_sub(1)?;
        self.nonce
    }

    /// The nonce was written or refused: what the stream says when it is read next decides.
    pub(super) fn answered(&mut self) {
        self.answered = true;
    }

    /// The connection is lost, perhaps before the stream could be read again.
    pub(super) fn disconnected(&mut self) {
        self.answered = false;
    }

    /// Whether the number line is this server's own and no other knows its nonce.
    pub(super) fn is_own(&self) -> bool {
        self.nonce.is_some() && self.stored != self.nonce
    }

    /// Whether the metadata says what it said last.
    pub(super) fn is_unchanged(&self, nonce: Option<EpochNonce>) -> bool {
        self.stored == nonce
    }

    /// Whether the nonce was written by another server, after whatever this one knows of.
    pub(super) fn is_news(&self, nonce: Option<EpochNonce>) -> bool {
        nonce.is_some() && nonce != self.nonce && rollbacks(nonce) >= rollbacks(self.nonce)
    }

    /// Whether the metadata is what it was before a nonce that was read.
    pub(super) fn is_earlier(&self, nonce: Option<EpochNonce>) -> bool {
        rollbacks(nonce) < rollbacks(self.stored)
    }

    /// The epoch: the same on every server that follows the same stream and has read the same nonce.
    pub(super) fn epoch(&self, created: u64) -> Arc<str> {
        let mut hash = fnv1a(FNV_OFFSET, self.stream.as_bytes());
        hash = fnv1a(hash, &[0]);
        hash = fnv1a(hash, &created.to_le_bytes());
        if let Some(nonce) = self.nonce {
            hash = fnv1a(hash, &nonce.rollbacks.to_le_bytes());
            hash = fnv1a(hash, &nonce.random.to_le_bytes());
        }
        format!("{hash:016x}").into()
    }
}

fn rollbacks(nonce: Option<EpochNonce>) -> u64 {
    nonce.map_or(0, |nonce| nonce.rollbacks)
}

/// FNV-1a, 64 bit (draft-eastlake-fnv): the offset basis.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)
    })
}

coded!(EpochNonce { rollbacks, random });

coded!(Naming {
    stream,
    seed,
    stored,
    nonce,
    writes_left,
    answered
});
