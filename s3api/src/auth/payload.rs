//! The form in which a request's body comes, and the reader that verifies it.
//!
//! Invariants: the bytes that the reader gives out are the object's, without framing; after
//! [`PayloadReader::finish`] their number, their hash and their signatures were all found good,
//! as far as the form has them. Bodies without framing are read straight into the caller's
//! buffer; chunked ones too, and their framing is moved out of the way there.
//!
//! Not here: checksums that S3 keeps (`checksum_headers`).
//!
//! Source: AWS, "Authenticating Requests: Using the Authorization Header", on
//! `x-amz-content-sha256`.

use crate::auth::canonical::RequestParts;
use crate::auth::chunked::{ChunkDecoder, ChunkSigner, ChunkedForm, Trailers};
use crate::error::{Code, S3Error};
use sha2::{Digest, Sha256};
use std::fmt;

/// A body's form, as its request announced and signed it.
#[derive(Debug)]
pub enum Payload {
    /// Nothing is said of the bytes.
    Unsigned,
    /// The SHA-256 of the whole body.
    Hashed([u8; 32]),
    /// `aws-chunked` framing.
    Chunked(ChunkedForm),
}

impl Payload {
    /// Reads the form from the payload's line in the canonical request. `signer` makes what
    /// verifies signed chunks, if anybody has signed.
    pub fn parse(
        line: &str,
        request: &RequestParts<'_>,
        signer: impl FnOnce() -> Option<ChunkSigner>,
    ) -> Result<Self, S3Error> {
        let chunked = |signer, has_trailers: bool| {
            Ok(Self::Chunked(ChunkedForm {
                decoded_bytes: decoded_length(request)?,
                signer,
                trailers: has_trailers.then(|| announced_trailers(request)),
            }))
        };
        let signer =
            || signer().map(Box::new).map(Some).ok_or_else(|| S3Error::from(Code::AccessDenied));
        match line {
            "UNSIGNED-PAYLOAD" => Ok(Self::Unsigned),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => chunked(None, true),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => chunked(signer()?, false),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => chunked(signer()?, true),
            _ if line.starts_with("STREAMING-AWS4-ECDSA-") => {
                Err(S3Error::unsupported_header("x-amz-content-sha256"))
            }
            _ => parse_hash(line).map(Self::Hashed),
        }
    }

    /// How many bytes the reader will give out, if that is known. `content_length` is that of the
    /// body as it is sent.
    pub fn size_bytes(&self, content_length: Option<u64>) -> Option<u64> {
        match self {
            Self::Chunked(form) => Some(form.decoded_bytes),
            Self::Unsigned | Self::Hashed(_) => content_length,
        }
    }
}

fn parse_hash(line: &str) -> Result<[u8; 32], S3Error> {
    let mut hash = [0; 32];
    match hex::decode_to_slice(line, &mut hash) {
        Ok(()) => Ok(hash),
        Err(_) => Err(S3Error::invalid_argument(
            "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, \
             STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a \
             valid sha256 value.",
            "x-amz-content-sha256",
            line,
        )),
    }
}

fn decoded_length(request: &RequestParts<'_>) -> Result<u64, S3Error> {
    let value = request
        .header("x-amz-decoded-content-length")
        .ok_or_else(|| S3Error::from(Code::MissingContentLength))?;
    std::str::from_utf8(value)
        .ok()
        .map(str::trim)
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| {
            S3Error::invalid_argument(
                "x-amz-decoded-content-length must be a number of bytes.",
                "x-amz-decoded-content-length",
                String::from_utf8_lossy(value),
            )
        })
}

/// Lower-case names from all `x-amz-trailer` headers.
fn announced_trailers(request: &RequestParts<'_>) -> Vec<String> {
    request
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("x-amz-trailer"))
        .flat_map(|(_, value)| value.split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
        .filter(|name| !name.is_empty())
        .collect()
}

