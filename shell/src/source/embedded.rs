//! The embedded source: messages published to this process. It numbers them by way of the Feed and
//! keeps nothing.

use odin_core::config::FeedConfig;
use odin_core::feed::{Command, Outcome};
use tokio::sync::{mpsc, oneshot};

use super::publisher::Request;
use super::{Message, Publisher, Upstream, UpstreamEvent};

/// Messages that wait to be taken; a publisher beyond it waits.
const WAITING_MAX: usize = 1024;

/// The embedded source. It ends when the last [`Publisher`] is gone.
pub struct Embedded {
    requests: mpsc::Receiver<Request>,
    connected: bool,
    /// Who waits for the message that was given last.
    waiting: Option<oneshot::Sender<Outcome>>,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}

impl Embedded {
    /// The source and the handle that publishes to it.
    #[must_use]
    pub fn new(config: &FeedConfig) -> (Self, Publisher) {
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        let source = Self {
            requests,
            connected: false,
            waiting: None,
        };
        (
            source,
            Publisher::embedded(sender, config.payload_bytes_max),
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
        let request = self.requests.recv().await?;
        self.waiting = Some(request.reply);
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
        if let Some(waiting) = self.waiting.take() {
            // A publisher that has gone away does not want to know.
            let _ = waiting.send(outcome);
        }
    }
}
