//! What each fault does to the world, and how all of them are healed.

use std::sync::PoisonError;

use super::plan::Fault;
use super::{MEMORY_LIMIT, World, calm};
use crate::broker;

impl World {
    /// Makes a fault happen now.
    pub(super) fn apply(&mut self, fault: Fault) {
        self.stage.trace.line(format_args!("fault {fault:?}"));
        match fault {
            Fault::BrokerHold(which) => self.servers(which, |sim, s| sim.hold(broker::HOST, s)),
            Fault::BrokerRelease(which) => {
                self.servers(which, |sim, s| sim.release(broker::HOST, s));
            }
            Fault::BrokerCut(which) => self.servers(which, |sim, s| sim.partition(broker::HOST, s)),
            Fault::BrokerRepair(which) => self.servers(which, |sim, s| sim.repair(broker::HOST, s)),
            Fault::BrokerCrash => {
                if std::mem::take(&mut self.broker_is_up) {
                    self.sim.crash(broker::HOST);
                }
            }
            Fault::BrokerBounce(empty) => self.bounce_broker(empty),
            Fault::Recreate => self.broker.borrow_mut().recreate(),
            Fault::RollBack(messages) => self.broker.borrow_mut().roll_back(messages),
            Fault::Purge(keep) => self.broker.borrow_mut().purge(keep),
            Fault::Limit(messages) => self.broker.borrow_mut().limit(messages),
            Fault::Drop(permille) => self.broker.borrow_mut().drop_permille = permille,
            Fault::Rate(rate) => self.broker.borrow_mut().load.rate = rate,
            Fault::Clock(millis) => self.broker.borrow_mut().clock_ahead = millis,
            Fault::Crash(server) => self.crash(server),
            Fault::Bounce(server) => self.bounce(server),
            Fault::Drain(server) => self.drain(server),
            Fault::Cpu(permille) => self.set_load(Some(permille), None),
            Fault::Memory(percent) => self.set_load(None, Some(percent)),
            Fault::Active(clients) => {
                self.stage.active.set(clients.min(self.plan.clients));
                self.stage.changed.ring();
            }
            Fault::Storm => {
                self.stage.storms.set(self.stage.storms.get() + 1);
                self.stage.changed.ring();
            }
            Fault::ClientsHold(host) => self.clients_of(host, |sim, c, s| sim.hold(c, s)),
            Fault::ClientsRelease(host) => self.clients_of(host, |sim, c, s| sim.release(c, s)),
            Fault::ClientsCut(host) => self.clients_of(host, |sim, c, s| sim.partition(c, s)),
            Fault::ClientsRepair(host) => self.clients_of(host, |sim, c, s| sim.repair(c, s)),
        }
    }

    /// Ends every fault, and every bad habit.
    pub(super) fn heal(&mut self) {
        self.stage.trace.line(format_args!("heal"));
        self.stage.healed.set(true);
        self.servers(None, |sim, s| {
            // What is held is delivered; what was cut off is lost.
            sim.release(broker::HOST, s);
            sim.repair(broker::HOST, s);
        });
        for host in 0..self.plan.hosts {
            self.clients_of(host, |sim, c, s| {
                sim.release(c, s);
                sim.repair(c, s);
            });
        }
        self.bounce_broker(false);
        for server in std::mem::take(&mut self.down) {
            self.bounce(server);
        }
        {
            let mut broker = self.broker.borrow_mut();
            broker.drop_permille = 0;
            broker.limit(self.plan.limits.messages);
            broker.load = self.plan.load;
        }
        *self.load.lock().unwrap_or_else(PoisonError::into_inner) = calm();
        self.stage.changed.ring();
    }

    /// Starts the servers whose drain is over.
    pub(super) fn restart_what_drained(&mut self) {
        if self.ending.is_empty() {
            return;
        }
        let ending = std::mem::take(&mut self.ending);
        for server in ending {
            if self.sim.is_host_running(name(server)) {
                self.ending.push(server);
            } else {
                self.sim.bounce(name(server));
            }
        }
    }

    fn servers(&self, which: Option<usize>, act: impl Fn(&turmoil::Sim<'_>, &str)) {
        let all = 0..self.plan.servers;
        for server in all.filter(|server| which.is_none_or(|only| only == *server)) {
            act(&self.sim, &name(server));
        }
    }

    fn clients_of(&self, host: usize, act: impl Fn(&turmoil::Sim<'_>, &str, &str)) {
        for server in 0..self.plan.servers {
            act(&self.sim, &format!("clients-{host}"), &name(server));
        }
    }

    fn bounce_broker(&mut self, empty: bool) {
        if std::mem::replace(&mut self.broker_is_up, true) {
            return;
        }
        if empty {
            self.broker.borrow_mut().recreate();
        }
        self.sim.bounce(broker::HOST);
    }

    fn crash(&mut self, server: usize) {
        // A server that drains is on its way down already.
        if self.down.contains(&server) || self.ending.contains(&server) {
            return;
        }
        self.sim.crash(name(server));
        self.down.push(server);
    }

    fn bounce(&mut self, server: usize) {
        self.down.retain(|down| *down != server);
        if !self.sim.is_host_running(name(server)) {
            self.sim.bounce(name(server));
        }
    }

    fn drain(&mut self, server: usize) {
        if !self.down.contains(&server) && !self.ending.contains(&server) {
            self.drains[server].ring();
            self.ending.push(server);
        }
    }

    fn set_load(&self, cpu_permille: Option<u32>, memory_percent: Option<u64>) {
        let mut load = self.load.lock().unwrap_or_else(PoisonError::into_inner);
        load.cpu_permille = cpu_permille.or(load.cpu_permille);
        let bytes = memory_percent.map(|percent| MEMORY_LIMIT / 100 * percent);
        load.memory_bytes = bytes.or(load.memory_bytes);
    }
}

fn name(server: usize) -> String {
    format!("server-{server}")
}
