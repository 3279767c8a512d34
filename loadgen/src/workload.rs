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
    /// GET of a slice.
    Range,
    /// GET with If-None-Match of the ETag last seen.
    Conditional,
    Head,
    Delete,
    List,
    /// A whole upload in parts.
    Multipart,
    /// One part of it: comes with `Multipart`, never by itself.
    Part,
}

impl Operation {
    pub const ALL: [Self; 9] = [
        Self::Put,
        Self::Get,
        Self::Range,
        Self::Conditional,
        Self::Head,
        Self::Delete,
        Self::List,
        Self::Multipart,
        Self::Part,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Range => "range",
            Self::Conditional => "conditional",
            Self::Head => "head",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Multipart => "multipart",
            Self::Part => "part",
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

    pub fn reads_and_writes() -> Self {
        Self(Weighted { choices: vec![(Operation::Get, 70), (Operation::Put, 30)], total: 100 })
    }

    /// GETs of an origin behind a CDN: misses of whole objects, slices of large ones, questions
    /// whether a copy is still good, and looks at heads.
    pub fn cdn() -> Self {
        let choices = vec![
            (Operation::Get, 35),
            (Operation::Range, 35),
            (Operation::Conditional, 25),
            (Operation::Head, 5),
        ];
        Self(Weighted { choices, total: 100 })
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
            let found = found.filter(|operation| *operation != Operation::Part);
            found.ok_or_else(|| format!("not an operation: {name}"))
        };
        Ok(Self(Weighted::parse(text, operation)?))
    }
}

/// One choice of `Sizes`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Size {
    Exactly(u64),
    Uniform {
        least: u64,
        most: u64,
    },
    /// The density of size `x` is proportional to `x^-exponent`.
    Zipf {
        least: u64,
        most: u64,
        exponent: f64,
    },
}

impl Size {
    /// `4KiB`, `4KiB-1MiB` or `zipf:4KiB-1MiB:1.2`.
    fn parse(text: &str) -> Result<Self, String> {
        let bounds = |text: &str| {
            let (least, most) =
                text.split_once('-').ok_or_else(|| format!("expected MIN-MAX: {text}"))?;
            let (least, most) = (parse_size(least)?, parse_size(most)?);
            if least <= most { Ok((least, most)) } else { Err(format!("no size is in {text}")) }
        };
        if let Some(zipf) = text.strip_prefix("zipf:") {
            let (range, exponent) = zipf.split_once(':').unwrap_or((zipf, "1"));
            let (least, most) = bounds(range)?;
            let exponent = exponent.parse().ok().filter(|exponent| (0.0..=10.0).contains(exponent));
            let exponent =
                exponent.ok_or_else(|| format!("not an exponent from 0 to 10: {zipf}"))?;
            return Ok(Self::Zipf { least: least.max(1), most: most.max(1), exponent });
        }
        if text.contains('-') {
            return bounds(text).map(|(least, most)| Self::Uniform { least, most });
        }
        parse_size(text).map(Self::Exactly)
    }

    fn bounds(self) -> (u64, u64) {
        match self {
            Self::Exactly(size) => (size, size),
            Self::Uniform { least, most } | Self::Zipf { least, most, .. } => (least, most),
        }
    }

    fn at(self, random: u64) -> u64 {
        match self {
            Self::Exactly(size) => size,
            Self::Uniform { least, most } => least + scale(random, most - least + 1),
            Self::Zipf { least, most, exponent } => {
                let (low, high, unit) = (least as f64, most as f64, unit(random));
                // The inverse of the distribution function, which is a logarithm where the exponent is 1.
                let power = 1.0 - exponent;
                let size = if power.abs() < 1e-9 {
                    low * (high / low).powf(unit)
                } else {
                    let (low, high) = (low.powf(power), high.powf(power));
                    (low + unit * (high - low)).powf(1.0 / power)
                };
                (size as u64).clamp(least, most)
            }
        }
    }
}

/// Sizes of bodies, or of slices of them, with weights.
#[derive(Debug, Clone)]
pub struct Sizes {
    weighted: Weighted<Size>,
    text: String,
}

impl Sizes {
    pub fn of(&self, key_hash: u64, version: u64) -> u64 {
        self.at(mix(key_hash.wrapping_add(mix(version))))
    }

    /// Any of them.
    pub fn at(&self, random: u64) -> u64 {
        self.weighted.pick(random).at(mix(random))
    }

    pub fn contains(&self, size: u64) -> bool {
        self.bounds().any(|(least, most)| (least..=most).contains(&size))
    }

    pub fn largest(&self) -> u64 {
        self.bounds().map(|(_, most)| most).max().unwrap_or(0)
    }

    fn bounds(&self) -> impl Iterator<Item = (u64, u64)> {
        self.weighted.choices.iter().map(|(size, _)| size.bounds())
    }

    /// As it was given.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl FromStr for Sizes {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self { weighted: Weighted::parse(text, Size::parse)?, text: text.to_owned() })
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
        unit(self.number())
    }
}

/// Maps a full-range number to one above 0, up to 1.
fn unit(random: u64) -> f64 {
    ((random >> 11) + 1) as f64 / (1u64 << 53) as f64
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
    fn sizes_between_bounds_are_uniform_or_mostly_small() {
        let share_below = |text: &str, bound: u64| {
            let sizes: Sizes = text.parse().unwrap();
            let mut random = Random::new(3);
            let drawn = (0..20_000).map(|_| sizes.at(random.number()));
            let drawn: Vec<u64> = drawn.inspect(|size| assert!(sizes.contains(*size))).collect();
            drawn.iter().filter(|size| **size < bound).count() as f64 / 20_000.0
        };
        assert!((share_below("0-1000", 250) - 0.25).abs() < 0.02);
        // At exponent 1 each tenfold span has the same share.
        assert!((share_below("zipf:1KB-1MB", 10_000) - 1.0 / 3.0).abs() < 0.02);
        let expected = (1.0 - 10f64.powf(-0.5)) / (1.0 - 1000f64.powf(-0.5));
        assert!((share_below("zipf:1KB-1MB:1.5", 10_000) - expected).abs() < 0.02);
        assert!((share_below("10=1,20-29=3", 20) - 0.25).abs() < 0.02);
        for text in ["2KiB-1KiB", "1-x", "zipf:1KiB", "zipf:1-2:99", "-"] {
            assert!(text.parse::<Sizes>().is_err(), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "get=0", "part=1", "fly=1", "get=x", "get=-1"] {
            assert!(text.parse::<Mix>().is_err(), "{text}");
        }
        assert!("4KiB=1,huge=2".parse::<Sizes>().is_err());
    }
}
