//! What the whole process has in memory, by the kernel's count.
//!
//! Everything counts: heap, the allocator's losses, stacks, I/O buffers, code.

// malloc_trim has no safe wrapper among our dependencies.
#![allow(unsafe_code)]

use crate::error::{Error, Result};
use std::io;

const STATM: &str = "/proc/self/statm";

/// Resident bytes, after the allocator has given back what it holds in reserve.
pub fn resident_bytes() -> Result<u64> {
    // SAFETY: malloc_trim may be called at any time and on any thread; it touches free memory only.
    unsafe { libc::malloc_trim(0) };
    let text = std::fs::read_to_string(STATM).map_err(|source| Error::io(STATM, source))?;
    let pages = text.split_whitespace().nth(1).and_then(|field| field.parse::<u64>().ok());
    let unreadable = || Error::io(STATM, io::ErrorKind::InvalidData.into());
    Ok(pages.ok_or_else(unreadable)? * page_bytes())
}

fn page_bytes() -> u64 {
    // SAFETY: sysconf takes a number and returns one.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn memory_that_is_touched_shows() {
        let before = resident_bytes().unwrap();
        let block = vec![1u8; 64 << 20];
        let after = resident_bytes().unwrap();
        assert!(after >= before + (60 << 20), "{before} {after} {}", block[1 << 20]);
    }
}
