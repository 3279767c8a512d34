//! Disk I/O of one core, through a ring of its own.
//!
//! The runtime's rings are set up without `IORING_SETUP_DEFER_TASKRUN`: each completion interrupts the
//! executor. Here completions wait until they are collected, all at once, and requests are
//! submitted together when the tasks that made them have run (`reactor.rs` says when).
//!
//! Budget of a read: one entry of the ring, a share of one `io_uring_enter`, no allocation in steady state.
//!
//! Invariants: what the kernel reads or writes (buffer, path, descriptor) belongs to the operation until
//! its completion has been collected, whether or not anybody still waits for it; the ring is
//! closed only when nothing is in flight.
//!
//! It bounds nothing and retries nothing.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::CString;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{Ordering, fence};
use std::task::{Context, Poll, Waker};

use io_uring::{IoUring, squeue};

use super::buffers::Buffer;
use super::numbered::Numbered;

/// Entries that are submitted together at most. The kernel keeps twice as many completions, and more on a
/// list of its own.
const ENTRIES: u32 = 1024;

pub(super) struct Ring {
    state: RefCell<State>,
}

struct State {
    ring: IoUring,
    operations: Numbered<Operation>,
    /// Entries for which the ring had no room.
    queued: VecDeque<squeue::Entry>,
    /// The kernel took nothing at the last attempt, which was logged.
    is_refused: bool,
}

/// What an operation needs until the kernel is done with it.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) buffer: Option<Buffer>,
    pub(super) file: Option<Rc<OwnedFd>>,
    /// Of a file that is to be opened.
    pub(super) path: Option<CString>,
}

impl Held {
    /// A file that was opened belongs to its operation at once, so that it is closed when nobody waits for it.
    fn take_opened(&mut self, result: RawFd) {
        if self.path.take().is_some() && result >= 0 {
            // SAFETY: the kernel has just opened it for this operation, and nobody else knows it.
            self.file = Some(Rc::new(unsafe { OwnedFd::from_raw_fd(result) }));
        }
    }
}

#[derive(Debug)]
struct Operation {
    held: Held,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    Awaited(Option<Waker>),
    /// Nobody waits; what it holds is dropped when it completes.
    Abandoned,
    Done(i32),
}

impl Ring {
    /// A ring that tells `eventfd` of completions while it is asked to.
    pub(super) fn new(eventfd: &impl AsRawFd) -> io::Result<Self> {
        let ring = build()?;
        ring.submitter().register_eventfd(eventfd.as_raw_fd())?;
        let (operations, queued) = (Numbered::default(), VecDeque::new());
        let state = State { ring, operations, queued, is_refused: false };
        Ok(Self { state: RefCell::new(state) })
    }

    /// Queues an operation.
    ///
    /// # Safety
    /// All memory and every descriptor that `entry` names must belong to `held`, at places that do not change when
    /// `held` is moved.
    pub(super) unsafe fn start(self: &Rc<Self>, entry: squeue::Entry, held: Held) -> Pending {
        let mut state = self.state.borrow_mut();
        let number = state.operations.insert(Operation { held, progress: Progress::Awaited(None) });
        state.queued.push_back(entry.user_data(number as u64));
        state.fill();
        Pending { ring: Rc::clone(self), number: Some(number) }
    }

    /// Whether there is anything to submit or to collect.
    pub(super) fn is_due(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let (_, submissions, completions) = state.ring.split();
        needs_kernel(&submissions) || !completions.is_empty()
    }

    /// Has completions told to the eventfd, or not. Who then finds that nothing [is due](Self::is_due) will
    /// be told.
    pub(super) fn tell(&self, is_told: bool) {
        let mut state = self.state.borrow_mut();
        let completions = state.ring.completion();
        if is_told {
            completions.enable_eventfd();
        } else {
            completions.disable_eventfd();
        }
        // The kernel first says that there is work, then looks whether to tell; here it is the reverse.
        fence(Ordering::SeqCst);
    }

    /// Submits what was queued, and collects what completed; whether anything did.
    pub(super) fn collect(&self) -> bool {
        let mut state = self.state.borrow_mut();
        let mut has_any = false;
        while needs_kernel(&state.ring.submission()) {
            let is_taken = state.submit();
            has_any |= state.reap();
            if !is_taken || state.queued.is_empty() {
                break;
            }
            state.fill();
        }
        has_any | state.reap()
    }
}

