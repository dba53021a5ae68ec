//! Much of what is ordinary: many clients, many at once, slow ones, bursts.

use std::time::Duration;

use super::{Draft, Scale, Scenario};
use crate::client::Habit;
use crate::world::plan::{Demand, Fault};

pub(super) const LIGHT: Scenario = Scenario {
    name: "light",
    about: "100 clients for 60 s",
    make: |d| {
        d.size(60, 100);
        d.plan.demands.push(Demand::NoRefusal);
    },
};

pub(super) const MEDIUM: Scenario = Scenario {
    name: "medium",
    about: "500 clients for 120 s",
    make: |d| {
        d.size(120, 500);
        d.plan.demands.push(Demand::NoRefusal);
    },
};

pub(super) const HEAVY: Scenario = Scenario {
    name: "heavy",
    about: "2,000 clients for 180 s",
    make: |d| {
        d.size(180, 2_000);
        d.plan.hosts = 6;
        d.plan.ramp = Duration::from_secs(10);
        d.plan.demands.push(Demand::NoRefusal);
    },
};

pub(super) const FLASH_CROWD: Scenario = Scenario {
    name: "flash_crowd",
    about: "ten times the clients at once, more than there is room for",
    make: flash_crowd,
};

fn flash_crowd(d: &mut Draft<'_>) {
    d.size(60, 600);
    d.plan.servers = 2;
    let clients = d.plan.clients;
    let few = clients / 10;
    let room = u32::try_from(clients * 3 / 8).unwrap_or(1);
    d.plan.connections_max = room;
    if d.scale == Scale::Full {
        d.set("accept-rate", 50);
        d.set("accept-burst", 50);
    }
    d.plan.ramp = Duration::ZERO;
    // All of them arrive at once; those that find no room come again and again.
    d.plan.faults.push((Duration::ZERO, Fault::Active(few)));
    d.fault(250, Fault::Active(clients));
    d.fault(850, Fault::Active(few));
    d.plan.demands.push(Demand::Refused(503));
}

pub(super) const RECONNECT_STORM: Scenario = Scenario {
    name: "reconnect_storm",
    about: "all clients are cut off and come back at once, and resume",
    make: |d| {
        d.size(60, 400);
        d.plan.mix = &[(Habit::Fast, 9), (Habit::Slow, 1)];
        d.set("log-messages", 5_000);
        for permille in [300, 500, 700] {
            d.fault(permille, Fault::Storm);
        }
        d.plan.demands.push(Demand::Recovered);
    },
};

pub(super) const SLOW_CONSUMERS: Scenario = Scenario {
    name: "slow_consumers",
    about: "slow and stalled clients beside fast ones, which must not notice",
    make: |d| {
        d.size(60, 100);
        d.plan.mix = &[(Habit::Fast, 4), (Habit::Slow, 3), (Habit::Stalled, 3)];
        let payload = d.dice.range(500, 2_000);
        d.plan.load.payload = (payload / 2, payload);
        d.plan.load.rate = d.dice.range(150, 300);
        d.set("send-buffer", "2KiB");
        let kept = d.dice.range(20, 100);
        d.set("log-messages", kept);
        d.plan.demands.push(Demand::Closed(4008));
        // The network's share is 40 ms at most.
        d.plan.demands.push(Demand::DelayMs(250));
    },
};

pub(super) const BUSY_SHARD: Scenario = Scenario {
    name: "busy_shard",
    about: "a shard that takes longer to write a message to all than the next takes to come",
    make: |d| {
        d.size(60, 400);
        d.plan.servers = 1;
        d.plan.shards = 1;
        d.plan.mix = &[(Habit::Fast, 4), (Habit::Slow, 1), (Habit::Roaming, 1)];
        d.plan.load.channels = 10;
        d.plan.load.rate = d.dice.range(150, 300);
        // A pass over all takes 10 to 20 ms.
        let pass = d.dice.range(10_000, 20_000);
        d.plan.write_time = Duration::from_micros(pass / d.plan.clients as u64);
        d.plan.demands.push(Demand::NoRefusal);
        d.plan.demands.push(Demand::Paused(10));
        // Of this the network's share is 40 ms at most, a slice of writes' and a pause's 20 ms each.
        d.plan.demands.push(Demand::DelayMs(150));
        d.plan.demands.push(Demand::ScrapeMs(250));
    },
};

pub(super) const PUBLISH_BURST: Scenario = Scenario {
    name: "publish_burst",
    about: "now and then fifty times the messages",
    make: |d| {
        d.size(60, 100);
        let usual = d.plan.load.rate;
        let burst = usual * d.dice.range(20, 50);
        for permille in [200, 500, 800] {
            d.fault(permille, Fault::Rate(burst));
            let longer = d.dice.range(20, 60);
            d.fault(permille + longer, Fault::Rate(usual));
        }
    },
};
