//! Targets of events, put together from the fields that each tell a part of them: `NAME=VALUE`.

use super::Layers;
use crate::limits::NOTIFY_TARGETS_MAX;
use crate::start_error::StartError;
use crate::workers::notify::target::{TargetConfig, TargetKind, is_name};

/// The list of a Redis target that has none of its own.
const DEFAULT_LIST: &str = "ringfort-events";

pub(super) fn resolve(layers: &Layers) -> Result<Vec<TargetConfig>, StartError> {
    let mut authorizations = layers.list("notify-webhook-auth", pair)?;
    let mut lists = layers.list("notify-redis-list", pair)?;
    let take = |name: &str, from: &mut Vec<(String, String)>| {
        let at = from.iter().position(|(of, _)| of == name)?;
        Some(from.remove(at).1)
    };
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
        if let Some((name, _)) = rest.first() {
            return Err(layers.refuse(field, format!("there is no target {name:?} of this kind")));
        }
    }
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
