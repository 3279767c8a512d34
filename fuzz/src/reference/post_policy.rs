//! The policy of a form, by AWS's page on "Creating a POST Policy": which of a form's fields it allows.

use serde_json::Value;

/// How long the file may be, at least and at most; none if the policy is none or does not allow the form.
pub fn check(
    text: &str,
    fields: &[(String, String)],
    bucket: &str,
    now: i64,
) -> Option<(u64, u64)> {
    let document: Value = serde_json::from_str(text).ok()?;
    let document = document.as_object()?;
    let mut expiration = None;
    let mut conditions = None;
    for (name, value) in document {
        match name.to_ascii_lowercase().as_str() {
            "expiration" => {
                // Whatever else the name was written like has to be sound as well.
                let time = s3_time(value.as_str()?)?;
                expiration = Some(time);
            }
            "conditions" => {
                let list = value.as_array()?;
                conditions = Some(list.iter().map(condition).collect::<Option<Vec<_>>>()?);
            }
            _ => return None,
        }
    }
    if now >= expiration? {
        return None;
    }
    let value_of = |field: &str| -> Option<&str> {
        if field == "bucket" {
            return Some(bucket);
        }
        Some(&fields.iter().find(|(name, _)| name == field)?.1)
    };
    let (mut least, mut most) = (0, u64::MAX);
    let conditions = conditions?;
    for condition in &conditions {
        let holds = match condition {
            Condition::Equals(field, value) => value_of(field) == Some(value),
            Condition::StartsWith(field, prefix) if field == "content-type" => {
                let types = value_of(field).map(|text| text.split(',').map(str::trim_start));
                types.is_some_and(|mut types| types.all(|each| each.starts_with(prefix.as_str())))
            }
            Condition::StartsWith(field, prefix) => {
                value_of(field).is_some_and(|value| value.starts_with(prefix.as_str()))
            }
            Condition::Length(from, to) => {
                least = least.max(*from);
                most = most.min(*to);
                true
            }
        };
        if !holds {
            return None;
        }
    }
    let is_named = |name: &str| {
        let exempt =
            ["policy", "x-amz-signature", "file"].contains(&name) || name.starts_with("x-ignore-");
        exempt
            || conditions.iter().any(|condition| match condition {
                Condition::Equals(field, _) | Condition::StartsWith(field, _) => field == name,
                Condition::Length(..) => false,
            })
    };
    fields.iter().all(|(name, _)| is_named(name)).then_some((least, most))
}

enum Condition {
    Equals(String, String),
    StartsWith(String, String),
    Length(u64, u64),
}

fn condition(value: &Value) -> Option<Condition> {
    if let Some(map) = value.as_object() {
        let (name, value) = map.iter().next().filter(|_| map.len() == 1)?;
        return Some(Condition::Equals(name.to_ascii_lowercase(), value.as_str()?.to_owned()));
    }
    let list = value.as_array().filter(|list| list.len() == 3)?;
    let operation = list[0].as_str()?.to_ascii_lowercase();
    if operation == "content-length-range" {
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        return Some(Condition::Length(number(&list[1])?, number(&list[2])?));
    }
    let field = list[1].as_str()?.strip_prefix('$')?.to_ascii_lowercase();
    let value = list[2].as_str()?.to_owned();
    match operation.as_str() {
        "eq" => Some(Condition::Equals(field, value)),
        "starts-with" => Some(Condition::StartsWith(field, value)),
        _ => None,
    }
}

/// `2030-01-01T00:00:00.000Z` and what else ISO 8601 allows, as seconds since the Unix epoch.
fn s3_time(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_second)
}
