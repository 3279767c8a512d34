//! Compares the bucket's listing with what GET has found for each key of a ledger: an object that can
//! be read is listed, one that cannot is not.
//!
//! **Invariant:** the walk ends: each page must begin behind the last one.

use crate::body::Body;
use crate::client::Connection;
use crate::content::Pattern;
use crate::request::{Head, RequestWriter};
use crate::worker::{Receiver, elements};

/// What listings are asked with.
pub(crate) struct Lister<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) writer: &'a mut RequestWriter,
    pub(crate) host: &'a str,
}

/// Calls `each` for every key under `prefix`, in order. The keys are plain: only `/` needs encoding.
pub(crate) async fn walk(
    lister: &mut Lister<'_>,
    pattern: &Pattern,
    bucket: &str,
    prefix: &str,
    mut each: impl FnMut(&str),
) -> Result<(), String> {
    let encode = |text: &str| text.replace('/', "%2F");
    let path = format!("/{bucket}");
    let (mut head, mut page, mut last) = (Vec::new(), Vec::new(), String::new());
    loop {
        let mut query = format!("list-type=2&max-keys=1000&prefix={}", encode(prefix));
        if !last.is_empty() {
            query.push_str("&start-after=");
            query.push_str(&encode(&last));
        }
        let request = Head { query: &query, ..Head::plain("GET", lister.host, &path) };
        lister.writer.write(&request, &mut head);
        let mut receiver = Receiver::collecting(pattern, &mut page);
        let exchange = lister.connection.exchange(&mut head, Body::None, false, &mut receiver);
        let result = exchange.await;
        let status = result.map_err(|failure| failure.to_string())?.status;
        let text = std::str::from_utf8(&page).map_err(|_| "not UTF-8".to_owned())?;
        if status != 200 {
            return Err(format!("status {status} {text}"));
        }
        let before = last.clone();
        for key in elements(text, "<Key>", "</Key>") {
            if key <= last.as_str() {
                return Err(format!("{key} does not belong behind {last}"));
            }
            key.clone_into(&mut last);
            each(key);
        }
        if elements(text, "<IsTruncated>", "</IsTruncated>").next() != Some("true") {
            return Ok(());
        }
        if last == before {
            return Err("a page without keys says that there are more".to_owned());
        }
    }
}

/// The longest prefix of all keys, given in order: that of the first and the last.
pub(crate) fn common_prefix<'a>(first: &'a str, last: &str) -> &'a str {
    let same = first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
    &first[..first.floor_char_boundary(same)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_prefix_ends_at_the_first_difference() {
        assert_eq!(common_prefix("load/001", "load/019"), "load/0");
        assert_eq!(common_prefix("a", "b"), "");
        assert_eq!(common_prefix("same", "same"), "same");
    }
}
