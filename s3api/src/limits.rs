//! Every bound of this crate, with its reason.
//!
//! What a client may send is bounded where it is read; the numbers stand here.

use std::ops::RangeInclusive;
use std::time::Duration;

// The configuration.

/// A configuration file is a page of text.
pub const CONFIG_FILE_BYTES_MAX: u64 = 1 << 20;
/// How long a drive is measured, and in how large a file: less tells little, and more of either wears it
/// for nothing.
pub const TUNE_SECONDS: RangeInclusive<u64> = 1..=600;
pub const TUNE_FILE_BYTES: RangeInclusive<u64> = (16 << 20)..=(1 << 40);
/// Executors of one process.
pub const CORES_MAX: usize = 1024;
/// Below this not even the rings and the buffers of one core fit.
pub const MEMORY_BYTES: RangeInclusive<u64> = (64 << 20)..=(1 << 50);
pub const IO_MEMORY_BYTES: RangeInclusive<u64> = (1 << 20)..=(16 << 30);
/// The kernel takes at most 32,768 entries.
pub const RING_DEPTH: RangeInclusive<usize> = 16..=32_768;
pub const CAPACITY_BYTES: RangeInclusive<u64> = (16 << 20)..=(1 << 60);
/// What the store's format allows.
pub const SHARDS: RangeInclusive<usize> = 1..=1024;
pub const SEGMENT_BYTES: RangeInclusive<u64> = (1 << 20)..=(1 << 30);
/// More than an eighth of a core's memory is not taken, whatever is configured.
pub const HOT_OBJECT_BYTES: RangeInclusive<u64> = 0..=(1 << 40);
pub const SCRUB_RATE: RangeInclusive<u64> = 0..=(1 << 40);
/// The least is a checkpoint with every few operations: for tests, and for who wants the shortest start.
pub const CHECKPOINT_LOG_BYTES: RangeInclusive<u64> = (64 << 10)..=(1 << 40);
pub const CHECKPOINT_RECORDS: RangeInclusive<usize> = 10..=1_000_000_000;
/// Up to a year.
pub const SCRUB_INTERVAL_SECONDS: RangeInclusive<u64> = 1..=31_536_000;
pub const IDLE_SECONDS: RangeInclusive<u64> = 1..=86_400;
pub const DRAIN_SECONDS: RangeInclusive<u64> = 0..=3600;
pub const DAY_SECONDS: RangeInclusive<u64> = 1..=86_400;
pub const ACCESS_LOG_SECONDS: RangeInclusive<u64> = 1..=86_400;
pub const CONNECTIONS: RangeInclusive<usize> = 1..=1_000_000;
pub const REGION_BYTES_MAX: usize = 64;
/// The longest name that DNS knows.
pub const DOMAIN_BYTES_MAX: usize = 253;
/// A credentials file holds three short strings.
pub const CREDENTIALS_FILE_BYTES_MAX: u64 = 64 << 10;

// The server.

