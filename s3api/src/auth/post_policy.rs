//! Who sent a form, and what the policy that they signed allows to be in it.
//!
//! ```text
//! {"expiration": "2030-01-01T00:00:00.000Z",
//!  "conditions": [{"bucket": "b"}, ["eq", "$key", "k"], ["starts-with", "$key", "user/"],
//!                 ["content-length-range", 0, 1048576]]}
//! ```
//!
//! Invariants: a form is taken as somebody's only if its policy carries their signature; then every
//! field of it is named by a condition, and every condition holds.
//!
//! Not here: reading the form (`form`), what is done with it (`ops::post_object`), what its sender may
//! do (`access`).
//!
//! Source: AWS, "Browser-Based Uploads Using POST (AWS Signature Version 4)".

use crate::auth::Secrets;
use crate::auth::credentials::{Credentials, SigningKey};
use crate::auth::sigv4::{ALGORITHM, Place, Scope, fits};
use crate::auth::timestamp::Timestamp;
use crate::error::{Code, Result, S3Error};
use crate::form::Fields;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use std::ops::RangeInclusive;
use std::sync::Arc;

const POLICY: &str = "policy";
const SIGNATURE: &str = "x-amz-signature";
const CREDENTIAL: &str = "x-amz-credential";

/// Fields that no condition needs to name: what is signed or signs, the file, and what AWS exempts.
const EXEMPT: [&str; 3] = [POLICY, SIGNATURE, "file"];
const EXEMPT_PREFIX: &str = "x-ignore-";

/// A form whose signature was found good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub access_key: Arc<str>,
    /// In seconds since the Unix epoch, as the form says.
    pub signed_at: i64,
    pub policy: PostPolicy,
}

/// Finds out who signed a form; none for one that nobody did.
///
/// Errors: `InvalidArgument` for a field that is missing, `InvalidAccessKeyId`,
/// `SignatureDoesNotMatch`, `InvalidPolicyDocument`, ...
pub fn authenticate(
    fields: &Fields,
    credentials: &Credentials,
    secrets: &dyn Secrets,
) -> Result<Option<Signed>> {
    if fields.get("awsaccesskeyid").is_some() || fields.get("signature").is_some() {
        return Err(S3Error::new(
            Code::InvalidRequest,
            "The authorization mechanism you have provided is not supported. Please use \
             AWS4-HMAC-SHA256.",
        ));
    }
    if fields.get("x-amz-security-token").is_some() {
        return Err(Code::InvalidToken.into());
    }
    const NAMES: [&str; 5] = [POLICY, SIGNATURE, CREDENTIAL, "x-amz-algorithm", "x-amz-date"];
    if NAMES.iter().all(|name| fields.get(name).is_none()) {
        return Ok(None);
    }
    let policy = required(fields, POLICY)?;
    let algorithm = required(fields, "x-amz-algorithm")?;
    if algorithm != ALGORITHM {
        let message = "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"";
        return Err(S3Error::invalid_argument(message, "x-amz-algorithm", algorithm));
    }
    let (access_key, signed_at) = verify(fields, policy, credentials, secrets)?;
    Ok(Some(Signed { access_key, signed_at, policy: PostPolicy::parse(policy)? }))
}

/// Compares the signature of the policy, as it is in the form, with the one that the secret gives. Returns whose it
/// is, and when it was made.
fn verify(
    fields: &Fields,
    policy: &str,
    credentials: &Credentials,
    secrets: &dyn Secrets,
) -> Result<(Arc<str>, i64)> {
    let signature = required(fields, SIGNATURE)?;
    let date = required(fields, "x-amz-date")?;
    let time = Timestamp::from_basic(date.as_bytes()).ok_or_else(|| {
        let message = "X-Amz-Date must be formated via ISO8601 Long format";
        S3Error::invalid_argument(message, "x-amz-date", date)
    })?;
    let scope = Scope::parse(required(fields, CREDENTIAL)?, Place::Query)?;
    scope.check(&time, credentials.region(), Place::Query)?;
    credentials.refresh(scope.access_key, secrets)?;
    let day = time.text().first_chunk().expect("the text has 16 characters");
    let (access_key, key): (Arc<str>, SigningKey) =
        credentials.signing_key(scope.access_key, day).ok_or_else(|| {
            S3Error::from(Code::InvalidAccessKeyId).field("AWSAccessKeyId", scope.access_key)
        })?;
    if fits(&key, policy.as_bytes(), signature.as_bytes()) {
        return Ok((access_key, time.seconds));
    }
    Err(S3Error::from(Code::SignatureDoesNotMatch)
        .field("AWSAccessKeyId", scope.access_key)
        .field("StringToSign", policy)
        .field("SignatureProvided", signature))
}

