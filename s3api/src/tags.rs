//! Tag sets of objects and buckets: their XML, the query form of `x-amz-tagging`, their rules.
//!
//! ```text
//! as kept with an object: (key_bytes: u16 LE, key, value_bytes: u16 LE, value)*
//! ```
//!
//! Invariants: every [`TagSet`] that a client gave keeps AWS's rules: keys are unique, 1 to 128
//! characters long and not of the system (`aws:`), values have at most 256, both hold only letters,
//! digits, separators and `+ - = . _ : / @`; the order of arrival is kept.
//!
//! Not here: where tags are kept, who may see or change them.
//!
//! Source: AWS, "Categorizing your storage using tags", PutObjectTagging, PutBucketTagging.

use crate::error::{Code, Result, S3Error};
use crate::limits::{
    BUCKET_TAGS_MAX, OBJECT_TAGS_MAX, TAG_KEY_CHARACTERS_MAX, TAG_VALUE_CHARACTERS_MAX,
};
use crate::percent;
use crate::xml::reader::malformed;
use crate::xml::{Element, Writer};
use serde::{Deserialize, Serialize};

/// Whose tags they are, which decides how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tagged {
    Object,
    Bucket,
}

/// Keys with their values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagSet {
    tags: Vec<(String, String)>,
}

impl TagSet {
    /// Reads a `Tagging` document.
    ///
    /// `MalformedXML`, `InvalidTag`, or `BadRequest` for too many.
    pub fn parse_document(document: &[u8], tagged: Tagged) -> Result<Self> {
        let root = Element::parse(document, "Tagging")?;
        match root.children() {
            [set] => Self::parse_element(set, tagged),
            _ => Err(malformed()),
        }
    }

    /// Reads a `TagSet` element.
    pub fn parse_element(element: &Element, tagged: Tagged) -> Result<Self> {
        if element.name() != "TagSet" {
            return Err(malformed());
        }
        let tags = element.children().iter().map(parse_tag).collect::<Result<_>>()?;
        let set = Self { tags };
        set.check(tagged)?;
        if set.has_duplicates() {
            return Err(S3Error::new(
                Code::InvalidTag,
                "Cannot provide multiple Tags with the same key",
            ));
        }
        Ok(set)
    }

    /// Reads the value of `x-amz-tagging`: `key=value&key=value`, URL-encoded.
    ///
    /// `InvalidArgument` for what is no such list or names a key twice, else as
    /// [`Self::parse_document`].
    pub fn parse_header(text: &str) -> Result<Self> {
        let malformed = || {
            S3Error::invalid_argument(
                "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query \
                 parameters without tag name duplicates.",
                "x-amz-tagging",
                text,
            )
        };
        let decode = |piece| percent::decode_query(piece).ok_or_else(malformed);
        let pieces = text.split('&').filter(|piece| !piece.is_empty());
        let tags = pieces.map(|piece| {
            let (key, value) = piece.split_once('=').unwrap_or((piece, ""));
            Ok((decode(key)?, decode(value)?))
        });
        let set = Self { tags: tags.collect::<Result<_>>()? };
        set.check(Tagged::Object)?;
        if set.has_duplicates() { Err(malformed()) } else { Ok(set) }
    }

