//! Writes an XML document into memory.
//!
//! Invariants: every element opened through [`Writer::element`] is closed, and text is escaped so
//! that the document parses whatever the text holds: characters that XML 1.0 cannot carry at all
//! (most control characters) are written as numeric references, as S3 does; a parser that insists
//! on XML 1.0 needs `encoding-type=url`, which S3 has for that.
//!
//! Not here: pretty printing, attributes whose values a client gives.

use std::fmt::{Display, Write as _};

/// The namespace of S3's documents.
const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// A document under construction.
#[derive(Debug)]
pub struct Writer {
    text: String,
}

impl Writer {
    /// A whole document whose root carries S3's namespace.
    pub fn document(root: &str, content: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut writer = Self::new();
        let _ = write!(writer.text, "<{root} xmlns=\"{NAMESPACE}\">");
        content(&mut writer);
        writer.close(root);
        writer.text.into_bytes()
    }

    /// A whole document without a namespace, as error answers are.
    pub fn plain_document(root: &str, content: impl FnOnce(&mut Self)) -> Vec<u8> {
        let mut writer = Self::new();
        writer.element(root, content);
        writer.text.into_bytes()
    }

    /// A whole document whose root holds text and carries S3's namespace.
    pub fn text_document(root: &str, value: &str) -> Vec<u8> {
        Self::document(root, |writer| writer.escape(value))
    }

    fn new() -> Self {
        Self { text: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n") }
    }

    /// An element with elements in it.
    pub fn element(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        let _ = write!(self.text, "<{name}>");
        content(self);
        self.close(name);
    }

    /// [`Self::element`] with attributes, whose values are our own.
    pub fn element_with(
        &mut self,
        name: &str,
        attributes: &[(&str, &str)],
        content: impl FnOnce(&mut Self),
    ) {
        let _ = write!(self.text, "<{name}");
        for (attribute, value) in attributes {
            let _ = write!(self.text, " {attribute}=\"{value}\"");
        }
        self.text.push('>');
        content(self);
        self.close(name);
    }

    /// An element with text in it.
    pub fn text(&mut self, name: &str, value: &str) {
        let _ = write!(self.text, "<{name}>");
        self.escape(value);
        self.close(name);
    }

    /// As [`Self::text`], of what is written out here and nowhere before.
    pub fn display(&mut self, name: &str, value: impl Display) {
        let _ = write!(self.text, "<{name}>");
        let _ = write!(Escaping(self), "{value}");
        self.close(name);
    }

    /// An element that holds a number or another value whose text form needs no escaping.
    pub fn value(&mut self, name: &str, value: impl Display) {
        let _ = write!(self.text, "<{name}>{value}</{name}>");
    }

    /// [`Self::text`], if there is a text.
    pub fn optional(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    fn close(&mut self, name: &str) {
        let _ = write!(self.text, "</{name}>");
    }

    fn escape(&mut self, value: &str) {
        for character in value.chars() {
            match character {
                '&' => self.text.push_str("&amp;"),
                '<' => self.text.push_str("&lt;"),
                '>' => self.text.push_str("&gt;"),
                '"' => self.text.push_str("&quot;"),
                // A reader normalises line ends and may fold white space; a reference survives.
                '\u{0}'..='\u{1f}' | '\u{7f}' | '\u{fffe}' | '\u{ffff}' => {
                    let _ = write!(self.text, "&#x{:x};", u32::from(character));
                }
                other => self.text.push(other),
            }
        }
    }
}

/// Takes text and writes it escaped.
struct Escaping<'a>(&'a mut Writer);

impl std::fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.escape(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn check(text: &str, expected: &str) {
        let document = Writer::plain_document("R", |writer| writer.text("T", text));
        let document = String::from_utf8(document).unwrap();
        let body = document.split_once('\n').unwrap().1;
        assert_eq!(body, format!("<R><T>{expected}</T></R>"), "text: {text:?}");
    }

    #[test]
    fn text_is_escaped() {
        check("plain", "plain");
        check("a&b<c>\"d\"", "a&amp;b&lt;c&gt;&quot;d&quot;");
        check("it's", "it's");
        check("\r\n\t\u{1}", "&#xd;&#xa;&#x9;&#x1;");
        check("süß", "süß");
    }

    #[test]
    fn the_root_carries_the_namespace() {
        let document = Writer::document("ListBucketResult", |writer| writer.value("MaxKeys", 7));
        assert_eq!(
            String::from_utf8(document).unwrap(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<ListBucketResult \
             xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><MaxKeys>7</MaxKeys>\
             </ListBucketResult>"
        );
    }
}
