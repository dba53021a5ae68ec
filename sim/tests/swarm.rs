//! The swarm on pinned seeds and on a sweep. What fails is shown as a short list of steps.

use odin_sim::marks::Mark;
use odin_sim::swarm::{Report, explain, run};

/// Seeds that once showed something.
const PINNED: [u64; 47] = [
    14, 29, 66, 107, 108, 189, 262, 381, 1215, 1373, 1770, 2492, 2824, 2852, 3054, 3588, 4092,
    4775, 6664, 9690, 12080, 12519, 14781, 16858, 20206, 24882, 27134, 28124, 30109, 30576, 31115,
    31590, 31633, 34054, 49870, 90465, 93601, 127587, 202749, 248099, 255864, 259354, 288853,
    316570, 321110, 322978, 350859,
];

/// Seeds of a sweep, in parts that run side by side.
const SWEEP: u64 = 1_600;
const PARTS: u64 = 4;

fn sweep(seeds: impl Iterator<Item = u64>) -> Report {
    let mut total = Report::default();
    for seed in seeds {
        match run(seed) {
            Ok(report) => total.add(&report),
            Err(_) => match explain(seed) {
                Err(what) => panic!("{what}"),
                Ok(_) => panic!("seed {seed} failed once, and not again"),
            },
        }
    }
    println!("{total}");
    total
}

#[test]
fn pinned_seeds_keep_every_promise() {
    let total = sweep(PINNED.into_iter());
    assert_eq!(total.seeds, PINNED.len() as u64);
    assert!(total.deliveries > 1_000, "{total}");
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in 1..40 {
        let (one, two) = (run(seed), run(seed));
        let shown = |report: &Result<Report, String>| format!("{report:?}");
        assert_eq!(shown(&one), shown(&two), "seed {seed}");
    }
}

#[test]
fn a_sweep_keeps_every_promise_and_reaches_every_situation() {
    let parts = (0..PARTS).map(|part| {
        std::thread::spawn(move || sweep((1..=SWEEP).filter(|seed| seed % PARTS == part)))
    });
    let parts: Vec<_> = parts.collect();
    let mut total = Report::default();
    for part in parts {
        total.add(&part.join().expect("a part of the sweep failed; see above"));
    }
    println!("{total}");
    assert_eq!(total.seeds, SWEEP);
    assert!(total.deliveries > 100_000, "{total}");
    let missing = total.marks.missing();
    assert!(missing.is_empty(), "never reached: {missing:?}");
    assert!(Mark::ALL.len() >= 40);
}
