//! What S3 knows of an object beside its bytes, as the engine keeps it for us: opaque attributes.
//!
//! Objects, parts and uploads all use this form; a part has no more than its checksum, an upload
//! what its object is to have.
//!
//! ```text
//! version: u8 = 1
//! (tag: u8, value_bytes: u16 LE, value)*
//!
//! tag 1..=8   a system header, by its tag: the value as it was sent
//! tag 32      user metadata: name_bytes: u16 LE, name, value
//! tag 33      checksum: algorithm: u8, type: u8, parts: u16 LE, digest
//! tag 34      checksum that an upload declared: algorithm: u8, type: u8
//! tag 35      tags: as `tags` encodes them
//! tag 36      the ACL: JSON, as `access::acl` encodes it; without it, all is the owner's
//! tag 37      retention: mode: u8, until: i64 LE, seconds since the Unix epoch
//! tag 38      legal hold: 0 off, 1 on
//! tag 39      encryption: an envelope (`encryption::envelope`)
//! tag 40      the owner's canonical id, where that is not the bucket's owner
//! tag 41      the rename that gave the object its key: token_bytes: u16 LE, client token, former key
//! ```
//!
//! Invariants: what was put in comes out, header values byte for byte; corrupt bytes give an
//! error; a field whose tag is not known is kept and written again. No bytes are the attributes
//! of an object that has none.
//!
//! Not here: which of them an answer shows, or an override replaces (`ops`).

use crate::access::acl::Acl;
use crate::auth::payload::stored_content_encoding;
use crate::checksum_headers::{Checksum, ChecksumType};
use crate::encryption::envelope::Envelope;
use crate::error::{Code, S3Error};
use crate::limits::{ATTRIBUTES_BYTES_MAX, SYSTEM_HEADER_BYTES_MAX, USER_METADATA_BYTES_MAX};
use crate::object_lock::{Lock, Mode, Retention};
use crate::tags::TagSet;
use engine::checksum::Algorithm;

const VERSION: u8 = 1;

const TAG_USER_METADATA: u8 = 32;
const TAG_CHECKSUM: u8 = 33;
const TAG_UPLOAD_CHECKSUM: u8 = 34;
const TAG_TAGS: u8 = 35;
const TAG_ACL: u8 = 36;
const TAG_RETENTION: u8 = 37;
const TAG_LEGAL_HOLD: u8 = 38;
const TAG_ENCRYPTION: u8 = 39;
const TAG_OWNER: u8 = 40;
const TAG_RENAMED: u8 = 41;

const USER_METADATA_PREFIX: &str = "x-amz-meta-";

/// A header that is kept with the object and given back with it. The number is its tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SystemHeader {
    ContentType = 1,
    CacheControl = 2,
    ContentDisposition = 3,
    ContentEncoding = 4,
    ContentLanguage = 5,
    Expires = 6,
    WebsiteRedirectLocation = 7,
    StorageClass = 8,
}

impl SystemHeader {
    pub const ALL: [Self; 8] = [
        Self::ContentType,
        Self::CacheControl,
        Self::ContentDisposition,
        Self::ContentEncoding,
        Self::ContentLanguage,
        Self::Expires,
        Self::WebsiteRedirectLocation,
        Self::StorageClass,
    ];

    /// As answers write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ContentType => "Content-Type",
            Self::CacheControl => "Cache-Control",
            Self::ContentDisposition => "Content-Disposition",
            Self::ContentEncoding => "Content-Encoding",
            Self::ContentLanguage => "Content-Language",
            Self::Expires => "Expires",
            Self::WebsiteRedirectLocation => "x-amz-website-redirect-location",
            Self::StorageClass => "x-amz-storage-class",
        }
    }

    fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|header| *header as u8 == tag)
    }
}

