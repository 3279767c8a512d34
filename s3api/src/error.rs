//! What can go wrong in a request, as S3's clients must hear it.
//!
//! Invariants: S3 codes exist only here, each with its AWS status and default message; the engine's
//! errors are translated only here; nothing of the server's inside (paths, causes of I/O errors)
//! reaches a client.
//!
//! Not here: which headers and ids an answer carries (`service`).

use crate::xml::Writer;
use std::borrow::Cow;

pub type Result<T, E = S3Error> = std::result::Result<T, E>;

/// Declares [`Code`]: the variant, which is also the text on the wire, its status, its message.
///
/// A code that is no identifier of Rust gives its text behind `as`.
macro_rules! codes {
    (@name $name:ident) => { stringify!($name) };
    (@name $name:ident $text:literal) => { $text };
    ($($name:ident $(as $text:literal)? $status:literal $message:literal,)*) => {
        /// An S3 error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($name,)*
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The code as it stands in the answer.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => codes!(@name $name $($text)?),)*
                }
            }

            /// The HTTP status that goes with the code.
            pub fn status(self) -> u16 {
                match self {
                    $(Self::$name => $status,)*
                }
            }

            /// What AWS says for the code, where the place that fails knows nothing better.
            pub fn message(self) -> &'static str {
                match self {
                    $(Self::$name => $message,)*
                }
            }
        }
    };
}

