//! One statement of a policy: effect, principals, actions, resources, conditions.

use super::condition::Condition;
use super::evaluation::Evaluation;
use super::json::Json;
use super::key::Key;
use super::pattern::{Pattern, Syntax, Text};
use super::principal::{Principal, Principals};
use super::{ANONYMOUS_ID, Kind, Malformed, Question, malformed};
use crate::access::action::{self, Level};

const RESOURCE_PREFIX: &str = "arn:aws:s3:::";

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Statement {
    pub(super) is_denial: bool,
    /// None of a policy of an identity.
    principals: Option<Principals>,
    actions: List,
    resources: List,
    conditions: Vec<Condition>,
}

/// What is meant, or all but what is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
struct List {
    is_negated: bool,
    patterns: Vec<Pattern>,
}

impl List {
    fn includes(&self, text: &str, evaluation: &Evaluation<'_>) -> bool {
        let text = Text::new(text);
        self.patterns.iter().any(|pattern| pattern.matches(&text, evaluation)) != self.is_negated
    }
}

impl Statement {
    pub(super) fn parse(json: &Json, kind: Kind<'_>, variables: bool) -> Result<Self, Malformed> {
        let Json::Object(fields) = json else {
            return Err(malformed("This policy contains invalid Json"));
        };
        let mut effect = None;
        let mut principals = None;
        let mut actions = None;
        let mut resources = None;
        let mut conditions = Vec::new();
        for (name, value) in fields {
            let is_negated = name.starts_with("Not");
            match name.as_str() {
                "Sid" if value.text().is_some() => {}
                "Effect" => effect = Some(parse_effect(value)?),
                "Principal" | "NotPrincipal" => {
                    let parsed = Principals::parse(value, is_negated)?;
                    set_once(&mut principals, parsed, "Principal")?;
                }
                "Action" | "NotAction" => {
                    set_once(&mut actions, parse_actions(value, is_negated)?, "Action")?;
                }
                "Resource" | "NotResource" => {
                    let parsed = parse_resources(value, is_negated, kind, variables)?;
                    set_once(&mut resources, parsed, "Resource")?;
                }
                "Condition" => conditions = Condition::parse_all(value, variables)?,
                name => return Err(malformed(format!("Unknown field {name}"))),
            }
        }
        let missing = |name| malformed(format!("Missing required field {name}"));
        match (kind, &principals) {
            (Kind::Bucket(_), None) => return Err(missing("Principal")),
            (Kind::Identity, Some(_)) => {
                return Err(malformed("Policy document should not specify a principal."));
            }
            _ => {}
        }
        let (resources, levels) = resources.ok_or_else(|| missing("Resource"))?;
        let statement = Self {
            is_denial: effect.ok_or_else(|| missing("Effect"))?,
            principals,
            actions: actions.ok_or_else(|| missing("Action"))?,
            resources,
            conditions,
        };
        if matches!(kind, Kind::Bucket(_)) {
            statement.check_levels(levels)?;
        }
        statement.check_conditions()?;
        Ok(statement)
    }

    /// Each action must be one that is done to one of the resources.
    fn check_levels(&self, levels: Levels) -> Result<(), Malformed> {
        if self.actions.is_negated || self.resources.is_negated {
            return Ok(());
        }
        let applies = |pattern: &Pattern| {
            action::known().any(|(name, level)| {
                pattern.matches_plainly(name)
                    && match level {
                        Level::Bucket => levels.bucket,
                        Level::Object => levels.object,
                        Level::Service => false,
                    }
            })
        };
        if self.actions.patterns.iter().all(applies) {
            Ok(())
        } else {
            Err(malformed("Action does not apply to any resource(s) in statement"))
        }
    }

    /// A condition on a parameter that none of the actions has would never hold.
    fn check_conditions(&self) -> Result<(), Malformed> {
        let is_of_lists = |key: &Key| matches!(key, Key::Prefix | Key::Delimiter | Key::MaxKeys);
        let asks = self.conditions.iter().any(|condition| is_of_lists(&condition.key));
        let lists = action::known().any(|(name, _)| {
            name.starts_with("s3:ListBucket")
                && self.actions.includes(name, &Evaluation::without_request())
        });
        if asks && !lists {
            return Err(malformed(
                "Conditions do not apply to combination of actions and resources in statement",
            ));
        }
        Ok(())
    }

