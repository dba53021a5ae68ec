//! `docs/PROTOCOL.md` against the code: its examples are what is parsed and sent, its tables are whole.

use odin_core::reason::{
    CloseReason, ErrorCode, LostReason, Refusal, ResetReason, TokenFault, UnrecoveredReason,
};
use odin_core::wire::request::parse;
use serde_json::{Deserializer, Value};

const DOCUMENT: &str = include_str!("../../docs/PROTOCOL.md");

/// The indented blocks that are messages.
fn examples() -> Vec<Value> {
    let mut blocks = vec![String::new()];
    for line in DOCUMENT.lines() {
        match line.strip_prefix("    ") {
            Some(code) => blocks.last_mut().unwrap().push_str(code.trim_start()),
            None => blocks.push(String::new()),
        }
    }
    blocks.retain(|block| block.starts_with(r#"{"type""#) && !block.contains("{ ... }"));
    let values = blocks.iter().flat_map(|block| {
        Deserializer::from_str(block)
            .into_iter()
            .map(Result::unwrap)
    });
    values.collect()
}

#[test]
fn the_examples_of_requests_are_requests() {
    let mut seen = Vec::new();
    for example in examples() {
        let kind = example["type"].as_str().unwrap().to_owned();
        if ["subscribe", "unsubscribe", "replay", "heartbeat", "auth"].contains(&kind.as_str()) {
            parse(&example.to_string()).unwrap_or_else(|error| panic!("{example}: {error:?}"));
            seen.push(kind);
        }
    }
    seen.sort();
    assert_eq!(
        seen,
        ["auth", "heartbeat", "replay", "subscribe", "unsubscribe"]
    );
}

#[test]
fn every_message_of_the_server_has_an_example() {
    let examples = examples();
    for kind in [
        "welcome",
        "message",
        "subscription_ack",
        "unsubscription_ack",
        "replay_complete",
        "replay_incomplete",
        "lost",
        "reset",
        "error",
        "pong",
        "goaway",
        "auth_ack",
    ] {
        assert!(examples.iter().any(|e| e["type"] == kind), "{kind}");
    }
}

#[test]
fn every_reason_and_code_is_explained() {
    let row = |label: &str| DOCUMENT.contains(&format!("\n| `{label}` | "));
    for code in ErrorCode::ALL {
        assert!(row(code.label()), "{}", code.label());
    }
    for reason in LostReason::ALL {
        assert!(row(reason.label()), "{}", reason.label());
    }
    for fault in TokenFault::ALL {
        assert!(row(fault.label()), "{}", fault.label());
    }
    for reason in UnrecoveredReason::ALL {
        assert!(row(reason.label()), "{}", reason.label());
    }
    for reason in CloseReason::ALL {
        let code = reason.code();
        assert!(DOCUMENT.contains(&format!("\n| {code} | ")), "{code}");
    }
    let refusals = Refusal::ALL.iter().map(|reason| reason.label());
    for label in refusals.chain(ResetReason::ALL.iter().map(|reason| reason.label())) {
        assert!(DOCUMENT.contains(&format!("`{label}`")), "{label}");
    }
}
