//! The plain data that crosses the engine's public interface.
//!
//! Attributes and settings are opaque to the engine: the caller encodes what it knows of an object
//! (content type, user metadata, checksums) and gets the same bytes back.

use crate::error::ConditionFailure;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Identity of a bucket; never reused, so that what an old bucket left cannot appear in a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BucketId(pub u32);

/// When a write took its place: nanoseconds since the Unix epoch by a hybrid clock that never steps
/// back within a shard. Unique within a shard; gives Last-Modified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// Identity of a multipart upload: its version, unique within the shard of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UploadId(pub u64);

/// An entity tag: 16 bytes and, for an object made of parts, their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Etag {
    pub md5: [u8; 16],
    /// Zero for an object that was not made of parts.
    pub parts: u16,
}

/// What the index knows of one version of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Current {
    /// As it is told to clients: what was stored, unless the commit gave another (`shown_size`).
    pub size: u64,
    pub etag: Etag,
    pub version: Version,
    /// One byte that the caller chose at the write and finds in listings.
    pub label: u8,
    /// The one version of a key that has no identity of its own, and that the next such write replaces.
    pub is_null: bool,
    /// A delete marker: it has no bytes and no attributes.
    pub is_marker: bool,
}

/// What a write does to the versions of its key that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versioning {
    /// It becomes the null version, in the place of the one before.
    #[default]
    Null,
    /// It becomes a version beside the others.
    Kept,
}

/// Which version of a key is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The newest, be it a delete marker.
    Latest,
    Null,
    Exactly(Version),
}

/// Decides, at the moment of the write and atomically with it, whether it may happen. A delete marker
/// counts as no object.
pub type Condition = Box<dyn Fn(Option<&Current>) -> Result<(), ConditionFailure> + Send>;

/// Decides whether a version may go, by the attributes that it has at that very moment: nothing can
/// change them between this and what it allows.
pub type Guard = Box<dyn Fn(&[u8]) -> Result<(), ConditionFailure> + Send>;

/// What a version's attributes and label become.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Amended {
    pub attributes: Vec<u8>,
    pub label: u8,
}

/// Decides, from what a version is and its present attributes, what they become.
pub type Amend = Box<dyn FnOnce(&Current, &[u8]) -> Result<Amended, ConditionFailure> + Send>;

/// What the caller gives to make an object or part visible.
#[derive(Default)]
pub struct Commit {
    pub etag: Etag,
    pub label: u8,
    pub attributes: Vec<u8>,
    pub condition: Option<Condition>,
    /// Of an object; parts have no versions.
    pub versioning: Versioning,
    /// The size that is told, where more bytes or fewer are stored.
    pub shown_size: Option<u64>,
    /// Asked before a null version is replaced by this one.
    pub guard: Option<Guard>,
}

/// What a deletion does.
pub enum Deletion {
    /// Puts a delete marker on top.
    Mark(Versioning),
    /// Takes one version away for good.
    Remove { which: Which, guard: Option<Guard> },
}

impl Deletion {
    /// Removes the null version, and with it the object where there are no other versions.
    pub const NULL: Self = Self::Remove { which: Which::Null, guard: None };
}

impl std::fmt::Debug for Deletion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mark(versioning) => f.debug_tuple("Mark").field(versioning).finish(),
            Self::Remove { which, guard } => f
                .debug_struct("Remove")
                .field("which", which)
                .field("guarded", &guard.is_some())
                .finish(),
        }
    }
}

impl std::fmt::Debug for Commit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Commit")
            .field("etag", &self.etag)
            .field("label", &self.label)
            .field("attributes_bytes", &self.attributes.len())
            .field("conditional", &self.condition.is_some())
            .field("versioning", &self.versioning)
            .field("shown_size", &self.shown_size)
            .field("guarded", &self.guard.is_some())
            .finish()
    }
}

/// All that is known of an object, from its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    pub current: Current,
    /// Bytes that a reader gives, and that its ranges count.
    pub stored_bytes: u64,
    pub attributes: Vec<u8>,
    /// In order of number; empty for an object that was not made of parts.
    pub parts: Vec<PartInfo>,
}

/// One part of a completed object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartInfo {
    pub number: u16,
    /// Bytes that are stored.
    pub size: u64,
    /// What the caller stored with the part.
    pub attributes: Vec<u8>,
}

/// One part of an upload under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedPart {
    pub number: u16,
    pub current: Current,
    pub attributes: Vec<u8>,
}

/// A part as the caller names it to complete an upload: the version pins which bytes it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompletePart {
    pub number: u16,
    pub version: Version,
}

