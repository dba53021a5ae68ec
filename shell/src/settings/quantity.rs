//! The kinds of values that are quantities: counts, sizes, cores and durations.

use std::fmt::Write as _;
use std::time::Duration;

use super::kind::{Kind, quoted};

/// A whole number between bounds.
pub(super) struct Count(pub(super) u32, pub(super) u32);

impl Kind for Count {
    type Value = u32;

    fn accepts(&self) -> String {
        format!("a whole number from {} to {}", self.0, self.1)
    }

    fn parse(&self, text: &str) -> Option<u32> {
        digits(text)?
            .parse()
            .ok()
            .filter(|value| (self.0..=self.1).contains(value))
    }

    fn show(&self, value: &u32) -> Option<String> {
        Some(value.to_string())
    }
}

/// `text` if it consists of digits: no sign, no space.
fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then_some(text)
}

/// A number of bytes between bounds.
pub(super) struct Size(pub(super) usize, pub(super) usize);

/// The units of sizes, largest first.
const SIZE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// The bytes of a text such as `64KiB`.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let factor = match unit {
        "" => 1,
        unit => {
            SIZE_UNITS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))?
                .1
        }
    };
    digits(number)?.parse::<u64>().ok()?.checked_mul(factor)
}

/// The size in the largest unit that divides it, without quotes.
fn size_text(bytes: u64) -> String {
    let unit = SIZE_UNITS
        .iter()
        .find(|(_, factor)| bytes >= *factor && bytes.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) if *factor > 1 => format!("{}{name}", bytes / factor),
        _ => bytes.to_string(),
    }
}

fn show_size(bytes: u64) -> Option<String> {
    let text = size_text(bytes);
    if digits(&text).is_some() {
        Some(text)
    } else {
        quoted(text)
    }
}

impl Kind for Size {
    type Value = usize;

    fn accepts(&self) -> String {
        let from = size_text(self.0 as u64);
        let to = match self.1 {
            usize::MAX => " or more".to_owned(),
            most => format!(" to {}", size_text(most as u64)),
        };
        format!("a size in B, KiB, MiB or GiB, such as 64KiB, or in plain bytes; from {from}{to}")
    }

    fn parse(&self, text: &str) -> Option<usize> {
        let bytes = usize::try_from(parse_size(text)?).ok()?;
        (self.0..=self.1).contains(&bytes).then_some(bytes)
    }

    fn show(&self, value: &usize) -> Option<String> {
        show_size(*value as u64)
    }
}

/// The memory of a machine, at least 1 MiB.
pub(super) struct Memory;

impl Kind for Memory {
    type Value = u64;

    fn accepts(&self) -> String {
        Size(1 << 20, usize::MAX).accepts()
    }

    fn parse(&self, text: &str) -> Option<u64> {
        parse_size(text).filter(|bytes| *bytes >= 1 << 20)
    }

    fn show(&self, value: &u64) -> Option<String> {
        show_size(*value)
    }
}

/// A number of cores, maybe not whole.
pub(super) struct Cores;

impl Kind for Cores {
    type Value = f64;

    fn accepts(&self) -> String {
        "a number of cores such as 2 or 0.5, from 0.01 to 4096".to_owned()
    }

    fn parse(&self, text: &str) -> Option<f64> {
        let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        text.parse()
            .ok()
            .filter(|cores| plain && (0.01..=4_096.0).contains(cores))
    }

    fn show(&self, value: &f64) -> Option<String> {
        Some(value.to_string())
    }
}

/// A duration between bounds.
pub(super) struct Time(pub(super) Duration, pub(super) Duration);

/// The units of durations in milliseconds, largest first.
const TIME_UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

pub(super) fn duration_text(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (name, factor) in TIME_UNITS {
        if rest >= factor {
            // Writing to a String cannot fail.
            let _ = write!(text, "{}{name}", rest / factor);
            rest %= factor;
        }
    }
    if text.is_empty() {
        "0".to_owned()
    } else {
        text
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut millis) = (text, 0_u64);
    let mut factor_before = u64::MAX;
    while !rest.is_empty() {
        let at = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(at);
        let end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let factor = TIME_UNITS.iter().find(|(name, _)| *name == &tail[..end])?.1;
        // `1m30s` is a duration; `30s1m` and `1m1m` are slips of the pen.
        if factor >= factor_before {
            return None;
        }
        factor_before = factor;
        millis = millis.checked_add(number.parse::<u64>().ok()?.checked_mul(factor)?)?;
        rest = &tail[end..];
    }
    (!text.is_empty()).then_some(Duration::from_millis(millis))
}

impl Kind for Time {
    type Value = Duration;

    fn accepts(&self) -> String {
        let (from, to) = (duration_text(self.0), duration_text(self.1));
        format!(
            "a duration with its unit (ms, s, m, h, d), such as 500ms, 25s or 1m30s; from {from} to {to}"
        )
    }

    fn parse(&self, text: &str) -> Option<Duration> {
        parse_duration(text).filter(|value| (self.0..=self.1).contains(value))
    }

    fn show(&self, value: &Duration) -> Option<String> {
        quoted(duration_text(*value))
    }
}
