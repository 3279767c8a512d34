//! The mailbox: the only way by which anything crosses cores.
//!
//! Each core has one bounded queue that every other core may push requests into, a second for the answers to
//! what it asked itself, and one task that empties both. Requests that need no disk are answered in that
//! task, the others in a task of their own.
//!
//! Budget of a question and its answer: one allocation, two pushes, and no system call while both cores are
//! awake: a core that works finds what was pushed when it next looks (`Platform::remote_waker`).
//!
//! Invariants: a full queue makes the sender wait and never grows; the receiving task never waits for
//! another core, so queues always drain; every request gets an answer, be it that the store stops;
//! what was begun for an asker runs to its end when the asker has gone (its connection broke), and
//! what the answer would have given into its keeping, pins and granted space, is taken back.

use crate::core::CoreContext;
use crate::error::{Error, Result};
use crate::limits::MAILBOX_CAPACITY;
use crate::metrics::count;
use crate::platform::Platform;
use crate::request::{Reply, Request};
use crate::shard::Shard;
use atomic_waker::AtomicWaker;
use crossbeam::queue::{ArrayQueue, SegQueue};
use futures_lite::future::yield_now;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

/// How long a sender waits before it looks again whether a full queue has room.
const FULL_RETRY: Duration = Duration::from_micros(100);
/// Requests taken out of a mailbox before other tasks of the core run.
const DELIVERED_AT_ONCE: usize = 64;

/// The mailboxes of all cores.
#[derive(Debug)]
pub(crate) struct Mailboxes {
    boxes: Vec<Mailbox>,
}

struct Mailbox {
    queue: ArrayQueue<Envelope>,
    /// Slots that hold an answer. As many as there are askers at most.
    answered: SegQueue<Arc<AnswerSlot>>,
    waker: AtomicWaker,
    closed: AtomicBool,
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").field("waiting", &self.queue.len()).finish()
    }
}

impl Mailbox {
    /// Answers everything that came too late: a request that is dropped is answered so.
    fn drop_all(&self) {
        while self.queue.pop().is_some() {}
        self.tell_askers();
    }

    fn tell_askers(&self) {
        while let Some(slot) = self.answered.pop() {
            slot.waker.wake();
        }
    }

    fn push_answered(&self, slot: Arc<AnswerSlot>) {
        self.answered.push(slot);
        self.waker.wake();
        if self.closed.load(Ordering::SeqCst) {
            // Nobody may be left to tell them.
            self.tell_askers();
        }
    }
}

struct Envelope {
    shard: u16,
    request: Request,
    /// `None`: a notice, without an answer.
    answer: Option<Answer>,
}

/// Where one answer is put; says that the store stops if nobody puts any.
struct Answer(Arc<AnswerSlot>);

/// Where an asker's core hears of answers.
struct Home {
    mailboxes: Arc<Mailboxes>,
    core: usize,
}

struct AnswerSlot {
    state: Mutex<SlotState>,
    waker: AtomicWaker,
    /// `None`: the answer is given on the asker's own core.
    home: Option<Home>,
}

enum SlotState {
    Waiting,
    Given(Result<Reply>),
    /// The answer was taken, or nobody waits for it any more.
    Done,
}

impl AnswerSlot {
    fn new(home: Option<Home>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(SlotState::Waiting), waker: AtomicWaker::new(), home })
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the slot; the answer, if one is there.
    fn finish(&self) -> Option<Result<Reply>> {
        match std::mem::replace(&mut *self.lock(), SlotState::Done) {
            SlotState::Given(value) => Some(value),
            SlotState::Waiting | SlotState::Done => None,
        }
    }
}

impl Answer {
    /// The first answer counts. Gives it back if nobody waits for it any more.
    fn give(&self, value: Result<Reply>) -> Option<Result<Reply>> {
        let mut state = self.0.lock();
        match *state {
            SlotState::Waiting => *state = SlotState::Given(value),
            SlotState::Given(_) | SlotState::Done => return Some(value),
        }
        drop(state);
        match &self.0.home {
            None => self.0.waker.wake(),
            Some(Home { mailboxes, core }) => {
                mailboxes.boxes[*core].push_answered(Arc::clone(&self.0));
            }
        }
        None
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // Where an answer was given already this one is ignored.
        self.give(Err(Error::Stopping));
    }
}

/// Who waits for an answer; if it is dropped first, it gives back what the answer brings.
struct Asker<'a, P: Platform> {
    mailboxes: &'a Arc<Mailboxes>,
    context: &'a Rc<CoreContext<P>>,
    shard: u16,
    slot: Arc<AnswerSlot>,
}

impl<P: Platform> Drop for Asker<'_, P> {
    fn drop(&mut self) {
        if let Some(Ok(reply)) = self.slot.finish()
            && let Some(notice) = reply.into_return()
        {
            self.mailboxes.tell(self.context, self.shard, notice);
        }
    }
}

impl Mailboxes {
    pub(crate) fn new(cores: usize) -> Arc<Self> {
        let mailbox = |_| Mailbox {
            queue: ArrayQueue::new(MAILBOX_CAPACITY),
            answered: SegQueue::new(),
            waker: AtomicWaker::new(),
            closed: AtomicBool::new(false),
        };
        Arc::new(Self { boxes: (0..cores).map(mailbox).collect() })
    }