/// New connections that the kernel queues for one listener.
pub const LISTEN_BACKLOG: u32 = 4096;
/// Bytes of an answer that the kernel holds unsent before it asks for more; the rest of what a slow
/// client has not taken stays with us, where its pace is watched.
pub const UNSENT_BYTES_MAX: u32 = 256 << 10;
/// Connections to the management port.
pub const ADMIN_CONNECTIONS_MAX: usize = 256;
/// A request of the management API carries a few names and numbers.
pub const API_BODY_BYTES_MAX: usize = 64 << 10;
pub const API_QUERY_PAIRS_MAX: usize = 64;
/// The one that names as many keys as S3's own DeleteObjects, each as long as a key may be.
pub const API_LIST_BYTES_MAX: usize = 2 << 20;
/// Keys of the management API beside the configured one.
pub const API_KEYS_MAX: usize = 1000;
/// How long a key of the management API may live, if it is to end: ten years.
pub const API_KEY_SECONDS: RangeInclusive<u64> = 1..=315_360_000;
/// Presigned URLs that are remembered; those that end soonest are forgotten first.
pub const PRESIGNED_URLS_KEPT_MAX: usize = 4096;
/// Records of objects that the management API reads at once for a page.
pub const API_READS_AT_ONCE: usize = 16;
/// Segment files that the store keeps open on each core.
pub const SEGMENT_FILES_PER_CORE: usize = 512;
/// Descriptors beside those of connections and segments: rings, listeners, directories.
pub const OPEN_FILES_RESERVE: u64 = 256;
/// How often a core wakes for certain, and looks whether the server stops: an executor that parks with runnable
/// tasks is woken by it.
pub const TICK: Duration = Duration::from_millis(250);
/// How often connections are looked over for expired deadlines.
pub const SWEEP_INTERVAL: Duration = Duration::from_millis(250);
/// How often a core publishes what it counted.
pub const PUBLISH_INTERVAL: Duration = Duration::from_secs(1);
/// How long a TLS handshake may take.
pub const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);
/// Connections beyond the limit that are let in or refused before other tasks run.
pub const CROWDED_IN_A_ROW_MAX: u32 = 32;
/// How long accepting pauses when the process is out of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often, and how many times, a connection beyond the limit looks whether the one that gave way for it
/// has gone.
pub const ROOM_PAUSE: Duration = Duration::from_millis(1);
pub const ROOM_TRIES: u32 = 100;
/// After something last arrived, a pinned core watches this long for messages of others before it rests.
pub const SPIN_BEFORE_REST: Duration = Duration::from_micros(20);
/// Registered memory of the runtime, which nothing goes through.
pub const RUNTIME_IO_MEMORY_BYTES: usize = 1 << 20;
/// Threads per core for calls that block; they serve no request.
pub const BLOCKING_THREADS: usize = 2;

// What a measured profile can ask of the engine.

/// 2 MiB ahead: beyond that a stream is as fast as its connection.
pub const PROFILE_READ_AHEAD_MAX: usize = 8;
/// Each chunk takes a buffer of 1 MiB for as long as its upload lasts.
pub const PROFILE_CHUNK_WRITES_MAX: usize = 4;
/// While one group is written the next is encoded and on its way.
pub const PROFILE_GROUPS_MIN: usize = 2;
/// Reads of one core on one drive: below that a burst waits although the device does not.
pub const PROFILE_READS_MIN: usize = 32;

// Metrics and the log.

/// Operations that one core counts apart; labels are constants of the program.
pub const METRIC_OPERATIONS_MAX: usize = 128;
/// Statuses that one operation counts apart.
pub const METRIC_STATUSES_MAX: usize = 32;
/// The longest latency that is told apart.
pub const METRIC_LATENCY_US_MAX: u64 = 3_600_000_000;
/// Lines that one place in the program may log in one second.
pub const LOG_LINES_PER_SECOND: u32 = 20;

// Requests.

/// Signing keys kept per credential: a week of presigned URLs and today.
pub const SIGNING_KEYS_PER_CREDENTIAL_MAX: usize = 8;

/// How far a request's time may be from the server's, as AWS has it.
pub const CLOCK_SKEW_SECONDS_MAX: i64 = 15 * 60;

/// How long a presigned URL may live, as AWS has it.
pub const PRESIGNED_SECONDS_MAX: i64 = 7 * 24 * 60 * 60;

/// A longer canonical request is not shown to who has signed it otherwise: as text, in hex digits and in XML it would
/// make an answer a hundred times the request.
pub const CANONICAL_SHOWN_BYTES_MAX: usize = 16 << 10;

/// Names in a list of signed headers; each is looked for among all headers.
pub const SIGNED_HEADERS_MAX: usize = 128;

/// The line that opens a chunk of an `aws-chunked` body.
pub const CHUNK_LINE_BYTES_MAX: usize = 512;

/// All the trailers of an `aws-chunked` body.
pub const TRAILER_BYTES_MAX: usize = 4096;

/// User metadata of one object, names and values together, as AWS has it.
pub const USER_METADATA_BYTES_MAX: usize = 2048;

/// One system header that is kept with an object (Content-Type, Cache-Control, ...).
pub const SYSTEM_HEADER_BYTES_MAX: usize = 8192;

/// All that is kept with an object, encoded: more than a request's head can bring.
pub const ATTRIBUTES_BYTES_MAX: usize = 64 << 10;

/// An object's key, in bytes of UTF-8, as AWS has it.
pub const KEY_BYTES_MAX: usize = 1024;

