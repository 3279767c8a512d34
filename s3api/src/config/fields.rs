//! The table of fields, and the layers of text that a field's value can come from.
//!
//! One table makes the command line, its help, the names in the environment, the keys of the file
//! and the defaults, so that they cannot drift apart. Values are text until `parse` makes something
//! of them, so that one parser and one form of complaint serve all layers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::limits::CONFIG_FILE_BYTES_MAX;
use crate::start_error::StartError;

/// One field of the configuration.
struct Field {
    /// The flag without its dashes, and the key in the file.
    name: &'static str,
    /// What stands for the value in the help; empty: a switch.
    value: &'static str,
    help: &'static str,
    default: Option<&'static str>,
    /// The flag may be repeated; several values are separated by commas in the environment.
    many: bool,
    /// For tests: taken from the environment only, and absent from the help.
    hidden: bool,
    /// It holds secrets: no flag, because other users of the host can see those.
    secret: bool,
}

const fn field(name: &'static str, value: &'static str, help: &'static str) -> Field {
    Field { name, value, help, default: None, many: false, hidden: false, secret: false }
}

impl Field {
    const fn default(mut self, text: &'static str) -> Self {
        self.default = Some(text);
        self
    }

    const fn many(mut self) -> Self {
        self.many = true;
        self
    }

    const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Whether it is given on the command line.
    fn is_flag(&self) -> bool {
        !self.hidden && !self.secret
    }

    fn environment_name(&self) -> String {
        format!("RINGFORT_{}", self.name.to_uppercase().replace('-', "_"))
    }

    fn help_text(&self) -> String {
        let default = self.default.map(|d| format!(" [default: {d}]")).unwrap_or_default();
        format!("{} [env: {}]{default}", self.help, self.environment_name())
    }
}

const FIELDS: &[Field] = &[
    field("data-dir", "DIR", "Where the data lies; once per drive")
        .default("./ringfort-data")
        .many(),
    field("listen", "ADDR:PORT", "Address of the S3 port").default("127.0.0.1:9000"),
    field("admin-listen", "ADDR:PORT", "Address of the management port").default("127.0.0.1:9001"),
    field("admin-socket", "PATH", "Unix socket on which the management port is served as well"),
    field("admin-socket-mode", "OCTAL", "Permissions of that socket").default("0660"),
    field("cores", "N|LIST", "How many cores, or which, as in 0,2,4-7 (default: all)"),
    field("memory", "BYTES", "Memory budget of the process (default: half of the host's)"),
    field("region", "NAME", "Region that clients sign for").default("us-east-1"),
    field("domain", "NAME", "Host name whose subdomains address buckets; repeatable").many(),
    field("website-domain", "NAME", "Host name whose subdomains are websites; repeatable").many(),
    field(
        "trusted-proxy",
        "NETWORK",
        "Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed; repeatable",
    )
    .many(),
    field("capacity", "BYTES", "Space that a new store takes on its drives"),
    field("shards", "N", "Shards of a new store; a multiple of the drives"),
    field("segment-size", "BYTES", "Segment size of a new store"),
    field("idle-timeout", "SECONDS", "How long an idle connection is kept").default("75"),
    field("drain-timeout", "SECONDS", "How long requests may take after a stop").default("30"),
    field("max-connections", "N", "Connections to the S3 port").default("10000"),
    field("buckets-per-user", "N", "Buckets that each user may have").default("10000"),
    field("checkpoint-log", "BYTES", "Log of a shard after which it writes a checkpoint")
        .default("64MiB"),
    field("checkpoint-records", "N", "Records of a shard after which it writes a checkpoint")
        .default("500000"),
    field(
        "hot-objects",
        "BYTES",
        "Memory of each core for small objects that are read often; 0: none",
    )
    .default("32MiB"),
    field("scrub-rate", "BYTES", "What each core reads in a second to look for damage; 0: never")
        .default("16MiB"),
    field("scrub-interval", "SECONDS", "How long after such a pass the next one begins")
        .default("604800"),
    field("log-format", "human|json", "Form of the log on standard error").default("human"),
    field("placement", "pinned|unbound", "Whether cores keep their CPU").default("pinned"),
    field("io-memory", "BYTES", "I/O buffers that each core keeps for use again").default("64MiB"),
    field("ring-depth", "N", "Depth of each core's io_uring queues").default("1024"),
    field("tls-cert", "FILE", "Certificate chain of both ports, PEM; read again when it changes"),
    field("tls-key", "FILE", "The certificate's private key, PEM"),
    field("client-ca", "FILE", "Who signs the certificates that the S3 port asks for"),
    field(
        "admin-client-ca",
        "FILE",
        "Who signs the certificates that the management port asks for",
    ),
    field("sse-key-file", "FILE", "Master keys of server-side encryption, the current one first"),
    field("sse-key-beside-data", "", "Accept a key file within a data directory").default("false"),
    field("sse-c-over-http", "", "Accept customer encryption keys without TLS").default("false"),
    field("notify-webhook", "NAME=URL", "Target of events: each is posted to the URL; repeatable")
        .many(),
    field("notify-webhook-auth", "NAME=VALUE", "").many().secret(),
    field("notify-redis", "NAME=URL", "Target of events: each is appended to a list; repeatable")
        .many(),
    field("notify-redis-list", "NAME=KEY", "The list of a Redis target (default: ringfort-events)")
        .many(),
    field("notify-purge", "NAME=URL", "Target of events: a cache that forgets objects; repeatable")
        .many(),
    field(
        "notify-purge-service",
        "NAME=SERVICE",
        "What such a cache is: http (default), fastly or cloudflare",
    )
    .many(),
    field("notify-purge-method", "NAME=METHOD", "Method for http caches (default: PURGE)").many(),
    field("notify-purge-public-url", "NAME=URL", "Where a cloudflare cache shows the objects")
        .many(),
    field("notify-purge-auth", "NAME=VALUE", "").many().secret(),
    field("notify-queue", "N", "Events that may wait for a target; more are dropped")
        .default("100000"),
    field("access-log-interval", "SECONDS", "How long lines of access logs wait to be delivered")
        .default("60"),
    field("audit-log", "FILE", "Audit log, a JSON object a line; -: standard output"),
    field("audit-requests", "all|changes", "Which requests the audit log tells of").default("all"),
    field("audit-required", "", "Refuse requests while the audit log cannot be written")
        .default("false"),
    field(
        "user",
        "NAME",
        "Whom a server that was started as root becomes when its ports are bound",
    ),
    field("debug-day-seconds", "SECONDS", "").default("86400").hidden(),
];

