//! How things stood at a moment.

use std::fmt::Write as _;

use odin_core::feed::Feed;
use odin_core::gate::Gate;
use odin_core::record::Recorded;
use odin_core::shard::Shard;
use odin_core::time::Instant;

use super::Question;

/// Reads a moment: seconds since the server started.
pub(super) fn parse(text: &str) -> Result<Instant, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    let seconds: f64 = number
        .parse()
        .ok()
        .filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
        .ok_or_else(|| format!("--at {text} is no number of seconds since the start"))?;
    let span = std::time::Duration::try_from_secs_f64(seconds);
    Ok(Instant::ZERO + span.map_err(|error| format!("--at {text}: {error}"))?)
}

/// Seconds since the server started.
pub(super) fn seconds(at: Instant) -> f64 {
    at.saturating_since(Instant::ZERO).as_secs_f64()
}

/// A time of the calendar (the algorithm of Howard Hinnant's `civil_from_days`).
pub(super) fn utc(unix_ms: u64) -> String {
    let (secs, millis) = (unix_ms / 1_000, unix_ms % 1_000);
    let (days, day_secs) = (secs / 86_400 + 719_468, secs % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (day_secs / 3_600, day_secs / 60 % 60, day_secs % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// What can be said of a machine as it stands.
pub(super) trait Stands: Recorded {
    fn stands(&self, now: Option<Instant>) -> String;
}

impl Stands for Feed {
    fn stands(&self, _: Option<Instant>) -> String {
        let stats = self.stats();
        format!(
            "  connected: {}, ready: {}, epoch: {}; {} messages received, {} channels, {} bytes in the log, {} resets\n",
            self.is_connected(),
            self.is_ready(),
            self.epoch().map_or("none", |epoch| epoch),
            stats.received,
            stats.channels,
            stats.log_bytes,
            stats.resets,
        )
    }
}

impl Stands for Gate {
    fn stands(&self, _: Option<Instant>) -> String {
        let sample = self.last_sample();
        let unknown = || "unknown".to_owned();
        format!(
            "  {} connections of {}; {}; cpu {}, memory {}; {} admitted, {} refused\n",
            self.connections(),
            self.config().connections_max,
            self.closed_by()
                .map_or("open".to_owned(), |why| format!("closed: {}", why.label())),
            sample
                .cpu_permille
                .map_or_else(unknown, |cpu| format!("{:.1} %", f64::from(cpu) / 10.0)),
            sample
                .memory_bytes
                .map_or_else(unknown, |bytes| format!("{bytes} bytes")),
            self.stats().admitted,
            self.stats().refused.iter().sum::<u64>(),
        )
    }
}

impl Stands for Shard {
    fn stands(&self, now: Option<Instant>) -> String {
        shard(self, now)
    }
}

/// How a shard stands; its lag at `now`, where that is asked for.
pub(super) fn shard(shard: &Shard, now: Option<Instant>) -> String {
    let stats = shard.stats();
    let mut blocked = Vec::new();
    let mut closing = 0;
    for conn in shard.connections() {
        let Some(one) = shard.inspect(conn) else {
            continue;
        };
        closing += usize::from(one.closing.is_some());
        if one.stalled_since.is_some() {
            blocked.push(conn.to_string());
        }
    }
    let mut out = format!(
        "  {} connections, {} subscriptions, {} channels, {} patterns, {} bytes in the log; {} messages sent\n",
        stats.connections,
        stats.subscriptions,
        stats.channels,
        stats.patterns,
        stats.log_bytes,
        stats.messages_sent,
    );
    let shown = blocked
        .iter()
        .take(8)
        .cloned()
        .collect::<Vec<_>>()
        .join(" ");
    let _ = writeln!(
        out,
        "  {closing} are being closed, {} take nothing: {shown}",
        blocked.len()
    );
    if let Some(now) = now {
        let lag = shard.lag(now);
        let _ = writeln!(
            out,
            "  the worst cursor is {} messages and {:.3} s behind",
            lag.messages_max,
            std::time::Duration::from_nanos(lag.nanos_max).as_secs_f64()
        );
    }
    out
}

/// Waits for a moment, and says how a machine stood then.
pub(super) struct Watch<'a, M> {
    question: &'a Question,
    said: Option<String>,
    machine: std::marker::PhantomData<M>,
}

impl<'a, M: Stands> Watch<'a, M> {
    pub(super) fn new(question: &'a Question) -> Self {
        Self {
            question,
            said: None,
            machine: std::marker::PhantomData,
        }
    }
}

impl<M: Stands> super::Watch<M> for Watch<'_, M> {
    fn before(&mut self, machine: &M, now: Instant, _: &M::Call) {
        if let Question::At(at) = self.question
            && self.said.is_none()
            && now > *at
        {
            self.said = Some(machine.stands(Some(*at)));
        }
    }

    fn after(&mut self, _: &M, _: Instant, _: &M::Call, _: &M::Given) {}

    fn finish(&mut self, machine: &M) -> String {
        match self.question {
            Question::At(at) => {
                let said = self.said.take();
                said.unwrap_or_else(|| machine.stands(Some(*at)))
            }
            Question::Summary => machine.stands(None),
            Question::Client(_) | Question::Channel(_) => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_735_689_599_001, "2024-12-31T23:59:59.001Z"),
        ] {
            assert_eq!(utc(ms), text);
        }
    }
}
