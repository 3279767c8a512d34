//! What a browser says of a request: its cookies, and which page it comes from.
//!
//! Invariant: nothing here lets a request in; it only keeps out what another origin's page has sent.
//! SameSite does not tell the ports of one host apart, and the S3 port serves whatever users stored.
//!
//! Source: W3C, "Fetch Metadata Request Headers"; RFC 6454 (Origin); RFC 6265 (cookies).

use http::RequestHead;

/// With TLS the name says that no other host or plain page may have set it.
pub(super) fn cookie_name(is_secure: bool) -> &'static str {
    if is_secure { "__Host-ringfort-session" } else { "ringfort-session" }
}

/// The values of all cookies of that name.
pub(super) fn cookies<'a>(head: &'a RequestHead, name: &'a str) -> impl Iterator<Item = &'a str> {
    head.header_values("cookie")
        .filter_map(|value| std::str::from_utf8(value).ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(move |(found, _)| *found == name)
        .map(|(_, value)| value)
}

/// Whether a request that changes nothing may have been sent by a page of the console, or by the user.
pub(super) fn is_own_read(head: &RequestHead) -> bool {
    match head.header("sec-fetch-site") {
        Some(site) => matches!(site, b"same-origin" | b"none"),
        None => is_own_origin(head),
    }
}

/// Whether a request that changes something may have been sent by a page of the console, or by
/// something that is no browser.
pub(super) fn is_own_change(head: &RequestHead) -> bool {
    is_own_origin(head) && head.header("sec-fetch-site").is_none_or(|site| site == b"same-origin")
}

/// What is embedded in pages other than as an image or a sound is none of ours.
pub(super) fn is_harmless_destination(head: &RequestHead) -> bool {
    head.header("sec-fetch-dest").is_none_or(|destination| {
        matches!(destination, b"empty" | b"document" | b"image" | b"audio" | b"video")
    })
}

/// Browsers that know nothing of `Sec-Fetch-Site` send `Origin`, at least with changes. The scheme is
/// not compared: a proxy may have ended TLS.
fn is_own_origin(head: &RequestHead) -> bool {
    let Some(origin) = head.header("origin") else { return true };
    let authority = std::str::from_utf8(origin).ok().and_then(|text| text.split_once("://"));
    match (authority, head.host()) {
        (Some((_, authority)), Some(host)) => authority.eq_ignore_ascii_case(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn head(lines: &str) -> RequestHead {
        let text = format!("GET / HTTP/1.1\r\nHost: h:1\r\n{lines}\r\n");
        RequestHead::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn pages_of_other_origins_are_kept_out() {
        for (lines, read, change) in [
            ("", true, true),
            ("Origin: http://h:1\r\n", true, true),
            ("Origin: https://H:1\r\n", true, true),
            ("Origin: http://h:2\r\n", false, false),
            ("Origin: null\r\n", false, false),
            ("Sec-Fetch-Site: same-origin\r\nOrigin: http://h:1\r\n", true, true),
            ("Sec-Fetch-Site: none\r\n", true, false),
            ("Sec-Fetch-Site: same-site\r\n", false, false),
            ("Sec-Fetch-Site: cross-site\r\n", false, false),
            ("Sec-Fetch-Site: same-origin\r\nOrigin: http://evil\r\n", true, false),
        ] {
            let head = head(lines);
            assert_eq!((is_own_read(&head), is_own_change(&head)), (read, change), "{lines}");
        }
        assert!(is_harmless_destination(&head("Sec-Fetch-Dest: image\r\n")));
        for destination in ["script", "style", "worker", "iframe", "object", "new"] {
            let head = head(&format!("Sec-Fetch-Dest: {destination}\r\n"));
            assert!(!is_harmless_destination(&head), "{destination}");
        }
    }

    #[test]
    fn cookies_are_found_among_others() {
        let head = head("Cookie: a=1; s=x\r\nCookie: s=y;b=2; s\r\n");
        assert_eq!(cookies(&head, "s").collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!(cookies(&head, "c").count(), 0);
    }
}
