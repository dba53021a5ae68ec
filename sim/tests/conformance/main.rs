//! The model of JetStream that the simulation runs on ([`odin_sim::jetstream`], behind the simulation's broker) beside
//! real servers, behind the shell's own source and history: the same sequences of stream operations must lead to the
//! same observations, on the oldest release and on a current one.
//!
//! `ODIN_CONFORMANCE_SEQUENCES` is how many are drawn (default 40 per release), `ODIN_CONFORMANCE_SEED` where they begin.

mod cases;
mod model;
mod observe;
mod ops;
mod real;

#[path = "../../../shell/tests/support/nats.rs"]
#[allow(dead_code, unreachable_pub)]
mod nats;

use nats::Version;
use odin_sim::jetstream::Release;
use ops::{Op, Sequence};
use real::Real;

/// The largest payload that is passed on; a case goes above it.
const PAYLOAD_BYTES_MAX: usize = 4_096;

/// The payload of the message that is given this seq. It is padded to about so many bytes.
fn payload(seq: u64, bytes: usize) -> String {
    format!("{{\"n\":{seq},\"pad\":\"{}\"}}", "x".repeat(bytes))
}

/// Both observations, where they differ.
fn differ(real: &mut Real, release: Release, sequence: &Sequence) -> Option<String> {
    let of_model = model::run(release, sequence);
    let of_real = real.run(sequence);
    if of_model == of_real {
        return None;
    }
    let mut shown = String::new();
    let same = of_model.iter().zip(&of_real);
    let same = same.take_while(|(model, real)| model == real).count();
    for line in &of_model[..same] {
        shown += &format!("          {line}\n");
    }
    for line in of_model[same..].iter().take(12) {
        shown += &format!("  model:  {line}\n");
    }
    for line in of_real[same..].iter().take(12) {
        shown += &format!("  server: {line}\n");
    }
    Some(shown)
}

/// Leaves out whatever is not needed for a difference.
fn shrink(real: &mut Real, release: Release, sequence: &Sequence) -> Sequence {
    let mut least = sequence.clone();
    let mut at = least.ops.len();
    while at > 0 {
        at -= 1;
        let mut less = least.clone();
        let gone = less.ops.remove(at);
        let paired = gone == Op::BackUp && less.ops.contains(&Op::Restore);
        if !paired && differ(real, release, &less).is_some() {
            least = less;
            at = at.min(least.ops.len());
        }
    }
    least
}

/// Sequences that differ, after which no more are tried.
const SHOWN_MAX: usize = 4;

fn check(release: Release, sequences: impl Iterator<Item = (String, Sequence)>) {
    let mut real = Real::start(match release {
        Release::Old => Version::Old,
        Release::Current => Version::Current,
    });
    let mut shown = Vec::new();
    for (name, sequence) in sequences {
        let Some(whole) = differ(&mut real, release, &sequence) else {
            continue;
        };
        let least = shrink(&mut real, release, &sequence);
        let short = differ(&mut real, release, &least).unwrap_or(whole);
        shown.push(format!("{name}: {least}{short}"));
        if shown.len() == SHOWN_MAX {
            break;
        }
    }
    assert!(
        shown.is_empty(),
        "the model and the server ({release:?}) differ:\n{}",
        shown.join("\n")
    );
}

fn number(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => otherwise,
    }
}

fn drawn() -> impl Iterator<Item = (String, Sequence)> {
    let from = number("ODIN_CONFORMANCE_SEED", 1);
    let seeds = from..from + number("ODIN_CONFORMANCE_SEQUENCES", 40);
    seeds.map(|seed| (format!("ODIN_CONFORMANCE_SEED={seed}"), ops::draw(seed)))
}

fn named() -> impl Iterator<Item = (String, Sequence)> {
    cases::all()
        .into_iter()
        .map(|(name, case)| (name.to_owned(), case))
}

#[test]
fn drawn_sequences_look_alike_on_the_oldest_release() {
    check(Release::Old, drawn());
}

#[test]
fn drawn_sequences_look_alike_on_a_current_release() {
    check(Release::Current, drawn());
}

#[test]
fn named_sequences_look_alike_on_the_oldest_release() {
    check(Release::Old, named());
}

#[test]
fn named_sequences_look_alike_on_a_current_release() {
    check(Release::Current, named());
}
