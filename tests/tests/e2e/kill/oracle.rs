//! What may be found under one key: the last acknowledged content, or one that was under way.

use ringfort_tests::harness::chance::Chance;

/// Content is a function of this, so that a byte of another object shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Object {
    /// No other object has it.
    pub(super) seed: u64,
    pub(super) size: usize,
}

impl Object {
    pub(super) fn content(self) -> Vec<u8> {
        Chance::new(self.seed).bytes(self.size)
    }
}

/// `None` stands for no object.
#[derive(Debug, Default)]
pub(super) struct Known {
    settled: Option<Object>,
    under_way: Vec<Option<Object>>,
}

impl Known {
    pub(super) fn begin(&mut self, next: Option<Object>) {
        self.under_way.push(next);
    }

    pub(super) fn acknowledge(&mut self) {
        self.settled = self.under_way.pop().expect("it was begun");
        assert!(self.under_way.is_empty(), "one write at a time");
    }

    /// The server said that it has done nothing.
    pub(super) fn refuse(&mut self) {
        self.under_way.pop().expect("it was begun");
    }

    pub(super) fn settled(&self) -> Option<Object> {
        self.settled
    }

    /// Takes what was found for good, if it may be found.
    pub(super) fn settle(&mut self, key: &str, found: Option<&[u8]>) {
        let may_be = std::iter::once(&self.settled).chain(&self.under_way);
        let is_it = |object: &&Option<Object>| match (object, found) {
            (None, None) => true,
            (Some(object), Some(bytes)) => object.size == bytes.len() && object.content() == bytes,
            _ => false,
        };
        let matching = may_be.into_iter().find(is_it).copied();
        self.settled = matching.unwrap_or_else(|| {
            let found = found.map(|bytes| (bytes.len(), bytes.get(..16).unwrap_or(bytes).to_vec()));
            panic!("{key}: found {found:?}, expected one of {self:?}")
        });
        self.under_way.clear();
    }
}
