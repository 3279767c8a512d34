//! `ringfort import` from moto's S3 server, whole and faulty, and from a directory tree; killed and continued.
//!
//! What arrived is not taken from the import's own word: objects are read from both servers and compared here.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ringfort_tests::harness::client::{Answer, Client, Request};
use ringfort_tests::harness::scripts::{Python, interpreter, is_left_out};
use ringfort_tests::harness::tree::noise;
use ringfort_tests::harness::{
    ACCESS_KEY, SECRET_KEY, Server, Site, repository, ringfort, setting, wait_until,
};

/// Moto with its buckets (`clients/import_source.py`).
struct Source {
    child: Child,
    endpoint: String,
}

impl Source {
    fn start(objects: u64, how: &[&str]) -> Self {
        let script = repository().join("tests/clients/import_source.py");
        let mut child = Command::new(interpreter(Python::Moto))
            .arg(script)
            .arg(objects.to_string())
            .args(how)
            .env("no_proxy", "*")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut endpoint = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut endpoint).unwrap();
        assert!(endpoint.starts_with("http://"), "the source did not start");
        Self { child, endpoint: endpoint.trim().to_owned() }
    }

    fn client(&self) -> Client {
        Client::new(self.endpoint.strip_prefix("http://").unwrap().parse().unwrap())
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What an import said in the end.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    said: String,
    report: serde_json::Value,
}

impl Ended {
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.said);
        self
    }

    fn count(&self, name: &str) -> u64 {
        self.report["counts"][name].as_u64().unwrap_or_else(|| panic!("{name}: {}", self.report))
    }

    /// Keys of the problems with their kinds, in order.
    fn problems(&self) -> Vec<(String, String)> {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let problems = self.report["problems"].as_array().unwrap();
        let mut found: Vec<_> =
            problems.iter().map(|one| (text(&one["key"]), text(&one["kind"]))).collect();
        found.sort();
        found
    }
}

fn command(site: &Site, server: &Server<'_>, arguments: &[&str]) -> Command {
    let mut command = Command::new(ringfort());
    for (name, _) in std::env::vars() {
        if name.starts_with("RINGFORT_") || name.starts_with("AWS_") {
            command.env_remove(name);
        }
    }
    command
        .args(["import", "--target-endpoint", &server.endpoint()])
        .arg("--report")
        .arg(site.path("report.json"))
        .args(arguments)
        .env("RINGFORT_ROOT_ACCESS_KEY", ACCESS_KEY)
        .env("RINGFORT_ROOT_SECRET_KEY", SECRET_KEY)
        .env("RINGFORT_IMPORT_SOURCE_ACCESS_KEY", "moto")
        .env("RINGFORT_IMPORT_SOURCE_SECRET_KEY", "moto-secret")
        .env("no_proxy", "*")
        .current_dir(site.path("."))
        .stdin(Stdio::null());
    command
}

fn import(site: &Site, server: &Server<'_>, arguments: &[&str]) -> Ended {
    let output = command(site, server, arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(!said.contains(SECRET_KEY) && !said.contains("moto-secret"), "{said}");
    let report = fs::read(site.path("report.json")).unwrap_or_default();
    let report = serde_json::from_slice(&report).unwrap_or_default();
    Ended { code: output.status.code(), said, report }
}

fn from<'a>(source: &'a Source, bucket: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let line = ["--source-endpoint", &source.endpoint, "--source-bucket", bucket];
    [&line[..], more].concat()
}

/// The only journal there is.
fn journal(site: &Site) -> Option<PathBuf> {
    let mut entries = fs::read_dir(site.path(".")).unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.extension() == Some(OsStr::new("journal")))
}

/// Keys that the journal says are done. A run tells anew of those that an earlier one did out of order.
fn journalled_keys(site: &Site) -> u64 {
    let text = journal(site).map_or_else(Vec::new, |path| fs::read(path).unwrap());
    let whole = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    let key = |line: &[u8]| {
        let line: serde_json::Value = serde_json::from_slice(line).unwrap();
        line["done"]["k"].as_str().map(str::to_owned)
    };
    u64::try_from(whole.filter_map(key).collect::<BTreeSet<_>>().len()).unwrap()
}

