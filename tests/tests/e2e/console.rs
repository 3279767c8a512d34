//! The console: what its sessions may do and what keeps others out, by raw requests; and all of it in a
//! browser (`clients/console_browser.py`).

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ringfort_tests::harness::client::{Answer, Client, Request};
use ringfort_tests::harness::scripts::{self, Python, is_left_out, run};
use ringfort_tests::harness::{ACCESS_KEY, SECRET_KEY, Server, Site, ringfort};
use serde_json::{Value, json};

#[test]
fn the_console_in_a_browser() {
    if is_left_out("chromium") {
        return;
    }
    let site = Site::new().expect_log("a backup failed");
    let keys = site.path("sse-keys");
    let mut make_key = Command::new(ringfort());
    run(make_key.arg("sse-key").arg(&keys));
    let site = site.flags(&["--sse-key-file", keys.to_str().unwrap()]);
    let server = site.start();
    let bare_site = Site::new();
    let bare = bare_site.start();
    let mut command = scripts::script_by(Python::Browser, &site, &server, "console_browser.py");
    command.env("RINGFORT_CONSOLE_WITHOUT_MASTER", format!("http://{}", bare.admin_listen));
    command.env("RINGFORT_S3", server.endpoint());
    command.env("RINGFORT_BACKUPS", site.path("back <i>ups'"));
    command.env("RINGFORT_CONSOLE", format!("http://{}", server.admin_listen));
    command.env("RINGFORT_PICTURES", Path::new(env!("CARGO_TARGET_TMPDIR")).join("console"));
    assert!(run(&mut command).contains("the console works"));
    server.stop();
    bare.stop();
}

/// A browser's side of a session, as far as it has one.
pub(super) struct Browser {
    client: Client,
    cookie: String,
    csrf: String,
}

impl Browser {
    fn new(server: &Server<'_>) -> Self {
        let client = Client::new(server.admin_listen);
        Self { client, cookie: String::new(), csrf: String::new() }
    }

    /// Signed in.
    pub(super) fn of(server: &Server<'_>, proof: &Value) -> Self {
        let mut browser = Self::new(server);
        let answer = browser.sign_in(proof).expect(200);
        let set = answer.header("set-cookie").unwrap();
        let (cookie, attributes) = set.split_once(';').unwrap();
        assert_eq!(attributes, " Path=/; HttpOnly; SameSite=Strict");
        let (name, token) = cookie.split_once('=').unwrap();
        assert_eq!((name, token.len()), ("ringfort-session", 64));
        browser.cookie = cookie.to_owned();
        browser.csrf = json_of(&answer)["csrf"].as_str().unwrap().to_owned();
        browser
    }

    fn root(server: &Server<'_>) -> Self {
        Self::of(server, &json!({ "access_key": ACCESS_KEY, "secret_key": SECRET_KEY }))
    }

    fn sign_in(&mut self, proof: &Value) -> Answer {
        let request = Request::new("POST", "/console/session").signed_by(None);
        let request = request.header("Content-Type", "application/json");
        self.client.call(&request.body(proof.to_string()))
    }

    /// A request with the cookie, and with the token if it changes something.
    fn request(&self, method: &str, target: &str) -> Request {
        let request = Request::new(method, target).signed_by(None).header("Cookie", &self.cookie);
        match method {
            "GET" | "HEAD" => request,
            _ => request.header("X-Ringfort-CSRF", &self.csrf),
        }
    }

    fn call(&mut self, request: &Request) -> Answer {
        self.client.call(request)
    }

