//! Giving up root: who was started as root to bind its ports goes on as somebody else.
//!
//! Invariants: it is given up before a store is opened or a request is served, for all threads and for good:
//! without capabilities, without groups of root's, and without a way back through any program. What
//! is read later (certificates when they change, the audit log when it is opened anew) has to be open to that user.
//!
//! Not here: what systemd does with `User=`, which needs none of this.

use std::ffi::CString;
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, fchown};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::unistd::{Uid, User, getresuid, initgroups, setresgid, setresuid, setuid};

use crate::start_error::StartError;

fn refuse(reason: String) -> StartError {
    StartError::Config { place: "--user".to_owned(), reason }
}

/// Whom to become.
///
/// # Errors
/// There is no such user, or it is root.
pub fn find(name: &str) -> Result<User, StartError> {
    let user = User::from_name(name)
        .map_err(|error| refuse(format!("looking {name} up: {}", error.desc())))?
        .ok_or_else(|| refuse(format!("there is no user {name}")))?;
    if user.uid.is_root() {
        return Err(refuse(format!("{name} is root")));
    }
    Ok(user)
}

/// Makes a data directory that belongs to its user, or to who makes it; one that there is stays as it is.
pub fn make_data_dir(dir: &Path, user: Option<&User>) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        DirBuilder::new().recursive(true).create(parent)?;
    }
    DirBuilder::new().mode(0o700).create(dir)?;
    let Some(user) = user.filter(|_| is_root()) else { return Ok(()) };
    // Of what was made, not of what may stand in its place by now.
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let made = OpenOptions::new().read(true).custom_flags(flags).open(dir)?;
    fchown(&made, Some(user.uid.as_raw()), Some(user.gid.as_raw()))
}

pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Becomes this user.
///
/// # Errors
/// Only root could.
pub fn become_user(user: &User) -> Result<(), StartError> {
    let name = &user.name;
    let failed = |what: &str, error: Errno| refuse(format!("{what}: {}", error.desc()));
    let ids = getresuid().map_err(|error| failed("asking who this is", error))?;
    if [ids.real, ids.effective, ids.saved] == [user.uid; 3] {
        return Ok(());
    }
    if !ids.effective.is_root() {
        return Err(refuse(format!("only root can become {name}")));
    }
    // Root may lock any memory; the buffers of the rings are locked.
    let all = RLIM_INFINITY;
    if let Err(error) = setrlimit(Resource::RLIMIT_MEMLOCK, all, all) {
        tracing::debug!(%error, "the limit on locked memory stays");
    }
    let c_name =
        CString::new(name.as_str()).map_err(|_| refuse("the name holds a zero byte".to_owned()))?;
    initgroups(&c_name, user.gid)
        .and_then(|()| setresgid(user.gid, user.gid, user.gid))
        .and_then(|()| setresuid(user.uid, user.uid, user.uid))
        .map_err(|error| failed(&format!("becoming {name}"), error))?;
    // Neither now nor by any program that is run.
    if setuid(Uid::from_raw(0)).is_ok() {
        return Err(refuse("root was not given up".to_owned()));
    }
    prctl::set_no_new_privs().map_err(|error| failed("giving up new privileges", error))?;
    tracing::info!(user = name, "root was given up");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn root_and_nobody_known_are_not_to_become() {
        for (name, reason) in [("no-such-user-here", "there is no user"), ("root", "is root")] {
            let error = find(name).unwrap_err().to_string();
            assert!(error.contains("--user") && error.contains(reason), "{error}");
        }
    }
}
