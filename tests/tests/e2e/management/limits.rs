//! Limits of traffic: set on the management port, held on the S3 port by all cores together.

use super::{Api, Site, json};
use ringfort_tests::harness::client::{Answer, Client, Request, Signing, connect};
use ringfort_tests::harness::scripts::{run, script};
use ringfort_tests::harness::{PATIENCE, Server, wait_within};
use serde_json::Value;
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CODE: &str = "SlowDown";

/// A user with a bucket of their own, and their number.
fn user(api: &mut Api, name: &str) -> Signing {
    let (key, secret) = (format!("{name}-key"), format!("{name}-secret"));
    let order = json!({"user_name": name, "access_key": key, "secret_key": secret});
    let made = api.post(201, "credentials", &order);
    api.post(201, "buckets", &json!({"name": name, "owner_id": made["id"]}));
    Signing::new(&key, &secret)
}

/// All limits, of which those that are not given are not set.
fn all(given: Value) -> Value {
    let mut all = json!({
        "requests_per_second": null,
        "burst_requests": null,
        "concurrent_requests": null,
        "bytes_in_per_second": null,
        "bytes_out_per_second": null,
    });
    for (name, value) in given.as_object().unwrap() {
        all[name] = value.clone();
    }
    all
}

fn by(signing: &Signing, method: &str, target: &str) -> Request {
    Request::new(method, target).signed_by(Some(signing.clone()))
}

fn limited(server: &Server<'_>, limit: &str) -> f64 {
    (0..2)
        .map(|core| {
            let name =
                format!("ringfort_limited_requests_total{{core=\"{core}\",limit=\"{limit}\"");
            server.metric(&name)
        })
        .sum()
}

#[track_caller]
fn slowed(answer: &Answer, says: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (503, CODE), "{}", answer.text());
    let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!(after >= 1, "{after}");
    assert!(answer.text().contains(says), "{}", answer.text());
}

/// How many of the requests that eight connections send for so long are let in. Each connection lies on one core,
/// and both cores have some.
fn let_in(server: &Server<'_>, request: &(dyn Fn() -> Request + Sync), time: Duration) -> u32 {
    let (served, begin) = (AtomicU32::new(0), Instant::now());
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = server.client();
                while begin.elapsed() < time {
                    let answer = client.call(&request());
                    if answer.status == 200 {
                        served.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert_eq!(answer.code(), CODE);
                        assert_eq!(answer.header("retry-after"), Some("1"));
                    }
                }
            });
        }
    });
    served.into_inner()
}

#[test]
fn a_user_is_served_as_often_as_its_limit_says_however_many_connections_it_has() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let alice = user(&mut api, "alice");
    let bob = user(&mut api, "bob");
    let mut s3 = server.client();
    s3.call(&by(&alice, "PUT", "/alice/k").body("bytes")).expect(200);
    let order = json!({"requests_per_second": 5, "burst_requests": 2});
    let set = api.expect(200, "PUT", "credentials/1/limits", &order.to_string());
    let expected = all(json!({"requests_per_second": 5, "burst_requests": 2}));
    assert_eq!(set, expected);

    let begin = Instant::now();
    let served = let_in(&server, &|| by(&alice, "GET", "/alice/k"), Duration::from_secs(4));
    let seconds = begin.elapsed().as_secs_f64();
    let most = 2.0 + 5.0 * seconds;
    assert!(f64::from(served) <= most.ceil(), "{served} in {seconds} s");
    assert!(served >= 18, "{served} in {seconds} s");

    // Nobody else is held to it: not root, not another user.
    for _ in 0..20 {
        s3.get("/alice/k").expect(200);
        s3.call(&by(&bob, "GET", "/bob?list-type=2")).expect(200);
    }
    // Whatever is asked for counts, and a body that is not wanted is not asked for.
    let upload = by(&alice, "PUT", "/alice/new").header("expect", "100-continue").length(1 << 20);
    wait_within(PATIENCE, "a refusal before the body", || {
        let request = by(&alice, "GET", "/").head(&server.listen.to_string());
        for _ in 0..3 {
            server.client().exchange(&request, false).unwrap();
        }
        let mut stream = BufReader::new(connect(server.listen).unwrap());
        stream.get_mut().write_all(&upload.head(&server.listen.to_string())).unwrap();
        let mut line = [0; 12];
        stream.read_exact(&mut line).unwrap();
        line == *b"HTTP/1.1 503"
    });
    // boto3 tries again by itself until all is done.
    let mut script = script(&site, &server, "boto3_limits.py");
    script.env("RINGFORT_USER", "alice-key").env("RINGFORT_USER_SECRET", "alice-secret");
    run(script.env("RINGFORT_BUCKET", "alice"));
    wait_within(PATIENCE, "the count of refusals", || limited(&server, "user_rate") > 10.0);
    assert_eq!(limited(&server, "user_concurrency"), 0.0);

    // A change counts on every core with the next request.
    api.expect(200, "DELETE", "credentials/1/limits", "");
    for _ in 0..20 {
        server.client().call(&by(&alice, "GET", "/alice/k")).expect(200);
    }
    server.stop();
}

