//! What somebody sees who starts the server for the first time: `odin-ws` without any setting.

use std::time::Duration;

use serde_json::json;

use crate::client::Client;
use crate::server::Server;

#[tokio::test]
async fn prices_come_with_a_whole_chain() {
    let server = Server::start(&[]);
    assert!(
        server.started_in < Duration::from_secs(1),
        "{:?}",
        server.started_in
    );
    let mut client = Client::connect(server.addr).await;
    let ack = client.subscribe(&["BTC.*"]).await;
    assert_eq!(ack["subscribed"], json!(["BTC.*"]));
    assert_eq!(ack["durable"], false);
    for _ in 0..5 {
        let message = client.next_message().await;
        assert_eq!(message["channel"], "BTC.trade");
        assert_eq!(message["data"]["symbol"], "BTC");
        assert!(message["data"]["price"].is_number());
    }
    assert_eq!(client.chain.messages, 5);
}

#[test]
fn health_has_the_shape_that_dashboards_read() {
    let server = Server::start(&["--max-connections", "100", "--memory-limit", "512MiB"]);
    let health = server.until_health(200, Duration::from_secs(10)).clone();
    let mut health = health;
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["healthy"], true);
    assert_eq!(
        health["checks"]["nats"],
        json!({"status": "embedded", "healthy": true})
    );
    let capacity = json!({"current": 0, "max": 100, "percentage": 0.0, "healthy": true});
    assert_eq!(health["checks"]["capacity"], capacity);
    let memory = health["checks"]["memory"].as_object_mut().expect("memory");
    assert_eq!(memory.remove("limit_mb"), Some(json!(512.0)));
    assert_eq!(
        memory.keys().collect::<Vec<_>>(),
        ["healthy", "percentage", "used_mb"]
    );
    let cpu = health["checks"]["cpu"].as_object().expect("cpu");
    assert_eq!(cpu.keys().collect::<Vec<_>>(), ["healthy", "percentage"]);
    assert_eq!(health["warnings"], json!([]));
    assert_eq!(health["errors"], json!([]));
    assert!(health["uptime"].is_u64());
    assert_eq!(health.as_object().expect("an object").len(), 6);
}
