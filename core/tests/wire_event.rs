//! The messages of the server, byte for byte.

use odin_core::reason::{ErrorCode, LostReason, ResetReason, UnrecoveredReason};
use odin_core::wire::event::{self, SubscriptionAck, Unrecovered};
use odin_core::wire::request::{RequestId, parse};
use proptest::prelude::*;
use serde_json::Value;

/// The payload of a text frame, after a check of its header.
fn payload(frame: &[u8]) -> &str {
    assert_eq!(frame[0], 0x81);
    let (start, len) = match frame[1] {
        126 => (4, u64::from(u16::from_be_bytes([frame[2], frame[3]]))),
        127 => (10, u64::from_be_bytes(frame[2..10].try_into().unwrap())),
        len => (2, u64::from(len)),
    };
    let payload = &frame[start..];
    assert_eq!(payload.len() as u64, len);
    core::str::from_utf8(payload).unwrap()
}

fn id(json: &str) -> Option<RequestId> {
    let text = format!(r#"{{"type":"heartbeat","id":{json}}}"#);
    parse(&text).unwrap().id
}

#[test]
fn a_message_has_its_fields_in_order() {
    let frame = event::message(
        "BTC.trade",
        1043,
        Some(1042),
        1_696_284_123_456,
        br#"{"price":1}"#,
    );
    assert_eq!(
        payload(&frame),
        r#"{"type":"message","channel":"BTC.trade","seq":1043,"prev":1042,"ts":1696284123456,"data":{"price":1}}"#
    );
    let frame = event::message("a\"b\\c", u64::MAX, None, 0, b"1");
    assert_eq!(
        payload(&frame),
        r#"{"type":"message","channel":"a\"b\\c","seq":18446744073709551615,"prev":null,"ts":0,"data":1}"#
    );
}

#[test]
fn a_payload_is_verbatim_a_string_or_base64() {
    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    for (bytes, data) in [
        // JSON as it is, white space and all.
        (&b"null"[..], "null"),
        (b" {\"a\" :\n1.50e3}\r\n", " {\"a\" :\n1.50e3}\r\n"),
        (b"\"\\ud800 \xc3\xa9\"", "\"\\ud800 é\""),
        (
            b"123456789012345678901234567890",
            "123456789012345678901234567890",
        ),
        (deep.as_bytes(), &deep),
        // UTF-8 that is not JSON.
        (b"", r#""""#),
        (b"hello", r#""hello""#),
        (b"{\"a\":1} x", r#""{\"a\":1} x""#),
        (b"{\"a\":1,}", r#""{\"a\":1,}""#),
        (b"01", r#""01""#),
        (b"NaN", r#""NaN""#),
        (b"\xef\xbb\xbf1", "\"\u{feff}1\""),
        (
            b"a\"\\\n\r\t\0\x1f\x7f\xc3\xa9",
            "\"a\\\"\\\\\\n\\r\\t\\u0000\\u001f\x7fé\"",
        ),
        // Bytes, also inside what would else be JSON; the test vectors are those of RFC 4648 10.
        (b"\xff", r#""/w==","encoding":"base64""#),
        (b"\xff\xfe", r#""//4=","encoding":"base64""#),
        (b"\xff\xfe\xfd", r#""//79","encoding":"base64""#),
        (b"\xfffooba", r#""/2Zvb2Jh","encoding":"base64""#),
        (b"\"\xff\"", r#""Iv8i","encoding":"base64""#),
    ] {
        let frame = event::message("c", 2, Some(0), 3, bytes);
        let expected =
            format!(r#"{{"type":"message","channel":"c","seq":2,"prev":0,"ts":3,"data":{data}}}"#);
        assert_eq!(payload(&frame), expected);
    }
}

#[test]
fn a_message_takes_one_allocation_without_slack() {
    let frame = Vec::from(event::message("c", 2, Some(0), 3, &[b'7'; 300]));
    assert_eq!(frame.capacity(), frame.len());
}

#[test]
fn welcome() {
    let frame = event::welcome("s-1", Some("9f2c"), 25_000, 256);
    let version = odin_core::VERSION;
    assert_eq!(
        payload(&frame),
        format!(
            r#"{{"type":"welcome","session":"s-1","version":"{version}","epoch":"9f2c","ping_ms":25000,"max_channels":256}}"#
        )
    );
    let frame = event::welcome("s", None, 0, 0);
    let value: Value = serde_json::from_str(payload(&frame)).unwrap();
    assert_eq!(value["epoch"], Value::Null);
}

#[test]
fn subscription_acks() {
    let id = id("1");
    let plain = SubscriptionAck {
        id: id.as_ref(),
        subscribed: &["BTC.trade", "ETH.*"],
        count: 2,
        epoch: Some("9f2c"),
        durable: true,
        positions: &[("BTC.trade", Some(1042)), ("ETH.*", None)],
        recovered: &[],
        unrecovered: &[],
    };
    assert_eq!(
        payload(&event::subscription_ack(&plain)),
        concat!(
            r#"{"type":"subscription_ack","id":1,"subscribed":["BTC.trade","ETH.*"],"count":2,"#,
            r#""epoch":"9f2c","durable":true,"positions":{"BTC.trade":1042,"ETH.*":null}}"#
        )
    );
    let resumed = SubscriptionAck {
        recovered: &["BTC.trade"],
        unrecovered: &[
            Unrecovered {
                channel: "ETH.*",
                reason: UnrecoveredReason::TooOld,
                oldest: Some(900),
                newest: Some(1040),
            },
            Unrecovered {
                channel: "X",
                reason: UnrecoveredReason::EpochChanged,
                oldest: None,
                newest: None,
            },
        ],
        ..plain
    };
    assert_eq!(
        payload(&event::subscription_ack(&resumed)),
        concat!(
            r#"{"type":"subscription_ack","id":1,"subscribed":["BTC.trade","ETH.*"],"count":2,"#,
            r#""epoch":"9f2c","durable":true,"positions":{"BTC.trade":1042,"ETH.*":null},"#,
            r#""recovered":["BTC.trade"],"unrecovered":["#,
            r#"{"channel":"ETH.*","reason":"too_old","oldest":900,"newest":1040},"#,
            r#"{"channel":"X","reason":"epoch_changed"}]}"#
        )
    );
    let bare = SubscriptionAck {
        id: None,
        subscribed: &["a"],
        count: 1,
        epoch: None,
        durable: false,
        positions: &[],
        recovered: &["a"],
        unrecovered: &[],
    };
    assert_eq!(
        payload(&event::subscription_ack(&bare)),
        concat!(
            r#"{"type":"subscription_ack","subscribed":["a"],"count":1,"epoch":null,"#,
            r#""durable":false,"positions":{},"recovered":["a"],"unrecovered":[]}"#
        )
    );
}

#[test]
fn answers_and_notices() {
    let id = id(r#""é\n""#);
    let id = id.as_ref();
    for (frame, expected) in [
        (
            event::unsubscription_ack(id, &["BTC.trade", "q\""], 0),
            r#"{"type":"unsubscription_ack","id":"é\n","unsubscribed":["BTC.trade","q\""],"count":0}"#,
        ),
        (
            event::unsubscribed(&["A", "B.*"], 1, "forbidden"),
            r#"{"type":"unsubscription_ack","unsubscribed":["A","B.*"],"count":1,"reason":"forbidden"}"#,
        ),
        (
            event::auth_ack(id, 1_696_287_723),
            r#"{"type":"auth_ack","id":"é\n","expires_at":1696287723}"#,
        ),
        (
            event::auth_ack(None, 0),
            r#"{"type":"auth_ack","expires_at":0}"#,
        ),
        (
            event::unsubscription_ack(None, &["BTC.trade"], 3),
            r#"{"type":"unsubscription_ack","unsubscribed":["BTC.trade"],"count":3}"#,
        ),
        (
            event::replay_complete(None, "BTC.trade", 1001, 1042, 42),
            r#"{"type":"replay_complete","channel":"BTC.trade","from":1001,"to":1042,"count":42}"#,
        ),
        (
            event::replay_incomplete(id, "c", 10, "too_old", Some(1033), Some(1042)),
            r#"{"type":"replay_incomplete","id":"é\n","channel":"c","sent":10,"reason":"too_old","oldest":1033,"newest":1042}"#,
        ),
        (
            event::replay_incomplete(None, "c", 0, "unsubscribed", None, None),
            r#"{"type":"replay_incomplete","channel":"c","sent":0,"reason":"unsubscribed"}"#,
        ),
        (
            event::lost(
                Some("BTC.trade"),
                1050,
                Some(1060),
                LostReason::SlowConsumer,
            ),
            r#"{"type":"lost","channel":"BTC.trade","from":1050,"to":1060,"reason":"slow_consumer"}"#,
        ),
        (
            event::lost(None, 7, None, LostReason::Reconnected),
            r#"{"type":"lost","from":7,"to":null,"reason":"reconnected"}"#,
        ),
        (
            event::reset("a410", ResetReason::StreamRecreated),
            r#"{"type":"reset","epoch":"a410","reason":"stream_recreated"}"#,
        ),
        (
            event::error(ErrorCode::RateLimitExceeded, "a \"b\"", id),
            r#"{"type":"error","code":"RATE_LIMIT_EXCEEDED","message":"a \"b\"","id":"é\n"}"#,
        ),
        (
            event::error(ErrorCode::InvalidJson, "", None),
            r#"{"type":"error","code":"INVALID_JSON","message":""}"#,
        ),
        (
            event::pong(id, 1_696_284_123_456),
            r#"{"type":"pong","id":"é\n","ts":1696284123456}"#,
        ),
        (event::pong(None, 0), r#"{"type":"pong","ts":0}"#),
        (
            event::goaway("draining", 8400),
            r#"{"type":"goaway","reason":"draining","reconnect_after_ms":8400}"#,
        ),
    ] {
        assert_eq!(payload(&frame), expected);
    }
}

proptest! {
    /// Whatever is put in, a JSON parser reads the same out again.
    #[test]
    fn messages_read_back(
        channel in any::<String>(),
        seq in any::<u64>(),
        prev in any::<Option<u64>>(),
        ts in any::<u64>(),
        data in any::<String>(),
    ) {
        // A leading letter keeps the payload from being JSON by chance.
        let data = format!("x{data}");
        let frame = event::message(&channel, seq, prev, ts, data.as_bytes());
        let value: Value = serde_json::from_str(payload(&frame)).unwrap();
        prop_assert_eq!(value["channel"].as_str(), Some(channel.as_str()));
        prop_assert_eq!(value["seq"].as_u64(), Some(seq));
        prop_assert_eq!(value["prev"].as_u64(), prev);
        prop_assert_eq!(value["ts"].as_u64(), Some(ts));
        prop_assert_eq!(value["data"].as_str(), Some(data.as_str()));
    }

    /// Every payload makes a frame that is JSON as a whole.
    #[test]
    fn any_payload_makes_json(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let frame = event::message("c", 1, None, 1, &bytes);
        let value: Value = serde_json::from_str(payload(&frame)).unwrap();
        let binary = core::str::from_utf8(&bytes).is_err();
        prop_assert_eq!(value.get("encoding").is_some(), binary);
    }
}
