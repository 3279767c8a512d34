//! Cross-origin resource sharing: the configuration of a bucket, its document, its evaluation.
//!
//! Invariants: a [`CorsConfiguration`] that came from a client keeps AWS's rules (1 to 100 rules, each
//! with an origin and a method, at most one `*` in an origin or a header, none in an exposed header) and our
//! own (at most `CORS_ALLOWED_HEADERS_MAX` headers in a rule); the first rule that fits decides, and no
//! header of an answer comes from two rules.
//!
//! Not here: when answers are looked at (`service`), where the configuration is kept (`settings`).
//!
//! Source: AWS, "Using cross-origin resource sharing (CORS)", "Elements of a CORS configuration";
//! WHATWG Fetch, section "HTTP CORS protocol".

use crate::error::{Code, Result, S3Error};
use crate::limits::{
    CORS_ALLOWED_HEADERS_MAX, CORS_ID_CHARACTERS_MAX, CORS_REQUEST_HEADERS_MAX, CORS_RULES_MAX,
};
use crate::settings::{BucketSetting, tag};
use crate::xml::reader::malformed;
use crate::xml::{Element, Writer};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What an answer to another origin depends on, for caches.
pub const VARY: &str = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method";

const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "POST", "DELETE"];

/// The rules of one bucket, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorsConfiguration {
    rules: Vec<Rule>,
}

impl BucketSetting for CorsConfiguration {
    const TAG: u16 = tag::CORS;
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Rule {
    id: Option<String>,
    allowed_headers: Vec<String>,
    allowed_methods: Vec<String>,
    allowed_origins: Vec<String>,
    expose_headers: Vec<String>,
    max_age_seconds: Option<u32>,
}

/// What a preflight asks for.
#[derive(Debug, Clone, Copy)]
pub struct Preflight<'a> {
    pub origin: &'a str,
    pub method: &'a str,
    /// The value of `Access-Control-Request-Headers`.
    pub headers: Option<&'a str>,
}

impl<'a> Preflight<'a> {
    /// From a request's headers; `BadRequest` without an origin or a method that S3 has.
    pub fn parse(header: impl Fn(&str) -> Option<&'a str>) -> Result<Self> {
        let bad = |message: String| S3Error::new(Code::BadRequest, message);
        let origin = header("origin").ok_or_else(|| {
            bad("Insufficient information. Origin request header needed.".to_owned())
        })?;
        let method = header("access-control-request-method");
        let method = method.filter(|method| METHODS.contains(method)).ok_or_else(|| {
            let name = method.unwrap_or("null");
            bad(format!("Invalid Access-Control-Request-Method: {name}"))
        })?;
        Ok(Self { origin, method, headers: header("access-control-request-headers") })
    }

    /// Names of the headers that it asks for; none if there are too many to be looked at.
    fn header_names(&self) -> Option<Vec<String>> {
        let names = self.headers.unwrap_or_default().split(',').map(str::trim);
        let names: Vec<_> = names
            .filter(|name| !name.is_empty())
            .take(CORS_REQUEST_HEADERS_MAX + 1)
            .map(str::to_ascii_lowercase)
            .collect();
        (names.len() <= CORS_REQUEST_HEADERS_MAX).then_some(names)
    }
}

/// Headers of an answer.
pub type Headers<'a> = Vec<(&'static str, Cow<'a, str>)>;

impl CorsConfiguration {
    /// Reads a `CORSConfiguration` document.
    ///
    /// `MalformedXML` for another form, `InvalidRequest` for what AWS does not allow.
    pub fn parse_document(document: &[u8]) -> Result<Self> {
        let root = Element::parse(document, "CORSConfiguration")?;
        let rules = root.children();
        if rules.is_empty() || rules.iter().any(|rule| rule.name() != "CORSRule") {
            return Err(malformed());
        }
        if rules.len() > CORS_RULES_MAX {
            return Err(invalid(format!(
                "The number of CORS rules should not exceed allowed limit of {CORS_RULES_MAX} rules."
            )));
        }
        Ok(Self { rules: rules.iter().map(Rule::parse).collect::<Result<_>>()? })
    }

