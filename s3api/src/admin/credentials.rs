//! `/api/v1/credentials`: users, their keys and their policies.
//!
//! `GET credentials` lists, `POST credentials {"user_name": ..., "access_key": ..., "secret_key": ...}`
//! makes a user (what is not given is made up), `GET credentials/ID` shows one with its buckets,
//! `PUT credentials/ID {"user_name": ..., "is_active": ...}` changes it, `DELETE credentials/ID` takes it
//! away. `credentials/ID/limits` gets, puts and deletes its limits (`limits`).
//! `credentials/ID/policies` lists its policies, `credentials/ID/policies/NAME` gets, puts and
//! deletes one; a policy is sent and given back as its own text.
//!
//! Invariants: a secret is told once, in the answer that made it; one change is under way at a time,
//! so that none undoes another; a change counts on every core when it is answered.
//!
//! Not here: root's credentials, which come from its file or the environment.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use engine::BucketId;
use engine::platform::Platform;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{ApiAnswer, ApiRequest};
use super::limits;
use super::present::{self, done};
use crate::access::authorise::BucketOwner;
use crate::access::policy::{Kind, Policy};
use crate::access::subject::{Owner, Subject, account_number};
use crate::dates::iso_time;
use crate::error::S3Error;
use crate::limits::{LIST_ROWS_MAX, USER_POLICIES_MAX, USERS_MAX};
use crate::root_credentials::{check_secret, random_text};
use crate::system::{self, SystemEntry};
use crate::users::{User, Users};

const NANOSECONDS: u64 = 1_000_000_000;
const CANONICAL_ID_BYTES: usize = 32;
const NAME_BYTES_MAX: usize = 128;

/// Whether a change of users is under way.
#[derive(Debug, Default)]
pub struct UserChanges(Cell<bool>);

/// Ends with the change that took it.
pub(super) struct Changing<'a>(&'a Cell<bool>);

impl UserChanges {
    pub(super) fn begin(&self) -> Result<Changing<'_>, ApiAnswer> {
        if self.0.replace(true) {
            return Err(ApiAnswer::problem(409, "another change of credentials is under way"));
        }
        Ok(Changing(&self.0))
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// The number that was given last, so that none is given twice.
#[derive(Debug, Serialize, Deserialize)]
struct LastNumber(u64);

impl SystemEntry for LastNumber {
    const KIND: &'static str = "user-number";
}

const LAST: &str = "last";

/// What the routes work with.
pub struct Credentials<'a, P: Platform> {
    pub users: Users<'a, P>,
    pub changes: &'a UserChanges,
    pub region: &'a str,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    user_name: Option<String>,
    access_key: Option<String>,
    secret_key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    user_name: Option<String>,
    is_active: Option<bool>,
}

type Result<T, E = ApiAnswer> = std::result::Result<T, E>;

impl From<S3Error> for ApiAnswer {
    fn from(error: S3Error) -> Self {
        Self::problem(error.code.status(), error.message)
    }
}

