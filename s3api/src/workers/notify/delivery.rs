//! Delivering what the queue holds: one task for each target, all on one core.
//!
//! Invariants: the events of a target are sent one after the other, the oldest first, and the next
//! batch is taken only when the fate of the last one is known; an event is taken out of the queue after
//! its target has confirmed it, so that whatever ends the server in between leads to a second delivery
//! and never to none. One that its target will never take is given up, so that it holds up nothing. A failure is followed by a pause; a target that is down holds up nobody else.
//!
//! Not here: blocking calls (`sender`, on threads of its own).

use super::backoff;
use super::queue::{self, Leaving, TargetState, Targets, Waiting};
use super::sender::{Fate, Outcome, Sender};
use super::target::TargetConfig;
use crate::limits::{NOTIFY_BATCH_EVENTS, NOTIFY_POLL, NOTIFY_STOP_PATIENCE};
use crate::ops::join;
use crate::workers::{Stop, Tasks};
use engine::Engine;
use engine::platform::Platform;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Whether what an earlier run has left was counted.
type Opened = Rc<Cell<bool>>;

/// After this time it is tried once more to open the queue.
const OPEN_AGAIN: Duration = Duration::from_secs(5);

/// How often it is looked whether a sender has come back.
const SENT_POLL: Duration = Duration::from_millis(2);

/// Opens the queue and starts a task for each target. To be called on one core.
///
/// A queue that cannot be opened now, as while a drive is offline, keeps no server from starting: it is tried
/// again.
///
/// # Errors
/// A thread cannot be started.
pub async fn start<P: Platform>(
    engine: &Engine<P>,
    targets: &Arc<Targets>,
    tasks: &Tasks,
) -> Result<(), crate::start_error::StartError> {
    let opened = Opened::default();
    if !open(engine, targets, &opened).await {
        let (engine, targets, stop) = (engine.clone(), Arc::clone(targets), tasks.stop());
        let (platform, opened) = (engine.platform().clone(), Rc::clone(&opened));
        tasks.spawn(&platform.clone(), async move {
            while !stop.is_requested() && !open(&engine, &targets, &opened).await {
                stop.sleep(&platform, OPEN_AGAIN).await;
            }
        });
    }
    let names: Vec<String> = targets.all().map(|(config, _)| config.name.clone()).collect();
    for name in names {
        let Some((config, _)) = targets.all().find(|(config, _)| config.name == name) else {
            continue;
        };
        let sender = Sender::start(config).map_err(|error| {
            crate::start_error::StartError::io("starting a sender of events", error)
        })?;
        let delivery = Delivery {
            engine: engine.clone(),
            targets: Arc::clone(targets),
            target: config.clone(),
            sender,
            stop: tasks.stop(),
            opened: Rc::clone(&opened),
            has_failed: false,
            failures: 0,
        };
        tasks.spawn(engine.platform(), delivery.run());
    }
    Ok(())
}

/// Opens the queue, and says whether it could be.
async fn open<P: Platform>(engine: &Engine<P>, targets: &Targets, opened: &Opened) -> bool {
    match queue::open(engine, targets).await {
        Ok(()) => opened.set(true),
        Err(error) => tracing::error!(%error, "the queue of events cannot be opened"),
    }
    opened.get()
}

struct Delivery<P: Platform> {
    engine: Engine<P>,
    targets: Arc<Targets>,
    target: TargetConfig,
    sender: Sender,
    stop: Stop,
    opened: Opened,
    /// The last batch was not taken.
    has_failed: bool,
    /// In a row.
    failures: u32,
}

impl<P: Platform> Delivery<P> {
    async fn run(mut self) {
        let platform = self.engine.platform().clone();
        while !self.stop.is_requested() {
            let is_due = self.opened.get() && self.state().is_some_and(|state| state.waiting() > 0);
            let has_sent = is_due && self.send_batch().await;
            if self.failures > 0 {
                let pause = backoff::pause(self.failures, platform.random_u64());
                self.stop.sleep(&platform, pause).await;
            } else if !has_sent {
                platform.sleep(NOTIFY_POLL).await;
            }
        }
    }

    fn state(&self) -> Option<&TargetState> {
        self.targets.state(&self.target.name)
    }

