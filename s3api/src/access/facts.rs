//! What a request says to the condition keys of policies.

use super::policy::{ANONYMOUS_ID, Facts, Key};
use super::subject::{self, Subject};
use crate::attributes::{Field, fields};
use crate::dates::iso_time;
use crate::dates::parse_time;
use crate::limits::OBJECT_TAGS_MAX;
use crate::ops::Context;
use crate::percent::decode_query;
use crate::route::Operation;
use crate::tags::TagSet;
use engine::platform::Platform;
use std::cell::OnceCell;

const DAY_SECONDS: i64 = 86_400;

/// What a request's body gives, for operations that read it before they are decided about.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given<'a> {
    pub tags: Option<&'a TagSet>,
    /// `GOVERNANCE` or `COMPLIANCE`.
    pub lock_mode: Option<&'a str>,
    /// In seconds since the Unix epoch.
    pub retain_until: Option<i64>,
    /// `ON` or `OFF`.
    pub legal_hold: Option<&'a str>,
    pub location: Option<&'a str>,
    pub other: Option<Other<'a>>,
}

/// What is judged is not the object that the request's path names (the source of a copy, an entry of a list), and what
/// the query says of that one is nothing that it says of this.
#[derive(Debug, Clone, Copy, Default)]
pub struct Other<'a> {
    pub version_id: Option<&'a str>,
    /// An entity tag that it must have.
    pub etag: Option<&'a str>,
}

impl<'a> Given<'a> {
    pub fn of(other: Other<'a>) -> Self {
        Self { other: Some(other), ..Self::default() }
    }
}

pub(super) struct RequestFacts<'a, 'b, P: Platform> {
    context: &'a Context<'b, P>,
    given: Given<'a>,
    /// The attributes of the object that is there; empty without one.
    object: &'a [u8],
    /// Each condition asks for one of them.
    tags: OnceCell<Vec<(String, String)>>,
}

impl<'a, 'b, P: Platform> RequestFacts<'a, 'b, P> {
    pub(super) fn new(context: &'a Context<'b, P>, given: Given<'a>, object: &'a [u8]) -> Self {
        Self { context, given, object, tags: OnceCell::new() }
    }

    fn value(&self, key: &Key) -> Option<String> {
        let context = self.context;
        let caller = context.caller;
        let query = |name| context.query(name).map(str::to_owned);
        let header = |name| context.header(name).map(str::to_owned);
        // What the operation does not look at is no fact: whoever wrote it there could choose it freely.
        let of_listing =
            |name| context.route.operation.lists_objects().then(|| query(name)).flatten();
        match key {
            Key::SourceIp => caller.peer.address.map(|address| address.to_string()),
            Key::SecureTransport => Some(caller.peer.is_secure.to_string()),
            Key::CurrentTime => Some(iso_time(caller.now)),
            Key::EpochTime => Some(caller.now.to_string()),
            Key::UserName => match &caller.subject {
                Subject::User(user) => Some(user.display_name.clone()),
                Subject::Root(_) | Subject::Anonymous => None,
            },
            Key::UserId => Some(match caller.subject.person() {
                Some(person) => person.id.clone(),
                None => ANONYMOUS_ID.to_owned(),
            }),
            Key::PrincipalArn => caller.subject.arn(&self.account()),
            Key::PrincipalAccount => caller.subject.person().map(|_| self.account()),
            Key::PrincipalType => Some(
                match caller.subject {
                    Subject::Root(_) => "Account",
                    Subject::User(_) => "User",
                    Subject::Anonymous => "Anonymous",
                }
                .to_owned(),
            ),
            Key::UserAgent => header("user-agent"),
            Key::Referer => header("referer"),
            Key::RequestedRegion => Some(context.region.to_owned()),
            Key::IsService => Some(false.to_string()),
            Key::Prefix => of_listing("prefix"),
            Key::Delimiter => of_listing("delimiter"),
            Key::MaxKeys => match context.route.operation {
                Operation::ListMultipartUploads => query("max-uploads"),
                Operation::ListObjects | Operation::ListObjectsV2 => {
                    query("max-keys").or_else(|| query("MaxKeys"))
                }
                _ => of_listing("max-keys"),
            },
            Key::VersionId => match self.given.other {
                Some(other) => other.version_id.map(str::to_owned),
                None if context.route.operation == Operation::DeleteObjects => None,
                None => query("versionId"),
            },
            Key::LocationConstraint => self.given.location.map(str::to_owned),
            Key::ResourceAccount => Some(self.account()),
            Key::SignatureVersion => caller.signed_at.map(|_| "AWS4-HMAC-SHA256".to_owned()),
            Key::AuthType => caller.signed_at.map(|_| {
                match (caller.is_presigned, caller.is_form) {
                    (true, _) => "REST-QUERY-STRING",
                    (false, true) => "POST",
                    (false, false) => "REST-HEADER",
                }
                .to_owned()
            }),
            Key::SignatureAge => {
                let age = caller.now.saturating_sub(caller.signed_at?).max(0);
                Some(age.saturating_mul(1000).to_string())
            }
            // Not told by the layer beneath.
            Key::TlsVersion => None,
            Key::Header("x-amz-content-sha256") => header("x-amz-content-sha256").or_else(|| {
                let in_query = query("X-Amz-Content-Sha256");
                in_query.or_else(|| caller.is_presigned.then(|| "UNSIGNED-PAYLOAD".to_owned()))
            }),
            Key::Header("if-match") => match self.given.other {
                Some(other) => other.etag.map(str::to_owned),
                None => header("if-match"),
            },
            Key::Header(name) => header(name),
            Key::ExistingObjectTag(tag) => self.tags_of_object()?.get(tag).map(str::to_owned),
            Key::RequestObjectTag(tag) => {
                let found = self.requested_tags().iter().find(|(name, _)| name == tag);
                found.map(|(_, value)| value.clone())
            }
            Key::LockMode => self
                .given
                .lock_mode
                .map(str::to_owned)
                .or_else(|| self.of_new_object("x-amz-object-lock-mode").map(str::to_owned)),
            Key::LockRetainUntil => self.retain_until().map(iso_time),
            Key::LockRemainingDays => {
                let left = self.retain_until()?.saturating_sub(caller.now);
                Some(left.div_euclid(DAY_SECONDS).to_string())
            }
            Key::LegalHold => {
                self.given.legal_hold.map(str::to_owned).or_else(|| {
                    self.of_new_object("x-amz-object-lock-legal-hold").map(str::to_owned)
                })
            }
            Key::RequestObjectTagKeys | Key::Absent(_) => None,
        }
    }