codes! {
    AccessControlListNotSupported 400 "The bucket does not allow ACLs",
    AccessDenied 403 "Access Denied",
    AccessForbidden 403 "Access forbidden",
    AuthorizationHeaderMalformed 400 "The authorization header that you provided is not valid.",
    AuthorizationQueryParametersError 400 "The authorization query parameters that you provided are not valid.",
    BadDigest 400 "The Content-MD5 or checksum value that you specified did not match what the server received.",
    BadRequest 400 "The request is not valid.",
    BucketAlreadyExists 409 "The requested bucket name is not available. Select a different name and try again.",
    BucketAlreadyOwnedByYou 409 "The bucket that you tried to create already exists, and you own it.",
    BucketNotEmpty 409 "The bucket that you tried to delete is not empty.",
    ConditionalRequestConflict 409 "The conditional request cannot succeed due to a conflicting operation against this resource.",
    EntityTooLarge 400 "Your proposed upload exceeds the maximum allowed object size.",
    EntityTooSmall 400 "Your proposed upload is smaller than the minimum allowed object size.",
    ExpiredToken 400 "The provided token has expired.",
    IdempotencyParameterMismatch 400 "The parameters of this request do not match those of the request that had this client token first.",
    IllegalLocationConstraintException 400 "The specified location constraint is not valid for the region this request was sent to.",
    IncompleteBody 400 "You did not provide the number of bytes specified by the Content-Length HTTP header.",
    InsufficientStorage 507 "No space is left for new data; reading and deleting still work.",
    InternalError 500 "An internal error occurred. Try again.",
    InvalidAccessKeyId 403 "The access key ID that you provided does not exist in our records.",
    IllegalVersioningConfigurationException 400 "The versioning configuration that you specified is not valid.",
    InvalidArgument 400 "Invalid argument.",
    InvalidBucketAclWithObjectOwnership 400 "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting",
    InvalidBucketName 400 "The specified bucket is not valid.",
    InvalidBucketState 409 "The request is not valid with the current state of the bucket.",
    InvalidDigest 400 "The Content-MD5 or checksum value that you specified is not valid.",
    InvalidEncryptionAlgorithmError 400 "The encryption request that you specified is not valid.",
    InvalidLocationConstraint 400 "The specified location constraint is not valid.",
    InvalidObjectState 403 "The operation is not valid for the current state of the object.",
    InvalidPart 400 "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag.",
    InvalidPartNumber 416 "The requested partnumber is not satisfiable.",
    InvalidPartOrder 400 "The list of parts was not in ascending order. The parts list must be specified in order by part number.",
    InvalidPolicyDocument 400 "The content of the form does not meet the conditions specified in the policy document.",
    InvalidRange 416 "The requested range is not satisfiable.",
    InvalidRedirectLocation 400 "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.",
    InvalidRequest 400 "The request is not valid.",
    InvalidRetentionPeriod 400 "The retention period must be a positive number of days or years, at most 100 years.",
    InvalidSecurity 403 "The provided security credentials are not valid.",
    InvalidStorageClass 400 "The storage class that you specified is not valid.",
    InvalidTag 400 "The tag that you provided is not valid.",
    InvalidTargetBucketForLogging 400 "The target bucket for logging does not exist, is not owned by you, or does not have the appropriate grants for the log-delivery group.",
    InvalidToken 400 "The provided token is malformed or otherwise not valid.",
    InvalidURI 400 "The specified URI couldn't be parsed.",
    KmsDisabled as "KMS.DisabledException" 400 "The KMS key that this request needs is disabled.",
    KmsNotFound as "KMS.NotFoundException" 400 "The KMS key that this request needs does not exist.",
    InvalidWriteOffset 400 "The write offset value that you specified does not match the current object size.",
    KeyTooLongError 400 "Your key is too long.",
    MalformedACLError 400 "The ACL that you provided was not well formed or did not validate against our published schema.",
    MalformedPOSTRequest 400 "The body of your POST request is not well-formed multipart/form-data.",
    MalformedPolicy 400 "The policy is not well formed.",
    MalformedTrailerError 400 "The request contained trailing data that was not well-formed or did not conform to our published schema.",
    MalformedXML 400 "The XML that you provided was not well formed or did not validate against our published schema.",
    MaxMessageLengthExceeded 400 "Your request was too large.",
    MaxPostPreDataLengthExceededError 400 "Your POST request fields preceding the upload file were too large.",
    MetadataTooLarge 400 "Your metadata headers exceed the maximum allowed metadata size.",
    MethodNotAllowed 405 "The specified method is not allowed against this resource.",
    MissingContentLength 411 "You must provide the Content-Length HTTP header.",
    MissingRequestBodyError 400 "Request body is empty.",
    MissingSecurityHeader 400 "Your request is missing a required header.",
    NoSuchBucket 404 "The specified bucket does not exist.",
    NoSuchBucketPolicy 404 "The bucket policy does not exist.",
    NoSuchCORSConfiguration 404 "The CORS configuration does not exist.",
    NoSuchKey 404 "The specified key does not exist.",
    NoSuchLifecycleConfiguration 404 "The lifecycle configuration does not exist.",
    NoSuchObjectLockConfiguration 404 "The specified object does not have an ObjectLock configuration.",
    NoSuchPublicAccessBlockConfiguration 404 "The public access block configuration was not found",
    NoSuchTagSet 404 "The TagSet does not exist.",
    NoSuchUpload 404 "The specified multipart upload does not exist. The upload ID might not be valid, or the multipart upload might have been aborted or completed.",
    NoSuchVersion 404 "The specified version does not exist.",
    NoSuchWebsiteConfiguration 404 "The specified bucket does not have a website configuration.",
    NotImplemented 501 "A header or query that you provided implies functionality that is not implemented.",
    NotSupported 400 "The specified feature is not supported.",
    ObjectLockConfigurationNotFoundError 404 "Object Lock configuration does not exist for this bucket",
    OperationAborted 409 "A conflicting conditional operation is currently in progress against this resource. Try again.",
    OwnershipControlsNotFoundError 404 "The bucket ownership controls were not found",
    PreconditionFailed 412 "At least one of the preconditions that you specified did not hold.",
    QuotaExceeded 403 "The quota of the bucket is used up.",
    RequestTimeTooSkewed 403 "The difference between the request time and the server's time is too large.",
    RequestTimeout 400 "Your socket connection to the server was not read from or written to within the timeout period.",
    ServerSideEncryptionConfigurationNotFoundError 404 "The server-side encryption configuration was not found.",
    ServiceUnavailable 503 "Service is unable to handle request.",
    SignatureDoesNotMatch 403 "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    SlowDown 503 "Please reduce your request rate.",
    TooManyBuckets 400 "You have attempted to create more buckets than are allowed.",
    UnexpectedContent 400 "This request contains unsupported content.",
    UnresolvableGrantByEmailAddress 400 "The e-mail address you provided does not match any account on record.",
    UnsupportedSignature 400 "The provided request is signed with an unsupported signature version.",
    XAmzContentChecksumMismatch 400 "The provided checksum header does not match the computed checksum.",
    XAmzContentSHA256Mismatch 400 "The provided 'x-amz-content-sha256' header does not match what was computed.",
}

