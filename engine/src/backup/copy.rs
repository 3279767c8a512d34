//! Copying one shard's snapshot: its checkpoint, its log segments, the units of its slab segments.
//!
//! Invariants: every byte is verified on its way by the checksums that it has in the store, so that a
//! backup never keeps rot in silence; what an earlier generation has is not read again; files are
//! durable with their names when [`Shard::copy_snapshot`] returns.
//!
//! Budget: two windows, one write at a time; a core copies few shards at once.

use super::hold::{LogEnd, LogSource, SlabSource, Snapshot};
use super::manifest::{FileKind, FileRow, ShardRow, hex};
use super::progress::Order;
use super::target::{Target, Written, create, file_error, read_back};
use super::{data_dir, make_dir};
use crate::error::{Error, Result};
use crate::format::checkpoint::LogPosition;
use crate::format::chunk::ChunkHeader;
use crate::format::group::{GROUP_HEADER_BYTES, GroupHeader};
use crate::format::packed::{PackedHeader, runs};
use crate::format::segment::{Header, SegmentHeader, SegmentKind};
use crate::limits::{BACKUP_WINDOW_BYTES, CHUNK_BYTES_MAX, UNIT_BYTES};
use crate::metrics::count;
use crate::platform::{BLOCK_BYTES, File, OpenMode, Platform};
use crate::shard::Shard;
use crate::window::Window;
use std::rc::Rc;

/// What could not be verified, and where; the rest is kept as it was found.
type Damage = Option<String>;

impl<P: Platform> Shard<P> {
    /// Copies what the snapshot has into the directory of the backups.
    pub(crate) async fn copy_snapshot(self: &Rc<Self>, id: u64, order: Order) -> Result<ShardRow> {
        let snapshot = self.with_turn(id, |turn| turn.snapshot.take())?;
        let Some(mut snapshot) = snapshot else {
            return Err(Error::Backup("there is no snapshot to copy".into()));
        };
        let history = data_dir(&order.directory, self.context.layout.history);
        let shard_dir = history.join(format!("shard-{:04}", self.id));
        make_dir(&self.platform, &shard_dir).await?;
        let mut files = vec![self.copy_checkpoint(&order, &mut snapshot).await?];
        self.end_backup_walk(id);
        for log in &snapshot.logs {
            files.push(self.copy_log(&order, log).await?);
        }
        for slab in &snapshot.slabs {
            files.push(self.copy_slab(&order, slab).await?);
        }
        let synced = self.platform.sync_dir(&shard_dir).await;
        synced.map_err(|source| file_error("sync", &shard_dir, source))?;
        Ok(ShardRow { shard: self.id, segments: snapshot.segments, files })
    }

    fn check_copying(&self, order: &Order) -> Result<()> {
        if self.context.stopping.get() {
            return Err(Error::Stopping);
        }
        order.check()
    }

    /// The path of a file below the directory of the backups.
    fn relative(&self, name: &str) -> String {
        let history = hex(self.context.layout.history);
        format!("data/{history}/shard-{:04}/{name}", self.id)
    }

    async fn copy_checkpoint(&self, order: &Order, snapshot: &mut Snapshot) -> Result<FileRow> {
        let sequence = snapshot.instant.header.sequence;
        let created = snapshot.instant.header.created_ns;
        let relative = self.relative(&format!("checkpoint-{sequence}-{created}.ckp"));
        let path = order.directory.join(&relative);
        let file = create(&self.platform, &path).await?;
        let failed = |source| file_error("write", &path, source);
        let bytes = self.write_instant(&file, &mut snapshot.instant).await.map_err(failed)?;
        file.close().await.map_err(failed)?;
        let written = read_back(&self.platform, &path).await?;
        if written.bytes != bytes {
            return Err(Error::Backup(format!("{} has another length now", path.display())));
        }
        count(&self.context.counters.backup_bytes_total, bytes);
        order.progress.add_copied(bytes);
        Ok(file_row(relative, FileKind::Checkpoint, None, written, None))
    }

    /// A file that need not be copied: an earlier generation names it, and it is still there.
    async fn known(&self, order: &Order, relative: &str) -> Option<FileRow> {
        let row = order.known.get(relative)?;
        let file =
            self.platform.open(&order.directory.join(relative), OpenMode::READ).await.ok()?;
        (file.len().await.ok()? == row.bytes).then(|| row.clone())
    }

    // --- Log segments --------------------------------------------------------------------------

    async fn copy_log(&self, order: &Order, log: &LogSource) -> Result<FileRow> {
        self.check_copying(order)?;
        let LogSource { segment, epoch, .. } = *log;
        let name = match log.end {
            LogEnd::Seal(_) => format!("log-{segment}-{epoch}.seg"),
            LogEnd::At(at) => format!("log-{segment}-{epoch}-{}.seg", at.offset),
        };
        let relative = self.relative(&name);
        let done = log.bytes_max(self.context.layout.segment_bytes);
        if let Some(row) = self.known(order, &relative).await {
            order.progress.add_done(done);
            return Ok(row);
        }
        let path = order.directory.join(&relative);
        let mut target = Target::create(&self.platform, order, &path).await?;
        let damage = self.copy_groups(log, &mut target).await?;
        self.judge(order, &damage)?;
        let written = target.finish().await?;
        count(&self.context.counters.backup_bytes_total, written.bytes);
        order.progress.add_done(done);
        Ok(file_row(relative, FileKind::Log, Some(segment), written, damage))
    }

