//! Decrypts what was read of an encrypted object, whatever pieces it comes in.
//!
//! Invariants: plain bytes are given out only of blocks that opened; a range needs the blocks that
//! hold it and no other.
//!
//! Budget: one pass over the bytes, from the buffer they were read into to the one they are sent
//! from. Only blocks that lie across the pieces in which they were read are copied before that.
//!
//! Not here: reading (`ops::object_body`), the form of a block (`blocks`).

use super::blocks::{
    BLOCK_BYTES, Block, SALT_BYTES, SEALED_BLOCK_BYTES, StreamCipher, sealed_size,
};
use super::secret::{Refused, SecretKey};
use std::ops::Range;

/// One stream of an object: the whole of it, or one of its parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamInfo {
    /// 0 for an object that was not made of parts.
    pub part: u16,
    pub salt: [u8; SALT_BYTES],
    pub plain_bytes: u64,
}

/// Opens the blocks of one object in order.
#[derive(Debug)]
pub struct Opener {
    data_key: SecretKey,
    /// In the order of the object.
    streams: Vec<StreamInfo>,
    /// The stream being opened, its cipher once that is needed, and its next block.
    stream: usize,
    cipher: Option<StreamCipher>,
    next_block: u64,
    /// Plain bytes to leave out before the first that is wanted.
    skip: usize,
    /// Plain bytes that are still wanted.
    left: u64,
    /// The beginning of a block whose rest has not come.
    gathered: Vec<u8>,
}

/// A buffer for plain bytes, to be used again and again: it is never shortened, so that its bytes are
/// set to zero only once.
#[derive(Default)]
pub struct Plain {
    bytes: Vec<u8>,
    wanted: Range<usize>,
}

impl Plain {
    pub fn clear(&mut self) {
        self.wanted = 0..0;
    }

    fn grow(&mut self, count: usize) -> &mut [u8] {
        let start = self.wanted.end;
        let end = start + count;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.wanted.end = end;
        &mut self.bytes[start..end]
    }
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plain").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl AsRef<[u8]> for Plain {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.wanted.clone()]
    }
}

impl Opener {
    /// An opener of an object with these streams; of nothing, until a range is selected.
    pub fn new(data_key: SecretKey, streams: Vec<StreamInfo>) -> Self {
        Self {
            data_key,
            streams,
            stream: 0,
            cipher: None,
            next_block: 0,
            skip: 0,
            left: 0,
            gathered: Vec::new(),
        }
    }

    /// Chooses which plain bytes [`Self::push`] gives, and tells which of the stored bytes are to be
    /// pushed for that. The range lies within the object.
    pub fn select(&mut self, wanted: Range<u64>) -> Range<u64> {
        self.cipher = None;
        self.gathered.clear();
        self.left = wanted.end.saturating_sub(wanted.start);
        if self.left == 0 {
            return 0..0;
        }
        let mut sealed = 0..0;
        let (mut plain_start, mut sealed_start) = (0, 0);
        for (index, stream) in self.streams.iter().enumerate() {
            let plain_end = plain_start + stream.plain_bytes;
            if (plain_start..plain_end).contains(&wanted.start) {
                let offset = wanted.start - plain_start;
                self.stream = index;
                self.next_block = offset / BLOCK_BYTES as u64;
                self.skip = (offset % BLOCK_BYTES as u64) as usize;
                sealed.start = sealed_start + self.next_block * SEALED_BLOCK_BYTES as u64;
            }
            let sealed_end = sealed_start + sealed_size(stream.plain_bytes);
            if (plain_start..plain_end).contains(&(wanted.end - 1)) {
                let block = (wanted.end - 1 - plain_start) / BLOCK_BYTES as u64;
                let block_end = sealed_start + (block + 1) * SEALED_BLOCK_BYTES as u64;
                sealed.end = block_end.min(sealed_end);
                break;
            }
            (plain_start, sealed_start) = (plain_end, sealed_end);
        }
        sealed
    }

