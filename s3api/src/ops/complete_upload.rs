//! CompleteMultipartUpload.
//!
//! Invariants: every part that the client names is the one that is stored, by number, entity tag and
//! version; the engine judges the version again at the moment of the write, so that a part that is
//! replaced meanwhile cannot slip in.

use super::aftermath::{self, Made};
use super::compared::check_conditions;
use super::{Answer, Body, Context, encryption, object_commit, upload_error, upload_id};
use super::{write_new_version, xml_answer};
use crate::attributes::Attributes;
use crate::auth::payload::RawBody;
use crate::checksum_headers::{
    ALGORITHMS, Checksum, ChecksumType, element_name, is_part_checksum, verify_completed,
};
use crate::conditional::{Conditions, Quoted, Unquoted};
use crate::error::{Code, Result, S3Error};
use crate::limits::{
    LIST_ROWS_MAX, OBJECT_BYTES_MAX, PART_BYTES_MIN, PART_NUMBER_MAX, XML_LIST_BYTES_MAX,
};
use crate::quota;
use crate::workers::notify::EventName;
use crate::xml::reader::malformed;
use crate::xml::{Element, Writer};
use engine::checksum::{Algorithm, Md5};
use engine::platform::Platform;
use engine::{Bucket, BucketId, CompletePart, Etag, UploadId, UploadedPart, Which};
use std::collections::HashMap;
use std::sync::Arc;

pub(super) async fn complete_multipart_upload<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    let id = upload_id::of_request(context)?;
    let key = context.key().as_bytes();
    let info = match context.engine.upload(bucket.id, key, id).await {
        Err(engine::Error::NoSuchUpload) => return repeated(context, &bucket, body).await,
        info => info?,
    };
    let mut attributes = Attributes::decode(&info.attributes)?;
    encryption::check_completion(context, bucket.id, attributes.encryption.as_ref())?;
    let conditions = Conditions::of_write(|name| context.header(name))?;
    let compared = check_conditions(context, &bucket, &conditions).await?;

    let (document, _) = body.reader.collect(XML_LIST_BYTES_MAX).await?;
    let named = parse_parts(&document)?;
    let stored = stored_parts(context, bucket.id, id).await?;
    let parts = match_parts(named, &stored)?;
    check_sizes(context, &parts)?;
    let size = parts.iter().map(|part| part.current.size).sum();
    quota::check(context, &bucket, size).await?;

    let checksum = object_checksum(&parts, attributes.upload_checksum.take())?;
    verify_completed(|name| context.head.header(name), checksum.as_ref())?;
    attributes.checksum = checksum;
    let etag = object_etag(parts.iter().map(|part| part.current.etag.md5.as_slice()));
    let (mut commit, bucket) = object_commit(context, &bucket, etag, &mut attributes, conditions)?;
    commit.condition = compared.pin(commit.condition);
    if attributes.encryption.is_some() {
        commit.shown_size = Some(size);
    }
    let pinned = parts
        .iter()
        .map(|part| CompletePart { number: part.number, version: part.current.version });
    let completed = context.engine.complete_upload(bucket.id, key, id, pinned.collect(), commit);
    let committed = completed.await.map_err(|error| upload_error(context, error))?;
    let mut answer = result(context, etag, checksum.as_ref());
    write_new_version(context, &mut answer, &bucket, committed.version)?;
    encryption::write_completed(attributes.encryption.as_ref(), &mut answer);
    let made = Made { size, etag, version: committed.version };
    let name = EventName::CreatedCompleteMultipartUpload;
    aftermath::made(context, &bucket, name, made, &attributes, &mut answer).await?;
    Ok(answer)
}