/// The one field that cannot stand in the file, because it names it.
const CONFIG: Field = field("config", "FILE", "A TOML file with any of these fields");

/// The `serve` subcommand, for clap.
pub fn serve_command() -> Command {
    let fields = FIELDS.iter().filter(|f| f.is_flag()).chain([&CONFIG]);
    Command::new("serve")
        .about("Run the server")
        .after_help(
            "Sizes are bytes or end in KiB, MiB, GiB, TiB (or KB, MB, GB, TB). A flag goes before the \
             environment, the environment before the file.\n\
             Root credentials: RINGFORT_ROOT_ACCESS_KEY, RINGFORT_ROOT_SECRET_KEY and \
             RINGFORT_ADMIN_API_KEY; what is absent is made at the first start and kept in \
             root-credentials.json in the first data directory.\n\
             Server-side encryption: --sse-key-file, or the keys themselves in RINGFORT_SSE_MASTER_KEY; \
             `ringfort sse-key FILE` makes a key file. Without the key nothing that it encrypted can be \
             read: keep a copy of it elsewhere.\n\
             RINGFORT_ROOT_MFA_SECRET: the secret, in \
             base32, of the root's MFA device, for buckets with MFA delete.\n\
             Targets of events: RINGFORT_NOTIFY_WEBHOOK_AUTH=NAME=VALUE,... gives webhooks their \
             Authorization header, and RINGFORT_NOTIFY_PURGE_AUTH caches their credential; in the file a \
             target is a table, as [notify.webhook.NAME], [notify.redis.NAME] or [notify.purge.NAME].\n\
             RINGFORT_LOG (or RUST_LOG) filters the log, as in \"info\" or \"s3api=debug\".",
        )
        .args(fields.map(argument))
}

