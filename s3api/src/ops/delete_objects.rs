//! DeleteObjects: up to 1,000 keys of a bucket, each with its own outcome.

use super::compared::Compared;
use super::removal::{Removal, Removed};
use super::{Answer, Body, Context, aftermath, bucket_versioning, join, read_document, xml_answer};
use crate::access::action::Action;
use crate::access::{self, Given, Other};
use crate::audit::{self, record::S3Request};
use crate::auth::payload::RawBody;
use crate::conditional::Conditions;
use crate::error::{Code, Result};
use crate::limits::{DELETE_KEYS_MAX, VERSION_ID_BYTES_MAX, XML_LIST_BYTES_MAX};
use crate::names;
use crate::workers::access_log::record::{Asked, Deleted, record_deleted};
use crate::xml::reader::malformed;
use crate::xml::{Element, Writer};
use engine::Bucket;
use engine::platform::Platform;
use std::sync::Arc;

pub(super) async fn delete_objects<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let document = read_document(context, body, XML_LIST_BYTES_MAX).await?;
    let bucket = context.as_now(&bucket)?;
    let root = Element::parse(&document, "Delete")?;
    let is_quiet = root.child_text("Quiet").is_some_and(|text| text.trim() == "true");
    let entries = parse_entries(&root)?;
    let had_mfa_delete = context.has_mfa_delete(&bucket)?;
    let decisions = decide(context, &bucket, &entries).await;
    if decisions.iter().all(Result::is_err) {
        context.admission.give_back_bucket();
    }
    if entries.iter().any(|entry| entry.version_id.is_some()) {
        // Who may remove none of them has no code to try.
        if had_mfa_delete {
            let of_versions = entries.iter().zip(&decisions);
            let mut of_versions = of_versions.filter(|(entry, _)| entry.version_id.is_some());
            of_versions.try_for_each(|(_, decision)| decision.clone())?;
        }
        bucket_versioning::check_mfa_delete(context, &bucket)?;
    }
    let bucket = &bucket;
    let deletions = entries.iter().zip(decisions).map(|(entry, decision)| async move {
        decision?;
        entry.delete(context, bucket, had_mfa_delete).await
    });
    let results = join::all(deletions).await;
    log(context, &entries, &results);

    let document = Writer::document("DeleteResult", |writer| {
        for (entry, result) in entries.iter().zip(&results) {
            match result {
                Ok(_) if is_quiet => {}
                Ok(removed) => {
                    writer.element("Deleted", |writer| entry.write_removed(writer, removed));
                }
                Err(error) => writer.element("Error", |writer| {
                    entry.write(writer);
                    writer.text("Code", error.code.name());
                    writer.text("Message", &error.message);
                }),
            }
        }
    });
    Ok(xml_answer(document))
}

/// After so many decisions others have their turn: each may be a policy's million steps.
const DECISIONS_IN_A_ROW: usize = 16;

/// Decides about each entry.
async fn decide<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    entries: &[Entry<'_>],
) -> Vec<Result<()>> {
    let mut decisions = Vec::with_capacity(entries.len());
    for entry in entries {
        decisions.push(entry.check(context, bucket));
        if decisions.len().is_multiple_of(DECISIONS_IN_A_ROW) {
            context.engine.platform().yield_now().await;
        }
    }
    decisions
}

/// Adds a line for each object to the audit log and to the bucket's access log, where they are.
fn log<P: Platform>(context: &Context<'_, P>, entries: &[Entry<'_>], results: &[Result<Removed>]) {
    let asked = Asked {
        head: context.head,
        route: context.route,
        caller: Some(context.caller),
        source: context.caller.peer.address,
        ids: context.ids,
        root: &context.owner.id,
    };
    let objects = || {
        entries.iter().zip(results).map(|(entry, result)| match result {
            Ok(removed) => {
                let gone = removed.current.filter(|current| !current.is_marker);
                let version_id = removed.version_id.as_deref();
                Deleted {
                    key: entry.key,
                    version_id,
                    error: None,
                    size: gone.map(|gone| gone.size),
                }
            }
            Err(error) => Deleted {
                key: entry.key,
                version_id: entry.version_id,
                error: Some(error.code),
                size: None,
            },
        })
    };
    record_deleted(context.engine, context.services, &asked, objects());
    if let Some(audit) = &context.services.audit {
        let request = S3Request {
            head: context.head,
            route: Some(context.route),
            caller: Some(context.caller),
            is_vouched: context.caller.is_vouched,
            peer: context.caller.peer,
            request_id: &context.ids.request,
        };
        audit::record::record_deleted(audit, &request, objects());
    }
}

