//! Signature Version 4 in the query: a URL that carries its own permission for a while.
//!
//! Invariants: as in [`sigv4`](crate::auth::sigv4); a URL is good from its date, less the allowed
//! skew, until its expiry, to the second.
//!
//! Source: AWS, "Authenticating Requests: Using Query Parameters".

use crate::auth::canonical::{RequestParts, Signed};
use crate::auth::credentials::Credentials;
use crate::auth::sigv4::{self, ALGORITHM, Claim, Place, Scope, check_signed_headers};
use crate::auth::timestamp::Timestamp;
use crate::dates::iso_time;
use crate::error::{Code, S3Error};
use crate::limits::{CLOCK_SKEW_SECONDS_MAX, PRESIGNED_SECONDS_MAX};
use crate::percent::{decode_query, encode, encode_all};
use std::borrow::Cow;

/// What a presigned URL signs in place of a hash: nobody knows the payload beforehand.
const UNSIGNED_PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// Whether the query claims to carry a signature, of whatever version.
pub fn is_presigned(request: &RequestParts<'_>) -> bool {
    ["X-Amz-Algorithm", "X-Amz-Signature", "X-Amz-Credential", "AWSAccessKeyId"]
        .iter()
        .any(|name| request.parameter(name).is_some())
}

/// Reads and checks the query form.
pub fn claim_of_query<'a>(
    request: &RequestParts<'a>,
    region: &str,
    now: i64,
) -> Result<Claim<'a>, S3Error> {
    if request.parameter("AWSAccessKeyId").is_some() {
        return Err(S3Error::new(
            Code::InvalidRequest,
            "The authorization mechanism you have provided is not supported. Please use \
             AWS4-HMAC-SHA256.",
        ));
    }
    if required(request, "X-Amz-Algorithm")? != ALGORITHM {
        return Err(invalid("X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\""));
    }
    let credential = required(request, "X-Amz-Credential")?;
    let scope = Scope::parse(&credential, Place::Query)?;
    let timestamp =
        Timestamp::from_basic(required(request, "X-Amz-Date")?.as_bytes()).ok_or_else(|| {
            invalid("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
        })?;
    scope.check(&timestamp, region, Place::Query)?;
    let lifetime = lifetime_seconds(&required(request, "X-Amz-Expires")?)?;
    check_time(&timestamp, lifetime, now)?;
    let signed_headers = required(request, "X-Amz-SignedHeaders")?;
    check_signed_headers(request, &signed_headers, Place::Query)?;
    Ok(Claim {
        access_key: scope.access_key.to_owned().into(),
        timestamp,
        signed_headers: signed_headers.into(),
        signature: required(request, "X-Amz-Signature")?.into(),
        payload: payload_line(request)?,
        presigned: true,
    })
}

/// What a URL is to permit.
#[derive(Debug, Clone, Copy)]
pub struct Permission<'a> {
    pub method: &'a str,
    /// Host and port that the URL is for.
    pub host: &'a str,
    /// Percent-encoded, beginning with `/`.
    pub path: &'a str,
    /// Percent-encoded; empty for none.
    pub query: &'a str,
    /// 1 to [`PRESIGNED_SECONDS_MAX`].
    pub seconds: i64,
}

/// Path and query of a URL that is good from `now` on; none without such an access key.
pub fn presign(
    permission: &Permission<'_>,
    credentials: &Credentials,
    access_key: &str,
    now: i64,
) -> Option<String> {
    let time = Timestamp::from_seconds(now)?;
    let (_, key) = credentials.signing_key(access_key, time.text().first_chunk()?)?;
    let credential = format!("{access_key}/{}", sigv4::scope(&time, credentials.region()));
    let query = [
        permission.query.to_owned(),
        format!("X-Amz-Algorithm={ALGORITHM}"),
        format!("X-Amz-Credential={}", encode_all(&credential)),
        format!("X-Amz-Date={}", String::from_utf8_lossy(time.text())),
        format!("X-Amz-Expires={}", permission.seconds),
        "X-Amz-SignedHeaders=host".to_owned(),
    ];
    let query = query.join("&");
    let query = query.trim_start_matches('&');
    let headers = [("host", permission.host.as_bytes())];
    let Permission { method, path, .. } = *permission;
    let request = RequestParts { method, path, query, headers: &headers };
    let signed = Signed { headers: "host", payload: UNSIGNED_PAYLOAD };
    let signature = sigv4::sign(&request, signed, &time, credentials.region(), &key);
    Some(format!("{path}?{query}&X-Amz-Signature={signature}"))
}

