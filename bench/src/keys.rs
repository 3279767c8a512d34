//! Keys of 40 bytes, the length for which the cost per key is promised, in three shapes.
//!
//! Invariant: a key is a function of its number, so that it can be asked for again.

/// The length of every key.
pub const KEY_BYTES: usize = 40;

/// How keys follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyShape {
    /// As digests do: at random, with nothing in common. The hardest case for an index.
    Hashed,
    /// As cameras and logs do: each behind the one before, with a long prefix in common.
    Ascending,
    /// As file trees do: a thousand in each directory.
    Deep,
}

impl KeyShape {
    pub const ALL: [Self; 3] = [Self::Hashed, Self::Ascending, Self::Deep];

    pub fn name(self) -> &'static str {
        match self {
            Self::Hashed => "hashed",
            Self::Ascending => "ascending",
            Self::Deep => "deep",
        }
    }

    /// The key of that number, 40 bytes for numbers below a billion.
    pub fn key(self, number: u64) -> String {
        match self {
            Self::Hashed => {
                let (high, low) = (mixed(number), mixed(!number));
                format!("{high:016x}{low:016x}{:08x}", (high ^ low) >> 32)
            }
            Self::Ascending => format!("photos/2026/11/20/camera-7/{number:09}.jpg"),
            Self::Deep => {
                let (directory, file) = (number / 1000, number % 1000);
                format!("directory-{directory:07}/file-{file:03}-{:08x}.data", mixed(number) >> 32)
            }
        }
    }
}

/// The number's place in a fixed pseudo-random permutation of all numbers (SplitMix64).
pub fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Sixteen bytes without a pattern, as ETags are.
pub fn digest(number: u64) -> [u8; 16] {
    let halves = [mixed(number ^ 0x5ead), mixed(number ^ 0xbeef_0000)];
    std::array::from_fn(|at| halves[at / 8].to_le_bytes()[at % 8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_forty_bytes_and_differ() {
        for shape in KeyShape::ALL {
            let mut keys: Vec<_> = (0..1000).map(|number| shape.key(number)).collect();
            assert!(keys.iter().all(|key| key.len() == KEY_BYTES));
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), 1000);
        }
        assert_eq!(KeyShape::Ascending.key(999_999_999).len(), KEY_BYTES);
    }
}
