//! A directory in one small file: data directories are mostly zeroes, so only what is not is kept.
//!
//! ```text
//! for each file, in the order of their paths
//!   path bytes u32, path below the directory
//!   file bytes u64, runs u32
//!   for each run: offset u64, bytes u32, the bytes
//! ```
//! Integers are little-endian. A run ends where a cell of zeroes begins; cells are 16 bytes.
//!
//! Not here: what the directory is good for. Empty directories are not kept.

use std::fs;
use std::path::Path;

use super::snapshot::Snapshot;

const CELL: usize = 16;

/// Every file below a directory whose name is not left out.
pub fn pack(directory: &Path, left_out: &[&str]) -> Vec<u8> {
    let mut image = Vec::new();
    for (path, content) in Snapshot::of(directory).files() {
        let name = path.strip_prefix(directory).unwrap().to_str().unwrap();
        if left_out.contains(&name) {
            continue;
        }
        image.extend((name.len() as u32).to_le_bytes());
        image.extend(name.as_bytes());
        image.extend((content.len() as u64).to_le_bytes());
        let runs = runs(content);
        image.extend((runs.len() as u32).to_le_bytes());
        for (offset, bytes) in runs {
            image.extend((offset as u64).to_le_bytes());
            image.extend((bytes.len() as u32).to_le_bytes());
            image.extend(bytes);
        }
    }
    image
}

/// Makes the files again.
pub fn unpack(mut image: &[u8], directory: &Path) {
    let rest = &mut image;
    while !rest.is_empty() {
        let name_bytes = take_u32(rest);
        let name = std::str::from_utf8(take(rest, name_bytes)).unwrap();
        let mut content = vec![0; take_u64(rest)];
        for _ in 0..take_u32(rest) {
            let (offset, length) = (take_u64(rest), take_u32(rest));
            content[offset..offset + length].copy_from_slice(take(rest, length));
        }
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// What is not zero, and where it begins.
fn runs(content: &[u8]) -> Vec<(usize, &[u8])> {
    let mut runs = Vec::new();
    let mut start = None;
    for (at, cell) in (0..).step_by(CELL).zip(content.chunks(CELL)) {
        let is_blank = cell.iter().all(|byte| *byte == 0);
        match start {
            None if !is_blank => start = Some(at),
            Some(begin) if is_blank => {
                runs.push((begin, &content[begin..at]));
                start = None;
            }
            _ => {}
        }
    }
    runs.extend(start.map(|begin| (begin, &content[begin..])));
    runs
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> &'a [u8] {
    rest.split_off(..count).expect("the image is whole")
}

fn take_u32(rest: &mut &[u8]) -> usize {
    u32::from_le_bytes(take(rest, 4).try_into().unwrap()) as usize
}

fn take_u64(rest: &mut &[u8]) -> usize {
    u64::from_le_bytes(take(rest, 8).try_into().unwrap()) as usize
}
