//! What `ringfort tune` prints: for people, or one JSON object a line for programs.
//!
//! That standard output has gone is of no account: the exit code tells the rest.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde_json::{Value, json};
use tuning::apply::{Lasting, Outcome};
use tuning::facts::{DataDir, DirectIo, Disk, Facts, Host, WriteCache};
use tuning::measure::Step;
use tuning::rules::size;
use tuning::{DeviceProfile, Family, Finding, Setting, Severity};

use crate::dates;
use crate::serve::DeviceTuning;

const FAMILIES: [Family; 5] =
    [Family::Process, Family::Storage, Family::Cpu, Family::Memory, Family::Network];

/// Settings of one finding that are shown one by one: a governor has one for each CPU.
const UNDO_LINES_MAX: usize = 3;

pub(super) struct Report {
    json: bool,
    shows_progress: bool,
    out: RefCell<io::Stdout>,
}

impl Report {
    pub(super) fn new(json: bool) -> Self {
        let shows_progress = io::stderr().is_terminal();
        Self { json, shows_progress, out: RefCell::new(io::stdout()) }
    }

    fn object(&self, object: impl FnOnce() -> Value) {
        if self.json {
            let _ = writeln!(self.out.borrow_mut(), "{}", object());
        }
    }

    fn text(&self, line: impl AsRef<str>) {
        if !self.json {
            let _ = writeln!(self.out.borrow_mut(), "{}", line.as_ref());
        }
    }

    pub(super) fn host(&self, facts: &Facts, host: &Host) {
        self.object(|| host_json(facts, host));
        self.text(host_line(facts, host));
        for dir in &facts.data_dirs {
            self.object(|| data_dir_json(dir));
            self.text(data_dir_line(dir));
        }
        for interface in &host.network.interfaces {
            let speed =
                interface.speed_mbit.map_or_else(String::new, |mbit| format!(", {mbit} Mbit/s"));
            let mtu = interface.mtu.map_or_else(String::new, |mtu| format!(", MTU {mtu}"));
            let queues = interface.receive_queues;
            self.text(format!("{}: receive queues {queues}{mtu}{speed}", interface.name));
        }
    }

    /// By family, the gravest of each first.
    pub(super) fn findings(&self, findings: &[Finding]) {
        for family in FAMILIES {
            let of_family: Vec<_> = findings.iter().filter(|f| f.family == family).collect();
            if of_family.is_empty() {
                continue;
            }
            self.text(format!("\n{}", family.name()));
            for finding in of_family {
                self.object(|| finding_json(finding));
                let severity = finding.severity.name();
                self.text(format!("  {severity:<8} {}: {}", finding.rule, finding.what));
                self.text(format!("           costs: {}", finding.cost));
                self.text(format!("           set:   {}", finding.remedy));
                let undo = finding.how_to_undo();
                for line in undo.iter().take(UNDO_LINES_MAX) {
                    self.text(format!("           undo:  {line}"));
                }
                if undo.len() > UNDO_LINES_MAX {
                    self.text(format!("           undo:  ... {} in all", undo.len()));
                }
            }
        }
    }

    pub(super) fn could_set(&self, count: usize) {
        if count > 0 {
            self.text(format!("\n{count} values can be set at run time: say --apply."));
        }
    }

    pub(super) fn nothing_to_set(&self) {
        self.text("\nThere is nothing to set at run time.");
    }

    pub(super) fn applied(&self, settings: &[Setting], outcomes: &[Outcome], undo: &Path) {
        self.text("");
        for (setting, outcome) in settings.iter().zip(outcomes) {
            let (word, reason) = match outcome {
                Outcome::Done => ("set", None),
                Outcome::Refused(reason) => ("refused", Some(reason)),
                Outcome::Ignored(value) => ("ignored", Some(value)),
            };
            self.object(|| {
                json!({
                    "event": "setting",
                    "path": setting.path,
                    "before": setting.now,
                    "wanted": setting.wanted,
                    "outcome": word,
                    "reason": reason,
                })
            });
            let reason = match outcome {
                Outcome::Done => String::new(),
                Outcome::Refused(reason) => format!(": {reason}"),
                Outcome::Ignored(value) => format!(": it reads {value}"),
            };
            let (path, now, wanted) = (&setting.path, &setting.now, &setting.wanted);
            self.text(format!("{word:<8} {path} from {now} to {wanted}{reason}"));
        }
        if undo.exists() {
            self.object(|| json!({ "event": "undo", "path": undo.display().to_string() }));
            self.text(format!("To undo it: sh {}", undo.display()));
        }
    }

