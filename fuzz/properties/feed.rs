//! Whatever comes from NATS, the Feed takes it, and what it tells the shards is whole or says what is not.
//!
//! Two ways: an honest stream that is cut, purged, rolled back and made again at any moment (the world
//! that the tests of the Feed have, `core/tests/feed`), and an upstream that says anything at all in any
//! order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use odin_core::config::FeedConfig;
use odin_core::event::{Event, Kind, Publication};
use odin_core::feed::{
    Delivered, EpochNonce, Feed, Input, Outcome, Output, SeqRange, Source, StreamInfo, Tail,
};
use odin_core::time::Instant;
use serde_json::value::RawValue;

#[path = "../../core/tests/feed/judge.rs"]
mod judge;
#[path = "../../core/tests/feed/model.rs"]
mod model;
#[path = "../../core/tests/feed/recording.rs"]
mod recording;
#[path = "../../core/tests/feed/world.rs"]
mod world;

use recording::{RECORD_BYTES, check_recording};
use world::{Kinds, Step, World};

const STEPS_MAX: usize = 400;

/// Makes the bytes what comes from NATS. Gives which way, and how many steps it had.
pub(crate) fn feed(bytes: &[u8]) -> Option<(&'static str, usize)> {
    let (way, bytes) = bytes.split_first()?;
    let mut bytes = Unstructured::new(bytes);
    match way {
        b'h' => Some(("honest", honest(&mut bytes).ok()?)),
        b'a' => Some(("anything", anything(&mut bytes).ok()?)),
        _ => None,
    }
}

fn honest(u: &mut Unstructured<'_>) -> Result<usize> {
    let mut world = World::new(Kinds {
        drops_metadata: u.arbitrary()?,
        last_only: u.arbitrary()?,
        shared: u.arbitrary()?,
    });
    let mut count = 0;
    while count < STEPS_MAX && !u.is_empty() {
        let Ok(step) = step(u) else { break };
        world.apply(&step);
        count += 1;
    }
    world.finish();
    Ok(count)
}

fn step(u: &mut Unstructured<'_>) -> Result<Step> {
    let kind: u8 = u.arbitrary()?;
    Ok(match kind {
        0..90 => Step::Publish(u.int_in_range(0..=3)?),
        90..180 => Step::Deliver(u.int_in_range(1..=5)?),
        180..191 => Step::Discard(u.int_in_range(1..=5)?),
        191..202 => Step::Delete(u.int_in_range(0..=5)?),
        202..213 => Step::Disconnect,
        213..224 => Step::Fail,
        224..235 => Step::SkipOne,
        235..246 => Step::Recreate,
        246..=255 => Step::RollBack(u.int_in_range(0..=19)?, u.int_in_range(0..=19)?),
    })
}

/// What the shards are told, and what must be true of it whatever was said.
#[derive(Default)]
struct Told {
    order: u64,
    /// The last seq of the number line, and that of each channel.
    last: u64,
    channels: BTreeMap<String, u64>,
}

fn anything(u: &mut Unstructured<'_>) -> Result<usize> {
    let source = match u.int_in_range(0..=3)? {
        0 => Source::Embedded { epoch: "e".into() },
        1 => Source::Nats { epoch: "n".into() },
        _ => Source::JetStream { stream: "S".into() },
    };
    let config = FeedConfig {
        log_bytes: u.int_in_range(0..=4096)?,
        log_age: Duration::from_secs(u.int_in_range(0..=20)?),
        payload_bytes_max: u.int_in_range(0..=64)?,
        channels_max: u.int_in_range(0..=6)?,
        ..FeedConfig::default()
    };
    let mut feed = Feed::new(config, source, "odin.", u.arbitrary()?);
    feed.record(RECORD_BYTES);
    let mut told = Told::default();
    let mut now = Instant::from_millis(1);
    let mut count = 0;
    while count < STEPS_MAX && !u.is_empty() {
        // Half of the time no time passes.
        let pause = u64::from(u.arbitrary::<u8>()?).saturating_sub(128);
        now = now + Duration::from_millis(pause * pause);
        if feed.poll_timeout().is_some_and(|due| due <= now) {
            feed.handle_timeout(now);
            told.take(&mut feed);
            let due = feed.poll_timeout();
            assert!(due.is_none_or(|due| due > now), "it is due for ever");
        }
        let Ok(()) = tell(&mut feed, &mut told, now, u) else {
            break;
        };
        count += 1;
    }
    check_recording(&feed);
    Ok(count)
}