/// Sends the head of a request on connections of its own until it is answered by this status line. A slot is free a
/// moment after the last byte of an answer was sent: who is faster than that is refused.
fn begun(server: &Server<'_>, request: &Request, line: &[u8; 12]) -> TcpStream {
    let mut answered = None;
    wait_within(PATIENCE, "a request that is let in", || {
        let mut stream = connect(server.listen).unwrap();
        stream.write_all(&request.head(&server.listen.to_string())).unwrap();
        let mut found = [0; 12];
        stream.read_exact(&mut found).unwrap();
        let is_it = found == *line;
        answered = Some(stream).filter(|_| is_it);
        is_it
    });
    answered.unwrap()
}

/// Reads so many bytes, which may be some fewer than there are.
fn read_whole(mut stream: TcpStream, bytes: usize) {
    let mut left = bytes;
    let mut piece = vec![0; 1 << 20];
    while left > 0 {
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "{left} bytes are missing");
        left = left.saturating_sub(count);
    }
}

#[test]
fn a_slot_is_held_until_the_answer_was_sent_or_its_connection_is_gone() {
    const BYTES: usize = 32 << 20;
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let alice = user(&mut api, "alice");
    let bob = user(&mut api, "bob");
    let mut s3 = server.client();
    s3.put("/alice/large", vec![7; BYTES]).expect(200);
    s3.put("/bob/large", vec![7; BYTES]).expect(200);
    api.expect(200, "PUT", "credentials/1/limits", r#"{"concurrent_requests": 2}"#);
    let get = by(&alice, "GET", "/alice/large");
    let head = || server.client().call(&by(&alice, "HEAD", "/alice/large"));
    let refused = || {
        let answer = server.client().call(&by(&alice, "GET", "/alice?list-type=2"));
        slowed(&answer, "the user's limit of concurrent requests");
        assert_eq!(head().status, 503);
    };

    let reader = || begun(&server, &get, b"HTTP/1.1 200");
    let (first, second) = (reader(), reader());
    for _ in 0..10 {
        refused();
    }
    s3.call(&by(&bob, "GET", "/bob?list-type=2")).expect(200);
    // One is cut, and there is room for another.
    drop(first);
    let third = reader();
    refused();
    // One is read to its end.
    read_whole(second, BYTES);
    // An upload holds a slot while its body comes, and gives it back when it breaks off.
    let put = by(&alice, "PUT", "/alice/new").header("expect", "100-continue").length(10 << 20);
    let mut upload = begun(&server, &put, b"HTTP/1.1 100");
    upload.write_all(&[7; 100_000]).unwrap();
    refused();
    drop(upload);
    let fourth = reader();
    refused();
    // All come back.
    drop((third, fourth));
    drop((reader(), reader()));
    wait_within(PATIENCE, "the count of refusals", || limited(&server, "user_concurrency") > 20.0);
    server.stop();
}

/// How long several threads take to do a job each.
fn together(job: impl Fn(u32) + Sync) -> f64 {
    let begin = Instant::now();
    thread::scope(|scope| {
        for number in 0..4 {
            let job = &job;
            scope.spawn(move || job(number));
        }
    });
    begin.elapsed().as_secs_f64()
}

#[test]
fn bytes_pass_as_fast_as_the_limits_say_however_many_connections_there_are() {
    const BYTES: usize = 4 << 20;
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let alice = user(&mut api, "alice");
    let bob = user(&mut api, "bob");
    let mut s3 = server.client();
    s3.put("/alice/k", vec![7; BYTES]).expect(200);
    s3.put("/bob/k", vec![7; BYTES]).expect(200);
    // 16 MiB each way, by 4 MiB a second.
    let limits = json!({"bytes_in_per_second": 4 << 20});
    api.expect(200, "PUT", "credentials/1/limits", &limits.to_string());
    let limits = json!({"bytes_out_per_second": 4 << 20});
    api.expect(200, "PUT", "buckets/alice/limits", &limits.to_string());
    let body = vec![9; BYTES];
    let seconds = together(|number| {
        let put = by(&alice, "PUT", &format!("/alice/new-{number}")).body(body.clone());
        server.client().call(&put).expect(200);
    });
    assert!((3.0..20.0).contains(&seconds), "{seconds}");
    let seconds = together(|number| {
        let get = by(&alice, "GET", &format!("/alice/new-{number}"));
        assert!(server.client().call(&get).expect(200).body == body);
    });
    assert!((3.0..20.0).contains(&seconds), "{seconds}");
    // Many small ones are no way round it: 2 MiB.
    s3.put("/alice/small", vec![7; 64 << 10]).expect(200);
    let begin = Instant::now();
    let mut client = server.client();
    for _ in 0..32 {
        client.call(&by(&alice, "GET", "/alice/small")).expect(200);
    }
    assert!(begin.elapsed() > Duration::from_millis(200), "{:?}", begin.elapsed());
    // Others do not wait, and neither does root.
    for get in [Request::new("GET", "/alice/k"), by(&bob, "GET", "/bob/k")] {
        // Limited, each would take a second; the fastest shows that none is.
        let fastest = (0..4).map(|_| {
            let begin = Instant::now();
            server.client().call(&get).expect(200);
            begin.elapsed()
        });
        let fastest = fastest.min().unwrap();
        assert!(fastest < Duration::from_millis(500), "{fastest:?}");
    }

    // Who waits does not keep the server from stopping.
    let limits = json!({"bytes_out_per_second": 65_536, "bytes_in_per_second": 65_536});
    api.expect(200, "PUT", "credentials/1/limits", &limits.to_string());
    api.expect(200, "DELETE", "buckets/alice/limits", "");
    let get = begun(&server, &by(&alice, "GET", "/alice/k"), b"HTTP/1.1 200");
    let put = by(&alice, "PUT", "/alice/late").header("expect", "100-continue").length(1 << 20);
    let mut upload = begun(&server, &put, b"HTTP/1.1 100");
    upload.write_all(&vec![7; 1 << 20]).unwrap();
    let begin = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| read_whole(get, BYTES));
        server.stop();
    });
    assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
}

