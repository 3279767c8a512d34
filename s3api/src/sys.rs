//! The few steps that std and socket2 leave unsafe: descriptors that somebody else owns, the naming of a
//! file that has no name, and what the allocator keeps.
//!
//! The only file of this crate with unsafe code.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use socket2::SockRef;

use crate::limits::{FREED_BYTES_KEPT, REUSED_BYTES_MAX};

/// Gives a name to a file that was opened with `O_TMPFILE`; a name that is taken is `AlreadyExists`.
pub(crate) fn link(file: &File, path: &Path) -> io::Result<()> {
    let invalid = |_| io::Error::from(io::ErrorKind::InvalidInput);
    // The way that needs no privilege, see open(2).
    let from = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(invalid)?;
    let to = CString::new(path.as_os_str().as_bytes()).map_err(invalid)?;
    let (here, follow) = (libc::AT_FDCWD, libc::AT_SYMLINK_FOLLOW);
    // SAFETY: both paths are NUL-terminated and outlive the call.
    let result = unsafe { libc::linkat(here, from.as_ptr(), here, to.as_ptr(), follow) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A descriptor that something on this core owns, to wake whoever waits for it.
///
/// The holder must drop this before the owner closes the descriptor: a number that was given out
/// again would name somebody else's socket.
#[derive(Debug)]
pub(crate) struct Waker(RawFd);

impl Waker {
    pub(crate) fn new(owner: &impl AsRawFd) -> Self {
        Self(owner.as_raw_fd())
    }

    /// Ends one or both directions; what waits for them returns. One that has ended already is left
    /// as it is.
    pub(crate) fn shut_down(&self, how: Shutdown) {
        // SAFETY: the holder keeps this only while the descriptor is open (see the type).
        let socket = unsafe { BorrowedFd::borrow_raw(self.0) };
        // The only failure is that the peer has gone, and then nothing waits any more.
        let _ = SockRef::from(&socket).shutdown(how);
    }
}

/// Has the allocator keep what is freed, for use again, instead of giving it back to the kernel. Buffers of
/// bodies come and go by the megabyte: fetched anew each time, their page faults cost as much as the
/// MD5 of what they hold. Bodies have a budget, so that what is kept has a bound too.
pub(crate) fn keep_freed_memory() {
    for (setting, value) in
        [(libc::M_MMAP_THRESHOLD, REUSED_BYTES_MAX), (libc::M_TRIM_THRESHOLD, FREED_BYTES_KEPT)]
    {
        // SAFETY: it takes numbers only. A setting that the allocator does not take changes nothing.
        unsafe { libc::mallopt(setting, value) };
    }
}
