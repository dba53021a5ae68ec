//! `POST /publish/{channel}`: who may, and what is taken.

mod common;

use std::net::{Ipv4Addr, SocketAddr};

use common::tokens::write;
use common::{Answer, ask, publish, serve, serve_on};

/// A request with these header lines and this body.
async fn post(addr: SocketAddr, channel: &str, headers: &[&str], body: &str) -> Answer {
    let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let length = body.len();
    let request = format!(
        "POST /publish/{channel} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    ask(addr, request).await
}

const JSON: &str = "Content-Type: application/json";

#[tokio::test]
async fn a_message_is_numbered_and_its_channel_decoded() {
    let server = serve(&[]).await;
    let addr = server.local_addr();
    for (path, kind, channel, seq) in [
        ("BTC.trade", JSON, "BTC.trade", 1),
        (
            "BTC%2FUSDT",
            "Content-Type: application/octet-stream",
            "BTC/USDT",
            2,
        ),
        (
            "BTC/USDT",
            "content-type: Application/JSON; charset=utf-8",
            "BTC/USDT",
            3,
        ),
        ("caf%C3%A9?x=1", JSON, "café", 4),
    ] {
        let answer = post(addr, path, &[kind], "{}").await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert_eq!(
            answer.json(),
            serde_json::json!({ "channel": channel, "seq": seq })
        );
    }
}

#[tokio::test]
async fn every_bad_publish_has_its_answer() {
    let server = serve(&["--payload-bytes-max", "1KiB"]).await;
    let addr = server.local_addr();
    let large = "x".repeat(1025);
    for (channel, headers, body, status, code) in [
        ("", &[JSON][..], "1", 400, "invalid_channel"),
        ("BTC.*", &[JSON], "1", 400, "invalid_channel"),
        ("BTC.%3E", &[JSON], "1", 400, "invalid_channel"),
        (".BTC", &[JSON], "1", 400, "invalid_channel"),
        ("a%20b", &[JSON], "1", 400, "invalid_channel"),
        ("a%2", &[JSON], "1", 400, "invalid_channel"),
        ("%FF", &[JSON], "1", 400, "invalid_channel"),
        ("BTC", &[], "1", 415, "unsupported_media_type"),
        (
            "BTC",
            &["Content-Type: text/plain"],
            "1",
            415,
            "unsupported_media_type",
        ),
        (
            "BTC",
            &["Content-Type: application/x-www-form-urlencoded"],
            "1",
            415,
            "unsupported_media_type",
        ),
        ("BTC", &[JSON], "", 400, "empty_body"),
        ("BTC", &[JSON], &large, 413, "payload_too_large"),
        (
            "BTC",
            &[JSON, "Origin: http://localhost"],
            "1",
            403,
            "forbidden",
        ),
        (
            "BTC",
            &[JSON, "X-Forwarded-For: 127.0.0.1"],
            "1",
            403,
            "forbidden",
        ),
        (
            "BTC",
            &[JSON, "Forwarded: for=127.0.0.1"],
            "1",
            403,
            "forbidden",
        ),
        (
            "BTC",
            &[JSON, "Authorization: Bearer x"],
            "1",
            401,
            "unauthorized",
        ),
    ] {
        let answer = post(addr, channel, headers, body).await;
        let found = (answer.status, answer.error());
        assert_eq!(found, (status, code.to_owned()), "{channel} {headers:?}");
    }
    // The limit holds for a body of unknown length as well.
    let chunked = format!(
        "POST /publish/BTC HTTP/1.1\r\nHost: localhost\r\n{JSON}\r\nTransfer-Encoding: chunked\r\n\r\n\
         401\r\n{large}\r\n0\r\n\r\n"
    );
    let answer = ask(addr, chunked).await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (413, "payload_too_large")
    );
    // The largest body that is allowed, and the first that is numbered: none above was taken.
    let answer = post(addr, "BTC", &[JSON], &large[1..]).await;
    assert_eq!((answer.status, &answer.json()["seq"]), (200, &1.into()));
}

