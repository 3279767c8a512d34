//! What follows where policies, ACLs, ownership and the blocking of public access all speak.
//!
//! In this order: an explicit denial of either kind of policy; root, who may do everything else; the
//! owner of the bucket; what the caller's own policies allow, or the bucket's, or an ACL. Otherwise
//! no. An object that somebody else owns than its bucket is a matter of its owner's and of its ACL, and
//! not of the bucket's policy.
//!
//! Not here: where all of that comes from (`authorise`).
//!
//! Source: AWS, "How Amazon S3 authorizes a request".

use super::acl::Acl;
use super::action::{Action, Level};
use super::ownership::Ownership;
use super::policy::{Facts, Policy, Question, Verdict};
use super::public_access_block::PublicAccessBlock;

/// What is set of a bucket.
#[derive(Debug, Clone, Copy)]
pub struct BucketRules<'a> {
    /// The canonical id of its owner.
    pub owner: &'a str,
    pub policy: Option<&'a Policy>,
    pub acl: Option<&'a Acl>,
    pub ownership: Ownership,
    pub block: PublicAccessBlock,
}

impl BucketRules<'_> {
    /// Whether an object is a matter of somebody else's than the bucket's owner.
    pub fn is_strangers(&self, object: ObjectRules<'_>) -> bool {
        self.ownership.has_acls() && object.owner.is_some_and(|owner| owner != self.owner)
    }
}

/// What is set of an object.
#[derive(Debug, Clone, Copy, Default)]
pub struct ObjectRules<'a> {
    /// Where that is not the bucket's.
    pub owner: Option<&'a str>,
    pub acl: Option<&'a Acl>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Explicitly: nothing that is still to be known changes that.
    Denied,
    Allowed,
    /// Nobody allows it: denied, unless an object's own ACL says otherwise.
    NotAllowed,
}

/// Decides about something that is done to a bucket or in it.
pub fn decide<'p>(
    question: &Question<'_>,
    facts: &dyn Facts,
    identity: impl Iterator<Item = &'p Policy>,
    bucket: &BucketRules<'_>,
    object: ObjectRules<'_>,
) -> Decision {
    let subject = question.subject;
    let is_owner = subject.is(bucket.owner);
    let of_bucket = match bucket.policy.map(|policy| policy.judge(question, facts)) {
        // Who is in charge of the bucket cannot be locked out for good.
        Some(Verdict::Deny) if !(is_policy(question.action) && (subject.is_root() || is_owner)) => {
            return Decision::Denied;
        }
        verdict => verdict,
    };
    let of_identity = decide_alone(question, facts, identity);
    if of_identity == Decision::Denied {
        return Decision::Denied;
    }
    if subject.is_root() {
        return Decision::Allowed;
    }
    let has_acls = bucket.ownership.has_acls();
    let grants = |acl: Option<&Acl>, level| {
        let ignores_public = bucket.block.ignore_public_acls;
        has_acls
            && acl.is_some_and(|acl| acl.grants(level, question.action, subject, ignores_public))
    };
    if bucket.is_strangers(object)
        && let Some(owner) = object.owner
    {
        let is_allowed = subject.is(owner) || grants(object.acl, Level::Object);
        return if is_allowed { Decision::Allowed } else { Decision::NotAllowed };
    }
    let is_let_in_by_policy = of_bucket == Some(Verdict::Allow)
        && !(bucket.block.restrict_public_buckets
            && subject.person().is_none()
            && bucket.policy.is_some_and(Policy::is_public));
    if is_owner
        || of_identity == Decision::Allowed
        || is_let_in_by_policy
        || grants(bucket.acl, Level::Bucket)
        || grants(object.acl, Level::Object)
    {
        Decision::Allowed
    } else {
        Decision::NotAllowed
    }
}

/// Decides by the caller's own policies alone.
pub fn decide_alone<'p>(
    question: &Question<'_>,
    facts: &dyn Facts,
    identity: impl Iterator<Item = &'p Policy>,
) -> Decision {
    let mut decision = Decision::NotAllowed;
    for policy in identity {
        match policy.judge(question, facts) {
            Verdict::Deny => return Decision::Denied,
            Verdict::Allow => decision = Decision::Allowed,
            Verdict::Silent => {}
        }
    }
    decision
}

