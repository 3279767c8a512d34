//! Small documents that would become large, deep or slow: XML, JSON, forms, patterns of policies. Each is
//! refused with little time and memory, whichever operation takes it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{cpu_seconds, with_canary};
use ringfort_tests::harness::client::{Client, Request};
use ringfort_tests::harness::{Server, Site};

const MIB: u64 = 1 << 20;

/// Everything that takes XML, with the name of the document's root.
const XML_OPERATIONS: [(&str, &str, &str); 20] = [
    ("POST", "/bucket?delete=", "Delete"),
    ("POST", "/bucket/k?uploadId={upload}", "CompleteMultipartUpload"),
    ("PUT", "/other", "CreateBucketConfiguration"),
    ("PUT", "/bucket?tagging=", "Tagging"),
    ("PUT", "/bucket/canary?tagging=", "Tagging"),
    ("PUT", "/bucket?versioning=", "VersioningConfiguration"),
    ("PUT", "/locked?object-lock=", "ObjectLockConfiguration"),
    ("PUT", "/locked/canary?retention=", "Retention"),
    ("PUT", "/locked/canary?legal-hold=", "LegalHold"),
    ("PUT", "/bucket?lifecycle=", "LifecycleConfiguration"),
    ("PUT", "/bucket?cors=", "CORSConfiguration"),
    ("PUT", "/bucket?encryption=", "ServerSideEncryptionConfiguration"),
    ("PUT", "/bucket?logging=", "BucketLoggingStatus"),
    ("PUT", "/bucket?notification=", "NotificationConfiguration"),
    ("PUT", "/bucket?website=", "WebsiteConfiguration"),
    ("PUT", "/bucket?requestPayment=", "RequestPaymentConfiguration"),
    ("PUT", "/bucket?ownershipControls=", "OwnershipControls"),
    ("PUT", "/bucket?publicAccessBlock=", "PublicAccessBlockConfiguration"),
    ("PUT", "/acls?acl=", "AccessControlPolicy"),
    ("PUT", "/acls/canary?acl=", "AccessControlPolicy"),
];

fn utf16(text: &str, is_little: bool, has_mark: bool) -> Vec<u8> {
    let units = has_mark.then_some(0xfeff).into_iter().chain(text.encode_utf16());
    units.flat_map(|unit| if is_little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child = Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes).unwrap());
    let out = child.wait_with_output().unwrap().stdout;
    writer.join().unwrap();
    out
}

/// Documents below the root `name` that must not be taken, with a word for each.
fn bombs(name: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut laughs = "<!DOCTYPE x [<!ENTITY a0 \"ha\">".to_owned();
    for level in 1..30 {
        let below = format!("&a{};", level - 1).repeat(10);
        laughs += &format!("<!ENTITY a{level} \"{below}\">");
    }
    let wrap = |inside: &str| format!("<{name}>{inside}</{name}>").into_bytes();
    let plain = format!("<{name}><A>b</A></{name}>");
    vec![
        ("laughs", format!("{laughs}]><{name}><A>&a29;</A></{name}>").into_bytes()),
        (
            "quadratic",
            format!(
                "<!DOCTYPE x [<!ENTITY a \"{}\">]><{name}>{}</{name}>",
                "b".repeat(20_000),
                "&a;".repeat(9000)
            )
            .into_bytes(),
        ),
        (
            "external entity",
            format!("<!DOCTYPE x [<!ENTITY a SYSTEM \"file:///etc/passwd\">]><{name}>&a;</{name}>")
                .into_bytes(),
        ),
        (
            "external DTD",
            format!("<!DOCTYPE x SYSTEM \"http://127.0.0.1:1/x.dtd\">{plain}").into_bytes(),
        ),
        (
            "parameter entity",
            format!("<!DOCTYPE x [<!ENTITY % a SYSTEM \"file:///etc/passwd\">%a;]>{plain}")
                .into_bytes(),
        ),
        ("undefined entity", wrap("<A>&nbsp;</A>")),
        (
            "instruction",
            format!("<?xml version=\"1.0\"?><?xml-stylesheet href=\"file:///etc/passwd\"?>{plain}")
                .into_bytes(),
        ),
        ("deep", "<a>".repeat(20_000).into_bytes()),
        ("deep below the root", wrap(&"<A>".repeat(20_000))),
        ("deep and closed", wrap(&("<A>".repeat(9000) + &"</A>".repeat(9000)))),
        ("an open comment", format!("<{name}><!--{}", "-".repeat(60_000)).into_bytes()),
        ("an open text", format!("<{name}><![CDATA[{}", "]".repeat(60_000)).into_bytes()),
        ("an open attribute", format!("<{name} a=\"{}", "b".repeat(60_000)).into_bytes()),
        ("an open name", format!("<{}", "N".repeat(60_000)).into_bytes()),
        ("UTF-16", utf16(&plain, true, true)),
        ("UTF-16 of the other kind", utf16(&plain, false, true)),
        ("UTF-16 without its mark", utf16(&plain, true, false)),
        (
            "UTF-7",
            format!("<?xml version=\"1.0\" encoding=\"UTF-7\"?>+ADw-{name}+AD4-").into_bytes(),
        ),
        ("overlong", [b"\xc0\xbc".as_slice(), &plain.as_bytes()[1..]].concat()),
        ("zipped", gzip(plain.as_bytes())),
        ("zeros zipped", gzip(&vec![0; 20 << 20])),
        ("NULs", format!("<{name}>\0\0\0</{name}\0>").into_bytes()),
        ("two roots", [plain.as_bytes(), plain.as_bytes()].concat()),
        ("JSON", "[".repeat(60_000).into_bytes()),
        ("nothing but blanks", " ".repeat(60_000).into_bytes()),
    ]
}

