//! The load generator on a bucket of its own, with many connections and its own verdict: what it read while it
//! ran, and its ledger afterwards.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ringfort_tests::harness::{ACCESS_KEY, REGION, SECRET_KEY, loadgen};
use serde_json::json;

pub(super) const BUCKET: &str = "/soak-loadgen";
/// What it ends with when content was wrong, or a write is missing.
const WRONG: i32 = 3;

#[derive(Debug)]
pub(super) struct Generator {
    ledger: PathBuf,
    runs: u64,
    /// Keys of the last look at the ledger.
    intact: u64,
}

/// A run under way.
#[derive(Debug)]
pub(super) struct Running(Child);

impl Running {
    /// It ends as it is; its ledger survives that. What it found wrong has ended it before.
    pub(super) fn end(&mut self) {
        if let Some(status) = self.0.try_wait().unwrap() {
            assert_ne!(status.code(), Some(WRONG), "the load generator has found wrong content");
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Generator {
    pub(super) fn new(ledger: &Path) -> Self {
        Self { ledger: ledger.to_owned(), runs: 0, intact: 0 }
    }

    fn command(&self, arguments: &[&str], endpoint: &str) -> Command {
        let mut command = Command::new(loadgen());
        command.args(arguments).args(["--endpoint", endpoint, "--region", REGION]);
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        command.stdin(Stdio::null());
        command
    }

    pub(super) fn start(&mut self, endpoint: &str) -> Running {
        self.runs += 1;
        let ledger = self.ledger.display().to_string();
        let arguments = [
            "run",
            "mixed",
            "--bucket",
            &BUCKET[1..],
            "--ledger",
            &ledger,
            "--allow-non-empty",
            "--mix",
            "get=55,range=10,put=20,delete=8,head=5,list=2",
            "--objects",
            "300",
            "--size",
            "1KiB=60,20KiB=30,200KiB=9,1MiB=1",
            "--concurrency",
            "16",
            "--rate",
            "200",
            "--duration",
            "3600s",
            "--connect-failures",
            "1",
        ];
        let mut command = self.command(&arguments, endpoint);
        Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    pub(super) fn verify(&mut self, endpoint: &str) {
        let ledger = self.ledger.display().to_string();
        // A first run may have come to its end before it wrote anything.
        if !self.ledger.exists() {
            return;
        }
        let output =
            self.command(&["verify-ledger", &ledger, "--json", "-"], endpoint).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}\n{complained}");
        let verdict: serde_json::Value = serde_json::from_str(&said).unwrap();
        self.intact = verdict["intact"].as_u64().unwrap();
    }

    pub(super) fn summary(&self) -> serde_json::Value {
        json!({ "runs": self.runs, "keys_intact": self.intact })
    }
}
