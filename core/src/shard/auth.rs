//! Who a connection is for, and so what it may ask for.
//!
//! Whether a token is genuine, and what it says, the shell finds out; it is handed over as a [`Grant`].
//! Decided here: what a connection may do before it is authenticated (nothing but that) and for how
//! long it may wait, which names and patterns a grant allows, what becomes of subscriptions that a new
//! grant no longer allows, and when a connection ends because its grant did.
//!
//! A token is in no state and on no tape: it lies in a queue of its own until the shell has taken it,
//! which it does in the same turn.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Shard;
use super::record::Timed;
use super::session::{Purpose, Verifying};
use super::subscription::SubIx;
use crate::id::ConnId;
use crate::name;
use crate::reason::{CloseReason, ErrorCode, TokenFault};
use crate::record::codec::{Broken, Code, Reader, Writer, coded};
use crate::time::Instant;
use crate::wire::event;
use crate::wire::request::{RequestId, Subscribe, Token};

/// What a verified token allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// A hash of whom it was issued to, which must not let that be guessed: it is recorded. Two grants
    /// of one client have the same.
    pub subject: [u8; 32],
    /// The names and patterns that may be subscribed, each legal. What each covers is allowed.
    pub channels: Vec<Box<str>>,
    /// When it ends.
    pub expires_at: Instant,
    /// When the token itself says that it ends: seconds since the Unix epoch. The client is told.
    pub expires_unix: u64,
}

impl Grant {
    /// The most names and patterns of one grant. Each name of a subscribe is compared with them all.
    pub const CHANNELS_MAX: usize = 256;

    /// Whether every channel that `name` covers may be subscribed: one name or pattern of the grant
    /// must cover it alone.
    fn allows(&self, name: &str) -> bool {
        self.channels.iter().any(|claim| name::covers(claim, name))
    }

    /// About how many bytes it takes on a tape.
    pub(super) fn len(&self) -> usize {
        let channels = self.channels.iter().map(|channel| channel.len() + 2);
        self.subject.len() + 32 + channels.sum::<usize>()
    }
}

/// What a connection may do, where the server asks for authentication.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Nothing but to authenticate, until this moment.
    Awaited(Option<Instant>),
    /// What its grant allows.
    Granted(Grant),
}

impl Access {
    /// When the connection is to be closed because of it, and why.
    pub(super) fn ends(&self) -> Option<(Instant, CloseReason)> {
        match self {
            Self::Awaited(until) => until.map(|until| (until, CloseReason::Unauthorized)),
            Self::Granted(grant) => Some((grant.expires_at, CloseReason::Expired)),
        }
    }

    fn allows(&self, name: &str) -> bool {
        match self {
            Self::Awaited(_) => false,
            Self::Granted(grant) => grant.allows(name),
        }
    }
}

impl Shard {
    /// A new WebSocket connection whose token was verified with its upgrade. As [`Self::open`]; after the
    /// `welcome` an `auth_ack` says how long the token is valid.
    pub fn open_as(&mut self, now: Instant, grant: Grant) -> ConnId {
        self.note_timed(now, Timed::OpenAs(&grant));
        let expires_unix = grant.expires_unix;
        let conn = self.insert_session(now, Some(Access::Granted(grant)));
        let ack = event::auth_ack(None, expires_unix);
        let index = u32::try_from(conn.index()).unwrap_or(u32::MAX);
        self.say(index, ack, Purpose::Message);
        self.check(conn);
        conn
    }

    /// Takes a token that is to be verified. Poll until `None` after every text message; for each,
    /// [`Input::Authenticated`](super::Input::Authenticated) or
    /// [`Input::TokenRefused`](super::Input::TokenRefused) is to follow. The client is not read from
    /// before.
    pub fn poll_token(&mut self) -> Option<(ConnId, Token)> {
        self.tokens.pop_front()
    }

    /// What a connection may do that shows no token when it is opened.
    /// `None`: everything, the server asks for no authentication.
    pub(super) fn first_access(&self, now: Instant) -> Option<Access> {
        let timeout = self.config.auth_timeout;
        let awaited = || Access::Awaited((!timeout.is_zero()).then(|| now + timeout));
        self.config.auth.then(awaited)
    }

    /// Whether the connection has yet to authenticate.
    pub(super) fn is_stranger(&mut self, index: u32) -> bool {
        matches!(self.at(index).access.as_deref(), Some(Access::Awaited(_)))
    }

    /// A client shows a token.
    pub(super) fn auth(&mut self, index: u32, id: Option<&RequestId>, token: &Token) {
        if !self.config.auth {
            let message = "this server has no authentication configured";
            return self.refuse(index, ErrorCode::AuthUnavailable, message, id);
        }
        let conn = self.conn_id(index);
        self.at(index).extra_mut().verifying = Some(Verifying { id: id.cloned() });
        self.tokens.push_back((conn, token.clone()));
    }

