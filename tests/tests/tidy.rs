//! The shape of the house, checked: who may import whom, what stands where, how files begin.
//!
//! Every rule is of ARCHITECTURE.md; a rule that changes is changed there and here in one commit.
//! Only what can be decided by reading text is checked here; clippy and rustfmt do the rest.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Of our own crates, which each may name, by its directory. Whoever adds an edge argues for it.
const EDGES: [(&str, &[&str]); 9] = [
    ("engine", &[]),
    ("http", &[]),
    ("tuning", &[]),
    ("import", &[]),
    ("loadgen", &[]),
    ("s3api", &["engine", "http", "tuning", "import"]),
    ("bench", &["engine", "http", "tuning", "import", "loadgen", "s3api"]),
    ("fuzz", &["engine", "http", "loadgen", "s3api"]),
    ("tests", &["engine", "http", "tuning", "import", "loadgen", "s3api", "bench"]),
];

/// What stands at the top of the repository, dotfiles aside.
const TOP_LEVEL: [&str; 19] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "bench",
    "deny.toml",
    "engine",
    "fuzz",
    "http",
    "import",
    "loadgen",
    "packaging",
    "rustfmt.toml",
    "s3api",
    "tests",
    "tuning",
];

/// Where the runtime may be named outside of `bench` and `tests`: the seam and the start of processes.
/// A path that ends in `/` stands for all below it.
const GLOMMIO: [&str; 7] = [
    "engine/src/platform/glommio.rs",
    "engine/src/platform/glommio/",
    // Tests of the seam run on both of its sides.
    "engine/src/platform/spike.rs",
    "engine/tests/",
    "s3api/src/offline.rs",
    "s3api/src/serve.rs",
    "s3api/src/serve/",
];

/// Where the server compares secrets, with one function each, in constant time.
const SECRET_COMPARISONS: [&str; 5] = [
    "s3api/src/admin/console/session.rs",
    "s3api/src/admin/mod.rs",
    "s3api/src/auth/credentials.rs",
    "s3api/src/auth/sigv4.rs",
    "s3api/src/origin.rs",
];

/// Names that what is secret, or proves that somebody knows a secret, goes by.
const SECRET_NAMES: [&str; 8] =
    ["api_key", "csrf", "hmac", "mac", "password", "secret", "secret_key", "signature"];

/// Plain comparisons of such names that tell a client nothing, with why.
const PLAIN_COMPARISONS: [(&str, &str); 1] = [
    // What the store has now with what was kept of it: both are the server's own.
    ("s3api/src/auth/credentials.rs", "*user.secret == *secret.as_bytes()"),
];

/// Lines of code in one file, its tests left out. From 500 on it is worth looking for the second
/// thing that a file does.
const CODE_LINES_MAX: usize = 800;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn manifest(directory: &str) -> toml::Table {
    fs::read_to_string(root().join(directory).join("Cargo.toml")).unwrap().parse().unwrap()
}

/// Every dependency of a manifest, of any kind and for any target, with its specification.
fn dependencies(manifest: &toml::Table) -> Vec<(String, toml::Value)> {
    let mut found = Vec::new();
    for (name, value) in manifest {
        let Some(table) = value.as_table() else { continue };
        if name.ends_with("dependencies") {
            found.extend(table.iter().map(|(name, value)| (name.clone(), value.clone())));
        } else if name == "target" {
            let targets = table.values().filter_map(toml::Value::as_table);
            found.extend(targets.flat_map(dependencies));
        }
    }
    found
}

/// All Rust files of the workspace, by their path from its root.
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> =
        EDGES.iter().map(|(directory, _)| root().join(directory)).collect();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().unwrap() != "target" {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(found.len() > 50, "only {} files were found", found.len());
    found
}

