//! The framing between a server's upstream and the simulated broker: a length, a tag, fixed fields.

mod fields;

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use odin_core::feed::{DeliverPolicy, EpochNonce, SeqRange, StreamInfo, Tail};
use odin_core::history::Extent;

use self::fields::{
    frame, get_extent, get_info, get_past, get_range, put_extent, put_info, put_past, unframe,
};

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

#[cfg(test)]
mod tests {
    use odin_core::history::Anchor;

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
