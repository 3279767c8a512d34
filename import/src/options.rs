//! The command line of `ringfort import`, and what it comes to.
//!
//! Invariant: whatever can be known to be wrong before anything is asked of an endpoint is refused here, with
//! the name of the option.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command, value_parser};
use serde_json::{Value, json};

use crate::checksum::Algorithm;
use crate::client::{Client, Endpoint, Style};
use crate::copy::{Mode, Rules};
use crate::credentials::{Given, Variable, of_source, of_target};
use crate::error::Error;
use crate::limits::{JOBS, RETRIES, TIMEOUT_SECONDS};
use crate::run::Job;
use crate::source::{Source, TagPolicy};
use crate::tree::Tree;

const AFTER_HELP: &str = "\
Credentials of the source: RINGFORT_IMPORT_SOURCE_ACCESS_KEY, ..._SECRET_KEY and ..._SESSION_TOKEN, or the AWS_ \
variables. Of the target: RINGFORT_IMPORT_TARGET_ACCESS_KEY and ..._SECRET_KEY, or RINGFORT_ROOT_ACCESS_KEY and \
RINGFORT_ROOT_SECRET_KEY, or --credentials-file. Secrets are never taken from the command line.

Copied are bytes, keys, system and user metadata and tags; with --versions all versions and delete markers, in \
their order. ACLs, storage classes, object locks and settings of buckets are not.

Run again after it was cut short, it goes on where it was: the journal says what is done. Exit codes: 0 all is at \
the target as it is at the source, 1 something differs, failed or was not reached, 2 the options cannot be meant.";

fn option(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn path(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    option(name, value, help).value_parser(value_parser!(PathBuf))
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
}

fn number(
    name: &'static str,
    default: &'static str,
    range: std::ops::RangeInclusive<u64>,
    help: &'static str,
) -> Arg {
    option(name, "N", help).default_value(default).value_parser(value_parser!(u64).range(range))
}

/// The subcommand, for clap.
pub fn import_command() -> Command {
    let command = Command::new("import")
        .about("Bring objects over from any S3 endpoint or a directory tree: resumable, parallel, verified")
        .after_help(AFTER_HELP)
        .group(ArgGroup::new("from").args(["source-endpoint", "from-dir"]).required(true))
        .group(ArgGroup::new("what").args(["source-bucket", "all-buckets", "from-dir"]).required(true));
    how_arguments(target_arguments(source_arguments(command)))
}

fn source_arguments(command: Command) -> Command {
    command
        .arg(option("source-endpoint", "URL", "Where the objects are, as http://host:port"))
        .arg(option("source-bucket", "NAME", "The bucket to bring over").requires("source-endpoint"))
        .arg(
            flag("all-buckets", "All buckets that the source lists, each into one of its name")
                .requires("source-endpoint")
                .conflicts_with("target-bucket"),
        )
        .arg(path("from-dir", "DIR", "A directory tree instead; keys are paths in it").requires("target-bucket"))
        .arg(option("prefix", "TEXT", "Only keys that begin so").default_value(""))
        .arg(option("source-access-key", "KEY", "Access key of the source"))
        .arg(path("source-secret-file", "FILE", "A file that holds its secret"))
        .arg(
            flag("source-anonymous", "Do not sign requests to the source")
                .conflicts_with_all(["source-access-key", "source-secret-file"]),
        )
        .arg(option("source-region", "NAME", "Region of the source").default_value("us-east-1"))
        .arg(
            option("source-style", "STYLE", "How its addresses name buckets")
                .value_parser(["path", "virtual"])
                .default_value("path"),
        )
        .arg(
            option("source-tags", "WHEN", "Whether to ask for tags: where the source says that there are some, always or never")
                .value_parser(["counted", "always", "never"])
                .default_value("counted"),
        )
        .arg(flag("source-opaque-etags", "Take the source's ETags for names, not for MD5s of the bytes"))
}

fn target_arguments(command: Command) -> Command {
    command
        .arg(
            option("target-endpoint", "URL", "Where they go")
                .default_value("http://127.0.0.1:9000"),
        )
        .arg(option(
            "target-bucket",
            "NAME",
            "The bucket there; made if it is not there [default: the source's name]",
        ))
        .arg(option("target-access-key", "KEY", "Access key of the target"))
        .arg(path("target-secret-file", "FILE", "A file that holds its secret"))
        .arg(
            path("credentials-file", "FILE", "A root-credentials.json with both")
                .conflicts_with_all(["target-access-key", "target-secret-file"]),
        )
        .arg(option("target-region", "NAME", "Region of the target").default_value("us-east-1"))
        .arg(
            option("target-style", "STYLE", "How its addresses name buckets")
                .value_parser(["path", "virtual"])
                .default_value("path"),
        )
        .arg(
            option("checksum", "NAME", "Sent with what has none at the source")
                .value_parser(["crc64nvme", "crc32c", "crc32", "sha256", "sha1", "none"])
                .default_value("crc64nvme"),
        )
}

fn how_arguments(command: Command) -> Command {
    command
        .arg(
            flag("versions", "All versions and delete markers, in their order")
                .conflicts_with("from-dir"),
        )
        .arg(number("jobs", "16", JOBS, "Objects under way at once"))
        .arg(number("retries", "8", RETRIES, "How often a request is tried again"))
        .arg(number("timeout", "60", TIMEOUT_SECONDS, "Seconds that an endpoint may be silent"))
        .arg(path(
            "journal",
            "FILE",
            "What is done [default: a file in the current directory, named by both sides]",
        ))
        .arg(flag("no-journal", "Keep none: a later run compares all").conflicts_with("journal"))
        .arg(path("report", "FILE", "Write the report there as JSON"))
        .arg(flag("verify-only", "Compare both sides and copy nothing").conflicts_with("dry-run"))
        .arg(
            option(
                "verify",
                "HOW",
                "By what endpoints say of each object, or by reading the target's bytes again too",
            )
            .value_parser(["default", "full"])
            .default_value("default"),
        )
        .arg(flag("dry-run", "Say what would be copied, and copy nothing"))
        .arg(flag("keep-existing", "Leave objects of the target that differ, and report them"))
        .arg(flag(
            "accept-new-etags",
            "Take objects in parts whose boundaries and checksum the source does not tell, unverified",
        ))
        .arg(flag("exact", "Report what is at the target only as a difference"))
        .arg(flag("quiet", "No progress, only the report"))
}

/// Flags with their values.
struct Flags<'a>(&'a ArgMatches);