/// A request that failed: the code, what to say about it, and what the code adds to the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Error {
    pub code: Code,
    pub message: Cow<'static, str>,
    /// Elements of the XML body beyond the common ones, in order.
    pub fields: Vec<(&'static str, String)>,
    /// Headers of the answer beyond the common ones.
    pub headers: Vec<(&'static str, String)>,
}

impl S3Error {
    /// An error with a message of its own.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Self { code, message: message.into(), fields: Vec::new(), headers: Vec::new() }
    }

    /// `InvalidArgument`, with the argument's name and value as AWS gives them.
    pub fn invalid_argument(
        message: impl Into<Cow<'static, str>>,
        name: &str,
        value: impl Into<String>,
    ) -> Self {
        Self::new(Code::InvalidArgument, message)
            .field("ArgumentName", name)
            .field("ArgumentValue", value)
    }

    /// `NotImplemented`, with the header that asked for what is not there.
    pub fn unsupported_header(name: &str) -> Self {
        Self::from(Code::NotImplemented).field("Header", name)
    }

    /// Adds an element to the XML body.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The XML body.
    pub fn body(&self, resource: &str, request_id: &str, host_id: &str) -> Vec<u8> {
        Writer::plain_document("Error", |writer| {
            writer.text("Code", self.code.name());
            writer.text("Message", &self.message);
            for (name, value) in &self.fields {
                writer.text(name, value);
            }
            writer.text("Resource", resource);
            writer.text("RequestId", request_id);
            writer.text("HostId", host_id);
        })
    }
}

impl From<Code> for S3Error {
    fn from(code: Code) -> Self {
        Self::new(code, code.message())
    }
}

impl Code {
    /// Whether it says that a signature, or the key or the time that it claims, is not good. What has merely
    /// expired is not among them, nor who may not do what they have signed.
    pub fn is_of_a_signature(self) -> bool {
        matches!(
            self,
            Self::AuthorizationHeaderMalformed
                | Self::AuthorizationQueryParametersError
                | Self::InvalidAccessKeyId
                | Self::RequestTimeTooSkewed
                | Self::SignatureDoesNotMatch
        )
    }
}

/// Why a judgement of ours, which the engine makes at the moment of a write, refuses; the engine carries
/// its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Refusal {
    /// The version is retained or under legal hold.
    Locked = 1,
    /// What is to be kept with the version has grown beyond its bound.
    AttributesTooLarge = 2,
    /// What is kept with the version cannot be read.
    AttributesUnreadable = 3,
    /// Bytes are to be added to an object that is not as it was.
    WriteOffset = 16,
}

impl Refusal {
    const ALL: [Self; 4] =
        [Self::Locked, Self::AttributesTooLarge, Self::AttributesUnreadable, Self::WriteOffset];

    fn error_of(number: u16) -> S3Error {
        match Self::ALL.into_iter().find(|refusal| *refusal as u16 == number) {
            Some(Self::Locked) => S3Error::new(
                Code::AccessDenied,
                "Access Denied because object protected by object lock.",
            ),
            Some(Self::AttributesTooLarge) => Code::MetadataTooLarge.into(),
            Some(Self::WriteOffset) => Code::InvalidWriteOffset.into(),
            Some(Self::AttributesUnreadable) | None => {
                tracing::error!(number, "what is kept with a version cannot be judged");
                Code::InternalError.into()
            }
        }
    }
}

impl From<Refusal> for engine::ConditionFailure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal as u16)
    }
}

impl std::fmt::Display for S3Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for S3Error {}

