//! The credentials that the operator starts with: from the environment, or made once and kept.
//!
//! The file is in every data directory, so that the loss of a drive does not lock the operator out.
//!
//! Invariants: a file that exists is never overwritten, whatever is in it; a new one appears whole,
//! on stable storage and readable by its owner alone, before its secrets are used; nothing is written
//! where a drive of the store is missing; no secret is shown by `Debug` or in an error.
//!
//! Not here: other credentials, and how requests are checked against them (`auth`).

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::limits::CREDENTIALS_FILE_BYTES_MAX;
use crate::serve::holds_store;
use crate::start_error::StartError;
use crate::sys;

pub const FILE_NAME: &str = "root-credentials.json";

const ACCESS_KEY: &str = "RINGFORT_ROOT_ACCESS_KEY";
const SECRET_KEY: &str = "RINGFORT_ROOT_SECRET_KEY";
const ADMIN_API_KEY: &str = "RINGFORT_ADMIN_API_KEY";
/// The secret of the root's MFA device, in base32.
pub const MFA_SECRET: &str = "RINGFORT_ROOT_MFA_SECRET";

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RootCredentials {
    pub access_key: String,
    pub secret_key: String,
    /// For `Authorization: Bearer` on the management port.
    pub admin_api_key: String,
}

impl fmt::Debug for RootCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootCredentials")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

/// Where the credentials in use came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Environment,
    /// Read from this file, at least in part.
    File(PathBuf),
    /// Made now and kept in this file.
    Created(PathBuf),
}

/// What one file or the environment has of them.
#[derive(Debug, Default)]
struct Given {
    pair: Option<(String, String)>,
    admin_api_key: Option<String>,
}

