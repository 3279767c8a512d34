//! Answers in XML, read into a tree; and text made fit for the documents that are sent.
//!
//! Invariants: depth is bounded here and size by the caller; no entity but the predefined ones. The order
//! of elements is kept: among versions it says which is newer.

use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

use crate::limits::XML_DEPTH_MAX;

/// An element: its name without prefix, its text, its children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    pub name: String,
    pub text: String,
    pub children: Vec<Element>,
}

impl Element {
    /// The root of a document; none if it is not well-formed.
    pub fn parse(document: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(document).ok()?;
        let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
        reader.config_mut().expand_empty_elements = true;
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) if open.len() <= XML_DEPTH_MAX => {
                    let name = start.local_name().into_inner().to_owned();
                    open.push(Self { name, ..Self::default() });
                }
                Event::Start(_) | Event::DocType(_) => return None,
                Event::End(_) => {
                    let done = open.pop()?;
                    open.last_mut()?.children.push(done);
                }
                Event::Text(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
                Event::CData(text) => open.last_mut()?.text.push_str(&text.xml10_content()),
                Event::GeneralRef(name) => open.last_mut()?.text.push(character(&name)?),
                Event::Eof => break,
                _ => {}
            }
        }
        let mut outermost = (open.len() == 1).then(|| open.pop())??;
        (outermost.children.len() == 1).then(|| outermost.children.pop())?
    }

    pub fn child(&self, name: &str) -> Option<&Self> {
        self.all(name).next()
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of a child, empty if there is none.
    pub fn text_of(&self, name: &str) -> &str {
        self.child(name).map_or("", |child| &child.text)
    }
}

fn character(name: &BytesRef<'_>) -> Option<char> {
    if name.is_char_ref() {
        return name.resolve_char_ref().ok()?;
    }
    Some(match &**name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

/// Text as it stands between tags.
pub fn escaped(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn documents_become_trees_in_order() {
        let document =
            b"<?xml version=\"1.0\"?>\n<s:A xmlns:s=\"x\"><B>1 &amp; &#x32;</B><C/><B>3</B></s:A>";
        let root = Element::parse(document).unwrap();
        assert_eq!(root.name, "A");
        assert_eq!(root.text_of("B"), "1 & 2");
        let names: Vec<_> = root.children.iter().map(|child| child.name.as_str()).collect();
        assert_eq!(names, ["B", "C", "B"]);
        assert_eq!((root.text_of("C"), root.text_of("D")), ("", ""));
    }

    #[test]
    fn what_is_no_document_is_none() {
        let deep = "<a>".repeat(40);
        for text in
            ["", "hello", "<a>", "<a></b>", "<a>&x;</a>", "<!DOCTYPE a><a/>", &deep, "<a/><b/>"]
        {
            assert_eq!(Element::parse(text.as_bytes()), None, "{text}");
        }
    }
}
