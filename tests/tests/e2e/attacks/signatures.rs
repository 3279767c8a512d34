//! Signatures that were good once, elsewhere, or for something else: replayed, moved in time, stretched,
//! doubled, taken apart. Nothing that a signature did not cover has an effect.

use loadgen::sign::EMPTY_SHA256;
use ringfort_tests::harness::client::{Answer, Client, Request, Signing};
use ringfort_tests::harness::{ACCESS_KEY, REGION, SECRET_KEY, Server, Site};
use sha2::{Digest, Sha256};

const SKEW_SECONDS: i64 = 15 * 60;

fn with_object(server: &Server<'_>) -> Client {
    let mut root = server.client();
    root.put("/bucket", "").expect(200);
    root.put("/other", "").expect(200);
    root.put("/bucket/here", "here").expect(200);
    root
}

/// A signature covers the values of a header joined by commas, however many lines they came in.
#[test]
fn a_signed_header_is_not_split_into_two() {
    let site = Site::new();
    let server = site.start();
    let mut root = with_object(&server);
    root.put("/bucket/a", "what the first line names").expect(200);
    root.put("/bucket/a%2Cb", "what was signed").expect(200);
    let copy = Request::new("PUT", "/bucket/copy").header("x-amz-copy-source", "/bucket/a,b");
    send(&server, &copy.head(&server.listen.to_string())).expect(200);
    assert_eq!(root.get("/bucket/copy").expect(200).text(), "what was signed");
    let split = "/bucket/a\r\nX-Amz-Copy-Source: b";
    changed(&server, &copy, "/bucket/a,b", split, b"").expect_error(400, "InvalidArgument");
    assert_eq!(root.get("/bucket/copy").expect(200).text(), "what was signed");
    // What a policy is asked about is what is stored.
    let moved = Request::new("PUT", "/bucket/moved")
        .header("x-amz-website-redirect-location", "https://good.test,@evil.test/");
    let split = "https://good.test\r\nx-amz-website-redirect-location: @evil.test/";
    changed(&server, &moved, "https://good.test,@evil.test/", split, b"")
        .expect_error(400, "InvalidArgument");
    root.get("/bucket/moved").expect(404);
    let get = Request::new("GET", "/bucket/a");
    changed(&server, &get, "authorization: ", "authorization: x\r\nauthorization: ", b"")
        .expect_error(400, "InvalidArgument");
    changed(&server, &get, "\r\n\r\n", "\r\nAuthorization: AWS4-HMAC-SHA256 x\r\n\r\n", b"")
        .expect_error(400, "InvalidArgument");
    server.stop();
}

/// Sends bytes on a connection of their own.
fn send(server: &Server<'_>, bytes: &[u8]) -> Answer {
    Client::new(server.listen).exchange(bytes, false).unwrap()
}

/// A signed head, changed after it was signed, with a body behind it.
fn changed(server: &Server<'_>, request: &Request, from: &str, to: &str, body: &[u8]) -> Answer {
    let head = String::from_utf8(request.head(&server.listen.to_string())).unwrap();
    assert!(head.contains(from), "{from} is not in {head}");
    send(server, &[head.replacen(from, to, 1).as_bytes(), body].concat())
}