    /// The `CORSConfiguration` document.
    pub fn document(&self) -> Vec<u8> {
        Writer::document("CORSConfiguration", |writer| {
            self.rules
                .iter()
                .for_each(|rule| writer.element("CORSRule", |writer| rule.write(writer)));
        })
    }

    /// The headers that grant a preflight; none if no rule does.
    pub fn preflight<'a>(&'a self, request: &Preflight<'a>) -> Option<Headers<'a>> {
        let names = request.header_names()?;
        let (rule, origin) =
            self.find(request.origin, request.method, |rule| rule.allows_headers(&names))?;
        let mut headers = rule.headers(origin, request.origin);
        if !names.is_empty() {
            headers.push(("Access-Control-Allow-Headers", names.join(", ").into()));
        }
        Some(headers)
    }

    /// The headers of the answer to a request from another origin; none if no rule allows it.
    pub fn actual<'a>(&'a self, origin: &'a str, method: &str) -> Option<Headers<'a>> {
        let (rule, pattern) = self.find(origin, method, |_| true)?;
        Some(rule.headers(pattern, origin))
    }

    /// The first rule that fits, with the pattern that the origin fits.
    fn find(
        &self,
        origin: &str,
        method: &str,
        fits: impl Fn(&Rule) -> bool,
    ) -> Option<(&Rule, &str)> {
        self.rules.iter().find_map(|rule| {
            let pattern = rule.allowed_origins.iter().find(|pattern| matches(pattern, origin))?;
            let allowed = rule.allowed_methods.iter().any(|allowed| allowed == method);
            (allowed && fits(rule)).then_some((rule, pattern.as_str()))
        })
    }
}

impl Rule {
    fn parse(element: &Element) -> Result<Self> {
        let mut rule = Self::default();
        for child in element.children() {
            if !child.children().is_empty() {
                return Err(malformed());
            }
            let text = child.text().trim();
            match child.name() {
                "ID" if rule.id.is_none() => rule.id = Some(checked_id(text)?),
                "AllowedHeader" => {
                    rule.allowed_headers.push(checked_pattern("AllowedHeader", text)?)
                }
                "AllowedMethod" => rule.allowed_methods.push(checked_method(text)?),
                "AllowedOrigin" => {
                    rule.allowed_origins.push(checked_pattern("AllowedOrigin", text)?)
                }
                "ExposeHeader" => rule.expose_headers.push(checked_exposed(text)?),
                "MaxAgeSeconds" if rule.max_age_seconds.is_none() => {
                    let seconds = text.parse().ok().filter(|seconds| *seconds <= i32::MAX as u32);
                    rule.max_age_seconds = Some(seconds.ok_or_else(malformed)?);
                }
                _ => return Err(malformed()),
            }
        }
        if rule.allowed_methods.is_empty() || rule.allowed_origins.is_empty() {
            return Err(malformed());
        }
        if rule.allowed_headers.len() > CORS_ALLOWED_HEADERS_MAX {
            return Err(invalid(format!(
                "The number of AllowedHeader elements of a CORS rule should not exceed allowed limit of \
                 {CORS_ALLOWED_HEADERS_MAX}."
            )));
        }
        Ok(rule)
    }

    fn write(&self, writer: &mut Writer) {
        writer.optional("ID", self.id.as_deref());
        for (name, values) in [
            ("AllowedHeader", &self.allowed_headers),
            ("AllowedMethod", &self.allowed_methods),
            ("AllowedOrigin", &self.allowed_origins),
            ("ExposeHeader", &self.expose_headers),
        ] {
            values.iter().for_each(|value| writer.text(name, value));
        }
        if let Some(seconds) = self.max_age_seconds {
            writer.value("MaxAgeSeconds", seconds);
        }
    }

    fn allows_headers(&self, names: &[String]) -> bool {
        let patterns: Vec<_> =
            self.allowed_headers.iter().map(|text| HeaderPattern::of(text)).collect();
        names.iter().all(|name| patterns.iter().any(|pattern| pattern.matches(name)))
    }

