//! MD5's rounds over one stream, with plain integers.
//!
//! Source: RFC 1321, section 3.4.

use super::{BLOCK_BYTES, State};

/// The sines of RFC 1321: `floor(2^32 * abs(sin(i + 1)))`.
#[rustfmt::skip]
pub(super) const SINES: [u32; 64] = [
    0xd76a_a478, 0xe8c7_b756, 0x2420_70db, 0xc1bd_ceee, 0xf57c_0faf, 0x4787_c62a, 0xa830_4613, 0xfd46_9501,
    0x6980_98d8, 0x8b44_f7af, 0xffff_5bb1, 0x895c_d7be, 0x6b90_1122, 0xfd98_7193, 0xa679_438e, 0x49b4_0821,
    0xf61e_2562, 0xc040_b340, 0x265e_5a51, 0xe9b6_c7aa, 0xd62f_105d, 0x0244_1453, 0xd8a1_e681, 0xe7d3_fbc8,
    0x21e1_cde6, 0xc337_07d6, 0xf4d5_0d87, 0x455a_14ed, 0xa9e3_e905, 0xfcef_a3f8, 0x676f_02d9, 0x8d2a_4c8a,
    0xfffa_3942, 0x8771_f681, 0x6d9d_6122, 0xfde5_380c, 0xa4be_ea44, 0x4bde_cfa9, 0xf6bb_4b60, 0xbebf_bc70,
    0x289b_7ec6, 0xeaa1_27fa, 0xd4ef_3085, 0x0488_1d05, 0xd9d4_d039, 0xe6db_99e5, 0x1fa2_7cf8, 0xc4ac_5665,
    0xf429_2244, 0x432a_ff97, 0xab94_23a7, 0xfc93_a039, 0x655b_59c3, 0x8f0c_cc92, 0xffef_f47d, 0x8584_5dd1,
    0x6fa8_7e4f, 0xfe2c_e6e0, 0xa301_4314, 0x4e08_11a1, 0xf753_7e82, 0xbd3a_f235, 0x2ad7_d2bb, 0xeb86_d391,
];

/// All 64 steps, four at a time with the words in rotated roles. `$step!(f, a, b, c, d, word, shift,
/// number)` is one step; it is the only thing in which the implementations differ.
macro_rules! all_steps {
    ($step:ident, $a:ident, $b:ident, $c:ident, $d:ident) => {
        all_steps!(@round $step, f, $a, $b, $c, $d, 7, 12, 17, 22;
            0 1 2 3, 0; 4 5 6 7, 4; 8 9 10 11, 8; 12 13 14 15, 12);
        all_steps!(@round $step, g, $a, $b, $c, $d, 5, 9, 14, 20;
            1 6 11 0, 16; 5 10 15 4, 20; 9 14 3 8, 24; 13 2 7 12, 28);
        all_steps!(@round $step, h, $a, $b, $c, $d, 4, 11, 16, 23;
            5 8 11 14, 32; 1 4 7 10, 36; 13 0 3 6, 40; 9 12 15 2, 44);
        all_steps!(@round $step, i, $a, $b, $c, $d, 6, 10, 15, 21;
            0 7 14 5, 48; 12 3 10 1, 52; 8 15 6 13, 56; 4 11 2 9, 60);
    };
    (@round $step:ident, $f:ident, $a:ident, $b:ident, $c:ident, $d:ident,
     $r0:literal, $r1:literal, $r2:literal, $r3:literal;
     $($w0:literal $w1:literal $w2:literal $w3:literal, $at:literal);+) => {
        $(
            $step!($f, $a, $b, $c, $d, $w0, $r0, $at);
            $step!($f, $d, $a, $b, $c, $w1, $r1, $at + 1);
            $step!($f, $c, $d, $a, $b, $w2, $r2, $at + 2);
            $step!($f, $b, $c, $d, $a, $w3, $r3, $at + 3);
        )+
    };
}
pub(super) use all_steps;

/// Each function is written so that `b`, which the step before has just made, comes in last.
macro_rules! step {
    (f, $a:ident, $b:ident, $c:ident, $d:ident, $($rest:tt)*) => {
        step!(@turn $d ^ ($b & ($c ^ $d)), $a, $b, $($rest)*)
    };
    (g, $a:ident, $b:ident, $c:ident, $d:ident, $($rest:tt)*) => {
        // The two terms share no bit, so that a sum does for an "or", and the second need not wait.
        $a = $a.wrapping_add($c & !$d);
        step!(@turn $b & $d, $a, $b, $($rest)*)
    };
    (h, $a:ident, $b:ident, $c:ident, $d:ident, $($rest:tt)*) => {
        step!(@turn $b ^ ($c ^ $d), $a, $b, $($rest)*)
    };
    (i, $a:ident, $b:ident, $c:ident, $d:ident, $($rest:tt)*) => {
        step!(@turn $c ^ ($b | !$d), $a, $b, $($rest)*)
    };
    (@turn $mixed:expr, $a:ident, $b:ident, $words:ident, $word:literal, $shift:literal, $at:expr) => {
        $a = $a.wrapping_add($words[$word].wrapping_add(SINES[$at]));
        $a = $a.wrapping_add($mixed).rotate_left($shift).wrapping_add($b);
    };
}

/// Takes in whole blocks.
pub(super) fn compress(state: &mut State, blocks: &[u8]) {
    let (blocks, rest) = blocks.as_chunks::<BLOCK_BYTES>();
    debug_assert!(rest.is_empty(), "whole blocks");
    for block in blocks {
        let (bytes, _) = block.as_chunks::<4>();
        let words: [u32; 16] = std::array::from_fn(|at| u32::from_le_bytes(bytes[at]));
        let [mut a, mut b, mut c, mut d] = *state;
        macro_rules! one {
            ($f:ident, $a:ident, $b:ident, $c:ident, $d:ident, $($rest:tt)*) => {
                step!($f, $a, $b, $c, $d, words, $($rest)*)
            };
        }
        all_steps!(one, a, b, c, d);
        for (word, turned) in state.iter_mut().zip([a, b, c, d]) {
            *word = word.wrapping_add(turned);
        }
    }
}
