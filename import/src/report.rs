//! What an import did and found: counts, problems one by one, for people and as JSON.
//!
//! Invariant: whatever differs or failed is a problem, and the import is good only if there is none. Problems
//! beyond a bound are counted.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::copy::{Mode, Outcome};
use crate::error::cut;
use crate::journal::Totals;
use crate::limits::{PROBLEMS_MAX, PROBLEMS_SHOWN, SETTLED_MAX};

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Of the target.
    pub bucket: String,
    pub key: String,
    pub kind: String,
    pub detail: String,
}

/// Counts of both sides once all is copied; each version is an object.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    pub source_objects: u64,
    pub source_bytes: u64,
    pub target_objects: u64,
    pub target_bytes: u64,
    pub equal: u64,
    pub missing: u64,
    pub different: u64,
    /// At the target only.
    pub extra: u64,
    /// Nothing tells more than that their sizes are the same, but this run wrote or read them.
    pub by_size_only: u64,
    /// Nor did it.
    pub unverified: u64,
}

#[derive(Debug, Default)]
struct Problems {
    list: Vec<Problem>,
    keys: HashSet<(String, String)>,
    count: u64,
}

/// Counts as they grow, from all jobs.
#[derive(Debug)]
pub struct Tally {
    began: Instant,
    began_at: Timestamp,
    /// Keys that were listed and are to be done.
    pub planned: AtomicU64,
    /// Whether nothing more will be listed.
    pub is_planned: AtomicBool,
    pub keys: AtomicU64,
    pub copied: AtomicU64,
    pub bytes: AtomicU64,
    pub equal: AtomicU64,
    pub new_etags: AtomicU64,
    problems: Mutex<Problems>,
    /// Hashes of keys that were written or read by this run where nothing else tells what they are.
    settled: Mutex<HashSet<u64>>,
    hasher: RandomState,
}

impl Default for Tally {
    fn default() -> Self {
        let zero = AtomicU64::default;
        Self {
            began: Instant::now(),
            began_at: Timestamp::now(),
            planned: zero(),
            is_planned: AtomicBool::new(false),
            keys: zero(),
            copied: zero(),
            bytes: zero(),
            equal: zero(),
            new_etags: zero(),
            problems: Mutex::default(),
            settled: Mutex::default(),
            hasher: RandomState::new(),
        }
    }
}

impl Tally {
    pub fn add(&self, outcome: &Outcome) {
        let add = |counter: &AtomicU64, count| counter.fetch_add(count, Ordering::Relaxed);
        add(&self.keys, 1);
        add(&self.copied, outcome.copied);
        add(&self.bytes, outcome.copied_bytes);
        add(&self.equal, outcome.equal);
        add(&self.new_etags, outcome.new_etags);
        outcome.problems.iter().for_each(|problem| self.problem(problem.clone()));
    }

    /// One problem of a key is enough.
    pub fn problem(&self, problem: Problem) {
        let problem = Problem { detail: cut(problem.detail), ..problem };
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.count += 1;
        if problems.list.len() < PROBLEMS_MAX {
            problems.keys.insert((problem.bucket.clone(), problem.key.clone()));
            problems.list.push(problem);
        }
    }

    /// Whether a key's problem was told already.
    pub fn has_problem(&self, bucket: &str, key: &str) -> bool {
        let problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.keys.contains(&(bucket.to_owned(), key.to_owned()))
    }

    /// This run wrote or read the key, which is all that tells what it is. Beyond a bound it is forgotten, and
    /// counts as not verified.
    pub fn settle(&self, bucket: &str, key: &str) {
        let mut settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        if settled.len() < SETTLED_MAX {
            settled.insert(self.hasher.hash_one((bucket, key)));
        }
    }

    pub fn is_settled(&self, bucket: &str, key: &str) -> bool {
        let settled = self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        settled.contains(&self.hasher.hash_one((bucket, key)))
    }

