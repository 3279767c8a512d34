//! SIGKILL at random moments under load: no acknowledged write is lost, none is half visible.
//!
//! `RINGFORT_KILLS` says how often, `RINGFORT_SEED` which moments. Every writer is the only one of its
//! keys, so that what it may find after a restart is known exactly: what was last acknowledged, or
//! what was under way when the server died.

pub(crate) mod keys;
pub(crate) mod oracle;
pub(crate) mod versions;
pub(crate) mod writer;

use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use ringfort_tests::harness::chance::Chance;
use ringfort_tests::harness::client::Client;
use ringfort_tests::harness::{Server, Site, ringfort, setting};
use writer::{Load, Tally, Writer};

pub(crate) const BUCKET: &str = "/kill-loop";

/// Inline in a record, at the threshold, in one chunk, in several, in parts.
const MIXED: Load = Load {
    keys: 15,
    sizes: &[0, 100, 5000, 60_000, 131_073, 400_000, 2_500_000],
    upload_bytes: (5 << 20) + 300_000,
    scarce: false,
};

/// Mostly for the log, of which little is alive at any time.
const CHURN: Load = Load {
    keys: 12,
    sizes: &[0, 100, 5000, 20_000, 60_000, 60_000, 131_072, 131_073, 300_000],
    upload_bytes: 200_000,
    scarce: true,
};

#[test]
fn a_kill_at_any_moment_loses_nothing_that_was_acknowledged() {
    let site = Site::new().flags(&["--capacity", "24GiB"]);
    let mut rounds = Rounds::new(&site, 6, MIXED);
    let server = rounds.run(setting("RINGFORT_KILLS", 10), |chance| chance.below(600));
    server.stop();
}

/// Two shards of 20 segments: what the writers write in a second or two fills them, so that at any moment
/// of a round something is being compacted, recycled, or written to a checkpoint.
#[test]
fn a_kill_loses_nothing_while_space_is_used_again_and_again() {
    let site = Site::new()
        .flags(&["--shards", "2", "--segment-size", "1MiB", "--capacity", "40MiB"])
        .flags(&["--checkpoint-log", "64KiB", "--checkpoint-records", "40"]);
    let mut rounds = Rounds::new(&site, 4, CHURN);
    let kills = setting("RINGFORT_KILLS", 10);
    let draw_ms: fn(&mut Chance) -> u64 = |chance| 500 + chance.below(1500);
    let mut server = rounds.run(kills, draw_ms);
    // On a slow host space is written over less often.
    for round in kills..6 * kills {
        if rounds.work.is_plenty(kills) {
            break;
        }
        server = rounds.round(server, round, draw_ms);
    }
    server.stop();
    let done = format!("{:?}, {:?} in {kills} rounds or more", rounds.work, rounds.tally);
    assert!(rounds.work.is_plenty(kills), "{done}");
    assert!(rounds.tally.refused * 10 < rounds.tally.acknowledged, "{done}");
    verify_offline(&site);
}

/// What the servers did in the background, as far as they could say it before they were killed.
#[derive(Debug, Default)]
struct Work {
    checkpoints: u64,
    compacted: u64,
    recycled: u64,
}

impl Work {
    fn is_plenty(&self, kills: u64) -> bool {
        let Self { checkpoints, compacted, recycled } = *self;
        checkpoints > 2 * kills && compacted > kills && recycled > kills
    }

    fn add(&mut self, admin: &mut Client) {
        let page = admin.get("/metrics").expect(200).text();
        let sum = |name: &str| -> u64 {
            let of_all_cores = page.lines().filter(|line| line.starts_with(&format!("{name}{{")));
            of_all_cores.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
        };
        self.checkpoints += sum("ringfort_checkpoints_total");
        self.compacted += sum("ringfort_segments_compacted_total");
        self.recycled += sum("ringfort_segments_recycled_total");
    }
}

/// Rounds of load, each with an end that nothing prepares for, and a look at everything after it.
struct Rounds<'a> {
    site: &'a Site,
    writers: Vec<Writer>,
    chance: Chance,
    work: Work,
    tally: Tally,
}

