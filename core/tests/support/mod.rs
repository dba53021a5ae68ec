//! Drives a shard as a server does: a publisher in the Feed's place, clients with sockets that can
//! be full, and simulated time.
//!
//! Everything that comes out is checked: what a client received must be expected, message by message,
//! and so must every [`Output`]; what is left over at the end fails the test. Beside that every pump
//! holds the shard to the rules of its API: the bounds of a transmit, bytes and messages counted as
//! the sockets took them, and a next deadline that is never in the past.
//!
//! Control frames stand among the messages as `{"close":code,"reason":".."}`, `{"ping":".."}` and
//! `{"pong":".."}`.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test file uses its own part of this"
)]

mod client;
mod messages;
mod past;
mod publisher;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use odin_core::config::Config;
use odin_core::history::Fetch;
use odin_core::id::ConnId;
use odin_core::reason::CloseReason;
use odin_core::shard::{Grant, Input, Message, Output, Shard};
use odin_core::stats::Stats;
use odin_core::time::Instant;
use serde_json::{Value, json};

use self::client::Client;
pub use self::messages::*;
pub use self::past::*;

/// The epoch of [`World::new`].
pub const EPOCH: &str = "e1";

/// A client of a [`World`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct C(pub usize);

/// A shard and all around it.
pub struct World {
    pub shard: Shard,
    pub now: Instant,
    /// Whether what is ready is written after every input.
    pub pumping: bool,
    /// The Feed's last place and seq.
    order: u64,
    seq: u64,
    /// The Feed's number and the last seq of each channel.
    channels: BTreeMap<String, (u32, u64)>,
    clients: Vec<Client>,
    outputs: VecDeque<Output>,
    /// What was asked of the past and not answered yet.
    pub fetches: VecDeque<Fetch>,
    bytes_taken: u64,
    messages_taken: u64,
}

impl World {
    /// A shard with these limits whose source is not ready, and has no history to ask for.
    pub fn cold(config: Config) -> Self {
        Self::with_history(Config {
            history_bytes: 0,
            ..config
        })
    }

    /// A shard with these limits whose source is not ready. What it asks of the past is in
    /// [`Self::fetches`].
    pub fn with_history(config: Config) -> Self {
        Self {
            shard: Shard::new(config, 1),
            now: Instant::ZERO,
            pumping: true,
            order: 0,
            seq: 0,
            channels: BTreeMap::new(),
            clients: Vec::new(),
            outputs: VecDeque::new(),
            fetches: VecDeque::new(),
            bytes_taken: 0,
            messages_taken: 0,
        }
    }

    /// A shard with these limits whose source is ready: durable, and nothing was ever deleted.
    pub fn with(config: Config) -> Self {
        let mut world = Self::cold(config);
        world.source_ready(EPOCH, true, 0, 0);
        world
    }

    /// The same with the default limits.
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    // The clients' part.

    /// A new connection, its welcome not yet expected.
    pub fn open_raw(&mut self) -> C {
        let id = self.shard.open(self.now);
        self.clients.push(Client::new(id));
        self.pump();
        C(self.clients.len() - 1)
    }

    /// A new connection whose token was verified with its upgrade, nothing of it expected yet.
    pub fn open_granted(&mut self, grant: Grant) -> C {
        let id = self.shard.open_as(self.now, grant);
        self.clients.push(Client::new(id));
        self.pump();
        C(self.clients.len() - 1)
    }

    /// A new connection that was welcomed.
    pub fn open(&mut self) -> C {
        let client = self.open_raw();
        let welcome = self.clients[client.0].got.pop_front().expect("a welcome");
        assert_eq!(welcome["type"], "welcome");
        client
    }

    /// A new connection with these subscriptions (the `data` of the request), acked.
    pub fn subscriber(&mut self, data: Value) -> C {
        let client = self.open();
        self.subscribe(client, data);
        client
    }

    /// Subscribes, takes the ack off what was received, and gives it.
    pub fn subscribe(&mut self, client: C, data: Value) -> Value {
        self.say(client, json!({"type":"subscribe","data":data}));
        let ack = self.clients[client.0].got.pop_front().expect("an ack");
        assert_eq!(ack["type"], "subscription_ack", "{ack}");
        ack
    }

    pub fn id(&self, client: C) -> ConnId {
        self.clients[client.0].id
    }

    pub fn input(&mut self, input: Input<'_>) {
        self.shard.handle(self.now, input);
        self.pump();
    }

    pub fn message(&mut self, client: C, message: Message<'_>) {
        let conn = self.id(client);
        self.input(Input::Message { conn, message });
    }

    /// A text message of a client that the shard wants to read from.
    pub fn say(&mut self, client: C, request: Value) {
        assert!(self.wants_read(client), "this client is not read from");
        self.message(client, Message::Text(&request.to_string()));
    }

    pub fn wants_read(&self, client: C) -> bool {
        self.shard.wants_read(self.id(client))
    }

    /// The socket takes so many bytes more, and no more.
    pub fn room(&mut self, client: C, bytes: usize) {
        self.clients[client.0].room = bytes;
        self.pump();
    }

