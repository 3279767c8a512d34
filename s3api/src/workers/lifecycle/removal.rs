//! How the lifecycle worker reaches the store: pages of versions, and their removal.
//!
//! Invariant: what is removed is the version that was judged, and no lock holds it.

use super::verdict::{Row, Verdict};
use crate::dates;
use crate::error::{Code, Result, S3Error};
use crate::object_lock::ObjectLockSetting;
use crate::ops::removal::{Removal, guard};
use crate::services::Services;
use crate::versioning::{Status, VersioningSetting};
use engine::platform::Platform;
use engine::{
    Bucket, BucketId, Condition, ConditionFailure, Current, Deletion, Engine, Version, VersionItem,
    VersionsQuery, Which,
};
use std::sync::Arc;

/// A walk over a bucket's versions, a page at a time.
#[derive(Debug)]
pub(super) struct Cursor {
    query: VersionsQuery,
    is_at_end: bool,
}

impl Cursor {
    pub(super) fn new(prefix: &str, limit: usize) -> Self {
        let query = VersionsQuery { prefix: prefix.into(), limit, ..VersionsQuery::default() };
        Self { query, is_at_end: false }
    }

    /// The last page was given.
    pub(super) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    pub(super) async fn page<P: Platform>(
        &mut self,
        engine: &Engine<P>,
        bucket: BucketId,
    ) -> Result<Vec<(Vec<u8>, Row)>> {
        let page = engine.list_versions(bucket, &self.query).await?;
        self.is_at_end = !page.truncated || page.items.is_empty();
        let mut rows = Vec::with_capacity(page.items.len());
        for item in page.items {
            if let VersionItem::Version { key, current, is_latest } = item {
                let Current { version, size, is_marker, is_null, .. } = current;
                rows.push((key, Row { version, size, is_latest, is_marker, is_null }));
            }
        }
        if let Some((key, row)) = rows.last() {
            self.query.after.clone_from(key);
            self.query.after_version = Some(row.version);
        }
        Ok(rows)
    }
}

/// The attributes of a version; none if it is gone.
pub(super) async fn attributes<P: Platform>(
    engine: &Engine<P>,
    bucket: BucketId,
    key: &[u8],
    row: &Row,
) -> Result<Option<Vec<u8>>> {
    let reader = engine.head(bucket, key, Which::Exactly(row.version)).await?;
    Ok(reader.map(|reader| reader.info().attributes.clone()))
}

/// What came of a removal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Removed {
    /// The version is gone.
    Version { version_id: Option<String> },
    /// A delete marker covers it.
    Marked { version_id: Option<String>, version: Version },
    /// It is not what it was when it was judged.
    Overtaken,
    /// Retention or a legal hold keeps it.
    Locked,
}

/// Carries a verdict out.
pub(super) async fn remove<P: Platform>(
    engine: &Engine<P>,
    services: &Services,
    bucket: &Arc<Bucket>,
    key: &str,
    row: &Row,
    verdict: Verdict,
) -> Result<Removed> {
    let settings = &services.settings;
    let status = Status::of(settings.get::<VersioningSetting>(bucket)?.as_deref());
    let has_lock = settings.get::<ObjectLockSetting>(bucket)?.is_some();
    let now = dates::seconds(Version(engine.platform().wall_clock_ns()));
    let (judged, shown_id) = (row.version, (status != Status::Off).then(|| row.id()));
    if verdict != Verdict::ExpireCurrent {
        // By the version itself and not by its name: another may be called `null` by now.
        let guard = has_lock.then(|| guard(now, false));
        let deletion = Deletion::Remove { which: Which::Exactly(judged), guard };
        return match engine.delete(bucket.id, key.as_bytes(), deletion, None).await {
            Ok(deleted) if deleted.existed => Ok(Removed::Version { version_id: shown_id }),
            Ok(_) => Ok(Removed::Overtaken),
            Err(error) => refused(error.into()),
        };
    }
    let is_judged = move |current: Option<&Current>| match current {
        Some(current) if current.version == judged => Ok(()),
        _ => Err(ConditionFailure::PreconditionFailed),
    };
    let condition = Some(Box::new(is_judged) as Condition);
    let removal = Removal {
        bucket: bucket.id,
        status,
        has_lock,
        key,
        version_id: None,
        bypasses: false,
        condition,
        now,
    };
    match removal.run(engine).await {
        Ok(removed) => Ok(match removed.current {
            Some(made) if made.is_marker => {
                Removed::Marked { version_id: removed.version_id, version: made.version }
            }
            _ if removed.existed => Removed::Version { version_id: shown_id },
            _ => Removed::Overtaken,
        }),
        Err(error) => refused(error),
    }
}

/// What is no failure of the store.
fn refused(error: S3Error) -> Result<Removed> {
    match error.code {
        Code::PreconditionFailed | Code::NoSuchKey => Ok(Removed::Overtaken),
        Code::AccessDenied => Ok(Removed::Locked),
        _ => Err(error),
    }
}
