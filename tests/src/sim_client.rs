//! One client of a simulated history: it does random things with objects and tells the model of each
//! answer.

use crate::model::{Guard, Op, Outcome, ValueId};
use crate::sim::{Running, within};
use crate::sim_world::{BUCKETS, KEYS, Place, World, name_of};
use engine::platform::Platform;
use engine::platform::sim::SimPlatform;
use engine::{BucketId, Committed, Engine, Error, ListItem, ListQuery, ObjectReader, ObjectWriter};
use std::time::Duration;

/// Sizes around which the engine changes its ways, with a third as many large ones.
const SIZES: [u64; 12] =
    [0, 1, 100, 4095, 4096, 5000, 20_000, 131_072, 131_073, 200_000, 983_040, 2_500_000];

/// Unanswered operations of a key beyond which a client does not give up on another one: each makes
/// the model think harder.
const GIVEN_UP_MAX: usize = 2;

/// Unanswered operations of a key beyond which no client begins another one there.
const UNANSWERED_MAX: usize = 4;

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

    fn platform(&self) -> &SimPlatform {
        self.running.platform()
    }

    /// Does so many random things, one after another.
    pub async fn run(self, count: u64) {
        for _ in 0..count {
            if self.world.one_in(4) {
                let pause = Duration::from_micros(self.world.below(3000));
                self.platform().sleep(pause).await;
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
    }

    async fn act(&self, place: Place) {
        match self.world.below(100) {
            0..32 => self.put(place).await,
            32..36 => self.abandon(place).await,
            36..46 => self.delete(place).await,
            46..64 => self.get(place).await,
            64..68 => self.lookup(place).await,
            68..75 => self.list(place.0).await,
            75..92 => self.work_on_upload(place).await,
            _ => self.work_on_bucket().await,
        }
    }

    pub fn bucket(&self, place: Place) -> Option<BucketId> {
        let id = self.engine().catalog().bucket(BUCKETS[place.0]).map(|bucket| bucket.id);
        if id.is_none() {
            self.world.fail(format!("bucket {} has vanished", BUCKETS[place.0]));
        }
        id
    }

    pub fn any_size(&self) -> u64 {
        let most = if self.world.one_in(3) { 12 } else { 8 };
        let size = SIZES[self.world.below(most) as usize];
        if self.world.one_in(3) { self.world.below(size + 1) } else { size }
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
        let Some(bucket) = self.bucket(place) else {
            return;
        };
        let id = self.world.offer(self.any_size());
        let guard = self.any_guard(place);
        let before = self.world.version(place);
        let op = self.world.begin(place, Op::Write { guard, value: Some(id) });
        let result = self.store(bucket, place, id, guard).await;
        if let Ok(committed) = &result {
            self.world.acknowledge(place, id, committed.version, before);
        }
        self.world.end_write(place, op, result.as_ref().map(|committed| committed.replaced));
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
        let key = KEYS[place.1].as_bytes();
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
        let id = self.world.offer(self.any_size() + 1);
        let body = self.world.body(id);
        let key = KEYS[place.1].as_bytes();
        let sent = self.world.below(body.len() as u64) as usize;
        let opened = self.engine().writer(bucket, key, Some(body.len() as u64)).await;
        let result = match opened {
            Ok(mut writer) => self.feed(&mut writer, &body[..sent]).await,
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.world.judge_error(&error, &name_of(place));
        }
    }

    async fn delete(&self, place: Place) {
        let Some(bucket) = self.bucket(place) else {
            return;
        };
        let guard = if self.world.one_in(4) { self.any_guard(place) } else { Guard::Always };
        let op = self.world.begin(place, Op::Write { guard, value: None });
        let key = KEYS[place.1].as_bytes();
        let result = self.engine().delete(bucket, key, self.world.condition(guard)).await;
        self.world.end_write(place, op, result.as_ref().map(|deleted| deleted.existed));
    }

    /// Reads an object, or a range of it, or its record alone.
    pub async fn get(&self, place: Place) {
        self.read(place, self.world.below(3)).await;
    }

    /// `how`: 0 all of it, 1 a range, 2 the record. Returns what was there, if that was answered.
    pub async fn read(&self, place: Place, how: u64) -> Option<Option<ValueId>> {
        let bucket = self.bucket(place)?;
        let op = self.world.begin(place, Op::Read);
        let key = KEYS[place.1].as_bytes();
        let opened = match how {
            2 => self.engine().head(bucket, key).await,
            _ => self.engine().open(bucket, key).await,
        };
        let (mut reader, id) = match opened {
            Ok(None) => {
                self.world.end_read(place, op, Ok(None));
                return Some(None);
            }
            Ok(Some(reader)) => {
                let id = self.world.recognise_info(reader.info(), &name_of(place))?;
                self.world.end_read(place, op, Ok(Some(id)));
                (reader, id)
            }
            Err(error) => {
                self.world.end_read(place, op, Err(&error));
                return None;
            }
        };
        if how < 2 {
            self.verify(&mut reader, place, id, how == 1).await;
        }
        Some(Some(id))
    }

    /// Compares what a reader gives with the value's bytes.
    async fn verify(
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
                        let name = name_of(place);
                        self.world.fail(format!("{name}: value {id}: wrong bytes before {end}"));
                        return;
                    }
                    range.start = end;
                }
                Ok(None) if range.is_empty() => return,
                Ok(None) => {
                    let left = range.len();
                    self.world.fail(format!("{}: value {id}: {left} too few", name_of(place)));
                    return;
                }
                Err(error) => {
                    self.world.judge_error(&error, &name_of(place));
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
        let found = self.engine().lookup(bucket, KEYS[place.1].as_bytes()).await;
        let seen = found.map(|current| {
            current.and_then(|current| self.world.recognise(&current, &name_of(place)))
        });
        self.world.end_read(place, op, seen.as_ref().map(|seen| *seen));
    }

    /// Lists a bucket page by page; every key must have been as it is listed at some moment.
    async fn list(&self, bucket: usize) {
        let ops: Vec<_> =
            (0..KEYS.len()).map(|key| self.world.begin((bucket, key), Op::Read)).collect();
        let limit = 1 + self.world.below(KEYS.len() as u64 + 1) as usize;
        let listed = self.list_all(bucket, b"", limit).await;
        for (key, op) in ops.into_iter().enumerate() {
            let place = (bucket, key);
            let Some(items) = &listed else {
                self.world.register(place, |register| register.drop_read(op));
                continue;
            };
            let current = items.iter().find_map(|item| match item {
                ListItem::Key { key: name, current } if name == KEYS[key].as_bytes() => {
                    Some(current)
                }
                _ => None,
            });
            let seen = current.and_then(|c| self.world.recognise(c, &name_of(place)));
            self.world.end(place, op, Outcome::Saw(seen));
        }
    }

    /// All rows of a bucket, read in pages of `limit`; complains of rows out of order.
    pub async fn list_all(
        &self,
        bucket: usize,
        delimiter: &[u8],
        limit: usize,
    ) -> Option<Vec<ListItem>> {
        let id = self.bucket((bucket, 0))?;
        let mut query = ListQuery { delimiter: delimiter.to_vec(), limit, ..ListQuery::default() };
        let mut items: Vec<ListItem> = Vec::new();
        loop {
            let page = match self.engine().list(id, &query).await {
                Ok(page) => page,
                Err(error) => {
                    self.world.judge_error(&error, "list");
                    return None;
                }
            };
            items.extend(page.items);
            let Some(last) = items.last().filter(|_| page.truncated) else {
                break;
            };
            query.after = last.name().to_vec();
        }
        if items.windows(2).any(|pair| pair[0].name() >= pair[1].name()) {
            self.world.fail(format!("a listing is out of order: {items:?}"));
        }
        Some(items)
    }
}
