//! Records each call, before it is carried out.

use alloc::string::String;

use super::call::*;
use super::{Context, ShardTape, Timed};
use crate::event::{Event, Publication};
use crate::id::ConnId;
use crate::record::Tape;
use crate::record::codec::{Code, Writer, hash};
use crate::shard::{Input, Message, Shard};
use crate::time::Instant;
use crate::wire::request::{self, Body, RequestId};

impl Shard {
    /// The tape, with a new checkpoint where one is due before a call with so many bytes of text.
    fn roll(&mut self, now: Option<Instant>, text: usize) -> Option<&mut ShardTape> {
        let mut tape = self.tape.take()?;
        if !self.taken.is_open() && tape.tape.is_due(now, text) {
            tape.context = Context::default();
            tape.tape.begin(now, |out| self.save(out));
        }
        Some(self.tape.insert(tape))
    }

    /// Records a call that is no input.
    pub(in crate::shard) fn note_timed(&mut self, now: Instant, call: Timed<'_>) {
        let text = match call {
            Timed::Open | Timed::Timeout => 0,
            Timed::OpenAs(grant) => grant.len(),
        };
        let Some(ShardTape { tape, .. }) = self.roll(Some(now), text) else {
            return;
        };
        match call {
            Timed::Open => tape.call(OPEN, Some(now), |_| {}),
            Timed::OpenAs(grant) => tape.call(OPEN_AS, Some(now), |out| grant.put(out)),
            Timed::Timeout => tape.call(TIMEOUT, Some(now), |_| {}),
        }
    }

    pub(in crate::shard) fn note_output(&mut self) {
        if let Some(ShardTape { tape, .. }) = self.roll(None, 0) {
            tape.call(OUTPUT, None, |_| {});
        }
    }

    pub(in crate::shard) fn note_ready(&mut self) {
        if let Some(ShardTape { tape, .. }) = self.roll(None, 0) {
            tape.call(READY, None, |_| {});
        }
    }

    /// Who was polled, and so is likely to be transmitted to.
    pub(in crate::shard) fn note_polled(&mut self, conn: ConnId) {
        if let Some(ShardTape { context, .. }) = self.tape.as_deref_mut() {
            context.polled = Some(conn);
        }
    }

    pub(in crate::shard) fn note_transmit(&mut self, now: Instant, conn: ConnId) {
        if let Some(ShardTape { tape, context }) = self.roll(Some(now), 0) {
            if context.polled.take() == Some(conn) {
                tape.call(TRANSMIT_POLLED, Some(now), |_| {});
            } else {
                tape.call(TRANSMIT, Some(now), |out| conn.put(out));
            }
        }
    }

    pub(in crate::shard) fn note_gathered(&mut self, conn: ConnId, bytes: usize) {
        if let Some(ShardTape { context, .. }) = self.tape.as_deref_mut() {
            context.gathered = Some((conn, bytes));
        }
    }

    pub(in crate::shard) fn note_input(&mut self, now: Instant, input: &Input<'_>) {
        if let Input::Message { conn, message } = input {
            return self.note_message(now, *conn, *message);
        }
        let text = match input {
            Input::Event(Event::Published(publication)) => publication.name.len(),
            Input::Event(_) => EVENT_BYTES,
            Input::Authenticated { grant, .. } => grant.len(),
            Input::History {
                page: Some(page), ..
            } => PAGE_BYTES + page.entries.len() * PAGE_ENTRY_BYTES,
            _ => 0,
        };
        let Some(ShardTape { tape, context }) = self.roll(Some(now), text) else {
            return;
        };
        match input {
            Input::Message { .. } => {}
            Input::Violation { conn, reason } => {
                tape.call(VIOLATION, Some(now), |out| (*conn, *reason).put(out));
            }
            Input::Written { conn, bytes } => {
                if context.gathered.take() == Some((*conn, *bytes)) {
                    tape.call(WRITTEN_ALL, Some(now), |_| {});
                } else {
                    tape.call(WRITTEN, Some(now), |out| (*conn, *bytes).put(out));
                }
            }
            Input::Writable { conn } => tape.call(WRITABLE, Some(now), |out| conn.put(out)),
            Input::Closed { conn, reason } => {
                tape.call(CLOSED, Some(now), |out| (*conn, *reason).put(out));
            }
            Input::Authenticated { conn, grant } => tape.call(AUTHENTICATED, Some(now), |out| {
                conn.put(out);
                grant.put(out);
            }),
            Input::TokenRefused { conn, fault } => {
                tape.call(TOKEN_REFUSED, Some(now), |out| (*conn, *fault).put(out));
            }
            Input::Revoked { conn } => tape.call(REVOKED, Some(now), |out| conn.put(out)),
            Input::Event(event) => note_event(tape, now, event),
            Input::History { request, page } => {
                tape.call(HISTORY, Some(now), |out| {
                    request.put(out);
                    page.put(out);
                });
            }
            Input::Relieve => tape.call(RELIEVE, Some(now), |_| {}),
            Input::Drain { deadline } => tape.call(DRAIN, Some(now), |out| deadline.put(out)),
        }
    }

