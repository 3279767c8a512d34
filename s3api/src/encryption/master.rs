//! The master keys: what wraps the data keys of SSE-S3 and the keys of the key ring.
//!
//! They come from a file (`--sse-key-file`) or the environment (`RINGFORT_SSE_MASTER_KEY`), one key a
//! line, or separated by commas:
//!
//! ```text
//! [ID:]KEY        KEY: 32 bytes as base64 or as 64 hex digits
//! ```
//!
//! The first is the current one, that new keys are wrapped with; the others open what was wrapped
//! with them. A key without an id has one that is derived from it, so that the same key has the same
//! id everywhere.
//!
//! Invariants: ids are unique; no part of a key is in an error or in `Debug`. A file among the data is
//! refused unless the operator says that it may lie there: who gets the drives would have the key.
//!
//! Not here: what is wrapped (`envelope`, `kms`).

use super::secret::{KEY_BYTES, Refused, SecretKey, Wrapped};
use crate::limits::{MASTER_KEYS_MAX, SSE_KEY_FILE_BYTES_MAX};
use crate::start_error::StartError;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The environment's name for the keys themselves.
pub const KEY_VARIABLE: &str = "RINGFORT_SSE_MASTER_KEY";
/// What to say where encryption is asked for and there is no key.
pub const NOT_CONFIGURED: &str = "This server has no master key for server-side encryption. Its \
    operator can set one with --sse-key-file or RINGFORT_SSE_MASTER_KEY.";

const ID_BYTES_MAX: usize = 64;
/// Of the digest that an id is made of.
const DERIVED_ID_BYTES: usize = 8;

#[derive(Debug)]
struct MasterKey {
    id: String,
    key: SecretKey,
}

/// All master keys of this server; none, where encryption by the server is not configured.
#[derive(Debug, Default)]
pub struct MasterKeys {
    /// The current one first.
    keys: Vec<MasterKey>,
}

/// No master key has the id that something was wrapped with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingMaster(pub String);

/// Where the keys come from and what is known of them, to be told at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    None,
    Environment,
    File(PathBuf),
}

impl MasterKeys {
    /// Takes the keys from where the configuration says. Blocks: for the start.
    pub fn load(
        file: Option<&Path>,
        data_dirs: &[PathBuf],
        may_lie_beside_data: bool,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(Self, Origin), StartError> {
        let text = variable(KEY_VARIABLE).filter(|text| !text.is_empty()).map(Zeroizing::new);
        match (text, file) {
            (None, None) => Ok((Self::default(), Origin::None)),
            (Some(_), Some(_)) => Err(StartError::MasterKey(format!(
                "{KEY_VARIABLE} and --sse-key-file are both given: use one of them"
            ))),
            (Some(text), None) => {
                let keys = Self::parse(&text.replace(',', "\n"))
                    .map_err(|reason| StartError::MasterKey(format!("{KEY_VARIABLE}: {reason}")))?;
                Ok((keys, Origin::Environment))
            }
            (None, Some(path)) => {
                if !may_lie_beside_data {
                    check_place(path, data_dirs)?;
                }
                let text = read(path)?;
                let keys = Self::parse(&text).map_err(|reason| {
                    StartError::MasterKey(format!("{}: {reason}", path.display()))
                })?;
                Ok((keys, Origin::File(path.to_owned())))
            }
        }
    }

    /// Reads keys, one a line; empty lines and those that begin with `#` do not count.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut keys: Vec<MasterKey> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let key = parse_key(line).map_err(|reason| format!("line {}: {reason}", index + 1))?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(format!("line {}: the id {} is there twice", index + 1, key.id));
            }
            if keys.len() == MASTER_KEYS_MAX {
                return Err(format!("there are more than {MASTER_KEYS_MAX} keys"));
            }
            keys.push(key);
        }
        if keys.is_empty() { Err("there is no key".to_owned()) } else { Ok(Self { keys }) }
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The ids, the current one first.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// The key that new keys are wrapped with.
    pub fn current(&self) -> Option<(&str, &SecretKey)> {
        self.keys.first().map(|master| (master.id.as_str(), &master.key))
    }

    /// Opens what the key with that id wrapped.
    pub fn unwrap(
        &self,
        id: &str,
        wrapped: &Wrapped,
        binding: &[u8],
    ) -> Result<SecretKey, UnwrapFailed> {
        let master = self.keys.iter().find(|master| master.id == id);
        let master = master.ok_or_else(|| MissingMaster(id.to_owned()))?;
        Ok(master.key.unwrap(wrapped, binding)?)
    }
}

/// Why a wrapped key was not opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnwrapFailed {
    Missing(MissingMaster),
    Refused,
}

impl From<MissingMaster> for UnwrapFailed {
    fn from(missing: MissingMaster) -> Self {
        Self::Missing(missing)
    }
}

impl From<Refused> for UnwrapFailed {
    fn from(_: Refused) -> Self {
        Self::Refused
    }
}

fn parse_key(line: &str) -> Result<MasterKey, String> {
    let (id, text) = match line.split_once(':') {
        Some((id, text)) => (Some(id.trim()), text.trim()),
        None => (None, line),
    };
    let mut bytes = Zeroizing::new([0; KEY_BYTES + 3]);
    let length = match text.len() {
        64 => hex::decode_to_slice(text, &mut bytes[..KEY_BYTES]).map(|()| KEY_BYTES).ok(),
        _ => BASE64_STANDARD.decode_slice(text, bytes.as_mut_slice()).ok(),
    };
    let key = length.and_then(|length| SecretKey::from_bytes(bytes.get(..length)?));
    let key = key.ok_or("a key is 32 bytes, as base64 or as 64 hex digits")?;
    let id = match id {
        Some(id) if is_id(id) => id.to_owned(),
        Some(_) => {
            return Err(format!("an id is 1 to {ID_BYTES_MAX} of A-Z, a-z, 0-9, '.', '_', '-'"));
        }
        None => derived_id(&key),
    };
    Ok(MasterKey { id, key })
}

