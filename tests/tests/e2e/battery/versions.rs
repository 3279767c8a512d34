//! The README's table of clients tells the truth: the versions that are pinned, and those of the host.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use ringfort_tests::harness::repository;
use ringfort_tests::harness::scripts::is_left_out;

#[test]
fn the_readme_names_the_versions_that_are_tested() {
    let told = told();
    let mut expected: BTreeMap<String, String> = BTreeMap::new();
    let mut expect = |name: &str, version: String| {
        expected.insert(name.to_owned(), version);
    };
    for (file, name, client) in [
        ("requirements.txt", "awscli", "AWS CLI"),
        ("requirements.txt", "boto3", "boto3"),
        ("requirements.txt", "minio", "minio for Python"),
        ("requirements.txt", "pyarrow", "pyarrow"),
        ("requirements.txt", "deltalake", "deltalake"),
        ("requirements-s3fs.txt", "s3fs", "s3fs"),
    ] {
        expect(client, after(&format!("tests/clients/{file}"), &format!("\n{name}=="), "\n"));
    }
    let package = "tests/clients/node/package.json";
    expect("AWS SDK for JavaScript", after(package, "\"@aws-sdk/client-s3\": \"", "\""));
    expect("minio for JavaScript", after(package, "\"minio\": \"", "\""));
    let manifest = "tests/clients/rust/Cargo.toml";
    expect("AWS SDK for Rust", after(manifest, "aws-sdk-s3 = { version = \"=", "\""));
    expect("object_store", after(manifest, "object_store = { version = \"=", "\""));
    // Programs are as old as the distribution that CI runs on: elsewhere they may differ.
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let is_ci_like = release.contains("ID=debian\n") && release.contains("VERSION_ID=\"12\"");
    for name in ["s3cmd", "rclone", "restic"] {
        if is_ci_like && !is_left_out(name) {
            expect(name, installed(name));
        } else {
            expect(name, told.get(name).cloned().unwrap_or_default());
        }
    }
    assert_eq!(told, expected, "README.md, \"Clients tested\"");
}

/// First and second column of the README's table.
fn told() -> BTreeMap<String, String> {
    let text = fs::read_to_string(repository().join("README.md")).unwrap();
    let (_, section) = text.split_once("## Clients tested\n").expect("the README has the section");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| ")).skip(1);
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (cells[1].to_owned(), cells[2].to_owned())
    })
    .collect()
}

/// What stands between two marks in a file of the repository.
fn after(path: &str, mark: &str, end: &str) -> String {
    let text = fs::read_to_string(repository().join(path)).unwrap();
    let (_, rest) = text.split_once(mark).unwrap_or_else(|| panic!("{path} has no {mark:?}"));
    rest.split(end).next().unwrap().to_owned()
}

/// The number in what the program says of its version.
fn installed(name: &str) -> String {
    let flag = if name == "s3cmd" { "--version" } else { "version" };
    let output = Command::new(name).arg(flag).output();
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}; see tests/README.md"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = said.split_whitespace().map(|word| word.trim_start_matches('v'));
    let mut numbers = words.filter(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    let number = numbers.next().unwrap_or_else(|| panic!("{name} says {said:?}"));
    number.split('-').next().unwrap().to_owned()
}
