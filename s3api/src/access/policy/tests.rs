//! What policies say: rows of a policy, a request, and what AWS documents for it.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::access::Owner;
use crate::limits::POLICY_STEPS_MAX;
use std::rc::Rc;

const ALICE: &str = "alice";

fn user(name: &str) -> Subject {
    let id = hex::encode(name).repeat(64).chars().take(64).collect();
    Subject::User(Rc::new(Owner {
        id,
        access_key: format!("AK{name}"),
        display_name: name.to_owned(),
    }))
}

/// A caller by name: nobody is `-`, root is `root`.
fn subject(name: &str) -> Subject {
    match (name, user(name)) {
        ("-", _) => Subject::Anonymous,
        ("root", Subject::User(person)) => Subject::Root(person),
        (_, user) => user,
    }
}

/// `key=value` pairs, separated by blanks.
struct Request<'a>(&'a str);

impl Facts for Request<'_> {
    fn values(&self, key: &Key) -> Vec<String> {
        self.0
            .split(' ')
            .filter_map(|pair| pair.split_once('='))
            .filter(|(name, _)| Key::parse(name).as_ref() == Some(key))
            .map(|(_, value)| value.to_owned())
            .collect()
    }
}

fn action(name: &str) -> Action {
    Action::ALL.iter().copied().find(|action| &action.name()[3..] == name).unwrap()
}

fn statement(text: &str) -> String {
    format!(r#"{{"Version":"2012-10-17","Statement":[{text}]}}"#)
}

/// Each row: who, what, on what, with which facts, and what the policy says.
fn check(kind: Kind<'_>, statements: &str, rows: &[(&str, &str, &str, &str, Verdict)]) {
    let policy = Policy::parse(&statement(statements), kind).unwrap();
    for (who, what, resource, facts, expected) in rows {
        let question = Question { subject: &subject(who), action: action(what), resource };
        let found = policy.judge(&question, &Request(facts));
        assert_eq!(found, *expected, "{who} {what} {resource} {facts}: {statements}");
    }
}

const BUCKET: Kind<'static> = Kind::Bucket("b");
use Verdict::{Allow, Deny, Silent};

#[test]
fn read_by_anyone() {
    check(
        BUCKET,
        r#"{"Sid":"PublicRead","Effect":"Allow","Principal":"*",
            "Action":["s3:GetObject","s3:GetObjectVersion"],"Resource":["arn:aws:s3:::b/*"]}"#,
        &[
            ("-", "GetObject", "b/k", "", Allow),
            (ALICE, "GetObjectVersion", "b/a/b", "", Allow),
            ("-", "PutObject", "b/k", "", Silent),
            ("-", "ListBucket", "b", "", Silent),
            ("-", "GetObject", "bb/k", "", Silent),
        ],
    );
}

#[test]
fn write_by_one_user_with_a_canned_acl() {
    check(
        BUCKET,
        r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/alice"},
            "Action":["s3:PutObject","s3:PutObjectAcl"],"Resource":"arn:aws:s3:::b/*",
            "Condition":{"StringEquals":{"s3:x-amz-acl":["bucket-owner-full-control"]}}}"#,
        &[
            (ALICE, "PutObject", "b/k", "s3:x-amz-acl=bucket-owner-full-control", Allow),
            (ALICE, "PutObject", "b/k", "s3:x-amz-acl=private", Silent),
            (ALICE, "PutObject", "b/k", "", Silent),
            ("bob", "PutObject", "b/k", "s3:x-amz-acl=bucket-owner-full-control", Silent),
            ("-", "PutObject", "b/k", "s3:x-amz-acl=bucket-owner-full-control", Silent),
        ],
    );
}

#[test]
fn only_over_tls() {
    check(
        BUCKET,
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:*",
            "Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"],
            "Condition":{"Bool":{"aws:SecureTransport":"false"}}}"#,
        &[
            (ALICE, "GetObject", "b/k", "aws:SecureTransport=false", Deny),
            ("root", "ListBucket", "b", "aws:SecureTransport=false", Deny),
            (ALICE, "GetObject", "b/k", "aws:SecureTransport=true", Silent),
        ],
    );
}

