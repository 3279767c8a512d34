//! The framing of a chunked body (RFC 9112, section 7.1), as a machine over bytes.
//!
//! Invariants: lines end with CRLF exactly; sizes are plain hexadecimal; extensions and trailers
//! are bounded and ignored. It holds no bytes and does no I/O: data passes by it, uncopied.

use crate::Rejection;
use crate::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

const MALFORMED: Rejection = Rejection::bad_request("malformed chunked body");

/// Where the body stands between two bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { size: u64, digits: u8 },
    Extension { size: u64, bytes: usize },
    SizeLineFeed { size: u64 },
    Data { remaining: u64 },
    DataReturn,
    DataLineFeed,
    Trailer { bytes: usize, in_line: bool },
    TrailerLineFeed { bytes: usize, in_line: bool },
    End,
}

/// What comes next in a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// More framing than was given.
    Framing,
    /// So many bytes of data, at least 1; tell `pass` about those that were used.
    Data(u64),
    /// Nothing: the body is complete.
    End,
}

#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
}

impl Chunked {
    pub(crate) fn new() -> Self {
        Self { state: State::Size { size: 0, digits: 0 } }
    }

    /// Uses framing at the start of `input`: how many bytes of it, and what is due behind them.
    pub(crate) fn skip(&mut self, input: &[u8]) -> Result<(usize, Due), Rejection> {
        for (used, &byte) in input.iter().enumerate() {
            if let Some(due) = self.due() {
                return Ok((used, due));
            }
            self.state = next(self.state, byte)?;
        }
        Ok((input.len(), self.due().unwrap_or(Due::Framing)))
    }

    /// Counts data bytes that were used; never more than were due.
    pub(crate) fn pass(&mut self, bytes: u64) {
        if let State::Data { remaining } = self.state {
            debug_assert!(bytes <= remaining);
            self.state = match remaining.saturating_sub(bytes) {
                0 => State::DataReturn,
                remaining => State::Data { remaining },
            };
        }
    }

    fn due(&self) -> Option<Due> {
        match self.state {
            State::Data { remaining } => Some(Due::Data(remaining)),
            State::End => Some(Due::End),
            _ => None,
        }
    }
}

/// The state behind one byte of framing.
fn next(state: State, byte: u8) -> Result<State, Rejection> {
    match (state, byte) {
        (State::Size { size, digits }, _) => size_digit(size, digits, byte),
        (State::Extension { size, .. }, b'\r') => Ok(State::SizeLineFeed { size }),
        (State::Extension { size, bytes }, _) if is_text(byte) && bytes < CHUNK_LINE_BYTES_MAX => {
            Ok(State::Extension { size, bytes: bytes + 1 })
        }
        (State::SizeLineFeed { size: 0 }, b'\n') => Ok(State::Trailer { bytes: 0, in_line: false }),
        (State::SizeLineFeed { size }, b'\n') => Ok(State::Data { remaining: size }),
        (State::DataReturn, b'\r') => Ok(State::DataLineFeed),
        (State::DataLineFeed, b'\n') => Ok(State::Size { size: 0, digits: 0 }),
        (State::Trailer { bytes, in_line }, b'\r') => {
            Ok(State::TrailerLineFeed { bytes: bytes + 1, in_line })
        }
        (State::Trailer { bytes, .. }, _) if is_text(byte) => trailer_byte(bytes),
        (State::TrailerLineFeed { bytes, in_line: true }, b'\n') => {
            Ok(State::Trailer { bytes: bytes + 1, in_line: false })
        }
        (State::TrailerLineFeed { in_line: false, .. }, b'\n') => Ok(State::End),
        _ => Err(MALFORMED),
    }
}

fn size_digit(size: u64, digits: u8, byte: u8) -> Result<State, Rejection> {
    match (char::from(byte).to_digit(16), byte) {
        // Sixteen digits always fit, and nobody sends more.
        (Some(digit), _) if digits < 16 => {
            Ok(State::Size { size: size << 4 | u64::from(digit), digits: digits + 1 })
        }
        (None, b'\r') if digits > 0 => Ok(State::SizeLineFeed { size }),
        (None, b';') if digits > 0 => Ok(State::Extension { size, bytes: 0 }),
        _ => Err(MALFORMED),
    }
}

