//! Whether an object at the target is the one of the source: by what both sides say, or by reading.
//!
//! Invariant: «equal» has a reason: the same ETag where ETags are digests, the same checksum, or the same
//! bytes. For a file of a tree it is the size and the time that the target keeps as metadata, unless bytes
//! are read.

use std::io::Read;

use crate::checksum::{Digests, OfParts};
use crate::client::Client;
use crate::error::Failure;
use crate::limits::CHUNK_BYTES;
use crate::meta::{Head, differences};
use crate::parts::{Knowledge, Layout, layout};
use crate::source::{Object, Source, attempt_of, remote};

/// What both sides' words say of the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    Equal,
    Different(String),
    /// The ETags are of different making, and there is no common checksum.
    Unknown,
}

pub fn evidence(source: &Head, target: &Head) -> Evidence {
    if source.size != target.size {
        return Evidence::Different(format!(
            "its size is {}, and was {}",
            target.size, source.size
        ));
    }
    let plain = source.has_plain_etag() && target.has_plain_etag();
    if plain && source.etag.eq_ignore_ascii_case(&target.etag) {
        return Evidence::Equal;
    }
    if plain && source.md5().is_some() && target.md5().is_some() {
        return Evidence::Different(format!(
            "its ETag is {}, and was {}",
            target.etag, source.etag
        ));
    }
    if let (Some(theirs), Some(ours)) = (&source.checksum, &target.checksum)
        && theirs.algorithm == ours.algorithm
        && !theirs.is_composite
        && !ours.is_composite
    {
        let name = theirs.algorithm.name();
        return match theirs.value == ours.value {
            true => Evidence::Equal,
            false => Evidence::Different(format!(
                "its {name} is {}, and was {}",
                ours.value, theirs.value
            )),
        };
    }
    Evidence::Unknown
}

/// An object at the target beside its source.
#[derive(Debug)]
pub struct Looked {
    pub target: Head,
    pub evidence: Evidence,
    /// Of metadata and tags.
    pub differences: Vec<String>,
}

/// # Errors
/// The target did not answer.
pub fn look(
    client: &Client,
    bucket: &str,
    object: &Object,
    version: Option<&str>,
    with_tags: bool,
) -> Result<Looked, Failure> {
    let place = (bucket, object.key.as_str());
    let target = client.head_object(place, version)?;
    let mut differences = differences(&object.head.headers, &target.headers);
    let may_have_tags = !object.tags.is_empty() || target.tag_count.is_some_and(|count| count > 0);
    if with_tags && may_have_tags {
        let tags = client.object_tags(place, version)?;
        if tags != object.tags {
            differences.push(format!("its tags are {tags:?}, and were {:?}", object.tags));
        }
    }
    Ok(Looked { evidence: evidence(&object.head, &target), target, differences })
}

/// Reads the target's bytes, and the source's if it has no digest of them; tells how they differ.
///
/// # Errors
/// One of them cannot be read.
pub fn read_both(
    source: &Source,
    object: &Object,
    client: &Client,
    (bucket, target): (&str, &Head),
) -> Result<Option<String>, Failure> {
    let layout = layout(source.client(), object, false)?;
    let mut found = read_target(client, (bucket, object, target), &layout)?;
    let mut expected = match &layout {
        Layout::Parts { knowledge: Knowledge::None, .. } => None,
        _ => object.head.has_plain_etag().then(|| object.head.etag.clone()),
    };
    let is_found = expected.as_ref().is_some_and(|expected| expected.eq_ignore_ascii_case(&found));
    if !is_found && object.head.md5().is_none() {
        // Boundaries may have been guessed wrong: the bytes decide.
        expected = Some(etag(&mut *source.read(object, 0, object.head.size), &layout)?);
        found = read_target(client, (bucket, object, target), &layout)?;
    }
    let is_equal = expected.is_some_and(|expected| expected.eq_ignore_ascii_case(&found));
    Ok((!is_equal).then(|| format!("its bytes are others (they make the ETag {found})")))
}

/// The ETag that the target's bytes make.
pub fn read_target(
    client: &Client,
    (bucket, object, target): (&str, &Object, &Head),
    layout: &Layout,
) -> Result<String, Failure> {
    let there = Object {
        bucket: bucket.to_owned(),
        version: target.version.clone().filter(|_| object.version.is_some()),
        head: target.clone(),
        ..object.clone()
    };
    etag(&mut *remote(client, &there, 0, target.size), layout)
}

fn etag(reader: &mut dyn Read, layout: &Layout) -> Result<String, Failure> {
    match layout {
        Layout::Whole => Ok(digests(reader)?.md5_hex()),
        Layout::Parts { sizes, .. } => {
            let mut of_parts = OfParts::default();
            for size in sizes {
                of_parts.add(&digests(&mut reader.take(*size))?);
            }
            Ok(of_parts.etag())
        }
    }
}

fn digests(reader: &mut dyn Read) -> Result<Digests, Failure> {
    let (mut digests, mut buffer) = (Digests::new(None), vec![0; CHUNK_BYTES]);
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(digests),
            Ok(count) => digests.update(&buffer[..count]),
            Err(error) => return Err(attempt_of(&error).failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::{Algorithm, Checksum};
    use std::collections::BTreeMap;

    const A: &str = "0cc175b9c0f1b6a831c399e269772661";
    const B: &str = "92eb5ffee6ae2fec3ad71c777531578f";

    fn head(size: u64, etag: &str, crc: Option<&str>, is_opaque: bool) -> Head {
        let checksum = crc.map(|value| Checksum {
            algorithm: Algorithm::Crc32,
            value: value.into(),
            is_composite: false,
        });
        Head {
            size,
            etag: etag.into(),
            version: None,
            headers: BTreeMap::new(),
            tag_count: None,
            checksum,
            is_opaque,
            part_count: None,
        }
    }

    #[test]
    fn equal_needs_a_reason() {
        let equal = |a: &Head, b: &Head| match evidence(a, b) {
            Evidence::Equal => Some(true),
            Evidence::Different(_) => Some(false),
            Evidence::Unknown => None,
        };
        let plain = head(1, A, None, false);
        assert_eq!(equal(&plain, &plain), Some(true));
        assert_eq!(equal(&plain, &head(1, &A.to_uppercase(), None, false)), Some(true));
        assert_eq!(equal(&plain, &head(1, B, None, false)), Some(false));
        assert_eq!(equal(&plain, &head(2, A, None, false)), Some(false));
        // Encrypted, and in parts: the ETags are of different making.
        assert_eq!(equal(&plain, &head(1, B, None, true)), None);
        assert_eq!(equal(&plain, &head(1, A, None, true)), None);
        assert_eq!(equal(&plain, &head(1, &format!("{A}-1"), None, false)), None);
        let with = |crc, etag| head(1, etag, Some(crc), true);
        assert_eq!(equal(&with("x", A), &with("x", B)), Some(true));
        assert_eq!(equal(&with("x", A), &with("y", A)), Some(false));
        assert_eq!(equal(&with("x", A), &plain), None);
        assert_eq!(equal(&head(1, "", None, false), &plain), None);
    }
}
