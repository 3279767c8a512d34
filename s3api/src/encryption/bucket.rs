//! What a bucket encrypts new objects with, and the XML in which clients say it.
//!
//! ```xml
//! <ServerSideEncryptionConfiguration><Rule>
//!   <ApplyServerSideEncryptionByDefault>
//!     <SSEAlgorithm>AES256 | aws:kms</SSEAlgorithm><KMSMasterKeyID>ID or ARN</KMSMasterKeyID>
//!   </ApplyServerSideEncryptionByDefault>
//!   <BucketKeyEnabled>true | false</BucketKeyEnabled>
//!   <BlockedEncryptionTypes><EncryptionType>NONE | SSE-C</EncryptionType></BlockedEncryptionTypes>
//! </Rule></ServerSideEncryptionConfiguration>
//! ```
//!
//! Invariants: exactly one rule; what is stored can be honoured. The key that it names need not exist:
//! as on AWS, requests that need it are refused until it does.
//!
//! Not here: where it is kept (`settings`), what a request says instead (`headers`).

use super::headers::{AES256, AWS_KMS};
use super::kms;
use crate::error::{Code, Result, S3Error};
use crate::settings::{BucketSetting, tag};
use crate::xml::reader::malformed;
use crate::xml::{Element, Writer};
use serde::{Deserialize, Serialize};

const ROOT: &str = "ServerSideEncryptionConfiguration";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketEncryption {
    pub method: Method,
    pub bucket_key: bool,
    /// Writes with a customer's key are refused.
    #[serde(default)]
    pub blocks_customer_keys: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    S3,
    Kms {
        /// As it was sent, to be shown so; none: the default key.
        key: Option<String>,
    },
}

impl BucketSetting for BucketEncryption {
    const TAG: u16 = tag::ENCRYPTION;
}

impl BucketEncryption {
    pub fn parse(document: &[u8]) -> Result<Self> {
        let root = Element::parse(document, ROOT)?;
        let mut rules = root.all("Rule");
        let (Some(rule), None) = (rules.next(), rules.next()) else { return Err(malformed()) };
        let default = rule.child("ApplyServerSideEncryptionByDefault").ok_or_else(malformed)?;
        let bucket_key = match rule.child_text("BucketKeyEnabled").map(str::trim) {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(malformed()),
        };
        let key = default.child_text("KMSMasterKeyID").map(str::trim);
        let method = match (default.required("SSEAlgorithm")?.trim(), key) {
            (AES256, None) => Method::S3,
            (AES256, Some(key)) => {
                return Err(S3Error::invalid_argument(
                    "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms",
                    "KMSMasterKeyID",
                    key,
                ));
            }
            (AWS_KMS, None) => Method::Kms { key: None },
            (AWS_KMS, Some(key)) if kms::id_of_request(key).is_some() => {
                Method::Kms { key: Some(key.to_owned()) }
            }
            (AWS_KMS, Some(key)) => {
                let message = "The key is no id, ARN or alias of a KMS key.";
                return Err(S3Error::invalid_argument(message, "KMSMasterKeyID", key));
            }
            ("aws:kms:dsse", _) => {
                let message = "Encryption in two layers (aws:kms:dsse) is not implemented.";
                return Err(S3Error::new(Code::NotImplemented, message));
            }
            _ => return Err(malformed()),
        };
        Ok(Self { method, bucket_key, blocks_customer_keys: parse_blocked(rule)? })
    }

    pub fn write(&self) -> Vec<u8> {
        Writer::document(ROOT, |writer| {
            writer.element("Rule", |writer| {
                writer.element("ApplyServerSideEncryptionByDefault", |writer| match &self.method {
                    Method::S3 => writer.text("SSEAlgorithm", AES256),
                    Method::Kms { key } => {
                        writer.text("SSEAlgorithm", AWS_KMS);
                        writer.optional("KMSMasterKeyID", key.as_deref());
                    }
                });
                writer.value("BucketKeyEnabled", self.bucket_key);
                if self.blocks_customer_keys {
                    writer.element("BlockedEncryptionTypes", |writer| {
                        writer.text("EncryptionType", "SSE-C");
                    });
                }
            });
        })
    }
}

