//! What a server holds when nobody asks for anything, and what it has done.

use ringfort_tests::harness::client::Client;
use ringfort_tests::harness::{PATIENCE, Server, wait_within};
use serde_json::json;

const ROOM: &str = "/soak-room";
/// In a row: every shard was asked then, as good as certainly.
const REFUSALS: u32 = 24;

/// What allocators keep of a load's peak. A leak of a load's length goes beyond it.
const MEMORY_SLACK_BYTES: u64 = 64 << 20;

/// All but those of segments, which the store keeps open up to a bound of its own.
fn other_descriptors(server: &Server<'_>) -> usize {
    server.descriptors().iter().filter(|target| !target.ends_with(".seg")).count()
}

/// A store without objects, and how many it took before it was full.
#[derive(Debug)]
pub(super) struct Baseline {
    descriptors: usize,
    objects: usize,
}

impl Baseline {
    pub(super) fn of(server: &Server<'_>) -> Self {
        let mut room = Room::new(server);
        room.fill();
        let objects = room.empty();
        Self { descriptors: other_descriptors(server), objects }
    }

    /// As many objects find room again: what is dead is cleared away when space is wanted.
    pub(super) fn is_reached_again(&self, server: &Server<'_>) {
        let mut room = Room::new(server);
        wait_within(PATIENCE * 2, "the store to take as much as when it was new", || {
            room.fill();
            room.taken.len() * 20 >= self.objects * 19
        });
        room.empty();
        wait_within(PATIENCE, "descriptors to be as few as at first", || {
            other_descriptors(server) <= self.descriptors
        });
    }
}

/// A bucket of objects of one size.
struct Room {
    client: Client,
    next: u64,
    taken: Vec<u64>,
}

impl Room {
    fn new(server: &Server<'_>) -> Self {
        let mut client = server.client();
        client.put(ROOM, "").expect(200);
        Self { client, next: 0, taken: Vec::new() }
    }

    /// Writes objects until none has been taken for a while.
    fn fill(&mut self) {
        let body = vec![0x5a; 1 << 20];
        let mut refusals = 0;
        while refusals < REFUSALS {
            // Another key each time: it may belong to a shard that has room.
            self.next += 1;
            let answer = self.client.put(&format!("{ROOM}/{}", self.next), &body[..]);
            if answer.status == 200 {
                self.taken.push(self.next);
                refusals = 0;
            } else {
                answer.expect_error(507, "InsufficientStorage");
                refusals += 1;
            }
        }
    }

    /// Removes it all: how many there were.
    fn empty(mut self) -> usize {
        for number in &self.taken {
            self.client.delete(&format!("{ROOM}/{number}")).expect(204);
        }
        self.client.delete(ROOM).expect(204);
        self.taken.len()
    }
}

/// Rests of one life.
#[derive(Debug, Default)]
pub(super) struct Rests {
    lives: u64,
    count: u64,
    /// Of the present life: after its first load, and what every later one is held against.
    first: Option<(u64, usize)>,
    sockets: usize,
    grown_bytes_max: u64,
    descriptors_more_max: usize,
    resident_bytes_max: u64,
}

impl Rests {
    pub(super) fn begin(&mut self, server: &Server<'_>) {
        self.lives += 1;
        self.first = None;
        // The connections of the verification are on their way out.
        let mut sockets = usize::MAX;
        wait_within(PATIENCE, "connections to close", || {
            let now = server.sockets();
            now == std::mem::replace(&mut sockets, now) && now <= 4
        });
        self.sockets = sockets;
    }

    pub(super) fn measure(&mut self, server: &Server<'_>) {
        wait_within(PATIENCE, "all connections to be closed", || server.sockets() <= self.sockets);
        wait_within(PATIENCE, "memory of bodies and pins to come back", || {
            server.metric("ringfort_body_bytes") == 0.0
                && server.metric("ringfort_pins_held") == 0.0
        });
        let (resident, descriptors) = (server.resident_bytes(), other_descriptors(server));
        self.count += 1;
        self.resident_bytes_max = self.resident_bytes_max.max(resident);
        match self.first {
            None => self.first = Some((resident, descriptors)),
            Some((first, before)) => {
                self.grown_bytes_max = self.grown_bytes_max.max(resident.saturating_sub(first));
                self.descriptors_more_max =
                    self.descriptors_more_max.max(descriptors.saturating_sub(before));
            }
        }
    }

    pub(super) fn judge(&self) {
        assert!(self.count > 1, "{self:?}");
        assert!(self.grown_bytes_max < MEMORY_SLACK_BYTES, "{self:?}");
        assert!(self.descriptors_more_max <= 2, "{self:?}");
    }

    pub(super) fn summary(&self) -> serde_json::Value {
        json!({
            "lives": self.lives, "rests": self.count, "grown_bytes_max": self.grown_bytes_max,
            "descriptors_more_max": self.descriptors_more_max,
            "resident_bytes_max": self.resident_bytes_max,
        })
    }
}

/// What the servers did in the background, as far as they could say it before they ended.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) checkpoints: u64,
    pub(super) compacted: u64,
    recycled: u64,
    pub(super) scrubbed_bytes: u64,
    pub(super) findings: u64,
    pub(super) expired: u64,
}

impl Work {
    pub(super) fn add(&mut self, server: &Server<'_>) {
        let of = |name| server.metric(name) as u64;
        self.checkpoints += of("ringfort_checkpoints_total");
        self.compacted += of("ringfort_segments_compacted_total");
        self.recycled += of("ringfort_segments_recycled_total");
        self.scrubbed_bytes += of("ringfort_scrub_bytes_total");
        self.findings += of("ringfort_scrub_findings_total");
        self.findings += of("ringfort_checksum_failures_total");
        self.expired += of("ringfort_lifecycle_actions_total");
    }

    pub(super) fn summary(&self) -> serde_json::Value {
        json!({
            "checkpoints": self.checkpoints, "segments_compacted": self.compacted,
            "segments_recycled": self.recycled, "scrubbed_bytes": self.scrubbed_bytes,
            "findings": self.findings, "lifecycle_actions": self.expired,
        })
    }
}