    /// Records what a client sent, but no token: of what is not a request of this protocol only how
    /// it is answered, and of what is dropped only how long it is.
    fn note_message(&mut self, now: Instant, conn: ConnId, message: Message<'_>) {
        let rate = self.rate;
        let session = self.session(conn);
        let is_read = session.is_some_and(|session| session.bucket.wait(now, &rate).is_zero());
        let len = match message {
            Message::Text(text) if is_read => text.len(),
            _ => 0,
        };
        let Some(ShardTape { tape, .. }) = self.roll(Some(now), len) else {
            return;
        };
        let now = Some(now);
        match message {
            Message::Text(text) if is_read => match request::parse(text) {
                Ok(request) if matches!(request.body, Body::Auth(_)) => {
                    let text = without_token(request.id.as_ref(), text.len());
                    tape.call(TEXT, now, |out| (conn, text).put(out));
                }
                Ok(_) => tape.call(TEXT, now, |out| {
                    conn.put(out);
                    out.text(text);
                }),
                Err(rejected) => {
                    tape.call(REJECTED, now, |out| (conn, text.len(), rejected).put(out));
                }
            },
            Message::Text(text) => tape.call(DROPPED, now, |out| (conn, text.len()).put(out)),
            Message::Binary(bytes) => tape.call(BINARY, now, |out| (conn, bytes).put(out)),
            Message::Ping(data) => tape.call(PING, now, |out| (conn, data.len()).put(out)),
            Message::Pong => tape.call(PONG, now, |out| conn.put(out)),
            Message::Fragments(count) => {
                tape.call(FRAGMENTS, now, |out| (conn, count).put(out));
            }
            Message::Close(code) => tape.call(GOODBYE, now, |out| {
                (conn, code).put(out);
            }),
        }
    }
}

/// More than any event but a publication takes: an epoch is the longest text in one.
const EVENT_BYTES: usize = 512;

/// More than a page takes beside its entries and the names of its channels.
const PAGE_BYTES: usize = 512;

/// More than an entry of a page takes, with the name of its channel.
const PAGE_ENTRY_BYTES: usize = 192;

/// An `auth` of so many bytes with another token.
fn without_token(id: Option<&RequestId>, len: usize) -> String {
    let id = id.map_or(String::new(), |id| {
        alloc::format!(r#""id":{},"#, id.as_json())
    });
    let mut text = alloc::format!(r#"{{"type":"auth",{id}"data":{{"token":""}}}}"#);
    let missing = len.saturating_sub(text.len());
    text.extend(core::iter::repeat_n(' ', missing));
    text
}

fn note_event(tape: &mut Tape, now: Instant, event: &Event) {
    let now = Some(now);
    match event {
        Event::Published(publication) => tape.call(PUBLISHED, now, |out| {
            put_publication(publication, out);
            out.raw(&hash(&publication.frame).to_le_bytes());
        }),
        Event::Lost(lost) => tape.call(LOST, now, |out| lost.put(out)),
        Event::Reset(reset) => tape.call(RESET, now, |out| reset.put(out)),
        Event::Evict { floor } => tape.call(EVICT, now, |out| floor.put(out)),
        Event::SourceReady(ready) => tape.call(SOURCE_READY, now, |out| ready.put(out)),
    }
}

fn put_publication(publication: &Publication, out: &mut Writer) {
    let Publication {
        order,
        channel,
        name,
        seq,
        prev,
        ts,
        received,
        kind,
        frame,
    } = publication;
    order.put(out);
    channel.put(out);
    name.put(out);
    seq.put(out);
    prev.put(out);
    ts.put(out);
    received.put(out);
    kind.put(out);
    frame.put(out);
}
