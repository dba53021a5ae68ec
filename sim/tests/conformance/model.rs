//! The model: the simulation's broker, asked over the simulation's network as its servers ask it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use odin_sim::broker::{self, Broker, EPOCH_SECS, Load, SharedBroker, SimHistory, SimUpstream};
use odin_sim::dice::Dice;
use odin_sim::jetstream::{Limits, Purge, Release, Stored, Stream};
use odin_sim::net::{Network, SEGMENTS_MAX, set_over};
use odin_sim::oracle::{Laws, Oracle};
use odin_sim::trace::{Trace, set_now};

use crate::PAYLOAD_BYTES_MAX;
use crate::observe::{Stage, observe};
use crate::ops::{Op, SUBJECTS, Sequence};
use crate::payload;

struct Model {
    broker: SharedBroker,
    /// Set to have the broker's host end and come back.
    bounce: Rc<Cell<bool>>,
    backup: Option<Stream>,
    memory: bool,
    published: u64,
}

impl Stage for Model {
    async fn apply(&mut self, op: &Op) -> String {
        let restarts = matches!(op, Op::Restart | Op::BackUp | Op::Restore);
        let said = self.change(op);
        self.broker.borrow().announce();
        if restarts {
            self.bounce.set(true);
            while self.bounce.get() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        said
    }

    async fn last_followed(&mut self) -> u64 {
        self.broker.borrow().stream.last_followed()
    }

    async fn time(&mut self, seq: u64) -> Option<u64> {
        let broker = self.broker.borrow();
        broker.stream.get(seq).map(|stored| stored.time)
    }
}

impl Model {
    fn change(&mut self, op: &Op) -> String {
        let mut broker = self.broker.borrow_mut();
        // No two things happen at the same time.
        self.published += 1;
        let now = broker.wall() + self.published;
        let stream = &mut broker.stream;
        match *op {
            Op::Publish {
                subject,
                times,
                bytes,
            } => {
                for _ in 0..times {
                    self.published += 1;
                    stream.store(Stored {
                        subject: SUBJECTS[subject].into(),
                        time: now + self.published,
                        payload: Bytes::from(payload(stream.last_seq() + 1, bytes)),
                    });
                }
                stream.count();
                format!("stored {}", stream.last_seq())
            }
            Op::Purge {
                subject,
                below,
                keep,
            } => {
                let purged = stream.purge(Purge {
                    subject: subject.map(|subject| SUBJECTS[subject]),
                    below,
                    keep,
                });
                format!("purged {purged}")
            }
            Op::Delete(seq) => format!("deleted {}", stream.delete(seq)),
            Op::Limit(messages, bytes, per_subject) => {
                let foreign = stream.limits().foreign;
                stream.set_limits(Limits {
                    messages,
                    bytes,
                    per_subject,
                    foreign,
                });
                "limited".into()
            }
            Op::Recreate => {
                stream.recreate(now);
                "recreated".into()
            }
            Op::DropConsumers => {
                stream.drop_consumers();
                "dropped".into()
            }
            Op::Restart if self.memory => {
                // Who reads its state creates it, with no limits.
                stream.set_limits(Limits::default());
                stream.recreate(now);
                "restarted".into()
            }
            Op::Restart => {
                stream.restart();
                "restarted".into()
            }
            Op::BackUp => {
                stream.restart();
                self.backup = Some(stream.clone());
                "backed up".into()
            }
            Op::Restore => {
                let backup = self.backup.take().expect("there is a backup");
                stream.restore(backup);
                "restored".into()
            }
            _ => unreachable!("{op:?} asks"),
        }
    }
}

/// What is observed of the model of a server of this release.
pub(crate) fn run(release: Release, sequence: &Sequence) -> Vec<String> {
    set_now(Duration::ZERO);
    set_over(false);
    let epoch = SystemTime::UNIX_EPOCH + Duration::from_secs(EPOCH_SECS);
    let mut sim = turmoil::Builder::new()
        .epoch(epoch)
        .simulation_duration(Duration::from_secs(3_600))
        .tick_duration(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(1))
        .tcp_capacity(SEGMENTS_MAX)
        .rng_seed(1)
        .build();
    let network = Network::default();
    let oracle = Rc::new(RefCell::new(Oracle::new(Laws::default())));
    let load = Load {
        channels: 0,
        rate: 0,
        payload: (0, 0),
    };
    let trace = Trace::unwritten();
    let mut made = Broker::new(load, sequence.limits, Dice::new(1), trace, oracle);
    made.stream.set_release(release);
    let broker = Rc::new(RefCell::new(made));
    let (net, shared) = (network.clone(), broker.clone());
    sim.host(broker::HOST, move || {
        let run = broker::run(net.clone(), shared.clone());
        async move { Ok(run.await?) }
    });
    let bounce = Rc::new(Cell::new(false));
    let seen = Rc::new(RefCell::new(None));
    let (told, asked, sequence) = (seen.clone(), bounce.clone(), sequence.clone());
    sim.client("driver", async move {
        let upstream = SimUpstream::new(network.clone(), Dice::new(2));
        let history = SimHistory::new(network, PAYLOAD_BYTES_MAX);
        let mut model = Model {
            broker,
            bounce: asked,
            backup: None,
            memory: sequence.memory,
            published: 0,
        };
        let observed = observe(&mut model, upstream, history, &sequence).await;
        *told.borrow_mut() = Some(observed);
        Ok(())
    });
    loop {
        set_now(sim.elapsed());
        let ended = sim.step().expect("the simulation runs");
        if ended {
            break;
        }
        if bounce.get() {
            sim.crash(broker::HOST);
            sim.bounce(broker::HOST);
            bounce.set(false);
        }
    }
    set_over(true);
    seen.take().expect("the sequence ended")
}
