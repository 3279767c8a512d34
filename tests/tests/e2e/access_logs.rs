//! Access logs: every request has its line, in objects of the target bucket, and nothing secret in it.

use ringfort_tests::harness::client::{Client, Request};
use ringfort_tests::harness::{Server, Site, wait_until};

/// One line, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line(Vec<String>);

impl Line {
    /// Fields end at a space, unless they stand in brackets or quotation marks.
    fn parse(line: &str) -> Self {
        let (mut fields, mut rest) = (Vec::new(), line);
        while !rest.is_empty() {
            let (field, behind) = match rest.as_bytes()[0] {
                b'[' => rest[1..].split_once(']').unwrap(),
                b'"' => rest[1..].split_once('"').unwrap(),
                _ => rest.split_at(rest.find(' ').unwrap_or(rest.len())),
            };
            fields.push(field.to_owned());
            rest = behind.strip_prefix(' ').unwrap_or(behind);
        }
        assert_eq!(fields.len(), 26, "{line}");
        Self(fields)
    }

    fn operation(&self) -> &str {
        &self.0[6]
    }

    fn key(&self) -> &str {
        &self.0[7]
    }

    /// `operation key status error bytes size`
    fn summary(&self) -> String {
        let Self(fields) = self;
        [6, 7, 9, 10, 11, 12].map(|at| fields[at].as_str()).join(" ")
    }
}

fn keys(client: &mut Client, prefix: &str) -> Vec<String> {
    let prefix = prefix.replace('/', "%2F");
    let listed = client.get(&format!("/logs?list-type=2&prefix={prefix}")).expect(200).text();
    let keys = listed.split("<Key>").skip(1).map(|rest| rest.split("</Key>").next().unwrap());
    keys.map(str::to_owned).collect()
}

/// All lines below a prefix of the bucket `logs`.
fn lines(client: &mut Client, prefix: &str) -> Vec<Line> {
    let mut found = Vec::new();
    for key in keys(client, prefix) {
        let object = client.get(&format!("/logs/{key}")).expect(200);
        assert_eq!(object.header("content-type"), Some("text/plain"));
        found.extend(object.text().lines().map(Line::parse));
    }
    found
}

fn log_to(client: &mut Client, bucket: &str, prefix: &str, format: &str) {
    let document = format!(
        "<BucketLoggingStatus xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LoggingEnabled>\
         <TargetBucket>logs</TargetBucket><TargetPrefix>{prefix}</TargetPrefix>{format}\
         </LoggingEnabled></BucketLoggingStatus>"
    );
    client.put(&format!("/{bucket}?logging="), document).expect(200);
}

fn start(site: &Site) -> (Server<'_>, Client) {
    let server = site.start();
    let mut client = server.client();
    for bucket in ["bucket", "logs"] {
        client.put(&format!("/{bucket}"), "").expect(200);
    }
    (server, client)
}

