//! From publish to socket, with many connections and with full sockets.

mod common;

use std::sync::Arc;

use bytes::Bytes;
use common::{
    get, message, metric, metric_becomes, publish, serve, settings, start_on, subscribe, upgraded,
};
use odin_core::feed::Command;
use odin_shell::listener::bind;
use odin_shell::source::embedded::Embedded;
use odin_shell::source::{Message, Upstream, UpstreamEvent};
use tokio::sync::Notify;

#[tokio::test]
async fn three_hundred_connections_of_one_shard_get_a_message_without_a_socket_called_full() {
    let server = serve(&["--shards", "1"]).await;
    let addr = server.local_addr();
    let mut clients = Vec::new();
    for _ in 0..300 {
        let mut client = upgraded(addr).await;
        subscribe(&mut client, "BTC").await;
        clients.push(client);
    }
    assert_eq!(publish(addr, "BTC", "1").await.status, 200);
    for client in &mut clients {
        let heard = message(client).await;
        assert_eq!((&heard["seq"], &heard["prev"]), (&1.into(), &0.into()));
    }
    assert_eq!(metric(addr, "ws_writes_blocked_total").await, "0");
}

#[tokio::test]
async fn a_client_that_did_not_read_gets_everything_once_it_reads() {
    let server = serve(&["--shards", "1"]).await;
    let addr = server.local_addr();
    let mut slow = upgraded(addr).await;
    subscribe(&mut slow, "BTC").await;
    let payload = format!("\"{}\"", "x".repeat(100_000));
    const COUNT: u64 = 200;
    for _ in 0..COUNT {
        assert_eq!(publish(addr, "BTC", &payload).await.status, 200);
    }
    let full = metric(addr, "ws_writes_blocked_total").await;
    assert_ne!(full, "0", "20 MB do not fit a socket");
    for seq in 1..=COUNT {
        let heard = message(&mut slow).await;
        assert_eq!(
            (&heard["seq"], &heard["prev"]),
            (&seq.into(), &(seq - 1).into())
        );
        assert_eq!(heard["data"].as_str().map(str::len), Some(100_000));
    }
    // Lost to the socket's end, not to the server's: the connection is counted until then.
    assert_eq!(metric(addr, "ws_connections_active").await, "1");
    drop(slow);
    metric_becomes(addr, "ws_connections_active", "0").await;
    assert_eq!(get(addr, "/live").await.status, 200);
}

/// An upstream that delivers so many messages without a pause, once it is told to.
struct Burst {
    connected: bool,
    go: Arc<Notify>,
    going: bool,
    left: usize,
}

impl Upstream for Burst {
    const CAN_WAIT: bool = true;

    async fn next(&mut self) -> Option<UpstreamEvent> {
        if !std::mem::replace(&mut self.connected, true) {
            return Some(UpstreamEvent::Connected);
        }
        if !self.going {
            self.go.notified().await;
            self.going = true;
        }
        if self.left == 0 {
            std::future::pending().await
        }
        self.left -= 1;
        Some(UpstreamEvent::Message(Message {
            stream_seq: 0,
            consumer_seq: 0,
            pending: 0,
            time: 0,
            subject: "BTC".into(),
            payload: Bytes::from_static(b"1"),
        }))
    }

    fn carry_out(&mut self, _command: Command) {}
}

#[tokio::test]
async fn who_has_room_is_never_left_behind_by_a_burst_longer_than_the_log() {
    const COUNT: usize = 1000;
    let go = Arc::new(Notify::new());
    let upstream = Burst {
        connected: false,
        go: Arc::clone(&go),
        going: false,
        left: COUNT,
    };
    // The sockets hold the whole burst, and the log an eighth of it.
    let settings = settings(&["--log-messages", "128", "--send-buffer", "1MiB"]);
    let (_, publisher) = Embedded::new(&settings.feed_config());
    let listener = bind(([127, 0, 0, 1], 0).into()).expect("bind");
    let server = start_on(settings, listener, upstream, publisher);
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = upgraded(server.local_addr()).await;
        subscribe(&mut client, "BTC").await;
        clients.push(client);
    }
    go.notify_one();
    for client in &mut clients {
        for seq in 1..=COUNT {
            let heard = message(client).await;
            assert_eq!(
                (&heard["seq"], &heard["prev"]),
                (&seq.into(), &(seq - 1).into())
            );
        }
    }
}
