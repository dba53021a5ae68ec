//! Servers that end and come back.

use super::{Draft, Scenario};
use crate::client::Habit;
use crate::world::plan::{Demand, Fault};

pub(super) const ROLLING_RESTART: Scenario = Scenario {
    name: "rolling_restart",
    about: "three replicas are drained and started anew, one after the other, under load",
    make: |d| {
        d.size(90, 150);
        d.plan.servers = 3;
        d.set("drain-timeout", "2s");
        for (permille, server) in [(150, 0), (400, 1), (650, 2)] {
            d.fault(permille, Fault::Drain(server));
        }
        d.plan
            .demands
            .extend([Demand::Closed(1012), Demand::Recovered]);
    },
};

pub(super) const CRASH_AND_RESUME: Scenario = Scenario {
    name: "crash_and_resume",
    about: "servers are killed; their clients resume on the others",
    make: crash_and_resume,
};

fn crash_and_resume(d: &mut Draft<'_>) {
    d.plan.servers = 3;
    d.plan.mix = &[(Habit::Fast, 7), (Habit::Slow, 1), (Habit::Roaming, 2)];
    for permille in [200, 450, 700] {
        let server = d.server();
        d.fault(permille, Fault::Crash(server));
        d.fault(permille + 150, Fault::Bounce(server));
    }
    d.plan.demands.push(Demand::Recovered);
}

pub(super) const DRAIN: Scenario = Scenario {
    name: "drain",
    about: "a server is told to go while messages come at full rate; nobody misses any",
    make: |d| {
        d.plan.servers = 2;
        d.plan.load.rate = d.dice.range(100, 400);
        let server = d.server();
        d.fault(400, Fault::Drain(server));
        d.plan.demands.push(Demand::Closed(1012));
    },
};