/// One field, still where it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field<'a> {
    System(SystemHeader, &'a [u8]),
    /// The name without `x-amz-meta-`, in lower case.
    User {
        name: &'a str,
        value: &'a [u8],
    },
    Checksum(Checksum),
    UploadChecksum(Algorithm, ChecksumType),
    /// An encoded [`Envelope`].
    Encryption(&'a [u8]),
    /// As `TagSet` encodes them.
    Tags(&'a [u8]),
    Retention(Retention),
    LegalHold(bool),
    /// As `access::acl` encodes it.
    Acl(&'a [u8]),
    /// A canonical id.
    Owner(&'a str),
    /// The rename that gave the object its key.
    Renamed {
        token: &'a str,
        from: &'a str,
    },
    /// Written by a later release.
    Other {
        tag: u8,
        value: &'a [u8],
    },
}

/// The fields of encoded attributes, without copying them: a GET turns each into a header.
pub fn fields(encoded: &[u8]) -> Fields<'_> {
    match encoded.split_first() {
        None => Fields { rest: &[], is_corrupt: false },
        Some((&VERSION, rest)) => Fields { rest, is_corrupt: false },
        Some(_) => Fields { rest: &[], is_corrupt: true },
    }
}

/// Ends behind the first error.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
    /// An error is still to be given.
    is_corrupt: bool,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, engine::Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() && !self.is_corrupt {
            return None;
        }
        match split_field(self.rest).and_then(|(tag, value, rest)| {
            self.rest = rest;
            parse_field(tag, value)
        }) {
            Some(field) => Some(Ok(field)),
            _ => {
                *self = Self { rest: &[], is_corrupt: false };
                Some(Err(engine::Error::Corrupt("an object's attributes".into())))
            }
        }
    }
}

fn split_field(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (value, rest) = split_sized(rest)?;
    Some((tag, value, rest))
}

/// Splits `count: u16 LE, bytes` off.
fn split_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (count, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(usize::from(u16::from_le_bytes(*count)))
}

fn parse_field(tag: u8, value: &[u8]) -> Option<Field<'_>> {
    if let Some(header) = SystemHeader::from_tag(tag) {
        return Some(Field::System(header, value));
    }
    match tag {
        TAG_USER_METADATA => {
            let (name, value) = split_sized(value)?;
            Some(Field::User { name: std::str::from_utf8(name).ok()?, value })
        }
        TAG_CHECKSUM => {
            let [algorithm, kind, parts_low, parts_high, digest @ ..] = value else { return None };
            let parts = u16::from_le_bytes([*parts_low, *parts_high]);
            Checksum::new(algorithm_of(*algorithm)?, kind_of(*kind)?, parts, digest)
                .map(Field::Checksum)
        }
        TAG_UPLOAD_CHECKSUM => match value {
            [algorithm, kind] => {
                Some(Field::UploadChecksum(algorithm_of(*algorithm)?, kind_of(*kind)?))
            }
            _ => None,
        },
        TAG_ENCRYPTION => Some(Field::Encryption(value)),
        TAG_TAGS => Some(Field::Tags(value)),
        TAG_RETENTION => {
            let (mode, until) = value.split_first()?;
            let until = i64::from_le_bytes(until.try_into().ok()?);
            Some(Field::Retention(Retention { mode: Mode::from_number(*mode)?, until }))
        }
        TAG_LEGAL_HOLD => match value {
            [on @ (0 | 1)] => Some(Field::LegalHold(*on == 1)),
            _ => None,
        },
        TAG_ACL => Some(Field::Acl(value)),
        TAG_OWNER => Some(Field::Owner(std::str::from_utf8(value).ok()?)),
        TAG_RENAMED => {
            let (token, from) = split_sized(value)?;
            let token = std::str::from_utf8(token).ok()?;
            Some(Field::Renamed { token, from: std::str::from_utf8(from).ok()? })
        }
        tag => Some(Field::Other { tag, value }),
    }
}

/// An algorithm's number on disk, 1 to 5.
pub(crate) fn number_of(algorithm: Algorithm) -> u8 {
    match algorithm {
        Algorithm::Crc32 => 1,
        Algorithm::Crc32c => 2,
        Algorithm::Crc64Nvme => 3,
        Algorithm::Sha1 => 4,
        Algorithm::Sha256 => 5,
    }
}

pub(crate) fn algorithm_of(number: u8) -> Option<Algorithm> {
    crate::checksum_headers::ALGORITHMS
        .into_iter()
        .find(|algorithm| number_of(*algorithm) == number)
}

fn number_of_kind(kind: ChecksumType) -> u8 {
    match kind {
        ChecksumType::FullObject => 1,
        ChecksumType::Composite => 2,
    }
}

fn kind_of(number: u8) -> Option<ChecksumType> {
    [ChecksumType::FullObject, ChecksumType::Composite]
        .into_iter()
        .find(|kind| number_of_kind(*kind) == number)
}

