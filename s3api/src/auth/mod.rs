//! Who sent a request, and in which form its body comes: AWS Signature Version 4.
//!
//! Invariants: a request is authenticated before a byte of its body is read; signatures are
//! compared in constant time; a secret never appears in an error, a log line or a `Debug` text.
//!
//! Not here: what a user may do (`access`), routing, the meaning of any header but those that
//! the signature covers by rule.
//!
//! One wire object a file: [`sigv4`] the `Authorization` header, [`presigned`] the query form,
//! [`canonical`] the request as both sign it, [`payload`] the body's form and reader, [`chunked`]
//! the `aws-chunked` framing. Sources: AWS, "Authenticating Requests (AWS Signature Version 4)".

pub mod canonical;
pub mod chunked;
pub mod credentials;
pub mod payload;
pub mod post_policy;
pub mod presigned;
pub mod sigv4;
pub mod timestamp;

pub use canonical::RequestParts;
pub use chunked::Trailers;
pub use credentials::Credentials;
pub use payload::{Payload, PayloadReader};

use crate::error::S3Error;
use chunked::ChunkSigner;
use sigv4::Claim;
use smallvec::SmallVec;
use std::sync::Arc;

/// Checks the signatures of one core's requests.
#[derive(Debug)]
pub struct Authenticator {
    credentials: Credentials,
}

/// The secrets of users who are not known to a core for good, as root is.
pub trait Secrets {
    /// The secret of an access key that may be used now.
    fn secret_of(&self, access_key: &str) -> Result<Option<String>, S3Error>;
}

/// There are none.
impl Secrets for () {
    fn secret_of(&self, _: &str) -> Result<Option<String>, S3Error> {
        Ok(None)
    }
}

/// A request whose signature was found good, or that carries none.
#[derive(Debug)]
pub struct Authenticated {
    /// Whose signature it is; none of a request that carries none.
    pub access_key: Option<Arc<str>>,
    /// When it was made, in seconds since the Unix epoch.
    pub signed_at: Option<i64>,
    /// The signature came in the query.
    pub presigned: bool,
    /// How the body comes.
    pub payload: Payload,
}

impl Authenticator {
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials }
    }

    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Finds out who sent a request. `now` is in seconds since the Unix epoch.
    ///
    /// Errors as [`Self::authenticate_parts`].
    pub fn authenticate(
        &self,
        head: &http::RequestHead,
        now: i64,
        secrets: &dyn Secrets,
    ) -> Result<Authenticated, S3Error> {
        let headers = signable_headers(head);
        let request = RequestParts::new(head.method_name(), head.target(), &headers);
        self.authenticate_parts(&request, now, secrets)
    }

    /// As [`Self::authenticate`], for a request that is not at hand as a head.
    ///
    /// Errors are those of AWS: `AccessDenied` with a signature that has expired,
    /// `SignatureDoesNotMatch`, `InvalidAccessKeyId`, `RequestTimeTooSkewed`,
    /// `AuthorizationHeaderMalformed`, `AuthorizationQueryParametersError`, ...
    pub fn authenticate_parts(
        &self,
        request: &RequestParts<'_>,
        now: i64,
        secrets: &dyn Secrets,
    ) -> Result<Authenticated, S3Error> {
        let Some(claim) = self.claim(request, now)? else { return anonymous(request) };
        self.credentials.refresh(&claim.access_key, secrets)?;
        let (access_key, key) = sigv4::verify(request, &claim, &self.credentials)?;
        let signed_at = Some(claim.timestamp.seconds);
        let payload = Payload::parse(&claim.payload, request, || {
            let scope = sigv4::scope(&claim.timestamp, self.credentials.region());
            Some(ChunkSigner::new(key, claim.timestamp, scope, &claim.signature))
        })?;
        Ok(Authenticated {
            access_key: Some(access_key),
            signed_at,
            presigned: claim.presigned,
            payload,
        })
    }

    /// A request of somebody whom the management port has signed in: no signature is asked for, and
    /// none is read. What its bytes are may still be said.
    pub fn vouched(
        &self,
        head: &http::RequestHead,
        access_key: &str,
    ) -> Result<Authenticated, S3Error> {
        let headers = signable_headers(head);
        let request = RequestParts::new(head.method_name(), head.target(), &headers);
        Ok(Authenticated { access_key: Some(access_key.into()), ..anonymous(&request)? })
    }

    /// What the request says of its signature, checked for everything but the signature itself;
    /// none if it carries none.
    fn claim<'a>(
        &self,
        request: &RequestParts<'a>,
        now: i64,
    ) -> Result<Option<Claim<'a>>, S3Error> {
        let region = self.credentials.region();
        match (request.header("authorization"), presigned::is_presigned(request)) {
            (Some(_), true) => Err(S3Error::invalid_argument(
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter or \
                 the Authorization header should be specified",
                "Authorization",
                "",
            )),
            (Some(authorization), false) => {
                sigv4::claim_of_header(request, authorization, region, now).map(Some)
            }
            (None, true) => presigned::claim_of_query(request, region, now).map(Some),
            (None, false) => Ok(None),
        }
    }
}