/// `Content-Encoding` as it is kept with the object: without `aws-chunked`, which ends here.
/// None if nothing is left.
pub fn stored_content_encoding(value: &str) -> Option<String> {
    let kept: Vec<&str> = value
        .split(',')
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"))
        .collect();
    (!kept.is_empty()).then(|| kept.join(", "))
}

/// Where a body's bytes come from, framing of HTTP already removed.
#[expect(async_fn_in_trait, reason = "the futures stay on their core and need not be Send")]
pub trait RawBody {
    /// Reads some bytes; 0 is the end.
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, http::Error>;
}

impl<S: http::Stream> RawBody for http::RequestBody<'_, S> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, http::Error> {
        Self::read(self, buffer).await
    }
}

/// A body that did not come in full, in S3's words.
fn body_error(error: http::Error) -> S3Error {
    match error {
        http::Error::Rejected(rejection) => S3Error::new(Code::InvalidRequest, rejection.reason),
        http::Error::TimedOut => Code::RequestTimeout.into(),
        // There is hardly anybody left to read the answer.
        http::Error::UnexpectedEnd | http::Error::Io(_) | http::Error::Answer(_) => {
            Code::IncompleteBody.into()
        }
    }
}

/// A chunked body is not read straight into a buffer smaller than this: framing would then be read
/// in ever smaller bits.
const STAGING_BYTES: usize = 1024;

/// Reads and verifies one body.
pub struct PayloadReader<'a, B> {
    body: &'a mut B,
    form: Form,
}

enum Form {
    Unsigned,
    Hashed { expected: [u8; 32], hasher: Sha256 },
    Chunked { decoder: Box<ChunkDecoder>, staging: Staging },
}

/// Data that was decoded and did not fit into the caller's small buffer.
#[derive(Default)]
struct Staging {
    /// Empty until it is needed.
    buffer: Vec<u8>,
    /// The part of `buffer` that waits to be given out.
    from: usize,
    to: usize,
}

impl<'a, B: RawBody> PayloadReader<'a, B> {
    pub fn new(payload: Payload, body: &'a mut B) -> Self {
        let form = match payload {
            Payload::Unsigned => Form::Unsigned,
            Payload::Hashed(expected) => Form::Hashed { expected, hasher: Sha256::new() },
            Payload::Chunked(form) => Form::Chunked {
                decoder: Box::new(ChunkDecoder::new(form)),
                staging: Staging::default(),
            },
        };
        Self { body, form }
    }

    /// Reads some of the object's bytes into `into`, which is not empty; 0 is their end. Nothing
    /// of what was read may be made visible before [`Self::finish`].
    pub async fn read(&mut self, into: &mut [u8]) -> Result<usize, S3Error> {
        match &mut self.form {
            Form::Unsigned => self.body.read(into).await.map_err(body_error),
            Form::Hashed { hasher, .. } => {
                let count = self.body.read(into).await.map_err(body_error)?;
                hasher.update(&into[..count]);
                Ok(count)
            }
            Form::Chunked { decoder, staging } => {
                read_chunked(self.body, decoder, staging, into).await
            }
        }
    }

    /// Verifies what can only be known at the end. The caller has read all data; data that is
    /// still there is an error.
    pub async fn finish(mut self) -> Result<Trailers, S3Error> {
        let mut scratch = [0; STAGING_BYTES];
        loop {
            let count = self.body.read(&mut scratch).await.map_err(body_error)?;
            if count == 0 {
                break;
            }
            let left_over = match &mut self.form {
                Form::Chunked { decoder, .. } => decoder.decode(&mut scratch[..count])?,
                Form::Unsigned | Form::Hashed { .. } => count,
            };
            if left_over > 0 {
                return Err(Code::IncompleteBody.into());
            }
        }
        match self.form {
            Form::Unsigned => Ok(Trailers::default()),
            Form::Hashed { expected, hasher } => check_hash(&expected, hasher),
            Form::Chunked { decoder, staging } if staging.is_empty() => decoder.finish(),
            Form::Chunked { .. } => Err(Code::IncompleteBody.into()),
        }
    }

