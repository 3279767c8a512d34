//! Tasks of one thread, and the loop that runs them.

use super::{CURRENT, Runtime, TASKS_PER_TURN, with_current};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Stands for the future that `run` was given.
const MAIN: usize = usize::MAX;

/// Each runtime of the process has a number of its own.
static RUNTIMES: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The number of this thread's runtime; 0: there is none.
    static NUMBER: Cell<u64> = const { Cell::new(0) };
    /// Woken, and not yet run. It lies here because a waker cannot hold what is the thread's own.
    static WOKEN: RefCell<VecDeque<usize>> = const { RefCell::new(VecDeque::new()) };
}

type BoxedFuture = Pin<Box<dyn Future<Output = ()>>>;

#[derive(Default)]
pub(super) struct Tasks {
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
}

/// Empty while the task runs, and after its end.
#[derive(Default)]
struct Slot {
    task: Option<(BoxedFuture, Waker, Arc<Woken>)>,
}

/// What a waker knows of its task.
struct Woken {
    runtime: u64,
    slot: usize,
    /// In the queue already.
    queued: AtomicBool,
}

impl Woken {
    fn new(runtime: u64, slot: usize) -> Arc<Self> {
        Arc::new(Self { runtime, slot, queued: AtomicBool::new(false) })
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Only the runtime's own thread comes further, so a load and a store are as good as a swap.
        if NUMBER.get() == self.runtime && !self.queued.load(Ordering::Relaxed) {
            self.queued.store(true, Ordering::Relaxed);
            WOKEN.with_borrow_mut(|woken| woken.push_back(self.slot));
        }
    }
}

impl Tasks {
    fn add(&self, future: BoxedFuture) -> usize {
        let mut slots = self.slots.borrow_mut();
        let slot = self.free.borrow_mut().pop().unwrap_or_else(|| {
            slots.push(Slot::default());
            slots.len() - 1
        });
        let woken = Woken::new(NUMBER.get(), slot);
        let waker = Waker::from(Arc::clone(&woken));
        waker.wake_by_ref();
        slots[slot].task = Some((future, waker, woken));
        slot
    }

    fn run(&self, slot: usize) {
        // A task that was cancelled may have been in the queue.
        let Some((mut future, waker, woken)) = self.slots.borrow_mut()[slot].task.take() else {
            return;
        };
        woken.queued.store(false, Ordering::Relaxed);
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => self.slots.borrow_mut()[slot].task = Some((future, waker, woken)),
            Poll::Ready(()) => self.free.borrow_mut().push(slot),
        }
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.slots.borrow().len()
    }

    /// The task must not be the one that runs.
    fn remove(&self, slot: usize) {
        let task = self.slots.borrow_mut()[slot].task.take();
        if task.is_some() {
            self.free.borrow_mut().push(slot);
        }
    }
}

/// Runs a future on this thread, and the tasks that it spawns, until it has ended; then the tasks are
/// dropped.
pub(crate) fn run<T>(main: impl Future<Output = T>) -> io::Result<T> {
    let runtime = Rc::new(Runtime::new()?);
    let _entered = Entered::new(&runtime);
    let woken = Woken::new(NUMBER.get(), MAIN);
    let waker = Waker::from(Arc::clone(&woken));
    waker.wake_by_ref();
    let mut main = pin!(main);
    loop {
        for _ in 0..TASKS_PER_TURN {
            match WOKEN.with_borrow_mut(VecDeque::pop_front) {
                Some(MAIN) => {
                    woken.queued.store(false, Ordering::Relaxed);
                    let mut context = Context::from_waker(&waker);
                    if let Poll::Ready(result) = main.as_mut().poll(&mut context) {
                        return Ok(result);
                    }
                }
                Some(slot) => runtime.tasks.run(slot),
                None => break,
            }
        }
        let next_timer = runtime.timers.fire();
        let idle = WOKEN.with_borrow(VecDeque::is_empty);
        runtime.poller.poll(if idle { next_timer } else { Some(Duration::ZERO) })?;
    }
}

/// Makes a runtime the one of this thread, until it is dropped.
struct Entered<'a>(&'a Rc<Runtime>);

impl<'a> Entered<'a> {
    fn new(runtime: &'a Rc<Runtime>) -> Self {
        assert_eq!(NUMBER.get(), 0, "a thread runs one runtime at a time");
        NUMBER.set(RUNTIMES.fetch_add(1, Ordering::Relaxed));
        CURRENT.set(Some(Rc::clone(runtime)));
        Self(runtime)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        // What they hold may still ask for the runtime.
        drop(self.0.tasks.slots.take());
        self.0.tasks.free.take();
        WOKEN.with_borrow_mut(VecDeque::clear);
        CURRENT.set(None);
        NUMBER.set(0);
    }
}

/// Starts a task on this thread's runtime. It goes on if the handle is dropped.
pub(crate) fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> Task<T> {
    let end = Rc::new(End {
        result: Cell::new(None),
        ended: Cell::new(false),
        waiter: RefCell::default(),
    });
    let task = {
        let end = Rc::clone(&end);
        async move {
            end.result.set(Some(future.await));
            end.ended.set(true);
            if let Some(waiter) = end.waiter.take() {
                waiter.wake();
            }
        }
    };
    let slot = with_current(|runtime| runtime.tasks.add(Box::pin(task)));
    Task { end, slot }
}

/// A task's handle; awaited, it gives the task's result.
pub(crate) struct Task<T> {
    end: Rc<End<T>>,
    slot: usize,
}

struct End<T> {
    result: Cell<Option<T>>,
    ended: Cell<bool>,
    waiter: RefCell<Option<Waker>>,
}

impl<T> Task<T> {
    /// Ends the task where it stands. Not to be called by the task itself.
    pub(crate) fn cancel(self) {
        if !self.end.ended.get() {
            with_current(Rc::clone).tasks.remove(self.slot);
        }
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        match self.end.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                *self.end.waiter.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}
