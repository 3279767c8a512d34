//! Buckets that come and go in a simulated history.
//!
//! A bucket's name is a register whose value stands in one of its settings: creating needs absence,
//! setting needs presence, deleting needs presence and an empty bucket.

use crate::model::{Guard, Op, Outcome, Register, ValueId};
use crate::sim::join_two;
use crate::sim_client::Client;
use crate::sim_world::{Verdict, World};
use engine::{Bucket, Deletion, Error};
use std::collections::BTreeMap;

/// Names that are created and deleted again and again.
pub const NAMES: [&str; 2] = ["fleeting-1", "fleeting-2"];

/// The setting that holds the value.
const TAG: u16 = 1;

/// The value that a bucket stands for.
pub fn value_of(world: &World, bucket: &Bucket) -> Option<ValueId> {
    let bytes = bucket.settings.get(&TAG).and_then(|value| value.as_slice().try_into().ok());
    if bytes.is_none() {
        world.fail(format!("bucket {} has lost its settings: {bucket:?}", bucket.name));
    }
    bytes.map(ValueId::from_le_bytes)
}

impl World {
    fn bucket<T>(&self, name: &str, use_it: impl FnOnce(&mut Register) -> T) -> T {
        use_it(self.buckets.borrow_mut().entry(name.to_owned()).or_default())
    }

    /// Tells the model what the catalogue says of a name.
    pub fn observe_bucket(&self, name: &str, seen: Option<ValueId>) {
        let result = self.bucket(name, |register| {
            let op = register.begin(Op::Read);
            register.end(op, Outcome::Saw(seen))
        });
        self.check(result, name);
    }

    fn end_bucket(&self, name: &str, op: u64, result: Result<bool, &Error>) {
        let result = match result {
            Ok(existed) => self.bucket(name, |r| r.end(op, Outcome::Done { existed })),
            Err(Error::BucketExists | Error::NoSuchBucket) => {
                self.bucket(name, |r| r.end(op, Outcome::Refused))
            }
            // Somebody is putting a key there right now.
            Err(Error::BucketNotEmpty) => self.bucket(name, |r| r.end_without_effect(op)),
            Err(error) => match self.judge_error(error, name) {
                Verdict::Unknown => return,
                _ => self.bucket(name, |r| r.end_without_effect(op)),
            },
        };
        self.check(result, name);
    }
}

impl Client<'_> {
    pub(crate) async fn work_on_bucket(&self) {
        let name = NAMES[self.world.below(NAMES.len() as u64) as usize];
        if self.world.bucket(name, |register| register.unanswered()) >= 3 {
            return;
        }
        match self.world.below(6) {
            0..2 => self.create_bucket(name).await,
            2 => self.set_bucket(name).await,
            3 => drop(self.delete_bucket(name).await),
            4 => self.race_for_bucket(name).await,
            _ => self.look_at_bucket(name),
        }
    }

    fn look_at_bucket(&self, name: &str) {
        if self.engine().require_catalog().is_err() {
            return;
        }
        let catalog = self.engine().catalog();
        let seen = catalog.bucket(name).and_then(|bucket| value_of(self.world, bucket));
        self.world.observe_bucket(name, seen);
    }

    async fn create_bucket(&self, name: &str) {
        let value = self.world.offer(0);
        let write = Op::Write { guard: Guard::Absent, value: Some(value) };
        let op = self.world.bucket(name, |register| register.begin(write));
        let settings = BTreeMap::from([(TAG, value.to_le_bytes().to_vec())]);
        let created = self.engine().create_bucket(name, settings).await;
        self.world.end_bucket(name, op, created.as_ref().map(|_| false));
    }

    async fn set_bucket(&self, name: &str) {
        let value = self.world.offer(0);
        let write = Op::Write { guard: Guard::Present, value: Some(value) };
        let op = self.world.bucket(name, |register| register.begin(write));
        let bytes = Some(value.to_le_bytes().to_vec());
        let set = self.engine().put_bucket_setting(name, TAG, bytes).await;
        self.world.end_bucket(name, op, set.as_ref().map(|()| true));
    }

    async fn delete_bucket(&self, name: &str) -> Result<(), Error> {
        let write = Op::Write { guard: Guard::Present, value: None };
        let op = self.world.bucket(name, |register| register.begin(write));
        let deleted = self.engine().delete_bucket(name).await;
        self.world.end_bucket(name, op, deleted.as_ref().map(|()| true));
        deleted
    }

    /// A key is put while its bucket is deleted: one of the two must lose.
    async fn race_for_bucket(&self, name: &str) {
        let Some(id) = self.engine().catalog().bucket(name).map(|bucket| bucket.id) else {
            return;
        };
        // A key of its own: several clients may race at once.
        let key = format!("key-{}", self.number);
        let put = async {
            let mut writer = self.engine().writer(id, key.as_bytes(), Some(1)).await?;
            writer.spare()[0] = 1;
            writer.advance(1).await?;
            writer.finish(Default::default()).await.map(drop)
        };
        let (put, deleted): (Result<(), Error>, _) = join_two(put, self.delete_bucket(name)).await;
        match (put, deleted) {
            (Ok(()), Ok(())) => {
                self.world.fail(format!("bucket {name} was deleted with an acknowledged key"));
            }
            (Ok(()), Err(_)) => {
                if let Err(error) =
                    self.engine().delete(id, key.as_bytes(), Deletion::NULL, None).await
                {
                    self.world.judge_error(&error, name);
                }
            }
            (Err(Error::NoSuchBucket), _) => {}
            (Err(error), _) => {
                self.world.judge_error(&error, name);
            }
        }
    }
}
