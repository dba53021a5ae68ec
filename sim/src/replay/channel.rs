//! What happened to a channel, or to those that a pattern matches.

use std::fmt::Write as _;

use odin_core::event::{Event, Kind};
use odin_core::name::{is_pattern, matches};
use odin_core::shard::{Call, ChannelStanding};
use odin_core::time::Instant;

use super::{Question, moment};

/// Publications that are shown: the newest.
const SHOWN: usize = 1_000;

/// The story of a channel.
pub(super) struct Story<'a> {
    name: Option<&'a str>,
    lines: std::collections::VecDeque<String>,
    left_out: usize,
}

impl<'a> Story<'a> {
    pub(super) fn new(question: &'a Question) -> Self {
        let name = match question {
            Question::Channel(name) => Some(name.as_str()),
            _ => None,
        };
        Self {
            name,
            lines: std::collections::VecDeque::new(),
            left_out: 0,
        }
    }

    pub(super) fn after(&mut self, now: Instant, call: &Call) {
        let Some(name) = self.name else { return };
        let what = match call {
            Call::Published(publication, hash) if matches(name, &publication.name) => {
                let prev = publication
                    .prev
                    .map_or("null".into(), |prev| prev.to_string());
                let bytes = publication.frame.len();
                let kind = match publication.kind {
                    Kind::Message => "message".to_owned(),
                    Kind::Snapshot => "snapshot".to_owned(),
                    Kind::Lost(reason) => format!("lost ({})", reason.label()),
                };
                let seq = publication.seq;
                let name = &publication.name;
                format!(
                    "{name}: {kind} seq {seq}, prev {prev}, frame of {bytes} bytes, hash {hash:016x}"
                )
            }
            Call::Event(Event::Lost(lost)) => format!(
                "lost for all: {} to {} ({})",
                lost.from,
                lost.to.map_or("unknown".into(), |to| to.to_string()),
                lost.reason.label()
            ),
            Call::Event(Event::Reset(reset)) => {
                format!("reset: epoch {} ({})", reset.epoch, reset.reason.label())
            }
            _ => return,
        };
        self.lines
            .push_back(format!("  {:>12.6} s  {what}", moment::seconds(now)));
        if self.lines.len() > SHOWN {
            self.lines.pop_front();
            self.left_out += 1;
        }
    }

    pub(super) fn finish(&mut self, standing: Option<ChannelStanding>) -> String {
        let mut out = String::new();
        if self.left_out > 0 {
            let _ = writeln!(out, "  ({} before these are left out)", self.left_out);
        }
        for line in &self.lines {
            let _ = writeln!(out, "{line}");
        }
        match standing {
            None if self.name.is_some_and(is_pattern) => {}
            None => out.push_str("  at the end: this channel is not known\n"),
            Some(one) => {
                let oldest = one.oldest.map_or("none".into(), |seq| seq.to_string());
                let _ = writeln!(
                    out,
                    "  at the end: {} messages in the log, oldest seq {oldest}, newest {}; up to {} may be missing; {} subscribers by name",
                    one.entries, one.newest, one.dropped_to, one.subscribers
                );
            }
        }
        out
    }
}
