//! What ought to come of a request: a second opinion, that knows nothing of the server.
//!
//! From AWS's documents ("How Amazon S3 authorizes a request", "ACL permissions and access policy
//! permissions", "Blocking public access"): an explicit denial of either kind of policy first, which root and
//! the owner escape for the bucket's policy alone; then root, then the owner, then whoever a policy or
//! an ACL lets in. An object that somebody else owns than its bucket is a matter of its owner's.

use super::row::{Need, On, Row};

/// Who asks. The first four prove who they are, or do not try; the others fail at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    Root,
    /// The user who made the bucket.
    Owner,
    /// Another user.
    Other,
    Anonymous,
    /// The owner, with a signature that is too old.
    Stale,
    /// The owner, with one of a time that is still to come.
    Early,
    /// A user who was switched off.
    Inactive,
    /// A user who is no more.
    Deleted,
    /// An access key that never was.
    Unknown,
    /// The owner's access key with a secret that is nobody's.
    WrongSecret,
    /// The owner's access key with the secret of another user.
    OthersSecret,
}

pub(super) const IMPOSTORS: [Who; 7] = [
    Who::Stale,
    Who::Early,
    Who::Inactive,
    Who::Deleted,
    Who::Unknown,
    Who::WrongSecret,
    Who::OthersSecret,
];

/// In which form the request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Path,
    /// The bucket in the host's name.
    Host,
    Presigned,
    PresignedHost,
    /// In a session of the console.
    Console,
    Form,
    FormHost,
}

impl Style {
    pub(super) fn is_host(self) -> bool {
        matches!(self, Self::Host | Self::PresignedHost | Self::FormHost)
    }

    pub(super) fn is_presigned(self) -> bool {
        matches!(self, Self::Presigned | Self::PresignedHost)
    }

    pub(super) fn is_form(self) -> bool {
        matches!(self, Self::Form | Self::FormHost)
    }

    /// In which forms somebody can ask for an operation.
    pub(super) fn all(row: &Row, who: Who) -> &'static [Self] {
        match who {
            _ if row.is_form() => &[Self::Form, Self::FormHost],
            Who::Anonymous => &[Self::Path, Self::Host],
            _ if row.is_open => &[Self::Path, Self::Host],
            Who::Root | Who::Owner | Who::Other => {
                &[Self::Path, Self::Host, Self::Presigned, Self::PresignedHost, Self::Console]
            }
            _ => &[Self::Path, Self::Host, Self::Presigned, Self::PresignedHost],
        }
    }
}

/// Which of the actions that a row needs a statement names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// All that there are, needed or not.
    Everything,
    /// Those that are needed, and no others.
    Needed,
    /// All that there are, without the needed one of this place.
    AllBut(usize),
    /// The needed one of this place.
    Only(usize),
}

impl What {
    fn names(self, place: usize) -> bool {
        match self {
            Self::Everything | Self::Needed => true,
            Self::AllBut(other) => other != place,
            Self::Only(only) => only == place,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whom {
    Everybody,
    /// Everybody with an access key.
    Known,
    One(Who),
}

impl Whom {
    fn includes(self, who: Who) -> bool {
        match self {
            Self::Everybody => true,
            Self::Known => who != Who::Anonymous,
            Self::One(one) => one == who,
        }
    }
}

/// Upon what a statement depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Always,
    /// The object has the tag that it has.
    Tagged,
    /// The object has a tag that it has not.
    OtherwiseTagged,
}

/// Of a bucket's policy, or of a user's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) allows: bool,
    pub(super) whom: Whom,
    pub(super) what: What,
    pub(super) when: When,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    Read,
    Write,
    ReadAcp,
    WriteAcp,
    FullControl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Bucket,
    Object,
}

/// Of an ACL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) on: Level,
    pub(super) whom: Whom,
    pub(super) permission: Permission,
}

/// What is set while a row's operation is asked for, and who asks.
#[derive(Debug, Clone, Default)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) callers: Vec<Who>,
    pub(super) of_bucket: Vec<Statement>,
    /// Of the owner or of the other user.
    pub(super) of_users: Vec<Statement>,
    pub(super) grants: Vec<Grant>,
    /// Public grants and policies do not count.
    pub(super) is_blocked: bool,
    /// ACLs do not count.
    pub(super) is_enforced: bool,
    /// The object was written by the other user.
    pub(super) is_others_object: bool,
}

