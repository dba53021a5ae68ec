//! The commands of `odin-sim` that concern whole worlds.

pub mod options;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::report::{Report, html};
use crate::scenarios::{self, Scale, Scenario};
use crate::stress;
use crate::trace::Trace;
use options::Options;

fn scenario(name: &str) -> Result<&'static Scenario, String> {
    scenarios::find(name)
        .ok_or_else(|| format!("there is no scenario {name:?}; `odin-sim list` shows them all"))
}

/// `odin-sim run`: one scenario with one seed.
///
/// # Errors
/// Options that are none, a file that cannot be written, or a broken promise.
pub fn run(words: &[String]) -> Result<(), String> {
    let options = Options::read(words, &["seed", "report", "trace"], &["short"])?;
    let scenario = scenario(options.only()?)?;
    let scale = if options.has("short") {
        Scale::Short
    } else {
        Scale::Full
    };
    let trace = Trace::new(options.value("trace").map(Path::new));
    let trace = trace.map_err(|error| format!("the trace: {error}"))?;
    let report = scenario.run_traced(options.number("seed", 1)?, scale, &trace);
    trace.finish().map_err(|error| error.to_string())?;
    if let Some(path) = options.value("report") {
        std::fs::write(path, html::page(&report)).map_err(|error| format!("{path}: {error}"))?;
    }
    print!("{report}");
    eprintln!("took {:.1} s", report.wall.as_secs_f64());
    if report.passed() {
        return Ok(());
    }
    Err("a promise was broken".into())
}

/// `odin-sim sweep`: many seeds, and what they came to together.
///
/// # Errors
/// Options that are none, or a broken promise in any run.
pub fn sweep(words: &[String]) -> Result<(), String> {
    let options = Options::read(words, &["seeds", "from"], &["full"])?;
    let chosen = match options.only()? {
        "all" => scenarios::ALL,
        name => std::slice::from_ref(scenario(name)?),
    };
    let scale = if options.has("full") {
        Scale::Full
    } else {
        Scale::Short
    };
    let from = options.number("from", 1)?;
    let mut totals = Totals::default();
    for seed in from..from.saturating_add(options.number("seeds", 10)?) {
        for scenario in chosen {
            let report = scenario.run_drawn(seed, scale);
            if !report.passed() {
                print!("{report}");
            }
            totals.add(&report);
        }
    }
    println!("{totals}");
    match totals.failed.as_slice() {
        [] => Ok(()),
        failed => Err(format!("failed:\n  {}", failed.join("\n  "))),
    }
}

/// What many runs came to.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    runs: u64,
    simulated: Duration,
    delivered: u64,
    faults: usize,
    /// The commands that run the failed ones again.
    pub failed: Vec<String>,
}

impl Totals {
    /// Counts a run.
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        self.simulated += report.simulated;
        self.delivered += report.tally.delivered;
        self.faults += report.faults.len();
        if !report.passed() {
            self.failed.push(report.command());
        }
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} runs, {:.2} simulated hours, {} deliveries checked, {} faults, {} failed",
            self.runs,
            self.simulated.as_secs_f64() / 3600.0,
            self.delivered,
            self.faults,
            self.failed.len()
        )
    }
}

/// `odin-sim stress`: the load of the scenarios against a real server.
///
/// # Errors
/// Options that are none, a server that cannot be reached, or a broken promise.
pub fn stress(words: &[String]) -> Result<(), String> {
    let valued = ["url", "publish", "token", "rate", "payload", "stall"];
    let options = Options::read(words, &valued, &[])?;
    let [clients, seconds] = options.words() else {
        return Err("stress needs two numbers: clients and seconds".into());
    };
    let number = |text: &str| {
        text.parse::<u64>()
            .map_err(|_| format!("{text} is no number"))
    };
    let bounded = |number: u64, most: usize| {
        let small = usize::try_from(number)
            .ok()
            .filter(|number| *number <= most);
        small.ok_or_else(|| format!("{number} is more than {most}"))
    };
    let url = options.value("url").unwrap_or("ws://127.0.0.1:3004/ws");
    let authority = url
        .strip_prefix("ws://")
        .and_then(|rest| rest.split('/').next());
    let authority = authority.ok_or("--url is ws://host:port/path")?;
    let clients = bounded(number(clients)?, stress::CLIENTS_MAX)?;
    let summary = stress::run(stress::Options {
        url: url.into(),
        publish: options.value("publish").unwrap_or(authority).into(),
        token: options.value("token").map(str::to_owned),
        clients,
        stalled: bounded(stalled(options.value("stall"), clients)?, clients)?,
        duration: Duration::from_secs(number(seconds)?),
        rate: options.number("rate", 100)?,
        payload: bounded(options.number("payload", 100)?, 60_000)?,
    });
    let summary = summary.map_err(|error| format!("{url}: {error}"))?;
    println!("{summary}");
    if summary.failures.is_empty() {
        return Ok(());
    }
    Err("a promise was broken".into())
}

