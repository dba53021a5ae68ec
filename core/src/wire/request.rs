//! The messages of a client: parsed and checked as far as that needs nothing but the text.
//!
//! A [`Request`] that leaves here is well formed: its names are legal, no two of them meet, its ranges
//! are not empty. What depends on the connection (what it has subscribed, its limits, the log) is
//! judged by the shard. The rules and the error codes are those of `docs/PROTOCOL.md`.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde_json::value::RawValue;

use super::fields::{Fault, Field, Fields, shown};
use crate::name;
use crate::reason::ErrorCode;
use crate::record::codec::{coded, coded_variants};

/// The longest `id`, in bytes of JSON text. An id is echoed, so it takes room in the answer.
pub const ID_BYTES_MAX: usize = 128;

/// The most patterns of one request. Each is compared with every other name of the request, so this
/// bounds the work that one message can cause; the limit of a connection is another and usually lower.
pub const REQUEST_PATTERNS_MAX: usize = 64;

/// The `id` of a request: the JSON text of a number or a string, exactly as the client wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// The JSON text, to be echoed as it is.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

/// What a subscription delivers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// Every message.
    #[default]
    Lossless,
    /// The newest message of each channel; what it supersedes is passed over.
    Latest,
}

/// What happens when a lossless subscription loses messages for being slow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnLost {
    /// The connection is closed with 4008.
    #[default]
    Close,
    /// A `lost` notice names the range, and the subscription goes on.
    Continue,
}

/// Where a client stands in a channel, or in what a pattern covers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// The last seq that the client has; 0: none.
    pub seq: u64,
    /// The `ts` of that message, in milliseconds since the Unix epoch, as further proof.
    pub ts: Option<u64>,
}

/// The wish to continue where an earlier connection ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resume {
    /// The number line of the positions.
    pub epoch: String,
    /// The position for each name or pattern, each of which the request subscribes, and at most once.
    pub positions: Vec<(String, Position)>,
}

/// A `subscribe`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscribe {
    /// Names and patterns: at least one, all legal, no two that meet.
    pub channels: Vec<String>,
    /// What is delivered.
    pub mode: Mode,
    /// Whether the last value is sent at once.
    pub snapshot: bool,
    /// What happens when the client is too slow.
    pub on_lost: OnLost,
    /// Where to continue.
    pub resume: Option<Resume>,
}

/// A `replay`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replay {
    /// The name of a channel; `None`: the only one that is subscribed.
    pub channel: Option<String>,
    /// The first seq, inclusive; at least 1.
    pub from: u64,
    /// The last seq, inclusive, not below `from`; `None`: up to where live delivery stands.
    pub to: Option<u64>,
}

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Body {
    /// To be sent the messages of channels.
    Subscribe(Subscribe),
    /// To be sent them no longer.
    Unsubscribe {
        /// Names and patterns as they were subscribed: at least one, all legal, none twice.
        channels: Vec<String>,
    },
    /// To be sent messages of a channel again.
    Replay(Replay),
    /// A sign of life.
    Heartbeat,
    /// To be known.
    Auth(Token),
}

/// What a client shows to be known. It is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token itself, for whoever verifies it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl core::fmt::Debug for Token {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("***")
    }
}

/// A well-formed message of a client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// What the answer is to echo.
    pub id: Option<RequestId>,
    /// What is asked for.
    pub body: Body,
}

/// A message that is refused, with all that the `error` needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rejected {
    /// The id of the message, where it could be read.
    pub id: Option<RequestId>,
    /// The stable code.
    pub code: ErrorCode,
    /// What is wrong, for a human; it names the field or the channel.
    pub message: String,
}

/// Parses one text message. Total: every text is either a request or rejected.
///
/// # Errors
///
/// The first thing that is wrong, in this order: the JSON, the object and its `id`, fields given twice,
/// `type`, `data` and what is in it.
pub fn parse(text: &str) -> Result<Request, Rejected> {
    let mut id = None;
    match body(text, &mut id) {
        Ok(body) => Ok(Request { id, body }),
        Err(Fault { code, message }) => Err(Rejected { id, code, message }),
    }
}

