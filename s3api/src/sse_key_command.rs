//! `ringfort sse-key`: makes the file of master keys, and puts a new current key into it.
//!
//! Invariants: a file that exists is changed only where that was asked for, and then keeps all its
//! keys, since each may be what old objects need; it is replaced in one step, on stable storage, and
//! readable by its owner alone; no key is shown.
//!
//! Not here: how the server reads it (`encryption::master`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use zeroize::Zeroizing;

use crate::encryption::master::{self, MasterKeys};
use crate::start_error::StartError;

/// The subcommand, for clap.
pub fn sse_key_command() -> Command {
    Command::new("sse-key")
        .about("Make a key file for server-side encryption, or put a new key into one")
        .after_help(
            "The first key of the file is the one that new objects get; the others open older ones, so \
             none may be taken out. Restart the server after a change. Keep a copy of the file apart from \
             the data and from its backups: without it nothing that it encrypted can be read, by anybody.",
        )
        .arg(
            Arg::new("file")
                .value_name("FILE")
                .required(true)
                .value_parser(value_parser!(PathBuf))
                .help("The key file"),
        )
        .arg(
            Arg::new("rotate")
                .long("rotate")
                .action(ArgAction::SetTrue)
                .help("Put a new current key before those of an existing file"),
        )
}

/// # Errors
/// The file exists and nothing was said of rotation, is not there or no key file where it should be, or
/// cannot be written.
pub fn run(arguments: &ArgMatches) -> Result<(), StartError> {
    let path = arguments.get_one::<PathBuf>("file").cloned().unwrap_or_default();
    let id = write(&path, arguments.get_flag("rotate"))?;
    let mut out = io::stdout().lock();
    let _ =
        writeln!(out, "{} has a new current key, {id}. Keep a copy of it apart.", path.display());
    Ok(())
}

/// Writes the file and gives the new key's id.
fn write(path: &Path, rotate: bool) -> Result<String, StartError> {
    let exists = path.symlink_metadata().is_ok();
    let refuse = |reason: &str| Err(StartError::MasterKey(format!("{} {reason}", path.display())));
    match (exists, rotate) {
        (true, false) => return refuse("is there already: --rotate puts a new key into it"),
        (false, true) => return refuse("is not there"),
        _ => {}
    }
    let (id, line) = master::new_line()?;
    let mut text = Zeroizing::new(String::with_capacity(line.len()));
    text.push_str(&line);
    if rotate {
        let old = master::read(path)?;
        let wrong = |reason| StartError::MasterKey(format!("{}: {reason}", path.display()));
        MasterKeys::parse(&old).map_err(wrong)?;
        let both = Zeroizing::new(format!("{}{}", *line, *old));
        MasterKeys::parse(&both).map_err(wrong)?;
        text = both;
    }
    replace(path, text.as_bytes())
        .map_err(|error| StartError::io(format!("writing {}", path.display()), error))?;
    Ok(id)
}

/// Writes beside the file and renames: a crash leaves the old file or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".new");
    let beside = dir.join(name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written?;
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_new_key_comes_first_and_none_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        assert!(write(&path, true).is_err());
        let first = write(&path, false).unwrap();
        assert!(write(&path, false).is_err());
        let second = write(&path, true).unwrap();
        let keys = MasterKeys::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(keys.ids().collect::<Vec<_>>(), [second.as_str(), first.as_str()]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

        fs::write(&path, "not a key").unwrap();
        assert!(write(&path, true).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "not a key");
    }
}
