//! What clients send after the upgrade: each break of the protocol has its close code, and leaves
//! every other client untouched.

mod common;

use common::{frame, masked, message, metric_becomes, publish, serve, subscribe, upgraded};
use tokio::io::AsyncWriteExt;

/// The close frame's payload, after whatever came before it.
async fn closed(stream: &mut tokio::net::TcpStream) -> Vec<u8> {
    loop {
        if let (0x88, payload) = frame(stream).await {
            return payload;
        }
    }
}

#[tokio::test]
async fn every_break_of_the_protocol_has_its_close_code() {
    let server = serve(&["--shards", "1"]).await;
    let addr = server.local_addr();
    let mut bystander = upgraded(addr).await;
    subscribe(&mut bystander, "BTC").await;
    let close = |code: u16| code.to_be_bytes().to_vec();
    let mut too_big = vec![0x81, 0x80 | 126];
    too_big.extend(16_385_u16.to_be_bytes());
    too_big.extend([0; 4]);
    let fragments = [masked(0x01, &[b' '; 16_000]), masked(0x80, &[b' '; 385])].concat();
    let cases = [
        (
            "an unmasked frame",
            vec![0x81, 0x02, b'h', b'i'],
            close(1002),
        ),
        ("a reserved bit", masked(0xC1, b"x"), close(1002)),
        ("a reserved opcode", masked(0x83, b"x"), close(1002)),
        ("a ping in fragments", masked(0x09, b"x"), close(1002)),
        ("a ping of 126 bytes", masked(0x89, &[0; 126]), close(1002)),
        ("a fragment of nothing", masked(0x80, b"x"), close(1002)),
        ("a close frame of one byte", masked(0x88, b"x"), close(1002)),
        (
            "a close code that must not be sent",
            masked(0x88, &close(1005)),
            close(1002),
        ),
        ("a binary message", masked(0x82, b"x"), close(1003)),
        ("text that is not UTF-8", masked(0x81, b"\xFF"), close(1007)),
        ("a header that announces too much", too_big, close(1009)),
        (
            "fragments that are too much together",
            fragments,
            close(1009),
        ),
        ("a close frame", masked(0x88, &close(1000)), close(1000)),
        (
            "a close frame with a reason",
            masked(0x88, b"\x0F\xA0bye"),
            close(1000),
        ),
        (
            "a close frame without a code",
            masked(0x88, b""),
            close(1000),
        ),
    ];
    for (name, bytes, expected) in cases {
        let mut client = upgraded(addr).await;
        client.write_all(&bytes).await.expect("send");
        let payload = closed(&mut client).await;
        assert_eq!(payload.get(..2).unwrap_or_default(), expected, "{name}");
    }
    metric_becomes(addr, "ws_connections_active", "1").await;
    assert_eq!(publish(addr, "BTC", "7").await.status, 200);
    let heard = message(&mut bystander).await;
    assert_eq!(
        (&heard["type"], &heard["data"]),
        (&"message".into(), &7.into())
    );
}

#[tokio::test]
async fn the_largest_message_is_taken_whole_and_in_fragments() {
    let server = serve(&[]).await;
    let mut client = upgraded(server.local_addr()).await;
    assert_eq!(message(&mut client).await["type"], "welcome");
    let mut text = br#"{"type":"heartbeat"}"#.to_vec();
    text.resize(16_384, b' ');
    client.write_all(&masked(0x81, &text)).await.expect("send");
    assert_eq!(message(&mut client).await["type"], "pong");
    // A ping may come between the fragments (RFC 6455 5.4).
    let (head, tail) = text.split_at(9);
    let frames = [
        masked(0x01, head),
        masked(0x89, b"amid"),
        masked(0x80, tail),
    ]
    .concat();
    client.write_all(&frames).await.expect("send");
    assert_eq!(frame(&mut client).await, (0x8A, b"amid".to_vec()));
    assert_eq!(message(&mut client).await["type"], "pong");
}

#[tokio::test]
async fn requests_that_come_faster_than_their_answers_are_read_wait_and_are_all_answered() {
    let server = serve(&["--message-rate", "0"]).await;
    let addr = server.local_addr();
    let client = upgraded(addr).await;
    let (mut reader, mut writer) = client.into_split();
    const COUNT: usize = 20_000;
    let request = masked(0x81, br#"{"type":"heartbeat"}"#);
    let sent = tokio::spawn(async move {
        writer
            .write_all(&request.repeat(COUNT))
            .await
            .expect("send");
        writer
    });
    // The one half is read as a stream of its own, so that writing can go on beside it.
    let mut bytes = Vec::new();
    let mut pongs = 0;
    while pongs < COUNT {
        let read = tokio::io::AsyncReadExt::read_buf(&mut reader, &mut bytes);
        let count = tokio::time::timeout(common::PATIENCE, read)
            .await
            .expect("pongs in time");
        assert_ne!(count.expect("bytes"), 0, "closed after {pongs}");
        pongs = bytes
            .windows(6)
            .filter(|window| window == b"\"pong\"")
            .count();
    }
    assert_eq!(pongs, COUNT);
    drop(sent.await);
}
