//! What a check or a rebuild reports: findings, each of which prints as one line, and counts.
//!
//! A report keeps a bounded number of findings and counts all; who wants all of them gets each as it
//! is found.

use crate::limits::FINDINGS_KEPT_MAX;
use std::fmt;
use std::path::PathBuf;

/// How much a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grade {
    /// Something that counts is not what was written.
    Damage,
    /// What a crash may leave as well, where nothing tells the two apart.
    Doubt,
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Structure {
    Drive,
    Superblock,
    /// The file of a segment, or its header.
    Segment,
    Checkpoint,
    Group,
    Record,
    Chunk,
    /// Who owns the units of a slab segment.
    Slab,
    Index,
    Catalog,
    /// The store as a whole: a start would refuse it.
    Start,
}

impl Structure {
    pub fn name(self) -> &'static str {
        match self {
            Self::Drive => "drive",
            Self::Superblock => "superblock",
            Self::Segment => "segment",
            Self::Checkpoint => "checkpoint",
            Self::Group => "group",
            Self::Record => "record",
            Self::Chunk => "chunk",
            Self::Slab => "slab",
            Self::Index => "index",
            Self::Catalog => "catalogue",
            Self::Start => "start",
        }
    }
}

/// What of an object a finding concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    Object,
    Upload { id: u64 },
    Part { upload: u64, number: u16 },
    Bucket,
}

/// The object that a finding concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub concern: Concern,
    /// Its name, or its number where the catalogue does not know it.
    pub bucket: String,
    /// Empty for a bucket.
    pub key: Vec<u8>,
    pub version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub grade: Grade,
    pub structure: Structure,
    pub path: PathBuf,
    pub shard: Option<u16>,
    /// In bytes from the start of the file.
    pub offset: Option<u64>,
    pub reason: String,
    pub named: Option<Named>,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub shards: u64,
    pub segments: u64,
    pub checkpoints: u64,
    pub groups: u64,
    pub records: u64,
    /// Records that the index points to: objects, uploads, parts and buckets.
    pub live_records: u64,
    pub chunks: u64,
    pub bytes_read: u64,
    /// What there is to read in all, as far as is known.
    pub bytes_total: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Report {
    /// The first ones, at most [`FINDINGS_KEPT_MAX`].
    pub findings: Vec<Finding>,
    pub damaged: u64,
    pub doubtful: u64,
    pub counts: Counts,
}

impl Report {
    pub fn is_clean(&self) -> bool {
        self.damaged == 0
    }

    pub(super) fn add(&mut self, finding: Finding) {
        match finding.grade {
            Grade::Damage => self.damaged += 1,
            Grade::Doubt => self.doubtful += 1,
        }
        if self.findings.len() < FINDINGS_KEPT_MAX {
            self.findings.push(finding);
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { concern, bucket, key, version } = self;
        let key = key.escape_ascii();
        match concern {
            Concern::Object => write!(f, "object {bucket}/{key} (version {version})"),
            Concern::Upload { id } => write!(f, "upload {id} of {bucket}/{key}"),
            Concern::Part { upload, number } => {
                write!(f, "part {number} of upload {upload} of {bucket}/{key} (version {version})")
            }
            Concern::Bucket => write!(f, "bucket {bucket}"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grade = match self.grade {
            Grade::Damage => "damage",
            Grade::Doubt => "doubt",
        };
        write!(f, "{grade}: {} {}", self.structure.name(), self.path.display())?;
        if let Some(offset) = self.offset {
            write!(f, " at {offset}")?;
        }
        write!(f, ": {}", self.reason)?;
        match &self.named {
            Some(named) => write!(f, ": {named}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(grade: Grade, named: Option<Named>) -> Finding {
        Finding {
            grade,
            structure: Structure::Group,
            path: PathBuf::from("/d/00000001.seg"),
            shard: Some(0),
            offset: Some(4096),
            reason: "it is gone".into(),
            named,
        }
    }

    #[test]
    fn a_finding_is_one_line_whatever_the_key() {
        let named =
            |concern| Named { concern, bucket: "b".into(), key: b"a\nb\xFF".to_vec(), version: 7 };
        for (concern, text) in [
            (Concern::Object, r"object b/a\nb\xff (version 7)"),
            (Concern::Upload { id: 3 }, r"upload 3 of b/a\nb\xff"),
            (
                Concern::Part { upload: 3, number: 2 },
                r"part 2 of upload 3 of b/a\nb\xff (version 7)",
            ),
            (Concern::Bucket, "bucket b"),
        ] {
            let line = finding(Grade::Damage, Some(named(concern))).to_string();
            let expected = format!("damage: group /d/00000001.seg at 4096: it is gone: {text}");
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn a_report_keeps_some_findings_and_counts_all() {
        let mut report = Report::default();
        for _ in 0..FINDINGS_KEPT_MAX + 5 {
            report.add(finding(Grade::Doubt, None));
        }
        assert!(report.is_clean());
        assert_eq!(report.doubtful, FINDINGS_KEPT_MAX as u64 + 5);
        report.add(finding(Grade::Damage, None));
        assert!(!report.is_clean());
        assert_eq!(report.findings.len(), FINDINGS_KEPT_MAX);
    }
}
