//! The world: turmoil with the real servers, the broker and the client hosts, driven through a plan.
//!
//! A run has two phases. In the first, clients have bad habits and the plan's faults happen, and every
//! promise to clients is checked as it goes. Then all is healed, every channel gets one more message, and
//! within a bound every client must have reached the head.

mod faults;
mod panics;
pub mod plan;
mod server;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use odin_core::load::Sample;

use crate::bell::Bell;
use crate::broker::{self, Broker, EPOCH_SECS, SharedBroker, channel_name};
use crate::client::{self, Client, Profile, SharedClient, Stage, Tally};
use crate::dice::Dice;
use crate::net::{Network, SEGMENTS_MAX};
use crate::oracle::Oracle;
use crate::report::{Report, Row};
use crate::trace::Trace;
use plan::{Demand, Plan};
use server::Recipe;

/// The port of every server.
pub const SERVER_PORT: u16 = 3004;

/// How often the world is looked at for the report.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);
/// How long after the healing the last message of each channel is published: time for the servers to
/// find the broker, and for the clients to find the servers.
const SETTLE: Duration = Duration::from_secs(3);
/// Memory that a server may use, for the sampler.
const MEMORY_LIMIT: u64 = 512 * 1024 * 1024;

/// A healthy server's load.
fn calm() -> Sample {
    Sample {
        cpu_permille: Some(200),
        memory_bytes: Some(MEMORY_LIMIT / 4),
        memory_limit: Some(MEMORY_LIMIT),
    }
}

struct World {
    plan: Plan,
    sim: turmoil::Sim<'static>,
    stage: Rc<Stage>,
    broker: SharedBroker,
    clients: Vec<SharedClient>,
    load: Arc<Mutex<Sample>>,
    drains: Vec<Bell>,
    /// Servers that were told to drain and have to be started anew once they ended.
    ending: Vec<usize>,
    broker_is_up: bool,
    down: Vec<usize>,
    sampled: Duration,
    rows: Vec<Row>,
    before: Tally,
}

/// Runs a plan to its end.
#[must_use]
pub fn run(plan: Plan, trace: &Trace) -> Report {
    panics::count_from_now_on();
    crate::trace::set_now(Duration::ZERO);
    crate::net::set_over(false);
    crate::net::set_write_time(plan.write_time);
    let began = std::time::Instant::now();
    let mut world = World::new(plan, trace);
    let outcome = world.phases();
    let mut report = Report::new(&world.plan, &world.stage.tally.borrow(), world.rows.clone());
    report.published = world.broker.borrow().published;
    report.simulated = world.sim.elapsed();
    (report.hash, report.lines) = trace.hash();
    report.failures.extend(outcome.err());
    report.failures.extend(world.unmet_demands());
    report.wall = began.elapsed();
    crate::net::set_over(true);
    report
}

