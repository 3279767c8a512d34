//! Whom a statement is about.
//!
//! There is one account, which all users are in. An ARN's account number may therefore be anybody's: a
//! policy that was written for another service goes on to name the same users.
//!
//! Source: AWS, "IAM JSON policy elements: Principal", "NotPrincipal".

use super::json::Json;
use super::{Malformed, malformed};
use crate::access::Subject;
use crate::access::subject::{ACCOUNT_DIGITS, CANONICAL_ID_DIGITS};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Principals {
    pub(super) is_negated: bool,
    pub(super) named: Vec<Principal>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// Anonymous callers included.
    Everyone,
    /// By canonical id.
    Id(String),
    /// By access key.
    AccessKey(String),
    /// By user name.
    Name(String),
    /// The account as a whole. What it is allowed its administrator hands on, so of itself that
    /// allows root only; what it is denied all of its users are denied.
    Account,
    /// A service of AWS's: none calls here.
    Service,
}

impl Principals {
    pub(super) fn parse(json: &Json, is_negated: bool) -> Result<Self, Malformed> {
        let invalid = || malformed("Invalid principal in policy");
        let mut named = Vec::new();
        match json {
            Json::Text(text) if text == "*" => named.push(Principal::Everyone),
            Json::Object(kinds) if !kinds.is_empty() => {
                for (kind, values) in kinds {
                    for value in values.texts().ok_or_else(invalid)? {
                        named.push(Principal::parse(kind, value).ok_or_else(invalid)?);
                    }
                }
            }
            _ => {}
        }
        if named.is_empty() { Err(invalid()) } else { Ok(Self { is_negated, named }) }
    }

    /// Whether a statement is about the caller.
    pub(super) fn include(&self, subject: &Subject, is_denial: bool) -> bool {
        // Who is exempt from a denial must be named: that the account is does not exempt its users.
        let all_users = is_denial && !self.is_negated;
        let is_named = self.named.iter().any(|principal| principal.is(subject, all_users));
        is_named != self.is_negated
    }

    pub(super) fn are_everyone(&self) -> bool {
        self.is_negated || self.named.contains(&Principal::Everyone)
    }
}

impl Principal {
    fn parse(kind: &str, value: &str) -> Option<Self> {
        match kind {
            "AWS" => Self::of_aws(value),
            "CanonicalUser" => is_canonical_id(value).then(|| Self::Id(value.to_owned())),
            "Service" => value
                .strip_suffix(".amazonaws.com")
                .filter(|name| !name.is_empty() && !name.contains('*'))
                .map(|_| Self::Service),
            _ => None,
        }
    }

    fn of_aws(value: &str) -> Option<Self> {
        if value == "*" {
            return Some(Self::Everyone);
        }
        if is_canonical_id(value) {
            return Some(Self::Id(value.to_owned()));
        }
        if is_account(value) {
            return Some(Self::Account);
        }
        let Some(arn) = value.strip_prefix("arn:aws:iam::") else {
            let is_key = !value.is_empty()
                && !value.starts_with("arn:")
                && !value.contains(|c: char| c.is_whitespace() || matches!(c, '*' | '?'));
            return is_key.then(|| Self::AccessKey(value.to_owned()));
        };
        let (account, rest) = arn.split_once(':')?;
        if !account.is_empty() && !is_account(account) {
            return None;
        }
        match rest.split_once('/') {
            None if rest == "root" => Some(Self::Account),
            Some(("user", path)) => {
                let name = path.rsplit('/').next().filter(|name| !name.is_empty())?;
                (!name.contains(['*', '?'])).then(|| Self::Name(name.to_owned()))
            }
            _ => None,
        }
    }

