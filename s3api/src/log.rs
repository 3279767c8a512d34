//! The log: one line per event on standard error, as text or as JSON.
//!
//! Invariants: one place in the program writes at most [`LOG_LINES_PER_SECOND`] lines in a second,
//! so that no client can fill a disk with log or hold a core in writes to a slow terminal; what was
//! held back is counted. A line is formatted whole and written with one call.
//!
//! Not here: the log of requests that S3 delivers to a bucket.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::config::LogFormat;
use crate::limits::LOG_LINES_PER_SECOND;
use crate::start_error::StartError;

const DEFAULT_FILTER: &str = "info";

/// Of the log of this process.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Lines that were held back since the start.
static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

/// Starts the log of this process. A second call is an error of the caller and changes nothing.
pub fn start(
    format: LogFormat,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(), StartError> {
    let (filter, handle) = reload::Layer::new(filter(variable)?);
    let base = tracing_subscriber::registry().with(filter).with(RateLimit::new());
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let result = match format {
        LogFormat::Human => base.with(lines.with_ansi(false)).try_init(),
        LogFormat::Json => base.with(lines.json().flatten_event(true)).try_init(),
    };
    result.map_err(|e| StartError::io("starting the log", io::Error::other(e)))?;
    // Only the first log of a process is one, and it has just started.
    let _ = FILTER.set(handle);
    Ok(())
}

/// Gives the running log another filter.
///
/// # Errors
/// Why the text is no filter, or that there is no log.
pub fn set_filter(text: &str) -> Result<(), String> {
    let filter = EnvFilter::builder().parse(text).map_err(|error| error.to_string())?;
    let handle = FILTER.get().ok_or("there is no log")?;
    handle.reload(filter).map_err(|error| error.to_string())
}

/// The filter as it is now.
pub fn filter_text() -> Option<String> {
    FILTER.get()?.with_current(ToString::to_string).ok()
}

/// How many lines were held back by the rate limit.
pub fn suppressed_lines() -> u64 {
    SUPPRESSED.load(Ordering::Relaxed)
}

/// The filter that the environment asks for.
pub fn filter(variable: &dyn Fn(&str) -> Option<String>) -> Result<EnvFilter, StartError> {
    let given = ["RINGFORT_LOG", "RUST_LOG"]
        .into_iter()
        .find_map(|name| Some((name, variable(name).filter(|text| !text.is_empty())?)));
    let Some((name, text)) = given else { return Ok(EnvFilter::new(DEFAULT_FILTER)) };
    EnvFilter::builder().parse(text).map_err(|error: ParseError| StartError::Config {
        place: name.to_string(),
        reason: error.to_string(),
    })
}

/// Counts the lines of each place in the program within the present second.
///
/// Places share a slot when their hashes collide: then they share the limit too, which is harmless.
struct RateLimit {
    start: Instant,
    /// The second since the start (upper half) and the lines in it (lower half).
    slots: [AtomicU64; 256],
}

impl RateLimit {
    fn new() -> Self {
        Self { start: Instant::now(), slots: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// Whether one more line of this place fits into the present second. Two threads that race may
    /// let one line too many through.
    fn admit(&self, place: u64, second: u64) -> bool {
        let slot = &self.slots[(place % self.slots.len() as u64) as usize];
        let seen = slot.load(Ordering::Relaxed);
        let lines = if seen >> 32 == second { seen & u64::from(u32::MAX) } else { 0 };
        if lines >= u64::from(LOG_LINES_PER_SECOND) {
            return false;
        }
        slot.store(second << 32 | (lines + 1), Ordering::Relaxed);
        true
    }
}

impl<S: Subscriber> Layer<S> for RateLimit {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        let mut hasher = DefaultHasher::new();
        event.metadata().callsite().hash(&mut hasher);
        let admitted = self.admit(hasher.finish(), self.start.elapsed().as_secs());
        if !admitted {
            SUPPRESSED.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_place_is_limited_and_others_are_not() {
        let limit = RateLimit::new();
        for _ in 0..LOG_LINES_PER_SECOND {
            assert!(limit.admit(1, 7));
        }
        assert!(!limit.admit(1, 7));
        assert!(limit.admit(2, 7));
        assert!(limit.admit(1, 8));
    }

    #[test]
    fn a_wrong_filter_is_named() {
        let variable = |name: &str| (name == "RUST_LOG").then(|| "a=b=c".to_string());
        let message = filter(&variable).map(|_| ()).expect_err("refused").to_string();
        assert!(message.starts_with("RUST_LOG: "), "{message}");
        assert!(filter(&|_| None).is_ok());
        let both = |name: &str| Some(if name == "RINGFORT_LOG" { "warn" } else { "a=b=c" }.into());
        assert!(filter(&both).is_ok());
    }
}
