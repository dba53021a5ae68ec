//! The world of one seed: servers, clients and the stream, stepped by a list. Time moves only here.

use std::time::Duration;

use odin_core::event::Event;
use odin_core::feed;
use odin_core::load::Sample;
use odin_core::shard;
use odin_core::time::Instant;

use super::peer::Peer;
use super::server::Server;
use super::setup::{Setup, Upstream};
use super::steps::Step;
use super::stream::Stream;
use super::{Failure, STRIP};
use crate::jetstream::{self, COUNTED_AFTER, Limits};
use crate::marks::{Mark, Marks};
use crate::oracle::{Laws, LineId, Oracle};

/// When the world began: nanoseconds since the Unix epoch.
pub(super) const BEGAN: u64 = 1_700_000_000_000_000_000;

#[derive(Debug)]
pub(crate) struct World {
    pub(super) setup: Setup,
    pub(super) now: Instant,
    pub(super) oracle: Oracle,
    pub(super) marks: Marks,
    pub(super) stream: Stream,
    pub(super) servers: Vec<Server>,
    pub(super) peers: Vec<Peer>,
    /// The time of the message that was stored last; each has its own.
    pub(super) stored_at: u64,
    /// When consumers counted what was stored.
    counted_at: Instant,
    pub(super) published: u64,
    boots: u64,
    /// Questions about the past so far.
    pub(super) asked: u64,
    pub(super) healing: bool,
    /// Inputs that the machines were given.
    pub(super) inputs: u64,
}

