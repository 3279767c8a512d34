//! The `aws-chunked` framing of a body, decoded in place and verified as it goes.
//!
//! ```text
//! (size-in-hex [";chunk-signature=" 64 hex digits] CRLF  data CRLF)*
//! "0" [";chunk-signature=" 64 hex digits] CRLF
//! (trailer-name ":" value CRLF)* ["x-amz-trailer-signature:" 64 hex digits CRLF] CRLF
//! ```
//!
//! A pure state machine: it is given the body's bytes in pieces of any size and moves the data in
//! each to the front of the piece.
//!
//! Invariants: the result does not depend on how the body was cut; what is kept between two pieces
//! is bounded by `limits.rs`; exactly the announced number of data bytes comes out, or an error.
//! Data is given out before the signature of its chunk is known: nothing may be made durable
//! before [`ChunkDecoder::finish`].
//!
//! Source: AWS, "Signature Calculations for the Authorization Header: Transferring Payload in
//! Multiple Chunks" and the page on trailing headers.

use crate::auth::credentials::SigningKey;
use crate::auth::sigv4::hex_fits;
use crate::auth::timestamp::Timestamp;
use crate::error::{Code, S3Error};
use crate::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};
use hmac::Mac;
use sha2::{Digest, Sha256};

/// SHA-256 of nothing, which every chunk's signature covers.
const EMPTY_SHA256: &[u8] = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const TRAILER_SIGNATURE: &str = "x-amz-trailer-signature";
const SIGNATURE_DIGITS: usize = 64;

/// Verifies the signatures of chunks and trailers, each of which covers the one before it.
#[derive(Debug)]
pub struct ChunkSigner {
    key: SigningKey,
    timestamp: Timestamp,
    scope: String,
    /// In hex digits; the request's own signature before the first chunk.
    previous: [u8; SIGNATURE_DIGITS],
}

impl ChunkSigner {
    /// `seed` is the request's signature, which was verified: without it being 64 hex digits no
    /// signature fits.
    pub fn new(key: SigningKey, timestamp: Timestamp, scope: String, seed: &str) -> Self {
        let previous = seed.as_bytes().try_into().unwrap_or([0; SIGNATURE_DIGITS]);
        Self { key, timestamp, scope, previous }
    }

    fn check_chunk(&mut self, data: Sha256, signature: &[u8]) -> Result<(), S3Error> {
        self.check("AWS4-HMAC-SHA256-PAYLOAD", &[EMPTY_SHA256, b"\n"], data, signature)
    }

    fn check_trailer(&mut self, trailers: Sha256, signature: &[u8]) -> Result<(), S3Error> {
        self.check("AWS4-HMAC-SHA256-TRAILER", &[], trailers, signature)
    }

    fn check(
        &mut self,
        kind: &str,
        between: &[&[u8]],
        hashed: Sha256,
        signature: &[u8],
    ) -> Result<(), S3Error> {
        let mut mac = self.key.mac();
        mac.update(kind.as_bytes());
        for line in [self.timestamp.text().as_slice(), self.scope.as_bytes(), &self.previous] {
            mac.update(b"\n");
            mac.update(line);
        }
        mac.update(b"\n");
        between.iter().for_each(|piece| mac.update(piece));
        mac.update(hex::encode(hashed.finalize()).as_bytes());
        if !hex_fits(&mac.finalize().into_bytes().into(), signature) {
            return Err(Code::SignatureDoesNotMatch.into());
        }
        self.previous = signature.try_into().unwrap_or([0; SIGNATURE_DIGITS]);
        Ok(())
    }
}

/// What came behind the data: names in lower case, in the order of arrival.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Trailers(Vec<(String, String)>);

impl Trailers {
    /// `name` in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Names in lower case.
impl FromIterator<(String, String)> for Trailers {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(trailers: I) -> Self {
        Self(trailers.into_iter().collect())
    }
}

/// How a chunked body was announced.
#[derive(Debug)]
pub struct ChunkedForm {
    /// Data bytes to come, without the framing.
    pub decoded_bytes: u64,
    /// None for the form without signatures.
    pub signer: Option<Box<ChunkSigner>>,
    /// Lower-case names of the trailers to come; none if the form has no trailers.
    pub trailers: Option<Vec<String>>,
}

/// Where in the framing the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the line that opens a chunk.
    Opening,
    /// In a chunk's data, of which so many bytes are left, at least one.
    Data { left: u64 },
    /// In the line end behind a chunk's data.
    Closing,
    /// Behind the chunk of size zero.
    Trailer,
}

/// The decoder of one body.
#[derive(Debug)]
pub struct ChunkDecoder {
    form: ChunkedForm,
    state: State,
    /// Data bytes that are still to come.
    remaining: u64,
    /// What has come of the current line, or of the trailer. Bounded.
    line: Vec<u8>,
    /// Data of the current chunk; idle without a signer.
    hasher: Sha256,
    /// Of the current chunk, as its opening line gave it.
    signature: [u8; SIGNATURE_DIGITS],
}

impl ChunkDecoder {
    pub fn new(form: ChunkedForm) -> Self {
        Self {
            remaining: form.decoded_bytes,
            form,
            state: State::Opening,
            line: Vec::new(),
            hasher: Sha256::new(),
            signature: [0; SIGNATURE_DIGITS],
        }
    }

    /// All data has come out; framing may still follow.
    pub fn data_ended(&self) -> bool {
        self.remaining == 0
    }

