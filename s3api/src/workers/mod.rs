//! What goes on beside the requests: objects that expire, access logs that are delivered, events
//! that are sent.
//!
//! Each has its document (parsed, validated and shown again), its rules as pure functions, and a
//! worker that runs as tasks of a core. Workers reach objects through the engine as requests do, and
//! nothing that they do is seen before it is durable.
//!
//! Invariants: every task has ended when [`Tasks::end`] returns, which is before any core closes its
//! store; a task that sleeps is woken by a stop.
//!
//! Not here: the operations that put and get the documents (`ops`).

pub mod access_log;
pub mod lifecycle;
pub mod notify;

use crate::access::authorise::BucketOwner;
use crate::error::Result;
use crate::ops::Owner;
use crate::services::Services;
use engine::Bucket;
use engine::platform::Platform;
use futures_lite::FutureExt;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

/// What workers tell of the server that they belong to.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Root, who owns what no user owns.
    pub owner: Rc<Owner>,
    pub region: String,
    pub host_id: String,
}

impl Origin {
    /// A bucket's owner.
    pub fn owner_of(&self, services: &Services, bucket: &Arc<Bucket>) -> Result<Rc<Owner>> {
        let Some(owner) = services.settings.get::<BucketOwner>(bucket)? else {
            return Ok(Rc::clone(&self.owner));
        };
        let BucketOwner { id, access_key } = BucketOwner::clone(&owner);
        Ok(Rc::new(Owner { id, display_name: access_key.clone(), access_key }))
    }
}

/// Asks the tasks of a core to end.
#[derive(Debug, Clone, Default)]
pub struct Stop(Rc<StopState>);

#[derive(Debug, Default)]
struct StopState {
    is_requested: Cell<bool>,
    /// Of tasks that sleep, one each; some may have woken since.
    sleeping: RefCell<Vec<Waker>>,
}

impl Stop {
    pub fn is_requested(&self) -> bool {
        self.0.is_requested.get()
    }

    fn request(&self) {
        self.0.is_requested.set(true);
        self.0.sleeping.take().into_iter().for_each(Waker::wake);
    }

    /// Sleeps for so long, or until a stop is asked for.
    pub async fn sleep<P: Platform>(&self, platform: &P, duration: Duration) {
        let requested = poll_fn(|context| {
            if self.is_requested() {
                return Poll::Ready(());
            }
            let mut sleeping = self.0.sleeping.borrow_mut();
            if !sleeping.iter().any(|waker| waker.will_wake(context.waker())) {
                sleeping.push(context.waker().clone());
            }
            Poll::Pending
        });
        requested.or(platform.sleep(duration)).await;
    }
}

/// The tasks of one core.
#[derive(Debug, Clone, Default)]
pub struct Tasks {
    stop: Stop,
    running: Rc<Cell<usize>>,
}

/// Counts a task out however it ends.
struct Running(Rc<Cell<usize>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Tasks {
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    pub fn spawn<P: Platform>(&self, platform: &P, task: impl Future<Output = ()> + 'static) {
        self.running.set(self.running.get() + 1);
        let running = Running(Rc::clone(&self.running));
        platform.spawn(async move {
            task.await;
            drop(running);
        });
    }

    /// Asks all tasks to end, and waits until they have.
    pub async fn end<P: Platform>(&self, platform: &P) {
        self.stop.request();
        while self.running.get() > 0 {
            platform.sleep(Duration::from_millis(1)).await;
        }
    }
}
