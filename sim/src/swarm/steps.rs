//! What a seed lets happen, as a list made before anything runs. A step names things by number and does
//! nothing where there is no such thing, so that any part of a list is a list: that is what shrinking needs.

use super::rng::Rng;
use super::setup::{Profile, Setup, Upstream};

/// One thing that happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Time passes.
    Advance { millis: u64 },
    /// Messages are published, each written out before the next.
    Publish {
        channel: usize,
        form: u64,
        times: u64,
    },
    /// Messages are published faster than anything is written.
    Burst { channel: usize, times: u64 },
    /// A client reads so many bytes.
    Read { client: usize, bytes: usize },
    /// The next write of a client's socket takes so many bytes.
    Limit { client: usize, bytes: usize },
    /// The next write of a client's socket fails.
    Break { client: usize },
    /// A client connects to a server.
    Connect { client: usize, server: usize },
    /// A client's socket ends.
    Hangup { client: usize },
    /// A client sends a close frame.
    Close { client: usize },
    /// A client subscribes.
    Subscribe { client: usize, wish: Wish },
    /// A client unsubscribes the first, or all, of what it has.
    Unsubscribe { client: usize, all: bool },
    /// A client asks for a replay: so many seqs back, and so many of them.
    Replay { client: usize, back: u64, span: u64 },
    /// A client sends a heartbeat, so many times.
    Heartbeat { client: usize, times: u64 },
    /// A client pings.
    Ping { client: usize },
    /// A client sends something that is wrong.
    Wrong { client: usize, how: usize },
    /// The link of a server to its upstream breaks, and is back after a time.
    Cut { server: usize, millis: u64 },
    /// The upstream of a server says nothing for a time.
    Mute { server: usize, millis: u64 },
    /// The consumer of a server dies, and nobody says so.
    Wedge { server: usize },
    /// The next answers of the upstream are failures.
    Fail { server: usize, times: u64 },
    /// The consumer of a server leaves out a message.
    Gap { server: usize },
    /// The upstream of a server answers one thing at a time, or all at once again.
    Slow { server: usize, on: bool },
    /// A core NATS subscription overflows.
    Overload { server: usize, count: u64 },
    /// All but the newest messages of the stream are purged.
    Purge { keep: usize },
    /// One message of the stream is deleted.
    Delete { back: u64 },
    /// A message is stored, and deleted before anyone reads it.
    Vanish { channel: usize },
    /// The stream is deleted and made again.
    Recreate,
    /// The stream goes back, and grows again by so many messages before anyone looks.
    Rollback { back: u64, regrow: u64 },
    /// A shard takes nothing from the Feed until it is let go.
    Hold {
        server: usize,
        shard: usize,
        on: bool,
    },
    /// The machine's load: CPU and memory in thousandths; 0: unknown.
    Sample {
        server: usize,
        cpu: u32,
        memory: u64,
    },
    /// A server drains.
    Drain { server: usize, millis: u64 },
    /// A server dies and another takes its place.
    Restart { server: usize },
}

/// What a client subscribes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Wish {
    /// Indices into the channels, then the patterns; none: what it had before.
    pub(crate) names: Vec<usize>,
    pub(crate) latest: bool,
    pub(crate) snapshot: bool,
    pub(crate) continues: bool,
    pub(crate) resume: Resume,
}

/// Which resume a subscribe carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Resume {
    None,
    /// From where the client was.
    Memory,
    /// With an epoch that is none.
    Stale,
    /// From further than anything is.
    Ahead,
}

/// The steps of a seed.
pub(crate) fn plan(rng: &mut Rng, setup: &Setup) -> Vec<Step> {
    let mut steps = Vec::new();
    for client in 0..setup.clients.len() {
        if !rng.one_in(6) {
            steps.push(Step::Connect {
                client,
                server: rng.index(setup.servers),
            });
            steps.push(subscribe(rng, setup, client));
        }
    }
    // From a sequence of its own: what a seed is otherwise does not change.
    let mut moves = Rng::new(setup.seed ^ 0x6d6f_7665);
    for _ in 0..rng.range(60, 360) {
        if setup.servers > 1 && setup.upstream == Upstream::JetStream && moves.one_in(40) {
            steps.extend(run_ahead(&mut moves, setup));
        }
        steps.push(match rng.below(100) {
            0..24 => advance(rng),
            24..48 => publish(rng, setup),
            48..84 => client_step(rng, setup),
            84..92 => upstream_step(rng, setup),
            92..94 => Step::Hold {
                server: rng.index(setup.servers),
                shard: rng.index(setup.shards),
                on: rng.one_in(2),
            },
            94..97 => Step::Sample {
                server: rng.index(setup.servers),
                cpu: rng.pick(&[0, 500, 850, 950, 990]),
                memory: rng.pick(&[0, 500, 870, 905, 980]),
            },
            97 if !setup.rollbacks && rng.one_in(3) => Step::Drain {
                server: rng.index(setup.servers),
                millis: rng.pick(&[0, 50, 2_000, 30_000]),
            },
            98 if setup.restarts => Step::Restart {
                server: rng.index(setup.servers),
            },
            _ => Step::Advance {
                millis: rng.range(1, 300),
            },
        });
    }
    steps
}

