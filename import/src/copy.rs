//! One key brought over: what of it is missing at the target is written, and what is there is looked at.
//!
//! Invariants: every object that was written is looked at afterwards; versions are written in their order,
//! each only when those before it are there, so that a run that was cut short leaves a beginning of them and
//! a later one goes on behind it. Where versions count, a write whose answer was lost is not repeated blindly:
//! the target is listed first.

use crate::checksum::Algorithm;
use crate::client::listing::{Item, Version};
use crate::client::{Attempt, Client};
use crate::compare::{Evidence, look, read_both, read_target};
use crate::error::Failure;
use crate::limits::FRESH_STARTS;
use crate::parts::layout;
use crate::report::Problem;
use crate::source::{Object, Source, find};
use crate::upload::Uploads;
use crate::write::{Unwritten, Writer, Written};

/// What is done with what is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Copy,
    /// Compares, and writes nothing.
    VerifyOnly,
    /// Says what it would write.
    DryRun,
}

#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub mode: Mode,
    /// The target's bytes are read again.
    pub reads_back: bool,
    pub versions: bool,
    /// What is at the target and differs stays.
    pub keeps_existing: bool,
    pub algorithm: Option<Algorithm>,
    pub tags: bool,
    /// An object whose parts' boundaries are not to be learnt may have another ETag.
    pub accepts_new_etags: bool,
}

/// One bucket on its way into another.
pub struct Way<'a> {
    pub source: &'a Source,
    pub target: &'a Client,
    pub rules: Rules,
    pub from: &'a str,
    pub to: &'a str,
    pub uploads: &'a dyn Uploads,
}

impl std::fmt::Debug for Way<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Way({} -> {})", self.from, self.to)
    }
}

/// What became of one key.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Written, or with a dry run to be written: objects, versions and markers.
    pub copied: u64,
    pub copied_bytes: u64,
    /// Found equal.
    pub equal: u64,
    /// Written with another ETag than they had, because the boundaries of parts were not to be learnt.
    pub new_etags: u64,
    pub problems: Vec<Problem>,
    /// What it is at the target is known by this writing or reading only.
    pub is_settled: bool,
}

impl Outcome {
    /// Sizes are what an endpoint says.
    fn add_copied(&mut self, bytes: u64) {
        self.copied += 1;
        self.copied_bytes = self.copied_bytes.saturating_add(bytes);
    }
}

