//! Who signs: access keys by flags, environment and files; secrets by environment and files only.
//!
//! Invariant: no error repeats what a file or a variable held.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use crate::client::Keys;
use crate::error::Error;
use crate::limits::SECRET_FILE_BYTES_MAX;

/// Looks a variable of the environment up.
pub type Variable<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What was said of one side's credentials.
#[derive(Debug, Default)]
pub struct Given<'a> {
    pub access_key: Option<&'a String>,
    pub secret_file: Option<&'a Path>,
    /// `root-credentials.json`.
    pub credentials_file: Option<&'a Path>,
}

/// Names of one side's variables and flags.
struct Names {
    access_key: &'static str,
    secret_key: &'static str,
    session_token: &'static str,
    flag: &'static str,
    secret_flag: &'static str,
    /// Another pair that serves.
    others: (&'static str, &'static str, Option<&'static str>),
}

const SOURCE: Names = Names {
    access_key: "RINGFORT_IMPORT_SOURCE_ACCESS_KEY",
    secret_key: "RINGFORT_IMPORT_SOURCE_SECRET_KEY",
    session_token: "RINGFORT_IMPORT_SOURCE_SESSION_TOKEN",
    flag: "--source-access-key",
    secret_flag: "--source-secret-file",
    others: ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", Some("AWS_SESSION_TOKEN")),
};

const TARGET: Names = Names {
    access_key: "RINGFORT_IMPORT_TARGET_ACCESS_KEY",
    secret_key: "RINGFORT_IMPORT_TARGET_SECRET_KEY",
    session_token: "RINGFORT_IMPORT_TARGET_SESSION_TOKEN",
    flag: "--target-access-key",
    secret_flag: "--target-secret-file",
    others: ("RINGFORT_ROOT_ACCESS_KEY", "RINGFORT_ROOT_SECRET_KEY", None),
};

/// # Errors
/// There are none, or half of a pair, or a file that cannot be used.
pub fn of_source(given: &Given<'_>, variable: Variable<'_>) -> Result<Keys, Error> {
    resolve(&SOURCE, given, variable, "or say --source-anonymous")
}

/// # Errors
/// As of the source.
pub fn of_target(given: &Given<'_>, variable: Variable<'_>) -> Result<Keys, Error> {
    if let Some(path) = given.credentials_file {
        return from_json(path);
    }
    resolve(&TARGET, given, variable, "or name a root-credentials.json by --credentials-file")
}

fn resolve(
    names: &Names,
    given: &Given<'_>,
    variable: Variable<'_>,
    remedy: &str,
) -> Result<Keys, Error> {
    let get = |name: &str| variable(name).filter(|text| !text.is_empty());
    let access_key = given.access_key.cloned().or_else(|| get(names.access_key));
    let secret_key = match given.secret_file {
        Some(path) => Some(read(path, names.secret_flag)?.trim().to_owned()),
        None => get(names.secret_key),
    };
    match (access_key, secret_key) {
        (Some(access_key), Some(secret_key)) => {
            return checked(Keys {
                access_key,
                secret_key,
                session_token: get(names.session_token),
            });
        }
        (Some(_), None) => {
            let text = format!(
                "{}: its secret is missing: set {} or name a file by {}",
                names.flag, names.secret_key, names.secret_flag
            );
            return Err(Error::refused(text));
        }
        (None, Some(_)) => {
            let text = format!("a secret without an access key: set {}", names.access_key);
            return Err(Error::refused(text));
        }
        (None, None) => {}
    }
    let (access, secret, token) = names.others;
    match (get(access), get(secret)) {
        (Some(access_key), Some(secret_key)) => {
            checked(Keys { access_key, secret_key, session_token: token.and_then(get) })
        }
        (None, None) => Err(Error::refused(format!(
            "no credentials: set {} and {}, or {access} and {secret}, {remedy}",
            names.access_key, names.secret_key
        ))),
        _ => Err(Error::refused(format!("{access} and {secret}: set both or neither"))),
    }
}

fn checked(keys: Keys) -> Result<Keys, Error> {
    let is_fit = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_fit(&keys.access_key) && is_fit(&keys.secret_key) {
        return Ok(keys);
    }
    Err(Error::refused("an access key and its secret are visible ASCII characters without blanks"))
}

fn read(path: &Path, place: &str) -> Result<String, Error> {
    let refused =
        |error: std::io::Error| Error::refused(format!("{place} {}: {error}", path.display()));
    let mut text = String::new();
    let file = File::open(path).map_err(refused)?;
    file.take(SECRET_FILE_BYTES_MAX).read_to_string(&mut text).map_err(refused)?;
    Ok(text)
}

fn from_json(path: &Path) -> Result<Keys, Error> {
    let place = "--credentials-file";
    let text = read(path, place)?;
    let wrong = |reason: &str| Error::refused(format!("{place} {}: {reason}", path.display()));
    // The parser's own message can quote a value.
    let value: Value = serde_json::from_str(&text).map_err(|_| wrong("it is no JSON"))?;
    let get = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    match (get("access_key"), get("secret_key")) {
        (Some(access_key), Some(secret_key)) => {
            checked(Keys { access_key, secret_key, session_token: None })
        }
        _ => Err(wrong("it lacks \"access_key\" or \"secret_key\"")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;

    fn variables<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn the_first_of_several_places_counts() {
        let none = Given::default();
        let aws = [
            ("AWS_ACCESS_KEY_ID", "aws"),
            ("AWS_SECRET_ACCESS_KEY", "s"),
            ("AWS_SESSION_TOKEN", "t"),
        ];
        let keys = of_source(&none, &variables(&aws)).unwrap();
        assert_eq!((keys.access_key.as_str(), keys.session_token.as_deref()), ("aws", Some("t")));
        let mut all = aws.to_vec();
        all.extend([(SOURCE.access_key, "own"), (SOURCE.secret_key, "s2")]);
        let keys = of_source(&none, &variables(&all)).unwrap();
        assert_eq!((keys.access_key.as_str(), keys.session_token), ("own", None));
        let dir = tempfile::tempdir().unwrap();
        let (secret, json) = (dir.path().join("secret"), dir.path().join("root-credentials.json"));
        fs::write(&secret, "s3\n").unwrap();
        fs::write(&json, r#"{"access_key":"root","secret_key":"s4","admin_api_key":"x"}"#).unwrap();
        let flag = "flag".to_owned();
        let given =
            Given { access_key: Some(&flag), secret_file: Some(&secret), ..Given::default() };
        let keys = of_source(&given, &variables(&all)).unwrap();
        assert_eq!((keys.access_key.as_str(), keys.secret_key.as_str()), ("flag", "s3"));
        let given = Given { credentials_file: Some(&json), ..Given::default() };
        assert_eq!(of_target(&given, &variables(&[])).unwrap().access_key, "root");
    }

    #[test]
    fn what_is_missing_is_named_and_nothing_is_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let json = dir.path().join("c.json");
        let flag = "flag".to_owned();
        let key_only = Given { access_key: Some(&flag), ..Given::default() };
        let file = Given { credentials_file: Some(&json), ..Given::default() };
        let check = |result: Result<Keys, Error>, word: &str| {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(word) && !message.contains("hidden"), "{message}");
        };
        check(of_source(&Given::default(), &|_| None), "--source-anonymous");
        check(of_target(&Given::default(), &|_| None), "--credentials-file");
        check(of_source(&key_only, &|_| None), SOURCE.secret_key);
        let secret_only = [(SOURCE.secret_key, "hidden")];
        check(of_source(&Given::default(), &variables(&secret_only)), SOURCE.access_key);
        let half = [("RINGFORT_ROOT_SECRET_KEY", "hidden")];
        check(of_target(&Given::default(), &variables(&half)), "both or neither");
        check(of_target(&file, &|_| None), "c.json");
        for text in [
            "hidden",
            "{\"access_key\":\"hidden\"}",
            "{\"access_key\":\"a\",\"secret_key\":\"hid den\"}",
        ] {
            fs::write(&json, text).unwrap();
            check(of_target(&file, &|_| None), "");
        }
    }
}
