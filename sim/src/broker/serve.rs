//! The broker's host: it publishes, and serves each server's questions and its one consumer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use odin_core::history::{Extent, PAGE_MESSAGES_MAX};
use odin_shell::listener::Listener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::wire::{Ask, PastMessage, Say};
use super::{PORT, PREFIX, SharedBroker};
use crate::bell::Ear;
use crate::jetstream::{COUNTED_AFTER, Consumer, Stream};
use crate::net::{Network, SimStream};
use crate::past::Past;

/// How often messages are published.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(5);
/// How often a consumer without messages says so.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long a server may say nothing, or take nothing, before it counts as gone.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Messages that are delivered before questions are looked at.
const BATCH: usize = 64;

/// The broker's software. Runs until its host is crashed.
///
/// # Errors
/// When it cannot listen.
pub async fn run(network: Network, broker: SharedBroker) -> io::Result<()> {
    let mut listener = network.listen(PORT).await?;
    tokio::task::spawn_local(publish(broker.clone()));
    loop {
        let (socket, _) = listener.accept().await?;
        let news = broker.borrow().news.ear();
        let session = Session {
            socket,
            broker: broker.clone(),
            news,
            out: BytesMut::new(),
            consumer: None,
            fetching: None,
        };
        tokio::task::spawn_local(session.run());
    }
}

async fn publish(broker: SharedBroker) {
    let mut ticks = tokio::time::interval(PUBLISH_INTERVAL);
    let mut due = 0;
    let mut counted = Instant::now();
    loop {
        let now = ticks.tick().await;
        let mut broker = broker.borrow_mut();
        if now >= counted + COUNTED_AFTER {
            counted = now;
            broker.stream.count();
        }
        due += broker.load.rate * 5;
        let published = due >= 1000;
        while due >= 1000 {
            due -= 1000;
            broker.publish();
        }
        if published {
            broker.announce();
        }
    }
}

/// A server's connection.
struct Session {
    socket: SimStream,
    broker: SharedBroker,
    news: Ear,
    out: BytesMut,
    consumer: Option<Consumer>,
    /// The question that asked for messages.
    fetching: Option<u64>,
}

impl Session {
    async fn run(mut self) {
        let mut inbound = BytesMut::new();
        let mut heard = Instant::now();
        let mut told = Instant::now();
        loop {
            self.news.forget();
            let more = self.deliver();
            if !self.out.is_empty() {
                told = Instant::now();
                let sent = self.socket.write_all_buf(&mut self.out);
                let Ok(Ok(())) = tokio::time::timeout(SILENCE_MAX, sent).await else {
                    return;
                };
            }
            let something_new = async {
                if !more {
                    self.news.rung().await;
                }
            };
            tokio::select! {
                biased;
                read = self.socket.read_buf(&mut inbound) => match read {
                    Ok(count) if count > 0 => heard = Instant::now(),
                    Ok(_) | Err(_) => return,
                },
                () = something_new => {}
                () = tokio::time::sleep_until(told + HEARTBEAT) => {
                    told = Instant::now();
                    if let Some(id) = self.fetching {
                        Say::Heartbeat { id }.encode(&mut self.out);
                    }
                }
            }
            if heard.elapsed() > SILENCE_MAX {
                return;
            }
            while let Some(ask) = Ask::decode(&mut inbound) {
                self.answer(ask);
            }
        }
    }

    fn answer(&mut self, ask: Ask) {
        let mut broker = self.broker.borrow_mut();
        let say = match ask {
            Ask::Info { id } => Say::Info {
                id,
                info: broker.stream.info(),
            },
            Ask::Open { id, policy } => {
                let consumer = Consumer::open(&broker.stream, policy);
                let pending = consumer.pending(&broker.stream);
                self.consumer = Some(consumer);
                self.fetching = None;
                Say::Opened { id, pending }
            }
            Ask::Fetch { id } => {
                self.fetching = Some(id);
                return;
            }
            Ask::Tail { id } => {
                let consumer = self.consumer.as_ref();
                match consumer.and_then(|consumer| consumer.tail(&broker.stream)) {
                    Some(tail) => Say::Tail { id, tail },
                    // The source leaves it at that: what becomes of the consumer shows when it is read.
                    None => return,
                }
            }
            Ask::Deleted { id, range } => Say::Deleted {
                id,
                to: range.to,
                ranges: broker.stream.missing(range),
            },
            Ask::Write { id, nonce } => {
                broker.stream.set_nonce(nonce);
                Say::Written { id }
            }
            Ask::Past { id, after, topic } => {
                let (extent, messages) = past(&broker.stream, &topic, after);
                Say::Past {
                    id,
                    extent,
                    messages,
                }
            }
            Ask::Ping => Say::Pong,
        };
        say.encode(&mut self.out);
    }

    /// Puts a batch of messages into the buffer. True: there are more.
    fn deliver(&mut self) -> bool {
        let (Some(id), Some(consumer)) = (self.fetching, &mut self.consumer) else {
            return false;
        };
        let mut broker = self.broker.borrow_mut();
        for _ in 0..BATCH {
            let delivery = match consumer.next(&broker.stream) {
                Ok(Some(delivery)) => delivery,
                Ok(None) => return false,
                Err(_) => {
                    self.fetching = None;
                    self.consumer = None;
                    Say::Failed { id }.encode(&mut self.out);
                    return false;
                }
            };
            let permille = broker.drop_permille;
            if permille > 0 && broker.dice.permille(permille) {
                continue;
            }
            let say = Say::Message {
                id,
                numbers: [
                    delivery.seq,
                    delivery.place,
                    delivery.pending,
                    delivery.stored.time,
                ],
                subject: delivery.stored.subject,
                payload: delivery.stored.payload,
            };
            say.encode(&mut self.out);
        }
        true
    }
}

/// What the stream holds of a topic after a seq.
fn past(stream: &Stream, topic: &str, after: u64) -> (Extent, Vec<PastMessage>) {
    let past = Past {
        created: stream.created(),
        last_seq: stream.last_seq(),
        strip: PREFIX,
        payload_bytes_max: 0,
        messages_max: PAGE_MESSAGES_MAX,
    };
    let (extent, stored) = past.read(topic, after, stream.held());
    let messages = stored.into_iter().filter_map(|stored| {
        let held = stream.get(stored.seq)?;
        Some(PastMessage {
            seq: stored.seq,
            prev: stored.prev,
            time: stored.time,
            subject: Arc::clone(&held.subject),
            payload: held.payload.clone(),
        })
    });
    (extent, messages.collect())
}
