//! Who works on the store, each on keys of its own, and how a stretch of work ends.

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use ringfort_tests::harness::Server;
use ringfort_tests::harness::chance::Chance;
use ringfort_tests::harness::client::Client;
use serde_json::json;

use super::expiring::Expiring;
use super::filler::Filler;
use super::generator::Generator;
use super::rest::Work;
use crate::kill::keys::Failure;
use crate::kill::writer::{Load, Writer};
use crate::kill::{self, versions};

const WRITERS: u64 = 4;
const VERSION_WRITERS: u64 = 2;

/// Inline in a record, at the threshold, in one chunk, in several, in parts.
const LOAD: Load = Load {
    keys: 15,
    sizes: &[0, 100, 5000, 60_000, 131_072, 131_073, 400_000, 2_500_000],
    upload_bytes: (5 << 20) + 300_000,
    scarce: true,
};

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Kill,
    Stop,
}

/// What those who work are told.
#[derive(Debug, Default)]
pub(super) struct Signal(AtomicU8);

impl Signal {
    const ENDING: u8 = 1;
    const REST: u8 = 2;

    /// The server is about to go: being cut off is nothing wrong.
    fn end(&self) {
        self.0.store(Self::ENDING, Ordering::SeqCst);
    }

    /// Everybody is to finish what they are at.
    fn rest(&self) {
        self.0.store(Self::REST, Ordering::SeqCst);
    }

    pub(super) fn is_rest(&self) -> bool {
        self.0.load(Ordering::SeqCst) == Self::REST
    }

    /// Fails the test if nobody has said that the server ends.
    fn expect_cut(&self, error: &std::io::Error) {
        assert_eq!(self.0.load(Ordering::SeqCst), Self::ENDING, "cut off: {error}");
    }

    fn is_over(&self) -> bool {
        self.0.load(Ordering::SeqCst) != 0
    }

