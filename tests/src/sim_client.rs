//! One client of a simulated history: it does random things with objects and tells the model of each
//! answer.

use crate::model::{Guard, Op, ValueId};
use crate::sim::{Running, join_all, join_two, within};
use crate::sim_shape::Form;
use crate::sim_world::{BUCKETS, Place, World};
use engine::platform::Platform;
use engine::platform::sim::SimPlatform;
use engine::{BucketId, Committed, Deletion, Engine, Error, ObjectReader, ObjectWriter, Which};
use std::ops::Range;
use std::time::Duration;

/// Unanswered operations of a key beyond which a client does not give up on another one: each makes
/// the model think harder.
const GIVEN_UP_MAX: usize = 2;

/// Unanswered operations of a key beyond which no client begins another one there.
const UNANSWERED_MAX: usize = 4;

/// Readers that a client holds open.
const HELD_MAX: usize = 3;

/// Writes that a client has under way when it fills a store.
const PUTS_AT_ONCE: usize = 8;

/// An object that was opened to be read later.
#[derive(Debug)]
struct Held {
    reader: ObjectReader<SimPlatform>,
    place: Place,
    id: ValueId,
}

#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    pub world: &'a World,
    pub running: &'a Running,
    pub number: usize,
}

impl Client<'_> {
    pub fn engine(&self) -> &Engine<SimPlatform> {
        self.running.engine(self.number)
    }

    pub(crate) fn platform(&self) -> &SimPlatform {
        self.running.platform()
    }

    /// Does so many random things, one after another.
    pub async fn run(self, count: u64) {
        let mut held = Vec::new();
        for _ in 0..count {
            if self.world.one_in(4) {
                let pause = Duration::from_micros(self.world.below(3000));
                self.platform().sleep(pause).await;
            }
            if self.world.one_in(12) {
                self.hold_or_use(&mut held).await;
            }
            let place = self.world.any_place();
            let unanswered = self.world.register(place, |register| register.unanswered());
            // The model thinks exponentially long about what has no answer, and a shard that takes no
            // writes any more leaves every one of them so.
            if unanswered >= UNANSWERED_MAX {
                self.platform().sleep(Duration::from_millis(1)).await;
                continue;
            }
            if self.world.one_in(12) && unanswered < GIVEN_UP_MAX {
                let patience = Duration::from_micros(self.world.below(2000));
                within(self.platform(), patience, self.act(place)).await;
            } else {
                self.act(place).await;
            }
        }
        for reader in held {
            self.finish(reader).await;
        }
    }

    /// Puts a new value into each of some keys, many at once.
    pub async fn fill(self, keys: Range<usize>) {
        for bucket in 0..BUCKETS.len() {
            let keys: Vec<usize> = keys.clone().collect();
            for some in keys.chunks(PUTS_AT_ONCE) {
                join_all(some.iter().map(|key| self.put((bucket, *key)))).await;
            }
        }
    }

    /// Opens an object to read it much later, whatever happens to its key meanwhile; or reads one
    /// that was opened so.
    async fn hold_or_use(&self, held: &mut Vec<Held>) {
        if held.len() < HELD_MAX && self.world.one_in(2) {
            let place = self.world.any_place();
            if let Some(Some((reader, id))) = self.open(place, false).await {
                held.push(Held { reader, place, id });
            }
        } else if !held.is_empty() {
            let index = self.world.below(held.len() as u64) as usize;
            self.finish(held.swap_remove(index)).await;
        }
    }

    async fn finish(&self, mut held: Held) {
        self.verify(&mut held.reader, held.place, held.id, self.world.one_in(3)).await;
    }

    async fn act(&self, place: Place) {
        if self.world.with_versions.get() && self.world.one_in(2) {
            self.world.doing.borrow_mut().insert(self.number, ("versions", place));
            self.work_on_versions().await;
            self.world.doing.borrow_mut().remove(&self.number);
            return;
        }
        let puts_most = self.world.shape.form == Form::Tight && self.world.one_in(2);
        let chance = if puts_most { 0 } else { self.world.below(100) };
        let what = match chance {
            0..32 => "put",
            32..36 => "abandon",
            36..46 => "delete",
            46..64 => "get",
            64..68 => "lookup",
            68..75 => "list",
            75..92 => "upload",
            _ => "bucket",
        };
        self.world.doing.borrow_mut().insert(self.number, (what, place));
        match what {
            "put" if self.world.one_in(3) => self.put_and_look(place).await,
            "put" => self.put(place).await,
            "abandon" => self.abandon(place).await,
            "delete" => self.delete(place).await,
            "get" => self.get(place).await,
            "lookup" => self.lookup(place).await,
            "list" => self.list(place.0).await,
            "upload" => self.work_on_upload(place).await,
            _ => self.work_on_bucket().await,
        }
        self.world.doing.borrow_mut().remove(&self.number);
    }

    pub fn bucket(&self, place: Place) -> Option<BucketId> {
        let id = self.engine().catalog().bucket(BUCKETS[place.0]).map(|bucket| bucket.id);
        if id.is_none() {
            self.world.fail(format!("bucket {} has vanished", BUCKETS[place.0]));
        }
        id
    }

    /// A condition that may or may not hold.
    pub fn any_guard(&self, place: Place) -> Guard {
        let possible: Vec<ValueId> =
            self.world.register(place, |r| r.possible()).into_iter().flatten().collect();
        match self.world.below(10) {
            0..6 => Guard::Always,
            6..8 => Guard::Absent,
            8 if !possible.is_empty() => {
                Guard::Equals(possible[self.world.below(possible.len() as u64) as usize])
            }
            _ => Guard::Present,
        }
    }

    async fn put(&self, place: Place) {
        self.put_sized(place, self.any_guard(place), self.world.any_size()).await;
    }

    /// Puts a new value and looks at the key meanwhile: what is seen is there for good.
    async fn put_and_look(&self, place: Place) {
        let look = async {
            for _ in 0..4 {
                let pause = Duration::from_micros(20 + self.world.below(150));
                self.platform().sleep(pause).await;
                self.lookup(place).await;
            }
        };
        join_two(self.put(place), look).await;
    }

    /// Puts a new value of so many bytes; what the engine answered, if the bucket is there.
    pub(crate) async fn put_sized(
        &self,
        place: Place,
        guard: Guard,
        size: u64,
    ) -> Option<Result<Committed, Error>> {
        let bucket = self.bucket(place)?;
        let id = self.world.offer(size);
        let before = self.world.version(place);
        let op = self.world.begin(place, Op::Write { guard, value: Some(id) });
        let result = self.store(bucket, place, id, guard).await;
        if let Ok(committed) = &result {
            self.world.acknowledge(place, id, committed.version, before);
        }
        self.world.end_write(place, op, result.as_ref().map(|committed| committed.replaced));
        Some(result)
    }

    async fn store(
        &self,
        bucket: BucketId,
        place: Place,
        id: ValueId,
        guard: Guard,
    ) -> Result<Committed, Error> {
        let body = self.world.body(id);
        let announced = (!self.world.one_in(4)).then_some(body.len() as u64);
        let key = self.world.key(place);
        let mut writer = self.engine().writer(bucket, key, announced).await?;
        self.feed(&mut writer, &body).await?;
        writer.finish(self.world.commit(id, guard)).await
    }

    /// Fills a writer, with pauses as a network has them.
    pub async fn feed(
        &self,
        writer: &mut ObjectWriter<SimPlatform>,
        mut body: &[u8],
    ) -> Result<(), Error> {
        let slow = self.world.one_in(4);
        while !body.is_empty() {
            let spare = writer.spare();
            let most = if slow { spare.len().min(100_000) } else { spare.len() };
            let count = body.len().min(most);
            spare[..count].copy_from_slice(&body[..count]);
            writer.advance(count).await?;
            body = &body[count..];
            if slow {
                self.platform().sleep(Duration::from_micros(self.world.below(300))).await;
            }
        }
        Ok(())
    }

    /// Sends a part of a body and goes away: no model hears of it, so it must never be seen.
    async fn abandon(&self, place: Place) {
        let Some(bucket) = self.bucket(place) else {
            return;
        };
        let id = self.world.offer(self.world.any_size() + 1);
        let body = self.world.body(id);
        let key = self.world.key(place);
        let sent = self.world.below(body.len() as u64) as usize;
        let opened = self.engine().writer(bucket, key, Some(body.len() as u64)).await;
        let result = match opened {
            Ok(mut writer) => self.feed(&mut writer, &body[..sent]).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.world.judge_error(&error, &self.world.name(place));
        }
    }

    async fn delete(&self, place: Place) {
        let Some(bucket) = self.bucket(place) else {
            return;
        };
        let guard = if self.world.one_in(4) { self.any_guard(place) } else { Guard::Always };
        let op = self.world.begin(place, Op::Write { guard, value: None });
        let key = self.world.key(place);
        let result =
            self.engine().delete(bucket, key, Deletion::NULL, self.world.condition(guard)).await;
        self.world.end_write(place, op, result.as_ref().map(|deleted| deleted.existed));
    }

    /// Reads an object, or a range of it, or its record alone.
    pub async fn get(&self, place: Place) {
        self.read(place, self.world.below(3)).await;
    }

    /// `how`: 0 all of it, 1 a range, 2 the record. Returns what was there, if that was answered.
    pub async fn read(&self, place: Place, how: u64) -> Option<Option<ValueId>> {
        let Some((mut reader, id)) = self.open(place, how == 2).await? else {
            return Some(None);
        };
        if how < 2 {
            self.verify(&mut reader, place, id, how == 1).await;
        }
        Some(Some(id))
    }

    /// Opens an object, tells the model what it is, and returns it, if that was answered.
    async fn open(
        &self,
        place: Place,
        record_only: bool,
    ) -> Option<Option<(ObjectReader<SimPlatform>, ValueId)>> {
        let bucket = self.bucket(place)?;
        let op = self.world.begin(place, Op::Read);
        let key = self.world.key(place);
        let opened = match record_only {
            true => self.engine().head(bucket, key, Which::Latest).await,
            false => self.engine().open(bucket, key, Which::Latest).await,
        };
        match opened {
            Ok(None) => {
                self.world.end_read(place, op, Ok(None));
                Some(None)
            }
            Ok(Some(reader)) => {
                let id = self.world.recognise_info(reader.info(), &self.world.name(place))?;
                self.world.end_read(place, op, Ok(Some(id)));
                Some(Some((reader, id)))
            }
            Err(error) => {
                self.world.end_read(place, op, Err(&error));
                None
            }
        }
    }

    /// Compares what a reader gives with the value's bytes.
    pub(crate) async fn verify(
        &self,
        reader: &mut ObjectReader<SimPlatform>,
        place: Place,
        id: ValueId,
        partly: bool,
    ) {
        let body = self.world.body(id);
        let mut range = 0..body.len();
        if partly {
            let start = self.world.below(body.len() as u64 + 1);
            let end = start + self.world.below(body.len() as u64 - start + 1);
            reader.select(start..end);
            range = start as usize..end as usize;
        }
        loop {
            match reader.next().await {
                Ok(Some(chunk)) => {
                    let bytes = chunk.as_ref();
                    let end = range.start + bytes.len();
                    if end > range.end || body[range.start..end] != *bytes {
                        let name = self.world.name(place);
                        self.world.fail(format!("{name}: value {id}: wrong bytes before {end}"));
                        return;
                    }
                    range.start = end;
                }
                Ok(None) if range.is_empty() => return,
                Ok(None) => {
                    let left = range.len();
                    self.world
                        .fail(format!("{}: value {id}: {left} too few", self.world.name(place)));
                    return;
                }
                Err(error) => {
                    self.world.judge_error(&error, &self.world.name(place));
                    return;
                }
            }
        }
    }

    async fn lookup(&self, place: Place) {
        let Some(bucket) = self.bucket(place) else {
            return;
        };
        let op = self.world.begin(place, Op::Read);
        let found = self.engine().lookup(bucket, self.world.key(place), Which::Latest).await;
        let seen = found.map(|current| {
            current.and_then(|current| self.world.recognise(&current, &self.world.name(place)))
        });
        self.world.end_read(place, op, seen.as_ref().map(|seen| *seen));
    }
}
