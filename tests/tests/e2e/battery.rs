//! Clients that people use, each at its real job: trees synchronized, mounted and backed up, tables
//! committed to by contending writers, large files by parts.
//!
//! What the libraries are asked to do stands in `tests/clients`; the programs are called from here. All
//! of them are installed by `.ci/run`, at the versions that the README names.

mod rclone;
mod restic;
mod s3cmd;
mod versions;

use ringfort_tests::harness::scripts::{self, Python, is_left_out, run};
use ringfort_tests::harness::{Server, Site};

#[test]
fn s3fs_keeps_a_tree() {
    check("s3fs", |site, server| scripts::script_by(Python::S3fs, site, server, "s3fs_tree.py"));
}

#[test]
fn minio_for_python() {
    check("minio-py", |site, server| scripts::script(site, server, "minio_py.py"));
}

#[test]
fn pyarrow_keeps_a_dataset() {
    check("pyarrow", |site, server| scripts::script(site, server, "pyarrow_dataset.py"));
}

#[test]
fn delta_tables_lose_no_commit() {
    check("deltalake", |site, server| scripts::script(site, server, "deltalake_commits.py"));
}

#[test]
fn the_aws_sdk_for_javascript() {
    check("node", |site, server| scripts::node(site, server, "aws_sdk.js"));
}

#[test]
fn minio_for_javascript() {
    check("node", |site, server| scripts::node(site, server, "minio.js"));
}

#[test]
fn the_aws_sdk_for_rust() {
    check("rust", |site, server| scripts::rust(site, server, "aws_sdk"));
}

#[test]
fn object_store_for_rust() {
    check("rust", |site, server| {
        server.client().put("/tables", b"").expect(200);
        let mut command = scripts::rust(site, server, "object_store");
        command.env("RINGFORT_BUCKET", "tables");
        command
    });
}

#[test]
fn the_aws_cli_configures_buckets() {
    check("aws", |site, server| scripts::script(site, server, "aws_configuration.py"));
}

#[test]
fn s3fs_keeps_versions_and_tags() {
    check("s3fs", |site, server| {
        scripts::script_by(Python::S3fs, site, server, "s3fs_settings.py")
    });
}

#[test]
fn minio_for_python_configures_buckets() {
    check("minio-py", |site, server| scripts::script(site, server, "minio_py_settings.py"));
}

#[test]
fn the_aws_sdk_for_javascript_configures_buckets() {
    check("node", |site, server| scripts::node(site, server, "aws_sdk_settings.js"));
}

#[test]
fn minio_for_javascript_configures_buckets() {
    check("node", |site, server| scripts::node(site, server, "minio_settings.js"));
}

/// A master key of 32 bytes, as a user gives it.
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The checks of one script all hold, and the script says whose they were.
fn check(client: &str, command: impl FnOnce(&Site, &Server<'_>) -> std::process::Command) {
    if is_left_out(client) {
        return;
    }
    let site = Site::new().variable("RINGFORT_SSE_MASTER_KEY", MASTER_KEY);
    let server = site.start();
    let said = run(&mut command(&site, &server));
    assert!(said.starts_with("client: ") && said.matches(": ok\n").count() >= 3, "{said}");
    announce(&said);
    server.stop();
}

#[expect(clippy::print_stdout, reason = "which client it was belongs to the test's record")]
fn announce(said: &str) {
    println!("{}", said.lines().next().unwrap_or_default());
}
