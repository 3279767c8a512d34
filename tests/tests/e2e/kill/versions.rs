//! Versions under the same treatment: every acknowledged version, delete marker, removal and change of tags is
//! there after a kill, and of what was under way all or nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::keys::{Failure, carried_out};
use ringfort_tests::harness::chance::Chance;
use ringfort_tests::harness::client::{Client, Request};
use ringfort_tests::harness::{Server, Site, setting};

pub(crate) const BUCKET: &str = "/kill-versions";
const WRITERS: u64 = 4;
const KEYS: u64 = 3;
/// Of one writer: beyond that it removes some.
const VERSIONS_MAX: u64 = 60;
/// The soak's store is full now and then.
const SCARCE: bool = true;
const SIZES: [usize; 5] = [0, 100, 20_000, 131_073, 400_000];

#[test]
fn a_kill_loses_no_version() {
    let site = Site::new()
        .flags(&["--shards", "2", "--segment-size", "1MiB", "--capacity", "600MiB"])
        .flags(&["--checkpoint-log", "64KiB", "--checkpoint-records", "40"]);
    let seed = setting("RINGFORT_SEED", 1);
    let mut writers: Vec<_> = (0..WRITERS).map(|number| Writer::new(number, seed)).collect();
    let mut chance = Chance::new(seed);
    let mut server = site.start();
    create_bucket(&server);
    for _ in 0..setting("RINGFORT_KILLS", 6) {
        under_load(&mut writers, server, Duration::from_millis(200 + chance.below(800)));
        server = site.start();
        for writer in &mut writers {
            writer.verify(&mut server.client());
        }
    }
    server.stop();
    let acknowledged: u64 = writers.iter().map(|writer| writer.acknowledged).sum();
    assert!(acknowledged > 50, "{acknowledged}");
}

pub(crate) fn create_bucket(server: &Server<'_>) {
    server.client().put(BUCKET, "").expect(200);
    let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    server.client().put(&format!("{BUCKET}?versioning="), enabled).expect(200);
}

fn under_load(writers: &mut [Writer], server: Server<'_>, load: Duration) {
    let is_ending = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in writers {
            let (mut client, is_ending) = (server.client(), &is_ending);
            scope.spawn(move || {
                while writer.step(&mut client).is_ok() {}
                assert!(is_ending.load(Ordering::SeqCst), "before the kill");
            });
        }
        // The moment is the point of this sleep, not a condition.
        thread::sleep(load);
        is_ending.store(true, Ordering::SeqCst);
        server.kill();
    });
}

/// A version that is there; a delete marker has neither content nor tags.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    content: Option<(u64, usize)>,
    tag: u64,
}

/// What had no answer when the server died.
#[derive(Debug)]
enum UnderWay {
    New { key: String, version: Version },
    Removal { key: String, id: String },
    Tag { key: String, id: String, tag: u64 },
}

pub(crate) struct Writer {
    number: u64,
    chance: Chance,
    written: u64,
    pub(crate) acknowledged: u64,
    /// By key and version id.
    versions: BTreeMap<(String, String), Version>,
    under_way: Option<UnderWay>,
}

impl Writer {
    pub(crate) fn new(number: u64, seed: u64) -> Self {
        Self {
            number,
            chance: Chance::new(seed << 8 | number),
            written: 0,
            acknowledged: 0,
            versions: BTreeMap::new(),
            under_way: None,
        }
    }

    /// One change.
    pub(crate) fn step(&mut self, client: &mut Client) -> Result<(), Failure> {
        let key = format!("w{}/{}", self.number, self.chance.below(KEYS));
        let count = self.versions.len() as u64;
        let picked = (count > 0).then(|| self.chance.below(count) as usize);
        let picked = picked.and_then(|at| self.versions.keys().nth(at)).cloned();
        // All of them are to fit into one page of a listing.
        let choice = if count > VERSIONS_MAX { 0 } else { self.chance.below(10) };
        let done = match (choice, picked) {
            (0..=1, Some((key, id))) => self.remove(client, key, id),
            (2..=3, Some((key, id)))
                if self.versions[&(key.clone(), id.clone())].content.is_some() =>
            {
                self.tag(client, key, id)
            }
            (4, _) => self.create(client, key, None),
            _ => {
                let size = *self.chance.of(&SIZES);
                self.written += 1;
                // An empty body cannot say what it is made of.
                let seed = if size == 0 { 0 } else { self.number << 32 | self.written };
                self.create(client, key, Some((seed, size)))
            }
        };
        match done {
            Ok(()) => self.acknowledged += 1,
            Err(Failure::Refused) => {}
            Err(Failure::Cut(_)) => return done,
        }
        self.under_way = None;
        done
    }

