//! Encryption of what an operation writes and reads: which key an object gets, whether a request brings
//! the right one, and what answers say of it.
//!
//! Invariants: what is to be encrypted is decided before the first byte of a body is read, and so is
//! whether the request's keys fit; an upload's parts are encrypted as the upload says, whatever a part's
//! request says.
//!
//! Not here: headers (`encryption::headers`), keys (`encryption::ring`, `master`), bytes
//! (`body_writer`, `object_body`).

use super::{Answer, Context};
use crate::attributes::{self, Attributes, Field};
use crate::encryption::bucket::{BucketEncryption, Method};
use crate::encryption::envelope::{Envelope, Kms, Scheme, binding};
use crate::encryption::headers::{self, CustomerKey, Wanted, WantedKms};
use crate::encryption::kms::{self, DEFAULT_KEY_ID};
use crate::encryption::ring::{KeyRing, RingError};
use crate::encryption::secret::SecretKey;
use crate::error::{Code, Result, S3Error};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use engine::platform::Platform;
use engine::{Bucket, BucketId, ObjectInfo, PartInfo};
use http::RequestHead;
use std::sync::Arc;

/// How one object, upload or part is to be encrypted.
#[derive(Debug)]
pub(super) struct Sealing {
    pub data_key: SecretKey,
    /// Kept with it.
    pub envelope: Envelope,
    pub shown: Shown,
}

/// What answers say of the encryption of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    S3,
    Kms { key_id: String, bucket_key: bool, context: Vec<u8> },
    Customer { md5: String },
}

impl Shown {
    /// Writes the headers. `with_context`: the answer to a write shows the encryption context too.
    pub(super) fn write<P: Platform>(&self, answer: &mut Answer<P>, with_context: bool) {
        match self {
            Self::S3 => answer.header(headers::SSE, headers::AES256),
            Self::Kms { key_id, bucket_key, context } => {
                answer.header(headers::SSE, headers::AWS_KMS);
                answer.header(headers::KMS_KEY_ID, key_id);
                if *bucket_key {
                    answer.header(headers::BUCKET_KEY, "true");
                }
                if with_context && !context.is_empty() {
                    answer.header(headers::KMS_CONTEXT, BASE64_STANDARD.encode(context));
                }
            }
            Self::Customer { md5 } => {
                answer.header(headers::CUSTOMER_ALGORITHM, headers::AES256);
                answer.header(headers::CUSTOMER_KEY_MD5, md5);
            }
        }
    }

    /// Whether the ETag is the MD5 of the plain bytes, as AWS has it for SSE-S3 alone.
    pub(super) fn has_md5_etag(&self) -> bool {
        *self == Self::S3
    }
}

/// Puts the envelope into the attributes of what was written, and gives what is to be told of it. Other
/// attributes may be a copy's source's: its envelope must not stay.
pub(super) fn keep(sealing: Option<Sealing>, attributes: &mut Attributes) -> Option<Shown> {
    let (envelope, shown) = sealing.map(|sealing| (sealing.envelope, sealing.shown)).unzip();
    attributes.encryption = envelope;
    shown
}

/// Writes the headers of the answer to a write.
pub(super) fn write<P: Platform>(shown: Option<&Shown>, answer: &mut Answer<P>) {
    if let Some(shown) = shown {
        shown.write(answer, true);
    }
}

/// Whether a request says anything of encryption; most say nothing, and this is all that they pay.
pub(super) fn is_mentioned(head: &RequestHead) -> bool {
    head.has_prefixed(headers::PREFIX)
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// How a new object or upload is encrypted: as the request says, else as its bucket does; none if
/// neither says anything.
pub(super) async fn of_write<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
) -> Result<Option<Sealing>> {
    let wanted = match is_mentioned(context.head) {
        true => Wanted::of_request(|name| context.head.header(name))?,
        false => Wanted::Default { bucket_key: None },
    };
    of_wanted(context, bucket, wanted).await
}

