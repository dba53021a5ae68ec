//! The application trace: what happened, line by line, in one order, with the simulated time. Two runs of
//! one seed must give the same bytes.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// FNV-1a, 64 bit (draft-eastlake-fnv): the offset basis.
pub const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Continues an FNV-1a hash.
#[must_use]
pub fn fnv1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)
    })
}

struct Inner {
    hash: u64,
    lines: u64,
    line: String,
    file: Option<std::io::BufWriter<std::fs::File>>,
    failed: bool,
}

/// The trace of one run. Cheap to clone: all clones write the same trace.
#[derive(Clone)]
pub struct Trace(Rc<RefCell<Inner>>);

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").finish_non_exhaustive()
    }
}

impl Trace {
    /// A trace that is hashed, and written to a file if there is one.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn new(path: Option<&Path>) -> std::io::Result<Self> {
        let file = path.map(std::fs::File::create).transpose()?;
        Ok(Self::over(file))
    }

    /// A trace that is only hashed.
    #[must_use]
    pub fn unwritten() -> Self {
        Self::over(None)
    }

    fn over(file: Option<std::fs::File>) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            hash: FNV_OFFSET,
            lines: 0,
            line: String::new(),
            file: file.map(std::io::BufWriter::new),
            failed: false,
        })))
    }

    /// Adds a line, with the time of the simulation before it in nanoseconds.
    pub fn line(&self, what: fmt::Arguments<'_>) {
        let at = now().as_nanos();
        let mut inner = self.0.borrow_mut();
        let inner = &mut *inner;
        inner.line.clear();
        // Writing to a string never fails.
        let _ = writeln!(inner.line, "{at} {what}");
        inner.hash = fnv1a(inner.hash, inner.line.as_bytes());
        inner.lines += 1;
        if let Some(file) = &mut inner.file {
            inner.failed |= file.write_all(inner.line.as_bytes()).is_err();
        }
    }

    /// The hash of all lines so far, and their number.
    #[must_use]
    pub fn hash(&self) -> (u64, u64) {
        let inner = self.0.borrow();
        (inner.hash, inner.lines)
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// When the file, at any time, could not be written.
    pub fn finish(&self) -> std::io::Result<()> {
        let mut inner = self.0.borrow_mut();
        if let Some(file) = &mut inner.file {
            file.flush()?;
        }
        if inner.failed {
            return Err(std::io::Error::other("the trace could not be written"));
        }
        Ok(())
    }
}

thread_local! {
    static BETWEEN: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// The time since the simulation began.
#[must_use]
pub fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_else(|| BETWEEN.get())
}

/// Says what time it is between two steps of the simulation, when no host is at its turn.
pub fn set_now(now: Duration) {
    BETWEEN.set(now);
}