#[test]
fn from_some_addresses_only() {
    check(
        BUCKET,
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:*",
            "Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"],
            "Condition":{"NotIpAddress":{"aws:SourceIp":["192.0.2.0/24","2001:DB8:1234:5678::/64"]}}}"#,
        &[
            (ALICE, "GetObject", "b/k", "aws:SourceIp=192.0.2.77", Silent),
            (ALICE, "GetObject", "b/k", "aws:SourceIp=192.0.3.77", Deny),
            (ALICE, "GetObject", "b/k", "aws:SourceIp=2001:db8:1234:5678::9", Silent),
            (ALICE, "GetObject", "b/k", "aws:SourceIp=2001:db9::", Deny),
        ],
    );
    check(
        BUCKET,
        r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*",
            "Condition":{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"},
                         "NotIpAddress":{"aws:SourceIp":"192.0.2.188/32"}}}"#,
        &[
            ("-", "GetObject", "b/k", "aws:SourceIp=192.0.2.1", Allow),
            ("-", "GetObject", "b/k", "aws:SourceIp=192.0.2.188", Silent),
            ("-", "GetObject", "b/k", "aws:SourceIp=10.0.0.1", Silent),
        ],
    );
}

#[test]
fn from_some_pages_only() {
    check(
        BUCKET,
        r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*",
            "Condition":{"StringLike":{"aws:Referer":["http://www.example.com/*","http://example.com/*"]}}}"#,
        &[
            ("-", "GetObject", "b/k", "aws:Referer=http://example.com/page", Allow),
            ("-", "GetObject", "b/k", "aws:Referer=http://example.org/page", Silent),
            ("-", "GetObject", "b/k", "", Silent),
        ],
    );
}

#[test]
fn lists_below_a_prefix() {
    check(
        BUCKET,
        r#"{"Effect":"Allow","Principal":{"AWS":"AKalice"},"Action":"s3:ListBucket",
            "Resource":"arn:aws:s3:::b",
            "Condition":{"StringEquals":{"s3:prefix":"projects"},"NumericLessThanEquals":{"s3:max-keys":"10"}}},
           {"Effect":"Deny","Principal":{"AWS":"AKalice"},"Action":"s3:ListBucket",
            "Resource":"arn:aws:s3:::b","Condition":{"StringNotEquals":{"s3:prefix":"projects"}}}"#,
        &[
            (ALICE, "ListBucket", "b", "s3:prefix=projects s3:max-keys=10", Allow),
            (ALICE, "ListBucket", "b", "s3:prefix=projects s3:max-keys=11", Silent),
            (ALICE, "ListBucket", "b", "s3:prefix=other s3:max-keys=1", Deny),
            (ALICE, "ListBucket", "b", "", Deny),
            ("bob", "ListBucket", "b", "", Silent),
        ],
    );
}

#[test]
fn a_home_for_each_user() {
    check(
        Kind::Identity,
        r#"{"Effect":"Allow","Action":["s3:ListBucket"],"Resource":["arn:aws:s3:::b"],
            "Condition":{"StringLike":{"s3:prefix":["","home/","home/${aws:username}/*"]}}},
           {"Effect":"Allow","Action":["s3:*Object"],"Resource":["arn:aws:s3:::b/home/${aws:username}/*"]}"#,
        &[
            (ALICE, "GetObject", "b/home/alice/x", "aws:username=alice", Allow),
            (ALICE, "DeleteObject", "b/home/alice/x", "aws:username=alice", Allow),
            (ALICE, "GetObject", "b/home/bob/x", "aws:username=alice", Silent),
            (ALICE, "GetObjectAcl", "b/home/alice/x", "aws:username=alice", Silent),
            (ALICE, "ListBucket", "b", "s3:prefix=home/alice/ aws:username=alice", Allow),
            (ALICE, "ListBucket", "b", "s3:prefix=home/bob/ aws:username=alice", Silent),
            (ALICE, "GetObject", "b/home//x", "", Silent),
        ],
    );
}

#[test]
fn tags_of_what_is_there_and_of_what_comes() {
    check(
        BUCKET,
        r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*",
            "Condition":{"StringEquals":{"s3:ExistingObjectTag/public":"yes"}}},
           {"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*",
            "Condition":{"ForAnyValue:StringNotEquals":{"s3:RequestObjectTagKeys":["Owner","Date"]}}}"#,
        &[
            ("-", "GetObject", "b/k", "s3:ExistingObjectTag/public=yes", Allow),
            ("-", "GetObject", "b/k", "s3:ExistingObjectTag/public=no", Silent),
            ("-", "GetObject", "b/k", "s3:ExistingObjectTag/Public=yes", Silent),
            (ALICE, "PutObject", "b/k", "s3:RequestObjectTagKeys=Owner", Silent),
            (ALICE, "PutObject", "b/k", "s3:RequestObjectTagKeys=x", Deny),
            (ALICE, "PutObject", "b/k", "", Silent),
        ],
    );
}

