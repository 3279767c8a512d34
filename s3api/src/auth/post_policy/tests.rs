//! Policies of forms, their signatures, and forms that keep to them or do not.
#![allow(clippy::unwrap_used)]

use super::*;

/// AWS's example of a form, with the policy and the signature that it gives.
const EXAMPLE_POLICY: &str = "eyAiZXhwaXJhdGlvbiI6ICIyMDE1LTEyLTMwVDEyOjAwOjAwLjAwMFoiLA0KICAiY29uZGl0aW9ucyI6IFsNCiAgICB7ImJ1Y2tldCI6ICJzaWd2NGV4YW1wbGVidWNrZXQifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRrZXkiLCAidXNlci91c2VyMS8iXSwNCiAgICB7ImFjbCI6ICJwdWJsaWMtcmVhZCJ9LA0KICAgIHsic3VjY2Vzc19hY3Rpb25fcmVkaXJlY3QiOiAiaHR0cDovL3NpZ3Y0ZXhhbXBsZWJ1Y2tldC5zMy5hbWF6b25hd3MuY29tL3N1Y2Nlc3NmdWxfdXBsb2FkLmh0bWwifSwNCiAgICBbInN0YXJ0cy13aXRoIiwgIiRDb250ZW50LVR5cGUiLCAiaW1hZ2UvIl0sDQogICAgeyJ4LWFtei1tZXRhLXV1aWQiOiAiMTQzNjUxMjM2NTEyNzQifSwNCiAgICB7IngtYW16LXNlcnZlci1zaWRlLWVuY3J5cHRpb24iOiAiQUVTMjU2In0sDQogICAgWyJzdGFydHMtd2l0aCIsICIkeC1hbXotbWV0YS10YWciLCAiIl0sDQoNCiAgICB7IngtYW16LWNyZWRlbnRpYWwiOiAiQUtJQUlPU0ZPRE5ON0VYQU1QTEUvMjAxNTEyMjkvdXMtZWFzdC0xL3MzL2F3czRfcmVxdWVzdCJ9LA0KICAgIHsieC1hbXotYWxnb3JpdGhtIjogIkFXUzQtSE1BQy1TSEEyNTYifSwNCiAgICB7IngtYW16LWRhdGUiOiAiMjAxNTEyMjlUMDAwMDAwWiIgfQ0KICBdDQp9";
const EXAMPLE_SIGNATURE: &str = "8afdbf4008c03f22c2cd3cdb72e4afbb1f6a588f3255ac628749a66d7f09699e";

fn fields(pairs: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    pairs.iter().for_each(|(name, value)| fields.add(name, (*value).to_owned()).unwrap());
    fields
}

