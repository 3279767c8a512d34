//! What a process may set for itself without privileges.
//!
//! Settings of the host are never changed from here; the rules say what to set and the operator does.

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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn soft_limit_of_open_files_reaches_the_hard_one() {
        let raised = raise_open_files().unwrap();
        let now = sys::get_rlimit(Resource::OpenFiles).unwrap();
        assert_eq!(now.soft, raised);
        assert_eq!(now.hard, raised);
    }
}
