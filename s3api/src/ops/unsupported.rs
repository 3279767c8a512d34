//! Headers that ask for what is not implemented: refused, never ignored, since a client that asks
//! for a lock must not believe that it got it.

use super::header_text;
use crate::encryption::headers::{CUSTOMER_ALGORITHM, CUSTOMER_KEY, CUSTOMER_KEY_MD5, PREFIX};
use crate::error::{Code, Result, S3Error};
use http::RequestHead;

/// Headers that mean a feature that is not there, whatever their value.
const HEADERS: [&str; 2] = ["x-amz-write-offset-bytes", "x-amz-rename-source"];

/// Checks the headers of an operation that makes an object or an upload.
pub(super) fn check_write(head: &RequestHead) -> Result<()> {
    refuse(head, &HEADERS, &[], &[])?;
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
    const PREFIXES: [&str; 3] = ["x-amz-grant-", "x-amz-object-lock-", PREFIX];
    refuse(head, &REFUSED, &PREFIXES, &[])?;
    check_storage_class(head)
}

/// Checks the headers of a rename: what is kept with the object stays as it is, so nothing may ask for more. The
/// key by which a customer's object is encrypted must come along.
pub(super) fn check_rename(head: &RequestHead) -> Result<()> {
    const REFUSED: [&str; 4] =
        ["x-amz-acl", "x-amz-tagging", "x-amz-website-redirect-location", "x-amz-copy-source"];
    const PREFIXES: [&str; 4] = ["x-amz-grant-", "x-amz-object-lock-", "x-amz-meta-", PREFIX];
    const TAKEN: [&str; 3] = [CUSTOMER_ALGORITHM, CUSTOMER_KEY, CUSTOMER_KEY_MD5];
    refuse(head, &REFUSED, &PREFIXES, &TAKEN)?;
    check_storage_class(head)
}

/// Refuses headers of these names, and of these prefixes but for the names in `taken`.
fn refuse(head: &RequestHead, names: &[&str], prefixes: &[&str], taken: &[&str]) -> Result<()> {
    let is_refused = |name: &str| {
        let is = |other: &&str| other.eq_ignore_ascii_case(name);
        let has = |prefix: &&str| {
            name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        };
        names.iter().any(is) || (prefixes.iter().any(has) && !taken.iter().any(is))
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

    #[test]
    fn a_rename_takes_of_encryption_a_customers_key_alone() {
        let check = |rest: &str, is_taken: bool| {
            let name = format!("X-Amz-Server-Side-Encryption{rest}");
            let text = format!("PUT /b/k?renameObject HTTP/1.1\r\nHost: a\r\n{name}: x\r\n\r\n");
            let head = RequestHead::parse(text.as_bytes()).unwrap();
            let code = check_rename(&head).err().map(|error| error.code);
            assert_eq!(code, (!is_taken).then_some(Code::NotImplemented), "{name}");
        };
        for rest in ["-customer-algorithm", "-customer-key", "-Customer-Key-MD5"] {
            check(rest, true);
        }
        for rest in
            ["", "-aws-kms-key-id", "-context", "-bucket-key-enabled", "-customer-", "-later"]
        {
            check(rest, false);
        }
    }
}
