//! The configuration as a whole: precedence of its sources, and what is refused.
#![allow(clippy::unwrap_used)]

use super::*;
use std::io::Write;

fn resolve(
    flags: &[&str],
    variables: &[(&str, &str)],
    file: Option<&str>,
) -> Result<Config, StartError> {
    let mut arguments: Vec<String> = vec!["serve".to_string()];
    arguments.extend(flags.iter().map(ToString::to_string));
    let mut written = tempfile::NamedTempFile::new().unwrap();
    if let Some(text) = file {
        written.write_all(text.as_bytes()).unwrap();
        arguments.extend(["--config".to_string(), written.path().display().to_string()]);
    }
    let matches = serve_command().try_get_matches_from(arguments).unwrap();
    let variable = |name: &str| {
        variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
    };
    Config::resolve(&Layers::gather(&matches, &variable)?)
}

#[test]
fn the_example_is_a_file_with_every_key_at_its_default() {
    let text = example();
    let keys: Vec<&str> = text
        .lines()
        .take_while(|line| !line.contains("Targets of events"))
        .filter_map(|line| line.strip_prefix("# "))
        .filter(|line| line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' ')))
        .collect();
    assert!(keys.len() > 30, "{keys:?}");
    // Where there is no default, what stands for a value is written in capitals.
    let has_default = |line: &&&str| {
        let (_, value) = line.split_once(" = ").unwrap();
        value.contains(|c: char| c.is_lowercase() || c.is_ascii_digit())
    };
    let file: Vec<&str> = keys.iter().filter(has_default).copied().collect();
    assert_eq!(
        resolve(&[], &[], Some(&file.join("\n"))).unwrap(),
        resolve(&[], &[], None).unwrap()
    );
}

#[test]
fn the_table_of_fields_makes_a_sound_command_line() {
    serve_command().debug_assert();
}

#[test]
fn nothing_given_takes_the_defaults() {
    let config = resolve(&[], &[], None).unwrap();
    assert_eq!(config.data_dirs, [PathBuf::from("./ringfort-data")]);
    assert_eq!(config.listen.to_string(), "127.0.0.1:9000");
    assert_eq!(config.admin_listen.to_string(), "127.0.0.1:9001");
    assert_eq!(config.cores, Cores::All);
    assert_eq!(config.region, "us-east-1");
    assert_eq!(config.idle_timeout, Duration::from_secs(75));
    assert_eq!(config.drain_timeout, Duration::from_secs(30));
    assert_eq!(config.io_memory_bytes, 64 << 20);
    assert_eq!(config.ring_depth, 1024);
    assert_eq!(config.placement, Placement::Pinned);
    assert_eq!(config.log_format, LogFormat::Human);
    assert_eq!(config.lifecycle_day, Duration::from_secs(86_400));
    assert!(!config.sse_c_over_http);
    assert_eq!(config.notify_targets, []);
    assert_eq!(config.notify_queue_events, 100_000);
    assert_eq!(config.access_log_interval, Duration::from_secs(60));
}

