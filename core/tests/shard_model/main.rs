//! Whatever happens in whatever order, every client can account for every message.

#[path = "../support/mod.rs"]
mod support;

mod model;

use std::time::Duration;

use odin_core::config::{Coalesce, Config};
use odin_core::reason::{CloseReason, LostReason, ResetReason};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};

use self::model::{Entry, Model, Truth};
use self::support::{C, EPOCH, World};

const CHANNELS: [&str; 5] = ["P.a", "P.b", "Q.a", "Q.b", "R"];
const NAMES: [&str; 9] = ["P.a", "P.b", "Q.a", "Q.b", "R", "P.*", "*.a", "Q.>", ">"];
const CLIENTS: usize = 3;

#[derive(Clone, Debug)]
enum Op {
    Publish(&'static str),
    Burst(&'static str, usize),
    LoseOne(&'static str),
    Lose(u64),
    LoseUnknown,
    Evict(u64),
    Reset(Vec<&'static str>),
    Ready,
    Subscribe(usize, Vec<&'static str>, Options),
    Unsubscribe(usize, &'static str),
    Replay(usize, &'static str, u64),
    Room(usize, usize),
    Unstall(usize),
    Chunk(usize, usize),
    Reconnect(usize, Options),
    Wait(u64),
}

#[derive(Clone, Debug)]
struct Options {
    latest: bool,
    snapshot: bool,
    go_on: bool,
}

impl Options {
    fn data(&self, channels: &Value) -> Value {
        json!({
            "channels": channels,
            "mode": if self.latest { "latest" } else { "lossless" },
            "snapshot": self.snapshot,
            "on_lost": if self.go_on { "continue" } else { "close" },
        })
    }
}

fn options() -> impl Strategy<Value = Options> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(latest, snapshot, go_on)| Options {
        latest,
        snapshot,
        go_on,
    })
}

fn op() -> impl Strategy<Value = Op> {
    let channel = || select(&CHANNELS[..]);
    let name = || select(&NAMES[..]);
    let client = || 0..CLIENTS;
    let names = || prop::collection::vec(name(), 1..3);
    prop_oneof![
        12 => channel().prop_map(Op::Publish),
        3 => (channel(), 1..20_usize).prop_map(|(channel, count)| Op::Burst(channel, count)),
        1 => channel().prop_map(Op::LoseOne),
        1 => (1..4_u64).prop_map(Op::Lose),
        1 => Just(Op::LoseUnknown),
        3 => (0..10_u64).prop_map(Op::Evict),
        1 => prop::collection::vec(channel(), 0..4).prop_map(Op::Reset),
        2 => Just(Op::Ready),
        6 => (client(), names(), options()).prop_map(|(c, n, o)| Op::Subscribe(c, n, o)),
        2 => (client(), name()).prop_map(|(c, n)| Op::Unsubscribe(c, n)),
        3 => (client(), channel(), 1..30_u64).prop_map(|(c, n, from)| Op::Replay(c, n, from)),
        5 => (client(), 0..400_usize).prop_map(|(c, bytes)| Op::Room(c, bytes)),
        4 => client().prop_map(Op::Unstall),
        1 => (client(), select(&[1, 7, 100, usize::MAX][..])).prop_map(|(c, n)| Op::Chunk(c, n)),
        3 => (client(), options()).prop_map(|(c, o)| Op::Reconnect(c, o)),
        2 => select(&[1, 5, 5_000, 61_000][..]).prop_map(Op::Wait),
    ]
}

struct Run {
    world: World,
    truth: Truth,
    models: Vec<Model>,
    conns: Vec<C>,
    stalled: Vec<bool>,
    ready: bool,
    head: u64,
    /// For how long messages may be held back.
    window: Duration,
}

impl Run {
    fn new(log_messages: u32, last_value_bytes: usize, window: Duration) -> Self {
        let mut world = World::cold(Config {
            log_messages,
            last_value_bytes,
            message_rate: 0,
            ping_interval: Duration::ZERO,
            idle_timeout: Duration::ZERO,
            write_stall: Duration::ZERO,
            ..Config::default()
        });
        world.shard.coalesce(&Coalesce {
            all: window,
            channels: vec![
                ("P.*".to_owned(), window / 4),
                ("R".to_owned(), Duration::ZERO),
            ],
            bytes_max: 4_000,
        });
        world.source_ready(EPOCH, true, 0, 0);
        Self {
            conns: (0..CLIENTS).map(|_| world.open()).collect(),
            world,
            truth: Truth {
                epoch: 1,
                keeps_values: last_value_bytes > 10_000,
                ..Truth::default()
            },
            models: (0..CLIENTS).map(|_| Model::default()).collect(),
            stalled: vec![false; CLIENTS],
            ready: true,
            head: 0,
            window,
        }
    }

    fn note(&mut self, channel: &str, is_lost: bool, is_snapshot: bool) {
        let seq = self.head;
        let entries = self.truth.channels.entry(channel.to_owned()).or_default();
        let prev = entries.last().map_or(0, |entry| entry.seq);
        entries.push(Entry {
            seq,
            prev: (!is_snapshot).then_some(prev),
            is_lost,
        });
    }

    fn publish(&mut self, channel: &str) {
        self.head += 1;
        self.note(channel, false, false);
        self.world.publish(channel);
    }

    fn say(&mut self, client: usize, request: Value) {
        if !self.world.wants_read(self.conns[client]) {
            return;
        }
        let request = self.models[client].ask(request);
        if request["type"] == "replay" {
            self.models[client].begin_replay(&request);
        }
        self.world.say(self.conns[client], request);
    }

    fn reset(&mut self, values: &[&'static str]) {
        self.truth.epoch += 1;
        self.truth.channels.clear();
        self.head = 0;
        self.ready = false;
        let epoch = self.truth.epoch_name();
        self.world.reset(&epoch, ResetReason::StreamRecreated);
        let mut values = values.to_vec();
        values.sort_unstable();
        values.dedup();
        for channel in values {
            self.head += 2;
            self.note(channel, false, true);
            self.world.snapshot(channel, self.head);
        }
    }

    fn get_ready(&mut self) {
        if !self.ready {
            self.ready = true;
            let epoch = self.truth.epoch_name();
            self.world.source_ready(&epoch, true, self.head, self.head);
        }
    }

    fn reconnect(&mut self, client: usize, options: &Options) {
        self.world
            .hang_up(self.conns[client], CloseReason::Transport);
        self.world.take(self.conns[client]);
        self.conns[client] = self.world.open();
        self.stalled[client] = false;
        let epoch = self.models[client].epoch.clone();
        let subs = self.models[client].disconnect();
        let names: Vec<&str> = subs.iter().map(|(name, _)| name.as_str()).collect();
        let mut data = options.data(&json!(names));
        if let Some(epoch) = epoch {
            let known = subs
                .iter()
                .filter_map(|(name, sub)| Some((name.clone(), json!(sub.last?))));
            let positions: serde_json::Map<String, Value> = known.collect();
            data["resume"] = json!({"epoch": epoch, "positions": positions});
        }
        if !names.is_empty() {
            self.say(client, json!({"type":"subscribe","data":data}));
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Publish(channel) if self.ready => self.publish(channel),
            Op::Burst(channel, count) if self.ready => {
                for _ in 0..*count {
                    self.publish(channel);
                }
            }
            Op::LoseOne(channel) if self.ready => {
                self.head += 1;
                self.note(channel, true, false);
                self.world.lose_one(channel, LostReason::TooLarge);
            }
            Op::Lose(count) if self.ready => {
                self.head += count;
                self.world.lose(Some(self.head), LostReason::Discarded);
            }
            Op::LoseUnknown if self.ready => self.world.lose(None, LostReason::Reconnected),
            Op::Evict(keep) => self.world.evict_all_but(*keep),
            Op::Reset(values) => self.reset(values),
            Op::Ready => self.get_ready(),
            Op::Subscribe(client, names, options) => {
                let data = options.data(&json!(names));
                self.say(*client, json!({"type":"subscribe","data":data}));
            }
            Op::Unsubscribe(client, name) => {
                self.say(
                    *client,
                    json!({"type":"unsubscribe","data":{"channels":[name]}}),
                );
            }
            Op::Replay(client, channel, from) => {
                let data = json!({"channel":channel,"from":from});
                self.say(*client, json!({"type":"replay","data":data}));
            }
            Op::Room(client, bytes) => {
                self.stalled[*client] = true;
                self.world.room(self.conns[*client], *bytes);
            }
            Op::Unstall(client) => {
                self.stalled[*client] = false;
                self.world.unstall(self.conns[*client]);
            }
            Op::Chunk(client, bytes) => self.world.chunk(self.conns[*client], *bytes),
            Op::Reconnect(client, options) => self.reconnect(*client, options),
            Op::Wait(ms) => self.world.advance_ms(*ms),
            _ => {}
        }
    }

    /// Everyone reads what there is; who was closed comes back.
    fn settle(&mut self) {
        let is_open = self.window_is_open();
        for client in 0..CLIENTS {
            self.receive(client);
            while self.models[client].closed {
                let back = Options {
                    latest: false,
                    snapshot: false,
                    go_on: true,
                };
                self.reconnect(client, &back);
                self.receive(client);
            }
            if !self.stalled[client] && !is_open {
                self.models[client].check_live(&self.truth);
            }
        }
    }

    /// Whether messages may be held back now: nothing else is due so soon.
    fn window_is_open(&self) -> bool {
        let due = self.world.shard.poll_timeout();
        due.is_some_and(|due| due <= self.world.now + self.window)
    }

    fn receive(&mut self, client: usize) {
        for message in self.world.take(self.conns[client]) {
            self.models[client].receive(&self.truth, &message);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 3_000,
        // The same cases every time; PROPTEST_RNG_SEED and PROPTEST_CASES go further.
        rng_seed: seed(),
        ..ProptestConfig::with_cases(400)
    })]

    #[test]
    fn every_client_can_account_for_every_message(
        ops in prop::collection::vec(op(), 1..120),
        log_messages in select(&[1, 3, 10, 1_000][..]),
        last_value_bytes in select(&[1, 200, 1_000_000][..]),
        window_ms in select(&[0, 0, 20][..]),
    ) {
        let window = Duration::from_millis(window_ms);
        let mut run = Run::new(log_messages, last_value_bytes, window);
        for op in &ops {
            run.apply(op);
            run.settle();
        }
        run.get_ready();
        for client in 0..CLIENTS {
            run.apply(&Op::Unstall(client));
        }
        run.settle();
        for channel in CHANNELS {
            run.publish(channel);
        }
        run.world.advance(window);
        prop_assert!(!run.window_is_open());
        run.settle();
    }
}

/// The seed of the cases, if nobody asks for another.
fn seed() -> RngSeed {
    match ProptestConfig::default().rng_seed {
        RngSeed::Random => RngSeed::Fixed(1),
        asked => asked,
    }
}
