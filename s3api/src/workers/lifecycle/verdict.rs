//! What of a bucket is to go, decided from a walk over its versions: newest first within a key.
//!
//! Invariants: a verdict names the very version that was seen, so that whoever carries it out can
//! refuse it if another is there by then; a current version is never removed where versions are
//! kept, only covered by a delete marker; the state between two rows is of constant size.
//!
//! Not here: tags are in the record, not in the index. A rule that looks at tags is taken to apply,
//! and the verdict says that it must be asked again with the tags at hand.

use super::{Day, Expiration, Lifecycle, Rule};
use crate::versioning::{self, NULL_VERSION};
use engine::Version;

/// One version as a listing shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub version: Version,
    pub size: u64,
    pub is_latest: bool,
    pub is_marker: bool,
    pub is_null: bool,
}

impl Row {
    /// As clients name the version.
    pub fn id(&self) -> String {
        if self.is_null { NULL_VERSION.to_owned() } else { versioning::text_of(self.version) }
    }
}

/// What is to happen to a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The current version expires: it is covered by a marker or, without versioning, removed.
    ExpireCurrent,
    /// A version that is not current is removed.
    RemoveNoncurrent,
    /// A delete marker that nothing lies beneath is removed.
    RemoveMarker,
}

/// What is known of a version when a verdict on it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub row: Row,
    /// When a newer version took its place; none for the current one.
    pub superseded: Option<Version>,
    /// Versions between it and the current one.
    pub newer_noncurrent: u32,
    /// Of the current version: nothing lies beneath it.
    pub is_alone: bool,
}

/// The walk: turns rows into standings. A current version is given out one row later, when it is
/// known whether it stands alone.
#[derive(Debug, Default)]
pub struct Walk {
    key: Vec<u8>,
    /// The version seen last of this key, and how many noncurrent ones up to it.
    last: Option<(Version, u32)>,
    held: Option<Row>,
}

impl Walk {
    /// Takes the next row; `give` gets whatever is known now, with its key.
    pub fn step(&mut self, key: &[u8], row: Row, mut give: impl FnMut(&[u8], Standing)) {
        let is_same = self.last.is_some() && self.key == key;
        self.release(!is_same, &mut give);
        if !is_same {
            self.key.clear();
            self.key.extend_from_slice(key);
            self.last = None;
        }
        match (row.is_latest, self.last) {
            (true, _) => {
                self.held = Some(row);
                self.last = Some((row.version, 0));
            }
            // The version above it was not seen (it came or went during the walk): nobody knows since
            // when this one is not current. The next walk will.
            (false, None) => self.last = Some((row.version, 1)),
            (false, Some((newer, count))) => {
                let standing = Standing {
                    row,
                    superseded: Some(newer),
                    newer_noncurrent: count,
                    is_alone: false,
                };
                give(key, standing);
                self.last = Some((row.version, count.saturating_add(1)));
            }
        }
    }

    /// No further row comes.
    pub fn finish(&mut self, mut give: impl FnMut(&[u8], Standing)) {
        self.release(true, &mut give);
        self.last = None;
    }

    fn release(&mut self, is_alone: bool, give: &mut impl FnMut(&[u8], Standing)) {
        if let Some(row) = self.held.take() {
            let standing = Standing { row, superseded: None, newer_noncurrent: 0, is_alone };
            give(&self.key, standing);
        }
    }
}

/// What the rules say of a version at a moment. `tags`: its tags; none: they are not known, and rules
/// that look at them are taken to apply.
pub fn judge(
    lifecycle: &Lifecycle,
    day: Day,
    now: i64,
    key: &[u8],
    standing: &Standing,
    tags: Option<&[(String, String)]>,
) -> Option<Verdict> {
    let Standing { row, superseded, .. } = *standing;
    let mut concerned = lifecycle.rules.iter().filter(|rule| rule.concerns(key, row.size, tags));
    if let Some(superseded) = superseded {
        let is_due = concerned.any(|rule| is_noncurrent_due(rule, day, now, standing, superseded));
        return is_due.then_some(Verdict::RemoveNoncurrent);
    }
    if row.is_marker {
        let is_due = standing.is_alone && concerned.any(|rule| is_marker_due(rule, day, now, row));
        return is_due.then_some(Verdict::RemoveMarker);
    }
    let created = crate::dates::seconds(row.version);
    let (when, _) = lifecycle.expiry(day, key, row.size, created, tags)?;
    (now >= when).then_some(Verdict::ExpireCurrent)
}

fn is_noncurrent_due(
    rule: &Rule,
    day: Day,
    now: i64,
    standing: &Standing,
    superseded: Version,
) -> bool {
    rule.noncurrent.is_some_and(|noncurrent| {
        standing.newer_noncurrent >= noncurrent.newer_versions.unwrap_or(0)
            && now >= day.midnight_after(crate::dates::seconds(superseded), noncurrent.days)
    })
}

