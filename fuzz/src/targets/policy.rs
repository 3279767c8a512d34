//! Policies of buckets and of users.
//!
//! `text`: an input is a document. Oracles: reading it is bounded; one that is taken is stored and read back as the
//! same, answers every question alike, and with a denial of everything beside it denies everything.
//!
//! `verdict`: an input chooses the parts of a policy's statements and of a request. Oracle: the verdict is that of the
//! reference, which knows what was chosen.

use crate::reader::Reader;
use crate::reference::policy::{Condition, Request, Statement, judge};
use s3api::access::action::Action;
use s3api::access::policy::{Facts, Key, Kind, Policy, Question, Verdict};
use s3api::access::{Owner, Subject};
use serde_json::json;
use std::rc::Rc;

const BUCKET: &str = "bucket";
const ACTIONS: [Action; 6] = [
    Action::GetObject,
    Action::PutObject,
    Action::DeleteObject,
    Action::ListBucket,
    Action::PutBucketPolicy,
    Action::GetObjectVersion,
];

fn owner(name: &str, digit: char) -> Rc<Owner> {
    let id = digit.to_string().repeat(64);
    Rc::new(Owner { id, access_key: format!("AK{name}"), display_name: name.to_owned() })
}

fn subjects() -> [Subject; 4] {
    [
        Subject::Anonymous,
        Subject::User(owner("alice", 'a')),
        Subject::User(owner("bob", 'b')),
        Subject::Root(owner("root", 'c')),
    ]
}

/// The same answers for every input.
struct Sample;

impl Facts for Sample {
    fn values(&self, key: &Key) -> Vec<String> {
        let value = match key {
            Key::SourceIp => "192.0.2.7",
            Key::UserName => "alice",
            Key::UserAgent => {
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            }
            Key::CurrentTime => "2013-05-24T00:00:00Z",
            Key::EpochTime | Key::MaxKeys => "1369353600",
            Key::Prefix => "a/b",
            Key::RequestObjectTagKeys => return vec!["a".to_owned(), "b".to_owned()],
            _ => return Vec::new(),
        };
        vec![value.to_owned()]
    }
}

pub fn text(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    for kind in [Kind::Bucket(BUCKET), Kind::Identity] {
        let Ok(policy) = Policy::parse(text, kind) else { continue };
        let stored = serde_json::to_vec(&policy).expect("a policy can be stored");
        let again: Policy =
            serde_json::from_slice(&stored).expect("a policy that was stored is one");
        assert_eq!(again.text(), policy.text());
        let everyone = if kind == Kind::Identity { "" } else { r#""Principal":"*","# };
        let denial = format!(
            r#"{{"Effect":"Deny",{everyone}"Action":"*","Resource":["arn:aws:s3:::bucket","arn:aws:s3:::bucket/*"]}}"#
        );
        let denied = with_statement(text, &denial).and_then(|text| Policy::parse(&text, kind).ok());
        for subject in &subjects() {
            for (action, resource) in [
                (Action::GetObject, "bucket/a"),
                (Action::PutObject, "bucket/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/b"),
                (Action::ListBucket, "bucket"),
            ] {
                let question = Question { subject, action, resource };
                let verdict = policy.judge(&question, &Sample);
                assert_eq!(
                    again.judge(&question, &Sample),
                    verdict,
                    "stored, it says something else"
                );
                if let Some(denied) = &denied {
                    assert_eq!(
                        denied.judge(&question, &Sample),
                        Verdict::Deny,
                        "a denial is overruled"
                    );
                }
            }
        }
        let _ = (policy.is_public(), policy.asks_for_object(), policy.asks_for_body());
    }
}

/// The document with one more statement, if it has a list of them where that can be told easily.
fn with_statement(text: &str, statement: &str) -> Option<String> {
    let document: serde_json::Value = serde_json::from_str(text).ok()?;
    document.get("Statement")?.as_array()?;
    let at = text.find("\"Statement\"")? + "\"Statement\"".len();
    let at = at + text[at..].find('[')? + 1;
    Some(format!("{}{statement},{}", &text[..at], &text[at..]))
}

/// Characters that patterns and what they match are made of: few, so that they meet.
const ALPHABET: [char; 10] = ['a', 'b', '/', 'A', '*', '?', 'ü', '$', 'Σ', 'σ'];

fn word(reader: &mut Reader<'_>, characters: &[char]) -> String {
    let count = reader.u8() % 12;
    (0..count).map(|_| reader.pick(characters)).collect()
}

pub fn verdict(input: &[u8]) {
    let mut reader = Reader::new(input);
    let subjects = subjects();
    let who = usize::from(reader.u8()) % subjects.len();
    let action = reader.pick(&ACTIONS);
    let key = word(&mut reader, &ALPHABET);
    let is_of_bucket = matches!(action, Action::ListBucket | Action::PutBucketPolicy);
    let resource = if is_of_bucket { BUCKET.to_owned() } else { format!("{BUCKET}/{key}") };
    let agent = (reader.u8() & 1 == 1).then(|| word(&mut reader, &ALPHABET));
    let max_keys = (reader.u8() & 1 == 1).then(|| i64::from(reader.u8()));
    let address = (reader.u8() & 1 == 1).then(|| reader.array::<4>());
    let request = Request { who, action: action.name(), resource, agent, max_keys, address };
    let mut statements = Vec::new();
    for _ in 0..1 + reader.u8() % 3 {
        statements.push(statement(&mut reader));
    }
    let document = json!({
        "Version": "2008-10-17",
        "Statement": statements.iter().map(as_json).collect::<Vec<_>>(),
    });
    // Some of it means nothing, and is refused for that.
    let Ok(policy) = Policy::parse(&document.to_string(), Kind::Bucket(BUCKET)) else { return };
    let question = Question { subject: &subjects[who], action, resource: &request.resource };
    let expected = match judge(&statements, &request) {
        None => Verdict::Silent,
        Some(true) => Verdict::Allow,
        Some(false) => Verdict::Deny,
    };
    assert_eq!(policy.judge(&question, &request), expected, "{document} {request:?}");
}

impl Facts for Request {
    fn values(&self, key: &Key) -> Vec<String> {
        let value = match key {
            Key::UserAgent => self.agent.clone(),
            Key::MaxKeys => self.max_keys.map(|number| number.to_string()),
            Key::SourceIp => self.address.map(|[a, b, c, d]| format!("{a}.{b}.{c}.{d}")),
            _ => None,
        };
        value.into_iter().collect()
    }
}

fn statement(reader: &mut Reader<'_>) -> Statement {
    let flags = reader.u8();
    let patterns = |reader: &mut Reader<'_>,
                    own: &dyn Fn(&mut Reader<'_>) -> String|
     -> Vec<String> { (0..1 + reader.u8() % 2).map(|_| own(reader)).collect() };
    let action = |reader: &mut Reader<'_>| {
        reader
            .pick(&[
                "s3:GetObject",
                "s3:Put*",
                "s3:*",
                "s3:?etObject*",
                "S3:getobject",
                "s3:ListBucket",
                "*",
            ])
            .to_owned()
    };
    let resource = |reader: &mut Reader<'_>| match reader.u8() % 4 {
        0 => BUCKET.to_owned(),
        1 => format!("{BUCKET}*"),
        _ => format!("{BUCKET}/{}", word(reader, &ALPHABET)),
    };
    let condition = |reader: &mut Reader<'_>| {
        let (kind, flags) = (reader.u8() % 6, reader.u8());
        let (negated, if_exists) = (flags & 1 == 1, flags & 2 == 2);
        match kind {
            5 => Condition::Folded { value: word(reader, &ALPHABET), negated, if_exists },
            0 => {
                Condition::Text { value: word(reader, &ALPHABET), like: false, negated, if_exists }
            }
            1 => Condition::Text { value: word(reader, &ALPHABET), like: true, negated, if_exists },
            2 => Condition::Number { value: reader.u8().into(), negated, if_exists },
            3 => Condition::Address {
                value: reader.array(),
                bits: reader.u8() % 33,
                negated,
                if_exists,
            },
            _ => Condition::Absent { expected: negated },
        }
    };
    Statement {
        is_denial: flags & 1 == 1,
        not_principal: flags & 2 == 2,
        principals: (0..1 + reader.u8() % 2).map(|_| reader.u8() % 4).collect(),
        not_action: flags & 4 == 4,
        actions: patterns(reader, &action),
        not_resource: flags & 8 == 8,
        resources: patterns(reader, &resource),
        conditions: (0..reader.u8() % 3).map(|_| condition(reader)).collect(),
    }
}

