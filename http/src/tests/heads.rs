//! Heads: what is refused, and what a service sees of those that are not.

use super::support::*;
use crate::*;

/// The status with which a request is refused.
fn check_refused(input: impl AsRef<[u8]>, status: u16) {
    let input = input.as_ref();
    let outcome = Run::default().input(input);
    let text = String::from_utf8_lossy(input);
    let refused_with = match outcome.result {
        Ok(Closed::Refused(rejection)) => rejection.status,
        ref other => panic!("{text:?} was not refused: {other:?}"),
    };
    assert_eq!(refused_with, status, "{text:?}");
    assert!(outcome.output.starts_with(&format!("HTTP/1.1 {status} ")), "{}", outcome.output);
    assert!(outcome.output.contains("\r\nConnection: close\r\n"));
    assert!(outcome.output.contains("\r\n\r\nerror: "));
    assert!(outcome.finished);
}

#[test]
fn malformed_request_lines_are_refused() {
    for line in [
        "GET",
        "GET /",
        "GET / ",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET / http/1.1",
        "GET / HTTP/x",
        "GET / FTP/1.1",
        "GET / HTTP/1.11",
        "GET /a b HTTP/1.1",
        "GET /\x01 HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\x7f HTTP/1.1",
        "GET a HTTP/1.1",
        "GET * HTTP/1.1",
        "GET a:80 HTTP/1.1",
        "CONNECT a:80 HTTP/1.1",
        "GET http:// HTTP/1.1",
        "GET http:///a HTTP/1.1",
        "GET http://a?b HTTP/1.1",
        "GET http://u@a/ HTTP/1.1",
        "GET ftp://a/ HTTP/1.1",
        "OPTIONS ** HTTP/1.1",
    ] {
        check_refused(format!("{line}\r\nHost: a\r\n\r\n"), 400);
    }
    check_refused(b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400);
    // The first byte of a TLS handshake, without any line's end.
    check_refused(b"\x16\x03\x01\x02\x00\x01", 400);
}

#[test]
fn other_versions_are_refused() {
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/2", "HTTP/11"] {
        check_refused(format!("GET / {version}\r\nHost: a\r\n\r\n"), 505);
    }
    check_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505);
}

