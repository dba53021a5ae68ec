//! From publish to socket, with many connections and with full sockets.

mod common;

use common::{get, message, metric, metric_becomes, publish, serve, subscribe, upgraded};

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
    assert_eq!(server.sockets_full(), 0);
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
    assert!(server.sockets_full() > 0, "20 MB do not fit a socket");
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
