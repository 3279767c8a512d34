//! MD5, for the ETag and Content-MD5 that S3 prescribes; it protects nothing against a forger.
//!
//! One stream at a time. The multi-lane kernel that hashes several uploads' pending blocks
//! together will stand behind the same interface.

use md5::Digest as _;
use std::fmt;

/// Computes the MD5 of bytes that arrive piece by piece.
#[derive(Clone, Default)]
pub struct Md5(md5::Md5);

impl Md5 {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn finish(self) -> [u8; 16] {
        self.0.finalize().into()
    }
}

impl fmt::Debug for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: u128) {
        let mut md5 = Md5::new();
        input.as_bytes().chunks(5).for_each(|piece| md5.update(piece));
        assert_eq!(md5.finish(), expected.to_be_bytes(), "{input:?}");
    }

    /// RFC 1321, appendix A.5.
    #[test]
    fn published_vectors() {
        check("", 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e);
        check("abc", 0x9001_5098_3cd2_4fb0_d696_3f7d_28e1_7f72);
        check("message digest", 0xf96b_697d_7cb7_938d_525a_2f31_aaf1_61d0);
    }
}
