//! The control lane of a connection: answers, pings, pongs and the close frame, in order, before
//! any data. Made when first used and given back when empty.

use bytes::Bytes;
use heapless::Deque;

use super::session::Purpose;
use crate::record::codec::{Broken, Code, Reader, Writer};

/// Frames that a lane holds.
const FRAMES_MAX: usize = 32;

/// Of these, what answers to requests may fill. The rest is the server's own: an error about the
/// rate, a goaway, a ping, a pong and the close frame.
pub(crate) const FRAMES_FOR_ANSWERS: usize = FRAMES_MAX - 5;

/// From here on the client is not read from, so that its requests cannot fill what is left. One
/// request is answered by at most [`super::replay::REPLAYS_MAX`] + 2 frames.
const FRAMES_BUSY: usize = FRAMES_MAX / 2;

/// The same in bytes. One more answer is bounded by the size of its request.
const BYTES_BUSY: usize = 32 * 1024;

/// Pongs that may wait. Pings that come together are each answered, as tests of conformance ask, although
/// RFC 6455 5.5.3 would have one pong answer all of them; a flood is answered by as few.
const PONGS_MAX: usize = 10;

#[derive(Debug, Default)]
pub(crate) struct Lane {
    frames: Deque<(Bytes, Purpose), FRAMES_MAX>,
    bytes: usize,
}

impl Lane {
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether it is over half full.
    pub(crate) fn is_busy(&self) -> bool {
        self.frames.len() >= FRAMES_BUSY || self.bytes >= BYTES_BUSY
    }

    /// How many frames of a kind may wait, so that one more replaces the newest of them.
    fn waiting_max(&self, purpose: Purpose) -> Option<usize> {
        match purpose {
            Purpose::Pong if self.frames.len() < FRAMES_BUSY => Some(PONGS_MAX),
            Purpose::Ping | Purpose::Pong => Some(1),
            Purpose::Message | Purpose::Close => None,
        }
    }

    /// Appends a frame. The places above [`FRAMES_BUSY`] are the server's own and those of the
    /// request under way; a ping that already waits is replaced, not repeated, and so is the newest
    /// pong where enough of them wait.
    pub(crate) fn push(&mut self, frame: Bytes, purpose: Purpose) {
        let is_same = |(_, other): &&(Bytes, Purpose)| *other == purpose;
        if let Some(max) = self.waiting_max(purpose)
            && self.frames.iter().filter(is_same).count() >= max
            && let Some(waiting) = self.frames.iter_mut().rfind(|(_, p)| *p == purpose)
        {
            self.bytes = self.bytes - waiting.0.len() + frame.len();
            waiting.0 = frame;
            return;
        }
        self.bytes += frame.len();
        let pushed = self.frames.push_back((frame, purpose));
        assert!(
            pushed.is_ok(),
            "a lane has room for what its connection may be told"
        );
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.frames.iter().map(|(frame, _)| frame)
    }

    pub(crate) fn pop(&mut self) -> Option<(Bytes, Purpose)> {
        let (frame, purpose) = self.frames.pop_front()?;
        self.bytes -= frame.len();
        Some((frame, purpose))
    }
}

/// The frames by their length: nothing is decided by what they say.
impl Code for Lane {
    fn put(&self, out: &mut Writer) {
        let Self { frames, bytes: _ } = self;
        frames.len().put(out);
        for (frame, purpose) in frames {
            frame.put(out);
            purpose.put(out);
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let mut lane = Self::default();
        for _ in 0..from.count()? {
            let (frame, purpose) = <(Bytes, Purpose)>::get(from)?;
            lane.bytes += frame.len();
            let pushed = lane.frames.push_back((frame, purpose));
            pushed.map_err(|_| Broken("a lane has more frames than it may"))?;
        }
        Ok(lane)
    }
}