#[test]
fn only_encrypted_uploads() {
    check(
        BUCKET,
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*",
            "Condition":{"StringNotEquals":{"s3:x-amz-server-side-encryption":"AES256"}}},
           {"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*",
            "Condition":{"Null":{"s3:x-amz-server-side-encryption":"true"}}}"#,
        &[
            (ALICE, "PutObject", "b/k", "s3:x-amz-server-side-encryption=AES256", Silent),
            (ALICE, "PutObject", "b/k", "s3:x-amz-server-side-encryption=aws:kms", Deny),
            (ALICE, "PutObject", "b/k", "", Deny),
        ],
    );
}

#[test]
fn all_but_some() {
    check(
        BUCKET,
        r#"{"Effect":"Deny","NotPrincipal":{"AWS":"arn:aws:iam::111122223333:user/alice"},
            "NotAction":["s3:Get*","s3:List*"],"NotResource":"arn:aws:s3:::b/open/*"}"#,
        &[
            (ALICE, "PutObject", "b/k", "", Silent),
            ("bob", "PutObject", "b/k", "", Deny),
            ("-", "PutObject", "b/k", "", Deny),
            ("bob", "GetObject", "b/k", "", Silent),
            ("bob", "PutObject", "b/open/k", "", Silent),
        ],
    );
}

#[test]
fn a_denial_goes_before_what_is_allowed() {
    let allow = r#"{"Effect":"Allow","Principal":"*","Action":"*","Resource":"arn:aws:s3:::b*"}"#;
    let deny =
        r#"{"Effect":"Deny","Principal":"*","Action":"s3:DELETE*","Resource":"arn:aws:s3:::b/?"}"#;
    for both in [format!("{allow},{deny}"), format!("{deny},{allow}")] {
        check(
            BUCKET,
            &both,
            &[
                ("-", "DeleteObject", "b/k", "", Deny),
                ("-", "DeleteObject", "b/kk", "", Allow),
                ("-", "DeleteBucket", "b", "", Allow),
                ("-", "GetObject", "b/k", "", Allow),
            ],
        );
    }
}

#[test]
fn what_the_first_version_of_the_language_has_no_variables() {
    let text = r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",
        "Resource":"arn:aws:s3:::b/${aws:username}"}}"#;
    let policy = Policy::parse(text, BUCKET).unwrap();
    let judge = |resource| {
        let question = Question { subject: &user(ALICE), action: Action::GetObject, resource };
        policy.judge(&question, &Request("aws:username=alice"))
    };
    assert_eq!(judge("b/alice"), Silent);
    assert_eq!(judge("b/${aws:username}"), Allow);
}

#[test]
fn an_identity_may_be_let_into_everything() {
    check(
        Kind::Identity,
        r#"{"Effect":"Allow","Action":"s3:*","Resource":"*"}"#,
        &[
            (ALICE, "ListAllMyBuckets", "", "", Allow),
            (ALICE, "CreateBucket", "x", "", Allow),
            (ALICE, "GetObject", "x/y", "", Allow),
        ],
    );
}

fn check_malformed(text: &str, kind: Kind<'_>, message: &str) {
    let error = Policy::parse(text, kind).unwrap_err();
    assert_eq!(error.0, message, "{text}");
}

