//! Website hosting: the configuration of a bucket, its document, and where a request is sent by it.
//!
//! Invariants: a [`WebsiteConfiguration`] that came from a client keeps AWS's rules: it redirects all
//! requests, or has an index document and at most 50 routing rules, each of which says where to. The
//! first rule that fits decides.
//!
//! Not here: reading objects for a website (`ops::website`), where the configuration is kept
//! (`settings`).
//!
//! Source: AWS, "Hosting a static website using Amazon S3", "Configuring a webpage redirect".

mod error_page;

pub use error_page::error_page;

use crate::error::{Code, Result, S3Error};
use crate::limits::{KEY_BYTES_MAX, WEBSITE_RULES_MAX};
use crate::percent;
use crate::settings::{BucketSetting, tag};
use crate::xml::reader::malformed;
use crate::xml::{Element, Writer};
use serde::{Deserialize, Serialize};

/// How a bucket is a website.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebsiteConfiguration {
    RedirectAll(Place),
    Pages(Pages),
}

impl BucketSetting for WebsiteConfiguration {
    const TAG: u16 = tag::WEBSITE;
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// Added to a key that is empty or ends with a slash.
    pub index_suffix: String,
    /// The key of the object that errors of class 4xx are answered with.
    pub error_key: Option<String>,
    rules: Vec<Rule>,
}

