//! Lists by name, by header and by document, and what they grant.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::access::Owner;
use std::rc::Rc;

struct People;

fn id(letter: char) -> String {
    letter.to_string().repeat(CANONICAL_ID_DIGITS)
}

impl Directory for People {
    fn name_of(&self, id: &str) -> Option<String> {
        match id.chars().next() {
            Some('a') => Some("alice".to_owned()),
            Some('b') => Some("bob@example.com".to_owned()),
            _ => None,
        }
    }

    fn id_of_name(&self, name: &str) -> Option<String> {
        (name == "bob@example.com").then(|| id('b'))
    }
}

fn user(letter: char) -> Subject {
    let person = Owner { id: id(letter), access_key: "AK".into(), display_name: "x".into() };
    Subject::User(Rc::new(person))
}

fn of_headers(headers: &[(&str, &str)]) -> Result<Option<Acl>> {
    let (own, bucket) = (id('a'), id('b'));
    let owners = Owners { own: &own, bucket: &bucket };
    let header =
        |name: &str| headers.iter().find(|(found, _)| *found == name).map(|(_, value)| *value);
    Acl::of_headers(header, owners, &People)
}

/// Who may do it: the owner `a`, the bucket's owner `b`, another user, anybody.
fn check(headers: &[(&str, &str)], on: Level, action: Action, expected: [bool; 4]) {
    let acl = of_headers(headers).unwrap().unwrap();
    let found = [user('a'), user('b'), user('c'), Subject::Anonymous]
        .map(|subject| acl.grants(on, action, &subject, false));
    assert_eq!(found, expected, "{headers:?} {action:?}");
}

#[test]
fn canned_lists() {
    let object = |name, action, expected| {
        check(&[("x-amz-acl", name)], Level::Object, action, expected);
    };
    object("private", Action::GetObject, [true, false, false, false]);
    object("public-read", Action::GetObject, [true; 4]);
    object("public-read", Action::GetObjectAcl, [true, false, false, false]);
    object("authenticated-read", Action::GetObjectVersion, [true, true, true, false]);
    object("bucket-owner-read", Action::GetObject, [true, true, false, false]);
    object("bucket-owner-read", Action::PutObjectAcl, [true, false, false, false]);
    object("bucket-owner-full-control", Action::PutObjectAcl, [true, true, false, false]);
    let bucket = |name, action, expected| {
        check(&[("x-amz-acl", name)], Level::Bucket, action, expected);
    };
    bucket("public-read", Action::ListBucket, [true; 4]);
    bucket("public-read", Action::PutObject, [true, false, false, false]);
    bucket("public-read-write", Action::PutObject, [true; 4]);
    bucket("public-read-write", Action::GetObject, [false; 4]);
    bucket("public-read-write", Action::GetBucketPolicy, [false; 4]);
    assert!(of_headers(&[("x-amz-acl", "log-delivery-write")]).unwrap().unwrap().takes_logs());
    assert_eq!(of_headers(&[]).unwrap(), None);
}

#[test]
fn grants_by_header() {
    let all = "uri=\"http://acs.amazonaws.com/groups/global/AllUsers\"";
    let bob = format!("id={}, emailAddress=\"bob@example.com\"", id('b'));
    let headers: &[(&str, &str)] = &[("x-amz-grant-read", all), ("x-amz-grant-write", &bob)];
    check(headers, Level::Bucket, Action::ListBucket, [true; 4]);
    check(headers, Level::Bucket, Action::PutObject, [false, true, false, false]);
    check(headers, Level::Bucket, Action::PutBucketAcl, [false; 4]);
    assert_eq!(of_headers(headers).unwrap().unwrap().grants.len(), 3);
}

#[test]
fn public_grants_can_be_ignored() {
    let acl = of_headers(&[("x-amz-acl", "authenticated-read")]).unwrap().unwrap();
    assert!(acl.is_public());
    assert!(!acl.grants(Level::Object, Action::GetObject, &user('c'), true));
    assert!(acl.grants(Level::Object, Action::GetObject, &user('a'), true));
    assert!(!of_headers(&[("x-amz-acl", "log-delivery-write")]).unwrap().unwrap().is_public());
}

fn check_refused(headers: &[(&str, &str)], code: Code) {
    assert_eq!(of_headers(headers).map_err(|error| error.code), Err(code), "{headers:?}");
}

