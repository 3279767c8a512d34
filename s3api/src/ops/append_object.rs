//! PutObject with `x-amz-write-offset-bytes`: bytes that are added to the end of an object.
//!
//! A small object is written anew with the bytes behind those that it has, and its ETag stays the MD5 of
//! all bytes. A larger one grows by them where it is, and nothing of it is read: its ETag becomes the MD5
//! of its former digest and that of the added bytes, with `-N` behind it after N pieces, as an object's
//! that is made of parts. Its checksum is one of all bytes in both cases, a CRC, since those of the pieces
//! give that of the whole. What is kept with the object stays as it was.
//!
//! Invariants: of two appends at the same place one happens and the other is refused; nothing that was
//! changed of the object meanwhile, bytes or attributes, is lost; what is there is told of and added to for
//! those alone who may read it and set what is kept with it, and it is the very object that they were judged by.
//!
//! Not here: encrypted objects and buckets with versions, which cannot be appended to.
//!
//! Source: AWS, "Appending data to objects in directory buckets".

use super::aftermath::{self, Made};
use super::compared::check_conditions;
use super::receive::declared_size;
use super::{Answer, Body, Context, asked_attributes, object_commit, unsupported};
use crate::access::action::Action;
use crate::access::{self, Given, Other};
use crate::attributes::Attributes;
use crate::auth::PayloadReader;
use crate::auth::payload::RawBody;
use crate::checksum_headers::{Checksum, ChecksumPlan, ChecksumType, DEFAULT_ALGORITHM};
use crate::conditional::{Conditions, Quoted};
use crate::error::{Code, Refusal, Result, S3Error};
use crate::limits::{OBJECT_BYTES_MAX, PUT_BYTES_MAX};
use crate::quota;
use crate::settings::tag;
use crate::versioning::Status;
use crate::workers::notify::EventName;
use engine::checksum::{Algorithm, Hasher, Md5};
use engine::limits::INLINE_BYTES_MAX;
use engine::platform::Platform;
use engine::{Bucket, Commit, Etag, ObjectReader, ObjectWriter, Version, Which};
use http::Response;
use std::sync::Arc;

pub(super) const OFFSET: &str = "x-amz-write-offset-bytes";

pub(super) async fn append_object<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    check_bucket(context, &bucket)?;
    unsupported::check_append(context.head)?;
    let offset = parse_offset(context.header(OFFSET).unwrap_or_default())?;
    let plan = ChecksumPlan::parse(|name| context.head.header(name), None)?;
    let added = declared_size(&body, PUT_BYTES_MAX)?;
    let conditions = Conditions::of_write(|name| context.header(name))?;

    let key = context.key().as_bytes();
    let reader = context.engine.open(bucket.id, key, Which::Latest).await?;
    let reader = reader.filter(|reader| !reader.info().current.is_marker);
    let mut base = Base::of(context, &bucket, reader.as_ref(), &plan)?;
    // What they were compared with needs no pin: the commit is one to this base, or none.
    check_conditions(context, &bucket, &conditions).await?;
    if base.size != offset {
        return Err(invalid_offset(offset, base.size));
    }
    let total = base.size.saturating_add(added);
    if total > OBJECT_BYTES_MAX {
        return Err(S3Error::from(Code::EntityTooLarge)
            .field("ProposedSize", total.to_string())
            .field("MaxSizeAllowed", OBJECT_BYTES_MAX.to_string()));
    }

    quota::check(context, &bucket, total).await?;

    let mut digests = Digests::new(base.algorithm);
    let copied = reader.filter(|_| base.grows.is_none());
    // Not while the client sends, which may take long.
    let turn = match &copied {
        Some(reader) => Some(context.engine.copy_turn(reader.info().stored_bytes).await?),
        None => None,
    };
    let (mut writer, expected) = match base.grows {
        Some((version, ..)) => {
            (context.engine.appender(bucket.id, key, version, Some(added)).await?, added)
        }
        None => (context.engine.writer(bucket.id, key, Some(total)).await?, total),
    };
    if let Some(reader) = copied {
        copy(reader, &mut digests, &mut writer).await?;
    }
    drop(turn);
    receive(body.reader, &plan, &mut digests, &mut writer).await?;
    if writer.written() != expected {
        return Err(Code::IncompleteBody.into());
    }
    let (etag, checksum) = base.digests(digests.finish()?, added)?;
    quota::check(context, &bucket, total).await?;
    let commit = base.commit(context, &bucket, etag, checksum, conditions)?;
    let committed = writer.finish(commit).await?;

    let mut answer = Response::new(200).with_header_text("ETag", Quoted(etag));
    for (name, value) in checksum.headers() {
        answer.header(name, value);
    }
    answer.header("x-amz-object-size", total.to_string());
    let made = Made { size: total, etag, version: committed.version };
    let name = EventName::CreatedPut;
    aftermath::made(context, &bucket, name, made, &base.attributes, &mut answer).await?;
    Ok(answer)
}