/// A file of the configuration with every key: what it is, and its default, commented out.
pub fn example() -> String {
    let mut text = String::from(
        "# Ringfort's configuration (`ringfort serve --config FILE`). A flag and the environment go before this\n\
         # file. Sizes are bytes or end in KiB, MiB, GiB, TiB. `ringfort config check` says what is wrong with it.\n",
    );
    for field in FIELDS.iter().filter(|field| field.is_flag()) {
        let repeatable = if field.many { " (a list)" } else { "" };
        text += &format!("\n# {}{repeatable}\n# {} = {}\n", field.help, field.name, sample(field));
    }
    text += "\n# Targets of events (README, \"Events\").\n\
             # [notify.webhook.NAME]\n# url = \"https://indexer.example/s3\"\n# authorization = \"Bearer ...\"\n\
             # [notify.redis.NAME]\n# url = \"redis://127.0.0.1:6379/0\"\n# list = \"ringfort-events\"\n\
             # [notify.purge.NAME]\n# url = \"http://edge.example:8081\"\n# service = \"http\"\n";
    text
}

/// The default, or what stands for a value, as TOML.
fn sample(field: &Field) -> String {
    let text = field.default.unwrap_or(field.value);
    // What begins with a zero is no number to TOML.
    let is_number = text.parse::<u64>().is_ok_and(|number| number.to_string() == text);
    let is_bare = matches!(text, "true" | "false") || is_number;
    let value = if is_bare { text.to_owned() } else { format!("\"{text}\"") };
    if field.many { format!("[{value}]") } else { value }
}

fn argument(field: &Field) -> Arg {
    let arg = Arg::new(field.name).long(field.name).help(field.help_text());
    if field.value.is_empty() {
        return arg.action(ArgAction::SetTrue);
    }
    let action = if field.many { ArgAction::Append } else { ArgAction::Set };
    arg.value_name(field.value).action(action)
}

/// The text of every field that a layer has.
type Texts = BTreeMap<&'static str, Vec<String>>;

/// All sources of values, in the order in which they are asked.
#[derive(Debug)]
pub struct Layers {
    layers: Vec<(Source, Texts)>,
}

#[derive(Debug, Clone)]
enum Source {
    Flag,
    Environment,
    File(String),
    Default,
}

impl Source {
    fn describe(&self, field: &Field) -> String {
        match self {
            Self::Flag => format!("--{}", field.name),
            Self::Environment => field.environment_name(),
            Self::File(path) => format!("`{}` in {path}", field.name),
            Self::Default => format!("the default of --{}", field.name),
        }
    }
}