/// Takes the credentials from the environment and, for what is absent there, from the file in the first
/// of the data directories that has it. It is made if none does, and copied to those that lack it.
pub fn load(
    data_dirs: &[PathBuf],
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<(RootCredentials, Origin), StartError> {
    let given = from_environment(variable)?;
    if let (Some((access_key, secret_key)), Some(admin_api_key)) =
        (&given.pair, &given.admin_api_key)
    {
        let credentials = RootCredentials {
            access_key: access_key.clone(),
            secret_key: secret_key.clone(),
            admin_api_key: admin_api_key.clone(),
        };
        return Ok((credentials, Origin::Environment));
    }
    let homes = homes(data_dirs);
    let (kept, origin) = match read_first(&homes)? {
        Some((kept, path)) => (kept, Origin::File(path)),
        None => {
            homes.iter().try_for_each(|dir| refuse_foreign(dir))?;
            let first = homes.first().map_or(Path::new("."), PathBuf::as_path);
            create(&first.join(FILE_NAME))?
        }
    };
    copy_to_others(&homes, &kept);
    let (access_key, secret_key) = given.pair.unwrap_or((kept.access_key, kept.secret_key));
    let admin_api_key = given.admin_api_key.unwrap_or(kept.admin_api_key);
    Ok((RootCredentials { access_key, secret_key, admin_api_key }, origin))
}

/// Where the file belongs: in all directories of a new store, and in those of an existing one that are
/// there. The others are dead drives', or empty places where drives should be mounted.
fn homes(data_dirs: &[PathBuf]) -> Vec<PathBuf> {
    let present: Vec<PathBuf> = data_dirs.iter().filter(|dir| holds_store(dir)).cloned().collect();
    if present.is_empty() { data_dirs.to_vec() } else { present }
}

/// The first file that there is. One that cannot be read is passed over for another's sake, but never
/// taken for absent.
fn read_first(homes: &[PathBuf]) -> Result<Option<(RootCredentials, PathBuf)>, StartError> {
    let mut failure = None;
    for dir in homes {
        let path = dir.join(FILE_NAME);
        match read(&path) {
            Ok(Some(kept)) => return Ok(Some((kept, path))),
            Ok(None) => {}
            Err(error @ StartError::Io { .. }) => failure = failure.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    failure.map_or(Ok(None), Err)
}

/// Gives the file to the directories that lack it. Where that fails the start goes on: the credentials
/// are at hand.
fn copy_to_others(homes: &[PathBuf], kept: &RootCredentials) {
    for dir in homes {
        let path = dir.join(FILE_NAME);
        let result = match read(&path) {
            Ok(None) => keep(&path, kept),
            other => other.map(|other| {
                if other.as_ref() != Some(kept) {
                    tracing::warn!(
                        path = %path.display(),
                        "these root credentials differ from those in use; they would count if the \
                         drives before this one were offline: replace the file"
                    );
                }
            }),
        };
        if let Err(error) = result {
            tracing::warn!(%error, "the root credentials are not kept on every drive");
        }
    }
}

/// Writes new credentials, or a copy; one that appeared meanwhile stays.
fn keep(path: &Path, credentials: &RootCredentials) -> Result<(), StartError> {
    let text = serde_json::to_string_pretty(credentials)
        .map_err(|e| StartError::Credentials(format!("writing them as JSON: {e}")))?;
    write_new(path, text.as_bytes())
        .map_err(|e| StartError::io(format!("writing {}", path.display()), e))
}

/// Checks what the environment gives, if it gives any.
pub fn check_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<(), StartError> {
    from_environment(variable).map(drop)
}

fn from_environment(variable: &dyn Fn(&str) -> Option<String>) -> Result<Given, StartError> {
    let get = |name| variable(name).filter(|text| !text.is_empty());
    let pair = match (get(ACCESS_KEY), get(SECRET_KEY)) {
        (Some(access_key), Some(secret_key)) => Some((access_key, secret_key)),
        (None, None) => None,
        (Some(_), None) => return Err(alone(ACCESS_KEY, SECRET_KEY)),
        (None, Some(_)) => return Err(alone(SECRET_KEY, ACCESS_KEY)),
    };
    let admin_api_key = get(ADMIN_API_KEY);
    if let Some((access_key, secret_key)) = &pair {
        check_access_key(access_key).map_err(|reason| refused(ACCESS_KEY, reason))?;
        check_secret(secret_key).map_err(|reason| refused(SECRET_KEY, reason))?;
    }
    if let Some(key) = &admin_api_key {
        check_secret(key).map_err(|reason| refused(ADMIN_API_KEY, reason))?;
    }
    Ok(Given { pair, admin_api_key })
}

fn alone(present: &str, absent: &str) -> StartError {
    StartError::Credentials(format!("{present} is set and {absent} is not: set both or neither"))
}

fn refused(place: &str, reason: &str) -> StartError {
    StartError::Credentials(format!("{place} {reason}"))
}

/// It stands in `Credential=KEY/date/region/...`, which is read from its end, and in URLs. Other services'
/// keys hold a project, a colon and a mail address.
fn check_access_key(text: &str) -> Result<(), &'static str> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.:@+=/".contains(&b);
    if !(3..=128).contains(&text.len()) || !text.bytes().all(allowed) {
        return Err("must be 3 to 128 letters, digits and characters of -_.:@+=/");
    }
    Ok(())
}

pub(crate) fn check_secret(text: &str) -> Result<(), &'static str> {
    if !(8..=256).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("must be 8 to 256 visible ASCII characters");
    }
    Ok(())
}

fn read(path: &Path) -> Result<Option<RootCredentials>, StartError> {
    let context = || format!("reading {}", path.display());
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StartError::io(context(), e)),
    };
    let mut text = String::new();
    let mode = file.metadata().map_err(|e| StartError::io(context(), e))?.permissions().mode();
    file.take(CREDENTIALS_FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|e| StartError::io(context(), e))?;
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others may read the root credentials; chmod 600 it");
    }
    parse(path, &text).map(Some)
}

