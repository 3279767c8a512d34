//! A bucket's lifecycle: its rules, whom they concern, and when.
//!
//! Invariants: everything here is pure; a rule that is disabled concerns nobody; of several rules
//! that let an object expire the earliest time counts, as AWS has it.
//!
//! Not here: the XML form (`document`), the arithmetic of days (`day`), what is removed when
//! (`verdict`), and who does it (`pass`).

pub mod day;
pub mod document;
pub mod pass;
mod removal;
pub mod verdict;

pub use day::Day;

use serde::{Deserialize, Serialize};

/// A bucket's lifecycle configuration, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    pub rules: Vec<Rule>,
}

/// One rule, with at least one action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Unique among the rules of its bucket.
    pub id: String,
    pub is_enabled: bool,
    pub filter: Filter,
    pub expiration: Option<Expiration>,
    pub noncurrent: Option<NoncurrentExpiration>,
    /// Days after which an upload that was not completed is aborted.
    pub abort_days: Option<u32>,
}

/// What becomes of current versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expiration {
    /// So many days after they were made. Delete markers that stand alone go at that age too.
    Days(u32),
    /// From this moment on, a midnight in UTC, in seconds since the Unix epoch.
    Date(i64),
    /// Delete markers that stand alone are removed, or (false, which S3 accepts) nothing is.
    DeleteMarkers(bool),
}

/// What becomes of versions that are not current any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoncurrentExpiration {
    /// So many days after they were superseded.
    pub days: u32,
    /// The newest so many are kept whatever their age.
    pub newer_versions: Option<u32>,
}

/// How the client wrote a filter, so that it gets the same form back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FilterForm {
    /// A prefix directly in the rule: S3's first version of the document.
    RulePrefix,
    /// At most one predicate directly in the filter.
    Single,
    And,
}

/// Which objects a rule concerns: those for which all predicates hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    pub form: FilterForm,
    pub prefix: Option<String>,
    pub tags: Vec<(String, String)>,
    pub size_greater_than: Option<u64>,
    pub size_less_than: Option<u64>,
}

impl Filter {
    /// Whether all predicates but those on tags hold.
    pub fn matches_without_tags(&self, key: &[u8], size: u64) -> bool {
        let prefix = self.prefix.as_deref().unwrap_or_default();
        key.starts_with(prefix.as_bytes())
            && self.size_greater_than.is_none_or(|limit| size > limit)
            && self.size_less_than.is_none_or(|limit| size < limit)
    }

    /// Whether an object with these tags is meant, if all else holds.
    pub fn matches_tags(&self, tags: &[(String, String)]) -> bool {
        self.tags.iter().all(|wanted| tags.contains(wanted))
    }
}

impl Rule {
    /// Whether the rule concerns an object. `tags`: those of the object, where they are known;
    /// otherwise the question is whether it may.
    fn concerns(&self, key: &[u8], size: u64, tags: Option<&[(String, String)]>) -> bool {
        self.is_enabled
            && self.filter.matches_without_tags(key, size)
            && tags.is_none_or(|tags| self.filter.matches_tags(tags))
    }
}

impl Lifecycle {
    /// The prefixes of the enabled rules that are meant, none within another: what a walk has to see.
    pub fn prefixes(&self, is_meant: impl Fn(&Rule) -> bool) -> Vec<String> {
        let meant = self.rules.iter().filter(|rule| rule.is_enabled && is_meant(rule));
        let mut prefixes: Vec<String> =
            meant.map(|rule| rule.filter.prefix.clone().unwrap_or_default()).collect();
        prefixes.sort_unstable();
        // What begins with another stands behind it.
        prefixes.dedup_by(|later, earlier| later.starts_with(earlier.as_str()));
        prefixes
    }

    /// Whether some enabled rule looks at tags.
    pub fn looks_at_tags(&self) -> bool {
        self.rules.iter().any(|rule| rule.is_enabled && !rule.filter.tags.is_empty())
    }

    /// When a current version expires, and by which rule; of equal times the first rule's.
    ///
    /// `created`: seconds since the Unix epoch. `tags`: as in [`Rule::concerns`].
    pub fn expiry(
        &self,
        day: Day,
        key: &[u8],
        size: u64,
        created: i64,
        tags: Option<&[(String, String)]>,
    ) -> Option<(i64, &Rule)> {
        let due = |rule: &Rule| match rule.expiration? {
            Expiration::Days(days) => Some(day.midnight_after(created, days)),
            Expiration::Date(date) => Some(date),
            Expiration::DeleteMarkers(_) => None,
        };
        let concerned = self.rules.iter().filter(|rule| rule.concerns(key, size, tags));
        concerned.filter_map(|rule| Some((due(rule)?, rule))).min_by_key(|(when, _)| *when)
    }

    /// When an upload is aborted, and by which rule.
    pub fn abort(&self, day: Day, key: &[u8], begun: i64) -> Option<(i64, &Rule)> {
        let concerned = self.rules.iter().filter(|rule| rule.concerns(key, 0, None));
        concerned
            .filter_map(|rule| Some((day.midnight_after(begun, rule.abort_days?), rule)))
            .min_by_key(|(when, _)| *when)
    }