#[test]
fn a_request_that_comes_again_is_good_within_its_window_and_for_itself_alone() {
    let site = Site::new();
    let server = site.start();
    let mut root = with_object(&server);
    let put = Request::new("PUT", "/bucket/k")
        .body("body")
        .header("x-amz-meta-a", "1")
        .with_payload_hash();
    let host = server.listen.to_string();
    let bytes = [put.head(&host), put.body.clone()].concat();
    // The very same twice is the same request: S3 has no nonces, and says so.
    for _ in 0..2 {
        send(&server, &bytes).expect(200);
    }
    root.delete("/bucket/k").expect(204);
    // With other bytes, of the same length and of another.
    changed(&server, &put, "", "", b"BODY").expect_error(400, "XAmzContentSHA256Mismatch");
    changed(&server, &put, "content-length: 4", "content-length: 6", b"body!!")
        .expect_error(400, "XAmzContentSHA256Mismatch");
    changed(&server, &put, "content-length: 4", "content-length: 0", b"")
        .expect_error(400, "XAmzContentSHA256Mismatch");
    let hash = hex::encode(Sha256::digest(b"BODY"));
    let signed = hex::encode(Sha256::digest(b"body"));
    changed(&server, &put, &signed, &hash, b"BODY").expect_error(403, "SignatureDoesNotMatch");
    changed(&server, &put, &signed, "UNSIGNED-PAYLOAD", b"BODY")
        .expect_error(403, "SignatureDoesNotMatch");
    for word in [
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        EMPTY_SHA256,
        "",
    ] {
        let answer = changed(&server, &put, &signed, word, b"BODY");
        assert!(matches!(answer.status, 400 | 403), "{word}: {answer:?}");
    }
    // Headers that change what a request does were signed, or the request is refused.
    for line in [
        "x-amz-meta-b: 2",
        "X-AMZ-META-B: 2",
        "x-amz-acl: public-read",
        "x-amz-copy-source: /bucket/here",
        "x-amz-tagging: a=b",
        "x-amz-storage-class: STANDARD",
        "x-amz-server-side-encryption: AES256",
        "x-amz-object-lock-mode: GOVERNANCE",
        "x-amz-write-offset-bytes: 0",
        "x-amz-website-redirect-location: /x",
        "x-amz-decoded-content-length: 4",
        "x-amz-security-token: x",
        "x-amz-bypass-governance-retention: true",
        "x-amz-rename-source: /here",
        "x-amz-meta-a: 2",
        "x-amz-trailer: x-amz-checksum-crc32",
    ] {
        let answer =
            changed(&server, &put, "content-length", &format!("{line}\r\ncontent-length"), b"body");
        assert_eq!(answer.status, 403, "{line}: {}", answer.text());
        assert!(
            matches!(answer.code().as_str(), "AccessDenied" | "SignatureDoesNotMatch"),
            "{line}: {}",
            answer.text()
        );
    }
    // Two values of a signed header are another value, in whichever order.
    for line in ["host: other", "x-amz-meta-a: 1"] {
        let answer =
            changed(&server, &put, "content-length", &format!("{line}\r\ncontent-length"), b"body");
        assert!(matches!(answer.status, 400 | 403), "{line}: {}", answer.text());
    }
    // What says one thing comes once.
    for line in ["x-amz-date: 20200101T000000Z", "x-amz-content-sha256: UNSIGNED-PAYLOAD"] {
        changed(&server, &put, "content-length", &format!("{line}\r\ncontent-length"), b"body")
            .expect_error(400, "InvalidArgument");
    }
    // Another method, key, bucket, query.
    for (from, to) in [
        ("PUT /bucket/k", "DELETE /bucket/k"),
        ("PUT /bucket/k", "POST /bucket/k"),
        ("PUT /bucket/k", "put /bucket/k"),
        ("/bucket/k ", "/bucket/K "),
        ("/bucket/k ", "/bucket/k%00 "),
        ("/bucket/k ", "/other/k "),
        ("/bucket/k ", "//bucket/k "),
        ("/bucket/k ", "/bucket/k?acl "),
        ("/bucket/k ", "/bucket/k?tagging "),
        ("/bucket/k ", "/bucket/k? "),
        ("/bucket/k ", "/bucket/k?x-id=a "),
        ("/bucket/k ", "/bucket/k?versionId=null "),
        ("/bucket/k ", "http://other/bucket/k "),
        ("/bucket/k ", "/bucket/%6b "),
        ("/bucket/k ", "/bucket/k?X-Amz-Signature=1 "),
    ] {
        let answer = changed(&server, &put, from, to, b"body");
        // Spelled otherwise the canonical request is the same, and so is the key.
        let is_same = matches!(to, "/bucket/%6b " | "/bucket/k? ");
        assert!(
            if is_same { answer.status == 200 } else { matches!(answer.status, 400 | 403 | 405) },
            "{to}: {} {}",
            answer.status,
            answer.text()
        );
    }
    let listed = root.get("/bucket?list-type=2").expect(200).text();
    assert_eq!(listed.matches("<Key>").count(), 2, "{listed}");
    assert_eq!(root.get("/bucket/k").expect(200).header("x-amz-meta-a"), Some("1"));
    server.stop();
}

