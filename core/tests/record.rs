//! What is recorded can be run again to the same state, whatever happened, and a recording that is
//! damaged is refused.

#[path = "model/draw.rs"]
mod draw;
mod model;

use draw::{op, setup};
use model::world::World;
use odin_core::config::Config;
use odin_core::record::{File, Header, Player, Recording};
use odin_core::shard::{Input, Message, Shard};
use odin_core::time::Instant;
use proptest::prelude::*;
use proptest::test_runner::Config as Cases;

/// Writes to whoever is ready, and takes `room` bytes of each.
fn write_all(shard: &mut Shard, now: Instant, room: usize) {
    while let Some(conn) = shard.poll_ready() {
        let bytes = shard.transmit(now, conn).bytes;
        if bytes > 0 {
            let bytes = bytes.min(room);
            shard.handle(now, Input::Written { conn, bytes });
        }
    }
}

fn replayed(recording: &Recording) -> u64 {
    let mut player: Player<'_, Shard> = Player::new(recording).expect("a checkpoint");
    player.run().expect("the recorded states");
    player.machine.state_hash()
}

proptest! {
    #![proptest_config(Cases {
        failure_persistence: None,
        max_shrink_iters: 1_000,
        rng_seed: draw::rng_seed(),
        ..Cases::with_cases(192)
    })]

    /// A recording of random operations runs again, over one segment or two, to the state in which the
    /// machine was: every call gave what it gave before.
    #[test]
    fn a_recording_runs_again_to_the_same_state(
        setup in setup(),
        ops in prop::collection::vec(op(), 50..300),
        before in 0..50_usize,
        bytes in 8_000..200_000_usize,
    ) {
        let mut world = World::new(&setup);
        for op in &ops[..before] {
            world.step(op);
        }
        world.shard.record(bytes);
        for op in &ops[before..] {
            world.step(op);
        }
        let recording = world.shard.recording(3, true).expect("it is on");
        let on_tape: usize = recording.segments.iter().map(|s| s.checkpoint.len() + s.calls.len()).sum();
        prop_assert!(on_tape <= bytes, "{on_tape} of {bytes} bytes");
        // While the state is larger than its share, and a while after, nothing is recorded.
        if recording.segments.is_empty() {
            prop_assert!(bytes < 150_000, "so small a state always fits");
        } else {
            prop_assert_eq!(replayed(&recording), world.shard.state_hash());
        }
        world.finish();
    }

    /// A machine that was restored goes on exactly as the one that it was taken of.
    #[test]
    fn a_restored_shard_goes_on_alike(
        setup in setup(),
        ops in prop::collection::vec(op(), 50..300),
        before in 0..50_usize,
    ) {
        let mut world = World::new(&setup);
        for op in &ops[..before] {
            world.step(op);
        }
        let twin = Shard::restore(&world.shard.checkpoint()).expect("a checkpoint");
        prop_assert_eq!(twin.state_hash(), world.shard.state_hash());
        prop_assert_eq!(twin.stats(), world.shard.stats());
        prop_assert_eq!(twin.poll_timeout(), world.shard.poll_timeout());
        prop_assert_eq!(twin.lag(world.now), world.shard.lag(world.now));
    }
}

const TOKEN: &str = "s3cr3t-t0k3n";

/// A shard with one client that sent tokens in every way, and its recording.
fn with_tokens() -> (Shard, File) {
    let now = Instant::from_millis(1);
    let mut shard = Shard::new(
        Config {
            message_burst: 5,
            ..Config::default()
        },
        5,
    );
    shard.record(1 << 20);
    let conn = shard.open(now);
    for text in [
        format!(r#"{{"type":"auth","id":7,"data":{{"token":"{TOKEN}"}}}}"#),
        format!(r#"{{"type":"\u0061uth","data":{{"token":"{TOKEN}"}}}}"#),
        format!(r#"{{"type":"auth","data":{{"token":"{TOKEN}"}}"#),
        format!(r#"{{"type":"login","data":{{"jwt":"{TOKEN}"}}}}"#),
        r#"{"type":"subscribe","data":{"channels":["BTC"]}}"#.to_owned(),
        // Over the rate.
        format!(r#"{{"type":"auth","data":{{"token":"{TOKEN}"}}}}"#),
    ] {
        write_all(&mut shard, now, usize::MAX);
        let message = Message::Text(&text);
        shard.handle(now, Input::Message { conn, message });
    }
    let ping = Message::Ping(TOKEN.as_bytes());
    shard.handle(
        now,
        Input::Message {
            conn,
            message: ping,
        },
    );
    write_all(&mut shard, now, 20);
    let file = File {
        header: Header {
            version: "1".into(),
            started_unix_ms: 2,
            written_unix_ms: 3,
            cause: "test".into(),
        },
        recordings: vec![shard.recording(0, true).expect("it is on")],
    };
    (shard, file)
}

#[test]
fn a_token_is_never_recorded_and_what_it_did_is() {
    let (shard, file) = with_tokens();
    let bytes = file.to_bytes();
    assert!(!contains(&bytes, TOKEN.as_bytes()), "a token was recorded");
    assert!(
        contains(&bytes, b"BTC"),
        "the subscription was not recorded"
    );
    assert_eq!(replayed(&file.recordings[0]), shard.state_hash());
    assert_eq!(shard.stats().rate_limited, 2, "the last text and the ping");
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[test]
fn a_damaged_file_is_refused() {
    let (_, file) = with_tokens();
    let bytes = file.to_bytes();
    assert_eq!(File::parse(&bytes), Ok(file));
    for len in 0..bytes.len() {
        assert!(File::parse(&bytes[..len]).is_err(), "cut at {len}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(File::parse(&damaged).is_err(), "bit {bit}");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(File::parse(&longer).is_err(), "more behind the end");
    assert_eq!(
        File::parse(b"something else").unwrap_err().to_string(),
        "the recording is damaged: this is no recording"
    );
}

#[test]
fn a_damaged_checkpoint_is_no_panic() {
    let (_, file) = with_tokens();
    let checkpoint = &file.recordings[0].segments[0].checkpoint;
    for len in 0..checkpoint.len() {
        assert!(Shard::restore(&checkpoint[..len]).is_err(), "cut at {len}");
    }
    for bit in 0..checkpoint.len() * 8 {
        let mut damaged = checkpoint.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        // Some are states as well; none is a panic.
        let _ = Shard::restore(&damaged);
    }
}

#[test]
fn a_shard_that_is_not_recorded_has_no_recording() {
    let mut shard = Shard::new(Config::default(), 1);
    assert_eq!(shard.recording(0, true), None);
    shard.record(1 << 20);
    shard.open(Instant::ZERO);
    assert!(shard.recording(0, true).is_some());
    shard.record(0);
    assert_eq!(shard.recording(0, true), None);
}