impl<'a> Rounds<'a> {
    fn new(site: &'a Site, writers: u64, load: Load) -> Self {
        let seed = setting("RINGFORT_SEED", 1);
        let writer = |number| Writer::new(number, load, Chance::new(seed << 8 | number));
        Self {
            site,
            writers: (0..writers).map(writer).collect(),
            chance: Chance::new(seed),
            work: Work::default(),
            tally: Tally::default(),
        }
    }

    /// So many rounds; how long each lasts is drawn in milliseconds. Gives the server of the last look.
    fn run(&mut self, rounds: u64, draw_ms: fn(&mut Chance) -> u64) -> Server<'a> {
        let mut server = self.site.start();
        server.client().put(BUCKET, "").expect(200);
        for round in 0..rounds {
            server = self.round(server, round, draw_ms);
        }
        assert!(self.tally.acknowledged > rounds, "{:?}", self.tally);
        server
    }

    /// Load, an end, and a look by the next server, which it gives.
    fn round(
        &mut self,
        server: Server<'a>,
        round: u64,
        draw_ms: fn(&mut Chance) -> u64,
    ) -> Server<'a> {
        let load = Duration::from_millis(draw_ms(&mut self.chance));
        self.under_load(load, server, round);
        // Now and then it dies again before it has understood what it found.
        if round % 3 == 2 {
            let moment = Duration::from_micros(self.chance.below(120_000));
            self.site.start_and_kill(moment);
        }
        if round % 4 == 3 {
            verify_offline(self.site);
        }
        let server = self.site.start();
        self.verify(&server);
        server
    }

    /// Runs all writers until the server is gone.
    fn under_load(&mut self, load: Duration, server: Server<'a>, round: u64) {
        let is_ending = AtomicBool::new(false);
        let mut admin = Client::new(server.admin_listen);
        let Self { writers, work, tally, .. } = self;
        thread::scope(|scope| {
            let running: Vec<_> = writers
                .iter_mut()
                .map(|writer| {
                    let (client, is_ending) = (server.client(), &is_ending);
                    scope.spawn(move || writer.write_until_the_end(client, is_ending))
                })
                .collect();
            // The moment is the point of this sleep, not a condition.
            thread::sleep(load);
            work.add(&mut admin);
            is_ending.store(true, Ordering::SeqCst);
            end(server, round);
            for writer in running {
                let Tally { acknowledged, refused } = writer.join().unwrap();
                tally.acknowledged += acknowledged;
                tally.refused += refused;
            }
        });
    }

    fn verify(&mut self, server: &Server<'_>) {
        thread::scope(|scope| {
            for writer in &mut self.writers {
                let client = server.client();
                scope.spawn(move || writer.verify(client));
            }
        });
        verify_listing(server, &self.writers);
    }
}

/// Mostly a kill; now and then the orderly stop, which may cut requests off but no acknowledged one.
fn end(server: Server<'_>, round: u64) {
    if round % 5 == 4 { server.stop() } else { server.kill() }
}

/// Nothing in the files of a store that nobody serves is damaged, whatever ended its last server.
pub(crate) fn verify_offline(site: &Site) {
    let mut command = Command::new(ringfort());
    let output = command.arg("verify").arg("--data-dir").arg(site.data_dir()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
}

/// The listing holds exactly the keys that GET has found.
pub(crate) fn verify_listing(server: &Server<'_>, writers: &[Writer]) {
    let mut expected: Vec<&str> = writers.iter().flat_map(Writer::present_keys).collect();
    expected.sort();
    let page = server.client().get(&format!("{BUCKET}?list-type=2")).expect(200).text();
    assert!(page.contains("<IsTruncated>false</IsTruncated>"), "the test has too many keys");
    let keys = page.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned());
    assert_eq!(keys.collect::<Vec<_>>(), expected);
    let uploads = server.client().get(&format!("{BUCKET}?uploads=")).expect(200).text();
    let known: usize = writers.iter().map(Writer::open_uploads).sum();
    assert_eq!(uploads.matches("<UploadId>").count(), known, "{uploads}");
}
