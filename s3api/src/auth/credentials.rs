//! One core's copy of the access keys and their secrets.
//!
//! Invariants: a signing key never outlives its credential; the kept signing keys are bounded
//! per credential; neither secrets nor signing keys appear in `Debug` texts.
//!
//! Not here: where credentials are stored and how they reach a core, what a user may do.

use crate::auth::Secrets;
use crate::error::S3Error;
use crate::limits::{CREDENTIALS_KEPT_MAX, SIGNING_KEYS_PER_CREDENTIAL_MAX};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// The service in every credential scope that S3 takes.
pub const SERVICE: &str = "s3";
/// The last word of every credential scope.
pub const TERMINAL: &str = "aws4_request";

/// Access keys with their secrets, for the one region that this server is.
pub struct Credentials {
    region: String,
    users: RefCell<HashMap<Arc<str>, User>>,
}

struct User {
    secret: Box<[u8]>,
    /// It is known for good, and not looked up again.
    is_fixed: bool,
    /// Signing keys by day, the oldest first. Most requests carry today's date; presigned URLs
    /// may be seven days old.
    keys: Vec<([u8; 8], SigningKey)>,
}

/// The key that signs one day's requests of one credential, as an HMAC that has taken it in already.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl Credentials {
    pub fn new(region: impl Into<String>) -> Self {
        Self { region: region.into(), users: RefCell::default() }
    }

    pub fn region(&self) -> &str {
        &self.region
    }

    /// Adds a credential for good, or replaces its secret.
    pub fn insert(&self, access_key: &str, secret: &str) {
        self.keep(access_key, secret, true);
    }

    fn keep(&self, access_key: &str, secret: &str, is_fixed: bool) {
        let user = User { secret: secret.as_bytes().into(), is_fixed, keys: Vec::new() };
        self.users.borrow_mut().insert(access_key.into(), user);
    }

    /// Makes a credential what it is now: a signing key never outlives the secret or the active state
    /// that it was derived under.
    pub fn refresh(&self, access_key: &str, secrets: &dyn Secrets) -> Result<(), S3Error> {
        let is_fixed = |user: &User| user.is_fixed;
        if self.users.borrow().get(access_key).is_some_and(is_fixed) {
            return Ok(());
        }
        let Some(secret) = secrets.secret_of(access_key)? else {
            self.users.borrow_mut().remove(access_key);
            return Ok(());
        };
        let is_same = |user: &User| *user.secret == *secret.as_bytes();
        if self.users.borrow().get(access_key).is_some_and(is_same) {
            return Ok(());
        }
        if self.users.borrow().len() >= CREDENTIALS_KEPT_MAX {
            self.users.borrow_mut().retain(|_, user| user.is_fixed);
        }
        self.keep(access_key, &secret, false);
        Ok(())
    }

    /// Whether that is the secret of an access key that may be used now. It takes as long for an access
    /// key that there is not.
    pub fn is_secret(
        &self,
        access_key: &str,
        secret: &str,
        secrets: &dyn Secrets,
    ) -> Result<bool, S3Error> {
        self.refresh(access_key, secrets)?;
        let users = self.users.borrow();
        let known = users.get(access_key).map(|user| Sha256::digest(&user.secret));
        // Digests are of one length, so that the time tells nothing of the secret's.
        let is_equal = Sha256::digest(secret.as_bytes()).ct_eq(&known.unwrap_or_default());
        Ok(bool::from(is_equal) && known.is_some())
    }

    /// The key that signs requests of `date` (`YYYYMMDD`), with the access key as it is kept;
    /// none for an unknown access key.
    pub fn signing_key(&self, access_key: &str, date: &[u8; 8]) -> Option<(Arc<str>, SigningKey)> {
        let mut users = self.users.borrow_mut();
        let kept = users.get_key_value(access_key)?.0.clone();
        let user = users.get_mut(access_key)?;
        if let Some((_, key)) = user.keys.iter().find(|(day, _)| day == date) {
            return Some((kept, key.clone()));
        }
        let key = SigningKey::derive(&user.secret, date, &self.region);
        if user.keys.len() == SIGNING_KEYS_PER_CREDENTIAL_MAX {
            user.keys.remove(0);
        }
        user.keys.push((*date, key.clone()));
        Some((kept, key))
    }
}

