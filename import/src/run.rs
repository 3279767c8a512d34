//! A whole import: buckets one after the other, each listed and brought over by many jobs at once, and both
//! sides compared in the end.
//!
//! Invariants: the queue between the listing and the jobs is bounded; whatever stops the run leaves the
//! journal true and the report written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde_json::Value;

use crate::client::Client;
use crate::client::listing::{Item, Items, Scope, list};
use crate::copy::{Mode, Outcome, Rules, Way};
use crate::error::{Error, Failure};
use crate::final_check::compare;
use crate::journal::{Journal, Progress, State, Totals};
use crate::limits::PROBLEMS_MAX;
use crate::plan::{Pair, merged};
use crate::progress;
use crate::report::{Problem, Report, Tally};
use crate::source::{Source, find};
use crate::tree::Skipped;

/// What is to be done.
#[derive(Debug)]
pub struct Job {
    pub source: Source,
    pub target: Client,
    pub rules: Rules,
    /// From, to.
    pub buckets: Vec<(String, String)>,
    pub prefix: String,
    pub jobs: usize,
    pub journal: Option<PathBuf>,
    /// What makes it this job and no other.
    pub identity: Value,
    /// What is at the target only is a problem.
    pub exact: bool,
    pub shows_progress: bool,
}

/// One key that is to be done.
struct Task {
    item: Item,
    there: Option<Item>,
    /// Place in the listing; none: it had failed in an earlier run.
    place: Option<u64>,
}

struct Run<'a> {
    job: &'a Job,
    tally: &'a Tally,
    journal: &'a Journal,
    stops: AtomicBool,
}

impl Job {
    /// Runs it, and gives the report to `tell`. The answer: whether all is at the target as at the source.
    ///
    /// # Errors
    /// It could not begin.
    pub fn run(&self, tell: impl FnOnce(&Report<'_>)) -> Result<bool, Error> {
        let (journal, state) = match (&self.journal, self.rules.mode) {
            (Some(path), Mode::Copy) => Journal::open(path, &self.identity)?,
            _ => (Journal::none(), State::default()),
        };
        let tally = Tally::default();
        // Before anything is written: what is refused later is told by the report.
        let checked = self.buckets.iter().try_for_each(|(_, to)| self.check(to).map(drop));
        if let Err(error @ Error::Refused(_)) = checked {
            return Err(error);
        }
        let mut report = Report {
            job: &self.identity,
            mode: self.rules.mode,
            tally: &tally,
            earlier: state.totals,
            compared: BTreeMap::new(),
            created_buckets: Vec::new(),
            skipped: BTreeMap::new(),
            skipped_more: 0,
            retries: 0,
            gave_up: None,
        };
        let retries = || {
            let of = |client: &Client| client.retried.load(Ordering::Relaxed);
            of(&self.target) + self.source.client().map_or(0, of)
        };
        let run =
            Run { job: self, tally: &tally, journal: &journal, stops: AtomicBool::new(false) };
        let ended = thread::scope(|scope| {
            let (over, receive) = mpsc::channel();
            if self.shows_progress {
                let (tally, retries) = (&tally, &retries);
                scope.spawn(move || progress::show(tally, retries, &receive));
            }
            let ended = checked.and_then(|()| run.all(state, &mut report));
            run.tell_of_tree(&mut report);
            drop(over);
            ended
        });
        if let Err(error) = ended {
            report.gave_up = Some(error.to_string());
        }
        report.retries = retries();
        if report.is_good() && self.rules.mode == Mode::Copy {
            journal.finished();
        }
        if let Err(error) = journal.sync() {
            report.gave_up.get_or_insert(error.to_string());
        }
        tell(&report);
        Ok(report.is_good())
    }

    /// Whether the target's bucket is there; refused if it is not as it has to be.
    fn check(&self, bucket: &str) -> Result<bool, Error> {
        let (target, rules) = (&self.target, &self.rules);
        let failed = |failure| bucket_failed("looking at", bucket, failure);
        if !target.bucket_exists(bucket).map_err(failed)? {
            return Ok(false);
        }
        let is_versioned = !rules.versions
            || rules.mode == Mode::VerifyOnly
            || target.is_versioned(bucket).map_err(failed)?;
        if !is_versioned {
            return Err(Error::refused(format!(
                "--versions: the bucket {bucket} of the target has no versioning; enable it first"
            )));
        }
        Ok(true)
    }
}

fn bucket_failed(what: &str, bucket: &str, failure: Failure) -> Error {
    Error::request(format!("{what} the bucket {bucket} of the target"), failure)
}

impl Run<'_> {
    fn all(&self, mut state: State, report: &mut Report<'_>) -> Result<(), Error> {
        for (upload, (bucket, key)) in std::mem::take(&mut state.uploads) {
            match self.job.target.abort_upload((&bucket, &key), &upload) {
                Ok(()) => crate::upload::Uploads::ended(self.journal, &bucket, &key, &upload),
                // It stays in the journal.
                Err(failure) => {
                    let detail = format!("its unfinished upload cannot be given up: {failure}");
                    let kind = failure.kind().to_owned();
                    self.tally.problem(Problem { bucket, key, kind, detail });
                }
            }
        }
        for (from, to) in &self.job.buckets {
            let is_there = self.prepare(to, report)?;
            let way = self.way(from, to);
            let progress = state.buckets.remove(to).unwrap_or_default();
            self.bring(&way, progress, is_there)?;
            self.journal.bucket_done(to);
            if self.job.rules.mode != Mode::DryRun {
                let target = self.list_target(to, None, is_there);
                let scope = self.scope(from, None);
                let (exact, missed) = (self.job.exact, &mut self.missed());
                let compared = compare(&way, (scope, target), self.tally, exact, missed);
                let compared = compared.map_err(|failure| {
                    Error::request(format!("comparing {from} with {to}"), failure)
                })?;
                report.compared.insert(to.clone(), compared);
            }
        }
        Ok(())
    }

