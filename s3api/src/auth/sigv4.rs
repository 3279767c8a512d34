//! The `Authorization` header of Signature Version 4, and the check that both of its forms share.
//!
//! ```text
//! AWS4-HMAC-SHA256 Credential=KEY/20130524/us-east-1/s3/aws4_request,
//!                  SignedHeaders=host;x-amz-date, Signature=<64 hex digits>
//! ```
//!
//! Invariants: a claim is checked for time, scope and signed headers before any secret is used;
//! `host` and every `x-amz-` header that came are covered by the signature.
//!
//! Source: AWS, "Authenticating Requests: Using the Authorization Header".

use crate::auth::canonical::{self, Gathered, RequestParts, Signed, Sink};
use crate::auth::credentials::{Credentials, SERVICE, SigningKey, TERMINAL};
use crate::auth::timestamp::Timestamp;
use crate::dates::iso_time;
use crate::error::{Code, S3Error};
use crate::limits::{CANONICAL_SHOWN_BYTES_MAX, CLOCK_SKEW_SECONDS_MAX, SIGNED_HEADERS_MAX};
use crate::percent::decode_query;
use crate::text::{rsplit_once, split, split_once};
use hmac::Mac;
use http::RequestHead;
use std::borrow::Cow;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The one algorithm that is taken.
pub const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const ECDSA_ALGORITHM: &str = "AWS4-ECDSA-P256-SHA256";

/// What a request says of its signature.
#[derive(Debug)]
pub struct Claim<'a> {
    pub access_key: Cow<'a, str>,
    pub timestamp: Timestamp,
    pub signed_headers: Cow<'a, str>,
    /// As the client gave it; 64 hex digits if it is to be found good.
    pub signature: Cow<'a, str>,
    /// The last line of the canonical request.
    pub payload: Cow<'a, str>,
    pub presigned: bool,
}

/// Where a claim stood, which decides the error for one that is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Header,
    Query,
}

impl Place {
    /// The error for a claim that is malformed.
    pub fn malformed(self, what: &str) -> S3Error {
        match self {
            Self::Header => S3Error::new(
                Code::AuthorizationHeaderMalformed,
                format!("The authorization header is malformed; {what}"),
            ),
            Self::Query => S3Error::new(
                Code::AuthorizationQueryParametersError,
                format!("Error parsing the query authorization parameters; {what}"),
            ),
        }
    }
}

/// `KEY/DATE/REGION/SERVICE/aws4_request`. Read from its end, since a key may hold slashes.
#[derive(Debug)]
pub struct Scope<'a> {
    pub access_key: &'a str,
    pub date: &'a str,
    region: &'a str,
    service: &'a str,
    terminal: &'a str,
}

impl<'a> Scope<'a> {
    pub fn parse(credential: &'a str, place: Place) -> Result<Self, S3Error> {
        let fields = || {
            let (rest, terminal) = rsplit_once(credential, b'/')?;
            let (rest, service) = rsplit_once(rest, b'/')?;
            let (rest, region) = rsplit_once(rest, b'/')?;
            let (access_key, date) = rsplit_once(rest, b'/')?;
            Some(Self { access_key, date, region, service, terminal })
        };
        fields().filter(|scope| !scope.access_key.is_empty()).ok_or_else(|| {
            place.malformed(
                "the Credential is mal-formed; expecting \
                 \"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".",
            )
        })
    }

    /// The scope must be that of this server and of the request's day.
    pub fn check(&self, time: &Timestamp, region: &str, place: Place) -> Result<(), S3Error> {
        if self.terminal != TERMINAL {
            return Err(place.malformed(&format!(
                "incorrect terminal \"{}\". This endpoint uses \"{TERMINAL}\".",
                self.terminal
            )));
        }
        if self.service != SERVICE {
            return Err(place.malformed(&format!(
                "incorrect service \"{}\". This endpoint belongs to \"{SERVICE}\".",
                self.service
            )));
        }
        if self.region != region {
            let what = format!("the region '{}' is wrong; expecting '{region}'", self.region);
            return Err(place.malformed(&what).field("Region", region));
        }
        if self.date.as_bytes() != time.date() {
            return Err(place.malformed(&format!(
                "Invalid credential date \"{}\". This date is not the same as X-Amz-Date.",
                self.date
            )));
        }
        Ok(())
    }
}

/// The access key that a request names, checked in no way: for logs.
pub fn claimed_access_key(head: &RequestHead) -> Option<String> {
    let of_header = || {
        let (_, fields) = head.header_str("authorization")?.split_once("Credential=")?;
        Some(fields.split(',').next()?.to_owned())
    };
    let of_query = || {
        let (_, rest) = head.target().split_once("X-Amz-Credential=")?;
        decode_query(rest.split('&').next()?)
    };
    let credential = of_header().or_else(of_query)?;
    Some(Scope::parse(credential.trim(), Place::Header).ok()?.access_key.to_owned())
}