    /// The id of the request whose token was verified. `None`: that connection is gone, or it is being
    /// closed and has no more to hear.
    fn verified(&mut self, conn: ConnId) -> Option<(u32, Option<RequestId>)> {
        self.tokens.retain(|(other, _)| *other != conn);
        let session = self.session_mut(conn)?;
        let verifying = session.extra_mut().verifying.take();
        session.tidy();
        let ends = session.closing();
        if ends.is_some_and(|closing| closing.flush_until.is_none()) {
            return None;
        }
        let index = u32::try_from(conn.index()).ok()?;
        Some((index, verifying.and_then(|verifying| verifying.id)))
    }

    pub(super) fn authenticated(&mut self, now: Instant, conn: ConnId, grant: Grant) {
        let Some((index, id)) = self.verified(conn) else {
            return;
        };
        let access = &mut self.at(index).access;
        if let Some(Access::Granted(old)) = access.as_deref()
            && old.subject != grant.subject
        {
            let message = "a connection stays with the subject that it was authenticated for";
            self.refuse(index, ErrorCode::Forbidden, message, id.as_ref());
            self.close(index, now, CloseReason::Forbidden);
        } else {
            let expires_unix = grant.expires_unix;
            *access = Some(Box::new(Access::Granted(grant)));
            let ack = event::auth_ack(id.as_ref(), expires_unix);
            self.say(index, ack, Purpose::Message);
            self.end_forbidden(now, index);
        }
        self.file(index);
        self.check(conn);
    }

    pub(super) fn token_refused(&mut self, now: Instant, conn: ConnId, fault: TokenFault) {
        let Some((index, id)) = self.verified(conn) else {
            return;
        };
        let message = format!("the token is not accepted: {}", fault.label());
        self.refuse(index, ErrorCode::Unauthorized, &message, id.as_ref());
        if self.is_stranger(index) {
            self.close(index, now, CloseReason::Unauthorized);
        }
        self.file(index);
        self.check(conn);
    }

    pub(super) fn revoked(&mut self, now: Instant, conn: ConnId) {
        let is_granted = self
            .session(conn)
            .is_some_and(|s| matches!(s.access.as_deref(), Some(Access::Granted(_))));
        if is_granted {
            let index = u32::try_from(conn.index()).unwrap_or(u32::MAX);
            self.close(index, now, CloseReason::Revoked);
            self.file(index);
            self.check(conn);
        }
    }

    /// Ends the subscriptions that the grant does not allow, and says so.
    fn end_forbidden(&mut self, now: Instant, index: u32) {
        let mut ended: Vec<(SubIx, String)> = Vec::new();
        for sub in self.subscriptions_of(index) {
            let name = self.topic_name(self.subs[sub.0].topic);
            if !self.allows(index, name) {
                ended.push((sub, name.into()));
            }
        }
        if ended.is_empty() {
            return;
        }
        // Oldest first, which is the order in which the client subscribed them.
        ended.reverse();
        for (sub, _) in &ended {
            self.end_replays(index, *sub);
            self.remove_subscription(*sub, now);
        }
        let names: Vec<&str> = ended.iter().map(|(_, name)| name.as_str()).collect();
        let count = u32::from(self.at(index).subscription_count);
        self.say(
            index,
            event::unsubscribed(&names, count, "forbidden"),
            Purpose::Message,
        );
    }

    /// Whether a connection may subscribe this name or pattern.
    pub(super) fn allows(&self, index: u32, name: &str) -> bool {
        let session = self.slots[index as usize].session.as_ref();
        session.is_some_and(|session| {
            let access = session.access.as_deref();
            access.is_none_or(|access| access.allows(name))
        })
    }

    /// The names of a subscribe that this connection may not have and wants to resume: they are left
    /// out, and the ack says so.
    ///
    /// # Errors
    /// A name that it may not have and does not resume: the request is refused whole.
    pub(super) fn forbidden_of<'a>(
        &self,
        index: u32,
        subscribe: &'a Subscribe,
    ) -> Result<Vec<&'a str>, (ErrorCode, String)> {
        let mut forbidden = Vec::new();
        for name in &subscribe.channels {
            if self.allows(index, name) {
                continue;
            }
            let resumed = subscribe.resume.as_ref().is_some_and(|resume| {
                let mut positions = resume.positions.iter();
                positions.any(|(channel, _)| channel == name)
            });
            if !resumed {
                let message = format!("the token does not allow {name}");
                return Err((ErrorCode::Forbidden, message));
            }
            forbidden.push(name.as_str());
        }
        Ok(forbidden)
    }
}

coded!(Grant {
    subject,
    channels,
    expires_at,
    expires_unix
});

impl Code for Access {
    fn put(&self, out: &mut Writer) {
        match self {
            Self::Awaited(until) => {
                out.byte(1);
                until.put(out);
            }
            Self::Granted(grant) => {
                out.byte(2);
                grant.put(out);
            }
        }
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        match from.byte()? {
            1 => Ok(Self::Awaited(Code::get(from)?)),
            2 => Ok(Self::Granted(Code::get(from)?)),
            _ => Err(Broken("an access is of no known kind")),
        }
    }
}
