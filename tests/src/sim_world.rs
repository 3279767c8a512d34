//! What a simulated history knows: every value ever offered, the model of every key, and what was
//! found wrong.
//!
//! Invariants: a value is offered once, and its bytes, ETag, label and attributes follow from its
//! name, so that a reader can tell which value it was given and whether it is whole.

use crate::model::{Guard, Op, OpId, Outcome, Register, ValueId};
use crate::model_versions::Versions;
use crate::sim::{Random, mix};
use crate::sim_shape::Shape;
use crate::sim_uploads::{Stage, Upload};
use engine::{
    Commit, Condition, ConditionFailure, Current, EngineMetrics, Error, Etag, ObjectInfo, Version,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

/// Buckets that live as long as the history.
pub const BUCKETS: [&str; 2] = ["alpha", "beta"];

/// So many keys of a bucket are used most.
const HOT_KEYS: usize = 7;

/// A bucket and a key, by number.
pub type Place = (usize, usize);

/// One value that was offered for a key or a part.
#[derive(Debug, Clone)]
pub struct Value {
    pub size: u64,
    /// Number and value of each part, if it is made of parts.
    pub parts: Vec<(u16, ValueId)>,
    attributes_bytes: usize,
    version: Option<Version>,
}

/// What may go wrong in a history without being wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tolerance {
    /// The store is small: refusals for want of space are in order.
    pub scarce: bool,
    /// I/O errors were planned.
    pub faults: bool,
    /// The medium was damaged: reads may say so.
    pub damage: bool,
}

/// What an error says of the effect of the write that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Refused,
    NoEffect,
    Unknown,
}

#[derive(Debug)]
pub struct World {
    random: RefCell<Random>,
    pub shape: Shape,
    /// The keys of each bucket.
    keys: Vec<Vec<u8>>,
    /// What bodies are made of.
    pattern: Vec<u64>,
    pub tolerance: Cell<Tolerance>,
    values: RefCell<BTreeMap<ValueId, Value>>,
    next_value: Cell<ValueId>,
    objects: RefCell<BTreeMap<Place, Object>>,
    /// Buckets that come and go, by name; a value is what a setting holds.
    pub buckets: RefCell<BTreeMap<String, Register>>,
    pub uploads: RefCell<Vec<Upload>>,
    /// Clients also work on keys with versions, whose models these are, by number of the key.
    pub with_versions: Cell<bool>,
    pub versions: RefCell<BTreeMap<usize, Register<Versions>>>,
    violations: RefCell<Vec<String>>,
    /// Operations that were answered.
    pub answered: Cell<u64>,
    /// Reads were made to fail: a displaced object whose manifest could not be read at a start has cost its
    /// space.
    pub reads_failed: Cell<bool>,
    /// What the engine counted, as far as it was asked.
    pub figures: Cell<EngineMetrics>,
    /// What each client does, for a report.
    pub doing: RefCell<BTreeMap<usize, (&'static str, Place)>>,
    /// What goes on, for a report.
    pub phase: Cell<&'static str>,
}

#[derive(Debug, Default)]
struct Object {
    register: Register,
    /// The latest version that was acknowledged.
    version: Option<Version>,
}

impl World {
    pub fn new(seed: u64, shape: Shape) -> Self {
        let tolerance = Tolerance { scarce: shape.scarce, ..Tolerance::default() };
        Self {
            random: RefCell::new(Random::new(seed)),
            keys: shape.key_names(),
            pattern: (0..512).map(mix).collect(),
            shape,
            tolerance: Cell::new(tolerance),
            values: RefCell::default(),
            next_value: Cell::new(1),
            objects: RefCell::default(),
            buckets: RefCell::default(),
            uploads: RefCell::default(),
            with_versions: Cell::new(false),
            versions: RefCell::default(),
            violations: RefCell::default(),
            answered: Cell::new(0),
            reads_failed: Cell::new(false),
            figures: Cell::default(),
            doing: RefCell::default(),
            phase: Cell::new("nothing"),
        }
    }

    // --- Chance --------------------------------------------------------------------------------

    pub fn below(&self, bound: u64) -> u64 {
        self.random.borrow_mut().below(bound)
    }

    pub fn one_in(&self, count: u64) -> bool {
        self.random.borrow_mut().one_in(count)
    }

    /// A key to do something with: half of the time one of a few, so that clients meet.
    pub fn any_place(&self) -> Place {
        let keys = if self.one_in(2) { HOT_KEYS.min(self.keys.len()) } else { self.keys.len() };
        (self.below(BUCKETS.len() as u64) as usize, self.below(keys as u64) as usize)
    }

    pub fn any_size(&self) -> u64 {
        self.shape.any_size(&mut self.random.borrow_mut())
    }

    // --- Keys ----------------------------------------------------------------------------------

    pub fn keys(&self) -> &[Vec<u8>] {
        &self.keys
    }

    pub fn key(&self, place: Place) -> &[u8] {
        &self.keys[place.1]
    }

