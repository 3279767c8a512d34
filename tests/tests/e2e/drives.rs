//! Drives that die or are missing, on filesystems of their own: what was on them is refused, the rest is
//! served.

use std::fs;
use std::path::PathBuf;

use ringfort_tests::harness::chance::Chance;
use ringfort_tests::harness::client::{Client, Request};
use ringfort_tests::harness::volume::Volume;
use ringfort_tests::harness::webhook::Webhook;
use ringfort_tests::harness::{Server, Site, wait_until};

const OBJECTS: usize = 48;
const VOLUME_BYTES: u64 = 96 << 20;

/// What the log may say when a drive fails.
fn site() -> Site {
    let site = Site::new().flags(&["--capacity", "1GiB", "--segment-size", "1MiB"]);
    [
        "a drive of the store is offline",
        "a drive is offline",
        "the shard is read-only",
        "a request failed inside the store",
        "the answer failed: InternalError",
        "the log could not be closed in order",
        "closing a segment file failed",
    ]
    .into_iter()
    .fold(site, Site::expect_log)
}

fn name(number: usize) -> String {
    format!("/bucket/{number}")
}

/// Small objects, and large ones.
fn body(number: usize) -> Vec<u8> {
    Chance::new(number as u64).bytes([500, 20_000, 300_000][number % 3])
}

fn fill(server: &Server<'_>) {
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    client.put("/empty", "").expect(200);
    for number in 0..OBJECTS {
        client.put(&name(number), body(number)).expect(200);
    }
}

/// The objects that are refused; all others are right.
fn refused(server: &Server<'_>) -> Vec<usize> {
    let mut client = server.client();
    let mut refused = Vec::new();
    for number in 0..OBJECTS {
        let answer = client.get(&name(number));
        if answer.status == 200 {
            assert!(answer.body == body(number), "{number}");
        } else {
            answer.expect_error(503, "ServiceUnavailable");
            refused.push(number);
        }
    }
    refused
}

/// One of two drives is offline: these objects are refused, and whatever needs all drives.
fn check_degraded(server: &Server<'_>, offline: &[usize]) {
    assert_eq!(refused(server), offline);
    let mut client = server.client();
    for target in ["/bucket?list-type=2", "/bucket", "/bucket?uploads=", "/empty?list-type=2"] {
        client.get(target).expect_error(503, "ServiceUnavailable");
    }
    client.delete("/empty").expect_error(503, "ServiceUnavailable");
    for number in 0..OBJECTS {
        let answer = client.put(&name(number), body(number));
        if offline.contains(&number) {
            answer.expect_error(503, "ServiceUnavailable");
            client.delete(&name(number)).expect_error(503, "ServiceUnavailable");
        } else {
            answer.expect(200);
        }
    }
    let mut admin = Client::new(server.admin_listen);
    wait_until("health to say it", || admin.get("/health/ready").expect(200).text() == "degraded");
    let health: serde_json::Value =
        serde_json::from_slice(&admin.get("/health").expect(200).body).unwrap();
    assert_eq!(health["drives_offline"].as_array().unwrap().len(), 1, "{health}");
    assert_eq!(health["shards_offline"].as_array().unwrap().len(), 2, "{health}");
    wait_until("metrics to say it", || {
        admin.get("/metrics").text().contains("ringfort_drives_offline{core=\"0\"} 1")
    });
}

/// The site with its data on these directories.
fn on(site: Site, dirs: [PathBuf; 2]) -> Site {
    site.data_dirs(dirs.to_vec())
}

/// A store of two drives, of which this one is a filesystem of its own.
fn with_volume(drive: usize) -> Option<(Site, Volume)> {
    let site = site();
    let volume = Volume::new(&site, "drive", VOLUME_BYTES)?;
    let mut dirs = [site.path("data"), volume.path().to_owned()];
    dirs.rotate_left(usize::from(drive == 0));
    Some((on(site, dirs), volume))
}

#[test]
fn a_drive_that_dies_takes_down_its_own_keys_only() {
    let Some((site, volume)) = with_volume(1) else { return };
    let server = site.start();
    fill(&server);
    assert!(refused(&server).is_empty());
    volume.shut_down();
    // The first to come finds out, with an error of its own.
    wait_until("the death to be noticed", || {
        (0..OBJECTS).any(|number| server.client().get(&name(number)).status == 503)
    });
    let offline = refused(&server);
    assert!(offline.len() > OBJECTS / 4 && offline.len() < OBJECTS * 3 / 4, "{offline:?}");
    check_degraded(&server, &offline);
    server.stop();

    // Still dead, then not mounted, at the next starts.
    let server = site.start();
    check_degraded(&server, &offline);
    server.kill();
    volume.unmount();
    let server = site.start();
    check_degraded(&server, &offline);
    server.stop();
    assert_eq!(fs::read_dir(volume.path()).unwrap().count(), 0, "the mount point was written to");

    volume.mount();
    let server = site.start();
    assert!(refused(&server).is_empty());
    let page = server.client().get("/bucket?list-type=2").expect(200).text();
    assert_eq!(page.matches("<Key>").count(), OBJECTS);
    server.client().delete("/empty").expect(204);
    assert_eq!(Client::new(server.admin_listen).get("/health/ready").text(), "ready");
    server.stop();
}

