//! Targets of events, put together from the fields that each tell a part of them: `NAME=VALUE`.

use super::Layers;
use crate::limits::NOTIFY_TARGETS_MAX;
use crate::start_error::StartError;
use crate::workers::notify::purge::{Purge, Service};
use crate::workers::notify::target::{TargetConfig, TargetKind, is_name};

/// The list of a Redis target that has none of its own.
const DEFAULT_LIST: &str = "ringfort-events";

pub(super) fn resolve(layers: &Layers) -> Result<Vec<TargetConfig>, StartError> {
    let mut authorizations = layers.list("notify-webhook-auth", credential)?;
    let mut lists = layers.list("notify-redis-list", pair)?;
    let mut targets = Vec::new();
    for (name, url) in layers.list("notify-webhook", |text| url(text, &["http", "https"]))? {
        let authorization = take(&name, &mut authorizations);
        targets.push(TargetConfig { name, kind: TargetKind::Webhook { url, authorization } });
    }
    for (name, url) in layers.list("notify-redis", |text| url(text, &["redis"]))? {
        let list = take(&name, &mut lists).unwrap_or_else(|| DEFAULT_LIST.to_owned());
        targets.push(TargetConfig { name, kind: TargetKind::Redis { url, list } });
    }
    for (field, rest) in [("notify-webhook-auth", &authorizations), ("notify-redis-list", &lists)] {
        check_used(layers, field, rest)?;
    }
    targets.extend(caches(layers)?);
    let mut names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    names.sort_unstable();
    if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        let reason = format!("two targets are called {:?}", twice[0]);
        return Err(layers.refuse("notify-webhook", reason));
    }
    if targets.len() > NOTIFY_TARGETS_MAX {
        let reason = format!("there are more than {NOTIFY_TARGETS_MAX} targets");
        return Err(layers.refuse("notify-webhook", reason));
    }
    Ok(targets)
}

/// Caches that are purged.
fn caches(layers: &Layers) -> Result<Vec<TargetConfig>, StartError> {
    let mut services = layers.list("notify-purge-service", |text| {
        let (name, service) = pair(text)?;
        Ok((name, Service::of_name(&service)?))
    })?;
    let mut methods = layers.list("notify-purge-method", method)?;
    let mut public_urls =
        layers.list("notify-purge-public-url", |text| url(text, &["http", "https"]))?;
    let mut authorizations = layers.list("notify-purge-auth", credential)?;
    let mut targets = Vec::new();
    for (name, url) in layers.list("notify-purge", |text| url(text, &["http", "https"]))? {
        let service = take(&name, &mut services).unwrap_or(Service::Http);
        let method = take(&name, &mut methods);
        let public_url = take(&name, &mut public_urls);
        let needs = |field, service| {
            Err(layers.refuse(field, format!("{name:?} is not of the service {service}")))
        };
        if method.is_some() && service != Service::Http {
            return needs("notify-purge-method", "http");
        }
        if public_url.is_some() && service != Service::Cloudflare {
            return needs("notify-purge-public-url", "cloudflare");
        }
        let authorization = take(&name, &mut authorizations);
        let method = method.unwrap_or_else(|| "PURGE".to_owned());
        let purge = Purge { service, url, method, public_url, authorization };
        purge
            .check()
            .map_err(|reason| layers.refuse("notify-purge", format!("{name:?}: {reason}")))?;
        targets.push(TargetConfig { name, kind: TargetKind::Purge(purge) });
    }
    check_used(layers, "notify-purge-service", &services)?;
    check_used(layers, "notify-purge-method", &methods)?;
    check_used(layers, "notify-purge-public-url", &public_urls)?;
    check_used(layers, "notify-purge-auth", &authorizations)?;
    Ok(targets)
}

/// What is said of a target, taken from among what is said of all.
fn take<T>(name: &str, from: &mut Vec<(String, T)>) -> Option<T> {
    let at = from.iter().position(|(of, _)| of == name)?;
    Some(from.remove(at).1)
}

fn check_used<T>(
    layers: &Layers,
    field: &'static str,
    rest: &[(String, T)],
) -> Result<(), StartError> {
    match rest.first() {
        None => Ok(()),
        Some((name, _)) => {
            Err(layers.refuse(field, format!("there is no target {name:?} of this kind")))
        }
    }
}

fn method(text: &str) -> Result<(String, String), String> {
    let (name, method) = pair(text)?;
    if method.len() > 32 || !method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("the method of {name:?} must be up to 32 capital letters"));
    }
    Ok((name, method))
}

/// What can be the value of a header (RFC 9110 section 5.5), so that it is not found out by the first event.
fn credential(text: &str) -> Result<(String, String), String> {
    let (name, value) = pair(text)?;
    if value.trim() != value || !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err(format!(
            "the credential of {name:?} can be in no header: visible ASCII characters are wanted, and spaces \
             between them only"
        ));
    }
    Ok((name, value))
}

/// Nothing of a value is told in a complaint: it may be secret.
fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("a name and a value are wanted: NAME=VALUE")?;
    if !is_name(name) {
        return Err(format!(
            "{name:?} is not a target's name: up to 64 letters, digits, dashes and underscores"
        ));
    }
    if value.is_empty() || value.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(format!("the value of {name:?} is empty or holds control characters"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn url(text: &str, schemes: &[&str]) -> Result<(String, String), String> {
    let (name, url) = pair(text)?;
    let is_one = |scheme: &&str| {
        let rest = url.strip_prefix(*scheme).and_then(|rest| rest.strip_prefix("://"));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
    };
    if !schemes.iter().any(is_one) {
        return Err(format!("the URL of {name:?} must begin with {}://", schemes.join(":// or ")));
    }
    Ok((name, url))
}
