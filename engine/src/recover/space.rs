//! Which space is taken, once both logs are replayed.
//!
//! The checkpoint's maps hold what was published then. From that, the extents of every record are
//! withdrawn that was displaced since, or displaced before and not dealt with yet; then those of the
//! records since then are marked that are alive at the end. In this order: space given up was given
//! out again.
//!
//! Invariant: a live record whose extents cannot be marked, or that lies where no log is, stops the
//! start: something else was written over them. A displaced record that cannot be read costs its
//! space only.

use super::damaged;
use super::replay::Replay;
use crate::displaced::withdraw;
use crate::error::{Error, Result};
use crate::format::checkpoint::{Displaced, DisplacedRow};
use crate::format::manifest::Extent;
use crate::limits::MANIFEST_READS_IN_FLIGHT;
use crate::platform::Platform;
use crate::read;
use crate::state::State;
use crate::wait::join_all;
use std::collections::HashSet;
use std::rc::Rc;

pub(super) async fn settle_space<P: Platform>(
    replay: &mut Replay<'_, P>,
    before: Vec<DisplacedRow>,
) -> Result<()> {
    for DisplacedRow { kept, gone } in before {
        let kept = Rc::new(kept.into_iter().collect::<HashSet<_>>());
        let gone = gone.into_iter().map(|gone| (gone, kept.clone())).collect::<Vec<_>>();
        withdraw_all(replay, &gone, false).await;
    }
    let nothing = HashSet::new();
    for (manifest, version) in std::mem::take(&mut replay.moved) {
        give_up(&mut replay.state, &manifest, version, &nothing);
    }
    let displaced: Vec<_> = std::mem::take(&mut replay.displaced).into_iter().collect();
    withdraw_all(replay, &displaced, true).await;
    take_extents(replay)?;
    check_places(replay)?;
    replay.state.segments.free_vacant();
    Ok(())
}

/// `whole`: what another record took over is marked as its own later.
async fn withdraw_all<P: Platform>(
    replay: &mut Replay<'_, P>,
    gone: &[(Displaced, Rc<HashSet<u64>>)],
    whole: bool,
) {
    let nothing = HashSet::new();
    for batch in gone.chunks(MANIFEST_READS_IN_FLIGHT) {
        let (context, shard) = (replay.context, replay.shard);
        let reads = batch.iter().map(|(gone, _)| read::manifest(context, shard, *gone));
        for (manifest, (gone, kept)) in join_all(reads).await.into_iter().zip(batch) {
            let still_used = if whole { &nothing } else { &**kept };
            match manifest {
                Ok(manifest) => give_up(&mut replay.state, &manifest, gone.version, still_used),
                Err(error) => {
                    tracing::error!(shard, %error, "the extents of a displaced object are lost");
                    // Given up for good: were it read next time, others might own its units by then.
                    replay.state.displaced.note_lost();
                }
            }
        }
    }
}

fn give_up(
    state: &mut State,
    manifest: &crate::format::manifest::Manifest,
    version: u64,
    kept: &HashSet<u64>,
) {
    for extent in withdraw(&mut state.segments, manifest, version, kept) {
        state.segments.give_back(&extent);
    }
}

/// Marks the space of everything alive that was replayed.
fn take_extents<P: Platform>(replay: &mut Replay<'_, P>) -> Result<()> {
    let all = std::mem::take(&mut replay.extents);
    let state = &mut replay.state;
    // Of what was replayed, which version published what is not known any more. Those that were published
    // late had stamps behind their versions, but none later than now.
    let known = state.segments.iter().map(|(_, row)| row.content_stamp).max().unwrap_or(0);
    let stamp = match all.is_empty() {
        true => known,
        false => known.max(replay.clock.next(&replay.context.platform).0),
    };
    for extent in all.into_values().flatten() {
        // What a displaced part that cannot be read gave up to this record is taken already.
        let shared = state.displaced.has_unreadable();
        if !state.segments.mark_units(&extent, shared) {
            return Err(overwritten(replay, &extent));
        }
        state.segments.publish_units(&extent, stamp);
    }
    state.content_stamp = stamp;
    Ok(())
}

fn overwritten<P: Platform>(replay: &Replay<'_, P>, extent: &Extent) -> Error {
    let Extent { segment, unit, units } = *extent;
    damaged(
        replay.context,
        replay.shard,
        segment,
        format!(
            "an object's bytes should lie in this segment (units {unit} to {}), but it is missing, \
             not used for that, or they are another object's",
            unit + units
        ),
    )
}

/// Every record that the index points to lies in a log.
fn check_places<P: Platform>(replay: &Replay<'_, P>) -> Result<()> {
    for (segment, row) in replay.state.segments.iter() {
        if row.live_records > 0 && row.log().is_none() {
            return Err(damaged(
                replay.context,
                replay.shard,
                segment,
                "records should lie in this segment, and it is used for something else",
            ));
        }
    }
    Ok(())
}