/// The same for what was read of the request elsewhere.
pub(super) async fn of_wanted<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    wanted: Wanted,
) -> Result<Option<Sealing>> {
    let default = context.setting::<BucketEncryption>(bucket)?;
    let bound = binding(bucket.id, context.key().as_bytes());
    let default = default.as_deref();
    match (wanted, default) {
        (Wanted::Default { .. }, None) => Ok(None),
        (Wanted::Default { .. }, Some(BucketEncryption { method: Method::S3, .. }))
        | (Wanted::S3, _) => with_master(&ring(context), &bound).map(Some),
        (
            Wanted::Default { bucket_key },
            Some(BucketEncryption { method: Method::Kms { key }, bucket_key: by_default, .. }),
        ) => {
            let key_id = key.as_deref().and_then(kms::id_of_request).map(str::to_owned);
            let bucket_key = Some(bucket_key.unwrap_or(*by_default));
            let wanted = WantedKms { key_id, context: Vec::new(), bucket_key };
            with_kms(&ring(context), &bound, wanted).await.map(Some)
        }
        (Wanted::Kms(mut wanted), default) => {
            // A request that leaves the key or the flag out gets those of a bucket that has such.
            if let Some(BucketEncryption { method: Method::Kms { key }, bucket_key, .. }) = default
            {
                let key = || key.as_deref().and_then(kms::id_of_request).map(str::to_owned);
                wanted.key_id = wanted.key_id.or_else(key);
                wanted.bucket_key = wanted.bucket_key.or(Some(*bucket_key));
            }
            with_kms(&ring(context), &bound, wanted).await.map(Some)
        }
        (Wanted::Customer(key), default) => {
            check_transport(context)?;
            if default.is_some_and(|default| default.blocks_customer_keys) {
                return Err(Code::AccessDenied.into());
            }
            with_customer_key(&key, &bound).map(Some)
        }
    }
}

/// How what the server itself stores in a bucket is encrypted: as the bucket says.
pub(super) async fn of_bucket<P: Platform>(
    ring: &KeyRing<'_, P>,
    bucket: &Arc<Bucket>,
    key: &str,
) -> Result<Option<Sealing>> {
    let bound = binding(bucket.id, key.as_bytes());
    match ring.cache.get::<BucketEncryption>(bucket)?.as_deref() {
        None => Ok(None),
        Some(BucketEncryption { method: Method::S3, .. }) => with_master(ring, &bound).map(Some),
        Some(BucketEncryption { method: Method::Kms { key }, bucket_key, .. }) => {
            let key_id = key.as_deref().and_then(kms::id_of_request).map(str::to_owned);
            let bucket_key = Some(*bucket_key);
            let wanted = WantedKms { key_id, context: Vec::new(), bucket_key };
            with_kms(ring, &bound, wanted).await.map(Some)
        }
    }
}

fn with_master<P: Platform>(ring: &KeyRing<'_, P>, bound: &[u8]) -> Result<Sealing> {
    let masters = &ring.encryption.masters;
    let (master_id, master) = masters.current().ok_or(RingError::NoMaster)?;
    let data_key = SecretKey::random()?;
    let wrapped = Box::new(master.wrap(&data_key, bound)?);
    let scheme = Scheme::S3 { master_id: master_id.to_owned(), wrapped };
    Ok(Sealing { data_key, envelope: Envelope::new(scheme)?, shown: Shown::S3 })
}

async fn with_kms<P: Platform>(
    ring: &KeyRing<'_, P>,
    bound: &[u8],
    wanted: WantedKms,
) -> Result<Sealing> {
    let key_id = wanted.key_id.unwrap_or_else(|| DEFAULT_KEY_ID.to_owned());
    let (key_version, wrapping) = ring.for_writing(&key_id).await?;
    let data_key = SecretKey::random()?;
    let wrapped = Box::new(wrapping.wrap(&data_key, &kms_binding(bound, &wanted.context))?);
    let bucket_key = wanted.bucket_key.unwrap_or(false);
    let kms = Kms { key_id, key_version, bucket_key, context: wanted.context, wrapped };
    let shown = shown_kms(&kms);
    Ok(Sealing { data_key, envelope: Envelope::new(Scheme::Kms(kms))?, shown })
}

fn with_customer_key(key: &CustomerKey, bound: &[u8]) -> Result<Sealing> {
    let data_key = SecretKey::random()?;
    let wrapped = Box::new(key.key.wrap(&data_key, bound)?);
    let shown = Shown::Customer { md5: key.md5_text() };
    Ok(Sealing { data_key, envelope: Envelope::new(Scheme::Customer { wrapped })?, shown })
}