fn target(bucket: &str, key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    let encode = |byte: u8| {
        if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    };
    format!("/{bucket}/{}", key.bytes().map(encode).collect::<String>())
}

fn head(client: &mut Client, target: &str) -> Answer {
    client.call(&Request::new("HEAD", target))
}

/// What of an object is compared: everything but what the servers say of themselves.
fn described(answer: &Answer) -> BTreeMap<String, String> {
    const KEPT: [&str; 7] = [
        "etag",
        "content-type",
        "content-encoding",
        "content-language",
        "content-disposition",
        "cache-control",
        "content-length",
    ];
    let lower = answer.headers.iter().map(|(name, value)| (name.to_lowercase(), value.clone()));
    lower
        .filter(|(name, _)| KEPT.contains(&name.as_str()) || name.starts_with("x-amz-meta-"))
        .collect()
}

/// Keys of `rich`, as `clients/import_source.py` has them.
const KEYS: [&str; 19] = [
    "parts/even",
    "parts/odd",
    "parts/one",
    "parts/large",
    "whole/large",
    "whole/described",
    "whole/empty",
    "whole/sum",
    "odd/a b",
    "odd/a+b",
    "odd/a%2Fb",
    "odd//lead",
    "odd/two//slashes",
    "odd/up/../down",
    "odd/./here",
    "/lead",
    "up/../down",
    "日本/ü",
    "q?x=1&y",
];

fn compare(source: &Source, server: &Server<'_>, (from, to): (&str, &str)) {
    let (mut theirs, mut ours) = (source.client(), server.client());
    for key in KEYS {
        let before = theirs.get(&target(from, key)).expect(200);
        let after = ours.get(&target(to, key)).expect(200);
        assert!(before.body == after.body, "{key}: the bytes differ");
        assert_eq!(described(&before), described(&after), "{key}");
    }
}

// --- Tests -----------------------------------------------------------------------------------------

#[test]
fn an_import_that_is_killed_goes_on_where_it_was_and_ends_equal() {
    if is_left_out("moto") {
        return;
    }
    let objects = setting("RINGFORT_IMPORT_OBJECTS", 1_500);
    let site = Site::new();
    let (server, source) = (site.start(), Source::start(objects, &[]));
    let line = from(&source, "many", &["--jobs", "8", "--quiet"]);
    for kill in 1..=3 {
        let mut running = command(&site, &server, &line)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let enough = objects / 5 * kill;
        wait_until("much is in the journal", || journalled_keys(&site) > enough);
        assert!(running.try_wait().unwrap().is_none(), "it ended before it was killed");
        running.kill().unwrap();
        running.wait().unwrap();
    }
    // Another job does not take the journal for its own.
    let journalled = journalled_keys(&site);
    let journal = journal(&site).unwrap().display().to_string();
    let other = [&line[..], &["--prefix", "x", "--journal", &journal]].concat();
    let refused = import(&site, &server, &other).expect(2);
    assert!(refused.said.contains("another import's"), "{}", refused.said);

    let ended = import(&site, &server, &line).expect(0);
    let earlier = &ended.report["counts"]["done_by_earlier_runs"];
    let earlier = earlier["copied"].as_u64().unwrap() + earlier["equal"].as_u64().unwrap();
    let copied = ended.count("copied");
    assert_eq!(earlier, journalled, "{}", ended.report);
    assert_eq!(earlier + copied + ended.count("already_equal"), objects, "{}", ended.report);
    let bucket = &ended.report["buckets"]["many"];
    assert_eq!(
        (bucket["equal"].as_u64(), bucket["target_objects"].as_u64()),
        (Some(objects), Some(objects))
    );

    // All bytes, metadata and tags once more, and what is done to the target is found and mended.
    let verify = [&line[..], &["--verify-only", "--verify", "full", "--exact"]].concat();
    assert_eq!(import(&site, &server, &verify).expect(0).count("already_equal"), objects);
    let mut client = server.client();
    let (gone, other, untagged) = ("00/object-000000", "01/object-000001", "10/object-000010");
    client.delete(&target("many", gone)).expect(204);
    client.put(&target("many", other), "something else").expect(200);
    client.put(&target("many", "zz/extra"), "more").expect(200);
    client.delete(&format!("{}?tagging=", target("many", untagged))).expect(204);
    let found = import(&site, &server, &verify).expect(1).problems();
    let kind = |key: &str, kind: &str| (key.to_owned(), kind.to_owned());
    let expected = [
        kind(gone, "missing"),
        kind(other, "different"),
        kind(untagged, "different"),
        kind("zz/extra", "extra"),
    ];
    assert_eq!(found, expected);
    let dry = import(&site, &server, &[&line[..], &["--dry-run"]].concat()).expect(0);
    assert_eq!(dry.count("copied"), 3);
    // The former connection may have been idle for too long.
    let mut client = server.client();
    client.get(&target("many", gone)).expect(404);
    let kept = import(&site, &server, &[&line[..], &["--keep-existing", "--no-journal"]].concat());
    assert_eq!(kept.expect(1).problems(), expected[1..3]);
    assert_eq!(import(&site, &server, &line).expect(0).count("copied"), 2);
    assert_eq!(
        head(&mut client, &target("many", untagged)).header("x-amz-tagging-count"),
        Some("2")
    );
}

