//! Who may publish by a file of publishers, and which files are refused.

use std::net::{Ipv4Addr, SocketAddr};

use crate::common::tokens::write;
use crate::common::{self, serve_on};
use crate::{JSON, post};

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
        // What stands in a wrong place may be a token.
        (
            "[[publisher]]\nhunter2 = 1",
            "publisher 1: it has a key that is none of name, token, token_sha256, channels and payload_bytes_max",
        ),
        (
            "[[publisher]]\nname = \"a\"\nTOKEN\nchannels = [\"A\"]\n[[publisher]]\nname = \"b\"\n\"hunter2-0123456789\" = []",
            "publisher 2: it has a key that is none of name, token, token_sha256, channels and payload_bytes_max",
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
            "publisher 1: entry 1 of channels is no name or pattern",
        ),
        (
            "[[publisher]]\nname = \"a\"\nTOKEN\nchannels = [\"A\", \"hunter2 0123456789\"]",
            "publisher 1: entry 2 of channels is no name or pattern",
        ),
        (
            "[[publisher]]\nname = \"a\"\nTOKEN\nchannels = [\"A\", \"B.*\", {TOKEN}]",
            "publisher 1: entry 3 of channels is no name or pattern",
        ),
        (
            "[[publisher]]\nname = \"a\"\nTOKEN\nchannels = [\"A\"]\npayload_bytes_max = \"hunter2\"",
            "publisher 1: payload_bytes_max is no size above 0",
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
