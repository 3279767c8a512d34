//! Object lock: the bucket's configuration, retention and legal hold of versions, and what writes and
//! removals ask of it.
//!
//! Invariant: a lock is judged by the engine at the moment of the removal or the change, never only
//! before it.
//!
//! Not here: the rules (`object_lock`).

use super::{Answer, Body, Context, read_document, xml_answer};
use crate::access::{self, Given};
use crate::attributes::Attributes;
use crate::auth::payload::RawBody;
use crate::dates;
use crate::error::{Code, Refusal, Result, S3Error};
use crate::limits::XML_BODY_BYTES_MAX;
use crate::object_lock::{DefaultRetention, Lock, Mode, ObjectLockSetting, Period, Retention};
use crate::settings::BucketSetting;
use crate::versioning::{Status, VersioningSetting};
use crate::xml::reader::malformed;
use crate::xml::{Element, Writer};
use engine::platform::Platform;
use engine::{Bucket, Guard};
use http::Response;
use std::sync::Arc;

const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
const LEGAL_HOLD: &str = "x-amz-object-lock-legal-hold";

// --- The bucket's configuration ------------------------------------------------------------------

pub(super) fn get_object_lock_configuration<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let setting = context.setting::<ObjectLockSetting>(&bucket)?.ok_or_else(|| {
        S3Error::from(Code::ObjectLockConfigurationNotFoundError).field("BucketName", &bucket.name)
    })?;
    Ok(xml_answer(write_configuration(&setting)))
}

pub(super) fn write_configuration(setting: &ObjectLockSetting) -> Vec<u8> {
    Writer::document("ObjectLockConfiguration", |writer| {
        writer.text("ObjectLockEnabled", "Enabled");
        let Some(DefaultRetention { mode, period }) = setting.default else { return };
        writer.element("Rule", |writer| {
            writer.element("DefaultRetention", |writer| {
                writer.text("Mode", mode.name());
                match period {
                    Period::Days(days) => writer.value("Days", days),
                    Period::Years(years) => writer.value("Years", years),
                }
            });
        });
    })
}

pub(super) async fn put_object_lock_configuration<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let document = read_document(context, body, XML_BODY_BYTES_MAX).await?;
    let bucket = context.as_now(&bucket)?;
    let setting = parse_configuration(&document)?;
    // Without versions a lock would keep nothing: an overwrite would take its place.
    if context.versioning(&bucket)? != Status::Enabled {
        return Err(S3Error::new(
            Code::InvalidBucketState,
            "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration",
        ));
    }
    context.put_judged_setting(&bucket, &setting, &[VersioningSetting::TAG]).await?;
    Ok(Response::new(200))
}

pub(super) fn parse_configuration(document: &[u8]) -> Result<ObjectLockSetting> {
    let root = Element::parse(document, "ObjectLockConfiguration")?;
    let (mut enabled, mut default) = (false, None);
    for child in root.children() {
        match child.name() {
            "ObjectLockEnabled" if child.text().trim() == "Enabled" => enabled = true,
            "Rule" if default.is_none() => match child.children() {
                [only] if only.name() == "DefaultRetention" => default = Some(parse_default(only)?),
                _ => return Err(malformed()),
            },
            _ => return Err(malformed()),
        }
    }
    if enabled { Ok(ObjectLockSetting { default }) } else { Err(malformed()) }
}

fn parse_default(element: &Element) -> Result<DefaultRetention> {
    let mode = Mode::parse(element.required("Mode")?.trim()).ok_or_else(malformed)?;
    let number = |text: &str| {
        let number = text.trim().parse::<i64>().map_err(|_| malformed())?;
        u32::try_from(number).map_err(|_| S3Error::from(Code::InvalidRetentionPeriod))
    };
    let is_known = |child: &Element| matches!(child.name(), "Mode" | "Days" | "Years");
    if !element.children().iter().all(is_known) {
        return Err(malformed());
    }
    let period = match (element.child_text("Days"), element.child_text("Years")) {
        (Some(days), None) => Period::Days(number(days)?),
        (None, Some(years)) => Period::Years(number(years)?),
        _ => return Err(malformed()),
    };
    period.check()?;
    Ok(DefaultRetention { mode, period })
}

