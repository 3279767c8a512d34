//! Directories to be copied, synchronized and backed up: how one is made, and how two are compared.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::chance::Chance;

/// 361 files of many sizes, with names that a path may have.
pub fn make(tree: &Path) {
    let sizes = [0, 1, 100, 4095, 4096, 20_000, 131_072, 131_073, 700_000];
    for number in 0..360 {
        let directory = ["a", "a/b", "with space", "ünï", "plus+and%20", "deep/er/est"][number % 6];
        let directory = tree.join(directory);
        fs::create_dir_all(&directory).unwrap();
        let name = format!("file {number} & {}.bin", "x".repeat(number % 50));
        fs::write(directory.join(name), noise(number as u64, sizes[number % 9])).unwrap();
    }
    fs::write(tree.join("large"), noise(999, 18 << 20)).unwrap();
}

/// Both hold the same files. What S3 cannot keep is left out: links, and directories without files.
#[track_caller]
pub fn compare(tree: &Path, back: &Path) {
    let names = files(tree);
    assert!(names.len() > 300, "only {} files", names.len());
    assert!(names == files(back), "the trees hold different files");
    for name in &names {
        let same = fs::read(tree.join(name)).unwrap() == fs::read(back.join(name)).unwrap();
        assert!(same, "{name} differs");
    }
}

/// Every file below a directory, in order.
pub fn files(directory: &Path) -> Vec<String> {
    let mut command = Command::new("find");
    command.args([".", "-type", "f", "-print0"]).current_dir(directory);
    let found = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let mut names: Vec<String> =
        found.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    names.sort();
    names
}

/// Bytes that no two places share.
pub fn noise(seed: u64, size: usize) -> Vec<u8> {
    Chance::new(seed).bytes(size)
}