    pub(super) fn ask(&mut self, method: &str, target: &str, body: &str) -> Answer {
        let request = self.request(method, target).header("Content-Type", "application/json");
        self.call(&request.body(body))
    }
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

fn make_user(root: &mut Browser, name: &str) -> String {
    let order = json!({ "user_name": name, "access_key": format!("{name}-key"), "secret_key": format!("{name}-secret") });
    let made = root.ask("POST", "/api/v1/credentials", &order.to_string()).expect(201);
    format!("/api/v1/credentials/{}", json_of(&made)["id"])
}

fn user(server: &Server<'_>, name: &str) -> Browser {
    let (access_key, secret_key) = (format!("{name}-key"), format!("{name}-secret"));
    Browser::of(server, &json!({ "access_key": access_key, "secret_key": secret_key }))
}

#[test]
fn pages_are_hardened_and_need_no_session() {
    let site = Site::new();
    let server = site.start();
    let mut client = Client::new(server.admin_listen);
    let get = |target: &str| Request::new("GET", target).signed_by(None);
    for target in ["/", "/console"] {
        let answer = client.call(&get(target)).expect(302);
        assert_eq!(answer.header("location"), Some("/console/"));
    }
    let page = client.call(&get("/console/")).expect(200);
    let policy = page.header("content-security-policy").unwrap();
    for part in
        ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]
    {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cache-control", "no-cache"),
    ] {
        assert_eq!(page.header(name), Some(value), "{name}");
    }
    let tag = page.header("etag").unwrap();
    client.call(&get("/console/").header("If-None-Match", tag)).expect(304);
    for (method, target, status) in [
        ("GET", "/console/nothing.js", 404),
        ("GET", "/console/../Cargo.toml", 404),
        ("GET", "/console/%2e%2e/x", 404),
        ("POST", "/console/", 405),
        ("PUT", "/console/session", 405),
        ("GET", "/console/session", 401),
        ("DELETE", "/console/session", 401),
        ("GET", "/console/links", 405),
        ("POST", "/console/links", 401),
        ("GET", "/console/s3/", 401),
        ("GET", "/console/view/b/k", 401),
        ("PUT", "/console/s3/bucket", 401),
        ("GET", "/api/v1/credentials", 401),
    ] {
        let request = Request::new(method, target).signed_by(None);
        let answer = client.call(&request).expect(status);
        assert!(answer.header("set-cookie").is_none());
    }
    server.stop();
}

#[test]
fn whoever_has_no_credentials_hears_one_answer_and_then_waits() {
    let site = Site::new();
    let server = site.start();
    let mut browser = Browser::new(&server);
    for wrong in [
        json!([]),
        json!({}),
        json!({ "access_key": 1, "secret_key": "x" }),
        json!({ "api_key": "x", "more": 1 }),
    ] {
        let answer = browser.sign_in(&wrong).expect(400);
        assert!(answer.text().contains("access_key"), "{}", answer.text());
    }
    let no_json = Request::new("POST", "/console/session").signed_by(None).body("{}");
    browser.call(&no_json).expect(415);
    let proofs = [
        json!({ "access_key": ACCESS_KEY, "secret_key": "wrong" }),
        json!({ "access_key": "nobody", "secret_key": SECRET_KEY }),
        json!({ "access_key": ACCESS_KEY, "secret_key": "" }),
        json!({ "api_key": "wrong" }),
        json!({ "api_key": "" }),
    ];
    let mut said: Vec<String> =
        proofs.iter().map(|proof| browser.sign_in(proof).expect(401).text()).collect();
    said.dedup();
    assert_eq!(said.len(), 1, "{said:?}");
    let right = json!({ "access_key": ACCESS_KEY, "secret_key": SECRET_KEY });
    browser.sign_in(&right).expect(200);
    for _ in 0..8 {
        browser.sign_in(&proofs[0]).expect(401);
    }
    browser.sign_in(&proofs[0]).expect(429);
    browser.sign_in(&right).expect(429);
    // Others of the address, which may be a proxy's, are heard.
    browser.sign_in(&proofs[1]).expect(401);
    browser.sign_in(&json!({ "api_key": "test-key" })).expect(200);
    assert!(!server.log().contains("wrong"));
    server.stop();
}

#[test]
fn requests_of_other_pages_are_refused() {
    let site = Site::new();
    let server = site.start();
    let mut root = Browser::root(&server);
    let host = server.admin_listen.to_string();
    let own = format!("http://{host}");
    let put = |root: &Browser| root.request("PUT", "/console/s3/photos");
    let without = Request::new("PUT", "/console/s3/photos").signed_by(None);
    let without = without.header("Cookie", &root.cookie);
    root.call(&without).expect(403);
    root.call(&without.clone().header("X-Ringfort-CSRF", &"0".repeat(64))).expect(403);
    for (name, value) in [
        ("Origin", "http://evil.example"),
        ("Origin", "null"),
        ("Origin", &server.endpoint()),
        ("Sec-Fetch-Site", "same-site"),
        ("Sec-Fetch-Site", "cross-site"),
    ] {
        let request = put(&root).header(name, value);
        root.call(&request).expect(403);
        let read = root.request("GET", "/console/s3/").header(name, value);
        root.call(&read).expect(403);
        let manage = root.request("GET", "/api/v1/credentials").header(name, value);
        root.call(&manage).expect(403);
        let sign_in = Request::new("POST", "/console/session").signed_by(None).header(name, value);
        root.call(&sign_in.header("Content-Type", "application/json").body("{}")).expect(403);
    }
    let order = json!({ "user_name": "x" }).to_string();
    let manage = Request::new("POST", "/api/v1/credentials").signed_by(None);
    root.call(&manage.header("Cookie", &root.cookie.clone()).body(order)).expect(403);
    for target in ["/console/s3/", "/console/session", "/api/v1/credentials"] {
        let script = root.request("GET", target).header("Sec-Fetch-Dest", "script");
        root.call(&script).expect(403);
    }
    root.call(&root.request("OPTIONS", "/console/s3/photos")).expect(405);
    let request = put(&root).header("Origin", &own).header("Sec-Fetch-Site", "same-origin");
    root.call(&request).expect(200);
    server.stop();
}

