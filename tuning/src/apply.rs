//! What can be set at run time: limits of the process itself, and files under `/proc` and `/sys`.
//!
//! Invariants: nothing is written of which the value before is not known; the way back is on the disk
//! before the first value is written; what the kernel refuses is told, never tried in another way.
//! Nothing here outlives a restart of the host.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::facts::{Root, chosen};
use crate::rules::Setting;
use crate::sys::{self, Resource, Rlimit};
use crate::{Error, Result};

/// Raises the soft limit of open descriptors to the hard one, and returns the limit in force.
pub fn raise_open_files() -> Result<u64> {
    let limit = sys::get_rlimit(Resource::OpenFiles)
        .map_err(|e| Error::io("reading the limit of open files", e))?;
    if limit.soft < limit.hard {
        sys::set_rlimit(Resource::OpenFiles, Rlimit { soft: limit.hard, hard: limit.hard })
            .map_err(|e| Error::io("raising the limit of open files", e))?;
    }
    Ok(limit.hard)
}

/// What became of one setting.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was written and reads so.
    Done,
    /// Why it was not written.
    Refused(String),
    /// It was written, and something else reads back.
    Ignored(String),
}

/// Writes a script that undoes all settings, then the settings one after the other, then the script
/// again for those that were written; it is removed if there are none.
///
/// # Errors
/// The script cannot be written, or a file of that name is there already: nothing was set then, unless
/// it is the second script that failed, and the first is there.
pub fn apply(root: &Root, settings: &[Setting], undo: &Path) -> Result<Vec<Outcome>> {
    let failed = |e| Error::io(format!("writing {}", undo.display()), e);
    write_script(undo, &undo_script(root, settings)).map_err(failed)?;
    let outcomes: Vec<Outcome> = settings.iter().map(|setting| set(root, setting)).collect();
    let was_written = |(setting, outcome): (&Setting, &Outcome)| match outcome {
        Outcome::Refused(_) => None,
        Outcome::Done | Outcome::Ignored(_) => Some(setting.clone()),
    };
    let written: Vec<Setting> = settings.iter().zip(&outcomes).filter_map(was_written).collect();
    if written.is_empty() {
        fs::remove_file(undo).map_err(failed)?;
    } else if written.len() < settings.len() {
        let mut new = undo.as_os_str().to_owned();
        new.push(".new");
        write_script(Path::new(&new), &undo_script(root, &written)).map_err(failed)?;
        fs::rename(new, undo).map_err(failed)?;
    }
    Ok(outcomes)
}

fn set(root: &Root, setting: &Setting) -> Outcome {
    let path = root.path(&setting.path);
    let Some(before) = value(root, &setting.path) else {
        return Outcome::Refused("it cannot be read".to_string());
    };
    // Such as that of a CPU whose frequency is another's too, which has just been set.
    if before == words(&setting.wanted) {
        return Outcome::Done;
    }
    // Somebody else sets it too: what they want is not known here.
    if before != words(&setting.now) {
        return Outcome::Refused(format!("it has changed to {before} meanwhile"));
    }
    if let Err(error) = write_value(&path, &setting.wanted) {
        return Outcome::Refused(error.to_string());
    }
    match value(root, &setting.path) {
        Some(after) if after == words(&setting.wanted) => Outcome::Done,
        Some(after) => Outcome::Ignored(after),
        None => Outcome::Ignored("nothing that can be read".to_string()),
    }
}

/// One write, as the kernel takes it; a file that is not there is not made.
fn write_value(path: &Path, value: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).truncate(true).open(path)?;
    file.write_all(format!("{value}\n").as_bytes())
}

/// What is chosen in a file, with single spaces.
fn value(root: &Root, path: &str) -> Option<String> {
    let text = root.text(path)?;
    Some(words(chosen(&text)))
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A shell script that writes back what was found, and goes on where that is refused.
pub fn undo_script(root: &Root, settings: &[Setting]) -> String {
    let mut script = "#!/bin/sh\n\
        # Sets back what `ringfort tune --apply` has set on this host.\n\
        status=0\n\
        restore() {\n    printf '%s\\n' \"$2\" > \"$1\" || { echo \"not restored: $1\" >&2; status=1; }\n}\n"
        .to_string();
    let mut line = |path: &str, value: &str| {
        let path = quoted(&root.path(path).to_string_lossy());
        let _ = writeln!(script, "restore {path} {}", quoted(value));
    };
    for setting in settings.iter().rev() {
        line(&setting.path, &setting.now);
        setting.disturbed.iter().for_each(|(path, value)| line(path, value));
    }
    script.push_str("exit $status\n");
    script
}

/// For a shell, which then takes every character as it is.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn write_script(path: &Path, script: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o700).open(path)?;
    file.write_all(script.as_bytes())?;
    file.sync_all()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(fs::canonicalize(parent.unwrap_or(Path::new(".")))?)?.sync_all()
}

/// What makes settings outlive a restart: lines for files that the host's own tools read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lasting {
    /// For a file in `/etc/sysctl.d`.
    pub sysctl: Vec<String>,
    /// For a file in `/etc/udev/rules.d`.
    pub udev: Vec<String>,
    /// For a file in `/etc/tmpfiles.d`: what neither of them sets.
    pub tmpfiles: Vec<String>,
}

