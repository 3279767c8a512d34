//! What Ringfort is built from, held to what was looked at: where crates come from, under which licences, what runs
//! while it is built, what is there twice, what must not come in, where unsafe code is.
//!
//! Reads `Cargo.lock`, the manifests and what cargo says of them, without the network and for the host's target
//! alone. `deny.toml` says the same of licences, sources and bans to cargo-deny, for all targets; here stands what must hold
//! wherever the tests run. A list is changed together with the dependency that asks for it, by somebody who has looked.
//!
//! Not here: known vulnerabilities, whose list is not part of the repository (SECURITY.md).

#![allow(clippy::unwrap_used)]

mod licences;
mod unsafe_code;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

/// Licences under which code may come in; each is had by a crate that has no other of the list.
const LICENCES: [&str; 6] = [
    "Apache-2.0",
    // redis, subtle; parts of AWS-LC.
    "BSD-3-Clause",
    // xxhash-rust.
    "BSL-1.0",
    // rustls-webpki, untrusted; parts of AWS-LC.
    "ISC",
    "MIT",
    // ICU's tables, with which host names are brought to one form.
    "Unicode-3.0",
];

/// Crates under another one, with why that is fine.
const LICENCE_EXCEPTIONS: [(&str, &str, &str); 1] =
    [("bitmaps", "MPL-2.0+", "by glommio; copyleft of its own files, which are used as published")];

/// What must not be in the lock file, whatever asks for it. One library of cryptography is enough, and none that is
/// linked with the host's.
const BANNED: [&str; 5] = ["native-tls", "openssl", "openssl-src", "openssl-sys", "mbedtls"];

/// What may not be in the binary, though the lock file names it for features that nobody switches on.
const BANNED_FROM_BINARY: [&str; 3] = ["ring", "webpki-roots", "proptest"];

/// Crates that run a program of theirs while they are built, by what it does.
const BUILD_SCRIPTS: [(&str, &[&str]); 4] = [
    ("compiles C or assembler", &["alloca", "aws-lc-sys", "libmimalloc-sys", "ring"]),
    ("passes on features, or names of C symbols", &["aws-lc-rs"]),
    (
        "asks the compiler for its version, the target or its features",
        &[
            "ahash",
            "borsh",
            "crc32fast",
            "crossbeam-deque",
            "crossbeam-epoch",
            "crossbeam-utils",
            "generic-array",
            "getrandom",
            "glommio-ng",
            "httparse",
            "icu_normalizer_data",
            "icu_properties_data",
            "io-uring",
            "libc",
            "memoffset",
            "nix",
            "num-traits",
            "proc-macro2",
            "quote",
            "rlimit",
            "rustix",
            "rustls",
            "rustversion",
            "serde_json",
            "signal-hook",
            "thiserror",
            "zerocopy",
            "zmij",
        ],
    ),
    (
        "writes a file of Rust from its own tables",
        &["mime_guess", "oid-registry", "serde", "serde_core"],
    ),
];

/// Crates that run within the compiler.
const MACROS: [&str; 17] = [
    "asn1-rs-derive",
    "asn1-rs-impl",
    "aws-smithy-runtime-api-macros",
    "borsh-derive",
    "clap_derive",
    "displaydoc",
    "glommio-ng-macros",
    "rustversion",
    "serde_derive",
    "thiserror-impl",
    "time-macros",
    "tracing-attributes",
    "yoke-derive",
    "zerocopy-derive",
    "zerofrom-derive",
    "zeroize_derive",
    "zerovec-derive",
];

