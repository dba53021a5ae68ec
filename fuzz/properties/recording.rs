//! A recording is read by whoever gets it: whatever its bytes are, reading ends with a value or a
//! refusal and takes no more room than the bytes could fill; what was read and is written again is
//! the same.

use arbitrary::{Result, Unstructured};
use odin_core::feed::Feed;
use odin_core::gate::Gate;
use odin_core::record::{
    Broken, File, Header, Machine, Player, Reader, Recorded, Recording, Segment, hash,
};
use odin_core::shard::Shard;

/// Reads the bytes behind the first one as what that one says, and gives what that was.
///
/// The form of states and calls changes with the machines, so what is committed of them is soon no more than
/// bytes. With `m` the bytes are operations of a shard, whose recording is read as it is, and with changes.
pub(crate) fn recording(bytes: &[u8]) -> Option<&'static str> {
    let (kind, bytes) = bytes.split_first()?;
    // Whether it is taken depends on the form of today.
    let (what, _is_taken) = match kind {
        b'F' => ("file", file(bytes)),
        b's' => ("shard", state(bytes, Shard::restore, Shard::checkpoint)),
        b'f' => ("feed", state(bytes, Feed::restore, Feed::checkpoint)),
        b'g' => ("gate", state(bytes, Gate::restore, Gate::checkpoint)),
        b'S' => ("shard_calls", calls::<Shard>(bytes)),
        b'D' => ("feed_calls", calls::<Feed>(bytes)),
        b'G' => ("gate_calls", calls::<Gate>(bytes)),
        b'w' => ("written", written(&mut Unstructured::new(bytes)).is_ok()),
        b'm' => ("made", made(bytes)?),
        _ => return None,
    };
    Some(what)
}

/// Reads what a shard recorded: as it is, and with as many changes, each of a place and what is changed there, as
/// the first byte says.
fn made(bytes: &[u8]) -> Option<bool> {
    let (count, bytes) = bytes.split_first()?;
    let (changes, operations) = bytes.split_at_checked(usize::from(count % 8) * 3)?;
    let (checkpoint, recording) = super::shard::recorded(operations)?;
    assert!(
        state(&checkpoint, Shard::restore, Shard::checkpoint),
        "a state is taken"
    );
    if !recording.segments.is_empty() {
        let player = Player::<Shard>::new(&recording);
        let ran = player.and_then(|mut player| player.run());
        assert!(ran.is_ok(), "it runs again: {ran:?}");
    }
    let file = File {
        header: Header::default(),
        recordings: vec![recording],
    };
    let whole = file.to_bytes();
    assert_eq!(File::parse(&whole).as_ref(), Ok(&file));
    if changes.is_empty() {
        return Some(true);
    }
    let segments = &file.recordings.first()?.segments;
    let all_calls = segments.first().map_or(&[][..], |segment| &segment.calls);
    let taken = state(
        &changed(&checkpoint, changes),
        Shard::restore,
        Shard::checkpoint,
    );
    let _ = calls::<Shard>(&changed(all_calls, changes));
    let damaged = changed(&whole, changes);
    assert!(
        damaged == whole || File::parse(&damaged).is_err(),
        "a damaged file is taken"
    );
    Some(taken)
}

fn changed(bytes: &[u8], changes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes.chunks_exact(3) {
        let at = usize::from(change[0]) << 8 | usize::from(change[1]);
        let len = bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at % len) {
            *byte ^= change[2];
        }
    }
    bytes
}

fn file(bytes: &[u8]) -> bool {
    let Ok(file) = File::parse(bytes) else {
        return false;
    };
    assert_eq!(File::parse(&file.to_bytes()), Ok(file));
    true
}

/// A state that is taken is one: it can be written, and what was written is read as the same.
fn state<M>(
    bytes: &[u8],
    restore: impl Fn(&[u8]) -> core::result::Result<M, Broken>,
    checkpoint: impl Fn(&M) -> Vec<u8>,
) -> bool {
    let Ok(machine) = restore(bytes) else {
        return false;
    };
    let first = checkpoint(&machine);
    match restore(&first) {
        Ok(again) => assert!(first == checkpoint(&again), "another state was read"),
        Err(error) => panic!("what was written is not read: {error}"),
    }
    true
}

/// Calls are only read: made, they may do what they did when they were recorded.
fn calls<M: Recorded>(bytes: &[u8]) -> bool {
    let mut from = Reader::new(bytes);
    let mut last = 0;
    while !from.is_empty() {
        let left = from.left();
        if M::read(&mut from, &M::Context::default(), &mut last).is_err() {
            return false;
        }
        assert!(from.left() < left, "a call of no bytes");
    }
    true
}

/// Files with any content, whose hashes the fuzzer would never find.
fn written(u: &mut Unstructured<'_>) -> Result<()> {
    let header = Header {
        version: u.arbitrary()?,
        started_unix_ms: u.arbitrary()?,
        written_unix_ms: u.arbitrary()?,
        cause: u.arbitrary()?,
    };
    let recordings: Result<Vec<Recording>> = (0..u.int_in_range(0..=3)?)
        .map(|_| {
            let machine = match u.int_in_range(0..=2)? {
                0 => Machine::Feed,
                1 => Machine::Gate,
                _ => Machine::Shard(u.arbitrary()?),
            };
            let segments: Result<Vec<Segment>> = (0..u.int_in_range(0..=2)?)
                .map(|_| {
                    let checkpoint: Vec<u8> = u.arbitrary()?;
                    Ok(Segment {
                        hash: hash(&checkpoint),
                        checkpoint,
                        calls: u.arbitrary()?,
                    })
                })
                .collect();
            Ok(Recording {
                machine,
                segments: segments?,
                hash: u.arbitrary()?,
            })
        })
        .collect();
    let file = File {
        header,
        recordings: recordings?,
    };
    let bytes = file.to_bytes();
    assert_eq!(File::parse(&bytes).as_ref(), Ok(&file));
    assert!(
        File::parse(&bytes[..bytes.len() - 1]).is_err(),
        "it is cut off"
    );
    Ok(())
}
