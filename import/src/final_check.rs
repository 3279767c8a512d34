//! Both sides counted and compared once more when all is done, by their listings.
//!
//! Invariants: a key that is missing, different or there in excess is found here whatever became of it
//! before, even if it came to be while the import ran. Where listings do not decide, both objects are asked;
//! where they do not decide either, only what this run wrote or read counts as equal.

use crate::client::listing::{Item, Items, Scope, Version};
use crate::compare::{Evidence, evidence};
use crate::copy::Way;
use crate::error::Failure;
use crate::meta::{Head, differences};
use crate::plan::{Pair, merged};
use crate::report::{Compared, Problem, Tally};

const UNVERIFIED: &str = "nothing but its size agrees, and this run neither wrote nor read it: --verify-only reads \
                          both sides";

/// `exact`: what is at the target only is a problem. `missed` is told of what the target lacks.
///
/// # Errors
/// One side cannot be listed.
pub fn compare(
    way: &Way<'_>,
    (scope, target): (Scope, Items<'_>),
    tally: &Tally,
    exact: bool,
    missed: &mut dyn FnMut(&str, &str),
) -> Result<Compared, Failure> {
    let mut compared = Compared::default();
    for pair in merged(way.source.list(scope), target) {
        let (key, kind, detail) = match pair? {
            Pair::Both(source, target) => {
                count(&mut compared, Some(&source), Some(&target));
                let versions = source.versions.len() as u64;
                match same(way, &source, &target) {
                    Ok(Evidence::Equal) => {
                        compared.equal += versions;
                        continue;
                    }
                    Ok(Evidence::Unknown) if tally.is_settled(way.to, &source.key) => {
                        compared.equal += versions;
                        compared.by_size_only += versions;
                        continue;
                    }
                    Ok(Evidence::Unknown) => {
                        compared.unverified += versions;
                        (source.key, "unverified", UNVERIFIED.to_owned())
                    }
                    Ok(Evidence::Different(detail)) => {
                        compared.different += versions;
                        (source.key, "different", detail)
                    }
                    Err(failure) => {
                        compared.different += versions;
                        (source.key, failure.kind(), failure.to_string())
                    }
                }
            }
            Pair::Source(source) => {
                count(&mut compared, Some(&source), None);
                compared.missing += source.versions.len() as u64;
                (source.key, "missing", "the target does not list it".to_owned())
            }
            Pair::Target(target) => {
                count(&mut compared, None, Some(&target));
                compared.extra += target.versions.len() as u64;
                if exact {
                    let detail = "it is at the target only".to_owned();
                    told(way, tally, (target.key, "extra", detail));
                }
                continue;
            }
        };
        missed(way.to, &key);
        if !tally.has_problem(way.to, &key) {
            told(way, tally, (key, kind, detail));
        }
    }
    Ok(compared)
}

fn told(way: &Way<'_>, tally: &Tally, (key, kind, detail): (String, &str, String)) {
    tally.problem(Problem { bucket: way.to.to_owned(), key, kind: kind.to_owned(), detail });
}

fn count(compared: &mut Compared, source: Option<&Item>, target: Option<&Item>) {
    if let Some(item) = source {
        compared.source_objects += item.versions.len() as u64;
        compared.source_bytes = compared.source_bytes.saturating_add(item.bytes());
    }
    if let Some(item) = target {
        compared.target_objects += item.versions.len() as u64;
        compared.target_bytes = compared.target_bytes.saturating_add(item.bytes());
    }
}

fn same(way: &Way<'_>, source: &Item, target: &Item) -> Result<Evidence, Failure> {
    if source.versions.len() != target.versions.len() {
        let (ours, theirs) = (target.versions.len(), source.versions.len());
        return Ok(Evidence::Different(format!("it has {ours} versions, and had {theirs}")));
    }
    let mut found = Evidence::Equal;
    for (theirs, ours) in source.versions.iter().zip(&target.versions) {
        match same_version(way, &source.key, theirs, ours)? {
            Evidence::Equal => {}
            Evidence::Unknown => found = Evidence::Unknown,
            different => return Ok(different),
        }
    }
    Ok(found)
}

fn same_version(
    way: &Way<'_>,
    key: &str,
    theirs: &Version,
    ours: &Version,
) -> Result<Evidence, Failure> {
    if theirs.is_marker != ours.is_marker {
        return Ok(Evidence::Different("a version is a delete marker on one side only".to_owned()));
    }
    if theirs.size != ours.size {
        let text = format!("its size is {}, and was {}", ours.size, theirs.size);
        return Ok(Evidence::Different(text));
    }
    if theirs.is_marker || !theirs.etag.is_empty() && theirs.etag.eq_ignore_ascii_case(&ours.etag) {
        return Ok(Evidence::Equal);
    }
    let source = way.source.head(way.from, key, theirs.asked())?.head;
    let target = way.target.head_object((way.to, key), ours.id.as_deref())?;
    if way.source.client().is_none() {
        return Ok(of_file(&source, &target));
    }
    Ok(evidence(&source, &target))
}

/// A file is what it was by its size and the time that is among its metadata.
fn of_file(source: &Head, target: &Head) -> Evidence {
    let differences = differences(&source.headers, &target.headers);
    if source.size != target.size {
        let text = format!("its size is {}, and was {}", target.size, source.size);
        return Evidence::Different(text);
    }
    if differences.is_empty() {
        Evidence::Equal
    } else {
        Evidence::Different(differences.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_same_size_and_another_time_is_another() {
        let head = |time: &str| Head {
            size: 1,
            etag: String::new(),
            version: None,
            headers: [("x-amz-meta-mtime".to_owned(), time.to_owned())].into(),
            tag_count: None,
            checksum: None,
            is_opaque: false,
            part_count: None,
        };
        assert_eq!(of_file(&head("1.0"), &head("1.0")), Evidence::Equal);
        assert!(matches!(of_file(&head("1.0"), &head("2.0")), Evidence::Different(_)));
    }
}
