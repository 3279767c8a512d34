//! The headers of a shard's segment files, and the judgement over them.

use super::{At, Grade, Run, Structure};
use crate::format::checkpoint::LogPosition;
use crate::format::segment::{Header, SegmentHeader};
use crate::limits::SEGMENTS_MAX;
use crate::platform::{BLOCK_BYTES, File, OpenMode, Platform};
use crate::segments::Use;
use crate::state::State;

/// What is said of a file that is not there.
const MISSING: Header = Header::Damaged("the file is missing");

impl<P: Platform> Run<'_, P> {
    /// The headers by segment number. A file that is missing or has a wrong length is reported.
    pub(super) async fn headers(&self, shard: u16) -> Vec<Header> {
        let dir = self.context.layout.shard_dir(shard);
        let paths = match self.context.platform.list_dir(&dir).await {
            Ok(paths) => paths,
            Err(error) => {
                let reason = format!("its directory cannot be listed: {error}");
                self.find_in_shard(shard, Structure::Segment, reason, None);
                Vec::new()
            }
        };
        let mut numbers: Vec<u32> = paths
            .iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
            .filter_map(|path| path.file_stem()?.to_str()?.parse().ok())
            .filter(|number| *number < SEGMENTS_MAX)
            .collect();
        numbers.sort_unstable();
        let mut headers = Vec::with_capacity(numbers.len());
        let last = numbers.last().copied();
        for segment in numbers {
            while headers.len() < segment as usize {
                let place = (shard, headers.len() as u32, 0);
                self.find_in_segment(place, Structure::Segment, "the file is missing", None);
                headers.push(MISSING);
            }
            match self.header(shard, segment).await {
                Ok(Some(header)) => headers.push(header),
                // A creation that was cut short.
                Ok(None) if Some(segment) == last && segment > 0 => {}
                Ok(None) => {
                    let place = (shard, segment, 0);
                    self.find_in_segment(place, Structure::Segment, "the file is too short", None);
                    headers.push(MISSING);
                }
                Err(reason) => {
                    self.find_in_segment((shard, segment, 0), Structure::Segment, reason, None);
                    headers.push(Header::Damaged("it cannot be read"));
                }
            }
        }
        self.count(|counts| counts.segments += headers.len() as u64);
        headers
    }

    /// `None`: the file is too short for a segment, and blank.
    async fn header(&self, shard: u16, segment: u32) -> Result<Option<Header>, String> {
        let path = self.context.layout.segment_path(shard, segment);
        let failed = |error| format!("it cannot be read: {error}");
        let file = self.context.platform.open(&path, OpenMode::READ).await.map_err(failed)?;
        let length = file.len().await.map_err(failed)?;
        if length < BLOCK_BYTES as u64 {
            return Ok(None);
        }
        let block = file.read_at(0, BLOCK_BYTES).await.map_err(failed)?;
        file.close().await.map_err(failed)?;
        let header = SegmentHeader::decode(&block);
        if length != self.context.layout.segment_bytes {
            if header == Header::Blank && length < self.context.layout.segment_bytes {
                return Ok(None);
            }
            return Err(format!("the file is {length} bytes long"));
        }
        Ok(Some(header))
    }

    /// Where nothing lies, a header that cannot be read is a doubt only.
    pub(super) fn judge_headers(
        &self,
        shard: u16,
        headers: &[Header],
        state: &State,
        ends: Option<&(LogPosition, Option<LogPosition>)>,
    ) {
        let is_exact = ends.is_some();
        // Where a log goes on next: a start opens the segment, once more if need be.
        let is_next = |segment: u32| {
            let at = ends.map(|(foreground, relocation)| [Some(foreground), relocation.as_ref()]);
            at.into_iter()
                .flatten()
                .flatten()
                .any(|at| at.segment == segment && at.offset == BLOCK_BYTES as u64)
        };
        for (header, segment) in headers.iter().zip(0..) {
            let used = state.segments.get(segment).map(|row| row.used());
            let is_used = matches!(used, Some(Use::Log(_) | Use::Slab(_))) && !is_next(segment);
            let is_free = is_exact && !is_used;
            let reason = match header {
                Header::Damaged(_) if *header == MISSING => continue,
                Header::Damaged(reason) => (*reason).to_owned(),
                Header::Blank if is_free || !is_exact => continue,
                Header::Blank => "it is blank".to_owned(),
                Header::Valid(header) => match self.contradiction(shard, segment, header) {
                    Some(reason) => reason.to_owned(),
                    None => continue,
                },
            };
            let path = self.context.layout.segment_path(shard, segment);
            let structure = Structure::Segment;
            let at = At { shard: Some(shard), structure, path: &path, offset: Some(0) };
            let grade = if is_free { Grade::Doubt } else { Grade::Damage };
            self.find(grade, at, format!("its header does not verify: {reason}"), None);
        }
    }

    fn contradiction(
        &self,
        shard: u16,
        segment: u32,
        header: &SegmentHeader,
    ) -> Option<&'static str> {
        let layout = &self.context.layout;
        if header.store_uuid != layout.store_uuid {
            return Some("it is another store's");
        }
        let named = (header.shard, header.segment, header.segment_bytes);
        (named != (shard, segment, layout.segment_bytes)).then_some("it names another segment")
    }
}
