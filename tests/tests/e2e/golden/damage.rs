//! The golden directory with one thing wrong in it: what a start and `ringfort verify` make of each.
//!
//! Whatever the table says of a start that goes well, no object may be given with a wrong byte.

use std::fs;
use std::path::{Path, PathBuf};

use engine::format::Salt;
use engine::format::checkpoint::CheckpointHeader;
use engine::format::segment::SegmentKind::{self, Free as FREE, Log as LOG, Slab as SLAB};
use engine::format::segment::Stream::{self, Foreground as FOREGROUND, Relocation as RELOCATION};
use engine::format::segment::{Header, SegmentHeader};
use engine::format::superblock::{Copy, Superblock};
use ringfort_tests::harness::Site;
use ringfort_tests::harness::client::Request;
use ringfort_tests::sim_damage::scan_groups;

use super::{body_of, contents, copied, target, verify};

const BLOCK: usize = 4096;

/// What a start does.
enum Start {
    /// All objects are right; the log says this, if anything.
    Whole(&'static str),
    /// This object gives an error, all others are right.
    Without(&'static str),
    /// The start is refused with this text.
    Refused(&'static str),
}

use Start::{Refused, Whole, Without};

struct Variant {
    name: &'static str,
    spoil: fn(&Store),
    start: Start,
    /// A part of what `verify` says; it always finds something.
    verify: &'static str,
}

const fn variant(
    name: &'static str,
    spoil: fn(&Store),
    start: Start,
    verify: &'static str,
) -> Variant {
    Variant { name, spoil, start, verify }
}

const COPIES: &str = "copies of the superblock are damaged";
const HEADER: &str = "the segment's header is damaged";

const VARIANTS: &[Variant] = &[
    variant("superblock copy 1", |s| s.flip_superblock(0), Whole(COPIES), "copy 0: its checksum"),
    variant("superblock copy 2", |s| s.flip_superblock(1), Whole(COPIES), "copy 1: its checksum"),
    variant("superblock copy 3", |s| s.flip_superblock(2), Whole(COPIES), "copy 2: its checksum"),
    variant("superblock copy 4", |s| s.flip_superblock(3), Whole(COPIES), "copy 3: its checksum"),
    variant("format version", Store::set_version, Refused("version 99"), "version 99"),
    variant("header of a log", |s| s.flip(s.current(FOREGROUND), 20), Refused(HEADER), HEADER),
    variant(
        "header of a relocation log",
        |s| s.flip(s.current(RELOCATION), 20),
        Refused(HEADER),
        HEADER,
    ),
    variant(
        "header of slabs",
        |s| s.flip(s.of_kind(SLAB), 20),
        Refused("bytes should lie in this"),
        UNVERIFIED,
    ),
    variant("header of a log that has ended", |s| s.flip(s.ended(), 20), Whole(""), UNVERIFIED),
    variant("header of a free segment", |s| s.flip(s.of_kind(FREE), 20), Whole(""), UNVERIFIED),
    // Behind a checkpoint a log is not read again.
    variant("old group's header", |s| s.flip_group("small", 40), Whole(""), "header's checksum"),
    variant(
        "old group's content",
        |s| s.flip_group("small", 140),
        Whole(""),
        "its head does not verify",
    ),
    variant(
        "new group's header",
        |s| s.flip_group("late", 40),
        Refused(ACKNOWLEDGED),
        ACKNOWLEDGED,
    ),
    variant(
        "new group's content",
        |s| s.flip_group("late", 140),
        Refused(ACKNOWLEDGED),
        "golden/late",
    ),
    variant(
        "inline body",
        |s| s.flip_body("dir/inline"),
        Without("dir/inline"),
        "golden/dir/inline",
    ),
    variant(
        "chunk header",
        |s| s.flip_chunk_header("extents"),
        Without("extents"),
        "golden/extents",
    ),
    variant("chunk data", |s| s.flip_body("extents"), Without("extents"), "golden/extents"),
    variant("checkpoint header", |s| s.flip_checkpoints(1, 50), Whole(CHECKPOINT), "checkpoint-"),
    variant(
        "checkpoint frame",
        |s| s.flip_checkpoints(1, BLOCK + 60),
        Whole(CHECKPOINT),
        "checkpoint-",
    ),
    variant(
        "all checkpoints",
        |s| s.flip_checkpoints(3, BLOCK + 60),
        Refused(NO_CHECKPOINT),
        NO_CHECKPOINT,
    ),
    variant(
        "truncated segment",
        |s| s.truncate(s.current(FOREGROUND)),
        Refused("a wrong length"),
        "bytes long",
    ),
    variant(
        "missing segment",
        |s| s.remove(s.of_kind(SLAB)),
        Refused("segment is missing"),
        "file is missing",
    ),
    variant(
        "foreign segment",
        |s| s.make_foreign(s.of_kind(SLAB)),
        Refused("another store"),
        "another store",
    ),
];

const UNVERIFIED: &str = "its header does not verify";
const ACKNOWLEDGED: &str = "acknowledged data is damaged";
const CHECKPOINT: &str = "a checkpoint is damaged";
const NO_CHECKPOINT: &str = "no checkpoint can be read";

/// A copy of the golden directory that is to be spoilt.
struct Store {
    dir: PathBuf,
}

impl Store {
    fn change(&self, path: impl AsRef<Path>, change: impl FnOnce(&mut Vec<u8>)) {
        let path = self.dir.join(path);
        let mut bytes = fs::read(&path).unwrap();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
    }

    fn flip(&self, path: impl AsRef<Path>, at: usize) {
        self.change(path, |bytes| bytes[at] ^= 16);
    }

    fn flip_superblock(&self, copy: usize) {
        self.flip("superblock", copy * BLOCK + 50);
    }

    fn set_version(&self) {
        self.change("superblock", |bytes| {
            let version = 99u32.to_le_bytes();
            bytes.chunks_mut(BLOCK).for_each(|copy| copy[8..12].copy_from_slice(&version));
        });
    }

    /// Files below the shards' directories, in order of their paths.
    fn files(&self, extension: &str) -> Vec<PathBuf> {
        let files = |shard: u16| fs::read_dir(self.dir.join(format!("shard-{shard:04}"))).unwrap();
        let all = [0, 1].into_iter().flat_map(files).map(|entry| entry.unwrap().path());
        let mut found: Vec<PathBuf> =
            all.filter(|path| path.extension().is_some_and(|end| end == extension)).collect();
        found.sort();
        found
    }

    /// Segments with their headers, those of the latest use first.
    fn segments(&self) -> Vec<(PathBuf, SegmentHeader)> {
        let header = |path: PathBuf| match SegmentHeader::decode(&fs::read(&path).unwrap()[..BLOCK])
        {
            Header::Valid(header) => Some((path, header)),
            _ => None,
        };
        let mut found: Vec<_> = self.files("seg").into_iter().filter_map(header).collect();
        found.sort_by_key(|(_, header)| std::cmp::Reverse(header.first_lsn));
        found
    }

    fn find(&self, is_it: impl Fn(&SegmentHeader) -> bool) -> PathBuf {
        self.segments().into_iter().find(|(_, header)| is_it(header)).expect("there is one").0
    }

    fn of_kind(&self, kind: SegmentKind) -> PathBuf {
        self.find(|header| header.kind == kind)
    }

    /// Where a log goes on.
    fn current(&self, stream: Stream) -> PathBuf {
        self.find(|header| header.kind == LOG && header.stream == stream)
    }

    /// The log segment that was opened first of those that are left.
    fn ended(&self) -> PathBuf {
        let mut segments = self.segments();
        let is_one = |header: &SegmentHeader| header.kind == LOG && header.stream == FOREGROUND;
        segments.retain(|(_, header)| is_one(header));
        segments.pop().expect("there is one").0
    }

    /// Where the bytes of a body are, by their first mark; the newest place if there are several.
    fn place_of(&self, key: &str) -> (PathBuf, usize) {
        let mark = &body_of(key)[..16];
        let found = self.segments().into_iter().find_map(|(path, _)| {
            let bytes = fs::read(&path).unwrap();
            let at = bytes.windows(mark.len()).rposition(|window| window == mark)?;
            Some((path, at))
        });
        found.unwrap_or_else(|| panic!("{key} is nowhere"))
    }

    fn flip_body(&self, key: &str) {
        let (path, start) = self.place_of(key);
        self.flip(path, start);
    }

    /// A chunk's header stands one block before its first byte.
    fn flip_chunk_header(&self, key: &str) {
        let (path, start) = self.place_of(key);
        self.flip(path, start - BLOCK + 40);
    }

    /// The group in which a small body lies.
    fn flip_group(&self, key: &str, at: usize) {
        let (path, place) = self.place_of(key);
        let groups = scan_groups(self.salt(), &fs::read(&path).unwrap());
        let group = groups.into_iter().rev().find(|(start, _)| *start as usize <= place);
        self.flip(path, group.expect("a body lies in a group").0 as usize + at);
    }

    fn salt(&self) -> Salt {
        match Superblock::decode(&fs::read(self.dir.join("superblock")).unwrap()[..BLOCK]) {
            Copy::Valid(superblock) => Salt::of_store(&superblock.store_uuid),
            other => panic!("{other:?}"),
        }
    }

    /// Of the first shard, newest first.
    fn checkpoints(&self) -> Vec<PathBuf> {
        let sequence = |path: &PathBuf| {
            let header = CheckpointHeader::decode(&fs::read(path).unwrap()[..BLOCK]);
            header.unwrap().expect("it was written").sequence
        };
        let mut found = self.files("ckp");
        found.retain(|path| path.parent().is_some_and(|dir| dir.ends_with("shard-0000")));
        found.sort_by_key(|path| std::cmp::Reverse(sequence(path)));
        found
    }

    /// So many of the newest.
    fn flip_checkpoints(&self, count: usize, at: usize) {
        self.checkpoints().into_iter().take(count).for_each(|path| self.flip(path, at));
    }

    fn truncate(&self, path: PathBuf) {
        self.change(path, |bytes| bytes.truncate(bytes.len() / 2));
    }

    fn remove(&self, path: PathBuf) {
        fs::remove_file(path).unwrap();
    }

    fn make_foreign(&self, path: PathBuf) {
        self.change(path, |bytes| {
            let Header::Valid(mut header) = SegmentHeader::decode(&bytes[..BLOCK]) else {
                panic!("its header is valid");
            };
            header.store_uuid[0] ^= 1;
            header.encode(&mut bytes[..BLOCK]);
        });
    }
}

#[test]
fn each_kind_of_damage_is_told_and_none_is_served() {
    let contents = contents();
    let keys: Vec<&String> = contents["objects"].as_object().unwrap().keys().collect();
    for Variant { name, spoil, start, verify: expected } in VARIANTS {
        let site = copied();
        spoil(&Store { dir: site.data_dir() });
        let (code, said) = verify(&site.data_dir());
        assert_ne!(code, Some(0), "{name}: {said}");
        assert!(said.contains(expected), "{name}: {said}");
        match start {
            Refused(reason) => {
                let (code, said) = site.start_refused();
                assert_eq!(code, 1, "{name}: {said}");
                assert!(said.contains(reason), "{name}: {said}");
            }
            Whole("") => check_served(name, site, &keys, None),
            Whole(text) => check_served(name, site.expect_log(text), &keys, None),
            Without(key) => {
                let site = site
                    .expect_log("stored data does not verify")
                    .expect_log("the answer failed: InternalError")
                    .expect_log("a request failed inside the store");
                check_served(name, site, &keys, Some(key));
            }
        }
    }
}

/// All objects are right but one, which gives an error and never a wrong byte.
fn check_served(name: &str, site: Site, keys: &[&String], failing: Option<&str>) {
    let server = site.start();
    for key in keys {
        let answer = server.client().send(&Request::new("GET", &target(key)));
        let is_right = answer.as_ref().is_ok_and(|answer| answer.status == 200);
        assert_eq!(is_right, failing != Some(key.as_str()), "{name}: {key}");
        if is_right {
            assert!(answer.unwrap().body == body_of(key), "{name}: {key}");
        }
    }
    server.stop();
}
