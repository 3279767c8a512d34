//! The policy language: what a policy says of a request.
//!
//! Invariants: a policy is read whole or refused with the message that AWS has for it: no element,
//! operator or key is passed over; evaluation has no side effects; one that would take more than
//! `POLICY_STEPS_MAX` steps denies.
//!
//! Not here: what follows where several policies and ACLs speak (`decision`).
//!
//! Source: AWS, "IAM JSON policy elements reference"; "Policies and permissions in Amazon S3".

mod condition;
mod evaluation;
mod json;
mod key;
mod pattern;
mod principal;
mod statement;

pub use key::Key;
pub use principal::Principal;

use crate::access::Subject;
use crate::access::action::Action;
use crate::error::{Code, S3Error};
use crate::limits::POLICY_BYTES_MAX;
use evaluation::Evaluation;
use json::Json;
use serde::{Deserialize, Serialize};
use statement::Statement;
use std::borrow::Cow;

/// `aws:userid` of whoever is nobody.
pub const ANONYMOUS_ID: &str = "anonymous";

/// Why a text is no policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub Cow<'static, str>);

fn malformed(message: impl Into<Cow<'static, str>>) -> Malformed {
    Malformed(message.into())
}

impl From<Malformed> for S3Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(Code::MalformedPolicy, malformed.0)
    }
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// What conditions and variables are about.
pub trait Facts {
    /// The values of a key: none where the request has none.
    fn values(&self, key: &Key) -> Vec<String>;
}

/// What a policy belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// It names principals; its resources are in this bucket.
    Bucket(&'a str),
    /// It is about the user whose it is.
    Identity,
}

/// What a policy says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Explicitly.
    Deny,
    Allow,
    Silent,
}

/// A policy, with the text that it was read from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Policy {
    text: String,
    statements: Vec<Statement>,
    is_identity: bool,
}

/// What may be asked of a policy.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    pub subject: &'a Subject,
    pub action: Action,
    /// `bucket`, `bucket/key`, or empty for the service.
    pub resource: &'a str,
}

impl Policy {
    /// Reads a policy that a client gives.
    pub fn parse(text: &str, kind: Kind<'_>) -> Result<Self, Malformed> {
        if text.len() > POLICY_BYTES_MAX {
            return Err(malformed("Policy exceeds the maximum allowed document size."));
        }
        if !text.trim_start().starts_with('{') {
            return Err(malformed("Policies must be valid JSON and the first byte must be '{'"));
        }
        let Some(Json::Object(fields)) = Json::parse(text) else {
            return Err(malformed("This policy contains invalid Json"));
        };
        let mut variables = false;
        let mut statements = None;
        for (name, value) in &fields {
            match (name.as_str(), value) {
                ("Version", Json::Text(version)) if version == "2012-10-17" => variables = true,
                ("Version", Json::Text(version)) if version == "2008-10-17" => {}
                ("Version", _) => {
                    return Err(malformed("The policy must contain a valid version string"));
                }
                // One server writes it in capitals.
                ("Id" | "ID", Json::Text(_)) => {}
                ("Id" | "ID", _) => return Err(malformed("Invalid policy syntax.")),
                ("Statement", value) => statements = Some(value),
                (name, _) => return Err(malformed(format!("Unknown field {name}"))),
            }
        }
        let statements = match statements {
            None => return Err(malformed("Missing required field Statement")),
            Some(Json::List(list)) if list.is_empty() => {
                return Err(malformed("Could not parse the policy: Statement is empty!"));
            }
            Some(Json::List(list)) => list.iter().collect(),
            Some(one) => vec![one],
        };
        let statements = statements
            .into_iter()
            .map(|statement| Statement::parse(statement, kind, variables))
            .collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), statements, is_identity: kind == Kind::Identity })
    }

    /// As the client wrote it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Denies, too, where it would take too many steps to know.
    pub fn judge(&self, question: &Question<'_>, facts: &dyn Facts) -> Verdict {
        self.evaluate(question, &Evaluation::new(facts))
    }

    fn evaluate(&self, question: &Question<'_>, evaluation: &Evaluation<'_>) -> Verdict {
        let mut verdict = Verdict::Silent;
        for statement in &self.statements {
            let may_matter = statement.is_denial || verdict == Verdict::Silent;
            let applies = may_matter && statement.applies(question, evaluation);
            if evaluation.is_exhausted() || (applies && statement.is_denial) {
                return Verdict::Deny;
            }
            if applies {
                verdict = Verdict::Allow;
            }
        }
        verdict
    }

    /// Whether a statement asks for something of the object that is there.
    pub fn asks_for_object(&self) -> bool {
        self.keys().any(Key::is_of_object)
    }

    /// Whether a statement asks for something that may stand in a request's body.
    pub fn asks_for_body(&self) -> bool {
        self.keys().any(Key::is_of_body)
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.statements.iter().flat_map(Statement::keys)
    }

    /// Whether it lets in whoever comes, as AWS defines it for the blocking of public access.
    pub fn is_public(&self) -> bool {
        self.statements.iter().any(Statement::is_public)
    }

    /// The principals that it names.
    pub fn principals(&self) -> impl Iterator<Item = &Principal> {
        self.statements.iter().flat_map(Statement::principals)
    }
}

/// How a policy is kept: the client's text, and how it is to be read.
#[derive(Serialize, Deserialize)]
struct Stored {
    text: String,
    /// The bucket whose policy it is; none of an identity's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bucket: Option<String>,
}

impl TryFrom<Stored> for Policy {
    type Error = Malformed;

    fn try_from(stored: Stored) -> Result<Self, Malformed> {
        match &stored.bucket {
            Some(_) => Self::parse(&stored.text, Kind::Bucket("")),
            None => Self::parse(&stored.text, Kind::Identity),
        }
    }
}

impl From<Policy> for Stored {
    fn from(policy: Policy) -> Self {
        let bucket = (!policy.is_identity).then(String::new);
        Self { text: policy.text, bucket }
    }
}

#[cfg(test)]
mod tests;