/// How many clients stall: a number, or a share of all with a percent sign.
fn stalled(text: Option<&str>, clients: usize) -> Result<u64, String> {
    let Some(text) = text else { return Ok(0) };
    let (digits, is_share) = match text.strip_suffix('%') {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("--stall wants a number, or a share such as 20%, and not {text}"))?;
    Ok(match is_share {
        true => number.saturating_mul(clients as u64) / 100,
        false => number,
    })
}

/// `odin-sim meta`: runs a seed in two processes of this program and compares their traces.
///
/// # Errors
/// Options that are none, a process that cannot be run, or traces that differ.
pub fn meta(words: &[String]) -> Result<(), String> {
    let options = Options::read(words, &["seed"], &["full"])?;
    let scenario = scenario(options.only()?)?;
    let seed = options.number("seed", 1)?;
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let (hash, bytes) = compare(&program, scenario, seed, options.has("full"))?;
    println!(
        "{} seed {seed}: both traces have the hash {hash:016x}, {bytes} bytes",
        scenario.name
    );
    Ok(())
}

/// Runs a seed in two processes of `program` at once; gives the hash and the length of their traces.
///
/// # Errors
/// In words, when a process cannot be run or the traces differ.
pub fn compare(
    program: &Path,
    scenario: &Scenario,
    seed: u64,
    full: bool,
) -> Result<(u64, usize), String> {
    let paths: [PathBuf; 2] = [1, 2].map(|copy| {
        let name = format!(
            "odin-sim-{}-{}-{seed}-{copy}",
            std::process::id(),
            scenario.name
        );
        std::env::temp_dir().join(name)
    });
    let started = paths.each_ref().map(|path| {
        let mut command = std::process::Command::new(program);
        command.args(["run", scenario.name, "--seed", &seed.to_string()]);
        if !full {
            command.arg("--short");
        }
        command.arg("--trace").arg(path);
        command.stdout(std::process::Stdio::null());
        command.stderr(std::process::Stdio::null());
        command.spawn()
    });
    for process in started {
        // Whether promises were kept is not asked here: a run that fails must fail alike.
        let ended = process.and_then(|mut process| process.wait());
        ended.map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    }
    let read = paths.each_ref().map(std::fs::read);
    for path in &paths {
        // What cannot be removed from the temporary folder does no harm.
        let _ = std::fs::remove_file(path);
    }
    let [Ok(one), Ok(other)] = read else {
        return Err("a process left no trace".into());
    };
    if one == other && !one.is_empty() {
        return Ok((
            crate::trace::fnv1a(crate::trace::FNV_OFFSET, &one),
            one.len(),
        ));
    }
    let pairs = one.split(|b| *b == b'\n').zip(other.split(|b| *b == b'\n'));
    let first = pairs.zip(1_usize..).find(|((a, b), _)| a != b);
    Err(match first {
        Some(((a, b), line)) => format!(
            "the traces of {} seed {seed} differ at line {line}:\n  {}\n  {}",
            scenario.name,
            String::from_utf8_lossy(a),
            String::from_utf8_lossy(b)
        ),
        None => format!(
            "a trace of {} seed {seed} is shorter than the other",
            scenario.name
        ),
    })
}
