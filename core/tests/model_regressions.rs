//! Sequences that once showed a fault of the shard, told shortly.

#[allow(
    dead_code,
    reason = "the sequences of this file are written, not drawn"
)]
mod model;

use std::time::Duration;

use model::ops::{Op, Resume, Setup};
use model::world::World;
use odin_core::config::Config;

const A: u8 = 0;
const X_A: u8 = 2;
const STAR: u8 = 5;
const X_STAR: u8 = 6;

fn setup(ready: bool) -> Setup {
    let config = Config {
        history_bytes: 0,
        log_messages: 3,
        message_rate: 0,
        subscribe_hold: Duration::ZERO,
        ..Config::default()
    };
    Setup {
        config,
        durable: false,
        ready,
    }
}

fn publish(channel: u8) -> Op {
    Op::Publish {
        channel,
        gap: 0,
        padding: 0,
    }
}

fn subscribe(names: u8, latest: bool, keep_on: bool, resume: Resume) -> Op {
    Op::Subscribe {
        who: 0,
        names,
        more: 255,
        latest,
        snapshot: false,
        keep_on,
        resume,
    }
}

const READY: Op = Op::Ready {
    beyond: 0,
    observed: false,
};
const SWEEP: Op = Op::Sweep { count: 255 };

fn run(setup: &Setup, ops: &[Op]) {
    let mut world = World::new(setup);
    for op in ops {
        world.step(op);
    }
    world.finish();
}

#[test]
fn a_new_pattern_reads_what_its_log_does_not_list() {
    let wish = subscribe(X_STAR, false, false, Resume::Invented(0));
    let ops = [publish(X_A), publish(X_A), Op::Open, wish, SWEEP];
    run(&setup(true), &ops);
    let ops = [
        publish(X_A),
        Op::Open,
        subscribe(X_STAR, false, false, Resume::No),
        READY,
        SWEEP,
    ];
    run(&setup(false), &ops);
}

#[test]
fn a_replay_without_an_epoch_ends_at_once() {
    let replay = Op::Replay {
        who: 0,
        channel: A,
        from: 0,
        len: None,
    };
    let wish = subscribe(A, false, false, Resume::No);
    let ops = [publish(A), Op::Open, wish, replay, SWEEP, READY, SWEEP];
    run(&setup(false), &ops);
}

#[test]
fn an_ack_without_an_epoch_names_no_position() {
    let mut wish = subscribe(A, false, false, Resume::No);
    if let Op::Subscribe { snapshot, .. } = &mut wish {
        *snapshot = true;
    }
    run(
        &setup(false),
        &[publish(A), publish(A), Op::Open, wish, SWEEP],
    );
}

#[test]
fn what_is_kept_follows_the_lost_of_a_resume_that_goes_on() {
    for name in [A, STAR] {
        let wish = subscribe(name, false, true, Resume::Invented(0));
        let mut ops = vec![publish(A); 6];
        ops.extend([Op::Open, wish, SWEEP]);
        run(&setup(true), &ops);
    }
}

#[test]
fn a_resume_in_latest_mode_is_told_that_the_newest_is_lost() {
    for (name, percent) in [(A, 0), (STAR, 0), (A, 100), (STAR, 100)] {
        for resume in [Resume::Invented(0), Resume::Stale(0)] {
            let lost = Op::ChannelLost { channel: A };
            let wish = subscribe(name, true, false, resume);
            let ops = [
                publish(A),
                lost,
                publish(X_A),
                Op::Evict { percent },
                Op::Open,
                wish,
                SWEEP,
            ];
            run(&setup(true), &ops);
        }
    }
}

#[test]
fn a_resume_in_latest_mode_is_told_that_a_value_was_given_up() {
    let mut setup = setup(true);
    setup.config.last_value_bytes = 0;
    for name in [A, STAR] {
        let wish = subscribe(name, true, false, Resume::Invented(0));
        let evict = Op::Evict { percent: 50 };
        let ops = [
            publish(A),
            publish(X_A),
            publish(X_A),
            evict,
            Op::Open,
            wish,
            SWEEP,
        ];
        run(&setup, &ops);
    }
}

#[test]
fn a_loss_for_all_voids_the_proof_of_the_first_value() {
    let ready = Op::Ready {
        beyond: 0,
        observed: true,
    };
    let lost = Op::Lost { len: Some(1) };
    let wish = subscribe(A, false, false, Resume::Invented(1));
    run(
        &setup(false),
        &[publish(A), ready, lost, Op::Open, wish, SWEEP],
    );
}

#[test]
fn a_replay_of_a_channel_without_messages_outlives_its_last_subscriber() {
    let wild = subscribe(STAR, false, false, Resume::No);
    let mut named = subscribe(A, false, false, Resume::No);
    if let Op::Subscribe { who, .. } = &mut named {
        *who = 1;
    }
    let replay = Op::Replay {
        who: 0,
        channel: A,
        from: 1,
        len: None,
    };
    let gone = Op::Vanish { who: 1 };
    let ops = [Op::Open, Op::Open, wild, named, SWEEP, replay, gone, SWEEP];
    run(&setup(true), &ops);
}