/// The attributes of one object, part or upload, to be looked at and changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Each header at most once.
    pub system: Vec<(SystemHeader, Vec<u8>)>,
    /// Names without `x-amz-meta-`, in lower case, each at most once, in the order of arrival.
    pub user: Vec<(String, Vec<u8>)>,
    pub checksum: Option<Checksum>,
    /// Of an upload: what it was created with.
    pub upload_checksum: Option<(Algorithm, ChecksumType)>,
    /// How the bytes are encrypted, if they are. It belongs to them: a copy has its own or none.
    pub encryption: Option<Envelope>,
    pub tags: TagSet,
    pub lock: Lock,
    /// None where the owner alone has all.
    pub acl: Option<Acl>,
    /// A canonical id, where it is not that of the bucket's owner.
    pub owner: Option<String>,
    /// Client token and former key of the rename that gave the object its key. It belongs to the object:
    /// a copy has none.
    pub renamed: Option<(String, String)>,
    /// Fields of a later release: tag and value.
    pub others: Vec<(u8, Vec<u8>)>,
}

impl Attributes {
    /// System headers and user metadata from a request. `aws-chunked` is left out of the content
    /// encoding; a header that came more than once is joined by commas.
    ///
    /// `MetadataTooLarge` beyond 2 KiB of user metadata, `InvalidRequest` for a system header
    /// beyond its bound, `InvalidRedirectLocation` for a redirect that leads nowhere.
    pub fn from_headers<'a>(
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, S3Error> {
        let mut attributes = Self::default();
        for (name, value) in headers {
            let system = SystemHeader::ALL
                .into_iter()
                .find(|header| header.name().eq_ignore_ascii_case(name));
            if let Some(header) = system {
                add(&mut attributes.system, header, value);
            } else if let Some(name) = strip_prefix(name, USER_METADATA_PREFIX) {
                add(&mut attributes.user, name.to_ascii_lowercase(), value);
                attributes.check_user_size()?;
            }
        }
        attributes.drop_chunked_encoding();
        if attributes.system.iter().any(|(_, value)| value.len() > SYSTEM_HEADER_BYTES_MAX) {
            return Err(S3Error::new(Code::InvalidRequest, "A header is too long to be kept."));
        }
        if let Some(location) = attributes.system(SystemHeader::WebsiteRedirectLocation) {
            let is_place = [&b"/"[..], b"http://", b"https://"].iter().any(|start| {
                location.get(..start.len()).is_some_and(|s| s.eq_ignore_ascii_case(start))
            });
            if !is_place || location.iter().any(u8::is_ascii_control) {
                return Err(Code::InvalidRedirectLocation.into());
            }
        }
        Ok(attributes)
    }

    pub fn system(&self, header: SystemHeader) -> Option<&[u8]> {
        self.system.iter().find(|(found, _)| *found == header).map(|(_, value)| value.as_slice())
    }

    /// Sets a system header, in place of what it was.
    pub fn set_system(&mut self, header: SystemHeader, value: Vec<u8>) {
        self.system.retain(|(found, _)| *found != header);
        self.system.push((header, value));
    }

    pub fn decode(encoded: &[u8]) -> Result<Self, engine::Error> {
        let mut attributes = Self::default();
        for field in fields(encoded) {
            match field? {
                Field::System(header, value) => attributes.system.push((header, value.to_vec())),
                Field::User { name, value } => {
                    attributes.user.push((name.to_owned(), value.to_vec()));
                }
                Field::Checksum(checksum) => attributes.checksum = Some(checksum),
                Field::UploadChecksum(algorithm, kind) => {
                    attributes.upload_checksum = Some((algorithm, kind));
                }
                Field::Encryption(value) => attributes.encryption = Some(Envelope::decode(value)?),
                Field::Tags(encoded) => attributes.tags = TagSet::decode(encoded)?,
                Field::Retention(retention) => attributes.lock.retention = Some(retention),
                Field::LegalHold(on) => attributes.lock.legal_hold = Some(on),
                Field::Acl(encoded) => {
                    let acl = serde_json::from_slice(encoded)
                        .map_err(|_| engine::Error::Corrupt("an object's ACL".into()))?;
                    attributes.acl = Some(acl);
                }
                Field::Owner(id) => attributes.owner = Some(id.to_owned()),
                Field::Renamed { token, from } => {
                    attributes.renamed = Some((token.to_owned(), from.to_owned()));
                }
                Field::Other { tag, value } => attributes.others.push((tag, value.to_vec())),
            }
        }
        Ok(attributes)
    }

