//! Encrypted bytes as they are stored: blocks that are opened one by one.
//!
//! ```text
//! stream = block*, at least one
//! block  = text: AES-256-GCM of up to 64 KiB, full but in the last block
//!          tag: [u8; 16]
//! key    = HKDF-SHA256(salt of the stream, data key, "ringfort stream 1")
//! nonce  = last: u8, zero: [u8; 3], block number: u64 BE
//! aad    = part number: u16 BE, block number: u64 BE, last: u8
//! ```
//!
//! An object that was not made of parts is one stream, of part number 0; one that was is the streams
//! of its parts behind each other, each with a salt of its own.
//!
//! Invariants: a key seals each block number once, so that no nonce is used twice. A block opens only
//! at its place: in its stream, of its part, at its number, and as the last one or not; so blocks
//! cannot be exchanged, reordered, left out or cut off unnoticed.
//!
//! Not here: where data keys come from (`secret`, `envelope`), buffers and I/O (`sealer`, `opener`).

use super::secret::{CryptoFailed, Refused, SecretKey, TAG_BYTES};
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};

/// Plain bytes of every block but the last.
pub const BLOCK_BYTES: usize = 64 << 10;
/// The same block as it is stored.
pub const SEALED_BLOCK_BYTES: usize = BLOCK_BYTES + TAG_BYTES;
pub const SALT_BYTES: usize = 16;

const STREAM_LABEL: &[u8] = b"ringfort stream 1";

/// How many bytes a stream of so many plain ones takes.
pub fn sealed_size(plain_bytes: u64) -> u64 {
    plain_bytes + block_count(plain_bytes) * TAG_BYTES as u64
}

/// The plain bytes of a stream that takes so many; none if no stream does.
pub fn plain_size(sealed_bytes: u64) -> Option<u64> {
    let blocks = sealed_bytes.div_ceil(SEALED_BLOCK_BYTES as u64);
    let plain = sealed_bytes.checked_sub(blocks * TAG_BYTES as u64)?;
    (sealed_size(plain) == sealed_bytes).then_some(plain)
}

/// An empty stream has a block too: without one, cutting all of a stream off would not be noticed.
fn block_count(plain_bytes: u64) -> u64 {
    plain_bytes.div_ceil(BLOCK_BYTES as u64).max(1)
}

/// One block of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    pub number: u64,
    pub is_last: bool,
    pub plain_bytes: usize,
}

impl Block {
    /// The block of that number of a stream with so many plain bytes; none behind the last one.
    pub fn of_stream(plain_bytes: u64, number: u64) -> Option<Self> {
        let count = block_count(plain_bytes);
        let rest = plain_bytes.saturating_sub(number.saturating_mul(BLOCK_BYTES as u64));
        let plain_bytes = rest.min(BLOCK_BYTES as u64) as usize;
        (number < count).then(|| Self { number, is_last: number + 1 == count, plain_bytes })
    }

    pub fn sealed_bytes(&self) -> usize {
        self.plain_bytes + TAG_BYTES
    }
}

/// The cipher of one stream.
#[derive(Debug)]
pub struct StreamCipher {
    key: LessSafeKey,
    /// 0 for an object that was not made of parts.
    part: u16,
}

impl StreamCipher {
    pub fn new(
        data_key: &SecretKey,
        salt: &[u8; SALT_BYTES],
        part: u16,
    ) -> Result<Self, CryptoFailed> {
        Ok(Self { key: data_key.derive(salt, &[STREAM_LABEL])?, part })
    }

    /// Encrypts a block in place. To be called once for each number.
    pub fn seal(&self, block: &Block, text: &mut [u8]) -> Result<[u8; TAG_BYTES], CryptoFailed> {
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce(block), self.aad(block), text)
            .map_err(|_| CryptoFailed)?;
        tag.as_ref().try_into().map_err(|_| CryptoFailed)
    }

    /// Decrypts a stored block into `plain`, which has the block's plain length. What `plain` holds
    /// after a refusal must not be used.
    pub fn open(&self, block: &Block, sealed: &[u8], plain: &mut [u8]) -> Result<(), Refused> {
        if sealed.len() != block.sealed_bytes() || plain.len() != block.plain_bytes {
            return Err(Refused);
        }
        let (text, tag) = sealed.split_at(block.plain_bytes);
        self.key
            .open_separate_gather(nonce(block), self.aad(block), text, tag, plain)
            .map_err(|_| Refused)
    }

    fn aad(&self, block: &Block) -> Aad<[u8; 11]> {
        let mut aad = [0; 11];
        aad[..2].copy_from_slice(&self.part.to_be_bytes());
        aad[2..10].copy_from_slice(&block.number.to_be_bytes());
        aad[10] = u8::from(block.is_last);
        Aad::from(aad)
    }
}

