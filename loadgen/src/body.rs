//! Bodies on their way out: a stretch of an object's content, as it is or in aws-chunked framing.
//!
//! ```text
//! HEX-LENGTH[;chunk-signature=HEX]\r\n  bytes \r\n      for each chunk, the last one empty
//! [x-amz-checksum-NAME:BASE64\r\n]                      in the last chunk's place of bytes
//! [x-amz-trailer-signature:HEX\r\n]
//! \r\n
//! ```
//!
//! Sources: "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks"
//! and "... Including Trailing Headers", Amazon S3 API Reference.
//!
//! **Invariant:** memory does not grow with the body: content is never copied, and of the framing only
//! the piece being sent exists.

use crate::checksum::{Checksum, Running};
use crate::content::{Content, HEADER_BYTES, Pattern};
use crate::sign::{ChunkSigner, push_hex};
use sha2::{Digest, Sha256};
use std::io::Write;

/// What AWS's SDKs send.
const CHUNK_BYTES: u64 = 64 << 10;
const SIGNATURE_FIELD: &[u8] = b";chunk-signature=";
const TRAILER_SIGNATURE: &[u8] = b"x-amz-trailer-signature:";
const SIGNATURE_BYTES: u64 = 64;

/// Bytes `position..end` of an object's content.
#[derive(Debug, Clone, Copy)]
pub struct Stretch<'a> {
    content: &'a Content,
    pattern: &'a Pattern,
    position: u64,
    end: u64,
}

impl<'a> Stretch<'a> {
    pub fn new(content: &'a Content, pattern: &'a Pattern, from: u64, length: u64) -> Self {
        Self { content, pattern, position: from, end: from + length }
    }

    pub fn whole(content: &'a Content, pattern: &'a Pattern) -> Self {
        Self::new(content, pattern, 0, content.size)
    }

    pub fn remaining(&self) -> u64 {
        self.end - self.position
    }

    /// Takes up to `length` bytes off its front.
    fn split(&mut self, length: u64) -> Self {
        let end = self.end.min(self.position + length);
        let front = Self { end, ..*self };
        self.position = end;
        front
    }

    /// Appends those of the content's few bytes that are not the pattern's.
    fn take_header(&mut self, out: &mut Vec<u8>) {
        let front = self.split((HEADER_BYTES as u64).saturating_sub(self.position));
        let range = front.position as usize..front.end as usize;
        out.extend_from_slice(self.content.header().get(range).unwrap_or_default());
    }

    fn window(&self) -> &'a [u8] {
        let window = self.content.window(self.pattern, self.position);
        &window[..window.len().min(self.remaining() as usize)]
    }

    fn for_each(mut self, mut each: impl FnMut(&[u8])) {
        let mut header = Vec::new();
        self.take_header(&mut header);
        each(&header);
        while self.remaining() > 0 {
            let window = self.window();
            each(window);
            self.position += window.len() as u64;
        }
    }

    pub fn sha256(self) -> [u8; 32] {
        let mut digest = Sha256::new();
        self.for_each(|bytes| digest.update(bytes));
        digest.finalize().into()
    }

    /// The text of its checksum.
    pub fn checksum(self, checksum: Checksum) -> String {
        let mut running = checksum.start();
        self.for_each(|bytes| running.update(bytes));
        running.text()
    }
}

/// What follows a head.
#[derive(Debug)]
pub enum Body<'a> {
    None,
    Plain(Stretch<'a>),
    Text(&'a [u8]),
    Chunked(Box<Chunked<'a>>),
}

impl Body<'_> {
    /// Appends to the head the first bytes, which are few: they save a buffer for the kernel to gather.
    pub fn begin(&mut self, head: &mut Vec<u8>) {
        match self {
            Self::None | Self::Text(_) => {}
            Self::Plain(stretch) => stretch.take_header(head),
            Self::Chunked(chunked) => {
                chunked.frame_next();
                head.extend_from_slice(&chunked.frame);
                chunked.frame_sent = chunked.frame.len();
                chunked.advance(0);
            }
        }
    }

    /// What is to be sent next, in this order; both are empty at the end.
    pub fn next(&self) -> [&[u8]; 2] {
        match self {
            Self::None => [b"", b""],
            Self::Plain(stretch) => [b"", stretch.window()],
            Self::Text(text) => [b"", text],
            Self::Chunked(chunked) => {
                [&chunked.frame[chunked.frame_sent..], chunked.chunk.window()]
            }
        }
    }

    /// So many bytes of `next` were sent.
    pub fn advance(&mut self, count: usize) {
        match self {
            Self::None => {}
            Self::Plain(stretch) => stretch.position += count as u64,
            Self::Text(text) => *text = &text[count..],
            Self::Chunked(chunked) => chunked.advance(count),
        }
    }
}

/// A body in chunks, with signatures, a checksum behind it, or both.
#[derive(Debug)]
pub struct Chunked<'a> {
    rest: Stretch<'a>,
    chunk: Stretch<'a>,
    signer: Option<ChunkSigner>,
    checksum: Option<(Checksum, Running)>,
    frame: Vec<u8>,
    frame_sent: usize,
    begun: bool,
    ended: bool,
}

impl<'a> Chunked<'a> {
    pub fn new(
        stretch: Stretch<'a>,
        signer: Option<ChunkSigner>,
        checksum: Option<Checksum>,
    ) -> Self {
        let chunk = Stretch { end: stretch.position, ..stretch };
        let checksum = checksum.map(|checksum| (checksum, checksum.start()));
        let (frame, frame_sent) = (Vec::with_capacity(256), 0);
        Self {
            rest: stretch,
            chunk,
            signer,
            checksum,
            frame,
            frame_sent,
            begun: false,
            ended: false,
        }
    }

