//! From a parsed command line to the request that it stands for.
//!
//! Pure.

use clap::ArgMatches;
use serde_json::{Map, Value, json};

use crate::percent::encode_all;
use crate::start_error::StartError;

/// What is asked of the management API.
#[derive(Debug, PartialEq)]
pub(super) struct Order {
    pub(super) method: &'static str,
    /// Below `/api/v1/`, encoded.
    pub(super) path: String,
    /// Encoded.
    pub(super) query: String,
    pub(super) body: Value,
    pub(super) shape: Shape,
}

/// What of the answer is shown.
#[derive(Debug, PartialEq)]
pub(super) enum Shape {
    /// The rows of a list, which may have more pages.
    Rows {
        field: &'static str,
        columns: &'static [&'static str],
    },
    Fields,
    /// For people this one alone, as it is.
    Field(&'static str),
}

const CREDENTIALS: Shape = Shape::Rows {
    field: "credentials",
    columns: &["id", "access_key", "user_name", "is_active", "created_at"],
};
const BUCKETS: Shape = Shape::Rows {
    field: "buckets",
    columns: &["name", "owner", "object_count", "total_size", "created_at"],
};
const OBJECTS: Shape = Shape::Rows {
    field: "objects",
    columns: &["key", "size", "content_type", "etag", "created_at"],
};
const UPLOADS: Shape = Shape::Rows {
    field: "uploads",
    columns: &[
        "upload_id",
        "object_key",
        "initiated_by",
        "part_count",
        "total_size",
        "initiated_at",
    ],
};
const URLS: Shape = Shape::Rows {
    field: "urls",
    columns: &["bucket_name", "object_key", "method", "access_key", "expires_at"],
};
const API_KEYS: Shape = Shape::Rows {
    field: "api_keys",
    columns: &["id", "name", "rights", "created_at", "expires_at", "last_used_at"],
};
const SHARDS: Shape = Shape::Rows {
    field: "shards",
    columns: &["shard", "core", "data_dir", "is_online", "state.work", "state.log_live_bytes"],
};
const LATENCY: Shape = Shape::Rows {
    field: "operations",
    columns: &[
        "operation",
        "requests",
        "server_errors",
        "latency_us_p50",
        "latency_us_p99",
        "latency_us_max",
    ],
};

impl Order {
    fn new(method: &'static str, path: impl Into<String>, shape: Shape) -> Self {
        Self { method, path: path.into(), query: String::new(), body: Value::Null, shape }
    }

    fn get(path: impl Into<String>, shape: Shape) -> Self {
        Self::new("GET", path, shape)
    }

    /// A change that answers with nothing but that it was made.
    fn change(method: &'static str, path: impl Into<String>) -> Self {
        Self::new(method, path, Shape::Field("message"))
    }

    fn body(mut self, body: Value) -> Self {
        self.body = body;
        self
    }

    /// Adds to the query what was given on the command line.
    fn with(mut self, arguments: &ArgMatches, names: &[&str]) -> Self {
        for name in names {
            if let Some(value) = arguments.get_one::<String>(name) {
                let mark = if self.query.is_empty() { "" } else { "&" };
                let pair = format!("{mark}{}={}", name.replace('-', "_"), encode_all(value));
                self.query.push_str(&pair);
            }
        }
        self
    }
}

/// # Errors
/// A command line that says nothing where something must be said.
pub(super) fn order(arguments: &ArgMatches) -> Result<Order, StartError> {
    let Some((family, arguments)) = arguments.subcommand() else { return Err(incomplete("admin")) };
    match (family, arguments.subcommand()) {
        ("stats" | "whoami" | "settings", _) => Ok(Order::get(family, Shape::Fields)),
        ("shards", _) => Ok(Order::get("shards", SHARDS)),
        ("latency", _) => Ok(Order::get("latency", LATENCY)),
        ("presigned", _) => Ok(Order::get("presigned-urls", URLS)),
        ("presign", _) => Ok(presign(arguments)),
        ("credentials", Some((verb, arguments))) => credentials(verb, arguments),
        ("buckets", Some((verb, arguments))) => buckets(verb, arguments),
        ("objects", Some((verb, arguments))) => Ok(objects(verb, arguments)),
        ("uploads", Some((verb, arguments))) => Ok(uploads(verb, arguments)),
        ("api-keys", Some((verb, arguments))) => Ok(api_keys(verb, arguments)),
        (other, _) => Err(incomplete(other)),
    }
}

