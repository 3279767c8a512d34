//! What a connection needs while a request is under way, and the others of its core otherwise.
//!
//! A connection that waits for a request holds none of it: thousands of idle ones are cheap, and the memory that a
//! request passes through is what the last one left in the processor's caches.
//!
//! Invariant: what is kept is empty, of its first size, and bounded; a workspace that is not given back (its
//! connection was cut) is freed.

use std::cell::RefCell;

use crate::RequestHead;
use crate::limits::{INPUT_BYTES_MIN, OUTPUT_BYTES_KEPT, WORKSPACES_KEPT_MAX};
use crate::wire::Input;

/// The buffers of one request after the other.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) input: Input,
    pub(crate) head: RequestHead,
    /// The answer's head.
    pub(crate) output: Vec<u8>,
}

/// Those of one port on one core that nobody uses, the last used one first.
#[derive(Debug)]
pub struct Workspaces {
    head_bytes_max: usize,
    // In a box each: a connection is not to be as large as one, nor is one to be moved.
    #[expect(clippy::vec_box, reason = "they are lent as boxes")]
    kept: RefCell<Vec<Box<Workspace>>>,
}

impl Workspaces {
    /// For connections that share these limits.
    pub fn new(limits: &crate::Limits) -> Self {
        Self { head_bytes_max: limits.head_bytes_max, kept: RefCell::default() }
    }

    pub(crate) fn take(&self) -> Box<Workspace> {
        self.kept.borrow_mut().pop().unwrap_or_else(|| {
            Box::new(Workspace {
                input: Input::new(self.head_bytes_max),
                head: RequestHead::empty(),
                output: Vec::new(),
            })
        })
    }

    /// Takes one back from a connection that needs it no more, with whatever is left in it; what an unusual request
    /// made it grow to is freed.
    pub(crate) fn give(&self, mut workspace: Box<Workspace>) {
        let mut kept = self.kept.borrow_mut();
        if kept.len() == WORKSPACES_KEPT_MAX {
            return;
        }
        workspace.input.consume(usize::MAX);
        workspace.input.shrink();
        workspace.head.bytes.clear();
        workspace.head.bytes.shrink_to(INPUT_BYTES_MIN);
        workspace.output.clear();
        workspace.output.shrink_to(OUTPUT_BYTES_KEPT);
        kept.push(workspace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    #[test]
    fn what_is_kept_is_bounded_and_small() {
        let workspaces = Workspaces::new(&Limits::default());
        let mut lent: Vec<_> = (0..WORKSPACES_KEPT_MAX + 3).map(|_| workspaces.take()).collect();
        for workspace in &mut lent {
            workspace.head.bytes.resize(100 << 10, 1);
            workspace.output.resize(100 << 10, 1);
        }
        for workspace in lent {
            workspaces.give(workspace);
        }
        assert_eq!(workspaces.kept.borrow().len(), WORKSPACES_KEPT_MAX);
        let workspace = workspaces.take();
        assert!(workspace.head.bytes.is_empty() && workspace.output.is_empty());
        assert!(workspace.head.bytes.capacity() <= INPUT_BYTES_MIN);
        assert!(workspace.output.capacity() <= OUTPUT_BYTES_KEPT);
    }
}
