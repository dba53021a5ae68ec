//! The form of a recording as a file: a mark, the version of the form, then blocks, each with its
//! length and a hash, and an end. What is cut off or altered is noticed before anything is believed.

use alloc::string::String;
use alloc::vec::Vec;

use super::codec::{Broken, Code, Reader, Writer, coded, hash};

/// What every file begins with.
const MARK: &[u8; 8] = b"ODINREC\n";

/// The version of the form, states and calls included. A recording is read by the version that wrote
/// it.
const VERSION: u64 = 4;

/// A checkpoint and the calls that followed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// The hash of the state at its beginning.
    pub hash: u64,
    /// The state.
    pub checkpoint: Vec<u8>,
    /// The calls, one after another.
    pub calls: Vec<u8>,
}

/// Which machine a recording is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Machine {
    /// The Feed.
    Feed,
    /// The Gate.
    Gate,
    /// The shard of this number.
    Shard(u32),
}

impl core::fmt::Display for Machine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Feed => f.write_str("feed"),
            Self::Gate => f.write_str("gate"),
            Self::Shard(index) => write!(f, "shard {index}"),
        }
    }
}

/// What one machine recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recording {
    /// Which.
    pub machine: Machine,
    /// The older segment first. None: the state is too large for `record_bytes`.
    pub segments: Vec<Segment>,
    /// The hash of the state at the end; `None` after a panic, when there was no whole state.
    pub hash: Option<u64>,
}

/// What is known of a file as a whole.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Header {
    /// The version of the server.
    pub version: String,
    /// When the server started, which is the zero of all times: milliseconds since the Unix epoch.
    pub started_unix_ms: u64,
    /// When the file was written: milliseconds since the Unix epoch.
    pub written_unix_ms: u64,
    /// Why.
    pub cause: String,
}

/// A file: its header and what each machine recorded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct File {
    /// What it is.
    pub header: Header,
    /// What is in it.
    pub recordings: Vec<Recording>,
}

impl File {
    /// The bytes of the file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::new(Vec::new(), usize::MAX);
        out.raw(MARK);
        out.number(VERSION);
        block(&mut out, &self.header);
        out.number(self.recordings.len() as u64);
        for recording in &self.recordings {
            block(&mut out, recording);
        }
        out.finish().0
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It is no recording, of another version, cut off or altered.
    pub fn parse(bytes: &[u8]) -> Result<Self, Broken> {
        let mut from = Reader::new(bytes);
        if from.raw(MARK.len()).ok() != Some(MARK) {
            return Err(Broken("this is no recording"));
        }
        if from.number()? != VERSION {
            return Err(Broken("it is of another version"));
        }
        let header = unblock(&mut from)?;
        let count = from.count()?;
        let recordings = (0..count)
            .map(|_| unblock(&mut from))
            .collect::<Result<_, _>>()?;
        if !from.is_empty() {
            return Err(Broken("more follows than was written"));
        }
        Ok(Self { header, recordings })
    }
}

fn block(out: &mut Writer, content: &impl Code) {
    let bytes = super::saved(|out| content.put(out));
    out.raw(&hash(&bytes).to_le_bytes());
    out.number(bytes.len() as u64);
    out.raw(&bytes);
}

fn unblock<T: Code>(from: &mut Reader<'_>) -> Result<T, Broken> {
    let mut sum = [0; 8];
    sum.copy_from_slice(from.raw(8)?);
    let count = from.count()?;
    let bytes = from.raw(count)?;
    if hash(bytes) != u64::from_le_bytes(sum) {
        return Err(Broken("a hash does not fit"));
    }
    super::restored(bytes, T::get)
}

coded!(Header {
    version,
    started_unix_ms,
    written_unix_ms,
    cause
});

coded!(Recording {
    machine,
    segments,
    hash
});

impl Code for Segment {
    fn put(&self, out: &mut Writer) {
        self.hash.put(out);
        for bytes in [&self.checkpoint, &self.calls] {
            out.number(bytes.len() as u64);
            out.raw(bytes);
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let hash = u64::get(from)?;
        let mut bytes = || {
            let count = from.count()?;
            from.raw(count).map(Vec::from)
        };
        Ok(Self {
            hash,
            checkpoint: bytes()?,
            calls: bytes()?,
        })
    }
}

impl Code for Machine {
    fn put(&self, out: &mut Writer) {
        match self {
            Self::Feed => out.byte(0),
            Self::Gate => out.byte(1),
            Self::Shard(index) => {
                out.byte(2);
                index.put(out);
            }
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Ok(match from.byte()? {
            0 => Self::Feed,
            1 => Self::Gate,
            2 => Self::Shard(u32::get(from)?),
            _ => return Err(Broken("a machine is of no known kind")),
        })
    }
}