fn shown_kms(kms: &Kms) -> Shown {
    Shown::Kms {
        key_id: kms.key_id.clone(),
        bucket_key: kms.bucket_key,
        context: kms.context.clone(),
    }
}

fn ring<'a, P: Platform>(context: &Context<'a, P>) -> KeyRing<'a, P> {
    KeyRing {
        engine: context.engine,
        cache: &context.services.settings,
        encryption: &context.services.encryption,
    }
}

fn kms_binding(bound: &[u8], context: &[u8]) -> Vec<u8> {
    [bound, b"\0context\0", context].concat()
}

/// How a part of an upload is encrypted: with the upload's data key and a salt of its own.
pub(super) fn of_part<P: Platform>(
    context: &Context<'_, P>,
    bucket: BucketId,
    upload: Option<&Envelope>,
) -> Result<Option<Sealing>> {
    let key = customer_key(context)?;
    let refuse = |message: &'static str| Err(S3Error::new(Code::InvalidRequest, message));
    let Some(upload) = upload else {
        if key.is_some() {
            return refuse(
                "The multipart upload initiate did not request encryption. Please resend the request \
                 without sending encryption parameters.",
            );
        }
        refuse_method(context, None)?;
        return Ok(None);
    };
    let bound = binding(bucket, context.key().as_bytes());
    let (data_key, shown) = match (&upload.scheme, &key) {
        (Scheme::Customer { .. }, None) => {
            return refuse(
                "The multipart upload initiate requested encryption. Subsequent part requests must \
                 include the appropriate encryption parameters.",
            );
        }
        (Scheme::Customer { wrapped }, Some(key)) => {
            let Ok(data_key) = key.key.unwrap(wrapped, &bound) else {
                return refuse(
                    "The provided encryption parameters did not match the ones used originally.",
                );
            };
            (data_key, Shown::Customer { md5: key.md5_text() })
        }
        (_, Some(_)) => {
            return refuse("The encryption parameters are not applicable to this upload.");
        }
        (scheme, None) => opened_by_server(context, scheme, &bound)?,
    };
    refuse_method(context, Some(&shown))?;
    let envelope = Envelope::new(Scheme::Part)?;
    Ok(Some(Sealing { data_key, envelope, shown }))
}

/// A part may say again what its upload said, and nothing else.
fn refuse_method<P: Platform>(context: &Context<'_, P>, upload: Option<&Shown>) -> Result<()> {
    let method = match upload {
        Some(Shown::S3) => Some(headers::AES256),
        Some(Shown::Kms { .. }) => Some(headers::AWS_KMS),
        Some(Shown::Customer { .. }) | None => None,
    };
    match context.header(headers::SSE) {
        Some(said) if Some(said) != method => Err(unsupported_here(headers::SSE, said)),
        _ => Ok(()),
    }
}

fn unsupported_here(name: &str, value: &str) -> S3Error {
    let message = format!("{name} header is not supported for this operation.");
    S3Error::invalid_argument(message, name, value)
}

/// The key that completes an upload need not be said; one that is said must fit.
pub(super) fn check_completion<P: Platform>(
    context: &Context<'_, P>,
    bucket: BucketId,
    upload: Option<&Envelope>,
) -> Result<()> {
    if !is_mentioned(context.head) {
        return Ok(());
    }
    let scheme = upload.map(|upload| &upload.scheme);
    if customer_key(context)?.is_none() && matches!(scheme, Some(Scheme::Customer { .. })) {
        return Ok(());
    }
    of_part(context, bucket, upload).map(drop)
}

/// Writes what the answer to a completion tells: of a customer's key nothing.
pub(super) fn write_completed<P: Platform>(upload: Option<&Envelope>, answer: &mut Answer<P>) {
    if let Some(shown) = upload.and_then(|upload| shown_of(&upload.scheme)) {
        shown.write(answer, false);
    }
}

