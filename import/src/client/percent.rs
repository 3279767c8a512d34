//! Percent-encoding as SigV4 and S3's listings have it.
//!
//! Invariant: a key that is encoded for a path and decoded again is the same key, whatever it holds; `/`
//! stays, and no segment is resolved.

/// A key as the path of a URL.
pub fn path(text: &str) -> String {
    encode(text, b"-_.~/")
}

/// A name or a value of a query, or of a list of tags.
pub fn query(text: &str) -> String {
    encode(text, b"-_.~")
}

fn encode(text: &str, plain: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len() + 8);
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// A key of a listing with `encoding-type=url`, where `+` is a space. None: it is not so encoded, or not
/// UTF-8.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let (high, low) = (rest.next()?, rest.next()?);
                let digit = |byte: u8| char::from(byte).to_digit(16);
                u8::try_from(digit(high)? * 16 + digit(low)?).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn odd_keys_come_back_as_they_were() {
        for key in
            ["a b", "a+b", "a%2Fb", "//a", "/lead", "../up", "ünïcode/日本", "a\u{1}b", "?&=#"]
        {
            assert_eq!(decode(&path(key)).unwrap(), key);
            assert_eq!(decode(&query(key)).unwrap(), key);
        }
        assert_eq!(path("a/../b c+d%"), "a/../b%20c%2Bd%25");
        assert_eq!(decode("a+b%2bc").unwrap(), "a b+c");
    }

    #[test]
    fn what_is_not_encoded_so_is_none() {
        for text in ["%", "%4", "%zz", "%ff", "%+1"] {
            assert_eq!(decode(text), None, "{text}");
        }
    }
}
