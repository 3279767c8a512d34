//! Requests within requests: each head or body that two parties could read in two ways is refused with its
//! connection, or has one reading; nothing of a body is ever run.

use super::{CANARY, answers, keys, talk, with_canary};
use ringfort_tests::harness::{Server, Site};

/// Requests that do harm if they are ever run. Anybody may send them.
pub(super) fn smuggled(number: usize) -> String {
    match number % 2 {
        0 => "PUT /bucket/smuggled HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx".to_owned(),
        _ => "DELETE /bucket/canary HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
    }
}

const FOLLOW: &str = "GET /bucket/canary HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// A PUT of `/bucket/outer` with these header lines.
pub(super) fn put(lines: &str) -> String {
    format!("PUT /bucket/outer HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

/// Header lines of a chunked upload, which is chunked once more within: HTTP's framing is around that of S3.
pub(super) const CHUNKED: &str = "Transfer-Encoding: chunked\r\n\
    x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\nx-amz-decoded-content-length: 5\r\n";

/// What such an upload of `hello` has within; 15 bytes.
const WITHIN: &str = "5\r\nhello\r\n0\r\n\r\n";

/// Heads that must not be understood at all.
pub(super) fn ambiguous_heads() -> Vec<Vec<u8>> {
    let mut heads: Vec<Vec<u8>> = Vec::new();
    let mut add = |text: String| heads.push(text.into_bytes());
    // Both lengths, in each order and spelling.
    for coding in ["chunked", "Chunked", "CHUNKED", "identity", " chunked ", ""] {
        for length in ["0", "5", "58"] {
            for (one, two) in
                [("Content-Length", "Transfer-Encoding"), ("content-length", "TRANSFER-ENCODING")]
            {
                add(put(&format!("{one}: {length}\r\n{two}: {coding}\r\n")));
                add(put(&format!("{two}: {coding}\r\n{one}: {length}\r\n")));
            }
        }
    }
    // Codings that are not exactly chunked.
    for coding in [
        "",
        "identity",
        "gzip",
        "gzip, chunked",
        "chunked, identity",
        "identity, chunked",
        "chunked, chunked",
        "chunked;q=1",
        "\"chunked\"",
        "xchunked",
        "chunkedx",
        "chunked,",
        ",chunked",
        "chun ked",
        "chunked chunked",
        "\u{b}chunked",
        "chunked\u{b}",
        "\u{c}chunked",
        "chunked\0",
        "\0chunked",
        "\u{a0}chunked",
        "chunked\u{85}",
        "chunked\rx",
        "\rchunked",
        "chunked\r",
        "[chunked]",
        "chunked/1",
        "0",
        "deflate",
        "x-chunked",
        "CHUNK",
        "ch\u{fc}nked",
    ] {
        add(put(&format!("Transfer-Encoding: {coding}\r\n")));
        add(put(&format!("Transfer-Encoding: {coding}\r\nContent-Length: 5\r\n")));
    }
    for (one, two) in
        [("chunked", "chunked"), ("chunked", "identity"), ("identity", "chunked"), ("chunked", "")]
    {
        add(put(&format!("Transfer-Encoding: {one}\r\nTransfer-Encoding: {two}\r\n")));
        add(put(&format!("Transfer-Encoding: {one}\r\nX: y\r\ntransfer-encoding: {two}\r\n")));
    }
    // Lengths that are no numbers, or two.
    for length in [
        "",
        "+5",
        "-5",
        "-0",
        "0x5",
        "5 5",
        "5,5",
        "5, 5",
        "5;5",
        "5.0",
        "1e1",
        "\u{665}",
        "\u{b}5",
        "5\0",
        "5\t5",
        "18446744073709551616",
        "99999999999999999999999",
        "\"5\"",
        "0b1",
        "5_0",
        "five",
        "5\u{a0}",
        "\u{ff15}",
        "0005 ,5",
        "5\r5",
    ] {
        add(put(&format!("Content-Length: {length}\r\n")));
    }
    for (one, two) in [("5", "6"), ("0", "58"), ("58", "0"), ("5", ""), ("5", "+5"), ("5", "5,6")] {
        add(put(&format!("Content-Length: {one}\r\nContent-Length: {two}\r\n")));
        add(put(&format!(
            "Content-Length: {one}\r\nX: y\r\ncontent-length: {two}\r\nContent-Length: {one}\r\n"
        )));
    }
    // Names that some take for the name without what is around it.
    for name in [
        "Content-Length ",
        "Content-Length\t",
        " Content-Length",
        "\tContent-Length",
        "Content-Length\0",
        "Content-Length\u{b}",
        "Content\u{a0}Length",
        "Content Length",
        "\"Content-Length\"",
        "Content-Length:",
        "Transfer-Encoding ",
        "Transfer-Encoding\t",
        " Transfer-Encoding",
        "Transfer-Encoding\0",
        "(Transfer-Encoding)",
        "Transfer\r-Encoding",
        "",
    ] {
        let value = if name.contains("ransfer") { "chunked" } else { "58" };
        add(put(&format!("{name}: {value}\r\n")));
    }
    // Folded lines, and line ends that are none.
    for lines in [
        "X: a\r\n b\r\nContent-Length: 5\r\n",
        "X: a\r\n\tContent-Length: 58\r\n",
        "Content-Length:\r\n 58\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding:\r\n\tchunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\n",
        "X: y\nContent-Length: 58\r\n",
        "Content-Length: 5\rX: y\r\n",
        "Content-Length: 5\r\r\n",
        "Content-Length: 5\n\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n",
        "X: \nTransfer-Encoding: chunked\r\n",
        "X: \0\r\nContent-Length: 5\r\n",
        "no colon\r\nContent-Length: 5\r\n",
        ": no name\r\nContent-Length: 5\r\n",
        "X: a\r\n \r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\n \r\n",
        "Content-Length: 5\r\n\t\r\n",
    ] {
        add(put(lines));
    }
    for (from, to) in [
        ("\r\n", "\n"),
        ("\r\n", "\r"),
        ("\r\n\r\n", "\r\n\n"),
        ("\r\n\r\n", "\n\r\n"),
        ("\r\n\r\n", "\n\n"),
    ] {
        add(put("Content-Length: 5\r\n").replace(from, to));
    }
    // Request lines.
    for line in [
        "PUT  /bucket/outer HTTP/1.1",
        "PUT /bucket/outer  HTTP/1.1",
        "PUT\t/bucket/outer\tHTTP/1.1",
        " PUT /bucket/outer HTTP/1.1",
        "PUT /bucket/outer HTTP/1.1 ",
        "PUT /bucket/outer HTTP/1.1\t",
        "PUT /bucket/outer http/1.1",
        "PUT /bucket/outer HTTP/1.2",
        "PUT /bucket/outer HTTP/1.10",
        "PUT /bucket/outer HTTP/01.1",
        "PUT /bucket/outer HTTP/1",
        "PUT /bucket/outer HTTP/0.9",
        "PUT /bucket/outer HTTP/2.0",
        "PUT /bucket/outer HTTP/1.1 HTTP/1.1",
        "PUT /bucket/outer HTTP /1.1",
        "PUT /bucket/outer",
        "PUT",
        "PUT /bucket/outer HTTP/1,1",
        "PUT /bucket/outer HTTPS/1.1",
        "PUT /bucket/outer HTTP/1.1\0",
        "PU\0T /bucket/outer HTTP/1.1",
        "PUT /bucket/outer\0 HTTP/1.1",
        "PUT /bucket/\u{7f} HTTP/1.1",
        "PUT bucket/outer HTTP/1.1",
        "PUT a:80 HTTP/1.1",
        "CONNECT a:80 HTTP/1.1",
        "PUT * HTTP/1.1",
        "PUT ftp://a/bucket/outer HTTP/1.1",
        "PUT http:///bucket/outer HTTP/1.1",
        "PUT http://u@a/bucket/outer HTTP/1.1",
        "PUT http://a\\b/bucket/outer HTTP/1.1",
        "PUT http:/a/bucket/outer HTTP/1.1",
        "PUT //a@b HTTP/1.1\rX:",
        "P(T /bucket/outer HTTP/1.1",
        "\u{feff}PUT /bucket/outer HTTP/1.1",
        "PUT \\bucket\\outer HTTP/1.1",
        "PUT http://a?bucket HTTP/1.1",
        "PUT http://a#f HTTP/1.1",
    ] {
        add(format!("{line}\r\nHost: a\r\nContent-Length: 5\r\n\r\n"));
    }
    for line in [
        "PUT /bucket/outer HTTP/1.0\r\nTransfer-Encoding: chunked",
        "PUT /bucket/outer HTTP/1.0\r\nHost: a\r\nHost: b\r\nContent-Length: 5",
    ] {
        add(format!("{line}\r\n\r\n"));
    }
    // Hosts.
    for hosts in [
        "",
        "Host: a\r\nHost: a\r\n",
        "Host: a\r\nhost: b\r\n",
        "Host: a b\r\n",
        "Host: a/bucket\r\n",
        "Host: a,b\r\n",
        "Host: u@a\r\n",
        "Host: a\0\r\n",
        "Host: a?b\r\n",
        "Host: a#b\r\n",
        "Host: a\\b\r\n",
        "Host: \u{fc}\r\n",
        "Host: a\r\n b\r\n",
    ] {
        add(format!("PUT /bucket/outer HTTP/1.1\r\n{hosts}Content-Length: 5\r\n\r\n"));
    }
    // What is not text at all.
    for bytes in [
        &b"PUT /bucket/\xff HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"PUT /bucket/\xc0\xaf HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PUT /bucket/\xed\xa0\x80 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PUT /bucket/outer HTTP/1.1\r\nHost: \xff\r\n\r\n",
        b"PUT /bucket/outer HTTP/1.1\r\nHost: a\r\n\xffX: y\r\n\r\n",
        b"\x80\x80\r\n\r\n",
    ] {
        heads.push(bytes.to_vec());
    }
    heads
}

#[test]
fn what_has_two_readings_is_refused_with_its_connection() {
    let site = Site::new();
    let server = site.start();
    let mut root = with_canary(&server);
    let heads = ambiguous_heads();
    assert!(heads.len() > 250, "{} heads", heads.len());
    for (number, head) in heads.iter().enumerate() {
        // In place of a body: a whole chunked one, and what would be the next request to whoever takes
        // one length, the other or none.
        let bytes =
            [head, &b"0\r\n\r\n"[..], smuggled(number).as_bytes(), FOLLOW.as_bytes()].concat();
        let answers = answers(&talk(server.listen, &bytes));
        let shown = String::from_utf8_lossy(head);
        let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
        assert!(matches!(statuses[..], [400 | 431 | 501 | 505]), "{statuses:?} for {shown:?}");
        if number % 2 == 1 {
            assert_eq!(root.get("/bucket/canary").expect(200).body, CANARY, "after {shown:?}");
        }
    }
    assert_eq!(keys(&mut root), ["canary"]);
    // Each half of a smuggled request does its harm if it is sent in the open: the test can fail.
    talk(server.listen, [&smuggled(0), FOLLOW].concat().as_bytes());
    talk(server.listen, [&smuggled(1), FOLLOW].concat().as_bytes());
    assert_eq!(keys(&mut root), ["smuggled"]);
    server.stop();
}

/// Chunked framing of the five bytes `hello` that is wrong somewhere.
pub(super) fn broken_chunks() -> Vec<String> {
    let mut bodies: Vec<String> = [
        "+5",
        "-5",
        "0x5",
        " 5",
        "5 ",
        "5\t",
        "",
        "g",
        "5g",
        "5\0",
        "5.0",
        "5,5",
        "\"5\"",
        "FFFFFFFFFFFFFFFFF",
        "10000000000000005",
        "00000000000000005",
        "5\u{a0}",
        "\u{665}",
        "5\n",
        "5;\n",
        "5;a\0",
        "5;a\rb",
        "5 ;a",
        "5\r",
        "\n5",
        "5;\u{7f}",
    ]
    .iter()
    .map(|size| format!("{size}\r\nhello\r\n0\r\n\r\n"))
    .collect();
    bodies.push(format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(300)));
    for body in [
        "5\nhello\n0\n\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello\r\n\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\n\r\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
        "5\r\nhello\r\n0\r\nX: \0\r\n\r\n",
        "5\r\nhello\r\n-0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\rb\r\n\r\n",
    ] {
        bodies.push(body.to_owned());
    }
    bodies.push(format!("5\r\nhello\r\n0\r\n{}\r\n", "T: x\r\n".repeat(2000)));
    // What is to stand there is longer than `hello`, and its length another.
    let longer = |body: String| {
        body.replace("4\r\nhello", "e\r\nhello").replace('5', "f").replace("hello", WITHIN)
    };
    bodies.into_iter().map(longer).collect()
}

#[test]
fn chunks_with_two_readings_store_nothing_and_end_the_connection() {
    let site = Site::new();
    let server = site.start();
    let mut root = with_canary(&server);
    // Whole it is taken.
    let whole = [&put(CHUNKED), "f\r\n", WITHIN, "\r\n0\r\n\r\n"].concat();
    check_one_reading(&server, &whole, &[200]);
    assert_eq!(root.get("/bucket/outer").expect(200).body, b"hello");
    root.delete("/bucket/outer").expect(204);
    for (number, body) in broken_chunks().iter().enumerate() {
        let bytes = [&put(CHUNKED), body, &smuggled(number), FOLLOW].concat();
        let answers = answers(&talk(server.listen, bytes.as_bytes()));
        let statuses: Vec<u16> = answers.iter().map(|(status, _)| *status).collect();
        assert!(matches!(statuses[..], [] | [400 | 431]), "{statuses:?} for {body:?}");
        assert_eq!(root.get("/bucket/canary").expect(200).body, CANARY, "after {body:?}");
    }
    assert_eq!(keys(&mut root), ["canary"]);
    server.stop();
}

/// Sends a request and a read of the canary behind it: both must be answered, in this order.
#[track_caller]
fn check_one_reading(server: &Server<'_>, bytes: &str, statuses: &[u16]) {
    let answers = answers(&talk(server.listen, [bytes, FOLLOW].concat().as_bytes()));
    let shown: Vec<_> =
        answers.iter().map(|(status, body)| (*status, String::from_utf8_lossy(body))).collect();
    assert_eq!(answers.len(), 2, "{bytes:?}: {shown:?}");
    assert!(statuses.contains(&answers[0].0), "{bytes:?}: {shown:?}");
    assert_eq!(answers[1], (200, CANARY.to_vec()), "{bytes:?}: {shown:?}");
}

#[test]
fn what_has_one_reading_is_read_so_and_its_body_is_never_run() {
    let site = Site::new().flags(&["--domain", "s3.test"]);
    let server = site.start();
    let mut root = with_canary(&server);
    let body: String = (0..4).map(smuggled).collect();
    let length = body.len();
    let mut check_stored = |head: &str, framed: &str| {
        check_one_reading(&server, &[head, framed].concat(), &[200]);
        assert_eq!(root.get("/bucket/outer").expect(200).text(), body, "{head:?}");
        root.delete("/bucket/outer").expect(204);
    };
    for lines in [
        format!("Content-Length: {length}\r\n"),
        format!("content-length:{length}\r\n"),
        format!("CONTENT-LENGTH: \t {length} \t\r\n"),
        format!("Content-Length: 000{length}\r\n"),
        format!("Content-Length: {length}\r\nContent-Length: {length}\r\n"),
        // No names of ours, whatever some make of them.
        format!("Transfer_Encoding: chunked\r\nContent-Length: {length}\r\n"),
        format!("X-Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
        format!("Content-Length: {length}\r\nTE: chunked, trailers\r\nTrailer: Content-Length\r\n"),
        format!("Content-Length: {length}\r\nConnection: content-length, host\r\n"),
        format!(
            "Content-Length: {length}\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
        ),
        format!(
            "Content-Length: {length}\r\nX-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE\r\n"
        ),
        format!(
            "Content-Length: {length}\r\nX-Original-URL: /bucket/canary\r\nX-Rewrite-URL: /bucket/canary\r\n"
        ),
        format!("Content-Length: {length}\r\nX-Forwarded-Host: evil\r\nForwarded: host=evil\r\n"),
        format!("Expect: 100-continue\r\nContent-Length: {length}\r\n"),
    ] {
        check_stored(&put(&lines), &body);
    }
    for (start, host) in [
        ("PUT http://a/bucket/outer HTTP/1.1", "evil"),
        ("PUT HTTP://a:80/bucket/outer HTTP/1.1", ""),
        ("PUT http://bucket.s3.test/outer HTTP/1.1", "other.s3.test"),
        ("\r\nPUT /bucket/outer HTTP/1.1", "a"),
        ("\r\n\r\n\r\nPUT /bucket/outer HTTP/1.1", "a"),
    ] {
        check_stored(
            &format!("{start}\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n"),
            &body,
        );
    }
    let within = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let size = within.len();
    let (one, two) = within.split_at(20);
    let last = two.len();
    for framed in [
        format!("{size:x}\r\n{within}\r\n0\r\n\r\n"),
        format!("{size:X};a=b;c=\"GET / HTTP/1.1\"\r\n{within}\r\n0\r\n\r\n"),
        format!("0000000{size:x}\r\n{within}\r\n000\r\n\r\n"),
        format!("14\r\n{one}\r\n{last:x};x\r\n{two}\r\n0;last\r\n\r\n"),
        format!(
            "{size:x}\r\n{within}\r\n0\r\nContent-Length: 9999\r\nTransfer-Encoding: chunked\r\nHost: evil\r\n\r\n"
        ),
        format!(
            "{size:x}\r\n{within}\r\n0\r\nAuthorization: x\r\nx-amz-meta-a: smuggled\r\nConnection: close\r\n\r\n"
        ),
        format!("{size:x}\r\n{within}\r\n0\r\nGET /bucket/canary HTTP/1.1\r\n\r\n"),
    ] {
        for coding in ["chunked", "Chunked", "\tCHUNKED "] {
            let lines = CHUNKED.replace(": chunked", &format!(": {coding}"));
            check_stored(&put(&lines.replace("length: 5", &format!("length: {length}"))), &framed);
        }
    }
    assert_eq!(keys(&mut root), ["canary"]);
    server.stop();
}

/// The service does not read the bodies of these, and answers before they are there.
#[test]
fn bodies_that_nobody_asked_for_are_passed_over() {
    let site = Site::new();
    let server = site.start();
    let mut root = with_canary(&server);
    let body: String = (0..4).map(smuggled).collect();
    let length = body.len();
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    // What comes of them is for other tests: here is what comes behind them.
    let statuses = [200, 204, 400, 403, 404, 405];
    for request in [
        "GET /bucket/canary",
        "GET /bucket/none",
        "GET /private/x",
        "GET /bucket?acl",
        "DELETE /bucket/none",
        "OPTIONS /bucket/canary",
        "PUT /none/outer",
        "PUT /bucket?policy",
        "PATCH /bucket/canary",
        "GET /-/live",
        "BREW /bucket/canary",
        "GET /%zz",
    ] {
        let head = format!("{request} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        check_one_reading(&server, &[&head, &body[..]].concat(), &statuses);
        // Of a chunked body nobody knows the end without reading it: it is read or the connection ends.
        let head = format!("{request} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let answers = answers(&talk(server.listen, [&head, &chunked, FOLLOW].concat().as_bytes()));
        let is_one = answers.len() == 1 || answers.get(1) == Some(&(200, CANARY.to_vec()));
        assert!(is_one && answers.len() < 3, "{request}: {answers:?}");
        assert!(statuses.contains(&answers[0].0), "{request}: {answers:?}");
    }
    // A client that was refused before it was asked for its body sends it or not: the connection ends.
    for request in ["PUT /none/outer", "PUT /bucket?policy"] {
        let lines = format!("Host: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n");
        let bytes = [&format!("{request} HTTP/1.1\r\n{lines}"), &body[..], FOLLOW].concat();
        assert_eq!(answers(&talk(server.listen, bytes.as_bytes())).len(), 1, "{request}");
    }
    assert_eq!(keys(&mut root), ["canary"]);
    assert_eq!(root.get("/bucket/canary").expect(200).body, CANARY);
    server.stop();
}
