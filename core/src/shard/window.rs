//! Windows that hold flushes back: fewer writes with more messages in each, for those who would rather
//! save CPU than some milliseconds.
//!
//! A window opens with the first message that would make somebody ready, and gathers everyone whom
//! messages of its channels make ready until it closes; then all of them are ready at once. Only live
//! messages are held. Answers, notices, closes and whatever else makes a connection ready do so at
//! once, and what was held goes with them. A window closes early where more would not fit one write,
//! or might leave the log before it was offered to everybody.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::Shard;
use super::session::State;
use crate::config::Coalesce;
use crate::event::{Event, Publication};
use crate::id::{ConnId, Order};
use crate::name;
use crate::record::codec::{Broken, Code, Reader, Writer, coded};
use crate::time::Instant;

/// A span of time for which flushes are held back, and who is held.
#[derive(Debug)]
struct Window {
    span: Duration,
    /// When it closes, while it is open.
    until: Instant,
    /// The place of the message that opened it.
    since: Order,
    /// Bytes of messages since then.
    bytes: usize,
    /// Who is held, each once; nobody: it is closed. Some may have become ready otherwise.
    held: Vec<ConnId>,
}

/// All windows of a shard: one for each span that the settings name.
#[derive(Debug, Default)]
pub(super) struct Windows {
    list: Vec<Window>,
    /// Which names and patterns have which window; the first that covers a channel holds.
    rules: Vec<(String, Option<u8>)>,
    /// The window of all other channels.
    others: Option<u8>,
    bytes_max: usize,
    /// The window of each channel by the Feed's number, as far as it was looked up.
    by_channel: Vec<Option<Option<u8>>>,
}

impl Windows {
    fn new(settings: &Coalesce) -> Self {
        let mut windows = Self {
            bytes_max: settings.bytes_max,
            ..Self::default()
        };
        windows.others = windows.window_of(settings.all);
        for (covers, span) in &settings.channels {
            let window = windows.window_of(*span);
            windows.rules.push((covers.clone(), window));
        }
        windows
    }

    /// The number of the window with this span; none for a span of zero.
    fn window_of(&mut self, span: Duration) -> Option<u8> {
        if span.is_zero() {
            return None;
        }
        let known = self.list.iter().position(|window| window.span == span);
        let at = known.unwrap_or_else(|| {
            self.list.push(Window {
                span,
                until: Instant::ZERO,
                since: Order(0),
                bytes: 0,
                held: Vec::new(),
            });
            self.list.len() - 1
        });
        assert!(at < Coalesce::SPANS_MAX, "the settings name a few spans");
        u8::try_from(at).ok()
    }

    /// The window of a channel.
    fn of(&mut self, publication: &Publication) -> Option<u8> {
        if self.rules.is_empty() {
            return self.others;
        }
        let index = publication.channel.0 as usize;
        if let Some(Some(known)) = self.by_channel.get(index) {
            return *known;
        }
        let covers = |rule: &&(String, _)| name::matches(&rule.0, &publication.name);
        let rule = self.rules.iter().find(covers);
        let window = rule.map_or(self.others, |(_, window)| *window);
        if self.by_channel.len() <= index {
            self.by_channel.resize(index + 1, None);
        }
        self.by_channel[index] = Some(window);
        window
    }

    /// When the next one closes.
    pub(super) fn next_close(&self) -> Option<Instant> {
        let open = self.list.iter().filter(|window| !window.held.is_empty());
        open.map(|window| window.until).min()
    }

    /// How many windows hold this connection.
    #[cfg(feature = "verify")]
    pub(super) fn holding(&self, conn: ConnId) -> impl Iterator<Item = usize> {
        let all = self.list.iter().enumerate();
        all.filter(move |(_, window)| window.held.contains(&conn))
            .map(|(at, _)| at)
    }
}

impl Shard {
    /// Holds flushes back as the settings say. Call it before anything else.
    ///
    /// # Panics
    /// If the settings name more than [`Coalesce::SPANS_MAX`] spans.
    pub fn coalesce(&mut self, settings: &Coalesce) {
        self.windows = Windows::new(settings);
    }

