//! What a running server reads again when it is told to (SIGHUP).
//!
//! Each part reads its files whole and then takes them over at once, or keeps what it has and says why.
//! No connection is touched by that; what follows for connections is up to each part.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A part of the server that comes from files.
pub(crate) trait Reload: Send + Sync {
    /// What the log calls it.
    fn what(&self) -> &'static str;

    /// Reads its files again, and says in a few words what there was.
    ///
    /// # Errors
    /// What is wrong with the files; everything stays as it was.
    fn reload(&self) -> Result<String, String>;
}

/// All parts of a server that can be read again, and how that went.
#[derive(Default)]
pub(crate) struct Reloads {
    parts: Vec<Arc<dyn Reload>>,
    done: AtomicU64,
    failed: AtomicU64,
}

impl std::fmt::Debug for Reloads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloads").finish_non_exhaustive()
    }
}

impl Reloads {
    /// Takes in a part, while the server is put together.
    pub(crate) fn add(&mut self, part: Arc<dyn Reload>) {
        self.parts.push(part);
    }

    /// Reads every part again.
    pub(crate) fn run(&self) {
        if self.parts.is_empty() {
            tracing::info!("nothing to read again");
        }
        for part in &self.parts {
            let what = part.what();
            match part.reload() {
                Ok(read) => {
                    self.done.fetch_add(1, Ordering::Relaxed);
                    tracing::info!(what, read, "read again");
                }
                Err(error) => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(what, error, "cannot be read again, and stays as it was");
                }
            }
        }
    }

    /// How many parts were read again, and how many could not be.
    pub(crate) fn counts(&self) -> [u64; 2] {
        [&self.done, &self.failed].map(|count| count.load(Ordering::Relaxed))
    }
}
