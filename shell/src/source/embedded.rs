//! The embedded source: messages published to this process. It numbers them by way of the Feed and
//! keeps nothing.

use odin_core::config::FeedConfig;
use odin_core::feed::{Command, Outcome};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::publisher::{Answer, Request};
use super::window::{Keys, Window};
use super::{Message, Publisher, Upstream, UpstreamEvent};

/// Messages that wait to be taken; a publisher beyond it waits.
const WAITING_MAX: usize = 1024;

/// The embedded source. It ends when the last [`Publisher`] is gone.
pub struct Embedded {
    requests: mpsc::Receiver<Request>,
    connected: bool,
    /// Who waits for the message that was given last, and the key of that.
    waiting: Option<(oneshot::Sender<Answer>, Option<String>)>,
    keys: Keys,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}

impl Embedded {
    /// The source and the handle that publishes to it, with the default [`Window`].
    #[must_use]
    pub fn new(config: &FeedConfig) -> (Self, Publisher) {
        Self::with_window(config, Window::default())
    }

    /// The source and the handle that publishes to it.
    #[must_use]
    pub fn with_window(config: &FeedConfig, window: Window) -> (Self, Publisher) {
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        let keys = Keys::new(window);
        let counts = keys.counts();
        let source = Self {
            keys,
            requests,
            connected: false,
            waiting: None,
        };
        (
            source,
            Publisher::embedded(sender, counts, config.payload_bytes_max),
        )
    }
}

impl Upstream for Embedded {
    const CAN_WAIT: bool = true;

    async fn next(&mut self) -> Option<UpstreamEvent> {
        if !self.connected {
            self.connected = true;
            return Some(UpstreamEvent::Connected);
        }
        let request = loop {
            let request = self.requests.recv().await?;
            let key = request.key.as_deref();
            match key.and_then(|key| self.keys.find(Instant::now(), key)) {
                None => break request,
                // A publisher that has gone away does not want to know, here and below.
                Some(seq) => {
                    let _ = request.reply.send(Answer::Duplicate(seq));
                }
            }
        };
        self.waiting = Some((request.reply, request.key));
        Some(UpstreamEvent::Message(Message {
            stream_seq: 0,
            consumer_seq: 0,
            pending: 0,
            time: request.time,
            subject: request.subject,
            payload: request.payload,
        }))
    }

    /// The Feed gives this source no commands.
    fn carry_out(&mut self, _command: Command) {}

    fn settled(&mut self, outcome: Outcome) {
        if let Some((waiting, key)) = self.waiting.take() {
            if let (Outcome::Published(seq), Some(key)) = (&outcome, key) {
                self.keys.insert(Instant::now(), key, *seq);
            }
            let _ = waiting.send(Answer::Settled(outcome));
        }
    }
}
