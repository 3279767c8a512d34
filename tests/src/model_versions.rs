//! The reference model of a key with versions: what stands beside what, newest first.
//!
//! It is a [`Subject`] of the register that judges plain keys too. Which delete marker a reader saw cannot be
//! told, as markers have nothing that names them; that there is one, and where it stands, can.

use crate::model::{Guard, Subject, ValueId};

/// One version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// The value; of a delete marker what it is called in the model.
    pub id: ValueId,
    /// Names the attributes, which may be changed. A version with locked ones may not go.
    pub attributes: ValueId,
    pub is_null: bool,
    pub is_marker: bool,
}

/// As a reader sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    /// Zero for a delete marker.
    pub id: ValueId,
    /// All of the name of its attributes, or what a listing shows of it.
    pub attributes: ValueId,
    pub is_null: bool,
}

/// Which version is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    Latest,
    Null,
    Exactly(ValueId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    Read(Pick),
    /// All versions in a listing.
    List,
    Add {
        held: Held,
        condition: Guard,
    },
    Remove {
        pick: Pick,
        condition: Guard,
        guarded: bool,
    },
    Amend {
        pick: Pick,
        attributes: ValueId,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Saw(Option<Seen>),
    SawAll(Vec<Seen>),
    Done {
        existed: bool,
    },
    /// Which attributes were there before.
    Amended(ValueId),
    Refused,
}

/// Whether attributes of this name lock their version.
pub fn is_locked(attributes: ValueId) -> bool {
    attributes.is_multiple_of(4)
}

/// What a listing shows of the name of attributes.
pub fn label_of(attributes: ValueId) -> u8 {
    attributes as u8
}

/// A key with versions.
#[derive(Debug)]
pub struct Versions;

impl Held {
    fn seen(&self) -> Seen {
        let Self { id, attributes, is_null, is_marker } = *self;
        match is_marker {
            true => Seen { id: 0, attributes: 0, is_null },
            false => Seen { id, attributes, is_null },
        }
    }

    fn listed(&self) -> Seen {
        let seen = self.seen();
        Seen { attributes: label_of(seen.attributes).into(), ..seen }
    }
}

fn find(state: &[Held], pick: Pick) -> Option<usize> {
    match pick {
        Pick::Latest => (!state.is_empty()).then_some(0),
        Pick::Null => state.iter().position(|held| held.is_null),
        Pick::Exactly(id) => state.iter().position(|held| held.id == id),
    }
}

fn object(held: Option<&Held>) -> Option<ValueId> {
    held.filter(|held| !held.is_marker).map(|held| held.id)
}

impl Subject for Versions {
    type State = Vec<Held>;
    type Op = Op;
    type Outcome = Outcome;

    fn apply(op: &Op, state: &Vec<Held>) -> (Vec<Held>, Outcome) {
        let mut next = state.clone();
        let outcome = match *op {
            Op::Read(pick) => Outcome::Saw(find(state, pick).map(|at| state[at].seen())),
            Op::List => Outcome::SawAll(state.iter().map(Held::listed).collect()),
            Op::Add { held, condition } => {
                let before = object(state.first());
                if !condition.holds(before) {
                    return (next, Outcome::Refused);
                }
                next.retain(|other| !(held.is_null && other.is_null));
                next.insert(0, held);
                Outcome::Done { existed: before.is_some() }
            }
            Op::Remove { pick, condition, guarded } => {
                let target = find(state, pick);
                let judged = match pick {
                    Pick::Exactly(_) => target.map(|at| &state[at]),
                    _ => state.first(),
                };
                let is_kept =
                    |at: usize| guarded && !state[at].is_marker && is_locked(state[at].attributes);
                if !condition.holds(object(judged)) || target.is_some_and(is_kept) {
                    return (next, Outcome::Refused);
                }
                target.map(|at| next.remove(at));
                Outcome::Done { existed: target.is_some() }
            }
            Op::Amend { pick, attributes } => match find(state, pick) {
                Some(at) if !state[at].is_marker => {
                    next[at].attributes = attributes;
                    Outcome::Amended(state[at].attributes)
                }
                _ => Outcome::Refused,
            },
        };
        (next, outcome)
    }

    fn is_look(op: &Op) -> bool {
        matches!(op, Op::Read(_) | Op::List)
    }

    fn took_effect(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Done { .. } | Outcome::Amended(_))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::model::Register;

    fn held(id: ValueId, is_null: bool, is_marker: bool) -> Held {
        Held { id, attributes: id, is_null, is_marker }
    }

    fn done(register: &mut Register<Versions>, op: Op, outcome: Outcome) -> Result<(), String> {
        let id = register.begin(op);
        register.end(id, outcome)
    }

    fn add(register: &mut Register<Versions>, held: Held, existed: bool) {
        let op = Op::Add { held, condition: Guard::Always };
        done(register, op, Outcome::Done { existed }).unwrap();
    }

    fn all(register: &mut Register<Versions>, ids: &[ValueId]) -> Result<(), String> {
        let possible = register.possible();
        let rows = possible.first().unwrap().iter().map(Held::listed).collect::<Vec<_>>();
        assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), ids);
        done(register, Op::List, Outcome::SawAll(rows))
    }

    #[test]
    fn a_null_version_replaces_only_its_like_and_a_removed_marker_shows_what_was_before() {
        let mut register = Register::default();
        add(&mut register, held(1, true, false), false);
        add(&mut register, held(2, false, false), true);
        add(&mut register, held(3, true, false), true);
        all(&mut register, &[3, 2]).unwrap();
        add(&mut register, held(4, false, true), true);
        all(&mut register, &[0, 3, 2]).unwrap();
        assert!(done(&mut register, Op::Read(Pick::Latest), Outcome::Saw(None)).is_err());
    }

    #[test]
    fn locked_attributes_keep_a_version_until_they_are_changed() {
        let mut register = Register::default();
        add(&mut register, held(8, false, false), false);
        let remove = Op::Remove { pick: Pick::Exactly(8), condition: Guard::Always, guarded: true };
        done(&mut register, remove.clone(), Outcome::Refused).unwrap();
        let amend = Op::Amend { pick: Pick::Latest, attributes: 9 };
        done(&mut register, amend, Outcome::Amended(8)).unwrap();
        done(&mut register, remove, Outcome::Done { existed: true }).unwrap();
        all(&mut register, &[]).unwrap();
    }
}
