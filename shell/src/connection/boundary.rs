//! Where messages begin and end in what a client sends (RFC 6455 5.2), so that the parser and the
//! buffer that it grew for a large message can be given up between two messages.
//!
//! It judges nothing: what is wrong with a frame is the parser's to say.

/// Follows the frames of one client.
#[derive(Debug, Default)]
pub(super) struct Boundary {
    stage: Stage,
    /// The payload's length, as far as it is known.
    length: u64,
    /// Bytes of the masking key: 0 or 4.
    mask: u8,
    /// A message in fragments is not complete.
    open: bool,
    /// The largest payload so far.
    largest: u64,
    /// Frames that another one of the same message is to follow, since they were asked for last.
    fragments: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Stage {
    /// The next byte begins a frame.
    #[default]
    First,
    /// The next byte has the short length.
    Second,
    /// So many bytes of the long length are to come.
    Length(u8),
    /// So many bytes of the masking key are to come.
    Mask(u8),
    /// So many bytes of the payload are to come; above 0.
    Payload(u64),
}

impl Boundary {
    /// These bytes came.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((byte, rest)) = bytes.split_first() {
            if let Stage::Payload(left) = self.stage {
                let here = left.min(bytes.len() as u64);
                self.stage = payload(left - here);
                // At most the length of the slice.
                bytes = bytes.get(here as usize..).unwrap_or_default();
                continue;
            }
            self.head(*byte);
            bytes = rest;
        }
    }

    /// Whether all that came makes whole messages.
    pub(super) fn is_between_messages(&self) -> bool {
        self.stage == Stage::First && !self.open
    }

    /// The largest payload that came, in bytes.
    pub(super) fn largest(&self) -> u64 {
        self.largest
    }

    /// How many frames came that another one of the same message is to follow; each is told once.
    pub(super) fn take_fragments(&mut self) -> u32 {
        std::mem::take(&mut self.fragments)
    }

    fn head(&mut self, byte: u8) {
        self.stage = match self.stage {
            Stage::First => {
                let is_control = byte & 0x08 != 0;
                if !is_control {
                    self.open = byte & 0x80 == 0;
                    self.fragments = self.fragments.saturating_add(u32::from(self.open));
                }
                Stage::Second
            }
            Stage::Second => {
                self.mask = if byte & 0x80 == 0 { 0 } else { 4 };
                self.length = u64::from(byte & 0x7F);
                match self.length {
                    126 => self.long(2),
                    127 => self.long(8),
                    _ => self.after_length(),
                }
            }
            Stage::Length(left) => {
                self.length = self.length << 8 | u64::from(byte);
                match left {
                    1 => self.after_length(),
                    _ => Stage::Length(left - 1),
                }
            }
            Stage::Mask(1) => payload(self.length),
            Stage::Mask(left) => Stage::Mask(left - 1),
            Stage::Payload(left) => Stage::Payload(left),
        };
    }

    fn long(&mut self, bytes: u8) -> Stage {
        self.length = 0;
        Stage::Length(bytes)
    }

    fn after_length(&mut self) -> Stage {
        self.largest = self.largest.max(self.length);
        match self.mask {
            0 => payload(self.length),
            mask => Stage::Mask(mask),
        }
    }
}

/// The stage with so many bytes of payload to come.
fn payload(left: u64) -> Stage {
    match left {
        0 => Stage::First,
        left => Stage::Payload(left),
    }
}

#[cfg(test)]
mod tests {
    use super::Boundary;

    /// Frames with the number of messages' ends in them, by hand: header, mask, payload.
    fn stream() -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        let mut frame = |head: &[u8], payload: usize, ends_message: bool| {
            bytes.extend(head);
            bytes.extend(vec![0xFF; payload]);
            if ends_message {
                ends.push(bytes.len());
            }
        };
        frame(&[0x81, 0x83, 1, 2, 3, 4], 3, true);
        frame(&[0x81, 0x80, 1, 2, 3, 4], 0, true);
        frame(&[0x01, 0x80 | 126, 0, 200, 1, 2, 3, 4], 200, false);
        frame(&[0x89, 0x81, 1, 2, 3, 4], 1, false);
        frame(&[0x80, 0x80, 1, 2, 3, 4], 0, true);
        frame(&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65_536, true);
        frame(&[0x8A, 0], 0, true);
        (bytes, ends)
    }

    #[test]
    fn every_end_of_a_message_is_found_and_nothing_else() {
        let (bytes, ends) = stream();
        for step in [1, 2, 3, 7, 1000] {
            let mut boundary = Boundary::default();
            let mut at = 0;
            for part in bytes.chunks(step) {
                assert_eq!(boundary.is_between_messages(), ends.contains(&at), "{at}");
                boundary.feed(part);
                at += part.len();
            }
            assert!(boundary.is_between_messages());
            assert_eq!(boundary.take_fragments(), 1);
            assert_eq!(boundary.take_fragments(), 0);
            assert_eq!(boundary.largest(), 65_536);
        }
    }
}
