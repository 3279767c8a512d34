//! Bodies on their way from source to target: measured, judged before their end, and framed if their
//! checksum is known at the end only.
//!
//! Invariant: no body becomes whole at the target unless the bytes that passed are those that the source's
//! ETag and checksum name.

use std::io::{self, Read};

use crate::checksum::{Algorithm, Checksum, Digests};
use crate::error::Failure;
use crate::limits::CHUNK_BYTES;

/// What the bytes of a body must come to.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    pub md5: Option<String>,
    pub checksum: Option<Checksum>,
}

impl Expected {
    /// # Errors
    /// What the bytes came to instead.
    pub fn judge(&self, found: &Digests) -> Result<(), Failure> {
        if let Some(md5) = &self.md5
            && !md5.eq_ignore_ascii_case(&found.md5_hex())
        {
            let reason = format!("their MD5 is {}, and the ETag {md5}", found.md5_hex());
            return Err(Failure::Corrupt(reason));
        }
        let of_bytes = self.checksum.as_ref().filter(|checksum| !checksum.is_composite);
        if let (Some(expected), Some(running)) = (of_bytes, &found.checksum)
            && expected.algorithm == running.algorithm()
            && expected.value != running.value()
        {
            let name = expected.algorithm.name();
            let reason =
                format!("their {name} is {}, and should be {}", running.value(), expected.value);
            return Err(Failure::Corrupt(reason));
        }
        Ok(())
    }
}

/// Bytes that are measured as they pass, and judged before the last of them does.
pub struct Measured<'a> {
    source: &'a mut dyn Read,
    left: u64,
    expected: Expected,
    pub digests: Digests,
    /// Of the object that this body is a part of.
    pub whole: Option<Digests>,
}

impl std::fmt::Debug for Measured<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Measured").field("left", &self.left).finish_non_exhaustive()
    }
}

impl<'a> Measured<'a> {
    pub fn new(
        source: &'a mut dyn Read,
        length: u64,
        algorithm: Option<Algorithm>,
        expected: Expected,
    ) -> Self {
        Self { source, left: length, expected, digests: Digests::new(algorithm), whole: None }
    }

    /// Its bytes count for these digests too.
    pub fn with_whole(self, whole: Option<Digests>) -> Self {
        Self { whole, ..self }
    }

    /// All of it, in memory.
    ///
    /// # Errors
    /// It could not be read, or is not what was expected.
    pub fn buffer(&mut self) -> io::Result<Vec<u8>> {
        let mut buffer = Vec::with_capacity(usize::try_from(self.left).unwrap_or_default());
        if self.left == 0 {
            self.expected.judge(&self.digests).map_err(io::Error::other)?;
        }
        self.read_to_end(&mut buffer)?;
        Ok(buffer)
    }
}

impl Read for Measured<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let count = self.source.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(io::Error::other(Failure::Changed("it ended early".into())));
        }
        self.digests.update(&buffer[..count]);
        if let Some(whole) = &mut self.whole {
            whole.update(&buffer[..count]);
        }
        self.left -= count as u64;
        if self.left == 0 {
            self.expected.judge(&self.digests).map_err(io::Error::other)?;
        }
        Ok(count)
    }
}

/// The `aws-chunked` framing of a body, with its checksum behind it.
///
/// ```text
/// 10000\r\n <65536 bytes> \r\n ... 0\r\n x-amz-checksum-crc64nvme:VALUE\r\n \r\n
/// ```
#[derive(Debug)]
pub struct Framed<'a, 'b> {
    body: &'b mut Measured<'a>,
    algorithm: Algorithm,
    frame: Vec<u8>,
    sent: usize,
    is_done: bool,
}

impl<'a, 'b> Framed<'a, 'b> {
    pub fn new(body: &'b mut Measured<'a>, algorithm: Algorithm) -> Self {
        Self { body, algorithm, frame: Vec::new(), sent: 0, is_done: false }
    }