fn parse(path: &Path, text: &str) -> Result<RootCredentials, StartError> {
    let wrong = |reason: String| {
        StartError::Credentials(format!(
            "{}: {reason}; mend the file, or move it away to have new ones made",
            path.display()
        ))
    };
    // The parser's message can quote a value, so only the position is repeated.
    let credentials: RootCredentials = serde_json::from_str(text).map_err(|e| {
        wrong(format!("not the expected JSON (line {}, column {})", e.line(), e.column()))
    })?;
    for (name, result) in [
        ("access_key", check_access_key(&credentials.access_key)),
        ("secret_key", check_secret(&credentials.secret_key)),
        ("admin_api_key", check_secret(&credentials.admin_api_key)),
    ] {
        result.map_err(|reason| wrong(format!("{name} {reason}")))?;
    }
    Ok(credentials)
}

/// The store is opened after this, and refuses a directory of something else; nothing may have been
/// written there by then.
fn refuse_foreign(data_dir: &Path) -> Result<(), StartError> {
    let context = || format!("reading {}", data_dir.display());
    let entries = fs::read_dir(data_dir).map_err(|e| StartError::io(context(), e))?;
    for entry in entries {
        let name = entry.map_err(|e| StartError::io(context(), e))?.file_name();
        if !name.to_str().is_some_and(engine::store::may_be_ours) {
            let reason = format!("it holds {name:?}: it is not a Ringfort data directory");
            let path = data_dir.to_path_buf();
            return Err(engine::Error::Unusable { path, reason }.into());
        }
    }
    Ok(())
}

/// Makes and keeps new credentials. When another process was faster, its file counts.
fn create(path: &Path) -> Result<(RootCredentials, Origin), StartError> {
    let credentials = RootCredentials {
        access_key: format!("RF{}", random_text(18)?),
        secret_key: random_text(40)?,
        admin_api_key: random_text(40)?,
    };
    match keep(path, &credentials) {
        Ok(()) => Ok((credentials, Origin::Created(path.to_path_buf()))),
        Err(StartError::Io { source, context })
            if source.kind() == io::ErrorKind::AlreadyExists =>
        {
            let kept = read(path)?.ok_or(StartError::Io { context, source })?;
            Ok((kept, Origin::File(path.to_path_buf())))
        }
        Err(error) => Err(error),
    }
}

/// Writes a file that has no name, makes it durable, and only then gives it one, which must not be
/// taken: a link never replaces, as a rename would. A crash leaves the whole file or nothing.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file =
        OpenOptions::new().write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(dir)?;
    file.write_all(bytes)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    sys::link(&file, path)?;
    File::open(dir)?.sync_all()
}

