//! boto3 with its default settings; what is checked stands in `tests/clients/*.py`.

use ringfort_tests::harness::scripts::{run, script};
use ringfort_tests::harness::{Site, setting};

#[test]
fn boto3_objects() {
    check("boto3_objects.py");
}

#[test]
fn boto3_multipart() {
    check("boto3_multipart.py");
}

#[test]
fn boto3_listing() {
    check("boto3_listing.py");
}

#[test]
fn boto3_features() {
    let site = Site::new();
    let site = site.flags(&["--domain", "localhost", "--website-domain", "web.localhost"]);
    let server = site.start();
    let mut script = script(&site, &server, "boto3_features.py");
    run(script.env("RINGFORT_ADMIN", format!("http://{}", server.admin_listen)));
    server.stop();
}

#[test]
fn boto3_versions() {
    check("boto3_versions.py");
}

fn check(name: &str) {
    let site = Site::new().flags(&["--domain", "localhost"]);
    let server = site.start();
    run(&mut script(&site, &server, name));
    server.stop();
}

/// `RINGFORT_BIG_BYTES` makes it as large as wanted; memory must not follow.
#[test]
fn a_large_object_passes_in_constant_memory() {
    let size = setting("RINGFORT_BIG_BYTES", 64 << 20);
    // What was uploaded, and parts that an upload leaves behind.
    let capacity = (size * 2 + (1 << 30)).to_string();
    let site = Site::new().flags(&["--capacity", &capacity]);
    let server = site.start();
    run(&mut script(&site, &server, "boto3_big.py"));
    let peak = server.peak_bytes();
    assert!(peak < 400 << 20, "{} MiB with a budget of 256 MiB", peak >> 20);
    server.stop();
}