fn body(text: &str, id: &mut Option<RequestId>) -> Result<Body, Fault> {
    let raw: &RawValue = serde_json::from_str(text).map_err(|error| {
        let message = format!("the message is not JSON: {error}");
        Fault::new(ErrorCode::InvalidJson, message)
    })?;
    let mut fields = Fields::read("", raw)?;
    if let Some(field) = fields.peek_single("id") {
        *id = Some(request_id(&field)?);
    }
    fields.check_unique()?;
    fields.take("id");
    let kind = fields.require("type")?.string()?;
    let data = fields.take("data");
    let read = match kind.as_str() {
        "subscribe" => subscribe,
        "unsubscribe" => unsubscribe,
        "replay" => replay,
        "auth" => auth,
        "heartbeat" => {
            fields.finish()?;
            if let Some(data) = data {
                data.object()?.finish()?;
            }
            return Ok(Body::Heartbeat);
        }
        _ => {
            let message = format!("the type \"{}\" is unknown", shown(&kind));
            return Err(Fault::new(ErrorCode::UnknownType, message));
        }
    };
    fields.finish()?;
    let data = data.ok_or_else(|| Fault::form("data is missing".into()))?;
    read(data.object()?)
}

fn request_id(field: &Field<'_>) -> Result<RequestId, Fault> {
    let json = field.json();
    // What is JSON and begins so can only be a string or a number.
    if !json.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        return Err(field.must("a number or a string"));
    }
    if json.len() > ID_BYTES_MAX {
        return Err(field.must(&format!("at most {ID_BYTES_MAX} bytes long")));
    }
    Ok(RequestId(json.into()))
}

fn subscribe(mut data: Fields<'_>) -> Result<Body, Fault> {
    let channels = data.require("channels")?;
    let mode = data.take("mode");
    let snapshot = data.take("snapshot");
    let on_lost = data.take("on_lost");
    let resume = data.take("resume");
    data.finish()?;
    let mode = match mode {
        None => Mode::default(),
        Some(field) => match field.string()?.as_str() {
            "lossless" => Mode::Lossless,
            "latest" => Mode::Latest,
            _ => return Err(field.must("\"lossless\" or \"latest\"")),
        },
    };
    let snapshot = snapshot.map_or(Ok(false), |field| field.boolean())?;
    let on_lost = match on_lost {
        None => OnLost::default(),
        Some(field) => match field.string()?.as_str() {
            "close" => OnLost::Close,
            "continue" => OnLost::Continue,
            _ => return Err(field.must("\"close\" or \"continue\"")),
        },
    };
    let resume = resume.map(|field| read_resume(&field)).transpose()?;
    let channels = names(&channels)?;
    check_apart(&channels)?;
    if let Some(resume) = &resume {
        check_resume(resume, &channels)?;
    }
    Ok(Body::Subscribe(Subscribe {
        channels,
        mode,
        snapshot,
        on_lost,
        resume,
    }))
}

fn read_resume(field: &Field<'_>) -> Result<Resume, Fault> {
    let mut fields = field.object()?;
    let epoch = fields.require("epoch")?.string()?;
    let positions = fields.require("positions")?.object()?;
    fields.finish()?;
    let positions = positions
        .take_all()
        .map(|(channel, field)| Ok((channel, position(&field)?)))
        .collect::<Result<_, Fault>>()?;
    Ok(Resume { epoch, positions })
}

fn position(field: &Field<'_>) -> Result<Position, Fault> {
    if !field.json().starts_with('{') {
        let wish = "a whole number from 0 to 18446744073709551615, or an object with seq and ts";
        let seq = field.number().map_err(|_| field.must(wish))?;
        return Ok(Position { seq, ts: None });
    }
    let mut fields = field.object()?;
    let seq = fields.require("seq")?.number()?;
    let ts = fields.take("ts").map(|ts| ts.number()).transpose()?;
    fields.finish()?;
    Ok(Position { seq, ts })
}

/// Every position must belong to a name of the request.
fn check_resume(resume: &Resume, channels: &[String]) -> Result<(), Fault> {
    let channels = channels.iter().collect::<BTreeSet<_>>();
    let mut positions = resume.positions.iter();
    match positions.find(|(channel, _)| !channels.contains(channel)) {
        None => Ok(()),
        Some((channel, _)) => Err(Fault::new(
            ErrorCode::InvalidResume,
            format!(
                "there is a position for \"{}\", which the request does not subscribe",
                shown(channel)
            ),
        )),
    }
}

