//! The same tricks through a cache in front: nginx and the server must agree where each request ends, or
//! one visitor is given what another asked for.

use std::collections::HashMap;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::smuggling::{CHUNKED, ambiguous_heads, broken_chunks, put, smuggled};
use super::{CANARY, audit_lines, keys, with_canary};
use crate::cdn::edge::{Ports, user};
use ringfort_tests::harness::client::{Client, Request, say};
use ringfort_tests::harness::scripts::is_left_out;
use ringfort_tests::harness::{Server, Site, wait_until};

/// nginx as a plain proxy that keeps its connections to the server.
struct Front {
    process: Child,
    public: SocketAddr,
    log: std::path::PathBuf,
}

impl Front {
    fn start(site: &Site, server: &Server<'_>, buffering: &str) -> Self {
        let public = Ports::choose().public;
        let directory = site.path(&format!("front-{buffering}"));
        fs::create_dir_all(&directory).unwrap();
        let place = directory.to_str().unwrap();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {place}/{name};"))
            .concat();
        // One connection to the server for all: whoever upsets it upsets the next.
        let text = format!(
            "user {};\npid {place}/pid;\nworker_processes 1;\nevents {{}}\nhttp {{\n{temporary}\n\
             log_format seen '$request_method $request_uri';\n\
             access_log {place}/access.log seen;\n\
             upstream origin {{ server {}; keepalive 1; }}\n\
             server {{ listen {public}; location / {{ proxy_pass http://origin; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_request_buffering {buffering};\n\
             proxy_next_upstream off; }} }} }}\n",
            user(),
            server.listen,
        );
        fs::write(directory.join("nginx.conf"), text).unwrap();
        let process = Command::new("nginx")
            .args(["-p", place, "-e", "error.log", "-c", "nginx.conf", "-g", "daemon off;"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed");
        wait_until("nginx", || TcpStream::connect(public).is_ok());
        Self { process, public, log: directory.join("access.log") }
    }

    /// How many requests it has seen, by method and path.
    fn seen(&self) -> HashMap<(String, String), usize> {
        let mut counts = HashMap::new();
        for line in fs::read_to_string(&self.log).unwrap().lines() {
            let (method, rest) = line.split_once(' ').unwrap_or_default();
            let path = rest.split('?').next().unwrap().to_owned();
            *counts.entry((method.to_owned(), unescaped(&path))).or_default() += 1;
        }
        counts
    }
}

/// nginx writes bytes that are no plain text as `\xHH`.
fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut parts = text.split("\\x");
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// A visitor who reads objects that nobody else asks for, and must get each.
fn visit_until(public: SocketAddr, who: usize, is_over: &AtomicBool) -> usize {
    let mut client = Client::new(public);
    let mut count = 0;
    while !is_over.load(Ordering::Relaxed) {
        let number = count % 8;
        let target = format!("/bucket/of-{who}-{number}");
        let get = Request::new("GET", &target).signed_by(None);
        // The proxy may lose a connection to the server, and says so; another's answer is the crime.
        if let Ok(answer) = client.send(&get) {
            let is_own = answer.text() == format!("body {who}-{number}");
            assert!(
                is_own || answer.status == 502,
                "{target}: {} {}",
                answer.status,
                answer.text()
            );
            count += usize::from(is_own);
        }
    }
    count
}

#[test]
fn a_proxy_and_the_server_agree_where_each_request_ends() {
    if is_left_out("nginx") {
        return;
    }
    for buffering in ["on", "off"] {
        let site = Site::new();
        let log = site.path("audit.log").display().to_string();
        let site = site.flags(&["--audit-log", &log]);
        let server = site.start();
        let mut root = with_canary(&server);
        for (who, number) in (0..3).flat_map(|who| (0..8).map(move |number| (who, number))) {
            let body = format!("body {who}-{number}");
            root.put(&format!("/bucket/of-{who}-{number}"), body).expect(200);
        }
        let front = Front::start(&site, &server, buffering);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let visitors: Vec<_> = (0..3)
                .map(|who| {
                    scope.spawn({
                        let (public, is_over) = (front.public, &is_over);
                        move || visit_until(public, who, is_over)
                    })
                })
                .collect();
            attack(front.public);
            // The visitors go on for a moment behind the last attack.
            thread::sleep(Duration::from_millis(500));
            is_over.store(true, Ordering::Relaxed);
            for visitor in visitors {
                let count = visitor.join().unwrap();
                assert!(count > 20, "a visitor was served {count} times");
            }
        });
        assert_eq!(root.get("/bucket/canary").expect(200).body, CANARY);
        let stored = keys(&mut root);
        assert!(!stored.iter().any(|key| key == "smuggled"), "{stored:?}");
        drop(root);
        server.stop();
        // The server has seen no request through the proxy but those that the proxy has seen as such.
        let mut seen_there = front.seen();
        for line in audit_lines(&site) {
            let (Some(method), Some(key)) = (line["method"].as_str(), line["key"].as_str()) else {
                continue;
            };
            if line["who"]["kind"] == "root" {
                continue;
            }
            let seen = (
                method.to_owned(),
                format!("/{}/{key}", line["bucket"].as_str().unwrap_or_default()),
            );
            let left = seen_there
                .get_mut(&seen)
                .unwrap_or_else(|| panic!("the proxy has seen no {seen:?}"));
            *left = left
                .checked_sub(1)
                .unwrap_or_else(|| panic!("the proxy has seen {seen:?} less often"));
        }
    }
}

/// Everything ambiguous, with a request behind it.
fn attack(public: SocketAddr) {
    let wait = Duration::from_secs(20);
    let tail = |number: usize| ["0\r\n\r\n", &smuggled(number)].concat();
    for (number, head) in ambiguous_heads().iter().enumerate() {
        let bytes = [head, tail(number).as_bytes()].concat();
        // What nginx itself takes for two requests is two: only what one body holds is smuggled.
        let text = String::from_utf8_lossy(&bytes).replace("/bucket/smuggled", "/bucket/behind");
        let _ = say(
            public,
            text.replace("DELETE /bucket/canary", "GET /bucket/canary").as_bytes(),
            wait,
        );
    }
    for (number, body) in broken_chunks().iter().enumerate() {
        let bytes = [&put(CHUNKED), &body[..], &smuggled(number)].concat();
        let text = bytes.replace("/bucket/smuggled", "/bucket/behind");
        let _ = say(
            public,
            text.replace("DELETE /bucket/canary", "GET /bucket/canary").as_bytes(),
            wait,
        );
    }
    // Whole bodies that hold requests, to what reads them and what does not.
    let body: String = (0..4).map(smuggled).collect();
    let length = body.len();
    for line in [
        "PUT /bucket/outer",
        "GET /bucket/canary",
        "DELETE /bucket/none",
        "PUT /none/x",
        "POST /bucket/outer",
        "OPTIONS /bucket/x",
    ] {
        for framed in [
            format!("Content-Length: {length}\r\n\r\n{body}"),
            format!("Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n{body}"),
            format!(
                "Transfer-Encoding: chunked\r\n\r\n{length:x};a=\"b\"\r\n{body}\r\n0\r\nContent-Length: 3\r\n\r\n"
            ),
            format!(
                "Transfer-Encoding: chunked\r\nX: y\r\n\r\n5\r\nhello\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"
            ),
            format!("Content-Length: {}\r\n\r\n{body}", length + 50),
        ] {
            let _ = say(public, format!("{line} HTTP/1.1\r\nHost: a\r\n{framed}").as_bytes(), wait);
        }
    }
}
