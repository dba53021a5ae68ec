//! Who must authenticate, how, and what follows, over real sockets.

mod common;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::tokens::{self, claims, secret_file, sign, token, write};
use common::{
    Answer, ask, frame, masked, message, metric, metric_becomes, publish, request, serve,
    upgrade_lines,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Asks for an upgrade with these header lines beside the usual ones.
async fn upgrade(addr: SocketAddr, more: &[String]) -> (TcpStream, Answer) {
    let mut stream = TcpStream::connect(addr).await.expect("connect");
    let request = request(&[upgrade_lines(addr), more.to_vec()].concat());
    stream.write_all(request.as_bytes()).await.expect("send");
    let answer = common::answer(&mut stream, false).await;
    (stream, answer)
}

/// The same, which must be let in.
async fn upgraded(addr: SocketAddr, more: &[String]) -> TcpStream {
    let (stream, answer) = upgrade(addr, more).await;
    assert_eq!(answer.status, 101, "{answer:?}");
    stream
}

async fn say(stream: &mut TcpStream, request: Value) {
    let frame = masked(0x81, request.to_string().as_bytes());
    stream.write_all(&frame).await.expect("send");
}

/// The close frame, which must be next.
async fn closed(stream: &mut TcpStream) -> (u16, String) {
    let (first, payload) = frame(stream).await;
    assert_eq!(first, 0x88, "{:?}", String::from_utf8_lossy(&payload));
    let reason = String::from_utf8(payload[2..].to_vec()).expect("UTF-8");
    (u16::from_be_bytes([payload[0], payload[1]]), reason)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

fn subscribe(channel: &str) -> Value {
    json!({"type":"subscribe","id":1,"data":{"channels":[channel]}})
}

#[tokio::test]
async fn a_token_comes_in_the_header_or_as_a_subprotocol_that_is_never_chosen() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = serve(&["--auth-secret-file", &secret_file(dir.path())]).await;
    let addr = server.local_addr();
    let token = token("alice", &["A"]);
    let protocols = |list: String| format!("Sec-WebSocket-Protocol: {list}");
    for (line, chosen) in [
        (bearer(&token), None),
        (bearer(&token).replace("Bearer", "bEARER"), None),
        (
            protocols(format!("odin.v1.json, odin.bearer.{token}")),
            Some("odin.v1.json"),
        ),
        (
            protocols(format!("odin.bearer.{token},odin.v1.json")),
            Some("odin.v1.json"),
        ),
    ] {
        let (mut stream, answer) = upgrade(addr, &[line]).await;
        assert_eq!(
            (answer.status, answer.header("sec-websocket-protocol")),
            (101, chosen)
        );
        let welcome = message(&mut stream).await;
        assert!(welcome["epoch"].is_string(), "{welcome}");
        let ack = message(&mut stream).await;
        assert_eq!(ack["type"], "auth_ack", "{ack}");
        let left = ack["expires_at"].as_u64().expect("seconds") - tokens::now();
        assert!((50..=60).contains(&left), "{ack}");
        say(&mut stream, subscribe("A")).await;
        assert_eq!(message(&mut stream).await["subscribed"], json!(["A"]));
        say(&mut stream, subscribe("B")).await;
        assert_eq!(message(&mut stream).await["code"], "FORBIDDEN");
    }
    // The token alone is no subprotocol that could be chosen.
    let (_, answer) = upgrade(addr, &[protocols(format!("odin.bearer.{token}"))]).await;
    assert_eq!(answer.status, 400);
    assert_eq!(metric(addr, "ws_auth_accepted_total").await, "4");
    assert_eq!(metric(addr, "ws_auth_keys").await, "1");
}

#[tokio::test]
async fn the_first_message_may_be_the_token_and_nothing_else_goes_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = serve(&["--auth-secret-file", &secret_file(dir.path())]).await;
    let addr = server.local_addr();
    let mut stream = upgraded(addr, &[]).await;
    let welcome = message(&mut stream).await;
    assert_eq!(welcome["epoch"], Value::Null, "{welcome}");
    say(&mut stream, subscribe("A")).await;
    assert_eq!(message(&mut stream).await["code"], "UNAUTHORIZED");
    let claims = claims("alice", &["A"], 60);
    say(
        &mut stream,
        json!({"type":"auth","id":"t","data":{"token":sign(&claims)}}),
    )
    .await;
    let ack = json!({"type":"auth_ack","id":"t","expires_at":claims["exp"]});
    assert_eq!(message(&mut stream).await, ack);
    say(&mut stream, subscribe("A")).await;
    assert!(message(&mut stream).await["epoch"].is_string());
    assert_eq!(publish(addr, "A", "1").await.status, 200);
    assert_eq!(message(&mut stream).await["seq"], 1);

    // Several requests in one packet are answered in their order, whatever is verified between them.
    let mut stream = upgraded(addr, &[]).await;
    let auth = json!({"type":"auth","id":2,"data":{"token":sign(&claims)}});
    let three: Vec<u8> = [subscribe("A"), auth, subscribe("A")]
        .iter()
        .flat_map(|request| masked(0x81, request.to_string().as_bytes()))
        .collect();
    stream.write_all(&three).await.expect("send");
    let mut types = Vec::new();
    for _ in 0..4 {
        types.push(message(&mut stream).await["type"].clone());
    }
    assert_eq!(types, ["welcome", "error", "auth_ack", "subscription_ack"]);
}

