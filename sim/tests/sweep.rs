//! Seeds that nobody has tried: each run of the tests takes new ones, and names those that fail.

use std::time::{SystemTime, UNIX_EPOCH};

use odin_sim::commands::Totals;
use odin_sim::scenarios::{self, Scale};

/// Runs of each of the four tests below.
const RUNS: u64 = 25;

fn sweep(part: u64) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    let from = now.as_secs() * 10 + part;
    // Each test tries every scenario, each beginning with another one.
    let start = usize::try_from(part * RUNS).unwrap_or(0) % scenarios::ALL.len();
    let mut totals = Totals::default();
    for (run, scenario) in (0..RUNS).zip(scenarios::ALL.iter().cycle().skip(start)) {
        let report = scenario.run_drawn(from + run * 1_000, Scale::Short);
        if !report.passed() {
            println!("{report}");
        }
        totals.add(&report);
    }
    println!("{totals}");
    assert!(
        totals.failed.is_empty(),
        "run again with:\n  {}",
        totals.failed.join("\n  ")
    );
}

#[test]
fn fresh_seeds_keep_every_promise_1() {
    sweep(1);
}

#[test]
fn fresh_seeds_keep_every_promise_2() {
    sweep(2);
}

#[test]
fn fresh_seeds_keep_every_promise_3() {
    sweep(3);
}

#[test]
fn fresh_seeds_keep_every_promise_4() {
    sweep(4);
}
