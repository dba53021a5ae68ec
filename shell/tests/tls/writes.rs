//! What is written through TLS to sockets that are full: nothing is lost, repeated or torn, and a
//! client that does not read costs no more than without TLS.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, Secured};

/// A receive buffer that is soon full; the kernel has a minimum of its own.
const TINY: u32 = 2048;

const SLOW: &str = "ws_slow_clients_disconnected_total";

/// Messages of many sizes: some smaller than a record, some of them in one, some larger than one.
fn bodies(count: usize) -> Vec<String> {
    let text = |number: usize| {
        let length = match number % 50 {
            0 => 40_000,
            rest if rest % 7 == 0 => 5_000 + number,
            rest => rest * rest % 700,
        };
        format!("\"{number}:{}\"", "x".repeat(length))
    };
    (1..=count).map(text).collect()
}

#[tokio::test]
async fn a_client_that_reads_late_gets_every_byte_once_and_in_order() {
    let flags = [
        "--send-buffer=4KiB",
        "--write-stall=0",
        "--shards=1",
        "--log-bytes=64MiB",
    ];
    let secured = Secured::start(&flags).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = secured.client(TINY).await;
        client.subscribe(json!({"channels": ["A"]})).await;
        clients.push(client);
    }
    let bodies = bodies(700);
    secured.publish("A", &bodies).await;
    let blocked: f64 = secured
        .metric("ws_writes_blocked_total")
        .await
        .parse()
        .expect("a count");
    assert!(blocked >= 3.0, "the sockets were full: {blocked}");
    for client in &mut clients {
        for (place, body) in bodies.iter().enumerate() {
            let message = client.next().await;
            assert_eq!(message["seq"], json!(place + 1));
            assert_eq!(message["prev"], json!(place));
            assert_eq!(message["data"].to_string(), *body);
        }
    }
}

#[tokio::test]
async fn what_a_latest_client_passes_over_is_never_half_sent() {
    let flags = ["--send-buffer=4KiB", "--write-stall=0", "--shards=1"];
    let secured = Secured::start(&flags).await;
    let mut client = secured.client(TINY).await;
    client
        .subscribe(json!({"channels": ["A", "B"], "mode": "latest"}))
        .await;
    let bodies = bodies(300);
    let mut ends = [false, false];
    let mut count = 0;
    for part in bodies.chunks(30) {
        secured.publish("A", part).await;
        secured.publish("B", part).await;
        // A few are read, so that the socket is full at other bytes each time.
        for _ in 0..2 {
            see(&client.next().await, &bodies, &mut ends);
            count += 1;
        }
    }
    while ends != [true, true] {
        see(&client.next().await, &bodies, &mut ends);
        count += 1;
    }
    assert!(count < 500, "some were passed over: {count}");
}

/// A message has a body as it was published; notes for both channels whether it is the last.
fn see(message: &Value, bodies: &[String], ends: &mut [bool; 2]) {
    let data = message["data"].to_string();
    assert!(bodies.contains(&data), "{} bytes", data.len());
    let channel = usize::from(message["channel"] == "B");
    ends[channel] = bodies.last() == Some(&data);
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_and_its_neighbour_gets_all() {
    let secured = Secured::start(&["--write-stall=1s", "--shards=1", "--log-bytes=8MiB"]).await;
    let mut stuck = secured.client(TINY).await;
    stuck.subscribe(json!({"channels": ["A"]})).await;
    let mut neighbour = secured.client(0).await;
    neighbour.subscribe(json!({"channels": ["A"]})).await;
    let bodies = bodies(2000);
    let reader = tokio::spawn(async move {
        for seq in 1..=2000 {
            assert_eq!(neighbour.next().await["seq"], seq);
        }
        neighbour
    });
    secured.publish("A", &bodies).await;
    let _neighbour: Client = reader.await.expect("the neighbour");
    secured.metric_becomes(SLOW, "1").await;
    // What was sent before it was closed is whole, and says why in the end.
    let closed = loop {
        match stuck.frame().await {
            Some(Message::Text(_)) => {}
            other => break other,
        }
    };
    if let Some(Message::Close(frame)) = &closed {
        assert_eq!(
            frame.as_ref().map(|frame| u16::from(frame.code)),
            Some(4008)
        );
    }
    secured.metric_becomes("ws_connections_active", "1").await;
}
