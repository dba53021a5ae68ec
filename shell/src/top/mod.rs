//! `odin-ws top`: a running server in the terminal, for people without Grafana.
//!
//! It asks `/stats` over HTTP, as the live page does, and `/debug/clients`, which tells who the clients
//! are to those who may know. What is shown is made in `view`; here are the arguments, the clock and
//! the terminal. It needs nothing of the terminal but the three codes in `frame`, and none of them
//! where the output is no terminal.

mod fetch;
mod view;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::settings::exit;
pub use fetch::Target;
pub use view::view;

/// The server of `cargo run`.
const HERE: &str = "http://127.0.0.1:3004";

const HELP: &str = "\
Shows a running Odin WS server: health, rates, delivery time, who is furthest behind.

Usage: odin-ws top [URL] [--ca FILE] [--once] [--interval SECONDS]

  URL         the server, http:// or https:// [default: http://127.0.0.1:3004]; its admin_listen if it has one
  --ca        the certificates that an https:// server is known by [default: those of the system]
  --once      measure for one interval, print it and end
  --interval  seconds between two looks, 0.1 to 3600 [default: 1]

Who the clients are is shown to programs on the server's own machine, while it listens on loopback, and to
those who have its admin token in ODIN_WS_ADMIN_TOKEN.
";

/// What the command line asks for.
#[derive(Debug)]
struct Options {
    target: Target,
    once: bool,
    interval: Duration,
}

/// Runs with the arguments after `top` and gives the exit code.
pub fn run(args: impl Iterator<Item = OsString>) -> u8 {
    let token = std::env::var("ODIN_WS_ADMIN_TOKEN").ok();
    match options(args, token) {
        Ok(Some(options)) => watch(&options),
        Ok(None) => {
            // Whoever asked for help may have closed the output.
            let _ = io::stdout().write_all(HELP.as_bytes());
            exit::OK
        }
        Err(problem) => {
            eprintln!("odin-ws top: {problem}");
            exit::SETTINGS
        }
    }
}

/// `None`: help is asked for.
fn options(
    args: impl Iterator<Item = OsString>,
    token: Option<String>,
) -> Result<Option<Options>, String> {
    let mut url = None;
    let mut authorities = None;
    let mut once = false;
    let mut interval = Duration::from_secs(1);
    let mut args = args.map(|arg| arg.to_string_lossy().into_owned());
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "-h" | "--help" => return Ok(None),
            "--once" => once = true,
            "--ca" => {
                let value = args.next().ok_or("--ca needs a file")?;
                authorities = Some(PathBuf::from(value));
            }
            "--interval" => {
                let value = args.next().ok_or("--interval needs seconds")?;
                interval = seconds(&value)
                    .ok_or_else(|| format!("--interval {value}: seconds from 0.1 to 3600"))?;
            }
            _ if arg.starts_with('-') => return Err(format!("{arg} is unknown; see --help")),
            _ if url.is_some() => return Err(format!("{arg}: one URL is enough")),
            _ => url = Some(arg),
        }
    }
    let target = Target::new(
        url.as_deref().unwrap_or(HERE),
        token,
        authorities.as_deref(),
    )?;
    Ok(Some(Options {
        target,
        once,
        interval,
    }))
}

fn seconds(text: &str) -> Option<Duration> {
    let value: f64 = text.parse().ok()?;
    (0.1..=3600.0)
        .contains(&value)
        .then(|| Duration::from_secs_f64(value))
}

/// One look at the server.
struct Look {
    stats: Value,
    /// `None`: this asker may not know.
    clients: Option<Value>,
}

fn look(target: &Target) -> Result<Look, String> {
    let stats = target.json("/stats")?;
    let stats = stats.ok_or("it has no /stats: not an Odin WS server, or an older one")?;
    let clients = target.json("/debug/clients")?;
    Ok(Look { stats, clients })
}

fn watch(options: &Options) -> u8 {
    let mut out = io::stdout();
    let terminal = out.is_terminal() && !options.once;
    let mut before = match look(&options.target) {
        Ok(look) => look,
        Err(problem) => {
            eprintln!("odin-ws top: {}: {problem}", options.target);
            return exit::FAILED;
        }
    };
    loop {
        std::thread::sleep(options.interval);
        let text = match look(&options.target) {
            Ok(now) => {
                let text = view(&now.stats, &before.stats, now.clients.as_ref());
                before = now;
                text
            }
            Err(problem) if options.once => {
                eprintln!("odin-ws top: {}: {problem}", options.target);
                return exit::FAILED;
            }
            // It may be restarted; what was shown is no longer so.
            Err(problem) => format!("unreachable: {problem}\n"),
        };
        let text = frame(&options.target.to_string(), &text, terminal);
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        if written.is_err() || options.once {
            // Whoever read this has seen enough.
            return exit::OK;
        }
    }
}

/// What is written for one look: on a terminal in the place of the last one, else below it.
fn frame(target: &str, text: &str, terminal: bool) -> String {
    if !terminal {
        return format!("{target}\n{text}\n");
    }
    // ECMA-48: cursor home, then each line with the rest of it erased, then all below.
    let lines: String = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
    format!("\x1b[H{target}\x1b[K\n{lines}\x1b[J")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Option<Options>, String> {
        options(args.iter().map(OsString::from), None)
    }

    #[test]
    fn arguments() {
        let options = parse(&[]).unwrap().unwrap();
        assert_eq!(options.target.to_string(), "127.0.0.1:3004");
        assert_eq!((options.once, options.interval.as_millis()), (false, 1000));
        let args = ["odin:80", "--once", "--interval", "0.5"];
        let options = parse(&args).unwrap().unwrap();
        assert_eq!(options.target.to_string(), "odin:80");
        assert_eq!((options.once, options.interval.as_millis()), (true, 500));
        assert!(parse(&["--help"]).unwrap().is_none());
        for (args, problem) in [
            (&["--twice"][..], "--twice is unknown; see --help"),
            (&["a:1", "b:1"], "b:1: one URL is enough"),
            (&["--interval"], "--interval needs seconds"),
            (
                &["--interval", "0"],
                "--interval 0: seconds from 0.1 to 3600",
            ),
            (
                &["--interval", "NaN"],
                "--interval NaN: seconds from 0.1 to 3600",
            ),
            (&["--ca"], "--ca needs a file"),
            (&["odin", "--ca", "x.pem"], "odin: --ca is for https://"),
            (
                &["ftp://odin"],
                "ftp://odin: this speaks http and https only",
            ),
        ] {
            assert_eq!(parse(args).err().as_deref(), Some(problem));
        }
    }

    #[test]
    fn a_terminal_is_written_over_and_a_pipe_is_not() {
        assert_eq!(frame("t", "a\nb\n", false), "t\na\nb\n\n");
        let over = "\x1b[Ht\x1b[K\na\x1b[K\nb\x1b[K\n\x1b[J";
        assert_eq!(frame("t", "a\nb\n", true), over);
    }
}