/// The one place where the engine's errors become S3's, and where those that an operator must see
/// are logged.
impl From<engine::Error> for S3Error {
    fn from(error: engine::Error) -> Self {
        use engine::{ConditionFailure, Error};
        match error {
            Error::NoSuchBucket => Code::NoSuchBucket.into(),
            Error::BucketExists => Code::BucketAlreadyOwnedByYou.into(),
            Error::BucketNotEmpty => Code::BucketNotEmpty.into(),
            Error::NoSuchUpload => Code::NoSuchUpload.into(),
            Error::InvalidPart(number) => {
                Self::from(Code::InvalidPart).field("PartNumber", number.to_string())
            }
            Error::Condition(ConditionFailure::PreconditionFailed) => {
                Code::PreconditionFailed.into()
            }
            Error::Condition(ConditionFailure::NoSuchKey) => Code::NoSuchKey.into(),
            Error::Marker => Code::MethodNotAllowed.into(),
            Error::Condition(ConditionFailure::Superseded) => Code::OperationAborted.into(),
            Error::Condition(ConditionFailure::Refused(number)) => Refusal::error_of(number),
            Error::TooLarge(what) => Self::new(Code::EntityTooLarge, what),
            // AWS has no such answer. 503 says that the same will work a little later, and clients
            // hammer a full store until they give up; 507 (RFC 4918, section 11.5) says what is the
            // matter, and asks not to be repeated before a person has done something. SDKs that
            // retry every 5xx all the same back off as they do for 503.
            Error::OutOfSpace => Code::InsufficientStorage.into(),
            // As lasting as that.
            Error::IndexFull => Self::new(
                Code::InsufficientStorage,
                "No memory is left for more keys; reading and deleting still work.",
            ),
            Error::Busy => Self::from(Code::SlowDown).header("Retry-After", "1"),
            // The causes of these two were logged when they came up. Both may pass while a client
            // retries: the server is restarted, the drive comes back.
            Error::ReadOnly { .. } => Self::new(
                Code::ServiceUnavailable,
                "This key cannot be written since an I/O error. Reading still works.",
            ),
            Error::Offline { .. } => Self::new(
                Code::ServiceUnavailable,
                "A drive that this request needs is offline. Keys on the other drives are served.",
            ),
            Error::Stopping => Code::ServiceUnavailable.into(),
            error @ (Error::Corrupt(_)
            | Error::Io { .. }
            | Error::Unusable { .. }
            | Error::Backup(_)) => {
                tracing::error!(%error, "a request failed inside the store");
                Code::InternalError.into()
            }
        }
    }
}

impl From<crate::encryption::secret::CryptoFailed> for S3Error {
    fn from(_: crate::encryption::secret::CryptoFailed) -> Self {
        tracing::error!("the cipher failed, or the system gave no random bytes");
        Code::InternalError.into()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn check(error: engine::Error, code: Code, status: u16) {
        let error = S3Error::from(error);
        assert_eq!((error.code, error.code.status()), (code, status));
    }

    #[test]
    fn engine_errors_have_their_code_and_status() {
        check(engine::Error::NoSuchBucket, Code::NoSuchBucket, 404);
        check(engine::Error::OutOfSpace, Code::InsufficientStorage, 507);
        check(engine::Error::IndexFull, Code::InsufficientStorage, 507);
        check(engine::Error::Busy, Code::SlowDown, 503);
        let retries = |error: engine::Error| {
            S3Error::from(error).headers.iter().any(|(name, _)| *name == "Retry-After")
        };
        assert!(retries(engine::Error::Busy));
        assert!(!retries(engine::Error::IndexFull), "it lasts");
        check(engine::Error::Stopping, Code::ServiceUnavailable, 503);
        let cause = || "/data/x: EIO".to_string();
        check(engine::Error::ReadOnly { shard: 1, cause: cause() }, Code::ServiceUnavailable, 503);
        check(engine::Error::Offline { shard: 1, cause: cause() }, Code::ServiceUnavailable, 503);
        let source = std::io::Error::from_raw_os_error(libc::EIO);
        let context = "read /data/x".to_string();
        check(engine::Error::Io { context, source }, Code::InternalError, 500);
        check(engine::Error::Corrupt("at /data/x".into()), Code::InternalError, 500);
    }

    #[test]
    fn the_inside_of_the_server_stays_inside() {
        let inside = || "/data/segment-7".to_string();
        for error in [
            engine::Error::Corrupt(inside()),
            engine::Error::ReadOnly { shard: 1, cause: inside() },
            engine::Error::Offline { shard: 1, cause: inside() },
        ] {
            let body = S3Error::from(error).body("/b/k", "1", "2");
            assert!(!String::from_utf8(body).unwrap().contains("segment-7"));
        }
    }

    #[test]
    fn the_body_holds_the_common_elements_and_the_codes_own() {
        let error = S3Error::invalid_argument("Bad <value>", "max-keys", "x&y");
        let body = String::from_utf8(error.body("/b/a<b", "REQ", "HOST")).unwrap();
        assert_eq!(
            body.split_once('\n').unwrap().1,
            "<Error><Code>InvalidArgument</Code><Message>Bad &lt;value&gt;</Message>\
             <ArgumentName>max-keys</ArgumentName><ArgumentValue>x&amp;y</ArgumentValue>\
             <Resource>/b/a&lt;b</Resource><RequestId>REQ</RequestId><HostId>HOST</HostId></Error>"
        );
    }
}
