//! The journal of an import: an append-only file of what is done, so that a run that was cut short is
//! continued.
//!
//! One JSON object a line. The first names the job; then for each bucket runs begin (`run`, with the key
//! behind which it lists), and each key that was brought over (`n`, its place in the run's listing, and `k`)
//! or was not (`failed`); uploads in parts begin and end; buckets and the job are finished.
//!
//! Invariants: a key is in the journal only after the target confirmed it. Keys end out of order, so
//! what counts as the place to go on from is the last key up to which all are done; the few beyond it are
//! remembered. A last line that is torn is cut off; any other line that cannot be read refuses the file.
//! Memory is bounded by the keys under way and by those that failed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, cut};
use crate::limits::{JOURNAL_LINE_BYTES_MAX, JOURNAL_SYNC};
use crate::upload::Uploads;

const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Job {
        version: u32,
        job: Value,
    },
    /// A run over a bucket begins; places count from 1 in each.
    Run {
        bucket: String,
        after: Option<String>,
    },
    Done {
        bucket: String,
        n: u64,
        k: String,
        copied: u64,
        bytes: u64,
        equal: u64,
    },
    /// Is to be tried again; its place counts as done.
    Failed {
        bucket: String,
        n: u64,
        k: String,
        why: String,
    },
    /// One that had failed in an earlier run is done.
    Mended {
        bucket: String,
        k: String,
        copied: u64,
        bytes: u64,
        equal: u64,
    },
    /// Found wanting after all was done.
    Missed {
        bucket: String,
        k: String,
    },
    UploadBegun {
        bucket: String,
        k: String,
        upload: String,
    },
    UploadEnded {
        upload: String,
    },
    BucketDone {
        bucket: String,
    },
    Finished {},
}

/// Counts of all runs before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub copied: u64,
    pub bytes: u64,
    pub equal: u64,
}

impl Totals {
    fn add(&mut self, (copied, bytes, equal): (u64, u64, u64)) {
        self.copied = self.copied.saturating_add(copied);
        self.bytes = self.bytes.saturating_add(bytes);
        self.equal = self.equal.saturating_add(equal);
    }
}

/// How far a bucket has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// All keys up to this one are done or failed.
    pub after: Option<String>,
    /// Done beyond it.
    pub beyond: BTreeSet<String>,
    pub failed: BTreeSet<String>,
    pub is_done: bool,
    /// Place of `after` in its run, and the places beyond it with their keys.
    place: u64,
    places: BTreeMap<u64, String>,
}

impl Progress {
    fn pass(&mut self, n: u64, key: String) {
        self.beyond.insert(key.clone());
        self.places.insert(n, key);
        while let Some(key) = self.places.remove(&(self.place + 1)) {
            self.place += 1;
            self.beyond = self.beyond.split_off(&key);
            self.beyond.remove(&key);
            self.after = Some(key);
        }
    }
}

/// What earlier runs left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub buckets: BTreeMap<String, Progress>,
    /// Uploads that were neither completed nor given up: their bucket and key by their ids.
    pub uploads: BTreeMap<String, (String, String)>,
    pub totals: Totals,
    pub is_finished: bool,
    has_job: bool,
}

impl State {
    fn apply(&mut self, line: Line) {
        match line {
            Line::Job { .. } => {}
            Line::Run { bucket, after } => {
                let progress = self.buckets.entry(bucket).or_default();
                (progress.place, progress.after) = (0, after);
                progress.places.clear();
            }
            Line::Done { bucket, n, k, copied, bytes, equal } => {
                self.totals.add((copied, bytes, equal));
                self.buckets.entry(bucket).or_default().pass(n, k);
            }
            Line::Failed { bucket, n, k, .. } => {
                let progress = self.buckets.entry(bucket).or_default();
                progress.failed.insert(k.clone());
                progress.pass(n, k);
            }
            Line::Mended { bucket, k, copied, bytes, equal } => {
                self.totals.add((copied, bytes, equal));
                self.buckets.entry(bucket).or_default().failed.remove(&k);
            }
            Line::Missed { bucket, k } => {
                self.buckets.entry(bucket).or_default().failed.insert(k);
            }
            Line::UploadBegun { bucket, k, upload } => {
                self.uploads.insert(upload, (bucket, k));
            }
            Line::UploadEnded { upload } => {
                self.uploads.remove(&upload);
            }
            Line::BucketDone { bucket } => self.buckets.entry(bucket).or_default().is_done = true,
            Line::Finished {} => self.is_finished = true,
        }
    }
}

#[derive(Debug)]
struct Inner {
    file: File,
    synced: Instant,
    /// The first write that failed; nothing is written behind it.
    broken: Option<String>,
}

/// An open journal, or none at all.
#[derive(Debug)]
pub struct Journal(Option<Mutex<Inner>>);

impl Journal {
    /// Runs that leave no trace.
    pub fn none() -> Self {
        Self(None)
    }

