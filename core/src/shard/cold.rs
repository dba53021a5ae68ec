//! Cold cursors.

use alloc::sync::Arc;

use super::Shard;
use crate::history::Page;
use crate::time::Instant;

impl Shard {
    /// The answer to a fetch.
    pub(super) fn history(&mut self, _now: Instant, _request: u64, _page: Option<Arc<Page>>) {}
}
