//! What is asked for: operations by weight, sizes by weight, and the random numbers behind every
//! choice.
//!
//! **Invariant:** the size of a body is a function of key and version, so that a reader knows it
//! without having seen the write.

use crate::content::mix;
use crate::limits;
use crate::options::parse_size;
use serde::Serialize;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    Put,
    Get,
    Head,
    Delete,
    List,
}

impl Operation {
    pub const ALL: [Self; 5] = [Self::Put, Self::Get, Self::Head, Self::Delete, Self::List];

    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "head",
            Self::Delete => "delete",
            Self::List => "list",
        }
    }
}

/// Operations with weights.
#[derive(Debug, Clone)]
pub struct Mix(Weighted<Operation>);

impl Mix {
    pub fn only(operation: Operation) -> Self {
        Self(Weighted { choices: vec![(operation, 1)], total: 1 })
    }

    pub fn pick(&self, random: &mut Random) -> Operation {
        self.0.pick(random.number())
    }

    pub fn has(&self, operation: Operation) -> bool {
        self.0.choices.iter().any(|(choice, _)| *choice == operation)
    }
}

impl FromStr for Mix {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let operation = |name: &str| {
            let found = Operation::ALL.into_iter().find(|operation| operation.name() == name);
            found.ok_or_else(|| format!("not an operation: {name}"))
        };
        Ok(Self(Weighted::parse(text, operation)?))
    }
}

/// Body sizes with weights.
#[derive(Debug, Clone)]
pub struct Sizes {
    weighted: Weighted<u64>,
    text: String,
}

impl Sizes {
    pub fn of(&self, key_hash: u64, version: u64) -> u64 {
        self.weighted.pick(mix(key_hash.wrapping_add(mix(version))))
    }

    pub fn contains(&self, size: u64) -> bool {
        self.weighted.choices.iter().any(|(choice, _)| *choice == size)
    }

    pub fn largest(&self) -> u64 {
        self.weighted.choices.iter().map(|(size, _)| *size).max().unwrap_or(0)
    }

    /// As it was given.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl FromStr for Sizes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self { weighted: Weighted::parse(text, parse_size)?, text: text.to_owned() })
    }
}

/// Choices, each as often as its weight says. Few, so picking walks them.
#[derive(Debug, Clone)]
struct Weighted<T> {
    choices: Vec<(T, u64)>,
    total: u64,
}

impl<T: Copy> Weighted<T> {
    /// `name=weight,...`; a weight left out is 1.
    fn parse(text: &str, value: impl Fn(&str) -> Result<T, String>) -> Result<Self, String> {
        let mut choices = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (name, weight) = part.split_once('=').unwrap_or((part, "1"));
            let weight: u32 = weight.parse().map_err(|_| format!("not a weight: {weight}"))?;
            if weight > 0 {
                choices.push((value(name)?, u64::from(weight)));
            }
        }
        if choices.is_empty() || choices.len() > limits::SIZES_MAX {
            return Err(format!("expected between 1 and {} choices", limits::SIZES_MAX));
        }
        let total = choices.iter().map(|(_, weight)| weight).sum();
        Ok(Self { choices, total })
    }

    fn pick(&self, random: u64) -> T {
        let mut point = scale(random, self.total);
        for (choice, weight) in &self.choices {
            if point < *weight {
                return *choice;
            }
            point -= weight;
        }
        self.choices[0].0
    }
}

/// A seeded generator (splitmix64): the same seed makes the same choices.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed))
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Uniform below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        scale(self.number(), bound)
    }

    /// Uniform above 0, up to 1.
    pub fn unit(&mut self) -> f64 {
        ((self.number() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }
}

/// Maps a full-range number to one below `bound`, without a division.
fn scale(random: u64, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn choices_come_as_often_as_their_weights() {
        let mix: Mix = "get=70,put=30".parse().unwrap();
        let mut random = Random::new(1);
        let gets = (0..10_000).filter(|_| mix.pick(&mut random) == Operation::Get).count();
        assert!((6_800..7_200).contains(&gets), "{gets}");
        assert!(mix.has(Operation::Put) && !mix.has(Operation::Delete));
    }

    #[test]
    fn sizes_follow_key_and_version() {
        let sizes: Sizes = "4KiB=90,1MiB=10".parse().unwrap();
        assert_eq!(sizes.of(1, 2), sizes.of(1, 2));
        let large = (0..10_000).filter(|&key| sizes.of(mix(key), 1) == 1 << 20).count();
        assert!((800..1_200).contains(&large), "{large}");
        assert_eq!(sizes.largest(), 1 << 20);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "get=0", "fly=1", "get=x", "get=-1"] {
            assert!(text.parse::<Mix>().is_err(), "{text}");
        }
        assert!("4KiB=1,huge=2".parse::<Sizes>().is_err());
    }
}
