//! The MD5 of bodies, for all uploads of a core together: several streams at once cost little
//! more than one ([`update_many`]).
//!
//! Who has a piece of a body gives the stream's state and the buffer away, and gets both back. The first
//! piece to wait starts a task. That lets all that is ready come first, so that other uploads bring their
//! pieces; it never waits for more than that, so that one large upload alone is not held up. A small body alone
//! pays for a turn in vain: up to a tenth of its latency, where a flush is quick (`bench/README.md`).
//!
//! Invariants: a buffer belongs to this batch from when it is given until it is given back, and nothing
//! changes its bytes; a pass keeps the core for about a millisecond, with thousands of pieces for two; every
//! pass takes in something of each piece, so that none waits for ever.
//!
//! Budget of a piece: one allocation and two turns of its task.
//!
//! Not here: pieces for which that would cost more than their MD5 (`limits`).

use crate::checksum::{Md5, Piece, lanes, update_many};
use crate::limits::{MD5_PASS_BYTES, MD5_SHARE_BYTES};
use crate::platform::Platform;
use crate::wait::Event;
use std::cell::{Cell, RefCell};
use std::ops::{Deref, Range};
use std::rc::Rc;

/// The pieces of one core that wait.
#[derive(Debug)]
pub(crate) struct Md5Batch<P: Platform> {
    platform: P,
    waiting: RefCell<Vec<Work<P>>>,
    /// There is a task that will look at `waiting`.
    is_running: Cell<bool>,
}

/// The bytes of a body, for as long as they are lent.
#[derive(Debug)]
pub(crate) enum Lent<P: Platform> {
    /// Of a body that is gathered in memory.
    Inline(Vec<u8>),
    Chunk(P::WriteBuffer),
}

impl<P: Platform> Deref for Lent<P> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Inline(bytes) => bytes,
            Self::Chunk(buffer) => buffer,
        }
    }
}

/// A stream and the buffer in which its next bytes are.
#[derive(Debug)]
struct Work<P: Platform> {
    md5: Md5,
    buffer: Lent<P>,
    /// Where the bytes are that are still to be taken in.
    range: Range<usize>,
    done: Rc<Done<P>>,
}

/// Where who brought a piece finds it again. When he has gone, what was given back goes with it.
#[derive(Debug)]
struct Done<P: Platform> {
    given_back: RefCell<Option<(Md5, Lent<P>)>>,
    event: Event,
}

impl<P: Platform> Md5Batch<P> {
    pub(crate) fn new(platform: P) -> Rc<Self> {
        Rc::new(Self { platform, waiting: RefCell::default(), is_running: Cell::new(false) })
    }

    /// Takes a range of the buffer into the stream.
    pub(crate) async fn update(
        self: &Rc<Self>,
        md5: Md5,
        buffer: Lent<P>,
        range: Range<usize>,
    ) -> (Md5, Lent<P>) {
        let done = Rc::new(Done { given_back: RefCell::default(), event: Event::default() });
        self.waiting.borrow_mut().push(Work { md5, buffer, range, done: done.clone() });
        if !self.is_running.replace(true) {
            self.platform.spawn(self.clone().run());
        }
        done.event.wait_until(|| done.given_back.take()).await
    }

    async fn run(self: Rc<Self>) {
        let mut batch = Vec::new();
        loop {
            self.platform.yield_now().await;
            // Those that came meanwhile do not wait for the end of longer ones.
            batch.append(&mut self.waiting.borrow_mut());
            if batch.is_empty() {
                self.is_running.set(false);
                return;
            }
            pass(&mut batch);
            for work in batch.extract_if(.., |work| work.range.is_empty()) {
                let Work { md5, buffer, done, .. } = work;
                *done.given_back.borrow_mut() = Some((md5, buffer));
                done.event.notify();
            }
        }
    }
}

/// Takes in the next bytes of each piece, as many as one pass may.
fn pass<P: Platform>(batch: &mut [Work<P>]) {
    // Lanes work side by side: a pass lasts as long as its longest.
    let bytes = MD5_PASS_BYTES * batch.len().min(lanes());
    let share = (bytes / batch.len()).next_multiple_of(MD5_SHARE_BYTES);
    let mut pieces: Vec<Piece<'_>> = batch
        .iter_mut()
        .map(|Work { md5, buffer, range, .. }| {
            let end = range.end.min(range.start + share);
            let bytes = &buffer[range.start..end];
            range.start = end;
            Piece { md5, bytes }
        })
        .collect();
    update_many(&mut pieces);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::BLOCK_BYTES;
    use crate::platform::sim::{Sim, SimOptions, SimPlatform};
    use futures_lite::future::poll_once;
    use std::pin::pin;
    use std::time::Duration;

    fn filled(platform: &SimPlatform, blocks: usize, seed: usize) -> Lent<SimPlatform> {
        let mut buffer = platform.allocate(blocks * BLOCK_BYTES);
        for (at, byte) in buffer.iter_mut().enumerate() {
            *byte = ((at + seed * 7919).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8;
        }
        // Of both kinds.
        if seed.is_multiple_of(3) { Lent::Inline(buffer.to_vec()) } else { Lent::Chunk(buffer) }
    }

    /// One upload: its buffer, of another size than its neighbours', in pieces.
    async fn upload(batch: Rc<Md5Batch<SimPlatform>>, seed: usize) {
        let mut buffer = filled(&batch.platform, 1 + seed * 37 % 300, seed);
        let mut expected = Md5::new();
        expected.update(&buffer);
        let expected = expected.finish();
        let bytes = buffer.len();
        let (mut md5, mut start) = (Md5::new(), 0);
        while start < bytes {
            let end = bytes.min(start + 60_000 + seed * 1111);
            (md5, buffer) = batch.update(md5, buffer, start..end).await;
            start = end;
        }
        assert_eq!(md5.finish(), expected, "upload {seed}");
        assert_eq!(buffer[..], filled(&batch.platform, bytes / BLOCK_BYTES, seed)[..]);
    }

    #[test]
    fn uploads_at_once_get_their_own_digests_and_buffers_back() {
        for seed in 0..20 {
            let sim = Sim::new(seed, SimOptions::default());
            let batch = Md5Batch::new(sim.platform());
            sim.run_until(async move {
                crate::wait::join_all((0..40).map(|seed| upload(batch.clone(), seed))).await;
                batch.platform.sleep(Duration::from_millis(1)).await;
                assert!(!batch.is_running.get() && batch.waiting.borrow().is_empty());
            })
            .expect("nothing crashes");
        }
    }

    #[test]
    fn who_gives_up_hinders_nobody() {
        let sim = Sim::new(1, SimOptions::default());
        let batch = Md5Batch::new(sim.platform());
        sim.run_until(async move {
            for seed in 0..5 {
                let buffer = filled(&batch.platform, 100, seed);
                let given_up = poll_once(pin!(batch.update(Md5::new(), buffer, 0..1000))).await;
                assert!(given_up.is_none(), "nothing is done before others had their turn");
                upload(batch.clone(), seed).await;
            }
        })
        .expect("nothing crashes");
    }
}
