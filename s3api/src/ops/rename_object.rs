//! RenameObject: an object gets another key of its bucket, in one step.
//!
//! What is kept with the object stays as it was: bytes, ETag, checksum, metadata, tags, ACL, owner,
//! encryption. Its `Last-Modified` is the time of the rename. The bytes are copied inside of the server, so
//! a rename takes as long as a copy; it is the change of keys that is one step ([`Engine::rename`]).
//!
//! Invariant: nobody gives a key by a rename what they could not give it by a write: tags need the right to
//! PutObjectTagging there, an ACL that to PutObjectAcl.
//!
//! A request that comes again with the same `x-amz-client-token` finds the token with the object and is
//! answered as the first one was. SDKs send one of their own making, and repeat what they got no answer to.
//!
//! Not here: buckets with versions, which AWS's directory buckets do not have either.
//!
//! Source: AWS, RenameObject, "Renaming objects in directory buckets".

use super::aftermath::{self, Made};
use super::compared::check_conditions;
use super::{Answer, Context, encryption, object_commit, unsupported};
use crate::access::action::Action;
use crate::access::{self, Given, Other};
use crate::attributes::Attributes;
use crate::conditional::Conditions;
use crate::error::{Code, Result, S3Error};
use crate::names;
use crate::percent;
use crate::versioning::Status;
use crate::workers::notify::{Event, EventName};
use engine::platform::Platform;
use engine::{Bucket, Commit, ConditionFailure, ObjectReader, Which};
use http::Response;
use std::sync::Arc;

const SOURCE: &str = "x-amz-rename-source";
const TOKEN: &str = "x-amz-client-token";
const TOKEN_BYTES_MAX: usize = 64;

pub(super) async fn rename_object<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket_of_object()?;
    unsupported::check_rename(context.head)?;
    let from = parse_source(context)?;
    let token = parse_token(context)?;
    check_bucket(context, &bucket)?;
    let asked = Asked { context, bucket: &bucket, from: &from, token };
    if let Some(answer) = asked.earlier_answer().await? {
        return Ok(answer);
    }
    let conditions = Conditions::of_rename(|name| context.header(name));
    let compared = check_conditions(context, &bucket, &conditions).await?;
    let Some(reader) = open(context, &bucket, &from).await? else {
        // It may just have got the other key, by the request that this one repeats.
        let missing = || context.of_missing(S3Error::from(Code::NoSuchKey).field("Key", &from));
        return asked.earlier_answer().await?.ok_or_else(missing);
    };
    let info = reader.info().clone();
    let mut attributes = Attributes::decode(&info.attributes)?;
    check_target(context, &bucket, &attributes)?;
    attributes.renamed = token.map(|token| (token.to_owned(), from.clone()));
    let keys = (from.as_str(), context.key());
    attributes.encryption =
        encryption::rebind(context, bucket.id, keys, attributes.encryption.as_ref())?;
    let _turn = context.engine.copy_turn(info.stored_bytes).await?;
    let copy = context.engine.copy_object(reader, bucket.id, context.key().as_bytes()).await?;
    let current = info.current;
    let (commit, bucket) =
        object_commit(context, &bucket, current.etag, &mut attributes, conditions)?;
    check_bucket(context, &bucket)?;
    let condition = compared.pin(commit.condition);
    let commit = Commit { shown_size: Some(current.size), condition, ..commit };
    let as_read = info.attributes;
    let guard = Box::new(move |attributes: &[u8]| match attributes == as_read {
        true => Ok(()),
        false => Err(ConditionFailure::Superseded),
    });
    match context.engine.rename(from.as_bytes(), guard, copy, commit).await {
        Ok(renamed) => {
            let made = Made { size: current.size, etag: current.etag, version: renamed.version };
            asked.answer(made, &attributes).await
        }
        Err(error @ engine::Error::Condition(_)) => {
            asked.earlier_answer().await?.ok_or_else(|| error.into())
        }
        Err(error) => Err(error.into()),
    }
}

/// What a request asks for.
struct Asked<'a, P: Platform> {
    context: &'a Context<'a, P>,
    bucket: &'a Arc<Bucket>,
    from: &'a str,
    token: Option<&'a str>,
}

