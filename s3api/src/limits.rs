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

/// An object's key, in bytes of UTF-8, as AWS has it.
pub const KEY_BYTES_MAX: usize = 1024;

/// One PUT or one CopyObject, as AWS has it.
pub const PUT_BYTES_MAX: u64 = 5 << 30;

/// One part of a multipart upload.
pub const PART_BYTES_MAX: u64 = 5 << 30;

/// Every part but the last has at least this size.
pub const PART_BYTES_MIN: u64 = 5 << 20;

/// The number of the last part that an upload can have.
pub const PART_NUMBER_MAX: u16 = 10_000;

/// A whole object made of parts.
pub const OBJECT_BYTES_MAX: u64 = 5 << 40;

/// Rows on one page of any listing.
pub const LIST_ROWS_MAX: usize = 1000;

/// Buckets on one page of ListBuckets.
pub const LIST_BUCKETS_MAX: usize = 10_000;

/// Keys of one DeleteObjects request.
pub const DELETE_KEYS_MAX: usize = 1000;

/// Levels of an XML document; more than any of S3's has.
pub const XML_DEPTH_MAX: usize = 16;

/// Elements of an XML document: CompleteMultipartUpload is the largest, with 10,000 parts of at
/// most eight elements each.
pub const XML_ELEMENTS_MAX: usize = 100_000;

/// The XML body of CompleteMultipartUpload or DeleteObjects: 1,000 keys whose every byte is a
/// character reference, or 10,000 parts with their checksums, fit.
pub const XML_LIST_BYTES_MAX: usize = 8 << 20;

/// Every other XML body.
pub const XML_BODY_BYTES_MAX: usize = 64 << 10;
