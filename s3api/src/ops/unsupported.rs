//! Headers that ask for what is not implemented: refused, never ignored, since a client that asks
//! for a lock must not believe that it got it.

use super::header_text;
use crate::error::{Code, Result, S3Error};
use http::RequestHead;

/// Headers that mean a feature that is not there, whatever their value.
const HEADERS: [&str; 2] = ["x-amz-write-offset-bytes", "x-amz-rename-source"];

/// Checks the headers of an operation that makes an object or an upload.
pub(super) fn check_write(head: &RequestHead) -> Result<()> {
    refuse(head, &HEADERS, &[])?;
    check_storage_class(head)
}

fn check_storage_class(head: &RequestHead) -> Result<()> {
    match header_text(head, "x-amz-storage-class") {
        None | Some("STANDARD") => Ok(()),
        Some(other) => {
            Err(S3Error::from(Code::InvalidStorageClass).field("StorageClassRequested", other))
        }
    }
}

/// Checks the headers of an append: what is kept with the object stays as it is.
pub(super) fn check_append(head: &RequestHead) -> Result<()> {
    const REFUSED: [&str; 2] = ["x-amz-acl", "x-amz-website-redirect-location"];
    const PREFIXES: [&str; 3] =
        ["x-amz-grant-", "x-amz-object-lock-", "x-amz-server-side-encryption"];
    refuse(head, &REFUSED, &PREFIXES)?;
    check_storage_class(head)
}

/// Checks the headers of a rename: what is kept with the object stays as it is, so nothing may ask for more.
pub(super) fn check_rename(head: &RequestHead) -> Result<()> {
    const REFUSED: [&str; 5] = [
        "x-amz-acl",
        "x-amz-tagging",
        "x-amz-website-redirect-location",
        "x-amz-copy-source",
        "x-amz-server-side-encryption",
    ];
    const PREFIXES: [&str; 3] = ["x-amz-grant-", "x-amz-object-lock-", "x-amz-meta-"];
    refuse(head, &REFUSED, &PREFIXES)?;
    check_storage_class(head)
}

fn refuse(head: &RequestHead, names: &[&str], prefixes: &[&str]) -> Result<()> {
    let is_refused = |name: &str| {
        let has = |prefix: &&str| {
            name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        names.iter().any(|refused| refused.eq_ignore_ascii_case(name)) || prefixes.iter().any(has)
    };
    match head.headers().find(|(name, _)| is_refused(name)) {
        Some((name, _)) => Err(S3Error::unsupported_header(&name.to_ascii_lowercase())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_header_that_is_no_text_is_not_taken_as_absent() {
        let head = RequestHead::parse(
            b"PUT /b/k HTTP/1.1\r\nHost: a\r\nx-amz-storage-class: \xff\r\nIf-Match: \xff\r\n\r\n",
        )
        .unwrap();
        assert_eq!(
            check_write(&head).err().map(|error| error.code),
            Some(Code::InvalidStorageClass)
        );
        assert!(header_text(&head, "if-match").is_some());
        assert!(header_text(&head, "if-none-match").is_none());
    }
}
