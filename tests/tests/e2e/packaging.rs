//! What stands in `packaging/` fits the server: its configuration is taken, and metrics that it names exist.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};

use ringfort_tests::harness::binaries::ringfort;
use ringfort_tests::harness::client::Client;
use ringfort_tests::harness::{PATIENCE, Site, repository};

/// Ends of names that Prometheus gives to the parts of a histogram.
const HISTOGRAM: [&str; 3] = ["_bucket", "_sum", "_count"];

fn config(arguments: &[&str]) -> Output {
    let mut command = Command::new(ringfort());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RINGFORT_")) {
        command.env_remove(name);
    }
    command.arg("config").args(arguments).output().unwrap()
}

#[test]
fn dashboards_alerts_and_documents_name_metrics_that_exist() {
    let site = Site::new();
    let audit_log = site.path("audit.log");
    let site = site
        .flags(&["--notify-webhook", "indexer=http://127.0.0.1:9/"])
        .flags(&["--audit-log", audit_log.to_str().unwrap()]);
    let server = site.start();
    // Histograms have their parts once there is something to count.
    server.client().get("/").expect(200);
    let page = Client::new(server.admin_listen).get("/metrics").expect(200).text();
    let known: BTreeSet<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    for file in
        ["packaging/monitoring/alerts.yaml", "packaging/monitoring/grafana.json", "README.md"]
    {
        let text = fs::read_to_string(repository().join(file)).unwrap();
        let mut named = 0;
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            // A name that ends so stands for several.
            if !word.starts_with("ringfort_") || word.ends_with('_') {
                continue;
            }
            named += 1;
            let base = HISTOGRAM.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
            let is_known = known.contains(word) || known.contains(base);
            assert!(is_known, "{file} names {word}, which the server does not have");
        }
        assert!(named > 3, "{file}");
    }
    server.stop();
}

#[test]
fn the_service_manager_hears_of_start_and_stop() {
    // A path of a socket has to be short.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut message = [0; 1024];
        let bytes = socket.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..bytes]).into_owned()
    };
    let site = Site::new().variable("NOTIFY_SOCKET", path.to_str().unwrap());
    let server = site.start();
    let said = hear();
    assert!(said.lines().any(|line| line == "READY=1"), "{said}");
    server.stop();
    let said = hear();
    assert!(said.lines().any(|line| line == "STOPPING=1"), "{said}");
}

#[test]
fn the_configuration_that_is_installed_is_sound() {
    let installed = repository().join("packaging/debian/ringfort.toml");
    let output = config(&["check", "--config", installed.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("data in /var/lib/ringfort/data"), "{said}");

    let site = Site::new();
    let file = site.path("ringfort.toml");
    fs::write(&file, "shards = 3\ndata-dir = [\"a\", \"b\"]\n").unwrap();
    let output = config(&["check", "--config", file.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("`shards` in") && said.contains("not a multiple"), "{said}");

    let output = config(&["check", "--tls-cert", "/nowhere.pem", "--tls-key", "/nowhere.pem"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("/nowhere.pem"), "{said}");

    fs::write(&file, config(&["example"]).stdout).unwrap();
    assert!(config(&["check", "--config", file.to_str().unwrap()]).status.success());
}
