//! What a case measures, and what it must be.

use std::fmt;

/// What a number counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unit {
    /// Microseconds.
    Micros,
    /// Milliseconds.
    Millis,
    /// One of something a second.
    PerSecond,
    /// Bytes.
    Bytes,
    /// Percent.
    Percent,
    /// How many times as much.
    Times,
    /// A plain number.
    Count,
    /// 1: yes; 0: no. In the median of all runs: most of them.
    Yes,
}

/// What a number must be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Bar {
    /// It is told, and nothing is asked of it.
    None,
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

/// A number that a case measures in each run.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Figure {
    /// What it is.
    pub(crate) what: String,
    /// Its value in one run.
    pub(crate) value: f64,
    /// What it counts.
    pub(crate) unit: Unit,
    /// What it must be.
    pub(crate) bar: Bar,
}

impl Figure {
    /// A number of which nothing is asked.
    pub(crate) fn new(what: impl Into<String>, value: f64, unit: Unit) -> Self {
        Self {
            what: what.into(),
            value,
            unit,
            bar: Bar::None,
        }
    }

    /// A number that must be so much at most.
    pub(crate) fn at_most(self, most: f64) -> Self {
        let bar = Bar::AtMost(most);
        Self { bar, ..self }
    }

    /// A number that must be so much at least.
    pub(crate) fn at_least(self, least: f64) -> Self {
        let bar = Bar::AtLeast(least);
        Self { bar, ..self }
    }

    /// A fact that must hold.
    pub(crate) fn must(what: impl Into<String>, holds: bool) -> Self {
        let value = if holds { 1.0 } else { 0.0 };
        Self::new(what, value, Unit::Yes).at_least(1.0)
    }
}

impl Bar {
    /// Whether a value is as it must be; `None`: nothing is asked.
    pub(crate) fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Self::None => None,
            Self::AtMost(most) => Some(value <= most),
            Self::AtLeast(least) => Some(value >= least),
        }
    }

    /// In the words of the table.
    pub(crate) fn show(self, unit: Unit) -> String {
        match self {
            Self::None => String::new(),
            Self::AtLeast(_) if unit == Unit::Yes => "yes".into(),
            Self::AtMost(most) => format!("<= {}", Value(most, unit)),
            Self::AtLeast(least) => format!(">= {}", Value(least, unit)),
        }
    }
}

/// A number with its unit.
pub(crate) struct Value(pub(crate) f64, pub(crate) Unit);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(value, unit) = *self;
        // Three digits that count.
        let digits = match value.abs() {
            value if value >= 100.0 => 0,
            value if value >= 10.0 => 1,
            _ => 2,
        };
        let number = format!("{value:.digits$}");
        match unit {
            Unit::Micros => write!(f, "{number} us"),
            Unit::Millis => write!(f, "{number} ms"),
            Unit::PerSecond => write!(f, "{}/s", grouped(value)),
            Unit::Bytes => write!(f, "{} B", grouped(value)),
            Unit::Percent => write!(f, "{number} %"),
            Unit::Times => write!(f, "{number} x"),
            Unit::Count => f.write_str(&number),
            Unit::Yes if value >= 1.0 => f.write_str("yes"),
            Unit::Yes => f.write_str("no"),
        }
    }
}

/// A whole number with commas between thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value <= -0.5 {
        format!("-{text}")
    } else {
        text
    }
}

/// The value in the middle; of an even number the lower one of the two, so that it was measured.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_with_their_units() {
        let shown = [
            (Value(1.154, Unit::Times), "1.15 x"),
            (Value(1_500_000.0, Unit::PerSecond), "1,500,000/s"),
            (Value(-1234.4, Unit::Bytes), "-1,234 B"),
            (Value(12.34, Unit::Micros), "12.3 us"),
            (Value(1.0, Unit::Yes), "yes"),
        ];
        for (value, text) in shown {
            assert_eq!(value.to_string(), text);
        }
    }

    #[test]
    fn a_bar_is_met_up_to_its_edge() {
        assert_eq!(Bar::AtMost(1.15).is_met(1.15), Some(true));
        assert_eq!(Bar::AtMost(1.15).is_met(1.16), Some(false));
        assert_eq!(Bar::AtLeast(1.0).is_met(0.0), Some(false));
        assert_eq!(Bar::None.is_met(f64::NAN), None);
    }

    #[test]
    fn the_median_was_measured() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.0);
    }
}