/// What a request is to be answered with: the status and, of an error, the code.
pub(super) fn expected(
    row: &Row,
    setting: &Setting,
    who: Who,
    style: Style,
) -> (u16, &'static str) {
    if row.is_open {
        return row.answer;
    }
    let code = match who {
        Who::Stale | Who::Early if style.is_presigned() || style.is_form() => "AccessDenied",
        Who::Stale | Who::Early => "RequestTimeTooSkewed",
        Who::Inactive | Who::Deleted | Who::Unknown => "InvalidAccessKeyId",
        Who::WrongSecret | Who::OthersSecret => "SignatureDoesNotMatch",
        _ if row.needs.iter().enumerate().all(|need| is_allowed(need, setting, who)) => {
            return row.answer;
        }
        // Where nothing is set that could let a stranger delete, their list is not even read.
        Who::Anonymous if row.is_per_key && is_bare(setting) => "AccessDenied",
        _ if row.is_per_key => return (200, "AccessDenied"),
        _ => "AccessDenied",
    };
    (403, if row.method == "HEAD" { "" } else { code })
}

/// Whether the bucket has neither a policy nor an ACL.
fn is_bare(setting: &Setting) -> bool {
    setting.of_bucket.is_empty() && setting.grants.iter().all(|grant| grant.on != Level::Bucket)
}

fn is_allowed((place, need): (usize, &Need), setting: &Setting, who: Who) -> bool {
    let verdict = |statements: &[Statement], allows: bool| {
        statements.iter().any(|statement| {
            statement.allows == allows
                && statement.whom.includes(who)
                && statement.what.names(place)
                && statement.when != When::OtherwiseTagged
        })
    };
    let is_of_policy = matches!(
        need.action,
        "s3:GetBucketPolicy" | "s3:PutBucketPolicy" | "s3:DeleteBucketPolicy"
    );
    let has_bucket = !need.on.has_no_bucket();
    let escapes = is_of_policy && matches!(who, Who::Root | Who::Owner);
    if has_bucket && verdict(&setting.of_bucket, false) && !escapes {
        return false;
    }
    if verdict(&setting.of_users, false) {
        return false;
    }
    if who == Who::Root {
        return true;
    }
    if !has_bucket {
        return who != Who::Anonymous;
    }
    let by_acl = setting.grants.iter().any(|grant| is_granted(grant, need, setting, who));
    if setting.is_others_object && need.on.is_kept() {
        return who == Who::Other || by_acl;
    }
    // A policy that lets everybody in is public, whomever else it lets in besides.
    let is_public = |it: &Statement| it.allows && it.whom == Whom::Everybody;
    let is_cut =
        setting.is_blocked && who == Who::Anonymous && setting.of_bucket.iter().any(is_public);
    who == Who::Owner
        || verdict(&setting.of_users, true)
        || (verdict(&setting.of_bucket, true) && !is_cut)
        || by_acl
}

fn is_granted(grant: &Grant, need: &Need, setting: &Setting, who: Who) -> bool {
    let is_public = matches!(grant.whom, Whom::Everybody | Whom::Known);
    let is_reached = match grant.on {
        Level::Bucket => need.on != On::Service,
        Level::Object => need.on.is_kept(),
    };
    is_reached
        && !setting.is_enforced
        && !(setting.is_blocked && is_public)
        && grant.whom.includes(who)
        && permission(need.action, grant.on).is_some_and(|needed| {
            matches!(grant.permission, Permission::FullControl) || grant.permission == needed
        })
}

/// Which grant on a bucket or on an object allows an action; none if none does.
///
/// AWS has had two wordings of WRITE on a bucket: that it lets delete every object, and that it lets delete
/// one's own. Ringfort keeps to the first, and hence lets who writes also see and end uploads. That READ on an
/// object lets read its attributes follows from AWS's words that they are what HeadObject and ListParts tell.
fn permission(action: &str, on: Level) -> Option<Permission> {
    Some(match (on, action) {
        (
            Level::Bucket,
            "s3:ListBucket" | "s3:ListBucketVersions" | "s3:ListBucketMultipartUploads",
        ) => Permission::Read,
        (
            Level::Bucket,
            "s3:PutObject"
            | "s3:DeleteObject"
            | "s3:AbortMultipartUpload"
            | "s3:ListMultipartUploadParts",
        ) => Permission::Write,
        (Level::Bucket, "s3:GetBucketAcl") => Permission::ReadAcp,
        (Level::Bucket, "s3:PutBucketAcl") => Permission::WriteAcp,
        (
            Level::Object,
            "s3:GetObject"
            | "s3:GetObjectVersion"
            | "s3:GetObjectAttributes"
            | "s3:GetObjectVersionAttributes",
        ) => Permission::Read,
        (Level::Object, "s3:GetObjectAcl" | "s3:GetObjectVersionAcl") => Permission::ReadAcp,
        (Level::Object, "s3:PutObjectAcl" | "s3:PutObjectVersionAcl") => Permission::WriteAcp,
        _ => return None,
    })
}
