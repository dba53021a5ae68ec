//! How messages of a client that are not well formed are refused: code, words and echoed id.

use odin_core::reason::ErrorCode::{self, *};
use odin_core::wire::request::{Body, parse};
use proptest::prelude::*;

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
fn what_is_not_json() {
    let long = format!("{}x", " ".repeat(16 * 1024));
    for text in [
        "",
        " ",
        "x",
        "{",
        "{}{}",
        r#"{"type":"heartbeat",}"#,
        "\u{feff}{}",
        "[1,",
        &long,
    ] {
        let error = parse(text).expect_err(text);
        assert_eq!((error.code, error.id), (InvalidJson, None), "{text}");
        assert!(
            error.message.starts_with("the message is not JSON: "),
            "{}",
            error.message
        );
        assert!(error.message.len() < 128, "{}", error.message);
    }
}

#[test]
fn the_envelope() {
    for text in [
        "[]",
        "1",
        "null",
        r#""subscribe""#,
        r#"[{"type":"heartbeat"}]"#,
    ] {
        refused(text, InvalidRequest, "the message must be an object", None);
    }
    for (text, code, message) in [
        (r#"{"id":7}"#, InvalidRequest, "type is missing"),
        (
            r#"{"id":7,"type":null}"#,
            InvalidRequest,
            "type must be a string",
        ),
        (
            r#"{"type":"x\"y","id":7}"#,
            UnknownType,
            "the type \"x\"y\" is unknown",
        ),
        (
            r#"{"type":"Subscribe","id":7}"#,
            UnknownType,
            "the type \"Subscribe\" is unknown",
        ),
        (
            r#"{"type":"zzz","id":7,"extra":1}"#,
            UnknownType,
            "the type \"zzz\" is unknown",
        ),
        (
            r#"{"type":"subscribe","id":7}"#,
            InvalidRequest,
            "data is missing",
        ),
        (
            r#"{"type":"auth","id":7,"data":null}"#,
            InvalidRequest,
            "data must be an object",
        ),
        (
            r#"{"type":"heartbeat","id":7,"data":{"a":1}}"#,
            InvalidRequest,
            "data.a is not a field of this message",
        ),
        (
            r#"{"type":"heartbeat","id":7,"extra":1}"#,
            InvalidRequest,
            "extra is not a field of this message",
        ),
        (
            r#"{"type":"heartbeat","id":7,"type":"auth"}"#,
            InvalidRequest,
            "type is given twice",
        ),
        (
            r#"{"type":"auth","id":7,"data":{"token":"a","token":"b"}}"#,
            InvalidRequest,
            "data.token is given twice",
        ),
        (
            r#"{"type":"auth","id":7,"data":{}}"#,
            InvalidRequest,
            "data.token is missing",
        ),
        (
            r#"{"type":"auth","id":7,"data":{"token":5}}"#,
            InvalidRequest,
            "data.token must be a string",
        ),
        (
            r#"{"type":"auth","id":7,"data":{"token":"\ud800"}}"#,
            InvalidRequest,
            "data.token must be a string",
        ),
        (
            r#"{"type":"auth","id":7,"data":{"\ud800":1}}"#,
            InvalidRequest,
            "data must be an object whose keys are valid Unicode",
        ),
    ] {
        refused(text, code, message, Some("7"));
    }
    let text = format!(r#"{{"type":"{}"}}"#, "é".repeat(65));
    let message = format!("the type \"{}…\" is unknown", "é".repeat(64));
    refused(&text, UnknownType, &message, None);
}

#[test]
fn ill_typed_subscribes() {
    for (data, message) in [
        ("{}", "data.channels is missing"),
        (
            r#"{"channels":"a"}"#,
            "data.channels must be a list of strings",
        ),
        (
            r#"{"channels":["a",1]}"#,
            "data.channels must be a list of strings",
        ),
        (
            r#"{"channels":[]}"#,
            "data.channels must be a list with at least one channel",
        ),
        (
            r#"{"channels":["a"],"mode":"fast"}"#,
            r#"data.mode must be "lossless" or "latest""#,
        ),
        (
            r#"{"channels":["a"],"mode":1}"#,
            "data.mode must be a string",
        ),
        (
            r#"{"channels":["a"],"snapshot":"yes"}"#,
            "data.snapshot must be true or false",
        ),
        (
            r#"{"channels":["a"],"on_lost":"cry"}"#,
            r#"data.on_lost must be "close" or "continue""#,
        ),
        (
            r#"{"channels":["a"],"resume":null}"#,
            "data.resume must be an object",
        ),
        (
            r#"{"channels":["a"],"channel":"b"}"#,
            "data.channel is not a field of this message",
        ),
        (
            r#"{"channels":["a"],"channels":["b"]}"#,
            "data.channels is given twice",
        ),
    ] {
        data_refused("subscribe", data, InvalidRequest, message);
    }
}

#[test]
fn ill_typed_resumes() {
    let position = "data.resume.positions.a must be a whole number from 0 to 18446744073709551615, \
                    or an object with seq and ts";
    for (resume, message) in [
        ("{}", "data.resume.epoch is missing"),
        (
            r#"{"epoch":null,"positions":{}}"#,
            "data.resume.epoch must be a string",
        ),
        (r#"{"epoch":"e"}"#, "data.resume.positions is missing"),
        (
            r#"{"epoch":"e","positions":[]}"#,
            "data.resume.positions must be an object",
        ),
        (
            r#"{"epoch":"e","positions":{},"x":1}"#,
            "data.resume.x is not a field of this message",
        ),
        (
            r#"{"epoch":"e","positions":{"a":1,"a":1}}"#,
            "data.resume.positions.a is given twice",
        ),
        (r#"{"epoch":"e","positions":{"a":-1}}"#, position),
        (r#"{"epoch":"e","positions":{"a":null}}"#, position),
        (
            r#"{"epoch":"e","positions":{"a":{"ts":1}}}"#,
            "data.resume.positions.a.seq is missing",
        ),
        (
            r#"{"epoch":"e","positions":{"a":{"seq":1,"x":1}}}"#,
            "data.resume.positions.a.x is not a field of this message",
        ),
    ] {
        let data = format!(r#"{{"channels":["a"],"resume":{resume}}}"#);
        data_refused("subscribe", &data, InvalidRequest, message);
    }
    data_refused(
        "subscribe",
        r#"{"channels":["a","b.*"],"resume":{"epoch":"e","positions":{"a":1,"b.c":1}}}"#,
        InvalidResume,
        "there is a position for \"b.c\", which the request does not subscribe",
    );
}

#[test]
fn bad_names() {
    let long = "n".repeat(129);
    let shown = "n".repeat(64);
    for kind in ["subscribe", "unsubscribe"] {
        for (name, code, message) in [
            ("", InvalidChannel, "the channel name \"\" is not valid: it must not be empty".to_owned()),
            (&long, InvalidChannel, format!("the channel name \"{shown}…\" is not valid: it must not be longer than 128 bytes")),
            ("a b", InvalidChannel, "the channel name \"a b\" is not valid: it must not have white space or control characters".into()),
            ("a*", InvalidPattern, "the pattern \"a*\" is not valid: a wildcard must be a whole token".into()),
            (">.a", InvalidPattern, "the pattern \">.a\" is not valid: the wildcard > must be the last token".into()),
        ] {
            data_refused(kind, &format!(r#"{{"channels":["ok","{name}"]}}"#), code, &message);
        }
    }
}

#[test]
fn names_that_meet() {
    for (channels, code, message) in [
        (
            r#"["a","b","a"]"#,
            AlreadySubscribed,
            r#"the request names "a" twice"#,
        ),
        (
            r#"["a.*","a.*"]"#,
            AlreadySubscribed,
            r#"the request names "a.*" twice"#,
        ),
        (
            r#"["x","a.b","a.*"]"#,
            SubscriptionOverlap,
            r#""a.*" and "a.b" of the request have channels in common"#,
        ),
        (
            r#"["*.b","a.>"]"#,
            SubscriptionOverlap,
            r#""*.b" and "a.>" of the request have channels in common"#,
        ),
    ] {
        data_refused(
            "subscribe",
            &format!(r#"{{"channels":{channels}}}"#),
            code,
            message,
        );
    }
    data_refused(
        "unsubscribe",
        r#"{"channels":["a","a"]}"#,
        InvalidRequest,
        r#"data.channels has "a" twice"#,
    );
    body(r#"{"type":"subscribe","data":{"channels":["a.*","b.>","a","a.b.c"]}}"#);
}

/// A message of 16 KiB holds thousands of patterns, of which only so many are compared.
#[test]
fn the_patterns_of_a_request_are_bounded() {
    let with = |count: usize| {
        let names: Vec<_> = (0..count).map(|n| format!("\"*.{n}\"")).collect();
        format!(
            r#"{{"type":"subscribe","data":{{"channels":[{}]}}}}"#,
            names.join(",")
        )
    };
    body(&with(64));
    refused(
        &with(65),
        TooManyPatterns,
        "a request may name at most 64 patterns",
        None,
    );
}

#[test]
fn deep_nesting_is_refused_without_recursion() {
    let depth = 100_000;
    let nested = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    refused(
        &nested,
        InvalidRequest,
        "the message must be an object",
        None,
    );
    let open = "[".repeat(depth);
    assert_eq!(parse(&open).unwrap_err().code, InvalidJson);
    for (text, message) in [
        (format!(r#"{{"type":{nested}}}"#), "type must be a string"),
        (
            format!(r#"{{"type":"subscribe","data":{{"channels":{nested}}}}}"#),
            "data.channels must be a list of strings",
        ),
        (
            format!(r#"{{"type":"heartbeat","x":{nested}}}"#),
            "x is not a field of this message",
        ),
    ] {
        refused(&text, InvalidRequest, message, None);
    }
}

proptest! {
    #[test]
    fn any_text_has_an_answer(text in any::<String>()) {
        prop_assert!(parse(&text).is_err());
    }

    /// A good request with some of its text cut, doubled or replaced is taken or refused, never a panic.
    #[test]
    fn mangled_requests_have_an_answer(
        at in 0usize..220,
        cut in 0usize..8,
        insert in "[\\[\\]{}\",:a*>.0-9\\\\ ]{0,6}",
    ) {
        let good = concat!(
            r#"{"type":"subscribe","id":1,"data":{"channels":["BTC.trade","ETH.*"],"mode":"latest","#,
            r#""snapshot":true,"on_lost":"close","resume":{"epoch":"9f2c","positions":{"BTC.trade":1042,"#,
            r#""ETH.*":{"seq":1040,"ts":5}}}}}"#
        );
        let at = at.min(good.len());
        let end = (at + cut).min(good.len());
        let text = format!("{}{insert}{}", &good[..at], &good[end..]);
        match parse(&text) {
            Ok(request) => prop_assert!(matches!(request.body, Body::Subscribe(_))),
            Err(error) => prop_assert!(!error.message.is_empty()),
        }
    }
}