/// One PUT or one CopyObject, as AWS has it.
pub const PUT_BYTES_MAX: u64 = 5 << 30;

/// The largest piece of memory that the allocator keeps for use again when it is freed: a buffer of a
/// body, with room to spare.
pub const REUSED_BYTES_MAX: i32 = 4 << 20;

/// How much unused memory at the end of a heap is kept, not given back to the kernel.
pub const FREED_BYTES_KEPT: i32 = 32 << 20;

/// How much of a body is gathered before its MD5 is computed: enough to be worth the company of other
/// uploads, and so little that what many have gathered stays in a cache.
pub const MD5_PIECE_BYTES: RangeInclusive<usize> = (64 << 10)..=(128 << 10);

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

/// Buckets that one user may have, by default and at most; 10,000 as in an account of AWS. Each is in memory.
pub const BUCKETS_PER_USER: usize = 10_000;
pub const BUCKETS_PER_USER_RANGE: RangeInclusive<usize> = 1..=1_000_000;
/// What all settings of all buckets of one user may have as they are stored, and so much more for each bucket that a user
/// may have. They are in memory once, once more for each drive, and those that a core has looked at once more there.
pub const SETTINGS_BYTES_PER_USER: usize = 32 << 20;
pub const SETTINGS_BYTES_PER_BUCKET: usize = 1 << 10;
/// Buckets on one page of ListBuckets.
pub const LIST_BUCKETS_MAX: usize = 10_000;

/// Keys of one DeleteObjects request.
pub const DELETE_KEYS_MAX: usize = 1000;

/// A version id in a document, as AWS has it.
pub const VERSION_ID_BYTES_MAX: usize = 1024;

/// Tags of one object and of one bucket, and their length in UTF-16 code units, as AWS has them.
pub const OBJECT_TAGS_MAX: usize = 10;
pub const BUCKET_TAGS_MAX: usize = 50;
pub const TAG_KEY_CHARACTERS_MAX: usize = 128;
pub const TAG_VALUE_CHARACTERS_MAX: usize = 256;

/// What a form may hold before its file, and behind it: fields, headers and delimiters. AWS has 20 KB
/// for what is before.
pub const FORM_FIELDS_BYTES_MAX: usize = 20 << 10;

/// A form is read through a buffer of this size; what is before the file fits.
pub const FORM_BUFFER_BYTES: usize = 64 << 10;

/// The delimiter of a form (RFC 2046 has 70).
pub const FORM_BOUNDARY_BYTES_MAX: usize = 256;

/// Rules of one CORS configuration, and the length of a rule's name, as AWS has them.
pub const CORS_RULES_MAX: usize = 100;
pub const CORS_ID_CHARACTERS_MAX: usize = 255;

/// Headers that one rule may allow: each is compared with those that a preflight asks for. AWS names no bound.
pub const CORS_ALLOWED_HEADERS_MAX: usize = 100;

/// Headers that one preflight may ask for: each is compared with those of every rule.
pub const CORS_REQUEST_HEADERS_MAX: usize = 128;

/// Routing rules of one website, as AWS has it.
pub const WEBSITE_RULES_MAX: usize = 50;

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

/// A backup writes at most so much in a second, unless it is told otherwise.
pub const BACKUP_BYTES_PER_SECOND: u64 = 200 << 20;

/// Parsed settings that one core keeps; beyond that it forgets all and parses again.
pub const SETTINGS_KEPT_MAX: usize = 10_000;

// Limits of users and buckets.

pub const REQUESTS_PER_SECOND: RangeInclusive<u32> = 1..=1_000_000;
pub const BURST_REQUESTS: RangeInclusive<u32> = 1..=1_000_000;
/// No server has more connections.
pub const CONCURRENT_REQUESTS: RangeInclusive<u32> = 1..=1_000_000;
/// Below that the pieces that bodies are sent in would stall them until clients give up.
pub const BYTES_PER_SECOND: RangeInclusive<u64> = (64 << 10)..=(1 << 40);
/// A request is refused when the bytes of its user or bucket would wait for longer.
pub const BANDWIDTH_WAIT_MAX: Duration = Duration::from_secs(10);
/// What bandwidth saves up while it is not used: a timer that is late is made up for.
pub const BANDWIDTH_BURST: Duration = Duration::from_millis(250);
/// How long a body whose bytes are not due yet waits before it looks whether the server stops.
pub const BANDWIDTH_SLICE: Duration = Duration::from_millis(500);
/// The least that is read of a body at once.
pub const PACED_PIECE_BYTES_MIN: usize = 16 << 10;
/// Limiters that one core keeps at hand; beyond that it forgets all and asks for them again.
pub const LIMITERS_KEPT_MAX: usize = 4096;
/// From so many limiters on it is looked which of all cores' can be forgotten.
pub const LIMITERS_PRUNED_FROM: usize = 1024;

