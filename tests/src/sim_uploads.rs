//! Multipart uploads in a simulated history: what a client does with them, and what is known of each.
//!
//! One client at a time works on an upload, so a list of facts serves as its model: a part that was
//! acknowledged stands unless a later one replaced it; one without an answer may stand. Completion
//! and end of the upload are one change: the audit holds the key's model to it.

use crate::model::{Guard, Op, OpId, ValueId};
use crate::sim::join_all;
use crate::sim_client::Client;
use crate::sim_world::{Place, World};
use engine::{CompletePart, Error, UploadId, UploadedPart, Version};
use std::collections::BTreeMap;

/// Part numbers that clients use.
const NUMBERS: [u16; 4] = [1, 2, 7, 10_000];

/// Uploads that one history has open at once, about.
const UPLOADS_MAX: usize = 5;

#[derive(Debug)]
pub struct Upload {
    pub place: Place,
    /// `None` while nobody was told.
    pub id: Option<UploadId>,
    /// Whose attributes were stored with the upload: it tells uploads apart.
    pub mark: ValueId,
    pub stage: Stage,
    pub parts: BTreeMap<u16, Part>,
    /// A client works on it.
    busy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Whether it began is not known.
    Beginning,
    Open,
    /// It may have ended: by this completion, or by an abort.
    Ending(Option<OpId>),
    Ended,
}

/// What is known of one part of an upload.
#[derive(Debug, Default)]
pub struct Part {
    /// The latest that was acknowledged.
    pub winner: Option<(Version, ValueId)>,
    /// Without an answer: may stand, or not.
    pub unknown: Vec<ValueId>,
}

impl Part {
    fn acknowledged(&mut self, version: Version, id: ValueId) {
        self.unknown.retain(|unknown| *unknown != id);
        self.winner = self.winner.max(Some((version, id)));
    }
}

impl Upload {
    /// The machine stopped: nobody works on it any more.
    pub fn stop(&mut self) {
        self.busy = false;
    }

    /// Compares what the engine lists with what is known, and learns from it.
    pub fn judge_parts(&mut self, world: &World, listed: &[UploadedPart]) {
        let what = format!("upload {:?} of {}", self.id, world.name(self.place));
        for part in listed {
            let Some(id) = world.recognise(&part.current, &what) else {
                continue;
            };
            let known = self.parts.entry(part.number).or_default();
            let admissible =
                known.winner.is_some_and(|(_, winner)| winner == id) || known.unknown.contains(&id);
            if !admissible || part.attributes != world.attributes(id) {
                world.fail(format!("{what}: part {} is {id}, known is {known:?}", part.number));
            }
            known.winner = Some((part.current.version, id));
            known.unknown.clear();
        }
        for (number, known) in &mut self.parts {
            if listed.iter().all(|part| part.number != *number) {
                if known.winner.is_some() {
                    world.fail(format!("{what}: part {number} is gone, known is {known:?}"));
                }
                known.unknown.clear();
            }
        }
    }
}

