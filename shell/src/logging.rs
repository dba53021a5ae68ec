//! Logs by `tracing`, to standard error, as text for people or as one JSON object a line.
//!
//! What is logged is the affair of whoever logs; secrets cannot be logged by accident, because
//! [`Secret`](crate::settings::Secret) shows itself as `***`.

use std::fmt;
use std::io::IsTerminal;

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::settings::{LogFormat, Settings};

/// Why logging could not be set up.
#[derive(Debug)]
pub enum LoggingError {
    /// The filter is none.
    Filter(tracing_subscriber::filter::ParseError),
    /// This process has a global subscriber already.
    Installed(tracing::subscriber::SetGlobalDefaultError),
}

impl fmt::Display for LoggingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter(error) => write!(f, "log: {error}"),
            Self::Installed(error) => write!(f, "logging: {error}"),
        }
    }
}

impl std::error::Error for LoggingError {}

/// Sends the logs of the whole process to standard error, from now on. To be called once.
///
/// # Errors
/// The filter is no filter (which `Settings::load` has excluded), or logging was set up before.
pub fn init(settings: &Settings) -> Result<(), LoggingError> {
    let colours = std::io::stderr().is_terminal();
    let subscriber = subscriber(&settings.log, settings.log_format, colours, std::io::stderr)?;
    tracing::subscriber::set_global_default(subscriber).map_err(LoggingError::Installed)
}

/// A subscriber that writes to `writer`.
///
/// # Errors
/// `filter` is no filter.
pub fn subscriber<W>(
    filter: &str,
    format: LogFormat,
    colours: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, LoggingError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(filter)
        .map_err(LoggingError::Filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    Ok(match format {
        LogFormat::Text => Box::new(builder.with_ansi(colours).finish()),
        LogFormat::Json => Box::new(builder.json().flatten_event(true).finish()),
    })
}