    /// Length of the whole with its framing.
    pub fn encoded_length(decoded_length: u64, signed: bool, checksum: Option<Checksum>) -> u64 {
        let frame = |length: u64| {
            let digits = u64::from((64 - length.leading_zeros()).div_ceil(4).max(1));
            let field = SIGNATURE_FIELD.len() as u64 + SIGNATURE_BYTES;
            digits + if signed { field } else { 0 } + 2 + length + 2
        };
        let whole = decoded_length / CHUNK_BYTES * frame(CHUNK_BYTES);
        let last = decoded_length % CHUNK_BYTES;
        let trailer = checksum.map_or(0, |checksum| {
            let line = checksum.header().len() as u64 + 1 + checksum.text_bytes() + 2;
            let signature = TRAILER_SIGNATURE.len() as u64 + SIGNATURE_BYTES + 2;
            line + if signed { signature } else { 0 }
        });
        whole + if last > 0 { frame(last) } else { 0 } + frame(0) + trailer
    }

    fn advance(&mut self, count: usize) {
        let of_frame = count.min(self.frame.len() - self.frame_sent);
        self.frame_sent += of_frame;
        self.chunk.position += (count - of_frame) as u64;
        let sent = self.frame_sent == self.frame.len() && self.chunk.remaining() == 0;
        if sent && !self.ended {
            self.frame_next();
        }
    }

    /// Fills `frame` with what stands before the next chunk's bytes.
    fn frame_next(&mut self) {
        self.frame.clear();
        self.frame_sent = 0;
        if std::mem::replace(&mut self.begun, true) {
            self.frame.extend_from_slice(b"\r\n");
        }
        self.chunk = self.rest.split(CHUNK_BYTES);
        let length = self.chunk.remaining();
        write!(self.frame, "{length:x}").expect("writing to a Vec cannot fail");
        if let Some(signer) = &mut self.signer {
            self.frame.extend_from_slice(SIGNATURE_FIELD);
            push_hex(&mut self.frame, &signer.chunk(&self.chunk.sha256()));
        }
        self.frame.extend_from_slice(b"\r\n");
        if let Some((_, running)) = &mut self.checksum {
            self.chunk.for_each(|bytes| running.update(bytes));
        }
        if length == 0 {
            self.end();
        }
        self.chunk.take_header(&mut self.frame);
    }

    fn end(&mut self) {
        self.ended = true;
        if let Some((checksum, running)) = self.checksum.take() {
            let line = format!("{}:{}\n", checksum.header(), running.text());
            self.frame.extend_from_slice(line.trim_end().as_bytes());
            self.frame.extend_from_slice(b"\r\n");
            if let Some(signer) = &mut self.signer {
                self.frame.extend_from_slice(TRAILER_SIGNATURE);
                push_hex(&mut self.frame, &signer.trailers(&line));
                self.frame.extend_from_slice(b"\r\n");
            }
        }
        self.frame.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::sign::Signer;

    /// All of a body, sent in pieces.
    fn sent(mut body: Body<'_>, piece: usize) -> Vec<u8> {
        let mut out = Vec::new();
        body.begin(&mut out);
        loop {
            let [first, second] = body.next();
            let bytes: Vec<u8> = first.iter().chain(second).copied().take(piece).collect();
            if bytes.is_empty() {
                return out;
            }
            out.extend_from_slice(&bytes);
            body.advance(bytes.len());
        }
    }

    /// Takes the framing off again.
    fn decoded(mut text: &[u8]) -> (Vec<u8>, String) {
        let mut body = Vec::new();
        loop {
            let end = text.windows(2).position(|two| two == b"\r\n").unwrap();
            let line = std::str::from_utf8(&text[..end]).unwrap();
            let length = usize::from_str_radix(line.split(';').next().unwrap(), 16).unwrap();
            text = &text[end + 2..];
            if length == 0 {
                return (body, String::from_utf8(text.to_vec()).unwrap());
            }
            body.extend_from_slice(&text[..length]);
            assert_eq!(text[length..length + 2], *b"\r\n");
            text = &text[length + 2..];
        }
    }

    #[test]
    fn every_stretch_in_every_piece_length_is_the_content() {
        let pattern = Pattern::new();
        for size in [0, 5, 24, 30, 4096, 65_536, 200_000] {
            let content = Content::new(1, 2, size);
            let whole = sent(Body::Plain(Stretch::whole(&content, &pattern)), 1 << 20);
            assert_eq!(whole.len() as u64, size);
            for (from, length) in [(0, size), (size / 3, size / 2), (size / 2, size - size / 2)] {
                let stretch = Stretch::new(&content, &pattern, from, length);
                let expected = &whole[from as usize..(from + length) as usize];
                for piece in [100, 1 << 20] {
                    assert_eq!(sent(Body::Plain(stretch), piece), expected, "{from} of {size}");
                    for (signed, checksum) in
                        [(true, None), (false, Some(Checksum::Crc32)), (true, Some(Checksum::Sha1))]
                    {
                        let signer = signed.then(|| Signer::new("a", "b", "c").chunks("", [0; 32]));
                        let chunked = Chunked::new(stretch, signer, checksum);
                        let text = sent(Body::Chunked(Box::new(chunked)), piece);
                        let announced = Chunked::encoded_length(length, signed, checksum);
                        assert_eq!(text.len() as u64, announced, "{from} of {size}");
                        let (body, trailer) = decoded(&text);
                        assert_eq!(body, expected);
                        assert!(trailer.ends_with("\r\n"));
                        let checksum = checksum.map(|checksum| stretch.checksum(checksum));
                        assert!(trailer.contains(checksum.as_deref().unwrap_or_default()));
                    }
                }
            }
        }
    }
}
