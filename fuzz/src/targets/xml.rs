//! XML documents in bodies.
//!
//! Oracles: a tree that was read is read again from what it is when it is written plainly; it is as deep and as large
//! as the limits allow; a document in which a GET shows what was understood is understood, and shows itself.

use s3api::limits::{XML_BODY_BYTES_MAX, XML_DEPTH_MAX, XML_ELEMENTS_MAX};
use s3api::ops::documents::READERS;
use s3api::xml::Element;

/// The root is called as the document's first name is.
pub fn tree(input: &[u8]) {
    let input = &input[..input.len().min(XML_BODY_BYTES_MAX)];
    let text = String::from_utf8_lossy(input);
    let names =
        text.split('<').filter(|piece| piece.starts_with(|c: char| !matches!(c, '?' | '!' | '/')));
    let is_name = |c: char| !c.is_whitespace() && !matches!(c, '>' | '/' | '=');
    for name in names.take(2) {
        let name: String = name.chars().take_while(|c| is_name(*c)).collect();
        let name = name.rsplit(':').next().unwrap_or_default();
        let Ok(root) = Element::parse(input, name) else { continue };
        assert_eq!(root.name(), name);
        let (depth, count) = measure(&root);
        assert!(depth <= XML_DEPTH_MAX && count <= XML_ELEMENTS_MAX);
        if let Some(written) = written(&root) {
            let again = Element::parse(written.as_bytes(), name);
            assert_eq!(again.ok().as_ref(), Some(&root), "another tree is read than was written");
        }
    }
}

fn measure(element: &Element) -> (usize, usize) {
    let children = element.children().iter().map(measure);
    let (depth, count) = children.fold((0, 0), |(depth, count), (d, c)| (depth.max(d), count + c));
    (depth + 1, count + 1)
}

/// All text before all children, which is not told apart; none if a name or a text can not be written so.
fn written(element: &Element) -> Option<String> {
    let name = element.name();
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(is_plain) {
        return None;
    }
    let mut text = format!("<{name}>");
    for character in element.text().chars() {
        match character {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '\r' => text.push_str("&#13;"),
            other => text.push(other),
        }
    }
    for child in element.children() {
        text.push_str(&written(child)?);
    }
    text.push_str(&format!("</{name}>"));
    Some(text)
}

/// Every document whose root the input names.
pub fn documents(input: &[u8]) {
    let input = &input[..input.len().min(XML_BODY_BYTES_MAX)];
    let text = String::from_utf8_lossy(input);
    for (root, read) in READERS.iter().filter(|(root, _)| text.contains(root)) {
        let Ok(Some(shown)) = read(input) else { continue };
        match read(&shown) {
            Ok(Some(again)) => assert!(
                again == shown,
                "{root} changes when it is read again:\n{}\n{}",
                String::from_utf8_lossy(&shown),
                String::from_utf8_lossy(&again)
            ),
            other => panic!(
                "{root} as it is shown is not taken: {other:?}\n{}",
                String::from_utf8_lossy(&shown)
            ),
        }
    }
}