/// Crates of which the binary holds, or is built with, more than one version, and who has the older one.
const TWICE: [(&str, usize, &str); 5] = [
    ("crypto-common", 2, "crc-fast, by digest"),
    ("digest", 2, "crc-fast"),
    ("getrandom", 2, "ahash"),
    ("spin", 2, "flume, which glommio uses"),
    ("syn", 2, "macros, which are not in the binary itself"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn cargo(arguments: &[&str]) -> String {
    let ran = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(arguments)
        .args(["--offline", "--locked"])
        .output()
        .unwrap();
    assert!(ran.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

fn target() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// A crate that is built for the workspace or its tests.
struct Package {
    name: String,
    version: String,
    licence: String,
    is_ours: bool,
    directory: PathBuf,
    /// `lib`, `custom-build`, `proc-macro` and the like.
    kinds: BTreeSet<String>,
}

/// All of them. Cargo's metadata also names crates of features that nobody switches on.
fn packages() -> &'static [Package] {
    static PACKAGES: OnceLock<Vec<Package>> = OnceLock::new();
    PACKAGES.get_or_init(|| {
        let said = cargo(&["metadata", "--format-version=1", "--filter-platform", &target()]);
        let said: Value = serde_json::from_str(&said).unwrap();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let package = |value: &Value| Package {
            name: text(&value["name"]),
            version: text(&value["version"]),
            licence: text(&value["license"]),
            is_ours: value["source"].is_null(),
            directory: Path::new(value["manifest_path"].as_str().unwrap()).parent().unwrap().into(),
            kinds: value["targets"]
                .as_array()
                .unwrap()
                .iter()
                .flat_map(|target| target["kind"].as_array().unwrap().iter().map(text))
                .collect(),
        };
        let found: Vec<Package> =
            said["packages"].as_array().unwrap().iter().map(package).collect();
        assert!(found.len() > 100, "cargo named {} crates only", found.len());
        found
    })
}

fn strangers() -> impl Iterator<Item = &'static Package> {
    packages().iter().filter(|package| !package.is_ours)
}

/// Name and version of each crate that the binary is built from, our own ones among them.
fn shipped() -> BTreeSet<(String, String)> {
    let format = ["--prefix=none", "--format={p}"];
    let target = target();
    let arguments = ["tree", "-p=ringfort", "--edges=normal,build", "--target", &target];
    let said = cargo(&[&arguments[..], &format[..]].concat());
    let found: BTreeSet<_> = said
        .lines()
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| (name.to_owned(), rest.split(' ').next().unwrap().to_owned()))
        .collect();
    assert!(found.len() > 100, "cargo named {} crates only", found.len());
    found
}

fn lock() -> Vec<toml::Table> {
    let text = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let lock: toml::Table = text.parse().unwrap();
    lock["package"].as_array().unwrap().iter().map(|one| one.as_table().unwrap().clone()).collect()
}

fn report(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn crates_come_from_the_registry_with_their_hash_or_from_here() {
    let here: BTreeSet<&str> =
        packages().iter().filter(|one| one.is_ours).map(|one| one.name.as_str()).collect();
    let mut complaints = Vec::new();
    for package in lock() {
        let name = package["name"].as_str().unwrap();
        let source = package.get("source").and_then(toml::Value::as_str);
        let hash = package.get("checksum").and_then(toml::Value::as_str).unwrap_or_default();
        let is_fine = match source {
            None => here.contains(name),
            Some("registry+https://github.com/rust-lang/crates.io-index") => hash.len() == 64,
            Some(_) => false,
        };
        if !is_fine {
            complaints.push(format!("{name} comes from {source:?}, with the hash `{hash}`"));
        }
    }
    report(&complaints);
}

#[test]
fn dependencies_name_versions() {
    let text = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = text.parse().unwrap();
    let mut complaints = Vec::new();
    for (name, value) in manifest["workspace"]["dependencies"].as_table().unwrap() {
        let version = value.as_str().or_else(|| value.get("version").and_then(toml::Value::as_str));
        let is_ours = value.get("path").is_some();
        if !is_ours && version.is_none_or(|version| version.contains('*')) {
            complaints.push(format!("Cargo.toml: any version of {name} would do"));
        }
        if value.get("git").is_some() {
            complaints.push(format!("Cargo.toml: {name} is not from the registry"));
        }
    }
    if manifest.contains_key("patch") {
        complaints.push("Cargo.toml: a crate is replaced by another".to_owned());
    }
    report(&complaints);
}

#[test]
fn licences_are_those_that_were_agreed_to() {
    let mut complaints = Vec::new();
    let mut exceptions = BTreeSet::new();
    for package in strangers() {
        let Package { name, version, licence, .. } = package;
        let exception =
            LICENCE_EXCEPTIONS.iter().find(|(whose, which, _)| whose == name && which == licence);
        if exception.is_some() {
            exceptions.insert(name.as_str());
        } else if !licences::is_met(licence, &LICENCES) {
            complaints.push(format!("{name} {version} is under `{licence}`"));
        }
    }
    report(&complaints);
    assert_eq!(
        exceptions,
        LICENCE_EXCEPTIONS.iter().map(|(name, ..)| *name).collect(),
        "one is gone"
    );
    for spare in LICENCES {
        let others: Vec<&str> = LICENCES.into_iter().filter(|one| *one != spare).collect();
        let is_needed = strangers().any(|package| {
            !exceptions.contains(package.name.as_str())
                && !licences::is_met(&package.licence, &others)
        });
        assert!(is_needed, "nothing needs {spare} any more");
    }
}

#[test]
fn what_must_not_come_in_is_not_there() {
    let lock = lock();
    let locked = lock.iter().map(|package| package["name"].as_str().unwrap());
    let banned: Vec<&str> = locked.filter(|name| BANNED.contains(name)).collect();
    assert!(banned.is_empty(), "Cargo.lock: {banned:?}");
    let shipped = shipped();
    let banned: Vec<_> =
        shipped.iter().filter(|(name, _)| BANNED_FROM_BINARY.contains(&name.as_str())).collect();
    assert!(banned.is_empty(), "in the binary: {banned:?}");
}

#[test]
fn programs_that_run_at_build_time_were_looked_at() {
    let of_kind = |kind: &str| -> BTreeSet<&str> {
        strangers().filter(|one| one.kinds.contains(kind)).map(|one| one.name.as_str()).collect()
    };
    let scripts: BTreeSet<&str> =
        BUILD_SCRIPTS.iter().flat_map(|(_, names)| *names).copied().collect();
    assert_eq!(of_kind("custom-build"), scripts, "build scripts");
    assert_eq!(of_kind("proc-macro"), MACROS.into(), "macros");
    let ours = packages().iter().filter(|one| one.is_ours && one.kinds.contains("custom-build"));
    assert_eq!(ours.count(), 0, "ours have no build scripts");
}

#[test]
fn what_is_there_twice_is_known() {
    let mut versions: BTreeMap<String, usize> = BTreeMap::new();
    for (name, _) in shipped() {
        *versions.entry(name).or_default() += 1;
    }
    versions.retain(|_, count| *count > 1);
    let known = TWICE.iter().map(|(name, count, _)| ((*name).to_owned(), *count)).collect();
    assert_eq!(versions, known);
}
