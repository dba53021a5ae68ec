//! A window over real sockets: what was published in it comes in one piece, at its end.

mod common;

use std::time::{Duration, Instant};

use common::{message, publish, serve, subscribe, upgraded};
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn what_a_window_held_back_comes_in_one_read() {
    let window = Duration::from_secs(1);
    let server = serve(&["--shards", "1", "--coalesce-channels", "held.*=1s"]).await;
    let addr = server.local_addr();
    let mut held = upgraded(addr).await;
    subscribe(&mut held, "held.x").await;
    let mut other = upgraded(addr).await;
    subscribe(&mut other, "x").await;
    let start = Instant::now();
    for value in ["1", "2", "3"] {
        assert_eq!(publish(addr, "held.x", value).await.status, 200);
    }
    // Channels that no window covers are written to at once.
    assert_eq!(publish(addr, "x", "4").await.status, 200);
    assert_eq!(message(&mut other).await["data"], 4);
    let mut buffer = [0; 4_096];
    let count = held.read(&mut buffer).await.expect("the socket lives");
    assert!(start.elapsed() >= window, "{:?}", start.elapsed());
    let text = String::from_utf8_lossy(&buffer[..count]);
    let messages = text.matches(r#""type":"message""#).count();
    assert_eq!(messages, 3, "{text}");
    assert!(text.ends_with(r#""data":3}"#), "{text}");
}