impl<P: Platform> Credentials<'_, P> {
    pub(super) fn list(&self) -> Result<ApiAnswer> {
        let mut users = self.users.all()?;
        users.sort_by_key(|user| user.number);
        let users: Vec<Value> = users.iter().map(|user| self.describe(user)).collect();
        Ok(ApiAnswer::json(200, json!({ "credentials": users })))
    }

    pub(super) async fn create(&self, request: &ApiRequest) -> Result<ApiAnswer> {
        let order: NewUser = request.optional_document()?;
        let made_up = |count| {
            random_text(count).map_err(|_| ApiAnswer::problem(500, "no randomness is to be had"))
        };
        let access_key = match order.access_key {
            Some(key) => check("access_key", check_access_key(&key)).map(|()| key)?,
            None => format!("RF{}", made_up(18)?),
        };
        let secret_key = match order.secret_key {
            Some(secret) => check("secret_key", check_secret(&secret)).map(|()| secret)?,
            None => made_up(40)?,
        };
        let name = match order.user_name {
            Some(name) => check("user_name", check_user_name(&name)).map(|()| name)?,
            None => access_key.clone(),
        };
        let mut id = [0; CANONICAL_ID_BYTES];
        getrandom::fill(&mut id)
            .map_err(|_| ApiAnswer::problem(500, "no randomness is to be had"))?;

        let _changing = self.changes.begin()?;
        if access_key == self.users.root.access_key
            || self.users.by_access_key(&access_key)?.is_some()
        {
            return Err(ApiAnswer::problem(409, "access_key: it is somebody's already"));
        }
        let all = self.users.all()?;
        if all.len() >= USERS_MAX {
            return Err(ApiAnswer::problem(
                409,
                format!("there are {USERS_MAX} credentials already"),
            ));
        }
        let owner = Owner { id: hex::encode(id), display_name: name, access_key };
        let user = User {
            number: self.next_number(&all).await?,
            owner: Rc::new(owner),
            secret_key,
            is_active: true,
            created: self.now(),
            policies: BTreeMap::new(),
            limits: None,
        };
        if !system::create(self.users.engine, &user.owner.access_key, &user).await? {
            return Err(ApiAnswer::problem(409, "access_key: it is somebody's already"));
        }
        let mut shown = self.describe(&user);
        if let Value::Object(fields) = &mut shown {
            fields.insert("secret_key".into(), user.secret_key.into());
        }
        Ok(ApiAnswer::json(201, shown))
    }

    pub(super) async fn show(&self, id: &str) -> Result<ApiAnswer> {
        let user = self.find(id)?;
        let buckets = self.buckets_of(&user).await?;
        let mut shown = self.describe(&user);
        if let Value::Object(fields) = &mut shown {
            fields.insert("bucket_count".into(), buckets.len().into());
            fields.insert("buckets".into(), buckets.into());
            let policies: Vec<&String> = user.policies.keys().collect();
            fields.insert("policies".into(), json!(policies));
            fields.insert("limits".into(), limits::present(user.limits.as_ref()));
        }
        Ok(ApiAnswer::json(200, shown))
    }

    pub(super) async fn change(&self, id: &str, request: &ApiRequest) -> Result<ApiAnswer> {
        let change: Change = request.document()?;
        if let Some(name) = &change.user_name {
            check("user_name", check_user_name(name))?;
        }
        let _changing = self.changes.begin()?;
        let mut user = (*self.find(id)?).clone();
        if let Some(name) = change.user_name {
            user.owner = Rc::new(Owner { display_name: name, ..(*user.owner).clone() });
        }
        user.is_active = change.is_active.unwrap_or(user.is_active);
        self.store(&user).await
    }

    pub(super) async fn remove(&self, id: &str) -> Result<ApiAnswer> {
        let _changing = self.changes.begin()?;
        let user = self.find(id)?;
        let gone = system::remove::<P, User>(self.users.engine, &user.owner.access_key).await?;
        if gone { Ok(done()) } else { Err(no_such_credential()) }
    }

    pub(super) fn policies(&self, id: &str) -> Result<ApiAnswer> {
        let user = self.find(id)?;
        let names: Vec<&String> = user.policies.keys().collect();
        Ok(ApiAnswer::json(200, json!({ "policies": names })))
    }

    pub(super) fn policy(&self, id: &str, name: &str) -> Result<ApiAnswer> {
        let user = self.find(id)?;
        let policy = user.policies.get(name).ok_or_else(no_such_policy)?;
        Ok(ApiAnswer::json_text(200, policy.text().to_owned()))
    }

    pub(super) async fn put_policy(
        &self,
        id: &str,
        name: &str,
        request: &ApiRequest,
    ) -> Result<ApiAnswer> {
        check("the policy's name", check_policy_name(name))?;
        let policy = Policy::parse(&request.text, Kind::Identity)
            .map_err(|malformed| ApiAnswer::problem(400, format!("the policy: {malformed}")))?;
        let _changing = self.changes.begin()?;
        let mut user = (*self.find(id)?).clone();
        user.policies.insert(name.to_owned(), policy);
        if user.policies.len() > USER_POLICIES_MAX {
            let detail = format!("a credential has at most {USER_POLICIES_MAX} policies");
            return Err(ApiAnswer::problem(409, detail));
        }
        self.store(&user).await
    }

    pub(super) async fn remove_policy(&self, id: &str, name: &str) -> Result<ApiAnswer> {
        let _changing = self.changes.begin()?;
        let mut user = (*self.find(id)?).clone();
        user.policies.remove(name).ok_or_else(no_such_policy)?;
        self.store(&user).await
    }

    pub(super) fn limits(&self, id: &str) -> Result<ApiAnswer> {
        Ok(limits::answer(self.find(id)?.limits.as_ref()))
    }

    pub(super) async fn put_limits(&self, id: &str, request: &ApiRequest) -> Result<ApiAnswer> {
        let limits = limits::ordered(request)?;
        let _changing = self.changes.begin()?;
        let mut user = (*self.find(id)?).clone();
        user.limits = Some(limits);
        self.store(&user).await?;
        Ok(limits::answer(Some(&limits)))
    }

    pub(super) async fn remove_limits(&self, id: &str) -> Result<ApiAnswer> {
        let _changing = self.changes.begin()?;
        let mut user = (*self.find(id)?).clone();
        user.limits = None;
        self.store(&user).await
    }

    fn find(&self, id: &str) -> Result<Rc<User>> {
        let number: u64 = id.parse().map_err(|_| no_such_credential())?;
        let mut users = self.users.all()?.into_iter();
        users.find(|user| user.number == number).ok_or_else(no_such_credential)
    }

    async fn store(&self, user: &User) -> Result<ApiAnswer> {
        if system::update(self.users.engine, &user.owner.access_key, user).await? {
            Ok(done())
        } else {
            Err(no_such_credential())
        }
    }

    async fn next_number(&self, all: &[Rc<User>]) -> Result<u64> {
        let Users { engine, cache, .. } = &self.users;
        let last: Option<Rc<LastNumber>> = system::get(engine, cache, LAST)?;
        let greatest = all.iter().map(|user| user.number).max().unwrap_or(0);
        let next = LastNumber(last.as_ref().map_or(0, |last| last.0).max(greatest) + 1);
        match last {
            Some(_) => system::update(engine, LAST, &next).await?,
            None => system::create(engine, LAST, &next).await?,
        };
        Ok(next.0)
    }

    fn now(&self) -> i64 {
        let now = self.users.engine.platform().wall_clock_ns() / NANOSECONDS;
        i64::try_from(now).unwrap_or(i64::MAX)
    }

    /// Everything but the secret.
    fn describe(&self, user: &User) -> Value {
        let owner = &user.owner;
        let account = account_number(&self.users.root.id);
        json!({
            "id": user.number,
            "access_key": owner.access_key,
            "user_name": owner.display_name,
            "is_active": user.is_active,
            "created_at": iso_time(user.created),
            "canonical_id": owner.id,
            "arn": Subject::User(owner.clone()).arn(&account),
        })
    }

    async fn buckets_of(&self, user: &User) -> Result<Vec<Value>> {
        let mut owned = Vec::new();
        for bucket in self.users.engine.catalog().buckets() {
            let owner = self.users.cache.get::<BucketOwner>(bucket)?;
            if owner.is_some_and(|owner| owner.id == user.owner.id) {
                owned.push(bucket.clone());
            }
        }
        let mut buckets = Vec::with_capacity(owned.len());
        for page in owned.chunks(LIST_ROWS_MAX) {
            let ids: Vec<BucketId> = page.iter().map(|bucket| bucket.id).collect();
            let usages = self.users.engine.bucket_usages(&ids).await?;
            let name = &user.owner.display_name;
            buckets.extend(
                page.iter()
                    .zip(usages)
                    .map(|(bucket, usage)| present::bucket(bucket, name, self.region, usage)),
            );
        }
        Ok(buckets)
    }
}

