//! A WebSocket client that checks what it is sent: the chain of `prev`, in every message.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use odin_core::name;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

/// How long a client waits for something that must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a client was sent.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Event {
    /// A text message.
    Json(Value),
    /// A close frame with its code.
    Closed(u16),
    /// The end of the stream, without a close frame.
    Gone,
}

impl Event {
    /// The message, which it must be.
    #[track_caller]
    pub(crate) fn json(self) -> Value {
        match self {
            Self::Json(value) => value,
            other => panic!("expected a message, got {other:?}"),
        }
    }
}

/// A connected client.
pub(crate) struct Client {
    ws: WebSocketStream<TcpStream>,
    /// The `welcome`.
    pub(crate) welcome: Value,
    /// What it has of each channel.
    pub(crate) chain: Chain,
}

impl Client {
    /// Connects and takes the welcome.
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let mut client = Self::connect_with(addr, |_| ()).await;
        client.welcome = client.next().await.json();
        assert_eq!(client.welcome["type"], "welcome");
        client
    }

    /// Connects a socket that was set up first, and reads nothing.
    pub(crate) async fn connect_with(addr: SocketAddr, set_up: impl Fn(&TcpSocket)) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        set_up(&socket);
        let stream = socket.connect(addr).await.expect("the server accepts");
        let url = format!("ws://{addr}/ws");
        let (ws, _) = tokio_tungstenite::client_async(url, stream)
            .await
            .expect("an upgrade");
        Self {
            ws,
            welcome: Value::Null,
            chain: Chain::default(),
        }
    }

    /// Sends a request.
    pub(crate) async fn send(&mut self, request: &Value) {
        let text = request.to_string();
        self.send_raw(Message::text(text)).await;
    }

    /// Sends any message.
    pub(crate) async fn send_raw(&mut self, message: Message) {
        self.ws.send(message).await.expect("the connection is open");
    }

    /// Subscribes in lossless mode and takes the ack.
    pub(crate) async fn subscribe(&mut self, channels: &[&str]) -> Value {
        self.request(&json!({"type": "subscribe", "data": {"channels": channels}}))
            .await
    }

    /// Sends a request and takes its answer, which must be next but for messages.
    pub(crate) async fn request(&mut self, request: &Value) -> Value {
        self.send(request).await;
        loop {
            let answer = self.next().await.json();
            if answer["type"] != "message" {
                return answer;
            }
        }
    }

    /// The next thing that is sent, pings aside.
    pub(crate) async fn next(&mut self) -> Event {
        let next = tokio::time::timeout(PATIENCE, self.next_patiently()).await;
        next.expect("something must come within half a minute")
    }

    async fn next_patiently(&mut self) -> Event {
        loop {
            match self.ws.next().await {
                Some(Ok(Message::Text(text))) => {
                    let value: Value = serde_json::from_str(&text).expect("JSON");
                    self.chain.see(&value);
                    return Event::Json(value);
                }
                Some(Ok(Message::Close(frame))) => {
                    return Event::Closed(frame.map_or(1005, |frame| frame.code.into()));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(other)) => panic!("unexpected {other:?}"),
                Some(Err(Error::ConnectionClosed | Error::AlreadyClosed)) | None => {
                    return Event::Gone;
                }
                Some(Err(Error::Io(_) | Error::Protocol(_))) => return Event::Gone,
                Some(Err(error)) => panic!("{error}"),
            }
        }
    }

    /// The next message of a channel; whatever else comes is a failure.
    #[track_caller]
    pub(crate) fn next_message(&mut self) -> impl Future<Output = Value> + '_ {
        let caller = std::panic::Location::caller();
        async move {
            let value = self.next().await.json();
            assert_eq!(value["type"], "message", "at {caller}: {value}");
            value
        }
    }

    /// Reads until the close frame, and gives its code and all messages before it.
    pub(crate) async fn until_closed(&mut self) -> (Option<u16>, Vec<Value>) {
        let mut messages = Vec::new();
        loop {
            match self.next().await {
                Event::Json(value) => messages.push(value),
                Event::Closed(code) => return (Some(code), messages),
                Event::Gone => return (None, messages),
            }
        }
    }

    /// What a later connection needs to continue where this one stands.
    pub(crate) fn resume(&self) -> Value {
        json!({"epoch": self.chain.epoch, "positions": self.chain.positions()})
    }
}

