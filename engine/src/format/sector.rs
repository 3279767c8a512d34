//! Headers that are written over in place: all that they say, and its checksum, lies in the first sector
//! of their block.
//!
//! A device writes a sector whole or not at all: so such a header is the old one, the new one or
//! damaged, and never torn. The rest of the block is zeroes.

use super::Malformed;
use super::codec::set;
use crate::checksum::block_checksum;

const SECTOR_BYTES: usize = 512;
const CHECKSUM_AT: usize = SECTOR_BYTES - 8;

/// Completes a block whose fields are written.
pub(super) fn seal(block: &mut [u8]) {
    let checksum = block_checksum(&block[..CHECKSUM_AT]);
    set(block, CHECKSUM_AT, checksum.to_le_bytes());
}

/// The fields behind the magic of a block that verifies; none if it is blank.
pub(super) fn open<'a>(block: &'a [u8], magic: &[u8; 8]) -> Result<Option<&'a [u8]>, Malformed> {
    let too_short = Malformed("it is too short");
    let (body, rest) = block.split_at_checked(CHECKSUM_AT).ok_or(too_short)?;
    let (checksum, rest) = rest.split_at_checked(8).ok_or(too_short)?;
    if block.iter().all(|&byte| byte == 0) {
        return Ok(None);
    }
    let fields = body.strip_prefix(magic).ok_or(Malformed("its magic is wrong"))?;
    if block_checksum(body).to_le_bytes() != *checksum || rest.iter().any(|&byte| byte != 0) {
        return Err(Malformed("its checksum does not match"));
    }
    Ok(Some(fields))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn all_is_in_the_first_sector() {
        let mut block = vec![0; 4096];
        block[..16].copy_from_slice(b"MAGIC 08 fields ");
        seal(&mut block);
        assert!(open(&block, b"MAGIC 08").unwrap().unwrap().starts_with(b" fields "));
        assert!(block[SECTOR_BYTES..].iter().all(|&byte| byte == 0));
        assert_eq!(open(&[0; 4096], b"MAGIC 08"), Ok(None));
        assert!(open(&block, b"MAGIC 09").is_err());
        assert!(open(&block[..SECTOR_BYTES - 1], b"MAGIC 08").is_err());
        *block.last_mut().unwrap() = 1;
        assert!(open(&block, b"MAGIC 08").is_err());
    }
}
