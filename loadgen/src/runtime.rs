//! The runtime: tasks of one thread, timers, and the readiness of sockets by epoll.
//!
//! A turn runs tasks that were woken, then fires the timers that are due, then asks epoll: without
//! waiting while there are tasks to run, else until the next timer. So while a thread is busy each
//! system call of epoll is shared by all sockets that became ready in the meantime, and the kernel
//! has nobody to wake: the packets that come in cost their sender no interrupt of this CPU.
//!
//! **Invariant:** a task, its waker and all that it holds stay on their thread. A wake from another
//! thread, or after the runtime's end, does nothing.
//! **Invariant:** timers are looked at after at most `TASKS_PER_TURN` tasks, so that an open loop's
//! starts come in time while the thread is busy.
//!
//! Deliberately absent: I/O on files, work on other threads, priorities. What this is measured
//! against is the server, so it does as little as it can.

mod poller;
mod tasks;
mod timers;
mod turn;

pub(crate) use poller::{Expired, Interest, Registration, Watch};
pub(crate) use tasks::{Task, run, spawn};
pub(crate) use timers::{sleep, sleep_until};
pub(crate) use turn::Turnstile;

use poller::Poller;
use std::cell::RefCell;
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use tasks::Tasks;
use timers::Timers;

/// Tasks that run between two looks at timers and sockets.
const TASKS_PER_TURN: usize = 32;

thread_local! {
    static CURRENT: RefCell<Option<Rc<Runtime>>> = const { RefCell::new(None) };
}

struct Runtime {
    tasks: Tasks,
    timers: Timers,
    poller: Poller,
}

impl Runtime {
    fn new() -> io::Result<Self> {
        let (tasks, timers) = (Tasks::default(), Timers::default());
        Ok(Self { tasks, timers, poller: Poller::new()? })
    }
}

/// Calls `use_it` with the runtime of this thread.
fn with_current<T>(use_it: impl FnOnce(&Rc<Runtime>) -> T) -> T {
    CURRENT.with_borrow(|current| use_it(current.as_ref().expect("called by a task of a runtime")))
}

/// Registers a socket with the runtime of this thread; `watch` hears of its readiness until it is
/// dropped.
pub(crate) fn register(socket: &impl AsFd, watch: &Rc<Watch>) -> io::Result<Registration> {
    with_current(|runtime| runtime.poller.register(socket, watch))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::cell::Cell;
    use std::future::{pending, poll_fn};
    use std::task::Poll;
    use std::time::{Duration, Instant};

    /// Lets all other tasks that are woken run first.
    async fn step_aside() {
        let mut passed = false;
        poll_fn(|context| {
            if std::mem::replace(&mut passed, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    #[test]
    fn a_task_s_result_comes_whether_it_ends_before_or_after_it_is_awaited() {
        let sum = run(async {
            let (early, late) = (
                spawn(async { 1 }),
                spawn(async {
                    sleep(Duration::from_millis(2)).await;
                    2
                }),
            );
            step_aside().await;
            let nested = spawn(async { spawn(async { 4 }).await });
            early.await + late.await + nested.await
        });
        assert_eq!(sum.unwrap(), 7);
    }

    #[test]
    fn timers_fire_in_order_and_never_early() {
        let order = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&order);
        run(async move {
            let begin = Instant::now();
            let wait = |ms: u64| {
                let seen = Rc::clone(&seen);
                spawn(async move {
                    sleep_until(begin + Duration::from_millis(ms)).await;
                    assert!(begin.elapsed() >= Duration::from_millis(ms));
                    seen.borrow_mut().push(ms);
                })
            };
            let tasks = [30, 10, 20, 10, 0].map(wait);
            for task in tasks {
                task.await;
            }
        })
        .unwrap();
        assert_eq!(*order.borrow(), [0, 10, 10, 20, 30]);
    }

    #[test]
    fn timers_fire_while_tasks_keep_the_thread_busy() {
        let turns = run(async {
            let turns = Rc::new(Cell::new(0u64));
            let busy = {
                let turns = Rc::clone(&turns);
                spawn(async move {
                    loop {
                        turns.set(turns.get() + 1);
                        step_aside().await;
                    }
                })
            };
            sleep(Duration::from_millis(5)).await;
            busy.cancel();
            let before = turns.get();
            sleep(Duration::from_millis(2)).await;
            (before, turns.get())
        });
        let (before, after) = turns.unwrap();
        assert!(before > 0 && before == after);
    }

    #[test]
    fn what_a_task_holds_is_dropped_when_it_is_cancelled_and_at_the_end() {
        let held = Rc::new(());
        let (first, second) = (Rc::clone(&held), Rc::clone(&held));
        let count = run({
            let held = Rc::clone(&held);
            async move {
                let cancelled = spawn(async move {
                    let _first = first;
                    pending::<()>().await;
                });
                _ = spawn(async move {
                    let _second = second;
                    pending::<()>().await;
                });
                step_aside().await;
                cancelled.cancel();
                Rc::strong_count(&held)
            }
        });
        assert_eq!(count.unwrap(), 3);
        assert_eq!(Rc::strong_count(&held), 1);
    }

    #[test]
    fn a_place_that_was_given_up_is_used_again_and_its_old_wakes_do_no_harm() {
        run(async {
            for round in 0..100 {
                let sleeper = spawn(sleep(Duration::from_micros(round)));
                step_aside().await;
                sleeper.cancel();
                assert_eq!(spawn(async move { round }).await, round);
            }
            assert!(with_current(|runtime| runtime.tasks.places()) < 5);
        })
        .unwrap();
    }

    #[test]
    fn a_turnstile_lets_one_in_at_a_time_in_the_order_of_their_coming() {
        let order = run(async {
            let turnstile = Rc::new(Turnstile::default());
            let order = Rc::new(RefCell::new(Vec::new()));
            let pass = |number: usize| {
                let (turnstile, order) = (Rc::clone(&turnstile), Rc::clone(&order));
                spawn(async move {
                    for round in 0..3 {
                        let _turn = turnstile.enter().await;
                        order.borrow_mut().push((round, number));
                        sleep(Duration::from_micros(50)).await;
                        assert_eq!(order.borrow().last(), Some(&(round, number)));
                    }
                })
            };
            let tasks: Vec<_> = (0..4).map(pass).collect();
            for task in tasks {
                task.await;
            }
            order.take()
        });
        let expected: Vec<_> = (0..3).flat_map(|round| (0..4).map(move |n| (round, n))).collect();
        assert_eq!(order.unwrap(), expected);
    }

    #[test]
    fn a_thread_runs_one_runtime_after_the_other() {
        let stale = run(async { poll_fn(|context| Poll::Ready(context.waker().clone())).await });
        let result = run(async move {
            stale.as_ref().unwrap().wake_by_ref();
            sleep(Duration::from_micros(1)).await;
            5
        });
        assert_eq!(result.unwrap(), 5);
    }
}