fn incomplete(place: &str) -> StartError {
    let reason = "nothing is said that could be done".to_owned();
    StartError::Config { place: place.to_owned(), reason }
}

fn text(arguments: &ArgMatches, name: &str) -> String {
    arguments.get_one::<String>(name).cloned().unwrap_or_default()
}

fn number(arguments: &ArgMatches, name: &str) -> Option<u64> {
    arguments.get_one::<u64>(name).copied()
}

/// An object of those fields that were given.
fn given(fields: &[(&str, Option<Value>)]) -> Value {
    let given = fields.iter().filter_map(|(name, value)| {
        let value = value.clone()?;
        Some(((*name).to_owned(), value))
    });
    Value::Object(given.collect::<Map<_, _>>())
}

fn optional_text(arguments: &ArgMatches, name: &str) -> Option<Value> {
    arguments.get_one::<String>(name).map(|text| text.as_str().into())
}

fn optional_texts(arguments: &ArgMatches, name: &str) -> Option<Value> {
    let texts = arguments.get_many::<String>(name)?;
    Some(texts.map(|text| Value::from(text.as_str())).collect())
}

fn credentials(verb: &str, arguments: &ArgMatches) -> Result<Order, StartError> {
    let of_id = || format!("credentials/{}", number(arguments, "id").unwrap_or_default());
    let name = || optional_text(arguments, "name");
    Ok(match verb {
        "list" => Order::get("credentials", CREDENTIALS),
        "create" => Order::new("POST", "credentials", Shape::Fields).body(given(&[
            ("user_name", name()),
            ("access_key", optional_text(arguments, "access-key")),
            ("secret_key", optional_text(arguments, "secret-key")),
        ])),
        "show" => Order::get(of_id(), Shape::Fields),
        "update" => {
            let is_active = arguments.get_one::<bool>("active").map(|active| (*active).into());
            let change = given(&[("user_name", name()), ("is_active", is_active)]);
            if change == json!({}) {
                let reason = "give --name, --active or both".to_owned();
                return Err(StartError::Config { place: "credentials update".to_owned(), reason });
            }
            Order::change("PUT", of_id()).body(change)
        }
        "limits" => Order::get(format!("{}/limits", of_id()), Shape::Fields),
        "set-limits" => set_limits("credentials", format!("{}/limits", of_id()), arguments)?,
        "remove-limits" => Order::change("DELETE", format!("{}/limits", of_id())),
        _ => Order::change("DELETE", of_id()),
    })
}

fn buckets(verb: &str, arguments: &ArgMatches) -> Result<Order, StartError> {
    let named = |rest: &str| format!("buckets/{}{rest}", encode_all(&text(arguments, "bucket")));
    Ok(match verb {
        "list" => Order::get("buckets", BUCKETS).with(arguments, &["prefix"]),
        "create" => Order::new("POST", "buckets", Shape::Fields).body(given(&[
            ("name", optional_text(arguments, "bucket")),
            ("owner_id", number(arguments, "owner").map(Value::from)),
            ("region", optional_text(arguments, "region")),
        ])),
        "show" => Order::get(named(""), Shape::Fields),
        "quota" => Order::get(named("/quota"), Shape::Fields),
        "set-quota" => {
            let quota = given(&[
                ("max_bytes", number(arguments, "max-bytes").map(Value::from)),
                ("max_objects", number(arguments, "max-objects").map(Value::from)),
            ]);
            if quota == json!({}) {
                let reason = "give --max-bytes, --max-objects or both".to_owned();
                return Err(StartError::Config { place: "buckets set-quota".to_owned(), reason });
            }
            Order::new("PUT", named("/quota"), Shape::Fields).body(quota)
        }
        "limits" => Order::get(named("/limits"), Shape::Fields),
        "set-limits" => set_limits("buckets", named("/limits"), arguments)?,
        "remove-limits" => Order::change("DELETE", named("/limits")),
        "remove-quota" => Order::change("DELETE", named("/quota")),
        "origin" => Order::get(named("/origin"), Shape::Fields),
        "set-origin" => {
            let secret_header = optional_text(arguments, "secret-header");
            // The variable of the secret may be set for other buckets.
            let secrets = secret_header.as_ref().and_then(|_| optional_texts(arguments, "secret"));
            let origin = given(&[
                ("cache_control", optional_text(arguments, "cache-control")),
                ("key_headers", optional_texts(arguments, "key-header")),
                ("key_metadata", optional_text(arguments, "key-metadata")),
                ("secret_header", secret_header),
                ("secrets", secrets),
            ]);
            Order::new("PUT", named("/origin"), Shape::Fields).body(origin)
        }
        "remove-origin" => Order::change("DELETE", named("/origin")),
        _ => Order::change("DELETE", named("")),
    })
}