#[tokio::test]
async fn who_shows_no_token_in_time_or_a_bad_one_is_closed_with_4001() {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = secret_file(dir.path());
    let server = serve(&["--auth-secret-file", &secret, "--auth-timeout", "300ms"]).await;
    let addr = server.local_addr();
    let mut silent = upgraded(addr, &[]).await;
    message(&mut silent).await;
    assert_eq!(closed(&mut silent).await, (4001, "unauthorized".into()));

    let mut bad = upgraded(addr, &[]).await;
    message(&mut bad).await;
    say(
        &mut bad,
        json!({"type":"auth","id":1,"data":{"token":"a.b.c"}}),
    )
    .await;
    let error = message(&mut bad).await;
    assert_eq!(
        (&error["code"], &error["id"]),
        (&json!("UNAUTHORIZED"), &json!(1))
    );
    assert_eq!(error["message"], "the token is not accepted: malformed");
    assert_eq!(closed(&mut bad).await, (4001, "unauthorized".into()));
    let failures = "ws_auth_failures_total{reason=\"malformed\"}";
    assert_eq!(metric(addr, failures).await, "1");
    drop((silent, bad));
    metric_becomes(addr, "ws_disconnects_total{reason=\"unauthorized\"}", "2").await;
}

#[tokio::test]
async fn a_bad_token_at_the_upgrade_is_401_and_takes_no_place() {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = secret_file(dir.path());
    let server = serve(&["--auth-secret-file", &secret, "--max-connections", "1"]).await;
    let addr = server.local_addr();
    let good = token("alice", &["A"]);
    let mut late = claims("alice", &["A"], 0);
    late["exp"] = json!(tokens::now() - 60);
    let subprotocol = format!("Sec-WebSocket-Protocol: odin.v1.json, odin.bearer.{good}");
    for (lines, fault) in [
        (vec![bearer(&sign(&late))], "expired"),
        (vec![bearer("hunter2")], "malformed"),
        (vec![bearer(&format!("{good}A"))], "signature"),
        (vec![bearer(&good), subprotocol.clone()], "ambiguous"),
        (vec![bearer(&good), bearer(&good)], "ambiguous"),
        (
            vec![format!("{subprotocol}, odin.bearer.{good}")],
            "ambiguous",
        ),
        (vec![bearer(&"A".repeat(7 * 1024))], "malformed"),
    ] {
        let request = request(&[upgrade_lines(addr), lines.clone()].concat());
        let answer = ask(addr, request).await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (401, "unauthorized"),
            "{lines:?}"
        );
        let message = format!("The token is not accepted: {fault}.");
        assert_eq!(answer.json()["message"], json!(message), "{lines:?}");
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge, Some("Bearer error=\"invalid_token\""));
    }
    for (fault, count) in [
        ("expired", "1"),
        ("malformed", "2"),
        ("signature", "1"),
        ("ambiguous", "3"),
    ] {
        let series = format!("ws_auth_failures_total{{reason=\"{fault}\"}}");
        assert_eq!(metric(addr, &series).await, count, "{fault}");
    }
    let series = "ws_handshakes_failed_total{reason=\"unauthorized\"}";
    assert_eq!(metric(addr, series).await, "7");
    // The one place is free, and credentials for somebody on the way are none of ours.
    let mut stream = upgraded(addr, &["Authorization: Basic YTpi".to_owned()]).await;
    assert_eq!(message(&mut stream).await["epoch"], Value::Null);
}

