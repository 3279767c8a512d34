//! One evaluation of a policy: what it asks of the request, and how much it may still cost.
//!
//! Invariant: when no steps are left, nothing that was found counts; the policy denies (`Policy::judge`).
//!
//! A step is a value of the request or a pattern that is tried, a byte of a pattern that is compared, a byte of the
//! request that is read or folded, or eight that are searched by vectors. Not counted is what the policy's size alone
//! bounds: its principals, and the numbers, dates, addresses and the like with which a value is compared.

use super::Facts;
use super::key::Key;
use crate::limits::POLICY_STEPS_MAX;
use std::cell::Cell;

pub(super) struct Evaluation<'a> {
    facts: &'a dyn Facts,
    steps_left: Cell<usize>,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(facts: &'a dyn Facts) -> Self {
        Self::with_steps(facts, POLICY_STEPS_MAX)
    }

    pub(super) fn with_steps(facts: &'a dyn Facts, steps: usize) -> Self {
        Self { facts, steps_left: Cell::new(steps) }
    }

    /// The values of a key: none where the request has none.
    pub(super) fn values(&self, key: &Key) -> Vec<String> {
        let values = self.facts.values(key);
        self.spend(values.iter().fold(1, |bytes, value| bytes + value.len()));
        values
    }

    /// Whether steps are left behind these.
    pub(super) fn spend(&self, steps: usize) -> bool {
        self.steps_left.set(self.steps_left().saturating_sub(steps));
        !self.is_exhausted()
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.steps_left() == 0
    }

    pub(super) fn steps_left(&self) -> usize {
        self.steps_left.get()
    }
}

impl Evaluation<'static> {
    /// Of texts that come from no request: without facts, and without a bound.
    pub(super) fn without_request() -> Self {
        Self::with_steps(&NoFacts, usize::MAX)
    }
}

struct NoFacts;

impl Facts for NoFacts {
    fn values(&self, _: &Key) -> Vec<String> {
        Vec::new()
    }
}
