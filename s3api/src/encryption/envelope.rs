//! What is kept with an encrypted object, upload or part (tag 39 of its attributes): how its data key
//! is found again.
//!
//! ```text
//! version: u8 = 1
//! scheme: u8          1 SSE-S3, 2 SSE-KMS, 3 SSE-C, 4 a part: the data key is its upload's
//! salt: [u8; 16]      of the stream; of an object made of parts not used
//!
//! 1   id_bytes: u8, id of the master key, wrapped data key: [u8; 80]
//! 2   id_bytes: u8, id of the KMS key, its version: u32 LE, flags: u8 (1: bucket key),
//!     context_bytes: u16 LE, encryption context as JSON, wrapped data key: [u8; 80]
//! 3   wrapped data key: [u8; 80]
//! ```
//!
//! Invariants: what was put in comes out; corrupt bytes give an error. A wrapped data key is bound to
//! the bucket and the object's key, and that of SSE-KMS to its encryption context too. A customer's
//! key is not stored: that it opens the wrapped data key is what tells it from another one.
//!
//! Not here: the keys that wrap (`master`, `kms`, `headers`).

use super::blocks::SALT_BYTES;
use super::secret::{CryptoFailed, WRAPPED_BYTES, Wrapped};
use engine::BucketId;

const VERSION: u8 = 1;
const FLAG_BUCKET_KEY: u8 = 1;

/// Where the data key of an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    S3 { master_id: String, wrapped: Box<Wrapped> },
    Kms(Kms),
    Customer { wrapped: Box<Wrapped> },
    Part,
}

/// The data key of an object under SSE-KMS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kms {
    pub key_id: String,
    /// Of the KMS key.
    pub key_version: u32,
    pub bucket_key: bool,
    /// As JSON with sorted keys; empty: none was given.
    pub context: Vec<u8>,
    pub wrapped: Box<Wrapped>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    pub salt: [u8; SALT_BYTES],
    pub scheme: Scheme,
}

impl Envelope {
    /// With a new salt.
    pub fn new(scheme: Scheme) -> Result<Self, CryptoFailed> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|_| CryptoFailed)?;
        Ok(Self { salt, scheme })
    }

    /// Ids longer than 255 bytes and contexts longer than 64 KiB cannot be; they were bounded when they
    /// were read.
    pub fn encode(&self) -> Vec<u8> {
        let number = match self.scheme {
            Scheme::S3 { .. } => 1,
            Scheme::Kms(_) => 2,
            Scheme::Customer { .. } => 3,
            Scheme::Part => 4,
        };
        let mut bytes = vec![VERSION, number];
        bytes.extend_from_slice(&self.salt);
        match &self.scheme {
            Scheme::S3 { master_id, wrapped } => {
                put_id(&mut bytes, master_id);
                bytes.extend_from_slice(wrapped.as_slice());
            }
            Scheme::Kms(kms) => {
                put_id(&mut bytes, &kms.key_id);
                bytes.extend_from_slice(&kms.key_version.to_le_bytes());
                bytes.push(if kms.bucket_key { FLAG_BUCKET_KEY } else { 0 });
                let count = u16::try_from(kms.context.len()).unwrap_or(u16::MAX);
                bytes.extend_from_slice(&count.to_le_bytes());
                bytes.extend(kms.context.iter().take(usize::from(count)));
                bytes.extend_from_slice(kms.wrapped.as_slice());
            }
            Scheme::Customer { wrapped } => bytes.extend_from_slice(wrapped.as_slice()),
            Scheme::Part => {}
        }
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, engine::Error> {
        parse(bytes).ok_or_else(|| engine::Error::Corrupt("how an object is encrypted".into()))
    }
}

/// What the data key of an object is bound to: nothing that it is wrapped with opens it elsewhere.
pub fn binding(bucket: BucketId, key: &[u8]) -> Vec<u8> {
    let mut bytes = b"object".to_vec();
    bytes.extend_from_slice(&bucket.0.to_be_bytes());
    bytes.extend_from_slice(&(key.len() as u64).to_be_bytes());
    bytes.extend_from_slice(key);
    bytes
}

