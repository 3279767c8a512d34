//! Exchanges with the server that are written down as text, and their walk: for the documents (`seeds`) and
//! for what clients rely on besides (`rules`).

mod script;
mod shape;
mod walk;

use std::path::Path;

use ringfort_tests::harness::Site;
use script::Script;

/// What became of one example: its title, and the fault that was found.
pub(super) type Verdict = (String, Option<String>);

/// The examples of a file: their titles, and whether a document shows them.
pub(super) fn examples(path: &Path) -> Vec<(String, bool)> {
    let script = read(path);
    script.examples.into_iter().map(|example| (example.title, example.is_shown)).collect()
}

/// Walks the examples of a file against a server of its own. `RINGFORT_EXAMPLE` picks those whose title
/// begins so.
pub(super) fn walk(path: &Path) -> Vec<Verdict> {
    let script = read(path);
    let flags: Vec<&str> = script.flags.iter().map(String::as_str).collect();
    let region = flags.iter().position(|flag| *flag == "--region");
    let region = region.map_or("us-east-1", |at| flags[at + 1]);
    let mut site = Site::new().flags(&["--domain", "localhost"]).flags(&flags);
    for (name, value) in &script.environment {
        site = site.variable(name, value);
    }
    for text in &script.expected_log {
        site = site.expect_log(text);
    }
    let server = site.start();
    let picked = std::env::var("RINGFORT_EXAMPLE").unwrap_or_default();
    let examples = script.examples.iter().filter(|example| example.title.starts_with(&picked));
    let walk = |example| walk::walk(&server, region, example).err();
    let verdicts = examples.map(|example| (example.title.clone(), walk(example))).collect();
    server.stop();
    verdicts
}

fn read(path: &Path) -> Script {
    let text = std::fs::read_to_string(path);
    Script::parse(&text.unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}
