//! Other people's clients against our server: the scripts of `clients/`, and programs of the host.
//!
//! `.ci/run` installs all of them. What is missing fails its test, unless `RINGFORT_WITHOUT_CLIENTS` names
//! it: nothing is left out in silence. `RINGFORT_PYTHON` names another interpreter than `target/python`;
//! where neither is, `python3` has to do.
//!
//! Invariant: a client sees the server's endpoint, its credentials and an empty home, and nothing of the
//! user's own configuration.

use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::OnceLock;
use std::time::Duration;

use super::{ACCESS_KEY, REGION, SECRET_KEY, Server, Site, repository, setting, wait_for_end};

/// Interpreters of Python scripts: what they depend on cannot all live together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Python {
    /// `clients/requirements.txt`.
    Main,
    /// `clients/requirements-s3fs.txt`.
    S3fs,
    /// `clients/requirements-browser.txt`.
    Browser,
    /// `clients/requirements-schemathesis.txt`.
    Schemathesis,
    /// `clients/requirements-moto.txt`.
    Moto,
}

/// Whether the user said that tests do without this client: by its name in `RINGFORT_WITHOUT_CLIENTS`,
/// which holds names with commas between.
pub fn is_left_out(name: &str) -> bool {
    let names = std::env::var("RINGFORT_WITHOUT_CLIENTS").unwrap_or_default();
    let is_named = names.split(',').any(|other| other.trim() == name);
    if is_named {
        #[expect(clippy::print_stderr, reason = "who reads the test's output is to know")]
        {
            eprintln!("left out, as RINGFORT_WITHOUT_CLIENTS says: {name}");
        }
    }
    is_named
}

/// A script of `clients/` by the main interpreter.
pub fn script(site: &Site, server: &Server<'_>, name: &str) -> Command {
    script_by(Python::Main, site, server, name)
}

pub fn script_by(python: Python, site: &Site, server: &Server<'_>, name: &str) -> Command {
    let mut command = client(site, Some(server), interpreter(python));
    command.arg(clients().join(name));
    command
}

/// An interpreter, to be told what to run.
pub fn python(python: Python, site: &Site) -> Command {
    client(site, None, interpreter(python))
}

/// The AWS command line, pointed at the server.
pub fn aws(site: &Site, server: &Server<'_>, arguments: &[&str]) -> Command {
    let mut command = client(site, Some(server), interpreter(Python::Main));
    command.args(["-m", "awscli", "--endpoint-url", &server.endpoint()]).args(arguments);
    command
}

/// A script of `clients/node`, whose libraries `.ci/run` installed in `target/node`.
pub fn node(site: &Site, server: &Server<'_>, name: &str) -> Command {
    let modules = repository().join("target/node/node_modules");
    assert!(modules.exists(), "{} is missing; {REMEDY}", modules.display());
    let mut command = client(site, Some(server), Path::new("node"));
    command.env("NODE_PATH", modules).arg(clients().join("node").join(name));
    command
}