fn required<'a>(fields: &'a Fields, name: &'static str) -> Result<&'a str> {
    fields.get(name).ok_or_else(|| {
        let message = format!(
            "Bucket POST must contain a field named '{name}'.  If it is specified, please check the \
             order of the fields."
        );
        S3Error::invalid_argument(message, name, "")
    })
}

/// What the sender of a form is allowed to put into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostPolicy {
    /// Seconds since the Unix epoch.
    expiration: i64,
    conditions: Vec<Condition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    /// Names of fields are in lower case.
    Equals {
        field: String,
        value: String,
    },
    StartsWith {
        field: String,
        prefix: String,
    },
    Length(RangeInclusive<u64>),
}

impl PostPolicy {
    /// Reads the policy as the form holds it, in base64.
    pub fn parse(encoded: &str) -> Result<Self> {
        let bytes = BASE64_STANDARD.decode(encoded.trim());
        let bytes = bytes.map_err(|_| invalid("Invalid Base64 Encoding."))?;
        let document: Value =
            serde_json::from_slice(&bytes).map_err(|_| invalid("Invalid JSON."))?;
        let document = document.as_object().ok_or_else(|| invalid("Invalid JSON."))?;
        let (mut expiration, mut conditions) = (None, None);
        for (name, value) in document {
            match name.to_ascii_lowercase().as_str() {
                "expiration" => expiration = Some(parse_expiration(value)?),
                "conditions" => conditions = Some(parse_conditions(value)?),
                _ => return Err(invalid(&format!("Unexpected: '{name}'"))),
            }
        }
        Ok(Self {
            expiration: expiration.ok_or_else(|| invalid("Policy missing expiration."))?,
            conditions: conditions.ok_or_else(|| invalid("Policy missing conditions."))?,
        })
    }

    /// Compares the form with the policy. Returns how long the file may be. `now` is in seconds since
    /// the Unix epoch.
    ///
    /// `AccessDenied` for what the policy does not allow.
    pub fn check(&self, fields: &Fields, bucket: &str, now: i64) -> Result<RangeInclusive<u64>> {
        if now >= self.expiration {
            return Err(denied("Policy expired."));
        }
        let value = |field: &str| match field {
            "bucket" => Some(bucket),
            _ => fields.get(field),
        };
        let (mut least, mut most) = (0, u64::MAX);
        for condition in &self.conditions {
            if let Condition::Length(range) = condition {
                (least, most) = (least.max(*range.start()), most.min(*range.end()));
            } else if !condition.holds(value) {
                return Err(denied(&format!("Policy Condition failed: {}", condition.text())));
            }
        }
        let extra: Vec<&str> =
            fields.iter().map(|(name, _)| name).filter(|name| !self.covers(name)).collect();
        if !extra.is_empty() {
            return Err(denied(&format!("Extra input fields: {}", extra.join(", "))));
        }
        Ok(least..=most)
    }

    fn covers(&self, name: &str) -> bool {
        let is_exempt = EXEMPT.contains(&name) || name.starts_with(EXEMPT_PREFIX);
        is_exempt || self.conditions.iter().any(|condition| condition.field() == Some(name))
    }
}

