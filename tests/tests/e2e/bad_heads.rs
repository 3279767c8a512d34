//! Heads that no client should send: each gets its error, changes nothing, and leaves the server well.

use std::time::Duration;

use ringfort_tests::harness::client::{Client, Request, say};
use ringfort_tests::harness::{Server, Site};

/// What came back for bytes on a connection of their own.
fn status(server: &Server<'_>, bytes: &[u8]) -> Option<u16> {
    let answer = say(server.listen, bytes, Duration::from_secs(20)).unwrap();
    let text = String::from_utf8_lossy(&answer);
    let code = text.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    assert!(text.contains("\r\n\r\n"), "half an answer: {text}");
    Some(code)
}

/// Nothing but the object that was there before.
fn is_unharmed(server: &Server<'_>) {
    let mut client = server.client();
    assert_eq!(client.get("/bucket/here").expect(200).body, b"here");
    let page = client.get("/bucket?list-type=2").expect(200);
    assert_eq!(page.text().matches("<Contents>").count(), 1, "{}", page.text());
    let uploads = client.get("/bucket?uploads=").expect(200);
    assert!(!uploads.text().contains("<Upload>"), "{}", uploads.text());
}

fn with_object(site: &Site) -> Server<'_> {
    let server = site.start();
    server.client().put("/bucket", "").expect(200);
    server.client().put("/bucket/here", "here").expect(200);
    server
}

#[test]
fn heads_that_are_not_http_are_refused() {
    let site = Site::new();
    let server = with_object(&site);
    let long = "x".repeat(100_000);
    let many: String = (0..2000).map(|number| format!("h{number}: v\r\n")).collect();
    let heads = [
        "\0\0\0\0\r\n\r\n".to_owned(),
        "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "GET /\r\n\r\n".to_owned(),
        "GET / HTTP/1.1 more\r\n\r\n".to_owned(),
        "GET / HTTP/2.0\r\nhost: a\r\n\r\n".to_owned(),
        "GET / HTTP/0.9\r\nhost: a\r\n\r\n".to_owned(),
        "G ET / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "GET  / HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "GET /\x07 HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "GET no-slash HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: a\r\n: no name\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: a\r\nspace : v\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: a\r\nx: a\r\n folded\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n".to_owned(),
        "PUT /bucket/k HTTP/1.1\r\nhost: a\r\ncontent-length: x\r\n\r\n".to_owned(),
        "PUT /bucket/k HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n".to_owned(),
        "PUT /bucket/k HTTP/1.1\r\nhost: a\r\ncontent-length: +1\r\n\r\n".to_owned(),
        "PUT /bucket/k HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"
            .to_owned(),
        "PUT /bucket/k HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\n"
            .to_owned(),
        "PUT /bucket/k HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_owned(),
        "PUT /bucket/k HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n".to_owned(),
        format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: a\r\nx: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n"),
    ];
    for head in heads {
        let short: String = head.chars().take(90).collect();
        let status = status(&server, head.as_bytes());
        // TLS and the like may be cut off without an answer.
        let is_refused = status.is_none_or(|status| (400..=505).contains(&status));
        assert!(is_refused, "{short:?}: {status:?}");
        assert_ne!(status, Some(500), "{short:?}");
    }
    is_unharmed(&server);
    server.stop();
}

#[test]
fn an_unfinished_head_is_no_request() {
    let site = Site::new();
    let server = with_object(&site);
    let head = Request::new("PUT", "/bucket/k").body("x").head(&server.listen.to_string());
    for end in [0, 1, 10, head.len() / 2, head.len() - 1] {
        let answer = status(&server, &head[..end]);
        assert!(answer.is_none_or(|status| status == 400), "after {end} bytes: {answer:?}");
    }
    is_unharmed(&server);
    server.stop();
}

/// A signed head that is changed after it was signed.
fn tampered(server: &Server<'_>, request: &Request, from: &str, to: &str) -> (u16, String) {
    let head = String::from_utf8(request.head(&server.listen.to_string())).unwrap();
    assert!(head.contains(from), "{from} is not in {head}");
    let mut bytes = head.replacen(from, to, 1).into_bytes();
    bytes.extend_from_slice(&request.body);
    let answer = Client::new(server.listen).exchange(&bytes, false).unwrap();
    (answer.status, answer.code())
}

