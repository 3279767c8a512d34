//! CopyObject: the bytes stream from a reader to a writer inside the server.

use super::aftermath::{self, Made};
use super::compared::check_conditions;
use super::copy_source::CopySource;
use super::receive::{Received, copy};
use super::{
    Answer, Context, asked_attributes, body_writer, encryption, object_commit, unsupported,
};
use super::{write_new_version, xml_answer};
use crate::access::action::Action;
use crate::attributes::{Attributes, SystemHeader};
use crate::checksum_headers::{Checksum, DEFAULT_ALGORITHM, element_name, parse_copy_algorithm};
use crate::conditional::{Conditions, Quoted};
use crate::dates;
use crate::error::{Code, Result, S3Error};
use crate::limits::PUT_BYTES_MAX;
use crate::quota;
use crate::tags::TagSet;
use crate::workers::notify::EventName;
use crate::xml::Writer;
use engine::platform::Platform;
use engine::{Etag, Version};

pub(super) async fn copy_object<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    unsupported::check_write(context.head)?;
    let source = CopySource::of_request(context)?;
    let directive = Directive::parse(context, "x-amz-metadata-directive")?;
    let tagging = Directive::parse(context, "x-amz-tagging-directive")?;
    let asked = asked_attributes(context, &bucket)?;
    if directive == Directive::Copy && source.is_target(context) && !changes_target(context) {
        return Err(S3Error::new(
            Code::InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without \
             changing the object's metadata, storage class, website redirect location or \
             encryption attributes.",
        ));
    }
    let algorithm = parse_copy_algorithm(|name| context.head.header(name))?;
    let conditions = Conditions::of_write(|name| context.header(name))?;
    let compared = check_conditions(context, &bucket, &conditions).await?;
    let reader = source.open(context).await?;
    let size = reader.info().current.size;
    if size > PUT_BYTES_MAX {
        return Err(too_large_source());
    }
    quota::check(context, &bucket, size).await?;
    let copied = reader.info().current;
    let of_source = Attributes::decode(&reader.info().attributes)?;
    let algorithm = algorithm
        .or(of_source.checksum.map(|checksum| checksum.algorithm))
        .unwrap_or(DEFAULT_ALGORITHM);
    if tagging == Directive::Copy && !of_source.tags.is_empty() {
        // By the condition keys of request tags these are none: AWS documents those for tags that the
        // request itself brings.
        source.check_tags(context, &reader)?;
        context.check_action(&bucket, Action::PutObjectTagging, context.key())?;
    }
    let tags = tagging.tags(&asked, &of_source);
    let lock = asked.lock;
    let (acl, owner) = (asked.acl.clone(), asked.owner.clone());
    let mut attributes = directive.attributes(asked, of_source);

    let _turn = context.engine.copy_turn(size).await?;
    let body = source.body(context, reader, 0..size)?;
    let sealing = encryption::of_write(context, &bucket).await?;
    let mut writer = body_writer(context, bucket.id, Some(size), sealing.as_ref()).await?;
    let Received { etag, checksum } = copy(body, algorithm, &mut writer).await?;
    attributes.checksum = Some(checksum);
    // A copy has the lock, the owner and the ACL that it was asked to have, never those of its source.
    (attributes.tags, attributes.lock) = (tags, lock);
    let shown = encryption::keep(sealing, &mut attributes);
    (attributes.acl, attributes.owner) = (acl, owner);
    quota::check(context, &bucket, size).await?;
    let (mut commit, bucket) = object_commit(context, &bucket, etag, &mut attributes, conditions)?;
    commit.condition = compared.pin(commit.condition);
    let committed = writer.finish(commit).await?;
    let document = result("CopyObjectResult", committed.version, etag, &checksum);
    let mut answer = xml_answer(document);
    source.write_version(context, &mut answer, &copied)?;
    write_new_version(context, &mut answer, &bucket, committed.version)?;
    encryption::write(shown.as_ref(), &mut answer);
    let made = Made { size, etag, version: committed.version };
    aftermath::made(context, &bucket, EventName::CreatedCopy, made, &attributes, &mut answer)
        .await?;
    Ok(answer)
}

/// The document that answers a copy of an object or of a part.
pub(super) fn result(root: &str, version: Version, etag: Etag, checksum: &Checksum) -> Vec<u8> {
    Writer::document(root, |writer| {
        writer.value("LastModified", dates::xml_time(version));
        writer.display("ETag", Quoted(etag));
        writer.text(element_name(checksum.algorithm), &checksum.text());
        if root == "CopyObjectResult" {
            writer.text("ChecksumType", checksum.kind.name());
        }
    })
}

pub(super) fn too_large_source() -> S3Error {
    S3Error::new(
        Code::InvalidRequest,
        format!(
            "The specified copy source is larger than the maximum allowable size for a copy \
             source: {PUT_BYTES_MAX}"
        ),
    )
}

/// Whether the request asks for a change that makes sense of a copy onto itself.
fn changes_target<P: Platform>(context: &Context<'_, P>) -> bool {
    ["x-amz-storage-class", "x-amz-website-redirect-location"]
        .iter()
        .any(|name| context.head.header(name).is_some())
        || encryption::is_mentioned(context.head)
}

/// `x-amz-metadata-directive` and `x-amz-tagging-directive`: whose the copy gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directive {
    Copy,
    Replace,
}

impl Directive {
    fn parse<P: Platform>(context: &Context<'_, P>, header: &str) -> Result<Self> {
        match context.header(header) {
            None | Some("COPY") => Ok(Self::Copy),
            Some("REPLACE") => Ok(Self::Replace),
            Some(other) => {
                let what = if header.contains("tagging") { "tagging" } else { "metadata" };
                let message = format!("Unknown {what} directive.");
                Err(S3Error::invalid_argument(message, header, other))
            }
        }
    }

    fn tags(self, asked: &Attributes, source: &Attributes) -> TagSet {
        match self {
            Self::Copy => source.tags.clone(),
            Self::Replace => asked.tags.clone(),
        }
    }

    fn attributes(self, asked: Attributes, source: Attributes) -> Attributes {
        if self == Self::Replace {
            return asked;
        }
        // These belong to the copy and not to what was copied.
        let mut attributes = Attributes { renamed: None, ..source };
        for header in [SystemHeader::WebsiteRedirectLocation, SystemHeader::StorageClass] {
            attributes.system.retain(|(found, _)| *found != header);
            if let Some(value) = asked.system(header) {
                attributes.set_system(header, value.to_vec());
            }
        }
        attributes
    }
}