/// The path of an object's URL. Browsers fold `.` and `..` between slashes, so there the slashes are encoded.
pub fn path(bucket: &str, key: &str) -> String {
    let is_folded = key.split('/').any(|part| matches!(part, "." | ".."));
    let key = if is_folded { encode_all(key) } else { encode(key) };
    format!("/{bucket}/{key}")
}

/// A host and port as clients write them: without the port that is the scheme's own.
pub fn host_of(name: &str, port: u16, is_secure: bool) -> String {
    if port == if is_secure { 443 } else { 80 } {
        name.to_owned()
    } else {
        format!("{name}:{port}")
    }
}

fn required(request: &RequestParts<'_>, name: &str) -> Result<String, S3Error> {
    request.parameter(name).and_then(decode_query).ok_or_else(|| {
        invalid(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, \
             X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and \
             X-Amz-Expires parameters.",
        )
    })
}

fn invalid(message: &'static str) -> S3Error {
    S3Error::new(Code::AuthorizationQueryParametersError, message)
}

fn lifetime_seconds(text: &str) -> Result<i64, S3Error> {
    let seconds: i64 = text.parse().map_err(|_| invalid("X-Amz-Expires should be a number"))?;
    if seconds < 1 {
        return Err(invalid("X-Amz-Expires must be positive"));
    }
    if seconds > PRESIGNED_SECONDS_MAX {
        return Err(invalid(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given \
             X-Amz-Expires must be less than 604800 seconds",
        ));
    }
    Ok(seconds)
}

fn check_time(from: &Timestamp, lifetime: i64, now: i64) -> Result<(), S3Error> {
    // Both are four-digit years and a week: nothing here can overflow.
    let until = from.seconds + lifetime;
    if now > until {
        return Err(S3Error::new(Code::AccessDenied, "Request has expired")
            .field("X-Amz-Expires", lifetime.to_string())
            .field("Expires", iso_time(until))
            .field("ServerTime", iso_time(now)));
    }
    if from.seconds > now + CLOCK_SKEW_SECONDS_MAX {
        return Err(S3Error::new(Code::AccessDenied, "Request is not yet valid")
            .field("X-Amz-Date", iso_time(from.seconds))
            .field("ServerTime", iso_time(now)));
    }
    Ok(())
}

/// A client that does know the payload signs its hash, by header or by parameter.
fn payload_line<'a>(request: &RequestParts<'a>) -> Result<Cow<'a, str>, S3Error> {
    if let Some(value) = request.header("x-amz-content-sha256") {
        return Ok(std::str::from_utf8(value).unwrap_or_default().trim().into());
    }
    match request.parameter("X-Amz-Content-Sha256") {
        Some(value) => {
            let text = decode_query(value);
            text.map(Cow::Owned).ok_or_else(|| invalid("X-Amz-Content-Sha256 is not text"))
        }
        None => Ok(UNSIGNED_PAYLOAD.into()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// AWS's published example of a presigned URL.
    #[test]
    fn a_url_is_signed_as_aws_signs_it() {
        let credentials = Credentials::new("us-east-1");
        credentials.insert("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
        let permission = Permission {
            method: "GET",
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            query: "",
            seconds: 86_400,
        };
        let sign = |access_key| presign(&permission, &credentials, access_key, 1_369_353_600);
        assert_eq!(
            sign("AKIAIOSFODNN7EXAMPLE").unwrap(),
            "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
             &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
             &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
        assert_eq!(sign("nobody"), None);
    }
}