/// AWS's example, with some fields replaced; those without a value are left out.
fn example(changes: &[(&str, Option<&str>)]) -> Fields {
    let pairs = [
        ("key", "user/user1/a.png"),
        ("acl", "public-read"),
        (
            "success_action_redirect",
            "http://sigv4examplebucket.s3.amazonaws.com/successful_upload.html",
        ),
        ("Content-Type", "image/jpeg"),
        ("x-amz-meta-uuid", "14365123651274"),
        ("x-amz-server-side-encryption", "AES256"),
        ("X-Amz-Credential", "AKIAIOSFODNN7EXAMPLE/20151229/us-east-1/s3/aws4_request"),
        ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
        ("X-Amz-Date", "20151229T000000Z"),
        ("x-amz-meta-tag", "tag"),
        ("Policy", EXAMPLE_POLICY),
        ("X-Amz-Signature", EXAMPLE_SIGNATURE),
    ];
    let change = |name: &str| {
        let mut changes = changes.iter();
        changes.find(|(changed, _)| changed.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    };
    let kept = pairs.iter().filter_map(|(name, value)| match change(name) {
        None => Some((*name, *value)),
        Some(value) => value.map(|value| (*name, value)),
    });
    let known = |name: &&str| pairs.iter().any(|(pair, _)| pair.eq_ignore_ascii_case(name));
    let added = changes.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
    fields(&kept.chain(added.filter(|(name, _)| !known(name))).collect::<Vec<_>>())
}

fn credentials() -> Credentials {
    let credentials = Credentials::new("us-east-1");
    credentials.insert("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    credentials
}

/// 2015-12-30T11:59:59Z, the last second before the example expires.
const NOW: i64 = 1_451_476_799;

#[test]
fn the_published_example_is_somebodys_and_keeps_to_its_policy() {
    let fields = example(&[]);
    let signed = authenticate(&fields, &credentials(), &()).unwrap().unwrap();
    assert_eq!(&*signed.access_key, "AKIAIOSFODNN7EXAMPLE");
    assert_eq!(signed.policy.check(&fields, "sigv4examplebucket", NOW), Ok(0..=u64::MAX));
    let late = signed.policy.check(&fields, "sigv4examplebucket", NOW + 1).unwrap_err();
    assert_eq!(late.message, "Invalid according to Policy: Policy expired.");
}

fn check_unsigned(changes: &[(&str, Option<&str>)], code: Code) {
    let error = authenticate(&example(changes), &credentials(), &()).unwrap_err();
    assert_eq!(error.code, code, "{changes:?}");
}

#[test]
fn what_is_not_signed_as_it_should_be_is_refused() {
    for name in ["policy", "x-amz-signature", "x-amz-credential", "x-amz-algorithm", "x-amz-date"] {
        check_unsigned(&[(name, None)], Code::InvalidArgument);
    }
    check_unsigned(&[("x-amz-algorithm", Some("AWS4-HMAC-SHA1"))], Code::InvalidArgument);
    check_unsigned(&[("x-amz-date", Some("today"))], Code::InvalidArgument);
    let bad = "0".repeat(64);
    check_unsigned(&[("x-amz-signature", Some(&bad))], Code::SignatureDoesNotMatch);
    check_unsigned(&[("policy", Some("e30="))], Code::SignatureDoesNotMatch);
    let credential = |text| {
        check_unsigned(&[("x-amz-credential", Some(text))], Code::AuthorizationQueryParametersError)
    };
    credential("AKIAIOSFODNN7EXAMPLE/20151229/eu-west-1/s3/aws4_request");
    credential("AKIAIOSFODNN7EXAMPLE/20151228/us-east-1/s3/aws4_request");
    credential("AKIAIOSFODNN7EXAMPLE");
    check_unsigned(
        &[("x-amz-credential", Some("NOBODY/20151229/us-east-1/s3/aws4_request"))],
        Code::InvalidAccessKeyId,
    );
    check_unsigned(&[("x-amz-security-token", Some("t"))], Code::InvalidToken);
    check_unsigned(&[("AWSAccessKeyId", Some("AK"))], Code::InvalidRequest);
}

#[test]
fn a_form_without_any_of_it_is_nobodys() {
    assert_eq!(authenticate(&fields(&[("key", "k")]), &credentials(), &()), Ok(None));
}

fn parse(document: &str) -> Result<PostPolicy> {
    PostPolicy::parse(&BASE64_STANDARD.encode(document))
}

const EXPIRATION: &str = "\"expiration\": \"2030-01-01T00:00:00Z\"";

fn policy(conditions: &str) -> PostPolicy {
    parse(&format!("{{{EXPIRATION}, \"conditions\": [{conditions}]}}")).unwrap()
}

/// Judges a form with these fields; the error's message without its common beginning.
fn check(conditions: &str, pairs: &[(&str, &str)], expected: Result<RangeInclusive<u64>, &str>) {
    let found = policy(conditions).check(&fields(pairs), "b", 0).map_err(|error| {
        assert_eq!(error.code, Code::AccessDenied);
        error.message.strip_prefix("Invalid according to Policy: ").unwrap().to_owned()
    });
    assert_eq!(found, expected.map_err(str::to_owned), "{conditions} {pairs:?}");
}

#[test]
fn every_condition_must_hold() {
    let all = || Ok(0..=u64::MAX);
    check("{\"bucket\": \"b\"}", &[], all());
    check("{\"bucket\": \"c\"}", &[], Err("Policy Condition failed: [\"eq\", \"$bucket\", \"c\"]"));
    check("[\"EQ\", \"$Key\", \"k\"]", &[("KEY", "k")], all());
    check(
        "{\"key\": \"k\"}",
        &[("key", "K")],
        Err("Policy Condition failed: [\"eq\", \"$key\", \"k\"]"),
    );
    let start = "[\"starts-with\", \"$key\", \"user/\"]";
    check(start, &[("key", "user/a")], all());
    let failed = "Policy Condition failed: [\"starts-with\", \"$key\", \"user/\"]";
    check(start, &[("key", "users/a")], Err(failed));
    check(start, &[], Err(failed));
    let any = "[\"starts-with\", \"$key\", \"\"]";
    check(any, &[("key", "")], all());
    check(any, &[], Err("Policy Condition failed: [\"starts-with\", \"$key\", \"\"]"));
    let types = "[\"starts-with\", \"$Content-Type\", \"image/\"]";
    check(types, &[("content-type", "image/png, image/jpeg")], all());
    let failed = "Policy Condition failed: [\"starts-with\", \"$content-type\", \"image/\"]";
    check(types, &[("content-type", "image/png,text/html")], Err(failed));
}

#[test]
fn lengths_are_within_all_ranges() {
    check("[\"content-length-range\", 1, 10]", &[], Ok(1..=10));
    check("[\"content-length-range\", \"1\", \"10\"]", &[], Ok(1..=10));
    let two = "[\"content-length-range\", 1, 10], [\"content-length-range\", 5, 20]";
    check(two, &[], Ok(5..=10));
}

#[test]
fn every_field_must_be_named_but_those_that_are_exempt() {
    let exempt = [("policy", "p"), ("x-amz-signature", "s"), ("X-Ignore-Me", "1")];
    check("", &exempt, Ok(0..=u64::MAX));
    check("", &[("key", "k"), ("Acl", "private")], Err("Extra input fields: key, acl"));
    check("", &[("x-amz-date", "d")], Err("Extra input fields: x-amz-date"));
    check("{\"bucket\": \"b\"}", &[("x-amz-meta-a", "1")], Err("Extra input fields: x-amz-meta-a"));
}

#[test]
fn policies_that_are_none() {
    for document in [
        "",
        "[]",
        "{",
        "{}",
        "{\"conditions\": []}",
        "{\"expiration\": \"2030-01-01T00:00:00Z\"}",
        "{\"expiration\": \"tomorrow\", \"conditions\": []}",
        "{\"expiration\": 5, \"conditions\": []}",
        "{\"expiration\": \"2030-01-01T00:00:00Z\", \"conditions\": {}}",
        "{\"expiration\": \"2030-01-01T00:00:00Z\", \"conditions\": [], \"other\": 1}",
    ] {
        let error = parse(document).unwrap_err();
        assert_eq!(error.code, Code::InvalidPolicyDocument, "{document}");
    }
    assert_eq!(PostPolicy::parse("%").unwrap_err().code, Code::InvalidPolicyDocument);
    for condition in [
        "5",
        "{}",
        "{\"a\": \"1\", \"b\": \"2\"}",
        "{\"a\": 1}",
        "[]",
        "[\"eq\", \"$a\"]",
        "[\"eq\", \"a\", \"b\"]",
        "[\"eq\", \"$a\", 1]",
        "[\"ends-with\", \"$a\", \"b\"]",
        "[\"content-length-range\", -1, 1]",
        "[\"content-length-range\", 0, 1.5]",
        "[\"content-length-range\", \"x\", 1]",
    ] {
        let document = format!("{{{EXPIRATION}, \"conditions\": [{condition}]}}");
        let error = parse(&document).unwrap_err();
        assert_eq!(error.code, Code::InvalidPolicyDocument, "{condition}");
    }
}