#[tokio::test]
async fn a_connection_ends_with_its_token_unless_it_shows_another_of_the_same_subject() {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = secret_file(dir.path());
    let server = serve(&["--auth-secret-file", &secret, "--auth-leeway", "0s"]).await;
    let addr = server.local_addr();
    let claims = claims("alice", &["A", "B"], 3);
    let exp = claims["exp"].as_u64().expect("seconds");
    let lines = [bearer(&sign(&claims))];
    let mut lazy = upgraded(addr, &lines).await;
    let mut eager = upgraded(addr, &lines).await;
    let mut other = upgraded(addr, &lines).await;
    for stream in [&mut lazy, &mut eager, &mut other] {
        message(stream).await;
        message(stream).await;
        say(
            stream,
            json!({"type":"subscribe","data":{"channels":["A","B"]}}),
        )
        .await;
        assert_eq!(message(stream).await["type"], "subscription_ack");
    }
    let auth = |token: String| json!({"type":"auth","id":9,"data":{"token":token}});
    say(&mut eager, auth(token("alice", &["B"]))).await;
    assert_eq!(message(&mut eager).await["type"], "auth_ack");
    let ended =
        json!({"type":"unsubscription_ack","unsubscribed":["A"],"count":1,"reason":"forbidden"});
    assert_eq!(message(&mut eager).await, ended);
    say(&mut other, auth(token("bob", &["A", "B"]))).await;
    assert_eq!(message(&mut other).await["code"], "FORBIDDEN");
    assert_eq!(closed(&mut other).await, (4003, "forbidden".into()));

    assert_eq!(closed(&mut lazy).await, (4001, "expired".into()));
    let late = tokens::now() - exp;
    assert!(late < 5, "{late} s after it expired");
    for channel in ["A", "B"] {
        assert_eq!(publish(addr, channel, "1").await.status, 200);
    }
    assert_eq!(message(&mut eager).await["channel"], "B");
}

/// Its socket is full, so that it can be told nothing.
#[tokio::test]
async fn who_does_not_read_is_gone_five_seconds_after_its_token() {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = secret_file(dir.path());
    let flags = [
        "--auth-secret-file",
        &secret,
        "--auth-leeway=1s",
        "--send-buffer=4KiB",
        "--write-stall=0",
    ];
    let server = serve(&flags).await;
    let addr = server.local_addr();
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(2048).expect("a buffer");
    let mut stream = socket.connect(addr).await.expect("connect");
    let claims = claims("alice", &["A"], 3);
    let request = request(&[upgrade_lines(addr), vec![bearer(&sign(&claims))]].concat());
    stream.write_all(request.as_bytes()).await.expect("send");
    assert_eq!(common::answer(&mut stream, false).await.status, 101);
    say(&mut stream, subscribe("A")).await;
    for _ in 0..3 {
        message(&mut stream).await;
    }
    let large = format!("\"{}\"", "x".repeat(900_000));
    assert_eq!(publish(addr, "A", &large).await.status, 200);
    let expired = "ws_disconnects_total{reason=\"expired\"}";
    metric_becomes(addr, expired, "1").await;
    assert_eq!(metric(addr, "ws_connections_active").await, "0");
    // The leeway, the time to close, and what a busy machine may need.
    let late = tokens::now() - claims["exp"].as_u64().expect("seconds");
    assert!((6..12).contains(&late), "{late} s after it expired");
    // Of the message a part had been written, and it never becomes whole.
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest).await;
    assert!(rest.len() < large.len(), "{ended:?}");
}

