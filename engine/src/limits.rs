//! Every bound of the engine, in one place, with the relations between them checked at compile time.

use crate::platform::BLOCK_BYTES;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The format that this build writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 2;

/// Longest object key, in bytes (S3's limit is 1,024).
pub const KEY_BYTES_MAX: usize = 1024;
/// Largest opaque attributes of an object or part.
pub const ATTRIBUTES_BYTES_MAX: usize = 64 << 10;
/// Most parts of a multipart upload, and the highest part number (S3's limit).
pub const PARTS_MAX: u16 = 10_000;
/// Largest head of a record (everything but its inline data): the manifest of 10,000 parts fits.
pub const RECORD_HEAD_BYTES_MAX: usize = 4 << 20;
/// Largest object body that is stored inside its record. Larger ones get extents.
pub const INLINE_BYTES_MAX: usize = 128 << 10;
/// A group is submitted when it has gathered so much.
pub const GROUP_BYTES_TARGET: usize = 1 << 20;
/// Largest content of a group: what was gathered below the target, and one record of the largest size.
/// Placement leaves gaps: records of little more than half a block take one block each.
pub const GROUP_BYTES_MAX: usize =
    RECORD_HEAD_BYTES_MAX + INLINE_BYTES_MAX + 2 * GROUP_BYTES_TARGET + 2 * BLOCK_BYTES;
/// Groups being written at once per shard when each is full: recovery knows that there were no more.
pub const GROUPS_IN_FLIGHT_MAX: usize = 4;
/// No number on disk that counts or measures reaches this, so that nothing overflows that is added to one: at a
/// million a second it takes 290,000 years, and as nanoseconds it is the year 2262.
pub const COUNTER_END: u64 = 1 << 63;
/// Segments that a shard keeps free of new data: for deletions and compaction.
pub const RESERVED_SEGMENTS: usize = 3;
/// Of those, what deletions leave to compaction, which needs one to gain others.
pub const COMPACTION_SEGMENTS: usize = 1;
/// Segments beside the reserve that slabs leave to the logs, with those that they have: a slab comes back only when
/// nothing is left in it, and without sealed segments to compact the logs could not go on at all.
pub const LOG_SEGMENTS_KEPT: usize = 3;
/// Fewest segments of a shard: the reserve, both logs, and some to work with.
pub const SEGMENTS_MIN: usize = 8;
/// A write waits so long for space that background work is about to gain.
pub const SPACE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Background work that found no space tries again after so long.
pub const MAINTENANCE_RETRY: Duration = Duration::from_secs(1);
/// Background work looks for what is due after so many bytes of log, or a sixteenth of a segment.
pub const PROGRESS_BYTES: u64 = 1 << 20;
/// A checkpoint is written after so many bytes or records of log by default, or as many as the index
/// has bytes, or an eighth of its entries, if that is more.
pub const CHECKPOINT_LOG_BYTES: u64 = 64 << 20;
pub const CHECKPOINT_RECORDS: u64 = 500_000;
/// ... and after so many displaced records whose manifests a start would have to read.
pub const DISPLACED_BETWEEN_CHECKPOINTS: u64 = 20_000;
/// Share of the log's space that may be alive, in percent: beyond it compaction costs too much.
pub const LOG_UTILISATION_MAX_PERCENT: u8 = 80;
/// Compaction writes groups of at least and at most so many bytes, or an eighth of a segment.
pub const RELOCATION_GROUP_MIN: usize = 128 << 10;
pub const RELOCATION_GROUP_MAX: usize = 512 << 10;
/// Places that an amended record names: its former one, and what that one names.
pub const AMENDED_NAMES_MAX: usize = 16;
/// While so many displaced records of a shard wait for their manifests to be read, writes wait too.
pub const DISPLACED_QUEUE_MAX: usize = 50_000;
/// A filesystem that was full is asked for another segment again after so long.
pub const EXHAUSTED_RETRY: Duration = Duration::from_secs(30);
/// Manifests read at once at a start.
pub const MANIFEST_READS_IN_FLIGHT: usize = 64;
/// A shard that has been idle so long tells in a witness group what is durable.
pub const WITNESS_DELAY: Duration = Duration::from_millis(20);

/// Smallest and largest segment; sizes are powers of two.
pub const SEGMENT_BYTES_MIN: u64 = 1 << 20;
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Segments of one shard; the table of them stays in memory.
pub const SEGMENTS_MAX: u32 = 1 << 20;
/// Space of slab segments is given out in units of so many bytes.
pub const UNIT_BYTES: usize = 64 << 10;
/// Units of the largest chunk: what is read, verified and written as one.
pub const CHUNK_UNITS_MAX: usize = 16;
pub const CHUNK_BYTES_MAX: usize = CHUNK_UNITS_MAX * UNIT_BYTES;
/// A chunk begins with one block that holds its checksums.
pub const CHUNK_HEADER_BYTES: usize = BLOCK_BYTES;
pub const CHUNK_PAYLOAD_MAX: usize = CHUNK_BYTES_MAX - CHUNK_HEADER_BYTES;
/// Units asked of the owner at once for a large body: up to so many bytes ahead of what was received.
pub const GRANT_UNITS_MAX: usize = 4 * CHUNK_UNITS_MAX;
/// Chunks of one upload being written at once by default, and at most: each has a buffer of its own.
pub const CHUNK_WRITES_IN_FLIGHT: usize = 2;
pub const CHUNK_WRITES_IN_FLIGHT_MAX: usize = 8;
/// Large bodies are read in windows that end at multiples of this, counted from the chunk's start:
/// small enough that the registered buffers of a core serve dozens of streams at once.
pub const READ_WINDOW_BYTES: usize = 256 << 10;
/// Windows read ahead of the one that is being sent, by default and at most. More than by default are
/// read only while half of the budget is free.
pub const READ_AHEAD_WINDOWS: usize = 2;
pub const READ_AHEAD_WINDOWS_MAX: usize = 16;
/// Longer reads are large ones: windows of large bodies, and hardly any record.
pub const LARGE_READ_BYTES: usize = 192 << 10;
/// Large reads that all cores together have under way on one drive, at most half of those that may be at all: enough
/// for any drive's full rate, and few enough that what a small read finds before it is done in milliseconds.
pub const LARGE_READS_IN_FLIGHT: usize = 128;
/// Of these, each core's; never fewer, so that more than sixteen cores together have more.
pub const LARGE_READS_PER_CORE: RangeInclusive<usize> = 8..=64;

