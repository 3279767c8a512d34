//! One request on its way past the limits of its user and of its bucket.
//!
//! Invariants: a request passes each limit once, however often the operation behind it is run (a website looks for its
//! error document, too); what it holds lasts as long as its [`Admission`].

use super::limiter::{Direction, Pass};
use super::{Key, Throttle, TrafficLimits};
use crate::error::Result;
use crate::limits::PACED_PIECE_BYTES_MIN;
use crate::ops::Context;
use engine::Bucket;
use engine::platform::Platform;
use http::Method;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// What a request was let in by.
#[derive(Debug, Default)]
pub struct Admission {
    caller: RefCell<Option<Pass>>,
    bucket: RefCell<Option<Pass>>,
    /// The lowest limit of the bytes that come in; 0: none.
    bytes_in_per_second: Cell<u64>,
}

impl Admission {
    /// Whether it must be kept until the answer was sent.
    pub fn is_held(&self) -> bool {
        self.any(Pass::has_slot)
    }

    /// Whether the answer's bytes are to wait until they are due.
    pub fn is_paced(&self) -> bool {
        self.any(|pass| pass.bytes_per_second(Direction::Out).is_some())
    }

    fn any(&self, is_it: impl Fn(&Pass) -> bool) -> bool {
        let is_it = |pass: &RefCell<Option<Pass>>| pass.borrow().as_ref().is_some_and(&is_it);
        is_it(&self.caller) || is_it(&self.bucket)
    }

    /// How much of a body is read at once where its bytes are to wait; none where they are not.
    pub(super) fn piece_bytes_max(&self) -> Option<usize> {
        let quarter = match self.bytes_in_per_second.get() {
            0 => return None,
            per_second => usize::try_from(per_second / 4).unwrap_or(usize::MAX),
        };
        Some(quarter.max(PACED_PIECE_BYTES_MIN))
    }

    /// Counts bytes; when the last of the limits lets them pass.
    pub(super) fn reserve(&self, direction: Direction, bytes: u64, now_ns: u64) -> u64 {
        let due = |pass: &RefCell<Option<Pass>>| {
            let pass = pass.borrow();
            pass.as_ref().map_or(now_ns, |pass| pass.reserve(direction, bytes, now_ns))
        };
        due(&self.caller).max(due(&self.bucket))
    }

    /// The bucket let in somebody who was denied what they asked for in the end.
    pub fn give_back_bucket(&self) {
        if let Some(pass) = self.bucket.take() {
            pass.give_back();
        }
    }

    /// Passes the limits of the user.
    pub(super) fn enter_caller(
        &self,
        throttle: &Throttle,
        key: Key,
        limits: &TrafficLimits,
        (direction, now_ns): (Option<Direction>, u64),
    ) -> Result<()> {
        self.enter(&self.caller, throttle.enter(key, limits, direction, now_ns)?);
        Ok(())
    }

    fn enter(&self, place: &RefCell<Option<Pass>>, pass: Pass) {
        if let Some(limit) = pass.bytes_per_second(Direction::In) {
            let lowest = self.bytes_in_per_second.get();
            self.bytes_in_per_second.set(if lowest == 0 { limit } else { lowest.min(limit) });
        }
        *place.borrow_mut() = Some(pass);
    }
}

/// Judges a request by the limits of the user that it comes from.
pub fn admit_caller<P: Platform>(context: &Context<'_, P>) -> Result<()> {
    let Some(user) = &context.caller.user else { return Ok(()) };
    let Some(limits) = &user.limits else { return Ok(()) };
    let admission = context.admission;
    if admission.caller.borrow().is_some() {
        return Ok(());
    }
    let now_ns = context.engine.platform().monotonic_ns();
    let throttle = &context.services.throttle;
    let when = (direction(context.head.method()), now_ns);
    admission.enter_caller(throttle, Key::User(user.number), limits, when)
}

/// Which way most bytes of such requests go; none where there are few.
fn direction(method: Method) -> Option<Direction> {
    match method {
        Method::Get => Some(Direction::Out),
        Method::Put | Method::Post => Some(Direction::In),
        _ => None,
    }
}

/// Judges a request by the limits of the bucket in which it may do what it asks for.
pub fn admit_to_bucket<P: Platform>(context: &Context<'_, P>, bucket: &Arc<Bucket>) -> Result<()> {
    if context.caller.subject.is_root() {
        return Ok(());
    }
    let Some(limits) = context.setting::<TrafficLimits>(bucket)? else { return Ok(()) };
    let admission = context.admission;
    if admission.bucket.borrow().is_some() {
        return Ok(());
    }
    let now_ns = context.engine.platform().monotonic_ns();
    let direction = direction(context.head.method());
    match context.services.throttle.enter(Key::Bucket(bucket.id), &limits, direction, now_ns) {
        Ok(pass) => {
            admission.enter(&admission.bucket, pass);
            Ok(())
        }
        Err(error) => {
            if let Some(pass) = admission.caller.take() {
                pass.give_back();
            }
            Err(error)
        }
    }
}
