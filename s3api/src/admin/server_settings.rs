//! `/api/v1/settings`: how the server runs.
//!
//! `GET settings` shows every setting; `PUT settings {"log_filter": "..."}` changes what can be changed while
//! the server runs, until its next start. The others are changed where the server is configured.
//!
//! Not here: secrets, and what may hold one (the addresses of targets of events).

use engine::platform::Platform;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{ApiAnswer, ApiRequest};
use super::management::{Management, Server};
use crate::config::{LogFormat, Placement};
use crate::log;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    log_filter: String,
}

pub(super) fn show<P: Platform>(store: &Management<'_, P>) -> ApiAnswer {
    ApiAnswer::json(200, describe(&store.server, store.region))
}

pub(super) fn change<P: Platform>(
    store: &Management<'_, P>,
    request: &ApiRequest,
) -> Result<ApiAnswer, ApiAnswer> {
    let Change { log_filter } = request.document()?;
    log::set_filter(&log_filter)
        .map_err(|reason| ApiAnswer::problem(400, format!("log_filter: {reason}")))?;
    tracing::info!(
        by = store.caller.name,
        filter = log_filter,
        "the filter of the log was changed"
    );
    Ok(show(store))
}

fn describe(server: &Server<'_>, region: &str) -> Value {
    let Server { listen, config, plan } = server;
    let data_dirs: Vec<String> =
        config.data_dirs.iter().map(|dir| dir.display().to_string()).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "changeable": ["log_filter"],
        "log_filter": log::filter_text(),
        "data_dirs": data_dirs,
        "listen": listen.to_string(),
        "admin_listen": config.admin_listen.to_string(),
        "region": region,
        "domains": config.domains,
        "website_domains": config.website_domains,
        "trusted_proxies": config.proxies.texts(),
        "cores": plan.cores,
        "memory_bytes": plan.memory_bytes,
        "io_memory_bytes_per_core": config.io_memory_bytes,
        "hot_object_bytes_per_core": config.hot_object_bytes,
        "is_pinned": config.placement == Placement::Pinned,
        "max_connections": config.max_connections,
        "buckets_per_user": config.buckets_per_user,
        "idle_timeout_seconds": config.idle_timeout.as_secs(),
        "drain_timeout_seconds": config.drain_timeout.as_secs(),
        "checkpoint_log_bytes": config.checkpoint_log_bytes,
        "checkpoint_records": config.checkpoint_records,
        "scrub_bytes_per_second_per_core": config.scrub_bytes_per_second,
        "scrub_interval_seconds": config.scrub_interval.as_secs(),
        "access_log_interval_seconds": config.access_log_interval.as_secs(),
        "notify_targets": config.notify_targets.len(),
        "notify_queue_events": config.notify_queue_events,
        "has_sse_key_file": config.sse_key_file.is_some(),
        "allows_sse_c_over_http": config.sse_c_over_http,
        "log_format": match config.log_format {
            LogFormat::Human => "human",
            LogFormat::Json => "json",
        },
    })
}
