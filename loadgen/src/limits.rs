//! Every bound of this crate.

use std::time::Duration;

/// Keys in one run; each costs 16 bytes of bookkeeping.
pub const OBJECTS_MAX: u64 = 1 << 28;
/// Connections of one run, over all executors.
pub const CONCURRENCY_MAX: usize = 16_384;
pub const EXECUTORS_MAX: usize = 64;
/// AWS's limit for one PUT.
pub const OBJECT_BYTES_MAX: u64 = 5 << 30;
/// Length of the whole key is this and ten digits; AWS allows 1,024 bytes.
pub const KEY_PREFIX_BYTES_MAX: usize = 900;
pub const DURATION_MAX: Duration = Duration::from_secs(30 * 86_400);
pub const COUNT_MAX: u64 = 1 << 40;
/// Of one upload, AWS's limit; and of its parts at the same time.
pub const PARTS_MAX: u64 = 10_000;
pub const PART_PARALLEL_MAX: usize = 64;
/// An ETag that is remembered; AWS's have at most 40 bytes.
pub const ETAG_BYTES_MAX: usize = 43;
pub const ENDPOINTS_MAX: usize = 64;
/// Headers that are part of a signature.
pub const SIGNED_HEADERS_MAX: usize = 8;
/// Kinds of request, by host and by what is said of the payload, of which the parts that stay the same
/// are kept ready.
pub const REQUEST_KINDS_MAX: usize = 8;
/// How long a presigned URL is good for.
pub const PRESIGNED_EXPIRES: Duration = Duration::from_secs(3600);
/// Different sizes in `--size`.
pub const SIZES_MAX: usize = 64;

/// One answer's head.
pub const ANSWER_HEAD_BYTES_MAX: usize = 64 << 10;
pub const ANSWER_HEADERS_MAX: usize = 64;
/// A body that is looked at as a whole: a listing or an error document. The rest is discarded.
pub const COLLECTED_BYTES_MAX: usize = 4 << 20;
/// One line of chunked framing.
pub const CHUNK_LINE_BYTES_MAX: usize = 4 << 10;
/// Trailer lines after a chunked body.
pub const TRAILER_LINES_MAX: usize = 64;
/// Informational answers (1xx) before the final one.
pub const INFORMATIONAL_MAX: usize = 8;
/// An executor's receive buffer follows the largest object, between these two.
pub const RECEIVE_BYTES_MIN: usize = 8 << 10;
pub const RECEIVE_BYTES_MAX: usize = 128 << 10;

/// Different kinds of error that are told apart; what comes after goes to one common line.
pub const ERROR_KINDS_MAX: usize = 48;
/// Errors and mismatches shown in full.
pub const SAMPLES_MAX: usize = 5;
pub const SAMPLE_BYTES_MAX: usize = 400;

/// Latencies above this are recorded as this.
pub const LATENCY_MAX: Duration = Duration::from_secs(600);
/// Statistics under way from the executors to the reporter.
pub const STATS_QUEUE: usize = 256;

/// Samples of one run, an even number; of a longer run each covers more time.
pub const SAMPLES_KEPT_MAX: usize = 2048;
/// Intervals that wait for the statistics of some executor.
pub const INTERVALS_OPEN_MAX: usize = 4;
/// A sample is a twentieth of the window, between these two.
pub const SAMPLE_MIN: Duration = Duration::from_millis(100);
pub const SAMPLE_MAX: Duration = Duration::from_secs(1);
/// The client counts as saturated when it was running, or waiting for a CPU, this share of the time.
pub const CLIENT_BUSY_MAX: f64 = 0.95;
/// In an open loop, starts are late when 1 % are later than this, and than a tenth of the latency.
pub const START_LAG_US_MAX: f64 = 1000.0;

/// A connection idle for longer is replaced; servers keep idle ones for longer than this.
pub const IDLE_MAX: Duration = Duration::from_secs(15);
/// Pause after a failed connect, so that a dead server is not hammered.
pub const CONNECT_PAUSE: Duration = Duration::from_millis(50);
/// Tries to find a key that no other request is writing.
pub const KEY_TRIES_MAX: usize = 64;

pub const LEDGER_LINE_BYTES_MAX: usize = 2048;
/// Keys of one ledger held in memory while it is verified.
pub const LEDGER_KEYS_MAX: usize = 1 << 26;
/// Writes of one key whose outcome is unknown, after its last acknowledged one.
pub const LEDGER_MAYBES_MAX: usize = 1024;
