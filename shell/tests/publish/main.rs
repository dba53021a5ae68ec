//! `POST /publish/{channel}`: who may, and what is taken.

#[path = "../common/mod.rs"]
mod common;
mod keys;
mod publishers;

use std::net::{Ipv4Addr, SocketAddr};

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

/// It may be a proxy on this machine that asks, for anybody.
#[tokio::test]
async fn what_tells_of_a_proxy_is_of_no_program_on_this_machine() {
    let server = serve(&[]).await;
    let addr = server.local_addr();
    for line in [
        "Forwarded: for=127.0.0.1",
        "Via: 1.1 proxy",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Proto: http",
        "X-Forwarded: for=127.0.0.1",
        "X-Real-IP: 127.0.0.1",
        "CF-Connecting-IP: 127.0.0.1",
        "True-Client-IP: 127.0.0.1",
        "via:",
    ] {
        let answer = post(addr, "BTC", &[JSON, line], "1").await;
        let found = (answer.status, answer.error());
        assert_eq!(found, (403, "forbidden".to_owned()), "{line}");
        let clients = format!("GET /debug/clients HTTP/1.1\r\nHost: localhost\r\n{line}\r\n\r\n");
        let answer = ask(addr, clients).await;
        let found = (answer.status, answer.error());
        assert_eq!(found, (403, "forbidden".to_owned()), "{line}");
    }
    // Other headers, also of names that begin alike, say nothing of a proxy.
    for line in ["User-Agent: curl", "X-Real: 1", "Viaduct: 1"] {
        let answer = post(addr, "BTC", &[JSON, line], "1").await;
        assert_eq!(answer.status, 200, "{line}");
    }
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
