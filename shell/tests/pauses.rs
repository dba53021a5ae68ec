//! A shard that is behind pauses, loses nothing by it, and does not where it may not.

mod common;

use std::net::SocketAddr;

use common::{message, metric, publish, serve, subscribe, upgraded};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// So many that a pass over them takes longer than messages take to come.
const CLIENTS: usize = 800;

/// Messages that are published at once.
const ROUND: u64 = 8;

const ROUNDS_MAX: u64 = 200;

async fn subscribed(addr: SocketAddr) -> Vec<TcpStream> {
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = upgraded(addr).await;
        subscribe(&mut client, "BTC").await;
        clients.push(client);
    }
    clients
}

/// Publishes some messages at once and has every client read them: each of them, in order.
async fn round(addr: SocketAddr, clients: &mut [TcpStream], from: u64) {
    let mut publishing = JoinSet::new();
    for _ in 0..ROUND {
        publishing.spawn(async move { publish(addr, "BTC", "1").await.status });
    }
    while let Some(status) = publishing.join_next().await {
        assert_eq!(status.expect("it ends"), 200);
    }
    for client in clients {
        for seq in from + 1..=from + ROUND {
            let heard = message(client).await;
            assert_eq!(
                (&heard["seq"], &heard["prev"]),
                (&seq.into(), &(seq - 1).into())
            );
        }
    }
}

#[tokio::test]
async fn a_shard_that_is_behind_pauses_and_everything_comes() {
    let server = serve(&["--shards", "1", "--write-pause-max", "20ms"]).await;
    let addr = server.local_addr();
    let mut clients = subscribed(addr).await;
    assert_eq!(metric(addr, "ws_write_pauses_total").await, "0");
    for at in 0..ROUNDS_MAX {
        round(addr, &mut clients, at * ROUND).await;
        if metric(addr, "ws_write_pauses_total").await != "0" {
            return;
        }
    }
    panic!("{ROUNDS_MAX} rounds and no pause");
}

#[tokio::test]
async fn a_shard_that_may_not_does_not() {
    let server = serve(&["--shards", "1", "--write-pause-max", "0"]).await;
    let addr = server.local_addr();
    let mut clients = subscribed(addr).await;
    for at in 0..10 {
        round(addr, &mut clients, at * ROUND).await;
    }
    assert_eq!(metric(addr, "ws_write_pauses_total").await, "0");
}