    /// Takes an event, and holds those back whom a message of a channel with a window makes ready.
    pub(super) fn event_in_window(&mut self, now: Instant, event: Event) {
        let window = match &event {
            Event::Published(publication) => self.windows.of(publication),
            _ => None,
        };
        let (Some(at), Event::Published(publication)) = (window, &event) else {
            return self.event(now, event);
        };
        let (publication, ready) = (publication.clone(), self.ready.len());
        self.event(now, event);
        self.hold(now, at, ready);
        self.fill(at, &publication);
    }

    /// Holds those back who became ready behind the first `from` of the queue.
    fn hold(&mut self, now: Instant, at: u8, from: usize) {
        let mut window = self.take_window(at);
        if window.held.is_empty() {
            window.until = now + window.span;
            window.since = Order(0);
            window.bytes = 0;
        }
        for place in from..self.ready.len() {
            let conn = self.ready[place];
            let Some(session) = self.session_mut(conn) else {
                continue;
            };
            session.state = State::Held;
            if session.held & 1 << at == 0 {
                session.held |= 1 << at;
                window.held.push(conn);
            }
        }
        self.ready.truncate(from);
        self.windows.list[usize::from(at)] = window;
    }

    /// A message of a window's channel was published: counts it, and closes a window that is full.
    fn fill(&mut self, at: u8, publication: &Publication) {
        let bytes_max = self.windows.bytes_max;
        let window = &mut self.windows.list[usize::from(at)];
        if window.held.is_empty() {
            return;
        }
        if window.since == Order(0) {
            window.since = publication.order;
        }
        window.bytes += publication.frame.len();
        let (since, is_large) = (window.since, window.bytes >= bytes_max);
        let kept = usize::try_from(self.config.log_messages).unwrap_or(usize::MAX);
        let many = (kept / 2).clamp(1, Self::SLICES_MAX);
        let ix = self.catalog.channel_of(publication);
        let places = &self.catalog.channel(ix).log.places;
        let has_many = places.len() >= many && places[places.len() - many] >= since;
        if is_large || has_many {
            self.close_window(at);
        }
    }

    /// Closes the windows whose time is over.
    pub(super) fn close_windows(&mut self, now: Instant) {
        for at in 0..self.windows.list.len() {
            let window = &self.windows.list[at];
            if !window.held.is_empty() && window.until <= now {
                self.close_window(u8::try_from(at).unwrap_or(u8::MAX));
            }
        }
    }

    /// Whoever the window holds is ready now.
    fn close_window(&mut self, at: u8) {
        // The list is emptied in place and given back, so that its room is used again.
        let mut window = self.take_window(at);
        for conn in window.held.drain(..) {
            let Some(session) = self.session_mut(conn) else {
                continue;
            };
            session.held &= !(1 << at);
            if session.state == State::Held {
                session.state = State::Ready;
                self.ready.push_back(conn);
            }
        }
        self.windows.list[usize::from(at)] = window;
    }

    fn take_window(&mut self, at: u8) -> Window {
        let window = &mut self.windows.list[usize::from(at)];
        Window {
            held: core::mem::take(&mut window.held),
            ..*window
        }
    }
}

coded!(Window {
    span,
    until,
    since,
    bytes,
    held
});

/// Without what was looked up: it is looked up again.
impl Code for Windows {
    fn put(&self, out: &mut Writer) {
        let Self {
            list,
            rules,
            others,
            bytes_max,
            by_channel: _,
        } = self;
        list.put(out);
        rules.put(out);
        others.put(out);
        bytes_max.put(out);
    }

    fn get(from: &mut Reader<'_>) -> Result<Self, Broken> {
        let windows = Self {
            list: Code::get(from)?,
            rules: Code::get(from)?,
            others: Code::get(from)?,
            bytes_max: Code::get(from)?,
            by_channel: Vec::new(),
        };
        let named = windows.rules.iter().map(|(_, window)| *window);
        let mut named = named.chain([windows.others]).flatten();
        if named.any(|window| usize::from(window) >= windows.list.len())
            || windows.list.len() > Coalesce::SPANS_MAX
        {
            return Err(Broken("a window is unknown"));
        }
        Ok(windows)
    }
}
