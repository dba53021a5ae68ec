//! The life of one client: what it asked for, when its socket took nothing, when it fell behind, and
//! why it was closed.
//!
//! Told from the difference between how it stood before a call and after, so that nothing that the
//! shard decided about it is missed, whatever call it was.

use std::fmt::Write as _;
use std::time::Duration;

use odin_core::config::Config;
use odin_core::id::ConnId;
use odin_core::reason::CloseReason;
use odin_core::shard::{Call, Given, Inspection, Shard, Standing};
use odin_core::time::Instant;

use super::{Client, Question, moment};

/// How much of a client's message is shown.
const TEXT_SHOWN: usize = 200;

/// The life of the client that is asked for, if it is on this shard.
pub(super) struct Life<'a> {
    wanted: Option<&'a Client>,
    conn: Option<ConnId>,
    before: Option<Inspection>,
    lines: Vec<String>,
}

impl<'a> Life<'a> {
    pub(super) fn new(index: u32, question: &'a Question) -> Self {
        let wanted = match question {
            Question::Client(client) => Some(client),
            _ => None,
        };
        let conn = match wanted {
            Some(Client::Place(shard, conn)) if shard.is_none_or(|shard| shard == index) => {
                Some(*conn)
            }
            _ => None,
        };
        Self {
            wanted,
            conn,
            before: None,
            lines: Vec::new(),
        }
    }

    /// Whether the client was seen.
    pub(super) fn is_found(&self) -> bool {
        !self.lines.is_empty() || self.before.is_some()
    }

    pub(super) fn before(&mut self, shard: &Shard) {
        if self.before.is_none()
            && self.lines.is_empty()
            && let Some(inspection) = self.conn.and_then(|conn| shard.inspect(conn))
        {
            let line = format!(
                "it was there when the recording begins: {}",
                stands(&inspection)
            );
            self.lines.push(format!("  {line}"));
            self.before = Some(inspection);
        }
    }

    pub(super) fn after(&mut self, shard: &Shard, now: Instant, call: &Call, given: &Given) {
        if let (Given::Opened(conn, session), Some(wanted)) = (given, self.wanted) {
            let is_wanted = match wanted {
                Client::Session(id) => id == session,
                Client::Place(..) => self.conn == Some(*conn),
            };
            if is_wanted {
                self.conn = Some(*conn);
                self.say(now, &format!("opened as {conn}, session {session}"));
            }
        }
        let Some(conn) = self.conn else { return };
        self.heard(now, conn, call);
        let after = shard.inspect(conn);
        if after == self.before {
            return;
        }
        let before = std::mem::replace(&mut self.before, after.clone());
        match (before, after) {
            (Some(before), Some(after)) => self.compare(now, shard.config(), &before, &after),
            (Some(before), None) => {
                let reason = match call {
                    Call::Closed(_, reason) => before.closing.unwrap_or(*reason),
                    _ => CloseReason::Transport,
                };
                self.say(now, &format!("its socket is gone: {}", reason.label()));
            }
            (None, _) => {}
        }
    }

    fn say(&mut self, now: Instant, what: &str) {
        let at = moment::seconds(now);
        self.lines.push(format!("  {at:>12.6} s  {what}"));
    }

    /// What the client itself did.
    fn heard(&mut self, now: Instant, conn: ConnId, call: &Call) {
        let what = match call {
            Call::Text(who, text) if *who == conn => {
                let shown: String = text.trim_end().chars().take(TEXT_SHOWN).collect();
                format!("says {shown}")
            }
            Call::Rejected(who, len, rejected) if *who == conn => format!(
                "says {len} bytes that are no request: {} ({})",
                rejected.code.label(),
                rejected.message
            ),
            Call::Dropped(who, len) if *who == conn => {
                format!("says {len} bytes, which are over the rate and dropped")
            }
            Call::Authenticated(who, grant) if *who == conn => format!(
                "its token is accepted for {} until {:.3} s",
                grant.channels.join(", "),
                moment::seconds(grant.expires_at)
            ),
            Call::TokenRefused(who, fault) if *who == conn => {
                format!("its token is not accepted: {}", fault.label())
            }
            Call::Revoked(who) if *who == conn => "its token is revoked".to_owned(),
            Call::Binary(who, len) if *who == conn => format!("sends {len} binary bytes"),
            Call::Goodbye(who, code) if *who == conn => {
                let code = code.map_or("no code".into(), |code| code.to_string());
                format!("sends its close frame ({code})")
            }
            Call::Violation(who, reason) if *who == conn => {
                format!("breaks the protocol: {}", reason.label())
            }
            _ => return,
        };
        self.say(now, &what);
    }