#[test]
fn every_request_has_its_line() {
    let site = Site::new().flags(&["--access-log-interval", "1"]);
    let (server, mut client) = start(&site);
    client.put("/bucket/before", "x").expect(200);
    log_to(&mut client, "bucket", "a/", "");
    // More than one chunk, so that its bytes are counted as they are sent.
    let body = vec![7; 300_000];
    let put = Request::new("PUT", "/bucket/dir/a%20b")
        .header("user-agent", "agent \"one\"")
        .header("referer", "http://here/")
        .body(body);
    client.call(&put).expect(200);
    client.get("/bucket/dir/a%20b").expect(200);
    let range = Request::new("GET", "/bucket/dir/a%20b").header("range", "bytes=10-19");
    client.call(&range).expect(206);
    client.call(&Request::new("HEAD", "/bucket/dir/a%20b")).expect(200);
    client.get("/bucket/absent").expect(404);
    client.get("/bucket?list-type=2").expect(200);
    let presigned = "GET /bucket/dir/a%20b?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=nobody\
                     &X-Amz-Date=20260101T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host\
                     &X-Amz-Signature=0123secret HTTP/1.1\r\nhost: x\r\n\r\n";
    assert!(client.exchange(presigned.as_bytes(), false).unwrap().status >= 400);
    let mut client = server.client();
    client.delete("/bucket/dir/a%20b").expect(204);

    let mut all = Vec::new();
    wait_until("the last request to be logged", || {
        all = lines(&mut client, "a/");
        all.iter().any(|line| line.operation() == "REST.DELETE.OBJECT")
            && all.iter().any(|line| line.0[8].contains("REDACTED"))
    });
    let summaries: Vec<String> = all.iter().map(Line::summary).collect();
    let listing = all.iter().find(|line| line.operation() == "REST.GET.BUCKET").unwrap();
    for expected in [
        "REST.PUT.LOGGING_STATUS - 200 - - -",
        "REST.PUT.OBJECT dir/a%20b 200 - - 300000",
        "REST.GET.OBJECT dir/a%20b 200 - 300000 300000",
        "REST.GET.OBJECT dir/a%20b 206 - 10 300000",
        "REST.HEAD.OBJECT dir/a%20b 200 - - 300000",
        "REST.DELETE.OBJECT dir/a%20b 204 - - -",
    ] {
        let count = summaries.iter().filter(|summary| *summary == expected).count();
        assert_eq!(count, 1, "{expected}\n{summaries:#?}");
    }
    assert!(summaries.iter().any(|line| line.starts_with("REST.GET.OBJECT absent 404 NoSuchKey ")));
    assert!(all.iter().all(|line| line.key() != "before"));
    assert!(listing.0[11].parse::<u64>().unwrap() > 100);

    let put = all.iter().find(|line| line.operation() == "REST.PUT.OBJECT").unwrap();
    let owner = client.get("/").element("ID").unwrap();
    let Line(fields) = put;
    assert_eq!((&fields[0], fields[1].as_str()), (&owner, "bucket"));
    let time = jiff::fmt::strtime::parse("%d/%b/%Y:%H:%M:%S %z", &fields[2]).unwrap();
    let age = jiff::Timestamp::now().duration_since(time.to_timestamp().unwrap());
    assert!(age.as_secs() < 120, "{fields:?}");
    assert_eq!((fields[3].as_str(), &fields[4]), ("127.0.0.1", &owner));
    assert_eq!(fields[5].len(), 16);
    assert_eq!(fields[8], "PUT /bucket/dir/a%20b HTTP/1.1");
    assert!(fields[13].parse::<u64>().is_ok() && fields[14].parse::<u64>().is_ok());
    assert_eq!(fields[15..17], ["http://here/", "agent %22one%22"]);
    assert_eq!(fields[17], "-");
    assert!(fields[18].starts_with("ringfort-"));
    assert_eq!(fields[19..22], ["SigV4", "-", "AuthHeader"]);
    assert_eq!(fields[22], server.listen.to_string());
    assert_eq!(fields[23..26], ["-", "-", "-"]);

    let refused = all.iter().find(|line| line.0[8].contains("REDACTED")).unwrap();
    assert!(refused.0[8].contains("X-Amz-Signature=REDACTED"), "{refused:?}");
    assert_eq!(refused.0[4], "-");
    assert!(!all.iter().any(|line| line.0.concat().contains("0123secret")));
    // The simple form of keys, and deliveries that are not logged themselves.
    for key in keys(&mut client, "a/") {
        assert!(
            key.starts_with("a/20") && key.len() == "a/2026-01-01-00-00-00-".len() + 16,
            "{key}"
        );
    }
    server.stop();
}

#[test]
fn each_key_that_is_deleted_with_others_has_its_line() {
    let site = Site::new().flags(&["--access-log-interval", "1"]);
    let (server, mut client) = start(&site);
    client.put("/bucket/a%20b", "bytes").expect(200);
    log_to(&mut client, "bucket", "d/", "");
    let bad = "<Object><Key>kept</Key><VersionId>bad</VersionId></Object>";
    let list = format!("<Delete><Object><Key>a b</Key></Object>{bad}</Delete>");
    client.call(&Request::new("POST", "/bucket?delete=").body(list)).expect(200);
    let mut all = Vec::new();
    wait_until("the deletion to be logged", || {
        all = lines(&mut client, "d/");
        all.iter().any(|line| line.operation() == "REST.POST.MULTI_OBJECT_DELETE")
    });
    let of_keys: Vec<&Line> =
        all.iter().filter(|line| line.operation() == "BATCH.DELETE.OBJECT").collect();
    let summaries: Vec<String> = of_keys.iter().map(|line| line.summary()).collect();
    assert_eq!(
        summaries,
        ["BATCH.DELETE.OBJECT a%20b 204 - - 5", "BATCH.DELETE.OBJECT kept 400 InvalidArgument - -",]
    );
    let whole = all.iter().find(|line| line.operation() == "REST.POST.MULTI_OBJECT_DELETE");
    let Line(whole) = whole.unwrap();
    for Line(fields) in of_keys {
        // Whose, where and by whom as in the line of the request; its line, agent and times only there.
        assert_eq!((&fields[..2], &fields[3..6]), (&whole[..2], &whole[3..6]));
        assert_eq!(fields[18..], whole[18..]);
        for at in [8, 13, 14, 15, 16] {
            assert_eq!(fields[at], "-", "{fields:?}");
        }
    }
    assert_eq!((of_version(&all, "kept"), of_version(&all, "a%20b")), ("bad", "-"));
    server.stop();
}