fn with_buckets(server: &Server<'_>) -> (Client, String) {
    let mut root = with_canary(server);
    let locked =
        Request::new("PUT", "/locked").body("").header("x-amz-bucket-object-lock-enabled", "true");
    root.call(&locked).expect(200);
    root.put("/locked/canary", "x").expect(200);
    let acls =
        Request::new("PUT", "/acls").body("").header("x-amz-object-ownership", "ObjectWriter");
    root.call(&acls).expect(200);
    root.put("/acls/canary", "x").expect(200);
    let upload = root.post("/bucket/k?uploads=", "").expect(200).element("UploadId").unwrap();
    (root, upload)
}

#[test]
fn xml_that_would_grow_is_refused_by_every_operation_at_little_cost() {
    let site = Site::new();
    let server = site.start();
    let (mut root, upload) = with_buckets(&server);
    let before = server.resident_bytes();
    let used = cpu_seconds(&server);
    let mut count = 0;
    let mut wrong = Vec::new();
    for (method, target, name) in XML_OPERATIONS {
        let target = target.replace("{upload}", &upload);
        for (what, document) in bombs(name) {
            // A bucket may be made without a word.
            if target == "/other" && what == "nothing but blanks" {
                continue;
            }
            let mut request = Request::new(method, &target).body(document);
            if what.ends_with("zipped") {
                request = request.header("content-encoding", "gzip");
            }
            let begin = Instant::now();
            let answer = root.call(&request);
            let took = begin.elapsed();
            count += 1;
            let is_known = matches!(
                answer.code().as_str(),
                "MalformedXML"
                    | "EntityTooLarge"
                    | "MaxMessageLengthExceeded"
                    | "MalformedACLError"
                    | "MissingRequestBodyError"
                    | "MissingSecurityHeader"
            );
            if answer.status != 400 || !is_known || took > Duration::from_secs(5) {
                wrong.push(format!(
                    "{method} {target}, {what}: {} {} in {took:?}",
                    answer.status,
                    answer.code()
                ));
            }
            assert!(!answer.text().contains("root:"), "{target}, {what}: a file was read");
        }
    }
    assert!(wrong.is_empty(), "of {count}:\n{}", wrong.join("\n"));
    let spent = cpu_seconds(&server) - used;
    assert!(spent < 10.0, "{spent} s for {count} documents");
    let grown = server.peak_bytes().saturating_sub(before);
    assert!(grown < 128 * MIB, "{} MiB at the worst", grown / MIB);
    server.stop();
}

/// As large as they may be: what is allowed is read in bounded time, too.
#[test]
fn the_largest_documents_are_read_in_bounded_time_and_memory() {
    let site = Site::new();
    let server = site.start();
    let (mut root, upload) = with_buckets(&server);
    let list = 8 << 20;
    let documents = [
        ("elements", format!("<Delete>{}</Delete>", "<A/>".repeat(list / 4 - 10))),
        (
            "elements below a bound",
            format!("<Delete>{}</Delete>", "<Object><Key>k</Key></Object>".repeat(49_000)),
        ),
        ("one attribute", format!("<Delete a=\"{}\"/>", "b".repeat(list - 100))),
        ("attributes", format!("<Delete {}/>", "a=\"b\" ".repeat(list / 6 - 10))),
        (
            "references",
            format!(
                "<Delete><Object><Key>{}</Key></Object></Delete>",
                "&amp;".repeat(list / 5 - 20)
            ),
        ),
        ("comments", format!("<Delete>{}</Delete>", "<!---->".repeat(list / 7 - 10))),
        (
            "sections",
            format!(
                "<Delete><Object><Key>{}</Key></Object></Delete>",
                "<![CDATA[]]>".repeat(list / 12 - 10)
            ),
        ),
        ("a long name", format!("<Delete><{}/></Delete>", "n".repeat(list - 100))),
        ("beyond the bound", " ".repeat(list + 1)),
    ];
    let before = server.resident_bytes();
    for (what, document) in documents {
        for target in ["/bucket?delete=".to_owned(), format!("/bucket/k?uploadId={upload}")] {
            let used = cpu_seconds(&server);
            let answer =
                server.client().send(&Request::new("POST", &target).body(document.clone()));
            // What is too long is refused before it is read.
            let status = answer.map(|answer| answer.status);
            assert!(matches!(status, Ok(400 | 413) | Err(_)), "{target}, {what}: {status:?}");
            let spent = cpu_seconds(&server) - used;
            assert!(spent < 3.0, "{target}, {what}: {spent} s");
        }
    }
    let grown = server.peak_bytes().saturating_sub(before);
    assert!(grown < 192 * MIB, "{} MiB at the worst", grown / MIB);
    root.get("/bucket/canary").expect(200);
    server.stop();
}