    /// How a report calls a key.
    pub fn name(&self, place: Place) -> String {
        let key = String::from_utf8_lossy(self.key(place));
        format!("{}/{}", BUCKETS[place.0], key.get(..40).unwrap_or(&key))
    }

    // --- Verdicts ------------------------------------------------------------------------------

    pub fn fail(&self, message: impl Into<String>) {
        self.violations.borrow_mut().push(message.into());
    }

    pub fn check(&self, result: Result<(), String>, what: &str) {
        if let Err(message) = result {
            self.fail(format!("{what}: {message}"));
        }
    }

    pub fn violations(&self) -> Vec<String> {
        self.violations.borrow().clone()
    }

    /// What an error says of the write that it answers; complains if it should not have come.
    pub fn judge_error(&self, error: &Error, what: &str) -> Verdict {
        let Tolerance { scarce, faults, damage } = self.tolerance.get();
        let (verdict, allowed) = match error {
            Error::Condition(_) => (Verdict::Refused, true),
            Error::Busy => (Verdict::NoEffect, true),
            Error::OutOfSpace => (Verdict::NoEffect, scarce || faults),
            Error::Offline { .. } => (Verdict::NoEffect, faults),
            // The engine has looked, and has found that a write did not come to the medium.
            Error::ReadOnly { cause, .. } if cause.contains("it is not what was written") => {
                (Verdict::Unknown, faults || damage)
            }
            Error::ReadOnly { .. } | Error::Io { .. } => (Verdict::Unknown, faults),
            Error::Corrupt(_) => (Verdict::Unknown, damage),
            _ => (Verdict::Unknown, false),
        };
        if !allowed {
            self.fail(format!("{what}: an error that nothing explains: {error}"));
        }
        verdict
    }

    // --- Values --------------------------------------------------------------------------------

    /// A new value of `size` bytes.
    pub fn offer(&self, size: u64) -> ValueId {
        self.offer_parts(size, Vec::new())
    }

    pub fn offer_parts(&self, size: u64, parts: Vec<(u16, ValueId)>) -> ValueId {
        let id = self.next_value.replace(self.next_value.get() + 1);
        let attributes_bytes = if self.one_in(16) { 20_000 } else { self.below(60) as usize };
        let value = Value { size, parts, attributes_bytes, version: None };
        self.values.borrow_mut().insert(id, value);
        id
    }

    pub fn value(&self, id: ValueId) -> Option<Value> {
        self.values.borrow().get(&id).cloned()
    }

    /// The bytes of a value.
    pub fn body(&self, id: ValueId) -> Vec<u8> {
        let Some(value) = self.value(id) else {
            return Vec::new();
        };
        if !value.parts.is_empty() {
            return value.parts.iter().flat_map(|(_, part)| self.body(*part)).collect();
        }
        let size = value.size as usize;
        let mut bytes = vec![0; size.next_multiple_of(8 * self.pattern.len())];
        for (number, block) in (id << 32..).zip(bytes.chunks_exact_mut(8 * self.pattern.len())) {
            let word = mix(number);
            for (to, from) in block.chunks_exact_mut(8).zip(&self.pattern) {
                to.copy_from_slice(&(from ^ word).to_le_bytes());
            }
        }
        bytes.truncate(size);
        bytes
    }

    pub fn attributes(&self, id: ValueId) -> Vec<u8> {
        let count = self.value(id).map_or(0, |value| value.attributes_bytes);
        let mut bytes = id.to_le_bytes().to_vec();
        bytes.resize(8 + count, id as u8);
        bytes
    }

    pub fn etag(&self, id: ValueId) -> Etag {
        let mut md5 = [0; 16];
        md5[..8].copy_from_slice(&id.to_le_bytes());
        md5[8..].copy_from_slice(&mix(id).to_le_bytes());
        Etag { md5, parts: self.value(id).map_or(0, |value| value.parts.len() as u16) }
    }

    /// What makes a value visible under a condition.
    pub fn commit(&self, id: ValueId, guard: Guard) -> Commit {
        let condition = self.condition(guard);
        let (etag, attributes) = (self.etag(id), self.attributes(id));
        Commit { etag, label: id as u8, attributes, condition, ..Commit::default() }
    }

    pub fn condition(&self, guard: Guard) -> Option<Condition> {
        let wanted = match guard {
            Guard::Always => return None,
            Guard::Equals(id) => Some(self.etag(id)),
            Guard::Absent | Guard::Present => None,
        };
        Some(Box::new(move |current| {
            let holds = match guard {
                Guard::Always => true,
                Guard::Absent => current.is_none(),
                Guard::Present => current.is_some(),
                Guard::Equals(_) => current.map(|current| current.etag) == wanted,
            };
            if holds { Ok(()) } else { Err(ConditionFailure::PreconditionFailed) }
        }))
    }

    /// Which value an index entry stands for; complains if it is none, or not as it was offered.
    pub fn recognise(&self, current: &Current, what: &str) -> Option<ValueId> {
        let mut id = [0; 8];
        id.copy_from_slice(&current.etag.md5[..8]);
        let id = ValueId::from_le_bytes(id);
        let Some(value) = self.value(id) else {
            self.fail(format!("{what}: a value that was never offered: {current:?}"));
            return None;
        };
        let as_offered = current.etag == self.etag(id)
            && current.size == value.size
            && current.label == id as u8
            && value.version.is_none_or(|version| version == current.version);
        if !as_offered {
            self.fail(format!("{what}: value {id} was offered as {value:?}, found {current:?}"));
        }
        self.learn_version(id, current.version);
        Some(id)
    }