impl<P: Platform> Asked<'_, P> {
    /// The answer, if an earlier request with this token has done what this one asks for. Its events are
    /// sent again: the earlier request may have been cut off before it had sent them.
    async fn earlier_answer(&self) -> Result<Option<Answer<P>>> {
        let Self { context, bucket, from, token } = self;
        let (Some(token), key) = (*token, context.key().as_bytes()) else { return Ok(None) };
        let Some(object) = context.engine.head(bucket.id, key, Which::Latest).await? else {
            return Ok(None);
        };
        let attributes = Attributes::decode(&object.info().attributes)?;
        match &attributes.renamed {
            Some((known, former)) if known == token && former == from => {}
            Some((known, _)) if known == token => {
                return Err(Code::IdempotencyParameterMismatch.into());
            }
            _ => return Ok(None),
        }
        if context.engine.is_renaming(bucket.id, key) {
            return Err(S3Error::new(
                Code::ServiceUnavailable,
                "The rename has begun, and it is not known yet whether it has ended.",
            ));
        }
        let current = object.info().current;
        let made = Made { size: current.size, etag: current.etag, version: current.version };
        self.answer(made, &attributes).await.map(Some)
    }

    async fn answer(&self, made: Made, attributes: &Attributes) -> Result<Answer<P>> {
        let Self { context, bucket, from, .. } = self;
        let mut answer = Response::new(200);
        let name = EventName::CreatedCopy;
        aftermath::made(context, bucket, name, made, attributes, &mut answer).await?;
        context.event(bucket, Event::new(EventName::RemovedDelete, from)).await;
        Ok(answer)
    }
}

/// Reads `[/]key`, URL-encoded.
fn parse_source<P: Platform>(context: &Context<'_, P>) -> Result<String> {
    let Some(text) = context.header(SOURCE) else {
        let message = "RenameObject needs the header x-amz-rename-source.";
        return Err(
            S3Error::new(Code::MissingSecurityHeader, message).field("MissingHeaderName", SOURCE)
        );
    };
    let key = percent::decode_path(text.strip_prefix('/').unwrap_or(text));
    let key = key.filter(|key| !key.is_empty()).ok_or_else(|| {
        let message = "The rename source must be the URL-encoded key of an object.";
        S3Error::invalid_argument(message, SOURCE, text)
    })?;
    names::check_key(&key)?;
    if key == context.route.key {
        let message = "An object cannot be renamed to the key that it has.";
        return Err(S3Error::new(Code::InvalidRequest, message));
    }
    Ok(key)
}

fn parse_token<'a, P: Platform>(context: &Context<'a, P>) -> Result<Option<&'a str>> {
    let token = context.header(TOKEN);
    let is_token = |token: &str| {
        (1..=TOKEN_BYTES_MAX).contains(&token.len())
            && token.bytes().all(|byte| byte.is_ascii_graphic())
    };
    match token {
        Some(token) if !is_token(token) => {
            let message = "A client token is 1 to 64 visible ASCII characters.";
            Err(S3Error::invalid_argument(message, TOKEN, token))
        }
        token => Ok(token),
    }
}

/// A rename takes the former key away, which versions would keep.
fn check_bucket<P: Platform>(context: &Context<'_, P>, bucket: &Arc<Bucket>) -> Result<()> {
    if context.versioning(bucket)? == Status::Off {
        return Ok(());
    }
    Err(S3Error::new(
        Code::InvalidBucketState,
        "Objects of a bucket that has or had versioning cannot be renamed.",
    ))
}

/// Opens the object that is to be renamed, if the caller may read and remove it and its conditions hold; none if
/// there is none. Who may remove it is decided as for a deletion: its owner may not for being that.
async fn open<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    from: &str,
) -> Result<Option<ObjectReader<P>>> {
    let etag = context.header("x-amz-rename-source-if-match");
    let given = Given::of(Other { version_id: None, etag });
    access::authorise::check_given(context, bucket, from, &[], &given, &[Action::DeleteObject])?;
    let reader = context.engine.open(bucket.id, from.as_bytes(), Which::Latest).await?;
    let reader = reader.filter(|reader| !reader.info().current.is_marker);
    let attributes = reader.as_ref().map_or(&[][..], |reader| &reader.info().attributes);
    access::authorise::check_other(context, bucket, from, attributes, &[Action::GetObject])?;
    if let Some(reader) = &reader {
        Conditions::of_rename_source(|name| context.header(name))
            .judge_source("rename", &reader.info().current)?;
    }
    Ok(reader)
}

/// Decides whether the caller may give the new key what is kept with the object. Tags count as if the request
/// brought them: a policy that speaks of these is about what the key is to have.
fn check_target<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    kept: &Attributes,
) -> Result<()> {
    if !kept.tags.is_empty() {
        let given = Given { tags: Some(&kept.tags), ..Given::default() };
        let actions = [Action::PutObject, Action::PutObjectTagging];
        access::authorise::check_given(context, bucket, context.key(), &[], &given, &actions)?;
    }
    if kept.acl.is_some() && access::authorise::ownership_of(context, bucket)?.has_acls() {
        context.check_action(bucket, Action::PutObjectAcl, context.key())?;
    }
    Ok(())
}
