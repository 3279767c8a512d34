//! A turn for the runtime's own ring.
//!
//! The runtime collects completions, fires timers and hears of other cores only when no task can run, or after
//! 100 ms. A task that only puts itself behind the others (`futures_lite::future::yield_now`) keeps it from that.

use std::fs::File;
use std::io;

use ::glommio::io::PollableFd;
use futures_lite::future::yield_now;

#[derive(Debug)]
pub(super) struct Turn {
    /// Always readable: a poll of it completes at once, but only through the runtime's ring.
    ready: PollableFd<File>,
}

impl Turn {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { ready: PollableFd::new(File::open("/dev/null")?)? })
    }

    /// Lets all other tasks run, and the runtime's ring have its turn, which takes about 7 us.
    pub(super) async fn give(&self) {
        if self.ready.readable().await.is_err() {
            yield_now().await;
        }
    }
}
