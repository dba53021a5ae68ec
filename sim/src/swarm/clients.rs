//! What clients do: connect, ask, leave. What is asked is made here; whether the answer is right is the
//! oracle's.

use std::time::Duration;

use odin_core::gate::{RETRY_MAX, RETRY_STANDING};
use odin_core::reason::{CloseReason, Refusal};
use odin_core::shard::{Input, Message};
use serde_json::{Value, json};

use super::Failure;
use super::laws::Bucket;
use super::peer::{Home, Outgoing};
use super::steps::{Resume, Step, Wish};
use super::world::{Check, World};
use crate::marks::Mark;
use crate::oracle::LineId;

/// What is wrong in one way each. The last are no text.
const WRONG: [&str; 12] = [
    "{",
    "",
    "[]",
    r#"{"type":"publish"}"#,
    r#"{"type":"subscribe"}"#,
    r#"{"type":"subscribe","data":{"channels":[]}}"#,
    r#"{"type":"subscribe","data":{"channels":["a..b"]}}"#,
    r#"{"type":"subscribe","data":{"channels":["a*"]}}"#,
    r#"{"type":"subscribe","data":{"channels":["a"],"resume":{"epoch":"x","positions":{"b":1}}}}"#,
    r#"{"type":"replay","data":{"channel":"a","from":"b"}}"#,
    r#"{"type":"auth","data":{"token":"t"}}"#,
    r#"{"type":"unsubscribe","data":{"channels":["never.had"]}}"#,
];

