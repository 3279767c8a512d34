//! MD5's rounds over several streams at once: one stream in each 32-bit lane of a vector, the same
//! block number of all of them taken in together.
//!
//! A step of MD5 needs the one before, so that one stream leaves most of a core idle; lanes fill it.
//! The words of a block lie side by side in memory and are wanted one in each vector: that is a
//! transposition, by unpacks and shuffles.
//!
//! Invariants: a [`Kernel`] exists only where the processor has what it needs; no byte outside of
//! the lanes' blocks is read.
//!
//! Not here: which streams run together ([`super::update_many`]).

// Vector loads go by pointer, and what is compiled for more than the build's target may only be
// called where the processor was asked. The differential tests of the parent run every kernel.
#![allow(unsafe_code)]

use super::scalar::{self, SINES, all_steps};
use super::{BLOCK_BYTES, State};

/// One stream's state and the whole blocks that it is to take in.
#[derive(Debug)]
pub(super) struct Lane<'a> {
    pub(super) state: &'a mut State,
    pub(super) blocks: &'a [u8],
}

/// An implementation that this processor can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kernel(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// With AVX2 too, which is faster where half of the lanes suffice.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

#[cfg(target_arch = "x86_64")]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
}

#[cfg(target_arch = "x86_64")]
fn has_avx512() -> bool {
    has_avx2() && is_x86_feature_detected!("avx512f")
}