fn parse_blocked(rule: &Element) -> Result<bool> {
    let Some(blocked) = rule.child("BlockedEncryptionTypes") else { return Ok(false) };
    let mut blocks_customer_keys = false;
    for kind in blocked.all("EncryptionType") {
        match kind.text().trim() {
            "SSE-C" => blocks_customer_keys = true,
            "NONE" => {}
            _ => return Err(malformed()),
        }
    }
    Ok(blocks_customer_keys)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn document(rule: &str) -> String {
        format!("<{ROOT} xmlns=\"urn:x\"><Rule>{rule}</Rule></{ROOT}>")
    }

    fn default(inner: &str) -> String {
        let element = "ApplyServerSideEncryptionByDefault";
        format!("<{element}>{inner}</{element}>")
    }

    fn check(document: &str, expected: Result<BucketEncryption, Code>) {
        let found = BucketEncryption::parse(document.as_bytes()).map_err(|error| error.code);
        if let Ok(found) = &found {
            assert_eq!(BucketEncryption::parse(&found.write()).as_ref(), Ok(found));
            let json = serde_json::to_vec(found).unwrap();
            assert_eq!(&serde_json::from_slice::<BucketEncryption>(&json).unwrap(), found);
        }
        assert_eq!(found, expected, "{document}");
    }

    #[test]
    fn configurations() {
        let s3 = "<SSEAlgorithm>AES256</SSEAlgorithm>";
        let kms = "<SSEAlgorithm>aws:kms</SSEAlgorithm>";
        let make = |method, bucket_key, blocks_customer_keys| {
            Ok(BucketEncryption { method, bucket_key, blocks_customer_keys })
        };
        check(&document(&default(s3)), make(Method::S3, false, false));
        check(&document(&default(kms)), make(Method::Kms { key: None }, false, false));
        let named = format!("{kms}<KMSMasterKeyID>p7n5_ch_idrivee2-48_com</KMSMasterKeyID>");
        let rule = format!("{}<BucketKeyEnabled>true</BucketKeyEnabled>", default(&named));
        let key = Some("p7n5_ch_idrivee2-48_com".to_owned());
        check(&document(&rule), make(Method::Kms { key }, true, false));
        let blocked = |kind: &str| {
            let types = format!("<EncryptionType>{kind}</EncryptionType>");
            document(&format!(
                "{}<BlockedEncryptionTypes>{types}</BlockedEncryptionTypes>",
                default(s3)
            ))
        };
        check(&blocked("SSE-C"), make(Method::S3, false, true));
        check(&blocked("NONE"), make(Method::S3, false, false));
        check(&blocked("SSE-KMS"), Err(Code::MalformedXML));

        for rule in [
            "",
            &default(""),
            &default("<SSEAlgorithm>aes256</SSEAlgorithm>"),
            &default("<SSEAlgorithm/>"),
            &format!("{}<BucketKeyEnabled>yes</BucketKeyEnabled>", default(s3)),
            "<BucketKeyEnabled>true</BucketKeyEnabled>",
        ] {
            check(&document(rule), Err(Code::MalformedXML));
        }
        let two = format!("<Rule>{0}</Rule><Rule>{0}</Rule>", default(s3));
        check(&format!("<{ROOT}>{two}</{ROOT}>"), Err(Code::MalformedXML));
        check(&format!("<{ROOT}></{ROOT}>"), Err(Code::MalformedXML));
        check("<Other/>", Err(Code::MalformedXML));
        check("", Err(Code::MalformedXML));
        let keyed = format!("{s3}<KMSMasterKeyID>k</KMSMasterKeyID>");
        check(&document(&default(&keyed)), Err(Code::InvalidArgument));
        let unusable = format!("{kms}<KMSMasterKeyID>a b</KMSMasterKeyID>");
        check(&document(&default(&unusable)), Err(Code::InvalidArgument));
        let dsse = "<SSEAlgorithm>aws:kms:dsse</SSEAlgorithm>";
        check(&document(&default(dsse)), Err(Code::NotImplemented));
    }
}