/// A request that nobody has signed; what its bytes are may still be said.
fn anonymous(request: &RequestParts<'_>) -> Result<Authenticated, S3Error> {
    let line = request
        .header("x-amz-content-sha256")
        .map_or(Ok("UNSIGNED-PAYLOAD"), |value| std::str::from_utf8(value).map(str::trim));
    let line = line.unwrap_or_default();
    let payload = Payload::parse(line, request, || None)?;
    Ok(Authenticated { access_key: None, signed_at: None, presigned: false, payload })
}

/// Names and values; in place, where there are as many as a usual request has.
type SignableHeaders<'a> = SmallVec<[(&'a str, &'a [u8]); 24]>;

/// The headers of a request, with the host that it is for as the one `Host`. An absolute target
/// names it in its own place and the header then means nothing (RFC 9112, section 3.2.2): were the
/// header what is signed, a URL for one bucket would open another of the same domain.
fn signable_headers(head: &http::RequestHead) -> SignableHeaders<'_> {
    let others = head.headers().filter(|(name, _)| !name.eq_ignore_ascii_case("host"));
    head.host().map(|host| ("host", host.as_bytes())).into_iter().chain(others).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::error::Code;

    /// AWS's example GET Object, as it comes off a connection.
    fn authenticate(target: &str, host: &str) -> Result<Authenticated, S3Error> {
        let head = format!(
            "GET {target} HTTP/1.1\r\n\
             Host: {host}\r\n\
             Range:   bytes=0-9 \r\n\
             x-amz-content-sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\n\
             x-amz-date: 20130524T000000Z\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/\
             s3/aws4_request,SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
             Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41\r\n\r\n"
        );
        let head = http::RequestHead::parse(head.as_bytes()).unwrap();
        let credentials = Credentials::new("us-east-1");
        credentials.insert("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        Authenticator::new(credentials).authenticate(&head, 1_369_353_600, &())
    }

    const HOST: &str = "examplebucket.s3.amazonaws.com";

    #[test]
    fn a_parsed_head_is_authenticated() {
        let found = authenticate("/test.txt", HOST).unwrap();
        assert_eq!(
            (found.access_key.as_deref(), found.presigned),
            (Some("AKIAIOSFODNN7EXAMPLE"), false)
        );
        assert!(matches!(found.payload, Payload::Hashed(_)));
    }

    /// The bucket is taken from the target's host, so the signature must be for that one.
    #[test]
    fn the_host_of_an_absolute_target_is_the_one_that_is_signed() {
        let absolute = |host| format!("http://{host}/test.txt");
        let code = |result: Result<_, S3Error>| result.err().map(|error| error.code);
        let other = absolute("otherbucket.s3.amazonaws.com");
        assert_eq!(code(authenticate(&other, HOST)), Some(Code::SignatureDoesNotMatch));
        assert_eq!(code(authenticate(&absolute(HOST), "anything")), None);
    }
}