    fn account(&self) -> String {
        subject::account_number(&self.context.owner.id)
    }

    fn retain_until(&self) -> Option<i64> {
        let in_header = || parse_time(self.of_new_object("x-amz-object-lock-retain-until-date")?);
        self.given.retain_until.or_else(in_header)
    }

    /// A header that says what a new object is to have, where the operation makes one.
    fn of_new_object(&self, name: &str) -> Option<&'a str> {
        let makes_object = matches!(
            self.context.route.operation,
            Operation::PutObject | Operation::CopyObject | Operation::CreateMultipartUpload
        );
        self.context.header(name).filter(|_| makes_object)
    }

    fn requested_tags(&self) -> &[(String, String)] {
        self.tags.get_or_init(|| self.read_tags())
    }

    /// Tags that cannot be read, or are too many, are refused by the operation; here they are none.
    fn read_tags(&self) -> Vec<(String, String)> {
        if let Some(tags) = self.given.tags {
            return tags.iter().map(|(name, value)| (name.into(), value.into())).collect();
        }
        // A copy that takes its source's tags looks at none of the request's.
        let replaces = || {
            let directive = self.context.header("x-amz-tagging-directive");
            directive.is_some_and(|directive| directive.eq_ignore_ascii_case("REPLACE"))
        };
        if self.context.route.operation == Operation::CopyObject && !replaces() {
            return Vec::new();
        }
        let Some(text) = self.of_new_object("x-amz-tagging") else { return Vec::new() };
        text.split('&')
            .filter(|piece| !piece.is_empty())
            .take(OBJECT_TAGS_MAX + 1)
            .filter_map(|piece| {
                let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
                Some((decode_query(name)?, decode_query(value)?))
            })
            .collect()
    }

    fn tags_of_object(&self) -> Option<TagSet> {
        fields(self.object).find_map(|field| match field {
            Ok(Field::Tags(encoded)) => TagSet::decode(encoded).ok(),
            _ => None,
        })
    }
}

impl<P: Platform> Facts for RequestFacts<'_, '_, P> {
    fn values(&self, key: &Key) -> Vec<String> {
        if *key == Key::RequestObjectTagKeys {
            return self.requested_tags().iter().map(|(name, _)| name.clone()).collect();
        }
        self.value(key).into_iter().collect()
    }
}
