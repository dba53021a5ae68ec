//! Sequences that were thought of, or that once differed.

use odin_core::feed::DeliverPolicy::{ByStartSequence, LastPerSubject};
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
    cases.extend(consumers());
    cases.extend(lives());
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

/// What consumers deliver, and what they say of it.
fn consumers() -> Vec<(&'static str, Sequence)> {
    let filled = [
        publish(X, 3),
        publish(FOREIGN, 1),
        publish(Y, 2),
        publish(NO_CHANNEL, 1),
        publish(B, 1),
    ];
    let with = |ops: &[Op]| [&filled, ops].concat();
    vec![
        case(
            "a consumer of an empty stream",
            SHARED,
            &[Open(LastPerSubject), Read, publish(X, 2), Tail],
        ),
        case(
            "from a seq",
            SHARED,
            &with(&[Open(ByStartSequence(3)), Tail, Read, publish(Y, 2), Tail]),
        ),
        case(
            "from a seq that is to come",
            SHARED,
            &with(&[Open(ByStartSequence(11)), Tail, Read, publish(Y, 4)]),
        ),
        case(
            "a snapshot",
            SHARED,
            &with(&[Open(LastPerSubject), Tail, Read, publish(X, 1), Tail]),
        ),
        case(
            "a snapshot of which something goes before it is read",
            SHARED,
            &with(&[
                Open(LastPerSubject),
                Delete(6),
                publish(X, 1),
                Tail,
                Read,
                Tail,
            ]),
        ),
        case(
            "a snapshot that is superseded before it is read",
            Limits {
                per_subject: 1,
                ..SHARED
            },
            &with(&[
                Open(LastPerSubject),
                publish(X, 2),
                publish(Y, 1),
                Tail,
                Read,
                publish(X, 1),
            ]),
        ),
        case(
            "a purge before a consumer is read",
            SHARED,
            &with(&[
                Open(ByStartSequence(2)),
                purge(None, Some(5), 0),
                Tail,
                Read,
                publish(X, 1),
                Tail,
            ]),
        ),
        case(
            "a purge of a subject before a consumer is read",
            SHARED,
            &with(&[
                Open(ByStartSequence(1)),
                purge(Some(X), None, 1),
                Tail,
                Read,
                Tail,
            ]),
        ),
        case(
            "deletions before a consumer is read",
            SHARED,
            &with(&[
                Open(ByStartSequence(1)),
                Delete(2),
                Delete(8),
                Delete(4),
                Tail,
                Read,
                Tail,
            ]),
        ),
        case(
            "deletions behind a consumer",
            SHARED,
            &with(&[
                Open(ByStartSequence(1)),
                Read,
                Delete(8),
                Tail,
                purge(None, None, 0),
                Tail,
                publish(B, 1),
                Tail,
            ]),
        ),
        case(
            "a quiet consumer",
            UNLIMITED,
            &[publish(X, 1), Open(ByStartSequence(1)), Read, Heartbeat],
        ),
        case(
            "consumers are deleted while they are read",
            UNLIMITED,
            &[
                publish(X, 1),
                Open(ByStartSequence(1)),
                Read,
                DropConsumers,
                Info,
                Open(ByStartSequence(1)),
                Read,
            ],
        ),
        case(
            "consumers are deleted before they are read",
            UNLIMITED,
            &[publish(X, 1), Open(ByStartSequence(1)), DropConsumers, Tail],
        ),
        case(
            "deletions are asked for while a consumer is read",
            SHARED,
            &with(&[
                Open(ByStartSequence(1)),
                Read,
                Delete(3),
                Deleted(1, 8),
                publish(X, 2),
                Deleted(9, 10),
                Tail,
            ]),
        ),
    ]
}

/// What outlives a stream and a server.
fn lives() -> Vec<(&'static str, Sequence)> {
    let end = [
        Info,
        Page(X, 2),
        Page(ALL, 0),
        Open(ByStartSequence(2)),
        Read,
    ];
    let with = |ops: &[Op]| [&[publish(X, 3), publish(Y, 1)], ops, &end].concat();
    let mut memory = case(
        "a memory store is lost",
        UNLIMITED,
        &with(&[Info, Restart, Info, publish(X, 2)]),
    );
    memory.1.memory = true;
    vec![
        case(
            "recreated",
            UNLIMITED,
            &with(&[Info, Recreate, publish(Y, 1), publish(X, 3)]),
        ),
        case(
            "recreated while a consumer is read",
            UNLIMITED,
            &with(&[Open(ByStartSequence(1)), Read, Recreate, publish(X, 5)]),
        ),
        case(
            "restarted",
            UNLIMITED,
            &with(&[Info, Delete(2), Delete(4), Restart, Info, publish(X, 1)]),
        ),
        case(
            "restarted with nothing left",
            UNLIMITED,
            &with(&[purge(None, None, 0), Restart, Info, publish(X, 1)]),
        ),
        case(
            "restarted while a consumer is read",
            UNLIMITED,
            &with(&[Open(ByStartSequence(1)), Read, Restart]),
        ),
        memory,
        case(
            "an older store is restored, and grows again",
            UNLIMITED,
            &with(&[
                Info,
                BackUp,
                purge(Some(X), None, 0),
                publish(Y, 3),
                Restore,
                Info,
                publish(Y, 4),
            ]),
        ),
        case(
            "a nonce",
            UNLIMITED,
            &with(&[Info, Nonce(77), Info, Restart, Info, Nonce(78)]),
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
                Page(OF_A, 100),
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