/// A multipart upload under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadInfo {
    pub key: Vec<u8>,
    pub id: UploadId,
    /// What the caller stored when the upload began.
    pub attributes: Vec<u8>,
}

/// What a deletion found and left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// There was an object to be marked as deleted, or the version that was to be removed.
    pub existed: bool,
    /// The marker that was made, or the version that was removed.
    pub current: Option<Current>,
}

/// Which keys to list: those whose latest version is not a delete marker. Keys come in byte order.
#[derive(Debug, Clone, Default)]
pub struct ListQuery {
    pub prefix: Vec<u8>,
    /// Empty: no grouping. Otherwise keys that hold it behind the prefix are rolled up into a
    /// common prefix that ends with it.
    pub delimiter: Vec<u8>,
    /// Only keys greater than this, and the common prefixes of such keys. A common prefix that
    /// equals this is not given again.
    pub after: Vec<u8>,
    /// At most so many keys and common prefixes together.
    pub limit: usize,
}

/// One row of a listing, in byte order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListItem {
    Key { key: Vec<u8>, current: Current },
    CommonPrefix(Vec<u8>),
}

impl ListItem {
    /// The bytes by which rows are ordered.
    pub fn name(&self) -> &[u8] {
        match self {
            Self::Key { key, .. } => key,
            Self::CommonPrefix(prefix) => prefix,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListPage {
    pub items: Vec<ListItem>,
    /// More rows follow the last one.
    pub truncated: bool,
}

/// Which versions to list: keys in byte order, the versions of each newest first.
#[derive(Debug, Clone, Default)]
pub struct VersionsQuery {
    pub prefix: Vec<u8>,
    /// As in [`ListQuery`]; versions and delete markers alike are rolled up.
    pub delimiter: Vec<u8>,
    /// Only keys greater than this, and with `after_version` those versions of this very key that are
    /// older than that one.
    pub after: Vec<u8>,
    pub after_version: Option<Version>,
    /// At most so many versions and common prefixes together.
    pub limit: usize,
}

/// One row of a listing of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionItem {
    Version { key: Vec<u8>, current: Current, is_latest: bool },
    CommonPrefix(Vec<u8>),
}

impl VersionItem {
    /// The bytes by which rows are ordered; versions of one key stand in their own order.
    pub fn name(&self) -> &[u8] {
        match self {
            Self::Version { key, .. } => key,
            Self::CommonPrefix(prefix) => prefix,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionsPage {
    pub items: Vec<VersionItem>,
    /// More rows follow the last one.
    pub truncated: bool,
}

/// Which uploads to list, ordered by key and then by the time they began.
#[derive(Debug, Clone, Default)]
pub struct UploadsQuery {
    pub prefix: Vec<u8>,
    pub delimiter: Vec<u8>,
    /// Only uploads of keys greater than this, and with `after_id` those of this very key that
    /// began after it.
    pub after: Vec<u8>,
    pub after_id: Option<UploadId>,
    pub limit: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UploadItem {
    Upload(UploadInfo),
    CommonPrefix(Vec<u8>),
}

impl UploadItem {
    /// The bytes by which rows are ordered; uploads of one key stand in their own order.
    pub fn name(&self) -> &[u8] {
        match self {
            Self::Upload(upload) => &upload.key,
            Self::CommonPrefix(prefix) => prefix,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UploadsPage {
    pub items: Vec<UploadItem>,
    pub truncated: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PartsPage {
    pub parts: Vec<UploadedPart>,
    pub truncated: bool,
}

/// How many parts an upload has, and how large they are together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartsCount {
    pub count: usize,
    pub bytes: u64,
}

/// Where a record lies now. Compaction may move it at any time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordPlace {
    pub shard: u16,
    /// The file of its segment.
    pub file: PathBuf,
    /// In bytes from the file's start.
    pub offset: u64,
}

/// How much a bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BucketUsage {
    /// Objects, all versions counted.
    pub objects: u64,
    /// Delete markers.
    pub markers: u64,
    /// Bytes of these objects, as they are told.
    pub bytes: u64,
    /// Multipart uploads under way; their parts count nowhere.
    pub uploads: u64,
}

impl BucketUsage {
    pub fn add(&mut self, other: Self) {
        self.objects += other.objects;
        self.markers += other.markers;
        self.bytes += other.bytes;
        self.uploads += other.uploads;
    }
}

/// A bucket and its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    pub id: BucketId,
    pub name: String,
    /// Creation time.
    pub created: Version,
    /// Opaque to the engine: the caller numbers its settings and encodes their values.
    pub settings: BTreeMap<u16, Vec<u8>>,
}