    pub fn version_of(&self, id: ValueId) -> Option<Version> {
        self.values.borrow().get(&id).and_then(|value| value.version)
    }

    pub fn learn_version(&self, id: ValueId, version: Version) {
        if let Some(value) = self.values.borrow_mut().get_mut(&id) {
            value.version = Some(version);
        }
    }

    /// As [`Self::recognise`], with all that stands in the record.
    pub fn recognise_info(&self, info: &ObjectInfo, what: &str) -> Option<ValueId> {
        let id = self.recognise(&info.current, what)?;
        if info.attributes != self.attributes(id) {
            self.fail(format!("{what}: value {id} has other attributes than were stored"));
        }
        let expected = self.value(id).map(|value| value.parts).unwrap_or_default();
        let as_offered = info.parts.len() == expected.len()
            && info.parts.iter().zip(&expected).all(|(part, (number, part_id))| {
                part.number == *number
                    && Some(part.size) == self.value(*part_id).map(|part| part.size)
                    && part.attributes == self.attributes(*part_id)
            });
        if !as_offered {
            self.fail(format!("{what}: value {id} has other parts than were joined"));
        }
        Some(id)
    }

    // --- Objects -------------------------------------------------------------------------------

    /// Uses the model of a key.
    pub fn register<T>(&self, place: Place, use_it: impl FnOnce(&mut Register) -> T) -> T {
        use_it(&mut self.objects.borrow_mut().entry(place).or_default().register)
    }

    pub fn begin(&self, place: Place, op: Op) -> OpId {
        self.register(place, |register| register.begin(op))
    }

    pub fn end(&self, place: Place, op: OpId, outcome: Outcome) {
        self.answered.set(self.answered.get() + 1);
        let result = self.register(place, |register| register.end(op, outcome));
        self.check(result, &self.name(place));
    }

    /// Ends a write by what the engine answered.
    pub fn end_write(&self, place: Place, op: OpId, result: Result<bool, &Error>) {
        let outcome = match result {
            Ok(existed) => return self.end(place, op, Outcome::Done { existed }),
            Err(error) => self.judge_error(error, &self.name(place)),
        };
        match outcome {
            Verdict::Refused => self.end(place, op, Outcome::Refused),
            Verdict::NoEffect => {
                let result = self.register(place, |register| register.end_without_effect(op));
                self.check(result, &self.name(place));
            }
            Verdict::Unknown => {}
        }
    }

    /// Ends a read by what the engine answered.
    pub fn end_read(&self, place: Place, op: OpId, seen: Result<Option<ValueId>, &Error>) {
        match seen {
            Ok(seen) => self.end(place, op, Outcome::Saw(seen)),
            Err(error) => {
                self.judge_error(error, &self.name(place));
                self.register(place, |register| register.drop_read(op));
            }
        }
    }

    /// The latest acknowledged version of a key: whatever begins now must get a later one.
    pub fn version(&self, place: Place) -> Option<Version> {
        self.objects.borrow().get(&place).and_then(|object| object.version)
    }

    /// A write that began when `before` was the latest version was acknowledged.
    pub fn acknowledge(
        &self,
        place: Place,
        id: ValueId,
        version: Version,
        before: Option<Version>,
    ) {
        if before.is_some_and(|before| before >= version) {
            self.fail(format!("{}: {version:?} was given after {before:?}", self.name(place)));
        }
        self.learn_version(id, version);
        let mut objects = self.objects.borrow_mut();
        let object = objects.entry(place).or_default();
        object.version = object.version.max(Some(version));
    }

    /// The machine stopped: see [`Register::stop`].
    pub fn stop(&self) {
        self.objects.borrow_mut().values_mut().for_each(|object| object.register.stop());
        self.buckets.borrow_mut().values_mut().for_each(Register::stop);
        self.versions.borrow_mut().values_mut().for_each(Register::stop);
        self.uploads.borrow_mut().iter_mut().for_each(Upload::stop);
    }

    /// An audit has learnt all that there was to learn of what stopped. Of an upload that could not be
    /// looked at, it is still to be learnt whether it ended.
    pub fn forget(&self) {
        let uploads = self.uploads.borrow();
        for (place, object) in self.objects.borrow_mut().iter_mut() {
            let here = uploads.iter().filter(|upload| upload.place == *place);
            let ending = here.filter_map(|upload| match upload.stage {
                Stage::Ending(op) => op,
                _ => None,
            });
            object.register.forget_but(&ending.collect::<Vec<_>>());
        }
        self.buckets.borrow_mut().values_mut().for_each(|bucket| bucket.forget_but(&[]));
        self.versions.borrow_mut().values_mut().for_each(|key| key.forget_but(&[]));
    }
}
