//! The console's own files, which are part of the binary, and the headers of all its answers.
//!
//! Invariants: a page runs nothing but the modules that are here, and no page of another origin may
//! embed one; a browser asks each time whether a file is still the same, so that an upgrade counts at
//! once.
//!
//! Not here: what the pages do (`s3api/console`).

use std::sync::LazyLock;

use http::{NoBody, Payload, RequestHead, Response};
use sha2::{Digest, Sha256};

/// What the console's pages may load and do. Trusted types: no text becomes markup but by the one
/// policy that reads S3's XML, and that gives out texts alone.
const CONTENT_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' blob: data:; connect-src 'self'; media-src 'self'; form-action 'self'; \
     frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; \
     trusted-types ringfort-xml";

struct File {
    name: &'static str,
    bytes: &'static [u8],
}

/// Declares [`FILES`] from the names of the files.
macro_rules! files {
    ($($name:literal,)*) => {
        const FILES: &[File] = &[$(File {
            name: $name,
            bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/console/", $name)),
        },)*];
    };
}

files! {
    "api.js",
    "app.js",
    "backups.js",
    "browser.js",
    "buckets.js",
    "credentials.js",
    "dashboard.js",
    "dom.js",
    "editors.js",
    "icon.svg",
    "index.html",
    "keys.js",
    "kms.js",
    "limits.js",
    "links.js",
    "metrics.js",
    "object.js",
    "rules.js",
    "s3.js",
    "settings.js",
    "style.css",
    "ui.js",
    "upload.js",
    "uploads.js",
    "xml.js",
}

/// In the order of [`FILES`].
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let tag = |file: &File| format!("\"{}\"", hex::encode(&Sha256::digest(file.bytes)[..16]));
    FILES.iter().map(tag).collect()
});

/// A file of the console; `name` is its path below `/console/`. None if there is none.
pub(super) fn file(name: &str, head: &RequestHead) -> Option<Response<NoBody>> {
    let name = if name.is_empty() { "index.html" } else { name };
    let (file, tag) = FILES.iter().zip(TAGS.iter()).find(|(file, _)| file.name == name)?;
    let known = head.header("if-none-match").unwrap_or_default();
    let is_known = known.split(|byte| *byte == b',').any(|one| one.trim_ascii() == tag.as_bytes());
    let mut answer = Response::new(if is_known { 304 } else { 200 });
    if !is_known {
        answer.header("Content-Type", type_of(name));
        answer.payload = Payload::Static(file.bytes);
    }
    harden(&mut answer);
    answer.replace_header("Cache-Control", "no-cache");
    answer.header("ETag", tag);
    answer.header("Content-Security-Policy", CONTENT_POLICY);
    Some(answer)
}

fn type_of(name: &str) -> &'static str {
    match name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

/// What every answer of the console's carries. Nothing is kept by the browser unless it is said anew.
pub(super) fn harden<B>(answer: &mut Response<B>) {
    for (name, value) in [
        ("Cache-Control", "no-store"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Referrer-Policy", "no-referrer"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "DENY"),
    ] {
        answer.replace_header(name, value);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_file_of_the_directory_is_served() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/console");
        let there: BTreeSet<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let served: BTreeSet<String> = FILES.iter().map(|file| file.name.to_owned()).collect();
        assert_eq!(there, served);
    }

    #[test]
    fn a_file_that_is_known_is_not_sent_again() {
        let head = |lines: &str| {
            let text = format!("GET /console/ HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
            RequestHead::parse(text.as_bytes()).unwrap()
        };
        let first = file("", &head("")).unwrap();
        assert_eq!((first.status(), first.payload.length() > 0), (200, true));
        let tag = String::from_utf8_lossy(first.get_header("etag").unwrap()).into_owned();
        let again = file("index.html", &head(&format!("If-None-Match: \"x\", {tag}\r\n"))).unwrap();
        assert_eq!((again.status(), again.payload.length()), (304, 0));
        assert!(file("index.htm", &head("")).is_none());
    }

    #[test]
    fn pages_hold_no_script_and_no_style_of_their_own() {
        let page = FILES.iter().find(|file| file.name == "index.html").unwrap();
        let page = std::str::from_utf8(page.bytes).unwrap();
        for forbidden in ["style=", "<style", "onclick", "onload", "http://", "https://"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert_eq!(
            page.matches("<script").count(),
            page.matches("<script type=\"module\" src=").count()
        );
    }
}