    /// Whether all that was selected was given.
    pub fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Opens what the next stored bytes complete, and appends what is wanted of it to `plain`, which
    /// is empty at the first push after a selection.
    pub fn push(&mut self, mut sealed: &[u8], plain: &mut Plain) -> Result<(), Refused> {
        while !sealed.is_empty() {
            let block = self.block()?;
            let count = block.sealed_bytes();
            if self.gathered.is_empty() && sealed.len() >= count {
                let (now, later) = sealed.split_at(count);
                self.open(&block, now, plain)?;
                sealed = later;
                continue;
            }
            let missing = count.saturating_sub(self.gathered.len());
            let (now, later) = sealed.split_at(missing.min(sealed.len()));
            self.gathered.extend_from_slice(now);
            sealed = later;
            if self.gathered.len() == count {
                let gathered = std::mem::take(&mut self.gathered);
                self.open(&block, &gathered, plain)?;
                self.gathered = gathered;
                self.gathered.clear();
            }
        }
        Ok(())
    }

    /// The block that comes next, in this stream or the one behind it.
    fn block(&mut self) -> Result<Block, Refused> {
        loop {
            let stream = self.streams.get(self.stream).ok_or(Refused)?;
            if let Some(block) = Block::of_stream(stream.plain_bytes, self.next_block) {
                return Ok(block);
            }
            self.stream += 1;
            self.next_block = 0;
            self.cipher = None;
        }
    }

    fn open(&mut self, block: &Block, sealed: &[u8], plain: &mut Plain) -> Result<(), Refused> {
        let stream = self.streams.get(self.stream).ok_or(Refused)?;
        let cipher = match &mut self.cipher {
            Some(cipher) => cipher,
            none => {
                let cipher = StreamCipher::new(&self.data_key, &stream.salt, stream.part);
                none.insert(cipher.map_err(|_| Refused)?)
            }
        };
        let before = plain.wanted.clone();
        if let Err(refused) = cipher.open(block, sealed, plain.grow(block.plain_bytes)) {
            plain.wanted = before;
            return Err(refused);
        }
        // Only before the first block of a selection is there something to skip.
        plain.wanted.start += std::mem::take(&mut self.skip);
        let gained = plain.wanted.len() - before.len();
        let surplus = (gained as u64).saturating_sub(self.left) as usize;
        plain.wanted.end -= surplus;
        self.left -= (gained - surplus) as u64;
        self.next_block += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::sealer::{Sealer, Sink};
    use super::*;
    use crate::error::{Code, S3Error};
    use engine::checksum::Md5;
    use futures_lite::future::block_on;
    use proptest::prelude::*;
    use std::ops::Range;

    /// Keeps what it is given, and has room in pieces of `piece_bytes`, as the engine's chunks are.
    struct Pieces {
        stored: Vec<u8>,
        piece: Vec<u8>,
        filled: usize,
    }

    impl Pieces {
        fn new(piece_bytes: usize) -> Self {
            Self { stored: Vec::new(), piece: vec![0; piece_bytes], filled: 0 }
        }
    }

    impl Sink for Pieces {
        fn spare(&mut self) -> &mut [u8] {
            &mut self.piece[self.filled..]
        }

        async fn advance(&mut self, bytes: usize) -> Result<(), S3Error> {
            self.stored.extend_from_slice(&self.piece[self.filled..self.filled + bytes]);
            self.filled = (self.filled + bytes) % self.piece.len();
            Ok(())
        }

        async fn update_md5(&mut self, md5: &mut Md5, range: Range<usize>) {
            md5.update(&self.spare()[range]);
        }
    }

    const KEY: [u8; 32] = [9; 32];

    fn key() -> SecretKey {
        SecretKey::from_bytes(&KEY).unwrap()
    }

    fn content(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|at| (at * 31 % 251) as u8).collect()
    }

    fn seal(info: &StreamInfo, plain: &[u8], piece_bytes: usize, read_bytes: usize) -> Vec<u8> {
        let size = Some(plain.len() as u64);
        let stored = seal_sized(info, plain, size, piece_bytes, read_bytes);
        let unsized_stored = seal_sized(info, plain, None, piece_bytes, read_bytes);
        assert!(stored == unsized_stored, "{} bytes of unknown length", plain.len());
        stored
    }

