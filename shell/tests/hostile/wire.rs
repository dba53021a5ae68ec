//! What a server sent, taken apart, and frames that a client in order never sends.

use crate::common::masked;

/// The frames in these bytes: the first byte and the payload of each (RFC 6455 5.2).
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while let [first, short, rest @ ..] = bytes {
        let (length, rest) = match (short, rest) {
            (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            (127, _) | (126, _) => break,
            (short, rest) => (usize::from(*short), rest),
        };
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            break;
        };
        frames.push((*first, payload));
        bytes = rest;
    }
    frames
}

/// The code and reason of the close frame, which must be the last one.
pub(crate) fn close(bytes: &[u8]) -> Option<(u16, String)> {
    let (first, payload) = frames(bytes).pop()?;
    let (code, reason) = payload.split_first_chunk()?;
    let reason = String::from_utf8_lossy(reason).into_owned();
    (first == 0x88).then_some((u16::from_be_bytes(*code), reason))
}

/// The close frame with this code and reason.
pub(crate) fn is_closed(bytes: &[u8], code: u16, reason: &str) -> bool {
    close(bytes).is_some_and(|(found, why)| found == code && why == reason)
}

/// A request.
pub(crate) fn request(text: &str) -> Vec<u8> {
    masked(0x81, text.as_bytes())
}