fn trailer_byte(bytes: usize) -> Result<State, Rejection> {
    if bytes >= TRAILER_BYTES_MAX {
        return Err(Rejection::new(431, "trailers too large"));
    }
    Ok(State::Trailer { bytes: bytes + 1, in_line: true })
}

/// What may stand in an extension or a trailer.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Decodes what arrives in pieces of `piece` bytes: the data, and what is left behind.
    fn decode(input: &[u8], piece: usize) -> Result<Option<(Vec<u8>, usize)>, Rejection> {
        let mut chunked = Chunked::new();
        let (mut at, mut data) = (0, Vec::new());
        loop {
            let end = (at + piece).min(input.len());
            let (used, due) = chunked.skip(&input[at..end])?;
            at += used;
            match due {
                Due::End => return Ok(Some((data, input.len() - at))),
                Due::Data(bytes) => {
                    let bytes = bytes.min((end - at) as u64);
                    data.extend_from_slice(&input[at..at + bytes as usize]);
                    at += bytes as usize;
                    chunked.pass(bytes);
                }
                Due::Framing => {}
            }
            if at == input.len() && !matches!(chunked.due(), Some(Due::End)) {
                return Ok(None);
            }
        }
    }

    fn check(input: &str, expected: Result<Option<(&str, usize)>, u16>) {
        for piece in [1, 2, 3, 7, 1000] {
            let actual = decode(input.as_bytes(), piece)
                .map(|found| found.map(|(data, rest)| (String::from_utf8(data).unwrap(), rest)))
                .map_err(|rejection| rejection.status);
            let expected = expected.map(|found| found.map(|(data, rest)| (data.to_owned(), rest)));
            assert_eq!(actual, expected, "{input:?} in pieces of {piece}");
        }
    }

    #[test]
    fn decodes_chunks_and_skips_extensions_and_trailers() {
        check("0\r\n\r\n", Ok(Some(("", 0))));
        check("5\r\nhello\r\n0\r\n\r\nGET", Ok(Some(("hello", 3))));
        check(
            "3;a=b;c=\"d\"\r\nabc\r\n00A\r\n0123456789\r\n0;x\r\n\r\n",
            Ok(Some(("abc0123456789", 0))),
        );
        check("1\r\na\r\n0\r\nx-amz: 1\r\ny: 2\r\n\r\nrest", Ok(Some(("a", 4))));
    }

    #[test]
    fn incomplete_bodies_have_no_end() {
        for input in
            ["", "5", "5\r", "5\r\nhel", "5\r\nhello\r\n", "0\r\n", "0\r\na: b\r\n", "0\r\n\r"]
        {
            check(input, Ok(None));
        }
    }

    #[test]
    fn malformed_framing_is_refused() {
        for input in [
            "\r\n",
            ";\r\n",
            "x\r\n",
            "-1\r\n",
            "+1\r\n",
            " 1\r\n",
            "1 \r\na",
            "0x1\r\na",
            "1\na",
            "1\r\rA",
            "1\r\nab\r\n",
            "1\r\na\n0",
            "1\r\na\rb",
            "11111111111111111\r\n",
            "1;\n",
            "1;\0\r\n",
            "0\r\n\n",
            "0\r\na\0b\r\n\r\n",
            "0\r\na\rb\r\n",
        ] {
            check(input, Err(400));
        }
    }

    #[test]
    fn lines_and_trailers_are_bounded() {
        check(
            &format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(CHUNK_LINE_BYTES_MAX)),
            Ok(Some(("a", 0))),
        );
        check(&format!("1;{}\r\na\r\n0\r\n\r\n", "e".repeat(CHUNK_LINE_BYTES_MAX + 1)), Err(400));
        check(&format!("0\r\n{}\r\n\r\n", "t".repeat(TRAILER_BYTES_MAX)), Ok(Some(("", 0))));
        check(&format!("0\r\n{}\r\n\r\n", "t: u\r\n".repeat(TRAILER_BYTES_MAX)), Err(431));
    }
}
