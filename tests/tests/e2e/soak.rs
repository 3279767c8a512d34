//! Everything at once for as long as one likes: mixed load over every kind of object, a disk that is full
//! now and then, kills, orderly stops and starts that are cut short, while checkpoints, compaction, scrub and
//! lifecycle run all the time. Every acknowledged object is held against what was written, after each end of
//! a server and at the last; memory, descriptors and space are measured whenever the load rests.
//!
//! `RINGFORT_SOAK_SECONDS` says how long, `RINGFORT_SEED` which choices. What was seen is printed at the end as
//! one line of JSON. Where it fails, its data stays.
//!
//! Not here: power loss, which only the simulation has (`sim_*.rs`).

mod actors;
mod expiring;
mod filler;
mod generator;
mod rest;

use std::time::{Duration, Instant};

use ringfort_tests::harness::chance::Chance;
use ringfort_tests::harness::client::{Client, Request};
use ringfort_tests::harness::volume::Volume;
use ringfort_tests::harness::{Server, Site, setting};

use crate::kill::verify_offline;
use actors::{Actors, Ending};
use rest::{Baseline, Rests, Work};

/// The drive is smaller than the capacity that the store was given: it is the drive that is full.
const VOLUME_BYTES: u64 = 400 << 20;
const SECONDS_IN_CI: u64 = 25;
/// Of a stretch of load.
const LIFE_SECONDS_MAX: u64 = 60;
const LIFE_SECONDS_MAX_IN_CI: u64 = 6;
/// Phases of load and rest in the lives that are to show what a server keeps.
const PHASES: u64 = 5;
/// So much longer may it go on, until everything has taken place.
const PATIENCE: Duration = Duration::from_mins(2);

#[test]
fn hours_of_everything_lose_nothing_and_leave_nothing_behind() {
    let seconds = setting("RINGFORT_SOAK_SECONDS", SECONDS_IN_CI);
    let is_long = seconds > SECONDS_IN_CI;
    let day = if is_long { 20 } else { expiring::DAY_SECONDS_MIN };
    let mut site = Site::new()
        .flags(&["--capacity", "1GiB", "--segment-size", "1MiB", "--shards", "4"])
        .flags(&["--checkpoint-log", "512KiB", "--checkpoint-records", "400"])
        .flags(&["--scrub-rate", "8MiB", "--scrub-interval", "5"])
        .variable("RINGFORT_DEBUG_DAY_SECONDS", &day.to_string())
        .expect_log("the filesystem has no space for another segment")
        .expect_log("InsufficientStorage");
    site.keep();
    let volume = Volume::new(&site, "drive", VOLUME_BYTES);
    site = match &volume {
        Some(volume) => site.data_dirs(vec![volume.path().to_owned()]),
        None => site.flags(&["--capacity", "384MiB"]),
    };
    let mut soak = Soak::new(&site, day, is_long);
    soak.run(Duration::from_secs(seconds));
    // The mount goes before the directory that it lies in.
    drop(volume);
    site.keep_no_longer();
}

struct Soak<'a> {
    site: &'a Site,
    actors: Actors,
    chance: Chance,
    is_long: bool,
    lives: u64,
    kills: u64,
    stops: u64,
    starts_cut_short: u64,
    offline_checks: u64,
    rests: Rests,
    work: Work,
}

impl<'a> Soak<'a> {
    fn new(site: &'a Site, day_seconds: u64, is_long: bool) -> Self {
        let seed = setting("RINGFORT_SEED", 1);
        Self {
            site,
            actors: Actors::new(seed, day_seconds, &site.path("ledger")),
            chance: Chance::new(seed),
            is_long,
            lives: 0,
            kills: 0,
            stops: 0,
            starts_cut_short: 0,
            offline_checks: 0,
            rests: Rests::default(),
            work: Work::default(),
        }
    }

    fn run(&mut self, time: Duration) {
        let begin = Instant::now();
        let mut server = self.site.start();
        let empty = Baseline::of(&server);
        self.actors.prepare(&server);
        // On a slow host it takes longer until everything has taken place.
        while begin.elapsed() < time
            || self.lives < 3
            || (!self.had_everything() && begin.elapsed() < time + PATIENCE)
        {
            self.life(server);
            server = self.next();
            self.actors.verify(&server);
            self.say(begin);
        }
        self.actors.remove_everything(&server);
        empty.is_reached_again(&server);
        server.stop();
        verify_offline(self.site);
        self.judge();
        self.say(begin);
    }

    /// Load, and an end.
    fn life(&mut self, server: Server<'a>) {
        self.lives += 1;
        let scrub =
            Request::new("POST", "/api/v1/scrub").header("authorization", "Bearer test-key");
        Client::new(server.admin_listen).call(&scrub.signed_by(None)).expect(202);
        if self.lives % 4 == 2 {
            self.rests.begin(&server);
            for _ in 0..PHASES {
                let load = self.draw_load() / 2;
                self.actors.work_until_rest(&server, load);
                self.rests.measure(&server);
            }
        }
        let load = self.draw_load();
        let stops = self.lives.is_multiple_of(3);
        let end = if stops { Ending::Stop } else { Ending::Kill };
        *(if stops { &mut self.stops } else { &mut self.kills }) += 1;
        self.actors.work_until_the_end(server, load, end, &mut self.work);
    }

    fn draw_load(&mut self) -> Duration {
        let seconds_max = if self.is_long { LIFE_SECONDS_MAX } else { LIFE_SECONDS_MAX_IN_CI };
        Duration::from_millis(300 + self.chance.below(seconds_max * 1000))
    }

    /// The next server: sometimes one dies before it has understood what it found, sometimes the files are
    /// looked at before.
    fn next(&mut self) -> Server<'a> {
        if self.lives % 3 == 1 {
            self.starts_cut_short += 1;
            self.site.start_and_kill(Duration::from_micros(self.chance.below(400_000)));
        }
        if self.lives.is_multiple_of(4) {
            self.offline_checks += 1;
            verify_offline(self.site);
        }
        self.site.start()
    }

    /// It is a soak only if all this took place, and the store was full.
    fn had_everything(&self) -> bool {
        let work = &self.work;
        let worked = [work.checkpoints, work.compacted, work.expired, work.scrubbed_bytes];
        let ended = [self.kills, self.stops, self.actors.refused()];
        worked.iter().chain(&ended).all(|count| *count > 0)
    }

    fn judge(&self) {
        self.rests.judge();
        let all = self.summary();
        assert!(self.had_everything(), "{all}");
        assert_eq!(self.work.findings, 0, "{all}");
    }

    fn summary(&self) -> serde_json::Value {
        serde_json::json!({
            "lives": self.lives, "kills": self.kills, "stops": self.stops,
            "starts_cut_short": self.starts_cut_short, "offline_checks": self.offline_checks,
            "actors": self.actors.summary(), "work": self.work.summary(), "rests": self.rests.summary(),
        })
    }

    #[expect(clippy::print_stderr, reason = "who runs it for hours wants to see how it goes")]
    fn say(&self, begin: Instant) {
        eprintln!("soak after {} s: {}", begin.elapsed().as_secs(), self.summary());
    }
}
