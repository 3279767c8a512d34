//! Conditions of a statement: an operator, a key, and the values that it is compared with.
//!
//! Invariant: a condition that was read is judged whole; an operator, key or value that is not
//! understood makes the policy malformed.
//!
//! Source: AWS, "IAM JSON policy elements: Condition operators"; "Conditions with multiple context
//! keys or values".

use super::evaluation::Evaluation;
use super::json::Json;
use super::key::Key;
use super::pattern::{Pattern, Syntax, Text};
use super::{Malformed, malformed};
use crate::access::network::Network;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Condition {
    pub(super) key: Key,
    test: Test,
    is_negated: bool,
    /// A key that is not there fulfils it.
    if_exists: bool,
    /// Over the values of the request.
    set: Option<Set>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    All,
    Any,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

/// What a value of the request is compared with: one of several.
#[derive(Debug, Clone, PartialEq)]
enum Test {
    Text(Vec<Pattern>),
    /// By the six parts of an ARN.
    Arn(Vec<Vec<Pattern>>),
    Number(Order, Vec<f64>),
    Date(Order, Vec<Timestamp>),
    Truth(Vec<bool>),
    Bytes(Vec<Vec<u8>>),
    Address(Vec<Network>),
    /// The key must be absent, or must not.
    Absent(bool),
}

/// How an operator's values are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text { wildcards: bool, folded: bool },
    Arn,
    Number(Order),
    Date(Order),
    Truth,
    Bytes,
    Address,
    Absent,
}

impl Condition {
    /// Reads the `Condition` element of a statement.
    pub(super) fn parse_all(json: &Json, variables: bool) -> Result<Vec<Self>, Malformed> {
        let Json::Object(operators) = json else {
            return Err(malformed("This policy contains invalid Json"));
        };
        let mut conditions = Vec::new();
        for (operator, tests) in operators {
            let Json::Object(tests) = tests else {
                return Err(malformed("This policy contains invalid Json"));
            };
            for (key, values) in tests {
                conditions.push(Self::parse(operator, key, values, variables)?);
            }
        }
        Ok(conditions)
    }

    fn parse(operator: &str, key: &str, values: &Json, variables: bool) -> Result<Self, Malformed> {
        let unknown = || malformed(format!("Invalid Condition type : {operator}"));
        let (set, rest) = match operator.split_once(':') {
            None => (None, operator),
            Some(("ForAllValues", rest)) => (Some(Set::All), rest),
            Some(("ForAnyValue", rest)) => (Some(Set::Any), rest),
            Some(_) => return Err(unknown()),
        };
        let (name, if_exists) = match rest.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (rest, false),
        };
        let (kind, is_negated) = kind_of(name).ok_or_else(unknown)?;
        if kind == Kind::Absent && (if_exists || set.is_some()) {
            return Err(unknown());
        }
        let key =
            Key::parse(key).ok_or_else(|| malformed("Policy has an invalid condition key"))?;
        let values = values
            .scalars()
            .filter(|values| !values.is_empty())
            .ok_or_else(|| malformed("This policy contains invalid Json"))?;
        let test = Test::parse(kind, &values, variables).ok_or_else(|| {
            malformed(format!("Policy has an invalid value for a condition of type {operator}"))
        })?;
        Ok(Self { key, test, is_negated, if_exists, set })
    }

    pub(super) fn holds(&self, evaluation: &Evaluation<'_>) -> bool {
        if evaluation.is_exhausted() {
            return false;
        }
        let found = evaluation.values(&self.key);
        if let Test::Absent(expected) = self.test {
            return found.is_empty() == expected;
        }
        if found.is_empty() {
            return self.if_exists
                || match self.set {
                    Some(Set::All) => true,
                    Some(Set::Any) => false,
                    None => self.is_negated,
                };
        }
        let mut found = found
            .iter()
            .map_while(|value| evaluation.spend(1).then(|| self.test.matches(value, evaluation)));
        match self.set {
            None => found.any(|is_match| is_match) != self.is_negated,
            Some(Set::All) => found.all(|is_match| is_match != self.is_negated),
            Some(Set::Any) => found.any(|is_match| is_match != self.is_negated),
        }
    }

    /// The keys that it asks for.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        let patterns: Vec<&Pattern> = match &self.test {
            Test::Text(patterns) => patterns.iter().collect(),
            Test::Arn(arns) => arns.iter().flatten().collect(),
            _ => Vec::new(),
        };
        std::iter::once(&self.key).chain(patterns.into_iter().flat_map(Pattern::keys))
    }

    /// Whether a text is one of its values.
    pub(super) fn may_be(&self, text: &str) -> bool {
        match &self.test {
            Test::Text(patterns) => patterns.iter().any(|pattern| pattern.matches_plainly(text)),
            _ => false,
        }
    }

    /// Whether it holds for a few values only, all of which the policy names itself.
    pub(super) fn is_fixed(&self) -> bool {
        if self.is_negated || self.if_exists || self.set == Some(Set::All) {
            return false;
        }
        match &self.test {
            Test::Text(patterns) => patterns.iter().all(Pattern::is_fixed),
            Test::Arn(arns) => arns.iter().flatten().all(Pattern::is_fixed),
            Test::Address(networks) => networks.iter().all(|network| !network.is_wide()),
            _ => false,
        }
    }
}

