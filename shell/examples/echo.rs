//! Sends every WebSocket message back as it came, on the connection code of the server: what the cases
//! of Autobahn are run against.
//!
//!     cargo run --release -p odin-shell --example echo -- 127.0.0.1:9555
//!     kosoku -m fuzzingclient 127.0.0.1:9555 -x '12.*' -x '13.*'
//!
//! `-x` leaves out the cases about compression, which this server never agrees to.

use std::ffi::OsString;
use std::process::ExitCode;

use odin_shell::settings::{Loaded, Settings};
use odin_shell::{listener, server};

/// The server never reads messages as large as those of the cases, nor as many in a row, and its own
/// pings would come between what the cases expect.
const LIMITS: [&str; 6] = [
    "--no-demo",
    "--message-max-bytes=16MiB",
    "--message-rate=0",
    "--ping-interval=0",
    "--idle-timeout=0",
    "--accept-rate=0",
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let Some(listen) = std::env::args().nth(1) else {
        eprintln!("usage: echo ADDRESS:PORT");
        return ExitCode::from(2);
    };
    match serve(&listen).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(listen: &str) -> Result<(), Box<dyn std::error::Error>> {
    let args = ["echo", "--listen", listen].into_iter().chain(LIMITS);
    let loaded = Settings::load(args.map(OsString::from), std::iter::empty())?;
    let Loaded::Run(settings) = loaded else {
        return Err(format!("{listen} is no address").into());
    };
    let mut server = server::echo(*settings, listener::raise_fd_limit()).await?;
    println!("listening on ws://{}", server.local_addr());
    server.failed().await;
    Err("the server failed".into())
}
