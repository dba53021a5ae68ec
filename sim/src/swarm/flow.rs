//! How bytes flow: from the Feed's events through the shards into sockets, and out of them to the oracle.
//! After every input the shard's accounts are recomputed.

use std::time::Duration;

use odin_core::event::Event;
use odin_core::id::ConnId;
use odin_core::reason::CloseReason;
use odin_core::shard::{Census, Input, Output, Shard};

use super::Failure;
use super::peer::Outgoing;
use super::world::{Check, World};
use crate::marks::Mark;
use crate::oracle::{Frame, Seen};

impl World {
    /// Lets everything that can happen at this moment happen.
    pub(super) fn pump(&mut self) -> Check {
        for _ in 0..10_000 {
            let mut moved = false;
            for at in 0..self.servers.len() {
                moved |= self.pump_link(at)?;
                for unit in 0..self.servers[at].units.len() {
                    moved |= self.pump_unit(at, unit)?;
                }
            }
            for peer in 0..self.peers.len() {
                moved |= self.pump_peer(peer)?;
            }
            if !moved {
                return Ok(());
            }
        }
        Err(Failure("it never comes to rest".into()))
    }

    fn pump_unit(&mut self, at: usize, unit: usize) -> Result<bool, Failure> {
        let mut moved = false;
        let held = self.servers[at].units[unit].held && !self.healing;
        let mut waiting = self.servers[at].units[unit].events.iter();
        if waiting.any(|event| matches!(event, Event::Reset(_))) {
            // No page of the new stream is one of the old number line.
            self.trouble(at, Duration::ZERO);
        }
        while !held && let Some(event) = self.servers[at].units[unit].events.pop_front() {
            self.mark_event(at, unit, &event)?;
            let resets = matches!(event, Event::Reset(_));
            if let Event::Lost(lost) = &event {
                let to = lost.until.or(lost.to).unwrap_or(u64::MAX);
                let unit = self.servers[at].units[unit].id;
                self.oracle.told(unit, lost.from, to);
            }
            self.inputs += 1;
            let shard = &mut self.servers[at].units[unit].shard;
            shard.handle(self.now, Input::Event(event));
            if resets && self.verify(at, unit)?.replays_valid > 0 {
                return Err(Failure(
                    "a replay goes on in a number line that ended".into(),
                ));
            }
            self.flush(at, unit)?;
            moved = true;
        }
        while self.answer_past(at, unit)? {
            moved = true;
        }
        let waits = !self.servers[at].units[unit].events.is_empty();
        self.marks.hit_if(Mark::ShardBehind, waits);
        self.flush(at, unit)?;
        Ok(moved)
    }

    fn mark_event(&mut self, at: usize, unit: usize, event: &Event) -> Check {
        let census = self.verify(at, unit)?;
        let mark = match event {
            Event::Evict { .. } => Mark::PartialAcrossEviction,
            Event::Reset(_) => Mark::PartialAcrossReset,
            Event::Lost(_) => Mark::PartialAcrossLost,
            _ => return Ok(()),
        };
        self.marks.hit_if(mark, census.partial > 0);
        Ok(())
    }

    fn pump_peer(&mut self, peer: usize) -> Result<bool, Failure> {
        let mut moved = false;
        let reads = self.peers[peer].profile.reads() || self.healing;
        if reads && !self.peers[peer].inflight.is_empty() {
            self.read(peer, usize::MAX)?;
            moved = true;
        }
        while let Some(home) = self.peers[peer].home
            && !self.peers[peer].outbox.is_empty()
        {
            let shard = &self.servers[home.server].units[home.unit].shard;
            if !shard.wants_read(home.conn) {
                self.marks.hit(Mark::ReadingPaused);
                break;
            }
            self.deliver_one(peer, home)?;
            moved = true;
        }
        Ok(moved)
    }

    /// Gives a shard an input, writes what it then has to write, and recomputes its accounts.
    pub(super) fn handle(&mut self, at: usize, unit: usize, input: Input<'_>) -> Check {
        self.inputs += 1;
        self.servers[at].units[unit].shard.handle(self.now, input);
        self.flush(at, unit)
    }

    /// Writes to whoever is ready.
    pub(super) fn flush(&mut self, at: usize, unit: usize) -> Check {
        for turn in 0.. {
            if turn > 20_000 {
                return Err(Failure(
                    "who has written all is ready again and again".into(),
                ));
            }
            while let Some(output) = self.servers[at].units[unit].shard.poll_output() {
                let (conn, reason) = match output {
                    Output::Close { conn, reason } => (conn, reason),
                    Output::FetchHistory(fetch) => {
                        self.ask_past(at, unit, fetch);
                        continue;
                    }
                };
                let closed = Input::Closed { conn, reason };
                if let Some(peer) = self.peer_of(at, unit, conn) {
                    let heard = self.peers[peer].closing;
                    self.marks.hit_if(Mark::CloseTimedOut, !heard);
                    // What the socket holds can still be read.
                    self.read(peer, usize::MAX)?;
                    self.leave(peer);
                }
                self.servers[at].units[unit].shard.handle(self.now, closed);
                self.verify(at, unit)?;
            }
            let Some(conn) = self.servers[at].units[unit].shard.poll_ready() else {
                break;
            };
            self.write(at, unit, conn)?;
        }
        let census = self.verify(at, unit)?;
        let stats = self.servers[at].units[unit].shard.stats();
        self.mark(&census, usize::from(stats.last_values_dropped > 0));
        Ok(())
    }