#[test]
fn clocks_may_differ_by_fifteen_minutes_and_no_more() {
    let site = Site::new();
    let server = site.start();
    let _root = with_object(&server);
    let slack = 20;
    for (seconds, is_good) in [
        (0, true),
        (SKEW_SECONDS - slack, true),
        (-SKEW_SECONDS + slack, true),
        (SKEW_SECONDS + slack, false),
        (-SKEW_SECONDS - slack, false),
        (86_400, false),
        (-86_400, false),
        (-7 * 86_400, false),
        (365 * 86_400, false),
    ] {
        let get =
            Request::new("GET", "/bucket/here").signed_by(Some(Signing::default().skewed(seconds)));
        let answer = server.client().call(&get);
        if is_good {
            assert_eq!(answer.expect(200).body, b"here", "{seconds}");
        } else {
            let answer = answer.expect_error(403, "RequestTimeTooSkewed");
            assert_eq!(answer.element("MaxAllowedSkewMilliseconds").as_deref(), Some("900000"));
        }
    }
    // A date that is signed for one day and sent for another; no date; dates that are none.
    let get = Request::new("GET", "/bucket/here");
    let stamp = Signing::default().stamp();
    for date in [
        "",
        "0",
        "20260101",
        "99999999T999999Z",
        "20260230T000000Z",
        "-0260101T000000Z",
        "00000000T000000Z",
        "99991231T235959Z",
        "20260101T000000+01",
        "Thu, 01 Jan 1970 00:00:00 GMT",
    ] {
        let answer = changed(&server, &get, &stamp, date, b"");
        assert!(matches!(answer.status, 400 | 403), "{date}: {} {}", answer.status, answer.text());
    }
    server.stop();
}

#[test]
fn scopes_of_elsewhere_and_other_algorithms_are_refused() {
    let site = Site::new();
    let server = site.start();
    let _root = with_object(&server);
    let get = Request::new("GET", "/bucket/here");
    // Whole signatures for another region: right but for where they are meant.
    for region in ["eu-west-1", "", "us-east-1 ", "US-EAST-1", "us-east-1/s3"] {
        let signed = get.clone().signed_by(Some(Signing::default().region(region)));
        let answer = server.client().call(&signed);
        assert!(matches!(answer.status, 400 | 403), "{region}: {}", answer.text());
    }
    for (from, to) in [
        ("/s3/aws4_request", "/ec2/aws4_request"),
        ("/s3/aws4_request", "/S3/aws4_request"),
        ("/aws4_request", "/aws4"),
        ("/aws4_request", ""),
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-MD5"),
        ("AWS4-HMAC-SHA256", "aws4-hmac-sha256"),
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256-PAYLOAD"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"),
        ("AWS4-HMAC-SHA256", "none"),
        ("AWS4-HMAC-SHA256", "Bearer"),
        ("AWS4-HMAC-SHA256", "Basic"),
        ("AWS4-HMAC-SHA256", "AWS"),
        ("SignedHeaders=host;", "SignedHeaders="),
        ("SignedHeaders=host;x-amz-content-sha256;x-amz-date", "SignedHeaders=host"),
        ("SignedHeaders=host;", "SignedHeaders=host;host;"),
        ("SignedHeaders=host", "SignedHeaders=HOST"),
        ("SignedHeaders=host;", "SignedHeaders=;host;"),
        ("Signature=", "Signature=,Signature="),
        ("Signature=", "X="),
        ("x-amz-content-sha256: UNSIGNED-PAYLOAD\r\n", ""),
        ("x-amz-date: ", "x-amz-dat: "),
    ] {
        let answer = changed(&server, &get, from, to, b"");
        assert!(
            (400..500).contains(&answer.status) || answer.status == 501,
            "{to}: {} {}",
            answer.status,
            answer.text()
        );
        assert_ne!(answer.body, b"here", "{to}");
    }
    // Version 2, in both of its forms.
    let date = "Thu, 01 Jan 2026 00:00:00 GMT";
    for head in [
        format!(
            "GET /bucket/here HTTP/1.1\r\nHost: a\r\nDate: {date}\r\nAuthorization: AWS {ACCESS_KEY}:c2lnbmF0dXJl\r\n\r\n"
        ),
        format!(
            "GET /bucket/here?AWSAccessKeyId={ACCESS_KEY}&Expires=99999999999&Signature=c2ln HTTP/1.1\r\nHost: a\r\n\r\n"
        ),
    ] {
        send(&server, head.as_bytes()).expect_error(400, "InvalidRequest");
    }
    // Of signatures each wrong digit is one, and so is each wrong length.
    let head = String::from_utf8(get.head(&server.listen.to_string())).unwrap();
    let at = head.find("Signature=").unwrap() + "Signature=".len();
    for digit in 0..64 {
        let mut bytes = head.clone().into_bytes();
        bytes[at + digit] = if bytes[at + digit] == b'0' { b'1' } else { b'0' };
        send(&server, &bytes).expect_error(403, "SignatureDoesNotMatch");
    }
    for (cut, more) in [(0, ""), (1, ""), (32, ""), (63, ""), (64, "0"), (64, "00000000")] {
        let text = [&head[..at + cut], more, &head[at + 64..]].concat();
        let answer = send(&server, text.as_bytes());
        assert_eq!(answer.status, 403, "{cut} digits: {}", answer.text());
    }
    let upper = [&head[..at], &head[at..at + 64].to_uppercase(), &head[at + 64..]].concat();
    send(&server, upper.as_bytes()).expect_error(403, "SignatureDoesNotMatch");
    server.stop();
}