#[test]
fn parts_metadata_tags_and_odd_keys_survive() {
    if is_left_out("moto") {
        return;
    }
    let site = Site::new();
    let (server, source) = (site.start(), Source::start(0, &[]));
    let all = ["--source-endpoint", &source.endpoint, "--all-buckets", "--verify", "full"];
    let ended = import(&site, &server, &all).expect(0);
    assert_eq!(ended.report["created_buckets"].as_array().unwrap().len(), 3, "{}", ended.report);
    compare(&source, &server, ("rich", "rich"));
    let mut client = server.client();
    let described = head(&mut client, &target("rich", "whole/described"));
    assert_eq!(described.header("x-amz-meta-camera"), Some("Leica  M3"));
    assert_eq!(described.header("cache-control"), Some("max-age=60, public"));
    let tags =
        client.get(&format!("{}?tagging=", target("rich", "whole/described"))).expect(200).text();
    assert!(tags.contains("<Value>x+y</Value>") && tags.contains("<Value>ü</Value>"), "{tags}");
    let odd = head(&mut client, &target("rich", "parts/odd"));
    assert!(odd.header("etag").unwrap().ends_with("-4\""), "{odd:?}");
    let mut request = Request::new("HEAD", &target("rich", "whole/sum"));
    request = request.header("x-amz-checksum-mode", "ENABLED");
    assert!(client.call(&request).header("x-amz-checksum-sha256").is_some());

    // What cannot be: a source that is not there, a bucket that is not there, no credentials.
    let refused = import(&site, &server, &from(&source, "nowhere", &[])).expect(2);
    assert!(refused.said.contains("nowhere"), "{}", refused.said);
    let dead =
        ["--source-endpoint", "http://127.0.0.1:1", "--source-bucket", "b", "--retries", "0"];
    let dead = import(&site, &server, &dead).expect(1);
    assert!(dead.said.contains("the source"), "{}", dead.said);
    let mut nobody = command(&site, &server, &from(&source, "rich", &[]));
    let output = nobody.env_remove("RINGFORT_ROOT_ACCESS_KEY").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && said.contains("both or neither"), "{said}");
    let mut wrong = command(&site, &server, &from(&source, "rich", &["--retries", "0"]));
    let output = wrong.env("RINGFORT_ROOT_SECRET_KEY", "not-the-secret").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn versions_and_delete_markers_keep_their_order() {
    if is_left_out("moto") {
        return;
    }
    let site = Site::new();
    let (server, source) = (site.start(), Source::start(0, &[]));
    let mut client = server.client();
    client.put("/plain", "").expect(200);
    let plain = ["--versions", "--target-bucket", "plain"];
    let refused = import(&site, &server, &from(&source, "versions", &plain)).expect(2);
    assert!(refused.said.contains("no versioning"), "{}", refused.said);

    let line = from(&source, "versions", &["--versions"]);
    let ended = import(&site, &server, &line).expect(0);
    let copied = ended.count("copied");
    // The newest of each key is what it was, markers among them.
    let mut theirs = source.client();
    let mut markers = 0;
    for number in 0..40 {
        let key = target("versions", &format!("key-{number:02}"));
        let (before, after) = (theirs.get(&key), client.get(&key));
        assert_eq!(before.status, after.status, "{key}");
        if after.status == 200 {
            assert_eq!(described(&before), described(&after), "{key}");
            assert!(before.body == after.body, "{key}");
        }
        markers += u64::from(after.status == 404);
    }
    assert!(markers > 3, "{markers}");
    let listed = client.get("/versions?versions=").expect(200).text();
    let count = listed.matches("<VersionId>").count() as u64;
    assert_eq!(
        (count, ended.report["buckets"]["versions"]["equal"].as_u64()),
        (copied, Some(copied))
    );
    let of_key: Vec<&str> = listed.split("<Key>key-04</Key>").collect();
    assert_eq!(of_key.len() - 1, 5, "five versions of it were written");

    // Nothing is written twice; one more version at the target is not what the source has.
    let again = import(&site, &server, &line).expect(0);
    assert_eq!((again.count("copied"), again.count("already_equal")), (0, copied));
    client.put("/versions/key-04", "more").expect(200);
    let more = import(&site, &server, &line).expect(1).problems();
    assert_eq!(more, [("key-04".to_owned(), "different".to_owned())]);
}

