//! restic: backups of a tree that grows, checked to the last byte, restored, thinned out; and one whose
//! server dies in its middle.

use std::fs;
use std::process::{Command, Stdio};

use ringfort_tests::harness::scripts::{aws, is_left_out, program, run, run_refused};
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

/// Backups that nobody can take away before their time: restic works on as it does elsewhere, and what it
/// prunes is still there.
#[test]
fn restic_works_on_a_locked_bucket() {
    if is_left_out("restic") {
        return;
    }
    let site = Site::new();
    let server = site.start();
    let local = site.path("home/tree");
    tree::make(&local);
    let s3api = |arguments: &[&str]| aws(&site, &server, &[&["s3api"], arguments].concat());
    let bucket = ["--bucket", "backups"];
    let create = ["create-bucket", "--object-lock-enabled-for-bucket"];
    run(&mut s3api(&[&create[..], &bucket].concat()));
    let rule = r#"{"ObjectLockEnabled": "Enabled",
        "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}"#;
    let lock = ["put-object-lock-configuration", "--object-lock-configuration", rule];
    run(&mut s3api(&[&lock[..], &bucket].concat()));

    let restic = |arguments: &[&str]| run(command(&site, &server).args(arguments));
    restic(&["init"]);
    restic(&["backup", "tree"]);
    fs::write(local.join("large"), tree::noise(78, 5 << 20)).unwrap();
    restic(&["backup", "tree"]);
    restic(&["forget", "--keep-last", "1", "--prune"]);
    restic(&["check", "--read-data"]);
    let back = site.path("back");
    restic(&["restore", "latest", "--target", back.to_str().unwrap()]);
    tree::compare(&local, &back.join("tree"));

    let listed = run(&mut s3api(&[&["list-object-versions"], &bucket[..]].concat()));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let of_data =
        |entry: &&serde_json::Value| entry["Key"].as_str().unwrap().starts_with("repository/data/");
    let markers: Vec<_> =
        listed["DeleteMarkers"].as_array().unwrap().iter().filter(of_data).collect();
    assert!(!markers.is_empty(), "prune removed no pack: {listed}");
    // Some of them: each look costs a start of the command line.
    for marker in markers.into_iter().take(3) {
        let key = &marker["Key"];
        let mut versions = listed["Versions"].as_array().unwrap().iter();
        let pruned = versions.find(|version| version["Key"] == *key).expect("it is still there");
        let (key, version) = (key.as_str().unwrap(), pruned["VersionId"].as_str().unwrap());
        let delete = ["delete-object", "--key", key, "--version-id", version];
        let said = run_refused(&mut s3api(&[&delete[..], &bucket].concat()));
        assert!(said.contains("(AccessDenied)"), "{said}");
    }
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