impl World {
    fn new(plan: Plan, trace: &Trace) -> Self {
        let mut dice = Dice::new(plan.seed);
        let epoch = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH_SECS);
        let mut sim = turmoil::Builder::new()
            .epoch(epoch)
            .simulation_duration(plan.duration + plan.bound + Duration::from_secs(60))
            .tick_duration(Duration::from_millis(1))
            .min_message_latency(Duration::from_millis(plan.latency_ms.0))
            .max_message_latency(Duration::from_millis(plan.latency_ms.1))
            .tcp_capacity(SEGMENTS_MAX)
            .rng_seed(dice.bits())
            .build();
        let network = Network::default();
        let oracle = Rc::new(RefCell::new(Oracle::new(plan.laws())));
        let broker = Broker::new(
            plan.load,
            plan.limits,
            dice.split(),
            trace.clone(),
            oracle.clone(),
        );
        let broker = Rc::new(RefCell::new(broker));
        let (net, shared) = (network.clone(), broker.clone());
        sim.host(broker::HOST, move || {
            let run = broker::run(net.clone(), shared.clone());
            async move { Ok(run.await?) }
        });
        let load = Arc::new(Mutex::new(calm()));
        let mut drains = Vec::new();
        let settings = server::settings(&plan.flags);
        for index in 0..plan.servers {
            let drain = Bell::default();
            drains.push(drain.clone());
            let recipe = Recipe {
                index,
                seed: dice.bits(),
                shards: plan.shards,
                connections_max: plan.connections_max,
                settings: settings.clone(),
                network: network.clone(),
                load: Arc::clone(&load),
                starts: Rc::default(),
                drains: drain,
                trace: trace.clone(),
            };
            sim.host(format!("server-{index}"), move || recipe.clone().run());
        }
        let stage = Rc::new(Stage {
            network,
            servers: plan.servers,
            active: Cell::new(plan.clients),
            healed: Cell::new(false),
            storms: Cell::new(0),
            changed: Bell::default(),
            oracle,
            tally: RefCell::default(),
            trace: trace.clone(),
        });
        let clients = make_clients(&plan, &mut dice);
        for host in 0..plan.hosts {
            let stage = Rc::clone(&stage);
            let here: Vec<_> = clients
                .iter()
                .skip(host)
                .step_by(plan.hosts)
                .cloned()
                .collect();
            sim.client(format!("clients-{host}"), async move {
                for client in here {
                    tokio::task::spawn_local(client::run(Rc::clone(&stage), client));
                }
                std::future::pending().await
            });
        }
        let watcher = Rc::clone(&stage);
        sim.client("prometheus", async move {
            client::scrape::run(watcher).await;
            Ok(())
        });
        Self {
            plan,
            sim,
            stage,
            broker,
            clients,
            load,
            drains,
            ending: Vec::new(),
            broker_is_up: true,
            down: Vec::new(),
            sampled: Duration::ZERO,
            rows: Vec::new(),
            before: Tally::default(),
        }
    }

    fn phases(&mut self) -> Result<(), String> {
        let faults = std::mem::take(&mut self.plan.faults);
        for (at, fault) in &faults {
            self.advance(*at)?;
            self.apply(*fault);
        }
        self.plan.faults = faults;
        self.advance(self.plan.duration)?;
        self.heal();
        self.advance(self.plan.duration + SETTLE)?;
        self.broker.borrow_mut().load.rate = 0;
        self.broker.borrow_mut().publish_everywhere();
        let end = self.sim.elapsed() + self.plan.bound;
        let mut behind = self.behind();
        while !behind.is_empty() {
            if self.sim.elapsed() >= end {
                behind.truncate(5);
                let bound = self.plan.bound.as_secs_f64();
                return Err(format!(
                    "not at the head {bound:.1} s after the healing: {}",
                    behind.join("; ")
                ));
            }
            self.advance(self.sim.elapsed() + Duration::from_millis(100))?;
            behind = self.behind();
        }
        Ok(())
    }

    /// Steps until this moment of the simulation.
    fn advance(&mut self, until: Duration) -> Result<(), String> {
        while self.sim.elapsed() < until {
            let at = self.sim.elapsed();
            self.sim
                .step()
                .map_err(|error| format!("a host failed at {at:?}: {error}"))?;
            crate::trace::set_now(self.sim.elapsed());
            if let Some(panic) = panics::first() {
                return Err(format!("a panic at {at:?}: {panic}"));
            }
            self.restart_what_drained();
            if self.sim.elapsed() >= self.sampled {
                self.sampled += SAMPLE_INTERVAL;
                self.sample();
            }
            if let Some(fault) = self.stage.tally.borrow().faults.first() {
                return Err(fault.clone());
            }
        }
        Ok(())
    }

    /// The clients that are not where they must be, each with what is missing.
    fn behind(&self) -> Vec<String> {
        let broker = self.broker.borrow();
        let era = broker.era();
        let active = self.clients.iter().take(self.stage.active.get());
        active
            .filter_map(|client| {
                let client = client.borrow();
                if !client.live {
                    return Some(format!("c{} is not connected", client.number));
                }
                let heads = era.heads.iter().zip(0_u64..);
                let missing = heads.filter(|(head, _)| **head > 0).find(|(head, number)| {
                    let channel = channel_name(*number);
                    let wanted = client.profile.names.iter();
                    let mut wanted = wanted.filter(|name| client::covers(name, &channel));
                    let told = era.find(**head);
                    // Whether a notice was true is for the oracle.
                    wanted.next().is_some()
                        && !client.view.is_lost(&channel, **head)
                        && match client.view.last(&channel) {
                            Some(last) => {
                                last.seq != **head || told.is_none_or(|t| t.hash != last.hash)
                            }
                            None => client.view.base(&channel).is_none_or(|base| base < **head),
                        }
                });
                let Some((head, number)) = missing else {
                    let oracle = self.stage.oracle.borrow();
                    let judged = oracle.at_head(client.id(), broker.line());
                    return judged.err().map(|violation| violation.to_string());
                };
                let channel = channel_name(number);
                let has = client.view.last(&channel).map(|last| last.seq);
                Some(format!(
                    "c{} has {has:?} of {channel}, not {head}",
                    client.number
                ))
            })
            .collect()
    }

    fn sample(&mut self) {
        let mut tally = self.stage.tally.borrow_mut();
        let mut delays = std::mem::take(&mut tally.delays);
        delays.sort_unstable();
        let broker = self.broker.borrow();
        let head = broker.stream.last_seq();
        let heads = &broker.era().heads;
        let (mut connected, mut lag) = (0, 0);
        for client in &self.clients {
            let client = client.borrow();
            if !client.live {
                continue;
            }
            connected += 1;
            // The first channel that a client names stands for all of its channels.
            let first = client.profile.names.first();
            let number = first.and_then(|name| broker::channel_number(name));
            if let (Some(number), Some(name)) = (number, first) {
                let index = usize::try_from(number).unwrap_or(usize::MAX);
                let last = client.view.last(name).map_or(head, |last| last.seq);
                let due = heads.get(index).copied().unwrap_or(0);
                lag = lag.max(due.saturating_sub(last));
            }
        }
        let refused = |tally: &Tally| tally.refused.values().sum::<u64>();
        self.rows.push(Row {
            at: self.sim.elapsed(),
            connected,
            delivered: tally.delivered - self.before.delivered,
            admitted: tally.connects - self.before.connects,
            refused: refused(&tally) - refused(&self.before),
            lag,
            delays,
        });
        self.before = Tally {
            delays: Vec::new(),
            ..tally.clone()
        };
    }

    fn unmet_demands(&self) -> Vec<String> {
        let tally = self.stage.tally.borrow();
        let p99 = || {
            let mut all: Vec<u64> = self
                .rows
                .iter()
                .flat_map(|r| r.delays.iter().copied())
                .collect();
            crate::report::percentile(&mut all, 99)
        };
        let unmet = self.plan.demands.iter().filter(|demand| match demand {
            Demand::Closed(code) => !tally.closes.contains_key(code),
            Demand::Refused(status) => !tally.refused.contains_key(status),
            Demand::NoRefusal => !tally.refused.is_empty(),
            Demand::Recovered => tally.recovered == 0,
            Demand::Reset => tally.resets == 0,
            Demand::Lost => tally.lost == 0,
            Demand::DelayMs(most) => p99() > most * 1000,
            Demand::Paused(least) => tally.pauses < *least,
            Demand::ScrapeMs(most) => {
                tally.scrapes == 0 || tally.scrape_max > Duration::from_millis(*most)
            }
        });
        unmet
            .map(|demand| format!("the scenario demands {demand:?}"))
            .collect()
    }
}

fn make_clients(plan: &Plan, dice: &mut Dice) -> Vec<SharedClient> {
    let make = |number| {
        let mut own = dice.split();
        let profile = Profile::draw(&mut own, plan.mix, number, plan.load.channels, plan.ramp);
        let client = Client::new(number, profile, own, plan.servers);
        Rc::new(RefCell::new(client))
    };
    (0..plan.clients).map(make).collect()
}
