//! A look at one connection or channel, for those who ask of a recording what happened. Decides
//! nothing, and costs nothing where nobody asks.

use alloc::string::String;
use alloc::vec::Vec;

use super::Shard;
use super::subscription::Subscription;
use crate::config::Config;
use crate::id::ConnId;
use crate::reason::CloseReason;
use crate::time::Instant;
use crate::wire::request::Mode;

/// Where a subscription stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// The name or pattern.
    pub name: String,
    /// Whether only the newest message of each channel is sent.
    pub is_latest: bool,
    /// Whether it reads the stream's history, because the log does not reach back to where it stands.
    pub is_in_history: bool,
    /// Every message up to this seq was sent, or is not for it.
    pub seq: u64,
    /// Entries of the log that it has yet to be sent.
    pub behind: u64,
    /// Messages up to this seq are gone and were not sent: it fell off the log.
    pub missed_to: Option<u64>,
}

/// Where a connection stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inspection {
    /// Idle, Ready, Held, Taken or Blocked.
    pub state: String,
    /// Since when its socket has taken nothing of what waits.
    pub stalled_since: Option<Instant>,
    /// When something was last heard of the client.
    pub heard: Instant,
    /// Bytes of a frame that is written in part.
    pub partial: usize,
    /// Answers that wait.
    pub answers: usize,
    /// Messages over the rate, in a row.
    pub drops: u32,
    /// Replays under way.
    pub replays: usize,
    /// Notices for all subscriptions that it has not passed.
    pub notices: u64,
    /// Why it is being closed.
    pub closing: Option<CloseReason>,
    /// Its subscriptions, newest first.
    pub subscriptions: Vec<Standing>,
}

/// What is known of a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelStanding {
    /// Connections that subscribed it by its name.
    pub subscribers: u32,
    /// Messages in the log.
    pub entries: usize,
    /// The seq of the oldest message in the log.
    pub oldest: Option<u64>,
    /// The seq of the newest entry that ever was on this number line; 0: none.
    pub newest: u64,
    /// Messages up to this seq may be missing from the log.
    pub dropped_to: u64,
}

impl Shard {
    /// The limits.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The living connections.
    pub fn connections(&self) -> impl Iterator<Item = ConnId> {
        self.living().into_iter().map(|index| self.conn_id(index))
    }

    /// Where a connection stands; `None`: there is no such connection now.
    #[must_use]
    pub fn inspect(&self, conn: ConnId) -> Option<Inspection> {
        let session = self.session(conn)?;
        let index = u32::try_from(conn.index()).ok()?;
        let extra = session.extra.as_deref();
        Some(Inspection {
            state: alloc::format!("{:?}", session.state),
            stalled_since: session.stalled.then_some(session.stalled_since),
            heard: session.heard,
            partial: session.front.as_ref().map_or(0, |front| front.rest.len()),
            answers: session.lane.as_ref().map_or(0, |lane| lane.len()),
            drops: session.drops,
            replays: extra.map_or(0, |extra| extra.replays.len()),
            notices: self.notices_total - session.notices_passed,
            closing: session.closing().map(|closing| closing.reason),
            subscriptions: self
                .subscriptions_of(index)
                .map(|sub| self.standing(&self.subs[sub.0]))
                .collect(),
        })
    }

    fn standing(&self, sub: &Subscription) -> Standing {
        let log = self.log(sub.topic);
        let missed = !sub.cold && self.stands_before_hole(sub);
        Standing {
            name: self.topic_name(sub.topic).into(),
            is_latest: sub.mode == Mode::Latest,
            is_in_history: sub.cold,
            seq: sub.seq,
            behind: match sub.cold {
                true => log.places.len() as u64,
                false => (log.places.len() - log.index_from(sub.next)) as u64,
            },
            missed_to: missed.then_some(log.dropped_seq),
        }
    }

    /// What is known of a channel; `None`: nothing.
    #[must_use]
    pub fn inspect_channel(&self, name: &str) -> Option<ChannelStanding> {
        let channel = self.catalog.channel(self.catalog.find_channel(name)?);
        let oldest = channel.held.or_else(|| channel.log.places.front().copied());
        Some(ChannelStanding {
            subscribers: channel.subscribers,
            entries: channel.log.places.len(),
            oldest: oldest
                .and_then(|place| self.store.get(place))
                .map(|p| p.seq),
            newest: channel.last_seq,
            dropped_to: channel.log.dropped_seq,
        })
    }
}
