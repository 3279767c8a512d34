//! Percent-encoding: of paths and queries on the way in, of keys in listings on the way out, and the
//! pieces of the canonical form that a signature covers.
//!
//! Invariant: what [`encode`] writes, [`decode_path`] reads back as it was.
//!
//! Not here: which parts of a request are signed, and in which order (`auth::canonical`).

/// What a plus sign stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plus {
    /// In a path a plus sign is one.
    IsPlus,
    /// In a query it is a space, by the custom of HTML forms.
    IsSpace,
}

/// Decodes a path. `None` for a percent sign without two digits and for what is not UTF-8.
pub fn decode_path(text: &str) -> Option<String> {
    decode(text, Plus::IsPlus)
}

/// Decodes a name or value of a query, as [`decode_path`] does.
pub fn decode_query(text: &str) -> Option<String> {
    decode(text, Plus::IsSpace)
}

fn decode(text: &str, plus: Plus) -> Option<String> {
    let bytes = text.as_bytes();
    if memchr::memchr(b'%', bytes).is_none()
        && (plus == Plus::IsPlus || memchr::memchr(b'+', bytes).is_none())
    {
        return Some(text.to_owned());
    }
    let is_code = |behind: &str| {
        let digits = behind.as_bytes().first_chunk::<2>();
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_code) {
        return None;
    }
    String::from_utf8(decoded_bytes(text, plus).collect()).ok()
}

/// The bytes that a text stands for. A percent sign that begins no code stands for itself.
pub fn decoded_bytes(text: &str, plus: Plus) -> impl Iterator<Item = u8> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        if let [b'%', high, low, behind @ ..] = rest
            && let (Some(high), Some(low)) = (nibble(*high), nibble(*low))
        {
            rest = behind;
            return Some(high << 4 | low);
        }
        let (&byte, behind) = rest.split_first()?;
        rest = behind;
        Some(if byte == b'+' && plus == Plus::IsSpace { b' ' } else { byte })
    })
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Encodes a key as `encoding-type=url` has it: all but unreserved characters and the slash.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if is_unreserved(byte) || byte == b'/' {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(code(byte).map(char::from));
        }
    }
    encoded
}

/// The characters that are never encoded (RFC 3986, section 2.3).
pub fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// The same with slashes encoded too: a name or value of a query.
pub fn encode_all(text: &str) -> String {
    encode(text).replace('/', "%2F")
}

/// A byte percent-encoded.
pub fn code(byte: u8) -> [u8; 3] {
    [b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, path: Option<&str>, query: Option<&str>) {
        assert_eq!(decode_path(text).as_deref(), path, "path {text:?}");
        assert_eq!(decode_query(text).as_deref(), query, "query {text:?}");
    }

    #[test]
    fn decoding() {
        check("a%20b+c", Some("a b+c"), Some("a b c"));
        check("%C3%bc", Some("ü"), Some("ü"));
        check("ü%2F%2f", Some("ü//"), Some("ü//"));
        check("", Some(""), Some(""));
        for malformed in ["%", "%4", "%zz", "%+1", "a%ff", "%C3"] {
            check(malformed, None, None);
        }
    }

    #[test]
    fn encoding() {
        assert_eq!(encode("a b/ü+(1)~*"), "a%20b/%C3%BC%2B%281%29~%2A");
        assert_eq!(encode("\u{1}\r"), "%01%0D");
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(text: String) {
            prop_assert_eq!(decode_path(&encode(&text)), Some(text.clone()));
            prop_assert_eq!(decode_query(&encode(&text)), Some(text));
        }
    }
}
