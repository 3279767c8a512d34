//! The management port under guessing: wrong keys and passwords are bounded for each address, the right ones
//! from elsewhere are heard, and what was refused is counted and told.

use std::time::{Duration, Instant};

use super::audit_lines;
use ringfort_tests::harness::client::{Answer, Client, Request, Signing};
use ringfort_tests::harness::{ACCESS_KEY, SECRET_KEY, Site, wait_until};
use serde_json::json;

/// A request of somebody behind the proxy that the server trusts.
fn ask(client: &mut Client, from: &str, path: &str, key: &str) -> Answer {
    let request = Request::new("GET", path)
        .signed_by(None)
        .header("authorization", &format!("Bearer {key}"))
        .header("x-forwarded-for", from);
    client.call(&request)
}

fn sign_in(client: &mut Client, from: &str, proof: &serde_json::Value) -> Answer {
    let request = Request::new("POST", "/console/session")
        .signed_by(None)
        .header("content-type", "application/json")
        .header("x-forwarded-for", from)
        .body(proof.to_string());
    client.call(&request)
}

fn site() -> Site {
    let site = Site::new();
    let log = site.path("audit.log").display().to_string();
    site.flags(&["--audit-log", &log, "--trusted-proxy", "127.0.0.0/8"])
}

const API: &str = "/api/v1/whoami";

#[test]
fn guessing_api_keys_is_bounded_for_each_address() {
    let site = site();
    let server = site.start();
    let mut client = Client::new(server.admin_listen);
    let guesser = "192.0.2.1";
    let mut heard = 0;
    for number in 0..500 {
        // By every way that a key is shown.
        let key = format!("guess-{number}");
        let answer = match number % 3 {
            0 => ask(&mut client, guesser, API, &key),
            1 => ask(&mut client, guesser, "/api/v1/no-such-thing", &key),
            _ => sign_in(&mut client, guesser, &json!({ "api_key": key })),
        };
        match answer.status {
            401 => heard += 1,
            429 => {
                let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                assert!((1..=61).contains(&seconds), "{seconds}");
            }
            other => panic!("{other}: {}", answer.text()),
        }
    }
    // A window may have ended on the way, on a busy machine.
    assert!((10..=20).contains(&heard), "{heard} guesses were heard");
    // Not even the right key is: it could be the next guess. Nor does health become a way to ask.
    ask(&mut client, guesser, API, "test-key").expect(429);
    let page = ask(&mut client, guesser, "/health", "test-key").expect(200).text();
    let open = Client::new(server.admin_listen)
        .call(&Request::new("GET", "/health").signed_by(None))
        .text();
    assert_eq!(page, open);
    // Others are: the operator elsewhere, in a session, at the S3 port; and all that needs no key.
    ask(&mut client, "192.0.2.2", API, "test-key").expect(200);
    ask(&mut client, "2001:db8::1", API, "test-key").expect(200);
    sign_in(&mut client, "192.0.2.2", &json!({ "api_key": "test-key" })).expect(200);
    sign_in(&mut client, guesser, &json!({ "access_key": ACCESS_KEY, "secret_key": SECRET_KEY }))
        .expect(200);
    for path in ["/health/live", "/health/ready", "/metrics"] {
        ask(&mut client, guesser, path, "guess").expect(200);
    }
    // Addresses of one IPv6 network are one.
    for number in 0..10 {
        ask(&mut client, &format!("2001:db8:1:1::{number}"), API, &format!("guess-{number}"))
            .expect(401);
    }
    ask(&mut client, "2001:db8:1:1:ffff::1", API, "test-key").expect(429);
    ask(&mut client, "2001:db8:1:2::1", API, "test-key").expect(200);

    let wrong = server.metric("ringfort_admin_refused_total{reason=\"wrong_key\"}");
    let waiting = server.metric("ringfort_admin_refused_total{reason=\"waiting\"}");
    assert!(wrong >= 20.0 && waiting >= 480.0, "{wrong} wrong, {waiting} waiting");
    drop(client);
    server.stop();
    let lines = audit_lines(&site);
    let count = |status: u16| {
        lines.iter().filter(|line| line["status"] == status && line["source"] == guesser).count()
    };
    assert_eq!((count(401), count(401) + count(429)), (heard, 501), "each guess has its line");
    assert!(!lines.iter().any(|line| line.to_string().contains("guess-")), "a key was logged");
}

/// A dashboard that still shows a key which was revoked must not lock its operator's host out.
#[test]
fn the_same_wrong_key_again_and_again_keeps_nobody_out() {
    let site = site();
    let server = site.start();
    let mut client = Client::new(server.admin_listen);
    for _ in 0..200 {
        ask(&mut client, "192.0.2.1", API, "was-revoked").expect(401);
        ask(&mut client, "192.0.2.1", "/health", "was-revoked").expect(200);
    }
    ask(&mut client, "192.0.2.1", API, "test-key").expect(200);
    server.stop();
}

/// A client can say that it speaks for anybody, and is believed only if the operator trusts it.
#[test]
fn an_address_that_a_client_makes_up_does_not_count() {
    let site = Site::new();
    let server = site.start();
    let mut client = Client::new(server.admin_listen);
    let mut statuses: Vec<u16> = (0..30)
        .map(|number| {
            ask(&mut client, &format!("192.0.2.{number}"), API, &format!("guess-{number}")).status
        })
        .collect();
    statuses.dedup();
    assert_eq!(statuses, [401, 429]);
    server.stop();
}

/// Many addresses at once: what is remembered of them is bounded, and the operator is heard.
#[test]
fn guesses_from_everywhere_take_bounded_memory_and_time() {
    let site = site();
    let server = site.start();
    let mut client = Client::new(server.admin_listen);
    ask(&mut client, "192.0.2.1", API, "test-key").expect(200);
    let before = server.resident_bytes();
    let begin = Instant::now();
    for number in 0..12_000u32 {
        let from = std::net::Ipv4Addr::from(0x0a00_0000 + number * 7).to_string();
        let key = format!("guess-{number}");
        let answer = match number % 2 {
            0 => ask(&mut client, &from, API, &key),
            _ => sign_in(&mut client, &from, &json!({ "access_key": key, "secret_key": key })),
        };
        answer.expect(401);
    }
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    let grown = server.resident_bytes().saturating_sub(before);
    assert!(grown < 24 << 20, "{} MiB", grown >> 20);
    ask(&mut client, "192.0.2.1", API, "test-key").expect(200);
    drop(client);
    server.stop();
}

/// Signatures cannot be guessed, so that nobody waits for them; but who tries is seen.
#[test]
fn refused_signatures_are_counted_and_keep_nobody_waiting() {
    let site = Site::new();
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    for number in 0..300 {
        let signing = match number % 3 {
            0 => Signing::new(ACCESS_KEY, "wrong"),
            1 => Signing::new(&format!("NOBODY{number}"), "wrong"),
            _ => Signing::default().skewed(3600),
        };
        client.call(&Request::new("GET", "/bucket").signed_by(Some(signing))).expect(403);
    }
    client.get("/bucket").expect(200);
    for code in ["SignatureDoesNotMatch", "InvalidAccessKeyId", "RequestTimeTooSkewed"] {
        let metric = format!("ringfort_signatures_refused_total{{code=\"{code}\"}}");
        wait_until(&metric, || server.metric(&metric) >= 100.0);
        assert!(server.metric(&metric) < 101.0, "{metric}");
    }
    server.stop();
}
