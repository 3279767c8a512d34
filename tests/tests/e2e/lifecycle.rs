//! Lifecycles that really run, with days of a second or two.

use ringfort_tests::harness::client::{Answer, Client, Request};
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
    let expiry = |answer: &Answer| answer.header("x-amz-expiration").map(str::to_owned);
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

fn version_id(answer: &Answer) -> String {
    answer.header("x-amz-version-id").unwrap().to_owned()
}

fn enable_versioning(client: &mut Client, bucket: &str) {
    let document = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.put(&format!("/{bucket}?versioning="), document).expect(200);
}

/// The ids of all versions and markers of a bucket.
fn version_ids(client: &mut Client, bucket: &str) -> Vec<String> {
    let listed = client.get(&format!("/{bucket}?versions=")).expect(200).text();
    let ids = listed.split("<VersionId>").skip(1).map(|rest| rest.split('<').next().unwrap());
    ids.map(str::to_owned).collect()
}

const NONCURRENT: &str = "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays>\
                          </NoncurrentVersionExpiration>";

#[test]
fn versions_go_in_their_order_and_markers_last() {
    let webhook = Webhook::start();
    let target = format!("hook={}", webhook.url());
    let site = site("1").variables(&[("RINGFORT_NOTIFY_WEBHOOK", target.as_str())]);
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    enable_versioning(&mut client, "bucket");
    let events = "<NotificationConfiguration><QueueConfiguration>\
                  <Queue>arn:ringfort:sqs::hook:webhook</Queue>\
                  <Event>s3:LifecycleExpiration:*</Event></QueueConfiguration>\
                  </NotificationConfiguration>";
    client.put("/bucket?notification=", events).expect(200);
    let first = version_id(&client.put("/bucket/key", "1").expect(200));
    let second = version_id(&client.put("/bucket/key", "2").expect(200));
    let rules = [rule("all", "", &(ONE_DAY.to_owned() + NONCURRENT))];
    configure(&mut client, "bucket", &rules);
    wait_until("a marker", || client.get("/bucket/key").status == 404);
    wait_until("nothing to be left", || version_ids(&mut client, "bucket").is_empty());
    wait_until("four events", || webhook.told().len() >= 4);
    let of = |event: &str| -> Vec<String> {
        let records = webhook.records();
        let meant = records.iter().filter(|record| record["eventName"] == event);
        meant
            .map(|record| record["s3"]["object"]["versionId"].as_str().unwrap().to_owned())
            .collect()
    };
    let marker = of("LifecycleExpiration:DeleteMarkerCreated");
    assert_eq!(marker.len(), 1);
    let mut removed = of("LifecycleExpiration:Delete");
    assert_eq!(removed.last(), marker.first());
    removed.sort();
    let mut expected = vec![first, second, marker[0].clone()];
    expected.sort();
    assert_eq!(removed, expected);
    server.stop();
}

#[test]
fn the_newest_noncurrent_versions_can_be_kept() {
    let site = site("1");
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    enable_versioning(&mut client, "bucket");
    let mut put = || version_id(&client.put("/bucket/key", "x").expect(200));
    let ids: Vec<String> = (0..5).map(|_| put()).collect();
    let noncurrent = NONCURRENT.replace(
        "</NoncurrentDays>",
        "</NoncurrentDays><NewerNoncurrentVersions>2</NewerNoncurrentVersions>",
    );
    configure(&mut client, "bucket", &[rule("keep", "", &noncurrent)]);
    let kept: Vec<String> = ids[2..].iter().rev().cloned().collect();
    wait_until("all but three to be removed", || version_ids(&mut client, "bucket") == kept);
    // A pass later they are still there.
    let passes = || server.metric("ringfort_lifecycle_passes_total");
    let now = passes();
    wait_until("two more passes", || passes() >= now + 2.0);
    assert_eq!(version_ids(&mut client, "bucket"), kept);
    server.stop();
}

#[test]
fn locked_versions_survive_every_pass() {
    let site = site("1");
    let server = site.start();
    let mut client = server.client();
    let create = Request::new("PUT", "/bucket").header("x-amz-bucket-object-lock-enabled", "true");
    client.call(&create).expect(200);
    let mut put = |key: &str, headers: &[(&str, &str)]| {
        let mut request = Request::new("PUT", &format!("/bucket/{key}")).body("locked");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        version_id(&client.call(&request).expect(200))
    };
    let until = ("x-amz-object-lock-retain-until-date", "2099-01-01T00:00:00Z");
    let locked = [
        ("compliance", put("compliance", &[("x-amz-object-lock-mode", "COMPLIANCE"), until])),
        ("governance", put("governance", &[("x-amz-object-lock-mode", "GOVERNANCE"), until])),
        ("held", put("held", &[("x-amz-object-lock-legal-hold", "ON")])),
    ];
    put("free", &[]);
    configure(&mut client, "bucket", &[rule("all", "", &(ONE_DAY.to_owned() + NONCURRENT))]);
    wait_until("the free one to go", || {
        !client.get("/bucket?versions=").expect(200).text().contains("<Key>free<")
    });
    // The locked ones are covered by markers, and asked for in vain.
    let locked_count = || server.metric("ringfort_lifecycle_locked_total");
    wait_until("the locks to hold", || locked_count() >= 6.0);
    for (key, id) in &locked {
        client.get(&format!("/bucket/{key}")).expect(404);
        let kept = client.get(&format!("/bucket/{key}?versionId={id}")).expect(200);
        assert_eq!(kept.body, b"locked", "{key}");
    }
    server.stop();
}

#[test]
fn tags_choose_what_expires() {
    let site = site("1");
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    let tagged = |key: &str, tags: &str| {
        Request::new("PUT", &format!("/bucket/{key}")).header("x-amz-tagging", tags).body("x")
    };
    client.call(&tagged("both", "a=1&b=2")).expect(200);
    client.call(&tagged("one", "a=1")).expect(200);
    client.call(&tagged("other", "a=2&b=2")).expect(200);
    client.put("/bucket/none", "x").expect(200);
    let tag = |key, value| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>");
    let filter = format!("<And>{}{}</And>", tag("a", 1), tag("b", 2));
    configure(&mut client, "bucket", &[rule("tags", &filter, ONE_DAY)]);
    let late = client.call(&tagged("late", "b=2&a=1")).expect(200);
    assert!(late.header("x-amz-expiration").is_some());
    assert_eq!(client.get("/bucket/one").header("x-amz-expiration"), None);
    for gone in ["both", "late"] {
        wait_until(gone, || !exists(&mut client, &format!("/bucket/{gone}")));
    }
    for kept in ["one", "other", "none"] {
        assert!(exists(&mut client, &format!("/bucket/{kept}")), "{kept}");
    }
    let tagging = format!("<Tagging><TagSet>{}{}</TagSet></Tagging>", tag("a", 1), tag("b", 2));
    client.put("/bucket/none?tagging=", tagging).expect(200);
    wait_until("what was tagged later", || !exists(&mut client, "/bucket/none"));
    server.stop();
}
