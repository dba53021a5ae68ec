//! What a stream holds, for shards that ask for history. Shares nothing with the pages but their meaning.

use std::collections::BTreeMap;
use std::sync::Arc;

use odin_core::config::Config;
use odin_core::history::{Anchor, Encoding, Extent, Fetch, PAGE_MESSAGES_MAX, Page, Stored};
use odin_core::name;
use odin_core::reason::ResetReason;
use odin_core::shard::{Input, Shard};
use odin_core::wire::event;
use serde_json::{Value, json};

use super::{C, EPOCH, World, msg, ts};

/// When the stream of a [`Past`] was created.
pub const CREATED: u64 = 77;

/// The stream's messages by seq; what is gone is `None`.
#[derive(Default)]
pub struct Past {
    pub messages: BTreeMap<u64, Option<String>>,
    /// Messages on a page.
    pub page_messages: usize,
}

impl Past {
    pub fn new() -> Self {
        Self {
            messages: BTreeMap::new(),
            page_messages: PAGE_MESSAGES_MAX,
        }
    }

    /// Stores a message of each name, in this order.
    pub fn store(&mut self, names: &[&str]) -> u64 {
        for name in names {
            let seq = self.last_seq() + 1;
            self.messages.insert(seq, Some((*name).to_owned()));
        }
        self.last_seq()
    }

    pub fn delete(&mut self, seqs: impl IntoIterator<Item = u64>) {
        for seq in seqs {
            *self.messages.get_mut(&seq).expect("it was stored") = None;
        }
    }

    pub fn last_seq(&self) -> u64 {
        self.messages.keys().next_back().copied().unwrap_or(0)
    }

    fn gone(&self, after: u64, to: u64) -> bool {
        let mut range = self.messages.range(after + 1..=to.max(after + 1));
        range.any(|(seq, name)| *seq <= to && name.is_none())
    }

    fn before(&self, subject: &str, seq: u64) -> Option<u64> {
        let mut earlier = self.messages.range(..seq).rev();
        let found = earlier.find(|(_, name)| name.as_deref() == Some(subject));
        let never = !self.gone(0, self.last_seq());
        found.map(|(seq, _)| *seq).or(never.then_some(0))
    }

    /// Every message of a channel with a seq in this range, as clients get it.
    pub fn messages_of(&self, name: &str, from: u64, to: u64) -> Vec<Value> {
        let all = self.messages.iter();
        let of_name = all.filter(|(_, found)| found.as_deref() == Some(name));
        let mut prev = 0;
        let mut found = Vec::new();
        for (seq, _) in of_name {
            if (from..=to).contains(seq) {
                found.push(msg(name, *seq, prev));
            }
            prev = *seq;
        }
        found
    }

    /// What the stream answers.
    pub fn page(&self, fetch: &Fetch) -> Arc<Page> {
        let topic = &*fetch.topic;
        let after = self.messages.range(fetch.after + 1..);
        let matching = after.filter_map(|(seq, name)| Some((*seq, name.as_deref()?)));
        let mut matching = matching.filter(|(_, name)| name::matches(topic, name));
        let found: Vec<(u64, &str)> = matching.by_ref().take(self.page_messages).collect();
        let to = match (matching.next(), found.last()) {
            (Some(_), Some((last, _))) => *last,
            _ => self.last_seq().max(fetch.after),
        };
        let payloads: Vec<String> = found.iter().map(|(seq, _)| seq.to_string()).collect();
        let stored = found
            .iter()
            .zip(&payloads)
            .map(|((seq, name), payload)| Stored {
                seq: *seq,
                prev: self.before(name, *seq),
                time: ts(*seq) * 1_000_000,
                subject: name,
                payload: payload.as_bytes(),
            });
        let anchor = match name::is_pattern(topic) {
            false => self.before(topic, fetch.after + 1).filter(|seq| *seq > 0),
            true => {
                let here = self.messages.get(&fetch.after).and_then(Option::as_ref);
                here.filter(|name| name::matches(topic, name))
                    .map(|_| fetch.after)
            }
        };
        let extent = Extent {
            created: CREATED,
            last_seq: self.last_seq(),
            to,
            intact: !self.gone(fetch.after, to),
            anchor: anchor.map(|seq| Anchor {
                seq,
                time: ts(seq) * 1_000_000,
            }),
        };
        let encoding = Encoding {
            strip: "",
            payload_bytes_max: 0,
        };
        Arc::new(Page::new(fetch, extent, &encoding, stored))
    }
}