#[tokio::test]
async fn a_token_lets_others_publish_than_programs_on_this_machine() {
    let server = serve_on("0.0.0.0:0", &["--publish-token", "open-sesame-0123456789"]).await;
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, server.local_addr().port()));
    for (header, status) in [
        ("Authorization: Bearer open-sesame-0123456789", 200),
        ("authorization: bearer open-sesame-0123456789", 200),
        ("Authorization: Bearer open-sesame-012345678", 401),
        ("Authorization: Bearer open-sesame-01234567890", 401),
        ("Authorization: Basic open-sesame-0123456789", 401),
        ("X: y", 401),
    ] {
        let answer = post(addr, "BTC", &[JSON, header], "1").await;
        assert_eq!(answer.status, status, "{header}");
        let challenge = (status == 401).then_some("Bearer");
        assert_eq!(answer.header("www-authenticate"), challenge, "{header}");
    }
}

/// A file of publishers.
const PUBLISHERS: &str = r#"
[[publisher]]
name = "prices"
token = "prices-0123456789"
channels = ["BTC.>", "ETH.trade"]
payload_bytes_max = "8B"

[[publisher]]
name = "news"
token_sha256 = "HASH"
channels = ["*.news"]
"#;

#[tokio::test]
async fn each_publisher_may_publish_where_its_token_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let hash = ring::digest::digest(&ring::digest::SHA256, b"news-0123456789ab");
    let hex: String = hash
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let file = write(
        dir.path(),
        "publishers.toml",
        &PUBLISHERS.replace("HASH", &hex),
    );
    let flags = [
        "--publish-tokens",
        &file,
        "--publish-token",
        "all-0123456789abc",
    ];
    let server = serve_on("0.0.0.0:0", &flags).await;
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, server.local_addr().port()));
    let (prices, news) = ("Bearer prices-0123456789", "Bearer news-0123456789ab");
    let all = "Bearer all-0123456789abc";
    for (token, channel, body, status, code) in [
        (prices, "BTC.trade", "1", 200, ""),
        (prices, "BTC.book.l2", "12345678", 200, ""),
        (prices, "ETH.trade", "1", 200, ""),
        (prices, "BTC.trade", "123456789", 413, "payload_too_large"),
        (prices, "BTC", "1", 403, "channel_not_allowed"),
        (prices, "ETH.book", "1", 403, "channel_not_allowed"),
        (prices, "ETH.news", "1", 403, "channel_not_allowed"),
        (prices, "BTC.*", "1", 400, "invalid_channel"),
        (news, "ETH.news", "123456789", 200, ""),
        (news, "BTC.trade", "1", 403, "channel_not_allowed"),
        (all, "anything", "123456789", 200, ""),
        (
            "Bearer prices-012345678",
            "BTC.trade",
            "1",
            401,
            "unauthorized",
        ),
        ("Bearer ", "BTC.trade", "1", 401, "unauthorized"),
        (
            "Basic prices-0123456789",
            "BTC.trade",
            "1",
            401,
            "unauthorized",
        ),
    ] {
        let answer = post(
            addr,
            channel,
            &[JSON, &format!("Authorization: {token}")],
            body,
        )
        .await;
        assert_eq!(answer.status, status, "{token} {channel} {answer:?}");
        if status != 200 {
            assert_eq!(answer.error(), code, "{token} {channel}");
        }
    }
    let answer = post(addr, "BTC.trade", &[JSON], "1").await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (401, "unauthorized")
    );
    assert_eq!(
        common::metric(addr, "ws_http_publish_forbidden_total").await,
        "8"
    );

    // Read again: one is gone, one may do more.
    let fewer = "[[publisher]]\nname = \"p\"\ntoken = \"prices-0123456789\"\nchannels = [\">\"]\n";
    write(dir.path(), "publishers.toml", fewer);
    server.reload().await;
    for (token, channel, status) in [(prices, "ETH.book", 200), (news, "ETH.news", 401)] {
        let answer = post(
            addr,
            channel,
            &[JSON, &format!("Authorization: {token}")],
            "1",
        )
        .await;
        assert_eq!(answer.status, status, "{token} {channel}");
    }
}