fn tell(feed: &mut Feed, told: &mut Told, now: Instant, u: &mut Unstructured<'_>) -> Result<()> {
    let near = told.last;
    let mut deleted = Vec::new();
    let subject;
    let input = match u.arbitrary::<u8>()? {
        0..10 => Input::Connected,
        10..18 => Input::Disconnected,
        18..50 => Input::Info(info(u, near)?),
        50..55 => Input::NonceWritten,
        55..75 => Input::ConsumerOpened {
            pending: number(u, 2)?,
        },
        75..200 => {
            subject = subject_of(u)?;
            let len = u.int_in_range(0..=80)?.min(u.len());
            Input::Delivered(Delivered {
                stream_seq: number(u, near)?,
                consumer_seq: number(u, 1)?,
                pending: number(u, 0)?,
                time: number(u, 1_700_000_000_000_000_000)?,
                subject: &subject,
                payload: u.bytes(len)?,
            })
        }
        200..215 => Input::Heartbeat,
        215..230 => Input::Tail(Tail {
            info: info(u, near)?,
            delivered: number(u, 1)?,
            pending: number(u, 0)?,
        }),
        230..242 => {
            let mut from = number(u, near)?.max(1);
            for _ in 0..u.int_in_range(0..=4)? {
                let to = from.saturating_add(u.int_in_range(0..=9)?);
                deleted.push(SeqRange { from, to });
                let Some(next) = to.checked_add(2) else { break };
                from = next;
            }
            let last = deleted.last().map_or(0, |range| range.to);
            Input::Deleted {
                to: last.max(number(u, near)?),
                ranges: &deleted,
            }
        }
        242..250 => Input::Failed,
        250..=255 => Input::Overloaded {
            count: number(u, 0)?,
        },
    };
    let outcome = feed.handle(now, input);
    if let Outcome::Published(seq) = outcome {
        assert!(seq > told.last, "{seq} is published after {}", told.last);
    }
    told.take(feed);
    Ok(())
}

/// Mostly a number near another; sometimes any.
fn number(u: &mut Unstructured<'_>, near: u64) -> Result<u64> {
    Ok(match u.arbitrary::<u8>()? {
        up @ 0..200 => near.saturating_add(u64::from(up) / 16),
        down @ 200..245 => near.saturating_sub(u64::from(down - 200) / 4),
        245..248 => u64::MAX - u64::from(u.arbitrary::<u8>()?),
        248..=255 => u.arbitrary()?,
    })
}

fn info(u: &mut Unstructured<'_>, near: u64) -> Result<StreamInfo> {
    let last_seq = number(u, near)?;
    let kept = number(u, 3)?;
    Ok(StreamInfo {
        created: u64::from(u.arbitrary::<u8>()?) / 100,
        first_seq: last_seq.saturating_sub(kept).saturating_add(1),
        last_seq,
        num_deleted: number(u, 0)?,
        nonce: match u.arbitrary::<u8>()? {
            0..200 => None,
            // What the metadata holds is text.
            kind => EpochNonce::parse(&format!("{}-{:x}", kind % 4, kind / 4)),
        },
        covers_all: u.arbitrary()?,
        replicated: u.arbitrary()?,
    })
}

fn subject_of(u: &mut Unstructured<'_>) -> Result<String> {
    Ok(match u.arbitrary::<u8>()? {
        which @ 0..240 => format!("odin.{}", char::from(b'A' + which % 5)),
        _ => u.arbitrary::<&str>()?.to_owned(),
    })
}

impl Told {
    fn take(&mut self, feed: &mut Feed) {
        while let Some(output) = feed.poll_output() {
            if let Output::Event(event) = output {
                self.check(&event, feed);
            }
        }
    }

    fn check(&mut self, event: &Event, feed: &Feed) {
        match event {
            Event::Published(p) => {
                self.place(p.order.0);
                self.published(p);
                is_json(&p.frame);
            }
            Event::Lost(lost) => {
                self.place(lost.order.0);
                assert!(lost.from > self.last, "{} was taken", lost.from);
                assert!(lost.to.is_none_or(|to| to >= lost.from), "{lost:?}");
                assert!(lost.until.is_none() || lost.until >= lost.to, "{lost:?}");
                is_json(&lost.frame);
            }
            Event::Reset(reset) => {
                self.place(reset.order.0);
                self.last = 0;
                self.channels.clear();
                is_json(&reset.frame);
            }
            Event::SourceReady(ready) => {
                assert_eq!(feed.epoch(), Some(&ready.epoch));
                assert!(ready.head >= self.last, "{ready:?}");
                is_json(&ready.reset_frame);
            }
            Event::Evict { floor } => assert!(floor.0 <= self.order + 1, "{floor:?}"),
        }
    }

    /// Places are given one after the other.
    fn place(&mut self, order: u64) {
        assert_eq!(order, self.order + 1);
        self.order = order;
    }

    fn published(&mut self, p: &Arc<Publication>) {
        assert!(p.seq > self.last, "{} after {}", p.seq, self.last);
        self.last = p.seq;
        match (self.channels.insert(p.name.to_string(), p.seq), p.prev) {
            (Some(last), prev) => assert_eq!(prev, Some(last), "the chain of {}", p.name),
            (None, prev) => assert!(matches!(prev, None | Some(0)), "the first of {}", p.name),
        }
        assert_eq!(
            p.kind == Kind::Snapshot,
            p.prev.is_none() && !matches!(p.kind, Kind::Lost(_))
        );
    }
}

/// A text frame with one JSON value (RFC 6455 5.2).
fn is_json(frame: &[u8]) {
    let header = match frame[1] {
        127 => 10,
        126 => 4,
        _ => 2,
    };
    assert_eq!(frame[0], 0x81);
    let value = serde_json::from_slice::<&RawValue>(&frame[header..]);
    assert!(value.is_ok(), "a message is JSON: {value:?}");
}