    /// The client stops reading and its buffers are full.
    pub fn stall(&mut self, client: C) {
        self.clients[client.0].room = 0;
    }

    /// The client reads again.
    pub fn unstall(&mut self, client: C) {
        self.room(client, usize::MAX);
    }

    /// Every write takes at most so many bytes, then the socket is full for a moment.
    pub fn chunk(&mut self, client: C, bytes: usize) {
        self.clients[client.0].chunk = bytes;
    }

    /// The socket is said to be writable though it takes nothing.
    pub fn wake_falsely(&mut self, client: C) {
        self.clients[client.0].full = false;
        let conn = self.id(client);
        self.input(Input::Writable { conn });
    }

    /// The client's socket is gone.
    pub fn hang_up(&mut self, client: C, reason: CloseReason) {
        self.clients[client.0].gone = true;
        let conn = self.id(client);
        self.input(Input::Closed { conn, reason });
    }

    /// Takes all that a client received.
    pub fn take(&mut self, client: C) -> Vec<Value> {
        self.clients[client.0].got.drain(..).collect()
    }

    /// What a client received since it was last asked is exactly this, and nothing else is to be done.
    #[track_caller]
    pub fn expect(&mut self, client: C, expected: &[Value]) {
        let got = self.take(client);
        let show = |values: &[Value]| {
            let lines: Vec<String> = values.iter().map(Value::to_string).collect();
            format!("\n  {}", lines.join("\n  "))
        };
        assert!(
            got == expected,
            "client {} got{}\nnot{}",
            client.0,
            show(&got),
            show(expected)
        );
        self.expect_no_output();
    }

    #[track_caller]
    pub fn expect_nothing(&mut self, client: C) {
        self.expect(client, &[]);
    }

    #[track_caller]
    pub fn expect_no_output(&self) {
        assert!(self.outputs.is_empty(), "unexpected {:?}", self.outputs);
    }

    /// The next output drops this client's socket; the driver does so.
    #[track_caller]
    pub fn expect_drop(&mut self, client: C, reason: CloseReason) {
        let conn = self.id(client);
        let output = self.outputs.pop_front();
        assert_eq!(output, Some(Output::Close { conn, reason }));
        self.hang_up(client, CloseReason::Transport);
    }

    // Time and the pump.

    /// Lets time pass, with every deadline met on the way at its own moment.
    pub fn advance(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.shard.poll_timeout()
            && at <= end
        {
            self.now = self.now.max(at);
            self.shard.handle_timeout(self.now);
            let next = self.shard.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "nothing stays due");
            self.pump();
        }
        self.now = end;
    }

    pub fn advance_ms(&mut self, ms: u64) {
        self.advance(Duration::from_millis(ms));
    }

    /// Does all there is to do, unless [`Self::pumping`] is off.
    pub fn pump(&mut self) {
        let mut turns = 0;
        while self.pumping {
            turns += 1;
            assert!(turns < 50_000, "the shard comes to rest");
            while let Some(output) = self.shard.poll_output() {
                match output {
                    Output::FetchHistory(fetch) => self.fetches.push_back(fetch),
                    Output::Close { .. } => self.outputs.push_back(output),
                }
            }
            if let Some(conn) = self.shard.poll_ready() {
                self.transmit(conn);
            } else if let Some(client) = self.clients.iter_mut().find(|client| client.is_writable())
            {
                client.full = false;
                let conn = client.id;
                self.shard.handle(self.now, Input::Writable { conn });
            } else {
                break;
            }
        }
        let stats = self.shard.stats();
        assert_eq!(stats.bytes_sent, self.bytes_taken, "bytes_sent");
        assert_eq!(stats.messages_sent, self.messages_taken, "messages_sent");
    }

    /// Writes once to the connection that is ready.
    fn transmit(&mut self, conn: ConnId) {
        let transmit = self.shard.transmit(self.now, conn);
        let slices: Vec<Vec<u8>> = self.shard.slices().map(<[u8]>::to_vec).collect();
        let client = self.clients.iter_mut().find(|client| client.id == conn);
        let client = client.expect("only living connections are ready");
        assert!(
            !client.gone && !client.full,
            "a full socket is not written to"
        );
        if transmit.bytes == 0 {
            return;
        }
        let bytes = slices.concat();
        assert_eq!(
            (transmit.bytes, transmit.slices),
            (bytes.len(), slices.len())
        );
        assert!(transmit.slices <= Shard::SLICES_MAX);
        assert!(transmit.bytes <= Shard::TRANSMIT_BYTES_MAX || transmit.slices == 1);
        let taken = client.write(&bytes);
        self.messages_taken += client.decode();
        self.bytes_taken += taken as u64;
        self.shard
            .handle(self.now, Input::Written { conn, bytes: taken });
    }

    pub fn stats(&self) -> Stats {
        self.shard.stats()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        for (index, client) in self.clients.iter().enumerate() {
            assert!(
                client.got.is_empty(),
                "client {index} also got {:?}",
                client.got
            );
        }
        self.expect_no_output();
    }
}
