//! What can still be told of bytes that do not verify: which records lie there.
//!
//! A record's head has a checksum of its own, so most of a damaged group can be read record by record.
//! Of a head that does not verify, one flipped bit is looked for and set right in a copy: rot rarely
//! flips more, and a head that verifies then names its object as surely as any other.
//!
//! Invariant: nothing is made up: what is given has verified, as it is or but for one bit. Pure.
//!
//! Budget: a range of garbage costs a look at every eighth byte; a candidate for correction costs at
//! most as many checksums as its head has bits, and only heads that are consistent but for one bit
//! are candidates.

use crate::format::Salt;
use crate::format::group::{GROUP_HEADER_BYTES, GroupHeader};
use crate::format::record::{Head, RECORD_HEAD_MIN};
use crate::limits::{INLINE_BYTES_MAX, KEY_BYTES_MAX};
use crate::platform::BLOCK_BYTES;
use std::ops::Range;

/// Longer heads, of objects with many extents, are not corrected.
const CORRECTED_BYTES_MAX: usize = 8 << 10;

/// A record that was found.
pub(crate) struct Salvaged<'a> {
    /// From the start of the bytes.
    pub(crate) at: usize,
    pub(crate) head: Head<'a>,
    /// One bit of the head was wrong.
    pub(crate) corrected: bool,
}

/// Visits the records whose heads lie in a range of `bytes`, in order.
pub(crate) fn records(
    salt: Salt,
    bytes: &[u8],
    range: Range<usize>,
    mut visit: impl FnMut(Salvaged<'_>),
) {
    let mut at = range.start.next_multiple_of(8);
    while at + RECORD_HEAD_MIN <= range.end.min(bytes.len()) {
        let Some(rest) = bytes.get(at..) else { return };
        let mut step = 8;
        if let Ok(head) = Head::decode(salt, rest) {
            step = head.span_bytes();
            visit(Salvaged { at, head, corrected: false });
        } else if let Some(copy) = corrected_head(salt, rest)
            && let Ok(head) = Head::decode(salt, &copy)
        {
            step = head.span_bytes();
            visit(Salvaged { at, head, corrected: true });
        }
        at = (at + step).next_multiple_of(8);
    }
}

/// The header of a group that verifies but for one bit.
pub(super) fn corrected_group(salt: Salt, bytes: &[u8]) -> Option<GroupHeader> {
    let mut copy = bytes.get(..GROUP_HEADER_BYTES)?.to_vec();
    if copy.iter().all(|&byte| byte == 0) {
        return None;
    }
    first_flip(&mut copy, 0..GROUP_HEADER_BYTES * 8, |copy| {
        GroupHeader::decode(salt, copy).ok().map(|(header, _)| header)
    })
}

/// Flips one bit after the other, each back again, until something is found.
fn first_flip<T>(
    bytes: &mut [u8],
    bits: Range<usize>,
    mut found: impl FnMut(&[u8]) -> Option<T>,
) -> Option<T> {
    for bit in bits {
        let mask = 1 << (bit % 8);
        *bytes.get_mut(bit / 8)? ^= mask;
        if let Some(found) = found(bytes) {
            return Some(found);
        }
        *bytes.get_mut(bit / 8)? ^= mask;
    }
    None
}

/// The head at the start of `bytes` with one bit set right.
fn corrected_head(salt: Salt, bytes: &[u8]) -> Option<Vec<u8>> {
    let fixed = bytes.get(..RECORD_HEAD_MIN)?;
    if fixed.iter().all(|&byte| byte == 0) {
        return None;
    }
    let verified = |copy: &[u8]| Head::decode(salt, copy).is_ok().then(|| copy.to_vec());
    if let Some(head_bytes) = consistent_length(fixed) {
        let mut copy = bytes.get(..head_bytes)?.to_vec();
        return first_flip(&mut copy, 0..head_bytes * 8, verified);
    }
    // One of the lengths may be the wrong one.
    let mut fixed = fixed.to_vec();
    for field in [0..8, 10..12, 60..64] {
        let bits = field.start * 8..field.end * 8;
        let found = first_flip(&mut fixed, bits, |fixed| {
            let mut copy = bytes.get(..consistent_length(fixed)?)?.to_vec();
            copy.get_mut(..RECORD_HEAD_MIN)?.copy_from_slice(fixed);
            verified(&copy)
        });
        if found.is_some() {
            return found;
        }
    }
    None
}

/// The length of a head whose lengths agree with each other, and are short enough for a correction.
fn consistent_length(fixed: &[u8]) -> Option<usize> {
    let u32_at = |at: usize| {
        let bytes = fixed.get(at..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*bytes) as usize)
    };
    let key_bytes = u16::from_le_bytes(*fixed.get(10..)?.first_chunk::<2>()?) as usize;
    let (head_bytes, data_bytes, sections_bytes) = (u32_at(0)?, u32_at(4)?, u32_at(60)?);
    let in_range = head_bytes <= CORRECTED_BYTES_MAX
        && data_bytes <= INLINE_BYTES_MAX
        && key_bytes <= KEY_BYTES_MAX;
    let expected = (RECORD_HEAD_MIN + key_bytes).checked_add(sections_bytes)?.next_multiple_of(8)
        + data_bytes.div_ceil(BLOCK_BYTES) * 8;
    (in_range && head_bytes == expected).then_some(head_bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::format::record::{Encoded, Record, RecordKind};

    fn salt() -> Salt {
        Salt::of_store(&[1; 16])
    }

    fn sample() -> (Vec<u8>, usize) {
        let mut bytes = vec![0; 512];
        let mut at = 24;
        let mut head_bytes = 0;
        for key in ["first", "second"] {
            let record =
                Record { data: vec![7; 40], ..Record::new(RecordKind::Object, 3, key.into()) };
            let encoded = Encoded::new(record).unwrap();
            head_bytes = encoded.span_bytes() - 40;
            encoded.write(salt(), 5, &mut bytes[at..at + encoded.span_bytes()]);
            at = (at + encoded.span_bytes()).next_multiple_of(8);
        }
        (bytes, head_bytes)
    }

    fn keys(bytes: &[u8]) -> Vec<(Vec<u8>, bool)> {
        let mut keys = Vec::new();
        records(salt(), bytes, 0..bytes.len(), |found| {
            keys.push((found.head.key.to_vec(), found.corrected));
        });
        keys
    }

    #[test]
    fn every_flipped_bit_of_a_head_is_set_right() {
        let (mut bytes, head_bytes) = sample();
        assert_eq!(keys(&bytes), [(b"first".to_vec(), false), (b"second".to_vec(), false)]);
        for bit in 24 * 8..(24 + head_bytes) * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let found = keys(&bytes);
            assert_eq!(
                found,
                [(b"first".to_vec(), true), (b"second".to_vec(), false)],
                "bit {bit}"
            );
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn two_flipped_bits_hide_a_record_and_not_the_next() {
        let (mut bytes, _) = sample();
        bytes[24 + 20] ^= 3;
        assert_eq!(keys(&bytes), [(b"second".to_vec(), false)]);
        assert_eq!(keys(&[0xA5; 4096]), []);
    }
}