/// An append replaces the object that is there, which versions would keep, and writes its bytes plain.
fn check_bucket<P: Platform>(context: &Context<'_, P>, bucket: &Arc<Bucket>) -> Result<()> {
    if context.versioning(bucket)? != Status::Off {
        return Err(S3Error::new(
            Code::InvalidBucketState,
            "Objects of a bucket that has or had versioning cannot be appended to.",
        ));
    }
    if bucket.settings.contains_key(&tag::ENCRYPTION) {
        return Err(S3Error::unsupported_header(OFFSET));
    }
    Ok(())
}

fn parse_offset(text: &str) -> Result<u64> {
    let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or_else(|| {
        let message = "The write offset must be a number of bytes.";
        S3Error::invalid_argument(message, OFFSET, text)
    })
}

fn invalid_offset(offset: u64, size: u64) -> S3Error {
    S3Error::from(Code::InvalidWriteOffset)
        .field("WriteOffset", offset.to_string())
        .field("ObjectSize", size.to_string())
}

/// What the bytes are appended to.
struct Base {
    size: u64,
    /// None where there is no object yet.
    version: Option<Version>,
    /// As they were read, to be compared with what they are at the write.
    encoded: Vec<u8>,
    attributes: Attributes,
    algorithm: Algorithm,
    /// Of an object that grows where it is: version, ETag and checksum until now.
    grows: Option<(Version, Etag, Checksum)>,
}

impl Base {
    /// Nothing is said of an object before the caller was found to have the rights.
    fn of<P: Platform>(
        context: &Context<'_, P>,
        bucket: &Arc<Bucket>,
        reader: Option<&ObjectReader<P>>,
        plan: &ChecksumPlan,
    ) -> Result<Self> {
        let asked = asked_attributes(context, bucket)?;
        let Some(reader) = reader else {
            return Ok(Self {
                size: 0,
                version: None,
                encoded: Vec::new(),
                attributes: asked,
                algorithm: if is_crc(plan.algorithm()) {
                    plan.algorithm()
                } else {
                    DEFAULT_ALGORITHM
                },
                grows: None,
            });
        };
        let info = reader.info();
        let attributes = Attributes::decode(&info.attributes)?;
        check_rights(context, bucket, &info.attributes, &attributes)?;
        if !asked.user.is_empty() || !asked.tags.is_empty() {
            let message = "Metadata and tags of an object cannot be changed by appending to it.";
            return Err(S3Error::new(Code::InvalidRequest, message));
        }
        if attributes.encryption.is_some() {
            return Err(S3Error::unsupported_header(OFFSET));
        }
        let is_whole = |checksum: &Checksum| {
            checksum.kind == ChecksumType::FullObject && is_crc(checksum.algorithm)
        };
        let checksum = attributes.checksum.filter(is_whole).ok_or_else(|| {
            S3Error::new(
                Code::InvalidRequest,
                "Only an object with a CRC checksum of the type FULL_OBJECT can be appended to.",
            )
        })?;
        let current = info.current;
        let is_large = current.size > INLINE_BYTES_MAX as u64 || !info.parts.is_empty();
        Ok(Self {
            size: current.size,
            version: Some(current.version),
            encoded: info.attributes.clone(),
            algorithm: checksum.algorithm,
            grows: is_large.then_some((current.version, current.etag, checksum)),
            attributes,
        })
    }

    /// ETag and checksum of the whole, from those of what was written.
    fn digests(&self, (etag, checksum): (Etag, Checksum), added: u64) -> Result<(Etag, Checksum)> {
        let Some((_, former, checksum_before)) = self.grows else { return Ok((etag, checksum)) };
        let mut md5 = Md5::new();
        md5.update(&former.md5);
        md5.update(&etag.md5);
        let parts = former.parts.max(1).saturating_add(1);
        let pieces = [(checksum_before, self.size), (checksum, added)];
        let kind = ChecksumType::FullObject;
        let whole = Checksum::of_parts(self.algorithm, kind, &pieces);
        // That of a CRC always follows from its pieces.
        let whole = whole.ok_or_else(|| S3Error::from(Code::InternalError))?;
        Ok((Etag { md5: md5.finish(), parts }, whole))
    }