    /// Reads and verifies a whole small body, such as an XML document.
    pub async fn collect(mut self, bytes_max: usize) -> Result<(Vec<u8>, Trailers), S3Error> {
        let mut collected = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let count = self.read(&mut piece).await?;
            if count == 0 {
                break;
            }
            if collected.len() + count > bytes_max {
                return Err(Code::MaxMessageLengthExceeded.into());
            }
            collected.extend_from_slice(&piece[..count]);
        }
        Ok((collected, self.finish().await?))
    }
}

fn check_hash(expected: &[u8; 32], hasher: Sha256) -> Result<Trailers, S3Error> {
    let computed: [u8; 32] = hasher.finalize().into();
    if computed == *expected {
        return Ok(Trailers::default());
    }
    Err(S3Error::from(Code::XAmzContentSHA256Mismatch)
        .field("ClientComputedContentSHA256", hex::encode(expected))
        .field("S3ComputedContentSHA256", hex::encode(computed)))
}

async fn read_chunked<B: RawBody>(
    body: &mut B,
    decoder: &mut ChunkDecoder,
    staging: &mut Staging,
    into: &mut [u8],
) -> Result<usize, S3Error> {
    loop {
        if !staging.is_empty() {
            return Ok(staging.give(into));
        }
        // The framing that is left is read by `finish`, which needs no space for data.
        if decoder.data_ended() {
            return Ok(0);
        }
        let is_small = into.len() < STAGING_BYTES;
        let target = if is_small { staging.space() } else { &mut *into };
        let count = body.read(target).await.map_err(body_error)?;
        if count == 0 {
            return Err(Code::IncompleteBody.into());
        }
        let decoded = decoder.decode(&mut target[..count])?;
        if is_small {
            staging.to = decoded;
        } else if decoded > 0 {
            return Ok(decoded);
        }
    }
}

impl Staging {
    fn is_empty(&self) -> bool {
        self.from == self.to
    }

    fn space(&mut self) -> &mut [u8] {
        (self.from, self.to) = (0, 0);
        self.buffer.resize(STAGING_BYTES, 0);
        &mut self.buffer
    }

    fn give(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.to - self.from);
        into[..count].copy_from_slice(&self.buffer[self.from..self.from + count]);
        self.from += count;
        count
    }
}

