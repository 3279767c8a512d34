//! What clients store and ask for goes into headers, redirects and logs: nothing of it adds a line there.

use super::{audit_lines, talk};
use ringfort_tests::harness::client::{Client, Request, canonical};
use ringfort_tests::harness::{Server, Site, wait_until};

/// What would be a header, and a whole answer, if it were copied as it is.
const EVIL: &str = "a\r\nX-Injected: 1\r\nSet-Cookie: s=1\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nX-Injected: 2\r\n\r\n";

/// The one answer to bytes must be whole and hold no header of ours.
#[track_caller]
fn check_clean(address: std::net::SocketAddr, bytes: &[u8], status: u16) -> String {
    let said = talk(address, bytes);
    let text = String::from_utf8_lossy(&said).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap();
    assert!(first.starts_with(&format!("HTTP/1.1 {status}")), "{text}");
    let mut length = 0;
    for line in lines {
        let lower = line.to_ascii_lowercase();
        assert!(!lower.starts_with("x-injected") && !lower.starts_with("set-cookie"), "{text}");
        assert!(!line.contains(['\r', '\n', '\0']), "{text}");
        if let Some(value) = lower.strip_prefix("content-length: ") {
            assert_eq!(length, 0, "two lengths: {text}");
            length = value.parse().unwrap();
        }
    }
    assert_eq!(body.len(), length, "{text}");
    text
}

/// A signed request as bytes, with the connection's end behind it.
fn bytes(server: &Server<'_>, request: Request) -> Vec<u8> {
    let head = request.head(&server.listen.to_string());
    let head = String::from_utf8(head).unwrap().replacen("\r\n", "\r\nConnection: close\r\n", 1);
    [head.as_bytes(), &request.body].concat()
}

