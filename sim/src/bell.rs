//! Waking who waits for a change, in the order in which they began to wait.
//!
//! tokio's `watch` channel spreads those who wait over eight lists at random, and wakes list by list; two
//! runs of one seed would differ.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// Something that rings. Clones are the same bell.
#[derive(Clone, Debug, Default)]
pub struct Bell(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    rings: Cell<u64>,
    notify: Notify,
}

impl Bell {
    /// Wakes everybody who listens.
    pub fn ring(&self) {
        self.0.rings.set(self.0.rings.get() + 1);
        self.0.notify.notify_waiters();
    }

    /// An ear that hears what rings from now on.
    #[must_use]
    pub fn ear(&self) -> Ear {
        Ear {
            heard: self.0.rings.get(),
            bell: self.clone(),
        }
    }
}

/// Hears a [`Bell`], also what rang while nobody listened.
#[derive(Debug)]
pub struct Ear {
    bell: Bell,
    heard: u64,
}

impl Ear {
    /// Waits until it rang since the last call. Cancel safe.
    pub async fn rung(&mut self) {
        loop {
            let notified = self.bell.0.notify.notified();
            let mut notified = std::pin::pin!(notified);
            notified.as_mut().enable();
            let rings = self.bell.0.rings.get();
            if rings != self.heard {
                self.heard = rings;
                return;
            }
            notified.await;
        }
    }

    /// What rang so far does not count.
    pub fn forget(&mut self) {
        self.heard = self.bell.0.rings.get();
    }
}