    /// What would have to be written where to outlive a restart.
    pub(super) fn lasting(&self, lasting: &Lasting) {
        if *lasting == Lasting::default() {
            return;
        }
        self.object(|| {
            json!({
                "event": "lasting",
                "sysctl": lasting.sysctl,
                "udev": lasting.udev,
                "tmpfiles": lasting.tmpfiles,
            })
        });
        self.text("\nTo make it outlive a restart:");
        for (file, lines) in [
            ("/etc/sysctl.d/90-ringfort.conf", &lasting.sysctl),
            ("/etc/udev/rules.d/90-ringfort.rules", &lasting.udev),
            ("/etc/tmpfiles.d/ringfort.conf", &lasting.tmpfiles),
        ] {
            if !lines.is_empty() {
                self.text(format!("  {file}"));
                lines.iter().for_each(|line| self.text(format!("    {line}")));
            }
        }
    }

    pub(super) fn progress(&self, dir: &Path, part: &str) {
        if self.shows_progress {
            let _ = write!(io::stderr(), "\r\x1b[Kmeasuring {}: {part}", dir.display());
        }
    }

    pub(super) fn progress_ended(&self) {
        if self.shows_progress {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }

    pub(super) fn profile(&self, dir: &Path, profile: &DeviceProfile) {
        let path = dir.display();
        self.object(
            || json!({ "event": "profile", "data_dir": path.to_string(), "profile": profile }),
        );
        let figures = &profile.figures;
        let time = dates::iso_time(i64::try_from(profile.measured_at_s).unwrap_or_default());
        self.text(format!(
            "\n{path}, measured {time} in a file of {}, direct I/O on boundaries of {} bytes",
            size(figures.file_bytes),
            figures.alignment_bytes
        ));
        self.text(format!(
            "  {:<22} {:>7} {:>11} {:>11} {:>9} {:>9} {:>9}",
            "", "at once", "per second", "MiB/s", "p50 us", "p99 us", "max us"
        ));
        self.step("write 4 KiB and flush", &figures.flush);
        for (name, steps) in [
            ("read 4 KiB", &figures.small_reads),
            ("read 256 KiB", &figures.window_reads),
            ("write 1 MiB", &figures.large_writes),
            ("write 1 MiB durably", &figures.durable_writes),
        ] {
            steps.iter().for_each(|step| self.step(name, step));
        }
    }

    fn step(&self, name: &str, step: &Step) {
        self.text(format!(
            "  {name:<22} {:>7} {:>11} {:>11} {:>9} {:>9} {:>9}",
            step.depth,
            step.per_second,
            step.bytes_per_second() >> 20,
            step.p50_us,
            step.p99_us,
            step.max_us
        ));
    }

    pub(super) fn tuning(&self, tuning: &DeviceTuning) {
        self.object(|| {
            let reads = Some(tuning.reads_in_flight_max).filter(|reads| *reads < usize::MAX);
            json!({
                "event": "engine",
                "read_ahead_windows": tuning.read_ahead_windows,
                "chunk_writes_in_flight": tuning.chunk_writes_in_flight,
                "groups_in_flight_max": tuning.groups_in_flight_max,
                "reads_in_flight_max": reads,
            })
        });
        self.text(format!("\nWith these profiles the server's next start uses: {tuning}."));
    }

    pub(super) fn summary(&self, findings: &[Finding], left: usize) {
        let of = |severity| findings.iter().filter(|f| f.severity == severity).count();
        let (errors, warnings) = (of(Severity::Error), of(Severity::Warn));
        let infos = of(Severity::Info);
        self.object(|| {
            json!({
                "event": "summary",
                "errors": errors,
                "warnings": warnings,
                "infos": infos,
                "left": left,
            })
        });
        self.text(format!(
            "\n{errors} errors, {warnings} warnings, {infos} hints; {left} of the errors and warnings \
             are left"
        ));
        let _ = self.out.borrow_mut().flush();
    }
}

fn host_line(facts: &Facts, host: &Host) -> String {
    let mut parts = Vec::new();
    parts.extend(facts.kernel.map(|kernel| format!("Linux {}.{}", kernel.major, kernel.minor)));
    parts.push(format!("{} CPUs", facts.cpus.len()));
    parts.extend(
        host.cpus
            .smt
            .map(|smt| if smt { "two threads a core" } else { "one thread a core" }.to_string()),
    );
    parts.extend((host.cpus.nodes.len() > 1).then(|| format!("{} nodes", host.cpus.nodes.len())));
    parts.extend(facts.memory_bytes.map(|bytes| format!("{} of memory", size(bytes))));
    let network = &host.network;
    parts.extend(host.clock.source.as_ref().map(|source| format!("clock {source}")));
    parts.extend(network.congestion_control.as_ref().map(|name| format!("TCP {name}")));
    parts.extend(network.queueing_discipline.as_ref().map(|name| format!("queueing {name}")));
    format!("host: {}", parts.join(", "))
}

fn host_json(facts: &Facts, host: &Host) -> Value {
    json!({
        "event": "host",
        "kernel": facts.kernel.map(|kernel| format!("{}.{}", kernel.major, kernel.minor)),
        "cpus": facts.cpus.len(),
        "smt": host.cpus.smt,
        "nodes": host.cpus.nodes.len(),
        "memory_bytes": facts.memory_bytes,
        "clock_source": host.clock.source,
        "congestion_control": host.network.congestion_control,
        "queueing_discipline": host.network.queueing_discipline,
        "interfaces": host.network.interfaces.iter().map(|interface| json!({
            "name": interface.name,
            "mtu": interface.mtu,
            "speed_mbit": interface.speed_mbit,
            "receive_queues": interface.receive_queues,
        })).collect::<Vec<_>>(),
    })
}

fn data_dir_line(dir: &DataDir) -> String {
    let mut parts = vec![format!("{:?}", dir.filesystem).to_lowercase()];
    parts.extend(dir.device.as_ref().map(|device| format!("on {}", device.name)));
    parts.push(format!("{} of {} free", size(dir.available_bytes), size(dir.total_bytes)));
    let disks = dir.device.as_ref().map_or(&[][..], |device| &device.disks);
    parts.extend(disks.iter().map(disk_line));
    format!("{}: {}", dir.path.display(), parts.join(", "))
}

fn disk_line(disk: &Disk) -> String {
    let mut parts = vec![disk.name.clone()];
    parts.extend(disk.model.clone());
    parts.extend(disk.size_bytes.map(size));
    parts.extend(disk.logical_block_bytes.map(|bytes| format!("blocks of {bytes}")));
    parts.extend(disk.write_cache.map(|cache| cache_name(cache).to_string()));
    parts.extend(disk.queues.map(|queues| format!("queues {queues}")));
    format!("[{}]", parts.join(", "))
}

fn cache_name(cache: WriteCache) -> &'static str {
    match cache {
        WriteCache::Back => "write back",
        WriteCache::Through => "write through",
    }
}

