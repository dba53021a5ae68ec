//! What clients send: whether it is within the rate, what kind it is, and the answers that need no
//! room of their own.

use alloc::format;
use alloc::string::String;

use super::session::Purpose;
use super::{Message, Shard, lane, replay};
use crate::id::ConnId;
use crate::mutant::{self, Mutant};
use crate::reason::{CloseReason, ErrorCode};
use crate::time::Instant;
use crate::wire::request::{Body, Rejected, Request, RequestId};
use crate::wire::{event, frame, request};

impl Shard {
    pub(super) fn message(&mut self, now: Instant, conn: ConnId, message: Message<'_>) {
        self.hear(now, conn, message, request::parse);
    }

    /// Takes a message, a text of which `parse` reads.
    pub(super) fn hear(
        &mut self,
        now: Instant,
        conn: ConnId,
        message: Message<'_>,
        parse: impl FnOnce(&str) -> Result<Request, Rejected>,
    ) {
        let Some(session) = self.session_mut(conn) else {
            return;
        };
        if !matches!(message, Message::Fragments(_)) {
            session.heard = now;
        }
        let index = u32::try_from(conn.index()).unwrap_or(u32::MAX);
        match message {
            Message::Close(_) => self.heard_close(index, now),
            // A connection that is being closed is read only for its close frame.
            _ if session
                .closing()
                .is_some_and(|closing| closing.flush_until.is_none()) => {}
            Message::Pong => self.pong(now, index),
            Message::Fragments(count) => self.fragments(now, index, count),
            Message::Ping(data) => {
                if self.within_rate(now, index) {
                    self.say(index, frame::pong(data), Purpose::Pong);
                }
            }
            Message::Binary(bytes) => {
                self.count_received(bytes);
                self.close(index, now, CloseReason::Unsupported);
            }
            Message::Text(text) => self.text(now, index, text, parse),
        }
        self.file(index);
        self.check(conn);
    }

    /// A pong that was asked for is free: who sends as much as it may need not fear to answer.
    fn pong(&mut self, now: Instant, index: u32) {
        let session = self.at(index);
        match session.pings.checked_sub(1) {
            Some(left) => session.pings = left,
            None => {
                self.within_rate(now, index);
            }
        }
    }

    /// A fragment cannot be dropped, or its message would be another one. It counts all the same, so
    /// that fragments without end come to an end.
    fn fragments(&mut self, now: Instant, index: u32, count: u32) {
        for _ in 0..count {
            if self.at(index).closing().is_some() {
                return;
            }
            self.within_rate(now, index);
        }
    }

    fn count_received(&mut self, bytes: usize) {
        self.stats.messages_received += 1;
        self.stats.bytes_received += bytes as u64;
    }

    /// Takes a token of the connection; without one the message is dropped, and counted.
    fn within_rate(&mut self, now: Instant, index: u32) -> bool {
        let rate = self.rate;
        let drops_max = self.config.message_drops_max;
        let session = self.at(index);
        if session.bucket.take(now, &rate).is_ok() {
            if !mutant::is(Mutant::DropsNotForgotten) {
                session.drops = 0;
            }
            return true;
        }
        session.drops = session.drops.saturating_add(1);
        let flooding = drops_max > 0 && session.drops >= drops_max;
        self.stats.rate_limited += 1;
        if flooding && !mutant::is(Mutant::FloodNotEnded) {
            self.close_deaf(index, now, CloseReason::Flooding);
        }
        false
    }

    fn text(
        &mut self,
        now: Instant,
        index: u32,
        text: &str,
        parse: impl FnOnce(&str) -> Result<Request, Rejected>,
    ) {
        self.count_received(text.len());
        let used = self.at(index).lane.as_ref().map_or(0, |lane| lane.len());
        if used + replay::REPLAYS_MAX + 2 > lane::FRAMES_FOR_ANSWERS {
            // Whoever reads from this connection ignores `wants_read`.
            return self.close(index, now, CloseReason::Overload);
        }
        if !self.within_rate(now, index) {
            if self.at(index).closing().is_none() {
                let rate = self.config.message_rate;
                let message = format!("more than {rate} messages a second: this one was dropped");
                self.refuse(index, ErrorCode::RateLimitExceeded, &message, None);
            }
            return;
        }
        match parse(text) {
            Ok(request) => self.request(now, index, request.id.as_ref(), &request.body),
            Err(Rejected { id, code, message }) => self.refuse(index, code, &message, id.as_ref()),
        }
    }

    fn request(&mut self, now: Instant, index: u32, id: Option<&RequestId>, body: &Body) {
        match body {
            Body::Auth(token) => self.auth(index, id, token),
            _ if self.is_stranger(index) => {
                let message = "authenticate first, with an auth message";
                self.refuse(index, ErrorCode::Unauthorized, message, id);
            }
            Body::Subscribe(subscribe) => self.subscribe_or_hold(now, index, id, subscribe),
            Body::Unsubscribe { channels } => self.unsubscribe(now, index, id, channels),
            Body::Replay(replay) => self.replay(index, id, replay),
            Body::Heartbeat => {
                let ts = self.config.started_unix_ms + now.as_nanos() / 1_000_000;
                self.say(index, event::pong(id, ts), Purpose::Message);
            }
        }
    }

    fn unsubscribe(
        &mut self,
        now: Instant,
        index: u32,
        id: Option<&RequestId>,
        channels: &[String],
    ) {
        let mut subs = alloc::vec::Vec::with_capacity(channels.len());
        for name in channels {
            let Some(sub) = self.find_subscription(index, name) else {
                let message = format!("{name} is not subscribed");
                return self.refuse(index, ErrorCode::NotSubscribed, &message, id);
            };
            subs.push(sub);
        }
        for sub in subs {
            self.end_replays(index, sub);
            self.remove_subscription(sub, now);
        }
        let names: alloc::vec::Vec<&str> = channels.iter().map(String::as_str).collect();
        let count = u32::from(self.at(index).subscription_count);
        let ack = event::unsubscription_ack(id, &names, count);
        self.say(index, ack, Purpose::Message);
    }

    pub(super) fn refuse(
        &mut self,
        index: u32,
        code: ErrorCode,
        message: &str,
        id: Option<&RequestId>,
    ) {
        self.stats.errors[code as usize] += 1;
        self.say(index, event::error(code, message, id), Purpose::Message);
    }
}
