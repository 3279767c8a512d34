//! One request on its way past the limits of its user and of its bucket.
//!
//! Invariants: a request passes each limit once, however often the operation behind it is run (a website looks for its
//! error document, too); what it holds lasts as long as its [`Admission`].

use super::limiter::Pass;
use super::{Key, TrafficLimits};
use crate::error::Result;
use crate::ops::Context;
use engine::Bucket;
use engine::platform::Platform;
use std::cell::RefCell;
use std::sync::Arc;

/// What a request was let in by.
#[derive(Debug, Default)]
pub struct Admission {
    caller: RefCell<Option<Pass>>,
    bucket: RefCell<Option<Pass>>,
}

impl Admission {
    /// Whether it must be kept until the answer was sent.
    pub fn is_held(&self) -> bool {
        let has_slot =
            |pass: &RefCell<Option<Pass>>| pass.borrow().as_ref().is_some_and(Pass::has_slot);
        has_slot(&self.caller) || has_slot(&self.bucket)
    }
}

/// Judges a request by the limits of the user that it comes from.
pub fn admit_caller<P: Platform>(context: &Context<'_, P>) -> Result<()> {
    let Some(user) = &context.caller.user else { return Ok(()) };
    let Some(limits) = &user.limits else { return Ok(()) };
    enter(context, &context.admission.caller, Key::User(user.number), limits)
}

/// Judges a request by the limits of the bucket in which it may do what it asks for.
pub fn admit_to_bucket<P: Platform>(context: &Context<'_, P>, bucket: &Arc<Bucket>) -> Result<()> {
    if context.caller.subject.is_root() {
        return Ok(());
    }
    let Some(limits) = context.setting::<TrafficLimits>(bucket)? else { return Ok(()) };
    let admission = context.admission;
    enter(context, &admission.bucket, Key::Bucket(bucket.id), &limits).inspect_err(|_| {
        if let Some(pass) = admission.caller.take() {
            pass.give_back();
        }
    })
}

fn enter<P: Platform>(
    context: &Context<'_, P>,
    pass: &RefCell<Option<Pass>>,
    key: Key,
    limits: &TrafficLimits,
) -> Result<()> {
    let mut pass = pass.borrow_mut();
    if pass.is_none() {
        let now_ns = context.engine.platform().monotonic_ns();
        *pass = Some(context.services.throttle.enter(key, limits, now_ns)?);
    }
    Ok(())
}
