//! What may happen, as values.

use odin_core::config::Config;

#[derive(Clone, Debug)]
pub(crate) enum Op {
    Open,
    Subscribe {
        who: u8,
        names: u8,
        more: u8,
        latest: bool,
        snapshot: bool,
        keep_on: bool,
        resume: Resume,
    },
    Unsubscribe {
        who: u8,
        which: u8,
    },
    Replay {
        who: u8,
        channel: u8,
        from: u8,
        len: Option<u8>,
    },
    Heartbeat {
        who: u8,
    },
    Publish {
        channel: u8,
        gap: u8,
        padding: u8,
    },
    ChannelLost {
        channel: u8,
    },
    Lost {
        len: Option<u8>,
    },
    Evict {
        percent: u8,
    },
    Reset,
    Snapshot {
        channel: u8,
        gap: u8,
    },
    Ready {
        beyond: u8,
        observed: bool,
    },
    /// The socket takes so many more bytes; `None`: everything.
    Room {
        who: u8,
        bytes: Option<u16>,
    },
    /// Transmits at most so often.
    Sweep {
        count: u8,
    },
    Leave {
        who: u8,
    },
    Vanish {
        who: u8,
    },
    Wait {
        ms: u16,
    },
    /// Something from a client that is gone, or that does not wait until it is read from.
    Rude {
        who: u8,
    },
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Resume {
    No,
    /// From a position that a client really had.
    Real(u8),
    Stale(u8),
    Invented(u8),
}

/// How a run begins.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) durable: bool,
    pub(crate) ready: bool,
}
