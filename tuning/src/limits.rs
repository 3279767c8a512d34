//! The thresholds that the rules compare against, each with its reason.

/// The oldest kernel on which the runtime starts at all (it needs io_uring operations of 5.8; the build of
/// all programs together waits with a call of 5.11).
pub const KERNEL_MIN: (u32, u32) = (5, 11);
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
/// Names in one directory under `/proc` or `/sys`: a host with many processes has the most.
pub const DIRECTORY_ENTRIES_MAX: usize = 1 << 20;
/// `/proc/interrupts` has a column for each CPU and a line for each interrupt.
pub const INTERRUPTS_BYTES_MAX: u64 = 64 << 20;
/// A host of containers has thousands of mounts.
pub const MOUNTINFO_BYTES_MAX: u64 = 16 << 20;
/// Devices over devices; the kernel allows fewer.
pub const STACKED_DEVICES_MAX: usize = 16;
/// Disks under one filesystem.
pub const DISKS_MAX: usize = 256;

/// The block in which NVMe drives work.
pub const NVME_BLOCK_BYTES: u64 = 4096;
/// Requests of one queue below which cores would wait for each other.
pub const QUEUE_REQUESTS_MIN: u64 = 128;
/// The largest transfer that the server makes: a chunk of 1 MiB.
pub const TRANSFER_KIB_MIN: u64 = 1024;
/// Waking takes less than a good drive's flush.
pub const IDLE_EXIT_US_MAX: u64 = 20;
/// Swap is a last resort, not a place for what was not used for a while.
pub const SWAPPINESS_MAX: u32 = 1;
/// Dirty pages of which a drive is rid within a second or two.
pub const DIRTY_BYTES_MAX: u64 = 2 << 30;
/// Shares of memory for dirty pages; the kernel takes whole percents.
pub const DIRTY_PERCENT: u64 = 5;
pub const DIRTY_BACKGROUND_PERCENT: u64 = 1;
/// From here on a network asks for buffers and packets of its own size.
pub const FAST_MBIT: u64 = 10_000;
/// 25 Gbit/s over a round trip of 5 ms.
pub const SOCKET_BUFFER_BYTES: u64 = 16 << 20;
/// The usual size of large packets.
pub const JUMBO_MTU: u32 = 9000;
/// A proxy's connections to one address.
pub const PORTS_MIN: u32 = 20_000;
/// More receive queues than that seldom help.
pub const RECEIVE_QUEUES_USEFUL: usize = 16;
/// An interrupt that came less often was not at work.
pub const INTERRUPTS_COUNTED_MIN: u64 = 10_000;

// Measuring.

/// The sizes in which the engine reads and writes: records, windows of large bodies, chunks and full
/// groups.
pub const SMALL_READ_BYTES: usize = 4 << 10;
pub const WINDOW_READ_BYTES: usize = 256 << 10;
pub const LARGE_WRITE_BYTES: usize = 1 << 20;
/// How many are under way at once, step by step.
pub const SMALL_READ_DEPTHS: [u32; 6] = [1, 4, 16, 64, 128, 256];
pub const WINDOW_READ_DEPTHS: [u32; 6] = [1, 2, 4, 8, 16, 32];
pub const LARGE_WRITE_DEPTHS: [u32; 4] = [1, 2, 4, 8];
/// The log never has more groups under way.
pub const DURABLE_WRITE_DEPTHS: [u32; 3] = [1, 2, 4];
/// Writes under way while the file is filled.
pub const FILL_DEPTH: u32 = 8;
/// Share of the time for filling the file, in percent.
pub const FILL_PERCENT: u32 = 25;
/// A file of less shows a drive's cache.
pub const MEASURED_FILE_BYTES_MIN: u64 = 16 << 20;
/// Latencies that one step keeps.
pub const SAMPLES_MAX: usize = 1 << 22;
/// Each of the measuring threads does nothing but wait.
pub const MEASURING_STACK_BYTES: usize = 128 << 10;

/// A profile is a page of text.
pub const PROFILE_BYTES_MAX: u64 = 64 << 10;
