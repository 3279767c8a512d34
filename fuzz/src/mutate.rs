//! Changes inputs at random, for the run without libFuzzer: bits, bytes, numbers, pieces of other inputs.

use crate::chance::Chance;

/// Numbers at the edges of lengths and offsets.
const NUMBERS: [u64; 9] = [0, 1, 0x7f, 0xff, 0x7fff, 0xffff, 0x7fff_ffff, 0xffff_ffff, u64::MAX];

/// No input grows beyond this.
const BYTES_MAX: usize = 64 << 10;

/// A few changes of `input`, pieces of `other` among them.
pub fn mutated(chance: &mut Chance, input: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=chance.below(4) {
        change(chance, &mut bytes, other);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn change(chance: &mut Chance, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = chance.below(bytes.len() + 1);
    let count = 1 + chance.below(16);
    let end = (at + count).min(bytes.len());
    match chance.below(7) {
        0 if at < end => bytes[at] ^= 1 << chance.below(8),
        1 if at < end => bytes[at] = chance.number() as u8,
        2 => drop(bytes.splice(at..at, (0..count).map(|_| chance.number() as u8))),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let number = chance.pick(&NUMBERS).to_le_bytes();
            let width = *chance.pick(&[1, 2, 4, 8]);
            let end = (at + width).min(bytes.len());
            bytes[at..end].copy_from_slice(&number[..end - at]);
        }
        5 if !other.is_empty() => {
            let from = chance.below(other.len());
            let piece = other[from..(from + count).min(other.len())].to_vec();
            let end = if chance.one_in(2) { end } else { at };
            bytes.splice(at..end, piece);
        }
        _ => {
            let piece = bytes[at..end].to_vec();
            bytes.splice(at..at, piece);
        }
    }
}