/// Random letters and digits; 62 symbols carry 5.95 bits each.
pub(crate) fn random_text(characters: usize) -> Result<String, StartError> {
    const SYMBOLS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(characters);
    let mut bytes = [0; 64];
    while text.len() < characters {
        getrandom::fill(&mut bytes)
            .map_err(|e| StartError::Credentials(format!("no randomness: {e}")))?;
        // Bytes of 248 and more would favour the first symbols.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        let symbols = fair.map(|byte| char::from(SYMBOLS[usize::from(*byte) % SYMBOLS.len()]));
        text.extend(symbols.take(characters - text.len()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NONE: &dyn Fn(&str) -> Option<String> = &|_| None;

    fn variables<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
    }

    #[test]
    fn first_start_makes_a_private_file_and_later_starts_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let (made, origin) = load(&[dir.path().into()], NONE).unwrap();
        assert_eq!(origin, Origin::Created(path.clone()));
        assert_eq!(made.access_key.len(), 20);
        assert_eq!(made.secret_key.len(), 40);
        assert_ne!(made.secret_key, made.admin_api_key);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

        let (again, origin) = load(&[dir.path().into()], NONE).unwrap();
        assert_eq!(origin, Origin::File(path));
        assert_eq!(again, made);
    }

    #[test]
    fn every_drive_keeps_them_and_a_missing_one_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let dirs: Vec<PathBuf> = ["a", "b", "c"].map(|name| root.path().join(name)).to_vec();
        dirs.iter().for_each(|dir| fs::create_dir(dir).unwrap());
        let (made, _) = load(&dirs, NONE).unwrap();
        dirs.iter().for_each(|dir| fs::write(dir.join("superblock"), "").unwrap());
        fs::remove_dir_all(&dirs[0]).unwrap();
        fs::create_dir(&dirs[0]).unwrap();
        let (kept, origin) = load(&dirs, NONE).unwrap();
        assert_eq!((kept, origin), (made, Origin::File(dirs[1].join(FILE_NAME))));
        assert_eq!(fs::read_dir(&dirs[0]).unwrap().count(), 0);
    }

    #[test]
    fn a_file_in_the_way_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        for text in [
            "",
            "{",
            "{}",
            r#"{"access_key":"ab","secret_key":"12345678","admin_api_key":"12345678"}"#,
            r#"{"access_key":"abc","secret_key":"1234567","admin_api_key":"12345678"}"#,
            r#"{"access_key":"abc","secret_key":"12345678","admin_api_key":"12345678","x":1}"#,
        ] {
            fs::write(&path, text).unwrap();
            let message = load(&[dir.path().into()], NONE).unwrap_err().to_string();
            assert!(message.contains(FILE_NAME), "{text:?}: {message}");
            assert!(!message.contains("1234567"), "{text:?}: {message}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(load(&[dir.path().into()], NONE).is_err());
    }

    #[test]
    fn a_directory_of_something_else_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cat.jpg"), "").unwrap();
        let message = load(&[dir.path().into()], NONE).unwrap_err().to_string();
        assert!(message.contains("cat.jpg"), "{message}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_new_file_never_replaces_one_that_appeared_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE_NAME);
        let (first, _) = create(&path).unwrap();
        let (second, origin) = create(&path).unwrap();
        assert_eq!(second, first);
        assert_eq!(origin, Origin::File(path));
    }

    #[test]
    fn the_environment_goes_first_and_needs_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let all = [(ACCESS_KEY, "root"), (SECRET_KEY, "secret-1"), (ADMIN_API_KEY, "bearer-1")];
        let (credentials, origin) = load(&[dir.path().into()], &variables(&all)).unwrap();
        assert_eq!(origin, Origin::Environment);
        assert_eq!(credentials.secret_key, "secret-1");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);

        // What is absent from the environment is made and kept; the rest still comes from there.
        let (credentials, origin) = load(&[dir.path().into()], &variables(&all[..2])).unwrap();
        assert!(matches!(origin, Origin::Created(_)));
        assert_eq!(credentials.access_key, "root");
        let (again, _) = load(&[dir.path().into()], &variables(&all[..2])).unwrap();
        assert_eq!(again.admin_api_key, credentials.admin_api_key);
    }

    #[test]
    fn wrong_variables_are_named() {
        let dir = tempfile::tempdir().unwrap();
        for (pairs, expected) in [
            (&[(ACCESS_KEY, "root")][..], SECRET_KEY),
            (&[(SECRET_KEY, "secret-1")], ACCESS_KEY),
            (&[(ACCESS_KEY, "a,b"), (SECRET_KEY, "secret-1")], ACCESS_KEY),
            (&[(ACCESS_KEY, "root"), (SECRET_KEY, "short")], SECRET_KEY),
            (&[(ADMIN_API_KEY, "has a blank")], ADMIN_API_KEY),
        ] {
            let message = load(&[dir.path().into()], &variables(pairs)).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn secrets_do_not_show_in_debug() {
        let credentials = RootCredentials {
            access_key: "root".to_string(),
            secret_key: "hidden-1".to_string(),
            admin_api_key: "hidden-2".to_string(),
        };
        assert!(!format!("{credentials:?}").contains("hidden"));
    }
}