/// A client that lost the answer asks again, when the upload is gone: it is answered as before while
/// the object is still the one that these very parts make.
async fn repeated<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let (document, _) = body.reader.collect(XML_LIST_BYTES_MAX).await?;
    let named = parse_parts(&document).map_err(|_| context.no_such_upload())?;
    let etag = named_etag(&named).ok_or_else(|| context.no_such_upload())?;
    let reader = context.engine.head(bucket.id, context.key().as_bytes(), Which::Latest).await?;
    let reader = reader.filter(|reader| reader.info().current.etag == etag);
    let reader = reader.ok_or_else(|| context.no_such_upload())?;
    let info = reader.info();
    let attributes = Attributes::decode(&info.attributes)?;
    let mut answer = result(context, etag, attributes.checksum.as_ref());
    context.write_version(&mut answer, bucket, &info.current)?;
    encryption::write_completed(attributes.encryption.as_ref(), &mut answer);
    Ok(answer)
}

/// The entity tag of an object made of these parts; none if one of them has no tag of a part.
fn named_etag(named: &[NamedPart]) -> Option<Etag> {
    let mut digests = Vec::with_capacity(named.len());
    for part in named {
        digests.push(hex::decode(&part.etag).ok().filter(|digest| digest.len() == 16)?);
    }
    Some(object_etag(digests.iter().map(Vec::as_slice)))
}

fn result<P: Platform>(
    context: &Context<'_, P>,
    etag: Etag,
    checksum: Option<&Checksum>,
) -> Answer<P> {
    let host = context.head.host().unwrap_or_default();
    let path = context.head.target().split('?').next().unwrap_or_default();
    let document = Writer::document("CompleteMultipartUploadResult", |writer| {
        writer.text("Location", &format!("http://{host}{path}"));
        writer.text("Bucket", &context.route.bucket);
        writer.text("Key", context.key());
        writer.display("ETag", Quoted(etag));
        if let Some(checksum) = checksum {
            writer.text(element_name(checksum.algorithm), &checksum.text());
            writer.text("ChecksumType", checksum.kind.name());
        }
    });
    xml_answer(document).with_header_text("ETag", Quoted(etag))
}

/// A part as the client names it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NamedPart {
    number: u16,
    /// Without quotes.
    etag: String,
    checksum: Option<(Algorithm, String)>,
}

pub(super) fn parse_parts(document: &[u8]) -> Result<Vec<NamedPart>> {
    let root = Element::parse(document, "CompleteMultipartUpload")?;
    let parts = root.all("Part").map(parse_part).collect::<Result<Vec<_>>>()?;
    if parts.is_empty() || parts.len() > usize::from(PART_NUMBER_MAX) {
        return Err(malformed());
    }
    if parts.windows(2).any(|pair| pair[0].number >= pair[1].number) {
        return Err(Code::InvalidPartOrder.into());
    }
    Ok(parts)
}

fn parse_part(part: &Element) -> Result<NamedPart> {
    let number = part.required("PartNumber")?.trim().parse().map_err(|_| malformed())?;
    let etag = part.required("ETag")?.trim().trim_matches('"').to_owned();
    let checksum = ALGORITHMS.into_iter().find_map(|algorithm| {
        let text = part.child_text(element_name(algorithm))?;
        Some((algorithm, text.to_owned()))
    });
    Ok(NamedPart { number, etag, checksum })
}

/// All parts of the upload by number.
async fn stored_parts<P: Platform>(
    context: &Context<'_, P>,
    bucket: BucketId,
    id: UploadId,
) -> Result<HashMap<u16, StoredPart>> {
    let key = context.key().as_bytes();
    let mut stored = HashMap::new();
    let mut after = 0;
    // Numbers rise and are bounded, so the pages are too.
    loop {
        let page = context.engine.list_parts(bucket, key, id, after, LIST_ROWS_MAX).await;
        let page = page.map_err(|error| upload_error(context, error))?;
        let last = page.parts.last().map(|part| part.number).filter(|last| *last > after);
        for part in page.parts {
            stored.insert(part.number, StoredPart::decode(part)?);
        }
        match last {
            Some(last) if page.truncated => after = last,
            _ => return Ok(stored),
        }
    }
}

