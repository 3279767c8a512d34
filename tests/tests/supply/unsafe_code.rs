//! Where unsafe code is, counted: in ours, which may only become less, and in what the binary is built from.
//!
//! What is counted is the word `unsafe` outside of comments and texts: blocks, functions, traits and their
//! implementations, all alike. It says where to look, not how much is wrong. The lint `unsafe_code` is denied in every
//! crate of ours, and each of the files here lifts it for itself.

use super::{Package, packages, report, root, shipped, strangers};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Files of ours that have unsafe code, how often, and what for. Whoever raises a number argues for it.
const OURS: [(&str, usize, &str); 10] = [
    ("bench/src/memory.rs", 2, "mallinfo2, malloc_trim"),
    (
        "engine/src/checksum/md5/lanes.rs",
        11,
        "vector loads, functions for processors that have them",
    ),
    (
        "engine/src/platform/glommio.rs",
        9,
        "buffers that go into requests of the ring, system calls",
    ),
    ("engine/src/platform/glommio/buffers.rs", 9, "aligned memory"),
    ("engine/src/platform/glommio/reactor.rs", 2, "requests that watch descriptors"),
    ("engine/src/platform/glommio/ring.rs", 3, "requests of the ring"),
    ("engine/tests/index_memory.rs", 5, "an allocator that counts"),
    ("engine/tests/upload_memory.rs", 5, "an allocator that counts"),
    ("s3api/src/sys.rs", 3, "system calls, the allocator's settings"),
    ("tuning/src/sys.rs", 7, "system calls"),
];

/// How often the word stands in a source.
fn count(source: &str) -> usize {
    let mut found = 0;
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if let Some(length) = text_or_comment(rest) {
            length
        } else if is_of_word(first) {
            let end = rest.find(|letter| !is_of_word(letter)).unwrap_or(rest.len());
            found += usize::from(&rest[..end] == "unsafe");
            end
        } else {
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The length of the comment, text or letter that the source begins with, if it does.
fn text_or_comment(source: &str) -> Option<usize> {
    if source.starts_with("//") {
        return Some(source.find('\n').unwrap_or(source.len()));
    }
    if source.starts_with("/*") {
        return Some(block_comment(source));
    }
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        source.strip_prefix(prefix).is_some_and(|behind| {
            let hashes = if prefix.ends_with('r') { "#" } else { "" };
            behind.trim_start_matches(|letter| hashes.contains(letter)).starts_with('"')
        })
    });
    if let Some(prefix) = prefix {
        let body = &source[prefix.len()..];
        return Some(
            prefix.len() + if prefix.ends_with('r') { raw_text(body) } else { plain(body, '"') },
        );
    }
    // A letter, or the name of a lifetime, which has no second quotation mark behind its first letter.
    let mut letters = source.strip_prefix('\'')?.chars();
    let (first, second) = (letters.next()?, letters.next());
    let is_letter = first == '\\' || second == Some('\'');
    Some(if is_letter { plain(source, '\'') } else { 1 })
}

/// A text from its quotation mark to the next that no backslash stands before.
fn plain(source: &str, mark: char) -> usize {
    let mut letters = source.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' {
            letters.next();
        } else if letter == mark {
            return at + 1;
        }
    }
    source.len()
}

/// A raw text, from its hashes on.
fn raw_text(source: &str) -> usize {
    let hashes = source.find('"').unwrap();
    let end = format!("\"{}", &source[..hashes]);
    let body = &source[hashes + 1..];
    body.find(&end).map_or(source.len(), |at| hashes + 1 + at + end.len())
}

/// A comment that may hold others.
fn block_comment(source: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < source.len() {
        let rest = &source.as_bytes()[at..];
        if rest.starts_with(b"/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with(b"*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    source.len()
}

/// All Rust files below a directory, with what is in them.
fn sources(directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().unwrap() != "target" {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
                found.push((path.display().to_string(), text));
            }
        }
    }
    found
}

#[test]
fn words_are_counted_outside_of_texts_and_comments() {
    let check = |source: &str, expected: usize| assert_eq!(count(source), expected, "{source}");
    check("unsafe { x() } pub unsafe fn f() {} unsafe impl Send for X {}", 3);
    check("#![deny(unsafe_code)] let not_unsafe = unsafely;", 0);
    check("// unsafe\nunsafe {}", 1);
    check("/* unsafe /* unsafe */ unsafe */ unsafe {}", 1);
    check(r#"let a = "unsafe \" unsafe"; unsafe {}"#, 1);
    check(r##"let a = r#"unsafe " unsafe"#; unsafe {}"##, 1);
    check(r#"let a = (b"unsafe", c"unsafe", br"unsafe\"); unsafe {}"#, 1);
    check(r"fn f<'a>(x: &'a str) { unsafe {} }", 1);
    check(r#"let a = ('"', '\'', b'"', '\u{22}'); unsafe {}"#, 1);
    check("let a = r#unsafe_name; /* never ends: unsafe", 0);
}

#[test]
fn unsafe_code_of_ours_becomes_only_less() {
    let mut counts = BTreeMap::new();
    for package in packages().iter().filter(|package| package.is_ours) {
        for (name, text) in sources(&package.directory) {
            let name = name.strip_prefix(&format!("{}/", root().display())).unwrap().to_owned();
            if let found @ 1.. = count(&text) {
                counts.insert(name, found);
            }
        }
    }
    let known: BTreeMap<String, usize> =
        OURS.iter().map(|(name, count, _)| ((*name).to_owned(), *count)).collect();
    assert_eq!(counts, known);
}

#[test]
fn every_crate_of_ours_denies_unsafe_code() {
    let read = |path: &Path| fs::read_to_string(path).unwrap().parse::<toml::Table>().unwrap();
    let lints = &read(&root().join("Cargo.toml"))["workspace"]["lints"];
    assert_eq!(lints["rust"]["unsafe_code"].as_str(), Some("deny"));
    assert_eq!(lints["clippy"]["undocumented_unsafe_blocks"].as_str(), Some("deny"));
    let ours = packages().iter().filter(|package| package.is_ours);
    let lax = ours.filter(|package| {
        let manifest = read(&package.directory.join("Cargo.toml"));
        manifest.get("lints").and_then(|lints| lints["workspace"].as_bool()) != Some(true)
    });
    report(
        &lax.map(|package| format!("{} has lints of its own", package.name)).collect::<Vec<_>>(),
    );
}

/// The table of SECURITY.md: `cargo test -p ringfort-tests --test supply -- --ignored --nocapture`.
#[test]
#[ignore = "prints a table"]
#[allow(clippy::print_stdout)]
fn table_of_unsafe_code_in_what_the_binary_is_built_from() {
    let shipped = shipped();
    let is_shipped =
        |package: &&Package| shipped.contains(&(package.name.clone(), package.version.clone()));
    let mut counts: Vec<(usize, &Package)> = strangers()
        .filter(is_shipped)
        .map(|package| {
            let sources = sources(&package.directory.join("src"));
            (sources.iter().map(|(_, text)| count(text)).sum(), package)
        })
        .collect();
    counts.sort_by_key(|(count, package)| (std::cmp::Reverse(*count), &package.name));
    let without = counts.iter().filter(|(count, _)| *count == 0).count();
    let all: usize = counts.iter().map(|(count, _)| count).sum();
    println!("{all} in {} crates, of which {without} have none", counts.len());
    for (count, package) in counts.iter().take_while(|(count, _)| *count > 0) {
        println!("| {} {} | {count} |", package.name, package.version);
    }
}
