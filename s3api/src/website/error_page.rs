//! The page that a visitor of a website sees for an error that no document stands for.
//!
//! Invariant: nothing that came with the request is markup in it.

use crate::error::S3Error;
use std::fmt::Write as _;

/// The page, in HTML.
pub fn error_page(error: &S3Error, request_id: &str, host_id: &str) -> Vec<u8> {
    let status = error.code.status();
    let title = format!("{status} {}", http::reason_phrase(status));
    let mut page =
        format!("<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n<ul>\n");
    let own = error.fields.iter().map(|(name, value)| (*name, value.as_str()));
    let common = [("Code", error.code.name()), ("Message", &error.message)];
    let ids = [("RequestId", request_id), ("HostId", host_id)];
    for (name, value) in common.into_iter().chain(own).chain(ids) {
        // Writing to a string does not fail.
        let _ = write!(page, "<li>{name}: ");
        escape(&mut page, value);
        page.push_str("</li>\n");
    }
    page.push_str("</ul>\n<hr/>\n</body>\n</html>\n");
    page.into_bytes()
}

fn escape(page: &mut String, text: &str) {
    for character in text.chars() {
        match character {
            '&' => page.push_str("&amp;"),
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '"' => page.push_str("&quot;"),
            '\'' => page.push_str("&#39;"),
            control if control.is_control() => page.push(' '),
            other => page.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::error::Code;

    #[test]
    fn a_page_tells_the_error_and_holds_no_foreign_markup() {
        let error = S3Error::from(Code::NoSuchKey).field("Key", "<script>'a'&\n</script>");
        let page = String::from_utf8(error_page(&error, "REQ", "HOST")).unwrap();
        for line in [
            "<title>404 Not Found</title>",
            "<h1>404 Not Found</h1>",
            "<li>Code: NoSuchKey</li>",
            "<li>Key: &lt;script&gt;&#39;a&#39;&amp; &lt;/script&gt;</li>",
            "<li>RequestId: REQ</li>",
            "<li>HostId: HOST</li>",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
    }
}