#[test]
fn json_that_is_deep_long_or_twice_there_is_refused() {
    let site = Site::new();
    let server = site.start();
    let (mut root, _) = with_buckets(&server);
    let deep = "[".repeat(15_000);
    let objects = "{\"a\":".repeat(3000);
    let manage = |body: &str| {
        let request = Request::new("POST", "/api/v1/buckets")
            .signed_by(None)
            .header("authorization", "Bearer test-key")
            .body(body);
        Client::new(server.admin_listen).call(&request)
    };
    let used = cpu_seconds(&server);
    for document in [
        deep.as_str(),
        &objects,
        &format!("{{\"Statement\":{deep}"),
        "",
        "nonsense",
        "{\"Statement\":1e999999}",
        "\u{feff}{}",
        "{\"Statement\":[],\"Statement\":[]",
        "{\"Statement\":\"\\ud800\"}",
        &format!("{{\"Statement\":\"{}", "\\u0041".repeat(3000)),
    ] {
        let short: String = document.chars().take(60).collect();
        let answer = root.put("/bucket?policy=", document);
        assert_eq!((answer.status, answer.code().as_str()), (400, "MalformedPolicy"), "{short}");
        let answer = manage(document);
        assert_eq!(answer.status, 400, "{short}: {}", answer.text());
    }
    let spent = cpu_seconds(&server) - used;
    assert!(spent < 2.0, "{spent} s");
    let huge = format!("{{\"name\":\"{}\"}}", "n".repeat(10 << 20));
    let answer = Client::new(server.admin_listen).send(
        &Request::new("POST", "/api/v1/buckets")
            .signed_by(None)
            .header("authorization", "Bearer test-key")
            .body(huge),
    );
    assert!(matches!(answer.map(|answer| answer.status), Ok(413) | Err(_)));
    server.stop();
}

/// A bucket's owner wrote a pattern of 15,000 letters for `aws:UserAgent`, and each GET with such a header
/// then kept a core busy for more than a second, other users' requests behind it.
#[test]
fn a_policy_with_a_long_pattern_costs_little_whatever_visitors_send() {
    let site = Site::new();
    let server = site.start();
    let mut root = with_canary(&server);
    let agent = "a".repeat(30_000);
    let patterns = [
        format!("*{}b", "a".repeat(15_000)),
        format!("*{}b*", "a".repeat(15_000)),
        format!("*{}b*", "?a".repeat(7500)),
        format!("{}b", "*a".repeat(7500)),
        "${aws:UserAgent}".repeat(1100),
        "*${aws:UserAgent}".repeat(1100),
    ];
    for pattern in patterns {
        let policy = format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",
            "Resource":"arn:aws:s3:::bucket/*","Condition":{{"StringLike":{{"aws:UserAgent":"{pattern}"}}}}}}}}"#
        );
        root.put("/bucket?policy=", policy).expect(204);
        let (used, before) = (cpu_seconds(&server), server.peak_bytes());
        let get =
            Request::new("GET", "/bucket/canary").signed_by(None).header("user-agent", &agent);
        root.call(&get).expect_error(403, "AccessDenied");
        let short: String = pattern.chars().take(20).collect();
        let spent = cpu_seconds(&server) - used;
        assert!(spent < 0.25, "{short}: {spent} s for one request");
        let grown = server.peak_bytes() - before;
        assert!(grown < 32 * MIB, "{short}: {} MiB for one request", grown / MIB);
    }
    server.stop();
}

/// A form of 20 KB that names its file a thousand times and long.
#[test]
fn a_form_does_not_grow_by_the_name_of_its_file() {
    let site = Site::new();
    let server = site.start();
    let mut root = with_canary(&server);
    let field = |name: &str, value: &str| {
        format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let form = |places: usize, name: &str| {
        let fields = field("key", "form") + &field("x-ignore-a", &"${filename}".repeat(places));
        format!(
            "{fields}--X\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\nhere\r\n--X--\r\n"
        )
    };
    let post = |body: String| {
        Request::new("POST", "/bucket")
            .signed_by(None)
            .header("content-type", "multipart/form-data; boundary=X")
            .body(body)
    };
    let before = server.peak_bytes();
    for _ in 0..20 {
        let answer = server.client().call(&post(form(900, &"f".repeat(9000))));
        answer.expect_error(400, "MaxPostPreDataLengthExceededError");
    }
    let grown = server.peak_bytes() - before;
    assert!(grown < 8 * MIB, "{} MiB", grown / MIB);
    root.call(&post(form(900, "short"))).expect(204);
    assert_eq!(root.get("/bucket/form").expect(200).body, b"here");
    server.stop();
}
