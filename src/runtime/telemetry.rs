//! The process's own log: one JSON object a line on stderr. It decides the format and what is verbose enough to show;
//! it must not hold domain words, and standard output is left to others (the access log).

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt;

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A directive such as `info` or `info,hyper=warn` was expected.
    #[error("log level {directives:?} is not understood")]
    Directives {
        /// What was given.
        directives: String,
        /// Where it breaks.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Somebody in this process installed a log before.
    #[error("the log is already set up")]
    AlreadySet(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends the log to stderr. `directives` is a level (`error`, `warn`, `info`, `debug`), or several as in
/// `info,hyper=warn`.
///
/// # Errors
/// Directives that do not parse; a second call in one process.
pub fn init(directives: &str) -> Result<(), TelemetryError> {
    Ok(subscriber(directives, io::stderr)?.try_init()?)
}

fn subscriber<W>(directives: &str, writer: W) -> Result<impl SubscriberInitExt, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(directives)
        .map_err(|source| TelemetryError::Directives { directives: directives.to_owned(), source })?;
    Ok(tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_env_filter(filter)
        .with_writer(writer)
        .finish())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(directives: &str) -> String {
        let captured = Captured::default();
        let writer = captured.clone();
        let guard = subscriber(directives, move || writer.clone()).unwrap().set_default();
        tracing::info!(answer = 42, "hello");
        tracing::debug!("details");
        drop(guard);
        String::from_utf8(captured.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn events_are_one_json_object_a_line() {
        let text = logged("info");
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with('{') && text.contains(r#""message":"hello""#) && text.contains(r#""answer":42"#));
    }

    #[test]
    fn the_level_decides_what_shows() {
        assert_eq!(logged("warn"), "");
        assert_eq!(logged("debug").lines().count(), 2);
    }

    #[test]
    fn nonsense_is_refused_as_a_level() {
        assert!(matches!(init("loud=everything=yes"), Err(TelemetryError::Directives { .. })));
    }
}