/// The host, and how it is spoken to if not as it was until now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    host: String,
    protocol: Option<Protocol>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Protocol {
    Http,
    Https,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Rule {
    /// Of the keys that it is for; empty for all.
    key_prefix: String,
    has_key_prefix: bool,
    /// Of the error that it is for; none if it needs none.
    error_status: Option<u16>,
    redirect: Redirect,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Redirect {
    host: Option<String>,
    protocol: Option<Protocol>,
    status: Option<u16>,
    replacement: Option<Replacement>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Replacement {
    Prefix(String),
    Key(String),
}

/// How a request came, which decides what a redirect leaves open.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The `Host` that was asked, with its port.
    pub host: &'a str,
    pub is_secure: bool,
}

/// An answer that sends the client elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirection {
    pub status: u16,
    pub location: String,
}

impl WebsiteConfiguration {
    /// Reads a `WebsiteConfiguration` document.
    ///
    /// `MalformedXML` for another form, `InvalidArgument` or `InvalidRequest` for what AWS does not
    /// allow.
    pub fn parse_document(document: &[u8]) -> Result<Self> {
        let root = Element::parse(document, "WebsiteConfiguration")?;
        const CHILDREN: [&str; 4] =
            ["ErrorDocument", "IndexDocument", "RedirectAllRequestsTo", "RoutingRules"];
        let [error, index, all, rules] = children(&root, CHILDREN)?;
        if let Some(all) = all {
            if root.children().len() > 1 {
                return Err(S3Error::invalid_argument(
                    "RedirectAllRequestsTo cannot be provided in conjunction with other Routing \
                     Rules.",
                    "RedirectAllRequestsTo",
                    "not null",
                ));
            }
            return Ok(Self::RedirectAll(Place::parse(all)?));
        }
        let index = index.ok_or_else(|| {
            S3Error::invalid_argument(
                "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is \
                 empty",
                "IndexDocument",
                "null",
            )
        })?;
        Ok(Self::Pages(Pages {
            index_suffix: parse_suffix(index)?,
            error_key: error.map(parse_error_key).transpose()?,
            rules: rules.map(parse_rules).transpose()?.unwrap_or_default(),
        }))
    }

    /// The `WebsiteConfiguration` document.
    pub fn document(&self) -> Vec<u8> {
        Writer::document("WebsiteConfiguration", |writer| match self {
            Self::RedirectAll(place) => {
                writer.element("RedirectAllRequestsTo", |writer| place.write(writer));
            }
            Self::Pages(pages) => pages.write(writer),
        })
    }
}

impl Place {
    fn parse(element: &Element) -> Result<Self> {
        let [host, protocol] = leaves(element, ["HostName", "Protocol"])?;
        let host = host.filter(|host| is_host(host)).ok_or_else(malformed)?;
        let protocol = protocol.map(Protocol::parse).transpose()?;
        Ok(Self { host: host.to_owned(), protocol })
    }

    fn write(&self, writer: &mut Writer) {
        writer.text("HostName", &self.host);
        writer.optional("Protocol", self.protocol.map(Protocol::name));
    }

    /// Where a request for `target`, path and query as they were sent, finds the same.
    pub fn redirect(&self, target: &str, origin: Origin<'_>) -> Redirection {
        let scheme = Protocol::or_of(self.protocol, origin);
        Redirection { status: 301, location: format!("{scheme}://{}{target}", self.host) }
    }
}

impl Pages {
    /// What a rule that waits for no error makes of a request.
    pub fn redirect(&self, key: &str, origin: Origin<'_>) -> Option<Redirection> {
        let rule = self.rules.iter().find(|rule| rule.error_status.is_none() && rule.fits(key))?;
        Some(rule.redirection(key, origin))
    }

    /// What a rule makes of a request that came to an error.
    pub fn redirect_error(
        &self,
        key: &str,
        status: u16,
        origin: Origin<'_>,
    ) -> Option<Redirection> {
        let rule = self.rules.iter();
        let mut rule = rule.filter(|rule| rule.error_status == Some(status) && rule.fits(key));
        Some(rule.next()?.redirection(key, origin))
    }

    /// The key of the object that a request for a key is answered with.
    pub fn page(&self, key: &str) -> String {
        if key.is_empty() || key.ends_with('/') {
            format!("{key}{}", self.index_suffix)
        } else {
            key.to_owned()
        }
    }

    fn write(&self, writer: &mut Writer) {
        writer.element("IndexDocument", |writer| writer.text("Suffix", &self.index_suffix));
        if let Some(key) = &self.error_key {
            writer.element("ErrorDocument", |writer| writer.text("Key", key));
        }
        if self.rules.is_empty() {
            return;
        }
        writer.element("RoutingRules", |writer| {
            for rule in &self.rules {
                writer.element("RoutingRule", |writer| rule.write(writer));
            }
        });
    }
}

impl Rule {
    fn parse(element: &Element) -> Result<Self> {
        if element.name() != "RoutingRule" {
            return Err(malformed());
        }
        let [condition, redirect] = children(element, ["Condition", "Redirect"])?;
        let redirect = Redirect::parse(redirect.ok_or_else(malformed)?)?;
        let Some(condition) = condition else {
            return Ok(Self {
                key_prefix: String::new(),
                has_key_prefix: false,
                error_status: None,
                redirect,
            });
        };
        let [prefix, status] =
            leaves(condition, ["KeyPrefixEquals", "HttpErrorCodeReturnedEquals"])?;
        if prefix.is_none() && status.is_none() {
            return Err(invalid(
                "Condition cannot be empty. To redirect all requests without a condition, the \
                 condition element shouldn't be present.",
            ));
        }
        let error_status = status.map(parse_error_status).transpose()?;
        let has_key_prefix = prefix.is_some();
        let key_prefix = checked_key(prefix.unwrap_or_default())?;
        Ok(Self { key_prefix, has_key_prefix, error_status, redirect })
    }

    fn write(&self, writer: &mut Writer) {
        if self.has_key_prefix || self.error_status.is_some() {
            writer.element("Condition", |writer| {
                if self.has_key_prefix {
                    writer.text("KeyPrefixEquals", &self.key_prefix);
                }
                if let Some(status) = self.error_status {
                    writer.value("HttpErrorCodeReturnedEquals", status);
                }
            });
        }
        writer.element("Redirect", |writer| self.redirect.write(writer));
    }

    fn fits(&self, key: &str) -> bool {
        key.starts_with(&self.key_prefix)
    }

    fn redirection(&self, key: &str, origin: Origin<'_>) -> Redirection {
        let key = match &self.redirect.replacement {
            None => key.to_owned(),
            Some(Replacement::Key(key)) => key.clone(),
            Some(Replacement::Prefix(prefix)) => {
                let rest = key.strip_prefix(&self.key_prefix).unwrap_or(key);
                format!("{prefix}{rest}")
            }
        };
        let scheme = Protocol::or_of(self.redirect.protocol, origin);
        let host = self.redirect.host.as_deref().unwrap_or(origin.host);
        Redirection {
            status: self.redirect.status.unwrap_or(301),
            location: format!("{scheme}://{host}/{}", encoded_reference(&key)),
        }
    }
}

impl Redirect {
    fn parse(element: &Element) -> Result<Self> {
        const LEAVES: [&str; 5] =
            ["HostName", "HttpRedirectCode", "Protocol", "ReplaceKeyPrefixWith", "ReplaceKeyWith"];
        let [host, status, protocol, prefix, key] = leaves(element, LEAVES)?;
        if element.children().is_empty() || host.is_some_and(|host| !is_host(host)) {
            return Err(malformed());
        }
        let replacement = match (prefix, key) {
            (Some(_), Some(_)) => {
                return Err(invalid(
                    "You can only define ReplaceKeyPrefix or ReplaceKey but not both.",
                ));
            }
            (Some(prefix), None) => Some(Replacement::Prefix(checked_key(prefix)?)),
            (None, Some(key)) => Some(Replacement::Key(checked_key(key)?)),
            (None, None) => None,
        };
        Ok(Self {
            host: host.map(str::to_owned),
            protocol: protocol.map(Protocol::parse).transpose()?,
            status: status.map(parse_redirect_status).transpose()?,
            replacement,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.optional("Protocol", self.protocol.map(Protocol::name));
        writer.optional("HostName", self.host.as_deref());
        match &self.replacement {
            Some(Replacement::Prefix(prefix)) => writer.text("ReplaceKeyPrefixWith", prefix),
            Some(Replacement::Key(key)) => writer.text("ReplaceKeyWith", key),
            None => {}
        }
        if let Some(status) = self.status {
            writer.value("HttpRedirectCode", status);
        }
    }
}

impl Protocol {
    fn parse(text: &str) -> Result<Self> {
        match text {
            "http" => Ok(Self::Http),
            "https" => Ok(Self::Https),
            _ => Err(invalid(
                "Invalid protocol, protocol can be http or https. If not defined the protocol will \
                 be selected automatically.",
            )),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn or_of(chosen: Option<Self>, origin: Origin<'_>) -> &'static str {
        let used = if origin.is_secure { Self::Https } else { Self::Http };
        chosen.unwrap_or(used).name()
    }
}

/// The one child of each name, if it is there; any other child, or a second one, is malformed.
fn children<'a, const N: usize>(
    element: &'a Element,
    names: [&str; N],
) -> Result<[Option<&'a Element>; N]> {
    let mut found = [None; N];
    for child in element.children() {
        let place = names.iter().position(|name| *name == child.name()).ok_or_else(malformed)?;
        if found[place].replace(child).is_some() {
            return Err(malformed());
        }
    }
    Ok(found)
}

/// As [`children`], for children that hold text.
fn leaves<'a, const N: usize>(
    element: &'a Element,
    names: [&str; N],
) -> Result<[Option<&'a str>; N]> {
    let found = children(element, names)?;
    if found.iter().flatten().any(|child| !child.children().is_empty()) {
        return Err(malformed());
    }
    Ok(found.map(|child| child.map(|child| child.text().trim())))
}

fn parse_suffix(index: &Element) -> Result<String> {
    let [suffix] = leaves(index, ["Suffix"])?;
    let suffix = suffix.ok_or_else(malformed)?;
    if suffix.is_empty() || suffix.contains('/') || suffix.len() > KEY_BYTES_MAX {
        return Err(S3Error::invalid_argument(
            "The IndexDocument Suffix is not well formed",
            "IndexDocument",
            suffix,
        ));
    }
    Ok(suffix.to_owned())
}

fn parse_error_key(error: &Element) -> Result<String> {
    let [key] = leaves(error, ["Key"])?;
    checked_key(key.filter(|key| !key.is_empty()).ok_or_else(malformed)?)
}

fn parse_rules(element: &Element) -> Result<Vec<Rule>> {
    let count = element.children().len();
    if count == 0 {
        return Err(malformed());
    }
    if count > WEBSITE_RULES_MAX {
        return Err(S3Error::new(
            Code::InvalidRequest,
            format!(
                "{count} routing rules provided, the number of routing rules in a website \
                 configuration is limited to {WEBSITE_RULES_MAX}."
            ),
        ));
    }
    element.children().iter().map(Rule::parse).collect()
}

fn parse_error_status(text: &str) -> Result<u16> {
    text.parse().ok().filter(|status| (400..600).contains(status)).ok_or_else(|| {
        S3Error::new(
            Code::InvalidRequest,
            format!(
                "The provided HTTP error code ({text}) is not valid. Valid codes are 4XX or 5XX."
            ),
        )
    })
}

fn parse_redirect_status(text: &str) -> Result<u16> {
    text.parse().ok().filter(|status| (301..400).contains(status)).ok_or_else(|| {
        S3Error::new(
            Code::InvalidRequest,
            format!(
                "The provided HTTP redirect code ({text}) is not valid. Valid codes are 3XX except \
                 300."
            ),
        )
    })
}

fn checked_key(text: &str) -> Result<String> {
    if text.len() > KEY_BYTES_MAX { Err(malformed()) } else { Ok(text.to_owned()) }
}

fn invalid(message: &'static str) -> S3Error {
    S3Error::new(Code::InvalidRequest, message)
}

/// A name, with a port or not: what may stand between `://` and `/`.
fn is_host(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

/// A key as a reference in `Location`. What a rule puts in its place may bring its own query or
/// fragment, as AWS lets it.
fn encoded_reference(key: &str) -> String {
    let mut encoded = String::with_capacity(key.len());
    for byte in key.bytes() {
        if percent::is_unreserved(byte) || b"/?#&=:@!$'()*+,;%".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(percent::code(byte).map(char::from));
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