impl Client<'_> {
    /// Does one thing with some upload that nobody works on, or begins one.
    pub(crate) async fn work_on_upload(&self, place: Place) {
        let chosen = {
            let mut uploads = self.world.uploads.borrow_mut();
            let idle: Vec<usize> = (0..uploads.len())
                .filter(|index| !uploads[*index].busy && uploads[*index].stage == Stage::Open)
                .collect();
            let begin = idle.is_empty() || (idle.len() < UPLOADS_MAX && self.world.one_in(4));
            let chosen = idle.get(self.world.below(idle.len().max(1) as u64) as usize).copied();
            let chosen = chosen.filter(|_| !begin);
            if let Some(index) = chosen {
                uploads[index].busy = true;
            }
            chosen
        };
        let Some(index) = chosen else {
            return self.begin_upload(place).await;
        };
        match self.world.below(10) {
            0..6 => self.put_parts(index).await,
            6 => self.list_upload(index).await,
            7..9 => self.complete_upload(index).await,
            _ => self.abort_upload(index).await,
        }
        // Who gave up midway leaves it busy: what it asked for may still come.
        self.with(index, |upload| upload.busy = false);
    }

    fn with<T>(&self, index: usize, use_it: impl FnOnce(&mut Upload) -> T) -> T {
        use_it(&mut self.world.uploads.borrow_mut()[index])
    }

    async fn begin_upload(&self, place: Place) {
        let Some(bucket) = self.bucket(place) else {
            return;
        };
        let mark = self.world.offer(0);
        let index = {
            let mut uploads = self.world.uploads.borrow_mut();
            let parts = BTreeMap::new();
            let stage = Stage::Beginning;
            uploads.push(Upload { place, id: None, mark, stage, parts, busy: true });
            uploads.len() - 1
        };
        let key = self.world.key(place);
        let begun = self.engine().create_upload(bucket, key, self.world.attributes(mark)).await;
        match begun {
            Ok(id) => self.with(index, |upload| {
                upload.id = Some(id);
                upload.stage = Stage::Open;
                upload.busy = false;
            }),
            Err(error) => {
                self.world.judge_error(&error, "begin an upload");
            }
        }
    }

    /// Uploads one part, or two of the same number at once.
    async fn put_parts(&self, index: usize) {
        let number = NUMBERS[self.world.below(NUMBERS.len() as u64) as usize];
        let count = if self.world.one_in(4) { 2 } else { 1 };
        join_all((0..count).map(|_| self.put_part(index, number))).await;
    }

    async fn put_part(&self, index: usize, number: u16) {
        let (place, upload) = self.with(index, |upload| (upload.place, upload.id));
        let (Some(bucket), Some(upload)) = (self.bucket(place), upload) else {
            return;
        };
        let id = self.world.offer(self.world.any_size());
        self.with(index, |u| u.parts.entry(number).or_default().unknown.push(id));
        let body = self.world.body(id);
        let key = self.world.key(place);
        let result = async {
            let announced = (!self.world.one_in(4)).then_some(body.len() as u64);
            let opened = self.engine().part_writer(bucket, key, upload, number, announced);
            let mut writer = opened.await?;
            self.feed(&mut writer, &body).await?;
            writer.finish(self.world.commit(id, Guard::Always)).await
        };
        match result.await {
            Ok(committed) => self.with(index, |upload| {
                upload.parts.entry(number).or_default().acknowledged(committed.version, id);
            }),
            Err(error) => {
                self.world.judge_error(&error, "a part");
            }
        }
    }

    async fn list_upload(&self, index: usize) {
        let (place, id) = self.with(index, |upload| (upload.place, upload.id));
        let (Some(bucket), Some(id)) = (self.bucket(place), id) else {
            return;
        };
        let key = self.world.key(place);
        match self.engine().list_parts(bucket, key, id, 0, 1000).await {
            Ok(page) => {
                let unsure = self.with(index, |upload| {
                    upload.parts.values().any(|part| !part.unknown.is_empty())
                });
                // A part without an answer may still come; only a stop makes it final.
                if !unsure {
                    self.with(index, |upload| upload.judge_parts(self.world, &page.parts));
                }
            }
            Err(error) => {
                self.world.judge_error(&error, "list the parts");
            }
        }
    }

    /// Completes with all or some of the parts; sometimes names one that was replaced.
    async fn complete_upload(&self, index: usize) {
        let (place, id) = self.with(index, |upload| (upload.place, upload.id));
        let chosen: Vec<(u16, Version, ValueId)> = self.with(index, |upload| {
            let known = upload.parts.iter().filter(|(_, part)| part.unknown.is_empty());
            let known = known.filter_map(|(number, part)| {
                part.winner.map(|(version, value)| (*number, version, value))
            });
            known.filter(|_| !self.world.one_in(4)).collect()
        });
        let (Some(bucket), Some(id)) = (self.bucket(place), id) else {
            return;
        };
        if chosen.is_empty() {
            return;
        }
        let mut named: Vec<_> = chosen
            .iter()
            .map(|(number, version, _)| CompletePart { number: *number, version: *version })
            .collect();
        let key = self.world.key(place);
        if self.world.one_in(6) {
            named[0].version.0 -= 1;
            let wrong =
                self.engine().complete_upload(bucket, key, id, named, Default::default()).await;
            if !matches!(&wrong, Err(Error::InvalidPart(number)) if *number == chosen[0].0) {
                let latched = matches!(
                    wrong,
                    Err(Error::ReadOnly { .. } | Error::Offline { .. } | Error::OutOfSpace)
                );
                if !latched {
                    self.world.fail(format!("a part that is not there was joined: {wrong:?}"));
                }
            }
            return;
        }
        let parts: Vec<_> = chosen.iter().map(|(number, _, value)| (*number, *value)).collect();
        let size = parts.iter().filter_map(|(_, part)| self.world.value(*part)).map(|v| v.size);
        let value = self.world.offer_parts(size.sum(), parts);
        let guard = self.any_guard(place);
        let before = self.world.version(place);
        let op = self.world.begin(place, Op::Write { guard, value: Some(value) });
        self.with(index, |upload| upload.stage = Stage::Ending(Some(op)));
        let commit = self.world.commit(value, guard);
        let result = self.engine().complete_upload(bucket, key, id, named, commit).await;
        let stage = match &result {
            Ok(committed) => {
                self.world.acknowledge(place, value, committed.version, before);
                Stage::Ended
            }
            Err(Error::Condition(_) | Error::Busy | Error::OutOfSpace | Error::Offline { .. }) => {
                Stage::Open
            }
            Err(_) => Stage::Ending(Some(op)),
        };
        self.with(index, |upload| upload.stage = stage);
        self.world.end_write(place, op, result.as_ref().map(|committed| committed.replaced));
    }

    async fn abort_upload(&self, index: usize) {
        let (place, id) = self.with(index, |upload| (upload.place, upload.id));
        let (Some(bucket), Some(id)) = (self.bucket(place), id) else {
            return;
        };
        self.with(index, |upload| upload.stage = Stage::Ending(None));
        let key = self.world.key(place);
        let stage = match self.engine().abort_upload(bucket, key, id).await {
            Ok(()) => {
                let again = self.engine().upload(bucket, key, id).await;
                if !matches!(again, Err(Error::NoSuchUpload | Error::Offline { .. })) {
                    self.world.fail(format!("an aborted upload is still there: {again:?}"));
                }
                Stage::Ended
            }
            Err(error) => {
                self.world.judge_error(&error, "abort an upload");
                match error {
                    Error::OutOfSpace | Error::Offline { .. } => Stage::Open,
                    _ => Stage::Ending(None),
                }
            }
        };
        self.with(index, |upload| upload.stage = stage);
    }
}
