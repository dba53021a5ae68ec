//! Two processes that run one seed do the same, to the byte. Where this fails no other simulation means
//! anything.

use std::path::Path;

use odin_sim::{commands, scenarios};

fn same(name: &str, seed: u64) {
    let scenario = scenarios::find(name).expect("a scenario");
    let program = Path::new(env!("CARGO_BIN_EXE_odin-sim"));
    match commands::compare(program, scenario, seed, false) {
        Ok((_, bytes)) => assert!(bytes > 100_000, "a trace of {bytes} bytes shows nothing"),
        Err(difference) => panic!("{difference}"),
    }
}

#[test]
fn everything_at_once_happens_twice_alike() {
    same("kitchen_sink", 1);
    same("kitchen_sink", 2);
}

#[test]
fn restarts_happen_twice_alike() {
    same("rolling_restart", 1);
}