#[tokio::test]
async fn every_bad_file_of_publishers_is_refused_without_a_word_of_its_tokens() {
    let dir = tempfile::tempdir().expect("a directory");
    let token = "token = \"hunter2-0123456789\"";
    for (text, expected) in [
        ("", "it has no [[publisher]]"),
        ("publisher = [\n\"hunter2", "line 2 is not TOML"),
        (
            "token = \"hunter2-0123456789\"",
            "it has [[publisher]] tables and nothing else",
        ),
        (
            "publisher = [\"hunter2\"]",
            "publisher 1: [[publisher]] is no table",
        ),
        (
            "[[publisher]]\nNAME = 1",
            "publisher 1: there is no key NAME",
        ),
        ("[[publisher]]\nname = 7", "publisher 1: name is not a text"),
        (
            "[[publisher]]\nchannels = [\"A\"]",
            "publisher 1: name is missing",
        ),
        (
            "[[publisher]]\nname = \"a\"\nchannels = [\"A\"]",
            "publisher 1: it has either token or token_sha256",
        ),
        (
            "[[publisher]]\nname = \"a\"\ntoken = \"hunter2\"",
            "publisher 1: token is not 16 or more visible ASCII characters",
        ),
        (
            "[[publisher]]\nname = \"a\"\ntoken_sha256 = \"hunter2\"",
            "publisher 1: token_sha256 is not 64 hex digits",
        ),
        (
            "[[publisher]]\nname = \"a\"\nTOKEN",
            "publisher 1: channels is not a list of names and patterns",
        ),
        (
            "[[publisher]]\nname = \"a\"\nTOKEN\nchannels = []",
            "publisher 1: channels is not a list of names and patterns",
        ),
        (
            "[[publisher]]\nname = \"a\"\nTOKEN\nchannels = [\"A*\"]",
            "publisher 1: channels: \"A*\" is no name or pattern",
        ),
        (
            "[[publisher]]\nname = \"a\"\nTOKEN\nchannels = [\"A\"]\npayload_bytes_max = 0",
            "publisher 1: payload_bytes_max is no size above 0",
        ),
        (
            "[[publisher]]\nname = \"a\"\nTOKEN\nchannels = [\"A\"]\n[[publisher]]\nname = \"b\"\nTOKEN\nchannels = [\"A\"]",
            "publisher 2: its name or token is another's too",
        ),
    ] {
        let file = write(dir.path(), "publishers.toml", &text.replace("TOKEN", token));
        let flags = [
            "--listen",
            "127.0.0.1:0",
            "--no-demo",
            "--publish-tokens",
            &file,
        ];
        let outcome = odin_shell::server::from_settings(common::settings(&flags), 4096).await;
        let error = outcome.err().expect(expected).to_string();
        assert_eq!(error, format!("publish_tokens: {file}: {expected}"));
    }
}

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

#[tokio::test]
async fn without_a_token_nobody_publishes_on_a_listener_beyond_loopback() {
    let server = serve_on("0.0.0.0:0", &[]).await;
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, server.local_addr().port()));
    let answer = publish(addr, "BTC", "1").await;
    assert_eq!((answer.status, answer.error().as_str()), (403, "forbidden"));
}

#[tokio::test]
async fn while_the_source_is_away_a_publish_is_refused_for_now() {
    // Nothing listens on the discard port of a machine that runs tests.
    let flags = ["--source", "nats", "--nats-url", "nats://127.0.0.1:9"];
    let server = common::serve_unready(&flags).await;
    let addr = server.local_addr();
    let answer = publish(addr, "BTC", "1").await;
    assert_eq!(
        (answer.status, answer.error().as_str()),
        (503, "source_unavailable")
    );
    assert_eq!(answer.header("retry-after"), Some("1"));
    let health = common::get(addr, "/health").await;
    assert_eq!(health.status, 503);
    assert_eq!(
        health.json()["errors"],
        serde_json::json!(["NATS connection lost"])
    );
    assert_eq!(common::get(addr, "/ready").await.status, 503);
    assert_eq!(common::get(addr, "/live").await.status, 200);
}