    fn seal_sized(
        info: &StreamInfo,
        plain: &[u8],
        size: Option<u64>,
        piece_bytes: usize,
        read_bytes: usize,
    ) -> Vec<u8> {
        let cipher = StreamCipher::new(&key(), &info.salt, info.part).unwrap();
        let mut sealer = Sealer::new(Pieces::new(piece_bytes), cipher, size);
        let mut rest = plain;
        while !rest.is_empty() {
            let spare = sealer.spare();
            let count = spare.len().min(rest.len()).min(read_bytes);
            spare[..count].copy_from_slice(&rest[..count]);
            block_on(sealer.advance(count)).unwrap();
            rest = &rest[count..];
        }
        assert_eq!(sealer.written(), plain.len() as u64);
        block_on(sealer.close()).unwrap();
        sealer.into_sink().stored
    }

    fn info(part: u16, plain_bytes: usize) -> StreamInfo {
        StreamInfo { part, salt: [part as u8; 16], plain_bytes: plain_bytes as u64 }
    }

    fn open(
        streams: &[StreamInfo],
        stored: &[u8],
        wanted: Range<u64>,
        piece_bytes: usize,
    ) -> Result<Vec<u8>, Refused> {
        let mut opener = Opener::new(key(), streams.to_vec());
        let sealed = opener.select(wanted);
        let stored = stored.get(sealed.start as usize..sealed.end as usize).ok_or(Refused)?;
        let (mut plain, mut all) = (Plain::default(), Vec::new());
        for piece in stored.chunks(piece_bytes) {
            plain.clear();
            opener.push(piece, &mut plain)?;
            all.extend_from_slice(plain.as_ref());
        }
        if opener.is_done() { Ok(all) } else { Err(Refused) }
    }

    #[test]
    fn a_body_is_sealed_the_same_whatever_pieces_it_comes_and_goes_in() {
        let plain = content(3 * BLOCK_BYTES + 5);
        let whole = seal(&info(0, plain.len()), &plain, 1 << 20, usize::MAX);
        assert_eq!(whole.len() as u64, sealed_size(plain.len() as u64));
        for (piece_bytes, read_bytes) in [(BLOCK_BYTES, 1000), (70_000, usize::MAX), (4096, 77)] {
            let other = seal(&info(0, plain.len()), &plain, piece_bytes, read_bytes);
            assert!(other == whole, "{piece_bytes} {read_bytes}");
        }
    }

    #[test]
    fn an_empty_body_has_one_block_and_a_body_of_another_length_is_refused() {
        let empty = seal(&info(0, 0), &[], 4096, 1);
        assert_eq!(empty.len(), TAG_ONLY);
        assert!(open(&[info(0, 0)], &empty, 0..0, 7).unwrap().is_empty());

        let sealer = |size| {
            let cipher = StreamCipher::new(&key(), &[0; 16], 0).unwrap();
            Sealer::new(Pieces::new(100), cipher, Some(size))
        };
        let mut short = sealer(10);
        block_on(short.advance(9)).unwrap();
        let refused = block_on(short.close()).err().map(|error| error.code);
        assert_eq!(refused, Some(Code::IncompleteBody));
        for size in [0, 10] {
            let mut long = sealer(size);
            if size > 0 {
                block_on(long.advance(10)).unwrap();
            }
            assert!(!long.spare().is_empty());
            let refused = block_on(long.advance(1)).err().map(|error| error.code);
            assert_eq!(refused, Some(Code::EntityTooLarge));
        }
    }

    const TAG_ONLY: usize = super::super::secret::TAG_BYTES;