/// A part as it is stored.
#[derive(Debug, Clone, Copy)]
struct StoredPart {
    number: u16,
    current: engine::Current,
    checksum: Option<Checksum>,
}

impl StoredPart {
    fn decode(part: UploadedPart) -> Result<Self> {
        let checksum = Attributes::decode(&part.attributes)?.checksum;
        Ok(Self { number: part.number, current: part.current, checksum })
    }
}

/// The stored parts that the client names, in order.
fn match_parts(
    named: Vec<NamedPart>,
    stored: &HashMap<u16, StoredPart>,
) -> Result<Vec<StoredPart>> {
    let matches = |named: &NamedPart, part: &StoredPart| {
        let checksum = match (&named.checksum, &part.checksum) {
            (Some((algorithm, text)), Some(kept)) => is_part_checksum(kept, *algorithm, text),
            (Some(_), None) => false,
            (None, _) => true,
        };
        checksum && named.etag == Unquoted(part.current.etag).to_string()
    };
    let find = |named: NamedPart| {
        stored.get(&named.number).filter(|part| matches(&named, part)).copied().ok_or_else(|| {
            S3Error::from(Code::InvalidPart)
                .field("PartNumber", named.number.to_string())
                .field("ETag", named.etag)
        })
    };
    named.into_iter().map(find).collect()
}

fn check_sizes<P: Platform>(context: &Context<'_, P>, parts: &[StoredPart]) -> Result<()> {
    let (_, all_but_last) = parts.split_last().ok_or_else(malformed)?;
    if let Some(small) = all_but_last.iter().find(|part| part.current.size < PART_BYTES_MIN) {
        return Err(S3Error::from(Code::EntityTooSmall)
            .field("ProposedSize", small.current.size.to_string())
            .field("MinSizeAllowed", PART_BYTES_MIN.to_string())
            .field("PartNumber", small.number.to_string())
            .field("ETag", Unquoted(small.current.etag).to_string()));
    }
    let size: u64 = parts.iter().map(|part| part.current.size).sum();
    if size > OBJECT_BYTES_MAX {
        return Err(S3Error::from(Code::EntityTooLarge)
            .field("ProposedSize", size.to_string())
            .field("MaxSizeAllowed", OBJECT_BYTES_MAX.to_string()));
    }
    match context.header("x-amz-mp-object-size").map(str::parse::<u64>) {
        Some(Ok(expected)) if size == expected => Ok(()),
        None => Ok(()),
        Some(_) => Err(S3Error::new(
            Code::InvalidRequest,
            "The provided x-amz-mp-object-size does not match the size of the completed object.",
        )),
    }
}

/// The object's checksum from those of its parts. An upload that declared none gets what its parts
/// allow: that of the whole for a CRC, one over the parts for a hash, none for a mixture.
fn object_checksum(
    parts: &[StoredPart],
    declared: Option<(Algorithm, ChecksumType)>,
) -> Result<Option<Checksum>> {
    let checksums: Option<Vec<_>> =
        parts.iter().map(|part| Some((part.checksum?, part.current.size))).collect();
    let first = parts.first().and_then(|part| part.checksum);
    let (Some(checksums), Some(first)) = (checksums, first) else { return Ok(None) };
    if let Some((algorithm, kind)) = declared {
        let checksum = Checksum::of_parts(algorithm, kind, &checksums);
        // Parts were stored with the upload's algorithm, so this is a bug.
        return checksum.ok_or_else(|| Code::InternalError.into()).map(Some);
    }
    let kind = match first.algorithm {
        Algorithm::Crc32 | Algorithm::Crc32c | Algorithm::Crc64Nvme => ChecksumType::FullObject,
        Algorithm::Sha1 | Algorithm::Sha256 => ChecksumType::Composite,
    };
    Ok(Checksum::of_parts(first.algorithm, kind, &checksums))
}

