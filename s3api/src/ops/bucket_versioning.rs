//! GetBucketVersioning and PutBucketVersioning, and the code that MFA delete asks for.
//!
//! Not here: what versions are (`versioning`, the engine).

use super::{Answer, Body, Context, read_document, xml_answer};
use crate::auth::payload::RawBody;
use crate::error::{Code, Result, S3Error};
use crate::limits::XML_BODY_BYTES_MAX;
use crate::object_lock::ObjectLockSetting;
use crate::settings::BucketSetting;
use crate::versioning::VersioningSetting;
use crate::xml::reader::malformed;
use crate::xml::{Element, Writer};
use engine::Bucket;
use engine::platform::Platform;
use http::Response;
use std::sync::Arc;

pub(super) fn get_bucket_versioning<P: Platform>(context: &Context<'_, P>) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let setting = context.setting::<VersioningSetting>(&bucket)?;
    let document = Writer::document("VersioningConfiguration", |writer| {
        if let Some(setting) = setting {
            writer.text("Status", if setting.enabled { "Enabled" } else { "Suspended" });
            let mfa_delete = |on| if on { "Enabled" } else { "Disabled" };
            writer.optional("MfaDelete", setting.mfa_delete.map(mfa_delete));
        }
    });
    Ok(xml_answer(document))
}

pub(super) async fn put_bucket_versioning<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let document = read_document(context, body, XML_BODY_BYTES_MAX).await?;
    let bucket = context.as_now(&bucket)?;
    let asked = parse(&document)?;
    let present = context.setting::<VersioningSetting>(&bucket)?;
    let had_mfa = present.as_ref().is_some_and(|setting| setting.has_mfa_delete());
    let mfa_delete = asked.mfa_delete.or(present.and_then(|setting| setting.mfa_delete));
    let setting = VersioningSetting { enabled: asked.enabled, mfa_delete };
    if !asked.enabled && context.setting::<ObjectLockSetting>(&bucket)?.is_some() {
        return Err(S3Error::new(
            Code::InvalidBucketState,
            "An Object Lock configuration is present on this bucket, so the versioning state \
             cannot be changed.",
        ));
    }
    if had_mfa || setting.has_mfa_delete() {
        check_mfa(context)?;
    }
    // Of two changes at once, one would not have asked for the other's code, or not seen its lock.
    let judged = [VersioningSetting::TAG, ObjectLockSetting::TAG];
    context.put_judged_setting(&bucket, &setting, &judged).await?;
    Ok(Response::new(200))
}

/// What a VersioningConfiguration says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    enabled: bool,
    mfa_delete: Option<bool>,
}

pub(super) fn parse(document: &[u8]) -> Result<Asked> {
    let root = Element::parse(document, "VersioningConfiguration")?;
    let (mut status, mut mfa_delete) = (None, None);
    for child in root.children() {
        match (child.name(), child.text().trim()) {
            ("Status", "Enabled") => status = Some(true),
            ("Status", "Suspended") => status = Some(false),
            ("MfaDelete" | "MFADelete", "Enabled") => mfa_delete = Some(true),
            ("MfaDelete" | "MFADelete", "Disabled") => mfa_delete = Some(false),
            _ => return Err(malformed()),
        }
    }
    let enabled = status.ok_or(Code::IllegalVersioningConfigurationException)?;
    Ok(Asked { enabled, mfa_delete })
}

/// The request must carry a code of the root's device.
fn check_mfa<P: Platform>(context: &Context<'_, P>) -> Result<()> {
    let Some(device) = &context.services.mfa else {
        return Err(S3Error::new(
            Code::InvalidRequest,
            "MFA delete needs a device of the root user, and none is configured on this server.",
        ));
    };
    let header = context.header("x-amz-mfa").ok_or_else(|| {
        S3Error::new(Code::AccessDenied, "Mfa Authentication must be used for this request")
    })?;
    device.check(header, context.now())
}

/// What the removal of a version asks for where MFA delete is on.
pub(super) fn check_mfa_delete<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
) -> Result<()> {
    if context.has_mfa_delete(bucket)? { check_mfa(context) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &str, expected: Result<(bool, Option<bool>), Code>) {
        let document = format!("<VersioningConfiguration>{content}</VersioningConfiguration>");
        let found = parse(document.as_bytes()).map(|asked| (asked.enabled, asked.mfa_delete));
        assert_eq!(found.map_err(|error| error.code), expected, "{content}");
    }

    #[test]
    fn configurations() {
        check("<Status>Enabled</Status>", Ok((true, None)));
        check("<Status>Suspended</Status>", Ok((false, None)));
        check("<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>", Ok((true, Some(true))));
        check("<MfaDelete>Disabled</MfaDelete><Status>Enabled</Status>", Ok((true, Some(false))));
        check("", Err(Code::IllegalVersioningConfigurationException));
        check("<Status>enabled</Status>", Err(Code::MalformedXML));
        check("<Status>Enabled</Status><Other/>", Err(Code::MalformedXML));
    }
}
