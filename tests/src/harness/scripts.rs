//! Other people's clients against our server: the scripts of `clients/`, run by Python.
//!
//! `RINGFORT_PYTHON` names the interpreter, else the one that `.ci/run` made in `target/python`, else
//! `python3`. It needs boto3 and awscli.

use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::{ACCESS_KEY, REGION, SECRET_KEY, Server, Site, repository, setting, wait_for_end};

/// A script with the server's endpoint and credentials in its environment, and nothing of the user's
/// own configuration.
pub fn script(site: &Site, server: &Server<'_>, name: &str) -> Command {
    let mut command = python(site);
    command.arg(repository().join("tests/clients").join(name));
    command.env("RINGFORT_ENDPOINT", server.endpoint());
    command
}

/// The AWS command line, pointed at the server.
pub fn aws(site: &Site, server: &Server<'_>, arguments: &[&str]) -> Command {
    let mut command = python(site);
    command.args(["-m", "awscli", "--endpoint-url", &server.endpoint()]).args(arguments);
    command
}

/// Runs a client to its end, which must be a good one within `RINGFORT_CLIENT_SECONDS`, and returns what
/// it printed.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    // Files, not pipes: nobody reads while it runs.
    let said = tempfile::NamedTempFile::new().unwrap();
    let (stdout, stderr) = (said.reopen().unwrap(), tempfile::tempfile().unwrap());
    let mut complaints = stderr.try_clone().unwrap();
    let mut child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn().unwrap();
    let status =
        wait_for_end(&mut child, Duration::from_secs(setting("RINGFORT_CLIENT_SECONDS", 300)));
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let said = std::fs::read_to_string(said.path()).unwrap();
    if status.is_none_or(|status| !status.success()) {
        let mut text = String::new();
        complaints.rewind().unwrap();
        complaints.read_to_string(&mut text).unwrap();
        let end = status.map_or("did not end in time".to_owned(), |status| status.to_string());
        panic!("{command:?}\n{end}\n{said}\n{text}");
    }
    said
}

fn python(site: &Site) -> Command {
    let home = site.path("home");
    std::fs::create_dir_all(&home).unwrap();
    let mut command = Command::new(interpreter());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    command
        .env("HOME", &home)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("AWS_DEFAULT_REGION", REGION)
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_PAGER", "")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("no_proxy", "*")
        .current_dir(&home);
    command
}

pub fn interpreter() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| {
        let own = repository().join("target/python/bin/python3");
        let given = std::env::var("RINGFORT_PYTHON").ok().map(PathBuf::from);
        let found = given.unwrap_or(if own.exists() { own } else { "python3".into() });
        // By its real path: where versions are switched by the home directory, tests have another.
        let output = Command::new(&found)
            .args(["-c", "import sys, boto3, awscli; print(sys.executable)"])
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}; see tests/README.md", found.display()));
        assert!(
            output.status.success(),
            "{} lacks boto3 or awscli; `bash .ci/run` installs them\n{}",
            found.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().into()
    })
}
