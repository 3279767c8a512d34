//! The reference model of one key: which values it may have, given what was asked and answered.
//!
//! A key is a register that starts absent. Every operation is announced before it begins and told of
//! when it ends; in between it takes effect at one moment or not at all. The model keeps every state
//! that is possible (the linearisations that agree with all answers so far) and reports the first
//! answer that none of them explains.
//!
//! Rules that follow from it: an acknowledged write is there, through every crash; one without an
//! answer is wholly there or not at all, and the next look decides which for good; nothing older comes
//! back; two reads of one client never go back in time.
//!
//! What a key holds and what operations do to it is a [`Subject`]; the plain one is [`Value`], a value or
//! none. Keys with versions are another (`model_versions`).
//!
//! Not here: what the values are, and anything that spans keys.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;

/// Names a value; unique over a history.
pub type ValueId = u64;

/// Names an operation of one key.
pub type OpId = u64;

/// How much of a key's past a violation shows.
const TRACE_EVENTS: usize = 24;

/// What a conditional operation asks of the present state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    Always,
    Absent,
    Present,
    Equals(ValueId),
}

impl Guard {
    pub(crate) fn holds(self, state: Option<ValueId>) -> bool {
        match self {
            Self::Always => true,
            Self::Absent => state.is_none(),
            Self::Present => state.is_some(),
            Self::Equals(value) => state == Some(value),
        }
    }
}

/// What an operation is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Read,
    /// Sets the value, or with `None` removes it, if the guard holds.
    Write {
        guard: Guard,
        value: Option<ValueId>,
    },
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// A read saw this.
    Saw(Option<ValueId>),
    /// A write took effect; whether a value was there before.
    Done { existed: bool },
    /// A write was refused because its guard did not hold.
    Refused,
}

/// What a register holds, and what operations do to it.
pub trait Subject: Debug {
    type State: Ord + Clone + Debug + Default;
    type Op: Clone + Debug;
    type Outcome: Ord + Clone + Debug;

    fn apply(op: &Self::Op, state: &Self::State) -> (Self::State, Self::Outcome);

    /// Whether an operation only looks.
    fn is_look(op: &Self::Op) -> bool;

    /// Whether it was a write that took effect.
    fn took_effect(outcome: &Self::Outcome) -> bool;
}

/// A value or none.
#[derive(Debug)]
pub struct Value;

/// One possible present: the state, and the unanswered operations that have taken effect.
type Possible<S> = (<S as Subject>::State, BTreeMap<OpId, <S as Subject>::Outcome>);

#[derive(Debug)]
pub struct Register<S: Subject = Value> {
    states: BTreeSet<Possible<S>>,
    unanswered: BTreeMap<OpId, S::Op>,
    next: OpId,
    trace: VecDeque<Event<S>>,
}

/// What happened to a register, as a report tells it.
#[derive(Debug)]
#[expect(dead_code, reason = "read by way of its Debug form")]
enum Event<S: Subject> {
    Begins(OpId, S::Op),
    Ends(OpId, S::Outcome),
    HadNoEffect(OpId),
    KnownByOtherSigns { id: OpId, effect: bool },
    Stop,
}

impl<S: Subject> Default for Register<S> {
    fn default() -> Self {
        Self {
            states: BTreeSet::from([(S::State::default(), BTreeMap::new())]),
            unanswered: BTreeMap::new(),
            next: 0,
            trace: VecDeque::new(),
        }
    }
}

impl<S: Subject> Register<S> {
    /// An operation is about to begin.
    pub fn begin(&mut self, op: S::Op) -> OpId {
        let id = self.next;
        self.next += 1;
        self.note(Event::Begins(id, op.clone()));
        self.unanswered.insert(id, op);
        id
    }

    /// An operation was answered.
    pub fn end(&mut self, id: OpId, outcome: S::Outcome) -> Result<(), String> {
        self.note(Event::Ends(id, outcome.clone()));
        let reached = self.states_after(Some(id));
        self.keep(id, reached, |found| found == Some(&outcome), &outcome)
    }

    /// An operation failed in a way that says that it had no effect.
    pub fn end_without_effect(&mut self, id: OpId) -> Result<(), String> {
        self.note(Event::HadNoEffect(id));
        let states = self.states.clone();
        self.keep(id, states, |found| found.is_none(), &"no effect")
    }

    /// Whether a write that has no answer (and never will) is known to have taken effect.
    pub fn settle_one(&mut self, id: OpId, effect: bool) -> Result<(), String> {
        self.note(Event::KnownByOtherSigns { id, effect });
        let reached = self.states_after(None);
        let wanted = |found: Option<&S::Outcome>| found.is_some_and(S::took_effect) == effect;
        self.keep(id, reached, wanted, &"what other signs say")
    }

