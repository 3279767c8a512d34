//! Headers that ask for what is not implemented: refused, never ignored, since a client that asks
//! for a lock must not believe that it got it.

use super::header_text;
use crate::error::{Code, Result, S3Error};
use http::RequestHead;

/// Headers of these families mean a feature that is not there.
const PREFIXES: [&str; 1] = ["x-amz-grant-"];

/// Headers that mean a feature that is not there, whatever their value.
const HEADERS: [&str; 2] = ["x-amz-write-offset-bytes", "x-amz-rename-source"];

/// Checks the headers of an operation that makes an object or an upload.
pub(super) fn check_write(head: &RequestHead) -> Result<()> {
    for (name, _) in head.headers() {
        let name = name.to_ascii_lowercase();
        let unsupported = HEADERS.contains(&name.as_str())
            || PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if unsupported {
            return Err(S3Error::unsupported_header(&name));
        }
    }
    check_acl(head)?;
    match header_text(head, "x-amz-storage-class") {
        None | Some("STANDARD") => Ok(()),
        Some(other) => {
            Err(S3Error::from(Code::InvalidStorageClass).field("StorageClassRequested", other))
        }
    }
}

/// Checks the headers of CreateBucket.
pub(super) fn check_bucket(head: &RequestHead) -> Result<()> {
    check_acl(head)?;
    if head.headers().any(|(name, _)| has_prefix(name, "x-amz-grant-")) {
        return Err(S3Error::unsupported_header("x-amz-grant-*"));
    }
    match header_text(head, "x-amz-object-ownership") {
        None | Some("BucketOwnerEnforced") => Ok(()),
        Some(_) => Err(S3Error::unsupported_header("x-amz-object-ownership")),
    }
}

/// The canned ACLs that give nobody but the owner anything.
fn check_acl(head: &RequestHead) -> Result<()> {
    match header_text(head, "x-amz-acl") {
        None | Some("private" | "bucket-owner-full-control" | "bucket-owner-read") => Ok(()),
        Some(_) => Err(S3Error::unsupported_header("x-amz-acl")),
    }
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_header_that_is_no_text_is_not_taken_as_absent() {
        let head = RequestHead::parse(
            b"PUT /b/k HTTP/1.1\r\nHost: a\r\nx-amz-acl: \xff\r\nIf-Match: \xff\r\n\r\n",
        )
        .unwrap();
        assert_eq!(check_write(&head).err().map(|error| error.code), Some(Code::NotImplemented));
        assert!(header_text(&head, "if-match").is_some());
        assert!(header_text(&head, "if-none-match").is_none());
    }
}
