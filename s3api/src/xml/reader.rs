//! Reads an XML document into a tree of elements.
//!
//! Invariants: depth and number of elements are bounded, and the size of the text by that of the
//! input; there is no DTD, no entity beyond the five predefined ones, no external reference. What
//! does not fit is `MalformedXML`.
//!
//! Not here: namespaces (names compare without their prefix, as clients differ in it) and
//! attributes, which no document of these operations needs.

use crate::error::{Code, Result, S3Error};
use crate::limits::{XML_DEPTH_MAX, XML_ELEMENTS_MAX};
use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

/// An element: its name without prefix, its text, its children.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Element {
    name: String,
    text: String,
    children: Vec<Self>,
}

impl Element {
    /// Reads a document whose root must be called `root`.
    pub fn parse(document: &[u8], root: &str) -> Result<Self> {
        let text = std::str::from_utf8(document).map_err(|_| malformed())?;
        // The parser takes it for text, and what is shown of it again could not be read.
        if document.contains(&0) {
            return Err(malformed());
        }
        let element = Builder::default().run(text.strip_prefix('\u{feff}').unwrap_or(text))?;
        if element.name == root { Ok(element) } else { Err(malformed()) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text directly in this element, as written, white space included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All children, in order.
    pub fn children(&self) -> &[Self] {
        &self.children
    }

    /// The children of a name, in order.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The first child of a name.
    pub fn child(&self, name: &str) -> Option<&Self> {
        self.all(name).next()
    }

    /// The text of the first child of a name.
    pub fn child_text(&self, name: &str) -> Option<&str> {
        self.child(name).map(Self::text)
    }

    /// The text of a child that must be there.
    pub fn required(&self, name: &str) -> Result<&str> {
        self.child_text(name).ok_or_else(malformed)
    }
}

/// The error that every document that is not as it should be gets.
pub fn malformed() -> S3Error {
    Code::MalformedXML.into()
}

/// The elements that are open, outermost first.
#[derive(Default)]
struct Builder {
    open: Vec<Element>,
    root: Option<Element>,
    count: usize,
}

impl Builder {
    fn run(mut self, text: &str) -> Result<Element> {
        let mut reader = Reader::from_str(text);
        loop {
            match reader.read_event().map_err(|_| malformed())? {
                Event::Start(start) => self.open(&start)?,
                Event::Empty(start) => {
                    self.open(&start)?;
                    self.close()?;
                }
                // quick-xml has checked that the names match.
                Event::End(_) => self.close()?,
                Event::Text(text) => self.text(&text.xml10_content())?,
                Event::CData(text) => self.text(&text.xml10_content())?,
                Event::GeneralRef(reference) => self.reference(&reference)?,
                Event::Comment(_) | Event::Decl(_) => {}
                Event::DocType(_) | Event::PI(_) => return Err(malformed()),
                Event::Eof => break,
            }
        }
        if self.open.is_empty() { self.root.ok_or_else(malformed) } else { Err(malformed()) }
    }

    fn open(&mut self, start: &BytesStart<'_>) -> Result<()> {
        self.count += 1;
        let second_root = self.open.is_empty() && self.root.is_some();
        if self.count > XML_ELEMENTS_MAX || self.open.len() >= XML_DEPTH_MAX || second_root {
            return Err(malformed());
        }
        let name = start.local_name().into_inner().to_owned();
        self.open.push(Element { name, ..Element::default() });
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let element = self.open.pop().ok_or_else(malformed)?;
        match self.open.last_mut() {
            Some(parent) => parent.children.push(element),
            None => self.root = Some(element),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<()> {
        match self.open.last_mut() {
            Some(element) => element.text.push_str(text),
            None if text.trim().is_empty() => {}
            None => return Err(malformed()),
        }
        Ok(())
    }

    fn reference(&mut self, reference: &BytesRef<'_>) -> Result<()> {
        let character = match reference.resolve_char_ref().map_err(|_| malformed())? {
            Some(character) => character,
            None => match &**reference {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                _ => return Err(malformed()),
            },
        };
        self.text(character.encode_utf8(&mut [0; 4]))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::xml::Writer;
    use proptest::prelude::*;

    /// The text of `<R><T>...</T></R>`.
    fn check(document: &str, expected: Option<&str>) {
        let parsed = Element::parse(document.as_bytes(), "R");
        let text = parsed.as_ref().ok().and_then(|root| root.child_text("T"));
        assert_eq!(text, expected, "document: {document:?}");
    }

    #[test]
    fn documents_that_parse() {
        check("<R><T>a</T></R>", Some("a"));
        check("<?xml version=\"1.0\"?>\n<R xmlns=\"urn:x\">\n <T>a</T>\n</R>\n", Some("a"));
        check("<s:R xmlns:s=\"urn:x\"><s:T> a </s:T></s:R>", Some(" a "));
        check("<R><T>&lt;a&amp;b&gt;&quot;&apos;</T></R>", Some("<a&b>\"'"));
        check("<R><T>&#x41;&#66;</T></R>", Some("AB"));
        check("<R><T><![CDATA[<x>]]></T></R>", Some("<x>"));
        check("<R><T/></R>", Some(""));
        check("<R><!-- note --><T>a<!-- -->b</T></R>", Some("ab"));
        check("\u{feff}<R><T>a</T></R>", Some("a"));
    }

    #[test]
    fn documents_that_do_not() {
        for document in [
            "",
            "text",
            "<R>",
            "<R><T>a</R></T>",
            "<R></R><R></R>",
            "<R></R>text",
            "<X><T>a</T></X>",
            "<!DOCTYPE R [<!ENTITY x \"y\">]><R><T>&x;</T></R>",
            "<R><T>&nbsp;</T></R>",
            "<R><T>&#xd800;</T></R>",
            "<R><T>a</T>",
            "<?xml version=\"1.0\"?><?run me?><R/>",
        ] {
            assert!(Element::parse(document.as_bytes(), "R").is_err(), "document: {document:?}");
        }
        assert!(Element::parse(b"<R><T>\xff</T></R>", "R").is_err());
    }

    /// Found by fuzzing: a NUL in the name of a CORS rule was kept, and the configuration that a GET then
    /// showed was no XML.
    #[test]
    fn a_document_with_a_nul_in_it_is_malformed() {
        for document in
            ["<R><T>a\0</T></R>", "<R><T><![CDATA[\0]]></T></R>", "<R><!--\0--><T/></R>"]
        {
            check(document, None);
        }
    }

    #[test]
    fn depth_and_number_of_elements_are_bounded() {
        let nested = |levels: usize| "<R>".repeat(levels) + &"</R>".repeat(levels);
        assert!(Element::parse(nested(XML_DEPTH_MAX).as_bytes(), "R").is_ok());
        assert!(Element::parse(nested(XML_DEPTH_MAX + 1).as_bytes(), "R").is_err());
        let wide = |children: usize| format!("<R>{}</R>", "<T/>".repeat(children));
        assert!(Element::parse(wide(XML_ELEMENTS_MAX - 1).as_bytes(), "R").is_ok());
        assert!(Element::parse(wide(XML_ELEMENTS_MAX).as_bytes(), "R").is_err());
    }

    proptest! {
        #[test]
        fn no_document_makes_the_reader_panic(text in "(<R>|<T>|</T>|</R>|&#x?[0-9a-f]{0,9};|&[a-z]*;|<!--|-->|<!\\[CDATA\\[|\\]\\]>|[<>&a\u{e0} /?!]){0,30}") {
            let _ = Element::parse(text.as_bytes(), "R");
        }

        #[test]
        fn every_text_that_is_written_is_read_back(text: String) {
            let document = Writer::document("R", |writer| writer.text("T", &text));
            if let Ok(root) = Element::parse(&document, "R") {
                prop_assert_eq!(root.child_text("T"), Some(text.as_str()));
            } else {
                // XML has no form for these, not even a reference.
                let has_none = text.contains(['\0', '\u{fffe}', '\u{ffff}']);
                prop_assert!(has_none);
            }
        }
    }

    #[test]
    fn what_the_writer_writes_the_reader_reads() {
        let key = "a\u{1}\r\n<&>\"' ü \u{7f}";
        let document = Writer::document("R", |writer| writer.text("T", key));
        assert_eq!(Element::parse(&document, "R").unwrap().child_text("T"), Some(key));
    }
}
