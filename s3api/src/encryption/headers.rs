//! What a request says of encryption: `x-amz-server-side-encryption*`, and the same of a copy's source.
//!
//! Invariants: headers that contradict each other, or ask for what is not there, are refused; a
//! customer's key is as long as AES-256 needs, and is the one whose MD5 was sent with it; no error
//! holds any part of it.
//!
//! Not here: what a bucket has by default (`ops::encryption`), whether the connection may carry a key
//! (the same).
//!
//! Source: AWS, "Protecting data with server-side encryption".

use super::kms;
use super::secret::{KEY_BYTES, SecretKey};
use crate::error::{Code, Result, S3Error};
use crate::limits::KMS_CONTEXT_BYTES_MAX;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use engine::checksum::Md5;
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// The family of headers that this module reads.
pub const PREFIX: &str = "x-amz-server-side-encryption";
/// The family that holds the key of a copy's source.
pub const SOURCE_PREFIX: &str = "x-amz-copy-source-server-side-encryption";

pub const SSE: &str = PREFIX;
pub const KMS_KEY_ID: &str = "x-amz-server-side-encryption-aws-kms-key-id";
pub const KMS_CONTEXT: &str = "x-amz-server-side-encryption-context";
pub const BUCKET_KEY: &str = "x-amz-server-side-encryption-bucket-key-enabled";
pub const CUSTOMER_ALGORITHM: &str = "x-amz-server-side-encryption-customer-algorithm";
pub const CUSTOMER_KEY: &str = "x-amz-server-side-encryption-customer-key";
pub const CUSTOMER_KEY_MD5: &str = "x-amz-server-side-encryption-customer-key-MD5";
const SOURCE_ALGORITHM: &str = "x-amz-copy-source-server-side-encryption-customer-algorithm";
const SOURCE_KEY: &str = "x-amz-copy-source-server-side-encryption-customer-key";
const SOURCE_KEY_MD5: &str = "x-amz-copy-source-server-side-encryption-customer-key-MD5";

pub const AES256: &str = "AES256";
pub const AWS_KMS: &str = "aws:kms";
const AWS_KMS_DSSE: &str = "aws:kms:dsse";

/// A key that came with a request.
#[derive(Debug)]
pub struct CustomerKey {
    pub key: SecretKey,
    pub md5: [u8; 16],
}

/// What an object is to be encrypted with.
#[derive(Debug)]
pub enum Wanted {
    /// What the bucket says; only whether there is a bucket key, if the request says so.
    Default {
        bucket_key: Option<bool>,
    },
    S3,
    Kms(WantedKms),
    Customer(CustomerKey),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedKms {
    /// None: the default key.
    pub key_id: Option<String>,
    /// As JSON with sorted keys; empty: none was given.
    pub context: Vec<u8>,
    pub bucket_key: Option<bool>,
}

impl CustomerKey {
    /// The MD5 as headers give it.
    pub fn md5_text(&self) -> String {
        BASE64_STANDARD.encode(self.md5)
    }

    /// The key that a request brings for what it writes or reads.
    pub fn of_request<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Option<Self>> {
        Self::parse(header, [CUSTOMER_ALGORITHM, CUSTOMER_KEY, CUSTOMER_KEY_MD5])
    }

    /// The key that a request brings for the source of its copy.
    pub fn of_copy_source<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Option<Self>> {
        Self::parse(header, [SOURCE_ALGORITHM, SOURCE_KEY, SOURCE_KEY_MD5])
    }

    /// All three headers or none of them.
    fn parse<'a>(
        header: impl Fn(&str) -> Option<&'a [u8]>,
        [algorithm_name, key_name, md5_name]: [&str; 3],
    ) -> Result<Option<Self>> {
        let missing = |what: &str, name: &str| {
            let message = format!(
                "Requests specifying Server Side Encryption with Customer provided keys must \
                 provide {what}."
            );
            S3Error::invalid_argument(message, name, "null")
        };
        let (algorithm, key, md5) =
            match (header(algorithm_name), header(key_name), header(md5_name)) {
                (None, None, None) => return Ok(None),
                (None, ..) => return Err(missing("a valid encryption algorithm", algorithm_name)),
                (_, None, _) => return Err(missing("an appropriate secret key", key_name)),
                (.., None) => {
                    return Err(missing("the client calculated MD5 of the secret key", md5_name));
                }
                (Some(algorithm), Some(key), Some(md5)) => (algorithm, key, md5),
            };
        if algorithm != AES256.as_bytes() {
            return Err(S3Error::from(Code::InvalidEncryptionAlgorithmError)
                .field("ArgumentName", algorithm_name)
                .field("ArgumentValue", String::from_utf8_lossy(algorithm)));
        }
        let key = decode_key(key).ok_or_else(|| {
            S3Error::new(
                Code::InvalidArgument,
                "The secret key was invalid for the specified algorithm.",
            )
            .field("ArgumentName", key_name)
        })?;
        let mut computed = Md5::new();
        computed.update(key.bytes());
        let computed = computed.finish();
        if BASE64_STANDARD.decode(md5).ok().as_deref() != Some(computed.as_slice()) {
            return Err(S3Error::invalid_argument(
                "The calculated MD5 hash of the key did not match the hash that was provided.",
                md5_name,
                String::from_utf8_lossy(md5),
            ));
        }
        Ok(Some(Self { key, md5: computed }))
    }
}

