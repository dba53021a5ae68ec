//! What follows from what a socket took: cursors move over what was written, the frame that was
//! written in part becomes the connection's front, and the connection takes its next state.

use alloc::boxed::Box;

use bytes::Bytes;

use super::Shard;
use super::session::{Front, Purpose, State};
use super::subscription::SubIx;
use super::transmit::{Piece, Taken};
use crate::event::Kind;
use crate::id::{ConnId, Order};
use crate::mutant::{self, Mutant};
use crate::time::Instant;

impl Shard {
    pub(super) fn written(&mut self, now: Instant, conn: ConnId, bytes: usize) {
        assert!(
            self.taken.conn == Some(conn),
            "Written follows a transmit of the same connection"
        );
        let mut taken = core::mem::take(&mut self.taken);
        assert!(
            bytes <= taken.bytes,
            "a socket takes no more than it was given"
        );
        let index = u32::try_from(conn.index()).unwrap_or(u32::MAX);
        self.stats.bytes_sent += bytes as u64;
        let mut left = bytes;
        for (piece, len) in taken.pieces.iter().copied() {
            let written = left.min(len);
            if written == 0 {
                break;
            }
            left -= written;
            self.commit(now, index, &taken, piece, len, written);
        }
        for page in &taken.pages {
            self.archive.touch(page);
        }
        let whole = bytes == taken.bytes;
        self.settle_visits(index, &taken, whole);
        self.next_state(now, index, &taken, bytes);
        taken.clear();
        self.taken = taken;
        self.at(index).tidy();
        self.check(conn);
    }

    /// A slice was written, or part of it.
    fn commit(
        &mut self,
        now: Instant,
        index: u32,
        taken: &Taken,
        piece: Piece,
        len: usize,
        written: usize,
    ) {
        match piece {
            Piece::Front => {
                let Some(mut front) = self.at(index).front.take() else {
                    return;
                };
                if written < len {
                    front.rest = front.rest.slice(written..);
                    self.at(index).front = Some(front);
                } else {
                    self.count_written(now, index, front.purpose);
                }
            }
            Piece::Lane => {
                let session = self.at(index);
                if let Some(extra) = session.extra.as_deref_mut() {
                    for (answers, _) in &mut extra.resets {
                        *answers = answers.saturating_sub(1);
                    }
                }
                let Some((frame, purpose)) = session.lane.as_mut().and_then(|lane| lane.pop())
                else {
                    return;
                };
                self.finish(now, index, frame, purpose, written);
            }
            Piece::Data(sub, place, conflated) => {
                self.stats.conflated += conflated;
                self.commit_data(now, index, sub, place, written);
            }
            Piece::History(sub, page, entry) => {
                let entry = taken.entry(page, entry);
                self.subs[sub.0].seq = entry.seq;
                self.finish(now, index, entry.frame.clone(), Purpose::Message, written);
            }
            Piece::HistoryReplay(at, page, entry) => {
                let entry = taken.entry(page, entry);
                self.replayed(index, at, None, entry.seq, entry.lost.is_none());
                self.finish(now, index, entry.frame.clone(), Purpose::Message, written);
            }
            Piece::Replay(at, place) => {
                let Some(publication) = self.store.get(place).cloned() else {
                    return;
                };
                let is_message = !matches!(publication.kind, Kind::Lost(_));
                let next = publication.order.next();
                self.replayed(index, at, Some(next), publication.seq, is_message);
                self.finish(
                    now,
                    index,
                    publication.frame.clone(),
                    Purpose::Message,
                    written,
                );
            }
        }
    }

    fn commit_data(&mut self, now: Instant, index: u32, sub: SubIx, place: Order, written: usize) {
        let Some(publication) = self.store.get(place) else {
            return;
        };
        let sub = &mut self.subs[sub.0];
        sub.next = place.next();
        sub.seq = publication.seq.max(sub.seq);
        sub.snapshot &= place < sub.since;
        if place >= sub.since && publication.kind == Kind::Message {
            let waited = now.saturating_since(publication.received).as_nanos();
            self.stats
                .delivery
                .observe(u64::try_from(waited).unwrap_or(u64::MAX));
        }
        if written < publication.frame.len() {
            let frame = publication.frame.clone();
            self.finish(now, index, frame, Purpose::Message, written);
        } else {
            self.stats.messages_sent += 1;
        }
    }

    /// A frame was written whole, or becomes the front.
    fn finish(&mut self, now: Instant, index: u32, frame: Bytes, purpose: Purpose, written: usize) {
        if written < frame.len() {
            let rest = match mutant::is(Mutant::PartialSentAgain) {
                true => frame,
                false => frame.slice(written..),
            };
            self.at(index).front = Some(Box::new(Front { rest, purpose }));
        } else {
            self.count_written(now, index, purpose);
        }
    }

    fn count_written(&mut self, now: Instant, index: u32, purpose: Purpose) {
        match purpose {
            Purpose::Message => self.stats.messages_sent += 1,
            Purpose::Close => self.said_close(index, now),
            Purpose::Ping | Purpose::Pong => {}
        }
    }

    /// Those who had their turn go to the end of the list, or wait for their logs.
    fn settle_visits(&mut self, index: u32, taken: &Taken, whole: bool) {
        for visit in &taken.visits {
            let popped = self.pop_pending(index);
            assert!(
                popped == Some(visit.sub),
                "turns are taken in the order of the list"
            );
            if whole {
                let sub = &mut self.subs[visit.sub.0];
                sub.next = sub.next.max(visit.advance);
                sub.seq = sub.seq.max(visit.seq);
                self.stats.conflated += visit.conflated;
            }
            self.place(visit.sub);
        }
    }

    fn next_state(&mut self, now: Instant, index: u32, taken: &Taken, bytes: usize) {
        if bytes < taken.bytes {
            self.stats.writes_blocked += 1;
            let session = self.at(index);
            session.state = State::Blocked;
            if bytes > 0 || !session.stalled {
                session.stalled = !mutant::is(Mutant::StallNotNoticed);
                session.stalled_since = now;
            }
            self.file(index);
            return;
        }
        let session = self.at(index);
        // It took all there was, if only nothing: whoever waits for history is not stalled.
        session.stalled = false;
        session.state = State::Idle;
        let Some(session) = self.slots[index as usize].session.as_ref() else {
            return;
        };
        // A write brings no deadline nearer but that of a close, so its clocks are left alone.
        let may_close = session.extra.is_some();
        if self.has_work(session) {
            self.rouse(index);
        } else if may_close {
            self.file(index);
        }
    }
}