fn data_dir_json(dir: &DataDir) -> Value {
    let disks = dir.device.as_ref().map_or(&[][..], |device| &device.disks);
    json!({
        "event": "data_dir",
        "path": dir.path.display().to_string(),
        "filesystem": format!("{:?}", dir.filesystem).to_lowercase(),
        "mount_point": dir.mount.as_ref().map(|mount| mount.point.display().to_string()),
        "mount_options": dir.mount.as_ref().map(|mount| &mount.options),
        "total_bytes": dir.total_bytes,
        "available_bytes": dir.available_bytes,
        "direct_io": match &dir.direct_io {
            DirectIo::Works => Some(true),
            DirectIo::Refused(_) => Some(false),
            DirectIo::Unknown => None,
        },
        "device": dir.device.as_ref().map(|device| &device.name),
        "layers": dir.device.as_ref().map(|device| &device.layers),
        "disks": disks.iter().map(|disk| json!({
            "name": disk.name,
            "model": disk.model,
            "size_bytes": disk.size_bytes,
            "rotational": disk.rotational,
            "logical_block_bytes": disk.logical_block_bytes,
            "physical_block_bytes": disk.physical_block_bytes,
            "scheduler": disk.scheduler.as_ref().map(|scheduler| &scheduler.name),
            "queue_requests": disk.requests,
            "queues": disk.queues,
            "write_cache": disk.write_cache.map(cache_name),
            "fua": disk.fua,
            "node": disk.node,
        })).collect::<Vec<_>>(),
    })
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "event": "finding",
        "severity": finding.severity.name(),
        "family": finding.family.name(),
        "rule": finding.rule,
        "found": finding.what,
        "cost": finding.cost,
        "remedy": finding.remedy,
        "undo": finding.how_to_undo(),
        "settings": finding.settings.iter().map(|setting| json!({
            "path": setting.path,
            "now": setting.now,
            "wanted": setting.wanted,
        })).collect::<Vec<_>>(),
    })
}
