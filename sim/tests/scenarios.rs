//! Every scenario on a pinned seed, shortened to some 20 simulated seconds.

use odin_sim::scenarios::{self, Scale};

macro_rules! pinned {
    ($($name:ident $seed:literal),+ $(,)?) => {
        $(
            #[test]
            fn $name() {
                let scenario = scenarios::find(stringify!($name)).expect("a scenario");
                let report = scenario.run_scaled($seed, Scale::Short);
                println!("{report}");
                assert!(report.passed(), "{report}");
                assert!(report.tally.delivered > 500, "too little happened: {report}");
            }
        )+

        #[test]
        fn every_scenario_has_its_test() {
            let tested = [$(stringify!($name)),+];
            let all: Vec<_> = scenarios::ALL.iter().map(|scenario| scenario.name).collect();
            assert_eq!(tested.as_slice(), all);
        }
    };
}

pinned! {
    light 1,
    medium 1,
    heavy 1,
    flash_crowd 1,
    reconnect_storm 1,
    slow_consumers 1,
    busy_shard 1,
    publish_burst 1,
    broker_partition 1,
    broker_restart 1,
    stream_recreated 1,
    stream_purged 1,
    rolling_restart 1,
    crash_and_resume 1,
    cpu_pressure 1,
    memory_pressure 1,
    flooding_clients 1,
    drain 1,
    clock_jump 1,
    kitchen_sink 1,
}

/// Drawn worlds in which a promise was broken once, or the oracle took for broken what was none.
const FOUND: [(&str, u64); 4] = [
    // A client that did something every few seconds never noticed that its connection was dead.
    ("kitchen_sink", 9_000_082),
    // A pattern was resumed at a server that had lost the message which the client had of a channel.
    ("kitchen_sink", 9_000_247),
    // A pattern was resumed too late, and told that its hole may reach to the head.
    ("kitchen_sink", 12_000_084),
    // The stream of a resume was replaced after its page was asked for, and the `reset` came behind the ack.
    ("stream_recreated", 17_954_485_682),
];

#[test]
fn worlds_that_failed_once_keep_every_promise() {
    for (name, seed) in FOUND {
        let scenario = scenarios::find(name).expect("a scenario");
        let report = scenario.run_drawn(seed, Scale::Short);
        assert!(report.passed(), "{report}");
    }
}