fn decode_key(text: &[u8]) -> Option<SecretKey> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES + 3]);
    let length = BASE64_STANDARD.decode_slice(text, bytes.as_mut_slice()).ok()?;
    SecretKey::from_bytes(bytes.get(..length)?)
}

impl Wanted {
    /// Reads the headers of a request that writes through `header`, which gives the first of a name.
    pub fn of_request<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<Self> {
        let customer = CustomerKey::of_request(&header)?;
        let method = header(SSE).map(|value| text(SSE, value)).transpose()?;
        let bucket_key = header(BUCKET_KEY).map(parse_flag).transpose()?;
        if let (Some(method), Some(_)) = (method, &customer) {
            return Err(S3Error::invalid_argument(
                "Server Side Encryption with Customer provided key is incompatible with the \
                 encryption method specified",
                SSE,
                method,
            ));
        }
        if method != Some(AWS_KMS) {
            refuse_kms_headers(&header)?;
        }
        match (method, customer) {
            (None, None) => Ok(Self::Default { bucket_key }),
            (None, Some(key)) => Ok(Self::Customer(key)),
            (Some(AES256), _) => Ok(Self::S3),
            (Some(AWS_KMS), _) => Ok(Self::Kms(WantedKms {
                key_id: header(KMS_KEY_ID).map(parse_key_id).transpose()?,
                context: header(KMS_CONTEXT).map(parse_context).transpose()?.unwrap_or_default(),
                bucket_key,
            })),
            (Some(AWS_KMS_DSSE), _) => Err(S3Error::new(
                Code::NotImplemented,
                "Encryption in two layers (aws:kms:dsse) is not implemented.",
            )
            .field("Header", SSE)),
            (Some(other), _) => Err(S3Error::invalid_argument(
                "The encryption method specified is not supported",
                SSE,
                other,
            )),
        }
    }
}

fn refuse_kms_headers<'a>(header: impl Fn(&str) -> Option<&'a [u8]>) -> Result<()> {
    let Some((name, value)) =
        [KMS_KEY_ID, KMS_CONTEXT].iter().find_map(|name| Some((name, header(name)?)))
    else {
        return Ok(());
    };
    Err(S3Error::invalid_argument(
        "Server Side Encryption with AWS KMS managed key requires HTTP header \
         x-amz-server-side-encryption : aws:kms",
        name,
        String::from_utf8_lossy(value),
    ))
}

fn text<'a>(name: &str, value: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(value)
        .map_err(|_| S3Error::invalid_argument("The header is not valid UTF-8.", name, ""))
}

fn parse_flag(value: &[u8]) -> Result<bool> {
    match value.trim_ascii() {
        value if value.eq_ignore_ascii_case(b"true") => Ok(true),
        value if value.eq_ignore_ascii_case(b"false") => Ok(false),
        other => Err(S3Error::invalid_argument(
            "The bucket key flag is true or false.",
            BUCKET_KEY,
            String::from_utf8_lossy(other),
        )),
    }
}

fn parse_key_id(value: &[u8]) -> Result<String> {
    let id = std::str::from_utf8(value).ok().and_then(kms::id_of_request);
    id.map(str::to_owned).ok_or_else(|| no_such_key(&String::from_utf8_lossy(value)))
}

/// The key that a request or a bucket names is not there.
pub fn no_such_key(id: &str) -> S3Error {
    S3Error::new(Code::KmsNotFound, format!("Invalid keyId '{id}'"))
}

