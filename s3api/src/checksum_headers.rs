//! The headers by which clients and server agree on an object's bytes: `x-amz-checksum-*`,
//! `x-amz-trailer`, `x-amz-sdk-checksum-algorithm`, `Content-MD5`.
//!
//! Invariants: of every upload one checksum is computed and kept, CRC-64/NVME if the client names
//! none; what the client sends is compared with what was computed before anything is stored.
//!
//! Not here: computing digests (`engine::checksum`), where the kept checksum stands
//! (`attributes`).
//!
//! Source: AWS, "Checking object integrity in Amazon S3".

use crate::auth::Trailers;
use crate::error::{Code, S3Error};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use engine::checksum::{Algorithm, Hasher, combine};

/// Every algorithm, in the order in which AWS lists them.
pub const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme, Algorithm::Sha1, Algorithm::Sha256];

/// The longest digest, of SHA-256.
const DIGEST_BYTES_MAX: usize = 32;

/// What is computed if the client names nothing.
pub const DEFAULT_ALGORITHM: Algorithm = Algorithm::Crc64Nvme;

/// As S3 names an algorithm in headers, XML and messages.
pub fn algorithm_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Crc32 => "CRC32",
        Algorithm::Crc32c => "CRC32C",
        Algorithm::Crc64Nvme => "CRC64NVME",
        Algorithm::Sha1 => "SHA1",
        Algorithm::Sha256 => "SHA256",
    }
}

/// The header, or trailer, that carries an algorithm's value.
pub fn header_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Crc32 => "x-amz-checksum-crc32",
        Algorithm::Crc32c => "x-amz-checksum-crc32c",
        Algorithm::Crc64Nvme => "x-amz-checksum-crc64nvme",
        Algorithm::Sha1 => "x-amz-checksum-sha1",
        Algorithm::Sha256 => "x-amz-checksum-sha256",
    }
}

/// The XML element that carries an algorithm's value.
pub fn element_name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::Crc32 => "ChecksumCRC32",
        Algorithm::Crc32c => "ChecksumCRC32C",
        Algorithm::Crc64Nvme => "ChecksumCRC64NVME",
        Algorithm::Sha1 => "ChecksumSHA1",
        Algorithm::Sha256 => "ChecksumSHA256",
    }
}

fn parse_algorithm(name: &[u8]) -> Result<Algorithm, S3Error> {
    ALGORITHMS
        .into_iter()
        .find(|algorithm| name.eq_ignore_ascii_case(algorithm_name(*algorithm).as_bytes()))
        .ok_or_else(|| {
            invalid(
                "Checksum algorithm provided is unsupported. Please try again with any of the \
                 valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]",
            )
        })
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> S3Error {
    S3Error::new(Code::InvalidRequest, message)
}

/// What the checksum of a multipart object covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChecksumType {
    /// The object's bytes, however they came.
    FullObject,
    /// The digests of its parts.
    Composite,
}

impl ChecksumType {
    pub fn name(self) -> &'static str {
        match self {
            Self::FullObject => "FULL_OBJECT",
            Self::Composite => "COMPOSITE",
        }
    }

    fn parse(name: &[u8]) -> Result<Self, S3Error> {
        [Self::FullObject, Self::Composite]
            .into_iter()
            .find(|kind| name.eq_ignore_ascii_case(kind.name().as_bytes()))
            .ok_or_else(|| invalid("Value for x-amz-checksum-type header is invalid."))
    }
}

/// A checksum as it is kept and shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checksum {
    pub algorithm: Algorithm,
    pub kind: ChecksumType,
    /// Of a composite checksum how many parts it covers, else zero.
    pub parts: u16,
    /// Zero behind the algorithm's digest, so that the derived equality is that of the digests.
    digest: [u8; DIGEST_BYTES_MAX],
}

impl Checksum {
    /// The checksum of an object's own bytes; none if the digest has not the algorithm's length.
    pub fn full_object(algorithm: Algorithm, digest: &[u8]) -> Option<Self> {
        Self::new(algorithm, ChecksumType::FullObject, 0, digest)
    }

