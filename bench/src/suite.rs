//! Runs the cases in turn, as often as asked, and prints the table of medians.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use crate::Result;
use crate::bench::Bench;
use crate::cases::{self, Case};
use crate::figure::{Figure, Value, median};

/// What to run.
#[derive(Debug)]
pub(crate) struct Options {
    /// The server; `None`: the one beside this program.
    pub(crate) server: Option<PathBuf>,
    /// The names of the cases; none: all.
    pub(crate) only: Vec<String>,
    /// How often.
    pub(crate) runs: usize,
}

/// Runs the cases and prints the table. Gives the number of bars that are not met.
pub(crate) fn run(options: &Options) -> Result<usize> {
    let chosen = chosen(&options.only)?;
    let mut bench = Bench::new(options.server.clone())?;
    let mut runs: Vec<Vec<Vec<Figure>>> = vec![Vec::new(); chosen.len()];
    let began = Instant::now();
    for number in 1..=options.runs {
        bench.next_run();
        for (case, results) in chosen.iter().zip(&mut runs) {
            let seconds = began.elapsed().as_secs();
            eprintln!(
                "[{seconds:4} s] run {number} of {}: {}",
                options.runs, case.name
            );
            let figures =
                (case.run)(&mut bench).map_err(|error| format!("{}: {error}", case.name))?;
            results.push(figures);
        }
    }
    let (table, missed) = table(&chosen, &runs);
    print!("{table}");
    Ok(missed)
}

fn chosen(only: &[String]) -> Result<Vec<&'static Case>> {
    if only.is_empty() {
        return Ok(cases::ALL.iter().collect());
    }
    let find = |name: &String| {
        let case = cases::ALL.iter().find(|case| case.name == name);
        case.ok_or_else(|| {
            let names: Vec<&str> = cases::ALL.iter().map(|case| case.name).collect();
            format!("there is no case {name:?}, only: {}", names.join(" ")).into()
        })
    };
    only.iter().map(find).collect()
}

/// The table in Markdown, and the number of bars that are not met.
fn table(cases: &[&Case], runs: &[Vec<Vec<Figure>>]) -> (String, usize) {
    let mut table = String::new();
    let (mut bars, mut missed) = (0, 0);
    for (case, runs) in cases.iter().zip(runs) {
        let _ = writeln!(table, "\n### {}: {}\n", case.name, case.about);
        table.push_str("| figure | median | lowest to highest | bar | |\n|---|---|---|---|---|\n");
        for figure in runs.first().into_iter().flatten() {
            // By name: a figure may be missing in a run where something failed.
            let of = |run: &Vec<Figure>| {
                run.iter()
                    .find(|other| other.what == figure.what)
                    .map(|f| f.value)
            };
            let values: Vec<f64> = runs.iter().filter_map(of).collect();
            let middle = median(&values);
            let edge = |edge: fn(f64, f64) -> f64| values.iter().copied().fold(middle, edge);
            let verdict = figure.bar.is_met(middle);
            bars += usize::from(verdict.is_some());
            missed += usize::from(verdict == Some(false));
            let _ = writeln!(
                table,
                "| {} | {} | {} to {} | {} | {} |",
                figure.what,
                Value(middle, figure.unit),
                Value(edge(f64::min), figure.unit),
                Value(edge(f64::max), figure.unit),
                figure.bar.show(figure.unit),
                verdict.map_or("", |met| if met { "met" } else { "**not met**" }),
            );
        }
    }
    let _ = writeln!(table, "\n{} of {bars} bars are met.", bars - missed);
    (table, missed)
}
