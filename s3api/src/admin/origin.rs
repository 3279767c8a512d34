//! `/api/v1/buckets/NAME/origin`: what a bucket is to the caches in front of it.
//!
//! `GET origin` shows it, `PUT origin` sets the whole of it, `DELETE origin` takes it away. A secret is never
//! shown: only in which header it is awaited, and how many are good. A PUT that names the header and gives no
//! `secrets` leaves those that there are.
//!
//! Not here: what it means (`crate::origin`).

use engine::platform::Platform;
use serde::Deserialize;
use serde_json::json;

use super::api::{ApiAnswer, ApiRequest};
use super::management::Management;
use super::present::done;
use crate::origin::{self, DEFAULT_KEY_METADATA, KeyHeader, Origin, Secret};
use crate::settings::{self, BucketSetting};

type Result<T, E = ApiAnswer> = std::result::Result<T, E>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    cache_control: Option<String>,
    #[serde(default)]
    key_headers: Vec<String>,
    key_metadata: Option<String>,
    secret_header: Option<String>,
    secrets: Option<Vec<String>>,
}

pub(super) fn show<P: Platform>(store: &Management<'_, P>, bucket: &str) -> Result<ApiAnswer> {
    let bucket = store.bucket(bucket)?;
    let origin = store.services.settings.get::<Origin>(&bucket)?;
    Ok(answer(origin.as_deref()))
}

fn answer(origin: Option<&Origin>) -> ApiAnswer {
    let secret = origin.and_then(|origin| origin.secret.as_ref());
    let headers = origin.map(|origin| origin.key_headers.as_slice()).unwrap_or_default();
    let shown = json!({
        "cache_control": origin.and_then(|origin| origin.cache_control.as_ref()),
        "key_headers": headers.iter().map(|header| header.name()).collect::<Vec<_>>(),
        "key_metadata": origin.map_or(DEFAULT_KEY_METADATA, |origin| &origin.key_metadata),
        "secret_header": secret.map(|secret| &secret.header),
        "secret_count": secret.map_or(0, |secret| secret.digests.len()),
    });
    ApiAnswer::json(200, shown)
}

pub(super) async fn put<P: Platform>(
    store: &Management<'_, P>,
    bucket: &str,
    request: &ApiRequest,
) -> Result<ApiAnswer> {
    let order: Order = request.document()?;
    let bucket = store.bucket(bucket)?;
    let before = store.services.settings.get::<Origin>(&bucket)?;
    let origin = understand(&order, before.as_deref().and_then(|before| before.secret.as_ref()))?;
    // It was made of the secrets that there were.
    settings::put_judged(store.engine, &bucket, &origin, &[Origin::TAG]).await?;
    Ok(answer(Some(&origin)))
}

/// `kept`: the secrets that there are.
fn understand(order: &Order, kept: Option<&Secret>) -> Result<Origin> {
    if let Some(value) = &order.cache_control {
        origin::check_cache_control(value).map_err(|reason| refused("cache_control", &reason))?;
    }
    let mut key_headers = Vec::new();
    for (at, name) in order.key_headers.iter().enumerate() {
        let place = format!("key_headers[{at}]");
        let header = KeyHeader::of_name(name)
            .ok_or_else(|| refused(&place, "it must be Surrogate-Key or Cache-Tag"))?;
        if key_headers.contains(&header) {
            return Err(refused(&place, "it is there twice"));
        }
        key_headers.push(header);
    }
    let key_metadata = order.key_metadata.as_deref().unwrap_or(DEFAULT_KEY_METADATA);
    origin::check_key_metadata(key_metadata).map_err(|reason| refused("key_metadata", &reason))?;
    let secret = secret(order, kept)?;
    if order.cache_control.is_none() && key_headers.is_empty() && secret.is_none() {
        let detail =
            "cache_control, key_headers, secret_header: give one of them, or DELETE the origin";
        return Err(ApiAnswer::problem(400, detail));
    }
    Ok(Origin {
        cache_control: order.cache_control.clone(),
        key_headers,
        key_metadata: key_metadata.to_ascii_lowercase(),
        secret,
    })
}

fn secret(order: &Order, kept: Option<&Secret>) -> Result<Option<Secret>> {
    let Some(header) = &order.secret_header else {
        return match &order.secrets {
            None => Ok(None),
            Some(_) => Err(refused("secret_header", "secrets need the header that carries them")),
        };
    };
    origin::check_secret_header(header).map_err(|reason| refused("secret_header", &reason))?;
    match (&order.secrets, kept) {
        (Some(secrets), _) => {
            origin::check_secrets(secrets).map_err(|reason| refused("secrets", &reason))?;
            Ok(Some(Secret::new(header, secrets)))
        }
        (None, Some(kept)) => {
            Ok(Some(Secret { header: header.to_ascii_lowercase(), digests: kept.digests.clone() }))
        }
        (None, None) => Err(refused("secrets", "there is none yet: give one, or two")),
    }
}

fn refused(field: &str, reason: &str) -> ApiAnswer {
    ApiAnswer::problem(400, format!("{field}: {reason}"))
}

pub(super) async fn remove<P: Platform>(
    store: &Management<'_, P>,
    bucket: &str,
) -> Result<ApiAnswer> {
    let bucket = store.bucket(bucket)?;
    settings::remove::<P, Origin>(store.engine, &bucket).await?;
    Ok(done())
}