    fn write(&mut self, at: usize, unit: usize, conn: ConnId) -> Check {
        let now = self.now;
        self.note_history(at, unit, conn);
        let shard = &mut self.servers[at].units[unit].shard;
        let before = shard.stats();
        let transmit = shard.transmit(now, conn);
        if transmit.bytes == 0 {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(transmit.bytes);
        let mut slices = 0;
        for slice in shard.slices() {
            bytes.extend_from_slice(slice);
            slices += 1;
        }
        let bounded = bytes.len() <= Shard::TRANSMIT_BYTES_MAX || slices == 1;
        if bytes.len() != transmit.bytes
            || slices != transmit.slices
            || !bounded
            || slices > Shard::SLICES_MAX
        {
            let found = bytes.len();
            return Err(Failure(format!(
                "{transmit:?} is {slices} slices and {found} bytes"
            )));
        }
        let Some(at_peer) = self.peer_of(at, unit, conn) else {
            return Err(Failure(format!("{conn} is nobody, and is written to")));
        };
        self.excuse(at_peer, at);
        let peer = &mut self.peers[at_peer];
        if std::mem::take(&mut peer.breaks) {
            self.marks.hit(Mark::WriteFailed);
            self.leave(at_peer);
            let reason = CloseReason::Transport;
            self.servers[at].units[unit]
                .shard
                .handle(now, Input::Closed { conn, reason });
            return self.verify(at, unit).map(|_| ());
        }
        let taken = peer.takes(bytes.len());
        peer.inflight.extend_from_slice(&bytes[..taken]);
        if taken < bytes.len() {
            peer.full = true;
            peer.ever_blocked = true;
            peer.blocked_since = match (taken, peer.blocked_since) {
                (0, Some(since)) => Some(since),
                _ => Some(now),
            };
            self.oracle.may_close(peer.id, 4008);
        } else {
            peer.blocked_since = None;
        }
        self.marks.hit_if(Mark::NothingTaken, taken == 0);
        self.marks
            .hit_if(Mark::AllButOneByte, taken + 1 == bytes.len());
        let shard = &mut self.servers[at].units[unit].shard;
        shard.handle(now, Input::Written { conn, bytes: taken });
        let after = shard.stats();
        if after.bytes_sent - before.bytes_sent != taken as u64 {
            return Err(Failure(format!(
                "{taken} bytes went, and others were counted"
            )));
        }
        let census = self.verify(at, unit)?;
        self.marks
            .hit_if(Mark::PartialWrite, taken > 0 && census.partial > 0);
        self.marks
            .hit_if(Mark::Conflated, after.conflated > before.conflated);
        self.marks
            .hit_if(Mark::SnapshotInParts, census.in_snapshot > 0);
        Ok(())
    }

    /// Remembers whether a client reads history, also for when its subscriptions are gone.
    fn note_history(&mut self, at: usize, unit: usize, conn: ConnId) {
        let standing = self.servers[at].units[unit].shard.inspect(conn);
        let Some(all) = standing.filter(|all| !all.subscriptions.is_empty()) else {
            return;
        };
        let reads = all.subscriptions.iter().any(|s| s.is_in_history);
        if let Some(peer) = self.peer_of(at, unit, conn) {
            self.peers[peer].reads_history = reads;
        }
    }

    pub(super) fn verify(&self, at: usize, unit: usize) -> Result<Census, Failure> {
        self.servers[at].units[unit]
            .shard
            .verify()
            .map_err(|what| Failure(format!("the accounts of shard {at}.{unit}: {what}")))
    }

    fn mark(&mut self, census: &Census, dropped: usize) {
        for (mark, count) in [
            (Mark::SubscribeHeld, census.held_subscribes),
            (Mark::Gated, census.gated),
            (Mark::ResetWaits, census.resets),
            (Mark::NoticeWaits, census.notices_behind),
            (Mark::FellOff, census.before_hole),
            (Mark::PatternScan, census.scanning),
            (Mark::ValueHeld, census.held_values),
            (Mark::TwoReplays, census.replays.saturating_sub(1)),
            (Mark::PatternLingers, census.idle_patterns),
            (Mark::FlushedBeforeClose, census.flushing),
            (Mark::RecoveredAhead, census.ahead),
            (Mark::ResumeOwesLost, census.owing),
            (Mark::ValueDropped, dropped),
        ] {
            self.marks.hit_if(mark, count > 0);
        }
    }

    pub(super) fn peer_of(&self, at: usize, unit: usize, conn: ConnId) -> Option<usize> {
        let peer = *self.servers[at].units[unit].clients.get(&conn.index())?;
        let home = self.peers[peer].home?;
        (home.conn == conn).then_some(peer)
    }

    /// A client's socket is gone, and its server knows.
    pub(super) fn leave(&mut self, peer: usize) {
        let Some(home) = self.peers[peer].home.take() else {
            return;
        };
        let server = &mut self.servers[home.server];
        server.units[home.unit].clients.remove(&home.conn.index());
        let address = self.peers[peer].address;
        server.gate.closed(self.now, address);
        server.law.closed(address);
        let peer = &mut self.peers[peer];
        peer.remember(self.oracle.positions(peer.id), home.server);
        self.marks
            .hit_if(Mark::HangupInFrame, peer.decoder.waiting() > 0);
        peer.inflight.clear();
        peer.outbox.clear();
        peer.blocked_since = None;
        self.oracle.disconnected(peer.id);
    }

    /// Tells the server of sockets that have room again.
    pub(super) fn release(&mut self) -> Check {
        for at in 0..self.peers.len() {
            let peer = &mut self.peers[at];
            let Some(home) = peer.home.filter(|_| peer.full) else {
                continue;
            };
            if peer.inflight.len() < peer.window {
                peer.full = false;
                let conn = home.conn;
                self.handle(home.server, home.unit, Input::Writable { conn })?;
            }
        }
        Ok(())
    }

    /// A client reads, and takes what it read for what it says.
    pub(super) fn read(&mut self, at: usize, bytes: usize) -> Check {
        let fast = self.is_served_at_once(at);
        let flushed = self.is_flushed(at);
        let peer = &mut self.peers[at];
        let bytes = bytes.min(peer.inflight.len());
        peer.decoder.push(&peer.inflight[..bytes]);
        peer.inflight.drain(..bytes);
        loop {
            let peer = &mut self.peers[at];
            let frame = peer.decoder.next_frame();
            let frame = frame.map_err(|what| self.oracle.accuse(peer.id, what))?;
            let Some(frame) = frame else { return Ok(()) };
            let close = match frame {
                Frame::Close(code) => Some(code),
                _ => None,
            };
            if let (Some(Some(1012)), Some(line)) = (close, fast) {
                self.oracle.at_head(peer.id, line)?;
            }
            if let (Some(Some(1012)), Some((line, head))) = (close, flushed) {
                self.oracle.has_until(peer.id, line, head)?;
            }
            let seen = self.oracle.client_received(peer.id, frame)?;
            if matches!(frame, Frame::Ping) {
                peer.outbox.push_back(Outgoing::Pong);
            }
            self.take_in(at, seen, close.flatten());
        }
    }

    fn take_in(&mut self, at: usize, seen: Seen, code: Option<u16>) {
        let peer = &mut self.peers[at];
        match seen {
            Seen::Replayed => self.marks.hit(Mark::Replayed),
            Seen::Refused => self.marks.hit(Mark::Refused),
            Seen::Lost => self.marks.hit(Mark::LostSeen),
            Seen::Reset => self.marks.hit(Mark::ResetSeen),
            Seen::Resumed {
                recovered,
                unrecovered,
            } => {
                self.marks.hit_if(Mark::Unrecovered, unrecovered > 0);
                self.marks.hit_if(Mark::Recovered, recovered > 0);
                if let Some(home) = peer.home.filter(|_| recovered > 0) {
                    self.marks
                        .hit_if(Mark::RecoveredElsewhere, home.server != peer.memory_of);
                    let evicted = self.servers[home.server].feed.stats();
                    self.marks.hit_if(
                        Mark::RecoveredAcrossEviction,
                        evicted.received > 0 && self.setup.feed.log_bytes < 6_000,
                    );
                }
            }
            Seen::Closed => {
                peer.closing = true;
                let mark = match code {
                    Some(4008) => Mark::ClosedSlow,
                    Some(4009) => Mark::ClosedIdle,
                    Some(4029) => Mark::ClosedFlooding,
                    Some(1012) => Mark::ClosedDraining,
                    Some(1000) => Mark::ClosedByClient,
                    _ => Mark::ClosedForFault,
                };
                self.marks.hit(mark);
                // Every fifth client never answers.
                if peer.id.0 % 5 != 4 {
                    peer.outbox.push_front(Outgoing::Close);
                }
            }
            Seen::Welcome | Seen::Message | Seen::Answer | Seen::Goaway | Seen::Sign => {}
        }
    }
}
