//! A rolling restart under load: everybody is back soon, and nobody misses or gets twice anything.

use std::time::Duration;

use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::fleet::Fleet;

const CLIENTS: usize = 300;

/// Within which every client must be acked again after it lost its connection.
const BACK_TIME_MAX: Duration = Duration::from_secs(10);

async fn rolling(kill: bool) {
    let mut fleet = Fleet::start(3, &["--log-messages", "256", "--drain-timeout", "2s"]).await;
    fleet.add_clients(CLIENTS);
    fleet.write(3);
    fleet.until_all_began().await;
    for replica in 0..3 {
        let mut server = fleet.servers[replica].take().expect("it runs");
        if kill {
            drop(server);
        } else {
            server.terminate();
            let status = tokio::task::spawn_blocking(move || server.wait()).await;
            assert_eq!(status.expect("it is waited for").code(), Some(0));
        }
        block_in_place(|| fleet.restart(replica));
        let server = fleet.servers[replica].as_ref().expect("it runs");
        block_in_place(|| server.until_health(200, Duration::from_secs(20)));
        // The load of a while, on the new process as well.
        sleep(Duration::from_millis(500)).await;
    }
    fleet.settle().await;
    let count = fleet.judge().await;
    let back = fleet.clients.iter().flat_map(|client| {
        let back = client.state.back.lock().expect("nobody panicked");
        back.clone()
    });
    let mut back: Vec<Duration> = back.collect();
    back.sort_unstable();
    let worst = back.last().copied().expect("clients had to come back");
    let median = back[back.len() / 2];
    println!(
        "{} of 3 replicas, {CLIENTS} clients: {count:?}, {} returns, median {median:?}, worst {worst:?}",
        if kill { "SIGKILL" } else { "SIGTERM" },
        back.len()
    );
    assert!(
        back.len() >= CLIENTS,
        "every client was on a replica that went"
    );
    assert!(worst < BACK_TIME_MAX, "{worst:?}");
    assert_eq!(
        (count.announced, count.unrecovered, count.resets),
        (0, 0, 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_loses_and_repeats_nothing() {
    rolling(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_are_killed_one_after_the_other_lose_and_repeat_nothing() {
    rolling(true).await;
}