    /// Length of the framed body.
    pub fn length(bytes: u64, algorithm: Algorithm) -> u64 {
        let chunk = CHUNK_BYTES as u64;
        let framed = |bytes: u64| format!("{bytes:x}").len() as u64 + 2 + bytes + 2;
        let rest = bytes % chunk;
        let last = if rest == 0 { 0 } else { framed(rest) };
        let value = Digests::new(Some(algorithm)).checksum.map_or(0, |sum| sum.value().len());
        let trailer = (algorithm.header().len() + 1 + value + 2) as u64;
        bytes / chunk * framed(chunk) + last + 3 + trailer + 2
    }

    fn fill(&mut self) -> io::Result<()> {
        self.frame.clear();
        self.sent = 0;
        let mut bytes = Vec::with_capacity(CHUNK_BYTES);
        self.body.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut bytes)?;
        if !bytes.is_empty() {
            self.frame.extend(format!("{:x}\r\n", bytes.len()).as_bytes());
            self.frame.extend(&bytes);
            self.frame.extend(b"\r\n");
            return Ok(());
        }
        self.is_done = true;
        let value = self.body.digests.checksum.as_ref().map(|sum| sum.value()).unwrap_or_default();
        self.frame.extend(format!("0\r\n{}:{value}\r\n\r\n", self.algorithm.header()).as_bytes());
        Ok(())
    }
}

impl Read for Framed<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.sent == self.frame.len() {
            if self.is_done {
                return Ok(0);
            }
            self.fill()?;
        }
        let count = buffer.len().min(self.frame.len() - self.sent);
        buffer[..count].copy_from_slice(&self.frame[self.sent..self.sent + count]);
        self.sent += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::source::attempt_of;

    fn md5(bytes: &[u8]) -> String {
        let mut digests = Digests::new(None);
        digests.update(bytes);
        digests.md5_hex()
    }

    #[test]
    fn framed_bodies_have_the_length_that_was_said() {
        for length in [1, 10, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 7] {
            for algorithm in Algorithm::ALL {
                let bytes = vec![7; length];
                let mut reader = &bytes[..];
                let mut body =
                    Measured::new(&mut reader, length as u64, Some(algorithm), Expected::default());
                let mut framed = Vec::new();
                Framed::new(&mut body, algorithm).read_to_end(&mut framed).unwrap();
                assert_eq!(framed.len() as u64, Framed::length(length as u64, algorithm));
                let end = format!(":{}\r\n\r\n", body.digests.checksum.unwrap().value());
                assert!(framed.ends_with(end.as_bytes()));
            }
        }
    }

    #[test]
    fn wrong_bytes_never_become_a_whole_body() {
        let expected = Expected { md5: Some(md5(b"hello")), checksum: None };
        for (bytes, word) in [(&b"hellO"[..], "wrong bytes"), (b"hell", "ended early")] {
            let mut reader = bytes;
            let mut body = Measured::new(&mut reader, 5, None, expected.clone());
            let error = body.buffer().unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
            assert!(!attempt_of(&error).again);
            let mut reader = bytes;
            let mut body = Measured::new(&mut reader, 5, None, expected.clone());
            let mut passed = Vec::new();
            assert!(body.read_to_end(&mut passed).is_err());
            assert!(passed.len() < 5);
        }
        let mut reader = &b"hello"[..];
        let buffer = Measured::new(&mut reader, 5, None, expected).buffer().unwrap();
        assert_eq!(buffer, b"hello");
    }

    #[test]
    fn checksums_of_the_source_are_judged_too() {
        let value = "AAAAAA==".to_owned();
        let checksum = Checksum { algorithm: Algorithm::Crc32, value, is_composite: false };
        let expected = Expected { md5: None, checksum: Some(checksum) };
        let mut digests = Digests::new(Some(Algorithm::Crc32));
        assert!(expected.judge(&digests).is_ok());
        digests.update(b"x");
        assert!(expected.judge(&digests).is_err());
        // Of another algorithm nothing is known.
        assert!(expected.judge(&Digests::new(Some(Algorithm::Sha1))).is_ok());
    }
}
