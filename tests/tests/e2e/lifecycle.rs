//! Lifecycles that really run, with days of a second or two.

use ringfort_tests::harness::client::{Client, Request};
use ringfort_tests::harness::webhook::Webhook;
use ringfort_tests::harness::{Site, wait_until};

fn site(day_seconds: &str) -> Site {
    Site::new().variables(&[("RINGFORT_DEBUG_DAY_SECONDS", day_seconds)])
}

fn rule(id: &str, filter: &str, actions: &str) -> String {
    format!("<Rule><ID>{id}</ID><Filter>{filter}</Filter><Status>Enabled</Status>{actions}</Rule>")
}

fn configure(client: &mut Client, bucket: &str, rules: &[String]) {
    let document = format!("<LifecycleConfiguration>{}</LifecycleConfiguration>", rules.concat());
    client.put(&format!("/{bucket}?lifecycle="), document).expect(200);
}

const ONE_DAY: &str = "<Expiration><Days>1</Days></Expiration>";

fn exists(client: &mut Client, path: &str) -> bool {
    client.call(&Request::new("HEAD", path)).status == 200
}

#[test]
fn objects_expire_by_prefix_size_and_date_and_events_tell_it() {
    let webhook = Webhook::start();
    let target = format!("hook={}", webhook.url());
    let site = site("1").variables(&[("RINGFORT_NOTIFY_WEBHOOK", target.as_str())]);
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    let events = "<NotificationConfiguration><QueueConfiguration>\
                  <Queue>arn:ringfort:sqs::hook:webhook</Queue>\
                  <Event>s3:LifecycleExpiration:*</Event><Event>s3:ObjectRemoved:*</Event>\
                  </QueueConfiguration></NotificationConfiguration>";
    client.put("/bucket?notification=", events).expect(200);
    for key in ["days/a", "days/b", "keep/a", "size/xx", "size/xxxxxx", "date/a", "later/a"] {
        let body = key.rsplit('/').next().unwrap();
        client.put(&format!("/bucket/{key}"), body).expect(200);
    }
    let size = "<And><Prefix>size/</Prefix><ObjectSizeGreaterThan>2</ObjectSizeGreaterThan>\
                <ObjectSizeLessThan>7</ObjectSizeLessThan></And>";
    let date = |date| format!("<Expiration><Date>{date}T00:00:00Z</Date></Expiration>");
    configure(
        &mut client,
        "bucket",
        &[
            rule("days", "<Prefix>days/</Prefix>", ONE_DAY),
            rule("size", size, ONE_DAY),
            rule("date", "<Prefix>date/</Prefix>", &date("2020-01-01")),
            rule("later", "<Prefix>later/</Prefix>", &date("2999-01-01")),
        ],
    );
    for gone in ["days/a", "days/b", "size/xxxxxx", "date/a"] {
        wait_until(gone, || !exists(&mut client, &format!("/bucket/{gone}")));
        webhook.wait_for("LifecycleExpiration:Delete", gone);
    }
    for kept in ["keep/a", "size/xx", "later/a"] {
        assert!(exists(&mut client, &format!("/bucket/{kept}")), "{kept}");
    }
    // Each once, and nothing else.
    assert_eq!(webhook.told().len(), 4);
    assert_eq!(webhook.records()[0]["eventVersion"], "2.3");
    server.stop();
}

#[test]
fn answers_tell_when_an_object_expires() {
    let site = site("86400");
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    let abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation>\
                 </AbortIncompleteMultipartUpload>";
    configure(
        &mut client,
        "bucket",
        &[rule("in a day", "<Prefix>a/</Prefix>", &(ONE_DAY.to_owned() + abort))],
    );
    let expiry = |answer: &ringfort_tests::harness::client::Answer| {
        answer.header("x-amz-expiration").map(str::to_owned)
    };
    let put = expiry(&client.put("/bucket/a/key", "x").expect(200)).unwrap();
    let date = put.strip_prefix("expiry-date=\"").unwrap().split('"').next().unwrap();
    assert!(put.ends_with(", rule-id=\"in%20a%20day\""), "{put}");
    let date = jiff::fmt::rfc2822::parse(date).unwrap().timestamp();
    assert_eq!(date.as_second() % 86_400, 0);
    let ahead = date.duration_since(jiff::Timestamp::now()).as_secs();
    assert!((86_400..=2 * 86_400).contains(&ahead), "{ahead}");
    assert_eq!(expiry(&client.get("/bucket/a/key").expect(200)), Some(put.clone()));
    let head = client.call(&Request::new("HEAD", "/bucket/a/key")).expect(200);
    assert_eq!(expiry(&head), Some(put.clone()));
    let copy = Request::new("PUT", "/bucket/a/copy").header("x-amz-copy-source", "/bucket/a/key");
    assert_eq!(expiry(&client.call(&copy).expect(200)), Some(put));
    assert_eq!(expiry(&client.put("/bucket/b/key", "x").expect(200)), None);

    let begun = client.post("/bucket/a/upload?uploads=", "").expect(200);
    assert_eq!(begun.header("x-amz-abort-rule-id"), Some("in%20a%20day"));
    assert!(begun.header("x-amz-abort-date").unwrap().ends_with(" 00:00:00 GMT"));
    let id = begun.element("UploadId").unwrap();
    let parts = client.get(&format!("/bucket/a/upload?uploadId={id}")).expect(200);
    assert_eq!(parts.header("x-amz-abort-date"), begun.header("x-amz-abort-date"));
    let other = client.post("/bucket/b/upload?uploads=", "").expect(200);
    assert_eq!(other.header("x-amz-abort-date"), None);
    server.stop();
}

