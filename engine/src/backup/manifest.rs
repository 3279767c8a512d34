//! The list of what a backup consists of: one JSON file for each generation, written last.
//!
//! ```text
//! DIR/lock                                    held while a backup is made
//! DIR/backups/<generation>.json               this list
//! DIR/data/<history>/shard-0003/              files, shared by the generations that name them
//!     checkpoint-<sequence>-<created>.ckp     of the snapshot
//!     log-<segment>-<epoch>.seg               a sealed log segment, up to its seal
//!     log-<segment>-<epoch>-<bytes>.seg       one that was still written to, up to there
//!     slab-<segment>-<epoch>-<stamp>.seg      the units of a slab segment that count (`packed`)
//! ```
//!
//! A name says all on which the content of its file depends, within one history of the store: so what
//! an earlier generation has is not copied again. The list is padded with spaces to a multiple of 4096
//! bytes. Its `checksum` is that of `backup` as this writes it.

use crate::checksum::block_checksum;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The version of the list; what the files hold has the store's.
const VERSION: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub version: u32,
    /// Of the store's files.
    pub format_version: u32,
    pub generation: String,
    /// When the snapshot was taken, in nanoseconds since the Unix epoch.
    pub taken_ns: u64,
    /// 32 hexadecimal digits.
    pub store_uuid: String,
    /// 16 hexadecimal digits.
    pub history: String,
    pub store_created_ns: u64,
    pub shard_count: u16,
    pub segment_bytes: u64,
    /// Of each data directory.
    pub capacity_bytes: Vec<u64>,
    /// In the order of their numbers.
    pub shards: Vec<ShardRow>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardRow {
    pub shard: u16,
    /// Segment files that the shard has; those without a file here are blank.
    pub segments: u32,
    pub files: Vec<FileRow>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    Checkpoint,
    Log,
    Slab,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRow {
    /// Below the directory of the backups.
    pub path: String,
    pub kind: FileKind,
    /// Not of a checkpoint.
    pub segment: Option<u32>,
    pub bytes: u64,
    /// CRC-64/NVME in 16 hexadecimal digits.
    pub checksum: String,
    /// What did not verify when it was copied; it was kept as it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    backup: Manifest,
    checksum: String,
}

impl Manifest {
    pub(super) const VERSION: u32 = VERSION;

    pub fn encode(&self) -> Result<Vec<u8>> {
        let sealed = Sealed { backup: self.clone(), checksum: hex(self.checksum()?) };
        serde_json::to_vec_pretty(&sealed).map_err(unwritable)
    }

    fn checksum(&self) -> Result<u64> {
        serde_json::to_vec(self).map(|bytes| block_checksum(&bytes)).map_err(unwritable)
    }

    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> std::result::Result<Self, String> {
        let sealed: Sealed = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let checksum = sealed.backup.checksum().map_err(|error| error.to_string())?;
        if hex(checksum) != sealed.checksum {
            return Err("its checksum does not match".into());
        }
        sealed.backup.check()?;
        Ok(sealed.backup)
    }

    fn check(&self) -> std::result::Result<(), String> {
        if self.version != VERSION {
            return Err(format!("it is of version {}; this build reads {VERSION}", self.version));
        }
        if self.format_version != crate::limits::FORMAT_VERSION {
            let version = self.format_version;
            return Err(format!("its store is of format version {version}"));
        }
        let numbers = self.shards.iter().map(|row| row.shard);
        if !numbers.eq(0..self.shard_count) {
            return Err("it does not list every shard".into());
        }
        let mut files = self.files();
        match files.find(|(shard, file)| !is_sound(shard, file)) {
            Some((_, file)) => Err(format!("{:?} is no file of a backup", file.path)),
            None => Ok(()),
        }
    }

    /// All files, each with its shard.
    pub fn files(&self) -> impl Iterator<Item = (&ShardRow, &FileRow)> {
        self.shards.iter().flat_map(|shard| shard.files.iter().map(move |file| (shard, file)))
    }

    pub fn bytes(&self) -> u64 {
        self.files().map(|(_, file)| file.bytes).sum()
    }
}

/// Paths come from a file: none leads out of the directory, and no segment out of the shard.
fn is_sound(shard: &ShardRow, file: &FileRow) -> bool {
    let mut parts = file.path.split('/');
    let is_below =
        parts.next() == Some("data") && !parts.any(|part| part.is_empty() || part == "..");
    let is_there = match file.kind {
        FileKind::Checkpoint => file.segment.is_none(),
        _ => file.segment.is_some_and(|segment| segment < shard.segments),
    };
    is_below && is_there
}

pub(crate) fn hex(number: u64) -> String {
    format!("{number:016x}")
}

pub(crate) fn hex_bytes(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unwritable(error: serde_json::Error) -> Error {
    Error::Backup(format!("its list cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn sample(path: &str) -> Manifest {
        let file = FileRow {
            path: path.into(),
            kind: FileKind::Log,
            segment: Some(0),
            bytes: 4096,
            checksum: hex(5),
            damage: None,
        };
        Manifest {
            version: VERSION,
            format_version: crate::limits::FORMAT_VERSION,
            generation: "a".into(),
            taken_ns: 1,
            store_uuid: hex_bytes(&[7; 16]),
            history: hex(9),
            store_created_ns: 2,
            shard_count: 1,
            segment_bytes: 1 << 20,
            capacity_bytes: vec![1 << 30],
            shards: vec![ShardRow { shard: 0, segments: 1, files: vec![file] }],
        }
    }

    #[test]
    fn a_list_survives_the_round_trip_and_no_change_does() {
        let list = sample("data/09/shard-0000/log-0-1.seg");
        let mut bytes = list.encode().unwrap();
        bytes.extend([b' '; 100]);
        assert_eq!(Manifest::decode(&bytes), Ok(list));
        let text = String::from_utf8(bytes).unwrap();
        let changed = text.replace("\"bytes\": 4096", "\"bytes\": 8192");
        assert_ne!(text, changed);
        assert!(Manifest::decode(changed.as_bytes()).unwrap_err().contains("checksum"));
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in ["data/../../etc/passwd", "/etc/passwd", "data//x", "elsewhere/x"] {
            let bytes = sample(path).encode().unwrap();
            assert!(Manifest::decode(&bytes).is_err(), "{path}");
        }
    }
}
