//! A server that was started as root goes on as somebody else; the management port as a socket of the host.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use ringfort_tests::harness::{Site, binaries::ringfort};

/// Debian's.
const NOBODY: u32 = 65_534;

/// Whether others may pass through all directories above a path.
fn is_reached_by_others(path: &Path) -> bool {
    path.ancestors().skip(1).all(|dir| fs::metadata(dir).unwrap().mode() & 0o001 != 0)
}

#[test]
fn root_is_given_up_by_all_threads_and_for_good() {
    let site = Site::new();
    let inside = site.path("inside");
    let data_dir = inside.join("parent/data");
    fs::create_dir(&inside).unwrap();
    fs::set_permissions(inside.parent().unwrap(), PermissionsExt::from_mode(0o755)).unwrap();
    let is_root = fs::metadata(&inside).unwrap().uid() == 0;
    if !is_root || !is_reached_by_others(&inside) {
        #[expect(clippy::print_stderr, reason = "a test that was left out says so")]
        {
            eprintln!("left out: it needs root, and a directory that others reach");
        }
        return;
    }
    let site = site
        .data_dirs(vec![data_dir.clone()])
        .flags(&["--user", "nobody"])
        // Where root may not raise that limit either.
        .expect_log("registering buffers in the");
    let server = site.start();
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    client.put("/bucket/key", "x").expect(200);
    let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap();
    let mut count = 0;
    for thread in threads {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let fields = |name: &str| -> Vec<&str> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().collect()
        };
        for ids in ["Uid:", "Gid:"] {
            assert_eq!(fields(ids), ["65534"; 4], "{status}");
        }
        for capabilities in ["CapEff:", "CapPrm:"] {
            assert_eq!(fields(capabilities), ["0000000000000000"], "{status}");
        }
        assert_eq!(fields("NoNewPrivs:"), ["1"], "{status}");
        assert!(!fields("Groups:").contains(&"0"), "{status}");
        count += 1;
    }
    assert!(count >= 3);
    let made = fs::metadata(&data_dir).unwrap();
    assert_eq!((made.uid(), made.mode() & 0o777), (NOBODY, 0o700));
    server.stop();

    // What is there is opened again.
    let server = site.start();
    assert_eq!(server.client().get("/bucket/key").expect(200).text(), "x");
    server.stop();
}

#[test]
fn the_management_port_is_served_to_who_may_write_to_its_socket() {
    let site = Site::new();
    let socket = site.path("admin.sock");
    let site = site
        .flags(&["--admin-socket", socket.to_str().unwrap()])
        .flags(&["--admin-socket-mode", "0600"]);
    let admin = |key: &str| {
        let mut command = Command::new(ringfort());
        command.args([
            "admin",
            "--admin",
            &format!("unix:{}", socket.display()),
            "--output",
            "json",
        ]);
        let output = command.arg("stats").env("RINGFORT_ADMIN_API_KEY", key).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap())
    };
    let server = site.start();
    assert_eq!(fs::metadata(&socket).unwrap().mode() & 0o777, 0o600);
    let (is_well, said) = admin("test-key");
    assert!(is_well && said.contains("buckets"), "{said}");
    // A key is needed here too.
    assert!(!admin("another-key").0);
    let refused = site.start_refused();
    assert!(refused.1.contains("--admin-socket"), "{}", refused.1);
    assert!(admin("test-key").0);
    server.kill();
    assert!(!admin("test-key").0);

    // What it left is no hindrance, and an orderly stop leaves nothing.
    let server = site.start();
    assert!(admin("test-key").0);
    server.stop();
    assert!(!socket.exists());
}