#[test]
fn uploads_that_nobody_completes_are_aborted() {
    let site = site("1");
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    let abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation>\
                 </AbortIncompleteMultipartUpload>";
    let mut ids = Vec::new();
    for key in ["up/a", "up/b", "other"] {
        let id = client.post(&format!("/bucket/{key}?uploads="), "").element("UploadId").unwrap();
        client.put(&format!("/bucket/{key}?partNumber=1&uploadId={id}"), "part").expect(200);
        ids.push(id);
    }
    configure(&mut client, "bucket", &[rule("abort", "<Prefix>up/</Prefix>", abort)]);
    wait_until("the uploads to be aborted", || {
        !client.get("/bucket?uploads=").expect(200).text().contains("<Key>up/")
    });
    client.get(&format!("/bucket/other?uploadId={}", ids[2])).expect(200);
    client.get(&format!("/bucket/up/a?uploadId={}", ids[0])).expect_error(404, "NoSuchUpload");
    server.stop();
}

/// More keys than a page of the worker's, in a bucket beside one whose rules are switched off.
#[test]
fn a_large_bucket_is_emptied_and_others_are_left() {
    let site = site("1");
    let server = site.start();
    let mut client = server.client();
    for bucket in ["large", "switched-off", "removed"] {
        client.put(&format!("/{bucket}"), "").expect(200);
        client.put(&format!("/{bucket}/a"), "x").expect(200);
    }
    for number in 0..1200 {
        client.put(&format!("/large/{number:05}"), "").expect(200);
    }
    let all = rule("all", "", ONE_DAY);
    configure(&mut client, "switched-off", &[all.replace("Enabled", "Disabled")]);
    configure(&mut client, "removed", std::slice::from_ref(&all));
    client.delete("/removed?lifecycle=").expect(204);
    client.put("/removed/b", "x").expect(200);
    configure(&mut client, "large", &[all]);
    wait_until("the bucket to be empty", || {
        !client.get("/large?list-type=2&max-keys=1").expect(200).text().contains("<Key>")
    });
    assert!(exists(&mut client, "/switched-off/a"));
    assert!(exists(&mut client, "/removed/b"));
    let metrics = Client::new(server.admin_listen).get("/metrics").text();
    let expired = "ringfort_lifecycle_actions_total{core=\"0\",action=\"expire\"} ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(expired));
    assert!(count.unwrap().parse::<f64>().unwrap() >= 1.0, "{metrics}");
    server.stop();
}

#[test]
fn configurations_that_cannot_be_honoured_are_refused() {
    let site = site("86400");
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    client.get("/bucket?lifecycle=").expect_error(404, "NoSuchLifecycleConfiguration");
    let mut refused = |rules: &str, status, code: &str| {
        let document = format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>");
        client.put("/bucket?lifecycle=", document).expect_error(status, code);
    };
    let zero = "<Expiration><Days>0</Days></Expiration>";
    let noon = "<Expiration><Date>2026-04-04T12:00:00Z</Date></Expiration>";
    let glacier = "<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>";
    refused("", 400, "MalformedXML");
    refused("<Rule/>", 400, "MalformedXML");
    refused(&rule("r", "<Surprise/>", ONE_DAY), 400, "MalformedXML");
    refused(&rule("r", "", zero), 400, "InvalidArgument");
    refused(&rule("r", "", noon), 400, "InvalidArgument");
    refused(&rule("r", "", ""), 400, "InvalidRequest");
    refused(&rule("r", "", glacier), 400, "NotSupported");
    refused(&(rule("r", "", ONE_DAY) + &rule("r", "", ONE_DAY)), 400, "InvalidArgument");
    let many: String = (0..1001).map(|id| rule(&id.to_string(), "", ONE_DAY)).collect();
    refused(&many, 400, "InvalidRequest");
    client.put("/bucket?lifecycle=", "").expect_error(400, "MalformedXML");
    client
        .put("/bucket?lifecycle=", "x".repeat(2 << 20))
        .expect_error(400, "MaxMessageLengthExceeded");
    client.delete("/absent?lifecycle=").expect_error(404, "NoSuchBucket");
    client.get("/bucket?lifecycle=").expect_error(404, "NoSuchLifecycleConfiguration");
    let many: Vec<String> = (0..1000).map(|id| rule(&id.to_string(), "", ONE_DAY)).collect();
    configure(&mut client, "bucket", &many);
    assert_eq!(client.get("/bucket?lifecycle=").expect(200).text().matches("<Rule>").count(), 1000);
    client.delete("/bucket?lifecycle=").expect(204);
    client.delete("/bucket?lifecycle=").expect(204);
    client.get("/bucket?lifecycle=").expect_error(404, "NoSuchLifecycleConfiguration");
    server.stop();
}