fn put_id(bytes: &mut Vec<u8>, id: &str) {
    let count = u8::try_from(id.len()).unwrap_or(u8::MAX);
    bytes.push(count);
    bytes.extend(id.bytes().take(usize::from(count)));
}

fn parse(bytes: &[u8]) -> Option<Envelope> {
    let ([version, number], rest) = bytes.split_first_chunk()?;
    if *version != VERSION {
        return None;
    }
    let (salt, rest) = rest.split_first_chunk()?;
    let scheme = match number {
        1 => {
            let (master_id, rest) = take_id(rest)?;
            Scheme::S3 { master_id, wrapped: take_wrapped(rest)? }
        }
        2 => Scheme::Kms(parse_kms(rest)?),
        3 => Scheme::Customer { wrapped: take_wrapped(rest)? },
        4 if rest.is_empty() => Scheme::Part,
        _ => return None,
    };
    Some(Envelope { salt: *salt, scheme })
}

fn parse_kms(bytes: &[u8]) -> Option<Kms> {
    let (key_id, rest) = take_id(bytes)?;
    let (version, rest) = rest.split_first_chunk()?;
    let (flags, rest) = rest.split_first()?;
    let (count, rest) = rest.split_first_chunk()?;
    let (context, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*count)))?;
    Some(Kms {
        key_id,
        key_version: u32::from_le_bytes(*version),
        bucket_key: flags & FLAG_BUCKET_KEY != 0,
        context: context.to_vec(),
        wrapped: take_wrapped(rest)?,
    })
}

fn take_id(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (count, rest) = bytes.split_first()?;
    let (id, rest) = rest.split_at_checked(usize::from(*count))?;
    Some((std::str::from_utf8(id).ok()?.to_owned(), rest))
}

/// The rest of the bytes, which is a wrapped key.
fn take_wrapped(bytes: &[u8]) -> Option<Box<Wrapped>> {
    let wrapped: &[u8; WRAPPED_BYTES] = bytes.try_into().ok()?;
    Some(Box::new(*wrapped))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn envelopes() -> [Envelope; 4] {
        let wrapped = || Box::new([7; WRAPPED_BYTES]);
        let kms = Kms {
            key_id: "key".to_owned(),
            key_version: 0x0102_0304,
            bucket_key: true,
            context: b"{}".to_vec(),
            wrapped: wrapped(),
        };
        [
            Scheme::S3 { master_id: "m".to_owned(), wrapped: wrapped() },
            Scheme::Kms(kms),
            Scheme::Customer { wrapped: wrapped() },
            Scheme::Part,
        ]
        .map(|scheme| Envelope { salt: [9; 16], scheme })
    }

    /// These bytes are on disks: a change here needs a new version.
    #[test]
    fn the_encoding_is_as_drawn() {
        let (salt, wrapped) = ("09".repeat(16), "07".repeat(80));
        let expected = [
            format!("0101{salt}016d{wrapped}"),
            format!("0102{salt}036b65790403020101{}7b7d{wrapped}", "0200"),
            format!("0103{salt}{wrapped}"),
            format!("0104{salt}"),
        ];
        for (envelope, expected) in envelopes().iter().zip(expected) {
            assert_eq!(hex::encode(envelope.encode()), expected);
            assert_eq!(Envelope::decode(&envelope.encode()).unwrap(), *envelope);
        }
    }

    #[test]
    fn what_is_cut_or_longer_or_of_another_version_is_corrupt() {
        for envelope in envelopes() {
            let bytes = envelope.encode();
            for count in 0..bytes.len() {
                assert!(Envelope::decode(&bytes[..count]).is_err(), "{count} of {envelope:?}");
            }
            assert!(Envelope::decode(&[bytes.as_slice(), b"x"].concat()).is_err());
            assert!(Envelope::decode(&[&[2], &bytes[1..]].concat()).is_err());
        }
    }

    #[test]
    fn a_binding_tells_buckets_and_keys_apart() {
        let all = [(1, "a"), (1, "ab"), (2, "a"), (1, "")]
            .map(|(bucket, key)| binding(BucketId(bucket), key.as_bytes()));
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one));
        }
    }
}
