//! Percent-encoding: of paths and queries on the way in, of keys in listings on the way out.
//!
//! Invariant: what [`encode`] writes, [`decode_path`] reads back as it was.
//!
//! Not here: the canonical form that a signature covers (`auth`).

use std::fmt::Write as _;

/// Decodes a path: a plus sign stands for itself. `None` for a percent sign without two digits and
/// for what is not UTF-8.
pub fn decode_path(text: &str) -> Option<String> {
    decode(text, false)
}

/// Decodes a name or value of a query, where a plus sign is a space.
pub fn decode_query(text: &str) -> Option<String> {
    decode(text, true)
}

fn decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match first {
            b'%' => {
                let [high, low, after @ ..] = rest else { return None };
                rest = after;
                nibble(*high)? << 4 | nibble(*low)?
            }
            b'+' if plus_is_space => b' ',
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Encodes a key as `encoding-type=url` has it: all but unreserved characters and the slash.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
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
