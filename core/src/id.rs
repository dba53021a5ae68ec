//! Identifiers that cross the border between core and shell.

use core::fmt;
use core::str::FromStr;

use crate::record::codec::coded;

/// A connection of one shard: an index that is used again after the connection ends, and a
/// generation that tells its users apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId {
    index: u32,
    generation: u32,
}

impl ConnId {
    pub(crate) const fn new(index: u32, generation: u32) -> Self {
        Self { index, generation }
    }

    /// The slot of this connection: dense from 0, so that the shell may keep its sockets in a `Vec`.
    #[must_use]
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// How often the slot was given out before.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

coded!(ConnId { index, generation });

impl FromStr for ConnId {
    type Err = ();

    /// Reads what [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, ()> {
        let (index, generation) = text.split_once('.').ok_or(())?;
        Ok(Self {
            index: index.parse().map_err(|_| ())?,
            generation: generation.parse().map_err(|_| ())?,
        })
    }
}

/// The Feed's dense number for a channel, the same in every shard. Given at the channel's first
/// publication and never used for another channel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ChannelId(pub u32);

/// A place in the Feed's arrival order: one more for each publication and notice, never reset, the
/// same in every shard. It starts at 1, so that 0 stands before everything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Order(pub u64);

impl Order {
    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}
