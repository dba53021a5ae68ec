//! Servers under pressure, and clients that ask too much.

use super::{Draft, Scenario};
use crate::client::Habit;
use crate::world::plan::{Demand, Fault};

pub(super) const CPU_PRESSURE: Scenario = Scenario {
    name: "cpu_pressure",
    about: "the CPU is in full use for more than 5 s: newcomers are refused, and let in again",
    make: |d| {
        pressed(d);
        d.fault(150, Fault::Cpu(970));
        // Between the two thresholds nothing changes.
        d.fault(700, Fault::Cpu(850));
        d.fault(800, Fault::Cpu(300));
    },
};

pub(super) const MEMORY_PRESSURE: Scenario = Scenario {
    name: "memory_pressure",
    about: "memory is nearly used up: newcomers are refused at once, and let in again",
    make: |d| {
        pressed(d);
        d.fault(200, Fault::Memory(95));
        d.fault(500, Fault::Memory(87));
        d.fault(650, Fault::Memory(50));
    },
};

fn pressed(d: &mut Draft<'_>) {
    d.plan.mix = &[(Habit::Fast, 4), (Habit::Flapping, 4), (Habit::Roaming, 2)];
    d.plan.demands.push(Demand::Refused(503));
}

pub(super) const FLOODING_CLIENTS: Scenario = Scenario {
    name: "flooding_clients",
    about: "clients that send far too much, or what they must not, beside polite ones",
    make: |d| {
        d.plan.mix = &[
            (Habit::Fast, 6),
            (Habit::Flooding, 2),
            (Habit::Malformed, 2),
        ];
        d.set("message-rate", 10);
        d.set("message-burst", 20);
        let drops = d.dice.range(20, 100);
        d.set("message-drops-max", drops);
        d.plan.demands.push(Demand::Closed(4029));
        d.plan.demands.push(Demand::DelayMs(250));
    },
};
