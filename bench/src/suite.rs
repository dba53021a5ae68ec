//! Runs the cases in turn, as often as asked, and prints the table of medians.

use std::fmt::Write as _;
use std::time::Instant;

use crate::bench::Bench;
use crate::cases::{self, Case};
use crate::figure::{Figure, Value, median};
use crate::process;
use crate::{Options, Result};

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
    let (tables, bars) = tables(&chosen, &runs);
    let missed = bars.iter().filter(|bar| !bar.met).count();
    let text = format!(
        "{}\n{} runs.\n{tables}{}",
        process::machine()?,
        options.runs,
        summary(&bars)
    );
    print!("{text}");
    if let Some(file) = &options.write {
        std::fs::write(file, format!("# What `make bench` printed\n\n{text}"))?;
    }
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

/// A figure that must be something, as it came out.
struct Verdict {
    line: String,
    met: bool,
}

/// A table in Markdown for each case, and every figure that has a bar.
fn tables(cases: &[&Case], runs: &[Vec<Vec<Figure>>]) -> (String, Vec<Verdict>) {
    let mut tables = String::new();
    let mut verdicts = Vec::new();
    for (case, runs) in cases.iter().zip(runs) {
        let _ = writeln!(tables, "\n### {}: {}\n", case.name, case.about);
        tables.push_str("| figure | median | lowest to highest | bar | |\n|---|---|---|---|---|\n");
        for figure in runs.first().into_iter().flatten() {
            // By name: a figure may be missing in a run where something failed.
            let of = |run: &Vec<Figure>| {
                let found = run.iter().find(|other| other.what == figure.what);
                found.map(|figure| figure.value)
            };
            let values: Vec<f64> = runs.iter().filter_map(of).collect();
            let middle = median(&values);
            let edge = |edge: fn(f64, f64) -> f64| values.iter().copied().fold(middle, edge);
            let (what, unit, bar) = (&figure.what, figure.unit, figure.bar.show(figure.unit));
            let shown = Value(middle, unit);
            let met = figure.bar.is_met(middle);
            let verdict = met.map_or("", |met| if met { "met" } else { "**not met**" });
            let (low, high) = (Value(edge(f64::min), unit), Value(edge(f64::max), unit));
            let _ = writeln!(
                tables,
                "| {what} | {shown} | {low} to {high} | {bar} | {verdict} |"
            );
            if let Some(met) = met {
                let name = case.name;
                let line = format!("| {name} | {what} | {shown} | {bar} | {verdict} |");
                verdicts.push(Verdict { line, met });
            }
        }
    }
    (tables, verdicts)
}

/// All bars in one table.
fn summary(verdicts: &[Verdict]) -> String {
    let lines: Vec<&str> = verdicts
        .iter()
        .map(|verdict| verdict.line.as_str())
        .collect();
    let met = verdicts.iter().filter(|verdict| verdict.met).count();
    format!(
        "\n### All bars\n\n| case | figure | median | bar | |\n|---|---|---|---|---|\n{}\n\n{met} of {} are met.\n",
        lines.join("\n"),
        verdicts.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Unit;

    const CASE: Case = Case {
        name: "dear",
        about: "something that costs",
        run: |_| Ok(Vec::new()),
    };

    fn run(cost: f64, whole: bool) -> Vec<Figure> {
        let cost = Figure::new("cost", cost, Unit::Micros).at_most(1.0);
        let told = Figure::new("told", 3.0, Unit::Count);
        vec![cost, told, Figure::must("whole", whole)]
    }

    #[test]
    fn medians_are_held_against_their_bars() {
        let runs = [vec![run(0.5, true), run(1.25, false), run(9.0, true)]];
        let (tables, bars) = tables(&[&CASE], &runs);
        let expected = "
### dear: something that costs

| figure | median | lowest to highest | bar | |
|---|---|---|---|---|
| cost | 1.25 us | 0.50 us to 9.00 us | <= 1.00 us | **not met** |
| told | 3.00 | 3.00 to 3.00 |  |  |
| whole | yes | no to yes | yes | met |
";
        assert_eq!(tables, expected);
        let summary = summary(&bars);
        assert!(summary.contains("| dear | cost | 1.25 us | <= 1.00 us | **not met** |\n"));
        assert!(summary.ends_with("\n1 of 2 are met.\n"), "{summary}");
    }

    #[test]
    fn cases_are_chosen_by_name() {
        let names = |only: &[&str]| -> Result<Vec<&str>> {
            let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
            Ok(chosen(&only)?.iter().map(|case| case.name).collect())
        };
        assert_eq!(names(&[]).map(|all| all.len()).ok(), Some(cases::ALL.len()));
        assert_eq!(
            names(&["idle", "one-1k"]).ok(),
            Some(vec!["idle", "one-1k"])
        );
        let error = names(&["one"]).expect_err("there is none").to_string();
        assert!(
            error.starts_with("there is no case \"one\", only: one-1k "),
            "{error}"
        );
    }
}
