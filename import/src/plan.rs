//! Two listings side by side: what the source has, with what the target has of the same key.
//!
//! Invariant: both go once through their keys in order; one entry of each is in memory.

use std::cmp::Ordering;
use std::iter::Peekable;

use crate::client::listing::{Item, Items};
use crate::error::Failure;

/// A key of one side or both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pair {
    Both(Item, Item),
    Source(Item),
    Target(Item),
}

pub struct Merged<'a> {
    source: Peekable<Items<'a>>,
    target: Peekable<Items<'a>>,
}

impl std::fmt::Debug for Merged<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Merged")
    }
}

pub fn merged<'a>(source: Items<'a>, target: Items<'a>) -> Merged<'a> {
    Merged { source: source.peekable(), target: target.peekable() }
}

impl Iterator for Merged<'_> {
    type Item = Result<Pair, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let order = match (self.source.peek(), self.target.peek()) {
            (Some(Ok(source)), Some(Ok(target))) => source.key.cmp(&target.key),
            (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
            (_, Some(Err(_))) | (None, Some(_)) => Ordering::Greater,
            (None, None) => return None,
        };
        Some(match order {
            Ordering::Less => self.source.next()?.map(Pair::Source),
            Ordering::Greater => self.target.next()?.map(Pair::Target),
            Ordering::Equal => match (self.source.next()?, self.target.next()?) {
                (Ok(source), Ok(target)) => Ok(Pair::Both(source, target)),
                (Err(failure), _) | (_, Err(failure)) => Err(failure),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(keys: &'static [&'static str]) -> Items<'static> {
        Box::new(keys.iter().map(|key| match *key {
            "!" => Err(Failure::Local("broken".into())),
            key => Ok(Item { key: key.into(), ..Item::default() }),
        }))
    }

    fn check(source: &'static [&'static str], target: &'static [&'static str], expected: &str) {
        let told: Vec<String> = merged(items(source), items(target))
            .map(|pair| match pair {
                Ok(Pair::Both(item, _)) => format!("={}", item.key),
                Ok(Pair::Source(item)) => format!("+{}", item.key),
                Ok(Pair::Target(item)) => format!("-{}", item.key),
                Err(_) => "!".to_owned(),
            })
            .collect();
        assert_eq!(told.join(" "), expected);
    }

    #[test]
    fn keys_find_their_like() {
        check(&["a", "b", "d"], &["b", "c"], "+a =b -c +d");
        check(&[], &["b"], "-b");
        check(&["b"], &[], "+b");
        check(&["a", "!"], &["a"], "=a !");
        check(&["a"], &["!"], "! +a");
    }
}
