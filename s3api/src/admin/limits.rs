//! `/api/v1/credentials/ID/limits` and `/api/v1/buckets/NAME/limits`: how much traffic a user or a bucket may make.
//!
//! `GET limits` shows them, `PUT limits {"requests_per_second": N, "burst_requests": N, "concurrent_requests": N,
//! "bytes_in_per_second": N, "bytes_out_per_second": N}` sets all of them (what is left out is not limited), `DELETE
//! limits` takes them away. A change counts with the next request; what is under way goes on.
//!
//! Not here: how requests are judged by them (`crate::throttle`).

use engine::platform::Platform;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{ApiAnswer, ApiRequest};
use super::management::Management;
use super::present::done;
use crate::settings;
use crate::throttle::TrafficLimits;

type Result<T, E = ApiAnswer> = std::result::Result<T, E>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    requests_per_second: Option<u32>,
    burst_requests: Option<u32>,
    concurrent_requests: Option<u32>,
    bytes_in_per_second: Option<u64>,
    bytes_out_per_second: Option<u64>,
}

/// The limits that a request sets.
pub(super) fn ordered(request: &ApiRequest) -> Result<TrafficLimits> {
    let order: Order = request.document()?;
    let limits = TrafficLimits {
        requests_per_second: order.requests_per_second,
        burst_requests: order.burst_requests,
        concurrent_requests: order.concurrent_requests,
        bytes_in_per_second: order.bytes_in_per_second,
        bytes_out_per_second: order.bytes_out_per_second,
    };
    limits.check().map_err(|problem| ApiAnswer::problem(400, problem))?;
    Ok(limits)
}

/// All of them; `null` is not limited.
pub(super) fn present(limits: Option<&TrafficLimits>) -> Value {
    let limits = limits.copied().unwrap_or_default();
    json!({
        "requests_per_second": limits.requests_per_second,
        "burst_requests": limits.burst_requests,
        "concurrent_requests": limits.concurrent_requests,
        "bytes_in_per_second": limits.bytes_in_per_second,
        "bytes_out_per_second": limits.bytes_out_per_second,
    })
}

pub(super) fn answer(limits: Option<&TrafficLimits>) -> ApiAnswer {
    ApiAnswer::json(200, present(limits))
}

pub(super) fn show<P: Platform>(store: &Management<'_, P>, bucket: &str) -> Result<ApiAnswer> {
    let bucket = store.bucket(bucket)?;
    Ok(answer(store.services.settings.get(&bucket)?.as_deref()))
}

pub(super) async fn put<P: Platform>(
    store: &Management<'_, P>,
    bucket: &str,
    request: &ApiRequest,
) -> Result<ApiAnswer> {
    let limits = ordered(request)?;
    let bucket = store.bucket(bucket)?;
    settings::put(store.engine, &bucket, &limits).await?;
    Ok(answer(Some(&limits)))
}

pub(super) async fn remove<P: Platform>(
    store: &Management<'_, P>,
    bucket: &str,
) -> Result<ApiAnswer> {
    let bucket = store.bucket(bucket)?;
    settings::remove::<P, TrafficLimits>(store.engine, &bucket).await?;
    Ok(done())
}
