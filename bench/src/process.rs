//! The programs that are measured: how they are started and ended, and what the kernel says of them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// How long a program may take to be ready.
const READY_TIME_MAX: Duration = Duration::from_secs(10);

/// How long an answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// A program under measurement; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    /// The address that stood in its first line of output.
    pub(crate) addr: SocketAddr,
}

impl Program {
    /// Starts a program whose first line of output holds the address that it listens on, as the first
    /// word that has the form `[scheme://]ip:port[/path]`.
    pub(crate) fn start(path: &Path, args: &[String]) -> Result<Self> {
        let mut command = Command::new(path);
        // Nothing of the caller's own environment may set the server.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ODIN_WS_") || name == "NATS_URL" {
                command.env_remove(name);
            }
        }
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command
            .spawn()
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let addr = line.split_whitespace().find_map(address);
        let Some(addr) = addr else {
            // Where it has ended by itself there is nothing to kill.
            let _ = child.kill();
            let status = child.wait()?;
            return Err(format!("{} {}: {status}", path.display(), args.join(" ")).into());
        };
        Ok(Self { child, addr })
    }

    /// Waits until `GET /ready` is answered 200.
    pub(crate) fn wait_until_ready(&self) -> Result<()> {
        let began = Instant::now();
        while get(self.addr, "/ready")?.0 != 200 {
            if began.elapsed() > READY_TIME_MAX {
                return Err("the server did not become ready".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The CPU time of all its threads, in nanoseconds, user and system together. A thread that ended
    /// takes its time with it; the programs measured here keep theirs.
    pub(crate) fn cpu(&self) -> Result<u64> {
        let mut total = 0;
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end while it is looked at.
            let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else {
                continue;
            };
            let nanos = text
                .split(' ')
                .next()
                .and_then(|word| word.parse::<u64>().ok());
            total += nanos.ok_or("the kernel keeps no schedstat")?;
        }
        Ok(total)
    }

    /// The share of its CPU time that was spent in the kernel, in percent, since it began.
    pub(crate) fn system_percent(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name, which may hold anything, ends with the last parenthesis (proc_pid_stat(5)).
        let after = text.rsplit(')').next().unwrap_or_default();
        let ticks = |at: usize| after.split_whitespace().nth(at)?.parse::<f64>().ok();
        let (Some(user), Some(system)) = (ticks(11), ticks(12)) else {
            return Err("/proc/<pid>/stat is not as expected".into());
        };
        Ok(100.0 * system / (user + system).max(1.0))
    }

    /// Bytes of memory that are its own: neither shared nor a file's.
    pub(crate) fn private_bytes(&self) -> Result<u64> {
        private_bytes(&self.child.id().to_string())
    }
}

/// Private bytes of a process, by its entry in `/proc`.
pub(crate) fn private_bytes(process: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let lines = text.lines().filter(|line| line.starts_with("Private_"));
    let kib = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    Ok(kib.sum::<u64>() * 1024)
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address(word: &str) -> Option<SocketAddr> {
    let rest = word.split_once("://").map_or(word, |(_, rest)| rest);
    rest.split('/').next()?.parse().ok()
}

/// What a program prints to standard output, and nothing if it cannot be run.
pub(crate) fn output(path: &Path, args: &[&str]) -> String {
    let output = Command::new(path).args(args).stderr(Stdio::null()).output();
    output.map_or_else(
        |_| String::new(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

/// A `GET` on a connection of its own: the status and the body.
pub(crate) fn get(addr: SocketAddr, path: &str) -> Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    stream.write_all(request.as_bytes())?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| format!("GET {path}: no answer"))?;
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, body.to_owned()))
}

/// The machine in one line: processors, memory, kernel, and what else was running.
pub(crate) fn machine() -> Result<String> {
    let processors = std::fs::read_to_string("/proc/cpuinfo")?;
    let named = |line: &&str| line.starts_with("model name");
    let model = processors
        .lines()
        .find(named)
        .and_then(|line| line.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model);
    let count = std::thread::available_parallelism()?;
    let memory = std::fs::read_to_string("/proc/meminfo")?;
    let kib = memory
        .split_whitespace()
        .nth(1)
        .and_then(|word| word.parse::<u64>().ok());
    let gib = kib.unwrap_or(0) / (1024 * 1024);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let kernel = kernel.trim();
    Ok(format!(
        "{count} x {model}, {gib} GiB, Linux {kernel}; load average at the end {load}."
    ))
}