/// The data key of an upload or object whose key the server has.
fn opened_by_server<P: Platform>(
    context: &Context<'_, P>,
    scheme: &Scheme,
    bound: &[u8],
) -> Result<(SecretKey, Shown)> {
    match scheme {
        Scheme::S3 { master_id, wrapped } => {
            let masters = &context.services.encryption.masters;
            Ok((masters.unwrap(master_id, wrapped, bound)?, Shown::S3))
        }
        Scheme::Kms(kms) => {
            let wrapping = ring(context).for_reading(&kms.key_id, kms.key_version)?;
            let data_key = wrapping.unwrap(&kms.wrapped, &kms_binding(bound, &kms.context));
            let data_key = data_key.map_err(crate::encryption::master::UnwrapFailed::from)?;
            Ok((data_key, shown_kms(kms)))
        }
        Scheme::Customer { .. } | Scheme::Part => Err(corrupt()),
    }
}

/// The envelope of an object that gets another key: the same data key, bound to that. A customer's key
/// must come with the request.
pub(super) fn rebind<P: Platform>(
    context: &Context<'_, P>,
    bucket: BucketId,
    (from, to): (&str, &str),
    envelope: Option<&Envelope>,
) -> Result<Option<Envelope>> {
    let (former, bound) = (binding(bucket, from.as_bytes()), binding(bucket, to.as_bytes()));
    let customer = customer_key(context)?;
    let is_customers = |envelope: &Envelope| matches!(envelope.scheme, Scheme::Customer { .. });
    if customer.is_some() && !envelope.is_some_and(is_customers) {
        return Err(S3Error::new(
            Code::InvalidRequest,
            "The encryption parameters are not applicable to this object.",
        ));
    }
    let Some(envelope) = envelope else { return Ok(None) };
    let scheme = match &envelope.scheme {
        Scheme::S3 { master_id, wrapped } => {
            let masters = &context.services.encryption.masters;
            let data_key = masters.unwrap(master_id, wrapped, &former)?;
            let (master_id, master) = masters.current().ok_or(RingError::NoMaster)?;
            let wrapped = Box::new(master.wrap(&data_key, &bound)?);
            Scheme::S3 { master_id: master_id.to_owned(), wrapped }
        }
        Scheme::Kms(kms) => {
            let wrapping = ring(context).for_reading(&kms.key_id, kms.key_version)?;
            let data_key = wrapping.unwrap(&kms.wrapped, &kms_binding(&former, &kms.context));
            let data_key = data_key.map_err(crate::encryption::master::UnwrapFailed::from)?;
            let wrapped = wrapping.wrap(&data_key, &kms_binding(&bound, &kms.context))?;
            Scheme::Kms(Kms { wrapped: Box::new(wrapped), ..kms.clone() })
        }
        Scheme::Customer { wrapped } => {
            let key = customer.ok_or_else(|| {
                let message = "The object was stored using a form of Server Side Encryption. The \
                               correct parameters must be provided to rename the object.";
                S3Error::new(Code::InvalidRequest, message)
            })?;
            let data_key = key.key.unwrap(wrapped, &former);
            let data_key = data_key.map_err(|_| S3Error::from(Code::AccessDenied))?;
            Scheme::Customer { wrapped: Box::new(key.key.wrap(&data_key, &bound)?) }
        }
        Scheme::Part => return Err(corrupt()),
    };
    Ok(Some(Envelope { salt: envelope.salt, scheme }))
}

fn corrupt() -> S3Error {
    engine::Error::Corrupt("an object has the encryption of something else".into()).into()
}

/// The customer's key of a request, over a connection that may carry one.
pub(super) fn customer_key<P: Platform>(context: &Context<'_, P>) -> Result<Option<CustomerKey>> {
    if !is_mentioned(context.head) {
        return Ok(None);
    }
    let key = CustomerKey::of_request(|name| context.head.header(name))?;
    if key.is_some() {
        check_transport(context)?;
    }
    Ok(key)
}

/// The customer's key for the source of a copy.
pub(super) fn source_customer_key<P: Platform>(
    context: &Context<'_, P>,
) -> Result<Option<CustomerKey>> {
    let key = CustomerKey::of_copy_source(|name| context.head.header(name))?;
    if key.is_some() {
        check_transport(context)?;
    }
    Ok(key)
}

