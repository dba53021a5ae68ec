//! The past of a stream, as a shard asks for it ([`Fetch`]) and gets it ([`Page`]).
//!
//! What a page proves, who waits for it and how long it is kept is decided in the core; here it is only found out.

mod api;
mod chain;
mod jetstream;
mod lookup;
mod memo;
mod read;
mod subject;

use std::future::ready;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use odin_core::history::{Fetch, Page};

pub use jetstream::JetStreamHistory;

use super::RequestKind;

/// Where a shard's questions about the past go.
pub trait History: Send + Sync + 'static {
    /// What the upstream holds; `None`: it could not be asked. Always ends within some seconds.
    fn fetch(&self, fetch: Fetch) -> BoxFuture<'_, Option<Page>>;

    /// How often the upstream was asked for something, in the order of [`RequestKind::ALL`].
    fn requests(&self) -> [u64; RequestKind::COUNT] {
        [0; RequestKind::COUNT]
    }
}

/// The history of a source that keeps none.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoHistory;

impl History for NoHistory {
    fn fetch(&self, _fetch: Fetch) -> BoxFuture<'_, Option<Page>> {
        ready(None).boxed()
    }
}
