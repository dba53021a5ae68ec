//! The framing between a server's upstream and the simulated broker: a length, a tag, fixed fields.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use odin_core::feed::{DeliverPolicy, EpochNonce, SeqRange, StreamInfo, Tail};
use odin_core::history::{Anchor, Extent};

/// What a server asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ask {
    /// The stream's state.
    Info {
        /// Echoed in the answer.
        id: u64,
    },
    /// A consumer instead of the one before.
    Open {
        /// Echoed in the answer.
        id: u64,
        /// Where it begins.
        policy: DeliverPolicy,
    },
    /// Put a nonce into the stream's metadata.
    Write {
        /// Echoed in the answer.
        id: u64,
        /// The nonce.
        nonce: EpochNonce,
    },
    /// Deliver from the consumer.
    Fetch {
        /// Echoed with each message.
        id: u64,
    },
    /// The stream's state and the consumer's.
    Tail {
        /// Echoed in the answer.
        id: u64,
    },
    /// What of a range the stream does not have.
    Deleted {
        /// Echoed in the answer.
        id: u64,
        /// The range.
        range: SeqRange,
    },
    /// What the stream holds of a topic.
    Past {
        /// Echoed in the answer.
        id: u64,
        /// Messages after this seq.
        after: u64,
        /// A channel or a pattern.
        topic: Arc<str>,
    },
    /// Is anybody there?
    Ping,
}

/// What the broker says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Say {
    /// The stream's state.
    Info {
        /// Of the question.
        id: u64,
        /// The state.
        info: StreamInfo,
    },
    /// The consumer is there.
    Opened {
        /// Of the question.
        id: u64,
        /// What it has to deliver.
        pending: u64,
    },
    /// A message.
    Message {
        /// Of the question.
        id: u64,
        /// Seq in the stream, place in the consumer, what follows, nanoseconds since the Unix epoch.
        numbers: [u64; 4],
        /// The subject.
        subject: Arc<str>,
        /// The payload.
        payload: Bytes,
    },
    /// The consumer has nothing to deliver.
    Heartbeat {
        /// Of the question.
        id: u64,
    },
    /// The question cannot be answered, or the consumer is no more.
    Failed {
        /// Of the question.
        id: u64,
    },
    /// The nonce was written.
    Written {
        /// Of the question.
        id: u64,
    },
    /// The stream's state and the consumer's.
    Tail {
        /// Of the question.
        id: u64,
        /// The states.
        tail: Tail,
    },
    /// What the stream does not have.
    Deleted {
        /// Of the question.
        id: u64,
        /// The end of the range.
        to: u64,
        /// What of it is gone.
        ranges: Vec<SeqRange>,
    },
    /// What the stream holds of a topic.
    Past {
        /// Of the question.
        id: u64,
        /// What the stream says of itself.
        extent: Extent,
        /// The messages.
        messages: Vec<PastMessage>,
    },
    /// Somebody is there.
    Pong,
}

/// A message that the stream holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PastMessage {
    /// Its seq.
    pub seq: u64,
    /// The seq before it on its subject, see [`odin_core::history::Stored::prev`].
    pub prev: Option<u64>,
    /// Nanoseconds since the Unix epoch.
    pub time: u64,
    /// The subject.
    pub subject: Arc<str>,
    /// The payload.
    pub payload: Bytes,
}

