//! Model clients: many to a host, each with habits that come from the seed, all of them by the document.

mod acts;
mod profile;
pub(crate) mod scrape;
mod session;
pub(crate) mod view;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::dice::Dice;
use crate::net::Network;
use crate::oracle::ClientId;
use crate::trace::{Trace, now};

pub use profile::{Habit, Mix, Profile};
pub use view::{Last, View, covers};

/// What all clients share with the world.
#[derive(Debug)]
pub struct Stage {
    /// The network.
    pub network: Network,
    /// How many servers there are: `server-0` and so on.
    pub servers: usize,
    /// Clients with a number below this one want to be connected.
    pub active: Cell<usize>,
    /// Bad habits are over: the second phase.
    pub healed: Cell<bool>,
    /// How often all clients were cut off at once.
    pub storms: Cell<u64>,
    /// Changed after any of the above was.
    pub changed: crate::bell::Bell,
    /// Judges what clients are sent.
    pub oracle: crate::broker::SharedOracle,
    /// What was counted.
    pub tally: RefCell<Tally>,
    /// The trace.
    pub trace: Trace,
}

/// What happened to all clients together.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Upgrades that succeeded.
    pub connects: u64,
    /// Upgrades that were refused, by HTTP status.
    pub refused: std::collections::BTreeMap<u16, u64>,
    /// Attempts that failed otherwise.
    pub failed: u64,
    /// Closes by code; 1006: without a close frame.
    pub closes: std::collections::BTreeMap<u16, u64>,
    /// Messages delivered.
    pub delivered: u64,
    /// Subscriptions that were resumed without a hole, and those that were not.
    pub recovered: u64,
    /// See above.
    pub unrecovered: u64,
    /// `lost` and `reset` notices.
    pub lost: u64,
    /// See above.
    pub resets: u64,
    /// `error` answers.
    pub errors: u64,
    /// Delays of deliveries to fast clients that were up to date, in microseconds, since the last sample.
    pub delays: Vec<u64>,
    /// Scrapes of the servers' metrics that were answered.
    pub scrapes: u64,
    /// The longest, those included that were not.
    pub scrape_max: Duration,
    /// The most pauses that a server has said it made.
    pub pauses: u64,
    /// Broken promises, in words.
    pub faults: Vec<String>,
}

impl Tally {
    /// Notes a broken promise. Only the first hundred are kept.
    pub fn fault(&mut self, what: String) {
        if self.faults.len() < 100 {
            self.faults.push(what);
        }
    }
}

/// A client as the world sees it.
#[derive(Debug)]
pub struct Client {
    /// Its number.
    pub number: usize,
    /// Its habits.
    pub profile: Profile,
    /// What it has.
    pub view: View,
    /// Whether it has a connection on which its subscribe was answered.
    pub live: bool,
    pub(crate) dice: Dice,
    /// The server that it prefers.
    pub(crate) home: usize,
}

/// A client that its own task and the world share.
pub type SharedClient = Rc<RefCell<Client>>;

impl Client {
    /// What the oracle calls it.
    #[must_use]
    pub fn id(&self) -> ClientId {
        ClientId(u32::try_from(self.number).unwrap_or(u32::MAX))
    }

    /// A client that has not connected yet.
    #[must_use]
    pub fn new(number: usize, profile: Profile, mut dice: Dice, servers: usize) -> Self {
        let last = (servers as u64).saturating_sub(1);
        let home = usize::try_from(dice.range(0, last)).unwrap_or(0);
        Self {
            number,
            view: View::new(profile.latest),
            profile,
            live: false,
            dice,
            home,
        }
    }
}

/// Lives a client's life: connects, behaves as its profile says, comes back, for ever.
pub async fn run(stage: Rc<Stage>, me: SharedClient) {
    let delay = me.borrow().profile.arrives;
    tokio::time::sleep(delay.saturating_sub(now())).await;
    let mut failures = 0_u32;
    loop {
        let number = me.borrow().number;
        if number >= stage.active.get() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        }
        let ended = session::attempt(&stage, &me).await;
        me.borrow_mut().live = false;
        failures = if ended.was_open {
            0
        } else {
            failures.saturating_add(1)
        };
        let pause = match ended.come_back {
            Some(told) => told,
            None => {
                let longest = 100_u64 << failures.min(4);
                me.borrow_mut().dice.millis(10, longest)
            }
        };
        tokio::time::sleep(pause).await;
    }
}