    /// Opens or makes the journal of this job. That of a finished job begins anew.
    ///
    /// # Errors
    /// It is another job's, damaged, in use, or cannot be read or written.
    pub fn open(path: &Path, job: &Value) -> Result<(Self, State), Error> {
        let io = |error| Error::io(format!("the journal {}", path.display()), error);
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let text = format!("the journal {} is in use by another import", path.display());
                return Err(Error::refused(text));
            }
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let (state, end) = read(&mut file, path, job)?;
        let is_new = !state.has_job || state.is_finished;
        let (state, end) = if is_new { (State::default(), 0) } else { (state, end) };
        file.set_len(end).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        let inner = Inner { file, synced: Instant::now(), broken: None };
        let journal = Self(Some(Mutex::new(inner)));
        if is_new {
            journal.write(&Line::Job { version: VERSION, job: job.clone() });
        }
        journal.sync()?;
        Ok((journal, state))
    }

    pub fn run(&self, bucket: &str, after: Option<&str>) {
        let after = after.map(str::to_owned);
        self.write(&Line::Run { bucket: bucket.to_owned(), after });
    }

    pub fn done(&self, bucket: &str, (n, key): (u64, &str), totals: Totals) {
        let Totals { copied, bytes, equal } = totals;
        let (bucket, k) = (bucket.to_owned(), key.to_owned());
        self.write(&Line::Done { bucket, n, k, copied, bytes, equal });
    }

    pub fn failed(&self, bucket: &str, (n, key): (u64, &str), why: &str) {
        let (bucket, k, why) = (bucket.to_owned(), key.to_owned(), cut(why.to_owned()));
        self.write(&Line::Failed { bucket, n, k, why });
    }

    pub fn mended(&self, bucket: &str, key: &str, totals: Totals) {
        let Totals { copied, bytes, equal } = totals;
        let (bucket, k) = (bucket.to_owned(), key.to_owned());
        self.write(&Line::Mended { bucket, k, copied, bytes, equal });
    }

    /// Is to be tried again by the next run.
    pub fn missed(&self, bucket: &str, key: &str) {
        self.write(&Line::Missed { bucket: bucket.to_owned(), k: key.to_owned() });
    }

    pub fn bucket_done(&self, bucket: &str) {
        self.write(&Line::BucketDone { bucket: bucket.to_owned() });
    }

    pub fn finished(&self) {
        self.write(&Line::Finished {});
    }

    /// # Errors
    /// Something could not be written, now or before.
    pub fn sync(&self) -> Result<(), Error> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.broken.is_none() {
            inner.broken = inner.file.sync_data().err().map(|error| error.to_string());
        }
        match &inner.broken {
            None => Ok(()),
            Some(reason) => Err(Error::GaveUp(format!("the journal cannot be written: {reason}"))),
        }
    }

    pub fn is_broken(&self) -> bool {
        let inner =
            self.0.as_ref().map(|inner| inner.lock().unwrap_or_else(PoisonError::into_inner));
        inner.is_some_and(|inner| inner.broken.is_some())
    }

    fn write(&self, line: &Line) {
        let Some(inner) = &self.0 else { return };
        let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.broken.is_some() {
            return;
        }
        let written = serde_json::to_vec(line).map_err(io::Error::other).and_then(|mut text| {
            text.push(b'\n');
            inner.file.write_all(&text)?;
            if inner.synced.elapsed() >= JOURNAL_SYNC {
                inner.file.sync_data()?;
                inner.synced = Instant::now();
            }
            Ok(())
        });
        inner.broken = written.err().map(|error| error.to_string());
    }
}

impl Uploads for Journal {
    fn begun(&self, bucket: &str, key: &str, upload: &str) {
        let (bucket, k) = (bucket.to_owned(), key.to_owned());
        self.write(&Line::UploadBegun { bucket, k, upload: upload.to_owned() });
    }

    fn ended(&self, _: &str, _: &str, upload: &str) {
        self.write(&Line::UploadEnded { upload: upload.to_owned() });
    }
}

/// What the file says, and where its last whole line ends.
fn read(file: &mut File, path: &Path, job: &Value) -> Result<(State, u64), Error> {
    let context = || format!("the journal {}", path.display());
    let mut reader = BufReader::new(file);
    let (mut state, mut end, mut number) = (State::default(), 0, 0_u64);
    let mut text = Vec::new();
    loop {
        text.clear();
        let most = JOURNAL_LINE_BYTES_MAX as u64;
        let read = reader.by_ref().take(most).read_until(b'\n', &mut text);
        let length = read.map_err(|error| Error::io(context(), error))?;
        if length == 0 {
            return Ok((state, end));
        }
        number += 1;
        let is_whole = text.ends_with(b"\n");
        match serde_json::from_slice::<Line>(&text) {
            Ok(line) if is_whole => {
                if number == 1 {
                    check_job(&line, path, job)?;
                    state.has_job = true;
                }
                state.apply(line);
                end += length as u64;
            }
            // Torn, or never written: what a crash leaves of the last line.
            _ if number > 1 && is_at_end(&mut reader) => return Ok((state, end)),
            _ if number == 1 && !is_whole && text.starts_with(b"{\"job\"") => {
                return Ok((State::default(), 0));
            }
            _ => {
                let text = format!(
                    "{}: line {number} is no journal's; name another file with --journal",
                    context()
                );
                return Err(Error::refused(text));
            }
        }
    }
}

