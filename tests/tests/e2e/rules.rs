//! What clients rely on beyond single documents, where servers have failed them: written down in
//! `tests/rules/*.http`, which `exchange/script.rs` says how to read.

use ringfort_tests::harness::client::{Request, Signing};
use ringfort_tests::harness::{SECRET_KEY, Site, repository};

use super::exchange::walk;

#[test]
fn signatures() {
    check("signatures");
}

#[test]
fn conditions_and_ranges() {
    check("conditions");
}

#[test]
fn caches() {
    check("caches");
}

#[test]
fn listings_and_keys() {
    check("listings");
}

#[test]
fn limits() {
    check("limits");
}

#[test]
fn renames() {
    check("renames");
}

#[test]
fn errors() {
    check("errors");
}

/// Some services make access keys of a project and a mail address.
#[test]
fn an_access_key_may_hold_colons_at_signs_and_slashes() {
    for access_key in ["project:user@company", "a/b+c=d"] {
        let site = Site::new().variable("RINGFORT_ROOT_ACCESS_KEY", access_key);
        let server = site.start();
        let signing = || Some(Signing::new(access_key, SECRET_KEY));
        let mut client = server.client();
        client.call(&Request::new("PUT", "/bucket").signed_by(signing()).body("")).expect(200);
        let put = Request::new("PUT", "/bucket/k").signed_by(signing()).body("body");
        client.call(&put).expect(200);
        let get = Request::new("GET", "/bucket/k").signed_by(signing());
        let url = get.presigned(&server.listen.to_string(), 60);
        let get = Request { sent: Some(url), ..get.signed_by(None) };
        assert_eq!(client.call(&get).expect(200).text(), "body", "{access_key}");
        server.stop();
    }
}

#[track_caller]
fn check(name: &str) {
    let verdicts = walk(&repository().join(format!("tests/rules/{name}.http")));
    let faults = verdicts.into_iter().filter_map(|(title, why)| Some(format!("{title}: {}", why?)));
    let faults: Vec<String> = faults.collect();
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n\n"));
}
