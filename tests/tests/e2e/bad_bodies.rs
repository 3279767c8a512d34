//! Bodies that are not what their head says: documents, chunk framing, lengths, digests.

use std::io::Write;
use std::net::Shutdown;

use ringfort_tests::harness::client::{Client, Request, Signing, connect, receive};
use ringfort_tests::harness::{ACCESS_KEY, Server, Site};

fn with_bucket(site: &Site) -> Server<'_> {
    let server = site.start();
    server.client().put("/bucket", "").expect(200);
    server
}

fn is_empty(server: &Server<'_>) {
    let page = server.client().get("/bucket?list-type=2").expect(200);
    assert!(!page.text().contains("<Contents>"), "{}", page.text());
}

#[test]
fn documents_that_are_not_what_was_asked_for_are_refused() {
    let site = Site::new();
    let server = with_bucket(&site);
    let mut client = server.client();
    let upload = client.post("/bucket/k?uploads=", "").expect(200).element("UploadId").unwrap();
    let part = client.put(&format!("/bucket/k?partNumber=1&uploadId={upload}"), "part").expect(200);
    let etag = part.header("etag").unwrap().to_owned();
    let deep = "<a>".repeat(50_000);
    let entity = "<!DOCTYPE a [<!ENTITY b \"cccccccccc\"><!ENTITY d \"&b;&b;&b;&b;\">]>\
                  <Delete><Object><Key>&d;</Key></Object></Delete>";
    let external = "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]>\
                    <Delete><Object><Key>&b;</Key></Object></Delete>";
    let documents = [
        "",
        "nonsense",
        "<",
        "<Delete>",
        "<Delete></Other>",
        "<Other/>",
        "<Delete/>",
        "<CompleteMultipartUpload/>",
        "<Delete><Object/></Delete>",
        "<Delete><Object><Key>a</Key></Object></Delete>trailing<b/>",
        "<Delete><Object><Key>&undefined;</Key></Object></Delete>",
        "<Delete><Object><Key>&#xFFFFFFFF;</Key></Object></Delete>",
        "\u{feff}\u{feff}<Delete/>",
        entity,
        external,
        &deep,
    ];
    for document in documents {
        let short: String = document.chars().take(70).collect();
        for target in ["/bucket?delete=".to_owned(), format!("/bucket/k?uploadId={upload}")] {
            let answer = client.post(&target, document);
            let is_refused = answer.status == 400 && !answer.code().is_empty();
            assert!(is_refused, "{target} {short:?}: {} {}", answer.status, answer.text());
            assert!(!answer.text().contains("root:"), "an external entity was read");
        }
    }
    let mut bytes = b"<Delete><Object><Key>".to_vec();
    bytes.extend_from_slice(&[0xff, 0xfe, 0xc0]);
    bytes.extend_from_slice(b"</Key></Object></Delete>");
    client.post("/bucket?delete=", bytes).expect_error(400, "MalformedXML");
    let huge = format!("<Delete>{}</Delete>", " ".repeat(9 << 20));
    let answer = server.client().send(&Request::new("POST", "/bucket?delete=").body(huge));
    assert!(matches!(answer.map(|answer| answer.status), Ok(400 | 413)), "a huge document");
    part_lists(&mut server.client(), &upload, &etag);
    is_empty(&server);
    server.stop();
}

fn part_lists(client: &mut Client, upload: &str, etag: &str) {
    let part = |number: &str, etag: &str| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>")
    };
    let too_many: String = (1..=10_001).map(|number| part(&number.to_string(), etag)).collect();
    let lists = [
        (part("x", etag), "MalformedXML"),
        (part("-1", etag), "MalformedXML"),
        (part("99999999999999999999", etag), "MalformedXML"),
        (part("1", etag) + &part("1", etag), "InvalidPartOrder"),
        (part("2", etag) + &part("1", etag), "InvalidPartOrder"),
        (part("1", "\"00000000000000000000000000000000\""), "InvalidPart"),
        (part("2", etag), "InvalidPart"),
        ("<Part><PartNumber>1</PartNumber></Part>".to_owned(), "MalformedXML"),
        ("<Part><ETag>x</ETag></Part>".to_owned(), "MalformedXML"),
    ];
    for (list, code) in lists {
        let body = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
        let answer = client.post(&format!("/bucket/k?uploadId={upload}"), body);
        assert_eq!((answer.status, answer.code().as_str()), (400, code), "{list}");
    }
    let body = format!("<CompleteMultipartUpload>{too_many}</CompleteMultipartUpload>");
    let answer = client.post(&format!("/bucket/k?uploadId={upload}"), body);
    assert_eq!(answer.status, 400, "{}", answer.text());
}

