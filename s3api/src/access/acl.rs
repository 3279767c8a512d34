//! Access control lists: who was granted what on a bucket or an object.
//!
//! Invariants: a list has at most [`GRANTS_MAX`] grants; it names people by canonical id, and only such
//! as there were when it was given. No list is one that grants the owner everything and others nothing.
//!
//! Source: AWS, "Access control list (ACL) overview".

use crate::access::action::{Action, Level};
use crate::access::subject::{CANONICAL_ID_DIGITS, Subject};
use crate::error::{Code, Result, S3Error};
use crate::limits::GRANTS_MAX;
use crate::settings::{BucketSetting, tag};
use crate::xml::{Element, Writer};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Permission {
    #[serde(rename = "READ")]
    Read,
    #[serde(rename = "WRITE")]
    Write,
    #[serde(rename = "READ_ACP")]
    ReadAcp,
    #[serde(rename = "WRITE_ACP")]
    WriteAcp,
    #[serde(rename = "FULL_CONTROL")]
    FullControl,
}

impl Permission {
    const ALL: [Self; 5] =
        [Self::Read, Self::Write, Self::ReadAcp, Self::WriteAcp, Self::FullControl];

    fn name(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::ReadAcp => "READ_ACP",
            Self::WriteAcp => "WRITE_ACP",
            Self::FullControl => "FULL_CONTROL",
        }
    }

    /// The header by which it is granted.
    fn header(self) -> &'static str {
        match self {
            Self::Read => "x-amz-grant-read",
            Self::Write => "x-amz-grant-write",
            Self::ReadAcp => "x-amz-grant-read-acp",
            Self::WriteAcp => "x-amz-grant-write-acp",
            Self::FullControl => "x-amz-grant-full-control",
        }
    }

    /// What a grant on a bucket allows.
    fn on_bucket(action: Action) -> Option<Self> {
        use Action as A;
        Some(match action {
            A::ListBucket | A::ListBucketVersions | A::ListBucketMultipartUploads => Self::Read,
            A::PutObject
            | A::DeleteObject
            | A::AbortMultipartUpload
            | A::ListMultipartUploadParts => Self::Write,
            A::GetBucketAcl => Self::ReadAcp,
            A::PutBucketAcl => Self::WriteAcp,
            _ => return None,
        })
    }

    /// What a grant on an object allows.
    fn on_object(action: Action) -> Option<Self> {
        use Action as A;
        Some(match action {
            A::GetObject
            | A::GetObjectVersion
            | A::GetObjectAttributes
            | A::GetObjectVersionAttributes => Self::Read,
            A::GetObjectAcl | A::GetObjectVersionAcl => Self::ReadAcp,
            A::PutObjectAcl | A::PutObjectVersionAcl => Self::WriteAcp,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Group {
    /// Whoever comes.
    AllUsers,
    /// Whoever has an access key.
    AuthenticatedUsers,
    /// Who writes access logs.
    LogDelivery,
}

impl Group {
    const ALL: [Self; 3] = [Self::AllUsers, Self::AuthenticatedUsers, Self::LogDelivery];

    fn uri(self) -> &'static str {
        match self {
            Self::AllUsers => "http://acs.amazonaws.com/groups/global/AllUsers",
            Self::AuthenticatedUsers => "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
            Self::LogDelivery => "http://acs.amazonaws.com/groups/s3/LogDelivery",
        }
    }

    fn is_public(self) -> bool {
        self != Self::LogDelivery
    }

    fn includes(self, subject: &Subject) -> bool {
        match self {
            Self::AllUsers => true,
            Self::AuthenticatedUsers => subject.person().is_some(),
            Self::LogDelivery => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grantee {
    /// By canonical id.
    #[serde(rename = "id")]
    User(String),
    #[serde(rename = "group")]
    Group(Group),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub grantee: Grantee,
    pub permission: Permission,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acl {
    pub grants: Vec<Grant>,
}

impl BucketSetting for Acl {
    const TAG: u16 = tag::ACL;
}

/// Who there is, for lists that name somebody.
pub trait Directory {
    /// The user name of a canonical id, if it is anybody's.
    fn name_of(&self, id: &str) -> Option<String>;
    /// The canonical id of the one user of that name.
    fn id_of_name(&self, name: &str) -> Option<String>;
}

/// Whose the thing is to which a list is given, and whose the bucket is that it is in.
#[derive(Debug, Clone, Copy)]
pub struct Owners<'a> {
    pub own: &'a str,
    pub bucket: &'a str,
}

impl Acl {
    fn owned_by(id: &str) -> Self {
        let grantee = Grantee::User(id.to_owned());
        Self { grants: vec![Grant { grantee, permission: Permission::FullControl }] }
    }

    /// The list that there is where none was given.
    pub fn private(owner: &str) -> Self {
        Self::owned_by(owner)
    }

    /// Whether it is [`Self::private`].
    pub fn is_private(&self, owner: &str) -> bool {
        *self == Self::private(owner)
    }

    /// Whether it grants nothing to others than a bucket's owner, who has everything.
    pub fn is_of_bucket_owner(&self, owners: Owners<'_>) -> bool {
        self.grants.iter().all(|grant| match &grant.grantee {
            Grantee::User(id) => id == owners.own || id == owners.bucket,
            Grantee::Group(_) => false,
        }) && self.grants.contains(&Grant {
            grantee: Grantee::User(owners.bucket.to_owned()),
            permission: Permission::FullControl,
        })
    }

    pub fn is_public(&self) -> bool {
        self.grants
            .iter()
            .any(|grant| matches!(grant.grantee, Grantee::Group(group) if group.is_public()))
    }

    /// Whether the list of a bucket or of an object grants an action.
    pub fn grants(
        &self,
        on: Level,
        action: Action,
        subject: &Subject,
        ignores_public: bool,
    ) -> bool {
        let needed = match on {
            Level::Bucket => Permission::on_bucket(action),
            Level::Object => Permission::on_object(action),
            Level::Service => None,
        };
        let Some(needed) = needed else { return false };
        self.grants.iter().any(|grant| {
            let fits =
                matches!(grant.permission, Permission::FullControl) || grant.permission == needed;
            fits && match &grant.grantee {
                Grantee::User(id) => subject.is(id),
                Grantee::Group(group) => {
                    !(ignores_public && group.is_public()) && group.includes(subject)
                }
            }
        })
    }

    /// Whether those who write access logs may write here.
    pub fn takes_logs(&self) -> bool {
        self.grants.iter().any(|grant| {
            grant.grantee == Grantee::Group(Group::LogDelivery)
                && matches!(grant.permission, Permission::Write | Permission::FullControl)
        })
    }

    /// What the headers of a request ask for; none if they ask for nothing.
    pub fn of_headers<'a>(
        header: impl Fn(&str) -> Option<&'a str>,
        owners: Owners<'_>,
        directory: &dyn Directory,
    ) -> Result<Option<Self>> {
        let mut grants = Vec::new();
        let mut is_granted = false;
        for permission in Permission::ALL {
            let Some(text) = header(permission.header()) else { continue };
            is_granted = true;
            for grantee in parse_grantees(text, permission.header(), directory)? {
                grants.push(Grant { grantee, permission });
            }
        }
        match header("x-amz-acl") {
            Some(_) if is_granted => Err(S3Error::new(
                Code::InvalidRequest,
                "Specifying both Canned ACLs and Header Grants is not allowed",
            )),
            Some(name) => Self::canned(name, owners).map(Some),
            None if is_granted => Self { grants }.checked().map(Some),
            None => Ok(None),
        }
    }

    fn canned(name: &str, owners: Owners<'_>) -> Result<Self> {
        use Group::{AllUsers, AuthenticatedUsers, LogDelivery};
        use Permission::{FullControl, Read, ReadAcp, Write};
        let mut acl = Self::owned_by(owners.own);
        let mut group = |group, permission| {
            acl.grants.push(Grant { grantee: Grantee::Group(group), permission });
        };
        match name {
            "private" => {}
            "public-read" => group(AllUsers, Read),
            "public-read-write" => {
                group(AllUsers, Read);
                group(AllUsers, Write);
            }
            "authenticated-read" => group(AuthenticatedUsers, Read),
            "log-delivery-write" => {
                group(LogDelivery, Write);
                group(LogDelivery, ReadAcp);
            }
            "bucket-owner-read" | "bucket-owner-full-control" if owners.own != owners.bucket => {
                let permission = if name == "bucket-owner-read" { Read } else { FullControl };
                let grantee = Grantee::User(owners.bucket.to_owned());
                acl.grants.push(Grant { grantee, permission });
            }
            "bucket-owner-read" | "bucket-owner-full-control" => {}
            // It lets a service of AWS's in that is not here.
            "aws-exec-read" => return Err(S3Error::unsupported_header("x-amz-acl")),
            other => return Err(S3Error::invalid_argument("", "x-amz-acl", other)),
        }
        Ok(acl)
    }

    /// Reads an `AccessControlPolicy` for something that `owner` owns.
    pub fn parse(document: &[u8], owner: &str, directory: &dyn Directory) -> Result<Self> {
        let malformed = || S3Error::from(Code::MalformedACLError);
        let root = Element::parse(document, "AccessControlPolicy").map_err(|_| malformed())?;
        let named = root.child("Owner").and_then(|owner| owner.child_text("ID"));
        if named.ok_or_else(malformed)?.trim() != owner {
            return Err(Code::AccessDenied.into());
        }
        let list = root.child("AccessControlList").ok_or_else(malformed)?;
        let mut grants = Vec::new();
        for grant in list.children() {
            if grant.name() != "Grant" || grants.len() > GRANTS_MAX {
                return Err(malformed());
            }
            let permission = grant.child_text("Permission").ok_or_else(malformed)?.trim();
            let permission = Permission::ALL
                .into_iter()
                .find(|known| known.name() == permission)
                .ok_or_else(malformed)?;
            let grantee = grant.child("Grantee").ok_or_else(malformed)?;
            let text = |name| grantee.child_text(name).map(str::trim);
            let grantee = match (text("ID"), text("URI"), text("EmailAddress")) {
                (Some(id), None, None) => by_id(id, "CanonicalUser/ID", directory)?,
                (None, Some(uri), None) => by_uri(uri, "Group/URI")?,
                (None, None, Some(address)) => by_address(address, directory)?,
                _ => return Err(malformed()),
            };
            grants.push(Grant { grantee, permission });
        }
        Self { grants }.checked()
    }

    fn checked(self) -> Result<Self> {
        if self.grants.len() > GRANTS_MAX {
            return Err(Code::MalformedACLError.into());
        }
        Ok(self)
    }

    pub fn document(&self, owner: &str, directory: &dyn Directory) -> Vec<u8> {
        const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";
        let person = |writer: &mut Writer, id: &str| {
            writer.text("ID", id);
            writer.optional("DisplayName", directory.name_of(id).as_deref());
        };
        Writer::document("AccessControlPolicy", |writer| {
            writer.element("Owner", |writer| person(writer, owner));
            writer.element("AccessControlList", |writer| {
                for Grant { grantee, permission } in &self.grants {
                    let kind = match grantee {
                        Grantee::User(_) => "CanonicalUser",
                        Grantee::Group(_) => "Group",
                    };
                    let attributes = [("xmlns:xsi", XSI), ("xsi:type", kind)];
                    writer.element("Grant", |writer| {
                        writer.element_with("Grantee", &attributes, |writer| match grantee {
                            Grantee::User(id) => person(writer, id),
                            Grantee::Group(group) => writer.text("URI", group.uri()),
                        });
                        writer.text("Permission", permission.name());
                    });
                }
            });
        })
    }

    /// As it stands in an object's attributes.
    pub fn encode(&self) -> Result<Vec<u8>> {
        crate::settings::to_json(self)
    }

    pub fn decode(encoded: &[u8]) -> Result<Self> {
        serde_json::from_slice(encoded).map_err(|error| {
            tracing::error!(%error, "a stored ACL cannot be read");
            Code::InternalError.into()
        })
    }
}

/// Whether a request's headers ask for an ACL.
pub fn is_asked_for<'a>(header: impl Fn(&str) -> Option<&'a str>) -> bool {
    header("x-amz-acl").is_some()
        || Permission::ALL.iter().any(|permission| header(permission.header()).is_some())
}

/// `id="...", uri="...", emailAddress="..."`.
fn parse_grantees(
    text: &str,
    header: &'static str,
    directory: &dyn Directory,
) -> Result<Vec<Grantee>> {
    let invalid = || S3Error::invalid_argument("Argument format not recognized", header, text);
    let mut grantees = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        if grantees.len() > GRANTS_MAX {
            return Err(Code::MalformedACLError.into());
        }
        let (kind, value) = item.split_once('=').ok_or_else(invalid)?;
        let value = value.trim();
        let value = match value.strip_prefix('"') {
            Some(rest) => rest.strip_suffix('"').ok_or_else(invalid)?,
            None => value,
        };
        grantees.push(match kind.trim() {
            kind if kind.eq_ignore_ascii_case("id") => by_id(value, "id", directory)?,
            kind if kind.eq_ignore_ascii_case("uri") => by_uri(value, "uri")?,
            kind if kind.eq_ignore_ascii_case("emailAddress") => by_address(value, directory)?,
            _ => return Err(invalid()),
        });
    }
    if grantees.is_empty() { Err(invalid()) } else { Ok(grantees) }
}

fn by_id(id: &str, argument: &str, directory: &dyn Directory) -> Result<Grantee> {
    let invalid = || S3Error::invalid_argument("Invalid id", argument, id);
    if id.len() != CANONICAL_ID_DIGITS || directory.name_of(id).is_none() {
        return Err(invalid());
    }
    Ok(Grantee::User(id.to_owned()))
}

fn by_uri(uri: &str, argument: &str) -> Result<Grantee> {
    let group = Group::ALL.into_iter().find(|group| group.uri() == uri);
    group
        .map(Grantee::Group)
        .ok_or_else(|| S3Error::invalid_argument("Invalid group uri", argument, uri))
}

/// An address is known where it is the name of one user.
fn by_address(address: &str, directory: &dyn Directory) -> Result<Grantee> {
    match directory.id_of_name(address) {
        Some(id) => Ok(Grantee::User(id)),
        None => Err(Code::UnresolvableGrantByEmailAddress.into()),
    }
}

#[cfg(test)]
mod tests;