#[test]
fn a_source_that_fails_at_times_is_copied_and_wrong_bytes_are_not() {
    if is_left_out("moto") {
        return;
    }
    let site = Site::new();
    let (server, source) = (site.start(), Source::start(200, &["faulty"]));
    let line = from(&source, "rich", &["--retries", "30"]);
    let ended = import(&site, &server, &line).expect(1);
    let wrong = [0, 1, 2].map(|number| (format!("wrong-{number}"), "corrupt".to_owned()));
    assert_eq!(ended.problems(), wrong);
    assert!(ended.count("retries") > 10, "{}", ended.report);
    let mut client = server.client();
    for (key, _) in wrong {
        client.get(&target("rich", &key)).expect(404);
    }
    // Written anew when half of it was read: the new one arrived, and no mixture.
    let changed = client.get(&target("rich", "changing")).expect(200);
    assert_eq!((changed.body.len(), &changed.body[..8]), (30_000, &783981_u64.to_be_bytes()[..]));
    let uploads = client.get("/rich?uploads=").expect(200).text();
    assert!(!uploads.contains("<Upload>"), "{uploads}");
    import(&site, &server, &from(&source, "many", &["--retries", "30"])).expect(0);
    // With patience for none, it says so.
    let hasty = ["--retries", "0", "--target-bucket", "hasty", "--no-journal"];
    let hasty = import(&site, &server, &from(&source, "many", &hasty)).expect(1);
    assert!(hasty.said.contains("the source"), "{}", hasty.said);
    // The next run tries again what failed, and nothing else.
    let again = import(&site, &server, &line).expect(1);
    assert_eq!((again.problems().len(), again.count("copied")), (3, 0));
}

#[test]
fn what_cannot_be_verified_is_told_unless_that_is_accepted() {
    if is_left_out("moto") {
        return;
    }
    let site = Site::new();
    let (server, source) = (site.start(), Source::start(0, &["partless"]));
    let line = from(&source, "rich", &["--prefix", "parts/"]);
    // The other boundaries are guessed, and the ETag says whether that was right.
    let unverified = [("parts/odd".to_owned(), "unverified".to_owned())];
    assert_eq!(import(&site, &server, &line).expect(1).problems(), unverified);
    let accepted = import(&site, &server, &[&line[..], &["--accept-new-etags"]].concat()).expect(0);
    assert_eq!((accepted.count("new_etags"), accepted.count("copied")), (1, 1));
    import(&site, &server, &[&line[..], &["--verify-only"]].concat()).expect(0);
}