/// A marker has no tags and no size: a rule that asks for them does not mean it.
fn is_marker_due(rule: &Rule, day: Day, now: i64, row: Row) -> bool {
    let filter = &rule.filter;
    let asks_for_content = !filter.tags.is_empty()
        || filter.size_greater_than.is_some()
        || filter.size_less_than.is_some();
    match rule.expiration {
        _ if asks_for_content => false,
        Some(Expiration::DeleteMarkers(is_on)) => is_on,
        Some(Expiration::Days(days)) => {
            now >= day.midnight_after(crate::dates::seconds(row.version), days)
        }
        Some(Expiration::Date(date)) => now >= date,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::NoncurrentExpiration;
    use super::super::tests::rule;
    use super::*;
    use std::time::Duration;

    fn seconds(text: u64) -> Version {
        Version(text * 1_000_000_000)
    }

    fn latest(at: u64) -> Row {
        Row { version: seconds(at), size: 1, is_latest: true, is_marker: false, is_null: false }
    }

    fn older(at: u64) -> Row {
        Row { is_latest: false, ..latest(at) }
    }

    fn marker(row: Row) -> Row {
        Row { is_marker: true, size: 0, ..row }
    }

    /// Days of ten seconds: the keys and times of what is to go.
    fn check(rules: Vec<Rule>, now: i64, rows: &[(&str, Row)], expected: &[(&str, u64, Verdict)]) {
        let lifecycle = Lifecycle { rules };
        let day = Day::of(Duration::from_secs(10));
        let mut found = Vec::new();
        let mut walk = Walk::default();
        let mut give = |key: &[u8], standing: Standing| {
            if let Some(verdict) = judge(&lifecycle, day, now, key, &standing, None) {
                let at = standing.row.version.0 / 1_000_000_000;
                found.push((String::from_utf8_lossy(key).into_owned(), at, verdict));
            }
        };
        for (key, row) in rows {
            walk.step(key.as_bytes(), *row, &mut give);
        }
        walk.finish(&mut give);
        let expected: Vec<_> =
            expected.iter().map(|(key, at, verdict)| ((*key).to_owned(), *at, *verdict)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn current_versions_expire_at_the_midnight_after_their_days() {
        let days = || vec![rule("r", "a", Some(Expiration::Days(2)))];
        let rows =
            [("a1", latest(101)), ("a2", latest(109)), ("a3", latest(111)), ("b", latest(1))];
        check(days(), 129, &rows, &[]);
        let first = [("a1", 101, Verdict::ExpireCurrent), ("a2", 109, Verdict::ExpireCurrent)];
        check(days(), 130, &rows, &first);
        check(vec![rule("r", "", Some(Expiration::Date(140)))], 139, &rows, &[]);
        let dated = vec![rule("r", "a3", Some(Expiration::Date(140)))];
        check(dated, 140, &rows, &[("a3", 111, Verdict::ExpireCurrent)]);
    }

    #[test]
    fn noncurrent_versions_go_by_the_time_when_they_were_superseded() {
        let mut noncurrent = rule("r", "", None);
        noncurrent.noncurrent = Some(NoncurrentExpiration { days: 1, newer_versions: None });
        let rows =
            [("a", latest(131)), ("a", older(111)), ("a", marker(older(101))), ("b", older(1))];
        // The one at 111 was superseded at 131, so it is due at 150; the one at 101 at 130.
        check(vec![noncurrent.clone()], 130, &rows, &[("a", 101, Verdict::RemoveNoncurrent)]);
        let both = [("a", 111, Verdict::RemoveNoncurrent), ("a", 101, Verdict::RemoveNoncurrent)];
        check(vec![noncurrent.clone()], 150, &rows, &both);

        noncurrent.noncurrent = Some(NoncurrentExpiration { days: 1, newer_versions: Some(1) });
        check(vec![noncurrent.clone()], 150, &rows, &both[1..]);
        noncurrent.noncurrent = Some(NoncurrentExpiration { days: 1, newer_versions: Some(2) });
        check(vec![noncurrent], 150, &rows, &[]);
    }

    #[test]
    fn markers_go_only_where_nothing_lies_beneath() {
        let markers = || rule("r", "", Some(Expiration::DeleteMarkers(true)));
        let rows = [
            ("a", marker(latest(101))),
            ("b", marker(latest(101))),
            ("b", older(91)),
            ("c", latest(1)),
            ("d", marker(latest(111))),
        ];
        let both = [("a", 101, Verdict::RemoveMarker), ("d", 111, Verdict::RemoveMarker)];
        check(vec![markers()], 0, &rows, &both);
        let off = rule("r", "", Some(Expiration::DeleteMarkers(false)));
        check(vec![off], 1000, &rows, &[]);
        let days = rule("r", "", Some(Expiration::Days(1)));
        let expected = [("a", 101, Verdict::RemoveMarker), ("c", 1, Verdict::ExpireCurrent)];
        check(vec![days], 120, &rows, &expected);
        let mut sized = rule("r", "", Some(Expiration::Days(1)));
        sized.filter.size_less_than = Some(5);
        check(vec![sized], 1000, &rows, &[("c", 1, Verdict::ExpireCurrent)]);
    }

    #[test]
    fn rules_that_look_at_tags_are_asked_again() {
        let mut tagged = rule("r", "", Some(Expiration::Days(1)));
        tagged.filter.tags = vec![("k".to_owned(), "v".to_owned())];
        let lifecycle = Lifecycle { rules: vec![tagged] };
        let standing =
            Standing { row: latest(1), superseded: None, newer_noncurrent: 0, is_alone: true };
        let judge = |tags: Option<&[(String, String)]>| {
            judge(&lifecycle, Day::REAL, i64::MAX, b"a", &standing, tags)
        };
        assert_eq!(judge(None), Some(Verdict::ExpireCurrent));
        assert_eq!(judge(Some(&[])), None);
        let tags = [("k".to_owned(), "v".to_owned())];
        assert_eq!(judge(Some(&tags)), Some(Verdict::ExpireCurrent));
    }
}