    pub(super) fn applies(&self, question: &Question<'_>, evaluation: &Evaluation<'_>) -> bool {
        let concerns =
            |principals: &Principals| principals.include(question.subject, self.is_denial);
        self.actions.includes(question.action.name(), evaluation)
            && self.principals.as_ref().is_none_or(concerns)
            && self.resources.includes(question.resource, evaluation)
            && self.conditions.iter().all(|condition| condition.holds(evaluation))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        let conditions = self.conditions.iter().flat_map(Condition::keys);
        conditions.chain(self.resources.patterns.iter().flat_map(Pattern::keys))
    }

    pub(super) fn is_public(&self) -> bool {
        /// Conditions that tie a statement to somebody, if their values are fixed.
        fn ties(key: &Key) -> bool {
            matches!(
                key,
                Key::SourceIp
                    | Key::UserId
                    | Key::UserName
                    | Key::PrincipalArn
                    | Key::PrincipalAccount
                    | Key::Header("x-amz-server-side-encryption-aws-kms-key-id")
                    | Key::Absent(
                        "aws:principalorgid"
                            | "aws:sourceaccount"
                            | "aws:sourcearn"
                            | "aws:sourceorgid"
                            | "aws:sourcevpc"
                            | "aws:sourcevpce"
                            | "s3:dataaccesspointaccount"
                            | "s3:dataaccesspointarn"
                    )
            )
        }
        // The user id of those who are nobody is no secret.
        let is_anonymous =
            |condition: &Condition| condition.key == Key::UserId && condition.may_be(ANONYMOUS_ID);
        let tied = || {
            self.conditions.iter().any(|condition| {
                ties(&condition.key) && condition.is_fixed() && !is_anonymous(condition)
            })
        };
        !self.is_denial && self.principals.as_ref().is_some_and(Principals::are_everyone) && !tied()
    }

    pub(super) fn principals(&self) -> impl Iterator<Item = &Principal> {
        self.principals.iter().flat_map(|principals| &principals.named)
    }
}

/// What a statement's resources may be.
#[derive(Debug, Clone, Copy, Default)]
struct Levels {
    bucket: bool,
    object: bool,
}

/// An element and its negation exclude each other.
fn set_once<T>(place: &mut Option<T>, value: T, name: &str) -> Result<(), Malformed> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(malformed(format!("A statement cannot have both {name} and Not{name}"))),
    }
}

fn parse_effect(value: &Json) -> Result<bool, Malformed> {
    match value.text() {
        Some("Allow") => Ok(false),
        Some("Deny") => Ok(true),
        other => Err(malformed(format!("Invalid effect: {}", other.unwrap_or_default()))),
    }
}

fn parse_actions(value: &Json, is_negated: bool) -> Result<List, Malformed> {
    let invalid = || malformed("Policy has invalid action");
    let syntax = Syntax { wildcards: true, variables: false, folded: true };
    let texts = value.texts().filter(|texts| !texts.is_empty()).ok_or_else(invalid)?;
    let parse = |text: &str| {
        let pattern = Pattern::parse(text, syntax)?;
        let is_known = action::known().any(|(name, _)| pattern.matches_plainly(name));
        let names_s3 = text == "*" || text.get(..3).is_some_and(|s| s.eq_ignore_ascii_case("s3:"));
        (is_known && names_s3).then_some(pattern)
    };
    let patterns: Option<Vec<Pattern>> = texts.into_iter().map(parse).collect();
    Ok(List { is_negated, patterns: patterns.ok_or_else(invalid)? })
}

fn parse_resources(
    value: &Json,
    is_negated: bool,
    kind: Kind<'_>,
    variables: bool,
) -> Result<(List, Levels), Malformed> {
    let invalid = || malformed("Policy has invalid resource");
    let syntax = Syntax { wildcards: true, variables, folded: false };
    let mut levels = Levels::default();
    let mut patterns = Vec::new();
    let texts = value.texts().filter(|texts| !texts.is_empty()).ok_or_else(invalid)?;
    for text in texts {
        let name = match text.strip_prefix(RESOURCE_PREFIX) {
            Some(name) if !name.is_empty() => name,
            None if text == "*" => text,
            _ => return Err(invalid()),
        };
        let (bucket, key) = match name.split_once('/') {
            Some((bucket, _)) => (bucket, true),
            None => (name, false),
        };
        let bucket_pattern = Pattern::parse(bucket, syntax).ok_or_else(invalid)?;
        if let Kind::Bucket(own) = kind
            && !own.is_empty()
            && !bucket_pattern.matches_plainly(own)
        {
            return Err(invalid());
        }
        levels.object |= key || name.ends_with('*');
        levels.bucket |= !key;
        patterns.push(Pattern::parse(name, syntax).ok_or_else(invalid)?);
    }
    Ok((List { is_negated, patterns }, levels))
}
