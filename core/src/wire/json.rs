//! JSON (RFC 8259) written straight into a frame, without a tree of values before it.

use super::frame::Sink;

/// The digits of base64 (RFC 4648 4).
const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const HEX: &[u8; 16] = b"0123456789abcdef";

impl Sink {
    /// JSON text as it is.
    #[inline]
    pub(super) fn raw(&mut self, json: &str) {
        self.put(json.as_bytes());
    }

    /// A string with its quotes. Only what JSON demands is escaped; the rest stays UTF-8.
    pub(super) fn string(&mut self, text: &str) {
        self.put(b"\"");
        let bytes = text.as_bytes();
        let mut done = 0;
        for (at, byte) in bytes.iter().enumerate() {
            if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
                continue;
            }
            self.put(&bytes[done..at]);
            done = at + 1;
            match byte {
                b'"' => self.put(b"\\\""),
                b'\\' => self.put(b"\\\\"),
                b'\n' => self.put(b"\\n"),
                b'\r' => self.put(b"\\r"),
                b'\t' => self.put(b"\\t"),
                _ => {
                    let high = HEX[usize::from(byte >> 4)];
                    let low = HEX[usize::from(byte & 15)];
                    self.put(&[b'\\', b'u', b'0', b'0', high, low]);
                }
            }
        }
        self.put(&bytes[done..]);
        self.put(b"\"");
    }

    /// A whole number.
    pub(super) fn number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let mut start = digits.len();
        let mut rest = number;
        loop {
            start -= 1;
            // The remainder of a division by ten fits a digit.
            digits[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.put(&digits[start..]);
    }

    /// A whole number, or `null`.
    pub(super) fn number_or_null(&mut self, number: Option<u64>) {
        match number {
            Some(number) => self.number(number),
            None => self.raw("null"),
        }
    }

    /// A string, or `null`.
    pub(super) fn string_or_null(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.string(text),
            None => self.raw("null"),
        }
    }

    /// `open`, the items with commas between them, `close`.
    pub(super) fn list<T>(
        &mut self,
        open: &str,
        items: &[T],
        close: &str,
        write: impl Fn(&mut Self, &T),
    ) {
        self.raw(open);
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.raw(",");
            }
            write(self, item);
        }
        self.raw(close);
    }

    /// A list of strings.
    pub(super) fn strings(&mut self, items: &[&str]) {
        self.list("[", items, "]", |sink, item| sink.string(item));
    }

    /// Bytes as a base64 string with its quotes: the standard alphabet, padded.
    pub(super) fn base64(&mut self, bytes: &[u8]) {
        self.put(b"\"");
        for chunk in bytes.chunks(3) {
            let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
            let group = byte(0) << 16 | byte(1) << 8 | byte(2);
            let mut quad = [b'='; 4];
            for (at, digit) in quad.iter_mut().enumerate().take(chunk.len() + 1) {
                *digit = BASE64[(group >> (18 - 6 * at) & 63) as usize];
            }
            self.put(&quad);
        }
        self.put(b"\"");
    }
}
