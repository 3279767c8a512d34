//! Whether a request is let in: its share of the core's memory, its turn at what only so many do at once.
//!
//! Who has to wait waits in order and for a bounded time, and is counted if it is refused (`budget`).

use crate::budget::{Budget, Permit, Turn};
use crate::core::CoreContext;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::limits::COPY_MEMORY_BYTES;
use crate::metrics::count;
use crate::platform::Platform;
use std::rc::Rc;

impl<P: Platform> CoreContext<P> {
    /// Waits for a share of the memory for bodies.
    pub(crate) async fn take_memory(&self, bytes: usize) -> Result<Permit> {
        self.counted(self.budget.take(&self.platform, bytes).await)
    }

    /// Refuses at once whom [`Self::take_memory`] would: too many wait already.
    pub(crate) fn check_memory(&self, bytes: usize) -> Result<()> {
        if self.budget.refuses(bytes) {
            count(&self.counters.budget_refusals_total, 1);
            return Err(Error::Busy);
        }
        Ok(())
    }

    /// Counts a refusal.
    fn counted(&self, outcome: Result<Permit>) -> Result<Permit> {
        outcome.inspect_err(|_| count(&self.counters.budget_refusals_total, 1))
    }
}

impl<P: Platform> Engine<P> {
    /// Waits until it is the caller's turn to list. To be held until the page is made.
    ///
    /// # Errors
    /// [`Error::Busy`] if too many wait.
    pub async fn listing_turn(&self) -> Result<Turn> {
        self.turn(&self.context().listings, 1).await
    }

    /// Waits until it is the caller's turn to copy so many bytes. To be held until the copy is written, and to be
    /// had before the target's memory is: a copy takes memory for what it writes and then for what it
    /// reads, and without turns many could keep each other waiting for the second.
    ///
    /// # Errors
    /// [`Error::Busy`] if too many wait.
    pub async fn copy_turn(&self, bytes: u64) -> Result<Turn> {
        let both = usize::try_from(bytes).unwrap_or(COPY_MEMORY_BYTES).saturating_mul(2);
        let share = both.saturating_add(COPY_MEMORY_BYTES / 16).min(COPY_MEMORY_BYTES);
        self.turn(&self.context().copies, share).await
    }

    async fn turn(&self, turns: &Rc<Budget>, share: usize) -> Result<Turn> {
        let context = self.context();
        let permit = context.counted(turns.take(&context.platform, share).await)?;
        Ok(Turn { _permit: permit })
    }

    /// Whether [`Self::listing_turn`] would say at once that too many wait.
    pub fn refuses_listings(&self) -> bool {
        let is_refused = self.context().listings.is_too_long();
        if is_refused {
            count(&self.context().counters.budget_refusals_total, 1);
        }
        is_refused
    }
}