#[test]
fn headers_that_are_refused() {
    fn read(value: &str) -> [(&str, &str); 1] {
        [("x-amz-grant-read", value)]
    }
    check_refused(&[("x-amz-acl", "open-to-all")], Code::InvalidArgument);
    check_refused(&[("x-amz-acl", "aws-exec-read")], Code::NotImplemented);
    let both = [("x-amz-acl", "private"), ("x-amz-grant-read", "id=x")];
    check_refused(&both, Code::InvalidArgument);
    let good = format!("id={}", id('a'));
    check_refused(&[both[0], ("x-amz-grant-read", &good)], Code::InvalidRequest);
    check_refused(&read(""), Code::InvalidArgument);
    check_refused(&read("everybody"), Code::InvalidArgument);
    check_refused(&read("name=bob"), Code::InvalidArgument);
    check_refused(&read("id=short"), Code::InvalidArgument);
    check_refused(&read("id=\"open"), Code::InvalidArgument);
    check_refused(&read(&format!("id={}", id('f'))), Code::InvalidArgument);
    check_refused(&read("uri=http://example.com/group"), Code::InvalidArgument);
    check_refused(&read("emailAddress=x@y.z"), Code::UnresolvableGrantByEmailAddress);
    let many = vec![good.as_str(); GRANTS_MAX + 1].join(",");
    check_refused(&read(&many), Code::MalformedACLError);
    assert!(of_headers(&read(&vec![good.as_str(); GRANTS_MAX].join(","))).is_ok());
}

#[test]
fn documents() {
    let acl = of_headers(&[("x-amz-acl", "bucket-owner-read")]).unwrap().unwrap();
    let document = acl.document(&id('a'), &People);
    let text = String::from_utf8(document.clone()).unwrap();
    assert!(text.contains(
        "<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\">"
    ));
    assert!(text.contains("<DisplayName>bob@example.com</DisplayName>"));
    assert_eq!(Acl::parse(&document, &id('a'), &People).unwrap(), acl);
    assert_eq!(Acl::decode(&acl.encode().unwrap()).unwrap(), acl);
    let code = |document: &str| {
        Acl::parse(document.as_bytes(), &id('a'), &People).map_err(|error| error.code)
    };
    let whole = |list: &str| {
        format!(
            "<AccessControlPolicy><Owner><ID>{}</ID></Owner>{list}</AccessControlPolicy>",
            id('a')
        )
    };
    let list = |grants: &str| whole(&format!("<AccessControlList>{grants}</AccessControlList>"));
    let grant = |grantee: &str, permission: &str| {
        format!("<Grant><Grantee>{grantee}</Grantee><Permission>{permission}</Permission></Grant>")
    };
    let bob = format!("<ID>{}</ID>", id('b'));
    assert_eq!(code(&list("")), Ok(Acl::default()));
    assert!(code(&list(&grant(&bob, "READ"))).is_ok());
    let mail = "<EmailAddress>bob@example.com</EmailAddress>";
    assert_eq!(code(&list(&grant(mail, "READ"))), code(&list(&grant(&bob, "READ"))));
    for (document, expected) in [
        ("<AccessControlPolicy/>".to_owned(), Code::MalformedACLError),
        ("<Other/>".to_owned(), Code::MalformedACLError),
        (whole(""), Code::MalformedACLError),
        (list("<Grant/>"), Code::MalformedACLError),
        (list("<Other/>"), Code::MalformedACLError),
        (list(&grant(&bob, "EVERYTHING")), Code::MalformedACLError),
        (list(&grant("", "READ")), Code::MalformedACLError),
        (list(&grant("<ID>x</ID>", "READ")), Code::InvalidArgument),
        (list(&grant("<URI>x</URI>", "READ")), Code::InvalidArgument),
        (
            list(&grant("<EmailAddress>x@y.z</EmailAddress>", "READ")),
            Code::UnresolvableGrantByEmailAddress,
        ),
        (list(&grant(&bob, "READ").repeat(GRANTS_MAX + 1)), Code::MalformedACLError),
        (whole("").replace(&id('a'), &id('b')), Code::AccessDenied),
    ] {
        assert_eq!(code(&document), Err(expected), "{document}");
    }
}
