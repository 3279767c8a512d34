//! What goes wrong and when: planned faults, random ones, and the count of I/Os by which they are
//! named.
//!
//! I/Os are numbered from 0 in the order in which they take effect, over the whole simulation. So the
//! current value of a counter names the next I/O of its kind.

use super::random::Random;

/// A planned fault. `nth` counts the I/Os of the fault's kind, `io` all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The read fails with EIO.
    ReadError { nth: u64 },
    /// The write fails with EIO; any of its sectors may have been written.
    WriteError { nth: u64 },
    /// The sync fails with EIO; what it was to make durable may never be, whatever later syncs say.
    SyncError { nth: u64 },
    /// The preallocation fails with ENOSPC.
    NoSpace { nth: u64 },
    /// The write succeeds and does nothing.
    LostWrite { nth: u64 },
    /// The write succeeds and lands elsewhere, in its own file or in another.
    MisdirectedWrite { nth: u64 },
    /// Power fails before the I/O takes effect.
    CrashBefore { io: u64 },
    /// Power fails after the I/O took effect, before its caller is told.
    CrashAfter { io: u64 },
}

/// Random faults, in I/Os of their kind per million.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultRates {
    pub read_error: u32,
    pub write_error: u32,
    pub sync_error: u32,
    pub no_space: u32,
    pub lost_write: u32,
    pub misdirected_write: u32,
    /// Of all I/Os.
    pub crash: u32,
}

/// I/Os that have taken effect, the failed ones included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// All of them.
    pub ios: u64,
    pub reads: u64,
    pub writes: u64,
    /// Of files; a directory's sync is among the names.
    pub syncs: u64,
    pub preallocations: u64,
    /// Opens, creations, renames, removals, listings and syncs of directories, locks.
    pub names: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IoKind {
    Read,
    Write,
    Sync,
    Preallocate,
    Name,
}

/// What becomes of the effect of one I/O.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Normal,
    Error,
    Lost,
    Misdirected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) crash_before: bool,
    pub(super) outcome: Outcome,
    pub(super) crash_after: bool,
}

#[derive(Debug)]
pub(super) struct Faults {
    planned: Vec<Fault>,
    rates: FaultRates,
    random: Random,
    counters: Counters,
    history_digest: u64,
}

impl Faults {
    pub(super) fn new(rates: FaultRates, random: Random) -> Self {
        let counters = Counters::default();
        Self { planned: Vec::new(), rates, random, counters, history_digest: 0 }
    }

    pub(super) fn plan(&mut self, fault: Fault) {
        self.planned.push(fault);
    }

    pub(super) fn forget_planned(&mut self) {
        self.planned.clear();
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn history_digest(&self) -> u64 {
        self.history_digest
    }

    pub(super) fn begin(&mut self, kind: IoKind, now_ns: u64) -> Verdict {
        let io = take_number(&mut self.counters.ios);
        let outcome = match kind {
            IoKind::Read => {
                let nth = take_number(&mut self.counters.reads);
                self.strike(Fault::ReadError { nth }, self.rates.read_error, Outcome::Error)
            }
            IoKind::Write => self.write_outcome(),
            IoKind::Sync => {
                let nth = take_number(&mut self.counters.syncs);
                self.strike(Fault::SyncError { nth }, self.rates.sync_error, Outcome::Error)
            }
            IoKind::Preallocate => {
                let nth = take_number(&mut self.counters.preallocations);
                self.strike(Fault::NoSpace { nth }, self.rates.no_space, Outcome::Error)
            }
            IoKind::Name => {
                take_number(&mut self.counters.names);
                None
            }
        };
        // The crash rate is split evenly, so that both sides of an I/O are hit.
        let crash_before = self.hits(Fault::CrashBefore { io }, self.rates.crash / 2);
        let crash_after = self.hits(Fault::CrashAfter { io }, self.rates.crash.div_ceil(2));
        let seen = self.history_digest ^ now_ns ^ ((kind as u64) << 56);
        self.history_digest = Random::new(seen).next();
        Verdict { crash_before, outcome: outcome.unwrap_or(Outcome::Normal), crash_after }
    }

    fn write_outcome(&mut self) -> Option<Outcome> {
        let nth = take_number(&mut self.counters.writes);
        let rates = self.rates;
        self.strike(Fault::WriteError { nth }, rates.write_error, Outcome::Error)
            .or_else(|| self.strike(Fault::LostWrite { nth }, rates.lost_write, Outcome::Lost))
            .or_else(|| {
                let fault = Fault::MisdirectedWrite { nth };
                self.strike(fault, rates.misdirected_write, Outcome::Misdirected)
            })
    }

    fn strike(&mut self, fault: Fault, rate: u32, outcome: Outcome) -> Option<Outcome> {
        self.hits(fault, rate).then_some(outcome)
    }

    fn hits(&mut self, fault: Fault, rate: u32) -> bool {
        let planned = self.planned.iter().position(|planned| *planned == fault);
        if let Some(index) = planned {
            self.planned.swap_remove(index);
        }
        planned.is_some() || self.random.per_million(rate)
    }
}

fn take_number(counter: &mut u64) -> u64 {
    let number = *counter;
    *counter += 1;
    number
}
