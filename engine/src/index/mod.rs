//! The in-memory index: a B+tree over byte keys, latest version first.