/// Reads base64 of a JSON object whose values are strings; gives it with sorted keys, so that the same
/// context is the same bytes.
fn parse_context(value: &[u8]) -> Result<Vec<u8>> {
    let refused = || {
        S3Error::invalid_argument(
            "The encryption context is not base64 of a JSON object of strings.",
            KMS_CONTEXT,
            String::from_utf8_lossy(value),
        )
    };
    let json = BASE64_STANDARD.decode(value).map_err(|_| refused())?;
    if json.len() > KMS_CONTEXT_BYTES_MAX {
        return Err(refused());
    }
    let pairs: BTreeMap<String, String> = serde_json::from_slice(&json).map_err(|_| refused())?;
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    serde_json::to_vec(&pairs).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Base64 of 32 bytes of 7, and of their MD5.
    const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

    fn md5() -> String {
        let mut md5 = Md5::new();
        md5.update(&[7; 32]);
        BASE64_STANDARD.encode(md5.finish())
    }

    fn wanted(headers: &[(&str, &str)]) -> Result<Wanted> {
        Wanted::of_request(|name| {
            let found = headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.as_bytes())
        })
    }

    fn check(headers: &[(&str, &str)], expected: Result<&str, (Code, Option<&str>)>) {
        let found = wanted(headers).map(|wanted| match wanted {
            Wanted::Default { bucket_key: None } => "default".to_owned(),
            Wanted::Default { bucket_key: Some(flag) } => format!("default {flag}"),
            Wanted::S3 => "s3".to_owned(),
            Wanted::Customer(key) => format!("customer {}", key.key.bytes()[0]),
            Wanted::Kms(kms) => {
                let context = String::from_utf8(kms.context).unwrap();
                format!("kms {:?} {context} {:?}", kms.key_id, kms.bucket_key)
            }
        });
        let found = found.map_err(|error| {
            let argument = error.fields.iter().find(|(name, _)| *name == "ArgumentName");
            assert!(!format!("{error:?}").contains(&KEY[..8]), "{error:?}");
            (error.code, argument.map(|(_, value)| value.clone()))
        });
        let expected = expected.map(str::to_owned);
        let expected = expected.map_err(|(code, name)| (code, name.map(str::to_owned)));
        assert_eq!(found, expected, "{headers:?}");
    }

    #[test]
    fn methods() {
        check(&[], Ok("default"));
        check(&[(BUCKET_KEY, "TRUE")], Ok("default true"));
        check(&[(SSE, "AES256")], Ok("s3"));
        check(&[(SSE, "aws:kms")], Ok("kms None  None"));
        check(
            &[(SSE, "aws:kms"), (KMS_KEY_ID, "k-1"), (BUCKET_KEY, "false"), (KMS_CONTEXT, "e30=")],
            Ok("kms Some(\"k-1\")  Some(false)"),
        );
        // {"b":"2","a":"1"}
        check(
            &[(SSE, "aws:kms"), (KMS_CONTEXT, "eyJiIjoiMiIsImEiOiIxIn0=")],
            Ok("kms None {\"a\":\"1\",\"b\":\"2\"} None"),
        );
        let invalid = |name: &'static str| Err((Code::InvalidArgument, Some(name)));
        for method in ["", "aes256", "AES128", "kms"] {
            check(&[(SSE, method)], invalid(SSE));
        }
        check(&[(SSE, "aws:kms:dsse")], Err((Code::NotImplemented, None)));
        check(&[(KMS_KEY_ID, "k")], invalid(KMS_KEY_ID));
        check(&[(SSE, "AES256"), (KMS_KEY_ID, "k")], invalid(KMS_KEY_ID));
        check(&[(SSE, "AES256"), (KMS_CONTEXT, "e30=")], invalid(KMS_CONTEXT));
        check(&[(SSE, "aws:kms"), (KMS_KEY_ID, "a/b")], Err((Code::KmsNotFound, None)));
        check(&[(SSE, "aws:kms"), (BUCKET_KEY, "yes")], invalid(BUCKET_KEY));
        // Not base64, not JSON, {"a":1}, ["a"].
        for context in ["%", "YQ==", "eyJhIjoxfQ==", "WyJhIl0="] {
            check(&[(SSE, "aws:kms"), (KMS_CONTEXT, context)], invalid(KMS_CONTEXT));
        }
    }

    #[test]
    fn a_customers_key_comes_whole_and_right() {
        let md5 = md5();
        let all =
            [(CUSTOMER_ALGORITHM, "AES256"), (CUSTOMER_KEY, KEY), (CUSTOMER_KEY_MD5, md5.as_str())];
        check(&all, Ok("customer 7"));
        let invalid = |name: &'static str| Err((Code::InvalidArgument, Some(name)));
        for (missing, (name, _)) in all.iter().enumerate() {
            let mut rest = all.to_vec();
            rest.remove(missing);
            check(&rest, Err((Code::InvalidArgument, Some(*name))));
        }
        let with = |at: usize, value| {
            let mut changed = all;
            changed[at].1 = value;
            changed
        };
        let code = Code::InvalidEncryptionAlgorithmError;
        check(&with(0, "AES128"), Err((code, Some(CUSTOMER_ALGORITHM))));
        let longer = format!("{}AAAA", &KEY[..40]);
        for key in ["", "%", "BwcH", &longer] {
            check(&with(1, key), invalid(CUSTOMER_KEY));
        }
        for digest in ["", "%", "AAAAAAAAAAAAAAAAAAAAAA=="] {
            check(&with(2, digest), invalid(CUSTOMER_KEY_MD5));
        }
        let both = [all.as_slice(), &[(SSE, "aws:kms")]].concat();
        check(&both, invalid(SSE));
        check(&[all.as_slice(), &[(KMS_KEY_ID, "k")]].concat(), invalid(KMS_KEY_ID));
    }

    #[test]
    fn a_sources_key_has_headers_of_its_own() {
        let md5 = md5();
        let header = |name: &str| match name {
            SOURCE_ALGORITHM => Some(b"AES256".as_slice()),
            SOURCE_KEY => Some(KEY.as_bytes()),
            SOURCE_KEY_MD5 => Some(md5.as_bytes()),
            _ => None,
        };
        assert_eq!(CustomerKey::of_copy_source(header).unwrap().unwrap().md5_text(), md5);
        assert!(CustomerKey::of_request(header).unwrap().is_none());
    }
}
