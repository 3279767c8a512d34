//! Fills the store until it takes no more, gives the space back, and waits a while.

use std::time::Duration;

use ringfort_tests::harness::chance::Chance;
use ringfort_tests::harness::client::Client;

use super::actors::Signal;
use crate::kill::keys::{Failure, Keys};
use crate::kill::oracle::Object;

pub(super) const BUCKET: &str = "/soak-filler";
/// After so many it is full, although others give space back all the time.
const REFUSALS: u32 = 24;
/// Of each size the log and the slabs fill up in other ways.
const SIZES: [usize; 3] = [60_000, 131_073, 1 << 20];
/// Objects that stay where the rest is deleted.
const KEPT_OF: u64 = 8;
/// Of one deletion in a row.
const DELETE_REFUSALS_MAX: u32 = 300;
const BETWEEN_DELETES: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_secs(4);

/// What it is at.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Filling { refusals: u32 },
    Deleting { next: u64, refusals: u32 },
}

#[derive(Debug)]
pub(super) struct Filler {
    keys: Keys,
    chance: Chance,
    phase: Phase,
    /// Of keys, which are used again in each round, and of contents, which are not.
    next: u64,
    written: u64,
    times_full: u64,
    deletes_refused: u64,
}

impl Filler {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            keys: Keys::new(BUCKET, true),
            chance: Chance::new(seed ^ 0xf111),
            phase: Phase::Filling { refusals: 0 },
            next: 0,
            written: 0,
            times_full: 0,
            deletes_refused: 0,
        }
    }

    pub(super) fn prepare(&self, client: &mut Client) {
        client.put(BUCKET, "").expect(200);
    }

    pub(super) fn times_full(&self) -> u64 {
        self.times_full
    }

    pub(super) fn deletes_refused(&self) -> u64 {
        self.deletes_refused
    }

    pub(super) fn step(&mut self, client: &mut Client, signal: &Signal) -> Result<(), Failure> {
        match self.phase {
            Phase::Filling { refusals } => {
                let done = self.write(client);
                self.phase = match done {
                    Err(Failure::Refused) if refusals + 1 >= REFUSALS => {
                        self.times_full += 1;
                        Phase::Deleting { next: 0, refusals: 0 }
                    }
                    Err(Failure::Refused) => Phase::Filling { refusals: refusals + 1 },
                    _ => Phase::Filling { refusals },
                };
                done
            }
            Phase::Deleting { next, .. } if next >= self.next => {
                self.next = 0;
                self.phase = Phase::Filling { refusals: 0 };
                signal.pause(PAUSE);
                Ok(())
            }
            Phase::Deleting { next, .. } if next.is_multiple_of(KEPT_OF) => {
                self.phase = Phase::Deleting { next: next + 1, refusals: 0 };
                Ok(())
            }
            Phase::Deleting { next, refusals } => {
                let done = self.keys.delete(client, &key(next));
                self.phase = Phase::Deleting { next: next + 1, refusals: 0 };
                if let Err(Failure::Refused) = done {
                    // Others write all the time, and the last room may be theirs; but not for long.
                    assert!(refusals < DELETE_REFUSALS_MAX, "a full store takes no deletions");
                    self.deletes_refused += 1;
                    self.phase = Phase::Deleting { next, refusals: refusals + 1 };
                    signal.pause(BETWEEN_DELETES);
                }
                done
            }
        }
    }

    fn write(&mut self, client: &mut Client) -> Result<(), Failure> {
        let size = *self.chance.of(&SIZES);
        let number = self.next;
        self.next += 1;
        self.written += 1;
        self.keys.put(client, &key(number), Object { seed: 0xf1 << 48 | self.written, size })
    }

    pub(super) fn verify(&mut self, client: &mut Client) {
        self.keys.verify(client);
    }
}

fn key(number: u64) -> String {
    format!("{number:05}")
}
