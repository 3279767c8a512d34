//! A bucket behind an edge that caches: nginx with the shipped configuration, and caches that are purged.

pub(crate) mod edge;
mod purges;
mod varnish;

use std::thread;

use edge::{Edge, Ports, visit};
use ringfort_tests::harness::client::{Client, Request};
use ringfort_tests::harness::scripts::is_left_out;
use ringfort_tests::harness::tree::noise;
use ringfort_tests::harness::{Server, Site, wait_until};
use serde_json::{Value, json};

const SECRET: &str = "an-edge-shows-this-secret";
const MIB: usize = 1 << 20;

/// A request to the management API that must go well.
fn manage(server: &Server<'_>, method: &str, path: &str, body: &Value) -> Value {
    let request = Request::new(method, &format!("/api/v1/{path}"))
        .signed_by(None)
        .header("authorization", "Bearer test-key")
        .body(body.to_string());
    let answer = Client::new(server.admin_listen).call(&request).expect(200);
    serde_json::from_slice(&answer.body).unwrap()
}

/// A site whose server purges the edge, and the name of the target.
fn site(ports: &Ports) -> Site {
    Site::new().variable("RINGFORT_NOTIFY_PURGE", &format!("edge=http://{}", ports.purge))
}

/// A private bucket that lets the edge in and has it purged.
fn make_bucket(server: &Server<'_>, name: &str, cache_control: &str) {
    let mut s3 = server.client();
    s3.put(&format!("/{name}"), "").expect(200);
    purge_by(&mut s3, name, "edge");
    let origin = json!({
        "cache_control": cache_control,
        "secret_header": "X-Origin-Secret",
        "secrets": [SECRET],
    });
    manage(server, "PUT", &format!("buckets/{name}/origin"), &origin);
}

/// Has a target purge what changes in a bucket.
fn purge_by(s3: &mut Client, bucket: &str, target: &str) {
    let events = ["ObjectCreated:*", "ObjectRemoved:*", "LifecycleExpiration:*", "ObjectAcl:Put"]
        .map(|event| format!("<Event>s3:{event}</Event>"))
        .concat();
    let document = format!(
        "<NotificationConfiguration><QueueConfiguration>\
         <Queue>arn:ringfort:sqs::{target}:purge</Queue>{events}\
         </QueueConfiguration></NotificationConfiguration>"
    );
    s3.put(&format!("/{bucket}?notification="), document).expect(200);
}

/// Waits until a visitor of the edge gets this.
#[track_caller]
fn wait_for(client: &mut Client, target: &str, status: u16, body: Option<&[u8]>) {
    wait_until(&format!("{status} for {target}"), || {
        let answer = visit(client, target);
        answer.status == status && body.is_none_or(|body| answer.body == body)
    });
}

