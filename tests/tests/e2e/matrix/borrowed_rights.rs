//! One right lends no other: a rename carries tags and an ACL to a key, an append changes the bytes under them, and
//! a condition tells of an object what may not be read.

use super::cast::{Manager, Person};
use ringfort_tests::harness::client::{Answer, Client, Request};
use ringfort_tests::harness::{Server, Site};
use serde_json::{Value, json};

const BYTES: &str = "approved bytes";
const TAGGED: (&str, &str) = ("x-amz-tagging", "approved=yes");
const PUBLIC: (&str, &str) = ("x-amz-acl", "public-read");

/// Root with the bucket `bucket`, and a user who may what a test lets them.
struct Play {
    root: Client,
    client: Client,
    manager: Manager,
    user: Person,
}

impl Play {
    fn new(server: &Server<'_>) -> Self {
        let mut manager = Manager::new(server.admin_listen);
        let user = manager.make("borrower");
        let mut root = server.client();
        root.put("/bucket", "").expect(200);
        Self { root, client: server.client(), manager, user }
    }

    /// Lets the user do this, and nothing else.
    fn allow(&mut self, statements: &[Value]) {
        let path = format!("credentials/{}/policies/rights", self.user.number);
        let policy = json!({"Version": "2012-10-17", "Statement": statements});
        self.manager.expect(200, "PUT", &path, &policy.to_string());
    }

    fn ask(&mut self, request: &Request) -> Answer {
        self.client.call(&request.clone().signed_by(Some(self.user.signing())))
    }

    /// The user is refused, and told nothing by it.
    #[track_caller]
    fn refuse(&mut self, request: &Request) {
        let answer = self.ask(request).expect_error(403, "AccessDenied");
        let told = ["etag", "last-modified", "x-amz-object-size"];
        assert!(told.iter().all(|name| answer.header(name).is_none()), "{answer:?}");
        assert!(!answer.text().contains("ObjectSize"), "{}", answer.text());
    }

    /// Root puts an object with headers; gives its ETag.
    fn put(&mut self, key: &str, headers: &[(&str, &str)]) -> String {
        let request = Request::new("PUT", &format!("/bucket/{key}")).body(BYTES);
        let request = headers.iter().fold(request, |all, (name, value)| all.header(name, value));
        self.root.call(&request).expect(200).header("etag").unwrap().to_owned()
    }

    #[track_caller]
    fn check(&mut self, key: &str, bytes: &str, is_tagged: bool) {
        assert_eq!(self.root.get(&format!("/bucket/{key}")).expect(200).text(), bytes);
        let tags = self.root.get(&format!("/bucket/{key}?tagging=")).expect(200);
        let value = is_tagged.then(|| "yes".to_owned());
        assert_eq!(tags.element("Value"), value, "{}", tags.text());
    }
}

/// A statement that allows actions on a key of the bucket.
fn allow(actions: &[&str], key: &str) -> Value {
    let actions: Vec<String> = actions.iter().map(|action| format!("s3:{action}")).collect();
    let resource = format!("arn:aws:s3:::bucket/{key}");
    json!({"Effect": "Allow", "Action": actions, "Resource": resource})
}

/// The statement, where a tag has this value.
fn where_tag(mut statement: Value, tag: &str, value: &str) -> Value {
    let key = format!("s3:{tag}");
    statement["Condition"] = json!({"StringEquals": {key: value}});
    statement
}

fn denied(mut statement: Value) -> Value {
    statement["Effect"] = json!("Deny");
    statement
}