fn kind_of(name: &str) -> Option<(Kind, bool)> {
    let text = |wildcards, folded| Kind::Text { wildcards, folded };
    Some(match name {
        "StringEquals" => (text(false, false), false),
        "StringNotEquals" => (text(false, false), true),
        "StringEqualsIgnoreCase" => (text(false, true), false),
        "StringNotEqualsIgnoreCase" => (text(false, true), true),
        "StringLike" => (text(true, false), false),
        "StringNotLike" => (text(true, false), true),
        "ArnEquals" | "ArnLike" => (Kind::Arn, false),
        "ArnNotEquals" | "ArnNotLike" => (Kind::Arn, true),
        "NumericEquals" => (Kind::Number(Order::Equal), false),
        "NumericNotEquals" => (Kind::Number(Order::Equal), true),
        "NumericLessThan" => (Kind::Number(Order::Less), false),
        "NumericLessThanEquals" => (Kind::Number(Order::LessOrEqual), false),
        "NumericGreaterThan" => (Kind::Number(Order::Greater), false),
        "NumericGreaterThanEquals" => (Kind::Number(Order::GreaterOrEqual), false),
        "DateEquals" => (Kind::Date(Order::Equal), false),
        "DateNotEquals" => (Kind::Date(Order::Equal), true),
        "DateLessThan" => (Kind::Date(Order::Less), false),
        "DateLessThanEquals" => (Kind::Date(Order::LessOrEqual), false),
        "DateGreaterThan" => (Kind::Date(Order::Greater), false),
        "DateGreaterThanEquals" => (Kind::Date(Order::GreaterOrEqual), false),
        "Bool" => (Kind::Truth, false),
        "BinaryEquals" => (Kind::Bytes, false),
        "IpAddress" => (Kind::Address, false),
        "NotIpAddress" => (Kind::Address, true),
        "Null" => (Kind::Absent, false),
        _ => return None,
    })
}

impl Test {
    fn parse(kind: Kind, values: &[String], variables: bool) -> Option<Self> {
        fn all<T>(values: &[String], read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
            values.iter().map(|value| read(value)).collect()
        }
        Some(match kind {
            Kind::Text { wildcards, folded } => {
                let syntax = Syntax { wildcards, variables, folded };
                Self::Text(all(values, |value| Pattern::parse(value, syntax))?)
            }
            Kind::Arn => {
                let syntax = Syntax { wildcards: true, variables, folded: false };
                Self::Arn(all(values, |value| arn_patterns(value, syntax))?)
            }
            Kind::Number(order) => Self::Number(order, all(values, number)?),
            Kind::Date(order) => Self::Date(order, all(values, date)?),
            Kind::Truth => Self::Truth(all(values, truth)?),
            Kind::Bytes => Self::Bytes(all(values, |value| BASE64_STANDARD.decode(value).ok())?),
            Kind::Address => Self::Address(all(values, Network::parse)?),
            Kind::Absent => match all(values, truth)?.as_slice() {
                [value] => Self::Absent(*value),
                _ => return None,
            },
        })
    }