    /// None if the digest has not the algorithm's length.
    pub fn new(
        algorithm: Algorithm,
        kind: ChecksumType,
        parts: u16,
        digest: &[u8],
    ) -> Option<Self> {
        if digest.len() != algorithm.digest_bytes() {
            return None;
        }
        let mut bytes = [0; DIGEST_BYTES_MAX];
        bytes.get_mut(..digest.len())?.copy_from_slice(digest);
        Some(Self { algorithm, kind, parts, digest: bytes })
    }

    pub fn digest(&self) -> &[u8] {
        &self.digest[..self.algorithm.digest_bytes()]
    }

    /// As headers and XML give it: base64, with `-N` behind a composite of N parts.
    pub fn text(&self) -> String {
        let mut text = BASE64_STANDARD.encode(self.digest());
        if self.kind == ChecksumType::Composite {
            text.push_str(&format!("-{}", self.parts));
        }
        text
    }

    /// The headers of an answer that shows the checksum.
    pub fn headers(&self) -> [(&'static str, String); 2] {
        [
            (header_name(self.algorithm), self.text()),
            ("x-amz-checksum-type", self.kind.name().to_owned()),
        ]
    }

    /// The checksum of an object made of `parts`, each with its own checksum and size in bytes.
    /// None if the parts have not all a checksum of that algorithm, or it cannot be combined so.
    pub fn of_parts(
        algorithm: Algorithm,
        kind: ChecksumType,
        parts: &[(Checksum, u64)],
    ) -> Option<Self> {
        if parts.iter().any(|(part, _)| part.algorithm != algorithm) {
            return None;
        }
        match kind {
            ChecksumType::FullObject => Self::combined(algorithm, parts),
            ChecksumType::Composite => {
                let mut hasher = Hasher::new(algorithm);
                parts.iter().for_each(|(part, _)| hasher.update(part.digest()));
                let count = u16::try_from(parts.len()).ok()?;
                Self::new(algorithm, kind, count, hasher.finish().as_ref())
            }
        }
    }

    fn combined(algorithm: Algorithm, parts: &[(Checksum, u64)]) -> Option<Self> {
        let ((first, _), rest) = parts.split_first()?;
        let mut whole = Self::full_object(algorithm, first.digest())?;
        for (part, size) in rest {
            let joined = combine(algorithm, whole.digest(), part.digest(), *size)?;
            whole = Self::full_object(algorithm, joined.as_ref())?;
        }
        Some(whole)
    }
}

/// Where the value to compare with comes from.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Nothing,
    Header(Checksum),
    /// The value comes behind the body.
    Trailer,
}

/// What to compute while a body streams by, and what to compare it with.
#[derive(Debug, PartialEq, Eq)]
pub struct ChecksumPlan {
    algorithm: Algorithm,
    expected: Expected,
    content_md5: Option<[u8; 16]>,
}

