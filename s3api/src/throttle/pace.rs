//! Bandwidth: bodies wait until their bytes are due; what is under way is never refused for it.
//!
//! Each piece of a body is given its place behind those that were counted before it, whichever request and core they
//! belong to, and passes when that is reached. What waits is one piece of each body, which is in memory anyway.
//!
//! Invariants: in any time T at most `T + BANDWIDTH_BURST` worth of bytes pass, and one piece of each body beyond, as long
//! as less is owed than `gcra` keeps in mind (requests are refused at half of that); while the server stops nobody
//! waits, so that what is under way ends.
//!
//! Not here: what is counted (`gcra`), and for whom (`admission`).

use super::admission::Admission;
use super::limiter::Direction;
use crate::auth::payload::RawBody;
use crate::limits::BANDWIDTH_SLICE;
use crate::readiness::Readiness;
use engine::platform::Platform;
use std::time::Duration;

/// Waits until so many bytes of a request's body, or of its answer's, are due.
async fn pass<P: Platform>(
    admission: &Admission,
    direction: Direction,
    bytes: usize,
    (platform, readiness): (&P, &Readiness),
) {
    let due_ns = admission.reserve(direction, bytes as u64, platform.monotonic_ns());
    loop {
        let left = Duration::from_nanos(due_ns.saturating_sub(platform.monotonic_ns()));
        if left.is_zero() || readiness.is_stopping() {
            return;
        }
        platform.sleep(left.min(BANDWIDTH_SLICE)).await;
    }
}

/// A request's body, which comes no faster than the limits of its user and its bucket say.
#[derive(Debug)]
pub struct PacedBody<'a, B, P> {
    pub body: &'a mut B,
    pub admission: &'a Admission,
    pub platform: &'a P,
    pub readiness: &'a Readiness,
}

impl<B: RawBody, P: Platform> RawBody for PacedBody<'_, B, P> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, http::Error> {
        // Which limits there are is known only when the operation has begun.
        let Some(most) = self.admission.piece_bytes_max() else {
            return self.body.read(buffer).await;
        };
        let room = buffer.len().min(most);
        let bytes = self.body.read(buffer.get_mut(..room).unwrap_or_default()).await?;
        pass(self.admission, Direction::In, bytes, (self.platform, self.readiness)).await;
        Ok(bytes)
    }
}

/// What an answer's body waits by.
#[derive(Debug)]
pub struct Pace<P> {
    /// Its slots are held as long, too.
    pub admission: Admission,
    pub platform: P,
    pub readiness: Readiness,
}

impl<P: Platform> Pace<P> {
    /// Waits until so many bytes may be sent.
    pub async fn pass(&self, bytes: usize) {
        let around = (&self.platform, &self.readiness);
        pass(&self.admission, Direction::Out, bytes, around).await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::throttle::{Key, Throttle, TrafficLimits};
    use engine::platform::sim::{Sim, SimOptions};

    const MIB: u64 = 1 << 20;

    struct Endless;

    impl RawBody for Endless {
        async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, http::Error> {
            Ok(buffer.len())
        }
    }

    /// Reads for so many seconds from bodies of one user, and says how many bytes came.
    fn read(seconds: u64, bodies: usize, rate: u64, is_stopping: bool) -> u64 {
        let sim = Sim::new(1, SimOptions::default());
        let platform = sim.platform();
        let readiness = Readiness::default();
        if is_stopping {
            readiness.set_stopping();
        }
        sim.run_until(async move {
            let throttle = Throttle::default();
            let limits =
                TrafficLimits { bytes_in_per_second: Some(rate), ..TrafficLimits::default() };
            let admissions: Vec<Admission> = (0..bodies)
                .map(|_| {
                    let admission = Admission::default();
                    admission.enter_caller(&throttle, Key::User(1), &limits, (None, 0)).unwrap();
                    admission
                })
                .collect();
            let end_ns = platform.monotonic_ns() + seconds * 1_000_000_000;
            let mut total = 0;
            let mut buffer = vec![0; 1 << 20];
            for admission in admissions.iter().cycle() {
                let body = &mut Endless;
                let (platform, readiness) = (&platform, &readiness);
                let mut body = PacedBody { body, admission, platform, readiness };
                let bytes = body.read(&mut buffer).await.unwrap() as u64;
                if platform.monotonic_ns() > end_ns || total > 1000 * MIB {
                    break;
                }
                total += bytes;
            }
            total
        })
        .unwrap()
    }

    #[test]
    fn bodies_come_together_as_fast_as_the_limit_says() {
        for bodies in [1, 5] {
            let bytes = read(20, bodies, MIB, false);
            assert!((20 * MIB..=21 * MIB).contains(&bytes), "{bytes}");
        }
    }

    #[test]
    fn while_the_server_stops_nobody_waits() {
        assert!(read(1, 1, MIB, true) > 1000 * MIB);
    }
}
