//! The system calls that std does not wrap, each as a safe function.
//!
//! The only file of this crate with unsafe code. It knows nothing of rules.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A soft and a hard limit; `u64::MAX` is "no limit".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rlimit {
    pub(crate) soft: u64,
    pub(crate) hard: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Resource {
    LockedMemory,
    OpenFiles,
}

impl Resource {
    fn id(self) -> libc::__rlimit_resource_t {
        match self {
            Self::LockedMemory => libc::RLIMIT_MEMLOCK,
            Self::OpenFiles => libc::RLIMIT_NOFILE,
        }
    }
}

pub(crate) fn get_rlimit(resource: Resource) -> io::Result<Rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid, exclusively borrowed rlimit for the time of the call.
    let result = unsafe { libc::getrlimit(resource.id(), &raw mut limit) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Rlimit { soft: limit.rlim_cur, hard: limit.rlim_max })
}

pub(crate) fn set_rlimit(resource: Resource, limit: Rlimit) -> io::Result<()> {
    let limit = libc::rlimit { rlim_cur: limit.soft, rlim_max: limit.hard };
    // SAFETY: `limit` is a valid rlimit that outlives the call, which only reads it.
    let result = unsafe { libc::setrlimit(resource.id(), &raw const limit) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What `statfs` says of the filesystem under a path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statfs {
    pub(crate) magic: u32,
    pub(crate) total_bytes: u64,
    pub(crate) available_bytes: u64,
}

#[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)] // the C types differ by architecture
pub(crate) fn statfs(path: &Path) -> io::Result<Statfs> {
    let path = CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut out = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `path` is NUL-terminated and `out` is large enough for the kernel's answer.
    let result = unsafe { libc::statfs(path.as_ptr(), out.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the kernel has filled the structure.
    let out = unsafe { out.assume_init() };
    let block_bytes = out.f_bsize as u64;
    Ok(Statfs {
        // The magic numbers are 32 bits wide, whatever the width of the field.
        magic: out.f_type as u32,
        total_bytes: (out.f_blocks as u64).saturating_mul(block_bytes),
        available_bytes: (out.f_bavail as u64).saturating_mul(block_bytes),
    })
}

/// Asks the kernel for a ring with impossible parameters: an answer other than "invalid" says that
/// io_uring is missing, switched off, or filtered away.
pub(crate) fn probe_io_uring() -> io::Result<()> {
    let no_params = std::ptr::null_mut::<u8>();
    // SAFETY: zero entries and a null parameter block cannot create a ring; the kernel reads nothing.
    let result = unsafe { libc::syscall(libc::SYS_io_uring_setup, 0u32, no_params) };
    if result >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EFAULT | libc::EINVAL) => Ok(()),
        _ => Err(error),
    }
}

/// Whether something keeps the clock of the host right: NTP, PTP, or a hypervisor.
pub(crate) fn clock_is_synchronised() -> io::Result<bool> {
    let mut answer = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: all zeroes are a valid timex, and one without modes changes nothing; it is exclusively
    // borrowed for the time of the call.
    let state = unsafe { libc::adjtimex(answer.as_mut_ptr()) };
    match state {
        -1 => Err(io::Error::last_os_error()),
        state => Ok(state != libc::TIME_ERROR),
    }
}

/// Gives a file its blocks, so that writes to it need none.
pub(crate) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let bytes =
        libc::off_t::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: the descriptor is open for the time of the call, which takes numbers only.
    match unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