#[test]
fn an_edge_keeps_what_the_bucket_allows_and_forgets_what_changes() {
    if is_left_out("nginx") {
        return;
    }
    let ports = Ports::choose();
    let site = site(&ports);
    let server = site.start();
    let edge = Edge::start(&site, &server, &ports, SECRET);
    make_bucket(&server, "site", "public, max-age=1000");
    let mut s3 = server.client();
    let mut browser = edge.client();
    let key = "/site/a%20b/%C3%BC%2B%281%29.txt";
    for (target, body) in [(key, "first"), ("/site/other.txt", "other")] {
        s3.put(target, body).expect(200);
        edge.wait_for_purge(target);
    }

    // Nobody reads past the edge, and who visits the edge needs nothing.
    visit(&mut server.client(), key).expect_error(403, "AccessDenied");
    let answer = visit(&mut browser, key).expect(200);
    assert_eq!(answer.header("x-cache-status"), Some("MISS"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=1000"));
    assert_eq!(answer.header("x-amz-request-id"), None);
    for _ in 0..2 {
        let answer = visit(&mut browser, key).expect(200);
        assert_eq!((answer.header("x-cache-status"), &*answer.body), (Some("HIT"), &b"first"[..]));
    }
    let etag = answer.header("etag").unwrap();
    let again = Request::new("GET", key).signed_by(None).header("if-none-match", etag);
    browser.call(&again).expect(304);
    let range = Request::new("GET", key).signed_by(None).header("range", "bytes=1-2");
    assert_eq!(browser.call(&range).expect(206).text(), "ir");
    // HEAD is answered by what GET has brought, and the other way round.
    let head = |target: &str| Request::new("HEAD", target).signed_by(None);
    assert_eq!(browser.call(&head(key)).expect(200).header("x-cache-status"), Some("HIT"));
    assert_eq!(
        browser.call(&head("/site/other.txt")).expect(200).header("content-length"),
        Some("5")
    );
    assert_eq!(visit(&mut browser, "/site/other.txt").header("x-cache-status"), Some("HIT"));

    // What a visitor sends beside the path reaches nobody.
    let nosy = Request::new("GET", "/site/other.txt")
        .signed_by(None)
        .header("authorization", "AWS4-HMAC-SHA256 nonsense")
        .header("x-origin-secret", "wrong");
    browser.call(&nosy).expect(200);
    assert_eq!(visit(&mut browser, "/site/other.txt?acl").expect(200).text(), "other");
    visit(&mut browser, "/site?list-type=2").expect(403);
    let write = Request::new("PUT", "/site/new").body("x");
    edge.client().call(&write).expect(403);

    // Errors are asked for each time, so that an object is seen when it is there.
    for _ in 0..2 {
        visit(&mut browser, "/site/later").expect_error(404, "NoSuchKey");
    }
    edge.expect_lines(2, &["/site/later ", "cache=MISS origin=404"]);
    s3.put("/site/later", "here").expect(200);
    assert_eq!(visit(&mut browser, "/site/later").expect(200).text(), "here");

    // Overwritten, deleted, renamed.
    s3.put(key, "second").expect(200);
    wait_for(&mut browser, key, 200, Some(b"second"));
    s3.delete(key).expect(204);
    wait_for(&mut browser, key, 404, None);
    let rename = Request::new("PUT", "/site/later?renameObject=")
        .header("x-amz-rename-source", "/other.txt");
    s3.call(&rename).expect(200);
    wait_for(&mut browser, "/site/later", 200, Some(b"other"));
    wait_for(&mut browser, "/site/other.txt", 404, None);

    // A secret that is not good any more.
    let origin =
        json!({"secret_header": "x-origin-secret", "secrets": ["another-secret-of-an-edge"]});
    manage(&server, "PUT", "buckets/site/origin", &origin);
    s3.put("/site/new", "x").expect(200);
    visit(&mut browser, "/site/new").expect_error(403, "AccessDenied");
    assert!(edge.errors().is_empty(), "{}", edge.errors());
    server.stop();
}

/// nginx answers 400 to a URL that climbs above the root, today and tomorrow.
#[test]
fn a_name_that_no_edge_takes_holds_up_no_purge() {
    if is_left_out("nginx") {
        return;
    }
    let ports = Ports::choose();
    let site = site(&ports).expect_log("its target will never take it");
    let server = site.start();
    let edge = Edge::start(&site, &server, &ports, SECRET);
    make_bucket(&server, "site", "max-age=1000");
    let mut s3 = server.client();
    s3.put("/site/../../x", "climbs").expect(200);
    s3.put("/site/next", "first").expect(200);
    edge.wait_for_purge("/site/next");
    let dropped = "ringfort_notify_dropped_total{core=\"0\",target=\"edge\",reason=\"refused\"}";
    wait_until("the drop to be counted", || server.metric(dropped) == 1.0);
    assert_eq!(server.metric("ringfort_notify_attempts_failed_total"), 0.0);
    server.stop();
}

/// A bucket with CORS answers `Vary: Origin`, for which nginx would keep an answer where no purge finds it.
#[test]
fn an_edge_forgets_what_changes_in_a_bucket_with_cors() {
    if is_left_out("nginx") {
        return;
    }
    let ports = Ports::choose();
    let site = site(&ports);
    let server = site.start();
    let edge = Edge::start(&site, &server, &ports, SECRET);
    make_bucket(&server, "site", "max-age=1000");
    let mut s3 = server.client();
    let cors = "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin>\
                <AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>";
    s3.put("/site?cors=", cors).expect(200);
    let mut browser = edge.client();
    let page = |target: &str, origin: &str| {
        Request::new("GET", target).signed_by(None).header("origin", origin)
    };
    for target in ["/site/plain", "/site/large/film"] {
        s3.put(target, "first").expect(200);
        edge.wait_for_purge(target);
        visit(&mut browser, target).expect(200);
        for origin in ["http://a.test", "http://b.test"] {
            let answer = browser.call(&page(target, origin)).expect(200);
            assert_eq!(answer.header("x-cache-status"), Some("HIT"), "{target} {origin}");
            assert_eq!(answer.header("access-control-allow-origin"), None);
        }
        s3.put(target, "second").expect(200);
        wait_for(&mut browser, target, 200, Some(b"second"));
        let answer = browser.call(&page(target, "http://a.test")).expect(200);
        assert_eq!(answer.text(), "second");
        s3.delete(target).expect(204);
        wait_for(&mut browser, target, 404, None);
    }
    let preflight = Request::new("OPTIONS", "/site/plain").signed_by(None);
    browser.call(&preflight.header("origin", "http://a.test")).expect(403);
    server.stop();
}

#[test]
fn an_edge_asks_again_when_an_answer_is_old_and_once_for_many() {
    if is_left_out("nginx") {
        return;
    }
    let ports = Ports::choose();
    let site = site(&ports);
    let server = site.start();
    let edge = Edge::start(&site, &server, &ports, SECRET);
    make_bucket(&server, "site", "max-age=1000");
    let mut s3 = server.client();
    let short =
        Request::new("PUT", "/site/short").header("cache-control", "max-age=1").body("short");
    s3.call(&short).expect(200);
    edge.wait_for_purge("/site/short");
    let mut browser = edge.client();
    assert_eq!(visit(&mut browser, "/site/short").header("x-cache-status"), Some("MISS"));
    wait_until("the answer to be old and asked for again", || {
        let answer = visit(&mut browser, "/site/short").expect(200);
        assert_eq!(answer.text(), "short");
        answer.header("x-cache-status") == Some("REVALIDATED")
    });
    edge.expect_lines(1, &["/site/short ", "cache=REVALIDATED origin=304"]);

    let body = noise(7, 4 * MIB);
    s3.put("/site/wanted", body.clone()).expect(200);
    edge.wait_for_purge("/site/wanted");
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                assert!(visit(&mut edge.client(), "/site/wanted").expect(200).body == body);
            });
        }
    });
    edge.expect_lines(20, &["GET /site/wanted "]);
    edge.expect_lines(1, &["GET /site/wanted ", "origin=200"]);

    // Without its origin it sends what it has.
    server.stop();
    wait_until("an old answer", || {
        let answer = visit(&mut browser, "/site/short").expect(200);
        assert_eq!(answer.text(), "short");
        answer.header("x-cache-status") == Some("STALE")
    });
    visit(&mut browser, "/site/never-seen").expect(502);
}