    /// Every operation without an answer took effect by now or never will: the machine stopped, or
    /// all work has ended. Which of them did is not forgotten before [`Self::forget_but`].
    pub fn stop(&mut self) {
        self.note(Event::Stop);
        // Of reads that were cut short nobody will ask again; of writes stopped earlier one may.
        let looks: BTreeSet<OpId> =
            self.unanswered.iter().filter(|(_, op)| S::is_look(op)).map(|(id, _)| *id).collect();
        self.unanswered.retain(|id, _| !looks.contains(id));
        let mut stopped = BTreeSet::new();
        for (value, mut done) in self.states_after(None) {
            done.retain(|id, _| !looks.contains(id));
            stopped.insert((value, done));
        }
        self.states = stopped;
        // No operation takes effect after a stop.
        self.unanswered.clear();
    }

    /// A read gave no answer that means anything.
    pub fn drop_read(&mut self, id: OpId) {
        self.unanswered.remove(&id);
        self.states = std::mem::take(&mut self.states)
            .into_iter()
            .map(|(value, mut done)| {
                done.remove(&id);
                (value, done)
            })
            .collect();
    }

    /// Nothing more will be learnt of what stopped without an answer, but for these operations.
    pub fn forget_but(&mut self, kept: &[OpId]) {
        self.states = std::mem::take(&mut self.states)
            .into_iter()
            .map(|(value, mut done)| {
                done.retain(|id, _| kept.contains(id));
                (value, done)
            })
            .collect();
        self.unanswered.clear();
    }

    /// The states that are possible now, if nothing is under way.
    pub fn possible(&self) -> BTreeSet<S::State> {
        self.states.iter().map(|(value, _)| value.clone()).collect()
    }

    /// Operations that have no answer yet.
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// All states that are reached when unanswered operations take effect in any order; with `last`
    /// only those in which that one has.
    fn states_after(&self, last: Option<OpId>) -> BTreeSet<Possible<S>> {
        let mut reached = self.states.clone();
        let mut work: Vec<Possible<S>> = reached.iter().cloned().collect();
        while let Some((value, done)) = work.pop() {
            // What happens after the last one can as well happen later.
            if last.is_some_and(|last| done.contains_key(&last)) {
                continue;
            }
            for (id, op) in self.unanswered.iter().filter(|(id, _)| !done.contains_key(id)) {
                let (next, outcome) = S::apply(op, &value);
                let mut done = done.clone();
                done.insert(*id, outcome);
                if reached.insert((next.clone(), done.clone())) {
                    work.push((next, done));
                }
            }
        }
        if let Some(last) = last {
            reached.retain(|(_, done)| done.contains_key(&last));
        }
        reached
    }

    fn keep(
        &mut self,
        id: OpId,
        states: BTreeSet<Possible<S>>,
        wanted: impl Fn(Option<&S::Outcome>) -> bool,
        what: &dyn Debug,
    ) -> Result<(), String> {
        let mut kept = BTreeSet::new();
        let mut refuted = BTreeSet::new();
        for (value, mut done) in states {
            if wanted(done.get(&id)) {
                done.remove(&id);
                kept.insert((value, done));
            } else {
                refuted.insert(done.get(&id).cloned());
            }
        }
        self.unanswered.remove(&id);
        if kept.is_empty() {
            let trace: Vec<_> = self.trace.iter().map(|event| format!("{event:?}")).collect();
            return Err(format!(
                "operation {id} ended with {what:?}, possible was {refuted:?}; the past:\n  {}",
                trace.join("\n  ")
            ));
        }
        self.states = kept;
        Ok(())
    }

    fn note(&mut self, event: Event<S>) {
        if self.trace.len() == TRACE_EVENTS {
            self.trace.pop_front();
        }
        self.trace.push_back(event);
    }
}

impl Subject for Value {
    type State = Option<ValueId>;
    type Op = Op;
    type Outcome = Outcome;

    fn apply(op: &Op, value: &Option<ValueId>) -> (Option<ValueId>, Outcome) {
        match *op {
            Op::Read => (*value, Outcome::Saw(*value)),
            Op::Write { guard, value: next } if guard.holds(*value) => {
                (next, Outcome::Done { existed: value.is_some() })
            }
            Op::Write { .. } => (*value, Outcome::Refused),
        }
    }

    fn is_look(op: &Op) -> bool {
        *op == Op::Read
    }