fn is_at_end(reader: &mut impl BufRead) -> bool {
    reader.fill_buf().is_ok_and(|rest| rest.iter().all(|byte| *byte == 0))
}

fn check_job(line: &Line, path: &Path, job: &Value) -> Result<(), Error> {
    let path = path.display();
    let Line::Job { version, job: known } = line else {
        return Err(Error::refused(format!("the journal {path} does not name its job")));
    };
    if *version != VERSION {
        return Err(Error::refused(format!("the journal {path} is of version {version}")));
    }
    if known == job {
        return Ok(());
    }
    let fields = job.as_object().into_iter().flatten();
    let differing = fields.filter(|(name, value)| known.get(name.as_str()) != Some(*value));
    let told: Vec<String> = differing
        .map(|(name, value)| {
            format!(
                "{name} was {}, and is {value}",
                known.get(name.as_str()).unwrap_or(&Value::Null)
            )
        })
        .collect();
    let told = told.join("; ");
    Err(Error::refused(format!("the journal {path} is another import's: {told}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;
    use std::fs;

    const NONE: Totals = Totals { copied: 1, bytes: 10, equal: 0 };

    fn job() -> Value {
        json!({"source": "http://a", "target": "http://b"})
    }

    fn state(path: &Path) -> State {
        Journal::open(path, &job()).unwrap().1
    }

    #[test]
    fn a_run_goes_on_behind_the_last_key_up_to_which_all_are_done() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let (journal, fresh) = Journal::open(&path, &job()).unwrap();
        assert_eq!(fresh, State::default());
        journal.run("b", None);
        for (n, key) in [(2, "b"), (1, "a"), (5, "e"), (3, "c")] {
            journal.done("b", (n, key), NONE);
        }
        journal.failed("b", (6, "f"), "why");
        drop(journal);
        let before = state(&path);
        let progress = &before.buckets["b"];
        assert_eq!(progress.after.as_deref(), Some("c"));
        assert_eq!(progress.beyond, ["e".to_owned(), "f".to_owned()].into());
        assert_eq!(progress.failed, ["f".to_owned()].into());
        assert_eq!(before.totals, Totals { copied: 4, bytes: 40, equal: 0 });

        // The next run counts its places anew, and passes those that were done.
        let (journal, _) = Journal::open(&path, &job()).unwrap();
        journal.run("b", Some("c"));
        journal.mended("b", "f", NONE);
        journal.done("b", (1, "d"), NONE);
        drop(journal);
        let progress = state(&path).buckets["b"].clone();
        assert_eq!(progress.after.as_deref(), Some("d"));
        assert_eq!(progress.beyond, ["e".to_owned(), "f".to_owned()].into());
        assert!(progress.failed.is_empty());
    }

    #[test]
    fn a_torn_last_line_is_cut_off_at_every_byte() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let (journal, _) = Journal::open(&path, &job()).unwrap();
        journal.run("b", None);
        journal.done("b", (1, "a"), NONE);
        drop(journal);
        let whole = fs::read(&path).unwrap();
        let last = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
        for length in last..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(state(&path).buckets["b"].after, None, "{length}");
            assert_eq!(fs::read(&path).unwrap(), whole[..last]);
        }
        let mut zeros = whole[..last + 3].to_vec();
        zeros.extend([0; 50]);
        fs::write(&path, zeros).unwrap();
        assert_eq!(state(&path).buckets["b"].after, None);
    }

    #[test]
    fn other_files_and_other_jobs_are_refused_and_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let refused = |text: &str, word: &str| {
            fs::write(&path, text).unwrap();
            let message = Journal::open(&path, &job()).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        };
        refused("hello\n", "line 1");
        refused("{}\nx\n", "line 1");
        let first =
            "{\"job\":{\"version\":1,\"job\":{\"source\":\"http://a\",\"target\":\"http://b\"}}}\n";
        let run = "{\"run\":{\"bucket\":\"b\",\"after\":null}}\n";
        refused(&format!("{first}damage\n{run}"), "line 2");
        refused(&first.replace("http://b", "http://c"), "target was \"http://c\"");
        refused(&first.replace(":1,", ":2,"), "version 2");
        refused(run, "name its job");
    }

    #[test]
    fn a_journal_is_one_imports_and_that_of_a_finished_one_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let (journal, _) = Journal::open(&path, &job()).unwrap();
        journal.begun("b", "k", "upload-1");
        journal.begun("b", "l", "upload-2");
        journal.ended("b", "k", "upload-1");
        let message = Journal::open(&path, &job()).unwrap_err().to_string();
        assert!(message.contains("in use"), "{message}");
        drop(journal);
        let (journal, left) = Journal::open(&path, &job()).unwrap();
        assert_eq!(
            left.uploads.into_iter().collect::<Vec<_>>(),
            [("upload-2".into(), ("b".into(), "l".into()))]
        );
        journal.finished();
        drop(journal);
        assert_eq!(state(&path), State::default());
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
    }
}
