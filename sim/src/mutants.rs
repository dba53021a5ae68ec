//! The planted bugs of the core, and how many seeds the swarm needs to find each.

use odin_core::mutant::{Mutant, plant};

use crate::swarm;

/// Seeds within which each must be found.
pub const SEEDS_MAX: u64 = 1_000;

/// What became of a planted bug.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Which.
    pub mutant: Mutant,
    /// Seeds until it was found; `None`: it was not.
    pub seeds: Option<u64>,
    /// How it showed.
    pub how: String,
}

/// Plants a bug and looks for it. Bugs are of the process, so that nothing else may run in it meanwhile.
#[must_use]
pub fn hunt(mutant: Mutant, seeds_max: u64) -> Outcome {
    plant(Some(mutant));
    let found = (1..=seeds_max).find_map(|seed| Some((seed, swarm::run(seed).err()?)));
    plant(None);
    let (seeds, how) = match found {
        Some((seed, what)) => (Some(seed), first_words(&what)),
        None => (None, String::new()),
    };
    Outcome { mutant, seeds, how }
}

/// A violation in one line.
fn first_words(what: &str) -> String {
    let mut lines = what.lines();
    let first = lines.next().unwrap_or_default();
    // A panic says where before it says what.
    let line = match first.starts_with("panicked at") {
        true => lines.next().unwrap_or(first),
        false => first,
    };
    let text = line
        .split_once(": ")
        .filter(|(who, _)| who.starts_with("client "));
    let text = text.map_or(line, |(_, text)| text);
    text.chars().take(80).collect()
}
