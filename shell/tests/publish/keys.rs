//! Messages that are known again by their idempotency key.

use crate::common::{self, serve};
use crate::{JSON, post};

#[tokio::test]
async fn a_message_is_taken_once_by_its_idempotency_key() {
    let server = serve(&["--idempotency-keys", "2", "--idempotency-window", "1h"]).await;
    let addr = server.local_addr();
    let with = |key: &str| format!("Idempotency-Key: {key}");
    for (channel, key, body, seq, duplicate) in [
        ("A", "k1", "1", 1, false),
        ("A", "k1", "1", 1, true),
        // As the draft for the header writes it, and whatever the payload.
        ("A", "\"k1\"", "2", 1, true),
        // The same key on another channel is another message.
        ("B", "k1", "1", 2, false),
        ("B", "k1", "1", 2, true),
        // A third key makes the server forget the first.
        ("A", "k2", "1", 3, false),
        ("A", "k1", "1", 4, false),
        ("A", "k2", "1", 3, true),
    ] {
        let answer = post(addr, channel, &[JSON, &with(key)], body).await;
        let mut expected = serde_json::json!({ "channel": channel, "seq": seq });
        if duplicate {
            expected["duplicate"] = true.into();
        }
        assert_eq!(
            (answer.status, answer.json()),
            (200, expected),
            "{channel} {key}"
        );
    }
    for (series, value) in [
        ("ws_http_published_total", "4"),
        ("ws_http_duplicates_total", "4"),
        ("ws_http_idempotency_keys", "2"),
        ("ws_http_idempotency_keys_dropped_total", "2"),
    ] {
        assert_eq!(common::metric(addr, series).await, value, "{series}");
    }
    let long = with(&"k".repeat(129));
    for lines in [
        vec![JSON, "Idempotency-Key: "],
        vec![JSON, "Idempotency-Key: \"\""],
        vec![JSON, "Idempotency-Key: a b"],
        vec![JSON, "Idempotency-Key: \u{e9}"],
        vec![JSON, "Idempotency-Key: a", "Idempotency-Key: a"],
        vec![JSON, &long],
    ] {
        let answer = post(addr, "A", &lines, "1").await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (400, "invalid_idempotency_key"),
            "{lines:?}"
        );
    }
}

/// Names and keys may have nearly every character, above all the colon, which many use between their parts.
#[tokio::test]
async fn a_key_is_never_taken_for_one_of_another_channel() {
    let server = serve(&[]).await;
    let addr = server.local_addr();
    for (channel, key, seq, duplicate) in [
        ("a", "b:order-7", 1, false),
        ("a:b", "order-7", 2, false),
        ("a:b:order-7", ":", 3, false),
        ("a:b:order-7:", ":", 4, false),
        ("a:b", "order-7", 2, true),
        ("a", "b:order-7", 1, true),
    ] {
        let key = format!("Idempotency-Key: {key}");
        let answer = post(addr, channel, &[JSON, &key], "1").await;
        let mut expected = serde_json::json!({ "channel": channel, "seq": seq });
        if duplicate {
            expected["duplicate"] = true.into();
        }
        assert_eq!(answer.json(), expected, "{channel} {key}");
    }
}

/// A publisher that goes away in the middle, and comes again with the same key, has published once.
#[tokio::test]
async fn a_publisher_that_did_not_wait_for_the_answer_may_ask_again() {
    use tokio::io::AsyncWriteExt;
    let server = serve(&[]).await;
    let addr = server.local_addr();
    let head = format!(
        "POST /publish/A HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nIdempotency-Key: once\r\nContent-Length: 1\r\n\r\n1"
    );
    for _ in 0..20 {
        let mut stream = tokio::net::TcpStream::connect(addr).await.expect("connect");
        stream.write_all(head.as_bytes()).await.expect("send");
    }
    let answer = post(addr, "A", &[JSON, "Idempotency-Key: once"], "1").await;
    assert_eq!((answer.status, &answer.json()["seq"]), (200, &1.into()));
    let answer = post(addr, "A", &[JSON], "1").await;
    assert_eq!(answer.json()["seq"], 2, "nothing but the one was published");
}