#[test]
fn targets_of_events_are_put_together() {
    use crate::workers::notify::purge::{Purge, Service};
    use crate::workers::notify::target::{TargetConfig, TargetKind};
    let webhook = |name: &str, url: &str, authorization: Option<&str>| TargetConfig {
        name: name.to_owned(),
        kind: TargetKind::Webhook {
            url: url.to_owned(),
            authorization: authorization.map(str::to_owned),
        },
    };
    let redis = |name: &str, url: &str, list: &str| TargetConfig {
        name: name.to_owned(),
        kind: TargetKind::Redis { url: url.to_owned(), list: list.to_owned() },
    };
    let file = "[notify.webhook.hook]\nurl = \"https://h.test/a?b=c\"\n\
                authorization = \"Bearer x, y\"\n\
                [notify.redis.list]\nurl = \"redis://127.0.0.1:1/0\"\nlist = \"events\"\n";
    let expected = [
        webhook("hook", "https://h.test/a?b=c", Some("Bearer x, y")),
        redis("list", "redis://127.0.0.1:1/0", "events"),
    ];
    assert_eq!(resolve(&[], &[], Some(file)).unwrap().notify_targets, expected);

    let variables = [
        ("RINGFORT_NOTIFY_WEBHOOK", "a=http://a.test/,b=http://b.test"),
        ("RINGFORT_NOTIFY_WEBHOOK_AUTH", "b=Bearer t"),
    ];
    let config = resolve(&["--notify-redis", "r=redis://r.test"], &variables, None).unwrap();
    let expected = [
        webhook("a", "http://a.test/", None),
        webhook("b", "http://b.test", Some("Bearer t")),
        redis("r", "redis://r.test", "ringfort-events"),
    ];
    assert_eq!(config.notify_targets, expected);

    let purge = |name: &str, service, url: &str, method: &str, public_url: Option<&str>| {
        let (url, method) = (url.to_owned(), method.to_owned());
        let public_url = public_url.map(str::to_owned);
        let purge = Purge { service, url, method, public_url, authorization: Some("t".to_owned()) };
        TargetConfig { name: name.to_owned(), kind: TargetKind::Purge(purge) }
    };
    let file = "[notify.purge.cloud]\nurl = \"https://api.test/zones/1\"\nservice = \"cloudflare\"\n\
                public-url = \"https://cdn.test\"\nauthorization = \"t\"\n\
                [notify.purge.edge]\nurl = \"http://e.test/{key}\"\nmethod = \"BAN\"\n\
                authorization = \"t\"\n";
    let (api, public) = ("https://api.test/zones/1", Some("https://cdn.test"));
    let expected = [
        purge("cloud", Service::Cloudflare, api, "PURGE", public),
        purge("edge", Service::Http, "http://e.test/{key}", "BAN", None),
    ];
    assert_eq!(resolve(&[], &[], Some(file)).unwrap().notify_targets, expected);

    for text in [
        "[notify.purge.a]\nurl = \"http://a\"\nservice = \"akamai\"",
        "[notify.purge.a]\nurl = \"http://a\"\nmethod = \"purge it\"",
        "[notify.purge.a]\nurl = \"http://a\"\nservice = \"fastly\"\nmethod = \"PURGE\"",
        "[notify.purge.a]\nurl = \"http://a\"\npublic-url = \"http://b\"",
        "[notify.purge.a]\nservice = \"fastly\"",
        "[notify.purge.a]\nurl = \"http://a/{bucket}\"",
        "[notify.purge.a]\nurl = \"http://a/?x\"",
        "[notify.purge.a]\nurl = \"http://a\"\nauthorization = \"t\u{f6}ken\"",
        "[notify.purge.a]\nurl = \"http://a\"\nauthorization = \"token \"",
        "[notify.webhook.a]\nurl = \"http://a\"\nauthorization = \"a\\nb\"",
        "[notify.webhook.a]\nurl = \"ftp://a\"",
        "[notify.webhook.a]\nurl = \"http://\"",
        "[notify.webhook.\"a b\"]\nurl = \"http://a\"",
        "[notify.webhook.a]\nauthorization = \"x\"",
        "[notify.webhook.a]\nurl = 1",
        "[notify.webhook.a]\nurls = \"http://a\"",
        "[notify.pigeon.a]\nurl = \"http://a\"",
        "[notify.webhook.a]\nurl = \"http://a\"\n[notify.redis.a]\nurl = \"redis://a\"",
        "notify = 1",
        "notify-queue = 0",
    ] {
        let message = resolve(&[], &[], Some(text)).unwrap_err().to_string();
        assert!(message.contains("notify"), "{text}: {message}");
    }
}

#[test]
fn flags_go_before_environment_before_file_before_defaults() {
    let file = Some("region = \"file\"\nidle-timeout = 1\nmemory = \"1GiB\"\nshards = 4\n");
    let variables = [("RINGFORT_REGION", "env"), ("RINGFORT_IDLE_TIMEOUT", "2")];
    let config = resolve(&["--region", "flag"], &variables, file).unwrap();
    assert_eq!(config.region, "flag");
    assert_eq!(config.idle_timeout, Duration::from_secs(2));
    assert_eq!(config.memory_bytes, Some(1 << 30));
    assert_eq!(config.shards, Some(4));
    assert_eq!(config.drain_timeout, Duration::from_secs(30));
}

#[test]
fn lists_come_whole_from_one_source() {
    let file =
        Some("domain = [\"c.test\", \"d.test\"]\ndata-dir = \"/one\"\nsse-c-over-http = true");
    let config = resolve(&[], &[], file).unwrap();
    assert_eq!(config.domains, ["c.test", "d.test"]);
    assert_eq!(config.data_dirs, [PathBuf::from("/one")]);
    assert!(config.sse_c_over_http);

    let variables = [("RINGFORT_DOMAIN", "a.test, b.test")];
    let config = resolve(&["--data-dir", "/x", "--data-dir", "/y"], &variables, file).unwrap();
    assert_eq!(config.domains, ["a.test", "b.test"]);
    assert_eq!(config.data_dirs, [PathBuf::from("/x"), PathBuf::from("/y")]);
}