    fn took_effect(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Done { .. })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const PUT: fn(ValueId) -> Op = |value| Op::Write { guard: Guard::Always, value: Some(value) };
    const DELETE: Op = Op::Write { guard: Guard::Always, value: None };

    fn done(register: &mut Register, op: Op, existed: bool) {
        let id = register.begin(op);
        register.end(id, Outcome::Done { existed }).unwrap();
    }

    fn read(register: &mut Register, seen: Option<ValueId>) -> Result<(), String> {
        let id = register.begin(Op::Read);
        register.end(id, Outcome::Saw(seen))
    }

    #[test]
    fn an_acknowledged_write_must_be_seen_and_nothing_older() {
        let mut register = Register::<Value>::default();
        done(&mut register, PUT(1), false);
        done(&mut register, PUT(2), true);
        register.stop();
        assert!(read(&mut register, Some(2)).is_ok());
        assert!(read(&mut register, Some(1)).is_err());
    }

    #[test]
    fn an_unanswered_write_may_be_there_or_not_and_the_first_look_decides() {
        for seen in [None, Some(1)] {
            let mut register = Register::<Value>::default();
            register.begin(PUT(1));
            register.stop();
            register.forget_but(&[]);
            assert_eq!(register.possible(), BTreeSet::from([None, Some(1)]));
            assert!(read(&mut register, seen).is_ok());
            assert!(read(&mut register, if seen.is_none() { Some(1) } else { None }).is_err());
        }
    }

    #[test]
    fn after_a_stop_an_unanswered_write_takes_no_effect_any_more() {
        let mut register = Register::<Value>::default();
        register.begin(PUT(1));
        register.stop();
        register.forget_but(&[]);
        done(&mut register, PUT(2), false);
        assert!(read(&mut register, Some(1)).is_err());
    }

    #[test]
    fn reads_beside_a_write_may_see_either_but_never_go_back() {
        let mut register = Register::<Value>::default();
        done(&mut register, PUT(1), false);
        register.begin(PUT(2));
        assert!(read(&mut register, Some(1)).is_ok());
        assert!(read(&mut register, Some(2)).is_ok());
        assert!(read(&mut register, Some(1)).is_err());
    }

    #[test]
    fn a_slow_read_may_see_what_was_there_at_any_moment_of_it() {
        for (seen, right) in [(Some(1), true), (Some(2), true), (Some(3), true), (None, false)] {
            let mut register = Register::<Value>::default();
            done(&mut register, PUT(1), false);
            let slow = register.begin(Op::Read);
            done(&mut register, PUT(2), true);
            done(&mut register, PUT(3), true);
            assert_eq!(register.end(slow, Outcome::Saw(seen)).is_ok(), right, "{seen:?}");
        }
    }

    #[test]
    fn of_two_creators_only_one_may_win() {
        let mut register = Register::<Value>::default();
        let create = |value| Op::Write { guard: Guard::Absent, value: Some(value) };
        let (first, second) = (register.begin(create(1)), register.begin(create(2)));
        register.end(first, Outcome::Done { existed: false }).unwrap();
        assert!(register.end(second, Outcome::Done { existed: false }).is_err());
    }

    #[test]
    fn a_refusal_must_be_explained_by_some_moment() {
        let mut register = Register::<Value>::default();
        let guarded = Op::Write { guard: Guard::Equals(1), value: Some(5) };
        let id = register.begin(guarded);
        register.end(id, Outcome::Refused).unwrap();
        done(&mut register, PUT(1), false);
        let id = register.begin(guarded);
        assert!(register.end(id, Outcome::Refused).is_err());
    }

    #[test]
    fn what_had_no_effect_must_never_have_been_seen() {
        let mut register = Register::<Value>::default();
        let id = register.begin(PUT(1));
        read(&mut register, Some(1)).unwrap();
        assert!(register.end_without_effect(id).is_err());
    }

    #[test]
    fn other_signs_settle_what_an_unanswered_write_did() {
        for effect in [true, false] {
            let mut register = Register::<Value>::default();
            let id = register.begin(PUT(1));
            register.stop();
            register.settle_one(id, effect).unwrap();
            register.forget_but(&[]);
            let expected = if effect { Some(1) } else { None };
            assert_eq!(register.possible(), BTreeSet::from([expected]));
        }
        let mut register = Register::<Value>::default();
        done(&mut register, PUT(7), false);
        let id = register.begin(DELETE);
        read(&mut register, None).unwrap();
        register.stop();
        assert!(register.settle_one(id, false).is_err());
    }
}