fn unsubscribe(mut data: Fields<'_>) -> Result<Body, Fault> {
    let field = data.require("channels")?;
    data.finish()?;
    let channels = names(&field)?;
    match twice(&channels) {
        None => Ok(Body::Unsubscribe { channels }),
        Some(name) => Err(Fault::form(format!(
            "data.channels has \"{}\" twice",
            shown(name)
        ))),
    }
}

fn replay(mut data: Fields<'_>) -> Result<Body, Fault> {
    let channel = data.take("channel").map(|field| field.string());
    let channel = channel.transpose()?;
    let from = data.take("from");
    let since = data.take("since");
    let to = data.take("to");
    data.finish()?;
    let from = match (from, since) {
        (Some(from), None) => match from.number()? {
            0 => return Err(from.must("at least 1")),
            from => from,
        },
        (None, Some(since)) => since
            .number()?
            .checked_add(1)
            .ok_or_else(|| since.must("less than 18446744073709551615"))?,
        (Some(_), Some(_)) => {
            let message = "data.from and data.since must not be given together";
            return Err(Fault::form(message.into()));
        }
        (None, None) => {
            let message = "data.from is missing, and data.since as well";
            return Err(Fault::form(message.into()));
        }
    };
    let to = match to {
        None => None,
        Some(field) => match field.number()? {
            to if to < from => return Err(field.must(&format!("at least {from}, the first seq"))),
            to => Some(to),
        },
    };
    if let Some(channel) = &channel {
        name::check_channel(channel)
            .map_err(|error| bad_name(ErrorCode::InvalidChannel, channel, error))?;
    }
    Ok(Body::Replay(Replay { channel, from, to }))
}

fn auth(mut data: Fields<'_>) -> Result<Body, Fault> {
    let token = data.require("token")?.string()?;
    data.finish()?;
    Ok(Body::Auth(Token(token)))
}

/// A list of at least one name or pattern, each legal by itself.
fn names(field: &Field<'_>) -> Result<Vec<String>, Fault> {
    let names = field.strings()?;
    if names.is_empty() {
        return Err(field.must("a list with at least one channel"));
    }
    for text in &names {
        let (code, result) = if name::is_pattern(text) {
            (ErrorCode::InvalidPattern, name::check_pattern(text))
        } else {
            (ErrorCode::InvalidChannel, name::check_channel(text))
        };
        result.map_err(|error| bad_name(code, text, error))?;
    }
    Ok(names)
}

fn bad_name(code: ErrorCode, text: &str, error: name::NameError) -> Fault {
    let what = match code {
        ErrorCode::InvalidPattern => "pattern",
        _ => "channel name",
    };
    let message = format!("the {what} \"{}\" is not valid: {error}", shown(text));
    Fault::new(code, message)
}

/// A name that is in the list more than once.
fn twice(names: &[String]) -> Option<&String> {
    let mut seen = BTreeSet::new();
    names.iter().find(|name| !seen.insert(*name))
}

/// No channel may reach a connection through two subscriptions.
fn check_apart(names: &[String]) -> Result<(), Fault> {
    if let Some(name) = twice(names) {
        let message = format!("the request names \"{}\" twice", shown(name));
        return Err(Fault::new(ErrorCode::AlreadySubscribed, message));
    }
    // Two different names without a wildcard never meet.
    let patterns = names.iter().filter(|text| name::is_pattern(text));
    if patterns.clone().count() > REQUEST_PATTERNS_MAX {
        let message = format!("a request may name at most {REQUEST_PATTERNS_MAX} patterns");
        return Err(Fault::new(ErrorCode::TooManyPatterns, message));
    }
    for pattern in patterns {
        let mut others = names.iter().filter(|other| *other != pattern);
        if let Some(other) = others.find(|other| name::intersects(pattern, other)) {
            let message = format!(
                "\"{}\" and \"{}\" of the request have channels in common",
                shown(pattern),
                shown(other)
            );
            return Err(Fault::new(ErrorCode::SubscriptionOverlap, message));
        }
    }
    Ok(())
}

coded!(Position { seq, ts });

coded!(Resume { epoch, positions });

coded!(Subscribe {
    channels,
    mode,
    snapshot,
    on_lost,
    resume
});

coded!(RequestId(1));

coded_variants!(Mode { Lossless, Latest });

coded_variants!(OnLost { Close, Continue });

coded!(Rejected { id, code, message });
