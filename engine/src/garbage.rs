//! What compaction would gain, and what it has gained.
//!
//! Only whole segments are a gain: what is needed of a victim takes room elsewhere. So nothing is moved
//! unless all that is to be had together makes up a segment; and as that is an estimate, what really
//! comes of it is measured in rounds, and a round that gained nothing is the last one for a while.
//!
//! Pure arithmetic over the table of segments; the moving is `compact`'s work.

use crate::format::segment::Stream;
use crate::segments::{Segment, SegmentTable, Stage};

/// A segment with a smaller share of garbage is not worth reading.
const GARBAGE_SHARE_MIN: f64 = 0.02;
/// So many segments make a round. Each has [`GARBAGE_SHARE_MIN`] at least, so one at least is gained.
const ROUND_SEGMENTS: u64 = 64;
/// After a round without a gain so large a share of a segment must die or be written, as a divisor.
const REST_SHARE: u64 = 4;
/// Until then only segments with so much garbage are worth reading.
const RESTING_SHARE_MIN: f64 = 0.25;

/// What was gained of late.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Round {
    victims: u64,
    /// Of these, those that could be emptied.
    emptied: u64,
    /// Segments that the relocation log took meanwhile.
    taken: u64,
    /// Segments with little garbage are left alone until so many bytes have changed since the start.
    rest_until: u64,
}

impl Round {
    pub(crate) fn note_taken(&mut self) {
        self.taken += 1;
    }

    /// A segment was compacted. `changed_bytes`: what was written, and what died, since the start.
    pub(crate) fn note_victim(&mut self, emptied: bool, changed_bytes: u64, segment_bytes: u64) {
        self.victims += 1;
        self.emptied += u64::from(emptied);
        if self.victims < ROUND_SEGMENTS {
            return;
        }
        let gains = self.emptied > self.taken;
        let rest_until = if gains { 0 } else { changed_bytes + segment_bytes / REST_SHARE };
        *self = Self { rest_until, ..Self::default() };
    }

    pub(crate) fn is_resting(&self, changed_bytes: u64) -> bool {
        changed_bytes < self.rest_until
    }
}

impl SegmentTable {
    /// A group was written to a log segment.
    pub(crate) fn add_written(&mut self, segment: u32, record_bytes: u64, placed_bytes: u64) {
        if let Some(row) = self.segments.get_mut(segment as usize) {
            row.record_bytes += record_bytes;
            row.placed_bytes += placed_bytes;
        }
    }

    /// Of what was written to a log segment, so much is husks.
    pub(crate) fn add_husks(&mut self, segment: u32, bytes: u64) {
        let recycled = self.recycled;
        if let Some(row) = self.segments.get_mut(segment as usize).filter(|_| bytes > 0) {
            row.husk_bytes += bytes;
            row.husk_mark = recycled;
        }
    }

    /// The segment from which most is to be had for the least work: free space times the age of what is
    /// alive, over the cost of reading all and writing what is alive. None if all of them together
    /// would not give a segment. `now`: a version; `room_bytes`: left in the segment that what is moved
    /// goes to; `resting`: little garbage has been found not to be worth it.
    pub(crate) fn best_victim(&self, now: u64, room_bytes: u64, resting: bool) -> Option<u32> {
        let least = if resting { RESTING_SHARE_MIN } else { GARBAGE_SHARE_MIN };
        let mut gain = room_bytes as f64 / self.segment_bytes as f64;
        let mut best = None;
        for (segment, row) in self.iter() {
            let is_kept =
                row.log().is_some_and(|log| log.stage == Stage::Kept && log.end_lsn.is_some());
            let free = if is_kept { self.garbage_share(row) } else { 0.0 };
            if free < least {
                continue;
            }
            gain += free;
            // Its use began so long ago: what was just moved here is not moved again at once.
            let age = now.saturating_sub(row.opened).max(1) as f64;
            let score = free * age / (2.0 - free);
            if best.is_none_or(|(highest, _)| score > highest) {
                best = Some((score, segment));
            }
        }
        best.filter(|_| gain >= 1.0).map(|(_, segment)| segment)
    }

    /// The segment that can be emptied into `room_bytes` most surely: where what is alive takes least. For
    /// when no segment can be had to move things to. What is needed besides may be more than was thought
    /// after a start, so `failures` in a row choose the next ones.
    pub(crate) fn least_victim(&self, room_bytes: u64, failures: u32) -> Option<u32> {
        let is_kept = |row: &Segment| {
            row.log().is_some_and(|log| log.stage == Stage::Kept && log.end_lsn.is_some())
        };
        let mut fitting: Vec<(u64, u32)> = self
            .iter()
            .filter(|(_, row)| is_kept(row) && self.garbage_share(row) >= GARBAGE_SHARE_MIN)
            .map(|(segment, row)| (row.live_bytes + row.growth_bytes + row.husk_bytes, segment))
            .filter(|(needed_bytes, _)| *needed_bytes <= room_bytes)
            .collect();
        fitting.sort_unstable();
        let turn = failures as usize % fitting.len().max(1);
        fitting.get(turn).map(|(_, segment)| *segment)
    }

