//! Object bodies that prove what they are: a function of key, version and size.
//!
//! A body is a 24-byte header followed by a window on one pseudo-random pattern:
//!
//! ```text
//!  0        8         16      24                                      size
//!  | tag    | version | size  | pattern[(start + position) mod PERIOD] ...|
//!    tag   = mix(hash of key, version, size)      little-endian u64 each
//!    start = tag mod PERIOD
//! ```
//!
//! A body shorter than the header is the header cut short. The pattern is made once per process, so
//! writing costs no computation and verifying is a memory comparison.
//!
//! **Invariant:** the period is prime, hence no power-of-two block of a body equals its neighbour:
//! blocks that are swapped, repeated, shifted or taken from another object are found.
//!
//! Deliberately absent: any secrecy or compressibility control.

pub const HEADER_BYTES: usize = 24;
/// From this size on, a body tells its own version.
const VERSION_END: usize = 16;
/// The largest prime below 2^20.
const PERIOD: usize = 1_048_573;
/// The pattern is stored this much beyond its period, so that any window up to this long is one slice.
pub const WINDOW_BYTES: usize = 256 << 10;

/// The shared pseudo-random bytes.
#[derive(Debug)]
pub struct Pattern {
    bytes: Box<[u8]>,
}

impl Default for Pattern {
    fn default() -> Self {
        Self::new()
    }
}

impl Pattern {
    pub fn new() -> Self {
        let mut state = 0x5249_4e47_464f_5254_u64;
        let mut bytes = Vec::with_capacity(PERIOD + WINDOW_BYTES + 8);
        while bytes.len() < PERIOD {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            bytes.extend_from_slice(&mix(state).to_le_bytes());
        }
        bytes.truncate(PERIOD);
        bytes.extend_from_within(..WINDOW_BYTES);
        Self { bytes: bytes.into_boxed_slice() }
    }
}

/// One object's expected body.
#[derive(Debug, Clone, Copy)]
pub struct Content {
    header: [u8; HEADER_BYTES],
    start: u64,
    pub size: u64,
}

impl Content {
    pub fn new(key_hash: u64, version: u64, size: u64) -> Self {
        let tag = mix(key_hash ^ mix(version ^ mix(size)));
        let mut header = [0; HEADER_BYTES];
        header[..8].copy_from_slice(&tag.to_le_bytes());
        header[8..16].copy_from_slice(&version.to_le_bytes());
        header[16..].copy_from_slice(&size.to_le_bytes());
        Self { header, start: tag % PERIOD as u64, size }
    }

    /// The first bytes of the body, at most `HEADER_BYTES`.
    pub fn header(&self) -> &[u8] {
        &self.header[..HEADER_BYTES.min(usize::try_from(self.size).unwrap_or(usize::MAX))]
    }

    /// The body from `position` on, which lies behind the header: at least one byte unless the body
    /// ends there, at most `WINDOW_BYTES`.
    pub fn window<'p>(&self, pattern: &'p Pattern, position: u64) -> &'p [u8] {
        let length = (self.size.saturating_sub(position)).min(WINDOW_BYTES as u64) as usize;
        let offset = ((self.start + position) % PERIOD as u64) as usize;
        &pattern.bytes[offset..offset + length]
    }

    /// Whether these are the body's bytes from `position` on.
    fn has(&self, pattern: &Pattern, mut position: u64, mut piece: &[u8]) -> bool {
        let header = self.header().get(position as usize..).unwrap_or_default();
        let length = header.len().min(piece.len());
        if header[..length] != piece[..length] {
            return false;
        }
        (position, piece) = (position + length as u64, &piece[length..]);
        while !piece.is_empty() {
            let window = self.window(pattern, position);
            let length = window.len().min(piece.len());
            if length == 0 || window[..length] != piece[..length] {
                return false;
            }
            (position, piece) = (position + length as u64, &piece[length..]);
        }
        true
    }
}

/// Where a body first differs from what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {position} of {size}: {reason}")]
pub struct Mismatch {
    pub position: u64,
    pub size: u64,
    pub reason: &'static str,
}

/// Checks a body as it arrives, in pieces of any length.
#[derive(Debug)]
pub struct Verifier {
    key_hash: u64,
    size: u64,
    position: u64,
    header: [u8; HEADER_BYTES],
    /// Known once the whole header has arrived.
    content: Option<Content>,
    mismatch: Option<Mismatch>,
}

impl Verifier {
    /// `size`: the length that the server announces.
    pub fn new(key_hash: u64, size: u64) -> Self {
        let header = [0; HEADER_BYTES];
        Self { key_hash, size, position: 0, header, content: None, mismatch: None }
    }