    fn is(&self, subject: &Subject, all_users: bool) -> bool {
        let user = match subject {
            Subject::Anonymous => return *self == Self::Everyone,
            Subject::Root(user) | Subject::User(user) => user,
        };
        let is_root = matches!(subject, Subject::Root(_));
        match self {
            Self::Everyone => true,
            Self::Id(id) => *id == user.id,
            Self::AccessKey(access_key) => *access_key == user.access_key,
            Self::Name(name) => !is_root && *name == user.display_name,
            Self::Account => is_root || all_users,
            Self::Service => false,
        }
    }
}

fn is_canonical_id(text: &str) -> bool {
    text.len() == CANONICAL_ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_account(text: &str) -> bool {
    text.len() == ACCOUNT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::access::subject::Owner;
    use std::rc::Rc;

    fn person(name: &str) -> Rc<Owner> {
        Rc::new(Owner {
            id: format!("{name:0>64}").replace(|c: char| !c.is_ascii_hexdigit(), "a"),
            access_key: format!("KEY-{name}"),
            display_name: name.to_owned(),
        })
    }

    fn check(principal: &str, root: bool, user: bool, anonymous: bool) {
        let principals = Principals::parse(&Json::parse(principal).unwrap(), false).unwrap();
        let found =
            [Subject::Root(person("root")), Subject::User(person("bob")), Subject::Anonymous]
                .map(|subject| principals.include(&subject, false));
        assert_eq!(found, [root, user, anonymous], "{principal}");
    }

    #[test]
    fn principals() {
        check(r#""*""#, true, true, true);
        check(r#"{"AWS":"*"}"#, true, true, true);
        check(r#"{"AWS":["*"]}"#, true, true, true);
        check(r#"{"AWS":"KEY-bob"}"#, false, true, false);
        check(r#"{"AWS":["arn:aws:iam:::user/bob"]}"#, false, true, false);
        check(r#"{"AWS":["arn:aws:iam::123456789012:user/x/bob"]}"#, false, true, false);
        check(r#"{"AWS":["arn:aws:iam::123456789012:user/alice"]}"#, false, false, false);
        check(r#"{"AWS":"arn:aws:iam::123456789012:root"}"#, true, false, false);
        check(r#"{"AWS":"123456789012"}"#, true, false, false);
        check(r#"{"Service":"logging.s3.amazonaws.com"}"#, false, false, false);
        let id = person("bob").id.clone();
        check(&format!(r#"{{"CanonicalUser":"{id}"}}"#), false, true, false);
        check(&format!(r#"{{"AWS":"{id}"}}"#), false, true, false);
    }

    #[test]
    fn an_account_that_is_denied_is_all_of_its_users() {
        let json = Json::parse(r#"{"AWS":"arn:aws:iam::123456789012:root"}"#).unwrap();
        let principals = Principals::parse(&json, false).unwrap();
        assert!(principals.include(&Subject::User(person("bob")), true));
        assert!(!principals.include(&Subject::Anonymous, true));
        let others = Principals::parse(&json, true).unwrap();
        assert!(others.include(&Subject::Anonymous, true));
    }

    #[test]
    fn principals_that_are_none() {
        for text in [
            r#""bob""#,
            r#"{}"#,
            "[]",
            r#"{"AWS":[]}"#,
            r#"{"AWS":""}"#,
            r#"{"AWS":"a b"}"#,
            r#"{"AWS":"KEY-*"}"#,
            r#"{"AWS":"arn:aws:iam::12345:user/bob"}"#,
            r#"{"AWS":"arn:aws:iam:::user/*"}"#,
            r#"{"AWS":"arn:aws:iam:::user/"}"#,
            r#"{"AWS":"arn:aws:iam::123456789012:role/r"}"#,
            r#"{"AWS":"arn:aws:sts::123456789012:assumed-role/r/s"}"#,
            r#"{"CanonicalUser":"short"}"#,
            r#"{"Federated":"cognito-identity.amazonaws.com"}"#,
            r#"{"Service":"*"}"#,
            r#"{"Everyone":"*"}"#,
        ] {
            assert!(Principals::parse(&Json::parse(text).unwrap(), false).is_err(), "{text}");
        }
    }
}
