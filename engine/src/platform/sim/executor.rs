//! The simulator's executor: tasks, wakers, virtual time and timers.
//!
//! Invariants: time moves only when no task is ready, to the next timer; the order in which ready
//! tasks run is a function of the seed. Wakers are ordinary `std` wakers and may be woken from
//! anywhere, but a wake from another thread makes the history depend on that thread.
//!
//! A task that panics takes the simulation with it: unlike in production nothing must hide it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::random::Random;

type TaskId = u64;
type LocalFuture = Pin<Box<dyn Future<Output = ()>>>;

pub(super) struct Executor {
    shuffle: bool,
    random: RefCell<Random>,
    ready: Arc<ReadyQueue>,
    /// A task that is being polled is not in here.
    tasks: RefCell<BTreeMap<TaskId, Task>>,
    /// By due time, then by order of registration.
    timers: RefCell<BTreeMap<(u64, u64), Waker>>,
    now_ns: Cell<u64>,
    ids_used: Cell<u64>,
}

impl Executor {
    pub(super) fn new(shuffle: bool, random: Random) -> Self {
        Self {
            shuffle,
            random: RefCell::new(random),
            ready: Arc::default(),
            tasks: RefCell::default(),
            timers: RefCell::default(),
            now_ns: Cell::new(0),
            ids_used: Cell::new(0),
        }
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns.get()
    }

    /// Lets time pass without running anything; timers that came due fire when next nothing is ready.
    pub(super) fn advance_ns(&self, by_ns: u64) -> u64 {
        self.now_ns.set(self.now_ns.get() + by_ns);
        self.now_ns.get()
    }

    pub(super) fn spawn(&self, future: LocalFuture) {
        let signal = self.new_signal();
        self.tasks.borrow_mut().insert(signal.id, Task { future, signal: Arc::clone(&signal) });
        signal.wake();
    }

    pub(super) fn sleep_until(&self, due_ns: u64) -> Sleep<'_> {
        Sleep { executor: self, due_ns, registered: None }
    }

    /// Drops all tasks. Their destructors may call back in here, so nothing is borrowed meanwhile.
    pub(super) fn drop_tasks(&self) {
        loop {
            let tasks = self.tasks.take();
            if tasks.is_empty() {
                break;
            }
            drop(tasks);
        }
        drop(self.timers.take());
        self.ready.take_all();
    }

    /// Runs until `main` ends, or `stopped` says so after a poll (then the answer is `None`).
    pub(super) fn run<T>(
        &self,
        main: impl Future<Output = T>,
        stopped: &dyn Fn() -> bool,
        polls_max: u64,
    ) -> Option<T> {
        let mut main = pin!(main);
        let main_signal = self.new_signal();
        Arc::clone(&main_signal).wake();
        for _ in 0..polls_max {
            if stopped() {
                return None;
            }
            let id = self.next_ready();
            if id != main_signal.id {
                self.poll_task(id);
                continue;
            }
            main_signal.queued.store(false, Ordering::Relaxed);
            let waker = Waker::from(Arc::clone(&main_signal));
            if let Poll::Ready(output) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                return (!stopped()).then_some(output);
            }
        }
        panic!("the simulation spins: {polls_max} polls and no end");
    }

    fn next_ready(&self) -> TaskId {
        loop {
            let mut pick = |count: usize| match self.shuffle {
                true => self.random.borrow_mut().below(count as u64) as usize,
                false => 0,
            };
            if let Some(id) = self.ready.take(&mut pick) {
                return id;
            }
            self.fire_next_timers();
        }
    }

    fn fire_next_timers(&self) {
        let next = self.timers.borrow().keys().next().copied();
        let (due_ns, _) = next.expect("the simulation is stuck: no task is ready, no timer is set");
        self.now_ns.set(self.now_ns.get().max(due_ns));
        let due: Vec<Waker> = {
            let mut timers = self.timers.borrow_mut();
            let later = timers.split_off(&(self.now_ns.get() + 1, 0));
            std::mem::replace(&mut *timers, later).into_values().collect()
        };
        for waker in due {
            waker.wake();
        }
    }

    fn poll_task(&self, id: TaskId) {
        // A wake may outlive its task.
        let Some(mut task) = self.tasks.borrow_mut().remove(&id) else { return };
        task.signal.queued.store(false, Ordering::Relaxed);
        let waker = Waker::from(Arc::clone(&task.signal));
        let poll = task.future.as_mut().poll(&mut Context::from_waker(&waker));
        if poll.is_pending() {
            self.tasks.borrow_mut().insert(id, task);
        }
    }

    fn new_signal(&self) -> Arc<Signal> {
        let ready = Arc::clone(&self.ready);
        Arc::new(Signal { id: self.next_id(), queued: AtomicBool::new(false), ready })
    }

    fn next_id(&self) -> u64 {
        self.ids_used.set(self.ids_used.get() + 1);
        self.ids_used.get()
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Executor")
            .field("tasks", &self.tasks.borrow().len())
            .field("now_ns", &self.now_ns.get())
            .finish_non_exhaustive()
    }
}

struct Task {
    future: LocalFuture,
    signal: Arc<Signal>,
}

/// What a task's wakers share.
struct Signal {
    id: TaskId,
    /// Whether the task is in the ready queue already.
    queued: AtomicBool,
    ready: Arc<ReadyQueue>,
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.push(self.id);
        }
    }
}

#[derive(Default)]
struct ReadyQueue {
    ids: Mutex<VecDeque<TaskId>>,
}

impl ReadyQueue {
    fn push(&self, id: TaskId) {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).push_back(id);
    }

    fn take(&self, pick: &mut dyn FnMut(usize) -> usize) -> Option<TaskId> {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.is_empty() {
            return None;
        }
        let index = pick(ids.len());
        ids.remove(index)
    }

    fn take_all(&self) {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Ends when virtual time has reached `due_ns`.
pub(super) struct Sleep<'executor> {
    executor: &'executor Executor,
    due_ns: u64,
    registered: Option<(u64, u64)>,
}

impl Sleep<'_> {
    fn unregister(&mut self) {
        if let Some(key) = self.registered.take() {
            self.executor.timers.borrow_mut().remove(&key);
        }
    }
}

impl Future for Sleep<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.unregister();
        if self.executor.now_ns() >= self.due_ns {
            return Poll::Ready(());
        }
        let key = (self.due_ns, self.executor.next_id());
        self.executor.timers.borrow_mut().insert(key, context.waker().clone());
        self.registered = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep<'_> {
    fn drop(&mut self) {
        self.unregister();
    }
}