// --- Retention and legal hold of a version -------------------------------------------------------

pub(super) async fn get_object_retention<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let lock = lock_of_version(context).await?;
    let Retention { mode, until } = lock.retention.ok_or(Code::NoSuchObjectLockConfiguration)?;
    let document = Writer::document("Retention", |writer| {
        writer.text("Mode", mode.name());
        writer.text("RetainUntilDate", &dates::iso_time(until));
    });
    Ok(xml_answer(document))
}

pub(super) async fn put_object_retention<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = bucket_with_lock(context).await?;
    let document = read_document(context, body, XML_BODY_BYTES_MAX).await?;
    let bucket = context.as_now(&bucket)?;
    let now = context.now();
    let new = parse_retention(&document, now)?;
    let bypasses = context.bypasses_governance(&bucket, context.key());
    let given = Given {
        lock_mode: new.map(|retention| retention.mode.name()),
        retain_until: new.map(|retention| retention.until),
        ..Given::default()
    };
    context
        .amend(&bucket, &given, move |attributes| {
            attributes.lock.may_become(new, now, bypasses)?;
            attributes.lock.retention = new;
            Ok(())
        })
        .await?;
    Ok(Response::new(200))
}

pub(super) fn parse_retention(document: &[u8], now: i64) -> Result<Option<Retention>> {
    let root = Element::parse(document, "Retention")?;
    if !root.children().iter().all(|c| matches!(c.name(), "Mode" | "RetainUntilDate")) {
        return Err(malformed());
    }
    match (root.child_text("Mode"), root.child_text("RetainUntilDate")) {
        (None, None) => Ok(None),
        (Some(mode), Some(until)) => {
            let mode = Mode::parse(mode.trim()).ok_or_else(malformed)?;
            let until = dates::parse_time(until).ok_or_else(malformed)?;
            check_future(until, now)?;
            Ok(Some(Retention { mode, until }))
        }
        _ => Err(malformed()),
    }
}

pub(super) async fn get_object_legal_hold<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let lock = lock_of_version(context).await?;
    let on = lock.legal_hold.ok_or(Code::NoSuchObjectLockConfiguration)?;
    let document = Writer::document("LegalHold", |writer| writer.text("Status", hold_name(on)));
    Ok(xml_answer(document))
}

pub(super) async fn put_object_legal_hold<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = bucket_with_lock(context).await?;
    let document = read_document(context, body, XML_BODY_BYTES_MAX).await?;
    let bucket = context.as_now(&bucket)?;
    let on = parse_legal_hold(&document)?;
    let given = Given { legal_hold: Some(hold_name(on)), ..Given::default() };
    context
        .amend(&bucket, &given, move |attributes| {
            attributes.lock.legal_hold = Some(on);
            Ok(())
        })
        .await?;
    Ok(Response::new(200))
}

pub(super) fn parse_legal_hold(document: &[u8]) -> Result<bool> {
    let root = Element::parse(document, "LegalHold")?;
    match root.children() {
        [status] if status.name() == "Status" => {
            parse_hold(status.text().trim()).ok_or_else(malformed)
        }
        _ => Err(malformed()),
    }
}

async fn lock_of_version<P: Platform>(context: &Context<'_, P>) -> Result<Lock> {
    let bucket = bucket_with_lock(context).await?;
    let reader = context.open_record(&bucket).await?;
    Ok(Attributes::decode(&reader.info().attributes)?.lock)
}

/// The bucket of the object, which must have object lock. Who may not ask does not learn that it has none.
async fn bucket_with_lock<P: Platform>(context: &Context<'_, P>) -> Result<Arc<Bucket>> {
    let bucket = context.bucket_of_object()?;
    if context.setting::<ObjectLockSetting>(&bucket)?.is_some() {
        return Ok(bucket);
    }
    if !access::authorise::is_decided(context) {
        context.open_record(&bucket).await?;
    }
    Err(missing_configuration())
}

fn missing_configuration() -> S3Error {
    S3Error::new(Code::InvalidRequest, "Bucket is missing Object Lock Configuration")
}

// --- What writes and removals ask ----------------------------------------------------------------

