//! rclone: a tree synchronized and checked, a large file by parts, copies made by the server, and a
//! bucket that is mounted as a filesystem.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ringfort_tests::harness::scripts::{is_left_out, program, run, run_in_full};
use ringfort_tests::harness::{ACCESS_KEY, REGION, SECRET_KEY, Server, Site, tree, wait_until};

#[test]
fn rclone_synchronizes_and_checks_a_tree() {
    // Providers differ in how they list, escape and verify.
    for provider in ["Other", "Minio"] {
        if is_left_out("rclone") {
            return;
        }
        let site = Site::new();
        let server = site.start();
        let rclone =
            |arguments: &[&str]| run_in_full(command(&site, &server, provider).args(arguments));
        super::announce(&format!("client: {}", rclone(&["version"]).0));
        let (local, back) = (site.path("tree"), site.path("back"));
        tree::make(&local);
        let (from, to) = (local.to_str().unwrap(), back.to_str().unwrap());

        rclone(&["mkdir", "s3:photos"]);
        rclone(&["sync", from, "s3:photos/tree"]);
        rclone(&["check", from, "s3:photos/tree"]);
        rclone(&["check", "--download", from, "s3:photos/tree"]);
        let said = rclone(&["sync", "-v", from, "s3:photos/tree"]).1;
        assert!(said.contains("There was nothing to transfer"), "{said}");

        fs::write(local.join("a/file 0 & .bin"), "changed").unwrap();
        fs::write(local.join("with space/new ü+&"), "new").unwrap();
        fs::remove_file(local.join("large")).unwrap();
        let old = ["--backup-dir", "s3:photos/old"];
        rclone(&[&["sync"], &old[..], &[from, "s3:photos/tree"]].concat());
        let said = rclone(&["lsf", "-R", "--files-only", "s3:photos/old"]).0;
        let mut names: Vec<&str> = said.lines().collect();
        names.sort_unstable();
        assert_eq!(names, ["a/file 0 & .bin", "large"]);
        rclone(&["sync", "s3:photos/tree", to]);
        tree::compare(&local, &back);
        let size: serde_json::Value =
            serde_json::from_str(&rclone(&["size", "--json", "s3:photos/tree"]).0).unwrap();
        assert_eq!(size["count"], 361);

        // Two trees that the server copies between, without a byte through the client.
        rclone(&["sync", "s3:photos/tree", "s3:copy/tree"]);
        rclone(&["check", from, "s3:copy/tree"]);
        let moved = rclone(&["move", "-v", "s3:copy/tree/a", "s3:copy/b"]).1;
        assert!(moved.contains("Copied (server-side copy)"), "{moved}");
        rclone(&["purge", "s3:copy"]);
        rclone(&["purge", "s3:photos"]);
        assert_eq!(rclone(&["lsd", "s3:"]).0, "");
        server.stop();
    }
}

#[test]
fn rclone_keeps_a_large_file() {
    if is_left_out("rclone") {
        return;
    }
    let site = Site::new();
    let server = site.start();
    let rclone = |arguments: &[&str]| run(command(&site, &server, "Other").args(arguments));
    let large = tree::noise(4, 64 << 20);
    let path = site.path("large");
    fs::write(&path, &large).unwrap();
    let path = path.to_str().unwrap();
    rclone(&["copyto", path, "s3:photos/large"]);
    let slice = rclone(&["cat", "--offset", "40000000", "--count", "3000", "s3:photos/large"]);
    assert!(slice == String::from_utf8_lossy(&large[40_000_000..40_003_000]));
    // Beyond its cutoff it has the server copy part by part.
    rclone(&["copyto", "s3:photos/large", "s3:photos/dir/ü+ copy"]);
    rclone(&["moveto", "s3:photos/dir/ü+ copy", "s3:photos/moved"]);
    let directory = site.path("back");
    rclone(&["copy", "--multi-thread-cutoff", "1Mi", "s3:photos", directory.to_str().unwrap()]);
    assert!(fs::read(directory.join("large")).unwrap() == large);
    assert!(fs::read(directory.join("moved")).unwrap() == large);
    let listed: serde_json::Value =
        serde_json::from_str(&rclone(&["lsjson", "--hash", "s3:photos"])).unwrap();
    let hashes: Vec<_> =
        listed.as_array().unwrap().iter().map(|file| &file["Hashes"]["md5"]).collect();
    assert!(hashes.len() == 2 && hashes[0] == hashes[1] && hashes[0].is_string(), "{listed}");
    // Uploads that were left are found and taken away.
    let mut client = server.client();
    client.post("/photos/left?uploads=", b"").expect(200);
    let uploads = rclone(&["backend", "list-multipart-uploads", "s3:photos"]);
    assert!(uploads.contains("\"Key\": \"left\""), "{uploads}");
    rclone(&["backend", "cleanup", "-o", "max-age=1ms", "s3:photos"]);
    let uploads = rclone(&["backend", "list-multipart-uploads", "s3:photos"]);
    assert!(!uploads.contains("\"Key\""), "{uploads}");
    let link = rclone(&["link", "--expire", "5m", "s3:photos/moved"]);
    let target = link.trim().strip_prefix(&server.endpoint()).unwrap();
    let plain = format!("GET {target} HTTP/1.1\r\nhost: {}\r\n\r\n", server.listen);
    let answer = server.client().exchange(plain.as_bytes(), false).unwrap().expect(200);
    assert!(answer.body == large);
    server.stop();
}

