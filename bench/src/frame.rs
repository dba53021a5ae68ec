//! WebSocket frames (RFC 6455 5.2) as the clients of a measurement read and write them.

/// A text frame.
pub(crate) const TEXT: u8 = 0x1;
/// A close frame.
pub(crate) const CLOSE: u8 = 0x8;
/// A ping.
pub(crate) const PING: u8 = 0x9;
/// A pong.
pub(crate) const PONG: u8 = 0xA;

/// The first frame of `bytes`, if it is whole: its opcode, its payload as it stands there, and the
/// bytes that it takes. The payload of a masked frame is unmasked where its mask is zero, as
/// [`put_masked`] makes it.
pub(crate) fn first(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (opcode, second) = (bytes.first()? & 0x0F, *bytes.get(1)?);
    let (len, header) = match second & 0x7F {
        127 => {
            let len = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            (usize::try_from(len).ok()?, 10)
        }
        126 => {
            let len = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
            (usize::from(len), 4)
        }
        len => (usize::from(len), 2),
    };
    let begin: usize = header + if second & 0x80 == 0 { 0 } else { 4 };
    let end = begin.checked_add(len)?;
    Some((opcode, bytes.get(begin..end)?, end))
}

/// Appends a client's frame. Its mask is zero: whoever reads it has the same work as with any other.
pub(crate) fn put_masked(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    put_header(out, opcode, 0x80, payload.len());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// Appends a server's text frame.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_header(out, TEXT, 0, text.len());
    out.extend_from_slice(text);
}

fn put_header(out: &mut Vec<u8>, opcode: u8, mask: u8, len: usize) {
    out.push(0x80 | opcode);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(len), _) if len < 126 => out.push(mask | len),
        (_, Ok(len)) => {
            out.push(mask | 126);
            out.extend_from_slice(&len.to_be_bytes());
        }
        _ => {
            out.push(mask | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_at_every_length_of_the_header() {
        for len in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![7; len];
            let mut bytes = Vec::new();
            put_masked(&mut bytes, PING, &payload);
            assert_eq!(first(&bytes), Some((PING, &payload[..], bytes.len())));
            assert_eq!(first(&bytes[..bytes.len() - 1]), None);
            bytes.clear();
            put_text(&mut bytes, &payload);
            bytes.push(0);
            assert_eq!(first(&bytes), Some((TEXT, &payload[..], bytes.len() - 1)));
        }
    }
}
