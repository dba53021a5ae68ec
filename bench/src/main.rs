//! Measures the release server beside the least that a server could do. `make bench` runs it; the method
//! is in `docs/PERFORMANCE.md`.
#![forbid(unsafe_code)]

mod bench;
mod cases;
mod clock;
mod curve;
mod figure;
mod floor;
mod frame;
mod histogram;
mod load;
mod message;
mod plot;
mod process;
mod publisher;
mod scale;
mod source;
mod suite;
mod topology;

use std::path::PathBuf;
use std::process::ExitCode;

use bench::Bench;

/// What may fail says so in words.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const USAGE: &str = "\
odin-bench run [--server PATH] [--only CASE[,CASE]] [--runs N] [--write FILE]
                                                                 measures, and prints the tables
odin-bench list                                                  the cases
odin-bench curve [--server PATH] [--plots DIR]                   cost of a delivery by the rate of messages
odin-bench scale [--plots DIR]                                   one shard in memory, up to 1,000,000 sessions
odin-bench floor HOST:PORT                                       the floor, fed by whoever listens there";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match command(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("odin-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn command(words: &[String]) -> Result<ExitCode> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", options @ ..] => {
            let options = Options::read(options, &["--server", "--only", "--runs", "--write"])?;
            let missed = suite::run(&options)?;
            Ok(ExitCode::from(u8::from(missed > 0)))
        }
        ["list"] => {
            for case in cases::ALL {
                println!("{:<16} {}", case.name, case.about);
            }
            Ok(ExitCode::SUCCESS)
        }
        ["curve", options @ ..] => {
            let options = Options::read(options, &["--server", "--plots"])?;
            done(curve::run(
                &mut Bench::new(options.server)?,
                options.plots.as_deref(),
            ))
        }
        ["scale", options @ ..] => done(scale::run(
            Options::read(options, &["--plots"])?.plots.as_deref(),
        )),
        // What `scale` runs for each size.
        ["scale-of", sessions] => done(scale::run_one(sessions.parse()?)),
        ["floor", feed] => done(floor::run(feed.parse()?)),
        _ => Err(format!("it is one of\n{USAGE}").into()),
    }
}

fn done(result: Result<()>) -> Result<ExitCode> {
    result.map(|()| ExitCode::SUCCESS)
}

/// What the commands may be told.
#[derive(Debug)]
struct Options {
    /// The server; `None`: the one beside this program.
    server: Option<PathBuf>,
    /// The names of the cases; none: all.
    only: Vec<String>,
    /// How often each is measured.
    runs: usize,
    /// The file that the tables are written to as well; `None`: none.
    write: Option<PathBuf>,
    /// Where plots are written; `None`: nowhere.
    plots: Option<PathBuf>,
}

impl Options {
    /// Reads pairs of an option, of those that are `taken`, and its value.
    fn read(words: &[&str], taken: &[&str]) -> Result<Self> {
        let mut options = Self {
            server: None,
            only: Vec::new(),
            runs: 5,
            write: None,
            plots: None,
        };
        for pair in words.chunks(2) {
            match *pair {
                [option, _] if !taken.contains(&option) => {
                    return Err(format!("there is no option {option} here\n{USAGE}").into());
                }
                ["--server", path] => options.server = Some(path.into()),
                // This and the file are empty where the variable of `make` is not given.
                ["--only", names] => {
                    let names = names.split(',').filter(|name| !name.is_empty());
                    options.only = names.map(str::to_owned).collect();
                }
                ["--runs", count] => options.runs = count.parse::<usize>()?.max(1),
                ["--write", ""] => {}
                ["--write", file] => options.write = Some(file.into()),
                ["--plots", folder] => options.plots = Some(folder.into()),
                _ => return Err(format!("{pair:?}: a value is missing\n{USAGE}").into()),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_in_pairs() {
        let words = ["--only", "idle,one-1k", "--runs", "3", "--write", ""];
        let options = Options::read(&words, &["--only", "--runs", "--write"]).expect("options");
        assert_eq!(options.only, ["idle", "one-1k"]);
        assert_eq!((options.runs, options.write), (3, None));
        for (words, message) in [
            (&["--plots", "here"][..], "there is no option --plots here"),
            (&["--only"], "a value is missing"),
            (&["--runs", "many"], "invalid digit"),
        ] {
            let error = Options::read(words, &["--only", "--runs"]).expect_err(message);
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
