//! The AWS command line: its everyday commands, and a sync of a tree with a kill in its middle.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use ringfort_tests::harness::scripts::{aws, run};
use ringfort_tests::harness::{Site, tree, wait_until};

#[test]
fn everyday_commands_work() {
    let site = Site::new();
    let server = site.start();
    let aws = |arguments: &[&str]| run(&mut aws(&site, &server, arguments));
    let small = site.path("small file.txt");
    let large = site.path("large");
    fs::write(&small, "small").unwrap();
    fs::write(&large, tree::noise(7, 20 << 20)).unwrap();
    let (small, large) = (small.to_str().unwrap(), large.to_str().unwrap());

    aws(&["s3", "mb", "s3://bucket"]);
    assert!(aws(&["s3", "ls"]).contains("bucket"));
    aws(&["s3", "cp", small, "s3://bucket/dir/"]);
    aws(&["s3", "cp", large, "s3://bucket/large"]);
    let listed = aws(&["s3", "ls", "--recursive", "s3://bucket"]);
    assert!(listed.contains("5 dir/small file.txt") && listed.contains("20971520 large"));
    assert!(aws(&["s3", "ls", "s3://bucket/"]).contains("PRE dir/"));
    aws(&["s3", "cp", "s3://bucket/large", "s3://bucket/copy of large"]);
    aws(&["s3", "mv", "s3://bucket/copy of large", "s3://bucket/moved"]);
    let back = site.path("back");
    aws(&["s3", "cp", "s3://bucket/moved", back.to_str().unwrap()]);
    assert!(fs::read(&back).unwrap() == fs::read(large).unwrap());
    assert_eq!(aws(&["s3", "cp", "s3://bucket/dir/small file.txt", "-"]), "small");
    // Version 1 of the command line signs URLs for unknown endpoints by SigV2, unless it is told.
    let config = "[default]\ns3 =\n  signature_version = s3v4\n";
    fs::create_dir_all(site.path("home/.aws")).unwrap();
    fs::write(site.path("home/.aws/config"), config).unwrap();
    let url = aws(&["s3", "presign", "s3://bucket/dir/small file.txt"]);
    let target = url.trim().strip_prefix(&server.endpoint()).unwrap();
    let plain = format!("GET {target} HTTP/1.1\r\nhost: {}\r\n\r\n", server.listen);
    let answer = server.client().exchange(plain.as_bytes(), false).unwrap().expect(200);
    assert_eq!(answer.body, b"small");
    aws(&["s3", "rm", "s3://bucket/moved"]);
    aws(&["s3", "rb", "--force", "s3://bucket"]);
    assert_eq!(aws(&["s3", "ls"]), "");
    server.stop();
}

/// `RINGFORT_TREE` names a tree to take in place of a small one that is made.
#[test]
fn a_sync_that_a_kill_cut_short_is_finished_by_the_next() {
    let site = Site::new().flags(&["--capacity", "8GiB"]);
    let tree = match std::env::var("RINGFORT_TREE") {
        Ok(path) => path.into(),
        Err(_) => {
            let tree = site.path("tree");
            tree::make(&tree);
            tree
        }
    };
    let tree = tree.to_str().unwrap();
    let server = site.start();
    run(&mut aws(&site, &server, &["s3", "mb", "s3://tree"]));
    let sync = ["s3", "sync", "--only-show-errors", "--no-follow-symlinks", tree, "s3://tree/one"];
    run(&mut aws(&site, &server, &sync));

    // The second one goes elsewhere, so that all of it is work, and dies when it has done a part.
    let sync = ["s3", "sync", "--only-show-errors", "--no-follow-symlinks", tree, "s3://tree/two"];
    let mut cut = aws(&site, &server, &sync);
    // Else it retries every file that is left, at a port where nobody listens.
    cut.env("AWS_MAX_ATTEMPTS", "1");
    let mut cut = cut.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut client = server.client();
    wait_until("the second sync to be under way", || {
        assert!(cut.try_wait().unwrap().is_none(), "the sync was over before the kill");
        let page = client.get("/tree?list-type=2&max-keys=30&prefix=two%2F").expect(200);
        page.element("KeyCount").unwrap().parse::<usize>().unwrap() >= 30
    });
    server.kill();
    wait_until("the client to give up", || cut.try_wait().unwrap().is_some());
    assert!(!cut.wait().unwrap().success(), "the sync was over before the kill");

    let server = site.start();
    run(&mut aws(&site, &server, &sync));
    for copy in ["one", "two"] {
        let back = site.path(copy);
        let from = format!("s3://tree/{copy}");
        let sync = ["s3", "sync", "--only-show-errors", &from, back.to_str().unwrap()];
        run(&mut aws(&site, &server, &sync));
        tree::compare(Path::new(tree), &back);
    }
    server.stop();
}