    /// An origin that is allowed by name may send credentials; one that any origin would be may not.
    fn headers<'a>(&self, pattern: &str, origin: &'a str) -> Headers<'a> {
        let mut headers: Headers<'a> = Vec::with_capacity(7);
        if pattern == "*" {
            headers.push(("Access-Control-Allow-Origin", "*".into()));
        } else {
            headers.push(("Access-Control-Allow-Origin", origin.into()));
            headers.push(("Access-Control-Allow-Credentials", "true".into()));
        }
        headers.push(("Access-Control-Allow-Methods", self.allowed_methods.join(", ").into()));
        if !self.expose_headers.is_empty() {
            headers.push(("Access-Control-Expose-Headers", self.expose_headers.join(", ").into()));
        }
        if let Some(seconds) = self.max_age_seconds {
            headers.push(("Access-Control-Max-Age", seconds.to_string().into()));
        }
        headers
    }
}

/// The error of a preflight that is not granted.
pub fn forbidden(reason: &'static str, method: &str, is_object: bool) -> S3Error {
    S3Error::new(Code::AccessForbidden, reason)
        .field("Method", method)
        .field("ResourceType", if is_object { "OBJECT" } else { "BUCKET" })
}

pub const NO_BUCKET: &str = "CORSResponse: Bucket not found";
pub const NOT_ENABLED: &str = "CORSResponse: CORS is not enabled for this bucket.";
pub const NOT_ALLOWED: &str = "CORSResponse: This CORS request is not allowed. This is usually \
    because the evaluation of Origin, request method / Access-Control-Request-Method or \
    Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.";

/// The name of an allowed header, or what stands before and behind its `*`.
enum HeaderPattern<'a> {
    Whole(&'a [u8]),
    Around(&'a [u8], &'a [u8]),
}

impl<'a> HeaderPattern<'a> {
    fn of(text: &'a str) -> Self {
        match text.split_once('*') {
            None => Self::Whole(text.as_bytes()),
            Some((start, end)) => Self::Around(start.as_bytes(), end.as_bytes()),
        }
    }

    /// Whatever the case of letters.
    fn matches(&self, name: &str) -> bool {
        let name = name.as_bytes();
        match self {
            Self::Whole(whole) => name.eq_ignore_ascii_case(whole),
            Self::Around(start, end) => {
                name.split_at_checked(start.len()).is_some_and(|(head, rest)| {
                    let tail = rest.len().checked_sub(end.len()).and_then(|at| rest.get(at..));
                    head.eq_ignore_ascii_case(start)
                        && tail.is_some_and(|tail| tail.eq_ignore_ascii_case(end))
                })
            }
        }
    }
}

/// Whether a text fits a pattern with at most one `*`.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, end)) => text.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
    }
}

fn invalid(message: String) -> S3Error {
    S3Error::new(Code::InvalidRequest, message)
}

fn checked_id(text: &str) -> Result<String> {
    if text.chars().count() > CORS_ID_CHARACTERS_MAX {
        return Err(invalid(format!(
            "The ID of a CORS rule cannot be longer than {CORS_ID_CHARACTERS_MAX} characters."
        )));
    }
    Ok(text.to_owned())
}

fn checked_method(text: &str) -> Result<String> {
    if METHODS.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(invalid(format!(
        "Found unsupported HTTP method in CORS config. Unsupported method is {text}"
    )))
}

fn checked_pattern(name: &str, text: &str) -> Result<String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(malformed());
    }
    if text.bytes().filter(|byte| *byte == b'*').count() > 1 {
        return Err(invalid(format!("{name} \"{text}\" can not have more than one wildcard.")));
    }
    Ok(text.to_owned())
}

fn checked_exposed(text: &str) -> Result<String> {
    if text.contains('*') {
        return Err(invalid(format!(
            "ExposeHeader \"{text}\" contains wildcard. We currently do not support wildcard for \
             ExposeHeader."
        )));
    }
    checked_pattern("ExposeHeader", text)
}

#[cfg(test)]
mod tests;