impl Way<'_> {
    pub fn bring(&self, item: &Item, there: Option<Item>) -> Outcome {
        let mut outcome = Outcome::default();
        let brought = if self.rules.versions {
            self.bring_versions(item, there, &mut outcome)
        } else {
            let version = item.versions.last();
            let there = there.as_ref().and_then(|item| item.versions.last());
            version
                .map_or(Ok(()), |version| self.bring_one(&item.key, version, there, &mut outcome))
        };
        if let Err(failure) = brought {
            outcome.problems.push(self.problem(&item.key, failure.kind(), failure.to_string()));
        }
        outcome
    }

    fn problem(&self, key: &str, kind: &'static str, detail: String) -> Problem {
        Problem { bucket: self.to.to_owned(), key: key.to_owned(), kind: kind.to_owned(), detail }
    }

    fn bring_one(
        &self,
        key: &str,
        version: &Version,
        there: Option<&Version>,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let differences = match there {
            Some(there) if there.size == version.size => {
                self.look_at_both(key, version, None, outcome)?
            }
            Some(there) => {
                vec![format!("its size is {}, and was {}", there.size, version.size)]
            }
            None => vec!["it is missing".to_owned()],
        };
        if differences.is_empty() {
            outcome.equal += 1;
            return Ok(());
        }
        let kind = if there.is_some() { "different" } else { "missing" };
        match self.rules.mode {
            Mode::VerifyOnly => {}
            Mode::Copy | Mode::DryRun if self.rules.keeps_existing && there.is_some() => {}
            Mode::DryRun => {
                (outcome.copied, outcome.copied_bytes) = (1, version.size);
                return Ok(());
            }
            Mode::Copy => {
                let copied = self.copy(key, version, true, outcome);
                return match copied.map_err(|attempt| attempt.failure) {
                    Err(failure) if self.rules.keeps_existing && failure.status() == Some(412) => {
                        self.look_at_newcomer(key, version, outcome)
                    }
                    copied => copied,
                };
            }
        }
        outcome.problems.push(self.problem(key, kind, differences.join("; ")));
        Ok(())
    }

    /// It came to be at the target since it was listed: by another's hand, or by a write of which the answer
    /// was lost.
    fn look_at_newcomer(
        &self,
        key: &str,
        version: &Version,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let differences = self.look_at_both(key, version, None, outcome)?;
        if differences.is_empty() {
            outcome.equal += 1;
        } else {
            let detail = format!("it came to be meanwhile: {}", differences.join("; "));
            outcome.problems.push(self.problem(key, "different", detail));
        }
        Ok(())
    }

    /// How the target's object differs from the source's; nothing may be known for sure.
    fn look_at_both(
        &self,
        key: &str,
        version: &Version,
        there: Option<&str>,
        outcome: &mut Outcome,
    ) -> Result<Vec<String>, Failure> {
        let object = self.source.head(self.from, key, version.asked())?;
        let looked = look(self.target, self.to, &object, there, self.rules.tags)?;
        let mut differences = looked.differences;
        let is_file = self.source.client().is_none();
        let is_unknown = looked.evidence == Evidence::Unknown;
        let must_read = match looked.evidence {
            Evidence::Different(reason) => {
                differences.push(reason);
                false
            }
            Evidence::Equal => self.rules.reads_back,
            // The time of a file is among the metadata.
            Evidence::Unknown if is_file => self.rules.reads_back,
            // A version is not written anew.
            Evidence::Unknown if self.rules.mode == Mode::VerifyOnly || self.rules.versions => true,
            Evidence::Unknown => {
                differences.push("nothing tells whether its bytes are the same".to_owned());
                false
            }
        };
        if must_read {
            let read = read_both(self.source, &object, self.target, (self.to, &looked.target))?;
            differences.extend(read);
            outcome.is_settled |= is_unknown;
        }
        Ok(differences)
    }

    /// Writes one version, begun anew if it changes meanwhile, and looks at it afterwards.
    fn copy(
        &self,
        key: &str,
        version: &Version,
        persists: bool,
        outcome: &mut Outcome,
    ) -> Result<(), Attempt> {
        let writer = Writer {
            client: self.target,
            bucket: self.to,
            algorithm: self.rules.algorithm,
            persists,
            // Versions take nothing away.
            only_new: self.rules.keeps_existing && !self.rules.versions,
            uploads: self.uploads,
        };
        let lasting = |failure| Attempt { failure, again: false };
        let (mut starts, mut asks_all) = (0, false);
        loop {
            let opened = self.source.open(self.from, key, version).map_err(lasting)?;
            let object = opened.object.clone();
            let layout = layout(self.source.client(), &object, asks_all).map_err(lasting)?;
            let failed = match writer.write(self.source, opened, &layout) {
                Ok(written) => {
                    outcome.add_copied(object.head.size);
                    self.judge_new_etag(&object, &written, outcome);
                    let differences = self.look_at_written(&object, &written, &layout, outcome);
                    let differences = differences.map_err(lasting)?;
                    if !differences.is_empty() {
                        let problem = self.problem(key, "different", differences.join("; "));
                        outcome.problems.push(problem);
                    }
                    return Ok(());
                }
                Err(Unwritten::Boundaries) if !asks_all => {
                    asks_all = true;
                    continue;
                }
                Err(Unwritten::Boundaries) => {
                    let reason = "its parts do not come to its ETag".to_owned();
                    lasting(Failure::Corrupt(reason))
                }
                Err(Unwritten::Attempt(attempt)) => attempt,
            };
            let anew = matches!(failed.failure, Failure::Changed(_) | Failure::Corrupt(_));
            if !anew || starts >= FRESH_STARTS {
                return Err(failed);
            }
            self.target.pause(starts);
            starts += 1;
        }
    }

    /// Bytes that were not compared with the source's ETag, nor with a checksum of all of them.
    fn judge_new_etag(&self, object: &Object, written: &Written, outcome: &mut Outcome) {
        let head = &object.head;
        if !head.has_plain_etag() || head.etag.eq_ignore_ascii_case(&written.etag) {
            return;
        }
        outcome.new_etags += 1;
        let is_judged = self.rules.algorithm.is_some() && head.has_checksum_of_bytes();
        if !is_judged && !self.rules.accepts_new_etags {
            let detail = format!(
                "its ETag is {}, and was {}: the source does not tell the boundaries of its parts, and has no \
                 checksum of the whole (--accept-new-etags)",
                written.etag, head.etag
            );
            outcome.problems.push(self.problem(&object.key, "unverified", detail));
        }
    }

    fn look_at_written(
        &self,
        object: &Object,
        written: &Written,
        layout: &crate::parts::Layout,
        outcome: &mut Outcome,
    ) -> Result<Vec<String>, Failure> {
        let version = written.version.as_deref().filter(|_| self.rules.versions);
        let looked = look(self.target, self.to, object, version, self.rules.tags)?;
        outcome.is_settled |= looked.evidence == Evidence::Unknown;
        let mut differences = looked.differences;
        let target = &looked.target;
        if target.size != object.head.size {
            differences.push(format!("its size is {}, and was {}", target.size, object.head.size));
        } else if target.has_plain_etag() && !target.etag.eq_ignore_ascii_case(&written.etag) {
            differences
                .push(format!("its ETag is {}, of what was sent {}", target.etag, written.etag));
        }
        if self.rules.reads_back {
            let found = read_target(self.target, (self.to, object, target), layout)?;
            if !found.eq_ignore_ascii_case(&written.etag) {
                differences
                    .push(format!("its bytes make the ETag {found}, sent was {}", written.etag));
            }
        }
        Ok(differences)
    }

    fn bring_versions(
        &self,
        item: &Item,
        there: Option<Item>,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        if item.is_ambiguous {
            let detail =
                "the source does not tell where its delete markers stand: they are of the \
                          same second as versions"
                    .to_owned();
            outcome.problems.push(self.problem(&item.key, "ambiguous", detail));
            return Ok(());
        }
        let mut done = there.map(|item| item.versions).unwrap_or_default();
        if let Some(reason) = self.not_a_beginning(item, &done, outcome)? {
            outcome.problems.push(self.problem(&item.key, "different", reason));
            return Ok(());
        }
        outcome.equal += done.len() as u64;
        let missing = &item.versions[done.len()..];
        if self.rules.mode == Mode::VerifyOnly && !missing.is_empty() {
            let detail =
                format!("{} of its {} versions are missing", missing.len(), item.versions.len());
            outcome.problems.push(self.problem(&item.key, "missing", detail));
            return Ok(());
        }
        let mut tried = 0;
        while let Some(version) = item.versions.get(done.len()) {
            match self.bring_version(&item.key, version, outcome) {
                Ok(()) => done.push(version.clone()),
                Err(attempt) if !attempt.again || tried >= self.target.retries() => {
                    return Err(attempt.failure);
                }
                Err(_) => {
                    self.target.pause(tried);
                    tried += 1;
                    // It may have been written all the same.
                    let found = find(self.target, self.to, &item.key, true)?;
                    let found = found.map_or(0, |item| item.versions.len());
                    if found == done.len() + 1 {
                        done.push(version.clone());
                        outcome.add_copied(version.size);
                    } else if found != done.len() {
                        let reason = "others write versions of it at the target".to_owned();
                        return Err(Failure::Changed(reason));
                    }
                }
            }
        }
        Ok(())
    }

    /// Why the target's versions are not the first of the source's; they are looked at one by one.
    fn not_a_beginning(
        &self,
        item: &Item,
        done: &[Version],
        outcome: &mut Outcome,
    ) -> Result<Option<String>, Failure> {
        if done.len() > item.versions.len() {
            let counts = (done.len(), item.versions.len());
            return Ok(Some(format!("it has {} versions, and had {}", counts.0, counts.1)));
        }
        for (number, (version, there)) in (1..).zip(item.versions.iter().zip(done)) {
            if version.is_marker != there.is_marker || version.size != there.size {
                return Ok(Some(format!("version {number} of the target is another")));
            }
            if version.is_marker {
                continue;
            }
            let differences =
                self.look_at_both(&item.key, version, there.id.as_deref(), outcome)?;
            if !version.etag.eq_ignore_ascii_case(&there.etag) && !differences.is_empty() {
                return Ok(Some(format!("version {number}: {}", differences.join("; "))));
            }
            if !differences.is_empty() {
                let detail = format!("version {number}: {}", differences.join("; "));
                outcome.problems.push(self.problem(&item.key, "different", detail));
            }
        }
        Ok(None)
    }

    fn bring_version(
        &self,
        key: &str,
        version: &Version,
        outcome: &mut Outcome,
    ) -> Result<(), Attempt> {
        if self.rules.mode == Mode::DryRun {
            outcome.add_copied(version.size);
            return Ok(());
        }
        if version.is_marker {
            // Each deletion makes a marker: it is not sent again unseen either.
            self.target.delete_once((self.to, key))?;
            outcome.copied += 1;
            return Ok(());
        }
        self.copy(key, version, false, outcome)
    }
}