#[test]
fn the_limits_of_a_bucket_count_for_its_users_together_and_outlive_a_restart() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    let alice = user(&mut api, "alice");
    let bob = user(&mut api, "bob");
    let mut s3 = server.client();
    s3.put("/shared", "").expect(200);
    s3.put("/shared/k", "bytes").expect(200);
    let policy = r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Resource":"arn:aws:s3:::shared/*"}}"#;
    s3.put("/shared?policy=", policy).expect(204);
    let order = json!({"requests_per_second": 1, "burst_requests": 4, "concurrent_requests": 100});
    let set = api.expect(200, "PUT", "buckets/shared/limits", &order.to_string());
    let order = all(order);
    assert_eq!(set, order);
    assert_eq!(api.get("buckets/shared")["limits"], order);
    let of_alice = json!({"requests_per_second": 1, "burst_requests": 1000});
    let set = api.expect(200, "PUT", "credentials/1/limits", &of_alice.to_string());
    assert_eq!(api.get("credentials/1")["limits"], set);
    assert_eq!(api.get("buckets/shared/limits"), order);
    server.stop();

    let server = site.start();
    let mut api = Api::new(&server);
    assert_eq!(api.get("buckets/shared/limits"), order);
    assert_eq!(api.get("credentials/1/limits"), set);
    let nobody = || Request::new("GET", "/shared/k").signed_by(None);
    let callers: [&dyn Fn() -> Request; 3] =
        [&|| by(&alice, "GET", "/shared/k"), &|| by(&bob, "GET", "/shared/k"), &nobody];
    let begin = Instant::now();
    let served = callers.iter().cycle().take(30).filter(|request| {
        let answer = server.client().call(&request());
        if answer.status == 503 {
            slowed(&answer, "the bucket's limit of requests per second");
        }
        answer.status == 200
    });
    let served = u32::try_from(served.count()).unwrap();
    let most = 4.0 + begin.elapsed().as_secs_f64();
    assert!(served >= 4 && f64::from(served) <= most.ceil(), "{served}, at most {most}");
    // Root goes on, and who may not list the bucket hears of that alone.
    let mut s3 = server.client();
    for _ in 0..10 {
        s3.get("/shared/k").expect(200);
        let denied = s3.call(&by(&bob, "GET", "/shared?list-type=2"));
        denied.expect_error(403, "AccessDenied");
    }
    // Whom an object's own ACL might have let in uses nothing up either, whether it is there or not.
    s3.put("/closed", "").expect(200);
    s3.put("/closed/k", "x").expect(200);
    let few = json!({"requests_per_second": 1, "burst_requests": 2, "concurrent_requests": 1});
    api.expect(200, "PUT", "buckets/closed/limits", &few.to_string());
    for target in ["/closed/k", "/closed/absent", "/closed/k?tagging="].iter().cycle().take(12) {
        let unsigned = Request::new("GET", target).signed_by(None);
        s3.call(&unsigned).expect_error(403, "AccessDenied");
    }
    // What the bucket refused did not count for alice.
    api.expect(200, "DELETE", "buckets/shared/limits", "");
    for _ in 0..950 {
        s3.call(&by(&alice, "GET", "/shared/k")).expect(200);
    }
    wait_within(PATIENCE, "the count of refusals", || limited(&server, "bucket_rate") > 15.0);
    assert_eq!(limited(&server, "user_rate"), 0.0);
    forms(&mut api, &mut s3, &bob);
    server.stop();
}

/// Whose a form is says its signature, which comes in the body.
fn forms(api: &mut Api, s3: &mut Client, bob: &Signing) {
    use base64::Engine as _;
    api.expect(200, "PUT", "credentials/2/limits", r#"{"requests_per_second": 1}"#);
    let policy = json!({
        "expiration": "2099-01-01T00:00:00Z",
        "conditions": [
            {"bucket": "bob"},
            ["starts-with", "$key", ""],
            {"x-amz-algorithm": "AWS4-HMAC-SHA256"},
            {"x-amz-credential": bob.credential()},
            {"x-amz-date": bob.stamp()},
        ],
    });
    let signing = Signing { stamp: Some(bob.stamp()), ..bob.clone() };
    let policy = base64::engine::general_purpose::STANDARD.encode(policy.to_string());
    let fields = [
        ("key", "form".to_owned()),
        ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
        ("x-amz-credential", signing.credential()),
        ("x-amz-date", signing.stamp()),
        ("x-amz-signature", signing.sign_policy(&policy)),
        ("policy", policy),
    ];
    let mut body = String::new();
    for (name, value) in fields {
        body +=
            &format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    }
    body += "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n";
    body += "file\r\n--B--\r\n";
    let form = Request::new("POST", "/bob")
        .signed_by(None)
        .header("content-type", "multipart/form-data; boundary=B")
        .body(body);
    s3.call(&form).expect(204);
    wait_within(PATIENCE, "a form that comes too early", || {
        let answer = s3.call(&form);
        if answer.status == 503 {
            slowed(&answer, "the user's limit of requests per second");
        }
        answer.status == 503
    });
}

#[test]
fn every_field_is_held_to_its_range() {
    let site = Site::new();
    let server = site.start();
    let mut api = Api::new(&server);
    user(&mut api, "alice");
    let none = all(json!({}));
    for resource in ["credentials/1", "buckets/alice"] {
        let path = format!("{resource}/limits");
        assert_eq!(api.get(&path), none);
        assert_eq!(api.get(resource)["limits"], none);
        for (body, says) in [
            (json!({}), "requests_per_second, concurrent_requests, bytes_in_per_second"),
            (json!({"requests_per_second": 0}), "requests_per_second: "),
            (json!({"requests_per_second": 1_000_001}), "requests_per_second: "),
            (json!({"requests_per_second": -1}), "requests_per_second: "),
            (json!({"requests_per_second": 1.5}), "requests_per_second: "),
            (json!({"requests_per_second": "many"}), "requests_per_second: "),
            (json!({"requests_per_second": 1, "burst_requests": 0}), "burst_requests: "),
            (json!({"burst_requests": 5, "concurrent_requests": 5}), "burst_requests: "),
            (json!({"concurrent_requests": 0}), "concurrent_requests: "),
            (json!({"bytes_in_per_second": 65_535}), "bytes_in_per_second: "),
            (json!({"bytes_out_per_second": -1}), "bytes_out_per_second: "),
            (json!({"bytes_out_per_second": 1_u64 << 41}), "bytes_out_per_second: "),
            (json!({"requests": 1}), "requests"),
        ] {
            api.refuse(400, "PUT", &path, &body, says);
        }
        api.expect(405, "POST", &path, "");
        assert_eq!(api.get(&path), none);
        api.expect(200, "DELETE", &path, "");
    }
    for path in ["credentials/2/limits", "credentials/x/limits", "buckets/nowhere/limits"] {
        api.refuse(404, "GET", path, &Value::Null, "there is no");
        api.refuse(404, "PUT", path, &json!({"concurrent_requests": 1}), "there is no");
        api.refuse(404, "DELETE", path, &Value::Null, "there is no");
    }
    // Whatever else is changed of a credential, its limits stay.
    let set = api.expect(200, "PUT", "credentials/1/limits", r#"{"concurrent_requests": 7}"#);
    api.expect(200, "PUT", "credentials/1", r#"{"user_name": "other"}"#);
    assert_eq!(api.get("credentials/1/limits"), set);
    server.stop();
}