/// The lock that the headers of a write ask for.
pub(super) fn lock_of_headers<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
) -> Result<Lock> {
    let (mode, until) = (context.header(MODE), context.header(UNTIL));
    let legal_hold = context.header(LEGAL_HOLD);
    if mode.is_none() && until.is_none() && legal_hold.is_none() {
        return Ok(Lock::default());
    }
    if context.setting::<ObjectLockSetting>(bucket)?.is_none() {
        return Err(missing_configuration());
    }
    parse_lock(mode, until, legal_hold, context.now())
}

fn parse_lock(
    mode: Option<&str>,
    until: Option<&str>,
    legal_hold: Option<&str>,
    now: i64,
) -> Result<Lock> {
    let retention = match (mode, until) {
        (None, None) => None,
        (Some(mode), Some(until)) => {
            let unknown =
                || S3Error::invalid_argument("Unknown wormMode directive.", MODE, mode.to_owned());
            let malformed = || {
                let message = "The retain until date must be provided in ISO 8601 format";
                S3Error::invalid_argument(message, UNTIL, until.to_owned())
            };
            let mode = Mode::parse(mode.trim()).ok_or_else(unknown)?;
            let until = dates::parse_time(until).ok_or_else(malformed)?;
            check_future(until, now)?;
            Some(Retention { mode, until })
        }
        _ => {
            return Err(S3Error::new(
                Code::InvalidArgument,
                "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be \
                 supplied",
            ));
        }
    };
    let legal_hold = match legal_hold {
        None => None,
        Some(text) => Some(parse_hold(text.trim()).ok_or_else(|| {
            S3Error::invalid_argument(
                "Legal Hold must be either of 'ON' or 'OFF'",
                LEGAL_HOLD,
                text,
            )
        })?),
    };
    Ok(Lock { retention, legal_hold })
}

fn check_future(until: i64, now: i64) -> Result<()> {
    if until > now {
        return Ok(());
    }
    let message = "The retain until date must be in the future!";
    Err(S3Error::invalid_argument(message, UNTIL, dates::iso_time(until)))
}

/// The lock that a version gets at the moment when it is made.
pub(super) fn lock_of_new<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    asked: Lock,
) -> Result<Lock> {
    Ok(match context.setting::<ObjectLockSetting>(bucket)? {
        Some(setting) => setting.lock_of_new(asked, context.now()),
        None => asked,
    })
}

/// Shows a version's lock in the headers of an answer.
pub(super) fn write_headers<P: Platform>(answer: &mut Answer<P>, lock: &Lock) {
    if let Some(Retention { mode, until }) = lock.retention {
        answer.header(MODE, mode.name());
        answer.header(UNTIL, dates::iso_time(until));
    }
    if let Some(on) = lock.legal_hold {
        answer.header(LEGAL_HOLD, hold_name(on));
    }
}

/// What the engine asks before a version goes, in a bucket that has object lock. `bypasses`: the
/// remover may bypass governance, and wants to.
pub(crate) fn guard(now: i64, bypasses: bool) -> Guard {
    Box::new(move |attributes| match Attributes::decode(attributes) {
        Ok(attributes) => Ok(attributes.lock.may_be_removed(now, bypasses)?),
        // What cannot be read may be a lock.
        Err(_) => Err(Refusal::AttributesUnreadable.into()),
    })
}

fn parse_hold(text: &str) -> Option<bool> {
    [true, false].into_iter().find(|on| hold_name(*on) == text)
}

