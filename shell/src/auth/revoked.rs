//! The tokens that are revoked: a file of their ids (`jti`), one a line.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::files;
use crate::reload::Reload;

/// The largest list, in bytes.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

type Ids = HashSet<Box<str>>;

/// The list, as of the last time that it was read. Shared by all threads of a server.
#[derive(Debug)]
pub(crate) struct Revoked {
    path: PathBuf,
    ids: RwLock<Arc<Ids>>,
}

impl Revoked {
    /// # Errors
    /// The file cannot be read or is not what it should be.
    pub(super) fn new(path: &Path) -> Result<Self, String> {
        Ok(Self {
            path: path.to_owned(),
            ids: RwLock::new(Arc::new(load(path)?)),
        })
    }

    /// Whether the token with this id is revoked.
    pub(super) fn has(&self, id: &str) -> bool {
        // It is replaced whole, so that a panic elsewhere cannot have left half of it.
        let ids = self.ids.read().unwrap_or_else(PoisonError::into_inner);
        ids.contains(id)
    }
}

/// A part of its own: no fault of another file may keep a token from being revoked.
impl Reload for Revoked {
    fn what(&self) -> &'static str {
        "auth_revoked"
    }

    fn reload(&self) -> Result<String, String> {
        let ids = load(&self.path)?;
        let read = format!("{} tokens revoked", ids.len());
        *self.ids.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ids);
        Ok(read)
    }
}

fn load(path: &Path) -> Result<Ids, String> {
    let ids = files::read(path, BYTES_MAX).and_then(|bytes| parse(&bytes));
    files::named(path, ids)
}

fn parse(bytes: &[u8]) -> Result<Ids, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    Ok(entries(text).map(Into::into).collect())
}

/// What stands in a list. Empty lines and those that begin with `#` are passed over.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    // Some editors mark a file as UTF-8 with it.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Whether an id can stand in a list: on a line of its own it is what is read there. Control characters are
/// no part of a line that people can write.
pub(super) fn can_hold(id: &str) -> bool {
    entries(id).eq([id]) && !id.chars().any(char::is_control)
}
