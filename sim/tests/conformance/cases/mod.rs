//! Sequences that were thought of, or that once differed.

mod consumers;

use odin_core::feed::DeliverPolicy::ByStartSequence;
use odin_sim::jetstream::Limits;

use crate::ops::Op::{self, *};
use crate::ops::Sequence;

const UNLIMITED: Limits = Limits {
    messages: 0,
    bytes: 0,
    per_subject: 0,
    foreign: false,
};
const SHARED: Limits = Limits {
    foreign: true,
    ..UNLIMITED
};
const X: usize = 0;
const Y: usize = 1;
const B: usize = 2;
const NO_CHANNEL: usize = 3;
const FOREIGN: usize = 4;
const ALL: usize = 6;
const OF_A: usize = 4;
const NEVER: usize = 3;

fn publish(subject: usize, times: usize) -> Op {
    Publish {
        subject,
        times,
        bytes: 8,
    }
}

fn purge(subject: Option<usize>, below: Option<u64>, keep: u64) -> Op {
    Purge {
        subject,
        below,
        keep,
    }
}

fn case(name: &'static str, limits: Limits, ops: &[Op]) -> (&'static str, Sequence) {
    let memory = false;
    let ops = ops.to_vec();
    let sequence = Sequence {
        limits,
        memory,
        ops,
    };
    (name, sequence)
}

/// All of them, by name.
pub(crate) fn all() -> Vec<(&'static str, Sequence)> {
    let mut cases = limits();
    cases.extend(removals());
    cases.extend(consumers::consumers());
    cases.extend(consumers::lives());
    cases.extend(pages());
    cases
}

/// What a full stream discards.
fn limits() -> Vec<(&'static str, Sequence)> {
    let three = Limits {
        messages: 3,
        ..UNLIMITED
    };
    let bytes = Limits {
        bytes: 300,
        ..UNLIMITED
    };
    let last_values = Limits {
        per_subject: 1,
        ..UNLIMITED
    };
    let both = Limits {
        messages: 4,
        per_subject: 2,
        ..SHARED
    };
    let end = [
        Info,
        Page(X, 0),
        Page(ALL, 0),
        Open(ByStartSequence(1)),
        Read,
    ];
    let with = |ops: &[Op]| [ops, &end].concat();
    vec![
        case(
            "a limit of messages",
            three,
            &with(&[publish(X, 2), publish(Y, 3)]),
        ),
        case(
            "a limit of bytes",
            bytes,
            &with(&[publish(X, 3), publish(B, 4)]),
        ),
        case(
            "last values",
            last_values,
            &with(&[publish(X, 3), publish(Y, 1), publish(X, 1), Deleted(1, 5)]),
        ),
        case(
            "two limits at once",
            both,
            &with(&[
                publish(X, 2),
                publish(FOREIGN, 2),
                publish(X, 2),
                publish(Y, 1),
            ]),
        ),
        case(
            "a limit that comes later",
            UNLIMITED,
            &with(&[
                publish(X, 4),
                publish(Y, 4),
                Limit(0, 0, 2),
                Info,
                Limit(3, 0, 2),
            ]),
        ),
    ]
}

/// What purges and deletions leave.
fn removals() -> Vec<(&'static str, Sequence)> {
    let end = [
        Info,
        Deleted(1, 12),
        Page(X, 0),
        Page(X, 3),
        Page(OF_A, 2),
        Page(ALL, 0),
    ];
    let filled = [publish(X, 3), publish(Y, 2), publish(X, 1)];
    let with = |ops: &[Op]| [&filled, ops, &end].concat();
    let purged = |subject, below, keep| with(&[purge(subject, below, keep), publish(X, 1)]);
    vec![
        case("a purge of all", UNLIMITED, &purged(None, None, 0)),
        case(
            "a purge of all of an empty stream",
            UNLIMITED,
            &[purge(None, None, 0), Info, Page(ALL, 0)],
        ),
        case("a purge below a seq", UNLIMITED, &purged(None, Some(4), 0)),
        case(
            "a purge below the seq after the last",
            UNLIMITED,
            &purged(None, Some(7), 0),
        ),
        case(
            "a purge below a seq that is not there yet",
            UNLIMITED,
            &purged(None, Some(20), 0),
        ),
        case("a purge of all but some", UNLIMITED, &purged(None, None, 2)),
        case(
            "a purge of all but some, of which one is gone",
            UNLIMITED,
            &with(&[Delete(5), purge(None, None, 3)]),
        ),
        case("a purge of a subject", UNLIMITED, &purged(Some(X), None, 0)),
        case(
            "a purge of a subject below a seq",
            UNLIMITED,
            &purged(Some(X), Some(3), 0),
        ),
        case(
            "a purge of a subject but its last",
            UNLIMITED,
            &purged(Some(X), None, 1),
        ),
        case("the first message deleted", UNLIMITED, &with(&[Delete(1)])),
        case(
            "one between deleted",
            UNLIMITED,
            &with(&[Delete(2), Delete(4), Delete(2)]),
        ),
        case(
            "the last message deleted",
            UNLIMITED,
            &with(&[Delete(6), Info, publish(Y, 1)]),
        ),
        case(
            "everything deleted one by one",
            UNLIMITED,
            &[
                publish(X, 3),
                Delete(1),
                Delete(3),
                Delete(2),
                Info,
                Page(X, 0),
                publish(X, 1),
                Info,
            ],
        ),
        case(
            "seqs that never were",
            UNLIMITED,
            &[
                Deleted(1, 4),
                publish(X, 2),
                Deleted(1, 5),
                Delete(1),
                Deleted(1, 5),
                Deleted(7, 9),
            ],
        ),
    ]
}

/// What pages of history say.
fn pages() -> Vec<(&'static str, Sequence)> {
    let huge = Publish {
        subject: X,
        times: 1,
        bytes: crate::PAYLOAD_BYTES_MAX,
    };
    vec![
        case(
            "pages beyond the end",
            SHARED,
            &[
                publish(X, 2),
                Page(X, 2),
                Page(X, 9),
                Page(ALL, 9),
                Page(NEVER, 0),
                Page(NEVER, 9),
            ],
        ),
        case(
            "a message that is too large",
            UNLIMITED,
            &[publish(X, 1), huge, publish(X, 1), Page(X, 0)],
        ),
        case(
            "more than a page holds",
            SHARED,
            &[
                publish(X, 600),
                publish(Y, 500),
                publish(FOREIGN, 20),
                Page(ALL, 0),
                Page(X, 0),
                Page(OF_A, 50),
                Page(ALL, 1_000),
            ],
        ),
        case(
            "predecessors behind the start of a page",
            SHARED,
            &[
                publish(X, 2),
                publish(Y, 1),
                publish(B, 1),
                publish(X, 1),
                publish(Y, 1),
                Page(OF_A, 3),
                Delete(3),
                Page(OF_A, 3),
                Page(ALL, 4),
            ],
        ),
        case(
            "anchors that are gone",
            SHARED,
            &[
                publish(X, 2),
                publish(Y, 2),
                publish(X, 1),
                Delete(2),
                Page(X, 2),
                Page(X, 4),
                Delete(1),
                Page(X, 4),
                Page(OF_A, 4),
                Page(OF_A, 5),
            ],
        ),
    ]
}
