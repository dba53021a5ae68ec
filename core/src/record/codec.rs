//! How states and calls are written as bytes: numbers as LEB128, sequences with their length in front,
//! structures field by field in the order of their declaration, without names.
//!
//! Reading is total: whatever the bytes are, the answer is a value or [`Broken`], and no more room is
//! taken than the bytes could fill. A frame is written as its length; what is read is a stand-in of
//! that length, since no decision looks into a frame.

mod types;

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

/// The longest frame that is believed: the largest payload that may be set, encoded in base64, and
/// then some.
const FRAME_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The bytes of a recording are not what was written. Names what was looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken(pub &'static str);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the recording is damaged: {}", self.0)
    }
}

impl core::error::Error for Broken {}

/// Collects bytes, up to a bound.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    bytes_max: usize,
    over: bool,
}

impl Writer {
    /// Writes behind what `bytes` holds. Beyond `bytes_max` nothing is written any more.
    pub(crate) fn new(bytes: Vec<u8>, bytes_max: usize) -> Self {
        Self {
            bytes,
            bytes_max,
            over: false,
        }
    }

    /// What was written, and whether it did not fit.
    pub(crate) fn finish(self) -> (Vec<u8>, bool) {
        (self.bytes, self.over)
    }

    pub(crate) fn byte(&mut self, byte: u8) {
        if self.bytes.len() < self.bytes_max {
            self.bytes.push(byte);
        } else {
            self.over = true;
        }
    }

    /// Bytes as they are, without their number.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        if bytes.len() <= self.bytes_max - self.bytes.len().min(self.bytes_max) {
            self.bytes.extend_from_slice(bytes);
        } else {
            self.over = true;
        }
    }

    /// A number, seven bits a byte, the lowest first (LEB128).
    pub(crate) fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.byte(value.to_le_bytes()[0]);
    }

    /// A number that is near another: the difference, with its sign in the lowest bit.
    pub(crate) fn near(&mut self, value: u64, other: u64) {
        let distance = value.wrapping_sub(other).cast_signed();
        self.number(((distance << 1) ^ (distance >> 63)).cast_unsigned());
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.raw(text.as_bytes());
    }
}

/// Reads what a `Writer` wrote.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    /// What all stand-ins are slices of.
    zeros: Bytes,
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            zeros: Bytes::new(),
        }
    }

    /// Whether everything was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Broken> {
        let (byte, rest) = self.bytes.split_first().ok_or(Broken("it ends early"))?;
        self.bytes = rest;
        Ok(*byte)
    }

    pub(crate) fn raw(&mut self, count: usize) -> Result<&'a [u8], Broken> {
        let (raw, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or(Broken("it ends early"))?;
        self.bytes = rest;
        Ok(raw)
    }

    pub(crate) fn number(&mut self) -> Result<u64, Broken> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            value |= bits << shift;
            if bits << shift >> shift != bits {
                break;
            }
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Broken("a number is too large"))
    }

    pub(crate) fn near(&mut self, other: u64) -> Result<u64, Broken> {
        let coded = self.number()?;
        let distance = (coded >> 1).cast_signed() ^ -(coded & 1).cast_signed();
        Ok(other.wrapping_add(distance.cast_unsigned()))
    }

    /// How many of something follow, each at least one byte long.
    pub(crate) fn count(&mut self) -> Result<usize, Broken> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if count > self.bytes.len() {
            return Err(Broken("a length is beyond the end"));
        }
        Ok(count)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Broken> {
        let count = self.count()?;
        core::str::from_utf8(self.raw(count)?).map_err(|_| Broken("a text is not UTF-8"))
    }

    /// Zeros in place of a frame.
    pub(crate) fn stand_in(&mut self, len: usize) -> Result<Bytes, Broken> {
        if len > FRAME_BYTES_MAX {
            return Err(Broken("a frame is too long"));
        }
        if self.zeros.len() < len {
            self.zeros = Bytes::from(vec![0; len.next_power_of_two().max(64 * 1024)]);
        }
        Ok(self.zeros.slice(..len))
    }
}

/// What can be written and read back.
pub(crate) trait Code: Sized {
    fn put(&self, out: &mut Writer);
    fn get(from: &mut Reader<'_>) -> Result<Self, Broken>;
}

/// A structure, by the names of all its fields in the order in which they are written.
macro_rules! coded {
    ($name:ident { $($field:ident),* $(,)? }) => {
        impl $crate::record::codec::Code for $name {
            fn put(&self, out: &mut $crate::record::codec::Writer) {
                let Self { $($field,)* } = self;
                $($crate::record::codec::Code::put($field, out);)*
            }

            fn get(
                from: &mut $crate::record::codec::Reader<'_>,
            ) -> Result<Self, $crate::record::Broken> {
                $(let $field = $crate::record::codec::Code::get(from)?;)*
                Ok(Self { $($field,)* })
            }
        }
    };
    ($name:ident (1)) => {
        impl $crate::record::codec::Code for $name {
            fn put(&self, out: &mut $crate::record::codec::Writer) {
                $crate::record::codec::Code::put(&self.0, out);
            }

            fn get(
                from: &mut $crate::record::codec::Reader<'_>,
            ) -> Result<Self, $crate::record::Broken> {
                Ok(Self($crate::record::codec::Code::get(from)?))
            }
        }
    };
}
pub(crate) use coded;

/// An enum without fields: the place of the variant in this list.
macro_rules! coded_variants {
    ($name:ident { $($variant:ident),* $(,)? }) => {
        impl $name {
            const CODED: &[Self] = &[$(Self::$variant,)*];
        }

        impl $crate::record::codec::Code for $name {
            fn put(&self, out: &mut $crate::record::codec::Writer) {
                // The match makes the list complete.
                match self { $(Self::$variant => {})* }
                out.byte(*self as u8);
            }

            fn get(
                from: &mut $crate::record::codec::Reader<'_>,
            ) -> Result<Self, $crate::record::Broken> {
                let variant = Self::CODED.get(usize::from(from.byte()?));
                variant.copied().ok_or($crate::record::Broken("a variant is unknown"))
            }
        }
    };
}
pub(crate) use coded_variants;

/// A 64-bit hash of bytes, eight at a time: for telling states and frames apart and for finding
/// damage, not against anyone who means to deceive. The mixing is that of splitmix64 (Steele, Lea and
/// Flood, 2014).
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(8);
    let mut state = bytes.len() as u64 ^ 0x9e37_79b9_7f4a_7c15;
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        state = (state ^ u64::from_le_bytes(word)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state ^= state >> 29;
    }
    let mut word = [0; 8];
    let rest = chunks.remainder();
    word[..rest.len()].copy_from_slice(rest);
    state = (state ^ u64::from_le_bytes(word)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}