/// Zeroes are written so far ahead of the log's head in a segment that was never written.
pub const FILL_AHEAD_BYTES: u64 = 16 << 20;
/// Each step costs a change of the file's metadata, for which appends must wait: few large ones.
pub const FILL_STEP_BYTES: usize = 4 << 20;

pub const SHARDS_MAX: u16 = 1024;
pub const DRIVES_MAX: u16 = 64;

/// Shorter pieces have their MD5 computed at once, without company: where many come at once, waiting
/// costs about as much as 1 KiB of it.
pub const MD5_PIECE_BYTES_MIN: usize = 2 << 10;
/// Bytes of one stream whose MD5 is computed in one go: about half a millisecond.
pub const MD5_PASS_BYTES: usize = 256 << 10;
/// The least of one piece that a pass takes in, where many wait; a multiple of MD5's block.
pub const MD5_SHARE_BYTES: usize = 4 << 10;
/// Messages waiting in one core's mailbox.
pub const MAILBOX_CAPACITY: usize = 8192;
/// How long a request waits for memory before it is told to come back.
pub const BUDGET_WAIT_MAX: Duration = Duration::from_secs(5);
/// Whoever would have to wait for longer, as the queue has moved of late, is told at once. Short enough that
/// those who are let in are answered while they still want it.
pub const BUDGET_WAIT_EXPECTED_MAX: Duration = Duration::from_secs(1);
/// Memory that a copy takes at most, for what it writes and for what it reads ahead.
pub const COPY_MEMORY_BYTES: usize = 4 << 20;
/// Pages of listings that a core makes at once. Each takes a millisecond of CPU and more: with thousands at once
/// all would be late, where in turn most are early. Each may have a slice of it in every turn of the core, for which
/// everybody else waits.
pub const LISTINGS_AT_ONCE: usize = 16;
/// Rows of one listing page.
pub const LIST_LIMIT_MAX: usize = 1000;
/// Entries of the index that one slice of a listing steps over, so that a core is held up for less than a
/// millisecond.
pub const LIST_STEPS_MAX: usize = 6000;
/// Records read at once to complete an upload.
pub const PART_READS_IN_FLIGHT: usize = 32;

/// Log segments that a verification reads at once, and chunks of large objects for each of them.
pub const VERIFY_SEGMENTS_IN_FLIGHT: usize = 4;
pub const VERIFY_CHUNKS_IN_FLIGHT: usize = 4;
/// Findings that a report keeps, and the scrubber of each core.
pub const FINDINGS_KEPT_MAX: usize = 10_000;
pub const SCRUB_FINDINGS_KEPT_MAX: usize = 1000;
/// What each core scrubs in a second by default, how long after a pass the next one begins, and how long
/// after the start the first.
pub const SCRUB_BYTES_PER_SECOND: u64 = 16 << 20;
pub const SCRUB_INTERVAL: Duration = Duration::from_secs(7 * 24 * 3600);
pub const SCRUB_FIRST_DELAY: Duration = Duration::from_secs(15 * 60);
/// How often a core looks whether a pass was asked for.
pub const SCRUB_TICK: Duration = Duration::from_secs(1);

/// Frames of a checkpoint read at once.
pub const CHECKPOINT_READS_IN_FLIGHT: usize = 4;
/// Bytes of one window of the log that recovery reads.
pub const REPLAY_WINDOW_BYTES: usize = 2 << 20;
/// Bytes that background work reads or writes at once while requests are served: a device does one
/// transfer after the other, and a request behind it waits for as long as this one takes.
pub const BACKGROUND_IO_BYTES: usize = 128 << 10;

/// A backup keeps a shard from writing for at most so long, whatever happens; one flush is usual.
pub const BACKUP_HOLD_MAX: Duration = Duration::from_secs(2);
/// ... and tries so often to hold all of them at once.
pub const BACKUP_HOLD_TRIES: usize = 5;
/// Shards of one core whose segments are copied at once.
pub const BACKUP_SHARDS_AT_ONCE: usize = 2;
/// Backups and restores read and write in pieces of so many bytes.
pub const BACKUP_WINDOW_BYTES: usize = 1 << 20;
/// Longest name of a generation, and longest list of files that is read.
pub const BACKUP_NAME_BYTES_MAX: usize = 64;
pub const BACKUP_MANIFEST_BYTES_MAX: u64 = 256 << 20;

const _: () = assert!(CHUNK_PAYLOAD_MAX / BLOCK_BYTES * 8 + 64 <= CHUNK_HEADER_BYTES - 8);
const _: () = assert!(INLINE_BYTES_MAX.is_multiple_of(BLOCK_BYTES));
const _: () = assert!(INLINE_BYTES_MAX as u64 * 4 <= SEGMENT_BYTES_MIN);
const _: () = assert!(SEGMENT_BYTES_MAX / (UNIT_BYTES as u64) <= u16::MAX as u64);
const _: () = assert!(UNIT_BYTES.is_multiple_of(BLOCK_BYTES));