impl ChecksumPlan {
    /// Reads a request's headers through `header`, which gives the first of a name. `declared` is
    /// what the part's upload was created with, if it named an algorithm.
    pub fn parse<'a>(
        header: impl Fn(&str) -> Option<&'a [u8]>,
        declared: Option<Algorithm>,
    ) -> Result<Self, S3Error> {
        let content_md5 = header("content-md5").map(parse_md5).transpose()?;
        let in_header = checksum_header(&header)?;
        let in_trailer = header("x-amz-trailer").map(parse_trailer_name).transpose()?;
        let (named, expected) = match (in_header, in_trailer) {
            (Some(_), Some(_)) => return Err(several()),
            (Some(checksum), None) => (Some(checksum.algorithm), Expected::Header(checksum)),
            (None, Some(algorithm)) => (Some(algorithm), Expected::Trailer),
            (None, None) => (None, Expected::Nothing),
        };
        if let Some(name) = header("x-amz-sdk-checksum-algorithm") {
            check_sdk_algorithm(parse_algorithm(name)?, named)?;
        }
        check_declared(named, declared)?;
        let algorithm = named.or(declared).unwrap_or(DEFAULT_ALGORITHM);
        Ok(Self { algorithm, expected, content_md5 })
    }

    /// Which checksum to compute and keep.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether the client sent an MD5 to be compared with.
    pub fn wants_md5(&self) -> bool {
        self.content_md5.is_some()
    }

    /// Compares what was computed with what the client sent. Returns what to keep. The MD5 is not
    /// looked at unless it is wanted.
    ///
    /// `BadDigest` if they differ, `InvalidRequest` or `MalformedTrailerError` for a trailer that
    /// is no checksum.
    pub fn verify(
        &self,
        digest: &[u8],
        md5: &[u8; 16],
        trailers: &Trailers,
    ) -> Result<Checksum, S3Error> {
        self.verify_md5(md5)?;
        // A digest of another length than its algorithm's is a bug of the caller.
        let computed = Checksum::full_object(self.algorithm, digest)
            .ok_or_else(|| S3Error::from(Code::InternalError))?;
        let expected = match &self.expected {
            Expected::Nothing => return Ok(computed),
            Expected::Header(checksum) => *checksum,
            Expected::Trailer => {
                let value = trailers
                    .get(header_name(self.algorithm))
                    .ok_or_else(|| S3Error::from(Code::MalformedTrailerError))?;
                parse_value(self.algorithm, value.as_bytes())?
            }
        };
        if expected == computed { Ok(computed) } else { Err(mismatch(self.algorithm)) }
    }

    fn verify_md5(&self, computed: &[u8; 16]) -> Result<(), S3Error> {
        match &self.content_md5 {
            Some(expected) if expected != computed => Err(S3Error::new(
                Code::BadDigest,
                "The Content-MD5 you specified did not match what we received.",
            )
            .field("ExpectedDigest", BASE64_STANDARD.encode(expected))
            .field("CalculatedDigest", BASE64_STANDARD.encode(computed))),
            _ => Ok(()),
        }
    }
}

fn parse_md5(value: &[u8]) -> Result<[u8; 16], S3Error> {
    BASE64_STANDARD.decode(value).ok().and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| {
        S3Error::new(Code::InvalidDigest, "The Content-MD5 you specified was invalid.")
    })
}

/// The one `x-amz-checksum-*` header of a request that carries a value.
fn checksum_header<'a>(
    header: impl Fn(&str) -> Option<&'a [u8]>,
) -> Result<Option<Checksum>, S3Error> {
    let mut found = None;
    for algorithm in ALGORITHMS {
        if let Some(value) = header(header_name(algorithm)) {
            if found.is_some() {
                return Err(several());
            }
            found = Some(parse_value(algorithm, value)?);
        }
    }
    Ok(found)
}

fn several() -> S3Error {
    invalid("Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
}

fn parse_value(algorithm: Algorithm, value: &[u8]) -> Result<Checksum, S3Error> {
    BASE64_STANDARD
        .decode(value)
        .ok()
        .and_then(|digest| Checksum::full_object(algorithm, &digest))
        .ok_or_else(|| invalid(format!("Value for {} header is invalid.", header_name(algorithm))))
}

fn parse_trailer_name(value: &[u8]) -> Result<Algorithm, S3Error> {
    let name = value.trim_ascii();
    ALGORITHMS
        .into_iter()
        .find(|algorithm| name.eq_ignore_ascii_case(header_name(*algorithm).as_bytes()))
        .ok_or_else(|| invalid("The value specified in the x-amz-trailer header is not supported"))
}

fn check_sdk_algorithm(announced: Algorithm, named: Option<Algorithm>) -> Result<(), S3Error> {
    match named {
        None => Err(invalid(
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or \
             x-amz-trailer headers were found.",
        )),
        Some(named) if named != announced => {
            Err(invalid("Value for x-amz-sdk-checksum-algorithm header is invalid."))
        }
        Some(_) => Ok(()),
    }
}

fn check_declared(named: Option<Algorithm>, declared: Option<Algorithm>) -> Result<(), S3Error> {
    match (named, declared) {
        (Some(named), Some(declared)) if named != declared => Err(invalid(format!(
            "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
            algorithm_name(declared).to_lowercase(),
            algorithm_name(named).to_lowercase(),
        ))),
        _ => Ok(()),
    }
}

fn mismatch(algorithm: Algorithm) -> S3Error {
    let name = algorithm_name(algorithm);
    S3Error::new(
        Code::BadDigest,
        format!("The {name} you specified did not match the calculated checksum."),
    )
}

/// The algorithm that a copy is to have (`x-amz-checksum-algorithm`); none if it says nothing.
pub fn parse_copy_algorithm<'a>(
    header: impl Fn(&str) -> Option<&'a [u8]>,
) -> Result<Option<Algorithm>, S3Error> {
    header("x-amz-checksum-algorithm").map(parse_algorithm).transpose()
}

