//! How the cost of a delivery changes with the rate of messages: the server, by itself and with a coalescing
//! window where it has one, and the floor.

use std::path::Path;

use crate::Result;
use crate::bench::{Bench, Target, Work};
use crate::figure::median;
use crate::plot::{self, Series};

/// Subscribers of the one channel.
const CLIENTS: u32 = 1_000;

/// Messages a second. The floor takes part as far as one thread goes.
const RATES: [f64; 8] = [10.0, 20.0, 50.0, 100.0, 200.0, 400.0, 1_000.0, 1_500.0];
const FLOOR_RATE_MAX: f64 = 60.0;

/// Each point is the median of so many measurements.
const RUNS: usize = 3;

/// The flag that saves CPU at middle rates.
const COALESCE: &[&str] = &["--coalesce", "20ms"];

/// Measures the curves, prints them and, where asked for, writes the plot.
pub(crate) fn run(bench: &mut Bench, plots: Option<&Path>) -> Result<()> {
    let mut targets = vec![
        ("floor, one thread", Target::Floor, FLOOR_RATE_MAX),
        ("server", Target::Server(&[]), f64::INFINITY),
    ];
    if bench.has_flag(COALESCE[0]) {
        targets.push((
            "server --coalesce 20ms",
            Target::Server(COALESCE),
            f64::INFINITY,
        ));
    }
    let mut series: Vec<Series> = Vec::new();
    println!(
        "| program | messages/s | CPU per delivery | messages read at once |\n|---|---|---|---|"
    );
    for (name, target, rate_max) in targets {
        let mut points = Vec::new();
        for rate in RATES.into_iter().filter(|rate| *rate <= rate_max) {
            let (mut costs, mut together) = (Vec::new(), Vec::new());
            for _ in 0..RUNS {
                bench.next_run();
                let outcome = bench.measure(target, &Work::one(CLIENTS, rate))?;
                costs.push(outcome.cpu_us);
                together.push(outcome.together);
            }
            let (cost, together) = (median(&costs), median(&together));
            println!("| {name} | {rate} | {cost:.2} us | {together:.1} |");
            points.push((rate, cost));
        }
        series.push(Series { name, points });
    }
    if let Some(folder) = plots {
        let title = "CPU of the server for each delivery: 1 channel, 1,000 subscribers, 256 B";
        let chart = plot::chart(title, "messages per second", "microseconds", &series);
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("rates.svg"), chart)?;
    }
    Ok(())
}
