//! AWS's published S3 examples, and what clients get wrong.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::auth::Authenticator;

/// 2013-05-24T00:00:00Z, the time of AWS's examples.
const NOW: i64 = 1_369_353_600;
const ACCESS_KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const HOST: (&str, &str) = ("Host", "examplebucket.s3.amazonaws.com");
const DATE: (&str, &str) = ("x-amz-date", "20130524T000000Z");
const EMPTY: (&str, &str) = ("x-amz-content-sha256", EMPTY_SHA256);

fn authenticate_with(
    access_key: &str,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    now: i64,
) -> Result<(), S3Error> {
    let credentials = Credentials::new("us-east-1");
    credentials.insert(access_key, SECRET);
    let headers: Vec<(&str, &[u8])> = headers.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
    let request = RequestParts::new(method, target, &headers);
    Authenticator::new(credentials).authenticate_parts(&request, now, &()).map(|found| {
        assert_eq!(found.access_key.as_deref(), Some(access_key));
    })
}

fn authenticate(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<(), S3Error> {
    authenticate_with(ACCESS_KEY, method, target, headers, NOW)
}

fn authorization(signed_headers: &str, signature: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/20130524/us-east-1/s3/aws4_request,\
         SignedHeaders={signed_headers},Signature={signature}"
    )
}

fn check(method: &str, target: &str, headers: &[(&str, &str)], signed: &str, signature: &str) {
    let value = authorization(signed, signature);
    let mut all = headers.to_vec();
    all.push(("Authorization", &value));
    authenticate(method, target, &all).unwrap();
    // The other way of spacing, and one digit changed.
    let spaced = value.replace(",Sig", ", Sig").replace(",Signed", " ,  Signed");
    all.pop();
    all.push(("authorization", &spaced));
    authenticate(method, target, &all).unwrap();
    let wrong = value.replace(&signature[..4], "0000");
    all.pop();
    all.push(("Authorization", &wrong));
    let error = authenticate(method, target, &all).unwrap_err();
    assert_eq!(error.code, Code::SignatureDoesNotMatch);
    for name in ["StringToSign", "CanonicalRequest", "SignatureProvided", "AWSAccessKeyId"] {
        assert!(error.fields.iter().any(|(field, _)| *field == name), "{name}");
    }
    assert!(!format!("{error:?}").contains(SECRET));
}