// Server-side encryption.

/// Master keys of one server: the current one, and those that were before it.
pub const MASTER_KEYS_MAX: usize = 64;
/// A key file holds so many lines and some comments.
pub const SSE_KEY_FILE_BYTES_MAX: u64 = 64 << 10;
/// Backing keys of one KMS key: it is rotated once a year, or once a day for a year.
pub const KMS_KEY_VERSIONS_MAX: usize = 400;
/// KMS keys of one server.
pub const KMS_KEYS_MAX: usize = 1000;
/// An encryption context as JSON, as AWS KMS has it.
pub const KMS_CONTEXT_BYTES_MAX: usize = 8192;
/// A retention lasts at most a hundred years, as AWS has it.
pub const RETENTION_DAYS_MAX: u32 = 36_500;

// Lifecycle, logging and notification.

/// Rules of a lifecycle, as AWS has it.
pub const LIFECYCLE_RULES_MAX: usize = 1000;
/// A rule's name, as AWS has it.
pub const LIFECYCLE_ID_BYTES_MAX: usize = 255;
/// Noncurrent versions that a rule can ask to be kept, as AWS has it.
pub const LIFECYCLE_NEWER_VERSIONS_MAX: u32 = 100;
/// The document: a thousand rules with prefixes and tags of usual length.
pub const XML_LIFECYCLE_BYTES_MAX: usize = 1 << 20;

/// A prefix of delivered logs: with what follows it, a key stays within its bound.
pub const LOG_PREFIX_BYTES_MAX: usize = 768;

/// Configurations in one notification document, as AWS has it.
pub const NOTIFICATION_CONFIGURATIONS_MAX: usize = 100;
/// A configuration's name.
pub const NOTIFICATION_ID_BYTES_MAX: usize = 255;
/// Targets of events that an operator can configure: each has a thread.
pub const NOTIFY_TARGETS_MAX: usize = 32;
/// Events that may wait for one target.
pub const NOTIFY_QUEUE_EVENTS: RangeInclusive<usize> = 1..=100_000_000;
/// Events that are read from the queue, sent and taken out of it together.
pub const NOTIFY_BATCH_EVENTS: usize = 64;
/// How often it is looked whether events wait.
pub const NOTIFY_POLL: Duration = Duration::from_millis(20);
/// The pause behind the first failure of a target, and the longest one.
pub const NOTIFY_BACKOFF_MIN: Duration = Duration::from_millis(200);
pub const NOTIFY_BACKOFF_MAX: Duration = Duration::from_secs(60);
/// An event that nobody has taken for so long is given up, so that one that a target will never take
/// does not stand before all others for ever.
pub const NOTIFY_AGE_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long connecting to a target may take, and one delivery as a whole.
pub const NOTIFY_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub const NOTIFY_SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// What of a webhook's answer is read; its status says all.
pub const NOTIFY_ANSWER_BYTES_MAX: u64 = 64 << 10;
/// How long a stop waits for a delivery under way; what is not confirmed by then is sent again later.
pub const NOTIFY_STOP_PATIENCE: Duration = Duration::from_secs(3);
/// Lines of the audit log that wait to be written, and their bytes.
pub const AUDIT_WAITING_LINES_MAX: usize = 65_536;
pub const AUDIT_WAITING_BYTES_MAX: usize = 16 << 20;
/// Lines of the audit log that are written together.
pub const AUDIT_BATCH_BYTES: usize = 256 << 10;
/// How long a stop waits for the audit log.
pub const AUDIT_STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Lines of access logs that wait on one core.
pub const ACCESS_LOG_WAITING_BYTES_MAX: usize = 8 << 20;
/// Lines that make an object without waiting any longer.
pub const ACCESS_LOG_OBJECT_BYTES: usize = 1 << 20;
/// How often it is looked whether lines are to be delivered.
pub const ACCESS_LOG_POLL: Duration = Duration::from_millis(500);
/// Versions or uploads that the lifecycle worker looks at together.
pub const LIFECYCLE_PAGE_ROWS: usize = 500;
/// Removals of the lifecycle worker at once.
pub const LIFECYCLE_CONCURRENT: usize = 16;
/// What the lifecycle worker looks at and removes in a second, so that requests hardly notice it.
pub const LIFECYCLE_ROWS_PER_SECOND: u32 = 20_000;
pub const LIFECYCLE_REMOVALS_PER_SECOND: u32 = 1000;
/// How long behind the start its first pass begins.
pub const LIFECYCLE_FIRST_PASS: Duration = Duration::from_secs(60);

