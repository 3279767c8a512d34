//! Giving up root: who was started as root to bind its ports goes on as somebody else.
//!
//! Invariants: it is given up before a store is opened or a request is served, for all threads and for good:
//! without capabilities, without groups of root's, and without a way back through any program. What
//! is read later (certificates when they change, the audit log when it is opened anew) has to be open to that user.
//!
//! Not here: what systemd does with `User=`, which needs none of this.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::unistd::{Uid, User, geteuid, initgroups, setresgid, setresuid};

use crate::start_error::StartError;

/// Becomes this user. Data directories that do not exist yet become theirs.
///
/// # Errors
/// There is no such user, it is root, or only root could become it.
pub fn become_user(name: &str, data_dirs: &[PathBuf]) -> Result<(), StartError> {
    let refuse = |reason: String| StartError::Config { place: "--user".to_owned(), reason };
    let failed = |what: &str, error: Errno| refuse(format!("{what}: {}", error.desc()));
    let user = User::from_name(name)
        .map_err(|error| failed("looking the user up", error))?
        .ok_or_else(|| refuse(format!("there is no user {name}")))?;
    if user.uid.is_root() {
        return Err(refuse(format!("{name} is root")));
    }
    if !geteuid().is_root() {
        return match geteuid() == user.uid {
            true => Ok(()),
            false => Err(refuse(format!("only root can become {name}"))),
        };
    }
    for dir in data_dirs.iter().filter(|dir| !dir.exists()) {
        make_theirs(dir, &user)
            .map_err(|e| StartError::io(format!("making {}", dir.display()), e))?;
    }
    let c_name = std::ffi::CString::new(name)
        .map_err(|_| refuse("the name holds a zero byte".to_owned()))?;
    initgroups(&c_name, user.gid)
        .and_then(|()| setresgid(user.gid, user.gid, user.gid))
        .and_then(|()| setresuid(user.uid, user.uid, user.uid))
        .map_err(|error| failed(&format!("becoming {name}"), error))?;
    // Neither now nor by any program that is run.
    if nix::unistd::setuid(Uid::from_raw(0)).is_ok() {
        return Err(refuse("root was not given up".to_owned()));
    }
    prctl::set_no_new_privs().map_err(|error| failed("giving up new privileges", error))?;
    tracing::info!(user = name, "root was given up");
    Ok(())
}

fn make_theirs(dir: &Path, user: &User) -> std::io::Result<()> {
    if let Some(parent) = dir.parent() {
        DirBuilder::new().recursive(true).create(parent)?;
    }
    DirBuilder::new().mode(0o700).create(dir)?;
    chown(dir, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn root_and_nobody_known_are_not_to_become() {
        for (name, reason) in [("no-such-user-here", "there is no user"), ("root", "is root")] {
            let error = become_user(name, &[]).unwrap_err().to_string();
            assert!(error.contains("--user") && error.contains(reason), "{error}");
        }
    }
}