impl Flags<'_> {
    fn text(&self, name: &str) -> Option<&String> {
        self.0.get_one(name)
    }

    fn word(&self, name: &str) -> &str {
        self.text(name).map_or("", String::as_str)
    }

    fn path(&self, name: &str) -> Option<&Path> {
        self.0.get_one::<PathBuf>(name).map(PathBuf::as_path)
    }

    fn number(&self, name: &str) -> u64 {
        self.0.get_one(name).copied().unwrap_or_default()
    }

    fn has(&self, name: &str) -> bool {
        self.0.get_flag(name)
    }

    fn style(&self, name: &str) -> Style {
        if self.word(name) == "virtual" { Style::VirtualHost } else { Style::Path }
    }
}

/// What the command line asks for. With `--all-buckets` the buckets are still to be listed.
///
/// # Errors
/// An option that cannot be meant.
pub fn job(arguments: &ArgMatches, variable: Variable<'_>) -> Result<Job, Error> {
    let given = Flags(arguments);
    let jobs = usize::try_from(given.number("jobs")).unwrap_or(1);
    let retries = u32::try_from(given.number("retries")).unwrap_or_default();
    let how = (jobs, retries, Duration::from_secs(given.number("timeout")));
    let target = target(&given, variable)?;
    let source = source(&given, variable, how)?;
    let buckets = buckets(&given)?;
    if let Some(client) = source.client()
        && client.endpoint.to_string() == target.to_string()
        && (given.has("all-buckets") || buckets.iter().any(|(from, to)| from == to))
    {
        return Err(Error::refused("source and target are the same bucket of the same endpoint"));
    }
    let rules = rules(&given);
    let identity = identity(&given, &source, &target, &rules)?;
    let journal = (!given.has("no-journal"))
        .then(|| given.path("journal").map_or_else(|| default_journal(&identity), Path::to_owned));
    Ok(Job {
        source,
        target: Client::new(target, "the target", how),
        rules,
        buckets,
        prefix: given.word("prefix").to_owned(),
        jobs,
        journal,
        identity,
        exact: given.has("exact"),
        shows_progress: !given.has("quiet"),
    })
}

fn rules(given: &Flags<'_>) -> Rules {
    Rules {
        mode: match (given.has("verify-only"), given.has("dry-run")) {
            (true, _) => Mode::VerifyOnly,
            (_, true) => Mode::DryRun,
            _ => Mode::Copy,
        },
        reads_back: given.word("verify") == "full",
        versions: given.has("versions"),
        keeps_existing: given.has("keep-existing"),
        algorithm: Algorithm::parse(given.word("checksum")),
        tags: given.word("source-tags") != "never",
        accepts_new_etags: given.has("accept-new-etags"),
    }
}

