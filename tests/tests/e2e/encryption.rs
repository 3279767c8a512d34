//! Server-side encryption from outside: where keys may be, what happens without them, and that nothing
//! plain is on the drives. What boto3 sees is in `tests/clients/boto3_encryption.py`.

use ringfort_tests::harness::client::{Answer, Client, Request};
use ringfort_tests::harness::scripts;
use ringfort_tests::harness::scripts::{run, script};
use ringfort_tests::harness::{Server, Site, ringfort};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SSE: &str = "x-amz-server-side-encryption";
/// So seldom that it is nowhere by chance.
const MARKER: &[u8] = b"the marker that nobody must find on a drive";

fn site_with_key() -> (Site, PathBuf) {
    let site = Site::new();
    let keys = site.path("sse-keys");
    make_key(&keys, &[]);
    let site = site.flags(&["--sse-key-file", keys.to_str().unwrap()]);
    (site.flags(&["--sse-c-over-http"]), keys)
}

/// Runs `ringfort sse-key`, which must succeed.
fn make_key(path: &Path, flags: &[&str]) {
    let made = Command::new(ringfort()).arg("sse-key").arg(path).args(flags).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let key = fs::read_to_string(path).unwrap();
    let secret = key.lines().next().unwrap().split_once(':').unwrap().1;
    assert!(!String::from_utf8_lossy(&made.stdout).contains(secret));
}

#[test]
fn boto3_encryption() {
    let (site, _) = site_with_key();
    let server = site.start();
    let mut command = script(&site, &server, "boto3_encryption.py");
    command.env("RINGFORT_ADMIN", format!("http://{}", server.admin_listen));
    command.env("RINGFORT_ADMIN_API_KEY", "test-key");
    run(&mut command);
    server.stop();
}

fn put(client: &mut Client, key: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let request = Request::new("PUT", &format!("/bucket/{key}")).body(body);
    let request = headers.iter().fold(request, |all, (name, value)| all.header(name, value));
    client.call(&request)
}

fn get(client: &mut Client, key: &str, headers: &[(&str, &str)]) -> Answer {
    let request = Request::new("GET", &format!("/bucket/{key}"));
    client.call(&headers.iter().fold(request, |all, (name, value)| all.header(name, value)))
}

const S3: &[(&str, &str)] = &[(SSE, "AES256")];
const KMS: &[(&str, &str)] = &[(SSE, "aws:kms")];
/// 32 bytes of `k`, and their MD5.
const CUSTOMER: &[(&str, &str)] = &[
    ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
    ("x-amz-server-side-encryption-customer-key", "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s="),
    ("x-amz-server-side-encryption-customer-key-md5", "mT2HRsMGJ5IX5C+0rreZ8Q=="),
];
const MODES: [(&str, &[(&str, &str)]); 3] = [("s3", S3), ("kms", KMS), ("customer", CUSTOMER)];

fn reading(mode: &str) -> &'static [(&'static str, &'static str)] {
    if mode == "customer" { CUSTOMER } else { &[] }
}

/// Marked bytes, small enough to lie in the log and large enough to lie in slabs.
fn bodies() -> [Vec<u8>; 2] {
    [200, 40_000].map(|count| MARKER.repeat(count))
}

fn fill(server: &Server<'_>) {
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    for (mode, headers) in MODES {
        for (index, body) in bodies().iter().enumerate() {
            put(&mut client, &format!("{mode}-{index}"), headers, body).expect(200);
        }
    }
}