#[test]
fn links_permit_what_they_say_for_as_long_as_they_say() {
    let site = Site::new();
    let server = site.start();
    let mut root = with_object(&server);
    let host = server.listen.to_string();
    let link = |seconds: i64, skew: i64| {
        let signing = Signing::default().skewed(skew);
        Request::new("GET", "/bucket/here").signed_by(Some(signing)).presigned(&host, seconds)
    };
    let ask = |method: &str, target: &str, more: &str| {
        send(
            &server,
            format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n").as_bytes(),
        )
    };
    for (seconds, skew, status) in [
        (60, 0, 200),
        (1, 30, 200),
        (604_800, 0, 200),
        (604_800, -604_700, 200),
        (604_801, 0, 400),
        (0, 0, 400),
        (-1, 0, 400),
        (i64::MAX, 0, 400),
        (i64::MIN, 0, 400),
        (60, -61, 403),
        (1, -2, 403),
        (604_800, -604_801, 403),
        (60, SKEW_SECONDS - 20, 200),
        (60, SKEW_SECONDS + 20, 403),
        (604_800, 365 * 86_400, 403),
    ] {
        let answer = ask("GET", &link(seconds, skew), "");
        assert_eq!(answer.status, status, "{seconds} s from {skew}: {}", answer.text());
    }
    let good = link(600, 0);
    assert_eq!(ask("GET", &good, "").expect(200).body, b"here");
    assert_eq!(ask("GET", &good, "Range: bytes=0-0\r\n").expect(206).body, b"h");
    // Longer than signed, twice, in other letters, with more.
    for target in [
        good.replace("X-Amz-Expires=600", "X-Amz-Expires=601"),
        good.replace("X-Amz-Expires=600", "X-Amz-Expires=6000&X-Amz-Expires=600"),
        good.replace("X-Amz-Expires=600", "X-Amz-Expires=600&X-Amz-Expires=6000"),
        format!("{good}&X-Amz-Expires=604800"),
        format!("{good}&X-Amz-Date=20300101T000000Z"),
        good.replace("X-Amz-Expires=600", "X-Amz-Expires=%2B600"),
        good.replace("X-Amz-Expires=600", "X-Amz-Expires=600.5"),
        good.replace("X-Amz-Expires=600&", ""),
        good.replace("X-Amz-Algorithm", "x-amz-algorithm"),
        good.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"),
        good.replace("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders="),
        good.replace("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=range"),
        format!("{good}&response-content-type=text%2Fhtml"),
        format!("{good}&versionId=null"),
        format!("{good}&acl"),
        good.replace("/here", "/other"),
        good.replace("X-Amz-Signature=", "X-Amz-Signature=0"),
        format!("{good}&X-Amz-Security-Token=x"),
        format!("{good}&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD"),
        format!("{good}&X-Amz-Credential=x"),
        format!("{good}&AWSAccessKeyId={ACCESS_KEY}"),
        good.replace("X-Amz-Signature=", "X-Amz-Signatur="),
        good.replace("%2Fs3%2F", "%2Fec2%2F"),
    ] {
        let answer = ask("GET", &target, "");
        assert!(
            matches!(answer.status, 400 | 403),
            "{target}: {} {}",
            answer.status,
            answer.text()
        );
    }
    // A second signature is looked at by nobody: the first decides, and it is no part of what is signed.
    let signature = good.split("X-Amz-Signature=").nth(1).unwrap().to_owned();
    let wrong_first = good.replace("X-Amz-Signature=", "X-Amz-Signature=00&X-Amz-Signature=");
    assert_eq!(ask("GET", &wrong_first, "").status, 403);
    assert_eq!(ask("GET", &good.replace(&signature, &"0".repeat(64)), "").status, 403);
    for method in ["PUT", "DELETE", "POST", "HEADER"] {
        assert!(
            matches!(ask(method, &good, "Content-Length: 0\r\n").status, 403 | 405),
            "{method}"
        );
    }
    // Two proofs at once, of one caller or of two.
    let get = Request::new("GET", "/bucket/here");
    let head = String::from_utf8(get.head(&host)).unwrap();
    let both = head.replacen("/bucket/here", &good, 1);
    send(&server, both.as_bytes()).expect_error(400, "InvalidArgument");
    ask("GET", &good, "Authorization: Basic eDp5\r\n").expect_error(400, "InvalidArgument");
    // A header that the link does not sign changes nothing that matters.
    for line in [
        "x-amz-acl: public-read",
        "x-amz-meta-a: 1",
        "x-amz-date: 20200101T000000Z",
        "x-amz-content-sha256: UNSIGNED-PAYLOAD",
        "x-amz-copy-source: /bucket/here",
    ] {
        let answer = ask("GET", &good, &format!("{line}\r\n"));
        assert_eq!(answer.status, 403, "{line}: {}", answer.text());
    }
    // A link to write with a hash is for those bytes.
    let put = Request::new("PUT", "/bucket/linked").presigned(&host, 600);
    ask("PUT", &put, "Content-Length: 0\r\n").expect(200);
    root.delete("/bucket/linked").expect(204);
    assert_eq!(ask("PUT", &put.replace("/linked", "/here"), "Content-Length: 0\r\n").status, 403);
    assert_eq!(root.get("/bucket/here").expect(200).body, b"here");
    server.stop();
}