#[test]
fn a_rename_gives_no_tags_and_no_acl_without_the_right_to() {
    let site = Site::new();
    let server = site.start();
    let mut play = Play::new(&server);
    let rename =
        Request::new("PUT", "/bucket/to?renameObject=").header("x-amz-rename-source", "from");
    let base = || vec![allow(&["GetObject", "DeleteObject"], "from"), allow(&["PutObject"], "to")];
    let tagging = || allow(&["PutObjectTagging"], "to");
    let asks = |statement, value| where_tag(statement, "RequestObjectTag/approved", value);

    play.put("from", &[TAGGED]);
    for more in [
        vec![],
        vec![allow(&["PutObjectTagging"], "from")],
        vec![asks(tagging(), "no")],
        vec![tagging(), denied(asks(tagging(), "yes"))],
    ] {
        play.allow(&[base(), more].concat());
        play.refuse(&rename);
        play.check("from", BYTES, true);
        play.root.get("/bucket/to").expect(404);
    }
    play.allow(&[base(), vec![asks(tagging(), "yes")]].concat());
    play.ask(&rename).expect(200);
    play.check("to", BYTES, true);
    play.root.get("/bucket/from").expect(404);

    play.put("from", &[PUBLIC]);
    play.allow(&base());
    play.refuse(&rename);
    play.check("from", BYTES, false);
    play.check("to", BYTES, true);
    play.allow(&[base(), vec![allow(&["PutObjectAcl"], "to")]].concat());
    play.ask(&rename).expect(200);
    play.check("to", BYTES, false);

    // Neither tags nor an ACL: nothing more is asked for.
    play.put("from", &[]);
    play.allow(&base());
    play.ask(&rename).expect(200);

    // What asks for another encryption is not ignored.
    play.put("from", &[]);
    for rest in ["", "-aws-kms-key-id", "-context", "-bucket-key-enabled"] {
        let name = format!("x-amz-server-side-encryption{rest}");
        play.root.call(&rename.clone().header(&name, "x")).expect_error(501, "NotImplemented");
    }
    server.stop();
}

fn append(key: &str, offset: usize) -> Request {
    let request = Request::new("PUT", &format!("/bucket/{key}"));
    request.header("x-amz-write-offset-bytes", &offset.to_string()).body("more")
}

#[test]
fn an_append_needs_the_rights_to_what_it_adds_to() {
    let site = Site::new();
    let server = site.start();
    let mut play = Play::new(&server);
    let whole = format!("{BYTES}more");
    let put = ["PutObject"];
    let read = ["PutObject", "GetObject"];
    let tag = ["PutObject", "GetObject", "PutObjectTagging"];
    let tags_no = || {
        let tagging = allow(&["PutObjectTagging"], "*");
        vec![allow(&read, "*"), where_tag(tagging, "RequestObjectTag/approved", "no")]
    };
    let existing_yes = || {
        let tagging = allow(&["PutObjectTagging"], "*");
        vec![allow(&read, "*"), where_tag(tagging, "ExistingObjectTag/approved", "yes")]
    };
    for (key, header, too_few, enough) in [
        ("plain", None, vec![vec![allow(&put, "*")]], vec![allow(&read, "*")]),
        (
            "tagged",
            Some(TAGGED),
            vec![
                vec![allow(&["PutObject", "PutObjectTagging"], "*")],
                vec![allow(&read, "*")],
                tags_no(),
            ],
            vec![allow(&tag, "*")],
        ),
        ("tagged-so", Some(TAGGED), vec![tags_no()], existing_yes()),
        (
            "public",
            Some(PUBLIC),
            vec![vec![allow(&read, "*")], vec![allow(&tag, "*")]],
            vec![allow(&["PutObject", "GetObject", "PutObjectAcl"], "*")],
        ),
    ] {
        let is_tagged = header == Some(TAGGED);
        play.put(key, header.as_slice());
        for statements in too_few {
            play.allow(&statements);
            for offset in [0, BYTES.len(), BYTES.len() + 1] {
                play.refuse(&append(key, offset));
                play.refuse(&append(key, offset).header("if-none-match", "*"));
            }
            play.refuse(&append(key, BYTES.len()).header("x-amz-meta-a", "b"));
            play.check(key, BYTES, is_tagged);
        }
        play.allow(&enough);
        let answer = play.ask(&append(key, 1)).expect_error(400, "InvalidWriteOffset");
        assert_eq!(answer.element("ObjectSize"), Some(BYTES.len().to_string()), "{key}");
        play.ask(&append(key, BYTES.len())).expect(200);
        play.check(key, &whole, is_tagged);
    }
    // Where there is nothing, nothing is read.
    play.allow(&[allow(&put, "*")]);
    play.ask(&append("new", 0)).expect(200);
    play.check("new", "more", false);
    server.stop();
}

#[test]
fn nobody_appends_to_a_strangers_object_by_what_its_bucket_allows() {
    let site = Site::new();
    let server = site.start();
    let mut play = Play::new(&server);
    play.allow(&[allow(&["PutObject"], "*")]);
    play.ask(&Request::new("PUT", "/bucket/strangers").body(BYTES)).expect(200);
    let stranger = std::mem::replace(&mut play.user, play.manager.make("another"));
    play.allow(&[allow(&["*"], "*")]);
    for offset in [0, BYTES.len()] {
        play.refuse(&append("strangers", offset));
    }
    play.check("strangers", BYTES, false);
    play.user = stranger;
    play.ask(&append("strangers", BYTES.len())).expect(200);
    play.root.call(&append("strangers", BYTES.len() + 4)).expect(200);
    play.check("strangers", &format!("{BYTES}moremore"), false);
    server.stop();
}