    /// Takes the next bytes of the body and moves the data among them to the front of `bytes`.
    /// Returns how many bytes of data there are. After an error the decoder is of no more use.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<usize, S3Error> {
        let (mut from, mut to) = (0, 0);
        while from < bytes.len() {
            match self.state {
                State::Data { left } => {
                    let wanted = usize::try_from(left).unwrap_or(usize::MAX);
                    let count = wanted.min(bytes.len() - from);
                    self.take_data(&bytes[from..from + count], left)?;
                    bytes.copy_within(from..from + count, to);
                    from += count;
                    to += count;
                }
                State::Opening | State::Closing => from += self.take_line(&bytes[from..])?,
                State::Trailer => from += self.take_trailer(&bytes[from..])?,
            }
        }
        Ok(to)
    }

    /// The body has ended: checks that it was complete, and its trailers.
    pub fn finish(mut self) -> Result<Trailers, S3Error> {
        if self.state != State::Trailer {
            return Err(Code::IncompleteBody.into());
        }
        let trailers = parse_trailers(&self.line)?;
        self.check_trailers(trailers)
    }

    /// `left` is the chunk's rest, these bytes included.
    fn take_data(&mut self, data: &[u8], left: u64) -> Result<(), S3Error> {
        let count = data.len() as u64;
        self.remaining -= count;
        if self.form.signer.is_some() {
            self.hasher.update(data);
        }
        self.state = State::Data { left: left - count };
        if left == count {
            self.end_chunk()?;
            self.state = State::Closing;
        }
        Ok(())
    }

    fn end_chunk(&mut self) -> Result<(), S3Error> {
        let hasher = std::mem::take(&mut self.hasher);
        match &mut self.form.signer {
            Some(signer) => signer.check_chunk(hasher, &self.signature),
            None => Ok(()),
        }
    }

    /// Takes bytes up to the end of the line, and acts on the line if it is complete. Returns how
    /// many bytes were taken.
    fn take_line(&mut self, bytes: &[u8]) -> Result<usize, S3Error> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let count = end.map_or(bytes.len(), |end| end + 1);
        if self.line.len() + count > CHUNK_LINE_BYTES_MAX {
            return Err(malformed());
        }
        self.line.extend_from_slice(&bytes[..count]);
        if end.is_some() {
            let mut line = std::mem::take(&mut self.line);
            let text = line.strip_suffix(b"\r\n").ok_or_else(malformed)?;
            match self.state {
                State::Opening => self.open_chunk(text)?,
                _ if text.is_empty() => self.state = State::Opening,
                _ => return Err(malformed()),
            }
            // The memory serves the next line too.
            line.clear();
            self.line = line;
        }
        Ok(count)
    }

    fn open_chunk(&mut self, line: &[u8]) -> Result<(), S3Error> {
        let mut fields = line.split(|byte| *byte == b';');
        let size = fields.next().and_then(chunk_size).ok_or_else(malformed)?;
        if self.form.signer.is_some() {
            self.signature = fields
                .find_map(|field| field.strip_prefix(b"chunk-signature="))
                .and_then(|digits| digits.try_into().ok())
                .ok_or_else(|| S3Error::from(Code::SignatureDoesNotMatch))?;
        }
        // More data than was announced, or an end before all of it came.
        if size > self.remaining || (size == 0 && self.remaining > 0) {
            return Err(Code::IncompleteBody.into());
        }
        if size == 0 {
            self.end_chunk()?;
            self.state = State::Trailer;
        } else {
            self.state = State::Data { left: size };
        }
        Ok(())
    }

    /// Keeps the trailer until the body's end: clients differ in how they separate and end its
    /// lines, and only the body's end says for certain that it is complete.
    fn take_trailer(&mut self, bytes: &[u8]) -> Result<usize, S3Error> {
        if self.line.len() + bytes.len() > TRAILER_BYTES_MAX {
            return Err(Code::MalformedTrailerError.into());
        }
        self.line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    /// Exactly the announced trailers must have come, with their signature if chunks have one.
    fn check_trailers(&mut self, trailers: Vec<(String, String)>) -> Result<Trailers, S3Error> {
        let announced = self.form.trailers.as_deref().unwrap_or_default();
        let (mut given, rest): (Vec<_>, Vec<_>) =
            trailers.into_iter().partition(|(name, _)| announced.contains(name));
        let is_complete = announced.iter().all(|name| given.iter().any(|(found, _)| found == name));
        let signature = match (&self.form.trailers, &mut self.form.signer, rest.as_slice()) {
            (Some(_), Some(signer), [(name, value)]) if name == TRAILER_SIGNATURE => {
                Some((signer, value))
            }
            // Signed chunks with a trailer that is not signed.
            (Some(_), Some(_), []) => return Err(Code::SignatureDoesNotMatch.into()),
            (_, _, []) => None,
            _ => return Err(Code::MalformedTrailerError.into()),
        };
        if !is_complete || given.len() != announced.len() {
            return Err(Code::MalformedTrailerError.into());
        }
        if let Some((signer, signature)) = signature {
            given.sort();
            signer.check_trailer(hash_trailers(&given), signature.as_bytes())?;
        }
        Ok(Trailers(given))
    }
}

fn malformed() -> S3Error {
    S3Error::new(Code::InvalidRequest, "The aws-chunked body is malformed.")
}

fn chunk_size(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn hash_trailers(trailers: &[(String, String)]) -> Sha256 {
    let mut hasher = Sha256::new();
    for (name, value) in trailers {
        for piece in [name, ":", value, "\n"] {
            hasher.update(piece.as_bytes());
        }
    }
    hasher
}

/// Blank lines are skipped wherever they are, and a line may end without CR: there are clients
/// that write one of them too many.
fn parse_trailers(bytes: &[u8]) -> Result<Vec<(String, String)>, S3Error> {
    let malformed = || S3Error::from(Code::MalformedTrailerError);
    let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (name, value) = line.split_once(':').ok_or_else(malformed)?;
            Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests;