#[test]
fn wrong_digests_store_nothing() {
    let site = Site::new();
    let server = with_bucket(&site);
    let mut client = server.client();
    for size in [10, 300_000] {
        let put = || Request::new("PUT", "/bucket/k").body(vec![7; size]);
        let wrong_hash = put().payload_hash(loadgen::sign::EMPTY_SHA256);
        client.call(&wrong_hash).expect_error(400, "XAmzContentSHA256Mismatch");
        let wrong_md5 = put().header("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==");
        client.call(&wrong_md5).expect_error(400, "BadDigest");
        client.call(&put().header("content-md5", "x")).expect_error(400, "InvalidDigest");
        let wrong_crc = put().header("x-amz-checksum-crc32", "AAAAAA==");
        client.call(&wrong_crc).expect_error(400, "BadDigest");
        let two = put()
            .header("x-amz-checksum-crc32", "AAAAAA==")
            .header("x-amz-checksum-crc32c", "AAAAAA==");
        client.call(&two).expect_error(400, "InvalidRequest");
    }
    is_empty(&server);
    server.stop();
}

/// A body in unsigned `aws-chunked` framing with a trailer, as SDKs send it.
fn chunked(body: &[u8], decoded: &str) -> Request {
    Request::new("PUT", "/bucket/k")
        .payload_hash("STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        .header("content-encoding", "aws-chunked")
        .header("x-amz-decoded-content-length", decoded)
        .header("x-amz-trailer", "x-amz-checksum-crc32")
        .body(body)
}

#[test]
fn chunk_framing_that_is_wrong_is_refused() {
    let site = Site::new();
    let server = with_bucket(&site);
    // CRC32 of "hello world".
    let good = b"b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n";
    server.client().call(&chunked(good, "11")).expect(200);
    server.client().delete("/bucket/k").expect(204);
    let cases: [(&[u8], &str); 16] = [
        (b"", "11"),
        (b"b\r\nhello world\r\n", "11"),
        (b"b\r\nhello world\r\n0\r\n", "11"),
        (b"b\r\nhello world\r\n0\r\n\r\n", "11"),
        (b"b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", "11"),
        (b"b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n", "12"),
        (b"b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n", "10"),
        (b"b\r\nhello world\r\n0\r\nx-amz-checksum-sha1:DUoRhQ==\r\n\r\n", "11"),
        (b"b\r\nhello world\r\n0\r\nno colon\r\n\r\n", "11"),
        (b"b\r\nhello worldxx0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n", "11"),
        (b"c\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n", "11"),
        (b"g\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n", "11"),
        (b"-b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n", "11"),
        (b"ffffffffffffffffff\r\nhello world\r\n0\r\n\r\n", "11"),
        (b"b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\nmore", "11"),
        (b"b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n", "x"),
    ];
    for (body, decoded) in cases {
        let short = String::from_utf8_lossy(body).into_owned();
        let answer = server.client().call(&chunked(body, decoded));
        let is_refused = answer.status == 400 && !answer.code().is_empty();
        assert!(is_refused, "{short:?} as {decoded}: {} {}", answer.status, answer.text());
    }
    let long = [&b"b;"[..], &vec![b'x'; 100_000], b"\r\nhello world\r\n0\r\n\r\n"].concat();
    let answer = server.client().call(&chunked(&long, "11"));
    assert_eq!(answer.status, 400, "{}", answer.text());
    is_empty(&server);
    server.stop();
}

#[test]
fn http_chunks_that_are_wrong_are_refused() {
    let site = Site::new();
    let server = with_bucket(&site);
    let bodies: [&[u8]; 6] = [
        b"x\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3;ext\r\nabc0\r\n\r\n",
        b"ffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
        b"-3\r\nabc\r\n0\r\n\r\n",
        b"3\r\nab",
    ];
    for body in bodies {
        let request = Request::new("PUT", "/bucket/k");
        let head = String::from_utf8(request.head(&server.listen.to_string())).unwrap();
        let head = head.replacen("\r\n\r\n", "\r\ntransfer-encoding: chunked\r\n\r\n", 1);
        let mut stream = connect(server.listen).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let _ = stream.write_all(body);
        let _ = stream.shutdown(Shutdown::Write);
        let answer = receive(&mut std::io::BufReader::new(stream), false);
        let is_refused = answer.as_ref().is_ok_and(|answer| (400..500).contains(&answer.status));
        assert!(is_refused || answer.is_err(), "{:?}: {answer:?}", String::from_utf8_lossy(body));
    }
    is_empty(&server);
    server.stop();
}

#[test]
fn a_body_that_ends_early_stores_nothing_and_one_too_long_is_cut() {
    let site = Site::new();
    let server = with_bucket(&site);
    for (sent, said) in [(0, 1), (100, 101), (70_000, 100_000), (300_000, 3 << 20)] {
        let request = Request::new("PUT", "/bucket/k").body(vec![1; sent]).length(said);
        let mut stream = connect(server.listen).unwrap();
        stream.write_all(&request.head(&server.listen.to_string())).unwrap();
        stream.write_all(&request.body).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let answer = receive(&mut std::io::BufReader::new(stream), false);
        let is_refused = answer.as_ref().is_ok_and(|answer| answer.status == 400);
        assert!(is_refused || answer.is_err(), "{sent} of {said}: {answer:?}");
    }
    is_empty(&server);
    // What follows the announced length is the next request, and not one.
    let request = Request::new("PUT", "/bucket/k").body("0123456789").length(4);
    let mut bytes = request.head(&server.listen.to_string());
    bytes.extend_from_slice(&request.body);
    let mut stream = connect(server.listen).unwrap();
    stream.write_all(&bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut stream = std::io::BufReader::new(stream);
    receive(&mut stream, false).unwrap().expect(200);
    if let Ok(answer) = receive(&mut stream, false) {
        answer.expect(400);
    }
    assert_eq!(server.client().get("/bucket/k").expect(200).body, b"0123");
    server.stop();
}

#[test]
fn a_refused_upload_is_refused_before_its_body() {
    let site = Site::new();
    let server = with_bucket(&site);
    server.client().put("/bucket/k", "there").expect(200);
    let forged = Some(Signing::new(ACCESS_KEY, "another secret"));
    let cases = [
        (Request::new("PUT", "/bucket/other").signed_by(forged), Some(403)),
        (Request::new("PUT", "/bucket/other").signed_by(None), Some(403)),
        (Request::new("PUT", "/none/k"), Some(404)),
        (Request::new("PUT", "/bucket/k").header("if-none-match", "*"), Some(412)),
        (Request::new("PUT", "/bucket/k").header("if-match", "\"no\""), Some(412)),
        (Request::new("PUT", "/bucket/big").length(6 << 30), Some(400)),
        // Nothing is against it: the body may come.
        (Request::new("PUT", "/bucket/other"), None),
    ];
    for (request, status) in cases {
        let length = request.content_length.unwrap_or(1 << 30);
        let request = request.header("expect", "100-continue").length(length);
        let mut stream = connect(server.listen).unwrap();
        stream.write_all(&request.head(&server.listen.to_string())).unwrap();
        // No byte of the body: the final answer must come without it, and without a `100` before.
        let mut first = String::new();
        let mut stream = std::io::BufReader::new(stream);
        std::io::BufRead::read_line(&mut stream, &mut first).unwrap();
        let expected =
            status.map_or("HTTP/1.1 100 ".to_owned(), |code| format!("HTTP/1.1 {code} "));
        assert!(first.starts_with(&expected), "{first}, not {expected}");
    }
    server.client().delete("/bucket/k").expect(204);
    is_empty(&server);
    server.stop();
}