/// What a visitor sends has one meaning for the edge and could have another for the origin.
#[test]
fn nobody_files_one_objects_etag_under_another_name() {
    if is_left_out("nginx") {
        return;
    }
    let ports = Ports::choose();
    let site = site(&ports);
    let server = site.start();
    let edge = Edge::start(&site, &server, &ports, SECRET);
    make_bucket(&server, "site", "max-age=1000");
    let mut s3 = server.client();
    let film = "/site/large/film%20%23%25%3F";
    let others = ["/site/large/x/../film%20%23%25%3F", "/site/large/./film%20%23%25%3F"];
    s3.put(film, "the film").expect(200);
    for other in others {
        s3.put(other, "something else").expect(200);
        edge.wait_for_purge(other);
    }
    let mut browser = edge.client();
    for target in others.into_iter().chain([film, "/site/large/film%20%23%25%3F#x"]) {
        assert_eq!(visit(&mut browser, target).expect(200).text(), "the film", "{target}");
    }
    server.stop();
}

#[test]
fn an_edge_never_mixes_slices_of_two_versions() {
    if is_left_out("nginx") {
        return;
    }
    let ports = Ports::choose();
    let site = site(&ports);
    let server = site.start();
    let edge = Edge::start(&site, &server, &ports, SECRET);
    make_bucket(&server, "site", "max-age=1000");
    let mut s3 = server.client();
    let film = "/site/large/film";
    let part = |target: &str, first: usize, last: usize| {
        let range = format!("bytes={first}-{last}");
        Request::new("GET", target).signed_by(None).header("range", &range)
    };
    let (first, second) = (noise(1, 10 * MIB), noise(2, 10 * MIB));
    s3.put(film, first.clone()).expect(200);
    edge.wait_for_purge(film);
    let mut browser = edge.client();
    // From the midst of the second slice to that of the fourth.
    let (from, to) = (MIB * 3 / 2, MIB * 7 / 2);
    for expected in ["MISS", "HIT"] {
        let answer = browser.call(&part(film, from, to)).expect(206);
        assert_eq!(answer.header("x-cache-status"), Some(expected));
        assert!(answer.body == first[from..=to]);
    }
    edge.expect_lines(1, &["/large/film ", "origin=206"]);
    assert!(visit(&mut browser, film).expect(200).body == first);
    visit(&mut browser, "/site/large/nothing").expect_error(404, "NoSuchKey");

    s3.put(film, second.clone()).expect(200);
    wait_for(&mut browser, film, 200, Some(&second));
    edge.expect_lines(1, &["PURGE /site/large/film ", " 200 "]);
    s3.delete(film).expect(204);
    wait_for(&mut browser, film, 404, None);

    // Nobody purges here, so that the edge still believes in the first version.
    s3.put("/site?notification=", "<NotificationConfiguration/>").expect(200);
    s3.put("/site/large/show", first.clone()).expect(200);
    let begin = browser.call(&part("/site/large/show", 0, MIB - 1)).expect(206);
    assert!(begin.body == first[..MIB]);
    s3.put("/site/large/show", second.clone()).expect(200);
    // What begins in a slice that it has goes no further than that, unless it has asked for the ETag again.
    let broken = edge.client().send(&part("/site/large/show", 0, 2 * MIB - 1));
    if let Ok(answer) = broken {
        assert!(answer.body == second[..2 * MIB], "two versions in one answer");
    }
    // It asks again soon.
    wait_until("the second version", || {
        let answer = edge.client().call(&part("/site/large/show", from, to));
        assert!(answer.status == 412 || answer.body == second[from..=to], "{}", answer.status);
        answer.status == 206
    });
    let whole = visit(&mut edge.client(), "/site/large/show").expect(200);
    assert!(whole.body == second);
    server.stop();
}
