//! s3cmd: a tree synchronized up and down, its copies, moves and links, and buckets taken away.

use std::fs;
use std::process::Command;

use ringfort_tests::harness::scripts::{is_left_out, program, run, run_refused};
use ringfort_tests::harness::{ACCESS_KEY, REGION, SECRET_KEY, Server, Site, tree};

#[test]
fn s3cmd_synchronizes_a_tree_up_and_down() {
    if is_left_out("s3cmd") {
        return;
    }
    let site = Site::new();
    let server = site.start();
    configure(&site, &server);
    let s3cmd = |arguments: &[&str]| run(&mut command(&site, arguments));
    super::announce(&format!("client: {}", s3cmd(&["--version"])));
    let (local, back) = (site.path("tree"), site.path("back"));
    tree::make(&local);
    let from = format!("{}/", local.display());
    let to = format!("{}/", back.display());

    s3cmd(&["mb", "s3://photos"]);
    let said = s3cmd(&["sync", &from, "s3://photos/tree/"]);
    // Files that are alike it sends once, and has the server copy.
    let sent = said.matches("upload: ").count() + said.matches("remote copy: ").count();
    assert_eq!(sent, 361, "{said}");
    let said = s3cmd(&["sync", &from, "s3://photos/tree/"]);
    assert!(!said.contains("upload: "), "nothing had changed:\n{said}");
    s3cmd(&["sync", "--check-md5", "s3://photos/tree/", &to]);
    tree::compare(&local, &back);

    // Its own record of a change, a deletion and a new file, both ways.
    fs::write(local.join("a/file 0 & .bin"), "changed").unwrap();
    fs::write(local.join("with space/new ü+&"), "new").unwrap();
    fs::remove_file(local.join("large")).unwrap();
    let said = s3cmd(&["sync", "--delete-removed", &from, "s3://photos/tree/"]);
    assert_eq!(said.matches("upload: ").count(), 2, "{said}");
    assert_eq!(said.matches("delete: ").count(), 1, "{said}");
    s3cmd(&["sync", "--delete-removed", "s3://photos/tree/", &to]);
    tree::compare(&local, &back);
    assert_eq!(s3cmd(&["ls", "--recursive", "s3://photos"]).lines().count(), 361);
    assert!(s3cmd(&["ls", "s3://photos/tree/"]).contains("DIR  s3://photos/tree/with space/"));
    assert!(s3cmd(&["du", "s3://photos"]).contains("361 objects"));

    s3cmd(&["del", "--recursive", "--force", "s3://photos/tree/"]);
    assert_eq!(s3cmd(&["ls", "--recursive", "s3://photos"]), "");
    s3cmd(&["rb", "s3://photos"]);
    assert_eq!(s3cmd(&["ls"]), "");
    server.stop();
}

#[test]
fn s3cmd_handles_single_objects() {
    if is_left_out("s3cmd") {
        return;
    }
    let site = Site::new();
    let server = site.start();
    configure(&site, &server);
    let s3cmd = |arguments: &[&str]| run(&mut command(&site, arguments));
    let large = tree::noise(3, 17 << 20);
    let (path, back) = (site.path("large"), site.path("back"));
    fs::write(&path, &large).unwrap();
    let (path, back) = (path.to_str().unwrap(), back.to_str().unwrap());

    s3cmd(&["mb", "s3://photos"]);
    let metadata = ["--add-header=x-amz-meta-colour: green", "--mime-type=a/b"];
    s3cmd(&[&["put"], &metadata[..], &[path, "s3://photos/a b/ü+&%"]].concat());
    let said = s3cmd(&["info", "s3://photos/a b/ü+&%"]);
    let told =
        ["File size: 17825792", "MIME type: a/b", "x-amz-meta-colour: green", "SSE:       none"];
    assert!(told.iter().all(|text| said.contains(text)), "{said}");
    s3cmd(&["cp", "s3://photos/a b/ü+&%", "s3://photos/copy"]);
    s3cmd(&["mv", "s3://photos/copy", "s3://photos/moved"]);
    s3cmd(&["modify", "--add-header=x-amz-meta-second: 2", "s3://photos/moved"]);
    let said = s3cmd(&["info", "s3://photos/moved"]);
    assert!(said.contains("second: 2") && said.contains("colour: green"), "{said}");
    // A download that was cut short is continued.
    fs::write(back, &large[..10 << 20]).unwrap();
    s3cmd(&["get", "--continue", "s3://photos/moved", back]);
    assert!(fs::read(back).unwrap() == large);
    s3cmd(&["get", "--force", "s3://photos/a b/ü+&%", back]);
    assert!(fs::read(back).unwrap() == large);
    assert!(run_refused(&mut command(&site, &["rb", "s3://photos"])).contains("BucketNotEmpty"));
    let said = run_refused(&mut command(&site, &["get", "s3://photos/absent", "-"]));
    assert!(said.contains("does not exist"), "{said}");
    assert_eq!(s3cmd(&["multipart", "s3://photos"]).lines().count(), 2, "only its head");
    s3cmd(&["rb", "--recursive", "--force", "s3://photos"]);
    server.stop();
}