#[test]
fn what_is_malformed_is_told_in_aws_words() {
    let bucket = |text: &str, message: &str| check_malformed(text, BUCKET, message);
    bucket("", "Policies must be valid JSON and the first byte must be '{'");
    bucket("[]", "Policies must be valid JSON and the first byte must be '{'");
    bucket("{", "This policy contains invalid Json");
    bucket(
        r#"{"Version":"2012-10-17","Version":"2008-10-17"}"#,
        "This policy contains invalid Json",
    );
    bucket(r#"{"Version":"2020-01-01"}"#, "The policy must contain a valid version string");
    bucket(r#"{"Version":"2012-10-17"}"#, "Missing required field Statement");
    bucket(r#"{"Statement":[]}"#, "Could not parse the policy: Statement is empty!");
    bucket(r#"{"Nonsense":1,"Statement":[]}"#, "Unknown field Nonsense");
    bucket(&"{".repeat(POLICY_BYTES_MAX + 1), "Policy exceeds the maximum allowed document size.");
    let fields = [
        r#""Effect":"Allow""#,
        r#""Principal":"*""#,
        r#""Action":"s3:GetObject""#,
        r#""Resource":"arn:aws:s3:::b/*""#,
    ];
    for (at, name) in ["Effect", "Principal", "Action", "Resource"].iter().enumerate() {
        let mut rest = fields.to_vec();
        rest.remove(at);
        let text = statement(&format!("{{{}}}", rest.join(",")));
        bucket(&text, &format!("Missing required field {name}"));
    }
    let with = |at: usize, field: &'static str, message: &str| {
        let mut changed = fields.to_vec();
        changed[at] = field;
        bucket(&statement(&format!("{{{}}}", changed.join(","))), message);
    };
    with(0, r#""Effect":"allow""#, "Invalid effect: allow");
    with(1, r#""Principal":"bob""#, "Invalid principal in policy");
    with(2, r#""Action":"s3:GetObjct""#, "Policy has invalid action");
    with(2, r#""Action":"iam:*""#, "Policy has invalid action");
    with(2, r#""Action":[]"#, "Policy has invalid action");
    with(2, r#""Action":"s3:ListBucket""#, "Action does not apply to any resource(s) in statement");
    with(
        2,
        r#""Action":["s3:GetObject","s3:ListBucket"]"#,
        "Action does not apply to any resource(s) in statement",
    );
    with(3, r#""Resource":"arn:aws:s3:::other/*""#, "Policy has invalid resource");
    with(3, r#""Resource":"b/*""#, "Policy has invalid resource");
    with(3, r#""Resource":"arn:aws:s3:::""#, "Policy has invalid resource");
    with(3, r#""Resource":"arn:aws:s3:::b/${nonsense}""#, "Policy has invalid resource");
    with(
        3,
        r#""Resource":"arn:aws:s3:::b""#,
        "Action does not apply to any resource(s) in statement",
    );
    with(
        0,
        r#""Effect":"Allow","Condition":{"StringEquals":{"s3:prefix":"a"}}"#,
        "Conditions do not apply to combination of actions and resources in statement",
    );
    with(
        0,
        r#""Effect":"Allow","Condition":{"StringEquals":{"s3:x":"a"}}"#,
        "Policy has an invalid condition key",
    );
    with(
        0,
        r#""Effect":"Allow","Condition":{"Equals":{"s3:prefix":"a"}}"#,
        "Invalid Condition type : Equals",
    );
    with(0, r#""Effect":"Allow","Surprise":1"#, "Unknown field Surprise");
    with(
        0,
        r#""Effect":"Allow","NotAction":"s3:GetObject""#,
        "A statement cannot have both Action and NotAction",
    );
    check_malformed(
        &statement(&format!("{{{}}}", fields.join(","))),
        Kind::Identity,
        "Policy document should not specify a principal.",
    );
}

#[test]
fn the_policy_of_the_documents_is_taken_and_given_back() {
    let text = r#"{"ID":"E2ReadWrite","Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":["*"]},
"Action":["s3:GetBucketLocation","s3:ListBucket","s3:ListBucketMultipartUploads"],
"Resource":["arn:aws:s3:::testpolicy"]},{"Effect":"Allow","Principal":{"AWS":["*"]},
"Action":["s3:AbortMultipartUpload","s3:DeleteObject","s3:GetObject","s3:ListMultipartUploadParts","s3:PutObject"],
"Resource":["arn:aws:s3:::testpolicy/*"]}]}"#;
    let policy = Policy::parse(text, Kind::Bucket("testpolicy")).unwrap();
    assert_eq!(policy.text(), text);
    let stored = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<Policy>(&stored).unwrap(), policy);
}

#[test]
fn what_is_public() {
    let check = |fields: &str, expected| {
        let text = statement(&format!(
            r#"{{{fields},"Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*"}}"#
        ));
        assert_eq!(Policy::parse(&text, BUCKET).unwrap().is_public(), expected, "{fields}");
    };
    let anyone = |condition: &str, expected| {
        check(&format!(r#""Effect":"Allow","Principal":"*","Condition":{condition}"#), expected);
    };
    check(r#""Effect":"Allow","Principal":"*""#, true);
    check(r#""Effect":"Allow","Principal":{"AWS":"*"}"#, true);
    check(r#""Effect":"Deny","Principal":"*""#, false);
    check(r#""Effect":"Allow","Principal":{"AWS":"AKbob"}"#, false);
    check(r#""Effect":"Allow","NotPrincipal":{"AWS":"AKbob"}"#, true);
    anyone(r#"{"IpAddress":{"aws:SourceIp":"192.0.2.0/24"}}"#, false);
    anyone(r#"{"IpAddress":{"aws:SourceIp":["192.0.2.0/24","0.0.0.0/1"]}}"#, true);
    anyone(r#"{"NotIpAddress":{"aws:SourceIp":"192.0.2.0/24"}}"#, true);
    anyone(r#"{"StringEquals":{"aws:SourceVpc":"vpc-91237329"}}"#, false);
    anyone(r#"{"StringLike":{"aws:SourceVpc":"vpc-*"}}"#, true);
    anyone(r#"{"StringLike":{"aws:userid":"x"}}"#, false);
    anyone(r#"{"StringEquals":{"aws:userid":"anonymous"}}"#, true);
    anyone(r#"{"StringEqualsIgnoreCase":{"aws:userid":["x","ANONYMOUS"]}}"#, true);
    anyone(r#"{"StringEqualsIfExists":{"aws:SourceVpc":"vpc-91237329"}}"#, true);
    anyone(r#"{"Bool":{"aws:SecureTransport":"true"}}"#, true);
    anyone(r#"{"StringEquals":{"aws:Referer":"x"}}"#, true);
}

/// A statement that lets everybody read, under a condition.
fn reads_if(condition: &str) -> Policy {
    let text = format!(
        r#"{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::b/*","Condition":{condition}}}"#
    );
    Policy::parse(&statement(&text), BUCKET).unwrap()
}

/// What a policy says of a GET by nobody, and the steps that it took.
fn weigh(policy: &Policy, facts: &str) -> (Verdict, usize) {
    let request = Request(facts);
    let evaluation = Evaluation::new(&request);
    let subject = Subject::Anonymous;
    let question = Question { subject: &subject, action: Action::GetObject, resource: "b/k" };
    let verdict = policy.evaluate(&question, &evaluation);
    (verdict, POLICY_STEPS_MAX - evaluation.steps_left())
}

/// As many values as a policy has room for.
fn full(operator: &str, value: &str) -> Policy {
    let count = (POLICY_BYTES_MAX - 300) / (value.len() + 3);
    let values = vec![format!("\"{value}\""); count].join(",");
    reads_if(&format!(r#"{{"{operator}":{{"aws:UserAgent":[{values}]}}}}"#))
}

/// One GET with a `User-Agent` of 30,000 letters kept a core busy for a second: it was folded again for each of 6,700
/// values.
#[test]
fn a_long_header_is_folded_once_for_all_values_of_a_condition() {
    let agent = format!("aws:UserAgent={}", "A".repeat(30_000));
    let (verdict, steps) = weigh(&full("StringEqualsIgnoreCase", ""), &agent);
    assert_eq!(verdict, Silent);
    assert!(steps < 70_000, "{steps}");
    let (verdict, steps) = weigh(&full("StringNotEqualsIgnoreCase", ""), &agent);
    assert_eq!(verdict, Allow);
    assert!(steps < 70_000, "{steps}");
}

#[test]
fn what_would_take_too_many_steps_is_denied() {
    let agent = format!("aws:UserAgent={}", "a".repeat(30_000));
    for operator in ["StringLike", "StringNotLike", "ForAllValues:StringNotLike"] {
        for value in ["*b*", "*b?*", "${aws:UserAgent}b"] {
            let (verdict, steps) = weigh(&full(operator, value), &agent);
            assert_eq!((verdict, steps), (Deny, POLICY_STEPS_MAX), "{operator} {value}");
        }
    }
    // The same condition under each way to write its key.
    let keys = (0..100).map(|number: u32| {
        let letters = "useragent".chars().enumerate();
        let name: String = letters
            .map(|(at, c)| if number >> at & 1 == 1 { c.to_ascii_uppercase() } else { c })
            .collect();
        format!(r#""aws:{name}":"b""#)
    });
    let condition = keys.collect::<Vec<_>>().join(",");
    let policy = reads_if(&format!(r#"{{"StringNotEqualsIgnoreCase":{{{condition}}}}}"#));
    assert_eq!(weigh(&policy, &agent), (Deny, POLICY_STEPS_MAX));
    assert_eq!(weigh(&policy, "aws:UserAgent=a").0, Allow);
}

#[test]
fn a_policy_of_the_full_size_is_answered_for_usual_requests() {
    let agent = format!("aws:UserAgent=Mozilla/5.0{}", "(X11;Linux)".repeat(17));
    let patterns = full("StringNotLike", "*some-robot-here*");
    let (verdict, steps) = weigh(&patterns, &agent);
    assert_eq!(verdict, Allow);
    assert!(steps < POLICY_STEPS_MAX / 4, "{steps}");
    let masks = full("StringNotLike", "*some?robot-here*");
    let (verdict, steps) = weigh(&masks, &agent);
    assert_eq!(verdict, Allow);
    assert!(steps < POLICY_STEPS_MAX / 4, "{steps}");
    let one = reads_if(r#"{"StringLike":{"aws:UserAgent":"Mozilla/*"}}"#);
    let (verdict, steps) = weigh(&one, &agent);
    assert_eq!(verdict, Allow);
    assert!(steps < 300, "{steps}");
}
