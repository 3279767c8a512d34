//! A server that was started as root goes on as somebody else.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use ringfort_tests::harness::Site;

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
        eprintln!("left out: it needs root, and a directory that others reach");
        return;
    }
    let site = site.data_dirs(vec![data_dir.clone()]).flags(&["--user", "nobody"]);
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
