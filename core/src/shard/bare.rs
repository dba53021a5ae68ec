//! Connections on which clients do not speak the protocol of this server: they are not welcomed, and
//! what they are told is for the caller to say. The tests of WebSocket conformance talk through them.
//!
//! Reading, writing, pings and the closing handshake are those of every connection. The flight recorder
//! knows nothing of what is sent this way, so a shard with such connections does not record.

use bytes::Bytes;

use super::Shard;
use super::session::{Purpose, State};
use crate::id::ConnId;
use crate::time::Instant;
use crate::wire::frame::{self, Opcode};

impl Shard {
    /// As [`Self::open`], for a client that is not welcomed. Poll everything afterwards.
    ///
    /// # Panics
    /// If this shard records.
    pub fn open_bare(&mut self, now: Instant) -> ConnId {
        assert!(self.tape.is_none(), "a bare connection is not recorded");
        let conn = self.insert_session(now, None);
        if let Some(session) = self.session_mut(conn) {
            session.lane = None;
            session.state = State::Idle;
            self.ready.retain(|ready| *ready != conn);
        }
        self.check(conn);
        conn
    }

    /// Sends a whole data message to a connection, after all that it was told before, in place of an
    /// answer to a message that [`Self::wants_read`] let the caller read. Nothing, where the connection
    /// is gone or its close frame has been said. Poll everything afterwards.
    ///
    /// # Panics
    /// If this shard records, or if so much was sent that nothing should have been read.
    pub fn send(&mut self, now: Instant, conn: ConnId, opcode: Opcode, payload: &[u8]) {
        assert!(self.tape.is_none(), "a bare connection is not recorded");
        let Some(session) = self.session_mut(conn) else {
            return;
        };
        session.heard = now;
        if session.closing().is_some() {
            return;
        }
        let header = frame::header(opcode, payload.len());
        let mut whole = alloc::vec::Vec::with_capacity(header.len() + payload.len());
        whole.extend_from_slice(&header);
        whole.extend_from_slice(payload);
        let index = u32::try_from(conn.index()).unwrap_or(u32::MAX);
        self.say(index, Bytes::from(whole), Purpose::Message);
        self.check(conn);
    }
}
