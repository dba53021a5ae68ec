//! Whatever happens to a shard, in whatever order, each client is sent what the protocol promises: the
//! model that the tests of the shard have (`core/tests/model`), with operations drawn from bytes.

use arbitrary::{Result, Unstructured};
use odin_core::config::Config;
use odin_core::record::Recording;
use std::time::Duration;

#[path = "../../core/tests/model/mod.rs"]
mod model;

use model::ops::{Op, Resume, Setup};
use model::world::World;

/// Operations of one run: the model goes through its whole history for every message.
const OPS_MAX: usize = 300;

/// Room for the recording of a run.
const RECORD_BYTES: usize = 200_000;

/// Makes the bytes operations, and judges everything that clients are sent. Gives how many there were.
pub(crate) fn shard(bytes: &[u8]) -> Option<usize> {
    let (mut world, count) = run(bytes, 0)?;
    world.finish();
    Some(count)
}

/// The state of a shard after operations, and the calls that led there from an earlier one.
pub(crate) fn recorded(bytes: &[u8]) -> Option<(Vec<u8>, Recording)> {
    let (world, _) = run(bytes, RECORD_BYTES)?;
    let recording = world.shard.recording(0, true)?;
    Some((world.shard.checkpoint(), recording))
}

fn run(bytes: &[u8], record_bytes: usize) -> Option<(World, usize)> {
    let mut bytes = Unstructured::new(bytes);
    let setup = setup(&mut bytes).ok()?;
    let mut world = World::new(&setup);
    world.shard.record(record_bytes);
    let mut count = 0;
    while count < OPS_MAX && !bytes.is_empty() {
        // An operation that is cut off is none.
        let Ok(op) = op(&mut bytes) else { break };
        world.step(&op);
        count += 1;
    }
    Some((world, count))
}

fn setup(u: &mut Unstructured<'_>) -> Result<Setup> {
    let flags: u8 = u.arbitrary()?;
    let mut config = Config {
        history_bytes: 0,
        log_messages: u.int_in_range(1..=20)?,
        last_value_bytes: 1 << 20,
        message_rate: 0,
        ..Config::default()
    };
    if flags & 1 != 0 {
        config.last_value_bytes = u.int_in_range(0..=600)?;
    }
    if flags & 2 != 0 {
        config.subscribe_hold = Duration::ZERO;
    }
    Ok(Setup {
        config,
        durable: flags & 4 != 0,
        ready: flags & 8 == 0,
    })
}

/// The next operation. The first byte says which, such that those that move messages are frequent.
fn op(u: &mut Unstructured<'_>) -> Result<Op> {
    let kind: u8 = u.arbitrary()?;
    Ok(match kind {
        0..20 => Op::Open,
        20..60 => Op::Subscribe {
            who: who(u)?,
            names: u.arbitrary()?,
            more: u.arbitrary()?,
            latest: u.arbitrary()?,
            snapshot: u.arbitrary()?,
            keep_on: u.arbitrary()?,
            resume: resume(u)?,
        },
        60..68 => Op::Unsubscribe {
            who: who(u)?,
            which: u.arbitrary()?,
        },
        68..84 => Op::Replay {
            who: who(u)?,
            channel: u.int_in_range(0..=5)?,
            from: u.int_in_range(0..=39)?,
            len: some(u, 39)?,
        },
        84..88 => Op::Heartbeat { who: who(u)? },
        88..152 => Op::Publish {
            channel: u.int_in_range(0..=4)?,
            gap: few(u)?,
            padding: few(u)?,
        },
        152..157 => Op::ChannelLost {
            channel: u.int_in_range(0..=4)?,
        },
        157..160 => Op::Lost { len: some(u, 3)? },
        160..168 => Op::Evict {
            percent: u.int_in_range(0..=100)?,
        },
        168..171 => Op::Reset,
        171..176 => Op::Snapshot {
            channel: u.int_in_range(0..=4)?,
            gap: few(u)?,
        },
        176..182 => Op::Ready {
            beyond: few(u)?,
            observed: u.arbitrary()?,
        },
        182..204 => Op::Room {
            who: who(u)?,
            bytes: some(u, 255)?.map(|bytes| u16::from(bytes) * 2),
        },
        204..232 => Op::Sweep {
            count: u.int_in_range(1..=12)?,
        },
        232..244 => Op::Sweep { count: 255 },
        244..246 => Op::Leave { who: who(u)? },
        246..249 => Op::Vanish { who: who(u)? },
        249..253 => Op::Wait {
            ms: u.int_in_range(0..=30_000)?,
        },
        253..=255 => Op::Rude { who: who(u)? },
    })
}

fn who(u: &mut Unstructured<'_>) -> Result<u8> {
    u.int_in_range(0..=7)
}

/// Mostly nothing.
fn few(u: &mut Unstructured<'_>) -> Result<u8> {
    Ok(u.arbitrary::<u8>()?.saturating_sub(251))
}

fn some(u: &mut Unstructured<'_>, max: u8) -> Result<Option<u8>> {
    let is_there: bool = u.arbitrary()?;
    is_there.then(|| u.int_in_range(0..=max)).transpose()
}

fn resume(u: &mut Unstructured<'_>) -> Result<Resume> {
    let which: u8 = u.arbitrary()?;
    Ok(match which % 11 {
        0..4 => Resume::No,
        4..8 => Resume::Real(which / 11),
        8 => Resume::Stale(which / 11),
        _ => Resume::Invented(which / 11),
    })
}
