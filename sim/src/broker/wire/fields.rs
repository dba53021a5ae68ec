//! The fields of a frame.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use odin_core::feed::{EpochNonce, SeqRange, StreamInfo};
use odin_core::history::{Anchor, Extent};

use super::PastMessage;

/// Appends a frame: its tag, and what `body` puts behind it.
pub(super) fn frame(to: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    let start = to.len();
    to.put_u32(0);
    to.put_u8(tag);
    body(to);
    let length = u32::try_from(to.len() - start - 4).unwrap_or(u32::MAX);
    to[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Takes one whole frame off the buffer: its tag and its body.
pub(super) fn unframe(from: &mut BytesMut) -> Option<(u8, Bytes)> {
    let length = from.get(..4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    if from.len() < 4 + length || length == 0 {
        return None;
    }
    from.advance(4);
    let mut body = from.split_to(length).freeze();
    Some((body.get_u8(), body))
}

pub(super) fn put_info(info: &StreamInfo, to: &mut BytesMut) {
    let fields = [info.created, info.first_seq, info.last_seq];
    fields.into_iter().for_each(|field| to.put_u64(field));
    to.put_u64(info.num_deleted);
    to.put_u8(u8::from(info.covers_all));
    to.put_u8(u8::from(info.nonce.is_some()));
    let nonce = info.nonce.map_or([0; 2], |n| [n.rollbacks, n.random]);
    nonce.into_iter().for_each(|field| to.put_u64(field));
}

pub(super) fn get_info(from: &mut Bytes) -> StreamInfo {
    StreamInfo {
        created: from.get_u64(),
        first_seq: from.get_u64(),
        last_seq: from.get_u64(),
        num_deleted: from.get_u64(),
        covers_all: from.get_u8() == 1,
        replicated: false,
        nonce: {
            let is_there = from.get_u8() == 1;
            let (rollbacks, random) = (from.get_u64(), from.get_u64());
            is_there.then_some(EpochNonce { rollbacks, random })
        },
    }
}

pub(super) fn get_range(from: &mut Bytes) -> SeqRange {
    SeqRange {
        from: from.get_u64(),
        to: from.get_u64(),
    }
}

/// A number that may be none.
fn put_option(to: &mut BytesMut, number: Option<u64>) {
    to.put_u8(u8::from(number.is_some()));
    to.put_u64(number.unwrap_or(0));
}

fn get_option(from: &mut Bytes) -> Option<u64> {
    let is_there = from.get_u8() == 1;
    let number = from.get_u64();
    is_there.then_some(number)
}

pub(super) fn put_extent(to: &mut BytesMut, extent: &Extent) {
    let fields = [extent.created, extent.last_seq, extent.to];
    fields.into_iter().for_each(|field| to.put_u64(field));
    to.put_u8(u8::from(extent.intact));
    put_option(to, extent.anchor.map(|anchor| anchor.seq));
    put_option(to, extent.anchor.map(|anchor| anchor.time));
}

pub(super) fn get_extent(from: &mut Bytes) -> Extent {
    Extent {
        created: from.get_u64(),
        last_seq: from.get_u64(),
        to: from.get_u64(),
        intact: from.get_u8() == 1,
        anchor: {
            let (seq, time) = (get_option(from), get_option(from));
            seq.zip(time).map(|(seq, time)| Anchor { seq, time })
        },
    }
}

pub(super) fn put_past(to: &mut BytesMut, message: &PastMessage) {
    to.put_u64(message.seq);
    put_option(to, message.prev);
    to.put_u64(message.time);
    to.put_u8(u8::try_from(message.subject.len()).unwrap_or(u8::MAX));
    to.put_slice(message.subject.as_bytes());
    to.put_u32(u32::try_from(message.payload.len()).unwrap_or(u32::MAX));
    to.put_slice(&message.payload);
}

pub(super) fn get_past(from: &mut Bytes) -> PastMessage {
    PastMessage {
        seq: from.get_u64(),
        prev: get_option(from),
        time: from.get_u64(),
        subject: {
            let length = usize::from(from.get_u8());
            String::from_utf8_lossy(&from.split_to(length)).into()
        },
        payload: {
            let length = from.get_u32() as usize;
            from.split_to(length)
        },
    }
}