fn of_version<'a>(lines: &'a [Line], key: &str) -> &'a str {
    &lines.iter().find(|line| line.key() == key).unwrap().0[17]
}

#[test]
fn a_bucket_that_logs_into_itself_does_not_grow_by_its_log() {
    let site = Site::new().flags(&["--access-log-interval", "1"]);
    let (server, mut client) = start(&site);
    log_to(&mut client, "logs", "self/", "");
    wait_until("a delivery", || !keys(&mut client, "self/").is_empty());
    let operations: Vec<String> =
        lines(&mut client, "self/").iter().map(|line| line.operation().to_owned()).collect();
    assert!(operations.contains(&"REST.PUT.LOGGING_STATUS".to_owned()), "{operations:?}");
    assert!(!operations.contains(&"REST.PUT.OBJECT".to_owned()), "{operations:?}");
    server.stop();
}

/// The interval is longer than the test: what is there was written at the stop.
#[test]
fn a_stop_delivers_what_waits() {
    let site = Site::new();
    let (server, mut client) = start(&site);
    let format = "<TargetObjectKeyFormat><PartitionedPrefix><PartitionDateSource>EventTime\
                  </PartitionDateSource></PartitionedPrefix></TargetObjectKeyFormat>";
    log_to(&mut client, "bucket", "p/", format);
    client.put("/bucket/one", "x").expect(200);
    let owner = client.get("/").element("ID").unwrap();
    drop(client);
    server.stop();
    let server = site.start();
    let mut client = server.client();
    let found = lines(&mut client, "p/");
    assert!(found.iter().any(|line| line.operation() == "REST.PUT.OBJECT" && line.key() == "one"));
    for key in keys(&mut client, "p/") {
        assert!(key.starts_with(&format!("p/{owner}/us-east-1/bucket/20")), "{key}");
        assert!(key.contains("-00-00-00-"), "{key}");
    }
    server.stop();
}

#[test]
fn lines_without_a_target_are_dropped_and_said() {
    let site = Site::new()
        .flags(&["--access-log-interval", "1"])
        .expect_log("their target bucket is gone");
    let (server, mut client) = start(&site);
    log_to(&mut client, "bucket", "", "");
    client.delete("/logs").expect(204);
    let mut admin = Client::new(server.admin_listen);
    wait_until("the loss to be counted", || {
        let text = admin.get("/metrics").text();
        let lost = |line: &str| {
            line.starts_with("ringfort_access_log_dropped_total{") && !line.ends_with(" 0")
        };
        text.lines().any(lost)
    });
    server.stop();
}

#[test]
fn configurations_that_cannot_be_honoured_are_refused() {
    let site = Site::new();
    let (server, mut client) = start(&site);
    let mut refused = |content: &str, status, code: &str| {
        let document = format!("<BucketLoggingStatus>{content}</BucketLoggingStatus>");
        client.put("/bucket?logging=", document).expect_error(status, code);
    };
    let enabled = |bucket: &str, more: &str| {
        format!(
            "<LoggingEnabled><TargetBucket>{bucket}</TargetBucket><TargetPrefix/>{more}\
             </LoggingEnabled>"
        )
    };
    refused(&enabled("absent-bucket", ""), 400, "InvalidTargetBucketForLogging");
    refused(&enabled(".notify/queue", ""), 400, "InvalidTargetBucketForLogging");
    refused(
        "<LoggingEnabled><TargetBucket>logs</TargetBucket></LoggingEnabled>",
        400,
        "MalformedXML",
    );
    refused("<Surprise/>", 400, "MalformedXML");
    let grant = "<TargetGrants><Grant><Permission>READ</Permission></Grant></TargetGrants>";
    refused(&enabled("logs", grant), 501, "NotImplemented");
    client.put("/bucket?logging=", "").expect_error(400, "MalformedXML");
    client.get("/absent-bucket?logging=").expect_error(404, "NoSuchBucket");
    assert_eq!(client.get("/bucket?logging=").expect(200).element("TargetBucket"), None);
    log_to(&mut client, "bucket", "x/", "");
    let answer = client.get("/bucket?logging=").expect(200);
    assert_eq!(answer.element("TargetBucket").unwrap(), "logs");
    assert_eq!(answer.element("TargetPrefix").unwrap(), "x/");
    client.put("/bucket?logging=", "<BucketLoggingStatus/>").expect(200);
    assert_eq!(client.get("/bucket?logging=").expect(200).element("TargetBucket"), None);
    server.stop();
}
