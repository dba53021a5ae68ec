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
        println!("odin-sim {name:<8} {options:<28} {what}");
    }
    println!("\nscenarios:");
    for scenario in scenarios::ALL {
        println!("  {:<18} {}", scenario.name, scenario.about);
    }
    Ok(())
}