/// By the bit: RFC 1952, section 8, asks no more.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |value: u32| if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |value, _| step(value)))
}

fn base64(bytes: &[u8]) -> String {
    use ::base64::Engine as _;
    ::base64::prelude::BASE64_STANDARD.encode(bytes)
}

/// Chunks as a client signs them, to be taken apart.
struct Chunks {
    head: Vec<u8>,
    /// Framed chunks, the last of size zero among them.
    chunks: Vec<Vec<u8>>,
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // RFC 2104 over the block of 64 bytes that SHA-256 has; keys here are no longer than that.
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::digest([&pad(0x36)[..], text].concat());
    Sha256::digest([&pad(0x5c)[..], &inner].concat()).to_vec()
}

/// Signs a body in chunks; the client of the tests signs its head.
fn signed_chunks(
    server: &Server<'_>,
    key: &str,
    data: &[&[u8]],
    trailer: Option<(&str, &str)>,
) -> Chunks {
    let form = if trailer.is_some() {
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    } else {
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    };
    let signing = Signing::default();
    let stamp = signing.stamp();
    let signing = Signing { stamp: Some(stamp.clone()), ..signing };
    let size: usize = data.iter().map(|piece| piece.len()).sum();
    let mut request = Request::new("PUT", key)
        .signed_by(Some(signing))
        .payload_hash(form)
        .header("x-amz-decoded-content-length", &size.to_string());
    if let Some((name, _)) = trailer {
        request = request.header("x-amz-trailer", name);
    }
    let head = String::from_utf8(request.head(&server.listen.to_string())).unwrap();
    let mut previous = head.split("Signature=").nth(1).unwrap()[..64].to_owned();
    let scope = format!("{}/{REGION}/s3/aws4_request", &stamp[..8]);
    let signing_key = ["s3", "aws4_request"].iter().fold(
        hmac(
            &hmac(format!("AWS4{SECRET_KEY}").as_bytes(), &stamp.as_bytes()[..8]),
            REGION.as_bytes(),
        ),
        |key, part| hmac(&key, part.as_bytes()),
    );
    let mut chunks = Vec::new();
    for piece in data.iter().copied().chain([&b""[..]]) {
        let to_sign = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{stamp}\n{scope}\n{previous}\n{EMPTY_SHA256}\n{}",
            hex::encode(Sha256::digest(piece))
        );
        previous = hex::encode(hmac(&signing_key, to_sign.as_bytes()));
        let mut chunk = format!("{:x};chunk-signature={previous}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        if !piece.is_empty() || trailer.is_none() {
            chunk.extend_from_slice(b"\r\n");
        }
        chunks.push(chunk);
    }
    if let Some((name, value)) = trailer {
        let hash = hex::encode(Sha256::digest(format!("{name}:{value}\n")));
        let to_sign = format!("AWS4-HMAC-SHA256-TRAILER\n{stamp}\n{scope}\n{previous}\n{hash}");
        let signature = hex::encode(hmac(&signing_key, to_sign.as_bytes()));
        chunks.push(format!("{name}:{value}\r\n").into_bytes());
        chunks.push(format!("x-amz-trailer-signature:{signature}\r\n\r\n").into_bytes());
    }
    Chunks { head: head.trim_end().as_bytes().to_vec(), chunks }
}