/// A program of `clients/rust`, built if it is stale.
pub fn rust(site: &Site, server: &Server<'_>, name: &str) -> Command {
    let target = repository().join("target/rust-clients");
    // One test builds for all.
    static BUILT: Mutex<bool> = Mutex::new(false);
    let mut is_built = BUILT.lock().unwrap();
    if !*is_built {
        let mut command = Command::new(std::env::var("CARGO").unwrap_or("cargo".to_owned()));
        command.args(["build", "--quiet", "--locked", "--bins", "--target-dir"]).arg(&target);
        let output = command.current_dir(clients().join("rust")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        *is_built = true;
    }
    client(site, Some(server), &target.join("debug").join(name))
}

/// A program of the host's, such as `rclone`.
pub fn program(site: &Site, name: &str) -> Command {
    client(site, None, Path::new(name))
}

/// Runs a client to its end, which must be a good one within `RINGFORT_CLIENT_SECONDS`, and returns what
/// it printed on its standard output.
#[track_caller]
pub fn run(command: &mut Command) -> String {
    run_in_full(command).0
}

/// The same, and what it printed on its standard error.
#[track_caller]
pub fn run_in_full(command: &mut Command) -> (String, String) {
    let (is_good, end, said, complaints) = attempt(command);
    assert!(is_good, "{command:?}\n{end}\n{said}\n{complaints}");
    (said, complaints)
}

/// Runs a client that must fail, and returns what it said.
#[track_caller]
pub fn run_refused(command: &mut Command) -> String {
    let (is_good, end, said, complaints) = attempt(command);
    assert!(!is_good && end != LATE, "{command:?}\n{end}\n{said}\n{complaints}");
    said + &complaints
}

/// Runs a client that may fail, and returns what it said.
#[track_caller]
pub fn run_any(command: &mut Command) -> String {
    let (_, end, said, complaints) = attempt(command);
    assert!(end != LATE, "{command:?}\n{end}\n{said}\n{complaints}");
    said + &complaints
}

const LATE: &str = "did not end in time";
const REMEDY: &str = "`bash .ci/run` installs it, RINGFORT_WITHOUT_CLIENTS does without it";

#[track_caller]
fn attempt(command: &mut Command) -> (bool, String, String, String) {
    // Files, not pipes: nobody reads while it runs.
    let (mut stdout, mut stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command.stdin(Stdio::null());
    command.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let child = command.spawn();
    let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}; {REMEDY}"));
    let limit = Duration::from_secs(setting("RINGFORT_CLIENT_SECONDS", 300));
    let status = wait_for_end(&mut child, limit);
    if status.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let text = |file: &mut std::fs::File| {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let end = status.map_or(LATE.to_owned(), |status| status.to_string());
    let is_good = status.is_some_and(|status| status.success());
    (is_good, end, text(&mut stdout), text(&mut stderr))
}

fn clients() -> PathBuf {
    repository().join("tests/clients")
}

fn client(site: &Site, server: Option<&Server<'_>>, program: &Path) -> Command {
    let home = site.path("home");
    std::fs::create_dir_all(&home).unwrap();
    let mut command = Command::new(program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("AWS_")) {
        command.env_remove(name);
    }
    if let Some(server) = server {
        command.env("RINGFORT_ENDPOINT", server.endpoint());
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

pub fn interpreter(python: Python) -> &'static Path {
    static MAIN: OnceLock<PathBuf> = OnceLock::new();
    static S3FS: OnceLock<PathBuf> = OnceLock::new();
    static BROWSER: OnceLock<PathBuf> = OnceLock::new();
    static SCHEMATHESIS: OnceLock<PathBuf> = OnceLock::new();
    static MOTO: OnceLock<PathBuf> = OnceLock::new();
    let (found, place, needed) = match python {
        Python::Main => (&MAIN, "target/python/bin/python3", "boto3, awscli"),
        Python::S3fs => (&S3FS, "target/python-s3fs/bin/python3", "s3fs"),
        Python::Browser => (&BROWSER, "target/python-browser/bin/python3", "playwright"),
        Python::Schemathesis => {
            (&SCHEMATHESIS, "target/python-schemathesis/bin/python3", "schemathesis")
        }
        Python::Moto => (&MOTO, "target/python-moto/bin/python3", "boto3, moto.server"),
    };
    found.get_or_init(|| {
        let own = repository().join(place);
        let given = std::env::var("RINGFORT_PYTHON").ok().filter(|_| python == Python::Main);
        let found = given.map_or(if own.exists() { own } else { "python3".into() }, PathBuf::from);
        // By its real path: where versions are switched by the home directory, tests have another.
        let output = Command::new(&found)
            .args(["-c", &format!("import sys, {needed}; print(sys.executable)")])
            .output()
            .unwrap_or_else(|error| panic!("{}: {error}; {REMEDY}", found.display()));
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {complaint}\n{REMEDY}", found.display());
        String::from_utf8(output.stdout).unwrap().trim().into()
    })
}
