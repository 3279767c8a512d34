//! The source of CopyObject and UploadPartCopy: `x-amz-copy-source` and the object that it names.

use super::{Answer, Context, ObjectBody, encryption};
use crate::access::action::Action;
use crate::access::{self, Given, Other};
use crate::conditional::Conditions;
use crate::error::{Code, Result, S3Error};
use crate::names;
use crate::percent;
use crate::versioning;
use engine::platform::Platform;
use engine::{Current, ObjectReader};
use std::ops::Range;

/// The header's value, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    pub bucket: String,
    pub key: String,
    pub version_id: Option<String>,
}

impl CopySource {
    /// Reads `[/]bucket/key[?versionId=ID]`, URL-encoded.
    pub fn parse(text: &str) -> Result<Self> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let malformed = || {
            S3Error::invalid_argument(
                "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
                "x-amz-copy-source",
                text,
            )
        };
        let path = percent::decode_path(path).ok_or_else(malformed)?;
        let path = path.strip_prefix('/').unwrap_or(&path);
        let (bucket, key) = path.split_once('/').ok_or_else(malformed)?;
        if bucket.is_empty() || key.is_empty() || bucket.starts_with("arn:") {
            return Err(malformed());
        }
        let version_id = match query.split_once('=') {
            Some(("versionId", version_id)) => {
                versioning::parse_id(version_id)?;
                Some(version_id.to_owned())
            }
            None if query.is_empty() => None,
            _ => return Err(malformed()),
        };
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned(), version_id })
    }

    /// The source that the request names.
    pub(super) fn of_request<P: Platform>(context: &Context<'_, P>) -> Result<Self> {
        Self::parse(context.header("x-amz-copy-source").unwrap_or_default())
    }

    /// Opens the source, if the conditions on it hold.
    pub(super) async fn open<P: Platform>(
        &self,
        context: &Context<'_, P>,
    ) -> Result<ObjectReader<P>> {
        names::check_key(&self.key)?;
        let bucket = context.find_bucket(&self.bucket)?;
        let header = "x-amz-source-expected-bucket-owner";
        access::authorise::check_expected_owner(context, &bucket, header)?;
        let which = versioning::which(self.version_id.as_deref())?;
        let reader = context.engine.open(bucket.id, self.key.as_bytes(), which).await?;
        let (key, version_id) = (&self.key, self.version_id.as_deref());
        let missing =
            |error| access::authorise::of_missing(context, &self.bucket, key, version_id, error);
        let reader = match (reader, &self.version_id) {
            (Some(reader), Some(_)) if reader.info().current.is_marker => {
                return Err(missing(S3Error::new(
                    Code::InvalidRequest,
                    "The source of a copy request may not specifically refer to a delete marker \
                     by version id.",
                )));
            }
            (Some(reader), _) if !reader.info().current.is_marker => reader,
            (_, Some(id)) => return Err(missing(versioning::no_such_version(&self.key, id))),
            (_, None) => {
                return Err(missing(S3Error::from(Code::NoSuchKey).field("Key", &self.key)));
            }
        };
        let action = match self.version_id {
            None => Action::GetObject,
            Some(_) => Action::GetObjectVersion,
        };
        self.check(context, action, &reader)?;
        Conditions::of_copy_source(|name| context.header(name))
            .judge_source("copy", &reader.info().current)?;
        Ok(reader)
    }

    /// Decides about what is done with the source.
    fn check<P: Platform>(
        &self,
        context: &Context<'_, P>,
        action: Action,
        reader: &ObjectReader<P>,
    ) -> Result<()> {
        let bucket = context.find_bucket(&self.bucket)?;
        let attributes = &reader.info().attributes;
        let given = Given::of(Other { version_id: self.version_id.as_deref(), etag: None });
        let actions = &[action];
        access::authorise::check_given(context, &bucket, &self.key, attributes, &given, actions)
    }

    /// Decides about copying the source's tags.
    pub(super) fn check_tags<P: Platform>(
        &self,
        context: &Context<'_, P>,
        reader: &ObjectReader<P>,
    ) -> Result<()> {
        let action = match self.version_id {
            None => Action::GetObjectTagging,
            Some(_) => Action::GetObjectVersionTagging,
        };
        self.check(context, action, reader)
    }

    /// Names the version that was copied, where the source's bucket has or had versions.
    pub(super) fn write_version<P: Platform>(
        &self,
        context: &Context<'_, P>,
        answer: &mut Answer<P>,
        copied: &Current,
    ) -> Result<()> {
        let bucket = context.find_bucket(&self.bucket)?;
        if let Some(id) = context.versioning(&bucket)?.shown_id(copied) {
            answer.header("x-amz-copy-source-version-id", id);
        }
        Ok(())
    }

    /// The bytes `range` of the source that was opened, decrypted if they have to be.
    pub(super) fn body<P: Platform>(
        &self,
        context: &Context<'_, P>,
        reader: ObjectReader<P>,
        range: Range<u64>,
    ) -> Result<ObjectBody<P>> {
        let bucket = context.find_bucket(&self.bucket)?;
        let key = encryption::source_customer_key(context)?;
        let opening = encryption::of_read(context, bucket.id, &self.key, reader.info(), key, true)?;
        ObjectBody::new(reader, opening.and_then(|opening| opening.data_key), range)
    }

    /// Whether the request copies an object onto itself, and not an earlier version of it.
    pub(super) fn is_target<P: Platform>(&self, context: &Context<'_, P>) -> bool {
        self.version_id.is_none()
            && self.bucket == context.route.bucket
            && self.key == context.route.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, &str)>) {
        let source = CopySource::parse(text).ok();
        let found = source.as_ref().map(|source| (source.bucket.as_str(), source.key.as_str()));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn sources() {
        check("bucket/key", Some(("bucket", "key")));
        check("/bucket/a/b", Some(("bucket", "a/b")));
        check("bucket/a%20b+c%3F", Some(("bucket", "a b+c?")));
        check("bucket%2Fkey", Some(("bucket", "key")));
        check("bucket//key", Some(("bucket", "/key")));
        check("bucket/key?versionId=null", Some(("bucket", "key")));
        for text in [
            "",
            "bucket",
            "bucket/",
            "/key",
            "//key",
            "b/%zz",
            "b/k?versionId=1",
            "b/k?x",
            "b/k?versionId=",
        ] {
            check(text, None);
        }
    }
}