    /// The value of `x-amz-tagging` that says the same.
    pub fn header(&self) -> String {
        let encode = |text: &str| percent::encode(text).replace('/', "%2F");
        let tags = self.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value)));
        tags.collect::<Vec<_>>().join("&")
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == key).map(|(_, value)| value)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub fn len(&self) -> usize {
        self.tags.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// The `Tagging` document.
    pub fn document(&self) -> Vec<u8> {
        Writer::document("Tagging", |writer| self.write(writer))
    }

    /// Writes the `TagSet` element.
    pub fn write(&self, writer: &mut Writer) {
        writer.element("TagSet", |writer| {
            for (key, value) in self.iter() {
                writer.element("Tag", |writer| {
                    writer.text("Key", key);
                    writer.text("Value", value);
                });
            }
        });
    }

    /// The form that is kept with an object; empty for no tags.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in self.tags.iter().flat_map(|(key, value)| [key, value]) {
            // A key or value of the greatest length has a kilobyte.
            let count = u16::try_from(text.len()).expect("lengths of tags are bounded");
            bytes.extend_from_slice(&count.to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        bytes
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, engine::Error> {
        let mut tags = Vec::new();
        while !bytes.is_empty() {
            let corrupt = || engine::Error::Corrupt("an object's tags".into());
            let (key, rest) = split_text(bytes).ok_or_else(corrupt)?;
            let (value, rest) = split_text(rest).ok_or_else(corrupt)?;
            tags.push((key.to_owned(), value.to_owned()));
            bytes = rest;
        }
        Ok(Self { tags })
    }

    fn check(&self, tagged: Tagged) -> Result<()> {
        let (max, name) = match tagged {
            Tagged::Object => (OBJECT_TAGS_MAX, "Object tags"),
            Tagged::Bucket => (BUCKET_TAGS_MAX, "Bucket tag count"),
        };
        if self.tags.len() > max {
            let message = format!("{name} cannot be greater than {max}");
            return Err(S3Error::new(Code::BadRequest, message));
        }
        self.iter().try_for_each(|(key, value)| check_tag(key, value))
    }

    fn has_duplicates(&self) -> bool {
        // At most fifty.
        let mut rest = self.tags.as_slice();
        while let Some(((key, _), behind)) = rest.split_first() {
            if behind.iter().any(|(other, _)| other == key) {
                return true;
            }
            rest = behind;
        }
        false
    }
}

fn parse_tag(tag: &Element) -> Result<(String, String)> {
    match (tag.name(), tag.children()) {
        ("Tag", [first, second]) => {
            let (key, value) =
                if first.name() == "Value" { (second, first) } else { (first, second) };
            let is_leaf = key.children().is_empty() && value.children().is_empty();
            if key.name() != "Key" || value.name() != "Value" || !is_leaf {
                return Err(malformed());
            }
            Ok((key.text().to_owned(), value.text().to_owned()))
        }
        _ => Err(malformed()),
    }
}

fn check_tag(key: &str, value: &str) -> Result<()> {
    if key.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
        return Err(S3Error::new(
            Code::InvalidTag,
            "System tags cannot be added/updated by requester",
        )
        .field("TagKey", key));
    }
    if key.is_empty() || !is_allowed(key, TAG_KEY_CHARACTERS_MAX) {
        let message = "The TagKey you have provided is invalid";
        return Err(S3Error::new(Code::InvalidTag, message).field("TagKey", key));
    }
    if !is_allowed(value, TAG_VALUE_CHARACTERS_MAX) {
        let message = "The TagValue you have provided is invalid";
        return Err(S3Error::new(Code::InvalidTag, message)
            .field("TagKey", key)
            .field("TagValue", value));
    }
    Ok(())
}

/// AWS counts in UTF-16.
fn is_allowed(text: &str, characters_max: usize) -> bool {
    text.encode_utf16().count() <= characters_max && text.chars().all(is_allowed_character)
}

fn is_allowed_character(character: char) -> bool {
    let is_separator = character.is_whitespace() && !character.is_control();
    character.is_alphanumeric() || is_separator || "+-=._:/@".contains(character)
}