    /// Sends what waits longest; false if nothing was there.
    async fn send_batch(&mut self) -> bool {
        match self.try_batch().await {
            Ok(sent) => sent,
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                let target = self.target.name.as_str();
                tracing::warn!(destination = target, %error, "the queue of events cannot be read or changed");
                false
            }
        }
    }

    async fn try_batch(&mut self) -> Result<bool, engine::Error> {
        let name = self.target.name.clone();
        let waiting = queue::oldest(&self.engine, &name, NOTIFY_BATCH_EVENTS).await?;
        if waiting.is_empty() {
            return Ok(false);
        }
        // What nobody could read has not been refused by anybody.
        let waiting = if self.has_failed { self.give_up_old(waiting).await? } else { waiting };
        let messages = join::all(waiting.iter().map(|one| queue::read(&self.engine, one))).await;
        let (mut found, mut batch) = (Vec::new(), Vec::new());
        for (one, message) in waiting.into_iter().zip(messages) {
            match message {
                Ok(Some(message)) => {
                    found.push(one);
                    batch.push(message);
                }
                Ok(None) => {}
                Err(engine::Error::Corrupt(cause)) => {
                    let destination = self.target.name.as_str();
                    tracing::error!(destination, cause, "an event was dropped: it cannot be read");
                    queue::remove(&self.engine, &one).await?;
                    if let Some(state) = self.state() {
                        queue::note_unreadable(state);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let Some(outcome) = self.send(batch).await else { return Ok(true) };
        let has_progress = !outcome.fates.is_empty();
        self.settle(found, outcome.fates).await?;
        self.has_failed = outcome.error.is_some();
        match outcome.error {
            None => self.failures = 0,
            Some(error) => self.failed(&error, has_progress),
        }
        Ok(true)
    }

    /// Takes out what is done with.
    async fn settle(&self, events: Vec<Waiting>, fates: Vec<Fate>) -> Result<(), engine::Error> {
        let (mut delivered, mut refused) = (Vec::new(), Vec::new());
        for (event, fate) in events.into_iter().zip(fates) {
            match fate {
                Fate::Delivered => delivered.push(event),
                Fate::Refused(error) => {
                    let destination = self.target.name.as_str();
                    tracing::warn!(
                        destination,
                        error,
                        "an event was dropped: its target will never take it"
                    );
                    refused.push(event);
                }
            }
        }
        self.take_out(&delivered, Leaving::Delivered).await?;
        self.take_out(&refused, Leaving::Refused).await
    }

    /// Whoever has not taken an event for so long will not.
    async fn give_up_old(&self, waiting: Vec<Waiting>) -> Result<Vec<Waiting>, engine::Error> {
        let now = self.engine.platform().wall_clock_ns();
        let (old, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|one| one.is_too_old(now));
        if !old.is_empty() {
            let (target, events) = (self.target.name.as_str(), old.len());
            tracing::warn!(
                destination = target,
                events,
                "events were dropped: their target took none for a day"
            );
            self.take_out(&old, Leaving::Old).await?;
        }
        Ok(rest)
    }

    async fn take_out(&self, events: &[Waiting], why: Leaving) -> Result<(), engine::Error> {
        let removals = events.iter().map(|one| queue::remove(&self.engine, one));
        let mut failed = None;
        for result in join::all(removals).await {
            match (result, self.state()) {
                (Ok(()), Some(state)) => state.left(why),
                (Ok(()), None) => {}
                (Err(error), _) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Gives a batch to the sender's thread and waits for it; none: the server stops first.
    async fn send(&self, batch: Vec<Vec<u8>>) -> Option<Outcome> {
        if batch.is_empty() {
            return Some(Outcome::default());
        }
        let platform = self.engine.platform();
        if !self.sender.send(batch) {
            let error = Some("its thread has ended".to_owned());
            return Some(Outcome { error, ..Outcome::default() });
        }
        let mut patience = NOTIFY_STOP_PATIENCE;
        loop {
            if let Some(outcome) = self.sender.outcome() {
                return Some(outcome);
            }
            if self.stop.is_requested() {
                patience = patience.checked_sub(SENT_POLL)?;
            }
            platform.sleep(SENT_POLL).await;
        }
    }

    fn failed(&mut self, error: &str, has_progress: bool) {
        if let Some(state) = self.state() {
            state.attempt_failed();
        }
        let is_news = self.failures == 0 || has_progress;
        self.failures = if has_progress { 1 } else { self.failures.saturating_add(1) };
        let target = self.target.name.as_str();
        if is_news {
            let waiting = self.state().map_or(0, TargetState::waiting);
            tracing::warn!(
                destination = target,
                error,
                waiting,
                "events cannot be delivered; they are kept"
            );
        } else {
            tracing::debug!(destination = target, error, "events still cannot be delivered");
        }
    }
}
