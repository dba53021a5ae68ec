//! The `odin-ws` binary: settings, signals and exit codes around [`odin_shell::server`], and the commands
//! beside it.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use odin_shell::drain::{Asked, Signals};
use odin_shell::server::{self, RunningServer};
use odin_shell::settings::{Loaded, Settings, exit};
use odin_shell::{healthcheck, listener, logging, top};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    match args.get(1).and_then(|command| command.to_str()) {
        Some("top") => ExitCode::from(top::run(args.into_iter().skip(2))),
        Some("healthcheck") => {
            args.remove(1);
            check_health(args)
        }
        _ => serve(args),
    }
}

/// Runs the server, or prints what was asked for.
fn serve(args: Vec<OsString>) -> ExitCode {
    let settings = match Settings::load(args.into_iter(), std::env::vars_os()) {
        Ok(Loaded::Run(settings)) => *settings,
        Ok(Loaded::Print(text)) => {
            say(&text);
            return ExitCode::from(exit::OK);
        }
        Err(error) => {
            eprintln!("odin-ws: {error}");
            return ExitCode::from(exit::SETTINGS);
        }
    };
    match run(settings) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("odin-ws: {error}");
            ExitCode::from(exit::FAILED)
        }
    }
}

/// Asks the server that runs with these settings whether it lives. Container engines know 0 and 1 of
/// a health check, and keep 2 for themselves, so wrong settings are 1 here.
fn check_health(args: Vec<OsString>) -> ExitCode {
    let checked = match Settings::load(args.into_iter(), std::env::vars_os()) {
        Ok(Loaded::Run(settings)) => healthcheck::check(&settings),
        Ok(Loaded::Print(text)) => {
            say(&text);
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    };
    match checked {
        Ok(()) => ExitCode::from(exit::OK),
        Err(error) => {
            eprintln!("odin-ws: {error}");
            ExitCode::from(exit::FAILED)
        }
    }
}

/// Runs the server and gives the exit code.
fn run(settings: Settings) -> Result<u8, Box<dyn std::error::Error>> {
    logging::init(&settings)?;
    let fd_limit = listener::raise_fd_limit();
    // The shards have threads of their own; here are the acceptor, the source and the sampler.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("odin-main")
        .enable_all()
        .build()?;
    let code = runtime.block_on(async {
        let signals = Signals::new()?;
        let listen = settings.listen;
        let server = server::from_settings(settings, fd_limit)
            .await
            .map_err(|error| format!("cannot serve on {listen}: {error}"))?;
        let addr = server.local_addr();
        let secure = if server.has_tls() { "s" } else { "" };
        let admin = server.admin_addr();
        let admin = admin.map_or_else(String::new, |admin| format!("; admin: http://{admin}"));
        say(&format!(
            "odin-ws {} listening on ws{secure}://{addr}/ws (health: http{secure}://{addr}/health{admin})\n",
            env!("CARGO_PKG_VERSION"),
        ));
        Ok::<_, Box<dyn std::error::Error>>(until_signalled(server, signals).await)
    });
    // What is still under way belongs to connections that are gone.
    runtime.shutdown_background();
    code
}

/// The first signal drains, a second one ends at once.
async fn until_signalled(mut server: RunningServer, mut signals: Signals) -> u8 {
    loop {
        tokio::select! {
            biased;
            asked = signals.any() => match asked {
                Asked::End => break,
                Asked::Record => record(&server).await,
                Asked::Reload => server.reload().await,
            },
            () = server.failed() => {
                server.stop().await;
                return exit::FAILED;
            }
        }
    }
    tokio::select! {
        biased;
        () = signals.next() => exit::INTERRUPTED,
        () = server.drain() => exit::OK,
    }
}

/// Writes what the flight recorder holds.
async fn record(server: &RunningServer) {
    match server.record("SIGUSR1").await {
        Ok(written) => tracing::info!(path = %written.path.display(), "recording written"),
        Err(error) => tracing::error!(%error, "no recording"),
    }
}

/// Prints to standard output. Whoever started the server may have closed it, which is no reason not
/// to serve.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
