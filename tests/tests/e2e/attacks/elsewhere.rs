//! What a request says where its operation does not look: in the query, in headers, in fields of a form. A condition of a
//! policy must not be met, or evaded, by what has no bearing on what is done.

use ringfort_tests::harness::client::{Answer, Client, Request, Signing};
use ringfort_tests::harness::{Server, Site};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::management::Api;

const EVERYBODY: &str = r#""Principal":"*""#;

/// Alice, who owns the bucket `mine`, beside root, who owns `box`.
struct Scene {
    root: Client,
    alice: Client,
}

impl Scene {
    fn new(server: &Server<'_>) -> Self {
        let order = r#"{"user_name":"alice","access_key":"alice-key","secret_key":"alice-secret"}"#;
        Api::new(server).expect(201, "POST", "credentials", order);
        let mut scene = Self { root: server.client(), alice: server.client() };
        scene.root.put("/box", "").expect(200);
        scene.as_alice(Request::new("PUT", "/mine")).expect(200);
        scene
    }

    fn as_alice(&mut self, request: Request) -> Answer {
        self.alice.call(&request.signed_by(Some(alice())))
    }

    /// Sets the policy of root's bucket.
    fn policy(&mut self, statements: &[&str]) {
        let policy = format!(r#"{{"Statement":[{}]}}"#, statements.join(","));
        self.root.put("/box?policy=", policy).expect(204);
    }

    fn get_as_alice(&mut self, target: &str) -> Answer {
        self.as_alice(Request::new("GET", target))
    }

    /// DeleteObjects by Alice; what is said of its one entry.
    fn delete_as_alice(&mut self, request: Request, entry: &str) -> String {
        let document = format!("<Delete><Object><Key>k</Key>{entry}</Object></Delete>");
        self.as_alice(request.body(document)).expect(200).text()
    }
}

fn alice() -> Signing {
    Signing::new("alice-key", "alice-secret")
}

fn allow(action: &str, condition: &str) -> String {
    statement("Allow", action, condition)
}

fn deny(action: &str, condition: &str) -> String {
    statement("Deny", action, condition)
}

fn statement(effect: &str, action: &str, condition: &str) -> String {
    let resource = r#"["arn:aws:s3:::box","arn:aws:s3:::box/*"]"#;
    let condition = match condition {
        "" => String::new(),
        _ => format!(r#","Condition":{{{condition}}}"#),
    };
    format!(
        r#"{{"Effect":"{effect}",{EVERYBODY},"Action":{action},"Resource":{resource}{condition}}}"#
    )
}

#[test]
fn the_version_that_counts_is_the_one_that_is_read_or_deleted() {
    let site = Site::new();
    let server = site.start();
    let mut scene = Scene::new(&server);
    let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    scene.root.put("/box?versioning=", on).expect(200);
    let mut version = |content: &str| {
        let answer = scene.root.put("/box/k", content).expect(200);
        answer.header("x-amz-version-id").unwrap().to_owned()
    };
    let (shown, secret) = (version("shown"), version("secret"));

    let only_shown = format!(r#""StringNotEquals":{{"s3:VersionId":"{shown}"}}"#);
    let keeps_shown = format!(r#""StringEquals":{{"s3:VersionId":"{shown}"}}"#);
    scene.policy(&[
        &allow(r#"["s3:GetObjectVersion","s3:DeleteObjectVersion"]"#, ""),
        &deny(r#""s3:GetObjectVersion""#, &only_shown),
        &deny(r#""s3:DeleteObjectVersion""#, &keeps_shown),
    ]);

    let upload = scene.as_alice(Request::new("POST", "/mine/k?uploads=")).expect(200);
    let upload = upload.element("UploadId").unwrap();
    let mut copy = |claimed: &str, source: &str| {
        let target = format!("/mine/k?partNumber=1&uploadId={upload}{claimed}");
        let source = format!("/box/k?versionId={source}");
        scene.as_alice(Request::new("PUT", &target).header("x-amz-copy-source", &source))
    };
    copy("", &secret).expect_error(403, "AccessDenied");
    copy(&format!("&versionId={shown}"), &secret).expect_error(403, "AccessDenied");
    copy("", &shown).expect(200);

    let entry = |version: &str| format!("<VersionId>{version}</VersionId>");
    for target in ["/box?delete=".to_owned(), format!("/box?delete=&versionId={secret}")] {
        let said = scene.delete_as_alice(Request::new("POST", &target), &entry(&shown));
        assert!(said.contains("<Code>AccessDenied</Code>"), "{target}: {said}");
    }
    let said = scene.delete_as_alice(Request::new("POST", "/box?delete="), &entry(&secret));
    assert!(said.contains("<Deleted>"), "{said}");
    server.stop();
}

#[test]
fn a_listing_is_judged_by_its_own_parameters_and_a_read_by_none_of_them() {
    let site = Site::new();
    let server = site.start();
    let mut scene = Scene::new(&server);
    scene.root.put("/box/hr/there", "1").expect(200);
    scene
        .policy(&[&allow(r#""s3:ListBucket""#, r#""NumericLessThanEquals":{"s3:max-keys":"10"}"#)]);
    for (query, status) in [
        ("list-type=2&max-keys=5", 200),
        ("MaxKeys=5&list-type=2", 200),
        ("list-type=2", 403),
        ("list-type=2&max-uploads=1", 403),
        ("MaxKeys=1000&max-uploads=1", 403),
        ("max-keys=1000&max-uploads=1", 403),
    ] {
        let answer = scene.get_as_alice(&format!("/box?{query}"));
        assert_eq!(answer.status, status, "{query}: {}", answer.text());
    }

    scene.policy(&[&allow(r#""s3:ListBucket""#, r#""StringLike":{"s3:prefix":"home/alice/*"}"#)]);
    scene.get_as_alice("/box?prefix=home%2Falice%2F").expect(200);
    for key in ["hr/there", "hr/missing"] {
        let asked = format!("/box/{key}?prefix=home%2Falice%2F");
        scene.get_as_alice(&asked).expect_error(403, "AccessDenied");
    }
    server.stop();
}

#[test]
fn entries_of_a_list_are_judged_by_their_own_entity_tags() {
    let site = Site::new();
    let server = site.start();
    let mut scene = Scene::new(&server);
    let answer = scene.root.put("/box/k", "1").expect(200);
    let etag = answer.header("etag").unwrap().to_owned();
    scene.policy(&[
        &allow(r#""s3:DeleteObject""#, r#""Null":{"s3:if-match":"false"}"#),
        &allow(r#""s3:GetObject""#, ""),
    ]);
    let request = || Request::new("POST", "/box?delete=");
    let said = scene.delete_as_alice(request().header("if-match", &etag), "");
    assert!(said.contains("<Code>AccessDenied</Code>"), "{said}");
    let said = scene.delete_as_alice(request(), &format!("<ETag>{etag}</ETag>"));
    assert!(said.contains("<Deleted>"), "{said}");
    server.stop();
}

#[test]
fn tags_that_a_copy_does_not_take_meet_no_condition() {
    let site = Site::new();
    let server = site.start();
    let mut scene = Scene::new(&server);
    let tagged = Request::new("PUT", "/mine/k").header("x-amz-tagging", "approved=yes").body("1");
    scene.as_alice(tagged).expect(200);
    scene.policy(&[&allow(
        r#"["s3:PutObject","s3:PutObjectTagging"]"#,
        r#""StringEquals":{"s3:RequestObjectTag/env":"dev"}"#,
    )]);
    let copy = |directive: &str| {
        Request::new("PUT", "/box/k")
            .header("x-amz-copy-source", "/mine/k")
            .header("x-amz-tagging", "env=dev")
            .header("x-amz-tagging-directive", directive)
    };
    scene.as_alice(copy("COPY")).expect_error(403, "AccessDenied");
    scene.as_alice(copy("REPLACE")).expect(200);
    server.stop();
}

#[test]
fn what_a_rename_asks_of_the_new_key_is_nothing_of_the_former() {
    let site = Site::new();
    let server = site.start();
    let mut scene = Scene::new(&server);
    let answer = scene.root.put("/box/former", "1").expect(200);
    let etag = answer.header("etag").unwrap().to_owned();
    scene.root.put("/box/new", "2").expect(200);
    scene.policy(&[
        &allow(r#""s3:DeleteObject""#, r#""Null":{"s3:if-match":"false"}"#),
        &allow(r#"["s3:GetObject","s3:PutObject"]"#, ""),
    ]);
    let rename = |name: &str, value: &str| {
        Request::new("PUT", "/box/new?renameObject=")
            .header("x-amz-rename-source", "former")
            .header(name, value)
    };
    scene.as_alice(rename("if-match", "*")).expect_error(403, "AccessDenied");
    scene.as_alice(rename("x-amz-rename-source-if-match", &etag)).expect(200);
    server.stop();
}

#[test]
fn tags_are_those_of_a_new_object() {
    let site = Site::new();
    let server = site.start();
    let mut scene = Scene::new(&server);
    let action = r#"["s3:PutObject","s3:PutObjectTagging"]"#;
    scene.policy(&[&allow(action, r#""StringEquals":{"s3:RequestObjectTag/project":"blue"}"#)]);
    let create = Request::new("POST", "/box/k?uploads=").header("x-amz-tagging", "project=red");
    let upload = scene.root.call(&create).expect(200).element("UploadId").unwrap();
    let blue = |method: &str, target: &str| {
        Request::new(method, target).header("x-amz-tagging", "project=blue").body("1")
    };
    let part = blue("PUT", &format!("/box/k?partNumber=1&uploadId={upload}"));
    scene.as_alice(part).expect_error(403, "AccessDenied");
    scene.as_alice(blue("PUT", "/box/k")).expect(200);
    server.stop();
}

/// A form by Alice, signed so many seconds ago.
fn form(age_seconds: i64, fields: &[(&str, &str)]) -> Request {
    let signing = alice().skewed(-age_seconds);
    let names = ["key", "x-amz-algorithm", "x-amz-credential", "x-amz-date"]
        .into_iter()
        .chain(fields.iter().map(|(name, _)| *name));
    let conditions: String =
        names.map(|name| format!(r#",["starts-with","${name}",""]"#)).collect();
    let policy = format!(
        r#"{{"expiration":"2099-01-01T00:00:00Z","conditions":[{{"bucket":"box"}}{conditions}]}}"#
    );
    let policy = STANDARD.encode(policy);
    let (credential, stamp) = (signing.credential(), signing.stamp());
    let signature = signing.sign_policy(&policy);
    let signed = [
        ("key", "k"),
        ("policy", &*policy),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256"),
        ("x-amz-credential", &*credential),
        ("x-amz-date", &*stamp),
        ("x-amz-signature", &*signature),
    ];
    let mut body = String::new();
    for (name, value) in signed.iter().chain(fields) {
        body.push_str(&format!(
            "--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        ));
    }
    body.push_str("--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nbytes\r\n--B--\r\n");
    Request::new("POST", "/box")
        .signed_by(None)
        .header("content-type", "multipart/form-data; boundary=B")
        .body(body)
}

#[test]
fn a_form_is_as_old_as_its_signature_and_no_copy() {
    let site = Site::new();
    let server = site.start();
    let mut scene = Scene::new(&server);
    let action = r#""s3:PutObject""#;
    scene.policy(&[
        &allow(action, ""),
        &deny(action, r#""NumericGreaterThan":{"s3:signatureAge":"600000"}"#),
    ]);
    scene.alice.call(&form(3_600, &[])).expect_error(403, "AccessDenied");
    scene.alice.call(&form(60, &[])).expect(204);

    let only_copies = r#""StringNotLike":{"s3:x-amz-copy-source":"/box/public/*"}"#;
    scene.policy(&[&allow(action, ""), &deny(action, only_copies)]);
    let fields = [("x-amz-copy-source", "/box/public/a")];
    scene.alice.call(&form(0, &fields)).expect_error(400, "InvalidArgument");

    scene.policy(&[&allow(action, r#""StringEquals":{"aws:UserAgent":"a browser"}"#)]);
    scene.alice.call(&form(0, &[])).expect_error(403, "AccessDenied");
    scene.alice.call(&form(0, &[]).header("user-agent", "a browser")).expect(204);
    server.stop();
}

/// The body never comes: what is said is said without it.
#[test]
fn a_strangers_list_of_deletions_is_refused_before_it_is_read() {
    let site = Site::new();
    let server = site.start();
    let mut scene = Scene::new(&server);
    let request = Request::new("POST", "/box?delete=").signed_by(None).length(8 << 20);
    scene.alice.call(&request).expect_error(403, "AccessDenied");
    server.stop();
}
