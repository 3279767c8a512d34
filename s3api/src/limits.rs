//! Every bound of the S3 server.

/// Signing keys kept per credential: a week of presigned URLs and today.
pub const SIGNING_KEYS_PER_CREDENTIAL_MAX: usize = 8;

/// How far a request's time may be from the server's, as AWS has it.
pub const CLOCK_SKEW_SECONDS_MAX: i64 = 15 * 60;

/// How long a presigned URL may live, as AWS has it.
pub const PRESIGNED_SECONDS_MAX: i64 = 7 * 24 * 60 * 60;

/// Names in a list of signed headers; each is looked for among all headers.
pub const SIGNED_HEADERS_MAX: usize = 128;

/// A chunk's line in an `aws-chunked` body, or a line of its trailer.
pub const CHUNK_LINE_BYTES_MAX: usize = 512;

/// All the trailers of an `aws-chunked` body.
pub const TRAILER_BYTES_MAX: usize = 4096;

/// User metadata of one object, names and values together, as AWS has it.
pub const USER_METADATA_BYTES_MAX: usize = 2048;

/// One system header that is kept with an object (Content-Type, Cache-Control, ...).
pub const SYSTEM_HEADER_BYTES_MAX: usize = 8192;
