//! Runs a bounded number of futures at once on one core.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Futures that run at once. Enough to fill a group commit on every shard, and few enough that
/// polling all of them for each wake costs nothing.
const CONCURRENT_MAX: usize = 128;

/// Runs all futures, some at a time, and gives their results in order.
pub(crate) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut futures = futures.into_iter();
    let mut results = Vec::new();
    loop {
        let batch: Vec<_> =
            futures.by_ref().take(CONCURRENT_MAX).map(|f| Slot::Running(Box::pin(f))).collect();
        if batch.is_empty() {
            return results;
        }
        run(batch, &mut results).await;
    }
}

enum Slot<F: Future> {
    Running(Pin<Box<F>>),
    Done(F::Output),
}

async fn run<F: Future>(mut batch: Vec<Slot<F>>, results: &mut Vec<F::Output>) {
    poll_fn(|context| {
        let mut running = 0;
        for slot in &mut batch {
            if let Slot::Running(future) = slot {
                match future.as_mut().poll(context) {
                    Poll::Ready(output) => *slot = Slot::Done(output),
                    Poll::Pending => running += 1,
                }
            }
        }
        if running == 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results.extend(batch.into_iter().filter_map(|slot| match slot {
        Slot::Done(output) => Some(output),
        Slot::Running(_) => None,
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, yield_now};

    #[test]
    fn results_come_in_order_however_long_each_takes() {
        let futures = (0..300_usize).map(|number| async move {
            for _ in 0..number % 7 {
                yield_now().await;
            }
            number
        });
        assert_eq!(block_on(all(futures)), (0..300).collect::<Vec<_>>());
    }
}
