//! The messages of a measurement: what is published, and what a client reads of it.

/// What stands before and after the time in a payload.
const HEAD: &[u8] = br#"{"at":""#;
const NECK: &[u8] = br#"","pad":""#;
const TAIL: &[u8] = br#""}"#;

/// Digits of the time: all that a `u64` may need, so that every payload has the same length.
const STAMP_DIGITS: usize = 20;

/// The shortest payload.
pub(crate) const PAYLOAD_MIN: usize = HEAD.len() + STAMP_DIGITS + NECK.len() + TAIL.len();

/// Appends a payload of `size` bytes (JSON) that carries the time `at`.
pub(crate) fn put_payload(out: &mut Vec<u8>, size: usize, at: u64) {
    let end = out.len() + size.max(PAYLOAD_MIN);
    out.extend_from_slice(HEAD);
    out.extend_from_slice(format!("{at:0STAMP_DIGITS$}").as_bytes());
    out.extend_from_slice(NECK);
    out.resize(end - TAIL.len(), b'x');
    out.extend_from_slice(TAIL);
}

/// The name of a channel.
pub(crate) fn channel_name(number: u32) -> String {
    format!("ch.{number}")
}

/// What a client reads of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    /// The number of its channel.
    pub(crate) channel: u32,
    /// Its seq.
    pub(crate) seq: u64,
    /// The seq before it in its channel; `None`: unknown.
    pub(crate) prev: Option<u64>,
    /// When it was published.
    pub(crate) at: u64,
}

/// Reads the text of a frame; `None`: it is no message whose payload has `size` bytes.
///
/// Only what is checked is read: this runs for every delivery, on the machine that is measured.
pub(crate) fn read(text: &[u8], size: usize) -> Option<Seen> {
    let rest = text.strip_prefix(br#"{"type":"message","channel":"ch."#)?;
    let (channel, rest) = number(rest)?;
    let rest = rest.strip_prefix(br#"","seq":"#)?;
    let (seq, rest) = number(rest)?;
    let rest = rest.strip_prefix(br#","prev":"#)?;
    let prev = match rest.strip_prefix(b"null") {
        Some(_) => None,
        None => Some(number(rest)?.0),
    };
    let data = text.len().checked_sub(size.max(PAYLOAD_MIN) + 1)?;
    let stamp = text[data..].strip_prefix(HEAD)?;
    let (at, _) = number(stamp)?;
    Some(Seen {
        channel: u32::try_from(channel).ok()?,
        seq,
        prev,
        at,
    })
}

/// The number that a text begins with, and what follows it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (at, byte) in text.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return (at > 0).then_some((value, &text[at..]));
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_the_server_is_read() {
        for size in [64, 256, 4096] {
            let mut payload = Vec::new();
            put_payload(&mut payload, size, 123_456_789);
            assert_eq!(payload.len(), size);
            let frame =
                odin_core::wire::event::message(&channel_name(17), 43, Some(42), 9, &payload);
            let (opcode, text, used) = crate::frame::first(&frame).expect("a whole frame");
            assert_eq!((opcode, used), (0x1, frame.len()));
            let seen = Seen {
                channel: 17,
                seq: 43,
                prev: Some(42),
                at: 123_456_789,
            };
            assert_eq!(read(text, size), Some(seen));
        }
    }

    #[test]
    fn other_messages_are_not_taken_for_one() {
        assert_eq!(read(br#"{"type":"welcome","session":"1"}"#, 64), None);
        let short = br#"{"type":"message","channel":"ch.1","seq":2,"prev":1,"ts":3,"data":4}"#;
        assert_eq!(read(short, 64), None);
    }
}
