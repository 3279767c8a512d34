//! The condition keys that a policy may name.
//!
//! Invariant: a key that is taken here is one whose value Ringfort knows, or one that AWS has for
//! callers or networks that there are none of here: its value is always absent, as it is on AWS for
//! a request that does not come from such. Every other name is refused.
//!
//! Source: AWS, "AWS global condition context keys"; "Actions, resources, and condition keys for
//! Amazon S3".

/// A condition key. Names compare without case, those of tags with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    SourceIp,
    SecureTransport,
    CurrentTime,
    EpochTime,
    UserName,
    UserId,
    PrincipalArn,
    PrincipalAccount,
    PrincipalType,
    UserAgent,
    Referer,
    RequestedRegion,
    /// Whether a service of the server's own asks: never.
    IsService,
    Prefix,
    Delimiter,
    MaxKeys,
    VersionId,
    LocationConstraint,
    ResourceAccount,
    SignatureVersion,
    AuthType,
    SignatureAge,
    TlsVersion,
    /// The header of that name, in lower case.
    Header(&'static str),
    ExistingObjectTag(String),
    RequestObjectTag(String),
    RequestObjectTagKeys,
    LockMode,
    LockRetainUntil,
    LockRemainingDays,
    LegalHold,
    /// Known on AWS, and absent from every request here. In lower case.
    Absent(&'static str),
}

/// Keys `s3:NAME` whose value is that of the request's header `NAME`.
const HEADERS: [&str; 18] = [
    "x-amz-acl",
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
    "x-amz-metadata-directive",
    "x-amz-object-ownership",
    "x-amz-server-side-encryption",
    "x-amz-server-side-encryption-aws-kms-key-id",
    "x-amz-server-side-encryption-bucket-key-enabled",
    "x-amz-server-side-encryption-context",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-storage-class",
    "x-amz-website-redirect-location",
    "if-none-match",
];
const HEADER_IF_MATCH: &str = "if-match";

const ABSENT: [&str; 17] = [
    "aws:multifactorauthage",
    "aws:multifactorauthpresent",
    "aws:principalorgid",
    "aws:principalservicename",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceidentity",
    "aws:sourceorgid",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:tokenissuetime",
    "aws:vpcsourceip",
    "s3:accesspointnetworkorigin",
    "s3:dataaccesspointaccount",
    "s3:dataaccesspointarn",
    "s3:inventoryaccessibleoptionalfields",
    "s3:replicationdestinationbucket",
];

impl Key {
    pub(super) fn parse(name: &str) -> Option<Self> {
        let (space, rest) = name.split_once(':')?;
        match space.to_ascii_lowercase().as_str() {
            "aws" => Self::global(&rest.to_ascii_lowercase()),
            "s3" => Self::of_s3(rest),
            _ => None,
        }
        .or_else(|| {
            let lower = name.to_ascii_lowercase();
            ABSENT.into_iter().find(|known| *known == lower).map(Self::Absent)
        })
    }

    fn global(name: &str) -> Option<Self> {
        Some(match name {
            "sourceip" => Self::SourceIp,
            "securetransport" => Self::SecureTransport,
            "currenttime" => Self::CurrentTime,
            "epochtime" => Self::EpochTime,
            "username" => Self::UserName,
            "userid" => Self::UserId,
            "principalarn" => Self::PrincipalArn,
            "principalaccount" => Self::PrincipalAccount,
            "principaltype" => Self::PrincipalType,
            "useragent" => Self::UserAgent,
            "referer" => Self::Referer,
            "requestedregion" => Self::RequestedRegion,
            "resourceaccount" => Self::ResourceAccount,
            "principalisawsservice" | "viaawsservice" => Self::IsService,
            _ => return None,
        })
    }

    fn of_s3(name: &str) -> Option<Self> {
        if let Some((family, tag)) = name.split_once('/') {
            let family = family.to_ascii_lowercase();
            return match family.as_str() {
                "existingobjecttag" if !tag.is_empty() => {
                    Some(Self::ExistingObjectTag(tag.to_owned()))
                }
                "requestobjecttag" if !tag.is_empty() => {
                    Some(Self::RequestObjectTag(tag.to_owned()))
                }
                _ => None,
            };
        }
        let name = name.to_ascii_lowercase();
        if let Some(header) = HEADERS.into_iter().find(|header| *header == name) {
            return Some(Self::Header(header));
        }
        Some(match name.as_str() {
            HEADER_IF_MATCH => Self::Header(HEADER_IF_MATCH),
            "prefix" => Self::Prefix,
            "delimiter" => Self::Delimiter,
            "max-keys" => Self::MaxKeys,
            "versionid" => Self::VersionId,
            "locationconstraint" => Self::LocationConstraint,
            "resourceaccount" => Self::ResourceAccount,
            "signatureversion" => Self::SignatureVersion,
            "authtype" => Self::AuthType,
            "signatureage" => Self::SignatureAge,
            "tlsversion" => Self::TlsVersion,
            "requestobjecttagkeys" => Self::RequestObjectTagKeys,
            "object-lock-mode" => Self::LockMode,
            "object-lock-retain-until-date" => Self::LockRetainUntil,
            "object-lock-remaining-retention-days" => Self::LockRemainingDays,
            "object-lock-legal-hold" => Self::LegalHold,
            _ => return None,
        })
    }

    /// Whether a request may have several values of it.
    pub(super) fn is_many(&self) -> bool {
        matches!(self, Self::RequestObjectTagKeys)
    }

    /// Whether it is known only once the object has been looked at.
    pub fn is_of_object(&self) -> bool {
        matches!(self, Self::ExistingObjectTag(_))
    }

    /// Whether it is known only once the request's body has been read.
    pub fn is_of_body(&self) -> bool {
        matches!(
            self,
            Self::RequestObjectTag(_)
                | Self::RequestObjectTagKeys
                | Self::LockMode
                | Self::LockRetainUntil
                | Self::LockRemainingDays
                | Self::LegalHold
                | Self::LocationConstraint
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case_and_tags_with_it() {
        assert_eq!(Key::parse("AWS:sourceip"), Some(Key::SourceIp));
        assert_eq!(Key::parse("s3:X-Amz-Acl"), Some(Key::Header("x-amz-acl")));
        assert_eq!(Key::parse("s3:if-match"), Some(Key::Header("if-match")));
        assert_eq!(
            Key::parse("s3:existingObjectTag/Team"),
            Some(Key::ExistingObjectTag("Team".into()))
        );
        assert_eq!(Key::parse("aws:SourceVpce"), Some(Key::Absent("aws:sourcevpce")));
        for unknown in
            ["", "SourceIp", "aws:", "aws:Nonsense", "s3:ExistingObjectTag/", "s3:x-amz-meta-a"]
        {
            assert_eq!(Key::parse(unknown), None, "{unknown}");
        }
    }
}
