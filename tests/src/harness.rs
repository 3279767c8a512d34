//! The real binary under test: a place for its data, its start, its orderly and disorderly ends.
//!
//! Invariants: every wait has a deadline and is for a condition; a server is ended by its own process
//! id, and never outlives its test; a line of the log at WARN or ERROR that the test did not announce
//! fails the test, whatever else it proved.
//!
//! Not here: what requests look like (`client`), and what other people's clients do (`scripts`).

#![allow(clippy::unwrap_used)]

pub mod binaries;
pub mod certificates;
pub mod chance;
pub mod client;
pub mod image;
pub mod scripts;
pub mod snapshot;
pub mod tree;
pub mod volume;
pub mod webhook;

pub use binaries::{loadgen, ringfort};

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use client::Client;

pub const ACCESS_KEY: &str = "RINGFORTTESTACCESSKEY";
pub const SECRET_KEY: &str = "ringfort/test+secret=key";
pub const REGION: &str = "us-east-1";

/// How long anything may take that takes milliseconds: the machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);

/// Waits until `condition` holds; fails the test after [`PATIENCE`].
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_within(PATIENCE, what, condition);
}

/// Waits until `condition` holds; fails the test after `limit`.
pub fn wait_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "after {limit:?} still waiting for: {what}");
        thread::sleep(POLL);
    }
}

/// A number from the environment, for runs larger than the usual one.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("the setting is a number"))
}

/// Where one test's servers keep their data, and how they are started.
#[derive(Debug)]
pub struct Site {
    directory: tempfile::TempDir,
    data_dirs: Vec<PathBuf>,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    expected_log: Vec<String>,
    /// Processes started so far; each has a log of its own.
    started: AtomicU32,
}

impl Site {
    /// A new directory on a real disk (tmpfs has no direct I/O), and a small store on two cores.
    pub fn new() -> Self {
        let parent = binaries::profile_dir().join("e2e-data");
        fs::create_dir_all(&parent).unwrap();
        let directory = tempfile::tempdir_in(parent).unwrap();
        let credentials =
            [("RINGFORT_ROOT_ACCESS_KEY", ACCESS_KEY), ("RINGFORT_ROOT_SECRET_KEY", SECRET_KEY)];
        let credentials = credentials.into_iter().chain([("RINGFORT_ADMIN_API_KEY", "test-key")]);
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let site = Self {
            data_dirs: vec![directory.path().join("data")],
            directory,
            flags: Vec::new(),
            environment: Vec::new(),
            expected_log: Vec::new(),
            started: AtomicU32::new(0),
        };
        site.flags(&["--cores", "2", "--shards", "4", "--memory", "256MiB"])
            .flags(&["--capacity", "2GiB", "--segment-size", "4MiB"])
            .environment(credentials.map(owned))
    }

    /// Further flags; one that was given before is replaced.
    pub fn flags(mut self, flags: &[&str]) -> Self {
        for pair in flags.chunks(2) {
            if let Some(at) = self.flags.iter().position(|flag| flag == pair[0]) {
                self.flags.drain(at..at + pair.len());
            }
            self.flags.extend(pair.iter().map(|text| (*text).to_owned()));
        }
        self
    }

    /// A further variable, or another value for one.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn environment(mut self, variables: impl Iterator<Item = (String, String)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// Further variables of the environment.
    pub fn variables(self, variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.environment(variables.iter().map(owned))
    }

    /// The server makes its own credentials instead of being given some.
    pub fn without_credentials(mut self) -> Self {
        self.environment.clear();
        self
    }

    /// A WARN or ERROR line with this text is part of what the test is about.
    pub fn expect_log(mut self, text: &str) -> Self {
        self.expected_log.push(text.to_owned());
        self
    }

    /// Its data is on several drives, or elsewhere.
    pub fn data_dirs(mut self, data_dirs: Vec<PathBuf>) -> Self {
        self.data_dirs = data_dirs;
        self
    }

    pub fn data_dir(&self) -> PathBuf {
        self.data_dirs[0].clone()
    }

    /// Leaves data and logs where they are, whatever becomes of the test.
    pub fn keep(&mut self) {
        self.directory.disable_cleanup(true);
    }

    /// The test has passed: nobody will look at them.
    pub fn keep_no_longer(&mut self) {
        self.directory.disable_cleanup(false);
    }

    /// A place for the test's own files, beside the data.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What starts the next server, and where its log will be.
    fn command(&self) -> (Command, PathBuf) {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.path(&format!("server-{number}.log"));
        let mut command = Command::new(ringfort());
        command.args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
        command.args(["--io-memory", "1MiB", "--ring-depth", "128", "--placement", "unbound"]);
        command.args(["--log-format", "json"]);
        for dir in &self.data_dirs {
            command.arg("--data-dir").arg(dir);
        }
        command.args(&self.flags);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("RINGFORT_")) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let file = File::create(&log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        (command, log)
    }

