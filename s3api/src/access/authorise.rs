//! Whether a request may do what it asks for: gathers what is set, and has it decided.
//!
//! It is asked once before an operation runs. What depends on an object that is there (its ACL, its
//! owner, its tags) or on what stands in the body waits until the operation has found or read it, and
//! asks again ([`check_object`]). An operation asks for itself about what its path does not name: the
//! source of a copy, the single keys of DeleteObjects.
//!
//! Invariants: an answer leaves only if its request was decided ([`is_decided`]); root's request on a
//! bucket without a policy costs a few comparisons.

use super::acl::{self, Acl};
use super::action::{Action, Level};
use super::decision::{BucketRules, Decision, ObjectRules, decide, decide_alone};
use super::facts::{Given, Other, RequestFacts};
use super::needs::{self, Extras};
use super::origin;
use super::ownership::Ownership;
use super::policy::{Policy, Question};
use super::public_access_block::PublicAccessBlock;
use super::subject::{self, Owner};
use crate::attributes::{Attributes, Field, fields};
use crate::error::{Code, Result, S3Error};
use crate::ops::Context;
use crate::route::Operation;
use crate::settings::{BucketSetting, tag};
use engine::Bucket;
use engine::platform::Platform;
use serde::{Deserialize, Serialize};
use std::rc::Rc;
use std::sync::Arc;

/// Who owns a bucket, where that is not root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketOwner {
    pub id: String,
    pub access_key: String,
}

impl BucketSetting for BucketOwner {
    const TAG: u16 = tag::OWNER;
}

impl BucketSetting for Policy {
    const TAG: u16 = tag::POLICY;
}

/// Who owns a bucket, with the name that they have now.
pub fn owner_of<P: Platform>(context: &Context<'_, P>, bucket: &Arc<Bucket>) -> Result<Rc<Owner>> {
    let Some(owner) = context.setting::<BucketOwner>(bucket)? else {
        return Ok(context.owner.clone());
    };
    match context.users().by_access_key(&owner.access_key)? {
        Some(user) if user.owner.id == owner.id => Ok(user.owner.clone()),
        _ => Ok(Rc::new(Owner {
            id: owner.id.clone(),
            display_name: owner.access_key.clone(),
            access_key: owner.access_key.clone(),
        })),
    }
}

/// What is set of a bucket, as far as it decides.
struct Rules {
    owner: Option<Rc<BucketOwner>>,
    policy: Option<Rc<Policy>>,
    acl: Option<Rc<Acl>>,
    ownership: Ownership,
    block: PublicAccessBlock,
}

impl Rules {
    fn of<P: Platform>(context: &Context<'_, P>, bucket: &Arc<Bucket>) -> Result<Self> {
        Ok(Self {
            owner: context.setting(bucket)?,
            policy: context.setting(bucket)?,
            acl: context.setting(bucket)?,
            ownership: ownership_of(context, bucket)?,
            block: block_of(context, bucket)?,
        })
    }

    fn view<'a>(&'a self, root: &'a Owner) -> BucketRules<'a> {
        BucketRules {
            owner: self.owner.as_ref().map_or(&root.id, |owner| &owner.id),
            policy: self.policy.as_deref(),
            acl: self.acl.as_deref(),
            ownership: self.ownership,
            block: self.block,
        }
    }
}

pub fn ownership_of<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
) -> Result<Ownership> {
    Ok(context.setting::<Ownership>(bucket)?.map_or(Ownership::UNSAID, |said| *said))
}

pub fn block_of<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
) -> Result<PublicAccessBlock> {
    Ok(context.setting::<PublicAccessBlock>(bucket)?.map_or_else(Default::default, |set| *set))
}

fn denied() -> S3Error {
    Code::AccessDenied.into()
}

