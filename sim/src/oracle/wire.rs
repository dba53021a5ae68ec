//! The server's messages as a client reads them: one flat form, in which a field that a message has not
//! is missing. A field that the protocol does not know is a fault.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A message of the server.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    #[serde(borrow)]
    pub(super) id: Option<&'a RawValue>,
    pub(super) channel: Option<String>,
    pub(super) seq: Option<u64>,
    pub(super) prev: Option<u64>,
    pub(super) ts: Option<u64>,
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
    pub(super) encoding: Option<&'a str>,
    pub(super) session: Option<&'a str>,
    pub(super) version: Option<&'a str>,
    pub(super) epoch: Option<String>,
    pub(super) ping_ms: Option<u64>,
    pub(super) max_channels: Option<u64>,
    pub(super) subscribed: Option<Vec<String>>,
    pub(super) unsubscribed: Option<Vec<String>>,
    pub(super) count: Option<u64>,
    pub(super) durable: Option<bool>,
    pub(super) positions: Option<BTreeMap<String, Option<u64>>>,
    #[serde(default)]
    pub(super) recovered: Vec<String>,
    #[serde(default)]
    pub(super) unrecovered: Vec<Unrecovered>,
    pub(super) from: Option<u64>,
    pub(super) to: Option<u64>,
    pub(super) until: Option<u64>,
    pub(super) sent: Option<u64>,
    pub(super) reason: Option<String>,
    pub(super) oldest: Option<u64>,
    pub(super) newest: Option<u64>,
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
    pub(super) reconnect_after_ms: Option<u64>,
}

/// A position that could not be recovered.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unrecovered {
    pub(super) channel: String,
    pub(super) reason: String,
    pub(super) oldest: Option<u64>,
    pub(super) newest: Option<u64>,
}

/// A request of a client, as far as the oracle needs it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Request {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) id: Option<u64>,
    #[serde(default)]
    pub(super) data: Asked,
    /// When it was sent the number line may have ended before a position that it resumes.
    #[serde(skip)]
    pub(super) is_ahead: bool,
}

/// What a request asks for.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    pub(super) channels: Vec<String>,
    #[serde(default)]
    pub(super) mode: String,
    #[serde(default)]
    pub(super) snapshot: bool,
    #[serde(default)]
    pub(super) on_lost: String,
    pub(super) resume: Option<Resume>,
    pub(super) channel: Option<String>,
    pub(super) from: Option<u64>,
    pub(super) since: Option<u64>,
    pub(super) to: Option<u64>,
}

/// The resume of a subscribe.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Resume {
    pub(super) epoch: String,
    pub(super) positions: BTreeMap<String, Position>,
}

/// A position, with or without the time of its message.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Position {
    Seq(u64),
    Timed { seq: u64 },
}

impl Position {
    pub(super) fn seq(self) -> u64 {
        match self {
            Self::Seq(seq) | Self::Timed { seq } => seq,
        }
    }
}
