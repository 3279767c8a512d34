//! The thresholds that the rules compare against, each with its reason.

/// The oldest kernel on which the runtime starts at all (it needs io_uring operations of 5.8).
pub const KERNEL_MIN: (u32, u32) = (5, 8);
/// The oldest kernel that is tested; older ones lack fixes of io_uring.
pub const KERNEL_TESTED: (u32, u32) = (6, 1);

/// Locked memory without which an executor's rings cannot be set up.
pub const MEMLOCK_BYTES_MIN: u64 = 512 << 10;
/// Locked memory of an executor's rings, beside its registered buffers.
pub const MEMLOCK_RING_BYTES: u64 = 512 << 10;

/// Descriptors without which a start makes no sense.
pub const OPEN_FILES_MIN: u64 = 256;

/// Free space below which the first segments and a checkpoint may not fit.
pub const FREE_BYTES_MIN: u64 = 1 << 30;

/// The block that all I/O is made of; a device that needs a larger one refuses it.
pub const BLOCK_BYTES: u64 = 4096;

/// A budget above this share of the host's memory risks the out-of-memory killer.
pub const MEMORY_PERCENT_MAX: u64 = 90;

/// The most bytes read from one file under `/proc` or `/sys`.
pub const PSEUDO_FILE_BYTES_MAX: u64 = 64 << 10;

/// CPUs in one range of a list; more than any kernel supports.
pub const CPUS_PER_RANGE_MAX: usize = 8192;