#[test]
fn s3cmd_sets_what_a_bucket_does() {
    if is_left_out("s3cmd") {
        return;
    }
    let site = Site::new();
    let server = site.start();
    configure(&site, &server);
    let s3cmd = |arguments: &[&str]| run(&mut command(&site, arguments));
    let written = |name: &str, text: &str| {
        let path = site.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    s3cmd(&["mb", "s3://photos"]);
    s3cmd(&["put", &written("index.html", "<p>hello"), "s3://photos/public/index.html"]);
    let info = |what: &str| s3cmd(&["info", "s3://photos"]).contains(what);
    assert!(info("Policy:    none") && info("CORS:      none") && info("Expiration Rule: none"));

    let policy = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*",
        "Action": "s3:GetObject", "Resource": "arn:aws:s3:::photos/public/*"}]}"#;
    let plain =
        format!("GET /photos/public/index.html HTTP/1.1\r\nhost: {}\r\n\r\n", server.listen);
    let read = || server.client().exchange(plain.as_bytes(), false).unwrap();
    read().expect_error(403, "AccessDenied");
    s3cmd(&["setpolicy", &written("policy", policy), "s3://photos"]);
    assert!(info("arn:aws:s3:::photos/public/*"));
    assert_eq!(read().expect(200).body, b"<p>hello");
    s3cmd(&["delpolicy", "s3://photos"]);
    read().expect_error(403, "AccessDenied");

    let cors = "<CORSConfiguration><CORSRule><AllowedOrigin>https://example.com</AllowedOrigin>\
                <AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>";
    s3cmd(&["setcors", &written("cors", cors), "s3://photos"]);
    assert!(info("https://example.com"));
    s3cmd(&["delcors", "s3://photos"]);
    assert!(info("CORS:      none"));

    s3cmd(&["expire", "--expiry-days=30", "--expiry-prefix=logs/", "s3://photos"]);
    assert!(s3cmd(&["getlifecycle", "s3://photos"]).contains("<Days>30</Days>"));
    assert!(info("expire in '30' day"));
    s3cmd(&["dellifecycle", "s3://photos"]);
    assert!(info("Expiration Rule: none"));

    s3cmd(&["ws-create", "--ws-index=index.html", "--ws-error=error.html", "s3://photos"]);
    assert!(s3cmd(&["ws-info", "s3://photos"]).contains("index.html"));
    s3cmd(&["ws-delete", "s3://photos"]);
    s3cmd(&["payer", "--requester-pays", "s3://photos"]);
    assert!(info("Payer:     Requester"));
    server.stop();
}

fn configure(site: &Site, server: &Server<'_>) {
    let host = server.listen;
    let text = format!(
        "[default]\naccess_key = {ACCESS_KEY}\nsecret_key = {SECRET_KEY}\nhost_base = {host}\n\
         host_bucket = {host}\nuse_https = False\nbucket_location = {REGION}\n\
         multipart_chunk_size_mb = 5\nmax_retries = 0\n"
    );
    fs::write(site.path("s3cfg"), text).unwrap();
}

fn command(site: &Site, arguments: &[&str]) -> Command {
    let mut command = program(site, "s3cmd");
    command.arg("--config").arg(site.path("s3cfg")).arg("--no-progress").args(arguments);
    command
}
