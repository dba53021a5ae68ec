//! The messages of a client: what is taken, and how everything else is refused.

use odin_core::reason::ErrorCode::{self, *};
use odin_core::wire::request::{
    Body, Mode, OnLost, Position, Replay, Request, Resume, Subscribe, parse,
};

fn body(text: &str) -> Body {
    parse(text)
        .unwrap_or_else(|error| panic!("{text}: {error:?}"))
        .body
}

/// Asserts the whole refusal: code, message, and the id that is echoed.
fn refused(text: &str, code: ErrorCode, message: &str, id: Option<&str>) {
    let error = parse(text).expect_err(text);
    let echoed = error.id.as_ref().map(|id| id.as_json());
    assert_eq!(
        (error.code, error.message.as_str(), echoed),
        (code, message, id),
        "{text}"
    );
}

/// Asserts how the `data` of a message of this type is refused.
fn data_refused(kind: &str, data: &str, code: ErrorCode, message: &str) {
    let text = format!(r#"{{"type":"{kind}","id":7,"data":{data}}}"#);
    refused(&text, code, message, Some("7"));
}

#[test]
fn subscribe_in_full() {
    let text = r#"{"type":"subscribe","id":1,"data":{"channels":["BTC.trade","ETH.*"],
        "mode":"latest","snapshot":true,"on_lost":"continue",
        "resume":{"epoch":"9f2c","positions":{"ETH.*":{"seq":1040,"ts":5},"BTC.trade":1042}}}}"#;
    let request = parse(text).unwrap();
    assert_eq!(request.id.unwrap().as_json(), "1");
    let position = |seq, ts| Position { seq, ts };
    let expected = Subscribe {
        channels: vec!["BTC.trade".into(), "ETH.*".into()],
        mode: Mode::Latest,
        snapshot: true,
        on_lost: OnLost::Continue,
        resume: Some(Resume {
            epoch: "9f2c".into(),
            positions: vec![
                ("ETH.*".into(), position(1040, Some(5))),
                ("BTC.trade".into(), position(1042, None)),
            ],
        }),
    };
    assert_eq!(request.body, Body::Subscribe(expected));
}

#[test]
fn subscribe_defaults() {
    let expected = Subscribe {
        channels: vec!["BTC/USDT".into()],
        mode: Mode::Lossless,
        snapshot: false,
        on_lost: OnLost::Close,
        resume: None,
    };
    let text = r#" {"data":{"channels":["BTC\/USDT"]},"type":"subscribe"} "#;
    let expected = Request {
        id: None,
        body: Body::Subscribe(expected),
    };
    assert_eq!(parse(text), Ok(expected));
    // Positions may be fewer than channels; an object of a position may do without its time.
    let text = r#"{"type":"subscribe","data":{"channels":["a","b"],
        "resume":{"epoch":"","positions":{"b":{"seq":0}}}}}"#;
    let Body::Subscribe(Subscribe {
        resume: Some(resume),
        ..
    }) = body(text)
    else {
        panic!("no resume");
    };
    let position = Position { seq: 0, ts: None };
    assert_eq!(resume.positions, [("b".to_owned(), position)]);
}

#[test]
fn the_other_requests() {
    for text in [
        r#"{"type":"heartbeat"}"#,
        r#"{"type":"heartbeat","data":{}}"#,
    ] {
        assert_eq!(body(text), Body::Heartbeat);
    }
    let Body::Auth(token) = body(r#"{"type":"auth","data":{"token":"se\u0063ret"}}"#) else {
        panic!("a token")
    };
    assert_eq!(
        (token.expose(), format!("{token:?}").as_str()),
        ("secret", "***")
    );
    let channels = vec!["a".into(), "b.>".into()];
    let text = r#"{"type":"unsubscribe","data":{"channels":["a","b.>"]}}"#;
    assert_eq!(body(text), Body::Unsubscribe { channels });
}

#[test]
fn replays() {
    for (data, channel, from, to) in [
        (
            r#"{"channel":"a","from":1001,"to":1042}"#,
            Some("a"),
            1001,
            Some(1042),
        ),
        (r#"{"channel":"a","from":5,"to":5}"#, Some("a"), 5, Some(5)),
        (r#"{"since":1000}"#, None, 1001, None),
        (r#"{"since":0,"to":1}"#, None, 1, Some(1)),
        (r#"{"since":18446744073709551614}"#, None, u64::MAX, None),
    ] {
        let text = format!(r#"{{"type":"replay","data":{data}}}"#);
        let channel = channel.map(Into::into);
        assert_eq!(body(&text), Body::Replay(Replay { channel, from, to }));
    }
    let whole = "a whole number from 0 to 18446744073709551615";
    for (data, message) in [
        (
            "{}",
            "data.from is missing, and data.since as well".to_owned(),
        ),
        (
            r#"{"from":1,"since":0}"#,
            "data.from and data.since must not be given together".into(),
        ),
        (r#"{"from":0}"#, "data.from must be at least 1".into()),
        (r#"{"from":-1}"#, format!("data.from must be {whole}")),
        (r#"{"from":1.0}"#, format!("data.from must be {whole}")),
        (r#"{"from":"1"}"#, format!("data.from must be {whole}")),
        (
            r#"{"from":18446744073709551616}"#,
            format!("data.from must be {whole}"),
        ),
        (
            r#"{"since":18446744073709551615}"#,
            "data.since must be less than 18446744073709551615".into(),
        ),
        (
            r#"{"from":5,"to":4}"#,
            "data.to must be at least 5, the first seq".into(),
        ),
        (
            r#"{"since":5,"to":5}"#,
            "data.to must be at least 6, the first seq".into(),
        ),
        (
            r#"{"from":1,"to":null}"#,
            format!("data.to must be {whole}"),
        ),
        (
            r#"{"from":1,"channel":5}"#,
            "data.channel must be a string".into(),
        ),
        (
            r#"{"from":1,"limit":5}"#,
            "data.limit is not a field of this message".into(),
        ),
    ] {
        data_refused("replay", data, InvalidRequest, &message);
    }
    data_refused(
        "replay",
        r#"{"from":1,"channel":"a.*"}"#,
        InvalidChannel,
        "the channel name \"a.*\" is not valid: a channel name must not have the wildcards * and >",
    );
}

#[test]
fn ids_are_echoed_as_written() {
    for id in [
        "0",
        "-1.50e+7",
        r#""""#,
        r#""a\"\u00e9\n""#,
        "123456789012345678901234567890",
    ] {
        let text = format!(r#"{{"type":"heartbeat","id": {id} }}"#);
        assert_eq!(parse(&text).unwrap().id.unwrap().as_json(), id);
    }
    let longest = format!("\"{}\"", "x".repeat(126));
    let text = format!(r#"{{"id":{longest},"type":"heartbeat"}}"#);
    assert_eq!(parse(&text).unwrap().id.unwrap().as_json(), longest);
    let text = format!(r#"{{"id":"{}","type":"heartbeat"}}"#, "x".repeat(127));
    refused(
        &text,
        InvalidRequest,
        "id must be at most 128 bytes long",
        None,
    );
    for id in ["null", "true", "[1]", r#"{"a":1}"#] {
        let text = format!(r#"{{"type":"heartbeat","id":{id}}}"#);
        refused(
            &text,
            InvalidRequest,
            "id must be a number or a string",
            None,
        );
    }
    refused(
        r#"{"type":"heartbeat","id":1,"id":2}"#,
        InvalidRequest,
        "id is given twice",
        None,
    );
}
