//! A 256-bit key in memory, and one key wrapped by another.
//!
//! ```text
//! wrapped key, 80 bytes:
//! salt: [u8; 32]      random
//! sealed: [u8; 48]    AES-256-GCM of the key under HKDF-SHA256(salt, wrapping key), nonce zero
//! ```
//!
//! A fresh random salt for each wrapping gives each a cipher key of its own, so that the fixed nonce
//! is never used twice and one wrapping key may wrap any number of keys.
//!
//! Invariants: the bytes of a key are wiped when it is dropped, and `Debug` shows none of them. A
//! wrapped key opens with the wrapping key and the binding that it was made with, and with nothing
//! else.
//!
//! Not here: where keys come from (`master`, `kms`, `headers`), what they encrypt (`blocks`).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use zeroize::Zeroizing;

pub const KEY_BYTES: usize = 32;
pub const TAG_BYTES: usize = 16;
pub const WRAPPED_BYTES: usize = WRAP_SALT_BYTES + KEY_BYTES + TAG_BYTES;

const WRAP_SALT_BYTES: usize = 32;
const WRAP_LABEL: &[u8] = b"ringfort key wrap 1";

/// A key of AES-256, wiped when it is dropped.
#[derive(Clone)]
pub struct SecretKey(Box<Zeroizing<[u8; KEY_BYTES]>>);

/// What a wrapped key looks like on disk.
pub type Wrapped = [u8; WRAPPED_BYTES];

/// The system gave no random bytes, or a cipher refused its input: neither happens to a sound
/// program on a sound host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CryptoFailed;

/// The key is another one, or the bytes were changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

impl SecretKey {
    pub fn random() -> Result<Self, CryptoFailed> {
        let mut key = Self(Box::new(Zeroizing::new([0; KEY_BYTES])));
        getrandom::fill(key.0.as_mut_slice()).map_err(|_| CryptoFailed)?;
        Ok(key)
    }

    /// None if the bytes are not as many as a key has.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut key = Self(Box::new(Zeroizing::new([0; KEY_BYTES])));
        if bytes.len() != KEY_BYTES {
            return None;
        }
        key.0.copy_from_slice(bytes);
        Some(key)
    }

    pub fn bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    /// A cipher under a key that is derived from this one.
    pub(super) fn derive(&self, salt: &[u8], label: &[&[u8]]) -> Result<LessSafeKey, CryptoFailed> {
        let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(self.bytes());
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        derived
            .expand(label, hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(key.as_mut_slice()))
            .map_err(|_| CryptoFailed)?;
        let key = UnboundKey::new(&AES_256_GCM, key.as_slice()).map_err(|_| CryptoFailed)?;
        Ok(LessSafeKey::new(key))
    }

    /// Encrypts `key` under this one. It opens only with the same `binding`, which is not secret.
    pub fn wrap(&self, key: &Self, binding: &[u8]) -> Result<Wrapped, CryptoFailed> {
        let mut wrapped = [0; WRAPPED_BYTES];
        let (salt, sealed) = wrapped.split_at_mut(WRAP_SALT_BYTES);
        getrandom::fill(salt).map_err(|_| CryptoFailed)?;
        let (text, tag) = sealed.split_at_mut(KEY_BYTES);
        text.copy_from_slice(key.bytes());
        let cipher = self.derive(salt, &[WRAP_LABEL])?;
        let computed = cipher
            .seal_in_place_separate_tag(zero_nonce(), Aad::from(binding), text)
            .map_err(|_| CryptoFailed)?;
        tag.copy_from_slice(computed.as_ref());
        Ok(wrapped)
    }

    /// The key that [`Self::wrap`] encrypted.
    pub fn unwrap(&self, wrapped: &Wrapped, binding: &[u8]) -> Result<Self, Refused> {
        let (salt, sealed) = wrapped.split_at(WRAP_SALT_BYTES);
        let (text, tag) = sealed.split_at(KEY_BYTES);
        let cipher = self.derive(salt, &[WRAP_LABEL]).map_err(|_| Refused)?;
        let mut key = Self(Box::new(Zeroizing::new([0; KEY_BYTES])));
        let aad = Aad::from(binding);
        cipher
            .open_separate_gather(zero_nonce(), aad, text, tag, key.0.as_mut_slice())
            .map_err(|_| Refused)?;
        Ok(key)
    }
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_wrapped_key_opens_with_its_key_and_binding_alone() {
        let (wrapping, other) = (SecretKey::random().unwrap(), SecretKey::random().unwrap());
        let key = SecretKey::random().unwrap();
        let wrapped = wrapping.wrap(&key, b"here").unwrap();
        assert_eq!(wrapping.unwrap(&wrapped, b"here").unwrap().bytes(), key.bytes());
        assert_eq!(wrapping.unwrap(&wrapped, b"there").err(), Some(Refused));
        assert_eq!(other.unwrap(&wrapped, b"here").err(), Some(Refused));
        for at in 0..WRAPPED_BYTES {
            let mut changed = wrapped;
            changed[at] ^= 1;
            assert_eq!(wrapping.unwrap(&changed, b"here").err(), Some(Refused), "byte {at}");
        }
        assert_ne!(wrapped, wrapping.wrap(&key, b"here").unwrap());
    }

    /// These bytes are on disks: HKDF-SHA256 (RFC 5869) and AES-256-GCM as drawn above, computed by
    /// an independent implementation.
    #[test]
    fn the_wrapping_is_as_drawn() {
        let wrapping = SecretKey::from_bytes(&[1; 32]).unwrap();
        let mut wrapped = [0; WRAPPED_BYTES];
        wrapped[..32].copy_from_slice(&[2; 32]);
        hex::decode_to_slice(
            "920e12ad7d347687abe51327743f5d1c16a5cf21b896d7e58f5d1dcc28b6b9ea787ca2a3356ce6390266d31135d7e3f0", &mut wrapped[32..]).unwrap();
        assert_eq!(wrapping.unwrap(&wrapped, b"binding").unwrap().bytes(), [3; 32]);
    }

    #[test]
    fn debug_shows_nothing() {
        let key = SecretKey::from_bytes(&[0xab; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "SecretKey(..)");
        assert!(SecretKey::from_bytes(&[0; 31]).is_none());
    }
}
