//! A server's questions about the past, over a connection of their own to the simulated broker.

use std::time::Duration;

use bytes::BytesMut;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use odin_core::history::{Encoding, Fetch, Page, Stored};
use odin_shell::source::history::History;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};

use super::wire::{Ask, Say};
use super::{HOST, PORT, PREFIX};
use crate::net::{Network, SimStream};

/// How long a connection, or an answer, may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);

type Question = (Fetch, oneshot::Sender<Option<Page>>);

/// The history of a simulated server.
#[derive(Debug)]
pub struct SimHistory {
    questions: mpsc::UnboundedSender<Question>,
}

impl SimHistory {
    /// Answers in a task of the host at hand. `payload_bytes_max`: the largest payload that is passed on.
    #[must_use]
    pub fn new(network: Network, payload_bytes_max: usize) -> Self {
        let (questions, inbox) = mpsc::unbounded_channel();
        let asker = Asker {
            network,
            payload_bytes_max,
            inbound: BytesMut::new(),
            socket: None,
        };
        tokio::task::spawn_local(asker.run(inbox));
        Self { questions }
    }
}

impl History for SimHistory {
    fn fetch(&self, fetch: Fetch) -> BoxFuture<'_, Option<Page>> {
        let (answer, answered) = oneshot::channel();
        // The task ends with its host, and this with it.
        let _ = self.questions.send((fetch, answer));
        async move { answered.await.ok().flatten() }.boxed()
    }
}

struct Asker {
    network: Network,
    payload_bytes_max: usize,
    inbound: BytesMut,
    /// Closed when an answer does not come: what comes late is no answer to the next question.
    socket: Option<SimStream>,
}

impl Asker {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Question>) {
        while let Some((fetch, answer)) = inbox.recv().await {
            let asked = tokio::time::timeout(ANSWER_TIME_MAX, self.ask(&fetch)).await;
            let page = asked.ok().flatten();
            let failed = page.is_none();
            // Who asked may be gone.
            let _ = answer.send(page);
            if failed {
                self.socket = None;
                // The others that wait would wait in vain as long.
                while let Ok((_, answer)) = inbox.try_recv() {
                    let _ = answer.send(None);
                }
            }
        }
    }

    async fn ask(&mut self, fetch: &Fetch) -> Option<Page> {
        // The broker closes what was quiet for long.
        if self.socket.is_some()
            && let Some(page) = self.exchange(fetch).await
        {
            return Some(page);
        }
        self.inbound.clear();
        self.socket = Some(self.network.connect(HOST, PORT).await.ok()?);
        self.exchange(fetch).await
    }

    async fn exchange(&mut self, fetch: &Fetch) -> Option<Page> {
        let socket = self.socket.as_mut()?;
        let mut out = BytesMut::new();
        let ask = Ask::Past {
            id: fetch.request,
            after: fetch.after,
            topic: fetch.topic.clone(),
        };
        ask.encode(&mut out);
        socket.write_all_buf(&mut out).await.ok()?;
        loop {
            match Say::decode(&mut self.inbound) {
                Some(Say::Past {
                    extent, messages, ..
                }) => {
                    let encoding = Encoding {
                        strip: PREFIX,
                        payload_bytes_max: self.payload_bytes_max,
                    };
                    let stored = messages.iter().map(|message| Stored {
                        seq: message.seq,
                        prev: message.prev,
                        time: message.time,
                        subject: &message.subject,
                        payload: &message.payload,
                    });
                    return Some(Page::new(fetch, extent, &encoding, stored));
                }
                Some(_) => {}
                None => {
                    let count = socket.read_buf(&mut self.inbound).await.ok()?;
                    if count == 0 {
                        return None;
                    }
                }
            }
        }
    }
}
