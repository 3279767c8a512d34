//! One executor for a command that works on a store which is not served.
//!
//! Not here: what it does there.

use std::time::Duration;

use engine::platform::glommio::{GlommioPlatform, Reactor};
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};

use crate::limits::RUNTIME_IO_MEMORY_BYTES;
use crate::start_error::StartError;

/// Freed buffers that are kept: a few pieces of 1 MiB.
const IO_MEMORY_BYTES: usize = 32 << 20;
const RING_DEPTH: usize = 256;

/// Runs a future to its end on an executor of its own.
pub fn run<T>(
    work: impl AsyncFnOnce(GlommioPlatform) -> Result<T, StartError>,
) -> Result<T, StartError> {
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(RUNTIME_IO_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .make()
        .map_err(|error| StartError::Host(error.to_string()))?;
    executor.run(async {
        let reactor = Reactor::new(IO_MEMORY_BYTES, 0, Duration::ZERO)
            .map_err(|source| StartError::io("prepare the executor", source))?;
        let platform = GlommioPlatform::new(&reactor)
            .map_err(|source| StartError::io("prepare the executor", source))?;
        let outcome = work(platform).await;
        reactor.close().await;
        outcome
    })
}