    pub fn feed(&mut self, pattern: &Pattern, mut piece: &[u8]) {
        if self.mismatch.is_some() {
            return;
        }
        if self.position < HEADER_BYTES as u64 {
            piece = self.feed_header(piece);
        }
        while let (false, Some(content)) = (piece.is_empty(), self.content) {
            let window = content.window(pattern, self.position);
            let length = window.len().min(piece.len());
            if length == 0 {
                return self.fail(self.position, "the body is longer than announced");
            }
            if window[..length] != piece[..length] {
                let same = window.iter().zip(piece).take_while(|(a, b)| a == b).count();
                return self.fail(self.position + same as u64, "not the byte that was written");
            }
            self.position += length as u64;
            piece = &piece[length..];
        }
    }

    /// Takes the header's bytes; returns what follows them.
    fn feed_header<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        let have = self.position as usize;
        let take = piece.len().min(HEADER_BYTES - have);
        self.header[have..have + take].copy_from_slice(&piece[..take]);
        self.position += take as u64;
        if self.position == HEADER_BYTES as u64 {
            let content = Content::new(self.key_hash, self.version_field(), self.size);
            if content.header == self.header {
                self.content = Some(content);
            } else {
                self.fail(0, "the header is not one of this key and size");
            }
        }
        &piece[take..]
    }

    /// To be called after the last piece: the version that the body tells, `None` if it is too short
    /// to tell (then ask `is_version`).
    pub fn finish(&self) -> Result<Option<u64>, Mismatch> {
        if let Some(mismatch) = &self.mismatch {
            return Err(mismatch.clone());
        }
        if self.position != self.size {
            let reason = "the body's length is not the announced one";
            return Err(Mismatch { position: self.position, size: self.size, reason });
        }
        if (self.size as usize) < VERSION_END {
            return Ok(None);
        }
        let version = self.version_field();
        // With all of its header there, that was held against the version before.
        if self.content.is_some() || self.is_version(version) {
            return Ok(Some(version));
        }
        let reason = "the header is not one of this key and size";
        Err(Mismatch { position: 0, size: self.size, reason })
    }

    /// Whether the header received, or as much of it as the body holds, is that of `version`.
    pub fn is_version(&self, version: u64) -> bool {
        let expected = Content::new(self.key_hash, version, self.size);
        let header = expected.header();
        self.header[..header.len()] == *header
    }

    /// The length that the server announced.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn version_field(&self) -> u64 {
        let mut field = [0; 8];
        field.copy_from_slice(&self.header[8..16]);
        u64::from_le_bytes(field)
    }

    fn fail(&mut self, position: u64, reason: &'static str) {
        self.mismatch = Some(Mismatch { position, size: self.size, reason });
    }
}

/// Checks a slice of a body as it arrives. A slice does not tell its version, so it is held against
/// those that it may be of, until one is left.
#[derive(Debug)]
pub struct SliceVerifier {
    candidates: [Option<Content>; SLICE_CANDIDATES_MAX],
    position: u64,
    end: u64,
}

/// More than one version is acceptable only while a write is under way or was lost.
pub const SLICE_CANDIDATES_MAX: usize = 4;

impl SliceVerifier {
    /// Of bytes `position..end` of one of the candidates.
    pub fn new(candidates: impl Iterator<Item = Content>, position: u64, end: u64) -> Self {
        let mut slots = [None; SLICE_CANDIDATES_MAX];
        slots.iter_mut().zip(candidates).for_each(|(slot, content)| *slot = Some(content));
        Self { candidates: slots, position, end }
    }

    pub fn feed(&mut self, pattern: &Pattern, piece: &[u8]) {
        let position = self.position;
        self.position += piece.len() as u64;
        for candidate in &mut self.candidates {
            if candidate.is_some_and(|content| !content.has(pattern, position, piece)) {
                *candidate = None;
            }
        }
    }

    /// To be called after the last piece.
    pub fn finish(&self) -> Result<(), &'static str> {
        if self.position != self.end {
            return Err("the slice's length is not the announced one");
        }
        let found = self.candidates.iter().any(Option::is_some);
        if found { Ok(()) } else { Err("not the slice of an acceptable version") }
    }
}

/// A well-mixed hash of a key (FNV-1a, then a finalizer).
pub fn hash_key(key: &[u8]) -> u64 {
    let fnv = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    mix(fnv)
}