    fn matches(&self, value: &str, evaluation: &Evaluation<'_>) -> bool {
        match self {
            Self::Text(patterns) => {
                let text = Text::new(value);
                patterns.iter().any(|pattern| pattern.matches(&text, evaluation))
            }
            Self::Arn(arns) => {
                let parts: Vec<Text<'_>> = value.splitn(ARN_PARTS, ':').map(Text::new).collect();
                arns.iter().any(|arn| {
                    arn.len() == parts.len()
                        && arn.iter().zip(&parts).all(|(part, text)| part.matches(text, evaluation))
                })
            }
            Self::Number(order, others) => number(value)
                .is_some_and(|value| others.iter().any(|other| order.holds(&value, other))),
            Self::Date(order, others) => date(value)
                .is_some_and(|value| others.iter().any(|other| order.holds(&value, other))),
            Self::Truth(others) => truth(value).is_some_and(|value| others.contains(&value)),
            Self::Bytes(others) => {
                BASE64_STANDARD.decode(value).is_ok_and(|value| others.contains(&value))
            }
            Self::Address(networks) => value
                .parse()
                .is_ok_and(|address| networks.iter().any(|network| network.contains(address))),
            Self::Absent(_) => false,
        }
    }
}

/// `arn:partition:service:region:account:resource`.
const ARN_PARTS: usize = 6;

fn arn_patterns(text: &str, syntax: Syntax) -> Option<Vec<Pattern>> {
    if text == "*" {
        return (0..ARN_PARTS).map(|_| Pattern::parse(text, syntax)).collect();
    }
    // A colon within a variable is none between parts.
    let mut parts = Vec::new();
    let (mut from, mut depth) = (0, 0);
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ':' if depth <= 0 && parts.len() + 1 < ARN_PARTS => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    if parts.len() != ARN_PARTS || parts.first() != Some(&"arn") {
        return None;
    }
    parts.into_iter().map(|part| Pattern::parse(part, syntax)).collect()
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|value: &f64| value.is_finite())
}

/// ISO 8601, a day alone included, or seconds since the Unix epoch.
fn date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Timestamp::from_second(seconds).ok();
    }
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let day: jiff::civil::Date = text.parse().ok()?;
    day.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|time| time.timestamp())
}