impl Condition {
    fn parse(condition: &Value) -> Result<Self> {
        match condition {
            Value::Object(map) => {
                let mut entries = map.iter();
                match (entries.next(), entries.next()) {
                    (Some((name, Value::String(value))), None) => {
                        let field = name.to_ascii_lowercase();
                        Ok(Self::Equals { field, value: value.clone() })
                    }
                    (Some(_), None) => {
                        Err(invalid("Invalid Simple-Condition: value must be text."))
                    }
                    _ => Err(invalid(
                        "Invalid Simple-Condition: Simple-Conditions must have exactly one property \
                         specified.",
                    )),
                }
            }
            Value::Array(list) => Self::parse_list(list),
            _ => Err(invalid("Invalid Condition.")),
        }
    }

    fn parse_list(list: &[Value]) -> Result<Self> {
        let [Value::String(operation), first, second] = list else {
            return Err(invalid("Invalid Condition: wrong number of arguments."));
        };
        if operation.eq_ignore_ascii_case("content-length-range") {
            let number = |value: &Value| {
                value.as_u64().or_else(|| value.as_str()?.parse().ok()).ok_or_else(|| {
                    invalid("Invalid content-length-range: limits must be non-negative numbers.")
                })
            };
            return Ok(Self::Length(number(first)?..=number(second)?));
        }
        let (Value::String(field), Value::String(value)) = (first, second) else {
            return Err(invalid("Invalid Condition: arguments must be text."));
        };
        let field = field.strip_prefix('$').ok_or_else(|| {
            invalid("Invalid Condition: the name of a field must begin with '$'.")
        })?;
        let (field, value) = (field.to_ascii_lowercase(), value.clone());
        match operation.to_ascii_lowercase().as_str() {
            "eq" => Ok(Self::Equals { field, value }),
            "starts-with" => Ok(Self::StartsWith { field, prefix: value }),
            _ => Err(invalid(&format!("Invalid Condition: unknown operation '{operation}'."))),
        }
    }

    fn field(&self) -> Option<&str> {
        match self {
            Self::Equals { field, .. } | Self::StartsWith { field, .. } => Some(field),
            Self::Length(_) => None,
        }
    }

    /// A field that is not there fulfils nothing.
    fn holds<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        match self {
            Self::Equals { field, value: expected } => value(field) == Some(expected),
            // A list of types begins as is demanded if each of them does.
            Self::StartsWith { field, prefix } if field == "content-type" => value(field)
                .is_some_and(|types| {
                    types.split(',').all(|each| each.trim_start().starts_with(prefix.as_str()))
                }),
            Self::StartsWith { field, prefix } => {
                value(field).is_some_and(|value| value.starts_with(prefix.as_str()))
            }
            Self::Length(_) => true,
        }
    }

    fn text(&self) -> String {
        let list = match self {
            Self::Equals { field, value } => ["eq", &format!("${field}"), value].map(String::from),
            Self::StartsWith { field, prefix } => {
                ["starts-with", &format!("${field}"), prefix].map(String::from)
            }
            Self::Length(range) => [
                "content-length-range".to_owned(),
                range.start().to_string(),
                range.end().to_string(),
            ],
        };
        let quoted = list.map(|text| Value::String(text).to_string());
        format!("[{}]", quoted.join(", "))
    }
}

fn parse_conditions(value: &Value) -> Result<Vec<Condition>> {
    let list = value.as_array().ok_or_else(|| invalid("Invalid Conditions."))?;
    list.iter().map(Condition::parse).collect()
}

fn parse_expiration(value: &Value) -> Result<i64> {
    let time = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    time.map(jiff::Timestamp::as_second)
        .ok_or_else(|| invalid(&format!("Invalid 'expiration' value: {value}")))
}

fn invalid(what: &str) -> S3Error {
    S3Error::new(Code::InvalidPolicyDocument, format!("Invalid Policy: {what}"))
}

fn denied(what: &str) -> S3Error {
    S3Error::new(Code::AccessDenied, format!("Invalid according to Policy: {what}"))
}

#[cfg(test)]
mod tests;
