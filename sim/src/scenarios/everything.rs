//! Everything at once.

use super::{Draft, Scenario};
use crate::client::Habit;
use crate::world::plan::Fault;

pub(super) const KITCHEN_SINK: Scenario = Scenario {
    name: "kitchen_sink",
    about: "every habit and every fault, drawn",
    make: kitchen_sink,
};

fn kitchen_sink(d: &mut Draft<'_>) {
    d.size(60, 120);
    d.plan.servers = 3;
    d.plan.mix = &[
        (Habit::Fast, 6),
        (Habit::Slow, 2),
        (Habit::Stalled, 2),
        (Habit::Flapping, 2),
        (Habit::Flooding, 1),
        (Habit::Malformed, 1),
        (Habit::Roaming, 2),
    ];
    for _ in 0..d.dice.range(4, 9) {
        let begins = d.dice.range(50, 900);
        let ends = begins + d.dice.range(30, 250);
        let server = d.server();
        let only = d.dice.permille(600).then_some(server);
        let host = usize::try_from(d.dice.range(0, 3)).unwrap_or(0);
        let pair = match d.dice.range(0, 12) {
            0 => [Fault::BrokerHold(only), Fault::BrokerRelease(only)],
            1 => [Fault::BrokerCut(only), Fault::BrokerRepair(only)],
            2 => [Fault::BrokerCrash, Fault::BrokerBounce(false)],
            3 => [Fault::BrokerCrash, Fault::BrokerBounce(true)],
            4 => [Fault::Recreate, Fault::Purge(d.dice.range(0, 50))],
            5 => [Fault::Drop(d.dice.range(1, 50)), Fault::Drop(0)],
            6 => [Fault::Crash(server), Fault::Bounce(server)],
            7 => [Fault::Drain(server), Fault::Storm],
            8 => [Fault::Cpu(980), Fault::Cpu(200)],
            9 => [Fault::Memory(96), Fault::Memory(30)],
            10 => [Fault::ClientsHold(host), Fault::ClientsRelease(host)],
            11 => [Fault::ClientsCut(host), Fault::ClientsRepair(host)],
            _ => {
                let ahead = i64::try_from(d.dice.range(0, 7_200_000)).unwrap_or(0);
                [Fault::Clock(ahead - 3_600_000), Fault::Clock(0)]
            }
        };
        d.fault(begins, pair[0]);
        d.fault(ends.min(990), pair[1]);
    }
}