#[test]
fn what_was_not_signed_so_is_refused() {
    let site = Site::new();
    let server = with_object(&site);
    let put =
        Request::new("PUT", "/bucket/k?x-id=PutObject").body("body").header("x-amz-meta-a", "1");
    let cases = [
        ("PUT /", "GET /", 403, "SignatureDoesNotMatch"),
        ("/bucket/k", "/bucket/other", 403, "SignatureDoesNotMatch"),
        ("x-id=PutObject", "x-id=Other", 403, "SignatureDoesNotMatch"),
        ("x-amz-meta-a: 1", "x-amz-meta-a: 2", 403, "SignatureDoesNotMatch"),
        ("x-amz-meta-a: 1", "x-amz-meta-a: 1\r\nx-amz-meta-b: 2", 403, "AccessDenied"),
        ("Signature=", "Signature=0", 403, "SignatureDoesNotMatch"),
        ("Signature=", "Signature=\u{fc}", 403, "SignatureDoesNotMatch"),
        ("authorization: ", "x-other: ", 403, "AccessDenied"),
        ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA512 ", 400, "InvalidArgument"),
        ("AWS4-HMAC-SHA256 ", "", 400, "InvalidArgument"),
        ("AWS4-HMAC-SHA256 ", "AWS nobody:", 400, "InvalidRequest"),
        ("Credential=", "Other=", 400, "AuthorizationHeaderMalformed"),
        ("/us-east-1/", "/eu-west-1/", 400, "AuthorizationHeaderMalformed"),
        ("/s3/", "/ec2/", 400, "AuthorizationHeaderMalformed"),
        ("/aws4_request", "/aws5_request", 400, "AuthorizationHeaderMalformed"),
        ("SignedHeaders=host;", "SignedHeaders=", 403, "AccessDenied"),
        ("Credential=RING", "Credential=KING", 403, "InvalidAccessKeyId"),
        ("x-amz-date: 20", "x-amz-date: 19", 400, "AuthorizationHeaderMalformed"),
        ("x-amz-date: ", "x-amz-date: x", 403, "AccessDenied"),
        ("UNSIGNED-PAYLOAD", "STREAMING-NONSENSE", 403, "SignatureDoesNotMatch"),
    ];
    let mut wrong = Vec::new();
    for (from, to, status, code) in cases {
        let found = tampered(&server, &put, from, to);
        if found != (status, code.to_owned()) {
            wrong.push(format!("{from:?} to {to:?}: {found:?}, expected {status} {code}"));
        }
        assert!((400..500).contains(&found.0), "{from:?} to {to:?}: {found:?}");
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    is_unharmed(&server);
    server.stop();
}

#[test]
fn presigned_queries_that_are_wrong_are_refused() {
    let site = Site::new();
    let server = with_object(&site);
    let queries = [
        "X-Amz-Signature=00",
        "X-Amz-Algorithm=AWS4-HMAC-SHA256",
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a&X-Amz-Date=b&X-Amz-Expires=c\
         &X-Amz-Signature=d&X-Amz-SignedHeaders=e",
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=RINGFORTTESTACCESSKEY%2F20260101%2F\
         us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20260101T000000Z&X-Amz-Expires=999999999\
         &X-Amz-Signature=00&X-Amz-SignedHeaders=host",
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=RINGFORTTESTACCESSKEY%2F20200101%2F\
         us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20200101T000000Z&X-Amz-Expires=60\
         &X-Amz-Signature=00&X-Amz-SignedHeaders=host",
        "AWSAccessKeyId=a&Signature=b&Expires=99999999999",
    ];
    for query in queries {
        let head = format!("GET /bucket/here?{query} HTTP/1.1\r\nhost: {}\r\n\r\n", server.listen);
        let answer = server.client().exchange(head.as_bytes(), false).unwrap();
        assert!(matches!(answer.status, 400 | 403), "{query}: {answer:?}");
        assert!(!answer.code().is_empty(), "{query}: {answer:?}");
    }
    is_unharmed(&server);
    server.stop();
}

#[test]
fn keys_ranges_and_parameters_that_are_wrong_are_refused() {
    let site = Site::new();
    let server = with_object(&site);
    let mut client = server.client();
    let long = "k".repeat(1025);
    let cases = [
        ("PUT", format!("/bucket/{long}"), "KeyTooLongError"),
        ("PUT", "/bucket/%FF%FE".to_owned(), "InvalidURI"),
        ("PUT", "/Bucket/k".to_owned(), "InvalidBucketName"),
        ("PUT", "/bucket/k?partNumber=1&uploadId=%00".to_owned(), "NoSuchUpload"),
        ("PUT", "/bucket/k?partNumber=x&uploadId=1".to_owned(), "InvalidArgument"),
        ("PUT", "/bucket/k?partNumber=10001&uploadId=1".to_owned(), "InvalidArgument"),
        (
            "PUT",
            "/bucket/k?partNumber=99999999999999999999&uploadId=1".to_owned(),
            "InvalidArgument",
        ),
        ("GET", "/bucket/here?partNumber=0".to_owned(), "InvalidArgument"),
        ("GET", "/bucket?list-type=2&max-keys=x".to_owned(), "InvalidArgument"),
        ("GET", "/bucket?list-type=3".to_owned(), "InvalidArgument"),
        ("GET", "/bucket?continuation-token=%00&list-type=2".to_owned(), "InvalidArgument"),
        ("GET", "/bucket?max-uploads=x&uploads=".to_owned(), "InvalidArgument"),
        ("GET", "/bucket/here?uploadId=nonsense".to_owned(), "NoSuchUpload"),
        ("DELETE", "/bucket/here?uploadId=nonsense".to_owned(), "NoSuchUpload"),
        ("PATCH", "/bucket/here".to_owned(), "MethodNotAllowed"),
        ("POST", "/bucket/here".to_owned(), "PreconditionFailed"),
        ("GET", "/bucket?inventory=".to_owned(), "NotImplemented"),
        ("PUT", "/bucket/here?torrent=".to_owned(), "NotImplemented"),
    ];
    let mut wrong = Vec::new();
    for (method, target, code) in cases {
        let answer = client.call(&Request::new(method, &target).body(""));
        if answer.code() != code {
            let short: String = target.chars().take(60).collect();
            wrong.push(format!(
                "{method} {short}: {} {}, not {code}",
                answer.status,
                answer.text()
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    for text in ["bytes=4-", "bytes=-0", "bytes=99999999999999999999-"] {
        let answer = client.call(&Request::new("GET", "/bucket/here").header("range", text));
        let answer = answer.expect_error(416, "InvalidRange");
        assert_eq!(answer.header("content-range"), Some("bytes */4"), "{text}");
    }
    for text in ["bytes", "bytes=", "bytes=x-y", "bytes=3-1", "bytes=0-0,2-2", "=1-2", "bytes=1"] {
        let answer = client.call(&Request::new("GET", "/bucket/here").header("range", text));
        assert_eq!(answer.expect(200).body, b"here", "{text}");
    }
    is_unharmed(&server);
    server.stop();
}
