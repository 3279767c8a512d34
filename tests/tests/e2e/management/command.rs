//! `ringfort admin` against a running server, and what shells and people are told of the command line.

use super::{Site, json};
use ringfort_tests::harness::Server;
use ringfort_tests::harness::binaries::ringfort;
use ringfort_tests::harness::client::Request;
use serde_json::Value;
use std::process::{Command, Output};

fn admin(server: &Server<'_>, line: &str) -> Output {
    let mut command = Command::new(ringfort());
    command.arg("admin").args(["--admin", &format!("http://{}", server.admin_listen)]);
    command.env("RINGFORT_ADMIN_API_KEY", "test-key").args(line.split(' '));
    command.output().unwrap()
}

#[track_caller]
fn said(server: &Server<'_>, line: &str) -> String {
    let output = admin(server, line);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn told(server: &Server<'_>, line: &str) -> Value {
    serde_json::from_str(&said(server, &format!("--output json {line}"))).unwrap()
}

#[track_caller]
fn refused(server: &Server<'_>, line: &str, code: i32, says: &str) {
    let output = admin(server, line);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{line}: {complaint}");
    assert!(complaint.contains(says), "{line}: {complaint}");
}

#[test]
fn the_command_line_does_what_the_api_does() {
    let site = Site::new();
    let server = site.start();
    let made = told(&server, "credentials create --name john-doe --access-key johns-key");
    assert_eq!((&made["id"], made["secret_key"].is_string()), (&json!(1), true));
    said(&server, "buckets create my-bucket --owner 1");
    let rows = told(&server, "credentials list");
    assert_eq!((&rows[0]["user_name"], rows[0].get("secret_key")), (&json!("john-doe"), None));
    assert_eq!(told(&server, "credentials show 1")["bucket_count"], 1);
    said(&server, "credentials update 1 --active false");
    assert_eq!(told(&server, "credentials show 1")["is_active"], false);
    said(&server, "credentials update 1 --active true");

    // A list with more than one page, and a name that would clear the screen.
    let mut s3 = server.client();
    for number in 0..101 {
        s3.put(&format!("/my-bucket/k{number:03}"), "x").expect(200);
    }
    s3.put("/my-bucket/%1B%5B2J", "x").expect(200);
    let objects = told(&server, "objects list my-bucket");
    assert_eq!(objects.as_array().unwrap().len(), 102);
    assert_eq!(objects[101]["key"], "k100");
    let table = said(&server, "objects list my-bucket");
    assert_eq!(table.lines().count(), 103);
    assert!(table.starts_with("KEY") && table.contains("\\u{1b}[2J") && !table.contains('\u{1b}'));
    assert_eq!(told(&server, "objects list my-bucket --prefix k10").as_array().unwrap().len(), 1);
    assert_eq!(told(&server, "objects show my-bucket k000")["size"], 1);
    said(&server, "objects delete my-bucket k000");
    refused(&server, "objects show my-bucket k000", 1, "404");

    let id = s3.post("/my-bucket/up?uploads=", "").expect(200).element("UploadId").unwrap();
    assert_eq!(told(&server, "uploads list my-bucket")[0]["upload_id"], id);
    said(&server, &format!("uploads abort my-bucket {id} --key up"));
    assert_eq!(told(&server, "uploads list my-bucket"), json!([]));

    let url = said(&server, "presign my-bucket k001 --access-key johns-key");
    let target = url.trim().strip_prefix(&server.endpoint()).unwrap();
    s3.call(&Request::new("GET", target).signed_by(None)).expect(200);
    assert_eq!(told(&server, "presigned")[0]["object_key"], "k001");

    said(&server, "buckets set-quota my-bucket --max-objects 101");
    s3.put("/my-bucket/one-more", "x").expect_error(403, "QuotaExceeded");
    assert_eq!(told(&server, "buckets quota my-bucket")["used_objects"], 101);
    said(&server, "buckets remove-quota my-bucket");
    said(&server, "buckets set-limits my-bucket --requests-per-second 9 --burst-requests 3");
    assert_eq!(told(&server, "buckets limits my-bucket")["burst_requests"], 3);
    said(&server, "buckets remove-limits my-bucket");
    assert_eq!(told(&server, "buckets limits my-bucket")["burst_requests"], Value::Null);
    said(&server, "credentials set-limits 1 --concurrent-requests 7");
    assert_eq!(told(&server, "credentials show 1")["limits"]["concurrent_requests"], 7);
    assert!(said(&server, "credentials limits 1").contains("concurrent_requests"));
    said(&server, "credentials remove-limits 1");
    refused(&server, "credentials set-limits 1 --requests-per-second 0", 1, "requests_per_second");
    refused(&server, "credentials set-limits 1", 2, "--concurrent-requests");
    refused(&server, "buckets delete my-bucket", 1, "not empty");

    let key = told(&server, "api-keys create ci --rights read-only");
    let only_reading = format!("--api-key {} stats", key["key"].as_str().unwrap());
    assert!(said(&server, &only_reading).contains("objects"));
    let changing = format!("--api-key {} buckets create other", key["key"].as_str().unwrap());
    refused(&server, &changing, 1, "may only read");
    said(&server, &format!("api-keys delete {}", key["id"].as_str().unwrap()));
    refused(&server, &only_reading, 1, "401");
    for line in ["whoami", "shards", "latency", "settings", "buckets list", "api-keys list"] {
        assert!(!said(&server, line).trim().is_empty(), "{line}");
        told(&server, line);
    }
    refused(&server, "--api-key= stats", 2, "--api-key");
    refused(&server, "credentials update 1", 2, "--name");
    said(&server, "credentials delete 1");
    server.stop();
}

#[test]
fn shells_and_people_are_told_of_the_command_line() {
    let site = Site::new();
    let run = |arguments: &[&str]| {
        let output = Command::new(ringfort()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).contains("set-quota"), "{shell}");
    }
    // What bash makes of it.
    let script = site.path("ringfort.bash");
    std::fs::write(&script, run(&["completions", "bash"])).unwrap();
    let ask = format!(
        "source {}; COMP_WORDS=(ringfort admin bu); COMP_CWORD=2; _ringfort ringfort bu admin; \
         echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let reply = Command::new("bash").args(["-c", &ask]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&reply.stdout).trim(), "buckets");

    assert!(run(&["man"]).contains(".TH ringfort"));
    let directory = site.path("man");
    std::fs::create_dir(&directory).unwrap();
    run(&["man", "--dir", directory.to_str().unwrap()]);
    for page in ["ringfort.1", "ringfort-admin.1", "ringfort-admin-buckets-set-quota.1"] {
        let text = std::fs::read_to_string(directory.join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}");
    }
    let nowhere = site.path("nowhere");
    let output = Command::new(ringfort()).args(["man", "--dir"]).arg(&nowhere).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
}
