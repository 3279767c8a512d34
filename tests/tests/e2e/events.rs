//! Events: what is told to whom, over failures, kills and restarts.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use ringfort_tests::harness::client::{Client, Request};
use ringfort_tests::harness::webhook::Webhook;
use ringfort_tests::harness::{Site, wait_until};

const FAILING: &str = "events cannot be delivered";

fn site(webhook: &Webhook) -> Site {
    let target = format!("hook={}", webhook.url());
    Site::new()
        .variables(&[
            ("RINGFORT_NOTIFY_WEBHOOK", target.as_str()),
            ("RINGFORT_NOTIFY_WEBHOOK_AUTH", "hook=Bearer a secret"),
        ])
        .expect_log(FAILING)
}

/// The configuration of one queue.
fn queue(id: &str, target: &str, events: &[&str], rules: &[(&str, &str)]) -> String {
    let event = |event: &&str| format!("<Event>s3:{event}</Event>");
    let rule = |(name, value): &(&str, &str)| {
        format!("<FilterRule><Name>{name}</Name><Value>{value}</Value></FilterRule>")
    };
    let (events, rules): (String, String) =
        (events.iter().map(event).collect(), rules.iter().map(rule).collect());
    format!(
        "<QueueConfiguration><Id>{id}</Id><Queue>arn:ringfort:sqs::{target}</Queue>{events}\
         <Filter><S3Key>{rules}</S3Key></Filter></QueueConfiguration>"
    )
}

fn configure(client: &mut Client, bucket: &str, queues: &[String]) {
    let document =
        format!("<NotificationConfiguration>{}</NotificationConfiguration>", queues.concat());
    client.put(&format!("/{bucket}?notification="), document).expect(200);
}

#[test]
fn events_reach_a_webhook_that_fails_at_first() {
    let webhook = Webhook::start();
    webhook.fail(true);
    let site = site(&webhook);
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    let created = queue(
        "created",
        "hook:webhook",
        &["ObjectCreated:*"],
        &[("prefix", "in/"), ("suffix", ".jpg")],
    );
    let removed = queue("removed", "hook:webhook", &["ObjectRemoved:Delete"], &[]);
    configure(&mut client, "bucket", &[created, removed]);

    client.put("/bucket/in/a%20b%2B.jpg", "four").expect(200);
    client.put("/bucket/in/other.png", "four").expect(200);
    client.put("/bucket/out/a.jpg", "four").expect(200);
    let copy =
        Request::new("PUT", "/bucket/in/copy.jpg").header("x-amz-copy-source", "/bucket/out/a.jpg");
    client.call(&copy).expect(200);
    let upload = client.post("/bucket/in/parts.jpg?uploads=", "").expect(200);
    let upload = upload.element("UploadId").unwrap();
    let part = client.put(&format!("/bucket/in/parts.jpg?partNumber=1&uploadId={upload}"), "part");
    let etag = part.expect(200).header("etag").unwrap().to_owned();
    let complete = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    client.post(&format!("/bucket/in/parts.jpg?uploadId={upload}"), complete).expect(200);
    client.delete("/bucket/out/a.jpg").expect(204);
    client.delete("/bucket/not/there").expect(204);
    let many = "<Delete><Object><Key>in/other.png</Key></Object></Delete>";
    client.post("/bucket?delete=", many).expect(200);

    wait_until("failed attempts", || webhook.refused() >= 2);
    wait_until("failures to be counted", || {
        server.metric("ringfort_notify_attempts_failed_total") >= 1.0
    });
    webhook.fail(false);
    webhook.wait_for("ObjectRemoved:Delete", "in/other.png");
    let told = |event: &str, key: &str| (event.to_owned(), key.to_owned());
    let expected = [
        told("ObjectCreated:Put", "in/a+b%2B.jpg"),
        told("ObjectCreated:Copy", "in/copy.jpg"),
        told("ObjectCreated:CompleteMultipartUpload", "in/parts.jpg"),
        told("ObjectRemoved:Delete", "out/a.jpg"),
        told("ObjectRemoved:Delete", "in/other.png"),
    ];
    assert_eq!(webhook.told(), expected);
    assert!(webhook.authorizations().iter().all(|value| value == "Bearer a secret"));

    let messages = webhook.messages();
    assert_eq!(messages[0]["Event"], "s3:TestEvent");
    assert_eq!(messages[0]["Bucket"], "bucket");
    let record = &webhook.records()[0];
    assert_eq!(record["eventVersion"], "2.1");
    assert_eq!(record["eventSource"], "aws:s3");
    assert_eq!(record["awsRegion"], "us-east-1");
    assert_eq!(record["requestParameters"]["sourceIPAddress"], "127.0.0.1");
    assert_eq!(record["responseElements"]["x-amz-request-id"].as_str().unwrap().len(), 16);
    assert_eq!(record["userIdentity"]["principalId"].as_str().unwrap().len(), 64);
    assert_eq!(record["s3"]["configurationId"], "created");
    assert_eq!(record["s3"]["bucket"]["name"], "bucket");
    assert_eq!(record["s3"]["bucket"]["arn"], "arn:aws:s3:::bucket");
    assert_eq!(record["s3"]["object"]["size"], 4);
    assert_eq!(record["s3"]["object"]["eTag"], "8cbad96aced40b3838dd9f07f6ef5772");
    let sequencer = |at: usize| webhook.records()[at]["s3"]["object"]["sequencer"].clone();
    assert!(sequencer(0).as_str().unwrap() < sequencer(4).as_str().unwrap());

    wait_until("the queue to be empty", || {
        server.metric("ringfort_notify_waiting_events") == 0.0
            && server.metric("ringfort_notify_delivered_total") == 6.0
    });
    // No listing of buckets and no request shows the queue.
    assert!(!client.get("/").expect(200).text().contains("notify"));
    client.get("/.notify/queue").expect_error(400, "InvalidBucketName");
    server.stop();
}