    /// The value of `x-amz-expiration` for an object that is current.
    pub fn expiration_header(
        &self,
        day: Day,
        key: &[u8],
        size: u64,
        created: i64,
        tags: &[(String, String)],
    ) -> Option<String> {
        let (when, rule) = self.expiry(day, key, size, created, Some(tags))?;
        let (date, id) = (crate::dates::HttpDate(when), crate::percent::encode(&rule.id));
        Some(format!("expiry-date=\"{date}\", rule-id=\"{id}\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn rule(id: &str, prefix: &str, expiration: Option<Expiration>) -> Rule {
        let filter = Filter {
            form: FilterForm::Single,
            prefix: Some(prefix.to_owned()),
            tags: Vec::new(),
            size_greater_than: None,
            size_less_than: None,
        };
        let id = id.to_owned();
        Rule { id, is_enabled: true, filter, expiration, noncurrent: None, abort_days: None }
    }

    const DAY: Day = Day::REAL;
    /// 2014-01-15T10:30:00Z, of AWS's own example.
    const CREATED: i64 = 1_389_781_800;

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn the_earliest_of_the_rules_that_apply_counts() {
        let mut off = rule("off", "", Some(Expiration::Days(1)));
        off.is_enabled = false;
        let lifecycle = Lifecycle {
            rules: vec![
                off,
                rule("all", "", Some(Expiration::Days(10))),
                rule("logs", "logs/", Some(Expiration::Days(3))),
                rule("markers", "", Some(Expiration::DeleteMarkers(true))),
            ],
        };
        let check = |key: &str, id: &str, date: &str| {
            let header = lifecycle.expiration_header(DAY, key.as_bytes(), 1, CREATED, &[]);
            let expected = format!("expiry-date=\"{date}\", rule-id=\"{id}\"");
            assert_eq!(header.as_deref(), Some(expected.as_str()), "{key}");
        };
        check("a", "all", "Sun, 26 Jan 2014 00:00:00 GMT");
        check("logs/a", "logs", "Sun, 19 Jan 2014 00:00:00 GMT");
    }

    #[test]
    fn predicates_must_all_hold() {
        let mut filtered = rule("a b", "p/", Some(Expiration::Date(0)));
        filtered.filter.tags = vec![pair("k", "v"), pair("l", "w")];
        filtered.filter.size_greater_than = Some(10);
        filtered.filter.size_less_than = Some(20);
        let lifecycle = Lifecycle { rules: vec![filtered] };
        let both = [pair("l", "w"), pair("x", "y"), pair("k", "v")];
        let check = |key: &str, size, tags: &[(String, String)], expected: bool| {
            let expiry = lifecycle.expiry(DAY, key.as_bytes(), size, CREATED, Some(tags));
            assert_eq!(expiry.is_some(), expected, "{key} {size} {tags:?}");
        };
        check("p/a", 11, &both, true);
        check("p/a", 19, &both, true);
        check("q/a", 11, &both, false);
        check("p/a", 10, &both, false);
        check("p/a", 20, &both, false);
        check("p/a", 11, &both[..1], false);
        check("p/a", 11, &[], false);
        assert!(lifecycle.looks_at_tags());
        assert!(lifecycle.expiry(DAY, b"p/a", 11, CREATED, None).is_some());
        let header =
            lifecycle.expiration_header(DAY, b"p/a", 11, CREATED, &both).unwrap_or_default();
        assert!(header.ends_with("rule-id=\"a%20b\""), "{header}");
    }

    #[test]
    fn a_walk_sees_each_prefix_once() {
        let with = |prefixes: &[&str]| Lifecycle {
            rules: prefixes.iter().map(|prefix| rule(prefix, prefix, None)).collect(),
        };
        let check = |prefixes: &[&str], expected: &[&str]| {
            assert_eq!(with(prefixes).prefixes(|_| true), expected, "{prefixes:?}");
        };
        check(&["b/", "a/b", "a/", "a/c", "b/"], &["a/", "b/"]);
        check(&["a/", ""], &[""]);
        check(&[], &[]);
        let mut off = with(&["a", "b"]);
        off.rules[0].is_enabled = false;
        assert_eq!(off.prefixes(|_| true), ["b"]);
        assert_eq!(off.prefixes(|rule| rule.abort_days.is_some()), Vec::<String>::new());
    }

    #[test]
    fn uploads_are_aborted_by_prefix() {
        let mut aborting = rule("abort", "up/", None);
        aborting.abort_days = Some(7);
        let lifecycle = Lifecycle { rules: vec![aborting] };
        let found = lifecycle.abort(DAY, b"up/a", CREATED).map(|(when, rule)| (when, &*rule.id));
        assert_eq!(found, Some((1_389_744_000 + 8 * 86_400, "abort")));
        assert_eq!(lifecycle.abort(DAY, b"a", CREATED), None);
    }
}