#[tokio::test]
async fn what_is_revoked_is_closed_when_the_list_is_read_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let secret = secret_file(dir.path());
    let list = write(dir.path(), "revoked", "");
    let server = serve(&[
        "--auth-secret-file",
        &secret,
        "--auth-revoked",
        &list,
        "--shards",
        "2",
    ])
    .await;
    let addr = server.local_addr();
    let token = |id: &str| {
        let mut claims = claims("alice", &["A"], 60);
        claims["jti"] = json!(id);
        sign(&claims)
    };
    let mut streams = Vec::new();
    for id in ["one", "two", "three"] {
        let mut stream = upgraded(addr, &[bearer(&token(id))]).await;
        message(&mut stream).await;
        message(&mut stream).await;
        streams.push(stream);
    }
    // The one that a connection lives by counts, and no earlier one.
    say(
        &mut streams[2],
        json!({"type":"auth","data":{"token":token("four")}}),
    )
    .await;
    message(&mut streams[2]).await;
    write(dir.path(), "revoked", "two\nthree\n");
    server.reload().await;
    assert_eq!(closed(&mut streams[1]).await, (4001, "revoked".into()));
    let (_, answer) = upgrade(addr, &[bearer(&token("two"))]).await;
    assert_eq!(answer.status, 401);
    for index in [0, 2] {
        say(&mut streams[index], json!({"type":"heartbeat"})).await;
        assert_eq!(message(&mut streams[index]).await["type"], "pong");
    }
    assert_eq!(metric(addr, "ws_reloads_total{outcome=\"ok\"}").await, "2");
    // A list that cannot be read is no list without entries.
    std::fs::remove_file(&list).expect("the list");
    server.reload().await;
    let (_, answer) = upgrade(addr, &[bearer(&token("two"))]).await;
    assert_eq!(answer.status, 401);
    assert_eq!(
        metric(addr, "ws_reloads_total{outcome=\"failed\"}").await,
        "1"
    );
    // Nor does what is wrong with the keys keep a token from being revoked.
    std::fs::remove_file(&secret).expect("the secret");
    write(dir.path(), "revoked", "one\n");
    server.reload().await;
    assert_eq!(closed(&mut streams[0]).await, (4001, "revoked".into()));
    say(&mut streams[2], json!({"type":"heartbeat"})).await;
    assert_eq!(message(&mut streams[2]).await["type"], "pong");
    for (outcome, count) in [("ok", "4"), ("failed", "2")] {
        let series = format!("ws_reloads_total{{outcome=\"{outcome}\"}}");
        assert_eq!(metric(addr, &series).await, count, "{outcome}");
    }
}

/// Nothing that costs more than a good token: bad ones are bounded by the rate of messages.
#[tokio::test]
async fn a_client_that_shows_bad_tokens_again_and_again_ends_at_the_first() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = serve(&["--auth-secret-file", &secret_file(dir.path())]).await;
    let addr = server.local_addr();
    let mut stream = upgraded(addr, &[]).await;
    message(&mut stream).await;
    let begun = Instant::now();
    let auth = json!({"type":"auth","data":{"token":token("alice", &["A"]) + "AAAA"}});
    let many: Vec<u8> = (0..50)
        .flat_map(|_| masked(0x81, auth.to_string().as_bytes()))
        .collect();
    stream.write_all(&many).await.expect("send");
    assert_eq!(message(&mut stream).await["code"], "UNAUTHORIZED");
    assert_eq!(closed(&mut stream).await, (4001, "unauthorized".into()));
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "without waiting for auth_timeout"
    );
    assert_eq!(
        metric(addr, "ws_auth_failures_total{reason=\"signature\"}").await,
        "1"
    );
}