fn report(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn crates_import_only_whom_they_may() {
    let members = manifest("")["workspace"]["members"].clone();
    let members: BTreeSet<&str> =
        members.as_array().unwrap().iter().map(|member| member.as_str().unwrap()).collect();
    assert_eq!(members, EDGES.iter().map(|(directory, _)| *directory).collect());
    let mut complaints = Vec::new();
    for (directory, allowed) in EDGES {
        for (name, _) in dependencies(&manifest(directory)) {
            let name = name.trim_start_matches("ringfort-");
            if members.contains(name) && !allowed.contains(&name) {
                complaints.push(format!("{directory} must not depend on {name}"));
            }
        }
    }
    report(&complaints);
}

#[test]
fn versions_stand_in_the_workspace_manifest() {
    let mut complaints = Vec::new();
    for (directory, _) in EDGES {
        for (name, value) in dependencies(&manifest(directory)) {
            if value.get("workspace").and_then(toml::Value::as_bool) != Some(true) {
                complaints.push(format!("{directory}: {name} is not `workspace = true`"));
            }
        }
    }
    report(&complaints);
}

#[test]
fn every_dependency_has_its_reason() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let section = text.split("[workspace.dependencies]\n").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let (mut has_reason, mut complaints) = (false, Vec::new());
    for line in section.lines() {
        // A reason holds for the lines that follow it, up to the next empty line.
        has_reason = line.starts_with('#') || (has_reason && !line.is_empty());
        let is_dependency = line.starts_with(|c: char| c.is_ascii_alphabetic());
        if is_dependency && !has_reason {
            complaints.push(format!("Cargo.toml: no reason stands above `{line}`"));
        }
    }
    report(&complaints);
}

#[test]
fn the_top_level_is_as_designed() {
    let ignored = fs::read_to_string(root().join(".gitignore")).unwrap();
    let ignored: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('/')).collect();
    let names = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().file_name());
    let names: BTreeSet<String> = names
        .map(|name| name.into_string().unwrap())
        .filter(|name| !name.starts_with('.') && !ignored.contains(&name.as_str()))
        .collect();
    assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), TOP_LEVEL);
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = sources().into_iter().filter(|(_, text)| !text.starts_with("//! "));
    report(
        &silent.map(|(name, _)| format!("{name} does not open with `//! `")).collect::<Vec<_>>(),
    );
}

#[test]
fn no_file_grows_beyond_its_purpose() {
    let is_test = |name: &str| name.contains("/tests/") || name.ends_with("tests.rs");
    let code_lines = |text: &str| {
        let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        text[..tests].lines().count()
    };
    let sources = sources().into_iter().filter(|(name, _)| !is_test(name));
    let long = sources.filter(|(_, text)| code_lines(text) > CODE_LINES_MAX);
    let complain = |(name, text): (String, String)| {
        format!("{name} has {} lines of code; at most {CODE_LINES_MAX}", code_lines(&text))
    };
    report(&long.map(complain).collect::<Vec<_>>());
}

#[test]
fn the_runtime_is_named_only_behind_the_seam_and_at_start() {
    let is_allowed = |name: &str| {
        let within =
            |place: &&str| *place == name || place.ends_with('/') && name.starts_with(place);
        name.starts_with("bench/") || name.starts_with("tests/") || GLOMMIO.iter().any(within)
    };
    let mut complaints = Vec::new();
    for (name, text) in sources().into_iter().filter(|(name, _)| !is_allowed(name)) {
        for (line, number) in text.lines().zip(1..) {
            let code = line.split("//").next().unwrap();
            // Our own module of that name may be named by anyone.
            let code = code.replace("platform::glommio", "").replace("mod glommio", "");
            if code.contains("glommio") {
                complaints.push(format!("{name}:{number} names glommio: {}", line.trim()));
            }
        }
    }
    report(&complaints);
}

/// How long a comparison takes must not tell how much of a signature or a key was right.
#[test]
fn secrets_are_compared_in_constant_time_and_in_few_places() {
    let mut complaints = Vec::new();
    let mut found = BTreeSet::new();
    let is_meant = |name: &str| {
        (name.starts_with("s3api/") || name.starts_with("engine/") || name.starts_with("http/"))
            && !name.contains("/tests/")
            && !name.ends_with("tests.rs")
    };
    for (name, text) in sources().into_iter().filter(|(name, _)| is_meant(name)) {
        let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        for (line, number) in text[..tests].lines().zip(1..) {
            let code = line.split("//").next().unwrap();
            if code.contains("ct_eq") {
                found.insert(name.clone());
            }
            let is_comparison = [" == ", " != ", ".eq(", ".ne(", "starts_with("]
                .iter()
                .any(|sign| code.contains(sign));
            let mut names = code.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
            let is_excused =
                PLAIN_COMPARISONS.iter().any(|(file, part)| *file == name && code.contains(part));
            if is_comparison && !is_excused && names.any(|name| SECRET_NAMES.contains(&name)) {
                complaints
                    .push(format!("{name}:{number} compares a secret plainly: {}", line.trim()));
            }
        }
    }
    report(&complaints);
    let found: Vec<&str> = found.iter().map(String::as_str).collect();
    assert_eq!(found, SECRET_COMPARISONS, "a comparison of secrets came or went");
}