/// The objects that a `Delete` names.
pub(super) fn parse_entries(root: &Element) -> Result<Vec<Entry<'_>>> {
    let entries = root.all("Object").map(Entry::parse).collect::<Result<Vec<_>>>()?;
    if entries.is_empty() || entries.len() > DELETE_KEYS_MAX {
        return Err(malformed());
    }
    Ok(entries)
}

/// One object that is to be deleted.
pub(super) struct Entry<'a> {
    key: &'a str,
    version_id: Option<&'a str>,
    etag: Option<&'a str>,
    last_modified: Option<&'a str>,
    size: Option<&'a str>,
}

impl<'a> Entry<'a> {
    /// The answer repeats key and version, so both are bounded before anything is done.
    fn parse(object: &'a Element) -> Result<Self> {
        let key = object.required("Key")?;
        names::check_key(key)?;
        let version_id = object.child_text("VersionId").filter(|text| !text.is_empty());
        if version_id.is_some_and(|text| text.len() > VERSION_ID_BYTES_MAX) {
            return Err(malformed());
        }
        Ok(Self {
            key,
            version_id,
            etag: object.child_text("ETag"),
            last_modified: object.child_text("LastModifiedTime"),
            size: object.child_text("Size"),
        })
    }

    async fn delete<P: Platform>(
        &self,
        context: &Context<'_, P>,
        bucket: &Arc<Bucket>,
        had_mfa_delete: bool,
    ) -> Result<Removed> {
        // The keys before this one took their time, in which the bucket may have got versions or a lock.
        let bucket = &context.as_now(bucket)?;
        if self.version_id.is_some() && !had_mfa_delete && context.has_mfa_delete(bucket)? {
            return Err(Code::AccessDenied.into());
        }
        let conditions = Conditions::of_delete_entry(self.etag, self.last_modified, self.size)?;
        let compared =
            Compared::of(context, bucket, self.key, self.version_id, &conditions).await?;
        let removal = Removal {
            bucket: bucket.id,
            status: context.versioning(bucket)?,
            has_lock: context.has_lock(bucket)?,
            key: self.key,
            version_id: self.version_id,
            bypasses: context.bypasses_governance(bucket, self.key),
            condition: compared.pin(conditions.into_condition()),
            now: context.now(),
        };
        let removed = removal.run(context.engine).await?;
        aftermath::removed(context, bucket, self.key, self.version_id, &removed).await;
        Ok(removed)
    }

    /// Decides about the entry, by what it says and not by what the request's query or headers say.
    fn check<P: Platform>(&self, context: &Context<'_, P>, bucket: &Arc<Bucket>) -> Result<()> {
        let action = match self.version_id {
            None => Action::DeleteObject,
            Some(_) => Action::DeleteObjectVersion,
        };
        let given = Given::of(Other { version_id: self.version_id, etag: self.etag });
        access::authorise::check_given(context, bucket, self.key, &[], &given, &[action])
    }

    fn write(&self, writer: &mut Writer) {
        writer.text("Key", self.key);
        // Only a version that was asked for by name is named.
        writer.optional("VersionId", self.version_id);
    }

    fn write_removed(&self, writer: &mut Writer, removed: &Removed) {
        self.write(writer);
        if removed.is_marker {
            writer.value("DeleteMarker", true);
            writer.optional("DeleteMarkerVersionId", removed.version_id.as_deref());
        }
    }
}