/// The queue of events lies on all drives; what cannot be read of it waits.
#[test]
fn events_keep_no_server_from_starting_without_a_drive() {
    let Some((site, volume)) = with_volume(1) else { return };
    let webhook = Webhook::start();
    let target = format!("hook={}", webhook.url());
    let site = site
        .variables(&[("RINGFORT_NOTIFY_WEBHOOK", target.as_str())])
        .expect_log("the queue of events cannot be opened")
        .expect_log("the queue of events cannot be read or changed");
    let server = site.start();
    fill(&server);
    let configuration = "<NotificationConfiguration><QueueConfiguration><Queue>arn:ringfort:sqs::hook:webhook\
                         </Queue><Event>s3:ObjectRemoved:*</Event></QueueConfiguration>\
                         </NotificationConfiguration>";
    server.client().put("/bucket?notification=", configuration).expect(200);
    server.kill();
    volume.unmount();
    let server = site.start();
    let offline = refused(&server);
    let there: Vec<_> = (0..OBJECTS).filter(|number| !offline.contains(number)).collect();
    for number in &there {
        server.client().delete(&name(*number)).expect(204);
    }
    server.kill();
    volume.mount();
    let server = site.start();
    for number in there {
        webhook.wait_for("ObjectRemoved:Delete", &number.to_string());
    }
    server.stop();
}

/// The bucket catalogue is judged on the first drive and known on every one.
#[test]
fn without_the_first_drive_buckets_are_known_and_do_not_change() {
    let Some((site, volume)) = with_volume(0) else { return };
    let server = site.start();
    fill(&server);
    server.kill();
    volume.unmount();

    let server = site.start();
    let offline = refused(&server);
    check_degraded(&server, &offline);
    let mut client = server.client();
    client.put("/new", "").expect_error(503, "ServiceUnavailable");
    client.get("/").expect_error(503, "ServiceUnavailable");
    // It may have been made while this drive was away: nobody can say that it was not.
    client.get("/unknown/key").expect_error(503, "ServiceUnavailable");
    server.stop();

    volume.mount();
    let server = site.start();
    assert!(refused(&server).is_empty());
    server.client().put("/new", "").expect(200);
    server.client().get("/unknown/key").expect_error(404, "NoSuchBucket");
    server.stop();
}

/// The credentials are on every drive, and the server made them itself.
#[test]
fn a_missing_first_directory_does_not_lock_the_operator_out() {
    let site = site().without_credentials();
    let dirs = [site.path("one"), site.path("two")];
    let site = on(site, dirs.clone());
    site.start().stop();
    let kept = |dir: &PathBuf| fs::read(dir.join("root-credentials.json")).unwrap();
    assert_eq!(kept(&dirs[0]), kept(&dirs[1]));
}

/// Whether an object is read. If not, there is an error before the first byte or an answer that ends
/// early: never a wrong byte.
fn is_right(server: &Server<'_>, number: usize) -> bool {
    match server.client().send(&Request::new("GET", &name(number))) {
        Ok(answer) if answer.status == 200 => {
            assert!(answer.body == body(number), "{number}");
            true
        }
        Ok(answer) => {
            answer.expect_error(500, "InternalError");
            false
        }
        Err(_) => false,
    }
}

/// What ext4 does by default on most systems when it finds itself damaged.
#[test]
fn a_filesystem_that_turns_read_only_latches_writes_and_serves_reads() {
    let mut site = site().expect_log("its lock cannot be taken");
    let Some(volume) = Volume::new(&site, "drive", VOLUME_BYTES) else { return };
    site = site.data_dirs(vec![volume.path().to_owned()]);
    let server = site.start();
    fill(&server);
    volume.turn_read_only();
    let mut client = server.client();
    for number in 0..OBJECTS {
        client.put(&name(number), "new").expect_error(503, "ServiceUnavailable");
        assert!(is_right(&server, number), "{number}");
        client.delete(&name(number)).expect_error(503, "ServiceUnavailable");
    }
    let page = client.get("/bucket?list-type=2").expect(200).text();
    assert_eq!(page.matches("<Key>").count(), OBJECTS);
    let mut admin = Client::new(server.admin_listen);
    wait_until("health to say it", || {
        let health: serde_json::Value =
            serde_json::from_slice(&admin.get("/health").expect(200).body).unwrap();
        health["shards_read_only"].as_array().unwrap().len() == 4
            && health["drives_offline"].as_array().unwrap().is_empty()
    });
    assert_eq!(admin.get("/health/ready").expect(200).text(), "degraded");
    server.stop();

    let (code, said) = site.start_refused();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    volume.unmount();
    volume.mount();
    let server = site.start();
    assert!((0..OBJECTS).all(|number| is_right(&server, number)));
    server.client().put(&name(0), "new").expect(200);
    server.stop();
}

/// A part of the drive cannot be read any more: what lies there fails, each object by itself.
#[test]
fn an_unreadable_place_concerns_its_objects_only() {
    let mut site = site();
    let Some(volume) = Volume::new(&site, "drive", VOLUME_BYTES) else { return };
    site = site.data_dirs(vec![volume.path().to_owned()]);
    let server = site.start();
    fill(&server);
    // Nobody knows where the filesystem has put them: more and more is cut off its end.
    let mut parts = (0..32).rev();
    let failed = loop {
        volume.cut_off(VOLUME_BYTES / 32 * parts.next().expect("an object lies somewhere"));
        let failed = (0..OBJECTS).filter(|number| !is_right(&server, *number)).count();
        if failed > 0 {
            break failed;
        }
    };
    assert!(failed < OBJECTS, "all objects failed at once");
    let page = server.client().get("/bucket?list-type=2").expect(200).text();
    assert_eq!(page.matches("<Key>").count(), OBJECTS);
    let mut admin = Client::new(server.admin_listen);
    let has_errors =
        |line: &str| line.starts_with("ringfort_read_errors_total") && !line.ends_with(" 0");
    wait_until("the errors to be counted", || admin.get("/metrics").text().lines().any(has_errors));
    server.kill();
}
