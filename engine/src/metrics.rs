//! Counters of one core's engine: plain cells that only this core touches, copied out as a snapshot.

use std::cell::Cell;

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Cell<u64>,)*
        }

        /// What was counted since the start, or stands now.
        #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
        pub struct EngineMetrics {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> EngineMetrics {
                EngineMetrics { $($name: self.$name.get(),)* }
            }
        }

        impl EngineMetrics {
            /// Name, help text and value of each.
            pub fn rows(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($doc),*), self.$name),)*]
            }

            /// Adds another core's figures.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

counters! {
    /// Groups written to the log.
    log_groups_total,
    /// Records written to the log.
    log_records_total,
    /// Bytes written to the log, padding included.
    log_bytes_total,
    /// Durable writes and syncs asked of the device.
    flushes_total,
    /// Chunks of large bodies written.
    chunks_written_total,
    /// Reads of records and chunks.
    reads_total,
    /// Bytes read from the device.
    read_bytes_total,
    /// Small objects whose record was in memory when they were asked for.
    hot_hits_total,
    /// Small objects whose record had to be read.
    hot_misses_total,
    /// Bytes of the records in memory.
    hot_bytes,
    /// Reads that failed.
    read_errors_total,
    /// Structures or data blocks whose checksum did not match.
    checksum_failures_total,
    /// Checkpoints written.
    checkpoints_total,
    /// Checkpoints that could not be written.
    checkpoint_failures_total,
    /// Bytes written to checkpoints.
    checkpoint_bytes_total,
    /// Log segments that compaction emptied.
    segments_compacted_total,
    /// Log segments given back for new use.
    segments_recycled_total,
    /// Records that compaction moved.
    relocated_records_total,
    /// Bytes that compaction wrote to the log.
    relocated_bytes_total,
    /// Versions whose attributes were changed.
    amended_total,
    /// Bytes that such changes wrote to the log.
    amended_bytes_total,
    /// Log segments that compaction could not read whole; they stay as they are.
    segments_damaged_total,
    /// Backups made.
    backups_total,
    /// Backups that failed.
    backup_failures_total,
    /// Bytes that backups copied.
    backup_bytes_total,
    /// Microseconds for which the last backup held back writes.
    backup_hold_us,
    /// Bytes that scrubbing has read.
    scrub_bytes_total,
    /// Passes of scrubbing over all that a core owns.
    scrub_passes_total,
    /// Damage that scrubbing found; the same place counts in every pass.
    scrub_findings_total,
    /// How far the present pass of scrubbing is, or the last one was, in percent.
    scrub_progress_percent,
    /// Requests that crossed to another core.
    mailbox_requests_total,
    /// Requests refused because the memory budget was used up.
    budget_refusals_total,
    /// Keys in the index: objects, uploads and parts.
    index_entries,
    /// Memory of the index in bytes.
    index_bytes,
    /// Bytes of bodies under way.
    body_bytes,
    /// Bytes that new data may still take.
    available_bytes,
    /// Shards that write a checkpoint now.
    shards_in_checkpoint,
    /// Shards that compact a segment now.
    shards_in_compaction,
    /// Bytes of the segments that logs may fill; a share of them may be alive.
    log_capacity_bytes,
    /// Bytes of the records in logs that are alive.
    log_live_bytes,
    /// Shards that take no writes since an I/O error.
    shards_read_only,
    /// Shards that cannot be reached because their drive is offline.
    shards_offline,
    /// Drives that are missing or do not answer.
    drives_offline,
    /// Segment files open.
    open_segment_files,
    /// Readers that pin space.
    pins_held,
}

/// Adds to a cell.
pub(crate) fn count(cell: &Cell<u64>, by: u64) {
    cell.set(cell.get() + by);
}
