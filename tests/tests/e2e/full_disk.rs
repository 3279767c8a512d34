//! A filesystem that is full before the store's configured capacity is: writes are refused with the right
//! error, and everything else works.

use std::collections::BTreeSet;
use std::thread;
use std::time::Duration;

use ringfort_tests::harness::chance::Chance;
use ringfort_tests::harness::volume::Volume;
use ringfort_tests::harness::{Server, Site, wait_until};

const VOLUME_BYTES: u64 = 128 << 20;
/// Keys refused in a row: every shard was asked then, as good as certainly.
const REFUSALS: u32 = 24;
/// Between attempts to write to a full store.
const PAUSE: Duration = Duration::from_millis(100);

/// A store that fills up with objects of one size.
struct Filling<'a> {
    server: Server<'a>,
    object_bytes: usize,
    present: BTreeSet<u64>,
    next: u64,
}

impl<'a> Filling<'a> {
    fn new(site: &'a Site, object_bytes: usize) -> Self {
        let server = site.start();
        server.client().put("/bucket", "").expect(200);
        Self { server, object_bytes, present: BTreeSet::new(), next: 0 }
    }

    fn name(number: u64) -> String {
        format!("/bucket/{number:06}")
    }

    fn body(&self, number: u64) -> Vec<u8> {
        Chance::new(number).bytes(self.object_bytes)
    }

    /// Writes objects until no shard takes any; how many were taken.
    fn fill(&mut self) -> usize {
        let mut client = self.server.client();
        let (mut taken, mut refusals) = (0, 0);
        while refusals < REFUSALS {
            let answer = client.put(&Self::name(self.next), self.body(self.next));
            if answer.status == 200 {
                self.present.insert(self.next);
                taken += 1;
                refusals = 0;
            } else {
                answer.expect_error(507, "InsufficientStorage");
                refusals += 1;
            }
            self.next += 1;
            let bytes = self.present.len() * self.object_bytes;
            assert!((bytes as u64) < VOLUME_BYTES, "the volume holds more than it has room for");
        }
        taken
    }

    /// Deletes every second object; how many.
    fn delete_half(&mut self) -> usize {
        let mut client = self.server.client();
        let doomed: Vec<u64> = self.present.iter().copied().step_by(2).collect();
        for number in &doomed {
            client.delete(&Self::name(*number)).expect(204);
            self.present.remove(number);
        }
        doomed.len()
    }

    /// Exactly the objects that should be there are, and right.
    fn check(&self) {
        let mut client = self.server.client();
        for number in &self.present {
            let answer = client.get(&Self::name(*number)).expect(200);
            assert!(answer.body == self.body(*number), "{number}");
        }
        let (mut count, mut after) = (0, String::new());
        loop {
            let page = client.get(&format!("/bucket?list-type=2&start-after={after}")).expect(200);
            count += page.text().matches("<Key>").count();
            if page.element("IsTruncated").as_deref() == Some("false") {
                break;
            }
            let text = page.text();
            let (_, last) = text.rsplit_once("<Key>").unwrap();
            last.split_once('<').unwrap().0.clone_into(&mut after);
        }
        assert_eq!(count, self.present.len());
    }

    fn kill_and_start(self, site: &'a Site) -> Self {
        self.server.kill();
        Self { server: site.start(), ..self }
    }
}

fn check(object_bytes: usize, count_min: usize) {
    let mut site = Site::new()
        .flags(&["--capacity", "1GiB", "--segment-size", "1MiB"])
        .expect_log("the filesystem has no space for another segment");
    let Some(volume) = Volume::new(&site, "drive", VOLUME_BYTES) else { return };
    site = site.data_dirs(vec![volume.path().to_owned()]);
    let mut filling = Filling::new(&site, object_bytes);
    let count = filling.fill();
    assert!(count > count_min, "only {count} objects were taken");
    filling.check();

    let mut filling = filling.kill_and_start(&site);
    filling.check();
    let more = filling.fill();
    assert!(more < count / 5, "{more} objects more after the kill");
    let deleted = filling.delete_half();
    filling.check();
    // Space of small objects is gained in the background, and not by asking all the time.
    let mut refilled = 0;
    wait_until("space to come back", || {
        thread::sleep(PAUSE);
        refilled += filling.fill();
        refilled >= deleted / 2
    });

    let filling = filling.kill_and_start(&site);
    filling.check();
    filling.server.stop();
}

#[test]
fn a_filesystem_full_of_large_objects_refuses_writes_and_nothing_else() {
    check(1 << 20, 40);
}

/// These lie in the log, which has to be compacted to take more.
#[test]
fn a_filesystem_full_of_small_objects_refuses_writes_and_nothing_else() {
    check(60_000, 500);
}
