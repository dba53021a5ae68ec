//! The messages of the server. Every function gives one complete WebSocket text frame, made in one
//! allocation, with its fields in the order of `docs/PROTOCOL.md`.
//!
//! Only the form is decided here: what is sent to whom, and when, is decided by the shard and the feed.

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::frame::{self, Sink};
use super::request::RequestId;
use crate::reason::{ErrorCode, LostReason, ResetReason, UnrecoveredReason};

/// How a payload goes into `data`.
enum Data<'a> {
    /// It is JSON already.
    Json(&'a str),
    /// It is UTF-8, but not JSON.
    Text(&'a str),
    /// It is neither.
    Binary(&'a [u8]),
}

impl<'a> Data<'a> {
    fn of(payload: &'a [u8]) -> Self {
        // The UTF-8 check comes first because the JSON check passes over strings unread.
        match core::str::from_utf8(payload) {
            Err(_) => Self::Binary(payload),
            // Passing over a value does not recurse, so nesting cannot exhaust the stack here.
            Ok(text) => match serde_json::from_str::<IgnoredAny>(text) {
                Ok(_) => Self::Json(text),
                Err(_) => Self::Text(text),
            },
        }
    }
}

/// One message of a channel. `prev` is `None` where the predecessor is unknown; `ts` is in milliseconds
/// since the Unix epoch. The payload goes out verbatim if it is JSON, else as a string if it is UTF-8,
/// else as base64 (RFC 4648 4) with an `encoding` beside it.
#[must_use]
pub fn message(channel: &str, seq: u64, prev: Option<u64>, ts: u64, payload: &[u8]) -> Bytes {
    let data = Data::of(payload);
    frame::text(|sink| {
        sink.raw(r#"{"type":"message","channel":"#);
        sink.string(channel);
        sink.raw(r#","seq":"#);
        sink.number(seq);
        sink.raw(r#","prev":"#);
        sink.number_or_null(prev);
        sink.raw(r#","ts":"#);
        sink.number(ts);
        sink.raw(r#","data":"#);
        match &data {
            Data::Json(json) => sink.raw(json),
            Data::Text(text) => sink.string(text),
            Data::Binary(bytes) => {
                sink.base64(bytes);
                sink.raw(r#","encoding":"base64""#);
            }
        }
        sink.raw("}");
    })
}

/// The first message of a connection. `epoch` is `None` until the source is ready; `max_channels` is 0
/// where there is no limit.
#[must_use]
pub fn welcome(session: &str, epoch: Option<&str>, ping_ms: u64, max_channels: u32) -> Bytes {
    frame::text(|sink| {
        sink.raw(r#"{"type":"welcome","session":"#);
        sink.string(session);
        sink.raw(r#","version":"#);
        sink.string(crate::VERSION);
        sink.raw(r#","epoch":"#);
        sink.string_or_null(epoch);
        sink.raw(r#","ping_ms":"#);
        sink.number(ping_ms);
        sink.raw(r#","max_channels":"#);
        sink.number(max_channels.into());
        sink.raw("}");
    })
}

/// A position that a resume could not recover.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unrecovered<'a> {
    /// The name or pattern as subscribed.
    pub channel: &'a str,
    /// Why.
    pub reason: UnrecoveredReason,
    /// The oldest seq that is still kept; left out where unknown.
    pub oldest: Option<u64>,
    /// The newest seq; left out where unknown.
    pub newest: Option<u64>,
}

/// The answer to a subscribe that succeeded.
#[derive(Clone, Copy, Debug)]
pub struct SubscriptionAck<'a> {
    /// The id of the request.
    pub id: Option<&'a RequestId>,
    /// The names and patterns that the request subscribed.
    pub subscribed: &'a [&'a str],
    /// How many subscriptions the connection has now.
    pub count: u32,
    /// The number line of the positions; `None` while the source is not ready.
    pub epoch: Option<&'a str>,
    /// Whether the number line outlives this server.
    pub durable: bool,
    /// For each subscription the seq after which its messages begin; `None`: unknown.
    pub positions: &'a [(&'a str, Option<u64>)],
    /// What was resumed exactly.
    pub recovered: &'a [&'a str],
    /// What was not. Both lists are left out of the message if both are empty: nothing was to be resumed.
    pub unrecovered: &'a [Unrecovered<'a>],
}

/// The answer to a subscribe that succeeded.
#[must_use]
pub fn subscription_ack(ack: &SubscriptionAck<'_>) -> Bytes {
    frame::text(|sink| {
        begin(sink, r#"{"type":"subscription_ack""#, ack.id);
        sink.raw(r#","subscribed":"#);
        sink.strings(ack.subscribed);
        sink.raw(r#","count":"#);
        sink.number(ack.count.into());
        sink.raw(r#","epoch":"#);
        sink.string_or_null(ack.epoch);
        sink.raw(r#","durable":"#);
        sink.raw(if ack.durable { "true" } else { "false" });
        sink.raw(r#","positions":"#);
        sink.list("{", ack.positions, "}", |sink, (channel, seq)| {
            sink.string(channel);
            sink.raw(":");
            sink.number_or_null(*seq);
        });
        if !ack.recovered.is_empty() || !ack.unrecovered.is_empty() {
            sink.raw(r#","recovered":"#);
            sink.strings(ack.recovered);
            sink.raw(r#","unrecovered":"#);
            sink.list("[", ack.unrecovered, "]", unrecovered);
        }
        sink.raw("}");
    })
}

fn unrecovered(sink: &mut Sink, item: &Unrecovered<'_>) {
    sink.raw(r#"{"channel":"#);
    sink.string(item.channel);
    sink.raw(r#","reason":"#);
    sink.string(item.reason.label());
    kept(sink, item.oldest, item.newest);
    sink.raw("}");
}

/// The answer to an unsubscribe that succeeded; `count` is how many subscriptions remain.
#[must_use]
pub fn unsubscription_ack(id: Option<&RequestId>, unsubscribed: &[&str], count: u32) -> Bytes {
    frame::text(|sink| {
        begin(sink, r#"{"type":"unsubscription_ack""#, id);
        sink.raw(r#","unsubscribed":"#);
        sink.strings(unsubscribed);
        sink.raw(r#","count":"#);
        sink.number(count.into());
        sink.raw("}");
    })
}

/// The server took subscriptions away; `count` is how many remain.
#[must_use]
pub fn unsubscribed(unsubscribed: &[&str], count: u32, reason: &str) -> Bytes {
    frame::text(|sink| {
        sink.raw(r#"{"type":"unsubscription_ack","unsubscribed":"#);
        sink.strings(unsubscribed);
        sink.raw(r#","count":"#);
        sink.number(count.into());
        sink.raw(r#","reason":"#);
        sink.string(reason);
        sink.raw("}");
    })
}

/// The answer to a token that is accepted: when it expires, in seconds since the Unix epoch.
#[must_use]
pub fn auth_ack(id: Option<&RequestId>, expires_at: u64) -> Bytes {
    frame::text(|sink| {
        begin(sink, r#"{"type":"auth_ack""#, id);
        sink.raw(r#","expires_at":"#);
        sink.number(expires_at);
        sink.raw("}");
    })
}

/// The end of a replay that sent all of `from..=to`, which was `count` messages.
#[must_use]
pub fn replay_complete(
    id: Option<&RequestId>,
    channel: &str,
    from: u64,
    to: u64,
    count: u64,
) -> Bytes {
    frame::text(|sink| {
        begin(sink, r#"{"type":"replay_complete""#, id);
        sink.raw(r#","channel":"#);
        sink.string(channel);
        sink.raw(r#","from":"#);
        sink.number(from);
        sink.raw(r#","to":"#);
        sink.number(to);
        sink.raw(r#","count":"#);
        sink.number(count);
        sink.raw("}");
    })
}

/// The end of a replay that sent `sent` messages but not all; `oldest` and `newest` are what is kept,
/// left out where unknown.
#[must_use]
pub fn replay_incomplete(
    id: Option<&RequestId>,
    channel: &str,
    sent: u64,
    reason: &str,
    oldest: Option<u64>,
    newest: Option<u64>,
) -> Bytes {
    frame::text(|sink| {
        begin(sink, r#"{"type":"replay_incomplete""#, id);
        sink.raw(r#","channel":"#);
        sink.string(channel);
        sink.raw(r#","sent":"#);
        sink.number(sent);
        sink.raw(r#","reason":"#);
        sink.string(reason);
        kept(sink, oldest, newest);
        sink.raw("}");
    })
}

/// Messages with a seq in `from..=to` may be missing: of one channel or pattern, or, without
/// `channel`, of every subscription of the connection. `to` is `None` where the end is unknown.
#[must_use]
pub fn lost(channel: Option<&str>, from: u64, to: Option<u64>, reason: LostReason) -> Bytes {
    notice_of_loss(channel, from, to, None, reason)
}

/// The same for every subscription. Where `until` is above `to`, further messages up to there may be
/// missing as well, without another notice.
#[must_use]
pub fn lost_all(from: u64, to: Option<u64>, until: Option<u64>, reason: LostReason) -> Bytes {
    notice_of_loss(None, from, to, until.filter(|_| until > to), reason)
}

fn notice_of_loss(
    channel: Option<&str>,
    from: u64,
    to: Option<u64>,
    until: Option<u64>,
    reason: LostReason,
) -> Bytes {
    frame::text(|sink| {
        sink.raw(r#"{"type":"lost""#);
        if let Some(channel) = channel {
            sink.raw(r#","channel":"#);
            sink.string(channel);
        }
        sink.raw(r#","from":"#);
        sink.number(from);
        sink.raw(r#","to":"#);
        sink.number_or_null(to);
        if let Some(until) = until {
            sink.raw(r#","until":"#);
            sink.number(until);
        }
        sink.raw(r#","reason":"#);
        sink.string(reason.label());
        sink.raw("}");
    })
}

/// All positions are void; those to come are of `epoch`.
#[must_use]
pub fn reset(epoch: &str, reason: ResetReason) -> Bytes {
    frame::text(|sink| {
        sink.raw(r#"{"type":"reset","epoch":"#);
        sink.string(epoch);
        sink.raw(r#","reason":"#);
        sink.string(reason.label());
        sink.raw("}");
    })
}

/// The answer to a request that did not succeed.
#[must_use]
pub fn error(code: ErrorCode, message: &str, id: Option<&RequestId>) -> Bytes {
    frame::text(|sink| {
        sink.raw(r#"{"type":"error","code":"#);
        sink.string(code.label());
        sink.raw(r#","message":"#);
        sink.string(message);
        begin(sink, "", id);
        sink.raw("}");
    })
}

/// The answer to a heartbeat; `ts` is the server's clock in milliseconds since the Unix epoch.
#[must_use]
pub fn pong(id: Option<&RequestId>, ts: u64) -> Bytes {
    frame::text(|sink| {
        begin(sink, r#"{"type":"pong""#, id);
        sink.raw(r#","ts":"#);
        sink.number(ts);
        sink.raw("}");
    })
}

/// The connection will be closed; the client is to come back so many milliseconds after it received this.
#[must_use]
pub fn goaway(reason: &str, reconnect_after_ms: u64) -> Bytes {
    frame::text(|sink| {
        sink.raw(r#"{"type":"goaway","reason":"#);
        sink.string(reason);
        sink.raw(r#","reconnect_after_ms":"#);
        sink.number(reconnect_after_ms);
        sink.raw("}");
    })
}

/// The beginning of an answer, and the id of its request if it had one.
fn begin(sink: &mut Sink, start: &str, id: Option<&RequestId>) {
    sink.raw(start);
    if let Some(id) = id {
        sink.raw(r#","id":"#);
        sink.raw(id.as_json());
    }
}

/// The range that is still kept, as far as it is known.
fn kept(sink: &mut Sink, oldest: Option<u64>, newest: Option<u64>) {
    if let Some(oldest) = oldest {
        sink.raw(r#","oldest":"#);
        sink.number(oldest);
    }
    if let Some(newest) = newest {
        sink.raw(r#","newest":"#);
        sink.number(newest);
    }
}
