//! What clients are expected to receive.

use serde_json::{Value, json};

/// When the message with this seq was stored.
pub fn ts(seq: u64) -> u64 {
    1_000_000 + seq
}

/// A message whose data is its seq, as [`World::publish`] makes them.
pub fn msg(channel: &str, seq: u64, prev: impl Into<Option<u64>>) -> Value {
    let prev = prev.into();
    json!({"type":"message","channel":channel,"seq":seq,"prev":prev,"ts":ts(seq),"data":seq})
}

pub fn lost(channel: &str, from: u64, to: u64, reason: &str) -> Value {
    json!({"type":"lost","channel":channel,"from":from,"to":to,"reason":reason})
}

pub fn reset(epoch: &str, reason: &str) -> Value {
    json!({"type":"reset","epoch":epoch,"reason":reason})
}

pub fn close(code: u16, reason: &str) -> Value {
    json!({"close":code,"reason":reason})
}

/// Messages in the order of seq: between subscriptions no order is promised.
pub fn by_seq(mut messages: Vec<Value>) -> Vec<Value> {
    messages.sort_by_key(|message| message["seq"].as_u64());
    messages
}

/// The length of a message's frame on the wire.
pub fn frame_len(message: &Value) -> usize {
    let text = message.to_string().len();
    text + if text < 126 { 2 } else { 4 }
}

/// An error's code and id, for the text is made for people.
pub fn error_of(message: &Value) -> (&str, &Value) {
    assert_eq!(message["type"], "error", "{message}");
    (message["code"].as_str().unwrap(), &message["id"])
}