fn set_limits(family: &str, path: String, arguments: &ArgMatches) -> Result<Order, StartError> {
    let limits = given(&[
        ("requests_per_second", number(arguments, "requests-per-second").map(Value::from)),
        ("burst_requests", number(arguments, "burst-requests").map(Value::from)),
        ("concurrent_requests", number(arguments, "concurrent-requests").map(Value::from)),
        ("bytes_in_per_second", number(arguments, "bytes-in-per-second").map(Value::from)),
        ("bytes_out_per_second", number(arguments, "bytes-out-per-second").map(Value::from)),
    ]);
    if limits == json!({}) {
        let reason = "give at least one of the limits, such as --concurrent-requests".to_owned();
        return Err(StartError::Config { place: format!("{family} set-limits"), reason });
    }
    Ok(Order::new("PUT", path, Shape::Fields).body(limits))
}

fn objects(verb: &str, arguments: &ArgMatches) -> Order {
    let bucket = encode_all(&text(arguments, "bucket"));
    if verb == "list" {
        return Order::get(format!("buckets/{bucket}/objects"), OBJECTS)
            .with(arguments, &["prefix"]);
    }
    let path = format!("buckets/{bucket}/objects/{}", encode_all(&text(arguments, "key")));
    let mut order = match verb {
        "show" => Order::get(path, Shape::Fields),
        _ => Order::change("DELETE", path),
    }
    .with(arguments, &["version-id"]);
    if verb == "delete" && arguments.get_flag("bypass-governance") {
        let mark = if order.query.is_empty() { "" } else { "&" };
        order.query = format!("{}{mark}bypass_governance=true", order.query);
    }
    order
}

fn uploads(verb: &str, arguments: &ArgMatches) -> Order {
    let path = format!("buckets/{}/uploads", encode_all(&text(arguments, "bucket")));
    match verb {
        "list" => Order::get(path, UPLOADS),
        _ => {
            let path = format!("{path}/{}", encode_all(&text(arguments, "id")));
            Order::change("DELETE", path).with(arguments, &["key"])
        }
    }
}

fn presign(arguments: &ArgMatches) -> Order {
    Order::new("POST", "presigned-urls", Shape::Field("absolute_url")).body(given(&[
        ("bucket_name", optional_text(arguments, "bucket")),
        ("object_key", optional_text(arguments, "key")),
        ("method", optional_text(arguments, "method")),
        ("expires_in", number(arguments, "expires-in").map(Value::from)),
        ("access_key", optional_text(arguments, "access-key")),
        ("host", optional_text(arguments, "host")),
    ]))
}