/// A server that starts beside a stream of this content.
pub fn replica(past: &Past, config: Config) -> World {
    let mut world = World::with_history(config);
    world.found(past);
    world
}

/// Logs that soon fall behind their history.
pub fn small_log() -> Config {
    Config {
        log_messages: 4,
        ..Config::default()
    }
}

/// Asks to resume one name, without an answer yet.
pub fn ask(world: &mut World, name: &str, position: Value, options: Value) -> C {
    let client = world.open();
    let mut data = json!({"channels":[name],"resume":{"epoch":"e1","positions":{name:position}}});
    for (key, value) in options.as_object().unwrap() {
        data[key] = value.clone();
    }
    world.say(client, json!({"type":"subscribe","data":data}));
    client
}

/// The answer to [`ask`]: what follows the position is served.
pub fn recovered(name: &str, position: u64) -> Value {
    json!({"type":"subscription_ack","subscribed":[name],"count":1,"epoch":"e1","durable":true,
        "positions":{name:position},"recovered":[name],"unrecovered":[]})
}

/// The answer to [`ask`]: where the subscription begins, and why not at the position.
pub fn unrecovered(name: &str, position: u64, why: Value) -> Value {
    let mut why = why;
    why["channel"] = json!(name);
    json!({"type":"subscription_ack","subscribed":[name],"count":1,"epoch":"e1","durable":true,
        "positions":{name:position},"recovered":[],"unrecovered":[why]})
}

impl World {
    /// The source is ready, as a server finds it that starts now: with the last value of each channel.
    pub fn found(&mut self, past: &Past) {
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        for (seq, name) in &past.messages {
            if let Some(name) = name {
                newest.insert(name, *seq);
            }
        }
        let mut newest: Vec<(u64, &str)> = newest.into_iter().map(|(n, seq)| (seq, n)).collect();
        newest.sort_unstable();
        for (seq, name) in newest {
            self.snapshot(name, seq);
        }
        let head = past.last_seq();
        let whole = !past.gone(0, head);
        self.skip_to(head + 1);
        self.event(odin_core::event::Event::SourceReady(Arc::new(
            odin_core::event::SourceReady {
                epoch: EPOCH.into(),
                durable: true,
                created: CREATED,
                head,
                observed_from: if whole { 0 } else { head },
                reset_frame: event::reset(EPOCH, ResetReason::SourceReady),
            },
        )));
    }

    /// Publishes and stores a message of each name.
    pub fn publish_stored(&mut self, past: &mut Past, names: &[&str]) {
        for name in names {
            let seq = self.publish(name);
            assert_eq!(
                past.store(&[name]),
                seq,
                "the test's stream is the server's"
            );
        }
    }

    /// Answers the oldest fetch: what it asked for.
    pub fn answer(&mut self, page: Option<Arc<Page>>) -> Fetch {
        let fetch = self.fetches.pop_front().expect("a fetch");
        let request = fetch.request;
        self.input(Input::History { request, page });
        let twin = Shard::restore(&self.shard.checkpoint()).expect("a checkpoint");
        assert_eq!(twin.state_hash(), self.shard.state_hash());
        fetch
    }

    /// Answers whatever is asked, until nothing is: the topics and seqs that were asked for.
    pub fn answer_all(&mut self, past: &Past) -> Vec<(String, u64)> {
        let mut asked = Vec::new();
        while let Some(fetch) = self.fetches.front() {
            asked.push((fetch.topic.to_string(), fetch.after));
            let page = past.page(fetch);
            self.answer(Some(page));
            assert!(asked.len() < 10_000, "the asking comes to an end");
        }
        asked
    }
}