/// The finalizer of splitmix64: a bijection in which every input bit moves every output bit.
pub fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn body(pattern: &Pattern, content: &Content) -> Vec<u8> {
        let mut bytes = content.header().to_vec();
        while (bytes.len() as u64) < content.size {
            bytes.extend_from_slice(content.window(pattern, bytes.len() as u64));
        }
        bytes
    }

    fn check(
        pattern: &Pattern,
        key: &[u8],
        bytes: &[u8],
        piece: usize,
    ) -> Result<Option<u64>, Mismatch> {
        let mut verifier = Verifier::new(hash_key(key), bytes.len() as u64);
        bytes.chunks(piece).for_each(|chunk| verifier.feed(pattern, chunk));
        verifier.finish()
    }

    #[test]
    fn every_size_in_every_piece_length_verifies() {
        let pattern = Pattern::new();
        for size in [0, 1, 7, 15, 16, 23, 24, 25, 4096, 300_000, 2_500_000] {
            let bytes = body(&pattern, &Content::new(hash_key(b"k"), 77, size));
            assert_eq!(bytes.len() as u64, size);
            for piece in [1, 13, 4096, 1 << 20] {
                if size / piece as u64 > 1 << 18 {
                    continue;
                }
                let expected = (size >= 16).then_some(77);
                assert_eq!(check(&pattern, b"k", &bytes, piece), Ok(expected), "{size}/{piece}");
            }
        }
    }

    #[test]
    fn a_short_body_is_known_by_asking() {
        let content = Content::new(hash_key(b"k"), 5, 8);
        let mut verifier = Verifier::new(hash_key(b"k"), 8);
        verifier.feed(&Pattern::new(), content.header());
        assert_eq!(verifier.finish(), Ok(None));
        assert!(verifier.is_version(5) && !verifier.is_version(6));
    }

    #[test]
    fn damage_is_found_where_it_is() {
        let pattern = Pattern::new();
        let whole = body(&pattern, &Content::new(hash_key(b"k"), 1, 100_000));
        for position in [0, 9, 17, 24, 4096, 99_999] {
            let mut bytes = whole.clone();
            bytes[position] ^= 1;
            let found = check(&pattern, b"k", &bytes, 1000).unwrap_err().position;
            assert_eq!(found, if position < 24 { 0 } else { position as u64 });
        }
        assert!(check(&pattern, b"other", &whole, 1000).is_err());
        assert!(check(&pattern, b"k", &whole[..99_999], 1000).is_err());
    }

    #[test]
    fn swapped_or_repeated_blocks_are_found() {
        let pattern = Pattern::new();
        let whole = body(&pattern, &Content::new(hash_key(b"k"), 1, 4 << 20));
        for block in [512, 4096, 65_536, 1 << 20] {
            let mut bytes = whole.clone();
            bytes.copy_within(block..2 * block, 2 * block);
            assert!(check(&pattern, b"k", &bytes, 65_536).is_err(), "{block}");
        }
    }

    #[test]
    fn a_slice_is_of_one_of_its_candidates_or_none() {
        let pattern = Pattern::new();
        let contents = [5, 6].map(|version| Content::new(1, version, 300_000));
        let check = |bytes: &[u8], from: u64, end: u64, piece: usize| {
            let mut verifier = SliceVerifier::new(contents.into_iter(), from, end);
            bytes.chunks(piece).for_each(|chunk| verifier.feed(&pattern, chunk));
            verifier.finish()
        };
        for content in &contents {
            let whole = body(&pattern, content);
            for (from, end) in [(0, 10), (3, 40), (20, 100_000), (299_999, 300_000)] {
                let slice = &whole[from as usize..end as usize];
                assert_eq!(check(slice, from, end, 7777), Ok(()));
                assert!(check(&slice[1..], from, end, 7777).is_err());
                let mut wrong = slice.to_vec();
                *wrong.last_mut().unwrap() ^= 1;
                assert!(check(&wrong, from, end, 7777).is_err());
            }
        }
        // Half of the one and half of the other.
        let mut mixed = body(&pattern, &contents[0]);
        mixed[150_000..].copy_from_slice(&body(&pattern, &contents[1])[150_000..]);
        assert!(check(&mixed, 0, 300_000, 4096).is_err());
    }

    #[test]
    fn a_body_longer_than_announced_is_found() {
        let pattern = Pattern::new();
        let bytes = body(&pattern, &Content::new(hash_key(b"k"), 1, 100));
        let mut verifier = Verifier::new(hash_key(b"k"), 100);
        verifier.feed(&pattern, &bytes);
        verifier.feed(&pattern, b"x");
        assert!(verifier.finish().is_err());
    }
}