    /// What changed with a call.
    fn compare(&mut self, now: Instant, config: &Config, before: &Inspection, after: &Inspection) {
        for sub in &after.subscriptions {
            let Some(old) = find(before, &sub.name) else {
                let mode = if sub.is_latest { " (latest)" } else { "" };
                let what = format!("is subscribed to {}{mode} from seq {}", sub.name, sub.seq);
                self.say(now, &what);
                continue;
            };
            if let (None, Some(to)) = (old.missed_to, sub.missed_to) {
                let what = format!(
                    "falls behind: {} has dropped messages up to seq {to}, it was sent up to {}",
                    sub.name, sub.seq
                );
                self.say(now, &what);
            }
        }
        for old in &before.subscriptions {
            if find(after, &old.name).is_none() && after.closing.is_none() {
                self.say(now, &format!("is subscribed to {} no longer", old.name));
            }
        }
        match (before.stalled_since, after.stalled_since) {
            (None, Some(_)) => {
                let what = format!("its socket is full; {}", stands(after));
                self.say(now, &what);
            }
            (Some(since), None) => {
                let span = now.saturating_since(since).as_secs_f64();
                self.say(
                    now,
                    &format!("its socket takes bytes again after {span:.3} s"),
                );
            }
            _ => {}
        }
        if let (None, Some(reason)) = (before.closing, after.closing) {
            let why = why(now, config, before, reason);
            let what = format!(
                "is closed with {} ({}): {why}",
                reason.code(),
                reason.label()
            );
            self.say(now, &what);
        }
    }

    pub(super) fn finish(&mut self, shard: &Shard) -> String {
        let mut out = String::new();
        for line in &self.lines {
            let _ = writeln!(out, "{line}");
        }
        if let Some(inspection) = self.conn.and_then(|conn| shard.inspect(conn)) {
            let _ = writeln!(out, "  at the end: {}", stands(&inspection));
        }
        out
    }
}

fn find<'a>(inspection: &'a Inspection, name: &str) -> Option<&'a Standing> {
    inspection.subscriptions.iter().find(|sub| sub.name == name)
}

/// Why a connection that stood so is closed now.
fn why(now: Instant, config: &Config, before: &Inspection, reason: CloseReason) -> String {
    let is_over =
        |since: Instant, span: Duration| !span.is_zero() && now.saturating_since(since) >= span;
    match reason {
        CloseReason::SlowConsumer => {
            if let Some(since) = before.stalled_since
                && is_over(since, config.write_stall)
            {
                let span = now.saturating_since(since).as_secs_f64();
                let limit = config.write_stall.as_secs_f64();
                return format!(
                    "its socket took no byte for {span:.3} s (write_stall is {limit:.3} s)"
                );
            }
            let mut lost = before.subscriptions.iter();
            if let Some((sub, to)) = lost.find_map(|sub| Some((sub, sub.missed_to?))) {
                return format!(
                    "it was sent {} up to seq {}, and the log has dropped what follows, up to seq {to}",
                    sub.name, sub.seq
                );
            }
            format!(
                "it has {} notices for all to pass, more than are kept",
                before.notices
            )
        }
        CloseReason::Idle => {
            let span = now.saturating_since(before.heard).as_secs_f64();
            format!("nothing was heard of it for {span:.3} s")
        }
        CloseReason::Flooding => {
            format!("{} messages in a row were over the rate", before.drops + 1)
        }
        CloseReason::Draining => "the server is draining".into(),
        CloseReason::Client => "it asked for it".into(),
        other => other.label().replace('_', " "),
    }
}

/// How a connection stands, in one line.
fn stands(one: &Inspection) -> String {
    let mut out = one.state.to_lowercase();
    if one.partial > 0 {
        let _ = write!(out, ", {} bytes of a frame unwritten", one.partial);
    }
    if one.answers > 0 {
        let _ = write!(out, ", {} answers wait", one.answers);
    }
    for sub in one.subscriptions.iter().take(8) {
        let (name, seq, behind) = (&sub.name, sub.seq, sub.behind);
        let _ = write!(out, ", {name} at seq {seq} with {behind} to come");
    }
    if one.subscriptions.len() > 8 {
        let _ = write!(
            out,
            ", and {} more subscriptions",
            one.subscriptions.len() - 8
        );
    }
    out
}