/// Reads and checks the header form.
pub fn claim_of_header<'a>(
    request: &RequestParts<'a>,
    authorization: &'a [u8],
    region: &str,
    now: i64,
) -> Result<Claim<'a>, S3Error> {
    let authorization = std::str::from_utf8(authorization)
        .map_err(|_| Place::Header.malformed("it is not UTF-8."))?;
    let fields = Fields::parse(authorization)?;
    let scope = Scope::parse(fields.credential, Place::Header)?;
    let timestamp = request_time(request)?;
    scope.check(&timestamp, region, Place::Header)?;
    check_skew(&timestamp, now)?;
    check_signed_headers(request, fields.signed_headers, Place::Header)?;
    Ok(Claim {
        access_key: scope.access_key.into(),
        timestamp,
        signed_headers: fields.signed_headers.into(),
        signature: fields.signature.into(),
        payload: payload_line(request)?.into(),
        presigned: false,
    })
}

/// The three fields of the header.
struct Fields<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

impl<'a> Fields<'a> {
    fn parse(authorization: &'a str) -> Result<Self, S3Error> {
        let (scheme, rest) = authorization
            .trim()
            .split_once(|c: char| c.is_ascii_whitespace())
            .unwrap_or((authorization, ""));
        check_scheme(scheme)?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in split(rest, b',') {
            let Some((name, value)) = split_once(field.trim(), b'=') else { continue };
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                // AWS takes no offence at fields that it does not know.
                _ => continue,
            };
            // Of two, whoever logs or filters requests in front might take the other.
            if place.replace(value).is_some() {
                return Err(Place::Header.malformed(&format!("{name} is there twice.")));
            }
        }
        let missing = |name: &str| Place::Header.malformed(&format!("missing {name}."));
        Ok(Self {
            credential: credential.ok_or_else(|| missing("Credential"))?,
            signed_headers: signed_headers.ok_or_else(|| missing("SignedHeaders"))?,
            signature: signature.ok_or_else(|| missing("Signature"))?,
        })
    }
}

fn check_scheme(scheme: &str) -> Result<(), S3Error> {
    match scheme {
        ALGORITHM => Ok(()),
        ECDSA_ALGORITHM => Err(S3Error::new(
            Code::NotImplemented,
            "Signature Version 4A (AWS4-ECDSA-P256-SHA256) is not implemented.",
        )),
        "AWS" => Err(S3Error::new(
            Code::InvalidRequest,
            "The authorization mechanism you have provided is not supported. Please use \
             AWS4-HMAC-SHA256.",
        )),
        // Not the whole header: its value may be somebody's password.
        _ => Err(S3Error::invalid_argument(
            "Unsupported Authorization Type",
            "Authorization",
            scheme,
        )),
    }
}

/// The time that the header form signs: `x-amz-date`, else `Date`.
fn request_time(request: &RequestParts<'_>) -> Result<Timestamp, S3Error> {
    let time = match request.header("x-amz-date") {
        Some(text) => Timestamp::from_basic(text),
        None => request.header("date").and_then(|text| {
            Timestamp::from_basic(text).or_else(|| Timestamp::from_http_date(text))
        }),
    };
    time.ok_or_else(|| {
        S3Error::new(
            Code::AccessDenied,
            "AWS authentication requires a valid Date or x-amz-date header",
        )
    })
}

fn check_skew(time: &Timestamp, now: i64) -> Result<(), S3Error> {
    if now.abs_diff(time.seconds) <= CLOCK_SKEW_SECONDS_MAX.unsigned_abs() {
        return Ok(());
    }
    Err(S3Error::from(Code::RequestTimeTooSkewed)
        .field("RequestTime", iso_time(time.seconds))
        .field("ServerTime", iso_time(now))
        .field("MaxAllowedSkewMilliseconds", (CLOCK_SKEW_SECONDS_MAX * 1000).to_string()))
}

/// `host` and all `x-amz-` headers must be signed: one that is not could be added on the way and
/// change what the request does.
pub fn check_signed_headers(
    request: &RequestParts<'_>,
    signed_headers: &str,
    place: Place,
) -> Result<(), S3Error> {
    if signed_headers.bytes().filter(|byte| *byte == b';').count() >= SIGNED_HEADERS_MAX {
        return Err(place.malformed("too many SignedHeaders."));
    }
    let names = || signed_headers.as_bytes().split(|byte| *byte == b';');
    // Each writes its header's value into what is signed.
    let comes_again = |(position, name): (usize, &[u8])| {
        names().skip(position + 1).any(|other| other.eq_ignore_ascii_case(name))
    };
    if names().enumerate().any(comes_again) {
        return Err(place.malformed("a header is named twice in SignedHeaders."));
    }
    let is_signed = |name: &str| names().any(|signed| signed.eq_ignore_ascii_case(name.as_bytes()));
    if !is_signed("host") {
        return Err(unsigned("host"));
    }
    let forgotten = request.headers.iter().find(|(name, _)| is_amz(name) && !is_signed(name));
    match forgotten {
        Some((name, _)) => Err(unsigned(&name.to_ascii_lowercase())),
        None => Ok(()),
    }
}

fn is_amz(name: &str) -> bool {
    name.get(..6).is_some_and(|start| start.eq_ignore_ascii_case("x-amz-"))
}

