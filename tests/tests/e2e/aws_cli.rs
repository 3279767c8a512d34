//! The AWS command line: its everyday commands, and a sync of a tree with a kill in its middle.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use ringfort_tests::harness::scripts::{aws, run};
use ringfort_tests::harness::{Site, wait_until};

#[test]
fn everyday_commands_work() {
    let site = Site::new();
    let server = site.start();
    let aws = |arguments: &[&str]| run(&mut aws(&site, &server, arguments));
    let small = site.path("small file.txt");
    let large = site.path("large");
    fs::write(&small, "small").unwrap();
    fs::write(&large, noise(7, 20 << 20)).unwrap();
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
            make_tree(&tree);
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
        compare(Path::new(tree), &back);
    }
    server.stop();
}

/// `diff` with what S3 cannot keep left out: links, and directories without files.
fn compare(tree: &Path, back: &Path) {
    let list = |directory: &Path| {
        let mut command = Command::new("find");
        command.args([".", "-type", "f", "-print0"]).current_dir(directory);
        let mut names: Vec<Vec<u8>> =
            command.output().unwrap().stdout.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
        names.sort();
        names
    };
    let names = list(tree);
    assert!(names.len() > 300, "only {} files", names.len());
    assert!(names == list(back), "the trees hold different files");
    for name in names.iter().filter(|name| !name.is_empty()) {
        let name = std::str::from_utf8(name).unwrap();
        let same = fs::read(tree.join(name)).unwrap() == fs::read(back.join(name)).unwrap();
        assert!(same, "{name} differs");
    }
}

/// 360 files of many sizes, with names that a path may have.
fn make_tree(tree: &Path) {
    let sizes = [0, 1, 100, 4095, 4096, 20_000, 131_072, 131_073, 700_000];
    for number in 0..360 {
        let directory = ["a", "a/b", "with space", "ünï", "plus+and%20", "deep/er/est"][number % 6];
        let directory = tree.join(directory);
        fs::create_dir_all(&directory).unwrap();
        let name = format!("file {number} & {}.bin", "x".repeat(number % 50));
        fs::write(directory.join(name), noise(number as u64, sizes[number % 9])).unwrap();
    }
    fs::write(tree.join("large"), noise(999, 18 << 20)).unwrap();
}

/// Bytes that no two places share.
fn noise(seed: u64, size: usize) -> Vec<u8> {
    ringfort_tests::harness::chance::Chance::new(seed).bytes(size)
}
