//! The CRC of a whole from the CRCs of its parts: S3's full-object checksum of a multipart upload,
//! without reading the parts again.
//!
//! A CRC is the remainder of a polynomial over GF(2). With the initial value and the final
//! exclusive-or both all ones, as in the three CRCs here, appending `b` to `a` multiplies `a`'s CRC
//! by x^(8 * bytes of b) modulo the generator, and adds `b`'s. The power is found by repeated
//! squaring: at most 128 multiplications of a few dozen steps, some microseconds; meant for parts,
//! not for blocks.

use super::{Algorithm, Digest};

/// The checksum of the concatenation of two pieces with checksums `a` and `b`, the second one
/// `b_bytes` long. `None` where the algorithm does not allow it (SHA) or a checksum has not the
/// algorithm's length.
pub fn combine(algorithm: Algorithm, a: &[u8], b: &[u8], b_bytes: u64) -> Option<Digest> {
    let field = match algorithm {
        Algorithm::Crc32 => Field { width: 32, generator: 0xedb8_8320 },
        Algorithm::Crc32c => Field { width: 32, generator: 0x82f6_3b78 },
        Algorithm::Crc64Nvme => Field { width: 64, generator: 0x9a6c_9329_ac4b_c9b5 },
        Algorithm::Sha1 | Algorithm::Sha256 => return None,
    };
    let crc_bytes = algorithm.digest_bytes();
    if a.len() != crc_bytes || b.len() != crc_bytes {
        return None;
    }
    let moved = field.multiply(from_big_endian(a), field.power_of_x_bytes(b_bytes));
    let crc = (moved ^ from_big_endian(b)).to_be_bytes();
    Some(Digest::new(&crc[crc.len() - crc_bytes..]))
}

fn from_big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Polynomials modulo a generator, in the reflected form of these CRCs: bit `width - 1` is the
/// coefficient of x^0, bit 0 that of x^(width - 1).
struct Field {
    width: u32,
    /// Without its leading coefficient.
    generator: u64,
}

impl Field {
    fn one(&self) -> u64 {
        1 << (self.width - 1)
    }

    fn multiply(&self, a: u64, b: u64) -> u64 {
        let mut product = 0;
        let mut b_times_power = b;
        for power in 0..self.width {
            if a & (self.one() >> power) != 0 {
                product ^= b_times_power;
            }
            let overflows = b_times_power & 1 != 0;
            b_times_power >>= 1;
            if overflows {
                b_times_power ^= self.generator;
            }
        }
        product
    }

    /// x^(8 * bytes).
    fn power_of_x_bytes(&self, bytes: u64) -> u64 {
        let mut result = self.one();
        let mut square = self.one() >> 8;
        let mut bytes_left = bytes;
        while bytes_left != 0 {
            if bytes_left & 1 != 0 {
                result = self.multiply(result, square);
            }
            square = self.multiply(square, square);
            bytes_left >>= 1;
        }
        result
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::digest;
    use super::*;

    const CRCS: [Algorithm; 3] = [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme];

    #[test]
    fn combined_equals_computed_over_the_whole() {
        let input: Vec<u8> = (0..70_000u32).map(|i| (i * 31 % 251) as u8).collect();
        for algorithm in CRCS {
            for cut in [0, 1, 2, 255, 4096, 65_536, 69_999, 70_000] {
                let (a, b) = input.split_at(cut);
                let combined = combine(
                    algorithm,
                    digest(algorithm, a).as_ref(),
                    digest(algorithm, b).as_ref(),
                    b.len() as u64,
                );
                assert_eq!(combined, Some(digest(algorithm, &input)), "{algorithm:?} at {cut}");
            }
        }
    }

    #[test]
    fn combining_is_associative_over_lengths_too_long_to_compute() {
        let (a, b, c) = (&[1; 8], &[2; 8], &[3; 8]);
        let (b_bytes, c_bytes) = (5 << 40, 48 << 40);
        let crc64 = Algorithm::Crc64Nvme;
        let ab = combine(crc64, a, b, b_bytes).unwrap();
        let bc = combine(crc64, b, c, c_bytes).unwrap();
        assert_eq!(
            combine(crc64, ab.as_ref(), c, c_bytes),
            combine(crc64, a, bc.as_ref(), b_bytes + c_bytes)
        );
    }

    #[test]
    fn digests_and_wrong_lengths_do_not_combine() {
        assert_eq!(combine(Algorithm::Sha256, &[0; 32], &[0; 32], 1), None);
        assert_eq!(combine(Algorithm::Crc32, &[0; 8], &[0; 4], 1), None);
        assert_eq!(combine(Algorithm::Crc64Nvme, &[0; 8], &[], 1), None);
    }
}