impl Kernel {
    /// The fastest over many streams.
    pub(super) fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if has_avx512() {
                return Self(Kind::Avx512);
            }
            if has_avx2() {
                return Self(Kind::Avx2);
            }
        }
        Self(Kind::Scalar)
    }

    #[cfg(test)]
    pub(super) fn all() -> Vec<Self> {
        let mut all = vec![Self(Kind::Scalar)];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(has_avx2().then_some(Self(Kind::Avx2)));
            all.extend(has_avx512().then_some(Self(Kind::Avx512)));
        }
        all
    }

    /// How many streams it takes in at once.
    pub(super) fn lanes(self) -> usize {
        match self.0 {
            Kind::Scalar => 1,
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 | Kind::Avx512 => 16,
        }
    }

    /// Takes in the first `count` blocks of at most [`Self::lanes`] streams, and moves the streams on
    /// behind them.
    pub(super) fn compress(self, lanes: &mut [Lane<'_>], count: usize) {
        assert!(lanes.len() <= self.lanes(), "no more streams than lanes");
        assert!(
            lanes.iter().all(|lane| lane.blocks.len() / BLOCK_BYTES >= count),
            "every stream has as many blocks"
        );
        match self.0 {
            // One stream fills no vector.
            _ if lanes.len() < 2 => {
                for lane in &mut *lanes {
                    scalar::compress(lane.state, &lane.blocks[..count * BLOCK_BYTES]);
                }
            }
            // Never with two lanes or more.
            Kind::Scalar => {}
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a kernel of either kind is only made where the processor has AVX2. Every lane has
            // `count` blocks, and there are between 1 and 8 of them.
            Kind::Avx2 | Kind::Avx512 if lanes.len() <= 8 => unsafe {
                x86::compress_avx2::<1>(lanes, count)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above, with up to 16 lanes.
            Kind::Avx2 => unsafe { x86::compress_avx2::<2>(lanes, count) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a kernel of this kind is only made where the processor has AVX-512F. Every lane
            // has `count` blocks, and there are between 1 and 16 of them.
            Kind::Avx512 => unsafe { x86::compress_avx512(lanes, count) },
        }
        for lane in lanes {
            lane.blocks = &lane.blocks[count * BLOCK_BYTES..];
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{BLOCK_BYTES, Lane, SINES, all_steps};
    use std::arch::x86_64::*;
    use std::array::from_fn;

    /// Where the blocks of each of `N` lanes begin. Lanes that no stream has read those of the first,
    /// and what comes out of them is dropped.
    fn starts<const N: usize>(lanes: &[Lane<'_>]) -> [*const u8; N] {
        from_fn(|at| lanes.get(at).unwrap_or(&lanes[0]).blocks.as_ptr())
    }

    /// Word `word` of the states, one in each of `N` lanes.
    fn words<const N: usize>(lanes: &[Lane<'_>], word: usize) -> [u32; N] {
        from_fn(|at| lanes.get(at).map_or(0, |lane| lane.state[word]))
    }

    fn keep_words(lanes: &mut [Lane<'_>], word: usize, words: &[u32]) {
        for (lane, value) in lanes.iter_mut().zip(words) {
            lane.state[word] = *value;
        }
    }

    /// Each function is one ternary operation, whose truth table has bit `4 b + 2 c + d`.
    macro_rules! step_512 {
        (f, $($rest:tt)*) => { step_512!(@turn 0xca, $($rest)*) };
        (g, $($rest:tt)*) => { step_512!(@turn 0xe4, $($rest)*) };
        (h, $($rest:tt)*) => { step_512!(@turn 0x96, $($rest)*) };
        (i, $($rest:tt)*) => { step_512!(@turn 0x39, $($rest)*) };
        (@turn $table:literal, $a:ident, $b:ident, $c:ident, $d:ident, $x:ident, $word:literal,
         $shift:literal, $at:expr) => {
            let sine = _mm512_set1_epi32(SINES[$at] as i32);
            $a = _mm512_add_epi32($a, _mm512_add_epi32($x[$word], sine));
            $a = _mm512_add_epi32($a, _mm512_ternarylogic_epi32::<$table>($b, $c, $d));
            $a = _mm512_add_epi32(_mm512_rol_epi32::<$shift>($a), $b);
        };
    }

    /// # Safety
    /// The processor has AVX-512F; there are between 1 and 16 lanes, with at least `count` blocks each.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn compress_avx512(lanes: &mut [Lane<'_>], count: usize) {
        let starts: [*const u8; 16] = starts(lanes);
        let mut state: [__m512i; 4] = from_fn(|word| {
            let words: [u32; 16] = words(lanes, word);
            // SAFETY: 64 bytes of a local array.
            unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
        });
        for block in 0..count {
            // SAFETY: the caller promises `count` blocks from each start on.
            let rows: [__m512i; 16] = from_fn(|lane| unsafe {
                _mm512_loadu_si512(starts[lane].add(block * BLOCK_BYTES).cast())
            });
            let x = transpose_avx512(&rows);
            let [mut a, mut b, mut c, mut d] = state;
            macro_rules! one {
                ($f:ident, $a:ident, $b:ident, $c:ident, $d:ident, $($rest:tt)*) => {
                    step_512!($f, $a, $b, $c, $d, x, $($rest)*);
                };
            }
            all_steps!(one, a, b, c, d);
            let turned = [a, b, c, d];
            state = from_fn(|word| _mm512_add_epi32(state[word], turned[word]));
        }
        for (word, vector) in state.iter().enumerate() {
            let mut words = [0u32; 16];
            // SAFETY: 64 bytes of a local array.
            unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), *vector) };
            keep_words(lanes, word, &words);
        }
    }

    /// From a row of 16 words for each lane to a vector of 16 lanes for each word.
    #[target_feature(enable = "avx512f")]
    fn transpose_avx512(rows: &[__m512i; 16]) -> [__m512i; 16] {
        // Quarter `j` of `fours[q][w]` holds word `4 j + w` of the lanes `4 q` to `4 q + 3`.
        let fours: [[__m512i; 4]; 4] = from_fn(|q| {
            let [r0, r1, r2, r3] = [rows[4 * q], rows[4 * q + 1], rows[4 * q + 2], rows[4 * q + 3]];
            let (low, high) = (_mm512_unpacklo_epi32(r0, r1), _mm512_unpackhi_epi32(r0, r1));
            let (low2, high2) = (_mm512_unpacklo_epi32(r2, r3), _mm512_unpackhi_epi32(r2, r3));
            [
                _mm512_unpacklo_epi64(low, low2),
                _mm512_unpackhi_epi64(low, low2),
                _mm512_unpacklo_epi64(high, high2),
                _mm512_unpackhi_epi64(high, high2),
            ]
        });
        // What is left is a transposition of quarters: even ones (0x88) and odd ones (0xdd).
        let quarters: [[__m512i; 4]; 4] = from_fn(|w| {
            let even = _mm512_shuffle_i32x4::<0x88>(fours[0][w], fours[1][w]);
            let even2 = _mm512_shuffle_i32x4::<0x88>(fours[2][w], fours[3][w]);
            let odd = _mm512_shuffle_i32x4::<0xdd>(fours[0][w], fours[1][w]);
            let odd2 = _mm512_shuffle_i32x4::<0xdd>(fours[2][w], fours[3][w]);
            [
                _mm512_shuffle_i32x4::<0x88>(even, even2),
                _mm512_shuffle_i32x4::<0x88>(odd, odd2),
                _mm512_shuffle_i32x4::<0xdd>(even, even2),
                _mm512_shuffle_i32x4::<0xdd>(odd, odd2),
            ]
        });
        from_fn(|word| quarters[word % 4][word / 4])
    }

    /// AVX2 has neither ternary operations nor rotations. Each function is written so that `b`, which
    /// the step before has just made, comes in last.
    macro_rules! step_256 {
        (f, $a:ident, $b:ident, $c:ident, $d:ident, $($rest:tt)*) => {
            step_256!(@turn |b, c, d| _mm256_xor_si256(d, _mm256_and_si256(b, _mm256_xor_si256(c, d))),
                $a, $b, $c, $d, $($rest)*)
        };
        (g, $a:ident, $b:ident, $c:ident, $d:ident, $($rest:tt)*) => {
            // The two terms share no bit, so that a sum does for an "or".
            step_256!(@turn |b, c, d| _mm256_add_epi32(_mm256_andnot_si256(d, c), _mm256_and_si256(b, d)),
                $a, $b, $c, $d, $($rest)*)
        };
        (h, $a:ident, $b:ident, $c:ident, $d:ident, $($rest:tt)*) => {
            step_256!(@turn |b, c, d| _mm256_xor_si256(b, _mm256_xor_si256(c, d)),
                $a, $b, $c, $d, $($rest)*)
        };
        (i, $a:ident, $b:ident, $c:ident, $d:ident, $($rest:tt)*) => {
            step_256!(@turn |b, c, d| {
                let not_d = _mm256_xor_si256(d, _mm256_set1_epi32(-1));
                _mm256_xor_si256(c, _mm256_or_si256(b, not_d))
            }, $a, $b, $c, $d, $($rest)*)
        };
        (@turn |$fb:ident, $fc:ident, $fd:ident| $mixed:expr, $a:ident, $b:ident, $c:ident, $d:ident,
         $x:ident, $word:literal, $shift:literal, $at:expr) => {
            let sine = _mm256_set1_epi32(SINES[$at] as i32);
            for g in 0..GROUPS {
                let ($fb, $fc, $fd) = ($b[g], $c[g], $d[g]);
                let sum = _mm256_add_epi32($a[g], _mm256_add_epi32($x[g][$word], sine));
                let sum = _mm256_add_epi32(sum, $mixed);
                let turned = _mm256_or_si256(
                    _mm256_slli_epi32::<$shift>(sum),
                    _mm256_srli_epi32::<{ 32 - $shift }>(sum),
                );
                $a[g] = _mm256_add_epi32(turned, $fb);
            }
        };
    }

    /// Eight lanes to a vector. Two groups of them, step by step in turn, fill the time in which a
    /// step of one waits for the step before.
    ///
    /// # Safety
    /// The processor has AVX2; there are between 1 and `8 * GROUPS` lanes, with at least `count`
    /// blocks each.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn compress_avx2<const GROUPS: usize>(lanes: &mut [Lane<'_>], count: usize) {
        let starts: [*const u8; 16] = starts(lanes);
        let mut state: [[__m256i; GROUPS]; 4] = from_fn(|word| {
            let words: [u32; 16] = words(lanes, word);
            // SAFETY: 32 bytes of a local array of 64, from 0 or 32 on.
            from_fn(|g| unsafe { _mm256_loadu_si256(words.as_ptr().add(8 * g).cast()) })
        });
        for block in 0..count {
            let x: [[__m256i; 16]; GROUPS] = from_fn(|g| {
                // SAFETY: the caller promises `count` blocks from each start on; a block is two halves.
                let half = |half: usize| unsafe {
                    transpose_avx2(&from_fn(|lane| {
                        let at = block * BLOCK_BYTES + 32 * half;
                        _mm256_loadu_si256(starts[8 * g + lane].add(at).cast())
                    }))
                };
                let (first, second) = (half(0), half(1));
                from_fn(|word| if word < 8 { first[word] } else { second[word - 8] })
            });
            let [mut a, mut b, mut c, mut d] = state;
            macro_rules! one {
                ($f:ident, $a:ident, $b:ident, $c:ident, $d:ident, $($rest:tt)*) => {
                    step_256!($f, $a, $b, $c, $d, x, $($rest)*);
                };
            }
            all_steps!(one, a, b, c, d);
            let turned = [a, b, c, d];
            state = from_fn(|word| from_fn(|g| _mm256_add_epi32(state[word][g], turned[word][g])));
        }
        for (word, groups) in state.iter().enumerate() {
            let mut words = [0u32; 16];
            for (g, vector) in groups.iter().enumerate() {
                // SAFETY: 32 bytes of a local array of 64, from 0 or 32 on.
                unsafe { _mm256_storeu_si256(words.as_mut_ptr().add(8 * g).cast(), *vector) };
            }
            keep_words(lanes, word, &words);
        }
    }

    /// From a row of 8 words for each lane to a vector of 8 lanes for each word.
    #[target_feature(enable = "avx2")]
    fn transpose_avx2(rows: &[__m256i; 8]) -> [__m256i; 8] {
        // Half `j` of `fours[q][w]` holds word `4 j + w` of the lanes `4 q` to `4 q + 3`.
        let fours: [[__m256i; 4]; 2] = from_fn(|q| {
            let [r0, r1, r2, r3] = [rows[4 * q], rows[4 * q + 1], rows[4 * q + 2], rows[4 * q + 3]];
            let (low, high) = (_mm256_unpacklo_epi32(r0, r1), _mm256_unpackhi_epi32(r0, r1));
            let (low2, high2) = (_mm256_unpacklo_epi32(r2, r3), _mm256_unpackhi_epi32(r2, r3));
            [
                _mm256_unpacklo_epi64(low, low2),
                _mm256_unpackhi_epi64(low, low2),
                _mm256_unpacklo_epi64(high, high2),
                _mm256_unpackhi_epi64(high, high2),
            ]
        });
        from_fn(|word| {
            let (first, second) = (fours[0][word % 4], fours[1][word % 4]);
            if word < 4 {
                _mm256_permute2x128_si256::<0x20>(first, second)
            } else {
                _mm256_permute2x128_si256::<0x31>(first, second)
            }
        })
    }
}