/// Sends the head with these pieces for its body.
fn send_chunks(server: &Server<'_>, head: &[u8], pieces: &[&[u8]]) -> Answer {
    let body = pieces.concat();
    let length = format!("\r\ncontent-length: {}\r\n\r\n", body.len());
    send(server, &[head, length.as_bytes(), &body].concat())
}

#[test]
fn signed_chunks_are_good_in_their_order_and_their_request_alone() {
    let site = Site::new();
    let server = site.start();
    let mut root = with_object(&server);
    let (one, two, three) = (vec![b'1'; 9000], vec![b'2'; 9000], vec![b'3'; 9000]);
    let Chunks { head, chunks } = signed_chunks(&server, "/bucket/k", &[&one, &two, &three], None);
    let [a, b, c, end] = chunks.iter().map(Vec::as_slice).collect::<Vec<_>>()[..] else { panic!() };
    send_chunks(&server, &head, &[a, b, c, end]).expect(200);
    assert_eq!(root.get("/bucket/k").expect(200).body, [&one[..], &two, &three].concat());
    root.delete("/bucket/k").expect(204);
    let cut = &c[..c.len() - 10];
    let mut flipped = b.to_vec();
    *flipped.iter_mut().rev().nth(5).unwrap() = b'x';
    let unsigned = [b"2328\r\n".as_slice(), &two, b"\r\n"].concat();
    let mut resized = b.to_vec();
    resized[..4].copy_from_slice(b"2327");
    let other = signed_chunks(&server, "/bucket/other", &[&one, &two, &three], None);
    let zero = b"0\r\n\r\n".as_slice();
    let cases: [(&str, Vec<&[u8]>); 17] = [
        ("two chunks changed places", vec![b, a, c, end]),
        ("the last two", vec![a, c, b, end]),
        ("a chunk twice", vec![a, a, c, end]),
        ("a chunk again", vec![a, b, b, end]),
        ("one left out", vec![a, c, end]),
        ("no end", vec![a, b, c]),
        ("an end without a signature", vec![a, b, c, zero]),
        ("an early end", vec![a, b, end]),
        ("only the end", vec![end]),
        ("cut within a chunk", vec![a, b, cut]),
        ("a changed byte", vec![a, &flipped, c, end]),
        ("a chunk without a signature", vec![a, &unsigned, c, end]),
        ("a chunk of another size", vec![a, &resized, c, end]),
        ("a chunk of another request", vec![a, &other.chunks[1], c, end]),
        ("all chunks of another request", other.chunks.iter().map(Vec::as_slice).collect()),
        ("more behind the end", vec![a, b, c, end, a]),
        ("two ends", vec![a, b, c, end, end]),
    ];
    for (what, pieces) in &cases {
        let answer = send_chunks(&server, &head, pieces);
        assert!(matches!(answer.status, 400 | 403), "{what}: {} {}", answer.status, answer.text());
        assert!(!answer.code().is_empty(), "{what}");
        root.get("/bucket/k").expect(404);
    }
    // Nothing of it is a part, an upload or a byte more.
    let listed = root.get("/bucket?list-type=2").expect(200).text();
    assert_eq!(listed.matches("<Key>").count(), 1, "{listed}");
    server.stop();
}