    /// An object of parts, as the streams of its parts behind each other.
    fn object(sizes: &[usize]) -> (Vec<StreamInfo>, Vec<u8>, Vec<u8>) {
        let plain = content(sizes.iter().sum());
        let (mut streams, mut stored, mut at) = (Vec::new(), Vec::new(), 0);
        for (index, size) in sizes.iter().enumerate() {
            let info = info(index as u16 + 1, *size);
            stored.extend(seal(&info, &plain[at..at + size], 1 << 20, usize::MAX));
            streams.push(info);
            at += size;
        }
        (streams, plain, stored)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_range_opens_to_the_bytes_that_were_sealed(
            sizes in prop::collection::vec(
                prop_oneof![Just(0), 1..200_usize, Just(BLOCK_BYTES), 1..3 * BLOCK_BYTES],
                1..4,
            ),
            ends in (any::<prop::sample::Index>(), any::<prop::sample::Index>()),
            piece_bytes in prop_oneof![1000..5000_usize, Just(256 << 10)],
        ) {
            let (streams, plain, stored) = object(&sizes);
            let (a, b) = (ends.0.index(plain.len() + 1), ends.1.index(plain.len() + 1));
            let (start, end) = (a.min(b), a.max(b));
            let opened = open(&streams, &stored, start as u64..end as u64, piece_bytes).unwrap();
            prop_assert!(opened == plain[start..end]);
        }

        #[test]
        fn a_changed_bit_anywhere_is_found(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let (streams, plain, mut stored) = object(&[BLOCK_BYTES + 9, 20]);
            let at = at.index(stored.len());
            stored[at] ^= 1 << bit;
            let opened = open(&streams, &stored, 0..plain.len() as u64, 9999);
            prop_assert_eq!(opened, Err(Refused));
        }
    }

    #[test]
    fn exchanged_repeated_and_missing_blocks_are_found() {
        let (streams, plain, stored) = object(&[3 * BLOCK_BYTES]);
        let all = 0..plain.len() as u64;
        let block = |index: usize| &stored[index * SEALED_BLOCK_BYTES..][..SEALED_BLOCK_BYTES];
        let check = |blocks: &[usize]| {
            let changed: Vec<u8> = blocks.iter().flat_map(|index| block(*index).to_vec()).collect();
            open(&streams, &changed, all.clone(), 1 << 20)
        };
        assert!(check(&[0, 1, 2]).is_ok());
        for blocks in [[1, 0, 2], [0, 2, 1], [0, 0, 2], [0, 1, 1], [2, 1, 0]] {
            assert_eq!(check(&blocks), Err(Refused), "{blocks:?}");
        }
        // Cut to whole blocks, with a size that fits.
        let shorter = StreamInfo { plain_bytes: 2 * BLOCK_BYTES as u64, ..streams[0] };
        let cut = &stored[..2 * SEALED_BLOCK_BYTES];
        let opened = open(&[shorter], cut, 0..2 * BLOCK_BYTES as u64, 1 << 20);
        assert_eq!(opened, Err(Refused));
        // Parts that changed places.
        let (streams, plain, stored) = object(&[100, 100]);
        let swapped = [&stored[116..], &stored[..116]].concat();
        assert_eq!(open(&streams, &swapped, 0..plain.len() as u64, 1000), Err(Refused));
    }

    #[test]
    fn a_range_needs_its_own_blocks_alone() {
        let mut opener = Opener::new(key(), vec![info(1, 10 * BLOCK_BYTES), info(2, 100)]);
        let (block, sealed) = (BLOCK_BYTES as u64, SEALED_BLOCK_BYTES as u64);
        for (wanted, expected) in [
            (0..1, 0..sealed),
            (block - 1..block + 1, 0..2 * sealed),
            (3 * block..4 * block, 3 * sealed..4 * sealed),
            (10 * block - 1..10 * block, 9 * sealed..10 * sealed),
            (10 * block - 1..10 * block + 1, 9 * sealed..10 * sealed + 116),
            (10 * block + 50..10 * block + 100, 10 * sealed..10 * sealed + 116),
            (5..5, 0..0),
        ] {
            assert_eq!(opener.select(wanted.clone()), expected, "{wanted:?}");
        }
    }
}
