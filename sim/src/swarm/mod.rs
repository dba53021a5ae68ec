//! The swarm: Feed, Gate, shards and clients stepped directly, without threads, sockets or a clock.
//!
//! A seed decides the limits, the clients and a list of steps; faults are steps. After every input the
//! shard's accounts are recomputed, and the oracle judges what clients receive. When the list is done everything
//! is healed, and every client must reach the head within a bound. What fails is shrunk to a short list.

mod clients;
mod deadlines;
mod flow;
mod heal;
mod laws;
mod past;
mod peer;
mod publish;
mod rng;
mod server;
mod setup;
mod shrink;
mod steps;
mod stream;
mod upstream;
mod world;

use std::cell::RefCell;
use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;

use self::rng::Rng;
use self::setup::Setup;
use self::steps::{Step, plan};
use self::world::World;
use crate::marks::Marks;
use crate::oracle::Violation;

/// What subjects have and channels have not.
const STRIP: &str = "odin.";

/// Why a run failed, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Failure(String);

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Self {
        Self(violation.to_string())
    }
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Runs.
    pub seeds: u64,
    /// Time that passed in the worlds.
    pub simulated: Duration,
    /// Messages of channels that the oracle checked.
    pub deliveries: u64,
    /// Inputs that shards and Feeds were given, each with a check of the accounts.
    pub inputs: u64,
    /// Steps.
    pub steps: u64,
    /// Situations.
    pub marks: Marks,
}

impl Report {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.simulated += other.simulated;
        self.deliveries += other.deliveries;
        self.inputs += other.inputs;
        self.steps += other.steps;
        self.marks.add(&other.marks);
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hours = self.simulated.as_secs_f64() / 3600.0;
        write!(
            f,
            "{} seeds, {hours:.1} simulated hours, {} steps, {} inputs, {} deliveries checked",
            self.seeds, self.steps, self.inputs, self.deliveries
        )
    }
}

/// Runs a seed.
///
/// # Errors
/// What went wrong.
pub fn run(seed: u64) -> Result<Report, String> {
    let (setup, steps) = draw(seed);
    attempt(&setup, &steps).map_err(|Failure(what)| what)
}

/// Runs a seed, and shrinks what fails to a short list of steps.
///
/// # Errors
/// What went wrong, the short list, and the command that does it again.
pub fn explain(seed: u64) -> Result<Report, String> {
    let (setup, steps) = draw(seed);
    let Err(first) = attempt(&setup, &steps) else {
        return attempt(&setup, &steps).map_err(|Failure(what)| what);
    };
    let (few, Failure(what)) = shrink::shrink(&setup, steps.clone(), first);
    let mut text = String::new();
    let _ = writeln!(text, "seed {seed} fails\n\n{setup:?}\n");
    let _ = writeln!(
        text,
        "{} of its {} steps are enough:\n",
        few.len(),
        steps.len()
    );
    for step in &few {
        let _ = writeln!(text, "    {step:?}");
    }
    let _ = writeln!(
        text,
        "\n{what}\n\nreproduce with: odin-sim swarm --seed {seed}"
    );
    Err(text)
}

fn draw(seed: u64) -> (Setup, Vec<Step>) {
    let mut rng = Rng::new(seed);
    let setup = Setup::draw(&mut rng, seed);
    let steps = plan(&mut rng, &setup);
    (setup, steps)
}

/// Runs a list of steps and heals. A panic is a failure like any other.
fn attempt(setup: &Setup, steps: &[Step]) -> Result<Report, Failure> {
    hush_panics();
    let setup = setup.clone();
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(setup);
        world.pump()?;
        for step in steps {
            world.step(step)?;
        }
        world.heal()?;
        Ok(world.report(steps.len() as u64))
    }));
    result.unwrap_or_else(|_| {
        let what = PANIC.with(|panic| panic.borrow_mut().take());
        Err(Failure(what.unwrap_or_else(|| "a panic".into())))
    })
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static RUNNING: RefCell<bool> = const { RefCell::new(false) };
}

/// Keeps the words of a panic for the report instead of printing them, on threads that run swarms.
fn hush_panics() {
    static ONCE: Once = Once::new();
    RUNNING.with(|running| *running.borrow_mut() = true);
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if RUNNING.with(|running| *running.borrow()) {
                PANIC.with(|panic| *panic.borrow_mut() = Some(info.to_string()));
            } else {
                before(info);
            }
        }));
    });
}
