//! A host that runs the real server.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use odin_core::feed::{Feed, Source};
use odin_core::load::Sample;
use odin_shell::server::{self, Parts};
use odin_shell::settings::{Loaded, Settings};
use odin_shell::source::Clock;
use odin_shell::source::embedded::Embedded;

use super::SERVER_PORT;
use crate::bell::Bell;
use crate::broker::{EPOCH_SECS, PREFIX, SimHistory, SimUpstream};
use crate::dice::Dice;
use crate::net::{LocalTasks, Network};
use crate::trace::{Trace, now};

/// What a server is made of, each time that its host starts.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    pub(super) index: usize,
    pub(super) seed: u64,
    pub(super) shards: usize,
    pub(super) connections_max: u32,
    pub(super) settings: Settings,
    pub(super) network: Network,
    /// What its sampler measures.
    pub(super) load: Arc<Mutex<Sample>>,
    /// How often it was started.
    pub(super) starts: Rc<Cell<u64>>,
    /// Rings when it is to drain.
    pub(super) drains: Bell,
    pub(super) trace: Trace,
}

/// The settings that these flags make.
///
/// # Panics
/// When they are not accepted: the scenario is wrong then.
pub(super) fn settings(flags: &[(&'static str, String)]) -> Settings {
    let fixed = [
        "odin-ws",
        "--listen",
        "0.0.0.0:3004",
        "--source",
        "jetstream",
        // What a run does is told by its seed.
        "--record-bytes",
        "0",
    ];
    let given = flags
        .iter()
        .flat_map(|(name, value)| [format!("--{name}"), value.clone()]);
    let args = fixed.iter().map(ToString::to_string).chain(given);
    match Settings::load(args.map(Into::into), std::iter::empty()) {
        Ok(Loaded::Run(settings)) => *settings,
        other => panic!("the scenario's settings: {other:?}"),
    }
}

impl Recipe {
    /// Runs the server until it is drained or its host is killed.
    pub(super) async fn run(self) -> turmoil::Result {
        let start = self.starts.get() + 1;
        self.starts.set(start);
        let index = self.index;
        self.trace.line(format_args!("server-{index} starts"));
        let mut dice = Dice::new(self.seed ^ (start << 32) ^ (index as u64));
        let listener = self.network.listen(SERVER_PORT).await?;
        let config = self.settings.feed_config();
        let source = Source::JetStream {
            stream: self.settings.stream.clone(),
        };
        // Nobody publishes by way of the servers here.
        let (_, publisher) = Embedded::new(&config);
        let load = Arc::clone(&self.load);
        let now_ms = u64::try_from(now().as_millis())?;
        let parts = Parts {
            listener,
            spawn: LocalTasks,
            sample: move |_| *load.lock().unwrap_or_else(PoisonError::into_inner),
            clock: Clock::start(),
            feed: Feed::new(config, source, PREFIX, dice.bits()),
            upstream: SimUpstream::new(self.network.clone(), dice.split()),
            publisher,
            history: Arc::new(SimHistory::new(
                self.network.clone(),
                self.settings.payload_bytes_max,
            )),
            connections_max: self.connections_max,
            shards: self.shards,
            seed: dice.bits(),
            started_unix_ms: EPOCH_SECS * 1000 + now_ms,
        };
        let mut drains = self.drains.ear();
        let mut server = server::start(self.settings, parts)?;
        tokio::select! {
            biased;
            () = drains.rung() => {}
            () = server.failed() => return Err("a server failed".into()),
        }
        self.trace.line(format_args!("server-{index} drains"));
        server.drain().await;
        self.trace.line(format_args!("server-{index} ended"));
        Ok(())
    }
}
