//! Removing objects and versions: what DeleteObject, DeleteObjects and lifecycle have in common.
//!
//! Invariants: in a bucket with object lock nothing is removed for good but under the guard, whoever
//! asks; without a version id nothing is removed for good where versioning is or was on, but for the
//! null version of a bucket whose versioning is suspended.

pub(crate) use super::object_lock::guard;
use crate::error::Result;
use crate::versioning::{Status, id_of, parse_id};
use engine::platform::Platform;
use engine::{BucketId, Condition, Current, Deletion, Engine, Versioning, Which};

/// What is to go, and from where.
pub(crate) struct Removal<'a> {
    pub(crate) bucket: BucketId,
    pub(crate) status: Status,
    /// The bucket has object lock.
    pub(crate) has_lock: bool,
    pub(crate) key: &'a str,
    /// Else the object is marked as deleted, where versioning is or was on.
    pub(crate) version_id: Option<&'a str>,
    /// The remover may bypass governance, and wants to.
    pub(crate) bypasses: bool,
    pub(crate) condition: Option<Condition>,
    /// Seconds since the Unix epoch.
    pub(crate) now: i64,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Removed {
    /// There was an object that is marked now, or the version.
    pub(crate) existed: bool,
    /// A delete marker was made, or removed.
    pub(crate) is_marker: bool,
    /// Of the marker that was made or the version that was asked for; none where versions never were.
    pub(crate) version_id: Option<String>,
    /// What was removed, or the marker that was made.
    pub(crate) current: Option<Current>,
}

impl Removal<'_> {
    /// Deleting what is not there is a success, unless a condition asks for it to be there.
    pub(crate) async fn run<P: Platform>(self, engine: &Engine<P>) -> Result<Removed> {
        let guard = || self.has_lock.then(|| guard(self.now, self.bypasses));
        let (deletion, asked) = match self.version_id {
            Some(id) => {
                let which = parse_id(id)?;
                (Deletion::Remove { which, guard: guard() }, Some(id.to_owned()))
            }
            None => match self.status {
                Status::Off => (Deletion::Remove { which: Which::Null, guard: guard() }, None),
                Status::Enabled => (Deletion::Mark(Versioning::Kept), None),
                // The marker replaces the null version without a guard: a bucket with object lock is never
                // suspended.
                Status::Suspended => (Deletion::Mark(Versioning::Null), None),
            },
        };
        let deleted =
            engine.delete(self.bucket, self.key.as_bytes(), deletion, self.condition).await?;
        let made = deleted.current.filter(|_| self.version_id.is_none());
        let made_id = made.filter(|made| made.is_marker).map(|made| id_of(&made));
        Ok(Removed {
            existed: deleted.existed,
            is_marker: deleted.current.is_some_and(|current| current.is_marker),
            version_id: asked.or(made_id),
            current: deleted.current,
        })
    }
}
