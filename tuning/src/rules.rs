//! Rules: from the facts and what this server is asked to do, what is wrong and what to set.
//!
//! Pure. An [`Severity::Error`] is something with which the server could not start, would fail soon
//! after, or would lose what it confirmed; everything that only costs speed or safety is a warning.
//! Whatever can be set at run time has a [`Setting`] with the value that was found, so that it can be
//! undone.

mod cpu;
mod memory;
mod network;
mod process;
mod storage;

use std::fmt::{self, Display};

use crate::facts::{Facts, Host};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Info,
    Warn,
    Error,
}

/// What part of the host a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    Process,
    Storage,
    Cpu,
    Memory,
    Network,
}

/// One thing about the host that the operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    pub family: Family,
    /// A stable name, for documentation and tests.
    pub rule: &'static str,
    /// What was found.
    pub what: String,
    /// What it costs to leave it so.
    pub cost: String,
    /// What to set.
    pub remedy: String,
    /// How to undo that, where it is not the value of a setting.
    pub undo: Option<String>,
    /// What can be written at run time; all of them together are the remedy.
    pub settings: Vec<Setting>,
}

/// A file under `/proc` or `/sys` and the value that it should have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    pub path: String,
    pub now: String,
    pub wanted: String,
    /// What the kernel sets anew when this is written: files and their present values.
    pub disturbed: Vec<(String, String)>,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warning",
            Self::Error => "error",
        }
    }
}

impl Family {
    pub fn name(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Storage => "storage",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Network => "network",
        }
    }
}

impl Family {
    fn finding(
        self,
        severity: Severity,
        rule: &'static str,
        what: impl Into<String>,
        cost: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        let (what, cost, remedy) = (what.into(), cost.into(), remedy.into());
        let (undo, settings) = (None, Vec::new());
        Finding { severity, family: self, rule, what, cost, remedy, undo, settings }
    }
}

impl Finding {
    /// How to undo the remedy: commands, one a line; none where there is nothing to undo.
    pub fn how_to_undo(&self) -> Vec<String> {
        match &self.undo {
            Some(command) => vec![command.clone()],
            None => self.settings.iter().map(Setting::undo).collect(),
        }
    }

    fn setting(mut self, setting: Setting) -> Self {
        self.settings.push(setting);
        self
    }

    fn undo(mut self, how: impl Into<String>) -> Self {
        self.undo = Some(how.into());
        self
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} To mend it: {}", self.what, self.cost, self.remedy)
    }
}

impl Setting {
    pub(crate) fn new(path: impl Into<String>, now: impl Display, wanted: impl Display) -> Self {
        let (now, wanted) = (now.to_string(), wanted.to_string());
        Self { path: path.into(), now, wanted, disturbed: Vec::new() }
    }

    /// Its name as sysctl(8) takes it, if it is one.
    pub fn sysctl(&self) -> Option<String> {
        Some(self.path.strip_prefix("/proc/sys/")?.replace('/', "."))
    }

    /// The command that sets back what was found.
    fn undo(&self) -> String {
        let is_one_word = !self.now.contains(char::is_whitespace);
        let quote = if is_one_word { "" } else { "\"" };
        let now = self.now.replace('\t', " ");
        match self.sysctl() {
            Some(name) => format!("sysctl -w {name}={quote}{now}{quote}"),
            None => format!("echo {quote}{now}{quote} > {}", self.path),
        }
    }
}

fn sysctl(name: &str, now: impl Display, wanted: impl Display) -> Setting {
    Setting::new(format!("/proc/sys/{}", name.replace('.', "/")), now, wanted)
}

/// What the configuration asks of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needs {
    /// Executors.
    pub cores: usize,
    /// The CPUs that were asked for by number, if any were.
    pub cpus: Vec<usize>,
    /// Each executor has a CPU of its own.
    pub pinned: bool,
    /// The memory budget of the whole process.
    pub memory_bytes: u64,
    /// Registered I/O buffers of one core.
    pub io_memory_bytes: u64,
    /// Connections and files, all cores together.
    pub open_files: u64,
    /// The backlog that listeners ask for.
    pub backlog: u32,
}

/// What a start must know, the gravest first.
pub fn check(facts: &Facts, needs: &Needs) -> Vec<Finding> {
    let mut findings = process::check(facts, needs);
    findings.extend(facts.data_dirs.iter().flat_map(storage::check));
    gravest_first(findings)
}

/// All that can be said of the host, the gravest first; what [`check`] says is part of it.
pub fn advise(facts: &Facts, host: &Host, needs: &Needs) -> Vec<Finding> {
    let mut findings = process::check(facts, needs);
    findings.extend(facts.data_dirs.iter().flat_map(storage::check));
    findings.extend(storage::advise(facts));
    findings.extend(cpu::advise(facts, host));
    findings.extend(memory::advise(host));
    findings.extend(network::advise(facts, host, needs));
    gravest_first(findings)
}

fn gravest_first(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|f| std::cmp::Reverse(f.severity));
    findings
}

/// A size as an operator writes it: the largest unit that leaves no odd fraction of it.
pub fn size(bytes: u64) -> String {
    if bytes == u64::MAX {
        return "unlimited".to_string();
    }
    for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
        // Two units' worth at least, so that the rounding stays small.
        if bytes >> shift >= 2 || (bytes >> shift == 1 && bytes.trailing_zeros() >= shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests;