fn is_policy(action: Action) -> bool {
    matches!(action, Action::GetBucketPolicy | Action::PutBucketPolicy | Action::DeleteBucketPolicy)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::Subject;
    use super::super::acl::{Grant, Grantee, Group, Permission};
    use super::super::policy::{Key, Kind};
    use super::super::subject::Owner;
    use super::*;
    use Decision::{Allowed, Denied, NotAllowed};
    use std::rc::Rc;

    struct NoFacts;

    impl Facts for NoFacts {
        fn values(&self, _: &Key) -> Vec<String> {
            Vec::new()
        }
    }

    fn subject(name: &str) -> Subject {
        let owner = Rc::new(Owner {
            id: name.to_owned(),
            display_name: name.to_owned(),
            access_key: name.to_owned(),
        });
        match name {
            "-" => Subject::Anonymous,
            "root" => Subject::Root(owner),
            _ => Subject::User(owner),
        }
    }

    fn policy(effect: &str, kind: Kind<'_>) -> Policy {
        let who = if kind == Kind::Identity { "" } else { r#""Principal":"*","# };
        let text = format!(
            r#"{{"Statement":{{"Effect":"{effect}",{who}"Action":"s3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"]}}}}"#
        );
        Policy::parse(&text, kind).unwrap()
    }

    fn acl(group: Group) -> Acl {
        let (grantee, permission) = (Grantee::Group(group), Permission::Read);
        Acl { grants: vec![Grant { grantee, permission }] }
    }

    const PLAIN: BucketRules<'static> = BucketRules {
        owner: "owner",
        policy: None,
        acl: None,
        ownership: Ownership::ObjectWriter,
        block: PublicAccessBlock {
            block_public_acls: false,
            ignore_public_acls: false,
            block_public_policy: false,
            restrict_public_buckets: false,
        },
    };

    /// What root, the owner, another user and nobody may do.
    fn check_with(
        identity: &[Policy],
        bucket: BucketRules<'_>,
        object: ObjectRules<'_>,
        action: Action,
        expected: [Decision; 4],
    ) {
        let resource = if action.level() == Level::Object { "b/k" } else { "b" };
        let found = ["root", "owner", "user", "-"].map(|name| {
            let subject = subject(name);
            let question = Question { subject: &subject, action, resource };
            // Only users have policies of their own.
            let identity = identity.iter().filter(|_| matches!(name, "owner" | "user"));
            decide(&question, &NoFacts, identity, &bucket, object)
        });
        assert_eq!(found, expected, "{action:?} {bucket:?} {object:?}");
    }

    fn check(bucket: BucketRules<'_>, action: Action, expected: [Decision; 4]) {
        check_with(&[], bucket, ObjectRules::default(), action, expected);
    }

    #[test]
    fn everything_is_private_at_first() {
        for action in Action::ALL.iter().filter(|action| action.level() != Level::Service) {
            check(PLAIN, *action, [Allowed, Allowed, NotAllowed, NotAllowed]);
        }
    }

    #[test]
    fn a_bucket_policy_allows_and_denies_everybody() {
        let allow = policy("Allow", Kind::Bucket("b"));
        let bucket = BucketRules { policy: Some(&allow), ..PLAIN };
        check(bucket, Action::GetObject, [Allowed; 4]);
        let deny = policy("Deny", Kind::Bucket("b"));
        let bucket = BucketRules { policy: Some(&deny), ..PLAIN };
        check(bucket, Action::GetObject, [Denied; 4]);
        check(bucket, Action::PutBucketAcl, [Denied; 4]);
        check(bucket, Action::DeleteBucketPolicy, [Allowed, Allowed, Denied, Denied]);
    }

    #[test]
    fn what_a_user_is_allowed_and_what_a_bucket_allows_add_up() {
        let own = [policy("Allow", Kind::Identity)];
        let object = ObjectRules::default();
        let expected = [Allowed, Allowed, Allowed, NotAllowed];
        check_with(&own, PLAIN, object, Action::GetObject, expected);
        let deny = policy("Deny", Kind::Bucket("b"));
        let bucket = BucketRules { policy: Some(&deny), ..PLAIN };
        check_with(&own, bucket, object, Action::GetObject, [Denied; 4]);
        let denied = [policy("Allow", Kind::Identity), policy("Deny", Kind::Identity)];
        let allow = policy("Allow", Kind::Bucket("b"));
        let bucket = BucketRules { policy: Some(&allow), ..PLAIN };
        let expected = [Allowed, Denied, Denied, Allowed];
        check_with(&denied, bucket, object, Action::GetObject, expected);
    }

    #[test]
    fn acls_grant_where_there_are_any() {
        let public = acl(Group::AllUsers);
        let bucket = BucketRules { acl: Some(&public), ..PLAIN };
        check(bucket, Action::ListBucket, [Allowed; 4]);
        check(bucket, Action::PutObject, [Allowed, Allowed, NotAllowed, NotAllowed]);
        check(bucket, Action::GetObject, [Allowed, Allowed, NotAllowed, NotAllowed]);
        let enforced = BucketRules { ownership: Ownership::BucketOwnerEnforced, ..bucket };
        check(enforced, Action::ListBucket, [Allowed, Allowed, NotAllowed, NotAllowed]);
        let block = PublicAccessBlock { ignore_public_acls: true, ..PLAIN.block };
        let ignored = BucketRules { block, ..bucket };
        check(ignored, Action::ListBucket, [Allowed, Allowed, NotAllowed, NotAllowed]);
        let authenticated = acl(Group::AuthenticatedUsers);
        let object = ObjectRules { owner: None, acl: Some(&authenticated) };
        let expected = [Allowed, Allowed, Allowed, NotAllowed];
        check_with(&[], PLAIN, object, Action::GetObject, expected);
    }

    #[test]
    fn a_public_policy_can_be_restricted_to_those_with_a_key() {
        let allow = policy("Allow", Kind::Bucket("b"));
        let block = PublicAccessBlock { restrict_public_buckets: true, ..PLAIN.block };
        let bucket = BucketRules { policy: Some(&allow), block, ..PLAIN };
        check(bucket, Action::GetObject, [Allowed, Allowed, Allowed, NotAllowed]);
    }

    #[test]
    fn an_object_of_somebody_else_is_theirs() {
        let allow = policy("Allow", Kind::Bucket("b"));
        let bucket = BucketRules { policy: Some(&allow), ..PLAIN };
        let of_user = ObjectRules { owner: Some("user"), acl: None };
        let expected = [Allowed, NotAllowed, Allowed, NotAllowed];
        check_with(&[], bucket, of_user, Action::GetObject, expected);
        let public = acl(Group::AllUsers);
        let shared = ObjectRules { acl: Some(&public), ..of_user };
        check_with(&[], bucket, shared, Action::GetObject, [Allowed; 4]);
        let enforced = BucketRules { ownership: Ownership::BucketOwnerEnforced, ..bucket };
        check_with(&[], enforced, of_user, Action::GetObject, [Allowed; 4]);
    }
}