    /// `MetadataTooLarge` if a value or the whole is beyond its bound.
    pub fn encode(&self) -> Result<Vec<u8>, S3Error> {
        let mut bytes = vec![VERSION];
        for (header, value) in &self.system {
            put_field(&mut bytes, *header as u8, &[value])?;
        }
        for (name, value) in &self.user {
            let count = length_bytes(name.len())?;
            put_field(&mut bytes, TAG_USER_METADATA, &[&count, name.as_bytes(), value])?;
        }
        if let Some(checksum) = &self.checksum {
            let [low, high] = checksum.parts.to_le_bytes();
            let (algorithm, kind) = (number_of(checksum.algorithm), number_of_kind(checksum.kind));
            let head = [algorithm, kind, low, high];
            put_field(&mut bytes, TAG_CHECKSUM, &[&head, checksum.digest()])?;
        }
        if let Some((algorithm, kind)) = self.upload_checksum {
            let value = [number_of(algorithm), number_of_kind(kind)];
            put_field(&mut bytes, TAG_UPLOAD_CHECKSUM, &[&value])?;
        }
        if let Some(encryption) = &self.encryption {
            put_field(&mut bytes, TAG_ENCRYPTION, &[&encryption.encode()])?;
        }
        if !self.tags.is_empty() {
            put_field(&mut bytes, TAG_TAGS, &[&self.tags.encode()])?;
        }
        if let Some(Retention { mode, until }) = self.lock.retention {
            put_field(&mut bytes, TAG_RETENTION, &[&[mode as u8], &until.to_le_bytes()])?;
        }
        if let Some(on) = self.lock.legal_hold {
            put_field(&mut bytes, TAG_LEGAL_HOLD, &[&[u8::from(on)]])?;
        }
        if let Some(acl) = &self.acl {
            put_field(&mut bytes, TAG_ACL, &[&acl.encode()?])?;
        }
        if let Some(owner) = &self.owner {
            put_field(&mut bytes, TAG_OWNER, &[owner.as_bytes()])?;
        }
        if let Some((token, from)) = &self.renamed {
            let count = length_bytes(token.len())?;
            put_field(&mut bytes, TAG_RENAMED, &[&count, token.as_bytes(), from.as_bytes()])?;
        }
        for (tag, value) in &self.others {
            put_field(&mut bytes, *tag, &[value])?;
        }
        if bytes.len() > ATTRIBUTES_BYTES_MAX {
            return Err(Code::MetadataTooLarge.into());
        }
        Ok(bytes)
    }

    fn check_user_size(&self) -> Result<(), S3Error> {
        let size: usize = self.user.iter().map(|(name, value)| name.len() + value.len()).sum();
        if size <= USER_METADATA_BYTES_MAX {
            return Ok(());
        }
        Err(S3Error::from(Code::MetadataTooLarge)
            .field("Size", size.to_string())
            .field("MaxSizeAllowed", USER_METADATA_BYTES_MAX.to_string()))
    }

    /// The framing of a request's body is no property of the object.
    fn drop_chunked_encoding(&mut self) {
        let encoding = SystemHeader::ContentEncoding;
        let Some(Ok(value)) = self.system(encoding).map(std::str::from_utf8) else { return };
        match stored_content_encoding(value) {
            Some(kept) => self.set_system(encoding, kept.into_bytes()),
            None => self.system.retain(|(found, _)| *found != encoding),
        }
    }
}

fn add<K: PartialEq>(list: &mut Vec<(K, Vec<u8>)>, name: K, value: &[u8]) {
    match list.iter_mut().find(|(found, _)| *found == name) {
        Some((_, joined)) => {
            joined.push(b',');
            joined.extend_from_slice(value);
        }
        None => list.push((name, value.to_vec())),
    }
}

/// `name` without `prefix`, which is compared without case; none if nothing would be left.
fn strip_prefix<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = name.split_at_checked(prefix.len())?;
    (start.eq_ignore_ascii_case(prefix) && !rest.is_empty()).then_some(rest)
}

fn put_field(bytes: &mut Vec<u8>, tag: u8, pieces: &[&[u8]]) -> Result<(), S3Error> {
    let count = pieces.iter().map(|piece| piece.len()).sum();
    bytes.push(tag);
    bytes.extend_from_slice(&length_bytes(count)?);
    pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
    Ok(())
}