/// Conditions on an object by its ETag: those that hold, and those that do not.
fn conditions(etag: &str) -> Vec<(&'static str, String)> {
    let size = BYTES.len();
    let year = |year: u32| format!("Fri, 01 Jan {year} 00:00:00 GMT");
    vec![
        ("if-match", etag.to_owned()),
        ("if-match", "\"00000000000000000000000000000000\"".to_owned()),
        ("if-none-match", "\"00000000000000000000000000000000\"".to_owned()),
        ("if-none-match", etag.to_owned()),
        ("if-unmodified-since", year(2100)),
        ("if-unmodified-since", year(2010)),
        ("x-amz-if-match-size", size.to_string()),
        ("x-amz-if-match-size", (size + 1).to_string()),
        ("x-amz-if-match-last-modified-time", year(2010)),
    ]
}

#[test]
fn a_condition_tells_nothing_of_what_may_not_be_read() {
    let site = Site::new();
    let server = site.start();
    let mut play = Play::new(&server);
    let write = allow(&["PutObject", "DeleteObject"], "*");
    play.allow(std::slice::from_ref(&write));
    play.ask(&Request::new("PUT", "/bucket/own").body("")).expect(200);
    let etag = play.put("secret", &[("x-amz-tagging", "open=no")]);
    let begun = play.ask(&Request::new("POST", "/bucket/secret?uploads=").body("")).expect(200);
    let upload = begun.element("UploadId").unwrap();
    let part = format!("/bucket/secret?partNumber=1&uploadId={upload}");
    let part = play.ask(&Request::new("PUT", &part).body("part")).expect(200);
    let part = format!("<PartNumber>1</PartNumber><ETag>{}</ETag>", part.header("etag").unwrap());
    let parts = format!("<CompleteMultipartUpload><Part>{part}</Part></CompleteMultipartUpload>");
    let complete = Request::new("POST", &format!("/bucket/secret?uploadId={upload}")).body(parts);
    let put = |key: &str| Request::new("PUT", &format!("/bucket/{key}")).body("other bytes");
    let delete = |key: &str| Request::new("DELETE", &format!("/bucket/{key}"));
    let rename = Request::new("PUT", "/bucket/secret?renameObject=");
    let requests = [
        put("secret"),
        put("absent"),
        delete("secret"),
        delete("absent"),
        delete("secret?versionId=null"),
        rename.header("x-amz-rename-source", "own"),
        complete,
    ];
    let reads = |value| where_tag(allow(&["GetObject"], "*"), "ExistingObjectTag/open", value);
    let versions = allow(&["DeleteObjectVersion", "GetObjectVersion"], "*");
    for statements in
        [vec![write.clone(), versions.clone()], vec![write.clone(), versions, reads("yes")]]
    {
        play.allow(&statements);
        for (name, value) in conditions(&etag) {
            for request in &requests {
                // Of S3's own conditions a rename has none.
                let is_rename = request.query == "renameObject=";
                if !is_rename || !name.starts_with("x-amz-") {
                    play.refuse(&request.clone().header(name, &value));
                }
            }
        }
    }
    assert_eq!(play.root.get("/bucket/secret").expect(200).text(), BYTES);

    // That something is there is told to who may write.
    play.allow(std::slice::from_ref(&write));
    let any = |request: Request, name: &str| request.header(name, "*");
    play.ask(&any(put("secret"), "if-none-match")).expect_error(412, "PreconditionFailed");
    play.ask(&any(put("absent"), "if-match")).expect_error(404, "NoSuchKey");
    play.ask(&any(put("new"), "if-none-match")).expect(200);
    play.ask(&any(put("new"), "if-match")).expect(200);
    play.ask(&any(delete("new"), "if-match")).expect(204);

    // Who may read is told the rest.
    play.allow(&[write, reads("no")]);
    let wrong = "\"00000000000000000000000000000000\"";
    for request in [put("secret"), delete("secret")] {
        let request = request.header("if-match", wrong);
        play.ask(&request).expect_error(412, "PreconditionFailed");
    }
    play.ask(&put("secret").header("if-match", &etag)).expect(200);
    play.put("secret", &[("x-amz-tagging", "open=no")]);
    play.ask(&delete("secret").header("if-match", &etag)).expect(204);
    server.stop();
}