/// Whom a statement names, by number: everyone, Alice by name, Bob by canonical id, the account.
fn principal(number: u8) -> String {
    match number {
        0 => "*".to_owned(),
        1 => "arn:aws:iam::111122223333:user/alice".to_owned(),
        2 => "b".repeat(64),
        _ => "111122223333".to_owned(),
    }
}

fn as_json(statement: &Statement) -> serde_json::Value {
    let named =
        |is_negated: bool, name: &str| format!("{}{name}", if is_negated { "Not" } else { "" });
    let principals: Vec<String> = statement.principals.iter().map(|one| principal(*one)).collect();
    let resources: Vec<String> =
        statement.resources.iter().map(|resource| format!("arn:aws:s3:::{resource}")).collect();
    let mut object = serde_json::Map::new();
    object.insert("Effect".into(), json!(if statement.is_denial { "Deny" } else { "Allow" }));
    object.insert(named(statement.not_principal, "Principal"), json!({ "AWS": principals }));
    object.insert(named(statement.not_action, "Action"), json!(statement.actions));
    object.insert(named(statement.not_resource, "Resource"), json!(resources));
    let mut conditions = serde_json::Map::new();
    for condition in &statement.conditions {
        let (operator, key, value) = match condition {
            Condition::Text { value, like, negated, if_exists } => {
                let kind = if *like { "Like" } else { "Equals" };
                (operator("String", *negated, kind, *if_exists), "aws:UserAgent", json!(value))
            }
            Condition::Folded { value, negated, if_exists } => (
                operator("String", *negated, "EqualsIgnoreCase", *if_exists),
                "aws:UserAgent",
                json!(value),
            ),
            Condition::Number { value, negated, if_exists } => {
                (operator("Numeric", *negated, "Equals", *if_exists), "s3:max-keys", json!(value))
            }
            Condition::Address { value: [a, b, c, d], bits, negated, if_exists } => {
                let name = if *negated { "NotIpAddress" } else { "IpAddress" };
                let name = format!("{name}{}", if *if_exists { "IfExists" } else { "" });
                (name, "aws:SourceIp", json!(format!("{a}.{b}.{c}.{d}/{bits}")))
            }
            Condition::Absent { expected } => ("Null".to_owned(), "aws:UserAgent", json!(expected)),
        };
        conditions.entry(operator).or_insert_with(|| json!({}))[key] = value;
    }
    if !conditions.is_empty() {
        object.insert("Condition".into(), conditions.into());
    }
    object.into()
}

fn operator(family: &str, negated: bool, kind: &str, if_exists: bool) -> String {
    let not = if negated { "Not" } else { "" };
    format!("{family}{not}{kind}{}", if if_exists { "IfExists" } else { "" })
}