fn length_bytes(count: usize) -> Result<[u8; 2], S3Error> {
    let count = u16::try_from(count).map_err(|_| S3Error::from(Code::MetadataTooLarge))?;
    Ok(count.to_le_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    fn from_headers(headers: &[(&str, &[u8])]) -> Result<Attributes, S3Error> {
        Attributes::from_headers(headers.iter().copied())
    }

    #[test]
    fn what_a_request_says_comes_back() {
        let headers: &[(&str, &[u8])] = &[
            ("Host", b"h"),
            ("Content-Type", b"text/plain"),
            ("content-encoding", b"aws-chunked,gzip"),
            ("Content-Disposition", b"attachment; filename=\"\xfc\""),
            ("X-Amz-Meta-Color", b"red"),
            ("x-amz-meta-color", b"blue"),
            ("x-amz-meta-", b"nameless"),
        ];
        let mut attributes = from_headers(headers).unwrap();
        assert_eq!(attributes.system(SystemHeader::ContentEncoding), Some(b"gzip".as_slice()));
        assert_eq!(attributes.user, [("color".to_owned(), b"red,blue".to_vec())]);
        attributes.checksum = Checksum::full_object(Algorithm::Crc32, &[1, 2, 3, 4]);
        attributes.upload_checksum = Some((Algorithm::Sha256, ChecksumType::Composite));
        attributes.encryption =
            Some(Envelope { salt: [5; 16], scheme: crate::encryption::envelope::Scheme::Part });
        attributes.tags = TagSet::parse_header("a=b&c=").unwrap();
        attributes.lock.retention = Some(Retention { mode: Mode::Compliance, until: -7 });
        attributes.lock.legal_hold = Some(false);
        attributes.others.push((200, b"later".to_vec()));
        let encoded = attributes.encode().unwrap();
        assert_eq!(Attributes::decode(&encoded).unwrap(), attributes);
    }

    /// These bytes are on disks: a change here needs a new version.
    #[test]
    fn the_encoding_is_as_drawn() {
        let mut attributes = from_headers(&[("expires", b"0"), ("x-amz-meta-a", b"b")]).unwrap();
        attributes.checksum = Checksum::full_object(Algorithm::Crc32, &[1, 2, 3, 4]);
        let expected =
            b"\x01\x06\x01\x000\x20\x04\x00\x01\x00ab\x21\x08\x00\x01\x01\x00\x00\x01\x02\x03\x04";
        assert_eq!(attributes.encode().unwrap(), expected);
        assert_eq!(Attributes::decode(&[]).unwrap(), Attributes::default());
    }

    #[test]
    fn only_aws_chunked_leaves_no_content_encoding() {
        let attributes = from_headers(&[("content-encoding", b"aws-chunked")]).unwrap();
        assert_eq!(attributes.system(SystemHeader::ContentEncoding), None);
    }

    #[test]
    fn user_metadata_is_bounded_by_names_and_values_together() {
        let value = vec![b'v'; USER_METADATA_BYTES_MAX - 1];
        from_headers(&[("x-amz-meta-a", &value)]).unwrap();
        let error = from_headers(&[("x-amz-meta-ab", &value)]).unwrap_err();
        assert_eq!(error.code, Code::MetadataTooLarge);
        let long = vec![b'v'; SYSTEM_HEADER_BYTES_MAX + 1];
        assert_eq!(from_headers(&[("expires", &long)]).unwrap_err().code, Code::InvalidRequest);
        let others = vec![(200, vec![0; usize::from(u16::MAX) + 1])];
        let error = Attributes { others, ..Attributes::default() }.encode().unwrap_err();
        assert_eq!(error.code, Code::MetadataTooLarge);
    }

    #[test]
    fn corrupt_bytes_are_an_error() {
        for bytes in [
            b"\x02".as_slice(),
            b"\x00\x01\x00\x00",
            b"\x01\x01",
            b"\x01\x01\x05\x00abc",
            b"\x01\x20\x01\x00a",
            b"\x01\x20\x03\x00\x01\x00\xff",
            b"\x01\x21\x05\x00\x01\x01\x00\x00\x00",
            b"\x01\x22\x02\x00\x09\x01",
        ] {
            assert!(Attributes::decode(bytes).is_err(), "{bytes:?}");
            assert!(fields(bytes).count() <= 2);
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(mut bytes in prop::collection::vec(0u8..50, 0..200)) {
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            if let Ok(attributes) = Attributes::decode(&bytes) {
                let again = attributes.encode().unwrap();
                prop_assert_eq!(Attributes::decode(&again).unwrap(), attributes);
            }
        }
    }
}