impl<P: Platform> std::fmt::Debug for Credentials<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("users", &self.users).finish_non_exhaustive()
    }
}

fn no_such_credential() -> ApiAnswer {
    ApiAnswer::problem(404, "there is no credential of this id")
}

fn no_such_policy() -> ApiAnswer {
    ApiAnswer::problem(404, "the credential has no policy of this name")
}

fn check(name: &str, result: Result<(), &str>) -> Result<()> {
    result.map_err(|reason| ApiAnswer::problem(400, format!("{name}: {reason}")))
}

/// Whatever can stand in a credential's scope, in a header of grants and in a name of the catalogue:
/// some services have keys with a colon or an `@`.
fn check_access_key(text: &str) -> Result<(), &'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:@+".contains(&byte);
    if (3..=128).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(())
    } else {
        Err("it must be 3 to 128 letters, digits and characters of -_.:@+")
    }
}

fn check_user_name(text: &str) -> Result<(), &'static str> {
    let allowed = |c: char| !c.is_control() && !matches!(c, '/' | '*' | '?' | '"');
    if (1..=NAME_BYTES_MAX).contains(&text.len())
        && text.trim() == text
        && text.chars().all(allowed)
    {
        Ok(())
    } else {
        Err("it must be 1 to 128 bytes without slashes, asterisks, question marks and quotes")
    }
}

fn check_policy_name(text: &str) -> Result<(), &'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+=,@".contains(&byte);
    if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(())
    } else {
        Err("it must be 1 to 128 letters, digits and characters of -_.+=,@")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_keys_that_are_taken() {
        let check = |good: bool, result: Result<(), &'static str>, text: &str| {
            assert_eq!(result.is_ok(), good, "{text}");
        };
        for text in ["AKIAIOSFODNN7EXAMPLE", "project:user@company", "abc"] {
            check(true, check_access_key(text), text);
        }
        for text in ["ab", "a/b", "a b c", "a,b,c", "a=b", "ab*", "käse", &"a".repeat(129)] {
            check(false, check_access_key(text), text);
        }
        for text in ["john-doe", "John Doe", "user@company", "ü"] {
            check(true, check_user_name(text), text);
        }
        for text in ["", " a", "a/b", "a*", "a?", "a\"", "a\n", &"a".repeat(129)] {
            check(false, check_user_name(text), text);
        }
        check(true, check_policy_name("read-only"), "read-only");
        check(false, check_policy_name(""), "");
        check(false, check_policy_name("a/b"), "a/b");
    }
}