impl SigningKey {
    fn derive(secret: &[u8], date: &[u8], region: &str) -> Self {
        let mut first = Vec::with_capacity(4 + secret.len());
        first.extend_from_slice(b"AWS4");
        first.extend_from_slice(secret);
        let mut key = sign(&first, date);
        for step in [region, SERVICE, TERMINAL] {
            key = sign(&key, step.as_bytes());
        }
        Self(keyed(&key))
    }

    /// An HMAC to feed with what is to be signed.
    pub fn mac(&self) -> Hmac<Sha256> {
        self.0.clone()
    }
}

/// HMAC-SHA256 takes keys of every length.
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
}

fn sign(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = keyed(key);
    mac.update(message);
    mac.finalize().into_bytes().into()
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("region", &self.region)
            .field("count", &self.users.borrow().len())
            .finish()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Tells one key from another.
    fn told(key: SigningKey) -> [u8; 32] {
        key.mac().finalize().into_bytes().into()
    }

    /// AWS's own example of a derived key has another service; this one follows from its published
    /// S3 signatures, which `sigv4` tests. Here: what is kept and for how long.
    #[test]
    fn signing_keys_are_kept_within_their_bound_and_die_with_the_credential() {
        let credentials = Credentials::new("us-east-1");
        assert!(credentials.signing_key("AK", b"20130524").is_none());
        credentials.insert("AK", "one");
        let of_that_day = || told(credentials.signing_key("AK", b"20130501").unwrap().1);
        let first = of_that_day();
        for day in 1..=28 {
            let date = format!("201305{day:02}");
            credentials.signing_key("AK", date.as_bytes().try_into().unwrap()).unwrap();
        }
        let kept = credentials.users.borrow().get("AK").unwrap().keys.len();
        assert_eq!(kept, SIGNING_KEYS_PER_CREDENTIAL_MAX);
        assert_eq!(of_that_day(), first);

        credentials.insert("AK", "two");
        assert_ne!(of_that_day(), first);
    }

    struct Changing(RefCell<Option<&'static str>>);

    impl Secrets for Changing {
        fn secret_of(&self, access_key: &str) -> Result<Option<String>, S3Error> {
            Ok(self.0.borrow().filter(|_| access_key == "AK").map(str::to_owned))
        }
    }

    #[test]
    fn a_credential_is_what_it_is_now() {
        let credentials = Credentials::new("us-east-1");
        credentials.insert("ROOT", "for good");
        let secrets = Changing(RefCell::new(Some("one")));
        let key = |access_key: &str| {
            credentials.refresh(access_key, &secrets).unwrap();
            credentials.signing_key(access_key, b"20130501").map(|(_, key)| told(key))
        };
        let first = key("AK").unwrap();
        assert_eq!(key("AK"), Some(first));
        let is_secret = |access_key, secret| credentials.is_secret(access_key, secret, &secrets);
        for (access_key, secret, expected) in [
            ("AK", "one", true),
            ("AK", "on", false),
            ("AK", "", false),
            ("ROOT", "for good", true),
            ("ROOT", "one", false),
            ("NOBODY", "one", false),
            ("NOBODY", "", false),
        ] {
            assert_eq!(is_secret(access_key, secret).unwrap(), expected, "{access_key} {secret}");
        }
        secrets.0.replace(Some("two"));
        assert_ne!(key("AK"), Some(first));
        secrets.0.replace(None);
        assert_eq!(key("AK"), None);
        assert!(key("ROOT").is_some());
        assert_eq!(key("OTHER"), None);
        assert_eq!(credentials.users.borrow().len(), 1);
    }

    #[test]
    fn secrets_do_not_show() {
        let credentials = Credentials::new("us-east-1");
        credentials.insert("AK", "hunter2");
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