/// Splits `count: u16 LE, UTF-8` off.
fn split_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (count, rest) = bytes.split_first_chunk()?;
    let (text, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*count)))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    type Tags<'a> = &'a [(&'a str, &'a str)];

    fn check(set: Result<TagSet>, expected: Result<Tags<'_>, Code>) {
        let found = set.as_ref().map(|set| set.iter().collect::<Vec<_>>());
        assert_eq!(found.map_err(|error| error.code), expected.map(<[_]>::to_vec), "{set:?}");
    }

    fn document(tags: Tags<'_>) -> Vec<u8> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        TagSet { tags: tags.iter().map(own).collect() }.document()
    }

    fn check_document(tags: Tags<'_>, expected: Option<Code>) {
        let set = TagSet::parse_document(&document(tags), Tagged::Bucket);
        check(set, expected.map_or(Ok(tags), Err));
    }

    #[test]
    fn documents() {
        check_document(&[], None);
        check_document(&[("a", "1"), ("b", "")], None);
        check_document(&[("a b+c-d=e.f_g:h/i@j", "süß 日本 9")], None);
        check_document(&[("Key", "1"), ("key", "2")], None);
        check_document(&[(&"k".repeat(128), &"v".repeat(256))], None);
        check_document(&[(&"k".repeat(129), "")], Some(Code::InvalidTag));
        check_document(&[("k", &"v".repeat(257))], Some(Code::InvalidTag));
        // 65 characters, of which UTF-16 needs 130.
        check_document(&[(&"𐊀".repeat(65), "")], Some(Code::InvalidTag));
        for key in ["", "a!", "a\tb", "a\n", "a&b", "a<b", "a*", "aws:name", "AWS:x"] {
            check_document(&[(key, "1")], Some(Code::InvalidTag));
        }
        check_document(&[("a", "1"), ("b", "2"), ("a", "1")], Some(Code::InvalidTag));
    }

    #[test]
    fn the_number_of_tags_is_bounded_by_whose_they_are() {
        let names: Vec<String> = (0..51).map(|number| format!("k{number}")).collect();
        let tags: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
        let parse = |count, tagged| TagSet::parse_document(&document(&tags[..count]), tagged);
        assert_eq!(parse(10, Tagged::Object).unwrap().len(), 10);
        check(parse(11, Tagged::Object), Err(Code::BadRequest));
        assert_eq!(parse(50, Tagged::Bucket).unwrap().len(), 50);
        check(parse(51, Tagged::Bucket), Err(Code::BadRequest));
        let header = names[..11].join("=&");
        check(TagSet::parse_header(&header), Err(Code::BadRequest));
    }

    #[test]
    fn documents_of_another_form_are_refused() {
        let tag = "<Tag><Key>k</Key><Value>v</Value></Tag>";
        let whole = |inner: &str| format!("<Tagging>{inner}</Tagging>");
        for text in [
            String::new(),
            "<Tagging/>".into(),
            "<TagSet/>".into(),
            whole(tag),
            whole("<TagSet/><TagSet/>"),
            whole(&format!("<TagSet>{tag}<Other/></TagSet>")),
            whole("<TagSet><Tag><Key>k</Key></Tag></TagSet>"),
            whole("<TagSet><Tag><Value>v</Value></Tag></TagSet>"),
            whole("<TagSet><Tag><Key>k</Key><Key>k</Key></Tag></TagSet>"),
            whole("<TagSet><Tag><Key>k</Key><Value>v</Value><X/></Tag></TagSet>"),
            whole("<TagSet><Tag><Key><K/></Key><Value>v</Value></Tag></TagSet>"),
        ] {
            let set = TagSet::parse_document(text.as_bytes(), Tagged::Object);
            assert_eq!(set.unwrap_err().code, Code::MalformedXML, "{text}");
        }
        let swapped = whole("<TagSet><Tag><Value>v</Value><Key>k</Key></Tag></TagSet>");
        check(TagSet::parse_document(swapped.as_bytes(), Tagged::Object), Ok(&[("k", "v")]));
    }

    #[test]
    fn headers() {
        let check = |text, expected| check(TagSet::parse_header(text), expected);
        check("", Ok(&[]));
        check("a=1&b=2", Ok(&[("a", "1"), ("b", "2")]));
        check("a&b=", Ok(&[("a", ""), ("b", "")]));
        check("a+b=c%20d%3D&", Ok(&[("a b", "c d=")]));
        check("a=b=c", Ok(&[("a", "b=c")]));
        check("a=1&a=2", Err(Code::InvalidArgument));
        check("a=%zz", Err(Code::InvalidArgument));
        check("a=%ff", Err(Code::InvalidArgument));
        check("=1", Err(Code::InvalidTag));
        check("a=%0A", Err(Code::InvalidTag));
        check("aws:a=1", Err(Code::InvalidTag));
    }

    #[test]
    fn corrupt_bytes_are_an_error() {
        for bytes in [b"\x01".as_slice(), b"\x01\x00a", b"\x01\x00a\x02\x00b", b"\x01\x00\xff\0\0"]
        {
            assert!(TagSet::decode(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(TagSet::decode(b"\x01\x00a\x00\x00").unwrap().get("a"), Some(""));
        assert!(TagSet::decode(b"").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn what_is_kept_comes_back(
            tags in prop::collection::vec(("[a-zä日+=/ ]{1,9}", "[a-z0-9@:ü ]{0,9}"), 0..6)
        ) {
            let set = TagSet { tags };
            prop_assert_eq!(TagSet::decode(&set.encode()).unwrap(), set.clone());
            let parsed = TagSet::parse_document(&set.document(), Tagged::Object);
            let from_header = TagSet::parse_header(&set.header());
            if set.has_duplicates() {
                prop_assert_eq!(parsed.unwrap_err().code, Code::InvalidTag);
                prop_assert_eq!(from_header.unwrap_err().code, Code::InvalidArgument);
            } else {
                prop_assert_eq!(from_header.unwrap(), set.clone());
                prop_assert_eq!(parsed.unwrap(), set);
            }
        }
    }
}
