//! `ringfort tune`: a host that is looked at, set and set back, here a tree of files; a drive that is
//! measured, and the start that reads what was found.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use ringfort_tests::harness::Site;
use ringfort_tests::harness::binaries::ringfort;
use serde_json::Value;

const SCHEDULER: &str = "sys/devices/pci0/nvme0n1/queue/scheduler";
const SOMAXCONN: &str = "proc/sys/net/core/somaxconn";
const PROFILE: &str = "device-profile.json";
/// Enough that a busy disk fills the file.
const BOUNDS: [&str; 4] = ["--seconds", "4", "--file-size", "16MiB"];

/// The exit code, and the events on standard output.
fn tune(data_dir: &Path, flags: &[&str]) -> (i32, Vec<Value>) {
    let mut command = Command::new(ringfort());
    command.args(["tune", "--json", "--data-dir"]).arg(data_dir).args(flags);
    // Nor how many files it may have open.
    command.env("RINGFORT_MAX_CONNECTIONS", "100");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().unwrap_or_else(|| panic!("no exit code: {said}"));
    let lines = String::from_utf8(output.stdout).unwrap();
    (code, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

fn of<'a>(events: &'a [Value], name: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["event"] == name).collect()
}

/// A host whose drive sorts its requests, and whose listeners queue few connections.
fn host(root: &Path) {
    let mounts = "27 1 259:0 / / rw,noatime - ext4 /dev/nvme0n1 rw\n";
    for (path, text) in [
        ("proc/self/mountinfo", mounts),
        // What this process may lock is of no account there.
        ("proc/self/status", "CapEff:\t000001ffffffffff\n"),
        (SOMAXCONN, "128\n"),
        (SCHEDULER, "mq-deadline\n"),
        ("sys/devices/pci0/nvme0n1/queue/rotational", "0\n"),
    ] {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    for (link, to) in [
        ("sys/dev/block/259:0", "../../devices/pci0/nvme0n1"),
        ("sys/block/nvme0n1", "../devices/pci0/nvme0n1"),
    ] {
        fs::create_dir_all(root.join(link).parent().unwrap()).unwrap();
        symlink(to, root.join(link)).unwrap();
    }
}

#[test]
fn a_host_is_set_only_when_asked_and_set_back_by_the_script() {
    let site = Site::new();
    let (root, undo) = (site.path("host"), site.path("undo.sh"));
    host(&root);
    // What a kernel would offer beside the scheduler that it uses.
    fs::write(root.join(SCHEDULER), "none [mq-deadline]\n").unwrap();
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let flags = ["--root", root.to_str().unwrap()];
    let (code, events) = tune(&site.path(""), &flags);
    assert_eq!(code, 1, "{events:#?}");
    let scheduler = of(&events, "finding").into_iter().find(|f| f["rule"] == "scheduler").unwrap();
    assert_eq!(scheduler["severity"], "warning");
    assert_eq!(scheduler["undo"][0], "echo mq-deadline > /sys/block/nvme0n1/queue/scheduler");
    assert_eq!(
        (read(SCHEDULER).as_str(), read(SOMAXCONN).as_str()),
        ("none [mq-deadline]\n", "128\n")
    );

    let apply = [&flags[..], &["--apply", "--undo", undo.to_str().unwrap()]].concat();
    let (code, events) = tune(&site.path(""), &apply);
    assert_eq!(code, 0, "the warning is mended: {events:#?}");
    assert!(of(&events, "setting").iter().all(|setting| setting["outcome"] == "set"));
    assert_eq!((read(SCHEDULER).as_str(), read(SOMAXCONN).as_str()), ("none\n", "4096\n"));
    let (code, _) = tune(&site.path(""), &[&apply[..], &["--no-measure"]].concat());
    assert_eq!(code, 0, "nothing is left to set, and the script stays");

    assert!(Command::new("sh").arg(&undo).status().unwrap().success());
    assert_eq!((read(SCHEDULER).as_str(), read(SOMAXCONN).as_str()), ("mq-deadline\n", "128\n"));
}

#[test]
fn a_drive_is_measured_and_the_next_start_reads_its_profile() {
    let site = Site::new().expect_log("the device profile is not used");
    let server = site.start();
    assert!(server.log().contains("not every drive was measured"));
    let (code, events) = tune(&site.data_dir(), &BOUNDS);
    assert_eq!(code, 2, "it is being served: {events:#?}");
    assert!(!site.data_dir().join(PROFILE).exists());
    let (code, events) = tune(&site.data_dir(), &[&BOUNDS[..], &["--force"]].concat());
    assert!(code < 2, "{events:#?}");
    let [profile] = of(&events, "profile")[..] else { panic!("{events:#?}") };
    assert!(profile["profile"]["figures"]["flush"]["requests"].as_u64().unwrap() > 0);
    server.stop();

    let server = site.start();
    assert!(server.log().contains("measured device profiles are used"), "{}", server.log());
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    client.put("/bucket/large", vec![7; 5 << 20]).expect(200);
    assert_eq!(client.get("/bucket/large").expect(200).body, vec![7; 5 << 20]);
    server.stop();
    assert_eq!(tune(&site.data_dir(), &["--no-measure"]).0 & 2, 0, "a store that is not served");

    fs::write(site.data_dir().join(PROFILE), "{ \"version\": 1 }").unwrap();
    let server = site.start();
    assert!(server.log().contains("the device profile is not used"));
    server.stop();
}