#[test]
fn trailers_are_those_that_were_announced_and_signed() {
    let site = Site::new();
    let server = site.start();
    let mut root = with_object(&server);
    let data = vec![b'1'; 9000];
    let right = base64(&crc32(&data).to_be_bytes());
    let signed =
        signed_chunks(&server, "/bucket/k", &[&data], Some(("x-amz-checksum-crc32", &right)));
    let [a, end, sum, signature] = signed.chunks.iter().map(Vec::as_slice).collect::<Vec<_>>()[..]
    else {
        panic!()
    };
    let first = send_chunks(&server, &signed.head, &[a, end, sum, signature]);
    first.expect(200);
    root.delete("/bucket/k").expect(204);
    let wrong = b"x-amz-checksum-crc32:AAAAAA==\r\n".as_slice();
    let zeros = [b"x-amz-trailer-signature:".as_slice(), &[b'0'; 64], b"\r\n\r\n"].concat();
    for (what, pieces) in [
        ("no trailer", vec![a, end, b"\r\n".as_slice()]),
        ("no signature", vec![a, end, sum, b"\r\n"]),
        ("a signature alone", vec![a, end, signature]),
        ("another value", vec![a, end, wrong, signature]),
        ("another signature", vec![a, end, sum, &zeros]),
        ("the value twice", vec![a, end, sum, sum, signature]),
        ("two values", vec![a, end, wrong, sum, signature]),
        ("another name", vec![a, end, b"x-amz-checksum-crc32c:AAAAAA==\r\n", signature]),
        ("one more", vec![a, end, sum, b"x-amz-meta-a:1\r\n", signature]),
        ("the signature twice", vec![a, end, sum, signature, signature]),
        ("no end of chunks", vec![a, sum, signature]),
    ] {
        let answer = send_chunks(&server, &signed.head, &pieces);
        assert!(matches!(answer.status, 400 | 403), "{what}: {} {}", answer.status, answer.text());
        root.get("/bucket/k").expect(404);
    }
    // A body that was promised signed is not taken unsigned.
    let plain = [b"2328\r\n".as_slice(), &data, b"\r\n0\r\n"].concat();
    let answer = send_chunks(&server, &signed.head, &[&plain, sum, b"\r\n"]);
    assert!(matches!(answer.status, 400 | 403), "{}", answer.text());
    let head = String::from_utf8(signed.head.clone()).unwrap();
    let weaker = head.replace(
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    );
    send_chunks(&server, weaker.as_bytes(), &[&plain, sum, b"\r\n"])
        .expect_error(403, "SignatureDoesNotMatch");
    root.get("/bucket/k").expect(404);
    server.stop();
}
