//! nginx with the configuration that is shipped (`packaging/cdn/nginx.conf`), on ports and in a directory of the
//! test's own.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use ringfort_tests::harness::client::{Answer, Client, Request};
use ringfort_tests::harness::{Server, Site, repository, wait_until};

/// Ports of an edge, which must be known before the server that purges it starts.
pub(crate) struct Ports {
    pub(crate) public: SocketAddr,
    pub(super) purge: SocketAddr,
}

impl Ports {
    /// Of those that the kernel gives to nobody by itself, so that no other test gets them in between.
    pub(crate) fn choose() -> Self {
        static TAKEN: AtomicU16 = AtomicU16::new(0);
        let first = u16::try_from(std::process::id() % 5000).unwrap();
        let next = || loop {
            let port = 20_000 + (first * 2 + TAKEN.fetch_add(1, Ordering::Relaxed)) % 12_000;
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            if TcpListener::bind(address).is_ok() {
                return address;
            }
        };
        Self { public: next(), purge: next() }
    }
}

pub(super) struct Edge {
    process: Child,
    directory: PathBuf,
    pub(super) public: SocketAddr,
}

impl Edge {
    pub(super) fn start(site: &Site, server: &Server<'_>, ports: &Ports, secret: &str) -> Self {
        let directory = site.path("nginx");
        fs::create_dir_all(&directory).unwrap();
        let place = directory.to_str().unwrap();
        let secret_file = directory.join("secret.conf");
        fs::write(&secret_file, format!("proxy_set_header X-Origin-Secret \"{secret}\";\n"))
            .unwrap();
        fs::set_permissions(&secret_file, PermissionsExt::from_mode(0o600)).unwrap();
        let shipped = fs::read_to_string(repository().join("packaging/cdn/nginx.conf")).unwrap();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {place}/{name};"))
            .concat();
        let changes = [
            ("user www-data;", String::new()),
            ("/run/nginx.pid", format!("{place}/pid")),
            ("/var/log/nginx/", format!("{place}/")),
            ("/var/cache/nginx/", format!("{place}/")),
            ("/etc/nginx/ringfort-origin-secret.conf", format!("{place}/secret.conf")),
            ("listen 8080;", format!("listen {};", ports.public)),
            ("listen 127.0.0.1:8081;", format!("listen {};", ports.purge)),
            ("server 127.0.0.1:9000;", format!("server {};", server.listen)),
            ("http {\n", format!("http {{\n{temporary}\n")),
        ];
        let text = changes.iter().fold(shipped, |text, (from, to)| {
            assert!(text.contains(from), "the shipped configuration has no {from}");
            text.replace(from, to)
        });
        // Started by root it would give its files to another user, who does not get into the directory.
        fs::write(directory.join("nginx.conf"), format!("user {};\n{text}", user())).unwrap();
        let process = Command::new("nginx")
            .args(["-p", place, "-e", "error.log", "-c", "nginx.conf", "-g", "daemon off;"])
            .stdin(Stdio::null())
            .stderr(fs::File::create(directory.join("stderr")).unwrap())
            .spawn()
            .expect("nginx is installed");
        let mut edge = Self { process, directory, public: ports.public };
        wait_until("nginx", || {
            [ports.public, ports.purge].iter().all(|port| TcpStream::connect(port).is_ok())
        });
        let end = edge.process.try_wait().unwrap();
        assert!(end.is_none(), "nginx ended: {}", edge.errors());
        edge
    }

    pub(super) fn client(&self) -> Client {
        Client::new(self.public)
    }

    /// Its log of requests, without those that only its start made.
    pub(super) fn lines(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.join("ringfort-edge.log")).unwrap();
        log.lines().map(str::to_owned).collect()
    }

    /// Waits until its log has as many lines with all of these texts, and no more of them.
    #[track_caller]
    pub(super) fn expect_lines(&self, count: usize, texts: &[&str]) {
        let matching = || -> usize {
            self.lines().iter().filter(|line| texts.iter().all(|text| line.contains(text))).count()
        };
        wait_until(&format!("{count} lines with {texts:?}"), || matching() >= count);
        assert_eq!(matching(), count, "{texts:?} in {:#?}", self.lines());
    }

    /// Waits until an object was purged for the first time: what is kept from then on stays.
    #[track_caller]
    pub(super) fn wait_for_purge(&self, target: &str) {
        let line = format!("\"PURGE {target} ");
        wait_until(&line, || self.lines().iter().any(|other| other.contains(&line)));
    }

    /// What it complains of, but for what it was to refuse.
    pub(super) fn errors(&self) -> String {
        let log = fs::read_to_string(self.directory.join("ringfort-error.log")).unwrap();
        log.lines().filter(|line| !line.contains("access forbidden by rule")).collect()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

/// The user who runs the test.
pub(crate) fn user() -> String {
    let said = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

/// A request of somebody who has no access key.
pub(super) fn visit(client: &mut Client, target: &str) -> Answer {
    client.call(&Request::new("GET", target).signed_by(None))
}
