//! PutBucketRequestPayment, GetBucketRequestPayment, and what a bucket whose requesters pay asks of
//! them.
//!
//! Nothing is charged for here; what counts is that a client that did not say that it would pay is
//! refused, as it would be by AWS.

use super::copy_source::CopySource;
use super::{Answer, Body, Context, configuration_document, xml_answer};
use crate::auth::payload::RawBody;
use crate::error::{Code, Result};
use crate::route::{Operation, Route};
use crate::settings::{BucketSetting, tag};
use crate::xml::reader::malformed;
use crate::xml::{Element, Writer};
use engine::platform::Platform;
use http::Response;
use serde::{Deserialize, Serialize};

const ROOT: &str = "RequestPaymentConfiguration";
/// Header and, in presigned URLs, parameter by which requesters say that they will pay.
const PAYER: &str = "x-amz-request-payer";
/// Tells them that they did.
pub(super) const CHARGED: (&str, &str) = ("x-amz-request-charged", "requester");

/// Who pays for requests to a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RequestPayment {
    BucketOwner,
    Requester,
}

impl BucketSetting for RequestPayment {
    const TAG: u16 = tag::REQUEST_PAYMENT;
}

impl RequestPayment {
    pub(super) fn parse_document(document: &[u8]) -> Result<Self> {
        let root = Element::parse(document, ROOT)?;
        let [payer] = root.children() else { return Err(malformed()) };
        match (payer.name(), payer.text().trim()) {
            ("Payer", "BucketOwner") => Ok(Self::BucketOwner),
            ("Payer", "Requester") => Ok(Self::Requester),
            _ => Err(malformed()),
        }
    }

    pub(super) fn document(self) -> Vec<u8> {
        let payer = match self {
            Self::BucketOwner => "BucketOwner",
            Self::Requester => "Requester",
        };
        Writer::document(ROOT, |writer| writer.text("Payer", payer))
    }
}

/// Whether the request is one for which its sender pays: for the bucket that it names or, if it copies,
/// for that of the source. One whose sender did not say so is refused, and one of nobody in any case.
pub(super) fn is_charged<P: Platform>(context: &Context<'_, P>) -> Result<bool> {
    let subject = &context.caller.subject;
    let Route { operation, bucket, .. } = context.route;
    let is_about_bucket =
        !bucket.is_empty() && !matches!(operation, Operation::CreateBucket | Operation::PostObject);
    if subject.is_root() || !is_about_bucket {
        return Ok(false);
    }
    let is_copy = matches!(operation, Operation::CopyObject | Operation::UploadPartCopy);
    let pays = requester_pays(context, bucket)?
        || is_copy && requester_pays(context, &CopySource::of_request(context)?.bucket)?;
    if !pays {
        return Ok(false);
    }
    let said = context.header(PAYER).or_else(|| context.query(PAYER));
    let agrees = said.is_some_and(|said| said.eq_ignore_ascii_case("requester"));
    if agrees && subject.person().is_some() { Ok(true) } else { Err(Code::AccessDenied.into()) }
}

/// Whether requests to the bucket are paid by those who send them, and the caller is not its owner.
fn requester_pays<P: Platform>(context: &Context<'_, P>, bucket: &str) -> Result<bool> {
    let bucket = context.find_bucket(bucket)?;
    let payer = context.setting::<RequestPayment>(&bucket)?;
    Ok(payer.as_deref() == Some(&RequestPayment::Requester)
        && !context.caller.subject.is(&context.owner_of(&bucket)?.id))
}

pub(super) async fn put_bucket_request_payment<P: Platform, B: RawBody>(
    context: &Context<'_, P>,
    body: Body<'_, B>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let document = configuration_document(context, body).await?;
    match RequestPayment::parse_document(&document)? {
        RequestPayment::BucketOwner => context.remove_setting::<RequestPayment>(&bucket).await?,
        payer => context.put_setting(&bucket, &payer).await?,
    }
    Ok(Response::new(200))
}

pub(super) fn get_bucket_request_payment<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Answer<P>> {
    let bucket = context.bucket()?;
    let payer = context.setting::<RequestPayment>(&bucket)?;
    Ok(xml_answer(payer.map_or(RequestPayment::BucketOwner, |payer| *payer).document()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents() {
        for payer in [RequestPayment::BucketOwner, RequestPayment::Requester] {
            assert_eq!(RequestPayment::parse_document(&payer.document()), Ok(payer));
        }
        let root = |inner: &str| format!("<{ROOT}>{inner}</{ROOT}>");
        for document in [
            String::new(),
            root(""),
            root("<Payer/>"),
            root("<Payer>Nobody</Payer>"),
            root("<Payer>Requester</Payer><Payer>Requester</Payer>"),
            root("<Pays>Requester</Pays>"),
        ] {
            let error = RequestPayment::parse_document(document.as_bytes()).err();
            assert_eq!(error.map(|error| error.code), Some(Code::MalformedXML), "{document}");
        }
    }
}
