//! Every bound of an import.

use std::ops::RangeInclusive;
use std::time::Duration;

/// A body of up to this is read whole before it is sent; each job has one such buffer.
pub const BUFFER_BYTES: u64 = 8 << 20;
/// What a longer body is handed on in.
pub const CHUNK_BYTES: usize = 64 << 10;

/// From this size on a body whose ETag is not to be kept is sent in parts.
pub const MULTIPART_FROM_BYTES: u64 = 64 << 20;
/// Size of such parts; larger where there would be too many.
pub const PART_BYTES: u64 = 16 << 20;
pub const PARTS_MAX: u64 = 10_000;
/// S3's bound of one PUT and of one part.
pub const PUT_BYTES_MAX: u64 = 5 << 30;

/// An answer in XML, and the depth of its elements.
pub const XML_BYTES_MAX: u64 = 16 << 20;
pub const XML_DEPTH_MAX: usize = 16;

/// S3's bound of a key.
pub const KEY_BYTES_MAX: usize = 1024;

/// The body of an error, and what is told of it.
pub const ERROR_BYTES_MAX: u64 = 64 << 10;
pub const MESSAGE_BYTES_MAX: usize = 1 << 10;

/// Entries of one page of a listing.
pub const PAGE_ENTRIES: usize = 1_000;
/// Versions of one key; all of them are in memory at once.
pub const VERSIONS_MAX: usize = 100_000;

/// Problems that are told one by one, and failed objects after which an import gives up.
pub const PROBLEMS_MAX: usize = 10_000;
/// Keys that are remembered as written or read by this run, because nothing else tells what they are: 8 bytes
/// each, and the table's own.
pub const SETTLED_MAX: usize = 4_000_000;
/// Problems that are printed; the report file has them all.
pub const PROBLEMS_SHOWN: usize = 20;

pub const JOBS: RangeInclusive<u64> = 1..=256;
pub const RETRIES: RangeInclusive<u64> = 0..=100;
pub const TIMEOUT_SECONDS: RangeInclusive<u64> = 1..=3600;

/// How often an object that changed meanwhile, or whose bytes were not those of its ETag, is begun anew.
pub const FRESH_STARTS: u32 = 2;

pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
pub const BACKOFF_MAX: Duration = Duration::from_secs(20);

/// A file that holds credentials.
pub const SECRET_FILE_BYTES_MAX: u64 = 64 << 10;
/// One line of a journal.
pub const JOURNAL_LINE_BYTES_MAX: usize = 64 << 10;
/// How much work may be lost to a power failure.
pub const JOURNAL_SYNC: Duration = Duration::from_secs(2);

/// How often progress is shown: on a terminal, and in a log.
pub const PROGRESS_TERMINAL: Duration = Duration::from_millis(500);
pub const PROGRESS_LOG: Duration = Duration::from_secs(15);