fn hold_name(on: bool) -> &'static str {
    if on { "ON" } else { "OFF" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000_000;

    #[test]
    fn configurations() {
        let check = |content: &str, expected: Result<Option<DefaultRetention>, Code>| {
            let document = format!("<ObjectLockConfiguration>{content}</ObjectLockConfiguration>");
            let found = parse_configuration(document.as_bytes()).map(|setting| setting.default);
            assert_eq!(found.map_err(|error| error.code), expected, "{content}");
        };
        let enabled = "<ObjectLockEnabled>Enabled</ObjectLockEnabled>";
        let rule = |retention: &str| {
            format!("{enabled}<Rule><DefaultRetention>{retention}</DefaultRetention></Rule>")
        };
        let default = |mode, period| Ok(Some(DefaultRetention { mode, period }));
        check(enabled, Ok(None));
        check(
            &rule("<Mode>GOVERNANCE</Mode><Days>30</Days>"),
            default(Mode::Governance, Period::Days(30)),
        );
        check(
            &rule("<Years>1</Years><Mode>COMPLIANCE</Mode>"),
            default(Mode::Compliance, Period::Years(1)),
        );
        check(&rule("<Mode>GOVERNANCE</Mode><Days>0</Days>"), Err(Code::InvalidRetentionPeriod));
        check(&rule("<Mode>GOVERNANCE</Mode><Days>-1</Days>"), Err(Code::InvalidRetentionPeriod));
        check(
            &rule("<Mode>GOVERNANCE</Mode><Years>101</Years>"),
            Err(Code::InvalidRetentionPeriod),
        );
        check(&rule("<Mode>GOVERNANCE</Mode><Days>x</Days>"), Err(Code::MalformedXML));
        check(&rule("<Mode>governance</Mode><Days>1</Days>"), Err(Code::MalformedXML));
        check(&rule("<Mode>GOVERNANCE</Mode>"), Err(Code::MalformedXML));
        check(&rule("<Days>1</Days>"), Err(Code::MalformedXML));
        let both = "<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>";
        check(&rule(both), Err(Code::MalformedXML));
        check("", Err(Code::MalformedXML));
        check("<ObjectLockEnabled>Disabled</ObjectLockEnabled>", Err(Code::MalformedXML));
        check(&format!("{enabled}<Rule/>"), Err(Code::MalformedXML));
        check(&format!("{enabled}<Other/>"), Err(Code::MalformedXML));
    }

    #[test]
    fn retentions() {
        let check = |content: &str, expected: Result<Option<(Mode, i64)>, Code>| {
            let document = format!("<Retention>{content}</Retention>");
            let found = parse_retention(document.as_bytes(), NOW)
                .map(|found| found.map(|retention| (retention.mode, retention.until)));
            assert_eq!(found.map_err(|error| error.code), expected, "{content}");
        };
        let until = "<RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate>";
        let mode = "<Mode>COMPLIANCE</Mode>";
        check(&format!("{mode}{until}"), Ok(Some((Mode::Compliance, 1_893_456_000))));
        check("", Ok(None));
        check(mode, Err(Code::MalformedXML));
        check(until, Err(Code::MalformedXML));
        check(&format!("<Mode>abc</Mode>{until}"), Err(Code::MalformedXML));
        check(&format!("{mode}<RetainUntilDate>x</RetainUntilDate>"), Err(Code::MalformedXML));
        check(
            &format!("{mode}<RetainUntilDate>2001-01-01T00:00:00Z</RetainUntilDate>"),
            Err(Code::InvalidArgument),
        );
    }

    #[test]
    fn headers_of_a_write() {
        let until = Some("2030-01-01T00:00:00.000Z");
        let code = |found: Result<Lock>| found.map(|_| ()).map_err(|error| error.code);
        let bad = Err(Code::InvalidArgument);
        let lock = parse_lock(Some("GOVERNANCE"), until, Some("ON"), NOW);
        let retention = Retention { mode: Mode::Governance, until: 1_893_456_000 };
        assert_eq!(lock, Ok(Lock { retention: Some(retention), legal_hold: Some(true) }));
        let off = parse_lock(None, None, Some("OFF"), NOW);
        assert_eq!(off, Ok(Lock { retention: None, legal_hold: Some(false) }));
        assert_eq!(code(parse_lock(Some("GOVERNANCE"), None, None, NOW)), bad);
        assert_eq!(code(parse_lock(None, until, None, NOW)), bad);
        assert_eq!(code(parse_lock(Some("x"), until, None, NOW)), bad);
        assert_eq!(code(parse_lock(Some("GOVERNANCE"), Some("soon"), None, NOW)), bad);
        assert_eq!(code(parse_lock(Some("GOVERNANCE"), until, None, i64::MAX)), bad);
        assert_eq!(code(parse_lock(None, None, Some("on"), NOW)), bad);
    }

    #[test]
    fn a_guard_refuses_what_it_cannot_read() {
        let guard = guard(NOW, true);
        assert!(guard(&[]).is_ok());
        assert_eq!(guard(&[9]), Err(Refusal::AttributesUnreadable.into()));
    }
}
