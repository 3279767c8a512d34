//! The byte that the index keeps with every object: which checksum it has, for listings, which do
//! not read records.
//!
//! ```text
//! bits 0-2  algorithm: 0 none, 1 CRC32, 2 CRC32C, 3 CRC64NVME, 4 SHA1, 5 SHA256
//! bit  3    type: 0 FULL_OBJECT, 1 COMPOSITE
//! bit  4    encrypted: more bytes are stored than the object has
//! bit  5    has a retention or a legal hold, present or past
//! bits 6-7  zero
//! ```

use crate::attributes::{Attributes, algorithm_of, number_of};
use crate::checksum_headers::{ChecksumType, algorithm_name};
use crate::xml::Writer;

const ALGORITHM_MASK: u8 = 0b111;
const COMPOSITE: u8 = 0b1000;
const ENCRYPTED: u8 = 0b1_0000;
const GUARDED: u8 = 0b10_0000;

/// The label of an object with these attributes.
pub(super) fn of(attributes: &Attributes) -> u8 {
    let checksum = attributes.checksum.as_ref().map_or(0, |checksum| {
        let composite = if checksum.kind == ChecksumType::Composite { COMPOSITE } else { 0 };
        number_of(checksum.algorithm) | composite
    });
    let encrypted = if attributes.encryption.is_some() { ENCRYPTED } else { 0 };
    amended(checksum | encrypted, attributes)
}

/// Whether the object's bytes are encrypted.
pub(super) fn is_encrypted(label: u8) -> bool {
    label & ENCRYPTED != 0
}

/// What a label becomes when its object's attributes have become these; its bytes are the same.
pub(super) fn amended(label: u8, attributes: &Attributes) -> u8 {
    if attributes.lock.is_empty() { label & !GUARDED } else { label | GUARDED }
}

/// Writes what a label says, as the elements of a listing's row.
pub(super) fn write(writer: &mut Writer, label: u8) {
    let Some(algorithm) = algorithm_of(label & ALGORITHM_MASK) else { return };
    let kind = match label & COMPOSITE {
        0 => ChecksumType::FullObject,
        _ => ChecksumType::Composite,
    };
    writer.text("ChecksumAlgorithm", algorithm_name(algorithm));
    writer.text("ChecksumType", kind.name());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::checksum_headers::Checksum;
    use crate::encryption::envelope::{Envelope, Scheme};
    use crate::object_lock::Lock;
    use engine::checksum::Algorithm;

    fn of(checksum: Option<Checksum>) -> u8 {
        super::of(&Attributes { checksum, ..Attributes::default() })
    }

    fn check(label: u8, expected: &str) {
        let document = Writer::plain_document("R", |writer| write(writer, label));
        let document = String::from_utf8(document).unwrap();
        assert!(document.ends_with(&format!("<R>{expected}</R>")), "{label}: {document}");
    }

    #[test]
    fn a_label_tells_algorithm_and_type() {
        check(0, "");
        check(7, "");
        let full = Checksum::full_object(Algorithm::Crc64Nvme, &[0; 8]).unwrap();
        check(
            of(Some(full)),
            "<ChecksumAlgorithm>CRC64NVME</ChecksumAlgorithm>\
             <ChecksumType>FULL_OBJECT</ChecksumType>",
        );
        let composite =
            Checksum::new(Algorithm::Sha256, ChecksumType::Composite, 2, &[0; 32]).unwrap();
        check(
            of(Some(composite)),
            "<ChecksumAlgorithm>SHA256</ChecksumAlgorithm><ChecksumType>COMPOSITE</ChecksumType>",
        );
        assert_eq!(of(None), 0);
    }

    #[test]
    fn a_lock_comes_and_goes_and_the_rest_stays() {
        let lock = Lock { legal_hold: Some(false), retention: None };
        let locked = Attributes { lock, ..Attributes::default() };
        assert_eq!(amended(3, &locked), 3 | GUARDED);
        assert_eq!(amended(3 | GUARDED, &Attributes::default()), 3);
    }

    #[test]
    fn a_label_tells_encryption_beside_the_rest() {
        let encryption = Some(Envelope { salt: [0; 16], scheme: Scheme::Part });
        let checksum = Checksum::full_object(Algorithm::Crc32, &[0; 4]);
        let encrypted = super::of(&Attributes { encryption, checksum, ..Attributes::default() });
        assert_eq!(encrypted, 1 | ENCRYPTED);
        assert!(is_encrypted(encrypted) && !is_encrypted(of(checksum)));
        assert!(is_encrypted(amended(encrypted, &Attributes::default())));
        check(
            encrypted,
            "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>",
        );
    }
}