/// Decides about a request before its operation runs; gives the bucket that it is for, if that is there.
pub fn authorise<P: Platform>(context: &Context<'_, P>) -> Result<Option<Arc<Bucket>>> {
    let caller = context.caller;
    let operation = context.route.operation;
    if matches!(operation, Operation::PostObject | Operation::Preflight) {
        return Ok(None);
    }
    if operation == Operation::CreateBucket || context.route.bucket.is_empty() {
        if caller.policies().any(Policy::asks_for_body) && operation == Operation::CreateBucket {
            caller.is_undecided.set(true);
            return Ok(None);
        }
        return authorise_alone(context, &Given::default()).map(|()| None);
    }
    let bucket = context.find_bucket(&context.route.bucket)?;
    check_expected_owner(context, &bucket, "x-amz-expected-bucket-owner")?;
    if is_free(context, &bucket) {
        return Ok(Some(bucket));
    }
    if caller.subject.person().is_none() && overrides_headers(context) {
        return Err(S3Error::new(
            Code::InvalidRequest,
            "Request specific response headers cannot be used for anonymous GET requests.",
        ));
    }
    let rules = Rules::of(context, &bucket)?;
    let judge = Judge { context, bucket: &bucket, rules: &rules };
    if operation == Operation::DeleteObjects && judge.shuts_strangers_out() {
        return Err(denied());
    }
    let by_object = needs::is_judged_by_object(operation);
    let waits = by_object && judge.asks_for_more();
    let facts = RequestFacts::new(context, Given::default(), &[]);
    for action in needs::needed(operation, extras(context)) {
        let decision = judge.decide(action, &context.route.key, &facts, ObjectRules::default())?;
        match decision {
            Decision::Denied if !waits => return Err(denied()),
            // Somebody else's object is not let out by what its bucket allows.
            Decision::Allowed if !by_object => {}
            Decision::Allowed if !waits && caller.subject.is_root() => {}
            Decision::Allowed if !waits && !rules.ownership.has_acls() => {}
            _ if by_object => {
                caller.is_by_object.set(true);
                caller.is_undecided.set(true);
            }
            _ => return Err(denied()),
        }
    }
    Ok(Some(bucket))
}

/// Whether nothing that is set could deny it.
fn is_free<P: Platform>(context: &Context<'_, P>, bucket: &Bucket) -> bool {
    context.caller.subject.is_root() && !bucket.settings.contains_key(&tag::POLICY)
}

/// Decides about what is done to no bucket that is there. Whoever has a key may list their buckets and
/// make new ones, unless a policy of their own denies it.
fn authorise_alone<P: Platform>(context: &Context<'_, P>, given: &Given<'_>) -> Result<()> {
    let caller = context.caller;
    if caller.subject.person().is_none() {
        return Err(denied());
    }
    let facts = RequestFacts::new(context, *given, &[]);
    for action in needs::needed(context.route.operation, extras(context)) {
        let question =
            Question { subject: &caller.subject, action, resource: &context.route.bucket };
        if decide_alone(&question, &facts, caller.policies()) == Decision::Denied {
            return Err(denied());
        }
    }
    Ok(())
}

/// Decides about a new bucket once its document was read.
pub fn check_creation<P: Platform>(context: &Context<'_, P>, given: &Given<'_>) -> Result<()> {
    context.caller.is_undecided.set(false);
    authorise_alone(context, given)
}

/// Decides once the object is known by its attributes, and what the body gives.
pub fn check_object<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    attributes: &[u8],
    given: &Given<'_>,
) -> Result<()> {
    if !context.caller.is_by_object.get() {
        return Ok(());
    }
    // One that took its place since another was decided about is another decision.
    context.caller.is_undecided.set(false);
    let actions = needs::needed(context.route.operation, extras(context));
    check_all(context, bucket, &context.route.key, attributes, given, &actions)
}

/// Decides about an object that the path does not name, known by its attributes.
pub fn check_other<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    key: &str,
    attributes: &[u8],
    actions: &[Action],
) -> Result<()> {
    check_given(context, bucket, key, attributes, &Given::of(Other::default()), actions)
}

/// As [`check_other`], with what the body gives, or is said of the object elsewhere.
pub fn check_given<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    key: &str,
    attributes: &[u8],
    given: &Given<'_>,
    actions: &[Action],
) -> Result<()> {
    if is_free(context, bucket) {
        return Ok(());
    }
    check_all(context, bucket, key, attributes, given, actions)
}