    pub fn problem_count(&self) -> u64 {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    pub fn seconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }
}

/// All that is to be told in the end.
#[derive(Debug)]
pub struct Report<'a> {
    pub job: &'a Value,
    pub mode: Mode,
    pub tally: &'a Tally,
    /// What earlier runs of this job did.
    pub earlier: Totals,
    /// By bucket of the target.
    pub compared: BTreeMap<String, Compared>,
    pub created_buckets: Vec<String>,
    /// Files that were not taken, and how many more.
    pub skipped: BTreeMap<String, &'static str>,
    pub skipped_more: u64,
    pub retries: u64,
    /// Why it ended early.
    pub gave_up: Option<String>,
}

impl Report<'_> {
    /// Whether all is at the target as it is at the source.
    pub fn is_good(&self) -> bool {
        self.gave_up.is_none() && self.tally.problem_count() == 0
    }

    fn word(&self) -> &'static str {
        match (&self.gave_up, self.is_good(), self.mode) {
            (Some(_), ..) => "gave up",
            (None, false, _) => "differs",
            (None, true, Mode::DryRun) => "dry run",
            (None, true, _) => "equal",
        }
    }

    pub fn to_json(&self) -> Value {
        let tally = self.tally;
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // Before the lock below, which it takes too.
        let word = self.word();
        let problems = tally.problems.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "result": word,
            "gave_up": self.gave_up,
            "job": self.job,
            "mode": match self.mode {
                Mode::Copy => "copy",
                Mode::VerifyOnly => "verify-only",
                Mode::DryRun => "dry-run",
            },
            "began": tally.began_at.to_string(),
            "ended": Timestamp::now().to_string(),
            "seconds": tally.seconds(),
            "counts": {
                "keys": of(&tally.keys),
                "copied": of(&tally.copied),
                "copied_bytes": of(&tally.bytes),
                "already_equal": of(&tally.equal),
                "new_etags": of(&tally.new_etags),
                "done_by_earlier_runs": self.earlier,
                "problems": problems.count,
                "retries": self.retries,
            },
            "buckets": self.compared,
            "created_buckets": self.created_buckets,
            "problems": problems.list,
            "problems_not_listed": problems.count - problems.list.len() as u64,
            "skipped_files": self.skipped,
            "skipped_files_not_listed": self.skipped_more,
        })
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let tally = self.tally;
        let of = |counter: &AtomicU64| grouped(counter.load(Ordering::Relaxed));
        let (mut text, seconds) = (String::new(), tally.seconds());
        let bytes = tally.bytes.load(Ordering::Relaxed);
        let verb = match self.mode {
            Mode::Copy => "copied",
            Mode::VerifyOnly => "copied (only verified)",
            Mode::DryRun => "would be copied",
        };
        let _ = writeln!(
            text,
            "{} {verb}, {}; {} were there already; {seconds:.1} s, {}/s, {} retries",
            of(&tally.copied),
            size(bytes),
            of(&tally.equal),
            size((bytes as f64 / seconds.max(0.001)) as u64),
            grouped(self.retries)
        );
        if self.earlier != Totals::default() {
            let Totals { copied, bytes, equal } = self.earlier;
            let (copied, equal) = (grouped(copied), grouped(equal));
            let _ = writeln!(
                text,
                "earlier runs: {copied} copied, {}; {equal} were there",
                size(bytes)
            );
        }
        if tally.new_etags.load(Ordering::Relaxed) > 0 {
            let count = of(&tally.new_etags);
            let _ =
                writeln!(text, "{count} have another ETag: the source does not tell their parts");
        }
        for (bucket, compared) in &self.compared {
            compared_text(&mut text, bucket, compared);
        }
        self.problems_text(&mut text);
        for (path, reason) in self.skipped.iter().take(PROBLEMS_SHOWN) {
            let _ = writeln!(text, "not taken: {path:?}: {reason}");
        }
        let more = self.skipped.len().saturating_sub(PROBLEMS_SHOWN) as u64 + self.skipped_more;
        if more > 0 {
            let _ = writeln!(text, "not taken: {} more files", grouped(more));
        }
        if let Some(reason) = &self.gave_up {
            let _ = writeln!(text, "gave up: {reason}");
        }
        let _ = writeln!(text, "result: {}", self.word());
        text
    }

    fn problems_text(&self, text: &mut String) {
        let problems = self.tally.problems.lock().unwrap_or_else(PoisonError::into_inner);
        for problem in problems.list.iter().take(PROBLEMS_SHOWN) {
            let Problem { bucket, key, kind, detail } = problem;
            let _ = writeln!(text, "{kind}: {bucket}/{key:?}: {detail}");
        }
        let shown = problems.list.len().min(PROBLEMS_SHOWN) as u64;
        if problems.count > shown {
            let _ = writeln!(text, "and {} more problems", grouped(problems.count - shown));
        }
    }
}