fn source(
    given: &Flags<'_>,
    variable: Variable<'_>,
    how: (usize, u32, Duration),
) -> Result<Source, Error> {
    if let Some(root) = given.path("from-dir") {
        let metadata = root.metadata();
        let metadata = metadata
            .map_err(|error| Error::refused(format!("--from-dir {}: {error}", root.display())))?;
        if !metadata.is_dir() {
            return Err(Error::refused(format!(
                "--from-dir {}: it is no directory",
                root.display()
            )));
        }
        // So that a journal means the same tree wherever it is continued from.
        let root = root.canonicalize();
        let root = root.map_err(|error| Error::refused(format!("--from-dir: {error}")))?;
        let tree = Tree::new(&root);
        let tree = tree
            .map_err(|error| Error::refused(format!("--from-dir {}: {error}", root.display())))?;
        return Ok(Source::Tree(tree));
    }
    let keys = if given.has("source-anonymous") {
        None
    } else {
        let said = Given {
            access_key: given.text("source-access-key"),
            secret_file: given.path("source-secret-file"),
            credentials_file: None,
        };
        let keys = of_source(&said, variable);
        Some(keys.map_err(|error| Error::refused(format!("the source: {error}")))?)
    };
    let endpoint = endpoint(given, "source", keys)?;
    let tags = match given.word("source-tags") {
        "always" => TagPolicy::Always,
        "never" => TagPolicy::Never,
        _ => TagPolicy::Counted,
    };
    let has_opaque_etags = given.has("source-opaque-etags");
    Ok(Source::S3 { client: Client::new(endpoint, "the source", how), tags, has_opaque_etags })
}

fn target(given: &Flags<'_>, variable: Variable<'_>) -> Result<Endpoint, Error> {
    let said = Given {
        access_key: given.text("target-access-key"),
        secret_file: given.path("target-secret-file"),
        credentials_file: given.path("credentials-file"),
    };
    let keys = of_target(&said, variable);
    let keys = keys.map_err(|error| Error::refused(format!("the target: {error}")))?;
    endpoint(given, "target", Some(keys))
}

fn endpoint(
    given: &Flags<'_>,
    side: &str,
    keys: Option<crate::client::Keys>,
) -> Result<Endpoint, Error> {
    let name = |what: &str| format!("{side}-{what}");
    let url = given.word(&name("endpoint"));
    let region = given.word(&name("region"));
    let is_region = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if region.is_empty() || !region.bytes().all(is_region) {
        return Err(Error::refused(format!("--{side}-region {region:?} is no region's name")));
    }
    Endpoint::new(url, given.style(&name("style")), region.to_owned(), keys).map_err(|reason| {
        // What stands before an @ may be a secret.
        let shown = if url.contains('@') { String::new() } else { format!(" {url:?}") };
        Error::refused(format!("--{side}-endpoint{shown}: {reason}"))
    })
}

fn buckets(given: &Flags<'_>) -> Result<Vec<(String, String)>, Error> {
    for name in ["source-bucket", "target-bucket"] {
        let bucket = given.text(name);
        if bucket.is_some_and(|bucket| !is_bucket(bucket)) {
            let bucket = given.word(name);
            return Err(Error::refused(format!("--{name} {bucket:?} is no bucket's name")));
        }
    }
    let from = given.text("source-bucket");
    let to = given.text("target-bucket").or(from);
    Ok(match (from, to) {
        (Some(from), Some(to)) => vec![(from.clone(), to.clone())],
        // The tree is named by its own option.
        (None, Some(to)) => vec![(String::new(), to.clone())],
        _ => Vec::new(),
    })
}

/// Whether it can stand in an address; older buckets elsewhere have capitals and underscores.
pub fn is_bucket(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (1..=255).contains(&name.len()) && name.bytes().all(fits) && !matches!(name, "." | "..")
}