#[test]
fn a_session_may_do_what_its_holder_may() {
    let site = Site::new();
    let server = site.start();
    let mut root = Browser::root(&server);
    let told = json_of(&root.call(&root.request("GET", "/console/session")).expect(200));
    assert_eq!((&told["may_manage"], &told["csrf"]), (&json!(true), &json!(root.csrf)));
    let alice_path = make_user(&mut root, "alice");
    make_user(&mut root, "bob");
    let (mut alice, mut bob) = (user(&server, "alice"), user(&server, "bob"));

    alice.ask("PUT", "/console/s3/alices", "").expect(200);
    let key = "/console/s3/alices%2F..%2F%3Cb%3E";
    alice
        .call(&alice.request("PUT", key).header("Content-Type", "text/html").body("<script>"))
        .expect(200);
    bob.call(&bob.request("GET", key)).expect_error(403, "AccessDenied");
    bob.ask("DELETE", "/console/s3/alices", "").expect_error(403, "AccessDenied");
    bob.call(&bob.request("GET", "/api/v1/credentials")).expect(403);
    // The API key goes before the cookie.
    let both = bob.request("GET", "/api/v1/credentials").header("Authorization", "Bearer test-key");
    assert!(bob.call(&both).expect(200).header("content-security-policy").is_none());
    for (browser, status) in [(&mut bob, 403), (&mut root, 200)] {
        let answer = browser.call(&browser.request("GET", "/api/v1/credentials")).expect(status);
        for (name, value) in [
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("x-content-type-options", "nosniff"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{name}");
        }
    }
    let got = root.call(&root.request("GET", key)).expect(200);
    assert_eq!(got.text(), "<script>");
    assert_eq!(got.header("content-type"), Some("application/octet-stream"));
    assert_eq!(got.header("content-disposition"), Some("attachment; filename*=UTF-8''%3Cb%3E"));
    assert!(got.header("content-security-policy").unwrap().starts_with("sandbox;"));
    assert_eq!(got.header("cache-control"), Some("no-store"));
    for (asked, shown) in [
        ("image%2Fpng%3Bx%2C%20text%2Fhtml", "image/png"),
        ("audio%2Fx%2C%20text%2Fhtml", "application/octet-stream"),
        ("text%2Fplain%3Bx", "text/plain; charset=utf-8"),
    ] {
        let view = key.replace("/s3/", "/view/") + "?response-content-type=" + asked;
        let got = alice.call(&alice.request("GET", &view)).expect(200);
        assert_eq!(got.header("content-type"), Some(shown), "{asked}");
    }
    let listed = alice.call(&alice.request("GET", "/console/s3/alices?list-type=2")).expect(200);
    assert_eq!(listed.element("Key").as_deref(), Some("../&lt;b&gt;"));
    let part = alice.call(&alice.request("GET", key).header("Range", "bytes=1-3")).expect(206);
    assert_eq!(part.text(), "scr");

    let order = json!({ "bucket": "alices", "key": "../<b>", "expires_in": 60 }).to_string();
    let link = json_of(&alice.ask("POST", "/console/links", &order).expect(200));
    let target = link["url"].as_str().unwrap().strip_prefix(&server.endpoint()).unwrap().to_owned();
    let mut s3 = server.client();
    assert_eq!(
        s3.call(&Request::new("GET", &target).signed_by(None)).expect(200).text(),
        "<script>"
    );
    let order =
        json!({ "bucket": "alices", "key": "../<b>", "show_as": "application/pdf" }).to_string();
    let pdf = json_of(&alice.ask("POST", "/console/links", &order).expect(200));
    let target = pdf["url"].as_str().unwrap().strip_prefix(&server.endpoint()).unwrap().to_owned();
    let shown = s3.call(&Request::new("GET", &target).signed_by(None)).expect(200);
    assert_eq!(shown.header("content-type"), Some("application/pdf"));
    assert_eq!(shown.header("content-disposition"), Some("inline"));
    let as_page = target.replace("application%2Fpdf", "text%2Fhtml");
    assert_ne!(as_page, target);
    s3.call(&Request::new("GET", &as_page).signed_by(None))
        .expect_error(403, "SignatureDoesNotMatch");
    let of_bob = json_of(&bob.ask("POST", "/console/links", &order).expect(200));
    let target =
        of_bob["url"].as_str().unwrap().strip_prefix(&server.endpoint()).unwrap().to_owned();
    s3.call(&Request::new("GET", &target).signed_by(None)).expect_error(403, "AccessDenied");
    let wrong = json!({ "bucket": "alices", "key": "k", "expires_in": 0 }).to_string();
    assert!(alice.ask("POST", "/console/links", &wrong).expect(400).text().contains("expires_in"));

    // A user who is inactive, gone, or another one under the same access key has no session.
    root.ask("PATCH", &alice_path, r#"{"is_active": false}"#).expect(200);
    alice.call(&alice.request("GET", key)).expect(401);
    root.ask("PATCH", &alice_path, r#"{"is_active": true}"#).expect(200);
    alice.call(&alice.request("GET", key)).expect(401);
    let mut alice = user(&server, "alice");
    root.ask("DELETE", &alice_path, "").expect(200);
    make_user(&mut root, "alice");
    alice.call(&alice.request("GET", "/console/session")).expect(401);

    let mut by_key = Browser::of(&server, &json!({ "api_key": "test-key" }));
    assert_eq!(by_key.call(&by_key.request("GET", key)).expect(200).text(), "<script>");
    by_key.call(&by_key.request("GET", "/api/v1/credentials")).expect(200);
    let gone = by_key.ask("DELETE", "/console/session", "").expect(200);
    assert!(gone.header("set-cookie").unwrap().starts_with("ringfort-session=; Max-Age=0"));
    by_key.call(&by_key.request("GET", "/console/session")).expect(401);
    server.stop();
}

#[test]
fn cookies_that_another_port_has_set_take_no_session_over() {
    let site = Site::new();
    let server = site.start();
    let mut root = Browser::root(&server);
    make_user(&mut root, "mallory");
    let mut mallory = user(&server, "mallory");
    let get = |cookies: &str| {
        Request::new("GET", "/console/session").signed_by(None).header("Cookie", cookies)
    };
    // More than one that is no session, and one twice, are no harm.
    let planted = format!("ringfort-session={:064}; ", 1).repeat(6);
    root.call(&get(&format!("{planted}{}; {}", root.cookie, root.cookie))).expect(200);
    let both = format!("{}; {}", mallory.cookie, root.cookie);
    let answer = root.call(&get(&both)).expect(409);
    assert!(answer.text().contains("several sessions"), "{}", answer.text());
    let end = Request::new("DELETE", "/console/session").signed_by(None).header("Cookie", &both);
    root.call(&end.header("X-Ringfort-CSRF", &root.csrf)).expect(409);
    root.call(&get(&root.cookie)).expect(200);
    mallory.call(&get(&mallory.cookie)).expect(200);

    let proof = json!({ "access_key": ACCESS_KEY, "secret_key": SECRET_KEY });
    let again = Request::new("POST", "/console/session").signed_by(None).header("Cookie", &both);
    let again = again.header("Content-Type", "application/json").body(proof.to_string());
    let answer = root.call(&again).expect(200);
    let set = answer.headers.iter().filter(|(name, _)| name == "set-cookie");
    let set: Vec<&str> = set.map(|(_, value)| value.as_str()).collect();
    for path in ["/console", "/console/", "/console/s3"] {
        let gone = format!("ringfort-session=; Max-Age=0; Path={path}; HttpOnly; SameSite=Strict");
        assert!(set.contains(&gone.as_str()), "{set:?}");
    }
    root.call(&get(&root.cookie)).expect(401);
    mallory.call(&get(&mallory.cookie)).expect(401);
    assert!(server.log().contains("signed in at the console"));
    server.stop();
}

#[test]
fn a_session_by_an_api_key_has_its_rights_and_its_end() {
    let site = Site::new();
    let server = site.start();
    let mut root = Browser::root(&server);
    root.ask("PUT", "/console/s3/photos", "").expect(200);
    root.call(&root.request("PUT", "/console/s3/photos/k").body("1")).expect(200);
    let order = r#"{"name": "watcher", "rights": "read-only"}"#;
    let made = json_of(&root.ask("POST", "/api/v1/api-keys", order).expect(201));
    let mut watcher = Browser::of(&server, &json!({ "api_key": made["key"] }));
    let told = json_of(&watcher.call(&watcher.request("GET", "/console/session")).expect(200));
    assert_eq!(told["api_key"], json!({ "name": "watcher", "rights": "read-only" }));
    assert_eq!(
        watcher.call(&watcher.request("GET", "/console/s3/photos/k")).expect(200).text(),
        "1"
    );
    watcher.call(&watcher.request("GET", "/api/v1/stats")).expect(200);
    let link = json!({ "bucket": "photos", "key": "k" }).to_string();
    for (method, target, body) in [
        ("PUT", "/console/s3/photos/k", "2"),
        ("DELETE", "/console/s3/photos/k", ""),
        ("POST", "/console/s3/photos?delete=", "<Delete/>"),
        ("POST", "/console/links", &link),
        ("POST", "/api/v1/api-keys", r#"{"name": "x", "rights": "full"}"#),
    ] {
        let answer = watcher.ask(method, target, body).expect(403);
        assert!(answer.text().contains("may only read"), "{}", answer.text());
    }
    let mut other = Browser::of(&server, &json!({ "api_key": made["key"] }));
    other.ask("DELETE", "/console/session", "").expect(200);
    let path = format!("/api/v1/api-keys/{}", made["id"].as_str().unwrap());
    root.ask("DELETE", &path, "").expect(200);
    watcher.call(&watcher.request("GET", "/console/s3/photos/k")).expect(401);
    Browser::new(&server).sign_in(&json!({ "api_key": made["key"] })).expect(401);
    server.stop();
}

#[test]
fn a_form_is_refused() {
    let site = Site::new();
    let server = site.start();
    let mut root = Browser::root(&server);
    root.ask("PUT", "/console/s3/photos", "").expect(200);
    let form = root.request("POST", "/console/s3/photos");
    let form = form.header("Content-Type", "Multipart/Form-Data; boundary=x").body("--x--");
    let answer = root.call(&form).expect(400);
    assert!(answer.text().contains("forms are posted to the S3 port"), "{}", answer.text());
    server.stop();
}

/// The start of a download that goes no further, and its status.
fn stuck(server: &Server<'_>, browser: &Browser) -> (TcpStream, u16) {
    let mut stream = TcpStream::connect(server.admin_listen).unwrap();
    let head = format!(
        "GET /console/s3/photos/large HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\n\r\n",
        server.admin_listen, browser.cookie
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    let status = std::str::from_utf8(&start[9..]).unwrap().parse().unwrap();
    (stream, status)
}

#[test]
fn transfers_that_nobody_goes_on_with_hold_up_nobody_else() {
    let site = Site::new();
    let server = site.start();
    let mut root = Browser::root(&server);
    root.ask("PUT", "/console/s3/photos", "").expect(200);
    root.call(&root.request("PUT", "/console/s3/photos/large").body(vec![7; 32 << 20])).expect(200);
    make_user(&mut root, "alice");
    let mut alice = user(&server, "alice");
    let held: Vec<(TcpStream, u16)> = (0..24).map(|_| stuck(&server, &root)).collect();
    assert!(held.iter().all(|(_, status)| *status == 200));
    // Another session of the same holder has no more.
    let mut again = Browser::root(&server);
    let list = again.request("GET", "/console/s3/");
    let answer = again.call(&list).expect(503);
    assert!(answer.text().contains("too many transfers of yours"), "{}", answer.text());
    alice.call(&alice.request("GET", "/console/s3/")).expect(200);
    for target in ["/health", "/metrics"] {
        again.call(&Request::new("GET", target).signed_by(None)).expect(200);
    }
    again.call(&again.request("GET", "/api/v1/stats")).expect(200);
    drop(held);
    let start = Instant::now();
    while again.call(&list).status != 200 {
        assert!(start.elapsed() < Duration::from_secs(20), "the places are not given back");
        std::thread::yield_now();
    }
    server.stop();
}

/// What a browser loads from the store when the server stops must not hold it up, nor the store be closed
/// under it.
#[test]
fn a_stop_ends_a_download_that_nobody_reads() {
    let site = Site::new().expect_log("the time for draining is over");
    let server = site.start();
    let mut root = Browser::root(&server);
    root.ask("PUT", "/console/s3/photos", "").expect(200);
    root.call(&root.request("PUT", "/console/s3/photos/large").body(vec![7; 64 << 20])).expect(200);
    let (_stream, status) = stuck(&server, &root);
    assert_eq!(status, 200);
    server.stop();
}