fn check_transport<P: Platform>(context: &Context<'_, P>) -> Result<()> {
    let is_secure = context.caller.peer.is_secure;
    if is_secure || context.services.encryption.customer_keys_over_http {
        return Ok(());
    }
    Err(S3Error::new(
        Code::InvalidRequest,
        "Requests specifying Server Side Encryption with Customer provided keys must be made over a \
         secure connection.",
    ))
}

/// A read says nothing of how the object is encrypted, but for a customer's key.
pub(super) fn check_read(head: &RequestHead) -> Result<()> {
    if !is_mentioned(head) {
        return Ok(());
    }
    let refused = head.headers().find(|(name, _)| {
        has_prefix(name, headers::PREFIX)
            && ![headers::CUSTOMER_ALGORITHM, headers::CUSTOMER_KEY, headers::CUSTOMER_KEY_MD5]
                .iter()
                .any(|customer| name.eq_ignore_ascii_case(customer))
    });
    match refused {
        Some((name, value)) => {
            let name = name.to_ascii_lowercase();
            Err(unsupported_here(&name, &String::from_utf8_lossy(value)))
        }
        None => Ok(()),
    }
}

/// What a read needs to know of an encrypted object.
#[derive(Debug)]
pub(super) struct Opening {
    /// None where only the object's record is wanted.
    pub data_key: Option<SecretKey>,
    pub shown: Shown,
}

/// Whether its bytes are encrypted.
pub(super) fn is_encrypted(info: &ObjectInfo) -> bool {
    super::label::is_encrypted(info.current.label)
}

/// Checks the request's key against the object, and finds the object's if its bytes are wanted. None
/// for an object that is not encrypted.
pub(super) fn of_read<P: Platform>(
    context: &Context<'_, P>,
    bucket: BucketId,
    key: &str,
    info: &ObjectInfo,
    customer: Option<CustomerKey>,
    wants_bytes: bool,
) -> Result<Option<Opening>> {
    let refuse = |message: &'static str| Err(S3Error::new(Code::InvalidRequest, message));
    let not_applicable = "The encryption parameters are not applicable to this object.";
    if !is_encrypted(info) {
        return if customer.is_some() { refuse(not_applicable) } else { Ok(None) };
    }
    let envelope = envelope_of(&info.attributes)?.ok_or_else(corrupt)?;
    let bound = binding(bucket, key.as_bytes());
    let (data_key, shown) = match (&envelope.scheme, customer) {
        (Scheme::Customer { .. }, None) => {
            return refuse(
                "The object was stored using a form of Server Side Encryption. The correct parameters \
                 must be provided to retrieve the object.",
            );
        }
        (Scheme::Customer { wrapped }, Some(customer)) => {
            let data_key = customer.key.unwrap(wrapped, &bound);
            let data_key = data_key.map_err(|_| S3Error::from(Code::AccessDenied))?;
            (Some(data_key), Shown::Customer { md5: customer.md5_text() })
        }
        (_, Some(_)) => return refuse(not_applicable),
        (scheme, None) if wants_bytes => {
            let (data_key, shown) = opened_by_server(context, scheme, &bound)?;
            (Some(data_key), shown)
        }
        (scheme, None) => (None, shown_of(scheme).ok_or_else(corrupt)?),
    };
    Ok(Some(Opening { data_key, shown }))
}

/// What there is to show without any key; nothing of a customer's.
pub(super) fn shown_of(scheme: &Scheme) -> Option<Shown> {
    match scheme {
        Scheme::S3 { .. } => Some(Shown::S3),
        Scheme::Kms(kms) => Some(shown_kms(kms)),
        Scheme::Customer { .. } | Scheme::Part => None,
    }
}

/// How an object, upload or part is encrypted, from its attributes.
pub(super) fn envelope_of(encoded: &[u8]) -> Result<Option<Envelope>> {
    for field in attributes::fields(encoded) {
        if let Field::Encryption(value) = field? {
            return Ok(Some(Envelope::decode(value)?));
        }
    }
    Ok(None)
}

/// The plain size of a part of an object.
pub(super) fn part_size(info: &ObjectInfo, part: &PartInfo) -> Result<u64> {
    if !is_encrypted(info) {
        return Ok(part.size);
    }
    crate::encryption::blocks::plain_size(part.size).ok_or_else(corrupt)
}