    fn commit<P: Platform>(
        &mut self,
        context: &Context<'_, P>,
        bucket: &Arc<Bucket>,
        etag: Etag,
        checksum: Checksum,
        conditions: Conditions,
    ) -> Result<Commit> {
        self.attributes.checksum = Some(checksum);
        // Versions would share the bytes that the new one takes over.
        check_bucket(context, &context.as_now(bucket)?)?;
        let (commit, _) =
            object_commit(context, bucket, etag, &mut self.attributes, Conditions::default())?;
        let (version, encoded) = (self.version, std::mem::take(&mut self.encoded));
        let condition = conditions.into_condition();
        Ok(Commit {
            condition: Some(Box::new(move |current| {
                if current.map(|current| current.version) != version {
                    return Err(Refusal::WriteOffset.into());
                }
                condition.as_ref().map_or(Ok(()), |condition| condition(current))
            })),
            guard: Some(Box::new(move |attributes| {
                if version.is_none() || attributes == encoded {
                    Ok(())
                } else {
                    Err(Refusal::WriteOffset.into())
                }
            })),
            ..commit
        })
    }
}

/// Decides whether the caller may make of the object, known by its attributes, one with other bytes that keeps what
/// it has: its size, ETag and checksum are told, and whoever trusts its tags or reads by its ACL reads the new bytes.
fn check_rights<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    encoded: &[u8],
    attributes: &Attributes,
) -> Result<()> {
    let mut actions = vec![Action::GetObject];
    if attributes.acl.is_some() && access::authorise::ownership_of(context, bucket)?.has_acls() {
        actions.push(Action::PutObjectAcl);
    }
    access::authorise::check_other(context, bucket, context.key(), encoded, &actions)?;
    if attributes.tags.is_empty() {
        return Ok(());
    }
    // As if the request brought them.
    let given = Given { tags: Some(&attributes.tags), ..Given::of(Other::default()) };
    let actions = [Action::PutObject, Action::PutObjectTagging];
    access::authorise::check_given(context, bucket, context.key(), encoded, &given, &actions)
}

fn is_crc(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::Crc32 | Algorithm::Crc32c | Algorithm::Crc64Nvme)
}

/// What is computed of all bytes that are written.
struct Digests {
    algorithm: Algorithm,
    md5: Md5,
    hasher: Hasher,
}

impl Digests {
    fn new(algorithm: Algorithm) -> Self {
        Self { algorithm, md5: Md5::new(), hasher: Hasher::new(algorithm) }
    }

    fn update(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.hasher.update(bytes);
    }

    fn finish(self) -> Result<(Etag, Checksum)> {
        let checksum = Checksum::full_object(self.algorithm, self.hasher.finish().as_ref());
        // A digest of another length than its algorithm's is a bug.
        let checksum = checksum.ok_or_else(|| S3Error::from(Code::InternalError))?;
        Ok((Etag { md5: self.md5.finish(), parts: 0 }, checksum))
    }
}

async fn copy<P: Platform>(
    mut reader: ObjectReader<P>,
    digests: &mut Digests,
    writer: &mut ObjectWriter<P>,
) -> Result<()> {
    while let Some(chunk) = reader.next().await? {
        let mut rest = chunk.as_ref();
        digests.update(rest);
        while !rest.is_empty() {
            let spare = writer.spare();
            let count = spare.len().min(rest.len());
            let (now, later) = rest.split_at(count);
            spare[..count].copy_from_slice(now);
            writer.advance(count).await?;
            rest = later;
        }
    }
    Ok(())
}

/// Reads the bytes that are added. What the client said of them concerns them alone.
async fn receive<P: Platform, B: RawBody>(
    mut reader: PayloadReader<'_, B>,
    plan: &ChecksumPlan,
    digests: &mut Digests,
    writer: &mut ObjectWriter<P>,
) -> Result<()> {
    let mut added = Digests::new(plan.algorithm());
    loop {
        let spare = writer.spare();
        let count = reader.read(spare).await?;
        if count == 0 {
            break;
        }
        digests.hasher.update(&spare[..count]);
        added.hasher.update(&spare[..count]);
        writer.update_md5(&mut digests.md5, 0..count).await;
        if plan.wants_md5() {
            writer.update_md5(&mut added.md5, 0..count).await;
        }
        writer.advance(count).await?;
    }
    let trailers = reader.finish().await?;
    plan.verify(added.hasher.finish().as_ref(), &added.md5.finish(), &trailers)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets() {
        for (text, expected) in [("0", Some(0)), ("123", Some(123)), ("", None), ("-1", None)] {
            assert_eq!(parse_offset(text).ok(), expected, "{text}");
        }
        for text in ["+1", "1.5", "x", "99999999999999999999999"] {
            assert_eq!(parse_offset(text).err().map(|e| e.code), Some(Code::InvalidArgument));
        }
    }
}