fn unsigned(name: &str) -> S3Error {
    S3Error::new(
        Code::AccessDenied,
        "There were headers present in the request which were not signed",
    )
    .field("HeadersNotSigned", name)
}

/// The header form names the payload's hash, or a word in its place, in a header.
fn payload_line<'a>(request: &RequestParts<'a>) -> Result<&'a str, S3Error> {
    let value = request.header("x-amz-content-sha256").ok_or_else(|| {
        S3Error::new(
            Code::InvalidRequest,
            "Missing required header for this request: x-amz-content-sha256",
        )
    })?;
    // What is not even text fits no form; `payload` says so in AWS's words.
    Ok(std::str::from_utf8(value).unwrap_or_default().trim())
}

/// Compares the claim's signature with the one that the secret gives. Returns whose it is, and the
/// key, which signs the chunks of the body too.
pub fn verify(
    request: &RequestParts<'_>,
    claim: &Claim<'_>,
    credentials: &Credentials,
) -> Result<(Arc<str>, SigningKey), S3Error> {
    let date = claim.timestamp.text().first_chunk().expect("the text has 16 characters");
    let (access_key, key) = credentials.signing_key(&claim.access_key, date).ok_or_else(|| {
        S3Error::from(Code::InvalidAccessKeyId).field("AWSAccessKeyId", &*claim.access_key)
    })?;
    let signed = Signed { headers: &claim.signed_headers, payload: &claim.payload };
    let hash = canonical::hash(request, signed);
    let mut mac = Gathered::new(key.mac());
    write_string_to_sign(&claim.timestamp, credentials.region(), &hash, &mut mac);
    if hex_fits(&mac.finish().finalize().into_bytes().into(), claim.signature.as_bytes()) {
        return Ok((access_key, key));
    }
    let mut to_sign = Vec::new();
    write_string_to_sign(&claim.timestamp, credentials.region(), &hash, &mut to_sign);
    let to_sign = String::from_utf8_lossy(&to_sign);
    Err(mismatch(claim, &to_sign, &canonical::text(request, signed)))
}

/// The signature of a request, in hex digits, as a client makes it.
pub fn sign(
    request: &RequestParts<'_>,
    signed: Signed<'_>,
    time: &Timestamp,
    region: &str,
    key: &SigningKey,
) -> String {
    let hash = canonical::hash(request, signed);
    let mut mac = Gathered::new(key.mac());
    write_string_to_sign(time, region, &hash, &mut mac);
    hex::encode(mac.finish().finalize().into_bytes())
}

/// `DATE/REGION/s3/aws4_request`
pub fn scope(time: &Timestamp, region: &str) -> String {
    let date = String::from_utf8_lossy(time.date());
    format!("{date}/{region}/{SERVICE}/{TERMINAL}")
}

/// Without an allocation: every request comes by here. What is written is what an error shows.
fn write_string_to_sign(
    time: &Timestamp,
    region: &str,
    canonical_hash: &[u8; 32],
    sink: &mut impl Sink,
) {
    let terminal = [SERVICE, TERMINAL].map(str::as_bytes);
    sink.put(ALGORITHM.as_bytes());
    for (part, before) in [
        (time.text().as_slice(), b"\n"),
        (time.date(), b"\n"),
        (region.as_bytes(), b"/"),
        (terminal[0], b"/"),
        (terminal[1], b"/"),
        (&hex_of(canonical_hash), b"\n"),
    ] {
        sink.put(before);
        sink.put(part);
    }
}

fn hex_of(digest: &[u8; 32]) -> [u8; 64] {
    let mut digits = [0; 64];
    hex::encode_to_slice(digest, &mut digits).expect("two digits for each byte");
    digits
}

/// Whether a signature, in hex digits, is that of the key. Takes as long for every signature.
pub fn fits(key: &SigningKey, to_sign: &[u8], signature: &[u8]) -> bool {
    let mut mac = key.mac();
    mac.update(to_sign);
    hex_fits(&mac.finalize().into_bytes().into(), signature)
}

/// Compares a digest with hex digits, in constant time.
pub fn hex_fits(digest: &[u8; 32], digits: &[u8]) -> bool {
    hex_of(digest).ct_eq(digits).into()
}

/// AWS shows what it signed, since nothing else helps to find a client's mistake.
fn mismatch(claim: &Claim<'_>, to_sign: &str, canonical: &[u8]) -> S3Error {
    let error = S3Error::from(Code::SignatureDoesNotMatch)
        .field("AWSAccessKeyId", &*claim.access_key)
        .field("StringToSign", to_sign)
        .field("SignatureProvided", &*claim.signature)
        .field("StringToSignBytes", spaced_hex(to_sign.as_bytes()));
    if canonical.len() > CANONICAL_SHOWN_BYTES_MAX {
        return error;
    }
    error
        .field("CanonicalRequest", String::from_utf8_lossy(canonical))
        .field("CanonicalRequestBytes", spaced_hex(canonical))
}

fn spaced_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 3);
    for (position, byte) in bytes.iter().enumerate() {
        let space = if position > 0 { " " } else { "" };
        // Writing to a string does not fail.
        let _ = write!(text, "{space}{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests;
