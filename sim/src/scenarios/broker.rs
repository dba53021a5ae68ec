//! What can happen to the broker and its stream.

use super::{Draft, Scenario};
use crate::client::Habit;
use crate::world::plan::{Demand, Fault};

pub(super) const BROKER_PARTITION: Scenario = Scenario {
    name: "broker_partition",
    about: "the network between the servers and the broker stands still, or loses what it carries",
    make: |d| {
        let which = if d.dice.permille(500) {
            None
        } else {
            Some(d.server())
        };
        d.fault(150, Fault::BrokerHold(which));
        d.fault(400, Fault::BrokerRelease(which));
        let which = if d.dice.permille(500) {
            None
        } else {
            Some(d.server())
        };
        d.fault(550, Fault::BrokerCut(which));
        d.fault(750, Fault::BrokerRepair(which));
    },
};

pub(super) const BROKER_RESTART: Scenario = Scenario {
    name: "broker_restart",
    about: "the broker is killed and comes back with its store, then without",
    make: |d| {
        d.fault(200, Fault::BrokerCrash);
        d.fault(350, Fault::BrokerBounce(false));
        let empty = d.dice.permille(500);
        d.fault(550, Fault::BrokerCrash);
        d.fault(700, Fault::BrokerBounce(empty));
        d.fault(100, Fault::Drop(5));
        if empty {
            d.plan.demands.push(Demand::Reset);
        }
    },
};

pub(super) const STREAM_RECREATED: Scenario = Scenario {
    name: "stream_recreated",
    about: "the stream is deleted and made anew, with seqs from 1",
    make: |d| {
        d.fault(300, Fault::Recreate);
        d.fault(600, Fault::Recreate);
        if d.dice.permille(500) {
            // A store is restored while the broker is down.
            let lacks = d.dice.range(1, 100);
            d.plan.faults.extend([
                (d.plan.duration * 80 / 100, Fault::BrokerCrash),
                (d.plan.duration * 82 / 100, Fault::RollBack(lacks)),
                (d.plan.duration * 85 / 100, Fault::BrokerBounce(false)),
            ]);
        }
        if d.dice.permille(500) {
            // Twice at nearly the same time: the servers may never see the first.
            d.fault(600, Fault::Recreate);
        }
        d.plan.demands.push(Demand::Reset);
    },
};

pub(super) const STREAM_PURGED: Scenario = Scenario {
    name: "stream_purged",
    about: "the stream is purged, and discards what is over its limit while servers are cut off",
    make: stream_purged,
};

fn stream_purged(d: &mut Draft<'_>) {
    d.fault(200, Fault::Purge(0));
    d.fault(400, Fault::BrokerHold(None));
    let keep = d.dice.range(0, 20);
    d.fault(480, Fault::Purge(keep));
    d.fault(550, Fault::BrokerRelease(None));
    let limit = usize::try_from(d.dice.range(1, 200)).unwrap_or(1);
    d.fault(650, Fault::Limit(limit));
    let server = d.server();
    d.fault(700, Fault::BrokerCut(Some(server)));
    d.fault(850, Fault::BrokerRepair(Some(server)));
}

pub(super) const CLOCK_JUMP: Scenario = Scenario {
    name: "clock_jump",
    about: "the broker's clock jumps ahead and back, by up to a day",
    make: |d| {
        d.plan.mix = &[(Habit::Fast, 6), (Habit::Flapping, 2), (Habit::Roaming, 2)];
        let day = 24 * 3_600_000;
        for permille in [200, 400, 600, 800] {
            let ahead = d.dice.range(0, 2 * day);
            let ahead = i64::try_from(ahead).unwrap_or(0) - 24 * 3_600_000;
            d.fault(permille, Fault::Clock(ahead));
            if d.dice.permille(300) {
                let server = d.server();
                d.fault(permille + 20, Fault::Crash(server));
                d.fault(permille + 100, Fault::Bounce(server));
            }
        }
    },
};
