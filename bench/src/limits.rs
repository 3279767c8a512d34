//! Every bound of the measuring programs.

/// Keys of one run.
pub const KEYS_MAX: u64 = 1 << 32;
/// Puts in flight.
pub const CONCURRENCY_MAX: usize = 1 << 16;
/// Object bodies stay inside their records.
pub const BODY_BYTES_MAX: usize = engine::limits::INLINE_BYTES_MAX;
/// Keys that are looked up one by one after a recovery.
pub const KEYS_CHECKED_MAX: u64 = 10_000;
/// Cores that open a store together.
pub const CORES_MAX: usize = 256;