    fn judge(&self, order: &Order, damage: &Damage) -> Result<()> {
        match damage {
            Some(damage) if !order.allow_damaged => {
                count(&self.context.counters.checksum_failures_total, 1);
                Err(Error::Corrupt(damage.clone()))
            }
            Some(damage) => {
                count(&self.context.counters.checksum_failures_total, 1);
                tracing::error!(damage, "a backup keeps stored data that does not verify");
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Copies a log segment, group by group along its chain. From damage on it is copied as it is.
    async fn copy_groups(&self, log: &LogSource, target: &mut Target<'_, P>) -> Result<Damage> {
        let segment = log.segment;
        let mut window = Window::open(&self.context, self.id, segment).await?;
        let (offset, reason) = match self.copy_chain(log, &mut window, target).await? {
            Ok(()) => return Ok(None),
            Err(damage) => damage,
        };
        let end = log.bytes_max(self.context.layout.segment_bytes);
        self.copy_raw(segment, offset, end, target).await?;
        let path = self.context.layout.segment_path(self.id, segment);
        Ok(Some(format!("{} at {offset}: {reason}", path.display())))
    }

    /// The inner error: where the chain ends that should not end there, and why.
    async fn copy_chain(
        &self,
        log: &LogSource,
        window: &mut Window<P>,
        target: &mut Target<'_, P>,
    ) -> Result<std::result::Result<(), (u64, String)>> {
        let block = match window.at(0, BLOCK_BYTES).await {
            Ok(block) => block,
            Err(error) => return Ok(Err((0, error.to_string()))),
        };
        let header = match SegmentHeader::decode(block) {
            Header::Valid(header) if self.is_header_of(log, &header) => header,
            _ => return Ok(Err((0, "the segment's header is not what it should be".into()))),
        };
        target.push(block).await?;
        let mut at = LogPosition {
            segment: log.segment,
            offset: BLOCK_BYTES as u64,
            epoch: header.epoch,
            next_lsn: header.first_lsn,
            chain: header.chain_before,
        };
        let mut sealed = false;
        loop {
            let is_end = match log.end {
                LogEnd::Seal(lsn) => sealed && at.next_lsn == lsn,
                LogEnd::At(end) => {
                    (at.offset, at.next_lsn, at.chain) == (end.offset, end.next_lsn, end.chain)
                }
            };
            if is_end {
                return Ok(Ok(()));
            }
            if sealed {
                return Ok(Err((at.offset, "the segment is sealed too early".into())));
            }
            let bytes = match self.group_at(log, window, &at).await {
                Ok(bytes) => bytes,
                Err(reason) => return Ok(Err((at.offset, reason.to_string()))),
            };
            target.push(bytes.0).await?;
            at.epoch = bytes.1.epoch;
            at.offset += u64::from(bytes.1.group_bytes);
            at.next_lsn += 1;
            at.chain = bytes.2;
            sealed = bytes.1.next_segment.is_some();
        }
    }

    fn is_header_of(&self, log: &LogSource, header: &SegmentHeader) -> bool {
        let layout = &self.context.layout;
        header.kind == SegmentKind::Log
            && header.store_uuid == layout.store_uuid
            && (header.shard, header.stream) == (self.id, log.stream)
            && (header.segment, header.epoch) == (log.segment, log.epoch)
    }

    /// The verified group that continues the log at a position, with its header and that one's checksum.
    async fn group_at<'w>(
        &self,
        log: &LogSource,
        window: &'w mut Window<P>,
        at: &LogPosition,
    ) -> Result<(&'w [u8], GroupHeader, u64)> {
        let corrupt = |reason: &str| Error::Corrupt(reason.to_owned());
        let segment_bytes = self.context.layout.segment_bytes;
        if at.offset + BLOCK_BYTES as u64 > segment_bytes {
            return Err(corrupt("the segment ends without a seal"));
        }
        let salt = self.context.salt;
        let bytes = window.at(at.offset, GROUP_HEADER_BYTES).await?;
        let (group, checksum) =
            GroupHeader::decode(salt, bytes).map_err(|malformed| corrupt(malformed.0))?;
        let here = (group.shard, group.stream, group.segment) == (self.id, log.stream, log.segment);
        let continues = (group.lsn, group.chain_before) == (at.next_lsn, at.chain);
        let end = at.offset + u64::from(group.group_bytes);
        if !here || !continues || group.epoch < at.epoch || end > segment_bytes {
            return Err(corrupt("the group does not continue the log"));
        }
        let bytes = window.at(at.offset, group.group_bytes as usize).await?;
        group.content(salt, bytes).map_err(|malformed| corrupt(malformed.0))?;
        Ok((bytes, group, checksum))
    }

    /// Copies bytes as they are; what cannot be read becomes zeroes.
    async fn copy_raw(
        &self,
        segment: u32,
        mut offset: u64,
        end: u64,
        target: &mut Target<'_, P>,
    ) -> Result<()> {
        let file = self.context.files.get(self.id, segment).await?;
        while offset < end {
            let bytes = (end - offset).min(UNIT_BYTES as u64) as usize;
            match file.read_at(offset, bytes).await {
                Ok(read) => target.push(&read).await?,
                Err(_) => target.push(&vec![0; bytes]).await?,
            }
            offset += bytes as u64;
        }
        Ok(())
    }

    // --- Slab segments -------------------------------------------------------------------------

    async fn copy_slab(&self, order: &Order, slab: &SlabSource) -> Result<FileRow> {
        self.check_copying(order)?;
        let SlabSource { segment, epoch, stamp, .. } = *slab;
        let relative = self.relative(&format!("slab-{segment}-{epoch}-{stamp}.seg"));
        if let Some(row) = self.known(order, &relative).await {
            order.progress.add_done(slab.bytes());
            return Ok(row);
        }
        let path = order.directory.join(&relative);
        let mut target = Target::create(&self.platform, order, &path).await?;
        let mut block = vec![0; BLOCK_BYTES];
        let header = PackedHeader {
            store_uuid: self.context.layout.store_uuid,
            shard: self.id,
            segment,
            epoch,
            opened_ns: slab.opened,
            segment_bytes: self.context.layout.segment_bytes,
            map: slab.published.clone(),
        };
        header.encode(&mut block);
        target.push(&block).await?;
        let mut damage = None;
        for (first, units) in runs(&slab.published) {
            self.check_copying(order)?;
            let found = self.copy_run(segment, first, units, &mut target).await?;
            damage = damage.or(found);
        }
        self.judge(order, &damage)?;
        let written = target.finish().await?;
        count(&self.context.counters.backup_bytes_total, written.bytes);
        order.progress.add_done(slab.bytes());
        Ok(file_row(relative, FileKind::Slab, Some(segment), written, damage))
    }

    /// Copies the chunks of a run of units: it begins with one, and they follow each other.
    async fn copy_run(
        &self,
        segment: u32,
        first: u32,
        units: u32,
        target: &mut Target<'_, P>,
    ) -> Result<Damage> {
        let (start, end) = (unit_offset(first), unit_offset(first + units));
        let file = self.context.files.get(self.id, segment).await?;
        let (mut offset, mut damage) = (start, None);
        while offset < end {
            let bytes = (end - offset).min(BACKUP_WINDOW_BYTES as u64) as usize;
            let read = file.read_at(offset, bytes).await;
            let window = match &read {
                Ok(window) => &**window,
                Err(_) => &[],
            };
            let taken = self.push_chunks(window, target).await?;
            offset += taken;
            if taken == 0 {
                let reason = match &read {
                    Ok(_) => "a chunk does not verify".into(),
                    Err(error) => error.to_string(),
                };
                let path = self.context.layout.segment_path(self.id, segment);
                damage.get_or_insert(format!("{} at {offset}: {reason}", path.display()));
                let next = offset + UNIT_BYTES as u64;
                self.copy_raw(segment, offset, next, target).await?;
                offset = next;
            }
        }
        Ok(damage)
    }

    /// Verifies and pushes the whole chunks at the beginning of a window, and gives the bytes of their
    /// units. What stands behind a chunk in its last unit is left over from others: zeroes are kept.
    async fn push_chunks(&self, window: &[u8], target: &mut Target<'_, P>) -> Result<u64> {
        let zeroes = [0; UNIT_BYTES];
        let mut taken = 0;
        while let Some(rest) = window.get(taken..).filter(|rest| !rest.is_empty()) {
            let Ok(bytes) = ChunkHeader::verify_alone(self.context.salt, rest) else { break };
            let units_bytes = bytes.next_multiple_of(UNIT_BYTES);
            if units_bytes > rest.len() {
                break;
            }
            target.push(&rest[..bytes]).await?;
            target.push(&zeroes[..units_bytes - bytes]).await?;
            taken += units_bytes;
        }
        Ok(taken as u64)
    }
}

const _: () = assert!(BACKUP_WINDOW_BYTES >= CHUNK_BYTES_MAX);

fn unit_offset(unit: u32) -> u64 {
    u64::from(unit) * UNIT_BYTES as u64
}

fn file_row(
    path: String,
    kind: FileKind,
    segment: Option<u32>,
    written: Written,
    damage: Damage,
) -> FileRow {
    let Written { bytes, checksum } = written;
    FileRow { path, kind, segment, bytes, checksum: hex(checksum), damage }
}