fn identity(
    given: &Flags<'_>,
    source: &Source,
    target: &Endpoint,
    rules: &Rules,
) -> Result<Value, Error> {
    let from = match source {
        Source::S3 { client, .. } => client.endpoint.to_string(),
        Source::Tree(tree) => {
            let root = tree.root().to_str();
            root.ok_or_else(|| Error::refused("--from-dir: its path is not UTF-8"))?.to_owned()
        }
    };
    let all = given.has("all-buckets");
    let of = |name| if all { Some("(all)") } else { given.text(name).map(String::as_str) };
    Ok(json!({
        "source": from,
        "source_bucket": of("source-bucket"),
        "prefix": given.word("prefix"),
        "target": target.to_string(),
        "target_bucket": of("target-bucket").or(of("source-bucket")),
        "versions": rules.versions,
        "tags": given.word("source-tags"),
        "verify": given.word("verify"),
        "opaque_etags": given.has("source-opaque-etags"),
    }))
}

fn default_journal(identity: &Value) -> PathBuf {
    let of = |name: &str| identity[name].as_str().unwrap_or_default();
    let text = format!(
        "ringfort-import-{}-{}-to-{}-{}",
        of("source").trim_start_matches("https://").trim_start_matches("http://"),
        of("source_bucket"),
        of("target").trim_start_matches("https://").trim_start_matches("http://"),
        of("target_bucket")
    );
    let fit = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' };
    let name: String = text.chars().map(fit).collect();
    // A long path is told by its end.
    let end = name.len().saturating_sub(200);
    PathBuf::from(format!("{}.journal", &name[end..]))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TARGET: [(&str, &str); 2] =
        [("RINGFORT_ROOT_ACCESS_KEY", "root"), ("RINGFORT_ROOT_SECRET_KEY", "secret")];

    fn parse(words: &[&str]) -> Result<Job, String> {
        let words = [&["import"], words].concat();
        let matches = import_command().try_get_matches_from(words).map_err(|e| e.to_string())?;
        let variable = |name: &str| {
            TARGET.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        };
        job(&matches, &variable).map_err(|error| error.to_string())
    }

    const SOURCE: [&str; 5] = [
        "--source-endpoint",
        "http://127.0.0.1:5000",
        "--source-bucket",
        "b",
        "--source-anonymous",
    ];

    #[test]
    fn the_usual_line_is_understood() {
        import_command().debug_assert();
        let job = parse(&SOURCE).unwrap();
        assert_eq!(job.buckets, [("b".to_owned(), "b".to_owned())]);
        assert_eq!((job.jobs, job.rules.mode), (16, Mode::Copy));
        let journal = job.journal.unwrap();
        assert_eq!(
            journal.to_str().unwrap(),
            "ringfort-import-127.0.0.1-5000-b-to-127.0.0.1-9000-b.journal"
        );
        let job =
            parse(&[&SOURCE[..], &["--verify-only", "--verify", "full", "--no-journal"]].concat())
                .unwrap();
        assert!(job.rules.reads_back && job.journal.is_none());
        let tree = parse(&["--from-dir", "/", "--target-bucket", "t"]).unwrap();
        assert_eq!(tree.buckets, [(String::new(), "t".to_owned())]);
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let with = |more: &[&str]| parse(&[&SOURCE[..], more].concat()).unwrap_err();
        for (more, word) in [
            (&["--target-endpoint", "127.0.0.1:9000"][..], "--target-endpoint"),
            (&["--target-bucket", "a/b"], "--target-bucket"),
            (&["--target-region", "a b"], "--target-region"),
            (&["--target-endpoint", "http://127.0.0.1:5000"], "same bucket"),
            (&["--jobs", "0"], "--jobs"),
            (&["--checksum", "md5"], "--checksum"),
            (&["--verify-only", "--dry-run"], "--dry-run"),
            (&["--credentials-file", "/nowhere"], "/nowhere"),
            (&["--from-dir", "/"], "--from-dir"),
        ] {
            let message = with(more);
            assert!(message.contains(word), "{more:?}: {message}");
        }
        let message = with(&["--target-endpoint", "http://key:hidden@host"]);
        assert!(
            message.contains("--target-endpoint: ") && !message.contains("hidden"),
            "{message}"
        );
        for (words, word) in [
            (&["--from-dir", "/nowhere", "--target-bucket", "t"][..], "/nowhere"),
            (&["--from-dir", "/etc/passwd", "--target-bucket", "t"], "no directory"),
            (&["--from-dir", "/"], "--target-bucket"),
            (&[], "--source-endpoint"),
            (&["--source-endpoint", "http://h"], "--source-bucket"),
            (
                &["--source-endpoint", "http://h", "--source-bucket", "b"],
                "the source: no credentials",
            ),
        ] {
            let message = parse(words).unwrap_err();
            assert!(message.contains(word), "{words:?}: {message}");
        }
    }
}