/// What CreateMultipartUpload says of the object's checksum: algorithm and type, each in its own
/// header; none if it says nothing.
pub fn parse_upload_checksum<'a>(
    header: impl Fn(&str) -> Option<&'a [u8]>,
) -> Result<Option<(Algorithm, ChecksumType)>, S3Error> {
    let kind = header("x-amz-checksum-type").map(ChecksumType::parse).transpose()?;
    let Some(name) = header("x-amz-checksum-algorithm") else {
        return match kind {
            None => Ok(None),
            Some(_) => Err(invalid(
                "The x-amz-checksum-type header can only be used with the \
                 x-amz-checksum-algorithm header.",
            )),
        };
    };
    let algorithm = parse_algorithm(name)?;
    let kind = kind.unwrap_or(match algorithm {
        Algorithm::Crc64Nvme => ChecksumType::FullObject,
        _ => ChecksumType::Composite,
    });
    let is_possible = match algorithm {
        Algorithm::Crc32 | Algorithm::Crc32c => true,
        Algorithm::Crc64Nvme => kind == ChecksumType::FullObject,
        // The hash of a whole does not follow from those of its parts.
        Algorithm::Sha1 | Algorithm::Sha256 => kind == ChecksumType::Composite,
    };
    if !is_possible {
        return Err(invalid(format!(
            "The {} checksum type cannot be used with the {} checksum algorithm.",
            kind.name(),
            algorithm_name(algorithm).to_lowercase()
        )));
    }
    Ok(Some((algorithm, kind)))
}

/// Compares what CompleteMultipartUpload's headers say of the whole object with its checksum.
pub fn verify_completed<'a>(
    header: impl Fn(&str) -> Option<&'a [u8]>,
    computed: Option<&Checksum>,
) -> Result<(), S3Error> {
    if let (Some(value), Some(computed)) = (header("x-amz-checksum-type"), computed)
        && ChecksumType::parse(value)? != computed.kind
    {
        return Err(invalid(format!(
            "The upload was created using the {} checksum mode. The complete request must use the \
             same checksum mode.",
            computed.kind.name()
        )));
    }
    for algorithm in ALGORITHMS {
        let Some(value) = header(header_name(algorithm)) else { continue };
        let computed = computed
            .filter(|computed| computed.algorithm == algorithm)
            .ok_or_else(|| mismatch(algorithm))?;
        let (digest, parts) = split_parts(value);
        let expected = parse_value(algorithm, digest)?;
        if expected.digest() != computed.digest() || parts.is_some_and(|n| n != computed.parts) {
            return Err(mismatch(algorithm));
        }
    }
    Ok(())
}

/// Whether a part's checksum, as CompleteMultipartUpload's document gives it, is that kept.
pub fn is_part_checksum(kept: &Checksum, algorithm: Algorithm, value: &str) -> bool {
    parse_value(algorithm, value.trim().as_bytes()).is_ok_and(|given| given == *kept)
}

/// Splits `base64-N`; clients may leave the count out.
fn split_parts(value: &[u8]) -> (&[u8], Option<u16>) {
    let Some(dash) = value.iter().rposition(|byte| *byte == b'-') else { return (value, None) };
    let (digest, count) = value.split_at(dash);
    let count = std::str::from_utf8(&count[1..]).ok().and_then(|digits| digits.parse().ok());
    // Base64 holds no dash: without a count behind it the value is invalid as a whole.
    count.map_or((value, None), |count| (digest, Some(count)))
}

#[cfg(test)]
mod tests;
