//! `odin-sim`: runs the simulations by hand. Every command is one line of [`COMMANDS`].

use std::process::ExitCode;

use odin_sim::{commands, scenarios};

/// A command: its name, its options, what it does, and the function that does it.
type Command = (
    &'static str,
    &'static str,
    &'static str,
    fn(&[String]) -> Result<(), String>,
);

const COMMANDS: &[Command] = &[
    ("list", "", "what there is to run", list),
    (
        "run",
        "SCENARIO --seed N [--short] [--report FILE] [--trace FILE]",
        "one scenario",
        commands::run,
    ),
    (
        "sweep",
        "SCENARIO|all --seeds N [--from N] [--full]",
        "many seeds of one scenario or of all, shortened",
        commands::sweep,
    ),
    (
        "meta",
        "SCENARIO --seed N [--full]",
        "the same run in two processes: every byte of the trace must be the same",
        commands::meta,
    ),
    (
        "stress",
        "CLIENTS SECONDS [--url URL] [--publish HOST:PORT] [--token T] [--rate N] [--payload BYTES] [--stall N|N%]",
        "the same load against a real server, on real sockets",
        commands::stress,
    ),
    (
        "replay",
        "FILE [--client ID | --at SECONDS | --channel NAME]",
        "runs a recording of the flight recorder again, and answers questions about it",
        odin_sim::replay::command,
    ),
    (
        "swarm",
        "--seeds N [--from S] [--keep-going] | --seed S",
        "the bare machines under drawn faults",
        swarm,
    ),
    (
        "mutants",
        "[NAME]",
        "every planted bug, and the seeds needed to find it",
        mutants,
    ),
    (
        "reach",
        "[--seeds N]",
        "how often the swarm came into each situation",
        reach,
    ),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let name = words.first().map_or("list", String::as_str);
    let Some((.., run)) = COMMANDS.iter().find(|(other, ..)| *other == name) else {
        eprintln!("odin-sim: there is no command {name:?}; `odin-sim list` shows them all");
        return ExitCode::from(2);
    };
    match run(words.get(1..).unwrap_or_default()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("odin-sim: {message}");
            ExitCode::FAILURE
        }
    }
}

fn list(_: &[String]) -> Result<(), String> {
    for (name, options, what, _) in COMMANDS {
        println!("odin-sim {name:<8} {options:<46} {what}");
    }
    println!("\nscenarios:");
    for scenario in scenarios::ALL {
        println!("  {:<18} {}", scenario.name, scenario.about);
    }
    Ok(())
}

/// The number after an option; `None`: it is not given.
fn number(words: &[String], option: &str) -> Result<Option<u64>, String> {
    let Some(at) = words.iter().position(|word| word == option) else {
        return Ok(None);
    };
    let value = words.get(at + 1).and_then(|word| word.parse().ok());
    value
        .map(Some)
        .ok_or_else(|| format!("{option} wants a number"))
}

fn swarm(words: &[String]) -> Result<(), String> {
    if let Some(seed) = number(words, "--seed")? {
        println!("{}", odin_sim::swarm::explain(seed)?);
        return Ok(());
    }
    let seeds = number(words, "--seeds")?.unwrap_or(1_000);
    let from = number(words, "--from")?.unwrap_or(1);
    let began = std::time::Instant::now();
    let goes_on = words.iter().any(|word| word == "--keep-going");
    let mut failed = 0;
    let mut total = odin_sim::swarm::Report::default();
    for seed in from..from.saturating_add(seeds) {
        match odin_sim::swarm::run(seed) {
            Ok(report) => total.add(&report),
            Err(what) if goes_on => {
                failed += 1;
                println!("seed {seed}: {}", what.lines().next().unwrap_or_default());
            }
            Err(_) => return odin_sim::swarm::explain(seed).map(|_| ()),
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let pace = total.simulated.as_secs_f64() / seconds;
    if failed > 0 {
        return Err(format!("{failed} of {seeds} seeds failed"));
    }
    println!("{total}, in {seconds:.1} s: {pace:.0} simulated seconds a second");
    Ok(())
}

fn mutants(words: &[String]) -> Result<(), String> {
    use odin_core::mutant::Mutant;
    use odin_sim::mutants::{SEEDS_MAX, hunt};
    println!("| planted bug | seeds | how it shows |\n|---|---|---|");
    let mut missed = 0;
    let wanted = |mutant: &Mutant| match words.first() {
        Some(name) => format!("{mutant:?}") == *name,
        None => true,
    };
    for mutant in Mutant::ALL.iter().copied().filter(wanted) {
        let outcome = hunt(mutant, SEEDS_MAX);
        let seeds = outcome
            .seeds
            .map_or("never".into(), |seeds| seeds.to_string());
        missed += u64::from(outcome.seeds.is_none());
        println!(
            "| {}: {} | {seeds} | {} |",
            format_args!("{mutant:?}"),
            mutant.text().trim(),
            outcome.how
        );
    }
    match missed {
        0 => Ok(()),
        missed => Err(format!(
            "{missed} planted bugs were not found within {SEEDS_MAX} seeds"
        )),
    }
}

fn reach(words: &[String]) -> Result<(), String> {
    use odin_sim::marks::Mark;
    let seeds = number(words, "--seeds")?.unwrap_or(1_000);
    let mut total = odin_sim::swarm::Report::default();
    for seed in 1..=seeds {
        total.add(&odin_sim::swarm::run(seed)?);
    }
    for mark in Mark::ALL.iter().copied() {
        let name = format!("{mark:?}");
        println!(
            "{:>9}  {name:<24} {}",
            total.marks.count(mark),
            mark.text().trim()
        );
    }
    match total.marks.missing() {
        missing if missing.is_empty() => Ok(()),
        missing => Err(format!("never reached: {missing:?}")),
    }
}