impl Layers {
    /// Gathers the flags that clap matched, the environment through `variable`, and the file that
    /// either of them names.
    pub fn gather(
        matches: &ArgMatches,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, StartError> {
        let flags = from_flags(matches);
        let environment = from_environment(variable);
        let file = match config_path(matches, variable) {
            Some(path) => Some((Source::File(path.clone()), from_file(Path::new(&path))?)),
            None => None,
        };
        let first = [(Source::Flag, flags), (Source::Environment, environment)];
        let defaults = (Source::Default, defaults());
        Ok(Self { layers: first.into_iter().chain(file).chain([defaults]).collect() })
    }

    /// A field with at most one value.
    pub(super) fn optional<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, StartError> {
        let mut values = self.list(name, parse)?;
        if values.len() > 1 {
            return Err(self.refuse(name, "only one value can be given"));
        }
        Ok(values.pop())
    }

    /// A field that the defaults always have.
    pub(super) fn required<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, StartError> {
        self.optional(name, parse)?.ok_or_else(|| self.refuse(name, "a value is needed"))
    }

    /// All values of a field, from the first layer that has it.
    pub(super) fn list<T>(
        &self,
        name: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, StartError> {
        let texts = self.find(name).map(|(_, texts)| texts.as_slice()).unwrap_or_default();
        texts.iter().map(|text| parse(text).map_err(|reason| self.refuse(name, reason))).collect()
    }

    /// The complaint about a field's value, with the place that it came from.
    pub(super) fn refuse(&self, name: &'static str, reason: impl Into<String>) -> StartError {
        let source = self.find(name).map_or(&Source::Flag, |(source, _)| source);
        let field = FIELDS.iter().find(|f| f.name == name).unwrap_or(&CONFIG);
        StartError::Config { place: source.describe(field), reason: reason.into() }
    }

    fn find(&self, name: &str) -> Option<(&Source, &Vec<String>)> {
        self.layers.iter().find_map(|(source, texts)| texts.get(name).map(|found| (source, found)))
    }
}

fn from_flags(matches: &ArgMatches) -> Texts {
    let given = |field: &Field| {
        if field.value.is_empty() {
            return matches.get_flag(field.name).then(|| vec!["true".to_string()]);
        }
        matches.get_many::<String>(field.name).map(|values| values.cloned().collect())
    };
    let fields = FIELDS.iter().filter(|f| f.is_flag());
    fields.filter_map(|field| Some((field.name, given(field)?))).collect()
}

/// An empty variable counts as absent, as deployment tools leave them.
fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Texts {
    let given = |field: &Field| {
        let text = variable(&field.environment_name()).filter(|text| !text.is_empty())?;
        if !field.many {
            return Some(vec![text]);
        }
        Some(text.split(',').map(|part| part.trim().to_string()).collect())
    };
    FIELDS.iter().filter_map(|field| Some((field.name, given(field)?))).collect()
}

fn config_path(matches: &ArgMatches, variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let flag = matches.get_one::<String>(CONFIG.name).cloned();
    flag.or_else(|| variable(&CONFIG.environment_name()).filter(|path| !path.is_empty()))
}

fn defaults() -> Texts {
    FIELDS.iter().filter_map(|f| Some((f.name, vec![f.default?.to_string()]))).collect()
}

fn from_file(path: &Path) -> Result<Texts, StartError> {
    let context = || format!("reading the configuration file {}", path.display());
    let file = File::open(path).map_err(|e| StartError::io(context(), e))?;
    let mut text = String::new();
    let mut bounded = file.take(CONFIG_FILE_BYTES_MAX + 1);
    bounded.read_to_string(&mut text).map_err(|e| StartError::io(context(), e))?;
    let place = |key: &str| format!("`{key}` in {}", path.display());
    let refuse =
        |place: String, reason: &str| StartError::Config { place, reason: reason.to_string() };
    if text.len() as u64 > CONFIG_FILE_BYTES_MAX {
        return Err(refuse(path.display().to_string(), "the file is longer than 1 MiB"));
    }
    let table: toml::Table = text
        .parse()
        .map_err(|e: toml::de::Error| refuse(path.display().to_string(), e.to_string().trim()))?;
    let mut texts = Texts::new();
    for (key, value) in &table {
        if key == "notify" {
            add_targets(&mut texts, value).map_err(|(key, reason)| refuse(place(&key), &reason))?;
            continue;
        }
        let field = FIELDS
            .iter()
            .find(|f| f.name == key && !f.hidden)
            .ok_or_else(|| refuse(place(key), "there is no such field"))?;
        let values = file_values(value, field.many)
            .ok_or_else(|| refuse(place(key), "a value of this type is not accepted here"))?;
        texts.insert(field.name, values);
    }
    Ok(texts)
}

/// The keys of a target's table, with the field that each stands for.
const TARGET_KEYS: [(&str, &str, &str); 9] = [
    ("webhook", "url", "notify-webhook"),
    ("webhook", "authorization", "notify-webhook-auth"),
    ("redis", "url", "notify-redis"),
    ("redis", "list", "notify-redis-list"),
    ("purge", "url", "notify-purge"),
    ("purge", "service", "notify-purge-service"),
    ("purge", "method", "notify-purge-method"),
    ("purge", "public-url", "notify-purge-public-url"),
    ("purge", "authorization", "notify-purge-auth"),
];

/// Tables of targets, `[notify.KIND.NAME]`, as the fields say the same. The error names the key.
fn add_targets(texts: &mut Texts, value: &toml::Value) -> Result<(), (String, String)> {
    let table = |path: String, value: &toml::Value| {
        value.as_table().cloned().ok_or((path, "it must be a table".to_owned()))
    };
    for (kind, targets) in table("notify".to_owned(), value)? {
        for (name, target) in table(format!("notify.{kind}"), &targets)? {
            for (key, value) in table(format!("notify.{kind}.{name}"), &target)? {
                let path = format!("notify.{kind}.{name}.{key}");
                let known = TARGET_KEYS.iter().find(|(of, known, _)| *of == kind && *known == key);
                let (.., field) =
                    known.ok_or_else(|| (path.clone(), "there is no such field".to_owned()))?;
                let text = value.as_str().ok_or((path, "it must be a text".to_owned()))?;
                texts.entry(field).or_default().push(format!("{name}={text}"));
            }
        }
    }
    Ok(())
}

fn file_values(value: &toml::Value, many: bool) -> Option<Vec<String>> {
    match value {
        toml::Value::Array(items) if many => items.iter().map(file_value).collect(),
        single => Some(vec![file_value(single)?]),
    }
}

fn file_value(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}