fn frame(to: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    let start = to.len();
    to.put_u32(0);
    to.put_u8(tag);
    body(to);
    let length = u32::try_from(to.len() - start - 4).unwrap_or(u32::MAX);
    to[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Takes one whole frame off the buffer: its tag and its body.
fn unframe(from: &mut BytesMut) -> Option<(u8, Bytes)> {
    let length = from.get(..4)?;
    let length = u32::from_be_bytes(length.try_into().ok()?) as usize;
    if from.len() < 4 + length || length == 0 {
        return None;
    }
    from.advance(4);
    let mut body = from.split_to(length).freeze();
    Some((body.get_u8(), body))
}

fn put_info(info: &StreamInfo, to: &mut BytesMut) {
    let fields = [info.created, info.first_seq, info.last_seq];
    fields.into_iter().for_each(|field| to.put_u64(field));
    to.put_u64(info.num_deleted);
    to.put_u8(u8::from(info.covers_all));
    to.put_u8(u8::from(info.nonce.is_some()));
    let nonce = info.nonce.map_or([0; 2], |n| [n.rollbacks, n.random]);
    nonce.into_iter().for_each(|field| to.put_u64(field));
}

fn get_info(from: &mut Bytes) -> StreamInfo {
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

fn get_range(from: &mut Bytes) -> SeqRange {
    SeqRange {
        from: from.get_u64(),
        to: from.get_u64(),
    }
}

impl Ask {
    /// Appends the frame.
    pub fn encode(&self, to: &mut BytesMut) {
        match *self {
            Self::Info { id } => frame(to, 0, |b| b.put_u64(id)),
            Self::Open { id, policy } => frame(to, 1, |b| {
                b.put_u64(id);
                b.put_u64(match policy {
                    DeliverPolicy::LastPerSubject => 0,
                    DeliverPolicy::ByStartSequence(seq) => seq,
                });
            }),
            Self::Fetch { id } => frame(to, 2, |b| b.put_u64(id)),
            Self::Ping => frame(to, 3, |_| {}),
            Self::Write { id, nonce } => frame(to, 4, |b| {
                let fields = [id, nonce.rollbacks, nonce.random];
                fields.into_iter().for_each(|field| b.put_u64(field));
            }),
            Self::Tail { id } => frame(to, 5, |b| b.put_u64(id)),
            Self::Deleted { id, range } => frame(to, 6, |b| {
                let fields = [id, range.from, range.to];
                fields.into_iter().for_each(|field| b.put_u64(field));
            }),
            Self::Past {
                id,
                after,
                ref topic,
            } => frame(to, 7, |b| {
                b.put_u64(id);
                b.put_u64(after);
                b.put_slice(topic.as_bytes());
            }),
        }
    }

    /// Takes a frame off the buffer. `None`: there is no whole one.
    ///
    /// # Panics
    /// When the other side, which is of this simulation too, does not keep to the framing.
    #[must_use]
    pub fn decode(from: &mut BytesMut) -> Option<Self> {
        let (tag, mut body) = unframe(from)?;
        Some(match tag {
            0 => Self::Info { id: body.get_u64() },
            1 => Self::Open {
                id: body.get_u64(),
                policy: match body.get_u64() {
                    0 => DeliverPolicy::LastPerSubject,
                    seq => DeliverPolicy::ByStartSequence(seq),
                },
            },
            2 => Self::Fetch { id: body.get_u64() },
            3 => Self::Ping,
            4 => Self::Write {
                id: body.get_u64(),
                nonce: EpochNonce {
                    rollbacks: body.get_u64(),
                    random: body.get_u64(),
                },
            },
            7 => Self::Past {
                id: body.get_u64(),
                after: body.get_u64(),
                topic: String::from_utf8_lossy(&body).into(),
            },
            5 => Self::Tail { id: body.get_u64() },
            6 => Self::Deleted {
                id: body.get_u64(),
                range: get_range(&mut body),
            },
            other => panic!("a question with the tag {other}"),
        })
    }
}

impl Say {
    /// Appends the frame.
    pub fn encode(&self, to: &mut BytesMut) {
        match self {
            Self::Info { id, info } => frame(to, 0, |b| {
                b.put_u64(*id);
                put_info(info, b);
            }),
            Self::Tail { id, tail } => frame(to, 7, |b| {
                b.put_u64(*id);
                put_info(&tail.info, b);
                b.put_u64(tail.delivered);
                b.put_u64(tail.pending);
            }),
            Self::Deleted {
                id,
                to: end,
                ranges,
            } => frame(to, 8, |b| {
                b.put_u64(*id);
                b.put_u64(*end);
                let fields = ranges.iter().flat_map(|range| [range.from, range.to]);
                fields.for_each(|field| b.put_u64(field));
            }),
            Self::Opened { id, pending } => frame(to, 1, |b| {
                b.put_u64(*id);
                b.put_u64(*pending);
            }),
            Self::Message {
                id,
                numbers,
                subject,
                payload,
            } => frame(to, 2, |b| {
                b.put_u64(*id);
                numbers.iter().for_each(|number| b.put_u64(*number));
                b.put_u8(u8::try_from(subject.len()).unwrap_or(u8::MAX));
                b.put_slice(subject.as_bytes());
                b.put_slice(payload);
            }),
            Self::Heartbeat { id } => frame(to, 3, |b| b.put_u64(*id)),
            Self::Failed { id } => frame(to, 4, |b| b.put_u64(*id)),
            Self::Pong => frame(to, 5, |_| {}),
            Self::Written { id } => frame(to, 6, |b| b.put_u64(*id)),
            Self::Past {
                id,
                extent,
                messages,
            } => frame(to, 9, |b| {
                b.put_u64(*id);
                put_extent(b, extent);
                messages.iter().for_each(|message| put_past(b, message));
            }),
        }
    }

    /// Takes a frame off the buffer. `None`: there is no whole one.
    ///
    /// # Panics
    /// When the other side, which is of this simulation too, does not keep to the framing.
    #[must_use]
    pub fn decode(from: &mut BytesMut) -> Option<Self> {
        let (tag, mut body) = unframe(from)?;
        Some(match tag {
            0 => Self::Info {
                id: body.get_u64(),
                info: get_info(&mut body),
            },
            7 => Self::Tail {
                id: body.get_u64(),
                tail: Tail {
                    info: get_info(&mut body),
                    delivered: body.get_u64(),
                    pending: body.get_u64(),
                },
            },
            8 => Self::Deleted {
                id: body.get_u64(),
                to: body.get_u64(),
                ranges: {
                    let count = body.len() / 16;
                    (0..count).map(|_| get_range(&mut body)).collect()
                },
            },
            1 => Self::Opened {
                id: body.get_u64(),
                pending: body.get_u64(),
            },
            2 => {
                let id = body.get_u64();
                let numbers = [(); 4].map(|()| body.get_u64());
                let length = usize::from(body.get_u8());
                let subject = body.split_to(length);
                Self::Message {
                    id,
                    numbers,
                    subject: String::from_utf8_lossy(&subject).into(),
                    payload: body,
                }
            }
            3 => Self::Heartbeat { id: body.get_u64() },
            4 => Self::Failed { id: body.get_u64() },
            5 => Self::Pong,
            6 => Self::Written { id: body.get_u64() },
            9 => Self::Past {
                id: body.get_u64(),
                extent: get_extent(&mut body),
                messages: {
                    let mut messages = Vec::new();
                    while body.has_remaining() {
                        messages.push(get_past(&mut body));
                    }
                    messages
                },
            },
            other => panic!("an answer with the tag {other}"),
        })
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

fn put_extent(to: &mut BytesMut, extent: &Extent) {
    let fields = [extent.created, extent.last_seq, extent.to];
    fields.into_iter().for_each(|field| to.put_u64(field));
    to.put_u8(u8::from(extent.intact));
    put_option(to, extent.anchor.map(|anchor| anchor.seq));
    put_option(to, extent.anchor.map(|anchor| anchor.time));
}

fn get_extent(from: &mut Bytes) -> Extent {
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

fn put_past(to: &mut BytesMut, message: &PastMessage) {
    to.put_u64(message.seq);
    put_option(to, message.prev);
    to.put_u64(message.time);
    to.put_u8(u8::try_from(message.subject.len()).unwrap_or(u8::MAX));
    to.put_slice(message.subject.as_bytes());
    to.put_u32(u32::try_from(message.payload.len()).unwrap_or(u32::MAX));
    to.put_slice(&message.payload);
}

fn get_past(from: &mut Bytes) -> PastMessage {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_went_also_in_pieces() {
        let said = [
            Say::Pong,
            Say::Message {
                id: 7,
                numbers: [1, 2, 3, 4],
                subject: "odin.token.BTC".into(),
                payload: Bytes::from_static(b"{}"),
            },
            Say::Opened { id: 8, pending: 9 },
            Say::Past {
                id: 10,
                extent: Extent {
                    created: 1,
                    last_seq: 12,
                    to: 11,
                    intact: true,
                    anchor: Some(Anchor { seq: 2, time: 3 }),
                },
                messages: vec![PastMessage {
                    seq: 11,
                    prev: None,
                    time: 4,
                    subject: "odin.token.ETH".into(),
                    payload: Bytes::from_static(b"[]"),
                }],
            },
        ];
        let mut all = BytesMut::new();
        said.iter().for_each(|say| say.encode(&mut all));
        let mut buffer = BytesMut::new();
        let mut heard = Vec::new();
        for byte in all {
            buffer.put_u8(byte);
            heard.extend(Say::decode(&mut buffer));
        }
        assert_eq!(heard, said);
        assert!(buffer.is_empty());
    }
}