/// Whether the caller, who was let at the object that the request names, may do that to it too.
/// `attributes`: the object's. Fails where what is set of the bucket cannot be read.
pub fn may_also<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    attributes: &[u8],
    action: Action,
) -> Result<bool> {
    let (key, given) = (&context.route.key, Given::default());
    match check_given(context, bucket, key, attributes, &given, &[action]) {
        Ok(()) => Ok(true),
        Err(error) if error.code == Code::AccessDenied => Ok(false),
        Err(error) => Err(error),
    }
}

fn check_all<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    key: &str,
    attributes: &[u8],
    given: &Given<'_>,
    actions: &[Action],
) -> Result<()> {
    let rules = Rules::of(context, bucket)?;
    let judge = Judge { context, bucket, rules: &rules };
    let facts = RequestFacts::new(context, *given, attributes);
    let (mut owner, mut acl) = (None, None);
    for field in fields(attributes) {
        match field? {
            Field::Owner(id) => owner = Some(id),
            Field::Acl(encoded) => acl = Some(Acl::decode(encoded)?),
            _ => {}
        }
    }
    let object = ObjectRules { owner, acl: acl.as_ref() };
    for action in actions {
        if judge.decide(*action, key, &facts, object)? != Decision::Allowed {
            return Err(denied());
        }
    }
    Ok(())
}

/// Decides about one more action, on a key of the bucket or on the bucket itself.
pub fn check_action<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    action: Action,
    key: &str,
) -> Result<()> {
    check_given(context, bucket, key, &[], &Given::default(), &[action])
}

/// What a caller hears of a thing that is not there: only who may list learns that it is not.
pub fn of_missing<P: Platform>(
    context: &Context<'_, P>,
    bucket: &str,
    key: &str,
    version_id: Option<&str>,
    error: S3Error,
) -> S3Error {
    if context.caller.subject.is_root() {
        return error;
    }
    let (read, list) = if version_id.is_some() {
        (Action::GetObjectVersion, Action::ListBucketVersions)
    } else {
        (Action::GetObject, Action::ListBucket)
    };
    let may_know = context.find_bucket(bucket).and_then(|bucket| {
        // Whom the secret lets in to all objects learns of each that it is not there, but of none that a
        // policy denies them: were it there, they would not hear of it.
        if origin::lets_in(context, &bucket, read)? {
            match check_action(context, &bucket, read, key) {
                Err(error) if error.code == Code::AccessDenied => {}
                decided => return decided,
            }
        }
        check_action(context, &bucket, list, "")
    });
    match may_know {
        Ok(()) => error,
        Err(denial) => denial,
    }
}

/// Whether an operation that has answered was decided about. One that was not is a bug: nothing
/// of its answer leaves.
pub fn is_decided<P: Platform>(context: &Context<'_, P>) -> bool {
    !context.caller.is_undecided.get()
}

/// Compares the owner whom the client expects with the one that there is.
pub fn check_expected_owner<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    header: &str,
) -> Result<()> {
    let Some(expected) = context.head.header(header) else { return Ok(()) };
    let owner = context.setting::<BucketOwner>(bucket)?;
    let id = owner.as_ref().map_or(&context.owner.id, |owner| &owner.id);
    let account = || subject::account_number(&context.owner.id);
    if expected == id.as_bytes() || expected == account().as_bytes() {
        Ok(())
    } else {
        Err(denied())
    }
}