fn is_id(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// Tells which key it is, and of a random key nothing else.
fn derived_id(key: &SecretKey) -> String {
    let digest = Sha256::new().chain_update(b"ringfort master key id").chain_update(key.bytes());
    hex::encode(&digest.finalize()[..DERIVED_ID_BYTES])
}

/// A line of a key file: a new key with its id.
pub fn new_line() -> Result<(String, Zeroizing<String>), StartError> {
    let key = SecretKey::random()
        .map_err(|_| StartError::MasterKey("the system gave no random bytes".to_owned()))?;
    let id = derived_id(&key);
    let text = Zeroizing::new(BASE64_STANDARD.encode(key.bytes()));
    let line = Zeroizing::new(format!("{id}:{}\n", *text));
    Ok((id, line))
}

/// Reads a key file, and warns where others than its owner can.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<String>, StartError> {
    let context = || format!("reading the key file {}", path.display());
    let failed = |error| StartError::io(context(), error);
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others than its owner may use the key file");
    }
    let mut text = Zeroizing::new(String::with_capacity(SSE_KEY_FILE_BYTES_MAX as usize + 1));
    file.take(SSE_KEY_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > SSE_KEY_FILE_BYTES_MAX {
        let reason = format!("{}: the file is longer than a key file is", path.display());
        return Err(StartError::MasterKey(reason));
    }
    Ok(text)
}

fn check_place(path: &Path, data_dirs: &[PathBuf]) -> Result<(), StartError> {
    let resolve = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let file = resolve(path);
    match data_dirs.iter().find(|dir| file.starts_with(resolve(dir))) {
        None => Ok(()),
        Some(dir) => Err(StartError::MasterKey(format!(
            "the key file {} lies in the data directory {}, so that who gets the one gets the other: \
             move it, or call it sse-keys there and say --sse-key-beside-data",
            path.display(),
            dir.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    fn ids(text: &str) -> Result<Vec<String>, String> {
        Ok(MasterKeys::parse(text)?.ids().map(str::to_owned).collect())
    }

    #[test]
    fn keys_are_read_in_both_forms_and_the_first_is_current() {
        let derived = ids(HEX).unwrap();
        assert_eq!(ids(BASE64).unwrap(), derived);
        assert_eq!(derived[0].len(), 2 * DERIVED_ID_BYTES);
        let text = format!("# keys\n\n new : {BASE64} \nold:{HEX}\n");
        assert_eq!(ids(&text).unwrap(), ["new", "old"]);
        assert_eq!(MasterKeys::parse(&text).unwrap().current().unwrap().0, "new");
    }

    #[test]
    fn what_is_no_key_is_refused_without_showing_it() {
        let short = &BASE64[4..];
        for text in [
            String::new(),
            "# none".to_owned(),
            short.to_owned(),
            format!("{HEX}00"),
            format!("a b:{HEX}"),
            format!(":{HEX}"),
            format!("a:{HEX}\na:{BASE64}"),
            "password".to_owned(),
        ] {
            let reason = ids(&text).unwrap_err();
            assert!(!reason.contains("AwQF") && !reason.contains("0102"), "{reason}");
            assert!(!reason.contains("password"), "{reason}");
        }
    }

    #[test]
    fn an_older_key_opens_what_it_wrapped_and_a_missing_one_is_named() {
        let old = MasterKeys::parse(&format!("old:{HEX}")).unwrap();
        let (id, key) = old.current().unwrap();
        let data_key = SecretKey::random().unwrap();
        let wrapped = key.wrap(&data_key, b"x").unwrap();
        let (new_id, line) = new_line().unwrap();
        let both = MasterKeys::parse(&format!("{}old:{HEX}", *line)).unwrap();
        assert_eq!(both.current().unwrap().0, new_id);
        assert_eq!(both.unwrap(id, &wrapped, b"x").unwrap().bytes(), data_key.bytes());
        assert_eq!(both.unwrap(id, &wrapped, b"y").err(), Some(UnwrapFailed::Refused));
        let new = MasterKeys::parse(&line).unwrap();
        let missing = UnwrapFailed::Missing(MissingMaster("old".to_owned()));
        assert_eq!(new.unwrap(id, &wrapped, b"x").err(), Some(missing));
    }

    #[test]
    fn a_key_among_the_data_needs_consent() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let (inside, outside) = (data.join("keys"), dir.path().join("keys"));
        for path in [&inside, &outside] {
            std::fs::write(path, HEX).unwrap();
        }
        let load = |path: &Path, consent, variable: Option<&str>| {
            let variable = |_: &str| variable.map(str::to_owned);
            MasterKeys::load(Some(path), std::slice::from_ref(&data), consent, &variable)
        };
        assert!(load(&inside, false, None).is_err());
        assert!(load(&dir.path().join("data/../data/keys"), false, None).is_err());
        assert!(load(&inside, true, None).is_ok());
        let (keys, origin) = load(&outside, false, None).unwrap();
        assert_eq!((keys.ids().count(), origin), (1, Origin::File(outside.clone())));
        assert!(load(&outside, false, Some(HEX)).is_err());
        let (keys, origin) =
            MasterKeys::load(None, &[], false, &|_| Some(format!("a:{HEX},{BASE64}"))).unwrap();
        assert_eq!((keys.ids().count(), origin), (2, Origin::Environment));
        let (keys, origin) = MasterKeys::load(None, &[], false, &|_| None).unwrap();
        assert_eq!((keys.is_empty(), origin), (true, Origin::None));
    }
}