// Access.

/// Users whose secrets and signing keys one core keeps at hand; beyond that it forgets all but root's.
pub const CREDENTIALS_KEPT_MAX: usize = 10_000;

/// Users of a server.
pub const USERS_MAX: usize = 10_000;

/// A policy, as AWS has it.
pub const POLICY_BYTES_MAX: usize = 20 << 10;

/// Steps of one evaluation of a policy (`access/policy/evaluation.rs`); one that needs more denies. They take about a
/// millisecond, five at worst. A policy of the full size has room for a thousand patterns with `*` at both ends, and to
/// look for all of them in a text of 200 bytes takes a quarter; most policies need a few hundred steps.
pub const POLICY_STEPS_MAX: usize = 1_000_000;

/// Policies of one user.
pub const USER_POLICIES_MAX: usize = 10;

/// Grants of one ACL, as AWS has it.
pub const GRANTS_MAX: usize = 100;

/// Wrong MFA codes that may come within the half minute that a code is good for.
pub const MFA_FAILURES_PER_STEP_MAX: u64 = 10;

// Origins of content delivery networks.

/// A default `Cache-Control`.
pub const CACHE_CONTROL_BYTES_MAX: usize = 1024;
/// A surrogate key, as Fastly and Cloudflare have it.
pub const SURROGATE_KEY_BYTES_MAX: usize = 1024;
/// The surrogate key of one object, as CloudFront has it, which takes the least.
pub const SURROGATE_OBJECT_KEY_BYTES_MAX: usize = 256;
/// A secret of an origin, and how many of them are good at once.
pub const ORIGIN_SECRET_BYTES: RangeInclusive<usize> = 16..=256;
pub const ORIGIN_SECRETS_MAX: usize = 2;
/// The name of the header with the secret, and that of the metadata with surrogate keys.
pub const ORIGIN_HEADER_BYTES_MAX: usize = 64;

// Console.

/// Sessions of the console, and those of one holder; beyond that the one that was used longest ago ends,
/// of the holder or of who has the most.
pub const CONSOLE_SESSIONS_MAX: usize = 256;
pub const CONSOLE_SESSIONS_PER_HOLDER_MAX: usize = 8;
/// Requests of S3's that are under way at the console, and those of one holder: the other connections
/// of the management port are left for health, metrics and signing in.
pub const CONSOLE_REQUESTS_MAX: usize = ADMIN_CONNECTIONS_MAX / 2;
pub const CONSOLE_REQUESTS_PER_HOLDER_MAX: usize = 24;
/// A session ends when it was not used for so long, and so long after it began in any case.
pub const CONSOLE_IDLE_MAX: Duration = Duration::from_secs(3600);
pub const CONSOLE_SESSION_MAX: Duration = Duration::from_secs(12 * 3600);
/// Failed sign-ins with one access key, or with API keys, that one address may have within the window,
/// and those with all; it then waits for its end.
pub const SIGN_IN_FAILURES_MAX: u32 = 10;
pub const SIGN_IN_FAILURES_PER_ADDRESS_MAX: u32 = 200;
pub const SIGN_IN_WINDOW: Duration = Duration::from_secs(60);
/// Addresses whose failures are remembered.
pub const SIGN_IN_SOURCES_MAX: usize = 4096;
