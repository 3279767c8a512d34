//! Checksums and digests, computed while bytes stream by.
