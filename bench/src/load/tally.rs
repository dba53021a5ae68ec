//! What all clients together received.

use crate::histogram::Histogram;

/// What all clients together received.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Bytes of a payload, by which messages are known.
    pub(super) payload: usize,
    /// Clients whose upgrade was answered.
    pub(crate) upgraded: u64,
    /// Clients whose subscription was answered.
    pub(crate) acked: u64,
    /// Messages that fast clients received.
    pub(crate) deliveries: u64,
    /// Reads that brought something, of fast clients.
    pub(crate) reads: u64,
    /// Messages that slow clients received.
    pub(crate) slow_deliveries: u64,
    /// Answers to heartbeats.
    pub(crate) pongs: u64,
    /// Messages whose predecessor was not received.
    pub(crate) broken: u64,
    /// Whatever else was received: `lost`, `error`, `reset`.
    pub(crate) notices: u64,
    /// Connections that ended.
    pub(crate) closed: u64,
    /// The first thing that was not as it should be.
    pub(crate) problem: Option<String>,
    /// From publish to read, of fast clients.
    pub(crate) latency: Histogram,
}

impl Tally {
    pub(super) fn new(payload: usize) -> Self {
        Self {
            payload,
            upgraded: 0,
            acked: 0,
            deliveries: 0,
            reads: 0,
            slow_deliveries: 0,
            pongs: 0,
            broken: 0,
            notices: 0,
            closed: 0,
            problem: None,
            latency: Histogram::default(),
        }
    }

    pub(super) fn problem(&mut self, what: &str) {
        if self.problem.is_none() {
            self.problem = Some(what.to_owned());
        }
    }
}
