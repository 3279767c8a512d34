//! Names that mean another place to somebody: dots, slashes, NUL, bytes that are no UTF-8, hosts. A key is the
//! bytes that it decodes to, no policy is evaded by another spelling, and no file is reached by any.

use std::collections::{BTreeMap, BTreeSet};

use super::{answers, talk};
use ringfort_tests::harness::client::{Client, Request, canonical};
use ringfort_tests::harness::{Server, Site, tree};

/// Everybody may read all but what is below `private/`.
const POLICY: &str = r#"{"Statement":[
{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::bucket/*"},
{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::bucket/private/*"}]}"#;

fn with_secret(server: &Server<'_>) -> Client {
    let mut root = server.client();
    for bucket in ["/bucket", "/other"] {
        root.put(bucket, "").expect(200);
    }
    root.put("/bucket/private/secret", "the secret").expect(200);
    root.put("/bucket/public", "open").expect(200);
    root.put("/other/private/secret", "the secret").expect(200);
    root.put("/bucket?policy=", POLICY).expect(204);
    root
}

/// The first answer to a raw target, by status and body.
fn get(server: &Server<'_>, target: &[u8], host: &str) -> (u16, String) {
    let host = format!(" HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let said = talk(server.listen, &[b"GET ", target, host.as_bytes()].concat());
    let (status, body) = answers(&said).swap_remove(0);
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[test]
fn no_spelling_of_a_path_evades_a_policy_or_leaves_the_bucket() {
    let site = Site::new().flags(&["--domain", "s3.test"]);
    let server = site.start();
    let mut root = with_secret(&server);
    // It is not the policy's spelling alone that is refused.
    assert_eq!(get(&server, b"/bucket/public", "a"), (200, "open".to_owned()));
    assert_eq!(get(&server, b"/public", "bucket.s3.test"), (200, "open".to_owned()));
    let parts: [&[&str]; 3] = [
        &[
            "private",
            "%70rivate",
            "priv%61te",
            "%70%72%69%76%61%74%65",
            "PRIVATE",
            "Private",
            "private%00",
            "private.",
            "private%20",
            "privat\u{435}",
        ],
        &[
            "/",
            "%2F",
            "%2f",
            "//",
            "/./",
            "/../private/",
            "%2F%2F",
            "\\",
            "%5C",
            "%255C",
            "%252F",
            "%c0%af",
            "%u002f",
            "/%2e/",
            ";/",
            "/%2e%2e/private/",
            "/x/../",
        ],
        &[
            "secret",
            "s%65cret",
            "secret%00",
            "secret/",
            "secret?",
            "secret?versionId=null",
            "secret#",
            "secret;a",
            "secret%23",
            "secret?x-id=GetObject",
            "secret%0d%0a",
        ],
    ];
    let (mut count, mut read) = (0, Vec::new());
    let mut try_one = |target: String| {
        let (status, body) = get(&server, target.as_bytes(), "a");
        count += 1;
        if body.contains("the secret") || !matches!(status, 400 | 403 | 404) {
            read.push(format!("{target}: {status}"));
        }
    };
    for one in parts[0] {
        for two in parts[1] {
            parts[2].iter().for_each(|three| try_one(["/bucket/", one, two, three].concat()));
        }
    }
    for before in [
        "/%62ucket/",
        "//bucket/",
        "/bucket//",
        "/./bucket/",
        "/other/../bucket/",
        "/bucket/x/../",
        "/bucket%2F",
        "/bucket/%2e/",
        "http://a/bucket/",
        "/BUCKET/",
        "/bucket/..;/bucket/",
    ] {
        parts[0].iter().for_each(|one| try_one([before, one, "/secret"].concat()));
        parts[1].iter().for_each(|two| try_one([before, "private", two, "secret"].concat()));
        parts[2].iter().for_each(|three| try_one([before, "private/", three].concat()));
    }
    assert!(read.is_empty(), "of {count}:\n{}", read.join("\n"));
    for host in [
        "bucket.s3.test",
        "BUCKET.S3.TEST",
        "bucket.s3.test.",
        "bucket.s3.test:80",
        "bucket.S3.test.:80",
    ] {
        for target in [
            "/private/secret",
            "/%70rivate/secret",
            "/private%2Fsecret",
            "/x/../private/secret",
            "//private/secret",
        ] {
            let (status, body) = get(&server, target.as_bytes(), host);
            assert!(
                matches!(status, 403 | 404) && !body.contains("the secret"),
                "{host} {target}: {status} {body}"
            );
        }
    }
    root.delete("/bucket?policy=").expect(204);
    assert_eq!(root.get("/bucket/private/secret").expect(200).body, b"the secret");
    server.stop();
}

#[test]
fn bytes_that_are_no_text_name_nothing() {
    let site = Site::new();
    let server = site.start();
    let mut root = with_secret(&server);
    for (target, status) in [
        (&b"/bucket/%"[..], 400),
        (b"/bucket/%4", 400),
        (b"/bucket/%zz", 400),
        (b"/bucket/%+1", 400),
        (b"/bucket/%-1", 400),
        (b"/bucket/%u0041", 400),
        (b"/bucket/%FF", 400),
        (b"/bucket/%C0%AF", 400),
        (b"/bucket/%E0%80%AF", 400),
        (b"/bucket/%F0%80%80%AF", 400),
        (b"/bucket/%C0%80", 400),
        (b"/bucket/%ED%A0%80", 400),
        (b"/bucket/%F4%90%80%80", 400),
        (b"/bucket/%C3", 400),
        (b"/bucket/%C3%", 400),
        (b"/bucket/\xff", 400),
        (b"/bucket/\xc0\xaf", 400),
        (b"/bucket/\xe0\x80\xaf", 400),
        (b"/%FF/key", 400),
        (b"/%00/key", 404),
        (b"/bucket?prefix=%FF&list-type=2", 400),
        (b"/bucket?%FF=x", 400),
        (b"/bucket?prefix=%&list-type=2", 400),
        (b"/..", 404),
        (b"/.", 404),
        (b"/../../etc/passwd", 404),
        (b"/%2e%2e/etc/passwd", 404),
        (b"/..%2f..%2fetc%2fpasswd", 404),
        (b"/bucket%00/public", 404),
        (b"/bucket%0d%0a/public", 404),
        (b"/bucket./public", 404),
        (b"/bucket /public", 400),
        (b"/bucket%20/public", 404),
        (b"/.system/key", 404),
        (b"/%2e/public", 404),
        (b"/-/live/..", 404),
        (b"/-/ready%00", 404),
    ] {
        let (found, body) = get(&server, target, "a");
        // A name that no bucket can have is wrong before it is missing.
        let is_refused = found == status || (found == 400 && body.contains("InvalidBucketName"));
        assert!(is_refused, "{}: {found} {body}", String::from_utf8_lossy(target));
    }
    for name in [
        "..",
        ".",
        "a",
        "%2e%2e",
        "..%2f..%2fx",
        "%00%00%00",
        "con%00",
        "A.B",
        "xn--a",
        "192.168.0.1",
        "a..b",
        "-ab",
        "%C3%A9t%C3%A9",
        "bucket%2Fx",
    ] {
        let answer = root.call(&Request::uncanonical("PUT", &format!("/{name}")).body(""));
        assert!(
            matches!(answer.status, 400 | 404 | 405 | 409),
            "{name}: {} {}",
            answer.status,
            answer.text()
        );
    }
    let names = root.get("/").expect(200).text();
    assert_eq!(names.matches("<Bucket>").count(), 2, "{names}");
    server.stop();
}

/// Keys that filesystems, browsers or Unicode take for the same are different; none becomes a file's name.
#[test]
fn keys_are_the_bytes_that_they_decode_to() {
    let site = Site::new();
    let server = site.start();
    let mut root = with_secret(&server);
    let keys = [
        "..",
        ".",
        "../x",
        "../../x",
        "a/../x",
        "a/./x",
        "a/x",
        "a//x",
        "/a/x",
        "//a/x",
        "a/x/",
        "a\\x",
        "..\\x",
        "%2e%2e/x",
        "%2F",
        "/",
        "//",
        "x%00",
        "x%00y",
        "%01",
        "%0A",
        "%0D%0A",
        "%20",
        "%20%20",
        "x%20",
        "x.",
        "x",
        "X",
        "%C3%A9",
        "e%CC%81",
        "%EF%BC%8F",
        "%E2%81%84",
        "%2525",
        "%25",
        "con",
        "nul.txt",
        "~",
        "$HOME",
        "%60id%60",
        "%3Cscript%3E",
        "C:/x",
        "etc/passwd",
        "%EF%BB%BFx",
        "%E2%80%AE",
        "%F0%9F%A6%80",
        "-rf",
        "*",
        "%3F",
        "%E2%84%AB",
        "%C3%85",
        "A%CC%8A",
        "%C4%B0",
        "i",
        "I",
        "%EF%AC%80",
        "ff",
        "%CE%A9",
        "%E2%84%A6",
    ];
    let before = root.get("/bucket?list-type=2").expect(200).text().matches("<Key>").count();
    for key in keys {
        // Sent as it stands, so that `.` and `..` reach the server.
        let put = Request::uncanonical("PUT", &format!("/bucket/{key}")).body(key);
        root.call(&put).expect(200);
    }
    // Those that decode to the same are one, whose bytes are what was written last.
    let last: BTreeMap<String, &str> =
        keys.iter().map(|key| (canonical(key, b"-._~/"), *key)).collect();
    assert!(last.len() > 50);
    for key in keys {
        let answer = root.call(&Request::uncanonical("GET", &format!("/bucket/{key}"))).expect(200);
        assert_eq!(answer.text(), last[&canonical(key, b"-._~/")], "{key}");
    }
    let listed = root.get("/bucket?encoding-type=url&list-type=2").expect(200).text();
    assert_eq!(listed.matches("<Key>").count(), before + last.len(), "{listed}");
    // A copy source is a path as well.
    for (source, status) in [
        ("/bucket/public", 200),
        ("bucket/public", 200),
        ("/bucket/x/../public", 404),
        ("/other/../bucket/public", 404),
        ("/bucket/..%2Fpublic", 404),
        ("/bucket/%", 400),
        ("/bucket/%FF", 400),
        ("//bucket/public", 400),
        ("/../bucket/public", 404),
        ("/bucket/public%00", 404),
        ("/bucket", 400),
        ("", 400),
        ("/bucket/public?versionId=../../x", 400),
        ("http://a/bucket/public", 404),
    ] {
        let copy =
            Request::new("PUT", "/bucket/copied").body("").header("x-amz-copy-source", source);
        let answer = root.call(&copy);
        let is_refused = status != 200 && (400..500).contains(&answer.status);
        assert!(
            answer.status == status || is_refused,
            "{source}: {} {}",
            answer.status,
            answer.text()
        );
    }
    // Of the keys nothing is a name on the disk.
    let files: BTreeSet<String> =
        tree::files(&site.data_dir()).iter().map(|file| format!("{file:?}")).collect();
    for file in &files {
        for part in ["passwd", "secret", "con", "nul", "copied", "HOME"] {
            assert!(!file.to_lowercase().contains(part) || file.contains("conf"), "{file}");
        }
    }
    server.stop();
}

/// What load balancers ask for is a key like any other under a bucket's own host name.
#[test]
fn a_buckets_host_name_has_no_health() {
    let site = Site::new().flags(&["--domain", "s3.test", "--website-domain", "web.test"]);
    let server = site.start();
    let mut root = with_secret(&server);
    for key in ["/-/live", "/-/ready"] {
        let head = |host: &str| get(&server, key.as_bytes(), host);
        assert_eq!(head("s3.test"), (200, String::new()));
        assert_eq!(head("127.0.0.1"), (200, String::new()));
        assert_eq!(head("bucket.s3.test").0, 403);
        assert_eq!(head("bucket.web.test").0, 404);
        root.put(&format!("/bucket{key}"), "an object").expect(200);
        assert_eq!(head("bucket.s3.test"), (200, "an object".to_owned()));
    }
    server.stop();
}

#[test]
fn a_host_names_one_bucket_or_is_refused() {
    let site = Site::new().flags(&["--domain", "s3.test", "--website-domain", "web.test"]);
    let server = site.start();
    let _root = with_secret(&server);
    for (hosts, status) in [
        ("Host: bucket.s3.test", 200),
        ("Host: Bucket.S3.Test", 200),
        ("Host: bucket.s3.test.", 200),
        ("Host: bucket.s3.test:9000", 200),
        ("Host: u@bucket.s3.test", 400),
        ("Host: bucket.s3.test\r\nHost: other.s3.test", 400),
        ("Host: bucket.s3.test, other.s3.test", 400),
        ("Host: bucket.s3.test/x", 400),
        ("Host: bucket.s3.test\r\n other", 400),
        ("Host: .s3.test", 404),
        ("Host: ..s3.test", 404),
        ("Host: x.bucket.s3.test", 404),
        ("Host: bucket%2es3.test", 404),
        ("Host: bucket.s3.testx", 404),
        ("Host: bucket.s3.test:", 200),
        ("Host: bucket.s3.test:80:80", 404),
        ("Host: [bucket.s3.test]", 404),
        ("Host: s3.test", 404),
        ("Host: bucket.s3.test:x", 404),
        ("Host: bucket.s3.test\r\nX-Forwarded-Host: other.s3.test\r\nX-Host: other", 200),
        ("Host: ../bucket.s3.test", 400),
    ] {
        let bytes = format!("GET /public HTTP/1.1\r\n{hosts}\r\nConnection: close\r\n\r\n");
        let answers = answers(&talk(server.listen, bytes.as_bytes()));
        let (found, body) = (answers[0].0, String::from_utf8_lossy(&answers[0].1));
        let is_refused = found == status || (found == 400 && body.contains("InvalidBucketName"));
        assert!(is_refused, "{hosts}: {found} {body}");
        assert!(status == 200 || !answers[0].1.starts_with(b"open"), "{hosts}");
    }
    server.stop();
}

#[test]
fn the_management_port_gives_out_nothing_but_its_own_files() {
    let site = Site::new();
    let server = site.start();
    let root = with_secret(&server);
    drop(root);
    let mut count = 0;
    for before in [
        "",
        "/console",
        "/console/",
        "/console/s3",
        "/console/view",
        "/api/v1",
        "/api/v1/",
        "/api/v1/buckets",
        "/health",
        "/metrics",
        "/console/session",
    ] {
        for path in [
            "/../../../../../../etc/passwd",
            "/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
            "/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
            "/....//....//etc/passwd",
            "/..\\..\\..\\etc\\passwd",
            "/..%5c..%5cetc%5cpasswd",
            "//etc/passwd",
            "/etc/passwd",
            "/%2fetc%2fpasswd",
            "/index.html%00.png",
            "/index.html/..",
            "/..%00/",
            "/%c0%ae%c0%ae/%c0%ae%c0%ae/etc/passwd",
            "/%252e%252e/%252e%252e/etc/passwd",
            "/..;/..;/etc/passwd",
            "/../api/v1/stats",
            "/./api/v1/stats",
            "/%2e%2e/api/v1/stats",
            "/../bucket/private/secret",
            "/bucket/private/secret",
            "/bucket%2Fprivate%2Fsecret",
            "/file:///etc/passwd",
            "/proc/self/environ",
        ] {
            let target = [before, path].concat();
            let bytes = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let said = talk(server.admin_listen, bytes.as_bytes());
            let (status, body) = answers(&said).swap_remove(0);
            let body = String::from_utf8_lossy(&body);
            count += 1;
            assert!(matches!(status, 400 | 401 | 403 | 404), "{target}: {status} {body}");
            for secret in ["root:", "the secret", "test-key", "RINGFORT_"] {
                assert!(!body.contains(secret), "{target}: {body}");
            }
        }
    }
    assert!(count > 200);
    server.stop();
}
