//! Channel names and patterns: which are legal, what a pattern matches, and when two of them meet.
//!
//! The rules are those of NATS subjects (docs.nats.io, "Subject-Based Messaging"), narrowed to what is
//! safe to show: a name is a row of tokens with dots between them; in a pattern, `*` stands for
//! exactly one token and a final `>` for one or more. Everything here is a function of the text; who
//! has subscribed what is kept by the shard.

use core::fmt;

/// The longest name or pattern, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 128;

/// The most tokens of a name or pattern.
pub const NAME_TOKENS_MAX: usize = 16;

const ANY: &str = "*";
const REST: &str = ">";

/// Why a text is no channel name, or no pattern. Its `Display` is a sentence without the text itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameError {
    /// There is no text.
    Empty,
    /// It is longer than [`NAME_BYTES_MAX`].
    TooLong,
    /// It has more than [`NAME_TOKENS_MAX`] tokens.
    TooManyTokens,
    /// It begins or ends with a dot, or has two in a row.
    EmptyToken,
    /// It has white space or a control character.
    Unprintable,
    /// It has a `*` or `>` where a channel name is wanted.
    Wildcard,
    /// A `*` or `>` is only a part of its token.
    PartialWildcard,
    /// A `>` is not the last token.
    RestNotLast,
    /// It has neither `*` nor `>` where a pattern is wanted.
    NoWildcard,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it must not be empty"),
            Self::TooLong => write!(f, "it must not be longer than {NAME_BYTES_MAX} bytes"),
            Self::TooManyTokens => {
                write!(f, "it must not have more than {NAME_TOKENS_MAX} tokens")
            }
            Self::EmptyToken => {
                f.write_str("each token, before, between and after the dots, must have a character")
            }
            Self::Unprintable => f.write_str("it must not have white space or control characters"),
            Self::Wildcard => f.write_str("a channel name must not have the wildcards * and >"),
            Self::PartialWildcard => f.write_str("a wildcard must be a whole token"),
            Self::RestNotLast => f.write_str("the wildcard > must be the last token"),
            Self::NoWildcard => f.write_str("a pattern must have a wildcard, * or >"),
        }
    }
}

impl core::error::Error for NameError {}

/// Whether `name` is a channel name: 1 to [`NAME_BYTES_MAX`] bytes, 1 to [`NAME_TOKENS_MAX`] tokens,
/// each with at least one character, and none of them white space, a control character or a wildcard.
///
/// # Errors
///
/// The first rule that the text breaks.
pub fn check_channel(name: &str) -> Result<(), NameError> {
    check_text(name)?;
    if is_pattern(name) {
        return Err(NameError::Wildcard);
    }
    Ok(())
}

/// Whether `text` is a pattern: like a channel name, but with at least one token that is `*`, or with
/// `>` as its last token.
///
/// # Errors
///
/// The first rule that the text breaks.
pub fn check_pattern(text: &str) -> Result<(), NameError> {
    check_text(text)?;
    if !is_pattern(text) {
        return Err(NameError::NoWildcard);
    }
    let mut tokens = text.split('.').peekable();
    while let Some(token) = tokens.next() {
        if token == REST {
            if tokens.peek().is_some() {
                return Err(NameError::RestNotLast);
            }
        } else if token != ANY && is_pattern(token) {
            return Err(NameError::PartialWildcard);
        }
    }
    Ok(())
}

/// What names and patterns have in common.
fn check_text(text: &str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong);
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(NameError::Unprintable);
    }
    if text.split('.').any(str::is_empty) {
        return Err(NameError::EmptyToken);
    }
    if text.split('.').count() > NAME_TOKENS_MAX {
        return Err(NameError::TooManyTokens);
    }
    Ok(())
}

/// Whether `text` is to be judged as a pattern: it has a `*` or `>` anywhere, so that `a*` is a bad
/// pattern and not a bad name.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    text.bytes().any(|byte| matches!(byte, b'*' | b'>'))
}

/// Whether `pattern` covers `channel`. A pattern without wildcards covers the channel of that name.
#[must_use]
pub fn matches(pattern: &str, channel: &str) -> bool {
    let mut names = channel.split('.');
    for token in pattern.split('.') {
        match names.next() {
            None => return false,
            Some(_) if token == REST => return true,
            Some(name) if token == ANY || token == name => {}
            Some(_) => return false,
        }
    }
    names.next().is_none()
}

/// Whether some channel is covered by both `a` and `b`; each is a name or a pattern.
#[must_use]
pub fn intersects(a: &str, b: &str) -> bool {
    let mut left = a.split('.');
    let mut right = b.split('.');
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(REST), Some(_)) | (Some(_), Some(REST)) => return true,
            (Some(x), Some(y)) if x == y || x == ANY || y == ANY => {}
            _ => return false,
        }
    }
}

/// Whether `claim` covers every channel that `wanted` covers; each is a name or a pattern.
#[must_use]
pub fn covers(claim: &str, wanted: &str) -> bool {
    let mut wanted = wanted.split('.');
    for token in claim.split('.') {
        match wanted.next() {
            None => return false,
            Some(_) if token == REST => return true,
            Some(REST) => return false,
            Some(want) if token == ANY || token == want => {}
            Some(_) => return false,
        }
    }
    wanted.next().is_none()
}

/// What every channel that `pattern` covers begins with: everything before the first wildcard token,
/// with the dot before it (`ETH.*` gives `ETH.`, `>` gives nothing). A name gives itself.
#[must_use]
pub fn literal_prefix(pattern: &str) -> &str {
    let mut start = 0;
    for token in pattern.split('.') {
        if token == ANY || token == REST {
            return &pattern[..start];
        }
        start += token.len() + 1;
    }
    pattern
}