#[test]
fn an_empty_variable_counts_as_absent() {
    let config = resolve(&[], &[("RINGFORT_REGION", ""), ("RINGFORT_CONFIG", "")], None).unwrap();
    assert_eq!(config.region, "us-east-1");
}

#[test]
fn the_file_can_be_named_by_the_environment() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"region = \"from-file\"").unwrap();
    let path = file.path().display().to_string();
    let config = resolve(&[], &[("RINGFORT_CONFIG", &path)], None).unwrap();
    assert_eq!(config.region, "from-file");
}

#[test]
fn tests_can_shorten_a_day_by_the_environment_alone() {
    let config = resolve(&[], &[("RINGFORT_DEBUG_DAY_SECONDS", "10")], None).unwrap();
    assert_eq!(config.lifecycle_day, Duration::from_secs(10));
    assert!(resolve(&[], &[], Some("debug-day-seconds = 10")).is_err());
}

#[test]
fn a_refused_flag_is_named() {
    for (flags, expected) in [
        (&["--listen", "9000"][..], "--listen"),
        (&["--admin-listen", "nowhere"], "--admin-listen"),
        (&["--listen", "127.0.0.1:9001"], "admin-listen"),
        (&["--cores", "0"], "--cores"),
        (&["--memory", "1"], "--memory"),
        (&["--memory", "12XB"], "--memory"),
        (&["--io-memory", "1048577"], "--io-memory"),
        (&["--ring-depth", "0"], "--ring-depth"),
        (&["--region", "Über"], "--region"),
        (&["--domain", "a..b"], "--domain"),
        (&["--domain", "a.b", "--domain", "A.B"], "--domain"),
        (&["--domain", "a.b", "--website-domain", "A.B"], "--website-domain"),
        (&["--website-domain", "a.b", "--website-domain", "a.b"], "--website-domain"),
        (&["--capacity", "1KiB"], "--capacity"),
        (&["--shards", "0"], "--shards"),
        (&["--shards", "70000"], "--shards"),
        (&["--shards", "3", "--data-dir", "a", "--data-dir", "b"], "--shards"),
        (&["--segment-size", "3MiB"], "--segment-size"),
        (&["--idle-timeout", "0"], "--idle-timeout"),
        (&["--max-connections", "0"], "--max-connections"),
        (&["--buckets-per-user", "0"], "--buckets-per-user"),
        (&["--checkpoint-log", "4KiB"], "--checkpoint-log"),
        (&["--checkpoint-records", "0"], "--checkpoint-records"),
        (&["--scrub-rate", "fast"], "--scrub-rate"),
        (&["--scrub-interval", "0"], "--scrub-interval"),
        (&["--log-format", "xml"], "--log-format"),
        (&["--placement", "left"], "--placement"),
        (&["--data-dir", "a", "--data-dir", "a"], "--data-dir"),
        (&["--data-dir", ""], "--data-dir"),
        (&["--config", "/nonexistent/ringfort.toml"], "/nonexistent/ringfort.toml"),
    ] {
        let message = resolve(flags, &[], None).unwrap_err().to_string();
        assert!(message.contains(expected), "{flags:?}: {message}");
    }
}

#[test]
fn a_refused_variable_or_key_is_named_with_its_place() {
    let message = resolve(&[], &[("RINGFORT_MEMORY", "lots")], None).unwrap_err().to_string();
    assert!(message.contains("RINGFORT_MEMORY") && message.contains("lots"), "{message}");
    for (text, expected) in [
        ("memory = \"lots\"", "`memory` in "),
        ("memory = 1.5", "`memory` in "),
        ("memory = [\"1GiB\"]", "`memory` in "),
        ("memroy = \"1GiB\"", "`memroy` in "),
        ("config = \"other.toml\"", "`config` in "),
        ("[table]", "`table` in "),
        ("memory = ", "line 1"),
    ] {
        let message = resolve(&[], &[], Some(text)).unwrap_err().to_string();
        assert!(message.contains(expected), "{text:?}: {message}");
    }
}