fn check_readable(server: &Server<'_>) {
    let mut client = server.client();
    for (mode, _) in MODES {
        for (index, body) in bodies().iter().enumerate() {
            let answer = get(&mut client, &format!("{mode}-{index}"), reading(mode)).expect(200);
            assert!(answer.body == *body, "{mode}-{index}");
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { found.extend(files(&entry)) } else { found.push(entry) }
    }
    found
}

fn holds(dir: &Path, needle: &[u8]) -> bool {
    files(dir).iter().any(|path| is_within(&fs::read(path).unwrap(), needle))
}

/// Looks at the end of the needle first, and skips what cannot be it (Horspool): the stores are large.
fn is_within(bytes: &[u8], needle: &[u8]) -> bool {
    let mut skips = [needle.len(); 256];
    for (at, byte) in needle[..needle.len() - 1].iter().enumerate() {
        skips[usize::from(*byte)] = needle.len() - 1 - at;
    }
    let mut end = needle.len();
    while let Some(window) = bytes.get(end.wrapping_sub(needle.len())..end) {
        if window == needle {
            return true;
        }
        end += skips[usize::from(window[needle.len() - 1])];
    }
    false
}

#[test]
fn nothing_plain_and_no_key_is_on_the_drives_or_in_the_log() {
    let (site, keys) = site_with_key();
    let server = site.start();
    fill(&server);
    let log = server.log();
    server.stop();
    assert!(!holds(&site.data_dir(), MARKER));
    // The search would find it.
    let server = site.start();
    put(&mut server.client(), "plain", &[], &bodies()[0]).expect(200);
    check_readable(&server);
    let log = log + &server.log();
    server.stop();
    assert!(holds(&site.data_dir(), MARKER));

    let file = fs::read_to_string(keys).unwrap();
    let master = file.trim().split_once(':').unwrap().1;
    let customer = CUSTOMER[1].1;
    for secret in [master, customer] {
        assert!(!log.contains(secret));
        assert!(!holds(&site.data_dir(), secret.as_bytes()));
    }
    for secret in [[b'k'; 32].as_slice(), &decode(master)] {
        assert!(!holds(&site.data_dir(), secret));
    }
}

/// Base64, by the one interpreter that the tests have anyway.
fn decode(text: &str) -> Vec<u8> {
    let python = scripts::interpreter(scripts::Python::Main);
    let code = format!("import base64, sys; sys.stdout.buffer.write(base64.b64decode('{text}'))");
    Command::new(python).args(["-c", &code]).output().unwrap().stdout
}

#[test]
fn a_rotated_master_key_opens_what_the_older_one_wrapped() {
    let (site, keys) = site_with_key();
    let server = site.start();
    fill(&server);
    server.kill();
    make_key(&keys, &["--rotate"]);
    let server = site.start();
    check_readable(&server);
    put(&mut server.client(), "new", S3, b"new").expect(200);
    server.stop();
    // With the new key alone, what is older cannot be read, and what is newer can.
    let text = fs::read_to_string(&keys).unwrap();
    fs::write(&keys, text.lines().next().unwrap()).unwrap();
    let site = site.expect_log("a master key that is needed is not configured");
    let server = site.start();
    let mut client = server.client();
    assert_eq!(get(&mut client, "new", &[]).expect(200).body, b"new");
    for key in ["s3-0", "s3-1", "kms-0", "kms-1"] {
        let answer = get(&mut client, key, &[]).expect_error(503, "ServiceUnavailable");
        let id = text.lines().nth(1).unwrap().split_once(':').unwrap().0;
        assert!(answer.text().contains(id), "{}", answer.text());
    }
    assert_eq!(get(&mut client, "customer-1", CUSTOMER).expect(200).body, bodies()[1]);
    server.stop();
}

#[test]
fn without_a_master_key_encryption_is_refused_and_what_is_encrypted_is_not_garbage() {
    let (with_key, _) = site_with_key();
    let server = with_key.start();
    fill(&server);
    server.stop();

    let without = Site::new().data_dirs(vec![with_key.data_dir()]);
    let without = without.expect_log("a master key that is needed is not configured");
    let server = without.start();
    let mut client = server.client();
    for (mode, headers) in [MODES[0], MODES[1]] {
        get(&mut client, &format!("{mode}-0"), &[]).expect_error(503, "ServiceUnavailable");
        let answer = put(&mut client, "new", headers, b"x").expect_error(501, "NotImplemented");
        assert!(answer.text().contains("--sse-key-file"), "{}", answer.text());
        // What is known without the key can be asked.
        let head = client.call(&Request::new("HEAD", &format!("/bucket/{mode}-1"))).expect(200);
        let size = bodies()[1].len().to_string();
        assert_eq!(head.header("content-length"), Some(size.as_str()));
    }
    let default = "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>\
        <SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>\
        </ServerSideEncryptionConfiguration>";
    client.put("/bucket?encryption=", default).expect_error(501, "NotImplemented");
    client.get("/bucket?encryption=").expect(404);
    // A key of the customer's needs none of ours, but a way that nobody listens on.
    put(&mut client, "c", CUSTOMER, b"x").expect_error(400, "InvalidRequest");
    get(&mut client, "customer-0", CUSTOMER).expect_error(400, "InvalidRequest");
    client.delete("/bucket/s3-0").expect(204);
    server.stop();
}

#[test]
fn keys_that_cannot_be_used_stop_the_start() {
    let check = |site: Site, words: &[&str]| {
        let (code, said) = site.start_refused();
        assert_eq!(code, 2, "{said}");
        for word in words {
            assert!(said.contains(word), "{word:?} is not in:\n{said}");
        }
    };
    let with_file = |text: &str| {
        let site = Site::new();
        let path = site.path("keys");
        fs::write(&path, text).unwrap();
        site.flags(&["--sse-key-file", path.to_str().unwrap()]).expect_log("others than its owner")
    };
    check(with_file(""), &["there is no key"]);
    check(with_file("secret"), &["line 1", "32 bytes"]);
    let site = Site::new();
    fs::create_dir_all(site.data_dir()).unwrap();
    let path = site.data_dir().join("sse-keys");
    make_key(&path, &[]);
    let site = site.flags(&["--sse-key-file", path.to_str().unwrap()]);
    check(site, &["--sse-key-beside-data"]);

    let site = Site::new();
    fs::create_dir_all(site.data_dir()).unwrap();
    let path = site.data_dir().join("sse-keys");
    make_key(&path, &[]);
    let site = site.flags(&["--sse-key-file", path.to_str().unwrap()]);
    let site = site.flags(&["--sse-key-beside-data"]);
    let server = site.start();
    fill_one(&server);
    server.stop();
}

fn fill_one(server: &Server<'_>) {
    let mut client = server.client();
    client.put("/bucket", "").expect(200);
    put(&mut client, "k", S3, b"body").expect(200);
    assert_eq!(get(&mut client, "k", &[]).expect(200).body, b"body");
}

#[test]
fn a_read_does_not_say_how_to_encrypt() {
    let (site, _) = site_with_key();
    let server = site.start();
    fill_one(&server);
    let mut client = server.client();
    get(&mut client, "k", S3).expect_error(400, "InvalidArgument");
    server.stop();
}

#[test]
fn damage_to_an_encrypted_object_is_an_error_and_not_garbage() {
    let (site, _) = site_with_key();
    let server = site.start();
    fill(&server);
    server.stop();
    for path in files(&site.data_dir()) {
        let mut bytes = fs::read(&path).unwrap();
        if bytes.len() < (4 << 20) || bytes[12] != 2 {
            continue;
        }
        // In the middle of every chunk of a slab.
        for at in (300_000..bytes.len()).step_by(1 << 20) {
            bytes[at] ^= 1;
        }
        fs::write(&path, bytes).unwrap();
    }
    let site = site.expect_log("stored data does not verify").expect_log("failed inside the store");
    // An answer that was begun can only be cut.
    let site = site.expect_log("the answer failed");
    let server = site.start();
    let mut client = server.client();
    for (mode, _) in MODES {
        let request = Request::new("GET", &format!("/bucket/{mode}-1"));
        let request =
            reading(mode).iter().fold(request, |all, (name, value)| all.header(name, value));
        let answer = client.send(&request);
        assert!(answer.is_err() || answer.unwrap().status == 500, "{mode}");
        client = server.client();
        assert_eq!(
            get(&mut client, &format!("{mode}-0"), reading(mode)).expect(200).body,
            bodies()[0]
        );
    }
    drop(server);
}
