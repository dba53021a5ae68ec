//! A recording is read by whoever gets it: whatever its bytes are, reading ends with a value or a
//! refusal and takes no more room than the bytes could fill; what was read and is written again is
//! the same.

use arbitrary::{Result, Unstructured};
use odin_core::feed::Feed;
use odin_core::gate::Gate;
use odin_core::record::{
    Broken, File, Header, Machine, Reader, Recorded, Recording, Segment, hash,
};
use odin_core::shard::Shard;

/// Reads the bytes behind the first one as what that one says, and gives what it was and whether it was taken.
pub(crate) fn recording(bytes: &[u8]) -> Option<&'static str> {
    let (kind, bytes) = bytes.split_first()?;
    let (name, refused, taken) = match kind {
        b'F' => ("file", "no_file", file(bytes)),
        b's' => (
            "shard",
            "no_shard",
            state(bytes, Shard::restore, Shard::checkpoint),
        ),
        b'f' => (
            "feed",
            "no_feed",
            state(bytes, Feed::restore, Feed::checkpoint),
        ),
        b'g' => (
            "gate",
            "no_gate",
            state(bytes, Gate::restore, Gate::checkpoint),
        ),
        b'S' => ("shard_calls", "no_shard_calls", calls::<Shard>(bytes)),
        b'D' => ("feed_calls", "no_feed_calls", calls::<Feed>(bytes)),
        b'G' => ("gate_calls", "no_gate_calls", calls::<Gate>(bytes)),
        b'w' => (
            "written",
            "unwritten",
            written(&mut Unstructured::new(bytes)).is_ok(),
        ),
        _ => return None,
    };
    Some(if taken { name } else { refused })
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
