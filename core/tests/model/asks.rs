//! What clients ask for, and what the answer must be.

use std::collections::BTreeMap;

use odin_core::reason::CloseReason;
use odin_core::shard::{Input, Message};
use serde_json::json;

use super::client::{Accepted, Replay, Request, Subscribe, Wish};
use super::history::{CHANNELS, History, covers, epoch_name, meet};
use super::ops::Resume;

use super::world::World;

/// The names and patterns of the test.
pub(crate) const NAMES: [&str; 9] = ["a", "b", "x.a", "x.b", "y.a", "*", "x.*", "*.a", ">"];

impl World {
    pub(crate) fn message(&mut self, at: usize, message: Message<'_>) {
        let conn = self.clients[at].conn;
        self.clients[at].heard = self.now;
        self.shard
            .handle(self.now, Input::Message { conn, message });
    }

    /// Sends a request, if the connection is read from.
    pub(crate) fn ask(&mut self, who: u8, request: Request, fields: &str) {
        let Some(at) = self.pick(who) else { return };
        self.ask_at(at, request, fields);
    }

    pub(crate) fn ask_at(&mut self, at: usize, mut request: Request, fields: &str) -> bool {
        let client = &mut self.clients[at];
        if !client.is_judged() || !self.shard.wants_read(client.conn) {
            return false;
        }
        client.next_id += 1;
        let id = client.next_id;
        if let Request::Replay(replay) = &mut request {
            replay.id = id;
            client.replays.push(replay.clone());
        }
        client.requests.push_back((id, request));
        let text = format!(r#"{{"id":{id},{fields}}}"#);
        self.message(at, Message::Text(&text));
        true
    }

    pub(crate) fn wishes(
        &self,
        names: &[&'static str],
        resume: Resume,
    ) -> BTreeMap<&'static str, Wish> {
        let mut wishes = BTreeMap::new();
        let epoch = epoch_name(self.history.epoch);
        let mut saved: Vec<(usize, &str, u64)> = self
            .saved
            .iter()
            .map(|s| (s.epoch, s.name, s.seq))
            .collect();
        for client in self.clients.iter().filter(|c| !c.rogue) {
            if let Some(epoch) = client.epoch {
                let subs = client.subs.iter().filter(|sub| sub.chained);
                saved.extend(subs.map(|sub| (epoch, sub.name, sub.last)));
            }
        }
        for name in names {
            let wish = match resume {
                Resume::No => continue,
                Resume::Stale(seq) => Wish {
                    epoch: "stale".into(),
                    seq: seq.into(),
                    real: false,
                },
                Resume::Invented(seq) => {
                    let seq = u64::from(seq) % (self.history.head + 4);
                    Wish {
                        epoch: epoch.clone(),
                        seq,
                        real: false,
                    }
                }
                Resume::Real(which) => {
                    let mine: Vec<_> = saved.iter().filter(|s| s.1 == *name).collect();
                    // Newer ones are more often still to be had.
                    let back = usize::from(which) % 4 + 1;
                    let Some(at) = mine.len().checked_sub(back) else {
                        continue;
                    };
                    Wish {
                        epoch: epoch_name(mine[at].0),
                        seq: mine[at].2,
                        real: true,
                    }
                }
            };
            wishes.insert(*name, wish);
        }
        // A request names one epoch.
        if let Some(first) = wishes.values().next().map(|wish| wish.epoch.clone()) {
            wishes.retain(|_, wish| wish.epoch == first);
        }
        wishes
    }

    pub(crate) fn subscribe(&mut self, who: u8, wish: Subscribe) {
        let Some(at) = self.pick(who) else { return };
        let mut data = json!({
            "channels": wish.names,
            "mode": if wish.latest { "latest" } else { "lossless" },
            "snapshot": wish.snapshot,
            "on_lost": if wish.keep_on { "continue" } else { "close" },
        });
        if let Some(first) = wish.wishes.values().next() {
            let positions: BTreeMap<_, _> = wish.wishes.iter().map(|(n, w)| (*n, w.seq)).collect();
            data["resume"] = json!({"epoch": first.epoch, "positions": positions});
        }
        let fields = format!(r#""type":"subscribe","data":{data}"#);
        let client = &self.clients[at];
        if wish
            .names
            .iter()
            .any(|n| client.names.iter().any(|m| meet(n, m)))
        {
            let codes = &["ALREADY_SUBSCRIBED", "SUBSCRIPTION_OVERLAP"];
            self.ask_at(at, Request::Error(codes), &fields);
        } else if !self.history.ready && !self.config.subscribe_hold.is_zero() {
            let until = self.now + self.config.subscribe_hold;
            if self.ask_at(at, Request::Pong, &fields) {
                let client = &mut self.clients[at];
                client.held = Some((until, client.next_id, wish));
            }
        } else {
            let accepted = accept(&self.history, &wish);
            let count = client.names.len() + wish.names.len();
            if self.ask_at(at, Request::Subscribe(accepted, count), &fields) {
                self.clients[at].names.extend(&wish.names);
                self.clients[at].gated |= !self.history.ready;
            }
        }
    }

    /// The subscribe that waited is accepted.
    pub(crate) fn accept_held(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some((_, id, wish)) = client.held.take() else {
            return;
        };
        client.names.extend(&wish.names);
        let accepted = Request::Subscribe(accept(&self.history, &wish), client.names.len());
        if let Some(request) = client.requests.iter_mut().find(|(asked, _)| *asked == id) {
            request.1 = accepted;
        }
    }

    pub(crate) fn unsubscribe(&mut self, who: u8, which: u8) {
        let Some(at) = self.pick(who) else { return };
        let client = &self.clients[at];
        let which = usize::from(which);
        let name = match client.names.len() {
            0 => NAMES[which % NAMES.len()],
            len if which < 240 => client.names[which % len],
            _ => NAMES[which % NAMES.len()],
        };
        let fields = format!(r#""type":"unsubscribe","data":{{"channels":["{name}"]}}"#);
        if !client.names.contains(&name) {
            self.ask_at(at, Request::Error(&["NOT_SUBSCRIBED"]), &fields);
            return;
        }
        let request = Request::Unsubscribe(vec![name], client.names.len() - 1);
        if self.ask_at(at, request, &fields) {
            let client = &mut self.clients[at];
            client.names.retain(|n| *n != name);
            for replay in client
                .replays
                .iter_mut()
                .filter(|r| covers(name, r.channel))
            {
                replay.ended = true;
            }
            if client.names.is_empty() {
                client
                    .notices_optional
                    .extend(client.notices.drain(..).map(|n| n.1));
            }
        }
    }

    pub(crate) fn replay(&mut self, who: u8, channel: u8, from: u8, len: Option<u8>) {
        let Some(at) = self.pick(who) else { return };
        let client = &self.clients[at];
        // Mostly of a channel that is covered.
        let mut channel = CHANNELS[usize::from(channel) % CHANNELS.len()];
        if let Some(name) = client.names.first().filter(|_| !from.is_multiple_of(4))
            && !covers(name, channel)
        {
            channel = CHANNELS.into_iter().find(|c| covers(name, c)).unwrap();
        }
        let from = self.history.head.saturating_sub(u64::from(from)).max(1);
        let to = len.map(|len| from + u64::from(len));
        let data = match to {
            Some(to) => json!({"channel": channel, "from": from, "to": to}),
            None => json!({"channel": channel, "since": from - 1}),
        };
        let fields = format!(r#""type":"replay","data":{data}"#);
        if !client.names.iter().any(|name| covers(name, channel)) {
            self.ask_at(at, Request::Error(&["NOT_SUBSCRIBED"]), &fields);
            return;
        }
        let sub = client.subs.iter().find(|sub| covers(sub.name, channel));
        // What it had before a reset or an unsubscribe that is on its way counts no more.
        let changes =
            |r: &(u64, Request)| matches!(r.1, Request::Subscribe(..) | Request::Unsubscribe(..));
        let settled = client.resets_owed.is_empty() && !client.requests.iter().any(changes);
        let sub = sub.filter(|_| settled);
        let had = sub.map_or(0, |sub| sub.newest_live);
        let to = to.unwrap_or(u64::MAX);
        let replay = Replay {
            id: 0,
            channel,
            from,
            to,
            had,
            at: 0,
            count: 0,
            ended: false,
        };
        self.ask_at(at, Request::Replay(replay), &fields);
    }

    pub(crate) fn rude(&mut self, who: u8) {
        let text = r#"{"type":"subscribe","data":{"channels":[">"]}}"#;
        for conn in self.dead.iter().rev().take(3).copied().collect::<Vec<_>>() {
            assert!(!self.shard.wants_read(conn));
            let message = Message::Text(text);
            self.shard
                .handle(self.now, Input::Message { conn, message });
            self.shard.handle(self.now, Input::Writable { conn });
            let reason = CloseReason::TooBig;
            self.shard
                .handle(self.now, Input::Violation { conn, reason });
            let reason = CloseReason::Transport;
            self.shard.handle(self.now, Input::Closed { conn, reason });
        }
        let Some(at) = self.pick(who) else { return };
        if self.shard.wants_read(self.clients[at].conn) {
            return;
        }
        self.clients[at].rogue = true;
        for text in [
            text,
            r#"{"type":"replay","data":{"channel":"a","from":1}}"#,
            "no JSON",
        ] {
            for _ in 0..who {
                self.message(at, Message::Text(text));
                self.message(at, Message::Ping(b"p"));
            }
        }
    }
}

/// What the ack of a subscribe must say.
fn accept(history: &History, wish: &Subscribe) -> Vec<Accepted> {
    let names = wish.names.iter();
    names.map(|name| accept_name(history, wish, name)).collect()
}

fn accept_name(history: &History, options: &Subscribe, name: &'static str) -> Accepted {
    let wild = name.contains(['*', '>']);
    let newest = history.newest(name).map_or(0, |e| e.seq);
    let live = if wild { history.head } else { newest };
    let mut position = history.ready.then_some(live);
    let mut resumed = None;
    let mut has_start = false;
    if let Some(wish) = options.wishes.get(name) {
        let same = wish.epoch == epoch_name(history.epoch);
        let outcome = if !history.ready {
            Err("upstream_unavailable")
        } else if !same && !options.latest {
            Err("epoch_changed")
        } else if options.latest {
            Ok(())
        } else if !history.durable && wish.seq > history.head {
            Err("ahead_of_log")
        } else if history.is_proven(name, wish.seq) {
            Ok(())
        } else {
            Err("too_old")
        };
        has_start = outcome.is_ok() || outcome == Err("too_old") && options.keep_on;
        if has_start {
            // In latest mode a position of another number line is none: the newest is newer. So is one
            // that a number line of this server's own has not come to.
            let comes = history.durable || wish.seq <= history.head;
            position = Some(if same && comes { wish.seq } else { 0 });
        }
        resumed = Some(outcome);
    }
    if options.snapshot
        && !has_start
        && !wild
        && history.ready
        && let Some(value) = history.value(name)
    {
        position = value.prev;
    }
    Accepted {
        name,
        position,
        resumed,
        epoch: history.ready.then_some(history.epoch),
        order: history.order,
        head: history.head,
        options: options.clone(),
    }
}