fn nonce(block: &Block) -> Nonce {
    let mut nonce = [0; 12];
    nonce[0] = u8::from(block.is_last);
    nonce[4..].copy_from_slice(&block.number.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn sizes_are_read_back() {
        let block = BLOCK_BYTES as u64;
        for (plain, sealed) in [
            (0, 16),
            (1, 17),
            (block - 1, block + 15),
            (block, block + 16),
            (block + 1, block + 1 + 32),
            (3 * block, 3 * block + 48),
            (5 << 40, (5 << 40) + ((5 << 40) / block) * 16),
        ] {
            assert_eq!(sealed_size(plain), sealed, "{plain}");
            assert_eq!(plain_size(sealed), Some(plain), "{sealed}");
        }
        for sealed in [0, 1, 15, block + 17, block + 31, block + 32] {
            assert_eq!(plain_size(sealed), None, "{sealed}");
        }
    }

    #[test]
    fn blocks_end_with_the_stream() {
        let block = |plain, number| {
            Block::of_stream(plain, number).map(|block| (block.plain_bytes, block.is_last))
        };
        let full = BLOCK_BYTES as u64;
        assert_eq!(block(0, 0), Some((0, true)));
        assert_eq!(block(0, 1), None);
        assert_eq!(block(full, 0), Some((BLOCK_BYTES, true)));
        assert_eq!(block(full, 1), None);
        assert_eq!(block(full + 1, 0), Some((BLOCK_BYTES, false)));
        assert_eq!(block(full + 1, 1), Some((1, true)));
        assert_eq!(block(full + 1, u64::MAX), None);
    }

    /// These bytes are on disks; the vector was computed by an independent implementation.
    #[test]
    fn a_block_is_as_drawn() {
        let key = SecretKey::from_bytes(&[1; 32]).unwrap();
        let cipher = StreamCipher::new(&key, &[2; 16], 3).unwrap();
        let block = Block { number: 4, is_last: true, plain_bytes: 5 };
        let mut text = *b"plain";
        let tag = cipher.seal(&block, &mut text).unwrap();
        let sealed = [text.as_slice(), tag.as_slice()].concat();
        assert_eq!(hex::encode(&sealed), "652e92d76cc27dcb727557693ca0c510ccfcdb7bfd");
        let mut plain = [0; 5];
        cipher.open(&block, &sealed, &mut plain).unwrap();
        assert_eq!(&plain, b"plain");
    }

    #[test]
    fn a_block_opens_at_its_place_alone() {
        let key = SecretKey::random().unwrap();
        let cipher = |salt: u8, part| StreamCipher::new(&key, &[salt; 16], part).unwrap();
        let block = Block { number: 1, is_last: false, plain_bytes: 100 };
        let mut text = [7; 100];
        let tag = cipher(1, 1).seal(&block, &mut text).unwrap();
        let sealed = [text.as_slice(), tag.as_slice()].concat();
        let open = |cipher: StreamCipher, block: Block, sealed: &[u8]| {
            cipher.open(&block, sealed, &mut [0; 100])
        };
        assert_eq!(open(cipher(1, 1), block, &sealed), Ok(()));
        assert_eq!(open(cipher(2, 1), block, &sealed), Err(Refused));
        assert_eq!(open(cipher(1, 2), block, &sealed), Err(Refused));
        assert_eq!(open(cipher(1, 1), Block { number: 2, ..block }, &sealed), Err(Refused));
        assert_eq!(open(cipher(1, 1), Block { is_last: true, ..block }, &sealed), Err(Refused));
        assert_eq!(open(cipher(1, 1), block, &sealed[..115]), Err(Refused));
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(cipher(1, 1), block, &changed), Err(Refused), "bit {bit}");
        }
    }
}
