//! What must hold for any message of a client.

use odin_core::name;
use odin_core::wire::event;
use odin_core::wire::request::{Body, Request, parse};
use serde_json::value::RawValue;

/// The request parser is total: it takes or refuses any text without a panic, and always the same way;
/// what it takes keeps the promises of its types, and what it refuses can be answered. Gives the
/// request, or the code of its error; bytes that are not UTF-8 never reach the parser and give `None`.
pub(crate) fn client_request(bytes: &[u8]) -> Option<Result<Request, &'static str>> {
    let text = core::str::from_utf8(bytes).ok()?;
    let result = parse(text);
    assert_eq!(
        result,
        parse(text),
        "the same text was judged twice, differently"
    );
    let frame = match &result {
        Ok(request) => {
            kept_promises(&request.body);
            event::pong(request.id.as_ref(), 0)
        }
        Err(rejected) => {
            let id = rejected.id.as_ref();
            let frame = event::error(rejected.code, &rejected.message, id);
            assert!(frame.len() < 2048, "the answer to a refusal is short");
            frame
        }
    };
    // The header of an answer this short has two bytes, or four from a payload of 126 bytes on.
    let payload = &frame[if frame[1] == 126 { 4 } else { 2 }..];
    // Judged by its grammar: an id such as 1e999 or a lone surrogate is echoed, but has no value in Rust.
    let answer = serde_json::from_slice::<&RawValue>(payload);
    assert!(answer.is_ok(), "an answer is JSON: {answer:?}");
    Some(result.map_err(|rejected| rejected.code.label()))
}

fn kept_promises(body: &Body) {
    match body {
        Body::Subscribe(subscribe) => {
            legal(&subscribe.channels);
            for (at, a) in subscribe.channels.iter().enumerate() {
                let others = &subscribe.channels[..at];
                assert!(
                    !others.iter().any(|b| name::intersects(a, b)),
                    "{a} meets another"
                );
            }
            for (channel, _) in subscribe.resume.iter().flat_map(|resume| &resume.positions) {
                assert!(
                    subscribe.channels.contains(channel),
                    "{channel} is not subscribed"
                );
            }
        }
        Body::Unsubscribe { channels } => legal(channels),
        Body::Replay(replay) => {
            assert!(replay.from >= 1);
            assert!(replay.to.is_none_or(|to| to >= replay.from));
            if let Some(channel) = &replay.channel {
                assert_eq!(name::check_channel(channel), Ok(()));
            }
        }
        Body::Heartbeat | Body::Auth(_) => {}
    }
}

fn legal(channels: &[String]) {
    assert!(!channels.is_empty());
    for text in channels {
        assert!(name::check_channel(text).is_ok() || name::check_pattern(text).is_ok());
    }
}