#[test]
fn rclone_mounts_a_bucket() {
    if is_left_out("rclone") || is_left_out("fuse") {
        return;
    }
    let site = Site::new();
    let server = site.start();
    let rclone = |arguments: &[&str]| run(command(&site, &server, "Other").args(arguments));
    let local = site.path("tree");
    tree::make(&local);
    rclone(&["mkdir", "s3:photos"]);

    let mount = Mount::new(&site, &server);
    copy(&local, &mount.path.join("tree"));
    tree::compare(&local, &mount.path.join("tree"));
    fs::rename(mount.path.join("tree/large"), mount.path.join("tree/a/larger")).unwrap();
    fs::remove_file(mount.path.join("tree/a/file 0 & .bin")).unwrap();
    fs::write(mount.path.join("tree/a/new"), "new").unwrap();
    // It uploads in the background: a moment after a file was closed.
    wait_until("the last upload", || {
        rclone(&["lsf", "s3:photos/tree/a"]).lines().any(|name| name == "new")
    });
    mount.unmount();

    fs::rename(local.join("large"), local.join("a/larger")).unwrap();
    fs::remove_file(local.join("a/file 0 & .bin")).unwrap();
    fs::write(local.join("a/new"), "new").unwrap();
    rclone(&["check", "--download", local.to_str().unwrap(), "s3:photos/tree"]);
    let again = Mount::new(&site, &server);
    tree::compare(&local, &again.path.join("tree"));
    again.unmount();
    server.stop();
}

fn copy(from: &Path, to: &Path) {
    run(Command::new("cp").arg("-r").arg(from).arg(to));
}

/// A bucket mounted; it is unmounted when this ends, however it ends.
struct Mount {
    path: PathBuf,
    child: Child,
}

impl Mount {
    fn new(site: &Site, server: &Server<'_>) -> Self {
        let path = site.path("mounted");
        fs::create_dir_all(&path).unwrap();
        let child = command(site, server, "Other")
            .args(["mount", "s3:photos"])
            .arg(&path)
            .args(["--vfs-cache-mode", "writes", "--vfs-write-back", "0s", "--log-file"])
            .arg(site.path("mount.log"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut mount = Self { path, child };
        wait_until("the bucket to be mounted", || {
            let log = site.path("mount.log");
            let has_ended = mount.child.try_wait().unwrap().is_some();
            assert!(!has_ended, "{}", fs::read_to_string(log).unwrap_or_default());
            mount.is_mounted()
        });
        mount
    }

    fn is_mounted(&self) -> bool {
        let path = self.path.to_str().unwrap();
        fs::read_to_string("/proc/self/mounts").unwrap().contains(&format!(" {path} fuse.rclone"))
    }

    /// In order: rclone ends by itself when nothing is mounted any more.
    fn unmount(mut self) {
        run(Command::new("fusermount3").arg("-u").arg(&self.path));
        wait_until("rclone to end", || self.child.try_wait().unwrap().is_some());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.is_mounted() {
            let _ = Command::new("fusermount3").arg("-uz").arg(&self.path).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// rclone with a remote named `s3`, and without retries, so that each fault of the server is seen.
fn command(site: &Site, server: &Server<'_>, provider: &str) -> Command {
    let config = site.path("rclone.conf");
    if !config.exists() {
        fs::write(&config, "").unwrap();
    }
    let mut command = program(site, "rclone");
    command
        .env("RCLONE_CONFIG", config)
        .env("RCLONE_CACHE_DIR", site.path("rclone-cache"))
        .env("RCLONE_CONFIG_S3_TYPE", "s3")
        .env("RCLONE_CONFIG_S3_PROVIDER", provider)
        .env("RCLONE_CONFIG_S3_ENDPOINT", server.endpoint())
        .env("RCLONE_CONFIG_S3_REGION", REGION)
        .env("RCLONE_CONFIG_S3_ACCESS_KEY_ID", ACCESS_KEY)
        .env("RCLONE_CONFIG_S3_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("RCLONE_RETRIES", "1")
        .env("RCLONE_LOW_LEVEL_RETRIES", "1")
        .env("RCLONE_S3_CHUNK_SIZE", "5Mi")
        .env("RCLONE_S3_UPLOAD_CUTOFF", "5Mi")
        .env("RCLONE_S3_COPY_CUTOFF", "6Mi");
    command
}
