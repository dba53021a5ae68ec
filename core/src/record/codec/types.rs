//! How the types of others, and those of the core that are everywhere, are written.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use bytes::Bytes;

use super::{Broken, Code, Reader, Writer, coded};
use crate::id::{ChannelId, Order};
use crate::time::Instant;

macro_rules! coded_numbers {
    ($($name:ty),*) => {$(
        impl Code for $name {
            fn put(&self, out: &mut Writer) {
                out.number(*self as u64);
            }

            fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
                Self::try_from(from.number()?).map_err(|_| Broken("a number is too large"))
            }
        }
    )*};
}
coded_numbers!(u64, u32, u16, u8, usize);

impl Code for bool {
    fn put(&self, out: &mut Writer) {
        out.byte(u8::from(*self));
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        match from.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Broken("a flag is neither on nor off")),
        }
    }
}

impl Code for Duration {
    fn put(&self, out: &mut Writer) {
        self.as_secs().put(out);
        self.subsec_nanos().put(out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let secs = u64::get(from)?;
        match u32::get(from)? {
            nanos @ 0..1_000_000_000 => Ok(Self::new(secs, nanos)),
            _ => Err(Broken("a second has too many parts")),
        }
    }
}

impl Code for Instant {
    fn put(&self, out: &mut Writer) {
        out.number(self.as_nanos());
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Ok(Self::from_nanos(from.number()?))
    }
}

coded!(Order(1));
coded!(ChannelId(1));

impl Code for String {
    fn put(&self, out: &mut Writer) {
        out.text(self);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Ok(from.text()?.into())
    }
}

impl Code for Box<str> {
    fn put(&self, out: &mut Writer) {
        out.text(self);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Ok(from.text()?.into())
    }
}

impl Code for Arc<str> {
    fn put(&self, out: &mut Writer) {
        out.text(self);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Ok(from.text()?.into())
    }
}

impl<T: Code> Code for Arc<T> {
    fn put(&self, out: &mut Writer) {
        T::put(self, out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Ok(Self::new(T::get(from)?))
    }
}

impl<T: Code> Code for Box<T> {
    fn put(&self, out: &mut Writer) {
        T::put(self, out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Ok(Self::new(T::get(from)?))
    }
}

/// A frame: its length, and a stand-in.
impl Code for Bytes {
    fn put(&self, out: &mut Writer) {
        self.len().put(out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let len = usize::get(from)?;
        from.stand_in(len)
    }
}

impl<T: Code> Code for Option<T> {
    fn put(&self, out: &mut Writer) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        bool::get(from)?.then(|| T::get(from)).transpose()
    }
}

impl<A: Code, B: Code> Code for (A, B) {
    fn put(&self, out: &mut Writer) {
        self.0.put(out);
        self.1.put(out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Ok((A::get(from)?, B::get(from)?))
    }
}

impl<A: Code, B: Code, C: Code> Code for (A, B, C) {
    fn put(&self, out: &mut Writer) {
        self.0.put(out);
        self.1.put(out);
        self.2.put(out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Ok((A::get(from)?, B::get(from)?, C::get(from)?))
    }
}

impl<T: Code> Code for Vec<T> {
    fn put(&self, out: &mut Writer) {
        self.len().put(out);
        self.iter().for_each(|value| value.put(out));
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let count = from.count()?;
        (0..count).map(|_| T::get(from)).collect()
    }
}

impl<K: Code + Ord, V: Code> Code for BTreeMap<K, V> {
    fn put(&self, out: &mut Writer) {
        self.len().put(out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let count = from.count()?;
        (0..count).map(|_| Code::get(from)).collect()
    }
}

impl<T: Code> Code for VecDeque<T> {
    fn put(&self, out: &mut Writer) {
        self.len().put(out);
        self.iter().for_each(|value| value.put(out));
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        Vec::get(from).map(Self::from)
    }
}

impl<const N: usize> Code for [u64; N] {
    fn put(&self, out: &mut Writer) {
        self.iter().for_each(|value| value.put(out));
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let mut values = [0; N];
        for value in &mut values {
            *value = from.number()?;
        }
        Ok(values)
    }
}

/// A hash of others' making.
impl Code for [u8; 32] {
    fn put(&self, out: &mut Writer) {
        out.raw(self);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let bytes = from.raw(32)?.try_into();
        bytes.map_err(|_| Broken("a hash is too short"))
    }
}

impl Code for IpAddr {
    fn put(&self, out: &mut Writer) {
        match self {
            Self::V4(v4) => {
                out.byte(4);
                out.raw(&v4.octets());
            }
            Self::V6(v6) => {
                out.byte(6);
                out.raw(&v6.octets());
            }
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        const NONE: Broken = Broken("an address is of no known kind");
        Ok(match from.byte()? {
            4 => {
                let octets = from.raw(4)?.try_into().map_err(|_| NONE)?;
                Self::V4(Ipv4Addr::from_octets(octets))
            }
            6 => {
                let octets = from.raw(16)?.try_into().map_err(|_| NONE)?;
                Self::V6(Ipv6Addr::from_octets(octets))
            }
            _ => return Err(NONE),
        })
    }
}