    /// Waits for so long, or until it is over. The pause is between steps, not for a condition.
    pub(super) fn pause(&self, time: Duration) {
        let begin = std::time::Instant::now();
        while begin.elapsed() < time && !self.is_over() {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Steps that were taken, and those that the store had no room for.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    done: u64,
    refused: u64,
}

pub(super) struct Actors {
    writers: Vec<Writer>,
    versions: Vec<versions::Writer>,
    expiring: Expiring,
    filler: Filler,
    generator: Generator,
    tally: Tally,
    verifications: u64,
}

impl Actors {
    pub(super) fn new(seed: u64, day_seconds: u64, ledger: &Path) -> Self {
        let writer = |number| Writer::new(number, LOAD, Chance::new(seed << 8 | number));
        Self {
            writers: (0..WRITERS).map(writer).collect(),
            versions: (0..VERSION_WRITERS).map(|n| versions::Writer::new(n, seed)).collect(),
            expiring: Expiring::new(seed, day_seconds),
            filler: Filler::new(seed),
            generator: Generator::new(ledger),
            tally: Tally::default(),
            verifications: 0,
        }
    }

    pub(super) fn prepare(&self, server: &Server<'_>) {
        let mut client = server.client();
        client.put(kill::BUCKET, "").expect(200);
        versions::create_bucket(server);
        self.expiring.prepare(&mut client);
        self.filler.prepare(&mut client);
    }

    /// Works for so long, and comes to rest while the server goes on.
    pub(super) fn work_until_rest(&mut self, server: &Server<'_>, time: Duration) {
        let signal = Signal::default();
        self.work(server, &signal, |generator| {
            // The length of the load is the point of this sleep.
            thread::sleep(time);
            signal.rest();
            generator.end();
        });
    }

    /// Works until the server is gone.
    pub(super) fn work_until_the_end(
        &mut self,
        server: Server<'_>,
        time: Duration,
        ending: Ending,
        seen: &mut Work,
    ) {
        let signal = Signal::default();
        let mut clients = Some(server);
        let place = clients.as_ref().map(Place::of).unwrap();
        self.work_at(&place, &signal, |generator| {
            let server = clients.take().unwrap();
            // The moment is the point of this sleep, not a condition.
            thread::sleep(time);
            seen.add(&server);
            signal.end();
            match ending {
                Ending::Kill => server.kill(),
                Ending::Stop => server.stop(),
            }
            generator.end();
        });
    }

    fn work(
        &mut self,
        server: &Server<'_>,
        signal: &Signal,
        end: impl FnOnce(&mut super::generator::Running),
    ) {
        self.work_at(&Place::of(server), signal, end);
    }

    fn work_at(
        &mut self,
        place: &Place,
        signal: &Signal,
        end: impl FnOnce(&mut super::generator::Running),
    ) {
        let Self { writers, versions, expiring, filler, generator, tally, .. } = self;
        let mut running = generator.start(&place.endpoint);
        thread::scope(|scope| {
            let mut all = Vec::new();
            for writer in writers {
                let mut turn = 0_u64;
                all.push(scope.spawn(move || {
                    repeat(signal, place.client(), |client| {
                        turn += 1;
                        if turn.is_multiple_of(3) {
                            writer.read(client)
                        } else {
                            writer.write(client)
                        }
                    })
                }));
            }
            for writer in versions {
                all.push(
                    scope.spawn(move || {
                        repeat(signal, place.client(), |client| writer.step(client))
                    }),
                );
            }
            all.push(scope.spawn(move || {
                repeat(signal, place.client(), |client| expiring.step(client, signal))
            }));
            all.push(scope.spawn(move || {
                repeat(signal, place.client(), |client| filler.step(client, signal))
            }));
            end(&mut running);
            for actor in all {
                let Tally { done, refused } = actor.join().unwrap();
                tally.done += done;
                tally.refused += refused;
            }
        });
    }

    /// Everything that was acknowledged is there, and nothing else is.
    pub(super) fn verify(&mut self, server: &Server<'_>) {
        thread::scope(|scope| {
            for writer in &mut self.writers {
                let client = server.client();
                scope.spawn(move || writer.verify(client));
            }
            for writer in &mut self.versions {
                let mut client = server.client();
                scope.spawn(move || writer.verify(&mut client));
            }
            let Self { expiring, filler, generator, .. } = self;
            let mut client = server.client();
            scope.spawn(move || expiring.verify(&mut client));
            let mut client = server.client();
            scope.spawn(move || filler.verify(&mut client));
            scope.spawn(move || generator.verify(&server.endpoint()));
        });
        kill::verify_listing(server, &self.writers);
        self.verifications += 1;
    }

    /// Empties every bucket, removes it, and sees the lifecycle do its part.
    pub(super) fn remove_everything(&mut self, server: &Server<'_>) {
        let mut client = server.client();
        self.expiring.wait_until_all_is_gone(&mut client);
        for bucket in
            [kill::BUCKET, versions::BUCKET, super::filler::BUCKET, super::generator::BUCKET]
        {
            empty(&mut client, bucket);
            client.delete(bucket).expect(204);
        }
        client.delete(super::expiring::BUCKET).expect(204);
    }

    pub(super) fn refused(&self) -> u64 {
        self.tally.refused
    }

    pub(super) fn summary(&self) -> serde_json::Value {
        json!({
            "acknowledged": self.tally.done, "refused": self.tally.refused,
            "verifications": self.verifications, "expired": self.expiring.expired(),
            "filled": self.filler.times_full(), "deletes_refused": self.filler.deletes_refused(), "generator": self.generator.summary(),
        })
    }
}

/// Where a server is, for those who may outlive it.
struct Place {
    listen: std::net::SocketAddr,
    endpoint: String,
}

impl Place {
    fn of(server: &Server<'_>) -> Self {
        Self { listen: server.listen, endpoint: server.endpoint() }
    }

    fn client(&self) -> Client {
        Client::new(self.listen)
    }
}

/// One step after the other, until it is over or the server is gone.
fn repeat(
    signal: &Signal,
    mut client: Client,
    mut step: impl FnMut(&mut Client) -> Result<(), Failure>,
) -> Tally {
    let mut tally = Tally::default();
    while !signal.is_rest() {
        match step(&mut client) {
            Ok(()) => tally.done += 1,
            Err(Failure::Refused) => tally.refused += 1,
            Err(Failure::Cut(error)) => {
                signal.expect_cut(&error);
                break;
            }
        }
    }
    tally
}

/// Removes every version of every key, and every upload.
fn empty(client: &mut Client, bucket: &str) {
    let field = |row: &str, name: &str| {
        row.split(name).nth(1).map(|rest| rest.split('<').next().unwrap().to_owned())
    };
    loop {
        let page = client.get(&format!("{bucket}?versions=")).expect(200).text();
        let rows: Vec<&str> = page.split("<Key>").skip(1).collect();
        for row in &rows {
            let key = row.split('<').next().unwrap();
            let id = field(row, "<VersionId>").unwrap();
            client.delete(&format!("{bucket}/{key}?versionId={id}")).expect(204);
        }
        if rows.is_empty() {
            break;
        }
    }
    let page = client.get(&format!("{bucket}?uploads=")).expect(200).text();
    for row in page.split("<Upload>").skip(1) {
        let (key, id) = (field(row, "<Key>").unwrap(), field(row, "<UploadId>").unwrap());
        client.delete(&format!("{bucket}/{key}?uploadId={id}")).expect(204);
    }
}
