//! Replays the corpora of the fuzzer, so that what it once found stays fixed without a nightly compiler.

#[path = "../../../fuzz/properties/client_request.rs"]
mod client_request;
#[path = "../../../fuzz/properties/feed.rs"]
mod feed;
#[path = "../../../fuzz/properties/recording.rs"]
mod recording;
#[path = "../../../fuzz/properties/replay.rs"]
mod replay;
#[path = "../../../fuzz/properties/shard.rs"]
mod shard;

use replay::replay;

#[test]
fn client_requests() {
    replay(
        "client_request",
        |bytes| match client_request::client_request(bytes) {
            None => "binary".to_owned(),
            Some(Ok(_)) => "taken".to_owned(),
            Some(Err(code)) => code.to_owned(),
        },
    );
}

#[test]
fn what_comes_from_nats() {
    replay("feed", |bytes| {
        feed::feed(bytes).map_or("none", |(way, _)| way).to_owned()
    });
}

#[test]
fn recordings() {
    replay("recording", |bytes| {
        recording::recording(bytes).unwrap_or("none").to_owned()
    });
}

#[test]
fn operations_of_a_shard() {
    replay("shard", |bytes| {
        let some = |count| if count > 0 { "some" } else { "none" };
        shard::shard(bytes).map_or("none", some).to_owned()
    });
}