/// The MD5 of the parts' MD5s, and their number.
fn object_etag<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Etag {
    let mut md5 = Md5::new();
    let mut count = 0;
    for part in parts {
        md5.update(part);
        count += 1;
    }
    Etag { md5: md5.finish(), parts: count }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Current, Version};

    fn check(document: &str, expected: Result<&[u16], Code>) {
        let parts = parse_parts(document.as_bytes())
            .map(|parts| parts.iter().map(|part| part.number).collect::<Vec<_>>())
            .map_err(|error| error.code);
        assert_eq!(parts, expected.map(<[u16]>::to_vec), "{document}");
    }

    fn document(numbers: &[&str]) -> String {
        let part = |number: &&str| {
            format!("<Part><ETag>&quot;x&quot;</ETag><PartNumber>{number}</PartNumber></Part>")
        };
        let parts: String = numbers.iter().map(part).collect();
        format!("<CompleteMultipartUpload xmlns=\"urn:x\">{parts}</CompleteMultipartUpload>")
    }

    #[test]
    fn parts_come_in_rising_order() {
        check(&document(&["1", "2", "10000"]), Ok(&[1, 2, 10_000]));
        check(&document(&["3"]), Ok(&[3]));
        check(&document(&["2", "1"]), Err(Code::InvalidPartOrder));
        check(&document(&["1", "1"]), Err(Code::InvalidPartOrder));
        check(&document(&[]), Err(Code::MalformedXML));
        check(&document(&["one"]), Err(Code::MalformedXML));
        check(&document(&["70000"]), Err(Code::MalformedXML));
        check(
            "<CompleteMultipartUpload><Part/></CompleteMultipartUpload>",
            Err(Code::MalformedXML),
        );
        check("", Err(Code::MalformedXML));
    }

    fn stored(number: u16, checksum: Option<Checksum>) -> StoredPart {
        let etag = Etag { md5: [number as u8; 16], parts: 0 };
        let current = Current {
            size: 3,
            etag,
            version: Version(1),
            label: 0,
            is_null: true,
            is_marker: false,
        };
        StoredPart { number, current, checksum }
    }

    #[test]
    fn a_part_must_be_the_one_that_is_stored() {
        let kept = Checksum::full_object(Algorithm::Crc32, &[0, 0, 0, 1]);
        let parts = HashMap::from([(1, stored(1, kept))]);
        let named = |number, etag: &str, checksum: Option<&str>| {
            let checksum = checksum.map(|text| (Algorithm::Crc32, text.to_owned()));
            match_parts(vec![NamedPart { number, etag: etag.to_owned(), checksum }], &parts).is_ok()
        };
        let etag = "01010101010101010101010101010101";
        assert!(named(1, etag, None));
        assert!(named(1, etag, Some("AAAAAQ==")));
        assert!(!named(1, etag, Some("AAAAAA==")));
        assert!(!named(1, "other", None));
        assert!(!named(2, etag, None));
    }

    #[test]
    fn an_upload_that_declared_no_checksum_gets_what_its_parts_allow() {
        let crc = Checksum::full_object(Algorithm::Crc32, &[0; 4]);
        let sha = Checksum::full_object(Algorithm::Sha1, &[0; 20]);
        let kind = |parts: &[StoredPart]| {
            object_checksum(parts, None).map(|found| found.map(|checksum| checksum.kind))
        };
        let full = Ok(Some(ChecksumType::FullObject));
        assert_eq!(kind(&[stored(1, crc), stored(2, crc)]), full);
        assert_eq!(kind(&[stored(1, sha), stored(2, sha)]), Ok(Some(ChecksumType::Composite)));
        assert_eq!(kind(&[stored(1, crc), stored(2, sha)]), Ok(None));
        assert_eq!(kind(&[stored(1, crc), stored(2, None)]), Ok(None));
    }
}