/// A client reads from one server what another is not told yet, and resumes there.
fn run_ahead(rng: &mut Rng, setup: &Setup) -> [Step; 7] {
    let client = rng.index(setup.clients.len());
    let server = rng.index(setup.servers);
    let bytes = usize::MAX;
    let wish = Wish {
        names: Vec::new(),
        latest: false,
        snapshot: false,
        continues: rng.one_in(2),
        resume: Resume::Memory,
    };
    let publish = |channel| Step::Publish {
        channel,
        form: 3,
        times: 3,
    };
    [
        Step::Mute {
            server,
            millis: 2_000,
        },
        publish(0),
        publish(rng.index(setup.channels.len())),
        Step::Read { client, bytes },
        Step::Hangup { client },
        Step::Connect { client, server },
        Step::Subscribe { client, wish },
    ]
}

fn advance(rng: &mut Rng) -> Step {
    let millis = match rng.below(20) {
        0..12 => rng.range(1, 40),
        12..17 => rng.range(40, 900),
        17..19 => rng.range(900, 6_000),
        _ => rng.range(6_000, 70_000),
    };
    Step::Advance { millis }
}

fn publish(rng: &mut Rng, setup: &Setup) -> Step {
    // One channel is busier than the others.
    let channel = if rng.one_in(2) {
        0
    } else {
        rng.index(setup.channels.len() + 1)
    };
    match rng.below(8) {
        0 => Step::Burst {
            channel,
            times: rng.range(2, 90),
        },
        1 => Step::Publish {
            channel,
            form: rng.next(),
            times: rng.range(2, 30),
        },
        _ => Step::Publish {
            channel,
            form: rng.next(),
            times: rng.range(1, 2),
        },
    }
}

fn subscribe(rng: &mut Rng, setup: &Setup, client: usize) -> Step {
    let profile = setup.clients[client].0;
    let patterns = setup.patterns.len();
    let mut names = Vec::new();
    for _ in 0..rng.range(1, 3) {
        let of_pattern = profile == Profile::Patterns || rng.one_in(5);
        names.push(if of_pattern {
            setup.channels.len() + rng.index(patterns)
        } else {
            rng.index(setup.channels.len())
        });
    }
    let resume = rng.pick(&[
        Resume::Memory,
        Resume::Memory,
        Resume::Memory,
        Resume::None,
        Resume::Stale,
        Resume::Ahead,
    ]);
    if matches!(resume, Resume::Memory) && rng.below(4) > 0 {
        names.clear();
    }
    if !rng.one_in(10) {
        names.dedup();
    }
    Step::Subscribe {
        client,
        wish: Wish {
            names,
            latest: profile == Profile::Latest || rng.one_in(6),
            snapshot: rng.one_in(3),
            continues: rng.one_in(2),
            resume,
        },
    }
}

fn client_step(rng: &mut Rng, setup: &Setup) -> Step {
    let client = rng.index(setup.clients.len());
    let home = rng.index(setup.servers);
    let (profile, window) = setup.clients[client];
    let bytes = rng.index(window) + 1;
    #[allow(
        clippy::match_overlapping_arm,
        reason = "what a profile does comes before what all do"
    )]
    #[allow(
        overlapping_range_endpoints,
        reason = "what a profile does comes before what all do"
    )]
    match (profile, rng.below(24)) {
        (Profile::Slow, 0..14) => Step::Read { client, bytes },
        (Profile::Stalled, 0..3) => Step::Read { client, bytes },
        (Profile::Flapping, 0..6) | (Profile::Roaming, 0..4) | (_, 0) => Step::Hangup { client },
        (Profile::Flapping, 6..14) | (Profile::Roaming, 4..10) | (_, 1..5) => Step::Connect {
            client,
            server: home,
        },
        (Profile::Flooding, 5..14) => Step::Heartbeat {
            client,
            times: rng.range(2, 30),
        },
        (Profile::Malformed, 5..14) => Step::Wrong {
            client,
            how: rng.index(16),
        },
        (_, 5..8) => Step::Limit {
            client,
            bytes: rng.index(150),
        },
        (_, 8..9) => Step::Heartbeat { client, times: 1 },
        (_, 9..10) => Step::Ping { client },
        (_, 10..12) => Step::Unsubscribe {
            client,
            all: rng.one_in(2),
        },
        (_, 12..14) | (Profile::Slow, 14..17) => Step::Replay {
            client,
            back: rng.below(30),
            span: rng.below(30),
        },
        (_, 14) if rng.one_in(3) => Step::Close { client },
        (_, 15) if rng.one_in(3) => Step::Break { client },
        (_, 16) => Step::Read {
            client,
            bytes: usize::MAX,
        },
        _ => subscribe(rng, setup, client),
    }
}

fn upstream_step(rng: &mut Rng, setup: &Setup) -> Step {
    let server = rng.index(setup.servers);
    let millis = rng.pick(&[1, 100, 1_500, 4_000]);
    if setup.upstream == Upstream::Nats {
        return match rng.below(4) {
            0 => Step::Overload {
                server,
                count: rng.below(9),
            },
            _ => Step::Cut { server, millis },
        };
    }
    match rng.below(16) {
        0..2 => Step::Cut { server, millis },
        2 => Step::Wedge { server },
        3 => Step::Mute { server, millis },
        4 => Step::Fail {
            server,
            times: rng.range(1, 3),
        },
        5..7 => Step::Gap { server },
        7..10 => Step::Slow {
            server,
            on: rng.one_in(2),
        },
        10 if setup.deletes => Step::Purge { keep: rng.index(6) },
        11 if setup.deletes => Step::Delete { back: rng.below(8) },
        12 if setup.deletes => Step::Vanish {
            channel: rng.index(setup.channels.len()),
        },
        13 if rng.one_in(2) => Step::Recreate,
        14 | 15 if setup.rollbacks => Step::Rollback {
            back: rng.range(1, 12),
            regrow: rng.below(15),
        },
        _ => Step::Advance {
            millis: rng.range(1, 50),
        },
    }
}