    /// What of a tree was not taken.
    fn tell_of_tree(&self, report: &mut Report<'_>) {
        let Source::Tree(tree) = &self.job.source else { return };
        let Skipped { paths, more, problems, more_problems } = tree.take_skipped();
        (report.skipped, report.skipped_more) = (paths, more);
        let bucket = self.job.buckets.first().map(|(_, to)| to.clone()).unwrap_or_default();
        let tell = |key: String, detail: String| {
            let bucket = bucket.clone();
            self.tally.problem(Problem { bucket, key, kind: "unreadable".to_owned(), detail });
        };
        problems.into_iter().for_each(|(key, detail)| tell(key, detail));
        if more_problems > 0 {
            tell(String::new(), format!("{more_problems} more paths cannot be taken"));
        }
    }

    /// Notes what the last comparison found wanting, while that is little.
    fn missed(&self) -> impl FnMut(&str, &str) {
        let mut count = 0;
        move |bucket: &str, key: &str| {
            count += 1;
            if count <= PROBLEMS_MAX {
                self.journal.missed(bucket, key);
            }
        }
    }

    fn way<'b>(&'b self, from: &'b str, to: &'b str) -> Way<'b> {
        let Job { source, target, rules, .. } = self.job;
        Way { source, target, rules: *rules, from, to, uploads: self.journal }
    }

    /// The target's bucket, made if that is allowed; whether it is there.
    fn prepare(&self, bucket: &str, report: &mut Report<'_>) -> Result<bool, Error> {
        if self.job.check(bucket)? {
            return Ok(true);
        }
        let (target, rules) = (&self.job.target, &self.job.rules);
        let failed = |what| move |failure| bucket_failed(what, bucket, failure);
        if rules.mode != Mode::Copy {
            return Ok(false);
        }
        target.create_bucket(bucket).map_err(failed("making"))?;
        if rules.versions {
            target.enable_versioning(bucket).map_err(failed("enabling versions of"))?;
        }
        report.created_buckets.push(bucket.to_owned());
        Ok(true)
    }

    fn scope(&self, bucket: &str, after: Option<&str>) -> Scope {
        Scope {
            bucket: bucket.to_owned(),
            prefix: self.job.prefix.clone(),
            after: after.map(str::to_owned),
            versions: self.job.rules.versions,
        }
    }

    fn list_target(&self, bucket: &str, after: Option<&str>, is_there: bool) -> Items<'_> {
        if is_there {
            list(&self.job.target, self.scope(bucket, after))
        } else {
            Box::new(std::iter::empty())
        }
    }

    /// Lists in this thread and brings over in others, until all is done or something stops it.
    fn bring(&self, way: &Way<'_>, progress: Progress, is_there: bool) -> Result<(), Error> {
        let (send, receive) = mpsc::sync_channel(self.job.jobs * 4);
        let receive = Mutex::new(receive);
        self.tally.is_planned.store(false, Ordering::Relaxed);
        let planned = thread::scope(|scope| {
            for _ in 0..self.job.jobs {
                scope.spawn(|| self.work(way, &receive));
            }
            let planned = self.plan(way, progress, is_there, &send);
            self.tally.is_planned.store(true, Ordering::Relaxed);
            if planned.is_err() {
                self.stops.store(true, Ordering::Relaxed);
            }
            drop(send);
            planned
        });
        planned.map_err(|failure| Error::request(format!("listing {}", way.from), failure))?;
        self.journal.sync()?;
        if self.stops.load(Ordering::Relaxed) {
            let text =
                format!("more than {PROBLEMS_MAX} objects failed: something is wrong with all");
            return Err(Error::GaveUp(text));
        }
        Ok(())
    }

    fn plan(
        &self,
        way: &Way<'_>,
        progress: Progress,
        is_there: bool,
        send: &SyncSender<Task>,
    ) -> Result<(), Failure> {
        // The workers ask for each file's time anyway, and only that tells one that was written since.
        let is_tree = way.source.client().is_none();
        let progress = if is_tree { Progress::default() } else { progress };
        for key in &progress.failed {
            let versions = self.job.rules.versions;
            match way.source.find(way.from, key, versions)? {
                Some(item) => {
                    let there = find(way.target, way.to, key, versions)?;
                    self.hand_out(send, Task { item, there, place: None });
                }
                // What the source has no more is not to be copied.
                None => self.journal.mended(way.to, key, Totals::default()),
            }
        }
        if progress.is_done {
            return Ok(());
        }
        let after = progress.after.as_deref();
        self.journal.run(way.to, after);
        let source = way.source.list(self.scope(way.from, after));
        let target = self.list_target(way.to, after, is_there);
        let mut place = 0;
        for pair in merged(source, target) {
            let (item, there) = match pair? {
                Pair::Both(item, there) => (item, Some(there)),
                Pair::Source(item) => (item, None),
                Pair::Target(_) => continue,
            };
            place += 1;
            if progress.beyond.contains(&item.key) {
                self.journal.done(way.to, (place, &item.key), Totals::default());
                continue;
            }
            if !self.hand_out(send, Task { item, there, place: Some(place) }) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether it goes on.
    fn hand_out(&self, send: &SyncSender<Task>, task: Task) -> bool {
        self.tally.planned.fetch_add(1, Ordering::Relaxed);
        !self.stops.load(Ordering::Relaxed) && send.send(task).is_ok()
    }

    fn work(&self, way: &Way<'_>, tasks: &Mutex<Receiver<Task>>) {
        loop {
            let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Task { item, there, place }) = task else { return };
            if self.stops.load(Ordering::Relaxed) {
                continue;
            }
            let outcome = way.bring(&item, there);
            self.note(way, (place, &item.key), &outcome);
            if outcome.is_settled && outcome.problems.is_empty() {
                self.tally.settle(way.to, &item.key);
            }
            self.tally.add(&outcome);
            let is_broken = self.journal.is_broken();
            let is_hopeless = self.tally.problem_count() > PROBLEMS_MAX as u64;
            if is_broken || is_hopeless && self.job.rules.mode == Mode::Copy {
                self.stops.store(true, Ordering::Relaxed);
            }
        }
    }

    fn note(&self, way: &Way<'_>, (place, key): (Option<u64>, &str), outcome: &Outcome) {
        let Outcome { copied, copied_bytes: bytes, equal, .. } = *outcome;
        let totals = Totals { copied, bytes, equal };
        match (place, outcome.problems.first()) {
            (Some(place), None) => self.journal.done(way.to, (place, key), totals),
            (Some(place), Some(problem)) => {
                self.journal.failed(way.to, (place, key), &problem.detail);
            }
            (None, None) => self.journal.mended(way.to, key, totals),
            // It stays among those that failed.
            (None, Some(_)) => {}
        }
    }
}