impl<B> fmt::Debug for PayloadReader<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let form = match &self.form {
            Form::Unsigned => "Unsigned",
            Form::Hashed { .. } => "Hashed",
            Form::Chunked { .. } => "Chunked",
        };
        f.debug_tuple("PayloadReader").field(&form).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use futures_lite::future::block_on;

    /// Gives out a body in pieces of at most so many bytes.
    struct Pieces<'a>(&'a [u8], usize);

    impl RawBody for Pieces<'_> {
        async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, http::Error> {
            let count = self.1.min(buffer.len()).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn read_all(
        payload: Payload,
        body: &[u8],
        piece: usize,
        buffer: usize,
    ) -> Result<(Vec<u8>, Trailers), S3Error> {
        let mut body = Pieces(body, piece);
        let mut reader = PayloadReader::new(payload, &mut body);
        let mut data = Vec::new();
        let mut buffer = vec![0; buffer];
        block_on(async {
            loop {
                match reader.read(&mut buffer).await? {
                    0 => return Ok((data, reader.finish().await?)),
                    count => data.extend_from_slice(&buffer[..count]),
                }
            }
        })
    }

    fn parse(line: &str, headers: &[(&str, &[u8])]) -> Result<Payload, S3Error> {
        let request = RequestParts::new("PUT", "/b/k", headers);
        Payload::parse(line, &request, || unreachable!("no signed chunks here"))
    }

    #[test]
    fn a_declared_hash_must_be_that_of_the_body() {
        let digits = hex::encode(Sha256::digest(b"hello"));
        let good = read_all(parse(&digits, &[]).unwrap(), b"hello", 2, 3).unwrap();
        assert_eq!(good.0, b"hello");
        let error = read_all(parse(&digits, &[]).unwrap(), b"jello", 2, 3).unwrap_err();
        assert_eq!(error.code, Code::XAmzContentSHA256Mismatch);
        assert_eq!(error.fields[0], ("ClientComputedContentSHA256", digits));
        assert_eq!(read_all(Payload::Unsigned, b"hello", 2, 3).unwrap().0, b"hello");
    }

    #[test]
    fn chunked_bodies_come_out_whole_through_buffers_of_every_size() {
        let data: Vec<u8> = (0..20_000u32).map(|value| (value % 251) as u8).collect();
        let mut body = Vec::new();
        for chunk in data.chunks(3000) {
            body.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            body.extend_from_slice(chunk);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n");
        let headers: &[(&str, &[u8])] = &[
            ("X-Amz-Decoded-Content-Length", b"20000"),
            ("x-amz-trailer", b"X-Amz-Checksum-CRC32"),
        ];
        for buffer in [1, 7, 1023, 1024, 5000, 100_000] {
            for piece in [1, 900, 100_000] {
                let payload = parse("STREAMING-UNSIGNED-PAYLOAD-TRAILER", headers).unwrap();
                assert_eq!(payload.size_bytes(Some(99)), Some(20_000));
                let (found, trailers) = read_all(payload, &body, piece, buffer).unwrap();
                assert_eq!(found, data, "{buffer} {piece}");
                assert_eq!(trailers.get("x-amz-checksum-crc32"), Some("AAAAAA=="));
            }
        }
        let payload = parse("STREAMING-UNSIGNED-PAYLOAD-TRAILER", headers).unwrap();
        let error = read_all(payload, &body[..9000], 900, 5000).unwrap_err();
        assert_eq!(error.code, Code::IncompleteBody);
    }

    #[test]
    fn an_empty_chunked_body_is_verified_too() {
        let headers: &[(&str, &[u8])] = &[("x-amz-decoded-content-length", b"0")];
        let form = || parse("STREAMING-UNSIGNED-PAYLOAD-TRAILER", headers).unwrap();
        assert_eq!(read_all(form(), b"0\r\n\r\n", 1, 10).unwrap().0, b"");
        assert_eq!(read_all(form(), b"", 1, 10).unwrap_err().code, Code::IncompleteBody);
        let error = read_all(form(), b"1\r\na\r\n0\r\n\r\n", 100, 10).unwrap_err();
        assert_eq!(error.code, Code::IncompleteBody);
    }

    #[test]
    fn a_small_body_is_collected_within_its_bound() {
        let collect = |max| {
            let mut body = Pieces(b"<Delete/>", 4);
            block_on(PayloadReader::new(Payload::Unsigned, &mut body).collect(max))
        };
        assert_eq!(collect(9).unwrap().0, b"<Delete/>");
        assert_eq!(collect(8).unwrap_err().code, Code::MaxMessageLengthExceeded);
    }

    fn check_refused(line: &str, headers: &[(&str, &[u8])], code: Code) {
        assert_eq!(parse(line, headers).unwrap_err().code, code, "{line}");
    }

    #[test]
    fn forms_that_are_not_known_are_refused() {
        let chunked = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
        check_refused(chunked, &[], Code::MissingContentLength);
        let length: &[(&str, &[u8])] = &[("x-amz-decoded-content-length", b"-1")];
        check_refused(chunked, length, Code::InvalidArgument);
        check_refused("", &[], Code::InvalidArgument);
        check_refused("e3b0", &[], Code::InvalidArgument);
        check_refused("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", &[], Code::NotImplemented);
    }

    #[test]
    fn aws_chunked_is_not_kept() {
        for (sent, kept) in [
            ("aws-chunked", None),
            ("aws-chunked,gzip", Some("gzip")),
            ("gzip, AWS-chunked, br", Some("gzip, br")),
            ("", None),
        ] {
            assert_eq!(stored_content_encoding(sent).as_deref(), kept, "{sent}");
        }
    }
}