/// What was answered before a kill is told after it, however often.
#[test]
fn events_survive_kills() {
    let webhook = Webhook::start();
    webhook.fail(true);
    let site = site(&webhook);
    let mut expected = Vec::new();
    for life in 0..3 {
        let server = site.start();
        let mut client = server.client();
        if life == 0 {
            client.put("/bucket", "").expect(200);
            configure(
                &mut client,
                "bucket",
                &[queue("all", "hook:webhook", &["ObjectCreated:*"], &[])],
            );
        }
        for number in 0..20 {
            let key = format!("life-{life}/{number:02}");
            client.put(&format!("/bucket/{key}"), "x").expect(200);
            expected.push(("ObjectCreated:Put".to_owned(), key));
        }
        server.kill();
    }
    webhook.fail(false);
    let server = site.start();
    for (event, key) in &expected {
        webhook.wait_for(event, key);
    }
    // First deliveries come in the order of what happened.
    let mut told = webhook.told();
    let mut seen = std::collections::HashSet::new();
    told.retain(|one| seen.insert(one.clone()));
    assert_eq!(told, expected);
    server.stop();
}

#[test]
fn a_target_that_is_down_stops_no_write_and_a_full_queue_drops() {
    // A port on which nobody listens.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let site = Site::new()
        .flags(&["--notify-queue", "5", "--notify-webhook", &format!("down=http://{address}/")])
        .expect_log(FAILING)
        .expect_log("the queue of its target is full");
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    configure(&mut client, "bucket", &[queue("all", "down:webhook", &["ObjectCreated:*"], &[])]);
    for number in 0..10 {
        client.put(&format!("/bucket/{number}"), "x").expect(200);
    }
    // One of the five is the test event.
    let dropped = "ringfort_notify_dropped_total{core=\"0\",target=\"down\",reason=\"full\"}";
    wait_until("drops to be counted", || server.metric(dropped) == 6.0);
    assert_eq!(server.metric("ringfort_notify_waiting_events"), 5.0);
    server.stop();
}

struct Redis {
    process: Child,
    port: u16,
}

impl Redis {
    fn start(site: &Site) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let directory = site.path("redis");
        std::fs::create_dir_all(&directory).unwrap();
        let process = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
            .args(["--daemonize", "no", "--dir"])
            .arg(directory)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed; `bash .ci/run` does it");
        wait_until("redis to listen", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { process, port }
    }

