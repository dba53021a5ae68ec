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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::subscriber;
    use crate::settings::{LogFormat, Secret};

    /// What was logged.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .expect("no test panics with it")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(filter: &str, format: LogFormat) -> String {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(filter, format, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber.expect("a filter"), || {
            tracing::info!(token = %Secret::new("hunter2"), port = 3004, "listening");
            tracing::debug!("details");
        });
        let bytes = written.0.lock().expect("no test panics with it").clone();
        String::from_utf8(bytes).expect("logs are text")
    }

    #[test]
    fn text_is_one_line_without_secrets() {
        let text = logged("info", LogFormat::Text);
        assert!(text.ends_with("listening token=*** port=3004\n"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }

    #[test]
    fn json_is_one_object_a_line() {
        let text = logged("debug", LogFormat::Json);
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect(line))
            .collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!(lines[0]["message"], "listening");
        assert_eq!(
            (&lines[0]["token"], &lines[0]["port"]),
            (&"***".into(), &3004.into())
        );
        assert_eq!(
            (&lines[1]["level"], &lines[1]["message"]),
            (&"DEBUG".into(), &"details".into())
        );
    }

    #[test]
    fn the_filter_holds() {
        assert_eq!(logged("error", LogFormat::Text), "");
        assert!(subscriber("odin_shell=loud", LogFormat::Text, false, io::stderr).is_err());
    }
}
