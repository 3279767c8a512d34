//! What the services of caches are told, by receivers that stand for them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use ringfort_tests::harness::{Site, wait_until};
use serde_json::{Value, json};

use super::purge_by;

/// A request that came: method and target, its credential, its body.
type Asked = (String, String, Value);

/// A cache that answers what it is told to.
struct Cache {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    status: Arc<Mutex<u16>>,
}

impl Cache {
    fn start(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, status) = (Arc::<Mutex<Vec<Asked>>>::default(), Arc::new(Mutex::new(status)));
        let shared = (Arc::clone(&asked), Arc::clone(&status));
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (asked, status) = (Arc::clone(&shared.0), Arc::clone(&shared.1));
                thread::spawn(move || serve(stream, &asked, &status));
            }
        });
        Self { port, asked, status }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, asked: &Mutex<Vec<Asked>>, status: &Mutex<u16>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line.trim_end().is_empty() {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        let header = |name: &str| {
            let of_line = |line: &String| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then(|| value.to_owned())
            };
            lines.iter().find_map(of_line)
        };
        let length = header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        let body = if length == 0 { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        let first = lines[0].trim_end_matches(" HTTP/1.1").to_owned();
        let credential = ["authorization", "fastly-key"].into_iter().find_map(header);
        asked.lock().unwrap().push((first, credential.unwrap_or_default(), body));
        let answer = format!("HTTP/1.1 {} X\r\nContent-Length: 0\r\n\r\n", *status.lock().unwrap());
        if stream.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn each_service_is_told_in_its_own_way_until_it_confirms() {
    // An edge that never had the object says 404; a service that is asked too often says 429.
    let [edge, fastly, cloudflare] = [404, 429, 200].map(Cache::start);
    let url = |cache: &Cache, path: &str| format!("http://127.0.0.1:{}{path}", cache.port);
    let targets = format!(
        "edge={},fast={},cloud={}",
        url(&edge, "/{bucket}-site/{key}"),
        url(&fastly, "/service/ID"),
        url(&cloudflare, "/client/v4/zones/ZONE")
    );
    let site = Site::new()
        .variables(&[
            ("RINGFORT_NOTIFY_PURGE", targets.as_str()),
            ("RINGFORT_NOTIFY_PURGE_SERVICE", "fast=fastly,cloud=cloudflare"),
            ("RINGFORT_NOTIFY_PURGE_METHOD", "edge=BAN"),
            ("RINGFORT_NOTIFY_PURGE_PUBLIC_URL", "cloud=https://cdn.test/{key}"),
            ("RINGFORT_NOTIFY_PURGE_AUTH", "edge=Basic e,fast=fastly-token,cloud=cloud-token"),
        ])
        .expect_log("events cannot be delivered");
    let server = site.start();
    let mut s3 = server.client();
    for (bucket, target) in [("one", "edge"), ("two", "fast"), ("three", "cloud")] {
        s3.put(&format!("/{bucket}"), "").expect(200);
        purge_by(&mut s3, bucket, target);
        s3.put(&format!("/{bucket}/a%20b"), "x").expect(200);
        s3.delete(&format!("/{bucket}/a%20b")).expect(204);
    }
    wait_until("Fastly to refuse", || !fastly.asked().is_empty());
    *fastly.status.lock().unwrap() = 200;
    // One test event and two events of the object for each.
    wait_until("all to be confirmed", || {
        server.metric("ringfort_notify_delivered_total") == 9.0
            && server.metric("ringfort_notify_waiting_events") == 0.0
    });
    let check = |cache: &Cache, asked: &str, credential: &str, body: Value| {
        for one in cache.asked() {
            assert_eq!(one, (asked.to_owned(), credential.to_owned(), body.clone()));
        }
        assert!(!cache.asked().is_empty());
    };
    check(&edge, "BAN /one-site/a%20b", "Basic e", Value::Null);
    let keys = json!({"surrogate_keys": ["two/a%20b"]});
    check(&fastly, "POST /service/ID/purge", "fastly-token", keys);
    let files = json!({"files": ["https://cdn.test/a%20b"]});
    let asked = "POST /client/v4/zones/ZONE/purge_cache";
    check(&cloudflare, asked, "Bearer cloud-token", files);
    assert!(!server.log().contains("token"), "a credential is in the log");
    server.stop();
}

/// A write that was answered is purged, though the edge was away and the server was killed.
#[test]
fn purges_survive_a_kill_and_an_edge_that_is_away() {
    let edge = Cache::start(503);
    let site = Site::new()
        .variable("RINGFORT_NOTIFY_PURGE", &format!("edge=http://127.0.0.1:{}", edge.port))
        .expect_log("events cannot be delivered");
    let server = site.start();
    let mut s3 = server.client();
    s3.put("/site", "").expect(200);
    let versioning = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    s3.put("/site?versioning=", versioning).expect(200);
    purge_by(&mut s3, "site", "edge");
    s3.put("/site/written", "x").expect(200);
    s3.put("/site/covered", "x").expect(200);
    // A delete marker covers it, and without that it is seen again.
    let marker = s3.delete("/site/covered").expect(204);
    let marker = marker.header("x-amz-version-id").unwrap().to_owned();
    s3.delete(&format!("/site/covered?versionId={marker}")).expect(204);
    wait_until("the edge to refuse", || !edge.asked().is_empty());
    server.kill();

    let before = edge.asked().len();
    *edge.status.lock().unwrap() = 200;
    let server = site.start();
    let told = || -> Vec<String> {
        edge.asked().into_iter().skip(before).map(|(asked, ..)| asked).collect()
    };
    let expected = [
        "PURGE /site/written",
        "PURGE /site/covered",
        "PURGE /site/covered",
        "PURGE /site/covered",
    ];
    wait_until("all purges", || told().len() >= expected.len());
    assert_eq!(told(), expected);
    server.stop();
}