#[test]
fn a_directory_tree_becomes_a_bucket() {
    let site = Site::new();
    let server = site.start();
    let tree = site.path("tree");
    let outside = site.path("outside");
    fs::write(&outside, "secret").unwrap();
    let files = [
        ("index.html", 100),
        ("a/b/c.css", 5_000),
        ("a-b", 1),
        ("a/empty.json", 0),
        ("a b/ü+%.bin", 200_000),
        ("large.mp4", 70 << 20),
    ];
    for (name, size) in files {
        let path = tree.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, noise(size as u64 + 1, size)).unwrap();
    }
    symlink(&outside, tree.join("link")).unwrap();
    symlink("..", tree.join("a/up")).unwrap();
    fs::write(tree.join(OsStr::from_bytes(b"odd\xff")), "x").unwrap();
    let line = ["--from-dir", tree.to_str().unwrap(), "--target-bucket", "tree"];
    let ended = import(&site, &server, &line).expect(1);
    assert_eq!(ended.count("copied"), files.len() as u64);
    let skipped = ended.report["skipped_files"].as_object().unwrap();
    assert_eq!(skipped.len(), 2, "{skipped:?}");
    // A name that no key can have is a file that did not arrive.
    assert_eq!(ended.problems(), [("odd\u{fffd}".to_owned(), "unreadable".to_owned())]);
    fs::remove_file(tree.join(OsStr::from_bytes(b"odd\xff"))).unwrap();
    import(&site, &server, &line).expect(0);
    let mut client = server.client();
    for (name, size) in files {
        let answer = client.get(&target("tree", name)).expect(200);
        assert!(answer.body == noise(size as u64 + 1, size), "{name}");
        assert!(answer.header("x-amz-meta-mtime").is_some());
    }
    let css = head(&mut client, &target("tree", "a/b/c.css"));
    assert_eq!(css.header("content-type"), Some("text/css"));
    client.get("/tree/link").expect(404);

    // Killed within an upload: the next run gives that up, and makes another.
    let journal = site.path("killed.journal");
    let name = journal.to_str().unwrap();
    let killed = ["--from-dir", line[1], "--target-bucket", "killed", "--journal", name];
    let mut running = command(&site, &server, &killed).stderr(Stdio::null()).spawn().unwrap();
    let begun = || fs::read_to_string(&journal).is_ok_and(|text| text.contains("upload_begun"));
    wait_until("an upload is in the journal", begun);
    running.kill().unwrap();
    running.wait().unwrap();
    // A file that is written after it was brought over is brought over again, whatever the journal says of it.
    fs::write(tree.join("a-b"), "!").unwrap();
    import(&site, &server, &killed).expect(0);
    assert_eq!(client.get("/killed/a-b").expect(200).text(), "!");
    let uploads = client.get("/killed?uploads=").expect(200).text();
    assert!(!uploads.contains("<Upload>"), "{uploads}");

    assert_eq!(import(&site, &server, &line).expect(0).count("copied"), 1);

    // Found as they are; what changes is brought over; what differs though nobody touched it is found by reading.
    let again = import(&site, &server, &line).expect(0);
    assert_eq!((again.count("copied"), again.count("already_equal")), (0, files.len() as u64));
    fs::write(tree.join("index.html"), "new").unwrap();
    assert_eq!(import(&site, &server, &line).expect(0).count("copied"), 1);
    let mtime = css.header("x-amz-meta-mtime").unwrap().to_owned();
    let forged = Request::new("PUT", &target("tree", "a/b/c.css"))
        .header("content-type", "text/css")
        .header("x-amz-meta-mtime", &mtime)
        .body(noise(7, 5_000));
    client.call(&forged).expect(200);
    let verify = [&line[..], &["--verify-only", "--verify", "full"]].concat();
    let found = import(&site, &server, &verify).expect(1).problems();
    assert_eq!(found, [("a/b/c.css".to_owned(), "different".to_owned())]);
    assert!(Path::new(&outside).exists());
}