pub(super) type Check = Result<(), Failure>;

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        let mut oracle = Oracle::new(Laws {
            values_bounded: setup.values_bounded,
            roomy: setup.roomy,
            rolls_back: setup.rollbacks,
            outages: false,
        });
        let limits = Limits {
            messages: setup.stream_max,
            bytes: 0,
            per_subject: usize::from(setup.last_values),
            foreign: setup.shared_stream,
        };
        let mut held = jetstream::Stream::new(STRIP, BEGAN, limits);
        held.set_release(setup.release);
        let stream = Stream {
            line: oracle.line(),
            held,
        };
        let clients = setup.clients.iter().enumerate();
        let peers = clients
            .map(|(at, (profile, window))| Peer::new(at, *profile, *window))
            .collect();
        let mut world = Self {
            now: Instant::from_millis(1),
            oracle,
            marks: Marks::default(),
            stream,
            servers: Vec::new(),
            peers,
            stored_at: BEGAN,
            counted_at: Instant::default(),
            published: 0,
            boots: 0,
            asked: 0,
            healing: false,
            inputs: 0,
            setup,
        };
        for at in 0..world.setup.prestored {
            let channel = at as usize % world.setup.channels.len();
            world.store(channel, at);
        }
        for _ in 0..world.setup.servers {
            let server = world.boot();
            world.servers.push(server);
        }
        world
    }

    fn boot(&mut self) -> Server {
        self.boots += 1;
        let line = match self.setup.upstream {
            Upstream::JetStream => self.stream.line,
            Upstream::Embedded | Upstream::Nats => self.oracle.line(),
        };
        let mut server = Server::new(&self.setup, self.now, self.boots, line);
        let patience = [0, 0, 0, 300, 2_000, 7_000];
        let draw = self.setup.seed.wrapping_add(self.boots * 7) % 11;
        let wait = patience.get(draw as usize).filter(|_| !self.healing);
        let wait = Duration::from_millis(wait.copied().unwrap_or(0));
        server.link.back_at = Some(self.now + wait);
        server
    }

    /// The number line that a server follows.
    pub(super) fn line_of(&self, server: usize) -> LineId {
        match self.setup.upstream {
            Upstream::JetStream => self.stream.line,
            Upstream::Embedded | Upstream::Nats => self.servers[server].line,
        }
    }

    /// Lets one thing happen, and everything that follows at once.
    pub(crate) fn step(&mut self, step: &Step) -> Check {
        match step {
            Step::Advance { millis } => self.advance(Duration::from_millis(*millis))?,
            Step::Publish {
                channel,
                form,
                times,
            } => {
                for at in 0..*times {
                    self.publish(*channel, form.wrapping_add(at))?;
                    self.pump()?;
                }
            }
            Step::Burst { channel, times } => {
                self.may_be_slow();
                for at in 0..*times {
                    self.publish(*channel, 3 + at * 8)?;
                }
            }
            Step::Cut { .. }
            | Step::Mute { .. }
            | Step::Wedge { .. }
            | Step::Fail { .. }
            | Step::Gap { .. }
            | Step::Slow { .. }
            | Step::Overload { .. }
            | Step::Purge { .. }
            | Step::Delete { .. }
            | Step::Vanish { .. }
            | Step::Recreate
            | Step::Rollback { .. } => self.upstream_fault(step)?,
            Step::Hold { server, shard, on } => {
                let unit = &mut self.servers[*server].units[*shard];
                unit.held = *on;
                if *on {
                    self.may_be_slow();
                }
            }
            Step::Sample {
                server,
                cpu,
                memory,
            } => self.sample(*server, *cpu, *memory),
            Step::Drain { server, millis } => {
                self.drain(*server, Duration::from_millis(*millis))?
            }
            Step::Restart { server } => self.restart(*server)?,
            other => self.client_step(other)?,
        }
        self.pump()
    }

    /// Any client may now be behind for reasons that are not its own.
    fn may_be_slow(&mut self) {
        for peer in &mut self.peers {
            peer.ever_blocked = true;
            self.oracle.may_close(peer.id, 4008);
        }
    }

    fn sample(&mut self, server: usize, cpu: u32, memory: u64) {
        let server = &mut self.servers[server];
        let sample = Sample {
            cpu_permille: (cpu > 0).then_some(cpu),
            memory_bytes: (memory > 0).then_some(memory * 1_000),
            memory_limit: Some(1_000_000),
        };
        server.gate.sample(self.now, sample);
        server.law.sample(self.now, cpu.into(), memory);
    }

    pub(super) fn sample_well(&mut self, server: usize) {
        self.sample(server, 100, 100);
    }

    fn drain(&mut self, at: usize, window: Duration) -> Check {
        let by = self.now + window;
        let server = &mut self.servers[at];
        if server.drain_by.is_some() {
            return Ok(());
        }
        server.drain_by = Some(by);
        let (line, synced) = (self.line_of(at), self.in_sync(at));
        let server = &mut self.servers[at];
        let flushes = synced && !window.is_zero();
        server.drain_head = flushes.then(|| (line, self.oracle.head(line)));
        server.gate.drain();
        server.law.draining = true;
        for peer in &self.peers {
            if peer.home.is_some_and(|home| home.server == at) {
                self.oracle.may_close(peer.id, 1012);
            }
        }
        for unit in 0..self.servers[at].units.len() {
            self.handle(at, unit, shard::Input::Drain { deadline: by })?;
        }
        Ok(())
    }

    pub(super) fn restart(&mut self, at: usize) -> Check {
        for peer in 0..self.peers.len() {
            if self.peers[peer].home.is_some_and(|home| home.server == at) {
                self.end(peer, true)?;
            }
        }
        self.servers[at] = self.boot();
        self.marks.hit(Mark::Restarted);
        Ok(())
    }

    /// Time passes, and everything that is due on the way is done when it is due.
    pub(super) fn advance(&mut self, span: Duration) -> Check {
        let end = self.now + span;
        self.marks
            .hit_if(Mark::LongPause, span >= Duration::from_secs(60));
        self.release()?;
        let mut turns = 0;
        loop {
            self.pump()?;
            let due = self
                .servers
                .iter()
                .filter_map(|server| server.due(self.now))
                .min();
            let Some(due) = due.filter(|due| *due <= end) else {
                break;
            };
            turns = if due > self.now { 0 } else { turns + 1 };
            if turns > 1_000 {
                return Err(Failure(
                    "something is due again and again, at the same time".into(),
                ));
            }
            self.pass_to(self.now.max(due));
            self.grant();
            self.pump()?;
            self.timers()?;
            self.pump()?;
            self.in_time()?;
        }
        self.pass_to(end);
        self.grant();
        self.release()?;
        self.pump()?;
        self.in_time()?;
        self.fast_are_served()
    }

    fn pass_to(&mut self, now: Instant) {
        self.now = now;
        if now >= self.counted_at + COUNTED_AFTER {
            self.counted_at = now;
            self.stream.held.count();
        }
    }

    fn timers(&mut self) -> Check {
        for at in 0..self.servers.len() {
            let due = self.servers[at].feed.poll_timeout();
            if due.is_some_and(|due| due <= self.now) {
                self.servers[at].feed.handle_timeout(self.now);
                self.take_outputs(at)?;
            }
            for unit in 0..self.servers[at].units.len() {
                let due = self.servers[at].units[unit].shard.poll_timeout();
                if due.is_some_and(|due| due <= self.now) {
                    let shard = &mut self.servers[at].units[unit].shard;
                    shard.handle_timeout(self.now);
                    self.flush(at, unit)?;
                }
            }
        }
        Ok(())
    }

    /// What the Feed puts out goes to the link, and waits for the shards.
    pub(super) fn take_outputs(&mut self, at: usize) -> Check {
        self.inputs += 1;
        let server = &mut self.servers[at];
        while let Some(output) = server.feed.poll_output() {
            match output {
                feed::Output::Command(command) => server.link.carry_out(command),
                feed::Output::Event(event) => {
                    match &event {
                        Event::Reset(_) => server.begins = true,
                        Event::SourceReady(_) => server.begins = false,
                        _ => {}
                    }
                    for unit in &mut server.units {
                        unit.events.push_back(event.clone());
                    }
                }
            }
        }
        Ok(())
    }
}