/// The owner and the ACL that a new object gets, by its request's headers.
pub fn stamp<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    attributes: &mut Attributes,
) -> Result<()> {
    attributes.acl = None;
    attributes.owner = None;
    let header = |name: &str| context.header(name);
    let asks = acl::is_asked_for(header);
    let bucket_owner = context.setting::<BucketOwner>(bucket)?;
    if !asks && bucket_owner.is_none() && context.caller.subject.is_root() {
        return Ok(());
    }
    let bucket_owner = bucket_owner.as_ref().map_or(&context.owner.id, |owner| &owner.id);
    let ownership = ownership_of(context, bucket)?;
    let hands_over = ownership == Ownership::BucketOwnerPreferred
        && header("x-amz-acl") == Some("bucket-owner-full-control");
    // Root, and whoever has no key, acts for the bucket's owner.
    let own = match &context.caller.subject {
        subject::Subject::User(user) if ownership.has_acls() && !hands_over => &user.id,
        _ => bucket_owner,
    };
    if own != bucket_owner {
        attributes.owner = Some(own.clone());
    }
    if !asks {
        return Ok(());
    }
    let owners = acl::Owners { own, bucket: bucket_owner };
    let Some(acl) = Acl::of_headers(header, owners, &context.users())? else { return Ok(()) };
    attributes.acl = check_acl(context, bucket, acl, owners)?;
    Ok(())
}

/// An ACL that may be given in this bucket, as it is to be kept: none where it says nothing.
pub fn check_acl<P: Platform>(
    context: &Context<'_, P>,
    bucket: &Arc<Bucket>,
    acl: Acl,
    owners: acl::Owners<'_>,
) -> Result<Option<Acl>> {
    let is_private = acl.is_private(owners.own);
    if !ownership_of(context, bucket)?.has_acls() {
        return if is_private || acl.is_of_bucket_owner(owners) {
            Ok(None)
        } else {
            Err(Code::AccessControlListNotSupported.into())
        };
    }
    if acl.is_public() && block_of(context, bucket)?.block_public_acls {
        return Err(denied());
    }
    Ok((!is_private).then_some(acl))
}

/// Decides with one set of rules.
struct Judge<'a, 'b, P: Platform> {
    context: &'a Context<'b, P>,
    bucket: &'a Arc<Bucket>,
    rules: &'a Rules,
}

impl<P: Platform> Judge<'_, '_, P> {
    fn decide(
        &self,
        action: Action,
        key: &str,
        facts: &RequestFacts<'_, '_, P>,
        object: ObjectRules<'_>,
    ) -> Result<Decision> {
        let with_key;
        let resource = if action.level() == Level::Object {
            with_key = format!("{}/{key}", self.bucket.name);
            &with_key
        } else {
            &self.bucket.name
        };
        let caller = self.context.caller;
        let question = Question { subject: &caller.subject, action, resource };
        let bucket = self.rules.view(self.context.owner);
        let decision = decide(&question, facts, caller.policies(), &bucket, object);
        if decision == Decision::NotAllowed
            && !bucket.is_strangers(object)
            && origin::lets_in(self.context, self.bucket, action)?
        {
            return Ok(Decision::Allowed);
        }
        Ok(decision)
    }

    /// Whether the caller is nobody, and nothing that is set could let anybody do anything: then no body is read.
    fn shuts_strangers_out(&self) -> bool {
        let is_stranger = self.context.caller.subject.person().is_none();
        is_stranger && self.rules.policy.is_none() && self.rules.acl.is_none()
    }

    /// Whether a policy asks for what is known only once the object was found and the body read.
    fn asks_for_more(&self) -> bool {
        let asks = |policy: &Policy| policy.asks_for_object() || policy.asks_for_body();
        self.rules.policy.as_deref().is_some_and(asks) || self.context.caller.policies().any(asks)
    }
}

fn overrides_headers<P: Platform>(context: &Context<'_, P>) -> bool {
    matches!(context.route.operation, Operation::GetObject | Operation::HeadObject)
        && context.route.query.iter().any(|(name, _)| name.starts_with("response-"))
}

fn extras<P: Platform>(context: &Context<'_, P>) -> Extras {
    let has = |name| context.head.header(name).is_some();
    Extras {
        version: context.query("versionId").is_some(),
        acl: acl::is_asked_for(|name| context.header(name)),
        tagging: has("x-amz-tagging"),
        retention: has("x-amz-object-lock-mode") || has("x-amz-object-lock-retain-until-date"),
        legal_hold: has("x-amz-object-lock-legal-hold"),
        object_lock: context
            .header("x-amz-bucket-object-lock-enabled")
            .is_some_and(|text| text.eq_ignore_ascii_case("true")),
        ownership: has("x-amz-object-ownership"),
    }
}
