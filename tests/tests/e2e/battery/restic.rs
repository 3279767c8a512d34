//! restic: backups of a tree that grows, checked to the last byte, restored, thinned out; and one whose
//! server dies in its middle.

use std::fs;
use std::process::{Command, Stdio};

use ringfort_tests::harness::scripts::{is_left_out, program, run};
use ringfort_tests::harness::{Server, Site, tree, wait_until};

#[test]
fn restic_backs_up_and_restores() {
    if is_left_out("restic") {
        return;
    }
    let site = Site::new();
    let server = site.start();
    let restic = |arguments: &[&str]| run(command(&site, &server).args(arguments));
    super::announce(&format!("client: {}", restic(&["version"])));
    let (first, second) = (site.path("first"), site.path("second"));
    let local = site.path("home/tree");
    tree::make(&local);
    tree::make(&first);

    restic(&["init"]);
    restic(&["backup", "--tag", "one", "tree"]);
    fs::write(local.join("a/new"), tree::noise(77, 3 << 20)).unwrap();
    fs::remove_file(local.join("large")).unwrap();
    let said = restic(&["backup", "--tag", "two", "--json", "tree"]);
    let summary: serde_json::Value =
        serde_json::from_str(said.lines().last().expect("a summary")).unwrap();
    assert_eq!(summary["files_new"], 1, "{said}");
    assert_eq!(summary["files_unmodified"], 360, "{said}");
    assert!(summary["data_added"].as_u64().unwrap() < 4 << 20, "only what is new: {said}");
    restic(&["check", "--read-data"]);

    let (old, new) = (site.path("old"), site.path("new"));
    restic(&["restore", "latest", "--tag", "one", "--target", old.to_str().unwrap()]);
    restic(&["restore", "latest", "--tag", "two", "--target", new.to_str().unwrap()]);
    tree::compare(&first, &old.join("tree"));
    tree::compare(&local, &new.join("tree"));
    let listed: serde_json::Value = serde_json::from_str(&restic(&SNAPSHOTS)).unwrap();
    let ids = [0, 1].map(|index| listed[index]["id"].as_str().unwrap());
    let difference = restic(&["diff", ids[0], ids[1]]);
    assert!(difference.contains("-    /tree/large\n"), "{difference}");
    assert!(difference.contains("+    /tree/a/new\n"), "{difference}");

    restic(&["tag", "--add", "kept", ids[1]]);
    restic(&["forget", "--group-by", "host", "--keep-last", "1", "--prune"]);
    restic(&["check", "--read-data"]);
    let left: serde_json::Value = serde_json::from_str(&restic(&SNAPSHOTS)).unwrap();
    assert_eq!(left.as_array().unwrap().len(), 1);
    restic(&["restore", "latest", "--target", second.to_str().unwrap()]);
    tree::compare(&local, &second.join("tree"));
    server.stop();
}

/// SIGKILL for the server and then for the client, while data is on its way: the repository is sound, and
/// the next backup is whole.
#[test]
fn restic_goes_on_after_the_server_was_killed() {
    if is_left_out("restic") {
        return;
    }
    let site = Site::new();
    let local = site.path("home/tree");
    tree::make(&local);
    let server = site.start();
    run(command(&site, &server).arg("init"));
    let backup = ["--limit-upload", "8000", "backup", "tree"];
    let mut cut = command(&site, &server);
    let cut = cut.args(backup).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut cut = cut.spawn().unwrap();
    let mut client = server.client();
    wait_until("the first pack to be there", || {
        assert!(cut.try_wait().unwrap().is_none(), "the backup was over before the kill");
        let page = client.get("/backups?list-type=2&prefix=repository%2Fdata").expect(200);
        page.element("KeyCount").unwrap() != "0"
    });
    server.kill();
    cut.kill().unwrap();
    cut.wait().unwrap();

    let server = site.start();
    let restic = |arguments: &[&str]| run(command(&site, &server).args(arguments));
    restic(&["unlock", "--remove-all"]);
    restic(&["backup", "tree"]);
    restic(&["check", "--read-data"]);
    let back = site.path("back");
    restic(&["restore", "latest", "--target", back.to_str().unwrap()]);
    tree::compare(&local, &back.join("tree"));
    server.stop();
}

const SNAPSHOTS: [&str; 2] = ["snapshots", "--json"];

fn command(site: &Site, server: &Server<'_>) -> Command {
    let mut command = program(site, "restic");
    command
        .env("RESTIC_REPOSITORY", format!("s3:{}/backups/repository", server.endpoint()))
        .env("RESTIC_PASSWORD", "a password")
        .env("RESTIC_CACHE_DIR", site.path("restic-cache"))
        .env("RESTIC_PACK_SIZE", "4");
    command
}
