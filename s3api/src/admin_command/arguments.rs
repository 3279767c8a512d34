//! The command line of `ringfort admin`.

use clap::{Arg, ArgAction, Command, value_parser};

use crate::admin_client::KEY_VARIABLE;

/// The secret of a new credential, for who does not want it among the arguments of a process.
const SECRET_VARIABLE: &str = "RINGFORT_NEW_SECRET_KEY";

/// The secrets of an origin, with a comma between two, for the same reason.
const ORIGIN_SECRET_VARIABLE: &str = "RINGFORT_ORIGIN_SECRET";

/// The subcommand, for clap.
pub fn admin_command() -> Command {
    Command::new("admin")
        .about("Manage a running server: credentials, buckets, objects, uploads, keys, and more")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .arg(
            flag("admin", "URL", "Management port of the running server")
                .default_value("http://127.0.0.1:9001")
                .global(true),
        )
        .arg(
            flag("api-key", "KEY", "Key of the management API")
                .env(KEY_VARIABLE)
                .hide_env_values(true)
                .global(true),
        )
        .arg(
            flag("output", "FORMAT", "A table for people, or JSON for programs")
                .value_parser(["table", "json"])
                .default_value("table")
                .global(true),
        )
        .subcommand(plain("stats", "How much there is of everything"))
        .subcommand(plain("whoami", "Name and rights of the key"))
        .subcommand(plain("shards", "Every shard, what it holds and does"))
        .subcommand(plain("latency", "How long the operations of S3 take"))
        .subcommand(plain("settings", "How the server runs"))
        .subcommand(credentials())
        .subcommand(buckets())
        .subcommand(objects())
        .subcommand(uploads())
        .subcommand(presign())
        .subcommand(plain("presigned", "Presigned URLs that were made here and are good"))
        .subcommand(api_keys())
}

fn plain(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about)
}

fn family(name: &'static str, about: &'static str) -> Command {
    plain(name, about).subcommand_required(true).arg_required_else_help(true)
}

fn flag(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value).help(help)
}

fn place(name: &'static str, value: &'static str) -> Arg {
    Arg::new(name).value_name(value).required(true)
}

fn number(name: &'static str, value: &'static str, help: &'static str) -> Arg {
    flag(name, value, help).value_parser(value_parser!(u64))
}

fn id() -> Arg {
    place("id", "ID").value_parser(value_parser!(u64).range(1..))
}

fn bucket() -> Arg {
    place("bucket", "BUCKET")
}

fn credentials() -> Command {
    let name = || flag("name", "NAME", "The user's name");
    family("credentials", "Users and their keys")
        .subcommand(plain("list", "All credentials"))
        .subcommand(
            plain("create", "Make a credential; its secret is shown once")
                .arg(name())
                .arg(flag("access-key", "KEY", "Made up unless given"))
                .arg(
                    flag("secret-key", "SECRET", "Made up unless given; better by its variable")
                        .env(SECRET_VARIABLE)
                        .hide_env_values(true),
                ),
        )
        .subcommand(plain("show", "A credential and its buckets").arg(id()))
        .subcommand(
            plain("update", "Change name or active state").arg(id()).arg(name()).arg(
                flag("active", "BOOL", "Whether it may sign requests")
                    .value_parser(value_parser!(bool)),
            ),
        )
        .subcommand(plain("delete", "Take a credential away; its buckets stay").arg(id()))
        .subcommand(plain("limits", "How much traffic a user may make").arg(id()))
        .subcommand(plain("set-limits", SET_LIMITS).arg(id()).args(limits()))
        .subcommand(plain("remove-limits", "Take a user's limits away").arg(id()))
}

const SET_LIMITS: &str = "Limit the traffic; what is left out is not limited";

fn limits() -> [Arg; 5] {
    [
        number("requests-per-second", "N", "On average"),
        number("burst-requests", "N", "At once behind a pause; else as many as per second"),
        number("concurrent-requests", "N", "Until their answers were sent"),
        number("bytes-in-per-second", "N", "Of bodies that are received; beyond it they wait"),
        number("bytes-out-per-second", "N", "Of objects that are sent; beyond it they wait"),
    ]
}