fn truth(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::Facts;
    use super::*;

    struct Values<'a>(Key, &'a [&'a str]);

    impl Facts for Values<'_> {
        fn values(&self, key: &Key) -> Vec<String> {
            match key {
                key if *key == self.0 => self.1.iter().map(|text| (*text).to_owned()).collect(),
                Key::UserName => vec!["alice".to_owned()],
                _ => Vec::new(),
            }
        }
    }

    fn parse(text: &str) -> Result<Vec<Condition>, Malformed> {
        Condition::parse_all(&Json::parse(text).unwrap(), true)
    }

    fn check(condition: &str, key: &str, found: &[&str], expected: bool) {
        let conditions = parse(condition).unwrap();
        let facts = Values(Key::parse(key).unwrap(), found);
        let evaluation = Evaluation::new(&facts);
        let holds = conditions.iter().all(|condition| condition.holds(&evaluation));
        assert_eq!(holds, expected, "{condition} with {found:?}");
    }

    #[test]
    fn texts() {
        let prefix = |condition: &str, found: &[&str], expected| {
            check(condition, "s3:prefix", found, expected);
        };
        prefix(r#"{"StringEquals":{"s3:prefix":["a","b"]}}"#, &["b"], true);
        prefix(r#"{"StringEquals":{"s3:prefix":"a*"}}"#, &["ab"], false);
        prefix(r#"{"StringEquals":{"s3:prefix":""}}"#, &[""], true);
        prefix(r#"{"StringEquals":{"s3:prefix":""}}"#, &[], false);
        prefix(r#"{"StringNotEquals":{"s3:prefix":["a","b"]}}"#, &["b"], false);
        prefix(r#"{"StringNotEquals":{"s3:prefix":["a","b"]}}"#, &["c"], true);
        prefix(r#"{"StringNotEquals":{"s3:prefix":"a"}}"#, &[], true);
        prefix(r#"{"StringEqualsIfExists":{"s3:prefix":"a"}}"#, &[], true);
        prefix(r#"{"StringEqualsIfExists":{"s3:prefix":"a"}}"#, &["b"], false);
        prefix(r#"{"StringEqualsIgnoreCase":{"s3:prefix":"AB"}}"#, &["ab"], true);
        prefix(r#"{"StringNotEqualsIgnoreCase":{"s3:prefix":"AB"}}"#, &["ab"], false);
        prefix(r#"{"StringLike":{"s3:prefix":"home/${aws:username}/*"}}"#, &["home/alice/x"], true);
        prefix(r#"{"StringLike":{"s3:prefix":"home/${aws:username}/*"}}"#, &["home/bob/x"], false);
        prefix(r#"{"StringNotLike":{"s3:prefix":"a*"}}"#, &["b"], true);
        prefix(r#"{"Null":{"s3:prefix":"true"}}"#, &[], true);
        prefix(r#"{"Null":{"s3:prefix":"true"}}"#, &["a"], false);
        prefix(r#"{"Null":{"s3:prefix":false}}"#, &["a"], true);
    }

    #[test]
    fn numbers_dates_and_truths() {
        let keys = |condition: &str, found: &[&str], expected| {
            check(condition, "s3:max-keys", found, expected);
        };
        keys(r#"{"NumericEquals":{"s3:max-keys":10}}"#, &["10"], true);
        keys(r#"{"NumericLessThanEquals":{"s3:max-keys":"10"}}"#, &["10"], true);
        keys(r#"{"NumericLessThan":{"s3:max-keys":"10"}}"#, &["10"], false);
        keys(r#"{"NumericGreaterThan":{"s3:max-keys":"10"}}"#, &["9"], false);
        keys(r#"{"NumericGreaterThanEquals":{"s3:max-keys":"10"}}"#, &["11"], true);
        keys(r#"{"NumericNotEquals":{"s3:max-keys":"10"}}"#, &["10"], false);
        keys(r#"{"NumericNotEquals":{"s3:max-keys":"10"}}"#, &[], true);
        keys(r#"{"NumericLessThan":{"s3:max-keys":"10"}}"#, &["x"], false);
        let time = |condition: &str, found: &[&str], expected| {
            check(condition, "aws:CurrentTime", found, expected);
        };
        let now = &["2020-06-30T12:00:00Z"];
        time(r#"{"DateGreaterThan":{"aws:CurrentTime":"2020-04-01T00:00:00Z"}}"#, now, true);
        time(r#"{"DateLessThan":{"aws:CurrentTime":"2020-06-30"}}"#, now, false);
        time(r#"{"DateLessThan":{"aws:CurrentTime":"1593518401"}}"#, now, true);
        time(r#"{"DateEquals":{"aws:CurrentTime":"2020-06-30T14:00:00+02:00"}}"#, now, true);
        time(r#"{"DateNotEquals":{"aws:CurrentTime":"2020-06-30T12:00:00Z"}}"#, now, false);
        let secure = |condition: &str, found: &[&str], expected| {
            check(condition, "aws:SecureTransport", found, expected);
        };
        secure(r#"{"Bool":{"aws:SecureTransport":"false"}}"#, &["false"], true);
        secure(r#"{"Bool":{"aws:SecureTransport":true}}"#, &["false"], false);
        secure(r#"{"BinaryEquals":{"aws:SecureTransport":"QUJD"}}"#, &["QUJD"], true);
    }

    #[test]
    fn addresses() {
        let source = |condition: &str, found: &str, expected| {
            check(condition, "aws:SourceIp", &[found], expected);
        };
        let office =
            r#"{"IpAddress":{"aws:SourceIp":["54.240.143.0/24","2001:DB8:1234:5678::/64"]}}"#;
        source(office, "54.240.143.7", true);
        source(office, "54.240.144.7", false);
        source(office, "2001:db8:1234:5678::1", true);
        source(office, "2001:db8:1234:5679::1", false);
        source(r#"{"NotIpAddress":{"aws:SourceIp":"54.240.143.188/32"}}"#, "54.240.143.188", false);
        source(r#"{"NotIpAddress":{"aws:SourceIp":"54.240.143.188"}}"#, "54.240.143.189", true);
        check(r#"{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}"#, "aws:SourceIp", &[], true);
    }

    #[test]
    fn arns_are_compared_part_by_part() {
        let arn = |condition: &str, found: &str, expected| {
            check(condition, "aws:PrincipalArn", &[found], expected);
        };
        let user = "arn:aws:iam::123456789012:user/alice";
        arn(r#"{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/*"}}"#, user, true);
        arn(r#"{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::*:user/b*"}}"#, user, false);
        arn(r#"{"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/*"}}"#, user, true);
        arn(r#"{"ArnLike":{"aws:PrincipalArn":"arn:aws:*::123456789012:user/a*"}}"#, user, true);
        arn(
            r#"{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:user/${aws:username}"}}"#,
            user,
            true,
        );
        assert!(parse(r#"{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam"}}"#).is_err());
    }

    #[test]
    fn sets_of_values() {
        let tags = |condition: &str, found: &[&str], expected| {
            check(condition, "s3:RequestObjectTagKeys", found, expected);
        };
        let all = r#"{"ForAllValues:StringEquals":{"s3:RequestObjectTagKeys":["Owner","Date"]}}"#;
        tags(all, &["Owner"], true);
        tags(all, &["Owner", "Other"], false);
        tags(all, &[], true);
        let any = r#"{"ForAnyValue:StringEquals":{"s3:RequestObjectTagKeys":["Owner","Date"]}}"#;
        tags(any, &["x", "Owner"], true);
        tags(any, &["x"], false);
        tags(any, &[], false);
        let none = r#"{"ForAllValues:StringNotLike":{"s3:RequestObjectTagKeys":"x*"}}"#;
        tags(none, &["a", "b"], true);
        tags(none, &["a", "xb"], false);
        let some = r#"{"ForAnyValue:StringNotEquals":{"s3:RequestObjectTagKeys":"x"}}"#;
        tags(some, &["x", "y"], true);
        tags(some, &["x"], false);
    }

    #[test]
    fn what_is_not_understood_is_malformed() {
        for text in [
            r#"{"StringIs":{"s3:prefix":"a"}}"#,
            r#"{"ForSome:StringEquals":{"s3:prefix":"a"}}"#,
            r#"{"NullIfExists":{"s3:prefix":"true"}}"#,
            r#"{"Null":{"s3:prefix":["true","false"]}}"#,
            r#"{"StringEquals":{"s3:nonsense":"a"}}"#,
            r#"{"StringEquals":{"s3:prefix":{}}}"#,
            r#"{"StringEquals":{"s3:prefix":[]}}"#,
            r#"{"StringEquals":"a"}"#,
            r#"{"StringEquals":{"s3:prefix":"${nonsense}"}}"#,
            r#"{"NumericEquals":{"s3:max-keys":"many"}}"#,
            r#"{"DateEquals":{"aws:CurrentTime":"soon"}}"#,
            r#"{"Bool":{"aws:SecureTransport":"yes"}}"#,
            r#"{"IpAddress":{"aws:SourceIp":"10.0.0.0/33"}}"#,
            r#"{"IpAddress":{"aws:SourceIp":"ten"}}"#,
            r#"{"BinaryEquals":{"aws:SourceIp":"?"}}"#,
            "[]",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
