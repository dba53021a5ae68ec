//! What consumers deliver, and what outlives a stream and a server.

use odin_core::feed::DeliverPolicy::{ByStartSequence, LastPerSubject};
use odin_sim::jetstream::Limits;

use super::{ALL, B, FOREIGN, NO_CHANNEL, SHARED, UNLIMITED, X, Y, case, publish, purge};
use crate::ops::Op::{self, *};
use crate::ops::Sequence;

/// What consumers deliver, and what they say of it.
pub(super) fn consumers() -> Vec<(&'static str, Sequence)> {
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
pub(super) fn lives() -> Vec<(&'static str, Sequence)> {
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