fn buckets() -> Command {
    family("buckets", "Buckets, their owners, quotas, limits and caches")
        .subcommand(plain("list", "All buckets").arg(flag(
            "prefix",
            "TEXT",
            "What names begin with",
        )))
        .subcommand(
            plain("create", "Make a bucket")
                .arg(bucket())
                .arg(
                    number("owner", "ID", "The credential that owns it; 0 is root")
                        .default_value("0"),
                )
                .arg(flag("region", "NAME", "The server's own")),
        )
        .subcommand(plain("show", "A bucket and what it holds").arg(bucket()))
        .subcommand(plain("delete", "Take an empty bucket away").arg(bucket()))
        .subcommand(plain("quota", "How much a bucket may hold, and holds").arg(bucket()))
        .subcommand(
            plain("set-quota", "Set how much a bucket may hold")
                .arg(bucket())
                .arg(number("max-bytes", "N", "All versions counted"))
                .arg(number("max-objects", "N", "All versions counted")),
        )
        .subcommand(plain("remove-quota", "Take a bucket's quota away").arg(bucket()))
        .subcommand(plain("origin", "What a bucket is to the caches in front of it").arg(bucket()))
        .subcommand(set_origin())
        .subcommand(plain("remove-origin", "Take away what a bucket is to caches").arg(bucket()))
}

fn set_origin() -> Command {
    plain(
        "set-origin",
        "Set what a bucket is to the caches in front of it; what is left out is off",
    )
    .arg(bucket())
    .arg(flag("cache-control", "TEXT", "For objects that have neither it nor Expires"))
    .arg(
        flag("key-header", "NAME", "In which surrogate keys are sent; repeatable")
            .value_parser(["Surrogate-Key", "Cache-Tag"])
            .action(ArgAction::Append),
    )
    .arg(flag("key-metadata", "NAME", "User metadata with an object's own surrogate keys"))
    .arg(flag("secret-header", "NAME", "The header by which caches are let in to read"))
    .arg(
        flag(
            "secret",
            "SECRET",
            "What it must hold, two while one takes the other's place; better by its variable",
        )
        .env(ORIGIN_SECRET_VARIABLE)
        .hide_env_values(true)
        .value_delimiter(',')
        .action(ArgAction::Append),
    )
    .subcommand(plain("limits", "How much traffic a bucket takes").arg(bucket()))
    .subcommand(plain("set-limits", SET_LIMITS).arg(bucket()).args(limits()))
    .subcommand(plain("remove-limits", "Take a bucket's limits away").arg(bucket()))
}

fn objects() -> Command {
    let version = || flag("version-id", "ID", "A version; else the current one");
    family("objects", "What is in a bucket")
        .subcommand(plain("list", "Current objects").arg(bucket()).arg(flag(
            "prefix",
            "TEXT",
            "What keys begin with",
        )))
        .subcommand(
            plain("show", "All that is known of an object")
                .arg(bucket())
                .arg(place("key", "KEY"))
                .arg(version()),
        )
        .subcommand(
            plain("delete", "Delete an object as S3's DELETE by root does")
                .arg(bucket())
                .arg(place("key", "KEY"))
                .arg(version())
                .arg(
                    Arg::new("bypass-governance")
                        .long("bypass-governance")
                        .action(ArgAction::SetTrue)
                        .help("Retention in governance mode does not hold"),
                ),
        )
}

fn uploads() -> Command {
    family("uploads", "Multipart uploads under way")
        .subcommand(plain("list", "Uploads of a bucket").arg(bucket()))
        .subcommand(
            plain("abort", "Abort an upload")
                .arg(bucket())
                .arg(place("id", "ID"))
                .arg(flag("key", "KEY", "Of the object that it would make").required(true)),
        )
}

fn presign() -> Command {
    plain("presign", "Sign a URL with a credential, and print it")
        .arg(bucket())
        .arg(place("key", "KEY"))
        .arg(flag("access-key", "KEY", "Of the credential that signs").required(true))
        .arg(
            flag("method", "METHOD", "What the URL is for")
                .value_parser(["GET", "PUT", "POST", "DELETE", "HEAD"])
                .default_value("GET"),
        )
        .arg(number("expires-in", "SECONDS", "A week at most").default_value("3600"))
        .arg(flag("host", "HOST", "Where clients find the S3 port"))
}

fn api_keys() -> Command {
    family("api-keys", "Keys of the management API")
        .subcommand(plain("list", "All API keys"))
        .subcommand(
            plain("create", "Make an API key; it is shown once")
                .arg(place("name", "NAME"))
                .arg(
                    flag("rights", "RIGHTS", "What the key is for")
                        .value_parser(["full", "read-only"])
                        .required(true),
                )
                .arg(number("expires-in", "SECONDS", "It does not end unless this is given")),
        )
        .subcommand(plain("delete", "Revoke an API key, at once").arg(place("id", "ID")))
}