    pub(crate) fn owner_of(&self, shard: u16) -> usize {
        usize::from(shard) % self.boxes.len()
    }

    pub(crate) fn cores(&self) -> usize {
        self.boxes.len()
    }

    /// Asks a shard and waits for its answer.
    pub(crate) async fn ask<P: Platform>(
        self: &Arc<Self>,
        context: &Rc<CoreContext<P>>,
        shard: u16,
        request: Request,
    ) -> Result<Reply> {
        let is_here = context.shard(shard).is_some();
        let home = || Home { mailboxes: Arc::clone(self), core: context.core };
        let slot = AnswerSlot::new((!is_here).then(home));
        let envelope = Envelope { shard, request, answer: Some(Answer(slot.clone())) };
        let asker = Asker { mailboxes: self, context, shard, slot };
        if is_here {
            deliver(context, envelope);
        } else {
            count(&context.counters.mailbox_requests_total, 1);
            self.send(&context.platform, envelope).await?;
        }
        poll_fn(|task| {
            let slot = &asker.slot;
            slot.waker.register(task.waker());
            let is_given = matches!(*slot.lock(), SlotState::Given(_));
            match is_given.then(|| slot.finish()).flatten() {
                Some(value) => Poll::Ready(value),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Tells a shard something that needs no answer.
    pub(crate) fn tell<P: Platform>(
        self: &Arc<Self>,
        context: &Rc<CoreContext<P>>,
        shard: u16,
        request: Request,
    ) {
        if let Some(shard) = context.shard(shard) {
            return shard.handle_notice(request);
        }
        count(&context.counters.mailbox_requests_total, 1);
        let envelope = Envelope { shard, request, answer: None };
        if let Err(envelope) = self.try_send(envelope) {
            let (mailboxes, platform) = (self.clone(), context.platform.clone());
            context.platform.spawn(async move {
                if mailboxes.send(&platform, envelope).await.is_err() {
                    tracing::debug!("a notice came after the store stopped");
                }
            });
        }
    }

    fn try_send(&self, envelope: Envelope) -> std::result::Result<(), Envelope> {
        let mailbox = &self.boxes[self.owner_of(envelope.shard)];
        mailbox.queue.push(envelope)?;
        mailbox.waker.wake();
        if mailbox.closed.load(Ordering::SeqCst) {
            // Nobody may be left to empty it.
            mailbox.drop_all();
        }
        Ok(())
    }

    async fn send<P: Platform>(&self, platform: &P, mut envelope: Envelope) -> Result<()> {
        while let Err(back) = self.try_send(envelope) {
            if self.boxes[self.owner_of(back.shard)].closed.load(Ordering::SeqCst) {
                return Err(Error::Stopping);
            }
            envelope = back;
            platform.sleep(FULL_RETRY).await;
        }
        Ok(())
    }

    /// Empties one core's mailbox until it is closed.
    pub(crate) async fn receive<P: Platform>(self: Arc<Self>, context: Rc<CoreContext<P>>) {
        let mailbox = &self.boxes[context.core];
        loop {
            mailbox.tell_askers();
            for envelope in std::iter::from_fn(|| mailbox.queue.pop()).take(DELIVERED_AT_ONCE) {
                deliver(&context, envelope);
            }
            if !mailbox.queue.is_empty() {
                yield_now().await;
                continue;
            }
            if mailbox.closed.load(Ordering::SeqCst) {
                mailbox.drop_all();
                return;
            }
            poll_fn(|task| {
                mailbox.waker.register(&context.platform.remote_waker(task.waker()));
                let due = !mailbox.queue.is_empty()
                    || !mailbox.answered.is_empty()
                    || mailbox.closed.load(Ordering::SeqCst);
                if due { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }

    pub(crate) fn close(&self, core: usize) {
        self.boxes[core].closed.store(true, Ordering::SeqCst);
        self.boxes[core].waker.wake();
    }
}

fn deliver<P: Platform>(context: &Rc<CoreContext<P>>, envelope: Envelope) {
    let Envelope { shard, request, answer } = envelope;
    // No such shard here: the answer, dropped, says that the store stops.
    let Some(shard) = context.shard(shard) else {
        return;
    };
    let Some(answer) = answer else {
        shard.handle_notice(request);
        return;
    };
    let unwanted = match request {
        Request::Lookup { bucket, key, which } if !shard.is_hidden(bucket, &key) => {
            answer.give(Ok(Reply::Current(shard.lookup(bucket, &key, which))))
        }
        Request::Locate { bucket, key, which } if !shard.is_hidden(bucket, &key) => {
            answer.give(Ok(Reply::Located(shard.locate(bucket, &key, which))))
        }
        request => {
            let platform = context.platform.clone();
            platform.spawn(async move {
                let unwanted = answer.give(shard.handle(request).await);
                take_back(&shard, unwanted);
            });
            return;
        }
    };
    take_back(&shard, unwanted);
}

/// An answer found nobody: what it would have given away stays here.
fn take_back<P: Platform>(shard: &Rc<Shard<P>>, unwanted: Option<Result<Reply>>) {
    if let Some(Ok(reply)) = unwanted
        && let Some(notice) = reply.into_return()
    {
        shard.handle_notice(notice);
    }
}