impl World {
    pub(super) fn client_step(&mut self, step: &Step) -> Check {
        match step {
            Step::Read { client, bytes } => {
                self.read(*client, *bytes)?;
                self.release()?;
            }
            Step::Limit { client, bytes } => self.peers[*client].limit = Some(*bytes),
            Step::Break { client } => self.peers[*client].breaks = true,
            Step::Connect { client, server } => self.connect(*client, *server)?,
            Step::Hangup { client } => self.end(*client, false)?,
            Step::Close { client } => self.send(*client, Outgoing::Close),
            Step::Subscribe { client, wish } => self.subscribe(*client, wish),
            Step::Unsubscribe { client, all } => self.unsubscribe(*client, *all),
            Step::Replay { client, back, span } => self.replay(*client, *back, *span),
            Step::Heartbeat { client, times } => {
                for _ in 0..*times {
                    self.ask(*client, json!({"type": "heartbeat"}));
                }
            }
            Step::Ping { client } => self.send(*client, Outgoing::Ping),
            Step::Wrong { client, how } => self.send_wrong(*client, *how),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn connect(&mut self, at: usize, server: usize) -> Check {
        if self.peers[at].home.is_some() {
            return Ok(());
        }
        let (now, config) = (self.now, self.setup.config);
        let address = self.peers[at].address;
        let lawful = self.servers[server].law.admit(now, address);
        let admitted = self.servers[server].gate.admit(now, address);
        if admitted.map_err(|refused| refused.reason).err() != lawful {
            return Err(Failure(format!(
                "the gate says {admitted:?}, and should {lawful:?}"
            )));
        }
        if let Err(refused) = admitted {
            return self.refused(server, refused.reason, refused.retry_after);
        }
        let unit = at % self.setup.shards;
        let conn = self.servers[server].units[unit].shard.open(now);
        let home = Home { server, unit, conn };
        let bucket = Bucket::new(now, config.message_rate, config.message_burst);
        self.peers[at].connected(now, home, bucket);
        self.oracle.opened(self.peers[at].id);
        let id = self.servers[server].units[unit].id;
        self.oracle.served_by(self.peers[at].id, id);
        let trims = self.setup.stream_max < usize::MAX || self.setup.last_values;
        let trimmed = trims && config.history_bytes > 0;
        let early = !self.servers[server].feed.is_ready();
        let refused = early && (1..1_000).contains(&self.setup.feed.payload_bytes_max);
        if self.setup.values_bounded || trimmed || refused {
            // Values that were given up for want of room are a hole for whoever was to get them, and so is what the stream
            // discards while a client reads its history, or a notice in the place of a value that left the log before the
            // source was ready.
            self.oracle.may_close(self.peers[at].id, 4008);
        }
        self.servers[server].units[unit]
            .clients
            .insert(conn.index(), at);
        self.flush(server, unit)
    }

    fn refused(&mut self, server: usize, reason: Refusal, retry: Duration) -> Check {
        let standing = !matches!(reason, Refusal::AcceptRate | Refusal::IpRate);
        self.marks.hit(match reason {
            Refusal::Capacity => Mark::GateCapacity,
            Refusal::Cpu | Refusal::Memory => Mark::GateLoad,
            Refusal::AcceptRate | Refusal::IpRate => Mark::GateRate,
            Refusal::IpCapacity => Mark::GateAddress,
            Refusal::Draining => Mark::GateDraining,
        });
        if retry.is_zero() || retry > RETRY_MAX || standing && retry < RETRY_STANDING {
            return Err(Failure(format!("{reason:?}: come again after {retry:?}")));
        }
        let retries = &mut self.servers[server].retries;
        if standing {
            retries.push(retry.as_nanos());
        }
        let mut different = retries.clone();
        different.sort_unstable();
        different.dedup();
        match different.len() * 2 < retries.len() {
            true => Err(Failure(
                "clients that are refused are all told the same time".into(),
            )),
            false => Ok(()),
        }
    }

    /// A client's socket ends, or its server does.
    pub(super) fn end(&mut self, at: usize, died: bool) -> Check {
        let Some(Home { server, unit, conn }) = self.peers[at].home else {
            return Ok(());
        };
        self.leave(at);
        if died {
            return Ok(());
        }
        let reason = CloseReason::Client;
        self.handle(server, unit, Input::Closed { conn, reason })
    }

    fn send(&mut self, at: usize, what: Outgoing) {
        let peer = &mut self.peers[at];
        if peer.home.is_some() && peer.outbox.len() < 200 {
            peer.outbox.push_back(what);
        }
    }

    fn ask(&mut self, at: usize, mut request: Value) {
        request["id"] = json!(self.peers[at].id());
        self.send(at, Outgoing::Text(request.to_string()));
    }

    pub(super) fn subscribe(&mut self, at: usize, wish: &Wish) {
        let peer = &self.peers[at];
        let (channels, patterns) = (&self.setup.channels, &self.setup.patterns);
        let names: Vec<String> = match wish.names.is_empty() {
            true => peer.names.clone(),
            false => {
                let names = wish.names.iter().filter_map(|index| {
                    let pattern = || patterns.get(index - channels.len());
                    channels.get(*index).or_else(pattern)
                });
                names.map(|name| (*name).to_owned()).collect()
            }
        };
        if names.is_empty() || peer.home.is_none() {
            return;
        }
        let mut data = json!({"channels": names, "snapshot": wish.snapshot});
        if wish.latest {
            data["mode"] = json!("latest");
        }
        if wish.continues {
            data["on_lost"] = json!("continue");
        }
        let known = peer.memory.positions.iter();
        let known = known.filter(|(name, _)| names.contains(name));
        let mut positions: serde_json::Map<String, Value> = known
            .map(|(name, seq)| (name.clone(), json!(seq)))
            .collect();
        let epoch = peer.memory.epoch.clone().unwrap_or_default();
        match wish.resume {
            Resume::None => {}
            Resume::Memory if peer.memory.epoch.is_none() => {}
            Resume::Memory => data["resume"] = json!({"epoch": epoch, "positions": positions}),
            Resume::Stale => data["resume"] = json!({"epoch": "stale", "positions": positions}),
            Resume::Ahead => {
                for position in positions.values_mut() {
                    *position = json!(position.as_u64().unwrap_or(0) + 5);
                }
                data["resume"] = json!({"epoch": epoch, "positions": positions});
            }
        }
        let peer = &mut self.peers[at];
        peer.names = names;
        peer.wish = Some(wish.clone());
        self.ask(at, json!({"type": "subscribe", "data": data}));
    }

    fn unsubscribe(&mut self, at: usize, all: bool) {
        let positions = self.oracle.positions(self.peers[at].id);
        let mut names: Vec<String> = positions.positions.keys().cloned().collect();
        names.truncate(if all { usize::MAX } else { 1 });
        let Some(home) = self.peers[at].home.filter(|_| !names.is_empty()) else {
            return;
        };
        self.peers[at].remember(positions, home.server);
        self.ask(
            at,
            json!({"type": "unsubscribe", "data": {"channels": names}}),
        );
        if let Ok(census) = self.verify(home.server, home.unit) {
            self.marks
                .hit_if(Mark::UnsubscribeInReplay, census.replays > 0);
        }
    }

    fn replay(&mut self, at: usize, back: u64, span: u64) {
        let positions = self.oracle.positions(self.peers[at].id).positions;
        let channels = self.setup.channels.iter();
        let mut covered = channels.filter(|channel| {
            let mut names = positions.iter();
            names.any(|(name, _)| crate::oracle::covers(name, channel))
        });
        let Some(channel) = covered.nth(back as usize % 3) else {
            return;
        };
        let head = positions.values().max().copied().unwrap_or(0);
        let from = head.saturating_sub(back).max(1);
        let mut data = json!({"channel": channel, "from": from});
        if !span.is_multiple_of(3) {
            data["to"] = json!(from + span);
        }
        self.ask(at, json!({"type": "replay", "data": data}));
    }

    fn send_wrong(&mut self, at: usize, how: usize) {
        let what = match (how, WRONG.get(how)) {
            (_, Some(text)) => Outgoing::Text((*text).into()),
            (12, None) => Outgoing::Binary,
            (13, None) => Outgoing::Violation(CloseReason::Protocol),
            (14, None) => Outgoing::Violation(CloseReason::InvalidUtf8),
            _ => Outgoing::Violation(CloseReason::TooBig),
        };
        self.send(at, what);
    }

    /// One message of a client reaches its server.
    pub(super) fn deliver_one(&mut self, at: usize, home: Home) -> Check {
        let Some(what) = self.peers[at].outbox.pop_front() else {
            return Ok(());
        };
        let Home { server, unit, conn } = home;
        self.peers[at].heard = self.now;
        let grace = self.setup.config.close_timeout + Duration::from_secs(1);
        let id = self.peers[at].id;
        let message = match &what {
            Outgoing::Violation(reason) => {
                self.oracle.may_close(id, reason.code());
                self.peers[at].must_end = Some(self.now + grace);
                self.peers[at].closing = true;
                let input = Input::Violation {
                    conn,
                    reason: *reason,
                };
                return self.handle(server, unit, input);
            }
            Outgoing::Text(text) => {
                if !self.peers[at].closing {
                    self.oracle.client_sent(id, text);
                }
                self.count(at, true);
                Message::Text(text)
            }
            Outgoing::Ping => {
                self.count(at, false);
                Message::Ping(b"hello")
            }
            Outgoing::Pong => Message::Pong,
            Outgoing::Binary => {
                self.oracle.may_close(id, 1003);
                self.peers[at].must_end = Some(self.now + grace);
                Message::Binary(7)
            }
            Outgoing::Close => {
                self.oracle.may_close(id, 1000);
                self.peers[at].must_end = Some(self.now + grace);
                Message::Close(Some(1000))
            }
        };
        self.handle(server, unit, Input::Message { conn, message })
    }

    /// What the limit of the rate must make of a message.
    fn count(&mut self, at: usize, answered: bool) {
        let config = &self.setup.config;
        let now = self.now;
        let peer = &mut self.peers[at];
        if peer.closing || peer.bucket.take(now) {
            peer.drops = 0;
            return;
        }
        peer.drops += 1;
        self.marks.hit(Mark::RateLimited);
        if config.message_drops_max > 0 && peer.drops >= config.message_drops_max {
            self.oracle.may_close(peer.id, 4029);
            let grace = config.close_timeout + Duration::from_secs(1);
            peer.must_end.get_or_insert(now + grace);
        } else if answered {
            self.oracle.may_drop(peer.id);
        }
    }

    /// The line of a client that is given everything at once: it reads at once, its socket never was full,
    /// and its server has read all.
    pub(super) fn is_served_at_once(&self, at: usize) -> Option<LineId> {
        let peer = &self.peers[at];
        let home = peer.home?;
        let unit = &self.servers[home.server].units[home.unit];
        // What history has comes when the stream answers.
        let standing = unit.shard.inspect(home.conn);
        let waits = match standing.filter(|all| !all.subscriptions.is_empty()) {
            Some(all) => all.subscriptions.iter().any(|s| s.is_in_history),
            None => peer.reads_history,
        };
        let at_once = peer.profile.reads() && !peer.ever_blocked && !peer.closing && !waits;
        (at_once && self.in_sync(home.server)).then(|| self.line_of(home.server))
    }

    /// Up to where a client that is drained has everything when it is closed: logs that keep everything are
    /// flushed first.
    pub(super) fn is_flushed(&self, at: usize) -> Option<(LineId, u64)> {
        let (config, feed) = (&self.setup.config, &self.setup.feed);
        let peer = &self.peers[at];
        let home = peer.home.filter(|_| peer.must_end.is_none())?;
        let keeps = config.log_messages > 1_000
            && feed.log_bytes > 1 << 20
            && (feed.log_age.is_zero() || feed.log_age > Duration::from_secs(200));
        let began = self.servers[home.server].drain_head.filter(|_| keeps);
        began.filter(|(line, _)| *line == self.line_of(home.server))
    }

    /// One slow client never delays another: who reads at once has everything at once.
    pub(super) fn fast_are_served(&self) -> Check {
        for at in 0..self.peers.len() {
            let peer = &self.peers[at];
            if let Some(line) = self.is_served_at_once(at)
                && peer.outbox.is_empty()
                && peer.must_end.is_none()
            {
                self.oracle.at_head(peer.id, line)?;
            }
        }
        Ok(())
    }
}
