//! `/api/v1/openapi.json`: the management API as an OpenAPI 3.1 document.
//!
//! Written by hand in `openapi.json` beside this file. An end-to-end test holds it against the running
//! server by generated requests, and a test here against the table of resources.

use super::api::ApiAnswer;

const DOCUMENT: &str = include_str!("openapi.json");

pub(super) fn show() -> ApiAnswer {
    ApiAnswer::json_text(200, DOCUMENT.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    /// What the table in `api.rs` says of each resource: its path with a star for what varies, and the
    /// methods that are named for all others.
    fn resources_of_the_table() -> BTreeSet<(String, String)> {
        let table = include_str!("api.rs");
        let mut found = BTreeSet::new();
        let mut prefix = "";
        for line in table.lines() {
            match line.split("async fn ").nth(1).and_then(|rest| rest.split('<').next()) {
                Some("of_server") => prefix = "",
                Some("of_credentials") => prefix = "/credentials",
                Some("of_buckets") => prefix = "/buckets",
                Some("of_kms") => prefix = "/kms",
                _ => {}
            }
            let Some((pattern, methods)) = line.split_once("not_allowed(\"") else { continue };
            let Some((_, pattern)) = pattern.split_once("([") else { continue };
            let Some((items, _)) = pattern.split_once(']') else { continue };
            let path: String = items
                .split(", ")
                .filter(|item| !item.is_empty())
                .map(|item| match item.trim_matches('"') {
                    "_" | ".." => "/*".to_owned(),
                    name => format!("/{name}"),
                })
                .collect();
            let methods = methods.split('"').next().unwrap();
            found.insert((format!("{prefix}{path}"), methods.to_owned()));
        }
        found
    }

    #[test]
    fn the_document_has_the_resources_and_methods_of_the_table_and_no_others() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            let path: Vec<&str> = path
                .split('/')
                .map(|item| if item.starts_with('{') { "*" } else { item })
                .collect();
            let methods: Vec<&str> = ["get", "post", "put", "patch", "delete"]
                .into_iter()
                .filter(|method| item.get(method).is_some())
                .collect();
            described.insert((path.join("/"), methods.join(", ").to_uppercase()));
        }
        assert_eq!(resources_of_the_table(), described);
    }
}
