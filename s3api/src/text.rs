//! Splitting short texts at an ASCII character, which every request does a dozen times: by memchr, which looks at 32
//! bytes at once where `str::split` looks at characters.
//!
//! Invariant: pieces are those of `str::split`, `split_once` and `rsplit_once`.

/// The pieces between separators; one more than there are separators.
pub(crate) fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    debug_assert!(separator.is_ascii());
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let whole = rest?;
        let (piece, behind) = match split_once(whole, separator) {
            Some((piece, behind)) => (piece, Some(behind)),
            None => (whole, None),
        };
        rest = behind;
        Some(piece)
    })
}

/// What stands before the first separator, and what behind it.
pub(crate) fn split_once(text: &str, separator: u8) -> Option<(&str, &str)> {
    let at = memchr::memchr(separator, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// What stands before the last separator, and what behind it.
pub(crate) fn rsplit_once(text: &str, separator: u8) -> Option<(&str, &str)> {
    let at = memchr::memrchr(separator, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_are_those_of_the_standard_library(text in "[a,;ü/]{0,40}", which in 0usize..3) {
            let separator = [b',', b';', b'/'][which];
            let character = char::from(separator);
            prop_assert!(split(&text, separator).eq(text.split(character)));
            prop_assert_eq!(split_once(&text, separator), text.split_once(character));
            prop_assert_eq!(rsplit_once(&text, separator), text.rsplit_once(character));
        }
    }
}
