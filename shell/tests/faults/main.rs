//! Replicas on one stream while things go wrong: what clients are sent is compared with what the stream ever stored, and
//! every message that a client did not get must have been announced as lost before the next one came.
//!
//! `ODIN_FAULTS` sets how many random faults the run of faults has (12 by default, 500 take about 20 minutes),
//! `ODIN_FAULTS_SEED` which; `ODIN_RESUMES` how many clients resume at once in the storm.

#[path = "../support/nats.rs"]
#[allow(dead_code, unreachable_pub)]
mod nats;
#[path = "../e2e/server.rs"]
#[allow(dead_code)]
mod server;
#[path = "../e2e/stream.rs"]
#[allow(dead_code)]
mod stream;

mod faults;
mod fleet;
mod ledger;
mod log;
mod probe;
mod resume;
mod rolling;
mod survivor;
mod writer;