impl State {
    /// Moves entries into the ring, as many as there is room for.
    fn fill(&mut self) {
        let mut submissions = self.ring.submission();
        while let Some(entry) = self.queued.front() {
            // SAFETY: what the entry names belongs to its operation (`Ring::start`), which stays until its
            // completion has been collected.
            if unsafe { submissions.push(entry) }.is_err() {
                return;
            }
            self.queued.pop_front();
        }
    }

    /// Whether the kernel took what is in the ring. What it does not, for want of memory or because completions
    /// have piled up, stays there.
    fn submit(&mut self) -> bool {
        let outcome = self.ring.submit();
        if let Err(error) = &outcome
            && !self.is_refused
        {
            tracing::warn!(%error, "the kernel takes no requests for a core's disk at present");
        }
        self.is_refused = outcome.is_err();
        !self.is_refused
    }

    /// Takes the completions that are there; whether there were any.
    fn reap(&mut self) -> bool {
        let mut has_any = false;
        for completion in self.ring.completion() {
            has_any = true;
            let number = usize::try_from(completion.user_data()).unwrap_or(usize::MAX);
            let Some(operation) = self.operations.get_mut(number) else { continue };
            operation.held.take_opened(completion.result());
            match std::mem::replace(&mut operation.progress, Progress::Done(completion.result())) {
                Progress::Awaited(Some(waker)) => waker.wake(),
                Progress::Awaited(None) | Progress::Done(_) => {}
                Progress::Abandoned => drop(self.operations.remove(number)),
            }
        }
        has_any
    }
}

/// The best that this kernel has: completions that wait until they are collected (6.1), completions that
/// interrupt nobody (5.19), or plain ones.
fn build() -> io::Result<IoUring> {
    let deferred = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .build(ENTRIES);
    let is_unknown = |error: &io::Error| error.kind() == io::ErrorKind::InvalidInput;
    match deferred {
        Err(error) if is_unknown(&error) => {}
        outcome => return outcome,
    }
    let cooperative = IoUring::builder().setup_coop_taskrun().setup_taskrun_flag().build(ENTRIES);
    match cooperative {
        Err(error) if is_unknown(&error) => IoUring::new(ENTRIES),
        outcome => outcome,
    }
}

fn needs_kernel(submissions: &squeue::SubmissionQueue<'_>) -> bool {
    !submissions.is_empty() || submissions.taskrun() || submissions.cq_overflow()
}

impl Drop for Ring {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        while state.operations.len() > 0 {
            state.fill();
            if let Err(error) = state.ring.submit_and_wait(1)
                && error.kind() != io::ErrorKind::Interrupted
            {
                // The kernel may still use what the operations hold.
                tracing::error!(%error, "the ring of a core's disk cannot be drained");
                std::mem::forget(std::mem::take(&mut state.operations));
                return;
            }
            state.reap();
            // Nobody waits any more: each `Pending` keeps its ring.
        }
    }
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").finish_non_exhaustive()
    }
}

/// An operation that is awaited: its result as the kernel gives it, and what it held.
#[derive(Debug)]
pub(super) struct Pending {
    ring: Rc<Ring>,
    /// None when the result was given.
    number: Option<usize>,
}

impl Future for Pending {
    type Output = (io::Result<usize>, Held);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let number = self.number.expect("not polled after its end");
        let mut state = self.ring.state.borrow_mut();
        let operation = state.operations.get_mut(number).expect("there until its result is taken");
        match &mut operation.progress {
            Progress::Done(_) => {}
            Progress::Awaited(Some(waker)) => {
                waker.clone_from(context.waker());
                return Poll::Pending;
            }
            progress => {
                *progress = Progress::Awaited(Some(context.waker().clone()));
                return Poll::Pending;
            }
        }
        let operation = state.operations.remove(number);
        drop(state);
        self.number = None;
        match operation {
            Some(Operation { held, progress: Progress::Done(result) }) => {
                let outcome =
                    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
                Poll::Ready((outcome, held))
            }
            _ => unreachable!("it is done"),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut state = self.ring.state.borrow_mut();
        let Some(operation) = state.operations.get_mut(number) else { return };
        if let Progress::Done(_) = operation.progress {
            state.operations.remove(number);
        } else {
            operation.progress = Progress::Abandoned;
        }
    }
}
