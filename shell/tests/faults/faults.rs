//! Random faults in a row: processes killed or stopped for a while, connections cut, the stream purged or made again.

use std::time::Duration;

use rustix::process::Signal;
use tokio::task::block_in_place;
use tokio::time::sleep;

use crate::fleet::{CHANNELS, Fleet};
use crate::writer::channel;

/// Faults where nothing else is asked for.
const FAULTS: u64 = 12;
const REPLICAS: usize = 3;
const CLIENTS: usize = 60;

/// A small generator (splitmix64, Steele et al. 2014): the same seed, the same faults.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }

    /// Mostly short; in a long run one in twenty is up to 20 s.
    fn stop(&mut self, long: bool) -> Duration {
        match long && self.below(20) == 0 {
            true => self.millis(4_000, 20_000),
            false => self.millis(100, 1_500),
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_goes_wrong_nothing_is_missing_that_was_not_announced() {
    let faults = number("ODIN_FAULTS", FAULTS);
    let mut dice = Dice(number("ODIN_FAULTS_SEED", 1));
    let long = faults > FAULTS;
    // What the log does not hold is what history is for.
    let args = ["--log-messages", "256", "--drain-timeout", "2s"];
    let mut fleet = Fleet::start(REPLICAS, &args).await;
    fleet.add_clients(CLIENTS);
    fleet.write(3);
    fleet.until_all_began().await;
    for fault in 0..faults {
        // Each kind in turn while there are few, so that the short run has them all.
        let kind = if long { dice.below(8) } else { fault % 8 };
        let what = one(&mut fleet, &mut dice, kind, long).await;
        if long {
            println!("{fault}: {what}");
        }
        // A long run leaves time for what a fault leads to later.
        let pause = if long { 200..3_200 } else { 50..400 };
        sleep(dice.millis(pause.start, pause.end)).await;
    }
    for server in fleet.servers.iter().flatten() {
        block_in_place(|| server.until_health(200, Duration::from_secs(30)));
    }
    fleet.settle().await;
    let count = fleet.judge().await;
    println!("{faults} faults, {CLIENTS} clients, {REPLICAS} replicas: {count:?}");
    assert!(count.messages > 1_000, "{count:?}");
    assert!(count.acks > CLIENTS as u64, "nobody had to come back");
}

/// Makes one thing go wrong, and heals it.
async fn one(fleet: &mut Fleet, dice: &mut Dice, kind: u64, long: bool) -> String {
    let replica = usize::try_from(dice.below(REPLICAS as u64)).expect("few");
    match kind {
        0 => {
            let pause = dice.millis(0, 1_000);
            fleet.servers[replica] = None;
            sleep(pause).await;
            block_in_place(|| fleet.restart(replica));
            format!("replica {replica} killed for {pause:?}")
        }
        1 => {
            let pause = dice.stop(long);
            let server = fleet.servers[replica].as_ref().expect("it runs");
            server.signal(Signal::STOP);
            sleep(pause).await;
            server.signal(Signal::CONT);
            format!("replica {replica} stopped for {pause:?}")
        }
        2 => {
            let pause = dice.millis(0, 500);
            fleet.nats.kill();
            sleep(pause).await;
            block_in_place(|| fleet.nats.restart());
            format!("nats-server killed for {pause:?}")
        }
        3 => {
            let pause = dice.stop(long);
            fleet.nats.signal(Signal::STOP);
            sleep(pause).await;
            fleet.nats.signal(Signal::CONT);
            format!("nats-server stopped for {pause:?}")
        }
        4 | 5 => {
            for client in &fleet.clients {
                if dice.below(2) == 0 {
                    client.state.cut.notify_one();
                }
            }
            "half of the connections cut".to_owned()
        }
        6 => purge(fleet, dice).await,
        _ => {
            fleet.book.lock().await.recreate().await;
            "the stream made again".to_owned()
        }
    }
}

async fn purge(fleet: &mut Fleet, dice: &mut Dice) -> String {
    let mut book = fleet.book.lock().await;
    match dice.below(3) {
        0 => {
            book.purge(None, None).await;
            "the stream purged".to_owned()
        }
        1 => {
            let channel = channel(dice.below(CHANNELS), CHANNELS);
            book.purge(Some(&channel), None).await;
            format!("{channel} purged")
        }
        _ => {
            book.read().await;
            let up_to = book.read_to().saturating_sub(dice.below(500));
            book.purge(None, Some(up_to)).await;
            format!("the stream purged up to {up_to}")
        }
    }
}