impl Lasting {
    pub fn of<'a>(settings: impl IntoIterator<Item = &'a Setting>) -> Self {
        let mut lasting = Self::default();
        for setting in settings {
            let queue = setting.path.strip_prefix("/sys/block/");
            if let Some(name) = setting.sysctl() {
                lasting.sysctl.push(format!("{name} = {}", setting.wanted));
            } else if let Some((disk, file)) = queue.and_then(|path| path.split_once('/')) {
                lasting.udev.push(format!(
                    "ACTION==\"add|change\", SUBSYSTEM==\"block\", KERNEL==\"{disk}\", \
                     ATTR{{{file}}}=\"{}\"",
                    setting.wanted
                ));
            } else {
                lasting.tmpfiles.push(format!("w {} - - - - {}", setting.path, setting.wanted));
            }
        }
        lasting
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::facts::fixture::Tree;
    use std::process::Command;

    #[test]
    fn soft_limit_of_open_files_reaches_the_hard_one() {
        let raised = raise_open_files().unwrap();
        let now = sys::get_rlimit(Resource::OpenFiles).unwrap();
        assert_eq!(now.soft, raised);
        assert_eq!(now.hard, raised);
    }

    const SCHEDULER: &str = "/sys/block/vda/queue/scheduler";
    const REQUESTS: &str = "/sys/block/vda/queue/nr_requests";
    const BUFFERS: &str = "/proc/sys/net/ipv4/tcp_rmem";

    fn tree() -> Tree {
        let buffers = "4096\t131072\t6291456\n";
        Tree::new(&[(SCHEDULER, "mq-deadline\n"), (REQUESTS, "256\n"), (BUFFERS, buffers)])
    }

    fn settings() -> Vec<Setting> {
        let mut scheduler = Setting::new(SCHEDULER, "mq-deadline", "none");
        scheduler.disturbed = vec![(REQUESTS.to_string(), "256".to_string())];
        vec![
            scheduler,
            Setting::new(BUFFERS, "4096\t131072\t6291456", "4096\t131072\t16777216"),
            Setting::new("/sys/absent", "1", "2"),
            Setting::new(REQUESTS, "255", "512"),
        ]
    }

    #[test]
    fn settings_are_written_and_the_script_puts_back_exactly_what_was_there() {
        let (tree, directory) = (tree(), tempfile::tempdir().unwrap());
        let (root, undo) = (tree.root(), directory.path().join("it's an undo.sh"));
        let outcomes = apply(&root, &settings(), &undo).unwrap();
        assert_eq!(outcomes[..2], [Outcome::Done, Outcome::Done]);
        let refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused(_));
        assert!(refused(&outcomes[2]), "what is not there is not made");
        assert!(refused(&outcomes[3]), "what somebody has changed is left");
        assert_eq!(root.text(SCHEDULER).unwrap(), "none");
        assert_eq!(root.text(BUFFERS).unwrap(), "4096\t131072\t16777216");
        assert!(!root.path("/sys/absent").exists());

        // As the kernel does with another scheduler.
        tree.write(REQUESTS, "64\n");
        let script = fs::read_to_string(&undo).unwrap();
        assert!(!script.contains("absent"), "only what was set is undone: {script}");
        assert!(Command::new("sh").arg(&undo).status().unwrap().success());
        for (path, text) in
            [(SCHEDULER, "mq-deadline"), (BUFFERS, "4096\t131072\t6291456"), (REQUESTS, "256")]
        {
            assert_eq!(root.text(path).unwrap(), text);
        }
    }

    #[test]
    fn nothing_is_set_where_the_way_back_cannot_be_kept() {
        let (tree, directory) = (tree(), tempfile::tempdir().unwrap());
        let undo = directory.path().join("undo.sh");
        fs::write(&undo, "the first one").unwrap();
        assert!(apply(&tree.root(), &settings(), &undo).is_err());
        assert_eq!(fs::read_to_string(&undo).unwrap(), "the first one");
        assert_eq!(tree.root().text(SCHEDULER).unwrap(), "mq-deadline");
    }

    #[test]
    fn without_anything_set_no_script_stays() {
        let (tree, directory) = (tree(), tempfile::tempdir().unwrap());
        let undo = directory.path().join("undo.sh");
        let outcomes = apply(&tree.root(), &settings()[2..], &undo).unwrap();
        assert_eq!((outcomes.len(), undo.exists()), (2, false));
    }

    #[test]
    fn what_a_shell_would_read_otherwise_is_quoted() {
        let setting = Setting::new("/proc/a", "it's $HOME `x`", "1");
        let script = undo_script(&Root::host(), &[setting]);
        assert!(script.contains(r"restore '/proc/a' 'it'\''s $HOME `x`'"), "{script}");
    }

    #[test]
    fn each_setting_has_a_file_that_makes_it_last() {
        let governor = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor";
        let all = [settings(), vec![Setting::new(governor, "powersave", "performance")]].concat();
        let lasting = Lasting::of(&all);
        assert_eq!(lasting.sysctl, ["net.ipv4.tcp_rmem = 4096\t131072\t16777216"]);
        assert_eq!(
            lasting.udev[0],
            "ACTION==\"add|change\", SUBSYSTEM==\"block\", KERNEL==\"vda\", \
             ATTR{queue/scheduler}=\"none\""
        );
        assert_eq!(lasting.tmpfiles[1], format!("w {governor} - - - - performance"));
    }
}