fn api_keys(verb: &str, arguments: &ArgMatches) -> Order {
    match verb {
        "list" => Order::get("api-keys", API_KEYS),
        "create" => Order::new("POST", "api-keys", Shape::Fields).body(given(&[
            ("name", optional_text(arguments, "name")),
            ("rights", optional_text(arguments, "rights")),
            ("expires_in", number(arguments, "expires-in").map(Value::from)),
        ])),
        _ => Order::change("DELETE", format!("api-keys/{}", encode_all(&text(arguments, "id")))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::admin_command::admin_command;

    fn check(line: &str, method: &str, target: &str, body: Value) {
        let words = ["admin"].into_iter().chain(line.split(' '));
        let found = order(&admin_command().try_get_matches_from(words).unwrap()).unwrap();
        let mark = if found.query.is_empty() { "" } else { "?" };
        assert_eq!(
            (found.method, format!("{}{mark}{}", found.path, found.query)),
            (method, target.into())
        );
        assert_eq!(found.body, body, "{line}");
    }

    #[test]
    fn a_command_line_is_one_request() {
        check("stats", "GET", "stats", Value::Null);
        check("credentials list", "GET", "credentials", Value::Null);
        let order = json!({"user_name": "n", "access_key": "abc"});
        check("credentials create --name n --access-key abc", "POST", "credentials", order);
        let order = json!({"is_active": false});
        check("credentials update 3 --active false", "PUT", "credentials/3", order);
        check("credentials delete 3", "DELETE", "credentials/3", Value::Null);
        let order = json!({"name": "b-1", "owner_id": 0});
        check("buckets create b-1", "POST", "buckets", order);
        let order = json!({"max_objects": 7});
        check("buckets set-quota b-1 --max-objects 7", "PUT", "buckets/b-1/quota", order);
        let order = json!({
            "cache_control": "max-age=60",
            "key_headers": ["Surrogate-Key", "Cache-Tag"],
            "secret_header": "x-origin",
            "secrets": ["0123456789abcdef", "fedcba9876543210"],
        });
        let line = "buckets set-origin b-1 --cache-control max-age=60 --key-header Surrogate-Key \
                    --key-header Cache-Tag --secret-header x-origin \
                    --secret 0123456789abcdef,fedcba9876543210";
        check(line, "PUT", "buckets/b-1/origin", order);
        let order = json!({"cache_control": "no-store"});
        check("buckets set-origin b --cache-control no-store", "PUT", "buckets/b/origin", order);
        let order = json!({"requests_per_second": 5, "burst_requests": 9});
        let line = "credentials set-limits 3 --requests-per-second 5 --burst-requests 9";
        check(line, "PUT", "credentials/3/limits", order);
        let order = json!({"concurrent_requests": 4, "bytes_out_per_second": 100_000});
        let line = "buckets set-limits b-1 --concurrent-requests 4 --bytes-out-per-second 100000";
        check(line, "PUT", "buckets/b-1/limits", order);
        check("buckets limits b-1", "GET", "buckets/b-1/limits", Value::Null);
        check("credentials remove-limits 3", "DELETE", "credentials/3/limits", Value::Null);
        check(
            "objects list b --prefix a/&",
            "GET",
            "buckets/b/objects?prefix=a%2F%26",
            Value::Null,
        );
        let target = "buckets/b/objects/a%2F%3Fx?version_id=null&bypass_governance=true";
        let line = "objects delete b a/?x --version-id null --bypass-governance";
        check(line, "DELETE", target, Value::Null);
        check(
            "uploads abort b 00ff --key k/1",
            "DELETE",
            "buckets/b/uploads/00ff?key=k%2F1",
            Value::Null,
        );
        let order = json!({
            "bucket_name": "b",
            "object_key": "k",
            "method": "PUT",
            "expires_in": 3600,
            "access_key": "abc",
        });
        check("presign b k --access-key abc --method PUT", "POST", "presigned-urls", order);
        let order = json!({"name": "n", "rights": "read-only", "expires_in": 60});
        let line = "api-keys create n --rights read-only --expires-in 60";
        check(line, "POST", "api-keys", order);
    }

    #[test]
    fn what_says_nothing_is_refused() {
        for line in [
            "admin credentials update 3",
            "admin credentials set-limits 3",
            "admin buckets set-quota b",
            "admin buckets set-limits b",
        ] {
            let matches = admin_command().try_get_matches_from(line.split(' ')).unwrap();
            assert!(order(&matches).is_err(), "{line}");
        }
        for line in
            ["admin", "admin objects", "admin credentials show 0", "admin api-keys create n"]
        {
            assert!(admin_command().try_get_matches_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
