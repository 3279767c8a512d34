//! TLS on both ports: what clients do over it, certificates that change, and those that clients show.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringfort_tests::harness::binaries::ringfort;
use ringfort_tests::harness::certificates::Authority;
use ringfort_tests::harness::{Server, Site, scripts, wait_until};

/// What is said when a certificate that changed is of no use.
const REFUSED: &str = "a new certificate cannot be used";

/// A site whose servers speak TLS. Its authority is made after it, where the flags say.
fn site() -> Site {
    let site = Site::new().expect_log(REFUSED);
    let [cert, key] = ["server-cert.pem", "server-key.pem"].map(|name| text(&site.path(name)));
    site.flags(&["--tls-cert", &cert, "--tls-key", &key])
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A script that trusts the authority.
fn script(site: &Site, server: &Server<'_>, authority: &Authority<'_>, name: &str) -> Command {
    let mut command = scripts::script(site, server, name);
    command
        .env("AWS_CA_BUNDLE", authority.path())
        .env("SSL_CERT_FILE", authority.path())
        .env("RINGFORT_ADMIN", format!("https://{}", server.admin_listen));
    command
}

/// The fingerprint of the certificate that the S3 port serves.
fn fingerprint(site: &Site, server: &Server<'_>, authority: &Authority<'_>) -> String {
    scripts::run(script(site, server, authority, "tls_ports.py").arg("fingerprint"))
}

#[test]
fn clients_do_over_tls_what_they_do_without() {
    let site = site();
    let authority = Authority::new(&site, "authority");
    authority.sign("server");
    let server = site.start();
    assert_eq!(server.ready["tls"], true);
    for name in ["boto3_multipart.py", "boto3_versions.py"] {
        scripts::run(&mut script(&site, &server, &authority, name));
    }
    scripts::run(script(&site, &server, &authority, "tls_ports.py").arg("speak"));
    let mut aws = scripts::aws(&site, &server, &["s3", "mb", "s3://over-tls"]);
    scripts::run(aws.env("AWS_CA_BUNDLE", authority.path()));
    server.stop();
}

#[test]
fn a_certificate_that_changed_is_served_and_a_bad_one_is_not() {
    let site = site();
    let authority = Authority::new(&site, "authority");
    let [_, key] = authority.sign("server");
    let server = site.start();
    let first = fingerprint(&site, &server, &authority);
    authority.sign("server");
    wait_until("the new certificate", || fingerprint(&site, &server, &authority) != first);

    let second = fingerprint(&site, &server, &authority);
    fs::write(&key, "no key at all").unwrap();
    hang_up(&server);
    wait_until("a word on the bad key", || server.log().contains(REFUSED));
    assert_eq!(fingerprint(&site, &server, &authority), second);

    authority.sign("server");
    hang_up(&server);
    wait_until("the third certificate", || fingerprint(&site, &server, &authority) != second);
    server.stop();
}

/// SIGHUP.
fn hang_up(server: &Server<'_>) {
    let status = Command::new("kill").args(["-HUP", &server.pid().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn the_management_port_lets_in_who_shows_a_certificate() {
    let site = site();
    let ca = text(&site.path("clients.pem"));
    let site = site.flags(&["--admin-client-ca", &ca]);
    let authority = Authority::new(&site, "authority");
    authority.sign("server");
    let clients = Authority::new(&site, "clients");
    clients.sign("operator");
    authority.sign("stranger");
    let server = site.start();
    let run = |name: &str| {
        let mut command = script(&site, &server, &authority, "tls_ports.py");
        let of = |part: &str| -> PathBuf { site.path(&format!("{name}-{part}.pem")) };
        command.arg("manage").env("RINGFORT_CERT", of("cert")).env("RINGFORT_KEY", of("key"));
        command
    };
    assert_eq!(scripts::run(&mut run("operator")).trim(), "live");
    assert!(scripts::run_refused(&mut run("stranger")).contains("SSL"));
    assert!(scripts::run_refused(&mut run("nobody")).contains("SSL"));
    let backup = |[cert, key]: [&str; 2]| {
        let mut command = scripts::program(&site, ringfort().to_str().unwrap());
        command.args(["backup", "--admin", &format!("https://{}", server.admin_listen), "--to"]);
        command
            .arg(site.path("backup"))
            .env("RINGFORT_ADMIN_API_KEY", "test-key")
            .env("RINGFORT_ADMIN_CA", authority.path())
            .env("RINGFORT_ADMIN_CERT", site.path(cert))
            .env("RINGFORT_ADMIN_CERT_KEY", site.path(key));
        command
    };
    scripts::run_refused(&mut backup(["stranger-cert.pem", "stranger-key.pem"]));
    scripts::run(&mut backup(["operator-cert.pem", "operator-key.pem"]));
    // Who calls the S3 port signs requests instead.
    fingerprint(&site, &server, &authority);
    server.stop();
}

#[test]
fn the_s3_port_lets_in_who_shows_a_certificate() {
    let site = site();
    let ca = text(&site.path("edges.pem"));
    let site = site.flags(&["--client-ca", &ca]);
    let authority = Authority::new(&site, "authority");
    authority.sign("server");
    let edges = Authority::new(&site, "edges");
    edges.sign("edge");
    authority.sign("stranger");
    let server = site.start();
    let run = |name: &str| {
        let mut command = script(&site, &server, &authority, "tls_ports.py");
        let of = |part: &str| -> PathBuf { site.path(&format!("{name}-{part}.pem")) };
        command.arg("manage").env("RINGFORT_CERT", of("cert")).env("RINGFORT_KEY", of("key"));
        command.env("RINGFORT_ADMIN", server.endpoint());
        command
    };
    // A certificate opens the connection; requests are judged as ever.
    assert!(scripts::run(&mut run("edge")).contains("<Code>NoSuchBucket</Code>"));
    assert!(scripts::run_refused(&mut run("stranger")).contains("SSL"));
    assert!(scripts::run_refused(&mut run("nobody")).contains("SSL"));
    // The management port asks for none.
    let mut command = script(&site, &server, &authority, "tls_ports.py");
    command.arg("manage").env("RINGFORT_CERT", "none").env("RINGFORT_KEY", "none");
    assert_eq!(scripts::run(&mut command).trim(), "live");
    // Another authority counts when its file has been put in the place of this one.
    std::fs::copy(authority.path(), &ca).unwrap();
    hang_up(&server);
    wait_until("the new authority", || scripts::run_any(&mut run("stranger")).contains("<Code>"));
    assert!(scripts::run_refused(&mut run("edge")).contains("SSL"));
    server.stop();
}

#[test]
fn a_start_without_a_usable_certificate_is_refused() {
    let site = site();
    let (code, said) = site.start_refused();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--tls-cert") && said.contains("server-cert.pem"), "{said}");

    let site = Site::new().flags(&["--tls-cert", "/nowhere"]);
    let (code, said) = site.start_refused();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("it needs its key, --tls-key"), "{said}");

    let site = Site::new().flags(&["--client-ca", "/nowhere"]);
    let (code, said) = site.start_refused();
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--client-ca: it needs --tls-cert"), "{said}");
}
