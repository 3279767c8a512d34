//! Which bucket names and keys are allowed.
//!
//! The rules are those of AWS ("General purpose bucket naming rules", "Naming Amazon S3 objects").
//! Names that SDKs give a meaning of their own (access point aliases, directory buckets) are refused
//! with the reserved ones, since such a bucket could not be reached.
//!
//! Not here: whether a bucket or key exists.

use crate::error::{Code, Result, S3Error};
use crate::limits::KEY_BYTES_MAX;
use std::net::Ipv4Addr;

const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
const RESERVED_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];

/// Checks the name of a bucket that is to be created.
pub fn check_bucket_name(name: &str) -> Result<()> {
    if is_bucket_name(name) {
        Ok(())
    } else {
        Err(S3Error::from(Code::InvalidBucketName).field("BucketName", name))
    }
}

fn is_bucket_name(name: &str) -> bool {
    let label = |label: &str| {
        let edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        edge(label.as_bytes().first()) && edge(label.as_bytes().last())
    };
    (3..=63).contains(&name.len())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
        && name.split('.').all(label)
        && name.parse::<Ipv4Addr>().is_err()
        && !RESERVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        && !RESERVED_SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// Checks the key of an object that is to be written, read or deleted.
pub fn check_key(key: &str) -> Result<()> {
    if key.is_empty() {
        return Err(S3Error::new(Code::InvalidArgument, "An object key cannot be empty."));
    }
    if key.len() > KEY_BYTES_MAX {
        return Err(S3Error::from(Code::KeyTooLongError)
            .field("Size", key.len().to_string())
            .field("MaxSizeAllowed", KEY_BYTES_MAX.to_string()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, allowed: bool) {
        assert_eq!(check_bucket_name(name).is_ok(), allowed, "bucket: {name:?}");
    }

    #[test]
    fn bucket_names() {
        for name in ["abc", "a-b", "my.bucket.1", "0ab", "a--b", "1.2.3", &"a".repeat(63)] {
            check(name, true);
        }
        for name in ["", "ab", "Abc", "a_b", "-ab", "ab-", ".ab", "ab.", "a..b", "a.-b", "a-.b"] {
            check(name, false);
        }
        for name in ["192.168.5.4", "xn--abc", "sthree-x", "abc-s3alias", "abc--x-s3", "süß"] {
            check(name, false);
        }
        check(&"a".repeat(64), false);
        check("a b", false);
        check("a/b", false);
    }

    #[test]
    fn keys_hold_one_to_1024_bytes() {
        let code = |key: &str| check_key(key).err().map(|error| error.code);
        assert_eq!(code("a"), None);
        assert_eq!(code(&"k".repeat(1024)), None);
        assert_eq!(code(""), Some(Code::InvalidArgument));
        assert_eq!(code(&"k".repeat(1025)), Some(Code::KeyTooLongError));
        assert_eq!(code(&"ü".repeat(513)), Some(Code::KeyTooLongError));
    }
}