fn compared_text(text: &mut String, bucket: &str, compared: &Compared) {
    let Compared { source_objects, target_objects, source_bytes, target_bytes, .. } = *compared;
    let _ = writeln!(
        text,
        "{bucket}: source {} objects, {}; target {}, {}: {} equal, {} missing, {} different, {} at the \
         target only",
        grouped(source_objects),
        size(source_bytes),
        grouped(target_objects),
        size(target_bytes),
        grouped(compared.equal),
        grouped(compared.missing),
        grouped(compared.different),
        grouped(compared.extra)
    );
    if compared.unverified > 0 {
        let count = grouped(compared.unverified);
        let _ = writeln!(text, "{bucket}: {count} not verified: only their sizes agree");
    }
    if compared.by_size_only > 0 {
        let count = grouped(compared.by_size_only);
        let _ = writeln!(
            text,
            "{bucket}: {count} of them now by size only, which this run wrote or read"
        );
    }
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64 / 1024.0;
    if value < 1.0 {
        return format!("{bytes} bytes");
    }
    for unit in &units[..4] {
        if value < 1024.0 {
            return format!("{value:.1} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} {}", units[4])
}

/// A number with commas.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let sizes = [0, 1023, 1024, 5 << 20, 3 << 50];
        assert_eq!(sizes.map(size), ["0 bytes", "1023 bytes", "1.0 KiB", "5.0 MiB", "3.0 PiB"]);
    }

    #[test]
    fn what_a_run_settled_is_remembered_by_bucket_and_key() {
        let tally = Tally::default();
        tally.settle("b", "k");
        let is = |bucket, key| tally.is_settled(bucket, key);
        assert!(is("b", "k") && !is("b", "l") && !is("c", "k"));
    }

    #[test]
    fn a_problem_makes_the_result() {
        let (tally, job) = (Tally::default(), Value::Null);
        let mut report = Report {
            job: &job,
            mode: Mode::Copy,
            tally: &tally,
            earlier: Totals::default(),
            compared: BTreeMap::new(),
            created_buckets: Vec::new(),
            skipped: BTreeMap::new(),
            skipped_more: 0,
            retries: 0,
            gave_up: None,
        };
        assert!(report.is_good() && report.to_text().ends_with("result: equal\n"));
        report.gave_up = Some("why".into());
        assert!(!report.is_good());
        report.gave_up = None;
        for number in 0..PROBLEMS_MAX + 5 {
            let key = number.to_string();
            tally.problem(Problem {
                bucket: "b".into(),
                key,
                kind: "k".into(),
                detail: "d".into(),
            });
        }
        assert!(!report.is_good() && tally.has_problem("b", "7") && !tally.has_problem("c", "7"));
        let json = report.to_json();
        assert_eq!(json["problems"].as_array().map(Vec::len), Some(PROBLEMS_MAX));
        assert_eq!((&json["problems_not_listed"], &json["result"]), (&json!(5), &json!("differs")));
        assert!(report.to_text().contains("more problems"));
    }
}