/// What a client has, by the rules of the protocol: a message whose `prev` is not the last seq of its
/// channel is a silent hole, and panics.
#[derive(Default, Debug)]
pub(crate) struct Chain {
    /// The number line.
    pub(crate) epoch: Option<String>,
    /// Subscribed names and patterns, with the position of each.
    subscribed: BTreeMap<String, Option<u64>>,
    /// The last seq of each channel that a message came of; `None` after a `lost` or `reset`.
    last: BTreeMap<String, Option<u64>>,
    /// The ranges of the notices since the last message of a channel.
    lost: Vec<(Option<String>, u64, Option<u64>)>,
    /// Messages seen.
    pub(crate) messages: u64,
    /// The subscriptions are in latest mode, which passes over messages: `prev` is not checked.
    pub(crate) latest: bool,
}

impl Chain {
    fn positions(&self) -> Value {
        let positions = self
            .subscribed
            .iter()
            .map(|(name, position)| (name.clone(), json!(position)));
        Value::Object(positions.collect())
    }

    fn see(&mut self, value: &Value) {
        match value["type"].as_str() {
            Some("subscription_ack") => {
                self.epoch = value["epoch"].as_str().map(str::to_owned);
                for (name, position) in value["positions"].as_object().expect("positions") {
                    self.subscribed.insert(name.clone(), position.as_u64());
                    self.last.remove(name);
                }
            }
            Some("unsubscription_ack") => {
                for name in value["unsubscribed"].as_array().expect("names") {
                    self.subscribed.remove(name.as_str().expect("a name"));
                }
            }
            Some("lost") => {
                let channel = value["channel"].as_str().map(str::to_owned);
                let from = value["from"].as_u64().expect("from");
                self.lost.push((channel, from, value["to"].as_u64()));
            }
            Some("reset") => {
                self.epoch = value["epoch"].as_str().map(str::to_owned);
                self.last.clear();
                self.lost.clear();
                for position in self.subscribed.values_mut() {
                    *position = None;
                }
            }
            Some("message") => self.message(value),
            _ => {}
        }
    }

    fn message(&mut self, value: &Value) {
        let channel = value["channel"].as_str().expect("a channel");
        let seq = value["seq"].as_u64().expect("a seq");
        let prev = value["prev"].as_u64();
        let covering = self
            .subscribed
            .iter_mut()
            .find(|(name, _)| name::matches(name, channel));
        let (name, position) = covering.unwrap_or_else(|| panic!("{channel} is not subscribed"));
        let whole = self.latest
            || match (prev, self.last.get(channel)) {
                (None, _) | (_, Some(None)) => true,
                (Some(prev), Some(Some(last))) => prev == *last,
                (Some(prev), None) if name == channel => {
                    position.is_none_or(|position| prev == position)
                }
                (Some(prev), None) => position.is_none_or(|position| prev <= position),
            };
        let announced = self.lost.iter().any(|(lost, from, to)| {
            lost.as_ref()
                .is_none_or(|lost| name::matches(lost, channel))
                && prev.is_none_or(|prev| *from <= prev && to.is_none_or(|to| prev <= to))
        });
        assert!(
            whole || announced,
            "a silent hole before {value}: {:?}",
            self.last.get(channel)
        );
        *position = (*position).max(Some(seq));
        self.last.insert(channel.to_owned(), Some(seq));
        self.messages += 1;
    }
}
