//! Prometheus: asks every server for its metrics now and then.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::Stage;
use crate::world::SERVER_PORT;

/// From one round to the next.
const INTERVAL: Duration = Duration::from_secs(1);
/// How long a scrape is waited for: a server that is down answers nothing at all.
const TIME_MAX: Duration = Duration::from_secs(5);

const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: odin\r\nConnection: close\r\n\r\n";

/// Scrapes for ever.
pub(crate) async fn run(stage: Rc<Stage>) {
    loop {
        sleep(INTERVAL).await;
        for server in 0..stage.servers {
            let began = Instant::now();
            let answer = timeout(TIME_MAX, scrape(&stage, server)).await;
            let mut tally = stage.tally.borrow_mut();
            if !matches!(answer, Ok(Err(_))) {
                tally.scrape_max = tally.scrape_max.max(began.elapsed());
            }
            let Ok(Ok(text)) = answer else { continue };
            tally.scrapes += 1;
            match value(&text, "ws_write_pauses_total") {
                Some(pauses) => tally.pauses = tally.pauses.max(pauses),
                None => tally.fault(format!("a scrape of server-{server}: {text}")),
            }
        }
    }
}

/// What a server says. One that is killed meanwhile says a part of it, or nothing.
async fn scrape(stage: &Stage, server: usize) -> io::Result<String> {
    let host = format!("server-{server}");
    let mut stream = stage.network.connect(&host, SERVER_PORT).await?;
    stream.write_all(REQUEST).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    match is_whole(&text) {
        true => Ok(text),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn is_whole(answer: &str) -> bool {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        return false;
    };
    let fields = head.lines().filter_map(|line| line.split_once(": "));
    let mut lengths = fields.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = lengths.next().and_then(|(_, length)| length.parse().ok());
    length == Some(body.len())
}

/// The value of a counter without labels.
fn value(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
    lines.next()?.trim().parse().ok()
}
