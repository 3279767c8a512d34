//! Whether an answer's body holds at least what an expected one shows.
//!
//! Documents list elements in their own order and leave some out; what clients parse are names, nesting
//! and text. So every element shown must be there, in the place shown, and others may be.
//!
//! Not here: headers and statuses (`walk`).

use s3api::xml::Element;
use serde_json::Value;

/// What was found in place of `{=name}`.
pub(super) type Captures = Vec<(String, String)>;

/// Compares bodies: XML and JSON by their shape, everything else byte for byte.
pub(super) fn compare(expected: &str, actual: &[u8], kept: &mut Captures) -> Result<(), String> {
    let text = String::from_utf8_lossy(actual);
    let (unwanted, wanted): (Vec<&str>, Vec<&str>) =
        expected.lines().partition(|line| line.starts_with('!') && line.len() > 1);
    if let Some(line) = unwanted.iter().find(|line| text.contains(&line[1..])) {
        return Err(format!("{} is there:\n{text}", &line[1..]));
    }
    let wanted = wanted.join("\n");
    let result = match wanted.trim() {
        "" => Ok(()),
        "(empty)" if actual.is_empty() => Ok(()),
        "(empty)" => Err("the body should be empty".to_owned()),
        "*" if !actual.is_empty() => Ok(()),
        document if document.starts_with('<') => xml(document, &text, kept),
        document if document.starts_with(['{', '[']) && !document.starts_with("{=") => {
            json(document, &text, kept)
        }
        _ => value("the body", &wanted, &text, kept),
    };
    result.map_err(|error| format!("{error}\n{text}"))
}

/// Compares two values by the rules of a script.
pub(super) fn value(
    what: &str,
    expected: &str,
    actual: &str,
    kept: &mut Captures,
) -> Result<(), String> {
    let name = expected.strip_prefix("{=").and_then(|rest| rest.strip_suffix('}'));
    if let Some(name) = name {
        kept.push((name.to_owned(), actual.to_owned()));
    }
    let part = expected.strip_prefix('~');
    let is_right = match (expected, part) {
        ("?", _) => true,
        _ if expected == "*" || name.is_some() => !actual.trim().is_empty(),
        (_, Some(part)) => actual.contains(part),
        _ => expected == actual,
    };
    if is_right { Ok(()) } else { Err(format!("{what} is {actual:?}, not {expected:?}")) }
}

fn xml(expected: &str, actual: &str, kept: &mut Captures) -> Result<(), String> {
    for namespace in expected.split("xmlns=").skip(1) {
        let namespace: String = namespace.chars().take_while(|c| *c != '>' && *c != ' ').collect();
        if !actual.contains(&format!("xmlns={namespace}")) {
            return Err(format!("the namespace {namespace} is missing"));
        }
    }
    let root = root_name(expected).ok_or("the expected document has no root")?;
    let parse = |text: &str| Element::parse(text.as_bytes(), &root);
    let expected = parse(expected).map_err(|_| "the expected document cannot be read")?;
    let actual = parse(actual).map_err(|_| format!("this is no document called {root}"))?;
    element(&root, &expected, &actual, kept)
}

fn root_name(document: &str) -> Option<String> {
    let mut rest = document.trim_start();
    if rest.starts_with("<?") {
        rest = rest.split_once("?>")?.1.trim_start();
    }
    let is_name = |c: &char| c.is_ascii_alphanumeric();
    Some(rest.strip_prefix('<')?.chars().take_while(is_name).collect())
}

fn element(
    path: &str,
    expected: &Element,
    actual: &Element,
    kept: &mut Captures,
) -> Result<(), String> {
    if expected.children().is_empty() {
        return value(path, expected.text().trim(), actual.text().trim(), kept);
    }
    // Each child shown takes one of those that are there.
    let mut free: Vec<&Element> = actual.children().iter().collect();
    for child in expected.children() {
        let path = format!("{path}/{}", child.name());
        let mut why = format!("{path} is missing");
        let found = free.iter().position(|candidate| {
            if candidate.name() != child.name() {
                return false;
            }
            let mut captures = Captures::new();
            match element(&path, child, candidate, &mut captures) {
                Ok(()) => {
                    kept.append(&mut captures);
                    true
                }
                Err(error) => {
                    why = error;
                    false
                }
            }
        });
        match found {
            Some(place) => {
                free.remove(place);
            }
            None => return Err(why),
        }
    }
    Ok(())
}

fn json(expected: &str, actual: &str, kept: &mut Captures) -> Result<(), String> {
    let expected = serde_json::from_str(expected).map_err(|error| format!("expected: {error}"))?;
    let actual = serde_json::from_str(actual).map_err(|error| format!("no JSON: {error}"))?;
    json_value("", &expected, &actual, kept)
}

fn json_value(
    path: &str,
    expected: &Value,
    actual: &Value,
    kept: &mut Captures,
) -> Result<(), String> {
    match (expected, actual) {
        (Value::Object(fields), Value::Object(found)) => {
            for (name, field) in fields {
                let path = format!("{path}/{name}");
                let found = found.get(name).ok_or_else(|| format!("{path} is missing"))?;
                json_value(&path, field, found, kept)?;
            }
            Ok(())
        }
        (Value::Array(items), Value::Array(found)) => {
            for item in items {
                let mut why = format!("{path} is empty");
                let is_there = found.iter().any(|found| {
                    let mut captures = Captures::new();
                    match json_value(path, item, found, &mut captures) {
                        Ok(()) => {
                            kept.append(&mut captures);
                            true
                        }
                        Err(error) => {
                            why = error;
                            false
                        }
                    }
                });
                if !is_there {
                    return Err(why);
                }
            }
            Ok(())
        }
        (Value::String(text), Value::String(found)) => value(path, text, found, kept),
        (Value::String(text), found) => value(path, text, &found.to_string(), kept),
        _ if expected == actual => Ok(()),
        _ => Err(format!("{path} is {actual}, not {expected}")),
    }
}
