//! What the shell itself counts: what happens before the core hears of a connection.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::{Handshakes, HttpStats};

/// Why a handshake broke before the Gate was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Broken {
    /// Not a valid upgrade, or not HTTP at all.
    Invalid,
    /// Host or Origin is not allowed.
    Forbidden,
    /// Not complete within `handshake_timeout`, or not done with within `request_timeout`.
    Timeout,
    /// Larger than `handshake_max_bytes`.
    TooLarge,
    /// The handshake of TLS failed.
    Tls,
    /// A trusted proxy did not say whom it speaks for, or not in a way that can be read.
    Proxy,
    /// Closed for another one, as there were more than `handshakes_in_flight`.
    InFlight,
    /// The transport failed or ended first, or the socket could not be accepted.
    Transport,
    /// A token came with it that is not accepted.
    Unauthorized,
}

const BROKEN: usize = Broken::Unauthorized as usize + 1;

/// The counters of one server. Each only grows.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    broken: [AtomicU64; BROKEN],
    responses: [AtomicU64; 5],
    published: AtomicU64,
    duplicates: AtomicU64,
    publish_forbidden: AtomicU64,
}

impl Counters {
    /// A handshake broke.
    pub(crate) fn broke(&self, why: Broken) {
        self.broken[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// An HTTP response was made.
    pub(crate) fn responded(&self, status: u16) {
        let class = usize::from(status / 100).wrapping_sub(1).min(4);
        self.responses[class].fetch_add(1, Ordering::Relaxed);
    }

    /// A message was accepted for publishing.
    pub(crate) fn published(&self) {
        self.published.fetch_add(1, Ordering::Relaxed);
    }

    /// A message for publishing had been there before.
    pub(crate) fn duplicate(&self) {
        self.duplicates.fetch_add(1, Ordering::Relaxed);
    }

    /// Somebody may not publish, or not there.
    pub(crate) fn publish_forbidden(&self) {
        self.publish_forbidden.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn handshakes(&self) -> Handshakes {
        let count = |why: Broken| self.broken[why as usize].load(Ordering::Relaxed);
        Handshakes {
            invalid: count(Broken::Invalid),
            forbidden: count(Broken::Forbidden),
            timeout: count(Broken::Timeout),
            too_large: count(Broken::TooLarge),
            tls: count(Broken::Tls),
            proxy: count(Broken::Proxy),
            in_flight: count(Broken::InFlight),
            transport: count(Broken::Transport),
            unauthorized: count(Broken::Unauthorized),
        }
    }

    /// What was counted; of idempotency keys the source knows.
    pub(crate) fn http(&self) -> HttpStats {
        HttpStats {
            responses: std::array::from_fn(|class| self.responses[class].load(Ordering::Relaxed)),
            published: self.published.load(Ordering::Relaxed),
            duplicates: self.duplicates.load(Ordering::Relaxed),
            publish_forbidden: self.publish_forbidden.load(Ordering::Relaxed),
            ..HttpStats::default()
        }
    }
}
