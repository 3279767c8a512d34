//! Varnish with the configuration that is shipped (`packaging/cdn/varnish.vcl`), in front of the real server.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use ringfort_tests::harness::client::{Client, Request};
use ringfort_tests::harness::scripts::is_left_out;
use ringfort_tests::harness::{Server, Site, repository, wait_until};

use super::edge::{Ports, visit};
use super::{SECRET, make_bucket, wait_for};

struct Varnish {
    process: Child,
}

impl Varnish {
    fn start(site: &Site, server: &Server<'_>, ports: &Ports) -> Self {
        let shipped = fs::read_to_string(repository().join("packaging/cdn/varnish.vcl")).unwrap();
        let changes = [
            (".port = \"9000\"", format!(".port = \"{}\"", server.listen.port())),
            ("the secret of the bucket's origin", SECRET.to_owned()),
        ];
        let text = changes.iter().fold(shipped, |text, (from, to)| {
            assert!(text.contains(from), "the shipped configuration has no {from}");
            text.replace(from, to)
        });
        let vcl = site.path("varnish.vcl");
        fs::write(&vcl, text).unwrap();
        let said = site.path("varnish.log");
        let mut process = Command::new("varnishd")
            .args(["-F", "-j", "none", "-s", "malloc,64m", "-a", &ports.purge.to_string(), "-n"])
            .arg(site.path("varnish"))
            .arg("-f")
            .arg(&vcl)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&said).unwrap())
            .spawn()
            .expect("varnish is installed");
        wait_until("varnish", || {
            let end = process.try_wait().unwrap();
            assert!(end.is_none(), "{}", fs::read_to_string(&said).unwrap());
            TcpStream::connect(ports.purge).is_ok()
        });
        Self { process }
    }
}

impl Drop for Varnish {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

#[test]
fn varnish_keeps_what_the_bucket_allows_and_forgets_what_changes() {
    if is_left_out("varnish") {
        return;
    }
    // It is purged where visitors ask.
    let ports = Ports::choose();
    let site = super::site(&ports);
    let server = site.start();
    let _varnish = Varnish::start(&site, &server, &ports);
    make_bucket(&server, "site", "public, max-age=1000");
    let mut s3 = server.client();
    let mut browser = Client::new(ports.purge);
    let key = "/site/a%20b/%C3%BC%2B%281%29.txt";
    s3.put(key, "first").expect(200);
    wait_until("the answer to stay", || {
        let answer = visit(&mut browser, key).expect(200);
        assert_eq!(answer.text(), "first");
        answer.header("x-cache-status") == Some("HIT")
    });
    let nosy = Request::new("GET", &format!("{key}?acl")).signed_by(None);
    let nosy = nosy.header("authorization", "AWS4-HMAC-SHA256 nonsense");
    assert_eq!(browser.call(&nosy).expect(200).text(), "first");
    browser.call(&Request::new("PUT", key).body("x")).expect(405);
    for _ in 0..2 {
        let missing = visit(&mut browser, "/site/later").expect(404);
        assert_eq!(missing.header("x-cache-status"), Some("MISS"));
    }
    s3.put("/site/later", "here").expect(200);
    assert_eq!(visit(&mut browser, "/site/later").expect(200).text(), "here");

    s3.put(key, "second").expect(200);
    wait_for(&mut browser, key, 200, Some(b"second"));
    s3.delete(key).expect(204);
    wait_for(&mut browser, key, 404, None);

    // Browsers send some signs as they are, and anybody may write codes in another way.
    let photo = "/site/photo%20%281%29%2B%C3%BC.jpg";
    let others = ["/site/photo%20(1)+%c3%bC.jpg", "/site/photo%20%281)%2b%C3%bc.jpg?x"];
    let odd = ["/site/photo%20(1)+%C3%BC%2Ejpg", "/site/%70hoto%20(1)+%C3%BC.jpg"];
    s3.put(photo, "first").expect(200);
    // Five changes and the test event: a purge that comes later would take away what is about to be found kept.
    wait_until("every change to be purged", || {
        server.metric("ringfort_notify_delivered_total") == 6.0
    });
    wait_until("the photo to stay", || {
        let answer = visit(&mut browser, others[0]).expect(200);
        answer.header("x-cache-status") == Some("HIT")
    });
    for target in [photo, others[1]] {
        let answer = visit(&mut browser, target).expect(200);
        assert_eq!(answer.header("x-cache-status"), Some("HIT"), "{target}");
    }
    for target in odd.into_iter().chain(odd) {
        let answer = visit(&mut browser, target);
        let kept = answer.header("x-cache-status");
        assert_eq!((answer.status, kept), (200, Some("MISS")), "{target}");
        assert_eq!(answer.text(), "first");
    }
    s3.put(photo, "second").expect(200);
    for target in others.into_iter().chain([photo]) {
        wait_for(&mut browser, target, 200, Some(b"second"));
    }

    // What is old is sent once more and asked for again meanwhile.
    let short =
        Request::new("PUT", "/site/short").header("cache-control", "max-age=1").body("short");
    s3.call(&short).expect(200);
    let not_modified =
        || server.metric("ringfort_requests_total{operation=\"GetObject\",status=\"304\"");
    wait_until("an answer that nothing changed", || {
        assert_eq!(visit(&mut browser, "/site/short").expect(200).text(), "short");
        not_modified() > 0.0
    });
    server.stop();
}
