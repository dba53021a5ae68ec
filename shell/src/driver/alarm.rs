//! A moment that the loop waits for beside everything else.

use std::pin::Pin;
use std::time::Duration;

use odin_core::time::Instant;
use tokio::time::Sleep;

use crate::server::shared::Shared;

/// The timer is left alone while it is set to the same moment again.
pub(super) struct Alarm {
    sleep: Pin<Box<Sleep>>,
    at: Option<Instant>,
}

impl Alarm {
    pub(super) fn new() -> Self {
        let sleep = Box::pin(tokio::time::sleep(Duration::ZERO));
        Self { sleep, at: None }
    }

    pub(super) fn set(&mut self, shared: &Shared, at: Option<Instant>) {
        if self.at != at
            && let Some(at) = at
        {
            self.sleep.as_mut().reset(shared.tokio_instant(at));
        }
        self.at = at;
    }

    pub(super) fn is_set(&self) -> bool {
        self.at.is_some()
    }

    /// Waits until it is time; for ever, while it is not set.
    pub(super) async fn rings(&mut self) {
        if self.at.is_none() {
            std::future::pending::<()>().await;
        }
        self.sleep.as_mut().await;
        self.at = None;
    }
}