    /// Starts a server and waits until it says that it is ready.
    pub fn start(&self) -> Server<'_> {
        let (mut command, log) = self.command();
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (send, receive) = mpsc::channel();
        // Ends with the server's standard output, hence with the server.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let mut server = Server {
            site: self,
            child,
            listen: ([0, 0, 0, 0], 0).into(),
            admin_listen: ([0, 0, 0, 0], 0).into(),
            ready: serde_json::Value::Null,
            log,
            has_ended: false,
        };
        let line = receive.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            panic!("the server did not become ready; its log:\n{}", server.log())
        });
        server.ready = serde_json::from_str(&line).unwrap();
        server.listen = server.ready["listen"].as_str().unwrap().parse().unwrap();
        server.admin_listen = server.ready["admin_listen"].as_str().unwrap().parse().unwrap();
        server
    }

    /// Starts a server and kills it after so long, ready or not.
    pub fn start_and_kill(&self, after: Duration) {
        let mut child = self.command().0.spawn().unwrap();
        // The moment is the point of this sleep, not a condition.
        thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts a server that must refuse to run: its exit code, and what it said.
    pub fn start_refused(&self) -> (i32, String) {
        let (mut command, log) = self.command();
        let mut child = command.spawn().unwrap();
        let Some(status) = wait_for_end(&mut child, PATIENCE) else {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the server should have refused to start; its log:\n{}", read_log(&log));
        };
        let mut said = read_log(&log);
        child.stdout.unwrap().read_to_string(&mut said).unwrap();
        (status.code().expect("it exits by itself"), said)
    }

    /// Lines of the log that nobody announced. What the server finds to say about its host depends on
    /// the host, not on the test, and carries the rule's name.
    fn surprises(&self, log: &str) -> Vec<String> {
        let is_surprise = |line: &&str| {
            let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { return true };
            let is_loud = matches!(event["level"].as_str(), Some("WARN" | "ERROR"));
            let is_expected = self.expected_log.iter().any(|text| line.contains(text));
            is_loud && !is_expected && event.get("rule").is_none()
        };
        log.lines().filter(is_surprise).map(str::to_owned).collect()
    }
}

impl Default for Site {
    fn default() -> Self {
        Self::new()
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server<'a> {
    site: &'a Site,
    child: Child,
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    /// What it said when it was ready.
    pub ready: serde_json::Value,
    log: PathBuf,
    has_ended: bool,
}

impl Server<'_> {
    /// A number of the metrics, all that begin so together: all cores, all labels.
    pub fn metric(&self, start: &str) -> f64 {
        let text = client::Client::new(self.admin_listen).get("/metrics").expect(200).text();
        let of_line = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
        text.lines().filter(|line| line.starts_with(start)).filter_map(of_line).sum()
    }

    pub fn endpoint(&self) -> String {
        let scheme = if self.ready["tls"] == true { "https" } else { "http" };
        format!("{scheme}://{}", self.listen)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client with a connection of its own.
    pub fn client(&self) -> Client {
        Client::new(self.listen)
    }

    pub fn log(&self) -> String {
        read_log(&self.log)
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Asks the server to stop, as an operator does; it must drain and say that all is well.
    pub fn stop(mut self) {
        let status = Command::new("kill").arg(self.pid().to_string()).status().unwrap();
        assert!(status.success());
        let Some(status) = wait_for_end(&mut self.child, PATIENCE) else {
            panic!("SIGTERM did not stop the server; its log:\n{}", self.log());
        };
        assert_eq!(status.code(), Some(0), "the log:\n{}", self.log());
        self.finish();
    }

    /// SIGKILL: the end that nothing prepares for.
    pub fn kill(mut self) {
        assert!(self.is_running(), "it ended by itself; its log:\n{}", self.log());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.finish();
    }

    /// Resident memory now.
    pub fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// The most memory that was ever resident.
    pub fn peak_bytes(&self) -> u64 {
        self.status_bytes("VmHWM:")
    }

    fn status_bytes(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Open descriptors, by what they point to with their numbers left out.
    pub fn descriptors(&self) -> Vec<String> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let mut found: Vec<String> = entries
            .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
            .map(|target| target.display().to_string())
            .collect();
        found.sort();
        found
    }

    /// Open sockets, listeners among them.
    pub fn sockets(&self) -> usize {
        self.descriptors().iter().filter(|target| target.starts_with("socket:")).count()
    }

    fn finish(&mut self) {
        self.has_ended = true;
        let surprises = self.site.surprises(&self.log());
        assert!(surprises.is_empty(), "unexpected in the log:\n{}", surprises.join("\n"));
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        if self.has_ended {
            return;
        }
        let has_ended_early = !self.is_running();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            #[expect(clippy::print_stderr, reason = "the test has failed already: this says why")]
            {
                eprintln!("the server's log ends so:\n{}", tail.join("\n"));
            }
        } else {
            assert!(!has_ended_early, "the server ended by itself; its log:\n{}", self.log());
            self.finish();
        }
    }
}

/// `None`: it still runs.
fn wait_for_end(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(POLL);
    }
}

fn read_log(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
}

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}