/// AWS, "Signature Calculations for the Authorization Header: Transferring Payload in a Single
/// Chunk", examples GET Object, PUT Object, GET Bucket Lifecycle and Get Bucket (List Objects).
#[test]
fn the_published_examples_are_good() {
    check(
        "GET",
        "/test.txt",
        &[HOST, ("Range", "bytes=0-9"), EMPTY, DATE],
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    );
    check(
        "PUT",
        "/test$file.text",
        &[
            HOST,
            ("Date", "Fri, 24 May 2013 00:00:00 GMT"),
            DATE,
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            (
                "x-amz-content-sha256",
                "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072",
            ),
        ],
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
    );
    check(
        "GET",
        "/?lifecycle",
        &[HOST, EMPTY, DATE],
        "host;x-amz-content-sha256;x-amz-date",
        "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
    );
    check(
        "GET",
        "/?max-keys=2&prefix=J",
        &[HOST, EMPTY, DATE],
        "host;x-amz-content-sha256;x-amz-date",
        "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    );
}

const PRESIGNED: &str = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256\
    &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
    &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
    &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";

/// AWS, "Authenticating Requests: Using Query Parameters", its example, to the second.
#[test]
fn the_published_presigned_example_is_good_until_it_expires() {
    let at = |now| authenticate_with(ACCESS_KEY, "GET", PRESIGNED, &[HOST], now);
    at(NOW).unwrap();
    at(NOW + 86_400).unwrap();
    at(NOW - 900).unwrap();
    let expired = at(NOW + 86_401).unwrap_err();
    assert_eq!((expired.code, &*expired.message), (Code::AccessDenied, "Request has expired"));
    assert_eq!(expired.fields[1], ("Expires", "2013-05-25T00:00:00Z".to_owned()));
    assert_eq!(at(NOW - 901).unwrap_err().code, Code::AccessDenied);
}

fn check_presigned(from: &str, to: &str, code: Code) {
    let changed = PRESIGNED.replace(from, to);
    assert_ne!(changed, PRESIGNED);
    assert_eq!(authenticate("GET", &changed, &[HOST]).unwrap_err().code, code, "{to}");
}

#[test]
fn a_presigned_url_that_was_changed_is_refused() {
    use Code::{AuthorizationQueryParametersError as Malformed, SignatureDoesNotMatch as Mismatch};
    check_presigned("Expires=86400", "Expires=86401", Mismatch);
    check_presigned("Expires=86400", "Expires=604801", Malformed);
    check_presigned("Expires=86400", "Expires=0", Malformed);
    check_presigned("Expires=86400", "Expires=-1", Malformed);
    check_presigned("Expires=86400", "Expires=99999999999999999999", Malformed);
    check_presigned("X-Amz-Expires=86400&", "", Malformed);
    check_presigned("aeeed9", "aeeed8", Mismatch);
    check_presigned("aeeed9", "", Mismatch);
    check_presigned("/test.txt", "/test2.txt", Mismatch);
    check_presigned("HMAC-SHA256", "HMAC-SHA1", Malformed);
    check_presigned("us-east-1", "eu-west-1", Malformed);
    check_presigned("Date=2013", "Date=x013", Malformed);
    check_presigned("AKIA", "BKIA", Code::InvalidAccessKeyId);
    check_presigned("Headers=host", "Headers=date", Code::AccessDenied);
    check_presigned("test.txt?", "test.txt?versionId=3&", Mismatch);
    check_presigned("Credential=AKIA", "Credential=%FF", Malformed);
    let unsigned = [HOST, ("x-amz-acl", "public-read")];
    assert_eq!(authenticate("GET", PRESIGNED, &unsigned).unwrap_err().code, Code::AccessDenied);
}

/// What is wrong here is found before the signature is looked at.
fn check_refused(value: &str, headers: &[(&str, &str)], now: i64, code: Code) -> S3Error {
    let mut all = headers.to_vec();
    all.push(("Authorization", value));
    let error = authenticate_with(ACCESS_KEY, "GET", "/", &all, now).unwrap_err();
    assert_eq!(error.code, code, "{value}: {error}");
    error
}

#[test]
fn a_malformed_header_says_what_is_wrong() {
    let headers = [HOST, EMPTY, DATE];
    let good = authorization("host;x-amz-content-sha256;x-amz-date", "00");
    let refused = |value: &str, code| check_refused(value, &headers, NOW, code);
    let malformed = Code::AuthorizationHeaderMalformed;
    let region = refused(&good.replace("us-east-1", "eu-west-1"), malformed);
    assert_eq!(region.fields, [("Region", "us-east-1".to_owned())]);
    assert!(region.message.contains("'eu-west-1' is wrong; expecting 'us-east-1'"));
    assert!(refused(&good.replace("/s3/", "/ec2/"), malformed).message.contains("\"s3\""));
    refused(&good.replace("aws4_request", "aws5_request"), malformed);
    refused(&good.replace("/20130524/", "/20130523/"), malformed);
    refused(&good.replace("Signature", "Sig"), malformed);
    refused(&good.replace("Credential=", "Credential=/"), Code::InvalidAccessKeyId);
    refused("AWS4-HMAC-SHA256", malformed);
    refused("AWS4-HMAC-SHA256 Credential=a/b,SignedHeaders=host,Signature=0", malformed);
    refused("AWS AKIA:sig", Code::InvalidRequest);
    refused("Bearer x", Code::InvalidArgument);
    refused("", Code::InvalidArgument);
    refused("AWS4-ECDSA-P256-SHA256 Credential=x", Code::NotImplemented);
    refused(&authorization(&"host;".repeat(200), "00"), malformed);
    refused(&good, Code::SignatureDoesNotMatch);
}

#[test]
fn time_and_signed_headers_are_checked_first() {
    let headers = [HOST, EMPTY, DATE];
    let good = authorization("host;x-amz-content-sha256;x-amz-date", "00");
    let skewed = check_refused(&good, &headers, NOW + 901, Code::RequestTimeTooSkewed);
    assert_eq!(skewed.fields[2], ("MaxAllowedSkewMilliseconds", "900000".to_owned()));
    check_refused(&good, &headers, NOW - 901, Code::RequestTimeTooSkewed);
    check_refused(&good, &headers, NOW + 900, Code::SignatureDoesNotMatch);
    check_refused(&good, &[HOST, EMPTY], NOW, Code::AccessDenied);
    check_refused(&good, &[HOST, DATE], NOW, Code::InvalidRequest);
    let forgot = [HOST, EMPTY, DATE, ("X-Amz-Acl", "public-read")];
    let error = check_refused(&good, &forgot, NOW, Code::AccessDenied);
    assert_eq!(error.fields, [("HeadersNotSigned", "x-amz-acl".to_owned())]);
    let no_host = authorization("x-amz-content-sha256;x-amz-date", "00");
    check_refused(&no_host, &headers, NOW, Code::AccessDenied);
}

#[test]
fn without_a_signature_nobody_asks_and_two_signatures_are_refused() {
    let nobodys = |headers: &[(&str, &[u8])]| {
        let request = RequestParts::new("GET", "/", headers);
        let authenticator = Authenticator::new(Credentials::new("us-east-1"));
        let found = authenticator.authenticate_parts(&request, NOW, &());
        found.map(|found| found.access_key).map_err(|error| error.code)
    };
    assert_eq!(nobodys(&[]), Ok(None));
    let signed_chunks: [(&str, &[u8]); 2] = [
        ("x-amz-content-sha256", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("x-amz-decoded-content-length", b"1"),
    ];
    assert_eq!(nobodys(&signed_chunks), Err(Code::AccessDenied));
    let value = authorization("host", "00");
    let both = [HOST, ("Authorization", value.as_str())];
    assert_eq!(authenticate("GET", PRESIGNED, &both).unwrap_err().code, Code::InvalidArgument);
    let old = "/k?AWSAccessKeyId=a&Expires=1&Signature=b";
    assert_eq!(authenticate("GET", old, &[HOST]).unwrap_err().code, Code::InvalidRequest);
}

#[test]
fn an_access_key_may_hold_colons_at_signs_and_slashes() {
    let key = "user:name@host/a/b=c";
    let credentials = Credentials::new("us-east-1");
    credentials.insert(key, SECRET);
    let (_, signing_key) = credentials.signing_key(key, b"20130524").unwrap();
    let headers: &[(&str, &[u8])] = &[
        ("host", b"127.0.0.1:9000"),
        ("x-amz-content-sha256", b"UNSIGNED-PAYLOAD"),
        ("x-amz-date", b"20130524T000000Z"),
    ];
    let signed = "host;x-amz-content-sha256;x-amz-date";
    let request = RequestParts::new("GET", "/b//a%2Fb/../%20+", headers);
    let hash = canonical::hash(&request, Signed { headers: signed, payload: "UNSIGNED-PAYLOAD" });
    let time = Timestamp::from_basic(b"20130524T000000Z").unwrap();
    let mut mac = signing_key.mac();
    let mut to_sign = Vec::new();
    write_string_to_sign(&time, "us-east-1", &hash, &mut to_sign);
    mac.update(&to_sign);
    let value = authorization(signed, &hex::encode(mac.finalize().into_bytes()));
    let value = value.replace(ACCESS_KEY, key);
    let mut all = headers.to_vec();
    all.push(("authorization", value.as_bytes()));
    let request = RequestParts::new("GET", "/b//a%2Fb/../%20+", &all);
    let found = Authenticator::new(credentials).authenticate_parts(&request, NOW, &()).unwrap();
    assert_eq!(found.access_key.as_deref(), Some(key));
}

/// Each name writes its header's value into what is signed: a short request could have megabytes hashed, and shown.
#[test]
fn a_header_is_signed_once() {
    let headers: &[(&str, &[u8])] = &[
        ("host", b"a"),
        ("x-amz-content-sha256", b"UNSIGNED-PAYLOAD"),
        ("x-amz-date", b"20130524T000000Z"),
    ];
    let request = RequestParts::new("GET", "/", headers);
    for twice in ["host;host", "host;x;y;x", "host;Host"] {
        let refused = check_signed_headers(&request, twice, Place::Header).unwrap_err();
        assert_eq!(refused.code, Code::AuthorizationHeaderMalformed, "{twice}");
    }
}

#[test]
fn a_long_canonical_request_is_not_shown() {
    let shown = |length: usize| {
        let claim = Claim {
            access_key: ACCESS_KEY.into(),
            timestamp: Timestamp::from_basic(b"20130524T000000Z").unwrap(),
            signed_headers: "host".into(),
            signature: "0".into(),
            payload: "UNSIGNED-PAYLOAD".into(),
            presigned: false,
        };
        format!("{:?}", mismatch(&claim, "to sign", &vec![b'a'; length])).len()
    };
    assert!(shown(CANONICAL_SHOWN_BYTES_MAX) > 3 * CANONICAL_SHOWN_BYTES_MAX);
    assert!(shown(CANONICAL_SHOWN_BYTES_MAX + 1) < 10_000);
}

proptest::proptest! {
    #[test]
    fn no_header_and_no_query_panics(
        target in "/[ -~]{0,80}",
        value in proptest::collection::vec(0u8.., 0..200),
        fields in "[A-Za-z0-9/=;, ]{0,120}",
    ) {
        let fields = format!("AWS4-HMAC-SHA256 Credential={fields}");
        for authorization in [value.as_slice(), fields.as_bytes()] {
            let headers: &[(&str, &[u8])] =
                &[("authorization", authorization), ("x-amz-date", &value), ("date", &value)];
            let request = RequestParts::new("GET", &target, headers);
            let authenticator = Authenticator::new(Credentials::new("us-east-1"));
            assert!(authenticator.authenticate_parts(&request, NOW, &()).is_err());
            let query = format!("/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={fields}&{target}");
            let request = RequestParts::new("GET", &query, &[]);
            assert!(authenticator.authenticate_parts(&request, NOW, &()).is_err());
        }
    }
}

/// The request of AWS's example of a chunked upload, through to its first chunk's signature.
#[test]
fn the_published_chunked_request_seeds_its_chunks() {
    let seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
    check(
        "PUT",
        "/examplebucket/chunkObject.txt",
        &[
            ("Host", "s3.amazonaws.com"),
            DATE,
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
            ("Content-Encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("Content-Length", "66824"),
        ],
        "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
         x-amz-decoded-content-length;x-amz-storage-class",
        seed,
    );
    check(
        "PUT",
        "/examplebucket/chunkObject.txt",
        &[
            ("Host", "s3.amazonaws.com"),
            DATE,
            ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
            ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
            ("Content-Encoding", "aws-chunked"),
            ("x-amz-decoded-content-length", "66560"),
            ("x-amz-trailer", "x-amz-checksum-crc32c"),
        ],
        "content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;\
         x-amz-storage-class;x-amz-trailer",
        "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
    );
}
