//! What may be found under one key: the last acknowledged content, or one that was under way.

use ringfort_tests::harness::chance::Chance;

/// Content is a function of this, so that a byte of another object shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Object {
    /// No other object has it.
    pub(crate) seed: u64,
    pub(crate) size: usize,
}

impl Object {
    pub(crate) fn content(self) -> Vec<u8> {
        Chance::new(self.seed).bytes(self.size)
    }
}

/// `None` stands for no object.
#[derive(Debug, Default)]
pub(crate) struct Known {
    settled: Option<Object>,
    under_way: Vec<Option<Object>>,
}

impl Known {
    pub(crate) fn begin(&mut self, next: Option<Object>) {
        self.under_way.push(next);
    }

    pub(crate) fn acknowledge(&mut self) {
        self.settled = self.under_way.pop().expect("it was begun");
        assert!(self.under_way.is_empty(), "one write at a time");
    }

    /// The server said that it has done nothing.
    pub(crate) fn refuse(&mut self) {
        self.under_way.pop().expect("it was begun");
    }

    pub(crate) fn settled(&self) -> Option<Object> {
        self.settled
    }

    /// Takes what was found for good, if it may be found.
    pub(crate) fn settle(&mut self, key: &str, found: Option<&[u8]>) {
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