fn with_bucket(server: &Server<'_>) -> Client {
    let mut root = server.client();
    root.put("/bucket", "").expect(200);
    let policy = r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":["s3:GetObject","s3:PutObject"],"Resource":"arn:aws:s3:::bucket/*"}}"#;
    root.put("/bucket?policy=", policy).expect(204);
    root
}

/// A browser's form may hold line ends in every field.
fn form(fields: &[(&str, &str)]) -> Request {
    let fields: String = fields
        .iter()
        .map(|(name, value)| {
            format!("--XyZ\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        })
        .collect();
    let file = "--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nhere\r\n--XyZ--\r\n";
    Request::new("POST", "/bucket")
        .signed_by(None)
        .header("content-type", "multipart/form-data; boundary=XyZ")
        .body(fields + file)
}

#[test]
fn fields_of_forms_add_no_header() {
    let site = Site::new();
    let server = site.start();
    let mut root = with_bucket(&server);
    let mut stored = 0;
    for field in [
        "Content-Type",
        "Content-Disposition",
        "Content-Encoding",
        "Content-Language",
        "Cache-Control",
        "Expires",
        "x-amz-meta-a",
        "x-amz-website-redirect-location",
        "x-amz-storage-class",
        "success_action_redirect",
        "success_action_status",
        "tagging",
        "x-amz-meta-a\r\nX-Injected",
        "x-amz-server-side-encryption",
        "acl",
        "x-amz-meta-\u{fc}",
    ] {
        for value in [
            EVIL,
            "a\nX-Injected: 1",
            "a\rX-Injected: 1",
            "/a\r\nX-Injected: 1",
            "http://a/\r\nX-Injected: 1",
            "a\0b",
            "=?UTF-8?B?YQ0KWC1JbmplY3RlZDogMQ==?=",
            "\u{2028}X-Injected: 1",
            "\u{10a}X-Injected: 1",
            "%0d%0aX-Injected: 1",
        ] {
            let answer = form(&[("key", "odd"), (field, value)]);
            let head = String::from_utf8(answer.head(&server.listen.to_string())).unwrap();
            let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
            let said = talk(server.listen, &[head.as_bytes(), &answer.body].concat());
            let text = String::from_utf8_lossy(&said).into_owned();
            let head = text.split("\r\n\r\n").next().unwrap();
            assert!(!head.to_lowercase().contains("\nx-injected"), "{field}: {text}");
            assert!(!head.starts_with("HTTP/1.1 5"), "{field} {value:?}: {text}");
            if root.get("/bucket/odd").status == 200 {
                stored += 1;
                for request in
                    [Request::new("GET", "/bucket/odd"), Request::new("HEAD", "/bucket/odd")]
                {
                    let said = talk(server.listen, &bytes(&server, request));
                    let text = String::from_utf8_lossy(&said).into_owned();
                    let head = text.split("\r\n\r\n").next().unwrap();
                    assert!(head.starts_with("HTTP/1.1 200"), "{field}: {text}");
                    assert!(!head.to_lowercase().contains("\nx-injected"), "{field}: {text}");
                    assert!(
                        !head.split("\r\n").any(|line| line.contains(['\r', '\n', '\0'])),
                        "{field}: {text}"
                    );
                }
                root.delete("/bucket/odd").expect(204);
            }
        }
    }
    assert!(stored > 10, "only {stored} were stored");
    // The place that a form's answer sends the browser to is text that the form brings.
    let redirect =
        form(&[("key", "k%0d%0aX-Injected: 1"), ("success_action_redirect", "http://a/b?c=d")]);
    let head = redirect.head(&server.listen.to_string());
    let head = String::from_utf8(head).unwrap().replacen("\r\n", "\r\nConnection: close\r\n", 1);
    check_clean(server.listen, &[head.as_bytes(), &redirect.body].concat(), 303);
    drop(root);
    server.stop();
}

#[test]
fn overrides_origins_and_redirects_add_no_header() {
    let site = Site::new().flags(&["--website-domain", "web.test"]);
    let server = site.start();
    let mut root = with_bucket(&server);
    root.put("/bucket/k", "here").expect(200);
    let evil = canonical(EVIL, b"-._~");
    for name in [
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "expires",
    ] {
        for value in [
            &evil[..],
            "a%0AX-Injected%3A%201",
            "a%0DX-Injected%3A%201",
            "a%00b",
            "%E2%80%A8x",
            "%E5%98%8A%E5%98%8DX-Injected%3A%201",
        ] {
            let get = Request::new("GET", &format!("/bucket/k?response-{name}={value}"));
            let text = check_clean(server.listen, &bytes(&server, get), 200);
            assert!(text.ends_with("\r\n\r\nhere"), "{text}");
        }
    }
    // An origin is echoed only as a header could hold it, and what is asked for is not trusted.
    let cors = "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>\
                <AllowedHeader>*</AllowedHeader></CORSRule></CORSConfiguration>";
    root.put("/bucket?cors=", cors).expect(200);
    for origin in [
        "http://a%0d%0aX-Injected: 1",
        "http://a\tX-Injected: 1",
        "null",
        "\u{fc}",
        "http://a\u{85}X-Injected: 1",
    ] {
        for method in ["GET", "OPTIONS"] {
            let head = format!(
                "{method} /bucket/k HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: GET\r\n\
                 Access-Control-Request-Headers: a, b%0d%0aX-Injected\r\nConnection: close\r\n\r\n"
            );
            let said = talk(server.listen, head.as_bytes());
            let head = String::from_utf8_lossy(&said).into_owned();
            assert!(!head.to_lowercase().contains("\nx-injected"), "{head}");
        }
    }
    // A website's redirects: from an object, from rules, for a folder.
    let website = "<WebsiteConfiguration><IndexDocument><Suffix>index.html</Suffix></IndexDocument><RoutingRules>\
        <RoutingRule><Condition><KeyPrefixEquals>old/</KeyPrefixEquals></Condition><Redirect><ReplaceKeyPrefixWith>new/</ReplaceKeyPrefixWith></Redirect></RoutingRule>\
        </RoutingRules></WebsiteConfiguration>";
    root.put("/bucket?website=", website).expect(200);
    root.put("/bucket/folder%0D%0AX-Injected%3A%201/index.html", "x").expect(200);
    root.put("/bucket//evil.test/index.html", "x").expect(200);
    let visit = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: bucket.web.test\r\nConnection: close\r\n\r\n")
    };
    for path in [
        "/old/%0d%0aX-Injected:%201",
        "/folder%0d%0aX-Injected%3A%201",
        "/old/a%00b",
        "/old/%E2%80%A8",
        "//evil.test",
    ] {
        let said = talk(server.listen, visit(path).as_bytes());
        let text = String::from_utf8_lossy(&said).into_owned();
        let head = text.split("\r\n\r\n").next().unwrap();
        assert!(head.starts_with("HTTP/1.1 30"), "{path}: {text}");
        assert!(!head.to_lowercase().contains("\nx-injected"), "{path}: {text}");
        // Nor does a path become the name of another host.
        let location = head.split("\r\n").find_map(|line| line.strip_prefix("Location: ")).unwrap();
        assert!(!location.starts_with("//") && !location.starts_with("/\\"), "{path}: {location}");
    }
    for location in ["//evil.test/", "javascript:alert(1)", "ftp://a/", "evil.test", "/\\evil.test"]
    {
        let put = Request::new("PUT", "/bucket/moved")
            .body("x")
            .header("x-amz-website-redirect-location", location);
        let answer = root.call(&put);
        if answer.status == 200 {
            let said = talk(server.listen, visit("/moved").as_bytes());
            let text = String::from_utf8_lossy(&said).into_owned();
            assert!(text.contains(&format!("\r\nLocation: {location}\r\n")), "{text}");
            assert!(location.starts_with('/'), "{location} was taken");
        }
    }
    server.stop();
}

/// Every log is lines, and each request makes one in each, whatever it brings.
#[test]
fn no_request_adds_a_line_to_a_log() {
    let site = Site::new();
    let log = site.path("audit.log").display().to_string();
    let site = site.flags(&["--audit-log", &log, "--access-log-interval", "1"]);
    let server = site.start();
    let mut root = with_bucket(&server);
    root.put("/logs", "").expect(200);
    let policy = r#"{"Statement":{"Effect":"Allow","Principal":{"Service":"logging.s3.amazonaws.com"},"Action":"s3:PutObject","Resource":"arn:aws:s3:::logs/*"}}"#;
    root.put("/logs?policy=", policy).expect(204);
    let logging = "<BucketLoggingStatus><LoggingEnabled><TargetBucket>logs</TargetBucket><TargetPrefix>x</TargetPrefix></LoggingEnabled></BucketLoggingStatus>";
    root.put("/bucket?logging=", logging).expect(200);
    let evil = "%0D%0A%7B%22v%22%3A1%2C%22operation%22%3A%22Forged%22%7D%0D%0A%22%20-%20Forged";
    let mut sent = 0;
    for target in [
        format!("/bucket/{evil}"),
        format!("/bucket/k?x-id={evil}"),
        format!("/bucket/k?versionId={evil}"),
        format!("/{evil}/k"),
    ] {
        for agent in [
            "a",
            "a\" Forged \"b",
            "\\\" Forged",
            "\u{1b}[31mForged",
            "a\tForged",
            "\u{85}\u{2028}Forged",
            "%0d%0aForged",
        ] {
            for method in ["GET", "PUT"] {
                let head = format!(
                    "{method} {target} HTTP/1.1\r\nHost: a\r\nUser-Agent: {agent}\r\nReferer: {agent}\r\nx-amz-copy-source: {evil}\r\n\
                     Content-Length: 0\r\nConnection: close\r\n\r\n"
                );
                // An escape is no part of a header: that one is refused before it is a request.
                let said = talk(server.listen, head.as_bytes());
                sent += usize::from(!agent.contains('\u{1b}'));
                assert!(!said.starts_with(b"HTTP/1.1 5"), "{}", String::from_utf8_lossy(&said));
            }
        }
    }
    // Wrong keys and names at the management port as well.
    let body = r#"{"access_key":"a\r\n\u001b[2JForged","secret_key":"xyz"}"#;
    for path in ["/api/v1/%0d%0aForged", "/console/session"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer Forged\r\nUser-Agent: \" Forged\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let said = talk(server.admin_listen, head.as_bytes());
        assert!(said.starts_with(b"HTTP/1.1 401"), "{}", String::from_utf8_lossy(&said));
    }
    // Without those of the preparation, whose lines may come late.
    let is_strange = |line: &serde_json::Value| line["who"]["kind"] != "root";
    let lines = || audit_lines(&site).into_iter().filter(is_strange).collect::<Vec<_>>();
    wait_until(&format!("{} lines of the audit log", sent + 2), || lines().len() >= sent + 2);
    for line in lines() {
        assert_ne!(line["operation"], "Forged", "{line}");
        assert_eq!(line["v"], 1, "{line}");
    }
    assert_eq!(lines().len(), sent + 2);
    // The server's own log: every line is whole, and none is of a client's making.
    for line in server.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            line["level"].is_string()
                && line["target"].as_str().unwrap().starts_with(['s', 'r', 'e', 'h']),
            "{line}"
        );
    }
    // Access logs come with a delay; each of their lines begins with the owner.
    let text = |root: &mut Client| {
        let listed = root.get("/logs?list-type=2").expect(200).text();
        let keys: Vec<String> = listed
            .split("<Key>")
            .skip(1)
            .map(|rest| rest.split("</Key>").next().unwrap().to_owned())
            .collect();
        keys.iter()
            .map(|key| root.get(&format!("/logs/{key}")).expect(200).text())
            .collect::<String>()
    };
    // Not of all: another bucket's are not logged, nor is what is no operation.
    wait_until("the access log", || text(&mut root).lines().count() >= sent / 2);
    let text = text(&mut root);
    let owner = text.split(' ').next().unwrap().to_owned();
    for line in text.lines() {
        assert!(line.starts_with(&format!("{owner} bucket [")), "{line}");
        assert!(!line.contains(['\r', '\t', '\u{1b}']), "{line:?}");
        assert_eq!(line.matches('"').count() % 2, 0, "{line}");
    }
    server.stop();
}