    /// A new version, or a delete marker.
    fn create(
        &mut self,
        client: &mut Client,
        key: String,
        content: Option<(u64, usize)>,
    ) -> Result<(), Failure> {
        let path = format!("{BUCKET}/{key}");
        let (request, status) = match content {
            Some(content) => (Request::new("PUT", &path).body(bytes(content)), 200),
            None => (Request::new("DELETE", &path), 204),
        };
        let version = Version { content, tag: 0 };
        self.under_way = Some(UnderWay::New { key: key.clone(), version: version.clone() });
        let answer = carried_out(client.send(&request)?, status, SCARCE)?;
        let id = answer.header("x-amz-version-id").unwrap().to_owned();
        assert!(self.versions.insert((key, id), version).is_none(), "an id came twice");
        Ok(())
    }

    fn remove(&mut self, client: &mut Client, key: String, id: String) -> Result<(), Failure> {
        let request = Request::new("DELETE", &format!("{BUCKET}/{key}?versionId={id}"));
        self.under_way = Some(UnderWay::Removal { key: key.clone(), id: id.clone() });
        carried_out(client.send(&request)?, 204, SCARCE)?;
        self.versions.remove(&(key, id));
        Ok(())
    }

    fn tag(&mut self, client: &mut Client, key: String, id: String) -> Result<(), Failure> {
        self.written += 1;
        let tag = self.written;
        let body = format!(
            "<Tagging><TagSet><Tag><Key>k</Key><Value>{tag}</Value></Tag></TagSet></Tagging>"
        );
        let target = format!("{BUCKET}/{key}?tagging=&versionId={id}");
        self.under_way = Some(UnderWay::Tag { key: key.clone(), id: id.clone(), tag });
        let request = Request::new("PUT", &target).body(body);
        carried_out(client.send(&request)?, 200, SCARCE)?;
        self.versions.get_mut(&(key, id)).unwrap().tag = tag;
        Ok(())
    }

    /// Compares all that is there with all that may be.
    pub(crate) fn verify(&mut self, client: &mut Client) {
        let target = format!("{BUCKET}?prefix=w{}%2F&versions=", self.number);
        let page = client.get(&target).expect(200).text();
        assert!(
            page.contains("<IsTruncated>false</IsTruncated>"),
            "the test has too many versions"
        );
        let mut found = BTreeMap::new();
        for row in page.split("<Key>").skip(1) {
            let key = row.split('<').next().unwrap().to_owned();
            let id = row.split("<VersionId>").nth(1).unwrap().split('<').next().unwrap().to_owned();
            let is_marker = !row.contains("<ETag>");
            let version = look(client, &key, &id, is_marker);
            assert!(found.insert((key, id), version).is_none(), "a version is listed twice");
        }
        if found != self.versions {
            self.settle(&found);
        }
        assert_eq!(found, self.versions, "writer {}", self.number);
        self.under_way = None;
    }

    /// What was under way has happened, it seems.
    fn settle(&mut self, found: &BTreeMap<(String, String), Version>) {
        match self.under_way.take() {
            Some(UnderWay::New { key, version }) => {
                let is_new = |place: &&(String, String)| !self.versions.contains_key(*place);
                let new: Vec<_> = found.keys().filter(is_new).cloned().collect();
                assert!(new.len() == 1 && new[0].0 == key, "{new:?}");
                self.versions.extend(new.into_iter().map(|place| (place, version.clone())));
            }
            Some(UnderWay::Removal { key, id }) => {
                self.versions.remove(&(key, id));
            }
            Some(UnderWay::Tag { key, id, tag }) => {
                self.versions.get_mut(&(key, id)).unwrap().tag = tag;
            }
            None => {}
        }
    }
}

fn look(client: &mut Client, key: &str, id: &str, is_marker: bool) -> Version {
    let target = format!("{BUCKET}/{key}?versionId={id}");
    if is_marker {
        assert_eq!(client.get(&target).expect(405).header("x-amz-delete-marker"), Some("true"));
        return Version { content: None, tag: 0 };
    }
    let body = client.get(&target).expect(200).body;
    let seed = body.first_chunk().map_or(0, |seed| u64::from_le_bytes(*seed));
    let content = (seed, body.len());
    assert!(body == bytes(content), "{key} {id} has bytes of another version");
    let tags = client.get(&format!("{BUCKET}/{key}?tagging=&versionId={id}")).expect(200).text();
    let value = tags.split("<Value>").nth(1).map(|rest| rest.split('<').next().unwrap());
    Version { content: Some(content), tag: value.map_or(0, |value| value.parse().unwrap()) }
}

/// Content that says at its beginning what it is made of.
fn bytes((seed, size): (u64, usize)) -> Vec<u8> {
    let mut bytes = Chance::new(seed).bytes(size);
    if let Some(head) = bytes.first_chunk_mut() {
        *head = seed.to_le_bytes();
    }
    bytes
}