    /// The share of a log segment that moving what is needed in it would gain. Gaps between records
    /// count where groups were small, not where records are placed so; a sixteenth of a segment may be
    /// lost to either. Husks are needed until so much was recycled that many of them no longer are.
    fn garbage_share(&self, row: &Segment) -> f64 {
        let is_moved = row.log().is_some_and(|log| log.stream == Stream::Relocation);
        let is_dense = is_moved && row.placed_bytes >= self.segment_bytes / 2;
        // What moved records leave free at the end of groups and segments no further move would gain.
        let full = if is_dense { 0 } else { self.segment_bytes - self.segment_bytes / 16 };
        let filled = row.placed_bytes.max(full) as f64;
        let is_fresh = self.recycled < row.husk_mark + (self.log_segments / 8).max(1) as u64;
        let husk_bytes = if is_fresh { row.husk_bytes } else { 0 };
        let needed = row.live_bytes + row.growth_bytes + husk_bytes;
        let placed = needed as f64 * row.placed_bytes as f64 / row.record_bytes.max(1) as f64;
        (1.0 - placed / filled).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segments::{LogUse, Use};

    const SEGMENT: u64 = 1 << 20;
    const FULL: u64 = SEGMENT - SEGMENT / 16;

    /// Sealed segments of both streams, of each the stream and the percentage that is alive.
    fn table(alive: &[(Stream, u64)]) -> SegmentTable {
        let mut table = SegmentTable::new(SEGMENT, 100);
        for &(stream, percent) in alive {
            let segment = table.push(Use::Log(LogUse::new(stream)), true);
            table.seal(segment, 2);
            table.add_written(segment, FULL, FULL);
            table.restore_records(segment, FULL / 100 * percent, u32::from(percent > 0));
        }
        table
    }

    fn check(alive: &[(Stream, u64)], room_bytes: u64, victim: Option<u32>) {
        assert_eq!(
            table(alive).best_victim(1, room_bytes, false),
            victim,
            "{alive:?} {room_bytes}"
        );
    }

    #[test]
    fn nothing_is_moved_unless_all_together_gives_a_segment() {
        let foreground = |percent| (Stream::Foreground, percent);
        let moved = |percent| (Stream::Relocation, percent);
        check(&[], SEGMENT, None);
        check(&[foreground(0)], 0, Some(0));
        check(&[moved(0)], 0, Some(0));
        check(&[foreground(40)], 0, None);
        check(&[foreground(40)], SEGMENT / 2, Some(0));
        check(&[foreground(40), moved(70)], 0, None);
        check(&[foreground(40), moved(50)], 0, Some(0));
        // Too little garbage to be read for it.
        check(&[foreground(100), moved(99)], SEGMENT, None);
        check(&[foreground(10); 3], 0, Some(0));
        // While compaction rests, only what is mostly garbage counts.
        assert_eq!(table(&[foreground(80); 9]).best_victim(1, 0, true), None);
        assert_eq!(table(&[foreground(60); 9]).best_victim(1, 0, true), Some(0));
    }

    /// Reviewed code measured records as they were before: victims full of tiny objects gained nothing.
    #[test]
    fn what_names_a_former_place_takes_room_too() {
        let mut table = table(&[(Stream::Foreground, 0), (Stream::Relocation, 0)]);
        for segment in [0, 1] {
            table.restore_records(segment, FULL / 4 * 3, (FULL / 144) as u32);
        }
        let row = |segment| table.get(segment).map_or(1.0, |row| table.garbage_share(row));
        assert!(row(0) < 0.01, "{}", row(0));
        assert!(row(1) > 0.24, "{}", row(1));
        assert_eq!(table.log_use().1, 2 * (FULL / 4 * 3) + FULL / 144 * 36);
    }

    #[test]
    fn without_a_segment_to_move_to_what_fits_into_the_present_one_is_emptied() {
        let foreground = |percent| (Stream::Foreground, percent);
        let table = table(&[foreground(20), foreground(90), foreground(1), foreground(0)]);
        assert_eq!(table.least_victim(SEGMENT / 16, 0), Some(3));
        assert_eq!(table.least_victim(SEGMENT / 16, 1), Some(2));
        assert_eq!(table.least_victim(SEGMENT / 16, 2), Some(3));
        assert_eq!(table.least_victim(SEGMENT / 4, 2), Some(0));
        assert_eq!(table.least_victim(0, 0), Some(3));
        assert_eq!(super::tests::table(&[foreground(50)]).least_victim(SEGMENT / 4, 0), None);
    }

    #[test]
    fn a_round_without_a_gain_is_followed_by_a_rest() {
        let round = |taken: u64, damaged: u64| {
            let mut round = Round::default();
            (0..taken).for_each(|_| round.note_taken());
            for victim in 0..ROUND_SEGMENTS {
                assert!(!round.is_resting(1000));
                round.note_victim(victim >= damaged, 1000, SEGMENT);
            }
            round
        };
        assert!(!round(ROUND_SEGMENTS - 1, 0).is_resting(1000));
        for fruitless in [round(ROUND_SEGMENTS, 0), round(ROUND_SEGMENTS - 1, 1)] {
            assert!(fruitless.is_resting(1000));
            assert!(!fruitless.is_resting(1000 + SEGMENT / REST_SHARE));
        }
    }
}
