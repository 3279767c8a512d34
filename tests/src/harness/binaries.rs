//! Where the binaries under test are: built as a user builds them, beside the test that runs them.
//!
//! Invariant: never a stale binary. Cargo is asked once per test process and does nothing if all is
//! fresh. The crates are built on their own, so that features which only tests switch on stay out.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The server. `RINGFORT_BIN` names another build to test.
pub fn ringfort() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| find("RINGFORT_BIN", "ringfort"))
}

/// The load generator. `RINGFORT_LOADGEN_BIN` names another build.
pub fn loadgen() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| find("RINGFORT_LOADGEN_BIN", "ringfort-loadgen"))
}

fn find(variable: &str, name: &str) -> PathBuf {
    if let Ok(path) = std::env::var(variable) {
        return path.into();
    }
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(build);
    profile_dir().join(name)
}

/// `target/debug` or `target/release`, whichever this test was built into.
pub(super) fn profile_dir() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        test.ancestors().nth(2).expect("a test stands in PROFILE/deps").to_owned()
    })
}

fn build() {
    let profile_dir = profile_dir();
    let mut command = Command::new(std::env::var("CARGO").unwrap_or("cargo".to_owned()));
    command.args(["build", "--quiet", "-p", "ringfort", "-p", "ringfort-loadgen", "--bins"]);
    command.arg("--target-dir").arg(profile_dir.parent().expect("a profile stands in the target"));
    if profile_dir.ends_with("release") {
        command.arg("--release");
    }
    let output = command.current_dir(super::repository()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
