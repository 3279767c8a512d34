//! Every bound of a connection, with its reason.
//!
//! `Limits` holds what an operator may change; the constants are fixed by the protocol's needs.

/// Header lines in one request. S3 requests carry 10 to 30; user metadata adds some tens.
pub(crate) const HEADERS_MAX: usize = 128;

/// Empty lines skipped before a request line (RFC 9112, section 2.2 asks for at least one).
pub(crate) const EMPTY_LINES_MAX: usize = 4;

/// First size of a connection's read-ahead buffer: nearly every head fits. It grows to `head_bytes_max` for a long
/// head and shrinks when it is given back.
pub(crate) const INPUT_BYTES_MIN: usize = 8 << 10;

/// One chunk-size line with its extensions, which are ignored: 16 digits and some room.
pub(crate) const CHUNK_LINE_BYTES_MAX: usize = 256;

/// All trailers of a chunked body, which are skipped.
pub(crate) const TRAILER_BYTES_MAX: usize = 8 << 10;

/// An answer head's buffer is kept between requests up to this size.
pub(crate) const OUTPUT_BYTES_KEPT: usize = 8 << 10;

/// Workspaces that are kept for requests to come: of 10 to 26 KiB each, and more than there are usually requests
/// under way on a core.
pub(crate) const WORKSPACES_KEPT_MAX: usize = 256;

/// The bounds that an operator may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Request line and headers together. S3 allows 8 KiB of headers, presigned targets with
    /// session tokens reach some KiB more.
    pub head_bytes_max: usize,
    /// Unread body thrown away after the answer to keep the connection; beyond it, a new
    /// connection is cheaper than the bytes.
    pub drain_bytes_max: u64,
    /// Bytes thrown away after the last answer before the connection is dropped, so that the
    /// client reads the answer instead of a reset.
    pub linger_bytes_max: u64,
    /// Between two requests. Longer than the usual 60 s of a proxy, which should close first.
    pub idle_timeout_ms: u64,
    /// From a head's first byte to its last.
    pub head_timeout_ms: u64,
    /// The window over which a body's rate is averaged: in each, the client must send
    /// `rate_bytes_per_second_min` times its length. It is the grace of a slow start as well.
    /// Time in which the server itself is busy does not count.
    pub body_window_ms: u64,
    /// The same for the answer. Longer, because the kernel accepts bytes in bursts of up to a
    /// third of its send buffer; set TCP_NOTSENT_LOWAT to keep the bursts small.
    pub write_window_ms: u64,
    /// From the end of the last answer to the drop of the connection.
    pub linger_timeout_ms: u64,
    /// The slowest client served: slower than any modem, faster than an attack by dribbling.
    pub rate_bytes_per_second_min: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_bytes_max: 32 << 10,
            drain_bytes_max: 256 << 10,
            linger_bytes_max: 1 << 20,
            idle_timeout_ms: 75_000,
            head_timeout_ms: 30_000,
            body_window_ms: 30_000,
            write_window_ms: 60_000,
            linger_timeout_ms: 5_000,
            rate_bytes_per_second_min: 1 << 10,
        }
    }
}
