//! Shrinks a list of steps that fails to a short one that still does (ddmin, Zeller and Hildebrandt 2002).

use super::setup::Setup;
use super::steps::Step;
use super::{Failure, attempt};

/// Runs after which the list is short enough.
const RUNS_MAX: usize = 1_500;

pub(super) fn shrink(
    setup: &Setup,
    mut steps: Vec<Step>,
    mut why: Failure,
) -> (Vec<Step>, Failure) {
    let mut runs = 0;
    let mut chunk = steps.len().div_ceil(2);
    while chunk > 0 && runs < RUNS_MAX {
        let mut at = 0;
        let mut any = false;
        while at < steps.len() && runs < RUNS_MAX {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + chunk).min(steps.len()));
            runs += 1;
            match attempt(setup, &fewer) {
                Err(failure) if kind(&failure) == kind(&why) => {
                    (steps, why, any) = (fewer, failure, true);
                }
                _ => at += chunk,
            }
        }
        if !(any && chunk == 1) {
            chunk /= 2;
        }
    }
    (steps, why)
}

/// What went wrong, without the names and numbers: a shorter list must fail in the same way.
fn kind(Failure(what): &Failure) -> String {
    let line = what.lines().next().unwrap_or_default();
    let words = line.split(' ').filter(|word| {
        let plain = |c: char| c.is_ascii_lowercase() || c == ',';
        word.chars().all(plain) && word.len() > 1
    });
    words.take(5).collect()
}