    /// The list's entries, asked for in Redis's own protocol.
    fn list(&self, name: &str) -> Vec<Vec<u8>> {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).unwrap());
        stream.get_mut().write_all(format!("LRANGE {name} 0 -1\r\n").as_bytes()).unwrap();
        read_array(&mut stream)
    }
}

/// An array of bulk strings.
fn read_array(stream: &mut BufReader<TcpStream>) -> Vec<Vec<u8>> {
    let count = read_number(stream, '*');
    let mut entries = Vec::new();
    for _ in 0..count {
        let mut entry = vec![0; read_number(stream, '$') + 2];
        stream.read_exact(&mut entry).unwrap();
        entry.truncate(entry.len() - 2);
        entries.push(entry);
    }
    entries
}

fn read_number(stream: &mut BufReader<TcpStream>, mark: char) -> usize {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    line.trim_end().strip_prefix(mark).unwrap().parse().unwrap()
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn events_reach_a_list_in_redis() {
    let site = Site::new().expect_log(FAILING);
    let redis = Redis::start(&site);
    let url = format!("list=redis://127.0.0.1:{}/0", redis.port);
    let site = site.flags(&["--notify-redis", &url, "--notify-redis-list", "list=events"]);
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    let topic = "<NotificationConfiguration><TopicConfiguration>\
                 <Topic>arn:aws:sns:us-east-1:123456789012:list</Topic>\
                 <Event>s3:ObjectCreated:Put</Event></TopicConfiguration></NotificationConfiguration>";
    client.put("/bucket?notification=", topic).expect(200);
    client.put("/bucket/one", "x").expect(200);
    client.put("/bucket/two", "x").expect(200);
    wait_until("the list to fill", || redis.list("events").len() == 3);
    let keys: Vec<serde_json::Value> = redis.list("events")[1..]
        .iter()
        .map(|entry| serde_json::from_slice::<serde_json::Value>(entry).unwrap())
        .map(|message| message["Records"][0]["s3"]["object"]["key"].clone())
        .collect();
    assert_eq!(keys, ["one", "two"]);
    server.stop();
}

#[test]
fn configurations_that_cannot_be_honoured_are_refused() {
    let webhook = Webhook::start();
    let site = site(&webhook);
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    let mut refused = |queues: &[String], status, code: &str| {
        let document =
            format!("<NotificationConfiguration>{}</NotificationConfiguration>", queues.concat());
        client.put("/bucket?notification=", document).expect_error(status, code);
    };
    let created =
        |id, prefix| queue(id, "hook:webhook", &["ObjectCreated:*"], &[("prefix", prefix)]);
    refused(&["<Surprise/>".to_owned()], 400, "MalformedXML");
    refused(&[queue("q", "other:webhook", &["ObjectCreated:*"], &[])], 400, "InvalidArgument");
    refused(&[queue("q", "hook:redis", &["ObjectCreated:*"], &[])], 400, "InvalidArgument");
    refused(&[queue("q", "hook:webhook", &["Everything:*"], &[])], 400, "InvalidArgument");
    refused(&[queue("q", "hook:webhook", &["ObjectRestore:*"], &[])], 501, "NotImplemented");
    refused(&[created("a", "x"), created("b", "xy")], 400, "InvalidArgument");
    refused(&[created("a", "x"), created("a", "y")], 400, "InvalidArgument");
    refused(&["<EventBridgeConfiguration/>".to_owned()], 501, "NotImplemented");
    client.put("/bucket?notification=", "not XML").expect_error(400, "MalformedXML");
    client.put("/absent?notification=", "").expect_error(404, "NoSuchBucket");
    // Nothing of all that was kept.
    let empty = client.get("/bucket?notification=").expect(200).text();
    assert!(!empty.contains("QueueConfiguration"), "{empty}");

    configure(&mut client, "bucket", &[created("kept", "x")]);
    assert_eq!(client.get("/bucket?notification=").element("Id").unwrap(), "kept");
    configure(&mut client, "bucket", &[]);
    assert_eq!(client.get("/bucket?notification=").element("Id"), None);
    server.stop();
}