#[test]
fn malformed_headers_are_refused() {
    for header in [
        "a",
        "a : b",
        "a\t: b",
        ": b",
        "a b: c",
        "a: b\0c",
        "a: b\rc",
        "a: b\r",
        "a: \x01",
        "a: b\x7f",
        "a: b\r\n c",
        "a: b\r\n\tc",
        " a: b",
        "a: b\nc: d",
        "\u{e4}: b",
        "a(: b",
    ] {
        check_refused(format!("GET / HTTP/1.1\r\nHost: a\r\n{header}\r\n\r\n"), 400);
    }
    check_refused("GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n", 400);
    check_refused("GET / HTTP/1.1\nHost: a\r\n\r\n", 400);
    check_refused("GET / HTTP/1.1\r\nHost: a\n\r\n", 400);
    check_refused("GET / HTTP/1.1\r\nHost: a\r\n\n", 400);
    check_refused("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400);
}

#[test]
fn a_host_is_required_once() {
    check_refused("GET / HTTP/1.1\r\n\r\n", 400);
    check_refused("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400);
    check_refused("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400);
    for host in ["a b", "a/b", "u@a", "a?b", "a,b", "a\\b", "\u{e4}"] {
        check_refused(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), 400);
    }
}

#[test]
fn doubtful_framing_is_refused() {
    for (headers, status) in [
        ("Content-Length: 1\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 0", 400),
        ("Content-Length: 1\r\nContent-Length: 2", 400),
        ("Content-Length: 1, 1", 400),
        ("Content-Length: +1", 400),
        ("Content-Length: -1", 400),
        ("Content-Length: 0x1", 400),
        ("Content-Length: 1 1", 400),
        ("Content-Length:", 400),
        ("Content-Length: 18446744073709551616", 400),
        ("Transfer-Encoding: gzip", 501),
        ("Transfer-Encoding: identity", 501),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: chunked, chunked", 501),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 501),
        ("Transfer-Encoding: xchunked", 501),
        ("Transfer-Encoding: \"chunked\"", 501),
        ("Transfer-Encoding: \x0bchunked", 400),
        ("Transfer-Encoding:", 501),
        ("Expect: 200-ok", 417),
    ] {
        check_refused(format!("PUT / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\nx"), status);
    }
    check_refused("PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400);
}

#[test]
fn heads_are_bounded() {
    let limit = Limits::default().head_bytes_max;
    let frame = "GET /echo HTTP/1.1\r\nHost: a\r\nx: \r\n\r\n".len();
    let sized = |bytes: usize| {
        format!("GET /echo HTTP/1.1\r\nHost: a\r\nx: {}\r\n\r\n", "y".repeat(bytes - frame))
    };
    let outcome = Run::default().input(sized(limit));
    assert_eq!(outcome.result.unwrap(), Closed::Done);
    assert!(outcome.output.starts_with("HTTP/1.1 200 OK"));
    check_refused(sized(limit + 1), 431);
    check_refused(format!("GET /{}", "y".repeat(limit)), 431);

    let many =
        |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "x: y\r\n".repeat(count));
    assert!(Run::default().input(many(127)).output.starts_with("HTTP/1.1 404"));
    check_refused(many(128), 431);
    check_refused("\r\n".repeat(5), 400);
}

#[test]
fn a_bound_below_the_first_read_holds_as_well() {
    let request = "GET /echo HTTP/1.1\r\nHost: a\r\n\r\n";
    for (head_bytes_max, status) in [(request.len(), "200 OK"), (request.len() - 1, "431 ")] {
        let limits = Limits { head_bytes_max, ..Limits::default() };
        let outcome = Run { limits, ..Run::default() }.input(request.repeat(2));
        assert!(outcome.output.starts_with(&format!("HTTP/1.1 {status}")), "{}", outcome.output);
    }
}

#[test]
fn a_service_sees_the_clients_bytes() {
    for (input, seen) in [
        ("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n", "GET /echo|"),
        ("\r\n\r\nGET /echo HTTP/1.1\r\nHost:\r\n\r\n", "GET /echo|"),
        ("GET /echo?%41=+ HTTP/1.1\r\nHost: a\r\n\r\n", "GET /echo?%41=+|"),
        ("get /echo HTTP/1.1\r\nHost: a\r\n\r\n", "get /echo|"),
        ("GET HTTP://b:1/echo?c HTTP/1.1\r\nHost: a\r\n\r\n", "GET /echo?c|"),
        (
            "GET /echo HTTP/1.1\r\nHost: a\r\nx:1\r\nX: \t2 3\t \r\ny:\r\n\r\n",
            "GET /echo x=1 X=2 3 y=|",
        ),
        (
            "GET /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            "GET /echo Content-Length=0|",
        ),
        (
            "PUT /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
            "PUT /echo Content-Length=2 Content-Length=2|hi",
        ),
    ] {
        let outcome = Run::default().input(input);
        assert_eq!(outcome.output, ok(seen), "{input:?}");
        assert_eq!(outcome.result.unwrap(), Closed::Done);
    }
}

#[test]
fn accessors_tell_what_the_head_says() {
    let head = RequestHead::parse(
        b"DELETE http://b:1 HTTP/1.1\r\nHost: a\r\nX: 1\r\nx: 2\r\nbin: \xff\r\n\
          Content-Length: 7\r\n\r\n",
    )
    .unwrap();
    assert_eq!((head.method(), head.method_name()), (Method::Delete, "DELETE"));
    assert_eq!((head.target(), head.host()), ("/", Some("b:1")));
    assert_eq!((head.header_str("X"), head.header_count("x")), (Some("1"), 2));
    assert_eq!(head.header_values("x").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!((head.header("BIN"), head.header_str("bin")), (Some(&b"\xff"[..]), None));
    assert_eq!((head.content_length(), head.is_chunked()), (Some(7), false));
    assert_eq!(head.header("y"), None);

    let head =
        RequestHead::parse(b"OPTIONS * HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n")
            .unwrap();
    assert_eq!((head.target(), head.host()), ("*", Some("a")));
    assert_eq!((head.content_length(), head.is_chunked()), (None, true));
    assert!(RequestHead::parse(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nx").is_err());
    assert!(RequestHead::parse(b"GET / HTTP/1.1\r\nHost: a\r\n").is_err());
}
